//! Parameters bound to what a command declares (`ParamProcessWorker.java`). Unknown ones are
//! ignored, as in CloudStack; real ones that the simulator does not have are refused.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::sim::world::{
    AccountNo, AskedProject, DomainNo, HostNo, OfferingNo, ServiceOfferingNo, SnapshotNo,
    TemplateNo, VmNo, VmSnapshotNo, VolumeNo, World, ZoneNo,
};

use super::commands::{Command, Kind, Param};
use super::envelope::ApiError;
use super::params::Unpacked;

/// `length` of a parameter that declares none (`Parameter.java`).
const TEXT_MAX: usize = 255;

/// A bound parameter.
#[derive(Debug, Clone, PartialEq)]
enum Arg {
    Text(String),
    Number(i64),
    Flag(bool),
    Domain(DomainNo),
    Project(AskedProject),
    Zone(ZoneNo),
    Offering(OfferingNo),
    ServiceOffering(ServiceOfferingNo),
    Template(TemplateNo),
    Host(HostNo),
    Vms(Vec<VmNo>),
    Volumes(Vec<VolumeNo>),
    Snapshots(Vec<SnapshotNo>),
    VmSnapshots(Vec<VmSnapshotNo>),
    Job(Uuid),
    Texts(Vec<String>),
    Map(Vec<BTreeMap<String, String>>),
}

