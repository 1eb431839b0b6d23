//! Lines of the protocol as JSON: one object each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sim::world::{VmNo, VolumeNo, World};

use super::{Disks, KnownDisk, Step};

/// The longest line that is read, in bytes, without its end.
pub const LINE_BYTES_MAX: usize = 65_536;

/// What the protocol calls itself.
const PROTOCOL: &str = "volume-daemon-hypervisor";

/// Goes up when a driver that understands this version would not understand the next.
const VERSION: u32 = 1;

/// The first line: which protocol this is, and how long a job waits for an answer.
pub fn hello(timeout_ms: u64) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Hello {
        hello: &'static str,
        version: u32,
        timeout_ms: u64,
    }
    json(&Hello {
        hello: PROTOCOL,
        version: VERSION,
        timeout_ms,
    })
}

#[derive(Serialize)]
struct Command<'a> {
    id: u64,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(tag = "do", rename_all = "camelCase")]
enum What<'a> {
    State {
        vms: Vec<Guest<'a>>,
    },
    Start(Guest<'a>),
    Stop(Vm<'a>),
    Destroy(Vm<'a>),
    Reboot(Vm<'a>),
    Plug {
        #[serde(flatten)]
        vm: Vm<'a>,
        disk: Disk,
    },
    Unplug {
        #[serde(flatten)]
        vm: Vm<'a>,
        disk: Disk,
    },
    Resize {
        #[serde(flatten)]
        vm: Vm<'a>,
        disk: Disk,
    },
}

#[derive(Serialize)]
struct Vm<'a> {
    vm: Uuid,
    name: &'a str,
}

#[derive(Serialize)]
struct Guest<'a> {
    #[serde(flatten)]
    vm: Vm<'a>,
    /// In order of device id, those without one last.
    disks: Vec<Disk>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Disk {
    volume: Uuid,
    serial: String,
    bus: &'static str,
    /// `None`: the database knows nothing of it.
    device_id: Option<u32>,
    size: u64,
    backing: Uuid,
}

/// The line with all guests that run.
pub(super) fn state(id: u64, world: &World, guests: &BTreeMap<VmNo, Disks>) -> String {
    let vms = guests
        .iter()
        .map(|(vm, disks)| guest(world, *vm, disks))
        .collect();
    let what = What::State { vms };
    json(&Command { id, what })
}

/// The line of one command.
pub(super) fn command(id: u64, world: &World, no: VmNo, step: &Step) -> String {
    let vm = vm(world, no);
    let what = match step {
        Step::Start(disks) => What::Start(guest(world, no, disks)),
        Step::Stop => What::Stop(vm),
        Step::Destroy => What::Destroy(vm),
        Step::Reboot => What::Reboot(vm),
        Step::Plug(volume, known, device) => {
            let mut disk = disk(world, no, *volume, *known);
            disk.device_id = device.or(disk.device_id);
            What::Plug { vm, disk }
        }
        Step::Unplug(volume, known) => What::Unplug {
            vm,
            disk: disk(world, no, *volume, *known),
        },
        Step::Resize(volume, known) => What::Resize {
            vm,
            disk: disk(world, no, *volume, *known),
        },
    };
    json(&Command { id, what })
}

fn vm(world: &World, no: VmNo) -> Vm<'_> {
    let row = world.vm(no);
    Vm {
        vm: row.uuid,
        name: &row.name,
    }
}

fn guest<'a>(world: &'a World, no: VmNo, disks: &Disks) -> Guest<'a> {
    let mut disks: Vec<Disk> = disks
        .iter()
        .map(|(volume, known)| disk(world, no, *volume, *known))
        .collect();
    disks.sort_by_key(|disk| disk.device_id.unwrap_or(u32::MAX));
    Guest {
        vm: vm(world, no),
        disks,
    }
}

fn disk(world: &World, vm: VmNo, no: VolumeNo, known: KnownDisk) -> Disk {
    let row = world.volume(no);
    let link = row.attachment.filter(|link| link.vm == vm);
    Disk {
        volume: row.uuid,
        serial: row.serial(),
        bus: known.bus.as_str(),
        device_id: link.map(|link| link.device),
        size: known.size,
        // As `path` in listings: the image keeps its name, whatever becomes of the volume.
        backing: row.uuid,
    }
}

/// What a driver says of a command.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// Of which.
    pub id: u64,
    result: Verdict,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Verdict {
    Done,
    Failed,
}

impl Answer {
    /// Why it failed; `None`: it was done.
    pub fn failed(self) -> Option<String> {
        match self.result {
            Verdict::Done => None,
            Verdict::Failed => Some(self.text.unwrap_or_else(|| "no reason given".to_owned())),
        }
    }
}

/// What is wrong with a line, and in which column.
pub(super) struct Problem(serde_json::Error);

impl Problem {
    /// As a complaint about that line, counted from 1.
    pub fn on(&self, line: u64) -> Complaint {
        let text = self.0.to_string();
        // The parser saw one line, which it calls 1.
        let text = text.split(" at line ").next().unwrap_or_default();
        Complaint {
            column: Some(self.0.column()),
            ..Complaint::new(line, text.to_owned())
        }
    }
}

/// Reads a driver's line.
pub(super) fn parse(line: &[u8]) -> Result<Answer, Problem> {
    serde_json::from_slice(line).map_err(Problem)
}

/// What is wrong with a driver's line, as it is told.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Complaint {
    error: String,
    /// Counted from the driver's first line, which is 1.
    line: u64,
    /// Counted in bytes from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

impl Complaint {
    pub(super) const fn new(line: u64, error: String) -> Self {
        Self {
            error,
            line,
            column: None,
        }
    }

    /// The line that tells it.
    pub fn to_line(&self) -> String {
        json(self)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("lines have string keys and no foreign types")
}
