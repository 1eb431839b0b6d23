//! From a name to a volume that is provably ours.
//!
//! Create needs: never bound, no volume anywhere with this spec's claim, and no volume of that
//! name (I13). A name alone never proves ownership; the claim tag does.

use std::collections::BTreeSet;

use crate::model::action::{CLAIM_TAG, Claim, Mark};
use crate::model::desired::{AttachVm, Origin};
use crate::model::memory::{Binding, Resolution};
use crate::model::observed::{CloudVolume, Reading, Unlisted, VolumeState};
use crate::model::{Action, ByteSize, Cause, SpecUid, VolumeId};

use super::decide::Case;
use super::drift::{Drift, DriftClass};
use super::path::Path;
use super::reason::{Blocked, Waiting};
use super::resolve::resolve;
use super::{Reread, World};

/// Listed volumes that carry this store's claim for a spec that it never heard of: whoever set it
/// knew more than this store does (I16).
pub fn unknown_claims(world: &World) -> Vec<VolumeId> {
    let World {
        desired,
        observed,
        memory,
    } = world;
    if !memory.is_whole {
        return Vec::new();
    }
    let bound = memory.bindings.values().map(|binding| binding.uid);
    let declared = desired.volumes.values().map(|want| want.uid);
    let mut known: BTreeSet<SpecUid> = bound.chain(declared).collect();
    known.extend(&memory.disowned);
    let claim = |volume: &CloudVolume| volume.tags.get(CLAIM_TAG)?.parse::<Claim>().ok();
    let volumes = observed.cloud.volumes.values();
    volumes
        .filter(|volume| {
            claim(volume).is_some_and(|claim| {
                claim.instance == memory.instance && !known.contains(&claim.spec)
            })
        })
        .map(|volume| volume.id)
        .collect()
}

/// A spec that has no volume yet.
pub(super) fn unbound(case: &Case<'_>, path: &mut Path) {
    let volume = find(case, path);
    rest_of_the_way(case, volume, path);
}

/// Takes the first step towards a volume; says which it is, if it exists already.
fn find<'a>(case: &Case<'a>, path: &mut Path) -> Option<&'a CloudVolume> {
    let cloud = &case.world.observed.cloud;
    let listed = match &cloud.listed {
        Ok(begun) => *begun,
        Err(why) => {
            unlisted(why, path);
            return None;
        }
    };
    let settled = case.settled();
    let claimed = case.index.claimed_for(case.want.uid);
    let read_since = |id: &VolumeId| {
        let read = cloud.volumes.get(id).map(|volume| volume.begun);
        settled.is_none_or(|settled| read.is_some_and(|read| read > settled))
    };
    let is_claimed = !claimed.is_empty() && claimed.iter().all(|(id, _)| read_since(id));
    if !is_claimed && settled.is_some_and(|settled| listed <= settled) {
        path.observe(
            "CloudStack: not listed again since the last change settled",
            Reread::Listing,
        );
        return None;
    }
    let Some(resolution) = case.resolution() else {
        unresolved(case, path);
        return None;
    };
    match claimed {
        [] => match &case.want.spec().origin {
            Origin::Existing { .. } => adopt(case, resolution, path),
            Origin::Create {
                volume_name, size, ..
            } => {
                create(case, resolution, volume_name, *size, path);
                None
            }
        },
        [(volume, claim)] => {
            let action = Action::Bind {
                volume: *volume,
                claim: *claim,
            };
            path.step(action, Cause::Declared, "it carries the claim of this spec");
            cloud.volumes.get(volume)
        }
        several => {
            path.block(Blocked::ClaimedTwice {
                volumes: several.iter().map(|(volume, _)| *volume).collect(),
            });
            None
        }
    }
}

/// CloudStack cannot be read: not yet, or not now.
pub(super) fn unlisted(why: &Unlisted, path: &mut Path) {
    match why {
        Unlisted::NotAsked => path.observe_on("CloudStack for the first time"),
        Unlisted::Failed(why) => path.block(Blocked::SourceUnknown {
            source: "CloudStack",
            why: why.clone(),
        }),
    }
}

/// Says what the names of this generation were found to lack.
pub(super) fn unresolved(case: &Case<'_>, path: &mut Path) {
    match resolve(case.want, &case.world.observed) {
        Ok(Some(_)) => path.observe_on("the names in the spec were found and are being recorded"),
        Ok(None) => path.observe(
            "CloudStack: zones, offerings and VMs named in the spec",
            Reread::Listing,
        ),
        Err(all) => all.into_iter().for_each(|by| path.block(by)),
    }
}

fn create(
    case: &Case<'_>,
    resolution: &Resolution,
    volume_name: &str,
    size: ByteSize,
    path: &mut Path,
) {
    let (Some(zone), Some(offering)) = (resolution.zone, resolution.offering) else {
        return unresolved(case, path);
    };
    if let Some(name) = case.index.rival(case.name(), volume_name) {
        return path.block(Blocked::NameShared {
            name: name.clone(),
            volume_name: volume_name.to_owned(),
        });
    }
    let seen = case.world.memory.seen.get(case.name()).copied();
    if seen > case.world.observed.cloud.name_read(volume_name) {
        let what = format!("CloudStack: volumes named {volume_name:?}");
        return path.observe(what, Reread::Name(volume_name.to_owned()));
    }
    if let Some(volume) = case.index.named(volume_name).first() {
        return path.block(Blocked::NameTaken {
            volume: *volume,
            name: volume_name.to_owned(),
        });
    }
    path.step(
        Action::Create {
            volume_name: volume_name.to_owned(),
            size: size.rounded_up_to_gib(),
            zone,
            offering,
        },
        Cause::Declared,
        "the spec is new and no such volume exists",
    );
    path.ahead(
        "Tag",
        "claim the new volume",
        "nothing else touches it before it is claimed",
    );
}

