//! Moving running VMs to other hosts (`UserVmManagerImpl.migrateVirtualMachine`). A guest notices
//! nothing of it: its disks, their names and their sequence numbers stay.

use crate::sim::refusal::Refusal;

use super::World;
use super::attach::unreachable_stage;
use super::job::{Flow, Stage};
use super::rows::{HostNo, VmNo, VmState};

impl World {
    /// Puts a VM that starts on the host where it ran last, or on the first of its zone.
    pub(super) fn place(&mut self, vm: VmNo) {
        let row = self.vm(vm);
        let first = self.hosts().find(|(_, host)| host.zone == row.zone);
        let host = row.host.or(first.map(|(no, _)| no));
        self.vm_mut(vm).host = host;
    }

    pub(super) fn run_migrate_vm(
        &mut self,
        vm: VmNo,
        host: Option<HostNo>,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                self.destination(vm, host)?;
                Ok(Flow::Queue(vm))
            }
            Stage::Queued => {
                self.destination(vm, host)?;
                self.vm_mut(vm).state = VmState::Migrating;
                Ok(Flow::Wait(Stage::Working, self.settings.latencies.vm_ms))
            }
            Stage::Working => {
                let there = self.other_host(vm, host);
                let row = self.vm_mut(vm);
                row.state = VmState::Running;
                row.host = there.or(row.host);
                Ok(Flow::Done(self.vm_outcome(vm)))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    /// The wanted host, or any other of its zone.
    fn other_host(&self, vm: VmNo, host: Option<HostNo>) -> Option<HostNo> {
        let row = self.vm(vm);
        let mut others = self
            .hosts()
            .filter(|(no, host)| host.zone == row.zone && Some(*no) != row.host);
        host.or_else(|| others.next().map(|(no, _)| no))
    }

    fn destination(&self, vm: VmNo, host: Option<HostNo>) -> Result<(), Refusal> {
        let row = self.vm(vm);
        if row.removed {
            return Err(Refusal::invalid(format!(
                "Unable to find the VM by id={vm}"
            )));
        }
        if row.state != VmState::Running {
            return Err(Refusal::invalid(format!(
                "VM is not Running, unable to migrate the vm {}",
                row.name
            )));
        }
        let Some(host) = self.other_host(vm, host) else {
            return Err(Refusal::runtime(
                "Unable to find suitable destination to migrate VM",
            ));
        };
        if row.host == Some(host) {
            return Err(Refusal::invalid(
                "Cannot migrate VM, VM is already present on this host, please specify valid \
                 destination host to migrate the VM",
            ));
        }
        if self.host(host).zone != row.zone {
            return Err(Refusal::runtime(format!(
                "Cannot migrate VM, destination host {} is not in the same zone",
                self.host(host).name
            )));
        }
        Ok(())
    }
}
