//! What the hypervisor really runs, apart from what the database says.
//!
//! Only a running VM has a [`Guest`]. Linux gives a hot-plugged disk the lowest free name of its
//! driver (`virtio_blk.c` and `sd.c`, `ida_alloc`), and names all disks again in slot order at
//! boot, so that a link in `/dev/disk/by-id` may lead elsewhere after a reboot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sim::refusal::Refusal;

use super::World;
use super::bus::Bus;
use super::rows::{VmNo, VmState, VolumeKind, VolumeNo, VolumeState};

/// A running guest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Guest {
    disks: Vec<Disk>,
}

impl Guest {
    /// Its disks, in no particular order.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }
}

/// A plugged disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Whose data.
    pub volume: VolumeNo,
    /// On which bus.
    pub bus: Bus,
    /// The PCI slot, counted from 0: decides the names at boot.
    pub slot: u32,
    /// The driver's number of the disk: 0 is `vda` or `sda`.
    pub index: u32,
    /// The kernel's sequence number of this plugging. Here it goes on over reboots, so that no
    /// two pluggings ever share one.
    pub diskseq: u64,
    /// The size the guest sees, in bytes.
    pub size: u64,
}

impl Disk {
    /// The kernel name (`virtio_blk.c`, `virtblk_name_format`; `sd.c`, `sd_format_disk_name`):
    /// vda … vdz, vdaa …
    pub fn name(&self) -> String {
        let mut letters = Vec::new();
        let mut rest = self.index;
        loop {
            let digit = u8::try_from(rest % 26).expect("a remainder of 26 fits");
            letters.push(char::from(b'a' + digit));
            match (rest / 26).checked_sub(1) {
                Some(more) => rest = more,
                None => break,
            }
        }
        std::iter::once(self.bus.name_prefix().to_owned())
            .chain(letters.iter().rev().map(char::to_string))
            .collect()
    }
}

impl World {
    /// The VM in whose guest a volume is plugged, whatever the database says.
    pub fn plugged_in(&self, volume: VolumeNo) -> Option<VmNo> {
        self.plugged.get(&volume).copied()
    }

    /// Plugs a disk into a running guest.
    ///
    /// # Errors
    /// If the VM does not run, or the image is open somewhere: in the same domain libvirt
    /// refuses a second disk, in another QEMU its lock on the image.
    pub(super) fn plug(&mut self, vm: VmNo, volume: VolumeNo) -> Result<(), Refusal> {
        self.plug_on(vm, volume, self.hot_bus(vm))
    }

    /// Whether a disk could be plugged in.
    ///
    /// # Errors
    /// As [`World::plug`].
    pub(super) fn check_plug(&self, vm: VmNo, volume: VolumeNo) -> Result<(), Refusal> {
        match self.plugged_in(volume) {
            None => {}
            Some(other) if other == vm => {
                return Err(Refusal::runtime(
                    "org.libvirt.LibvirtException: operation failed: target already exists",
                ));
            }
            Some(_) => {
                return Err(Refusal::runtime(
                    "org.libvirt.LibvirtException: internal error: unable to execute QEMU command \
                     'blockdev-add': Failed to get \"write\" lock",
                ));
            }
        }
        if self.vm(vm).guest.is_none() {
            return Err(Refusal::runtime(
                "org.libvirt.LibvirtException: Domain not found",
            ));
        }
        Ok(())
    }

    fn plug_on(&mut self, vm: VmNo, volume: VolumeNo, bus: Bus) -> Result<(), Refusal> {
        self.check_plug(vm, volume)?;
        let size = self.volume(volume).size;
        let diskseq = self.next_diskseq();
        let guest = self.vm_mut(vm).guest.as_mut();
        let guest = guest.expect("that was checked");
        let disk = Disk {
            volume,
            bus,
            slot: lowest_free(guest.disks.iter().map(|disk| disk.slot)),
            index: lowest_free(
                guest
                    .disks
                    .iter()
                    .filter(|disk| disk.bus.name_prefix() == bus.name_prefix())
                    .map(|disk| disk.index),
            ),
            diskseq,
            size,
        };
        guest.disks.push(disk);
        self.plugged.insert(volume, vm);
        Ok(())
    }

    /// Unplugs a disk. It need not be there: the agent then reports success
    /// (`KVMStorageProcessor.java`, `attachOrDetachDisk`).
    pub(super) fn unplug(&mut self, vm: VmNo, volume: VolumeNo) {
        if self.plugged_in(volume) != Some(vm) {
            return;
        }
        if let Some(guest) = self.vm_mut(vm).guest.as_mut() {
            guest.disks.retain(|disk| disk.volume != volume);
        }
        self.plugged.remove(&volume);
    }

    /// Whether the guest could be started.
    ///
    /// # Errors
    /// As [`World::boot`].
    pub(super) fn check_boot(&self, vm: VmNo) -> Result<(), Refusal> {
        let mut volumes = self.vm(vm).disks.values();
        if let Some(held) = volumes.find(|no| self.plugged.contains_key(no)) {
            return Err(Refusal::runtime(format!(
                "Unable to start a VM: volume {} is in use by another domain: Failed to get \
                 \"write\" lock",
                self.volume(*held).uuid
            )));
        }
        Ok(())
    }

    /// The disks with which the guest would start, in order of device id, and their buses.
    pub fn boot_disks(&self, vm: VmNo) -> Vec<(VolumeNo, Bus)> {
        let (root_bus, data_bus) = (self.root_bus(vm), self.data_bus(vm));
        let volumes = self.vm(vm).disks.values();
        volumes
            .map(|volume| match self.volume(*volume).kind {
                VolumeKind::Root => (*volume, root_bus),
                VolumeKind::Data => (*volume, data_bus),
            })
            .collect()
    }

