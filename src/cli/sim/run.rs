//! `volume-daemon sim [run]`: runs the simulator.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::cli::record::stopped;
use crate::sim::file::generate::{Sizes, populate};
use crate::sim::file::{self, WorldFile};
use crate::sim::recording::{self, replay::Replay};
use crate::sim::server::{self, HostConfig, HypervisorConfig, serve_front};
use crate::sim::world::Latencies;
use crate::sim::{ClockMode, Front, Handle, SimConfig, SimTime, World};

/// Where an explicit clock begins: 2026-01-01T00:00:00Z.
const EXPLICIT_START: SimTime = SimTime::from_millis(1_767_225_600_000);

/// Runs the simulator until it is interrupted: what `sim` does by itself.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    listen: std::net::SocketAddr,

    /// Show one VM's guest under this directory: dev, sys and proc
    #[arg(long, value_name = "DIR")]
    host_dir: Option<PathBuf>,

    /// The VM to show under --host-dir, by name or id
    #[arg(long, default_value = "appliance", value_name = "VM")]
    self_vm: String,

    /// Let jobs wait for a real hypervisor, whose driver connects to this UNIX socket
    ///
    /// The driver is told in lines of JSON what to plug, unplug, resize, start and stop, and
    /// answers each with done or failed (docs/hypervisor-protocol.md). A job that would change a
    /// VM that runs, or start one, waits for the answer, also while no driver is connected.
    #[arg(long, value_name = "SOCKET")]
    hypervisor: Option<PathBuf>,

    /// How long a job waits for the hypervisor before it fails
    #[arg(
        long,
        default_value = "30s",
        value_name = "TIME",
        value_parser = super::control::span,
        requires = "hypervisor"
    )]
    hypervisor_timeout: Duration,

    /// Let everything take so long, instead of realistic times
    #[arg(long, value_name = "MS")]
    latency_ms: Option<u64>,

    /// Begin at 2026-01-01 and move only by POST /control/clock/advance
    #[arg(long)]
    explicit_clock: bool,

    /// Decides all ids [default: 1, or as the world file says]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Begin with the world in FILE; `sim world` prints one to start from
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,

    /// Add so many generated VMs
    #[arg(long, default_value_t = 0, value_name = "N")]
    vms: u32,

    /// Add so many generated volumes
    #[arg(long, default_value_t = 0, value_name = "N")]
    volumes: u32,

    /// Arm the faults in FILE
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,

    /// Keep everything in FILE, and go on from it: a world is only made if FILE is not there
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Answer with the recording in DIR instead of simulating anything
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = [
            "host_dir", "hypervisor", "latency_ms", "explicit_clock", "seed", "world", "vms", "volumes", "faults",
            "state",
        ]
    )]
    replay: Option<PathBuf>,
}

/// What is printed once it runs, as one line of JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    endpoint: String,
    control: String,
    /// Those of the first account.
    api_key: String,
    secret_key: String,
    /// If there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<Keys>,
    vms: BTreeMap<String, Uuid>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    name: String,
    api_key: String,
    secret_key: String,
}

/// Runs the simulator until it is interrupted or terminated.
///
/// # Errors
/// If it cannot listen, read its files, or keep its state or the guest's directory.
pub(super) async fn run(args: RunArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.listen.ip().is_loopback(),
        "the simulator's keys are public, so it only listens on loopback, not on {}",
        args.listen
    );
    if let Some(directory) = &args.replay {
        return replay(args.listen, directory).await;
    }
    let clock = if args.explicit_clock {
        ClockMode::Explicit(EXPLICIT_START)
    } else {
        ClockMode::Real
    };
    let front = front(&args, clock)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let config = SimConfig {
        settings: *front.world().settings(),
        clock,
        host: args.host_dir.map(|dir| HostConfig {
            dir,
            vm: args.self_vm,
        }),
        hypervisor: args.hypervisor.map(|socket| HypervisorConfig {
            socket,
            wait_ms: u64::try_from(args.hypervisor_timeout.as_millis()).unwrap_or(u64::MAX),
        }),
    };
    // Before anybody is told that it runs.
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for a signal")?;
    let sim = serve_front(listener, front, config, args.state).await?;
    announce(&sim)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot wait for an interrupt")?;
        }
        _ = terminated.recv() => {}
    }
    sim.shutdown().await?;
    Ok(())
}

/// Answers with a recording until it is interrupted or terminated.
async fn replay(listen: std::net::SocketAddr, directory: &Path) -> anyhow::Result<()> {
    let replay = Replay::new(recording::load(directory)?);
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let endpoint = format!("http://{}/client/api", listener.local_addr()?);
    let stop = stopped()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::json!({ "endpoint": endpoint }))?;
    out.flush()?;
    drop(out);
    Ok(recording::replay::serve(listener, replay, stop).await?)
}

/// The front that was kept, or a new one; with the faults that are asked for.
fn front(args: &RunArgs, clock: ClockMode) -> anyhow::Result<Front> {
    let kept = match &args.state {
        Some(path) => server::load(path)?,
        None => None,
    };
    let mut front = match kept {
        Some(front) => front,
        None => Front::new(new_world(args, clock)?),
    };
    if let Some(millis) = args.latency_ms {
        front.world_mut().set_latencies(Latencies::all(millis));
    }
    if let Some(path) = &args.faults {
        for fault in file::faults(&path.display().to_string(), &text_of(path)?)? {
            front.inject(fault);
        }
    }
    Ok(front)
}

fn new_world(args: &RunArgs, clock: ClockMode) -> anyhow::Result<World> {
    let (name, mut file) = match &args.world {
        Some(path) => {
            let name = path.display().to_string();
            let file = WorldFile::parse(&name, &text_of(path)?)?;
            (name, file)
        }
        None => ("standard world".to_owned(), WorldFile::standard()),
    };
    if let Some(seed) = args.seed {
        file.settings.seed = seed;
    }
    let seed = file.settings.seed;
    let mut world = file.build(&name, clock.now())?;
    if args.vms > 0 || args.volumes > 0 {
        let sizes = Sizes {
            vms: args.vms,
            volumes: args.volumes,
            seed,
        };
        populate(&mut world, sizes)?;
    }
    Ok(world)
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn announce(sim: &Handle) -> anyhow::Result<()> {
    let (mut accounts, vms) = sim.with(|front| {
        let world = front.world();
        let accounts: Vec<Keys> = world
            .accounts()
            .map(|(_, account)| Keys {
                name: account.name.clone(),
                api_key: account.api_key.clone(),
                secret_key: account.secret_key.clone(),
            })
            .collect();
        let vms = world.vms().map(|(_, vm)| (vm.name.clone(), vm.uuid));
        (accounts, vms.collect())
    })?;
    let first = accounts.first();
    let (api_key, secret_key) = first.map_or_else(Default::default, |keys| {
        (keys.api_key.clone(), keys.secret_key.clone())
    });
    if accounts.len() == 1 {
        accounts.clear();
    }
    let started = Started {
        endpoint: sim.endpoint(),
        control: format!("http://{}/control", sim.address()),
        api_key,
        secret_key,
        accounts,
        vms,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&started)?)?;
    out.flush()?;
    Ok(())
}
