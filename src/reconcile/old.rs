//! What the tables of the old daemon say of each volume: where it is attached and exported, as observed.
//! Pure, like the report.

use std::collections::BTreeMap;

use crate::model::desired::{Mode, Presence};
use crate::model::{Action, DesiredVolume, ExportName, Reading, VmId, VolumeId};
use crate::plan::World;
use crate::store::{Disk, ExportRow, ExportState, MappingRow};

use super::status::{Facts, Situation};

/// What is seen of one volume. `Absent` is a row that is to go, `Unknown` one that is to stay as it
/// is: a CloudStack that is away has detached nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Its row of `device_mappings`.
    pub mapping: Reading<MappingRow>,
    /// Its row of `nbd_exports`.
    pub export: Reading<ExportRow>,
}

/// What is seen of every volume that a spec is bound to. Exports are at this TCP port.
pub fn sights(situation: Situation<'_>, port: u16) -> BTreeMap<VolumeId, Sight> {
    let Situation { world, files, .. } = situation;
    let volumes = world.desired.volumes.values();
    let seen = volumes.filter_map(|want| {
        let facts = Facts::of(world, files, want);
        let volume = facts.binding?.volume;
        let sight = Sight {
            mapping: mapping(world, volume, &facts),
            export: export(world, want, (volume, port), &facts),
        };
        Some((volume, sight))
    });
    seen.collect()
}

fn mapping(world: &World, volume: VolumeId, facts: &Facts<'_>) -> Reading<MappingRow> {
    let Some(seen) = facts.cloud else {
        return if facts.cloud_known {
            Reading::Absent
        } else {
            Reading::Unknown("CloudStack could not be read".to_owned())
        };
    };
    let Some(at) = seen.attachment else {
        return Reading::Absent;
    };
    let disk = match (here(world), facts.link) {
        (Some(here), _) if here != at.vm => Disk::Elsewhere,
        (_, Some(link)) => Disk::Here(path(link)),
        (Some(_), None) => Disk::Missing,
        (None, None) => return Reading::Unknown("this VM is not known".to_owned()),
    };
    Reading::Present(MappingRow {
        volume,
        vm: at.vm,
        disk,
        size: seen.size,
        device_id: at.device_id,
    })
}

fn here(world: &World) -> Option<VmId> {
    world.observed.host.self_vm.as_ref().present().copied()
}

fn path(link: &str) -> String {
    format!("/dev/disk/by-id/{link}")
}

fn export(
    world: &World,
    want: &DesiredVolume,
    (volume, port): (VolumeId, u16),
    facts: &Facts<'_>,
) -> Reading<ExportRow> {
    if let Reading::Unknown(why) = &world.observed.nbd.exports {
        return Reading::Unknown(why.clone());
    }
    let asked = match (want.presence, want.document.spec.mode) {
        (Presence::Declared, Mode::Enforce) => want.document.spec.export.as_ref(),
        (Presence::Declared, Mode::Observe) | (Presence::Abandoned { .. }, _) => None,
    };
    let (export, state) = match (facts.export, asked) {
        (Some((name, served)), _) if served.proven => (name.clone(), ExportState::Active),
        (Some((name, _)), _) => (name.clone(), ExportState::Failed),
        (None, Some(asked)) => {
            let name = asked.name.clone();
            let failed = facts.failure.is_some_and(|it| it.kind == Action::EXPORT);
            let state = if failed {
                ExportState::Failed
            } else {
                ExportState::Pending
            };
            (
                name.unwrap_or_else(|| ExportName::default_for(volume)),
                state,
            )
        }
        (None, None) => return Reading::Absent,
    };
    Reading::Present(ExportRow {
        volume,
        export,
        port,
        device_path: facts.link.map(path),
        state,
    })
}

#[cfg(test)]
mod tests;
