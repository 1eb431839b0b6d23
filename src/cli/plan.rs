//! `volume-daemon plan`: what would be done for every volume, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anstyle::Style;
use anyhow::bail;
use serde::Serialize;

use super::client::{self, Source};
use super::offline::{self, Seen};
use super::output::{BAD, DIM, Exit, GOOD, HEAD, Io, PENDING, count, printable, span};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Timestamp, VolumeName};
use crate::reconcile::report::{FrozenStatus, Phase, PlanStatus, Report, StepStatus, VolumeStatus};

use self::saved::{SavedPlan, written_elsewhere};

mod explain;
pub(super) mod saved;

/// Shows what would be done for every volume, and why; changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon plan                       what the daemon is about to do
  volume-daemon plan new.yaml              what these specs would lead to, before they are installed
  volume-daemon plan new.yaml --save p     the same, kept for volume-daemon apply p
  volume-daemon plan --explain             from which facts each step follows, and what it changes
  volume-daemon plan -o json | jq '.volumes[] | select(.group == \"blocked\")'

Exit codes, the first that applies:
  5  something is blocked, or could not be read: it may never come right by itself
  2  something is to be done or waited for, and will be
  0  nothing is to be done; volumes that their specs hold back count as that
  1  it could not be found out
  3  usage, or a given spec is invalid

With --explain, + is what a step brings about, - what it ends, ~ what it changes or what differs.")]
pub struct Args {
    /// Spec files or directories to plan for instead of the accepted specs (works without the daemon)
    #[arg(value_name = "PATH", conflicts_with = "online")]
    paths: Vec<PathBuf>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// List the volumes that are in sync, too
    #[arg(long)]
    all: bool,
    /// Show the facts that each step follows from, the rule behind each reason, and what would differ
    #[arg(long)]
    explain: bool,
    /// Keep the plan in FILE, which must not be there yet; volume-daemon apply carries it out
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

/// How to show an answer. (Documented values would spread the help over many lines.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    // For people.
    Text,
    // For programs.
    Json,
}

/// Runs the subcommand.
///
/// # Errors
/// If neither the daemon nor the world can be asked, or nobody reads the answer.
pub async fn run(
    args: &Args,
    config: &Config,
    clock: &dyn Clock,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let given = offline::read(&args.paths)?;
    if given.is_empty() && !args.paths.is_empty() {
        bail!("there are no spec files (*.yaml, *.yml) in what was given");
    }
    let Seen { report, specs } = if args.explain {
        client::seen(config, &args.source, &given, io).await?
    } else {
        let report = client::report(config, &args.source, &given, io).await?;
        Seen {
            report,
            specs: BTreeMap::new(),
        }
    };
    let now = clock.now().wall;
    match args.output {
        Output::Text if args.explain => {
            let report = printable(&report)?;
            let explained = |volume: &_| explain::volume(&report, volume, &specs, now);
            io.text(&grouped(&report, args.all, explained))?;
        }
        Output::Text => io.text(&text(&printable(&report)?, args.all, now))?,
        Output::Json => io.json(&Document::of(&report))?,
    }
    if let Some(file) = &args.save {
        let plan = SavedPlan::new(&report, &given, &config.specs.dir)?;
        let accepted = offline::specs(config).await?;
        let elsewhere = written_elsewhere(&plan, &accepted, &config.specs.dir);
        if !elsewhere.is_empty() {
            bail!("this could not be carried out: {}", elsewhere.join(", "));
        }
        plan.write(file)?;
        let apply = format!("volume-daemon apply {}", file.display());
        writeln!(io.err, "saved; to carry it out if it still holds: {apply}")?;
    }
    Ok(exit(&report))
}

/// What a volume's plan comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Group {
    /// A step is due.
    ToDo,
    /// A step follows once something has happened, which it will.
    Waiting,
    /// Somebody has to do something.
    Blocked,
    /// The spec says not to act.
    Held,
    /// Nothing is to be done.
    InSync,
    /// The spec is gone, and nothing is to be done any more.
    Released,
}

