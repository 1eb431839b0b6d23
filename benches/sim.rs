//! What the simulator costs: steps of its world, a page of a large listing, memory, and requests
//! over HTTP with as many clients as connections.
//!
//! Run with `cargo bench --bench sim`. The bars: a million steps a second, 5 ms for a page of
//! 500 of 100,000 volumes, 150 MiB for them, 2,000 requests a second on 2 cores. The clients
//! run in the same process and take their share of the cores.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints what it read"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use volume_daemon::sim::front::signature;
use volume_daemon::sim::world::{
    ADMIN_API_KEY, ADMIN_SECRET_KEY, GIB, Latencies, NewVolume, Settings, VmState, Work, World,
};
use volume_daemon::sim::{ClockMode, Front, HttpRequest, SimConfig, SimTime, serve};

const VOLUMES: usize = 100_000;
const START: SimTime = SimTime::from_millis(1_767_225_600_000);

fn main() {
    let before = resident();
    let world = large();
    println!(
        "memory of {VOLUMES} volumes    {:>8.1} MiB  (the whole process; bar 150)",
        resident()
    );
    println!(
        "  of it the world            {:>8.1} MiB",
        resident() - before
    );
    let mut front = Front::new(world);
    for (what, query) in [
        ("first page of 500", "page=1&pagesize=500"),
        ("page 100 of 500", "page=100&pagesize=500"),
        ("by name", "name=volume-77777"),
        ("by one id", "id="),
    ] {
        let mut query = query.to_owned();
        if query.ends_with("id=") {
            let (_, row) = front.world().volumes().nth(VOLUMES / 2).expect("so many");
            query += &row.uuid.to_string();
        }
        let request =
            HttpRequest::get(signed(&format!("command=listVolumes&listall=true&{query}")));
        let millis = median(50, || {
            assert_eq!(black_box(front.handle(&request, START)).status, 200);
        });
        println!("listVolumes, {what:<17} {millis:>8.3} ms   (bar 5 for a page)");
    }
    drop(front);
    println!(
        "world                        {:>8.2} million steps/s  (bar 1)",
        steps()
    );
    let rate = tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(requests());
    println!("HTTP                         {rate:>8.0} requests/s  (bar 2000)");
}

/// A world of 100,000 volumes on 1,000 VMs.
fn large() -> World {
    let mut world = World::standard(Settings::default(), START);
    let account = world.accounts().next().expect("admin").0;
    let zone = world.zones().next().expect("a zone").0;
    let offering = world.offerings().next().expect("an offering").0;
    for n in 0..1_000 {
        world.add_vm(&format!("vm-{n}"), zone, account, VmState::Running);
    }
    for n in 0..VOLUMES {
        let new = NewVolume {
            owner: None,
            name: Some(format!("volume-{n}")),
            zone: Some(zone),
            offering: Some(offering),
            size_gib: Some(10),
            snapshot: None,
            custom_id: None,
        };
        world.create_volume(account, new).expect("there is room");
    }
    world
}

/// Attaches and detaches volumes on many VMs; each call and each event of the world is a step.
fn steps() -> f64 {
    let settings = Settings {
        latencies: Latencies::all(0),
        max_data_disks: 32,
        ..Settings::default()
    };
    let mut world = World::new(settings, START);
    let account = world.add_account("admin", ADMIN_API_KEY, ADMIN_SECRET_KEY);
    let zone = world.add_zone("zone-1");
    let offering = world.add_offering("Small", Some(GIB));
    let mut pairs = Vec::new();
    for n in 0..1_000 {
        let vm = world.add_vm(&format!("vm-{n}"), zone, account, VmState::Running);
        let new = NewVolume {
            owner: None,
            name: Some(format!("volume-{n}")),
            zone: Some(zone),
            offering: Some(offering),
            ..NewVolume::default()
        };
        pairs.push((
            world.create_volume(account, new).expect("there is room"),
            vm,
        ));
    }
    let begun = Instant::now();
    let mut done = 0_u32;
    let mut now = START;
    while begun.elapsed() < Duration::from_secs(3) {
        for (volume, vm) in &pairs {
            let work = match world.volume(*volume).attachment {
                None => Work::Attach {
                    volume: *volume,
                    vm: *vm,
                    device: None,
                },
                Some(_) => Work::Detach {
                    volume: Some(*volume),
                    vm: None,
                    device: None,
                },
            };
            world.submit(account, work, None, None);
            // The call itself, and what its job does until it has ended.
            done += 1 + STAGES;
        }
        now = now.plus_millis(1_000);
        world.advance(now);
        assert_eq!(world.pending_jobs().count(), 0);
    }
    f64::from(done) / begun.elapsed().as_secs_f64() / 1e6
}

/// How many events a detach has: submitted, queued, done. An attach has more.
const STAGES: u32 = 3;

/// Small requests on 32 connections for three seconds.
async fn requests() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let config = SimConfig {
        settings: Settings::default(),
        clock: ClockMode::Real,
        host: None,
        hypervisor: None,
    };
    let sim = serve(listener, config).await.expect("it starts");
    let address = sim.address();
    let query = signed("command=listVolumes&listall=true&name=ROOT-1");
    let request = format!("GET /client/api?{query} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let begun = Instant::now();
    let clients: Vec<_> = (0..32)
        .map(|_| {
            let request = request.clone();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("it listens");
                let mut buffer = vec![0_u8; 16_384];
                let mut done = 0_u32;
                while begun.elapsed() < Duration::from_secs(3) {
                    stream.write_all(request.as_bytes()).await.expect("written");
                    let read = stream.read(&mut buffer).await.expect("an answer");
                    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for client in clients {
        done += client.await.expect("no panic");
    }
    let rate = f64::from(done) / begun.elapsed().as_secs_f64();
    sim.shutdown().await.expect("it ends");
    rate
}

/// A signed query.
fn signed(query: &str) -> String {
    let all = format!("{query}&response=json&apiKey={ADMIN_API_KEY}");
    let params = all.split('&').filter_map(|pair| pair.split_once('='));
    let signature = signature(params, ADMIN_SECRET_KEY);
    let escaped = signature
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    format!("{all}&signature={escaped}")
}

/// The median time of a call, in milliseconds.
fn median(times: usize, mut call: impl FnMut()) -> f64 {
    let mut taken: Vec<Duration> = (0..times)
        .map(|_| {
            let begun = Instant::now();
            call();
            begun.elapsed()
        })
        .collect();
    taken.sort_unstable();
    taken[times / 2].as_secs_f64() * 1e3
}

/// The process's resident memory in MiB (`proc(5)`, statm: pages).
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u32 = text
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("the second field");
    f64::from(pages) * 4096.0 / f64::from(1 << 20)
}
