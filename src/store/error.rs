//! What can go wrong in the store, by what a person must do about it.

use std::io;
use std::path::PathBuf;

use sqlx::mysql::MySqlDatabaseError;

use crate::model::{IntentId, VolumeId, VolumeName};

/// Why the store could not do something.
///
/// No message repeats a store URL: one for a server carries its password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configured URL names no store: change it.
    #[error(
        "expected a store like sqlite:///var/lib/volume-daemon/state.db or \
         mysql://user:password@host/database, {problem}"
    )]
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
    /// Another daemon on this machine uses the store: stop one of the two.
    #[error("the store {store} is in use by {}", holder(*pid))]
    Locked {
        /// Which file, or which server and database.
        store: String,
        /// The other process, if it could be told.
        pid: Option<u32>,
    },
    /// Another daemon, on whatever machine, is alive and writes: stop one of the two.
    #[error(
        "this appliance's part of the store is held by {holder}, which is alive: stop that daemon, \
         or give this one a store.appliance of its own"
    )]
    Held {
        /// Who it says it is.
        holder: String,
    },
    /// The database server cannot be used: do what the hint says.
    #[error("cannot use the store {server}: {hint}")]
    Server {
        /// Which server and database.
        server: String,
        /// What to look at.
        hint: &'static str,
        /// What it said, if it did.
        #[source]
        source: sqlx::Error,
    },
    /// The database server is not one that will do.
    #[error("the store {server} is on a server of version {version:?}, {problem}")]
    ServerVersion {
        /// Which server and database.
        server: String,
        /// What it calls itself.
        version: String,
        /// What is wrong with that.
        problem: &'static str,
    },
    /// Nothing is there for this appliance: start its daemon, or correct the name.
    #[error(
        "the store knows nothing of an appliance {appliance}: start its daemon once, or correct \
         store.appliance"
    )]
    NoAppliance {
        /// Its name.
        appliance: String,
    },
    /// The file belongs to another appliance: correct the name.
    #[error(
        "the store belongs to appliance {found}, not to {appliance}: correct store.appliance, or \
         start with an empty store"
    )]
    OtherAppliance {
        /// Whose it is.
        found: String,
        /// Who we are.
        appliance: String,
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
    /// A row that was to be added to `desired_volumes` is there: look at what it says.
    #[error("desired_volumes has a row {name} already, which was not there a moment ago")]
    RowTaken {
        /// Its name.
        name: String,
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
        match self {
            Self::CannotOpen { source, .. } => {
                let io = source.downcast_ref::<io::Error>();
                io.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
            }
            // A server has a database before it has our tables.
            Self::OlderSchema { found: 0, .. } | Self::NoAppliance { .. } => true,
            _ => false,
        }
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

    /// Wraps what came of connecting to a server.
    pub(super) fn server(server: String, source: sqlx::Error) -> Self {
        let hint = hint(&source);
        Self::Server {
            server,
            hint,
            source,
        }
    }

    /// Whether a row was refused because another one has its key.
    pub(super) fn is_unique_violation(&self) -> bool {
        let Self::Failed { source, .. } = self else {
            return false;
        };
        let error = source.as_database_error();
        error.is_some_and(|error| error.is_unique_violation())
    }

    /// Whether the database answered, and would not.
    pub(super) fn is_refusal(&self) -> bool {
        let Self::Failed { source, .. } = self else {
            return false;
        };
        source.as_database_error().is_some()
    }

    /// Whether a table was asked that is not there.
    pub(super) fn is_no_such_table(&self) -> bool {
        let Self::Failed { source, .. } = self else {
            return false;
        };
        match code(source) {
            Some(Code::Sqlite(code)) => code == 1,
            Some(Code::MariaDb(code)) => code == 1146,
            None => false,
        }
    }
}

const READ_ONLY: &str = "the file or its file system is read-only";
const FULL: &str = "the disk is full: free some space";

/// Wraps a database error that happened while `doing` something.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| match code(&source) {
        Some(Code::Sqlite(11 | 26)) => StoreError::Corrupt(source),
        Some(_) | None => StoreError::Failed {
            doing,
            hint: hint(&source),
            source,
        },
    }
}

/// The number a database gives to an error.
enum Code {
    /// SQLite's primary result code: the low byte of the extended one (sqlite.org/rescode.html).
    Sqlite(i32),
    /// MariaDB's error code (mariadb.com/docs, "Error Codes").
    MariaDb(u16),
}

fn code(error: &sqlx::Error) -> Option<Code> {
    let error = error.as_database_error()?;
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => Some(Code::MariaDb(error.number())),
        None => {
            let extended: i32 = error.code()?.parse().ok()?;
            Some(Code::Sqlite(extended & 0xff))
        }
    }
}

/// SQLite's primary result code, if it is SQLite's error.
pub(super) fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    match code(error)? {
        Code::Sqlite(code) => Some(code),
        Code::MariaDb(_) => None,
    }
}

/// What to look at.
fn hint(error: &sqlx::Error) -> &'static str {
    match code(error) {
        Some(Code::Sqlite(code)) => sqlite_hint(code),
        Some(Code::MariaDb(code)) => mariadb_hint(code),
        None => match error {
            sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => SILENT,
            sqlx::Error::PoolTimedOut => SILENT,
            // rustls tells so what is wrong with a certificate.
            sqlx::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => TLS,
            sqlx::Error::Io(_) => {
                "the database server cannot be reached: check that it runs, and host and port or \
                 socket"
            }
            sqlx::Error::Tls(_) => TLS,
            _ => SEE_CAUSE,
        },
    }
}

const TLS: &str = "no encrypted connection can be made: check ssl-mode and ssl-ca of the URL, and \
     the server's certificate";
const SEE_CAUSE: &str = "see the cause";
const SILENT: &str = "the database server does not answer: check that it runs and can be reached";

fn sqlite_hint(code: i32) -> &'static str {
    match code {
        5 | 6 => "another process keeps the database locked",
        8 => READ_ONLY,
        10 => "the disk reports an I/O error: see the kernel's log",
        13 => FULL,
        3 | 14 | 23 => "this user may not open it: check owner and mode",
        _ => SEE_CAUSE,
    }
}

fn mariadb_hint(code: u16) -> &'static str {
    match code {
        1045 | 1698 => "the server refuses this user or password: check both in the URL",
        1044 | 1142 | 1143 | 1227 | 1370 => {
            "its user lacks a privilege: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX \
             on the database"
        }
        1049 => "there is no such database: CREATE DATABASE, or correct its name",
        1129 | 1130 => "the server does not let this machine in: check the user's host there",
        1040 | 1203 | 1226 => "the server takes no more connections: raise its limit",
        1290 | 1792 | 1836 => "the server is read-only: a replica, or closed for writing",
        1021 | 1114 => "the server's disk is full: free some space there",
        1205 | 1213 => "another write was in the way: it is tried again",
        1047 => "this node of the cluster cannot serve: it has lost the majority",
        1053 | 1077 | 1152 | 1927 => "the server shuts down, or has ended the connection",
        1153 => "the server takes no packet of this size: raise its max_allowed_packet",
        1406 => "a text is too long for its column",
        _ => SEE_CAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_leads_to_what_to_do() {
        for (code, says) in [
            (1045, "password"),
            (1142, "privilege"),
            (1049, "no such database"),
            (1290, "read-only"),
            (1114, "disk is full"),
            (1021, "disk is full"),
            (1047, "majority"),
            (1040, "connections"),
            (1213, "tried again"),
            (9999, "see the cause"),
        ] {
            assert!(mariadb_hint(code).contains(says), "{code}");
        }
    }
}
