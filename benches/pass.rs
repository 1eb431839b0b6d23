//! How long a full look at 10,000 volumes takes, and how many calls, when CloudStack needs 300 ms for
//! each page: from the first request to a decision for every volume.
//!
//! Run with `cargo bench --bench pass`. The bars are 4 s and 22 calls.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints what it read"
)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use uuid::Uuid;
use volume_daemon::clock::{Clock, SystemClock};
use volume_daemon::cloudstack::{
    Client, Credentials, HttpConfig, HttpTransport, Request, Response, Scope, Secret, Transport,
    TransportError,
};
use volume_daemon::model::action::{CLAIM_TAG, Claim, Mark};
use volume_daemon::model::memory::{Binding, Memory};
use volume_daemon::model::{DesiredVolume, InstanceId, Owner, Presence, SpecUid, VolumeId};
use volume_daemon::observe::{self, CloudQuery};
use volume_daemon::plan::{Decision, Desired, Policy, SourceHealth};
use volume_daemon::reconcile::{Core, Event, Pace};
use volume_daemon::sim::fault::Target;
use volume_daemon::sim::server::serve_world;
use volume_daemon::sim::world::{
    ADMIN_API_KEY, ADMIN_SECRET_KEY, Latencies, NewVolume, Settings, Tag, Tagged, Work, World,
};
use volume_daemon::sim::{ClockMode, Fault, SimConfig, SimTime};

const VOLUMES: u32 = 10_000;
const PAGE: Duration = Duration::from_millis(300);

/// Counts what passes.
struct Counting {
    http: HttpTransport,
    calls: Arc<AtomicUsize>,
}

impl Transport for Counting {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.http.send(request).await
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let instance = InstanceId::new(Uuid::from_u128(1));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (world, memory, desired) =
        fleet(instance, SimTime::from_millis(clock.now().wall.as_millis()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let config = SimConfig {
        settings: Settings::default(),
        clock: ClockMode::Real,
        host: None,
        hypervisor: None,
    };
    let sim = serve_world(listener, world, config)
        .await
        .expect("a simulator");
    let slow = Fault::DelayResponse {
        on: Target::default(),
        ms: u64::try_from(PAGE.as_millis()).expect("short"),
    };
    sim.inject(slow).expect("it runs");
    let calls = Arc::new(AtomicUsize::new(0));
    let client = client(&sim.address().to_string(), &calls, &clock);
    let mut core = Core::new(memory, Policy::default(), Pace::default(), 1);
    core.handle(Event::Desired(desired), clock.now());
    let mut rounds = Vec::new();
    for _ in 0..5 {
        calls.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        let query = CloudQuery {
            full: true,
            catalogue: false,
            ..CloudQuery::default()
        };
        let answer = observe::cloud(&client, &query).await.expect("an answer");
        let now = clock.now();
        core.handle(Event::Cloud(query, Ok(Box::new(answer))), now);
        core.poll(now);
        rounds.push(begun.elapsed());
        let decided = core.plan().volumes.values();
        let in_sync = decided
            .filter(|plan| plan.decision == Decision::InSync)
            .count();
        assert_eq!(in_sync, VOLUMES as usize, "all is as it should be");
    }
    rounds.sort();
    println!(
        "a full look at {VOLUMES} volumes, {PAGE:?} a page   {:>6.2} s     (bar 4)",
        rounds[rounds.len() / 2].as_secs_f64()
    );
    println!(
        "calls                                              {:>6}       (bar 22)",
        calls.load(Ordering::Relaxed)
    );
}

fn client(address: &str, calls: &Arc<AtomicUsize>, clock: &Arc<dyn Clock>) -> Client<Counting> {
    // As `volume-daemon run` asks with its default settings.
    let http = HttpTransport::new(&HttpConfig {
        url: format!("http://{address}/client/api"),
        ca_file: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(30),
        concurrency: 8,
        rate_per_second: NonZeroU32::new(20).expect("not zero"),
    });
    let transport = Counting {
        http: http.expect("a client"),
        calls: Arc::clone(calls),
    };
    let credentials = Credentials {
        api_key: Secret::new(ADMIN_API_KEY),
        secret: Secret::new(ADMIN_SECRET_KEY),
    };
    let scope = Scope {
        listall: true,
        project: None,
    };
    Client::new(transport, credentials, scope, Arc::clone(clock))
}

/// A world of claimed volumes, and the daemon's memory and specs of them.
fn fleet(instance: InstanceId, now: SimTime) -> (World, Memory, Desired) {
    let settings = Settings {
        latencies: Latencies::all(0),
        ..Settings::default()
    };
    let mut world = World::standard(settings, now);
    let account = world.accounts().next().expect("admin").0;
    let zone = world.zones().next().expect("a zone").0;
    let offering = world.offerings().next().expect("an offering").0;
    let mut memory = Memory::new(instance);
    let mut volumes = BTreeMap::new();
    for n in 0..VOLUMES {
        let name = format!("disk-{n}");
        let new = NewVolume {
            name: Some(name.clone()),
            zone: Some(zone),
            offering: Some(offering),
            size_gib: Some(10),
            ..NewVolume::default()
        };
        let row = world.create_volume(account, new).expect("there is room");
        let uid = SpecUid::new(Uuid::from_u128(1_000_000 + u128::from(n)));
        let claim = Claim {
            instance,
            spec: uid,
            mark: Mark::Created,
        };
        let tag = Tag {
            key: CLAIM_TAG.to_owned(),
            value: claim.to_string(),
        };
        let tags = Work::CreateTags {
            on: Ok(vec![Tagged::Volume(row)]),
            tags: vec![tag],
        };
        world.submit(account, tags, None, None);
        let binding = Binding {
            volume: VolumeId::new(world.volume(row).uuid),
            uid,
            mark: Mark::Created,
        };
        let want = want(&name, uid);
        memory.bindings.insert(want.name().clone(), binding);
        volumes.insert(want.name().clone(), want);
    }
    world.advance(now);
    let desired = Desired::new(volumes, SourceHealth::Sound, []);
    (world, memory, desired)
}

fn want(name: &str, uid: SpecUid) -> DesiredVolume {
    let text = format!(
        "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: {name} }}\n\
         spec: {{ size: 10GiB, zone: zone-1, diskOffering: Custom OSSEA }}\n"
    );
    let parsed = volume_daemon::spec::parse("fleet", text.as_bytes()).expect("valid");
    let parsed = parsed.into_iter().next().expect("one document");
    DesiredVolume {
        document: parsed.document,
        uid,
        generation: 1,
        owner: Owner::File("fleet.yaml".to_owned()),
        presence: Presence::Declared,
    }
}
