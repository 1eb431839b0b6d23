//! Where specs are written, what watched files and rows of `desired_volumes` say, and what follows from
//! it for the store.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::desired::{Owner, VolumeDocument};
use super::ids::VolumeName;
use super::time::Timestamp;

/// Where a spec is written. A row stands for a file with one document, and so does what the API was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place<'a> {
    /// A watched file, by its path.
    File(&'a str),
    /// A row of `desired_volumes`, by its name, which need not be valid.
    Row(&'a str),
    /// The store itself, by the spec's name: the API was told, and it is written nowhere else.
    Api(&'a str),
}

/// How a row is told from a file where paths are written.
const ROW: &str = "row:";

/// The same for what the API was told.
const API: &str = "api:";

impl<'a> Place<'a> {
    /// Reads what [`Place::path`] writes.
    pub fn of(path: &'a str) -> Self {
        match (path.strip_prefix(ROW), path.strip_prefix(API)) {
            (Some(name), _) => Self::Row(name),
            (None, Some(name)) => Self::Api(name),
            (None, None) => Self::File(path),
        }
    }

    /// The path under which its status is kept: `row:` or `api:` and the name, but for a file.
    pub fn path(self) -> String {
        match self {
            Self::File(path) => path.to_owned(),
            Self::Row(name) => format!("{ROW}{name}"),
            Self::Api(name) => format!("{API}{name}"),
        }
    }

    /// What it is, in a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Row(_) => "row",
            Self::Api(_) => "API spec",
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Row(name) => write!(f, "the row {name} of desired_volumes"),
            Self::Api(_) => f.write_str("the API"),
        }
    }
}

/// A row of `desired_volumes` as it was read, not judged yet: whatever its columns hold, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredRow {
    /// Its name, which need not be a valid one.
    pub name: String,
    /// What its columns say; those that are NULL are left out.
    pub columns: BTreeMap<&'static str, String>,
}

impl DesiredRow {
    /// Every column that means something here, but for the name and whose it is.
    pub const COLUMNS: [&str; 21] = [
        "labels",
        "size_gib",
        "zone",
        "disk_offering",
        "existing_id",
        "existing_name",
        "volume_name",
        "vm",
        "device_id",
        "move",
        "export",
        "export_name",
        "export_read_only",
        "drain_timeout",
        "mode",
        "suspend",
        "reclaim_policy",
        "deletion_protection",
        "writer",
        "revision",
        "deleted_at",
    ];
}

/// How a spec file, a row, or a spec of the API, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FileState {
    /// What it says is in force.
    Accepted,
    /// It has errors; what it said before stays in force.
    Invalid,
    /// It could not be read; what it said before stays in force.
    Unreadable,
    /// Somebody is writing it; what it said before stays in force until they are done.
    Settling,
    /// Another file writes one of its names.
    Conflict,
    /// It takes part in what looks like a renamed volume.
    RenameSuspected,
    /// It is not there; what it said stays in force until it is known to be gone.
    Missing,
}

impl FileState {
    /// The state as text, as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Invalid => "Invalid",
            Self::Unreadable => "Unreadable",
            Self::Settling => "Settling",
            Self::Conflict => "Conflict",
            Self::RenameSuspected => "RenameSuspected",
            Self::Missing => "Missing",
        }
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Text that names no file state.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not the state of a spec file")]
pub struct InvalidFileState(pub String);

impl FromStr for FileState {
    type Err = InvalidFileState;

    fn from_str(text: &str) -> Result<Self, InvalidFileState> {
        [
            Self::Accepted,
            Self::Invalid,
            Self::Unreadable,
            Self::Settling,
            Self::Conflict,
            Self::RenameSuspected,
            Self::Missing,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| InvalidFileState(text.to_owned()))
    }
}

/// One thing that a person should know about a spec file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileProblem {
    /// A sentence that can stand alone: it names the file and the place, if it is about one.
    pub message: String,
    /// Line, counted from 1; absent if it is not about a place in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in characters, counted from 1; there if and only if the line is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The text of that line; absent where it is very long, and for all but the first few
    /// problems of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

impl From<String> for FileProblem {
    /// Something about the file as a whole.
    fn from(message: String) -> Self {
        Self {
            message,
            line: None,
            column: None,
            excerpt: None,
        }
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A spec file, a row, or a spec of the API, as it was last judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, see [`Place::path`]; the identity.
    pub path: String,
    /// SHA-1 of its bytes when last read, in hexadecimal; empty if never read, or to be judged again.
    pub hash: String,
    /// `st_dev` of the directory in which it was last seen; 0 unless it is a file.
    pub device: u64,
    /// The revision that the row had when it was judged, if its writer counts; `None` for a file.
    pub revision: Option<i64>,
    /// How it stands.
    pub state: FileState,
    /// What a person should know; empty if all is well.
    pub problems: Vec<FileProblem>,
    /// Since when it stands so.
    pub since: Timestamp,
}

/// A valid document, about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedDocument {
    /// What it means.
    pub document: VolumeDocument,
    /// What it says, as the parser hands it out; the form that is stored.
    pub manifest: serde_json::Value,
    /// Who wrote it.
    pub owner: Owner,
}

/// What one look at a source changes. Empty when nothing did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceChange {
    /// New, changed, moved and returning documents.
    pub accepted: Vec<AcceptedDocument>,
    /// Names that are no longer written anywhere.
    pub abandoned: Vec<VolumeName>,
    /// Files whose status changed.
    pub files: Vec<SourceFile>,
    /// Paths of files that are gone and own nothing any more.
    pub forgotten: Vec<String>,
}

impl SourceChange {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        let Self {
            accepted,
            abandoned,
            files,
            forgotten,
        } = self;
        accepted.is_empty() && abandoned.is_empty() && files.is_empty() && forgotten.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back() {
        for place in [
            Place::File("/specs/a.yaml"),
            Place::Row("a"),
            Place::Row("/specs/a.yaml"),
            Place::Api("a"),
            Place::Row("api:a"),
        ] {
            assert_eq!(Place::of(&place.path()), place);
        }
    }

    #[test]
    fn states_read_back() {
        for state in [
            FileState::Accepted,
            FileState::Settling,
            FileState::RenameSuspected,
        ] {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("accepted".parse::<FileState>().is_err());
    }
}
