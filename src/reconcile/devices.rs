//! The disks of this machine, and whose they are: also of those that no spec is about. Changes
//! nothing: a disk that should not be here (`GhostDevice`) is for a person to judge.

use std::collections::BTreeMap;

use crate::model::observed::{CloudVolume, Device};
use crate::model::{BootTime, Reading, Serial, VmId, VolumeId, VolumeName};
use crate::plan::World;

use super::report::{DeviceState, HostDevice};

/// Every disk of this machine, as far as it could be read.
pub fn devices(world: &World) -> Vec<HostDevice> {
    let Reading::Present(disks) = &world.observed.host.disks else {
        return Vec::new();
    };
    let whose = Whose::of(world);
    disks
        .devices
        .values()
        .map(|device| whose.describe(device))
        .collect()
}

/// Disks that CloudStack does not list here.
pub(super) fn ghosts(world: &World) -> impl Iterator<Item = HostDevice> {
    devices(world)
        .into_iter()
        .filter(|device| device.state == DeviceState::Ghost)
}

/// Whether a serial is one that CloudStack gives: the first 20 hexadecimal digits of an id
/// (`LibvirtComputingResource.java`, `diskUuidToSerial`).
pub(super) fn is_cloudstacks(serial: &Serial) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    serial.as_str().len() == Serial::LEN_MAX && serial.as_str().bytes().all(digit)
}

/// Volumes by the serial of their disk.
struct Whose<'a> {
    world: &'a World,
    here: Option<VmId>,
    listed: Option<BootTime>,
    volumes: BTreeMap<Serial, &'a CloudVolume>,
    specs: BTreeMap<VolumeId, &'a VolumeName>,
}

impl<'a> Whose<'a> {
    fn of(world: &'a World) -> Self {
        let here = world.observed.host.self_vm.clone().present();
        let is_here = |volume: &CloudVolume| volume.attachment.map(|at| at.vm) == here;
        let mut volumes: BTreeMap<Serial, &CloudVolume> = BTreeMap::new();
        for volume in world.observed.cloud.volumes.values() {
            let known = volumes.entry(Serial::of(volume.id)).or_insert(volume);
            // Of two with one serial, the one that is here.
            if is_here(volume) {
                *known = volume;
            }
        }
        let bindings = world.memory.bindings.iter();
        Self {
            world,
            here,
            listed: world.observed.cloud.listed.as_ref().ok().copied(),
            volumes,
            specs: bindings
                .map(|(name, binding)| (binding.volume, name))
                .collect(),
        }
    }

    fn describe(&self, device: &Device) -> HostDevice {
        let serial = device.serial.clone().filter(is_cloudstacks);
        let volume = serial.as_ref().and_then(|serial| self.volumes.get(serial));
        let spec = volume.and_then(|volume| self.specs.get(&volume.id));
        let (state, message) = match &serial {
            None => (DeviceState::Other, None),
            Some(serial) => self.judge(serial, volume.copied(), spec.is_some()),
        };
        HostDevice {
            path: format!("/dev/{}", device.kernel_name),
            number: device.number.to_string(),
            serial: device.serial.clone(),
            size: device.size,
            state,
            volume: spec.map(|name| (*name).clone()),
            volume_id: volume.map(|volume| volume.id),
            users: device.users.iter().map(ToString::to_string).collect(),
            message,
        }
    }

    fn judge(
        &self,
        serial: &Serial,
        volume: Option<&CloudVolume>,
        managed: bool,
    ) -> (DeviceState, Option<String>) {
        let unknown = |why: &str| (DeviceState::Unknown, Some(why.to_owned()));
        let (Some(here), Some(listed)) = (self.here, self.listed) else {
            return unknown("CloudStack could not be read, or it is not known which VM this is");
        };
        if volume.is_some_and(|volume| volume.attachment.map(|at| at.vm) == Some(here)) {
            let state = if managed {
                DeviceState::Managed
            } else {
                DeviceState::Unmanaged
            };
            return (state, None);
        }
        // What was listed before the disk appeared says nothing about it.
        let appeared = self.world.memory.appeared.get(serial).copied();
        let read = volume.map_or(listed, |volume| volume.begun);
        if appeared.is_some_and(|appeared| read <= appeared) {
            return unknown("CloudStack was not read again since it appeared");
        }
        let says = match volume.map(|volume| (volume.id, volume.attachment)) {
            None => "CloudStack lists no volume with this serial".to_owned(),
            Some((id, None)) => format!("CloudStack says that volume {id} is detached"),
            Some((id, Some(at))) => {
                format!("CloudStack says that volume {id} is on VM {}", at.vm)
            }
        };
        let message = format!(
            "{says}, but its disk is here: it is not touched. Find out who plugged it in; a stop \
             and start of this VM removes it"
        );
        (DeviceState::Ghost, Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::core::Event;
    use super::super::fixture::*;
    use super::*;
    use crate::reconcile::core::Core;

    /// What is said of the disk of volume 1, with these volumes listed.
    fn said(core: &Core) -> (DeviceState, String) {
        let devices = devices(core.world());
        let device = devices.into_iter().next().expect("one disk");
        (device.state, device.message.unwrap_or_default())
    }

    fn seen(cloud: Vec<CloudVolume>, memory: crate::model::memory::Memory) -> Core {
        let seen = Seen {
            cloud,
            disks: vec![1],
            ..Seen::nothing(vec![])
        };
        seen.start(memory).0
    }

    #[test]
    fn a_disk_is_whose_cloudstack_says_or_a_ghost() {
        let (state, _) = said(&seen(vec![attached(1, HERE)], bound(&[1])));
        assert_eq!(state, DeviceState::Managed);
        let (state, _) = said(&seen(vec![attached(1, HERE)], bound(&[])));
        assert_eq!(state, DeviceState::Unmanaged);
        for (cloud, says) in [
            (vec![], "lists no volume"),
            (vec![volume(1)], "is detached"),
            (
                vec![attached(1, VmId::new(uuid::Uuid::from_u128(101)))],
                "is on VM",
            ),
        ] {
            let core = seen(cloud, bound(&[]));
            let (state, message) = said(&core);
            assert_eq!(state, DeviceState::Ghost, "{says}");
            assert!(message.contains(says), "{message}");
            assert_eq!(ghosts(core.world()).count(), 1);
        }
    }

    #[test]
    fn a_disk_that_just_appeared_is_looked_up_before_it_is_called_a_ghost() {
        let (mut core, _) = Seen::nothing(vec![]).start(bound(&[]));
        let plugged = host(&[1], now(10).boot);
        core.handle(Event::Host(plugged), now(10));
        assert_eq!(said(&core).0, DeviceState::Unknown);
        let asks = core.poll(now(11));
        assert!(asked(&asks).contains(&"list"), "{asks:?}");
        let answer = listing(vec![], now(12).boot);
        core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(13));
        assert_eq!(said(&core).0, DeviceState::Ghost);
        assert_eq!(core.take_ghosts().len(), 1);
        assert_eq!(core.take_ghosts(), [], "told once");
    }

    #[test]
    fn serials_of_cloudstack_are_twenty_hexadecimal_digits() {
        let is = |text: &str| is_cloudstacks(&text.parse().expect("a serial"));
        assert!(is("17af9803f4a8445da106"));
        assert!(!is("17af9803f4a8445da10"));
        assert!(!is("QM00001"));
        assert!(!is("WD0123456789ABCDEFGH"));
    }
}
