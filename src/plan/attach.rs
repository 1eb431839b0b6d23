//! Where a volume is, and where it should be.
//!
//! Foreign is foreign (I2): an attachment that this daemon did not make, and the spec does not ask
//! for, is reported and left alone. Nothing is unplugged before it is quiet (I18).

use crate::model::memory::Binding;
use crate::model::observed::{CloudVm, CloudVolume, Reading, VmState, VolumeKind};
use crate::model::{Action, Cause, VmId};

use super::decide::{Case, Goal, GoalVm};
use super::drift::{Drift, DriftClass};
use super::path::Path;
use super::reason::{Blocked, Waiting};
use super::serve;

/// Undoes an attachment that does not fit.
pub(super) fn leave(
    case: &Case<'_>,
    goal: &Goal<'_>,
    binding: &Binding,
    volume: &CloudVolume,
    path: &mut Path,
) {
    let Some(at) = volume.attachment else {
        return;
    };
    let fits = match goal.vm {
        GoalVm::Unmanaged => true,
        GoalVm::Nobody => false,
        GoalVm::On(vm) => vm == at.vm,
    };
    if fits {
        at_risk(case, volume, at.vm, path);
        return device_id(goal, at.device_id, path);
    }
    let ours = case.world.memory.placements.get(&volume.id) == Some(&at.vm);
    let vm = case.world.observed.cloud.vm(at.vm);
    let free = goal.take_when_free && is_stopped(&vm);
    if !ours && !free {
        at_risk(case, volume, at.vm, path);
        if goal.undo == Cause::Abandoned {
            // Reclaiming undoes what we did, nothing else.
            return;
        }
        path.drift(Drift::new(
            DriftClass::Attachment,
            "spec.attachTo.vm",
            wanted(goal),
            format!("VM {}", at.vm),
        ));
        return path.block(Blocked::ForeignAttachment { vm: at.vm });
    }
    let here = case.self_vm() == Reading::Present(at.vm);
    match vm {
        Reading::Unknown(why) => {
            return path.block(Blocked::SourceUnknown {
                source: "CloudStack",
                why,
            });
        }
        // Missing from a listing proves nothing: it may well be running.
        Reading::Absent => {
            return path.block(Blocked::VmGone {
                vm: at.vm,
                state: None,
            });
        }
        Reading::Present(vm) => match &vm.state {
            VmState::Running if !here => return path.block(Blocked::OtherVmRunning { vm: at.vm }),
            VmState::Running | VmState::Stopped | VmState::Gone(_) => {}
            VmState::Transitional(state) | VmState::Other(state) => {
                path.wait(transitional(state));
            }
        },
    }
    if here {
        serve::quiet(case, binding, volume, path);
    }
    if !ours {
        contended(case, Action::DETACH, path);
    }
    path.step(
        Action::Detach {
            volume: volume.id,
            vm: at.vm,
        },
        if ours { goal.undo } else { Cause::Healing },
        match goal.undo {
            Cause::Abandoned => "its spec is gone, and asked for this".to_owned(),
            Cause::Declared | Cause::Edited | Cause::Healing => {
                format!("the spec wants it on {}", wanted(goal))
            }
        },
    );
}

/// A root disk goes with its VM, delete protection or not (I14, `UserVmManagerImpl.java`).
fn at_risk(case: &Case<'_>, volume: &CloudVolume, vm: VmId, path: &mut Path) {
    if volume.kind != VolumeKind::Root {
        return;
    }
    if let Reading::Present(CloudVm {
        state: VmState::Gone(state),
        ..
    }) = case.world.observed.cloud.vm(vm)
    {
        path.block(Blocked::VolumeAtRisk {
            volume: volume.id,
            vm,
            state: state.clone(),
        });
    }
}

/// Makes an attachment that is missing.
pub(super) fn join(
    case: &Case<'_>,
    goal: &Goal<'_>,
    binding: &Binding,
    volume: &CloudVolume,
    path: &mut Path,
) {
    let GoalVm::On(vm) = goal.vm else {
        return;
    };
    match volume.attachment {
        Some(at) if at.vm == vm => return,
        // Left first; what blocks that is said there.
        Some(_) if path.is_clear() => return,
        Some(_) | None => {}
    }
    let here = case.self_vm() == Reading::Present(vm);
    let put_there = case.world.memory.placements.get(&volume.id) == Some(&vm);
    let healing = volume.attachment.is_none() && put_there;
    if healing && !here {
        path.drift(Drift::new(
            DriftClass::Attachment,
            "spec.attachTo.vm",
            format!("VM {vm}"),
            "detached by somebody",
        ));
        return path.block(Blocked::VanishedElsewhere { vm });
    }
    if here && volume.attachment.is_none() {
        serve::disputed(case, binding, None, path);
    }
    if healing {
        heal_later(case, volume, vm, path);
        contended(case, Action::ATTACH, path);
    }
    vm_ready(case, goal, vm, path);
    path.step(
        Action::Attach {
            volume: volume.id,
            vm,
            device_id: goal.device_id,
        },
        if healing {
            Cause::Healing
        } else {
            Cause::Declared
        },
        if healing {
            "somebody detached it from this VM"
        } else {
            "the spec asks for it"
        },
    );
}

