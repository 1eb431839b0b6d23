//! What the codes in `held_by` mean, how each ends, and the command that helps a person on.
//!
//! What they mean is read from the reference for people, which a test keeps equal to the planner.

use crate::config::Address;
use crate::model::desired::{AttachVm, NameOrId, Origin};
use crate::model::{DesiredVolume, VmId};
use crate::reconcile::report::{Report, VolumeStatus};

/// The reference, with a row like `` | `Code`, `Other` | What it means. | `` for each reason.
const REFERENCE: &str = include_str!("../../docs/conditions.md");

/// The codes of the reference, with what they mean.
fn reference() -> impl Iterator<Item = (Vec<&'static str>, &'static str)> {
    REFERENCE.lines().filter_map(|line| {
        let (codes, meaning) = line.strip_prefix("| `")?.split_once(" | ")?;
        let codes = codes.split(", ").map(|code| code.trim_matches('`'));
        Some((codes.collect(), meaning.trim_end_matches(" |")))
    })
}

/// What a code means, as a sentence; `None` for one that is not in the reference.
pub(super) fn meaning(code: &str) -> Option<&'static str> {
    let mut rows = reference();
    let (_, meaning) = rows.find(|(codes, _)| codes.contains(&code))?;
    Some(meaning)
}

/// What ends it, and whether anybody has to do something for that.
pub(super) fn goes_on(code: &str) -> &'static str {
    match code {
        "InProgress" => {
            "goes on when CloudStack says that the call has ended; it is asked all the time"
        }
        "ForeignJob" => "goes on when that job has ended",
        "Transitional" => "goes on when that state has passed",
        "QuotaExceeded" | "Throttled" | "EnvironmentNotReady" | "Retrying" => {
            "is tried again by itself, each time after a longer pause"
        }
        "WaitingForDevice" => "goes on as soon as the disk appears",
        "WaitingForDeviceSize" => "goes on as soon as the disk has grown",
        "HealDelay" => "is restored by itself",
        "Paused" => "ends by itself, or with volume-daemon resume",
        "StoreRolledBack" => "goes on when the newer store is back, or this one was taken over",
        "Abandoned" => "ends by itself, unless the spec returns",
        "ExportSizePending" => "ends when the client reconnects; it is never cut off",
        "WaitingForClients" => "goes on when the client leaves; it is never cut off",
        "Draining" => "goes on when the last request is answered",
        "Observing" => "goes on as soon as that is read",
        "Refused" | "Immutable" | "Held" => "goes on when the spec changes",
        "GuardFrozen" => {
            "goes on by itself when the cause has been gone for two full looks at CloudStack, or when \
             a person approves it"
        }
        "RowMissing" => "goes on when the row is back",
        "Contended" => "is restored once more when an hour has passed",
        "InternalError" => "goes on when the daemon is mended",
        _ => "goes on by itself once somebody has settled that",
    }
}

/// What a command may be made from.
#[derive(Clone, Copy)]
pub(super) struct Help<'a> {
    /// All that is reported.
    pub report: &'a Report,
    /// The volume.
    pub volume: &'a VolumeStatus,
    /// What is asked for, if that is known.
    pub spec: Option<&'a DesiredVolume>,
    /// Where clients reach the exports.
    pub nbd: &'a Address,
}

