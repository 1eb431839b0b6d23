//! What the daemon remembers: everything that is read back from the store, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::action::{Action, Cause, Mark};
use super::desired::{Generation, Owner};
use super::export::{ExportName, Serial};
use super::ids::{
    AccountMark, InstanceId, IntentId, JobId, OfferingId, SpecUid, VmId, VolumeId, VolumeName,
    ZoneId,
};
use super::observed::Attachment;
use super::size::ByteSize;
use super::time::{BootTime, Timestamp};

/// Everything that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Which store this is.
    pub instance: InstanceId,
    /// Spec ↔ CloudStack volume, for ever (I13).
    pub bindings: BTreeMap<VolumeName, Binding>,
    /// On which VM this daemon last put a volume, or found it where the spec wants it (I2).
    pub placements: BTreeMap<VolumeId, VmId>,
    /// Since when a volume that this daemon put on a VM is seen detached. Not stored.
    pub vanished: BTreeMap<VolumeId, BootTime>,
    /// When this run first saw a disk. Not stored.
    pub appeared: BTreeMap<Serial, BootTime>,
    /// Which volume an export name belongs to, for ever.
    pub export_names: BTreeMap<ExportName, VolumeId>,
    /// Intents whose end is not known. At most one for each name (I1).
    pub intents: BTreeMap<VolumeName, Intent>,
    /// When the last intent of a name settled in this run; readings begun before it do not count.
    pub settled: BTreeMap<VolumeName, BootTime>,
    /// When this run first saw the present generation of a spec. What went by its volume's
    /// name before says nothing about whether the name is free.
    pub seen: BTreeMap<VolumeName, BootTime>,
    /// When an export of a name was last changed in this run; what the server showed before
    /// does not count.
    pub served: BTreeMap<VolumeName, BootTime>,
    /// What the names in a spec were found to mean.
    pub resolutions: BTreeMap<VolumeName, Resolution>,
    /// The last failure of a name, until a step succeeds.
    pub failures: BTreeMap<VolumeName, Failure>,
    /// What CloudStack last said of a bound volume.
    pub views: BTreeMap<VolumeId, AcceptedView>,
    /// Steps that nobody asked for in so many words, of the last hour (I6).
    pub implied: Vec<ImpliedStep>,
    /// What a person said is to be left alone for a while.
    pub pauses: Pauses,
    /// Steps that the guard froze and a person let pass (I6).
    pub approved: BTreeMap<VolumeName, Approved>,
    /// Volumes that this daemon deleted. One that is there all the same was recovered by somebody.
    pub deleted: BTreeSet<VolumeId>,
    /// Specs whose claims are left alone although this store knows nothing of them (I16).
    pub disowned: BTreeSet<SpecUid>,
    /// Whether every row was understood. If not, what is missing may be in one that was not.
    pub is_whole: bool,
    /// Listed volumes with the claim of this store for specs that it knows nothing of. Worked out
    /// from each listing, never stored.
    pub unknown_claims: Vec<VolumeId>,
    /// Whether CloudStack is asked with an account that was seen to be the right one.
    pub account: Account,
}

impl Memory {
    /// The memory of a new store.
    pub fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            bindings: BTreeMap::new(),
            placements: BTreeMap::new(),
            vanished: BTreeMap::new(),
            appeared: BTreeMap::new(),
            export_names: BTreeMap::new(),
            intents: BTreeMap::new(),
            settled: BTreeMap::new(),
            seen: BTreeMap::new(),
            served: BTreeMap::new(),
            resolutions: BTreeMap::new(),
            failures: BTreeMap::new(),
            views: BTreeMap::new(),
            implied: Vec::new(),
            pauses: Pauses::default(),
            approved: BTreeMap::new(),
            deleted: BTreeSet::new(),
            disowned: BTreeSet::new(),
            is_whole: true,
            unknown_claims: Vec::new(),
            account: Account::Proven,
        }
    }
}

/// Whether the account that is used sees what this store remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// It did, or nothing is remembered that it would have to see.
    Proven,
    /// It is another one than before, and has to show this VM and a bound volume first: keys of
    /// another account, or another CloudStack, would make every volume look lost.
    Unproven(AccountMark),
}

/// What a person said is to be left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pauses {
    /// Everything.
    pub all: Option<Pause>,
    /// Single specs.
    pub volumes: BTreeMap<VolumeName, Pause>,
}

