//! Spec files as people read them: what is wrong first, and thousands of good ones in one line.

use std::time::Duration;

use anstyle::Style;

use super::{Named, age};
use crate::cli::output::{BAD, DIM, GOOD, PENDING, cell, count, plain, span, table};
use crate::model::{FileProblem, FileState, Place, Timestamp};
use crate::reconcile::report::{FileStatus, FileVolume, Report};

/// Most files with problems shown unless all are asked for.
const SHOWN_MAX: usize = 20;

/// Most volumes of one file named in the table.
const NAMES_MAX: usize = 3;

/// Most characters of an excerpt, most of them before the mistake.
const EXCERPT_MAX: usize = 100;

impl Named for FileStatus {
    /// The file's name without its directory, which is the same for all.
    fn name(&self) -> &str {
        self.path
            .rsplit_once('/')
            .map_or(self.path.as_str(), |(_, name)| name)
    }
}

/// When a list of files is read.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Now.
    pub now: Timestamp,
    /// How old the report is.
    pub elapsed: Duration,
}

impl Reading {
    /// Of `report`, at `now`.
    pub fn of(report: &Report, now: Timestamp) -> Self {
        Self {
            now,
            elapsed: now.since(report.at),
        }
    }
}

/// All files: a summary, then those with problems; `wide`: every file.
pub(super) fn summary(files: &[FileStatus], wide: bool, reading: Reading) -> String {
    let (good, bad): (Vec<_>, Vec<_>) = files
        .iter()
        .partition(|file| file.state == FileState::Accepted && file.problems.is_empty());
    if files.is_empty() {
        return "no spec files, no rows\n".to_owned();
    }
    let is_row = |file: &&FileStatus| matches!(Place::of(&file.path), Place::Row(_));
    let rows = files.iter().filter(is_row).count();
    let counted = [(files.len() - rows, "spec file"), (rows, "row")];
    let counted = counted.into_iter().filter(|(many, _)| *many > 0);
    let counted: Vec<String> = counted.map(|(many, what)| count(many, what)).collect();
    let mut text = counted.join(", ");
    if bad.is_empty() {
        text += ", all accepted\n";
    } else {
        text += &format!(", {} not accepted as written\n", bad.len());
    }
    let shown = if wide { bad.len() } else { SHOWN_MAX };
    let mut rows: Vec<&FileStatus> = bad.iter().copied().take(shown).collect();
    if wide {
        rows.extend(good);
    }
    if !rows.is_empty() {
        text += "\n";
        text += &list(&rows, wide, reading);
    }
    for file in bad.iter().take(shown) {
        text += "\n";
        text += &problems(file);
    }
    if bad.len() > shown {
        let more = bad.len() - shown;
        text += &format!("\nand {more} more: volume-daemon get sources -o wide\n");
    }
    text
}

/// One file with all that is known of it.
pub(super) fn one(file: &FileStatus, reading: Reading) -> String {
    let mut text = list(&[file], true, reading);
    if !file.problems.is_empty() {
        text += "\n";
        text += &problems(file);
    }
    text
}

/// What there is to say about a file, without ages: two that are equal show no change.
pub(super) fn gist(file: &FileStatus) -> String {
    format!(
        "{:?}",
        (file.state, &file.hash, &file.volumes, &file.problems)
    )
}

fn list(files: &[&FileStatus], wide: bool, reading: Reading) -> String {
    let mut header = vec!["FILE", "STATE", "SINCE", "IN FORCE"];
    if wide {
        header.extend(["READ", "SHA-1", "PATH"]);
    }
    let rows = files.iter().map(|file| {
        let mut row = vec![
            plain(file.name()),
            cell(file.state, style(file.state)),
            plain(span(reading.now.since(file.since))),
            plain(in_force(&file.volumes, wide)),
        ];
        if wide {
            row.extend([
                plain(age(file.read_age_ms, reading.elapsed)),
                plain(&file.hash),
                plain(&file.path),
            ]);
        }
        row
    });
    table(&header, rows)
}

const fn style(state: FileState) -> Style {
    match state {
        FileState::Accepted => GOOD,
        FileState::Settling | FileState::Missing => PENDING,
        FileState::Invalid
        | FileState::Unreadable
        | FileState::Conflict
        | FileState::RenameSuspected => BAD,
    }
}

/// The volumes of a file, with the generation of each.
fn in_force(volumes: &[FileVolume], wide: bool) -> String {
    let shown = if wide { volumes.len() } else { NAMES_MAX };
    let mut names: Vec<String> = volumes
        .iter()
        .take(shown)
        .map(|volume| format!("{}@{}", volume.name, volume.generation))
        .collect();
    match volumes.len() - names.len() {
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    names.join(", ")
}

fn problems(file: &FileStatus) -> String {
    file.problems.iter().map(problem).collect()
}

fn problem(problem: &FileProblem) -> String {
    let mut text = format!("{}\n", problem.message);
    if let (Some(line), Some(column), Some(excerpt)) =
        (problem.line, problem.column, &problem.excerpt)
    {
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let at = usize::try_from(column)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        // A long line is shown around the mistake.
        let skipped = at.saturating_sub(EXCERPT_MAX * 3 / 4);
        let piece: String = excerpt.chars().skip(skipped).take(EXCERPT_MAX).collect();
        let pointer = " ".repeat(at - skipped);
        text += &format!("  {DIM}{number} |{DIM:#} {piece}\n");
        text += &format!("  {DIM}{margin} |{DIM:#} {pointer}{BAD}^{BAD:#}\n");
    }
    text
}
