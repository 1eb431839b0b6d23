//! Settings: file < environment < flag. An unknown key is refused, whoever wrote it.
//!
//! `cloudstack.url` in the file is `VOLUME_DAEMON_CLOUDSTACK__URL` in the environment and
//! `--set cloudstack.url=…` on the command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::model::VmId;
use crate::plan::Policy;
use crate::reconcile::Pace;
use crate::telemetry::LogFormat;

/// Where settings are read from unless `--config` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/volume-daemon/config.toml";
const ENV_PREFIX: &str = "VOLUME_DAEMON_";

/// All settings.
#[derive(Debug, Clone, Default, Deserialize)]
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

/// How to reach CloudStack.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudStack {
    /// The API endpoint, for instance `https://cloud.example.org/client/api`.
    pub url: Option<String>,
    /// The API key; better in a file.
    pub api_key: Option<Masked>,
    /// A file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// The secret key; better in a file.
    pub secret_key: Option<Masked>,
    /// A file that holds the secret key.
    pub secret_key_file: Option<PathBuf>,
    /// The project that owns the volumes, if it is not the account itself.
    pub project: Option<uuid::Uuid>,
    /// Whether to list what other accounts own, too (administrators).
    #[serde(deserialize_with = "from_text")]
    pub list_all: bool,
    /// Additional certificate authority, PEM.
    pub ca_file: Option<PathBuf>,
    /// How long one call may take.
    pub timeout: Span,
    /// Requests a second, at most.
    #[serde(deserialize_with = "from_text")]
    pub rate: u32,
}

impl Default for CloudStack {
    fn default() -> Self {
        Self {
            url: None,
            api_key: None,
            api_key_file: None,
            secret_key: None,
            secret_key_file: None,
            project: None,
            list_all: true,
            ca_file: None,
            timeout: Span(Duration::from_secs(60)),
            rate: 20,
        }
    }
}

/// This machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// Prefix of `/dev`, `/sys`, `/proc`; another one than `/` is for simulations.
    pub root: PathBuf,
    /// Which VM this is; otherwise read from DMI or cloud-init.
    pub vm_id: Option<VmId>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/"),
            vm_id: None,
        }
    }
}

/// The NBD server.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nbd {
    /// Its QMP socket.
    pub qmp: PathBuf,
    /// Where it listens for clients: `unix:/path` or `address:port`.
    pub listen: Address,
    /// How long one request to it may take.
    pub timeout: Span,
}

impl Default for Nbd {
    fn default() -> Self {
        Self {
            qmp: PathBuf::from("/run/volume-daemon-nbd/qmp.sock"),
            listen: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 10809))),
            timeout: Span(Duration::from_secs(5)),
        }
    }
}

/// Where the daemon remembers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite:///path`.
    pub url: String,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "sqlite:///var/lib/volume-daemon/volume-daemon.db".to_owned(),
        }
    }
}

/// Where specs come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Specs {
    /// The watched directory.
    pub dir: PathBuf,
}

impl Default for Specs {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/etc/volume-daemon/specs"),
        }
    }
}

/// Where the daemon answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// `unix:/path` or a loopback `address:port`.
    pub listen: Address,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 8090))),
        }
    }
}

/// Limits on what is done; see [`Policy`].
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    heal_delay: Span,
    release_grace: Span,
    detach_grace: Span,
    #[serde(deserialize_with = "from_text")]
    implied_floor: usize,
    #[serde(deserialize_with = "from_text")]
    implied_percent: usize,
    #[serde(deserialize_with = "from_text")]
    absent_percent: usize,
    max_skew: Span,
    stale_after: Span,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        let Policy {
            heal_delay,
            release_grace,
            detach_grace,
            implied_floor,
            implied_percent,
            absent_percent,
            max_skew,
            stale_after,
        } = Policy::default();
        Self {
            heal_delay: Span(heal_delay),
            release_grace: Span(release_grace),
            detach_grace: Span(detach_grace),
            implied_floor,
            implied_percent,
            absent_percent,
            max_skew: Span(max_skew),
            stale_after: Span(stale_after),
        }
    }
}

impl From<&PolicyConfig> for Policy {
    fn from(config: &PolicyConfig) -> Self {
        Self {
            heal_delay: config.heal_delay.0,
            release_grace: config.release_grace.0,
            detach_grace: config.detach_grace.0,
            implied_floor: config.implied_floor,
            implied_percent: config.implied_percent,
            absent_percent: config.absent_percent,
            max_skew: config.max_skew.0,
            stale_after: config.stale_after.0,
        }
    }
}

