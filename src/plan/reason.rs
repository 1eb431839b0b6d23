//! Why nothing is done right now, each with a code, a sentence, and what a person can do.

use std::time::Duration;

use crate::model::memory::FailureClass;
use crate::model::observed::DeviceUser;
use crate::model::{
    BootTime, ByteSize, ExportName, IntentId, JobId, Serial, VmId, VolumeId, VolumeName,
};

/// What has to happen first, and will without anybody's help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// A call of ours is under way.
    Intent {
        /// Its journal row.
        id: IntentId,
        /// As [`crate::model::Action::kind`].
        kind: &'static str,
        /// Its job, once CloudStack named it.
        job: Option<JobId>,
    },
    /// Somebody else's job is pending on the volume.
    ForeignJob {
        /// The job.
        job: JobId,
    },
    /// The volume or its VM is between two states.
    Transitional {
        /// What: `volume` or `VM`.
        what: &'static str,
        /// Its state.
        state: String,
    },
    /// The last attempt failed; the next one is due later.
    Backoff {
        /// When, on the boot clock.
        until: BootTime,
        /// What happened.
        text: String,
        /// What kind of failure it was.
        class: FailureClass,
        /// How often in a row.
        attempts: u32,
    },
    /// Attached, but the disk has not appeared on this machine yet.
    Device {
        /// Which disk.
        serial: Serial,
    },
    /// The disk has not grown to CloudStack's size yet.
    DeviceSize {
        /// Its size now.
        device: ByteSize,
        /// Its size in CloudStack.
        cloud: ByteSize,
    },
    /// A vanished attachment is shown for a while before it is healed.
    HealDelay {
        /// When it will be healed, on the boot clock.
        until: BootTime,
    },
    /// The spec is gone; its reclaim policy acts after a grace period.
    Grace {
        /// How long that is.
        left: Duration,
    },
    /// A client uses an export that is to go away. Counts as settled.
    Clients {
        /// Which export.
        export: ExportName,
        /// When it is tried again, on the boot clock.
        until: BootTime,
        /// What for: `withdraw` or `size` (clients see the old size until they reconnect).
        purpose: &'static str,
    },
    /// Withdrawn, but requests of its last clients are still under way.
    Draining {
        /// Which export.
        export: ExportName,
    },
    /// A person said that it is to be left alone for a while. Counts as settled.
    Paused {
        /// Until when, on the boot clock.
        until: BootTime,
        /// In that person's words; may be empty.
        reason: String,
    },
}

