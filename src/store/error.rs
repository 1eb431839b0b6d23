//! What can go wrong in the store, by what a person must do about it.

use std::io;
use std::path::PathBuf;

use crate::model::{IntentId, VolumeId, VolumeName};

/// Why the store could not do something.
///
/// No message repeats a store URL: one for a server carries its password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configured URL names no store: change it.
    #[error("expected a store like sqlite:///var/lib/volume-daemon/state.db, {problem}")]
    Url {
        /// What is wrong with it.
        problem: String,
    },
    /// The file cannot be opened: do what the hint says.
    #[error("cannot open the store {}: {hint}", path.display())]
    CannotOpen {
        /// Which file.
        path: PathBuf,
        /// What to look at.
        hint: &'static str,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another daemon uses the file: stop one of the two.
    #[error("the store {} is in use by {}", path.display(), holder(*pid))]
    Locked {
        /// Which file.
        path: PathBuf,
        /// The other process, if it could be told.
        pid: Option<u32>,
    },
    /// SQLite finds the file damaged: keep a copy, and restore a backup.
    #[error(
        "the store is damaged or no SQLite database: stop the daemon, keep a copy of the file and restore a backup"
    )]
    Corrupt(#[source] sqlx::Error),
    /// A later version wrote it: install that version again.
    #[error(
        "the store has schema {found}, this version knows {known}: a later version has used it, install that one"
    )]
    NewerSchema {
        /// The store's.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It is older than this version and may not be migrated here: start the daemon once.
    #[error(
        "the store has schema {found}, this version needs {known}: start the daemon once to migrate it"
    )]
    OlderSchema {
        /// The store's, 0 if it has none.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Somebody else has taken over writing: this process must stop changing anything.
    #[error("another daemon ({holder}) has taken over the store; this one writes no more")]
    LeaseLost {
        /// Who has it now.
        holder: String,
    },
    /// A write was asked of a store that was opened for reading.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// The name is bound already, and that is for ever (I13).
    #[error("{name} is bound to volume {stored}, for ever")]
    BindingConflict {
        /// The name that was to be bound.
        name: VolumeName,
        /// The volume that it is bound to, as stored.
        stored: String,
    },
    /// The volume is bound to another name already, and that is for ever (I13).
    #[error("{name} cannot be bound to volume {volume}, which another spec is bound to")]
    VolumeTaken {
        /// The name that was to be bound.
        name: VolumeName,
        /// The volume.
        volume: VolumeId,
    },
    /// A call for the same name or volume has no known end yet (I1).
    #[error("intent {open} for {name} is not settled yet")]
    IntentOpen {
        /// Whose call was to be journalled.
        name: VolumeName,
        /// The unsettled one, as stored.
        open: String,
    },
    /// The journal does not agree with what is reported: our own bug, a person must look.
    #[error("intent {intent} {problem}")]
    Journal {
        /// Which intent.
        intent: IntentId,
        /// What does not agree.
        problem: String,
    },
    /// Anything else the database refused: do what the hint says.
    #[error("could not {doing}: {hint}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What to look at.
        hint: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}: stop it, or give this daemon a store of its own"),
        None => "another process".to_owned(),
    }
}

impl StoreError {
    /// Whether there is no store yet, as opposed to one that cannot be used.
    pub fn is_missing(&self) -> bool {
        let Self::CannotOpen { source, .. } = self else {
            return false;
        };
        let io = source.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Wraps what the system said when opening `path`.
    pub(super) fn opening(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::NotFound => "it is not there: create its directory, or correct the path",
            io::ErrorKind::PermissionDenied => "this user may not: check owner and mode",
            io::ErrorKind::ReadOnlyFilesystem => READ_ONLY,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FULL,
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
                "its path must be a file in an existing directory"
            }
            _ => "see the cause",
        };
        Self::CannotOpen {
            path: path.into(),
            hint,
            source: source.into(),
        }
    }
}

const READ_ONLY: &str = "the file or its file system is read-only";
const FULL: &str = "the disk is full: free some space";

/// Wraps a database error that happened while `doing` something.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| match primary_code(&source) {
        Some(11 | 26) => StoreError::Corrupt(source),
        code => StoreError::Failed {
            doing,
            hint: hint(code),
            source,
        },
    }
}

/// SQLite's primary result code: the low byte of the extended one (sqlite.org/rescode.html).
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// What to look at, by SQLite's primary result code.
fn hint(code: Option<i32>) -> &'static str {
    match code {
        Some(5 | 6) => "another process keeps the database locked",
        Some(8) => READ_ONLY,
        Some(10) => "the disk reports an I/O error: see the kernel's log",
        Some(13) => FULL,
        Some(3 | 14 | 23) => "this user may not open it: check owner and mode",
        _ => "see the cause",
    }
}
