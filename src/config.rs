//! Settings: file < environment < flag. An unknown key is refused, whoever wrote it.
//!
//! `cloudstack.url` in the file is `VOLUME_DAEMON_CLOUDSTACK__URL` in the environment and
//! `--set cloudstack.url=…` on the command line.

mod legacy;
mod limits;
mod sections;
mod values;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use legacy::OldDatabase;
pub use sections::{Api, CloudStack, Host, Log, Nbd, PaceConfig, PolicyConfig, Specs, Store};
pub use values::{Address, Masked, Span, StoreUrl};

/// Where settings are read from unless `--config` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/volume-daemon/config.toml";
const ENV_PREFIX: &str = "VOLUME_DAEMON_";

/// All settings.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How to reach CloudStack.
    pub cloudstack: CloudStack,
    /// This machine.
    pub host: Host,
    /// The NBD server.
    pub nbd: Nbd,
    /// Where the daemon remembers.
    pub store: Store,
    /// Where specs come from.
    pub specs: Specs,
    /// Where the daemon answers.
    pub api: Api,
    /// Limits on what is done.
    pub policy: PolicyConfig,
    /// How often things are looked at.
    pub pace: PaceConfig,
    /// Logs.
    pub log: Log,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {path}; write one, or name another with --config")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not valid.
    #[error("{path}: {text}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Where and what, as the TOML parser says it.
        text: String,
    },
    /// A variable or flag is not valid.
    #[error("{origin}: {text}")]
    Override {
        /// The variable's or flag's name.
        origin: String,
        /// What is wrong with it.
        text: String,
    },
    /// Something that is needed is not set.
    #[error("{key} is not set; {hint}")]
    Missing {
        /// Which key.
        key: &'static str,
        /// How to set it.
        hint: &'static str,
    },
    /// A value is not allowed.
    #[error("{key}: {text}")]
    Value {
        /// Which key.
        key: &'static str,
        /// Why not.
        text: String,
    },
}

/// One `key=value` from the environment or a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// For error messages: the variable, or the flag.
    pub origin: String,
    /// `section.key`.
    pub key: String,
    /// The value as text.
    pub value: String,
}

impl FromStr for Override {
    type Err = String;

    /// Reads the value of `--set`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if key.contains('.') => Ok(Self {
                origin: format!("--set {key}"),
                key: key.trim().to_owned(),
                value: value.to_owned(),
            }),
            Some(_) | None => Err(format!("{text:?}: expected section.key=value")),
        }
    }
}

/// The settings that the environment holds.
pub fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let mut found: Vec<Override> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            if name == legacy::DSN {
                return Some(Override {
                    origin: name,
                    key: "store.url".to_owned(),
                    value,
                });
            }
            let (section, key) = name.strip_prefix(ENV_PREFIX)?.split_once("__")?;
            let key = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
            Some(Override {
                origin: name,
                key,
                value,
            })
        })
        .collect();
    found.sort_by(|left, right| left.origin.cmp(&right.origin));
    found
}