impl Waiting {
    /// A stable code, for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Intent { .. } => "InProgress",
            Self::ForeignJob { .. } => "ForeignJob",
            Self::Transitional { .. } => "Transitional",
            Self::Backoff { class, .. } => match class {
                FailureClass::Quota => "QuotaExceeded",
                FailureClass::Throttled => "Throttled",
                FailureClass::Environment => "EnvironmentNotReady",
                FailureClass::Retry | FailureClass::Refused | FailureClass::InUse => "Retrying",
            },
            Self::Device { .. } => "WaitingForDevice",
            Self::DeviceSize { .. } => "WaitingForDeviceSize",
            Self::HealDelay { .. } => "HealDelay",
            Self::Grace { .. } => "Abandoned",
            Self::Clients { purpose, .. } => match *purpose {
                "size" => "ExportSizePending",
                _ => "WaitingForClients",
            },
            Self::Draining { .. } => "Draining",
            Self::Paused { .. } => "Paused",
        }
    }

    /// When it is due to change by itself, if that is known.
    pub fn until(&self) -> Option<BootTime> {
        match self {
            Self::Backoff { until, .. }
            | Self::HealDelay { until }
            | Self::Clients { until, .. }
            | Self::Paused { until, .. } => Some(*until),
            Self::Intent { .. }
            | Self::ForeignJob { .. }
            | Self::Transitional { .. }
            | Self::Device { .. }
            | Self::DeviceSize { .. }
            | Self::Grace { .. }
            | Self::Draining { .. } => None,
        }
    }

    /// How long it is until then. Of a grace period this is what is left of it: time in which its
    /// source is not believed does not count.
    pub fn due_in(&self, now: BootTime) -> Option<Duration> {
        match self {
            Self::Grace { left } => Some(*left),
            other => other.until().map(|until| until.since(now)),
        }
    }

    /// Whether a world that waits for this has settled as far as it can (I12).
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Clients { .. } | Self::Paused { .. } => true,
            Self::Intent { .. }
            | Self::ForeignJob { .. }
            | Self::Transitional { .. }
            | Self::Backoff { .. }
            | Self::Device { .. }
            | Self::DeviceSize { .. }
            | Self::HealDelay { .. }
            | Self::Grace { .. }
            | Self::Draining { .. } => false,
        }
    }

    /// A sentence for people.
    pub fn message(&self) -> String {
        match self {
            Self::Intent { kind, job, .. } => match job {
                Some(job) => format!("{kind} is under way in CloudStack job {job}"),
                None => format!("{kind} was sent or is about to be; its job is being looked up"),
            },
            Self::ForeignJob { job } => {
                format!("CloudStack job {job}, which is not ours, is pending on the volume")
            }
            Self::Transitional { what, state } => format!("the {what} is {state}"),
            Self::Backoff { text, attempts, .. } => {
                format!("attempt {attempts} failed and will be repeated: {text}")
            }
            Self::Device { serial } => {
                format!("attached, but no disk with serial {serial} has appeared on this VM yet")
            }
            Self::DeviceSize { device, cloud } => {
                format!(
                    "the disk shows {device}, CloudStack {cloud}; the guest has not noticed yet"
                )
            }
            Self::HealDelay { .. } => {
                "its attachment to this VM vanished and will be restored after the heal delay"
                    .to_owned()
            }
            Self::Grace { .. } => {
                "its spec is gone; its reclaim policy acts unless the spec returns in time"
                    .to_owned()
            }
            Self::Clients {
                export, purpose, ..
            } => match *purpose {
                "size" => {
                    format!("a client uses {export} and sees the old size until it reconnects")
                }
                _ => format!("a client uses {export}; it ends when the client leaves"),
            },
            Self::Draining { export } => {
                format!("{export} is withdrawn, the last requests are still under way")
            }
            Self::Paused { reason, .. } if reason.is_empty() => {
                "paused, nothing is done until that ends; volume-daemon resume ends it now"
                    .to_owned()
            }
            Self::Paused { reason, .. } => format!(
                "paused ({reason}), nothing is done until that ends; volume-daemon resume ends it \
                 now"
            ),
        }
    }
}

