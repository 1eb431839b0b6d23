//! The state of the loop, and what each event changes in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::act::{Acted, LocalResult};
use crate::model::desired::{Generation, Origin};
use crate::model::memory::{
    AcceptedView, Approved, Binding, Failure, FailureClass, ImpliedStep, Intent, Memory, Outcome,
    Pause, Progress, Resolution,
};
use crate::model::observed::{Disks, HostView, NbdView};
use crate::model::{
    AccountMark, Action, BootTime, Cause, DesiredVolume, IntentId, JobId, Now, Observed, Presence,
    Reading, Serial, VmId, VolumeId, VolumeName,
};
use crate::observe::{CloudAnswer, CloudQuery, JobAnswer};
use crate::plan::episode::{Episode, Open};
use crate::plan::{Desired, DriftClass, Guard, Plan, Policy, Step, World};
use crate::store::{Effects, PlacementChange};

use super::asks::Asks;
use super::backoff;
use super::devices;
use super::episodes::Episodes;
use super::files::{FilesNews, SpecFiles};
use super::queue::Queue;
use super::report::HostDevice;
use super::settle;

/// How often a part of this machine that could not be read is tried again.
const ABSENT_RETRY: Duration = Duration::from_secs(1);

/// How long steps that nobody asked for in so many words are remembered.
const IMPLIED_WINDOW: Duration = Duration::from_secs(3600);
/// How soon the host is read again after something changed there. A link may go before its disk
/// does, and the disk then goes without an event.
const HOST_SETTLES: Duration = Duration::from_millis(100);

/// How often the outside is asked without an occasion, and how much is done at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Between two complete listings of CloudStack.
    pub resync: Duration,
    /// Between two looks at open jobs.
    pub jobs: Duration,
    /// Between two scans of the host and the NBD server without an event.
    pub rescan: Duration,
    /// How long CloudStack may accept a call after it was journalled.
    pub request_ttl: Duration,
    /// How much longer CloudStack may work on an accepted call before it shows.
    pub handling: Duration,
    /// Cloud actions under way at once.
    pub parallel: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            resync: Duration::from_secs(60),
            jobs: Duration::from_secs(1),
            rescan: Duration::from_secs(10),
            request_ttl: Duration::from_secs(60),
            handling: Duration::from_secs(60),
            parallel: 16,
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The sources were read.
    Desired(Desired),
    /// The spec files were looked at; what follows for the specs comes apart.
    Files(FilesNews),
    /// Something about this machine's disks changed; what, is not known yet.
    HostChanged,
    /// The host was read.
    Host(HostView),
    /// The NBD server changed or went away; what, is not known yet.
    NbdChanged,
    /// The NBD server was asked.
    Nbd(NbdView),
    /// CloudStack was asked.
    Cloud(CloudQuery, Result<Box<CloudAnswer>, Unanswered>),
    /// CloudStack was asked about jobs.
    Jobs(Result<BTreeMap<IntentId, JobAnswer>, Unanswered>),
    /// An action was carried out, as far as it goes.
    Acted(VolumeName, Box<Step>, Acted),
    /// An end was written to the journal; `Err` if the store refused.
    Settled(Box<Intent>, Outcome, Effects, Result<(), String>),
    /// A memo was written; `Err` if the store refused.
    Remembered(Memo, Result<(), String>),
    /// The lease on a store that is on a server was not renewed, or is again.
    Lease(Result<(), String>),
    /// Somebody asked for everything to be looked at now.
    Resync,
    /// A person paused a spec, or everything (`None`), or ended that; the store has it already.
    Paused(Option<VolumeName>, Option<Pause>),
    /// A person let steps pass that the guard froze.
    Approved(BTreeMap<VolumeName, Approved>),
    /// The limits were set anew.
    Limits(Box<(Policy, Pace)>),
}

/// CloudStack did not answer a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// Why not.
    pub why: String,
    /// It was only asked too often, and is to be asked again after this.
    pub retry_after: Option<Duration>,
}

