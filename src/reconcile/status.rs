//! Writes the report: computed from the world and the plan, never read back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::desired::{DesiredVolume, Presence};
use crate::model::memory::{Binding, Failure, Intent, Progress};
use crate::model::observed::{CloudVolume, Device, Disks, ServedExport};
use crate::model::{Action, BootTime, ExportName, Now, Reading, Serial, SourceFile, VolumeName};
use crate::plan::{
    Ahead, Blocked, Decision, Freeze, Plan, Policy, SourceHealth, Step, VolumePlan, Waiting, World,
};

use super::conditions::{Transitions, conditions};
use super::devices::devices;
use super::files::SpecFiles;
use super::report::{
    AttachmentStatus, Capacity, DeviceStatus, ExportStatus, FrozenStatus, FrozenStep, IntentStatus,
    ObservedStatus, PauseStatus, Phase, PlanStatus, Reason, Report, SourceStatus, StepStatus,
    VolumeExport, VolumeStatus,
};

/// What a report is written from.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What is asked for, observed and remembered.
    pub world: &'a World,
    /// The decisions in force.
    pub plan: &'a Plan,
    /// The limits in force.
    pub policy: &'a Policy,
    /// The spec files.
    pub files: &'a SpecFiles,
    /// Why the store cannot be written, while it cannot.
    pub store_down: Option<&'a str>,
}

/// Writes the report.
pub fn write(situation: Situation<'_>, transitions: &mut Transitions, now: Now) -> Report {
    let Situation {
        world,
        plan,
        policy,
        files,
        store_down,
    } = situation;
    let mut volumes = Vec::with_capacity(world.desired.volumes.len());
    for want in world.desired.volumes.values() {
        if let Some(planned) = plan.volumes.get(want.name()) {
            let facts = Facts::of(world, files, want);
            volumes.push(volume(
                world,
                policy,
                want,
                planned,
                &facts,
                transitions,
                now,
            ));
        }
    }
    Report {
        at: now.wall,
        instance: world.memory.instance,
        self_vm: world.observed.host.self_vm.clone().present(),
        sources: sources(world, files, store_down, now),
        frozen: plan.guard.freeze.as_ref().map(frozen),
        volumes,
        exports: exports(world),
        files: files.statuses(world.desired.volumes.values(), now),
        devices: devices(world),
    }
}

/// What the guard holds back.
pub fn frozen(freeze: &Freeze) -> FrozenStatus {
    let step = |(name, action): (&VolumeName, &Action)| FrozenStep {
        volume: name.clone(),
        text: action.to_string(),
    };
    FrozenStatus {
        why: freeze.why.clone(),
        digest: freeze.digest(),
        steps: freeze.steps.iter().map(step).collect(),
    }
}

/// Notes since when the conditions of `name` have been as they are, whether or not anybody asks.
pub(super) fn note(
    situation: Situation<'_>,
    name: &VolumeName,
    transitions: &mut Transitions,
    now: Now,
) {
    let Situation {
        world,
        plan,
        policy,
        files,
        store_down: _,
    } = situation;
    if let (Some(want), Some(planned)) = (world.desired.volumes.get(name), plan.volumes.get(name)) {
        let facts = Facts::of(world, files, want);
        let _ = volume(world, policy, want, planned, &facts, transitions, now);
    }
}

/// What is known of one volume, looked up once.
pub(super) struct Facts<'a> {
    pub binding: Option<&'a Binding>,
    pub cloud: Option<&'a CloudVolume>,
    pub cloud_known: bool,
    pub device: Option<&'a Device>,
    pub link: Option<&'a str>,
    pub export: Option<(&'a ExportName, &'a ServedExport)>,
    pub failure: Option<&'a Failure>,
    /// The file it is written in.
    pub file: Option<&'a SourceFile>,
    /// Whether the files can be believed.
    pub sources: &'a SourceHealth,
}

