//! The intent journal: one row for each mutating CloudStack call, written before it (I7).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Store;
use super::StoreError;
use super::db::Work;
use super::rows::{self, OutcomeRow, Skipped};
use crate::clock::Deadline;
use crate::model::action::Mark;
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
     expires_at, job_id FROM vd_intents WHERE appliance = ? AND settled_at IS NULL";

impl Store {
    /// Writes an intent. Once this returns `Ok` it is durable, and its call may be sent
    /// until the deadline that is returned.
    ///
    /// Calling again with the same, still unsettled intent changes nothing.
    ///
    /// # Errors
    /// [`StoreError::IntentOpen`] while another intent of the same name or volume is not
    /// settled (I1); [`StoreError::BindingConflict`] for the creation of a volume for a name
    /// that is bound, whether or not its binding can be read (I13); [`StoreError::Journal`] if
    /// the spec was never accepted, or for the deletion of a volume that was not made for it (I5);
    /// [`StoreError::LeaseLost`].
    pub async fn begin(&self, intent: &Intent) -> Result<Deadline, StoreError> {
        const DOING: &str = "journal an intent";
        let begun = self.clock.now().boot;
        let mut tx = self.write(DOING).await?;
        if let Some(open) = open_intent(&mut tx, intent).await? {
            if open == intent.id.to_string() {
                tx.commit().await?;
                return Ok(self.deadline(begun));
            }
            return Err(StoreError::IntentOpen {
                name: intent.name.clone(),
                open,
            });
        }
        if matches!(intent.action, Action::Create { .. }) {
            let bound = bound_to(&mut tx, &intent.name).await?;
            if let Some((stored, ..)) = bound {
                return Err(StoreError::BindingConflict {
                    name: intent.name.clone(),
                    stored,
                });
            }
        }
        if let Action::Delete { volume, .. } = &intent.action {
            let bound = bound_to(&mut tx, &intent.name).await?;
            let made = (volume.to_string(), Mark::Created.to_string());
            if bound.map(|(volume, _, mark)| (volume, mark)) != Some(made) {
                return Err(disagrees(
                    intent.id,
                    "would delete a volume that was not made for its spec",
                ));
            }
        }
        let owner: Option<(String,)> = tx
            .sql("SELECT owner FROM vd_specs WHERE appliance = ? AND name = ?")
            .mine()
            .bind(intent.name.as_str())
            .first()
            .await?;
        let Some((owner,)) = owner else {
            return Err(disagrees(
                intent.id,
                "is for a spec that was never accepted",
            ));
        };
        let operation = self.begin_operation(&mut tx, intent).await?;
        match insert(&mut tx, intent, owner, (self.epoch(), operation)).await {
            Ok(()) => {}
            // Another appliance's was written since we looked.
            Err(error) if error.is_unique_violation() => {
                return Err(StoreError::IntentOpen {
                    name: intent.name.clone(),
                    open: "of another appliance".to_owned(),
                });
            }
            Err(error) => return Err(error),
        }
        let keep = i64::try_from(KEEP_SETTLED.as_millis()).unwrap_or(i64::MAX);
        let before = intent.created.as_millis().saturating_sub(keep);
        self.prune(&mut tx, Timestamp::from_millis(before)).await?;
        tx.commit().await?;
        self.note_operation(operation.is_some());
        Ok(self.deadline(begun))
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
        let updated = tx
            .sql(
                "UPDATE vd_intents SET job_id = ? \
             WHERE appliance = ? AND id = ? AND settled_at IS NULL \
                   AND (job_id IS NULL OR job_id = ?)",
            )
            .bind(&job)
            .mine()
            .bind(intent.to_string())
            .bind(&job)
            .execute()
            .await?;
        if updated != 1 {
            let problem = format!("cannot take job {job}: it is settled, unknown or has another");
            return Err(disagrees(intent, problem));
        }
        let told = self.operation_runs(&mut tx, intent).await?;
        tx.commit().await?;
        self.note_operation(told);
        Ok(())
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
        let settled = set_outcome(&mut tx, intent.id, &row, at).await?;
        if !settled {
            return match stored_outcome(&mut tx, intent.id).await? {
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
            place(&mut tx, change, at).await?;
        }
        let settled = Settled {
            outcome: outcome.clone(),
            at,
        };
        let told = self.operation_ends(&mut tx, intent, &settled).await?;
        tx.commit().await?;
        self.note_operation(told);
        Ok(())
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
        tx.commit().await
    }

    /// The journal, newest first. Rows that cannot be understood are left out; while
    /// they are unsettled, [`Store::load`] reports them.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn intents(&self, filter: IntentFilter) -> Result<Vec<JournalRow>, StoreError> {
        const DOING: &str = "read the journal";
        let mut tx = self.read(DOING).await?;
        let rows = select(&mut tx, filter).await?;
        tx.commit().await?;
        Ok(rows)
    }
}

