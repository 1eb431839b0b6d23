//! `/api/v1/approvals`: let steps pass that the guard holds back.
//!
//! Takes JSON only, which no page of another site can make a browser send unasked.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Shared, ask, no_store, problem, stopping};
use crate::cloudstack::Transport;
use crate::config::Span;
use crate::model::memory::Approved;
use crate::model::{Timestamp, VolumeName};
use crate::nbd::ExportServer;
use crate::reconcile::frozen;
use crate::reconcile::report::FrozenStatus;
use crate::reconcile::run::Question;

/// The longest time that an approval counts: whoever gives it looks at what follows.
const LONGEST: Duration = Duration::from_secs(3600);

/// Approves what is held back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// Of exactly these steps, as the report shows it.
    pub digest: String,
    /// How long they may take to begin; an hour at most.
    #[serde(rename = "for")]
    pub span: Span,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

/// What was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveAnswer {
    /// Which steps.
    pub steps: FrozenStatus,
    /// Until when they may begin.
    pub until: Timestamp,
}

pub(super) async fn approve<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    Json(request): Json<ApproveRequest>,
) -> Response {
    let Span(span) = request.span;
    if span.is_zero() || span > LONGEST {
        let text = "an approval counts for longer than nothing, and an hour at most".to_owned();
        return problem(StatusCode::BAD_REQUEST, "not possible", text);
    }
    let freeze = match ask(&shared.questions, Question::Frozen).await {
        Ok(freeze) => freeze.filter(|freeze| !freeze.steps.is_empty()),
        Err(response) => return response,
    };
    let Some(freeze) = freeze else {
        let text = "nothing is held back now".to_owned();
        return problem(StatusCode::CONFLICT, "nothing to approve", text);
    };
    if freeze.digest() != request.digest {
        let text = format!(
            "what is held back now is not what {} stood for: look at it again",
            request.digest
        );
        return problem(StatusCode::CONFLICT, "the world moved", text);
    }
    let now = shared.hands.clock.now();
    let until = now.wall.plus(span);
    let stored = shared
        .hands
        .store
        .approve(&freeze.digest(), &freeze.steps, until, &request.reason)
        .await;
    if let Err(error) = stored {
        return no_store(&error);
    }
    let answer = ApproveAnswer {
        steps: frozen(&freeze),
        until,
    };
    let approved: BTreeMap<VolumeName, Approved> = freeze
        .steps
        .into_iter()
        .map(|(name, action)| {
            let until = now.boot.plus(span);
            (name, Approved { action, until })
        })
        .collect();
    match shared.questions.send(Question::Approve(approved)).await {
        Ok(()) => Json(answer).into_response(),
        Err(_) => stopping(),
    }
}
