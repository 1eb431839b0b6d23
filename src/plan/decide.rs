//! The path of one volume from what was observed to what is asked for.
//!
//! Each stage appends what it needs to the [`Path`]; the first entry decides what happens now. Gates
//! that concern every mutating step stand at the end, in the order of precedence.

use crate::model::desired::{AttachVm, DesiredVolume, ExportSpec, Mode, Presence};
use crate::model::memory::{Binding, Failure, FailureClass, Progress, Resolution};
use crate::model::observed::{CloudVolume, Disks, Reading, VolumeState};
use crate::model::{BootTime, ByteSize, Cause, Now, Serial, VmId, VolumeName};

use super::drift::{Drift, DriftClass};
use super::index::Index;
use super::path::{First, Path};
use super::reason::{Blocked, Waiting};
use super::{
    Ahead, Decision, Policy, Reread, Step, VolumePlan, World, attach, claim, delete, serve,
};
use crate::model::Action;

/// One volume, with everything that a stage may look at.
pub(super) struct Case<'a> {
    pub world: &'a World,
    pub index: &'a Index<'a>,
    pub policy: &'a Policy,
    pub want: &'a DesiredVolume,
    pub now: Now,
}

/// What the spec, or its absence, asks of a bound volume.
pub(super) struct Goal<'a> {
    pub vm: GoalVm,
    pub device_id: Option<u8>,
    pub take_when_free: bool,
    pub export: Option<&'a ExportSpec>,
    pub size: Option<ByteSize>,
    /// Why an attachment that does not fit is undone.
    pub undo: Cause,
}

/// Where a volume should be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoalVm {
    Unmanaged,
    Nobody,
    On(VmId),
}

impl<'a> Case<'a> {
    pub fn name(&self) -> &'a VolumeName {
        self.want.name()
    }

    /// Readings begun before this do not count (I4).
    pub fn settled(&self) -> Option<BootTime> {
        self.world.memory.settled.get(self.name()).copied()
    }

    /// The names of this generation, resolved.
    pub fn resolution(&self) -> Option<&'a Resolution> {
        self.world
            .memory
            .resolutions
            .get(self.name())
            .filter(|known| known.generation == self.want.generation)
    }

    pub fn self_vm(&self) -> Reading<VmId> {
        self.world.observed.host.self_vm.clone()
    }

    /// The disks of this machine, if read since the last change settled.
    pub fn disks(&self) -> Reading<&'a Disks> {
        let host = &self.world.observed.host;
        if self.settled().is_some_and(|settled| host.begun <= settled) {
            return Reading::Unknown("not read again since the last change settled".to_owned());
        }
        host.disks.as_ref()
    }

    pub fn cloud(&self, binding: &Binding) -> Reading<&'a CloudVolume> {
        self.world
            .observed
            .cloud
            .volume(binding.volume, self.settled())
    }

    fn failure(&self, kind: &str) -> Option<&'a Failure> {
        self.world
            .memory
            .failures
            .get(self.name())
            .filter(|failure| failure.kind == kind && failure.generation == self.want.generation)
    }
}

pub(super) fn decide<'a>(
    world: &'a World,
    index: &'a Index<'a>,
    policy: &'a Policy,
    want: &'a DesiredVolume,
    now: Now,
) -> VolumePlan {
    let case = Case {
        world,
        index,
        policy,
        want,
        now,
    };
    let binding = world.memory.bindings.get(want.name());
    if let Some(step) = binding.and_then(|binding| serve::hard_withdraw(&case, binding)) {
        return VolumePlan {
            decision: at_once(&case, step),
            drift: Vec::new(),
        };
    }
    if let Some(decision) = open_intent(&case) {
        return VolumePlan {
            decision,
            drift: Vec::new(),
        };
    }
    let mut path = Path::default();
    match binding {
        None if matches!(want.presence, Presence::Abandoned { .. }) => {
            return VolumePlan {
                decision: Decision::Released,
                drift: Vec::new(),
            };
        }
        None => claim::unbound(&case, &mut path),
        Some(binding) => bound(&case, binding, &mut path),
    }
    finish(&case, path)
}

/// A hard withdrawal passes every gate; only one that failed a moment ago waits for its turn.
/// That a client uses the export says nothing to it.
fn at_once(case: &Case<'_>, step: Step) -> Decision {
    let failed = case
        .failure(Action::WITHDRAW)
        .filter(|failure| failure.class != FailureClass::InUse && case.now.boot < failure.retry_at);
    match failed {
        None => Decision::Act {
            now: Box::new(step),
            then: Vec::new(),
        },
        Some(failure) => Decision::Waiting {
            on: backoff(failure),
            then: vec![step.into()],
        },
    }
}

