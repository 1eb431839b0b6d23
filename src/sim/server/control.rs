//! `/control/…`: JSON for whoever runs the experiment. No credentials: loopback only.
//!
//! `GET world`, `GET|POST|DELETE faults`, `DELETE faults/ID`, `POST clock/advance {"ms":N}`,
//! `POST operations`, `GET|PUT state`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::sim::control::Operation;
use crate::sim::fault::{Count, Fault};
use crate::sim::front::Front;
use crate::sim::state;

use super::{Shared, SimError};

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/world", get(dump))
        .route(
            "/faults",
            get(list_faults).post(arm_fault).delete(clear_faults),
        )
        .route("/faults/{id}", delete(disarm_fault))
        .route("/clock/advance", post(advance_clock))
        .route("/operations", post(operate))
        .route(
            "/state",
            get(save).put(restore).layer(DefaultBodyLimit::disable()),
        )
}

async fn dump(State(shared): State<Arc<Shared>>) -> Response<Body> {
    json_text(shared.with(|front| {
        let dump = front.world().dump();
        serde_json::to_string_pretty(&dump).expect("views have string keys")
    }))
}

/// A fault as the list shows it.
#[derive(Debug, Serialize)]
struct FaultView {
    id: u64,
    hits: u64,
    remaining: Count,
    #[serde(flatten)]
    fault: Fault,
}

fn fault_list(front: &Front) -> Vec<FaultView> {
    front
        .faults()
        .map(|armed| FaultView {
            id: armed.id,
            hits: armed.hits,
            remaining: armed.remaining,
            fault: armed.fault.clone(),
        })
        .collect()
}

async fn list_faults(State(shared): State<Arc<Shared>>) -> Response<Body> {
    answer(shared.with(|front| fault_list(front)))
}

async fn arm_fault(State(shared): State<Arc<Shared>>, Json(fault): Json<Fault>) -> Response<Body> {
    answer(shared.with(|front| {
        front.inject(fault);
        fault_list(front)
    }))
}

async fn disarm_fault(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response<Body> {
    match shared.with(|front| (front.disarm(id), fault_list(front))) {
        Ok((false, _)) => {
            let text = format!("there is no fault {id}");
            (
                StatusCode::NOT_FOUND,
                Json(serde_json::json!({ "error": text })),
            )
                .into_response()
        }
        Ok((true, left)) => answer(Ok(left)),
        Err(error) => failure(&error),
    }
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> Response<Body> {
    answer(shared.with(|front| {
        front.clear_faults();
        fault_list(front)
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    ms: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Clock {
    now: String,
    now_ms: i64,
}

async fn advance_clock(
    State(shared): State<Arc<Shared>>,
    Json(by): Json<Advance>,
) -> Response<Body> {
    answer(shared.advance_explicit(by.ms).map(|now| Clock {
        now: now.to_string(),
        now_ms: now.as_millis(),
    }))
}

async fn operate(
    State(shared): State<Arc<Shared>>,
    Json(operation): Json<Operation>,
) -> Response<Body> {
    answer(shared.operate(&operation))
}

async fn save(State(shared): State<Arc<Shared>>) -> Response<Body> {
    json_text(shared.with(|front| state::save(front)))
}

async fn restore(State(shared): State<Arc<Shared>>, text: String) -> Response<Body> {
    match state::restore(&text) {
        Ok(front) => answer(shared.restore(front).map(|()| serde_json::json!({}))),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, told(&error)).into_response(),
    }
}

/// A whole world, written straight to text: as a tree it would be many times as large.
fn json_text(result: Result<String, SimError>) -> Response<Body> {
    match result {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => failure(&error),
    }
}

fn answer(result: Result<impl Serialize, SimError>) -> Response<Body> {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => failure(&error),
    }
}

pub(super) fn failure(error: &SimError) -> Response<Body> {
    let status = match error {
        SimError::Refused(_) | SimError::RealClock | SimError::Future(_) => StatusCode::CONFLICT,
        SimError::Socket(_)
        | SimError::Hypervisor { .. }
        | SimError::Host(_)
        | SimError::Keep(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, told(error)).into_response()
}

/// An error with all its causes.
fn told(error: &dyn std::error::Error) -> Json<serde_json::Value> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    Json(serde_json::json!({ "error": text }))
}
