//! What may happen next in the small world.

use super::check::Model;
use super::rule::{Choice, Ended};
use super::world::{
    Act, Age, Break, CREATE_BOUND, Call, Daemon, Event, Intent, NO_INTENT, OVERLAP, REBOUND, Row,
    SECOND_VOLUME, SENT_TWICE, STIRRING, Small, Stage, State, UNSAID, VMS, View, WIPED,
};

/// Calls for one spec that may be on their way at once.
const CALLS_MAX: usize = 2;

impl State {
    /// CloudStack as it is now.
    pub fn view(&self) -> View {
        let rows = self.rows.iter().enumerate();
        let job = |row| move |call: &Call| call.is_queued() && call.row() == Some(row);
        View {
            rows: rows
                .map(|(no, row)| (*row, self.calls.iter().any(job(no))))
                .collect(),
            stirring: self.stirring,
        }
    }

    fn id(&self) -> u8 {
        let intents = self.store.iter().filter_map(|stored| stored.intent);
        let used: Vec<u8> = intents
            .map(|intent| intent.id)
            .chain(self.calls.iter().map(|call| call.id))
            .collect();
        (0..).find(|id| !used.contains(id)).expect("few are used")
    }

    /// A look at everything, and what is learnt from it.
    fn look(&mut self) {
        let view = self.view();
        for (stored, wanted) in self.store.iter_mut().zip(&self.wanted) {
            // As `Core::agreed` does: found where the spec wants it.
            let row = stored.binding.map(|row| view.rows[row].0);
            if let (Some(row), None) = (row, stored.intent)
                && !row.gone
                && row.on == Some(*wanted)
            {
                stored.placement = row.on;
            }
        }
        self.daemon = Some(Daemon {
            view: Some(view),
            outdated: vec![false; self.store.len()],
        });
    }

    /// A daemon begins that has looked at nothing.
    fn start(&mut self, broken: Option<Break>) {
        self.daemon = Some(Daemon {
            view: None,
            outdated: vec![false; self.store.len()],
        });
        if broken == Some(Break::ForgetsBindings) {
            self.store
                .iter_mut()
                .for_each(|stored| stored.binding = None);
        }
    }

    /// The intent of a spec has ended.
    fn settle(&mut self, spec: usize, ended: Ended) {
        let Some(intent) = self.store[spec].intent.take() else {
            return;
        };
        self.judge.settle(spec, intent.act, ended);
        if let Some(daemon) = &mut self.daemon {
            daemon.outdated[spec] = true;
        }
        self.calls
            .retain(|call| call.id != intent.id || call.may_act());
    }

    /// A job does what it is for; whether it could.
    fn run(&mut self, at: usize, small: &Small) -> bool {
        let call = self.calls[at];
        match call.act {
            Act::Create => true,
            Act::Tag(row) => {
                self.rows[row].claimed = true;
                !self.rows[row].gone
            }
            Act::Attach(row, vm) => {
                let row_now = &mut self.rows[row];
                if row_now.gone || row_now.on.is_some() {
                    return false;
                }
                row_now.on = Some(vm);
                for other in &mut self.calls {
                    other.overtaken |= other.is_detach_of(row) && other.may_act();
                }
                true
            }
            // Whatever attachment there is by now (apache/cloudstack#14214).
            Act::Detach(row, _) => {
                let was = self.rows[row].on.take();
                if was.is_some() && call.overtaken {
                    small.note(self, WIPED);
                }
                was.is_some()
            }
        }
    }

    fn is_first_in_queue(&self, at: usize) -> bool {
        let queue = |call: &Call| match call.stage {
            Stage::Queued(vm) => vm,
            _ => None,
        };
        let own = queue(&self.calls[at]);
        own.is_none() || self.calls[..at].iter().all(|call| queue(call) != own)
    }
}

/// Collects what may happen.
struct Next<'a> {
    small: &'a Small,
    state: &'a State,
    all: Vec<(Event, State)>,
}

