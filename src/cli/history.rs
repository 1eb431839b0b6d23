//! `volume-daemon history`: everything that happened to one volume, in order of time.

use std::time::Duration;

use comfy_table::Cell;
use serde::Serialize;

use self::diff::FieldChange;
use super::client::{self, Source};
use super::output::{
    BAD, Exit, Failure, GOOD, Io, PENDING, cell, count, plain, printable, span, table,
};
use super::plan::Output;
use super::wait::Target;
use crate::config::Config;
use crate::model::Timestamp;
use crate::model::desired::Generation;
use crate::model::memory::Outcome;
use crate::plan::episode::{Ended, Ending, Episode};
use crate::store::{Happening, JournalRow, PauseNote, SpecVersion, What};

mod diff;

/// Shows everything that happened to one volume, in order of time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Tells of accepted versions of its spec and who wrote them, of calls to CloudStack and how they ended,
of what differed, of approvals and of pauses. The latest 20 versions are kept, the latest 100 differences,
and of these and of calls what ended in the last 90 days.

Examples:
  volume-daemon history volume/pgtest2-disk-0
  volume-daemon history pgtest2-disk-0 -o json
  volume-daemon history pgtest2-disk-0 --diff 2 3     what the third version of its spec changed

Exit codes: 0 it was shown, 1 it could not be read or there is no such volume or version, 3 usage.")]
pub struct Args {
    /// Which volume
    #[arg(value_name = "volume/NAME")]
    target: Target,
    /// Only what differs between these two versions of its spec: their numbers, or the beginnings of
    /// their hashes
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    diff: Option<Vec<String>>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    source: Source,
}

/// Runs the subcommand.
///
/// # Errors
/// If neither the daemon nor its store can be asked, there is no such volume or version, or nobody
/// reads the answer.
pub async fn run(args: &Args, config: &Config, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let name = args.target.name();
    let history = client::history(config, &args.source, name, io).await?;
    if history.is_empty() {
        let failure = Failure {
            message: format!("nothing is known of a volume named {:?}", name.as_str()),
            hint: Some("volume-daemon get volumes lists them all".to_owned()),
            exit: Exit::Error,
        };
        return Err(failure.into());
    }
    match (&args.diff, args.output) {
        (None, Output::Text) => io.text(&text(&printable(&history)?))?,
        (None, Output::Json) => io.json(&history)?,
        (Some(pair), output) => {
            let history = match output {
                Output::Text => printable(&history)?,
                Output::Json => history,
            };
            let difference = Difference::between(&history, pair)?;
            match output {
                Output::Text => io.text(&difference.text())?,
                Output::Json => io.json(&difference)?,
            }
        }
    }
    Ok(Exit::Fine)
}

/// What differs between two versions of a spec.
#[derive(Serialize)]
struct Difference {
    from: Generation,
    to: Generation,
    changes: Vec<FieldChange>,
}

impl Difference {
    fn between(history: &[Happening], pair: &[String]) -> Result<Self, Failure> {
        let [from, to] = pair else {
            unreachable!("clap takes two values");
        };
        let (before, after) = (version(history, from)?, version(history, to)?);
        Ok(Self {
            from: before.generation,
            to: after.generation,
            changes: diff::differences(&before.manifest, &after.manifest),
        })
    }

    fn text(&self) -> String {
        if self.changes.is_empty() {
            return format!("versions {} and {} say the same\n", self.from, self.to);
        }
        diff::text(&self.changes)
    }
}

/// The version with this number, or whose hash begins so. What was written again after something
/// else has the same hash; the last one counts.
fn version<'a>(history: &'a [Happening], wanted: &str) -> Result<&'a SpecVersion, Failure> {
    let is_meant = |version: &&SpecVersion| match wanted.parse::<Generation>() {
        // Hashes are hexadecimal; one of digits only is told by its length.
        Ok(number) if wanted.len() < HASH_SHOWN => version.generation == number,
        _ => wanted.len() >= HASH_LEAST && version.hash.starts_with(&wanted.to_ascii_lowercase()),
    };
    let found = versions(history).filter(is_meant).last();
    found.ok_or_else(|| {
        let kept: Vec<String> = versions(history)
            .map(|version| format!("{} ({})", version.generation, short(&version.hash)))
            .collect();
        Failure {
            message: format!("version {wanted} of its spec is not kept"),
            hint: Some(format!("these are: {}", kept.join(", "))),
            exit: Exit::Error,
        }
    })
}

/// How much of a hash is shown, and the least that is taken for one, in characters.
const HASH_SHOWN: usize = 12;
const HASH_LEAST: usize = 4;

fn short(hash: &str) -> &str {
    hash.get(..HASH_SHOWN).unwrap_or(hash)
}

fn versions(history: &[Happening]) -> impl Iterator<Item = &SpecVersion> {
    history
        .iter()
        .filter_map(|happening| match &happening.what {
            What::Accepted(version) => Some(version),
            What::Bound(_)
            | What::Call(_)
            | What::Drift(_)
            | What::Approved(_)
            | What::Paused(_) => None,
        })
}

