//! Snapshots (`SnapshotManagerImpl.java`, `DefaultSnapshotStrategy.java`): taken on primary storage
//! while the volume is Snapshotting, then copied to secondary storage while it is Ready again.

use crate::sim::refusal::Refusal;

use super::World;
use super::attach::unreachable_stage;
use super::job::{Flow, Outcome, Stage};
use super::rows::{Snapshot, SnapshotNo, SnapshotState, Tag, VmState, VolumeNo, VolumeState};

impl World {
    /// Makes the row of a new snapshot, as `createSnapshot` does before it answers.
    ///
    /// # Errors
    /// Whatever `allocSnapshot` refuses: above all, a volume that is not Ready.
    pub fn create_snapshot(
        &mut self,
        volume: VolumeNo,
        name: Option<&str>,
        tags: Vec<Tag>,
    ) -> Result<SnapshotNo, Refusal> {
        let row = self.volume(volume);
        if row.removed {
            return Err(Refusal::invalid(format!(
                "Creating snapshot failed due to volume:{volume} doesn't exist"
            )));
        }
        if row.state != VolumeState::Ready {
            return Err(Refusal::invalid(format!(
                "VolumeId: {volume} is not in Ready state but {}. Cannot take snapshot.",
                row.state.as_str()
            )));
        }
        // Its owner is that of the volume, whoever asks for it.
        let (size, volume_name, account) = (row.size, row.name.clone(), row.account);
        let no = SnapshotNo(self.row());
        let name = match name {
            Some(name) if !name.is_empty() => name.to_owned(),
            Some(_) | None => format!("{volume_name}_{no}"),
        };
        let snapshot = Snapshot {
            uuid: self.uuid(),
            name,
            volume,
            account,
            size,
            tags,
            state: SnapshotState::Allocated,
            created: self.now,
            removed: false,
        };
        self.snapshots.insert(no, snapshot);
        Ok(no)
    }

    /// All snapshots, newest first, removed ones too.
    pub fn snapshots(&self) -> impl Iterator<Item = (SnapshotNo, &Snapshot)> {
        self.snapshots.iter().rev().map(|(no, row)| (*no, row))
    }

    /// A snapshot, perhaps a removed one.
    pub fn snapshot(&self, no: SnapshotNo) -> &Snapshot {
        self.snapshots.get(&no).expect("rows of snapshots stay")
    }

    pub(super) fn snapshot_mut(&mut self, no: SnapshotNo) -> &mut Snapshot {
        self.snapshots.get_mut(&no).expect("rows of snapshots stay")
    }

    /// Whether a snapshot of the volume is on its way: until it is backed up, the volume can be
    /// neither deleted nor resized (`SnapshotManagerImpl.canOperateOnVolume`). A row that never
    /// got a job does not count.
    pub(super) fn is_being_snapshotted(&self, volume: VolumeNo) -> bool {
        self.snapshots.values().any(|row| {
            row.volume == volume
                && match row.state {
                    SnapshotState::Creating
                    | SnapshotState::CreatedOnPrimary
                    | SnapshotState::BackingUp => true,
                    SnapshotState::Allocated
                    | SnapshotState::BackedUp
                    | SnapshotState::Error
                    | SnapshotState::Destroyed => false,
                }
        })
    }

    pub(super) fn snapshot_failed(&mut self, snapshot: SnapshotNo) {
        self.snapshot_mut(snapshot).state = SnapshotState::Error;
    }

