//! Other people: what they own and do, and what the daemon was ever asked to do with what.
//!
//! The daemon acts on readings that are seconds old, so what somebody did within [`RACE`] may
//! cross with a step of its own; nothing older excuses one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;
use volume_daemon::model::desired::{AttachVm, Move, NameOrId, Origin};
use volume_daemon::model::{Action, BootTime, Cause, DesiredVolume, VolumeId, VolumeName};
use volume_daemon::plan::Policy;
use volume_daemon::reconcile::Effect;
use volume_daemon::sim::world::{Trouble, VmState, Work};
use volume_daemon::sim::{Operation, World};

use super::cloud::Mutation;

/// How long before a step somebody else's act cannot have been known: a step needs readings
/// that are at most ten seconds old, and its call may be a while under way.
const RACE: Duration = Duration::from_secs(20);

/// Something that other people do.
#[derive(Debug, Clone)]
pub enum Deed {
    /// One of the calls below, whose job takes so many milliseconds longer.
    Slow(u64, Box<Self>),
    /// At once, around the API.
    AtOnce(Operation),
    /// `attachVolume`.
    Attach { volume: String, vm: String },
    /// `detachVolume`.
    Detach { volume: String },
    /// `resizeVolume`.
    Resize { volume: String, gib: i64 },
    /// `createSnapshot`.
    Snapshot { volume: String },
    /// `destroyVolume`.
    Destroy { volume: String },
    /// `recoverVolume`, of a volume that may be hidden from most.
    Recover { volume: String },
}

/// What other people own and did.
#[derive(Debug, Default)]
pub struct Others {
    /// Volumes that the daemon did not make.
    strangers: BTreeSet<VolumeId>,
    /// What specs asked for by `existing`, and the volumes that this ever fitted.
    offers: Vec<NameOrId<VolumeId>>,
    offered: BTreeSet<VolumeId>,
    /// Their jobs: since when, on which volume, and whether it was seen to end.
    jobs: BTreeMap<Uuid, (BootTime, Uuid, bool)>,
    /// When they last did something to a volume.
    touched: BTreeMap<Uuid, BootTime>,
    /// Where each volume is attached.
    attached: BTreeMap<Uuid, Uuid>,
    /// Since when a volume that was attached is not.
    gone: BTreeMap<Uuid, BootTime>,
    /// Since when a VM is between two states.
    transitional: BTreeMap<Uuid, BootTime>,
    /// Every VM that a spec ever wanted its volume on.
    wanted: BTreeMap<VolumeName, BTreeSet<Uuid>>,
    /// Specs that once allowed to take their volume from a stopped VM.
    taking: BTreeSet<VolumeName>,
    /// Names in CloudStack that specs make volumes with.
    names: BTreeSet<String>,
    /// Names of volumes that are being created.
    creating: BTreeSet<String>,
    /// The VM the daemon runs on.
    here: Uuid,
}

impl Others {
    /// Everything in a world in which no daemon has run belongs to others.
    pub fn in_world(world: &World) -> Self {
        let here = world.vm_called(super::SELF).expect("it is there");
        let ids = world
            .volumes()
            .map(|(_, volume)| VolumeId::new(volume.uuid));
        Self {
            strangers: ids.collect(),
            here: world.vm(here).uuid,
            ..Self::default()
        }
    }

    /// Whether the daemon has no business with a volume.
    pub fn own(&self, volume: VolumeId) -> bool {
        self.strangers.contains(&volume) && !self.offered.contains(&volume)
    }

    /// Whether nobody else ever owned a volume or did something to it.
    pub fn let_be(&self, volume: VolumeId) -> bool {
        self.did_not_make(volume) && !self.touched.contains_key(&volume.uuid())
    }

    /// Whether the daemon made a volume.
    pub fn did_not_make(&self, volume: VolumeId) -> bool {
        !self.strangers.contains(&volume)
    }

