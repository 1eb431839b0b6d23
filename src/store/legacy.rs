//! The tables of the daemon before this one, and of the engine beside it: read, never written.
//!
//! They were made by several versions, so a table may be missing, and so may any column of one that
//! is there. Nothing here knows what they mean.

use super::db::Work;
use super::error::StoreError;
use super::location::{Appliance, Location};
use super::open::to_read;
use crate::model::legacy::{OldRow, OldTables};

/// A table, and those of its columns that say anything to us; no version has all of them.
struct Table {
    name: &'static str,
    columns: &'static [&'static str],
}

const MAPPINGS: Table = Table {
    name: "device_mappings",
    columns: &[
        "id",
        "volume_id",
        "volume_uuid",
        "vm_id",
        "device_path",
        "cloudstack_state",
        "size",
        "cloudstack_device_id",
    ],
};

const EXPORTS: Table = Table {
    name: "nbd_exports",
    columns: &[
        "id",
        "volume_id",
        "volume_uuid",
        "device_mapping_uuid",
        "export_name",
        "device_path",
        "status",
    ],
};

/// Its `vm_id` is that of the VM that was replicated: it names no volume but by its device path.
const OLDER_EXPORTS: Table = Table {
    name: "vm_export_mappings",
    columns: &[
        "id",
        "volume_id",
        "volume_uuid",
        "export_name",
        "device_path",
        "status",
    ],
};

const VOLUMES: Table = Table {
    name: "ossea_volumes",
    columns: &[
        "id",
        "volume_id",
        "volume_uuid",
        "vm_id",
        "device_path",
        "size_gb",
    ],
};

const DISKS: Table = Table {
    name: "vm_disks",
    columns: &["id", "job_id", "ossea_volume_id", "cloudstack_volume_uuid"],
};

const DOING: &str = "read the old daemon's tables";

/// Reads what an installation of the old daemon left, as of one moment.
///
/// # Errors
/// If the database cannot be opened or read. Missing tables and columns are none.
pub async fn old_tables(at: &Location) -> Result<OldTables, StoreError> {
    let pool = to_read(at).await?;
    let mut tx = pool.begin(&Appliance::default(), DOING).await?;
    let mut exports = read(&mut tx, &EXPORTS).await?;
    if exports.as_ref().is_none_or(Vec::is_empty) {
        exports = read(&mut tx, &OLDER_EXPORTS).await?.or(exports);
    }
    let tables = OldTables {
        mappings: read(&mut tx, &MAPPINGS).await?,
        exports,
        volumes: read(&mut tx, &VOLUMES).await?,
        disks: read(&mut tx, &DISKS).await?,
    };
    tx.roll_back().await?;
    pool.close().await;
    Ok(tables)
}

async fn read(tx: &mut Work, table: &Table) -> Result<Option<Vec<OldRow>>, StoreError> {
    let there = tx.columns(table.name).await?;
    let has = |column: &str| {
        there
            .iter()
            .any(|(name, ..)| name.eq_ignore_ascii_case(column))
    };
    let columns: Vec<&'static str> = table
        .columns
        .iter()
        .copied()
        .filter(|column| has(column))
        .collect();
    if columns.is_empty() {
        return Ok(None);
    }
    // As text, whatever their types: those of the versions differ, and so do the databases'.
    let selected: Vec<String> = columns
        .iter()
        .map(|column| format!("CAST({column} AS CHAR)"))
        .collect();
    let sql = format!("SELECT {} FROM {}", selected.join(", "), table.name);
    let rows = tx.sql(&sql).rows().await?;
    let row = |row: &super::db::Row| {
        let texts = columns.iter().enumerate();
        OldRow(
            texts
                .filter_map(|(index, column)| Some((*column, row.text(index)?)))
                .collect(),
        )
    };
    Ok(Some(rows.iter().map(row).collect()))
}
