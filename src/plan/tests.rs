//! Tables of worlds and the decisions they must lead to. The first case is always
//! "nothing to do".

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
use uuid::Uuid;

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

#[test]
fn the_path_to_a_served_volume() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "new",
            unbound,
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "made, not claimed",
            |w| {
                detached(w);
                cloud(w).tags.clear();
                w.memory.placements.clear();
            },
            "Act Tag declared > Attach > Export",
        ),
        (
            "claimed",
            |w| {
                detached(w);
                w.memory.placements.clear();
            },
            "Act Attach declared > Export",
        ),
        (
            "attached, disk not here yet",
            |w| {
                unplug(w);
                exports(w).clear();
            },
            "Waiting WaitingForDevice",
        ),
        ("disk here", |w| exports(w).clear(), "Act Export declared"),
        (
            "too small",
            |w| {
                if let Origin::Create { size, .. } = &mut spec(w).origin {
                    *size = ByteSize::gib(5);
                }
            },
            "Act Grow declared",
        ),
        (
            "grown in CloudStack, not here",
            |w| {
                cloud(w).size = ByteSize::gib(5);
                exports(w).clear();
            },
            "Waiting WaitingForDeviceSize",
        ),
        (
            "grown here, not served",
            |w| {
                cloud(w).size = ByteSize::gib(5);
                disks(w).devices.get_mut("vdb").expect("vdb").size = ByteSize::gib(5);
            },
            "Act Withdraw Soft declared > Export",
        ),
        (
            "read-only now",
            |w| {
                if let Some(export) = &mut spec(w).export {
                    export.read_only = true;
                }
            },
            "Act Withdraw Soft declared > Export",
        ),
        (
            "not exported any more",
            |w| spec(w).export = None,
            "Act Withdraw Soft declared",
        ),
        (
            "detached on purpose",
            |w| {
                if let Some(attach) = &mut spec(w).attach_to {
                    attach.vm = AttachVm::Nobody;
                }
                spec(w).export = None;
            },
            "Act Withdraw Soft declared > Detach",
        ),
    ]);
}

#[test]
fn nothing_overlaps() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "our own call is under way",
            |w| {
                detached(w);
                let action = Action::Attach {
                    volume: volume_id(),
                    vm: here(),
                    device_id: None,
                };
                w.memory.intents.insert(name(), intent(action));
            },
            "Waiting InProgress",
        ),
        (
            "somebody else's job",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).pending_job = Some(JobId::new(uuid(401)));
            },
            "Waiting ForeignJob > Attach > Export",
        ),
        (
            "volume between two states",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).state = VolumeState::parse("Snapshotting");
            },
            "Waiting Transitional > Attach > Export",
        ),
        (
            "the volume was read too long ago to detach it",
            |w| {
                cloud(w).begun = at(989_999);
                exports(w).clear();
                spec(w).export = None;
                spec(w).attach_to.as_mut().expect("attached").vm = AttachVm::Nobody;
            },
            "Observing",
        ),
        (
            "the VM was read too long ago to attach to it",
            |w| {
                detached(w);
                w.memory.placements.clear();
                let seen = w.observed.cloud.vms.get_mut(&here()).expect("listed");
                seen.begun = at(989_999);
            },
            "Observing",
        ),
        (
            "VM between two states",
            |w| {
                detached(w);
                w.memory.placements.clear();
                let state = VmState::parse("Starting");
                w.observed.cloud.vms.insert(here(), vm(here(), state));
            },
            "Waiting Transitional > Attach > Export",
        ),
        (
            "the VM it is to leave between two states",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                let state = VmState::parse("Migrating");
                w.observed.cloud.vms.insert(here(), vm(here(), state));
            },
            "Waiting Transitional > Detach",
        ),
        (
            "to be grown, its VM between two states",
            |w| {
                if let Origin::Create { size, .. } = &mut spec(w).origin {
                    *size = ByteSize::gib(5);
                }
                let state = VmState::parse("Stopping");
                w.observed.cloud.vms.insert(here(), vm(here(), state));
            },
            "Waiting Transitional > Grow",
        ),
        (
            "read before the last change settled",
            |w| {
                detached(w);
                w.memory.settled.insert(name(), at(990_000));
            },
            "Observing",
        ),
    ]);
}