impl Next<'_> {
    fn add(&mut self, event: Event, change: impl FnOnce(&mut State)) {
        let is_trouble = self.small.is_trouble(&event);
        if is_trouble && self.state.troubles == 0 {
            return;
        }
        let mut after = self.state.clone();
        after.troubles -= u8::from(is_trouble);
        change(&mut after);
        self.small.judge(&mut after);
        self.all.push((event, after));
    }

    /// What the daemon does, or suffers.
    fn daemon(&mut self) {
        let (small, state) = (self.small, self.state);
        let Some(daemon) = &state.daemon else {
            return self.add(Event::Starts, |after| after.start(small.broken));
        };
        self.add(Event::Looks, State::look);
        self.add(Event::Crashes, |after| {
            after.daemon = None;
            after
                .calls
                .retain(|call| !(call.awaited && call.stage == Stage::Held));
            after.calls.iter_mut().for_each(|call| call.awaited = false);
        });
        if !state.taken_over {
            self.add(Event::IsReplaced, |after| {
                after.taken_over = true;
                after.calls.iter_mut().for_each(|call| call.awaited = false);
                after.start(small.broken);
            });
        }
        for spec in 0..state.store.len() {
            if let Some(view) = &daemon.view {
                match small.rule.decide(state, view, spec, small.broken) {
                    Choice::Act(act) => self.journal(view, spec, act),
                    Choice::Bind(row) => self.add(Event::Binds(spec), |after| {
                        after.store[spec].binding = Some(row);
                    }),
                    Choice::InSync | Choice::Stuck | Choice::Later => {}
                }
            }
            self.settle(spec);
        }
    }

    /// Journal first: what is decided is written before it is sent.
    fn journal(&mut self, view: &View, spec: usize, act: Act) {
        let (small, state) = (self.small, self.state);
        // With the rules as they are there is never more than one that may act.
        if state.calls.iter().filter(|call| call.spec == spec).count() >= CALLS_MAX {
            return;
        }
        let written = small.broken != Some(Break::SendsBeforeTheJournal);
        let call = Call {
            id: state.id(),
            spec,
            act,
            stage: if written { Stage::Held } else { Stage::Sent },
            made: None,
            awaited: true,
            expired: false,
            overtaken: false,
        };
        self.add(Event::Journals(call), |after| {
            after.calls.push(call);
            if written {
                after.store[spec].intent = Some(Intent::new(call, false));
            }
            if act == Act::Create && state.judge.first[spec].is_some() {
                small.note(after, CREATE_BOUND);
            }
            if call.vm().is_some_and(|vm| view.stirring[vm]) {
                small.note(after, STIRRING);
            }
        });
    }

    /// An intent is judged by what CloudStack says of its job.
    fn settle(&mut self, spec: usize) {
        let (small, state) = (self.small, self.state);
        let Some(intent) = state.store[spec].intent else {
            return;
        };
        let awaited = |call: &Call| call.id == intent.id && call.awaited;
        if state.calls.iter().any(awaited) {
            return;
        }
        let Some((ended, stored)) = small.rule.settle(state, spec, small.broken) else {
            return;
        };
        self.add(Event::Settles(spec, ended), |after| {
            after.settle(spec, ended);
            after.store[spec].binding = stored.binding;
            after.store[spec].placement = stored.placement;
        });
    }

    /// What happens to a call on its way, and in CloudStack.
    fn call(&mut self, at: usize) {
        let (small, call) = (self.small, self.state.calls[at]);
        match call.stage {
            Stage::Held => self.add(Event::Sends(call), |after| {
                after.calls[at].stage = Stage::Sent;
            }),
            Stage::Sent if call.expired => self.add(Event::IsRefused(call), |after| {
                after.calls.remove(at);
                if call.awaited {
                    after.settle(call.spec, Ended::Failed);
                }
            }),
            Stage::Sent => self.add(Event::IsAccepted(call), |after| {
                let mut others = after.calls.iter();
                if others.any(|other| other.is_accepted() && other.spec == call.spec) {
                    small.note(after, OVERLAP);
                }
                after.calls[at].stage = Stage::Accepted;
                if call.act == Act::Create {
                    after.calls[at].made = Some(after.rows.len());
                    after.rows.push(Row::new(call.spec));
                }
            }),
            Stage::Accepted => {
                self.add(Event::ShowsJob(call), |after| {
                    let mut call = after.calls.remove(at);
                    call.stage = match call.act {
                        Act::Attach(_, vm) => Stage::Queued(Some(vm)),
                        Act::Detach(row, _) => match after.rows[row].on {
                            Some(vm) => Stage::Queued(Some(vm)),
                            None => Stage::Failed,
                        },
                        Act::Create | Act::Tag(_) => Stage::Queued(None),
                    };
                    after.calls.push(call);
                });
                self.add(Event::RestartLoses(call, false), |after| {
                    after.calls.remove(at);
                });
            }
            Stage::Queued(_) => {
                if self.state.is_first_in_queue(at) {
                    self.add(Event::Runs(call), |after| {
                        let done = after.run(at, small);
                        after.calls[at].stage = if done { Stage::Done } else { Stage::Failed };
                    });
                }
                for took_effect in [false, true] {
                    self.add(Event::RestartLoses(call, took_effect), |after| {
                        if took_effect {
                            after.run(at, small);
                        }
                        after.calls[at].stage = Stage::Lost;
                        after.calls[at].awaited = false;
                        if small.broken == Some(Break::LostJobsGoOn) && !took_effect {
                            after.calls.push(Call {
                                stage: Stage::Ghost,
                                awaited: false,
                                ..call
                            });
                        }
                    });
                }
            }
            Stage::Ghost => self.add(Event::Runs(call), |after| {
                after.run(at, small);
                after.calls.remove(at);
            }),
            Stage::Done | Stage::Failed | Stage::Lost => {}
        }
        if call.awaited && call.stage != Stage::Held {
            self.answer(at);
        }
    }

    fn answer(&mut self, at: usize) {
        let (small, call) = (self.small, self.state.calls[at]);
        if !matches!(call.stage, Stage::Sent | Stage::Accepted) {
            self.add(Event::IsAnswered(call), |after| {
                after.calls[at].awaited = false;
                let late = small.broken == Some(Break::SendsBeforeTheJournal);
                match &mut after.store[call.spec].intent {
                    Some(intent) if intent.id == call.id => intent.answered = true,
                    intent if late => *intent = Some(Intent::new(call, true)),
                    _ => {}
                }
            });
        }
        self.add(Event::AnswerIsLost(call), |after| {
            after.calls[at].awaited = false;
            if small.broken == Some(Break::SendsAgain) {
                after.calls.push(Call {
                    stage: Stage::Sent,
                    ..call
                });
                small.note(after, SENT_TWICE);
            }
        });
    }

    /// Time, and other people.
    fn others(&mut self) {
        let state = self.state;
        for (spec, stored) in state.store.iter().enumerate() {
            if let Some(intent) = stored.intent {
                self.age(spec, intent);
            }
            if state.edits > 0 {
                self.add(Event::Edits(spec), |after| {
                    after.edits -= 1;
                    after.wanted[spec] = 1 - after.wanted[spec];
                });
            }
            if !self.small.others {
                continue;
            }
            let free = |row: &Row| row.spec == spec && row.on.is_none() && !row.gone;
            let busy = |call: &Call| call.spec == spec && call.is_accepted();
            if let Some(row) = state.rows.iter().position(free)
                && !state.calls.iter().any(busy)
            {
                self.add(Event::IsDeleted(spec), |after| after.rows[row].gone = true);
            }
        }
        for vm in (0..VMS).filter(|_| self.small.others) {
            if state.stirring[vm] {
                self.add(Event::VmRests(vm), |after| after.stirring[vm] = false);
            } else {
                self.add(Event::VmStirs(vm), |after| after.stirring[vm] = true);
            }
        }
    }

    fn age(&mut self, spec: usize, intent: Intent) {
        let expires = self.small.broken != Some(Break::NothingExpires);
        let hidden = |call: &Call| call.id == intent.id && call.stage == Stage::Accepted;
        let age = match intent.age {
            Age::Young => Age::Expired,
            Age::Expired if !self.state.calls.iter().any(hidden) => Age::Over,
            Age::Expired | Age::Over => return,
        };
        self.add(Event::Ages(spec, age), |after| {
            after.store[spec].intent = Some(Intent { age, ..intent });
            for call in &mut after.calls {
                call.expired |= expires && call.id == intent.id;
            }
        });
    }
}

