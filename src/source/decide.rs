//! Decides what one reading of the spec files changes. Pure, and a matter of levels: the
//! same reading of the same directory over the same store decides the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::desired::Origin;
use crate::model::memory::Binding;
use crate::model::{
    AcceptedDocument, BootTime, DesiredVolume, FileProblem, Now, Owner, Presence, SourceChange,
    SourceFile, VolumeName,
};
use crate::spec::Parsed;

mod missing;
mod status;
mod verdict;

#[cfg(test)]
mod tests;

use missing::Missing;
use status::Rows;
use verdict::Verdict;

/// How long a file must be missing, at least, before it counts as gone: longer than it
/// takes to delete and copy back a directory of specs.
pub const GONE_AFTER: Duration = Duration::from_secs(10);

/// What is stored, as the reading is compared with it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Spec files as they were last judged, by path.
    pub files: &'a BTreeMap<String, SourceFile>,
    /// Accepted specs.
    pub specs: &'a BTreeMap<VolumeName, DesiredVolume>,
    /// Which volume each spec is about.
    pub bindings: &'a BTreeMap<VolumeName, Binding>,
}

/// One reading of the directory.
#[derive(Debug)]
pub struct Scan {
    /// Which directory.
    pub directory: String,
    /// What is in it; `Err` says why it could not be read in full.
    pub listing: Result<Listing, String>,
}

impl Scan {
    /// Whether a document that was not judged yet adopts a volume: only then it matters which
    /// volumes are bound already.
    pub fn adopts(&self) -> bool {
        let files = self
            .listing
            .iter()
            .flat_map(|listing| listing.files.values());
        files
            .filter_map(|file| match &file.content {
                Content::Documents(documents) => Some(documents),
                Content::Unchanged
                | Content::Invalid(_)
                | Content::Unreadable(_)
                | Content::Settling => None,
            })
            .flatten()
            .any(|parsed| match &parsed.document.spec.origin {
                Origin::Existing { .. } => true,
                Origin::Create { .. } => false,
            })
    }
}

/// Every spec file of a directory.
#[derive(Debug)]
pub struct Listing {
    /// `st_dev` of the directory.
    pub device: u64,
    /// Its spec files, by path.
    pub files: BTreeMap<String, ScannedFile>,
}

/// A spec file as it was read.
#[derive(Debug)]
pub struct ScannedFile {
    /// SHA-1 of its bytes, in hexadecimal; empty if it could not be read.
    pub hash: String,
    /// What it says.
    pub content: Content,
}

/// What a spec file says.
#[derive(Debug)]
pub enum Content {
    /// The same bytes as when it was last judged Accepted or Invalid.
    Unchanged,
    /// These documents, each name once.
    Documents(Vec<Parsed>),
    /// It has these errors.
    Invalid(Vec<FileProblem>),
    /// It could not be read, for this reason.
    Unreadable(String),
    /// Somebody is writing it, so it was not judged.
    Settling,
}

/// Since when files that own something are missing, in this run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings(BTreeMap<String, BootTime>);

/// What a reading comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    /// What to store.
    pub change: SourceChange,
    /// How the directory stands.
    pub directory: DirectoryState,
    /// For the next look.
    pub sightings: Sightings,
}

/// How the directory stands. Time counts towards the grace periods of abandoned
/// specs only while it is readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryState {
    /// It was read in full.
    Readable,
    /// It was read, but looks like another directory, for this reason: no missing file
    /// counts as gone.
    Suspect(String),
    /// It could not be read in full, for this reason: everything stays in force.
    Unreadable(String),
}

/// Decides what `scan` changes.
pub fn decide(known: Known<'_>, scan: &Scan, sightings: &Sightings, now: Now) -> Look {
    let listing = match &scan.listing {
        Ok(listing) => listing,
        Err(why) => {
            return Look {
                change: SourceChange::default(),
                directory: DirectoryState::Unreadable(why.clone()),
                sightings: Sightings::default(),
            };
        }
    };
    let files = files(known, listing);
    let verdict = Verdict::of(known, &files);
    let missing = Missing::of(known, &files, &scan.directory, listing, (sightings, now));
    let mut change = SourceChange {
        accepted: accepted(known, &files, &verdict),
        abandoned: abandoned(known, &files, &verdict, &missing),
        files: Vec::new(),
        forgotten: Vec::new(),
    };
    let rows = Rows {
        known,
        listing,
        verdict: &verdict,
        missing: &missing,
        now,
    };
    rows.write(&files, &mut change);
    Look {
        change,
        directory: missing.directory,
        sightings: missing.sightings,
    }
}

