//! Each table row breaks one thing of a site where all is well.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::super::facts::*;
use super::super::finding::Status::{self, Failed, Ok as Fine, Skipped, Warning};
use super::*;
use crate::cloudstack::TransportError;
use crate::cloudstack::probe::{
    COMMANDS, Capabilities, Greeting, OfferingFacts, VmFacts, ZoneFacts,
};
use crate::config::Config;
use crate::model::desired::VolumeDocument;
use crate::model::observed::{Attachment, CloudVolume, VolumeKind, VolumeState};
use crate::model::{BootTime, ByteSize, OfferingId, Reading, VmId, VolumeId, ZoneId};
use crate::nbd::NbdError;
use crate::nbd::greet::ServerFacts;
use crate::nbd::handshake::HandshakeError;
use crate::nbd::qmp::QmpError;
use crate::store::StoreError;
use crate::store::examine::{Content, Examined, Holder, Room, SCHEMA, Writable};

const LATE: Duration = Duration::from_secs(10);

fn uuid(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}

fn spec(name: &str, size: &str, zone: &str, offering: &str) -> VolumeDocument {
    let text = format!(
        "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{name: {name}}}\n\
         spec: {{size: {size}, zone: {zone}, diskOffering: {offering}, attachTo: {{vm: self}}}}\n"
    );
    let parsed = crate::spec::parse("a.yaml", text.as_bytes()).expect("valid");
    parsed.into_iter().next().expect("one").document
}

fn key(setting: &'static str, mode: u32) -> Key {
    Key {
        setting,
        source: KeySource::File {
            path: "/etc/volume-daemon/x.key".into(),
            mode,
            content: KeyContent::OneWord,
        },
    }
}

fn fine() -> Facts {
    Facts {
        settings: Settings {
            file: "/etc/volume-daemon/config.toml".into(),
            mode: Some(0o100_640),
            config: Ok(Box::default()),
            unusable: None,
            keys: vec![
                key("cloudstack.api_key", 0o100_600),
                key("cloudstack.secret_key", 0o100_640),
            ],
            same_keys: false,
            specs: Look::Done(Ok(Specs {
                files: 1,
                documents: vec![spec("a", "40GiB", "z1", "custom")],
                invalid: Vec::new(),
            })),
            user: User {
                id: 998,
                name: Some("volume-daemon".to_owned()),
                service_user_exists: true,
            },
        },
        rest: Some(Rest {
            cloud: cloud(),
            machine: machine(),
            nbd: nbd(),
            daemon: daemon(),
        }),
    }
}

fn cloud() -> Cloud {
    let zone = |n, name: &str, enabled| ZoneFacts {
        id: ZoneId::new(uuid(n)),
        name: name.to_owned(),
        enabled,
    };
    let offering = |n, name: &str, size: Option<u64>| OfferingFacts {
        id: OfferingId::new(uuid(n)),
        name: name.to_owned(),
        size: size.map(ByteSize::gib),
        active: true,
        zones: Vec::new(),
    };
    Cloud {
        endpoint: Some(Endpoint {
            host: "cloud.example".to_owned(),
            port: 443,
            https: true,
            own_ca: false,
        }),
        addresses: Look::Done(Ok(vec![([192, 0, 2, 1], 443).into()])),
        connected: Look::Done(Ok((([192, 0, 2, 1], 443).into(), Duration::from_millis(3)))),
        greeting: Look::Done(Greeting {
            ahead_ms: Some(400),
            answer: Ok(Capabilities {
                version: Some("4.22.0.0".to_owned()),
                custom_min_gib: Some(1),
                custom_max_gib: Some(1024),
            }),
        }),
        commands: Look::Done(Ok(COMMANDS.map(|(name, _)| name.to_owned()).into())),
        zones: Look::Done(Ok(vec![zone(1, "z1", true), zone(2, "z2", false)])),
        offerings: Look::Done(Ok(vec![
            offering(1, "custom", None),
            offering(2, "small", Some(5)),
        ])),
        vm: Look::Done(Ok(Some(VmFacts {
            id: VmId::new(uuid(7)),
            name: "appliance".to_owned(),
            state: "Running".to_owned(),
            account: Some("alice".to_owned()),
            hypervisor: Some("KVM".to_owned()),
        }))),
        owned: Look::Done(Ok(true)),
        volumes: Look::Done(Ok(vec![volume(0)])),
    }
}

