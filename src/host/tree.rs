//! A tree of files that stands for a machine, for tests: regular files are its disks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Host;
use crate::model::action::DeviceProof;
use crate::model::observed::{Device, Disks};
use crate::model::{BootTime, ByteSize, Reading, Serial};

pub(crate) const SERIAL: &str = "b3bb93101b594f6297e8";
pub(crate) const OTHER_SERIAL: &str = "2aff47997a2b4c0e9c5e";

/// Removed when dropped.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    /// A machine without disks.
    pub(crate) fn new() -> Self {
        let tree = Self(tempfile::tempdir().expect("a temporary directory"));
        for dir in ["dev/disk/by-id", "sys/block", "proc/self"] {
            fs::create_dir_all(tree.path(dir)).expect("a new directory");
        }
        tree.write("proc/self/mountinfo", "");
        tree.write("proc/swaps", "Filename Type Size Used Priority\n");
        tree
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
        fs::write(path, content).expect("a file is written");
    }

    pub(crate) fn host(&self) -> Host {
        Host::new(self.root(), None)
    }

    /// Adds a virtio disk with one MiB of zeros, and its link.
    pub(crate) fn plug(&self, name: &str, serial: &str, diskseq: u64) {
        self.write(&format!("dev/{name}"), "");
        let sys = format!("sys/block/{name}");
        fs::create_dir_all(self.path(&format!("{sys}/holders"))).expect("a directory");
        self.write(&format!("{sys}/serial"), serial);
        self.write(&format!("{sys}/diskseq"), &format!("{diskseq}\n"));
        let minor = 16 * diskseq;
        self.write(&format!("{sys}/dev"), &format!("254:{minor}\n"));
        self.resize(name, ByteSize::mib(1));
        self.link(&format!("virtio-{serial}"), name);
    }

    pub(crate) fn unplug(&self, name: &str) {
        fs::remove_dir_all(self.path(&format!("sys/block/{name}"))).expect("a plugged disk");
        fs::remove_file(self.path(&format!("dev/{name}"))).expect("a plugged disk");
    }

    pub(crate) fn resize(&self, name: &str, size: ByteSize) {
        let sectors = size.as_bytes() / 512;
        self.write(&format!("sys/block/{name}/size"), &format!("{sectors}\n"));
        fs::OpenOptions::new()
            .write(true)
            .open(self.path(&format!("dev/{name}")))
            .and_then(|file| file.set_len(size.as_bytes()))
            .expect("a plugged disk");
    }

    /// Makes or re-points a link the way udev does: under another name, then renamed.
    pub(crate) fn link(&self, link: &str, name: &str) {
        let by_id = self.path("dev/disk/by-id");
        let temporary = by_id.join(format!(".#{link}"));
        symlink(format!("../../{name}"), &temporary).expect("a new link");
        fs::rename(&temporary, by_id.join(link)).expect("a rename in one directory");
    }

    pub(crate) fn unlink(&self, link: &str) {
        fs::remove_file(self.path("dev/disk/by-id").join(link)).expect("a link");
    }

    pub(crate) fn disks(&self) -> Disks {
        match self.host().scan(BootTime::default()).disks {
            Reading::Present(disks) => disks,
            other => panic!("the disks of a tree are known: {other:?}"),
        }
    }

    pub(crate) fn device(&self, name: &str) -> Device {
        self.disks().devices.remove(name).expect("a plugged disk")
    }

    /// What a planner would ask to be proven again for `serial`.
    pub(crate) fn proof(&self, serial: &str) -> DeviceProof {
        let serial: Serial = serial.parse().expect("a serial");
        let disks = self.disks();
        let (link, device) = disks.link_for(&serial).expect("a link to a disk");
        DeviceProof {
            link: link.to_owned(),
            serial,
            number: device.number,
            diskseq: device.diskseq,
            size: device.size,
        }
    }
}
