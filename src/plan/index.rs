//! Look-ups that one plan needs many times, each built when first used.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::World;
use crate::model::action::{CLAIM_TAG, Claim};
use crate::model::desired::Origin;
use crate::model::export::Serial;
use crate::model::observed::{ServedExport, VolumeState};
use crate::model::{ExportName, SpecUid, VolumeId, VolumeName};

/// Look-ups over one [`World`]. Cheap to make; pays only for what is asked.
pub struct Index<'a> {
    world: &'a World,
    names: OnceCell<BTreeMap<&'a str, Vec<VolumeId>>>,
    claims: OnceCell<BTreeMap<SpecUid, Vec<(VolumeId, Claim)>>>,
    served: OnceCell<BTreeMap<&'a str, Vec<&'a ExportName>>>,
    bound: OnceCell<BTreeMap<VolumeId, &'a VolumeName>>,
    makers: OnceCell<BTreeMap<&'a str, &'a VolumeName>>,
}

impl<'a> Index<'a> {
    /// An index over `world`.
    pub fn new(world: &'a World) -> Self {
        Self {
            world,
            names: OnceCell::new(),
            claims: OnceCell::new(),
            served: OnceCell::new(),
            bound: OnceCell::new(),
            makers: OnceCell::new(),
        }
    }

    /// Listed volumes with exactly this CloudStack name that still exist.
    pub(super) fn named(&self, name: &str) -> &[VolumeId] {
        let names = self.names.get_or_init(|| {
            let mut names: BTreeMap<&str, Vec<VolumeId>> = BTreeMap::new();
            for volume in self.world.observed.cloud.volumes.values() {
                match volume.state {
                    VolumeState::Destroy | VolumeState::Expunged => {}
                    VolumeState::Allocated
                    | VolumeState::Ready
                    | VolumeState::Transitional(_)
                    | VolumeState::Other(_) => {
                        names.entry(&volume.name).or_default().push(volume.id);
                    }
                }
            }
            names
        });
        names.get(name).map_or(&[], Vec::as_slice)
    }

    /// Listed volumes that this store claims for the spec `uid`.
    pub(super) fn claimed_for(&self, uid: SpecUid) -> &[(VolumeId, Claim)] {
        let claims = self.claims.get_or_init(|| {
            let mut claims: BTreeMap<SpecUid, Vec<(VolumeId, Claim)>> = BTreeMap::new();
            for volume in self.world.observed.cloud.volumes.values() {
                let claim = volume.tags.get(CLAIM_TAG).map(|text| text.parse::<Claim>());
                if let Some(Ok(claim)) = claim
                    && claim.instance == self.world.memory.instance
                {
                    claims
                        .entry(claim.spec)
                        .or_default()
                        .push((volume.id, claim));
                }
            }
            claims
        });
        claims.get(&uid).map_or(&[], Vec::as_slice)
    }

    /// Exports whose node was made for a disk with `serial`.
    pub(super) fn served(&self, serial: &Serial) -> Vec<(&'a ExportName, &'a ServedExport)> {
        let exports = self.world.observed.nbd.known();
        let served = self.served.get_or_init(|| {
            let mut served: BTreeMap<&str, Vec<&ExportName>> = BTreeMap::new();
            for (name, export) in exports {
                let node = export.node.as_str();
                if let Some(serial) = node.get(1..node.len().saturating_sub(10)) {
                    served.entry(serial).or_default().push(name);
                }
            }
            served
        });
        served
            .get(serial.as_str())
            .into_iter()
            .flatten()
            .filter_map(|name| exports.get_key_value(*name))
            .filter(|(_, export)| export.node.is_for(serial))
            .collect()
    }

    /// Another spec that has the better right to make a volume with this name: one that made
    /// it already or is about to, else the first in the order of names.
    pub(super) fn rival(&self, name: &VolumeName, volume_name: &str) -> Option<&'a VolumeName> {
        let memory = &self.world.memory;
        let makers = self.makers.get_or_init(|| {
            let mut makers: BTreeMap<&str, &VolumeName> = BTreeMap::new();
            let has_begun = |name: &VolumeName| {
                memory.bindings.contains_key(name) || memory.intents.contains_key(name)
            };
            for want in self.world.desired.volumes.values() {
                if let Origin::Create { volume_name, .. } = &want.spec().origin {
                    let maker = makers.entry(volume_name).or_insert(want.name());
                    if has_begun(want.name()) && !has_begun(maker) {
                        *maker = want.name();
                    }
                }
            }
            makers
        });
        let maker = makers.get(volume_name).copied();
        maker.filter(|maker| *maker != name)
    }

    /// The spec that `volume` is bound to.
    pub(super) fn bound_to(&self, volume: VolumeId) -> Option<&'a VolumeName> {
        let bound = self.bound.get_or_init(|| {
            self.world
                .memory
                .bindings
                .iter()
                .map(|(name, binding)| (binding.volume, name))
                .collect()
        });
        bound.get(&volume).copied()
    }

    /// Another listed volume whose serial is the same as that of `volume`.
    ///
    /// Serials are the first 20 of 32 hex digits, so volumes that share one are neighbours
    /// in the order of their ids.
    pub(super) fn serial_twin(&self, volume: VolumeId) -> Option<VolumeId> {
        let low = u128::MAX >> 80;
        let bits = volume.uuid().as_u128();
        let id = |bits| VolumeId::new(uuid::Uuid::from_u128(bits));
        self.world
            .observed
            .cloud
            .volumes
            .range(id(bits & !low)..=id(bits | low))
            .map(|(id, _)| *id)
            .find(|other| *other != volume)
    }
}
