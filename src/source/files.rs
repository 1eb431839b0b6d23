//! Reads every spec file of a directory. Judges nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::decide::{Content, Listing, Scan, ScannedFile};
use crate::model::{FileProblem, FileState, SourceFile, Timestamp, sha1_hex};
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

/// What the files were when they were read: as long as its stamp is the same, so are a file's bytes.
/// Ten thousand files are looked at in the time that it takes to read a few hundred.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<String, (Stamp, String)>);

/// How old a change must be to be told from the next one by its time: file systems count in steps
/// of up to two seconds.
const STEP: Duration = Duration::from_secs(3);

impl Seen {
    /// The stamp and the hash of the file at `path`, if it is as it was then.
    fn again(&self, path: &Path, key: &str) -> Option<(Stamp, String)> {
        let (stamp, hash) = self.0.get(key)?;
        let now = Stamp::of(&fs::metadata(path).ok()?);
        (now == *stamp).then(|| (now, hash.clone()))
    }
}

/// Reads `directory` in full. Blocks; never fails as a whole. Files that are as they were in
/// `seen` are not read again if they were `judged`.
pub(super) fn scan(directory: &Path, judged: &Judged, seen: &mut Seen, now: Timestamp) -> Scan {
    Scan {
        directory: directory.display().to_string(),
        listing: listing(directory, judged, seen, now).map_err(|error| error.to_string()),
        rows: None,
    }
}

/// Reads until the directory did not change meanwhile: half of one version and half of
/// the next, as when Kubernetes swaps `..data`, would look like documents that are gone.
fn listing(
    directory: &Path,
    judged: &Judged,
    seen: &mut Seen,
    now: Timestamp,
) -> io::Result<Listing> {
    for _ in 0..ATTEMPTS {
        let before = fs::metadata(directory)?;
        let paths = spec_files(directory)?;
        let known = std::mem::take(seen);
        let reader = Reader {
            judged,
            seen: &known,
        };
        let mut files = BTreeMap::new();
        for (key, scanned, stamp) in reader.read_all(&paths) {
            if let Some(stamp) = stamp.filter(|stamp| stamp.is_settled(now)) {
                seen.0.insert(key.clone(), (stamp, scanned.hash.clone()));
            }
            files.insert(key, scanned);
        }
        let after = fs::metadata(directory)?;
        if Stamp::of(&before) == Stamp::of(&after) {
            let device = after.dev();
            return Ok(Listing { device, files });
        }
    }
    Err(io::Error::other("it kept changing while it was read"))
}

/// Most threads that read, and fewest files for each that are worth one.
const READERS_MAX: usize = 4;
const SHARE_MIN: usize = 256;

/// Reads files, whatever their order.
#[derive(Clone, Copy)]
struct Reader<'a> {
    judged: &'a Judged,
    seen: &'a Seen,
}

/// A file by its path, and its stamp if it could be read.
type FileRead = (String, ScannedFile, Option<Stamp>);

impl Reader<'_> {
    fn read_all(self, paths: &[PathBuf]) -> Vec<FileRead> {
        let readers = thread::available_parallelism().map_or(1, NonZero::get);
        let share = paths
            .len()
            .div_ceil(readers.min(READERS_MAX))
            .max(SHARE_MIN);
        let read = move |part: &[PathBuf]| part.iter().map(|path| self.read(path)).collect();
        if paths.len() <= share {
            return read(paths);
        }
        thread::scope(|scope| {
            let parts: Vec<_> = paths
                .chunks(share)
                .map(|part| scope.spawn(move || -> Vec<FileRead> { read(part) }))
                .collect();
            parts
                .into_iter()
                .flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        })
    }

    fn read(self, path: &Path) -> FileRead {
        let key = path.display().to_string();
        if path.to_str().is_none() {
            let scanned = unreadable("its name is not UTF-8: rename it");
            return (key, scanned, None);
        }
        let judged = self.judged.get(&key);
        let again = self.seen.again(path, &key);
        let (scanned, stamp) = match again.filter(|(_, hash)| judged == Some(hash)) {
            Some((stamp, hash)) => (unchanged(hash), Some(stamp)),
            None => read_file(path, &key, judged),
        };
        (key, scanned, stamp)
    }
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