/// Until when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When it ends, on the boot clock: setting the wall clock ends no pause.
    pub until: BootTime,
    /// In the words of who said it; may be empty.
    pub reason: String,
}

impl Pauses {
    /// The pause that `name` is under at `now`; of two, the one that ends last.
    pub fn of(&self, name: &VolumeName, now: BootTime) -> Option<&Pause> {
        [self.volumes.get(name), self.all.as_ref()]
            .into_iter()
            .flatten()
            .filter(|pause| pause.until > now)
            .max_by_key(|pause| pause.until)
    }
}

/// A step that the guard froze and a person let pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// Exactly this one: any other for the same spec stays frozen.
    pub action: Action,
    /// When it ends to be, on the boot clock: setting the wall clock prolongs nothing.
    pub until: BootTime,
}

/// Which CloudStack volume a spec is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The volume.
    pub volume: VolumeId,
    /// The spec.
    pub uid: SpecUid,
    /// How the volume came to us.
    pub mark: Mark,
}

/// One mutating CloudStack call: written before it is sent, settled when its end is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Also the id that CloudStack is asked to give to the job.
    pub id: IntentId,
    /// For which spec.
    pub name: VolumeName,
    /// Of which generation.
    pub generation: Generation,
    /// The call.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// When it was written.
    pub created: Timestamp,
    /// The `expires` it was signed with: the server refuses the call later than this.
    pub expires: Timestamp,
    /// What is known of its call.
    pub progress: Progress,
}

/// How far an intent's call is known to have come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// Written. It may or may not have been sent.
    Journalled,
    /// CloudStack answered with a job.
    Submitted(JobId),
    /// Nothing tells which of these volumes it made, if any. A person must say.
    /// Worked out anew after a restart, never stored.
    Undecided(Vec<VolumeId>),
}

/// How an intent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Done, as CloudStack reports; observed again before anything else.
    Succeeded {
        /// The volume that `createVolume` made.
        created: Option<VolumeId>,
    },
    /// CloudStack says that it was not done.
    Failed {
        /// What follows from that.
        class: FailureClass,
        /// Its words.
        text: String,
    },
    /// Certainly never executed: its time to be accepted has passed and no trace is there.
    NeverSent,
    /// Ended without a result, for instance by a management-server restart; only
    /// observation tells.
    Lost {
        /// What is known of it.
        text: String,
    },
}

impl Outcome {
    /// The outcome in one word, as stored.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::NeverSent => "never-sent",
            Self::Lost { .. } => "lost",
        }
    }
}

/// What follows from a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureClass {
    /// CloudStack will refuse the same again: the spec must change.
    Refused,
    /// Something else stands in the way (VM snapshots, host down): retried slowly.
    Environment,
    /// Passing: retried soon.
    Retry,
    /// A limit of the account: retried slowly, shown to people.
    Quota,
    /// Asked too often.
    Throttled,
    /// A client uses the export that was to be withdrawn.
    InUse,
}

/// What the names in one generation of a spec were found to mean. Never looked up again
/// for the same generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Of which generation.
    pub generation: Generation,
    /// The zone to create in.
    pub zone: Option<ZoneId>,
    /// The offering to create from.
    pub offering: Option<OfferingId>,
    /// The VM to attach to.
    pub vm: Option<VmId>,
    /// The volume to adopt.
    pub existing: Option<VolumeId>,
}

/// The last failure of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What failed, as [`Action::kind`].
    pub kind: String,
    /// For which generation.
    pub generation: Generation,
    /// What follows from it.
    pub class: FailureClass,
    /// In whose words.
    pub text: String,
    /// How often in a row, from 1.
    pub attempts: u32,
    /// When it first happened in this row.
    pub since: BootTime,
    /// When it happened last.
    pub at: Timestamp,
    /// Not again before this.
    pub retry_at: BootTime,
}

/// What CloudStack last said of a bound volume, kept for times when it is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedView {
    /// Its size.
    pub size: ByteSize,
    /// Where it was attached.
    pub attachment: Option<Attachment>,
    /// When it said so.
    pub at: Timestamp,
}

/// A step counted by the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpliedStep {
    /// For which spec.
    pub name: VolumeName,
    /// What, as [`Action::kind`].
    pub kind: String,
    /// Why.
    pub cause: Cause,
    /// On whose behalf.
    pub owner: Owner,
    /// When, on the boot clock.
    pub at: BootTime,
}
