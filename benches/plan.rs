//! How long a whole plan takes, by fleet size: in sync, 1 % drifted, all new.
//!
//! Run with `cargo bench --bench plan`. The bar is 50 ms for 10,000 volumes in sync, and
//! growth no worse than linear.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use uuid::Uuid;
use volume_daemon::model::action::{CLAIM_TAG, Claim, Mark};
use volume_daemon::model::desired::{
    AttachSpec, AttachVm, Mode, Move, NameOrId, Origin, Owner, Presence, Reclaim, VolumeDocument,
    VolumeSpec,
};
use volume_daemon::model::memory::{Binding, Memory, Resolution};
use volume_daemon::model::observed::{
    Attachment, CloudView, CloudVm, CloudVolume, HostView, NbdView, Observed, VmState, VolumeKind,
    VolumeState,
};
use volume_daemon::model::{
    BootTime, ByteSize, DesiredVolume, InstanceId, Now, OfferingId, Reading, SpecUid, Timestamp,
    VmId, VolumeId, ZoneId,
};
use volume_daemon::plan::{Decision, Desired, Guard, Policy, World, plan};

/// Volumes on one VM, as CloudStack's KVM default allows.
const PER_VM: u64 = 32;

#[derive(Clone, Copy)]
enum Fleet {
    InSync,
    Drifted,
    New,
}

fn uuid(n: u64) -> Uuid {
    Uuid::from_u128((u128::from(n) << 64) | 7)
}

fn now() -> Now {
    Now {
        wall: Timestamp::from_millis(1_800_000_000_000),
        boot: BootTime::from_millis(100_000),
    }
}

fn vm_of(n: u64) -> VmId {
    VmId::new(uuid(10_000_000 + n / PER_VM))
}

fn wanted(n: u64) -> DesiredVolume {
    DesiredVolume {
        document: VolumeDocument {
            name: format!("disk-{n}").parse().expect("a name"),
            labels: BTreeMap::new(),
            spec: VolumeSpec {
                mode: Mode::Enforce,
                suspend: false,
                origin: Origin::Create {
                    volume_name: format!("disk-{n}"),
                    size: ByteSize::gib(40),
                    zone: NameOrId::Name("zone-1".to_owned()),
                    offering: NameOrId::Name("custom".to_owned()),
                },
                attach_to: Some(AttachSpec {
                    vm: AttachVm::Vm(NameOrId::Id(vm_of(n))),
                    device_id: None,
                    take: Move::Never,
                }),
                export: None,
                reclaim_policy: Reclaim::Retain,
                deletion_protection: true,
            },
        },
        uid: SpecUid::new(uuid(20_000_000 + n)),
        generation: 1,
        owner: Owner::File("fleet.yaml".to_owned()),
        presence: Presence::Declared,
    }
}

fn observed(n: u64, fleet: Fleet, instance: InstanceId) -> CloudVolume {
    let drifted = matches!(fleet, Fleet::Drifted) && n.is_multiple_of(100);
    let claim = Claim {
        instance,
        spec: SpecUid::new(uuid(20_000_000 + n)),
        mark: Mark::Created,
    };
    CloudVolume {
        id: VolumeId::new(uuid(n)),
        name: format!("disk-{n}"),
        size: ByteSize::gib(if drifted { 20 } else { 40 }),
        state: VolumeState::Ready,
        kind: VolumeKind::Data,
        zone: ZoneId::new(uuid(30_000_000)),
        offering: Some(OfferingId::new(uuid(30_000_001))),
        attachment: Some(Attachment {
            vm: vm_of(n),
            device_id: Some(1),
        }),
        pending_job: None,
        tags: BTreeMap::from([(CLAIM_TAG.to_owned(), claim.to_string())]),
        created: None,
        begun: BootTime::from_millis(90_000),
    }
}

fn world(count: u64, fleet: Fleet) -> World {
    let instance = InstanceId::new(uuid(1));
    let mut memory = Memory::new(instance);
    let mut cloud = CloudView {
        listed: Ok(BootTime::from_millis(90_000)),
        ..CloudView::default()
    };
    let mut desired = Desired::default();
    for n in 0..count {
        let want = wanted(n);
        let name = want.name().clone();
        let resolution = Resolution {
            generation: 1,
            zone: Some(ZoneId::new(uuid(30_000_000))),
            offering: Some(OfferingId::new(uuid(30_000_001))),
            vm: Some(vm_of(n)),
            existing: None,
        };
        memory.resolutions.insert(name.clone(), resolution);
        cloud.vms.entry(vm_of(n)).or_insert_with(|| CloudVm {
            id: vm_of(n),
            name: format!("vm-{}", n / PER_VM),
            state: VmState::Running,
            zone: ZoneId::new(uuid(30_000_000)),
            begun: BootTime::from_millis(90_000),
        });
        if !matches!(fleet, Fleet::New) {
            let volume = observed(n, fleet, instance);
            let binding = Binding {
                volume: volume.id,
                uid: want.uid,
                mark: Mark::Created,
            };
            memory.bindings.insert(name.clone(), binding);
            memory.placements.insert(volume.id, vm_of(n));
            cloud.volumes.insert(volume.id, volume);
        }
        desired.volumes.insert(name, want);
    }
    World {
        desired,
        observed: Observed {
            cloud,
            host: HostView {
                self_vm: Reading::Present(vm_of(0)),
                ..HostView::default()
            },
            nbd: NbdView::default(),
        },
        memory,
    }
}

fn plans(c: &mut Criterion) {
    let policy = Policy::default();
    for (label, fleet) in [
        ("in sync", Fleet::InSync),
        ("1% drifted", Fleet::Drifted),
        ("all new", Fleet::New),
    ] {
        let mut group = c.benchmark_group(format!("plan/{label}"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(3));
        for count in [100, 1_000, 10_000, 100_000] {
            let world = world(count, fleet);
            check(&world, &policy, fleet, count);
            group.throughput(Throughput::Elements(count));
            group.bench_with_input(BenchmarkId::from_parameter(count), &world, |b, world| {
                b.iter(|| plan(black_box(world), &policy, &Guard::default(), now()));
            });
        }
        group.finish();
    }
}

/// The fleet is what its label says; otherwise the figures mean nothing.
fn check(world: &World, policy: &Policy, fleet: Fleet, count: u64) {
    let plan = plan(world, policy, &Guard::default(), now());
    let acting = plan
        .volumes
        .values()
        .filter(|plan| matches!(plan.decision, Decision::Act { .. }))
        .count();
    let expected = match fleet {
        Fleet::InSync => 0,
        Fleet::Drifted => count.div_ceil(100),
        Fleet::New => count,
    };
    assert_eq!(u64::try_from(acting), Ok(expected));
}

criterion_group!(benches, plans);
criterion_main!(benches);