fn read_file(path: &Path, key: &str, judged: Option<&String>) -> (ScannedFile, Option<Stamp>) {
    let (bytes, stamp) = match read(path) {
        Ok(read) => read,
        Err(error) => return (unreadable(&error.to_string()), None),
    };
    let hash = sha1_hex(&bytes);
    let scanned = if judged == Some(&hash) {
        unchanged(hash)
    } else {
        let content = parse(key, &bytes);
        ScannedFile { hash, content }
    };
    (scanned, Some(stamp))
}

fn unchanged(hash: String) -> ScannedFile {
    ScannedFile {
        hash,
        content: Content::Unchanged,
    }
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
    let stamp = Stamp::of(&after);
    if whole && stamp == Stamp::of(&before) {
        Ok((bytes, stamp))
    } else {
        Err(io::Error::other("it was written while it was read"))
    }
}

/// Tells one state of a file from the next: inode, size, and times to the nanosecond. No program
/// can set the time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the next change, after `now`, is sure to have another time.
    fn is_settled(&self, now: Timestamp) -> bool {
        let (seconds, _) = self.changed.max(self.modified);
        let now = now.as_millis().div_euclid(1000);
        seconds.saturating_add(STEP.as_secs().cast_signed()) < now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Later than any file of a test.
    const LATER: Timestamp = Timestamp::from_millis(i64::MAX / 2);

    fn scanned(directory: &Path, judged: &Judged, seen: &mut Seen, now: Timestamp) -> ScannedFile {
        let listing = scan(directory, judged, seen, now).listing.unwrap();
        listing.files.into_values().next().unwrap()
    }

    /// Writes the same number of bytes and puts the old time of modification back.
    fn write_in_disguise(path: &Path, text: &str) {
        let before = fs::metadata(path).unwrap();
        assert_eq!(u64::try_from(text.len()), Ok(before.len()));
        loop {
            fs::write(path, text).unwrap();
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
            // The kernel counts in steps of some milliseconds.
            if Stamp::of(&file.metadata().unwrap()) != Stamp::of(&before) {
                return;
            }
        }
    }

    #[test]
    fn a_file_is_read_again_only_when_it_changed_and_whenever_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "one: 1\n").unwrap();
        let key = path.display().to_string();
        let mut seen = Seen::default();
        let hash = scanned(dir.path(), &Judged::new(), &mut seen, LATER).hash;
        assert_eq!(seen.0.len(), 1);

        // A hash that the bytes do not have shows that they are not read.
        let other = Judged::from([(key.clone(), "another".to_owned())]);
        seen.0.get_mut(&key).unwrap().1 = "another".to_owned();
        let again = scanned(dir.path(), &other, &mut seen, LATER);
        assert_eq!(again.hash, "another");
        assert!(matches!(again.content, Content::Unchanged));

        // A file that is judged anew, or was judged when it was something else, is read.
        let read = scanned(dir.path(), &Judged::new(), &mut seen, LATER);
        assert_eq!(read.hash, hash);
        assert!(matches!(read.content, Content::Invalid(_)));

        let judged = Judged::from([(key.clone(), hash.clone())]);
        assert_eq!(scanned(dir.path(), &judged, &mut seen, LATER).hash, hash);
        write_in_disguise(&path, "two: 2\n");
        let changed = scanned(dir.path(), &judged, &mut seen, LATER);
        assert_ne!(changed.hash, hash);
        assert!(matches!(changed.content, Content::Invalid(_)));
    }

    #[test]
    fn a_file_that_changed_just_now_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "one: 1\n").unwrap();
        let changed = fs::metadata(&path).unwrap().ctime();
        for (seconds, kept) in [(-1, 0), (0, 0), (3, 0), (4, 1)] {
            let now = Timestamp::from_millis((changed + seconds) * 1000);
            let mut seen = Seen::default();
            scanned(dir.path(), &Judged::new(), &mut seen, now);
            assert_eq!(seen.0.len(), kept, "{seconds} s after the change");
        }
    }
}
