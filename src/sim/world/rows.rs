//! The rows of the simulated database.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sim::time::SimTime;

use super::account::{Limits, Role};
use super::guest::Guest;

/// One GiB in bytes. CloudStack takes GiB and answers bytes.
pub const GIB: u64 = 1 << 30;

macro_rules! row_numbers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub(in crate::sim) u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

row_numbers! {
    /// The internal number of a domain.
    DomainNo;
    /// The internal number of a project.
    ProjectNo;
    /// The internal number of a zone.
    ZoneNo;
    /// The internal number of a host.
    HostNo;
    /// The internal number of a disk offering.
    OfferingNo;
    /// The internal number of a service offering.
    ServiceOfferingNo;
    /// The internal number of a template.
    TemplateNo;
    /// The internal number of an account.
    AccountNo;
    /// The internal number of a VM.
    VmNo;
    /// The internal number of a volume. Ascends in order of creation, also of creation time.
    VolumeNo;
    /// The internal number of a snapshot.
    SnapshotNo;
    /// The internal number of a snapshot of a whole VM.
    VmSnapshotNo;
    /// The internal number of a job.
    JobNo;
}

/// A zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Zone {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// `allocationstate`; false: only root administrators create volumes here.
    pub enabled: bool,
}

/// A disk offering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Offering {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its size in bytes; `None`: the caller gives the size.
    pub size: Option<u64>,
    /// `disksizestrictness`: its volumes keep their size.
    pub strict: bool,
    /// When it was made.
    pub created: SimTime,
}

/// An account with one user and one pair of keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Its id in the API.
    pub uuid: Uuid,
    /// The id of its user.
    pub user: Uuid,
    /// Its name, unique in its domain.
    pub name: String,
    /// Its domain.
    pub domain: DomainNo,
    /// The project whose account it is.
    pub project: Option<ProjectNo>,
    /// The API key.
    pub api_key: String,
    /// The secret key.
    pub secret_key: String,
    /// What it may do.
    pub role: Role,
    /// How much it may have.
    pub limits: Limits,
    /// The commands that its role forbids.
    pub forbidden: Vec<String>,
    /// False: its requests are refused as if the key were wrong.
    pub enabled: bool,
    /// When it was made.
    pub created: SimTime,
}

/// `VirtualMachine.State`, as far as it is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmState {
    /// Being started.
    Starting,
    /// Runs.
    Running,
    /// Runs, and is being moved to another host.
    Migrating,
    /// Being stopped.
    Stopping,
    /// Does not run.
    Stopped,
    /// Destroyed, but not expunged.
    Destroyed,
    /// Being removed for good.
    Expunging,
}

impl VmState {
    /// The state as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Migrating => "Migrating",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Destroyed => "Destroyed",
            Self::Expunging => "Expunging",
        }
    }
}

/// A VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Vm {
    /// Its id in the API, and the guest's SMBIOS uuid.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// Where it is.
    pub zone: ZoneNo,
    /// Whose it is.
    pub account: AccountNo,
    /// The guest OS by its display name, which decides the bus of its disks.
    pub os: String,
    /// What it was made from, where that is known.
    pub template: Option<TemplateNo>,
    /// How large it is, where that is known.
    pub service_offering: Option<ServiceOfferingNo>,
    /// The host it runs on, or ran on last.
    pub host: Option<HostNo>,
    /// Its details, as `rootDiskController`.
    pub details: BTreeMap<String, String>,
    /// Its state.
    pub state: VmState,
    /// Whether it ever ran: volumes attached to a VM that never did stay Allocated.
    pub started_once: bool,
    /// Its volumes by device id, as the database has them.
    pub disks: BTreeMap<u32, VolumeNo>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// When it was made.
    pub created: SimTime,
    /// Whether it was expunged: ids of removed rows still resolve.
    pub removed: bool,
    /// Whether its guest leaves requests to release a disk without an answer, as one does that
    /// hangs, or is still booting.
    pub ignores_unplug: bool,
    /// What the hypervisor really runs; `None` while there is no domain.
    pub guest: Option<Guest>,
}

/// `Volume.State` (`Volume.java`), as far as it is simulated. There is no Detaching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeState {
    /// A row only; nothing on storage yet.
    Allocated,
    /// Being created on storage, at its first attach.
    Creating,
    /// There.
    Ready,
    /// Being attached.
    Attaching,
    /// Being resized.
    Resizing,
    /// A snapshot of it is being taken.
    Snapshotting,
    /// Being taken back to a snapshot.
    RevertSnapshotting,
    /// Given up; can be recovered.
    Destroy,
    /// Being removed from storage.
    Expunging,
    /// Gone.
    Expunged,
}

impl VolumeState {
    /// The state as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allocated => "Allocated",
            Self::Creating => "Creating",
            Self::Ready => "Ready",
            Self::Attaching => "Attaching",
            Self::Resizing => "Resizing",
            Self::Snapshotting => "Snapshotting",
            Self::RevertSnapshotting => "RevertSnapshotting",
            Self::Destroy => "Destroy",
            Self::Expunging => "Expunging",
            Self::Expunged => "Expunged",
        }
    }
}

