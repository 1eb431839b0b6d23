//! `volume-daemon pause` and `resume`: hands off, for a while.

use std::time::Duration;

use super::client::{Client, ClientError};
use super::output::{Exit, Failure, Io};
use super::wait::{Target, timeout};
use crate::api::pause::PauseRequest;
use crate::config::{Config, Span};
use crate::model::VolumeName;

/// Leaves volumes alone for a while: nothing is changed, everything is still looked at
#[derive(Debug, clap::Args)]
#[command(after_help = "\
While a volume is paused, nothing is done for it, neither in CloudStack nor at the NBD server;
plan, drift and status go on. One thing is never paused: an export whose disk is gone or is another
one ends at once. A pause is remembered over restarts, and ends by itself.

Examples:
  volume-daemon pause volume/pgtest2-disk-0 --for 2h --reason restore
  volume-daemon pause --all --for 30m                      before work on the storage
  volume-daemon resume --all

To leave a volume alone for good, write suspend: true into its spec.

Exit codes: 0 it is paused, 1 the daemon did not answer or knows no such volume, 3 usage.")]
pub struct PauseArgs {
    #[command(flatten)]
    what: What,
    /// For how long, like 30s, 5m or 1h30m; a week at most
    #[arg(long = "for", value_name = "TIME", value_parser = timeout)]
    span: Duration,
    /// Why: shown wherever the pause is
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Ends a pause before its time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon resume volume/pgtest2-disk-0
  volume-daemon resume --all          ends what pause --all began; pauses of single volumes stay

Exit codes: 0 it goes on, 1 the daemon did not answer or no such pause was in force, 3 usage.")]
pub struct ResumeArgs {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Which volumes
    #[arg(value_name = "volume/NAME")]
    targets: Vec<Target>,
    /// Everything, specs that are yet to come too
    #[arg(long)]
    all: bool,
}

impl What {
    /// Each thing that is meant; `None`: everything.
    fn each(&self) -> Vec<Option<&VolumeName>> {
        if self.all {
            vec![None]
        } else {
            self.targets
                .iter()
                .map(|target| Some(target.name()))
                .collect()
        }
    }
}

/// Runs `pause`.
///
/// # Errors
/// If the daemon does not answer, or a volume is not known to it.
pub async fn pause(args: &PauseArgs, config: &Config, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let client = Client::new(&config.api.listen)?;
    for name in args.what.each() {
        let request = PauseRequest {
            volume: name.cloned(),
            span: Span(args.span),
            reason: args.reason.clone(),
        };
        let paused = client.pause(&request).await.map_err(refused)?;
        io.text(&format!("{} paused until {}\n", title(name), paused.until))?;
    }
    Ok(Exit::Fine)
}

/// Runs `resume`.
///
/// # Errors
/// If the daemon does not answer, or no such pause is in force.
pub async fn resume(args: &ResumeArgs, config: &Config, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let client = Client::new(&config.api.listen)?;
    for name in args.what.each() {
        client.resume(name).await.map_err(refused)?;
        io.text(&format!("{} resumed\n", title(name)))?;
    }
    Ok(Exit::Fine)
}

fn refused(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Status { status, text, .. } if status.is_client_error() => Failure {
            message: text,
            hint: Some(
                "volume-daemon get volumes shows what there is, and what is paused".to_owned(),
            ),
            exit: Exit::Error,
        }
        .into(),
        error => error.into(),
    }
}

fn title(name: Option<&VolumeName>) -> String {
    name.map_or("everything:".to_owned(), |name| format!("volume/{name}:"))
}
