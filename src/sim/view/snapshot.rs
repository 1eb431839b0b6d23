//! What the API shows of a snapshot.

use serde::Serialize;
use uuid::Uuid;

use crate::sim::world::{DOMAIN, SnapshotNo, World};

/// A snapshot (`SnapshotResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct SnapshotView {
    id: Uuid,
    account: String,
    domainid: Uuid,
    domain: &'static str,
    domainpath: &'static str,
    snapshottype: &'static str,
    volumeid: Uuid,
    volumename: String,
    volumetype: &'static str,
    created: String,
    name: String,
    intervaltype: &'static str,
    state: &'static str,
    /// In bytes.
    physicalsize: u64,
    /// In bytes.
    virtualsize: u64,
    zoneid: Uuid,
    zonename: String,
    revertable: bool,
    tags: [(); 0],
}

impl SnapshotView {
    /// The snapshot as it is now.
    pub fn of(world: &World, no: SnapshotNo) -> Self {
        let row = world.snapshot(no);
        let volume = world.volume(row.volume);
        let zone = world.zone(volume.zone);
        Self {
            id: row.uuid,
            account: world.account(row.account).name.clone(),
            domainid: world.domain(),
            domain: DOMAIN,
            domainpath: DOMAIN,
            snapshottype: "MANUAL",
            volumeid: volume.uuid,
            volumename: volume.name.clone(),
            volumetype: volume.kind.as_str(),
            created: row.created.to_string(),
            name: row.name.clone(),
            intervaltype: "MANUAL",
            state: row.state.as_str(),
            physicalsize: row.size,
            virtualsize: row.size,
            zoneid: zone.uuid,
            zonename: zone.name.clone(),
            revertable: true,
            tags: [],
        }
    }
}
