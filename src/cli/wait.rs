//! `volume-daemon wait`: returns once volumes are as somebody needs them.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use super::client::{Client, ClientError};
use super::output::{Exit, Failure, Io, line, not_found, span};
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::model::{BootTime, VolumeName};
use crate::reconcile::report::{Phase, Report, Truth, VolumeStatus};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest line that is written over: one that wraps could not be.
const LINE_MAX: usize = 79;

/// Waits until volumes are as needed, all of them at the same time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon wait volume/pgtest2-disk-0 --for=Ready
  volume-daemon wait volume/a volume/b --for=condition=Exported --timeout 10m
  volume-daemon wait volume/a --for=phase=Blocked --timeout 0s     looks once

Phases: Ready, Progressing, Waiting, Blocked, Held, Released, Unknown. Conditions: Ready,
SpecCurrent, Attached, DeviceVerified, Exported, Drifted, Blocked, Stalled.

A spec that the daemon has not seen yet is waited for, and so is a daemon that is not up. What is
waited for goes to standard error: on a terminal in one line, else in one line for each change.

Exit codes: 0 it came true, 4 it did not in time, 1 the daemon could not be reached until the end,
3 usage, or there is no such condition.")]
pub struct Args {
    /// Which volumes
    #[arg(required = true, value_name = "volume/NAME")]
    targets: Vec<Target>,
    /// What for: Ready, Released, phase=PHASE or condition=TYPE[=True|False|Unknown]
    #[arg(long = "for", value_name = "GOAL")]
    goal: Goal,
    /// How long, like 30s, 5m or 1h30m
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = timeout)]
    timeout: Duration,
}

/// Reads a time span.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| "expected a time span like 30s, 5m or 1h30m".to_owned())
}

/// A volume, as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target(VolumeName);

impl Target {
    /// Its name.
    pub(super) fn name(&self) -> &VolumeName {
        &self.0
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = match text.split_once('/') {
            None => text,
            Some(("volume" | "volumes", name)) => name,
            Some(_) => return Err("expected a volume: volume/NAME".to_owned()),
        };
        name.parse()
            .map(Self)
            .map_err(|error: crate::model::ids::InvalidName| error.to_string())
    }
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Goal {
    /// A phase.
    Phase(Phase),
    /// A condition with this status.
    Condition(String, Truth),
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None => match phase(text) {
                Some(goal @ (Phase::Ready | Phase::Released)) => Ok(Self::Phase(goal)),
                Some(other) => Err(format!("write phase={other:?}")),
                None => Err(
                    "expected Ready, Released, phase=PHASE or condition=TYPE[=STATUS]".to_owned(),
                ),
            },
            Some(("phase", name)) => phase(name)
                .map(Self::Phase)
                .ok_or_else(|| format!("expected one of {}", phases())),
            Some(("condition", rest)) => {
                let (kind, status) = match rest.split_once('=') {
                    None => (rest, "True"),
                    Some(pair) => pair,
                };
                if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    return Err("expected a condition such as Ready or Exported".to_owned());
                }
                truth(status)
                    .map(|status| Self::Condition(kind.to_owned(), status))
                    .ok_or_else(|| "expected True, False or Unknown".to_owned())
            }
            Some(_) => Err("expected phase=PHASE or condition=TYPE[=STATUS]".to_owned()),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phase(phase) => write!(f, "{phase:?}"),
            Self::Condition(kind, status) => write!(f, "{kind}={status:?}"),
        }
    }
}

const PHASES: [Phase; 7] = [
    Phase::Ready,
    Phase::Progressing,
    Phase::Waiting,
    Phase::Blocked,
    Phase::Held,
    Phase::Released,
    Phase::Unknown,
];

fn phase(name: &str) -> Option<Phase> {
    PHASES
        .into_iter()
        .find(|phase| format!("{phase:?}").eq_ignore_ascii_case(name))
}

fn phases() -> String {
    PHASES.map(|phase| format!("{phase:?}")).join(", ")
}

fn truth(name: &str) -> Option<Truth> {
    [Truth::True, Truth::False, Truth::Unknown]
        .into_iter()
        .find(|truth| format!("{truth:?}").eq_ignore_ascii_case(name))
}

/// Runs the subcommand.
///
/// # Errors
/// If the daemon cannot be reached, the time is over, a volume has no such condition, or nobody
/// reads the answer.
pub async fn run(
    args: &Args,
    config: &Config,
    clock: &dyn Clock,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let client = Client::new(&config.api.listen)?;
    let mut watch = Watch::new(args);
    let mut lost = None;
    // It may be about to start.
    let mut met = match client.report().await {
        Ok(report) => watch.look(&report)?,
        Err(error) => {
            lost = Some(error);
            false
        }
    };
    {
        let mut progress = Progress::new(io.err, io.live, clock);
        match &lost {
            None => progress.show(&watch.lines())?,
            Some(error) => progress.show(&[format!("{error}; trying again")])?,
        }
        if !met {
            let poll = poll(&client, &mut watch, &mut progress, &mut lost);
            met = match tokio::time::timeout(args.timeout, poll).await {
                Ok(done) => done.map(|()| true)?,
                Err(_) => false,
            };
        }
    }
    if !met {
        return Err(match lost {
            Some(error) => anyhow::Error::new(error),
            None => watch.late(args.timeout).into(),
        });
    }
    for seen in &watch.seen {
        writeln!(io.out, "volume/{}: {}", seen.name, watch.goal)?;
    }
    Ok(Exit::Fine)
}

