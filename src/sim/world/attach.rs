//! Attaching and detaching (`VolumeApiServiceImpl.java`: `attachVolumeToVM`,
//! `orchestrateAttachVolumeToVM`, `sendAttachVolumeCommand`, `detachVolumeFromVM`,
//! `orchestrateDetachVolumeFromVM`).

use crate::sim::refusal::Refusal;

use super::World;
use super::job::{Flow, Stage};
use super::order::Change;
use super::rows::{Attachment, JobNo, VmNo, VmState, VolumeKind, VolumeNo, VolumeState};

/// The device id of the root disk.
const ROOT_DEVICE: u32 = 0;
/// The device id of the CD-ROM.
const CDROM_DEVICE: u32 = 3;

impl World {
    pub(super) fn run_attach(
        &mut self,
        volume: VolumeNo,
        vm: VmNo,
        device: Option<i64>,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                self.check_attach(volume, vm, device)?;
                Ok(Flow::Queue(vm))
            }
            Stage::Queued => self.begin_attach(volume, vm, device),
            Stage::Provisioning => {
                let row = self.volume_mut(volume);
                if row.state == VolumeState::Creating {
                    row.state = VolumeState::Ready;
                }
                self.begin_plugging(volume, vm, device)
            }
            Stage::Plugging {
                running,
                device: chosen,
            } => self.link(volume, vm, device, (running, chosen)),
            Stage::Settling => {
                let row = self.volume_mut(volume);
                if row.state == VolumeState::Attaching {
                    row.state = VolumeState::Ready;
                }
                Ok(Flow::Done(self.volume_outcome(volume)))
            }
            Stage::Unplugging { .. } | Stage::Working => unreachable_stage(stage),
        }
    }

    fn check_attach(&self, volume: VolumeNo, vm: VmNo, device: Option<i64>) -> Result<(), Refusal> {
        let row = self.volume(volume);
        if row.removed {
            return Err(Refusal::invalid(
                "Please specify a volume with the valid type: ROOT or DATADISK",
            ));
        }
        if row.attachment.is_some() {
            return Err(Refusal::invalid(
                "Please specify a volume that is not attached to any VM.",
            ));
        }
        match row.state {
            VolumeState::Allocated | VolumeState::Ready => {}
            VolumeState::Destroy => {
                return Err(Refusal::invalid(
                    "Please specify a volume that is not destroyed.",
                ));
            }
            VolumeState::Creating
            | VolumeState::Attaching
            | VolumeState::Resizing
            | VolumeState::Snapshotting
            | VolumeState::RevertSnapshotting
            | VolumeState::Expunging
            | VolumeState::Expunged => {
                return Err(Refusal::invalid(
                    "Volume state must be in Allocated, Ready or in Uploaded state",
                ));
            }
        }
        let target = self.vm(vm);
        if target.removed {
            return Err(Refusal::invalid("Please specify a valid User VM."));
        }
        match target.state {
            VmState::Running | VmState::Stopped => {}
            VmState::Starting
            | VmState::Migrating
            | VmState::Stopping
            | VmState::Destroyed
            | VmState::Expunging => {
                return Err(Refusal::invalid(
                    "Please specify a VM that is either running or stopped.",
                ));
            }
        }
        if target.zone != row.zone {
            return Err(Refusal::invalid(
                "Please specify a VM that is in the same zone as the volume.",
            ));
        }
        self.check_device(vm, device)?;
        if self.has_vm_snapshots(vm) {
            return Err(Refusal::invalid(
                "Unable to attach volume, please specify a VM that does not have VM snapshots",
            ));
        }
        if target.account != row.account {
            return Err(Refusal::denied(
                "Volume and VM do not belong to the same account",
            ));
        }
        Ok(())
    }

    fn check_device(&self, vm: VmNo, device: Option<i64>) -> Result<(), Refusal> {
        let target = self.vm(vm);
        if device == Some(i64::from(ROOT_DEVICE)) {
            check_root_change(target.state)?;
            if target.disks.contains_key(&ROOT_DEVICE) {
                return Err(Refusal::invalid(
                    "Vm already has root volume attached to it",
                ));
            }
            return Ok(());
        }
        let data_disks = target.disks.range(ROOT_DEVICE + 1..).count();
        let most = self.settings.max_data_disks;
        if u32::try_from(data_disks).is_ok_and(|count| count >= most) {
            return Err(Refusal::invalid(format!(
                "The specified VM already has the maximum number of data disks ({most}) attached. \
                 Please specify another VM."
            )));
        }
        Ok(())
    }

    fn begin_attach(
        &mut self,
        volume: VolumeNo,
        vm: VmNo,
        device: Option<i64>,
    ) -> Result<Flow, Refusal> {
        if self.volume(volume).attachment.is_some() {
            return Err(Refusal::runtime("This volume is already attached to a VM."));
        }
        if self.vm(vm).removed {
            return Err(Refusal::runtime("VM not found."));
        }
        // On the storage of the VM's other volumes; a VM that never ran has none there yet.
        if self.volume(volume).state == VolumeState::Allocated && self.vm(vm).started_once {
            self.volume_mut(volume).state = VolumeState::Creating;
            return Ok(Flow::Wait(
                Stage::Provisioning,
                self.settings.latencies.provision_ms,
            ));
        }
        self.begin_plugging(volume, vm, device)
    }

    /// `checkAndSetAttaching`, then the command to the agent, for which alone the device id is
    /// chosen beforehand.
    fn begin_plugging(
        &mut self,
        volume: VolumeNo,
        vm: VmNo,
        device: Option<i64>,
    ) -> Result<Flow, Refusal> {
        let row = self.volume(volume);
        let name = row.name.clone();
        if row.attachment.is_some() {
            return Err(Refusal::runtime(format!(
                "volume: {name} is already attached to a VM"
            )));
        }
        let running = self.vm(vm).state == VmState::Running;
        let chosen = |world: &Self| match running {
            true => world.choose_device(vm, device).map(Some),
            false => Ok(None),
        };
        let chosen = match row.state {
            VolumeState::Allocated => chosen(self)?,
            VolumeState::Ready => {
                let chosen = chosen(self)?;
                self.volume_mut(volume).state = VolumeState::Attaching;
                chosen
            }
            VolumeState::Creating
            | VolumeState::Attaching
            | VolumeState::Resizing
            | VolumeState::Snapshotting
            | VolumeState::RevertSnapshotting
            | VolumeState::Destroy
            | VolumeState::Expunging
            | VolumeState::Expunged => {
                return Err(Refusal::runtime(format!(
                    "Volume: {name} is in {}. It should be in Ready or Allocated state",
                    row.state.as_str()
                )));
            }
        };
        let millis = if running {
            self.settings.latencies.attach_ms
        } else {
            0
        };
        Ok(Flow::Wait(
            Stage::Plugging {
                running,
                device: chosen,
            },
            millis,
        ))
    }

    fn link(
        &mut self,
        volume: VolumeNo,
        vm: VmNo,
        wanted: Option<i64>,
        (running, chosen): (bool, Option<u32>),
    ) -> Result<Flow, Refusal> {
        let row = self.volume(volume);
        if row.removed || row.attachment.is_some() {
            return Err(Refusal::runtime(format!(
                "Failed to attach volume {} to VM {}; the volume was changed meanwhile",
                row.name,
                self.vm(vm).name
            )));
        }
        let device = match chosen {
            Some(device) => self.choose_device(vm, Some(i64::from(device)))?,
            None => self.choose_device(vm, wanted)?,
        };
        if running {
            self.check_plug(vm, volume)
                .map_err(|agent| self.not_plugged(vm, volume, &agent.text))?;
            if self.must_ask() {
                return Ok(Flow::Ask(vm, Change::Plug { volume, device }));
            }
            self.plug(vm, volume)?;
        }
        self.set_link(volume, vm, device);
        let settle = if self.volume(volume).state == VolumeState::Attaching {
            self.settings.latencies.settle_ms
        } else {
            0
        };
        Ok(Flow::Wait(Stage::Settling, settle))
    }

    /// As `VolumeApiServiceImpl.java` passes on what the agent says.
    pub(super) fn not_plugged(&self, vm: VmNo, volume: VolumeNo, agent: &str) -> Refusal {
        Refusal::runtime(format!(
            "Failed to attach volume {} to VM {}; {agent}",
            self.volume(volume).name,
            self.vm(vm).name,
        ))
    }

    /// Writes the link: device id 0 makes the volume ROOT.
    pub(super) fn set_link(&mut self, volume: VolumeNo, vm: VmNo, device: u32) {
        let since = self.now;
        let row = self.volume_mut(volume);
        row.attachment = Some(Attachment { vm, device, since });
        row.kind = if device == ROOT_DEVICE {
            VolumeKind::Root
        } else {
            VolumeKind::Data
        };
        self.vm_mut(vm).disks.insert(device, volume);
    }

    /// Clears whatever link there is: a ROOT volume becomes DATADISK.
    pub(super) fn clear_link(&mut self, volume: VolumeNo) {
        let row = self.volume_mut(volume);
        row.kind = VolumeKind::Data;
        if let Some(link) = row.attachment.take() {
            self.vm_mut(link.vm).disks.remove(&link.device);
        }
    }

    /// `getDeviceId`: the smallest free one of 1, 2, 4 …, or the wanted one if it is free.
    pub(super) fn choose_device(&self, vm: VmNo, wanted: Option<i64>) -> Result<u32, Refusal> {
        let used = &self.vm(vm).disks;
        // One more for the root disk, one more for the CD-ROM.
        let highest = self.settings.max_data_disks + 1;
        let Some(wanted) = wanted else {
            return (ROOT_DEVICE + 1..=highest)
                .find(|device| *device != CDROM_DEVICE && !used.contains_key(device))
                .ok_or_else(|| Refusal::runtime(format!("All device Ids are used by vm {vm}")));
        };
        let device = u32::try_from(wanted)
            .ok()
            .filter(|device| *device <= highest && *device != CDROM_DEVICE)
            .ok_or_else(|| Refusal::runtime(format!("deviceId should be 0,1,2,4-{highest}")))?;
        match used.get(&device) {
            None => Ok(device),
            Some(other) => Err(Refusal::runtime(format!(
                "deviceId {device} is used by vol {} on vm {}",
                self.volume(*other).uuid,
                self.vm(vm).uuid
            ))),
        }
    }

    pub(super) fn run_detach(
        &mut self,
        no: JobNo,
        volume: Option<VolumeNo>,
        vm: Option<VmNo>,
        device: Option<i64>,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        let (volume, vm) = match (stage, volume, vm) {
            (Stage::Submitted, ..) => {
                let vm = self.check_detach(volume, vm, device)?;
                self.detach_from(no, vm);
                return Ok(Flow::Queue(vm));
            }
            (_, Some(volume), Some(vm)) => (volume, vm),
            (_, _, _) => {
                // The tuple form hands a null volume id to the worker.
                return Err(Refusal::runtime("java.lang.NullPointerException"));
            }
        };
        match stage {
            Stage::Queued => {
                if self.volume(volume).removed || self.vm(vm).removed {
                    return Err(Refusal::runtime("java.lang.NullPointerException"));
                }
                let running = self.vm(vm).state == VmState::Running
                    && self.volume(volume).state != VolumeState::Allocated;
                let latencies = &self.settings.latencies;
                let millis = match (running, self.keeps(vm, volume)) {
                    (false, _) => 0,
                    (true, false) => latencies.detach_ms,
                    (true, true) => latencies.detach_wait_ms,
                };
                Ok(Flow::Wait(Stage::Unplugging { running }, millis))
            }
            Stage::Unplugging { running } => {
                if running && self.keeps(vm, volume) {
                    let wait = self.settings.latencies.detach_wait_ms;
                    return Err(self.not_released(vm, volume, wait));
                }
                if running {
                    if self.must_ask() && self.plugged_in(volume) == Some(vm) {
                        return Ok(Flow::Ask(vm, Change::Unplug { volume }));
                    }
                    self.unplug(vm, volume);
                }
                // Whatever link there is by now is cleared, also one to another VM
                // (apache/cloudstack#14214).
                self.clear_link(volume);
                Ok(Flow::Done(self.volume_outcome(volume)))
            }
            Stage::Submitted
            | Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Settling
            | Stage::Working => unreachable_stage(stage),
        }
    }

    /// Whether the guest has the disk and will not let it go. What is not there needs no
    /// acknowledgement.
    fn keeps(&self, vm: VmNo, volume: VolumeNo) -> bool {
        self.vm(vm).ignores_unplug && self.plugged_in(volume) == Some(vm)
    }

    /// `KVMStorageProcessor.java`, `attachOrDetachDevice`, as `VolumeApiServiceImpl.java` passes
    /// it on, after so many milliseconds. Database and guest stay as they are.
    pub(super) fn not_released(&self, vm: VmNo, volume: VolumeNo, waited_ms: u64) -> Refusal {
        Refusal::runtime(format!(
            "Failed to detach volume {} from VM {}; \
             com.cloud.exception.InternalErrorException: Could not detach volume after sending \
             the command and waiting for [{waited_ms}] milliseconds. Probably the VM does not support the \
             sent detach command or the device is busy at the moment. Try again in a couple of \
             minutes.",
            self.volume(volume).name,
            self.vm(vm).name,
        ))
    }

    fn check_detach(
        &self,
        volume: Option<VolumeNo>,
        vm: Option<VmNo>,
        device: Option<i64>,
    ) -> Result<VmNo, Refusal> {
        let (volume, vm) = match (volume, vm, device) {
            (Some(volume), None, None) => (volume, self.volume(volume).attachment.map(|at| at.vm)),
            (None, Some(vm), Some(device)) => {
                let at = u32::try_from(device)
                    .ok()
                    .and_then(|device| self.vm(vm).disks.get(&device));
                match at {
                    Some(volume) => (*volume, Some(vm)),
                    None => return Err(Refusal::runtime("Index: 0, Size: 0")),
                }
            }
            (None, None, _)
            | (_, None, Some(_))
            | (Some(_), Some(_), _)
            | (None, Some(_), None) => {
                return Err(Refusal::invalid(
                    "Please provide either a volume id, or a tuple(device id, instance id)",
                ));
            }
        };
        let row = self.volume(volume);
        if row.removed {
            return Err(Refusal::invalid(format!(
                "Unable to find volume with ID: {volume}"
            )));
        }
        let Some(vm) = vm else {
            return Err(Refusal::invalid(
                "The specified volume is not attached to a VM.",
            ));
        };
        let state = self.vm(vm).state;
        match state {
            VmState::Running | VmState::Stopped | VmState::Destroyed => {}
            VmState::Starting | VmState::Migrating | VmState::Stopping | VmState::Expunging => {
                return Err(Refusal::invalid(
                    "Please specify a VM that is either running or stopped.",
                ));
            }
        }
        if row.kind == VolumeKind::Root {
            check_root_change(state)?;
        }
        if self.has_vm_snapshots(vm) {
            return Err(Refusal::invalid(
                "Unable to detach volume, please specify a VM that does not have VM snapshots",
            ));
        }
        Ok(vm)
    }
}

/// `validateRootVolumeDetachAttach`. The text names Destroyed, but the check only lets Stopped
/// through.
fn check_root_change(state: VmState) -> Result<(), Refusal> {
    if state == VmState::Stopped {
        Ok(())
    } else {
        Err(Refusal::invalid(
            "Root volume detach can happen only when vm is in states: Stopped or Destroyed",
        ))
    }
}

/// A stage that this kind of work never waits for: a bug of the simulator, told as an error.
pub(super) fn unreachable_stage(stage: Stage) -> Result<Flow, Refusal> {
    Err(Refusal::runtime(format!(
        "the simulator lost its way at {stage:?}"
    )))
}
