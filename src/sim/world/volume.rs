//! Creating, deleting, recovering and renaming volumes (`VolumeApiServiceImpl.java`:
//! `allocVolume`, `destroyVolume`, `recoverVolume`, `updateVolume`).

use uuid::Uuid;

use crate::sim::refusal::Refusal;

use super::World;
use super::attach::unreachable_stage;
use super::custom::{Taken, custom_id};
use super::job::{Event, Flow, Stage, Trouble};
use super::rows::{
    AccountNo, GIB, OfferingNo, SnapshotNo, SnapshotState, VmNo, Volume, VolumeKind, VolumeNo,
    VolumeState, ZoneNo,
};

/// `custom.diskoffering.size.min` and `.max` in GiB (`VolumeOrchestrationService.java`).
pub(in crate::sim) const CUSTOM_SIZE_GIB: std::ops::RangeInclusive<i64> = 1..=1024;

/// `storage.max.volume.size` in GiB (`VolumeOrchestrationService.java`).
const MAX_SIZE_GIB: u64 = 2000;

/// What `createVolume` is told, unchecked.
#[derive(Debug, Clone, Default)]
pub struct NewVolume {
    /// Whose it is to be; the caller's if absent.
    pub owner: Option<AccountNo>,
    /// Its name; a random one if blank.
    pub name: Option<String>,
    /// Where.
    pub zone: Option<ZoneNo>,
    /// From what.
    pub offering: Option<OfferingNo>,
    /// The size in GiB, for an offering without one.
    pub size_gib: Option<i64>,
    /// A snapshot to make it from, instead of an offering.
    pub snapshot: Option<SnapshotNo>,
    /// `customid`: the id it is to have.
    pub custom_id: Option<String>,
}

impl World {
    /// Makes the row of a new volume, as `createVolume` does before it answers.
    ///
    /// # Errors
    /// Whatever `allocVolume` refuses.
    pub fn create_volume(
        &mut self,
        caller: AccountNo,
        new: NewVolume,
    ) -> Result<VolumeNo, Refusal> {
        let account = new.owner.unwrap_or(caller);
        let (offering, size) = match (new.offering, new.snapshot) {
            (None, None) => {
                return Err(Refusal::invalid(
                    "At least one of disk Offering ID or snapshot ID must be passed whilst \
                     creating volume",
                ));
            }
            (Some(offering), None) => (Some(offering), self.new_size(offering, new.size_gib)?),
            (Some(_), Some(_)) => {
                return Err(Refusal::invalid(
                    "Disk Offering ID and snapshot ID are both passed, but the snapshot is not of \
                     a ROOT volume",
                ));
            }
            (None, Some(snapshot)) => self.of_snapshot(snapshot)?,
        };
        self.check_limits(account, (1, size))?;
        let taken = new.snapshot.map(|no| self.snapshot(no).volume);
        let Some(zone) = new.zone.or(taken.map(|no| self.volume(no).zone)) else {
            return Err(Refusal::invalid("Unable to find zone by id null"));
        };
        if !self.zone(zone).enabled && !self.is_root(caller) {
            return Err(Refusal::denied(format!(
                "Cannot perform this operation, Zone is currently disabled: {zone}"
            )));
        }
        let uuid = match new.custom_id {
            Some(id) => Some(self.own_id(caller, &id)?),
            None => None,
        };
        let name = match new.name {
            Some(name) if !name.trim().is_empty() => name,
            Some(_) | None => self.uuid().to_string(),
        };
        let volume = Volume {
            uuid: uuid.unwrap_or_else(|| self.uuid()),
            name,
            kind: VolumeKind::Data,
            size,
            state: VolumeState::Allocated,
            zone,
            offering,
            account,
            created: self.now,
            attachment: None,
            tags: Vec::new(),
            delete_protection: false,
            from_snapshot: new.snapshot,
            removed: false,
        };
        Ok(self.insert_volume(volume))
    }

    /// `customid` is for root administrators. The check does not see removed rows.
    fn own_id(&self, account: AccountNo, text: &str) -> Result<Uuid, Refusal> {
        if !self.is_root(account) {
            return Err(Refusal::denied(
                "Please check your permissions, you are not allowed to create/update custom id",
            ));
        }
        custom_id(text, |uuid| {
            match self.find_volume(uuid).map(|no| self.volume(no).removed) {
                None => Taken::No,
                Some(false) => Taken::Seen,
                Some(true) => Taken::Unseen { table: "volumes" },
            }
        })
    }

