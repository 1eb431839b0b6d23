//! What the daemon says about itself and its volumes: computed from the world and the plan, never
//! read back. The API serves this document, the CLI prints it, with or without a daemon.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::desired::{DesiredVolume, Presence};
use crate::model::memory::{Binding, Failure, FailureClass, Intent, Progress};
use crate::model::observed::{CloudVolume, Device, Disks, ServedExport};
use crate::model::{
    BootTime, ByteSize, Cause, ExportName, InstanceId, IntentId, JobId, Now, Reading, Serial,
    Timestamp, VmId, VolumeId, VolumeName,
};
use crate::plan::{Ahead, Decision, Drift, Plan, Policy, SourceHealth, Step, VolumePlan, World};

/// Everything there is to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When it was written.
    pub at: Timestamp,
    /// Which store decides.
    pub instance: InstanceId,
    /// Which VM this is, if known.
    pub self_vm: Option<VmId>,
    /// How the outside can be seen.
    pub sources: Vec<SourceStatus>,
    /// Why implied steps are frozen, if they are.
    pub frozen: Option<String>,
    /// Every spec.
    pub volumes: Vec<VolumeStatus>,
    /// Everything the NBD server serves.
    pub exports: Vec<ExportStatus>,
}

/// How one part of the outside can be seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// `cloudstack`, `host`, `nbd`, `specs`, `store`.
    pub name: String,
    /// Whether it can be relied on now.
    pub ok: bool,
    /// If not, why.
    pub message: Option<String>,
    /// How old the last reading is, in milliseconds.
    pub age_ms: Option<u64>,
}

/// What there is to say about one spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStatus {
    /// Its name.
    pub name: VolumeName,
    /// Who wrote it.
    pub owner: String,
    /// The generation that all of this is about.
    pub observed_generation: u64,
    /// A summary in one word.
    pub phase: Phase,
    /// A summary in one sentence.
    pub message: String,
    /// The CloudStack volume, once there is one.
    pub volume_id: Option<VolumeId>,
    /// The serial of its disk.
    pub serial: Option<Serial>,
    /// Its size as each layer sees it, in bytes.
    pub capacity: Capacity,
    /// Where it is attached.
    pub attachment: Option<AttachmentStatus>,
    /// Its disk on this machine.
    pub device: Option<DeviceStatus>,
    /// Its export.
    pub export: Option<VolumeExport>,
    /// The call that is under way.
    pub intent: Option<IntentStatus>,
    /// What is to be done.
    pub plan: PlanStatus,
    /// What differs while nobody works on it.
    pub drift: Vec<Drift>,
    /// The same facts, for machines that wait.
    pub conditions: Vec<Condition>,
    /// Where the reading of its volume comes from.
    pub observed: ObservedStatus,
}

/// A summary of one volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// As asked.
    Ready,
    /// On its way.
    Progressing,
    /// Waiting for something that comes by itself.
    Waiting,
    /// Somebody has to do something.
    Blocked,
    /// The spec says not to act.
    Held,
    /// The spec is gone, and so is all that was to go with it.
    Released,
    /// Not known yet.
    Unknown,
}

/// Sizes in bytes; `null` where it is not known or not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// In CloudStack.
    pub cloud: Option<ByteSize>,
    /// Of the disk here.
    pub device: Option<ByteSize>,
    /// Of the export, as clients see it.
    pub export: Option<ByteSize>,
}

/// Where a volume is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentStatus {
    /// The VM.
    pub vm: VmId,
    /// Its name, if visible.
    pub vm_name: Option<String>,
    /// CloudStack's device id.
    pub device_id: Option<u8>,
}

/// A volume's disk on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// Its link in `/dev/disk/by-id`.
    pub by_id: Option<String>,
    /// Its kernel name now; changes over reboots.
    pub path: String,
    /// Its number.
    pub number: String,
}

/// A volume's export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeExport {
    /// Its name.
    pub name: ExportName,
    /// Whether clients may only read.
    pub read_only: bool,
    /// Connected clients; `null` when the server cannot tell.
    pub clients: Option<u32>,
}

/// A call that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentStatus {
    /// Its journal row.
    pub id: IntentId,
    /// What it does.
    pub action: String,
    /// Why.
    pub cause: Cause,
    /// Its job, once CloudStack named it.
    pub job: Option<JobId>,
    /// Since when.
    pub created: Timestamp,
    /// CloudStack refuses the call later than this.
    pub expires: Timestamp,
}

/// What is to be done for a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// The step that is due now.
    pub now: Option<StepStatus>,
    /// The steps after it, or after what is waited for.
    pub then: Vec<StepStatus>,
    /// Why nothing is done now: a code for each reason.
    pub held_by: Vec<Reason>,
    /// When it changes by itself, in milliseconds from `at`; `null` if not known.
    pub next_in_ms: Option<u64>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStatus {
    /// `Create`, `Tag`, `Bind`, `Grow`, `Attach`, `Detach`, `Export` or `Withdraw`.
    pub kind: String,
    /// What it does.
    pub text: String,
    /// Why.
    pub reason: String,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A stable code.
    pub code: String,
    /// A sentence that says what to do, where anything can be done.
    pub message: String,
}

