//! Decides what one reading of the spec files and rows changes. Pure, and a matter of levels: the
//! same reading of the same directory and table over the same store decides the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::desired::Origin;
use crate::model::memory::Binding;
use crate::model::{
    AcceptedDocument, BootTime, DesiredVolume, FileProblem, Now, Owner, Place, Presence,
    SourceChange, SourceFile, VolumeDocument, VolumeName, Writer,
};
use crate::spec::Parsed;

mod asked;
mod missing;
mod own;
mod status;
mod verdict;

#[cfg(test)]
mod tests;

pub use asked::{Refused, delete, put};
pub use own::{NotHandedOver, hand_over};

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

/// One reading of the directory and of the rows.
#[derive(Debug)]
pub struct Scan {
    /// Which directory.
    pub directory: String,
    /// What is in it; `Err` says why it could not be read in full.
    pub listing: Result<Listing, String>,
    /// Every row of ours, by its name; `None` as long as they could not be read.
    pub rows: Option<BTreeMap<String, ScannedRow>>,
}

impl Scan {
    /// Whether a document that was not judged yet adopts a volume: only then it matters which
    /// volumes are bound already.
    pub fn adopts(&self) -> bool {
        let files = self
            .listing
            .iter()
            .flat_map(|listing| listing.files.values());
        let in_files = files
            .filter_map(|file| match &file.content {
                Content::Documents(documents) => Some(documents),
                Content::Unchanged
                | Content::Invalid(_)
                | Content::Unreadable(_)
                | Content::Settling => None,
            })
            .flatten()
            .map(|parsed| &parsed.document);
        let rows = self.rows.iter().flat_map(BTreeMap::values);
        let in_rows = rows.filter_map(|row| match &row.says {
            RowSays::Document(written) => Some(&written.document),
            RowSays::Unchanged | RowSays::Invalid(_) | RowSays::Deleted => None,
        });
        in_files
            .chain(in_rows)
            .any(|document| match &document.spec.origin {
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

/// A row as it was read.
#[derive(Debug)]
pub struct ScannedRow {
    /// SHA-1 of what stands in it, in hexadecimal.
    pub hash: String,
    /// Its revision, if its writer counts.
    pub revision: Option<i64>,
    /// What it says.
    pub says: RowSays,
}

/// What a row says.
#[derive(Debug)]
pub enum RowSays {
    /// The same as when it was last judged Accepted or Invalid.
    Unchanged,
    /// This document.
    Document(Box<RowDocument>),
    /// It has these errors.
    Invalid(Vec<FileProblem>),
    /// That its spec is to go.
    Deleted,
}

/// The document of a row.
#[derive(Debug)]
pub struct RowDocument {
    /// Who wrote it.
    pub writer: Writer,
    /// What it means.
    pub document: VolumeDocument,
    /// What it says; see [`Parsed::manifest`].
    pub manifest: serde_json::Value,
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
    let files = files(known, scan);
    let verdict = Verdict::of(known, &files);
    let missing = Missing::of(known, &files, scan, (sightings, now));
    let mut change = SourceChange {
        accepted: accepted(known, &files, &verdict),
        abandoned: abandoned(known, &files, &verdict, &missing),
        files: Vec::new(),
        forgotten: Vec::new(),
    };
    let rows = Rows {
        known,
        scan,
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

/// One place: what the store says it owns, and what it says itself.
struct File<'a> {
    stored: BTreeSet<&'a VolumeName>,
    written: Written<'a>,
}

enum Written<'a> {
    /// It was read and has these documents.
    Documents(BTreeMap<&'a VolumeName, Document<'a>>),
    /// It is there and says what is stored, or nothing that counts; or it could not be looked for.
    InForce,
    /// It is there, and says that what it declared is to go.
    Deleted,
    /// It is not there.
    Gone,
}

/// A document, and who wrote it if it stands in a row.
#[derive(Clone, Copy)]
struct Document<'a> {
    document: &'a VolumeDocument,
    manifest: &'a serde_json::Value,
    writer: Option<&'a Writer>,
}

impl<'a> File<'a> {
    /// The names it writes, or keeps in force; one that it does both with comes twice.
    fn claims(&self, blocked: bool) -> impl Iterator<Item = &'a VolumeName> {
        let (documents, stored) = match &self.written {
            Written::Documents(documents) => (Some(documents), blocked),
            Written::InForce => (None, true),
            Written::Deleted | Written::Gone => (None, false),
        };
        let stored = stored.then_some(&self.stored);
        let documents = documents.into_iter().flat_map(BTreeMap::keys);
        documents.chain(stored.into_iter().flatten()).copied()
    }
}

type Files<'a> = BTreeMap<Place<'a>, File<'a>>;

/// Every place that is there, was judged before, or owns something.
fn files<'a>(known: Known<'a>, scan: &'a Scan) -> Files<'a> {
    // What could not be looked for is taken to be there.
    let unseen = |place| {
        let is_read = match place {
            Place::File(_) => scan.listing.is_ok(),
            Place::Row(_) => scan.rows.is_some(),
            // Only the store has it: a call puts it there, and a call takes it away.
            Place::Api(_) => false,
        };
        File {
            stored: BTreeSet::new(),
            written: if is_read {
                Written::Gone
            } else {
                Written::InForce
            },
        }
    };
    let mut files: Files<'a> = known
        .files
        .keys()
        .map(|path| Place::of(path))
        .map(|place| (place, unseen(place)))
        .collect();
    for (name, volume) in known.specs {
        if let Some(place) = volume.place() {
            let file = files.entry(place).or_insert_with(|| unseen(place));
            file.stored.insert(name);
        }
    }
    for (path, scanned) in scan.listing.iter().flat_map(|listing| &listing.files) {
        let place = Place::File(path);
        files.entry(place).or_insert_with(|| unseen(place)).written = in_file(scanned);
    }
    for (name, scanned) in scan.rows.iter().flatten() {
        let place = Place::Row(name);
        files.entry(place).or_insert_with(|| unseen(place)).written = in_row(scanned);
    }
    files
}

fn in_file(scanned: &ScannedFile) -> Written<'_> {
    match &scanned.content {
        Content::Documents(documents) => {
            let documents = documents.iter().map(|parsed| Document {
                document: &parsed.document,
                manifest: &parsed.manifest,
                writer: None,
            });
            Written::Documents(documents.map(|it| (&it.document.name, it)).collect())
        }
        Content::Unchanged | Content::Invalid(_) | Content::Unreadable(_) | Content::Settling => {
            Written::InForce
        }
    }
}

fn in_row(scanned: &ScannedRow) -> Written<'_> {
    match &scanned.says {
        RowSays::Document(row) => {
            let document = Document {
                document: &row.document,
                manifest: &row.manifest,
                writer: Some(&row.writer),
            };
            Written::Documents(BTreeMap::from([(&row.document.name, document)]))
        }
        RowSays::Unchanged | RowSays::Invalid(_) => Written::InForce,
        RowSays::Deleted => Written::Deleted,
    }
}

