//! VMs, and on which buses their guests have their disks.

use super::*;
use crate::sim::fault::Fault;

/// What describes the VM, the bus of a volume that is plugged into it while it runs, and the bus
/// of the same volume after the VM was stopped and started.
#[test]
fn a_volume_may_change_its_bus_when_its_vm_starts_again() {
    let debian = "Debian GNU/Linux 12 (64-bit)";
    let windows = "Windows Server 2022 (64-bit)";
    let root = |bus: &'static str| vec![("rootDiskController", bus)];
    for (os, details, hot, cold) in [
        (debian, root("virtio"), "virtio", "virtio"),
        (debian, root("scsi"), "scsi", "scsi"),
        (debian, root("sata"), "virtio", "virtio"),
        (windows, root("nonsense"), "virtio", "virtio"),
        (
            debian,
            vec![
                ("rootDiskController", "virtio"),
                ("dataDiskController", "scsi"),
            ],
            "virtio",
            "scsi",
        ),
        (
            debian,
            vec![
                ("rootDiskController", "scsi"),
                ("dataDiskController", "sata"),
            ],
            "scsi",
            "sata",
        ),
    ] {
        let mut rig = Rig::new();
        let vm = "appliance".to_owned();
        let case = format!("{os} {details:?}");
        rig.operate(&Operation::DescribeVm {
            vm: vm.clone(),
            os: Some(os.to_owned()),
            details: details
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        });
        rig.restart(&vm);
        let volume = rig.create_on("data", &vm);
        assert_eq!(rig.bus(&vm, &volume), hot, "{case}, plugged in");
        rig.restart(&vm);
        assert_eq!(rig.bus(&vm, &volume), cold, "{case}, started with it");
        rig.operate(&Operation::RebootVm { vm: vm.clone() });
        rig.pass(5_000);
        assert_eq!(rig.bus(&vm, &volume), cold, "{case}, rebooted");
    }
}

#[test]
fn names_are_counted_by_driver() {
    let mut rig = Rig::new();
    let vm = "appliance".to_owned();
    rig.operate(&Operation::DescribeVm {
        vm: vm.clone(),
        os: None,
        details: [("rootDiskController".to_owned(), "sata".to_owned())].into(),
    });
    rig.restart(&vm);
    for name in ["a", "b"] {
        rig.create_on(name, &vm);
    }
    let names =
        |rig: &Rig| -> Vec<String> { rig.plugged(&vm).into_iter().map(|(name, _)| name).collect() };
    assert_eq!(names(&rig), ["sda", "vda", "vdb"]);
}

/// A VM's life, and what is shown while each of its jobs goes on and after it.
#[test]
fn a_vm_lives_and_dies() {
    let mut rig = Rig::new();
    let (vm, data) = (rig.vm("appliance"), rig.create_on("data", "appliance"));
    for (command, extra, during, after) in [
        (
            "stopVirtualMachine",
            ("forced", "false"),
            "Stopping",
            "Stopped",
        ),
        ("startVirtualMachine", ("x", ""), "Starting", "Running"),
        ("rebootVirtualMachine", ("x", ""), "Running", "Running"),
        (
            "destroyVirtualMachine",
            ("expunge", "false"),
            "Stopping",
            "Destroyed",
        ),
    ] {
        let job = rig.submit(command, &[("id", &vm), extra]);
        rig.pass(1);
        assert_eq!(rig.state_of(&vm), during, "{command}");
        rig.pass(5_000);
        assert_eq!(rig.state_of(&vm), after, "{command}");
        let job = rig.job(&job);
        assert_eq!(job["jobresult"]["virtualmachine"]["state"], after, "{job}");
        assert_eq!(job["jobinstancetype"], "VirtualMachine");
    }
    // Data disks are let go when it is destroyed, its ROOT stays with it.
    assert!(rig.volume(&data).get("virtualmachineid").is_none());
    let recovered = rig.call("recoverVirtualMachine", &[("id", &vm)]);
    assert_eq!(recovered["virtualmachine"]["state"], "Stopped");
    rig.done("startVirtualMachine", &[("id", &vm)]);
    assert_eq!(rig.plugged("appliance").len(), 1);
    let root = text(&rig.call("listVolumes", &[("virtualmachineid", &vm)])["volume"][0]["id"]);
    rig.done("destroyVirtualMachine", &[("id", &vm)]);
    let job = rig.submit("expungeVirtualMachine", &[("id", &vm)]);
    rig.pass(1);
    assert_eq!(rig.state_of(&vm), "Expunging");
    rig.pass(5_000);
    assert_eq!(
        rig.job(&job)["jobresult"],
        serde_json::json!({"success": true})
    );
    assert_eq!(rig.state_of(&vm), Value::Null);
    assert_eq!(rig.volume(&root), Value::Null, "it dies with its VM");
    assert_eq!(rig.volume(&data)["state"], "Ready");
}