impl Small {
    /// Takes note of something wrong, if that is looked for.
    fn note(&self, state: &mut State, what: &'static str) {
        if self.only.is_none_or(|only| only == what) {
            state.judge.wrong.get_or_insert(what);
        }
    }

    /// What can be seen of a state alone.
    fn judge(&self, state: &mut State) {
        let has_intent = |call: &Call| {
            let intents = state.store.iter().filter_map(|stored| stored.intent);
            intents.map(|intent| intent.id).any(|id| id == call.id)
        };
        if state
            .calls
            .iter()
            .any(|call| call.may_act() && !has_intent(call))
        {
            self.note(state, NO_INTENT);
        }
        for spec in 0..state.store.len() {
            let intent = state.store[spec].intent;
            let unsaid = |row: &Row| {
                row.spec == spec && !row.gone && !state.judge.is_said(spec, intent, row.on)
            };
            let unsaid = state.rows.iter().any(unsaid);
            let first = state.judge.first[spec];
            let ours = state.rows.iter().enumerate().filter(|(no, row)| {
                // One that was deleted before its create had ended was never known to be ours.
                row.spec == spec && (!row.gone || first == Some(*no))
            });
            if ours.count() > 1 {
                self.note(state, SECOND_VOLUME);
            }
            if unsaid {
                self.note(state, UNSAID);
            }
            let bound = state.store[spec].binding;
            let first = state.judge.first[spec].or(bound);
            state.judge.first[spec] = first;
            if bound.is_some() && bound != first {
                self.note(state, REBOUND);
            }
        }
    }
}

