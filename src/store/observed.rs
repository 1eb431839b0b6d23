//! `device_mappings` and `nbd_exports`: what is observed of attachments and exports, in the form of the
//! old daemon. Written, never read but to find the rows that are to be changed.
//!
//! The tables have no column that says whose a row is. A row is this appliance's if it is of a volume
//! bound here, which is so of every volume that is told; it is deleted only if it was written here.

use std::collections::{BTreeMap, BTreeSet};

use super::StoreError;
use super::db::{Value, Work};
use super::old::{Named, OldTable, Table, VOLUME, is_changing, moment};
use crate::model::{ByteSize, ExportName, Timestamp, VmId, VolumeId};

/// A row of `device_mappings`: a volume that is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingRow {
    /// The volume.
    pub volume: VolumeId,
    /// To which VM.
    pub vm: VmId,
    /// Its disk.
    pub disk: Disk,
    /// Its size as CloudStack says.
    pub size: ByteSize,
    /// CloudStack's device id.
    pub device_id: Option<u8>,
}

/// The disk of an attached volume, as it is seen here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// It is here, with this by-id link.
    Here(String),
    /// It is to be here, and has no link yet.
    Missing,
    /// It is on another VM.
    Elsewhere,
}

/// A row of `nbd_exports`: a volume that is exported, or to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRow {
    /// The volume.
    pub volume: VolumeId,
    /// What clients ask for.
    pub export: ExportName,
    /// At which TCP port; 0 for a unix socket.
    pub port: u16,
    /// The by-id link of its disk.
    pub device_path: Option<String>,
    /// How it stands.
    pub state: ExportState,
}

/// How an export stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportState {
    /// It is to come.
    Pending,
    /// The proven disk is served.
    Active,
    /// It could not be made, or what is served is not the proven disk.
    Failed,
}

/// What is to be changed in one of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<R> {
    /// Rows to be written.
    pub rows: Vec<R>,
    /// Volumes that are to have none.
    pub absent: BTreeSet<VolumeId>,
}

// Not derived: that would ask for a default row.
impl<R> Default for Change<R> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            absent: BTreeSet::new(),
        }
    }
}

impl<R> Change<R> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.absent.is_empty()
    }
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Of which table.
    pub table: OldTable,
    /// Of which volume.
    pub volume: VolumeId,
    /// Why: a row of another volume is in its way, or what the database said.
    pub why: String,
}

/// A row in the table's own terms.
#[derive(Debug, Clone)]
struct OldRow {
    volume: VolumeId,
    /// What no other row may have: the device path, or the export name.
    claim: String,
    values: Vec<Named>,
}

/// A row that is there.
struct Found {
    id: String,
    volume: Option<VolumeId>,
    claim: Option<String>,
}

/// Rows looked for, written or deleted by one statement.
const ROWS: usize = 200;

/// Writes a change of `device_mappings`.
pub(super) async fn map(
    tx: &mut Work,
    table: &Table,
    change: &Change<MappingRow>,
    at: Timestamp,
) -> Result<Vec<LeftOut>, StoreError> {
    let rows = change.rows.iter().map(|row| mapping(row, at)).collect();
    tell(tx, table, rows, &change.absent).await
}

/// Writes a change of `nbd_exports`.
pub(super) async fn export(
    tx: &mut Work,
    table: &Table,
    change: &Change<ExportRow>,
    at: Timestamp,
) -> Result<Vec<LeftOut>, StoreError> {
    let rows = change.rows.iter().map(|row| exported(row, at)).collect();
    tell(tx, table, rows, &change.absent).await
}

fn mapping(row: &MappingRow, at: Timestamp) -> OldRow {
    let MappingRow {
        volume,
        vm,
        disk,
        size,
        device_id,
    } = row;
    // Old readers take a device path that is NULL for an error, and two that are the same for one
    // disk. Nobody takes these for a path.
    let (claim, linux_state, mode) = match disk {
        Disk::Here(link) => (link.clone(), "detected", "oma"),
        Disk::Missing => (format!("pending-{volume}"), "pending", "oma"),
        Disk::Elsewhere => (format!("remote-{volume}"), "remote", "failover"),
    };
    let is_here = !matches!(disk, Disk::Elsewhere);
    let values = vec![
        ("id", format!("mapping-{volume}").into()),
        (VOLUME, volume.to_string().into()),
        ("vm_id", vm.to_string().into()),
        ("device_path", (&claim).into()),
        ("cloudstack_state", "attached".into()),
        ("linux_state", linux_state.into()),
        ("size", size.as_bytes().cast_signed().into()),
        ("last_sync", moment(at)),
        ("created_at", moment(at)),
        ("updated_at", moment(at)),
        ("operation_mode", mode.into()),
        ("cloudstack_device_id", device_id.map(i64::from).into()),
        ("requires_device_correlation", i64::from(is_here).into()),
    ];
    OldRow {
        volume: *volume,
        claim,
        values,
    }
}

