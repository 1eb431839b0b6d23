//! Every choice the daemon makes.
//!
//! [`plan`] turns a [`World`] into a [`Plan`]: total, deterministic, without I/O and without a
//! clock. The loop, the `plan` and `drift` commands and the API all show this same value.
//! Execution makes no choice: it runs `now`, and everything is observed again.
//!
//! Precedence, highest first: hard withdraw (I3), no overlap and journal first (I1, I7), unsettled
//! Unknown (I4), guard freeze (I6), suspend and Observe, undisturbed clients (I11), healing.

mod attach;
mod claim;
mod decide;
mod delete;
mod drift;
pub mod episode;
mod guard;
mod index;
mod path;
mod reason;
mod resolve;
mod serve;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::model::desired::{DesiredVolume, Mode, Presence, Reclaim, VolumeSpec};
use crate::model::memory::Memory;
use crate::model::{
    Action, Cause, FileState, Now, Observed, Place, SourceFile, VmId, VolumeId, VolumeName,
};

pub use claim::unknown_claims;
pub use drift::{Drift, DriftClass};
pub use guard::{Freeze, Guard, Scope};
pub use index::Index;
pub use reason::{Blocked, Undeletable, Waiting};
pub use resolve::resolve;

/// Everything a plan is made from.
#[derive(Debug, Clone)]
pub struct World {
    /// What is asked for.
    pub desired: Desired,
    /// What was observed.
    pub observed: Observed,
    /// What is remembered.
    pub memory: Memory,
}

/// What is asked for, and how far its sources can be trusted.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Accepted specs, the abandoned ones included.
    pub volumes: BTreeMap<VolumeName, DesiredVolume>,
    /// Whether the watched directory can be believed.
    pub files: SourceHealth,
    /// Specs whose row of `desired_volumes` is not there, though nobody said that they are to go.
    pub missing_rows: BTreeSet<VolumeName>,
}

impl Desired {
    /// What `volumes` ask for, where files and rows stand as `judged` says.
    pub fn new<'a>(
        volumes: BTreeMap<VolumeName, DesiredVolume>,
        files: SourceHealth,
        judged: impl IntoIterator<Item = &'a SourceFile>,
    ) -> Self {
        let missing_row = |file: &SourceFile| match (file.state, Place::of(&file.path)) {
            (FileState::Missing, Place::Row(name)) => name.parse().ok(),
            _ => None,
        };
        Self {
            missing_rows: judged.into_iter().filter_map(missing_row).collect(),
            volumes,
            files,
        }
    }
}

/// Whether a source of specs can be believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SourceHealth {
    /// It was read in full.
    #[default]
    Sound,
    /// It was not read since the start: what is stored is in force, and nothing follows from what it
    /// may no longer say.
    Unread,
    /// It vanished, went empty, or is another file system than before: what it no longer
    /// says means nothing.
    Suspect(String),
}

impl SourceHealth {
    /// Why it is not believed, if it is not.
    pub fn doubt(&self) -> Option<&str> {
        match self {
            Self::Sound => None,
            Self::Unread => Some("it was not read yet"),
            Self::Suspect(why) => Some(why),
        }
    }
}

/// The limits a plan keeps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How long a vanished attachment to this VM is only shown before it is healed.
    pub heal_delay: Duration,
    /// How often in an hour what somebody did to one volume is undone. More, and two writers would
    /// alternate for ever (I2).
    pub heals_per_hour: usize,
    /// How long a spec must be gone before its export ends (`reclaimPolicy: Retain`): longer
    /// than a document takes to move from one file to another.
    pub release_grace: Duration,
    /// How long a spec must be gone before its volume is detached (`reclaimPolicy: Detach`).
    pub detach_grace: Duration,
    /// How long a spec must be gone before its volume is deleted (`reclaimPolicy: Delete`).
    pub delete_grace: Duration,
    /// Implied steps of one kind allowed in a pass and in an hour, whatever the fleet's size.
    pub implied_floor: usize,
    /// The same as a share of the bound volumes, in percent; the larger of the two counts.
    pub implied_percent: usize,
    /// Share of the bound volumes, in percent, that may turn Absent before the cloud
    /// view is no longer believed; never fewer than two volumes.
    pub absent_percent: usize,
    /// Distance between our clock and CloudStack's over which mutations stop.
    pub max_skew: Duration,
    /// How old a listing of CloudStack may be to act upon at all.
    pub stale_after: Duration,
    /// How old the reading of a volume, and of a VM, may be to attach, detach, grow or claim
    /// it: somebody else may have moved it since. Older ones are read again by id first.
    pub fresh_for: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heal_delay: Duration::from_secs(30),
            heals_per_hour: 3,
            release_grace: Duration::from_secs(10),
            detach_grace: Duration::from_secs(600),
            delete_grace: Duration::from_secs(24 * 3600),
            implied_floor: 3,
            implied_percent: 10,
            absent_percent: 20,
            max_skew: Duration::from_secs(30),
            stale_after: Duration::from_secs(180),
            fresh_for: Duration::from_secs(10),
        }
    }
}

