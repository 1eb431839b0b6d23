//! One volume after the other: whether its facts agree, and the row that it gets.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{Code, Finding};
use super::old::{Old, Said, key};
use super::path::by_id;
use super::{Facts, Here, InCloud, OldVolume, Outcome, WRITER, export, managed, name_for, path};
use crate::model::action::CLAIM_TAG;
use crate::model::legacy::OldRow;
use crate::model::observed::{CloudVolume, Disks, VolumeKind, VolumeState};
use crate::model::source::DesiredRow;
use crate::model::{ByteSize, ExportName, Owner, Reading, Serial, VmId, VolumeId, VolumeName};
use crate::plan::World;
use crate::source::row_document;

/// What is known while volumes are judged.
pub(super) struct Judge<'a> {
    facts: Facts<'a>,
    old: &'a Old<'a>,
    managed: BTreeMap<VolumeId, VolumeName>,
    shared_serials: BTreeSet<Serial>,
    /// Names of rows and specs, those to come included.
    taken: BTreeSet<VolumeName>,
}

/// A volume that CloudStack has, and what is known of it.
pub(super) struct Case<'a> {
    pub(super) id: VolumeId,
    pub(super) cloud: &'a CloudVolume,
    pub(super) said: &'a Said<'a>,
    pub(super) old: &'a Old<'a>,
    pub(super) disks: &'a Disks,
    facts: Facts<'a>,
}

impl Case<'_> {
    /// Whether it is attached to this VM.
    pub(super) fn is_here(&self) -> bool {
        self.vm() == Some(self.facts.here)
    }

    /// Whether CloudStack has no volume of this id.
    pub(super) fn is_gone(&self, id: VolumeId) -> bool {
        matches!(
            self.facts.world.observed.cloud.volume(id, None),
            Reading::Absent
        )
    }

    /// The spec here that exports another volume under this name.
    pub(super) fn exported_by(&self, name: &str) -> Option<&VolumeName> {
        let World {
            desired, memory, ..
        } = self.facts.world;
        let mut others = desired.volumes.iter().filter(|(spec, want)| {
            let bound = memory.bindings.get(*spec).map(|bound| bound.volume);
            let named = want
                .spec()
                .export
                .as_ref()
                .and_then(|export| export.name.as_ref());
            bound.is_some_and(|bound| bound != self.id)
                && named.is_some_and(|named| named.as_str() == name)
        });
        others.next().map(|(spec, _)| spec)
    }

    fn vm(&self) -> Option<VmId> {
        self.cloud.attachment.map(|at| at.vm)
    }

    fn vm_name(&self, vm: VmId) -> String {
        match self.facts.world.observed.cloud.vms.get(&vm) {
            Some(known) => format!("{} ({vm})", known.name),
            None => vm.to_string(),
        }
    }
}

impl<'a> Judge<'a> {
    pub(super) fn new(facts: Facts<'a>, old: &'a Old<'a>) -> Self {
        let world = facts.world;
        let specs = world.desired.volumes.keys();
        let mut taken: BTreeSet<VolumeName> =
            specs.chain(world.memory.bindings.keys()).cloned().collect();
        taken.extend(facts.rows.iter().filter_map(|row| row.name.parse().ok()));
        Self {
            facts,
            old,
            managed: managed(world),
            shared_serials: super::shared_serials(world),
            taken,
        }
    }

    /// The volumes by their names, so that these are given in an order that people expect.
    pub(super) fn in_order(&self) -> Vec<VolumeId> {
        let volumes = &self.facts.world.observed.cloud.volumes;
        let mut ids: Vec<VolumeId> = self.old.volumes.keys().copied().collect();
        ids.sort_by_key(|id| (volumes.get(id).map(|volume| volume.name.as_str()), *id));
        ids
    }