/// `Volume.Type`. Device id 0 makes a volume ROOT, detaching makes it DATADISK again
/// (`VolumeDaoImpl.java`, `attachVolume` and `detachVolume`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeKind {
    /// The disk a VM boots from.
    Root,
    /// Any other disk.
    Data,
}

impl VolumeKind {
    /// The type as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "ROOT",
            Self::Data => "DATADISK",
        }
    }
}

/// That a volume is on a VM, as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Which VM.
    pub vm: VmNo,
    /// CloudStack's device id.
    pub device: u32,
    /// Since when.
    pub since: SimTime,
}

/// A volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Volume {
    /// Its id in the API; its first 20 hex digits are the disk's serial.
    pub uuid: Uuid,
    /// Its name, not unique.
    pub name: String,
    /// What kind of disk.
    pub kind: VolumeKind,
    /// Its size in bytes.
    pub size: u64,
    /// Its state.
    pub state: VolumeState,
    /// Where it is.
    pub zone: ZoneNo,
    /// Its disk offering; a VM's own root disk has none.
    pub offering: Option<OfferingNo>,
    /// Whose it is.
    pub account: AccountNo,
    /// When it was made.
    pub created: SimTime,
    /// Where it is attached.
    pub attachment: Option<Attachment>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Whether it can neither be deleted nor destroyed.
    pub delete_protection: bool,
    /// The snapshot it was made from.
    pub from_snapshot: Option<SnapshotNo>,
    /// Whether it was removed: ids of removed rows still resolve.
    pub removed: bool,
}

/// `Snapshot.State` (`Snapshot.java`), as far as it is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotState {
    /// A row only.
    Allocated,
    /// Being taken on primary storage.
    Creating,
    /// Taken, not yet backed up.
    CreatedOnPrimary,
    /// Being copied to secondary storage.
    BackingUp,
    /// There.
    BackedUp,
    /// It failed.
    Error,
    /// Deleted.
    Destroyed,
}

impl SnapshotState {
    /// The state as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allocated => "Allocated",
            Self::Creating => "Creating",
            Self::CreatedOnPrimary => "CreatedOnPrimary",
            Self::BackingUp => "BackingUp",
            Self::BackedUp => "BackedUp",
            Self::Error => "Error",
            Self::Destroyed => "Destroyed",
        }
    }
}

/// A snapshot of a volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Of which volume, which may be gone.
    pub volume: VolumeNo,
    /// Whose it is.
    pub account: AccountNo,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// The volume's size when it was taken, in bytes.
    pub size: u64,
    /// Its state.
    pub state: SnapshotState,
    /// When it was made.
    pub created: SimTime,
    /// Whether it was removed: ids of removed rows still resolve.
    pub removed: bool,
}

/// `VMSnapshot.State`, as far as it is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmSnapshotState {
    /// A row only.
    Allocated,
    /// Being taken.
    Creating,
    /// There.
    Ready,
    /// Being deleted.
    Expunging,
    /// Deleted.
    Removed,
    /// It failed.
    Error,
}

impl VmSnapshotState {
    /// The state as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allocated => "Allocated",
            Self::Creating => "Creating",
            Self::Ready => "Ready",
            Self::Expunging => "Expunging",
            Self::Removed => "Removed",
            Self::Error => "Error",
        }
    }
}

/// A snapshot of a whole VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmSnapshot {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Its internal name, from that of the VM and the time.
    pub name: String,
    /// Its name for people; unique among those of its VM.
    pub display_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Of which VM, which may be gone.
    pub vm: VmNo,
    /// Whether it holds the memory too: `DiskAndMemory`, else `Disk`.
    pub memory: bool,
    /// Its state.
    pub state: VmSnapshotState,
    /// The one before it.
    pub parent: Option<VmSnapshotNo>,
    /// Whether it is the last one taken.
    pub current: bool,
    /// When it was made.
    pub created: SimTime,
}

impl Volume {
    /// The disk's serial: the first 20 hex digits of the id
    /// (`LibvirtComputingResource.java`, `diskUuidToSerial`).
    pub fn serial(&self) -> String {
        let mut hex = self.uuid.simple().to_string();
        hex.truncate(20);
        hex
    }
}

/// A resource tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Unique for its resource, ignoring case (the table's collation).
    pub key: String,
    /// Not empty.
    pub value: String,
}

/// What a tag can be put on here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tagged {
    /// `Volume`.
    Volume(VolumeNo),
    /// `UserVm`.
    Vm(VmNo),
    /// `Snapshot`.
    Snapshot(SnapshotNo),
}

/// Compares as MySQL's default collation does, near enough: case and trailing spaces are
/// ignored.
pub fn collates_equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_end_matches(' '), b.trim_end_matches(' '));
    if a.is_ascii() && b.is_ascii() {
        // By far the most; lists compare every row.
        return a.eq_ignore_ascii_case(b);
    }
    let folded = |text: &str| text.to_lowercase();
    folded(a) == folded(b)
}
