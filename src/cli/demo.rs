//! `volume-daemon demo`: the daemon at work, in ten seconds, on any Linux machine.
//!
//! Real: the daemon, its store, its spec files, qemu-storage-daemon, and the NBD client that
//! reads and writes. Simulated: CloudStack, and the disks of the VM it runs on, which are files.
//! Everything is in one directory of its own; every claim that is printed was measured, and the
//! exit status says whether all of them held.

mod checks;
mod data;
mod place;
mod scenes;
mod screen;
mod show;
mod stage;
mod story;
mod track;

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::checks::Checks;
use self::place::Place;
use self::screen::Screen;
use self::stage::Stage;
use super::output::{Exit, Failure};
use crate::clock::{Clock as _, SystemClock};

/// Shows the daemon at work: real parts, a simulated CloudStack, and four disasters.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon demo                       ten seconds, leaves nothing behind
  volume-daemon demo --keep                leaves everything running, and says what to try
  volume-daemon demo --keep --dir /tmp/d   the same, where it is easy to find

Needs qemu-storage-daemon (Debian package qemu-system-common) and nbdcopy (libnbd-bin).

Exit codes: 0 everything was as promised, 1 something was not (then the logs are kept), 130 it was
interrupted, and everything was removed.")]
pub struct Args {
    /// Leave everything running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Work in DIR, which must not be there yet, instead of a temporary directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What the demo runs besides this program: the program, and the Debian package it is in.
const PROGRAMS: [(&str, &str); 2] = [
    ("qemu-storage-daemon", "qemu-system-common"),
    ("nbdcopy", "libnbd-bin"),
];

/// Tells the story.
///
/// # Errors
/// If it cannot begin, or nobody reads it. What goes wrong in the story is part of it.
pub async fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    programs_are_there(&path)?;
    let mut stop = Stop::new()?;
    let place = Place::create(args.dir.as_deref())?;
    let mut stage = Stage::new(&place)?;
    let mut screen = Screen::new(out, is_live());
    let mut checks = Checks::default();
    let told = tokio::select! {
        biased;
        () = stop.asked() => None,
        told = tell(args, &mut stage, &mut screen, &mut checks) => Some(told),
    };
    if args.keep && matches!(told, Some(Ok(()))) {
        stop.asked().await;
    }
    stage.end().await;
    match told {
        Some(Ok(())) if !checks.all_held() => {
            screen.say(&story::logs(&place))?;
            Ok(Exit::Error.into())
        }
        Some(Ok(())) => {
            place.remove()?;
            Ok(Exit::Fine.into())
        }
        Some(Err(unread)) => {
            place.remove()?;
            Err(unread.into())
        }
        None => {
            place.remove()?;
            screen.say("\ninterrupted; everything was ended and removed")?;
            Ok(Exit::Interrupted.into())
        }
    }
}

/// Everything that is said while the parts run. Fails only if it cannot be written.
async fn tell(
    args: &Args,
    stage: &mut Stage,
    screen: &mut Screen<'_>,
    checks: &mut Checks,
) -> std::io::Result<()> {
    let begun = SystemClock.now().boot;
    if let Err(error) = scenes::tell(stage, screen, checks).await {
        checks.note("the story is told to its end", format!("{error:#}"), false);
    }
    let took = SystemClock.now().boot.since(begun);
    screen.say(&story::verdict(checks, took))?;
    if args.keep {
        let things = story::things_to_try(&stage.place, stage.program(), stage.control_url());
        screen.say(&things)?;
    }
    Ok(())
}

/// Ctrl-C, or what else ends programs.
struct Stop([Signal; 3]);

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self([
            on(SignalKind::interrupt())?,
            on(SignalKind::terminate())?,
            on(SignalKind::hangup())?,
        ]))
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Whether lines on standard output can be written over.
fn is_live() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

fn programs_are_there(path: &[PathBuf]) -> Result<(), Failure> {
    let is_there = |program: &str| path.iter().any(|dir| dir.join(program).is_file());
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| !is_there(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let join = |part: fn(&(&'static str, &'static str)) -> &'static str, separator| {
        let parts: Vec<_> = missing.iter().map(|pair| part(pair)).collect();
        parts.join(separator)
    };
    Err(Failure {
        message: format!("not found in PATH: {}", join(|pair| pair.0, ", ")),
        hint: Some(format!(
            "on Debian: apt-get install {}",
            join(|pair| pair.1, " ")
        )),
        exit: Exit::Error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = [dir.path().to_owned()];
        std::fs::write(dir.path().join("nbdcopy"), "").expect("written");
        let missing = programs_are_there(&path).expect_err("qemu-storage-daemon is not there");
        assert_eq!(missing.message, "not found in PATH: qemu-storage-daemon");
        assert_eq!(
            missing.hint.as_deref(),
            Some("on Debian: apt-get install qemu-system-common")
        );
        std::fs::write(dir.path().join("qemu-storage-daemon"), "").expect("written");
        programs_are_there(&path).expect("both are there");
    }
}
