//! The tables of `get`: which columns there are, and what stands in them.

use std::time::Duration;

use anstyle::Style;
use comfy_table::Cell;

use super::listing::{Line, Listing};
use crate::cli::output::{BAD, GOOD, PENDING, cell, or_empty, plain, span};
use crate::model::Timestamp;
use crate::model::memory::{Outcome, Progress};
use crate::reconcile::report::{
    DeviceState, ExportStatus, HostDevice, Phase, SourceStatus, VolumeStatus,
};
use crate::store::JournalRow;

/// The colour of a phase.
pub(in crate::cli) const fn phase_style(phase: Phase) -> Style {
    match phase {
        Phase::Ready => GOOD,
        Phase::Progressing | Phase::Waiting | Phase::Unknown => PENDING,
        Phase::Blocked => BAD,
        Phase::Held | Phase::Released => Style::new(),
    }
}

/// An age at `at`, `elapsed` later.
pub(in crate::cli) fn age(age_ms: Option<u64>, elapsed: Duration) -> String {
    age_ms
        .map(|age| span(Duration::from_millis(age).saturating_add(elapsed)))
        .unwrap_or_default()
}

/// The table of volumes.
pub(super) fn volumes(volumes: &[&VolumeStatus], wide: bool, elapsed: Duration) -> Listing {
    let mut header = vec![
        "NAME", "PHASE", "REASON", "SIZE", "VM", "DEVICE", "EXPORT", "READ",
    ];
    if wide {
        header.extend(["VOLUME", "SERIAL", "GENERATION", "OWNER", "MESSAGE"]);
    }
    let lines = volumes.iter().map(|volume| {
        let mut row = vec![
            plain(&volume.name),
            cell(format!("{:?}", volume.phase), phase_style(volume.phase)),
            plain(reason(volume)),
            plain(or_empty(volume.capacity.cloud)),
            plain(vm(volume)),
            plain(or_empty(volume.device.as_ref().map(|device| &device.path))),
            plain(or_empty(volume.export.as_ref().map(|export| &export.name))),
            plain(age(volume.observed.age_ms, elapsed)),
        ];
        if wide {
            row.extend([
                plain(or_empty(volume.volume_id)),
                plain(or_empty(volume.serial.as_ref())),
                plain(volume.observed_generation),
                plain(&volume.owner),
                plain(&volume.message),
            ]);
        }
        Line::new(&volume.name, row)
    });
    Listing {
        empty: "no volumes are declared",
        lines: lines.collect(),
        header,
    }
}

/// Why a volume is in its phase: what holds it, or the step that is due.
fn reason(volume: &VolumeStatus) -> String {
    if volume.plan.held_by.is_empty() && volume.paused.is_some() {
        return "Paused".to_owned();
    }
    let held = volume.plan.held_by.first().map(|reason| &reason.code);
    or_empty(held.or(volume.plan.now.as_ref().map(|step| &step.kind)))
}

fn vm(volume: &VolumeStatus) -> String {
    match &volume.attachment {
        Some(at) => at.vm_name.clone().unwrap_or_else(|| at.vm.to_string()),
        None => String::new(),
    }
}

/// The table of exports.
pub(super) fn exports(exports: &[&ExportStatus], wide: bool) -> Listing {
    let mut header = vec!["NAME", "VOLUME", "SIZE", "MODE", "STATE"];
    if wide {
        header.push("BYTES");
    }
    let lines = exports.iter().map(|export| {
        let (state, style) = match (export.draining, &export.volume, export.proven) {
            (true, _, _) => ("Draining", PENDING),
            (false, None, _) => ("Foreign", Style::new()),
            (false, Some(_), true) => ("Proven", GOOD),
            (false, Some(_), false) => ("NotProven", BAD),
        };
        let mut row = vec![
            plain(&export.name),
            plain(or_empty(export.volume.as_ref())),
            plain(export.size),
            plain(if export.read_only { "ro" } else { "rw" }),
            cell(state, style),
        ];
        if wide {
            row.push(plain(export.size.as_bytes()));
        }
        Line::new(&export.name, row)
    });
    Listing {
        empty: "the NBD server serves nothing",
        lines: lines.collect(),
        header,
    }
}

