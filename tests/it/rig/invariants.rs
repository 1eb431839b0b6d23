//! What must hold after every single step, judged by the truth and not by what the daemon
//! believes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;

use volume_daemon::clock::Clock as _;
use volume_daemon::model::desired::Reclaim;
use volume_daemon::model::observed::DeviceNumber;
use volume_daemon::model::{DesiredVolume, Presence, Reading, Serial, VolumeId, VolumeName};
use volume_daemon::plan::{Blocked, Decision, World};
use volume_daemon::reconcile::Effect;
use volume_daemon::sim::world::{ADMIN_SECRET_KEY, VolumeState};

use super::Rig;
use super::cloud::Mutation;

/// I4, I7: what may be handed out. A cloud action needs a listing that counts, a fresh
/// reading of its volume, and an intent; nothing else has one.
pub fn may_begin(world: &World, effect: &Effect) {
    let Effect::Act(name, step, intent) = effect else {
        return;
    };
    assert_eq!(intent.is_some(), step.action.is_cloud(), "I7: {step:?}");
    if !step.action.is_cloud() {
        return;
    }
    if let Some(volume) = step.action.volume() {
        let settled = world.memory.settled.get(name).copied();
        let reading = world.observed.cloud.volume(volume, settled);
        assert!(
            matches!(reading, Reading::Present(_)),
            "I4: {step:?} on {reading:?}"
        );
    } else {
        assert!(!world.memory.bindings.contains_key(name), "I13: {step:?}");
        assert!(world.observed.cloud.listed.is_ok(), "I4: {step:?}");
    }
}

/// What takes something away from somebody.
const TAKES: [&str; 2] = ["detachVolume", "destroyVolume"];

/// What was judged already.
#[derive(Debug, Default)]
pub struct Judged {
    /// Mutating calls.
    sent: usize,
    /// The volume of each name, over all daemons that ever ran.
    bindings: BTreeMap<VolumeName, VolumeId>,
}

impl Rig {
    /// Asserts the invariants of the design that this rig can break.
    pub fn check(&mut self) {
        self.bindings_are_for_ever();
        self.calls_are_allowed();
        self.nothing_is_internal();
        self.secrets_stay_secret();
        if !std::mem::take(&mut self.stirred) {
            return;
        }
        self.front()
            .world()
            .check()
            .expect("the world is consistent");
        self.no_second_volume();
        self.what_is_served_is_the_volume();
        self.clients_are_not_disturbed();
    }

    /// I1, I2, I5, I10, I14, I18: each call, judged by how things were when it was sent.
    fn calls_are_allowed(&mut self) {
        let new = self.transport.sent_after(self.judged.sent);
        self.judged.sent += new.len();
        for call in &new {
            assert_eq!(call.violation, None, "{call:?}");
            let volume = call.volume.map(VolumeId::new);
            let mut bindings = self.judged.bindings.iter();
            let name = bindings.find(|(_, bound)| Some(**bound) == volume);
            let wrong = self.others.judge(call, name.map(|(name, _)| name));
            assert_eq!(wrong, None, "{call:?}");
            if call.command == "destroyVolume" {
                let spec = name.and_then(|(name, _)| self.specs.get(name));
                self.data_outlives_specs(call, spec);
            }
        }
        if new.iter().any(|call| TAKES.contains(&call.command)) {
            self.no_flood();
        }
    }

    /// I5: only what the daemon made is deleted, for a spec that asked for that in so many words, was
    /// gone for long enough, and only off every VM.
    fn data_outlives_specs(&self, call: &Mutation, spec: Option<&DesiredVolume>) {
        let spec = spec.unwrap_or_else(|| panic!("I5: {call:?} for no spec"));
        let Presence::Abandoned { .. } = spec.presence else {
            panic!("I5: {} is there, and its volume is deleted", spec.name());
        };
        let asked = spec.spec();
        let is_asked = asked.reclaim_policy == Reclaim::Delete && !asked.deletion_protection;
        assert!(is_asked, "I5: {} did not ask for {call:?}", spec.name());
        assert_eq!(call.found.on, None, "I5: {} is attached", spec.name());
        let volume = VolumeId::new(call.volume.expect("it names one"));
        assert!(
            self.others.did_not_make(volume),
            "I5: {} was there before",
            spec.name()
        );
    }

    /// I6: no more volumes are detached in an hour than the guard allows. All of these steps
    /// are implied. The guard counts from the journal, a little before the call.
    fn no_flood(&self) {
        let now = self.clock.now().boot;
        let hour = |call: &Mutation| now.since(call.boot).as_secs() < 3540;
        let sent = self.transport.sent();
        let detached: BTreeSet<_> = sent
            .iter()
            .filter(|call| TAKES.contains(&call.command) && hour(call))
            .map(|call| call.volume)
            .collect();
        let cap = self.policy.implied_floor;
        let count = detached.len();
        assert!(
            count <= cap,
            "I6: {count} volumes detached or deleted in an hour"
        );
    }