/// Something to be carried out; each ends in one event.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Carry out a step. `Some` intent for every cloud action.
    Act(VolumeName, Box<Step>, Option<Box<Intent>>),
    /// Ask CloudStack.
    ObserveCloud(CloudQuery),
    /// Ask CloudStack about these jobs.
    PollJobs(Vec<(IntentId, JobId)>),
    /// Read the host.
    ObserveHost,
    /// Ask the NBD server.
    ObserveNbd,
    /// Write the end of an intent.
    Settle(Box<Intent>, Outcome, Effects),
    /// Write something learnt.
    Remember(Memo),
}

/// Something learnt that outlives a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memo {
    /// What the names in specs mean.
    Resolutions(Vec<(VolumeName, Resolution)>),
    /// What CloudStack said of bound volumes.
    Views(Vec<(VolumeId, AcceptedView)>),
    /// Where volumes were found as asked for.
    Placements(Vec<(VolumeId, VmId)>),
    /// Time that counted for abandoned specs.
    Abandoned(Vec<(VolumeName, Duration)>),
    /// The account that is used was seen to be the right one.
    Account(AccountMark),
    /// Episodes of drift that began or ended.
    Episodes(Vec<Episode>),
}

/// The state of the loop.
pub struct Core {
    pub(super) world: World,
    pub(super) policy: Policy,
    pub(super) pace: Pace,
    pub(super) plan: Plan,
    pub(super) queue: Queue,
    pub(super) replan: bool,
    /// Volumes whose next step is decided and waits for its lane.
    pub(super) ready: BTreeSet<VolumeName>,
    /// Volumes whose decision waits for a newer reading.
    pub(super) observing: BTreeSet<VolumeName>,
    /// Intents whose call has not come back.
    pub(super) sending: BTreeSet<IntentId>,
    /// Volumes with a local step under way.
    pub(super) local: BTreeSet<VolumeName>,
    /// Ends handed out to be written.
    pub(super) settling: BTreeSet<IntentId>,
    /// The last answer about the job of each open intent.
    pub(super) answers: BTreeMap<IntentId, JobAnswer>,
    /// Intents of which not even the journal is certain; nothing was sent.
    pub(super) unsent: BTreeSet<IntentId>,
    pub(super) asks: Asks,
    pub(super) unresolved: BTreeSet<VolumeName>,
    pub(super) counted_at: Option<BootTime>,
    /// Whether names may have become resolvable.
    pub(super) resolve: bool,
    /// Why the store cannot be written, while it cannot.
    pub(super) store_down: Option<StoreDown>,
    /// Volumes whose decision changed and was not reported yet.
    pub(super) changed: BTreeSet<VolumeName>,
    /// Learnt, and not handed out yet.
    pub(super) memos: Vec<Memo>,
    pub(super) episodes: Episodes,
    /// The spec files as they were last judged.
    pub(super) files: SpecFiles,
    /// Disks that CloudStack does not list here, as of its last listing.
    pub(super) ghosts: BTreeSet<Serial>,
    /// Of these, what was not told yet.
    pub(super) new_ghosts: Vec<HostDevice>,
    pub(super) random: fastrand::Rng,
}

/// The store refuses to be written.
#[derive(Debug)]
pub(super) struct StoreDown {
    pub why: String,
    /// How often in a row.
    pub attempts: u32,
    /// Not again before this.
    pub retry_at: BootTime,
}