/// What stands in the way until somebody does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// A source did not answer.
    SourceUnknown {
        /// Which: `CloudStack`, `host`, `NBD server`.
        source: &'static str,
        /// Why.
        why: String,
    },
    /// A bound volume is gone from CloudStack. Never created anew (I13).
    VolumeLost {
        /// Which.
        volume: VolumeId,
    },
    /// A bound volume was deleted, but can be recovered.
    VolumeDestroyed {
        /// Which.
        volume: VolumeId,
    },
    /// It is the root disk of a VM that is about to be removed, and will be removed with it (I14).
    VolumeAtRisk {
        /// Which.
        volume: VolumeId,
        /// Of which VM.
        vm: VmId,
        /// The state of that VM.
        state: String,
    },
    /// The VM that was resolved from the spec is gone.
    VmGone {
        /// Which.
        vm: VmId,
        /// Its state, if it is still listed.
        state: Option<String>,
    },
    /// No object has this name.
    NotFound {
        /// `zone`, `disk offering`, `VM`, `volume`.
        what: &'static str,
        /// The name or id.
        name: String,
    },
    /// More than one object has this name.
    Ambiguous {
        /// `zone`, `disk offering`, `VM`, `volume`.
        what: &'static str,
        /// The name.
        name: String,
        /// How many.
        count: usize,
    },
    /// A volume with that name is there, and is not ours.
    NameTaken {
        /// Which.
        volume: VolumeId,
        /// Its name.
        name: String,
    },
    /// Another spec makes a volume with the same name in CloudStack.
    NameShared {
        /// Which spec.
        name: VolumeName,
        /// The name in CloudStack.
        volume_name: String,
    },
    /// What somebody else did to its attachment was undone again and again.
    Contended {
        /// How often in the last hour.
        heals: usize,
    },
    /// CloudStack has volumes with the claim of this store that the store knows nothing of: it is
    /// older than they are, as after a restore or a rolled-back snapshot (I16).
    StoreRolledBack {
        /// Which volumes.
        volumes: Vec<VolumeId>,
    },
    /// Another daemon, or another spec, claims the volume.
    ClaimedBy {
        /// Which volume.
        volume: VolumeId,
        /// By whom.
        claim: String,
    },
    /// Another spec of this daemon is bound to the volume.
    BoundTo {
        /// Which volume.
        volume: VolumeId,
        /// To which spec.
        name: VolumeName,
    },
    /// More than one volume carries the claim of this spec.
    ClaimedTwice {
        /// Which volumes.
        volumes: Vec<VolumeId>,
    },
    /// Attached to a VM that is neither the desired one nor the one we put it on (I2).
    ForeignAttachment {
        /// Which VM.
        vm: VmId,
    },
    /// It would have to be unplugged from another VM that is running (I18).
    OtherVmRunning {
        /// Which VM.
        vm: VmId,
    },
    /// Its attachment to another VM vanished; only attachments to this VM are healed (I2).
    VanishedElsewhere {
        /// From which VM.
        vm: VmId,
    },
    /// CloudStack says detached, or on another VM, while the disk is here.
    PlacementDisputed {
        /// Which disk.
        serial: Serial,
        /// On which VM it is by CloudStack's account, if on any.
        listed_on: Option<VmId>,
    },
    /// The spec is gone and asked for its volume to be deleted, which is not done (I5).
    NotDeletable {
        /// Why not.
        why: Undeletable,
    },
    /// A field that cannot change once the volume exists.
    Immutable {
        /// Its path in the spec.
        field: &'static str,
    },
    /// Another volume's serial is the same.
    SerialCollision {
        /// The other volume.
        other: VolumeId,
    },
    /// The disk here does not fit what CloudStack says.
    DeviceMismatch {
        /// What differs.
        text: String,
    },
    /// Somebody uses the disk here.
    DeviceBusy {
        /// Who.
        users: Vec<DeviceUser>,
    },
    /// Attached elsewhere or nowhere, so it cannot be exported from here.
    NotAttachedHere,
    /// The export name belongs to another volume, for ever.
    ExportNameTaken {
        /// The name.
        export: ExportName,
        /// Whose; `None` if what the server serves under it is not ours.
        volume: Option<VolumeId>,
    },
    /// A root disk can be attached only while its VM is stopped.
    RootNeedsStoppedVm {
        /// Which VM.
        vm: VmId,
        /// Its state.
        state: String,
    },
    /// The VM has a root disk already.
    RootTaken {
        /// Which VM.
        vm: VmId,
    },
    /// CloudStack refuses it, and will again.
    Refused {
        /// As [`crate::model::Action::kind`].
        kind: String,
        /// Its words.
        text: String,
    },
    /// A create was sent, and nothing tells which volume it made.
    CreateUnknown {
        /// Volumes it may have made.
        candidates: Vec<VolumeId>,
    },
    /// The guard stopped implied steps of this kind (I6).
    GuardFrozen {
        /// Why.
        why: String,
    },
    /// Its row of `desired_volumes` is not there, and nobody said that it is to go (I6).
    RowMissing,
    /// The spec says not to act.
    HeldBySpec {
        /// `suspend: true` or `mode: Observe`.
        field: &'static str,
    },
    /// Our clock and CloudStack's differ too much.
    ClockSkew {
        /// By how much.
        by: Duration,
    },
    /// Deciding about it failed: a mistake in this program.
    Internal,
    /// It is not known which VM this is.
    SelfUnknown {
        /// Why.
        why: String,
    },
}

/// Why a volume is not deleted although its spec, which is gone, asked for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undeletable {
    /// `deletionProtection` was not switched off.
    Protected,
    /// It was there before, and was adopted.
    Adopted,
    /// It does not carry the claim of its spec as one that we made.
    Unclaimed,
    /// A VM boots from it.
    Root,
    /// Somebody attached it to a VM.
    Attached(VmId),
    /// It was deleted before, and somebody recovered it.
    Recovered,
}

impl Undeletable {
    fn text(self) -> String {
        match self {
            Self::Protected => "its spec has deletionProtection; declare it again with \
                                deletionProtection: false and remove it then, or delete the volume \
                                in CloudStack"
                .to_owned(),
            Self::Adopted => {
                "it was there before its spec; delete it in CloudStack if it is not needed"
                    .to_owned()
            }
            Self::Unclaimed => "it no longer has the tag that says we made it; delete it in \
                                CloudStack if it is not needed"
                .to_owned(),
            Self::Root => "a VM boots from it".to_owned(),
            Self::Attached(vm) => format!("somebody attached it to VM {vm}"),
            Self::Recovered => {
                "it was deleted once, and somebody recovered it; declare it again, or delete it in \
                 CloudStack"
                    .to_owned()
            }
        }
    }
}