    /// I8: no decision ended in a panic.
    fn nothing_is_internal(&self) {
        let Some(core) = self.core() else {
            return;
        };
        for (name, plan) in &core.plan().volumes {
            if let Decision::Blocked { by, .. } = &plan.decision {
                assert!(
                    !by.contains(&Blocked::Internal),
                    "I8: deciding {name} panics"
                );
            }
        }
    }

    /// I11, I3: a client is cut off only if what it reads is no longer its disk.
    fn clients_are_not_disturbed(&self) {
        for (name, node) in self.nbd.take_unjudged() {
            let Reading::Present(disks) = self.host().scan(self.clock.now().boot).disks else {
                panic!("the tree can be read");
            };
            let still_there = disks.proofs().any(|proof| proof.node() == node);
            assert!(
                !still_there,
                "I11: a client of {name} was cut off, its disk is here"
            );
        }
    }

    /// I9, of everything that is handed out to be done, and so of every log line about it.
    fn secrets_stay_secret(&self) {
        assert!(!self.last.contains(ADMIN_SECRET_KEY), "I9: {}", self.last);
    }

    /// I7, I13: of one name there is never more than one volume of ours. One that somebody took
    /// away before its create had ended was never known to be ours.
    fn no_second_volume(&self) {
        let front = self.front();
        let mut made: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, volume) in front.world().volumes() {
            let ours = self.others.did_not_make(VolumeId::new(volume.uuid));
            let known = |id: &VolumeId| id.uuid() == volume.uuid;
            let counts = !volume.removed || self.judged.bindings.values().any(known);
            if ours && counts && self.others.is_asked_for(&volume.name) {
                *made.entry(&volume.name).or_default() += 1;
            }
        }
        for (name, count) in made {
            assert!(count <= 1, "I7: {count} volumes named {name} were made");
        }
    }

    /// I13: no two names share a volume, and a binding never changes.
    fn bindings_are_for_ever(&mut self) {
        let Some(daemon) = &self.daemon else {
            return;
        };
        let bindings = &daemon.core.world().memory.bindings;
        let known = &mut self.judged.bindings;
        if bindings.len() == known.len()
            && bindings
                .iter()
                .all(|(name, bound)| known.get(name) == Some(&bound.volume))
        {
            return;
        }
        for (name, binding) in bindings {
            let first = *known.entry(name.clone()).or_insert(binding.volume);
            assert_eq!(first, binding.volume, "I13: {name} has another volume");
        }
        for name in known.keys() {
            assert!(bindings.contains_key(name), "I13: {name} lost its volume");
        }
        let volumes: BTreeSet<VolumeId> = known.values().copied().collect();
        assert_eq!(volumes.len(), known.len(), "I13: a volume has two names");
    }

    /// I3: what is served as a volume's disk is that volume's data, and of the size that
    /// clients see.
    fn what_is_served_is_the_volume(&self) {
        let front = self.front();
        for (name, served) in self.nbd.exports() {
            let volume = front
                .world()
                .volumes()
                .map(|(_, volume)| volume)
                .filter(|volume| served.node.is_for(&Serial::of(VolumeId::new(volume.uuid))))
                // Serials of two volumes may be the same.
                .min_by_key(|volume| volume.removed)
                .unwrap_or_else(|| panic!("I3: {name} is of no volume"));
            let backing = self
                .root
                .path()
                .join(format!("host/backing/{}.img", volume.uuid));
            let meta = backing.metadata().expect("its disk was here");
            let truth = DeviceNumber::File {
                dev: meta.dev(),
                ino: meta.ino(),
            };
            assert_eq!(served.number, truth, "I3: {name} serves another disk");
            assert!(
                served.size.as_bytes() <= meta.size(),
                "I3: {name} promises more than its disk has"
            );
        }
    }

    /// I3, once the daemon had time to notice: nothing is served that is not plugged here.
    pub fn check_served_is_plugged(&self) {
        let front = self.front();
        let world = front.world();
        let here = world.vm_called(super::SELF).expect("it is there");
        for (name, served) in self.nbd.exports() {
            let plugged = world.volumes().any(|(no, volume)| {
                served.node.is_for(&Serial::of(VolumeId::new(volume.uuid)))
                    && world.plugged_in(no) == Some(here)
                    && volume.state != VolumeState::Expunged
            });
            assert!(plugged, "I3: {name} is served, but not plugged here");
        }
    }
}