/// The command that helps a person on, for what holds the volume up. It only ever looks: what is
/// to be changed is for the person to decide, and the reason says it.
pub(super) fn try_this(help: Help<'_>) -> Option<String> {
    let name = &help.volume.name;
    Some(match help.volume.plan.held_by.first()?.code.as_str() {
        "InProgress"
        | "ForeignJob"
        | "Transitional"
        | "WaitingForDevice"
        | "WaitingForDeviceSize"
        | "HealDelay"
        | "Paused"
        | "Draining"
        | "Observing" => format!("volume-daemon wait volume/{name} --for=Ready"),
        "Abandoned" => format!("volume-daemon wait volume/{name} --for=Released"),
        "QuotaExceeded" | "Throttled" | "EnvironmentNotReady" | "Retrying" | "Contended" => {
            format!("volume-daemon get intents {name} -o wide")
        }
        "ExportSizePending" | "WaitingForClients" => help.clients(),
        "SourceUnknown" | "SelfUnknown" => "volume-daemon check".to_owned(),
        "NotFound" | "Ambiguous" | "NameTaken" | "NameShared" | "Immutable" | "VMGone"
        | "BoundToOther" | "NotAttachedHere" | "Refused" | "Held" => help.edit()?,
        "ForeignAttachment" | "OtherVMRunning" | "VanishedElsewhere" | "PlacementDisputed"
        | "VolumeDestroyed" | "VolumeLost" | "SerialCollision" | "NotDeletable" => help.list()?,
        "VolumeAtRisk" => format!(
            "cmk list virtualmachines id={}",
            help.volume.attachment.as_ref()?.vm
        ),
        "ClaimedBy" | "ClaimedTwice" => "cmk list tags key=volume-daemon/uid".to_owned(),
        "ExportNameTaken" => "volume-daemon get exports".to_owned(),
        "RootNeedsStoppedVM" | "RootTaken" => help.vm()?,
        "CreateUnknown" => help.named(),
        "DeviceBusy" | "DeviceMismatch" => help.disk(),
        "StoreRolledBack" => "volume-daemon take-over".to_owned(),
        "GuardFrozen" => "volume-daemon approve".to_owned(),
        "RowMissing" => format!("volume-daemon get sources row:{name}"),
        "ClockSkew" => "timedatectl".to_owned(),
        "InternalError" => format!("journalctl -u volume-daemon --grep {name}"),
        _ => return None,
    })
}

impl Help<'_> {
    fn edit(self) -> Option<String> {
        let file = self.volume.owner.strip_prefix("file:")?;
        Some(format!(
            "edit {file}, then volume-daemon plan {file} shows what would happen"
        ))
    }

    fn list(self) -> Option<String> {
        Some(format!("cmk list volumes id={}", self.volume.volume_id?))
    }

    /// The VM that it is to be attached to.
    fn vm(self) -> Option<String> {
        let by_id = |id: VmId| format!("cmk list virtualmachines id={id}");
        match &self.spec?.spec().attach_to.as_ref()?.vm {
            AttachVm::SelfVm => self.report.self_vm.map(by_id),
            AttachVm::Nobody => None,
            AttachVm::Vm(NameOrId::Id(id)) => Some(by_id(*id)),
            AttachVm::Vm(NameOrId::Name(name)) => {
                Some(format!("cmk list virtualmachines name={}", quoted(name)))
            }
        }
    }

    /// The volumes that a create may have made.
    fn named(self) -> String {
        match self.spec.map(|spec| &spec.spec().origin) {
            Some(Origin::Create { volume_name, .. }) => {
                format!("cmk list volumes name={}", quoted(volume_name))
            }
            Some(Origin::Existing { .. }) | None => {
                format!("volume-daemon get intents {} -o wide", self.volume.name)
            }
        }
    }

    fn disk(self) -> String {
        let columns = "lsblk -o NAME,SIZE,SERIAL,FSTYPE,MOUNTPOINTS";
        match &self.volume.device {
            Some(device) => format!("{columns} {}", device.path),
            None => columns.to_owned(),
        }
    }

    /// Who is connected to the NBD server.
    fn clients(self) -> String {
        match self.nbd {
            Address::Tcp(at) => format!("ss -tnp state established sport = :{}", at.port()),
            Address::Unix(path) => format!("ss -xp state connected | grep {}", path.display()),
        }
    }
}

/// A name as one word of a shell.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.bytes().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{blocked, report};

    #[test]
    fn every_reason_has_a_meaning_and_a_command() {
        let nbd = Address::Unix("/run/nbd.sock".into());
        let spec = crate::cli::fixture::spec("pg");
        let mut seen = 0;
        for (codes, meaning) in reference() {
            assert!(meaning.ends_with('.'), "{codes:?}: {meaning}");
            for code in codes {
                assert_eq!(super::meaning(code), Some(meaning));
                let mut volume = blocked("pg");
                volume.plan.held_by[0].code = code.to_owned();
                let report = report([volume.clone()]);
                let help = Help {
                    report: &report,
                    volume: &volume,
                    spec: Some(&spec),
                    nbd: &nbd,
                };
                assert!(try_this(help).is_some(), "{code}: nothing to try");
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen}");
        assert_eq!(meaning("NoSuchCode"), None);
    }

    #[test]
    fn a_name_is_one_word() {
        assert_eq!(quoted("pg-data_1.x"), "pg-data_1.x");
        assert_eq!(quoted("it's $(x)"), "'it'\\''s $(x)'");
    }
}
