//! What the world said, and when.
//!
//! Every reading carries its start on the boot clock, so that what was read before a change
//! settled is never taken for what is true after it (I4).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::action::DeviceProof;
use super::export::{ExportName, NodeName, Serial};
use super::ids::{JobId, OfferingId, VmId, VolumeId, ZoneId};
use super::size::ByteSize;
use super::time::{BootTime, Timestamp};

/// What one source said about one thing.
///
/// `Absent` is an answer: we looked, it is not there. `Unknown` is no answer, and
/// justifies nothing but waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// It is there, like this.
    Present(T),
    /// It is not there.
    Absent,
    /// Could not look, for this reason.
    Unknown(String),
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub fn present(self) -> Option<T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// The same reading of a borrowed value.
    pub fn as_ref(&self) -> Reading<&T> {
        match self {
            Self::Present(value) => Reading::Present(value),
            Self::Absent => Reading::Absent,
            Self::Unknown(why) => Reading::Unknown(why.clone()),
        }
    }

    /// The same reading of a value made from this one.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Present(value) => Reading::Present(f(value)),
            Self::Absent => Reading::Absent,
            Self::Unknown(why) => Reading::Unknown(why),
        }
    }
}

/// Everything that was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// CloudStack.
    pub cloud: CloudView,
    /// This machine's block devices.
    pub host: HostView,
    /// The NBD server.
    pub nbd: NbdView,
}

impl Default for Observed {
    /// Nothing was looked at yet.
    fn default() -> Self {
        Self {
            cloud: CloudView::default(),
            host: HostView::default(),
            nbd: NbdView::default(),
        }
    }
}

/// A volume as CloudStack lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudVolume {
    /// Its id.
    pub id: VolumeId,
    /// Its name; not unique.
    pub name: String,
    /// Its size.
    pub size: ByteSize,
    /// Its state.
    pub state: VolumeState,
    /// Root or data disk. A data disk attached at device 0 is shown as root.
    pub kind: VolumeKind,
    /// Its zone.
    pub zone: ZoneId,
    /// Its disk offering; root disks made with a VM have none.
    pub offering: Option<OfferingId>,
    /// Where it is attached: `virtualmachineid`, never the `attached` date.
    pub attachment: Option<Attachment>,
    /// The asynchronous job that is pending on it (`jobid` with `jobstatus` 0).
    pub pending_job: Option<JobId>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was created, by the server's clock.
    pub created: Option<Timestamp>,
    /// When the request that said so was begun.
    pub begun: BootTime,
}

/// A volume's place on a VM, as CloudStack records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The VM.
    pub vm: VmId,
    /// CloudStack's device id; not a guest device name.
    pub device_id: Option<u8>,
}

/// CloudStack's kinds of volume (`Volume.java`, `Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeKind {
    /// The disk a VM boots from.
    Root,
    /// Any other.
    Data,
}

/// CloudStack's volume states (`Volume.java`, `State`), by what they mean for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeState {
    /// Known to the database, not yet on storage.
    Allocated,
    /// On storage.
    Ready,
    /// Something is being done to it: Creating, Attaching, Resizing, Snapshotting,
    /// Migrating and the like.
    Transitional(String),
    /// Deleted but recoverable.
    Destroy,
    /// Being removed, or removed.
    Expunged,
    /// Uploads and whatever later versions add; never acted upon.
    Other(String),
}

impl VolumeState {
    /// Reads CloudStack's name of a state.
    pub fn parse(text: &str) -> Self {
        match text {
            "Allocated" => Self::Allocated,
            "Ready" => Self::Ready,
            "Creating" | "Attaching" | "Resizing" | "Snapshotting" | "RevertSnapshotting"
            | "Migrating" | "Copying" | "Restoring" | "Destroying" => {
                Self::Transitional(text.to_owned())
            }
            "Destroy" => Self::Destroy,
            "Expunging" | "Expunged" => Self::Expunged,
            _ => Self::Other(text.to_owned()),
        }
    }
}

