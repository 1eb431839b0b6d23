//! Snapshots of whole VMs, and what they hold up.

use super::*;

fn taken(rig: &mut Rig, vm: &str, name: &str) -> String {
    let answer = rig.call(
        "createVMSnapshot",
        &[
            ("virtualmachineid", vm),
            ("snapshotmemory", "true"),
            ("name", name),
        ],
    );
    rig.pass(1_000);
    let job = rig.job(&text(&answer["jobid"]));
    assert_eq!(job["jobstatus"], 1, "{job}");
    assert_eq!(job["jobresult"]["vmsnapshot"]["id"], answer["id"]);
    text(&answer["id"])
}

fn listed(rig: &mut Rig) -> Vec<Value> {
    let answer = rig.call("listVMSnapshot", &[]);
    answer["vmSnapshot"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_vm_snapshot_is_there_before_the_answer_and_stands_in_a_line() {
    let mut rig = Rig::new();
    let vm = rig.vm("appliance");
    let params = [
        ("virtualmachineid", vm.as_str()),
        ("snapshotmemory", "true"),
    ];
    let first = text(&rig.call("createVMSnapshot", &params)["id"]);
    let world = rig.front.world();
    let (_, row) = world.vm_snapshots().next().expect("the row");
    assert_eq!(row.state.as_str(), "Allocated");
    rig.pass(100);
    assert_eq!(listed(&mut rig)[0]["state"], "Creating");
    rig.pass(1_000);
    let second = taken(&mut rig, &vm, "second");
    let rows = listed(&mut rig);
    let brief: Vec<(Value, Value, Value, Value)> = rows
        .iter()
        .map(|row| {
            let field = |name: &str| row.get(name).cloned().unwrap_or_default();
            (
                field("id"),
                field("current"),
                field("parent"),
                field("type"),
            )
        })
        .collect();
    let memory = Value::from("DiskAndMemory");
    let (one, two) = (Value::from(first.as_str()), Value::from(second.as_str()));
    assert_eq!(
        brief,
        [
            (two.clone(), true.into(), one.clone(), memory.clone()),
            (one.clone(), false.into(), Value::Null, memory.clone())
        ]
    );
    let done = rig.done("deleteVMSnapshot", &[("vmsnapshotid", &second)]);
    assert_eq!(done["jobresult"], serde_json::json!({"success": true}));
    let rows = listed(&mut rig);
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0]["current"], true,
        "the one before it takes its place"
    );
    let (code, _) = rig.fails("deleteVMSnapshot", &[("vmsnapshotid", &second)]);
    assert_eq!(code, 431);
}

#[test]
fn a_vm_with_a_snapshot_neither_takes_nor_gives_disks() {
    let mut rig = Rig::new();
    let vm = rig.vm("appliance");
    let (on, off) = (rig.create_on("on", "appliance"), rig.create("off", 1));
    let snapshot = taken(&mut rig, &vm, "held");
    for (command, params, code, words) in [
        (
            "attachVolume",
            vec![("id", off.as_str()), ("virtualmachineid", vm.as_str())],
            431,
            "does not have VM snapshots",
        ),
        (
            "detachVolume",
            vec![("id", on.as_str())],
            431,
            "does not have VM snapshots",
        ),
        (
            "resizeVolume",
            vec![("id", on.as_str()), ("size", "2")],
            432,
            "memory snapshots",
        ),
    ] {
        let (got, text) = rig.fails(command, &params);
        assert_eq!(got, code, "{command}: {text}");
        assert!(text.contains(words), "{command}: {text}");
    }
    rig.done("deleteVMSnapshot", &[("vmsnapshotid", &snapshot)]);
    let done = rig.done("detachVolume", &[("id", &on)]);
    assert_eq!(done["jobstatus"], 1, "{done}");
}

#[test]
fn what_cannot_be_snapshotted_is_refused_at_once() {
    let mut rig = Rig::new();
    let (running, stopped) = (rig.vm("appliance"), rig.vm("test-vm"));
    taken(&mut rig, &running, "once");
    for (vm, name, memory, expected) in [
        (&running, "a", "false", (530, "without memory")),
        (&stopped, "a", "true", (431, "not in Running state")),
        (&running, "once", "true", (431, "already exists")),
    ] {
        let (code, _, text) = rig.refused(
            "createVMSnapshot",
            &[
                ("virtualmachineid", vm),
                ("name", name),
                ("snapshotmemory", memory),
            ],
        );
        assert_eq!(code, expected.0, "{text}");
        assert!(text.contains(expected.1), "{text}");
    }
    // One that is on its way, of the VM or of one of its volumes, holds up the next.
    let volume = rig.create_on("data", "final-vm");
    rig.call("createSnapshot", &[("volumeid", &volume)]);
    rig.pass(100);
    let vm = rig.vm("final-vm");
    let params = [
        ("virtualmachineid", vm.as_str()),
        ("snapshotmemory", "true"),
    ];
    let (code, _, words) = rig.refused("createVMSnapshot", &params);
    assert_eq!(code, 530);
    assert!(words.contains("active volume Snapshot tasks"), "{words}");
    rig.pass(5_000);
    rig.call("createVMSnapshot", &params);
    let (code, _, words) = rig.refused("createVMSnapshot", &params);
    assert_eq!(code, 530);
    assert!(words.contains("active Instance Snapshot tasks"), "{words}");
    // A stopped one without memory is fine.
    let done = rig.call("createVMSnapshot", &[("virtualmachineid", &stopped)]);
    assert!(done["id"].is_string());
}

#[test]
fn at_most_ten_are_kept_and_they_go_with_their_vm() {
    let mut rig = Rig::new();
    let vm = rig.vm("final-vm");
    for n in 0..10 {
        taken(&mut rig, &vm, &format!("number {n}"));
    }
    let params = [
        ("virtualmachineid", vm.as_str()),
        ("snapshotmemory", "true"),
    ];
    let (code, _, words) = rig.refused("createVMSnapshot", &params);
    assert_eq!(code, 530);
    assert!(words.contains("just have : 10"), "{words}");
    rig.done("destroyVirtualMachine", &[("id", &vm), ("expunge", "true")]);
    rig.pass(5_000);
    assert_eq!(listed(&mut rig), Vec::<Value>::new());
}