    /// What comes of one volume, what is to be said about it, and the row it gets.
    pub(super) fn volume(&mut self, id: VolumeId) -> (OldVolume, Vec<Finding>, Option<DesiredRow>) {
        let (facts, old) = (self.facts, self.old);
        let said = &old.volumes[&id];
        let mut volume = OldVolume {
            id,
            outcome: Outcome::LeftOut,
            row: None,
            cloud: None,
            device: None,
            export: said.export_names().first().map(|&name| name.to_owned()),
        };
        let cloud = match facts.world.observed.cloud.volume(id, None) {
            Reading::Present(cloud) if is_gone(&cloud.state) => {
                volume.outcome = Outcome::Gone;
                let message = format!("in CloudStack it is {}", cloud.state);
                return (
                    volume,
                    vec![Finding::new(Code::VolumeGone, id, message)],
                    None,
                );
            }
            Reading::Present(cloud) => cloud,
            Reading::Absent => {
                volume.outcome = Outcome::Gone;
                let message = "CloudStack has no such volume".to_owned();
                return (
                    volume,
                    vec![Finding::new(Code::VolumeGone, id, message)],
                    None,
                );
            }
            Reading::Unknown(why) => {
                return (
                    volume,
                    vec![Finding::new(Code::VolumeUnknown, id, why)],
                    None,
                );
            }
        };
        let case = Case {
            id,
            cloud,
            said,
            old,
            disks: facts.disks,
            facts,
        };
        volume.cloud = Some(case.described());
        volume.device = case.is_here().then(|| {
            let (by_id, exists) = by_id(case.disks, &Serial::of(id));
            Here { by_id, exists }
        });
        let (export, mut findings) = self.compare(&case);
        let row = self.row(&case, export, &mut volume, &mut findings);
        (volume, findings, row)
    }

    fn compare(&self, case: &Case<'_>) -> (Option<ExportName>, Vec<Finding>) {
        let (export, mut findings) = export::judge(case);
        findings.extend(case.state());
        findings.extend(case.mappings());
        findings.extend(case.copies());
        if case.is_here() {
            findings.extend(path::findings(case));
        }
        if self.shared_serials.contains(&Serial::of(case.id)) {
            let message = "another volume has the same first 20 digits of its id".to_owned();
            findings.push(Finding::new(Code::SharedSerial, case.id, message));
        }
        if let Some(claim) = case.cloud.tags.get(CLAIM_TAG)
            && !self.managed.contains_key(&case.id)
        {
            let message = format!("it carries the claim {claim}, which is not of a spec here");
            findings.push(Finding::new(Code::ClaimedByOther, case.id, message));
        }
        (export, findings)
    }

    /// The row that the volume gets, unless it has one, or something speaks against it.
    fn row(
        &mut self,
        case: &Case<'_>,
        export: Option<ExportName>,
        volume: &mut OldVolume,
        findings: &mut Vec<Finding>,
    ) -> Option<DesiredRow> {
        let columns = columns(case, export);
        let says = |row: &&DesiredRow| {
            let id = row.columns.get("existing_id");
            id.and_then(|id| id.parse().ok()) == Some(case.id)
        };
        if let Some(row) = self.facts.rows.iter().find(says) {
            volume.row = Some(row.name.clone());
            let (outcome, found) = against(row, columns, case.id);
            volume.outcome = outcome;
            findings.extend(found);
            return None;
        }
        let known = self.managed.get(&case.id);
        if let Some(name) = known
            && !self.is_ours(name)
        {
            volume.row = Some(name.to_string());
            volume.outcome = Outcome::Kept;
            let message = format!("the spec {name} is about it");
            findings.push(Finding::new(Code::AlreadyManaged, case.id, message));
            return None;
        }
        if findings.iter().any(|finding| finding.blocks) {
            return None;
        }
        // A volume that was let go finds its spec again by the name it had.
        let name = known
            .cloned()
            .unwrap_or_else(|| name_for(case.cloud, &self.taken));
        self.taken.insert(name.clone());
        volume.row = Some(name.to_string());
        volume.outcome = Outcome::New;
        Some(DesiredRow {
            name: name.to_string(),
            columns,
        })
    }