#[test]
fn a_vm_in_another_state_refuses() {
    let mut rig = Rig::new();
    let (running, stopped) = (rig.vm("appliance"), rig.vm("test-vm"));
    for (command, vm, state) in [
        ("startVirtualMachine", &running, "Running"),
        ("rebootVirtualMachine", &stopped, "Stopped"),
        ("expungeVirtualMachine", &stopped, "Stopped"),
    ] {
        let (code, text) = rig.fails(command, &[("id", vm)]);
        assert_eq!(code, 530, "{command}");
        assert!(text.contains(state), "{command}: {text}");
    }
    let refused = rig.refused("recoverVirtualMachine", &[("id", &stopped)]);
    assert_eq!((refused.0, refused.1), (431, Some(4350)));
    assert!(
        refused.2.contains("not in the right state"),
        "{}",
        refused.2
    );
}

#[test]
fn destroying_and_expunging_is_one_job() {
    let mut rig = Rig::new();
    let vm = rig.vm("final-vm");
    let job = rig.done("destroyVirtualMachine", &[("id", &vm), ("expunge", "true")]);
    assert_eq!(job["jobstatus"], 1, "{job}");
    assert_eq!(rig.state_of(&vm), Value::Null);
}

#[test]
fn what_is_updated_replaces_what_was() {
    let mut rig = Rig::new();
    let vm = rig.vm("test-vm");
    let updated = rig.call(
        "updateVirtualMachine",
        &[
            ("id", &vm),
            ("displayname", "Test"),
            ("details[0].dataDiskController", "scsi"),
            ("details[0].keyboard", "de"),
        ],
    );
    let updated = &updated["virtualmachine"];
    assert_eq!(
        (&updated["name"], &updated["displayname"]),
        (&"test-vm".into(), &"Test".into())
    );
    let details = serde_json::json!({"dataDiskController": "scsi", "keyboard": "de"});
    assert_eq!(updated["details"], details);
}

#[test]
fn a_guest_that_does_not_let_go_keeps_its_disk() {
    let mut rig = Rig::new();
    let (vm, data) = ("appliance".to_owned(), rig.create_on("data", "appliance"));
    let ignore = |ignore| Operation::IgnoreUnplug {
        vm: "appliance".to_owned(),
        ignore,
    };
    rig.operate(&ignore(true));
    let job = rig.submit("detachVolume", &[("id", &data)]);
    rig.pass(9_999);
    assert_eq!(rig.job(&job)["jobstatus"], 0, "the agent waits");
    rig.pass(1);
    let job = rig.job(&job);
    assert_eq!(job["jobresultcode"], 530, "{job}");
    let text = job["jobresult"]["errortext"].as_str().expect("a text");
    assert!(
        text.starts_with("Failed to detach volume data from VM appliance")
            && text.contains("waiting for [10000] milliseconds"),
        "{text}"
    );
    assert_eq!(rig.volume(&data)["vmname"], "appliance");
    assert!(rig.is_plugged(&vm, &data));
    // What is gone already needs nobody's acknowledgement.
    rig.operate(&Operation::DetachVolume {
        volume: data.clone(),
        side: crate::sim::control::Side::Guest,
    });
    assert_eq!(rig.done("detachVolume", &[("id", &data)])["jobstatus"], 1);
    rig.operate(&ignore(false));
    let again = rig.create_on("more", &vm);
    assert_eq!(rig.done("detachVolume", &[("id", &again)])["jobstatus"], 1);
}

