//! How a history must end: every spec as it was last asked for, or for a reason that is true of
//! the world, and then nothing more to do.

use std::time::Duration;

use volume_daemon::model::{Serial, VolumeId, VolumeName};
use volume_daemon::plan::{Blocked, Decision, Undeletable, Waiting};
use volume_daemon::sim::World;
use volume_daemon::sim::world::{GIB, VmState, Volume, VolumeKind, VolumeNo, VolumeState};

use super::happening::{Ask, Origin};
use super::run::Run;
use crate::rig::SELF;

const MINUTE: Duration = Duration::from_secs(60);
/// The guard may hold implied steps back for an hour, and more than once; another hour passes
/// before a contended attachment is restored again.
const REST_WITHIN: Duration = Duration::from_secs(4 * 3600);
/// How long nothing more may happen.
const REST: Duration = Duration::from_secs(400);
/// Steps that a path has at most, and two more (I12).
const STEPS_MAX: usize = 8 + 2;

/// Faults stop; then the world must come to rest as last asked for, and stay there.
pub async fn comes_to_rest(run: &mut Run) {
    run.calm().await;
    let before = run.rig.transport.count();
    let begun = run.rig.now();
    loop {
        // Whoever waits for clients looks again within half a minute.
        run.rig.run_for(MINUTE).await;
        let unrest = unrest(run);
        let since = run.rig.now().since(begun);
        // What is tried again may yet come to something.
        if unrest.is_empty() && (!is_tried_again(run) || since > REST) {
            break;
        }
        let over = since > REST_WITHIN;
        assert!(!over, "I12: no rest: {}", unrest.join("; "));
    }
    let again = is_tried_again(run);
    let calls = run.rig.transport.count() - before;
    let most = run.asked.len() * STEPS_MAX;
    assert!(again || calls <= most, "I12: {calls} calls to come to rest");
    run.rig.check_served_is_plugged();
    run.rig.note(|| "it is at rest".to_owned());
    let resting = run.rig.transport.count();
    run.rig.run_for(REST).await;
    let more = run.rig.transport.count() - resting;
    assert!(again || more == 0, "I12: it goes on");
    let unrest = unrest(run);
    assert!(
        again || unrest.is_empty(),
        "I12: rest ended: {}",
        unrest.join("; ")
    );
    run.rig.check_served_is_plugged();
}

/// Whether something that stands in the way is tried again now and then.
fn is_tried_again(run: &Run) -> bool {
    let core = run.rig.core().expect("it is calm, so nobody dies");
    let backoff = |decision: &Decision| {
        matches!(
            decision,
            Decision::Waiting {
                on: Waiting::Backoff { .. },
                ..
            }
        )
    };
    let mut plans = core.plan().volumes.values();
    plans.any(|plan| backoff(&plan.decision))
}

/// Every spec that is not as it must end, and why.
fn unrest(run: &Run) -> Vec<String> {
    let core = run.rig.core().expect("it is calm, so nobody dies");
    let mut all = Vec::new();
    for (name, (ask, there)) in &run.asked {
        let key: VolumeName = name.parse().expect("a name");
        let Some(plan) = core.plan().volumes.get(&key) else {
            all.push(format!("{name} was not decided"));
            continue;
        };
        let front = run.rig.front();
        let world = front.world();
        let bound = run.rig.volume_of(name);
        let row = bound.map(|id| world.find_volume(id.uuid()).expect("rows stay"));
        let case = Case {
            run,
            world,
            key: &key,
            ask,
            there: *there,
            bound,
            row: row.map(|no| (no, world.volume(no))),
        };
        if let Err(why) = case.judge(&plan.decision) {
            all.push(format!("{name} is {}, but {why}", run.rig.says(name)));
        }
    }
    all
}

/// One spec, and what is true of its volume.
struct Case<'a> {
    run: &'a Run,
    world: &'a World,
    key: &'a VolumeName,
    ask: &'a Ask,
    there: bool,
    bound: Option<VolumeId>,
    row: Option<(VolumeNo, &'a Volume)>,
}

