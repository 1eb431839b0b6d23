//! All SQL: what the daemon must still know after a crash.
//!
//! Owns the `vd_*` tables, their migrations, and who may write; reads `desired_volumes`, which others
//! write, and writes the tables of the old daemon, which others read. Rows leave only as model types.
//! Must not decide anything: it refuses what would break an invariant (a second binding of a name, a
//! second unsettled call for a volume, a write by a daemon that was replaced), and otherwise stores
//! what it is given.
//!
//! **Two databases**, one behaviour: SQLite in a file, or MariaDB, whose database daemons of many
//! appliances share. Only `db.rs` knows which it is; the contract in `tests.rs` is run on both.
//!
//! **Durable** means synced: SQLite runs with a write-ahead log and `synchronous=FULL`, so
//! a call that returned `Ok` survives a power cut; a server is trusted to do the same. A call that failed, or whose future was
//! dropped, has either happened in full or not at all; which of the two is not known, and
//! repeating it is always safe.
//!
//! **One writer** for each appliance. [`Store::open`] takes a lock file for as long as the store
//! lives and the next epoch of `vd_lease`; see `lease.rs`. Every write begins with an `UPDATE` of that lease, which fails
//! once somebody else took a later epoch, even if the lock file was deleted under us. It also
//! makes every transaction a writing one from its first statement: SQLite refuses, without
//! waiting, to turn a reading transaction into a writing one.
//!
//! **Secrets** never get here (I9): no column holds a credential; the columns with text
//! that others wrote are listed in `migrations/*.sql`.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Deadline};
use crate::model::{BootTime, InstanceId};
use crate::telemetry::chain;

mod bound;
mod culprits;
mod db;
mod desired;
mod episodes;
mod error;
pub mod examine;
mod facts;
mod history;
mod journal;
mod lease;
mod legacy;
mod load;
mod location;
mod observed;
mod old;
mod open;
mod operations;
mod people;
mod plans;
mod rows;
mod schema;
mod specs;
mod status;

#[cfg(test)]
#[path = "../tests/support/mariadb.rs"]
mod mariadb_server;
#[cfg(test)]
mod tests;

pub use culprits::Unexplained;
pub use desired::{Extent, RowReading, add_rows};
pub use episodes::EpisodeFilter;
pub use error::StoreError;
pub use history::{Approval, Bound, Happening, PauseNote, SpecVersion, What};
pub use journal::{Effects, IntentFilter, JournalRow, PlacementChange, Settled};
pub use lease::{HOLD, LEASE, RENEW};
pub use legacy::old_tables;
pub use load::Loaded;
pub use location::{Appliance, Location};
pub use observed::{Change, Disk, ExportRow, ExportState, LeftOut, MappingRow};
pub use old::OldTable;
pub use operations::Operation;
pub use plans::PlanNote;
pub use rows::Skipped;
pub use specs::{Accepted, SpecPresence, StoredSpec};
pub use status::{StatusRow, Telling};

use db::{Pool, Work};
use lease::Lock;

/// The daemon's memory, in a file or on a server.
pub struct Store {
    // Declared before the lock, so that it is closed first.
    pool: Pool,
    access: Access,
    appliance: Appliance,
    instance: InstanceId,
    clock: Arc<dyn Clock>,
    /// Cancelled once somebody else was seen to have the lease.
    replaced: CancellationToken,
    operations: operations::Standing,
}

/// What may be done with an open store.
enum Access {
    /// Everything, while the lease has this epoch.
    Write {
        epoch: i64,
        /// Why changed rows of `desired_volumes` leave no marks, if they do not.
        unmarked: Option<String>,
        /// The tables of the daemon that was here before.
        old: old::Tables,
        /// None for a store in memory.
        _lock: Option<Lock>,
    },
    /// Reading only: no lock, no migration.
    Read,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("appliance", &self.appliance)
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

    /// The tables of the old daemon.
    fn old(&self) -> Result<&old::Tables, StoreError> {
        match &self.access {
            Access::Write { old, .. } => Ok(old),
            Access::Read => Err(StoreError::ReadOnly),
        }
    }

    /// Which of the old daemon's tables are not written, and why: a sentence each.
    pub fn untold(&self) -> Vec<String> {
        self.old().map_or_else(|_| Vec::new(), old::Tables::off)
    }

    /// Gives up the lease, closes the database and gives up the lock, in this order.
    pub async fn close(self) {
        if let Access::Write { .. } = self.access
            && let Err(error) = self.release().await
        {
            // The next daemon waits for it to run out.
            tracing::debug!(error = chain(&error), "the lease could not be given up");
        }
        self.pool.close().await;
    }

    async fn release(&self) -> Result<(), StoreError> {
        let mut tx = self.write("give up the store's lease").await?;
        tx.sql("UPDATE vd_lease SET holder = '', lock_id = '' WHERE appliance = ?")
            .mine()
            .execute()
            .await?;
        tx.commit().await
    }

    /// Whether the lease runs out if it is not renewed: not that of a file, which is locked.
    pub fn is_leased(&self) -> bool {
        matches!(self.pool, Pool::MariaDb(_))
    }

    /// Waits until another daemon is seen to have the lease, which is for good. Whoever holds a
    /// replaced store has nothing left to decide.
    pub async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    /// Whether another daemon was seen to have the lease.
    pub fn is_replaced(&self) -> bool {
        self.replaced.is_cancelled()
    }

    /// Renews the lease. To be done every [`RENEW`], or another daemon takes this one for dead.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn renew(&self) -> Result<(), StoreError> {
        let tx = self.write("renew the store's lease").await?;
        tx.commit().await
    }

    /// Begins a write, fenced by the lease.
    async fn write(&self, doing: &'static str) -> Result<Work, StoreError> {
        let Access::Write { epoch, .. } = self.access else {
            return Err(StoreError::ReadOnly);
        };
        let at = self.clock.now().wall;
        let mut tx = self.pool.begin(&self.appliance, doing).await?;
        let fenced = tx
            .sql(
                "UPDATE vd_lease SET used_at = ?, beats = beats + 1 \
                 WHERE appliance = ? AND epoch = ?",
            )
            .bind(at.as_millis())
            .mine()
            .bind(epoch)
            .execute()
            .await?;
        if fenced == 1 {
            return Ok(tx);
        }
        let holder: Option<(String,)> = tx
            .sql("SELECT holder FROM vd_lease WHERE appliance = ?")
            .mine()
            .first()
            .await?;
        tx.commit().await?;
        self.replaced.cancel();
        Err(StoreError::LeaseLost {
            holder: holder.map_or_else(|| "unknown".to_owned(), |(holder,)| holder),
        })
    }

    /// How long what was written in a transaction begun at `begun` may be acted upon: nobody takes
    /// a file from us, but a lease on a server runs out.
    fn deadline(&self, begun: BootTime) -> Deadline {
        match self.pool {
            Pool::Sqlite(_) => Deadline::never(),
            Pool::MariaDb(_) => Deadline::at(begun.plus(HOLD), Arc::clone(&self.clock)),
        }
    }

    /// Begins to read, as of one moment.
    async fn read(&self, doing: &'static str) -> Result<Work, StoreError> {
        self.pool.begin(&self.appliance, doing).await
    }
}
