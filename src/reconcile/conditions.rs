//! The facts about a volume in the form that waiting tools expect, each with the moment since
//! when it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::memory::FailureClass;
use crate::model::{DesiredVolume, FileState, Now, Owner, Presence, Timestamp, VolumeName};
use crate::plan::{Decision, SourceHealth, VolumePlan};

use super::report::{Condition, Truth, VolumeStatus};
use super::status::Facts;

/// Remembers since when each condition has had its status.
#[derive(Debug, Default)]
pub struct Transitions(BTreeMap<(VolumeName, String), (Truth, Timestamp)>);

impl Transitions {
    fn since(&mut self, name: &VolumeName, kind: &str, status: Truth, now: Timestamp) -> Timestamp {
        let entry = self
            .0
            .entry((name.clone(), kind.to_owned()))
            .or_insert((status, now));
        if entry.0 != status {
            *entry = (status, now);
        }
        entry.1
    }
}

/// One condition before it is known since when it holds.
struct Claim {
    kind: &'static str,
    status: Truth,
    reason: String,
    message: String,
}

pub(super) fn conditions(
    want: &DesiredVolume,
    planned: &VolumePlan,
    facts: &Facts<'_>,
    status: &VolumeStatus,
    transitions: &mut Transitions,
    now: Now,
) -> Vec<Condition> {
    let claims = [
        ready(planned, status),
        spec_current(want, facts),
        attached(facts, status),
        verified(facts),
        exported(facts),
        drifted(planned),
        blocked(planned, status),
        stalled(want, facts, now),
    ];
    claims
        .into_iter()
        .map(|claim| Condition {
            last_transition_time: transitions.since(
                want.name(),
                claim.kind,
                claim.status,
                now.wall,
            ),
            kind: claim.kind.to_owned(),
            status: claim.status,
            reason: claim.reason,
            message: claim.message,
            observed_generation: want.generation,
        })
        .collect()
}

fn code(status: &VolumeStatus, otherwise: &str) -> String {
    match status.plan.held_by.first() {
        Some(reason) => reason.code.clone(),
        None => otherwise.to_owned(),
    }
}

fn ready(planned: &VolumePlan, status: &VolumeStatus) -> Claim {
    let (truth, reason) = match &planned.decision {
        Decision::InSync => (Truth::True, "InSync".to_owned()),
        Decision::Released => (Truth::False, "Released".to_owned()),
        Decision::Act { .. } => (Truth::False, "Progressing".to_owned()),
        Decision::Waiting { .. } | Decision::Blocked { .. } => {
            (Truth::False, code(status, "NotReady"))
        }
        Decision::Observing { .. } => (Truth::Unknown, "Observing".to_owned()),
    };
    Claim {
        kind: "Ready",
        status: truth,
        reason,
        message: status.message.clone(),
    }
}

/// Whether what is in force is what its source says now.
fn spec_current(want: &DesiredVolume, facts: &Facts<'_>) -> Claim {
    let in_force = format!("generation {} stays in force", want.generation);
    let doubt = match (&want.owner, facts.sources) {
        (Owner::File(_), of_files) => of_files.doubt(),
        (Owner::Db(_), SourceHealth::Unread) => SourceHealth::Unread.doubt(),
        // Neither depends on a directory.
        (Owner::Db(_), SourceHealth::Sound | SourceHealth::Suspect(_)) | (Owner::Api, _) => None,
    };
    let (status, reason, message) = match (want.presence, doubt, facts.file) {
        (Presence::Abandoned { .. }, _, _) => (
            Truth::False,
            "Abandoned",
            "it is not written anywhere any more; write it again to keep it".to_owned(),
        ),
        (Presence::Declared, Some(doubt), _) => (
            Truth::Unknown,
            "SourceSuspect",
            format!("the specs cannot be believed: {doubt}; {in_force}"),
        ),
        (Presence::Declared, _, Some(file)) if file.state != FileState::Accepted => {
            let more = match file.problems.len() {
                0 | 1 => String::new(),
                all => format!(
                    " (and {} more: volume-daemon get sources {})",
                    all - 1,
                    file.path
                ),
            };
            let first = file
                .problems
                .first()
                .map(|problem| problem.message.as_str());
            let first = first.unwrap_or("see volume-daemon get sources");
            (
                Truth::False,
                file.state.as_str(),
                format!("{first}{more}; {in_force}"),
            )
        }
        (Presence::Declared, _, Some(_) | None) => (
            Truth::True,
            "Accepted",
            format!("what {} says is in force", want.owner),
        ),
    };
    Claim {
        kind: "SpecCurrent",
        status,
        reason: reason.to_owned(),
        message,
    }
}

fn attached(facts: &Facts<'_>, status: &VolumeStatus) -> Claim {
    let (truth, reason, message) = match (&status.attachment, facts.cloud_known) {
        (Some(at), _) => {
            let name = at.vm_name.as_deref().unwrap_or("?");
            (Truth::True, "Attached", format!("to VM {name} ({})", at.vm))
        }
        (None, true) => (Truth::False, "Detached", "on no VM".to_owned()),
        (None, false) => (
            Truth::Unknown,
            "SourceUnknown",
            "CloudStack could not be read".to_owned(),
        ),
    };
    Claim {
        kind: "Attached",
        status: truth,
        reason: reason.to_owned(),
        message,
    }
}