impl Group {
    const ALL: [Self; 6] = [
        Self::ToDo,
        Self::Waiting,
        Self::Blocked,
        Self::Held,
        Self::InSync,
        Self::Released,
    ];

    /// The group of a volume.
    pub fn of(volume: &VolumeStatus) -> Self {
        match volume.phase {
            Phase::Ready => Self::InSync,
            Phase::Progressing if volume.plan.now.is_some() => Self::ToDo,
            Phase::Progressing | Phase::Waiting | Phase::Unknown => Self::Waiting,
            Phase::Blocked => Self::Blocked,
            Phase::Held => Self::Held,
            Phase::Released => Self::Released,
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::ToDo => "To do now",
            Self::Waiting => "Waiting",
            Self::Blocked => "Blocked",
            Self::Held => "Held back by the spec",
            Self::InSync => "In sync",
            Self::Released => "Released",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::ToDo | Self::Waiting => PENDING,
            Self::Blocked => BAD,
            Self::InSync => GOOD,
            Self::Held | Self::Released => DIM,
        }
    }

    const fn is_quiet(self) -> bool {
        match self {
            Self::InSync | Self::Released => true,
            Self::ToDo | Self::Waiting | Self::Blocked | Self::Held => false,
        }
    }
}

/// How many volumes are in each group.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    to_do: usize,
    waiting: usize,
    blocked: usize,
    held: usize,
    in_sync: usize,
    released: usize,
}

impl Summary {
    fn of(report: &Report) -> Self {
        let mut summary = Self::default();
        for volume in &report.volumes {
            let count = match Group::of(volume) {
                Group::ToDo => &mut summary.to_do,
                Group::Waiting => &mut summary.waiting,
                Group::Blocked => &mut summary.blocked,
                Group::Held => &mut summary.held,
                Group::InSync => &mut summary.in_sync,
                Group::Released => &mut summary.released,
            };
            *count += 1;
        }
        summary
    }

    fn sentence(&self) -> String {
        let to_do = match self.to_do {
            0 => "nothing to do now".to_owned(),
            many => format!("{} to change", count(many, "volume")),
        };
        let rest = [
            (self.waiting, "waiting"),
            (self.blocked, "blocked"),
            (self.held, "held"),
            (self.in_sync, "in sync"),
            (self.released, "released"),
        ];
        let rest = rest
            .into_iter()
            .filter(|(many, _)| *many > 0)
            .map(|(many, what)| format!("{many} {what}"));
        let parts: Vec<String> = std::iter::once(to_do).chain(rest).collect();
        parts.join(", ")
    }
}

/// What scripts learn: what needs a person first, then what will pass. A script that gets
/// [`Exit::Differences`] may wait; one that gets [`Exit::Blocked`] would wait for ever.
fn exit(report: &Report) -> Exit {
    let summary = Summary::of(report);
    if summary.blocked > 0 || unread(report).next().is_some() {
        Exit::Blocked
    } else if summary.to_do > 0 || summary.waiting > 0 {
        Exit::Differences
    } else {
        Exit::Fine
    }
}

/// Sources without which nothing is known of any volume. Where the host or the NBD server is
/// needed and cannot be read, the volume itself is blocked; elsewhere they do not matter.
pub(super) fn unread(report: &Report) -> impl Iterator<Item = &str> {
    let failing = report.sources.iter().filter(|source| !source.ok);
    failing
        .map(|source| source.name.as_str())
        .filter(|name| ["cloudstack", "specs", "store"].contains(name))
}

/// The plan for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    at: Timestamp,
    frozen: Option<&'a str>,
    approvable: Option<&'a str>,
    summary: Summary,
    volumes: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a VolumeName,
    group: Group,
    phase: Phase,
    message: &'a str,
    plan: &'a PlanStatus,
}