#[test]
fn foreign_is_foreign() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "the root disk of a VM that was destroyed, where somebody put it",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).kind = VolumeKind::Root;
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(0),
                });
                let gone = vm(other(), VmState::Gone("Destroyed".to_owned()));
                w.observed.cloud.vms.insert(other(), gone);
            },
            "Blocked VolumeAtRisk, ForeignAttachment > Attach > Export",
        ),
        (
            "the same, where the spec wants it",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                let attach = spec(w).attach_to.as_mut().expect("attached");
                attach.vm = AttachVm::Vm(NameOrId::Id(other()));
                spec(w).export = None;
                w.memory.resolutions.get_mut(&name()).expect("resolved").vm = Some(other());
                cloud(w).kind = VolumeKind::Root;
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(0),
                });
                let gone = vm(other(), VmState::Gone("Destroyed".to_owned()));
                w.observed.cloud.vms.insert(other(), gone);
            },
            "Blocked VolumeAtRisk",
        ),
        (
            "the same, and the spec wants it nowhere any more",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                spec(w).attach_to.as_mut().expect("attached").vm = AttachVm::Nobody;
                spec(w).export = None;
                cloud(w).kind = VolumeKind::Root;
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(0),
                });
                let gone = vm(other(), VmState::Gone("Destroyed".to_owned()));
                w.observed.cloud.vms.insert(other(), gone);
            },
            "Act Detach edited",
        ),
        (
            "on another VM, where we did not put it",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
            },
            "Blocked ForeignAttachment > Attach > Export",
        ),
        (
            "the same, stopped, and the spec allows taking it",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                if let Some(attach) = &mut spec(w).attach_to {
                    attach.take = Move::WhenFree;
                }
            },
            "Act Detach healing > Attach > Export",
        ),
        (
            "the same, taken and put there again for the fourth time in an hour",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                if let Some(attach) = &mut spec(w).attach_to {
                    attach.take = Move::WhenFree;
                }
                w.memory.implied = undone(Action::DETACH, [3000, 2000, 1000]);
            },
            "Blocked Contended > Detach > Attach > Export",
        ),
        (
            "the same, running",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                w.observed
                    .cloud
                    .vms
                    .insert(other(), vm(other(), VmState::Running));
                if let Some(attach) = &mut spec(w).attach_to {
                    attach.take = Move::WhenFree;
                }
            },
            "Blocked ForeignAttachment > Attach > Export",
        ),
        (
            "we put it on a VM that runs now",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                w.observed
                    .cloud
                    .vms
                    .insert(other(), vm(other(), VmState::Running));
            },
            "Blocked OtherVMRunning > Attach > Export",
        ),
        (
            "we put it on a VM that no listing shows",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                w.observed.cloud.vms.remove(&other());
            },
            "Blocked VMGone > Attach > Export",
        ),
        (
            "claimed by somebody else",
            |w| {
                cloud(w)
                    .tags
                    .insert(CLAIM_TAG.to_owned(), "somebody".to_owned());
            },
            "Blocked ClaimedBy",
        ),
        (
            "the name is taken",
            |w| {
                unbound(w);
                let mut volume = cloud_volume();
                volume.tags.clear();
                w.observed.cloud.volumes.insert(volume_id(), volume);
            },
            "Blocked NameTaken > Attach > Export",
        ),
        (
            "whether the name is free was not read since it was asked for",
            |w| {
                unbound(w);
                w.memory.seen.insert(name(), at(990_001));
            },
            "Observing",
        ),
        (
            "it was, on its own",
            |w| {
                unbound(w);
                w.memory.seen.insert(name(), at(990_001));
                w.observed.cloud.named.insert(NAME.to_owned(), at(990_002));
            },
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "not listed since a create of ours settled",
            |w| {
                unbound(w);
                w.memory.settled.insert(name(), at(990_000));
            },
            "Observing",
        ),
        (
            "two volumes carry our claim",
            |w| {
                w.memory.bindings.clear();
                exports(w).clear();
                let mut twin = cloud_volume();
                twin.id = VolumeId::new(uuid(2));
                w.observed.cloud.volumes.insert(twin.id, twin);
            },
            "Blocked ClaimedTwice > Attach > Export",
        ),
        (
            "ours by its claim, only not recorded",
            |w| {
                w.memory.bindings.clear();
                exports(w).clear();
            },
            "Act Bind declared > Export",
        ),
    ]);
}

#[test]
fn healing_waits_and_heals_this_vm_only() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "just vanished",
            detached,
            "Waiting HealDelay > Attach > Export",
        ),
        (
            "vanished a while ago",
            |w| {
                detached(w);
                w.memory.vanished.insert(volume_id(), at(960_000));
            },
            "Act Attach healing > Export",
        ),
        (
            "vanished for the fourth time in an hour",
            |w| {
                detached(w);
                w.memory.vanished.insert(volume_id(), at(960_000));
                w.memory.implied = undone(Action::ATTACH, [3000, 2000, 1000]);
            },
            "Blocked Contended > Attach > Export",
        ),
        (
            "the same, over more than an hour",
            |w| {
                detached(w);
                w.memory.vanished.insert(volume_id(), at(960_000));
                w.memory.implied = undone(Action::ATTACH, [3601, 2000, 1000]);
            },
            "Act Attach healing > Export",
        ),
        (
            "vanished from another VM",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                let attach = spec(w).attach_to.as_mut().expect("attached");
                attach.vm = AttachVm::Vm(NameOrId::Id(other()));
                w.memory.resolutions.get_mut(&name()).expect("resolved").vm = Some(other());
                spec(w).export = None;
            },
            "Blocked VanishedElsewhere",
        ),
        (
            "detached in CloudStack, disk still here",
            |w| {
                cloud(w).attachment = None;
                exports(w).clear();
            },
            "Blocked PlacementDisputed > Attach > Export",
        ),
        (
            "the same, and served",
            |w| cloud(w).attachment = None,
            "Act Withdraw Soft declared > Attach > Export",
        ),
    ]);
}

/// The spec wants it on no VM any more, and not exported.
fn leave_this_vm(world: &mut World) {
    if let Some(attach) = &mut spec(world).attach_to {
        attach.vm = AttachVm::Nobody;
    }
    spec(world).export = None;
}

#[test]
fn nothing_is_unplugged_before_it_is_quiet() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "served",
            leave_this_vm,
            "Act Withdraw Soft declared > Detach",
        ),
        (
            "not served",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
            },
            "Act Detach edited",
        ),
        (
            "mounted here",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                let device = disks(w).devices.get_mut("vdb").expect("vdb");
                device.users = vec![DeviceUser::Mount("/mnt".to_owned())];
            },
            "Blocked DeviceBusy > Detach",
        ),
        (
            "whether it is served was not asked since we changed it",
            |w| {
                leave_this_vm(w);
                w.memory.served.insert(name(), at(996_000));
            },
            "Observing",
        ),
        (
            "whether it is served cannot be asked",
            |w| {
                leave_this_vm(w);
                w.observed.nbd.exports = Reading::Unknown("down".to_owned());
            },
            "Blocked SourceUnknown > Detach",
        ),
        (
            "who uses it cannot be read",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                w.observed.host.disks = Reading::Unknown("EIO".to_owned());
            },
            "Observing",
        ),
        (
            "the disk went after CloudStack was asked",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                unplug(w);
            },
            "Observing",
        ),
        (
            "the disk is gone already",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                unplug(w);
                w.observed.host.begun = at(980_000);
            },
            "Act Detach edited",
        ),
    ]);
}

