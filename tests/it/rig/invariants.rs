//! What must hold after every single step, judged by the truth and not by what the daemon
//! believes.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use volume_daemon::model::observed::DeviceNumber;
use volume_daemon::model::{ExportName, VolumeId};
use volume_daemon::sim::world::VolumeState;

use super::Rig;

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
