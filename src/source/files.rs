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
use crate::model::{FileState, SourceFile, Timestamp};
use crate::spec::{self, FILE_BYTES_MAX};

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
            | FileState::Conflict
            | FileState::RenameSuspected
            | FileState::Missing => false,
        })
        .map(|file| (file.path.clone(), file.hash.clone()))
        .collect()
}

/// By what a file would be seen to have changed: device, inode, size, and the times of its last
/// modification and change, to the nanosecond. Nobody can set the last one (`inode(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    node: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Files that were read, with what they were known by then: path to stamp and hash.
#[derive(Debug, Clone, Default)]
pub(super) struct Stamps(BTreeMap<String, (Stamp, String)>);

/// How long ago a file must have changed for its stamp to tell a later change: the kernel's clock for
/// files ticks every few milliseconds, that of a file server may be another.
const TICK_MAX_S: i64 = 2;

/// Reads `directory` in full; of files whose stamp has not changed, only the stamp. Blocks; never
/// fails as a whole.
pub(super) fn scan(
    directory: &Path,
    judged: &Judged,
    stamps: &Stamps,
    now: Timestamp,
) -> (Scan, Stamps) {
    let mut seen = Stamps::default();
    let listing = listing(directory, judged, stamps, &mut seen);
    // What changed a moment ago may change again without a trace.
    let latest = now.as_millis() / 1000 - TICK_MAX_S;
    seen.0.retain(|_, (stamp, _)| stamp.changed.0 < latest);
    let scan = Scan {
        directory: directory.display().to_string(),
        listing: listing.map_err(|error| error.to_string()),
    };
    (scan, seen)
}

/// Reads until the directory did not change meanwhile: half of one version and half of
/// the next, as when Kubernetes swaps `..data`, would look like documents that are gone.
fn listing(
    directory: &Path,
    judged: &Judged,
    stamps: &Stamps,
    seen: &mut Stamps,
) -> io::Result<Listing> {
    for _ in 0..ATTEMPTS {
        let before = fs::metadata(directory)?;
        let mut files = BTreeMap::new();
        seen.0.clear();
        for path in spec_files(directory)? {
            let key = path.display().to_string();
            let scanned = match path.to_str() {
                Some(_) => match same(&path, judged.get(&key), stamps.0.get(&key)) {
                    Some(known) => {
                        seen.0.insert(key.clone(), known.clone());
                        ScannedFile {
                            hash: known.1.clone(),
                            content: Content::Unchanged,
                        }
                    }
                    None => {
                        let (scanned, stamp) = read_file(&path, &key, judged.get(&key));
                        if let Some(stamp) = stamp {
                            seen.0.insert(key.clone(), (stamp, scanned.hash.clone()));
                        }
                        scanned
                    }
                },
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

/// What is known of a file that is still as it was when it was judged.
fn same<'a>(
    path: &Path,
    judged: Option<&String>,
    known: Option<&'a (Stamp, String)>,
) -> Option<&'a (Stamp, String)> {
    let known = known.filter(|(_, hash)| judged == Some(hash))?;
    let now = fs::metadata(path).ok()?;
    (now.is_file() && stamp(&now) == known.0).then_some(known)
}

fn read_file(path: &Path, key: &str, judged: Option<&String>) -> (ScannedFile, Option<Stamp>) {
    let (bytes, stamp) = match read(path) {
        Ok(read) => read,
        Err(error) => {
            return (unreadable(&error.to_string()), None);
        }
    };
    let hash = sha1_hex(&bytes);
    let content = if judged == Some(&hash) {
        Content::Unchanged
    } else {
        parse(key, &bytes)
    };
    (ScannedFile { hash, content }, Some(stamp))
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
        Ok(Err(problems)) => Content::Invalid(problems.iter().map(ToString::to_string).collect()),
        Err(_) => Content::Invalid(vec![
            "the parser failed on this file, which is a bug in volume-daemon: please report it"
                .to_owned(),
        ]),
    }
}

/// Reads a regular file that nobody writes at the same time, up to the size limit.
fn read(path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
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
        Ok((bytes, stamp(&after)))
    } else {
        Err(io::Error::other("it was written while it was read"))
    }
}