impl<'a> Document<'a> {
    fn of(report: &'a Report) -> Self {
        let volumes = report.volumes.iter().map(|volume| Entry {
            name: &volume.name,
            group: Group::of(volume),
            phase: volume.phase,
            message: &volume.message,
            plan: &volume.plan,
        });
        Self {
            at: report.at,
            frozen: report.frozen.as_ref().map(|frozen| frozen.why.as_str()),
            approvable: report.frozen.as_ref().and_then(approvable),
            summary: Summary::of(report),
            volumes: volumes.collect(),
        }
    }
}

/// The plan for people. `all` lists the volumes in sync, too.
pub fn text(report: &Report, all: bool, now: Timestamp) -> String {
    let elapsed = now.since(report.at);
    grouped(report, all, |volume| path(&volume.plan, "    ", elapsed))
}

/// The volumes in their groups, with what `about` says of each.
fn grouped(report: &Report, all: bool, about: impl Fn(&VolumeStatus) -> String) -> String {
    let mut text = warnings(report);
    for group in Group::ALL {
        let mut members = report
            .volumes
            .iter()
            .filter(|volume| Group::of(volume) == group)
            .peekable();
        if members.peek().is_none() || (group.is_quiet() && !all) {
            continue;
        }
        let (style, heading) = (group.style(), group.heading());
        let _ = writeln!(text, "{style}{heading}{style:#}");
        for volume in members {
            let _ = writeln!(text, "  {HEAD}{}{HEAD:#}", volume.name);
            text.push_str(&about(volume));
        }
        text.push('\n');
    }
    if report.volumes.is_empty() {
        text.push_str("no volumes are declared\n");
    } else {
        let _ = writeln!(text, "{}", Summary::of(report).sentence());
    }
    text
}

/// What to approve the frozen steps by, if any is due.
fn approvable(frozen: &FrozenStatus) -> Option<&str> {
    (!frozen.steps.is_empty()).then_some(frozen.digest.as_str())
}

/// What makes the rest of a report less than the whole truth.
pub(super) fn warnings(report: &Report) -> String {
    let mut text = String::new();
    for source in report.sources.iter().filter(|source| !source.ok) {
        let why = source.message.as_deref().unwrap_or("not read yet");
        let _ = writeln!(text, "{BAD}warning:{BAD:#} {}: {why}", source.name);
    }
    if let Some(frozen) = &report.frozen {
        let why = &frozen.why;
        let _ = writeln!(text, "{BAD}warning:{BAD:#} implied steps are frozen: {why}");
        if approvable(frozen).is_some() {
            let _ = writeln!(text, "{DIM}volume-daemon approve shows them{DIM:#}");
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// What stands in the way and the steps, one below the other.
fn path(plan: &PlanStatus, indent: &str, elapsed: Duration) -> String {
    let mut text = String::new();
    for reason in &plan.held_by {
        let _ = writeln!(text, "{indent}{}: {}", reason.code, reason.message);
    }
    if let Some(due) = due(plan, elapsed) {
        let _ = writeln!(text, "{indent}{DIM}{due}{DIM:#}");
    }
    text + &steps(plan, indent)
}

/// The steps, one below the other, each with its reason.
pub(super) fn steps(plan: &PlanStatus, indent: &str) -> String {
    let mut text = String::new();
    for (number, of) in (1..).zip(plan.now.iter().chain(&plan.then)) {
        text += &step(number, of, indent);
    }
    text
}

fn step(number: usize, step: &StepStatus, indent: &str) -> String {
    let StepStatus { text, reason, .. } = step;
    let mut lines = format!("{indent}{number}. {text}\n");
    if !reason.is_empty() {
        let _ = writeln!(lines, "{indent}   {DIM}{reason}{DIM:#}");
    }
    lines
}

/// When what is waited for is due, if that is known.
pub(super) fn due(plan: &PlanStatus, elapsed: Duration) -> Option<String> {
    let left = Duration::from_millis(plan.next_in_ms?).saturating_sub(elapsed);
    Some(if left < Duration::from_secs(1) {
        "due now".to_owned()
    } else {
        format!("due in {}", span(left))
    })
}

#[cfg(test)]
mod tests;
