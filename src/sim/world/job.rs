//! Jobs: accepted at once, checked when they start, in effect when they end.
//!
//! As in `VolumeApiServiceImpl.java`, a job checks its parameters when it is dispatched
//! (here: at the next [`World::advance`]), then stands in its VM's queue of width 1, and what
//! the worker finds when its turn comes is checked far less.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sim::refusal::Refusal;
use crate::sim::time::SimTime;

use super::World;
use super::account::Role;
use super::event::Resource;
use super::order::{Change, OrderNo};
use super::rows::{
    AccountNo, JobNo, SnapshotNo, Vm, VmNo, VmSnapshotNo, VmState, Volume, VolumeNo, VolumeState,
};
use super::work::Work;

/// What goes wrong with one job, decided when it is submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// The agent never answers: transitional states and the queue stay as they are.
    NeverEnds,
    /// It takes so many milliseconds longer.
    Delay(u64),
    /// The agent answers with this error.
    Fails(String),
    /// The guest does not release the disk that is detached.
    DiskKept,
    /// Its row is purged when it ends.
    Purged,
    /// The management server that runs it is declared gone, before it took effect: it ends as
    /// [`Outcome::Lost`], and transitional states are taken back.
    LostBefore,
    /// The same after it took effect.
    LostAfter,
}

/// How a job stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum JobState {
    /// Not finished.
    Pending,
    /// Finished.
    Ended {
        /// When.
        at: SimTime,
        /// How.
        outcome: Outcome,
    },
}

/// How a job ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Outcome {
    /// Done; the volume as it was just before the end.
    Volume(VolumeNo, Box<Volume>),
    /// Done; the VM as it was then.
    Vm(VmNo, Box<Vm>),
    /// Done; the snapshot, as it is.
    Snapshot(SnapshotNo),
    /// Done; the snapshot of a VM, as it is.
    VmSnapshot(VmSnapshotNo),
    /// Done, with nothing to show.
    Success,
    /// Refused or failed.
    Failed {
        /// `errorcode`.
        code: u16,
        /// `errortext`.
        text: String,
    },
    /// Lost by a restart of the management server: 530 without a `jobresult`.
    Lost,
}

impl Outcome {
    const fn is_failure(&self) -> bool {
        match self {
            Self::Volume(..)
            | Self::Vm(..)
            | Self::Snapshot(_)
            | Self::VmSnapshot(_)
            | Self::Success => false,
            Self::Failed { .. } | Self::Lost => true,
        }
    }
}

/// One asynchronous job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Whose it is.
    pub account: AccountNo,
    /// What it does.
    pub work: Work,
    /// When it was accepted.
    pub created: SimTime,
    /// How it stands.
    pub state: JobState,
    stage: Stage,
    /// The VM in whose queue it stands.
    queue: Option<VmNo>,
    /// The event with which it began.
    scheduled: u64,
    trouble: Option<Trouble>,
}

/// How far a pending job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Accepted: parameters are checked next.
    Submitted,
    /// Checked; perhaps in its VM's queue.
    Queued,
    /// Attach: creating the volume on storage.
    Provisioning,
    /// Attach: plugging; the device id is chosen if the VM runs.
    Plugging { running: bool, device: Option<u32> },
    /// Attach: linked in the database.
    Settling,
    /// Detach: unplugging, if the VM ran when the worker turned to it.
    Unplugging { running: bool },
    /// Anything else that takes its time.
    Working,
}

/// Where a job goes from a stage.
pub(super) enum Flow {
    /// Into the queue of that VM.
    Queue(VmNo),
    /// To the worker at once.
    Begin,
    /// To another stage, so many milliseconds later.
    Wait(Stage, u64),
    /// To the same stage again, when the guest of that VM was changed.
    Ask(VmNo, Change),
    /// To its end.
    Done(Outcome),
}

/// What will happen by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Event {
    /// A job reaches a stage.
    Reach(JobNo, Stage),
    /// A volume being deleted goes from Destroy to Expunging, or is gone.
    Expunge(VolumeNo),
    /// The storage scavenger looks at a volume that was in Destroy.
    Scavenge(VolumeNo),
    /// An order may not be out for longer.
    GiveUp(OrderNo),
}

impl Job {
    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }
}

