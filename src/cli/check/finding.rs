//! What a check found, in a form that stays: `docs/check.md` describes it. Pure.

use serde::Serialize;

use crate::model::Timestamp;

/// How a check ended. In this order when it comes to what matters most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It could not be made, because another one failed first or there is nothing to check.
    Skipped,
    /// As it should be.
    Ok,
    /// The daemon works; somebody should look at it all the same.
    Warning,
    /// The daemon cannot do its work, or not all of it.
    Failed,
}

impl Status {
    /// As it is printed.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Which check; one of [`CHECKS`].
    pub check: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was found, in one sentence with the measured fact.
    pub message: String,
    /// What to do next, with a command where there is one; only where something is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            status: Status::Ok,
            message: message.into(),
            fix: None,
        }
    }

    pub(super) fn skipped(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: Status::Skipped,
            ..Self::ok(check, message)
        }
    }

    pub(super) fn warning(
        check: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Warning,
            fix: Some(fix.into()),
            ..Self::ok(check, message)
        }
    }

    pub(super) fn failed(
        check: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Failed,
            ..Self::warning(check, message, fix)
        }
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// When it was looked.
    pub at: Timestamp,
    /// The worst status of all checks.
    pub status: Status,
    /// How often each status came up.
    pub counts: Counts,
    /// One for each of [`CHECKS`], in its order.
    pub checks: Vec<Finding>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub ok: usize,
    pub warning: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Report {
    pub(super) fn new(at: Timestamp, checks: Vec<Finding>) -> Self {
        let mut counts = Counts::default();
        for finding in &checks {
            *match finding.status {
                Status::Skipped => &mut counts.skipped,
                Status::Ok => &mut counts.ok,
                Status::Warning => &mut counts.warning,
                Status::Failed => &mut counts.failed,
            } += 1;
        }
        let worst = checks.iter().map(|finding| finding.status).max();
        Self {
            at,
            status: worst.unwrap_or(Status::Ok),
            counts,
            checks,
        }
    }
}

/// Every check, in the order of the report, under its heading.
pub(super) const CHECKS: [(&str, &[&str]); 5] = [
    ("Settings", &["config", "credentials", "specs", "user"]),
    (
        "CloudStack",
        &[
            "dns",
            "tcp",
            "tls",
            "api",
            "clock",
            "permissions",
            "zone",
            "offering",
            "vm",
            "slots",
        ],
    ),
    ("This machine", &["identity", "disks", "udev", "lvm", "md"]),
    (
        "NBD server",
        &["nbd-program", "nbd-control", "nbd-listen", "nbd-server"],
    ),
    ("The daemon", &["store", "space", "daemon"]),
];
