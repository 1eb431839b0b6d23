use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::tree::{OTHER_SERIAL, SERIAL, Tree};
use super::*;
use crate::model::action::DeviceProof;
use crate::model::observed::DeviceUser;
use crate::model::{ByteSize, Serial};

const VM: &str = "6f1a0c4e-7a2b-4c0e-9c5e-0d6f1f6f2b11";
const OTHER_VM: &str = "2aff4799-7a2b-4c0e-9c5e-0d6f1f6f2b11";

fn unknown<T: std::fmt::Debug>(reading: Reading<T>) -> String {
    match reading {
        Reading::Unknown(why) => why,
        other => panic!("expected Unknown, got {other:?}"),
    }
}

#[test]
fn a_machine_without_disks_has_none() {
    let tree = Tree::new();
    assert_eq!(tree.disks(), Disks::default());
    fs::remove_dir_all(tree.path("dev/disk")).expect("a directory");
    assert_eq!(tree.disks(), Disks::default());
}

#[test]
fn a_virtio_disk_is_read_with_its_link() {
    let tree = Tree::new();
    tree.plug("vdb", SERIAL, 9);
    let device = tree.device("vdb");
    let metadata = fs::metadata(tree.path("dev/vdb")).expect("a file");
    assert_eq!(
        device,
        crate::model::observed::Device {
            kernel_name: "vdb".to_owned(),
            number: DeviceNumber::File {
                dev: metadata.dev(),
                ino: metadata.ino()
            },
            serial: Some(SERIAL.parse().expect("a serial")),
            size: ByteSize::mib(1),
            diskseq: Some(9),
            users: Vec::new(),
        }
    );
    let links = tree.disks().links;
    assert_eq!(
        links.into_iter().collect::<Vec<_>>(),
        [(format!("virtio-{SERIAL}"), "vdb".to_owned())]
    );
}

#[test]
fn a_scsi_serial_comes_from_the_vital_product_data() {
    let tree = Tree::new();
    tree.plug("sda", SERIAL, 9);
    fs::remove_file(tree.path("sys/block/sda/serial")).expect("a file");
    let page = format!("\0\u{80}\0\u{14}{SERIAL}");
    fs::create_dir(tree.path("sys/block/sda/device")).expect("a directory");
    fs::write(
        tree.path("sys/block/sda/device/vpd_pg80"),
        page.chars()
            .map(|c| u8::try_from(c).expect("a byte"))
            .collect::<Vec<_>>(),
    )
    .expect("a file");
    assert_eq!(
        tree.device("sda").serial,
        Some(SERIAL.parse::<Serial>().expect("a serial"))
    );
}

#[test]
fn serials_that_cloudstack_cannot_have_given_are_none() {
    let tree = Tree::new();
    tree.plug("vdb", SERIAL, 9);
    for (content, expected) in [
        ("", None),
        ("  \n", None),
        ("\0\0\0", None),
        ("has-a-dash", None),
        ("b3bb93101b594f6297e8f", None),
        ("QM00001   ", Some("qm00001")),
        (SERIAL, Some(SERIAL)),
    ] {
        tree.write("sys/block/vdb/serial", content);
        let serial = tree.device("vdb").serial;
        assert_eq!(serial.as_ref().map(Serial::as_str), expected, "{content:?}");
    }
}

#[test]
fn only_whole_disks_of_known_schemes_are_linked() {
    let tree = Tree::new();
    tree.plug("vdb", SERIAL, 9);
    tree.plug("sda", OTHER_SERIAL, 10);
    tree.unlink(&format!("virtio-{OTHER_SERIAL}"));
    let scsi = format!("scsi-0QEMU_QEMU_HARDDISK_{OTHER_SERIAL}");
    tree.link(&scsi, "sda");
    tree.link(&format!("virtio-{SERIAL}-part1"), "vdb");
    tree.link("dm-name-root", "vdb");
    tree.link("virtio-dangling", "vdz");
    symlink("/dev/null", tree.path("dev/disk/by-id/virtio-null")).expect("a new link");
    tree.write("dev/disk/by-id/virtio-file", "not a link");
    // A kernel name that sysfs gives to another device.
    tree.write("elsewhere/vdb", "");
    symlink(
        "../../../elsewhere/vdb",
        tree.path("dev/disk/by-id/virtio-elsewhere"),
    )
    .expect("a new link");
    let links: Vec<_> = tree.disks().links.into_iter().collect();
    assert_eq!(
        links,
        [
            (scsi, "sda".to_owned()),
            (format!("virtio-{SERIAL}"), "vdb".to_owned())
        ]
    );
}

