//! What a spec asks for, in the words in which the chain says what there is.

use super::output::line;
use crate::model::desired::{AttachVm, Mode, Origin, Reclaim};
use crate::model::{DesiredVolume, Presence, VolumeId};

/// The volume.
pub(super) fn volume(spec: &DesiredVolume) -> String {
    let text = match &spec.spec().origin {
        Origin::Create {
            volume_name,
            size,
            zone,
            offering,
        } => format!("volume {volume_name}, {size}, from {offering} in {zone}"),
        Origin::Existing { volume, size } => match size {
            Some(size) => format!("existing volume {volume}, grown to {size}"),
            None => format!("existing volume {volume}"),
        },
    };
    line(&text)
}

/// Where it is to be attached.
pub(super) fn place(spec: &DesiredVolume) -> String {
    match spec
        .spec()
        .attach_to
        .as_ref()
        .map(|at| (&at.vm, at.device_id))
    {
        None => "its attachment is not managed".to_owned(),
        Some((AttachVm::Nobody, _)) => "on no VM".to_owned(),
        Some((vm, device)) => {
            let vm = match vm {
                AttachVm::Vm(vm) => line(&format!("on VM {vm}")),
                AttachVm::SelfVm | AttachVm::Nobody => "on this VM".to_owned(),
            };
            match device {
                Some(id) => format!("{vm} as device {id}"),
                None => vm,
            }
        }
    }
}

/// How it is to be served, if at all.
pub(super) fn export(spec: &DesiredVolume, volume: Option<VolumeId>) -> String {
    let Some(export) = &spec.spec().export else {
        return "not served".to_owned();
    };
    let name = match (&export.name, volume) {
        (Some(name), _) => name.to_string(),
        (None, Some(volume)) => format!("migration-vol-{volume}"),
        (None, None) => "migration-vol-<its id>".to_owned(),
    };
    let mode = if export.read_only {
        "read-only"
    } else {
        "read-write"
    };
    format!("{name}, {mode}")
}

/// What the daemon may do about it, and what when the spec is gone.
pub(super) fn policy(spec: &DesiredVolume) -> String {
    let of = spec.spec();
    let mut text = match (of.mode, of.suspend) {
        (Mode::Enforce, false) => "enforced",
        (Mode::Enforce, true) => "suspended: nothing is done",
        (Mode::Observe, _) => "observed only: nothing is done",
    }
    .to_owned();
    if spec.presence != Presence::Declared {
        text += "; its spec is gone";
    }
    text += match of.reclaim_policy {
        Reclaim::Retain => "; Retain: once the spec is gone, only the export ends",
        Reclaim::Detach => "; Detach: once the spec is gone, its export ends and it is detached",
        Reclaim::Delete if of.deletion_protection => {
            "; Delete, with deletionProtection: once the spec is gone, it is detached only"
        }
        Reclaim::Delete => "; Delete: once the spec is gone, the volume is detached and deleted",
    };
    text
}
