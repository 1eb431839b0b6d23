//! From the tables of the old daemon to rows of `desired_volumes`: what can be taken over as it is,
//! and what speaks against the rest.
//!
//! Pure: the old tables, what CloudStack and this machine say, and the rows that are there come in;
//! findings and new rows go out. A volume is taken over only where its facts agree, and a row that
//! is there is never changed. Whoever calls reads and writes.

mod code;
mod export;
mod judge;
mod old;
mod path;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use code::{Code, Finding};

use crate::model::desired::{NameOrId, Origin};
use crate::model::legacy::OldTables;
use crate::model::observed::{CloudVolume, Disks};
use crate::model::source::DesiredRow;
use crate::model::{ByteSize, Serial, VmId, VolumeId, VolumeName};
use crate::plan::World;
use judge::Judge;
use old::Old;

/// Who writes the rows.
pub const WRITER: &str = "import-legacy";

/// All that is compared.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the old daemon and its engine wrote.
    pub tables: &'a OldTables,
    /// CloudStack, this machine, and what the daemon's store holds. Volumes of [`old_volumes`] that
    /// no listing has were looked up by id.
    pub world: &'a World,
    /// The rows of `desired_volumes` that are this appliance's.
    pub rows: &'a [DesiredRow],
    /// The VM that this is.
    pub here: VmId,
    /// The disks of it.
    pub disks: &'a Disks,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Import {
    /// Every volume that the old tables name, by its id.
    pub volumes: Vec<OldVolume>,
    /// What does not agree: what stands in the way first.
    pub findings: Vec<Finding>,
    /// The rows to be added.
    #[serde(skip)]
    pub rows: Vec<DesiredRow>,
}

impl Import {
    /// Whether something is left to be done, by this or by a person.
    pub fn is_settled(&self) -> bool {
        self.rows.is_empty() && !self.findings.iter().any(|finding| finding.blocks)
    }

    /// How many volumes have this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        let volumes = self.volumes.iter();
        volumes.filter(|volume| volume.outcome == outcome).count()
    }
}

/// A volume that the old tables name, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OldVolume {
    /// Its id in CloudStack.
    pub id: VolumeId,
    /// What comes of it.
    pub outcome: Outcome,
    /// The name of its row, if it has one or gets one.
    pub row: Option<String>,
    /// How CloudStack describes it; `None` if it does not.
    pub cloud: Option<InCloud>,
    /// Its disk on this machine, if CloudStack says that it is attached here.
    pub device: Option<Here>,
    /// The export that the old daemon has for it.
    pub export: Option<String>,
}

/// A volume as CloudStack describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InCloud {
    /// Its name.
    pub name: String,
    /// Whether it is a root disk.
    pub root: bool,
    /// Its size.
    pub size: ByteSize,
    /// The name of its zone, or its id.
    pub zone: String,
    /// The name of its disk offering, or its id.
    pub offering: Option<String>,
    /// The VM it is attached to.
    pub vm: Option<VmId>,
    /// The name of that.
    pub vm_name: Option<String>,
    /// CloudStack's device id there.
    pub device_id: Option<u8>,
}

/// A disk of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Here {
    /// Its path in `/dev/disk/by-id`: the one that is there, or the one that should be.
    pub by_id: String,
    /// Whether it is there.
    pub exists: bool,
}

/// What comes of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// It gets a row.
    New,
    /// It has the row that it would get.
    Unchanged,
    /// It has another row, or a spec: that is not touched.
    Kept,
    /// Something speaks against it.
    LeftOut,
    /// CloudStack has no such volume.
    Gone,
}

/// The volumes that the old tables name.
pub fn old_volumes(tables: &OldTables) -> BTreeSet<VolumeId> {
    Old::of(tables).volumes.into_keys().collect()
}

/// Compares all that is known.
pub fn import(facts: Facts<'_>) -> Import {
    let old = Old::of(facts.tables);
    let mut judge = Judge::new(facts, &old);
    let mut import = Import {
        volumes: Vec::new(),
        findings: old.findings(),
        rows: Vec::new(),
    };
    for id in judge.in_order() {
        let (volume, findings, row) = judge.volume(id);
        import.volumes.push(volume);
        import.findings.extend(findings);
        import.rows.extend(row);
    }
    import.volumes.sort_by_key(|volume| volume.id);
    import
        .findings
        .sort_by_key(|finding| (!finding.blocks, finding.volume, finding.code));
    import
}

/// The volumes that a spec here is bound to or asks for, each with its name.
pub fn managed(world: &World) -> BTreeMap<VolumeId, VolumeName> {
    let mut managed = BTreeMap::new();
    for (name, want) in &world.desired.volumes {
        let Origin::Existing { volume, .. } = &want.spec().origin else {
            continue;
        };
        match volume {
            NameOrId::Id(id) => drop(managed.insert(*id, name.clone())),
            NameOrId::Name(called) => {
                let all = world.observed.cloud.volumes.values();
                let named = all.filter(|it| it.name == *called);
                managed.extend(named.map(|it| (it.id, name.clone())));
            }
        }
    }
    let bindings = world.memory.bindings.iter();
    managed.extend(bindings.map(|(name, bound)| (bound.volume, name.clone())));
    managed
}

/// Serials that more than one visible volume has: none of their disks can be told.
pub fn shared_serials(world: &World) -> BTreeSet<Serial> {
    let mut seen = BTreeSet::new();
    let volumes = world.observed.cloud.volumes.keys();
    let serials = volumes.map(|id| Serial::of(*id));
    serials
        .filter(|serial| !seen.insert(serial.clone()))
        .collect()
}

/// A name for the spec of a volume: its own, as far as it is allowed, with the first digits of its
/// id if that is nothing or taken.
pub fn name_for(volume: &CloudVolume, taken: &BTreeSet<VolumeName>) -> VolumeName {
    let mut label = String::new();
    for letter in volume.name.to_lowercase().chars() {
        match letter {
            'a'..='z' | '0'..='9' => label.push(letter),
            _ if label.is_empty() || label.ends_with('-') => {}
            _ => label.push('-'),
        }
    }
    let id = volume.id.to_string();
    let short = &id[..8];
    let cut = |length: usize| label[..label.len().min(length)].trim_end_matches('-');
    let candidates = [
        cut(VolumeName::LEN_MAX).to_owned(),
        format!("{}-{short}", cut(VolumeName::LEN_MAX - 9)),
        format!("volume-{short}"),
        format!("volume-{id}"),
    ];
    let mut names = candidates.iter().filter_map(|name| name.parse().ok());
    names
        .find(|name| !taken.contains(name))
        .expect("a whole id is a name, and nobody else's")
}
