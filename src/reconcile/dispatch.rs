//! From what is known to what is done next: decides the volumes that are due, hands out
//! their steps as lanes allow, and asks for what is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::desired::{DesiredVolume, Owner, Presence};
use crate::model::memory::{Intent, Outcome, Progress};
use crate::model::{Action, BootTime, Now, Reading, VolumeName, WithdrawMode};
use crate::observe::CloudQuery;
use crate::plan::episode::Sight;
use crate::plan::{
    Decision, Index, SourceHealth, VolumePlan, Waiting, decide, grace, is_implied, plan, resolve,
};

use super::core::{Core, Effect, Memo};
use super::settle::{self, Verdict};

/// Volumes read again by id in one query; more wait for the next. Keeps a view that lost
/// everything from turning into a flood of look-ups.
const IDS_AT_ONCE: usize = 200;
/// VMs read by id in one query.
const VMS_AT_ONCE: usize = 50;
/// Names looked up one by one; for more, everything is listed.
const NAMES_AT_ONCE: usize = 8;
/// How often the time that counts for abandoned specs is written down.
const COUNT_STEP: Duration = Duration::from_secs(1);

impl Core {
    /// What is to be carried out now. Call again after every event, and at
    /// [`Core::next_due`].
    pub fn poll(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.count_abandoned(now);
        self.resolve_names();
        self.judge_intents(&mut effects, now);
        self.decide_due(now);
        self.dispatch(&mut effects, now);
        self.ask(&mut effects, now);
        if self.may_write(now) {
            effects.extend(self.memos.drain(..).map(Effect::Remember));
            let episodes = self.episodes.take(now);
            effects.extend(episodes.map(|batch| Effect::Remember(Memo::Episodes(batch))));
        }
        effects
    }

    /// When [`Core::poll`] has something to do without an event, after it was called at `now`.
    /// What was due by then was handed out, or waits for an event.
    pub fn next_due(&self, now: Now) -> Option<BootTime> {
        let asks = &self.asks;
        let jobs = self.has_jobs_to_ask().then_some(&asks.jobs);
        [Some(&asks.full), Some(&asks.host), Some(&asks.nbd), jobs]
            .into_iter()
            .flatten()
            .filter(|ask| !ask.asked)
            .filter_map(|ask| ask.due)
            .chain([asks.paused])
            .chain(self.queue.next())
            .chain(self.store_down.as_ref().map(|down| down.retry_at))
            .chain(self.episodes.due())
            .filter(|due| *due > now.boot)
            .min()
    }

    /// Adds the time since the last count to every abandoned spec, if it may count.
    pub(super) fn count_abandoned(&mut self, now: Now) {
        let before = *self.counted_at.get_or_insert(now.boot);
        // A loop that slept, or a machine that was suspended, saw nothing of that time.
        let elapsed = now.boot.since(before).min(COUNT_STEP * 2);
        if elapsed < COUNT_STEP {
            return;
        }
        self.counted_at = Some(now.boot);
        let files = &self.world.desired.files;
        let freeze = self.plan.guard.freeze.as_ref();
        let counts = |want: &DesiredVolume| {
            let is_read = match want.owner {
                Owner::File(_) => *files == SourceHealth::Sound,
                Owner::Db(_) | Owner::Api => *files != SourceHealth::Unread,
            };
            is_read && !freeze.is_some_and(|freeze| freeze.covers(want))
        };
        let mut counted = Vec::new();
        for (name, want) in &mut self.world.desired.volumes {
            if !counts(want) {
                continue;
            }
            let grace = grace(want.spec(), &self.policy);
            if let Presence::Abandoned { counted: so_far } = &mut want.presence
                && *so_far < grace
            {
                *so_far = so_far.saturating_add(elapsed);
                counted.push((name.clone(), *so_far));
            }
        }
        for (name, _) in &counted {
            self.queue.wake(name, now.boot);
        }
        // Counts are totals: one that cannot be written now is part of the next.
        if !counted.is_empty() && self.may_write(now) {
            self.memos.push(Memo::Abandoned(counted));
        }
    }

