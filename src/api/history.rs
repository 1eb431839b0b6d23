//! `/api/v1/episodes`, `/api/v1/history` and `/api/v1/plans`: what differed, what happened, and what
//! was planned, from the store.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Shared, no_store};
use crate::cloudstack::Transport;
use crate::model::{Timestamp, VolumeName};
use crate::nbd::ExportServer;
use crate::reconcile::report::VolumeStatus;
use crate::store::EpisodeFilter;

/// The most episodes in one answer.
pub const EPISODES_MAX: u32 = 20_000;

/// Which episodes are wanted; everything that is left out is not asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    name: Option<VolumeName>,
    since: Option<Timestamp>,
    limit: Option<u32>,
}

pub(super) async fn episodes<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    Query(which): Query<Which>,
) -> Response {
    let filter = EpisodeFilter {
        name: which.name,
        since: which.since,
        limit: which.limit.unwrap_or(EPISODES_MAX).min(EPISODES_MAX),
    };
    match shared.hands.store.episodes(&filter).await {
        Ok(episodes) => Json(episodes).into_response(),
        Err(error) => no_store(&error),
    }
}

/// Of which volume.
#[derive(Debug, Deserialize)]
pub(super) struct Of {
    name: VolumeName,
}

pub(super) async fn history<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    Query(of): Query<Of>,
) -> Response {
    match shared.hands.store.history(&of.name).await {
        Ok(history) => Json(history).into_response(),
        Err(error) => no_store(&error),
    }
}

/// When.
#[derive(Debug, Deserialize)]
pub(super) struct When {
    at: Timestamp,
}

/// How a volume stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// Since when.
    pub since: Timestamp,
    /// How, without what only passes.
    pub volume: VolumeStatus,
}

pub(super) async fn plans<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    Query(When { at }): Query<When>,
) -> Response {
    match shared.hands.store.plans_at(at).await {
        Ok(plans) => Json(planned(plans)).into_response(),
        Err(error) => no_store(&error),
    }
}

/// What the store holds, as far as it can be understood: an older version may have noted it.
pub fn planned(plans: Vec<(Timestamp, serde_json::Value)>) -> Vec<Planned> {
    let planned = |(since, status)| {
        let volume = serde_json::from_value(status).ok()?;
        Some(Planned { since, volume })
    };
    plans.into_iter().filter_map(planned).collect()
}
