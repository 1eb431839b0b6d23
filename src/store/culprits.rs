//! Who brought differences about: which episodes nobody was asked about yet, and the answers.

use super::Store;
use super::StoreError;
use super::rows::{self, Unreadable};
use crate::model::{Timestamp, VolumeId};
use crate::plan::DriftClass;
use crate::plan::episode::Culprit;

/// An episode of which it was not asked yet who brought it about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexplained {
    /// Which, as [`crate::plan::episode::Episode::key`].
    pub episode: String,
    /// What differed.
    pub class: DriftClass,
    /// When that was first seen.
    pub first_seen: Timestamp,
    /// Of which volume.
    pub volume: VolumeId,
    /// Our last call about it that succeeded before: its kind, as [`crate::model::Action::kind`], and
    /// when it had ended. What somebody else did came later.
    pub ours: Option<(String, Timestamp)>,
}

/// How many are explained at once.
const BATCH: i64 = 200;
/// The longest texts that have room.
const TEXT_MAX: usize = 255;
const KIND_MAX: usize = 64;

impl Store {
    /// Episodes about what CloudStack says that began at or after `since` and are not explained yet,
    /// the oldest first.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn unexplained(&self, since: Timestamp) -> Result<Vec<Unexplained>, StoreError> {
        let mut tx = self.read("read what nobody was asked about").await?;
        let read = tx
            .sql(
                "SELECT d.episode, d.class, d.first_seen, b.volume_id, o.kind, o.settled_at \
                 FROM vd_drift d \
                 JOIN vd_bindings b ON b.appliance = d.appliance AND b.name = d.name \
                 LEFT JOIN vd_intents o ON o.appliance = d.appliance AND o.id = \
                      (SELECT i.id FROM vd_intents i \
                       WHERE i.appliance = d.appliance AND i.name = d.name \
                             AND i.outcome = 'succeeded' AND i.settled_at <= d.first_seen \
                       ORDER BY i.settled_at DESC, i.id LIMIT 1) \
                 LEFT JOIN vd_culprits c \
                      ON c.appliance = d.appliance AND c.episode = d.episode \
                 WHERE d.appliance = ? AND d.first_seen >= ? AND d.class <> ? \
                       AND c.episode IS NULL \
                 ORDER BY d.first_seen, d.episode LIMIT ?",
            )
            .mine()
            .bind(since.as_millis())
            .bind(DriftClass::Export.as_str())
            .bind(BATCH)
            .rows()
            .await?;
        tx.commit().await?;
        // What cannot be read is nothing to stop for.
        Ok(rows::each("vd_drift", &read, &mut Vec::new(), unexplained))
    }

    /// Records who brought episodes about; `None`: CloudStack does not say. Recording it again changes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn put_culprits(
        &self,
        explained: &[(String, Option<Culprit>)],
    ) -> Result<(), StoreError> {
        let mut tx = self.write("record who did it").await?;
        // Those of episodes that are not kept any more.
        tx.sql(
            "DELETE FROM vd_culprits WHERE appliance = ? AND NOT EXISTS \
             (SELECT 1 FROM vd_drift WHERE vd_drift.appliance = vd_culprits.appliance \
                                           AND vd_drift.episode = vd_culprits.episode)",
        )
        .mine()
        .execute()
        .await?;
        if explained.is_empty() {
            return tx.commit().await;
        }
        tx.sql("DELETE FROM vd_culprits WHERE appliance = ? AND episode IN ")
            .mine()
            .list(explained.iter().map(|(episode, _)| episode.into()))
            .execute()
            .await?;
        let mut insert = tx.sql(
            "INSERT INTO vd_culprits (appliance, episode, account, login, kind, done_at) VALUES ",
        );
        for (episode, culprit) in explained {
            let culprit = culprit.as_ref();
            let short = |text: &str, most| text.chars().take(most).collect::<String>();
            insert = insert.row([
                episode.into(),
                culprit.map(|it| short(&it.account, TEXT_MAX)).into(),
                culprit.map(|it| short(&it.user, TEXT_MAX)).into(),
                culprit.map(|it| short(&it.event, KIND_MAX)).into(),
                culprit.map(|it| it.at.as_millis()).into(),
            ]);
        }
        insert.execute().await?;
        tx.commit().await
    }
}

type Columns = (String, String, i64, String, Option<String>, Option<i64>);

fn unexplained(columns: Columns) -> Result<Unexplained, Unreadable> {
    let (episode, class, first_seen, volume, kind, settled) = columns;
    Ok(Unexplained {
        episode,
        class: super::episodes::class(&class)?,
        first_seen: Timestamp::from_millis(first_seen),
        volume: rows::parse(&volume)?,
        ours: kind.zip(settled.map(Timestamp::from_millis)),
    })
}
