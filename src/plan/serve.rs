//! What is served, and the proof it takes.
//!
//! Starting takes every fact Present; keeping takes that none contradicts (I3). The hard withdraw
//! stands above everything else, because an unplugged disk reads as zeros, with success.

use std::collections::BTreeMap;

use crate::model::action::DeviceProof;
use crate::model::desired::AttachVm;
use crate::model::memory::Binding;
use crate::model::observed::{CloudVolume, Device, Reading, ServedExport};
use crate::model::{Action, ByteSize, Cause, ExportName, NodeName, VmId, VolumeId, WithdrawMode};

use super::decide::{Case, Goal, serial};
use super::drift::{Drift, DriftClass};
use super::path::Path;
use super::reason::{Blocked, Waiting};
use super::{Reread, Step};

/// The reason of a withdrawal that only makes room for the grown size.
pub(super) const GROWN: &str = "the disk has grown; the export is made anew with its size";

/// The step that ends, at once, an export which is not or no longer the right disk.
pub(super) fn hard_withdraw(case: &Case<'_>, binding: &Binding) -> Option<Step> {
    if is_outdated(case) {
        // Withdrawn already, for all we know; the server is being asked again.
        return None;
    }
    let (name, export, why) = served(case, binding)
        .into_iter()
        .filter(|(_, export)| !export.draining)
        .find_map(|(name, export)| Some((name, export, wrong(case, binding, export)?)))?;
    Some(Step {
        action: withdrawal(binding, name, export, WithdrawMode::Hard),
        cause: Cause::Healing,
        reason: why,
    })
}

/// Why `export` must end at once, if it must.
fn wrong(case: &Case<'_>, binding: &Binding, export: &ServedExport) -> Option<String> {
    let Reading::Present(disks) = &case.world.observed.host.disks else {
        return elsewhere(case, binding);
    };
    let serial = serial(binding);
    let Some(device) = disks
        .with_serial(&serial)
        .find(|device| node_of(device, binding) == export.node)
        .or_else(|| disks.with_serial(&serial).next())
    else {
        return Some(format!(
            "the disk with serial {serial} is gone from this VM"
        ));
    };
    if node_of(device, binding) != export.node {
        return Some(format!(
            "the disk with serial {serial} is another one than was proven"
        ));
    }
    if device.size.is_zero() || device.size < export.size {
        return Some(format!(
            "the disk shows {}, less than the {} that are served",
            device.size, export.size
        ));
    }
    let is_current = matches!(case.world.observed.nbd.exports, Reading::Present(_));
    if is_current && !export.proven {
        return Some("the NBD server does not hold the disk that was proven".to_owned());
    }
    elsewhere(case, binding)
}

/// CloudStack freshly says that the volume is on another VM.
fn elsewhere(case: &Case<'_>, binding: &Binding) -> Option<String> {
    let Reading::Present(here) = case.self_vm() else {
        return None;
    };
    let at = case.cloud(binding).present()?.attachment?;
    (at.vm != here).then(|| format!("CloudStack says that it is attached to VM {}", at.vm))
}

/// Brings the exports of a volume in line with the spec, where CloudStack could be read.
pub(super) fn serve(
    case: &Case<'_>,
    goal: &Goal<'_>,
    binding: &Binding,
    volume: &CloudVolume,
    path: &mut Path,
) {
    let Some(wanted) = goal.export else {
        return withdraw_all(case, binding, "the spec asks for no export", path);
    };
    let here = match (case.self_vm(), volume.attachment) {
        (Reading::Present(here), Some(at)) => at.vm == here,
        (Reading::Present(_), None) => false,
        (unknown, _) => return self_unknown(case, unknown, path),
    };
    let name = export_name(case, binding);
    if !here {
        if path.is_clear() {
            disputed(case, binding, volume.attachment.map(|at| at.vm), path);
            path.block(Blocked::NotAttachedHere);
        } else if matches!(goal.vm, super::decide::GoalVm::On(vm) if case.self_vm() == Reading::Present(vm))
        {
            let text = format!("export its disk as {name} once it is proven");
            path.ahead("Export", text, "spec.export");
        }
        return;
    }
    offer(case, binding, volume.size, &name, wanted.read_only, path);
}

