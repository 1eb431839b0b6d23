//! Keeps rows for people from filling the store: of what flaps, only the latest are kept.

use super::StoreError;
use super::db::{Value, Work};

/// A table with rows of the same name, one after another.
pub(super) struct Bound {
    /// Its name.
    pub table: &'static str,
    /// The column that says when.
    pub moment: &'static str,
    /// How many rows of one name are kept.
    pub kept: i64,
    /// Which of the older ones may go, as it follows `WHERE …`; empty for all.
    pub only: &'static str,
}

impl Bound {
    /// Drops the oldest rows of those of `names` that have too many.
    pub(super) async fn keep(
        &self,
        tx: &mut Work,
        names: impl Iterator<Item = Value>,
    ) -> Result<(), StoreError> {
        let Self {
            table,
            moment,
            kept,
            only,
        } = self;
        let many = tx
            .sql(&format!(
                "SELECT name FROM {table} WHERE appliance = ? AND name IN "
            ))
            .mine()
            .list(names)
            .and(" GROUP BY name HAVING COUNT(*) > ?")
            .bind(*kept)
            .rows()
            .await?;
        for name in many.iter().filter_map(|row| row.text(0)) {
            let newest: Option<(i64,)> = tx
                .sql(&format!(
                    "SELECT {moment} FROM {table} WHERE appliance = ? AND name = ? \
                     ORDER BY {moment} DESC LIMIT 1 OFFSET ?"
                ))
                .mine()
                .bind(&name)
                .bind(*kept)
                .first()
                .await?;
            let Some((newest,)) = newest else {
                continue;
            };
            tx.sql(&format!(
                "DELETE FROM {table} WHERE appliance = ? AND name = ? AND {moment} <= ?{only}"
            ))
            .mine()
            .bind(&name)
            .bind(newest)
            .execute()
            .await?;
        }
        Ok(())
    }
}
