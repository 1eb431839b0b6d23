//! The daemon's way to the simulated CloudStack, without HTTP. Writes down every mutating
//! call, and checks what must hold at the moment it is sent.

use std::sync::{Arc, Mutex};

use volume_daemon::clock::{Clock, ManualClock};
use volume_daemon::cloudstack::{Method, Request, Response, Transport, TransportError};
use volume_daemon::model::{ExportName, Timestamp, VolumeId};
use volume_daemon::sim::{Delivery, Front, HttpRequest, SimTime};

use super::fuse::Fuse;
use super::nbd::FakeNbd;

/// A mutating call that reached CloudStack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The command.
    pub command: &'static str,
    /// The volume it names, if any.
    pub volume: Option<uuid::Uuid>,
    /// The VM it names, if any.
    pub vm: Option<uuid::Uuid>,
    /// When it was sent.
    pub at: Timestamp,
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
    nbd: FakeNbd,
    sent: Arc<Mutex<Vec<Mutation>>>,
}

impl SimTransport {
    pub fn new(front: Arc<Mutex<Front>>, clock: Arc<ManualClock>, nbd: FakeNbd) -> Self {
        Self {
            front,
            clock,
            fuse: nbd.fuse(),
            nbd,
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
        let violation = violation(&front, &self.nbd, request);
        let answer = front.handle(&http, now);
        drop(front);
        if is_mutating(request.command) {
            self.sent.lock().expect("no holder panics").push(Mutation {
                command: request.command,
                volume: param(&request.form, &["id", "resourceids"]),
                vm: param(&request.form, &["virtualmachineid"]),
                at: self.clock.now().wall,
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

/// What is wrong with sending this call at this moment.
fn violation(front: &Front, nbd: &FakeNbd, request: &Request) -> Option<String> {
    if !is_mutating(request.command) {
        return None;
    }
    if matches!(request.command, "deleteVolume" | "destroyVolume") {
        return Some(format!("I5: {} is never sent", request.command));
    }
    let world = front.world();
    let id = param(&request.form, &["id", "resourceids"])?;
    let no = world.find_volume(id)?;
    if let Some(job) = world.job_on(no) {
        let job = job.uuid;
        return Some(format!(
            "I1: {} while job {job} is pending",
            request.command
        ));
    }
    let volume = world.volume(no);
    match request.command {
        "resizeVolume" => {
            let gib: u64 = text(&request.form, "size")?.parse().ok()?;
            let shrinks = gib << 30 < volume.size || request.form.contains("shrinkok");
            shrinks.then(|| format!("I10: {} is shrunk to {gib} GiB", volume.name))
        }
        "detachVolume" => {
            let export = ExportName::default_for(VolumeId::new(id));
            let served = nbd.exports().contains_key(&export);
            served.then(|| format!("I18: {} is detached while it is served", volume.name))
        }
        _ => None,
    }
}

fn text<'a>(form: &'a str, name: &str) -> Option<&'a str> {
    form.split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
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
