//! The intent journal: one row for each mutating CloudStack call, written before it (I7).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use super::error::{StoreError, failed};
use super::rows::{self, OutcomeRow, Skipped};
use super::{Store, Write};
use crate::model::memory::{Binding, ImpliedStep, Intent, Outcome, Progress};
use crate::model::{
    Action, Cause, IntentId, JobId, Now, Owner, Timestamp, VmId, VolumeId, VolumeName,
};

/// What a settled intent changes in memory, in the same transaction as its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effects {
    /// The intent's name is about this volume from now on.
    pub binding: Option<Binding>,
    /// Where this daemon last put the volume.
    pub placement: Option<PlacementChange>,
}

/// A change of the record of where this daemon put a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementChange {
    /// It put the volume on this VM.
    Put(VolumeId, VmId),
    /// It took the volume away, or the record no longer counts.
    Forget(VolumeId),
}

/// Which rows of the journal are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentFilter {
    /// Only of this spec.
    pub name: Option<VolumeName>,
    /// Only those whose end is not known.
    pub open_only: bool,
    /// At most so many.
    pub limit: u32,
}

/// One row of the journal, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalRow {
    /// The call.
    pub intent: Intent,
    /// Who had written the spec.
    pub owner: Owner,
    /// How it ended; `None` while that is not known.
    pub settled: Option<Settled>,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// How it ended.
    pub outcome: Outcome,
    /// When that was known.
    pub at: Timestamp,
}

/// How long settled intents are kept, for people. Unsettled ones are never dropped.
const KEEP_SETTLED: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Unsettled intents, in the columns of `IntentRow`.
pub(super) const UNSETTLED: &str = "SELECT name, id, generation, action, cause, created_at, \
     expires_at, job_id FROM vd_intents WHERE settled_at IS NULL";

impl Store {
    /// Writes an intent. Once this returns `Ok` it is durable, and its call may be sent.
    ///
    /// Calling again with the same, still unsettled intent changes nothing.
    ///
    /// # Errors
    /// [`StoreError::IntentOpen`] while another intent of the same name or volume is not
    /// settled (I1); [`StoreError::BindingConflict`] for the creation of a volume for a name
    /// that is bound, whether or not its binding can be read (I13); [`StoreError::Journal`] if
    /// the spec was never accepted; [`StoreError::LeaseLost`].
    pub async fn begin(&self, intent: &Intent) -> Result<(), StoreError> {
        const DOING: &str = "journal an intent";
        let mut tx = self.write(DOING).await?;
        if let Some(open) = open_intent(&mut tx, intent).await.map_err(failed(DOING))? {
            if open == intent.id.to_string() {
                return Ok(());
            }
            return Err(StoreError::IntentOpen {
                name: intent.name.clone(),
                open,
            });
        }
        if matches!(intent.action, Action::Create { .. }) {
            let bound = bound_to(&mut tx, &intent.name)
                .await
                .map_err(failed(DOING))?;
            if let Some((stored, ..)) = bound {
                return Err(StoreError::BindingConflict {
                    name: intent.name.clone(),
                    stored,
                });
            }
        }
        let owner: Option<String> = sqlx::query_scalar("SELECT owner FROM vd_specs WHERE name = ?")
            .bind(intent.name.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed(DOING))?;
        let Some(owner) = owner else {
            return Err(disagrees(
                intent.id,
                "is for a spec that was never accepted",
            ));
        };
        insert(&mut tx, intent, owner, self.epoch())
            .await
            .map_err(failed(DOING))?;
        prune(&mut tx, intent.created)
            .await
            .map_err(failed(DOING))?;
        tx.commit().await.map_err(failed(DOING))
    }

    /// Records the job that CloudStack answered with. Calling again with the same job
    /// changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Journal`] if the intent is settled, unknown, or has another job;
    /// [`StoreError::LeaseLost`].
    pub async fn submitted(&self, intent: IntentId, job: JobId) -> Result<(), StoreError> {
        const DOING: &str = "record a job";
        let mut tx = self.write(DOING).await?;
        let job = job.to_string();
        let updated = sqlx::query(
            "UPDATE vd_intents SET job_id = ? \
             WHERE id = ? AND settled_at IS NULL AND (job_id IS NULL OR job_id = ?)",
        )
        .bind(&job)
        .bind(intent.to_string())
        .bind(&job)
        .execute(&mut *tx)
        .await
        .map_err(failed(DOING))?;
        if updated.rows_affected() != 1 {
            let problem = format!("cannot take job {job}: it is settled, unknown or has another");
            return Err(disagrees(intent, problem));
        }
        tx.commit().await.map_err(failed(DOING))
    }