#[test]
fn a_lost_volume_is_never_made_anew() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "not in the listing",
            |w| w.observed.cloud.volumes.clear(),
            "Observing",
        ),
        (
            "looked up and gone, disk here",
            |w| {
                w.observed.cloud.volumes.clear();
                w.observed.cloud.absent.insert(volume_id(), at(991_000));
            },
            "Act Withdraw Soft declared",
        ),
        (
            "looked up and gone",
            |w| {
                w.observed.cloud.volumes.clear();
                w.observed.cloud.absent.insert(volume_id(), at(991_000));
                unplug(w);
                exports(w).clear();
            },
            "Blocked VolumeLost",
        ),
        (
            "destroyed",
            |w| {
                detached(w);
                cloud(w).state = VolumeState::Destroy;
            },
            "Blocked VolumeDestroyed",
        ),
    ]);
}

#[test]
fn what_is_wrong_on_the_host_ends_at_once() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        ("disk gone", unplug, "Act Withdraw Hard healing"),
        (
            "disk gone, everything frozen and CloudStack away",
            |w| {
                unplug(w);
                w.desired.files = SourceHealth::Suspect("empty".to_owned());
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                spec(w).suspend = true;
            },
            "Act Withdraw Hard healing",
        ),
        (
            "another disk under the same serial",
            |w| disks(w).devices.get_mut("vdb").expect("vdb").diskseq = Some(10),
            "Act Withdraw Hard healing",
        ),
        (
            "size zero",
            |w| disks(w).devices.get_mut("vdb").expect("vdb").size = ByteSize::bytes(0),
            "Act Withdraw Hard healing",
        ),
        (
            "the server holds something else",
            |w| exports(w).get_mut(&export_name()).expect("served").proven = false,
            "Act Withdraw Hard healing",
        ),
        (
            "CloudStack says another VM",
            |w| {
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: None,
                });
            },
            "Act Withdraw Hard healing",
        ),
        (
            "the server cannot be asked any more, and the disk goes",
            |w| {
                unplug(w);
                w.observed.nbd.last_known = exports(w).clone();
                w.observed.nbd.exports = Reading::Unknown("it refuses".to_owned());
            },
            "Act Withdraw Hard healing",
        ),
        (
            "a withdrawal failed a moment ago",
            |w| {
                unplug(w);
                fail(w, "Withdraw", FailureClass::Retry, 1_000_500);
            },
            "Waiting Retrying > Withdraw",
        ),
        (
            "a withdrawal failed a while ago",
            |w| {
                unplug(w);
                fail(w, "Withdraw", FailureClass::Retry, 1_000_000);
            },
            "Act Withdraw Hard healing",
        ),
        (
            "a call is under way, and the disk goes",
            |w| {
                unplug(w);
                let action = Action::Detach {
                    volume: volume_id(),
                    vm: here(),
                };
                w.memory.intents.insert(name(), intent(action));
            },
            "Act Withdraw Hard healing",
        ),
        (
            "the link is missing, serial and diskseq agree",
            |w| disks(w).links.clear(),
            "InSync",
        ),
        (
            "the host cannot be read",
            |w| w.observed.host.disks = Reading::Unknown("EIO".to_owned()),
            "InSync",
        ),
        (
            "withdrawn already, the server not asked again yet",
            |w| {
                unplug(w);
                w.memory.served.insert(name(), at(996_000));
            },
            "Observing",
        ),
    ]);
}

