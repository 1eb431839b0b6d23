//! What a failed call means: the one place where CloudStack's codes and texts are read.
//!
//! Two questions are answered. *Was it executed?* Only an answer that CloudStack gives before it acts
//! proves that it was not; everything else is unknown, and never sent again blindly. *What follows?*
//! The codes are too coarse for that: 431 is "no such volume" as well as "that VM has a snapshot",
//! and 432 hides a host that is down for a minute. So texts come first, codes second.

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
    pub(super) fn never_existed(&self, id: Uuid) -> bool {
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

/// Whether a failed `createTags` says that one of the keys is on the volume already. Which value it
/// has must then be read (`TaggedResourceManagerImpl.java`).
pub fn tag_already_set(text: &str) -> bool {
    contains(text, "tag ") && contains(text, " already on ")
}

/// What follows from an error inside a call or a job.
pub(super) fn classify(code: u16, text: &str) -> FailureClass {
    if let Some(rule) = TEXTS.iter().find(|rule| contains(text, rule.fragment)) {
        return rule.class;
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

/// A text that says more than its code.
struct Rule {
    /// Part of the text; compared without regard to case.
    fragment: &'static str,
    class: FailureClass,
    /// Where CloudStack says so.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for readers, and for the tests")
    )]
    source: &'static str,
}

const fn rule(fragment: &'static str, class: FailureClass, source: &'static str) -> Rule {
    Rule {
        fragment,
        class,
        source,
    }
}

/// The texts that decide, first match first.
const TEXTS: &[Rule] = {
    use FailureClass::{Environment, Quota, Refused, Retry};
    const VOLUMES: &str = "VolumeApiServiceImpl.java";
    const LIMITS: &str = "ResourceLimitManagerImpl.java";
    &[
        // Limits, which attachVolume reports as 431.
        rule("Maximum amount of resources of Type", Quota, LIMITS),
        rule("Maximum domain resource limits", Quota, LIMITS),
        rule("Maximum account resource limits", Quota, LIMITS),
        // Attach and detach: where the volume is now.
        rule("that is not attached to any VM", Environment, VOLUMES),
        rule("already attached to a VM", Environment, VOLUMES),
        rule("is not attached to a VM", Environment, VOLUMES),
        rule("that is not destroyed", Environment, VOLUMES),
        rule("Volume state must be in", Environment, VOLUMES),
        rule(
            "It should be in Ready or Allocated state",
            Environment,
            VOLUMES,
        ),
        // What the VM is doing.
        rule("either running or stopped", Environment, VOLUMES),
        rule("can happen only when vm is in states", Environment, VOLUMES),
        rule("does not have VM snapshots", Environment, VOLUMES),
        rule("does not have any backups", Environment, VOLUMES),
        rule("that has backups", Environment, VOLUMES),
        // What else is on the VM.
        rule("already has root volume attached", Environment, VOLUMES),
        rule("the maximum number of data disks", Environment, VOLUMES),
        rule("is used by vol", Environment, VOLUMES),
        rule("All device Ids are used", Environment, VOLUMES),
        // A guest that does not let go, and storage that has nothing to give.
        rule(
            "Could not detach volume after sending the command",
            Environment,
            "KVMStorageProcessor.java",
        ),
        rule("Failed to find a primary storage", Environment, VOLUMES),
        // Resize: 432 for all of these.
        rule(
            "should be in ready or allocated state",
            Environment,
            VOLUMES,
        ),
        rule("The KVM host where vm is running", Environment, VOLUMES),
        rule("Cannot find the hostId of running vm", Environment, VOLUMES),
        rule("VM is not on Stopped State", Environment, VOLUMES),
        // Resize: 530.
        rule("unbacked up snapshot", Environment, VOLUMES),
        rule("not in the Stopped state", Environment, VOLUMES),
        rule("does not have enough space to resize", Environment, VOLUMES),
        // Lasting, though reported as 530.
        rule("deviceId should be", Refused, VOLUMES),
        rule(
            "migration of local data volume is not allowed",
            Refused,
            VOLUMES,
        ),
        // Lasting only until an administrator enables it again, though reported as 531.
        rule("Zone is currently disabled", Environment, VOLUMES),
        // A second value for a tag: whose it is must be read.
        rule(
            " already on Volume with id",
            Environment,
            "TaggedResourceManagerImpl.java",
        ),
        rule(SHUTTING_DOWN, Retry, "ApiServer.java, ApiDispatcher.java"),
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
mod tests {
    use super::*;
    use FailureClass::{Environment, Quota, Refused, Retry};

    /// Whole texts as CloudStack composes them.
    #[test]
    fn texts_decide_before_codes() {
        for (code, text, class) in [
            (
                431,
                "Maximum amount of resources of Type = 'volume' for Account Name = alice is exceeded",
                Quota,
            ),
            (
                535,
                "Maximum domain resource limits of Type 'primary_storage' is exceeded",
                Quota,
            ),
            (
                431,
                "Please specify a volume that is not attached to any VM.",
                Environment,
            ),
            (530, "This volume is already attached to a VM.", Environment),
            (
                431,
                "The specified volume is not attached to a VM.",
                Environment,
            ),
            (
                431,
                "Please specify a volume that is not destroyed.",
                Environment,
            ),
            (
                431,
                "Volume state must be in Allocated, Ready or in Uploaded state",
                Environment,
            ),
            (
                530,
                "Volume data-1 is in Attaching. It should be in Ready or Allocated state",
                Environment,
            ),
            (
                431,
                "Please specify a VM that is either running or stopped.",
                Environment,
            ),
            (
                431,
                "Root volume detach can happen only when vm is in states: Stopped or Destroyed",
                Environment,
            ),
            (
                431,
                "Unable to detach volume, please specify a VM that does not have VM snapshots",
                Environment,
            ),
            (
                431,
                "Unable to attach volume to VM a/b, please specify a VM that does not have any backups",
                Environment,
            ),
            (
                431,
                "Unable to detach volume, cannot detach volume from a VM that has backups. First remove",
                Environment,
            ),
            (
                431,
                "Vm already has root volume attached to it",
                Environment,
            ),
            (
                431,
                "The specified VM already has the maximum number of data disks (6) attached. Please specify another VM.",
                Environment,
            ),
            (
                530,
                "deviceId 2 is used by vol data-1 on vm web-1",
                Environment,
            ),
            (530, "All device Ids are used by vm 7", Environment),
            (
                530,
                "Failed to detach volume v from VM w; Could not detach volume after sending the command and waiting for [10000] milliseconds",
                Environment,
            ),
            (
                530,
                "Failed to find a primary storage for volume in state: Allocated",
                Environment,
            ),
            (
                432,
                "Volume should be in ready or allocated state before attempting a resize. Volume x is in state Resizing.",
                Environment,
            ),
            (
                432,
                "The KVM host where vm is running is not Up",
                Environment,
            ),
            (
                432,
                "The KVM host where vm is running is not Enabled",
                Environment,
            ),
            (432, "Cannot find the hostId of running vm 1-2", Environment),
            (
                432,
                "Cannot resize ROOT volume [r] when VM is not on Stopped State. VM i-2 is in state Running",
                Environment,
            ),
            (
                530,
                "There is/are unbacked up snapshot(s) on this volume, resize volume is not permitted, please try again later.",
                Environment,
            ),
            (
                530,
                "This kind of KVM disk cannot be resized while it is connected to a VM that's not in the Stopped state.",
                Environment,
            ),
            (
                530,
                "Storage pool nfs1 does not have enough space to resize volume v",
                Environment,
            ),
            (530, "deviceId should be 0,1,2,4-33", Refused),
            (
                530,
                "Failed to attach local data volume v to VM w as migration of local data volume is not allowed",
                Refused,
            ),
            (
                531,
                "Cannot perform this operation, Zone is currently disabled: 1",
                Environment,
            ),
            (
                530,
                "tag volume-daemon/uid already on Volume with id 6f1a",
                Environment,
            ),
            (
                530,
                "Maintenance or Shutdown has been initiated on this management server. Can not accept new jobs",
                Retry,
            ),
            // Codes.
            (431, "Please specify a valid disk offering.", Refused),
            (
                431,
                "Please specify a VM that is in the same zone as the volume.",
                Refused,
            ),
            (432, "Unable to shrink volumes of type QCOW2", Refused),
            (
                432,
                "Going from existing size of 2 to size of 1 would shrink the volume.Need to sign off",
                Refused,
            ),
            (
                530,
                "Internal error executing command, please contact your system administrator",
                Retry,
            ),
            (530, "Failed to attach volume v to VM w; timeout", Retry),
            (531, "Please check your permissions", Refused),
            (532, "limit", Quota),
            (533, "capacity", Environment),
            (534, "unavailable", Retry),
            (535, "Internal", Quota),
            (536, "in use", Environment),
            (503, "down", Retry),
            (430, "map", Refused),
            (999, "new", Refused),
        ] {
            assert_eq!(classify(code, text), class, "{code} {text}");
        }
    }

    #[test]
    fn every_rule_can_match_first_and_names_its_source() {
        for (index, rule) in TEXTS.iter().enumerate() {
            let first = TEXTS
                .iter()
                .position(|other| contains(rule.fragment, other.fragment));
            assert_eq!(
                first,
                Some(index),
                "{:?} is hidden by an earlier rule",
                rule.fragment
            );
            assert!(rule.source.ends_with(".java"), "{:?}", rule.fragment);
        }
    }

    #[test]
    fn a_throttled_call_says_for_how_long() {
        for (text, wait_ms) in [
            (
                "The given user has reached his/her account api limit, please retry after [730] ms.",
                730,
            ),
            ("please wait", 1000),
            ("retry after [] ms", 1000),
            ("retry after [99999999999999999999999] ms", 1000),
        ] {
            let error = CloudStackError::from_answer("listVolumes", 429, text.to_owned());
            assert_eq!(
                error.outcome(),
                CallOutcome::NotExecuted {
                    class: FailureClass::Throttled,
                    retry_after: Some(Duration::from_millis(wait_ms)),
                },
                "{text}"
            );
        }
    }

    #[test]
    fn only_what_cloudstack_says_before_acting_proves_that_it_did_not() {
        let job = Uuid::from_u128(7);
        let known = |class| CallOutcome::NotExecuted {
            class,
            retry_after: None,
        };
        for (code, text, outcome) in [
            (
                431,
                "Please specify a valid disk offering.".to_owned(),
                known(Refused),
            ),
            (
                535,
                "Maximum amount of resources of Type".to_owned(),
                known(Quota),
            ),
            (503, "Can not accept new jobs".to_owned(), known(Retry)),
            (
                401,
                "unable to verify user credentials".to_owned(),
                known(Environment),
            ),
            (
                530,
                format!("{SHUTTING_DOWN} on this management server"),
                known(Retry),
            ),
            (
                530,
                "Internal error executing command".to_owned(),
                CallOutcome::Unknown,
            ),
            (500, String::new(), CallOutcome::Unknown),
            (
                431,
                format!("UUID: {job} already exists so can't create/update with custom id"),
                CallOutcome::Unknown,
            ),
        ] {
            let error = CloudStackError::from_answer("createVolume", code, text.clone())
                .after_submission(job);
            assert_eq!(error.outcome(), outcome, "{code} {text}");
        }
    }

    #[test]
    fn a_missing_entity_is_told_by_its_own_id() {
        let (id, project) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let says = |parameter: &str, id: Uuid| {
            CloudStackError::from_answer(
                "listVolumes",
                431,
                format!(
                    "Unable to execute API command listvolumes due to invalid value. Invalid \
                     parameter {parameter} value={id} due to incorrect long value format, or entity \
                     does not exist or due to incorrect parameter annotation for the field in api cmd class."
                ),
            )
        };
        assert!(says("id", id).never_existed(id));
        assert!(
            !says("projectid", project).never_existed(id),
            "a missing project is not a missing volume"
        );
        let business = "Unable to find volume with ID: 7".to_owned();
        assert!(!CloudStackError::from_answer("x", 431, business).never_existed(id));
    }

    #[test]
    fn a_lower_page_size_is_read_from_the_refusal() {
        let error = CloudStackError::from_answer(
            "listVolumes",
            431,
            "Page size can't exceed max allowed page size value: 100".to_owned(),
        );
        assert_eq!(error.page_len_cap(), Some(100));
    }

    #[test]
    fn a_tag_that_is_there_already_is_recognised() {
        assert!(tag_already_set(
            "tag volume-daemon/uid already on Volume with id 6f1a"
        ));
        assert!(!tag_already_set("Failed to delete tags"));
    }
}
