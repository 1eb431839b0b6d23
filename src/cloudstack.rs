//! The CloudStack API, as far as the daemon needs it.
//!
//! Owns signing, sending, decoding and the classification of failures. It turns every answer into
//! model types, and every failure into one question answered: was the call certainly not executed,
//! and what follows, or may it have been? It decides nothing, keeps no state about volumes, and never
//! repeats a call that changes something.
//!
//! Two kinds of call. *Reads* ([`Client::volumes`] and the like) may be repeated at will. Calls that
//! change something all go through [`Client::submit`], one per journalled intent, which carries the
//! time limit it is signed with and the id its job shall have.

mod error;
mod events;
mod jobs;
pub mod probe;
mod read;
mod sign;
mod transport;
mod wire;
mod write;

#[cfg(test)]
mod bodies;
#[cfg(test)]
mod fake;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::clock::{Clock, Deadline};
use crate::model::{BootTime, Timestamp};

pub use error::{CallOutcome, CloudStackError};
pub use events::VolumeEvent;
pub use jobs::JobState;
pub use sign::{Credentials, Secret};
pub use transport::{
    HttpConfig, HttpConfigError, HttpTransport, Method, Request, Response, Transport,
    TransportError,
};
pub use write::Submitted;

use sign::Params;

/// A key, signature or time stamp was not accepted (`ApiServlet.java`, `ServerApiException`).
const UNAUTHORIZED: u16 = 401;

/// How long a read stays valid once signed. A server that enforces time stamps allows 15 minutes at
/// most (`ApiServer.java`, `verifyRequest`); the rest is for clocks that differ.
const READ_VALID_FOR: Duration = Duration::from_secs(10 * 60);

/// How far apart clocks may be without a read being refused for it: much less than the time it stays
/// valid, and than the time a server that enforces time stamps looks ahead.
const READ_SLACK_MS: i64 = 60_000;

/// The most rows a page can have: `default.page.size`, both default and cap (`Config.java`).
const PAGE_LEN: usize = 500;

/// Which objects the caller wants to see (`AccountManagerImpl.java`, `buildACLSearchParameters`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Everything the caller may see, not only its own; needed by administrators.
    pub listall: bool,
    /// The objects of this project instead of the account's own.
    pub project: Option<Uuid>,
}

/// Talks to one CloudStack with one set of credentials.
pub struct Client<T> {
    transport: T,
    credentials: Credentials,
    scope: Scope,
    clock: Arc<dyn Clock>,
    /// How far the server's clock was ahead of ours, in milliseconds, when it last refused a
    /// signature; 0 while they are near enough.
    ahead_ms: AtomicI64,
    /// Rows asked for at once; lowered when the server says that its cap is lower.
    page_len: AtomicUsize,
    /// Rows that were not understood in the last answer to each command, so that each change is
    /// logged once and not with every pass.
    skipped: Mutex<BTreeMap<&'static str, usize>>,
}

impl<T> fmt::Debug for Client<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// What a read returned, and when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// What was returned.
    pub items: T,
    /// When its first request was about to be sent. Nothing that happened later is certain to be seen.
    pub begun: BootTime,
    /// The server's clock when it answered that request, from the `Date` header, to the second.
    pub server_time: Option<Timestamp>,
}

impl<T> Listed<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Listed<U> {
        Listed {
            items: f(self.items),
            begun: self.begun,
            server_time: self.server_time,
        }
    }
}

/// A successful answer: the object under its single key.
struct Answer {
    body: Map<String, Value>,
    date: Option<Timestamp>,
}

impl<T: Transport> Client<T> {
    /// A client that signs with `credentials` and sees what `scope` says.
    pub fn new(
        transport: T,
        credentials: Credentials,
        scope: Scope,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            transport,
            credentials,
            scope,
            clock,
            ahead_ms: AtomicI64::new(0),
            page_len: AtomicUsize::new(PAGE_LEN),
            skipped: Mutex::new(BTreeMap::new()),
        }
    }

    /// Signs and sends one call, once, and opens the envelope of its answer.
    async fn call(
        &self,
        method: Method,
        command: &'static str,
        params: Params,
        expires: Timestamp,
        deadline: Deadline,
    ) -> Result<Answer, CloudStackError> {
        let request = Request {
            method,
            command,
            form: sign::signed_form(command, params, expires, &self.credentials),
            deadline,
        };
        let sent = if request.deadline.has_passed() {
            Err(TransportError::too_late())
        } else {
            self.transport.send(request).await
        };
        let response = sent.map_err(|source| CloudStackError::from_transport(command, source))?;
        if response.status == UNAUTHORIZED {
            self.note_clock(response.date);
        }
        let body = wire::open(command, &response, &self.credentials)?;
        Ok(Answer {
            body,
            date: response.date,
        })
    }

    /// A read by GET.
    async fn get(&self, command: &'static str, params: Params) -> Result<Answer, CloudStackError> {
        self.read(Method::Get, command, params).await
    }

    /// A read, valid for [`READ_VALID_FOR`]. One that was refused because our clock is wrong is
    /// repeated by the server's: looking goes on, only changing anything stops (`ClockSkew`).
    async fn read(
        &self,
        method: Method,
        command: &'static str,
        params: Params,
    ) -> Result<Answer, CloudStackError> {
        let ahead = self.ahead_ms.load(Ordering::Relaxed);
        let read = async |params, ahead| {
            let expires = self.expires(ahead);
            let deadline = Deadline::never();
            self.call(method, command, params, expires, deadline).await
        };
        let first = read(params.clone(), ahead).await;
        let learnt = self.ahead_ms.load(Ordering::Relaxed);
        if first.is_ok() || learnt == ahead {
            return first;
        }
        read(params, learnt).await
    }

    /// When a read that is signed now ends to be valid, if the server is `ahead_ms` ahead of us.
    fn expires(&self, ahead_ms: i64) -> Timestamp {
        let now = self.clock.now().wall.as_millis();
        Timestamp::from_millis(now.saturating_add(ahead_ms)).plus(READ_VALID_FOR)
    }

    /// Learns from a refused signature whether it is our clock that is wrong. While the server takes
    /// our signatures, what a proxy between us writes into `Date` does not matter.
    fn note_clock(&self, date: Option<Timestamp>) {
        let Some(date) = date else { return };
        let now = self.clock.now().wall.as_millis();
        let ahead = date.as_millis().saturating_sub(now);
        let ahead = if ahead.abs() > READ_SLACK_MS {
            ahead
        } else {
            0
        };
        let known = self.ahead_ms.load(Ordering::Relaxed);
        if known.abs_diff(ahead) > READ_SLACK_MS.unsigned_abs() {
            self.ahead_ms.store(ahead, Ordering::Relaxed);
        }
    }

    /// `params` and whatever the scope adds to a list command.
    fn scoped(&self, mut params: Params) -> Params {
        if self.scope.listall {
            params.push(("listall", "true".to_owned()));
        }
        params.extend(self.project());
        params
    }

    fn project(&self) -> Option<(&'static str, String)> {
        let project = self.scope.project?;
        Some(("projectid", project.hyphenated().to_string()))
    }
}