#[test]
fn exports_take_every_fact() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "mounted",
            |w| {
                exports(w).clear();
                let device = disks(w).devices.get_mut("vdb").expect("vdb");
                device.users = vec![DeviceUser::Mount("/mnt".to_owned())];
            },
            "Blocked DeviceBusy",
        ),
        (
            "mounted, exported read-only",
            |w| {
                exports(w).clear();
                let device = disks(w).devices.get_mut("vdb").expect("vdb");
                device.users = vec![DeviceUser::Mount("/mnt".to_owned())];
                spec(w).export.as_mut().expect("export").read_only = true;
            },
            "Act Export declared",
        ),
        (
            "the link leads elsewhere",
            |w| {
                exports(w).clear();
                disks(w).devices.get_mut("vdb").expect("vdb").serial = None;
            },
            "Blocked DeviceMismatch",
        ),
        (
            "no link with its name, though a disk has its serial",
            |w| {
                exports(w).clear();
                disks(w).links.clear();
            },
            "Waiting WaitingForDevice",
        ),
        (
            "the disks were read before the last change settled",
            |w| {
                exports(w).clear();
                w.observed.host.begun = at(980_000);
                w.memory.settled.insert(name(), at(985_000));
            },
            "Observing",
        ),
        (
            "two disks with that serial",
            |w| {
                exports(w).clear();
                let mut twin = device();
                twin.kernel_name = "vdc".to_owned();
                disks(w).devices.insert("vdc".to_owned(), twin);
            },
            "Blocked DeviceMismatch",
        ),
        (
            "another volume shares the serial",
            |w| {
                exports(w).clear();
                let mut twin = cloud_volume();
                twin.id = VolumeId::new(Uuid::from_u128(volume_id().uuid().as_u128() + 1));
                w.observed.cloud.volumes.insert(twin.id, twin);
            },
            "Blocked SerialCollision",
        ),
        (
            "the name belongs to another volume",
            |w| {
                exports(w).clear();
                let owner = VolumeId::new(uuid(2));
                w.memory.export_names.insert(export_name(), owner);
            },
            "Blocked ExportNameTaken",
        ),
        (
            "somebody else serves under the name",
            |w| {
                let foreign = exports(w).get_mut(&export_name()).expect("served");
                foreign.node = NodeName::reported("drive0");
            },
            "Blocked ExportNameTaken",
        ),
        (
            "the server cannot be asked",
            |w| w.observed.nbd.exports = Reading::Unknown("down".to_owned()),
            "Blocked SourceUnknown",
        ),
        (
            "a client uses what should end",
            |w| {
                spec(w).export = None;
                fail(w, "Withdraw", FailureClass::InUse, 1_200_000);
            },
            "Waiting WaitingForClients > Withdraw",
        ),
        (
            "CloudStack away, nothing served, last seen here",
            |w| {
                exports(w).clear();
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                remember_view(w, Some(here()));
            },
            "Act Export declared",
        ),
        (
            "CloudStack away, nothing served, and wanted nowhere",
            |w| {
                exports(w).clear();
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                remember_view(w, Some(here()));
                spec(w).attach_to.as_mut().expect("attached").vm = AttachVm::Nobody;
            },
            "Blocked SourceUnknown",
        ),
        (
            "CloudStack away, nothing served, and something was changed in this run",
            |w| {
                exports(w).clear();
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                remember_view(w, Some(here()));
                w.memory.settled.insert(name(), at(980_000));
            },
            "Blocked SourceUnknown",
        ),
        (
            "CloudStack away, nothing served, last seen elsewhere",
            |w| {
                exports(w).clear();
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                remember_view(w, Some(other()));
            },
            "Blocked SourceUnknown",
        ),
    ]);
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

#[test]
fn gates_hold_every_step_back() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "paused",
            |w| {
                unbound(w);
                w.memory.pauses.volumes.insert(name(), pause());
            },
            "Waiting Paused > Create > Tag > Attach > Export",
        ),
        (
            "everything is paused",
            |w| {
                unbound(w);
                w.memory.pauses.all = Some(pause());
            },
            "Waiting Paused > Create > Tag > Attach > Export",
        ),
        (
            "a pause that is over",
            |w| {
                unbound(w);
                let over = Pause {
                    until: now().boot,
                    ..pause()
                };
                w.memory.pauses.volumes.insert(name(), over);
            },
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "paused, but the disk is gone",
            |w| {
                unplug(w);
                w.memory.pauses.all = Some(pause());
            },
            "Act Withdraw Hard healing",
        ),
        (
            "the store is older than a volume with its claim",
            |w| {
                unbound(w);
                w.memory.unknown_claims = vec![volume_id()];
            },
            "Blocked StoreRolledBack > Create > Tag > Attach > Export",
        ),
        (
            "the same, and nothing new is exported",
            |w| {
                exports(w).clear();
                w.memory.unknown_claims = vec![volume_id()];
            },
            "Blocked StoreRolledBack > Export",
        ),
        (
            "suspended",
            |w| {
                unbound(w);
                spec(w).suspend = true;
            },
            "Blocked Held > Create > Tag > Attach > Export",
        ),
        (
            "observed only",
            |w| {
                unbound(w);
                spec(w).mode = Mode::Observe;
            },
            "Blocked Held > Create > Tag > Attach > Export",
        ),
        (
            "CloudStack away",
            |w| {
                unbound(w);
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
            },
            "Blocked SourceUnknown > Attach > Export",
        ),
        (
            "CloudStack has not answered yet",
            |w| {
                unbound(w);
                w.observed.cloud.listed = Err(Unlisted::NotAsked);
            },
            "Observing",
        ),
        (
            "the last listing is old",
            |w| {
                unbound(w);
                w.observed.cloud.listed = Ok(at(0));
            },
            "Observing",
        ),
        (
            "clocks apart",
            |w| {
                unbound(w);
                let server = now().wall.plus(Duration::from_secs(31));
                w.observed.cloud.server_time = Some((server, now().boot));
            },
            "Blocked ClockSkew > Create > Tag > Attach > Export",
        ),
        (
            "refused before",
            |w| {
                unbound(w);
                fail(w, "Create", FailureClass::Refused, 0);
            },
            "Blocked Refused > Create > Tag > Attach > Export",
        ),
        (
            "failed just now",
            |w| {
                unbound(w);
                fail(w, "Create", FailureClass::Retry, 1_000_001);
            },
            "Waiting Retrying > Create > Tag > Attach > Export",
        ),
        (
            "refused before, then edited",
            |w| {
                unbound(w);
                fail(w, "Create", FailureClass::Refused, 0);
                w.memory.failures.get_mut(&name()).expect("one").generation = 0;
            },
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "another step failed just now",
            |w| {
                unbound(w);
                fail(w, "Attach", FailureClass::Retry, 1_000_001);
            },
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "failed a while ago",
            |w| {
                unbound(w);
                fail(w, "Create", FailureClass::Retry, 1_000_000);
            },
            "Act Create declared > Tag > Attach > Export",
        ),
    ]);
}