#[test]
fn holders_mounts_and_swaps_of_disk_and_partitions_are_users() {
    let holder = |name: &str| DeviceUser::Holder(name.to_owned());
    let mount = |point: &str| DeviceUser::Mount(point.to_owned());
    type Setup = fn(&Tree);
    let cases: [(&str, Setup, Vec<DeviceUser>); 9] = [
        ("nobody", |_| {}, vec![]),
        (
            "a holder of the disk",
            |t| t.write("sys/block/vdb/holders/dm-0/dev", "253:0"),
            vec![holder("dm-0")],
        ),
        (
            "a holder of a partition",
            |t| t.write("sys/block/vdb/vdb1/holders/md0/dev", "9:0"),
            vec![holder("md0")],
        ),
        (
            "a mount by the number of the disk",
            |t| {
                t.write(
                    "proc/self/mountinfo",
                    "36 35 254:144 / /a\\040b rw - ext4 /dev/root rw\n",
                );
            },
            vec![mount("/a b")],
        ),
        (
            "a mount by the number of a partition",
            |t| {
                t.write(
                    "proc/self/mountinfo",
                    "36 35 254:145 / /mnt rw - ext4 /dev/root rw\n",
                );
            },
            vec![mount("/mnt")],
        ),
        (
            "a mount by path, with an anonymous number",
            |t| {
                t.write(
                    "proc/self/mountinfo",
                    "36 35 0:40 / /mnt rw - btrfs /dev/vdb1 rw\n",
                );
            },
            vec![mount("/mnt")],
        ),
        (
            "a mount by a link",
            |t| {
                t.write(
                    "proc/self/mountinfo",
                    &format!("36 35 0:40 / /mnt rw - btrfs /dev/disk/by-id/virtio-{SERIAL} rw\n"),
                );
            },
            vec![mount("/mnt")],
        ),
        (
            "swap",
            |t| {
                t.write(
                    "proc/swaps",
                    "Filename Type Size Used Priority\n/dev/vdb1 partition 1 0 -2\n",
                );
            },
            vec![DeviceUser::Swap],
        ),
        (
            "others' business",
            |t| {
                t.write(
                    "proc/self/mountinfo",
                    "1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 0:5 / /n rw - nfs h:/dev/vdb rw\n",
                );
                t.write(
                    "proc/swaps",
                    "Filename Type Size Used Priority\n/swapfile file 1 0 -2\n",
                );
            },
            vec![],
        ),
    ];
    for (case, setup, expected) in cases {
        let tree = Tree::new();
        tree.plug("vdb", SERIAL, 9);
        tree.write("sys/block/vdb/vdb1/partition", "1\n");
        tree.write("sys/block/vdb/vdb1/dev", "254:145\n");
        setup(&tree);
        assert_eq!(tree.device("vdb").users, expected, "{case}");
        let proof = tree.proof(SERIAL);
        let opened = tree.host().open(&proof, true);
        match expected.first() {
            None => assert!(opened.is_ok(), "{case}: {opened:?}"),
            Some(user) => assert!(
                matches!(&opened, Err(OpenError::InUse { user: found, .. }) if found == user),
                "{case}: {opened:?}"
            ),
        }
        assert!(
            tree.host().open(&proof, false).is_ok(),
            "{case}: reading disturbs nobody"
        );
    }
}

