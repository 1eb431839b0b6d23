//! What goes wrong, on demand. Faults are armed for a command, perhaps for one volume, and so
//! many times; a restart or an outage happens at once.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::SimTime;
use super::world::Trouble;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
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
    /// The job's agent fails: 530.
    FailJob {
        /// For which requests.
        on: Target,
        /// With which words.
        text: String,
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
        #[serde(default)]
        keep_plugged: bool,
    },
}

/// For which requests a fault is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// The command, as `attachVolume`; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The volume the request names; absent: any or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Uuid>,
    /// How many more times; 1 if absent.
    #[serde(default = "once")]
    pub count: u32,
}

const fn once() -> u32 {
    1
}

impl Target {
    /// The next request with this command.
    pub fn next(command: &str) -> Self {
        Self {
            command: Some(command.to_owned()),
            volume: None,
            count: 1,
        }
    }

    fn hits(&self, command: &str, volumes: &[Uuid]) -> bool {
        self.count > 0
            && self.command.as_ref().is_none_or(|wanted| wanted == command)
            && self.volume.is_none_or(|wanted| volumes.contains(&wanted))
    }
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

/// What goes wrong with one request, taken from the armed faults.
#[derive(Debug, Default)]
pub(super) struct Mishap {
    pub drop: Option<DropWhen>,
    pub delay_ms: u64,
    pub throttled_ms: Option<u64>,
    pub bad_gateway: bool,
    pub trouble: Option<Trouble>,
}

/// The armed faults.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    armed: Vec<Fault>,
    outage: Option<(OutageMode, SimTime)>,
}

impl Faults {
    pub(super) fn arm(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    pub(super) fn begin_outage(&mut self, mode: OutageMode, until: SimTime) {
        self.outage = Some((mode, until));
    }

    pub(super) fn outage(&self, now: SimTime) -> Option<OutageMode> {
        self.outage
            .filter(|(_, until)| now < *until)
            .map(|(mode, _)| mode)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn armed(&self) -> &[Fault] {
        &self.armed
    }

    /// Takes what is armed for a request: of each kind the first that fits.
    pub(super) fn strike(&mut self, command: &str, volumes: &[Uuid]) -> Mishap {
        let mut mishap = Mishap::default();
        for fault in &mut self.armed {
            match fault {
                Fault::DropResponse { on, when } => {
                    if mishap.drop.is_none() && take(on, command, volumes) {
                        mishap.drop = Some(*when);
                    }
                }
                Fault::DelayResponse { on, ms } => {
                    if mishap.delay_ms == 0 && take(on, command, volumes) {
                        mishap.delay_ms = *ms;
                    }
                }
                Fault::TooManyRequests { on, retry_after_ms } => {
                    if mishap.throttled_ms.is_none() && take(on, command, volumes) {
                        mishap.throttled_ms = Some(*retry_after_ms);
                    }
                }
                Fault::BadGateway { on } => {
                    if !mishap.bad_gateway && take(on, command, volumes) {
                        mishap.bad_gateway = true;
                    }
                }
                Fault::StuckJob { on } => {
                    if mishap.trouble.is_none() && take(on, command, volumes) {
                        mishap.trouble = Some(Trouble::NeverEnds);
                    }
                }
                Fault::DelayJob { on, ms } => {
                    if mishap.trouble.is_none() && take(on, command, volumes) {
                        mishap.trouble = Some(Trouble::Delay(*ms));
                    }
                }
                Fault::FailJob { on, text } => {
                    if mishap.trouble.is_none() && take(on, command, volumes) {
                        mishap.trouble = Some(Trouble::Fails(text.clone()));
                    }
                }
                // These two are never armed: they happen when they are injected.
                Fault::Outage { .. } | Fault::Restart { .. } => {}
            }
        }
        self.armed.retain(|fault| !used_up(fault));
        mishap
    }
}

fn take(on: &mut Target, command: &str, volumes: &[Uuid]) -> bool {
    let hit = on.hits(command, volumes);
    if hit {
        on.count -= 1;
    }
    hit
}

fn used_up(fault: &Fault) -> bool {
    match fault {
        Fault::DropResponse { on, .. }
        | Fault::DelayResponse { on, .. }
        | Fault::TooManyRequests { on, .. }
        | Fault::BadGateway { on }
        | Fault::StuckJob { on }
        | Fault::DelayJob { on, .. }
        | Fault::FailJob { on, .. } => on.count == 0,
        Fault::Outage { .. } | Fault::Restart { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_json() {
        let text =
            r#"{"kind":"dropResponse","on":{"command":"createVolume"},"when":"afterCommit"}"#;
        let fault: Fault = serde_json::from_str(text).expect("a fault");
        assert_eq!(
            fault,
            Fault::DropResponse {
                on: Target::next("createVolume"),
                when: DropWhen::AfterCommit
            }
        );
        let restart: Fault = serde_json::from_str(r#"{"kind":"restart"}"#).expect("a fault");
        assert_eq!(
            restart,
            Fault::Restart {
                keep_plugged: false
            }
        );
        for wrong in [
            r#"{"kind":"restart","keepPluged":true}"#,
            r#"{"kind":"stuckJob","on":{"comand":"x"}}"#,
            r#"{"kind":"badLuck"}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_says_and_only_its_target() {
        let volume = Uuid::from_u128(7);
        let mut faults = Faults::default();
        faults.arm(Fault::StuckJob {
            on: Target {
                command: Some("attachVolume".to_owned()),
                volume: Some(volume),
                count: 2,
            },
        });
        assert_eq!(faults.strike("detachVolume", &[volume]).trouble, None);
        assert_eq!(faults.strike("attachVolume", &[]).trouble, None);
        for _ in 0..2 {
            let mishap = faults.strike("attachVolume", &[volume]);
            assert_eq!(mishap.trouble, Some(Trouble::NeverEnds));
        }
        assert_eq!(faults.strike("attachVolume", &[volume]).trouble, None);
        assert!(faults.armed().is_empty());
    }
}