/// How often things are looked at; see [`Pace`].
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaceConfig {
    resync: Span,
    jobs: Span,
    rescan: Span,
    request_ttl: Span,
    handling: Span,
    #[serde(deserialize_with = "from_text")]
    parallel: usize,
}

impl Default for PaceConfig {
    fn default() -> Self {
        let Pace {
            resync,
            jobs,
            rescan,
            request_ttl,
            handling,
            parallel,
        } = Pace::default();
        Self {
            resync: Span(resync),
            jobs: Span(jobs),
            rescan: Span(rescan),
            request_ttl: Span(request_ttl),
            handling: Span(handling),
            parallel,
        }
    }
}

impl From<&PaceConfig> for Pace {
    fn from(config: &PaceConfig) -> Self {
        Self {
            resync: config.resync.0,
            jobs: config.jobs.0,
            rescan: config.rescan.0,
            request_ttl: config.request_ttl.0,
            handling: config.handling.0,
            parallel: config.parallel.max(1),
        }
    }
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A `tracing` filter, such as `info` or `volume_daemon=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::default(),
        }
    }
}

/// A time span such as `30s`, `5m` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span: Option<Duration> = text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| span.try_into().ok());
        span.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is not a time span like 30s, 5m or 1h30m"))
        })
    }
}

/// A place to listen at, or to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(format!("{text:?}: a socket's path must be absolute")),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| format!("{text:?} is neither unix:/path nor address:port")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// A secret in the settings; never shown (I9).
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Masked(String);

impl Masked {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads a value that may be written as text, as the environment always does.
fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Bool(bool),
        Number(i64),
        Text(String),
    }
    let text = match Raw::deserialize(deserializer)? {
        Raw::Bool(value) => value.to_string(),
        Raw::Number(value) => value.to_string(),
        Raw::Text(value) => value,
    };
    text.parse()
        .map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
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

    fn parse(path: &Path, text: &str, overrides: &[Override]) -> Result<Self, ConfigError> {
        let in_file = |error: toml::de::Error| ConfigError::File {
            path: path.to_owned(),
            text: error.to_string(),
        };
        let mut config: Self = toml::from_str(text).map_err(in_file)?;
        let mut table: toml::Table = toml::from_str(text).map_err(in_file)?;
        for Override { origin, key, value } in overrides {
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
            section.insert(key.to_owned(), toml::Value::String(value.clone()));
            config = table
                .clone()
                .try_into()
                .map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Address::Tcp(address) = self.api.listen
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
        if self.policy.stale_after.0 <= self.pace.resync.0 {
            return Err(ConfigError::Value {
                key: "policy.stale_after",
                text: "must be longer than pace.resync, or nothing is ever fresh".to_owned(),
            });
        }
        if self.pace.request_ttl.0 > Duration::from_secs(14 * 60) {
            return Err(ConfigError::Value {
                key: "pace.request_ttl",
                text: "CloudStack accepts signatures for 15 minutes at most; use 14m or less"
                    .to_owned(),
            });
        }
        Ok(())
    }
}

impl CloudStack {
    /// The endpoint.
    ///
    /// # Errors
    /// If none is set.
    pub fn endpoint(&self) -> Result<&str, ConfigError> {
        self.url.as_deref().ok_or(ConfigError::Missing {
            key: "cloudstack.url",
            hint: "set it to the API endpoint, like https://cloud.example.org/client/api",
        })
    }

    /// API key and secret key, from the settings or their files.
    ///
    /// # Errors
    /// If one is not set, or its file cannot be read.
    pub fn keys(&self) -> Result<(Masked, Masked), ConfigError> {
        Ok((
            key(&self.api_key, &self.api_key_file, "cloudstack.api_key")?,
            key(
                &self.secret_key,
                &self.secret_key_file,
                "cloudstack.secret_key",
            )?,
        ))
    }
}

fn key(
    inline: &Option<Masked>,
    file: &Option<PathBuf>,
    name: &'static str,
) -> Result<Masked, ConfigError> {
    match (inline, file) {
        (Some(_), Some(_)) => Err(ConfigError::Value {
            key: name,
            text: "is set both directly and by a file; keep one".to_owned(),
        }),
        (Some(secret), None) => Ok(secret.clone()),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(Masked(text.trim().to_owned())),
            Err(source) => Err(ConfigError::Read {
                path: path.clone(),
                source,
            }),
        },
        (None, None) => Err(ConfigError::Missing {
            key: name,
            hint: "set it, or name a file that holds it with the same key and _file",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn secrets_are_never_shown() {
        let config = parse("[cloudstack]\nsecret_key = \"hunter2\"\n", &[]).expect("valid");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