#[test]
fn what_cannot_be_read_is_unknown_and_says_what_to_check() {
    type Setup = fn(&Tree);
    let cases: [(&str, Setup, &str); 5] = [
        (
            "no sysfs",
            |t| fs::remove_dir_all(t.path("sys")).expect("a directory"),
            "sys/block: check",
        ),
        (
            "a size that is no number",
            |t| t.write("sys/block/vdb/size", "many"),
            "vdb/size: expected a number",
        ),
        (
            "a mount table of another shape",
            |t| t.write("proc/self/mountinfo", "rubbish\n"),
            "proc_pid_mountinfo(5)",
        ),
        (
            "an attribute that is a directory",
            |t| {
                fs::remove_file(t.path("sys/block/vdb/size")).expect("a file");
                fs::create_dir(t.path("sys/block/vdb/size")).expect("a directory");
            },
            "Is a directory",
        ),
        (
            "an attribute without end",
            |t| t.write("sys/block/vdb/serial", &"x".repeat(5000)),
            "larger than expected",
        ),
    ];
    for (case, setup, says) in cases {
        let tree = Tree::new();
        tree.plug("vdb", SERIAL, 9);
        setup(&tree);
        let why = unknown(tree.host().scan(BootTime::default()).disks);
        assert!(why.contains(says), "{case}: {why}");
    }
}

#[test]
fn a_disk_that_goes_away_meanwhile_is_not_an_error() {
    let tree = Tree::new();
    tree.plug("vdb", SERIAL, 9);
    tree.plug("vdc", OTHER_SERIAL, 10);
    fs::remove_file(tree.path("sys/block/vdb/size")).expect("a file");
    let disks = tree.disks();
    assert_eq!(disks.devices.keys().collect::<Vec<_>>(), ["vdc"]);
    assert_eq!(disks.links.len(), 1);
}