/// Looks again and again, until the goal is met. Cancel-safe: all it knows is in `watch` and
/// `lost`, the error of the last look if that failed.
async fn poll(
    client: &Client,
    watch: &mut Watch,
    progress: &mut Progress<'_>,
    lost: &mut Option<ClientError>,
) -> anyhow::Result<()> {
    loop {
        clock::sleep(PAUSE).await;
        match client.report().await {
            Ok(report) => {
                *lost = None;
                let met = watch.look(&report)?;
                progress.show(&watch.lines())?;
                if met {
                    return Ok(());
                }
            }
            Err(error) => {
                progress.show(&[format!("{error}; trying again")])?;
                *lost = Some(error);
            }
        }
    }
}

/// What was last seen of the volumes that are waited for.
struct Watch {
    goal: Goal,
    seen: Vec<Seen>,
    /// All names in the last report, for suggestions.
    known: Vec<VolumeName>,
}

struct Seen {
    name: VolumeName,
    /// Whether any report had it.
    ever: bool,
    met: bool,
    state: String,
}

impl Watch {
    fn new(args: &Args) -> Self {
        let seen = args.targets.iter().map(|Target(name)| Seen {
            name: name.clone(),
            ever: false,
            met: false,
            state: String::new(),
        });
        Self {
            goal: args.goal.clone(),
            seen: seen.collect(),
            known: Vec::new(),
        }
    }

    /// Takes a report in; returns whether all volumes are as needed.
    fn look(&mut self, report: &Report) -> Result<bool, Failure> {
        self.known = report
            .volumes
            .iter()
            .map(|volume| volume.name.clone())
            .collect();
        for seen in &mut self.seen {
            let volume = report
                .volumes
                .iter()
                .find(|volume| volume.name == seen.name);
            match volume {
                Some(volume) => {
                    seen.ever = true;
                    seen.met = is_met(&self.goal, volume)?;
                    seen.state = format!("{:?}: {}", volume.phase, line(&volume.message));
                }
                None => {
                    // A name that was never there may be misspelt: that it is not there must
                    // not tell a script that the volume is out of use.
                    seen.met = seen.ever && self.goal == Goal::Phase(Phase::Released);
                    seen.state = "not declared".to_owned();
                }
            }
        }
        Ok(self.seen.iter().all(|seen| seen.met))
    }

    /// The state of what is still waited for.
    fn lines(&self) -> Vec<String> {
        let waiting = self.seen.iter().filter(|seen| !seen.met);
        waiting
            .map(|seen| format!("volume/{}: {}", seen.name, seen.state))
            .collect()
    }

    fn late(&self, timeout: Duration) -> Failure {
        let missing = self.seen.iter().find(|seen| !seen.met);
        let hint = missing.and_then(|seen| {
            if seen.ever {
                Some(format!("volume-daemon describe volume {}", seen.name))
            } else {
                let known = self.known.iter().map(VolumeName::as_str);
                not_found("volume", seen.name.as_str(), known).hint
            }
        });
        Failure {
            message: format!(
                "timed out after {} waiting for {}; {}",
                span(timeout),
                self.goal,
                self.lines().join("; ")
            ),
            hint,
            exit: Exit::TimedOut,
        }
    }
}

fn is_met(goal: &Goal, volume: &VolumeStatus) -> Result<bool, Failure> {
    match goal {
        Goal::Phase(phase) => Ok(volume.phase == *phase),
        Goal::Condition(kind, status) => {
            let mut conditions = volume.conditions.iter();
            match conditions.find(|condition| condition.kind.eq_ignore_ascii_case(kind)) {
                Some(condition) => Ok(condition.status == *status),
                None => {
                    let kinds = volume.conditions.iter().map(|has| has.kind.as_str());
                    Err(Failure {
                        message: format!("volume/{} has no condition {kind}", volume.name),
                        hint: Some(format!("it has {}", kinds.collect::<Vec<_>>().join(", "))),
                        exit: Exit::Invalid,
                    })
                }
            }
        }
    }
}

/// Shows what is waited for: on a terminal in one line that is written over, else in one line for
/// each change.
struct Progress<'a> {
    err: &'a mut dyn Write,
    live: bool,
    clock: &'a dyn Clock,
    since: BootTime,
    shown: Vec<String>,
}

impl<'a> Progress<'a> {
    fn new(err: &'a mut dyn Write, live: bool, clock: &'a dyn Clock) -> Self {
        Self {
            err,
            live,
            clock,
            since: clock.now().boot,
            shown: Vec::new(),
        }
    }

    fn show(&mut self, lines: &[String]) -> std::io::Result<()> {
        if self.live {
            let waited = span(self.clock.now().boot.since(self.since));
            let line = match lines {
                [] => String::new(),
                [one] => format!("{waited}  {one}"),
                [first, rest @ ..] => format!("{waited}  {} more, {first}", rest.len()),
            };
            let line: String = line.chars().take(LINE_MAX).collect();
            // Spaces instead of a sequence that erases: it works where colours are off, too.
            write!(self.err, "\r{line:<LINE_MAX$}")?;
            self.err.flush()?;
        } else {
            for line in lines.iter().filter(|line| !self.shown.contains(line)) {
                writeln!(self.err, "{line}")?;
            }
        }
        self.shown = lines.to_vec();
        Ok(())
    }
}

impl Drop for Progress<'_> {
    /// Leaves an empty line to whatever comes next, an interruption included.
    fn drop(&mut self) {
        if self.live {
            let _ = write!(self.err, "\r{:LINE_MAX$}\r", "");
            let _ = self.err.flush();
        }
    }
}

#[cfg(test)]
mod tests;