#[test]
fn an_abandoned_spec_is_reclaimed_as_it_said() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let case = |counted, reclaim, change: Change| {
        let mut world = in_sync();
        abandon(&mut world, counted, reclaim);
        change(&mut world);
        say(&decided(&world))
    };
    let seconds = Duration::from_secs;
    assert_eq!(
        case(seconds(9), Reclaim::Retain, |_| {}),
        "Waiting Abandoned > Withdraw"
    );
    assert_eq!(
        case(seconds(10), Reclaim::Retain, |_| {}),
        "Act Withdraw Soft declared"
    );
    assert_eq!(
        case(seconds(10), Reclaim::Retain, |w| exports(w).clear()),
        "Released"
    );
    assert_eq!(
        case(minutes(9), Reclaim::Detach, |_| {}),
        "Waiting Abandoned > Detach"
    );
    assert_eq!(
        case(minutes(10), Reclaim::Detach, |_| {}),
        "Act Withdraw Soft declared > Detach"
    );
    assert_eq!(
        case(minutes(10), Reclaim::Detach, |w| exports(w).clear()),
        "Act Detach abandoned"
    );
    assert_eq!(case(minutes(10), Reclaim::Detach, detached), "Released");
    // Suspended specs are reclaimed as Retain.
    assert_eq!(
        case(minutes(10), Reclaim::Detach, |w| {
            spec(w).suspend = true;
            exports(w).clear();
        }),
        "Released"
    );
    // What somebody else attached stays.
    assert_eq!(
        case(minutes(10), Reclaim::Detach, |w| {
            exports(w).clear();
            w.memory.placements.clear();
        }),
        "Released"
    );
}

/// Gone for long enough, unprotected, made by us, detached, not served: to be deleted.
fn to_be_deleted(world: &mut World) {
    abandon(world, Duration::from_secs(24 * 3600), Reclaim::Delete);
    spec(world).deletion_protection = false;
    exports(world).clear();
    detached(world);
    world.memory.placements.clear();
}

#[test]
fn data_outlives_its_spec_unless_everything_says_otherwise() {
    let cases: [(&str, Change, &str); 21] = [
        ("all of it", |_| {}, "Act Delete abandoned"),
        (
            "a second too early",
            |w| abandon(w, Duration::from_secs(24 * 3600 - 1), Reclaim::Delete),
            "Waiting Abandoned > Detach > Delete",
        ),
        (
            "it is declared",
            |w| {
                let want = w.desired.volumes.get_mut(&name()).expect("one spec");
                want.presence = Presence::Declared;
            },
            "Act Attach declared > Export",
        ),
        (
            "only to be detached",
            |w| spec(w).reclaim_policy = Reclaim::Detach,
            "Released",
        ),
        (
            "protected",
            |w| spec(w).deletion_protection = true,
            "Blocked NotDeletable",
        ),
        ("suspended", |w| spec(w).suspend = true, "Released"),
        (
            "only observed",
            |w| spec(w).mode = Mode::Observe,
            "Released",
        ),
        (
            "adopted",
            |w| {
                let binding = w.memory.bindings.get_mut(&name()).expect("bound");
                binding.mark = Mark::Adopted;
            },
            "Blocked NotDeletable",
        ),
        (
            "its tag says adopted",
            |w| {
                let text = claim(Mark::Adopted).to_string();
                cloud(w).tags.insert(CLAIM_TAG.to_owned(), text);
            },
            "Blocked NotDeletable",
        ),
        (
            "its tag is gone",
            |w| cloud(w).tags.clear(),
            "Blocked NotDeletable",
        ),
        (
            "another store claims it",
            |w| {
                let text = Claim {
                    instance: InstanceId::new(uuid(900)),
                    ..claim(Mark::Created)
                };
                cloud(w).tags.insert(CLAIM_TAG.to_owned(), text.to_string());
            },
            "Blocked ClaimedBy",
        ),
        (
            "a VM boots from it",
            |w| cloud(w).kind = VolumeKind::Root,
            "Blocked NotDeletable",
        ),
        (
            "on a VM where we did not put it",
            |w| {
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
            },
            "Blocked NotDeletable",
        ),
        (
            "recovered after it was deleted",
            |w| w.memory.deleted = BTreeSet::from([volume_id()]),
            "Blocked NotDeletable",
        ),
        (
            "being copied",
            |w| cloud(w).state = VolumeState::Transitional("Snapshotting".to_owned()),
            "Waiting Transitional > Delete",
        ),
        (
            "its disk is still here",
            |w| {
                let disks = in_sync().observed.host.disks;
                w.observed.host.disks = disks;
            },
            "Blocked PlacementDisputed > Delete",
        ),
        (
            "the disks here cannot be read",
            |w| w.observed.host.disks = Reading::Unknown("no sysfs".to_owned()),
            "Observing",
        ),
        (
            "never was in use",
            |w| cloud(w).state = VolumeState::Allocated,
            "Act Delete abandoned",
        ),
        (
            "still where we put it",
            |w| {
                cloud(w).attachment = cloud_volume().attachment;
                w.memory.placements.insert(volume_id(), here());
                w.observed.host.disks = in_sync().observed.host.disks;
            },
            "Act Detach abandoned > Delete",
        ),
        (
            "deleted",
            |w| {
                w.memory.deleted = BTreeSet::from([volume_id()]);
                cloud(w).state = VolumeState::Destroy;
            },
            "Released",
        ),
        (
            "read too long ago",
            |w| cloud(w).begun = at(900_000),
            "Observing",
        ),
    ];
    for (case, change, expected) in cases {
        let mut world = in_sync();
        to_be_deleted(&mut world);
        change(&mut world);
        let said = say(&decided(&world));
        assert!(said.starts_with(expected), "{case}: {said}");
        assert!(
            !expected.starts_with("Released") || said == "Released",
            "{case}: {said}"
        );
    }
}

