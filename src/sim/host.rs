//! One VM's guest as a directory tree: what `/dev/disk/by-id`, `/sys/block`,
//! `/sys/class/dmi` and a little of `/proc` would show inside it.
//!
//! ```text
//! dev/disk/by-id/virtio-<serial> -> ../../vdb    by temporary name and rename, as udev does
//! dev/vdb                                        hard link to backing/<volume id>.img
//! backing/<volume id>.img                        sparse, exactly the disk's size; stays
//! sys/block/vdb/{serial,size,diskseq,dev,holders/}
//! sys/block/sdb/device/vpd_pg80                  instead of serial, on other buses than virtio
//! sys/class/dmi/id/{product_uuid,product_serial,sys_vendor,product_name}
//! proc/self/mountinfo  proc/swaps
//! ```
//!
//! A file has no major and minor number of its own, so a disk is known by its inode, which the
//! hard link keeps over detach, attach and reboot. Unlike a real disk, an open file can still
//! be read after the disk is unplugged.
//!
//! [`plan`] compares what is there with what should be, and is pure; [`HostDir`] does it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::world::{Bus, VmNo, World};

/// Major number of virtio-blk here; a real kernel assigns one at load time.
const VIRTIO_MAJOR: u32 = 254;

/// Major number of the first 16 SCSI disks (`Documentation/admin-guide/devices.txt`). Here all
/// have it.
const SCSI_MAJOR: u32 = 8;

/// The unit serial number page (SPC-4, 7.8.15).
const SERIAL_PAGE: u8 = 0x80;

/// A disk in the guest, as it should be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDisk {
    /// The kernel name, as `vdb`.
    pub name: String,
    /// On which bus.
    pub bus: Bus,
    /// The serial, 20 hex digits.
    pub serial: String,
    /// Whose data.
    pub volume: Uuid,
    /// In bytes.
    pub size: u64,
    /// The kernel's sequence number of this plugging.
    pub diskseq: u64,
    /// The driver's number of the disk.
    pub index: u32,
}

impl HostDisk {
    fn link(&self) -> String {
        self.bus.link(&self.serial)
    }
}

/// The disks of a VM's guest; none while it does not run.
pub fn disks_of(world: &World, vm: VmNo) -> Vec<HostDisk> {
    let mut disks: Vec<HostDisk> = world
        .vm(vm)
        .guest
        .as_ref()
        .map_or(&[][..], |guest| guest.disks())
        .iter()
        .map(|disk| HostDisk {
            name: disk.name(),
            bus: disk.bus,
            serial: world.volume(disk.volume).serial(),
            volume: world.volume(disk.volume).uuid,
            size: disk.size,
            diskseq: disk.diskseq,
            index: disk.index,
        })
        .collect();
    disks.sort_by_key(|disk| (disk.bus.name_prefix(), disk.index));
    disks
}

/// What a tree shows now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Disks by kernel name.
    pub disks: BTreeMap<String, SeenDisk>,
    /// Links in by-id: name to kernel name.
    pub links: BTreeMap<String, String>,
}

/// What a tree shows of one disk. Unreadable parts are 0 or empty, which fits no real disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenDisk {
    /// `serial`.
    pub serial: String,
    /// `size` in bytes.
    pub size: u64,
    /// `diskseq`.
    pub diskseq: u64,
}

/// One change of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Removes a link, and by-id with the last one.
    Unlink(String),
    /// Removes a device from sysfs and dev.
    Remove(String),
    /// Makes the device and its sysfs entry.
    Add(HostDisk),
    /// Gives a device its new size.
    Resize(HostDisk),
    /// Makes or replaces a link, by temporary name and rename.
    Link {
        /// The link.
        link: String,
        /// The kernel name it leads to.
        name: String,
    },
}

