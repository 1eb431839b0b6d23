//! Asks the running daemon; without one, has somebody else look at the world directly.

use std::io;
use std::time::Duration;

use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::offline::{self, Seen, SpecText};
use super::output::{self, Io};
use crate::api::Served;
use crate::api::approve::{ApproveAnswer, ApproveRequest};
use crate::api::history::Planned;
use crate::api::owner::{OwnRequest, Owned};
use crate::api::pause::{PauseRequest, Paused};
use crate::config::{Address, Config};
use crate::model::{DesiredVolume, Timestamp, VolumeName};
use crate::plan::episode::Episode;
use crate::reconcile::report::Report;
use crate::store::{EpisodeFilter, Happening, IntentFilter, JournalRow};

mod specs;
mod stored;

pub(super) use self::stored::{episodes, history, intents, plans};

/// How long the daemon may take for one answer: it answers from memory.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer that is read: 10,000 volumes have about 30 MB.
const BODY_MAX: usize = 128 << 20;

/// Where pauses are asked for.
const PAUSE: &str = "api/v1/pause";

/// Where specs are handed over.
const OWNER: &str = "api/v1/owner";

/// Where what the guard holds back is approved.
const APPROVE: &str = "api/v1/approvals";

/// How much of an unexpected answer is shown, in characters.
const EXCERPT: usize = 200;

/// Whether to ask the daemon or to look directly.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Source {
    /// Don't ask the daemon: read CloudStack, the host and the NBD server directly
    #[arg(long, conflicts_with = "online")]
    offline: bool,
    /// Ask the daemon only: fail if it does not answer
    #[arg(long)]
    online: bool,
}

/// Talks to the daemon.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    address: Address,
    timeout: Duration,
}

