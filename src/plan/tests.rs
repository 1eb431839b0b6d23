//! Tables of worlds and the decisions they must lead to. The first case is always
//! "nothing to do". Here is what they are made from; each subject has a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::model::action::{CLAIM_TAG, Claim, Mark};
use crate::model::desired::{
    AttachSpec, AttachVm, DesiredVolume, ExportSpec, Mode, Move, NameOrId, Origin, Owner, Presence,
    Reclaim, VolumeDocument, VolumeSpec,
};
use crate::model::memory::{
    AcceptedView, Approved, Binding, Failure, FailureClass, ImpliedStep, Intent, Memory, Pause,
    Progress, Resolution,
};
use crate::model::observed::{
    Attachment, Catalogue, CloudView, CloudVm, CloudVolume, Device, DeviceNumber, DeviceUser,
    Disks, HostView, Named, NbdView, ServedExport, Unlisted, VmState, VolumeKind, VolumeState,
};
use crate::model::{
    BootTime, ByteSize, ExportName, InstanceId, IntentId, JobId, NodeName, OfferingId, Reading,
    Serial, SpecUid, Timestamp, VmId, VolumeId, ZoneId,
};

mod attach;
mod claim;
mod delete;
mod guard;
mod path;
mod serve;

const NAME: &str = "disk-0";

/// A spec of this name makes [`decide`] panic.
pub(super) const PANICS: &str = "panics";

fn uuid(n: u64) -> Uuid {
    // Different in the first 20 digits, so that serials differ too.
    Uuid::from_u128((u128::from(n) << 96) | 7)
}

fn volume_id() -> VolumeId {
    VolumeId::new(uuid(1))
}

fn here() -> VmId {
    VmId::new(uuid(100))
}

fn other() -> VmId {
    VmId::new(uuid(101))
}

fn zone() -> ZoneId {
    ZoneId::new(uuid(200))
}

fn offering() -> OfferingId {
    OfferingId::new(uuid(201))
}

fn uid() -> SpecUid {
    SpecUid::new(uuid(300))
}

fn instance() -> InstanceId {
    InstanceId::new(uuid(301))
}

/// A moment of a machine that has been up for some hours.
fn at(millis: u64) -> BootTime {
    BootTime::from_millis(10_000_000 + millis)
}

fn now() -> Now {
    Now {
        wall: Timestamp::from_millis(1_800_000_000_000),
        boot: at(1_000_000),
    }
}

fn claim(mark: Mark) -> Claim {
    Claim {
        instance: instance(),
        spec: uid(),
        mark,
    }
}

fn name() -> VolumeName {
    NAME.parse().expect("a name")
}

fn export_name() -> ExportName {
    ExportName::default_for(volume_id())
}

fn device() -> Device {
    Device {
        kernel_name: "vdb".to_owned(),
        number: DeviceNumber::Block {
            major: 254,
            minor: 16,
        },
        serial: Some(Serial::of(volume_id())),
        size: ByteSize::gib(4),
        diskseq: Some(9),
        users: Vec::new(),
    }
}

fn node() -> NodeName {
    let device = device();
    NodeName::of(&Serial::of(volume_id()), device.number, device.diskseq)
}

fn served() -> ServedExport {
    ServedExport {
        node: node(),
        size: ByteSize::gib(4),
        read_only: false,
        proven: true,
        draining: false,
    }
}

fn cloud_volume() -> CloudVolume {
    CloudVolume {
        id: volume_id(),
        name: NAME.to_owned(),
        size: ByteSize::gib(4),
        state: VolumeState::Ready,
        kind: VolumeKind::Data,
        zone: zone(),
        offering: Some(offering()),
        attachment: Some(Attachment {
            vm: here(),
            device_id: Some(1),
        }),
        pending_job: None,
        tags: BTreeMap::from([(CLAIM_TAG.to_owned(), claim(Mark::Created).to_string())]),
        created: None,
        begun: at(990_000),
    }
}

fn vm(id: VmId, state: VmState) -> CloudVm {
    CloudVm {
        id,
        name: format!("vm-{id}"),
        state,
        zone: zone(),
        begun: at(990_000),
    }
}

