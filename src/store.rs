//! All SQL: what the daemon must still know after a crash.
//!
//! Owns the `vd_*` tables, their migrations, and who may write. Rows leave only as model
//! types. Must not decide anything: it refuses what would break an invariant (a second binding
//! of a name, a second unsettled call for a volume, a write by a daemon that was replaced), and
//! otherwise stores what it is given.
//!
//! **Durable** means synced: SQLite runs with a write-ahead log and `synchronous=FULL`, so
//! a call that returned `Ok` survives a power cut. A call that failed, or whose future was
//! dropped, has either happened in full or not at all; which of the two is not known, and
//! repeating it is always safe.
//!
//! **One writer.** [`Store::open`] takes `<file>.lock` for as long as the store lives and
//! the next epoch of `vd_lease`. Every write begins with an `UPDATE` of that lease, which fails
//! once somebody else took a later epoch, even if the lock file was deleted under us. It also
//! makes every transaction a writing one from its first statement: SQLite refuses, without
//! waiting, to turn a reading transaction into a writing one.
//!
//! **Secrets** never get here (I9): no column holds a credential; the columns with text
//! that others wrote are listed in `migrations/0001_tables.sql`.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use nix::fcntl::Flock;
use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::clock::Clock;
use crate::model::InstanceId;

mod error;
pub mod examine;
mod facts;
mod journal;
mod load;
mod open;
mod people;
mod rows;
mod schema;
mod specs;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use journal::{Effects, IntentFilter, JournalRow, PlacementChange, Settled};
pub use load::Loaded;
pub use rows::Skipped;
pub use specs::Accepted;

use error::failed;

/// The daemon's memory on disk.
pub struct Store {
    // Declared before the lock, so that it is closed first.
    pool: SqlitePool,
    access: Access,
    instance: InstanceId,
    clock: Arc<dyn Clock>,
}

/// What may be done with an open store.
enum Access {
    /// Everything, while the lease has this epoch.
    Write {
        epoch: i64,
        /// None for a store in memory.
        _lock: Option<Flock<File>>,
    },
    /// Reading only: no lock, no migration.
    Read,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("instance", &self.instance)
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Which store this is: made once, part of every claim tag.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// How many times it was opened for writing, this time included; `None` if it is
    /// open for reading. A store restored from a backup shows a lower one than before (I16).
    pub fn epoch(&self) -> Option<i64> {
        match self.access {
            Access::Write { epoch, .. } => Some(epoch),
            Access::Read => None,
        }
    }

    /// Closes the database and gives up the lock, in this order.
    pub async fn close(self) {
        self.pool.close().await;
    }

    /// Begins a write, fenced by the lease.
    async fn write(&self, doing: &'static str) -> Result<Write, StoreError> {
        let Access::Write { epoch, .. } = self.access else {
            return Err(StoreError::ReadOnly);
        };
        let mut tx = self.pool.begin().await.map_err(failed(doing))?;
        let fenced = sqlx::query("UPDATE vd_lease SET used_at = ? WHERE one = 1 AND epoch = ?")
            .bind(self.clock.now().wall.as_millis())
            .bind(epoch)
            .execute(&mut *tx)
            .await
            .map_err(failed(doing))?;
        if fenced.rows_affected() == 1 {
            return Ok(tx);
        }
        let holder: Option<String> = sqlx::query_scalar("SELECT holder FROM vd_lease")
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed(doing))?;
        Err(StoreError::LeaseLost {
            holder: holder.unwrap_or_else(|| "unknown".to_owned()),
        })
    }
}

/// A fenced transaction. Dropped without a commit, it has changed nothing.
type Write = Transaction<'static, Sqlite>;