/// Why the daemon's word cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no daemon at {address}")]
    Absent {
        /// Where it should be.
        address: Address,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Somebody listens, and says nothing.
    #[error("no answer from the daemon at {address} within {} s", after.as_secs_f32())]
    Silent {
        /// Where it is.
        address: Address,
        /// How long was waited.
        after: Duration,
    },
    /// The socket may not be used.
    #[error("not allowed to talk to the daemon at {address}")]
    Denied {
        /// Where it is.
        address: Address,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or no HTTP is spoken there.
    #[error("no proper answer from the daemon at {address}")]
    Broken {
        /// Where it is.
        address: Address,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// It answered with an error.
    #[error("the daemon at {address} answers {path} with {status}: {text}")]
    Status {
        /// Where it is.
        address: Address,
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: reqwest::StatusCode,
        /// Its words.
        text: String,
    },
    /// It answered with something else.
    #[error("the answer of {address} to {path} cannot be understood: {why}")]
    Body {
        /// Where it is.
        address: Address,
        /// What was asked.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// Whether there is nobody to ask, so that it makes sense to look directly.
    fn is_absence(&self) -> bool {
        match self {
            Self::Absent { .. } | Self::Silent { .. } => true,
            Self::Denied { .. } | Self::Broken { .. } | Self::Status { .. } | Self::Body { .. } => {
                false
            }
        }
    }

    /// Whether it is worth asking again: the daemon may be starting, stopping or busy.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Absent { .. } | Self::Silent { .. } | Self::Broken { .. } => true,
            Self::Status { status, .. } => status.is_server_error(),
            Self::Denied { .. } | Self::Body { .. } => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Absent { .. } => {
                "start it with systemctl start volume-daemon; if it listens elsewhere, set \
                 api.listen"
            }
            Self::Silent { .. } => "see journalctl -u volume-daemon",
            Self::Denied { .. } => {
                "run it as root, or as a member of the group that owns the socket"
            }
            Self::Status { status, .. } if *status != reqwest::StatusCode::NOT_FOUND => {
                "see journalctl -u volume-daemon"
            }
            Self::Broken { .. } | Self::Status { .. } | Self::Body { .. } => {
                "another program, or another version of the daemon, listens there: check \
                 api.listen, restart the daemon, or use --offline"
            }
        };
        Some(text.to_owned())
    }
}

impl Client {
    /// A client for the daemon that listens at `address`. Connects with the first request.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub fn new(address: &Address) -> anyhow::Result<Self> {
        Self::with_timeout(address, TIMEOUT)
    }

    fn with_timeout(address: &Address, timeout: Duration) -> anyhow::Result<Self> {
        // A second installation fails, and is not needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("volume-daemon/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        let base = match address {
            Address::Unix(path) => {
                http = http.unix_socket(path.as_path());
                "http://localhost/".to_owned()
            }
            Address::Tcp(address) => format!("http://{address}/"),
        };
        Ok(Self {
            http: http.build()?,
            base: base.parse()?,
            address: address.clone(),
            timeout,
        })
    }

    /// What the daemon says about itself and its volumes.
    ///
    /// # Errors
    /// If it does not say anything, or nothing that can be understood.
    pub async fn report(&self) -> Result<Report, ClientError> {
        self.get("api/v1/status", &[]).await
    }

    /// What the NBD server serves, as the daemon last saw it.
    ///
    /// # Errors
    /// As [`Client::report`], and if it could not be asked.
    pub async fn served(&self) -> Result<Served, ClientError> {
        self.get("api/v1/served", &[]).await
    }

    /// The daemon's journal, newest first.
    ///
    /// # Errors
    /// As [`Client::report`].
    pub async fn intents(&self, filter: &IntentFilter) -> Result<Vec<JournalRow>, ClientError> {
        let mut query = vec![
            ("open", filter.open_only.to_string()),
            ("limit", filter.limit.to_string()),
        ];
        if let Some(name) = &filter.name {
            query.push(("name", name.to_string()));
        }
        self.get("api/v1/intents", &query).await
    }

    /// What differed, the latest first.
    ///
    /// # Errors
    /// As [`Client::report`].
    pub async fn episodes(&self, filter: &EpisodeFilter) -> Result<Vec<Episode>, ClientError> {
        let mut query = vec![("limit", filter.limit.to_string())];
        if let Some(name) = &filter.name {
            query.push(("name", name.to_string()));
        }
        if let Some(since) = &filter.since {
            query.push(("since", since.to_string()));
        }
        self.get("api/v1/episodes", &query).await
    }

    /// Everything that happened to a volume, in order of time.
    ///
    /// # Errors
    /// As [`Client::report`].
    pub async fn history(&self, name: &VolumeName) -> Result<Vec<Happening>, ClientError> {
        let query = [("name", name.to_string())];
        self.get("api/v1/history", &query).await
    }

    /// Leaves a spec, or everything, alone for a while.
    ///
    /// # Errors
    /// As [`Client::report`], and if there is no such spec.
    pub async fn pause(&self, request: &PauseRequest) -> Result<Paused, ClientError> {
        self.post(PAUSE, request).await
    }

    /// Lets steps pass that the guard holds back.
    ///
    /// # Errors
    /// As [`Client::report`], and if something else is held back by now.
    pub async fn approve(&self, request: &ApproveRequest) -> Result<ApproveAnswer, ClientError> {
        self.post(APPROVE, request).await
    }

    /// How volumes stood at a moment.
    ///
    /// # Errors
    /// As [`Client::report`].
    pub async fn plans(&self, at: Timestamp) -> Result<Vec<Planned>, ClientError> {
        self.get("api/v1/plans", &[("at", at.to_string())]).await
    }

    /// Lets a spec belong to another writer.
    ///
    /// # Errors
    /// As [`Client::report`], and if it is not handed over.
    pub async fn own(&self, request: &OwnRequest) -> Result<Owned, ClientError> {
        self.post(OWNER, request).await
    }

    /// Ends the pause of a spec, or of everything.
    ///
    /// # Errors
    /// As [`Client::report`], and if no such pause is in force.
    pub async fn resume(&self, volume: Option<&VolumeName>) -> Result<(), ClientError> {
        let query: Vec<_> = volume
            .map(|name| ("volume", name.to_string()))
            .into_iter()
            .collect();
        let url = self.url(PAUSE, &query);
        self.send(PAUSE, self.http.delete(url)).await.map(drop)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self
            .http
            .post(self.url(path, &[]))
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(request).unwrap_or_default());
        let body = self.send(path, request).await?;
        self.understand(path, &body)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let url = self.url(path, query);
        let body = self.send(path, self.http.get(url)).await?;
        self.understand(path, &body)
    }

    fn url(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// The body of a good answer.
    async fn send(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<Vec<u8>, ClientError> {
        let (status, body) = exchange(request)
            .await
            .map_err(|error| self.failed(error))?;
        if status.is_success() {
            return Ok(body);
        }
        Err(ClientError::Status {
            address: self.address.clone(),
            path: format!("/{path}"),
            status,
            text: words(&body),
        })
    }

    fn understand<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, ClientError> {
        let why = if body.len() > BODY_MAX {
            format!("it is larger than {BODY_MAX} bytes")
        } else {
            match serde_json::from_slice(body) {
                Ok(answer) => return Ok(answer),
                Err(error) => error.to_string(),
            }
        };
        Err(ClientError::Body {
            address: self.address.clone(),
            path: format!("/{path}"),
            why,
        })
    }

    fn failed(&self, error: reqwest::Error) -> ClientError {
        let address = self.address.clone();
        if error.is_timeout() {
            let after = self.timeout;
            return ClientError::Silent { address, after };
        }
        match connecting(&error) {
            Some(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                ClientError::Denied { address, source }
            }
            Some(source) => ClientError::Absent { address, source },
            None => ClientError::Broken {
                address,
                source: error.without_url(),
            },
        }
    }
}

async fn exchange(
    request: reqwest::RequestBuilder,
) -> Result<(reqwest::StatusCode, Vec<u8>), reqwest::Error> {
    let mut response = request.send().await?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_MAX {
            break;
        }
    }
    Ok((status, body))
}

