//! Where desired state comes from: a watched directory of spec files, rows of `desired_volumes`, and
//! calls of the API.
//!
//! ```text
//!  directory ─► files (read in full) ─┐
//!  rows as they were read ────────────┴► Scan ┐
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
//! has other spec files and is on the same file system as when the file was last seen. What a row
//! declared is gone only if the row says so; a row that is not there any more is an accident. What the
//! API was told is stored and nowhere else, so it is gone only if the API is told that, too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{BootTime, Now, SourceFile};

pub mod decide;
mod files;
mod rows;
mod watch;

#[cfg(test)]
mod tests;

pub use decide::{
    DirectoryState, Known, Look, NotHandedOver, Refused, Scan, decide, delete, hand_over, put,
};
pub use rows::{DesiredRows, document as row_document};
pub use watch::{Watch, Writers};

use decide::{Content, Sightings};
use files::Seen;

/// A directory of spec files.
#[derive(Debug)]
pub struct SpecDirectory {
    path: PathBuf,
    sightings: Sightings,
    seen: Seen,
    /// Files that somebody writes: how far they were, and since when they are no further.
    writing: BTreeMap<PathBuf, (u64, BootTime)>,
}

/// How long a file that somebody has open must stay as it is to be read all the same: some
/// programs never close what they have written.
pub const SETTLED_AFTER: Duration = Duration::from_secs(10);

impl SpecDirectory {
    /// The directory at `path`; it need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sightings: Sightings::default(),
            seen: Seen::default(),
            writing: BTreeMap::new(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the directory and decides what that changes. Never fails as a whole: what
    /// could not be read is part of the answer.
    ///
    /// `known` must be what the store holds, with every earlier change applied. Files of
    /// `writers` count as settling. Dropping the future loses nothing but the reading.
    pub async fn look(&mut self, known: Known<'_>, writers: &Writers, now: Now) -> Look {
        let scan = self.read(known.files, writers, now).await;
        self.judge(known, &scan, now)
    }

    /// The first half of [`SpecDirectory::look`]: reads the directory. `known` are the files as
    /// they were last judged. Rows are the caller's to add.
    pub async fn read(
        &mut self,
        known: &BTreeMap<String, SourceFile>,
        writers: &Writers,
        now: Now,
    ) -> Scan {
        let path = self.path.clone();
        let judged = files::judged(known);
        // Lost with the future, and then everything is read once more.
        let mut seen = std::mem::take(&mut self.seen);
        let reading = tokio::task::spawn_blocking(move || {
            let scan = files::scan(&path, &judged, &mut seen, now.wall);
            (scan, seen)
        });
        let mut scan = match reading.await {
            Ok((scan, seen)) => {
                self.seen = seen;
                scan
            }
            Err(error) => Scan {
                directory: self.path.display().to_string(),
                listing: Err(format!("reading it failed: {error}")),
                rows: None,
            },
        };
        // Asked after the reading: a file may have been begun meanwhile.
        self.hold_back(&mut scan, writers, now);
        scan
    }

    /// The second half: decides what `scan` changes. The bindings in `known` may be left empty
    /// unless `scan` has documents that adopt a volume ([`Scan::adopts`]).
    pub fn judge(&mut self, known: Known<'_>, scan: &Scan, now: Now) -> Look {
        let look = decide(known, scan, &self.sightings, now);
        self.sightings = look.sightings.clone();
        look
    }

    /// Takes back what was read of files that somebody is writing.
    fn hold_back(&mut self, scan: &mut Scan, writers: &Writers, now: Now) {
        let before = std::mem::take(&mut self.writing);
        for (path, progress) in writers.now() {
            let since = match before.get(&path) {
                Some(&(known, since)) if known == progress => since,
                Some(_) | None => now.boot,
            };
            if now.boot.since(since) >= SETTLED_AFTER {
                writers.forget(&path, progress);
                continue;
            }
            if let Ok(listing) = &mut scan.listing
                && let Some(file) = listing.files.get_mut(&path.display().to_string())
            {
                file.content = Content::Settling;
                file.hash.clear();
            }
            self.writing.insert(path, (progress, since));
        }
    }
}