#[test]
fn root_disks_need_a_stopped_vm_without_one() {
    let case = |state, has_root| {
        let mut world = in_sync();
        detached(&mut world);
        world.memory.placements.clear();
        spec(&mut world).export = None;
        let attach = spec(&mut world).attach_to.as_mut().expect("attached");
        attach.vm = AttachVm::Vm(NameOrId::Id(other()));
        attach.device_id = Some(0);
        world
            .memory
            .resolutions
            .get_mut(&name())
            .expect("resolved")
            .vm = Some(other());
        world.observed.cloud.vms.insert(other(), vm(other(), state));
        if has_root {
            let mut root = cloud_volume();
            root.id = VolumeId::new(uuid(5));
            root.kind = VolumeKind::Root;
            root.attachment = Some(Attachment {
                vm: other(),
                device_id: Some(0),
            });
            world.observed.cloud.volumes.insert(root.id, root);
        }
        say(&decided(&world))
    };
    assert_eq!(case(VmState::Stopped, false), "Act Attach declared");
    assert_eq!(
        case(VmState::Running, false),
        "Blocked RootNeedsStoppedVM > Attach"
    );
    assert_eq!(case(VmState::Stopped, true), "Blocked RootTaken > Attach");
}

#[test]
fn adoption_claims_before_it_binds() {
    let case = |change: Change| {
        let mut world = in_sync();
        world.memory.bindings.clear();
        exports(&mut world).clear();
        spec(&mut world).origin = Origin::Existing {
            volume: NameOrId::Id(volume_id()),
            size: None,
        };
        world.memory.resolutions.insert(
            name(),
            Resolution {
                generation: 1,
                zone: None,
                offering: None,
                vm: None,
                existing: Some(volume_id()),
            },
        );
        cloud(&mut world).tags.clear();
        change(&mut world);
        say(&decided(&world))
    };
    assert_eq!(case(|_| {}), "Act Tag declared > Bind > Export");
    assert_eq!(
        case(|w| {
            let claim = claim(Mark::Adopted).to_string();
            cloud(w).tags.insert(CLAIM_TAG.to_owned(), claim);
        }),
        "Act Bind declared > Export"
    );
    assert_eq!(
        case(|w| {
            w.memory.bindings.insert(
                "another".parse().expect("a name"),
                Binding {
                    volume: volume_id(),
                    uid: SpecUid::new(uuid(310)),
                    mark: Mark::Created,
                },
            );
        }),
        "Blocked BoundToOther > Export"
    );
    assert_eq!(
        case(|w| cloud(w).state = VolumeState::Destroy),
        "Blocked VolumeDestroyed > Export"
    );
}

#[test]
fn names_that_mean_nothing_or_too_much_are_all_reported() {
    let mut world = in_sync();
    unbound(&mut world);
    world.memory.resolutions.clear();
    let catalogue = world.observed.cloud.catalogue.as_mut().expect("listed");
    catalogue.zones.clear();
    catalogue.offerings.push(Named {
        id: OfferingId::new(uuid(202)),
        name: "custom".to_owned(),
    });
    assert_eq!(
        say(&decided(&world)),
        "Blocked NotFound, Ambiguous > Attach > Export"
    );
}

/// A volume whose spec was abandoned long enough to be detached.
fn to_be_detached() -> World {
    let mut world = in_sync();
    exports(&mut world).clear();
    spec(&mut world).reclaim_policy = Reclaim::Detach;
    spec(&mut world).export = None;
    world.memory.placements.insert(volume_id(), here());
    unplug(&mut world);
    // CloudStack was asked after the host, so its word about the missing disk counts.
    world.observed.host.begun = at(980_000);
    want(&mut world).presence = Presence::Abandoned {
        counted: Duration::from_secs(600),
    };
    world
}

#[test]
fn a_directory_that_is_not_believed_freezes_what_is_written_in_files() {
    let written_in_a_row = |world: &mut World| {
        want(world).owner = Owner::Db("engine".parse().expect("a writer"));
    };
    let go = |world: &World, before: &Guard| {
        let plan = plan(world, &Policy::default(), before, now());
        (say(&plan.volumes[&name()]), plan.guard)
    };
    let mut world = to_be_detached();
    assert_eq!(go(&world, &Guard::default()).0, "Act Detach abandoned");

    world.desired.files = SourceHealth::Suspect("it is empty".to_owned());
    let (said, guard) = go(&world, &Guard::default());
    assert_eq!(said, "Blocked GuardFrozen > Detach");
    written_in_a_row(&mut world);
    assert_eq!(go(&world, &Guard::default()).0, "Act Detach abandoned");

    // A freeze for everybody is not made smaller by a lesser cause that comes after it.
    let mut flooded = guard.clone();
    flooded.freeze.as_mut().expect("frozen").scope = Scope::Everything;
    let (said, guard) = go(&world, &flooded);
    assert_eq!(said, "Blocked GuardFrozen > Detach");
    assert_eq!(guard.freeze.expect("still").scope, Scope::Everything);

    world.desired.files = SourceHealth::Unread;
    let (said, _) = go(&world, &Guard::default());
    assert_eq!(said, "Blocked GuardFrozen > Detach", "nor were rows read");
}