fn exported(row: &ExportRow, at: Timestamp) -> OldRow {
    let ExportRow {
        volume,
        export,
        port,
        device_path,
        state,
    } = row;
    let status = match state {
        ExportState::Pending => "pending",
        ExportState::Active => "active",
        ExportState::Failed => "failed",
    };
    let values = vec![
        ("id", format!("export-{volume}").into()),
        (VOLUME, volume.to_string().into()),
        ("export_name", export.as_str().into()),
        ("port", i64::from(*port).into()),
        (
            "device_path",
            device_path.clone().unwrap_or_default().into(),
        ),
        // Exports are not in files.
        ("config_path", "".into()),
        ("status", status.into()),
        ("created_at", moment(at)),
        ("updated_at", moment(at)),
    ];
    OldRow {
        volume: *volume,
        claim: export.to_string(),
        values,
    }
}

async fn tell(
    tx: &mut Work,
    table: &Table,
    rows: Vec<OldRow>,
    absent: &BTreeSet<VolumeId>,
) -> Result<Vec<LeftOut>, StoreError> {
    let mut left_out = forget(tx, table, absent).await?;
    for rows in rows.chunks(ROWS) {
        if let Ok(conflicts) = try_put(tx, table, rows).await? {
            left_out.extend(conflicts);
            continue;
        }
        // One of them is refused: which?
        for row in rows {
            match try_put(tx, table, std::slice::from_ref(row)).await? {
                Ok(conflicts) => left_out.extend(conflicts),
                Err(error) => left_out.push(LeftOut {
                    table: table.which,
                    volume: row.volume,
                    why: crate::telemetry::chain(&error),
                }),
            }
        }
    }
    Ok(left_out)
}

/// Puts rows. The inner error says why the database would have none of them.
async fn try_put(
    tx: &mut Work,
    table: &Table,
    rows: &[OldRow],
) -> Result<Result<Vec<LeftOut>, StoreError>, StoreError> {
    tx.save().await?;
    match put(tx, table, rows).await {
        Ok(conflicts) => Ok(Ok(conflicts)),
        Err(error) => tx.recover(error).await.map(Err),
    }
}

/// Changes the rows of volumes that have one, inserts the others, and remembers that they are ours.
async fn put(tx: &mut Work, table: &Table, rows: &[OldRow]) -> Result<Vec<LeftOut>, StoreError> {
    let found = find(tx, table, rows).await?;
    let (mut left_out, mut ours) = (Vec::new(), Vec::new());
    let (mut changed, mut new) = (Vec::new(), Vec::new());
    for row in rows {
        let has_claim = |it: &&Found| it.claim.as_ref() == Some(&row.claim);
        let is_its = |it: &&Found| it.volume == Some(row.volume);
        if let Some(rival) = found.iter().find(|it| has_claim(it) && !is_its(it)) {
            let of = rival
                .volume
                .map_or_else(|| "another".to_owned(), |id| id.to_string());
            left_out.push(LeftOut {
                table: table.which,
                volume: row.volume,
                why: format!("row {} of volume {of} has {}", rival.id, row.claim),
            });
            continue;
        }
        let its = || found.iter().filter(is_its);
        let values = table.row(row.values.clone());
        match its().find(has_claim).or_else(|| its().next()) {
            Some(found) => changed.push((found.id.clone(), values)),
            None => new.push(values),
        }
        ours.push(row);
    }
    update(tx, table, changed).await?;
    table.insert(tx, &new).await?;
    remember(tx, table.which, &ours).await?;
    Ok(left_out)
}

/// What the claims of a table are called.
const fn claim_of(table: OldTable) -> &'static str {
    match table {
        OldTable::Mappings => "device_path",
        OldTable::Exports => "export_name",
        OldTable::Operations => "id",
    }
}

