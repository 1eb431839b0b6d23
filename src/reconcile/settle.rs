//! How an open intent ends. Pure: answers in, verdict out.
//!
//! An intent is followed to its end and never re-sent blindly (I1, I7). Its job has the id that
//! was journalled before the call, so a lost answer is looked up, not guessed.

use std::time::Duration;

use crate::cloudstack::JobState;
use crate::model::action::{CLAIM_TAG, Mark};
use crate::model::memory::{Binding, FailureClass, Intent, Outcome, Progress};
use crate::model::observed::CloudVolume;
use crate::model::{Action, SpecUid, Timestamp, VolumeId};
use crate::plan::World;
use crate::store::{Effects, PlacementChange};

/// What is known about an intent's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Open,
    /// A complete listing, begun after the call can no longer be accepted, will tell.
    NeedsListing,
    /// This is how it ended.
    Ended(Outcome),
    /// Nothing tells which of these volumes it made.
    Undecided(Vec<VolumeId>),
}

/// Judges `intent` by the last answer about its job.
///
/// `answered` is the server's clock when it gave that answer; `handling` is how long after
/// `expires` the server may still be working on an accepted call.
pub fn judge(
    world: &World,
    intent: &Intent,
    job: &JobState,
    answered: Timestamp,
    handling: Duration,
) -> Verdict {
    match job {
        JobState::Pending => Verdict::Open,
        JobState::Succeeded { volume } => match (&intent.action, volume) {
            (Action::Create { .. }, None) => by_listing(world, intent, answered),
            (Action::Create { .. }, Some(id)) => {
                Verdict::Ended(Outcome::Succeeded { created: Some(*id) })
            }
            (_, _) => Verdict::Ended(Outcome::Succeeded { created: None }),
        },
        JobState::Failed { class, text, .. } => {
            let failed = Outcome::Failed {
                class: *class,
                text: text.clone(),
            };
            match intent.action {
                // The row is made before the job begins, so it may be there all the same.
                Action::Create { .. } => match by_listing(world, intent, answered) {
                    Verdict::Ended(Outcome::NeverSent) => Verdict::Ended(failed),
                    verdict => verdict,
                },
                _ => Verdict::Ended(failed),
            }
        }
        JobState::Lost { text, .. } => match intent.action {
            // Its volume was made before its job was; the listing knows it.
            Action::Create { .. } => by_listing(world, intent, answered),
            _ => Verdict::Ended(Outcome::Lost { text: text.clone() }),
        },
        JobState::NotFound => match intent.progress {
            Progress::Submitted(_) => match intent.action {
                Action::Create { .. } => by_listing(world, intent, answered),
                _ => Verdict::Ended(Outcome::Lost {
                    text: "CloudStack no longer knows its job".to_owned(),
                }),
            },
            Progress::Journalled | Progress::Undecided(_) => {
                if answered <= intent.expires.plus(handling) {
                    Verdict::Open
                } else if matches!(intent.action, Action::Create { .. }) {
                    by_listing(world, intent, answered)
                } else {
                    Verdict::Ended(Outcome::NeverSent)
                }
            }
        },
    }
}

/// A create without a job is judged by what it left: the name was free before it.
fn by_listing(world: &World, intent: &Intent, answered: Timestamp) -> Verdict {
    let cloud = &world.observed.cloud;
    let (Ok(listed), Some((server, read))) = (&cloud.listed, cloud.server_time) else {
        return Verdict::NeedsListing;
    };
    // The listing must have begun after the answer that said "no such job".
    let listed_at = if read >= *listed {
        Timestamp::from_millis(
            server
                .as_millis()
                .saturating_sub(i64::try_from(read.since(*listed).as_millis()).unwrap_or(i64::MAX)),
        )
    } else {
        server
    };
    if listed_at < answered {
        return Verdict::NeedsListing;
    }
    let candidates: Vec<VolumeId> = cloud
        .volumes
        .values()
        .filter(|volume| may_have_made(world, intent, volume))
        .map(|volume| volume.id)
        .collect();
    match candidates.as_slice() {
        [] => Verdict::Ended(Outcome::NeverSent),
        [one] => Verdict::Ended(Outcome::Succeeded {
            created: Some(*one),
        }),
        _ => Verdict::Undecided(candidates),
    }
}

fn may_have_made(world: &World, intent: &Intent, volume: &CloudVolume) -> bool {
    let Action::Create {
        volume_name,
        size,
        zone,
        ..
    } = &intent.action
    else {
        return false;
    };
    volume.name == *volume_name
        && volume.size == *size
        && volume.zone == *zone
        && !volume.tags.contains_key(CLAIM_TAG)
        && !world
            .memory
            .bindings
            .values()
            .any(|binding| binding.volume == volume.id)
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
