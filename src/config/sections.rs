//! The sections of the settings, each with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::values::{Address, Masked, Span, StoreUrl, from_text};
use crate::model::VmId;
use crate::plan::Policy;
use crate::reconcile::Pace;
use crate::store::{Appliance, Location};
use crate::telemetry::LogFormat;

/// How to reach CloudStack.
#[derive(Debug, Clone, Deserialize, Serialize)]
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
    /// Requests under way at once, at most.
    #[serde(deserialize_with = "from_text")]
    pub concurrency: usize,
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
            concurrency: 8,
        }
    }
}

/// This machine.
#[derive(Debug, Clone, Deserialize, Serialize)]
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
#[derive(Debug, Clone, Deserialize, Serialize)]
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
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite:///path`, or `mysql://user:password@host/database`; better in a file if it has a
    /// password.
    pub url: StoreUrl,
    /// A file that holds the URL, instead.
    pub url_file: Option<PathBuf>,
    /// Which appliance this is, of those whose daemons share a MariaDB database.
    pub appliance: Option<Appliance>,
    /// Where the lock file of a daemon goes that remembers on a server.
    pub lock_dir: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: StoreUrl::default(),
            url_file: None,
            appliance: None,
            lock_dir: PathBuf::from("/var/lib/volume-daemon"),
        }
    }
}

impl Store {
    /// Where the store is, and whose.
    ///
    /// # Errors
    /// If the URL is set twice, its file cannot be read, it is not valid, or a server is to be
    /// used without saying for which appliance.
    pub fn location(&self) -> Result<Location, ConfigError> {
        const KEY: &str = "store.url";
        let set = self.url != StoreUrl::default() || self.url_file.is_none();
        let url = key(&set.then(|| self.url.0.clone()), &self.url_file, KEY)?;
        let appliance = self.appliance.clone();
        let is_named = appliance.is_some();
        let location = Location::new(url.reveal(), appliance.unwrap_or_default(), &self.lock_dir);
        let location = location.map_err(|error| ConfigError::Value {
            key: KEY,
            text: error.to_string(),
        })?;
        if location.is_server() && !is_named {
            return Err(ConfigError::Missing {
                key: "store.appliance",
                hint: "name this appliance: daemons of many may share the database of store.url",
            });
        }
        Ok(location)
    }
}

/// Where specs come from.
#[derive(Debug, Clone, Deserialize, Serialize)]
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
#[derive(Debug, Clone, Deserialize, Serialize)]
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
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    pub(super) heal_delay: Span,
    #[serde(deserialize_with = "from_text")]
    pub(super) heals_per_hour: usize,
    pub(super) release_grace: Span,
    pub(super) detach_grace: Span,
    pub(super) delete_grace: Span,
    #[serde(deserialize_with = "from_text")]
    pub(super) implied_floor: usize,
    #[serde(deserialize_with = "from_text")]
    pub(super) implied_percent: usize,
    #[serde(deserialize_with = "from_text")]
    pub(super) absent_percent: usize,
    pub(super) max_skew: Span,
    pub(super) stale_after: Span,
    pub(super) fresh_for: Span,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        let Policy {
            heal_delay,
            heals_per_hour,
            release_grace,
            detach_grace,
            delete_grace,
            implied_floor,
            implied_percent,
            absent_percent,
            max_skew,
            stale_after,
            fresh_for,
        } = Policy::default();
        Self {
            heal_delay: Span(heal_delay),
            heals_per_hour,
            release_grace: Span(release_grace),
            detach_grace: Span(detach_grace),
            delete_grace: Span(delete_grace),
            implied_floor,
            implied_percent,
            absent_percent,
            max_skew: Span(max_skew),
            stale_after: Span(stale_after),
            fresh_for: Span(fresh_for),
        }
    }
}

impl From<&PolicyConfig> for Policy {
    fn from(config: &PolicyConfig) -> Self {
        Self {
            heal_delay: config.heal_delay.0,
            heals_per_hour: config.heals_per_hour,
            release_grace: config.release_grace.0,
            detach_grace: config.detach_grace.0,
            delete_grace: config.delete_grace.0,
            implied_floor: config.implied_floor,
            implied_percent: config.implied_percent,
            absent_percent: config.absent_percent,
            max_skew: config.max_skew.0,
            stale_after: config.stale_after.0,
            fresh_for: config.fresh_for.0,
        }
    }
}

/// How often things are looked at; see [`Pace`].
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaceConfig {
    pub(super) resync: Span,
    pub(super) jobs: Span,
    pub(super) rescan: Span,
    pub(super) request_ttl: Span,
    pub(super) handling: Span,
    #[serde(deserialize_with = "from_text")]
    pub(super) parallel: usize,
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
            parallel: config.parallel,
        }
    }
}

/// Logs.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level such as `info`, and levels of single modules, as in `info,volume_daemon::store=debug`.
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

pub(super) fn key(
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
