//! Stops what nobody asked for in so many words, when there is suddenly much of it (I6).
//!
//! Counted are Detach, Delete and Create steps that follow from a spec's disappearance, from an edit that
//! undoes an attachment, or from healing. A Create that a present document asks for, and that never
//! happened before, is somebody's explicit wish and not counted. Hard withdraws are never frozen.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::memory::ImpliedStep;
use crate::model::observed::Reading;
use crate::model::{Action, BootTime, Cause, DesiredVolume, Now, Owner, VolumeName, sha1_hex};

use super::drift::{Drift, DriftClass};
use super::reason::Blocked;
use super::{Ahead, Decision, Policy, SourceHealth, Step, VolumePlan, World};

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

/// A freeze of implied steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Why, in a sentence.
    pub why: String,
    /// Whose.
    pub scope: Scope,
    /// How many listings of CloudStack in a row its cause has been gone.
    pub clean: u8,
    /// Which listing was the last that counted.
    pub listed: Option<BootTime>,
    /// What it holds back.
    pub steps: BTreeMap<VolumeName, Action>,
}

/// Whose steps a freeze holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Those of specs that are written in files: the directory is not believed, which says nothing
    /// about rows, or about what the API was told.
    Files,
    /// Everybody's.
    Everything,
}

impl Freeze {
    /// Whether it holds back implied steps of this spec.
    pub fn covers(&self, want: &DesiredVolume) -> bool {
        match (self.scope, &want.owner) {
            (Scope::Everything, _) | (Scope::Files, Owner::File(_)) => true,
            (Scope::Files, Owner::Db(_) | Owner::Api) => false,
        }
    }

    /// Stands for exactly what is held back: other steps, or another volume or VM in one of them,
    /// have another digest. Twelve hexadecimal digits.
    pub fn digest(&self) -> String {
        let text = serde_json::to_string(&self.steps).expect("names are text");
        let mut digest = sha1_hex(text);
        digest.truncate(12);
        digest
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
        (Some((why, scope)), held) => Some(Freeze {
            why,
            // What was frozen for another cause stays so until all of it is over.
            scope: held.as_ref().map_or(scope, |held| held.scope.max(scope)),
            // A start is no accident: it ends with its cause.
            clean: match world.desired.files {
                SourceHealth::Unread => CLEAN_TO_THAW,
                SourceHealth::Sound | SourceHealth::Suspect(_) => 0,
            },
            listed,
            steps: BTreeMap::new(),
        }),
        (None, None) => None,
        (None, Some(held)) if held.clean >= CLEAN_TO_THAW => None,
        // The same listing says nothing new.
        (None, Some(held)) if held.clean > 0 && listed <= held.listed => Some(held.clone()),
        (None, Some(held)) if held.clean + 1 >= CLEAN_TO_THAW => None,
        (None, Some(held)) => Some(Freeze {
            why: held.why.clone(),
            scope: held.scope,
            clean: held.clean + 1,
            listed,
            steps: BTreeMap::new(),
        }),
    };
    Guard { freeze }
}

/// Why implied steps are to be frozen, and whose.
fn cause(
    world: &World,
    policy: &Policy,
    volumes: &BTreeMap<VolumeName, VolumePlan>,
    now: Now,
) -> Option<(String, Scope)> {
    let everything = |why| (why, Scope::Everything);
    if world.desired.files == SourceHealth::Unread {
        return Some(everything("the specs were not read yet".to_owned()));
    }
    gone(world, policy)
        .or_else(|| flood(world, policy, volumes, now))
        .map(everything)
        .or_else(|| {
            let doubt = world.desired.files.doubt()?;
            let why = format!("the spec directory cannot be believed: {doubt}");
            Some((why, Scope::Files))
        })
}

/// Many volumes are gone at once: the answer is doubted, not the volumes.
fn gone(world: &World, policy: &Policy) -> Option<String> {
    let bound = world.memory.bindings.len();
    let absent = world
        .memory
        .bindings
        .values()
        // What this daemon deleted is gone for a reason.
        .filter(|binding| !world.memory.deleted.contains(&binding.volume))
        .filter(|binding| world.observed.cloud.volume(binding.volume, None) == Reading::Absent)
        .count();
    (absent >= ABSENT_FLOOR.max(percent(bound, policy.absent_percent)))
        .then(|| format!("{absent} of {bound} volumes are gone from CloudStack's answers at once"))
}

/// More implied steps are due than are allowed.
fn flood(
    world: &World,
    policy: &Policy,
    volumes: &BTreeMap<VolumeName, VolumePlan>,
    now: Now,
) -> Option<String> {
    let bound = world.memory.bindings.len();
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
            let Some(want) = world.desired.volumes.get(name) else {
                continue;
            };
            let Decision::Act { now: step, .. } = &plan.decision else {
                continue;
            };
            if counts(step) && freeze.covers(want) && !is_approved(world, name, step, at) {
                freeze.steps.insert(name.clone(), step.action.clone());
                let why = freeze.why.clone();
                hold_back(plan, want, Blocked::GuardFrozen { why });
            }
        }
    }
}

/// Holds back implied steps of specs whose row vanished: that was an accident until somebody says
/// otherwise.
pub(super) fn mind_missing_rows(world: &World, volumes: &mut BTreeMap<VolumeName, VolumePlan>) {
    for name in &world.desired.missing_rows {
        let (Some(want), Some(plan)) = (world.desired.volumes.get(name), volumes.get_mut(name))
        else {
            continue;
        };
        if matches!(&plan.decision, Decision::Act { now, .. } if counts(now)) {
            hold_back(plan, want, Blocked::RowMissing);
        }
    }
}

/// Turns the step that is due into one that waits for a person.
fn hold_back(plan: &mut VolumePlan, want: &DesiredVolume, by: Blocked) {
    if let Decision::Act { now, then } = &mut plan.decision {
        plan.drift.push(Drift::new(
            DriftClass::Attachment,
            "spec.attachTo",
            &now.action,
            format!("frozen for {}", want.owner),
        ));
        let mut path = std::mem::take(then);
        path.insert(0, Ahead::from(now.as_ref().clone()));
        plan.decision = Decision::Blocked {
            by: vec![by],
            then: path,
        };
    }
}
