//! Which values make sense: each number and time has a range, and some depend on each other.
//!
//! Names the key that is wrong, what it may be, and what it would do otherwise.

use std::time::Duration;

use super::{Address, Config, ConfigError};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Longest path of the watched directory, in bytes: with a file's name of 255, it fits the 700
/// characters that the store has for one.
const SPECS_DIR: usize = 400;

/// Checks every limit.
///
/// # Errors
/// The first value that makes no sense.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let Config {
        cloudstack,
        nbd,
        specs,
        policy,
        pace,
        api,
        ..
    } = config;
    for (key, value, least, most) in [
        (
            "cloudstack.timeout",
            cloudstack.timeout,
            SECOND,
            10 * MINUTE,
        ),
        ("nbd.timeout", nbd.timeout, 100 * MILLISECOND, 10 * MINUTE),
        ("policy.heal_delay", policy.heal_delay, Duration::ZERO, DAY),
        (
            "policy.release_grace",
            policy.release_grace,
            Duration::ZERO,
            30 * DAY,
        ),
        ("policy.detach_grace", policy.detach_grace, SECOND, 30 * DAY),
        (
            "policy.delete_grace",
            policy.delete_grace,
            SECOND,
            365 * DAY,
        ),
        ("policy.max_skew", policy.max_skew, SECOND, 10 * MINUTE),
        ("policy.stale_after", policy.stale_after, 2 * SECOND, DAY),
        ("policy.fresh_for", policy.fresh_for, SECOND, HOUR),
        ("pace.resync", pace.resync, SECOND, HOUR),
        ("pace.jobs", pace.jobs, 10 * MILLISECOND, 5 * MINUTE),
        ("pace.rescan", pace.rescan, 100 * MILLISECOND, HOUR),
        ("pace.request_ttl", pace.request_ttl, SECOND, 14 * MINUTE),
        ("pace.handling", pace.handling, Duration::ZERO, HOUR),
    ] {
        if value.0 < least || value.0 > most {
            let text = format!(
                "{value} is not from {} to {}",
                super::Span(least),
                super::Span(most)
            );
            return Err(ConfigError::Value { key, text });
        }
    }
    for (key, value, least, most) in [
        ("cloudstack.rate", usize_of(cloudstack.rate), 1, 10_000),
        ("cloudstack.concurrency", cloudstack.concurrency, 1, 64),
        ("policy.heals_per_hour", policy.heals_per_hour, 1, 60),
        ("policy.implied_floor", policy.implied_floor, 0, 1_000_000),
        ("policy.implied_percent", policy.implied_percent, 0, 100),
        ("policy.absent_percent", policy.absent_percent, 1, 100),
        ("pace.parallel", pace.parallel, 1, 1_000),
    ] {
        if value < least || value > most {
            let text = format!("{value} is not from {least} to {most}");
            return Err(ConfigError::Value { key, text });
        }
    }
    let wrong = |key, text: &str| {
        let text = text.to_owned();
        Err(ConfigError::Value { key, text })
    };
    if policy.stale_after.0 <= pace.resync.0 {
        return wrong(
            "policy.stale_after",
            "must be longer than pace.resync, or nothing is ever fresh",
        );
    }
    if specs.dir.as_os_str().len() > SPECS_DIR {
        return wrong(
            "specs.dir",
            "is too long: the path of a file in it must fit the store's columns",
        );
    }
    if let Address::Tcp(address) = api.listen
        && !address.ip().is_loopback()
    {
        return Err(ConfigError::Value {
            key: "api.listen",
            text: format!(
                "{address} is not a loopback address, and the API has no TLS yet; use \
                 127.0.0.1:8090 or unix:/path"
            ),
        });
    }
    Ok(())
}

fn usize_of(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (setting, says) in [
            ("pace.parallel=0", "0 is not from 1 to 1000"),
            ("pace.resync=0s", "0s is not from 1s to 1h"),
            ("pace.request_ttl=15m", "15m is not from 1s to 14m"),
            ("policy.absent_percent=101", "101 is not from 1 to 100"),
            ("policy.stale_after=30s", "longer than pace.resync"),
            ("cloudstack.rate=0", "0 is not from 1"),
            ("cloudstack.concurrency=1000", "1000 is not from 1 to 64"),
            ("api.listen=0.0.0.0:80", "not a loopback address"),
        ] {
            let overrides = [setting.parse().expect("section.key=value")];
            let error = Config::parse(Path::new("config.toml"), "", &overrides).expect_err(setting);
            let (key, _) = setting.split_once('=').expect("a key");
            let error = error.to_string();
            assert!(error.starts_with(key) && error.contains(says), "{error}");
        }
    }
}
