//! What the API shows of a snapshot.

use serde::Serialize;
use uuid::Uuid;

use crate::sim::world::{SnapshotNo, Tagged, World};

use super::TagView;
use super::owner::OwnerView;

/// A snapshot (`SnapshotResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct SnapshotView<'a> {
    id: Uuid,
    #[serde(flatten)]
    owner: OwnerView<'a>,
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
    tags: Vec<TagView<'a>>,
}

impl<'a> SnapshotView<'a> {
    /// The snapshot as it is now.
    pub fn of(world: &'a World, no: SnapshotNo) -> Self {
        let row = world.snapshot(no);
        let volume = world.volume(row.volume);
        let zone = world.zone(volume.zone);
        Self {
            id: row.uuid,
            owner: OwnerView::of(world, row.account),
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
            tags: super::tags(world, Tagged::Snapshot(no), &row.tags),
        }
    }
}
