use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::sim::SimTime;
use crate::sim::control::Operation;
use crate::sim::world::{
    AccountNo, GIB, GivenVm, GivenVolume, Settings, VmState, VolumeState, Work,
};

const WAIT_MS: u64 = 30_000;

/// A world with one VM that runs and one volume, and a driver that is a test.
struct Rig {
    world: World,
    session: Session,
    account: AccountNo,
    vm: VmNo,
    volume: VolumeNo,
    state: String,
}

impl Rig {
    fn new() -> Self {
        let mut world = World::new(Settings::default(), SimTime::from_millis(0));
        let account = world.add_account("admin", "key", "secret");
        let zone = world.add_zone("zone-1");
        let offering = world.add_offering("Custom", None);
        let vm = world.add_given_vm(GivenVm {
            uuid: Some(uuid("9f2b7f10-6c1e-4b62-8f5c-0d7a51d3f9aa")),
            name: "appliance".to_owned(),
            zone,
            account,
            os: None,
            details: None,
            state: VmState::Running,
            started_once: true,
            created: world.now(),
        });
        let vm = vm.expect("the first");
        let volume = world.add_given_volume(GivenVolume {
            uuid: Some(uuid("b3bb9310-1b59-4f62-97e8-5d3c0a1b2c3d")),
            name: "data".to_owned(),
            size: GIB,
            offering,
            zone,
            account,
            state: VolumeState::Ready,
            created: world.now(),
            tags: Vec::new(),
            attach: None,
        });
        world.await_hypervisor(Some(WAIT_MS));
        let (session, state) = Session::begin(&world);
        let volume = volume.expect("the first");
        Self {
            world,
            session,
            account,
            vm,
            volume,
            state,
        }
    }

