//! From a seed to a history. Nothing is drawn later, so cutting one happening leaves the others
//! as they were.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use volume_daemon::reconcile::Pace;
use volume_daemon::sim::control::Side;
use volume_daemon::sim::fault::{Count, DropWhen, OutageMode, Patterns, Target, When};
use volume_daemon::sim::world::{Latencies, VmState};
use volume_daemon::sim::{Fault, Operation};

use super::happening::{Ask, Given, Happening, History, Origin, Serve, Setup};
use crate::rig::{Deed, SELF};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Requests that a fault may be meant for.
const COMMANDS: [&str; 12] = [
    "createVolume",
    "createTags",
    "attachVolume",
    "detachVolume",
    "resizeVolume",
    "*Volume",
    "create*",
    "listVolumes",
    "listVirtualMachines",
    "list*",
    "queryAsyncJobResult",
    "*",
];

/// Draws from one seed.
struct Draw {
    rng: Rng,
    names: Vec<&'static str>,
    vms: Vec<String>,
    /// Volumes that others own, by name.
    theirs: Vec<String>,
    /// What each spec last asked for.
    asks: BTreeMap<&'static str, Ask>,
}

/// The history of a seed.
pub fn history(seed: u64) -> History {
    let mut draw = Draw {
        rng: Rng::with_seed(seed),
        names: Vec::new(),
        vms: vec![SELF.to_owned(), "test-vm".to_owned(), "final-vm".to_owned()],
        theirs: Vec::new(),
        asks: BTreeMap::new(),
    };
    let count = draw.rng.usize(1..=NAMES.len());
    draw.names = NAMES[..count].to_vec();
    let setup = draw.setup(seed);
    let count = draw.rng.usize(3..20);
    let mut happenings = vec![draw.ask()];
    happenings.extend((0..count).map(|_| draw.happening()));
    History { setup, happenings }
}