impl<'a> Facts<'a> {
    pub fn of(world: &'a World, files: &'a SpecFiles, want: &DesiredVolume) -> Self {
        let binding = world.memory.bindings.get(want.name());
        let settled = world.memory.settled.get(want.name()).copied();
        let serial = binding.map(|binding| Serial::of(binding.volume));
        let reading = binding.map(|binding| world.observed.cloud.volume(binding.volume, settled));
        let cloud_known = !matches!(reading, Some(Reading::Unknown(_)));
        let disks: Option<&Disks> = world.observed.host.disks.as_ref().present();
        let served = world.observed.nbd.exports.as_ref().present();
        Self {
            binding,
            cloud: reading.and_then(Reading::present),
            cloud_known,
            device: serial
                .as_ref()
                .and_then(|serial| disks?.with_serial(serial).next()),
            link: serial
                .as_ref()
                .and_then(|serial| disks?.link_for(serial).map(|(link, _)| link)),
            failure: world.memory.failures.get(want.name()),
            file: files.of(want),
            sources: &world.desired.files,
            export: serial.as_ref().and_then(|serial| {
                served?
                    .iter()
                    .find(|(_, export)| export.node.is_for(serial) && !export.draining)
            }),
        }
    }
}

fn volume(
    world: &World,
    policy: &Policy,
    want: &DesiredVolume,
    planned: &VolumePlan,
    facts: &Facts<'_>,
    transitions: &mut Transitions,
    now: Now,
) -> VolumeStatus {
    let (phase, message) = summary(want, &planned.decision);
    let mut status = VolumeStatus {
        name: want.name().clone(),
        owner: want.owner.to_string(),
        observed_generation: want.generation,
        phase,
        message,
        volume_id: facts.binding.map(|binding| binding.volume),
        serial: facts.binding.map(|binding| Serial::of(binding.volume)),
        capacity: Capacity {
            cloud: facts.cloud.map(|volume| volume.size),
            device: facts.device.map(|device| device.size),
            export: facts.export.map(|(_, export)| export.size),
        },
        attachment: attachment(world, facts),
        device: facts.device.map(|device| DeviceStatus {
            by_id: facts.link.map(|link| format!("/dev/disk/by-id/{link}")),
            path: format!("/dev/{}", device.kernel_name),
            number: device.number.to_string(),
        }),
        export: facts.export.map(|(name, export)| VolumeExport {
            name: name.clone(),
            read_only: export.read_only,
            clients: None,
        }),
        intent: world.memory.intents.get(want.name()).map(intent),
        paused: pause(world, want, now),
        plan: plan_status(&planned.decision, now.boot),
        drift: planned.drift.clone(),
        conditions: Vec::new(),
        observed: ObservedStatus {
            age_ms: facts
                .cloud
                .map(|volume| millis(now.boot.since(volume.begun))),
            stale_after_ms: millis(policy.stale_after),
        },
    };
    status.conditions = conditions(want, planned, facts, &status, transitions, now);
    status
}

fn pause(world: &World, want: &DesiredVolume, now: Now) -> Option<PauseStatus> {
    let pause = world.memory.pauses.of(want.name(), now.boot)?;
    Some(PauseStatus {
        until: now.wall.plus(pause.until.since(now.boot)),
        reason: pause.reason.clone(),
    })
}

fn attachment(world: &World, facts: &Facts<'_>) -> Option<AttachmentStatus> {
    let at = facts.cloud?.attachment?;
    let name = world
        .observed
        .cloud
        .vms
        .get(&at.vm)
        .map(|vm| vm.name.clone());
    Some(AttachmentStatus {
        vm: at.vm,
        vm_name: name,
        device_id: at.device_id,
    })
}

fn intent(intent: &Intent) -> IntentStatus {
    IntentStatus {
        id: intent.id,
        action: intent.action.to_string(),
        cause: intent.cause,
        job: match &intent.progress {
            Progress::Submitted(job) => Some(*job),
            Progress::Journalled | Progress::Undecided(_) => None,
        },
        created: intent.created,
        expires: intent.expires,
    }
}

fn summary(want: &DesiredVolume, decision: &Decision) -> (Phase, String) {
    match decision {
        Decision::InSync => (Phase::Ready, "as declared".to_owned()),
        Decision::Released => (
            Phase::Released,
            "its spec is gone; nothing of it is managed any more".to_owned(),
        ),
        Decision::Act { now, .. } => (Phase::Progressing, format!("next: {}", now.action)),
        Decision::Waiting { on, .. } => {
            let phase = match on {
                Waiting::Intent { .. } => Phase::Progressing,
                _ => Phase::Waiting,
            };
            (phase, on.message())
        }
        Decision::Blocked { by, .. } => {
            let held = by.iter().all(Blocked::is_wish);
            let phase = if held { Phase::Held } else { Phase::Blocked };
            let all: Vec<String> = by.iter().map(Blocked::message).collect();
            (phase, all.join("; "))
        }
        Decision::Observing { what, .. } => {
            let gone = matches!(want.presence, Presence::Abandoned { .. });
            let about = if gone {
                "reading (its spec is gone)"
            } else {
                "reading"
            };
            (Phase::Unknown, format!("{about} {what}"))
        }
    }
}