fn unchanged(before: &Metadata, after: &Metadata) -> bool {
    stamp(before) == stamp(after)
}

fn stamp(of: &Metadata) -> Stamp {
    Stamp {
        node: (of.dev(), of.ino()),
        size: of.size(),
        modified: (of.mtime(), of.mtime_nsec()),
        changed: (of.ctime(), of.ctime_nsec()),
    }
}

/// The hash by which two contents of a file are told apart, in hexadecimal.
pub fn sha1_hex(bytes: &[u8]) -> String {
    Sha1::digest(bytes)
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\n\
                        metadata: { name: a }\nspec: { size: 1GiB, zone: z, diskOffering: o }\n";

    /// A directory with one file, and what a look long after it was written sees.
    fn seen() -> (tempfile::TempDir, String, Stamps, Timestamp) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yaml");
        fs::write(&path, TEXT).expect("written");
        let changed = fs::metadata(&path).expect("there").ctime() * 1000;
        let later = Timestamp::from_millis(changed + 60_000);
        let (_, stamps) = scan(folder.path(), &Judged::new(), &Stamps::default(), later);
        (folder, path.display().to_string(), stamps, later)
    }

    fn content(folder: &Path, judged: &Judged, stamps: &Stamps, now: Timestamp) -> Content {
        let (scan, _) = scan(folder, judged, stamps, now);
        let mut files = scan.listing.expect("readable").files;
        files.pop_first().expect("one file").1.content
    }

    #[test]
    fn a_file_whose_stamp_is_the_same_is_not_read_again() {
        let (folder, path, mut stamps, later) = seen();
        // A hash that the bytes do not have: whoever reads them notices.
        let judged = Judged::from([(path.clone(), "of other bytes".to_owned())]);
        stamps.0.get_mut(&path).expect("a stamp").1 = "of other bytes".to_owned();
        let same = content(folder.path(), &judged, &stamps, later);
        assert!(matches!(same, Content::Unchanged), "{same:?}");
        let read = content(folder.path(), &judged, &Stamps::default(), later);
        assert!(matches!(read, Content::Documents(_)), "{read:?}");
    }

    #[test]
    fn what_changed_is_read_whatever_way_it_changed() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 4] = [
            ("written", |path| {
                fs::write(path, TEXT.replace('1', "20")).expect("written")
            }),
            ("replaced", |path| {
                let other = path.with_extension("tmp");
                fs::write(&other, TEXT.replace('1', "2")).expect("written");
                fs::rename(other, path).expect("renamed");
            }),
            ("linked", |path| {
                let other = path.with_extension("txt");
                fs::write(&other, TEXT.replace('1', "2")).expect("written");
                fs::remove_file(path).expect("removed");
                std::os::unix::fs::symlink(other, path).expect("linked");
            }),
            ("a directory", |path| {
                fs::remove_file(path).expect("removed");
                fs::create_dir(path).expect("made");
            }),
        ];
        for (how, change) in changes {
            let (folder, path, stamps, later) = seen();
            let judged = Judged::from([(path.clone(), sha1_hex(TEXT.as_bytes()))]);
            let before = content(folder.path(), &judged, &stamps, later);
            assert!(matches!(before, Content::Unchanged), "{how}: {before:?}");
            change(Path::new(&path));
            let after = content(folder.path(), &judged, &stamps, later);
            assert!(!matches!(after, Content::Unchanged), "{how}: {after:?}");
        }
    }

    #[test]
    fn a_stamp_of_a_moment_ago_is_not_believed() {
        let (folder, path, stamps, _) = seen();
        assert_eq!(stamps.0.len(), 1);
        let written = fs::metadata(&path).expect("there").ctime() * 1000;
        for (age_ms, kept) in [(0, 0), (1_000, 0), (4_000, 1)] {
            let now = Timestamp::from_millis(written + age_ms);
            let (_, stamps) = scan(folder.path(), &Judged::new(), &Stamps::default(), now);
            assert_eq!(stamps.0.len(), kept, "{age_ms} ms after it was written");
        }
    }
}