    /// Starts the guest with the disks of the database, in order of device id.
    ///
    /// # Errors
    /// If one of them is open in another guest.
    pub(super) fn boot(&mut self, vm: VmNo) -> Result<(), Refusal> {
        self.check_boot(vm)?;
        self.place(vm);
        let disks = self.boot_disks(vm);
        self.vm_mut(vm).guest = Some(Guest::default());
        for (volume, bus) in disks {
            self.plug_on(vm, volume, bus)
                .expect("the guest was just made and no disk is held");
        }
        Ok(())
    }

    /// Ends the guest.
    pub(super) fn power_off(&mut self, vm: VmNo) {
        for disk in self
            .vm_mut(vm)
            .guest
            .take()
            .map(|guest| guest.disks)
            .unwrap_or_default()
        {
            self.plugged.remove(&disk.volume);
        }
    }

    /// Boots the guest again with the disks it has, also those the database knows nothing of.
    pub(super) fn reset(&mut self, vm: VmNo) {
        let mut disks = match self.vm_mut(vm).guest.as_mut() {
            Some(guest) => std::mem::take(&mut guest.disks),
            None => return,
        };
        disks.sort_by_key(|disk| disk.slot);
        let mut next: BTreeMap<&str, u32> = BTreeMap::new();
        for disk in &mut disks {
            let index = next.entry(disk.bus.name_prefix()).or_default();
            disk.index = *index;
            *index += 1;
            disk.diskseq = self.next_diskseq();
        }
        self.vm_mut(vm).guest = Some(Guest { disks });
    }

    /// Exchanges the names of two plugged disks, as a reboot may.
    ///
    /// # Errors
    /// If they are not two disks of that running guest, with names of one driver.
    pub fn swap_disks(&mut self, vm: VmNo, a: VolumeNo, b: VolumeNo) -> Result<(), Refusal> {
        let (seq_a, seq_b) = (self.next_diskseq(), self.next_diskseq());
        let refusal = || {
            Refusal::invalid(
                "both volumes must be plugged into that VM, and on buses of one driver",
            )
        };
        let guest = self.vm_mut(vm).guest.as_mut().ok_or_else(refusal)?;
        let at = |of| guest.disks.iter().position(|disk| disk.volume == of);
        let (Some(a), Some(b)) = (at(a), at(b)) else {
            return Err(refusal());
        };
        let (old_a, old_b) = (guest.disks[a], guest.disks[b]);
        // Names of one driver only are exchanged.
        if a == b || old_a.bus.name_prefix() != old_b.bus.name_prefix() {
            return Err(refusal());
        }
        guest.disks[a] = Disk {
            slot: old_b.slot,
            index: old_b.index,
            diskseq: seq_a,
            ..old_a
        };
        guest.disks[b] = Disk {
            slot: old_a.slot,
            index: old_a.index,
            diskseq: seq_b,
            ..old_b
        };
        Ok(())
    }

    /// Tells the guest about the new size of a disk (`virsh blockresize`).
    pub(super) fn resize_plugged(&mut self, volume: VolumeNo, size: u64) {
        let Some(vm) = self.plugged_in(volume) else {
            return;
        };
        if let Some(guest) = self.vm_mut(vm).guest.as_mut() {
            for disk in guest.disks.iter_mut().filter(|disk| disk.volume == volume) {
                disk.size = size;
            }
        }
    }

    /// Plugs a volume in behind the controller's back: the database does not learn of it.
    ///
    /// # Errors
    /// If the VM does not run, the image is open in a guest, or the volume is not on storage.
    pub fn plug_secretly(&mut self, vm: VmNo, volume: VolumeNo) -> Result<(), Refusal> {
        let on_storage = match self.volume(volume).state {
            VolumeState::Ready
            | VolumeState::Attaching
            | VolumeState::Resizing
            | VolumeState::Snapshotting
            | VolumeState::RevertSnapshotting
            | VolumeState::Destroy => true,
            VolumeState::Allocated
            | VolumeState::Creating
            | VolumeState::Expunging
            | VolumeState::Expunged => false,
        };
        if self.vm(vm).state != VmState::Running || !on_storage {
            return Err(Refusal::invalid(
                "only a volume that is on storage can be plugged, into a running VM",
            ));
        }
        self.plug(vm, volume)
    }

    /// Unplugs a volume behind the controller's back: the database does not learn of it.
    ///
    /// # Errors
    /// If it is not plugged in anywhere.
    pub fn unplug_secretly(&mut self, volume: VolumeNo) -> Result<(), Refusal> {
        match self.plugged_in(volume) {
            Some(vm) => {
                self.unplug(vm, volume);
                Ok(())
            }
            None => Err(Refusal::invalid("that volume is not plugged in")),
        }
    }
}

fn lowest_free(used: impl Iterator<Item = u32>) -> u32 {
    let used: std::collections::BTreeSet<u32> = used.collect();
    (0..)
        .find(|candidate| !used.contains(candidate))
        .expect("a guest has fewer than 2^32 disks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_the_kernel_names_them() {
        for (index, name) in [
            (0, "vda"),
            (25, "vdz"),
            (26, "vdaa"),
            (701, "vdzz"),
            (702, "vdaaa"),
        ] {
            let disk = Disk {
                volume: VolumeNo(1),
                bus: Bus::Virtio,
                slot: 0,
                index,
                diskseq: 1,
                size: 0,
            };
            assert_eq!(disk.name(), name);
            let scsi = Disk {
                bus: Bus::Scsi,
                ..disk
            };
            assert_eq!(scsi.name(), name.replace("vd", "sd"));
        }
    }
}
