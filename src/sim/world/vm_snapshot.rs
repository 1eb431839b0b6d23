//! Snapshots of whole VMs (`VMSnapshotManagerImpl.java`, `DefaultVMSnapshotStrategy.java`). While a
//! VM has one, its disks can be neither attached nor detached (`VolumeApiServiceImpl.java`).

use crate::sim::refusal::Refusal;

use super::World;
use super::attach::unreachable_stage;
use super::job::{Flow, Outcome, Stage};
use super::rows::{
    SnapshotState, VmNo, VmSnapshot, VmSnapshotNo, VmSnapshotState, VmState, VolumeNo, VolumeState,
};

/// `vmsnapshot.max` (`VMSnapshotManager.java`).
const MOST_OF_ONE_VM: usize = 10;

/// What `createVMSnapshot` is told, unchecked.
#[derive(Debug, Clone, Default)]
pub struct NewVmSnapshot {
    /// Its name for people.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// `snapshotmemory`.
    pub memory: bool,
}

impl World {
    /// Makes the row of a new snapshot, as `createVMSnapshot` does before it answers.
    ///
    /// # Errors
    /// Whatever `allocVMSnapshot` refuses on KVM.
    pub fn create_vm_snapshot(
        &mut self,
        vm: VmNo,
        new: NewVmSnapshot,
    ) -> Result<VmSnapshotNo, Refusal> {
        let row = self.vm(vm);
        if row.removed {
            return Err(Refusal::invalid(format!(
                "Creating Instance Snapshot failed due to Instance: {vm} is not found"
            )));
        }
        // The real one ends with the date and time, which two of one second share.
        let name = format!("i-2-{vm}-VM_VS_{}", self.next_row + 1);
        let display_name = new.name.unwrap_or_else(|| name.clone());
        let own = || self.vm_snapshots_of(vm).map(|no| self.vm_snapshot(no));
        if own().any(|other| other.display_name == display_name) {
            return Err(Refusal::invalid(format!(
                "Creating Instance Snapshot failed because Instance Snapshot with \
                 name{display_name}  already exists"
            )));
        }
        match row.state {
            VmState::Running | VmState::Stopped => {}
            VmState::Starting
            | VmState::Migrating
            | VmState::Stopping
            | VmState::Destroyed
            | VmState::Expunging => {
                return Err(Refusal::invalid(format!(
                    "Creating Instance Snapshot failed because Instance:{vm} is not in Running or \
                     Stopped state"
                )));
            }
        }
        let runs = row.state == VmState::Running;
        if new.memory && !runs {
            return Err(Refusal::invalid(
                "Can not Snapshot memory when the Instance is not in Running state",
            ));
        }
        let root = row.disks.get(&0);
        if !root.is_some_and(|root| self.volume(*root).state == VolumeState::Ready) {
            return Err(Refusal::runtime(format!(
                "Unable to find root volume for the user Instance:{}",
                row.uuid
            )));
        }
        if runs && !new.memory {
            return Err(Refusal::runtime(
                "Creating a snapshot of a running KVM Instance without memory is not supported",
            ));
        }
        if own().count() >= MOST_OF_ONE_VM {
            return Err(Refusal::runtime(format!(
                "Creating Instance Snapshot failed due to a Instance can just have : \
                 {MOST_OF_ONE_VM} Instance Snapshots. Please delete old ones"
            )));
        }
        self.check_other_snapshots(vm)?;
        let no = VmSnapshotNo(self.row());
        let snapshot = VmSnapshot {
            uuid: self.uuid(),
            name,
            display_name,
            description: new.description,
            vm,
            memory: new.memory,
            state: VmSnapshotState::Allocated,
            parent: None,
            current: false,
            created: self.now,
        };
        self.vm_snapshots.insert(no, snapshot);
        Ok(no)
    }

    /// Whatever else is being snapshotted on a VM.
    fn check_other_snapshots(&self, vm: VmNo) -> Result<(), Refusal> {
        let volumes: Vec<VolumeNo> = self.vm(vm).disks.values().copied().collect();
        let busy = self.snapshots.values().any(|row| {
            volumes.contains(&row.volume)
                && match row.state {
                    SnapshotState::Creating
                    | SnapshotState::CreatedOnPrimary
                    | SnapshotState::BackingUp => true,
                    SnapshotState::Allocated
                    | SnapshotState::BackedUp
                    | SnapshotState::Error
                    | SnapshotState::Destroyed => false,
                }
        });
        if busy {
            return Err(Refusal::runtime(
                "There are other active volume Snapshot tasks on the Instance to which the volume \
                 is attached, please try again later.",
            ));
        }
        if self.vm_snapshots_of(vm).any(|no| self.is_active(no)) {
            return Err(Refusal::runtime(
                "There are other active Instance Snapshot tasks on the Instance, please try again \
                 later",
            ));
        }
        Ok(())
    }

    /// `hasActiveVMSnapshotTasks`.
    fn is_active(&self, no: VmSnapshotNo) -> bool {
        match self.vm_snapshot(no).state {
            VmSnapshotState::Allocated | VmSnapshotState::Creating | VmSnapshotState::Expunging => {
                true
            }
            VmSnapshotState::Ready | VmSnapshotState::Removed | VmSnapshotState::Error => false,
        }
    }

    /// All snapshots of VMs, newest first, removed ones too.
    pub fn vm_snapshots(&self) -> impl Iterator<Item = (VmSnapshotNo, &VmSnapshot)> {
        self.vm_snapshots.iter().rev().map(|(no, row)| (*no, row))
    }

