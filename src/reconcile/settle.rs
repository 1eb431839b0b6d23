//! How an open intent ends. Pure: answers in, verdict out.
//!
//! An intent is followed to its end and never re-sent blindly (I1, I7). Its job has the id that
//! was journalled before the call, so a lost answer is looked up, not guessed.

use std::time::Duration;

use crate::cloudstack::JobState;
use crate::model::action::{CLAIM_TAG, Mark};
use crate::model::memory::{Binding, FailureClass, Intent, Outcome, Progress};
use crate::model::observed::{CloudVolume, VolumeState};
use crate::model::{Action, Reading, SpecUid, VmId, VolumeId};
use crate::observe::JobAnswer;
use crate::plan::World;
use crate::store::{Effects, PlacementChange};

/// Whether asking again would say nothing new.
///
/// `handling` is how long after `expires` the server may still be working on a call that it
/// accepted. The server's own clock decides when a call can no longer arrive.
pub fn is_final(answer: &JobAnswer, intent: &Intent, handling: Duration) -> bool {
    match (&answer.state, &intent.progress) {
        (JobState::Pending, _) => false,
        (JobState::NotFound, Progress::Journalled | Progress::Undecided(_)) => answer
            .server
            .is_some_and(|server| server > intent.expires.plus(handling)),
        (JobState::NotFound, Progress::Submitted(_))
        | (JobState::Succeeded { .. } | JobState::Failed { .. } | JobState::Lost { .. }, _) => true,
    }
}

/// What is known about an intent's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Open,
    /// A look-up of this volume name, begun after the last answer, will tell.
    NeedsName(String),
    /// A reading of this volume, begun after the last answer, will tell.
    NeedsVolume(VolumeId),
    /// This is how it ended.
    Ended(Outcome),
    /// Nothing tells which of these volumes it made.
    Undecided(Vec<VolumeId>),
}

/// Judges `intent` by the last answer about its job.
pub fn judge(world: &World, intent: &Intent, answer: &JobAnswer, handling: Duration) -> Verdict {
    if !is_final(answer, intent, handling) {
        return Verdict::Open;
    }
    let ended = match &answer.state {
        JobState::Pending => return Verdict::Open,
        JobState::Succeeded { .. } => Outcome::Succeeded { created: None },
        JobState::Failed { class, text, .. } => Outcome::Failed {
            class: *class,
            text: text.clone(),
        },
        JobState::Lost { text, .. } => Outcome::Lost { text: text.clone() },
        JobState::NotFound => match intent.progress {
            Progress::Submitted(_) => Outcome::Lost {
                text: "CloudStack no longer knows its job".to_owned(),
            },
            Progress::Journalled | Progress::Undecided(_) => Outcome::NeverSent,
        },
    };
    match &intent.action {
        // The row is made before the job is, so it may be there however the job ended.
        Action::Create { volume_name, .. } => created(world, intent, (volume_name, answer), ended),
        Action::Attach { volume, vm, .. } => by_volume(world, answer, *volume, ended, |seen| {
            seen.is_some_and(|seen| vm_of(seen) == Some(*vm))
        }),
        Action::Detach { volume, vm } => by_volume(world, answer, *volume, ended, |seen| {
            seen.is_some_and(|seen| vm_of(seen) != Some(*vm))
        }),
        Action::Delete { volume, .. } => by_volume(world, answer, *volume, ended, |seen| {
            seen.is_none_or(|seen| {
                matches!(seen.state, VolumeState::Destroy | VolumeState::Expunged)
            })
        }),
        _ => Verdict::Ended(ended),
    }
}

fn vm_of(volume: &CloudVolume) -> Option<VmId> {
    volume.attachment.map(|at| at.vm)
}

/// Whether a call of which the end is lost did what it should: judged by what became of its volume,
/// if that is there. Else an attachment of ours would be taken for somebody else's once the spec
/// changes.
fn by_volume(
    world: &World,
    answer: &JobAnswer,
    volume: VolumeId,
    ended: Outcome,
    is_done: impl Fn(Option<&CloudVolume>) -> bool,
) -> Verdict {
    if !matches!(ended, Outcome::Lost { .. }) {
        return Verdict::Ended(ended);
    }
    let seen = match world.observed.cloud.volume(volume, Some(answer.begun)) {
        Reading::Present(seen) => Some(seen),
        Reading::Absent => None,
        Reading::Unknown(_) => return Verdict::NeedsVolume(volume),
    };
    Verdict::Ended(if is_done(seen) {
        Outcome::Succeeded { created: None }
    } else {
        ended
    })
}

