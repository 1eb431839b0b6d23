//! What hosts, VMs, other people and clocks do to a volume, on an explicit clock: what is safe
//! happens at once, what is not waits for a person, and everything goes on once the cause is gone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;
use volume_daemon::model::Serial;
use volume_daemon::plan::{Blocked, Decision};
use volume_daemon::reconcile::devices;
use volume_daemon::reconcile::report::DeviceState;
use volume_daemon::sim::control::Side;
use volume_daemon::sim::world::{GivenVm, GivenVolume, Latencies, Settings, VmState, VolumeState};
use volume_daemon::sim::{Operation, SimTime, World};

use crate::rig::{Deed, Rig, SELF, START, block_on, served, spec};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn detach(side: Side) -> Operation {
    Operation::DetachVolume {
        volume: "a".to_owned(),
        side,
    }
}

fn attach(volume: &str, side: Side) -> Operation {
    Operation::AttachVolume {
        volume: volume.to_owned(),
        vm: SELF.to_owned(),
        device_id: None,
        side,
    }
}

/// A volume of somebody else that was in use once, so that it is on storage.
fn make_theirs(rig: &mut Rig) {
    let volume = || "theirs".to_owned();
    rig.operate(&Operation::CreateVolume {
        name: volume(),
        size_gib: 2,
    })
    .expect("room");
    let vm = "final-vm".to_owned();
    rig.operate(&Operation::AttachVolume {
        volume: volume(),
        vm,
        device_id: None,
        side: Side::Both,
    })
    .expect("a slot");
    rig.operate(&Operation::DetachVolume {
        volume: volume(),
        side: Side::Both,
    })
    .expect("attached");
}

/// What the whole sentence about a volume is.
fn sentence(rig: &Rig, name: &str) -> String {
    let plan = rig.core().expect("a daemon").plan();
    match &plan.volumes[&name.parse().expect("a name")].decision {
        Decision::Blocked { by, .. } => by.iter().map(Blocked::message).collect(),
        other => panic!("{other:?}"),
    }
}