/// It is not known which VM this is: not yet, or not at all.
pub(super) fn self_unknown(case: &Case<'_>, vm: Reading<VmId>, path: &mut Path) {
    if !case.world.observed.host.was_read() {
        return path.observe_on("the host for the first time");
    }
    path.block(Blocked::SelfUnknown {
        why: match vm {
            Reading::Unknown(why) => why,
            Reading::Present(_) | Reading::Absent => "this machine has no VM id".to_owned(),
        },
    });
}

/// Exports with CloudStack away, if the last accepted view named this VM and nothing was open
/// or sent since (`ExportedUnconfirmed`).
pub(super) fn serve_unconfirmed(case: &Case<'_>, binding: &Binding, path: &mut Path) {
    let spec = case.want.spec();
    if case.want.presence != crate::model::Presence::Declared {
        return;
    }
    let Some(wanted) = &spec.export else {
        return withdraw_all(case, binding, "the spec asks for no export", path);
    };
    let is_wanted_here = match spec.attach_to.as_ref().map(|attach| &attach.vm) {
        None | Some(AttachVm::SelfVm) => true,
        Some(AttachVm::Nobody | AttachVm::Vm(_)) => false,
    };
    let view = case.world.memory.views.get(&binding.volume);
    let (Reading::Present(here), Some(view), true) = (case.self_vm(), view, is_wanted_here) else {
        return;
    };
    // An intent that settled in this run would have to be seen first.
    if case.settled().is_some() || view.attachment.is_none_or(|at| at.vm != here) {
        return;
    }
    let name = export_name(case, binding);
    offer(case, binding, view.size, &name, wanted.read_only, path);
}

/// Makes the one export that should be there, and ends every other of this volume.
fn offer(
    case: &Case<'_>,
    binding: &Binding,
    cloud_size: ByteSize,
    name: &ExportName,
    read_only: bool,
    path: &mut Path,
) {
    let Some(served) = readable(case, path) else {
        return;
    };
    let mut there = None;
    for (other, export) in self::served(case, binding) {
        if other == name && export.read_only == read_only {
            there = Some(export);
        } else {
            let why = "the spec asks for another name or mode";
            end(binding, other, export, why, path);
        }
    }
    if let Some(export) = there {
        if export.draining {
            return path.wait(Waiting::Draining {
                export: name.clone(),
            });
        }
        return keep(case, binding, (name, export), cloud_size, path);
    }
    if let Some(proof) = prove(case, binding, cloud_size, read_only, path) {
        if let Some(owner) = name_owner(case, binding, name, served) {
            return path.block(Blocked::ExportNameTaken {
                export: name.clone(),
                volume: owner,
            });
        }
        path.step(
            Action::Export {
                volume: binding.volume,
                export: name.clone(),
                read_only,
                device: proof,
            },
            Cause::Declared,
            "attached here, and every fact about the disk agrees",
        );
    }
}

/// An export that is right; it may have to follow its disk's size.
fn keep(
    case: &Case<'_>,
    binding: &Binding,
    (name, export): (&ExportName, &ServedExport),
    cloud_size: ByteSize,
    path: &mut Path,
) {
    let disks = match (case.disks(), &case.world.observed.host.disks) {
        (Reading::Present(disks), _) => disks,
        (_, Reading::Present(_)) => return path.observe("the host", Reread::Host),
        (_, Reading::Absent | Reading::Unknown(_)) => return,
    };
    let serial = serial(binding);
    let Some(device) = disks
        .with_serial(&serial)
        .find(|device| node_of(device, binding) == export.node)
    else {
        return;
    };
    if device.size < cloud_size {
        path.wait(Waiting::DeviceSize {
            device: device.size,
            cloud: cloud_size,
        });
    }
    if device.size > export.size {
        path.drift(Drift::new(
            DriftClass::Export,
            "status.capacity.export",
            "the size of the disk",
            export.size,
        ));
        end(binding, name, export, GROWN, path);
        path.ahead("Export", format!("export it anew as {name}"), GROWN);
    }
}

