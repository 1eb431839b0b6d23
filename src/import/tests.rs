use uuid::Uuid;

use super::*;
use crate::model::action::{CLAIM_TAG, Claim, Mark};
use crate::model::desired::{Presence, VolumeDocument};
use crate::model::legacy::OldRow;
use crate::model::memory::{Binding, Memory};
use crate::model::observed::{
    Attachment, Catalogue, CloudView, CloudVm, Device, DeviceNumber, Named, Observed, VmState,
    VolumeKind, VolumeState,
};
use crate::model::{
    BootTime, DesiredVolume, InstanceId, JobId, OfferingId, Owner, SpecUid, ZoneId,
};
use crate::plan::Desired;
use crate::source::row_document;

const HERE: VmId = VmId::new(Uuid::from_u128(7));
const ELSEWHERE: VmId = VmId::new(Uuid::from_u128(8));
const OURS: InstanceId = InstanceId::new(Uuid::from_u128(2));

/// The serials of these differ.
fn id(n: u32) -> VolumeId {
    VolumeId::new(Uuid::from_u128(u128::from(n) << 96))
}

fn name(text: &str) -> VolumeName {
    text.parse().expect("a name")
}

fn old_row(columns: &[(&'static str, &str)]) -> OldRow {
    let columns = columns
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()));
    OldRow(columns.collect())
}

/// A world that can be brought out of order: volume 1 is here and exported, as `/dev/vdb`.
struct Site {
    tables: OldTables,
    world: World,
    rows: Vec<DesiredRow>,
    disks: Disks,
}

impl Site {
    fn new() -> Self {
        let mut site = Self {
            tables: OldTables {
                mappings: Some(Vec::new()),
                exports: Some(Vec::new()),
                volumes: Some(Vec::new()),
                disks: Some(Vec::new()),
            },
            world: World {
                desired: Desired::default(),
                observed: Observed {
                    cloud: CloudView {
                        listed: Ok(BootTime::from_millis(1)),
                        catalogue: Some(Catalogue {
                            zones: vec![Named {
                                id: ZoneId::new(Uuid::from_u128(1)),
                                name: "zone-1".to_owned(),
                            }],
                            offerings: vec![Named {
                                id: OfferingId::new(Uuid::from_u128(3)),
                                name: "Custom".to_owned(),
                            }],
                        }),
                        ..CloudView::default()
                    },
                    ..Observed::default()
                },
                memory: Memory::new(OURS),
            },
            rows: Vec::new(),
            disks: Disks {
                devices: BTreeMap::new(),
                links: BTreeMap::new(),
            },
        };
        for (id, name) in [(HERE, "oma"), (ELSEWHERE, "test-vm")] {
            let vm = CloudVm {
                id,
                name: name.to_owned(),
                state: VmState::Running,
                zone: ZoneId::new(Uuid::from_u128(1)),
                begun: BootTime::from_millis(1),
            };
            site.world.observed.cloud.vms.insert(id, vm);
        }
        site.add(1, "pg-0", HERE, "vdb");
        site
    }

    /// A volume that all agree about.
    fn add(&mut self, n: u32, name: &str, vm: VmId, disk: &str) {
        let volume = CloudVolume {
            id: id(n),
            name: name.to_owned(),
            size: ByteSize::gib(5),
            state: VolumeState::Ready,
            kind: VolumeKind::Data,
            zone: ZoneId::new(Uuid::from_u128(1)),
            offering: Some(OfferingId::new(Uuid::from_u128(3))),
            attachment: Some(Attachment {
                vm,
                device_id: Some(1),
            }),
            pending_job: None,
            tags: BTreeMap::new(),
            created: None,
            begun: BootTime::from_millis(1),
        };
        self.world.observed.cloud.volumes.insert(id(n), volume);
        let uuid = id(n).to_string();
        let serial = Serial::of(id(n));
        let link = format!("virtio-{serial}");
        let path = format!("/dev/disk/by-id/{link}");
        let vm_text = vm.to_string();
        self.mapping(&[
            ("id", &format!("mapping-{n}")),
            ("volume_uuid", &uuid),
            ("vm_id", &vm_text),
            ("device_path", &path),
            ("cloudstack_state", "attached"),
            // As one was seen in the field: a little more than 5 GiB.
            ("size", "5368717312"),
        ]);
        self.tables.volumes.get_or_insert_default().push(old_row(&[
            ("id", &n.to_string()),
            ("volume_id", &uuid),
            ("size_gb", "5"),
        ]));
        if vm != HERE {
            return;
        }
        self.export(&[
            ("id", &n.to_string()),
            ("volume_id", &uuid),
            ("export_name", &format!("migration-vol-{uuid}")),
            ("device_path", &path),
            ("status", "active"),
        ]);
        self.disks.links.insert(link, disk.to_owned());
        let device = Device {
            kernel_name: disk.to_owned(),
            number: DeviceNumber::Block {
                major: 252,
                minor: n,
            },
            serial: Some(serial),
            size: ByteSize::gib(5),
            diskseq: None,
            users: Vec::new(),
        };
        self.disks.devices.insert(disk.to_owned(), device);
    }

