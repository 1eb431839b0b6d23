//! Faults as they are written in JSON and YAML: one flat object each, so that a parser knows
//! the place of every mistake.

use serde::{Deserialize, Serialize};

use super::{DropWhen, Fault, OutageMode, Target, When};

/// A file of faults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultFile {
    /// What is armed when the simulator starts, in this order.
    pub faults: Vec<Fault>,
}

/// What goes wrong, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "they are the variants of Fault")]
pub enum FaultKind {
    DropResponse,
    DelayResponse,
    DuplicateRequest,
    LateRequest,
    TooManyRequests,
    BadGateway,
    ServiceUnavailable,
    InternalError,
    StuckJob,
    DelayJob,
    StragglingDetach,
    FailJob,
    StorageFailure,
    DetachTimeout,
    DeleteStuck,
    PurgeJob,
    LoseJob,
    MissRows,
    RepeatRows,
    StaleListing,
    ClockSkew,
    Outage,
    Restart,
}

/// Everything that any kind takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wire {
    kind: FaultKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<When>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<Target>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<DropWhen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<OutageMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_plugged: Option<bool>,
}

impl Wire {
    const fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            at: None,
            on: None,
            when: None,
            ms: None,
            retry_after_ms: None,
            rows: None,
            text: None,
            mode: None,
            keep_plugged: None,
        }
    }

    fn on(&mut self) -> Target {
        self.on.take().unwrap_or_default()
    }

    fn millis(&mut self) -> Result<u64, String> {
        let millis = needed("ms", self.ms.take())?;
        u64::try_from(millis).map_err(|_| "ms must not be negative".to_owned())
    }

    fn rows(&mut self) -> Result<u32, String> {
        match needed("rows", self.rows.take())? {
            0 => Err("rows must be at least 1".to_owned()),
            rows => Ok(rows),
        }
    }

    /// A mistake with the kind of fault in which it is.
    fn named(&self, why: &str) -> String {
        match serde_json::to_value(self.kind) {
            Ok(serde_json::Value::String(kind)) => format!("{kind}: {why}"),
            Ok(_) | Err(_) => why.to_owned(),
        }
    }

    /// What is left when the kind has taken its own.
    const fn left_over(&self) -> Option<&'static str> {
        if self.on.is_some() {
            Some("on")
        } else if self.when.is_some() {
            Some("when")
        } else if self.ms.is_some() {
            Some("ms")
        } else if self.retry_after_ms.is_some() {
            Some("retryAfterMs")
        } else if self.rows.is_some() {
            Some("rows")
        } else if self.text.is_some() {
            Some("text")
        } else if self.mode.is_some() {
            Some("mode")
        } else if self.keep_plugged.is_some() {
            Some("keepPlugged")
        } else {
            None
        }
    }

    #[rustfmt::skip]
    fn fault(&mut self) -> Result<Fault, String> {
        Ok(match self.kind {
            FaultKind::DropResponse => Fault::DropResponse { on: self.on(), when: needed("when", self.when.take())? },
            FaultKind::DelayResponse => Fault::DelayResponse { on: self.on(), ms: self.millis()? },
            FaultKind::DuplicateRequest => Fault::DuplicateRequest { on: self.on() },
            FaultKind::LateRequest => Fault::LateRequest { on: self.on(), ms: self.millis()? },
            FaultKind::TooManyRequests => Fault::TooManyRequests {
                on: self.on(),
                retry_after_ms: needed("retryAfterMs", self.retry_after_ms.take())?,
            },
            FaultKind::BadGateway => Fault::BadGateway { on: self.on() },
            FaultKind::ServiceUnavailable => Fault::ServiceUnavailable { on: self.on() },
            FaultKind::InternalError => Fault::InternalError { on: self.on(), text: needed("text", self.text.take())? },
            FaultKind::StuckJob => Fault::StuckJob { on: self.on() },
            FaultKind::DelayJob => Fault::DelayJob { on: self.on(), ms: self.millis()? },
            FaultKind::StragglingDetach => Fault::StragglingDetach { on: self.on(), ms: self.millis()? },
            FaultKind::FailJob => Fault::FailJob { on: self.on(), text: needed("text", self.text.take())? },
            FaultKind::StorageFailure => Fault::StorageFailure { on: self.on() },
            FaultKind::DetachTimeout => Fault::DetachTimeout { on: self.on() },
            FaultKind::DeleteStuck => Fault::DeleteStuck { on: self.on() },
            FaultKind::PurgeJob => Fault::PurgeJob { on: self.on() },
            FaultKind::LoseJob => Fault::LoseJob { on: self.on(), when: needed("when", self.when.take())? },
            FaultKind::MissRows => Fault::MissRows { on: self.on(), rows: self.rows()? },
            FaultKind::RepeatRows => Fault::RepeatRows { on: self.on(), rows: self.rows()? },
            FaultKind::StaleListing => Fault::StaleListing { on: self.on(), ms: self.millis()? },
            FaultKind::ClockSkew => Fault::ClockSkew { ms: needed("ms", self.ms.take())? },
            FaultKind::Outage => Fault::Outage { mode: needed("mode", self.mode.take())?, ms: self.millis()? },
            FaultKind::Restart => Fault::Restart { keep_plugged: self.keep_plugged.take().unwrap_or_default() },
        })
    }
}