/// What is to be done, for every volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an unread plan helps nobody"]
pub struct Plan {
    /// One entry for each spec.
    pub volumes: BTreeMap<VolumeName, VolumePlan>,
    /// Which implied steps are frozen, and why.
    pub guard: Guard,
}

/// What is to be done for one volume, and what differs without anybody working on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    /// What is to be done.
    pub decision: Decision,
    /// What differs, and stays so for now.
    pub drift: Vec<Drift>,
}

/// What is to be done for one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the world is as asked.
    InSync,
    /// Nothing any more: the spec is gone, and its reclaim policy is done.
    Released,
    /// This step now; the rest once it is observed to be done.
    Act {
        /// The one step to execute.
        now: Box<Step>,
        /// The rest of the path.
        then: Vec<Ahead>,
    },
    /// Nothing yet: something has to happen first, and will.
    Waiting {
        /// For what.
        on: Waiting,
        /// The path that follows, as far as it is known.
        then: Vec<Ahead>,
    },
    /// Nothing until somebody does something.
    Blocked {
        /// All that stands in the way.
        by: Vec<Blocked>,
        /// The path that would follow.
        then: Vec<Ahead>,
    },
    /// Nothing until the outside was read again.
    Observing {
        /// What has to be read, for people.
        what: String,
        /// The same for the loop. Empty if it is being done already.
        reread: Vec<Reread>,
    },
}

/// A reading that a decision waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reread {
    /// Everything in CloudStack.
    Listing,
    /// One volume, by its id.
    Volume(VolumeId),
    /// One VM, by its id.
    Vm(VmId),
    /// The volumes that go by a name.
    Name(String),
    /// This machine's disks.
    Host,
    /// The NBD server.
    Nbd,
}

/// A step that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Who asked for it.
    pub cause: Cause,
    /// Why, in a sentence.
    pub reason: String,
}

/// A step further along the path; some of its details are known only later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// As [`Action::kind`].
    pub kind: &'static str,
    /// What it will do.
    pub text: String,
    /// Why, in a sentence.
    pub reason: String,
}

impl From<Step> for Ahead {
    fn from(step: Step) -> Self {
        Self {
            kind: step.action.kind(),
            text: step.action.to_string(),
            reason: step.reason,
        }
    }
}

/// Plans for every volume, then asks the guard.
///
/// `before` is the guard of the previous plan: a freeze ends only after its cause was
/// gone twice in a row.
pub fn plan(world: &World, policy: &Policy, before: &Guard, now: Now) -> Plan {
    let index = Index::new(world);
    let mut volumes: BTreeMap<VolumeName, VolumePlan> = world
        .desired
        .volumes
        .values()
        .map(|want| {
            (
                want.name().clone(),
                decide(world, &index, policy, want, now),
            )
        })
        .collect();
    guard::mind_missing_rows(world, &mut volumes);
    let mut guard = guard::judge(world, policy, before, &volumes, now);
    guard.apply(world, &mut volumes, now);
    Plan { volumes, guard }
}

/// Plans for one volume, without the guard: a caller that is about to execute an implied
/// step of it ([`is_implied`]) makes a whole plan first.
pub fn decide<'a>(
    world: &'a World,
    index: &'a Index<'a>,
    policy: &'a Policy,
    want: &'a DesiredVolume,
    now: Now,
) -> VolumePlan {
    let decide = || {
        #[cfg(test)]
        assert_ne!(want.name().as_str(), tests::PANICS, "a test asks for this");
        decide::decide(world, index, policy, want, now)
    };
    match catch_unwind(AssertUnwindSafe(decide)) {
        Ok(plan) => plan,
        // A mistake of ours about one volume stops that one only (I8).
        Err(_) => VolumePlan {
            decision: Decision::Blocked {
                by: vec![Blocked::Internal],
                then: Vec::new(),
            },
            drift: Vec::new(),
        },
    }
}

/// Whether the guard counts this step (I6).
pub fn is_implied(step: &Step) -> bool {
    guard::counts(step)
}

/// How long `want` must be gone before anything follows from it. Suspended and observed
/// specs are reclaimed as Retain.
pub fn grace(spec: &VolumeSpec, policy: &Policy) -> Duration {
    match (reclaims_attachment(spec), spec.reclaim_policy) {
        (true, Reclaim::Detach) => policy.detach_grace,
        (true, Reclaim::Delete) => policy.delete_grace,
        (_, Reclaim::Retain) | (false, _) => policy.release_grace,
    }
}

/// Whether the volume of a spec that is gone is also detached.
fn reclaims_attachment(spec: &VolumeSpec) -> bool {
    let held = spec.suspend || spec.mode == Mode::Observe;
    match spec.reclaim_policy {
        Reclaim::Retain => false,
        // Delete begins with Detach.
        Reclaim::Detach | Reclaim::Delete => !held,
    }
}

/// Whether the volume of a spec is to be deleted because the spec is gone.
fn reclaims_volume(want: &DesiredVolume) -> bool {
    let is_gone = matches!(want.presence, Presence::Abandoned { .. });
    is_gone && reclaims_attachment(want.spec()) && want.spec().reclaim_policy == Reclaim::Delete
}

#[cfg(test)]
mod tests;
