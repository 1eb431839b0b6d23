//! `volume-daemon drift`: what differs from what is asked for while nobody is working on it.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::client::{self, Source};
use super::output::{Exit, Io, PENDING, count, plain, printable, table};
use super::plan::{self, Output, warnings};
use super::wait::timeout;
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Serial, Timestamp, VolumeName};
use crate::plan::{Drift, DriftClass};
use crate::reconcile::report::{DeviceState, HostDevice, Phase, Report};

mod since;

/// Shows what differs from the specs while nobody is working on it, now or lately.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon drift                      everything, by kind of difference
  volume-daemon drift --online -o json     for monitoring: the daemon's word only
  volume-daemon drift --since 24h          what differed since yesterday, and how it ended
  volume-daemon drift >/dev/null || echo \"something differs\"

With --since it shows from when to when something differed, as the daemon saw it: what it heals at
once, and what went on while it did not run, it cannot tell.

Exit codes, the first that applies:
  2  something differs; with --since: did at any time since then
  5  nothing is seen to differ, but something is blocked or could not be read
  0  nothing differs
  1  it could not be found out
  3  usage")]
pub struct Args {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// What differed in this last time, like 24h; kept are the last 90 days
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    since: Option<Duration>,
    #[command(flatten)]
    source: Source,
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
    if let Some(span) = args.since {
        return since::run(args, span, config, clock, io).await;
    }
    let report = client::report(config, &args.source, &[], io).await?;
    match args.output {
        Output::Text => io.text(&text(&printable(&report)?))?,
        Output::Json => io.json(&Document {
            at: report.at,
            unclear: unclear(&report),
            drift: entries(&report),
            ghosts: ghosts(&report).collect(),
        })?,
    }
    Ok(exit(&report))
}

/// The drift for programs.
#[derive(Serialize)]
struct Document<'a> {
    at: Timestamp,
    /// Sources and volumes of which it is not known that nothing differs.
    unclear: Vec<&'a str>,
    drift: Vec<Entry<'a>>,
    /// Disks here that CloudStack does not list here.
    ghosts: Vec<&'a HostDevice>,
}

#[derive(Serialize)]
struct Entry<'a> {
    volume: &'a VolumeName,
    #[serde(flatten)]
    drift: &'a Drift,
}

fn entries(report: &Report) -> Vec<Entry<'_>> {
    let volumes = report.volumes.iter();
    volumes
        .flat_map(|volume| {
            volume.drift.iter().map(|drift| Entry {
                volume: &volume.name,
                drift,
            })
        })
        .collect()
}

fn ghosts(report: &Report) -> impl Iterator<Item = &HostDevice> {
    let devices = report.devices.iter();
    devices.filter(|device| device.state == DeviceState::Ghost)
}

fn unclear(report: &Report) -> Vec<&str> {
    plan::unread(report)
        .chain(unclear_volumes(report))
        .collect()
}

/// Volumes that were not read, or are not as asked for and yet have no difference to show:
/// where a step is blocked before anything can be compared, there is none.
fn unclear_volumes(report: &Report) -> impl Iterator<Item = &str> {
    let unclear = report.volumes.iter().filter(|volume| match volume.phase {
        Phase::Unknown => true,
        Phase::Blocked => volume.drift.is_empty(),
        Phase::Ready | Phase::Progressing | Phase::Waiting | Phase::Held | Phase::Released => false,
    });
    unclear.map(|volume| volume.name.as_str())
}

fn exit(report: &Report) -> Exit {
    if !entries(report).is_empty() || ghosts(report).next().is_some() {
        Exit::Differences
    } else if !unclear(report).is_empty() {
        Exit::Blocked
    } else {
        Exit::Fine
    }
}

const CLASSES: [DriftClass; 5] = [
    DriftClass::Existence,
    DriftClass::Attachment,
    DriftClass::Size,
    DriftClass::Export,
    DriftClass::Property,
];

const fn heading(class: DriftClass) -> &'static str {
    match class {
        DriftClass::Existence => "Existence: the volume itself is gone",
        DriftClass::Attachment => "Attachment: it is somewhere else",
        DriftClass::Size => "Size: it has another one",
        DriftClass::Export => "Export: it is served differently, or not",
        DriftClass::Property => "Property: something lesser differs",
    }
}

