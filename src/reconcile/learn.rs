//! What the loop learns from CloudStack's answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::desired::{AttachVm, DesiredVolume, Presence};
use crate::model::memory::{AcceptedView, Account, Binding};
use crate::model::observed::{CloudView, CloudVm, CloudVolume, Unlisted};
use crate::model::{BootTime, Now, Reading, VmId, VolumeId, VolumeName};
use crate::observe::{CloudAnswer, CloudListing, CloudQuery};
use crate::plan::unknown_claims;

use super::core::{Core, Memo, Unanswered};

/// How long single objects are left alone at least, after CloudStack did not tell of all that was
/// asked: whoever waits for one asks for it again at once.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Longest wait between two attempts while CloudStack is away, in seconds.
const OUTAGE_RETRY_MAX: u64 = 30;

impl Core {
    pub(super) fn cloud(
        &mut self,
        query: CloudQuery,
        answer: Result<Box<CloudAnswer>, Unanswered>,
        now: Now,
    ) {
        if query.full {
            self.asks.full.answered(now.boot.plus(self.pace.resync));
        } else {
            self.asks.some_asked = false;
        }
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(Unanswered { why, retry_after }) => {
                self.asks.some.add(query);
                return match retry_after {
                    // Only asked too often; what it said before still counts.
                    Some(wait) => self.asks.pause(now.boot.plus(wait.max(RETRY_MIN))),
                    None => self.cloud_down(why, now),
                };
            }
        };
        self.asks.some.volumes.extend(answer.left.drain(..));
        for (volume, why) in &answer.failed {
            tracing::warn!(volume.id = %volume, error = why, "the answer about a volume is not understood");
        }
        if let (Account::Unproven(account), Some(listing)) =
            (&self.world.memory.account, &answer.listing)
        {
            if let Some(why) = self.other_world(listing) {
                self.asks.some.add(query);
                return self.cloud_down(why, now);
            }
            self.memos.push(Memo::Account(account.clone()));
            self.world.memory.account = Account::Proven;
        }
        let told = |vm: &VmId| answer.vms.iter().any(|seen| seen.id == *vm);
        if !answer.failed.is_empty() || !query.vms.iter().all(told) {
            let until = now.boot.plus(RETRY_MIN);
            self.asks.paused = self.asks.paused.max(until);
        }
        let was_down = self.world.observed.cloud.listed.is_err();
        let touched = merge(&mut self.world.observed.cloud, *answer);
        match touched {
            Touched::Everything => {
                self.asks.failures = 0;
                self.replan = true;
                self.resolve = true;
                self.ask_for_missing();
                self.world.memory.unknown_claims = unknown_claims(&self.world);
                self.note_ghosts();
                let names: Vec<VolumeName> = self.world.memory.bindings.keys().cloned().collect();
                self.learn(&names, now);
            }
            Touched::Some(_) if was_down => self.asks.full.now(),
            Touched::Some(ids) => {
                let names = self.names_of(&ids);
                self.learn(&names, now);
                for name in names {
                    self.queue.wake(&name, now.boot);
                }
            }
        }
        self.wake_observing(now);
    }

    /// Why an account that was not used before cannot be the right one: then every volume would
    /// look lost, and every export end.
    fn other_world(&self, listing: &CloudListing) -> Option<String> {
        let bindings = &self.world.memory.bindings;
        let seen: BTreeSet<VolumeId> = listing.volumes.iter().map(|volume| volume.id).collect();
        let sees_volume = bindings
            .values()
            .any(|binding| seen.contains(&binding.volume));
        let here = self.world.observed.host.self_vm.clone().present();
        let sees_vm = here.is_none_or(|here| listing.vms.iter().any(|vm| vm.id == here));
        let what = match (sees_vm, sees_volume) {
            _ if bindings.is_empty() => return None,
            (true, true) => return None,
            (true, false) => format!("none of the {} volumes in use", bindings.len()),
            (false, true) => "not this VM".to_owned(),
            (false, false) => {
                format!(
                    "neither this VM nor one of the {} volumes in use",
                    bindings.len()
                )
            }
        };
        Some(format!(
            "it is asked with other keys, or elsewhere, than before, and shows {what}; nothing it \
             says is believed. Check cloudstack.url, .api_key, .project and .list_all"
        ))
    }

    /// CloudStack is away: what it said no longer counts, what is served stays served.
    pub(super) fn cloud_down(&mut self, why: String, now: Now) {
        self.asks.failures = self.asks.failures.saturating_add(1);
        let wait = 1_u64
            .checked_shl(self.asks.failures.saturating_sub(1))
            .unwrap_or(OUTAGE_RETRY_MAX)
            .min(OUTAGE_RETRY_MAX);
        let retry = now.boot.plus(Duration::from_secs(wait));
        self.asks.full.due = Some(retry);
        let listed = &mut self.world.observed.cloud.listed;
        if listed.is_ok() {
            self.replan = true;
        }
        *listed = Err(Unlisted::Failed(why));
        self.wake_observing(now);
    }

    /// Bound volumes that a listing lacks are looked up by id: page sets prove nothing (I4).
    fn ask_for_missing(&mut self) {
        let cloud = &self.world.observed.cloud;
        for binding in self.world.memory.bindings.values() {
            let id = binding.volume;
            // What was looked up and is gone shows up in a listing if it ever comes back.
            if !cloud.volumes.contains_key(&id) && !cloud.absent.contains_key(&id) {
                self.asks.some.volumes.insert(id);
            }
        }
    }

    fn names_of(&self, ids: &[VolumeId]) -> Vec<VolumeName> {
        let ids: BTreeSet<&VolumeId> = ids.iter().collect();
        self.world
            .memory
            .bindings
            .iter()
            .filter(|(_, binding)| ids.contains(&binding.volume))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Takes over what is now known of bound volumes.
    fn learn(&mut self, names: &[VolumeName], now: Now) {
        let mut views = Vec::new();
        let mut placements = Vec::new();
        for name in names {
            let memory = &self.world.memory;
            let Some(binding) = memory.bindings.get(name) else {
                continue;
            };
            let settled = memory.settled.get(name).copied();
            let seen = self.world.observed.cloud.volume(binding.volume, settled);
            let (Reading::Present(volume), None) = (seen, memory.intents.get(name)) else {
                continue;
            };
            let view = AcceptedView {
                size: volume.size,
                attachment: volume.attachment,
                at: now.wall,
            };
            let known = memory.views.get(&volume.id);
            if known
                .is_none_or(|known| known.size != view.size || known.attachment != view.attachment)
            {
                views.push((volume.id, view));
            }
            if let Some(vm) = self.agreed(name, binding, volume) {
                placements.push((volume.id, vm));
            }
        }
        for name in names {
            self.note_vanished(name, now);
        }
        for (id, view) in &views {
            self.world.memory.views.insert(*id, view.clone());
        }
        for (id, vm) in &placements {
            self.world.memory.placements.insert(*id, *vm);
        }
        if !views.is_empty() {
            self.memos.push(Memo::Views(views));
        }
        if !placements.is_empty() {
            self.memos.push(Memo::Placements(placements));
        }
    }

    /// The VM on which a volume is found as its spec asks, if that is news.
    fn agreed(&self, name: &VolumeName, binding: &Binding, volume: &CloudVolume) -> Option<VmId> {
        let at = volume.attachment?.vm;
        let want = self.world.desired.volumes.get(name)?;
        let known = self.world.memory.placements.get(&binding.volume) == Some(&at);
        (!known && self.wanted_vm(want) == Some(at)).then_some(at)
    }

    fn wanted_vm(&self, want: &DesiredVolume) -> Option<VmId> {
        match (&want.presence, want.spec().attach_to.as_ref()?) {
            (Presence::Abandoned { .. }, _) => None,
            (Presence::Declared, attach) => match attach.vm {
                AttachVm::SelfVm => self.world.observed.host.self_vm.clone().present(),
                AttachVm::Nobody => None,
                AttachVm::Vm(_) => self.world.memory.resolutions.get(want.name())?.vm,
            },
        }
    }

    /// Notes since when a volume that was put on a VM is seen detached.
    fn note_vanished(&mut self, name: &VolumeName, now: Now) {
        let memory = &mut self.world.memory;
        let Some(binding) = memory.bindings.get(name) else {
            return;
        };
        let settled = memory.settled.get(name).copied();
        let seen = self.world.observed.cloud.volume(binding.volume, settled);
        match seen {
            Reading::Present(CloudVolume {
                attachment: None, ..
            }) if memory.placements.contains_key(&binding.volume) => {
                memory.vanished.entry(binding.volume).or_insert(now.boot);
            }
            Reading::Present(_) | Reading::Absent => {
                memory.vanished.remove(&binding.volume);
            }
            Reading::Unknown(_) => {}
        }
    }
}

