//! What is said to the driver of a real hypervisor, and what it says: the protocol of
//! `docs/hypervisor-protocol.md`, without the socket. No I/O.
//!
//! ```text
//! World: orders, guests ─► Session::due ─► lines    what jobs wait for; what else is different
//!          answer_order ◄─ Session::hear ◄─ line    done, or failed
//! ```
//!
//! Two kinds of commands look the same to a driver. An *order* is what a job waits for: the world
//! changes when it is done. A *correction* makes the driver's guests as the world has them: what
//! an operation changed, or an order that was carried out when nobody waited for it any more.
//! [`Session`] finds corrections by comparing, so none can be forgotten, and nothing is queued.

mod line;

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Bus, Change, Order, OrderNo, VmNo, VolumeNo, World};

pub use line::{Complaint, LINE_BYTES_MAX, hello};

/// Commands that may be out without an answer; what else there is to say waits.
const OPEN_MAX: usize = 1_000;

/// A disk as a driver knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KnownDisk {
    bus: Bus,
    /// In bytes.
    size: u64,
}

/// The disks of a guest that runs.
type Disks = BTreeMap<VolumeNo, KnownDisk>;

/// What a guest is to be changed by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Start(Disks),
    Stop,
    Destroy,
    Reboot,
    Plug(VolumeNo, KnownDisk, Option<u32>),
    Unplug(VolumeNo, KnownDisk),
    Resize(VolumeNo, KnownDisk),
}

/// A command that is not answered yet.
#[derive(Debug)]
enum Open {
    State,
    Order(OrderNo, VmNo, Step),
    Correction(VmNo, Step),
}

/// What a driver's line means.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The answer to an order: to be given to [`World::answer_order`].
    Order(OrderNo, Result<(), String>),
    /// Something else was done.
    Noted,
    /// Something that no job waits for could not be done: the hypervisor differs from the world
    /// from now on.
    Differs(String),
    /// An empty line.
    Nothing,
}

/// What one driver was told and has answered, from its connection on.
#[derive(Debug)]
pub struct Session {
    known: BTreeMap<VmNo, Disks>,
    open: BTreeMap<u64, Open>,
    ordered: BTreeSet<OrderNo>,
    last: u64,
    heard: u64,
}

impl Session {
    /// A session with a driver that connects now, and the line with everything there is.
    pub fn begin(world: &World) -> (Self, String) {
        let mut session = Self {
            known: BTreeMap::new(),
            open: BTreeMap::new(),
            ordered: BTreeSet::new(),
            last: 0,
            heard: 0,
        };
        let state = session.begin_again(world);
        (session, state)
    }

    /// Goes on with another world: the line with everything there is in it. Answers to earlier
    /// commands mean nothing any more.
    pub fn begin_again(&mut self, world: &World) -> String {
        self.known = guests(world);
        self.open.clear();
        self.ordered.clear();
        let id = self.next(Open::State);
        line::state(id, world, &self.known)
    }

    /// What is to be said now, in order: corrections, then orders that were not told yet.
    pub fn due(&mut self, world: &World) -> Vec<String> {
        let mut lines = Vec::new();
        for (vm, step) in self.corrections(world) {
            if self.open.len() < OPEN_MAX {
                let id = self.next(Open::Correction(vm, step.clone()));
                lines.push(line::command(id, world, vm, &step));
            }
        }
        for (no, order) in world.orders() {
            if self.open.len() < OPEN_MAX && self.ordered.insert(no) {
                let step = step_of(world, order);
                let id = self.next(Open::Order(no, order.vm, step.clone()));
                lines.push(line::command(id, world, order.vm, &step));
            }
        }
        lines
    }

    /// Takes a line of the driver, without its end.
    ///
    /// # Errors
    /// What is wrong with it, and where. The session goes on.
    pub fn hear(&mut self, line: &[u8]) -> Result<Heard, Complaint> {
        self.heard += 1;
        if line.trim_ascii().is_empty() {
            return Ok(Heard::Nothing);
        }
        let answer = line::parse(line).map_err(|problem| problem.on(self.heard))?;
        let Some(open) = self.open.remove(&answer.id) else {
            let text = format!("no command {} waits for an answer", answer.id);
            return Err(Complaint::new(self.heard, text));
        };
        let failed = answer.failed();
        match (open, failed) {
            (Open::State, None) => Ok(Heard::Noted),
            (Open::State, Some(text)) => Ok(Heard::Differs(text)),
            (Open::Order(no, vm, step), None) => {
                self.learn(vm, step);
                Ok(Heard::Order(no, Ok(())))
            }
            (Open::Order(no, ..), Some(text)) => Ok(Heard::Order(no, Err(text))),
            (Open::Correction(vm, step), failed) => {
                // It is not said again and again to a hypervisor that cannot.
                self.learn(vm, step);
                Ok(failed.map_or(Heard::Noted, Heard::Differs))
            }
        }
    }