impl Rig {
    /// The state in which a VM is listed; null if it is not.
    pub(super) fn state_of(&mut self, vm: &str) -> Value {
        let mut listed = self.call("listVirtualMachines", &[("id", vm)]);
        let state = listed.pointer_mut("/virtualmachine/0/state");
        state.map(Value::take).unwrap_or_default()
    }

    /// Stops a VM and starts it again.
    fn restart(&mut self, vm: &str) {
        let vm = vm.to_owned();
        self.operate(&Operation::StopVm { vm: vm.clone() });
        self.pass(5_000);
        self.operate(&Operation::StartVm { vm });
        self.pass(5_000);
    }

    /// The bus on which a VM's guest has a volume.
    fn bus(&self, vm: &str, volume: &str) -> &'static str {
        let world = self.front.world();
        let vm = world.vm_called(vm).expect("a VM of that name");
        let disks = crate::sim::host::disks_of(world, vm);
        let disk = disks.iter().find(|disk| disk.volume.to_string() == volume);
        disk.expect("it is plugged in").bus.as_str()
    }
}

impl Rig {
    fn ids_to_deploy(&mut self) -> [(&'static str, String); 3] {
        let first = |listed: &Value, key: &str| text(&listed[key][0]["id"]);
        let offering = self.call("listServiceOfferings", &[]);
        let template = self.call("listTemplates", &[("templatefilter", "featured")]);
        [
            ("zoneid", self.zone()),
            ("serviceofferingid", first(&offering, "serviceoffering")),
            ("templateid", first(&template, "template")),
        ]
    }

    fn deploy(&mut self, more: &[(&str, &str)]) -> Value {
        let ids = self.ids_to_deploy();
        let mut params: Vec<(&str, &str)> = ids.iter().map(|(k, v)| (*k, v.as_str())).collect();
        params.extend_from_slice(more);
        self.call("deployVirtualMachine", &params)
    }

    fn vm_by_id(&mut self, id: &str) -> Value {
        self.call("listVirtualMachines", &[("id", id)])["virtualmachine"][0].clone()
    }
}

#[test]
fn a_vm_is_deployed_and_started() {
    let mut rig = Rig::new();
    let answer = rig.deploy(&[("name", "web-1"), ("details[0].rootDiskController", "scsi")]);
    let id = text(&answer["id"]);
    assert_eq!(rig.vm_by_id(&id)["name"], "web-1", "before its job began");
    rig.pass(1);
    assert_eq!(rig.vm_by_id(&id)["state"], "Starting");
    rig.pass(5_000);
    let job = rig.job(&text(&answer["jobid"]));
    let vm = &job["jobresult"]["virtualmachine"];
    assert_eq!(vm["state"], "Running", "{job}");
    assert_eq!(vm["templatename"], "debian-12");
    assert_eq!(vm["hostname"], "kvm-1");
    let brief = rig.call("listVirtualMachines", &[("id", &id), ("details", "min")]);
    let brief = &brief["virtualmachine"][0];
    assert_eq!(brief.get("templatename"), None, "{brief}");
    let root = rig.call("listVolumes", &[("virtualmachineid", &id)]);
    let root = root["volume"][0].clone();
    assert_eq!(root["state"], "Ready");
    assert_eq!(root["type"], "ROOT");
    assert_eq!(root["size"], 20_u64 << 30, "that of the template");
    assert_eq!(
        rig.plugged("web-1"),
        [("sda".to_owned(), serial_of(&text(&root["id"])))]
    );
    let events = rig.call("listEvents", &[("type", "VM.CREATE")]);
    assert_eq!(events["count"], 4, "{events}");
}

#[test]
fn a_vm_that_is_not_started_keeps_its_volumes_allocated() {
    let mut rig = Rig::new();
    let offering = rig.offering("Custom OSSEA");
    let answer = rig.deploy(&[
        ("startvm", "false"),
        ("diskofferingid", &offering),
        ("size", "3"),
    ]);
    rig.pass(5_000);
    let id = text(&answer["id"]);
    let vm = rig.vm_by_id(&id);
    assert_eq!(vm["state"], "Stopped");
    assert!(text(&vm["name"]).starts_with("VM-"), "{vm}");
    let volumes = |rig: &mut Rig| -> Vec<(String, String, u64)> {
        let listed = rig.call("listVolumes", &[("virtualmachineid", &id)]);
        let rows = listed["volume"].as_array().cloned().unwrap_or_default();
        rows.iter()
            .map(|row| {
                let device = row["deviceid"].as_u64().expect("a device");
                (text(&row["type"]), text(&row["state"]), device)
            })
            .collect()
    };
    let row = |kind: &str, state: &str, device| (kind.to_owned(), state.to_owned(), device);
    assert_eq!(
        volumes(&mut rig),
        [row("DATADISK", "Allocated", 1), row("ROOT", "Allocated", 0)]
    );
    rig.done("startVirtualMachine", &[("id", &id)]);
    assert_eq!(
        volumes(&mut rig),
        [row("DATADISK", "Ready", 1), row("ROOT", "Ready", 0)]
    );
}

#[test]
fn a_vm_moves_to_another_host_and_keeps_its_disks() {
    let mut rig = Rig::new();
    let (vm, _) = (rig.vm("appliance"), rig.create_on("data", "appliance"));
    let before = rig.plugged("appliance");
    let host = |rig: &mut Rig, name: &str| {
        text(&rig.call("listHosts", &[("name", name)])["host"][0]["id"])
    };
    let (one, two) = (host(&mut rig, "kvm-1"), host(&mut rig, "kvm-2"));
    let here = [("virtualmachineid", vm.as_str()), ("hostid", one.as_str())];
    let (code, words) = rig.fails("migrateVirtualMachine", &here);
    assert_eq!(code, 431);
    assert!(words.contains("already present"), "{words}");
    let there = [("virtualmachineid", vm.as_str()), ("hostid", two.as_str())];
    let job = rig.submit("migrateVirtualMachine", &there);
    rig.pass(1);
    assert_eq!(rig.state_of(&vm), "Migrating");
    let other = rig.create("other", 1);
    let (code, _) = rig.fails("attachVolume", &[("id", &other), ("virtualmachineid", &vm)]);
    assert_eq!(code, 431, "neither running nor stopped");
    assert_eq!(
        rig.job(&job)["jobresult"]["virtualmachine"]["hostname"],
        "kvm-2"
    );
    assert_eq!(rig.plugged("appliance"), before);
    // Without a host it goes to any other.
    let done = rig.done("migrateVirtualMachine", &[("virtualmachineid", &vm)]);
    assert_eq!(done["jobresult"]["virtualmachine"]["hostname"], "kvm-1");
    // A restart of the management server in between leaves it where it is.
    rig.submit("migrateVirtualMachine", &there);
    rig.pass(1);
    rig.front.inject(Fault::Restart {
        keep_plugged: false,
    });
    rig.pass(5_000);
    assert_eq!(rig.vm_by_id(&vm)["hostname"], "kvm-1");
    assert_eq!(rig.state_of(&vm), "Running");
    let stopped = rig.vm("test-vm");
    let (code, _) = rig.fails("migrateVirtualMachine", &[("virtualmachineid", &stopped)]);
    assert_eq!(code, 431);
}

#[test]
fn what_cannot_be_deployed_is_refused_at_once() {
    let mut rig = Rig::new();
    let custom = rig.offering("Custom OSSEA");
    for (more, words) in [
        (vec![("name", "1st")], "Invalid name"),
        (vec![("diskofferingid", custom.as_str())], "custom size"),
        (vec![("hypervisor", "VMware")], "VMware"),
    ] {
        let ids = rig.ids_to_deploy();
        let mut params: Vec<(&str, &str)> = ids.iter().map(|(k, v)| (*k, v.as_str())).collect();
        params.extend(more);
        let (code, _, text) = rig.refused("deployVirtualMachine", &params);
        assert_eq!(code, 431, "{text}");
        assert!(text.contains(words), "{text}");
    }
    for (filter, code) in [("mine", 530), ("all", 200), ("self", 200)] {
        let answer = rig.send("listTemplates", &[("templatefilter", filter)]);
        assert_eq!(answer.status, code, "{}", answer.body);
    }
}
