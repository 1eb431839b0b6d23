//! A daemon in a simulated world, one effect at a time.

mod cloud;
mod fuse;
mod invariants;
mod look;
mod nbd;
mod others;
mod stir;
mod story;
mod trouble;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;
use volume_daemon::act::Hands;
use volume_daemon::clock::{Clock, ManualClock};
use volume_daemon::cloudstack::{Client, Credentials, Scope, Secret};
use volume_daemon::host::Host;
use volume_daemon::model::observed::HostView;
use volume_daemon::model::{
    AcceptedDocument, BootTime, DesiredVolume, Owner, Presence, SourceChange, Timestamp, VolumeName,
};
use volume_daemon::plan::{Blocked, Decision, Desired, Policy, SourceHealth};
use volume_daemon::reconcile::{Core, Effect, Event, Pace};
use volume_daemon::sim::host::{HostDir, HostDisk, disks_of};
use volume_daemon::sim::world::{ADMIN_API_KEY, ADMIN_SECRET_KEY, Latencies, Settings};
use volume_daemon::sim::{Fault, Front, Operation, SimTime, World};
use volume_daemon::store::{Loaded, Location, Store};

use cloud::CloudTime;
pub use cloud::SimTransport;
pub use fuse::Fuse;
use invariants::Judged;
pub use nbd::FakeNbd;
pub use others::{Deed, Others};
pub use story::Story;
use trouble::Carried;
pub use trouble::Trouble;

/// Where the simulated time begins: 2026-01-01T00:00:00Z.
pub const START: i64 = 1_767_225_600_000;
/// Effects in a row at one moment.
const STEPS_MAX: usize = 2_000;
/// The VM the daemon runs on.
pub const SELF: &str = "appliance";

/// A daemon, or the place where one was.
struct Daemon {
    core: Core,
    hands: Arc<Hands<SimTransport, FakeNbd>>,
    pending: VecDeque<Effect>,
}

/// The world, the daemon in it, and what was asked of it.
pub struct Rig {
    pub clock: Arc<ManualClock>,
    pub nbd: FakeNbd,
    pub fuse: Arc<Fuse>,
    pub transport: SimTransport,
    time: CloudTime,
    front: Arc<Mutex<Front>>,
    tree: HostDir,
    /// What the tree shows.
    shown: Vec<HostDisk>,
    /// What a scan of it found; `None`: it changed since.
    scanned: Option<HostView>,
    root: TempDir,
    daemon: Option<Daemon>,
    specs: BTreeMap<VolumeName, DesiredVolume>,
    files: SourceHealth,
    pub policy: Policy,
    pub pace: Pace,
    /// What other people made and did.
    pub others: Others,
    seed: u64,
    /// The last effect, for messages.
    last: String,
    story: Story,
    /// The decisions that were told last.
    told: BTreeMap<VolumeName, String>,
    judged: Judged,
    /// Whether anything outside the daemon changed since it was judged.
    stirred: bool,
    /// What happens when the fuse blows.
    pub trouble: Trouble,
    /// What the daemon learns late, and when.
    belated: Vec<(BootTime, Event)>,
}

impl Rig {
    /// A world with an appliance, two other VMs, and no daemon yet.
    pub fn new(seed: u64) -> Self {
        let settings = Settings {
            seed,
            latencies: Latencies::all(200),
            ..Settings::default()
        };
        Self::in_world(World::standard(settings, SimTime::from_millis(START)))
    }

    /// No daemon yet, in a world that has an appliance and is as old as the clock.
    pub fn in_world(world: World) -> Self {
        let seed = world.settings().seed;
        let others = Others::in_world(&world);
        let root = memory_dir();
        let vm = world.vm_called(SELF).expect("the standard world has it");
        let tree = HostDir::create(root.path().join("host"), world.vm(vm).uuid).expect("a tree");
        let (time, now) = CloudTime::begin(world.now());
        let clock = Arc::new(ManualClock::at(now));
        let front = Arc::new(Mutex::new(Front::new(world)));
        let fuse = Arc::new(Fuse::default());
        let nbd = FakeNbd::new(Arc::clone(&fuse));
        let mut rig = Self {
            transport: SimTransport::new(Arc::clone(&front), clock.clone(), time, nbd.clone()),
            time,
            nbd,
            clock,
            fuse,
            front,
            tree,
            shown: Vec::new(),
            scanned: None,
            root,
            daemon: None,
            specs: BTreeMap::new(),
            files: SourceHealth::Sound,
            policy: Policy::default(),
            pace: Pace::default(),
            others,
            seed,
            last: String::new(),
            story: Story::default(),
            told: BTreeMap::new(),
            judged: Judged::default(),
            stirred: true,
            trouble: Trouble::default(),
            belated: Vec::new(),
        };
        rig.nbd.stir().note();
        rig.show_host();
        rig
    }