fn volume(device: u8) -> CloudVolume {
    CloudVolume {
        id: VolumeId::new(uuid(device.into())),
        name: "v".to_owned(),
        size: ByteSize::gib(1),
        state: VolumeState::parse("Ready"),
        kind: VolumeKind::Data,
        zone: ZoneId::new(uuid(1)),
        offering: None,
        attachment: Some(Attachment {
            vm: VmId::new(uuid(7)),
            device_id: Some(device),
        }),
        pending_job: None,
        tags: Default::default(),
        created: None,
        begun: BootTime::default(),
    }
}

fn machine() -> Machine {
    Machine {
        real: true,
        root: "/".into(),
        identity: Look::Done(Reading::Present(VmId::new(uuid(7)))),
        disks: Look::Done(Ok(DiskFacts {
            disks: 2,
            links: 1,
            denied: Vec::new(),
        })),
        udev: Look::Done(UdevFacts {
            running: true,
            by_id: true,
        }),
        lvm: Look::Done(LvmFacts::default()),
        md: Look::Done(MdFacts::default()),
    }
}

fn program(path: &str, told: &str) -> Option<Program> {
    Some(Program {
        path: path.into(),
        version: Look::Done(Ok(told.to_owned())),
    })
}

fn nbd() -> Nbd {
    Nbd {
        program: program(
            "/usr/bin/qemu-storage-daemon",
            "qemu-storage-daemon version 7.2.22",
        ),
        legacy: None,
        control: Control::Asked(Look::Done(Ok(ServerFacts {
            version: "7.2.22".to_owned(),
            pid: 77,
            hidden: None,
        }))),
        listen: Look::Done(Ok(0)),
    }
}

fn daemon() -> Daemon {
    Daemon {
        store: Look::Done(Ok(Examined {
            store: "/var/lib/volume-daemon/volume-daemon.db".into(),
            writable: Writable::Yes,
            room: Room::Free(10 << 30),
            holder: Holder::Nobody,
            content: None,
        })),
        api: Look::Done(Ok(false)),
    }
}

/// What to break, which check shows it, how, and a part of what is said.
type Row = (fn(&mut Facts), &'static str, Status, &'static str);

fn hold(rows: &[Row]) {
    for (break_it, check, status, part) in rows {
        let mut facts = fine();
        break_it(&mut facts);
        let found = judge(&facts);
        let finding = found.iter().find(|finding| finding.check == *check);
        let finding = finding.expect(check);
        let said = format!(
            "{} / {}",
            finding.message,
            finding.fix.as_deref().unwrap_or("")
        );
        assert_eq!(finding.status, *status, "{check}: {said}");
        assert!(said.contains(part), "{check}: {part:?} is not in {said:?}");
        let needs_fix = matches!(finding.status, Warning | Failed);
        assert_eq!(finding.fix.is_some(), needs_fix, "{check}: {said}");
    }
}

fn rest(facts: &mut Facts) -> &mut Rest {
    facts.rest.as_mut().expect("it is there")
}

fn of_cloud(facts: &mut Facts) -> &mut Cloud {
    &mut rest(facts).cloud
}

fn config(facts: &mut Facts) -> &mut Config {
    facts.settings.config.as_mut().expect("valid")
}

fn examined(facts: &mut Facts) -> &mut Examined {
    match &mut rest(facts).daemon.store {
        Look::Done(Ok(found)) => found,
        other => panic!("{other:?}"),
    }
}