/// Rows of these volumes, and rows that have what these claim.
async fn find(tx: &mut Work, table: &Table, rows: &[OldRow]) -> Result<Vec<Found>, StoreError> {
    let (volume, claim) = (table.volume(), claim_of(table.which));
    let sql = format!(
        "SELECT CAST(id AS CHAR), {volume}, {claim} FROM {} WHERE {volume} IN ",
        table.which
    );
    let read = tx
        .sql(&sql)
        .list(rows.iter().map(|row| row.volume.to_string().into()))
        .and(&format!(" OR {claim} IN "))
        .list(rows.iter().map(|row| (&row.claim).into()))
        .and(" ORDER BY id")
        .rows()
        .await?;
    let found = read.iter().filter_map(|row| {
        Some(Found {
            id: row.text(0)?,
            volume: row.text(1).and_then(|id| id.parse().ok()),
            claim: row.text(2),
        })
    });
    Ok(found.collect())
}

/// Changes rows that are there, each its own way, in one statement.
async fn update(
    tx: &mut Work,
    table: &Table,
    rows: Vec<(String, Vec<Named>)>,
) -> Result<(), StoreError> {
    let Some((_, first)) = rows.first() else {
        return Ok(());
    };
    let names: Vec<&str> = first
        .iter()
        .filter(|it| is_changing(it))
        .map(|it| it.0)
        .collect();
    let cases = " WHEN ? THEN ?".repeat(rows.len());
    let set: Vec<String> = names
        .iter()
        .map(|name| format!("{name} = CASE id{cases} END"))
        .collect();
    let mut columns: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut ids: Vec<Value> = Vec::new();
    for (id, row) in rows {
        for (name, value) in row {
            columns
                .entry(name)
                .or_default()
                .extend([(&id).into(), value]);
        }
        ids.push(id.into());
    }
    let mut update = tx.sql(&format!("UPDATE {} SET {}", table.which, set.join(", ")));
    for name in names {
        for value in columns.remove(name).into_iter().flatten() {
            update = update.bind(value);
        }
    }
    update.and(" WHERE id IN ").list(ids).execute().await?;
    Ok(())
}

async fn remember(tx: &mut Work, table: OldTable, rows: &[&OldRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let volumes = rows.iter().map(|row| row.volume);
    disclaim(tx, table, volumes).await?;
    let mut insert =
        tx.sql("INSERT INTO vd_old_rows (appliance, old_table, volume_id, claim) VALUES ");
    for row in rows {
        let volume = row.volume.to_string();
        insert = insert.row([table.name().into(), volume.into(), (&row.claim).into()]);
    }
    insert.execute().await?;
    Ok(())
}

async fn disclaim(
    tx: &mut Work,
    table: OldTable,
    volumes: impl Iterator<Item = VolumeId>,
) -> Result<(), StoreError> {
    tx.sql("DELETE FROM vd_old_rows WHERE appliance = ? AND old_table = ? AND volume_id IN ")
        .mine()
        .bind(table.name())
        .list(volumes.map(|volume| volume.to_string().into()))
        .execute()
        .await?;
    Ok(())
}

/// Deletes the rows of volumes that are to have none, if they were written here.
async fn forget(
    tx: &mut Work,
    table: &Table,
    absent: &BTreeSet<VolumeId>,
) -> Result<Vec<LeftOut>, StoreError> {
    let mut left_out = Vec::new();
    if absent.is_empty() {
        return Ok(left_out);
    }
    let which = table.which;
    let read = tx
        .sql("SELECT volume_id, claim FROM vd_old_rows WHERE appliance = ? AND old_table = ?")
        .mine()
        .bind(which.name())
        .rows()
        .await?;
    let ours = read.iter().filter_map(|row| {
        let volume: VolumeId = row.text(0)?.parse().ok()?;
        absent.contains(&volume).then_some((volume, row.text(1)?))
    });
    let ours: Vec<(VolumeId, String)> = ours.collect();
    let sql = format!("DELETE FROM {which} WHERE {} IN ", table.volume());
    let claim = format!(" AND {} IN ", claim_of(which));
    for rows in ours.chunks(ROWS) {
        tx.save().await?;
        let volumes = || rows.iter().map(|(volume, _)| *volume);
        let deleted = tx
            .sql(&sql)
            .list(volumes().map(|volume| volume.to_string().into()))
            .and(&claim)
            .list(rows.iter().map(|(_, claim)| claim.into()))
            .execute()
            .await;
        match deleted {
            Ok(_) => disclaim(tx, which, volumes()).await?,
            Err(error) => {
                let why = crate::telemetry::chain(&tx.recover(error).await?);
                left_out.extend(volumes().map(|volume| LeftOut {
                    table: which,
                    volume,
                    why: why.clone(),
                }));
            }
        }
    }
    Ok(left_out)
}