impl Blocked {
    /// A stable code, for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SourceUnknown { .. } => "SourceUnknown",
            Self::VolumeLost { .. } => "VolumeLost",
            Self::VolumeDestroyed { .. } => "VolumeDestroyed",
            Self::VolumeAtRisk { .. } => "VolumeAtRisk",
            Self::VmGone { .. } => "VMGone",
            Self::NotFound { .. } => "NotFound",
            Self::Ambiguous { .. } => "Ambiguous",
            Self::NameTaken { .. } => "NameTaken",
            Self::NameShared { .. } => "NameShared",
            Self::Contended { .. } => "Contended",
            Self::StoreRolledBack { .. } => "StoreRolledBack",
            Self::ClaimedBy { .. } => "ClaimedBy",
            Self::BoundTo { .. } => "BoundToOther",
            Self::ClaimedTwice { .. } => "ClaimedTwice",
            Self::ForeignAttachment { .. } => "ForeignAttachment",
            Self::OtherVmRunning { .. } => "OtherVMRunning",
            Self::VanishedElsewhere { .. } => "VanishedElsewhere",
            Self::PlacementDisputed { .. } => "PlacementDisputed",
            Self::NotDeletable { .. } => "NotDeletable",
            Self::Immutable { .. } => "Immutable",
            Self::SerialCollision { .. } => "SerialCollision",
            Self::DeviceMismatch { .. } => "DeviceMismatch",
            Self::DeviceBusy { .. } => "DeviceBusy",
            Self::NotAttachedHere => "NotAttachedHere",
            Self::ExportNameTaken { .. } => "ExportNameTaken",
            Self::RootNeedsStoppedVm { .. } => "RootNeedsStoppedVM",
            Self::RootTaken { .. } => "RootTaken",
            Self::Refused { .. } => "Refused",
            Self::CreateUnknown { .. } => "CreateUnknown",
            Self::GuardFrozen { .. } => "GuardFrozen",
            Self::RowMissing => "RowMissing",
            Self::HeldBySpec { .. } => "Held",
            Self::ClockSkew { .. } => "ClockSkew",
            Self::Internal => "InternalError",
            Self::SelfUnknown { .. } => "SelfUnknown",
        }
    }

    /// A sentence that says what is wrong and what to do about it.
    pub fn message(&self) -> String {
        match self {
            Self::SourceUnknown { source, why } => {
                format!("{source} could not be read, so nothing is changed: {why}")
            }
            Self::VolumeLost { volume } => format!(
                "volume {volume} is gone from CloudStack. It is never created anew; restore it, \
                 or remove the spec and declare the volume under another name"
            ),
            Self::VolumeDestroyed { volume } => format!(
                "volume {volume} was destroyed in CloudStack. It can still be recovered: \
                 recoverVolume id={volume}"
            ),
            Self::VolumeAtRisk { volume, vm, state } => format!(
                "it is the root disk of VM {vm}, which is {state}: CloudStack removes it with \
                 that VM, whatever protects it. Detach it at once: detachVolume id={volume}; or \
                 recover the VM: recoverVirtualMachine id={vm}"
            ),
            Self::VmGone { vm, state } => format!(
                "VM {vm} is {}; name another VM in spec.attachTo.vm",
                state.as_deref().unwrap_or("not visible in CloudStack")
            ),
            Self::NotFound {
                what: "volume",
                name,
            } => format!(
                "no volume {name:?} is visible to this account; check the spelling and the \
                 account's permissions, and recover it if it was destroyed"
            ),
            Self::NotFound { what, name } => format!(
                "no {what} {name:?} is visible to this account; check the spelling and the \
                 account's permissions"
            ),
            Self::Ambiguous { what, name, count } => {
                format!("{count} {what}s are named {name:?}; write the id instead")
            }
            Self::NameTaken { volume, name } => format!(
                "volume {volume} is already named {name:?} and is not ours; choose another \
                 spec.volumeName, or adopt it with spec.existing"
            ),
            Self::NameShared { name, volume_name } => format!(
                "the spec {name} also makes a volume named {volume_name:?}; give one of them \
                 another spec.volumeName"
            ),
            Self::Contended { heals } => format!(
                "somebody detached or took it {heals} times within an hour, and that was undone each \
                 time; find out who. It goes on when an hour has passed"
            ),
            Self::StoreRolledBack { volumes } => format!(
                "{} ({}): the store is older than they are, as after a restore or a rolled-back \
                 snapshot of this VM. Bring the newer store back, or stop the daemon and see \
                 volume-daemon take-over",
                match volumes.len() {
                    1 => "a volume carries the claim of this store, which knows nothing of it"
                        .to_owned(),
                    count => format!(
                        "{count} volumes carry the claim of this store, which knows nothing of them"
                    ),
                },
                join(volumes)
            ),
            Self::ClaimedBy { volume, claim } => format!(
                "volume {volume} carries the claim {claim} of somebody else; release it there \
                 first"
            ),
            Self::BoundTo { volume, name } => {
                format!("volume {volume} already belongs to the spec {name}; remove one of the two")
            }
            Self::ClaimedTwice { volumes } => format!(
                "{} volumes carry the claim of this spec ({}); remove the tag \
                 volume-daemon/uid from all but the right one",
                volumes.len(),
                join(volumes)
            ),
            Self::ForeignAttachment { vm } => format!(
                "attached to VM {vm}, where this daemon did not put it; detach it there, or set \
                 spec.attachTo.move: WhenFree and stop that VM"
            ),
            Self::OtherVmRunning { vm } => {
                format!(
                    "attached to VM {vm}, which is running; stop it, or detach the volume there"
                )
            }
            Self::VanishedElsewhere { vm } => format!(
                "somebody detached it from VM {vm}; only attachments to this VM are restored. \
                 Attach it there by hand, or edit spec.attachTo"
            ),
            Self::PlacementDisputed {
                serial,
                listed_on: None,
            } => format!(
                "CloudStack says detached, but the disk with serial {serial} is here; attach it \
                 again in CloudStack, or stop and start this VM"
            ),
            Self::PlacementDisputed {
                serial,
                listed_on: Some(vm),
            } => format!(
                "CloudStack says it is on VM {vm}, but the disk with serial {serial} is here: two \
                 VMs may be writing to it; stop one of them"
            ),
            Self::NotDeletable { why } => format!("the volume is not deleted: {}", why.text()),
            Self::Immutable { field } => format!(
                "{field} cannot change once the volume exists; write the old value back, or \
                 declare a new volume"
            ),
            Self::SerialCollision { other } => format!(
                "volume {other} has the same disk serial, so the disk cannot be told apart; it is \
                 never exported"
            ),
            Self::DeviceMismatch { text } => format!("the disk is not what it should be: {text}"),
            Self::DeviceBusy { users } => format!(
                "the disk is in use on this VM: {}; unmount or release it",
                join(users)
            ),
            Self::NotAttachedHere => {
                "only a volume attached to this VM can be exported; set spec.attachTo.vm: self"
                    .to_owned()
            }
            Self::ExportNameTaken { export, volume } => match volume {
                Some(volume) => format!(
                    "the export name {export} belongs to volume {volume}; choose another \
                     spec.export.name"
                ),
                None => format!(
                    "the NBD server already serves something else as {export}; remove that \
                     export, or choose another spec.export.name"
                ),
            },
            Self::RootNeedsStoppedVm { vm, state } => {
                format!("device 0 is the root disk; VM {vm} is {state} and must be stopped first")
            }
            Self::RootTaken { vm } => {
                format!(
                    "VM {vm} already has a root disk; detach that one, or choose another device"
                )
            }
            Self::Refused { kind, text } => {
                format!(
                    "CloudStack refuses {kind}: {text}. It is tried again when the spec changes"
                )
            }
            Self::CreateUnknown { candidates } => format!(
                "a create was sent and its answer lost; it may have made any of {}. Tag the \
                 right one, or delete the others, by hand",
                join(candidates)
            ),
            Self::GuardFrozen { why } => {
                format!(
                    "frozen by the guard: {why}. It thaws by itself when the cause is gone, and \
                     passes once a person approves exactly this"
                )
            }
            Self::RowMissing => {
                "its row of desired_volumes is not there, which may be an accident, \
                                 so nobody is taken to have asked for this: insert it again as it \
                                 was; if its spec is meant to go, insert it with deleted_at set"
                    .to_owned()
            }
            Self::HeldBySpec { field } => format!("the spec says {field}, so this is not done"),
            Self::ClockSkew { by } => format!(
                "this machine's clock and CloudStack's are {} s apart; set the clock (NTP)",
                by.as_secs()
            ),
            Self::Internal => "an internal error, please report it with the log; nothing is done \
                               for this volume until then"
                .to_owned(),
            Self::SelfUnknown { why } => format!(
                "it is not known which VM this is: {why}. Set host.vm_id in the configuration"
            ),
        }
    }

    /// Whether it is somebody's wish rather than a problem.
    pub fn is_wish(&self) -> bool {
        matches!(self, Self::HeldBySpec { .. })
    }
}

fn join<T: std::fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "(none visible)".to_owned();
    }
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
