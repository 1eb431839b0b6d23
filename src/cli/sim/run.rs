//! `volume-daemon sim [run]`: runs the simulator.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::sim::server::HostConfig;
use crate::sim::world::{ADMIN_API_KEY, ADMIN_SECRET_KEY, Latencies, Settings};
use crate::sim::{ClockMode, Handle, SimConfig, SimTime, serve};

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

    /// Let everything take so long, instead of realistic times
    #[arg(long, value_name = "MS")]
    latency_ms: Option<u64>,

    /// Begin at 2026-01-01 and move only by POST /control/clock/advance
    #[arg(long)]
    explicit_clock: bool,

    /// Decides all ids
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// What is printed once it runs, as one line of JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Started<'a> {
    endpoint: String,
    control: String,
    api_key: &'a str,
    secret_key: &'a str,
    vms: std::collections::BTreeMap<String, Uuid>,
}

/// Runs the simulator until it is interrupted.
///
/// # Errors
/// If it cannot listen or keep the guest's directory.
pub(super) async fn run(args: RunArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.listen.ip().is_loopback(),
        "the simulator's keys are public, so it only listens on loopback, not on {}",
        args.listen
    );
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let settings = Settings {
        seed: args.seed,
        latencies: args
            .latency_ms
            .map_or_else(Latencies::default, Latencies::all),
        ..Settings::default()
    };
    let config = SimConfig {
        settings,
        clock: if args.explicit_clock {
            ClockMode::Explicit(EXPLICIT_START)
        } else {
            ClockMode::Real
        },
        host: args.host_dir.map(|dir| HostConfig {
            dir,
            vm: args.self_vm,
        }),
    };
    let sim = serve(listener, config).await?;
    announce(&sim)?;
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for an interrupt")?;
    sim.shutdown().await?;
    Ok(())
}

fn announce(sim: &Handle) -> anyhow::Result<()> {
    let started = Started {
        endpoint: sim.endpoint(),
        control: format!("http://{}/control", sim.address()),
        api_key: ADMIN_API_KEY,
        secret_key: ADMIN_SECRET_KEY,
        vms: sim.with(|front| {
            front
                .world()
                .vms()
                .map(|(_, vm)| (vm.name.clone(), vm.uuid))
                .collect()
        })?,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&started)?)?;
    out.flush()?;
    Ok(())
}
