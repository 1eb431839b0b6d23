//! Reads every spec file of a directory. Judges nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use sha1::{Digest, Sha1};

use super::decide::{Content, Listing, Scan, ScannedFile};
use crate::model::{FileProblem, FileState, SourceFile};
use crate::spec::{self, FILE_BYTES_MAX, Problems};

/// Most spec files in one directory: one for each volume of the largest site we are built for.
pub const FILES_MAX: usize = 10_000;

/// How often a directory that changes while it is read is read again before giving up.
const ATTEMPTS: u32 = 3;

/// Files that need not be parsed while their bytes stay the same: path to hash.
pub(super) type Judged = BTreeMap<String, String>;

/// Picks the files whose verdict depends on their bytes alone. Conflicts and suspected
/// renames may end by what another file says, so those are parsed each time.
pub(super) fn judged(files: &BTreeMap<String, SourceFile>) -> Judged {
    files
        .values()
        .filter(|file| match file.state {
            FileState::Accepted | FileState::Invalid => true,
            FileState::Unreadable
            | FileState::Settling
            | FileState::Conflict
            | FileState::RenameSuspected
            | FileState::Missing => false,
        })
        .map(|file| (file.path.clone(), file.hash.clone()))
        .collect()
}

/// Reads `directory` in full. Blocks; never fails as a whole.
pub fn scan(directory: &Path, judged: &Judged) -> Scan {
    Scan {
        directory: directory.display().to_string(),
        listing: listing(directory, judged).map_err(|error| error.to_string()),
    }
}

/// Reads until the directory did not change meanwhile: half of one version and half of
/// the next, as when Kubernetes swaps `..data`, would look like documents that are gone.
fn listing(directory: &Path, judged: &Judged) -> io::Result<Listing> {
    for _ in 0..ATTEMPTS {
        let before = fs::metadata(directory)?;
        let mut files = BTreeMap::new();
        for path in spec_files(directory)? {
            let key = path.display().to_string();
            let scanned = match path.to_str() {
                Some(_) => read_file(&path, &key, judged.get(&key)),
                None => unreadable("its name is not UTF-8: rename it"),
            };
            files.insert(key, scanned);
        }
        let after = fs::metadata(directory)?;
        if unchanged(&before, &after) {
            let device = after.dev();
            return Ok(Listing { device, files });
        }
    }
    Err(io::Error::other("it kept changing while it was read"))
}

/// The paths of the spec files, whatever they turn out to be.
fn spec_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if spec::is_spec_name(&entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
        if paths.len() > FILES_MAX {
            let problem = format!("it has more than {FILES_MAX} spec files");
            return Err(io::Error::other(problem));
        }
    }
    Ok(paths)
}

fn read_file(path: &Path, key: &str, judged: Option<&String>) -> ScannedFile {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            return unreadable(&error.to_string());
        }
    };
    let hash = sha1_hex(&bytes);
    let content = if judged == Some(&hash) {
        Content::Unchanged
    } else {
        parse(key, &bytes)
    };
    ScannedFile { hash, content }
}

fn unreadable(why: &str) -> ScannedFile {
    ScannedFile {
        hash: String::new(),
        content: Content::Unreadable(format!("cannot be read: {why}")),
    }
}

/// Parses, whatever the text does to the parser: a bug there is one bad file's (I8).
fn parse(key: &str, bytes: &[u8]) -> Content {
    match catch_unwind(AssertUnwindSafe(|| spec::parse(key, bytes))) {
        Ok(Ok(documents)) => Content::Documents(documents),
        Ok(Err(problems)) => Content::Invalid(shown(&problems, bytes)),
        Err(_) => Content::Invalid(vec![
            "the parser failed on this file, which is a bug in volume-daemon: please report it"
                .to_owned()
                .into(),
        ]),
    }
}

/// Most problems kept of one file. Whoever repairs these is told the others; ten thousand
/// hostile files must not make a status that nobody can send.
const PROBLEMS_MAX: usize = 10;

/// Of which so many come with an excerpt.
const EXCERPTS_MAX: usize = 3;

/// The first problems, as the status keeps them.
fn shown(problems: &Problems, text: &[u8]) -> Vec<FileProblem> {
    let mut shown: Vec<FileProblem> = problems
        .iter()
        .take(PROBLEMS_MAX)
        .enumerate()
        .map(|(n, problem)| FileProblem {
            message: problem.to_string(),
            line: Some(problem.line),
            column: Some(problem.column),
            excerpt: (n < EXCERPTS_MAX)
                .then(|| spec::excerpt(problem, text))
                .flatten(),
        })
        .collect();
    let more = problems.iter().len() - shown.len();
    if more > 0 {
        shown.push(format!("and {more} more: volume-daemon validate shows all").into());
    }
    shown
}

/// Reads a regular file that nobody writes at the same time, up to the size limit.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // O_NONBLOCK: opening a FIFO must not wait for a writer; regular files do not care.
    let mut file = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    if before.len() > limit {
        let problem = format!("it is larger than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::other(problem));
    }
    let mut bytes = Vec::new();
    (&mut file).take(limit + 1).read_to_end(&mut bytes)?;
    let after = file.metadata()?;
    let whole = u64::try_from(bytes.len()) == Ok(after.len());
    if whole && unchanged(&before, &after) {
        Ok(bytes)
    } else {
        Err(io::Error::other("it was written while it was read"))
    }
}

/// The same inode with the same modification and change times, to the nanosecond.
fn unchanged(before: &Metadata, after: &Metadata) -> bool {
    let key = |of: &Metadata| {
        (
            (of.dev(), of.ino()),
            (of.mtime(), of.mtime_nsec()),
            (of.ctime(), of.ctime_nsec()),
        )
    };
    key(before) == key(after)
}

fn sha1_hex(bytes: &[u8]) -> String {
    Sha1::digest(bytes)
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