    /// Whether specs make volumes of that name.
    pub fn is_asked_for(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Takes note of what a spec asks for.
    pub fn asked(&mut self, world: &World, spec: &DesiredVolume) {
        let name = spec.name();
        match &spec.spec().origin {
            Origin::Create { volume_name, .. } => {
                self.names.insert(volume_name.clone());
            }
            Origin::Existing { volume, .. } => self.offers.push(volume.clone()),
        }
        let Some(attach) = &spec.spec().attach_to else {
            return;
        };
        let wanted = self.wanted.entry(name.clone()).or_default();
        match &attach.vm {
            AttachVm::SelfVm => {
                wanted.insert(self.here);
            }
            AttachVm::Nobody => {}
            AttachVm::Vm(NameOrId::Id(id)) => {
                wanted.insert(id.uuid());
            }
            AttachVm::Vm(NameOrId::Name(called)) => {
                let hits = world.vms().filter(|(_, vm)| vm.name == *called);
                wanted.extend(hits.map(|(_, vm)| vm.uuid));
            }
        }
        if attach.take == Move::WhenFree {
            self.taking.insert(name.clone());
        }
    }

    /// Does something behind the daemon's back.
    pub fn act(&mut self, world: &mut World, deed: &Deed, now: BootTime) -> Result<(), String> {
        let (deed, trouble) = match deed {
            Deed::Slow(ms, deed) => (&**deed, Some(Trouble::Delay(*ms))),
            other => (other, None),
        };
        let work = match deed {
            Deed::Slow(..) => return Err("it cannot be slower than slow".to_owned()),
            Deed::AtOnce(operation) => return self.operate(world, operation, now),
            Deed::Attach { volume, vm } => Work::Attach {
                volume: called(world, volume)?,
                vm: world.vm_called(vm).map_err(|no| no.to_string())?,
                device: None,
            },
            Deed::Detach { volume } => Work::Detach {
                volume: Some(called(world, volume)?),
                vm: None,
                device: None,
            },
            Deed::Resize { volume, gib } => Work::Resize {
                volume: called(world, volume)?,
                size_gib: Some(*gib),
                offering: None,
                shrink_ok: false,
            },
            Deed::Snapshot { volume } => {
                let volume = called(world, volume)?;
                let snapshot = world
                    .create_snapshot(volume, None, Vec::new())
                    .map_err(|no| no.to_string())?;
                Work::CreateSnapshot { snapshot, volume }
            }
            Deed::Destroy { volume } => Work::Destroy {
                volume: called(world, volume)?,
                expunge: false,
            },
            Deed::Recover { volume } => {
                let no = called(world, volume)?;
                let id = world.volume(no).uuid;
                self.touched.insert(id, now);
                return world.recover_volume(no).map_err(|no| no.to_string());
            }
        };
        let volume = match &work {
            Work::CreateSnapshot { volume, .. } => Some(*volume),
            other => other.volume(),
        };
        let volume = world
            .volume(volume.expect("all of these are about one"))
            .uuid;
        let (account, _) = world.accounts().next().expect("there is one");
        let job = world.submit(account, work, None, trouble);
        self.jobs.insert(job, (now, volume, false));
        self.touched.insert(volume, now);
        Ok(())
    }

    /// Does something at once.
    pub fn operate(
        &mut self,
        world: &mut World,
        operation: &Operation,
        now: BootTime,
    ) -> Result<(), String> {
        if let Operation::DestroyVm { vm, .. } = operation {
            let vm = world.vm_called(vm).map_err(|no| no.to_string())?;
            let rows = world.volumes().map(|(_, row)| row);
            let its = rows.filter(|row| row.attachment.is_some_and(|at| at.vm == vm));
            self.touched.extend(its.map(|row| (row.uuid, now)));
        }
        let made = world.operate(operation).map_err(|no| no.to_string())?;
        if let Some(id) = made.volume {
            let id = VolumeId::new(id);
            self.strangers.insert(id);
            // If the answer to a create is lost, nobody can tell them apart.
            if matches!(operation, Operation::CreateVolume { name, .. } if self.creating.contains(name))
            {
                self.offered.insert(id);
            }
        }
        let named: &[&String] = match operation {
            Operation::AttachVolume { volume, .. }
            | Operation::DetachVolume { volume, .. }
            | Operation::DeleteVolume { volume } => &[volume],
            Operation::SwapDisks { a, b, .. } => &[a, b],
            _ => &[],
        };
        for name in named {
            let rows = world.volumes().filter(|(_, row)| row.name == **name);
            self.touched.extend(rows.map(|(_, row)| (row.uuid, now)));
        }
        Ok(())
    }

    /// Takes note of what changed in the world by itself.
    pub fn watch(&mut self, world: &World, now: BootTime) {
        let pending: BTreeSet<Uuid> = world.pending_jobs().map(|job| job.uuid).collect();
        for (job, (_, volume, ended)) in &mut self.jobs {
            if !*ended && !pending.contains(job) {
                *ended = true;
                self.touched.insert(*volume, now);
            }
        }
        for (_, row) in world.volumes() {
            let fits = |offer: &NameOrId<VolumeId>| match offer {
                NameOrId::Id(wanted) => wanted.uuid() == row.uuid,
                NameOrId::Name(wanted) => *wanted == row.name,
            };
            if self.offers.iter().any(fits) {
                self.offered.insert(VolumeId::new(row.uuid));
            }
            match row.attachment {
                Some(at) => {
                    self.attached.insert(row.uuid, world.vm(at.vm).uuid);
                    self.gone.remove(&row.uuid);
                }
                None => {
                    if self.attached.remove(&row.uuid).is_some() {
                        self.gone.insert(row.uuid, now);
                    }
                }
            }
        }
        for (_, vm) in world.vms() {
            if between(vm.state) {
                self.transitional.entry(vm.uuid).or_insert(now);
            } else {
                self.transitional.remove(&vm.uuid);
            }
        }
    }

    /// I2: only attachments to this VM are restored, and only after they were gone for a while.
    pub fn allow(&mut self, effect: &Effect, now: BootTime, policy: &Policy) {
        let step = match effect {
            Effect::Act(_, step, _) => step,
            Effect::Settle(intent, ..) => {
                if let Action::Create { volume_name, .. } = &intent.action {
                    self.creating.remove(volume_name);
                }
                return;
            }
            _ => return,
        };
        if let Action::Create { volume_name, .. } = &step.action {
            self.creating.insert(volume_name.clone());
        }
        if let (Action::Attach { volume, vm, .. }, Cause::Healing) = (&step.action, step.cause) {
            assert_eq!(vm.uuid(), self.here, "I2: healed elsewhere by {step:?}");
            let gone = self.gone.get(&volume.uuid());
            let early = gone.is_some_and(|gone| now.since(*gone) < policy.heal_delay);
            assert!(
                !early,
                "I2: healed before anybody could see it, by {step:?}"
            );
        }
    }

    /// What is wrong with a call for the volume of `name`, given what others own and did.
    pub fn judge(&self, call: &Mutation, name: Option<&VolumeName>) -> Option<String> {
        let volume = call.volume?;
        if self.own(VolumeId::new(volume)) {
            return Some("I2: that volume is somebody else's".to_owned());
        }
        let recent = |at: Option<&BootTime>| at.is_some_and(|at| call.boot.since(*at) < RACE);
        if let Some(job) = call.found.job {
            let begun = self.jobs.get(&job).map(|(begun, ..)| begun);
            if !recent(begun) {
                return Some(format!("I1: job {job} is pending on that volume"));
            }
        }
        let on = call.found.on.map(|(vm, _)| vm);
        for vm in on.into_iter().chain(call.vm) {
            let since = self.transitional.get(&vm);
            if since.is_some() && !recent(since) && call.command != "createTags" {
                return Some(format!("I1: VM {vm} is between two states"));
            }
        }
        let (Some((vm, state)), "detachVolume") = (call.found.on, call.command) else {
            return None;
        };
        let wanted = name.and_then(|name| self.wanted.get(name));
        let put = wanted.is_some_and(|wanted| wanted.contains(&vm));
        let taken =
            name.is_some_and(|name| self.taking.contains(name)) && state == VmState::Stopped;
        let raced = recent(self.touched.get(&volume));
        (!put && !taken && !raced)
            .then(|| format!("I2: taken from VM {vm}, where nobody wanted it"))
    }
}

/// The newest volume of a name, destroyed ones too.
fn called(world: &World, name: &str) -> Result<volume_daemon::sim::world::VolumeNo, String> {
    let mut rows = world.volumes();
    let row = rows.find(|(_, row)| row.name == name && !row.removed);
    row.map(|(no, _)| no)
        .ok_or_else(|| format!("there is no {name}"))
}

fn between(state: VmState) -> bool {
    match state {
        VmState::Starting | VmState::Stopping | VmState::Migrating | VmState::Expunging => true,
        VmState::Running | VmState::Stopped | VmState::Destroyed => false,
    }
}