#[test]
fn this_vm_is_the_configured_one_else_what_the_firmware_says_else_cloud_init() {
    let cloud_init = |cloud: &str, id: &str| {
        format!(r#"{{"ds":{{}},"v1":{{"cloud_name":"{cloud}","instance_id":"{id}","x":[1]}}}}"#)
    };
    let vm = |text: &str| Some(text.parse::<VmId>().expect("a UUID"));
    let cases = [
        ("nothing", None, None, None, None),
        (
            "configured",
            vm(VM),
            None,
            Some(cloud_init("cloudstack", OTHER_VM)),
            vm(VM),
        ),
        (
            "firmware, in upper case",
            None,
            Some("6F1A0C4E-7A2B-4C0E-9C5E-0D6F1F6F2B11\n"),
            Some(cloud_init("cloudstack", OTHER_VM)),
            vm(VM),
        ),
        (
            "firmware without a UUID",
            None,
            Some("Not Settable\n"),
            Some(cloud_init("CloudStack", VM)),
            vm(VM),
        ),
        (
            "cloud-init",
            None,
            None,
            Some(cloud_init("cloudstack", VM)),
            vm(VM),
        ),
        (
            "another cloud",
            None,
            None,
            Some(cloud_init("openstack", VM)),
            None,
        ),
        (
            "an id that is none",
            None,
            None,
            Some(cloud_init("cloudstack", "i-123")),
            None,
        ),
        ("no JSON", None, None, Some("{".to_owned()), None),
    ];
    for (case, configured, firmware, instance_data, expected) in cases {
        let tree = Tree::new();
        if let Some(uuid) = firmware {
            tree.write("sys/class/dmi/id/product_uuid", uuid);
        }
        if let Some(data) = instance_data {
            tree.write("run/cloud-init/instance-data.json", &data);
        }
        let view = Host::new(tree.root(), configured).scan(BootTime::default());
        match expected {
            Some(vm) => assert_eq!(view.self_vm, Reading::Present(vm), "{case}"),
            None => {
                let why = unknown(view.self_vm);
                assert!(why.contains("set the VM's id"), "{case}: {why}");
            }
        }
    }
}

#[test]
fn a_clone_does_not_act_for_the_configured_vm() {
    let configured: VmId = VM.parse().expect("a UUID");
    for (vendor, firmware, is_known) in [
        (Some("Apache Software Foundation\n"), OTHER_VM, false),
        (Some("Apache Software Foundation\n"), VM, true),
        (Some("VMware, Inc.\n"), OTHER_VM, true),
        (None, OTHER_VM, false),
        (None, "Not Settable", true),
    ] {
        let tree = Tree::new();
        tree.write("sys/class/dmi/id/product_uuid", firmware);
        if let Some(vendor) = vendor {
            tree.write("sys/class/dmi/id/sys_vendor", vendor);
        }
        let view = Host::new(tree.root(), Some(configured)).scan(BootTime::default());
        if is_known {
            let case = format!("{vendor:?} {firmware}");
            assert_eq!(view.self_vm, Reading::Present(configured), "{case}");
        } else {
            let why = unknown(view.self_vm);
            for part in [VM, OTHER_VM, "remove host.vm_id"] {
                assert!(why.contains(part), "{vendor:?}: {why}");
            }
        }
    }
}

#[test]
fn an_opened_disk_is_the_proven_one() {
    let tree = Tree::new();
    tree.plug("vdb", SERIAL, 9);
    let proof = tree.proof(SERIAL);
    let device = tree.host().open(&proof, true).expect("a proven disk");
    assert_eq!(device.number(), proof.number);
    assert_eq!(device.proof(), &proof);
    assert!(device.is_writable());
    device.sync().expect("nothing to write out");

    // What the server opens is the descriptor's inode, wherever the link points now.
    tree.plug("vdc", OTHER_SERIAL, 10);
    tree.link(&proof.link, "vdc");
    let handed = fs::metadata(device.path_for_server()).expect("an open descriptor");
    assert_eq!(number_of(&handed), Some(proof.number));
}

#[test]
fn anything_else_than_the_proven_disk_is_refused() {
    type Change = fn(&Tree, &mut DeviceProof);
    let cases: [(&str, Change, &str); 12] = [
        ("link gone", |t, p| t.unlink(&p.link), "Open"),
        (
            "link re-pointed",
            |t, p| {
                t.plug("vdc", OTHER_SERIAL, 10);
                t.link(&p.link, "vdc");
            },
            "its device number",
        ),
        (
            "another disk in its place",
            |t, _| {
                t.unplug("vdb");
                t.plug("vdb", SERIAL, 10);
            },
            // By its number, or where the file system reuses inodes, by its diskseq.
            "Differs",
        ),
        (
            "another serial",
            |t, _| t.write("sys/block/vdb/serial", OTHER_SERIAL),
            "its serial",
        ),
        (
            "no serial",
            |t, _| t.write("sys/block/vdb/serial", ""),
            "its serial",
        ),
        (
            "another diskseq",
            |t, _| t.write("sys/block/vdb/diskseq", "10"),
            "its diskseq",
        ),
        (
            "no diskseq any more",
            |t, _| fs::remove_file(t.path("sys/block/vdb/diskseq")).expect("a file"),
            "its diskseq",
        ),
        (
            "another size",
            |t, _| t.resize("vdb", ByteSize::mib(2)),
            "its size",
        ),
        (
            "sysfs and the descriptor disagree on the size",
            |t, _| {
                fs::File::create(t.path("dev/vdb")).expect("a disk cut to nothing");
            },
            "its size",
        ),
        (
            "not a disk",
            |t, p| {
                t.unlink(&p.link);
                symlink("/dev/null", t.path("dev/disk/by-id").join(&p.link)).expect("a link");
            },
            "NotADisk",
        ),
        (
            "gone from sysfs",
            |t, _| fs::remove_dir_all(t.path("sys/block/vdb")).expect("a directory"),
            "Open",
        ),
        (
            "a link that is not named after the serial",
            |t, p| {
                p.link = format!("virtio-{SERIAL}x");
                t.link(&p.link, "vdb");
            },
            "Link",
        ),
    ];
    for (case, change, says) in cases {
        let tree = Tree::new();
        tree.plug("vdb", SERIAL, 9);
        let mut proof = tree.proof(SERIAL);
        change(&tree, &mut proof);
        for writable in [true, false] {
            let error = tree.host().open(&proof, writable).expect_err(case);
            assert!(format!("{error:?}").contains(says), "{case}: {error:?}");
        }
    }
}

#[test]
fn a_link_cannot_lead_out_of_its_directory() {
    let tree = Tree::new();
    tree.plug("vdb", SERIAL, 9);
    let mut proof = tree.proof(SERIAL);
    for link in ["../../vdb", "", "virtio-", "virtio-../../vdb"] {
        proof.link = link.to_owned();
        assert!(
            matches!(tree.host().open(&proof, true), Err(OpenError::Link(_))),
            "{link}"
        );
    }
}

#[test]
fn a_regular_file_is_no_disk_of_the_machine_itself() {
    for root in ["/", "//", "/.", "/usr/.."] {
        assert!(Host::new(root, None).is_real(), "{root}");
    }
    assert!(!Tree::new().host().is_real());
}

#[test]
fn this_machine_can_be_scanned() {
    let view = Host::new("/", None).scan(BootTime::default());
    match view.disks {
        Reading::Present(disks) => assert!(
            disks
                .devices
                .values()
                .all(|device| matches!(device.number, DeviceNumber::Block { .. }))
        ),
        Reading::Unknown(why) => assert!(why.contains("check"), "{why}"),
        Reading::Absent => panic!("a scan is never Absent"),
    }
}

/// How long to wait for what must happen at once.
const SOON: Duration = Duration::from_secs(10);

async fn is_noticed(watch: &mut HostWatch, what: &str) {
    tokio::time::timeout(SOON, watch.changed())
        .await
        .expect(what)
        .expect(what);
}

#[tokio::test]
async fn links_that_come_go_and_change_are_noticed() {
    let tree = Tree::new();
    let mut watch = tree.host().watch().expect("a watch");
    tree.plug("vdb", SERIAL, 9);
    is_noticed(&mut watch, "a new link").await;
    tree.plug("vdc", OTHER_SERIAL, 10);
    tree.link(&format!("virtio-{SERIAL}"), "vdc");
    is_noticed(&mut watch, "a re-pointed link").await;
    until_quiet(&mut watch).await;
    tree.unlink(&format!("virtio-{SERIAL}"));
    is_noticed(&mut watch, "a removed link").await;
}

#[tokio::test]
async fn directories_that_are_removed_and_made_again_are_watched_again() {
    let tree = Tree::new();
    fs::remove_dir_all(tree.path("dev/disk")).expect("a directory");
    let mut watch = tree.host().watch().expect("a watch on dev alone");
    for round in ["first", "second", "third"] {
        fs::create_dir_all(tree.path("dev/disk/by-id")).expect("new directories");
        is_noticed(&mut watch, round).await;
        // From here on only a watch on the new by-id sees anything.
        until_quiet(&mut watch).await;
        tree.link("virtio-x", "vdb");
        is_noticed(&mut watch, round).await;
        until_quiet(&mut watch).await;
        fs::remove_dir_all(tree.path("dev/disk")).expect("directories");
        is_noticed(&mut watch, round).await;
        until_quiet(&mut watch).await;
    }
}

#[tokio::test]
async fn scanning_does_not_wake_the_scanner() {
    let tree = Tree::new();
    tree.plug("vdb", SERIAL, 9);
    let mut watch = tree.host().watch().expect("a watch");
    until_quiet(&mut watch).await;
    tree.disks();
    let woken = tokio::time::timeout(Duration::from_millis(100), watch.changed()).await;
    assert!(woken.is_err(), "our own reading is not a change");
}

async fn until_quiet(watch: &mut HostWatch) {
    while tokio::time::timeout(Duration::from_millis(50), watch.changed())
        .await
        .is_ok()
    {}
}

#[test]
fn a_machine_without_dev_cannot_be_watched() {
    let empty = tempfile::tempdir().expect("a temporary directory");
    let error = Host::new(empty.path(), None).watch().expect_err("no dev");
    assert!(matches!(error, WatchError::Watch { .. }), "{error:?}");
}
