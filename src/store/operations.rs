//! `volume_operations`: what the journal says, in the form of the old daemon. Written in the transaction
//! that writes the journal, never read.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::db::{Value, Work};
use super::journal::{JournalRow, Settled};
use super::old::{Named, Table, VOLUME, moment};
use super::rows;
use super::{Store, StoreError};
use crate::model::memory::{Intent, Outcome, Progress};
use crate::model::{Action, IntentId, Serial, Timestamp, VmId};
use crate::telemetry::chain;

/// A row of `volume_operations`. Of the calls that the journal knows these are the ones that the old
/// daemon had: create, attach, detach and delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// `op-` and the intent's id.
    pub id: String,
    /// `create`, `attach`, `detach` or `delete`.
    pub kind: &'static str,
    /// `pending`, `executing`, `completed`, `failed` or `cancelled`.
    pub status: &'static str,
    /// The CloudStack volume; empty until it is made.
    pub volume: String,
    /// The VM that it is attached to or detached from.
    pub vm: Option<String>,
    /// What was asked for, as JSON.
    pub request: String,
    /// What came of it, as JSON, if it was done.
    pub response: Option<String>,
    /// Why it was not done.
    pub error: Option<String>,
    /// When it was journalled.
    pub created: Timestamp,
    /// When its end was known.
    pub completed: Option<Timestamp>,
}

impl Operation {
    /// What a call becomes; `here` is the VM of this appliance, if it is known.
    pub fn of(intent: &Intent, settled: Option<&Settled>, here: Option<VmId>) -> Option<Self> {
        let (kind, request) = asked(&intent.action)?;
        let volume = intent.action.volume().map(|id| id.to_string());
        let mut operation = Self {
            id: id(intent.id),
            kind,
            status: match intent.progress {
                Progress::Journalled | Progress::Undecided(_) => "pending",
                Progress::Submitted(_) => "executing",
            },
            volume: volume.unwrap_or_default(),
            vm: intent.action.vm().map(|id| id.to_string()),
            request: request.to_string(),
            response: None,
            error: None,
            created: intent.created,
            completed: None,
        };
        if let Some(Settled { outcome, at }) = settled {
            operation.end(&intent.action, outcome, here);
            operation.completed = Some(*at);
        }
        Some(operation)
    }

    fn end(&mut self, action: &Action, outcome: &Outcome, here: Option<VmId>) {
        match outcome {
            Outcome::Succeeded { created } => {
                if let Some(id) = created {
                    self.volume = id.to_string();
                }
                self.status = "completed";
                self.response = Some(self.answer(action, here).to_string());
            }
            Outcome::Failed { text, .. } => {
                self.status = "failed";
                self.error = Some(rows::bounded(text).to_owned());
            }
            Outcome::Lost { text } => {
                self.status = "failed";
                let text = rows::bounded(text);
                self.error = Some(format!("what came of it is not known: {text}"));
            }
            Outcome::NeverSent => {
                self.status = "cancelled";
                self.error = Some("it was never sent to CloudStack".to_owned());
            }
        }
    }

    fn answer(&self, action: &Action, here: Option<VmId>) -> serde_json::Value {
        let mut answer = json!({ "volume_id": self.volume, "message": format!("done: {action}") });
        if let Action::Attach { volume, vm, .. } = action
            && here == Some(*vm)
        {
            // Known before the disk shows up. The old daemon only knew disks on this bus.
            let link = format!("/dev/disk/by-id/virtio-{}", Serial::of(*volume));
            answer["device_path"] = link.into();
        }
        answer
    }

    fn fields(self, updated: Timestamp) -> Vec<Named> {
        let Self {
            id,
            kind,
            status,
            volume,
            vm,
            request,
            response,
            error,
            created,
            completed,
        } = self;
        vec![
            ("id", id.into()),
            ("type", kind.into()),
            ("status", status.into()),
            (VOLUME, volume.into()),
            ("vm_id", vm.into()),
            ("request", request.into()),
            ("response", response.into()),
            ("error", error.into()),
            ("created_at", moment(created)),
            ("updated_at", moment(updated)),
            ("completed_at", completed.map_or(Value::Nothing, moment)),
        ]
    }
}

fn id(intent: IntentId) -> String {
    format!("op-{intent}")
}

