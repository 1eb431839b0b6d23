//! `volume-daemon describe`: everything known of one volume, and what to do about it.

use std::fmt::Write as _;
use std::time::Duration;

use super::client::{self, Source};
use super::desired;
use super::get::{age, phase_style};
use super::offline::Seen;
use super::output::{
    BAD, DIM, Exit, GOOD, HEAD, Io, PENDING, cell, count, not_found, or_empty, plain, printable,
    span, table,
};
use super::plan::{due, steps, warnings};
use super::reasons::{self, Help};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{DesiredVolume, Timestamp, VolumeName};
use crate::reconcile::report::{
    Condition, IntentStatus, PauseStatus, Phase, Report, Truth, VolumeStatus,
};

/// Shows everything that is known of one volume, what comes next, and what can be done.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows what is desired, the chain from the spec to the clients with source and age of each fact,
what differs, since when, what holds it up, what happens next and when, and a command that helps on.

Examples:
  volume-daemon describe volume pgtest2-disk-0
  volume-daemon describe volume pgtest2-disk-0 --offline
  volume-daemon get volumes pgtest2-disk-0 -o json    has the same facts for programs

Exit codes: 0 it was described, whatever its state, 1 it could not be read or there is no such
volume, 3 usage.")]
pub struct Args {
    /// What to describe
    #[arg(value_enum)]
    kind: Kind,
    /// Which one
    name: VolumeName,
    #[command(flatten)]
    source: Source,
}

/// What can be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    #[value(alias = "volumes")]
    Volume,
}

/// Runs the subcommand.
///
/// # Errors
/// If neither the daemon nor the world can be asked, there is no such volume, or nobody reads
/// the answer.
pub async fn run(
    args: &Args,
    config: &Config,
    clock: &dyn Clock,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let Seen { report, specs } = client::seen(config, &args.source, &[], io).await?;
    let report = printable(&report)?;
    let mut volumes = report.volumes.iter();
    let Some(volume) = volumes.find(|volume| volume.name == args.name) else {
        let known = report.volumes.iter().map(|volume| volume.name.as_str());
        return Err(not_found("volume", args.name.as_str(), known).into());
    };
    let help = Help {
        report: &report,
        volume,
        spec: specs.get(&args.name),
        nbd: &config.nbd.listen,
    };
    io.text(&text(help, clock.now().wall))?;
    Ok(Exit::Fine)
}

/// One volume for people.
pub(super) fn text(help: Help<'_>, now: Timestamp) -> String {
    let Help { report, volume, .. } = help;
    let elapsed = now.since(report.at);
    let style = phase_style(volume.phase);
    let mut text = warnings(report);
    let _ = writeln!(text, "{HEAD}{}{HEAD:#}", volume.name);
    let _ = writeln!(
        text,
        "{style}{:?}{style:#}: {}",
        volume.phase, volume.message
    );
    if let Some(since) = since(report, volume) {
        let _ = writeln!(
            text,
            "{DIM}for at least {}, since {since}{DIM:#}",
            span(now.since(since))
        );
    }
    if let Some(PauseStatus { until, reason }) = &volume.paused {
        let why = match reason.as_str() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        let _ = writeln!(text, "{PENDING}paused{PENDING:#} until {until}{why}");
    }
    text.push('\n');
    text.push_str(&section("Desired", &wanted(volume, help.spec)));
    text.push_str(&section("Chain", &chain(report, volume, elapsed)));
    text.push_str(&section("Differences", &differences(volume)));
    text.push_str(&section("Conditions", &conditions(report, volume, now)));
    if let Some(intent) = &volume.intent {
        text.push_str(&section("In flight", &in_flight(intent, now)));
    }
    text.push_str(&section("Next", &next(volume, elapsed)));
    if let Some(command) = reasons::try_this(help) {
        let _ = writeln!(text, "{GOOD}Try:{GOOD:#} {command}");
    }
    text
}

