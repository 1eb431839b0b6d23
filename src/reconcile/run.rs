//! Runs the loop: carries out effects in tasks, feeds events back, answers questions.
//!
//! Cancel-safe: stopping drops the tasks; what they began is found again at the next start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::act::{Acted, Hands, LocalResult};
use crate::clock::{self, Clock};
use crate::cloudstack::Transport;
use crate::model::memory::{Approved, FailureClass, Outcome, Pause};
use crate::model::observed::NbdView;
use crate::model::{Now, VolumeId, VolumeName};
use crate::nbd::ExportServer;
use crate::plan::{Decision, Freeze};

use super::conditions::Transitions;
use super::core::{Core, Effect, Event, Memo};
use super::execute::{Seen, broken, execute};
use super::old::{Sight, sights};
use super::report::Report;
use super::status::{Situation, note, rolled_back, write};

/// A question to the running loop.
#[derive(Debug)]
pub enum Question {
    /// Everything there is to say.
    Report(oneshot::Sender<Report>),
    /// The same, and what is seen of every volume if exports are at this TCP port.
    Sights(u16, oneshot::Sender<(Report, BTreeMap<VolumeId, Sight>)>),
    /// Whether the loop can do its work.
    Health(oneshot::Sender<Health>),
    /// Look at everything now.
    Resync,
    /// Leave a spec, or everything (`None`), alone, or no longer (`None`). The store has it
    /// already.
    Pause(Option<VolumeName>, Option<Pause>),
    /// What the NBD server was last seen to serve, and when.
    Served(oneshot::Sender<NbdView>),
    /// What the guard holds back, if anything.
    Frozen(oneshot::Sender<Option<Freeze>>),
    /// Let these steps pass. The store has them already.
    Approve(BTreeMap<VolumeName, Approved>),
}

/// Whether the loop can do its work: one reason for each thing that it cannot do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Health {
    /// What is missing, a sentence each; empty when all is well.
    pub missing: Vec<String>,
}

/// The running loop.
pub struct Loop<T, E> {
    core: Core,
    hands: Arc<Hands<T, E>>,
    clock: Arc<dyn Clock>,
    events: mpsc::Receiver<Event>,
    questions: mpsc::Receiver<Question>,
    tasks: JoinSet<Event>,
    running: BTreeMap<Id, Effect>,
    transitions: Transitions,
    changed: Arc<Notify>,
    drifted: Arc<Notify>,
}

/// Longest the loop sleeps with nothing due: a safety net, not a pace.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