    fn mapping(&mut self, columns: &[(&'static str, &str)]) {
        let rows = self.tables.mappings.get_or_insert_default();
        rows.push(old_row(columns));
    }

    fn export(&mut self, columns: &[(&'static str, &str)]) {
        let rows = self.tables.exports.get_or_insert_default();
        rows.push(old_row(columns));
    }

    /// Changes a column of the first row of a table.
    fn set(rows: &mut Option<Vec<OldRow>>, column: &'static str, text: &str) {
        let row = rows.as_mut().and_then(|rows| rows.first_mut());
        row.expect("a row").0.insert(column, text.to_owned());
    }

    fn cloud(&mut self) -> &mut CloudVolume {
        let volumes = &mut self.world.observed.cloud.volumes;
        volumes.get_mut(&id(1)).expect("it was added")
    }

    /// A spec for volume 1, as if the daemon had accepted it.
    fn accept(&mut self, row: &DesiredRow, owner: &str) {
        let document = row_document(row).expect("valid").document;
        let desired = DesiredVolume {
            uid: SpecUid::new(Uuid::from_u128(9)),
            document,
            generation: 1,
            owner: Owner::try_from(owner.to_owned()).expect("an owner"),
            presence: Presence::Declared,
        };
        let volumes = &mut self.world.desired.volumes;
        volumes.insert(desired.name().clone(), desired);
    }

    fn bind(&mut self, to: &str) {
        let binding = Binding {
            volume: id(1),
            uid: SpecUid::new(Uuid::from_u128(9)),
            mark: Mark::Adopted,
        };
        self.world.memory.bindings.insert(name(to), binding);
        let claim = Claim {
            instance: OURS,
            spec: SpecUid::new(Uuid::from_u128(9)),
            mark: Mark::Adopted,
        };
        let tag = (CLAIM_TAG.to_owned(), claim.to_string());
        self.cloud().tags.extend([tag]);
    }

    fn import(&self) -> Import {
        import(Facts {
            tables: &self.tables,
            world: &self.world,
            rows: &self.rows,
            here: HERE,
            disks: &self.disks,
        })
    }
}

fn codes(import: &Import) -> Vec<(Code, Option<VolumeId>)> {
    let findings = import.findings.iter();
    findings
        .map(|finding| (finding.code, finding.volume))
        .collect()
}

fn outcomes(import: &Import) -> Vec<Outcome> {
    import.volumes.iter().map(|volume| volume.outcome).collect()
}

#[test]
fn what_all_agree_about_becomes_a_row_that_leaves_it_as_it_is() {
    let mut site = Site::new();
    site.add(2, "pg-0", ELSEWHERE, "");
    site.add(3, "PG log", HERE, "vdc");
    site.world
        .observed
        .cloud
        .volumes
        .get_mut(&id(3))
        .expect("added")
        .attachment = None;
    site.tables.mappings.as_mut().expect("some")[2]
        .0
        .insert("cloudstack_state", "detached".to_owned());
    let import = site.import();
    let rows: BTreeMap<&str, &BTreeMap<&str, String>> = import
        .rows
        .iter()
        .map(|row| (row.name.as_str(), &row.columns))
        .collect();
    let row = |more: &[(&'static str, &str)], n| {
        let id = id(n).to_string();
        let all = [
            ("writer", WRITER),
            ("existing_id", id.as_str()),
            ("reclaim_policy", "Retain"),
            ("deletion_protection", "1"),
        ];
        let all = all.into_iter().chain(more.iter().copied());
        all.map(|(key, value)| (key, value.to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let export = format!("migration-vol-{}", id(1));
    let elsewhere = ELSEWHERE.to_string();
    let expected = [
        (
            "pg-0",
            row(
                &[("vm", "self"), ("export", "1"), ("export_name", &export)],
                1,
            ),
        ),
        ("pg-0-00000002", row(&[("vm", &elsewhere)], 2)),
        ("pg-log", row(&[], 3)),
    ];
    let expected: BTreeMap<&str, _> = expected.iter().map(|(name, row)| (*name, row)).collect();
    assert_eq!(rows, expected);
    assert_eq!(codes(&import), [(Code::ExportLeftOut, Some(id(3)))]);
    for row in &import.rows {
        let VolumeDocument { name, spec, .. } = row_document(row).expect("valid").document;
        assert_eq!(name.as_str(), row.name);
        assert!(spec.deletion_protection, "{name}");
    }
    let first = &import.volumes[0];
    let cloud = first.cloud.as_ref().expect("there");
    assert_eq!(
        (cloud.zone.as_str(), cloud.offering.as_deref()),
        ("zone-1", Some("Custom"))
    );
    assert_eq!(
        (cloud.vm_name.as_deref(), cloud.device_id),
        (Some("oma"), Some(1))
    );
    assert!(first.device.as_ref().expect("here").exists);
    assert_eq!(import.volumes[1].device, None, "it is elsewhere");
}

/// What is done to a site, what is found, what comes of volume 1, and what the finding says.
type Story = (
    &'static str,
    fn(&mut Site),
    &'static [Code],
    Outcome,
    &'static str,
);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn whatever_does_not_agree_is_told_and_only_what_is_safe_is_taken_over() {
    let stories: &[Story] = &[
        ("nothing", |_| {}, &[], Outcome::New, ""),
        (
            "CloudStack has it no more",
            |site| {
                site.world.observed.cloud.volumes.clear();
                site.world
                    .observed
                    .cloud
                    .absent
                    .insert(id(1), BootTime::from_millis(1));
            },
            &[Code::VolumeGone],
            Outcome::Gone,
            "no such volume",
        ),
        (
            "it was destroyed",
            |site| site.cloud().state = VolumeState::Destroy,
            &[Code::VolumeGone],
            Outcome::Gone,
            "it is Destroy",
        ),
        (
            "no listing has it, and it was not looked up",
            |site| site.world.observed.cloud.volumes.clear(),
            &[Code::VolumeUnknown],
            Outcome::LeftOut,
            "not yet looked up",
        ),
        (
            "a job is at work",
            |site| site.cloud().pending_job = Some(JobId::new(Uuid::from_u128(5))),
            &[Code::VolumeNotReady],
            Outcome::LeftOut,
            "the job 00000000-0000-0000-0000-000000000005",
        ),
        (
            "it is being resized",
            |site| site.cloud().state = VolumeState::parse("Resizing"),
            &[Code::VolumeNotReady],
            Outcome::LeftOut,
            "Resizing",
        ),
        (
            "it is a root disk",
            |site| site.cloud().kind = VolumeKind::Root,
            &[Code::RootDisk],
            Outcome::LeftOut,
            "root disk of oma (",
        ),
        (
            "it is elsewhere",
            |site| {
                let at = Attachment {
                    vm: ELSEWHERE,
                    device_id: None,
                };
                site.cloud().attachment = Some(at);
            },
            &[Code::OtherVm, Code::ExportLeftOut],
            Outcome::LeftOut,
            "device_mappings: on oma (00000000-0000-0000-0000-000000000007); in CloudStack on test-vm",
        ),
        (
            "it is on no VM",
            |site| site.cloud().attachment = None,
            &[Code::OtherVm, Code::ExportLeftOut],
            Outcome::LeftOut,
            "in CloudStack on no VM",
        ),
        (
            "its mapping has a VM of its own invention",
            |site| Site::set(&mut site.tables.mappings, "vm_id", "vm-1"),
            &[Code::OtherVm],
            Outcome::LeftOut,
            "on \"vm-1\"; in CloudStack on oma",
        ),
        (
            "the mapping says that it was detached",
            |site| Site::set(&mut site.tables.mappings, "cloudstack_state", "detached"),
            &[Code::OtherVm],
            Outcome::LeftOut,
            "on no VM; in CloudStack on oma",
        ),
        (
            "two mappings",
            |site| {
                let mut row = site.tables.mappings.as_ref().expect("some")[0].clone();
                row.0.insert("id", "mapping-x".to_owned());
                site.tables.mappings.as_mut().expect("some").push(row);
            },
            &[Code::SeveralMappings],
            Outcome::LeftOut,
            "mapping-1, mapping-x",
        ),
        (
            "a path of the kernel that still is right",
            |site| Site::set(&mut site.tables.mappings, "device_path", "/dev/vdb"),
            &[Code::KernelPath],
            Outcome::New,
            "/dev/vdb is replaced by /dev/disk/by-id/virtio-00000001000000000000, which is there",
        ),
        (
            "a path of the kernel that is gone",
            |site| Site::set(&mut site.tables.mappings, "device_path", "/dev/vdx"),
            &[Code::KernelPath],
            Outcome::New,
            "/dev/vdx is replaced by",
        ),
        (
            "a path of the kernel that is another disk by now",
            |site| {
                site.add(2, "other", HERE, "vdc");
                Site::set(&mut site.tables.mappings, "device_path", "/dev/vdc");
            },
            &[Code::OtherDisk, Code::KernelPath],
            Outcome::LeftOut,
            "the serial 00000002000000000000",
        ),
        (
            "the by-id path of another disk",
            |site| {
                site.add(2, "other", HERE, "vdc");
                let path = "/dev/disk/by-id/virtio-00000002000000000000";
                Site::set(&mut site.tables.exports, "device_path", path);
            },
            &[Code::SharedDevicePath, Code::OtherDisk],
            Outcome::LeftOut,
            "nbd_exports: /dev/disk/by-id/virtio-00000002000000000000 is also said to be the disk of \
             00000002",
        ),
        (
            "one path for two volumes, of which it is the right one",
            |site| {
                Site::set(&mut site.tables.mappings, "device_path", "/dev/vdb");
                let gone = id(2).to_string();
                site.mapping(&[("volume_id", &gone), ("device_path", "/dev/vdb")]);
            },
            &[Code::VolumeUnknown, Code::KernelPath],
            Outcome::New,
            "",
        ),
        (
            "one path for two volumes, and no such disk",
            |site| {
                Site::set(&mut site.tables.mappings, "device_path", "/dev/vdx");
                let gone = id(2).to_string();
                site.mapping(&[("volume_id", &gone), ("device_path", "/dev/vdx")]);
            },
            &[
                Code::SharedDevicePath,
                Code::VolumeUnknown,
                Code::KernelPath,
            ],
            Outcome::LeftOut,
            "/dev/vdx is also said to be the disk of 00000002",
        ),
        (
            "its disk is not here",
            |site| site.disks.links.clear(),
            &[Code::LinkMissing],
            Outcome::LeftOut,
            "/dev/disk/by-id/virtio-00000001000000000000 is not there",
        ),
        (
            "its disk is smaller",
            |site| site.disks.devices.get_mut("vdb").expect("added").size = ByteSize::gib(4),
            &[Code::SizeDiffers],
            Outcome::LeftOut,
            "its disk has 4GiB",
        ),
        (
            "the mapping says that it is larger",
            |site| Site::set(&mut site.tables.mappings, "size", "6442450944"),
            &[Code::SizeDiffers],
            Outcome::LeftOut,
            "device_mappings: size is 6GiB, in CloudStack 5GiB",
        ),
        (
            "it has grown",
            |site| Site::set(&mut site.tables.volumes, "size_gb", "4"),
            &[Code::GrownSince],
            Outcome::New,
            "ossea_volumes: size_gb is 4GiB, in CloudStack 5GiB",
        ),
        (
            "a size that is none",
            |site| Site::set(&mut site.tables.mappings, "size", "-1"),
            &[],
            Outcome::New,
            "",
        ),
        (
            "one export name for two volumes",
            |site| {
                site.add(2, "other", HERE, "vdc");
                let exports = site.tables.exports.as_mut().expect("some");
                for row in exports {
                    row.0.insert("export_name", "disk".to_owned());
                }
            },
            &[
                Code::SharedExportName,
                Code::SharedExportName,
                Code::CustomExportName,
                Code::CustomExportName,
            ],
            Outcome::LeftOut,
            "is exported as disk, too",
        ),
        (
            "one export name for two volumes, one of which is gone",
            |site| {
                let gone = id(2).to_string();
                let absent = &mut site.world.observed.cloud.absent;
                absent.insert(id(2), BootTime::from_millis(1));
                let name = format!("migration-vol-{}", id(1));
                site.export(&[("volume_id", &gone), ("export_name", &name)]);
            },
            &[Code::VolumeGone],
            Outcome::New,
            "",
        ),
        (
            "two export names for it",
            |site| {
                let uuid = id(1).to_string();
                site.export(&[("device_mapping_uuid", &uuid), ("export_name", "b")]);
            },
            &[Code::SeveralExportNames],
            Outcome::LeftOut,
            "it is exported as b and as migration-vol-",
        ),
        (
            "two export names for it, one of which came to nothing",
            |site| {
                let uuid = id(1).to_string();
                site.export(&[
                    ("volume_id", &uuid),
                    ("export_name", "b"),
                    ("status", "failed"),
                ]);
            },
            &[],
            Outcome::New,
            "",
        ),
        (
            "an export that came to nothing",
            |site| Site::set(&mut site.tables.exports, "status", "failed"),
            &[Code::ExportNotActive],
            Outcome::New,
            "not active (row 1)",
        ),
        (
            "an older export, known by its path alone",
            |site| {
                let row = &mut site.tables.exports.as_mut().expect("some")[0];
                row.0.remove("volume_id");
                row.0
                    .insert("export_name", "migration-vm-x-disk0".to_owned());
            },
            &[Code::CustomExportName],
            Outcome::New,
            "as migration-vm-x-disk0, not as migration-vol-",
        ),
        (
            "an export of nothing",
            |site| site.export(&[("id", "9"), ("volume_id", ""), ("export_name", "b")]),
            &[Code::NoVolume],
            Outcome::New,
            "nbd_exports: the row 9 names no volume: \"\"",
        ),
        (
            "an export of two",
            |site| {
                let other = id(2).to_string();
                Site::set(&mut site.tables.exports, "device_mapping_uuid", &other);
            },
            &[Code::TwoVolumes],
            Outcome::LeftOut,
            "also names the volume 00000002",
        ),
        (
            "the default name of another volume",
            |site| {
                let other = format!("migration-vol-{}", id(2));
                Site::set(&mut site.tables.exports, "export_name", &other);
            },
            &[Code::OthersExportName],
            Outcome::LeftOut,
            "the name of the volume 00000002",
        ),
        (
            "a name that nobody can serve",
            |site| Site::set(&mut site.tables.exports, "export_name", "a b"),
            &[Code::InvalidExportName],
            Outcome::LeftOut,
            "printable ASCII",
        ),
        (
            "another volume with its serial",
            |site| {
                let mut twin = site.cloud().clone();
                twin.id = VolumeId::new(Uuid::from_u128((1 << 96) + 1));
                site.world.observed.cloud.volumes.insert(twin.id, twin);
            },
            &[Code::SharedSerial],
            Outcome::LeftOut,
            "20 digits",
        ),
        (
            "another daemon's claim",
            |site| {
                let tag = (CLAIM_TAG.to_owned(), "x/y/adopted".to_owned());
                site.cloud().tags.extend([tag]);
            },
            &[Code::ClaimedByOther],
            Outcome::LeftOut,
            "the claim x/y/adopted",
        ),
        (
            "the engine's second copy is stale",
            |site| {
                let stale = id(4).to_string();
                let disk = old_row(&[
                    ("id", "11"),
                    ("ossea_volume_id", "1"),
                    ("cloudstack_volume_uuid", &stale),
                ]);
                site.tables.disks.get_or_insert_default().push(disk);
            },
            &[Code::CopyDiffers],
            Outcome::New,
            "cloudstack_volume_uuid of the row 11 is \"00000004",
        ),
        (
            "the engine's second copy is right",
            |site| {
                let right = id(1).to_string();
                let disk = old_row(&[("ossea_volume_id", "1"), ("cloudstack_volume_uuid", &right)]);
                site.tables.disks.get_or_insert_default().push(disk);
            },
            &[],
            Outcome::New,
            "",
        ),
        (
            "the engine believes it elsewhere",
            |site| {
                let vm = ELSEWHERE.to_string();
                Site::set(&mut site.tables.volumes, "vm_id", &vm);
            },
            &[Code::CopyDiffers],
            Outcome::New,
            "ossea_volumes: on test-vm (",
        ),
        (
            "another device id",
            |site| Site::set(&mut site.tables.mappings, "cloudstack_device_id", "4"),
            &[Code::CopyDiffers],
            Outcome::New,
            "cloudstack_device_id is 4, in CloudStack 1",
        ),
    ];
    for (what, change, found, outcome, says) in stories {
        let mut site = Site::new();
        change(&mut site);
        let import = site.import();
        let codes: Vec<Code> = import.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, *found, "{what}: {:#?}", import.findings);
        assert_eq!(import.volumes[0].outcome, *outcome, "{what}");
        let is_new = import.rows.iter().any(|row| row.name == "pg-0");
        assert_eq!(is_new, *outcome == Outcome::New, "{what}");
        let messages = import
            .findings
            .iter()
            .map(|finding| finding.message.as_str());
        let messages = messages.collect::<Vec<_>>().join("\n");
        assert!(messages.contains(says), "{what}: {messages}");
    }
}

#[test]
fn tables_that_are_not_there_are_not_missed() {
    let mut site = Site::new();
    let mappings = site.tables.mappings.take();
    site.tables = OldTables {
        mappings: Some(mappings.expect("some")),
        ..OldTables::default()
    };
    let import = site.import();
    assert_eq!(codes(&import), []);
    assert!(!import.rows[0].columns.contains_key("export"));
    let mut site = Site::new();
    site.tables.mappings = None;
    site.tables.exports = None;
    assert_eq!(
        outcomes(&site.import()),
        [Outcome::New],
        "the engine knows it"
    );
    assert!(!site.tables.are_missing());
    assert!(OldTables::default().are_missing());
}

#[test]
fn a_row_that_is_there_stays_as_it_is() {
    let first = Site::new().import().rows;
    let changed = |change: fn(&mut DesiredRow)| {
        let mut rows = first.clone();
        change(&mut rows[0]);
        rows
    };
    for (what, rows, found, outcome) in [
        ("the same", first.clone(), None, Outcome::Unchanged),
        (
            "the same in other words",
            changed(|row| drop(row.columns.insert("export_read_only", "0".to_owned()))),
            None,
            Outcome::Unchanged,
        ),
        (
            "another meaning",
            changed(|row| drop(row.columns.insert("vm", "none".to_owned()))),
            Some(Code::RowDiffers),
            Outcome::Kept,
        ),
        (
            "to go",
            changed(|row| drop(row.columns.insert("deleted_at", "now".to_owned()))),
            Some(Code::RowDiffers),
            Outcome::Kept,
        ),
        (
            "of the engine",
            changed(|row| drop(row.columns.insert("writer", "engine".to_owned()))),
            Some(Code::AlreadyManaged),
            Outcome::Kept,
        ),
    ] {
        let mut site = Site::new();
        site.rows = rows;
        let import = site.import();
        assert_eq!(import.rows, [], "{what}");
        let found: Vec<_> = found.into_iter().map(|code| (code, Some(id(1)))).collect();
        assert_eq!(codes(&import), found, "{what}");
        assert_eq!(outcomes(&import), [outcome], "{what}");
        assert_eq!(import.volumes[0].row.as_deref(), Some("pg-0"), "{what}");
    }
}

#[test]
fn what_the_daemon_has_taken_over_is_not_taken_over_again() {
    let mut site = Site::new();
    site.rows = site.import().rows;
    site.accept(&site.rows[0].clone(), "db:import-legacy");
    site.bind("pg-0");
    let import = site.import();
    assert_eq!(
        (codes(&import), outcomes(&import)),
        (vec![], vec![Outcome::Unchanged])
    );
    assert!(import.is_settled());

    // The row is gone, as after going back: it returns under the name that the daemon knows.
    site.cloud().name = "renamed".to_owned();
    site.rows.clear();
    let import = site.import();
    assert_eq!(import.rows[0].name, "pg-0");
    assert_eq!(codes(&import), []);
    site.world.desired.volumes.clear();
    assert_eq!(site.import().rows[0].name, "pg-0", "by its binding alone");
}

#[test]
fn a_name_that_stands_for_another_volume_is_not_taken() {
    let mut row = Site::new().import().rows.remove(0);
    row.columns.insert("existing_id", id(5).to_string());
    let mut by_row = Site::new();
    by_row.rows = vec![row.clone()];
    let mut by_spec = Site::new();
    by_spec.accept(&row, "file:/specs/a.yaml");
    let mut by_binding = Site::new();
    let binding = Binding {
        volume: id(5),
        uid: SpecUid::new(Uuid::from_u128(9)),
        mark: Mark::Created,
    };
    let bindings = &mut by_binding.world.memory.bindings;
    bindings.insert(name("pg-0"), binding);
    for site in [by_row, by_spec, by_binding] {
        let import = site.import();
        assert_eq!(import.rows[0].columns["existing_id"], id(1).to_string());
        assert_eq!(import.rows[0].name, "pg-0-00000001");
    }
}

#[test]
fn what_somebody_else_declares_here_is_theirs() {
    let row = Site::new().import().rows.remove(0);
    let mut by_name = row.clone();
    by_name.columns.remove("existing_id");
    by_name.columns.insert("existing_name", "pg-0".to_owned());
    for row in [row, by_name] {
        let mut site = Site::new();
        site.accept(&row, "file:/specs/a.yaml");
        let import = site.import();
        assert_eq!(import.rows, []);
        assert_eq!(codes(&import), [(Code::AlreadyManaged, Some(id(1)))]);
        assert_eq!(outcomes(&import), [Outcome::Kept]);
        assert!(import.is_settled());
    }
}

#[test]
fn an_export_name_that_a_spec_here_uses_for_another_volume_is_not_taken() {
    let mut site = Site::new();
    let mut row = site.import().rows.remove(0);
    row.name = "other".to_owned();
    row.columns.insert("existing_id", id(5).to_string());
    site.accept(&row, "db:engine");
    let binding = Binding {
        volume: id(5),
        uid: SpecUid::new(Uuid::from_u128(9)),
        mark: Mark::Adopted,
    };
    site.world.memory.bindings.insert(name("other"), binding);
    assert_eq!(
        codes(&site.import()),
        [(Code::SharedExportName, Some(id(1)))]
    );
}

#[test]
fn every_name_becomes_one_that_is_allowed_and_free() {
    let mut taken = BTreeSet::new();
    for (n, called, expected) in [
        (1, "pgtest2-disk-0", "pgtest2-disk-0"),
        (2, "PGtest2_disk.0", "pgtest2-disk-0-00000002"),
        (3, "--- Daten (neu) ---", "daten-neu"),
        (4, "数据", "volume-00000004"),
        (5, "", "volume-00000005"),
        (6, &"x".repeat(200), &"x".repeat(63)),
        (7, &"x".repeat(200), &format!("{}-00000007", "x".repeat(54))),
        (8, &format!("{}-y", "x".repeat(62)), &"x".repeat(62)),
    ] {
        let mut site = Site::new();
        site.add(n, called, ELSEWHERE, "");
        let volume = &site.world.observed.cloud.volumes[&id(n)];
        let name = name_for(volume, &taken);
        assert_eq!(name.as_str(), expected);
        taken.insert(name);
    }
}