impl fmt::Display for VolumeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allocated => "Allocated",
            Self::Ready => "Ready",
            Self::Destroy => "Destroy",
            Self::Expunged => "Expunged",
            Self::Transitional(name) | Self::Other(name) => name,
        })
    }
}

/// A VM as CloudStack lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudVm {
    /// Its id.
    pub id: VmId,
    /// Its host name.
    pub name: String,
    /// Its state.
    pub state: VmState,
    /// Its zone.
    pub zone: ZoneId,
    /// When the request that said so was begun.
    pub begun: BootTime,
}

/// CloudStack's VM states (`VirtualMachine.java`, `State`), by what they allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmState {
    /// Attach and detach are hot-plug.
    Running,
    /// Attach and detach are database updates.
    Stopped,
    /// Starting, Stopping, Migrating, Restoring: wait.
    Transitional(String),
    /// Destroyed, Expunging, Error: unusable.
    Gone(String),
    /// Unknown and whatever later versions add: wait.
    Other(String),
}

impl VmState {
    /// Reads CloudStack's name of a state.
    pub fn parse(text: &str) -> Self {
        match text {
            "Running" => Self::Running,
            "Stopped" | "Shutdown" => Self::Stopped,
            "Starting" | "Stopping" | "Migrating" | "Restoring" => {
                Self::Transitional(text.to_owned())
            }
            "Destroyed" | "Expunging" | "Error" => Self::Gone(text.to_owned()),
            _ => Self::Other(text.to_owned()),
        }
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "Running",
            Self::Stopped => "Stopped",
            Self::Transitional(name) | Self::Gone(name) | Self::Other(name) => name,
        })
    }
}

/// A named object of CloudStack's catalogue: a zone or a disk offering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<Id> {
    /// Its id.
    pub id: Id,
    /// Its name; not unique.
    pub name: String,
}

/// Zones and disk offerings, read when a name needs resolving.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue {
    /// Visible zones.
    pub zones: Vec<Named<ZoneId>>,
    /// Visible disk offerings.
    pub offerings: Vec<Named<OfferingId>>,
}

/// CloudStack as last observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudView {
    /// Volumes in our scope, each with the age of its own reading.
    pub volumes: BTreeMap<VolumeId, CloudVolume>,
    /// Volumes that were looked up by id and are not there, and when that look-up began.
    pub absent: BTreeMap<VolumeId, BootTime>,
    /// Volume names that were looked up one by one, and when: what goes by them is in
    /// `volumes`.
    pub named: BTreeMap<String, BootTime>,
    /// VMs in our scope.
    pub vms: BTreeMap<VmId, CloudVm>,
    /// When the last complete listing of volumes and VMs began; `Err` says why there
    /// is none that still counts.
    pub listed: Result<BootTime, Unlisted>,
    /// Zones and offerings, if they were needed yet.
    pub catalogue: Option<Catalogue>,
    /// The server's clock, and when it was read.
    pub server_time: Option<(Timestamp, BootTime)>,
}

/// Why there is no listing that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlisted {
    /// CloudStack was not asked yet, or has not answered yet.
    NotAsked,
    /// It could not be read, for this reason.
    Failed(String),
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotAsked => "CloudStack has not answered yet",
            Self::Failed(why) => why,
        })
    }
}

impl Default for CloudView {
    fn default() -> Self {
        Self {
            volumes: BTreeMap::new(),
            absent: BTreeMap::new(),
            named: BTreeMap::new(),
            vms: BTreeMap::new(),
            listed: Err(Unlisted::NotAsked),
            catalogue: None,
            server_time: None,
        }
    }
}

