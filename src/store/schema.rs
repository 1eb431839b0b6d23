//! The numbered migrations, and bringing a store up to the last of them.

use sqlx::{Connection, SqliteConnection};

use super::error::{StoreError, failed, primary_code};
use crate::model::Timestamp;

/// Every migration, oldest first; its version is its position, from 1. Never edited once
/// released: only appended to.
const MIGRATIONS: [(&str, &str); 3] = [
    ("tables", include_str!("../../migrations/0001_tables.sql")),
    (
        "intent_indexes",
        include_str!("../../migrations/0002_intent_indexes.sql"),
    ),
    ("people", include_str!("../../migrations/0003_people.sql")),
];

/// The schema this version writes.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

const DOING: &str = "migrate the store";

/// Brings the store to [`KNOWN`]. Running it again changes nothing.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS vd_migrations (\
         version BIGINT NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL, applied_at BIGINT NOT NULL)",
    )
    .execute(&mut *connection)
    .await
    .map_err(failed(DOING))?;
    let found = version(connection).await.map_err(failed(DOING))?;
    if found > KNOWN {
        return Err(StoreError::NewerSchema {
            found,
            known: KNOWN,
        });
    }
    for (version, (name, sql)) in (1_i64..).zip(MIGRATIONS) {
        if version > found {
            apply(connection, version, name, sql, at)
                .await
                .map_err(failed(DOING))?;
        }
    }
    Ok(())
}

/// Applies one migration and records it. Atomic on SQLite; where DDL commits by itself, a
/// cut-short migration is run again, which its IF NOT EXISTS allow.
async fn apply(
    connection: &mut SqliteConnection,
    version: i64,
    name: &'static str,
    sql: &'static str,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin().await?;
    sqlx::raw_sql(sql).execute(&mut *tx).await?;
    sqlx::query("INSERT INTO vd_migrations (version, name, applied_at) VALUES (?, ?, ?)")
        .bind(version)
        .bind(name)
        .bind(at.as_millis())
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// Refuses a store that this version cannot read as it is.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let (found, known) = (found(connection).await?, KNOWN);
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(StoreError::OlderSchema { found, known }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::NewerSchema { found, known }),
    }
}

/// The schema of a store that may have none: then 0.
pub(super) async fn found(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    match version(connection).await {
        Ok(found) => Ok(found),
        // SQLITE_ERROR: there is no such table, hence no schema.
        Err(error) if primary_code(&error) == Some(1) => Ok(0),
        Err(error) => Err(failed("read the store's schema")(error)),
    }
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM vd_migrations")
        .fetch_one(connection)
        .await?;
    Ok(newest.unwrap_or(0))
}
