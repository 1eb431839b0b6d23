//! What the API shows of a snapshot of a VM.

use serde::Serialize;
use uuid::Uuid;

use crate::sim::world::{VmSnapshotNo, World};

use super::owner::OwnerView;

/// A snapshot of a VM (`VMSnapshotResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct VmSnapshotView<'a> {
    id: Uuid,
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    displayname: String,
    zoneid: Uuid,
    zonename: String,
    virtualmachineid: Uuid,
    virtualmachinename: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Uuid>,
    /// Written like this.
    #[serde(rename = "parentName", skip_serializing_if = "Option::is_none")]
    parent_name: Option<String>,
    current: bool,
    #[serde(rename = "type")]
    kind: &'static str,
    created: String,
    #[serde(flatten)]
    owner: OwnerView<'a>,
    hypervisor: &'static str,
    tags: [(); 0],
}

impl<'a> VmSnapshotView<'a> {
    /// The snapshot as it is now.
    pub fn of(world: &'a World, no: VmSnapshotNo) -> Self {
        let row = world.vm_snapshot(no);
        let vm = world.vm(row.vm);
        let zone = world.zone(vm.zone);
        let parent = row.parent.map(|no| world.vm_snapshot(no));
        Self {
            id: row.uuid,
            name: row.name.clone(),
            state: row.state.as_str(),
            description: row.description.clone(),
            displayname: row.display_name.clone(),
            zoneid: zone.uuid,
            zonename: zone.name.clone(),
            virtualmachineid: vm.uuid,
            virtualmachinename: vm.name.clone(),
            parent: parent.map(|parent| parent.uuid),
            parent_name: parent.map(|parent| parent.display_name.clone()),
            current: row.current,
            kind: if row.memory { "DiskAndMemory" } else { "Disk" },
            created: row.created.to_string(),
            owner: OwnerView::of(world, vm.account),
            hypervisor: super::HYPERVISOR,
            tags: [],
        }
    }
}