/// One fact about a volume, in the form that waiting tools expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Attached`, `DeviceVerified`, `Exported`, `Drifted`, `Blocked`, `Stalled`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: Truth,
    /// A stable code.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Since when it has had this status.
    pub last_transition_time: Timestamp,
    /// Of which generation it speaks.
    pub observed_generation: u64,
}

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

/// How the reading of a volume came about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedStatus {
    /// How old it is, in milliseconds; `null` if there is none that counts.
    pub age_ms: Option<u64>,
    /// After which age it is no longer acted upon, in milliseconds.
    pub stale_after_ms: u64,
}

/// One export of the NBD server, ours or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportStatus {
    /// Its name.
    pub name: ExportName,
    /// The spec it belongs to; `null`: not ours.
    pub volume: Option<VolumeName>,
    /// Its size as clients see it.
    pub size: ByteSize,
    /// Whether clients may only read.
    pub read_only: bool,
    /// Whether the server holds the disk that was proven.
    pub proven: bool,
    /// Whether it is ending.
    pub draining: bool,
}

/// Remembers since when each condition has had its status.
#[derive(Debug, Default)]
pub struct Transitions(BTreeMap<(VolumeName, String), (Truth, Timestamp)>);

impl Transitions {
    fn since(&mut self, name: &VolumeName, kind: &str, status: Truth, now: Timestamp) -> Timestamp {
        let entry = self
            .0
            .entry((name.clone(), kind.to_owned()))
            .or_insert((status, now));
        if entry.0 != status {
            *entry = (status, now);
        }
        entry.1
    }
}

/// Writes the report.
pub fn report(
    world: &World,
    plan: &Plan,
    policy: &Policy,
    store_down: Option<&str>,
    transitions: &mut Transitions,
    now: Now,
) -> Report {
    let mut volumes = Vec::with_capacity(world.desired.volumes.len());
    for want in world.desired.volumes.values() {
        if let Some(planned) = plan.volumes.get(want.name()) {
            let facts = Facts::of(world, want);
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
        sources: sources(world, store_down, now),
        frozen: plan.guard.freeze.as_ref().map(|freeze| freeze.why.clone()),
        volumes,
        exports: exports(world),
    }
}

/// What is known of one volume, looked up once.
struct Facts<'a> {
    binding: Option<&'a Binding>,
    cloud: Option<&'a CloudVolume>,
    cloud_known: bool,
    device: Option<&'a Device>,
    link: Option<&'a str>,
    export: Option<(&'a ExportName, &'a ServedExport)>,
    failure: Option<&'a Failure>,
}