    pub(super) fn run_create_snapshot(
        &mut self,
        snapshot: SnapshotNo,
        volume: VolumeNo,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        let millis = self.settings.latencies.snapshot_ms;
        match stage {
            // In the queue of the VM it is attached to, like everything that talks to its host.
            Stage::Submitted => Ok(match self.volume(volume).attachment {
                Some(link) => Flow::Queue(link.vm),
                None => Flow::Begin,
            }),
            Stage::Queued => {
                let row = self.volume_mut(volume);
                if row.state != VolumeState::Ready {
                    let state = row.state.as_str();
                    self.snapshot_failed(snapshot);
                    return Err(Refusal::runtime(format!(
                        "Volume is in {state} state, snapshot failed"
                    )));
                }
                row.state = VolumeState::Snapshotting;
                self.snapshot_mut(snapshot).state = SnapshotState::Creating;
                Ok(Flow::Wait(Stage::Working, millis))
            }
            Stage::Working => {
                self.snapshot_mut(snapshot).state = SnapshotState::CreatedOnPrimary;
                let row = self.volume_mut(volume);
                // Somebody may have taken it away meanwhile.
                if row.state == VolumeState::Snapshotting {
                    row.state = VolumeState::Ready;
                }
                Ok(Flow::Wait(Stage::Provisioning, 0))
            }
            Stage::Provisioning => {
                self.snapshot_mut(snapshot).state = SnapshotState::BackingUp;
                Ok(Flow::Wait(Stage::Settling, millis))
            }
            Stage::Settling => {
                self.snapshot_mut(snapshot).state = SnapshotState::BackedUp;
                Ok(Flow::Done(Outcome::Snapshot(snapshot)))
            }
            Stage::Plugging { .. } | Stage::Unplugging { .. } => unreachable_stage(stage),
        }
    }

    pub(super) fn run_delete_snapshot(
        &mut self,
        snapshot: SnapshotNo,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                let row = self.snapshot(snapshot);
                if row.removed {
                    return Err(Refusal::invalid(format!(
                        "unable to find a snapshot with id {snapshot}"
                    )));
                }
                match row.state {
                    SnapshotState::BackedUp | SnapshotState::Error => Ok(Flow::Begin),
                    SnapshotState::Allocated
                    | SnapshotState::Creating
                    | SnapshotState::CreatedOnPrimary
                    | SnapshotState::BackingUp
                    | SnapshotState::Destroyed => Err(Refusal::invalid(format!(
                        "Can't delete snapshot {snapshot} due to it is in {} Status",
                        row.state.as_str()
                    ))),
                }
            }
            Stage::Queued => Ok(Flow::Wait(
                Stage::Working,
                self.settings.latencies.delete_ms,
            )),
            Stage::Working => {
                let row = self.snapshot_mut(snapshot);
                row.state = SnapshotState::Destroyed;
                row.removed = true;
                row.tags.clear();
                Ok(Flow::Done(Outcome::Success))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    /// Only for a volume whose VM does not run (`SnapshotManagerImpl.revertSnapshot`).
    pub(super) fn run_revert_snapshot(
        &mut self,
        volume: VolumeNo,
        snapshot: SnapshotNo,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                self.check_revert(volume, snapshot)?;
                Ok(Flow::Begin)
            }
            Stage::Queued => {
                self.check_revert(volume, snapshot)?;
                self.volume_mut(volume).state = VolumeState::RevertSnapshotting;
                Ok(Flow::Wait(
                    Stage::Working,
                    self.settings.latencies.snapshot_ms,
                ))
            }
            Stage::Working => {
                let size = self.snapshot(snapshot).size;
                let row = self.volume_mut(volume);
                if row.state == VolumeState::RevertSnapshotting {
                    row.state = VolumeState::Ready;
                    self.set_size(volume, size);
                }
                Ok(Flow::Done(Outcome::Success))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    fn check_revert(&self, volume: VolumeNo, snapshot: SnapshotNo) -> Result<(), Refusal> {
        let (row, taken) = (self.volume(volume), self.snapshot(snapshot));
        if taken.removed || taken.state != SnapshotState::BackedUp {
            return Err(Refusal::invalid(format!(
                "Snapshot id={snapshot} is not in BackedUp state"
            )));
        }
        let vm_runs = row
            .attachment
            .is_some_and(|link| self.vm(link.vm).state != VmState::Stopped);
        if vm_runs {
            return Err(Refusal::invalid(
                "The VM the specified disk is attached to is not in the shutdown state.",
            ));
        }
        if row.state != VolumeState::Ready {
            return Err(Refusal::invalid(format!(
                "The volume is not in Ready state but {}",
                row.state.as_str()
            )));
        }
        Ok(())
    }
}
