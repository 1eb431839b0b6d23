//! Answers with recorded exchanges: those of the same command and parameters, in order, the last
//! of them again and again, as a client goes on polling. Signatures are not looked at: the secret
//! keys are not in a recording.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::any;
use serde_json::json;
use tokio::net::TcpListener;

use crate::sim::front::decoded;

use super::proxy::says_who_asks;
use super::{Exchange, RecordingError};

/// The most of a form that is read.
const FORM_BYTES_MAX: usize = 1_048_576;

/// A command and its parameters, without what changes from client to client.
type Question = (String, BTreeMap<String, String>);

/// Answers that were recorded.
#[derive(Debug, Clone)]
pub struct Replay(BTreeMap<Question, VecDeque<Exchange>>);

impl Replay {
    /// What answers with these.
    pub fn new(exchanges: Vec<Exchange>) -> Self {
        let mut answers: BTreeMap<Question, VecDeque<Exchange>> = BTreeMap::new();
        for exchange in exchanges {
            let question = question(&exchange.command, &exchange.params);
            answers.entry(question).or_default().push_back(exchange);
        }
        Self(answers)
    }

    /// The next answer to this request, if one was recorded.
    pub fn answer(&mut self, params: &BTreeMap<String, String>) -> Option<Exchange> {
        let command = params.get("command").map_or("", String::as_str);
        let answers = self.0.get_mut(&question(command, params))?;
        if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        }
    }
}

fn question(command: &str, params: &BTreeMap<String, String>) -> Question {
    let params = params
        .iter()
        .filter(|(name, _)| *name != "command" && !says_who_asks(name))
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect();
    (command.to_owned(), params)
}

/// Replays until `stop` is ready.
///
/// # Errors
/// If the socket fails.
pub async fn serve(
    listener: TcpListener,
    replay: Replay,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RecordingError> {
    let service = Router::new()
        .route("/client/api", any(answer))
        .with_state(Arc::new(Mutex::new(replay)));
    axum::serve(listener, service)
        .with_graceful_shutdown(stop)
        .await
        .map_err(RecordingError::Socket)
}

async fn answer(State(replay): State<Arc<Mutex<Replay>>>, request: Request) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let Ok(body) = axum::body::to_bytes(request.into_body(), FORM_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let params = decoded(&query, &String::from_utf8_lossy(&body));
    let found = replay
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .answer(&params);
    match found {
        Some(exchange) => recorded(&exchange),
        None => unknown(),
    }
}

fn recorded(exchange: &Exchange) -> Response<Body> {
    let body = match &exchange.body {
        serde_json::Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(exchange.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &exchange.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// No CloudStack says this, so that nobody takes it for a recorded answer.
fn unknown() -> Response<Body> {
    let text = "The recording has no request with this command and these parameters";
    let body = json!({"errorresponse": {
        "uuidList": [], "errorcode": 432, "cserrorcode": 9999, "errortext": text
    }});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(432).expect("432 has three digits");
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    response
        .headers_mut()
        .insert(axum::http::header::CONTENT_TYPE, json);
    response
}
