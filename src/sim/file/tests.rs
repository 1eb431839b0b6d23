use super::generate::{Sizes, populate};
use super::*;
use crate::sim::front::Front;
use crate::sim::state;
use crate::sim::time::SimTime;
use crate::sim::world::{Settings, VmState, VolumeState, World};

/// 2026-11-20T22:30:00Z.
const START: SimTime = SimTime::from_millis(1_795_213_800_000);

fn build(text: &str) -> Result<World, String> {
    WorldFile::parse("w.yaml", text)
        .and_then(|file| file.build("w.yaml", START))
        .map_err(|error| error.to_string())
}

#[test]
fn the_printed_file_is_the_standard_world() {
    let saved = |world: World| state::save(&Front::new(world));
    let standard = saved(World::standard(Settings::default(), START));
    assert_eq!(build(STANDARD_WORLD).map(saved), Ok(standard.clone()));
    assert_eq!(build("# nothing").map(saved), Ok(standard));
    let settings = WorldFile::standard().settings;
    assert_eq!(settings, Settings::default());
    let told = serde_json::to_value(settings).expect("JSON");
    let latencies = told["latencies"].as_object().expect("an object");
    for key in told
        .as_object()
        .expect("an object")
        .keys()
        .chain(latencies.keys())
    {
        assert!(
            STANDARD_WORLD.contains(&format!(" {key}: ")) || key == "latencies",
            "{key}"
        );
    }
}

#[test]
fn a_world_is_as_its_file_says() {
    let world = build(
        "
settings: {seed: 9, maxDataDisks: 4, latencies: {attachMs: 7}}
zones: [{name: a, enabled: false}, {name: b}]
accounts:
  - {name: ops, apiKey: k, secretKey: s}
  - {name: dev, apiKey: l, secretKey: t, enabled: false}
offerings: [{name: any}, {name: ten, sizeGib: 10}]
vms:
  - name: web
    zone: b
    account: dev
    id: 0f8a2c1e-5d34-4b7a-9c1d-2e6f7a8b9c0d
    os: Windows Server 2022 (64-bit)
    details: {dataDiskController: scsi}
  - {name: idle, state: New}
volumes:
  - {name: old, sizeGib: 3, age: 720h, state: Destroy}
  - {name: data, offering: ten, attachedTo: web, deviceId: 4, tags: {owner: x}, age: 1h}
  - {name: raw, sizeGib: 2, attachedTo: idle, id: 6f1a0b9c-8d7e-4f60-a1b2-c3d4e5f60718}
",
    )
    .expect("a world");
    assert_eq!(world.check(), Ok(()));
    assert_eq!(world.settings().latencies.attach_ms, 7);
    let row = |name: &str| world.volume(world.volume_called(name).expect(name)).clone();
    let web = world.vm_called("0f8a2c1e-5d34-4b7a-9c1d-2e6f7a8b9c0d");
    let web = web.expect("by its id");
    let data = row("data");
    let link = data.attachment.expect("attached");
    assert_eq!((link.vm, link.device), (web, 4));
    let zones: Vec<_> = world
        .zones()
        .map(|(_, zone)| (zone.name.as_str(), zone.enabled))
        .collect();
    assert_eq!(zones, [("a", false), ("b", true)]);
    assert_eq!(world.zone(data.zone).name, "b");
    assert_eq!(world.account(data.account).name, "dev");
    assert_eq!((data.size >> 30, data.state), (10, VolumeState::Ready));
    assert_eq!(data.created.to_string(), "2026-11-20T21:30:00+0000");
    assert_eq!(data.tags[0].value, "x");
    assert_eq!(row("old").state, VolumeState::Destroy);
    let raw = row("raw");
    assert_eq!(raw.uuid.to_string(), "6f1a0b9c-8d7e-4f60-a1b2-c3d4e5f60718");
    assert_eq!(raw.state, VolumeState::Allocated);
    let web = world.vm(web);
    assert_eq!(web.state, VmState::Running);
    assert_eq!(web.details["dataDiskController"], "scsi");
    let root = web.guest.as_ref().expect("it runs").disks()[0];
    assert_eq!(root.bus, crate::sim::world::Bus::Ide);
}