impl World {
    /// Accepts a job. It is checked at the next [`World::advance`]. The caller has made sure
    /// that `uuid`, where given, is free.
    pub fn submit(
        &mut self,
        account: AccountNo,
        work: Work,
        uuid: Option<Uuid>,
        trouble: Option<Trouble>,
    ) -> Uuid {
        let no = JobNo(self.row());
        let uuid = uuid.unwrap_or_else(|| self.uuid());
        let scheduled = self.job_scheduled(account, &work);
        self.pending.insert(no);
        if let Some(Resource::Volume(volume)) = work.about() {
            self.pending_on.insert((volume, no));
        }
        let job = Job {
            uuid,
            account,
            work,
            created: self.now,
            state: JobState::Pending,
            stage: Stage::Submitted,
            queue: None,
            scheduled,
            trouble,
        };
        self.jobs.insert(no, job);
        self.job_by_uuid.insert(uuid, no);
        self.schedule(0, Event::Reach(no, Stage::Submitted));
        uuid
    }

    /// An unfinished job about a volume: what `volume_view` joins as `jobid`. A snapshot's job is
    /// about the snapshot.
    pub fn job_on(&self, volume: VolumeNo) -> Option<&Job> {
        self.pending_on
            .range((volume, JobNo(0))..=(volume, JobNo(u64::MAX)))
            .next()
            .map(|(_, job)| self.job(*job))
    }

