//! VMs, and on which buses their guests have their disks.

use super::*;

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

impl Rig {
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