/// Merges an answer into a view.
pub fn absorb(view: &mut CloudView, answer: CloudAnswer) {
    let _ = merge(view, answer);
}

enum Touched {
    Everything,
    Some(Vec<VolumeId>),
}

/// Merges an answer into the view; of two readings of one volume, the one begun later counts.
fn merge(view: &mut CloudView, answer: CloudAnswer) -> Touched {
    let CloudAnswer {
        listing,
        catalogue,
        read,
        named,
        vms,
        absent,
        server_time,
        left: _,
        failed: _,
    } = answer;
    for vm in vms {
        let known = view.vms.get(&vm.id).map(|known| known.begun);
        if known.is_none_or(|known| vm.begun > known) {
            view.vms.insert(vm.id, vm);
        }
    }
    view.named.extend(named);
    if server_time.is_some() {
        view.server_time = server_time;
    }
    if catalogue.is_some() {
        view.catalogue = catalogue;
    }
    let full = listing.is_some();
    if let Some(listing) = listing {
        merge_listing(view, listing);
    }
    let mut touched = Vec::with_capacity(read.len() + absent.len());
    for volume in read {
        touched.push(volume.id);
        let newer = |begun: &BootTime| volume.begun > *begun;
        if !view.absent.get(&volume.id).is_none_or(newer) {
            continue;
        }
        view.absent.remove(&volume.id);
        let known = view.volumes.get(&volume.id).map(|known| known.begun);
        if known.as_ref().is_none_or(newer) {
            view.volumes.insert(volume.id, volume);
        }
    }
    for (id, begun) in absent {
        touched.push(id);
        if view
            .volumes
            .get(&id)
            .is_some_and(|known| known.begun <= begun)
        {
            view.volumes.remove(&id);
        }
        view.absent.insert(id, begun);
    }
    if full {
        Touched::Everything
    } else {
        Touched::Some(touched)
    }
}

fn merge_listing(view: &mut CloudView, listing: CloudListing) {
    let CloudListing {
        volumes,
        vms,
        begun,
    } = listing;
    let mut merged: BTreeMap<VolumeId, CloudVolume> = volumes
        .into_iter()
        .map(|volume| (volume.id, volume))
        .collect();
    for (id, known) in std::mem::take(&mut view.volumes) {
        if known.begun > begun {
            merged.insert(id, known);
        }
    }
    view.absent.retain(|id, looked| match merged.get(id) {
        Some(volume) => *looked > volume.begun,
        None => true,
    });
    for id in view.absent.keys() {
        merged.remove(id);
    }
    view.volumes = merged;
    let mut listed: BTreeMap<VmId, CloudVm> = vms.into_iter().map(|vm| (vm.id, vm)).collect();
    for (id, known) in std::mem::take(&mut view.vms) {
        if known.begun > begun {
            listed.insert(id, known);
        }
    }
    view.vms = listed;
    view.named.retain(|_, looked| *looked > begun);
    view.listed = Ok(begun);
}

#[cfg(test)]
mod tests;