    /// Restarts the management server: every unfinished job is lost, and transitional states
    /// are taken back (`AsyncJobManagerImpl.java`). With `keep_plugged`, attaches that were under way stay plugged in the
    /// guest, which the database then knows nothing of.
    pub fn restart_management_server(&mut self, keep_plugged: bool) {
        for no in std::mem::take(&mut self.pending) {
            let job = self.job(no);
            let (work, stage) = (job.work.clone(), job.stage);
            if let (Work::Attach { volume, vm, .. }, Stage::Plugging { running: true, .. }, true) =
                (&work, stage, keep_plugged)
            {
                // A guest that went away meanwhile, or a disk open elsewhere, leaves nothing.
                let _ = self.plug(*vm, *volume);
            }
            self.take_back(&work, stage);
            self.end(no, Outcome::Lost);
        }
        self.queues.clear();
        self.hypervisor.forget_orders();
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Reach(no, stage) => self.reach(no, stage),
            Event::Expunge(volume) => self.expunge_step(volume),
            Event::Scavenge(volume) => self.scavenge(volume),
            Event::GiveUp(order) => self.give_up(order),
        }
    }

    fn reach(&mut self, no: JobNo, stage: Stage) {
        // A restart of the management server may have ended it meanwhile.
        if !self.pending.contains(&no) {
            return;
        }
        self.set_stage(no, stage);
        if stage == Stage::Submitted {
            let job = self.job(no);
            let (account, work, scheduled) = (job.account, job.work.clone(), job.scheduled);
            self.job_started(account, &work, scheduled);
        }
        let flow = self.run(no, stage);
        self.follow(no, stage, flow);
    }

    /// Lets a job go where its stage led it.
    pub(super) fn follow(&mut self, no: JobNo, stage: Stage, flow: Result<Flow, Refusal>) {
        match flow {
            Ok(Flow::Queue(vm)) => {
                if let Some(job) = self.jobs.get_mut(&no) {
                    job.stage = Stage::Queued;
                    job.queue = Some(vm);
                }
                let queue = self.queues.entry(vm).or_default();
                queue.push_back(no);
                if queue.len() == 1 {
                    self.schedule(0, Event::Reach(no, Stage::Queued));
                }
            }
            Ok(Flow::Begin) => self.schedule(0, Event::Reach(no, Stage::Queued)),
            Ok(Flow::Wait(next, millis)) => self.wait(no, stage, next, millis),
            Ok(Flow::Ask(vm, change)) => self.give_order(no, stage, vm, change),
            Ok(Flow::Done(outcome)) => self.finish(no, outcome),
            Err(refusal) => self.fail(no, refusal),
        }
    }

    fn set_stage(&mut self, no: JobNo, stage: Stage) {
        if let Some(job) = self.jobs.get_mut(&no) {
            job.stage = stage;
        }
    }

    fn wait(&mut self, no: JobNo, stage: Stage, next: Stage, millis: u64) {
        self.set_stage(no, next);
        let millis = self.jittered(millis);
        let trouble = match stage {
            // The worker has just turned to it: here the agent hangs or dawdles.
            Stage::Queued => self.job(no).trouble.clone(),
            Stage::Submitted
            | Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Settling
            | Stage::Unplugging { .. }
            | Stage::Working => None,
        };
        match trouble {
            Some(Trouble::NeverEnds) => {}
            Some(Trouble::Delay(more)) => {
                self.schedule(millis.saturating_add(more), Event::Reach(no, next));
            }
            Some(Trouble::DiskKept) if next == (Stage::Unplugging { running: true }) => {
                let wait = self.settings.latencies.detach_wait_ms;
                self.schedule(millis.max(wait), Event::Reach(no, next));
            }
            Some(
                Trouble::Fails(_)
                | Trouble::DiskKept
                | Trouble::Purged
                | Trouble::LostBefore
                | Trouble::LostAfter,
            )
            | None => self.schedule(millis, Event::Reach(no, next)),
        }
    }

    fn run(&mut self, no: JobNo, stage: Stage) -> Result<Flow, Refusal> {
        let job = self.job(no);
        let work = job.work.clone();
        if let Stage::Plugging { .. } | Stage::Unplugging { .. } | Stage::Working = stage {
            match &job.trouble {
                Some(Trouble::Fails(text)) => return Err(Refusal::runtime(text.clone())),
                // A VM that does not run keeps nothing.
                Some(Trouble::DiskKept) => {
                    if let Work::Detach {
                        volume: Some(volume),
                        vm: Some(vm),
                        ..
                    } = work
                        && stage == (Stage::Unplugging { running: true })
                    {
                        let wait = self.settings.latencies.detach_wait_ms;
                        return Err(self.not_released(vm, volume, wait));
                    }
                }
                Some(Trouble::LostBefore) => {
                    self.take_back(&work, stage);
                    return Ok(Flow::Done(Outcome::Lost));
                }
                Some(
                    Trouble::NeverEnds | Trouble::Delay(_) | Trouble::Purged | Trouble::LostAfter,
                )
                | None => {}
            }
        }
        self.carry_out(no, stage)
    }

    /// Does what a stage is there for, whatever may go wrong with its job.
    pub(super) fn carry_out(&mut self, no: JobNo, stage: Stage) -> Result<Flow, Refusal> {
        let job = self.job(no);
        let (account, work) = (job.account, job.work.clone());
        match work {
            Work::Create { volume } => self.run_create(volume, stage),
            Work::Attach { volume, vm, device } => self.run_attach(volume, vm, device, stage),
            Work::Detach { volume, vm, device } => self.run_detach(no, volume, vm, device, stage),
            Work::Resize { .. } => self.run_resize(&work, stage),
            Work::Destroy { volume, expunge } => self.run_destroy(volume, expunge, stage),
            Work::Update {
                volume,
                name,
                delete_protection,
            } => self.run_update(volume, (name, delete_protection), stage),
            Work::CreateSnapshot { snapshot, volume } => {
                self.run_create_snapshot(snapshot, volume, stage)
            }
            Work::DeleteSnapshot { snapshot } => self.run_delete_snapshot(snapshot, stage),
            Work::RevertSnapshot { volume, snapshot } => {
                self.run_revert_snapshot(volume, snapshot, stage)
            }
            Work::CreateVmSnapshot { snapshot } => self.run_create_vm_snapshot(snapshot, stage),
            Work::DeleteVmSnapshot { snapshot } => self.run_delete_vm_snapshot(snapshot, stage),
            Work::CreateTags { on, tags } => self.run_create_tags(account, on, &tags, stage),
            Work::DeleteTags { on, tags } => self.run_delete_tags(account, on, &tags, stage),
            Work::DeployVm { vm, start } => self.run_deploy_vm(vm, start, stage),
            Work::MigrateVm { vm, host } => self.run_migrate_vm(vm, host?, stage),
            Work::StartVm { vm } => self.run_start_vm(vm, stage),
            Work::StopVm { vm } => self.run_stop_vm(vm, stage),
            Work::RebootVm { vm } => self.run_reboot_vm(vm, stage),
            Work::DestroyVm { expunge: true, .. } | Work::ExpungeVm { .. }
                if stage == Stage::Submitted && self.account(account).role == Role::User =>
            {
                // `allow.user.expunge.recover.vm` is false.
                Err(Refusal::denied(
                    "Parameter expunge can be passed by Admin only. Or when the \
                     allow.user.expunge.recover.vm key is set.",
                ))
            }
            Work::DestroyVm { vm, expunge } => self.run_destroy_vm(vm, expunge, stage),
            Work::ExpungeVm { vm } => self.run_expunge_vm(vm, stage),
        }
    }

    fn fail(&mut self, no: JobNo, refusal: Refusal) {
        let job = self.job(no);
        let (work, stage) = (job.work.clone(), job.stage);
        if !matches!(stage, Stage::Submitted | Stage::Queued) {
            self.take_back(&work, stage);
        }
        let code = work.error_code(refusal.class);
        self.finish(
            no,
            Outcome::Failed {
                code,
                text: refusal.text,
            },
        );
    }

    /// Takes back the transitional states of a job that did not succeed (`Volume.java`:
    /// `OperationFailed`).
    fn take_back(&mut self, work: &Work, stage: Stage) {
        match work {
            Work::CreateSnapshot { snapshot, .. } => self.snapshot_failed(*snapshot),
            Work::CreateVmSnapshot { snapshot } => self.vm_snapshot_failed(*snapshot),
            _ => {}
        }
        // Only what this work does at this stage: another job's state is not its business.
        let own = match (work, stage) {
            (Work::Create { volume }, Stage::Working)
                if self.volume(*volume).from_snapshot.is_some() =>
            {
                Some((*volume, VolumeState::Creating, VolumeState::Allocated))
            }
            (Work::Attach { volume, .. }, Stage::Provisioning) => {
                Some((*volume, VolumeState::Creating, VolumeState::Allocated))
            }
            (Work::Attach { volume, .. }, Stage::Plugging { .. } | Stage::Settling) => {
                Some((*volume, VolumeState::Attaching, VolumeState::Ready))
            }
            (Work::Resize { volume, .. }, Stage::Working) => {
                Some((*volume, VolumeState::Resizing, VolumeState::Ready))
            }
            (Work::CreateSnapshot { volume, .. }, Stage::Working) => {
                Some((*volume, VolumeState::Snapshotting, VolumeState::Ready))
            }
            (Work::RevertSnapshot { volume, .. }, Stage::Working) => {
                Some((*volume, VolumeState::RevertSnapshotting, VolumeState::Ready))
            }
            _ => None,
        };
        if let Some((volume, from, to)) = own {
            let row = self.volume_mut(volume);
            if row.state == from {
                row.state = to;
            }
        }
        if let Some(Resource::Vm(vm)) = work.about() {
            let row = self.vm_mut(vm);
            row.state = match row.state {
                VmState::Starting => VmState::Stopped,
                VmState::Stopping | VmState::Migrating => VmState::Running,
                // An expunge that failed can only be tried again (`VirtualMachine.java`).
                VmState::Running | VmState::Stopped | VmState::Destroyed | VmState::Expunging => {
                    row.state
                }
            };
        }
    }

    fn finish(&mut self, no: JobNo, outcome: Outcome) {
        self.pending.remove(&no);
        let queue = self.job(no).queue;
        self.end(no, outcome);
        let Some(vm) = queue else {
            return;
        };
        let Some(queue) = self.queues.get_mut(&vm) else {
            return;
        };
        if queue.front() == Some(&no) {
            queue.pop_front();
        }
        let next = queue.front().copied();
        match next {
            Some(next) => self.schedule(0, Event::Reach(next, Stage::Queued)),
            None => drop(self.queues.remove(&vm)),
        }
    }

    fn end(&mut self, no: JobNo, outcome: Outcome) {
        let at = self.now;
        let job = self.job(no);
        let (who, work) = ((job.account, job.scheduled), job.work.clone());
        self.job_ended(who, &work, &outcome);
        if let Some(job) = self.jobs.get_mut(&no) {
            if let Some(Resource::Volume(volume)) = job.work.about() {
                self.pending_on.remove(&(volume, no));
            }
            if job.trouble == Some(Trouble::Purged) {
                self.job_by_uuid.remove(&job.uuid);
                self.jobs.remove(&no);
                return;
            }
            let lost = job.trouble == Some(Trouble::LostAfter) && !outcome.is_failure();
            let outcome = if lost { Outcome::Lost } else { outcome };
            job.state = JobState::Ended { at, outcome };
            self.ended.push_back((at, no));
        }
    }

    pub(super) fn purge_old_jobs(&mut self) {
        let kept_ms = self.settings.job_expire_minutes.saturating_mul(60_000);
        while let Some((at, no)) = self.ended.front().copied() {
            if self.now.millis_since(at) <= kept_ms {
                return;
            }
            self.ended.pop_front();
            if let Some(job) = self.jobs.remove(&no) {
                self.job_by_uuid.remove(&job.uuid);
            }
        }
    }

    /// Remembers from which VM a job detaches: it is not looked up again.
    pub(super) fn detach_from(&mut self, no: JobNo, from: VmNo) {
        if let Some(Job {
            work: Work::Detach { vm, .. },
            ..
        }) = self.jobs.get_mut(&no)
        {
            *vm = Some(from);
        }
    }

    pub(super) fn volume_outcome(&self, volume: VolumeNo) -> Outcome {
        Outcome::Volume(volume, Box::new(self.volume(volume).clone()))
    }

    pub(super) fn vm_outcome(&self, vm: VmNo) -> Outcome {
        Outcome::Vm(vm, Box::new(self.vm(vm).clone()))
    }
}
