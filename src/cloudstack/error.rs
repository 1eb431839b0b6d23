//! What a failed call means: the one place where CloudStack's codes and texts are read.
//!
//! Two questions are answered. *Was it executed?* Only an answer that CloudStack gives before it acts
//! proves that it was not; everything else is unknown, and never sent again blindly. *What follows?*
//! The codes are too coarse for that: 431 is "no such volume" as well as "that VM has a snapshot",
//! and 432 hides a host that is down for a minute. So texts come first, codes second.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::transport::TransportError;
use crate::model::memory::FailureClass;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CloudStackError {
    /// It never reached CloudStack.
    #[error("`{command}` could not be sent to CloudStack")]
    NotSent {
        /// Which command.
        command: &'static str,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// It may have reached CloudStack, and no complete answer came back.
    #[error("CloudStack did not answer `{command}`")]
    NoAnswer {
        /// Which command.
        command: &'static str,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// Something answered that does not speak as CloudStack does, for instance a proxy.
    #[error("the answer to `{command}` (HTTP {status}) is not CloudStack's: {why}")]
    Undecodable {
        /// Which command.
        command: &'static str,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it. Never the answer itself.
        why: String,
    },
    /// CloudStack does not accept who we are, or not for this command. It does not say which.
    #[error(
        "CloudStack does not authorise `{command}`: {text}; check the API key and secret, that the \
         user and the key are enabled and its role allows {command}, and this machine's clock"
    )]
    Unauthorized {
        /// Which command.
        command: &'static str,
        /// CloudStack's words.
        text: String,
    },
    /// Asked too often.
    #[error("CloudStack limits how often it may be asked: `{command}` again in {} ms", retry_after.as_millis())]
    Throttled {
        /// Which command.
        command: &'static str,
        /// How long to wait.
        retry_after: Duration,
    },
    /// CloudStack says that it did not do it.
    #[error("CloudStack refused `{command}` with error {code}: {text}")]
    Failed {
        /// Which command.
        command: &'static str,
        /// CloudStack's error code (`ApiErrorCode.java`).
        code: u16,
        /// What follows from it.
        class: FailureClass,
        /// CloudStack's words.
        text: String,
    },
    /// CloudStack failed at a point where the change may already have been made.
    #[error("CloudStack failed in `{command}` with error {code}, perhaps after doing it: {text}")]
    Uncertain {
        /// Which command.
        command: &'static str,
        /// CloudStack's error code.
        code: u16,
        /// CloudStack's words.
        text: String,
    },
    /// A list changed each time while its pages were read, so that none is complete.
    #[error("the list of `{command}` changed while it was read, {runs} times in a row")]
    Unsettled {
        /// Which command.
        command: &'static str,
        /// How often it was tried.
        runs: usize,
    },
    /// The intent is for a step that CloudStack has no part in. Our own mistake.
    #[error("{kind} is not a CloudStack call")]
    NotACloudAction {
        /// Which kind of step.
        kind: &'static str,
    },
}

/// What is certain after a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// CloudStack certainly did not execute it.
    NotExecuted {
        /// What follows.
        class: FailureClass,
        /// Not again before this has passed, where CloudStack says so.
        retry_after: Option<Duration>,
    },
    /// It may have been executed, or may still be.
    Unknown,
}

impl CloudStackError {
    /// Whether the call was executed, and what follows.
    pub fn outcome(&self) -> CallOutcome {
        let not_executed = |class| CallOutcome::NotExecuted {
            class,
            retry_after: None,
        };
        match self {
            Self::NotSent { .. } | Self::Unsettled { .. } => not_executed(FailureClass::Retry),
            // Every call will fail until a person acts, so there is no hurry.
            Self::Unauthorized { .. } => not_executed(FailureClass::Environment),
            Self::NotACloudAction { .. } => not_executed(FailureClass::Refused),
            Self::Failed { class, .. } => not_executed(*class),
            Self::Throttled { retry_after, .. } => CallOutcome::NotExecuted {
                class: FailureClass::Throttled,
                retry_after: Some(*retry_after),
            },
            Self::NoAnswer { .. } | Self::Undecodable { .. } | Self::Uncertain { .. } => {
                CallOutcome::Unknown
            }
        }
    }

    /// Whether the failure says something about the object asked for only: CloudStack answered,
    /// and others can be asked for.
    pub fn is_about_one(&self) -> bool {
        match self {
            Self::Undecodable { status, .. } => *status == 200,
            Self::Failed { .. } | Self::Uncertain { .. } => true,
            Self::NotSent { .. }
            | Self::NoAnswer { .. }
            | Self::Unauthorized { .. }
            | Self::Throttled { .. }
            | Self::Unsettled { .. }
            | Self::NotACloudAction { .. } => false,
        }
    }

    pub(super) fn from_transport(command: &'static str, source: TransportError) -> Self {
        match source {
            TransportError::NotSent { .. } => Self::NotSent { command, source },
            TransportError::Unknown { .. } => Self::NoAnswer { command, source },
        }
    }

    /// What CloudStack's error `code` with `text` means.
    pub(super) fn from_answer(command: &'static str, code: u16, text: String) -> Self {
        match code {
            401 => Self::Unauthorized { command, text },
            429 => Self::Throttled {
                command,
                retry_after: number_after(&text, "retry after [")
                    .map_or(THROTTLE_INTERVAL, Duration::from_millis),
            },
            _ => Self::Failed {
                command,
                code,
                class: classify(code, &text),
                text,
            },
        }
    }

