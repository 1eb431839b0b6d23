//! `volume_status`: how every volume stands, for programs that only speak SQL. Written, never read.
//! The old daemon's tables of attachments and exports are written with it.

use super::db::Work;
use super::observed::{self, Change, ExportRow, LeftOut, MappingRow};
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

/// What is to be told of how volumes stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Telling {
    /// Rows of `volume_status` to be written.
    pub statuses: Vec<StatusRow>,
    /// Names whose rows are to go. `None`: all but those that are written.
    pub gone: Option<Vec<String>>,
    /// What is to be changed in `device_mappings`.
    pub mappings: Change<MappingRow>,
    /// What is to be changed in `nbd_exports`.
    pub exports: Change<ExportRow>,
}

impl Telling {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let Self {
            statuses,
            gone,
            mappings,
            exports,
        } = self;
        statuses.is_empty()
            && gone.as_ref().is_some_and(Vec::is_empty)
            && mappings.is_empty()
            && exports.is_empty()
    }
}

impl Store {
    /// Tells how volumes stand, all of it or nothing. Rows that the old tables would not have are left
    /// out, and returned.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn tell(&self, telling: &Telling, at: Timestamp) -> Result<Vec<LeftOut>, StoreError> {
        let Telling {
            statuses,
            gone,
            mappings,
            exports,
        } = telling;
        let mut tx = self.write("write how volumes stand").await?;
        put(&mut tx, statuses, gone.as_deref(), at).await?;
        let tables = self.old()?;
        let mut left_out = Vec::new();
        if let Ok(table) = &tables.mappings {
            left_out.extend(observed::map(&mut tx, table, mappings, at).await?);
        }
        if let Ok(table) = &tables.exports {
            left_out.extend(observed::export(&mut tx, table, exports, at).await?);
        }
        tx.commit().await?;
        Ok(left_out)
    }
}

/// Writes rows of `volume_status`.
async fn put(
    tx: &mut Work,
    changed: &[StatusRow],
    gone: Option<&[String]>,
    at: Timestamp,
) -> Result<(), StoreError> {
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
    Ok(())
}
