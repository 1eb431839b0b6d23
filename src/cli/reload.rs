//! The settings of a running daemon: what of them takes effect at SIGHUP, and what at the next
//! start only.

use std::collections::BTreeMap;

use crate::config::{Config, ConfigError};
use crate::plan::Policy;
use crate::reconcile::Pace;
use crate::telemetry::Logs;

/// What takes effect while the daemon runs: whole sections, or single keys.
const LIVE: [&str; 3] = ["policy.", "pace.", "log.filter"];

/// The settings in force, and where new ones come from.
pub struct Settings {
    current: Config,
    load: Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>,
    logs: Logs,
}

impl Settings {
    /// The settings `current`, to be read anew by `load`.
    pub fn new(
        current: Config,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        logs: Logs,
    ) -> Self {
        Self {
            current,
            load: Box::new(load),
            logs,
        }
    }

    /// The settings in force.
    pub fn current(&self) -> &Config {
        &self.current
    }

    /// Reads the settings again, takes over what can change now, and tells the rest. What is
    /// wrong changes nothing at all.
    pub fn reload(&mut self) -> Option<(Policy, Pace)> {
        let new = match (self.load)() {
            Ok(new) => new,
            Err(error) => {
                // One line: the mistake is shown with its place and an excerpt.
                let words: Vec<_> = error
                    .to_string()
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect();
                let error = words.join(" ");
                tracing::error!(error, "the settings were not taken; those in force stay");
                return None;
            }
        };
        let changes = Changes::between(&self.current, &new);
        if !changes.later.is_empty() {
            let keys = changes.later.join(", ");
            tracing::warn!(
                keys,
                "some settings take effect at the next start only; a restart disturbs no client"
            );
        }
        if changes.live.is_empty() {
            tracing::info!("no setting changed that takes effect now");
            return None;
        }
        if changes.live.iter().any(|key| key == "log.filter")
            && let Err(error) = self.logs.set_filter(&new.log.filter)
        {
            tracing::error!(error = %error, "the settings were not taken; those in force stay");
            return None;
        }
        tracing::info!(keys = changes.live.join(", "), "settings were taken over");
        self.current.policy = new.policy;
        self.current.pace = new.pace;
        self.current.log.filter = new.log.filter;
        Some((
            Policy::from(&self.current.policy),
            Pace::from(&self.current.pace),
        ))
    }
}

/// Which keys differ, by when that takes effect.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    live: Vec<String>,
    later: Vec<String>,
}

impl Changes {
    fn between(before: &Config, after: &Config) -> Self {
        let (old, new) = (values(before), values(after));
        let mut changes = Self::default();
        for key in old
            .keys()
            .chain(new.keys().filter(|key| !old.contains_key(*key)))
        {
            if old.get(key) == new.get(key) {
                continue;
            }
            let is_live = LIVE.iter().any(|live| key.starts_with(live));
            let to = if is_live {
                &mut changes.live
            } else {
                &mut changes.later
            };
            to.push(key.clone());
        }
        // Secrets are masked above, and may be in files of which only the names are.
        let keys = |config: &Config| {
            let (key, secret) = config.cloudstack.keys().ok()?;
            Some((key.reveal().to_owned(), secret.reveal().to_owned()))
        };
        if keys(before) != keys(after) {
            changes.later.push("the keys of CloudStack".to_owned());
        }
        changes
    }
}

/// Every setting as text, by `section.key`.
fn values(config: &Config) -> BTreeMap<String, String> {
    let table: toml::Table = toml::from_str(&config.to_toml()).unwrap_or_default();
    let mut values = BTreeMap::new();
    for (section, keys) in table {
        if let toml::Value::Table(keys) = keys {
            for (key, value) in keys {
                values.insert(format!("{section}.{key}"), value.to_string());
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Override;

    fn config(overrides: &[&str]) -> Config {
        let overrides: Vec<Override> = overrides
            .iter()
            .map(|text| text.parse().expect("section.key=value"))
            .collect();
        Config::parse(Path::new("config.toml"), "", &overrides).expect("valid")
    }

    #[test]
    fn limits_change_at_once_and_places_at_the_next_start() {
        let before = config(&["cloudstack.api_key=a", "cloudstack.secret_key=s"]);
        let after = config(&[
            "cloudstack.api_key=b",
            "cloudstack.secret_key=s",
            "policy.heal_delay=1m",
            "log.filter=debug",
            "log.format=json",
            "specs.dir=/elsewhere",
        ]);
        assert_eq!(
            Changes::between(&before, &after),
            Changes {
                live: vec!["log.filter".to_owned(), "policy.heal_delay".to_owned()],
                later: vec![
                    "log.format".to_owned(),
                    "specs.dir".to_owned(),
                    "the keys of CloudStack".to_owned(),
                ],
            }
        );
        assert_eq!(Changes::between(&before, &before), Changes::default());
    }
}
