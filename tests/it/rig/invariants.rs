//! What must hold after every single step, judged by the truth and not by what the daemon
//! believes.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use volume_daemon::clock::Clock as _;
use volume_daemon::host::Host;
use volume_daemon::model::observed::DeviceNumber;
use volume_daemon::model::{ExportName, Reading, VolumeId};
use volume_daemon::plan::World;
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

impl Rig {
    /// Asserts the invariants of the design that this rig can break.
    pub fn check(&self) {
        self.front()
            .world()
            .check()
            .expect("the world is consistent");
        self.no_overlap();
        self.foreign_is_foreign();
        self.no_second_volume();
        self.bindings_are_for_ever();
        self.what_is_served_is_the_volume();
        self.no_flood();
        self.clients_are_not_disturbed();
        self.secrets_stay_secret();
    }

    /// I6: no more implied detachments in an hour than the guard allows. All of them are.
    fn no_flood(&self) {
        let now = self.clock.now().wall;
        let hour = |call: &Mutation| now.since(call.at).as_secs() < 3600;
        let sent = self.transport.sent();
        let detached = sent
            .iter()
            .filter(|call| call.command == "detachVolume" && hour(call))
            .count();
        let cap = self.policy.implied_floor;
        assert!(detached <= cap, "I6: {detached} detachments in an hour");
    }

    /// I11, I3: a client is cut off only if what it reads is no longer its disk.
    fn clients_are_not_disturbed(&self) {
        let host = Host::new(self.root.path().join("host"), None);
        for (name, node) in self.nbd.take_unjudged() {
            let Reading::Present(disks) = host.scan(self.clock.now().boot).disks else {
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

    /// I1, judged when each call was sent.
    fn no_overlap(&self) {
        for call in self.transport.sent() {
            assert_eq!(call.violation, None, "{call:?}");
        }
    }

    /// I2: what somebody else made is never named in a mutating call.
    fn foreign_is_foreign(&self) {
        for call in self.transport.sent() {
            let volume = call.volume.map(VolumeId::new);
            let touched = volume.is_some_and(|volume| self.foreign.contains(&volume));
            assert!(!touched, "I2: a foreign volume was touched by {call:?}");
        }
    }

    /// I7, I13: of one name there is never more than one volume of ours, gone ones included.
    fn no_second_volume(&self) {
        let front = self.front();
        let mut made: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, volume) in front.world().volumes() {
            let foreign = self.foreign.contains(&VolumeId::new(volume.uuid));
            if !foreign && self.specs().keys().any(|name| name.as_str() == volume.name) {
                *made.entry(&volume.name).or_default() += 1;
            }
        }
        for (name, count) in made {
            assert!(count <= 1, "I7: {count} volumes named {name} were made");
        }
    }

    /// I13: no two names share a volume, and a binding never changes.
    fn bindings_are_for_ever(&self) {
        let Some(core) = self.core() else {
            return;
        };
        let mut owners: BTreeMap<VolumeId, &str> = BTreeMap::new();
        for (name, binding) in &core.world().memory.bindings {
            let other = owners.insert(binding.volume, name.as_str());
            assert_eq!(other, None, "I13: {} has two names", binding.volume);
        }
    }

    /// I3: what is served under a volume's name is that volume's data, and of the size that
    /// clients see.
    fn what_is_served_is_the_volume(&self) {
        let front = self.front();
        for (name, served) in self.nbd.exports() {
            let volume = front
                .world()
                .volumes()
                .map(|(_, volume)| volume)
                .find(|volume| ExportName::default_for(VolumeId::new(volume.uuid)) == name)
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
        for (name, _) in self.nbd.exports() {
            let plugged = world.volumes().any(|(no, volume)| {
                ExportName::default_for(VolumeId::new(volume.uuid)) == name
                    && world.plugged_in(no) == Some(here)
                    && volume.state != VolumeState::Expunged
            });
            assert!(plugged, "I3: {name} is served, but not plugged here");
        }
    }
}
