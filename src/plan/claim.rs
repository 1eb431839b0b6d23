//! From a name to a volume that is provably ours.
//!
//! Create needs: never bound, no volume anywhere with this spec's claim, and no volume of that
//! name (I13). A name alone never proves ownership; the claim tag does.

use crate::model::action::{CLAIM_TAG, Claim, Mark};
use crate::model::desired::Origin;
use crate::model::memory::{Binding, Resolution};
use crate::model::observed::{CloudVolume, Reading, VolumeState};
use crate::model::{Action, Cause, VolumeId};

use super::decide::{Case, Path};
use super::reason::{Blocked, Waiting};
use super::resolve::resolve;

/// A spec that has no volume yet.
pub(super) fn unbound(case: &Case<'_>, path: &mut Path) {
    let cloud = &case.world.observed.cloud;
    let listed = match &cloud.listed {
        Ok(begun) => *begun,
        Err(why) => {
            return path.block(Blocked::SourceUnknown {
                source: "CloudStack",
                why: why.clone(),
            });
        }
    };
    if case.settled().is_some_and(|settled| listed <= settled) {
        return path.observe("CloudStack: not listed again since the last change settled");
    }
    let Some(resolution) = case.resolution() else {
        return unresolved(case, path);
    };
    match case.index.claimed_for(case.want.uid) {
        [] => {}
        [(volume, claim)] => {
            let action = Action::Bind {
                volume: *volume,
                claim: *claim,
            };
            return path.step(action, Cause::Declared, "it carries the claim of this spec");
        }
        several => {
            return path.block(Blocked::ClaimedTwice {
                volumes: several.iter().map(|(volume, _)| *volume).collect(),
            });
        }
    }
    match &case.want.spec().origin {
        Origin::Existing { .. } => adopt(case, resolution, path),
        Origin::Create { .. } => create(case, resolution, path),
    }
    rest_of_a_new_volume(case, path);
}

/// Says what the names of this generation were found to lack.
pub(super) fn unresolved(case: &Case<'_>, path: &mut Path) {
    match resolve(case.want, &case.world.observed) {
        Ok(Some(_)) => path.observe("the names in the spec were found and are being recorded"),
        Ok(None) => path.observe("CloudStack: zones, offerings and VMs named in the spec"),
        Err(all) => all.into_iter().for_each(|by| path.block(by)),
    }
}

fn create(case: &Case<'_>, resolution: &Resolution, path: &mut Path) {
    let Origin::Create {
        volume_name, size, ..
    } = &case.want.spec().origin
    else {
        return;
    };
    let (Some(zone), Some(offering)) = (resolution.zone, resolution.offering) else {
        return unresolved(case, path);
    };
    if let Some(volume) = case.index.named(volume_name).first() {
        return path.block(Blocked::NameTaken {
            volume: *volume,
            name: volume_name.clone(),
        });
    }
    path.step(
        Action::Create {
            volume_name: volume_name.clone(),
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

fn adopt(case: &Case<'_>, resolution: &Resolution, path: &mut Path) {
    let Some(id) = resolution.existing else {
        return unresolved(case, path);
    };
    if let Some(name) = case.index.bound_to(id) {
        return path.block(Blocked::BoundTo {
            volume: id,
            name: name.clone(),
        });
    }
    let volume = match case.world.observed.cloud.volume(id, case.settled()) {
        Reading::Present(volume) => volume,
        Reading::Unknown(why) => return path.observe(format!("volume {id}: {why}")),
        Reading::Absent => {
            return path.block(Blocked::NotFound {
                what: "volume",
                name: id.to_string(),
            });
        }
    };
    match &volume.state {
        VolumeState::Allocated | VolumeState::Ready => {}
        VolumeState::Destroy | VolumeState::Expunged => {
            return path.block(Blocked::VolumeDestroyed { volume: id });
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
    tag(case, volume, Mark::Adopted, path);
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
        Some(theirs) => {
            let is_ours = theirs
                .parse::<Claim>()
                .is_ok_and(|claim| claim.instance == ours.instance && claim.spec == ours.spec);
            if !is_ours {
                path.block(Blocked::ClaimedBy {
                    volume: volume.id,
                    claim: theirs.clone(),
                });
            }
        }
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

/// What follows once the volume is ours, as far as the spec alone tells.
fn rest_of_a_new_volume(case: &Case<'_>, path: &mut Path) {
    use crate::model::desired::AttachVm;
    let spec = case.want.spec();
    if let Some(attach) = &spec.attach_to {
        let to = match &attach.vm {
            AttachVm::SelfVm => "this VM".to_owned(),
            AttachVm::Nobody => return,
            AttachVm::Vm(vm) => format!("VM {vm}"),
        };
        path.ahead("Attach", format!("attach it to {to}"), "spec.attachTo");
        if attach.vm != AttachVm::SelfVm {
            return;
        }
    }
    if let Some(export) = &spec.export {
        let name = export
            .name
            .as_ref()
            .map_or_else(|| "migration-vol-<its id>".to_owned(), ToString::to_string);
        let text = format!("export its disk as {name} once it is proven");
        path.ahead("Export", text, "spec.export");
    }
}