/// Shows a vanished attachment for a while before it is restored.
fn heal_later(case: &Case<'_>, volume: &CloudVolume, vm: VmId, path: &mut Path) {
    let since = case
        .world
        .memory
        .vanished
        .get(&volume.id)
        .copied()
        .unwrap_or(case.now.boot);
    let until = since.plus(case.policy.heal_delay);
    if case.now.boot < until {
        path.drift(Drift::new(
            DriftClass::Attachment,
            "spec.attachTo.vm",
            format!("VM {vm}"),
            "detached by somebody",
        ));
        path.wait(Waiting::HealDelay { until });
    }
}

fn contended(case: &Case<'_>, kind: &str, path: &mut Path) {
    let heals = case
        .world
        .memory
        .implied
        .iter()
        .filter(|step| step.name == *case.name() && step.kind == kind)
        .filter(|step| step.cause == Cause::Healing)
        .filter(|step| case.now.boot.since(step.at).as_secs() < 3600)
        .count();
    if heals >= case.policy.heals_per_hour {
        path.block(Blocked::Contended { heals });
    }
}

/// Whether the VM can take a disk now.
fn vm_ready(case: &Case<'_>, goal: &Goal<'_>, vm: VmId, path: &mut Path) {
    let seen = match case.world.observed.cloud.vm(vm) {
        Reading::Present(seen) => seen,
        Reading::Absent => return path.block(Blocked::VmGone { vm, state: None }),
        Reading::Unknown(why) => {
            return path.block(Blocked::SourceUnknown {
                source: "CloudStack",
                why,
            });
        }
    };
    match &seen.state {
        VmState::Running | VmState::Stopped => {}
        VmState::Transitional(state) | VmState::Other(state) => {
            return path.wait(transitional(state));
        }
        VmState::Gone(state) => {
            return path.block(Blocked::VmGone {
                vm,
                state: Some(state.clone()),
            });
        }
    }
    if goal.device_id == Some(0) {
        root_ready(case, seen, path);
    }
}

/// Device 0 is the root disk: the VM is stopped and has none (`VolumeApiServiceImpl.java`).
fn root_ready(case: &Case<'_>, vm: &CloudVm, path: &mut Path) {
    if vm.state != VmState::Stopped {
        path.block(Blocked::RootNeedsStoppedVm {
            vm: vm.id,
            state: vm.state.to_string(),
        });
    }
    let has_root = case.world.observed.cloud.volumes.values().any(|other| {
        other.kind == VolumeKind::Root && other.attachment.is_some_and(|at| at.vm == vm.id)
    });
    if has_root {
        path.block(Blocked::RootTaken { vm: vm.id });
    }
}

/// Nothing is submitted while the VM is between two states (I1).
pub(super) fn vm_settled(case: &Case<'_>, vm: VmId, path: &mut Path) {
    if let Reading::Present(seen) = case.world.observed.cloud.vm(vm) {
        match &seen.state {
            VmState::Transitional(state) | VmState::Other(state) => path.wait(transitional(state)),
            VmState::Running | VmState::Stopped | VmState::Gone(_) => {}
        }
    }
}

fn device_id(goal: &Goal<'_>, observed: Option<u8>, path: &mut Path) {
    if let (Some(desired), Some(observed)) = (goal.device_id, observed)
        && desired != observed
    {
        path.drift(Drift::new(
            DriftClass::Property,
            "spec.attachTo.deviceId",
            desired,
            observed,
        ));
    }
}

fn is_stopped(vm: &Reading<&CloudVm>) -> bool {
    matches!(vm, Reading::Present(vm) if vm.state == VmState::Stopped)
}

fn transitional(state: &str) -> Waiting {
    Waiting::Transitional {
        what: "VM",
        state: state.to_owned(),
    }
}

fn wanted(goal: &Goal<'_>) -> String {
    match goal.vm {
        GoalVm::Unmanaged => "anywhere".to_owned(),
        GoalVm::Nobody => "no VM".to_owned(),
        GoalVm::On(vm) => format!("VM {vm}"),
    }
}
