//! Jobs that wait for a hypervisor outside.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::property::acts;
use super::*;
use crate::sim::fault::Fault;
use crate::sim::hypervisor::{Heard, Session};
use crate::sim::state;
use crate::sim::world::{Change, OrderNo};

const WAIT_MS: u64 = 30_000;

impl Rig {
    /// A rig whose jobs wait for a hypervisor.
    fn ordering() -> Self {
        let mut rig = Self::new();
        rig.front.world_mut().await_hypervisor(Some(WAIT_MS));
        rig
    }

    /// The only order that is out: its number, its VM's name and what it is, in short.
    fn order(&self) -> (OrderNo, String, &'static str) {
        let world = self.front.world();
        let orders: Vec<_> = world.orders().collect();
        let [(no, order)] = orders[..] else {
            panic!("one order instead of {orders:?}");
        };
        let what = match order.change {
            Change::Plug { .. } => "plug",
            Change::Unplug { .. } => "unplug",
            Change::Resize { .. } => "resize",
            Change::Start => "start",
            Change::Stop => "stop",
            Change::Reboot => "reboot",
            Change::Destroy => "destroy",
        };
        (no, world.vm(order.vm).name.clone(), what)
    }

    fn answer(&mut self, no: OrderNo, answer: Result<(), &str>) {
        assert!(self.front.world_mut().answer_order(no, answer), "awaited");
        self.pass(100);
    }

    /// Runs a job up to its order, which must be this one, and answers that.
    fn ordered(
        &mut self,
        call: (&str, &[(&str, &str)]),
        order: &str,
        answer: Result<(), &str>,
    ) -> Value {
        let job = self.submit(call.0, call.1);
        self.pass(5_000);
        let (no, vm, what) = self.order();
        assert_eq!((vm.as_str(), what), ("appliance", order));
        assert_eq!(self.job(&job)["jobstatus"], 0, "it waits");
        self.answer(no, answer);
        self.job(&job)
    }
}

#[test]
fn nothing_is_plugged_or_let_go_before_the_hypervisor_did_it() {
    let mut rig = Rig::ordering();
    let (id, vm) = (rig.create("data", 1), rig.vm("appliance"));
    let attach = [("id", id.as_str()), ("virtualmachineid", vm.as_str())];
    let job = rig.submit("attachVolume", &attach);
    rig.pass(5_000);
    assert_eq!(rig.volume(&id)["state"], "Attaching");
    assert!(!rig.is_plugged("appliance", &id));
    let (no, ..) = rig.order();
    rig.answer(no, Ok(()));
    assert_eq!(rig.job(&job)["jobstatus"], 1);
    assert!(rig.is_plugged("appliance", &id));
    let job = rig.submit("detachVolume", &[("id", &id)]);
    rig.pass(5_000);
    assert_eq!(rig.volume(&id)["vmname"], "appliance");
    assert!(rig.is_plugged("appliance", &id));
    let (no, ..) = rig.order();
    rig.answer(no, Ok(()));
    assert_eq!(rig.job(&job)["jobstatus"], 1);
    assert!(!rig.is_plugged("appliance", &id));
    assert!(!rig.front.world_mut().answer_order(no, Ok(())), "only once");
}

#[test]
fn a_failed_order_fails_its_job_and_changes_nothing() {
    let mut rig = Rig::ordering();
    let (id, vm) = (rig.create("data", 1), rig.vm("appliance"));
    let of_volume: &[(&str, &str)] = &[("id", &id)];
    let of_vm: &[(&str, &str)] = &[("id", &vm)];
    let attach: &[(&str, &str)] = &[("id", &id), ("virtualmachineid", &vm)];
    let failed = |rig: &mut Rig, call: (&str, &[(&str, &str)]), order: &str, text: &str| {
        let job = rig.ordered(call, order, Err("it is on fire"));
        assert_eq!(job["jobresult"]["errorcode"], 530, "{job}");
        let said = job["jobresult"]["errortext"].as_str().expect("a text");
        assert!(said.starts_with(text), "{said}");
    };
    let text = "Failed to attach volume data to VM appliance; it is on fire";
    failed(&mut rig, ("attachVolume", attach), "plug", text);
    assert_eq!(rig.volume(&id)["state"], "Ready");
    assert!(!rig.is_plugged("appliance", &id));
    rig.ordered(("attachVolume", attach), "plug", Ok(()));
    let text = "Failed to detach volume data from VM appliance; \
                com.cloud.exception.InternalErrorException: Could not detach volume after sending \
                the command and waiting for [30000] milliseconds.";
    failed(&mut rig, ("detachVolume", of_volume), "unplug", text);
    assert_eq!(rig.volume(&id)["vmname"], "appliance");
    assert!(rig.is_plugged("appliance", &id));
    let text = "Failed to resize volume operation of volume UUID: [";
    let resize: &[(&str, &str)] = &[("id", &id), ("size", "2")];
    failed(&mut rig, ("resizeVolume", resize), "resize", text);
    assert_eq!(rig.volume(&id)["state"], "Ready");
    assert_eq!(rig.volume(&id)["size"], 1_u64 << 30);
    for (command, order) in [
        ("rebootVirtualMachine", "reboot"),
        ("stopVirtualMachine", "stop"),
        ("destroyVirtualMachine", "destroy"),
    ] {
        let text = format!("Unable to {order} VM appliance: it is on fire");
        failed(&mut rig, (command, of_vm), order, &text);
        assert_eq!(rig.state_of(&vm), "Running");
    }
    rig.ordered(("stopVirtualMachine", of_vm), "stop", Ok(()));
    let text = "Unable to start VM appliance: it is on fire";
    failed(&mut rig, ("startVirtualMachine", of_vm), "start", text);
    assert_eq!(rig.state_of(&vm), "Stopped");
}