    /// Records how an intent ended and what follows from it, all or nothing. Calling again
    /// with the same outcome changes nothing, and so does [`Outcome::NeverSent`] for an intent
    /// that never came to be written.
    ///
    /// # Errors
    /// [`StoreError::Journal`] if it is otherwise unknown or ended otherwise before;
    /// [`StoreError::BindingConflict`], after which it stays unsettled;
    /// [`StoreError::LeaseLost`].
    pub async fn settle(
        &self,
        intent: &Intent,
        outcome: &Outcome,
        effects: &Effects,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "settle an intent";
        let mut tx = self.write(DOING).await?;
        let row = rows::outcome_row(outcome);
        let settled = set_outcome(&mut tx, intent.id, &row, at)
            .await
            .map_err(failed(DOING))?;
        if !settled {
            return match stored_outcome(&mut tx, intent.id)
                .await
                .map_err(failed(DOING))?
            {
                Some(stored) if stored == row => Ok(()),
                Some((word, ..)) => Err(disagrees(
                    intent.id,
                    format!(
                        "ended {word:?} before, and {:?} now or in other words",
                        row.0
                    ),
                )),
                // Its writing failed, so its call was not sent.
                None if *outcome == Outcome::NeverSent => Ok(()),
                None => Err(disagrees(intent.id, "is not in the journal")),
            };
        }
        if let Some(binding) = &effects.binding {
            bind(&mut tx, &intent.name, binding, at).await?;
        }
        if let Some(change) = effects.placement {
            place(&mut tx, change, at).await.map_err(failed(DOING))?;
        }
        tx.commit().await.map_err(failed(DOING))
    }

    /// Records a binding that no call leads to: the volume carries our claim already. Calling
    /// again with the same binding changes nothing.
    ///
    /// # Errors
    /// [`StoreError::BindingConflict`], [`StoreError::VolumeTaken`], [`StoreError::LeaseLost`].
    pub async fn bind(
        &self,
        name: &VolumeName,
        binding: &Binding,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "record a binding";
        let mut tx = self.write(DOING).await?;
        bind(&mut tx, name, binding, at).await?;
        tx.commit().await.map_err(failed(DOING))
    }

    /// The journal, newest first. Rows that cannot be understood are left out; while
    /// they are unsettled, [`Store::load`] reports them.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn intents(&self, filter: IntentFilter) -> Result<Vec<JournalRow>, StoreError> {
        const DOING: &str = "read the journal";
        let name = filter.name.as_ref().map(VolumeName::as_str);
        let read = sqlx::query(
            "SELECT name, id, generation, action, cause, created_at, expires_at, job_id, \
                    owner, settled_at, outcome, outcome_class, outcome_text, created_volume \
             FROM vd_intents \
             WHERE (? IS NULL OR name = ?) AND (? = 0 OR settled_at IS NULL) \
             ORDER BY created_at DESC, id LIMIT ?",
        )
        .bind(name)
        .bind(name)
        .bind(i64::from(filter.open_only))
        .bind(i64::from(filter.limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed(DOING))?;
        let mut skipped = Vec::new();
        Ok(rows::each("vd_intents", &read, &mut skipped, rows::journal))
    }
}

/// Steps begun at or after `since` that nobody asked for in so many words (I6). Calls that are known
/// never to have been sent do not count.
pub(super) async fn implied(
    db: &mut SqliteConnection,
    since: Timestamp,
    now: Now,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<ImpliedStep>, StoreError> {
    const DOING: &str = "count implied steps";
    let read = sqlx::query(
        "SELECT id, name, kind, cause, owner, created_at FROM vd_intents \
         WHERE created_at >= ? AND cause <> ? AND (outcome IS NULL OR outcome <> ?) \
         ORDER BY created_at, id",
    )
    .bind(since.as_millis())
    .bind(Cause::Declared.as_str())
    .bind(Outcome::NeverSent.as_str())
    .fetch_all(db)
    .await
    .map_err(failed(DOING))?;
    Ok(rows::each("vd_intents", &read, skipped, |row| {
        rows::implied(row, now)
    }))
}

fn disagrees(intent: IntentId, problem: impl Into<String>) -> StoreError {
    StoreError::Journal {
        intent,
        problem: problem.into(),
    }
}

/// The unsettled intent of the same name or volume, if there is one.
async fn open_intent(tx: &mut Write, intent: &Intent) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT id FROM vd_intents WHERE settled_at IS NULL AND (name = ? OR volume_id = ?)",
    )
    .bind(intent.name.as_str())
    .bind(intent.action.volume().map(|id| id.to_string()))
    .fetch_optional(&mut **tx)
    .await
}