    /// Whether a name stands for nothing but a row that was written here.
    fn is_ours(&self, name: &VolumeName) -> bool {
        let spec = self.facts.world.desired.volumes.get(name);
        spec.is_none_or(|spec| match &spec.owner {
            Owner::Db(writer) => writer.to_string() == WRITER,
            Owner::File(_) | Owner::Api => false,
        })
    }
}

/// What a row that is there comes to, against the columns that it would have.
fn against(
    row: &DesiredRow,
    columns: BTreeMap<&'static str, String>,
    id: VolumeId,
) -> (Outcome, Option<Finding>) {
    let name = &row.name;
    let writer = row.columns.get("writer").map_or("", String::as_str);
    if writer != WRITER {
        let message = format!("the row {name} of {writer} is about it");
        return (
            Outcome::Kept,
            Some(Finding::new(Code::AlreadyManaged, id, message)),
        );
    }
    let would = DesiredRow {
        name: name.clone(),
        columns,
    };
    let is_deleted = row.columns.contains_key("deleted_at");
    match (row_document(row), row_document(&would)) {
        (Ok(says), Ok(would)) if says.document == would.document && !is_deleted => {
            (Outcome::Unchanged, None)
        }
        _ => {
            let differ = DesiredRow::COLUMNS
                .into_iter()
                .filter(|column| row.columns.get(column) != would.columns.get(column));
            let differ: Vec<&str> = differ.collect();
            let message = format!("the row {name} says otherwise: {}", differ.join(", "));
            (
                Outcome::Kept,
                Some(Finding::new(Code::RowDiffers, id, message)),
            )
        }
    }
}

