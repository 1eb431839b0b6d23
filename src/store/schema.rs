//! The numbered migrations, and bringing a store up to the last of them.

use super::db::Pool;
use super::error::StoreError;
use super::location::Appliance;
use crate::model::Timestamp;

/// Every migration, oldest first; its version is its position, from 1. Never edited once
/// released: only appended to.
const MIGRATIONS: [(&str, &str); 6] = [
    ("tables", include_str!("../../migrations/0001_tables.sql")),
    (
        "approvals",
        include_str!("../../migrations/0002_approvals.sql"),
    ),
    ("history", include_str!("../../migrations/0003_history.sql")),
    ("rows", include_str!("../../migrations/0004_rows.sql")),
    (
        "old tables",
        include_str!("../../migrations/0005_old_tables.sql"),
    ),
    (
        "culprits",
        include_str!("../../migrations/0006_culprits.sql"),
    ),
];

/// The schema this version writes.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

const DOING: &str = "migrate the store";

/// Brings the store to [`KNOWN`]. Running it again changes nothing, and a store that is there
/// already is only read: its user need not be allowed to make tables.
pub(super) async fn migrate(
    pool: &Pool,
    appliance: &Appliance,
    at: Timestamp,
) -> Result<(), StoreError> {
    let found = found(pool, appliance).await?;
    if found > KNOWN {
        return Err(StoreError::NewerSchema {
            found,
            known: KNOWN,
        });
    }
    for (version, (name, sql)) in (1_i64..).zip(MIGRATIONS) {
        if version > found {
            apply(pool, appliance, version, name, sql, at).await?;
        }
    }
    Ok(())
}

/// Applies one migration and records it. Atomic on SQLite; where DDL commits by itself, a
/// cut-short migration is run again, which its IF NOT EXISTS allow. Two daemons may do so at once.
async fn apply(
    pool: &Pool,
    appliance: &Appliance,
    version: i64,
    name: &'static str,
    sql: &'static str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = pool.begin(appliance, DOING).await?;
    tx.script(
        "CREATE TABLE IF NOT EXISTS vd_migrations (\
         version BIGINT NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL, applied_at BIGINT NOT NULL)",
    )
    .await?;
    tx.script(sql).await?;
    let recorded = tx
        .sql("INSERT INTO vd_migrations (version, name, applied_at) VALUES (?, ?, ?)")
        .bind(version)
        .bind(name)
        .bind(at.as_millis())
        .execute()
        .await;
    match recorded {
        Ok(_) => tx.commit().await,
        Err(error) if error.is_unique_violation() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses a store that this version cannot read as it is.
pub(super) async fn check(pool: &Pool, appliance: &Appliance) -> Result<(), StoreError> {
    let (found, known) = (found(pool, appliance).await?, KNOWN);
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(StoreError::OlderSchema { found, known }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::NewerSchema { found, known }),
    }
}

/// The schema of a store that may have none: then 0.
pub(super) async fn found(pool: &Pool, appliance: &Appliance) -> Result<i64, StoreError> {
    let mut tx = pool.begin(appliance, "read the store's schema").await?;
    let newest = tx
        .sql("SELECT MAX(version) FROM vd_migrations")
        .first::<(Option<i64>,)>()
        .await;
    match newest {
        Ok(newest) => {
            tx.commit().await?;
            Ok(newest.and_then(|(version,)| version).unwrap_or(0))
        }
        Err(error) if error.is_no_such_table() => Ok(0),
        Err(error) => Err(error),
    }
}