fn vm(facts: &mut Facts) -> &mut VmFacts {
    match &mut of_cloud(facts).vm {
        Look::Done(Ok(Some(vm))) => vm,
        other => panic!("{other:?}"),
    }
}

fn declare(facts: &mut Facts, documents: Vec<VolumeDocument>) {
    facts.settings.specs = Look::Done(Ok(Specs {
        files: documents.len(),
        documents,
        invalid: Vec::new(),
    }));
}

fn unauthorized(command: &'static str) -> CloudStackError {
    CloudStackError::Unauthorized {
        command,
        text: "unable to verify user credentials".to_owned(),
    }
}

fn greeted(facts: &mut Facts, ahead_ms: Option<i64>, answer: Result<(), CloudStackError>) {
    let answer = answer.map(|()| Capabilities::default());
    of_cloud(facts).greeting = Look::Done(Greeting { ahead_ms, answer });
}

fn not_sent(why: &str) -> Result<(), CloudStackError> {
    Err(CloudStackError::NotSent {
        command: "listCapabilities",
        source: TransportError::NotSent {
            why: why.to_owned(),
        },
    })
}

#[test]
fn all_is_well_and_every_check_is_made_once() {
    let found = judge(&fine());
    let names: Vec<&str> = found.iter().map(|finding| finding.check).collect();
    let all: Vec<&str> = CHECKS
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    assert_eq!(names, all);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    for finding in found {
        assert_eq!(
            finding.status, Fine,
            "{}: {}",
            finding.check, finding.message
        );
        assert!(!finding.message.is_empty());
    }
}

#[test]
fn without_settings_nothing_is_guessed() {
    let mut facts = fine();
    facts.settings.config = Err("config.toml: unknown field".to_owned());
    facts.rest = None;
    for finding in judge(&facts) {
        let expected = match finding.check {
            "config" => Failed,
            "user" => Fine,
            _ => Skipped,
        };
        assert_eq!(finding.status, expected, "{}", finding.check);
        if expected == Skipped {
            assert_eq!(finding.message, "needs config");
        }
    }
}

#[test]
fn settings() {
    hold(&[
        (
            |f| f.settings.unusable = Some("cloudstack.url is not set".into()),
            "config",
            Failed,
            "url",
        ),
        (
            |f| {
                f.settings.mode = None;
                f.settings.unusable = Some("cloudstack.url is not set".into());
            },
            "config",
            Failed,
            "config.example.toml",
        ),
        (|f| f.settings.mode = None, "config", Fine, "environment"),
        (
            |f| f.settings.keys[0].source = KeySource::Missing,
            "credentials",
            Failed,
            "api_key is not set",
        ),
        (
            |f| f.settings.keys[1].source = KeySource::Twice,
            "credentials",
            Failed,
            "both directly",
        ),
        (
            |f| {
                f.settings.keys[1].source = KeySource::Unreadable {
                    path: "/k".into(),
                    why: "Permission denied".into(),
                };
            },
            "credentials",
            Failed,
            "ls -l /k",
        ),
        (
            |f| f.settings.keys[0] = key("cloudstack.api_key", 0o100_644),
            "credentials",
            Warning,
            "chmod 0600",
        ),
        (
            |f| f.settings.keys[0] = key("cloudstack.api_key", 0o100_660),
            "credentials",
            Warning,
            "group",
        ),
        (
            |f| f.settings.same_keys = true,
            "credentials",
            Failed,
            "same",
        ),
        (
            |f| {
                f.settings.keys[1].source = KeySource::Inline;
                f.settings.mode = Some(0o100_644);
            },
            "credentials",
            Warning,
            "config.toml",
        ),
        (
            |f| f.settings.specs = Look::Done(Err("No such file or directory".into())),
            "specs",
            Failed,
            "install -d",
        ),
        (
            |f| f.settings.specs = Look::Done(Ok(Specs::default())),
            "specs",
            Fine,
            "no spec file yet",
        ),
        (
            |f| {
                f.settings.specs = Look::Done(Ok(Specs {
                    files: 2,
                    documents: Vec::new(),
                    invalid: vec!["a.yaml:3:9: spec.size".into()],
                }));
            },
            "specs",
            Warning,
            "volume-daemon validate",
        ),
        (
            |f| f.settings.user.id = 0,
            "user",
            Warning,
            "sudo -u volume-daemon",
        ),
        (
            |f| {
                f.settings.user.id = 0;
                f.settings.user.service_user_exists = false;
            },
            "user",
            Fine,
            "",
        ),
    ]);
}

