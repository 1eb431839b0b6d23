//! Orders: what a hypervisor outside has to do before a job goes on.
//!
//! Owns which orders are out, and what an answer or its absence does to their jobs. What is
//! ordered when is decided by the steps of the jobs; how orders are told is none of its business.
//!
//! Only a world that was told to [`World::await_hypervisor`] gives orders; others change their
//! guests by themselves. A step gives its order when everything else speaks for the change, and
//! changes nothing until it is done: database and guest stay as they are if it fails.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sim::refusal::Refusal;
use crate::sim::time::SimTime;

use super::World;
use super::job::{Event, Stage};
use super::rows::{JobNo, VmNo, VolumeNo};

/// The number of an order. Never used again in the same world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OrderNo(u64);

impl fmt::Display for OrderNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What is to become of a VM's guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It gets a disk while it runs.
    Plug {
        /// Whose data.
        volume: VolumeNo,
        /// The device id it will have.
        device: u32,
    },
    /// It lets a disk go while it runs.
    Unplug {
        /// Whose data.
        volume: VolumeNo,
    },
    /// It sees a new size of a disk.
    Resize {
        /// Whose data.
        volume: VolumeNo,
        /// In bytes.
        size: u64,
    },
    /// It starts with the disks of the database.
    Start,
    /// It ends.
    Stop,
    /// It boots again with the disks it has.
    Reboot,
    /// It ends because its VM is destroyed.
    Destroy,
}

/// An order that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Whose guest.
    pub vm: VmNo,
    /// What to do.
    pub change: Change,
    /// Since when.
    pub since: SimTime,
    job: JobNo,
    stage: Stage,
}

/// What is known of a hypervisor outside.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Hypervisor {
    /// How long an answer may take; `None`: there is no hypervisor outside.
    wait_ms: Option<u64>,
    #[serde(with = "crate::sim::serial::as_list")]
    orders: BTreeMap<OrderNo, Order>,
    last: u64,
    /// The step that runs is one whose order was carried out.
    #[serde(skip)]
    obeyed: bool,
}

impl Hypervisor {
    /// Nobody waits for these orders any more.
    pub(super) fn forget_orders(&mut self) {
        self.orders.clear();
    }
}

impl World {
    /// From now on, lets jobs wait for a hypervisor outside, for so many milliseconds at most.
    /// `None`: for none; orders that are out then count as carried out.
    pub fn await_hypervisor(&mut self, wait_ms: Option<u64>) {
        self.hypervisor.wait_ms = wait_ms;
        if wait_ms.is_none() {
            for no in self.hypervisor.orders.keys().copied().collect::<Vec<_>>() {
                self.answer_order(no, Ok(()));
            }
        }
    }

    /// The orders that are out, oldest first.
    pub fn orders(&self) -> impl Iterator<Item = (OrderNo, &Order)> {
        self.hypervisor
            .orders
            .iter()
            .map(|(no, order)| (*no, order))
    }

    /// Takes the answer to an order: done, or failed with the hypervisor's words. False: nobody
    /// waits for it any more, and nothing changes.
    pub fn answer_order(&mut self, no: OrderNo, answer: Result<(), &str>) -> bool {
        let Some(order) = self.hypervisor.orders.remove(&no) else {
            return false;
        };
        match answer {
            Ok(()) => {
                self.hypervisor.obeyed = true;
                let flow = self.carry_out(order.job, order.stage);
                self.hypervisor.obeyed = false;
                self.follow(order.job, order.stage, flow);
            }
            Err(text) => {
                let refusal = self.not_obeyed(&order, text);
                self.follow(order.job, order.stage, Err(refusal));
            }
        }
        true
    }

    /// Whether the step that runs has to give an order before it changes a guest.
    pub(super) const fn must_ask(&self) -> bool {
        self.hypervisor.wait_ms.is_some() && !self.hypervisor.obeyed
    }

    /// Gives an order for a step of a job, which is run again when it is carried out.
    pub(super) fn give_order(&mut self, job: JobNo, stage: Stage, vm: VmNo, change: Change) {
        self.hypervisor.last += 1;
        let no = OrderNo(self.hypervisor.last);
        let order = Order {
            vm,
            change,
            since: self.now,
            job,
            stage,
        };
        self.hypervisor.orders.insert(no, order);
        self.schedule(self.hypervisor_wait_ms(), Event::GiveUp(no));
    }

    /// An order has been out for as long as an answer may take.
    pub(super) fn give_up(&mut self, no: OrderNo) {
        let text = format!(
            "the hypervisor did not answer within {} ms",
            self.hypervisor_wait_ms()
        );
        self.answer_order(no, Err(&text));
    }

    fn hypervisor_wait_ms(&self) -> u64 {
        self.hypervisor.wait_ms.unwrap_or_default()
    }

    /// The refusal of a job whose order failed: as CloudStack passes on what its agent says. For
    /// VMs the words around it are not CloudStack's.
    fn not_obeyed(&self, order: &Order, text: &str) -> Refusal {
        let vm = &self.vm(order.vm).name;
        match order.change {
            Change::Plug { volume, .. } => self.not_plugged(order.vm, volume, text),
            Change::Unplug { volume } => {
                self.not_released(order.vm, volume, self.hypervisor_wait_ms())
            }
            Change::Resize { volume, .. } => self.resize_failed(volume, text),
            Change::Start => Refusal::runtime(format!("Unable to start VM {vm}: {text}")),
            Change::Stop => Refusal::runtime(format!("Unable to stop VM {vm}: {text}")),
            Change::Reboot => Refusal::runtime(format!("Unable to reboot VM {vm}: {text}")),
            Change::Destroy => Refusal::runtime(format!("Unable to destroy VM {vm}: {text}")),
        }
    }

    /// What must hold for orders.
    pub(super) fn check_orders(&self) -> Result<(), String> {
        for (no, order) in self.orders() {
            if !self.pending.contains(&order.job) || self.job(order.job).stage() != order.stage {
                return Err(format!(
                    "order {no} is out, but its job does not wait for it"
                ));
            }
        }
        Ok(())
    }
}
