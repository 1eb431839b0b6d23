//! What becomes of volumes, and what can be seen on the way.

use super::*;
use crate::sim::control::Side;
use crate::sim::fault::{Fault, Target};

/// The states that `listVolumes` shows until a job ends: state, whether on a VM, whether busy.
fn watch(rig: &mut Rig, volume: &str, job: &str) -> Vec<(String, bool, bool)> {
    let mut seen = Vec::new();
    for _ in 0..200 {
        let row = rig.volume(volume);
        let shown = (
            row["state"].as_str().unwrap_or("gone").to_owned(),
            row.get("virtualmachineid").is_some(),
            row.get("jobid").is_some(),
        );
        if seen.last() != Some(&shown) {
            seen.push(shown);
        }
        if rig.job(job)["jobstatus"] != 0 {
            return seen;
        }
        rig.pass(5);
    }
    panic!("job {job} never ended; seen {seen:?}");
}

fn shown(state: &str, on_vm: bool, busy: bool) -> (String, bool, bool) {
    (state.to_owned(), on_vm, busy)
}

#[test]
fn a_new_volume_is_there_before_the_answer_and_its_job_adds_nothing() {
    let mut rig = Rig::new();
    let (zone, offering) = (rig.zone(), rig.offering("Custom OSSEA"));
    let answer = rig.call(
        "createVolume",
        &[
            ("name", "v"),
            ("zoneid", &zone),
            ("diskofferingid", &offering),
            ("size", "10"),
        ],
    );
    let (id, job) = (text(&answer["id"]), text(&answer["jobid"]));
    let row = rig.volume(&id);
    assert_eq!(row["state"], "Allocated");
    assert_eq!(row["size"], 10_u64 << 30);
    assert_eq!(row["type"], "DATADISK");
    assert_eq!(row["created"], "2026-11-20T22:30:00+0000");
    assert_eq!(row["tags"], Value::Array(vec![]));
    assert_eq!(
        (&row["jobid"], &row["jobstatus"]),
        (&Value::from(job.clone()), &Value::from(0))
    );
    for absent in ["virtualmachineid", "deviceid", "attached", "vmname", "path"] {
        assert_eq!(row.get(absent), None, "{absent}");
    }
    assert_eq!(rig.job(&job)["jobstatus"], 0);
    rig.pass(50);
    let ended = rig.job(&job);
    assert_eq!(ended["jobstatus"], 1);
    assert_eq!(ended["jobinstanceid"], id);
    // Serialised before the job was marked done (apache/cloudstack#12538).
    assert_eq!(ended["jobresult"]["volume"]["jobid"], job);
    assert_eq!(rig.volume(&id).get("jobid"), None);
}

#[test]
fn createvolume_refuses_at_once() {
    let mut rig = Rig::new();
    let (zone, custom, small) = (
        rig.zone(),
        rig.offering("Custom OSSEA"),
        rig.offering("Small"),
    );
    let (zone, custom, small) = (
        ("zoneid", zone.as_str()),
        ("diskofferingid", custom.as_str()),
        ("diskofferingid", small.as_str()),
    );
    for (params, says) in [
        (
            vec![zone],
            "At least one of disk Offering ID or snapshot ID must be passed",
        ),
        (
            vec![zone, custom],
            "This disk offering requires a custom size specified",
        ),
        (
            vec![zone, custom, ("size", "0")],
            "Disk size must be larger than 0",
        ),
        (
            vec![zone, custom, ("size", "1025")],
            "Volume size: 1025 GB is out of allowed range. Min: 1. Max: 1024",
        ),
        (
            vec![zone, small, ("size", "5")],
            "This disk offering does not allow custom size",
        ),
        (vec![custom, ("size", "5")], "Unable to find zone by id"),
    ] {
        let (code, cs, text) = rig.refused("createVolume", &params);
        assert_eq!((code, cs), (431, Some(4350)), "{params:?}: {text}");
        assert!(text.contains(says), "{params:?}: {text}");
    }
    assert_eq!(
        rig.call("listVolumes", &[("type", "DATADISK")]),
        serde_json::json!({})
    );
    let fixed = rig.call("createVolume", &[zone, small]);
    let fixed = rig.volume(&text(&fixed["id"]));
    assert_eq!(fixed["size"], 5_u64 << 30);
    assert!(!text(&fixed["name"]).is_empty(), "a random name");
}