/// The changes that make `seen` into `wanted`: links of what goes first, then devices, then
/// links of what comes last. Nothing, if nothing differs.
pub fn plan(seen: &Seen, wanted: &[HostDisk]) -> Vec<Step> {
    let same = |disk: &HostDisk| {
        seen.disks
            .get(&disk.name)
            .filter(|old| old.serial == disk.serial && old.diskseq == disk.diskseq)
    };
    // Of two disks with one serial udev lets the later one have the link.
    let has_link = |disk: &HostDisk| {
        wanted
            .iter()
            .all(|other| other.link() != disk.link() || other.diskseq <= disk.diskseq)
    };
    let kept = |name: &str| {
        wanted
            .iter()
            .any(|disk| disk.name == name && same(disk).is_some())
    };
    let mut steps = Vec::new();
    for (link, name) in &seen.links {
        let stays = kept(name)
            && wanted
                .iter()
                .any(|disk| disk.name == *name && disk.link() == *link && has_link(disk));
        if !stays {
            steps.push(Step::Unlink(link.clone()));
        }
    }
    for name in seen.disks.keys().filter(|name| !kept(name)) {
        steps.push(Step::Remove(name.clone()));
    }
    for disk in wanted {
        match same(disk) {
            None => steps.push(Step::Add(disk.clone())),
            Some(old) if old.size != disk.size => steps.push(Step::Resize(disk.clone())),
            Some(_) => {}
        }
    }
    for disk in wanted.iter().filter(|disk| has_link(disk)) {
        let link = disk.link();
        if same(disk).is_none() || seen.links.get(&link) != Some(&disk.name) {
            let name = disk.name.clone();
            steps.push(Step::Link { link, name });
        }
    }
    steps
}

/// Why a tree could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot change {path}")]
pub struct HostError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// A tree on disk.
#[derive(Debug)]
pub struct HostDir {
    root: PathBuf,
}