    /// Starts a daemon on the store that is there.
    pub async fn start(&mut self) {
        self.start_before_specs().await;
        self.tell_desired();
    }

    /// Starts a daemon which is not told yet what the specs say.
    pub async fn start_before_specs(&mut self) {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let path = self.root.path().join("store.db");
        let url = format!("sqlite://{}", path.display());
        let clock: Arc<dyn Clock> = self.clock.clone();
        let location = Location::local(&url).expect("a file");
        let store = Store::open(&location, Arc::clone(&clock))
            .await
            .expect("a store");
        let Loaded {
            memory,
            desired,
            skipped,
            episodes,
            ..
        } = store.load().await.expect("a readable store");
        assert!(skipped.is_empty(), "{skipped:?}");
        self.specs = desired
            .into_iter()
            .map(|spec| (spec.name().clone(), spec))
            .collect();
        let credentials = Credentials {
            api_key: Secret::new(ADMIN_API_KEY),
            secret: Secret::new(ADMIN_SECRET_KEY),
        };
        let scope = Scope {
            listall: true,
            project: None,
        };
        let cloud = Client::new(
            self.transport.clone(),
            credentials,
            scope,
            Arc::clone(&clock),
        );
        let hands = Hands::new(cloud, self.host(), self.nbd.clone(), store, clock);
        self.seed += 1;
        let mut core = Core::new(memory, self.policy.clone(), self.pace.clone(), self.seed);
        core.restore(episodes);
        self.daemon = Some(Daemon {
            core,
            hands: Arc::new(hands),
            pending: VecDeque::new(),
        });
    }