#[test]
fn mistakes_in_worlds_are_told_with_their_place() {
    for (text, expected) in [
        (
            "setings: {}",
            "w.yaml:1:1: unknown field `setings`, expected one of settings, domains, zones",
        ),
        (
            "settings:\n  pageSze: 3",
            "w.yaml:2:3: unknown field `pageSze`, expected one of seed",
        ),
        (
            "settings:\n  latencies: {attachMs: soon}",
            "w.yaml:2:25: invalid u64",
        ),
        (
            "vms:\n  - name: a\n    state: Runing",
            "w.yaml:3:12: unknown variant `Runing`, expected one of Running, Stopped, New",
        ),
        ("vms:\n  - state: New", "w.yaml:2:5: missing field `name`"),
        (
            "vms:\n  - name: a\n    zone: moon",
            "w.yaml:3:11: there is no zone called moon, only zone-1",
        ),
        (
            "vms:\n  - name: a\n  - name: a",
            "w.yaml:3:11: there is another VM called a",
        ),
        ("vms:\n  - name: a\n    id: 7", "w.yaml:3:9: "),
        (
            "volumes:\n  - name: v\n",
            "w.yaml:2:11: its offering has no size: give sizeGib",
        ),
        (
            "volumes:\n  - name: v\n    sizeGib: 0",
            "w.yaml:2:11: 0 is not a size in GiB",
        ),
        (
            "volumes:\n  - {name: v, sizeGib: 1, attachedTo: moon}",
            "w.yaml:2:39: there is no VM called moon, only appliance, final-vm, test-vm",
        ),
        (
            "volumes:\n  - {name: v, sizeGib: 1, attachedTo: appliance, state: Allocated}",
            "w.yaml:2:12: a volume cannot be Allocated on a VM that is Running",
        ),
        (
            "volumes:\n  - {name: v, sizeGib: 1, attachedTo: appliance, deviceId: 0}",
            "w.yaml:2:12: deviceId 0 is used by vol",
        ),
        (
            "volumes:\n  - {name: v, sizeGib: 1, deviceId: 2}",
            "w.yaml:2:12: deviceId has no meaning without attachedTo",
        ),
        (
            "volumes:\n  - {name: v, sizeGib: 1, tags: {a: b, A: c}}",
            "w.yaml:2:12: tag",
        ),
        (
            "volumes:\n  - {name: v, sizeGib: 1, age: 3 weeks ago}",
            "w.yaml:2:32: \"3 weeks ago\" is not a time span like 30s or 720h",
        ),
        (
            "volumes:\n  - {name: v, sizeGib: 1}\n  - {name: w, sizeGib: 1, age: 1h}",
            "w.yaml:3:12: older volumes must come first",
        ),
        (
            "accounts:\n  - {name: a, apiKey: k, secretKey: s}\n  - {name: b, apiKey: k, secretKey: s}",
            "w.yaml:3:23: another account has this key",
        ),
        (
            "zones: []",
            "w.yaml:1:1: the standard vms do not fit: appliance needs a zone, and there is none; give vms, if only []",
        ),
        ("zones: [\n", "w.yaml:"),
        ("zones: [{name: a, name: b}]", "duplicate mapping key: name"),
    ] {
        let error = build(text).expect_err(text);
        assert!(error.contains(expected), "{text}\n{error}\n{expected}");
    }
}

#[test]
fn fault_files_are_read_or_refused_with_the_place() {
    let text = "
faults:
  - kind: dropResponse
    when: afterCommit
    on: {command: [createVolume, 'attach*'], probability: 0.1, count: all, seed: 7}
  - {kind: restart, at: 30s, keepPlugged: true}
";
    assert_eq!(faults("f.yaml", text).map(|read| read.len()), Ok(2));
    for (text, expected) in [
        (
            "faults:\n  - kind: dropResponse\n    on:\n      comand: x",
            "f.yaml:4:7: unknown field `comand`, expected one of command, volume",
        ),
        (
            "faults:\n  - kind: badLuck",
            "f.yaml:2:11: unknown variant `badLuck`, expected one of dropResponse",
        ),
        (
            "faults:\n  - kind: stuckJob\n    on: {from: soon}",
            "f.yaml:3:16: \"soon\" is neither a time span like 30s",
        ),
        (
            "faults:\n  - kind: stuckJob\n    on: {count: some}",
            "expected a number, or all",
        ),
        (
            "faults:\n  - kind: stuckJob\n    on: {probability: 2}",
            "2 is not a probability from 0 to 1",
        ),
        (
            "faults:\n  - kind: stuckJob\n    on: {command: atachVolume}",
            "the simulator has no command atachVolume",
        ),
        (
            "faults:\n  - kind: outage\n    ms: 3",
            "f.yaml:2:5: outage: missing field `mode`",
        ),
        (
            "fault: []",
            "f.yaml:1:1: unknown field `fault`, expected one of faults",
        ),
    ] {
        let error = faults("f.yaml", text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}\n{error}\n{expected}");
    }
}

#[test]
fn a_generated_world_holds_and_comes_from_its_seed() {
    let world = |vms: u32, volumes: u32, seed: u64| {
        let mut world = World::standard(Settings::default(), START);
        populate(&mut world, Sizes { vms, volumes, seed }).expect("populated");
        world
    };
    let saved = |world: World| state::save(&Front::new(world));
    assert_eq!(world(0, 0, 7).check(), Ok(()));
    assert_eq!(world(0, 10, 7).check(), Ok(()));
    let mixed = world(20, 1000, 7);
    assert_eq!(mixed.check(), Ok(()));
    let count = |wanted: fn(&crate::sim::world::Volume) -> bool| {
        mixed.volumes().filter(|(_, row)| wanted(row)).count()
    };
    assert_eq!(count(|row| row.offering.is_some()), 1000);
    let attached = count(|row| row.offering.is_some() && row.attachment.is_some());
    assert!((400..=20 * 32).contains(&attached), "{attached}");
    assert!(count(|row| row.state == VolumeState::Allocated) > 50);
    assert!(count(|row| !row.tags.is_empty()) > 300);
    assert_eq!(saved(world(20, 300, 7)), saved(world(20, 300, 7)));
    assert_ne!(saved(world(20, 300, 7)), saved(world(20, 300, 8)));
}
