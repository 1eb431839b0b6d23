//! `/api/v1/specs`: the API as a writer of specs, and every spec that is stored, whoever wrote it.
//!
//! Takes JSON and YAML only, which no page of another site can make a browser send unasked.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Shared, no_store, problem, problem_of_spec, stopping};
use crate::cloudstack::Transport;
use crate::model::desired::Generation;
use crate::model::{AcceptedDocument, DesiredVolume, Owner, VolumeName};
use crate::nbd::ExportServer;
use crate::reconcile::specs::{Ask, Done, SpecError};
use crate::source::Refused;
use crate::spec::{self, Problems};

/// What a call did to a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecAnswer {
    /// Which spec.
    pub name: VolumeName,
    /// Whose it is.
    pub owner: Owner,
    /// The version that is stored now.
    pub generation: Generation,
    /// What was done.
    pub result: Done,
}

/// What must be so for a spec to be put.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Precondition {
    /// The generation that is stored now; 0: none of that name.
    generation: Option<Generation>,
}

/// A name in a path.
type Name = Result<Path<VolumeName>, PathRejection>;

pub(super) async fn all<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
) -> Response {
    match shared.hands.store.specs(None).await {
        Ok(specs) => Json(specs).into_response(),
        Err(error) => no_store(&error),
    }
}

pub(super) async fn one<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    name: Name,
) -> Response {
    let name = match name {
        Ok(Path(name)) => name,
        Err(rejected) => return no_name(&rejected),
    };
    match shared.hands.store.specs(Some(&name)).await {
        Ok(mut specs) => match specs.pop() {
            Some(spec) => Json(spec).into_response(),
            None => refused(&Refused::NoSpec(name)),
        },
        Err(error) => no_store(&error),
    }
}

pub(super) async fn put<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    name: Name,
    Query(Precondition { generation }): Query<Precondition>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (name, body) = match (name, body) {
        (Ok(Path(name)), Ok(body)) => (name, body),
        (Err(rejected), _) => return no_name(&rejected),
        (_, Err(rejected)) => return problem(rejected.status(), "no body", rejected.body_text()),
    };
    let document = match Language::of(&headers).map(|language| language.read(&name, &body)) {
        Some(Ok(document)) => document,
        Some(Err(why)) => return why.into_response(),
        None => {
            let text = "a spec is application/json or application/yaml".to_owned();
            return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "neither", text);
        }
    };
    let put = |answer| Ask::Put {
        document: Box::new(document),
        expected: generation,
        answer,
    };
    ask(&shared, put).await
}

pub(super) async fn delete<T: Transport, E: ExportServer>(
    State(shared): State<Shared<T, E>>,
    name: Name,
) -> Response {
    match name {
        Ok(Path(name)) => ask(&shared, |answer| Ask::Delete { name, answer }).await,
        Err(rejected) => no_name(&rejected),
    }
}

async fn ask<T, E>(
    shared: &Shared<T, E>,
    ask: impl FnOnce(oneshot::Sender<Result<(Done, DesiredVolume), SpecError>>) -> Ask,
) -> Response {
    let (answer, done) = oneshot::channel();
    if shared.specs.send(ask(answer)).await.is_err() {
        return stopping();
    }
    match done.await {
        Ok(Ok((result, spec))) => {
            let status = match result {
                Done::Created => StatusCode::CREATED,
                Done::Changed | Done::Deleted | Done::Unchanged => StatusCode::OK,
            };
            let answer = SpecAnswer {
                name: spec.name().clone(),
                owner: spec.owner,
                generation: spec.generation,
                result,
            };
            (status, Json(answer)).into_response()
        }
        Ok(Err(SpecError::Refused(why))) => refused(&why),
        Ok(Err(why @ SpecError::Unreadable { .. })) => {
            problem(StatusCode::CONFLICT, "not replaced", why.to_string())
        }
        Ok(Err(SpecError::Store(error))) => no_store(&error),
        Err(_) => stopping(),
    }
}

fn refused(why: &Refused) -> Response {
    let (status, title) = match why {
        Refused::NoSpec(_) => (StatusCode::NOT_FOUND, "not found"),
        Refused::Owned { .. } => (StatusCode::CONFLICT, "owned by somebody else"),
        Refused::Moved { .. } => (StatusCode::CONFLICT, "another generation"),
    };
    problem(status, title, why.to_string())
}

fn no_name(rejected: &PathRejection) -> Response {
    problem(rejected.status(), "no name", rejected.body_text())
}

/// What a spec is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Json,
    Yaml,
}

impl Language {
    /// The one that is declared; `None`: another.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let declared = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let essence = declared.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            // RFC 9512, and what it was before.
            "application/yaml" | "application/x-yaml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// The one document in `body`, which must be of this name.
    fn read(self, name: &VolumeName, body: &[u8]) -> Result<AcceptedDocument, NoSpec> {
        let (document, manifest) = match self {
            Self::Json => {
                let manifest = serde_json::from_slice(body)?;
                (spec::from_manifest(&manifest)?, manifest)
            }
            Self::Yaml => {
                let parsed = spec::parse("body", body)?;
                let many = parsed.len();
                let [parsed] = <[_; 1]>::try_from(parsed).map_err(|_| NoSpec::Many(many))?;
                (parsed.document, parsed.manifest)
            }
        };
        if document.name != *name {
            return Err(NoSpec::Name {
                found: document.name,
                expected: name.clone(),
            });
        }
        Ok(AcceptedDocument {
            document,
            manifest,
            owner: Owner::Api,
        })
    }
}

/// Why a body is not the spec that the path names.
#[derive(Debug, thiserror::Error)]
enum NoSpec {
    #[error("it is no JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error(transparent)]
    Invalid(#[from] Problems),
    #[error("the body has {0} documents: put each under its own name")]
    Many(usize),
    #[error("metadata.name is {found}, and the path says {expected}")]
    Name {
        found: VolumeName,
        expected: VolumeName,
    },
}

impl IntoResponse for NoSpec {
    fn into_response(self) -> Response {
        let (status, problems) = match &self {
            Self::NotJson(_) => (StatusCode::BAD_REQUEST, None),
            Self::Invalid(problems) => (StatusCode::UNPROCESSABLE_ENTITY, Some(problems)),
            Self::Many(_) | Self::Name { .. } => (StatusCode::UNPROCESSABLE_ENTITY, None),
        };
        problem_of_spec(status, "not valid", self.to_string(), problems)
    }
}