    /// A snapshot of a VM, perhaps a removed one.
    pub fn vm_snapshot(&self, no: VmSnapshotNo) -> &VmSnapshot {
        self.vm_snapshots
            .get(&no)
            .expect("rows of VM snapshots stay")
    }

    /// The snapshot of a VM with this id, perhaps a removed one.
    pub fn find_vm_snapshot(&self, uuid: uuid::Uuid) -> Option<VmSnapshotNo> {
        super::find(&self.vm_snapshots, |row| row.uuid == uuid)
    }

    fn vm_snapshot_mut(&mut self, no: VmSnapshotNo) -> &mut VmSnapshot {
        self.vm_snapshots
            .get_mut(&no)
            .expect("rows of VM snapshots stay")
    }

    /// Those of one VM that are not removed.
    fn vm_snapshots_of(&self, vm: VmNo) -> impl Iterator<Item = VmSnapshotNo> {
        self.vm_snapshots
            .iter()
            .filter(move |(_, row)| row.vm == vm && row.state != VmSnapshotState::Removed)
            .map(|(no, _)| *no)
    }

    /// Whether a VM has a snapshot, even one that failed: nothing is attached to it or detached.
    pub(super) fn has_vm_snapshots(&self, vm: VmNo) -> bool {
        self.vm_snapshots_of(vm).next().is_some()
    }

    /// Whether a VM has a snapshot with memory: its volumes are not resized.
    pub(super) fn has_memory_snapshots(&self, vm: VmNo) -> bool {
        self.vm_snapshots_of(vm)
            .any(|no| self.vm_snapshot(no).memory)
    }

    pub(super) fn vm_snapshot_failed(&mut self, no: VmSnapshotNo) {
        let row = self.vm_snapshot_mut(no);
        if row.state != VmSnapshotState::Removed {
            row.state = VmSnapshotState::Error;
        }
    }

    pub(super) fn run_create_vm_snapshot(
        &mut self,
        no: VmSnapshotNo,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        let vm = self.vm_snapshot(no).vm;
        match stage {
            Stage::Submitted => Ok(Flow::Queue(vm)),
            Stage::Queued => {
                if self.vm(vm).removed {
                    return Err(Refusal::invalid(format!(
                        "Create Instance to Snapshot failed because Instance: {vm} is not found"
                    )));
                }
                self.vm_snapshot_mut(no).state = VmSnapshotState::Creating;
                Ok(Flow::Wait(
                    Stage::Working,
                    self.settings.latencies.snapshot_ms,
                ))
            }
            Stage::Working => {
                let before = self
                    .vm_snapshots_of(vm)
                    .find(|no| self.vm_snapshot(*no).current);
                if let Some(before) = before {
                    self.vm_snapshot_mut(before).current = false;
                }
                let row = self.vm_snapshot_mut(no);
                row.parent = before;
                row.current = true;
                row.state = VmSnapshotState::Ready;
                Ok(Flow::Done(Outcome::VmSnapshot(no)))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    pub(super) fn run_delete_vm_snapshot(
        &mut self,
        no: VmSnapshotNo,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        let vm = self.vm_snapshot(no).vm;
        match stage {
            Stage::Submitted => {
                self.check_delete_vm_snapshot(no)?;
                Ok(Flow::Queue(vm))
            }
            Stage::Queued => {
                self.check_delete_vm_snapshot(no)?;
                self.vm_snapshot_mut(no).state = VmSnapshotState::Expunging;
                Ok(Flow::Wait(
                    Stage::Working,
                    self.settings.latencies.delete_ms,
                ))
            }
            Stage::Working => {
                self.remove_vm_snapshot(no);
                Ok(Flow::Done(Outcome::Success))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    fn check_delete_vm_snapshot(&self, no: VmSnapshotNo) -> Result<(), Refusal> {
        let row = self.vm_snapshot(no);
        match row.state {
            VmSnapshotState::Ready | VmSnapshotState::Error | VmSnapshotState::Expunging => {}
            VmSnapshotState::Removed => {
                return Err(Refusal::invalid(format!(
                    "Unable to find the Instance Snapshot with id {no}"
                )));
            }
            VmSnapshotState::Allocated | VmSnapshotState::Creating => {
                return Err(Refusal::invalid(format!(
                    "Can't delete the Instance Snapshotshot {} due to it is not in Created or \
                     Error, or Expunging State",
                    row.name
                )));
            }
        }
        if self
            .vm_snapshots_of(row.vm)
            .any(|other| other != no && self.is_active(other))
        {
            return Err(Refusal::invalid(
                "There is other active Instance Snapshot tasks on the Instance, please try again \
                 later",
            ));
        }
        Ok(())
    }

    /// The one before it takes its place (`DefaultVMSnapshotStrategy.finalizeDelete`).
    fn remove_vm_snapshot(&mut self, no: VmSnapshotNo) {
        let row = self.vm_snapshot_mut(no);
        row.state = VmSnapshotState::Removed;
        let (parent, current) = (row.parent.take(), std::mem::take(&mut row.current));
        for child in self.vm_snapshots.values_mut() {
            if child.parent == Some(no) {
                child.parent = parent;
            }
        }
        if let Some(parent) = parent
            && current
        {
            self.vm_snapshot_mut(parent).current = true;
        }
    }

    /// They go with their VM.
    pub(super) fn remove_vm_snapshots(&mut self, vm: VmNo) {
        let own: Vec<VmSnapshotNo> = self.vm_snapshots_of(vm).collect();
        for no in own {
            self.remove_vm_snapshot(no);
        }
    }
}