impl Model for Small {
    type State = State;
    type Event = Event;

    fn first(&self) -> State {
        let mut state = State::new(&self.there, self.troubles, self.edits);
        self.judge(&mut state);
        state
    }

    fn next(&self, state: &State) -> Vec<(Event, State)> {
        let mut next = Next {
            small: self,
            state,
            all: Vec::new(),
        };
        next.daemon();
        for at in 0..state.calls.len() {
            next.call(at);
        }
        next.others();
        next.all
    }

    fn is_trouble(&self, event: &Event) -> bool {
        match event {
            Event::AnswerIsLost(_)
            | Event::Crashes
            | Event::IsReplaced
            | Event::RestartLoses(..)
            | Event::VmStirs(_)
            | Event::IsDeleted(_) => true,
            Event::Looks
            | Event::Journals(_)
            | Event::Binds(_)
            | Event::Sends(_)
            | Event::IsRefused(_)
            | Event::IsAccepted(_)
            | Event::ShowsJob(_)
            | Event::IsAnswered(_)
            | Event::Runs(_)
            | Event::Settles(..)
            | Event::Ages(..)
            | Event::Starts
            | Event::VmRests(_)
            | Event::Edits(_) => false,
        }
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        state.judge.wrong
    }

    /// Nothing is under way, the daemon knows it, and every spec is in sync, or its volume was
    /// deleted, and somebody has to decide.
    fn is_rest(&self, state: &State) -> bool {
        let Some(Daemon {
            view: Some(view),
            outdated,
        }) = &state.daemon
        else {
            return false;
        };
        let open = state.store.iter().any(|stored| stored.intent.is_some());
        if open || !state.calls.is_empty() || outdated.contains(&true) || *view != state.view() {
            return false;
        }
        (0..state.store.len()).all(|spec| {
            let gone = |row: &Row| row.spec == spec && row.gone;
            match self.rule.decide(state, view, spec, self.broken) {
                Choice::InSync => true,
                Choice::Stuck => state.rows.iter().any(gone),
                Choice::Act(_) | Choice::Bind(_) | Choice::Later => false,
            }
        })
    }
}
