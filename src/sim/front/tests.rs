//! The API from outside, under a clock that the test moves.

mod accounts;
mod events;
mod faults;
mod fuzz;
mod jobs;
mod lists;
mod orders;
mod owners;
mod property;
mod requests;
mod snapshots;
mod vm_snapshots;
mod vms;
mod volumes;

use serde_json::Value;

use crate::sim::SimTime;
use crate::sim::control::{Made, Operation};
use crate::sim::world::{ADMIN_API_KEY, ADMIN_SECRET_KEY, Settings, World};

use super::sign::signature;
use super::{Delivery, Front, HttpAnswer, HttpRequest};

/// 2026-11-20T22:30:00Z.
const START: SimTime = SimTime::from_millis(1_795_213_800_000);

/// A front, a clock, and the keys of `admin`.
struct Rig {
    front: Front,
    now: SimTime,
}

impl Rig {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self {
            front: Front::new(World::standard(settings, START)),
            now: START,
        }
    }

    /// Lets time pass.
    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        self.front.advance(self.now);
    }

    /// Sends a signed request.
    fn send(&mut self, command: &str, params: &[(&str, &str)]) -> HttpAnswer {
        let mut all = vec![
            ("command", command),
            ("response", "json"),
            ("apiKey", ADMIN_API_KEY),
        ];
        all.extend_from_slice(params);
        self.front
            .handle(&HttpRequest::get(signed(&all, ADMIN_SECRET_KEY)), self.now)
    }

    /// Sends a signed request and returns what is under the one key.
    fn call(&mut self, command: &str, params: &[(&str, &str)]) -> Value {
        let answer = self.send(command, params);
        assert_eq!(answer.status, 200, "{command} {params:?}: {}", answer.body);
        only_key(&answer.body, &format!("{}response", command.to_lowercase()))
    }

    /// Sends a request that is refused: `errorcode`, `cserrorcode`, `errortext`.
    fn refused(&mut self, command: &str, params: &[(&str, &str)]) -> (u16, Option<i64>, String) {
        let answer = self.send(command, params);
        let body = only_key(&answer.body, &format!("{}response", command.to_lowercase()));
        assert_eq!(body["errorcode"], answer.status, "{}", answer.body);
        assert_eq!(body["uuidList"], Value::Array(vec![]));
        let text = body["errortext"].as_str().expect("errortext").to_owned();
        (answer.status, body["cserrorcode"].as_i64(), text)
    }

    /// Submits a job and returns its id.
    fn submit(&mut self, command: &str, params: &[(&str, &str)]) -> String {
        let answer = self.call(command, params);
        text(&answer["jobid"])
    }

    fn job(&mut self, id: &str) -> Value {
        self.call("queryAsyncJobResult", &[("jobid", id)])
    }

    /// Submits a job, lets it end, and returns how it ended.
    fn done(&mut self, command: &str, params: &[(&str, &str)]) -> Value {
        let id = self.submit(command, params);
        self.pass(5_000);
        self.job(&id)
    }

    /// Runs a job that fails: its `errorcode` and `errortext`.
    fn fails(&mut self, command: &str, params: &[(&str, &str)]) -> (u64, String) {
        let job = self.done(command, params);
        assert_eq!(job["jobstatus"], 2, "{command} {params:?}: {job}");
        let result = job["jobresult"].as_object().expect("jobresult");
        let keys: Vec<&str> = result.keys().map(String::as_str).collect();
        assert_eq!(keys, ["errorcode", "errortext"]);
        assert_eq!(job["jobresultcode"], result["errorcode"]);
        (
            result["errorcode"].as_u64().expect("a number"),
            text(&result["errortext"]),
        )
    }

    fn zone(&mut self) -> String {
        text(&self.call("listZones", &[])["zone"][0]["id"])
    }

    fn offering(&mut self, name: &str) -> String {
        text(&self.call("listDiskOfferings", &[("name", name)])["diskoffering"][0]["id"])
    }

    fn vm(&mut self, name: &str) -> String {
        text(&self.call("listVirtualMachines", &[("name", name)])["virtualmachine"][0]["id"])
    }

    /// Creates a volume of so many GiB; its job is left behind.
    fn create(&mut self, name: &str, gib: u32) -> String {
        let (zone, offering) = (self.zone(), self.offering("Custom OSSEA"));
        let size = gib.to_string();
        let answer = self.call(
            "createVolume",
            &[
                ("name", name),
                ("zoneid", &zone),
                ("diskofferingid", &offering),
                ("size", &size),
            ],
        );
        text(&answer["id"])
    }

    /// Creates a volume, attaches it and lets everything end.
    fn create_on(&mut self, name: &str, vm: &str) -> String {
        let (id, vm) = (self.create(name, 1), self.vm(vm));
        let job = self.done("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
        assert_eq!(job["jobstatus"], 1, "{job}");
        id
    }

    /// The volume as `listVolumes id=` shows it; null if it does not.
    fn volume(&mut self, id: &str) -> Value {
        let mut listed = self.call("listVolumes", &[("id", id)]);
        listed
            .pointer_mut("/volume/0")
            .map(Value::take)
            .unwrap_or_default()
    }

    fn operate(&mut self, operation: &Operation) -> Made {
        self.front
            .world_mut()
            .operate(operation)
            .expect("an operation that is possible")
    }

    /// Kernel name and serial of the disks a VM's guest really has.
    fn plugged(&self, vm: &str) -> Vec<(String, String)> {
        let world = self.front.world();
        let no = world.vm_called(vm).expect("a VM of that name");
        crate::sim::host::disks_of(world, no)
            .into_iter()
            .map(|disk| (disk.name, disk.serial))
            .collect()
    }

    /// Whether a volume is really plugged into a VM's guest.
    fn is_plugged(&self, vm: &str, volume: &str) -> bool {
        self.plugged(vm)
            .iter()
            .any(|(_, serial)| *serial == serial_of(volume))
    }
}

impl Drop for Rig {
    /// Whatever a test did, the world must still hold together.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.front.world().check().expect("a world that holds");
        }
    }
}

fn serial_of(volume: &str) -> String {
    volume.replace('-', "")[..20].to_owned()
}

/// A signed query string.
fn signed(params: &[(&str, &str)], secret: &str) -> String {
    let mut pairs: Vec<String> = params
        .iter()
        .map(|(name, value)| format!("{}={}", percent(name), percent(value)))
        .collect();
    let signature = signature(params.iter().copied(), secret);
    pairs.push(format!("signature={}", percent(&signature)));
    pairs.join("&")
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        })
        .collect()
}

fn only_key(body: &str, key: &str) -> Value {
    let mut body: Value = serde_json::from_str(body).expect("JSON");
    let object = body.as_object_mut().expect("an object");
    let keys: Vec<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(keys, [key]);
    object[key].take()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("text instead of {value}"))
        .to_owned()
}