#[test]
fn a_file_of_a_key_holds_one_word() {
    for (content, part) in [
        (KeyContent::Empty, "is empty"),
        (KeyContent::SeveralWords, "more than one word"),
    ] {
        let mut facts = fine();
        facts.settings.keys[0].source = KeySource::File {
            path: "/k".into(),
            mode: 0o100_600,
            content,
        };
        let found = judge(&facts);
        let finding = found
            .iter()
            .find(|one| one.check == "credentials")
            .expect("it");
        assert_eq!(finding.status, Failed);
        assert!(finding.message.contains(part), "{}", finding.message);
    }
}

#[test]
fn the_way_to_cloudstack() {
    hold(&[
        (
            |f| of_cloud(f).addresses = Look::Done(Err("not known".into())),
            "dns",
            Failed,
            "getent ahosts",
        ),
        (
            |f| of_cloud(f).addresses = Look::Late(LATE),
            "dns",
            Failed,
            "within 10 s",
        ),
        (
            |f| {
                let endpoint = of_cloud(f).endpoint.as_mut().expect("one");
                endpoint.host = "192.0.2.1".into();
            },
            "dns",
            Skipped,
            "is an address",
        ),
        (
            |f| {
                let address = ([192, 0, 2, 1], 443).into();
                of_cloud(f).connected =
                    Look::Done(Err(vec![(address, "Connection refused".into())]));
            },
            "tcp",
            Failed,
            "192.0.2.1:443: Connection refused",
        ),
        (
            |f| of_cloud(f).connected = Look::Late(LATE),
            "tcp",
            Failed,
            "firewall",
        ),
        (
            |f| {
                greeted(
                    f,
                    None,
                    not_sent("no connection: invalid peer certificate: UnknownIssuer"),
                )
            },
            "tls",
            Failed,
            "cloudstack.ca_file",
        ),
        (
            |f| {
                greeted(
                    f,
                    None,
                    not_sent("invalid peer certificate: certificate expired: x"),
                )
            },
            "tls",
            Failed,
            "renew",
        ),
        (
            |f| greeted(f, None, not_sent("certificate not valid for name")),
            "tls",
            Failed,
            "use a name",
        ),
        (
            |f| greeted(f, None, not_sent("certificate UnknownIssuer")),
            "api",
            Skipped,
            "needs tls",
        ),
        (
            |f| greeted(f, None, not_sent("certificate UnknownIssuer")),
            "clock",
            Skipped,
            "needs api",
        ),
        (
            |f| greeted(f, None, not_sent("Other(OtherError(CaUsedAsEndEntity))")),
            "tls",
            Failed,
            "CA:FALSE",
        ),
        (
            |f| greeted(f, Some(0), Err(unauthorized("x"))),
            "tls",
            Fine,
            "trusted",
        ),
        (
            |f| of_cloud(f).endpoint.as_mut().expect("one").https = false,
            "tls",
            Warning,
            "use https",
        ),
        (
            |f| {
                let endpoint = of_cloud(f).endpoint.as_mut().expect("one");
                (endpoint.https, endpoint.host) = (false, "127.0.0.1".into());
            },
            "tls",
            Skipped,
            "this machine",
        ),
    ]);
}

