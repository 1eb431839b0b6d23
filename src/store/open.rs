//! Opening a store: where it is, who may write, and that it has the right schema.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

use super::error::{StoreError, failed, primary_code};
use super::{Access, Store, schema};
use crate::clock::{Clock, SystemClock};
use crate::model::{InstanceId, Timestamp};

/// How long a statement waits for somebody else's write, such as a person's `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Opens the store for writing: creates it if it is not there, migrates it, and takes its
    /// lock and its next epoch.
    ///
    /// `url` is `sqlite:///absolute/path` or, for tests, `sqlite::memory:`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another daemon has it; [`StoreError::NewerSchema`],
    /// [`StoreError::CannotOpen`], [`StoreError::Corrupt`] and [`StoreError::Url`] as they say.
    pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let at = clock.now().wall;
        let (lock, options) = match Place::parse(url)? {
            Place::Memory => (None, SqliteConnectOptions::new().in_memory(true)),
            Place::File(path) => {
                let path = canonical(&path)?;
                let lock = lock(&path)?;
                // Creating it here tells a missing right from a damaged file.
                File::options()
                    .append(true)
                    .create(true)
                    .open(&path)
                    .map_err(|error| StoreError::opening(&path, error))?;
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .journal_mode(SqliteJournalMode::Wal);
                (Some(lock), options)
            }
        };
        let pool = connect(options.synchronous(SqliteSynchronous::Full)).await?;
        let mut connection = pool.acquire().await.map_err(failed(OPENING))?;
        schema::migrate(&mut connection, at).await?;
        let epoch = take_lease(&mut connection, at)
            .await
            .map_err(failed("take the store's lease"))?;
        let instance = instance(&mut connection).await?;
        drop(connection);
        Ok(Self {
            pool,
            access: Access::Write { epoch, _lock: lock },
            instance,
            clock,
        })
    }

    /// Opens an existing store for reading, beside a daemon or without one. Takes no lock,
    /// migrates nothing and makes no file: one of the reader's would keep the daemon's user out.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::OlderSchema`] where a migration would be needed, and
    /// [`StoreError::CannotOpen`] where a log is left that cannot be read without making a file.
    pub async fn open_read_only(url: &str) -> Result<Self, StoreError> {
        let path = match Place::parse(url)? {
            Place::File(path) => path,
            Place::Memory => {
                return Err(StoreError::Url {
                    problem: "a store in memory has nothing to read".to_owned(),
                });
            }
        };
        File::open(&path).map_err(|error| StoreError::opening(&path, error))?;
        if has_lone_log(&path) {
            return Err(StoreError::CannotOpen {
                path,
                hint: "its last changes are in a log without an index, as after a restore: start \
                       the daemon once, which takes them in",
                source: "only a writer can read them".into(),
            });
        }
        let pool = connect(reading(&path)).await?;
        let mut connection = pool.acquire().await.map_err(failed(OPENING))?;
        schema::check(&mut connection).await?;
        let instance = instance(&mut connection).await?;
        drop(connection);
        Ok(Self {
            pool,
            access: Access::Read,
            instance,
            clock: Arc::new(SystemClock),
        })
    }
}

const OPENING: &str = "open the store";

/// How to read the database without making a file beside it.
///
/// SQLite makes two to read one with a write-ahead log, and leaves them there, unless they exist or
/// it is told that nobody writes. Without an index nobody does; a daemon that opens the store just
/// then changes nothing in the database before its first checkpoint. What is only in a log without
/// its index is not seen: see [`has_lone_log`].
pub(super) fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(!beside(path, "-shm").exists())
}

/// Whether there are changes that [`reading`] does not see. A daemon that ends, or is killed,
/// never leaves its store so; a copy of some of its files is.
fn has_lone_log(path: &Path) -> bool {
    let log = fs::metadata(beside(path, "-wal"));
    log.is_ok_and(|log| log.len() > 0) && !beside(path, "-shm").exists()
}

/// The file next to the database whose name ends in `suffix`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

/// One connection for each store: SQLite has one writer at a time anyway, and a
/// database in memory lives and dies with its connection.
async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, StoreError> {
    let path = options.get_filename().to_owned();
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.busy_timeout(BUSY_TIMEOUT))
        .await
        .map_err(|error| match primary_code(&error) {
            Some(14) => StoreError::CannotOpen {
                path,
                hint: "SQLite also needs to write beside it: check the directory's owner and mode",
                source: error.into(),
            },
            _ => failed(OPENING)(error),
        })
}

/// Where a store is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Memory,
    File(PathBuf),
}

impl Place {
    /// Reads a configured URL.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let refuse = |problem: String| Err(StoreError::Url { problem });
        if url == "sqlite::memory:" {
            return Ok(Self::Memory);
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return refuse("and it has no \"://\"".to_owned());
        };
        if scheme != "sqlite" {
            return refuse(format!("and {scheme:?} is no database this version knows"));
        }
        if rest.contains('?') {
            return refuse("and it takes no parameters after '?'".to_owned());
        }
        let path = PathBuf::from(rest);
        // A service runs in "/" and a person elsewhere: a relative path would name two stores.
        if path.is_absolute() && path.file_name().is_some() {
            Ok(Self::File(path))
        } else {
            refuse(format!("and {rest:?} is no absolute path of a file"))
        }
    }
}