/// A spec for a volume of 4 GiB on this VM, exported.
fn wanted() -> DesiredVolume {
    DesiredVolume {
        document: VolumeDocument {
            name: name(),
            labels: BTreeMap::new(),
            spec: VolumeSpec {
                mode: Mode::Enforce,
                suspend: false,
                origin: Origin::Create {
                    volume_name: NAME.to_owned(),
                    size: ByteSize::gib(4),
                    zone: NameOrId::Name("zone-1".to_owned()),
                    offering: NameOrId::Name("custom".to_owned()),
                },
                attach_to: Some(AttachSpec {
                    vm: AttachVm::SelfVm,
                    device_id: None,
                    take: Move::Never,
                }),
                export: Some(ExportSpec {
                    name: None,
                    read_only: false,
                    drain_timeout: Duration::from_secs(300),
                }),
                reclaim_policy: Reclaim::Retain,
                deletion_protection: true,
            },
        },
        uid: uid(),
        generation: 1,
        owner: Owner::File("a.yaml".to_owned()),
        presence: Presence::Declared,
    }
}

/// A world in which everything is as [`wanted`] asks.
fn in_sync() -> World {
    let mut memory = Memory::new(instance());
    memory.bindings.insert(
        name(),
        Binding {
            volume: volume_id(),
            uid: uid(),
            mark: Mark::Created,
        },
    );
    memory.placements.insert(volume_id(), here());
    memory.resolutions.insert(
        name(),
        Resolution {
            generation: 1,
            zone: Some(zone()),
            offering: Some(offering()),
            vm: None,
            existing: None,
        },
    );
    let link = format!("virtio-{}", Serial::of(volume_id()));
    World {
        desired: Desired::new(
            BTreeMap::from([(name(), wanted())]),
            SourceHealth::Sound,
            [],
        ),
        observed: Observed {
            cloud: CloudView {
                volumes: BTreeMap::from([(volume_id(), cloud_volume())]),
                absent: BTreeMap::new(),
                named: BTreeMap::new(),
                vms: BTreeMap::from([
                    (here(), vm(here(), VmState::Running)),
                    (other(), vm(other(), VmState::Stopped)),
                ]),
                listed: Ok(at(990_000)),
                catalogue: Some(Catalogue {
                    zones: vec![Named {
                        id: zone(),
                        name: "zone-1".to_owned(),
                    }],
                    offerings: vec![Named {
                        id: offering(),
                        name: "custom".to_owned(),
                    }],
                }),
                server_time: Some((now().wall, now().boot)),
            },
            host: HostView {
                disks: Reading::Present(Disks {
                    devices: BTreeMap::from([("vdb".to_owned(), device())]),
                    links: BTreeMap::from([(link, "vdb".to_owned())]),
                }),
                self_vm: Reading::Present(here()),
                begun: at(995_000),
            },
            nbd: NbdView::read(
                Reading::Present(BTreeMap::from([(export_name(), served())])),
                at(996_000),
            ),
        },
        memory,
    }
}

fn want(world: &mut World) -> &mut DesiredVolume {
    world.desired.volumes.get_mut(&name()).expect("one spec")
}

fn spec(world: &mut World) -> &mut VolumeSpec {
    let want = want(world);
    &mut want.document.spec
}

fn cloud(world: &mut World) -> &mut CloudVolume {
    let volumes = &mut world.observed.cloud.volumes;
    volumes.get_mut(&volume_id()).expect("one volume")
}

fn disks(world: &mut World) -> &mut Disks {
    match &mut world.observed.host.disks {
        Reading::Present(disks) => disks,
        Reading::Absent | Reading::Unknown(_) => panic!("no disks"),
    }
}

fn unplug(world: &mut World) {
    *disks(world) = Disks::default();
}

fn exports(world: &mut World) -> &mut BTreeMap<ExportName, ServedExport> {
    match &mut world.observed.nbd.exports {
        Reading::Present(exports) => exports,
        Reading::Absent | Reading::Unknown(_) => panic!("no exports"),
    }
}

fn unbound(world: &mut World) {
    world.memory.bindings.clear();
    world.memory.placements.clear();
    world.observed.cloud.volumes.clear();
    unplug(world);
    exports(world).clear();
}