#[test]
fn whether_cloudstack_takes_us() {
    hold(&[
        (
            |f| of_cloud(f).greeting = Look::Late(LATE),
            "tls",
            Skipped,
            "needs api",
        ),
        (|_| (), "api", Fine, "4.22.0.0"),
        (
            |f| {
                greeted(f, Some(0), Err(unauthorized("listCapabilities")));
                of_cloud(f).commands = Look::Needs("api");
            },
            "api",
            Failed,
            "generate new keys",
        ),
        // The role is looked at before the signature: this says nothing about the keys.
        (
            |f| greeted(f, Some(0), Err(unauthorized("listCapabilities"))),
            "api",
            Fine,
            "hides its version",
        ),
        (
            |f| {
                greeted(
                    f,
                    None,
                    Err(CloudStackError::Undecodable {
                        command: "listCapabilities",
                        status: 404,
                        why: "it is HTML or XML".into(),
                    }),
                );
            },
            "api",
            Failed,
            "/client/api",
        ),
        (
            |f| of_cloud(f).greeting = Look::Late(LATE),
            "api",
            Failed,
            "--timeout",
        ),
        (
            |f| of_cloud(f).greeting = Look::Needs("tcp"),
            "api",
            Skipped,
            "needs tcp",
        ),
        (
            |f| of_cloud(f).zones = Look::Done(Err(unauthorized("listZones"))),
            "zone",
            Failed,
            "allow listZones",
        ),
    ]);
}

#[test]
fn the_distance_of_the_clocks() {
    hold(&[
        (
            |f| greeted(f, Some(-900), Ok(())),
            "clock",
            Fine,
            "to a second",
        ),
        (
            |f| greeted(f, Some(9_000), Ok(())),
            "clock",
            Fine,
            "9s behind",
        ),
        (
            |f| greeted(f, Some(-11_000), Ok(())),
            "clock",
            Warning,
            "11s ahead",
        ),
        (
            |f| greeted(f, Some(45_000), Ok(())),
            "clock",
            Failed,
            "max_skew (30s)",
        ),
        (
            |f| greeted(f, Some(-45_000), Ok(())),
            "clock",
            Failed,
            "set-ntp",
        ),
        (
            |f| greeted(f, Some(600_000), Ok(())),
            "clock",
            Failed,
            "10m behind",
        ),
        (
            |f| greeted(f, None, Ok(())),
            "clock",
            Warning,
            "no Date header",
        ),
    ]);
}

#[test]
fn what_the_role_allows() {
    fn without(facts: &mut Facts, names: &[&str]) {
        let all = COMMANDS.iter().map(|(name, _)| (*name).to_owned());
        let left = all.filter(|name| !names.contains(&name.as_str())).collect();
        of_cloud(facts).commands = Look::Done(Ok(left));
    }
    hold(&[
        (
            |f| without(f, &["resizeVolume"]),
            "permissions",
            Failed,
            "volumes cannot grow",
        ),
        (
            |f| without(f, &["attachVolume", "detachVolume"]),
            "permissions",
            Failed,
            "allow attachVolume, detachVolume in the role",
        ),
        (
            |f| without(f, &["listEvents"]),
            "permissions",
            Warning,
            "cannot say who did something",
        ),
        (
            |f| of_cloud(f).commands = Look::Done(Err(unauthorized("listApis"))),
            "permissions",
            Warning,
            "queryAsyncJobResult",
        ),
        (
            |f| of_cloud(f).commands = Look::Late(LATE),
            "permissions",
            Failed,
            "within",
        ),
    ]);
}