/// Every fact that starting an export takes, or what is missing.
fn prove(
    case: &Case<'_>,
    binding: &Binding,
    cloud_size: ByteSize,
    read_only: bool,
    path: &mut Path,
) -> Option<DeviceProof> {
    let disks = match case.disks() {
        Reading::Present(disks) => disks,
        Reading::Absent => {
            path.observe("the disks of this machine", Reread::Host);
            return None;
        }
        Reading::Unknown(why) => {
            match &case.world.observed.host.disks {
                Reading::Unknown(_) if case.world.observed.host.was_read() => {
                    path.block(Blocked::SourceUnknown {
                        source: "the host",
                        why,
                    })
                }
                Reading::Unknown(_) | Reading::Present(_) | Reading::Absent => {
                    path.observe(format!("the host: {why}"), Reread::Host);
                }
            }
            return None;
        }
    };
    let serial = serial(binding);
    if let Some(other) = case.index.serial_twin(binding.volume) {
        path.block(Blocked::SerialCollision { other });
        return None;
    }
    let Some((link, device)) = disks.link_for(&serial) else {
        path.wait(Waiting::Device { serial });
        return None;
    };
    let mismatch = |text: String| Blocked::DeviceMismatch { text };
    if device.serial.as_ref() != Some(&serial) {
        let found = device
            .serial
            .as_ref()
            .map_or("none", |found| found.as_str());
        path.block(mismatch(format!(
            "{link} leads to a disk with serial {found}"
        )));
        return None;
    }
    if disks.with_serial(&serial).count() > 1 {
        path.block(mismatch(format!("two disks here carry serial {serial}")));
        return None;
    }
    if device.size < cloud_size {
        path.wait(Waiting::DeviceSize {
            device: device.size,
            cloud: cloud_size,
        });
        return None;
    }
    if !read_only && !device.users.is_empty() {
        path.block(Blocked::DeviceBusy {
            users: device.users.clone(),
        });
        return None;
    }
    Some(DeviceProof {
        link: link.to_owned(),
        serial,
        number: device.number,
        diskseq: device.diskseq,
        size: device.size,
    })
}

/// Whose the export name is, if not this volume's.
fn name_owner(
    case: &Case<'_>,
    binding: &Binding,
    name: &ExportName,
    served: &BTreeMap<ExportName, ServedExport>,
) -> Option<Option<VolumeId>> {
    match case.world.memory.export_names.get(name) {
        Some(owner) if *owner != binding.volume => Some(Some(*owner)),
        Some(_) | None => {
            let foreign = served
                .get(name)
                .is_some_and(|export| !export.node.is_for(&serial(binding)));
            foreign.then_some(None)
        }
    }
}

/// Ends every export of a volume once it is unused.
pub(super) fn withdraw_all(case: &Case<'_>, binding: &Binding, why: &str, path: &mut Path) {
    if is_outdated(case) {
        return path.observe(OUTDATED, Reread::Nbd);
    }
    for (name, export) in served(case, binding) {
        end(binding, name, export, why, path);
    }
}

fn end(binding: &Binding, name: &ExportName, export: &ServedExport, why: &str, path: &mut Path) {
    if export.draining {
        path.wait(Waiting::Draining {
            export: name.clone(),
        });
    } else {
        path.step(
            withdrawal(binding, name, export, WithdrawMode::Soft),
            Cause::Declared,
            why,
        );
    }
}