/// Since when the volume is as it is, as far as whoever reports has seen it. A report that sees
/// it for the first time cannot tell.
fn since(report: &Report, volume: &VolumeStatus) -> Option<Timestamp> {
    let kind = match volume.phase {
        Phase::Blocked | Phase::Held => "Blocked",
        Phase::Ready | Phase::Progressing | Phase::Waiting | Phase::Released | Phase::Unknown => {
            "Ready"
        }
    };
    let mut conditions = volume.conditions.iter();
    seen_since(report, conditions.find(|one| one.kind == kind)?)
}

fn seen_since(report: &Report, condition: &Condition) -> Option<Timestamp> {
    let since = condition.last_transition_time;
    (since < report.at).then_some(since)
}

/// What is asked for.
fn wanted(volume: &VolumeStatus, spec: Option<&DesiredVolume>) -> String {
    let Some(spec) = spec else {
        return "not known: the store cannot be read by this user, or is ahead of the report"
            .to_owned();
    };
    format!(
        "cloud    {}, {}\nexport   {}\npolicy   {}\n",
        desired::volume(spec),
        desired::place(spec),
        desired::export(spec, volume.volume_id),
        desired::policy(spec),
    )
}

fn section(heading: &str, body: &str) -> String {
    let mut text = format!("{HEAD}{heading}{HEAD:#}\n");
    for line in body.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text.push('\n');
    text
}

/// Every link from the spec to the clients, with who says so and how long ago.
pub(super) fn chain(report: &Report, volume: &VolumeStatus, elapsed: Duration) -> String {
    let read = |name: &str| match report.sources.iter().find(|source| source.name == name) {
        Some(source) if source.ok => age(source.age_ms, elapsed),
        Some(_) | None => String::new(),
    };
    let ok = |name: &str| report.sources.iter().any(|one| one.name == name && one.ok);
    let seen = |name: &str, is_there: bool, fact: String| {
        // What could not be read is not said to be absent.
        if is_there || ok(name) {
            fact
        } else {
            "not known".to_owned()
        }
    };
    let cloud = seen("cloudstack", volume.volume_id.is_some(), cloud(volume));
    let device = seen("host", volume.device.is_some(), device(volume));
    let export = seen("nbd", volume.export.is_some(), export(volume));
    let cloud_age = match volume.observed.age_ms {
        // What CloudStack does not have, its listing says.
        None if volume.volume_id.is_none() => read("cloudstack"),
        age_ms => stale(volume, age(age_ms, elapsed), elapsed),
    };
    let row = |layer, fact: String, source, read: String| {
        let read = if read.is_empty() && source != "specs" {
            "not known".to_owned()
        } else {
            read
        };
        vec![plain(layer), plain(source), plain(read), plain(fact)]
    };
    let spec = format!(
        "{}, generation {}",
        volume.owner, volume.observed_generation
    );
    let rows = [
        row("spec", spec, "specs", read("specs")),
        row("cloud", cloud, "cloudstack", cloud_age),
        row("device", device, "host", read("host")),
        row("export", export, "nbd", read("nbd")),
    ];
    table(&["LAYER", "SOURCE", "READ", "FACT"], rows)
}

/// Marks an age that is too great to act upon.
fn stale(volume: &VolumeStatus, text: String, elapsed: Duration) -> String {
    let limit = Duration::from_millis(volume.observed.stale_after_ms);
    let age = volume.observed.age_ms.map(Duration::from_millis);
    match age {
        Some(age) if age.saturating_add(elapsed) > limit => format!("{text} (stale)"),
        Some(_) | None => text,
    }
}

fn cloud(volume: &VolumeStatus) -> String {
    let Some(id) = volume.volume_id else {
        return "no volume yet".to_owned();
    };
    let size = match volume.capacity.cloud {
        Some(size) => size.to_string(),
        None => "size not known".to_owned(),
    };
    let at = match &volume.attachment {
        None if volume.capacity.cloud.is_none() => String::new(),
        None => ", on no VM".to_owned(),
        Some(at) => {
            let name = match &at.vm_name {
                Some(name) => format!("{name} ({})", at.vm),
                None => at.vm.to_string(),
            };
            match at.device_id {
                Some(id) => format!(", on VM {name} as device {id}"),
                None => format!(", on VM {name}"),
            }
        }
    };
    format!("volume {id}, {size}{at}")
}