fn adopt<'a>(case: &Case<'a>, resolution: &Resolution, path: &mut Path) -> Option<&'a CloudVolume> {
    let Some(id) = resolution.existing else {
        unresolved(case, path);
        return None;
    };
    let volume = match case.world.observed.cloud.volume(id, case.settled()) {
        Reading::Present(volume) => volume,
        Reading::Unknown(why) => {
            path.observe(format!("volume {id}: {why}"), Reread::Volume(id));
            return None;
        }
        Reading::Absent => {
            path.block(Blocked::NotFound {
                what: "volume",
                name: id.to_string(),
            });
            return None;
        }
    };
    if let Some(name) = case.index.bound_to(id) {
        path.block(Blocked::BoundTo {
            volume: id,
            name: name.clone(),
        });
    }
    match &volume.state {
        VolumeState::Allocated | VolumeState::Ready => {}
        VolumeState::Destroy | VolumeState::Expunged => {
            path.block(Blocked::VolumeDestroyed { volume: id });
        }
        VolumeState::Transitional(state) | VolumeState::Other(state) => {
            path.wait(Waiting::Transitional {
                what: "volume",
                state: state.clone(),
            });
        }
    }
    if let Some(job) = volume.pending_job {
        path.wait(Waiting::ForeignJob { job });
    }
    if path.is_clear() {
        tag(case, volume, Mark::Adopted, path);
        path.ahead("Bind", format!("bind to {id}"), "it carries our claim then");
    }
    Some(volume)
}

/// Claims a volume, unless somebody else does.
fn tag(case: &Case<'_>, volume: &CloudVolume, mark: Mark, path: &mut Path) {
    let ours = claim(case, mark);
    match volume.tags.get(CLAIM_TAG) {
        None => path.step(
            Action::Tag {
                volume: volume.id,
                claim: ours,
            },
            Cause::Declared,
            "nothing else touches it before it is claimed",
        ),
        Some(_) => not_anothers(case, volume, path),
    }
}

/// Stops at a volume that somebody else claims.
pub(super) fn not_anothers(case: &Case<'_>, volume: &CloudVolume, path: &mut Path) {
    let Some(claimed) = volume.tags.get(CLAIM_TAG) else {
        return;
    };
    let (instance, spec) = (case.world.memory.instance, case.want.uid);
    let is_ours = claimed
        .parse::<Claim>()
        .is_ok_and(|claim| claim.instance == instance && claim.spec == spec);
    if !is_ours {
        path.block(Blocked::ClaimedBy {
            volume: volume.id,
            claim: claimed.clone(),
        });
    }
}

/// A bound volume must carry our claim before anything else happens to it.
pub(super) fn confirm(case: &Case<'_>, binding: &Binding, volume: &CloudVolume, path: &mut Path) {
    tag(case, volume, binding.mark, path);
}

fn claim(case: &Case<'_>, mark: Mark) -> Claim {
    Claim {
        instance: case.world.memory.instance,
        spec: case.want.uid,
        mark,
    }
}

/// Zone, offering and adopted volume are what they were when the volume was bound.
pub(super) fn immutable(case: &Case<'_>, volume: &CloudVolume, path: &mut Path) {
    let Some(resolution) = case.resolution() else {
        return;
    };
    let differs = |asked: Option<VolumeId>| asked.is_some_and(|id| id != volume.id);
    if resolution.zone.is_some_and(|zone| zone != volume.zone) {
        path.block(Blocked::Immutable { field: "spec.zone" });
    }
    if resolution.offering.is_some() && resolution.offering != volume.offering {
        path.block(Blocked::Immutable {
            field: "spec.diskOffering",
        });
    }
    if differs(resolution.existing) {
        path.block(Blocked::Immutable {
            field: "spec.existing",
        });
    }
}

/// A volume keeps the name that it was made with: nothing renames it.
pub(super) fn renamed(case: &Case<'_>, volume: &CloudVolume, path: &mut Path) {
    if let Origin::Create { volume_name, .. } = &case.want.spec().origin
        && *volume_name != volume.name
    {
        path.drift(Drift::new(
            DriftClass::Property,
            "spec.volumeName",
            volume_name,
            &volume.name,
        ));
    }
}

/// What follows once the volume is ours, as far as the spec and the volume tell.
fn rest_of_the_way(case: &Case<'_>, volume: Option<&CloudVolume>, path: &mut Path) {
    let spec = case.want.spec();
    let at = volume.and_then(|volume| volume.attachment).map(|at| at.vm);
    let is_here = at.is_some_and(|at| case.self_vm() == Reading::Present(at));
    if let Some(attach) = &spec.attach_to {
        let to = match &attach.vm {
            AttachVm::SelfVm if is_here => None,
            AttachVm::SelfVm => Some("this VM".to_owned()),
            AttachVm::Nobody => return,
            AttachVm::Vm(vm) => Some(format!("VM {vm}")),
        };
        if let Some(to) = to {
            path.ahead("Attach", format!("attach it to {to}"), "spec.attachTo");
        }
        if attach.vm != AttachVm::SelfVm {
            return;
        }
    }
    if let Some(export) = &spec.export {
        let name = match &export.name {
            Some(name) => name.to_string(),
            None => "migration-vol-<its id>".to_owned(),
        };
        let text = format!("export its disk as {name} once it is proven");
        path.ahead("Export", text, "spec.export");
    }
}