#[test]
fn the_first_attach_shows_creating_ready_and_attaching() {
    let mut rig = Rig::new();
    let (id, vm) = (rig.create("v", 1), rig.vm("appliance"));
    rig.pass(1_000);
    let job = rig.submit("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    assert_eq!(
        watch(&mut rig, &id, &job),
        [
            shown("Creating", false, true),
            shown("Attaching", false, true),
            shown("Attaching", true, true),
            shown("Ready", true, false),
        ]
    );
    let row = rig.volume(&id);
    assert_eq!(row["deviceid"], 1);
    assert_eq!(row["virtualmachineid"], vm);
    assert_eq!(row["vmstate"], "Running");
    assert!(rig.is_plugged("appliance", &id));
}

#[test]
fn a_detach_shows_nothing_but_its_job_until_the_vm_fields_vanish() {
    let mut rig = Rig::new();
    let id = rig.create_on("v", "appliance");
    let job = rig.submit("detachVolume", &[("id", &id)]);
    assert_eq!(
        watch(&mut rig, &id, &job),
        [shown("Ready", true, true), shown("Ready", false, false)]
    );
    let row = rig.volume(&id);
    for absent in ["virtualmachineid", "deviceid", "attached"] {
        assert_eq!(row.get(absent), None, "{absent}");
    }
    assert!(!rig.is_plugged("appliance", &id));
}