impl<'a> Facts<'a> {
    fn of(world: &'a World, want: &DesiredVolume) -> Self {
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
                crate::plan::Waiting::Intent { .. } => Phase::Progressing,
                _ => Phase::Waiting,
            };
            (phase, on.message())
        }
        Decision::Blocked { by, .. } => {
            let held = by.iter().all(crate::plan::Blocked::is_wish);
            let phase = if held { Phase::Held } else { Phase::Blocked };
            let all: Vec<String> = by.iter().map(crate::plan::Blocked::message).collect();
            (phase, all.join("; "))
        }
        Decision::Observing { what } => {
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
            status.next_in_ms = on.until().map(|until| millis(until.since(now)));
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
        Decision::Observing { what } => status.held_by.push(Reason {
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

/// One condition before it is known since when it holds.
struct Claim {
    kind: &'static str,
    status: Truth,
    reason: String,
    message: String,
}

fn conditions(
    want: &DesiredVolume,
    planned: &VolumePlan,
    facts: &Facts<'_>,
    status: &VolumeStatus,
    transitions: &mut Transitions,
    now: Now,
) -> Vec<Condition> {
    let claims = [
        ready(planned, status),
        attached(facts, status),
        verified(facts),
        exported(facts),
        drifted(planned),
        blocked(planned, status),
        stalled(want, facts, now),
    ];
    claims
        .into_iter()
        .map(|claim| Condition {
            last_transition_time: transitions.since(
                want.name(),
                claim.kind,
                claim.status,
                now.wall,
            ),
            kind: claim.kind.to_owned(),
            status: claim.status,
            reason: claim.reason,
            message: claim.message,
            observed_generation: want.generation,
        })
        .collect()
}

fn code(status: &VolumeStatus, otherwise: &str) -> String {
    match status.plan.held_by.first() {
        Some(reason) => reason.code.clone(),
        None => otherwise.to_owned(),
    }
}

fn ready(planned: &VolumePlan, status: &VolumeStatus) -> Claim {
    let (truth, reason) = match &planned.decision {
        Decision::InSync => (Truth::True, "InSync".to_owned()),
        Decision::Released => (Truth::False, "Released".to_owned()),
        Decision::Act { .. } => (Truth::False, "Progressing".to_owned()),
        Decision::Waiting { .. } | Decision::Blocked { .. } => {
            (Truth::False, code(status, "NotReady"))
        }
        Decision::Observing { .. } => (Truth::Unknown, "Observing".to_owned()),
    };
    Claim {
        kind: "Ready",
        status: truth,
        reason,
        message: status.message.clone(),
    }
}

fn attached(facts: &Facts<'_>, status: &VolumeStatus) -> Claim {
    let (truth, reason, message) = match (&status.attachment, facts.cloud_known) {
        (Some(at), _) => {
            let name = at.vm_name.as_deref().unwrap_or("?");
            (Truth::True, "Attached", format!("to VM {name} ({})", at.vm))
        }
        (None, true) => (Truth::False, "Detached", "on no VM".to_owned()),
        (None, false) => (
            Truth::Unknown,
            "SourceUnknown",
            "CloudStack could not be read".to_owned(),
        ),
    };
    Claim {
        kind: "Attached",
        status: truth,
        reason: reason.to_owned(),
        message,
    }
}

fn verified(facts: &Facts<'_>) -> Claim {
    let (truth, reason, message) = match (facts.device, facts.link) {
        (Some(device), Some(link)) => (
            Truth::True,
            "SerialMatches",
            format!("{link} is {}", device.kernel_name),
        ),
        (Some(device), None) => (
            Truth::False,
            "NoLink",
            format!("{} carries its serial but has no link", device.kernel_name),
        ),
        (None, _) => (
            Truth::False,
            "NoDevice",
            "no disk here carries its serial".to_owned(),
        ),
    };
    Claim {
        kind: "DeviceVerified",
        status: truth,
        reason: reason.to_owned(),
        message,
    }
}

fn exported(facts: &Facts<'_>) -> Claim {
    let (truth, reason, message) = match facts.export {
        Some((name, export)) if export.proven => {
            let reason = if facts.cloud.is_some() {
                "Exported"
            } else {
                "ExportedUnconfirmed"
            };
            (Truth::True, reason, format!("as {name}"))
        }
        Some((name, _)) => (
            Truth::False,
            "NotProven",
            format!("{name} is not backed by the proven disk"),
        ),
        None => (Truth::False, "NotExported", "not served".to_owned()),
    };
    Claim {
        kind: "Exported",
        status: truth,
        reason: reason.to_owned(),
        message,
    }
}

fn drifted(planned: &VolumePlan) -> Claim {
    let fields: Vec<&str> = planned
        .drift
        .iter()
        .map(|drift| drift.field.as_str())
        .collect();
    Claim {
        kind: "Drifted",
        status: if fields.is_empty() {
            Truth::False
        } else {
            Truth::True
        },
        reason: if fields.is_empty() {
            "NoDrift"
        } else {
            "Drift"
        }
        .to_owned(),
        message: if fields.is_empty() {
            "nothing differs unattended".to_owned()
        } else {
            format!("differs in {}", fields.join(", "))
        },
    }
}

fn blocked(planned: &VolumePlan, status: &VolumeStatus) -> Claim {
    let is_blocked = matches!(planned.decision, Decision::Blocked { .. });
    Claim {
        kind: "Blocked",
        status: if is_blocked {
            Truth::True
        } else {
            Truth::False
        },
        reason: if is_blocked {
            code(status, "Blocked")
        } else {
            "NotBlocked".to_owned()
        },
        message: if is_blocked {
            status.message.clone()
        } else {
            "nothing stands in the way for good".to_owned()
        },
    }
}

/// How long clients may take to leave where no spec says otherwise any more.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
/// Attempts in a row after which a step counts as stalled.
const STALLED_ATTEMPTS: u32 = 5;

/// Whether it has been tried, or waited for, longer than is normal.
fn stalled(want: &DesiredVolume, facts: &Facts<'_>, now: Now) -> Claim {
    let drain = want
        .spec()
        .export
        .as_ref()
        .map(|export| export.drain_timeout);
    let stalled = facts.failure.filter(|failure| match failure.class {
        FailureClass::InUse => now.boot.since(failure.since) > drain.unwrap_or(DRAIN_TIMEOUT),
        FailureClass::Refused => false,
        FailureClass::Environment
        | FailureClass::Retry
        | FailureClass::Quota
        | FailureClass::Throttled => failure.attempts >= STALLED_ATTEMPTS,
    });
    let (status, reason, message) = match stalled {
        None => (
            Truth::False,
            "NotStalled",
            "nothing takes too long".to_owned(),
        ),
        Some(failure) if failure.class == FailureClass::InUse => (
            Truth::True,
            "DrainTimeout",
            "clients still use the export; disconnect them, they are never cut off by a timer"
                .to_owned(),
        ),
        Some(failure) => (
            Truth::True,
            "RepeatedFailure",
            format!(
                "{} failed {} times in a row and goes on being tried: {}",
                failure.kind, failure.attempts, failure.text
            ),
        ),
    };
    Claim {
        kind: "Stalled",
        status,
        reason: reason.to_owned(),
        message,
    }
}

fn sources(world: &World, store_down: Option<&str>, now: Now) -> Vec<SourceStatus> {
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
            match &world.desired.files {
                SourceHealth::Sound => None,
                SourceHealth::Suspect(why) => Some(why.clone()),
            },
            None,
        ),
        source("store", store_down.map(str::to_owned), None),
    ]
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
