//! Where desired state comes from: a watched directory of spec files.
//!
//! ```text
//!  directory ─► files (read in full) ─► Scan ─┐
//!                                             ├─► decide ─► SourceChange ─► store
//!  what is stored: files, specs, bindings ────┘   pure
//! ```
//!
//! Owns who owns a name, and when a document is gone. Must not act on anything: what
//! it decides is stored first. Events (`watch`) only say when to look; a look reads
//! the whole directory, and [`decide()`] compares that with what is stored.
//!
//! **Nothing is torn down by an accident.** A file with an error, or that cannot be read, leaves
//! in force what it said before. A document is gone only if its file was read without it, or
//! if the file was missing from two complete readings, some time apart, of a directory that
//! has other spec files and is on the same file system as when the file was last seen.

use std::path::{Path, PathBuf};

use crate::model::Now;

pub mod decide;
mod files;
mod watch;

#[cfg(test)]
mod tests;

pub use decide::{DirectoryState, Known, Look, decide};
pub use files::scan;
pub use watch::Watch;

use decide::Sightings;

/// A directory of spec files.
#[derive(Debug)]
pub struct SpecDirectory {
    path: PathBuf,
    sightings: Sightings,
}

impl SpecDirectory {
    /// The directory at `path`; it need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sightings: Sightings::default(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the directory and decides what that changes. Never fails as a whole: what
    /// could not be read is part of the answer.
    ///
    /// `known` must be what the store holds, with every earlier change applied.
    /// Dropping the future loses nothing but the reading.
    pub async fn look(&mut self, known: Known<'_>, now: Now) -> Look {
        let path = self.path.clone();
        let judged = files::judged(known.files);
        let scan = tokio::task::spawn_blocking(move || scan(&path, &judged))
            .await
            .unwrap_or_else(|error| decide::Scan {
                directory: self.path.display().to_string(),
                listing: Err(format!("reading it failed: {error}")),
            });
        let look = decide(known, &scan, &self.sightings, now);
        self.sightings = look.sightings.clone();
        look
    }
}