    /// Resolves the names of every generation that is not resolved yet, once.
    fn resolve_names(&mut self) {
        if !std::mem::take(&mut self.resolve) {
            return;
        }
        let world = &self.world;
        let mut found = Vec::new();
        self.unresolved.retain(|name| {
            let Some(want) = world.desired.volumes.get(name) else {
                return false;
            };
            let known = world.memory.resolutions.get(name);
            if known.is_some_and(|known| known.generation == want.generation) {
                return false;
            }
            match resolve(want, &world.observed) {
                Ok(Some(resolution)) => {
                    found.push((name.clone(), resolution));
                    false
                }
                Ok(None) | Err(_) => true,
            }
        });
        if !found.is_empty() {
            self.memos.push(Memo::Resolutions(found));
        }
    }

    /// Ends every open intent whose end is known.
    fn judge_intents(&mut self, effects: &mut Vec<Effect>, now: Now) {
        if !self.may_write(now) {
            return;
        }
        let mut undecided = Vec::new();
        for (name, intent) in &self.world.memory.intents {
            if self.sending.contains(&intent.id) || self.settling.contains(&intent.id) {
                continue;
            }
            let verdict = if self.unsent.contains(&intent.id) {
                Verdict::Ended(Outcome::NeverSent)
            } else if let Some(answer) = self.answers.get(&intent.id) {
                settle::judge(&self.world, intent, answer, self.pace.handling)
            } else {
                continue;
            };
            match verdict {
                Verdict::Open => {}
                Verdict::NeedsName(name) => drop(self.asks.some.names.insert(name)),
                Verdict::NeedsVolume(volume) => drop(self.asks.some.volumes.insert(volume)),
                Verdict::Undecided(candidates) => undecided.push((name.clone(), candidates)),
                Verdict::Ended(outcome) => {
                    // Without its spec it cannot be said what a success means; it stays open.
                    let want = self.world.desired.volumes.get(name);
                    let Some(uid) = want.map(|want| want.uid) else {
                        continue;
                    };
                    let settled = settle::effects(intent, &outcome, uid);
                    self.settling.insert(intent.id);
                    let intent = Box::new(intent.clone());
                    effects.push(Effect::Settle(intent, outcome, settled));
                }
            }
        }
        for (name, candidates) in undecided {
            if let Some(intent) = self.world.memory.intents.get_mut(&name) {
                intent.progress = Progress::Undecided(candidates);
            }
        }
    }

    /// Decides every volume that is due; all of them if something changed for all.
    fn decide_due(&mut self, now: Now) {
        let due = self.queue.take_due(now.boot);
        if !std::mem::take(&mut self.replan) {
            let mut decided = Vec::with_capacity(due.len());
            {
                let index = Index::new(&self.world);
                for name in due {
                    if let Some(want) = self.world.desired.volumes.get(&name) {
                        let plan = decide(&self.world, &index, &self.policy, want, now);
                        decided.push((name, plan));
                    }
                }
            }
            let implied = decided.iter().any(|(_, plan)| match &plan.decision {
                Decision::Act { now, .. } => is_implied(now),
                Decision::InSync
                | Decision::Released
                | Decision::Waiting { .. }
                | Decision::Blocked { .. }
                | Decision::Observing { .. } => false,
            });
            if !implied {
                for (name, plan) in decided {
                    self.record(name, plan, now);
                }
                return;
            }
        }
        // The guard judges whole plans only.
        let whole = plan(&self.world, &self.policy, &self.plan.guard, now);
        self.plan.guard = whole.guard;
        for (name, plan) in whole.volumes {
            self.record(name, plan, now);
        }
    }

    fn record(&mut self, name: VolumeName, plan: VolumePlan, now: Now) {
        self.ready.remove(&name);
        self.observing.remove(&name);
        match &plan.decision {
            Decision::Act { .. } => {
                self.ready.insert(name.clone());
            }
            Decision::Observing { reread, .. } => {
                reread.iter().for_each(|reread| self.asks.reread(reread));
                self.observing.insert(name.clone());
            }
            Decision::Waiting { on, .. } => {
                if let Some(until) = on.until() {
                    self.queue.wake(&name, until);
                }
                if let Waiting::Grace { .. } = on {
                    self.queue.wake(&name, now.boot.plus(COUNT_STEP));
                }
            }
            Decision::InSync | Decision::Released | Decision::Blocked { .. } => {}
        }
        // Whatever is decided, a failed step is looked at again when it is due.
        let failure = self.world.memory.failures.get(&name);
        if let Some(retry_at) = failure.map(|failure| failure.retry_at)
            && retry_at > now.boot
        {
            self.queue.wake(&name, retry_at);
        }
        self.follow_drift(&name, &plan, now);
        let is_news = self
            .plan
            .volumes
            .get(&name)
            .is_none_or(|before| *before != plan && !counts_down(before, &plan));
        if is_news {
            self.changed.insert(name.clone());
        }
        self.plan.volumes.insert(name, plan);
    }