/// What must be so before a disk may be unplugged from this VM (I18).
pub(super) fn quiet(case: &Case<'_>, binding: &Binding, volume: &CloudVolume, path: &mut Path) {
    if readable(case, path).is_none() {
        return;
    }
    withdraw_all(case, binding, "it is about to be detached", path);
    match case.disks() {
        Reading::Present(disks) => {
            let users: Vec<_> = disks
                .with_serial(&serial(binding))
                .flat_map(|device| device.users.iter().cloned())
                .collect();
            if !users.is_empty() {
                path.block(Blocked::DeviceBusy { users });
            }
            let is_here = disks.with_serial(&serial(binding)).next().is_some();
            if !is_here && volume.begun <= case.world.observed.host.begun {
                // The disk is gone, so what CloudStack said before may be old news.
                let what = format!("volume {}: its disk is gone from this VM", volume.id);
                path.observe(what, Reread::Volume(volume.id));
            }
        }
        Reading::Absent => path.observe("the disks of this machine", Reread::Host),
        Reading::Unknown(why) => path.observe(format!("the host: {why}"), Reread::Host),
    }
}

/// CloudStack says detached, or on another VM, while the disk is here: nothing new, and what is served ends
/// once unused.
pub(super) fn disputed(
    case: &Case<'_>,
    binding: &Binding,
    listed_on: Option<VmId>,
    path: &mut Path,
) {
    let serial = serial(binding);
    let Reading::Present(disks) = case.disks() else {
        return;
    };
    if disks.with_serial(&serial).next().is_some() {
        let reason = match listed_on {
            Some(_) => "CloudStack says that it is on another VM",
            None => "CloudStack says that it is detached",
        };
        withdraw_all(case, binding, reason, path);
        path.block(Blocked::PlacementDisputed { serial, listed_on });
    }
}

/// What the server serves, if it was asked since the last change.
fn readable<'a>(
    case: &Case<'a>,
    path: &mut Path,
) -> Option<&'a BTreeMap<ExportName, ServedExport>> {
    match &case.world.observed.nbd.exports {
        Reading::Present(_) if is_outdated(case) => {
            path.observe(OUTDATED, Reread::Nbd);
            None
        }
        Reading::Present(exports) => Some(exports),
        Reading::Absent => {
            path.observe("the NBD server", Reread::Nbd);
            None
        }
        Reading::Unknown(_) if !case.world.observed.nbd.was_asked() => {
            path.observe_on("the NBD server for the first time");
            None
        }
        Reading::Unknown(why) => {
            path.block(Blocked::SourceUnknown {
                source: "the NBD server",
                why: why.clone(),
            });
            None
        }
    }
}

const OUTDATED: &str = "the NBD server: not asked again since the last change";

/// Whether the server was last asked before our own last change of this volume's exports.
fn is_outdated(case: &Case<'_>) -> bool {
    let changed = case.world.memory.served.get(case.name());
    changed.is_some_and(|changed| case.world.observed.nbd.begun <= *changed)
}

fn served<'a>(case: &Case<'a>, binding: &Binding) -> Vec<(&'a ExportName, &'a ServedExport)> {
    case.index.served(&serial(binding))
}

fn node_of(device: &Device, binding: &Binding) -> NodeName {
    NodeName::of(&serial(binding), device.number, device.diskseq)
}

fn withdrawal(
    binding: &Binding,
    name: &ExportName,
    export: &ServedExport,
    mode: WithdrawMode,
) -> Action {
    Action::Withdraw {
        volume: binding.volume,
        export: name.clone(),
        node: export.node.clone(),
        mode,
    }
}

/// The name a volume's export should have.
fn export_name(case: &Case<'_>, binding: &Binding) -> ExportName {
    case.want
        .spec()
        .export
        .as_ref()
        .and_then(|export| export.name.clone())
        .unwrap_or_else(|| ExportName::default_for(binding.volume))
}
