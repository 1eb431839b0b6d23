//! From when to when something differed: follows the differences that successive plans list.
//!
//! For people only: no decision depends on an episode, and losing one loses nothing else.

use serde::{Deserialize, Serialize};

use crate::model::desired::Generation;
use crate::model::{IntentId, Timestamp, VolumeName};

use super::{Decision, Drift, DriftClass, VolumePlan};

/// One difference, from when it was first seen until it was gone. If what is observed changes
/// meanwhile, that is another episode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Episode {
    /// Of which spec.
    pub volume: VolumeName,
    /// Of which version of it, when it was first seen.
    pub generation: Generation,
    /// What differed.
    #[serde(flatten)]
    pub drift: Drift,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// How it ended; `None`: it still differs, or differed when the daemon last could tell.
    pub ended: Option<Ended>,
    /// Who brought it about, once that was found out; `None`: it is not known.
    pub who: Option<Culprit>,
}

/// Somebody who did something to a volume, as CloudStack's event log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Culprit {
    /// The account in whose name.
    pub account: String,
    /// The user.
    pub user: String,
    /// What was done, like `VOLUME.DETACH`.
    pub event: String,
    /// When, by our clock.
    pub at: Timestamp,
}

/// The end of an episode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// When the difference was last seen.
    pub last_seen: Timestamp,
    /// When it was first seen to be gone.
    pub at: Timestamp,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
}

/// How a difference ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how")]
pub enum Ending {
    /// A step of ours undid it.
    Healed {
        /// The call, if it took one.
        intent: Option<IntentId>,
    },
    /// It is as asked for again, and nothing that we did led to that.
    ByItself,
    /// It differs in another way now, which is the next episode.
    Changed,
    /// Something else is asked for, or nothing any more.
    SpecChanged,
}

impl Episode {
    /// What tells it from all others of an appliance; also the order in which they began, for each
    /// field.
    pub fn key(&self) -> String {
        let at = self.first_seen.as_millis();
        format!("{} {} {at}", self.volume, self.drift.field)
    }
}

/// An episode that has not ended, and what is known of it only while the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The episode.
    pub episode: Episode,
    /// When the difference was last seen.
    pub last_seen: Timestamp,
    /// A step of ours that should have undone it.
    pub undone: Option<Ending>,
}

impl Open {
    /// An episode that was open when the daemon last ran. `by`: a call that ended well since it
    /// began.
    pub fn again(episode: Episode, by: Option<IntentId>) -> Self {
        Self {
            last_seen: episode.first_seen,
            undone: by.map(|intent| Ending::Healed {
                intent: Some(intent),
            }),
            episode,
        }
    }

    fn ended(self, at: Timestamp, ending: Ending) -> Episode {
        Episode {
            ended: Some(Ended {
                last_seen: self.last_seen,
                at,
                ending,
            }),
            ..self.episode
        }
    }

    /// How it ended, if its difference is gone.
    fn ending(&self, sight: &Sight<'_>) -> Ending {
        let is_another = self.episode.generation != sight.generation;
        match (self.undone, &sight.plan.decision) {
            (Some(ending), _) => ending,
            (None, Decision::Released) => Ending::SpecChanged,
            (None, _) if is_another => Ending::SpecChanged,
            (None, _) => Ending::ByItself,
        }
    }
}

/// A plan for a volume, and what it is about.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Of which spec.
    pub volume: &'a VolumeName,
    /// Of which version of it.
    pub generation: Generation,
    /// The plan.
    pub plan: &'a VolumePlan,
    /// Whether CloudStack's word about the volume counted in it, or none is needed.
    pub is_read: bool,
    /// When it was made.
    pub at: Timestamp,
}

impl Sight<'_> {
    /// Whether the difference of `open`, which is not listed, is gone. What is being undone, or
    /// cannot be compared for now, is not listed either.
    fn is_gone(&self, open: &Open) -> bool {
        match &self.plan.decision {
            Decision::Released => true,
            Decision::InSync => self.is_read,
            // What is in the way may be in the way of the comparison, unless that comes to
            // something. A step that was done and read again did what it should.
            Decision::Waiting { .. } | Decision::Blocked { .. } => {
                self.is_read && (!self.plan.drift.is_empty() || open.undone.is_some())
            }
            Decision::Act { .. } | Decision::Observing { .. } => false,
        }
    }
}

/// Takes a plan into account. `open` are the episodes of its volume; those that began or ended
/// are returned, the ended ones first.
pub fn follow(open: &mut Vec<Open>, sight: &Sight<'_>) -> Vec<Episode> {
    let mut news = Vec::new();
    let mut left = Vec::with_capacity(open.len());
    for mut one in open.drain(..) {
        let listed = sight.plan.drift.iter().find(|it| is_same(it, &one));
        match listed {
            Some(drift) if differs_otherwise(drift, &one) => {
                let ending = if drift.desired == one.episode.drift.desired {
                    Ending::Changed
                } else {
                    Ending::SpecChanged
                };
                news.push(one.ended(sight.at, ending));
            }
            Some(_) => {
                one.last_seen = sight.at;
                // Whatever we did did not last.
                one.undone = None;
                left.push(one);
            }
            None if sight.is_gone(&one) => {
                let ending = one.ending(sight);
                news.push(one.ended(sight.at, ending));
            }
            None => left.push(one),
        }
    }
    for drift in &sight.plan.drift {
        if left.iter().any(|one| is_same(drift, one)) {
            continue;
        }
        let episode = Episode {
            volume: sight.volume.clone(),
            generation: sight.generation,
            drift: drift.clone(),
            first_seen: sight.at,
            ended: None,
            who: None,
        };
        news.push(episode.clone());
        left.push(Open {
            last_seen: sight.at,
            ..Open::again(episode, None)
        });
    }
    *open = left;
    news
}

/// Notes that a step of ours was done that ends differences of this class.
pub fn undone(open: &mut [Open], class: DriftClass, intent: Option<IntentId>) {
    for one in open {
        if one.episode.drift.class == class {
            one.undone = Some(Ending::Healed { intent });
        }
    }
}

/// Whether a difference is the one of an episode. A step that is held up is listed by the block of
/// the spec that it is about, `spec.attachTo` for `spec.attachTo.vm`.
fn is_same(drift: &Drift, open: &Open) -> bool {
    let known = &open.episode.drift;
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    drift.class == known.class
        && (within(&drift.field, &known.field) || within(&known.field, &drift.field))
}

fn differs_otherwise(drift: &Drift, open: &Open) -> bool {
    let known = &open.episode.drift;
    drift.field == known.field
        && (drift.desired != known.desired || drift.observed != known.observed)
}

#[cfg(test)]
mod tests;