/// The type and the request of an operation, if the old daemon knew of such a call.
fn asked(action: &Action) -> Option<(&'static str, serde_json::Value)> {
    Some(match action {
        Action::Create {
            volume_name,
            size,
            zone,
            offering,
        } => {
            let asked = json!({
                "name": volume_name,
                "size": size.as_bytes(),
                "disk_offering_id": offering,
                "zone_id": zone,
            });
            ("create", asked)
        }
        Action::Attach { volume, vm, .. } => {
            ("attach", json!({ "volume_id": volume, "vm_id": vm }))
        }
        Action::Detach { volume, vm } => ("detach", json!({ "volume_id": volume, "vm_id": vm })),
        Action::Delete { volume, .. } => ("delete", json!({ "volume_id": volume })),
        Action::Tag { .. }
        | Action::Bind { .. }
        | Action::Grow { .. }
        | Action::Export { .. }
        | Action::Withdraw { .. } => return None,
    })
}

/// [`Action::kind`] of the calls that have an operation.
const KINDS: [&str; 4] = [
    Action::CREATE,
    Action::ATTACH,
    Action::DETACH,
    Action::DELETE,
];

/// `vd_intents.operation` where there is none to write.
const NONE: i64 = 0;
/// `vd_intents.operation` of a call whose row is as it should be.
const WRITTEN: i64 = 1;

impl Store {
    /// Writes the row of a call that is being journalled, and says what `vd_intents.operation` is to be.
    pub(super) async fn begin_operation(
        &self,
        tx: &mut Work,
        intent: &Intent,
    ) -> Result<Option<i64>, StoreError> {
        let Some(operation) = Operation::of(intent, None, None) else {
            return Ok(Some(NONE));
        };
        let Ok(table) = &self.old()?.operations else {
            return Ok(None);
        };
        let row = table.row(operation.fields(intent.created));
        let written = self.try_insert(tx, table, &[row]).await?;
        Ok(written.then_some(WRITTEN))
    }

    /// Writes that CloudStack has a job for a call. False: its row is still to be written.
    pub(super) async fn operation_runs(
        &self,
        tx: &mut Work,
        intent: IntentId,
    ) -> Result<bool, StoreError> {
        let at = self.clock.now().wall;
        let values = vec![("status", "executing".into()), ("updated_at", moment(at))];
        self.change(tx, intent, values).await
    }

    /// Writes how a call ended. False: its row is still to be written.
    pub(super) async fn operation_ends(
        &self,
        tx: &mut Work,
        intent: &Intent,
        settled: &Settled,
    ) -> Result<bool, StoreError> {
        let here = here(tx).await?;
        let Some(operation) = Operation::of(intent, Some(settled), here) else {
            return Ok(true);
        };
        let values = operation.fields(settled.at);
        self.change(tx, intent.id, values).await
    }

    async fn change(
        &self,
        tx: &mut Work,
        intent: IntentId,
        values: Vec<Named>,
    ) -> Result<bool, StoreError> {
        if let Ok(table) = &self.old()?.operations {
            tx.save().await?;
            let key = ("id", id(intent).into());
            match table.update(tx, key, values).await {
                Ok(0) => {}
                Ok(_) => return Ok(true),
                Err(error) => self.left_out(&tx.recover(error).await?),
            }
        }
        // Not there, as somebody took it away, or it was left out when it began.
        let due = tx
            .sql(
                "UPDATE vd_intents SET operation = NULL \
                 WHERE appliance = ? AND id = ? AND (operation IS NULL OR operation <> ?)",
            )
            .mine()
            .bind(intent.to_string())
            .bind(NONE)
            .execute()
            .await?;
        Ok(due == 0)
    }

    /// Inserts rows, or leaves all of them out.
    async fn try_insert(
        &self,
        tx: &mut Work,
        table: &Table,
        rows: &[Vec<Named>],
    ) -> Result<bool, StoreError> {
        tx.save().await?;
        match table.insert(tx, rows).await {
            Ok(()) => Ok(true),
            Err(error) => {
                self.left_out(&tx.recover(error).await?);
                Ok(false)
            }
        }
    }

    /// Says so, once: whatever is wrong is wrong with every row.
    fn left_out(&self, error: &StoreError) {
        let error = chain(error);
        if self.operations.is_refused.swap(true, Ordering::Relaxed) {
            tracing::debug!(error, "a row of volume_operations was left out");
        } else {
            tracing::warn!(
                error,
                "a row of volume_operations was left out, and so will others be that are refused; \
                 what this daemon does is right all the same"
            );
        }
    }