#[test]
fn zones_and_offerings_that_specs_name() {
    hold(&[
        (
            |f| f.settings.specs = Look::Done(Err("no such directory".into())),
            "zone",
            Skipped,
            "needs specs",
        ),
        (
            |f| f.settings.specs = Look::Late(LATE),
            "offering",
            Skipped,
            "needs specs",
        ),
        (
            |f| declare(f, vec![spec("a", "1GiB", "z9", "custom")]),
            "zone",
            Failed,
            "there is z1, z2 (disabled)",
        ),
        (
            |f| declare(f, vec![spec("a", "1GiB", "z2", "custom")]),
            "zone",
            Failed,
            "disabled",
        ),
        (
            |f| declare(f, Vec::new()),
            "zone",
            Fine,
            "no spec names one yet",
        ),
        (
            |f| of_cloud(f).zones = Look::Done(Ok(Vec::new())),
            "zone",
            Failed,
            "no zone",
        ),
        (
            |f| {
                let Look::Done(Ok(zones)) = &mut of_cloud(f).zones else {
                    panic!()
                };
                zones[1].name = "z1".into();
            },
            "zone",
            Failed,
            "write its id",
        ),
        (
            |f| declare(f, vec![spec("a", "1GiB", &uuid(1).to_string(), "custom")]),
            "zone",
            Fine,
            "enabled",
        ),
        (
            |f| declare(f, vec![spec("a", "1GiB", "z1", "nope")]),
            "offering",
            Failed,
            "custom (any size)",
        ),
        (
            |f| declare(f, vec![spec("a", "5GiB", "z1", "small")]),
            "offering",
            Fine,
            "small",
        ),
        (
            |f| declare(f, vec![spec("a", "6GiB", "z1", "small")]),
            "offering",
            Failed,
            "volumes of 5GiB",
        ),
        (
            |f| declare(f, vec![spec("a", "2TiB", "z1", "custom")]),
            "offering",
            Failed,
            "size.max",
        ),
        (
            |f| {
                let Look::Done(Ok(offerings)) = &mut of_cloud(f).offerings else {
                    panic!()
                };
                offerings[0].active = false;
            },
            "offering",
            Failed,
            "not active",
        ),
        (
            |f| {
                let Look::Done(Ok(offerings)) = &mut of_cloud(f).offerings else {
                    panic!()
                };
                offerings[0].zones = vec![ZoneId::new(uuid(2))];
            },
            "offering",
            Failed,
            "cannot be used in z1",
        ),
    ]);
    let mut facts = fine();
    let many = (0..9).map(|n| spec(&format!("v{n}"), "1GiB", "z9", "custom"));
    declare(&mut facts, many.collect());
    let found = judge(&facts);
    let zone = found.iter().find(|one| one.check == "zone").expect("it");
    assert!(
        zone.message.ends_with("(spec v0, v1, v2 and 6 more)"),
        "{}",
        zone.message
    );
}

