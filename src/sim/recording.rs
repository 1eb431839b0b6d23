//! Recorded exchanges between a client and a CloudStack: what the simulator is held against.
//!
//! Owns the files: one exchange each, in the order in which they were answered. [`proxy`] writes
//! them, [`replay`] answers with them, [`conform`] asks the simulator the same and compares.

pub mod compare;
pub mod conform;
pub mod prepare;
pub mod proxy;
pub mod replay;
pub mod scrub;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parameters that say who asks and when, but not what: never written, never compared. `_` is
/// what browsers add against caches.
pub(super) const WHO_ASKS: [&str; 8] = [
    "_",
    "apikey",
    "expires",
    "jsessionid",
    "response",
    "sessionkey",
    "signature",
    "signatureversion",
];

/// One request and its answer, without secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exchange {
    /// Its place in the recording, from 1.
    pub sequence: u32,
    /// Milliseconds from the start of the recording to the request.
    pub at_ms: u64,
    /// Milliseconds from the request to the whole answer.
    pub took_ms: u64,
    /// The method, as `GET`.
    pub method: String,
    /// The command, empty if none was named.
    pub command: String,
    /// The other parameters, decoded, by name as sent.
    pub params: BTreeMap<String, String>,
    /// The HTTP status.
    pub status: u16,
    /// `content-type` and `x-description`, if they were there.
    pub headers: BTreeMap<String, String>,
    /// The body; text, if it was no JSON.
    pub body: Value,
}

impl Exchange {
    /// Whether this is an answer of CloudStack itself, not of what stands in front of it.
    pub fn is_of_cloudstack(&self) -> bool {
        self.body.is_object()
    }
}

/// Why a recording could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The directory or a file in it.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that is no exchange.
    #[error("{} is no recorded exchange", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The directory has no exchanges.
    #[error("{} holds no recorded exchanges", .0.display())]
    Empty(PathBuf),
    /// A recording is never mixed with another.
    #[error("{} already holds a recording; give an empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// Where the exchanges are to go.
    #[error("the upstream URL must be like https://cloud.example/client/api")]
    Upstream,
    /// The HTTP client.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The socket.
    #[error("the socket failed")]
    Socket(#[source] std::io::Error),
}

/// The exchanges in a directory, in order.
///
/// # Errors
/// If it or one of its files cannot be read, or there are none.
pub fn load(directory: &Path) -> Result<Vec<Exchange>, RecordingError> {
    let mut exchanges = Vec::new();
    for path in files(directory)? {
        let text = std::fs::read(&path).map_err(|source| RecordingError::Io {
            path: path.clone(),
            source,
        })?;
        let exchange: Exchange = serde_json::from_slice(&text)
            .map_err(|source| RecordingError::Malformed { path, source })?;
        exchanges.push(exchange);
    }
    if exchanges.is_empty() {
        return Err(RecordingError::Empty(directory.to_owned()));
    }
    exchanges.sort_by_key(|exchange| exchange.sequence);
    Ok(exchanges)
}

/// Writes one exchange into a file of its own.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write(directory: &Path, exchange: &Exchange) -> Result<(), RecordingError> {
    let plain = |c: &char| c.is_ascii_alphanumeric();
    let command: String = exchange.command.chars().filter(plain).take(60).collect();
    let path = directory.join(format!("{:06}-{command}.json", exchange.sequence));
    let mut text = serde_json::to_vec_pretty(exchange)
        .expect("an exchange has string keys and no foreign types");
    text.push(b'\n');
    std::fs::write(&path, text).map_err(|source| RecordingError::Io { path, source })
}

/// The `.json` files of a directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    let failed = |source| RecordingError::Io {
        path: directory.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
