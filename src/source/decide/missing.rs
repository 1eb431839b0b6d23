//! When a file that is not there counts as gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{DirectoryState, Files, GONE_AFTER, Known, Listing, Scan, Sightings, Written};
use crate::model::{Now, Place};

/// What is to be made of files that own something and are not there.
pub(super) struct Missing<'a> {
    /// Those that count as gone.
    pub(super) gone: BTreeSet<Place<'a>>,
    /// What is said about the others.
    pub(super) why: BTreeMap<Place<'a>, String>,
    pub(super) directory: DirectoryState,
    pub(super) sightings: Sightings,
}

impl<'a> Missing<'a> {
    pub(super) fn of(
        known: Known<'a>,
        files: &Files<'a>,
        scan: &Scan,
        (before, now): (&Sightings, Now),
    ) -> Self {
        let mut missing = Self {
            gone: BTreeSet::new(),
            why: BTreeMap::new(),
            directory: DirectoryState::Readable,
            sightings: Sightings::default(),
        };
        let listing = match &scan.listing {
            Ok(listing) => Some(listing),
            Err(why) => {
                missing.directory = DirectoryState::Unreadable(why.clone());
                None
            }
        };
        let directory = &scan.directory;
        for (&place, file) in files {
            if !matches!(file.written, Written::Gone) || file.stored.is_empty() {
                continue;
            }
            let (Place::File(path), Some(listing)) = (place, listing) else {
                missing.why.insert(place, ROW_GONE.to_owned());
                continue;
            };
            if let Some(suspicion) = suspicion(path, known, directory, listing) {
                let cure = if listing.files.is_empty() {
                    "bring it back; if this was the last spec and is meant to go, leave a file \
                     with a comment, such as none.yaml, in its place"
                } else {
                    "bring it back, and delete it there if it is meant to go"
                };
                let why = format!("{suspicion}, so it does not count as gone: {cure}");
                missing.why.insert(place, why);
                missing.directory = DirectoryState::Suspect(suspicion);
                continue;
            }
            let first = before.0.get(path).copied();
            let since = first.unwrap_or(now.boot);
            missing.sightings.0.insert(path.to_owned(), since);
            if first.is_some() && now.boot.since(since) >= GONE_AFTER {
                missing.gone.insert(place);
            } else {
                let why = "it is looked for once more before it counts as gone";
                missing.why.insert(place, why.to_owned());
            }
        }
        missing
    }
}

/// What is said about a row that was deleted, or had its name changed.
const ROW_GONE: &str = "nothing follows from that, since deleted_at was not set: insert it again as it \
    was; if its spec is meant to go, insert it again with deleted_at set";

/// Why this directory may not be the one in which the file was, if there is a reason.
fn suspicion(path: &str, known: Known<'_>, directory: &str, listing: &Listing) -> Option<String> {
    if Path::new(path).parent() != Some(Path::new(directory)) {
        return Some(format!("the directory that is watched now is {directory}"));
    }
    if listing.files.is_empty() {
        return Some(format!("{directory} has no spec file at all any more"));
    }
    let moved = known
        .files
        .get(path)
        .is_some_and(|file| file.device != listing.device);
    moved.then(|| format!("{directory} is on another file system than when the file was last seen"))
}