#[test]
fn a_resize_shows_resizing_only_for_what_is_on_storage() {
    let mut rig = Rig::new();
    let id = rig.create("v", 1);
    rig.pass(1_000);
    let job = rig.submit("resizeVolume", &[("id", &id), ("size", "2")]);
    // A row only: no state in between.
    assert_eq!(
        watch(&mut rig, &id, &job),
        [shown("Allocated", false, false)]
    );
    assert_eq!(rig.volume(&id)["size"], 2_u64 << 30);
    let vm = rig.vm("appliance");
    rig.done("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    let job = rig.submit("resizeVolume", &[("id", &id), ("size", "3")]);
    assert_eq!(
        watch(&mut rig, &id, &job),
        [shown("Resizing", true, true), shown("Ready", true, false)]
    );
    assert_eq!(rig.volume(&id)["size"], 3_u64 << 30);
    let world = rig.front.world();
    let no = world.vm_called("appliance").expect("the VM");
    let disks = crate::sim::host::disks_of(world, no);
    assert_eq!(disks.last().expect("the disk").size, 3 << 30);
}

#[test]
fn attach_to_a_vm_that_never_ran_leaves_it_allocated_and_linked() {
    let mut rig = Rig::new();
    let world = rig.front.world_mut();
    let zone = world.zones().next().expect("a zone").0;
    let admin = world.find_account(ADMIN_API_KEY).expect("admin");
    world.add_new_vm("fresh", zone, admin);
    let id = rig.create_on("v", "fresh");
    let row = rig.volume(&id);
    assert_eq!(row["state"], "Allocated");
    assert_eq!(row["vmstate"], "Stopped");
    rig.operate(&Operation::StartVm {
        vm: "fresh".to_owned(),
    });
    rig.pass(1_000);
    assert_eq!(rig.volume(&id)["state"], "Ready");
    assert!(rig.is_plugged("fresh", &id));
}

#[test]
fn attach_and_detach_of_a_stopped_vm_only_change_the_database() {
    let mut rig = Rig::new();
    let (id, vm) = (rig.create("v", 1), rig.vm("test-vm"));
    rig.pass(1_000);
    let job = rig.submit("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    rig.pass(61);
    assert_eq!(rig.job(&job)["jobstatus"], 1);
    assert_eq!(rig.volume(&id)["state"], "Ready");
    assert!(rig.plugged("test-vm").is_empty());
    let job = rig.submit("detachVolume", &[("id", &id)]);
    rig.pass(0);
    assert_eq!(rig.job(&job)["jobstatus"], 1);
}

#[test]
fn jobs_accept_nonsense_and_fail_in_their_own_words() {
    let mut rig = Rig::new();
    let on = rig.create_on("on", "appliance");
    let off = rig.create("off", 4);
    let row = rig.create("row", 1);
    let (appliance, test_vm) = (rig.vm("appliance"), rig.vm("test-vm"));
    let root = rig.call(
        "listVolumes",
        &[("type", "ROOT"), ("virtualmachineid", &appliance)],
    );
    assert_eq!(root["count"], 1, "{root}");
    let root = text(&root["volume"][0]["id"]);
    let (appliance, test_vm) = (
        ("virtualmachineid", appliance.as_str()),
        ("virtualmachineid", test_vm.as_str()),
    );
    let small = rig.offering("Small");
    let (on, off, root, row) = (
        ("id", on.as_str()),
        ("id", off.as_str()),
        ("id", root.as_str()),
        ("id", row.as_str()),
    );
    for (command, params, code, says) in [
        (
            "attachVolume",
            vec![on, test_vm],
            431,
            "not attached to any VM",
        ),
        (
            "attachVolume",
            vec![off, appliance, ("deviceid", "0")],
            431,
            "Root volume detach can happen only when vm is in states",
        ),
        (
            "attachVolume",
            vec![off, test_vm, ("deviceid", "0")],
            431,
            "Vm already has root volume attached to it",
        ),
        (
            "attachVolume",
            vec![off, appliance, ("deviceid", "1")],
            530,
            "deviceId 1 is used by vol",
        ),
        (
            "attachVolume",
            vec![off, appliance, ("deviceid", "3")],
            530,
            "deviceId should be 0,1,2,4-33",
        ),
        (
            "attachVolume",
            vec![off, appliance, ("deviceid", "34")],
            530,
            "deviceId should be 0,1,2,4-33",
        ),
        (
            "attachVolume",
            vec![off, appliance, ("deviceid", "-1")],
            530,
            "deviceId should be 0,1,2,4-33",
        ),
        (
            "detachVolume",
            vec![off],
            431,
            "The specified volume is not attached to a VM.",
        ),
        (
            "detachVolume",
            vec![],
            431,
            "Please provide either a volume id, or a tuple",
        ),
        (
            "detachVolume",
            vec![on, appliance],
            431,
            "Please provide either a volume id, or a tuple",
        ),
        (
            "detachVolume",
            vec![root],
            431,
            "Root volume detach can happen only when vm is in states",
        ),
        (
            "detachVolume",
            vec![appliance, ("deviceid", "1")],
            530,
            "NullPointerException",
        ),
        (
            "detachVolume",
            vec![appliance, ("deviceid", "9")],
            530,
            "Index: 0, Size: 0",
        ),
        (
            "resizeVolume",
            vec![on, ("size", "0")],
            432,
            "out of allowed range",
        ),
        (
            "resizeVolume",
            vec![on, ("size", "1025")],
            432,
            "out of allowed range",
        ),
        (
            "resizeVolume",
            vec![
                on,
                ("diskofferingid", &small),
                ("size", "9"),
                ("shrinkok", "true"),
            ],
            530,
            "Failed to resize volume operation of volume UUID: [",
        ),
        ("destroyVolume", vec![on], 431, "not attached to any VM"),
        (
            "destroyVolume",
            vec![row],
            431,
            "can only be expunged not destroyed/recovered",
        ),
    ] {
        let (got, text) = rig.fails(command, &params);
        assert_eq!(got, code, "{command} {params:?}: {text}");
        assert!(text.contains(says), "{command} {params:?}: {text}");
    }
}

#[test]
fn nothing_on_storage_shrinks_and_a_row_only_when_signed_off() {
    let mut rig = Rig::new();
    let id = rig.create("v", 4);
    let small = [("id", id.as_str()), ("size", "2")];
    let (code, why) = rig.fails("resizeVolume", &small);
    assert_eq!(code, 432);
    assert!(
        why.contains("would shrink the volume.Need to sign off"),
        "{why}"
    );
    let vm = rig.vm("appliance");
    rig.done("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    let signed_off = [("id", id.as_str()), ("size", "2"), ("shrinkok", "true")];
    assert_eq!(
        rig.fails("resizeVolume", &signed_off),
        (432, "Unable to shrink volumes of type QCOW2".to_owned())
    );
    assert_eq!(rig.volume(&id)["size"], 4_u64 << 30);
}

#[test]
fn device_ids_are_the_smallest_free_without_the_cd_rom_and_run_out() {
    let mut rig = Rig::with(Settings {
        max_data_disks: 4,
        ..Settings::default()
    });
    let vm = rig.vm("appliance");
    let mut devices = Vec::new();
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let id = rig.create_on(name, "appliance");
        devices.push(rig.volume(&id)["deviceid"].clone());
        ids.push(id);
    }
    assert_eq!(devices, [1, 2, 4, 5]);
    let more = rig.create("e", 1);
    let (code, why) = rig.fails("attachVolume", &[("id", &more), ("virtualmachineid", &vm)]);
    assert_eq!(code, 431);
    assert!(
        why.contains("already has the maximum number of data disks (4) attached"),
        "{why}"
    );
    rig.done("detachVolume", &[("id", &ids[1])]);
    rig.done("attachVolume", &[("id", &more), ("virtualmachineid", &vm)]);
    assert_eq!(rig.volume(&more)["deviceid"], 2);
}

#[test]
fn device_0_makes_a_root_disk_and_detaching_makes_it_a_data_disk_again() {
    let mut rig = Rig::new();
    let vm = rig.vm("test-vm");
    let old = rig.call("listVolumes", &[("virtualmachineid", &vm)]);
    let old = text(&old["volume"][0]["id"]);
    assert_eq!(rig.done("detachVolume", &[("id", &old)])["jobstatus"], 1);
    assert_eq!(rig.volume(&old)["type"], "DATADISK");
    let new = rig.create("v", 1);
    let root = [
        ("id", new.as_str()),
        ("virtualmachineid", &vm),
        ("deviceid", "0"),
    ];
    assert_eq!(rig.done("attachVolume", &root)["jobstatus"], 1);
    assert_eq!(rig.volume(&new)["type"], "ROOT");
    assert_eq!(rig.volume(&new)["deviceid"], 0);
    // It dies with its VM.
    let other = rig.create_on("data", "test-vm");
    rig.operate(&Operation::DestroyVm {
        vm: "test-vm".to_owned(),
        expunge: true,
    });
    rig.pass(2_000);
    assert_eq!(rig.volume(&new), Value::Null);
    assert_eq!(rig.volume(&other).get("virtualmachineid"), None);
}

#[test]
fn deleting_answers_when_the_volume_is_gone() {
    let mut rig = Rig::new();
    let id = rig.create_on("v", "appliance");
    let (code, cs, why) = rig.refused("deleteVolume", &[("id", &id)]);
    assert_eq!((code, cs), (431, Some(4350)));
    assert_eq!(
        why,
        "Please specify a volume that is not attached to any VM."
    );
    rig.done("detachVolume", &[("id", &id)]);
    let answer = rig.send("deleteVolume", &[("id", &id)]);
    assert_eq!(answer.body, r#"{"deletevolumeresponse":{"success":true}}"#);
    assert_eq!(answer.delivery, Delivery::Delayed(100));
    assert_eq!(rig.volume(&id)["state"], "Destroy");
    rig.pass(50);
    assert_eq!(rig.volume(&id)["state"], "Expunging");
    rig.pass(50);
    assert_eq!(rig.volume(&id), Value::Null);
    // A volume that never was on storage goes at once.
    let row = rig.create("row", 1);
    assert_eq!(
        rig.send("deleteVolume", &[("id", &row)]).delivery,
        Delivery::Delivered
    );
    assert_eq!(rig.volume(&row), Value::Null);
}

#[test]
fn ids_of_removed_volumes_still_resolve() {
    let mut rig = Rig::new();
    let id = rig.create("v", 1);
    let vm = rig.vm("appliance");
    rig.pass(100);
    rig.call("deleteVolume", &[("id", &id)]);
    assert_eq!(
        rig.call("listVolumes", &[("id", &id)]),
        serde_json::json!({})
    );
    assert_eq!(
        rig.call("listVolumes", &[("ids", &id)]),
        serde_json::json!({})
    );
    let (code, cs, why) = rig.refused("deleteVolume", &[("id", &id)]);
    assert_eq!((code, cs), (431, Some(4350)));
    assert!(why.starts_with("Unable to find volume with ID: "), "{why}");
    let (code, why) = rig.fails("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    assert_eq!(code, 431, "{why}");
    assert_eq!(rig.fails("detachVolume", &[("id", &id)]).0, 431);
    assert_eq!(
        rig.fails("resizeVolume", &[("id", &id), ("size", "9")]).0,
        432
    );
}

#[test]
fn a_destroyed_volume_can_be_recovered_until_it_is_expunged() {
    let mut rig = Rig::new();
    let id = rig.create_on("v", "appliance");
    rig.done("detachVolume", &[("id", &id)]);
    assert_eq!(rig.done("destroyVolume", &[("id", &id)])["jobstatus"], 1);
    let row = rig.volume(&id);
    assert_eq!(
        (&row["state"], &row["destroyed"]),
        (&Value::from("Destroy"), &Value::from(true))
    );
    let recovered = rig.call("recoverVolume", &[("id", &id)]);
    assert_eq!(recovered["volume"]["state"], "Ready");
    assert_eq!(rig.refused("recoverVolume", &[("id", &id)]).0, 431);
    let gone = rig.done("destroyVolume", &[("id", &id), ("expunge", "true")]);
    assert_eq!(gone["jobresult"]["volume"]["state"], "Expunged");
    assert_eq!(rig.volume(&id), Value::Null);
}

#[test]
fn a_volume_can_be_renamed() {
    let mut rig = Rig::new();
    let id = rig.create("old", 1);
    assert_eq!(
        rig.done("updateVolume", &[("id", &id), ("name", "new")])["jobstatus"],
        1
    );
    assert_eq!(rig.volume(&id)["name"], "new");
}

#[test]
fn tags_are_unique_by_key_and_all_or_nothing() {
    let mut rig = Rig::new();
    let (a, b) = (rig.create("a", 1), rig.create("b", 1));
    let both = format!("{a},{b}");
    let of_volumes = ("resourcetype", "volume");
    let one = [
        ("resourceids", a.as_str()),
        of_volumes,
        ("tags[0].key", "K"),
        ("tags[0].value", "v"),
    ];
    let done = rig.done("createTags", &one);
    assert_eq!(done["jobresult"], serde_json::json!({"success": true}));
    assert_eq!(done.get("jobinstanceid"), None);
    let again = [
        ("resourceids", both.as_str()),
        of_volumes,
        ("tags[0].key", "k"),
        ("tags[0].value", "w"),
        ("tags[1].key", "free"),
        ("tags[1].value", "x"),
    ];
    let (code, why) = rig.fails("createTags", &again);
    assert_eq!(
        (code, why),
        (530, format!("tag k already on Volume with id {a}"))
    );
    assert_eq!(rig.volume(&b)["tags"], Value::Array(vec![]), "rolled back");
    let empty = [
        ("resourceids", b.as_str()),
        of_volumes,
        ("tags[0].key", "e"),
        ("tags[0].value", ""),
    ];
    assert_eq!(rig.fails("createTags", &empty).0, 431);
    let unknown = [
        ("resourceids", "nobody"),
        of_volumes,
        ("tags[0].key", "e"),
        ("tags[0].value", "v"),
    ];
    let (code, why) = rig.fails("createTags", &unknown);
    assert_eq!(code, 431);
    assert!(why.starts_with("Unable to find resource by uuid"), "{why}");

    let listed = rig.call("listTags", &[("resourcetype", "Volume"), ("key", "K")]);
    assert_eq!(listed["count"], 1);
    assert_eq!(listed["tag"][0]["resourceid"], a);
    let wrong = [
        ("resourceids", a.as_str()),
        of_volumes,
        ("tags[0].key", "K"),
        ("tags[0].value", "other"),
    ];
    assert_eq!(
        rig.fails("deleteTags", &wrong),
        (530, "Failed to delete tags".to_owned())
    );
    let right = [
        ("resourceids", a.as_str()),
        of_volumes,
        ("tags[0].key", "k"),
    ];
    assert_eq!(rig.done("deleteTags", &right)["jobstatus"], 1);
    assert_eq!(rig.volume(&a)["tags"], Value::Array(vec![]));
}

#[test]
fn vms_carry_tags_too() {
    let mut rig = Rig::new();
    let vm = rig.vm("appliance");
    let tag = [
        ("resourceids", vm.as_str()),
        ("resourcetype", "UserVm"),
        ("tags[0].key", "epoch"),
        ("tags[0].value", "7"),
    ];
    assert_eq!(rig.done("createTags", &tag)["jobstatus"], 1);
    let row = rig.call("listVirtualMachines", &[("id", &vm)]);
    assert_eq!(row["virtualmachine"][0]["tags"][0]["value"], "7");
}

#[test]
fn behind_the_back_the_database_and_the_guest_come_apart() {
    let mut rig = Rig::new();
    let id = rig.create_on("v", "appliance");
    let called = || id.clone();
    let appliance = || "appliance".to_owned();
    // Unplugged, and the database still thinks it is there: a detach heals that.
    rig.operate(&Operation::DetachVolume {
        volume: called(),
        side: Side::Guest,
    });
    assert!(!rig.is_plugged("appliance", &id));
    assert_eq!(rig.volume(&id)["vmname"], "appliance");
    assert_eq!(rig.done("detachVolume", &[("id", &id)])["jobstatus"], 1);
    // Plugged, and the database knows nothing: an attach fails, and there is nothing to detach.
    rig.operate(&Operation::AttachVolume {
        volume: called(),
        vm: appliance(),
        device_id: None,
        side: Side::Guest,
    });
    assert!(rig.is_plugged("appliance", &id));
    for (vm, says) in [
        ("appliance", "target already exists"),
        ("final-vm", "\"write\" lock"),
    ] {
        let vm = rig.vm(vm);
        let (code, why) = rig.fails("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
        assert_eq!(code, 530);
        assert!(
            why.starts_with("Failed to attach volume v to VM") && why.contains(says),
            "{why}"
        );
        assert_eq!(rig.volume(&id)["state"], "Ready");
    }
    assert_eq!(rig.fails("detachVolume", &[("id", &id)]).0, 431);
    // A stop and start boots with what the database has.
    rig.operate(&Operation::StopVm { vm: appliance() });
    rig.operate(&Operation::StartVm { vm: appliance() });
    rig.pass(2_000);
    assert!(!rig.is_plugged("appliance", &id));
    // Somebody else's client changes both.
    rig.operate(&Operation::AttachVolume {
        volume: called(),
        vm: "final-vm".to_owned(),
        device_id: Some(7),
        side: Side::Both,
    });
    assert_eq!(rig.volume(&id)["deviceid"], 7);
    assert!(rig.is_plugged("final-vm", &id));
    rig.operate(&Operation::DeleteVolume { volume: called() });
    assert_eq!(rig.volume(&id), Value::Null);
    assert!(!rig.is_plugged("final-vm", &id));
    let foreign = rig.operate(&Operation::CreateVolume {
        name: "theirs".to_owned(),
        size_gib: 3,
    });
    let foreign = foreign.volume.expect("a volume").to_string();
    assert_eq!(rig.volume(&foreign)["size"], 3_u64 << 30);
}

#[test]
fn a_reboot_gives_other_names_to_the_same_disks() {
    let mut rig = Rig::new();
    let (a, b) = (rig.create("a", 1), rig.create("b", 1));
    let vm = rig.vm("appliance");
    for (id, device) in [(&a, "5"), (&b, "1")] {
        rig.done(
            "attachVolume",
            &[("id", id), ("virtualmachineid", &vm), ("deviceid", device)],
        );
    }
    let names = |rig: &Rig| -> Vec<(String, String)> { rig.plugged("appliance") };
    let before = names(&rig);
    assert_eq!(before[1], ("vdb".to_owned(), serial_of(&a)));
    assert_eq!(before[2], ("vdc".to_owned(), serial_of(&b)));
    rig.operate(&Operation::StopVm {
        vm: "appliance".to_owned(),
    });
    rig.pass(0);
    assert_eq!(rig.volume(&a)["vmstate"], "Stopping");
    rig.pass(500);
    assert_eq!(names(&rig), []);
    rig.operate(&Operation::StartVm {
        vm: "appliance".to_owned(),
    });
    rig.pass(500);
    let after = names(&rig);
    assert_eq!(
        after[1],
        ("vdb".to_owned(), serial_of(&b)),
        "in order of device id now"
    );
    assert_eq!(after[2], ("vdc".to_owned(), serial_of(&a)));
    rig.operate(&Operation::SwapDisks {
        vm: "appliance".to_owned(),
        a: a.clone(),
        b: b.clone(),
    });
    assert_eq!(names(&rig)[1], ("vdb".to_owned(), serial_of(&a)));
    rig.operate(&Operation::RebootVm {
        vm: "appliance".to_owned(),
    });
    rig.pass(500);
    assert_eq!(
        names(&rig)[1],
        ("vdb".to_owned(), serial_of(&a)),
        "slots stay over a reset"
    );
}

#[test]
fn what_stays_in_destroy_is_scavenged_after_a_day() {
    let mut rig = Rig::new();
    let vm = rig.vm("appliance");
    let on_storage = |rig: &mut Rig, name: &str| {
        let id = rig.create(name, 1);
        rig.done("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
        rig.done("detachVolume", &[("id", &id)]);
        id
    };
    let (stuck, saved) = (on_storage(&mut rig, "stuck"), on_storage(&mut rig, "saved"));
    rig.front.inject(Fault::DeleteStuck {
        on: Target::next("deleteVolume"),
    });
    let refused = rig.refused("deleteVolume", &[("id", &stuck)]);
    assert_eq!((refused.0, refused.1), (530, Some(4250)));
    rig.done("destroyVolume", &[("id", &saved)]);
    rig.pass(3_600_000);
    rig.call("recoverVolume", &[("id", &saved)]);
    rig.done("destroyVolume", &[("id", &saved)]);
    assert_eq!(rig.volume(&stuck)["state"], "Destroy");
    // A day after the first: only that one goes, the other's time began anew.
    rig.pass(82_800_000);
    assert_eq!(rig.volume(&stuck), Value::Null);
    assert_eq!(rig.volume(&saved)["state"], "Destroy");
    rig.pass(3_600_000);
    assert_eq!(rig.volume(&saved), Value::Null);
}

#[test]
fn the_scavenger_goes_by_the_time_that_passes_not_by_a_clock_that_is_put_back() {
    let mut rig = Rig::new();
    let id = rig.create_on("data", "appliance");
    rig.done("detachVolume", &[("id", &id)]);
    rig.done("destroyVolume", &[("id", &id)]);
    rig.front
        .inject(crate::sim::Fault::ClockSkew { ms: -3_600_000 });
    rig.pass(86_400_000 - 60_000);
    assert_eq!(rig.volume(&id)["state"], "Destroy");
    rig.pass(120_000);
    assert_eq!(rig.volume(&id), Value::Null);
}

#[test]
fn tags_go_with_what_they_are_on() {
    let mut rig = Rig::new();
    let id = rig.create("data", 1);
    let tag = [
        ("resourceids", id.as_str()),
        ("resourcetype", "Volume"),
        ("tags[0].key", "owner"),
        ("tags[0].value", "alice"),
    ];
    rig.done("createTags", &tag);
    assert_eq!(rig.call("listTags", &[])["count"], 1);
    rig.call("deleteVolume", &[("id", &id)]);
    assert_eq!(rig.call("listTags", &[]), serde_json::json!({}));
    let (code, text) = rig.fails("createTags", &tag);
    assert_eq!(code, 431);
    assert!(text.contains("Unable to find resource by uuid"), "{text}");
}

#[test]
fn storage_that_fails_does_not_keep_what_never_was_there() {
    let mut rig = Rig::new();
    let id = rig.create("data", 1);
    rig.front.inject(Fault::DeleteStuck {
        on: Target::next("deleteVolume"),
    });
    rig.call("deleteVolume", &[("id", &id)]);
    assert_eq!(rig.volume(&id), Value::Null);
}

#[test]
fn a_strict_offering_keeps_the_size_of_its_volumes() {
    let mut rig = Rig::new();
    let world = rig.front.world_mut();
    let strict = world.add_offering("Strict", Some(1 << 30));
    world.set_strict(strict, true);
    let (zone, offering) = (rig.zone(), rig.offering("Strict"));
    let params = [
        ("zoneid", zone.as_str()),
        ("diskofferingid", offering.as_str()),
    ];
    let id = text(&rig.call("createVolume", &params)["id"]);
    let (code, words) = rig.fails("resizeVolume", &[("id", &id), ("size", "2")]);
    assert_eq!(code, 432);
    assert!(words.contains("strictly fixed"), "{words}");
    let small = rig.offering("Small");
    let done = rig.done("resizeVolume", &[("id", &id), ("diskofferingid", &small)]);
    assert_eq!(
        done["jobstatus"], 1,
        "another offering is another matter: {done}"
    );
}

#[test]
fn a_refused_deletion_leaves_an_event() {
    let mut rig = Rig::new();
    let id = rig.create_on("data", "appliance");
    rig.refused("deleteVolume", &[("id", &id)]);
    let events = rig.call("listEvents", &[("type", "VOLUME.DELETE")]);
    let event = &events["event"][0];
    assert_eq!(
        (&event["level"], &event["resourceid"]),
        (&"ERROR".into(), &id.as_str().into())
    );
    assert_eq!(
        text(&event["description"]),
        format!("Error while deleting volume: {id}")
    );
}
