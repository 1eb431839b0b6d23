//! Starting, stopping, rebooting and destroying VMs. Their jobs stand in the same queue as
//! those of their volumes (`VirtualMachineManagerImpl.java`).

use std::collections::BTreeMap;

use crate::sim::refusal::Refusal;

use super::World;
use super::attach::unreachable_stage;
use super::bus::{Bus, ROOT_DISK_CONTROLLER};
use super::job::{Flow, Outcome, Stage};
use super::order::Change;
use super::rows::{AccountNo, Vm, VmNo, VmState, VolumeKind, VolumeNo, VolumeState, ZoneNo};

impl World {
    /// Adds a VM with a ROOT volume. One that is not Running has never run: its ROOT volume is
    /// Allocated unless it is started once.
    pub fn add_vm(&mut self, name: &str, zone: ZoneNo, account: AccountNo, state: VmState) -> VmNo {
        let template = self.templates.keys().next().copied();
        let service_offering = self.service_offerings.keys().next().copied();
        let vm = Vm {
            uuid: self.uuid(),
            name: name.to_owned(),
            display_name: name.to_owned(),
            zone,
            account,
            template,
            service_offering,
            host: None,
            os: "Debian GNU/Linux 12 (64-bit)".to_owned(),
            details: BTreeMap::from([(
                ROOT_DISK_CONTROLLER.to_owned(),
                Bus::Virtio.as_str().to_owned(),
            )]),
            state,
            started_once: true,
            disks: BTreeMap::new(),
            tags: Vec::new(),
            created: self.now,
            removed: false,
            ignores_unplug: false,
            guest: None,
        };
        let no = self.insert_vm(vm);
        let root = self.create_root(no, VolumeState::Ready);
        self.set_link(root, no, 0);
        if state == VmState::Running {
            self.boot(no).expect("its only disk was just made");
        }
        no
    }

    /// Adds a stopped VM that has never run, as a deployment without a start leaves it: its
    /// ROOT volume, and every new volume attached to it, stays Allocated.
    pub fn add_new_vm(&mut self, name: &str, zone: ZoneNo, account: AccountNo) -> VmNo {
        let no = self.add_vm(name, zone, account, VmState::Stopped);
        let vm = self.vm_mut(no);
        vm.started_once = false;
        for volume in vm.disks.clone().into_values() {
            self.volume_mut(volume).state = VolumeState::Allocated;
        }
        no
    }

    /// Sets the guest OS and details of a VM, as `updateVirtualMachine` does; its buses change
    /// when it next starts.
    pub fn describe_vm(&mut self, vm: VmNo, os: Option<&str>, details: &BTreeMap<String, String>) {
        let row = self.vm_mut(vm);
        if let Some(os) = os {
            os.clone_into(&mut row.os);
        }
        row.details.extend(details.clone());
    }

    /// Lets a VM's guest ignore requests to release a disk, or heed them again.
    pub fn ignore_unplug(&mut self, vm: VmNo, ignore: bool) {
        self.vm_mut(vm).ignores_unplug = ignore;
    }

