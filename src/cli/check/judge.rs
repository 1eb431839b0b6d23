//! Facts in, findings out. Pure: nothing here looks at anything.
//!
//! A check that needs another one says so instead of guessing, and a fix says what to do next, in the
//! order in which to do it.

mod assembly;
mod cloud;
mod daemon;
mod machine;
mod nbd;
mod objects;
mod settings;

use std::time::Duration;

use super::facts::{Asked, Cloud, Daemon, Look, Machine, Nbd, Settings};
use super::finding::{CHECKS, Finding};
use crate::cloudstack::CloudStackError;
use crate::telemetry::chain;

/// All that was seen. Without usable settings there is nowhere to look.
pub(super) struct Facts {
    pub settings: Settings,
    pub rest: Option<Rest>,
}

/// What could only be looked at with settings.
pub(super) struct Rest {
    pub cloud: Cloud,
    pub machine: Machine,
    pub nbd: Nbd,
    pub daemon: Daemon,
}

/// One finding for each check, in their order.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = settings::judge(&facts.settings);
    if let (Some(rest), Ok(config)) = (&facts.rest, &facts.settings.config) {
        found.extend(cloud::judge(&rest.cloud, config));
        found.extend(objects::judge(&rest.cloud, &facts.settings));
        found.extend(machine::judge(&rest.machine, config));
        found.extend(nbd::judge(&rest.nbd, config));
        found.extend(daemon::judge(&rest.daemon, &rest.machine, config));
    }
    let names = CHECKS.iter().flat_map(|(_, names)| names.iter());
    names
        .map(|name| {
            let at = found.iter().position(|finding| finding.check == *name);
            at.map_or_else(|| needs(name, "config"), |at| found.swap_remove(at))
        })
        .collect()
}

/// A check that was not made.
fn needs(check: &'static str, other: &str) -> Finding {
    Finding::skipped(check, format!("needs {other}"))
}

/// A check that did not end.
fn late(check: &'static str, limit: Duration, fix: &str) -> Finding {
    let message = format!("no answer within {} s", limit.as_secs_f32());
    Finding::failed(check, message, fix)
}

/// What CloudStack answered, or the finding that there is no such answer.
fn answered<'a, T>(check: &'static str, asked: &'a Asked<T>) -> Result<&'a T, Finding> {
    match asked {
        Look::Done(Ok(answer)) => Ok(answer),
        Look::Done(Err(error)) => Err(refused(check, error)),
        Look::Late(limit) => Err(late(check, *limit, BUSY)),
        Look::Needs(other) => Err(needs(check, other)),
    }
}

const BUSY: &str = "see whether CloudStack is overloaded (management-server.log), or something on the way \
                    swallows packets; then try again with a longer --timeout";

/// A call that CloudStack did not carry out, though it had accepted our keys.
fn refused(check: &'static str, error: &CloudStackError) -> Finding {
    let fix = match error {
        CloudStackError::Unauthorized { command, .. } => {
            return Finding::failed(
                check,
                format!("the role of this account does not allow {command}"),
                format!("allow {command} in the role (CloudStack: Roles, Rules)"),
            );
        }
        CloudStackError::Throttled { .. } => {
            "wait a moment, or raise api.throttling.max in CloudStack"
        }
        CloudStackError::NoAnswer { .. } => {
            "try again: it may be restarting; then see management-server.log, and proxies on the way"
        }
        CloudStackError::NotSent { .. }
        | CloudStackError::Undecodable { .. }
        | CloudStackError::Failed { .. }
        | CloudStackError::Uncertain { .. }
        | CloudStackError::Unsettled { .. }
        | CloudStackError::NotACloudAction { .. } => "try again; then see management-server.log",
    };
    Finding::failed(check, chain(error), fix)
}

/// `a, b and 3 more`: enough to act upon, and no more than a line.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

#[cfg(test)]
mod tests;
