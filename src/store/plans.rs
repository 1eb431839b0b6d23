//! What was planned, and when: how each volume stood whenever that changed. For people.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Store;
use super::StoreError;
use super::bound::Bound;
use super::rows;
use crate::model::{Timestamp, VolumeName};

/// How a volume stands from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanNote {
    /// Which.
    pub name: VolumeName,
    /// Stands for `status`: another one has another digest. At most 40 characters.
    pub digest: String,
    /// How it stands, as JSON; `None` if its spec is gone.
    pub status: Option<String>,
}

/// How long it is kept.
const KEEP: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How many changes of one volume are kept.
const BOUND: Bound = Bound {
    table: "vd_plans",
    moment: "decided_at",
    kept: 500,
    only: "",
};
/// Rows written by one statement.
const ROWS: usize = 200;

impl Store {
    /// Notes how volumes stand from `at` on. Noting it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn note_plans(&self, notes: &[PlanNote], at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write("note what is planned").await?;
        let keep = i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX);
        for notes in notes.chunks(ROWS) {
            tx.sql(
                "DELETE FROM vd_plans WHERE appliance = ? AND (decided_at = ? OR decided_at < ?) \
                 AND name IN ",
            )
            .mine()
            .bind(at.as_millis())
            .bind(at.as_millis().saturating_sub(keep))
            .list(names(notes))
            .execute()
            .await?;
            let mut insert = tx
                .sql("INSERT INTO vd_plans (appliance, name, decided_at, digest, status) VALUES ");
            for note in notes {
                insert = insert.row([
                    note.name.as_str().into(),
                    at.as_millis().into(),
                    (&note.digest).into(),
                    note.status.as_ref().into(),
                ]);
            }
            insert.execute().await?;
            BOUND.keep(&mut tx, names(notes)).await?;
        }
        tx.commit().await
    }

    /// The latest digest of each volume.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn plan_digests(&self) -> Result<BTreeMap<VolumeName, String>, StoreError> {
        let mut tx = self.read("read what was planned last").await?;
        let read = tx
            .sql(
                "SELECT p.name, p.digest FROM vd_plans p JOIN \
                 (SELECT name, MAX(decided_at) AS decided_at FROM vd_plans WHERE appliance = ? \
                  GROUP BY name) l ON l.name = p.name AND l.decided_at = p.decided_at \
                 WHERE p.appliance = ?",
            )
            .mine()
            .mine()
            .rows()
            .await?;
        tx.commit().await?;
        let digest = |(name, digest): (String, String)| Ok((rows::parse(&name)?, digest));
        Ok(rows::each("vd_plans", &read, &mut Vec::new(), digest)
            .into_iter()
            .collect())
    }

    /// How each volume stood at a moment, as JSON, and since when; in the order of their names.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn plans_at(
        &self,
        at: Timestamp,
    ) -> Result<Vec<(Timestamp, serde_json::Value)>, StoreError> {
        let mut tx = self.read("read what was planned").await?;
        let read = tx
            .sql(
                "SELECT p.decided_at, p.status FROM vd_plans p JOIN \
                 (SELECT name, MAX(decided_at) AS decided_at FROM vd_plans \
                  WHERE appliance = ? AND decided_at <= ? GROUP BY name) l \
                 ON l.name = p.name AND l.decided_at = p.decided_at \
                 WHERE p.appliance = ? AND p.status IS NOT NULL ORDER BY p.name",
            )
            .mine()
            .bind(at.as_millis())
            .mine()
            .rows()
            .await?;
        tx.commit().await?;
        let status = |(decided, status): (i64, String)| {
            let status = serde_json::from_str(&status).map_err(|error| error.to_string())?;
            Ok((Timestamp::from_millis(decided), status))
        };
        Ok(rows::each("vd_plans", &read, &mut Vec::new(), status))
    }
}

fn names(notes: &[PlanNote]) -> impl Iterator<Item = super::db::Value> {
    notes.iter().map(|note| note.name.as_str().into())
}
