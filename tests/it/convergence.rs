//! Properties of the whole: whatever happens on the way, the invariants hold after every step, and
//! once it is calm the world ends as last asked for and stays there.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use volume_daemon::model::{VolumeId, VolumeName};
use volume_daemon::sim::control::Side;
use volume_daemon::sim::fault::{DropWhen, OutageMode, Target};
use volume_daemon::sim::{Fault, Operation};

use crate::rig::{Rig, SELF, block_on, spec};

const HOUR: Duration = Duration::from_secs(3600);
/// Steps that a path has at most (I12).
const STEPS_MAX: usize = 8;
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Commands that the daemon sends.
const COMMANDS: [&str; 5] = [
    "createVolume",
    "createTags",
    "attachVolume",
    "detachVolume",
    "resizeVolume",
];

/// Where a spec wants its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    TestVm,
    Nowhere,
}

impl Place {
    fn vm(self) -> &'static str {
        match self {
            Self::Here => "self",
            Self::TestVm => "test-vm",
            Self::Nowhere => "none",
        }
    }
}

/// Something that happens to the world or to the daemon.
#[derive(Debug, Clone)]
enum Happening {
    Declare {
        which: usize,
        place: Place,
        export: bool,
        detach: bool,
    },
    Remove {
        which: usize,
    },
    Pass {
        seconds: u64,
    },
    DetachBehind {
        which: usize,
    },
    Swap,
    RestartNbd,
    Connect {
        which: usize,
    },
    Disconnect,
    Crash {
        moment: usize,
    },
    DropResponse {
        command: usize,
        when: DropWhen,
    },
    FailJob {
        command: usize,
    },
    StickAndRestart {
        command: usize,
    },
    Throttle,
    BadGateway {
        command: usize,
    },
    Outage {
        seconds: u64,
        mode: OutageMode,
    },
    SomebodyElse,
}

fn happening() -> impl Strategy<Value = Happening> {
    let which = 0..NAMES.len();
    let command = 0..COMMANDS.len();
    let place = prop_oneof![
        4 => Just(Place::Here),
        1 => Just(Place::TestVm),
        1 => Just(Place::Nowhere),
    ];
    let when = prop_oneof![Just(DropWhen::BeforeCommit), Just(DropWhen::AfterCommit)];
    let mode = prop_oneof![Just(OutageMode::Closed), Just(OutageMode::Unavailable)];
    prop_oneof![
        6 => (which.clone(), place, any::<bool>(), any::<bool>()).prop_map(
            |(which, place, export, detach)| Happening::Declare { which, place, export, detach }
        ),
        2 => which.clone().prop_map(|which| Happening::Remove { which }),
        6 => (0_u64..1500).prop_map(|seconds| Happening::Pass { seconds }),
        2 => which.clone().prop_map(|which| Happening::DetachBehind { which }),
        1 => Just(Happening::Swap),
        1 => Just(Happening::RestartNbd),
        2 => which.prop_map(|which| Happening::Connect { which }),
        1 => Just(Happening::Disconnect),
        3 => (0_usize..12).prop_map(|moment| Happening::Crash { moment }),
        3 => (command.clone(), when)
            .prop_map(|(command, when)| Happening::DropResponse { command, when }),
        1 => command.clone().prop_map(|command| Happening::FailJob { command }),
        1 => command.clone().prop_map(|command| Happening::StickAndRestart { command }),
        1 => Just(Happening::Throttle),
        1 => command.prop_map(|command| Happening::BadGateway { command }),
        2 => (1_u64..600, mode).prop_map(|(seconds, mode)| Happening::Outage { seconds, mode }),
        1 => Just(Happening::SomebodyElse),
    ]
}

/// What was last asked for of one name; `None`: its spec is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    place: Place,
    export: bool,
    gib: u64,
}

/// The rig, and what was asked of it.
struct Run {
    rig: Rig,
    asked: BTreeMap<&'static str, Option<Asked>>,
    sizes: BTreeMap<&'static str, u64>,
    /// Whether a disk was taken from a client by something other than the daemon.
    unplugged: bool,
}

impl Run {
    async fn new() -> Self {
        let mut rig = Rig::new(7);
        rig.start().await;
        Self {
            rig,
            asked: BTreeMap::new(),
            sizes: BTreeMap::new(),
            unplugged: false,
        }
    }