fn device(volume: &VolumeStatus) -> String {
    let Some(device) = &volume.device else {
        return match &volume.serial {
            Some(serial) => format!("no disk with serial {serial} here"),
            None => "no disk yet".to_owned(),
        };
    };
    let size = match volume.capacity.device {
        Some(size) => format!(", {size}"),
        None => String::new(),
    };
    let link = device.by_id.as_deref().unwrap_or("no link");
    format!("{} ({}){size}, {link}", device.path, device.number)
}

pub(super) fn export(volume: &VolumeStatus) -> String {
    let Some(export) = &volume.export else {
        return "not served".to_owned();
    };
    let size = match volume.capacity.export {
        Some(size) => format!(", {size}"),
        None => String::new(),
    };
    let mode = if export.read_only {
        "read-only"
    } else {
        "read-write"
    };
    let clients = match export.clients {
        Some(many) => count(usize::try_from(many).unwrap_or(usize::MAX), "client"),
        None => "clients not known".to_owned(),
    };
    format!("{}{size}, {mode}, {clients}", export.name)
}

fn differences(volume: &VolumeStatus) -> String {
    if volume.drift.is_empty() {
        return "none that nobody is working on".to_owned();
    }
    let rows = volume.drift.iter().map(|drift| {
        vec![
            plain(&drift.field),
            plain(&drift.desired),
            cell(&drift.observed, PENDING),
        ]
    });
    table(&["FIELD", "DESIRED", "OBSERVED"], rows)
}

fn conditions(report: &Report, volume: &VolumeStatus, now: Timestamp) -> String {
    let rows = volume.conditions.iter().map(|condition| {
        // A condition that names a problem is good when it does not hold.
        let problem = matches!(
            condition.kind.as_str(),
            "Drifted" | "Blocked" | "Conflict" | "Stalled"
        );
        let style = match condition.status {
            Truth::Unknown => PENDING,
            Truth::True if problem => BAD,
            Truth::True => GOOD,
            Truth::False => anstyle::Style::new(),
        };
        vec![
            plain(&condition.kind),
            cell(format!("{:?}", condition.status), style),
            plain(or_empty(
                seen_since(report, condition).map(|since| span(now.since(since))),
            )),
            plain(&condition.reason),
            plain(&condition.message),
        ]
    });
    table(&["TYPE", "STATUS", "FOR", "REASON", "MESSAGE"], rows)
}

fn in_flight(intent: &IntentStatus, now: Timestamp) -> String {
    let since = span(now.since(intent.created));
    let mut text = format!(
        "{} ({}), for {since}\n",
        intent.action,
        intent.cause.as_str()
    );
    let _ = match intent.job {
        Some(job) => writeln!(text, "CloudStack job {job}"),
        None => writeln!(text, "no job known yet"),
    };
    let left = intent.expires.since(now);
    let _ = if left.is_zero() {
        writeln!(text, "CloudStack no longer accepts the call")
    } else {
        writeln!(
            text,
            "CloudStack accepts the call for another {}",
            span(left)
        )
    };
    let _ = write!(text, "{DIM}journal row {}{DIM:#}", intent.id);
    text
}

/// What holds it up, what ends that and when, and the steps that follow.
fn next(volume: &VolumeStatus, elapsed: Duration) -> String {
    let plan = &volume.plan;
    let mut text = String::new();
    for reason in &plan.held_by {
        let _ = writeln!(text, "{}: {}", reason.code, reason.message);
        if let Some(meaning) = reasons::meaning(&reason.code) {
            let _ = writeln!(text, "  {DIM}means: {meaning}{DIM:#}");
        }
        let mut goes_on = reasons::goes_on(&reason.code).to_owned();
        if let Some(due) = due(plan, elapsed) {
            goes_on = format!("{goes_on}; {due}");
        }
        let _ = writeln!(text, "  then: {goes_on}");
    }
    text += &steps(plan, "");
    if text.is_empty() {
        return "nothing is to be done".to_owned();
    }
    text
}

#[cfg(test)]
mod tests;