/// The bound parameters of a call, and by how many rows a fault lets its pages begin too late.
#[derive(Debug, Default)]
pub(super) struct Args(BTreeMap<&'static str, Arg>, i64);

impl Args {
    /// Binds in the order in which the command declares its parameters.
    pub(super) fn bind(
        world: &World,
        command: &Command,
        given: &BTreeMap<String, Unpacked>,
    ) -> Result<Self, ApiError> {
        let mut args = BTreeMap::new();
        for param in command.all_params() {
            match given.get(param.name) {
                Some(value) => {
                    if let Some(arg) = bind(world, command, param, value)? {
                        args.insert(param.name, arg);
                    }
                }
                None if param.required => {
                    return Err(ApiError::plain(
                        431,
                        format!(
                            "Unable to execute API command {} due to missing parameter {}",
                            command.name.to_lowercase(),
                            param.name
                        ),
                    ));
                }
                None => {}
            }
        }
        Ok(Self(args, 0))
    }

    /// With pages that begin so many rows too late; negative: too early.
    pub(super) fn with_rows_off(self, rows: i64) -> Self {
        Self(self.0, rows)
    }

    pub(super) const fn rows_off(&self) -> i64 {
        self.1
    }

    /// Whose the rows are that were named.
    pub(super) fn owners(&self, world: &World) -> Vec<AccountNo> {
        let of = |arg: &Arg| -> Vec<AccountNo> {
            match arg {
                Arg::Vms(nos) => nos.iter().map(|no| world.vm(*no).account).collect(),
                Arg::Volumes(nos) => nos.iter().map(|no| world.volume(*no).account).collect(),
                Arg::Snapshots(nos) => nos.iter().map(|no| world.snapshot(*no).account).collect(),
                Arg::VmSnapshots(nos) => nos
                    .iter()
                    .map(|no| world.vm(world.vm_snapshot(*no).vm).account)
                    .collect(),
                Arg::Text(_)
                | Arg::Number(_)
                | Arg::Flag(_)
                | Arg::Domain(_)
                | Arg::Project(_)
                | Arg::Zone(_)
                | Arg::Offering(_)
                | Arg::ServiceOffering(_)
                | Arg::Template(_)
                | Arg::Host(_)
                | Arg::Job(_)
                | Arg::Texts(_)
                | Arg::Map(_) => Vec::new(),
            }
        };
        self.0.values().flat_map(of).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let Some(Arg::Text(text)) = self.0.get(name) else {
            return None;
        };
        Some(text)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let Some(Arg::Number(number)) = self.0.get(name) else {
            return None;
        };
        Some(*number)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Arg::Flag(true))
    }

    /// A flag that may be left out.
    pub(super) fn choice(&self, name: &str) -> Option<bool> {
        let Some(Arg::Flag(flag)) = self.0.get(name) else {
            return None;
        };
        Some(*flag)
    }

    pub(super) fn snapshot(&self, name: &str) -> Option<SnapshotNo> {
        self.snapshots(name)?.first().copied()
    }

    pub(super) fn snapshots(&self, name: &str) -> Option<&[SnapshotNo]> {
        let Some(Arg::Snapshots(nos)) = self.0.get(name) else {
            return None;
        };
        Some(nos)
    }

    pub(super) fn vm_snapshot(&self, name: &str) -> Option<VmSnapshotNo> {
        self.vm_snapshots(name)?.first().copied()
    }

    pub(super) fn vm_snapshots(&self, name: &str) -> Option<&[VmSnapshotNo]> {
        let Some(Arg::VmSnapshots(nos)) = self.0.get(name) else {
            return None;
        };
        Some(nos)
    }

    pub(super) fn domain(&self, name: &str) -> Option<DomainNo> {
        let Some(Arg::Domain(no)) = self.0.get(name) else {
            return None;
        };
        Some(*no)
    }

    pub(super) fn project(&self, name: &str) -> Option<AskedProject> {
        let Some(Arg::Project(asked)) = self.0.get(name) else {
            return None;
        };
        Some(*asked)
    }

    pub(super) fn zone(&self, name: &str) -> Option<ZoneNo> {
        let Some(Arg::Zone(no)) = self.0.get(name) else {
            return None;
        };
        Some(*no)
    }

    pub(super) fn offering(&self, name: &str) -> Option<OfferingNo> {
        let Some(Arg::Offering(no)) = self.0.get(name) else {
            return None;
        };
        Some(*no)
    }

    pub(super) fn service_offering(&self, name: &str) -> Option<ServiceOfferingNo> {
        let Some(Arg::ServiceOffering(no)) = self.0.get(name) else {
            return None;
        };
        Some(*no)
    }

    pub(super) fn template(&self, name: &str) -> Option<TemplateNo> {
        let Some(Arg::Template(no)) = self.0.get(name) else {
            return None;
        };
        Some(*no)
    }

    pub(super) fn host(&self, name: &str) -> Option<HostNo> {
        let Some(Arg::Host(no)) = self.0.get(name) else {
            return None;
        };
        Some(*no)
    }

    pub(super) fn vm(&self, name: &str) -> Option<VmNo> {
        self.vms(name)?.first().copied()
    }

    pub(super) fn vms(&self, name: &str) -> Option<&[VmNo]> {
        let Some(Arg::Vms(nos)) = self.0.get(name) else {
            return None;
        };
        Some(nos)
    }

    pub(super) fn volume(&self, name: &str) -> Option<VolumeNo> {
        self.volumes(name)?.first().copied()
    }

    pub(super) fn volumes(&self, name: &str) -> Option<&[VolumeNo]> {
        let Some(Arg::Volumes(nos)) = self.0.get(name) else {
            return None;
        };
        Some(nos)
    }

    pub(super) fn job(&self, name: &str) -> Option<Uuid> {
        let Some(Arg::Job(uuid)) = self.0.get(name) else {
            return None;
        };
        Some(*uuid)
    }

    pub(super) fn texts(&self, name: &str) -> &[String] {
        let Some(Arg::Texts(texts)) = self.0.get(name) else {
            return &[];
        };
        texts
    }

    pub(super) fn map(&self, name: &str) -> Option<&[BTreeMap<String, String>]> {
        let Some(Arg::Map(items)) = self.0.get(name) else {
            return None;
        };
        Some(items)
    }
}

/// Why a value does not fit, before it is put into words.
enum Misfit {
    /// `IllegalArgumentException`.
    Illegal,
    /// `InvalidParameterValueException` from the translation of an id.
    NoSuchEntity(String),
    /// `InvalidParameterValueException` for a long value.
    TooLong,
}

fn bind(
    world: &World,
    command: &Command,
    param: &Param,
    value: &Unpacked,
) -> Result<Option<Arg>, ApiError> {
    let bound = match (param.kind, value) {
        (Kind::NotSimulated, _) => return Err(ApiError::not_simulated(command.name, param.name)),
        (Kind::Map, Unpacked::Map(items)) => Ok(Some(Arg::Map(items.values().cloned().collect()))),
        (Kind::Map, Unpacked::Text(_)) | (_, Unpacked::Map(_)) => Err(Misfit::Illegal),
        (kind, Unpacked::Text(text)) => bind_text(world, kind, text),
    };
    bound.map_err(|misfit| {
        let shown = match value {
            Unpacked::Text(text) => text.clone(),
            Unpacked::Map(items) => format!("{items:?}"),
        };
        let api = command.name.to_lowercase();
        ApiError::plain(
            431,
            match misfit {
                Misfit::Illegal => format!(
                    "Unable to execute API command {api} due to invalid value {shown} for \
                     parameter {}",
                    param.name
                ),
                Misfit::NoSuchEntity(uuid) => format!(
                    "Unable to execute API command {api} due to invalid value. Invalid parameter \
                     {} value={uuid} due to incorrect long value format, or entity does not \
                     exist or due to incorrect parameter annotation for the field in api cmd \
                     class.",
                    param.name
                ),
                Misfit::TooLong => format!(
                    "Unable to execute API command {api} due to invalid value. Value greater \
                     than max allowed length {TEXT_MAX} for param: {}",
                    param.name
                ),
            },
        )
    })
}