impl Draw {
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())].clone()
    }

    fn percent(&mut self, chance: u8) -> bool {
        self.rng.u8(0..100) < chance
    }

    /// A span whose order of magnitude is drawn, in milliseconds, at most a quarter of an hour.
    fn span(&mut self) -> u64 {
        let most = 1_u64 << self.rng.u32(0..=19);
        self.rng.u64(most / 2..=most) * 7 / 4
    }

    fn setup(&mut self, seed: u64) -> Setup {
        let mut seconds = |of: &[u64]| Duration::from_secs(self.one(of));
        let pace = Pace {
            resync: seconds(&[60, 120, 150]),
            jobs: seconds(&[1, 2, 5]),
            rescan: seconds(&[10, 20, 30]),
            ..Pace::default()
        };
        let most = self.one(&[50, 500, 5_000, 5_000, 20_000]);
        let mut latency = || self.rng.u64(0..=most);
        let latencies = Latencies {
            create_ms: latency(),
            provision_ms: latency(),
            attach_ms: latency(),
            settle_ms: latency(),
            detach_ms: latency(),
            detach_wait_ms: latency(),
            snapshot_ms: latency(),
            resize_ms: latency(),
            delete_ms: latency(),
            vm_ms: latency() * 2,
            jitter_percent: self.rng.u8(0..=100),
        };
        for no in 0..self.rng.usize(0..3) {
            self.vms.push(format!("spare-{no}"));
        }
        let vms = self.vms[3..].to_vec();
        let vms = vms.into_iter().map(|name| {
            let state = self.one(&[VmState::Running, VmState::Stopped]);
            (name, state)
        });
        let vms = vms.collect();
        let volumes = (0..self.rng.usize(0..4)).map(|no| self.given(no)).collect();
        Setup {
            seed,
            latencies,
            pace,
            implied_floor: self.rng.usize(1..=3),
            detach_grace: Duration::from_secs(self.one(&[20, 60, 600])),
            page_size: self.one(&[3, 6, 500, 500]),
            bus: self.one(&["virtio", "virtio", "scsi", "sata"]),
            vms,
            volumes,
        }
    }

    fn given(&mut self, no: usize) -> Given {
        // Sometimes one that has the name of a spec.
        let name = if self.percent(15) {
            self.one(&NAMES).to_owned()
        } else {
            format!("old-{no}")
        };
        self.theirs.push(name.clone());
        let vm = self.percent(40).then(|| self.vm());
        Given {
            name,
            gib: self.rng.u64(1..5),
            vm,
            claimed: self.percent(15),
        }
    }

    fn vm(&mut self) -> String {
        let vms = self.vms.clone();
        self.one(&vms)
    }

    fn other_vm(&mut self) -> String {
        let vms = self.vms[1..].to_vec();
        self.one(&vms)
    }

    fn name(&mut self) -> &'static str {
        let names = self.names.clone();
        self.one(&names)
    }

    /// A volume, by its name in CloudStack.
    fn volume(&mut self) -> String {
        if !self.theirs.is_empty() && self.percent(25) {
            let theirs = self.theirs.clone();
            return self.one(&theirs);
        }
        let name = self.name();
        let ask = self.asks.get(name);
        ask.map_or(name, Ask::volume_name).to_owned()
    }

    fn happening(&mut self) -> Happening {
        match self.rng.u8(0..100) {
            0..22 => self.ask(),
            22..29 => Happening::Remove(self.name().to_owned()),
            29..54 => Happening::Pass(self.span()),
            54..70 => Happening::Deed(self.deed()),
            70..85 => Happening::Fault(self.fault()),
            85..89 => Happening::Connect(self.name().to_owned()),
            89..90 => Happening::Disconnect,
            90..96 => Happening::Crash(self.rng.usize(0..16)),
            96..97 => Happening::RestartNbd,
            97..98 => Happening::Reboot,
            _ => Happening::Believe(self.rng.bool()),
        }
    }

    fn ask(&mut self) -> Happening {
        let name = self.name();
        let ask = match self.asks.get(name).cloned() {
            Some(ask) if !self.percent(10) => self.edited(ask),
            _ => self.new_ask(name),
        };
        self.asks.insert(name, ask.clone());
        Happening::Ask(ask)
    }

    fn new_ask(&mut self, name: &str) -> Ask {
        let origin = self.origin();
        let (vm, device, export) = (self.place(), self.device(), self.export());
        Ask {
            name: name.to_owned(),
            origin,
            gib: self.rng.u64(1..6),
            vm,
            device,
            when_free: self.percent(15),
            export,
            reclaim: self.reclaim(),
            protect: self.percent(30),
            suspend: self.percent(3),
            observe: self.percent(3),
        }
    }

    fn origin(&mut self) -> Origin {
        match self.rng.u8(0..100) {
            0..80 => Origin::Made("Custom OSSEA", None),
            80..84 => Origin::Made("Small", None),
            84..88 => Origin::Made("Custom OSSEA", Some("shared".to_owned())),
            _ => Origin::Found(format!("old-{}", self.rng.u8(0..3))),
        }
    }

    fn place(&mut self) -> Option<String> {
        match self.rng.u8(0..100) {
            0..65 => Some("self".to_owned()),
            65..85 => Some(self.other_vm()),
            85..93 => Some("none".to_owned()),
            _ => None,
        }
    }

    fn device(&mut self) -> Option<u8> {
        self.percent(10).then(|| self.one(&[0, 1, 2, 5]))
    }

    fn export(&mut self) -> Option<Serve> {
        self.percent(65).then(|| Serve {
            name: self.percent(10).then(|| "disk".to_owned()),
            read_only: self.percent(15),
        })
    }

    fn reclaim(&mut self) -> &'static str {
        self.one(&["Retain", "Retain", "Detach", "Detach", "Delete"])
    }

    /// The same with one thing changed; sometimes with none.
    fn edited(&mut self, mut ask: Ask) -> Ask {
        match self.rng.u8(0..100) {
            0..25 => ask.vm = self.place(),
            25..45 => ask.export = self.export(),
            45..65 => ask.gib += self.rng.u64(1..4),
            65..68 => ask.gib = self.rng.u64(1..6),
            68..73 => ask.device = self.device(),
            73..78 => ask.when_free = !ask.when_free,
            78..84 => ask.reclaim = self.reclaim(),
            84..88 => ask.suspend = !ask.suspend,
            88..92 => ask.observe = !ask.observe,
            92..94 => ask.origin = self.origin(),
            _ => {
                ask.suspend = false;
                ask.observe = false;
            }
        }
        ask
    }

    fn deed(&mut self) -> Deed {
        let (volume, vm) = (self.volume(), self.vm());
        let side = self.one(&[Side::Both, Side::Both, Side::Guest]);
        match self.rng.u8(0..100) {
            0..18 => Deed::AtOnce(Operation::DetachVolume { volume, side }),
            18..27 => Deed::AtOnce(Operation::AttachVolume {
                volume,
                vm,
                device_id: None,
                side,
            }),
            27..31 => Deed::AtOnce(Operation::DeleteVolume { volume }),
            31..39 => Deed::AtOnce(Operation::SwapDisks {
                vm: SELF.to_owned(),
                a: volume,
                b: self.volume(),
            }),
            39..45 => Deed::AtOnce(Operation::StartVm {
                vm: self.other_vm(),
            }),
            45..51 => Deed::AtOnce(Operation::StopVm {
                vm: self.other_vm(),
            }),
            51..54 => Deed::AtOnce(Operation::RebootVm {
                vm: self.other_vm(),
            }),
            54..56 => Deed::AtOnce(Operation::DestroyVm {
                vm: self.other_vm(),
                expunge: self.rng.bool(),
            }),
            56..61 => Deed::AtOnce(Operation::IgnoreUnplug {
                vm,
                ignore: self.percent(70),
            }),
            61..66 => Deed::AtOnce(self.somebodys_volume()),
            66..95 => self.call(volume, vm),
            _ => Deed::Recover { volume },
        }
    }

    fn call(&mut self, volume: String, vm: String) -> Deed {
        let call = match self.rng.u8(0..29) {
            0..6 => Deed::Attach { volume, vm },
            6..14 => Deed::Detach { volume },
            14..18 => Deed::Resize {
                volume,
                gib: self.rng.i64(1..9),
            },
            18..25 => Deed::Snapshot { volume },
            _ => Deed::Destroy { volume },
        };
        if self.percent(40) {
            return Deed::Slow(self.rng.u64(1_000..120_000), Box::new(call));
        }
        call
    }

    fn somebodys_volume(&mut self) -> Operation {
        let name = match self.rng.u8(0..3) {
            0 => self.name().to_owned(),
            _ => format!("old-{}", self.rng.u8(0..3)),
        };
        self.theirs.push(name.clone());
        Operation::CreateVolume {
            name,
            size_gib: self.rng.i64(1..4),
        }
    }

    fn target(&mut self) -> Target {
        let probability = self.one(&[1.0, 1.0, 0.5, 0.2]);
        let count = match self.rng.u8(0..10) {
            0..6 => Count::Times(1),
            6..9 => Count::Times(self.rng.u32(2..5)),
            _ => Count::All,
        };
        let until = (count == Count::All).then(|| When::After(self.span()));
        Target {
            command: Patterns::one(self.one(&COMMANDS)),
            probability: probability.try_into().expect("at most 1"),
            count,
            from: self.percent(20).then(|| When::After(self.span() / 100)),
            until,
            seed: Some(self.rng.u64(..)),
            ..Target::default()
        }
    }

    fn fault(&mut self) -> Fault {
        let on = self.target();
        let when = self.one(&[DropWhen::BeforeCommit, DropWhen::AfterCommit]);
        let ms = self.span();
        let text = "the agent is tired".to_owned();
        match self.rng.u8(0..25) {
            0..4 => Fault::DropResponse { on, when },
            4 => Fault::DelayResponse { on, ms },
            // Of a create it leaves a row that nobody could know of (`ApiServer.java`).
            5 => Fault::DuplicateRequest {
                on: Target {
                    command: Patterns::one(self.one(&COMMANDS[1..5])),
                    ..on
                },
            },
            6..8 => Fault::LateRequest { on, ms: ms / 10 },
            8 => Fault::TooManyRequests {
                on,
                retry_after_ms: ms / 10,
            },
            9 => Fault::BadGateway { on },
            10 => Fault::ServiceUnavailable { on },
            11 => Fault::InternalError { on, text },
            12 => Fault::StuckJob { on },
            13 => Fault::DelayJob { on, ms: ms / 4 },
            14 => Fault::StragglingDetach { on, ms: ms / 4 },
            15 => Fault::FailJob { on, text },
            16 => Fault::StorageFailure { on },
            17 => Fault::DetachTimeout { on },
            18 => Fault::PurgeJob { on },
            19 => Fault::LoseJob { on, when },
            20 => Fault::MissRows {
                on,
                rows: self.rng.u32(1..4),
            },
            21 => Fault::RepeatRows {
                on,
                rows: self.rng.u32(1..4),
            },
            22 => self.stale_or_skewed(on),
            23 => Fault::Outage {
                mode: self.one(&[OutageMode::Closed, OutageMode::Unavailable]),
                ms,
            },
            _ => Fault::Restart {
                keep_plugged: self.rng.bool(),
            },
        }
    }

    fn stale_or_skewed(&mut self, on: Target) -> Fault {
        if self.rng.bool() {
            let ms = self.rng.u64(100..5_000);
            return Fault::StaleListing { on, ms };
        }
        Fault::ClockSkew {
            ms: self.rng.i64(-90_000..90_000),
        }
    }
}
