//! The way of one volume to Ready, with the time of each step.

use std::time::Duration;

use crate::cli::output::{DIM, GOOD, PENDING};
use crate::model::memory::Outcome;
use crate::model::{Timestamp, VolumeName};
use crate::reconcile::report::{Phase, Report, VolumeStatus};
use crate::store::JournalRow;

/// How far a volume has come since a moment.
#[derive(Debug)]
pub struct Track {
    name: VolumeName,
    since: Timestamp,
    /// Calls that ended well: what, and after how long.
    calls: Vec<(&'static str, Duration)>,
    exported: Option<Duration>,
    ready: Option<Duration>,
    /// What is under way or waited for, in a word.
    now: String,
    /// The same as the daemon says it.
    message: String,
}

impl Track {
    /// Follows the volume `name` from `since` on.
    pub fn new(name: VolumeName, since: Timestamp) -> Self {
        Self {
            name,
            since,
            calls: Vec::new(),
            exported: None,
            ready: None,
            now: "…".to_owned(),
            message: "not seen yet".to_owned(),
        }
    }

    /// Takes note of what the daemon says: CloudStack calls with the times in the journal, the
    /// rest with the time of the first report that shows it.
    pub fn update(&mut self, report: &Report, journal: &[JournalRow]) {
        let mine =
            |row: &&JournalRow| row.intent.name == self.name && row.intent.created >= self.since;
        let journal: Vec<_> = journal.iter().filter(mine).collect();
        let open = journal.iter().find(|row| row.settled.is_none());
        let mut calls: Vec<_> = journal
            .iter()
            .filter_map(|row| match &row.settled {
                Some(end) if matches!(end.outcome, Outcome::Succeeded { .. }) => {
                    Some((row.intent.action.kind(), end.at.since(self.since)))
                }
                Some(_) | None => None,
            })
            .collect();
        calls.sort_by_key(|(_, took)| *took);
        self.calls = calls;
        let Some(volume) = report
            .volumes
            .iter()
            .find(|volume| volume.name == self.name)
        else {
            return;
        };
        let took = report.at.since(self.since);
        if volume.export.is_some() {
            self.exported.get_or_insert(took);
        }
        if volume.phase == Phase::Ready {
            self.ready.get_or_insert(took);
        }
        self.message = format!("{}: {}", self.name, volume.message);
        self.now = match open {
            Some(row) => format!("{}…", row.intent.action.kind()),
            None => now(volume),
        };
    }

    /// When it was Ready, if it is.
    pub fn ready(&self) -> Option<Duration> {
        self.ready
    }

    /// Why it is not Ready yet, if it is not.
    pub fn why_not(&self) -> Option<&str> {
        self.ready.is_none().then_some(&self.message)
    }

    /// The way so far in one line; names are padded to `width`.
    pub fn line(&self, width: usize) -> String {
        let step = |(kind, took): (&str, Duration)| format!("{kind} {DIM}{}{DIM:#}", brief(took));
        let mut steps: Vec<String> = self.calls.iter().copied().map(step).collect();
        steps.extend(self.exported.map(|took| step(("Export", took))));
        steps.push(match self.ready {
            Some(took) => format!("{GOOD}Ready{GOOD:#} {}", brief(took)),
            None => format!("{PENDING}{}{PENDING:#}", self.now),
        });
        format!("{:width$}  {}", self.name.as_str(), steps.join(" → "))
    }
}

/// The lines of several volumes.
pub fn lines(tracks: &[Track]) -> Vec<String> {
    let width = tracks.iter().map(|track| track.name.as_str().len()).max();
    tracks
        .iter()
        .map(|track| track.line(width.unwrap_or(0)))
        .collect()
}

fn now(volume: &VolumeStatus) -> String {
    let plan = &volume.plan;
    match (&plan.now, plan.held_by.first()) {
        (Some(step), _) => format!("{}…", step.kind),
        (None, Some(reason)) => reason.code.clone(),
        (None, None) => format!("{:?}", volume.phase),
    }
}

fn brief(span: Duration) -> String {
    let tenths = span.as_millis().div_ceil(100);
    format!("{}.{}s", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cli::fixture::{NOW, plain, progressing, ready, report};
    use crate::model::memory::{FailureClass, Intent, Progress};
    use crate::model::{Action, Cause, IntentId, Owner, VmId, VolumeId};
    use crate::store::Settled;

    fn call(name: &str, at_ms: u64, ended: Option<(u64, bool)>) -> JournalRow {
        let at = |ms| NOW.plus(Duration::from_millis(ms));
        JournalRow {
            intent: Intent {
                id: IntentId::new(Uuid::from_u128(at_ms.into())),
                name: name.parse().expect("a name"),
                generation: 1,
                action: Action::Attach {
                    volume: VolumeId::new(Uuid::from_u128(1)),
                    vm: VmId::new(Uuid::from_u128(2)),
                    device_id: None,
                },
                cause: Cause::Declared,
                created: at(at_ms),
                expires: at(at_ms + 1000),
                progress: Progress::Journalled,
            },
            owner: Owner::File("a.yaml".to_owned()),
            settled: ended.map(|(ms, good)| Settled {
                outcome: if good {
                    Outcome::Succeeded { created: None }
                } else {
                    Outcome::Failed {
                        class: FailureClass::Retry,
                        text: "no".to_owned(),
                    }
                },
                at: at(ms),
            }),
        }
    }

    #[test]
    fn only_what_happened_to_it_since_then_counts() {
        let since = NOW.plus(Duration::from_millis(100));
        let journal = [
            call("a", 800, Some((950, true))),
            call("a", 700, None),
            call("a", 300, Some((400, false))),
            call("a", 200, Some((250, true))),
            call("a", 0, Some((50, true))),
            call("b", 200, Some((220, true))),
        ];
        let mut track = Track::new("a".parse().expect("a name"), since);
        let mut first = report([progressing("a")]);
        first.at = NOW.plus(Duration::from_millis(960));
        track.update(&first, &journal);
        assert_eq!(track.ready(), None);
        let why = track.why_not().expect("not ready");
        assert_eq!(why, "a: next: attach the volume to VM pg");
        assert_eq!(
            plain(&track.line(3)),
            "a    Attach 0.2s → Attach 0.9s → Attach…"
        );
        let mut second = report([ready("a")]);
        second.at = NOW.plus(Duration::from_millis(1100));
        track.update(&second, &journal);
        let done = "a    Attach 0.2s → Attach 0.9s → Export 1.0s → Ready 1.0s";
        assert_eq!(plain(&track.line(3)), done);
        second.at = NOW.plus(Duration::from_secs(9));
        track.update(&second, &journal);
        assert_eq!(plain(&track.line(3)), done, "the first time counts");
        assert_eq!(track.ready(), Some(Duration::from_secs(1)));
        assert_eq!(track.why_not(), None);
    }

    #[test]
    fn names_are_padded_to_the_longest() {
        let track = |name: &str| Track::new(name.parse().expect("a name"), NOW);
        let lines = lines(&[track("a"), track("abc")]);
        assert_eq!(plain(&lines[0]), "a    …");
    }
}