fn detached(world: &mut World) {
    cloud(world).attachment = None;
    unplug(world);
    exports(world).clear();
}

fn abandon(world: &mut World, counted: Duration, reclaim: Reclaim) {
    spec(world).reclaim_policy = reclaim;
    let want = world.desired.volumes.get_mut(&name()).expect("one spec");
    want.presence = Presence::Abandoned { counted };
}

/// The spec wants it on no VM any more, and not exported.
fn leave_this_vm(world: &mut World) {
    if let Some(attach) = &mut spec(world).attach_to {
        attach.vm = AttachVm::Nobody;
    }
    spec(world).export = None;
}

fn intent(action: Action) -> Intent {
    Intent {
        id: IntentId::new(uuid(400)),
        name: name(),
        generation: 1,
        action,
        cause: Cause::Declared,
        created: now().wall,
        expires: now().wall,
        progress: Progress::Submitted(JobId::new(uuid(400))),
    }
}

/// What was undone so many seconds ago.
fn undone(kind: &str, ago: [u64; 3]) -> Vec<ImpliedStep> {
    let step = |secs| ImpliedStep {
        name: name(),
        kind: kind.to_owned(),
        cause: Cause::Healing,
        owner: Owner::File("a.yaml".to_owned()),
        at: now().boot.minus(Duration::from_secs(secs)),
    };
    ago.map(step).into()
}

/// A pause of an hour from now.
fn pause() -> Pause {
    Pause {
        until: now().boot.plus(Duration::from_secs(3600)),
        reason: "restore".to_owned(),
    }
}

/// The decision in one line: `Act Kind cause > then kinds`, `Waiting Reason > …`,
/// `Blocked Reason, … > …`.
fn say(plan: &VolumePlan) -> String {
    let then = |then: &[Ahead]| {
        let kinds: Vec<&str> = then.iter().map(|step| step.kind).collect();
        if kinds.is_empty() {
            String::new()
        } else {
            format!(" > {}", kinds.join(" > "))
        }
    };
    match &plan.decision {
        Decision::InSync => "InSync".to_owned(),
        Decision::Released => "Released".to_owned(),
        Decision::Observing { .. } => "Observing".to_owned(),
        Decision::Act { now, then: rest } => {
            let mode = match &now.action {
                Action::Withdraw { mode, .. } => format!(" {mode:?}"),
                _ => String::new(),
            };
            let cause = now.cause.as_str();
            format!("Act {}{mode} {cause}{}", now.action.kind(), then(rest))
        }
        Decision::Waiting { on, then: rest } => format!("Waiting {}{}", on.reason(), then(rest)),
        Decision::Blocked { by, then: rest } => {
            let codes: Vec<&str> = by.iter().map(Blocked::reason).collect();
            format!("Blocked {}{}", codes.join(", "), then(rest))
        }
    }
}

fn decided(world: &World) -> VolumePlan {
    let plan = plan(world, &Policy::default(), &Guard::default(), now());
    plan.volumes.into_values().next().expect("one spec")
}

type Change = fn(&mut World);

fn check(cases: &[(&str, Change, &str)]) {
    for (case, change, expected) in cases {
        let mut world = in_sync();
        change(&mut world);
        assert_eq!(say(&decided(&world)), *expected, "{case}");
    }
}

fn fail(world: &mut World, kind: &str, class: FailureClass, retry_at: u64) {
    world.memory.failures.insert(
        name(),
        Failure {
            kind: kind.to_owned(),
            generation: 1,
            class,
            text: "no".to_owned(),
            attempts: 1,
            since: at(0),
            at: now().wall,
            retry_at: at(retry_at),
        },
    );
}

fn remember_view(world: &mut World, vm: Option<VmId>) {
    world.memory.views.insert(
        volume_id(),
        AcceptedView {
            size: ByteSize::gib(4),
            attachment: vm.map(|vm| Attachment {
                vm,
                device_id: None,
            }),
            at: now().wall,
        },
    );
}

fn forget(world: &mut World) {
    world.desired.volumes.clear();
    world.memory.bindings.clear();
}