fn ensure(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

impl Case<'_> {
    fn judge(&self, decision: &Decision) -> Result<(), String> {
        match decision {
            Decision::InSync => self.is_as_asked(),
            Decision::Released => self.is_released(),
            Decision::Blocked { by, .. } => {
                ensure(!by.is_empty(), "for no reason")?;
                by.iter().try_for_each(|by| self.is_blocked(by))
            }
            Decision::Waiting { on, .. } => ensure(self.waits(on), "there is nothing to wait for"),
            Decision::Act { .. } | Decision::Observing { .. } => {
                Err("it is not at rest".to_owned())
            }
        }
    }

    /// The VM that the volume is on, by name.
    fn on(&self) -> Option<&str> {
        let at = self.row?.1.attachment?;
        Some(&self.world.vm(at.vm).name)
    }

    /// Where the spec wants it; `None`: anywhere.
    fn wanted(&self) -> Option<&str> {
        match self.ask.vm.as_deref()? {
            "self" => Some(SELF),
            other => Some(other),
        }
    }

    fn is_gone(&self) -> bool {
        self.row.is_some_and(|(_, row)| row.removed)
    }

    /// What is served of the volume: under which name, of which size, read-only or not.
    fn served(&self) -> Vec<(String, u64, bool)> {
        let Some(id) = self.bound else {
            return Vec::new();
        };
        let exports = self.run.rig.nbd.exports();
        let ours = exports
            .iter()
            .filter(|(_, served)| served.node.is_for(&Serial::of(id)));
        ours.map(|(name, served)| (name.to_string(), served.size.as_bytes(), served.read_only))
            .collect()
    }

    fn is_as_asked(&self) -> Result<(), String> {
        ensure(self.there, "its spec is gone")?;
        let (_, row) = self.row.ok_or("it has no volume")?;
        let alive = matches!(row.state, VolumeState::Allocated | VolumeState::Ready);
        ensure(alive, "its volume is gone")?;
        ensure(row.size >= self.ask.gib * GIB, "its volume is too small")?;
        match self.wanted() {
            None => {}
            Some("none") => ensure(self.on().is_none(), "it is attached")?,
            Some(vm) => ensure(self.on() == Some(vm), "it is elsewhere")?,
        }
        let served = self.served();
        match &self.ask.export {
            None => ensure(served.is_empty(), "it is served"),
            Some(serve) => {
                let name = self.run.export_of(&self.ask.name).expect("it is bound");
                let expected = vec![(name.to_string(), row.size, serve.read_only)];
                ensure(served == expected, "it is served otherwise")
            }
        }
    }

    fn is_released(&self) -> Result<(), String> {
        ensure(!self.there, "its spec is there")?;
        ensure(self.served().is_empty(), "it is served")?;
        let detaches = self.ask.reclaim != "Retain" && !self.ask.is_held();
        let ours = self.run.rig.placed(self.key)
            && self.bound.is_some_and(|id| self.run.rig.others.let_be(id));
        ensure(!(detaches && ours && self.on().is_some()), "it is attached")?;
        let is_left = self
            .row
            .is_some_and(|(_, row)| !row.removed && row.state != VolumeState::Destroy);
        ensure(!(self.ask.is_deleted() && is_left), "it is not deleted")
    }

    /// Whether the guard has reason to freeze for good: nobody can tell it that volumes are gone
    /// for good, or that so many specs are meant.
    fn is_frozen(&self) -> bool {
        let core = self.run.rig.core().expect("it is calm, so nobody dies");
        let plans = core.plan().volumes.values();
        let frozen = plans.filter(|plan| match &plan.decision {
            Decision::Blocked { by, .. } => by
                .iter()
                .any(|by| matches!(by, Blocked::GuardFrozen { .. })),
            _ => false,
        });
        self.volumes_gone() >= 2 || frozen.count() > core.policy().implied_floor
    }

    fn waits(&self, on: &Waiting) -> bool {
        // No time counts for abandoned specs while the guard freezes.
        if matches!(on, Waiting::Grace { .. }) {
            return self.is_frozen();
        }
        let Some((no, row)) = self.row else {
            return false;
        };
        match on {
            // CloudStack has it here, and the guest does not.
            Waiting::Device { .. } => {
                let here = self.world.vm_called(SELF).ok();
                self.on() == Some(SELF) && self.world.plugged_in(no) != here
            }
            // The device is another disk's, or the guest of another VM has the disk open, which
            // CloudStack does not know.
            Waiting::Backoff { text, .. } => {
                let taken = self.ask.device.is_some() && text.contains("deviceId");
                let open = self.on().is_none() && self.world.plugged_in(no).is_some();
                taken || open
            }
            Waiting::Transitional { .. } => !matches!(
                row.state,
                VolumeState::Allocated | VolumeState::Ready | VolumeState::Destroy
            ),
            Waiting::Intent { .. }
            | Waiting::ForeignJob { .. }
            | Waiting::DeviceSize { .. }
            | Waiting::HealDelay { .. }
            | Waiting::Grace { .. }
            | Waiting::Clients { .. }
            | Waiting::Draining { .. }
            | Waiting::Paused { .. } => false,
        }
    }

    fn is_blocked(&self, by: &Blocked) -> Result<(), String> {
        ensure(self.is_true(by), &format!("{} is not true", by.reason()))
    }

    /// Whether a reason is true of the world.
    fn is_true(&self, by: &Blocked) -> bool {
        let row = self.row.map(|(_, row)| row);
        let elsewhere =
            self.on().is_some() && self.wanted().is_some() && self.on() != self.wanted();
        match by {
            // No history takes the store back.
            Blocked::StoreRolledBack { .. } => false,
            Blocked::VolumeLost { .. } => self.is_gone(),
            Blocked::VolumeDestroyed { volume } => {
                self.state_of(*volume) == Some(VolumeState::Destroy)
            }
            Blocked::VolumeAtRisk { vm, .. } => {
                row.is_some_and(|row| row.kind == VolumeKind::Root) && !self.vm_lives(vm.uuid())
            }
            Blocked::VmGone { vm, .. } => !self.vm_lives(vm.uuid()),
            Blocked::NotFound { what, name } => self.usable(what, name) == 0,
            Blocked::Ambiguous { what, name, .. } => self.usable(what, name) > 1,
            Blocked::NameTaken { name, .. } => {
                self.bound.is_none() && self.count("volume", name) > 0
            }
            Blocked::NameShared { .. } => self.shares_its_name(),
            Blocked::CreateUnknown { .. } => self.count("volume", self.ask.volume_name()) > 1,
            Blocked::ClaimedBy { volume, .. } => self.is_claimed(*volume),
            Blocked::BoundTo { volume, .. } => self.is_anothers(*volume),
            Blocked::ForeignAttachment { .. } => elsewhere && !self.is_undisturbed(),
            Blocked::OtherVmRunning { vm } => {
                self.on() != Some(SELF)
                    && self.vm_state(vm.uuid()) == Some(VmState::Running)
                    && (elsewhere || !self.there)
            }
            Blocked::VanishedElsewhere { .. } => {
                self.on().is_none() && self.wanted() != Some(SELF) && !self.is_undisturbed()
            }
            Blocked::PlacementDisputed { .. } => {
                let here = self.world.vm_called(SELF).ok();
                let plugged = self.row.and_then(|(no, _)| self.world.plugged_in(no));
                self.on() != Some(SELF) && plugged == here
            }
            Blocked::NotDeletable { why } => {
                !self.there && self.ask.is_deleted() && self.is_kept(*why)
            }
            Blocked::Immutable { field } => *field != "spec.zone" && self.has_another_origin(),
            Blocked::NotAttachedHere => self.ask.export.is_some() && self.on() != Some(SELF),
            Blocked::ExportNameTaken { export, .. } => export.to_string() == "disk",
            Blocked::RootNeedsStoppedVm { .. } | Blocked::RootTaken { .. } => {
                self.ask.device == Some(0)
            }
            Blocked::GuardFrozen { .. } => self.is_frozen(),
            // There are only files.
            Blocked::RowMissing => false,
            Blocked::HeldBySpec { .. } => self.ask.is_held() && self.there,
            Blocked::Refused { text, .. } => self.was_refused(text),
            Blocked::SourceUnknown { .. }
            | Blocked::Contended { .. }
            | Blocked::ClaimedTwice { .. }
            | Blocked::SerialCollision { .. }
            | Blocked::DeviceMismatch { .. }
            | Blocked::DeviceBusy { .. }
            | Blocked::ClockSkew { .. }
            | Blocked::Internal
            | Blocked::SelfUnknown { .. } => false,
        }
    }

    fn state_of(&self, volume: VolumeId) -> Option<VolumeState> {
        let no = self.world.find_volume(volume.uuid())?;
        Some(self.world.volume(no).state)
    }

    fn vm_state(&self, vm: uuid::Uuid) -> Option<VmState> {
        let vm = self.world.vm(self.world.find_vm(vm)?);
        (!vm.removed).then_some(vm.state)
    }

    fn vm_lives(&self, vm: uuid::Uuid) -> bool {
        match self.vm_state(vm) {
            None | Some(VmState::Destroyed | VmState::Expunging) => false,
            Some(_) => true,
        }
    }

    /// How many things of that name there are.
    fn count(&self, what: &str, name: &str) -> usize {
        match what {
            "VM" => self
                .world
                .vms()
                .filter(|(_, vm)| !vm.removed && vm.name == name)
                .count(),
            "volume" => {
                let rows = self.world.volumes().map(|(_, row)| row);
                rows.filter(|row| {
                    !row.removed && (row.name == name || row.uuid.to_string() == name)
                })
                .count()
            }
            _ => 1,
        }
    }

    /// The same without volumes that were destroyed and may be recovered.
    fn usable(&self, what: &str, name: &str) -> usize {
        let rows = self.world.volumes().map(|(_, row)| row);
        let destroyed = rows.filter(|row| {
            let gone = matches!(row.state, VolumeState::Destroy | VolumeState::Expunging);
            what == "volume" && gone && row.name == name
        });
        self.count(what, name).saturating_sub(destroyed.count())
    }

    fn shares_its_name(&self) -> bool {
        let mut others = self.run.asked.values();
        others.any(|(ask, _)| {
            ask.name != self.ask.name && ask.volume_name() == self.ask.volume_name()
        })
    }

    fn is_claimed(&self, volume: VolumeId) -> bool {
        let row = self.world.find_volume(volume.uuid());
        row.is_some_and(|no| !self.world.volume(no).tags.is_empty())
    }

    fn is_anothers(&self, volume: VolumeId) -> bool {
        let core = self.run.rig.core().expect("it is calm, so nobody dies");
        let mut bindings = core.world().memory.bindings.iter();
        bindings.any(|(name, binding)| name != self.key && binding.volume == volume)
    }

    /// How many bound volumes are gone.
    fn volumes_gone(&self) -> usize {
        let core = self.run.rig.core().expect("it is calm, so nobody dies");
        let bindings = core.world().memory.bindings.values();
        let rows = bindings.filter_map(|bound| self.world.find_volume(bound.volume.uuid()));
        rows.filter(|no| self.world.volume(*no).removed).count()
    }

    /// Whether nobody else ever had anything to do with the volume.
    fn is_kept(&self, why: Undeletable) -> bool {
        match why {
            Undeletable::Protected => self.ask.protect,
            // Whatever its spec said later.
            Undeletable::Adopted => self
                .bound
                .is_some_and(|id| !self.run.rig.others.did_not_make(id)),
            // Its spec went away before it was claimed.
            Undeletable::Unclaimed => self.row.is_some_and(|(_, row)| row.tags.is_empty()),
            Undeletable::Root => false,
            Undeletable::Attached(_) | Undeletable::Recovered => !self.is_undisturbed(),
        }
    }

    fn is_undisturbed(&self) -> bool {
        self.bound.is_some_and(|id| self.run.rig.others.let_be(id))
    }

    fn has_another_origin(&self) -> bool {
        let Some((_, row)) = self.row else {
            return false;
        };
        match &self.ask.origin {
            Origin::Made(offering, _) => {
                let own = row.offering.map(|no| self.world.offering(no).name.as_str());
                own != Some(*offering)
            }
            Origin::Found(name) => row.name != *name || self.count("volume", name) > 1,
        }
    }

    fn was_refused(&self, text: &str) -> bool {
        let made_small = matches!(self.ask.origin, Origin::Made("Small", _));
        made_small && text.contains("does not allow custom size")
    }
}