    /// Notes which differences came and went.
    fn follow_drift(&mut self, name: &VolumeName, plan: &VolumePlan, now: Now) {
        if plan.drift.is_empty() && !self.episodes.has_open(name) {
            return;
        }
        let memory = &self.world.memory;
        let settled = memory.settled.get(name).copied();
        let cloud = &self.world.observed.cloud;
        let is_read = memory.bindings.get(name).is_none_or(|binding| {
            let seen = cloud.volume(binding.volume, settled);
            !matches!(seen, Reading::Unknown(_))
        });
        self.episodes.follow(&Sight {
            volume: name,
            generation: self.generation(name),
            plan,
            is_read,
            at: now.wall,
        });
    }

    /// Volumes whose decision changed since this was last asked.
    pub fn take_changed(&mut self) -> BTreeSet<VolumeName> {
        std::mem::take(&mut self.changed)
    }

    /// Hands out steps: what is wrong on the host first, then as lanes allow.
    fn dispatch(&mut self, effects: &mut Vec<Effect>, now: Now) {
        let (urgent, rest): (Vec<VolumeName>, Vec<VolumeName>) = self
            .ready
            .iter()
            .cloned()
            .partition(|name| self.step_of(name).is_some_and(is_urgent));
        for name in urgent.into_iter().chain(rest) {
            let Some(action) = self.step_of(&name) else {
                self.ready.remove(&name);
                continue;
            };
            let may_begin = !is_journalled(action) || self.may_write(now);
            if may_begin && self.lane_is_free(&name, action) {
                self.ready.remove(&name);
                self.hand_out(&name, effects, now);
            }
        }
    }

    fn step_of(&self, name: &VolumeName) -> Option<&Action> {
        match &self.plan.volumes.get(name)?.decision {
            Decision::Act { now, .. } => Some(&now.action),
            Decision::InSync
            | Decision::Released
            | Decision::Waiting { .. }
            | Decision::Blocked { .. }
            | Decision::Observing { .. } => None,
        }
    }

    fn lane_is_free(&self, name: &VolumeName, action: &Action) -> bool {
        if !action.is_cloud() {
            return !self.local.contains(name);
        }
        let open = &self.world.memory.intents;
        let vm_is_free = |vm| open.values().all(|intent| intent.action.vm() != Some(vm));
        let volume_is_free = |volume| {
            open.values()
                .all(|intent| intent.action.volume() != Some(volume))
        };
        !self.local.contains(name)
            && !open.contains_key(name)
            && open.len() < self.pace.parallel
            && action.vm().is_none_or(vm_is_free)
            && action.volume().is_none_or(volume_is_free)
    }

    /// Hands out the step of `name`, if it still is what has to be done: the queue chooses
    /// when, never what.
    fn hand_out(&mut self, name: &VolumeName, effects: &mut Vec<Effect>, now: Now) {
        let Some(want) = self.world.desired.volumes.get(name) else {
            return;
        };
        let index = Index::new(&self.world);
        let fresh = decide(&self.world, &index, &self.policy, want, now);
        let planned = self.plan.volumes.get(name).map(|plan| &plan.decision);
        let step = match (&fresh.decision, planned) {
            (Decision::Act { now: fresh, .. }, Some(Decision::Act { now: planned, .. }))
                if fresh == planned =>
            {
                fresh.clone()
            }
            _ => {
                self.queue.wake(name, now.boot);
                return;
            }
        };
        if step.action.is_cloud() {
            let intent = self.intent(name, &step, now);
            self.sending.insert(intent.id);
            self.world
                .memory
                .intents
                .insert(name.clone(), intent.clone());
            effects.push(Effect::Act(name.clone(), step, Some(Box::new(intent))));
        } else {
            self.local.insert(name.clone());
            effects.push(Effect::Act(name.clone(), step, None));
        }
    }

