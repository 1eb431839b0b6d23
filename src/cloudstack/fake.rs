//! A transport for tests: answers from a function, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::transport::{Method, Request, Response, Transport, TransportError};
use super::{Client, Credentials, Scope, Secret};
use crate::clock::ManualClock;
use crate::model::{BootTime, Now, Timestamp};

/// A request, taken apart again.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) command: &'static str,
    pub(super) params: BTreeMap<String, String>,
}

impl Call {
    fn of(request: &Request) -> Self {
        let params = request
            .form
            .split('&')
            .map(|pair| {
                let (name, value) = pair.split_once('=').expect("name=value");
                (decode(name), decode(value))
            })
            .collect();
        Self {
            method: request.method,
            command: request.command,
            params,
        }
    }

    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> usize {
        self.param(name)
            .and_then(|text| text.parse().ok())
            .expect("a number")
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex = [rest.next(), rest.next()].map(|digit| digit.expect("two digits"));
        let hex = std::str::from_utf8(&hex).expect("ASCII");
        bytes.push(u8::from_str_radix(hex, 16).expect("hexadecimal"));
    }
    String::from_utf8(bytes).expect("UTF-8")
}

type Answer = Result<Response, TransportError>;

pub(super) struct Fake {
    answer: Box<dyn Fn(&Call) -> Answer + Send + Sync>,
    calls: Mutex<Vec<Call>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl Fake {
    pub(super) fn new(answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(answer),
            calls: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        })
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("not poisoned").clone()
    }

    pub(super) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::Relaxed)
    }
}

impl Transport for Arc<Fake> {
    async fn send(&self, request: Request) -> Answer {
        let call = Call::of(&request);
        let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_under_way.fetch_max(now, Ordering::Relaxed);
        self.calls.lock().expect("not poisoned").push(call.clone());
        // Lets whatever else is ready begin.
        tokio::task::yield_now().await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        (self.answer)(&call)
    }
}

/// The wall clock of [`client`].
pub(super) const WALL: &str = "2026-11-20T22:00:00Z";

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Now {
        wall: WALL.parse().expect("a time"),
        boot: BootTime::from_millis(1000),
    }))
}

pub(super) fn client(fake: &Arc<Fake>, scope: Scope) -> Client<Arc<Fake>> {
    client_with_clock(fake, scope, clock())
}

pub(super) fn client_with_clock(
    fake: &Arc<Fake>,
    scope: Scope,
    clock: Arc<ManualClock>,
) -> Client<Arc<Fake>> {
    let credentials = Credentials {
        api_key: Secret::new("the-key"),
        secret: Secret::new("the-secret"),
    };
    Client::new(Arc::clone(fake), credentials, scope, clock)
}

/// An answer with `status`, and a `Date` one minute after [`WALL`].
pub(super) fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    let date: Timestamp = "2026-11-20T22:01:00Z".parse().expect("a time");
    Ok(Response {
        status,
        date: Some(date),
        body: body.into(),
    })
}

pub(super) fn json(body: &Value) -> Answer {
    answer(200, body.to_string())
}

/// CloudStack's error in its envelope.
pub(super) fn error(code: u16, text: &str) -> Answer {
    let body = serde_json::json!({"response": {"uuidList": [], "errorcode": code,
        "cserrorcode": 9999, "errortext": text}});
    answer(code, body.to_string())
}

/// What CloudStack says of an id that never existed.
pub(super) fn never_existed(parameter: &str, id: impl std::fmt::Display) -> Answer {
    error(
        431,
        &format!(
            "Unable to execute API command x due to invalid value. Invalid parameter {parameter} \
             value={id} due to incorrect long value format, or entity does not exist or due to \
             incorrect parameter annotation for the field in api cmd class."
        ),
    )
}