/// The table of disks.
pub(super) fn devices(devices: &[&HostDevice], wide: bool) -> Listing {
    let mut header = vec!["DEVICE", "STATE", "VOLUME", "SIZE", "SERIAL", "USED"];
    if wide {
        header.extend(["NUMBER", "ID", "MESSAGE"]);
    }
    let lines = devices.iter().map(|device| {
        let (state, style) = match device.state {
            DeviceState::Managed => ("Managed", GOOD),
            DeviceState::Unmanaged => ("Unmanaged", Style::new()),
            DeviceState::Ghost => ("Ghost", BAD),
            DeviceState::Other => ("Other", Style::new()),
            DeviceState::Unknown => ("Unknown", PENDING),
        };
        let mut row = vec![
            plain(&device.path),
            cell(state, style),
            plain(or_empty(device.volume.as_ref())),
            plain(device.size),
            plain(or_empty(device.serial.as_ref())),
            plain(device.users.join(", ")),
        ];
        if wide {
            row.push(plain(&device.number));
            row.push(plain(or_empty(device.volume_id.as_ref())));
            row.push(plain(device.message.as_deref().unwrap_or_default()));
        }
        Line::new(&device.path, row)
    });
    Listing {
        empty: "no disks were seen",
        lines: lines.collect(),
        header,
    }
}

/// The table of sources.
pub(super) fn sources(sources: &[&SourceStatus], elapsed: Duration) -> Listing {
    let lines = sources.iter().map(|source| {
        let (state, style) = if source.ok {
            ("Ok", GOOD)
        } else {
            ("Failing", BAD)
        };
        let row = vec![
            plain(&source.name),
            cell(state, style),
            plain(age(source.age_ms, elapsed)),
            plain(source.message.as_deref().unwrap_or_default()),
        ];
        Line::new(&source.name, row)
    });
    Listing {
        empty: "no such source",
        header: vec!["NAME", "STATE", "READ", "MESSAGE"],
        lines: lines.collect(),
    }
}

/// The journal for people.
pub fn intents(rows: &[JournalRow], wide: bool, now: Timestamp) -> String {
    journal(rows, wide, now).text()
}

/// The table of calls.
pub(super) fn journal(rows: &[JournalRow], wide: bool, now: Timestamp) -> Listing {
    let mut header = vec!["AGE", "VOLUME", "ACTION", "CAUSE", "STATE"];
    if wide {
        header.extend(["TOOK", "JOB", "ID", "GENERATION", "OWNER", "MESSAGE"]);
    }
    let lines = rows
        .iter()
        .map(|row| Line::new(row.intent.id, journal_row(row, wide, now)));
    Listing {
        empty: "no such calls are in the journal",
        lines: lines.collect(),
        header,
    }
}

fn journal_row(row: &JournalRow, wide: bool, now: Timestamp) -> Vec<Cell> {
    let intent = &row.intent;
    let (state, style, message) = match &row.settled {
        None => match &intent.progress {
            Progress::Journalled => ("Sending", PENDING, ""),
            Progress::Submitted(_) => ("Running", PENDING, ""),
            Progress::Undecided(_) => ("Undecided", BAD, ""),
        },
        Some(settled) => match &settled.outcome {
            Outcome::Succeeded { .. } => ("Succeeded", GOOD, ""),
            Outcome::Failed { text, .. } => ("Failed", BAD, text.as_str()),
            Outcome::NeverSent => ("NeverSent", Style::new(), ""),
            Outcome::Lost { text } => ("Lost", BAD, text.as_str()),
        },
    };
    let mut cells = vec![
        plain(span(now.since(intent.created))),
        plain(&intent.name),
        plain(&intent.action),
        plain(intent.cause.as_str()),
        cell(state, style),
    ];
    if wide {
        let job = match &intent.progress {
            Progress::Submitted(job) => Some(job),
            Progress::Journalled | Progress::Undecided(_) => None,
        };
        let settled = row.settled.as_ref();
        cells.extend([
            plain(or_empty(
                settled.map(|settled| span(settled.at.since(intent.created))),
            )),
            plain(or_empty(job)),
            plain(intent.id),
            plain(intent.generation),
            plain(&row.owner),
            plain(message),
        ]);
    }
    cells
}