#[test]
fn an_order_that_is_not_answered_fails_when_its_time_is_over() {
    let mut rig = Rig::ordering();
    let (id, vm) = (rig.create("data", 1), rig.vm("appliance"));
    let attach = [("id", id.as_str()), ("virtualmachineid", vm.as_str())];
    let job = rig.submit("attachVolume", &attach);
    rig.pass(350);
    let (no, ..) = rig.order();
    rig.pass(WAIT_MS - 1);
    assert_eq!(rig.job(&job)["jobstatus"], 0);
    rig.pass(1);
    let job = rig.job(&job);
    assert_eq!(
        job["jobresult"]["errortext"],
        "Failed to attach volume data to VM appliance; the hypervisor did not answer within \
         30000 ms"
    );
    assert!(!rig.front.world_mut().answer_order(no, Ok(())), "too late");
    assert!(!rig.is_plugged("appliance", &id));
}

#[test]
fn what_no_guest_would_notice_needs_no_order() {
    let mut rig = Rig::ordering();
    let id = rig.create("data", 1);
    let stopped = rig.vm("test-vm");
    let attach = [("id", id.as_str()), ("virtualmachineid", stopped.as_str())];
    assert_eq!(rig.done("attachVolume", &attach)["jobstatus"], 1);
    let resize = [("id", id.as_str()), ("size", "2")];
    assert_eq!(rig.done("resizeVolume", &resize)["jobstatus"], 1);
    assert_eq!(rig.done("detachVolume", &[("id", &id)])["jobstatus"], 1);
    let destroy = [("id", stopped.as_str())];
    assert_eq!(rig.done("destroyVirtualMachine", &destroy)["jobstatus"], 1);
    assert_eq!(rig.front.world().orders().count(), 0);
}

#[test]
fn a_restart_withdraws_orders_and_a_world_without_hypervisor_obeys_itself() {
    let mut rig = Rig::ordering();
    let (id, vm) = (rig.create("data", 1), rig.vm("appliance"));
    let attach = [("id", id.as_str()), ("virtualmachineid", vm.as_str())];
    let lost = rig.submit("attachVolume", &attach);
    rig.pass(5_000);
    rig.front.inject(Fault::Restart {
        keep_plugged: false,
    });
    assert_eq!(rig.front.world().orders().count(), 0);
    assert_eq!(rig.job(&lost)["jobstatus"], 2);
    let job = rig.submit("attachVolume", &attach);
    rig.pass(5_000);
    let kept = state::save(&rig.front);
    rig.front = state::restore(&kept).expect("what was saved");
    rig.order();
    rig.front.world_mut().await_hypervisor(None);
    rig.pass(100);
    assert_eq!(rig.job(&job)["jobstatus"], 1);
    assert!(rig.is_plugged("appliance", &id));
}

/// Disks by their volume, with bus and size, by the id of their VM.
type Guests = BTreeMap<String, BTreeMap<String, (String, u64)>>;

/// A driver that believes what it is told, and its hypervisor.
struct Driver {
    session: Session,
    guests: Guests,
    unread: VecDeque<String>,
}

impl Driver {
    fn connect(world: &World) -> Self {
        let (session, state) = Session::begin(world);
        Self {
            session,
            guests: Guests::new(),
            unread: VecDeque::from([state]),
        }
    }

    /// The driver starts again; its hypervisor goes on.
    fn connect_again(&mut self, world: &World) {
        let (session, state) = Session::begin(world);
        (self.session, self.unread) = (session, VecDeque::from([state]));
    }