fn verified(facts: &Facts<'_>) -> Claim {
    let (truth, reason, message) = match (facts.device, facts.link) {
        (Some(device), Some(link)) => (
            Truth::True,
            "SerialMatches",
            format!("{link} is {}", device.kernel_name),
        ),
        (Some(device), None) => (
            Truth::False,
            "NoLink",
            format!("{} carries its serial but has no link", device.kernel_name),
        ),
        (None, _) => (
            Truth::False,
            "NoDevice",
            "no disk here carries its serial".to_owned(),
        ),
    };
    Claim {
        kind: "DeviceVerified",
        status: truth,
        reason: reason.to_owned(),
        message,
    }
}

fn exported(facts: &Facts<'_>) -> Claim {
    let (truth, reason, message) = match facts.export {
        Some((name, export)) if export.proven => {
            let reason = if facts.cloud.is_some() {
                "Exported"
            } else {
                "ExportedUnconfirmed"
            };
            (Truth::True, reason, format!("as {name}"))
        }
        Some((name, _)) => (
            Truth::False,
            "NotProven",
            format!("{name} is not backed by the proven disk"),
        ),
        None => (Truth::False, "NotExported", "not served".to_owned()),
    };
    Claim {
        kind: "Exported",
        status: truth,
        reason: reason.to_owned(),
        message,
    }
}

fn drifted(planned: &VolumePlan) -> Claim {
    let fields: Vec<&str> = planned
        .drift
        .iter()
        .map(|drift| drift.field.as_str())
        .collect();
    Claim {
        kind: "Drifted",
        status: if fields.is_empty() {
            Truth::False
        } else {
            Truth::True
        },
        reason: if fields.is_empty() {
            "NoDrift"
        } else {
            "Drift"
        }
        .to_owned(),
        message: if fields.is_empty() {
            "nothing differs unattended".to_owned()
        } else {
            format!("differs in {}", fields.join(", "))
        },
    }
}

fn blocked(planned: &VolumePlan, status: &VolumeStatus) -> Claim {
    let is_blocked = matches!(planned.decision, Decision::Blocked { .. });
    Claim {
        kind: "Blocked",
        status: if is_blocked {
            Truth::True
        } else {
            Truth::False
        },
        reason: if is_blocked {
            code(status, "Blocked")
        } else {
            "NotBlocked".to_owned()
        },
        message: if is_blocked {
            status.message.clone()
        } else {
            "nothing stands in the way for good".to_owned()
        },
    }
}

/// How long clients may take to leave where no spec says otherwise any more.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
/// Attempts in a row after which a step counts as stalled.
const STALLED_ATTEMPTS: u32 = 5;

/// Whether it has been tried, or waited for, longer than is normal.
fn stalled(want: &DesiredVolume, facts: &Facts<'_>, now: Now) -> Claim {
    let drain = want
        .spec()
        .export
        .as_ref()
        .map(|export| export.drain_timeout);
    let stalled = facts.failure.filter(|failure| match failure.class {
        FailureClass::InUse => now.boot.since(failure.since) > drain.unwrap_or(DRAIN_TIMEOUT),
        FailureClass::Refused => false,
        FailureClass::Environment
        | FailureClass::Retry
        | FailureClass::Quota
        | FailureClass::Throttled => failure.attempts >= STALLED_ATTEMPTS,
    });
    let (status, reason, message) = match stalled {
        None => (
            Truth::False,
            "NotStalled",
            "nothing takes too long".to_owned(),
        ),
        Some(failure) if failure.class == FailureClass::InUse => (
            Truth::True,
            "DrainTimeout",
            "clients still use the export; disconnect them, they are never cut off by a timer"
                .to_owned(),
        ),
        Some(failure) => (
            Truth::True,
            "RepeatedFailure",
            format!(
                "{} failed {} times in a row and goes on being tried: {}",
                failure.kind, failure.attempts, failure.text
            ),
        ),
    };
    Claim {
        kind: "Stalled",
        status,
        reason: reason.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, HERE, Seen, bound, name, now, want};
    use super::super::status::{Situation, note, write};
    use super::*;

    #[test]
    fn what_changed_while_nobody_asked_is_dated_all_the_same() {
        let (core, _) = Seen {
            cloud: vec![fixture::attached(1, HERE)],
            ..Seen::nothing(vec![want(1)])
        }
        .start(bound(&[1]));
        let situation = Situation {
            world: core.world(),
            plan: core.plan(),
            policy: core.policy(),
            files: core.files(),
            store_down: None,
        };
        let mut transitions = Transitions::default();
        note(situation, &name("disk-1"), &mut transitions, now(10));
        let report = write(situation, &mut transitions, now(5_000));
        let conditions = &report.volumes[0].conditions;
        assert!(conditions.len() > 5);
        for condition in conditions {
            assert_eq!(condition.last_transition_time, now(10).wall);
        }
    }
}
