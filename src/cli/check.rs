//! `volume-daemon check`: whether everything is there that the daemon needs, and what to do if not.
//!
//! For the day before the first run, and for monitoring ever after. Needs no daemon and changes nothing
//! anywhere: no file, no lock, no call that is not a read. Three parts, so that judgement can be tested
//! without a cloud: `gather` looks, `facts` is what was seen, `judge` turns that into findings.

mod facts;
mod finding;
mod gather;
mod judge;

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use self::finding::{CHECKS, Counts, Finding, Report, Status};
use self::gather::Watch;
use super::output::{BAD, DIM, Exit, GOOD, HEAD, Io, PENDING, line};
use super::wait;
use crate::clock::{self, Clock};
use crate::config::{Config, ConfigError};

/// Checks everything that the daemon needs, and says what to do about what is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It looks at the settings, the way to CloudStack, what the keys may do there, this VM, its disks,
the NBD server and the store. It needs no daemon and changes nothing.

Examples:
  volume-daemon check                                  before the first run
  sudo -u volume-daemon volume-daemon check            with the eyes of the service
  volume-daemon check -o json | jq -r '.status'        for monitoring: ok, warning or failed
  volume-daemon check -o json | jq '.checks[] | select(.status == \"failed\")'

Exit codes: 0 all is well, or there are warnings only; 5 something failed, and the daemon cannot
do its work, or not all of it. docs/check.md describes every check and the JSON.")]
pub struct Args {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// How long each look may take, like 5s or 1m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = wait::timeout)]
    timeout: Duration,
}

/// How to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    // For people.
    Table,
    // One object, for programs.
    Json,
    // The same as YAML.
    Yaml,
}

/// How long nothing is said about what takes so long, and how often after that.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest line that is written over: one that wraps could not be.
const LINE_MAX: usize = 79;

/// Runs the subcommand. `file` is where `config` was read from, or should have been.
///
/// # Errors
/// If nobody reads the answer. Whatever else goes wrong is a finding.
pub async fn run(
    args: &Args,
    file: &Path,
    config: Result<Config, ConfigError>,
    clock: &Arc<dyn Clock>,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let watch = Watch::new(args.timeout);
    let facts = {
        let mut gathered = pin!(gather::gather(&watch, file, config, clock));
        let mut progress = Progress::new(&mut *io.err, io.live);
        loop {
            tokio::select! {
                facts = &mut gathered => break facts,
                () = clock::sleep(PATIENCE) => progress.show(&watch.under_way())?,
            }
        }
    };
    let report = Report::new(clock.now().wall, judge::judge(&facts));
    match args.output {
        Output::Table => io.text(&text(&report))?,
        Output::Json => io.json(&report)?,
        Output::Yaml => io.yaml(&report)?,
    }
    Ok(match report.status {
        Status::Failed => Exit::Blocked,
        Status::Warning | Status::Ok | Status::Skipped => Exit::Fine,
    })
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for (heading, names) in CHECKS {
        let _ = writeln!(text, "{HEAD}{heading}{HEAD:#}");
        let found = report.checks.iter();
        for finding in found.filter(|finding| names.contains(&finding.check)) {
            one(finding, &mut text);
        }
    }
    let _ = writeln!(text, "\n{}", summary(&report.counts));
    text
}

fn one(finding: &Finding, text: &mut String) {
    let Finding {
        check,
        status,
        message,
        fix,
    } = finding;
    let style = match status {
        Status::Ok => GOOD,
        Status::Warning => PENDING,
        Status::Failed => BAD,
        Status::Skipped => DIM,
    };
    let word = status.word();
    let message = line(message);
    let _ = writeln!(text, "  {check:<13}{style}{word:<9}{style:#}{message}");
    if let Some(fix) = fix {
        let _ = writeln!(text, "  {:<22}{DIM}fix:{DIM:#} {}", "", line(fix));
    }
}

fn summary(counts: &Counts) -> String {
    let Counts {
        ok,
        warning,
        failed,
        skipped,
    } = *counts;
    let parts = [
        (failed, "failed", BAD),
        (
            warning,
            if warning == 1 { "warning" } else { "warnings" },
            PENDING,
        ),
        (skipped, "skipped", DIM),
        (ok, "ok", GOOD),
    ];
    let parts = parts.into_iter().filter(|(number, ..)| *number > 0);
    let parts: Vec<String> = parts
        .map(|(number, what, style)| format!("{style}{number} {what}{style:#}"))
        .collect();
    parts.join(", ")
}

/// One line on a terminal about what is still looked at.
struct Progress<'a> {
    err: &'a mut dyn Write,
    live: bool,
    shown: bool,
}

impl<'a> Progress<'a> {
    fn new(err: &'a mut dyn Write, live: bool) -> Self {
        Self {
            err,
            live,
            shown: false,
        }
    }

    fn show(&mut self, names: &[&str]) -> std::io::Result<()> {
        if self.live {
            let waiting: String = format!("checking: {} ...", names.join(", "));
            let waiting: String = waiting.chars().take(LINE_MAX).collect();
            write!(self.err, "\r{waiting:<LINE_MAX$}")?;
            self.err.flush()?;
            self.shown = true;
        }
        Ok(())
    }
}

impl Drop for Progress<'_> {
    /// Leaves an empty line to whatever comes next, an interruption included.
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(self.err, "\r{:LINE_MAX$}\r", "");
            let _ = self.err.flush();
        }
    }
}

#[cfg(test)]
mod tests;