/// As [`Store::intents`].
pub(super) async fn select(
    tx: &mut Work,
    filter: IntentFilter,
) -> Result<Vec<JournalRow>, StoreError> {
    let mut query = tx
        .sql(
            "SELECT name, id, generation, action, cause, created_at, expires_at, job_id, \
                    owner, settled_at, outcome, outcome_class, outcome_text, created_volume \
             FROM vd_intents WHERE appliance = ?",
        )
        .mine();
    if let Some(name) = &filter.name {
        query = query.and(" AND name = ?").bind(name.as_str());
    }
    if filter.open_only {
        query = query.and(" AND settled_at IS NULL");
    }
    let read = query
        .and(" ORDER BY created_at DESC, id DESC LIMIT ?")
        .bind(i64::from(filter.limit))
        .rows()
        .await?;
    let mut skipped = Vec::new();
    Ok(rows::each("vd_intents", &read, &mut skipped, rows::journal))
}

/// Steps begun at or after `since` that nobody asked for in so many words (I6). Calls that are known
/// never to have been sent do not count.
pub(super) async fn implied(
    tx: &mut Work,
    since: Timestamp,
    now: Now,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<ImpliedStep>, StoreError> {
    let read = tx.sql(
        "SELECT id, name, kind, cause, owner, created_at FROM vd_intents \
         WHERE appliance = ? AND created_at >= ? AND cause <> ? AND (outcome IS NULL OR outcome <> ?) \
         ORDER BY created_at, id",
    )
    .mine()
    .bind(since.as_millis())
    .bind(Cause::Declared.as_str())
    .bind(Outcome::NeverSent.as_str())
    .rows()
    .await?;
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

/// The unsettled intent of the same name, or of the same volume whoever wrote it, if there is one.
async fn open_intent(tx: &mut Work, intent: &Intent) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> = tx
        .sql(
            "SELECT id FROM vd_intents WHERE appliance = ? AND settled_at IS NULL AND name = ? \
             UNION ALL SELECT id FROM vd_intents WHERE open_volume = ?",
        )
        .mine()
        .bind(intent.name.as_str())
        .bind(intent.action.volume().map(|id| id.to_string()))
        .first()
        .await?;
    Ok(row.map(|(id,)| id))
}

async fn insert(
    tx: &mut Work,
    intent: &Intent,
    owner: String,
    (epoch, operation): (Option<i64>, Option<i64>),
) -> Result<(), StoreError> {
    let job = match &intent.progress {
        // Which volumes it may have made is worked out anew after a restart.
        Progress::Journalled | Progress::Undecided(_) => None,
        Progress::Submitted(job) => Some(job.to_string()),
    };
    let volume = intent.action.volume().map(|id| id.to_string());
    tx.sql(
        "INSERT INTO vd_intents (appliance, id, epoch, name, generation, owner, volume_id, \
                                 open_volume, kind, action, cause, created_at, expires_at, job_id, \
                                 operation) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .mine()
    .bind(intent.id.to_string())
    .bind(epoch)
    .bind(intent.name.as_str())
    .bind(intent.generation.cast_signed())
    .bind(owner)
    .bind(volume.clone())
    .bind(volume)
    .bind(intent.action.kind())
    .bind(rows::to_json(&intent.action))
    .bind(intent.cause.as_str())
    .bind(intent.created.as_millis())
    .bind(intent.expires.as_millis())
    .bind(job)
    .bind(operation)
    .execute()
    .await?;
    Ok(())
}

/// Writes the outcome if there is none yet; false if there is, or no such intent.
async fn set_outcome(
    tx: &mut Work,
    intent: IntentId,
    row: &OutcomeRow,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let (outcome, class, text, created) = row;
    let updated = tx.sql(
        "UPDATE vd_intents SET settled_at = ?, outcome = ?, outcome_class = ?, outcome_text = ?, \
                               created_volume = ?, open_volume = NULL \
         WHERE appliance = ? AND id = ? AND settled_at IS NULL",
    )
    .bind(at.as_millis())
    .bind(outcome)
    .bind(class.as_deref())
    .bind(text.as_deref())
    .bind(created.as_deref())
    .mine()
    .bind(intent.to_string())
    .execute()
    .await?;
    Ok(updated == 1)
}

async fn stored_outcome(tx: &mut Work, intent: IntentId) -> Result<Option<OutcomeRow>, StoreError> {
    tx.sql(
        "SELECT outcome, outcome_class, outcome_text, created_volume FROM vd_intents \
         WHERE appliance = ? AND id = ? AND settled_at IS NOT NULL",
    )
    .mine()
    .bind(intent.to_string())
    .first()
    .await
}

/// `volume_id, uid, mark` of a name's binding, as stored.
async fn bound_to(
    tx: &mut Work,
    name: &VolumeName,
) -> Result<Option<(String, String, String)>, StoreError> {
    tx.sql("SELECT volume_id, uid, mark FROM vd_bindings WHERE appliance = ? AND name = ?")
        .mine()
        .bind(name.as_str())
        .first()
        .await
}

/// Writes a binding that is not there yet; one that is there can only be written again as it is.
async fn bind(
    tx: &mut Work,
    name: &VolumeName,
    binding: &Binding,
    at: Timestamp,
) -> Result<(), StoreError> {
    let Binding { volume, uid, mark } = binding;
    let row = (volume.to_string(), uid.to_string(), mark.to_string());
    let stored = bound_to(tx, name).await?;
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
    let inserted = tx
        .sql(
            "INSERT INTO vd_bindings (appliance, name, volume_id, uid, mark, bound_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
        )
        .mine()
        .bind(name.as_str())
        .bind(&row.0)
        .bind(row.1)
        .bind(row.2)
        .bind(at.as_millis())
        .execute()
        .await;
    match inserted {
        Ok(_) => Ok(()),
        // The name is not bound, so it is the volume that is.
        Err(error) if error.is_unique_violation() => Err(StoreError::VolumeTaken {
            name: name.clone(),
            volume: *volume,
        }),
        Err(error) => Err(error),
    }
}

pub(super) async fn place(
    tx: &mut Work,
    change: PlacementChange,
    at: Timestamp,
) -> Result<(), StoreError> {
    match change {
        PlacementChange::Forget(volume) => {
            tx.sql("DELETE FROM vd_placements WHERE appliance = ? AND volume_id = ?")
                .mine()
                .bind(volume.to_string())
                .execute()
                .await?;
        }
        PlacementChange::Put(volume, vm) => {
            let (volume, vm) = (volume.to_string(), vm.to_string());
            let updated = tx
                .sql(
                    "UPDATE vd_placements SET vm_id = ?, placed_at = ? \
                 WHERE appliance = ? AND volume_id = ?",
                )
                .bind(&vm)
                .bind(at.as_millis())
                .mine()
                .bind(&volume)
                .execute()
                .await?;
            if updated == 0 {
                tx.sql(
                    "INSERT INTO vd_placements (appliance, volume_id, vm_id, placed_at) \
                     VALUES (?, ?, ?, ?)",
                )
                .mine()
                .bind(volume)
                .bind(vm)
                .bind(at.as_millis())
                .execute()
                .await?;
            }
        }
    }
    Ok(())
}
