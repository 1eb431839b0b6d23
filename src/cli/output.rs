//! How answers, progress and failures reach people and scripts: streams, colours, tables, ages,
//! exit codes and hints.
//!
//! Text always carries its colours; the stream drops them where nobody would see them. Must
//! not ask anybody anything.

mod yaml;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, Color, ColumnConstraint, Table, Width, presets};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::ClientError;
use crate::config::{ConfigError, DEFAULT_FILE};

/// What is as it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What will pass.
pub(super) const PENDING: Style = AnsiColor::Yellow.on_default();
/// What somebody has to look at.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// Headings.
pub(super) const HEAD: Style = Style::new().bold();
/// What matters less.
pub(super) const DIM: Style = Style::new().dimmed();

/// Where a command writes.
pub struct Io<'a> {
    /// Answers.
    pub out: &'a mut dyn Write,
    /// Progress and remarks.
    pub err: &'a mut dyn Write,
    /// Whether `err` is a terminal, where a line can be written over.
    pub live: bool,
}

impl Io<'_> {
    /// Writes `value` as JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        self.text(&text)
    }

    /// Writes `value` as YAML.
    pub(super) fn yaml(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        self.text(&yaml::text(&serde_json::to_value(value)?))
    }

    /// Writes `text`, and makes sure that it has arrived.
    pub(super) fn text(&mut self, text: &str) -> anyhow::Result<()> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }
}

/// What a command tells the program that called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is fine.
    Fine,
    /// It could not be done.
    Error,
    /// Something differs.
    Differences,
    /// What was asked makes no sense.
    Invalid,
    /// It did not come true in time.
    TimedOut,
    /// Somebody has to do something.
    Blocked,
    /// Ctrl-C: 128 + SIGINT, as shells count.
    Interrupted,
    /// Nobody reads the answer any more: 128 + SIGPIPE, as shells count.
    Unread,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Error => 1,
            Self::Differences => 2,
            Self::Invalid => 3,
            Self::TimedOut => 4,
            Self::Blocked => 5,
            Self::Interrupted => 130,
            Self::Unread => 141,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure that was foreseen, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What went wrong.
    pub message: String,
    /// What to do about it, if that is known.
    pub hint: Option<String>,
    /// What it means to scripts.
    pub exit: Exit,
}

/// Says why a command failed and what to do about it, and what that means to scripts.
pub fn fail(error: &anyhow::Error, err: &mut dyn Write) -> Exit {
    let exit = exit_of(error);
    if exit != Exit::Unread {
        let mut text = format!("{BAD}error:{BAD:#} {}\n", causes(error));
        if let Some(hint) = hint(error) {
            let _ = writeln!(text, "{PENDING}hint:{PENDING:#} {hint}");
        }
        // Where this cannot be said, nothing can.
        let _ = err.write_all(text.as_bytes());
    }
    exit
}

/// The error and its causes, each once: some errors repeat their cause, which is not ours
/// to change.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            let _ = write!(text, ": {cause}");
        }
    }
    text
}

fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit;
    }
    if error.downcast_ref::<ConfigError>().is_some()
        || error
            .downcast_ref::<crate::sim::file::FileError>()
            .is_some()
    {
        return Exit::Invalid;
    }
    // Only the error itself: further down it would be about some connection.
    let closed = match (
        error.downcast_ref::<io::Error>(),
        error.downcast_ref::<serde_json::Error>(),
    ) {
        (Some(error), _) => error.kind() == io::ErrorKind::BrokenPipe,
        (None, Some(error)) => error.io_error_kind() == Some(io::ErrorKind::BrokenPipe),
        (None, None) => false,
    };
    if closed { Exit::Unread } else { Exit::Error }
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.hint.clone();
        }
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            return error.hint();
        }
        match cause.downcast_ref::<ConfigError>()? {
            ConfigError::Missing { key, .. } => Some(how_to_set(key)),
            ConfigError::Read { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("run it as root, or as a user who may read that file".to_owned())
            }
            ConfigError::Read { .. }
            | ConfigError::File { .. }
            | ConfigError::Override { .. }
            | ConfigError::Value { .. } => None,
        }
    })
}

