//! `volume_status`: how every volume stands, for programs that only speak SQL. Written, never read.

use super::{Store, StoreError};
use crate::model::{Timestamp, VmId, VolumeId};

/// How one volume stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRow {
    /// The name of its spec, or of a row of `desired_volumes` that was never valid.
    pub name: String,
    /// How the file or row stands that it is written in; `None` if it is written nowhere any more.
    pub source_state: Option<&'static str>,
    /// The revision of the row that this is about.
    pub observed_revision: Option<i64>,
    /// The generation of the spec that this is about; `None` if none was ever accepted.
    pub observed_generation: Option<u64>,
    /// A summary in one word.
    pub phase: String,
    /// Whether it is as its file or row says now.
    pub is_ready: bool,
    /// The CloudStack volume, once there is one.
    pub volume: Option<VolumeId>,
    /// Where it is attached.
    pub vm: Option<VmId>,
    /// Its by-id link on this machine.
    pub device_path: Option<String>,
    /// Its export.
    pub export_name: Option<String>,
    /// A summary in one sentence, or what is wrong with its row.
    pub message: String,
}

/// Rows written, or deleted, by one statement.
const ROWS: usize = 200;

impl Store {
    /// Writes how volumes stand, and forgets those that are `gone`. `None` forgets all others.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn put_statuses(
        &self,
        changed: &[StatusRow],
        gone: Option<&[String]>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write("write how volumes stand").await?;
        let mut outdated: Vec<&String> = changed.iter().map(|row| &row.name).collect();
        match gone {
            Some(gone) => outdated.extend(gone),
            None => {
                outdated.clear();
                tx.sql("DELETE FROM volume_status WHERE appliance = ?")
                    .mine()
                    .execute()
                    .await?;
            }
        }
        for names in outdated.chunks(ROWS) {
            tx.sql("DELETE FROM volume_status WHERE appliance = ? AND name IN ")
                .mine()
                .list(names.iter().map(|&name| name.into()))
                .execute()
                .await?;
        }
        for rows in changed.chunks(ROWS) {
            let mut insert = tx.sql(
                "INSERT INTO volume_status (appliance, name, source_state, observed_revision, \
                        observed_generation, phase, ready, volume_id, vm_id, device_path, \
                        export_name, message, updated_at) VALUES ",
            );
            for row in rows {
                let StatusRow {
                    name,
                    source_state,
                    observed_revision,
                    observed_generation,
                    phase,
                    is_ready,
                    volume,
                    vm,
                    device_path,
                    export_name,
                    message,
                } = row;
                insert = insert.row([
                    name.into(),
                    (*source_state).into(),
                    (*observed_revision).into(),
                    observed_generation.map(u64::cast_signed).into(),
                    phase.into(),
                    i64::from(*is_ready).into(),
                    volume.map(|id| id.to_string()).into(),
                    vm.map(|id| id.to_string()).into(),
                    device_path.as_ref().into(),
                    export_name.as_ref().into(),
                    message.into(),
                    at.as_millis().into(),
                ]);
            }
            insert.execute().await?;
        }
        tx.commit().await
    }
}
