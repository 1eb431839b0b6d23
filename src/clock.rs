//! The one place that reads clocks, and the only sleep.
//!
//! Everything that decides takes [`Now`] as an argument; everything that needs the time takes
//! a [`Clock`]. Tests use [`ManualClock`] and move it by hand.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::model::{BootTime, Now, Timestamp};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present moment on both clocks.
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> Now {
        Now {
            wall: Timestamp::from_millis(jiff::Timestamp::now().as_millisecond()),
            boot: boot_time(),
        }
    }
}

/// Reads `CLOCK_BOOTTIME`, which counts suspend and is never set (clock_gettime(2)), and makes
/// sure that no moment is told twice: a reading begun after a change must never look as if it
/// were begun with it.
fn boot_time() -> BootTime {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let at =
        clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had CLOCK_BOOTTIME since 2.6.39");
    let seconds = u64::try_from(at.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(at.tv_nsec()).unwrap_or(0);
    let micros = seconds
        .saturating_mul(1_000_000)
        .saturating_add(nanos / 1000);
    let before = TOLD
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |told| {
            Some(micros.max(told.saturating_add(1)))
        })
        .unwrap_or_else(|told| told);
    BootTime::from_micros(micros.max(before.saturating_add(1)))
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Now>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Now) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        now.wall = now.wall.plus(by);
        now.boot = now.boot.plus(by);
    }

    /// Sets the wall clock, as a person or an NTP client does. The boot clock is never set.
    pub fn set_wall(&self, to: Timestamp) {
        self.lock().wall = to;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.0.lock().expect("no holder of this lock can panic")
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.lock()
    }
}

/// When something may be begun at the latest, and the clock that tells.
#[derive(Clone)]
pub struct Deadline(Option<(BootTime, Arc<dyn Clock>)>);

impl Deadline {
    /// There is none.
    pub const fn never() -> Self {
        Self(None)
    }

    /// Until `at` on the boot clock of `clock`.
    pub fn at(at: BootTime, clock: Arc<dyn Clock>) -> Self {
        Self(Some((at, clock)))
    }

    /// Whether it is too late.
    pub fn has_passed(&self) -> bool {
        match &self.0 {
            Some((at, clock)) => clock.now().boot >= *at,
            None => false,
        }
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0.as_ref().map(|(at, _)| at);
        f.debug_tuple("Deadline").field(&at).finish()
    }
}

/// Waits for a time span. For pacing only: whatever can be awaited as an event is.
#[expect(clippy::disallowed_methods, reason = "the one place that may sleep")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_never_tells_a_moment_twice() {
        let mut last = SystemClock.now();
        assert!(last.wall > Timestamp::from_millis(1_700_000_000_000));
        for _ in 0..10_000 {
            let next = SystemClock.now();
            assert!(next.boot > last.boot);
            last = next;
        }
    }

    #[test]
    fn a_manual_clock_moves_both_clocks_and_only_one_is_set() {
        let start = Now {
            wall: Timestamp::from_millis(5),
            boot: BootTime::from_millis(7),
        };
        let clock = ManualClock::at(start);
        clock.advance(Duration::from_millis(10));
        assert_eq!(clock.now().wall, Timestamp::from_millis(15));
        assert_eq!(clock.now().boot, BootTime::from_millis(17));
        clock.set_wall(start.wall);
        assert_eq!(clock.now().wall, start.wall);
        assert_eq!(clock.now().boot, BootTime::from_millis(17));
    }
}