impl HostDir {
    /// Makes the parts of the tree that stay as they are. `product_uuid` is the VM's id.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn create(root: impl Into<PathBuf>, product_uuid: Uuid) -> Result<Self, HostError> {
        let tree = Self { root: root.into() };
        for dir in [
            "dev",
            "backing",
            "sys/block",
            "sys/class/dmi/id",
            "proc/self",
        ] {
            let path = tree.root.join(dir);
            at(&path, fs::create_dir_all(&path))?;
        }
        // `LibvirtVMDef.java`, `GuestDef`: both hold the id of the VM.
        for (file, text) in [
            ("product_uuid", product_uuid.to_string()),
            ("product_serial", product_uuid.to_string()),
            ("sys_vendor", "Apache Software Foundation".to_owned()),
            ("product_name", "CloudStack KVM Hypervisor".to_owned()),
        ] {
            tree.write(&format!("sys/class/dmi/id/{file}"), &format!("{text}\n"))?;
        }
        tree.write("proc/self/mountinfo", "1 1 0:2 / / rw - rootfs rootfs rw\n")?;
        tree.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")?;
        Ok(tree)
    }

    /// Makes the tree show these disks.
    ///
    /// # Errors
    /// If the tree cannot be read or written. Calling again carries on.
    pub fn show(&self, disks: &[HostDisk]) -> Result<(), HostError> {
        for step in plan(&self.seen()?, disks) {
            self.take(&step)?;
        }
        Ok(())
    }

    /// Reads what the tree shows.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn seen(&self) -> Result<Seen, HostError> {
        let mut seen = Seen::default();
        for name in names_in(&self.root.join("sys/block"))? {
            let dir = self.root.join("sys/block").join(&name);
            let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
            let number = |file: &str| text(file).trim().parse::<u64>().unwrap_or(0);
            let disk = SeenDisk {
                serial: match fs::read(dir.join("device/vpd_pg80")) {
                    Ok(page) => {
                        String::from_utf8_lossy(page.get(4..).unwrap_or_default()).into_owned()
                    }
                    Err(_) => text("serial"),
                },
                size: number("size").saturating_mul(512),
                diskseq: number("diskseq"),
            };
            seen.disks.insert(name, disk);
        }
        let by_id = self.by_id();
        for link in names_in(&by_id)? {
            let target = fs::read_link(by_id.join(&link)).unwrap_or_default();
            let name = target
                .strip_prefix("../..")
                .map(|name| name.to_string_lossy().into_owned());
            seen.links.insert(link, name.unwrap_or_default());
        }
        Ok(seen)
    }

    fn take(&self, step: &Step) -> Result<(), HostError> {
        match step {
            Step::Unlink(link) => {
                let path = self.by_id().join(link);
                at(&path, gone(fs::remove_file(&path)))?;
                // Both are there again with the next link; a watch on them is not.
                if fs::remove_dir(self.by_id()).is_ok() {
                    let _ = fs::remove_dir(self.root.join("dev/disk"));
                }
                Ok(())
            }
            Step::Remove(name) => {
                let dir = self.root.join("sys/block").join(name);
                at(&dir, gone(fs::remove_dir_all(&dir)))?;
                let device = self.root.join("dev").join(name);
                at(&device, gone(fs::remove_file(&device)))
            }
            Step::Add(disk) => self.add(disk),
            Step::Resize(disk) => {
                self.grow_backing(disk)?;
                self.write(
                    &format!("sys/block/{}/size", disk.name),
                    &format!("{}\n", disk.size / 512),
                )
            }
            Step::Link { link, name } => {
                let by_id = self.by_id();
                at(&by_id, fs::create_dir_all(&by_id))?;
                // udev(7) links under a temporary name first, in the same directory.
                let temporary = by_id.join(format!(".#{link}"));
                at(&temporary, gone(fs::remove_file(&temporary)))?;
                at(
                    &temporary,
                    symlink(Path::new("../..").join(name), &temporary),
                )?;
                at(&temporary, fs::rename(&temporary, by_id.join(link)))
            }
        }
    }

    fn add(&self, disk: &HostDisk) -> Result<(), HostError> {
        let backing = self.grow_backing(disk)?;
        let device = self.root.join("dev").join(&disk.name);
        at(&device, gone(fs::remove_file(&device)))?;
        at(&device, fs::hard_link(backing, &device))?;
        let dir = format!("sys/block/{}", disk.name);
        let holders = self.root.join(&dir).join("holders");
        at(&holders, fs::create_dir_all(&holders))?;
        let major = match disk.bus {
            Bus::Virtio => {
                // The kernel writes no newline after this one (`virtio_blk.c`, `serial_show`).
                self.write(&format!("{dir}/serial"), &disk.serial)?;
                VIRTIO_MAJOR
            }
            Bus::Scsi | Bus::Sata | Bus::Ide => {
                self.write_serial_page(&dir, &disk.serial)?;
                SCSI_MAJOR
            }
        };
        self.write(&format!("{dir}/size"), &format!("{}\n", disk.size / 512))?;
        self.write(
            &format!("{dir}/dev"),
            &format!("{major}:{}\n", disk.index.saturating_mul(16)),
        )?;
        self.write(&format!("{dir}/diskseq"), &format!("{}\n", disk.diskseq))
    }

    /// The page as the disk answered it (`Documentation/ABI/testing/sysfs-block-device`): device
    /// type, page code, two bytes of length, the serial.
    fn write_serial_page(&self, dir: &str, serial: &str) -> Result<(), HostError> {
        let length = u8::try_from(serial.len()).expect("a serial has 20 digits");
        let page = [&[0, SERIAL_PAGE, 0, length], serial.as_bytes()].concat();
        let device = self.root.join(dir).join("device");
        at(&device, fs::create_dir_all(&device))?;
        let path = device.join("vpd_pg80");
        at(&path, fs::write(&path, page))
    }

    fn grow_backing(&self, disk: &HostDisk) -> Result<PathBuf, HostError> {
        let path = self
            .root
            .join("backing")
            .join(format!("{}.img", disk.volume));
        let file = at(
            &path,
            fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path),
        )?;
        at(&path, file.set_len(disk.size))?;
        Ok(path)
    }

    fn by_id(&self) -> PathBuf {
        self.root.join("dev/disk/by-id")
    }

    fn write(&self, file: &str, text: &str) -> Result<(), HostError> {
        let path = self.root.join(file);
        at(&path, fs::write(&path, text))
    }
}

/// The names in a directory; none if it is not there. Temporary names do not count.
fn names_in(dir: &Path) -> Result<Vec<String>, HostError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return at(dir, Err(error)),
    };
    entries
        .map(|entry| at(dir, entry).map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .filter(|name| !name.as_ref().is_ok_and(|name| name.starts_with('.')))
        .collect()
}

/// What is not there need not be removed.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, HostError> {
    result.map_err(|source| HostError {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
