//! What must always hold, whatever was called in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::account::Usage;
use super::event::Resource;
use super::job::{JobState, Stage};
use super::rows::{AccountNo, SnapshotState, VmSnapshotState, VmState, VolumeKind, VolumeState};
use super::work::Work;

impl World {
    /// Checks the world against its own rules.
    ///
    /// # Errors
    /// The first rule that does not hold, in words: a bug of the simulator.
    pub fn check(&self) -> Result<(), String> {
        self.check_volumes()?;
        self.check_vms()?;
        self.check_guests()?;
        self.check_snapshots()?;
        self.check_usages()?;
        self.check_vm_snapshots()?;
        self.check_orders()?;
        self.check_jobs()
    }

    fn check_volumes(&self) -> Result<(), String> {
        for (no, volume) in &self.volumes {
            let name = format!("volume {no}");
            ensure(self.volume_by_uuid.get(&volume.uuid) == Some(no), || {
                format!("{name} cannot be found by its id")
            })?;
            ensure(self.live_volumes.contains(no) != volume.removed, || {
                format!("{name} is listed wrongly as live or not")
            })?;
            ensure(
                volume.removed == (volume.state == VolumeState::Expunged),
                || format!("{name} is Expunged or removed, not both"),
            )?;
            ensure(
                self.destroyed.contains_key(no) == (volume.state == VolumeState::Destroy),
                || format!("{name} is Destroy or waits for the scavenger, not both"),
            )?;
            let busy = match volume.state {
                VolumeState::Creating
                | VolumeState::Attaching
                | VolumeState::Resizing
                | VolumeState::Snapshotting
                | VolumeState::RevertSnapshotting => true,
                VolumeState::Allocated
                | VolumeState::Ready
                | VolumeState::Destroy
                | VolumeState::Expunging
                | VolumeState::Expunged => false,
            };
            let worked_on = || {
                self.pending_jobs()
                    .any(|job| job.work.volume() == Some(*no))
            };
            ensure(!busy || worked_on(), || {
                format!("{name} is {} without a job", volume.state.as_str())
            })?;
            ensure(!volume.removed || volume.tags.is_empty(), || {
                format!("{name} is gone but has tags")
            })?;
            let mut keys = BTreeSet::new();
            for tag in &volume.tags {
                ensure(keys.insert(tag.key.to_lowercase()), || {
                    format!("{name} has two tags {}", tag.key)
                })?;
            }
            if let Some(link) = volume.attachment {
                ensure(!volume.removed, || format!("{name} is gone but attached"))?;
                ensure(self.vm(link.vm).disks.get(&link.device) == Some(no), || {
                    format!("{name} is attached where the VM does not have it")
                })?;
                ensure(
                    (volume.kind == VolumeKind::Root) == (link.device == 0),
                    || format!("{name} is {:?} at device {}", volume.kind, link.device),
                )?;
            }
        }
        Ok(())
    }

    fn check_usages(&self) -> Result<(), String> {
        let mut usages: BTreeMap<AccountNo, Usage> = BTreeMap::new();
        for volume in self.volumes.values().filter(|volume| !volume.removed) {
            let usage = usages.entry(volume.account).or_default();
            usage.volumes += 1;
            usage.bytes += volume.size;
        }
        for no in self.accounts.keys() {
            let has = usages.get(no).copied().unwrap_or_default();
            ensure(self.usage(*no) == has, || {
                format!(
                    "account {no} has {has:?} but counts as {:?}",
                    self.usage(*no)
                )
            })?;
        }
        Ok(())
    }

    fn check_snapshots(&self) -> Result<(), String> {
        for (no, snapshot) in &self.snapshots {
            let name = format!("snapshot {no}");
            ensure(self.volumes.contains_key(&snapshot.volume), || {
                format!("{name} is of a volume that never was")
            })?;
            ensure(
                snapshot.removed == (snapshot.state == SnapshotState::Destroyed),
                || format!("{name} is Destroyed or removed, not both"),
            )?;
            let busy = match snapshot.state {
                SnapshotState::Creating
                | SnapshotState::CreatedOnPrimary
                | SnapshotState::BackingUp => true,
                // A row without a job is left where `customjobid` is taken.
                SnapshotState::Allocated
                | SnapshotState::BackedUp
                | SnapshotState::Error
                | SnapshotState::Destroyed => false,
            };
            let worked_on = || {
                self.pending_jobs()
                    .any(|job| job.work.about() == Some(Resource::Snapshot(*no)))
            };
            ensure(!busy || worked_on(), || {
                format!("{name} is {} without a job", snapshot.state.as_str())
            })?;
        }
        Ok(())
    }