    fn has_jobs_to_ask(&self) -> bool {
        self.open_jobs().next().is_some() && self.world.observed.cloud.listed.is_ok()
    }

    fn open_jobs(&self) -> impl Iterator<Item = &Intent> {
        let is_final = |intent: &Intent| {
            let answer = self.answers.get(&intent.id);
            answer.is_some_and(|answer| settle::is_final(answer, intent, self.pace.handling))
        };
        self.world.memory.intents.values().filter(move |intent| {
            !self.sending.contains(&intent.id)
                && !self.settling.contains(&intent.id)
                && !self.unsent.contains(&intent.id)
                && !is_final(intent)
        })
    }

    /// Asks the outside for what is due.
    fn ask(&mut self, effects: &mut Vec<Effect>, now: Now) {
        if self.asks.host.is_due(now.boot) {
            self.asks.host.ask();
            effects.push(Effect::ObserveHost);
        }
        if self.asks.nbd.is_due(now.boot) && !self.asks.host.asked {
            self.asks.nbd.ask();
            effects.push(Effect::ObserveNbd);
        }
        if self.asks.full.is_due(now.boot) {
            self.asks.full.ask();
            let known = self.world.observed.cloud.catalogue.is_some();
            effects.push(Effect::ObserveCloud(CloudQuery {
                full: true,
                catalogue: !known || !self.unresolved.is_empty(),
                ..CloudQuery::default()
            }));
        }
        self.ask_for_some(effects, now);
        if self.asks.jobs.is_due(now.boot) && self.has_jobs_to_ask() {
            let jobs = self
                .open_jobs()
                .map(|intent| match intent.progress {
                    Progress::Submitted(job) => (intent.id, job),
                    Progress::Journalled | Progress::Undecided(_) => (intent.id, intent.id.job()),
                })
                .collect();
            self.asks.jobs.ask();
            effects.push(Effect::PollJobs(jobs));
        }
    }

    /// Asks for single objects, while CloudStack answers at all.
    fn ask_for_some(&mut self, effects: &mut Vec<Effect>, now: Now) {
        let asks = &mut self.asks;
        let is_away = self.world.observed.cloud.listed.is_err();
        if asks.some_asked || asks.some.is_empty() || asks.paused > now.boot || is_away {
            return;
        }
        if asks.some.names.len() > NAMES_AT_ONCE {
            // One listing says it of all of them.
            asks.some.names.clear();
            asks.full.now();
        }
        let mut ids: Vec<_> = std::mem::take(&mut asks.some.volumes).into_iter().collect();
        asks.some
            .volumes
            .extend(ids.drain(ids.len().min(IDS_AT_ONCE)..));
        let mut vms: Vec<_> = std::mem::take(&mut asks.some.vms).into_iter().collect();
        asks.some
            .vms
            .extend(vms.drain(vms.len().min(VMS_AT_ONCE)..));
        let query = CloudQuery {
            ids,
            names: std::mem::take(&mut asks.some.names).into_iter().collect(),
            vms,
            ..CloudQuery::default()
        };
        if query != CloudQuery::default() {
            asks.some_asked = true;
            effects.push(Effect::ObserveCloud(query));
        }
    }
}

/// Whether all that differs is how much of a grace period is left.
fn counts_down(before: &VolumePlan, after: &VolumePlan) -> bool {
    let in_grace = |plan: &VolumePlan| {
        matches!(
            plan.decision,
            Decision::Waiting {
                on: Waiting::Grace { .. },
                ..
            }
        )
    };
    in_grace(before) && in_grace(after) && before.drift == after.drift
}

fn is_urgent(action: &Action) -> bool {
    matches!(
        action,
        Action::Withdraw {
            mode: WithdrawMode::Hard,
            ..
        }
    )
}

/// Whether a step writes to the store before it does anything. It waits while the store rests;
/// exports come and go all the same.
fn is_journalled(action: &Action) -> bool {
    match action {
        Action::Bind { .. } => true,
        Action::Export { .. } | Action::Withdraw { .. } => false,
        Action::Create { .. }
        | Action::Tag { .. }
        | Action::Grow { .. }
        | Action::Attach { .. }
        | Action::Detach { .. }
        | Action::Delete { .. } => true,
    }
}

#[cfg(test)]
mod tests;