async fn insert(
    tx: &mut Write,
    intent: &Intent,
    owner: String,
    epoch: Option<i64>,
) -> Result<(), sqlx::Error> {
    let job = match &intent.progress {
        // Which volumes it may have made is worked out anew after a restart.
        Progress::Journalled | Progress::Undecided(_) => None,
        Progress::Submitted(job) => Some(job.to_string()),
    };
    sqlx::query(
        "INSERT INTO vd_intents (id, epoch, name, generation, owner, volume_id, kind, action, \
                                 cause, created_at, expires_at, job_id) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(intent.id.to_string())
    .bind(epoch)
    .bind(intent.name.as_str())
    .bind(intent.generation.cast_signed())
    .bind(owner)
    .bind(intent.action.volume().map(|id| id.to_string()))
    .bind(intent.action.kind())
    .bind(rows::to_json(&intent.action))
    .bind(intent.cause.as_str())
    .bind(intent.created.as_millis())
    .bind(intent.expires.as_millis())
    .bind(job)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Drops what settled long ago, so that the journal stays of bounded size.
async fn prune(tx: &mut Write, now: Timestamp) -> Result<(), sqlx::Error> {
    let keep = i64::try_from(KEEP_SETTLED.as_millis()).unwrap_or(i64::MAX);
    sqlx::query("DELETE FROM vd_intents WHERE settled_at < ?")
        .bind(now.as_millis().saturating_sub(keep))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes the outcome if there is none yet; false if there is, or no such intent.
async fn set_outcome(
    tx: &mut Write,
    intent: IntentId,
    row: &OutcomeRow,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    let (outcome, class, text, created) = row;
    let updated = sqlx::query(
        "UPDATE vd_intents SET settled_at = ?, outcome = ?, outcome_class = ?, outcome_text = ?, \
                               created_volume = ? \
         WHERE id = ? AND settled_at IS NULL",
    )
    .bind(at.as_millis())
    .bind(outcome)
    .bind(class)
    .bind(text)
    .bind(created)
    .bind(intent.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(updated.rows_affected() == 1)
}

async fn stored_outcome(
    tx: &mut Write,
    intent: IntentId,
) -> Result<Option<OutcomeRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT outcome, outcome_class, outcome_text, created_volume FROM vd_intents \
         WHERE id = ? AND settled_at IS NOT NULL",
    )
    .bind(intent.to_string())
    .fetch_optional(&mut **tx)
    .await
}

/// `volume_id, uid, mark` of a name's binding, as stored.
async fn bound_to(
    tx: &mut Write,
    name: &VolumeName,
) -> Result<Option<(String, String, String)>, sqlx::Error> {
    sqlx::query_as("SELECT volume_id, uid, mark FROM vd_bindings WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(&mut **tx)
        .await
}

/// Writes a binding that is not there yet; one that is there can only be written again as it is.
async fn bind(
    tx: &mut Write,
    name: &VolumeName,
    binding: &Binding,
    at: Timestamp,
) -> Result<(), StoreError> {
    const DOING: &str = "write a binding";
    let Binding { volume, uid, mark } = binding;
    let row = (volume.to_string(), uid.to_string(), mark.to_string());
    let stored = bound_to(tx, name).await.map_err(failed(DOING))?;
    if let Some(stored) = stored {
        return if stored == row {
            Ok(())
        } else {
            Err(StoreError::BindingConflict {
                name: name.clone(),
                stored: stored.0,
            })
        };
    }
    let inserted = sqlx::query(
        "INSERT INTO vd_bindings (name, volume_id, uid, mark, bound_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(name.as_str())
    .bind(&row.0)
    .bind(row.1)
    .bind(row.2)
    .bind(at.as_millis())
    .execute(&mut **tx)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        // The name is not bound, so it is the volume that is.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
            Err(StoreError::VolumeTaken {
                name: name.clone(),
                volume: *volume,
            })
        }
        Err(error) => Err(failed(DOING)(error)),
    }
}

pub(super) async fn place(
    tx: &mut Write,
    change: PlacementChange,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    match change {
        PlacementChange::Forget(volume) => {
            sqlx::query("DELETE FROM vd_placements WHERE volume_id = ?")
                .bind(volume.to_string())
                .execute(&mut **tx)
                .await?;
        }
        PlacementChange::Put(volume, vm) => {
            let (volume, vm) = (volume.to_string(), vm.to_string());
            let updated = sqlx::query(
                "UPDATE vd_placements SET vm_id = ?, placed_at = ? WHERE volume_id = ?",
            )
            .bind(&vm)
            .bind(at.as_millis())
            .bind(&volume)
            .execute(&mut **tx)
            .await?;
            if updated.rows_affected() == 0 {
                sqlx::query(
                    "INSERT INTO vd_placements (volume_id, vm_id, placed_at) VALUES (?, ?, ?)",
                )
                .bind(volume)
                .bind(vm)
                .bind(at.as_millis())
                .execute(&mut **tx)
                .await?;
            }
        }
    }
    Ok(())
}