    /// Does the next thing that it was told, if there is one.
    fn obey(&mut self, world: &mut World) {
        let Some(line) = self.unread.pop_front() else {
            return;
        };
        let command: Value = serde_json::from_str(&line).expect("JSON");
        let vm = command["vm"].as_str().unwrap_or_default().to_owned();
        let disk = |disk: &Value| {
            let (bus, size) = (text(&disk["bus"]), disk["size"].as_u64().expect("a size"));
            (text(&disk["volume"]), (bus, size))
        };
        let disks = |vm: &Value| {
            let disks = vm["disks"].as_array().expect("disks");
            disks.iter().map(disk).collect()
        };
        let mut result = "done";
        match command["do"].as_str().expect("a command") {
            "state" => {
                let vms = command["vms"].as_array().expect("VMs").iter();
                self.guests = vms.map(|vm| (text(&vm["vm"]), disks(vm))).collect();
            }
            "start" => drop(self.guests.insert(vm, disks(&command))),
            "stop" | "destroy" => drop(self.guests.remove(&vm)),
            "reboot" => {}
            what => match (what, self.guests.get_mut(&vm)) {
                ("plug" | "resize", Some(guest)) => guest.extend([disk(&command["disk"])]),
                ("unplug", Some(guest)) => drop(guest.remove(&disk(&command["disk"]).0)),
                // An earlier order to stop it was obeyed too late.
                (_, None) => result = "failed",
                (other, Some(_)) => panic!("{other}"),
            },
        }
        let answer = format!(r#"{{"id":{},"result":"{result}"}}"#, command["id"]);
        match self.session.hear(answer.as_bytes()).expect("an answer") {
            Heard::Order(no, answer) => {
                let answer = answer.as_ref().map_err(String::as_str).copied();
                world.answer_order(no, answer);
            }
            Heard::Noted => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The guests as the world has them.
fn guests(world: &World) -> Guests {
    let guests = world.vms().filter_map(|(_, vm)| {
        let disks = vm.guest.as_ref()?.disks().iter();
        let disks = disks.map(|disk| {
            let volume = world.volume(disk.volume).uuid.to_string();
            (volume, (disk.bus.as_str().to_owned(), disk.size))
        });
        Some((vm.uuid.to_string(), disks.collect()))
    });
    guests.collect()
}

/// How the hypervisor of a history answers: the next of these, again and again.
fn answers() -> impl Strategy<Value = Vec<Option<bool>>> {
    let answer = prop_oneof![3 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)];
    prop::collection::vec(answer, 1..20)
}

proptest! {
    #[test]
    fn the_world_holds_together_whatever_the_hypervisor_says(acts in acts(), answers in answers()) {
        let mut rig = Rig::ordering();
        let mut answers = answers.into_iter().cycle();
        for act in &acts {
            rig.act(act);
            let orders: Vec<OrderNo> = rig.front.world().orders().map(|(no, _)| no).collect();
            for no in orders {
                match answers.next().flatten() {
                    None => {}
                    Some(true) => drop(rig.front.world_mut().answer_order(no, Ok(()))),
                    Some(false) => drop(rig.front.world_mut().answer_order(no, Err("no"))),
                }
            }
            prop_assert_eq!(rig.front.world().check(), Ok(()), "after {:?}", act);
        }
        // A hypervisor that is gone holds nothing up for ever.
        rig.front.clear_faults();
        rig.front.inject(Fault::Restart { keep_plugged: false });
        rig.pass(2 * 86_400_000);
        prop_assert_eq!(rig.front.world().pending_jobs().count(), 0);
        prop_assert_eq!(rig.front.world().orders().count(), 0);
        prop_assert_eq!(rig.front.world().check(), Ok(()));
    }

    #[test]
    fn the_hypervisor_has_what_the_world_has_once_it_has_done_everything(
        acts in acts(),
        paces in prop::collection::vec(0..4_u8, 1..20),
    ) {
        let mut rig = Rig::ordering();
        // So short that the driver is often too late.
        rig.front.world_mut().await_hypervisor(Some(400));
        let mut driver = Driver::connect(rig.front.world());
        for (act, pace) in acts.iter().zip(paces.into_iter().cycle()) {
            rig.act(act);
            driver.unread.extend(driver.session.due(rig.front.world()));
            match pace {
                // It takes its time, until nobody waits for it.
                0 => {}
                1 => driver.connect_again(rig.front.world()),
                _ => {
                    for _ in 0..pace {
                        driver.obey(rig.front.world_mut());
                    }
                }
            }
        }
        for _ in 0..1_000 {
            driver.unread.extend(driver.session.due(rig.front.world()));
            driver.obey(rig.front.world_mut());
        }
        prop_assert!(driver.unread.is_empty());
        prop_assert_eq!(rig.front.world().orders().count(), 0);
        prop_assert_eq!(driver.guests, guests(rig.front.world()));
    }
}
