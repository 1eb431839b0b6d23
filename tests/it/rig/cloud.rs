//! The daemon's way to the simulated CloudStack, without HTTP. Writes down every mutating
//! call, and checks what must hold at the moment it is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use volume_daemon::clock::{Clock, ManualClock};
use volume_daemon::cloudstack::{Method, Request, Response, Transport, TransportError};
use volume_daemon::model::{BootTime, Now, Serial, Timestamp, VolumeId};
use volume_daemon::sim::world::VmState;
use volume_daemon::sim::{Delivery, Front, HttpRequest, SimTime};

use super::fuse::Fuse;
use super::nbd::FakeNbd;
use super::stir::Stir;

/// Everything that the daemon may send to change something. It never touches a VM itself (I14).
const COMMANDS: [&str; 6] = [
    "createVolume",
    "createTags",
    "attachVolume",
    "destroyVolume",
    "detachVolume",
    "resizeVolume",
];

/// The status of an answer to a call that has expired, among others (`ApiServer.java`).
const UNAUTHORIZED: u16 = 401;

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
    pub boot: BootTime,
    /// What it was sent into.
    pub found: Found,
    /// The HTTP status of its answer.
    pub status: u16,
    /// What was wrong with sending it.
    pub violation: Option<String>,
}

/// How things really were at the moment a call was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The job that was pending on the volume.
    pub job: Option<uuid::Uuid>,
    /// The VM that the volume was on, and its state.
    pub on: Option<(uuid::Uuid, VmState)>,
    /// The state of the VM that the call names.
    pub to: Option<VmState>,
}

/// The management server's own clock. It goes by the time that passes, whatever the appliance's
/// is set to.
#[derive(Debug, Clone, Copy)]
pub struct CloudTime {
    /// What it says at [`CloudTime::BOOT`].
    begin: SimTime,
}

impl CloudTime {
    /// The moment at which a rig begins, in milliseconds on the boot clock.
    const BOOT: BootTime = BootTime::from_millis(1_000_000);

    /// A clock that says `begin` now, and an appliance's that agrees.
    pub fn begin(begin: SimTime) -> (Self, Now) {
        let now = Now {
            wall: Timestamp::from_millis(begin.as_millis()),
            boot: Self::BOOT,
        };
        (Self { begin }, now)
    }

    /// What it says at a moment.
    pub fn at(self, moment: BootTime) -> SimTime {
        let passed = moment.since(Self::BOOT).as_millis();
        self.begin
            .plus_millis(u64::try_from(passed).expect("a short test"))
    }
}

/// The transport.
#[derive(Clone)]
pub struct SimTransport {
    front: Arc<Mutex<Front>>,
    clock: Arc<ManualClock>,
    time: CloudTime,
    fuse: Arc<Fuse>,
    nbd: FakeNbd,
    sent: Arc<Mutex<Vec<Mutation>>>,
    stir: Stir,
    /// What was answered to the same questions since anything changed.
    known: Arc<Mutex<Known>>,
}

/// Answers that can be given again without asking.
#[derive(Debug, Default)]
struct Known {
    /// False: something may go wrong, so every question counts.
    good: bool,
    answers: BTreeMap<String, Vec<u8>>,
}

impl SimTransport {
    pub fn new(
        front: Arc<Mutex<Front>>,
        clock: Arc<ManualClock>,
        time: CloudTime,
        nbd: FakeNbd,
    ) -> Self {
        Self {
            front,
            clock,
            time,
            fuse: nbd.fuse(),
            stir: nbd.stir(),
            nbd,
            sent: Arc::default(),
            known: Arc::new(Mutex::new(Known {
                good: true,
                answers: BTreeMap::new(),
            })),
        }
    }

    /// Every mutating call so far.
    pub fn sent(&self) -> Vec<Mutation> {
        self.sent.lock().expect("no holder panics").clone()
    }

    /// The mutating calls after the first `known`.
    pub fn sent_after(&self, known: usize) -> Vec<Mutation> {
        self.sent.lock().expect("no holder panics")[known..].to_vec()
    }

    /// How many mutating calls there were so far.
    pub fn count(&self) -> usize {
        self.sent.lock().expect("no holder panics").len()
    }

    /// What is asked counts, or does not because nothing goes wrong.
    pub fn trust(&self, good: bool) {
        let mut known = self.known.lock().expect("no holder panics");
        known.good = good;
        known.answers.clear();
    }