    /// Writes the rows that are not there as they should be: of calls from before there was such a
    /// table, or that it would not take. Does nothing while none is known to be missing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn catch_up_operations(&self) -> Result<(), StoreError> {
        let Ok(table) = &self.old()?.operations else {
            return Ok(());
        };
        if !self.operations.is_due.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let caught_up = self.catch_up(table).await;
        if caught_up.is_err() {
            self.operations.is_due.store(true, Ordering::Relaxed);
        }
        caught_up
    }

    async fn catch_up(&self, table: &Table) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let mut tx = self.write("write rows of volume_operations").await?;
            let read = tx
                .sql(
                    "SELECT name, id, generation, action, cause, created_at, expires_at, job_id, \
                            owner, settled_at, outcome, outcome_class, outcome_text, created_volume \
                     FROM vd_intents \
                     WHERE appliance = ? AND operation IS NULL AND id > ? AND kind IN ",
                )
                .mine()
                .bind(&after)
                .list(KINDS.map(Value::from))
                .and(" ORDER BY id LIMIT 200")
                .rows()
                .await?;
            let Some(last) = read.last().and_then(|row| row.text(1)) else {
                return tx.commit().await;
            };
            after = last;
            let due = rows::each("vd_intents", &read, &mut Vec::new(), rows::journal);
            if !self.replace(&mut tx, table, &due).await? {
                for row in &due {
                    self.replace(&mut tx, table, std::slice::from_ref(row))
                        .await?;
                }
            }
            tx.commit().await?;
        }
    }

    /// Writes rows anew, or leaves all of them out.
    async fn replace(
        &self,
        tx: &mut Work,
        table: &Table,
        due: &[JournalRow],
    ) -> Result<bool, StoreError> {
        if due.is_empty() {
            return Ok(true);
        }
        let (here, now) = (here(tx).await?, self.clock.now().wall);
        let row = |row: &JournalRow| {
            let at = row.settled.as_ref().map_or(now, |settled| settled.at);
            let operation = Operation::of(&row.intent, row.settled.as_ref(), here)?;
            Some(table.row(operation.fields(at)))
        };
        let rows: Vec<_> = due.iter().filter_map(row).collect();
        let ids = || due.iter().map(|row| row.intent.id);
        tx.save().await?;
        let replaced = async {
            delete(tx, ids()).await?;
            table.insert(tx, &rows).await
        };
        if let Err(error) = replaced.await {
            self.left_out(&tx.recover(error).await?);
            return Ok(false);
        }
        tx.sql("UPDATE vd_intents SET operation = ? WHERE appliance = ? AND id IN ")
            .bind(WRITTEN)
            .mine()
            .list(ids().map(|id| id.to_string().into()))
            .execute()
            .await?;
        Ok(true)
    }

    /// Notes after a commit whether a row is still to be written.
    pub(super) fn note_operation(&self, is_written: bool) {
        self.operations
            .is_due
            .fetch_or(!is_written, Ordering::Relaxed);
    }

    /// Drops calls that ended before `before`, and their rows: the oldest ones, as many as are gone
    /// in no time, since each call that is journalled drops some.
    pub(super) async fn prune(&self, tx: &mut Work, before: Timestamp) -> Result<(), StoreError> {
        let read = tx
            .sql(
                "SELECT id FROM vd_intents WHERE appliance = ? AND settled_at < ? \
                 ORDER BY settled_at LIMIT 200",
            )
            .mine()
            .bind(before.as_millis())
            .rows()
            .await?;
        let ids: Vec<String> = read.iter().filter_map(|row| row.text(0)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        if self.old()?.operations.is_ok() {
            tx.save().await?;
            let ours = ids.iter().filter_map(|id| id.parse().ok());
            if let Err(error) = delete(tx, ours).await {
                self.left_out(&tx.recover(error).await?);
            }
        }
        tx.sql("DELETE FROM vd_intents WHERE appliance = ? AND id IN ")
            .mine()
            .list(ids.into_iter().map(Value::from))
            .execute()
            .await?;
        Ok(())
    }
}

/// What is known of the rows as a whole.
#[derive(Debug)]
pub(super) struct Standing {
    /// Whether some may be missing.
    is_due: AtomicBool,
    /// Whether one was refused, and that was said.
    is_refused: AtomicBool,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            is_due: AtomicBool::new(true),
            is_refused: AtomicBool::new(false),
        }
    }
}

async fn delete(tx: &mut Work, intents: impl Iterator<Item = IntentId>) -> Result<(), StoreError> {
    tx.sql("DELETE FROM volume_operations WHERE id IN ")
        .list(intents.map(|intent| id(intent).into()))
        .execute()
        .await?;
    Ok(())
}

/// The VM of this appliance, if it was ever known.
async fn here(tx: &mut Work) -> Result<Option<VmId>, StoreError> {
    let vm: Option<(Option<String>,)> = tx
        .sql("SELECT vm_id FROM vd_instance WHERE appliance = ?")
        .mine()
        .first()
        .await?;
    Ok(vm.and_then(|(vm,)| vm?.parse().ok()))
}