    async fn happen(&mut self, happening: &Happening) {
        let next = |command: &usize| Target::next(COMMANDS[*command]);
        match happening {
            Happening::Declare {
                which,
                place,
                export,
                detach,
            } => self.declare(NAMES[*which], *place, *export, *detach).await,
            Happening::Remove { which } => self.remove(NAMES[*which]).await,
            Happening::Pass { seconds } => self.pass(*seconds).await,
            Happening::DetachBehind { which } => self.detach(NAMES[*which]),
            Happening::Swap => {
                // Only what is plugged can be swapped; otherwise nothing happens.
                let swap = Operation::SwapDisks {
                    vm: SELF.to_owned(),
                    a: "a".to_owned(),
                    b: "b".to_owned(),
                };
                self.unplugged |= self.rig.operate(&swap).is_ok();
            }
            Happening::RestartNbd => self.rig.restart_nbd(),
            Happening::Connect { which } => {
                if let Some(export) = self.rig.export_of(NAMES[*which]) {
                    self.rig.nbd.connect(&export);
                }
            }
            Happening::Disconnect => self.rig.nbd.disconnect_all(),
            Happening::Crash { moment } => self.rig.fuse.light(*moment),
            Happening::DropResponse { command, when } => self.rig.inject(Fault::DropResponse {
                on: next(command),
                when: *when,
            }),
            Happening::FailJob { command } => self.rig.inject(Fault::FailJob {
                on: next(command),
                text: "the agent is tired".to_owned(),
            }),
            Happening::StickAndRestart { command } => {
                self.rig.inject(Fault::StuckJob { on: next(command) });
                self.pass(300).await;
                self.restart_cloudstack();
            }
            Happening::Throttle => self.rig.inject(Fault::TooManyRequests {
                on: Target::default().times(3),
                retry_after_ms: 700,
            }),
            Happening::BadGateway { command } => {
                self.rig.inject(Fault::BadGateway { on: next(command) });
            }
            Happening::Outage { seconds, mode } => self.rig.inject(Fault::Outage {
                mode: *mode,
                ms: seconds * 1000,
            }),
            Happening::SomebodyElse => self.somebody_else(),
        }
    }

    fn restart_cloudstack(&mut self) {
        self.rig.inject(Fault::Restart {
            keep_plugged: false,
        });
    }

    async fn declare(&mut self, name: &'static str, place: Place, export: bool, detach: bool) {
        self.alive().await;
        let size = self.sizes.entry(name).or_insert(0);
        *size += 1;
        let asked = Asked {
            place,
            export: export && place == Place::Here,
            gib: *size,
        };
        let mut yaml = spec(name, asked.gib, place.vm(), asked.export);
        if detach {
            yaml += "  reclaimPolicy: Detach\n";
        }
        self.rig.declare(&yaml).await;
        self.asked.insert(name, Some(asked));
    }

    async fn remove(&mut self, name: &'static str) {
        if let Some(Some(_)) = self.asked.get(name) {
            self.alive().await;
            self.rig.remove(name).await;
            self.asked.insert(name, None);
        }
    }

    async fn pass(&mut self, seconds: u64) {
        self.rig.run_for(Duration::from_secs(seconds)).await;
        if self.rig.core().is_none() {
            self.rig.start().await;
        }
    }

    async fn alive(&mut self) {
        if self.rig.core().is_none() {
            self.rig.start().await;
        }
    }

    /// Somebody takes a volume away from the appliance; elsewhere would be drift for good.
    fn detach(&mut self, name: &str) {
        let here = {
            let front = self.rig.front();
            let world = front.world();
            let here = world.vm_called(SELF).expect("it is there");
            world.volumes().any(|(_, volume)| {
                volume.name == name && volume.attachment.is_some_and(|at| at.vm == here)
            })
        };
        let detach = Operation::DetachVolume {
            volume: name.to_owned(),
            side: Side::Both,
        };
        if here && self.rig.operate(&detach).is_ok() {
            self.unplugged = true;
        }
    }

    fn somebody_else(&mut self) {
        let name = format!("theirs-{}", self.rig.foreign.len());
        let made = self.rig.operate(&Operation::CreateVolume {
            name: name.clone(),
            size_gib: 1,
        });
        let attach = Operation::AttachVolume {
            volume: name,
            vm: SELF.to_owned(),
            device_id: None,
            side: Side::Both,
        };
        if made.is_ok() {
            // A VM with a job under way refuses; then it stays detached.
            let _ = self.rig.operate(&attach);
        }
    }

