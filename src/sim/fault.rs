//! What goes wrong, on demand: each fault says what, for which requests, how often and when.
//!
//! `Faults` keeps the armed ones and says for each request what strikes it. What that means
//! is up to the front and the world. Deterministic: chance comes from seeds.

mod armed;
mod target;
mod wire;

use serde::{Deserialize, Serialize};

pub use armed::Armed;
pub(super) use armed::{Faults, Mishap, Rebuff};
pub use target::{Count, Patterns, Probability, Target, When};
pub(super) use target::{Facts, Sort};
pub use wire::{FaultFile, FaultKind};

/// One thing that goes wrong. JSON and YAML name it by `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "wire::Wire", into = "wire::Wire")]
pub enum Fault {
    /// The connection is closed instead of an answer.
    DropResponse {
        /// For which requests.
        on: Target,
        /// Before or after the command took effect.
        when: DropWhen,
    },
    /// The answer comes later; the command takes effect at once.
    DelayResponse {
        /// For which requests.
        on: Target,
        /// How much later, in milliseconds.
        ms: u64,
    },
    /// A proxy sends the request twice: both take effect, the second is answered.
    DuplicateRequest {
        /// For which requests.
        on: Target,
    },
    /// The request is held up on its way: the client sees its connection closed, and only
    /// later the command takes effect.
    LateRequest {
        /// For which requests.
        on: Target,
        /// How much later, in milliseconds.
        ms: u64,
    },
    /// 429, as the throttle answers before it looks at the signature.
    TooManyRequests {
        /// For which requests.
        on: Target,
        /// After how many milliseconds to come again.
        retry_after_ms: u64,
    },
    /// A proxy answers 502 with HTML; the command does not take effect.
    BadGateway {
        /// For which requests.
        on: Target,
    },
    /// 503, as a management server that goes into maintenance answers (`ApiServer.java`); the
    /// command does not take effect.
    ServiceUnavailable {
        /// For which requests.
        on: Target,
    },
    /// 530 in answer to the request; the command does not take effect.
    InternalError {
        /// For which requests.
        on: Target,
        /// With which words.
        text: String,
    },
    /// The job's agent never answers: transitional states and the VM's queue stay as they are.
    StuckJob {
        /// For which requests.
        on: Target,
    },
    /// The job's agent takes longer.
    DelayJob {
        /// For which requests.
        on: Target,
        /// How much longer, in milliseconds.
        ms: u64,
    },
    /// The agent of a detach takes longer, and whatever link there is by then is cleared, also
    /// one to another VM (apache/cloudstack#14214).
    StragglingDetach {
        /// For which requests.
        on: Target,
        /// How much longer, in milliseconds.
        ms: u64,
    },
    /// The job's agent fails: 530.
    FailJob {
        /// For which requests.
        on: Target,
        /// With which words.
        text: String,
    },
    /// The storage cannot be reached: 530 in the job, or in the answer of deleteVolume.
    StorageFailure {
        /// For which requests.
        on: Target,
    },
    /// The guest does not release the disk: after `wait.detach.device` the detach fails with
    /// 530 and everything is as before.
    DetachTimeout {
        /// For which requests.
        on: Target,
    },
    /// The storage does not delete the volume: 530, and it stays in Destroy.
    DeleteStuck {
        /// For which requests.
        on: Target,
    },
    /// The job's row is purged when it ends, as if `job.expire.minutes` were over.
    PurgeJob {
        /// For which requests.
        on: Target,
    },
    /// The server that runs the job is declared gone: it ends with 530 and without a
    /// `jobresult`.
    LoseJob {
        /// For which requests.
        on: Target,
        /// Before or after it took effect.
        when: DropWhen,
    },
    /// Rows were removed while a client paged: each page begins so many rows later.
    MissRows {
        /// For which requests.
        on: Target,
        /// How many rows.
        rows: u32,
    },
    /// Rows were added while a client paged: each page but the first begins so many rows
    /// earlier.
    RepeatRows {
        /// For which requests.
        on: Target,
        /// How many rows.
        rows: u32,
    },
    /// Listings come from a replica of the database that lags behind.
    StaleListing {
        /// For which requests.
        on: Target,
        /// How often the replica catches up, in milliseconds: what it shows is up to so old.
        ms: u64,
    },
    /// The clock of the management server is set wrong: `Date`, what counts as expired, and
    /// the times it writes from now on. At once, until another one or until faults are cleared.
    /// Listings keep the order in which rows were made, even if their times say otherwise.
    ClockSkew {
        /// How many milliseconds it is ahead; negative: behind.
        ms: i64,
    },
    /// The management server is away for a while.
    Outage {
        /// What a client sees.
        mode: OutageMode,
        /// For how many milliseconds.
        ms: u64,
    },
    /// The management server restarts: every unfinished job is lost.
    Restart {
        /// Attaches under way stay plugged in the guest.
        keep_plugged: bool,
    },
    /// A skew, outage or restart not at once, but at a moment.
    At {
        /// When, counted from the moment it is armed.
        at: When,
        /// What.
        fault: Box<Self>,
    },
}

