//! `volume-daemon sim`: a simulated CloudStack to try things on, and what can be done to one
//! that runs.
//!
//! Owns arguments and output. What the simulator is stands in [`crate::sim`].

mod conform;
mod control;
mod run;

use super::output::{Exit, Io};
use crate::sim::file::STANDARD_WORLD;

/// Runs a simulated CloudStack, to try things against.
///
/// Without a command it runs one.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  volume-daemon sim                        prints its endpoint and keys as one line of JSON
  volume-daemon sim --listen 127.0.0.1:8096 --latency-ms 50 --seed 7
  volume-daemon sim --host-dir /tmp/guest --self-vm appliance
  volume-daemon sim --hypervisor /run/sim/hypervisor.sock --latency-ms 5
  volume-daemon sim --world world.yaml --faults faults.yaml --state sim.json
  volume-daemon sim --vms 1000 --volumes 100000

What `volume-daemon record` has recorded:
  volume-daemon sim conform recording     what this simulator answers otherwise
  volume-daemon sim --replay recording    answers with the recording itself

With VOLUME_DAEMON_SIM_CONTROL set to the control URL of a simulator that runs:
  volume-daemon sim fault add '{kind: stuckJob, on: {command: attachVolume}}'
  volume-daemon sim op '{op: stopVm, vm: appliance}'
  volume-daemon sim advance 30s
  volume-daemon sim dump

It runs until Ctrl-C. Exit codes: 0 it was interrupted, 1 it could not begin, 2 conform found
differences, 3 usage, or a file that makes no sense."
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

// What each is for is said where its arguments are.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(run::RunArgs),
    Conform(conform::Conform),
    World(World),
    Snapshot(control::Snapshot),
    Restore(control::Restore),
    Advance(control::Advance),
    Fault(control::Fault),
    Op(control::Op),
    Dump(control::Dump),
}

/// Prints the standard world as a file, with comments: a start for one's own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon sim world > world.yaml
  volume-daemon sim --world world.yaml")]
struct World {}

impl Args {
    /// Whether it runs for long, as opposed to asking one that runs.
    pub const fn serves(&self) -> bool {
        matches!(self.command, None | Some(Command::Run(_)))
    }
}

/// Runs a simulator until it is interrupted, or asks one that runs.
///
/// # Errors
/// If it cannot listen or keep its files, or the one that was asked refuses.
pub async fn run(args: Args, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    match args.command {
        None => run::run(args.run).await?,
        Some(Command::Run(args)) => run::run(args).await?,
        Some(Command::Conform(args)) => return conform::run(args, io).await,
        Some(Command::World(World {})) => io.out.write_all(STANDARD_WORLD.as_bytes())?,
        Some(Command::Snapshot(args)) => control::snapshot(&args).await?,
        Some(Command::Restore(args)) => control::restore(&args).await?,
        Some(Command::Advance(args)) => control::advance(&args, io).await?,
        Some(Command::Fault(args)) => control::fault(args, io).await?,
        Some(Command::Op(args)) => control::op(&args, io).await?,
        Some(Command::Dump(args)) => control::dump(&args, io).await?,
    }
    Ok(Exit::Fine)
}
