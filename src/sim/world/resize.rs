//! Resizing (`VolumeApiServiceImpl.java`: `resizeVolume`, `orchestrateResizeVolume`). Volumes
//! are QCOW2 files on KVM.

use crate::sim::refusal::Refusal;

use super::World;
use super::attach::unreachable_stage;
use super::job::{Flow, Stage};
use super::order::Change;
use super::rows::{OfferingNo, VolumeNo, VolumeState};
use super::volume::{check_custom_size, check_size};
use super::work::Work;

impl World {
    pub(super) fn run_resize(&mut self, work: &Work, stage: Stage) -> Result<Flow, Refusal> {
        let Work::Resize {
            volume,
            size_gib,
            offering,
            shrink_ok,
        } = *work
        else {
            return unreachable_stage(stage);
        };
        match stage {
            Stage::Submitted => {
                self.check_resizable(volume)?;
                let size = self.target_size(volume, size_gib, offering, shrink_ok)?;
                let row = self.volume(volume);
                self.check_limits(row.account, (0, size.saturating_sub(row.size)))?;
                match row.attachment {
                    Some(link) if row.state == VolumeState::Ready => Ok(Flow::Queue(link.vm)),
                    Some(_) | None => Ok(Flow::Begin),
                }
            }
            Stage::Queued => self.begin_resize(volume),
            Stage::Working => {
                if self.volume(volume).removed {
                    return Err(self.resize_failed(volume, "the volume is gone"));
                }
                let size = self.target_size(volume, size_gib, offering, shrink_ok)?;
                // The agent takes shrinkok for a shrink
                // (`LibvirtResizeVolumeCommandWrapper.java`).
                let row = self.volume(volume);
                if shrink_ok && size > row.size && row.state == VolumeState::Resizing {
                    return Err(
                        self.resize_failed(volume, "Unable to shrink volumes of type QCOW2")
                    );
                }
                if let Some(vm) = self.plugged_in(volume)
                    && row.state == VolumeState::Resizing
                    && row.size != size
                    && self.must_ask()
                {
                    return Ok(Flow::Ask(vm, Change::Resize { volume, size }));
                }
                self.set_size(volume, size);
                let row = self.volume_mut(volume);
                row.offering = offering.or(row.offering);
                if row.state == VolumeState::Resizing {
                    row.state = VolumeState::Ready;
                    self.resize_plugged(volume, size);
                }
                Ok(Flow::Done(self.volume_outcome(volume)))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    fn check_resizable(&self, volume: VolumeNo) -> Result<(), Refusal> {
        let row = self.volume(volume);
        if row.removed {
            return Err(Refusal::invalid("No such volume"));
        }
        // Before its state is looked at.
        if self.is_being_snapshotted(volume) {
            return Err(Refusal::runtime(
                "There is/are unbacked up snapshot(s) on this volume, resize volume is not \
                 permitted, please try again later.",
            ));
        }
        if row
            .attachment
            .is_some_and(|link| self.has_memory_snapshots(link.vm))
        {
            return Err(Refusal::invalid(
                "A volume attached to a VM with memory snapshots cannot be resized",
            ));
        }
        match row.state {
            VolumeState::Ready | VolumeState::Allocated => Ok(()),
            VolumeState::Creating
            | VolumeState::Attaching
            | VolumeState::Resizing
            | VolumeState::Snapshotting
            | VolumeState::RevertSnapshotting
            | VolumeState::Destroy
            | VolumeState::Expunging
            | VolumeState::Expunged => Err(Refusal::invalid(format!(
                "Volume should be in ready or allocated state before attempting a resize. Volume \
                 {} is in state {}.",
                row.uuid,
                row.state.as_str()
            ))),
        }
    }

    fn target_size(
        &self,
        volume: VolumeNo,
        size_gib: Option<i64>,
        offering: Option<OfferingNo>,
        shrink_ok: bool,
    ) -> Result<u64, Refusal> {
        let row = self.volume(volume);
        let strict = row.offering.is_some_and(|no| self.offering(no).strict);
        if strict && offering.is_none() && size_gib.is_some() {
            return Err(Refusal::invalid(format!(
                "Resize of volume {} is not allowed, since disk size is strictly fixed as per the \
                 disk offering.",
                row.uuid
            )));
        }
        let new = offering.map(|no| self.offering(no).size);
        let size = match (new, size_gib) {
            // The same offering: a size is taken from non-custom ones too.
            (None, None) => row.size,
            (None, Some(gib)) => {
                let custom = row
                    .offering
                    .is_some_and(|no| self.offering(no).size.is_none());
                if custom {
                    check_custom_size(gib)?;
                }
                check_size(gib)?
            }
            // A new fixed offering dictates the size; a size given with it is ignored.
            (Some(Some(fixed)), _) => fixed,
            (Some(None), None) => {
                return Err(Refusal::invalid(
                    "The new disk offering requires that a size be specified.",
                ));
            }
            (Some(None), Some(gib)) => {
                check_custom_size(gib)?;
                check_size(gib)?
            }
        };
        if size < row.size {
            if row.state != VolumeState::Allocated {
                return Err(Refusal::invalid("Unable to shrink volumes of type QCOW2"));
            }
            if !shrink_ok {
                return Err(Refusal::invalid(format!(
                    "Going from existing size of {} to size of {size} would shrink the \
                     volume.Need to sign off by supplying the shrinkok parameter with value of \
                     true.",
                    row.size
                )));
            }
        }
        Ok(size)
    }

    fn begin_resize(&mut self, volume: VolumeNo) -> Result<Flow, Refusal> {
        match self.volume(volume).state {
            // A row only: no storage is asked.
            VolumeState::Allocated => Ok(Flow::Wait(Stage::Working, 0)),
            VolumeState::Ready => {
                self.volume_mut(volume).state = VolumeState::Resizing;
                Ok(Flow::Wait(
                    Stage::Working,
                    self.settings.latencies.resize_ms,
                ))
            }
            VolumeState::Creating
            | VolumeState::Attaching
            | VolumeState::Resizing
            | VolumeState::Snapshotting
            | VolumeState::RevertSnapshotting
            | VolumeState::Destroy
            | VolumeState::Expunging
            | VolumeState::Expunged => {
                Err(self.resize_failed(volume, "Unable to transition to a new state"))
            }
        }
    }

    pub(super) fn resize_failed(&self, volume: VolumeNo, why: &str) -> Refusal {
        Refusal::runtime(format!(
            "Failed to resize volume operation of volume UUID: [{}] due to - {why}",
            self.volume(volume).uuid
        ))
    }
}