/// When an answer is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DropWhen {
    /// Nothing happened.
    BeforeCommit,
    /// Everything happened.
    AfterCommit,
}

/// What a client sees during an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutageMode {
    /// Connections are closed without an answer.
    Closed,
    /// 503.
    Unavailable,
}

impl Fault {
    /// For which requests it is meant; `None` for what happens at a moment.
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::DropResponse { on, .. }
            | Self::DelayResponse { on, .. }
            | Self::DuplicateRequest { on }
            | Self::LateRequest { on, .. }
            | Self::TooManyRequests { on, .. }
            | Self::BadGateway { on }
            | Self::ServiceUnavailable { on }
            | Self::InternalError { on, .. }
            | Self::StuckJob { on }
            | Self::DelayJob { on, .. }
            | Self::StragglingDetach { on, .. }
            | Self::FailJob { on, .. }
            | Self::StorageFailure { on }
            | Self::DetachTimeout { on }
            | Self::DeleteStuck { on }
            | Self::PurgeJob { on }
            | Self::LoseJob { on, .. }
            | Self::MissRows { on, .. }
            | Self::RepeatRows { on, .. }
            | Self::StaleListing { on, .. } => Some(on),
            Self::ClockSkew { .. }
            | Self::Outage { .. }
            | Self::Restart { .. }
            | Self::At { .. } => None,
        }
    }

    /// Whether such a request can be struck by this kind at all. What cannot is not counted.
    fn concerns(&self, request: &Facts<'_>) -> bool {
        match self {
            Self::DropResponse { .. }
            | Self::DelayResponse { .. }
            | Self::DuplicateRequest { .. }
            | Self::LateRequest { .. }
            | Self::TooManyRequests { .. }
            | Self::BadGateway { .. }
            | Self::ServiceUnavailable { .. }
            | Self::InternalError { .. } => true,
            Self::StuckJob { .. }
            | Self::DelayJob { .. }
            | Self::PurgeJob { .. }
            | Self::LoseJob { .. } => request.sort == Sort::Job,
            Self::FailJob { .. } | Self::StorageFailure { .. } => {
                request.sort == Sort::Job || request.command == "deleteVolume"
            }
            Self::StragglingDetach { .. } | Self::DetachTimeout { .. } => {
                request.command == "detachVolume"
            }
            Self::DeleteStuck { .. } => {
                matches!(request.command, "deleteVolume" | "destroyVolume")
            }
            Self::MissRows { .. } | Self::RepeatRows { .. } | Self::StaleListing { .. } => {
                request.sort == Sort::Listing
            }
            Self::ClockSkew { .. }
            | Self::Outage { .. }
            | Self::Restart { .. }
            | Self::At { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
