//! The report: what the daemon says about itself and its volumes. Served by the API, printed by
//! the CLI, with or without a daemon. Plain data; [`super::status`] writes it.

use serde::{Deserialize, Serialize};

use crate::model::{
    ByteSize, Cause, ExportName, FileProblem, FileState, InstanceId, IntentId, JobId, Serial,
    Timestamp, VmId, VolumeId, VolumeName,
};
use crate::plan::Drift;

/// Everything there is to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When it was written.
    pub at: Timestamp,
    /// Which store decides.
    pub instance: InstanceId,
    /// Which VM this is, if known.
    pub self_vm: Option<VmId>,
    /// How the outside can be seen.
    pub sources: Vec<SourceStatus>,
    /// What the guard holds back, if it holds back anything.
    pub frozen: Option<FrozenStatus>,
    /// Every spec.
    pub volumes: Vec<VolumeStatus>,
    /// Everything the NBD server serves.
    pub exports: Vec<ExportStatus>,
    /// Every spec file and row that is there, or owns a spec.
    pub files: Vec<FileStatus>,
    /// Every disk of this machine.
    pub devices: Vec<HostDevice>,
}

/// Steps that nobody asked for in so many words, and of which there is suddenly much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrozenStatus {
    /// Why.
    pub why: String,
    /// Stands for exactly these steps, to approve them by.
    pub digest: String,
    /// What is held back; none while only a later step of that kind would be.
    pub steps: Vec<FrozenStep>,
}

/// One step that is held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrozenStep {
    /// Of which spec.
    pub volume: VolumeName,
    /// What it would do.
    pub text: String,
}

/// A disk of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostDevice {
    /// Its kernel name now, like `/dev/vdb`; changes over reboots.
    pub path: String,
    /// Its number.
    pub number: String,
    /// Its serial, if it has one that CloudStack could have given.
    pub serial: Option<Serial>,
    /// Its size, in bytes.
    pub size: ByteSize,
    /// Whose it is.
    pub state: DeviceState,
    /// The spec that is about it.
    pub volume: Option<VolumeName>,
    /// The volume whose serial it has.
    pub volume_id: Option<VolumeId>,
    /// Who uses it, besides the NBD server.
    pub users: Vec<String>,
    /// What a person should know; `null` if all is well.
    pub message: Option<String>,
}

/// Whose a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceState {
    /// Attached here, and a spec is about it.
    Managed,
    /// Attached here, and no spec is about it.
    Unmanaged,
    /// It has a serial as CloudStack's disks do, and CloudStack does not list it here.
    Ghost,
    /// Not a disk of CloudStack's.
    Other,
    /// Not known yet, or CloudStack could not be read.
    Unknown,
}

/// How a spec file, or a row of `desired_volumes`, stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    /// Its path; of a row, `row:` and its name.
    pub path: String,
    /// How it stands. In any state but `Accepted`, what it said before stays in force.
    pub state: FileState,
    /// Since when it stands so.
    pub since: Timestamp,
    /// How old the last reading is, in milliseconds; `null` if it could not be read then.
    pub read_age_ms: Option<u64>,
    /// SHA-1 of its bytes when last read, in hexadecimal; empty if it never was.
    pub hash: String,
    /// The revision that a row had then; absent for a file, and if its writer does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The specs of it that are in force: one for each document, if it is accepted.
    pub volumes: Vec<FileVolume>,
    /// What a person should know; empty if all is well.
    pub problems: Vec<FileProblem>,
}

/// A spec that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileVolume {
    /// Its name.
    pub name: VolumeName,
    /// The version of it that is in force.
    pub generation: u64,
}

/// How one part of the outside can be seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// `cloudstack`, `host`, `nbd`, `specs`, `store`.
    pub name: String,
    /// Whether it can be relied on now.
    pub ok: bool,
    /// If not, why; of a store that can be, which tables of the old daemon are not written.
    pub message: Option<String>,
    /// How old the last reading is, in milliseconds.
    pub age_ms: Option<u64>,
}

