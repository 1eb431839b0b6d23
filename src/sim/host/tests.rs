use std::os::unix::fs::MetadataExt as _;

use super::*;

fn disk(name: &str, index: u32, volume: u128, diskseq: u64) -> HostDisk {
    let volume = Uuid::from_u128(volume << 64);
    HostDisk {
        name: name.to_owned(),
        bus: Bus::Virtio,
        serial: volume.simple().to_string()[..20].to_owned(),
        volume,
        size: 1 << 20,
        diskseq,
        index,
    }
}

struct Rig {
    dir: tempfile::TempDir,
    tree: HostDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = HostDir::create(dir.path(), Uuid::from_u128(7)).expect("a tree");
        Self { dir, tree }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).expect(file)
    }

    fn is_there(&self, file: &str) -> bool {
        self.dir.path().join(file).symlink_metadata().is_ok()
    }

    fn inode(&self, file: &str) -> u64 {
        fs::metadata(self.dir.path().join(file)).expect(file).ino()
    }

    fn steps(&self, disks: &[HostDisk]) -> Vec<Step> {
        plan(&self.tree.seen().expect("a tree"), disks)
    }
}

#[test]
fn a_disk_is_seen_as_on_a_real_machine() {
    let rig = Rig::new();
    let b = disk("vdb", 1, 0xb3bb_9310_1b59_4f62, 9);
    rig.tree.show(std::slice::from_ref(&b)).expect("shown");
    let link = format!("dev/disk/by-id/virtio-{}", b.serial);
    assert_eq!(
        fs::read_link(rig.dir.path().join(&link)).expect("a link"),
        Path::new("../../vdb")
    );
    assert_eq!(rig.read("sys/block/vdb/serial"), b.serial);
    assert_eq!(rig.read("sys/block/vdb/size"), "2048\n");
    assert_eq!(rig.read("sys/block/vdb/diskseq"), "9\n");
    assert_eq!(rig.read("sys/block/vdb/dev"), "254:16\n");
    assert!(rig.is_there("sys/block/vdb/holders"));
    assert_eq!(
        rig.read("sys/class/dmi/id/product_uuid"),
        "00000000-0000-0000-0000-000000000007\n"
    );
    assert!(rig.read("proc/self/mountinfo").contains(" / "));
    assert_eq!(rig.read("proc/swaps").lines().count(), 1);
    // Following the link leads to the data.
    let backing = format!("backing/{}.img", b.volume);
    assert_eq!(rig.inode(&link), rig.inode(&backing));
    assert_eq!(
        fs::metadata(rig.dir.path().join(link))
            .expect("a file")
            .len(),
        1 << 20
    );
    assert_eq!(rig.steps(&[b]), []);
}

#[test]
fn steps_go_in_the_order_of_a_real_machine() {
    let rig = Rig::new();
    let (b, c) = (disk("vdb", 1, 1, 1), disk("vdc", 2, 2, 2));
    let link = |disk: &HostDisk| format!("virtio-{}", disk.serial);
    let linked = |disk: &HostDisk| Step::Link {
        link: link(disk),
        name: disk.name.clone(),
    };
    let both = [b.clone(), c.clone()];
    assert_eq!(
        rig.steps(&both),
        [
            Step::Add(b.clone()),
            Step::Add(c.clone()),
            linked(&b),
            linked(&c)
        ]
    );
    rig.tree.show(&both).expect("shown");
    // Unplugged: the link goes first.
    assert_eq!(
        rig.steps(std::slice::from_ref(&c)),
        [Step::Unlink(link(&b)), Step::Remove("vdb".to_owned())]
    );
    // Grown: nothing else is touched.
    let grown = HostDisk {
        size: 2 << 20,
        ..b.clone()
    };
    assert_eq!(
        rig.steps(&[grown.clone(), c.clone()]),
        [Step::Resize(grown.clone())]
    );
    rig.tree.show(&[grown.clone(), c.clone()]).expect("shown");
    assert_eq!(rig.read("sys/block/vdb/size"), "4096\n");
    // Swapped over a reboot.
    let swapped = [
        HostDisk {
            name: "vdc".to_owned(),
            index: 2,
            diskseq: 3,
            ..grown
        },
        HostDisk {
            name: "vdb".to_owned(),
            index: 1,
            diskseq: 4,
            ..c
        },
    ];
    let before = rig.inode("dev/vdb");
    rig.tree.show(&swapped).expect("shown");
    assert_eq!(
        rig.inode("dev/vdc"),
        before,
        "the data moved with its volume"
    );
    assert_eq!(rig.steps(&swapped), []);
}

