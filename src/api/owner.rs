//! `/api/v1/owner`: let a spec belong to another writer.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Shared, no_store, problem, stopping};
use crate::cloudstack::Transport;
use crate::model::{Owner, VolumeName};
use crate::nbd::ExportServer;
use crate::reconcile::specs::{Ask, OwnError};
use crate::source::NotHandedOver;

/// Asks for a spec to belong to another writer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnRequest {
    /// Which spec.
    pub volume: VolumeName,
    /// Whose it is to be: `file:` and its path, `db:` and the writer of its row, or `api`.
    pub to: Owner,
}

/// Whose a spec is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owned {
    /// Which spec.
    pub volume: VolumeName,
    /// Whose it is.
    pub owner: Owner,
    /// Whether it was somebody else's before.
    pub handed_over: bool,
}

pub(super) async fn hand_over<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    Json(OwnRequest { volume, to }): Json<OwnRequest>,
) -> Response {
    let (answer, done) = oneshot::channel();
    let ask = Ask::HandOver {
        name: volume.clone(),
        to: to.clone(),
        answer,
    };
    if shared.specs.send(ask).await.is_err() {
        return stopping();
    }
    match done.await {
        Ok(Ok(handed_over)) => Json(Owned {
            volume,
            owner: to,
            handed_over,
        })
        .into_response(),
        Ok(Err(OwnError::NotHandedOver(why))) => {
            let status = match why {
                NotHandedOver::NoSpec(_) => StatusCode::NOT_FOUND,
                NotHandedOver::Abandoned(_)
                | NotHandedOver::NotWritten { .. }
                | NotHandedOver::Differs { .. } => StatusCode::CONFLICT,
            };
            problem(status, "not handed over", why.to_string())
        }
        Ok(Err(OwnError::Store(error))) => no_store(&error),
        Err(_) => stopping(),
    }
}
