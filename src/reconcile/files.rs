//! What there is to say about each spec file. Served by the API, printed by the CLI; says only what
//! is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{DesiredVolume, FileState, Owner, Presence, SourceFile, Timestamp, VolumeName};

/// A spec file, and what is in force because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    /// Its path.
    pub path: String,
    /// How it stands.
    pub state: FileState,
    /// Since when it stands so.
    pub since: Timestamp,
    /// SHA-1 of its bytes when last read, in hexadecimal; empty if it never was.
    pub hash: String,
    /// What a person should know, one sentence each, with line and column; empty if all is well.
    pub problems: Vec<String>,
    /// The volumes whose specs it owns.
    pub volumes: Vec<FileVolume>,
}

/// A volume that a file declares, or declared last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileVolume {
    /// Its name.
    pub name: VolumeName,
    /// The generation of its spec that is in force.
    pub generation: u64,
    /// Whether it is no longer written there, so that its reclaim policy counts.
    pub abandoned: bool,
}

/// Files with what is in force because of them: those with problems first, then by path.
pub fn statuses(files: Vec<SourceFile>, desired: &[DesiredVolume]) -> Vec<FileStatus> {
    let mut owned: BTreeMap<&str, Vec<FileVolume>> = BTreeMap::new();
    for want in desired {
        let Owner::File(path) = &want.owner;
        owned.entry(path).or_default().push(FileVolume {
            name: want.name().clone(),
            generation: want.generation,
            abandoned: match want.presence {
                Presence::Declared => false,
                Presence::Abandoned { .. } => true,
            },
        });
    }
    let mut all: Vec<FileStatus> = files
        .into_iter()
        .map(|file| FileStatus {
            volumes: owned.remove(file.path.as_str()).unwrap_or_default(),
            path: file.path,
            state: file.state,
            since: file.since,
            hash: file.hash,
            problems: file.problems,
        })
        .collect();
    all.sort_by(|a, b| {
        let fine = |file: &FileStatus| file.state == FileState::Accepted;
        (fine(a), &a.path).cmp(&(fine(b), &b.path))
    });
    all
}