    /// Takes note of a line that was too long to be read.
    pub fn hear_too_long(&mut self) -> Complaint {
        self.heard += 1;
        let text = format!("longer than {LINE_BYTES_MAX} bytes");
        Complaint::new(self.heard, text)
    }

    fn next(&mut self, open: Open) -> u64 {
        self.last += 1;
        self.open.insert(self.last, open);
        self.last
    }

    /// A command was carried out.
    fn learn(&mut self, vm: VmNo, step: Step) {
        match step {
            Step::Start(disks) => drop(self.known.insert(vm, disks)),
            Step::Stop | Step::Destroy => drop(self.known.remove(&vm)),
            Step::Reboot => {}
            Step::Plug(volume, disk, _) | Step::Resize(volume, disk) => {
                if let Some(disks) = self.known.get_mut(&vm) {
                    disks.insert(volume, disk);
                }
            }
            Step::Unplug(volume, _) => {
                if let Some(disks) = self.known.get_mut(&vm) {
                    disks.remove(&volume);
                }
            }
        }
    }

    /// What differs in guests about which no command is out: first what takes disks away, since a
    /// disk may move from one guest to another.
    fn corrections(&self, world: &World) -> Vec<(VmNo, Step)> {
        let mut busy = BTreeSet::new();
        for open in self.open.values() {
            match open {
                Open::State => return Vec::new(),
                Open::Order(_, vm, _) | Open::Correction(vm, _) => drop(busy.insert(*vm)),
            }
        }
        let wanted = guests(world);
        let vms: BTreeSet<VmNo> = self.known.keys().chain(wanted.keys()).copied().collect();
        let mut steps = Vec::new();
        for vm in vms.difference(&busy) {
            let found = match (self.known.get(vm), wanted.get(vm)) {
                (Some(_), None) => vec![Step::Stop],
                (None, Some(disks)) => vec![Step::Start(disks.clone())],
                (Some(known), Some(wanted)) => between(known, wanted),
                (None, None) => Vec::new(),
            };
            steps.extend(found.into_iter().map(|step| (*vm, step)));
        }
        steps.sort_by_key(|(_, step)| !matches!(step, Step::Stop | Step::Unplug(..)));
        steps
    }
}

/// The guests that run.
fn guests(world: &World) -> BTreeMap<VmNo, Disks> {
    let mut guests = BTreeMap::new();
    for (no, vm) in world.vms() {
        if let Some(guest) = &vm.guest {
            let disks = guest.disks().iter();
            let disks = disks.map(|disk| {
                let (bus, size) = (disk.bus, disk.size);
                (disk.volume, KnownDisk { bus, size })
            });
            guests.insert(no, disks.collect());
        }
    }
    guests
}

/// What makes one set of disks into another.
fn between(known: &Disks, wanted: &Disks) -> Vec<Step> {
    let mut steps = Vec::new();
    for (volume, disk) in known {
        if wanted.get(volume).is_none_or(|other| other.bus != disk.bus) {
            steps.push(Step::Unplug(*volume, *disk));
        }
    }
    for (volume, disk) in wanted {
        match known.get(volume).filter(|other| other.bus == disk.bus) {
            None => steps.push(Step::Plug(*volume, *disk, None)),
            Some(other) if other.size != disk.size => steps.push(Step::Resize(*volume, *disk)),
            Some(_) => {}
        }
    }
    steps
}

/// An order as what its guest is to be changed by.
fn step_of(world: &World, order: &Order) -> Step {
    let plugged = |volume: VolumeNo| {
        let guest = world.vm(order.vm).guest.as_ref();
        let disks = guest.map_or(&[][..], |guest| guest.disks());
        let disk = disks.iter().find(|disk| disk.volume == volume);
        KnownDisk {
            bus: disk.map_or_else(|| world.hot_bus(order.vm), |disk| disk.bus),
            size: disk.map_or_else(|| world.volume(volume).size, |disk| disk.size),
        }
    };
    match order.change {
        Change::Plug { volume, device } => Step::Plug(volume, plugged(volume), Some(device)),
        Change::Unplug { volume } => Step::Unplug(volume, plugged(volume)),
        Change::Resize { volume, size } => Step::Resize(
            volume,
            KnownDisk {
                size,
                ..plugged(volume)
            },
        ),
        Change::Start => {
            let disks = world.boot_disks(order.vm).into_iter().map(|(volume, bus)| {
                let size = world.volume(volume).size;
                (volume, KnownDisk { bus, size })
            });
            Step::Start(disks.collect())
        }
        Change::Stop => Step::Stop,
        Change::Reboot => Step::Reboot,
        Change::Destroy => Step::Destroy,
    }
}

#[cfg(test)]
mod tests;