/// One path: what the store says it owns, and what it says itself.
struct File<'a> {
    stored: BTreeSet<&'a VolumeName>,
    written: Written<'a>,
}

enum Written<'a> {
    /// It was read and has these documents.
    Documents(BTreeMap<&'a VolumeName, &'a Parsed>),
    /// It is there and says what is stored, or nothing that counts.
    InForce,
    /// It is not there.
    Gone,
}

impl<'a> File<'a> {
    /// The names it writes, or keeps in force; one that it does both with comes twice.
    fn claims(&self, blocked: bool) -> impl Iterator<Item = &'a VolumeName> {
        let (documents, stored) = match &self.written {
            Written::Documents(documents) => (Some(documents), blocked),
            Written::InForce => (None, true),
            Written::Gone => (None, false),
        };
        let stored = stored.then_some(&self.stored);
        let documents = documents.into_iter().flat_map(BTreeMap::keys);
        documents.chain(stored.into_iter().flatten()).copied()
    }
}

type Files<'a> = BTreeMap<&'a str, File<'a>>;

/// Every path that is listed, was judged before, or owns something.
fn files<'a>(known: Known<'a>, listing: &'a Listing) -> Files<'a> {
    let gone = || File {
        stored: BTreeSet::new(),
        written: Written::Gone,
    };
    let mut files: Files<'a> = known
        .files
        .keys()
        .map(|path| (path.as_str(), gone()))
        .collect();
    for name in known.specs.keys() {
        if let Some(path) = owner(known, name) {
            files.entry(path).or_insert_with(gone).stored.insert(name);
        }
    }
    for (path, scanned) in &listing.files {
        files.entry(path).or_insert_with(gone).written = match &scanned.content {
            Content::Documents(documents) => Written::Documents(
                documents
                    .iter()
                    .map(|parsed| (&parsed.document.name, parsed))
                    .collect(),
            ),
            Content::Unchanged
            | Content::Invalid(_)
            | Content::Unreadable(_)
            | Content::Settling => Written::InForce,
        };
    }
    files
}

/// The file that a declared spec belongs to.
fn owner<'a>(known: Known<'a>, name: &VolumeName) -> Option<&'a str> {
    let volume = known.specs.get(name)?;
    match (&volume.owner, volume.presence) {
        (Owner::File(path), Presence::Declared) => Some(path),
        (Owner::File(_), Presence::Abandoned { .. }) => None,
    }
}

/// New, changed, moved and returning documents of the files that need not wait.
fn accepted(known: Known<'_>, files: &Files<'_>, verdict: &Verdict<'_>) -> Vec<AcceptedDocument> {
    let mut accepted = Vec::new();
    for (&path, file) in files {
        let Written::Documents(documents) = &file.written else {
            continue;
        };
        if verdict.blocked.contains(path) {
            continue;
        }
        for (&name, &parsed) in documents {
            let stored = known.specs.get(name).map(|stored| &stored.document);
            if owner(known, name) == Some(path) && stored == Some(&parsed.document) {
                continue;
            }
            accepted.push(AcceptedDocument {
                document: parsed.document.clone(),
                manifest: parsed.manifest.clone(),
                owner: Owner::File(path.to_owned()),
            });
        }
    }
    accepted
}

/// Names that no file writes any more: theirs was read without them, or counts as gone.
fn abandoned(
    known: Known<'_>,
    files: &Files<'_>,
    verdict: &Verdict<'_>,
    missing: &Missing<'_>,
) -> Vec<VolumeName> {
    let is_gone = |name: &VolumeName| {
        owner(known, name).is_some_and(|path| match &files[path].written {
            Written::Documents(_) => true,
            Written::Gone => missing.gone.contains(path),
            Written::InForce => false,
        })
    };
    verdict
        .absent
        .difference(&verdict.held)
        .filter(|name| is_gone(name))
        .map(|&name| name.clone())
        .collect()
}
