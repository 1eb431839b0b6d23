//! Deletes the volume of a spec that is gone, if everything says so (I5).
//!
//! Data outlives specs. A volume is deleted only if its spec asked for that and switched the
//! protection off, was gone for as long as the policy says, and this daemon made the volume; if it
//! is on no VM and no disk here is it; and never a second time.

use crate::model::action::{CLAIM_TAG, Claim, Mark};
use crate::model::memory::Binding;
use crate::model::observed::{CloudVolume, VolumeKind, VolumeState};
use crate::model::{Action, Cause, Reading};

use super::Reread;
use super::decide::Case;
use super::path::Path;
use super::reason::{Blocked, Undeletable};
use super::serve;

/// What `reclaimPolicy: Delete` does once everything that is served from the volume has ended, and
/// it is on no VM any more.
pub(super) fn delete(case: &Case<'_>, binding: &Binding, volume: &CloudVolume, path: &mut Path) {
    if let Some(why) = undeletable(case, binding, volume) {
        // What comes before it is done all the same, such as the detachment.
        if path.is_clear() {
            path.block(Blocked::NotDeletable { why });
        }
        return;
    }
    if volume.attachment.is_none() {
        match case.disks() {
            // A guest that still has the disk may be writing to it.
            Reading::Present(_) => serve::disputed(case, binding, None, path),
            Reading::Absent | Reading::Unknown(_) => {
                path.observe("this machine's disks", Reread::Host);
            }
        }
    }
    path.step(
        Action::Delete {
            volume: volume.id,
            is_blank: volume.state == VolumeState::Allocated,
        },
        Cause::Abandoned,
        "its spec is gone, and asked for this",
    );
}

fn undeletable(case: &Case<'_>, binding: &Binding, volume: &CloudVolume) -> Option<Undeletable> {
    let is_made = |claim: Claim| {
        claim.instance == case.world.memory.instance
            && claim.spec == case.want.uid
            && claim.mark == Mark::Created
    };
    let claim = volume.tags.get(CLAIM_TAG).map(|text| text.parse::<Claim>());
    let placed = case.world.memory.placements.get(&volume.id);
    if case.want.spec().deletion_protection {
        return Some(Undeletable::Protected);
    }
    if binding.mark != Mark::Created {
        return Some(Undeletable::Adopted);
    }
    if !matches!(claim, Some(Ok(claim)) if is_made(claim)) {
        return Some(Undeletable::Unclaimed);
    }
    if volume.kind != VolumeKind::Data {
        return Some(Undeletable::Root);
    }
    if case.world.memory.deleted.contains(&volume.id) {
        return Some(Undeletable::Recovered);
    }
    match volume.attachment {
        // Detached first.
        Some(at) if placed == Some(&at.vm) => None,
        Some(at) => Some(Undeletable::Attached(at.vm)),
        None => None,
    }
}