fn backoff(failure: &Failure) -> Waiting {
    Waiting::Backoff {
        until: failure.retry_at,
        text: failure.text.clone(),
        class: failure.class,
        attempts: failure.attempts,
    }
}

/// Nothing is submitted while the end of an earlier call is not known (I1, I7).
fn open_intent(case: &Case<'_>) -> Option<Decision> {
    let intent = case.world.memory.intents.get(case.name())?;
    let job = match &intent.progress {
        Progress::Journalled => None,
        Progress::Submitted(job) => Some(*job),
        Progress::Undecided(candidates) => {
            return Some(Decision::Blocked {
                by: vec![Blocked::CreateUnknown {
                    candidates: candidates.clone(),
                }],
                then: Vec::new(),
            });
        }
    };
    Some(Decision::Waiting {
        on: Waiting::Intent {
            id: intent.id,
            kind: intent.action.kind(),
            job,
        },
        then: Vec::new(),
    })
}

/// A volume that has its CloudStack id for ever.
fn bound(case: &Case<'_>, binding: &Binding, path: &mut Path) {
    let volume = match case.cloud(binding) {
        Reading::Present(volume) => volume,
        Reading::Absent => return lost(case, binding, path),
        Reading::Unknown(why) => return without_cloud(case, binding, why, path),
    };
    match &volume.state {
        VolumeState::Allocated | VolumeState::Ready => {}
        VolumeState::Destroy | VolumeState::Expunged => return lost(case, binding, path),
        VolumeState::Transitional(state) | VolumeState::Other(state) => {
            path.wait(Waiting::Transitional {
                what: "volume",
                state: state.clone(),
            });
        }
    }
    if let Some(job) = volume.pending_job {
        path.wait(Waiting::ForeignJob { job });
    }
    let is_declared = case.want.presence == Presence::Declared;
    if is_declared {
        claim::confirm(case, binding, volume, path);
    } else {
        claim::not_anothers(case, volume, path);
    }
    let Some(goal) = goal(case, path) else {
        return;
    };
    if is_declared {
        claim::immutable(case, volume, path);
        claim::renamed(case, volume, path);
    }
    attach::leave(case, &goal, binding, volume, path);
    grow(case, &goal, volume, path);
    attach::join(case, &goal, binding, volume, path);
    serve::serve(case, &goal, binding, volume, path);
    if super::reclaims_volume(case.want) {
        delete::delete(case, binding, volume, path);
    }
}

/// A bound volume that is not there is never made anew (I13); only its export ends.
fn lost(case: &Case<'_>, binding: &Binding, path: &mut Path) {
    let state = case
        .cloud(binding)
        .present()
        .map(|volume| volume.state.clone());
    let volume = binding.volume;
    if super::reclaims_volume(case.want) {
        // As its spec asked for.
        return serve::withdraw_all(case, binding, "its volume is gone from CloudStack", path);
    }
    path.drift(Drift::new(
        DriftClass::Existence,
        "spec",
        format!("volume {volume}"),
        state
            .as_ref()
            .map_or("gone".to_owned(), ToString::to_string),
    ));
    serve::withdraw_all(case, binding, "its volume is gone from CloudStack", path);
    if matches!(case.want.presence, Presence::Abandoned { .. }) {
        return;
    }
    path.block(match state {
        Some(VolumeState::Destroy) => Blocked::VolumeDestroyed { volume },
        _ => Blocked::VolumeLost { volume },
    });
}

/// CloudStack does not answer, or was not asked again yet: only local steps, and only where
/// I3 allows them.
fn without_cloud(case: &Case<'_>, binding: &Binding, why: String, path: &mut Path) {
    match &case.world.observed.cloud.listed {
        Ok(_) => path.observe(
            format!("volume {}: {why}", binding.volume),
            Reread::Volume(binding.volume),
        ),
        Err(unlisted) => {
            serve::serve_unconfirmed(case, binding, path);
            claim::unlisted(unlisted, path);
        }
    }
}