/// The kernel name of the disk behind a link.
fn disk_of(rig: &Rig, name: &str) -> String {
    let serial = Serial::of(rig.volume_of(name).expect("bound"));
    let link = format!("dev/disk/by-id/virtio-{serial}");
    let link = rig.host_root().join(link);
    let target = fs::read_link(link).expect("plugged");
    let name = target.file_name().expect("a device");
    name.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_disk_that_something_here_uses_is_neither_exported_nor_unplugged_until_it_is_released() {
    type Use = fn(&Path, &str);
    let uses: [(&str, Use); 5] = [
        ("mounted", |host, disk| {
            let line = format!("36 1 0:40 / /mnt rw - ext4 /dev/{disk} rw\n");
            append(&host.join("proc/self/mountinfo"), &line);
        }),
        ("a mounted partition", |host, disk| {
            let part = host.join(format!("sys/block/{disk}/{disk}1"));
            fs::create_dir_all(&part).expect("writable");
            fs::write(part.join("partition"), "1\n").expect("writable");
            fs::write(part.join("dev"), "254:97\n").expect("writable");
            let line = "36 1 254:97 / /mnt rw - ext4 /dev/root rw\n";
            append(&host.join("proc/self/mountinfo"), line);
        }),
        ("swap", |host, disk| {
            let line = format!("/dev/{disk}\tpartition\t1\t0\t-2\n");
            append(&host.join("proc/swaps"), &line);
        }),
        ("LVM", |host, disk| {
            fs::create_dir(host.join(format!("sys/block/{disk}/holders/dm-0"))).expect("writable");
        }),
        ("md", |host, disk| {
            fs::create_dir(host.join(format!("sys/block/{disk}/holders/md127"))).expect("writable");
        }),
    ];
    for (what, begin) in uses {
        block_on(async {
            let mut rig = Rig::new(1);
            rig.start().await;
            rig.declare(&spec("a", 2, "self", false)).await;
            assert!(rig.settle(10 * MINUTE).await);
            let volume = rig.volume_of("a").expect("bound");
            let disk = disk_of(&rig, "a");
            rig.change_host(|host| begin(host, &disk));

            rig.declare(&spec("a", 2, "self", true)).await;
            rig.run_for(5 * MINUTE).await;
            assert_eq!(rig.says("a"), "Blocked DeviceBusy", "{what}");
            assert!(rig.nbd.exports().is_empty(), "{what}");
            rig.declare(&spec("a", 2, "none", false)).await;
            rig.run_for(5 * MINUTE).await;
            assert_eq!(rig.says("a"), "Blocked DeviceBusy", "{what}");
            assert_eq!(rig.calls("detachVolume"), 0, "{what}");

            rig.declare(&spec("a", 2, "self", true)).await;
            rig.change_host(|host| release(host, &disk));
            rig.run_for(MINUTE).await;
            assert_eq!(rig.says("a"), "InSync", "{what}");
            assert_eq!(rig.volume_of("a"), Some(volume), "{what}");
        });
    }
}

/// What all of those uses leave when they end.
fn release(host: &Path, disk: &str) {
    fs::write(host.join("proc/self/mountinfo"), "").expect("writable");
    fs::write(host.join("proc/swaps"), "Filename\n").expect("writable");
    let device = host.join("sys/block").join(disk);
    for holder in ["dm-0", "md127"] {
        let _ = fs::remove_dir(device.join("holders").join(holder));
    }
    let _ = fs::remove_dir_all(device.join(format!("{disk}1")));
}

fn append(file: &Path, line: &str) {
    let text = fs::read_to_string(file).expect("readable") + line;
    fs::write(file, text).expect("writable");
}

#[test]
fn a_disk_that_nobody_attached_is_told_and_left_alone() {
    block_on(async {
        let mut rig = served(1).await;
        let before = rig.transport.count();
        let ghosts = |rig: &Rig| {
            let world = rig.core().expect("a daemon").world();
            let all = devices(world).into_iter();
            all.filter(|device| device.state == DeviceState::Ghost)
                .count()
        };
        make_theirs(&mut rig);
        rig.operate(&attach("theirs", Side::Guest)).expect("a slot");
        rig.run_for(5 * MINUTE).await;
        assert_eq!(ghosts(&rig), 1);
        assert_eq!(rig.says("a"), "InSync");
        rig.operate(&Operation::DetachVolume {
            volume: "theirs".to_owned(),
            side: Side::Guest,
        })
        .expect("plugged");
        rig.run_for(5 * MINUTE).await;
        assert_eq!(ghosts(&rig), 0);
        assert_eq!(rig.transport.count(), before);
    });
}

/// The kernel gives the slot, its name and its number to the next disk.
#[test]
fn another_disk_in_the_place_of_a_served_one_is_never_served() {
    block_on(async {
        let mut rig = served(1).await;
        let export = rig.export_of("a").expect("bound");
        assert!(rig.nbd.connect(&export));
        make_theirs(&mut rig);
        let place = disk_of(&rig, "a");
        // Both before the daemon can look: the slot was never seen empty.
        rig.operate(&detach(Side::Guest)).expect("plugged");
        rig.operate(&attach("theirs", Side::Guest)).expect("a slot");
        let serial = rig.host_root().join(format!("sys/block/{place}/serial"));
        let serial = fs::read_to_string(serial).expect("a disk is there");
        let theirs = Serial::of(rig.volume_called("theirs").expect("made"));
        assert_eq!(serial, theirs.as_str(), "in the same place");
        rig.run_for(SECOND).await;
        assert_eq!(rig.nbd.take_cut(), [export]);
        assert!(rig.nbd.exports().is_empty());
        rig.run_for(10 * MINUTE).await;
        assert!(rig.nbd.exports().is_empty());
        assert_eq!(rig.says("a"), "Waiting WaitingForDevice");
    });
}

#[test]
fn two_volumes_with_one_serial_are_never_exported() {
    block_on(async {
        let twins = [
            "11111111-2222-4333-8444-5555aaaaaaaa",
            "11111111-2222-4333-8444-5555bbbbbbbb",
        ];
        let settings = Settings {
            seed: 1,
            latencies: Latencies::all(200),
            ..Settings::default()
        };
        let mut world = World::standard(settings, SimTime::from_millis(START));
        let zone = world.zones().next().expect("one").0;
        let offering = world.offerings().next().expect("one").0;
        let account = world.accounts().next().expect("one").0;
        for (twin, name) in twins.iter().zip(["a", "b"]) {
            world
                .add_given_volume(GivenVolume {
                    uuid: Some(twin.parse::<Uuid>().expect("an id")),
                    name: name.to_owned(),
                    size: 1 << 30,
                    offering,
                    zone,
                    account,
                    state: VolumeState::Ready,
                    created: SimTime::from_millis(START),
                    tags: Vec::new(),
                    attach: None,
                })
                .expect("room");
        }
        let mut rig = Rig::in_world(world);
        rig.start().await;
        rig.declare(&format!(
            "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: a }}\nspec:\n  \
             existing: {{ id: {} }}\n  attachTo: {{ vm: self }}\n  export: {{}}\n",
            twins[0]
        ))
        .await;
        rig.run_for(5 * MINUTE).await;
        assert_eq!(rig.says("a"), "Blocked SerialCollision");
        assert!(
            sentence(&rig, "a").contains(twins[1]),
            "{}",
            sentence(&rig, "a")
        );
        rig.operate(&attach("b", Side::Both)).expect("a slot");
        rig.run_for(5 * MINUTE).await;
        assert!(rig.nbd.exports().is_empty());
        rig.operate(&Operation::DeleteVolume {
            volume: "b".to_owned(),
        })
        .expect("there");
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
    });
}

#[test]
fn a_vm_that_is_gone_is_not_replaced_by_another_of_its_name_without_an_edit() {
    block_on(async {
        let mut rig = Rig::new(1);
        rig.start().await;
        rig.declare(&spec("a", 1, "none", false)).await;
        assert!(rig.settle(10 * MINUTE).await);
        // Told where to put it, and held back: the name is looked up now, the call waits.
        let text = spec("a", 1, "final-vm", false);
        rig.declare(&(text.clone() + "  suspend: true\n")).await;
        rig.run_for(MINUTE).await;
        assert_eq!(rig.says("a"), "Blocked Held");
        rig.operate(&Operation::DestroyVm {
            vm: "final-vm".to_owned(),
            expunge: true,
        })
        .expect("it is there");
        rig.run_for(MINUTE).await;
        rig.change_world(|world| {
            let given = GivenVm {
                uuid: None,
                name: "final-vm".to_owned(),
                zone: world.zones().next().expect("one").0,
                account: world.accounts().next().expect("one").0,
                os: None,
                details: None,
                state: VmState::Running,
                started_once: true,
                created: world.now(),
            };
            world.add_given_vm(given).expect("its name is free");
        });
        rig.run_for(HOUR).await;
        assert_eq!(rig.says("a"), "Blocked VMGone");
        // Said again, it means the VM of today.
        rig.declare(&text).await;
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
        assert_eq!(rig.calls("attachVolume"), 1);
    });
}

#[test]
fn a_destroyed_volume_waits_to_be_recovered_and_is_served_again() {
    block_on(async {
        let mut rig = served(1).await;
        let volume = rig.volume_of("a");
        rig.operate(&detach(Side::Both)).expect("attached");
        let a = || "a".to_owned();
        rig.suffer(&Deed::Destroy { volume: a() }).expect("allowed");
        rig.run_for(HOUR).await;
        assert_eq!(rig.says("a"), "Blocked VolumeDestroyed");
        assert!(sentence(&rig, "a").contains("recover"));
        assert!(rig.nbd.exports().is_empty());
        assert_eq!(rig.calls("createVolume"), 1);
        rig.suffer(&Deed::Recover { volume: a() }).expect("hidden");
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
        assert_eq!(rig.volume_of("a"), volume);
    });
}

#[test]
fn a_root_disk_on_a_vm_that_is_destroyed_is_said_to_be_at_risk() {
    block_on(async {
        let mut rig = Rig::new(1);
        rig.start().await;
        // Its own root disk has to go first.
        let root = {
            let front = rig.front();
            let world = front.world();
            let vm = world.vm_called("test-vm").expect("there");
            let root = world.vm(vm).disks[&0];
            world.volume(root).uuid.to_string()
        };
        rig.operate(&Operation::DetachVolume {
            volume: root,
            side: Side::Both,
        })
        .expect("stopped");
        let text = spec("a", 1, "test-vm, deviceId: 0", false);
        rig.declare(&text).await;
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
        rig.operate(&Operation::DestroyVm {
            vm: "test-vm".to_owned(),
            expunge: false,
        })
        .expect("there");
        let before = rig.transport.count();
        rig.run_for(10 * MINUTE).await;
        assert!(rig.says("a").contains("VolumeAtRisk"), "{}", rig.says("a"));
        assert_eq!(rig.transport.count(), before, "a person must decide");
    });
}

#[test]
fn what_somebody_undoes_again_and_again_is_no_longer_fought_over() {
    block_on(async {
        let mut rig = served(1).await;
        for round in 1..=3 {
            rig.operate(&detach(Side::Both)).expect("attached");
            rig.run_for(3 * MINUTE).await;
            assert_eq!(rig.says("a"), "InSync", "round {round}");
        }
        rig.operate(&detach(Side::Both)).expect("attached");
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("a"), "Blocked Contended");
        assert_eq!(rig.calls("attachVolume"), 4);
        rig.run_for(HOUR).await;
        assert_eq!(rig.says("a"), "InSync", "after an hour it tries again");
    });
}

