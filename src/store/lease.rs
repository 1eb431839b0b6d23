//! Who may write: one daemon for each appliance, and how the next one takes over.
//!
//! A store on this machine is held by the lock on its file: whoever has it takes the lease at once.
//! A store on a server may be held from anywhere, and no two machines' clocks are compared: its
//! holder lets the lease's `beats` grow, and whoever wants it waits until they have stood still for
//! [`LEASE`] on its own boot clock. The holder, for its part, sends nothing to CloudStack later than
//! [`HOLD`] after it began its last successful write (I7).

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

use super::db::Pool;
use super::error::StoreError;
use super::location::Appliance;
use crate::clock::{self, Clock};
use crate::model::BootTime;

/// How long a holder's lease must stand still before it may be taken.
pub const LEASE: Duration = Duration::from_secs(15);

/// How long a holder may rely on its lease. What is missing to [`LEASE`] is for clocks that run at
/// different speeds, and for a request on its way.
pub const HOLD: Duration = Duration::from_secs(10);

/// How often a lease that is not used is renewed: [`HOLD`] has room for three.
pub const RENEW: Duration = Duration::from_secs(3);

/// Pause between two looks at a lease that somebody else holds.
const LOOK: Duration = Duration::from_millis(500);

/// The lock that a daemon holds for as long as its store is open.
///
/// An flock(2) on a file of its own: SQLite's locks are of another kind and come and go. The
/// file is never deleted, or two daemons could each lock one of that name.
#[derive(Debug)]
pub(super) struct Lock(Flock<File>);

impl Lock {
    /// Takes the lock file at `path`, of the store that messages call `store`.
    pub(super) fn take(path: &Path, store: &str) -> Result<Self, StoreError> {
        let opening = |error| StoreError::opening(path, error);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(opening)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0).map_err(opening)?;
                writeln!(lock, "{}", std::process::id()).map_err(opening)?;
                Ok(Self(lock))
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                Err(StoreError::Locked {
                    store: store.to_owned(),
                    pid: read.ok().and_then(|_| text.trim().parse().ok()),
                })
            }
            Err((_, errno)) => Err(opening(errno.into())),
        }
    }

    /// Names this very lock: the boot of this machine, and the file. Who holds it knows that its
    /// holder of the same id is dead: the file's number cannot go to another one as long as a
    /// process has it open.
    pub(super) fn id(&self) -> std::io::Result<String> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let file = self.0.metadata()?;
        Ok(format!("{} {}:{}", boot.trim(), file.dev(), file.ino()))
    }
}

/// What is known of the one who held the lease before us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Before {
    /// The lock on the store itself is ours, so it is gone.
    Gone,
    /// It is gone if it held the lock with this id.
    GoneIf(String),
}

/// The lease as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    epoch: i64,
    holder: String,
    lock_id: String,
    beats: i64,
}

/// Takes the next epoch, and gives a new store its instance id.
///
/// # Errors
/// [`StoreError::Held`] if another daemon is alive and writes.
pub(super) async fn take(
    pool: &Pool,
    appliance: &Appliance,
    before: &Before,
    clock: &dyn Clock,
) -> Result<i64, StoreError> {
    let mut watched: Option<(Standing, BootTime)> = None;
    loop {
        let begun = clock.now().boot;
        let Some(standing) = look(pool, appliance).await? else {
            if found(pool, appliance, before, clock).await? {
                return Ok(1);
            }
            continue;
        };
        let is_free = standing.holder.is_empty()
            || match before {
                Before::Gone => true,
                Before::GoneIf(lock_id) => standing.lock_id == *lock_id,
            };
        let stood_still = match &watched {
            Some((seen, _)) if *seen != standing => {
                return Err(StoreError::Held {
                    holder: standing.holder,
                });
            }
            Some((_, since)) => begun.since(*since) >= LEASE,
            None => false,
        };
        if is_free || stood_still {
            if succeed(pool, appliance, &standing, before, clock).await? {
                return Ok(standing.epoch + 1);
            }
            continue;
        }
        if watched.is_none() {
            tracing::warn!(
                lease.holder = standing.holder,
                "{} holds the store of {appliance}; it is taken over if nothing is heard of that \
                 daemon for {LEASE:?}",
                standing.holder
            );
            watched = Some((standing, clock.now().boot));
        }
        clock::sleep(LOOK).await;
    }
}

const DOING: &str = "take the store's lease";

async fn look(pool: &Pool, appliance: &Appliance) -> Result<Option<Standing>, StoreError> {
    let mut tx = pool.begin(appliance, DOING).await?;
    let row: Option<(i64, String, String, i64)> = tx
        .sql("SELECT epoch, holder, lock_id, beats FROM vd_lease WHERE appliance = ?")
        .mine()
        .first()
        .await?;
    tx.commit().await?;
    Ok(row.map(|(epoch, holder, lock_id, beats)| Standing {
        epoch,
        holder,
        lock_id,
        beats,
    }))
}

/// Makes the rows of a new store. False if somebody else did.
async fn found(
    pool: &Pool,
    appliance: &Appliance,
    before: &Before,
    clock: &dyn Clock,
) -> Result<bool, StoreError> {
    let at = clock.now().wall.as_millis();
    let mut tx = pool.begin(appliance, DOING).await?;
    if *before == Before::Gone {
        // A file is not shared.
        let other: Option<(String,)> = tx.sql("SELECT appliance FROM vd_lease").first().await?;
        if let Some((found,)) = other {
            return Err(StoreError::OtherAppliance {
                found,
                appliance: appliance.to_string(),
            });
        }
    }
    let made = tx
        .sql("INSERT INTO vd_lease (appliance, epoch, holder, lock_id, beats, taken_at, used_at) VALUES ")
        .row([
            1.into(),
            me().into(),
            before.lock_id().into(),
            0.into(),
            at.into(),
            at.into(),
        ])
        .execute()
        .await;
    match made {
        Ok(_) => {}
        Err(error) if error.is_unique_violation() => return Ok(false),
        Err(error) => return Err(error),
    }
    tx.sql("INSERT INTO vd_instance (appliance, instance_id, created_at) VALUES (?, ?, ?)")
        .mine()
        .bind(Uuid::new_v4().to_string())
        .bind(at)
        .execute()
        .await?;
    tx.commit().await?;
    Ok(true)
}

/// Takes a lease that still stands as it was seen. False if it does not.
async fn succeed(
    pool: &Pool,
    appliance: &Appliance,
    standing: &Standing,
    before: &Before,
    clock: &dyn Clock,
) -> Result<bool, StoreError> {
    let at = clock.now().wall.as_millis();
    let mut tx = pool.begin(appliance, DOING).await?;
    let taken = tx
        .sql(
            "UPDATE vd_lease SET epoch = epoch + 1, holder = ?, lock_id = ?, beats = beats + 1, \
                                 taken_at = ?, used_at = ? \
             WHERE appliance = ? AND epoch = ? AND beats = ?",
        )
        .bind(me())
        .bind(before.lock_id())
        .bind(at)
        .bind(at)
        .mine()
        .bind(standing.epoch)
        .bind(standing.beats)
        .execute()
        .await?;
    tx.commit().await?;
    Ok(taken == 1)
}

impl Before {
    fn lock_id(&self) -> &str {
        match self {
            Self::Gone => "",
            Self::GoneIf(lock_id) => lock_id,
        }
    }
}

/// Who we are, for people.
fn me() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("process {} on {}", std::process::id(), host.trim())
}
