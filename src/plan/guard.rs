//! Stops what nobody asked for in so many words, when there is suddenly much of it (I6).
//!
//! Counted are Detach, Delete and Create steps that follow from a spec's disappearance, from an edit that
//! undoes an attachment, or from healing. A Create that a present document asks for, and that never
//! happened before, is somebody's explicit wish and not counted. Hard withdraws are never frozen.

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest, Sha1};

use crate::model::memory::ImpliedStep;
use crate::model::observed::Reading;
use crate::model::{Action, BootTime, Cause, Now, VolumeName};

use super::drift::{Drift, DriftClass};
use super::reason::Blocked;
use super::{Decision, Policy, SourceHealth, Step, VolumePlan, World};

/// Listings without its cause after which a freeze ends.
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
    /// How many listings of CloudStack in a row its cause has been gone.
    pub clean: u8,
    /// Which listing was the last that counted.
    pub listed: Option<BootTime>,
    /// What it holds back.
    pub steps: BTreeMap<VolumeName, Action>,
}

impl Freeze {
    /// Stands for exactly what is held back: other steps, or another volume or VM in one of them,
    /// have another digest. Twelve hexadecimal digits.
    pub fn digest(&self) -> String {
        let text = serde_json::to_string(&self.steps).expect("names are text");
        let bytes = Sha1::digest(text);
        bytes[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Whether the guard counts this step.
pub(super) fn counts(step: &Step) -> bool {
    is_implied(step.cause, &step.action)
}

fn is_implied(cause: Cause, action: &Action) -> bool {
    let implied = match cause {
        Cause::Declared => false,
        Cause::Edited | Cause::Abandoned | Cause::Healing => true,
    };
    let kind = match action {
        Action::Create { .. } | Action::Detach { .. } | Action::Delete { .. } => true,
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
    let listed = world.observed.cloud.listed.as_ref().ok().copied();
    let freeze = match (cause(world, policy, volumes, now), &before.freeze) {
        (Some(why), _) => Some(Freeze {
            why,
            clean: 0,
            listed,
            steps: BTreeMap::new(),
        }),
        (None, None) => None,
        // The same listing says nothing new.
        (None, Some(held)) if held.clean > 0 && listed <= held.listed => Some(held.clone()),
        (None, Some(held)) if held.clean + 1 >= CLEAN_TO_THAW => None,
        (None, Some(held)) => Some(Freeze {
            why: held.why.clone(),
            clean: held.clean + 1,
            listed,
            steps: BTreeMap::new(),
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
        // What this daemon deleted is gone for a reason.
        .filter(|binding| !world.memory.deleted.contains(&binding.volume))
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
    let due: BTreeSet<&VolumeName> = volumes
        .iter()
        .filter(|(name, plan)| match &plan.decision {
            Decision::Act { now: step, .. } => counts(step) && !is_approved(world, name, step, now),
            Decision::InSync
            | Decision::Released
            | Decision::Waiting { .. }
            | Decision::Blocked { .. }
            | Decision::Observing { .. } => false,
        })
        .map(|(name, _)| name)
        .collect();
    let open = world
        .memory
        .intents
        .values()
        .filter(|intent| is_implied(intent.cause, &intent.action))
        .map(|intent| &intent.name);
    let counted = [Action::CREATE, Action::DETACH, Action::DELETE];
    let hour = |step: &&ImpliedStep| now.boot.since(step.at).as_secs() < WINDOW_SECONDS;
    let done: BTreeSet<&VolumeName> = world
        .memory
        .implied
        .iter()
        .filter(|step| counted.contains(&step.kind.as_str()))
        .filter(hour)
        .map(|step| &step.name)
        .chain(open)
        .filter(|name| !due.contains(name))
        .collect();
    (!due.is_empty() && due.len() + done.len() > cap).then(|| {
        format!(
            "{} volumes would be detached or deleted because their specs changed or went away, {} \
             were in the last hour; {cap} are allowed",
            due.len(),
            done.len()
        )
    })
}

/// The given share of `of`, rounded down.
fn percent(of: usize, share: usize) -> usize {
    of.saturating_mul(share) / 100
}

/// Whether a person let this step pass.
fn is_approved(world: &World, name: &VolumeName, step: &Step, now: Now) -> bool {
    let approved = world.memory.approved.get(name);
    approved.is_some_and(|approved| approved.until > now.boot && approved.action == step.action)
}

impl Guard {
    /// Holds back the frozen steps of a plan, but for those that a person let pass.
    pub(super) fn apply(
        &mut self,
        world: &World,
        volumes: &mut BTreeMap<VolumeName, VolumePlan>,
        at: Now,
    ) {
        let Some(freeze) = &mut self.freeze else {
            return;
        };
        freeze.steps.clear();
        for (name, plan) in volumes {
            let step = match &plan.decision {
                Decision::Act { now, then }
                    if counts(now) && !is_approved(world, name, now, at) =>
                {
                    (now.clone(), then.clone())
                }
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
            freeze.steps.insert(name.clone(), now.action.clone());
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