/// What a decision says, for reports and for `plan`.
pub fn plan_status(decision: &Decision, now: BootTime) -> PlanStatus {
    let ahead = |then: &[Ahead]| then.iter().map(step_ahead).collect();
    let mut status = PlanStatus::default();
    match decision {
        Decision::InSync | Decision::Released => {}
        Decision::Act { now, then } => {
            status.now = Some(step(now));
            status.then = ahead(then);
        }
        Decision::Waiting { on, then } => {
            status.then = ahead(then);
            status.next_in_ms = on.due_in(now).map(millis);
            status.held_by.push(Reason {
                code: on.reason().to_owned(),
                message: on.message(),
            });
        }
        Decision::Blocked { by, then } => {
            status.then = ahead(then);
            status.held_by.extend(by.iter().map(|by| Reason {
                code: by.reason().to_owned(),
                message: by.message(),
            }));
        }
        Decision::Observing { what, .. } => status.held_by.push(Reason {
            code: "Observing".to_owned(),
            message: format!("reading {what}"),
        }),
    }
    status
}

fn step(step: &Step) -> StepStatus {
    StepStatus {
        kind: step.action.kind().to_owned(),
        text: step.action.to_string(),
        reason: step.reason.clone(),
    }
}

fn step_ahead(step: &Ahead) -> StepStatus {
    StepStatus {
        kind: step.kind.to_owned(),
        text: step.text.clone(),
        reason: step.reason.clone(),
    }
}

fn sources(
    world: &World,
    files: &SpecFiles,
    store_down: Option<&str>,
    now: Now,
) -> Vec<SourceStatus> {
    let observed = &world.observed;
    let source = |name: &str, why: Option<String>, begun: Option<BootTime>| SourceStatus {
        name: name.to_owned(),
        ok: why.is_none(),
        message: why,
        age_ms: begun.map(|begun| millis(now.boot.since(begun))),
    };
    let cloud = observed.cloud.listed.as_ref();
    vec![
        source(
            "cloudstack",
            cloud.err().map(ToString::to_string),
            cloud.ok().copied(),
        ),
        source(
            "host",
            unknown(&observed.host.disks),
            Some(observed.host.begun),
        ),
        source(
            "nbd",
            unknown(&observed.nbd.exports),
            Some(observed.nbd.begun),
        ),
        source(
            "specs",
            world.desired.files.doubt().map(str::to_owned),
            files.read,
        ),
        source(
            "store",
            store_down.map(str::to_owned).or(rolled_back(world)),
            None,
        ),
    ]
}

/// That the store is older than the world, if it is.
pub(super) fn rolled_back(world: &World) -> Option<String> {
    let volumes = &world.memory.unknown_claims;
    (!volumes.is_empty()).then(|| {
        Blocked::StoreRolledBack {
            volumes: volumes.clone(),
        }
        .message()
    })
}

fn unknown<T>(reading: &Reading<T>) -> Option<String> {
    match reading {
        Reading::Present(_) | Reading::Absent => None,
        Reading::Unknown(why) => Some(why.clone()),
    }
}

fn exports(world: &World) -> Vec<ExportStatus> {
    let by_serial: BTreeMap<String, &VolumeName> = world
        .memory
        .bindings
        .iter()
        .map(|(name, binding)| (Serial::of(binding.volume).to_string(), name))
        .collect();
    let served = world.observed.nbd.exports.as_ref().present();
    served
        .into_iter()
        .flatten()
        .map(|(name, export)| {
            let node = export.node.as_str();
            let serial = node.get(1..node.len().saturating_sub(10)).unwrap_or("");
            ExportStatus {
                name: name.clone(),
                volume: by_serial.get(serial).map(|name| (*name).clone()),
                size: export.size,
                read_only: export.read_only,
                proven: export.proven,
                draining: export.draining,
            }
        })
        .collect()
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
