//! The HTTP interface: shows what the loop knows, pauses it, and lets pass what it holds back.
//!
//! Listens on loopback or a unix socket only; the configuration refuses anything else.

pub mod approve;
pub mod history;
pub mod owner;
pub mod pause;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::act::Hands;
use crate::cloudstack::Transport;
use crate::config::Address;
use crate::model::observed::ServedExport;
use crate::model::{ExportName, Reading, VolumeName};
use crate::nbd::ExportServer;
use crate::reconcile::run::Question;
use crate::reconcile::specs::HandOver;
use crate::store::{IntentFilter, StoreError};
use crate::telemetry::chain;

/// What requests are answered from.
struct Shared<T, E> {
    questions: mpsc::Sender<Question>,
    specs: mpsc::Sender<HandOver>,
    hands: Arc<Hands<T, E>>,
}

impl<T, E> Clone for Shared<T, E> {
    fn clone(&self) -> Self {
        Self {
            questions: self.questions.clone(),
            specs: self.specs.clone(),
            hands: Arc::clone(&self.hands),
        }
    }
}

/// An error in the shape of RFC 9457, with the member `error` that old clients read.
#[derive(Debug, Serialize)]
struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
    error: String,
}

fn problem(status: StatusCode, title: &'static str, detail: String) -> Response {
    let body = Problem {
        title,
        status: status.as_u16(),
        error: detail.clone(),
        detail,
    };
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(
        axum::http::header::CONTENT_TYPE,
        axum::http::HeaderValue::from_static("application/problem+json"),
    );
    response
}

/// An open listener.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Listens at `address`. A socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// If the address is in use, or not allowed.
    pub async fn bind(address: &Address) -> std::io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Address::Unix(path) => {
                let dead = match tokio::net::UnixStream::connect(path).await {
                    Ok(_) => return Err(std::io::ErrorKind::AddrInUse.into()),
                    Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
                };
                if dead {
                    std::fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                // What the API shows is for the daemon's own user and group.
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o660);
                std::fs::set_permissions(path, mode)?;
                Ok(Self::Unix(listener))
            }
        }
    }
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// If the listener breaks.
pub async fn serve<T, E>(
    listener: Listener,
    questions: mpsc::Sender<Question>,
    specs: mpsc::Sender<HandOver>,
    hands: Arc<Hands<T, E>>,
    stop: CancellationToken,
) -> std::io::Result<()>
where
    T: Transport + 'static,
    E: ExportServer + 'static,
{
    let router = router(Shared {
        questions,
        specs,
        hands,
    });
    let stopped = async move { stop.cancelled().await };
    match listener {
        Listener::Tcp(listener) => {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        }
        Listener::Unix(listener) => {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        }
    }
}

fn router<T, E>(shared: Shared<T, E>) -> Router
where
    T: Transport + 'static,
    E: ExportServer + 'static,
{
    Router::new()
        .route("/livez", get(livez::<T, E>))
        .route("/readyz", get(readyz::<T, E>))
        .route("/api/v1/status", get(status::<T, E>))
        .route("/api/v1/intents", get(intents::<T, E>))
        .route("/api/v1/served", get(served::<T, E>))
        .route("/api/v1/episodes", get(history::episodes::<T, E>))
        .route("/api/v1/history", get(history::history::<T, E>))
        .route("/api/v1/plans", get(history::plans::<T, E>))
        .route(
            "/api/v1/pause",
            post(pause::pause::<T, E>).delete(pause::resume::<T, E>),
        )
        .route("/api/v1/owner", post(owner::hand_over::<T, E>))
        .route("/api/v1/approvals", post(approve::approve::<T, E>))
        .fallback(|| async {
            problem(
                StatusCode::NOT_FOUND,
                "not found",
                "there is nothing here; try /api/v1/status".to_owned(),
            )
        })
        .with_state(shared)
}

/// Asks the loop; `Err` is the answer for a loop that does not.
async fn ask<A>(
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<A>) -> Question,
) -> Result<A, Response> {
    let (to, from) = oneshot::channel();
    questions.send(question(to)).await.map_err(|_| stopping())?;
    from.await.map_err(|_| stopping())
}

fn no_store(error: &StoreError) -> Response {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "store unavailable",
        chain(error),
    )
}

fn stopping() -> Response {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "the daemon is stopping".to_owned(),
    )
}

/// Alive: the loop answers.
async fn livez<T, E>(State(shared): State<Shared<T, E>>) -> Response {
    match ask(&shared.questions, Question::Health).await {
        Ok(_) => "ok\n".into_response(),
        Err(response) => response,
    }
}

/// Ready: everything can be seen, and the journal written.
async fn readyz<T, E>(State(shared): State<Shared<T, E>>) -> Response {
    match ask(&shared.questions, Question::Health).await {
        Ok(health) if health.missing.is_empty() => "ok\n".into_response(),
        Ok(health) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready",
            health.missing.join("; "),
        ),
        Err(response) => response,
    }
}

async fn status<T, E>(State(shared): State<Shared<T, E>>) -> Response {
    match ask(&shared.questions, Question::Report).await {
        Ok(report) => axum::Json(report).into_response(),
        Err(response) => response,
    }
}

/// What the NBD server serves, as the daemon last saw it. Its control socket has room for one, so
/// whoever else wants to know asks here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// How long ago it was asked, in milliseconds.
    pub age_ms: u64,
    /// What it serves.
    pub exports: BTreeMap<ExportName, ServedExport>,
}

async fn served<T, E>(State(shared): State<Shared<T, E>>) -> Response {
    let view = match ask(&shared.questions, Question::Served).await {
        Ok(view) => view,
        Err(response) => return response,
    };
    let age = shared.hands.clock.now().boot.since(view.begun);
    match view.exports {
        Reading::Present(exports) => axum::Json(Served {
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            exports,
        })
        .into_response(),
        Reading::Absent => no_server("it serves nothing that can be listed".to_owned()),
        Reading::Unknown(why) => no_server(why),
    }
}

fn no_server(why: String) -> Response {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "NBD server unavailable",
        why,
    )
}

#[derive(Debug, Deserialize)]
struct IntentQuery {
    name: Option<VolumeName>,
    #[serde(default)]
    open: bool,
    limit: Option<u32>,
}

/// Rows of the journal returned unless asked otherwise, and at most.
const INTENTS_DEFAULT: u32 = 50;
const INTENTS_MAX: u32 = 1000;

async fn intents<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    Query(query): Query<IntentQuery>,
) -> Response {
    let filter = IntentFilter {
        name: query.name,
        open_only: query.open,
        limit: query.limit.unwrap_or(INTENTS_DEFAULT).min(INTENTS_MAX),
    };
    match shared.hands.store.intents(filter).await {
        Ok(rows) => axum::Json(rows).into_response(),
        Err(error) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "store unavailable",
            chain(&error),
        ),
    }
}

#[cfg(test)]
mod tests;