    /// Ends the daemon where it stands. What it sent stays sent.
    pub async fn crash(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.note(|| "the daemon dies".to_owned());
            let hands = Arc::into_inner(daemon.hands).expect("no task outlives its rig");
            hands.store.close().await;
        }
        self.belated.clear();
        self.fuse.reset();
    }

    /// Writes a spec file: everything in `yaml` is accepted, as the source would.
    pub async fn declare(&mut self, yaml: &str) {
        let parsed = volume_daemon::spec::parse("spec.yaml", yaml.as_bytes()).expect("valid specs");
        let accepted = parsed.into_iter().map(|parsed| AcceptedDocument {
            document: parsed.document,
            manifest: parsed.manifest,
            owner: Owner::File("spec.yaml".to_owned()),
        });
        let change = SourceChange {
            accepted: accepted.collect(),
            ..SourceChange::default()
        };
        self.accept(change).await;
    }

    /// Removes a spec.
    pub async fn remove(&mut self, name: &str) {
        let change = SourceChange {
            abandoned: vec![name.parse().expect("a name")],
            ..SourceChange::default()
        };
        self.accept(change).await;
    }

    async fn accept(&mut self, change: SourceChange) {
        let now = self.clock.now().wall;
        let store = &self.daemon.as_ref().expect("a daemon").hands.store;
        let accepted = store.accept(&change, now).await.expect("a writable store");
        for spec in accepted.volumes {
            let front = self.front.lock().expect("no holder panics");
            self.others.asked(front.world(), &spec);
            drop(front);
            self.specs.insert(spec.name().clone(), spec);
        }
        for name in change.abandoned {
            if let Some(spec) = self.specs.get_mut(&name) {
                spec.presence = Presence::Abandoned {
                    counted: Duration::ZERO,
                };
            }
        }
        self.tell_desired();
    }

    /// Says whether the spec directory can be believed.
    pub fn believe_files(&mut self, health: SourceHealth) {
        self.files = health;
        self.tell_desired();
    }

    pub fn tell_desired(&mut self) {
        let desired = Desired::new(self.specs.clone(), self.files.clone(), []);
        self.tell(Event::Desired(desired));
    }

    fn tell(&mut self, event: Event) {
        let now = self.clock.now();
        if let Some(daemon) = &mut self.daemon {
            daemon.core.handle(event, now);
        }
    }

    /// Lets simulated time pass: CloudStack's jobs run, disks come and go.
    pub fn pass(&mut self, by: Duration) {
        self.clock.advance(by);
        let now = self.time.at(self.now());
        let due = self.front().next_due();
        if due.is_some_and(|due| due <= now) {
            self.nbd.stir().note();
        }
        self.front().advance(now);
        self.show_host();
    }

    /// Sets the appliance's wall clock `by` so many seconds; CloudStack's own goes on as before.
    pub fn set_clock(&mut self, by: i64) {
        self.note(|| format!("the clock is set by {by} s"));
        let wall = self.clock.now().wall.as_millis();
        self.clock
            .set_wall(Timestamp::from_millis(wall.saturating_add(by * 1000)));
    }

    /// Changes CloudStack's database, as time or its administrators do.
    pub fn change_world(&mut self, change: impl FnOnce(&mut World)) {
        change(self.front().world_mut());
        self.nbd.stir().note();
        self.show_host();
    }

    /// Changes what the appliance's kernel shows, as something else on it would.
    pub fn change_host(&mut self, change: impl FnOnce(&Path)) {
        change(&self.host_root());
        self.scanned = None;
        self.stirred = true;
        self.tell(Event::HostChanged);
    }

    /// Does something at once behind the daemon's back.
    pub fn operate(&mut self, operation: &Operation) -> Result<(), String> {
        self.suffer(&Deed::AtOnce(operation.clone()))
    }

    /// Lets somebody else do something; `Err`: the world does not let it happen.
    pub fn suffer(&mut self, deed: &Deed) -> Result<(), String> {
        let now = self.clock.now().boot;
        let done = {
            let front = &mut *self.front.lock().expect("no holder panics");
            self.others.act(front.world_mut(), deed, now)
        };
        self.nbd.stir().note();
        self.show_host();
        done
    }

    /// Lets something go wrong in CloudStack.
    pub fn inject(&mut self, fault: Fault) {
        self.transport.trust(false);
        self.front().inject(fault);
        self.nbd.stir().note();
        self.show_host();
    }

    /// Ends whatever goes wrong.
    pub fn calm(&mut self) {
        self.front().clear_faults();
        self.transport.trust(true);
        self.nbd.disconnect_all();
    }

    /// The NBD server dies and comes back with nothing.
    pub fn restart_nbd(&mut self) {
        self.nbd.restart();
        self.tell(Event::NbdChanged);
    }

    /// The simulated CloudStack.
    pub fn front(&self) -> MutexGuard<'_, Front> {
        self.front
            .lock()
            .expect("no test panics while it holds this")
    }

    /// Lets the tree show what is plugged now, and wakes the daemon as inotify would.
    fn show_host(&mut self) {
        if !self.nbd.stir().take() {
            return;
        }
        self.transport.forget();
        self.stirred = true;
        let now = self.clock.now().boot;
        let disks = {
            let front = self.front.lock().expect("no holder panics");
            let world = front.world();
            self.others.watch(world, now);
            disks_of(world, world.vm_called(SELF).expect("it is there"))
        };
        if disks == self.shown {
            return;
        }
        self.tree.show(&disks).expect("a writable tree");
        self.shown = disks;
        self.scanned = None;
        self.tell(Event::HostChanged);
    }

    /// What the daemon's own scan finds. Nothing but [`Rig::show_host`] changes the tree, so one
    /// scan is good until then.
    fn scan(&mut self) -> HostView {
        let begun = self.clock.now().boot;
        if self.scanned.is_none() {
            self.scanned = Some(self.host().scan(begun));
        }
        let view = self.scanned.clone().expect("just scanned");
        HostView { begun, ..view }
    }

    fn host(&self) -> Host {
        Host::new(self.host_root(), None)
    }

    /// Carries out one effect, if any is due, and asserts every invariant. `false`: nothing
    /// was due. What happens when the fuse blows is up to [`Rig::trouble`].
    pub async fn step(&mut self) -> bool {
        self.tell_belated();
        let now = self.clock.now();
        let Some(daemon) = &mut self.daemon else {
            return false;
        };
        for effect in daemon.core.poll(now) {
            // Handed out is begun: in the daemon they all run at once.
            invariants::may_begin(daemon.core.world(), &effect);
            self.others.allow(&effect, now.boot, &self.policy);
            daemon.pending.push_back(effect);
        }
        let Some(effect) = daemon.pending.pop_front() else {
            return false;
        };
        self.last = format!("{effect:?}");
        self.story.add_effect(&effect);
        let carried = self.carry_out(effect).await;
        // Readings begun at the same millisecond as a change do not count.
        self.clock.advance(Duration::from_millis(1));
        match carried {
            Carried::Learnt(event) => self.tell(event),
            Carried::Belated => {}
            Carried::Died => self.crash().await,
            Carried::WasReplaced(old) => {
                let hands = Arc::into_inner(old.hands).expect("no task outlives its rig");
                hands.store.close().await;
            }
        }
        self.tell_decisions();
        // What was asked may have let simulated time run.
        self.show_host();
        self.check();
        true
    }

    /// Carries out effects until nothing is due for `longest` of simulated time, or the daemon
    /// is quiet and settled. Says whether it settled.
    pub async fn settle(&mut self, longest: Duration) -> bool {
        let begun = self.clock.now().boot;
        loop {
            self.work().await;
            if self.is_settled() {
                return true;
            }
            if self.clock.now().boot.since(begun) > longest {
                return false;
            }
            self.pass(self.until_something());
        }
    }

    /// Runs for a span of simulated time, whatever happens.
    pub async fn run_for(&mut self, span: Duration) {
        let begun = self.clock.now().boot;
        loop {
            self.work().await;
            let passed = self.clock.now().boot.since(begun);
            if passed >= span {
                return;
            }
            let left = span.saturating_sub(passed);
            self.pass(self.until_something().min(left));
        }
    }

    /// Carries out everything that is due. A daemon that always finds something more to do at
    /// the same moment would spin, so that ends the test.
    async fn work(&mut self) {
        let mut steps = 0;
        while self.step().await {
            steps += 1;
            assert!(steps < STEPS_MAX, "it spins, last on {:?}", self.last);
        }
    }

    fn until_something(&self) -> Duration {
        let now = self.clock.now();
        let core = self
            .daemon
            .as_ref()
            .and_then(|daemon| daemon.core.next_due(now));
        let core = core.map(|due| due.since(now.boot));
        let world = self.front().next_due().map(|due| {
            let now = self.time.at(now.boot);
            Duration::from_millis(due.millis_since(now))
        });
        let belated = self.belated.iter().map(|(due, _)| due.since(now.boot));
        core.into_iter()
            .chain(world)
            .chain(belated.min())
            .min()
            .unwrap_or(Duration::from_secs(1))
            .clamp(Duration::from_millis(1), Duration::from_secs(60))
    }

    /// Whether nothing is under way and every decision is one that stands.
    pub fn is_settled(&self) -> bool {
        let Some(daemon) = &self.daemon else {
            return false;
        };
        let core = &daemon.core;
        daemon.pending.is_empty()
            && self.belated.is_empty()
            && core.is_quiet()
            && core.world().desired.volumes.keys().all(|name| {
                core.plan()
                    .volumes
                    .get(name)
                    .is_some_and(|plan| stands(&plan.decision))
            })
    }
}