#[test]
fn nothing_is_taken_to_be_asked_for_by_a_row_that_vanished() {
    let mut world = to_be_detached();
    want(&mut world).owner = Owner::Db("engine".parse().expect("a writer"));
    world.desired.missing_rows = BTreeSet::from([name()]);
    let plan = plan(&world, &Policy::default(), &Guard::default(), now());
    let of = &plan.volumes[&name()];
    assert_eq!(say(of), "Blocked RowMissing > Detach");
    assert_eq!(of.drift.len(), 1);
    assert_eq!(plan.guard.freeze, None, "it says nothing about the others");

    // What is done for the volume as it stands goes on.
    let mut world = in_sync();
    exports(&mut world).clear();
    world.desired.missing_rows = BTreeSet::from([name()]);
    let plan = super::plan(&world, &Policy::default(), &Guard::default(), now());
    assert_eq!(say(&plan.volumes[&name()]), "Act Export declared");
}

#[test]
fn the_guard_freezes_floods_and_thaws_by_itself() {
    let fleet = |count: u64| {
        let mut world = in_sync();
        world.observed.nbd.exports = Reading::Present(BTreeMap::new());
        let template = world.desired.volumes.remove(&name()).expect("one spec");
        world.memory.bindings.clear();
        world.observed.cloud.volumes.clear();
        for n in 0..count {
            let mut want = template.clone();
            want.document.name = format!("disk-{n}").parse().expect("a name");
            want.document.spec.export = None;
            want.uid = SpecUid::new(uuid(10_000 + n));
            let id = VolumeId::new(uuid(20_000 + n));
            let binding = Binding {
                volume: id,
                uid: want.uid,
                mark: Mark::Created,
            };
            let mut volume = cloud_volume();
            volume.id = id;
            let claim = Claim {
                spec: want.uid,
                ..claim(Mark::Created)
            };
            volume.tags.insert(CLAIM_TAG.to_owned(), claim.to_string());
            world.observed.cloud.volumes.insert(id, volume);
            world.memory.placements.insert(id, here());
            world.memory.bindings.insert(want.name().clone(), binding);
            let resolution = world.memory.resolutions[&name()].clone();
            world
                .memory
                .resolutions
                .insert(want.name().clone(), resolution);
            world.desired.volumes.insert(want.name().clone(), want);
        }
        unplug(&mut world);
        // CloudStack was asked after the host, so its word about the missing disks counts.
        world.observed.host.begun = at(980_000);
        world
    };
    let abandon_first = |world: &mut World, count: usize| {
        for want in world.desired.volumes.values_mut().take(count) {
            want.document.spec.reclaim_policy = Reclaim::Detach;
            want.presence = Presence::Abandoned {
                counted: Duration::from_secs(600),
            };
        }
    };
    let acting = |plan: &Plan| {
        let acts = |plan: &&VolumePlan| matches!(plan.decision, Decision::Act { .. });
        plan.volumes.values().filter(acts).count()
    };
    let go = |world: &World, before: &Guard| plan(world, &Policy::default(), before, now());

    let mut few = fleet(10);
    abandon_first(&mut few, 3);
    assert_eq!(acting(&go(&few, &Guard::default())), 3, "three are allowed");

    let mut many = fleet(10);
    abandon_first(&mut many, 4);
    let frozen = go(&many, &Guard::default());
    assert_eq!(acting(&frozen), 0, "four of ten are not");
    assert!(frozen.guard.freeze.is_some());
    let first = frozen.volumes.values().next().expect("ten");
    assert_eq!(say(first), "Blocked GuardFrozen > Detach");

    let mut deleting = fleet(10);
    for want in deleting.desired.volumes.values_mut().take(4) {
        want.document.spec.reclaim_policy = Reclaim::Delete;
        want.document.spec.deletion_protection = false;
        want.presence = Presence::Abandoned {
            counted: Duration::from_secs(24 * 3600),
        };
        let id = deleting.memory.bindings[want.name()].volume;
        let volume = deleting.observed.cloud.volumes.get_mut(&id);
        volume.expect("listed").attachment = None;
    }
    let held = go(&deleting, &Guard::default());
    assert_eq!(acting(&held), 0, "nor are four deletions");
    let steps = held.guard.freeze.expect("frozen").steps;
    assert!(steps.values().all(|step| step.kind() == Action::DELETE));

    // A person looks at exactly these, and lets them pass.
    let freeze = frozen.guard.freeze.clone().expect("frozen");
    assert_eq!(freeze.steps.len(), 4);
    let approve = |world: &mut World, until: u64| {
        let approved = freeze.steps.iter().map(|(name, action)| {
            let until = now().boot.plus(Duration::from_secs(until));
            let action = action.clone();
            (name.clone(), Approved { action, until })
        });
        world.memory.approved = approved.collect();
    };
    let mut approved = many.clone();
    approve(&mut approved, 1);
    assert_eq!(acting(&go(&approved, &frozen.guard)), 4);
    approve(&mut approved, 0);
    assert_eq!(acting(&go(&approved, &frozen.guard)), 0, "it has expired");
    // One volume is somewhere else by now: nobody approved that.
    let (moved, _) = freeze.steps.first_key_value().expect("four");
    let id = many.memory.bindings[moved].volume;
    let place = |world: &mut World| {
        let volume = world.observed.cloud.volumes.get_mut(&id).expect("listed");
        volume.attachment.as_mut().expect("attached").vm = other();
        world.memory.placements.insert(id, other());
        let stopped = vm(other(), VmState::Stopped);
        world.observed.cloud.vms.insert(other(), stopped);
    };
    approve(&mut approved, 1);
    place(&mut approved);
    let then = go(&approved, &frozen.guard);
    assert_eq!(acting(&then), 3);
    let left = then.guard.freeze.expect("still");
    assert_eq!(left.steps.keys().collect::<Vec<_>>(), [moved]);
    place(&mut many);
    let other_digest = go(&many, &Guard::default()).guard.freeze;
    let other_digest = other_digest.expect("frozen").digest();
    assert_ne!(other_digest, freeze.digest(), "other steps, another digest");

    let mut large = fleet(100);
    abandon_first(&mut large, 10);
    assert_eq!(acting(&go(&large, &Guard::default())), 10, "a tenth is");

    let mut hour = fleet(10);
    abandon_first(&mut hour, 2);
    let done = |secs: u64| ImpliedStep {
        name: format!("earlier-{secs}").parse().expect("a name"),
        kind: "Detach".to_owned(),
        cause: Cause::Abandoned,
        owner: Owner::File("a.yaml".to_owned()),
        at: now().boot.minus(Duration::from_secs(secs)),
    };
    hour.memory.implied = vec![done(10), done(20)];
    assert_eq!(
        acting(&go(&hour, &Guard::default())),
        0,
        "two more in an hour"
    );
    hour.memory.implied = vec![done(3700), done(3800)];
    assert_eq!(
        acting(&go(&hour, &Guard::default())),
        2,
        "older ones are forgotten"
    );

    let mut suspect = fleet(10);
    abandon_first(&mut suspect, 1);
    suspect.desired.files = SourceHealth::Suspect("it is empty".to_owned());
    let held = go(&suspect, &Guard::default());
    assert_eq!(acting(&held), 0, "the directory is not believed");
    suspect.desired.files = SourceHealth::Sound;
    let once = go(&suspect, &held.guard);
    assert_eq!(acting(&once), 0, "once clean is not enough");
    assert_eq!(
        acting(&go(&suspect, &once.guard)),
        0,
        "nor is the same listing twice"
    );
    suspect.observed.cloud.listed = Ok(at(990_001));
    assert_eq!(acting(&go(&suspect, &once.guard)), 1, "the next listing is");

    let mut starting = fleet(10);
    abandon_first(&mut starting, 1);
    starting.desired.files = SourceHealth::Unread;
    let held = go(&starting, &Guard::default());
    assert_eq!(acting(&held), 0, "the directory was not read yet");
    starting.desired.files = SourceHealth::Sound;
    assert_eq!(acting(&go(&starting, &held.guard)), 1, "now it was");

    let mut lost = fleet(10);
    abandon_first(&mut lost, 1);
    let gone: Vec<VolumeId> = lost
        .observed
        .cloud
        .volumes
        .keys()
        .skip(5)
        .take(2)
        .copied()
        .collect();
    for id in gone {
        lost.observed.cloud.volumes.remove(&id);
        lost.observed.cloud.absent.insert(id, at(991_000));
    }
    assert_eq!(
        acting(&go(&lost, &Guard::default())),
        0,
        "the view is not believed"
    );
}

