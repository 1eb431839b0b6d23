//! Stops what nobody asked for in so many words, when there is suddenly much of it (I6).
//!
//! Counted are Detach and Create steps that follow from a spec's disappearance, from an edit that
//! undoes an attachment, or from healing. A Create that a present document asks for, and that never
//! happened before, is somebody's explicit wish and not counted. Hard withdraws are never frozen.

use std::collections::BTreeMap;

use crate::model::observed::Reading;
use crate::model::{Action, Cause, Now, VolumeName};

use super::drift::{Drift, DriftClass};
use super::reason::Blocked;
use super::{Decision, Policy, SourceHealth, Step, VolumePlan, World};

/// Observations without its cause after which a freeze ends.
const CLEAN_TO_THAW: u8 = 2;
/// How far back steps are counted.
const WINDOW_SECONDS: u64 = 3600;
/// Volumes that may always turn Absent without doubt about the cloud view.
const ABSENT_FLOOR: usize = 2;

/// Which implied steps are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guard {
    /// The freeze in force, if any.
    pub freeze: Option<Freeze>,
}

/// A freeze of all implied steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Why, in a sentence.
    pub why: String,
    /// How many plans in a row its cause has been gone.
    pub clean: u8,
}

/// Whether the guard counts this step.
pub(super) fn counts(step: &Step) -> bool {
    let implied = match step.cause {
        Cause::Declared => false,
        Cause::Edited | Cause::Abandoned | Cause::Healing => true,
    };
    let kind = match step.action {
        Action::Create { .. } | Action::Detach { .. } => true,
        Action::Tag { .. }
        | Action::Bind { .. }
        | Action::Grow { .. }
        | Action::Attach { .. }
        | Action::Export { .. }
        | Action::Withdraw { .. } => false,
    };
    implied && kind
}

/// Judges a whole plan.
pub(super) fn judge(
    world: &World,
    policy: &Policy,
    before: &Guard,
    volumes: &BTreeMap<VolumeName, VolumePlan>,
    now: Now,
) -> Guard {
    let freeze = match (cause(world, policy, volumes, now), &before.freeze) {
        (Some(why), _) => Some(Freeze { why, clean: 0 }),
        (None, None) => None,
        (None, Some(held)) if held.clean + 1 >= CLEAN_TO_THAW => None,
        (None, Some(held)) => Some(Freeze {
            why: held.why.clone(),
            clean: held.clean + 1,
        }),
    };
    Guard { freeze }
}

fn cause(
    world: &World,
    policy: &Policy,
    volumes: &BTreeMap<VolumeName, VolumePlan>,
    now: Now,
) -> Option<String> {
    if let SourceHealth::Suspect(why) = &world.desired.files {
        return Some(format!("the spec directory cannot be believed: {why}"));
    }
    let bound = world.memory.bindings.len();
    let absent = world
        .memory
        .bindings
        .values()
        .filter(|binding| world.observed.cloud.volume(binding.volume, None) == Reading::Absent)
        .count();
    if absent >= ABSENT_FLOOR.max(percent(bound, policy.absent_percent)) && absent > 0 {
        return Some(format!(
            "{absent} of {bound} volumes are gone from CloudStack's answers at once"
        ));
    }
    let cap = policy
        .implied_floor
        .max(percent(bound, policy.implied_percent));
    let due = volumes
        .values()
        .filter(|plan| match &plan.decision {
            Decision::Act { now, .. } => counts(now),
            Decision::InSync
            | Decision::Released
            | Decision::Waiting { .. }
            | Decision::Blocked { .. }
            | Decision::Observing { .. } => false,
        })
        .count();
    let done = world
        .memory
        .implied
        .iter()
        .filter(|step| now.wall.since(step.at).as_secs() < WINDOW_SECONDS)
        .count();
    (due > 0 && due + done > cap).then(|| {
        format!(
            "{due} detachments follow from specs that changed or went away, and {done} were done \
             in the last hour; {cap} are allowed"
        )
    })
}

/// The given share of `of`, rounded down.
fn percent(of: usize, share: usize) -> usize {
    of.saturating_mul(share) / 100
}

impl Guard {
    /// Holds back the frozen steps of a plan.
    pub(super) fn apply(&self, world: &World, volumes: &mut BTreeMap<VolumeName, VolumePlan>) {
        let Some(freeze) = &self.freeze else {
            return;
        };
        for (name, plan) in volumes {
            let step = match &plan.decision {
                Decision::Act { now, then } if counts(now) => (now.clone(), then.clone()),
                Decision::Act { .. }
                | Decision::InSync
                | Decision::Released
                | Decision::Waiting { .. }
                | Decision::Blocked { .. }
                | Decision::Observing { .. } => continue,
            };
            let (now, mut then) = step;
            let owner = world.desired.volumes.get(name).map(|want| &want.owner);
            plan.drift.push(Drift::new(
                DriftClass::Attachment,
                "spec.attachTo",
                &now.action,
                owner.map_or("frozen".to_owned(), |owner| format!("frozen for {owner}")),
            ));
            then.insert(0, (*now).into());
            plan.decision = Decision::Blocked {
                by: vec![Blocked::GuardFrozen {
                    why: freeze.why.clone(),
                }],
                then,
            };
        }
    }
}