fn stands(decision: &Decision) -> bool {
    match decision {
        Decision::InSync | Decision::Released => true,
        // These pass by themselves.
        Decision::Blocked { by, .. } => !by.iter().any(|by| {
            matches!(
                by,
                Blocked::SourceUnknown { .. } | Blocked::GuardFrozen { .. }
            )
        }),
        Decision::Waiting { on, .. } => on.is_settled(),
        Decision::Act { .. } | Decision::Observing { .. } => false,
    }
}

/// A temporary directory in memory where there is one: the store syncs a lot.
fn memory_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory")
}

/// Runs a test on a runtime of its own.
pub fn block_on<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test)
}

/// A rig with the exported volume `a` of so many GiB on this VM, settled.
pub async fn served(gib: u64) -> Rig {
    let mut rig = Rig::new(1);
    rig.start().await;
    rig.declare(&spec("a", gib, "self", true)).await;
    assert!(
        rig.settle(Duration::from_secs(600)).await,
        "{}",
        rig.says("a")
    );
    assert_eq!(rig.says("a"), "InSync");
    assert_eq!(rig.nbd.exports().len(), 1);
    rig
}

/// A spec: size in GiB, VM, and whether it is exported.
pub fn spec(name: &str, gib: u64, vm: &str, export: bool) -> String {
    let export = if export { "  export: {}\n" } else { "" };
    format!(
        "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: {name} }}\n\
         spec:\n  size: {gib}GiB\n  zone: zone-1\n  diskOffering: Custom OSSEA\n  \
         attachTo: {{ vm: {vm} }}\n{export}"
    )
}
