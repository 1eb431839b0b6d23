//! What the names in a spec mean. Looked up once for each generation, then stored.

use crate::model::desired::{AttachVm, DesiredVolume, NameOrId, Origin};
use crate::model::memory::Resolution;
use crate::model::observed::{Catalogue, CloudView, Named, Observed, VolumeState};
use crate::model::{VmId, VolumeId};

use super::reason::Blocked;

/// Looks up every name of `want`.
///
/// `Ok(None)` means that CloudStack was not asked for them yet.
///
/// # Errors
/// All names that nothing, or more than one thing, goes by.
pub fn resolve(
    want: &DesiredVolume,
    observed: &Observed,
) -> Result<Option<Resolution>, Vec<Blocked>> {
    let cloud = &observed.cloud;
    if cloud.listed.is_err() {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let mut found = Resolution {
        generation: want.generation,
        zone: None,
        offering: None,
        vm: None,
        existing: None,
    };
    match &want.spec().origin {
        Origin::Create { zone, offering, .. } => {
            let none = Catalogue::default();
            let catalogue = match (&cloud.catalogue, zone, offering) {
                (Some(catalogue), _, _) => catalogue,
                (None, NameOrId::Id(_), NameOrId::Id(_)) => &none,
                (None, _, _) => return Ok(None),
            };
            found.zone = one("zone", zone, &catalogue.zones, &mut problems);
            found.offering = one(
                "disk offering",
                offering,
                &catalogue.offerings,
                &mut problems,
            );
        }
        Origin::Existing { volume, .. } => {
            found.existing = one("volume", volume, &volumes(cloud, volume), &mut problems);
        }
    }
    if let Some(AttachVm::Vm(vm)) = want.spec().attach_to.as_ref().map(|attach| &attach.vm) {
        found.vm = one("VM", vm, &vms(cloud, vm), &mut problems);
    }
    if problems.is_empty() {
        Ok(Some(found))
    } else {
        Err(problems)
    }
}

/// The one thing that goes by `wanted`. An id is taken as it is; whether it exists shows when
/// it is used.
fn one<Id: Copy>(
    what: &'static str,
    wanted: &NameOrId<Id>,
    known: &[Named<Id>],
    problems: &mut Vec<Blocked>,
) -> Option<Id> {
    let name = match wanted {
        NameOrId::Id(id) => return Some(*id),
        NameOrId::Name(name) => name,
    };
    let mut hits = known.iter().filter(|thing| thing.name == *name);
    match (hits.next(), hits.count()) {
        (Some(thing), 0) => Some(thing.id),
        (None, _) => {
            problems.push(Blocked::NotFound {
                what,
                name: name.clone(),
            });
            None
        }
        (Some(_), more) => {
            problems.push(Blocked::Ambiguous {
                what,
                name: name.clone(),
                count: more + 1,
            });
            None
        }
    }
}

fn vms(cloud: &CloudView, wanted: &NameOrId<VmId>) -> Vec<Named<VmId>> {
    let NameOrId::Name(name) = wanted else {
        return Vec::new();
    };
    let hits = cloud.vms.values().filter(|vm| vm.name == *name);
    hits.map(|vm| Named {
        id: vm.id,
        name: vm.name.clone(),
    })
    .collect()
}

fn volumes(cloud: &CloudView, wanted: &NameOrId<VolumeId>) -> Vec<Named<VolumeId>> {
    let NameOrId::Name(name) = wanted else {
        return Vec::new();
    };
    let alive =
        |state: &VolumeState| !matches!(state, VolumeState::Destroy | VolumeState::Expunged);
    cloud
        .volumes
        .values()
        .filter(|volume| volume.name == *name && alive(&volume.state))
        .map(|volume| Named {
            id: volume.id,
            name: volume.name.clone(),
        })
        .collect()
}
