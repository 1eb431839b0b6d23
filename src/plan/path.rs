//! The path that the stages of a decision build: what is first decides what happens now.

use crate::model::{Action, Cause};

use super::drift::Drift;
use super::reason::{Blocked, Waiting};
use super::{Ahead, Reread, Step};

/// What was collected so far.
#[derive(Default)]
pub(super) struct Path {
    pub first: Option<First>,
    pub then: Vec<Ahead>,
    pub drift: Vec<Drift>,
}

pub(super) enum First {
    Step(Step),
    Waiting(Waiting),
    Blocked(Vec<Blocked>),
    Observing(String, Vec<Reread>),
}

impl Path {
    /// Whether nothing is in the way of what follows, nor to be done before it.
    pub fn is_clear(&self) -> bool {
        self.first.is_none()
    }

    pub fn step(&mut self, action: Action, cause: Cause, reason: impl Into<String>) {
        let step = Step {
            action,
            cause,
            reason: reason.into(),
        };
        match &self.first {
            None => self.first = Some(First::Step(step)),
            // Two stages may want the same, for instance an export withdrawn.
            Some(First::Step(first)) if first.action == step.action => {}
            Some(_) => {
                let step = Ahead::from(step);
                if !self.then.iter().any(|ahead| ahead.text == step.text) {
                    self.then.push(step);
                }
            }
        }
    }

    /// A step whose details are not known before the ones in front of it are done.
    pub fn ahead(
        &mut self,
        kind: &'static str,
        text: impl Into<String>,
        reason: impl Into<String>,
    ) {
        self.then.push(Ahead {
            kind,
            text: text.into(),
            reason: reason.into(),
        });
    }

    pub fn wait(&mut self, on: Waiting) {
        self.first.get_or_insert(First::Waiting(on));
    }

    pub fn observe(&mut self, what: impl Into<String>, reread: Reread) {
        let first = First::Observing(what.into(), vec![reread]);
        self.first.get_or_insert(first);
    }

    /// Waits for something that is being read or written already.
    pub fn observe_on(&mut self, what: impl Into<String>) {
        let first = First::Observing(what.into(), Vec::new());
        self.first.get_or_insert(first);
    }

    pub fn block(&mut self, by: Blocked) {
        match &mut self.first {
            None => self.first = Some(First::Blocked(vec![by])),
            Some(First::Blocked(all)) => all.push(by),
            // What is in front can still be done; this shows up when it is its turn.
            Some(First::Step(_) | First::Waiting(_) | First::Observing(..)) => {}
        }
    }

    pub fn drift(&mut self, drift: Drift) {
        self.drift.push(drift);
    }
}
