//! A core that knows a small world, for the tests beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::core::{Core, Effect, Event, Pace};
use crate::act::Acted;
use crate::model::action::{CLAIM_TAG, Claim, Mark};
use crate::model::desired::{
    AttachSpec, AttachVm, DesiredVolume, ExportSpec, Mode, Move, NameOrId, Origin, Owner, Presence,
    Reclaim, VolumeDocument, VolumeSpec,
};
use crate::model::memory::{Binding, Intent, Memory, Progress, Resolution};
use crate::model::observed::{
    Attachment, Catalogue, CloudVm, CloudVolume, Device, DeviceNumber, Disks, HostView, NbdView,
    ServedExport, VmState, VolumeKind, VolumeState,
};
use crate::model::{
    Action, BootTime, ByteSize, Cause, ExportName, InstanceId, IntentId, NodeName, Now, OfferingId,
    Reading, Serial, SpecUid, Timestamp, VmId, VolumeId, VolumeName, ZoneId,
};
use crate::observe::{CloudAnswer, CloudListing, CloudQuery};
use crate::plan::{Desired, Policy, SourceHealth};

pub const HERE: VmId = VmId::new(Uuid::from_u128(100));
pub const OTHER: VmId = VmId::new(Uuid::from_u128(101));
pub const ZONE: ZoneId = ZoneId::new(Uuid::from_u128(200));
pub const OFFERING: OfferingId = OfferingId::new(Uuid::from_u128(201));
pub const INSTANCE: InstanceId = InstanceId::new(Uuid::from_u128(300));
/// When a fixture's readings began.
pub const READ: BootTime = BootTime::from_millis(990_000);

/// So many milliseconds after the moment at which every test begins.
pub fn now(millis: u64) -> Now {
    Now {
        wall: Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_millis(millis)),
        boot: at(1_000_000 + millis),
    }
}

pub fn at(millis: u64) -> BootTime {
    BootTime::from_millis(millis)
}

pub fn name(text: &str) -> VolumeName {
    text.parse().expect("a name")
}

/// Ids that differ in the first 20 digits, so that serials differ too.
pub fn volume_id(n: u32) -> VolumeId {
    VolumeId::new(Uuid::from_u128((u128::from(n) << 96) | 7))
}

pub fn uid(n: u32) -> SpecUid {
    SpecUid::new(Uuid::from_u128(10_000 + u128::from(n)))
}