    /// What was answered to this is no longer known.
    pub fn forget(&self) {
        let mut known = self.known.lock().expect("no holder panics");
        known.answers.clear();
    }

    /// The answer to a listing, if nothing has changed since it was given.
    fn known(&self, request: &Request, now: SimTime) -> Option<Response> {
        let known = self.known.lock().expect("no holder panics");
        let body = known.answers.get(&question(request))?;
        Some(Response {
            status: 200,
            date: Some(Timestamp::from_millis(now.as_millis() / 1000 * 1000)),
            body: body.clone(),
        })
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
        let now = self.time.at(self.clock.now().boot);
        let mut front = self.front.lock().expect("no holder panics");
        let is_due = front.next_due().is_some_and(|due| due <= now);
        if is_due || is_mutating(request.command) {
            self.stir.note();
            self.forget();
        } else if let Some(answer) = self.known(request, now) {
            return Ok(answer);
        }
        let violation = violation(&front, &self.nbd, request);
        let found = found(&front, request);
        let answer = front.handle(&http, now);
        drop(front);
        if is_mutating(request.command) {
            let now = self.clock.now().boot;
            self.sent.lock().expect("no holder panics").push(Mutation {
                command: request.command,
                volume: param(&request.form, &["id", "resourceids"]),
                vm: param(&request.form, &["virtualmachineid"]),
                boot: now,
                found,
                status: answer.status,
                // What comes too late is refused, which is why it may be sent.
                violation: violation.filter(|_| answer.status != UNAUTHORIZED),
            });
        }
        match answer.delivery {
            Delivery::Dropped(_) | Delivery::Delayed(_) => Err(TransportError::Unknown {
                why: "the connection was closed".to_owned(),
            }),
            Delivery::Delivered => {
                let (status, body) = (answer.status, answer.body.into_bytes());
                let mut known = self.known.lock().expect("no holder panics");
                // A refusal may be of the signature, which is no part of the question.
                if known.good && status == 200 && request.command.starts_with("list") {
                    known.answers.insert(question(request), body.clone());
                }
                Ok(Response {
                    status,
                    date: date(&answer.headers),
                    body,
                })
            }
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

/// What a request asks, whoever signed it when.
fn question(request: &Request) -> String {
    let parts = request.form.split('&');
    let asked =
        parts.filter(|part| !(part.starts_with("signature") || part.starts_with("expires")));
    asked.collect::<Vec<_>>().join("&")
}

/// What is wrong with sending this call at this moment.
fn violation(front: &Front, nbd: &FakeNbd, request: &Request) -> Option<String> {
    if !is_mutating(request.command) {
        return None;
    }
    if !COMMANDS.contains(&request.command) {
        return Some(format!("I14: {} is never sent", request.command));
    }
    let world = front.world();
    let id = param(&request.form, &["id", "resourceids"])?;
    let volume = world.volume(world.find_volume(id)?);
    match request.command {
        "resizeVolume" => {
            let gib: u64 = text(&request.form, "size")?.parse().ok()?;
            let shrinks = gib << 30 < volume.size || request.form.contains("shrinkok");
            shrinks.then(|| format!("I10: {} is shrunk to {gib} GiB", volume.name))
        }
        "destroyVolume" => {
            let is_blank = volume.state == volume_daemon::sim::world::VolumeState::Allocated;
            let expunges = request.form.contains("expunge=true");
            if nbd.serves(&Serial::of(VolumeId::new(id))) {
                return Some(format!("I5: {} is deleted while it is served", volume.name));
            }
            (expunges && !is_blank).then(|| format!("I5: {} is deleted at once", volume.name))
        }
        "detachVolume" => nbd
            .serves(&Serial::of(VolumeId::new(id)))
            .then(|| format!("I18: {} is detached while it is served", volume.name)),
        _ => None,
    }
}

/// How things are for what `request` names.
fn found(front: &Front, request: &Request) -> Found {
    let world = front.world();
    let volume = param(&request.form, &["id", "resourceids"]);
    let volume = volume.and_then(|id| world.find_volume(id));
    let to = param(&request.form, &["virtualmachineid"]).and_then(|id| world.find_vm(id));
    Found {
        job: volume.and_then(|no| Some(world.job_on(no)?.uuid)),
        on: volume
            .and_then(|no| world.volume(no).attachment)
            .map(|at| (world.vm(at.vm).uuid, world.vm(at.vm).state)),
        to: to.map(|no| world.vm(no).state),
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
