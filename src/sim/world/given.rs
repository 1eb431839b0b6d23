//! Rows that are there from the beginning: given by a file or a generator, not made by calls.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::sim::refusal::Refusal;
use crate::sim::time::SimTime;

use super::World;
use super::rows::{
    AccountNo, OfferingNo, Tag, VmNo, VmState, Volume, VolumeKind, VolumeNo, VolumeState, ZoneNo,
    collates_equal,
};

/// A VM that is there from the beginning.
#[derive(Debug, Clone)]
pub struct GivenVm {
    /// Its id; `None`: a random one.
    pub uuid: Option<Uuid>,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub zone: ZoneNo,
    /// Whose it is.
    pub account: AccountNo,
    /// Its guest OS; `None`: the usual one.
    pub os: Option<String>,
    /// Its details; `None`: the usual ones.
    pub details: Option<BTreeMap<String, String>>,
    /// Running or Stopped.
    pub state: VmState,
    /// Whether it ever ran.
    pub started_once: bool,
    /// When it and its ROOT volume were made.
    pub created: SimTime,
}

/// A data volume that is there from the beginning.
#[derive(Debug, Clone)]
pub struct GivenVolume {
    /// Its id; `None`: a random one.
    pub uuid: Option<Uuid>,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its offering.
    pub offering: OfferingNo,
    /// Where it is.
    pub zone: ZoneNo,
    /// Whose it is.
    pub account: AccountNo,
    /// Allocated, Ready or Destroy.
    pub state: VolumeState,
    /// When it was made.
    pub created: SimTime,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Its VM, and as which device; `None`: CloudStack chooses.
    pub attach: Option<(VmNo, Option<i64>)>,
}

impl World {
    /// Lets all VMs and volumes be older by so many milliseconds, to make room for younger ones.
    pub fn make_older(&mut self, millis: i64) {
        for vm in self.vms.values_mut() {
            vm.created = vm.created.shifted(-millis);
        }
        for volume in self.volumes.values_mut() {
            volume.created = volume.created.shifted(-millis);
        }
    }

    /// Adds a VM with its ROOT volume.
    ///
    /// # Errors
    /// If the id is taken.
    pub fn add_given_vm(&mut self, given: GivenVm) -> Result<VmNo, Refusal> {
        if let Some(uuid) = given.uuid
            && self.find_vm(uuid).is_some()
        {
            return Err(Refusal::invalid(format!("another VM has the id {uuid}")));
        }
        let (name, zone, account) = (&given.name, given.zone, given.account);
        let no = if given.started_once {
            self.add_vm(name, zone, account, VmState::Stopped)
        } else {
            self.add_new_vm(name, zone, account)
        };
        let row = self.vm_mut(no);
        row.created = given.created;
        row.os = given.os.unwrap_or_else(|| std::mem::take(&mut row.os));
        row.details = given
            .details
            .unwrap_or_else(|| std::mem::take(&mut row.details));
        let disks = row.disks.clone();
        if let Some(uuid) = given.uuid {
            self.rename_vm(no, uuid);
        }
        for volume in disks.into_values() {
            self.volume_mut(volume).created = given.created;
        }
        if given.state == VmState::Running {
            self.boot(no).expect("its only disk was just made");
            self.vm_mut(no).state = VmState::Running;
        }
        Ok(no)
    }

    /// Adds a volume. Rows are numbered by age, so older ones come first.
    ///
    /// # Errors
    /// If an older one should have come before, the id or the device is taken, a tag is there twice, the VM is full or elsewhere, or
    /// the state does not fit the VM.
    pub fn add_given_volume(&mut self, given: GivenVolume) -> Result<VolumeNo, Refusal> {
        if let Some(uuid) = given.uuid
            && self.find_volume(uuid).is_some()
        {
            return Err(Refusal::invalid(format!(
                "another volume has the id {uuid}"
            )));
        }
        let youngest = self.volumes.values().next_back();
        if youngest.is_some_and(|youngest| youngest.created > given.created) {
            return Err(Refusal::invalid("older volumes must come first"));
        }
        check_tags(&given.tags)?;
        let link = match given.attach {
            None => None,
            Some((vm, device)) => Some((vm, self.given_device(&given, vm, device)?)),
        };
        let uuid = match given.uuid {
            Some(uuid) => uuid,
            None => self.uuid(),
        };
        let no = self.insert_volume(Volume {
            uuid,
            name: given.name,
            kind: VolumeKind::Data,
            size: given.size,
            state: given.state,
            zone: given.zone,
            offering: Some(given.offering),
            account: given.account,
            created: given.created,
            attachment: None,
            tags: given.tags,
            delete_protection: false,
            from_snapshot: None,
            removed: false,
        });
        if given.state == VolumeState::Destroy {
            self.await_scavenger(no);
        }
        if let Some((vm, device)) = link {
            if self.vm(vm).guest.is_some() {
                self.plug(vm, no)
                    .expect("the guest runs and the disk is new");
            }
            self.set_link(no, vm, device);
        }
        Ok(no)
    }

    fn given_device(
        &self,
        given: &GivenVolume,
        vm: VmNo,
        device: Option<i64>,
    ) -> Result<u32, Refusal> {
        let row = self.vm(vm);
        if row.zone != given.zone || row.account != given.account {
            return Err(Refusal::invalid(
                "it must be in the zone and account of the VM it is attached to",
            ));
        }
        let fits = match given.state {
            VolumeState::Allocated => row.guest.is_none(),
            VolumeState::Ready => true,
            VolumeState::Creating
            | VolumeState::Attaching
            | VolumeState::Resizing
            | VolumeState::Snapshotting
            | VolumeState::RevertSnapshotting
            | VolumeState::Destroy
            | VolumeState::Expunging
            | VolumeState::Expunged => false,
        };
        if !fits {
            return Err(Refusal::invalid(format!(
                "a volume cannot be {} on a VM that is {}",
                given.state.as_str(),
                row.state.as_str()
            )));
        }
        self.choose_device(vm, device)
    }
}

fn check_tags(tags: &[Tag]) -> Result<(), Refusal> {
    for (index, tag) in tags.iter().enumerate() {
        if tag.value.is_empty() {
            return Err(Refusal::invalid(format!("tag {} has no value", tag.key)));
        }
        if tags[..index]
            .iter()
            .any(|other| collates_equal(&other.key, &tag.key))
        {
            return Err(Refusal::invalid(format!(
                "tag {} is there twice: case does not count",
                tag.key
            )));
        }
    }
    Ok(())
}