impl Config {
    /// Reads the settings. A missing file is an error only if it was named.
    ///
    /// # Errors
    /// A located error for the first thing that is wrong in the file, or for the first
    /// variable or flag that is.
    pub fn load(named: Option<&Path>, overrides: &[Override]) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(source) => {
                return Err(ConfigError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Self::parse(path, &text, overrides)
    }

    pub(crate) fn parse(
        path: &Path,
        text: &str,
        overrides: &[Override],
    ) -> Result<Self, ConfigError> {
        let in_file = |error: toml::de::Error| ConfigError::File {
            path: path.to_owned(),
            text: error.to_string(),
        };
        let mut config: Self = toml::from_str(text).map_err(in_file)?;
        let mut table: toml::Table = toml::from_str(text).map_err(in_file)?;
        // What the old daemon left counts only where nobody says anything else.
        let (legacy, ours): (Vec<_>, Vec<_>) = overrides
            .iter()
            .partition(|setting| setting.origin == legacy::DSN);
        for Override { origin, key, value } in ours.into_iter().chain(legacy) {
            let wrong = |text: String| ConfigError::Override {
                origin: origin.clone(),
                text,
            };
            let Some((section, key)) = key.split_once('.') else {
                return Err(wrong("expected section.key".to_owned()));
            };
            let section = table
                .entry(section)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let Some(section) = section.as_table_mut() else {
                return Err(wrong("is not a section".to_owned()));
            };
            let value = if origin == legacy::DSN {
                if section.contains_key("url") || section.contains_key("url_file") {
                    continue;
                }
                legacy::url(value).map_err(|why| wrong(why.to_owned()))?
            } else {
                value.clone()
            };
            section.insert(key.to_owned(), toml::Value::String(value));
            config = table
                .clone()
                .try_into()
                .map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
        }
        limits::check(&config)?;
        Ok(config)
    }

    /// All settings as a configuration file would have them, defaults too; secrets are masked.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings are tables of text, numbers and flags")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Policy;
    use crate::reconcile::Pace;

    fn parse(text: &str, overrides: &[Override]) -> Result<Config, String> {
        Config::parse(Path::new("config.toml"), text, overrides).map_err(|error| error.to_string())
    }

    fn set(text: &str) -> Override {
        text.parse().expect("section.key=value")
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = parse("", &[]).expect("valid");
        assert_eq!(config.api.listen.to_string(), "127.0.0.1:8090");
        assert_eq!(Policy::from(&config.policy), Policy::default());
        assert_eq!(Pace::from(&config.pace), Pace::default());
    }

    #[test]
    fn flag_beats_environment_beats_file() {
        let file = "[pace]\nresync = \"10s\"\nparallel = 3\n";
        let env = from_environment([
            ("VOLUME_DAEMON_PACE__RESYNC".to_owned(), "20s".to_owned()),
            ("VOLUME_DAEMON_PACE__PARALLEL".to_owned(), "4".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ]);
        let pace =
            |overrides: &[Override]| Pace::from(&parse(file, overrides).expect("valid").pace);
        assert_eq!(pace(&[]).resync, Duration::from_secs(10));
        assert_eq!(pace(&env).resync, Duration::from_secs(20));
        let mut all = env;
        all.push(set("pace.resync=30s"));
        assert_eq!(pace(&all).resync, Duration::from_secs(30));
        assert_eq!(pace(&all).parallel, 4);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let wrong = |text: &str, overrides: &[Override]| parse(text, overrides).expect_err(text);
        let unknown = wrong("[cloudstack]\nulr = \"x\"\n", &[]);
        assert!(
            unknown.contains("line 2") && unknown.contains("ulr"),
            "{unknown}"
        );
        let span = wrong("[pace]\nresync = \"soon\"\n", &[]);
        assert!(span.contains("line 2") && span.contains("30s"), "{span}");
        let flag = wrong("", &[set("cloudstack.ulr=x")]);
        assert!(
            flag.contains("--set cloudstack.ulr") && flag.contains("unknown"),
            "{flag}"
        );
        let public = wrong("", &[set("api.listen=0.0.0.0:80")]);
        assert!(public.contains("loopback"), "{public}");
        let stale = wrong("", &[set("policy.stale_after=5s")]);
        assert!(stale.contains("pace.resync"), "{stale}");
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let file = "[api]\nlisten = \"unix:/run/x\"\n[pace]\nresync = \"1m30s\"\n";
        let shown = parse(file, &[]).expect("valid").to_toml();
        assert!(shown.contains("resync = \"1m 30s\""), "{shown}");
        assert_eq!(parse(&shown, &[]).expect("valid").to_toml(), shown);
    }

    #[test]
    fn a_store_on_a_server_needs_a_name_for_the_appliance_and_never_shows_its_password() {
        const URL: &str = "[store]\nurl = \"mysql://vd:hunter2@db/x?ssl-ca=/ca.pem\"\n";
        let config = parse(URL, &[]).expect("valid");
        let shown = config.to_toml();
        assert!(shown.contains("mysql://***@db/x?ssl-ca=/ca.pem"), "{shown}");
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = config.store.location().expect_err("no name").to_string();
        assert!(error.contains("store.appliance is not set"), "{error}");
        let named = parse(URL, &[set("store.appliance=oma-1")]).expect("valid");
        assert!(named.store.location().expect("a server").is_server());
        let wrong = parse(URL, &[set("store.appliance=OMA 1")]).expect_err("no name");
        assert!(wrong.contains("--set store.appliance"), "{wrong}");
        for url in ["mysql://vd:hunter2", "vd:hunter2@tcp(db)/x", "hunter2"] {
            let config = parse("", &[set(&format!("store.url={url}"))]).expect("any text");
            let error = config.store.location().expect_err(url).to_string();
            for said in [error, config.to_toml(), format!("{config:?}")] {
                assert!(!said.contains("hunter2"), "{said}");
            }
        }
    }

    #[test]
    fn the_url_of_the_store_may_come_from_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("url");
        std::fs::write(&path, "mysql://vd:hunter2@db/x\n").expect("written");
        let file = set(&format!("store.url_file={}", path.display()));
        let name = set("store.appliance=oma-1");
        let config = parse("", &[file.clone(), name.clone()]).expect("valid");
        assert!(config.store.location().expect("a server").is_server());
        let twice = [file, name, set("store.url=sqlite:///x.db")];
        let config = parse("", &twice).expect("valid");
        let error = config.store.location().expect_err("twice").to_string();
        assert!(error.contains("keep one"), "{error}");
    }

    #[test]
    fn what_the_old_daemon_left_counts_unless_somebody_says_otherwise() {
        let legacy = from_environment([(
            "DATABASE_DSN".to_owned(),
            "oma:hunter2@tcp(localhost:3306)/migratekit_oma?parseTime=true".to_owned(),
        )]);
        let url = |text: &str, more: &[Override]| {
            let all: Vec<_> = legacy.iter().chain(more).cloned().collect();
            parse(text, &all).expect("valid").store.url.to_string()
        };
        assert_eq!(url("", &[]), "mysql://***@localhost:3306/migratekit_oma");
        let ours = "sqlite:///x.db";
        assert_eq!(url("[store]\nurl = \"sqlite:///x.db\"\n", &[]), ours);
        assert_eq!(url("", &[set("store.url=sqlite:///x.db")]), ours);
        let file = url("[store]\nurl_file = \"/x\"\n", &[]);
        assert_eq!(file, StoreUrl::default().to_string());
        let wrong = from_environment([("DATABASE_DSN".to_owned(), "hunter2".to_owned())]);
        let wrong = parse("", &wrong).expect_err("no data source name");
        assert!(wrong.contains("DATABASE_DSN: is not like"), "{wrong}");
        assert!(!wrong.contains("hunter2"), "{wrong}");
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = parse("[cloudstack]\nsecret_key = \"hunter2\"\n", &[]).expect("valid");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(config.to_toml().contains("secret_key = \"***\""));
    }
}
