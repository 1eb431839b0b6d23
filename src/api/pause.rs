//! `/api/v1/pause`: leave a spec, or everything, alone for a while.
//!
//! Takes JSON only, which no page of another site can make a browser send unasked.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Shared, no_store, problem, stopping};
use crate::cloudstack::Transport;
use crate::config::Span;
use crate::model::memory::Pause;
use crate::model::{Timestamp, VolumeName};
use crate::nbd::ExportServer;
use crate::reconcile::run::Question;

/// The longest pause: what is to rest for longer says so in its spec.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Asks for a pause.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Which spec; everything if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeName>,
    /// For how long; at most a week.
    #[serde(rename = "for")]
    pub span: Span,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

/// A pause in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Which spec; `null`: everything.
    pub volume: Option<VolumeName>,
    /// When it ends.
    pub until: Timestamp,
}

/// Which pause is meant.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    volume: Option<VolumeName>,
}

pub(super) async fn pause<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    Json(request): Json<PauseRequest>,
) -> Response {
    let Span(span) = request.span;
    if span.is_zero() || span > LONGEST {
        let text = "a pause is longer than nothing, and a week at most; for more, write \
                    suspend: true into the spec";
        return problem(StatusCode::BAD_REQUEST, "not possible", text.to_owned());
    }
    let now = shared.hands.clock.now();
    let until = now.wall.plus(span);
    let name = request.volume;
    let stored = shared
        .hands
        .store
        .pause(name.as_ref(), until, &request.reason)
        .await;
    match stored {
        Ok(true) => {}
        Ok(false) => {
            let text = format!(
                "there is no spec {}",
                name.as_ref().map_or("", VolumeName::as_str)
            );
            return problem(StatusCode::NOT_FOUND, "not found", text);
        }
        Err(error) => return no_store(&error),
    }
    let pause = Pause {
        until: now.boot.plus(span),
        reason: request.reason,
    };
    let question = Question::Pause(name.clone(), Some(pause));
    match shared.questions.send(question).await {
        Ok(()) => Json(Paused {
            volume: name,
            until,
        })
        .into_response(),
        Err(_) => stopping(),
    }
}

pub(super) async fn resume<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    Query(Which { volume }): Query<Which>,
) -> Response {
    match shared.hands.store.resume(volume.as_ref()).await {
        Ok(true) => {}
        Ok(false) => {
            let what = volume.as_ref().map_or("everything", VolumeName::as_str);
            let text = format!("no pause is in force for {what}");
            return problem(StatusCode::NOT_FOUND, "not found", text);
        }
        Err(error) => return no_store(&error),
    }
    match shared.questions.send(Question::Pause(volume, None)).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => stopping(),
    }
}
