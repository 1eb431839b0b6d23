//! Rows of the old tables, by the volume that they are about.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{Code, Finding};
use crate::model::VolumeId;
use crate::model::legacy::{OldRow, OldTables};

/// Columns that name a volume, the later spelling first.
const VOLUME: [&str; 2] = ["volume_uuid", "volume_id"];

/// What the old tables say about one volume.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) mappings: Vec<&'a OldRow>,
    pub(super) exports: Vec<&'a OldRow>,
    /// Rows of `ossea_volumes`.
    pub(super) volumes: Vec<&'a OldRow>,
    /// Other ids that `vm_disks` has for it, each with the row.
    pub(super) copies: Vec<(&'a str, &'a OldRow)>,
    /// Other volumes that its export rows name.
    pub(super) rivals: BTreeSet<VolumeId>,
}

impl<'a> Said<'a> {
    /// Every device path that a row has for it, with the table.
    pub(super) fn paths(&self) -> BTreeMap<&'a str, &'static str> {
        let tables = [
            ("nbd_exports", &self.exports),
            ("device_mappings", &self.mappings),
        ];
        let paths = tables.into_iter().flat_map(|(table, rows)| {
            let paths = rows.iter().filter_map(|row| row.get(&["device_path"]));
            paths.map(move |path| (path, table))
        });
        paths.collect()
    }

    /// Every name that it is exported under.
    pub(super) fn export_names(&self) -> BTreeSet<&'a str> {
        let active = |row: &&&OldRow| is_active(row);
        let named = |rows: &mut dyn Iterator<Item = &&'a OldRow>| -> BTreeSet<&'a str> {
            rows.filter_map(|row| row.get(&["export_name"])).collect()
        };
        // What failed, or never came to be, is nobody's name while another one is in use.
        let in_use = named(&mut self.exports.iter().filter(active));
        match in_use.is_empty() {
            true => named(&mut self.exports.iter()),
            false => in_use,
        }
    }

    /// Whether one of its exports was in use; versions without the column say so of all.
    pub(super) fn is_exported(&self) -> bool {
        self.exports.iter().any(|row| is_active(row))
    }
}

fn is_active(row: &OldRow) -> bool {
    row.get(&["status"]).is_none_or(|status| status == "active")
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Old<'a> {
    pub(super) volumes: BTreeMap<VolumeId, Said<'a>>,
    /// Which volumes have a device path.
    pub(super) paths: BTreeMap<&'a str, BTreeSet<VolumeId>>,
    /// Which volumes have an export name.
    pub(super) names: BTreeMap<&'a str, BTreeSet<VolumeId>>,
    /// Rows that name no volume, by table.
    strays: Vec<(&'static str, &'a OldRow)>,
}

impl<'a> Old<'a> {
    pub(super) fn of(tables: &'a OldTables) -> Self {
        let mut old = Self::default();
        for row in tables.mappings.iter().flatten() {
            match id(row, &VOLUME) {
                Some(id) => old.volumes.entry(id).or_default().mappings.push(row),
                None => old.strays.push(("device_mappings", row)),
            }
        }
        for row in tables.volumes.iter().flatten() {
            match id(row, &VOLUME) {
                Some(id) => old.volumes.entry(id).or_default().volumes.push(row),
                None => old.strays.push(("ossea_volumes", row)),
            }
        }
        let at: BTreeMap<&str, VolumeId> = old
            .volumes
            .iter()
            .flat_map(|(id, said)| said.paths().into_keys().map(|path| (path, *id)))
            .collect();
        for row in tables.exports.iter().flatten() {
            // Older exports are known by nothing but the path of their disk.
            let by_path = || at.get(row.get(&["device_path"])?).copied();
            let named = [id(row, &VOLUME), id(row, &["device_mapping_uuid"])];
            let mut named = named.into_iter().flatten();
            match named.next().or_else(by_path) {
                Some(id) => {
                    let said = old.volumes.entry(id).or_default();
                    said.exports.push(row);
                    said.rivals.extend(named.filter(|other| *other != id));
                }
                None => old.strays.push(("nbd_exports", row)),
            }
        }
        old.read_copies(tables);
        for (id, said) in &old.volumes {
            for path in said.paths().into_keys() {
                old.paths.entry(path).or_default().insert(*id);
            }
            for name in said.export_names() {
                old.names.entry(name).or_default().insert(*id);
            }
        }
        old
    }

    /// The second copy of a volume's id in `vm_disks`.
    fn read_copies(&mut self, tables: &'a OldTables) {
        let volumes = tables.volumes.iter().flatten();
        let ids: BTreeMap<&str, VolumeId> = volumes
            .filter_map(|row| Some((row.get(&["id"])?, id(row, &VOLUME)?)))
            .collect();
        for row in tables.disks.iter().flatten() {
            let (Some(volume), Some(copy)) = (
                row.get(&["ossea_volume_id"]).and_then(|key| ids.get(key)),
                row.get(&["cloudstack_volume_uuid"]),
            ) else {
                continue;
            };
            if copy.parse() != Ok(*volume) {
                let said = self.volumes.entry(*volume).or_default();
                said.copies.push((copy, row));
            }
        }
    }

    /// What is to be said about rows that name no volume.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let findings = self.strays.iter().map(|(table, row)| {
            let says = row.get(&VOLUME).unwrap_or_default();
            let message = format!("{table}: the row {} names no volume: {says:?}", key(row));
            Finding::new(Code::NoVolume, None, message)
        });
        findings.collect()
    }
}

/// What a row is known by.
pub(super) fn key(row: &OldRow) -> &str {
    row.get(&["id", "export_name"]).unwrap_or("without an id")
}

/// The first of these columns that is an id.
fn id(row: &OldRow, columns: &[&'static str]) -> Option<VolumeId> {
    let mut ids = columns
        .iter()
        .filter_map(|column| row.get(&[column])?.parse().ok());
    ids.next()
}
