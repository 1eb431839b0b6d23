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

use super::StoreError;
use super::db::Pool;
use super::location::{Appliance, Location, Place, Server};
use super::open::{beside, connect, connect_server, lock_file, reading};
use super::schema;
use crate::model::VmId;

/// What can be seen of a store from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The database file, or the server and its database.
    pub store: String,
    /// Whether we may write what has to be written.
    pub writable: Writable,
    /// Where its room is, and how much is free.
    pub room: Room,
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
    /// The server takes no writes.
    ServerReadOnly,
}

/// How much room a store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Bytes free for us on its file system.
    Free(u64),
    /// That cannot be told.
    Unknown,
    /// It is on a server, which does not say.
    Elsewhere,
}

/// Who has a store open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// The process with this id, here.
    Process(u32),
    /// A daemon that calls itself so has written to the server, and has not ended in order.
    Daemon(String),
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

/// Looks at a store. Changes nothing.
///
/// # Errors
/// [`StoreError::Url`], [`StoreError::CannotOpen`], [`StoreError::Server`] and
/// [`StoreError::Corrupt`] as they say; that there is no store, or no directory for one, is an
/// answer.
pub async fn examine(at: &Location) -> Result<Examined, StoreError> {
    match &at.place {
        Place::File(path) => examine_file(path, &at.appliance).await,
        Place::Server(server) => examine_server(server, at).await,
        Place::Memory => Err(StoreError::Url {
            problem: "a store in memory forgets everything".to_owned(),
        }),
    }
}

async fn examine_file(path: &Path, appliance: &Appliance) -> Result<Examined, StoreError> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("/"));
    let file_system = statvfs(directory).ok();
    let read_only = file_system.is_some_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY));
    Ok(Examined {
        writable: if read_only {
            Writable::ReadOnly
        } else {
            writable(directory, &path)
        },
        room: file_system.map_or(Room::Unknown, |fs| {
            Room::Free(fs.blocks_available().saturating_mul(fs.fragment_size()))
        }),
        holder: holder(&beside(&path, ".lock")),
        content: file_content(&path, appliance).await?,
        store: path.display().to_string(),
    })
}

async fn examine_server(server: &Server, at: &Location) -> Result<Examined, StoreError> {
    let pool = Pool::MariaDb(connect_server(server).await?);
    let content = content(&pool, &at.appliance).await?;
    let holder = match holder(&lock_file(at)) {
        here @ Holder::Process(_) => here,
        Holder::Nobody | Holder::Unknown | Holder::Daemon(_) => match &content {
            Some(content) if content.schema > 0 => daemon(&pool, &at.appliance).await?,
            Some(_) | None => Holder::Nobody,
        },
    };
    let lock_dir = &at.lock_dir;
    let writable = if !lock_dir.is_dir() {
        Writable::NoDirectory(lock_dir.clone())
    } else if access(lock_dir.as_path(), AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        Writable::Denied(lock_dir.clone())
    } else if is_read_only(&pool, &at.appliance).await? {
        Writable::ServerReadOnly
    } else {
        Writable::Yes
    };
    pool.close().await;
    Ok(Examined {
        store: server.to_string(),
        writable,
        room: Room::Elsewhere,
        holder,
        content: content.filter(|content| content.schema > 0),
    })
}

/// Who the lease says holds the store.
async fn daemon(pool: &Pool, appliance: &Appliance) -> Result<Holder, StoreError> {
    let mut tx = pool.begin(appliance, DOING).await?;
    let row: Option<(String,)> = tx
        .sql("SELECT holder FROM vd_lease WHERE appliance = ?")
        .mine()
        .first()
        .await?;
    tx.commit().await?;
    let holder = row.map(|(holder,)| holder);
    let holder = holder.filter(|holder| !holder.is_empty());
    Ok(holder.map_or(Holder::Nobody, Holder::Daemon))
}

async fn is_read_only(pool: &Pool, appliance: &Appliance) -> Result<bool, StoreError> {
    let mut tx = pool.begin(appliance, DOING).await?;
    let row: Option<(i64,)> = tx.sql("SELECT @@global.read_only").first().await?;
    tx.commit().await?;
    Ok(row == Some((1,)))
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

fn holder(lock: &Path) -> Holder {
    let Ok(lock) = fs::metadata(lock) else {
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

async fn file_content(path: &Path, appliance: &Appliance) -> Result<Option<Content>, StoreError> {
    match fs::File::open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::opening(path, error)),
    }
    let pool = Pool::Sqlite(connect(reading(path)).await?);
    let content = content(&pool, appliance).await;
    pool.close().await;
    content
}

async fn content(pool: &Pool, appliance: &Appliance) -> Result<Option<Content>, StoreError> {
    let schema = schema::found(pool, appliance).await?;
    let mut vm = None;
    if schema > 0 {
        let mut tx = pool.begin(appliance, DOING).await?;
        let row: Option<(Option<String>,)> = tx
            .sql("SELECT vm_id FROM vd_instance WHERE appliance = ?")
            .mine()
            .first()
            .await?;
        tx.commit().await?;
        vm = row.and_then(|(vm,)| vm);
    }
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

    fn at(path: &Path) -> Location {
        Location::local(&format!("sqlite://{}", path.display())).expect("a file")
    }

    async fn look(path: &Path) -> Examined {
        examine(&at(path)).await.expect("it can be looked at")
    }

    #[tokio::test]
    async fn looking_leaves_no_file_and_takes_no_lock() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("store.db");
        let none = look(&path).await;
        assert_eq!((none.content, none.writable), (None, Writable::Yes));
        assert_eq!(none.holder, Holder::Nobody);
        assert!(matches!(none.room, Room::Free(_)));
        assert!(files(root.path()).is_empty());

        let store = Store::open(&at(&path), Arc::new(SystemClock)).await;
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
        let found = examine(&at(&file)).await;
        assert!(matches!(found, Err(StoreError::Corrupt(_))), "{found:?}");
        let empty = root.path().join("empty");
        fs::write(&empty, "").expect("written");
        assert_eq!(look(&empty).await.content.expect("a file").schema, 0);
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