#[test]
fn a_disk_that_is_here_though_cloudstack_says_detached_takes_no_new_clients() {
    block_on(async {
        let mut rig = served(1).await;
        let export = rig.export_of("a").expect("bound");
        assert!(rig.nbd.connect(&export));
        rig.operate(&detach(Side::Both)).expect("attached");
        rig.operate(&attach("a", Side::Guest)).expect("a slot");
        let before = rig.transport.count();
        rig.run_for(10 * MINUTE).await;
        assert!(
            rig.says("a").contains("PlacementDisputed"),
            "{}",
            rig.says("a")
        );
        assert!(
            rig.nbd.exports().is_empty(),
            "another plugging, another disk"
        );
        assert_eq!(rig.transport.count(), before);
        rig.operate(&detach(Side::Guest)).expect("plugged");
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
    });
}

#[test]
fn a_clock_that_is_set_stops_calls_until_it_is_right_and_counts_for_nothing_else() {
    for by in [7 * 24 * 3600, -7 * 24 * 3600, 45, -45] {
        block_on(async {
            let mut rig = served(2).await;
            let detach_it = spec("a", 2, "self", true) + "  reclaimPolicy: Detach\n";
            rig.declare(&detach_it).await;
            assert!(rig.settle(MINUTE).await);
            let before = rig.transport.count();
            rig.set_clock(by);
            rig.remove("a").await;
            rig.declare(&spec("b", 1, "self", true)).await;
            rig.run_for(5 * MINUTE).await;
            assert_eq!(
                rig.says("a"),
                "Waiting Abandoned",
                "{by}: five minutes, not a week"
            );
            assert_eq!(rig.says("b"), "Blocked ClockSkew", "{by}");
            assert_eq!(rig.transport.count(), before, "{by}");
            rig.set_clock(-by);
            rig.run_for(2 * MINUTE).await;
            assert_eq!(rig.says("b"), "InSync", "{by}");
            assert_eq!(rig.says("a"), "Waiting Abandoned", "{by}");
            rig.run_for(10 * MINUTE).await;
            assert_eq!(rig.says("a"), "Released", "{by}");
            assert_eq!(rig.calls("detachVolume"), 1, "{by}");
        });
    }
}

/// A reboot with a battery that is empty: the boot clock begins anew and the wall clock is wrong.
#[test]
fn a_restart_with_another_time_takes_nothing_for_old() {
    for by in [30 * 24 * 3600, -30 * 24 * 3600] {
        block_on(async {
            let mut rig = served(2).await;
            let detach_it = spec("a", 2, "self", true) + "  reclaimPolicy: Detach\n";
            rig.declare(&detach_it).await;
            assert!(rig.settle(MINUTE).await);
            rig.remove("a").await;
            rig.run_for(3 * MINUTE).await;
            rig.crash().await;
            rig.set_clock(by);
            rig.start().await;
            rig.run_for(2 * MINUTE).await;
            assert_eq!(rig.says("a"), "Waiting Abandoned", "{by}");
            rig.set_clock(-by);
            rig.run_for(4 * MINUTE).await;
            assert_eq!(rig.says("a"), "Waiting Abandoned", "{by}");
            assert_eq!(rig.calls("detachVolume"), 0, "{by}");
            rig.run_for(10 * MINUTE).await;
            assert_eq!(rig.says("a"), "Released", "{by}");
        });
    }
}