fn bind_text(world: &World, kind: Kind, text: &str) -> Result<Option<Arg>, Misfit> {
    let listed = || text.split(',').filter(|item| !item.is_empty());
    Ok(Some(match kind {
        Kind::Text => {
            if text.encode_utf16().count() > TEXT_MAX {
                return Err(Misfit::TooLong);
            }
            Arg::Text(text.to_owned())
        }
        Kind::Long => Arg::Number(text.parse().map_err(|_| Misfit::Illegal)?),
        // A blank integer counts as absent.
        Kind::Int if text.trim().is_empty() => return Ok(None),
        Kind::Int => {
            let number: i32 = text.parse().map_err(|_| Misfit::Illegal)?;
            Arg::Number(i64::from(number))
        }
        // Java's Boolean.valueOf.
        Kind::Bool => Arg::Flag(text.eq_ignore_ascii_case("true")),
        Kind::Zone => Arg::Zone(resolve(text, |uuid| world.find_zone(uuid))?),
        Kind::Offering => Arg::Offering(resolve(text, |uuid| world.find_offering(uuid))?),
        Kind::ServiceOffering => {
            Arg::ServiceOffering(resolve(text, |uuid| world.find_service_offering(uuid))?)
        }
        Kind::Template => Arg::Template(resolve(text, |uuid| world.find_template(uuid))?),
        Kind::Host => Arg::Host(resolve(text, |uuid| world.find_host(uuid))?),
        Kind::Vm => Arg::Vms(vec![resolve(text, |uuid| world.find_vm(uuid))?]),
        Kind::Vms => Arg::Vms(
            listed()
                .map(|id| resolve(id, |uuid| world.find_vm(uuid)))
                .collect::<Result<_, _>>()?,
        ),
        Kind::Volume => Arg::Volumes(vec![resolve(text, |uuid| world.find_volume(uuid))?]),
        Kind::Volumes => Arg::Volumes(
            listed()
                .map(|id| resolve(id, |uuid| world.find_volume(uuid)))
                .collect::<Result<_, _>>()?,
        ),
        Kind::Snapshot => Arg::Snapshots(vec![resolve(text, |uuid| world.find_snapshot(uuid))?]),
        Kind::Snapshots => Arg::Snapshots(
            listed()
                .map(|id| resolve(id, |uuid| world.find_snapshot(uuid)))
                .collect::<Result<_, _>>()?,
        ),
        Kind::VmSnapshot => {
            Arg::VmSnapshots(vec![resolve(text, |uuid| world.find_vm_snapshot(uuid))?])
        }
        Kind::VmSnapshots => Arg::VmSnapshots(
            listed()
                .map(|id| resolve(id, |uuid| world.find_vm_snapshot(uuid)))
                .collect::<Result<_, _>>()?,
        ),
        Kind::Job => Arg::Job(resolve(text, |uuid| {
            world.find_job(uuid).map(|job| job.uuid)
        })?),
        Kind::Domain => Arg::Domain(resolve(text, |uuid| world.find_domain(uuid))?),
        // -1 is not looked up.
        Kind::Project if text == "-1" => Arg::Project(AskedProject::All),
        Kind::Project => Arg::Project(AskedProject::One(resolve(text, |uuid| {
            world.find_project(uuid)
        })?)),
        Kind::Texts => Arg::Texts(listed().map(str::to_owned).collect()),
        Kind::Map | Kind::NotSimulated => return Err(Misfit::Illegal),
    }))
}

/// Ids of removed rows resolve too; internal numbers do not, unlike in the oldest commands.
fn resolve<No>(text: &str, find: impl Fn(Uuid) -> Option<No>) -> Result<No, Misfit> {
    Uuid::try_parse(text)
        .ok()
        .and_then(find)
        .ok_or_else(|| Misfit::NoSuchEntity(text.to_owned()))
}