    /// Faults stop; then the world must come to rest as last asked for, and stay there.
    async fn comes_to_rest(&mut self) {
        self.rig.calm();
        self.rig.fuse.reset();
        // Jobs that never end are ended.
        self.restart_cloudstack();
        self.alive().await;
        let before = self.rig.transport.count();
        // Whoever waits for clients looks again within half a minute.
        self.rig.run_for(Duration::from_secs(60)).await;
        // The guard may hold implied steps back for an hour.
        let settled = self.rig.settle(4 * HOUR).await;
        let says: Vec<String> = NAMES.iter().map(|name| self.rig.says(name)).collect();
        assert!(settled, "I12: {says:?}");
        let calls = self.rig.transport.count() - before;
        let bound = NAMES.len() * (STEPS_MAX + 2);
        assert!(calls <= bound, "I12: {calls} calls to come to rest");
        self.is_as_asked();
        self.rig.check_served_is_plugged();
        if !self.unplugged {
            let cut = self.rig.nbd.take_cut();
            assert!(cut.is_empty(), "I11: clients of {cut:?} were cut off");
        }
        let resting = self.rig.transport.count();
        self.rig.run_for(HOUR).await;
        assert_eq!(self.rig.transport.count(), resting, "I12: it goes on");
        self.is_as_asked();
    }

    /// History independence: the end depends on what was last asked for.
    fn is_as_asked(&self) {
        for (name, asked) in &self.asked {
            match asked {
                Some(asked) => self.is_so(name, *asked),
                None => assert_eq!(self.rig.says(name), "Released", "{name}"),
            }
        }
    }

    fn is_so(&self, name: &str, asked: Asked) {
        assert_eq!(self.rig.says(name), "InSync", "{name}: {asked:?}");
        let id = self.rig.volume_of(name).expect("in sync, so it is bound");
        let front = self.rig.front();
        let world = front.world();
        let no = world.find_volume(id.uuid()).expect("it exists");
        let volume = world.volume(no);
        assert_eq!(volume.size, asked.gib << 30, "{name}");
        let vm = volume.attachment.map(|at| world.vm(at.vm).name.clone());
        let expected = match asked.place {
            Place::Here => Some(SELF.to_owned()),
            Place::TestVm => Some("test-vm".to_owned()),
            Place::Nowhere => None,
        };
        assert_eq!(vm, expected, "{name}");
        let export = self.rig.export_of(name).expect("bound");
        assert_eq!(
            self.rig.nbd.exports().contains_key(&export),
            asked.export,
            "{name}"
        );
    }
}

/// How many histories are tried: few in everyday runs, `PROPTEST_CASES` for more.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 400,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_comes_to_rest_as_last_asked_for(
        history in prop::collection::vec(happening(), 1..24),
    ) {
        block_on(async {
            let mut run = Run::new().await;
            for happening in &history {
                run.happen(happening).await;
            }
            run.comes_to_rest().await;
        });
    }

    /// The end of a chain of edits is the end of its last edit.
    #[test]
    fn the_end_depends_on_the_last_specs_only(
        edits in prop::collection::vec((0..NAMES.len(), any::<bool>(), 0_u64..120), 1..12),
    ) {
        let end = |edits: Vec<(usize, bool, u64)>, sizes: BTreeMap<&'static str, u64>| {
            block_on(async {
                let mut run = Run::new().await;
                run.sizes = sizes;
                for (which, export, seconds) in edits {
                    run.declare(NAMES[which], Place::Here, export, false).await;
                    run.pass(seconds).await;
                }
                run.comes_to_rest().await;
                let sizes = run.sizes.clone();
                (picture(&run.rig), sizes)
            })
        };
        let (whole, sizes) = end(edits.clone(), BTreeMap::new());
        let mut last: BTreeMap<usize, (usize, bool, u64)> = BTreeMap::new();
        for edit in edits {
            last.insert(edit.0, edit);
        }
        let before = sizes.into_iter().map(|(name, size)| (name, size - 1)).collect();
        let (short, _) = end(last.into_values().collect(), before);
        prop_assert_eq!(whole, short);
    }
}

/// What a world looks like, without ids.
fn picture(rig: &Rig) -> BTreeMap<String, (u64, bool, bool)> {
    let core = rig.core().expect("a daemon");
    let bindings = &core.world().memory.bindings;
    let front = rig.front();
    let world = front.world();
    let look = |(name, volume): (&VolumeName, VolumeId)| {
        let no = world
            .find_volume(volume.uuid())
            .expect("bound volumes exist");
        let row = world.volume(no);
        let export = volume_daemon::model::ExportName::default_for(volume);
        let served = rig.nbd.exports().contains_key(&export);
        (
            name.to_string(),
            (row.size, row.attachment.is_some(), served),
        )
    };
    bindings
        .iter()
        .map(|(name, binding)| look((name, binding.volume)))
        .collect()
}
