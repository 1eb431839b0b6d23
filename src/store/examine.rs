//! Looking at a store without touching it: before the first run, beside a daemon, after a crash.
//!
//! Takes no lock, not even for a moment: a daemon that starts just then would be refused. Opens the
//! database so that SQLite makes no files beside it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};
use sqlx::{Connection, SqliteConnection};

use super::error::{StoreError, failed};
use super::open::{Place, beside, reading};
use super::schema;
use crate::model::VmId;

/// What can be seen of a store from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The database file.
    pub path: PathBuf,
    /// Whether we may write what has to be written.
    pub writable: Writable,
    /// Bytes free for us on its file system; `None` if that cannot be told.
    pub free_bytes: Option<u64>,
    /// Whether a daemon has it open.
    pub holder: Holder,
    /// What is in it; `None` if there is no store yet.
    pub content: Option<Content>,
}

/// Whether a store can be written, or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writable {
    /// It can.
    Yes,
    /// This directory does not exist.
    NoDirectory(PathBuf),
    /// This user may not write this file or directory.
    Denied(PathBuf),
    /// The file system is mounted read-only.
    ReadOnly,
}

/// Who has a store open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// The process with this id.
    Process(u32),
    /// The kernel does not tell who holds locks.
    Unknown,
}

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its schema; 0 if it has none yet.
    pub schema: i64,
    /// The VM that it belongs to, once a daemon has written that.
    pub vm: Option<VmId>,
}

/// The schema that this version writes.
pub const SCHEMA: i64 = schema::KNOWN;

/// Looks at the store that `url` names. Changes nothing.
///
/// # Errors
/// [`StoreError::Url`], [`StoreError::CannotOpen`] and [`StoreError::Corrupt`] as they say; that there is
/// no store, or no directory for one, is an answer.
pub async fn examine(url: &str) -> Result<Examined, StoreError> {
    let path = match Place::parse(url)? {
        Place::File(path) => fs::canonicalize(&path).unwrap_or(path),
        Place::Memory => {
            return Err(StoreError::Url {
                problem: "a store in memory forgets everything".to_owned(),
            });
        }
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    let file_system = statvfs(directory).ok();
    let read_only = file_system.is_some_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY));
    Ok(Examined {
        writable: if read_only {
            Writable::ReadOnly
        } else {
            writable(directory, &path)
        },
        free_bytes: file_system.map(|fs| fs.blocks_available().saturating_mul(fs.fragment_size())),
        holder: holder(&path),
        content: content(&path).await?,
        path,
    })
}

/// Files that a daemon opens for writing if they are there: the database, SQLite's two, its lock.
const FILES: [&str; 4] = ["", "-wal", "-shm", ".lock"];

fn writable(directory: &Path, path: &Path) -> Writable {
    if !directory.is_dir() {
        return Writable::NoDirectory(directory.to_owned());
    }
    // SQLite makes and removes files beside the database.
    if access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        return Writable::Denied(directory.to_owned());
    }
    let denied = FILES
        .iter()
        .map(|suffix| beside(path, suffix))
        .find(|file| file.exists() && access(file, AccessFlags::R_OK | AccessFlags::W_OK).is_err());
    denied.map_or(Writable::Yes, Writable::Denied)
}

fn holder(path: &Path) -> Holder {
    let Ok(lock) = fs::metadata(beside(path, ".lock")) else {
        return Holder::Nobody;
    };
    match fs::read_to_string("/proc/locks") {
        Ok(locks) => holder_in(&locks, lock.dev(), lock.ino()),
        Err(_) => Holder::Unknown,
    }
}

/// Finds who holds an exclusive flock(2) on a file, in lines like
/// `2: FLOCK  ADVISORY  WRITE 29259 fe:00:10362961 0 EOF` (proc_locks(5)); the device is in hexadecimal.
fn holder_in(locks: &str, dev: u64, ino: u64) -> Holder {
    let (major, minor) = (nix::sys::stat::major(dev), nix::sys::stat::minor(dev));
    let file = format!("{major:02x}:{minor:02x}:{ino}");
    let held = locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_flock = words.next() == Some("FLOCK");
        let _advisory = words.next();
        let is_write = words.next() == Some("WRITE");
        let pid = words.next()?;
        (is_flock && is_write && words.next() == Some(&file)).then(|| pid.parse::<u32>().ok())
    });
    match held {
        Some(Some(pid)) => Holder::Process(pid),
        // A process of another namespace has no number here.
        Some(None) => Holder::Unknown,
        None => Holder::Nobody,
    }
}