    /// Whose first line was answered.
    fn connected() -> Self {
        let mut rig = Self::new();
        rig.hears(r#"{"id":1,"result":"done"}"#);
        rig
    }

    /// Submits a job and lets it come to its order.
    fn job(&mut self, work: Work) {
        self.world.submit(self.account, work, None, None);
        self.pass(5_000);
    }

    fn attach(&mut self) {
        let work = self.work("attachVolume").expect("known");
        self.job(work);
    }

    fn detach(&mut self) {
        let work = self.work("detachVolume").expect("known");
        self.job(work);
    }

    /// A command on the VM or the volume; it is the first word.
    fn work(&self, text: &str) -> Option<Work> {
        let (volume, vm) = (self.volume, self.vm);
        Some(match text.split([' ', ':']).next()? {
            "attachVolume" => Work::Attach {
                volume,
                vm,
                device: None,
            },
            "detachVolume" => Work::Detach {
                volume: Some(volume),
                vm: None,
                device: None,
            },
            "resizeVolume" => Work::Resize {
                volume,
                size_gib: Some(2),
                offering: None,
                shrink_ok: false,
            },
            "rebootVirtualMachine" => Work::RebootVm { vm },
            "stopVirtualMachine" => Work::StopVm { vm },
            "startVirtualMachine" => Work::StartVm { vm },
            "destroyVirtualMachine" => Work::DestroyVm { vm, expunge: false },
            _ => return None,
        })
    }

    fn pass(&mut self, millis: u64) {
        self.world.advance(self.world.now().plus_millis(millis));
    }

    /// What the driver is told now, in short: number, what, and about which device.
    fn says(&mut self) -> Vec<(u64, String, Value)> {
        let lines = self.session.due(&self.world);
        lines
            .iter()
            .map(|line| {
                let line: Value = serde_json::from_str(line).expect("JSON");
                let what = line["do"].as_str().expect("a command").to_owned();
                let id = line["id"].as_u64().expect("a number");
                (id, what, line["disk"]["deviceId"].clone())
            })
            .collect()
    }

    /// Takes a line of the driver; the answer, if there is one.
    fn hears(&mut self, line: &str) -> Option<String> {
        match self.session.hear(line.as_bytes()) {
            Ok(Heard::Order(no, answer)) => {
                let answer = answer.as_ref().map_err(String::as_str).copied();
                self.world.answer_order(no, answer);
                self.pass(100);
                None
            }
            Ok(Heard::Noted | Heard::Differs(_) | Heard::Nothing) => None,
            Err(complaint) => Some(complaint.to_line()),
        }
    }

    fn done(&mut self, id: u64) {
        let complaint = self.hears(&json!({"id": id, "result": "done"}).to_string());
        assert_eq!(complaint, None);
    }

    fn operate(&mut self, operation: &str) {
        let operation: Operation = serde_json::from_str(operation).expect("an operation");
        self.world.operate(&operation).expect("it is possible");
    }

    /// Whether the volume is plugged in, by the world.
    fn is_plugged(&self) -> bool {
        self.world.plugged_in(self.volume) == Some(self.vm)
    }
}

fn uuid(text: &str) -> Uuid {
    Uuid::try_parse(text).expect("an id")
}

fn said(id: u64, what: &str, device: impl Into<Value>) -> (u64, String, Value) {
    (id, what.to_owned(), device.into())
}

/// The exchange that the document shows, line by line: what the test does stands after `#`.
#[test]
fn the_documented_exchange_is_what_happens() {
    let document = include_str!("../../../docs/hypervisor-protocol.md");
    let exchange = document.split("```text\n").nth(1).expect("the exchange");
    let exchange = exchange.split("```").next().unwrap_or_default();
    let mut rig = Rig::new();
    let mut told = vec![hello(WAIT_MS), rig.state.clone()];
    told.reverse();
    let mut actions = 0;
    for line in exchange.lines().filter(|line| !line.is_empty()) {
        told.splice(0..0, rig.session.due(&rig.world).into_iter().rev());
        let (who, text) = line.split_once(' ').expect("who says it");
        match who {
            ">" => assert_eq!(told.pop().as_deref(), Some(text)),
            "<" => told.extend(rig.hears(text)),
            "#" => match rig.work(text) {
                Some(work) => rig.job(work),
                None => continue,
            },
            _ => panic!("{line}"),
        }
        actions += 1;
    }
    assert!(actions > 20, "only {actions} lines were tried");
    assert_eq!(told, Vec::<String>::new(), "there is more to say");
    assert_eq!(rig.world.orders().count(), 0, "all were answered");
}

#[test]
fn an_order_is_told_once_and_again_to_the_next_driver() {
    let mut rig = Rig::connected();
    rig.attach();
    assert_eq!(rig.says(), [said(2, "plug", 1)]);
    assert_eq!(rig.says(), []);
    let (session, state) = Session::begin(&rig.world);
    rig.session = session;
    assert!(!state.contains("b3bb9310"), "not yet: {state}");
    assert_eq!(rig.says(), [said(2, "plug", 1)], "unasked for by its state");
    rig.done(2);
    assert!(rig.is_plugged());
    let (_, state) = Session::begin(&rig.world);
    assert!(state.contains("b3bb9310"), "{state}");
}

#[test]
fn what_happens_behind_the_apis_back_is_told_and_not_waited_for() {
    let mut rig = Rig::connected();
    rig.operate(r#"{"op":"attachVolume","volume":"data","vm":"appliance","side":"guest"}"#);
    assert!(rig.is_plugged());
    assert_eq!(rig.says(), [said(2, "plug", Value::Null)]);
    assert_eq!(rig.says(), [], "only once");
    rig.operate(r#"{"op":"detachVolume","volume":"data","side":"guest"}"#);
    assert_eq!(rig.says(), [], "not before that is done");
    rig.done(2);
    assert_eq!(rig.says(), [said(3, "unplug", Value::Null)]);
    // The hypervisor differs from now on; it is not told for ever.
    rig.hears(r#"{"id":3,"result":"failed"}"#);
    assert_eq!(rig.says(), []);
    rig.operate(r#"{"op":"attachVolume","volume":"data","vm":"appliance"}"#);
    assert_eq!(rig.says(), [said(4, "plug", 1)]);
}

#[test]
fn what_was_done_too_late_is_taken_back() {
    let mut rig = Rig::connected();
    rig.attach();
    assert_eq!(rig.says(), [said(2, "plug", 1)]);
    rig.pass(WAIT_MS);
    assert_eq!(rig.says(), [], "it may still be done");
    rig.done(2);
    assert!(!rig.is_plugged());
    assert_eq!(rig.says(), [said(3, "unplug", Value::Null)]);
    rig.done(3);
    rig.attach();
    assert_eq!(rig.says(), [said(4, "plug", 1)]);
    rig.done(4);
    // The same with a guest that lets go late, and with a VM that stops late.
    rig.detach();
    assert_eq!(rig.says(), [said(5, "unplug", 1)]);
    rig.pass(WAIT_MS);
    rig.done(5);
    assert_eq!(rig.says(), [said(6, "plug", 1)]);
    rig.done(6);
    rig.job(Work::StopVm { vm: rig.vm });
    assert_eq!(rig.says(), [said(7, "stop", Value::Null)]);
    rig.pass(WAIT_MS);
    rig.done(7);
    assert_eq!(rig.says(), [said(8, "start", Value::Null)]);
    rig.done(8);
    assert_eq!(rig.says(), []);
}

#[test]
fn a_failed_order_leaves_the_driver_as_it_was() {
    let mut rig = Rig::connected();
    rig.attach();
    assert_eq!(rig.says(), [said(2, "plug", 1)]);
    rig.hears(r#"{"id":2,"result":"failed","text":"no slot"}"#);
    assert_eq!(rig.says(), []);
    assert!(!rig.is_plugged());
}

#[test]
fn another_world_is_told_as_a_whole() {
    let mut rig = Rig::connected();
    rig.attach();
    assert_eq!(rig.says(), [said(2, "plug", 1)]);
    let state = rig.session.begin_again(&rig.world);
    assert!(state.starts_with(r#"{"id":3,"do":"state","#), "{state}");
    assert_eq!(
        rig.hears(r#"{"id":2,"result":"done"}"#),
        Some(r#"{"error":"no command 2 waits for an answer","line":2}"#.to_owned())
    );
    assert_eq!(rig.says(), [said(4, "plug", 1)]);
    rig.done(3);
    rig.done(4);
    assert!(rig.is_plugged());
}

#[test]
fn disks_of_one_guest_are_made_into_those_of_another() {
    let disk = |bus, size| KnownDisk { bus, size };
    let (a, b) = (disk(Bus::Virtio, 1), disk(Bus::Scsi, 1));
    let volume = Rig::new().volume;
    let with = |disk| Disks::from([(volume, disk)]);
    let none = Disks::new();
    for (known, wanted, steps) in [
        (none.clone(), none.clone(), vec![]),
        (with(a), with(a), vec![]),
        (none.clone(), with(a), vec![Step::Plug(volume, a, None)]),
        (with(a), none, vec![Step::Unplug(volume, a)]),
        (
            with(a),
            with(disk(Bus::Virtio, 2)),
            vec![Step::Resize(volume, disk(Bus::Virtio, 2))],
        ),
        (
            with(a),
            with(b),
            vec![Step::Unplug(volume, a), Step::Plug(volume, b, None)],
        ),
    ] {
        assert_eq!(between(&known, &wanted), steps);
    }
}

#[test]
fn what_is_wrong_with_a_line_is_said_with_its_place() {
    let mut rig = Rig::connected();
    for (line, complaint) in [
        ("", None),
        (" \r", None),
        (
            "let there be light",
            Some(r#"{"error":"expected value","line":4,"column":1}"#),
        ),
        (
            r#"{"id":2,"result":"done"}"#,
            Some(r#"{"error":"no command 2 waits for an answer","line":5}"#),
        ),
        (
            r#"{"id":1,"result":"dnoe"}"#,
            Some(
                r#"{"error":"unknown variant `dnoe`, expected `done` or `failed`","line":6,"column":23}"#,
            ),
        ),
        (
            r#"{"id":1}"#,
            Some(r#"{"error":"missing field `result`","line":7,"column":8}"#),
        ),
        (
            r#"{"id":1,"result":"done","why":1}"#,
            Some(
                r#"{"error":"unknown field `why`, expected one of `id`, `result`, `text`","line":8,"column":29}"#,
            ),
        ),
        (
            r#"{"id":-1,"result":"done"}"#,
            Some(r#"{"error":"invalid value: integer `-1`, expected u64","line":9,"column":8}"#),
        ),
    ] {
        assert_eq!(rig.hears(line).as_deref(), complaint, "{line}");
    }
    assert_eq!(
        rig.session.hear_too_long().to_line(),
        r#"{"error":"longer than 65536 bytes","line":10}"#
    );
    rig.attach();
    assert_eq!(rig.says(), [said(2, "plug", 1)], "the session goes on");
}

#[test]
fn a_driver_that_answers_nothing_is_not_told_without_end() {
    let mut rig = Rig::connected();
    let mut told = 0;
    for _ in 0..OPEN_MAX + 10 {
        rig.attach();
        rig.pass(WAIT_MS);
        rig.attach();
        told += rig.says().len();
        rig.pass(WAIT_MS);
    }
    assert_eq!(told, OPEN_MAX);
}