impl CloudView {
    /// What is known of `id`, counting only readings begun after `since` (I4).
    ///
    /// Missing from a listing is Unknown, not Absent: page sets never prove absence.
    pub fn volume(&self, id: VolumeId, since: Option<BootTime>) -> Reading<&CloudVolume> {
        if let Err(why) = &self.listed {
            return Reading::Unknown(why.to_string());
        }
        let counts = |begun: BootTime| since.is_none_or(|since| begun > since);
        match (self.volumes.get(&id), self.absent.get(&id)) {
            (Some(volume), _) if counts(volume.begun) => Reading::Present(volume),
            (_, Some(begun)) if counts(*begun) => Reading::Absent,
            (Some(_), _) | (_, Some(_)) => {
                Reading::Unknown("not read again since the last change settled".to_owned())
            }
            (None, None) => {
                Reading::Unknown("not in the listing, and not yet looked up by its id".to_owned())
            }
        }
    }

    /// When it was last read which volumes go by `name`.
    pub fn name_read(&self, name: &str) -> Option<BootTime> {
        let listed = self.listed.as_ref().ok().copied();
        listed.max(self.named.get(name).copied())
    }

    /// What is known of a VM. A VM that is missing from a complete listing is Absent
    /// here: nothing destructive follows from that.
    pub fn vm(&self, id: VmId) -> Reading<&CloudVm> {
        match (&self.listed, self.vms.get(&id)) {
            (Err(why), _) => Reading::Unknown(why.to_string()),
            (Ok(_), Some(vm)) => Reading::Present(vm),
            (Ok(_), None) => Reading::Absent,
        }
    }
}

/// Kernel name of a block device: the last part of `/sys/block/X`.
pub type KernelName = String;

/// Which device a file descriptor leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeviceNumber {
    /// A block device: `st_rdev`.
    Block {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A regular file standing for a device, under another root only: `st_dev` and `st_ino`.
    File {
        /// The file system.
        dev: u64,
        /// The inode.
        ino: u64,
    },
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { major, minor } => write!(f, "{major}:{minor}"),
            Self::File { dev, ino } => write!(f, "file {dev}:{ino}"),
        }
    }
}

/// A disk of this machine, from sysfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `vdb`, `sda`, …
    pub kernel_name: KernelName,
    /// Its number.
    pub number: DeviceNumber,
    /// Its serial, if it has one that CloudStack could have given.
    pub serial: Option<Serial>,
    /// Its size: `/sys/block/X/size` × 512.
    pub size: ByteSize,
    /// Counts the disks that ever had this number; Linux ≥ 5.15.
    pub diskseq: Option<u64>,
    /// Who uses it besides us.
    pub users: Vec<DeviceUser>,
}

/// Who uses a disk, or a partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceUser {
    /// Another block device on top of it (LVM, md, dm): its kernel name.
    Holder(String),
    /// A mount, by its mount point.
    Mount(String),
    /// Swap space.
    Swap,
}

impl fmt::Display for DeviceUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holder(name) => write!(f, "{name} is built on it"),
            Self::Mount(point) => write!(f, "mounted at {point}"),
            Self::Swap => f.write_str("used as swap"),
        }
    }
}

/// This machine's disks as last observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// The disks; `Unknown` when sysfs could not be read.
    pub disks: Reading<Disks>,
    /// Which VM this is.
    pub self_vm: Reading<VmId>,
    /// When the scan began.
    pub begun: BootTime,
}

impl HostView {
    /// Whether there was a scan at all.
    pub fn was_read(&self) -> bool {
        self.begun > BootTime::default()
    }
}

impl Default for HostView {
    fn default() -> Self {
        Self {
            disks: Reading::Unknown("the host was not looked at yet".to_owned()),
            self_vm: Reading::Unknown("the host was not looked at yet".to_owned()),
            begun: BootTime::default(),
        }
    }
}

/// One complete scan of sysfs and by-id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disks {
    /// Disks by kernel name.
    pub devices: BTreeMap<KernelName, Device>,
    /// Links of `/dev/disk/by-id`, each with the kernel name of its target; dangling
    /// links are left out.
    pub links: BTreeMap<String, KernelName>,
}