/// Where a declared spec is written.
fn owner<'a>(known: Known<'a>, name: &VolumeName) -> Option<Place<'a>> {
    known.specs.get(name)?.place()
}

/// New, changed, moved and returning documents of the files that need not wait.
fn accepted(known: Known<'_>, files: &Files<'_>, verdict: &Verdict<'_>) -> Vec<AcceptedDocument> {
    let mut accepted = Vec::new();
    for (&place, file) in files {
        let Written::Documents(documents) = &file.written else {
            continue;
        };
        if verdict.blocked.contains(&place) {
            continue;
        }
        for (&name, written) in documents {
            let owner = match (place, written.writer) {
                (_, Some(writer)) => Owner::Db(writer.clone()),
                (Place::File(path) | Place::Row(path), None) => Owner::File(path.to_owned()),
                (Place::Api(_), None) => Owner::Api,
            };
            let stands = |stored: &&DesiredVolume| {
                stored.presence == Presence::Declared
                    && stored.owner == owner
                    && stored.document == *written.document
            };
            if known.specs.get(name).filter(stands).is_some() {
                continue;
            }
            accepted.push(AcceptedDocument {
                document: written.document.clone(),
                manifest: written.manifest.clone(),
                owner,
            });
        }
    }
    accepted
}

/// Names that nothing writes any more: their file was read without them, or counts as gone, or their
/// row says so. A row that is not there any more is an accident, and never counts as gone; what the API
/// was told is gone by a call only.
fn abandoned(
    known: Known<'_>,
    files: &Files<'_>,
    verdict: &Verdict<'_>,
    missing: &Missing<'_>,
) -> Vec<VolumeName> {
    let is_gone = |name: &VolumeName| {
        owner(known, name).is_some_and(|place| match &files[&place].written {
            Written::Documents(_) | Written::Deleted => true,
            Written::Gone => missing.gone.contains(&place),
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