fn needed<T>(name: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("missing field `{name}`"))
}

impl TryFrom<Wire> for Fault {
    type Error = String;

    fn try_from(mut wire: Wire) -> Result<Self, String> {
        let at = wire.at.take();
        let fault = wire.fault().map_err(|why| wire.named(&why))?;
        if let Some(name) = wire.left_over() {
            return Err(wire.named(&format!("`{name}` has no meaning here")));
        }
        match (at, fault.target()) {
            (None, Some(on)) => check_commands(on).map(|()| fault),
            (None, None) => Ok(fault),
            (Some(at), None) => Ok(Self::At {
                at,
                fault: Box::new(fault),
            }),
            (Some(_), Some(_)) => {
                Err("`at` is for what happens at a moment; use on.from".to_owned())
            }
        }
    }
}

/// A command that does not exist would never be struck.
fn check_commands(on: &Target) -> Result<(), String> {
    let known = |pattern: &&str| {
        !crate::sim::front::command_names().any(|name| super::target::fits(pattern, name))
    };
    match on.command.iter().find(known) {
        None => Ok(()),
        Some(unknown) => Err(format!("the simulator has no command {unknown}")),
    }
}

impl From<Fault> for Wire {
    #[rustfmt::skip]
    fn from(fault: Fault) -> Self {
        let on = fault.target().cloned();
        let with = |kind| Self { on, ..Self::new(kind) };
        let signed = |ms: u64| Some(i64::try_from(ms).unwrap_or(i64::MAX));
        match fault {
            Fault::DropResponse { when, .. } => Self { when: Some(when), ..with(FaultKind::DropResponse) },
            Fault::DelayResponse { ms, .. } => Self { ms: signed(ms), ..with(FaultKind::DelayResponse) },
            Fault::DuplicateRequest { .. } => with(FaultKind::DuplicateRequest),
            Fault::LateRequest { ms, .. } => Self { ms: signed(ms), ..with(FaultKind::LateRequest) },
            Fault::TooManyRequests { retry_after_ms, .. } => Self { retry_after_ms: Some(retry_after_ms), ..with(FaultKind::TooManyRequests) },
            Fault::BadGateway { .. } => with(FaultKind::BadGateway),
            Fault::ServiceUnavailable { .. } => with(FaultKind::ServiceUnavailable),
            Fault::InternalError { text, .. } => Self { text: Some(text), ..with(FaultKind::InternalError) },
            Fault::StuckJob { .. } => with(FaultKind::StuckJob),
            Fault::DelayJob { ms, .. } => Self { ms: signed(ms), ..with(FaultKind::DelayJob) },
            Fault::StragglingDetach { ms, .. } => Self { ms: signed(ms), ..with(FaultKind::StragglingDetach) },
            Fault::FailJob { text, .. } => Self { text: Some(text), ..with(FaultKind::FailJob) },
            Fault::StorageFailure { .. } => with(FaultKind::StorageFailure),
            Fault::DetachTimeout { .. } => with(FaultKind::DetachTimeout),
            Fault::DeleteStuck { .. } => with(FaultKind::DeleteStuck),
            Fault::PurgeJob { .. } => with(FaultKind::PurgeJob),
            Fault::LoseJob { when, .. } => Self { when: Some(when), ..with(FaultKind::LoseJob) },
            Fault::MissRows { rows, .. } => Self { rows: Some(rows), ..with(FaultKind::MissRows) },
            Fault::RepeatRows { rows, .. } => Self { rows: Some(rows), ..with(FaultKind::RepeatRows) },
            Fault::StaleListing { ms, .. } => Self { ms: signed(ms), ..with(FaultKind::StaleListing) },
            Fault::ClockSkew { ms } => Self { ms: Some(ms), ..with(FaultKind::ClockSkew) },
            Fault::Outage { mode, ms } => Self { mode: Some(mode), ms: signed(ms), ..with(FaultKind::Outage) },
            Fault::Restart { keep_plugged } => Self { keep_plugged: Some(keep_plugged), ..with(FaultKind::Restart) },
            Fault::At { at, fault } => Self { at: Some(at), ..Self::from(*fault) },
        }
    }
}