#[test]
fn this_vm() {
    hold(&[
        (
            |f| of_cloud(f).vm = Look::Done(Ok(None)),
            "vm",
            Failed,
            "set host.vm_id",
        ),
        (
            |f| {
                config(f).host.vm_id = Some(VmId::new(uuid(8)));
                of_cloud(f).vm = Look::Done(Ok(None));
            },
            "vm",
            Failed,
            "0008 (host.vm_id)",
        ),
        (
            |f| of_cloud(f).owned = Look::Done(Ok(false)),
            "vm",
            Warning,
            "use keys of alice",
        ),
        (
            |f| vm(f).state = "Stopped".into(),
            "vm",
            Warning,
            "is Stopped",
        ),
        (
            |f| vm(f).hypervisor = Some("VMware".into()),
            "vm",
            Warning,
            "KVM",
        ),
        (
            |f| of_cloud(f).vm = Look::Needs("identity"),
            "vm",
            Skipped,
            "needs identity",
        ),
        (
            |f| of_cloud(f).volumes = Look::Done(Ok((0..31).map(volume).collect())),
            "slots",
            Warning,
            "2 of 32 slots free",
        ),
        (
            |f| of_cloud(f).volumes = Look::Done(Ok((0..30).map(volume).collect())),
            "slots",
            Fine,
            "29 data disks",
        ),
        (
            |f| {
                let specs = (0..33).map(|n| spec(&format!("v{n}"), "1GiB", "z1", "custom"));
                declare(f, specs.collect());
            },
            "slots",
            Failed,
            "33 specs",
        ),
        (
            |f| {
                let clone = Reading::Unknown("cannot tell which VM this is".into());
                rest(f).machine.identity = Look::Done(clone);
            },
            "identity",
            Failed,
            "run as root",
        ),
        (
            |f| rest(f).machine.identity = Look::Late(LATE),
            "identity",
            Failed,
            "dmesg",
        ),
        (
            |f| {
                rest(f).machine.disks = Look::Done(Ok(DiskFacts {
                    denied: vec![PathBuf::from("/dev/vdb")],
                    ..DiskFacts::default()
                }));
            },
            "disks",
            Failed,
            "usermod -aG disk",
        ),
        (
            |f| rest(f).machine.disks = Look::Done(Err("no /sys".into())),
            "disks",
            Failed,
            "no /sys",
        ),
        (
            |f| {
                rest(f).machine.udev = Look::Done(UdevFacts {
                    running: false,
                    by_id: true,
                })
            },
            "udev",
            Failed,
            "systemd-udevd",
        ),
        (
            |f| {
                rest(f).machine.udev = Look::Done(UdevFacts {
                    running: true,
                    by_id: false,
                })
            },
            "udev",
            Warning,
            "udevadm trigger",
        ),
        (
            |f| rest(f).machine.real = false,
            "udev",
            Skipped,
            "host.root",
        ),
        (
            |f| {
                rest(f).machine.lvm = Look::Done(LvmFacts {
                    installed: true,
                    ..LvmFacts::default()
                })
            },
            "lvm",
            Warning,
            "global_filter",
        ),
    ]);
}

fn connect_error() -> HandshakeError {
    HandshakeError::Connect {
        address: crate::nbd::NbdAddress::Unix("/x".into()),
        source: io::ErrorKind::ConnectionRefused.into(),
    }
}

fn no_server(facts: &mut Facts) {
    rest(facts).nbd.control = Control::Asked(Look::Done(Err(NbdError::Qmp(QmpError::Connect {
        path: "/q".into(),
        source: io::ErrorKind::NotFound.into(),
    }))));
}

#[test]
fn the_nbd_server() {
    hold(&[
        (
            |f| {
                no_server(f);
                rest(f).nbd.program = None;
            },
            "nbd-program",
            Failed,
            "apt install qemu-system-common",
        ),
        (
            |f| rest(f).nbd.program = None,
            "nbd-program",
            Fine,
            "7.2.22 runs",
        ),
        (
            |f| {
                no_server(f);
                rest(f).nbd.program = program("/q", "qemu-storage-daemon version 5.2.0");
            },
            "nbd-program",
            Warning,
            "7.2 or later",
        ),
        (
            no_server,
            "nbd-control",
            Failed,
            "systemctl enable --now volume-daemon-nbd",
        ),
        (
            |f| {
                rest(f).nbd.control = Control::Asked(Look::Done(Ok(ServerFacts {
                    version: "7.2.22".into(),
                    pid: 77,
                    hidden: Some("Permission denied".into()),
                })));
            },
            "nbd-control",
            Failed,
            "same user",
        ),
        (
            |f| rest(f).nbd.control = Control::Held { by: Some(5) },
            "nbd-control",
            Skipped,
            "process 5",
        ),
        (
            |f| rest(f).nbd.control = Control::Held { by: Some(5) },
            "nbd-listen",
            Fine,
            "0 exports",
        ),
        (
            |f| {
                no_server(f);
                rest(f).nbd.listen = Look::Done(Err(connect_error()));
            },
            "nbd-listen",
            Fine,
            "is free",
        ),
        (
            |f| rest(f).nbd.listen = Look::Done(Err(connect_error())),
            "nbd-listen",
            Failed,
            "same address",
        ),
        (no_server, "nbd-listen", Failed, "does not control it"),
        (
            |f| {
                let timeout = HandshakeError::Timeout {
                    address: crate::nbd::NbdAddress::Unix("/x".into()),
                    timeout: LATE,
                };
                rest(f).nbd.listen = Look::Done(Err(timeout));
            },
            "nbd-listen",
            Failed,
            "something else than NBD",
        ),
        (
            |f| {
                rest(f).nbd.legacy =
                    program("/usr/bin/nbd-server", "This is nbd-server version 3.24")
            },
            "nbd-server",
            Warning,
            "never reload it",
        ),
        (
            |f| {
                rest(f).nbd.legacy =
                    program("/usr/bin/nbd-server", "This is nbd-server version 3.26")
            },
            "nbd-server",
            Fine,
            "not used",
        ),
    ]);
}