/// The drift for people.
pub fn text(report: &Report) -> String {
    let mut text = warnings(report);
    let entries = entries(report);
    for class in CLASSES {
        let of_class = entries.iter().filter(|entry| entry.drift.class == class);
        let rows: Vec<_> = of_class
            .map(|Entry { volume, drift }| {
                vec![
                    plain(volume),
                    plain(&drift.field),
                    plain(&drift.desired),
                    plain(&drift.observed),
                ]
            })
            .collect();
        if !rows.is_empty() {
            let _ = writeln!(text, "{PENDING}{}{PENDING:#}", heading(class));
            text.push_str(&table(&["VOLUME", "FIELD", "DESIRED", "OBSERVED"], rows));
            text.push('\n');
        }
    }
    let rows: Vec<_> = ghosts(report)
        .map(|ghost| {
            let serial = ghost.serial.as_ref().map_or("", Serial::as_str);
            let message = ghost.message.as_deref().unwrap_or_default();
            vec![plain(&ghost.path), plain(serial), plain(message)]
        })
        .collect();
    if !rows.is_empty() {
        let _ = writeln!(
            text,
            "{PENDING}Ghosts: disks here that CloudStack does not list here{PENDING:#}"
        );
        text.push_str(&table(&["DEVICE", "SERIAL", "WHY"], rows));
        text.push('\n');
    }
    let all = count(report.volumes.len(), "volume");
    if entries.is_empty() {
        let _ = write!(text, "no drift in {all}");
    } else {
        let drifted = report
            .volumes
            .iter()
            .filter(|volume| !volume.drift.is_empty())
            .count();
        let _ = write!(
            text,
            "{} in {drifted} of {all}",
            count(entries.len(), "difference")
        );
    }
    let unclear: Vec<&str> = unclear_volumes(report).collect();
    if !unclear.is_empty() {
        let _ = write!(text, "; not clear for {}", unclear.join(", "));
        text.push_str(": volume-daemon plan says why");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{
        blocked, drift, ghost, held, plain, progressing, ready, report, unknown,
    };
    use super::*;

    #[test]
    fn differences_are_grouped_by_class() {
        let mut grown = ready("logs");
        grown.drift = vec![
            drift(DriftClass::Export, "spec.export.readOnly", "true", "false"),
            drift(DriftClass::Existence, "spec", "a volume", "none"),
        ];
        let report = report([blocked("pg"), grown, held("tmp"), ready("x")]);
        let expected = "\
Existence: the volume itself is gone
VOLUME   FIELD   DESIRED    OBSERVED
logs     spec    a volume   none

Attachment: it is somewhere else
VOLUME   FIELD              DESIRED   OBSERVED
pg       spec.attachTo.vm   pg        x
tmp      spec.attachTo.vm   pg        none

Export: it is served differently, or not
VOLUME   FIELD                  DESIRED   OBSERVED
logs     spec.export.readOnly   true      false

4 differences in 3 of 4 volumes
";
        assert_eq!(plain(&text(&report)), expected);
        assert_eq!(exit(&report), Exit::Differences);
    }

    #[test]
    fn a_disk_that_should_not_be_here_is_a_difference() {
        let mut report = report([ready("a")]);
        report.devices.push(ghost());
        let expected = "\
Ghosts: disks here that CloudStack does not list here
DEVICE     SERIAL                 WHY
/dev/vdx   17af9803f4a8445da106   not listed

no drift in 1 volume
";
        assert_eq!(super::super::fixture::plain(&text(&report)), expected);
        assert_eq!(exit(&report), Exit::Differences);
        report.devices[0].state = DeviceState::Unmanaged;
        assert_eq!(exit(&report), Exit::Fine);
    }

    #[test]
    fn what_somebody_works_on_is_no_drift() {
        let report = report([progressing("a"), ready("b")]);
        assert_eq!(text(&report), "no drift in 2 volumes\n");
        assert_eq!(exit(&report), Exit::Fine);
    }

    #[test]
    fn what_was_not_read_is_not_called_fine() {
        let of_volume = report([ready("a"), unknown("b")]);
        assert_eq!(
            text(&of_volume),
            "no drift in 2 volumes; not clear for b: volume-daemon plan says why\n"
        );
        assert_eq!(exit(&of_volume), Exit::Blocked);
        assert_eq!(unclear(&of_volume), ["b"]);
        let mut nothing_to_compare = blocked("c");
        nothing_to_compare.drift.clear();
        assert_eq!(exit(&report([nothing_to_compare])), Exit::Blocked);
        let mut of_source = report([ready("a")]);
        of_source.sources[0].ok = false;
        assert_eq!(
            plain(&text(&of_source)),
            "warning: cloudstack: not read yet\n\nno drift in 1 volume\n"
        );
        assert_eq!(exit(&of_source), Exit::Blocked);
        of_source.volumes.push(blocked("b"));
        assert_eq!(exit(&of_source), Exit::Differences, "drift is the question");
    }

    #[test]
    fn json_is_one_entry_for_each_difference() {
        let report = report([blocked("pg")]);
        let json = serde_json::to_value(entries(&report)).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!([{
                "volume": "pg",
                "class": "Attachment",
                "field": "spec.attachTo.vm",
                "desired": "pg",
                "observed": "x",
            }])
        );
    }
}