/// What is asked of a bound volume; `None` when nothing may be done yet.
fn goal<'a>(case: &Case<'a>, path: &mut Path) -> Option<Goal<'a>> {
    let spec = case.want.spec();
    if let Presence::Abandoned { counted } = case.want.presence {
        let detach = super::reclaims_attachment(spec);
        let grace = super::grace(spec, case.policy);
        if counted < grace {
            path.wait(Waiting::Grace {
                left: grace.saturating_sub(counted),
            });
            let (kind, text) = if detach {
                ("Detach", "detach the volume from where this daemon put it")
            } else {
                ("Withdraw", "end its export once no client uses it")
            };
            path.ahead(kind, text, "its spec is gone");
            if super::reclaims_volume(case.want) {
                path.ahead(Action::DELETE, "delete the volume", "its spec is gone");
            }
            return None;
        }
        return Some(Goal {
            vm: if detach {
                GoalVm::Nobody
            } else {
                GoalVm::Unmanaged
            },
            device_id: None,
            take_when_free: false,
            export: None,
            size: None,
            undo: Cause::Abandoned,
        });
    }
    let attach = spec.attach_to.as_ref();
    let vm = match attach.map(|attach| &attach.vm) {
        None => GoalVm::Unmanaged,
        Some(AttachVm::Nobody) => GoalVm::Nobody,
        Some(AttachVm::SelfVm) => match case.self_vm() {
            Reading::Present(vm) => GoalVm::On(vm),
            unknown => {
                serve::self_unknown(case, unknown, path);
                return None;
            }
        },
        Some(AttachVm::Vm(_)) => match case.resolution() {
            Some(Resolution { vm: Some(vm), .. }) => GoalVm::On(*vm),
            Some(_) | None => {
                claim::unresolved(case, path);
                return None;
            }
        },
    };
    Some(Goal {
        vm,
        device_id: attach.and_then(|attach| attach.device_id),
        take_when_free: attach
            .is_some_and(|attach| attach.take == crate::model::desired::Move::WhenFree),
        export: spec.export.as_ref(),
        size: spec.origin.size().map(ByteSize::rounded_up_to_gib),
        undo: Cause::Edited,
    })
}

/// Grows what is too small; never shrinks (I10).
fn grow(case: &Case<'_>, goal: &Goal<'_>, volume: &CloudVolume, path: &mut Path) {
    let Some(size) = goal.size else {
        return;
    };
    if volume.size > size {
        path.drift(Drift::new(
            DriftClass::Size,
            "spec.size",
            size,
            format!("{} (never shrunk)", volume.size),
        ));
    }
    if volume.size < size {
        if let Some(attachment) = volume.attachment {
            attach::vm_settled(case, attachment.vm, path);
        }
        path.step(
            Action::Grow {
                volume: volume.id,
                vm: volume.attachment.map(|attachment| attachment.vm),
                from: volume.size,
                to: size,
            },
            Cause::Declared,
            format!("the spec asks for {size}, CloudStack has {}", volume.size),
        );
    }
}

/// Applies the gates that concern every step, and shows what stays undone as drift.
fn finish(case: &Case<'_>, mut path: Path) -> VolumePlan {
    let first = path.first.take().map(|first| match first {
        First::Step(step) => gate(case, step),
        First::Waiting(_) | First::Blocked(_) | First::Observing(..) => Gated::Stands(first),
    });
    let decision = match first {
        None => match case.want.presence {
            Presence::Abandoned { .. } => Decision::Released,
            Presence::Declared => Decision::InSync,
        },
        Some(Gated::Passed(step)) => Decision::Act {
            now: Box::new(step),
            then: path.then,
        },
        Some(Gated::Held(step, first)) => {
            // While it is read again, somebody is working on it.
            if !matches!(first, First::Observing(..)) {
                path.drift.push(drift_of(&step));
            }
            path.then.insert(0, step.into());
            stand(first, path.then)
        }
        Some(Gated::Stands(first)) => stand(first, path.then),
    };
    VolumePlan {
        decision,
        drift: path.drift,
    }
}

fn stand(first: First, then: Vec<Ahead>) -> Decision {
    match first {
        First::Step(step) => Decision::Act {
            now: Box::new(step),
            then,
        },
        First::Waiting(on) => Decision::Waiting { on, then },
        First::Blocked(by) => Decision::Blocked { by, then },
        First::Observing(what, reread) => Decision::Observing { what, reread },
    }
}

enum Gated {
    Passed(Step),
    Held(Step, First),
    Stands(First),
}

