//! What the tables of the daemon before this one say, as they were read.

use std::collections::BTreeMap;

/// A row of a table of the old daemon, not judged: whatever its columns hold, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OldRow(pub BTreeMap<&'static str, String>);

impl OldRow {
    /// What stands in the first of these columns that is there and says anything.
    pub fn get(&self, columns: &[&'static str]) -> Option<&str> {
        let texts = columns.iter().filter_map(|column| self.0.get(column));
        texts.map(|text| text.trim()).find(|text| !text.is_empty())
    }
}

/// The tables of the old daemon, and of the engine beside it. `None`: there is no such table, or
/// this user does not see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OldTables {
    /// `device_mappings`: where the daemon believed each volume to be.
    pub mappings: Option<Vec<OldRow>>,
    /// `nbd_exports`, or the older `vm_export_mappings` where that is all there is.
    pub exports: Option<Vec<OldRow>>,
    /// `ossea_volumes`: the engine's volumes.
    pub volumes: Option<Vec<OldRow>>,
    /// `vm_disks`: the engine's disks.
    pub disks: Option<Vec<OldRow>>,
}

impl OldTables {
    /// Whether there is none of them.
    pub fn are_missing(&self) -> bool {
        let Self {
            mappings,
            exports,
            volumes,
            disks,
        } = self;
        [mappings, exports, volumes, disks]
            .iter()
            .all(|table| table.is_none())
    }
}
