//! The status of each place: how it stands, and what a person should know.

use std::collections::BTreeSet;

use super::{Content, Files, Known, Missing, RowSays, Scan, ScannedFile, ScannedRow, Verdict};
use crate::model::{FileProblem, FileState, Now, Place, SourceChange, SourceFile, VolumeName};

/// Writes the status of each file, where it changed.
pub(super) struct Rows<'a> {
    pub(super) known: Known<'a>,
    pub(super) scan: &'a Scan,
    pub(super) verdict: &'a Verdict<'a>,
    pub(super) missing: &'a Missing<'a>,
    pub(super) now: Now,
}

impl Rows<'_> {
    pub(super) fn write(&self, files: &Files<'_>, change: &mut SourceChange) {
        let left: BTreeSet<VolumeName> = change
            .accepted
            .iter()
            .map(|accepted| accepted.document.name.clone())
            .chain(change.abandoned.iter().cloned())
            .collect();
        for (&place, file) in files {
            let path = place.path();
            let before = self.known.files.get(&path);
            let owns = file.stored.iter().any(|name| !left.contains(*name));
            let scanned = self.scanned(place);
            let (state, problems) = match scanned {
                Scanned::Unread => continue,
                Scanned::File(scanned) => self.listed(place, scanned, before),
                Scanned::Row(scanned) => self.row_says(place, scanned, before),
                Scanned::Nothing if owns => (FileState::Missing, self.missing(place)),
                Scanned::Stored if owns => self.valid(place),
                Scanned::Nothing | Scanned::Stored => {
                    change.forgotten.extend(before.map(|_| path));
                    continue;
                }
            };
            let row = SourceFile {
                hash: scanned.hash(before).to_owned(),
                device: self.device(place, scanned, before),
                revision: scanned.revision(before),
                state,
                problems,
                since: match before {
                    Some(before) if before.state == state => before.since,
                    Some(_) | None => self.now.wall,
                },
                path,
            };
            if before != Some(&row) {
                change.files.push(row);
            }
        }
    }

    /// What was found at a place.
    fn scanned<'s>(&'s self, place: Place<'_>) -> Scanned<'s> {
        match place {
            Place::File(path) => match &self.scan.listing {
                Err(_) => Scanned::Unread,
                Ok(listing) => listing
                    .files
                    .get(path)
                    .map_or(Scanned::Nothing, Scanned::File),
            },
            Place::Api(_) => Scanned::Stored,
            Place::Row(name) => match &self.scan.rows {
                None => Scanned::Unread,
                Some(rows) => rows.get(name).map_or(Scanned::Nothing, Scanned::Row),
            },
        }
    }

    fn listed(
        &self,
        place: Place<'_>,
        scanned: &ScannedFile,
        before: Option<&SourceFile>,
    ) -> (FileState, Vec<FileProblem>) {
        match (&scanned.content, before) {
            (Content::Invalid(problems), _) => (FileState::Invalid, problems.clone()),
            (Content::Unreadable(why), _) => (FileState::Unreadable, vec![why.clone().into()]),
            (Content::Settling, _) => {
                let why = "somebody is writing it: it is read when they have closed it, or when it \
                           has not changed for 10 s";
                (FileState::Settling, vec![why.to_owned().into()])
            }
            (Content::Unchanged, Some(before)) if before.state == FileState::Invalid => {
                (FileState::Invalid, before.problems.clone())
            }
            (Content::Unchanged | Content::Documents(_), _) => self.valid(place),
        }
    }

    fn row_says(
        &self,
        place: Place<'_>,
        scanned: &ScannedRow,
        before: Option<&SourceFile>,
    ) -> (FileState, Vec<FileProblem>) {
        match (&scanned.says, before) {
            (RowSays::Invalid(problems), _) => (FileState::Invalid, problems.clone()),
            (RowSays::Unchanged, Some(before)) if before.state == FileState::Invalid => {
                (FileState::Invalid, before.problems.clone())
            }
            (RowSays::Unchanged | RowSays::Document(_), _) => self.valid(place),
            (RowSays::Deleted, _) => (FileState::Accepted, Vec::new()),
        }
    }

    /// How what is valid stands beside the others.
    fn valid(&self, place: Place<'_>) -> (FileState, Vec<FileProblem>) {
        let problems = self.waiting(place);
        let state = if self.verdict.conflicts.of(place).is_some() {
            FileState::Conflict
        } else if self.verdict.renames.of(place).is_some() {
            FileState::RenameSuspected
        } else {
            FileState::Accepted
        };
        (state, problems)
    }

    fn missing(&self, place: Place<'_>) -> Vec<FileProblem> {
        let why = self.missing.why.get(&place);
        let why = why.map(|why| format!("the {} is not there; {why}", place.word()));
        why.into_iter()
            .map(FileProblem::from)
            .chain(self.waiting(place))
            .collect()
    }

    /// What is said about conflicts and renames.
    fn waiting(&self, place: Place<'_>) -> Vec<FileProblem> {
        let Verdict {
            conflicts, renames, ..
        } = self.verdict;
        [conflicts.of(place), renames.of(place)]
            .into_iter()
            .flatten()
            .flatten()
            .map(|problem| problem.clone().into())
            .collect()
    }

    /// The file system on which a file was last seen; 0 for all else.
    fn device(&self, place: Place<'_>, scanned: Scanned<'_>, before: Option<&SourceFile>) -> u64 {
        let seen = match (place, &self.scan.listing) {
            (Place::File(_), Ok(listing)) => listing.device,
            (Place::File(_), Err(_)) | (Place::Row(_) | Place::Api(_), _) => 0,
        };
        match (scanned, before) {
            (Scanned::Nothing, Some(before)) => before.device,
            (Scanned::Nothing | Scanned::Unread | Scanned::Stored, _)
            | (Scanned::File(_) | Scanned::Row(_), _) => seen,
        }
    }
}

/// What was found at a place.
#[derive(Clone, Copy)]
enum Scanned<'a> {
    /// It could not be looked at.
    Unread,
    /// It is not there.
    Nothing,
    File(&'a ScannedFile),
    Row(&'a ScannedRow),
    /// What is stored is all that there is of it.
    Stored,
}

impl<'a> Scanned<'a> {
    /// The hash of what was last read.
    fn hash(self, before: Option<&'a SourceFile>) -> &'a str {
        let hash = match self {
            Self::File(file) => file.hash.as_str(),
            Self::Row(row) => row.hash.as_str(),
            Self::Unread | Self::Nothing | Self::Stored => "",
        };
        let before = before.map_or("", |before| before.hash.as_str());
        if hash.is_empty() { before } else { hash }
    }

    fn revision(self, before: Option<&SourceFile>) -> Option<i64> {
        match self {
            Self::Row(row) => row.revision,
            Self::File(_) | Self::Unread | Self::Nothing | Self::Stored => before?.revision,
        }
    }
}