    /// The same error of a call that changes something.
    ///
    /// `processAsyncCmd` (`ApiServer.java`) creates the volume, then checks `customjobid`, then writes
    /// and queues the job, then reads it back for the answer. An internal error can come from any of
    /// these, and a caller who is no administrator sees one text for all. Likewise "already exists"
    /// for our own job id says that a job of that id was queued before.
    pub(super) fn after_submission(self, job: Uuid) -> Self {
        match self {
            Self::Failed {
                command,
                code,
                class,
                text,
            } => {
                let refused_first = match code {
                    431 => !contains(&text, &format!("UUID: {job} already exists")),
                    400 | 405 | 430 | 432 | 503 | 511 | 531..=537 => true,
                    _ => contains(&text, SHUTTING_DOWN),
                };
                if refused_first {
                    Self::Failed {
                        command,
                        code,
                        class,
                        text,
                    }
                } else {
                    Self::Uncertain {
                        command,
                        code,
                        text,
                    }
                }
            }
            other => other,
        }
    }

    /// Whether CloudStack says that nothing with this id ever existed, or that it was purged
    /// (`ParamProcessWorker.java`). Looks for the id, because the same is said of a missing project.
    pub(super) fn never_existed(&self, id: impl fmt::Display) -> bool {
        match self {
            Self::Failed {
                code: 431, text, ..
            } => contains(text, "entity does not exist") && contains(text, &format!("value={id} ")),
            _ => false,
        }
    }

    /// The page size that the server allows at most, if this is what it complains about
    /// (`BaseListCmd.java`).
    pub(super) fn page_len_cap(&self) -> Option<usize> {
        match self {
            Self::Failed { text, .. } => number_after(text, "max allowed page size value: "),
            _ => None,
        }
    }
}

/// The throttle's window where the answer names no time: `api.throttling.interval`
/// (`ApiRateLimitServiceImpl.java`).
const THROTTLE_INTERVAL: Duration = Duration::from_secs(1);

/// Said before anything is done (`ApiServer.java`, `ApiDispatcher.java`), there with 503, here with 530.
const SHUTTING_DOWN: &str = "Maintenance or Shutdown has been initiated";

/// What follows from an error inside a call or a job.
pub(super) fn classify(code: u16, text: &str) -> FailureClass {
    if let Some((_, class)) = TEXTS.iter().find(|(part, _)| contains(text, part)) {
        return *class;
    }
    match code {
        // Limits of account, domain or project.
        532 | 535 => FailureClass::Quota,
        // Shutting down; internal; resource unavailable. Where it is something lasting, the
        // growing delay between attempts takes care of it.
        503 | 530 | 534 => FailureClass::Retry,
        // No capacity; in use: a person or time must change something.
        533 | 536 => FailureClass::Environment,
        // 400, 405, 430, 431, 432, 511, 531, 537 and whatever comes later.
        _ => FailureClass::Refused,
    }
}

/// Texts that say more than their codes, first match first; compared without regard to case.
const TEXTS: &[(&str, FailureClass)] = {
    use FailureClass::{Environment, Quota, Refused, Retry};
    &[
        // ResourceLimitManagerImpl.java. 535, but 431 from attachVolume.
        ("Maximum amount of resources of Type", Quota),
        ("Maximum domain resource limits", Quota),
        ("Maximum account resource limits", Quota),
        // TaggedResourceManagerImpl.java. 530: a second value for a tag.
        (" already on Volume with id", Environment),
        // ApiServer.java, ApiDispatcher.java.
        (SHUTTING_DOWN, Retry),
        // KVMStorageProcessor.java. 530: the guest does not let go of the disk.
        (
            "Could not detach volume after sending the command",
            Environment,
        ),
        // VolumeApiServiceImpl.java, attach and detach. 431, in a race 530: where the volume is.
        ("that is not attached to any VM", Environment),
        ("already attached to a VM", Environment),
        ("is not attached to a VM", Environment),
        ("that is not destroyed", Environment),
        ("Volume state must be in", Environment),
        ("It should be in Ready or Allocated state", Environment),
        // There, 431: what the VM is doing.
        ("either running or stopped", Environment),
        ("can happen only when vm is in states", Environment),
        ("does not have VM snapshots", Environment),
        ("does not have any backups", Environment),
        ("that has backups", Environment),
        // There, 431 and 530: what else is on the VM.
        ("already has root volume attached", Environment),
        ("the maximum number of data disks", Environment),
        ("is used by vol", Environment),
        ("All device Ids are used", Environment),
        // There, 530: storage has nothing to give.
        ("Failed to find a primary storage", Environment),
        ("does not have enough space to resize", Environment),
        // There, resize. 432: what the volume, the VM or its host is doing.
        ("should be in ready or allocated state", Environment),
        ("with any VM snapshots cannot be resized", Environment),
        ("The KVM host where vm is running", Environment),
        ("Cannot find the hostId of running vm", Environment),
        ("VM is not on Stopped State", Environment),
        // There, resize. 530.
        ("unbacked up snapshot", Environment),
        ("not in the Stopped state", Environment),
        // There, 531: until an administrator enables it again.
        ("Zone is currently disabled", Environment),
        // There, 530, which is lasting all the same.
        ("deviceId should be", Refused),
        ("migration of local data volume is not allowed", Refused),
    ]
};

fn contains(text: &str, fragment: &str) -> bool {
    text.to_ascii_lowercase()
        .contains(&fragment.to_ascii_lowercase())
}

fn number_after<N: std::str::FromStr>(text: &str, prefix: &str) -> Option<N> {
    let (_, rest) = text.split_once(prefix)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests;