    /// Offering and size of a volume that is made from a snapshot.
    fn of_snapshot(&self, no: SnapshotNo) -> Result<(Option<OfferingNo>, u64), Refusal> {
        let snapshot = self.snapshot(no);
        if snapshot.removed {
            return Err(Refusal::invalid(format!(
                "unable to find a snapshot with id {no}"
            )));
        }
        if snapshot.state != SnapshotState::BackedUp {
            return Err(Refusal::invalid(format!(
                "Snapshot id={no} is not in BackedUp state yet and can't be used for volume \
                 creation"
            )));
        }
        Ok((self.volume(snapshot.volume).offering, snapshot.size))
    }

    pub(super) fn new_size(
        &self,
        offering: OfferingNo,
        size_gib: Option<i64>,
    ) -> Result<u64, Refusal> {
        if size_gib.is_some_and(|size| size <= 0) {
            return Err(Refusal::invalid("Disk size must be larger than 0"));
        }
        match (self.offering(offering).size, size_gib) {
            (None, None) => Err(Refusal::invalid(
                "This disk offering requires a custom size specified",
            )),
            (None, Some(gib)) => {
                check_custom_size(gib)?;
                check_size(gib)
            }
            (Some(_), Some(_)) => Err(Refusal::invalid(
                "This disk offering does not allow custom size",
            )),
            (Some(size), None) => Ok(size),
        }
    }

    /// Adds the ROOT volume of a new VM.
    pub(super) fn create_root(&mut self, vm: VmNo, state: VolumeState) -> VolumeNo {
        let (zone, account) = (self.vm(vm).zone, self.vm(vm).account);
        let volume = Volume {
            uuid: self.uuid(),
            name: format!("ROOT-{vm}"),
            kind: VolumeKind::Root,
            size: 20 * GIB,
            state,
            zone,
            offering: None,
            account,
            created: self.now,
            attachment: None,
            tags: Vec::new(),
            delete_protection: false,
            from_snapshot: None,
            removed: false,
        };
        self.insert_volume(volume)
    }

    pub(super) fn set_size(&mut self, volume: VolumeNo, size: u64) {
        let row = self.volume_mut(volume);
        let (account, old, removed) = (row.account, row.size, row.removed);
        row.size = size;
        if !removed {
            self.discharge(account, old);
            self.charge(account, size);
        }
    }

    pub(super) fn insert_volume(&mut self, volume: Volume) -> VolumeNo {
        let no = VolumeNo(self.row());
        self.charge(volume.account, volume.size);
        self.volume_by_uuid.insert(volume.uuid, no);
        self.live_volumes.insert(no);
        self.volumes.insert(no, volume);
        no
    }

