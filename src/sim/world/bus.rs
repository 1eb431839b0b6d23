//! Buses: on which one a disk is plugged, and what a Linux guest calls it there.
//!
//! Owns the rules; what is plugged is in `guest`. The same volume may change its bus over a stop
//! and start of its VM, because hot-plugging goes by other rules than starting.

use serde::{Deserialize, Serialize};

use super::World;
use super::rows::VmNo;

/// The detail of a VM that says on which bus its root disk is (`VmDetailConstants.java`).
pub const ROOT_DISK_CONTROLLER: &str = "rootDiskController";

/// The detail of a VM that says on which bus its data disks are (`VmDetailConstants.java`).
pub const DATA_DISK_CONTROLLER: &str = "dataDiskController";

/// A bus (`LibvirtVMDef.java`, `DiskDef.DiskBus`), as far as it is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// virtio-scsi.
    Scsi,
    /// AHCI.
    Sata,
    /// IDE, which Linux drives as ATA, too.
    Ide,
}

impl Bus {
    /// As libvirt writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Scsi => "scsi",
            Self::Sata => "sata",
            Self::Ide => "ide",
        }
    }

    /// Reads a detail of a VM, ignoring case; `None`: no bus of that name.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "virtio" | "virtio-blk" => Some(Self::Virtio),
            "scsi" => Some(Self::Scsi),
            "sata" => Some(Self::Sata),
            "ide" => Some(Self::Ide),
            _ => None,
        }
    }

    /// What kernel names begin with: `virtio_blk.c` has `vd`, the SCSI disk driver has `sd` for
    /// everything else.
    pub const fn name_prefix(self) -> &'static str {
        match self {
            Self::Virtio => "vd",
            Self::Scsi | Self::Sata | Self::Ide => "sd",
        }
    }

    /// The name of the link in `/dev/disk/by-id` (systemd's `60-persistent-storage.rules`).
    pub fn link(self, serial: &str) -> String {
        let prefix = match self {
            Self::Virtio => "virtio-",
            Self::Scsi => "scsi-0QEMU_QEMU_HARDDISK_",
            Self::Sata | Self::Ide => "ata-QEMU_HARDDISK_",
        };
        format!("{prefix}{serial}")
    }
}

impl World {
    /// The bus of the root disk when a VM starts: its detail, else by its guest OS
    /// (`LibvirtComputingResource.java`, `getGuestDiskModel`).
    pub(super) fn root_bus(&self, vm: VmNo) -> Bus {
        let row = self.vm(vm);
        let detail = row.details.get(ROOT_DISK_CONTROLLER);
        detail
            .and_then(|text| Bus::parse(text))
            .unwrap_or_else(|| of_guest_os(&row.os))
    }

    /// The bus of data disks when a VM starts: its detail, else that of its root disk if it is
    /// SCSI, else virtio (`LibvirtComputingResource.java`, `getDataDiskModelFromVMDetail`).
    pub(super) fn data_bus(&self, vm: VmNo) -> Bus {
        let detail = self.vm(vm).details.get(DATA_DISK_CONTROLLER);
        detail
            .and_then(|text| Bus::parse(text))
            .unwrap_or_else(|| match self.root_bus(vm) {
                Bus::Scsi => Bus::Scsi,
                Bus::Virtio | Bus::Sata | Bus::Ide => Bus::Virtio,
            })
    }

    /// The bus of a disk that is plugged into a running VM: SCSI if its first disk is on SCSI,
    /// else virtio, whatever its details say (`KVMStorageProcessor.java`, `attachOrDetachDisk`).
    pub fn hot_bus(&self, vm: VmNo) -> Bus {
        let disks = self
            .vm(vm)
            .guest
            .as_ref()
            .map_or(&[][..], |guest| guest.disks());
        let first = disks.iter().min_by_key(|disk| disk.slot);
        match first.map(|disk| disk.bus) {
            Some(Bus::Scsi) => Bus::Scsi,
            Some(Bus::Virtio | Bus::Sata | Bus::Ide) | None => Bus::Virtio,
        }
    }
}

/// `getGuestDiskModel` for x86 without UEFI.
fn of_guest_os(os: &str) -> Bus {
    const VIRTIO: [&str; 8] = [
        "Fedora",
        "CentOS",
        "Red Hat Enterprise Linux",
        "Debian GNU/Linux",
        "FreeBSD",
        "Oracle",
        "Rocky Linux",
        "AlmaLinux",
    ];
    if os.starts_with("Other PV Virtio-SCSI") {
        Bus::Scsi
    } else if os.contains("Ubuntu")
        || os.starts_with("Other PV")
        || VIRTIO.iter().any(|name| os.starts_with(name))
    {
        Bus::Virtio
    } else {
        Bus::Ide
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_os_decides_where_no_detail_does() {
        for (os, bus) in [
            ("Debian GNU/Linux 12 (64-bit)", Bus::Virtio),
            ("Ubuntu 24.04 LTS", Bus::Virtio),
            ("Xubuntu", Bus::Ide),
            ("Other PV (64-bit)", Bus::Virtio),
            ("Other PV Virtio-SCSI (64-bit)", Bus::Scsi),
            ("Windows Server 2022 (64-bit)", Bus::Ide),
            ("", Bus::Ide),
        ] {
            assert_eq!(of_guest_os(os), bus, "{os}");
        }
    }

    #[test]
    fn links_are_named_as_udev_names_them() {
        for (bus, link) in [
            (Bus::Virtio, "virtio-ab"),
            (Bus::Scsi, "scsi-0QEMU_QEMU_HARDDISK_ab"),
            (Bus::Sata, "ata-QEMU_HARDDISK_ab"),
            (Bus::Ide, "ata-QEMU_HARDDISK_ab"),
        ] {
            assert_eq!(bus.link("ab"), link);
            assert_eq!(Bus::parse(&bus.as_str().to_uppercase()), Some(bus));
        }
        assert_eq!(Bus::parse("lsilogic"), None);
    }
}
