//! `volume-daemon demo`: not there yet.

use std::io::Write;
use std::process::ExitCode;

/// Shows the daemon at work on a simulated CloudStack.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon demo")]
pub struct Args {}

/// Runs the subcommand.
///
/// # Errors
/// Always.
pub async fn run(_args: &Args, _out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`volume-daemon demo` is not there yet")
}
