//! Which files must wait: names with two writers, and volumes that seem renamed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Files, Known, Written, owner};
use crate::model::desired::{NameOrId, Origin, VolumeSpec};
use crate::model::{DesiredVolume, Place, VolumeDocument, VolumeName};

/// Which files must wait, and why.
#[derive(Default)]
pub(super) struct Verdict<'a> {
    /// Files of which nothing is accepted: what they said before stays in force.
    pub(super) blocked: BTreeSet<Place<'a>>,
    /// What is said about conflicts, by file.
    pub(super) conflicts: Problems<'a>,
    /// What is said about renames, by file.
    pub(super) renames: Problems<'a>,
    /// Declared names that no file writes or keeps in force.
    pub(super) absent: BTreeSet<&'a VolumeName>,
    /// Names that may have been renamed, hence are not abandoned.
    pub(super) held: BTreeSet<&'a VolumeName>,
}

/// What is said about files, at most [`PROBLEMS_MAX`] of each.
#[derive(Default)]
pub(super) struct Problems<'a>(BTreeMap<Place<'a>, BTreeSet<String>>);

/// Enough to see what is going on. A thousand copies of one file, or a thousand equal volumes
/// renamed, would otherwise say something about each pair.
const PROBLEMS_MAX: usize = 20;

/// Most paths named in one problem.
const PATHS_MAX: usize = 3;

impl<'a> Problems<'a> {
    fn add(&mut self, place: Place<'a>, problem: impl FnOnce() -> String) {
        let problems = self.0.entry(place).or_default();
        if problems.len() < PROBLEMS_MAX {
            problems.insert(problem());
        }
    }

    pub(super) fn of<'p>(&'p self, place: Place<'p>) -> Option<&'p BTreeSet<String>> {
        self.0.get(&place)
    }
}

impl<'a> Verdict<'a> {
    /// Blocks files until no more need to be: a blocked file keeps in force what it owns, which
    /// can get in the way of another. Only ever adds, so it ends, and in whatever
    /// order, at the same.
    pub(super) fn of(known: Known<'a>, files: &Files<'a>) -> Self {
        let mut verdict = Self::default();
        loop {
            let blocked = verdict.blocked.len();
            let mut claims: Vec<(&'a VolumeName, Place<'a>)> = Vec::new();
            for (&path, file) in files {
                let names = file.claims(verdict.blocked.contains(&path));
                claims.extend(names.map(|name| (name, path)));
            }
            claims.sort_unstable();
            claims.dedup();
            verdict.find_conflicts(known, &claims);
            let claimed = |name: &VolumeName| {
                claims
                    .binary_search_by(|(claimed, _)| (*claimed).cmp(name))
                    .is_ok()
            };
            verdict.absent = known
                .specs
                .keys()
                .filter(|name| owner(known, name).is_some() && !claimed(name))
                .collect();
            verdict.find_renames(known, files);
            if verdict.blocked.len() == blocked {
                return verdict;
            }
        }
    }

    /// The first file to own a name keeps it, and every other one that writes it waits.
    ///
    /// `claims` are names with the files that write them, sorted.
    fn find_conflicts(&mut self, known: Known<'a>, claims: &[(&'a VolumeName, Place<'a>)]) {
        self.conflicts = Problems::default();
        for claims in claims.chunk_by(|(one, _), (next, _)| one == next) {
            let (name, first) = claims[0];
            let owner = owner(known, name);
            if claims.len() == 1 && (owner == Some(first) || owner.is_none()) {
                continue;
            }
            let paths: &BTreeSet<Place<'a>> = &claims.iter().map(|(_, path)| *path).collect();
            let rivals = (paths.len() > 1).then_some(paths);
            for &path in rivals.into_iter().flatten() {
                if owner != Some(path) {
                    self.blocked.insert(path);
                }
                self.conflicts
                    .add(path, || conflict(name, path, owner, paths));
            }
            // Said of the owner too, so that it is judged again when the others change.
            if let Some(owner) = owner.filter(|owner| !paths.contains(owner))
                && paths.is_subset(&self.blocked)
            {
                self.conflicts.add(owner, || {
                    format!(
                        "{name} was here and is now in {}, of which nothing is accepted yet; it \
                         stays as it was",
                        list(paths, owner)
                    )
                });
            }
        }
    }