    fn check_vm_snapshots(&self) -> Result<(), String> {
        for (no, snapshot) in &self.vm_snapshots {
            let name = format!("VM snapshot {no}");
            let (busy, there) = match snapshot.state {
                VmSnapshotState::Creating => (true, true),
                // A delete that failed leaves it Expunging.
                VmSnapshotState::Allocated
                | VmSnapshotState::Ready
                | VmSnapshotState::Expunging
                | VmSnapshotState::Error => (false, true),
                VmSnapshotState::Removed => (false, false),
            };
            ensure(!there || !self.vm(snapshot.vm).removed, || {
                format!("{name} is left of a VM that is gone")
            })?;
            ensure(
                there || (!snapshot.current && snapshot.parent.is_none()),
                || format!("{name} is gone but still in the line of its VM"),
            )?;
            let worked_on = || {
                let work = Work::CreateVmSnapshot { snapshot: *no };
                self.pending_jobs().any(|job| job.work == work)
            };
            ensure(!busy || worked_on(), || {
                format!("{name} is Creating without a job")
            })?;
        }
        for vm in self.vms.keys() {
            let current = self
                .vm_snapshots
                .values()
                .filter(|row| row.vm == *vm && row.current)
                .count();
            ensure(current <= 1, || {
                format!("vm {vm} has {current} current snapshots")
            })?;
        }
        Ok(())
    }

    fn check_vms(&self) -> Result<(), String> {
        for (no, vm) in &self.vms {
            let name = format!("vm {no}");
            for (device, volume) in &vm.disks {
                ensure(
                    self.volume(*volume)
                        .attachment
                        .is_some_and(|link| link.vm == *no && link.device == *device),
                    || format!("{name} has volume {volume}, which is not attached to it"),
                )?;
                ensure(
                    *device != 3 && *device <= self.settings.max_data_disks + 1,
                    || format!("{name} has a disk at device {device}"),
                )?;
            }
            ensure(
                !vm.removed || (vm.disks.is_empty() && vm.tags.is_empty()),
                || format!("{name} is gone but has disks or tags"),
            )?;
            let runs = match vm.state {
                VmState::Running | VmState::Migrating | VmState::Stopping => true,
                VmState::Starting | VmState::Stopped | VmState::Destroyed | VmState::Expunging => {
                    false
                }
            };
            ensure(self.vm_by_uuid.get(&vm.uuid) == Some(no), || {
                format!("{name} cannot be found by its id")
            })?;
            ensure(runs == vm.guest.is_some(), || {
                format!("{name} is {} with the wrong guest", vm.state.as_str())
            })?;
        }
        Ok(())
    }

    fn check_guests(&self) -> Result<(), String> {
        let mut plugged = 0;
        let mut sequences = BTreeSet::new();
        for (no, vm) in &self.vms {
            let disks = vm.guest.as_ref().map_or(&[][..], |guest| guest.disks());
            let (mut slots, mut indexes) = (BTreeSet::new(), BTreeSet::new());
            for disk in disks {
                plugged += 1;
                ensure(
                    slots.insert(disk.slot)
                        && indexes.insert(disk.name())
                        && sequences.insert(disk.diskseq),
                    || format!("the guest of vm {no} has two disks in one place"),
                )?;
                ensure(self.plugged_in(disk.volume) == Some(*no), || {
                    format!("volume {} is plugged in elsewhere too", disk.volume)
                })?;
                ensure(
                    self.volume(disk.volume).state != VolumeState::Allocated,
                    || format!("volume {} is plugged in but not on storage", disk.volume),
                )?;
            }
        }
        ensure(plugged == self.plugged.len(), || {
            "a volume counts as plugged that no guest has".to_owned()
        })
    }

    fn check_jobs(&self) -> Result<(), String> {
        for (no, job) in &self.jobs {
            let pending = matches!(job.state, JobState::Pending);
            ensure(pending == self.pending.contains(no), || {
                format!("job {no} is listed wrongly as pending or not")
            })?;
            if let Some(Resource::Volume(volume)) = job.work.about() {
                ensure(pending == self.pending_on.contains(&(volume, *no)), || {
                    format!("job {no} is listed wrongly on volume {volume}")
                })?;
            }
        }
        let ended = self.jobs.len() - self.pending.len();
        ensure(ended == self.ended.len(), || {
            "a job that ended is not remembered, or one that is purged is".to_owned()
        })?;
        for (vm, queue) in &self.queues {
            for (place, no) in queue.iter().enumerate() {
                ensure(self.pending.contains(no), || {
                    format!("job {no} ended but still stands in the queue of vm {vm}")
                })?;
                ensure(place == 0 || self.job(*no).stage() == Stage::Queued, || {
                    format!("job {no} runs out of turn on vm {vm}")
                })?;
            }
        }
        Ok(())
    }
}

fn ensure(holds: bool, rule: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule()) }
}
