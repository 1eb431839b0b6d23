//! Two clocks that are never mixed: the wall clock for what people and
//! CloudStack read, the boot clock for ages and order.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment on the wall clock: milliseconds since 1970-01-01 UTC.
///
/// Written as RFC 3339 in UTC. May jump in either direction, so nothing destructive
/// is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// Text that is not an RFC 3339 moment.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a time like 2026-11-20T22:30:00Z, got {0:?}")]
pub struct InvalidTimestamp(pub String);

impl Timestamp {
    /// A moment so many milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment and `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(of: Duration) -> i64 {
    i64::try_from(of.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => f.pad(&at.to_string()),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        jiff::Timestamp::from_str(text)
            .map(|at| Self(at.as_millisecond()))
            .map_err(|_| InvalidTimestamp(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A moment on the boot clock (`CLOCK_BOOTTIME`): microseconds since the machine booted,
/// counting suspend. Never goes backwards; means nothing after a reboot.
///
/// Order on this clock decides what a reading says about a change, so a [`crate::clock::Clock`]
/// of a running daemon never tells the same moment twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BootTime(u64);

impl BootTime {
    /// A moment so many milliseconds after boot.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// A moment so many microseconds after boot.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since boot.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This moment and `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// This moment and `by` earlier; the moment of booting at the earliest.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The same moment on both clocks, as handed to everything that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For people and for CloudStack's `expires`.
    pub wall: Timestamp,
    /// For ages, order and time-outs.
    pub boot: BootTime,
}

impl Now {
    /// Where on the boot clock a moment that was stored is, as far as the wall clock can be
    /// believed now. What comes of it no longer depends on how that clock is set later.
    pub fn boot_of(&self, stored: Timestamp) -> BootTime {
        self.boot
            .minus(self.wall.since(stored))
            .plus(stored.since(self.wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_in_utc() {
        let at: Timestamp = "2026-11-20T22:30:00Z".parse().expect("RFC 3339");
        assert_eq!(at.to_string(), "2026-11-20T22:30:00Z");
        let offset: Timestamp = "2026-11-20T23:30:00.5+01:00".parse().expect("RFC 3339");
        assert_eq!(offset.since(at), Duration::from_millis(500));
        assert_eq!(at.since(offset), Duration::ZERO);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn a_stored_moment_has_a_place_on_the_boot_clock() {
        let now = Now {
            wall: Timestamp::from_millis(1_000_000),
            boot: BootTime::from_millis(5_000),
        };
        let boot_of = |wall| now.boot_of(Timestamp::from_millis(wall));
        assert_eq!(boot_of(999_000), BootTime::from_millis(4_000));
        assert_eq!(boot_of(1_002_000), BootTime::from_millis(7_000));
        assert_eq!(boot_of(0), BootTime::default(), "long before it booted");
    }
}