    /// A name that is gone and another that has come, about the same: it may be one volume
    /// with a new name, and both must wait, or a second volume would be created.
    fn find_renames(&mut self, known: Known<'a>, files: &Files<'a>) {
        if self.absent.is_empty() {
            return;
        }
        // Said in so many words, that is no rename.
        let is_deleted = |place| {
            let file = files.get(&place);
            file.is_some_and(|file| matches!(file.written, Written::Deleted))
        };
        let gone: Vec<_> = self
            .absent
            .iter()
            .map(|&name| &known.specs[name])
            .filter(|old| !old.place().is_some_and(is_deleted))
            .map(|old| (old, body(&old.document)))
            .collect();
        for (&path, file) in files {
            let Written::Documents(documents) = &file.written else {
                continue;
            };
            let come = documents.values().map(|written| written.document);
            for new in come.filter(|new| !known.specs.contains_key(&new.name)) {
                let new_body = body(new);
                for (old, old_body) in &gone {
                    if old.spec() == &new.spec
                        || *old_body == new_body
                        || same_volume(known, old, new)
                    {
                        self.suspect_rename(known, old.name(), &new.name, path);
                    }
                }
            }
        }
    }

    fn suspect_rename(
        &mut self,
        known: Known<'a>,
        old: &'a VolumeName,
        new: &VolumeName,
        path: Place<'a>,
    ) {
        self.blocked.insert(path);
        self.held.insert(old);
        for path in [Some(path), owner(known, old)].into_iter().flatten() {
            self.renames.add(path, || {
                format!(
                    "{new} looks like {old} under a new name: neither is {new} accepted nor {old} \
                     abandoned. Bring {old} back, or take {new} out until {old} is abandoned"
                )
            });
        }
    }
}

fn conflict(
    name: &VolumeName,
    path: Place<'_>,
    owner: Option<Place<'_>>,
    paths: &BTreeSet<Place<'_>>,
) -> String {
    let (others, this) = (list(paths, path), path.word());
    match owner {
        Some(owner) if owner == path => format!(
            "{name} is also written in {others}; this {this} had it first, so this {this} counts"
        ),
        Some(owner) if paths.contains(&owner) => format!(
            "{name} belongs to {owner}, which had it first; nothing of this {this} is accepted \
             until only one of them has it"
        ),
        Some(_) | None => format!(
            "{name} is also written in {others}, and none had it first; nothing of these \
             is accepted until only one of them has it"
        ),
    }
}

/// The first few of `paths`, without `this`.
fn list(paths: &BTreeSet<Place<'_>>, this: Place<'_>) -> String {
    let others = paths.iter().filter(|path| **path != this);
    let shown: Vec<String> = others.take(PATHS_MAX).map(Place::to_string).collect();
    let all = paths.len() - usize::from(paths.contains(&this));
    match all - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Whether the new spec adopts what the old one adopted, or is bound to.
fn same_volume(known: Known<'_>, old: &DesiredVolume, new: &VolumeDocument) -> bool {
    let Origin::Existing { volume, .. } = &new.spec.origin else {
        return false;
    };
    let adopted = match &old.spec().origin {
        Origin::Create { .. } => None,
        Origin::Existing { volume, .. } => Some(volume),
    };
    let bound = known.bindings.get(old.name());
    adopted == Some(volume) || bound.is_some_and(|bound| *volume == NameOrId::Id(bound.volume))
}

/// What a document asks for, but for the volume name that follows from its own.
fn body(document: &VolumeDocument) -> VolumeSpec {
    let mut spec = document.spec.clone();
    if let Origin::Create { volume_name, .. } = &mut spec.origin
        && volume_name == document.name.as_str()
    {
        volume_name.clear();
    }
    spec
}