impl Core {
    /// A loop that remembers `memory` and has looked at nothing yet.
    pub fn new(memory: Memory, policy: Policy, pace: Pace, seed: u64) -> Self {
        Self {
            world: World {
                desired: Desired::default(),
                observed: Observed::default(),
                memory,
            },
            policy,
            pace,
            plan: Plan {
                volumes: BTreeMap::new(),
                guard: Guard::default(),
            },
            queue: Queue::default(),
            replan: false,
            ready: BTreeSet::new(),
            observing: BTreeSet::new(),
            sending: BTreeSet::new(),
            local: BTreeSet::new(),
            settling: BTreeSet::new(),
            answers: BTreeMap::new(),
            unsent: BTreeSet::new(),
            asks: Asks::default(),
            unresolved: BTreeSet::new(),
            counted_at: None,
            resolve: true,
            store_down: None,
            changed: BTreeSet::new(),
            memos: Vec::new(),
            episodes: Episodes::default(),
            files: SpecFiles::default(),
            ghosts: BTreeSet::new(),
            new_ghosts: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Goes on with the episodes of drift that were open when the daemon last ran.
    pub fn restore(&mut self, open: Vec<Open>) {
        self.episodes.restore(open);
    }

    /// The world as far as it is known.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The decisions in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The spec files, for people to see.
    pub fn files(&self) -> &SpecFiles {
        &self.files
    }

    /// The limits in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Why the store cannot be written, while it cannot. Nothing in CloudStack is changed
    /// without a journal.
    pub fn store_down(&self) -> Option<&str> {
        self.store_down.as_ref().map(|down| down.why.as_str())
    }

    /// Whether nothing is under way: no step, no open call, no answer awaited.
    pub fn is_quiet(&self) -> bool {
        self.local.is_empty() && self.settling.is_empty() && self.world.memory.intents.is_empty()
    }

    /// Takes note of something that happened. What follows from it comes out of
    /// [`Core::poll`].
    pub fn handle(&mut self, event: Event, now: Now) {
        match event {
            Event::Desired(desired) => self.desired(desired, now),
            Event::Files(news) => self.files.apply(news),
            Event::HostChanged => self.asks.host.now(),
            Event::Host(view) => self.host(view, now),
            Event::NbdChanged => self.asks.nbd.now(),
            Event::Nbd(view) => self.nbd(view, now),
            Event::Cloud(query, answer) => self.cloud(query, answer, now),
            Event::Jobs(answers) => self.job_answers(answers, now),
            Event::Acted(name, step, acted) => self.acted(&name, *step, acted, now),
            Event::Settled(intent, outcome, effects, written) => {
                self.settling.remove(&intent.id);
                match written {
                    Ok(()) => self.settled(*intent, &outcome, &effects, now),
                    Err(why) => self.store_failed(why, now),
                }
            }
            Event::Remembered(memo, written) => self.remembered(memo, written, now),
            Event::Lease(Ok(())) => self.store_down = None,
            Event::Lease(Err(why)) => self.store_failed(why, now),
            Event::Resync => {
                self.asks.full.now();
                self.asks.host.now();
                self.asks.nbd.now();
                self.replan = true;
            }
            Event::Paused(name, pause) => self.paused(name, pause, now),
            Event::Approved(steps) => {
                self.world.memory.approved.extend(steps);
                self.replan = true;
            }
            Event::Limits(limits) => {
                (self.policy, self.pace) = *limits;
                self.replan = true;
            }
        }
    }

    fn paused(&mut self, name: Option<VolumeName>, pause: Option<Pause>, now: Now) {
        let pauses = &mut self.world.memory.pauses;
        match name {
            None => {
                pauses.all = pause;
                self.replan = true;
            }
            Some(name) => {
                self.queue.wake(&name, now.boot);
                match pause {
                    Some(pause) => drop(pauses.volumes.insert(name, pause)),
                    None => drop(pauses.volumes.remove(&name)),
                }
            }
        }
    }

    fn desired(&mut self, desired: Desired, now: Now) {
        if newly_abandoned(&self.world.desired, &desired) {
            // Time that was not counted yet is from before that.
            self.count_abandoned(now);
            self.counted_at = Some(now.boot);
        }
        let before = std::mem::replace(&mut self.world.desired, desired);
        keep_counts(&before, &mut self.world.desired);
        let mut changed: Vec<VolumeName> = Vec::new();
        for (name, want) in &self.world.desired.volumes {
            if before.volumes.get(name) != Some(want) {
                changed.push(name.clone());
            }
        }
        for name in before.volumes.keys() {
            if !self.world.desired.volumes.contains_key(name) {
                self.plan.volumes.remove(name);
                self.ready.remove(name);
                self.observing.remove(name);
            }
        }
        if before.files != self.world.desired.files {
            self.replan = true;
        }
        for name in changed {
            self.unresolved.insert(name.clone());
            self.resolve = true;
            self.world.memory.seen.insert(name.clone(), now.boot);
            self.ask_for_name(&name);
            self.queue.wake(&name, now.boot);
        }
    }

    /// A volume is only created if its name was read to be free since it was asked for.
    fn ask_for_name(&mut self, name: &VolumeName) {
        let want = self.world.desired.volumes.get(name);
        let origin = want.map(|want| &want.spec().origin);
        if let Some(Origin::Create { volume_name, .. }) = origin
            && !self.world.memory.bindings.contains_key(name)
        {
            self.asks.some.names.insert(volume_name.clone());
        }
    }

    fn host(&mut self, view: HostView, now: Now) {
        let before = std::mem::replace(&mut self.world.observed.host, view);
        self.note_appeared();
        let view = &self.world.observed.host;
        let changed = changed_serials(&before, view);
        let pause = if changed.is_empty() {
            self.pace.rescan
        } else {
            self.pace.rescan.min(HOST_SETTLES)
        };
        self.asks.host.answered(now.boot.plus(pause));
        if view.self_vm != before.self_vm || !same_kind(&view.disks, &before.disks) {
            self.replan = true;
        }
        if changed.is_empty() {
            return self.wake_observing(now);
        }
        // What is served is compared with the disks, so it is asked again; and CloudStack
        // knows why a disk came or went.
        self.asks.nbd.now();
        for (name, binding) in &self.world.memory.bindings {
            if changed.contains(&Serial::of(binding.volume)) {
                self.asks.some.volumes.insert(binding.volume);
                self.queue.wake(name, now.boot);
            }
        }
        self.wake_observing(now);
    }

    /// Notes since when each disk is here. One that CloudStack is not known to have plugged in is a
    /// reason to ask it.
    fn note_appeared(&mut self) {
        let HostView { disks, begun, .. } = &self.world.observed.host;
        let Reading::Present(disks) = disks else {
            return;
        };
        let serials = disks.devices.values();
        let here: BTreeSet<&Serial> = serials
            .filter_map(|device| device.serial.as_ref())
            .collect();
        let appeared = &mut self.world.memory.appeared;
        appeared.retain(|serial, _| here.contains(serial));
        let bindings = self.world.memory.bindings.values();
        let bound: BTreeSet<Serial> = bindings.map(|binding| Serial::of(binding.volume)).collect();
        for serial in here {
            if appeared.contains_key(serial) {
                continue;
            }
            appeared.insert(serial.clone(), *begun);
            if !bound.contains(serial) && devices::is_cloudstacks(serial) {
                self.asks.full.now();
            }
        }
    }

    /// Disks that turned out to be listed by nobody since this was last asked.
    pub fn take_ghosts(&mut self) -> Vec<HostDevice> {
        std::mem::take(&mut self.new_ghosts)
    }

    /// Looks for disks that CloudStack does not list here.
    pub(super) fn note_ghosts(&mut self) {
        let ghosts: Vec<HostDevice> = devices::ghosts(&self.world).collect();
        let serials = ghosts.iter().filter_map(|ghost| ghost.serial.clone());
        let known = std::mem::replace(&mut self.ghosts, serials.collect());
        let is_new =
            |ghost: &HostDevice| ghost.serial.as_ref().is_some_and(|it| !known.contains(it));
        self.new_ghosts.extend(ghosts.into_iter().filter(is_new));
    }

    fn nbd(&mut self, mut view: NbdView, now: Now) {
        let nbd = &mut self.world.observed.nbd;
        view.last_known = match &view.exports {
            Reading::Present(exports) => exports.clone(),
            Reading::Absent | Reading::Unknown(_) => std::mem::take(&mut nbd.last_known),
        };
        let before = std::mem::replace(nbd, view);
        let known = matches!(self.world.observed.nbd.exports, Reading::Present(_));
        let pause = if known {
            self.pace.rescan
        } else {
            self.pace.rescan.min(ABSENT_RETRY)
        };
        self.asks.nbd.answered(now.boot.plus(pause));
        if before.exports != self.world.observed.nbd.exports {
            self.replan = true;
        }
        self.wake_observing(now);
    }

    /// Wakes the volumes that wait for a newer reading.
    pub(super) fn wake_observing(&mut self, now: Now) {
        for name in std::mem::take(&mut self.observing) {
            self.queue.wake(&name, now.boot);
        }
    }

    fn job_answers(
        &mut self,
        answers: Result<BTreeMap<IntentId, JobAnswer>, Unanswered>,
        now: Now,
    ) {
        self.asks.jobs.answered(now.boot.plus(self.pace.jobs));
        match answers {
            Ok(answers) => self.answers.extend(answers),
            Err(Unanswered {
                retry_after: Some(wait),
                ..
            }) => self.asks.pause(now.boot.plus(wait)),
            Err(Unanswered { why, .. }) => self.cloud_down(why, now),
        }
    }

    fn acted(&mut self, name: &VolumeName, step: Step, acted: Acted, now: Now) {
        match acted {
            Acted::Open(intent) => {
                self.journalled(name, &step, &intent, now);
                self.world.memory.intents.insert(name.clone(), *intent);
                // Its job is looked at after a short while, not at once: it has just begun.
                self.asks.jobs.due = Some(now.boot.plus(self.pace.jobs));
            }
            Acted::Ended(intent, outcome) => {
                self.journalled(name, &step, &intent, now);
                self.settled(*intent, &outcome, &Effects::default(), now);
            }
            Acted::NotJournalled(intent, why) => {
                // A write that failed may be there all the same, so its end is written too.
                self.sending.remove(&intent.id);
                self.unsent.insert(intent.id);
                self.store_failed(why, now);
            }
            Acted::NotSent(intent, class, text) => {
                self.sending.remove(&intent.id);
                self.world.memory.intents.remove(name);
                self.fail(name, &step.action, intent.generation, (class, text), now);
            }
            Acted::Local(result) => {
                self.local.remove(name);
                self.acted_locally(name, &step, result, now);
            }
        }
        self.queue.wake(name, now.boot);
    }

    fn journalled(&mut self, name: &VolumeName, step: &Step, intent: &Intent, now: Now) {
        self.sending.remove(&intent.id);
        self.store_down = None;
        self.note_implied(step, name, now);
    }

    fn acted_locally(&mut self, name: &VolumeName, step: &Step, result: LocalResult, now: Now) {
        match result {
            LocalResult::Done => {
                if matches!(step.action, Action::Bind { .. }) {
                    self.store_down = None;
                }
                self.world.memory.failures.remove(name);
                let class = DriftClass::of(&step.action);
                self.episodes.undone(name, class, None);
                self.apply_local(name, &step.action, now);
            }
            LocalResult::Failed(class, text) => {
                let generation = self.generation(name);
                self.fail(name, &step.action, generation, (class, text), now);
            }
        }
        match step.action {
            Action::Export { .. } | Action::Withdraw { .. } => {
                self.asks.host.now();
                self.asks.nbd.now();
            }
            Action::Create { .. }
            | Action::Tag { .. }
            | Action::Bind { .. }
            | Action::Grow { .. }
            | Action::Attach { .. }
            | Action::Detach { .. }
            | Action::Delete { .. } => {}
        }
    }

    /// What a local step that was done changes in what is remembered; the store has it already.
    fn apply_local(&mut self, name: &VolumeName, action: &Action, now: Now) {
        match action {
            Action::Bind { volume, claim } => {
                let binding = Binding {
                    volume: *volume,
                    uid: claim.spec,
                    mark: claim.mark,
                };
                self.world.memory.bindings.insert(name.clone(), binding);
            }
            Action::Export { export, volume, .. } => {
                let memory = &mut self.world.memory;
                memory.served.insert(name.clone(), now.boot);
                memory.export_names.insert(export.clone(), *volume);
            }
            Action::Withdraw { export, .. } => {
                self.world.memory.served.insert(name.clone(), now.boot);
                self.world.observed.nbd.last_known.remove(export);
            }
            Action::Create { .. }
            | Action::Tag { .. }
            | Action::Grow { .. }
            | Action::Attach { .. }
            | Action::Detach { .. }
            | Action::Delete { .. } => {}
        }
    }

    fn note_implied(&mut self, step: &Step, name: &VolumeName, now: Now) {
        let owner = self
            .world
            .desired
            .volumes
            .get(name)
            .map(|want| want.owner.clone());
        let implied = &mut self.world.memory.implied;
        implied.retain(|step| now.boot.since(step.at) < IMPLIED_WINDOW);
        if let (false, Some(owner)) = (step.cause == Cause::Declared, owner) {
            implied.push(ImpliedStep {
                name: name.clone(),
                kind: step.action.kind().to_owned(),
                cause: step.cause,
                owner,
                at: now.boot,
            });
        }
    }

    /// An intent's end is known and written.
    fn settled(&mut self, intent: Intent, outcome: &Outcome, effects: &Effects, now: Now) {
        let name = intent.name.clone();
        self.store_down = None;
        let memory = &mut self.world.memory;
        memory.intents.remove(&name);
        memory.settled.insert(name.clone(), now.boot);
        self.answers.remove(&intent.id);
        self.unsent.remove(&intent.id);
        if let Some(binding) = effects.binding {
            memory.bindings.insert(name.clone(), binding);
        }
        match effects.placement {
            Some(PlacementChange::Put(volume, vm)) => {
                memory.placements.insert(volume, vm);
            }
            Some(PlacementChange::Forget(volume)) => {
                memory.placements.remove(&volume);
                memory.vanished.remove(&volume);
            }
            None => {}
        }
        if let (Action::Delete { volume, .. }, Outcome::Succeeded { .. } | Outcome::Lost { .. }) =
            (&intent.action, outcome)
        {
            memory.deleted.insert(*volume);
        }
        if let Outcome::Succeeded { .. } = outcome {
            let class = DriftClass::of(&intent.action);
            self.episodes.undone(&name, class, Some(intent.id));
        }
        match settle::failure_of(outcome) {
            None => {
                self.world.memory.failures.remove(&name);
            }
            Some(failure) => {
                self.fail(&name, &intent.action, intent.generation, failure, now);
            }
        }
        self.look_again(&name, intent.action.volume(), now);
    }

    /// After a change, only readings begun later count: asks for them.
    fn look_again(&mut self, name: &VolumeName, volume: Option<VolumeId>, now: Now) {
        let bound = self
            .world
            .memory
            .bindings
            .get(name)
            .map(|binding| binding.volume);
        match bound.or(volume) {
            Some(volume) => {
                self.asks.some.volumes.insert(volume);
            }
            None => self.asks.full.now(),
        }
        self.asks.host.now();
        self.queue.wake(name, now.boot);
    }

    pub(super) fn generation(&self, name: &VolumeName) -> Generation {
        let want = self.world.desired.volumes.get(name);
        want.map_or(0, |want| want.generation)
    }

    /// Notes that a step of `generation` failed. What was edited since is a new attempt.
    fn fail(
        &mut self,
        name: &VolumeName,
        action: &Action,
        generation: Generation,
        (class, text): (FailureClass, String),
        now: Now,
    ) {
        let kind = action.kind();
        let failures = &mut self.world.memory.failures;
        let before = failures
            .get(name)
            .filter(|before| before.kind == kind && before.generation == generation);
        let since = before.map_or(now.boot, |before| before.since);
        let attempts = before.map_or(1, |before| before.attempts.saturating_add(1));
        let wait = backoff::delay(class, attempts, self.random.f64());
        failures.insert(
            name.clone(),
            Failure {
                kind: kind.to_owned(),
                generation,
                class,
                text,
                attempts,
                since,
                at: now.wall,
                retry_at: now.boot.plus(wait),
            },
        );
    }

    fn remembered(&mut self, memo: Memo, written: Result<(), String>, now: Now) {
        // No call waits for an episode to be written, so that it cannot is no trouble of theirs.
        let memo = match memo {
            Memo::Episodes(batch) => return self.episodes.written(batch, written.is_ok(), now),
            memo => memo,
        };
        if let Err(why) = written {
            // Counts go on and are written again; an old one must not outlive the return of
            // its spec.
            if !matches!(memo, Memo::Abandoned(_)) {
                self.memos.push(memo);
            }
            return self.store_failed(why, now);
        }
        self.store_down = None;
        if let Memo::Resolutions(found) = memo {
            for (name, resolution) in found {
                self.queue.wake(&name, now.boot);
                self.world.memory.resolutions.insert(name, resolution);
            }
        }
    }

    /// The store is left alone for a while: an error in a hot loop helps nobody.
    fn store_failed(&mut self, why: String, now: Now) {
        let attempts = self
            .store_down
            .as_ref()
            .map_or(1, |down| down.attempts.saturating_add(1));
        let wait = backoff::delay(FailureClass::Retry, attempts, self.random.f64());
        self.store_down = Some(StoreDown {
            why,
            attempts,
            retry_at: now.boot.plus(wait),
        });
    }

    /// Whether the store may be written now.
    pub(super) fn may_write(&self, now: Now) -> bool {
        self.store_down
            .as_ref()
            .is_none_or(|down| down.retry_at <= now.boot)
    }

    /// A new intent for `step`, not written yet.
    pub(super) fn intent(&mut self, name: &VolumeName, step: &Step, now: Now) -> Intent {
        let server = self.world.observed.cloud.server_time;
        let there = server.map_or(now.wall, |(at, read)| at.plus(now.boot.since(read)));
        let random = self.random.u128(..).to_be_bytes();
        Intent {
            id: IntentId::new(uuid::Builder::from_random_bytes(random).into_uuid()),
            name: name.clone(),
            generation: self.generation(name),
            action: step.action.clone(),
            cause: step.cause,
            created: now.wall,
            expires: there.plus(self.pace.request_ttl),
            progress: Progress::Journalled,
        }
    }
}

/// Whether a spec is abandoned that was not before.
fn newly_abandoned(before: &Desired, after: &Desired) -> bool {
    let is_abandoned = |want: &DesiredVolume| matches!(want.presence, Presence::Abandoned { .. });
    let was_abandoned = |name| before.volumes.get(name).is_some_and(is_abandoned);
    let mut after = after.volumes.iter();
    after.any(|(name, want)| is_abandoned(want) && !was_abandoned(name))
}

/// The loop counts the time of abandoned specs; what a source last read of it is older.
fn keep_counts(before: &Desired, after: &mut Desired) {
    for (name, want) in &mut after.volumes {
        let known = before.volumes.get(name).map(|known| known.presence);
        if let (Presence::Abandoned { counted }, Some(Presence::Abandoned { counted: so_far })) =
            (&mut want.presence, known)
        {
            *counted = so_far.max(*counted);
        }
    }
}

fn same_kind<T>(left: &Reading<T>, right: &Reading<T>) -> bool {
    std::mem::discriminant(left) == std::mem::discriminant(right)
}

/// Serials whose disk, or link, came, went or changed.
fn changed_serials(before: &HostView, after: &HostView) -> BTreeSet<Serial> {
    let empty = Disks::default();
    let disks = |view: &HostView| match &view.disks {
        Reading::Present(disks) => disks.clone(),
        Reading::Absent | Reading::Unknown(_) => empty.clone(),
    };
    let (before, after) = (disks(before), disks(after));
    if before == after {
        return BTreeSet::new();
    }
    let serials = before.devices.values().chain(after.devices.values());
    serials
        .filter_map(|device| device.serial.clone())
        .filter(|serial| {
            let seen = |disks: &Disks| {
                let devices: Vec<_> = disks.with_serial(serial).cloned().collect();
                let link = disks
                    .link_for(serial)
                    .map(|(link, device)| (link.to_owned(), device.kernel_name.clone()));
                (devices, link)
            };
            seen(&before) != seen(&after)
        })
        .collect()
}
