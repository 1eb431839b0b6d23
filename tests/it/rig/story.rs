//! What happened, line by line, for people.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use volume_daemon::model::memory::Outcome;
use volume_daemon::reconcile::{Effect, Memo};

/// A story that is being told, or not.
#[derive(Debug, Clone, Default)]
pub struct Story(Option<Arc<Mutex<Lines>>>);

#[derive(Debug, Default)]
struct Lines {
    text: String,
    /// Looks at the outside since the last line.
    looks: usize,
}

impl Story {
    pub fn new(told: bool) -> Self {
        Self(told.then(Arc::default))
    }

    pub fn is_told(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a line, if anybody listens.
    pub fn add(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.0 {
            let line = line();
            let mut lines = guard(lines);
            lines.flush();
            let _ = writeln!(lines.text, "{line}");
        }
    }

    /// Adds an effect. Of those that only look, the number is told.
    pub fn add_effect(&self, effect: &Effect) {
        match (of(effect), &self.0) {
            (Some(line), _) => self.add(|| format!("           {line}")),
            (None, Some(lines)) => guard(lines).looks += 1,
            (None, None) => {}
        }
    }

    /// The story so far.
    pub fn text(&self) -> String {
        let Some(lines) = &self.0 else {
            return String::new();
        };
        let mut lines = guard(lines);
        lines.flush();
        lines.text.clone()
    }
}

impl Lines {
    fn flush(&mut self) {
        match std::mem::take(&mut self.looks) {
            0 => {}
            1 => self.text += "           it looks\n",
            looks => {
                let _ = writeln!(self.text, "           it looks {looks} times");
            }
        }
    }
}

/// A history that failed still has a story.
fn guard(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// An effect in one line, without ids that differ from run to run; `None`: it only looks.
fn of(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Act(name, step, _) => {
            let (kind, cause) = (step.action.kind(), step.cause);
            format!("{name}: {kind}, {cause:?}: {}", step.reason)
        }
        Effect::ObserveCloud(_)
        | Effect::PollJobs(_)
        | Effect::ObserveHost
        | Effect::ObserveNbd => return None,
        Effect::Settle(intent, outcome, _) => {
            let (name, kind) = (&intent.name, intent.action.kind());
            match outcome {
                Outcome::Failed { class, text } => {
                    format!("{name}: {kind} failed, {class:?}: {text}")
                }
                _ => format!("{name}: {kind} {}", outcome.as_str()),
            }
        }
        Effect::Remember(memo) => match memo {
            Memo::Resolutions(_) => "it remembers what names mean".to_owned(),
            Memo::Placements(_) => "it remembers where volumes are".to_owned(),
            Memo::Account(_) => "it remembers the account".to_owned(),
            Memo::Views(_) | Memo::Abandoned(_) | Memo::Episodes(_) => return None,
        },
    })
}
