//! Keeps the state file: read at the start, written when something changed and at the end.
//! A crash leaves the last whole state: files are replaced, never rewritten.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::sim::front::Front;
use crate::sim::state::{self, StateError};

use super::{Shared, pause};

/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_millis(250);

/// A large world is written less often: for so many times as long as writing takes, it rests.
const REST: u32 = 10;

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be read.
    #[error("cannot read the state file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds no state that can be restored.
    #[error("cannot use the state file {}", path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StateError,
    },
    /// It cannot be written.
    #[error("cannot write the state file {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads a state file; `None` if there is none.
///
/// # Errors
/// If it cannot be read or restored.
pub fn load(path: &Path) -> Result<Option<Front>, KeepError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KeepError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    state::restore(&text)
        .map(Some)
        .map_err(|source| KeepError::State {
            path: path.to_owned(),
            source,
        })
}

/// Replaces a file as a whole, and returns once it is on the disk.
///
/// # Errors
/// If it cannot be written; then it is as it was.
pub fn replace(path: &Path, text: &str) -> Result<(), KeepError> {
    write_whole(path, text).map_err(|source| KeepError::Write {
        path: path.to_owned(),
        source,
    })
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?
        .to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    // The name is on the disk only with its directory.
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Writes the state after each change, some time later; and once more at the end. Safe to end
/// at any await: a file that is half written is not yet the state file.
pub(super) async fn keep(shared: Arc<Shared>, path: PathBuf, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.dirty.notified() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = pause(GATHER) => {}
        }
        let began = tokio::time::Instant::now();
        let text = state::save(&shared.lock().front);
        let target = path.clone();
        // A task that panics has reported it itself.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || replace(&target, &text)).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the simulator's state could not be kept"
            );
        }
        let rest = began.elapsed().saturating_mul(REST);
        tokio::select! {
            () = stop.cancelled() => return,
            () = pause(rest) => {}
        }
    }
}