    pub(super) fn run_start_vm(&mut self, vm: VmNo, stage: Stage) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                self.check_vm(vm)?;
                Ok(Flow::Queue(vm))
            }
            Stage::Queued => {
                self.expect_state(vm, &[VmState::Stopped], "start")?;
                self.vm_mut(vm).state = VmState::Starting;
                Ok(Flow::Wait(Stage::Working, self.settings.latencies.vm_ms))
            }
            Stage::Working => {
                if self.must_ask() && self.check_boot(vm).is_ok() {
                    return Ok(Flow::Ask(vm, Change::Start));
                }
                let volumes: Vec<VolumeNo> = self.vm(vm).disks.values().copied().collect();
                for volume in volumes {
                    let row = self.volume_mut(volume);
                    if row.state == VolumeState::Allocated {
                        row.state = VolumeState::Ready;
                    }
                }
                self.boot(vm)?;
                let row = self.vm_mut(vm);
                row.state = VmState::Running;
                row.started_once = true;
                Ok(Flow::Done(self.vm_outcome(vm)))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    pub(super) fn run_stop_vm(&mut self, vm: VmNo, stage: Stage) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                self.check_vm(vm)?;
                Ok(Flow::Queue(vm))
            }
            Stage::Queued => {
                self.expect_state(vm, &[VmState::Running, VmState::Stopped], "stop")?;
                let millis = self.begin_stop(vm);
                Ok(Flow::Wait(Stage::Working, millis))
            }
            Stage::Working => {
                if self.must_ask() && self.vm(vm).guest.is_some() {
                    return Ok(Flow::Ask(vm, Change::Stop));
                }
                self.power_off(vm);
                self.vm_mut(vm).state = VmState::Stopped;
                Ok(Flow::Done(self.vm_outcome(vm)))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    pub(super) fn run_reboot_vm(&mut self, vm: VmNo, stage: Stage) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                self.check_vm(vm)?;
                Ok(Flow::Queue(vm))
            }
            Stage::Queued => {
                self.expect_state(vm, &[VmState::Running], "reboot")?;
                Ok(Flow::Wait(Stage::Working, self.settings.latencies.vm_ms))
            }
            Stage::Working => {
                if self.must_ask() && self.vm(vm).guest.is_some() {
                    return Ok(Flow::Ask(vm, Change::Reboot));
                }
                self.reset(vm);
                Ok(Flow::Done(self.vm_outcome(vm)))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    /// Destroying detaches data disks first; a disk at device id 0 goes with its VM
    /// (`UserVmManagerImpl.java`).
    pub(super) fn run_destroy_vm(
        &mut self,
        vm: VmNo,
        expunge: bool,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                self.check_vm(vm)?;
                Ok(Flow::Queue(vm))
            }
            Stage::Queued => {
                self.expect_state(
                    vm,
                    &[VmState::Running, VmState::Stopped, VmState::Destroyed],
                    "destroy",
                )?;
                let millis = self.begin_stop(vm);
                Ok(Flow::Wait(Stage::Working, millis))
            }
            Stage::Working => {
                if self.must_ask() && self.vm(vm).guest.is_some() {
                    return Ok(Flow::Ask(vm, Change::Destroy));
                }
                self.power_off(vm);
                let volumes: Vec<VolumeNo> = self.vm(vm).disks.values().copied().collect();
                for volume in volumes {
                    match self.volume(volume).kind {
                        VolumeKind::Data => self.clear_link(volume),
                        VolumeKind::Root => {}
                    }
                }
                self.vm_mut(vm).state = VmState::Destroyed;
                if !expunge {
                    return Ok(Flow::Done(self.vm_outcome(vm)));
                }
                self.vm_mut(vm).state = VmState::Expunging;
                Ok(Flow::Wait(Stage::Settling, self.settings.latencies.vm_ms))
            }
            Stage::Settling => {
                self.remove_vm(vm);
                Ok(Flow::Done(self.vm_outcome(vm)))
            }
            Stage::Provisioning | Stage::Plugging { .. } | Stage::Unplugging { .. } => {
                unreachable_stage(stage)
            }
        }
    }

    /// `expungeVirtualMachine`: also again, after one that failed.
    pub(super) fn run_expunge_vm(&mut self, vm: VmNo, stage: Stage) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                self.check_vm(vm)?;
                Ok(Flow::Queue(vm))
            }
            Stage::Queued => {
                self.expect_state(vm, &[VmState::Destroyed, VmState::Expunging], "expunge")?;
                self.vm_mut(vm).state = VmState::Expunging;
                Ok(Flow::Wait(Stage::Working, self.settings.latencies.vm_ms))
            }
            Stage::Working => {
                self.remove_vm(vm);
                Ok(Flow::Done(Outcome::Success))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    /// Its ROOT goes with it; whatever else is still linked is let go
    /// (`VolumeOrchestrator.cleanupVolumes`).
    fn remove_vm(&mut self, vm: VmNo) {
        let volumes: Vec<VolumeNo> = self.vm(vm).disks.values().copied().collect();
        for volume in volumes {
            match self.volume(volume).kind {
                VolumeKind::Data => self.clear_link(volume),
                VolumeKind::Root => self.erase_volume(volume),
            }
        }
        self.remove_vm_snapshots(vm);
        let row = self.vm_mut(vm);
        row.removed = true;
        // `UserVmDaoImpl.remove`.
        row.tags.clear();
    }

    /// `recoverVirtualMachine`.
    ///
    /// # Errors
    /// If it is not Destroyed.
    pub fn recover_vm(&mut self, vm: VmNo) -> Result<(), Refusal> {
        self.check_vm(vm)?;
        let row = self.vm_mut(vm);
        if row.state != VmState::Destroyed {
            return Err(Refusal::invalid(format!(
                "Vm with id {vm} is not in the right state"
            )));
        }
        row.state = VmState::Stopped;
        Ok(())
    }

    /// `updateVirtualMachine`: what is given replaces what there was; details, all of them. Buses
    /// change when it next starts.
    ///
    /// # Errors
    /// If it was expunged.
    pub fn update_vm(
        &mut self,
        vm: VmNo,
        name: Option<&str>,
        display_name: Option<&str>,
        details: Option<BTreeMap<String, String>>,
    ) -> Result<(), Refusal> {
        self.check_vm(vm)?;
        let row = self.vm_mut(vm);
        if let Some(name) = name {
            name.clone_into(&mut row.name);
        }
        if let Some(name) = display_name {
            name.clone_into(&mut row.display_name);
        }
        if let Some(details) = details {
            row.details = details;
        }
        Ok(())
    }

    fn begin_stop(&mut self, vm: VmNo) -> u64 {
        let row = self.vm_mut(vm);
        if row.state != VmState::Running {
            return 0;
        }
        row.state = VmState::Stopping;
        self.settings.latencies.vm_ms
    }

    fn check_vm(&self, vm: VmNo) -> Result<(), Refusal> {
        if self.vm(vm).removed {
            return Err(Refusal::invalid(format!(
                "unable to find a virtual machine with id {vm}"
            )));
        }
        Ok(())
    }

    fn expect_state(&self, vm: VmNo, states: &[VmState], verb: &str) -> Result<(), Refusal> {
        let row = self.vm(vm);
        if states.contains(&row.state) && !row.removed {
            return Ok(());
        }
        Err(Refusal::runtime(format!(
            "Unable to {verb} VM {} in state {}",
            row.name,
            row.state.as_str()
        )))
    }
}
