//! `plan --at`: what was planned at a moment, and from what, as the daemon noted it then.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::{Args, Group, Output, grouped, steps};
use crate::api::history::Planned;
use crate::cli::client;
use crate::cli::output::{DIM, Exit, Failure, Io, printable};
use crate::cli::wait::timeout;
use crate::config::Config;
use crate::model::{InstanceId, Timestamp, VolumeName};
use crate::reconcile::report::{Phase, PlanStatus, Report, VolumeStatus};

/// A moment in the past, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// In so many words.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl Moment {
    /// When that is, seen from `now`.
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => {
                let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
                Timestamp::from_millis(now.as_millis().saturating_sub(millis).max(0))
            }
        }
    }
}

/// Reads a moment.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = text.parse() {
        return Ok(Moment::At(at));
    }
    let ago = timeout(text).map(Moment::Ago);
    ago.map_err(|_| {
        "expected a time like 2026-11-21T03:00:00Z, or how long ago, like 2h".to_owned()
    })
}

/// What was planned, for programs.
#[derive(Serialize)]
struct Document<'a> {
    at: Timestamp,
    volumes: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a VolumeName,
    since: Timestamp,
    group: Group,
    phase: Phase,
    message: &'a str,
    plan: &'a PlanStatus,
    seen: &'a VolumeStatus,
}

/// Shows it.
pub(super) async fn run(
    args: &Args,
    at: Timestamp,
    config: &Config,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let plans = client::plans(config, &args.source, at, io).await?;
    if plans.is_empty() {
        let failure = Failure {
            message: format!("nothing is known of what was planned at {at}"),
            hint: Some(
                "the daemon notes it whenever it changes, and keeps it for 90 days".to_owned(),
            ),
            exit: Exit::Error,
        };
        return Err(failure.into());
    }
    match args.output {
        Output::Text => io.text(&text(&printable(&plans)?, at, args.all))?,
        Output::Json => io.json(&document(&plans, at))?,
    }
    Ok(super::exit(&report(&plans, at)))
}

impl<'a> Entry<'a> {
    fn of(Planned { since, volume }: &'a Planned) -> Self {
        Self {
            name: &volume.name,
            since: *since,
            group: Group::of(volume),
            phase: volume.phase,
            message: &volume.message,
            plan: &volume.plan,
            seen: volume,
        }
    }
}

fn document(plans: &[Planned], at: Timestamp) -> Document<'_> {
    Document {
        at,
        volumes: plans.iter().map(Entry::of).collect(),
    }
}

/// The noted volumes as a report; the rest of one was not noted.
fn report(plans: &[Planned], at: Timestamp) -> Report {
    Report {
        at,
        instance: InstanceId::new(uuid::Uuid::nil()),
        self_vm: None,
        sources: Vec::new(),
        frozen: None,
        volumes: plans.iter().map(|planned| planned.volume.clone()).collect(),
        exports: Vec::new(),
        files: Vec::new(),
        devices: Vec::new(),
    }
}

fn text(plans: &[Planned], at: Timestamp, all: bool) -> String {
    let since: BTreeMap<&VolumeName, Timestamp> = plans
        .iter()
        .map(|planned| (&planned.volume.name, planned.since))
        .collect();
    let about = |volume: &VolumeStatus| {
        let mut text = String::new();
        for reason in &volume.plan.held_by {
            let _ = writeln!(text, "    {}: {}", reason.code, reason.message);
        }
        text += &steps(&volume.plan, "    ");
        let since = since.get(&volume.name).copied().unwrap_or(at);
        let _ = writeln!(
            text,
            "    {DIM}since {since}; seen: {}{DIM:#}",
            seen(volume)
        );
        text
    };
    format!(
        "as planned at {at}\n\n{}",
        grouped(&report(plans, at), all, about)
    )
}

/// What was known of a volume.
fn seen(volume: &VolumeStatus) -> String {
    let Some(id) = volume.volume_id else {
        return "no volume".to_owned();
    };
    let mut text = format!("volume {id}");
    if let Some(size) = volume.capacity.cloud {
        let _ = write!(text, " of {size}");
    }
    match &volume.attachment {
        Some(at) => {
            let vm = at.vm_name.clone().unwrap_or_else(|| at.vm.to_string());
            let _ = write!(text, ", on VM {vm}");
        }
        None => text += ", on no VM",
    }
    if let Some(device) = &volume.device {
        let _ = write!(text, ", {} here", device.path);
    }
    if let Some(export) = &volume.export {
        let _ = write!(text, ", served as {}", export.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{NOW, later, plain, progressing, ready};

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let before = |text| moment(text).map(|moment| moment.before(later(NOW, 60)));
        assert_eq!(before("1m"), Ok(NOW));
        assert_eq!(before("2027-01-15T08:00:00Z"), Ok(NOW));
        assert!(before("yesterday").is_err_and(|why| why.starts_with("expected a time like")));
    }

    #[test]
    fn what_was_planned_is_shown_with_what_was_seen() {
        let planned = |volume| Planned { since: NOW, volume };
        let plans = [planned(progressing("b")), planned(ready("a"))];
        let shown = plain(&text(&plans, later(NOW, 5), false));
        let expected = "\
as planned at 2027-01-15T08:00:05Z

To do now
  b
    1. attach the volume to VM pg
       the spec asks for this VM
    2. export it as migration-vol-b
       the spec asks for an export
    since 2027-01-15T08:00:00Z; seen: no volume

1 volume to change, 1 in sync
";
        assert_eq!(shown, expected);
        let all = plain(&text(&plans, NOW, true));
        assert!(all.contains(", on VM "), "{all}");
        assert!(all.contains(", served as "), "{all}");
    }
}