fn columns(case: &Case<'_>, export: Option<ExportName>) -> BTreeMap<&'static str, String> {
    let mut columns = BTreeMap::from([
        ("writer", WRITER.to_owned()),
        ("existing_id", case.id.to_string()),
        ("reclaim_policy", "Retain".to_owned()),
        ("deletion_protection", "1".to_owned()),
    ]);
    if let Some(vm) = case.vm() {
        let vm = match case.is_here() {
            true => "self".to_owned(),
            false => vm.to_string(),
        };
        columns.insert("vm", vm);
    }
    if let Some(name) = export {
        columns.insert("export", "1".to_owned());
        columns.insert("export_name", name.to_string());
    }
    columns
}

fn is_gone(state: &VolumeState) -> bool {
    match state {
        VolumeState::Destroy | VolumeState::Expunged => true,
        VolumeState::Allocated
        | VolumeState::Ready
        | VolumeState::Transitional(_)
        | VolumeState::Other(_) => false,
    }
}

impl Case<'_> {
    fn described(&self) -> InCloud {
        let cloud = &self.facts.world.observed.cloud;
        let catalogue = cloud.catalogue.as_ref();
        let zone = self.cloud.zone;
        let zones = catalogue.into_iter().flat_map(|all| &all.zones);
        let zone_name = zones.into_iter().find(|it| it.id == zone);
        let offering = |id| {
            let mut all = catalogue.into_iter().flat_map(|all| &all.offerings);
            let known = all.find(|it| it.id == id);
            known.map_or_else(|| id.to_string(), |it| it.name.clone())
        };
        InCloud {
            name: self.cloud.name.clone(),
            root: self.cloud.kind == VolumeKind::Root,
            size: self.cloud.size,
            zone: zone_name.map_or_else(|| zone.to_string(), |it| it.name.clone()),
            offering: self.cloud.offering.map(offering),
            vm: self.vm(),
            vm_name: self
                .vm()
                .and_then(|vm| Some(cloud.vms.get(&vm)?.name.clone())),
            device_id: self.cloud.attachment.and_then(|at| at.device_id),
        }
    }

    /// Whether it is one that can be taken over at all.
    fn state(&self) -> Option<Finding> {
        if self.cloud.kind == VolumeKind::Root {
            let message = match self.vm() {
                Some(vm) => format!("it is the root disk of {}", self.vm_name(vm)),
                None => "it is a root disk".to_owned(),
            };
            return Some(Finding::new(Code::RootDisk, self.id, message));
        }
        let is_idle = matches!(
            self.cloud.state,
            VolumeState::Ready | VolumeState::Allocated
        );
        let message = match self.cloud.pending_job {
            Some(job) => format!("the job {job} is changing it"),
            None if is_idle => return None,
            None => format!("in CloudStack it is {}", self.cloud.state),
        };
        Some(Finding::new(Code::VolumeNotReady, self.id, message))
    }

    /// Whether it is where its mapping says.
    fn mappings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut say = |code, message| findings.push(Finding::new(code, self.id, message));
        if let [_, _, ..] = self.said.mappings[..] {
            let rows: Vec<&str> = self.said.mappings.iter().map(|row| key(row)).collect();
            say(
                Code::SeveralMappings,
                format!("device_mappings: the rows {} are about it", rows.join(", ")),
            );
        }
        for row in &self.said.mappings {
            let is_detached = row.get(&["cloudstack_state"]) == Some("detached");
            let vm = row.get(&["vm_id"]).filter(|_| !is_detached);
            if let Some(message) = self.elsewhere("device_mappings", vm) {
                say(Code::OtherVm, message);
            }
            if let Some(says) = row.get(&["cloudstack_device_id"])
                && let Some(at) = self.cloud.attachment
                && at.device_id.is_some_and(|id| id.to_string() != says)
            {
                let device = at.device_id.unwrap_or_default();
                say(
                    Code::CopyDiffers,
                    format!(
                        "device_mappings: cloudstack_device_id is {says}, in CloudStack {device}"
                    ),
                );
            }
            self.size(row, "device_mappings", "size", 1, &mut say);
        }
        findings
    }

    /// Whether the engine's own columns agree.
    fn copies(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut say = |code, message| findings.push(Finding::new(code, self.id, message));
        for row in &self.said.volumes {
            let vm = row.get(&["vm_id"]);
            if let (Some(_), Some(message)) = (vm, self.elsewhere("ossea_volumes", vm)) {
                say(Code::CopyDiffers, message);
            }
            self.size(
                row,
                "ossea_volumes",
                "size_gb",
                ByteSize::gib(1).as_bytes(),
                &mut say,
            );
        }
        for (copy, row) in &self.said.copies {
            let row = key(row);
            say(
                Code::CopyDiffers,
                format!("vm_disks: cloudstack_volume_uuid of the row {row} is {copy:?}"),
            );
        }
        findings
    }

    /// That a row says another VM than CloudStack.
    fn elsewhere(&self, table: &str, vm: Option<&str>) -> Option<String> {
        let says: Option<VmId> = vm.and_then(|vm| vm.parse().ok());
        if says == self.vm() {
            return None;
        }
        let named = |vm: Option<VmId>| match vm {
            Some(vm) => format!("on {}", self.vm_name(vm)),
            None => "on no VM".to_owned(),
        };
        let says = match (says, vm) {
            (None, Some(text)) => format!("on {text:?}"),
            (says, _) => named(says),
        };
        Some(format!(
            "{table}: {says}; in CloudStack {}",
            named(self.vm())
        ))
    }

    /// Compares a size, which some versions round.
    fn size(
        &self,
        row: &OldRow,
        table: &str,
        column: &'static str,
        unit: u64,
        say: &mut impl FnMut(Code, String),
    ) {
        let says = row.get(&[column]).and_then(|text| text.parse::<u64>().ok());
        let Some(bytes) = says.and_then(|says| says.checked_mul(unit)) else {
            return;
        };
        let gib = |bytes: u64| bytes / ByteSize::gib(1).as_bytes();
        let has = self.cloud.size;
        let message = || {
            format!(
                "{table}: {column} is {}, in CloudStack {has}",
                ByteSize::bytes(bytes)
            )
        };
        match gib(bytes).cmp(&gib(has.as_bytes())) {
            std::cmp::Ordering::Greater => say(Code::SizeDiffers, message()),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Less => say(Code::GrownSince, message()),
        }
    }
}