/// What there is to say about one spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStatus {
    /// Its name.
    pub name: VolumeName,
    /// Who wrote it.
    pub owner: String,
    /// The generation that all of this is about.
    pub observed_generation: u64,
    /// A summary in one word.
    pub phase: Phase,
    /// A summary in one sentence.
    pub message: String,
    /// The CloudStack volume, once there is one.
    pub volume_id: Option<VolumeId>,
    /// The serial of its disk.
    pub serial: Option<Serial>,
    /// Its size as each layer sees it, in bytes.
    pub capacity: Capacity,
    /// Where it is attached.
    pub attachment: Option<AttachmentStatus>,
    /// Its disk on this machine.
    pub device: Option<DeviceStatus>,
    /// Its export.
    pub export: Option<VolumeExport>,
    /// The call that is under way.
    pub intent: Option<IntentStatus>,
    /// The pause that it is under.
    pub paused: Option<PauseStatus>,
    /// What is to be done.
    pub plan: PlanStatus,
    /// What differs while nobody works on it.
    pub drift: Vec<Drift>,
    /// The same facts, for machines that wait.
    pub conditions: Vec<Condition>,
    /// Where the reading of its volume comes from.
    pub observed: ObservedStatus,
}

/// A summary of one volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// As asked.
    Ready,
    /// On its way.
    Progressing,
    /// Waiting for something that comes by itself.
    Waiting,
    /// Somebody has to do something.
    Blocked,
    /// The spec says not to act.
    Held,
    /// The spec is gone, and so is all that was to go with it.
    Released,
    /// Not known yet.
    Unknown,
}

/// Sizes in bytes; `null` where it is not known or not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// In CloudStack.
    pub cloud: Option<ByteSize>,
    /// Of the disk here.
    pub device: Option<ByteSize>,
    /// Of the export, as clients see it.
    pub export: Option<ByteSize>,
}

/// Where a volume is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentStatus {
    /// The VM.
    pub vm: VmId,
    /// Its name, if visible.
    pub vm_name: Option<String>,
    /// CloudStack's device id.
    pub device_id: Option<u8>,
}

/// A volume's disk on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// Its link in `/dev/disk/by-id`.
    pub by_id: Option<String>,
    /// Its kernel name now; changes over reboots.
    pub path: String,
    /// Its number.
    pub number: String,
}

/// A volume's export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeExport {
    /// Its name.
    pub name: ExportName,
    /// Whether clients may only read.
    pub read_only: bool,
    /// Connected clients; `null` when the server cannot tell.
    pub clients: Option<u32>,
}

/// A call that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentStatus {
    /// Its journal row.
    pub id: IntentId,
    /// What it does.
    pub action: String,
    /// Why.
    pub cause: Cause,
    /// Its job, once CloudStack named it.
    pub job: Option<JobId>,
    /// Since when.
    pub created: Timestamp,
    /// CloudStack refuses the call later than this.
    pub expires: Timestamp,
}

/// A pause in force: nothing is done meanwhile, but for an export whose disk is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStatus {
    /// When it ends.
    pub until: Timestamp,
    /// Why, in the words of who said it; may be empty.
    pub reason: String,
}

/// What is to be done for a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// The step that is due now.
    pub now: Option<StepStatus>,
    /// The steps after it, or after what is waited for.
    pub then: Vec<StepStatus>,
    /// Why nothing is done now: a code for each reason.
    pub held_by: Vec<Reason>,
    /// When it changes by itself, in milliseconds from `at`; `null` if not known.
    pub next_in_ms: Option<u64>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStatus {
    /// `Create`, `Tag`, `Bind`, `Grow`, `Attach`, `Detach`, `Export` or `Withdraw`.
    pub kind: String,
    /// What it does.
    pub text: String,
    /// Why.
    pub reason: String,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A stable code.
    pub code: String,
    /// A sentence that says what to do, where anything can be done.
    pub message: String,
}

/// One fact about a volume, in the form that waiting tools expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `SpecCurrent`, `Attached`, `DeviceVerified`, `Exported`, `Drifted`, `Blocked`,
    /// `Stalled`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: Truth,
    /// A stable code.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Since when it has had this status.
    pub last_transition_time: Timestamp,
    /// Of which generation it speaks.
    pub observed_generation: u64,
}

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

/// How the reading of a volume came about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedStatus {
    /// How old it is, in milliseconds; `null` if there is none that counts.
    pub age_ms: Option<u64>,
    /// After which age it is no longer acted upon, in milliseconds.
    pub stale_after_ms: u64,
}

/// One export of the NBD server, ours or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportStatus {
    /// Its name.
    pub name: ExportName,
    /// The spec it belongs to; `null`: not ours.
    pub volume: Option<VolumeName>,
    /// Its size as clients see it.
    pub size: ByteSize,
    /// Whether clients may only read.
    pub read_only: bool,
    /// Whether the server holds the disk that was proven.
    pub proven: bool,
    /// Whether it is ending.
    pub draining: bool,
}
