//! The recorder: a proxy in front of any CloudStack that writes down what passes, scrubbed.
//!
//! A request goes on byte for byte, since its signature covers it, and so does its answer. What is
//! written never holds a credential, not even for a moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use reqwest::Url;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::sim::front::decoded;

use super::scrub::Scrubber;
use super::{Exchange, RecordingError, WHO_ASKS, files, write};

/// How long CloudStack may take: it waits for storage in `deleteVolume`.
const UPSTREAM_MAX: Duration = Duration::from_secs(600);

/// The most that is read of a request.
const REQUEST_BYTES_MAX: usize = 1_048_576;

/// Headers that go on to CloudStack and back. The rest is between two neighbours.
const PASSED_ON: [HeaderName; 6] = [
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::SET_COOKIE,
    header::USER_AGENT,
];

/// Headers of an answer that are written.
const WRITTEN: [&str; 2] = ["content-type", "x-description"];

/// What to record and where to.
#[derive(Debug, Clone)]
pub struct RecordConfig {
    /// The API of a CloudStack, as `https://cloud.example/client/api`.
    pub upstream: String,
    /// An empty directory, or none yet.
    pub directory: PathBuf,
    /// Whether addresses and names of hosts may be written.
    pub keep_addresses: bool,
}

/// A recorder that can be served.
#[derive(Debug)]
pub struct Recorder {
    upstream: Url,
    client: reqwest::Client,
    directory: PathBuf,
    begun: Instant,
    book: Mutex<Book>,
}

/// What changes from exchange to exchange.
#[derive(Debug)]
struct Book {
    scrubber: Scrubber,
    written: u32,
    failed: Option<RecordingError>,
}

impl Recorder {
    /// A recorder into an empty directory.
    ///
    /// # Errors
    /// If the directory has files or cannot be made, or the URL is none.
    pub fn new(config: &RecordConfig) -> Result<Arc<Self>, RecordingError> {
        let upstream = Url::parse(&config.upstream)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none())
            .ok_or(RecordingError::Upstream)?;
        prepare(&config.directory)?;
        // A second installation fails, and is not needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(UPSTREAM_MAX)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| RecordingError::Client(error.without_url()))?;
        Ok(Arc::new(Self {
            upstream,
            client,
            directory: config.directory.clone(),
            begun: now(),
            book: Mutex::new(Book {
                scrubber: Scrubber::new(config.keep_addresses),
                written: 0,
                failed: None,
            }),
        }))
    }

    /// Records until `stop` is ready; returns how many exchanges were written.
    ///
    /// # Errors
    /// If the socket fails, or an exchange could not be written.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<u32, RecordingError> {
        let service = Router::new()
            .fallback(pass_on)
            .with_state(Arc::clone(&self))
            .into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service)
            .with_graceful_shutdown(stop)
            .await
            .map_err(RecordingError::Socket)?;
        let mut book = self.book();
        match book.failed.take() {
            Some(error) => Err(error),
            None => Ok(book.written),
        }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Writes one exchange down. The client has its answer whether or not this works.
    fn note(&self, asked: &Asked, answer: &Answered) {
        let mut book = self.book();
        let sequence = book.written.saturating_add(1);
        let exchange = exchange(&mut book.scrubber, sequence, asked, answer);
        match write(&self.directory, &exchange) {
            Ok(()) => book.written = sequence,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an exchange could not be written"
                );
                book.failed = Some(error);
            }
        }
    }
}

/// A request that was passed on.
struct Asked {
    method: String,
    params: BTreeMap<String, String>,
    at: Duration,
}

/// Its answer.
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    took: Duration,
}

fn exchange(scrubber: &mut Scrubber, sequence: u32, asked: &Asked, answer: &Answered) -> Exchange {
    let given = || asked.params.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    scrubber.learn(given());
    let command = asked.params.get("command").cloned().unwrap_or_default();
    let body = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(body) => scrubber.body(body),
        Err(_) => Value::String(scrubber.text(&String::from_utf8_lossy(&answer.body))),
    };
    let params = given()
        .filter(|(name, _)| *name != "command" && !says_who_asks(name))
        .map(|(name, value)| (name.to_owned(), scrubber.value(name, value)))
        .collect();
    let headers = WRITTEN
        .iter()
        .filter_map(|name| {
            let value = answer.headers.get(*name)?.to_str().ok()?;
            Some(((*name).to_owned(), scrubber.text(value)))
        })
        .collect();
    Exchange {
        sequence,
        at_ms: millis(asked.at),
        took_ms: millis(answer.took),
        method: asked.method.clone(),
        command: scrubber.text(&command),
        params,
        status: answer.status,
        headers,
        body,
    }
}

pub(super) fn says_who_asks(name: &str) -> bool {
    WHO_ASKS.contains(&name.to_lowercase().as_str())
}

async fn pass_on(State(recorder): State<Arc<Recorder>>, request: Request) -> Response<Body> {
    let at = recorder.begun.elapsed();
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let query = parts.uri.query().unwrap_or_default();
    let asked = Asked {
        method: parts.method.to_string(),
        params: decoded(query, &String::from_utf8_lossy(&body)),
        at,
    };
    let mut url = recorder.upstream.clone();
    url.set_query(parts.uri.query());
    let sent = recorder
        .client
        .request(parts.method, url)
        .headers(passed_on(&parts.headers))
        .body(body)
        .send()
        .await;
    let received = match sent {
        Ok(response) => {
            let (status, headers) = (response.status(), response.headers().clone());
            response.bytes().await.map(|body| (status, headers, body))
        }
        Err(error) => Err(error),
    };
    match received {
        Ok((status, headers, body)) => {
            let answer = Answered {
                status: status.as_u16(),
                headers,
                body,
                took: recorder.begun.elapsed().saturating_sub(at),
            };
            recorder.note(&asked, &answer);
            let mut response = Response::new(Body::from(answer.body));
            *response.status_mut() = status;
            *response.headers_mut() = passed_on(&answer.headers);
            if let Some(text) = answer.headers.get("x-description") {
                let name = HeaderName::from_static("x-description");
                response.headers_mut().insert(name, text.clone());
            }
            response
        }
        Err(error) => {
            // The URL holds key and signature.
            let error = error.without_url();
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no answer of the upstream CloudStack; nothing is recorded"
            );
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| PASSED_ON.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn prepare(directory: &Path) -> Result<(), RecordingError> {
    std::fs::create_dir_all(directory).map_err(|source| RecordingError::Io {
        path: directory.to_owned(),
        source,
    })?;
    if files(directory)?.is_empty() {
        Ok(())
    } else {
        Err(RecordingError::NotEmpty(directory.to_owned()))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a recording holds how long a real CloudStack took"
)]
fn now() -> Instant {
    Instant::now()
}
