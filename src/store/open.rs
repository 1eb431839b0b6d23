//! Opening a store: where it is, who may write, and that it has the right schema.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Executor};

use tokio_util::sync::CancellationToken;

use super::db::{ANSWER, Pool, answered};
use super::error::{StoreError, failed, sqlite_code};
use super::lease::{self, Before, Lock};
use super::location::{Appliance, Location, Place, Server};
use super::{Access, Store, desired, old, operations, schema};
use crate::clock::{Clock, SystemClock};
use crate::model::InstanceId;

/// How long a statement waits for somebody else's write, such as a person's `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Opens the store for writing: makes what is not there, migrates it, and takes its lock and
    /// its next epoch. On a server it waits until the lease of one that was killed elsewhere has
    /// run out.
    ///
    /// # Errors
    /// [`StoreError::Locked`] and [`StoreError::Held`] while another daemon has it;
    /// [`StoreError::NewerSchema`], [`StoreError::CannotOpen`], [`StoreError::Server`] and
    /// [`StoreError::Corrupt`] as they say.
    pub async fn open(at: &Location, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let appliance = &at.appliance;
        let (pool, lock) = match &at.place {
            Place::Memory => {
                let options = SqliteConnectOptions::new().in_memory(true);
                (Pool::Sqlite(connect(options).await?), None)
            }
            Place::File(path) => {
                let path = canonical(path)?;
                let lock = Lock::take(&beside(&path, ".lock"), &path.display().to_string())?;
                // Creating it here tells a missing right from a damaged file.
                File::options()
                    .append(true)
                    .create(true)
                    .open(&path)
                    .map_err(|error| StoreError::opening(&path, error))?;
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full);
                (Pool::Sqlite(connect(options).await?), Some(lock))
            }
            Place::Server(server) => {
                let lock = Lock::take(&lock_file(at), &server.to_string())?;
                (Pool::MariaDb(connect_server(server).await?), Some(lock))
            }
        };
        let before = match (&at.place, &lock) {
            (Place::Server(_), Some(lock)) => Before::GoneIf(
                lock.id()
                    .map_err(|error| StoreError::opening(lock_file(at), error))?,
            ),
            _ => Before::Gone,
        };
        schema::migrate(&pool, appliance, clock.now().wall).await?;
        let epoch = lease::take(&pool, appliance, &before, clock.as_ref()).await?;
        let instance = instance(&pool, appliance).await?;
        let unmarked = desired::watch(&pool, appliance).await;
        let old = old::Tables::look(&pool, appliance).await;
        Ok(Self {
            pool,
            access: Access::Write {
                epoch,
                unmarked,
                old,
                _lock: lock,
            },
            appliance: appliance.clone(),
            instance,
            clock,
            replaced: CancellationToken::new(),
            operations: operations::Standing::default(),
        })
    }

    /// Opens an existing store for reading, beside a daemon or without one. Takes no lock,
    /// migrates nothing and makes no file: one of the reader's would keep the daemon's user out.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::OlderSchema`] where a migration would be needed, and
    /// [`StoreError::CannotOpen`] where a log is left that cannot be read without making a file.
    pub async fn open_read_only(at: &Location) -> Result<Self, StoreError> {
        let pool = to_read(at).await?;
        schema::check(&pool, &at.appliance).await?;
        let instance = instance(&pool, &at.appliance).await?;
        Ok(Self {
            pool,
            access: Access::Read,
            appliance: at.appliance.clone(),
            instance,
            clock: Arc::new(SystemClock),
            replaced: CancellationToken::new(),
            operations: operations::Standing::default(),
        })
    }
}

/// Opens an existing store as other programs do: to write rows of theirs. Takes no lock, migrates
/// nothing and makes no store.
pub(super) async fn beside_the_daemon(at: &Location) -> Result<Pool, StoreError> {
    let pool = match &at.place {
        Place::File(path) => {
            File::open(path).map_err(|error| StoreError::opening(path, error))?;
            let options = SqliteConnectOptions::new()
                .filename(path)
                .synchronous(SqliteSynchronous::Full);
            Pool::Sqlite(connect(options).await?)
        }
        Place::Server(server) => Pool::MariaDb(connect_server(server).await?),
        Place::Memory => return Err(nothing_to_share()),
    };
    schema::check(&pool, &at.appliance).await?;
    Ok(pool)
}

/// Opens a database, of whatever it is, to read it and no more.
pub(super) async fn to_read(at: &Location) -> Result<Pool, StoreError> {
    match &at.place {
        Place::File(path) => connect_reading(path).await.map(Pool::Sqlite),
        Place::Server(server) => connect_server(server).await.map(Pool::MariaDb),
        Place::Memory => Err(nothing_to_share()),
    }
}

fn nothing_to_share() -> StoreError {
    StoreError::Url {
        problem: "a store in memory has nothing to read".to_owned(),
    }
}

