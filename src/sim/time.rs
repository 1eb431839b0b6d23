//! Moments in the simulated world.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01 UTC. Nothing below this module reads a clock; the
/// present moment always comes in as an argument.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct SimTime(i64);

impl SimTime {
    /// A moment so many milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment and `millis` later.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)),
        )
    }

    /// This moment, so many milliseconds later, or earlier if negative.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// How many milliseconds after `earlier` this is; zero if it is not after it.
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// As an HTTP `Date` header (RFC 9110, section 5.6.7).
    pub fn http_date(self) -> String {
        self.formatted("%a, %d %b %Y %H:%M:%S GMT")
    }

    /// Reads an `expires` parameter: ISO 8601 with a zone, `Z`, `+00:00` or `+0000`, with or
    /// without a fraction of a second (`DateUtil.java`, `parseTZDateString`).
    pub fn parse_expires(text: &str) -> Option<Self> {
        let numeric = match text.strip_suffix('Z') {
            Some(local) => format!("{local}+0000"),
            None => text.to_owned(),
        };
        ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M:%S%.f%:z"]
            .iter()
            .find_map(|format| jiff::Timestamp::strptime(format, &numeric).ok())
            .map(|at| Self(at.as_millisecond()))
    }

    /// Reads the date of a filter: `2026-11-20`, `2026-11-20 22:30:00`, or as `expires`. Without
    /// a zone it is UTC.
    pub fn parse_date(text: &str) -> Option<Self> {
        let full = match text.len() {
            10 => format!("{text}T00:00:00Z"),
            19 => format!("{}Z", text.replacen(' ', "T", 1)),
            _ => text.to_owned(),
        };
        Self::parse_expires(&full)
    }

    fn formatted(self, format: &str) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => at.strftime(format).to_string(),
            Err(_) => format!("{}ms", self.0),
        }
    }
}

impl fmt::Display for SimTime {
    /// As CloudStack writes dates (`ApiResponseGsonHelper.java`): `2026-11-20T22:30:00+0000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.formatted("%Y-%m-%dT%H:%M:%S%z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_cloudstack_and_http_write_them() {
        let at = SimTime::from_millis(1_795_213_800_123);
        assert_eq!(at.to_string(), "2026-11-20T22:30:00+0000");
        assert_eq!(at.http_date(), "Fri, 20 Nov 2026 22:30:00 GMT");
    }

    #[test]
    fn dates_are_read_with_and_without_a_time() {
        for (text, seconds) in [
            ("2026-11-20", Some(1_795_132_800)),
            ("2026-11-20 22:30:00", Some(1_795_213_800)),
            ("2026-11-20T22:30:00+0000", Some(1_795_213_800)),
            ("yesterday", None),
            ("2026-13-01", None),
        ] {
            let expected = seconds.map(|seconds: i64| SimTime::from_millis(seconds * 1000));
            assert_eq!(SimTime::parse_date(text), expected, "{text}");
        }
    }

    #[test]
    fn expires_is_read_in_every_form_the_server_reads() {
        let at = SimTime::from_millis(1_795_213_800_000);
        for text in [
            "2026-11-20T22:30:00Z",
            "2026-11-20T22:30:00+00:00",
            "2026-11-20T22:30:00+0000",
            "2026-11-20T23:30:00+0100",
            "2026-11-20T22:30:00.000000+0000",
        ] {
            assert_eq!(SimTime::parse_expires(text), Some(at), "{text}");
        }
        for text in ["", "tomorrow", "2026-11-20T22:30:00", "1795213800"] {
            assert_eq!(SimTime::parse_expires(text), None, "{text}");
        }
    }
}