    /// The job of `createVolume`: the row is all there is to it, unless there is a snapshot to copy.
    pub(super) fn run_create(&mut self, volume: VolumeNo, stage: Stage) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => Ok(Flow::Begin),
            Stage::Queued => {
                let row = self.volume_mut(volume);
                if row.from_snapshot.is_some() && row.state == VolumeState::Allocated {
                    row.state = VolumeState::Creating;
                }
                Ok(Flow::Wait(
                    Stage::Working,
                    self.settings.latencies.create_ms,
                ))
            }
            Stage::Working => {
                let row = self.volume_mut(volume);
                // Any other that is Creating is so because of its first attach.
                if row.from_snapshot.is_some() && row.state == VolumeState::Creating {
                    row.state = VolumeState::Ready;
                }
                Ok(Flow::Done(self.volume_outcome(volume)))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    /// `deleteVolume`, up to the part that takes time. Returns after how many milliseconds the
    /// volume is gone, when the request is answered.
    ///
    /// # Errors
    /// Whatever `destroyVolume` refuses; or the storage, which leaves the volume in Destroy.
    pub fn delete_volume(
        &mut self,
        volume: VolumeNo,
        trouble: Option<&Trouble>,
    ) -> Result<u64, Refusal> {
        self.check_destroy(volume, true)?;
        let on_storage = self.volume(volume).state != VolumeState::Allocated;
        self.destroy(volume)?;
        match trouble {
            Some(Trouble::Fails(text)) if on_storage => Err(Refusal::runtime(text.clone())),
            // About jobs, which it has none of; or about storage, where it is not.
            Some(
                Trouble::Fails(_)
                | Trouble::Delay(_)
                | Trouble::NeverEnds
                | Trouble::DiskKept
                | Trouble::Purged
                | Trouble::LostBefore
                | Trouble::LostAfter,
            )
            | None => Ok(self.expunge(volume)),
        }
    }

    /// Takes a volume away as an operator may who goes around the API: link, disk and row are
    /// gone at once.
    pub fn erase_volume(&mut self, volume: VolumeNo) {
        if let Some(vm) = self.plugged_in(volume) {
            self.unplug(vm, volume);
        }
        self.clear_link(volume);
        self.remove_volume(volume);
    }

    /// The row stays, but nobody sees it any more.
    fn remove_volume(&mut self, volume: VolumeNo) {
        let row = self.volume(volume);
        if !row.removed {
            self.discharge(row.account, row.size);
        }
        let row = self.volume_mut(volume);
        row.state = VolumeState::Expunged;
        row.removed = true;
        // `VolumeDaoImpl.remove`.
        row.tags.clear();
        self.live_volumes.remove(&volume);
        self.destroyed.remove(&volume);
    }

    /// Attaches a volume at once, in database and guest, as somebody else's client may.
    ///
    /// # Errors
    /// If it is attached, or cannot be plugged.
    pub fn attach_at_once(
        &mut self,
        volume: VolumeNo,
        vm: VmNo,
        device: Option<i64>,
    ) -> Result<(), Refusal> {
        let row = self.volume(volume);
        let fit = matches!(row.state, VolumeState::Allocated | VolumeState::Ready)
            && row.attachment.is_none()
            && !self.vm(vm).removed;
        if !fit {
            return Err(Refusal::invalid(
                "the volume must be Allocated or Ready and not attached",
            ));
        }
        let device = self.choose_device(vm, device)?;
        if self.vm(vm).guest.is_some() {
            self.plug(vm, volume)?;
        }
        if self.vm(vm).started_once {
            self.volume_mut(volume).state = VolumeState::Ready;
        }
        self.set_link(volume, vm, device);
        Ok(())
    }

    /// Detaches a volume at once, in database and guest, as somebody else's client may.
    ///
    /// # Errors
    /// If it is not attached.
    pub fn detach_at_once(&mut self, volume: VolumeNo) -> Result<(), Refusal> {
        let Some(link) = self.volume(volume).attachment else {
            return Err(Refusal::invalid(
                "The specified volume is not attached to a VM.",
            ));
        };
        self.unplug(link.vm, volume);
        self.clear_link(volume);
        Ok(())
    }

    pub(super) fn run_destroy(
        &mut self,
        volume: VolumeNo,
        expunge: bool,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                self.check_destroy(volume, expunge)?;
                Ok(Flow::Begin)
            }
            Stage::Queued => Ok(Flow::Wait(Stage::Working, 0)),
            Stage::Working => {
                self.check_destroy(volume, expunge)?;
                self.destroy(volume)?;
                let millis = if expunge { self.expunge(volume) } else { 0 };
                Ok(Flow::Wait(Stage::Settling, millis))
            }
            Stage::Settling => Ok(Flow::Done(self.volume_outcome(volume))),
            Stage::Provisioning | Stage::Plugging { .. } | Stage::Unplugging { .. } => {
                unreachable_stage(stage)
            }
        }
    }

    /// `retrieveAndValidateVolume` and the start of `destroyVolume`.
    fn check_destroy(&self, volume: VolumeNo, expunge: bool) -> Result<(), Refusal> {
        let row = self.volume(volume);
        if row.removed {
            return Err(Refusal::invalid(format!(
                "Unable to find volume with ID: {volume}"
            )));
        }
        if self.is_being_snapshotted(volume) {
            return Err(Refusal::invalid(
                "There are snapshot operations in progress on the volume, unable to delete it",
            ));
        }
        if row.attachment.is_some() {
            return Err(Refusal::invalid(
                "Please specify a volume that is not attached to any VM.",
            ));
        }
        if row.delete_protection {
            return Err(Refusal::invalid(format!(
                "Volume [id = {}, name = {}] has delete protection enabled and cannot be deleted.",
                row.uuid, row.name
            )));
        }
        if !expunge && row.state == VolumeState::Allocated {
            return Err(Refusal::invalid(
                "The volume in Allocated/Uploaded state can only be expunged not \
                 destroyed/recovered",
            ));
        }
        Ok(())
    }

    /// `destroyVolumeIfPossible`.
    fn destroy(&mut self, volume: VolumeNo) -> Result<(), Refusal> {
        let row = self.volume_mut(volume);
        match row.state {
            VolumeState::Allocated
            | VolumeState::Destroy
            | VolumeState::Expunging
            | VolumeState::Expunged => Ok(()),
            VolumeState::Ready => {
                row.state = VolumeState::Destroy;
                self.await_scavenger(volume);
                Ok(())
            }
            // The state machine has no way from there (Creating has, but the storage call that
            // is under way would be left alone with it).
            VolumeState::Creating
            | VolumeState::Attaching
            | VolumeState::Resizing
            | VolumeState::Snapshotting
            | VolumeState::RevertSnapshotting => Err(Refusal::runtime(format!(
                "Failed to destroy volume{volume}"
            ))),
        }
    }

    /// Removes a destroyed volume from storage and returns how long that takes. One that never
    /// was on storage goes at once.
    fn expunge(&mut self, volume: VolumeNo) -> u64 {
        let row = self.volume_mut(volume);
        if row.state == VolumeState::Allocated {
            self.remove_volume(volume);
            return 0;
        }
        let millis = self.settings.latencies.delete_ms;
        self.schedule(millis / 2, Event::Expunge(volume));
        self.schedule(millis, Event::Expunge(volume));
        millis
    }

    pub(super) fn expunge_step(&mut self, volume: VolumeNo) {
        let row = self.volume_mut(volume);
        match row.state {
            VolumeState::Destroy => {
                row.state = VolumeState::Expunging;
                self.destroyed.remove(&volume);
            }
            VolumeState::Expunging => self.remove_volume(volume),
            // Recovered or gone meanwhile.
            VolumeState::Allocated
            | VolumeState::Creating
            | VolumeState::Ready
            | VolumeState::Attaching
            | VolumeState::Resizing
            | VolumeState::Snapshotting
            | VolumeState::RevertSnapshotting
            | VolumeState::Expunged => {}
        }
    }

    /// Notes that a volume came into Destroy just now.
    pub(super) fn await_scavenger(&mut self, volume: VolumeNo) {
        self.destroyed.insert(volume, self.now);
        let after_ms = self.settings.storage_cleanup_s.saturating_mul(1000);
        self.schedule(after_ms, Event::Scavenge(volume));
    }

    /// The storage scavenger (`StorageManagerImpl.cleanupStorage`): expunges what has been in
    /// Destroy for long enough, be it destroyed or a delete that failed.
    pub(super) fn scavenge(&mut self, volume: VolumeNo) {
        let after_ms = self.settings.storage_cleanup_s.saturating_mul(1000);
        // Recovered and destroyed again: a later event comes for it.
        if self
            .destroyed
            .get(&volume)
            .is_some_and(|since| self.now.millis_since(*since) >= after_ms)
        {
            self.expunge(volume);
        }
    }

    /// `recoverVolume`.
    ///
    /// # Errors
    /// If it is not in state Destroy.
    pub fn recover_volume(&mut self, volume: VolumeNo) -> Result<(), Refusal> {
        if self.volume(volume).removed {
            return Err(Refusal::invalid("Unable to find a volume with id null"));
        }
        if self.volume(volume).state != VolumeState::Destroy {
            return Err(Refusal::invalid(
                "Please specify a volume in Destroy state.",
            ));
        }
        self.clear_link(volume);
        self.volume_mut(volume).state = VolumeState::Ready;
        self.destroyed.remove(&volume);
        Ok(())
    }

    pub(super) fn run_update(
        &mut self,
        volume: VolumeNo,
        (name, delete_protection): (Option<String>, Option<bool>),
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => {
                if self.volume(volume).removed {
                    return Err(Refusal::invalid("The volume id doesn't exist"));
                }
                Ok(Flow::Begin)
            }
            Stage::Queued => Ok(Flow::Wait(Stage::Working, 0)),
            Stage::Working => {
                let row = self.volume_mut(volume);
                if let Some(name) = name {
                    row.name = name;
                }
                row.delete_protection = delete_protection.unwrap_or(row.delete_protection);
                Ok(Flow::Done(self.volume_outcome(volume)))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }
}

/// `validateCustomDiskOfferingSizeRange`.
pub(super) fn check_custom_size(gib: i64) -> Result<(), Refusal> {
    if CUSTOM_SIZE_GIB.contains(&gib) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "Volume size: {gib} GB is out of allowed range. Min: {}. Max: {}",
        CUSTOM_SIZE_GIB.start(),
        CUSTOM_SIZE_GIB.end()
    )))
}

/// `validateVolumeSizeInBytes`, from GiB to bytes.
pub(super) fn check_size(gib: i64) -> Result<u64, Refusal> {
    let Ok(gib) = u64::try_from(gib) else {
        return Err(Refusal::invalid("Please specify a size of at least 1 GB."));
    };
    if gib > MAX_SIZE_GIB {
        return Err(Refusal::invalid(format!(
            "Requested volume size is {gib} GB, but the maximum size allowed is {MAX_SIZE_GIB} GB."
        )));
    }
    Ok(gib * GIB)
}