fn gate(case: &Case<'_>, step: Step) -> Gated {
    let held = |step, by| Gated::Held(step, First::Blocked(vec![by]));
    let unknown = &case.world.memory.unknown_claims;
    if !unknown.is_empty() {
        let volumes = unknown.clone();
        return held(step, Blocked::StoreRolledBack { volumes });
    }
    if let Some(pause) = case.world.memory.pauses.of(case.name(), case.now.boot) {
        let on = Waiting::Paused {
            until: pause.until,
            reason: pause.reason.clone(),
        };
        return Gated::Held(step, First::Waiting(on));
    }
    let spec = case.want.spec();
    if case.want.presence == Presence::Declared {
        if spec.suspend {
            let field = "suspend: true";
            return held(step, Blocked::HeldBySpec { field });
        }
        if spec.mode == Mode::Observe {
            let field = "mode: Observe";
            return held(step, Blocked::HeldBySpec { field });
        }
    }
    if step.action.is_cloud() {
        let cloud = &case.world.observed.cloud;
        let listed = match &cloud.listed {
            Ok(begun) => *begun,
            Err(why) => {
                let why = why.to_string();
                let source = "CloudStack";
                return held(step, Blocked::SourceUnknown { source, why });
            }
        };
        if let Some(first) = too_old(case, &step, listed) {
            return Gated::Held(step, first);
        }
        if let Some(by) = skew(case) {
            return held(step, Blocked::ClockSkew { by });
        }
    }
    match case.failure(step.action.kind()) {
        Some(failure) => after_failure(case, failure, step),
        None => Gated::Passed(step),
    }
}

/// What has to be read again before `step` may be taken: the listing, or the very volume
/// and VM that it names.
fn too_old(case: &Case<'_>, step: &Step, listed: BootTime) -> Option<First> {
    let age = |begun| case.now.boot.since(begun);
    if age(listed) > case.policy.stale_after {
        let what = "CloudStack: the last listing is too old to act upon".to_owned();
        return Some(First::Observing(what, vec![Reread::Listing]));
    }
    let cloud = &case.world.observed.cloud;
    let old =
        |begun: Option<BootTime>| begun.is_none_or(|begun| age(begun) > case.policy.fresh_for);
    let mut reread = Vec::new();
    if let Some(id) = step.action.volume()
        && old(cloud.volumes.get(&id).map(|volume| volume.begun))
    {
        reread.push(Reread::Volume(id));
    }
    if let Some(id) = step.action.vm()
        && old(cloud.vms.get(&id).map(|vm| vm.begun))
    {
        reread.push(Reread::Vm(id));
    }
    let what = format!("CloudStack once more, before: {}", step.action);
    (!reread.is_empty()).then_some(First::Observing(what, reread))
}

fn after_failure(case: &Case<'_>, failure: &Failure, step: Step) -> Gated {
    let due = case.now.boot >= failure.retry_at;
    match failure.class {
        FailureClass::Refused => {
            let by = Blocked::Refused {
                kind: failure.kind.clone(),
                text: failure.text.clone(),
            };
            Gated::Held(step, First::Blocked(vec![by]))
        }
        FailureClass::InUse if !due => {
            let Action::Withdraw { export, .. } = &step.action else {
                return Gated::Passed(step);
            };
            let on = Waiting::Clients {
                export: export.clone(),
                until: failure.retry_at,
                purpose: if step.reason == serve::GROWN {
                    "size"
                } else {
                    "withdraw"
                },
            };
            Gated::Held(step, First::Waiting(on))
        }
        FailureClass::Environment
        | FailureClass::Retry
        | FailureClass::Quota
        | FailureClass::Throttled
            if !due =>
        {
            Gated::Held(step, First::Waiting(backoff(failure)))
        }
        FailureClass::InUse
        | FailureClass::Environment
        | FailureClass::Retry
        | FailureClass::Quota
        | FailureClass::Throttled => Gated::Passed(step),
    }
}

/// The distance between the clocks, if it is too large to trust `expires`.
fn skew(case: &Case<'_>) -> Option<std::time::Duration> {
    let (server, read) = case.world.observed.cloud.server_time?;
    let server_now = server.plus(case.now.boot.since(read));
    let wall = case.now.wall;
    let by = server_now.since(wall).max(wall.since(server_now));
    (by > case.policy.max_skew).then_some(by)
}

fn drift_of(step: &Step) -> Drift {
    let class = DriftClass::of(&step.action);
    let field = match class {
        DriftClass::Existence => "spec",
        DriftClass::Property => "metadata.name",
        DriftClass::Size => "spec.size",
        DriftClass::Attachment => "spec.attachTo",
        DriftClass::Export => "spec.export",
    };
    Drift::new(class, field, step.action.to_string(), step.reason.clone())
}

/// The serial of a bound volume.
pub(super) fn serial(binding: &Binding) -> Serial {
    Serial::of(binding.volume)
}