fn how_to_set(key: &str) -> String {
    let variable = key.to_uppercase().replace('.', "__");
    format!("set it in {DEFAULT_FILE}, as VOLUME_DAEMON_{variable}=…, or with --set {key}=…")
}

/// A failure to find `name` among `known`, with the nearest one.
pub(super) fn not_found<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Failure {
    let near = known
        .into_iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    Failure {
        message: format!("there is no {what} named {name:?}"),
        hint: Some(match near {
            Some((_, near)) => format!("did you mean {near}?"),
            None => format!("volume-daemon get {what}s lists them all"),
        }),
        exit: Exit::Error,
    }
}

/// Columns as wide as they have to be, three spaces apart, one row a line.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
    let mut table = columns(rows);
    table.set_header(header.to_vec());
    written(table, &[])
}

/// Rows without a header; columns are at least so wide, in characters.
pub(super) fn rows(widths: &[usize], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
    written(columns(rows), widths)
}

/// Blank columns between two columns of a table.
const GAP: u16 = 3;

fn columns(rows: impl IntoIterator<Item = Vec<Cell>>) -> Table {
    let mut table = Table::new();
    // The text only: coloured padding could not be cut off at the end of a line.
    table.style_text_only();
    table
        .load_style(presets::NOTHING)
        .enforce_styling()
        .add_rows(rows);
    table
}

fn written(mut table: Table, widths: &[usize]) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));
        if let Some(width) = widths.get(index) {
            let width = u16::try_from(*width).unwrap_or(u16::MAX);
            let width = Width::Fixed(width.saturating_add(GAP));
            column.set_constraint(ColumnConstraint::LowerBoundary(width));
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// A cell in the colour of `style`; `-` where there is nothing to say.
pub(super) fn cell(text: impl ToString, style: Style) -> Cell {
    let text = text.to_string();
    let cell = Cell::new(if text.is_empty() { "-" } else { &text });
    // The table counts columns, so it has to know the colour rather than find it in the text.
    match style.get_fg_color() {
        Some(anstyle::Color::Ansi(AnsiColor::Green)) => cell.fg(Color::DarkGreen),
        Some(anstyle::Color::Ansi(AnsiColor::Yellow)) => cell.fg(Color::DarkYellow),
        Some(anstyle::Color::Ansi(AnsiColor::Red)) => cell.fg(Color::DarkRed),
        _ => cell,
    }
}

/// A cell without colour; `-` where there is nothing to say.
pub(super) fn plain(text: impl ToString) -> Cell {
    cell(text, Style::new())
}

/// The text of what may be absent; nothing where it is.
pub(super) fn or_empty<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A time span as people read it: two units at most, and only while the second one matters.
pub(super) fn span(of: Duration) -> String {
    let seconds = of.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: u64, unit: char, small: u64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{small_unit}"),
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, 'm', seconds % 60, 's')
    } else if hours < 2 {
        format!("{minutes}m")
    } else if hours < 10 {
        two(hours, 'h', minutes % 60, 'm')
    } else if days < 2 {
        format!("{hours}h")
    } else {
        format!("{days}d")
    }
}

/// `1 volume`, `2 volumes`.
pub(super) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// The same text as one line without control characters. Names and messages come from
/// CloudStack, where others write them: an escape sequence in one could rewrite the screen.
pub(super) fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The same value with all its texts as [`line()`] gives them.
pub(super) fn printable<T: Serialize + DeserializeOwned>(value: &T) -> anyhow::Result<T> {
    let mut json = serde_json::to_value(value)?;
    clean(&mut json);
    Ok(serde_json::from_value(json)?)
}

fn clean(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = line(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(clean),
        serde_json::Value::Object(members) => members.values_mut().for_each(clean),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