#[test]
fn a_disk_on_another_bus_is_seen_as_udev_and_sysfs_show_it() {
    let rig = Rig::new();
    for (bus, prefix) in [
        (Bus::Scsi, "scsi-0QEMU_QEMU_HARDDISK_"),
        (Bus::Sata, "ata-QEMU_HARDDISK_"),
    ] {
        let b = HostDisk {
            bus,
            ..disk("sdb", 1, 7, u64::from(bus == Bus::Sata) + 1)
        };
        rig.tree.show(std::slice::from_ref(&b)).expect("shown");
        assert!(rig.is_there(&format!("dev/disk/by-id/{prefix}{}", b.serial)));
        assert!(!rig.is_there("sys/block/sdb/serial"));
        let page = fs::read(rig.dir.path().join("sys/block/sdb/device/vpd_pg80")).expect("a page");
        assert_eq!(page[..4], [0, 0x80, 0, 20]);
        assert_eq!(page[4..], *b.serial.as_bytes());
        assert_eq!(rig.read("sys/block/sdb/dev"), "8:16\n");
        assert_eq!(rig.steps(&[b]), []);
    }
}

#[test]
fn of_two_disks_with_one_serial_the_later_one_has_the_link() {
    let rig = Rig::new();
    let b = disk("vdb", 1, 7, 1);
    let c = HostDisk {
        name: "vdc".to_owned(),
        index: 2,
        volume: Uuid::from_u128((7 << 64) + 1),
        diskseq: 2,
        ..b.clone()
    };
    let target = || fs::read_link(rig.dir.path().join("dev/disk/by-id").join(b.link()));
    rig.tree.show(&[b.clone(), c.clone()]).expect("shown");
    assert_eq!(target().expect("a link"), Path::new("../../vdc"));
    assert_eq!(rig.steps(&[b.clone(), c]), []);
    rig.tree.show(std::slice::from_ref(&b)).expect("shown");
    assert_eq!(target().expect("a link"), Path::new("../../vdb"));
}

#[test]
fn data_stays_and_by_id_goes_with_the_last_link() {
    let rig = Rig::new();
    let b = disk("vdb", 1, 1, 1);
    rig.tree.show(std::slice::from_ref(&b)).expect("shown");
    let device = rig.dir.path().join("dev/vdb");
    let inode = rig.inode("dev/vdb");
    fs::OpenOptions::new()
        .write(true)
        .open(&device)
        .and_then(|mut file| io::Write::write_all(&mut file, b"data"))
        .expect("written");
    rig.tree.show(&[]).expect("shown");
    for gone in ["dev/vdb", "dev/disk/by-id", "dev/disk", "sys/block/vdb"] {
        assert!(!rig.is_there(gone), "{gone}");
    }
    let again = HostDisk { diskseq: 2, ..b };
    rig.tree.show(&[again]).expect("shown");
    assert_eq!(rig.inode("dev/vdb"), inode);
    assert_eq!(&fs::read(&device).expect("read")[..4], b"data");
}

#[test]
fn an_interrupted_tree_is_carried_on_with() {
    let rig = Rig::new();
    let b = disk("vdb", 1, 1, 1);
    rig.tree.show(std::slice::from_ref(&b)).expect("shown");
    // As after a crash between two steps.
    fs::remove_file(rig.dir.path().join("sys/block/vdb/diskseq")).expect("removed");
    fs::write(
        rig.dir
            .path()
            .join(format!("dev/disk/by-id/.#virtio-{}", b.serial)),
        "",
    )
    .expect("written");
    rig.tree.show(std::slice::from_ref(&b)).expect("shown");
    assert_eq!(rig.steps(std::slice::from_ref(&b)), []);
    let other = HostDir::create(rig.dir.path(), Uuid::from_u128(7)).expect("a tree");
    other.show(&[]).expect("shown");
    assert!(!rig.is_there("dev/vdb"));
}