impl<T, E> Loop<T, E>
where
    T: Transport + 'static,
    E: ExportServer + 'static,
{
    /// A loop over `core` that hears of the outside through `events`.
    pub fn new(
        core: Core,
        hands: Arc<Hands<T, E>>,
        events: mpsc::Receiver<Event>,
        questions: mpsc::Receiver<Question>,
    ) -> Self {
        let clock = hands.clock.clone();
        Self {
            core,
            hands,
            clock,
            events,
            questions,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            transitions: Transitions::default(),
            changed: Arc::default(),
            drifted: Arc::default(),
        }
    }

    /// Told whenever the report may say something else of a volume or its source.
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Told whenever episodes of drift were stored.
    pub fn drifted(&self) -> Arc<Notify> {
        Arc::clone(&self.drifted)
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let now = self.clock.now();
            for effect in self.core.poll(now) {
                self.start(effect);
            }
            self.tell_changes();
            let sleep = match self.core.next_due(now) {
                Some(due) => due.since(now.boot).min(LONGEST_SLEEP),
                None => LONGEST_SLEEP,
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = self.tasks.join_next_with_id() => self.finished(done),
                Some(event) = self.events.recv() => self.handle(event),
                Some(question) = self.questions.recv() => self.answer(question),
                () = clock::sleep(sleep) => {}
            }
        }
        self.tasks.shutdown().await;
    }

    fn start(&mut self, effect: Effect) {
        if let Effect::Act(name, step, _) = &effect {
            tracing::info!(
                volume.name = %name,
                action = step.action.kind(),
                reason = step.reason,
                "{}", step.action
            );
        }
        let hands = Arc::clone(&self.hands);
        let seen = Seen::of(self.core.world());
        let copy = effect.clone();
        let task = async move { execute(&*hands, effect, seen).await };
        let id = self.tasks.spawn(task).id();
        self.running.insert(id, copy);
    }

    fn finished(&mut self, done: Result<(Id, Event), JoinError>) {
        match done {
            Ok((id, event)) => {
                self.running.remove(&id);
                self.handle(event);
            }
            Err(error) => {
                if let Some(effect) = self.running.remove(&error.id()) {
                    tracing::error!(error = %error, "a task broke off; please report this");
                    let now = self.clock.now();
                    let event = broken(effect, &error.to_string(), now.boot);
                    self.handle(event);
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        tell(&event);
        if let Event::Files(news) = &event
            && !(news.files.is_empty() && news.forgotten.is_empty())
        {
            self.changed.notify_one();
        }
        if let Event::Remembered(Memo::Episodes(_), Ok(())) = &event {
            self.drifted.notify_one();
        }
        let now = self.clock.now();
        self.core.handle(event, now);
    }

    fn answer(&mut self, question: Question) {
        let now = self.clock.now();
        match question {
            // Whoever asked may have gone; that is fine.
            Question::Report(to) => drop(to.send(self.report(now))),
            Question::Sights(port, to) => {
                let sights = sights(situation(&self.core), port);
                drop(to.send((self.report(now), sights)));
            }
            Question::Health(to) => drop(to.send(self.health())),
            Question::Resync => self.core.handle(Event::Resync, now),
            Question::Pause(name, pause) => {
                tell_pause(name.as_ref(), pause.as_ref(), now);
                self.core.handle(Event::Paused(name, pause), now);
            }
            Question::Served(to) => drop(to.send(self.core.world().observed.nbd.clone())),
            Question::Frozen(to) => drop(to.send(self.core.plan().guard.freeze.clone())),
            Question::Approve(steps) => {
                for (name, Approved { action, .. }) in &steps {
                    tracing::warn!(volume.name = %name, action = action.kind(), "approved: {action}");
                }
                self.core.handle(Event::Approved(steps), now);
            }
        }
    }

    fn report(&mut self, now: Now) -> Report {
        let mut report = write(situation(&self.core), &mut self.transitions, now);
        let untold = self.hands.store.untold();
        if let Some(store) = report.sources.iter_mut().find(|it| it.name == "store")
            && !untold.is_empty()
        {
            store.message.get_or_insert_with(|| untold.join("; "));
        }
        report
    }

    fn health(&self) -> Health {
        let world = self.core.world();
        let mut missing = Vec::new();
        let store = self.core.store_down().map(str::to_owned);
        if let Some(why) = store.or(rolled_back(world)) {
            missing.push(format!("store: {why}"));
        }
        if let Err(why) = &world.observed.cloud.listed {
            missing.push(format!("CloudStack: {why}"));
        }
        if let crate::model::Reading::Unknown(why) = &world.observed.host.disks {
            missing.push(format!("host: {why}"));
        }
        if let crate::model::Reading::Unknown(why) = &world.observed.nbd.exports {
            missing.push(format!("NBD server: {why}"));
        }
        Health { missing }
    }

    /// One line for each decision that changed what is, or is not, being done.
    fn tell_changes(&mut self) {
        for ghost in self.core.take_ghosts() {
            tracing::warn!(
                device = ghost.path,
                serial = ghost.serial.as_ref().map(tracing::field::display),
                reason = "GhostDevice",
                "{}",
                ghost.message.as_deref().unwrap_or_default()
            );
        }
        let now = self.clock.now();
        let changed = self.core.take_changed();
        if !changed.is_empty() {
            self.changed.notify_one();
        }
        for name in changed {
            note(situation(&self.core), &name, &mut self.transitions, now);
            if let Some(plan) = self.core.plan().volumes.get(&name) {
                tell_decision(&name, &plan.decision);
            }
        }
    }
}

fn situation(core: &Core) -> Situation<'_> {
    Situation {
        world: core.world(),
        plan: core.plan(),
        policy: core.policy(),
        files: core.files(),
        store_down: core.store_down(),
    }
}

fn tell_pause(name: Option<&VolumeName>, pause: Option<&Pause>, now: Now) {
    let what = name.map_or("everything", VolumeName::as_str);
    match pause {
        Some(Pause { until, reason }) => tracing::warn!(
            volume.name = name.map(tracing::field::display),
            seconds = until.since(now.boot).as_secs(),
            reason,
            "{what} is paused"
        ),
        None => tracing::warn!(
            volume.name = name.map(tracing::field::display),
            "{what} is no longer paused"
        ),
    }
}

fn tell_decision(name: &VolumeName, decision: &Decision) {
    match decision {
        Decision::InSync => tracing::info!(volume.name = %name, "in sync"),
        Decision::Released => tracing::info!(volume.name = %name, "released"),
        // Said when it is handed out.
        Decision::Act { .. } => {}
        Decision::Waiting { on, .. } => {
            tracing::info!(volume.name = %name, reason = on.reason(), "waiting: {}", on.message());
        }
        Decision::Blocked { by, .. } => {
            for by in by {
                tracing::warn!(volume.name = %name, reason = by.reason(), "blocked: {}", by.message());
            }
        }
        Decision::Observing { what, .. } => {
            tracing::debug!(volume.name = %name, "reading {what}");
        }
    }
}

/// One line for each outcome.
fn tell(event: &Event) {
    match event {
        Event::Acted(name, step, acted) => tell_acted(name, step.action.kind(), acted),
        Event::Settled(intent, outcome, _, Ok(())) => match outcome {
            Outcome::Succeeded { .. } => tracing::info!(
                volume.name = %intent.name, intent.id = %intent.id, action = intent.action.kind(),
                "done: {}", intent.action
            ),
            Outcome::Failed { text, .. } | Outcome::Lost { text } => tracing::warn!(
                volume.name = %intent.name, intent.id = %intent.id, action = intent.action.kind(),
                outcome = outcome.as_str(), "{} ended: {text}", intent.action
            ),
            Outcome::NeverSent => tracing::warn!(
                volume.name = %intent.name, intent.id = %intent.id, action = intent.action.kind(),
                outcome = outcome.as_str(), "{} never reached CloudStack", intent.action
            ),
        },
        Event::Settled(intent, _, _, Err(why)) => tracing::error!(
            volume.name = %intent.name, intent.id = %intent.id, error = why,
            "the end of an intent could not be written"
        ),
        Event::Remembered(_, Err(why)) => {
            tracing::error!(error = why, "what was learnt could not be written");
        }
        Event::Cloud(_, Err(unanswered)) | Event::Jobs(Err(unanswered)) => {
            let why = unanswered.why.as_str();
            match unanswered.retry_after {
                None => {
                    tracing::warn!(
                        error = why,
                        "CloudStack cannot be read; nothing is changed there"
                    );
                }
                Some(_) => tracing::info!(error = why, "CloudStack wants to be asked less often"),
            }
        }
        Event::Desired(_)
        | Event::Files(_)
        | Event::HostChanged
        | Event::Host(_)
        | Event::NbdChanged
        | Event::Nbd(_)
        | Event::Cloud(_, Ok(_))
        | Event::Jobs(Ok(_))
        | Event::Remembered(_, Ok(()))
        | Event::Resync
        | Event::Paused(..)
        | Event::Approved(_)
        // Said where it is renewed.
        | Event::Lease(_)
        | Event::Limits(_) => {}
    }
}

fn tell_acted(name: &VolumeName, kind: &'static str, acted: &Acted) {
    match acted {
        Acted::Open(_) => {}
        Acted::Ended(intent, outcome) => tracing::warn!(
            volume.name = %name, intent.id = %intent.id, action = kind,
            outcome = outcome.as_str(), "{} was refused", intent.action
        ),
        Acted::NotJournalled(_, why) => tracing::error!(
            volume.name = %name, action = kind, error = why,
            "the journal could not be written, so nothing was sent"
        ),
        Acted::NotSent(_, _, why) => {
            tracing::warn!(volume.name = %name, action = kind, "not sent: {why}");
        }
        Acted::Local(LocalResult::Done) => {
            tracing::info!(volume.name = %name, action = kind, "done");
        }
        Acted::Local(LocalResult::Failed(FailureClass::InUse, why)) => {
            tracing::info!(volume.name = %name, action = kind, "waiting for clients: {why}");
        }
        Acted::Local(LocalResult::Failed(_, why)) => {
            tracing::warn!(volume.name = %name, action = kind, "failed: {why}");
        }
    }
}