const DOING: &str = "look into the store";

async fn content(path: &Path) -> Result<Option<Content>, StoreError> {
    match fs::File::open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::opening(path, error)),
    }
    let mut connection = SqliteConnection::connect_with(&reading(path))
        .await
        .map_err(failed(DOING))?;
    let schema = schema::found(&mut connection).await?;
    let vm: Option<String> = match schema {
        0 => None,
        _ => sqlx::query_scalar("SELECT vm_id FROM vd_instance WHERE one = 1")
            .fetch_optional(&mut connection)
            .await
            .map_err(failed(DOING))?
            .flatten(),
    };
    Ok(Some(Content {
        schema,
        vm: vm.and_then(|text| text.parse().ok()),
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::Store;

    fn files(directory: &Path) -> BTreeSet<String> {
        fs::read_dir(directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.into_string().expect("UTF-8"))
            .collect()
    }

    async fn look(path: &Path) -> Examined {
        let url = format!("sqlite://{}", path.display());
        examine(&url).await.expect("it can be looked at")
    }

    #[tokio::test]
    async fn looking_leaves_no_file_and_takes_no_lock() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("store.db");
        let none = look(&path).await;
        assert_eq!((none.content, none.writable), (None, Writable::Yes));
        assert_eq!(none.holder, Holder::Nobody);
        assert!(none.free_bytes.is_some());
        assert!(files(root.path()).is_empty());

        let url = format!("sqlite://{}", path.display());
        let store = Store::open(&url, Arc::new(SystemClock)).await;
        let store = store.expect("a store");
        let vm: VmId = "1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809"
            .parse()
            .expect("an id");
        store.set_vm(vm).await.expect("written").expect("the first");
        let held = look(&path).await;
        assert_eq!(held.holder, Holder::Process(std::process::id()));
        // Still only in the log.
        let content = held.content.expect("a store");
        assert_eq!((content.schema, content.vm), (SCHEMA, Some(vm)));
        store.close().await;

        let before = files(root.path());
        let closed = look(&path).await;
        assert_eq!(closed.holder, Holder::Nobody);
        let content = closed.content.expect("a store");
        assert_eq!((content.schema, content.vm), (SCHEMA, Some(vm)));
        assert_eq!(files(root.path()), before);
    }

    #[tokio::test]
    async fn what_is_no_store_is_told() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("missing/store.db");
        let parent = root.path().join("missing");
        assert_eq!(look(&path).await.writable, Writable::NoDirectory(parent));
        let file = root.path().join("text");
        fs::write(
            &file,
            "this is not a database, and long enough to be none".repeat(50),
        )
        .expect("written");
        let url = format!("sqlite://{}", file.display());
        let found = examine(&url).await;
        assert!(matches!(found, Err(StoreError::Corrupt(_))), "{found:?}");
        let empty = root.path().join("empty");
        fs::write(&empty, "").expect("written");
        assert_eq!(look(&empty).await.content.expect("a file").schema, 0);
        let url = examine("mysql://root:secret@db/x").await;
        assert!(matches!(url, Err(StoreError::Url { .. })), "{url:?}");
    }

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        let dev = nix::sys::stat::makedev(0xfe, 0);
        let line = "1: FLOCK  ADVISORY  WRITE 29259 fe:00:77 0 EOF\n";
        for (locks, holder) in [
            ("", Holder::Nobody),
            (line, Holder::Process(29259)),
            (
                "1: FLOCK  ADVISORY  READ 29259 fe:00:77 0 EOF",
                Holder::Nobody,
            ),
            (
                "1: POSIX  ADVISORY  WRITE 29259 fe:00:77 0 EOF",
                Holder::Nobody,
            ),
            (
                "1: FLOCK  ADVISORY  WRITE 29259 fe:01:77 0 EOF",
                Holder::Nobody,
            ),
            (
                "1: FLOCK  ADVISORY  WRITE -1 fe:00:77 0 EOF",
                Holder::Unknown,
            ),
        ] {
            assert_eq!(holder_in(locks, dev, 77), holder, "{locks}");
        }
    }
}