/// Why no connection was made, if none was.
fn connecting(error: &reqwest::Error) -> Option<io::Error> {
    if !error.is_connect() {
        return None;
    }
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            });
        }
        cause = error.source();
    }
    None
}

/// What an error answer says: its problem document's words, or how it begins.
fn words(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = problem.as_ref().and_then(|problem| {
        ["detail", "error", "title"]
            .iter()
            .find_map(|key| problem.get(key)?.as_str())
    });
    let text = match said {
        Some(said) => said.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let text = output::line(&text);
    match text.trim() {
        "" => "(no words)".to_owned(),
        text => text.chars().take(EXCERPT).collect(),
    }
}

/// What the daemon says, or what is found without it. `specs` are planned for instead of
/// the accepted ones, which only works without it.
///
/// # Errors
/// If neither way leads anywhere.
pub(super) async fn report(
    config: &Config,
    source: &Source,
    specs: &[SpecText],
    io: &mut Io<'_>,
) -> anyhow::Result<Report> {
    match ask(config, source, specs, io).await? {
        Some(report) => Ok(report),
        None => Ok(offline::look(config, specs).await?.report),
    }
}

/// As [`report`], with the specs that it is about. Beside a daemon these are read from its store:
/// where this user may not do that, or the store is ahead of the report, they are left out.
///
/// # Errors
/// As [`report`].
pub(super) async fn seen(
    config: &Config,
    source: &Source,
    specs: &[SpecText],
    io: &mut Io<'_>,
) -> anyhow::Result<Seen> {
    let Some(report) = ask(config, source, specs, io).await? else {
        return offline::look(config, specs).await;
    };
    let stored = offline::specs(config).await.unwrap_or_default();
    let is_meant = |spec: &DesiredVolume| {
        report.volumes.iter().any(|volume| {
            volume.name == *spec.name()
                && volume.observed_generation == spec.generation
                && volume.owner == spec.owner.to_string()
        })
    };
    let specs = stored.into_iter().filter(is_meant);
    let specs = specs.map(|spec| (spec.name().clone(), spec)).collect();
    Ok(Seen { report, specs })
}

/// What the daemon says; `None` if it is not to be asked, or not there.
async fn ask(
    config: &Config,
    source: &Source,
    specs: &[SpecText],
    io: &mut Io<'_>,
) -> anyhow::Result<Option<Report>> {
    if source.offline || !specs.is_empty() {
        return Ok(None);
    }
    match Client::new(&config.api.listen)?.report().await {
        Ok(report) => Ok(Some(report)),
        Err(error) if error.is_absence() && !source.online => {
            writeln!(
                io.err,
                "{error}; reading CloudStack, host and NBD server directly"
            )?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