/// The spec `disk-<n>`: 4 GiB, on this VM, exported.
pub fn want(n: u32) -> DesiredVolume {
    DesiredVolume {
        document: VolumeDocument {
            name: name(&format!("disk-{n}")),
            labels: BTreeMap::new(),
            spec: VolumeSpec {
                mode: Mode::Enforce,
                suspend: false,
                origin: Origin::Create {
                    volume_name: format!("disk-{n}"),
                    size: ByteSize::gib(4),
                    zone: NameOrId::Id(ZONE),
                    offering: NameOrId::Id(OFFERING),
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
        uid: uid(n),
        generation: 1,
        owner: Owner::File("a.yaml".to_owned()),
        presence: Presence::Declared,
    }
}

pub fn claim(n: u32) -> Claim {
    Claim {
        instance: INSTANCE,
        spec: uid(n),
        mark: Mark::Created,
    }
}

/// The volume of `disk-<n>`: claimed and detached.
pub fn volume(n: u32) -> CloudVolume {
    CloudVolume {
        id: volume_id(n),
        name: format!("disk-{n}"),
        size: ByteSize::gib(4),
        state: VolumeState::Ready,
        kind: VolumeKind::Data,
        zone: ZONE,
        offering: Some(OFFERING),
        attachment: None,
        pending_job: None,
        tags: BTreeMap::from([(CLAIM_TAG.to_owned(), claim(n).to_string())]),
        created: None,
        begun: READ,
    }
}

pub fn attached(n: u32, vm: VmId) -> CloudVolume {
    CloudVolume {
        attachment: Some(Attachment {
            vm,
            device_id: None,
        }),
        ..volume(n)
    }
}

pub fn intent(n: u32, action: Action, progress: Progress) -> Intent {
    Intent {
        id: IntentId::new(Uuid::from_u128(40_000 + u128::from(n))),
        name: name(&format!("disk-{n}")),
        generation: 1,
        action,
        cause: Cause::Declared,
        created: now(0).wall,
        expires: now(60_000).wall,
        progress,
    }
}

pub fn create(n: u32) -> Action {
    Action::Create {
        volume_name: format!("disk-{n}"),
        size: ByteSize::gib(4),
        zone: ZONE,
        offering: OFFERING,
    }
}

pub fn attach(n: u32, vm: VmId) -> Action {
    Action::Attach {
        volume: volume_id(n),
        vm,
        device_id: None,
    }
}

/// The disks of `volumes`, plugged here.
pub fn disks(volumes: &[u32]) -> Disks {
    let mut disks = Disks::default();
    for n in volumes {
        let kernel_name = format!("vd{n}");
        let serial = Serial::of(volume_id(*n));
        let link = format!("virtio-{serial}");
        disks.links.insert(link, kernel_name.clone());
        let device = Device {
            kernel_name: kernel_name.clone(),
            number: number(*n),
            serial: Some(serial),
            size: ByteSize::gib(4),
            diskseq: Some(9),
            users: Vec::new(),
        };
        disks.devices.insert(kernel_name, device);
    }
    disks
}

fn number(n: u32) -> DeviceNumber {
    DeviceNumber::Block {
        major: 254,
        minor: n,
    }
}

/// The exports of `volumes`.
pub fn served(volumes: &[u32]) -> BTreeMap<ExportName, ServedExport> {
    let export = |n: &u32| {
        let node = NodeName::of(&Serial::of(volume_id(*n)), number(*n), Some(9));
        let export = ServedExport {
            node,
            size: ByteSize::gib(4),
            read_only: false,
            proven: true,
            draining: false,
        };
        (ExportName::default_for(volume_id(*n)), export)
    };
    volumes.iter().map(export).collect()
}

pub fn host(volumes: &[u32], begun: BootTime) -> HostView {
    HostView {
        disks: Reading::Present(disks(volumes)),
        self_vm: Reading::Present(HERE),
        begun,
    }
}

pub fn nbd(volumes: &[u32], begun: BootTime) -> NbdView {
    NbdView::read(Reading::Present(served(volumes)), begun)
}

pub fn vm(id: VmId, begun: BootTime) -> CloudVm {
    CloudVm {
        id,
        name: format!("vm-{id}"),
        state: VmState::Running,
        zone: ZONE,
        begun,
    }
}

/// A complete answer that lists `volumes`.
pub fn listing(volumes: Vec<CloudVolume>, begun: BootTime) -> CloudAnswer {
    CloudAnswer {
        listing: Some(CloudListing {
            volumes,
            vms: vec![vm(HERE, begun), vm(OTHER, begun)],
            begun,
        }),
        catalogue: Some(Catalogue::default()),
        server_time: Some((now(0).wall, now(0).boot)),
        ..CloudAnswer::default()
    }
}

pub fn full() -> CloudQuery {
    CloudQuery {
        full: true,
        ..CloudQuery::default()
    }
}

pub fn desired(wants: impl IntoIterator<Item = DesiredVolume>) -> Desired {
    let volumes = wants
        .into_iter()
        .map(|want| (want.name().clone(), want))
        .collect();
    Desired::new(volumes, SourceHealth::Sound, [])
}

/// A memory in which `disk-<n>` is bound, for each of `volumes`.
pub fn bound(volumes: &[u32]) -> Memory {
    let mut memory = Memory::new(INSTANCE);
    for n in volumes {
        let spec = name(&format!("disk-{n}"));
        let binding = Binding {
            volume: volume_id(*n),
            uid: uid(*n),
            mark: Mark::Created,
        };
        memory.bindings.insert(spec.clone(), binding);
        let resolution = Resolution {
            generation: 1,
            zone: Some(ZONE),
            offering: Some(OFFERING),
            vm: None,
            existing: None,
        };
        memory.resolutions.insert(spec, resolution);
    }
    memory
}

/// A core that has read everything: these specs, volumes, disks and exports. All its questions
/// are answered, and its first steps handed out.
pub struct Seen {
    pub wants: Vec<DesiredVolume>,
    pub cloud: Vec<CloudVolume>,
    pub disks: Vec<u32>,
    pub served: Vec<u32>,
    pub pace: Pace,
}

impl Seen {
    /// These specs, and nothing in the world.
    pub fn nothing(wants: Vec<DesiredVolume>) -> Self {
        Self {
            wants,
            cloud: Vec::new(),
            disks: Vec::new(),
            served: Vec::new(),
            pace: Pace::default(),
        }
    }

    pub fn start(self, memory: Memory) -> (Core, Vec<Effect>) {
        let mut core = Core::new(memory, Policy::default(), self.pace, 1);
        core.handle(Event::Host(host(&self.disks, at(991_000))), now(0));
        core.handle(Event::Nbd(nbd(&self.served, at(992_000))), now(0));
        core.handle(Event::Desired(desired(self.wants)), now(0));
        // Not before the specs were seen, so that names count as free.
        let begun = now(0).boot;
        let cloud = self
            .cloud
            .into_iter()
            .map(|volume| CloudVolume { begun, ..volume });
        let answer = listing(cloud.collect(), begun);
        core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(0));
        let effects = answered(&mut core, now(0));
        (core, effects)
    }
}

/// Polls until nothing is asked any more, and answers that nothing has changed. What was handed
/// out besides questions is returned.
pub fn answered(core: &mut Core, now: Now) -> Vec<Effect> {
    let mut handed_out = Vec::new();
    for _ in 0..10 {
        let mut is_asking = false;
        for effect in core.poll(now) {
            let event = match effect {
                Effect::ObserveHost => Event::Host(HostView {
                    begun: now.boot,
                    ..core.world().observed.host.clone()
                }),
                Effect::ObserveNbd => Event::Nbd(NbdView {
                    begun: now.boot,
                    ..core.world().observed.nbd.clone()
                }),
                Effect::ObserveCloud(query) => {
                    let answer = same_again(core, &query, now);
                    Event::Cloud(query, Ok(Box::new(answer)))
                }
                Effect::Act(..)
                | Effect::PollJobs(_)
                | Effect::Settle(..)
                | Effect::Remember(_) => {
                    handed_out.push(effect);
                    continue;
                }
            };
            is_asking = true;
            core.handle(event, now);
        }
        if !is_asking {
            return handed_out;
        }
    }
    panic!("it asks again and again");
}

fn same_again(core: &Core, query: &CloudQuery, now: Now) -> CloudAnswer {
    let cloud = &core.world().observed.cloud;
    let again = |volume: &CloudVolume| CloudVolume {
        begun: now.boot,
        ..volume.clone()
    };
    if query.full {
        return listing(cloud.volumes.values().map(again).collect(), now.boot);
    }
    let known = |id: &VolumeId| cloud.volumes.get(id).map(again);
    let is_gone = |id: &&VolumeId| !cloud.volumes.contains_key(id);
    CloudAnswer {
        read: query.ids.iter().filter_map(known).collect(),
        absent: query
            .ids
            .iter()
            .filter(is_gone)
            .map(|id| (*id, now.boot))
            .collect(),
        named: query
            .names
            .iter()
            .map(|name| (name.clone(), now.boot))
            .collect(),
        vms: query.vms.iter().map(|id| vm(*id, now.boot)).collect(),
        ..CloudAnswer::default()
    }
}

/// The steps among `effects`, as `disk-1 Attach`.
pub fn steps(effects: &[Effect]) -> Vec<String> {
    let step = |effect: &Effect| match effect {
        Effect::Act(name, step, _) => Some(format!("{name} {}", step.action.kind())),
        _ => None,
    };
    effects.iter().filter_map(step).collect()
}

/// What else is among `effects`.
pub fn asked(effects: &[Effect]) -> Vec<&'static str> {
    let word = |effect: &Effect| match effect {
        Effect::Act(..) => None,
        Effect::ObserveCloud(query) if query.full => Some("list"),
        Effect::ObserveCloud(_) => Some("look up"),
        Effect::PollJobs(_) => Some("jobs"),
        Effect::ObserveHost => Some("host"),
        Effect::ObserveNbd => Some("nbd"),
        Effect::Settle(..) => Some("settle"),
        Effect::Remember(_) => Some("remember"),
    };
    effects.iter().filter_map(word).collect()
}

/// The event that a handed-out cloud step of `of` leads to.
pub fn acted(effects: &[Effect], of: &str, as_what: impl Fn(Box<Intent>) -> Acted) -> Event {
    let act = effects.iter().find_map(|effect| match effect {
        Effect::Act(name, step, Some(intent)) if name.as_str() == of => {
            let acted = as_what(intent.clone());
            Some(Event::Acted(name.clone(), step.clone(), acted))
        }
        _ => None,
    });
    act.unwrap_or_else(|| panic!("no cloud step of {of} in {effects:?}"))
}
