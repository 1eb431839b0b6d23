//! `/control/…`: JSON for whoever runs the experiment. No credentials: loopback only.
//!
//! `GET world`, `GET|POST|DELETE faults`, `POST clock/advance {"ms":N}`, `POST operations`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::sim::control::Operation;
use crate::sim::fault::Fault;

use super::{Shared, SimError};

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/world", get(dump))
        .route(
            "/faults",
            get(list_faults).post(arm_fault).delete(clear_faults),
        )
        .route("/clock/advance", post(advance_clock))
        .route("/operations", post(operate))
}

async fn dump(State(shared): State<Arc<Shared>>) -> Response<Body> {
    answer(shared.with(|front| serde_json::to_value(front.world().dump()).unwrap_or_default()))
}

async fn list_faults(State(shared): State<Arc<Shared>>) -> Response<Body> {
    answer(shared.with(|front| front.armed_faults().to_vec()))
}

async fn arm_fault(State(shared): State<Arc<Shared>>, Json(fault): Json<Fault>) -> Response<Body> {
    answer(shared.with(|front| {
        front.inject(fault);
        front.armed_faults().to_vec()
    }))
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> Response<Body> {
    answer(shared.with(|front| {
        front.clear_faults();
        front.armed_faults().to_vec()
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

fn answer(result: Result<impl Serialize, SimError>) -> Response<Body> {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => failure(&error),
    }
}

pub(super) fn failure(error: &SimError) -> Response<Body> {
    let status = match error {
        SimError::Refused(_) | SimError::RealClock => StatusCode::CONFLICT,
        SimError::Socket(_) | SimError::Host(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    (status, Json(serde_json::json!({ "error": text }))).into_response()
}
