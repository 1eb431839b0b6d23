//! How requests get to CloudStack: a trait, because tests need a fake, and the one over HTTP.
//!
//! Owns connections, time limits, and our own limits on how often and how much we ask. It never
//! repeats a request, never follows a redirect, and knows for each failure whether the request can
//! have arrived.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::header::{CONTENT_TYPE, DATE};
use reqwest::{Certificate, Url};
use tokio::sync::Semaphore;

use crate::clock::Deadline;
use crate::model::Timestamp;

/// Carries one request and brings its answer.
pub trait Transport: Send + Sync {
    /// Sends `request` once.
    ///
    /// # Errors
    /// [`TransportError::NotSent`] only where CloudStack certainly has not seen it.
    fn send(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, TransportError>> + Send;
}

/// HTTP methods that CloudStack implements (`ApiServlet.java`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// For reads: parameters in the query.
    Get,
    /// For everything else, and for reads that do not fit a header: parameters in the body.
    Post,
}

/// One signed request.
#[derive(Clone)]
pub struct Request {
    /// How to send it.
    pub method: Method,
    /// Its command, for messages.
    pub command: &'static str,
    /// Its encoded parameters, the signature among them: the query of a GET, the body of a POST.
    pub form: String,
    /// When it may be sent at the latest.
    pub deadline: Deadline,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = self
            .form
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name @ ("apikey" | "signature"), _)) => format!("{name}=***"),
                _ => pair.to_owned(),
            })
            .collect::<Vec<_>>();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("command", &self.command)
            .field("form", &form.join("&"))
            .finish()
    }
}

/// A complete answer, whatever it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The `Date` header: the server's clock, in whole seconds.
    pub date: Option<Timestamp>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection was made: CloudStack has not seen the request.
    #[error("no connection: {why}")]
    NotSent {
        /// What happened.
        why: String,
    },
    /// A connection was there: CloudStack may have seen the request, and may be acting on it.
    #[error("no complete answer: {why}")]
    Unknown {
        /// What happened.
        why: String,
    },
}

impl TransportError {
    /// A request whose deadline has passed.
    pub(super) fn too_late() -> Self {
        Self::NotSent {
            why: "it was not sent in time: another daemon may have taken over the store".to_owned(),
        }
    }
}

/// How to reach CloudStack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The endpoint, for instance `https://cloud.example/client/api`.
    pub url: String,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long one exchange may take in all. `createVolume` does its work before it answers.
    pub timeout: Duration,
    /// Requests under way at once; at least one.
    pub concurrency: usize,
    /// Requests begun in one second.
    pub rate_per_second: NonZeroU32,
}

/// Why a client for HTTP cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpConfigError {
    /// Not an endpoint. The text is not repeated: it may hold a password.
    #[error("the CloudStack URL must be like https://cloud.example/client/api: {why}")]
    Url {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The authorities' file cannot be read.
    #[error("cannot read the CA file {}", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The authorities' file has no usable certificate.
    #[error("the CA file {} holds no PEM certificate", path.display())]
    CaContent {
        /// Which file.
        path: PathBuf,
    },
    /// The HTTP client refuses its settings.
    #[error("cannot set up the HTTP client: {why}")]
    Client {
        /// Its words.
        why: String,
    },
}

/// The largest answer that is read. A page of 500 volumes as an administrator sees them has about 1 MiB.
const BODY_MAX: usize = 16 << 20;

/// Idle connections are dropped before the server does so after 30 s (`ServerDaemon.java`): a request
/// that crosses that close would end with its outcome unknown.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Requests over HTTP.
#[derive(Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    url: Url,
    permits: Arc<Semaphore>,
    rate: Arc<DefaultDirectRateLimiter>,
    body_max: usize,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl HttpTransport {
    /// A transport that makes its first connection with the first request.
    ///
    /// # Errors
    /// When the URL or the CA file is not usable.
    pub fn new(config: &HttpConfig) -> Result<Self, HttpConfigError> {
        // A second installation fails, and is not needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("volume-daemon/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .pool_idle_timeout(IDLE_MAX)
            // Nothing may be sent twice, nor anywhere else: outcomes would be wrong, and a redirect
            // would carry the signed request to another host.
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            // A daemon's way to its cloud does not depend on who started it.
            .no_proxy();
        if let Some(path) = &config.ca_file {
            builder = builder.tls_certs_only(authorities(path)?);
        }
        let client = builder.build().map_err(|error| HttpConfigError::Client {
            why: chain(&error.without_url()),
        })?;
        Ok(Self {
            client,
            url: endpoint(&config.url)?,
            permits: Arc::new(Semaphore::new(config.concurrency.max(1))),
            rate: Arc::new(RateLimiter::direct(Quota::per_second(
                config.rate_per_second,
            ))),
            body_max: BODY_MAX,
        })
    }

    async fn exchange(&self, request: Request) -> Result<Response, reqwest::Error> {
        let mut response = match request.method {
            Method::Get => {
                let mut url = self.url.clone();
                url.set_query(Some(&request.form));
                self.client.get(url)
            }
            Method::Post => self
                .client
                .post(self.url.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(request.form),
        }
        .send()
        .await?;
        let status = response.status().as_u16();
        let date = response
            .headers()
            .get(DATE)
            .and_then(|date| parse_date(date.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            // One byte too many is enough to be seen by the caller; the rest is not read.
            body.extend_from_slice(&chunk);
            if body.len() > self.body_max {
                break;
            }
        }
        Ok(Response { status, date, body })
    }
}

impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("this semaphore is never closed");
        self.rate.until_ready().await;
        // Only now: others may have kept it waiting.
        if request.deadline.has_passed() {
            return Err(TransportError::too_late());
        }
        match self.exchange(request).await {
            Ok(response) if response.body.len() > self.body_max => Err(TransportError::Unknown {
                why: format!("the answer is larger than {} bytes", self.body_max),
            }),
            Ok(response) => Ok(response),
            Err(error) => {
                // Connecting includes the look-up of the name and the TLS handshake.
                let not_sent = error.is_connect() || error.is_builder();
                // The URL of a GET holds key and signature.
                let why = chain(&error.without_url());
                Err(if not_sent {
                    TransportError::NotSent { why }
                } else {
                    TransportError::Unknown { why }
                })
            }
        }
    }
}

fn endpoint(text: &str) -> Result<Url, HttpConfigError> {
    let refuse = |why| Err(HttpConfigError::Url { why });
    let Ok(url) = Url::parse(text) else {
        return refuse("this is not a URL");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("it must begin with http:// or https://");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("it must not have a query or a fragment");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it must not have a user name or password");
    }
    Ok(url)
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, HttpConfigError> {
    let pem = std::fs::read(path).map_err(|source| HttpConfigError::CaFile {
        path: path.to_owned(),
        source,
    })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(HttpConfigError::CaContent {
            path: path.to_owned(),
        }),
    }
}

/// Reads the `Date` header (RFC 9110, section 5.6.7), which is RFC 2822 with `GMT`.
fn parse_date(text: &str) -> Option<Timestamp> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(at.timestamp().as_millisecond()))
}

/// The text of an error and of everything below it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text.push_str(": ");
        text.push_str(&error.to_string());
        below = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