/// Prefixes under which udev links a CloudStack disk in `/dev/disk/by-id`: virtio-blk,
/// virtio-scsi, sata and ide. Source: systemd `60-persistent-storage.rules`.
pub const BY_ID_PREFIXES: [&str; 3] =
    ["virtio-", "scsi-0QEMU_QEMU_HARDDISK_", "ata-QEMU_HARDDISK_"];

impl Disks {
    /// Every disk that carries `serial`.
    pub fn with_serial<'a, 's>(
        &'a self,
        serial: &'s Serial,
    ) -> impl Iterator<Item = &'a Device> + use<'a, 's> {
        self.devices
            .values()
            .filter(move |device| device.serial.as_ref() == Some(serial))
    }

    /// Every disk that has a serial and its link, as it would have to be found again when it
    /// is opened.
    pub fn proofs(&self) -> impl Iterator<Item = DeviceProof> {
        self.devices.values().filter_map(|device| {
            let serial = device.serial.clone()?;
            let (link, _) = self.link_for(&serial)?;
            Some(DeviceProof {
                link: link.to_owned(),
                number: device.number,
                diskseq: device.diskseq,
                size: device.size,
                serial,
            })
        })
    }

    /// The link named exactly `<prefix><serial>`, and its target.
    pub fn link_for(&self, serial: &Serial) -> Option<(&str, &Device)> {
        BY_ID_PREFIXES.iter().find_map(|prefix| {
            let (link, target) = self.links.get_key_value(&format!("{prefix}{serial}"))?;
            Some((link.as_str(), self.devices.get(target)?))
        })
    }
}

/// The NBD server as last observed, on a new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NbdView {
    /// What it serves, by name; `Unknown` when it could not be asked.
    pub exports: Reading<BTreeMap<ExportName, ServedExport>>,
    /// What it served when it could last be asked: enough to end an export whose disk is gone.
    pub last_known: BTreeMap<ExportName, ServedExport>,
    /// When it was asked.
    pub begun: BootTime,
}

impl NbdView {
    /// A reading of what it serves.
    pub fn read(exports: Reading<BTreeMap<ExportName, ServedExport>>, begun: BootTime) -> Self {
        Self {
            exports,
            last_known: BTreeMap::new(),
            begun,
        }
    }

    /// What it serves, or served when it could last be asked.
    pub fn known(&self) -> &BTreeMap<ExportName, ServedExport> {
        match &self.exports {
            Reading::Present(exports) => exports,
            Reading::Absent | Reading::Unknown(_) => &self.last_known,
        }
    }

    /// Whether it was asked at all.
    pub fn was_asked(&self) -> bool {
        self.begun > BootTime::default()
    }
}

impl Default for NbdView {
    fn default() -> Self {
        Self {
            exports: Reading::Unknown("the NBD server was not asked yet".to_owned()),
            last_known: BTreeMap::new(),
            begun: BootTime::default(),
        }
    }
}

/// One export as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServedExport {
    /// What it is called inside the server.
    pub node: NodeName,
    /// Its size as a client sees it.
    pub size: ByteSize,
    /// Whether clients may only read.
    pub read_only: bool,
    /// Whether the server's own file descriptors include the device that `node` was
    /// made for; false means it is not what was proven.
    pub proven: bool,
    /// Withdrawn, but requests are still under way; no new client gets in.
    pub draining: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_from_a_listing_is_not_absent() {
        let id = VolumeId::new(uuid::Uuid::from_u128(1));
        let at = BootTime::from_millis;
        let mut view = CloudView {
            listed: Ok(at(10)),
            ..CloudView::default()
        };
        assert!(matches!(view.volume(id, None), Reading::Unknown(_)));
        view.absent.insert(id, at(20));
        assert_eq!(view.volume(id, None), Reading::Absent);
        assert_eq!(view.volume(id, Some(at(19))), Reading::Absent);
        assert!(matches!(view.volume(id, Some(at(20))), Reading::Unknown(_)));
        view.listed = Err(Unlisted::Failed("away".to_owned()));
        assert!(matches!(view.volume(id, None), Reading::Unknown(_)));
    }
}