#[test]
fn the_store_and_who_has_it() {
    fn holds(facts: &mut Facts, schema: i64, vm: u128) {
        examined(facts).content = Some(Content {
            schema,
            vm: Some(VmId::new(uuid(vm))),
        });
    }
    hold(&[
        (|f| holds(f, SCHEMA, 7), "store", Fine, "is there"),
        (|f| holds(f, 0, 7), "store", Fine, "the next start brings"),
        (
            |f| holds(f, SCHEMA + 1, 7),
            "store",
            Failed,
            "install that version",
        ),
        (
            |f| holds(f, SCHEMA, 8),
            "store",
            Failed,
            "volume-daemon take-over --from 00000000",
        ),
        (
            |f| examined(f).writable = Writable::NoDirectory("/nowhere".into()),
            "store",
            Failed,
            "install -d -m 0700 -o volume-daemon /nowhere",
        ),
        (
            |f| examined(f).writable = Writable::Denied("/x".into()),
            "store",
            Failed,
            "chown volume-daemon: /x",
        ),
        (
            |f| examined(f).writable = Writable::ReadOnly,
            "store",
            Failed,
            "read-only",
        ),
        (
            |f| examined(f).writable = Writable::ServerReadOnly,
            "store",
            Failed,
            "read_only = 0",
        ),
        (
            |f| examined(f).room = Room::Elsewhere,
            "space",
            Fine,
            "its server's to watch",
        ),
        (
            |f| examined(f).holder = Holder::Daemon("process 7 on b".into()),
            "daemon",
            Warning,
            "process 7 on b holds the store",
        ),
        (
            |f| {
                let problem = "and it has no \"://\"".into();
                rest(f).daemon.store = Look::Done(Err(StoreError::Url { problem }.into()));
            },
            "store",
            Failed,
            "correct store.url",
        ),
        (
            |f| rest(f).daemon.store = Look::Late(LATE),
            "space",
            Failed,
            "hangs",
        ),
        (
            |f| examined(f).room = Room::Free(1 << 20),
            "space",
            Failed,
            "df -h",
        ),
        (
            |f| examined(f).room = Room::Free(100 << 20),
            "space",
            Warning,
            "100 MiB free",
        ),
        (
            |f| {
                examined(f).holder = Holder::Process(5);
                rest(f).daemon.api = Look::Done(Ok(true));
            },
            "daemon",
            Fine,
            "runs (process 5)",
        ),
        (
            |f| examined(f).holder = Holder::Process(5),
            "daemon",
            Warning,
            "process 5",
        ),
        (
            |f| rest(f).daemon.api = Look::Done(Ok(true)),
            "daemon",
            Failed,
            "something else listens",
        ),
        (
            |f| rest(f).daemon.api = Look::Done(Err("Permission denied".into())),
            "daemon",
            Failed,
            "api.listen",
        ),
    ]);
}