/// The path without symbolic links, so that two names of one file have one lock.
fn canonical(path: &Path) -> Result<PathBuf, StoreError> {
    let error = |error| StoreError::opening(path, error);
    if path.exists() {
        return fs::canonicalize(path).map_err(error);
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let parent = fs::canonicalize(parent).map_err(error)?;
    Ok(parent.join(path.file_name().unwrap_or_default()))
}

/// Takes the lock that a daemon holds for as long as its store is open.
///
/// An flock(2) on a file of its own: SQLite's locks are of another kind and come and go. The
/// file is never deleted, or two daemons could each lock one of that name.
fn lock(database: &Path) -> Result<Flock<File>, StoreError> {
    let path = beside(database, ".lock");
    let opening = |error| StoreError::opening(&path, error);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(opening)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0).map_err(opening)?;
            writeln!(lock, "{}", std::process::id()).map_err(opening)?;
            Ok(lock)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            Err(StoreError::Locked {
                path: database.to_owned(),
                pid: read.ok().and_then(|_| text.trim().parse().ok()),
            })
        }
        Err((_, errno)) => Err(opening(errno.into())),
    }
}

/// Takes the next epoch, and gives a new store its instance id.
async fn take_lease(connection: &mut SqliteConnection, at: Timestamp) -> Result<i64, sqlx::Error> {
    let holder = format!("process {}", std::process::id());
    let at = at.as_millis();
    let mut tx = connection.begin().await?;
    let taken = sqlx::query(
        "UPDATE vd_lease SET epoch = epoch + 1, holder = ?, taken_at = ?, used_at = ? WHERE one = 1",
    )
    .bind(&holder)
    .bind(at)
    .bind(at)
    .execute(&mut *tx)
    .await?;
    if taken.rows_affected() == 0 {
        sqlx::query(
            "INSERT INTO vd_lease (one, epoch, holder, taken_at, used_at) VALUES (1, 1, ?, ?, ?)",
        )
        .bind(&holder)
        .bind(at)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO vd_instance (one, instance_id, created_at) VALUES (1, ?, ?)")
            .bind(Uuid::new_v4().to_string())
            .bind(at)
            .execute(&mut *tx)
            .await?;
    }
    let epoch = sqlx::query_scalar("SELECT epoch FROM vd_lease WHERE one = 1")
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(epoch)
}

/// Reads which store this is. Without that, no claim of it can be recognised.
async fn instance(connection: &mut SqliteConnection) -> Result<InstanceId, StoreError> {
    let text: String = sqlx::query_scalar("SELECT instance_id FROM vd_instance WHERE one = 1")
        .fetch_one(connection)
        .await
        .map_err(failed("read the store's instance id"))?;
    text.parse()
        .map_err(|error| StoreError::Corrupt(sqlx::Error::Decode(Box::new(error))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn files(directory: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        entries
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.into_string().expect("UTF-8"))
            .collect()
    }

    #[tokio::test]
    async fn a_reader_sees_everything_and_leaves_no_file() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("store.db");
        let url = format!("sqlite://{}", path.display());
        let store = Store::open(&url, Arc::new(SystemClock)).await;
        let store = store.expect("a store");
        let vm = "1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809";
        let vm = vm.parse().expect("an id");
        store.set_vm(vm).await.expect("written").expect("the first");
        let read = async || {
            let reader = Store::open_read_only(&url).await?;
            let vm = reader.load().await?.vm;
            reader.close().await;
            Ok::<_, StoreError>(vm)
        };

        let beside_a_daemon = files(root.path());
        assert_eq!(read().await.expect("readable"), Some(vm));
        assert_eq!(files(root.path()), beside_a_daemon);

        // What a kill leaves: the database, its log and its index, as they are now.
        let killed = tempfile::tempdir().expect("a directory");
        for name in files(root.path()) {
            fs::copy(root.path().join(&name), killed.path().join(&name)).expect("copied");
        }
        store.close().await;
        let closed = files(root.path());
        assert!(!closed.contains("store.db-wal"), "{closed:?}");
        assert_eq!(read().await.expect("readable"), Some(vm));
        assert_eq!(files(root.path()), closed);

        let url = format!("sqlite://{}", killed.path().join("store.db").display());
        let left = files(killed.path());
        let reader = Store::open_read_only(&url).await.expect("readable");
        assert_eq!(reader.load().await.expect("readable").vm, Some(vm));
        reader.close().await;
        assert_eq!(files(killed.path()), left);
        // What was not yet in the database must not be overlooked.
        fs::remove_file(killed.path().join("store.db-shm")).expect("removed");
        let left = files(killed.path());
        let refused = Store::open_read_only(&url).await.expect_err("half a store");
        assert!(!refused.is_missing(), "{refused}");
        assert!(
            refused.to_string().contains("start the daemon once"),
            "{refused}"
        );
        assert_eq!(files(killed.path()), left);
    }

    #[test]
    fn a_url_is_an_absolute_path_and_never_repeated() {
        let file = |path: &str| Some(Place::File(path.into()));
        for (url, expected) in [
            ("sqlite:///var/lib/x.db", file("/var/lib/x.db")),
            ("sqlite::memory:", Some(Place::Memory)),
            ("sqlite://x.db", None),
            ("sqlite:///", None),
            ("sqlite:///x.db?mode=ro", None),
            ("/var/lib/x.db", None),
            ("mysql://root:secret@db/x", None),
        ] {
            match Place::parse(url) {
                Ok(place) => assert_eq!(Some(place), expected, "{url}"),
                Err(error) => {
                    assert_eq!(None, expected, "{url}");
                    assert!(!error.to_string().contains("secret"), "{error}");
                }
            }
        }
    }
}
