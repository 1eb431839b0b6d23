//! What was found, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::output::{
    BAD, DIM, GOOD, HEAD, PENDING, cell, count, line, or_empty, plain, table,
};
use crate::import::{Finding, Import, OldVolume, Outcome};

/// The answer for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    /// How many rows were written, or would be.
    rows: usize,
    /// Whether they were.
    written: bool,
    #[serde(flatten)]
    import: &'a Import,
}

impl<'a> Answer<'a> {
    pub(super) fn new(import: &'a Import, is_dry: bool) -> Self {
        Self {
            rows: import.rows.len(),
            written: !is_dry && !import.rows.is_empty(),
            import,
        }
    }
}

/// The answer for people.
pub(super) fn text(import: &Import, is_dry: bool) -> String {
    let mut text = String::new();
    if import.volumes.is_empty() {
        text.push_str("the old tables name no volume\n");
    } else {
        let rows = import.volumes.iter().map(row);
        text.push_str(&table(
            &[
                "VOLUME", "NAME", "ROW", "RESULT", "VM", "DEVICE", "SIZE", "KIND", "ZONE",
                "OFFERING", "LINK", "EXPORT",
            ],
            rows.collect::<Vec<_>>(),
        ));
    }
    let (blocking, remarks): (Vec<_>, Vec<_>) =
        import.findings.iter().partition(|finding| finding.blocks);
    for (heading, findings) in [("In the way", blocking), ("Remarks", remarks)] {
        if !findings.is_empty() {
            let _ = writeln!(text, "\n{HEAD}{heading}{HEAD:#}");
            findings
                .iter()
                .for_each(|finding| one(import, finding, &mut text));
        }
    }
    let _ = write!(text, "\n{}", summary(import, is_dry));
    text
}

fn row(volume: &OldVolume) -> Vec<comfy_table::Cell> {
    let OldVolume {
        id,
        outcome,
        row,
        cloud,
        device,
        export,
    } = volume;
    let cloud = cloud.as_ref();
    let result = match outcome {
        Outcome::New => cell("new", PENDING),
        Outcome::Unchanged => cell("unchanged", GOOD),
        Outcome::Kept => cell("kept as it is", GOOD),
        Outcome::LeftOut => cell("left out", BAD),
        Outcome::Gone => cell("gone", DIM),
    };
    let link = match device {
        Some(device) if device.exists => "there",
        Some(_) => "missing",
        None => "",
    };
    let kind = cloud.map_or("", |cloud| if cloud.root { "root" } else { "data" });
    vec![
        plain(id),
        plain(cloud.map_or_else(String::new, |cloud| line(&cloud.name))),
        plain(or_empty(row.as_deref().map(line))),
        result,
        plain(cloud.map_or_else(String::new, place)),
        plain(or_empty(cloud.and_then(|cloud| cloud.device_id))),
        plain(or_empty(cloud.map(|cloud| cloud.size))),
        plain(kind),
        plain(cloud.map_or_else(String::new, |cloud| line(&cloud.zone))),
        plain(or_empty(
            cloud.and_then(|cloud| Some(line(cloud.offering.as_deref()?))),
        )),
        plain(link),
        plain(or_empty(export.as_deref().map(line))),
    ]
}

fn place(cloud: &crate::import::InCloud) -> String {
    match (&cloud.vm_name, cloud.vm) {
        (Some(name), _) => line(name),
        (None, vm) => or_empty(vm),
    }
}

fn one(import: &Import, finding: &Finding, text: &mut String) {
    let Finding {
        code,
        blocks,
        volume,
        message,
        fix,
    } = finding;
    let style = if *blocks { BAD } else { PENDING };
    let about = volume.and_then(|id| import.volumes.iter().find(|volume| volume.id == id));
    let about = about.map_or_else(String::new, |volume| match &volume.cloud {
        Some(cloud) => format!("{} ({}): ", line(&cloud.name), volume.id),
        None => format!("{}: ", volume.id),
    });
    let _ = writeln!(text, "  {style}{code}{style:#} {about}{}", line(message));
    let _ = writeln!(text, "    {DIM}do:{DIM:#} {fix}");
}

fn summary(import: &Import, is_dry: bool) -> String {
    let mut parts = Vec::new();
    for (outcome, what) in [
        (Outcome::Unchanged, "has its row already"),
        (Outcome::Kept, "kept as it is"),
        (Outcome::LeftOut, "left out"),
        (Outcome::Gone, "gone"),
    ] {
        match import.count(outcome) {
            0 => {}
            many => parts.push(format!("{}: {what}", count(many, "volume"))),
        }
    }
    let rest = match parts.is_empty() {
        true => String::new(),
        false => format!("{}\n", parts.join("; ")),
    };
    let rows = count(import.rows.len(), "row");
    match (import.rows.is_empty(), is_dry) {
        (true, _) => format!("nothing to write: nothing was changed\n{rest}"),
        (false, true) => format!("{rows} to write; nothing was written\n{rest}"),
        (false, false) => {
            let names = import
                .rows
                .iter()
                .map(|row| format!(" volume/{}", row.name));
            format!(
                "{rows} written\n{rest}A daemon that runs now tags each of these volumes with its claim, \
                 then exports what was exported:\nvolume-daemon wait{} --for=Ready\n",
                names.collect::<String>()
            )
        }
    }
}
