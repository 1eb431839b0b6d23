//! The status of each file: how it stands, and what a person should know.

use std::collections::BTreeSet;

use super::{Content, Files, Known, Listing, Missing, ScannedFile, Verdict};
use crate::model::{FileProblem, FileState, Now, SourceChange, SourceFile, VolumeName};

/// Writes the status of each file, where it changed.
pub(super) struct Rows<'a> {
    pub(super) known: Known<'a>,
    pub(super) listing: &'a Listing,
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
        for (&path, file) in files {
            let before = self.known.files.get(path);
            let owns = file.stored.iter().any(|name| !left.contains(*name));
            let (state, problems) = match self.listing.files.get(path) {
                Some(scanned) => self.listed(path, scanned, before),
                None if owns => (FileState::Missing, self.missing(path)),
                None => {
                    change.forgotten.extend(before.map(|_| path.to_owned()));
                    continue;
                }
            };
            let stands = |before: &&SourceFile| {
                before.state == state
                    && before.problems == problems
                    && before.hash == self.hash(path, Some(before))
                    && before.device == self.device(path, Some(before))
            };
            if before.filter(stands).is_none() {
                change.files.push(self.row(path, state, problems, before));
            }
        }
    }

    fn listed(
        &self,
        path: &str,
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
            (Content::Unchanged | Content::Documents(_), _) => {
                let problems = self.waiting(path);
                let state = if self.verdict.conflicts.of(path).is_some() {
                    FileState::Conflict
                } else if self.verdict.renames.of(path).is_some() {
                    FileState::RenameSuspected
                } else {
                    FileState::Accepted
                };
                (state, problems)
            }
        }
    }

    fn missing(&self, path: &str) -> Vec<FileProblem> {
        let why = self.missing.why.get(path);
        let why = why.map(|why| format!("the file is not there; {why}"));
        why.into_iter()
            .map(FileProblem::from)
            .chain(self.waiting(path))
            .collect()
    }

    /// What is said about conflicts and renames.
    fn waiting(&self, path: &str) -> Vec<FileProblem> {
        let Verdict {
            conflicts, renames, ..
        } = self.verdict;
        [conflicts.of(path), renames.of(path)]
            .into_iter()
            .flatten()
            .flatten()
            .map(|problem| problem.clone().into())
            .collect()
    }

    fn row(
        &self,
        path: &str,
        state: FileState,
        problems: Vec<FileProblem>,
        before: Option<&SourceFile>,
    ) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            hash: self.hash(path, before).to_owned(),
            device: self.device(path, before),
            state,
            problems,
            since: match before {
                Some(before) if before.state == state => before.since,
                Some(_) | None => self.now.wall,
            },
        }
    }

    /// The hash of what was last read.
    fn hash<'a>(&'a self, path: &str, before: Option<&'a SourceFile>) -> &'a str {
        let scanned = self.listing.files.get(path);
        scanned
            .map(|scanned| &scanned.hash)
            .filter(|hash| !hash.is_empty())
            .or(before.map(|before| &before.hash))
            .map_or("", String::as_str)
    }

    /// The file system on which it was last seen.
    fn device(&self, path: &str, before: Option<&SourceFile>) -> u64 {
        match (self.listing.files.get(path), before) {
            (None, Some(before)) => before.device,
            (Some(_), _) | (None, None) => self.listing.device,
        }
    }
}