const OPENING: &str = "open the store";

/// The lock file of a daemon whose store is on a server: one for each appliance.
pub(super) fn lock_file(at: &Location) -> PathBuf {
    at.lock_dir.join(format!("{}.lock", at.appliance))
}

/// Opens a file that exists, and makes none.
async fn connect_reading(path: &Path) -> Result<SqlitePool, StoreError> {
    File::open(path).map_err(|error| StoreError::opening(path, error))?;
    if has_lone_log(path) {
        return Err(StoreError::CannotOpen {
            path: path.to_owned(),
            hint: "its last changes are in a log without an index, as after a restore: start \
                   the daemon once, which takes them in",
            source: "only a writer can read them".into(),
        });
    }
    connect(reading(path)).await
}

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
pub(super) async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, StoreError> {
    let path = options.get_filename().to_owned();
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.busy_timeout(BUSY_TIMEOUT))
        .await
        .map_err(|error| match sqlite_code(&error) {
            Some(14) => StoreError::CannotOpen {
                path,
                hint: "SQLite also needs to write beside it: check the directory's owner and mode",
                source: error.into(),
            },
            _ => failed(OPENING)(error),
        })
}

/// Connections to a server: several, since a listing must not wait for a write.
const CONNECTIONS: u32 = 4;

/// What every connection to a server is told first.
///
/// Strict, or a text that is too long is cut in silence. Moments are in UTC. One picture for all reads
/// of a transaction.
/// A write waits a moment for another one, and a transaction whose daemon is out of reach ends by
/// itself and frees its rows.
const SETTINGS: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
     SESSION time_zone = '+00:00', SESSION tx_isolation = 'REPEATABLE-READ', SESSION autocommit = 1, \
     SESSION innodb_lock_wait_timeout = 3, SESSION idle_transaction_timeout = 10";

/// Connects to a server that is new enough.
pub(super) async fn connect_server(server: &Server) -> Result<MySqlPool, StoreError> {
    let cannot = |source| StoreError::server(server.to_string(), source);
    let options = server.options.clone();
    // Not through the pool, which tries again and then only says that it did.
    let version = answered(version(&options)).await.map_err(cannot)?;
    is_new_enough(&version).map_err(|problem| StoreError::ServerVersion {
        server: server.to_string(),
        version,
        problem,
    })?;
    MySqlPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ANSWER)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SETTINGS).await.map(drop) })
        })
        .connect_with(options)
        .await
        .map_err(cannot)
}

async fn version(options: &MySqlConnectOptions) -> Result<String, sqlx::Error> {
    let mut connection = MySqlConnection::connect_with(options).await?;
    let version = sqlx::query_scalar("SELECT VERSION()")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(version)
}

/// The oldest MariaDB that is known to do.
const OLDEST: (u32, u32) = (10, 6);

/// Reads `10.11.19-MariaDB-0+deb12u1`. Servers that replaced a MySQL 5.5 put `5.5.5-` before it.
fn is_new_enough(version: &str) -> Result<(), &'static str> {
    let own = version.strip_prefix("5.5.5-").unwrap_or(version);
    if !own.to_ascii_lowercase().contains("mariadb") {
        return Err("which is no MariaDB: use MariaDB 10.6 or later, or a store in a file");
    }
    let mut numbers = own.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Ok(()),
        _ => Err("which is too old: use MariaDB 10.6 or later, or a store in a file"),
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

/// Reads which store this is. Without that, no claim of it can be recognised.
async fn instance(pool: &Pool, appliance: &Appliance) -> Result<InstanceId, StoreError> {
    let mut tx = pool
        .begin(appliance, "read the store's instance id")
        .await?;
    let row: Option<(String,)> = tx
        .sql("SELECT instance_id FROM vd_instance WHERE appliance = ?")
        .mine()
        .first()
        .await?;
    tx.commit().await?;
    let Some((text,)) = row else {
        return Err(StoreError::NoAppliance {
            appliance: appliance.to_string(),
        });
    };
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
        let url = Location::local(&format!("sqlite://{}", path.display()));
        let url = url.expect("a file");
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

        let url = killed.path().join("store.db");
        let url = Location::local(&format!("sqlite://{}", url.display()));
        let url = url.expect("a file");
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
    fn a_server_is_mariadb_10_6_or_later() {
        for (version, is_enough) in [
            ("10.11.19-MariaDB-0+deb12u1", true),
            ("10.6.0-MariaDB", true),
            ("11.4.2-MariaDB-ubu2404-log", true),
            ("5.5.5-10.6.12-MariaDB", true),
            ("10.5.27-MariaDB", false),
            ("5.5.68-MariaDB", false),
            ("5.5.5-10.3.1-MariaDB", false),
            ("8.0.40", false),
            ("8.4.3-0ubuntu1", false),
            ("MariaDB", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version).is_ok(), is_enough, "{version}");
        }
    }
}