/// Which volume a create made, if any. A success is believed; anything else is judged by what
/// is there: the volume its job names, or the one new volume of that name, which was free before.
fn created(
    world: &World,
    intent: &Intent,
    (volume_name, answer): (&str, &JobAnswer),
    ended: Outcome,
) -> Verdict {
    let named_by_job = match &answer.state {
        JobState::Succeeded { volume: Some(id) } => {
            return Verdict::Ended(Outcome::Succeeded { created: Some(*id) });
        }
        JobState::Failed { volume, .. } | JobState::Lost { volume, .. } => *volume,
        JobState::Succeeded { volume: None } | JobState::Pending | JobState::NotFound => None,
    };
    let cloud = &world.observed.cloud;
    if cloud.name_read(volume_name) <= Some(answer.begun) {
        return Verdict::NeedsName(volume_name.to_owned());
    }
    let candidates: Vec<VolumeId> = cloud
        .volumes
        .values()
        .filter(|volume| match named_by_job {
            Some(id) => id == volume.id,
            None => is_as_asked(intent, volume),
        })
        .filter(|volume| may_have_made(world, intent, volume))
        .map(|volume| volume.id)
        .collect();
    match (candidates.as_slice(), ended) {
        ([one], _) => Verdict::Ended(Outcome::Succeeded {
            created: Some(*one),
        }),
        // A success that left nothing is none.
        ([], Outcome::Succeeded { .. }) => Verdict::Ended(Outcome::Lost {
            text: "its job succeeded, and no volume is there".to_owned(),
        }),
        ([], ended) => Verdict::Ended(ended),
        (_, _) => Verdict::Undecided(candidates),
    }
}

/// How far the clocks may be apart when ages are compared; mutations stop well before.
const CLOCKS_APART: Duration = Duration::from_secs(60);

fn may_have_made(world: &World, intent: &Intent, volume: &CloudVolume) -> bool {
    let Action::Create {
        volume_name, zone, ..
    } = &intent.action
    else {
        return false;
    };
    let is_there = !matches!(volume.state, VolumeState::Destroy | VolumeState::Expunged);
    let is_new = volume
        .created
        .is_none_or(|created| created.plus(CLOCKS_APART) >= intent.created);
    let is_free = !volume.tags.contains_key(CLAIM_TAG)
        && !world
            .memory
            .bindings
            .values()
            .any(|binding| binding.volume == volume.id);
    is_there && is_new && is_free && volume.name == *volume_name && volume.zone == *zone
}

/// Whether a volume that no job names is what was asked for. One that somebody else made under the
/// same name may have less room or another offering, or be in use; more room is what storage gives
/// that counts in larger pieces.
fn is_as_asked(intent: &Intent, volume: &CloudVolume) -> bool {
    let Action::Create { size, offering, .. } = &intent.action else {
        return false;
    };
    volume.size >= *size
        && volume.offering.is_none_or(|of| of == *offering)
        && volume.attachment.is_none()
}

/// What the end of `intent` means for what is remembered.
pub fn effects(intent: &Intent, outcome: &Outcome, uid: SpecUid) -> Effects {
    let mut effects = Effects::default();
    match (&intent.action, outcome) {
        (Action::Create { .. }, Outcome::Succeeded { created: Some(id) }) => {
            effects.binding = Some(Binding {
                volume: *id,
                uid,
                mark: Mark::Created,
            });
        }
        (Action::Attach { volume, vm, .. }, Outcome::Succeeded { .. }) => {
            effects.placement = Some(PlacementChange::Put(*volume, *vm));
        }
        (Action::Detach { volume, .. }, Outcome::Succeeded { .. }) => {
            effects.placement = Some(PlacementChange::Forget(*volume));
        }
        _ => {}
    }
    effects
}

/// What an outcome that is no success means for the next attempt.
pub fn failure_of(outcome: &Outcome) -> Option<(FailureClass, String)> {
    match outcome {
        Outcome::Succeeded { .. } => None,
        Outcome::Failed { class, text } => Some((*class, text.clone())),
        Outcome::NeverSent => Some((
            FailureClass::Retry,
            "the call never reached CloudStack".to_owned(),
        )),
        Outcome::Lost { text } => Some((FailureClass::Retry, text.clone())),
    }
}

#[cfg(test)]
mod tests;
