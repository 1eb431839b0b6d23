//! The daemon's way to the simulated CloudStack, without HTTP. Writes down every mutating
//! call, and checks what must hold at the moment it is sent.

use std::sync::{Arc, Mutex};

use volume_daemon::clock::{Clock, ManualClock};
use volume_daemon::cloudstack::{Method, Request, Response, Transport, TransportError};
use volume_daemon::model::Timestamp;
use volume_daemon::sim::{Delivery, Front, HttpRequest, SimTime};

use super::fuse::Fuse;

/// A mutating call that reached CloudStack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The command.
    pub command: &'static str,
    /// The volume it names, if any.
    pub volume: Option<uuid::Uuid>,
    /// The VM it names, if any.
    pub vm: Option<uuid::Uuid>,
    /// The HTTP status of its answer.
    pub status: u16,
    /// What was wrong with sending it.
    pub violation: Option<String>,
}

/// The transport.
#[derive(Clone)]
pub struct SimTransport {
    front: Arc<Mutex<Front>>,
    clock: Arc<ManualClock>,
    fuse: Arc<Fuse>,
    sent: Arc<Mutex<Vec<Mutation>>>,
}

impl SimTransport {
    pub fn new(front: Arc<Mutex<Front>>, clock: Arc<ManualClock>, fuse: Arc<Fuse>) -> Self {
        Self {
            front,
            clock,
            fuse,
            sent: Arc::default(),
        }
    }

    /// Every mutating call so far.
    pub fn sent(&self) -> Vec<Mutation> {
        self.sent.lock().expect("no holder panics").clone()
    }

    /// How many mutating calls there were so far.
    pub fn count(&self) -> usize {
        self.sent.lock().expect("no holder panics").len()
    }

    fn deliver(&self, request: &Request) -> Result<Response, TransportError> {
        let http = match request.method {
            Method::Get => HttpRequest::get(request.form.clone()),
            Method::Post => HttpRequest {
                method: "POST".to_owned(),
                query: String::new(),
                body: request.form.clone(),
            },
        };
        let now = SimTime::from_millis(self.clock.now().wall.as_millis());
        let mut front = self.front.lock().expect("no holder panics");
        let violation = violation(&front, request);
        let answer = front.handle(&http, now);
        drop(front);
        if is_mutating(request.command) {
            self.sent.lock().expect("no holder panics").push(Mutation {
                command: request.command,
                volume: param(&request.form, &["id", "resourceids"]),
                vm: param(&request.form, &["virtualmachineid"]),
                status: answer.status,
                violation,
            });
        }
        match answer.delivery {
            Delivery::Dropped(_) | Delivery::Delayed(_) => Err(TransportError::Unknown {
                why: "the connection was closed".to_owned(),
            }),
            Delivery::Delivered => Ok(Response {
                status: answer.status,
                date: date(&answer.headers),
                body: answer.body.into_bytes(),
            }),
        }
    }
}

impl Transport for SimTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        // Reading again costs nothing, so only mutating calls are worth dying at.
        let mutating = is_mutating(request.command);
        if mutating {
            self.fuse.moment().await;
        }
        let response = self.deliver(&request);
        if mutating {
            self.fuse.moment().await;
        }
        response
    }
}

fn is_mutating(command: &str) -> bool {
    !(command.starts_with("list") || command.starts_with("query"))
}

/// I1: nothing is submitted for a volume while a job on it is pending.
fn violation(front: &Front, request: &Request) -> Option<String> {
    if !is_mutating(request.command) {
        return None;
    }
    let id = param(&request.form, &["id", "resourceids"])?;
    let volume = front.world().find_volume(id)?;
    let job = front.world().job_on(volume)?;
    Some(format!(
        "I1: {} while job {} is pending",
        request.command, job.uuid
    ))
}

fn param(form: &str, names: &[&str]) -> Option<uuid::Uuid> {
    form.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        names.contains(&name).then(|| value.parse().ok())?
    })
}

fn date(headers: &[(&'static str, String)]) -> Option<Timestamp> {
    let (_, text) = headers.iter().find(|(name, _)| *name == "Date")?;
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(at.timestamp().as_millisecond()))
}