#[test]
fn a_panic_about_one_volume_stops_that_one_only() {
    let mut world = in_sync();
    let mut broken = wanted();
    broken.document.name = PANICS.parse().expect("a name");
    broken.uid = SpecUid::new(uuid(310));
    world.desired.volumes.insert(broken.name().clone(), broken);
    let plan = plan(&world, &Policy::default(), &Guard::default(), now());
    let said: Vec<String> = plan.volumes.values().map(say).collect();
    assert_eq!(said, ["InSync", "Blocked InternalError"]);
}

#[test]
fn drift_is_what_nobody_works_on() {
    let fields = |change: Change| -> Vec<String> {
        let mut world = in_sync();
        change(&mut world);
        let drift = decided(&world).drift;
        drift.into_iter().map(|drift| drift.field).collect()
    };
    assert_eq!(fields(|_| {}), [""; 0]);
    assert_eq!(fields(unbound), [""; 0], "it is being made");
    assert_eq!(fields(detached), ["spec.attachTo.vm", "spec.attachTo"][..1]);
    assert_eq!(fields(|w| cloud(w).size = ByteSize::gib(9)), ["spec.size"]);
    assert_eq!(
        fields(|w| {
            unbound(w);
            spec(w).suspend = true;
        }),
        ["spec"]
    );
    assert_eq!(
        fields(|w| {
            let attach = spec(w).attach_to.as_mut().expect("attached");
            attach.device_id = Some(4);
        }),
        ["spec.attachTo.deviceId"]
    );
    let renamed = fields(|w| cloud(w).name = "another".to_owned());
    assert_eq!(renamed, ["spec.volumeName"]);
}

#[test]
fn a_claim_is_unknown_if_nothing_remembers_its_spec() {
    type Edit = fn(&mut World);
    let cases: [(&str, Edit, bool); 7] = [
        ("bound", |_| {}, false),
        (
            "accepted, not bound yet",
            |w| w.memory.bindings.clear(),
            false,
        ),
        (
            "abandoned long ago, still bound",
            |w| w.desired.volumes.clear(),
            false,
        ),
        ("forgotten", forget, true),
        (
            "forgotten, of another store",
            |w| {
                forget(w);
                w.memory.instance = InstanceId::new(uuid(302));
            },
            false,
        ),
        (
            "forgotten, and a person gave it up",
            |w| {
                forget(w);
                w.memory.disowned.insert(uid());
            },
            false,
        ),
        (
            "perhaps in a row that was not understood",
            |w| {
                forget(w);
                w.memory.is_whole = false;
            },
            false,
        ),
    ];
    for (what, edit, unknown) in cases {
        let mut world = in_sync();
        edit(&mut world);
        let expected = if unknown { vec![volume_id()] } else { vec![] };
        assert_eq!(unknown_claims(&world), expected, "{what}");
    }
}

fn forget(world: &mut World) {
    world.desired.volumes.clear();
    world.memory.bindings.clear();
}