/// One line of a history.
struct Line {
    at: Timestamp,
    kind: &'static str,
    text: String,
    state: Cell,
}

/// A history for people.
fn text(history: &[Happening]) -> String {
    let mut lines = Vec::with_capacity(history.len());
    let mut before = None;
    for Happening { at, what } in history {
        let line = |kind, text, state| Line {
            at: *at,
            kind,
            text,
            state,
        };
        match what {
            What::Accepted(version) => {
                lines.push(line("Spec", accepted(version, before), plain("Accepted")));
                before = Some(version);
            }
            What::Bound(bound) => {
                let text = format!("bound to volume {}", bound.volume);
                lines.push(line("Binding", text, plain(bound.mark)));
            }
            What::Call(row) => {
                let (text, state) = call(row);
                lines.push(line("Call", text, state));
            }
            What::Drift(episode) => lines.extend(drift(episode)),
            What::Approved(approval) => {
                let text = format!("{}{}", approval.action, because(&approval.reason));
                lines.push(line("Approval", text, plain("Approved")));
            }
            What::Paused(PauseNote {
                until,
                everything,
                reason,
            }) => {
                let what = if *everything { "everything " } else { "" };
                let text = format!("{what}until {until}{}", because(reason));
                lines.push(line("Pause", text, plain("Paused")));
            }
        }
    }
    lines.sort_by_key(|line| line.at);
    let number = count(lines.len(), "line");
    let rows = lines.into_iter().map(|line| {
        vec![
            plain(line.at),
            plain(line.kind),
            line.state,
            plain(line.text),
        ]
    });
    let text = table(&["AT", "KIND", "STATE", "WHAT"], rows);
    format!("{text}\n{number}\n")
}

fn because(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(" ({reason})"),
    }
}

/// A version, and what it changed if the one before is known.
fn accepted(version: &SpecVersion, before: Option<&SpecVersion>) -> String {
    let owner = match &version.owner {
        Some(owner) => format!(" from {owner}"),
        None => String::new(),
    };
    let mut text = format!(
        "version {} ({}){owner}",
        version.generation,
        short(&version.hash)
    );
    if let Some(before) = before {
        let changes = diff::differences(&before.manifest, &version.manifest);
        for (number, change) in changes.iter().enumerate() {
            text += if number == 0 { ": " } else { ", " };
            let before = diff::shown(change.before.as_ref());
            let after = diff::shown(change.after.as_ref());
            text += &format!("{} {before} → {after}", change.field);
        }
    }
    text
}

fn call(row: &JournalRow) -> (String, Cell) {
    let JournalRow {
        intent, settled, ..
    } = row;
    let text = format!("{} ({})", intent.action, intent.cause.as_str());
    let Some(settled) = settled else {
        return (text, cell("Open", PENDING));
    };
    let took = || span(settled.at.since(intent.created));
    match &settled.outcome {
        Outcome::Succeeded { .. } => {
            let text = format!("{text}, took {}", took());
            (text, cell("Succeeded", GOOD))
        }
        Outcome::Failed { text: why, .. } => (format!("{text}: {why}"), cell("Failed", BAD)),
        Outcome::Lost { text: why } => (format!("{text}: {why}"), cell("Lost", BAD)),
        Outcome::NeverSent => (text, plain("NeverSent")),
    }
}

/// An episode has a line for its begin, and one for its end.
fn drift(episode: &Episode) -> impl Iterator<Item = Line> {
    let Episode {
        drift,
        first_seen,
        ended,
        who,
        ..
    } = episode;
    let by = who.as_ref().map_or_else(String::new, |who| {
        format!(" (by {}/{}, {})", who.account, who.user, who.event)
    });
    let begun = Line {
        at: *first_seen,
        kind: "Drift",
        text: format!(
            "{}: {}, not {}{by}",
            drift.field, drift.observed, drift.desired
        ),
        state: cell("Differs", BAD),
    };
    let over = ended.as_ref().map(|ended| Line {
        at: ended.at,
        kind: "Drift",
        text: format!(
            "{}: {}",
            drift.field,
            end(ended, ended.at.since(*first_seen))
        ),
        state: cell("Over", GOOD),
    });
    std::iter::once(begun).chain(over)
}

fn end(ended: &Ended, lasted: Duration) -> String {
    let how = match ended.ending {
        Ending::Healed {
            intent: Some(intent),
        } => format!("healed by call {intent}"),
        Ending::Healed { intent: None } => "healed".to_owned(),
        Ending::ByItself => "gone by itself".to_owned(),
        Ending::Changed => "it differs otherwise".to_owned(),
        Ending::SpecChanged => "the spec changed".to_owned(),
    };
    format!("{how} after {}", span(lasted))
}

#[cfg(test)]
pub(super) mod tests;
