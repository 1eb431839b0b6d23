//! `volume-daemon adopt`: writes specs for volumes that nobody manages yet. It only prints them:
//! whoever puts them into the spec directory adopts the volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::offline;
use super::output::{Exit, Failure, Io, count, line};
use crate::clock::Clock;
use crate::config::Config;
use crate::import::{managed, name_for, shared_serials};
use crate::model::action::CLAIM_TAG;
use crate::model::observed::{CloudVolume, VolumeKind, VolumeState};
use crate::model::{Serial, VmId, VolumeName};
use crate::plan::World;

/// Prints specs for volumes that are not managed yet, as they are now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each spec names its volume by id and leaves it where it is. Adopting a volume tags it and changes
nothing else; it is exported once its spec says so. Read the specs before you use them.

Root disks, volumes that another spec or daemon manages, and what is being made or removed are
left out; how many is said at the end, on standard error.

Examples:
  volume-daemon adopt                                  every volume that can be adopted
  volume-daemon adopt --vm self > adopted.yaml         those attached to this VM
  volume-daemon adopt --vm none --name-prefix pgtest   those on no VM, by name
  volume-daemon plan adopted.yaml                      what would be done then

Exit codes: 0 they were printed, 1 CloudStack or the store could not be read or there is no such
VM, 3 usage.")]
pub struct Args {
    /// Only volumes on this VM: a name, an id, `self`, or `none` for those on no VM
    #[arg(long, value_name = "VM")]
    vm: Option<String>,
    /// Only volumes whose name in CloudStack begins so
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    name_prefix: String,
}

/// Runs the subcommand.
///
/// # Errors
/// If the store or CloudStack cannot be read, or there is no such VM.
pub async fn run(
    args: &Args,
    config: &Config,
    clock: Arc<dyn Clock>,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let world = offline::world(config, clock).await?;
    let place = match &args.vm {
        Some(vm) => Some(place(&world, vm)?),
        None => None,
    };
    let wanted = |volume: &CloudVolume| {
        let at = volume.attachment.map(|at| at.vm);
        volume.name.starts_with(&args.name_prefix) && place.is_none_or(|place| place == at)
    };
    let found = sort(&world, wanted);
    io.text(&specs(&world, &found.free))?;
    let mut said = match found.free.len() {
        0 => "there is nothing to adopt".to_owned(),
        many => format!("{} to adopt", count(many, "volume")),
    };
    for (why, many) in &found.left_out {
        let _ = write!(
            said,
            "; {} left out: {}",
            count(*many, "volume"),
            why.text()
        );
    }
    writeln!(io.err, "{said}")?;
    Ok(Exit::Fine)
}

/// Where `--vm` says that volumes should be: on this VM, or on none.
fn place(world: &World, text: &str) -> anyhow::Result<Option<VmId>> {
    let vms = &world.observed.cloud.vms;
    match text {
        "none" => return Ok(None),
        "self" => {
            return match world.observed.host.self_vm.clone().present() {
                Some(vm) => Ok(Some(vm)),
                None => anyhow::bail!("it is not known which VM this is; set host.vm_id"),
            };
        }
        _ => {}
    }
    if let Ok(id) = text.parse::<VmId>()
        && vms.contains_key(&id)
    {
        return Ok(Some(id));
    }
    let mut named = vms.values().filter(|vm| vm.name == text);
    match (named.next(), named.next()) {
        (Some(vm), None) => Ok(Some(vm.id)),
        (Some(_), Some(_)) => anyhow::bail!("more than one VM is named {text:?}; give its id"),
        (None, _) => Err(no_such_vm(text, vms.values().map(|vm| vm.name.as_str())).into()),
    }
}

fn no_such_vm<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    /// More would hide the message.
    const SHOWN: usize = 10;
    let names: Vec<String> = known.take(SHOWN + 1).map(line).collect();
    let hint = match names.len() {
        0 => "no VM is visible to this account".to_owned(),
        many if many > SHOWN => format!("`self`, an id, or a name such as {}", names[0]),
        _ => format!("`self`, an id, or one of {}", names.join(", ")),
    };
    Failure {
        message: format!("there is no VM {text:?}"),
        hint: Some(hint),
        exit: Exit::Error,
    }
}

/// Why a volume is not for adoption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LeftOut {
    Root,
    Managed,
    Claimed,
    Busy,
    Twin,
}

impl LeftOut {
    const fn text(self) -> &'static str {
        match self {
            Self::Root => "root disks go with their VM",
            Self::Managed => "managed by a spec here",
            Self::Claimed => "claimed by another daemon",
            Self::Busy => "neither on storage nor ready to be",
            Self::Twin => "another volume has the same disk serial",
        }
    }
}

/// Volumes, by whether they can be adopted.
#[derive(Debug, Default)]
struct Found<'a> {
    /// By name, then id.
    free: Vec<&'a CloudVolume>,
    left_out: BTreeMap<LeftOut, usize>,
}

fn sort(world: &World, wanted: impl Fn(&CloudVolume) -> bool) -> Found<'_> {
    let managed = managed(world);
    let twins = shared_serials(world);
    let volumes = &world.observed.cloud.volumes;
    let mut found = Found::default();
    for volume in volumes.values().filter(|volume| wanted(volume)) {
        let why = if volume.kind == VolumeKind::Root {
            LeftOut::Root
        } else if managed.contains_key(&volume.id) {
            LeftOut::Managed
        } else if volume.tags.contains_key(CLAIM_TAG) {
            LeftOut::Claimed
        } else if !matches!(volume.state, VolumeState::Ready | VolumeState::Allocated) {
            LeftOut::Busy
        } else if twins.contains(&Serial::of(volume.id)) {
            LeftOut::Twin
        } else {
            found.free.push(volume);
            continue;
        };
        *found.left_out.entry(why).or_default() += 1;
    }
    found
        .free
        .sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
    found
}

/// One spec for each volume, as it is now.
fn specs(world: &World, volumes: &[&CloudVolume]) -> String {
    let mut taken: BTreeSet<VolumeName> = world.desired.volumes.keys().cloned().collect();
    let mut text = String::new();
    for volume in volumes {
        let name = name_for(volume, &taken);
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&spec(world, volume, &name));
        taken.insert(name);
    }
    text
}

fn spec(world: &World, volume: &CloudVolume, name: &VolumeName) -> String {
    let here = world.observed.host.self_vm.clone().present();
    let (attach, place) = match volume.attachment.map(|at| at.vm) {
        None => (
            "  # On no VM: without attachTo it stays wherever it is.\n".to_owned(),
            "on no VM".to_owned(),
        ),
        Some(vm) => {
            let known = world.observed.cloud.vms.get(&vm);
            let called = known.map_or("another VM", |vm| vm.name.as_str());
            let is_here = here == Some(vm);
            let target = if is_here {
                "self".to_owned()
            } else {
                vm.to_string()
            };
            (
                format!("  attachTo: {{ vm: {target} }}\n"),
                format!("on {}", line(called)),
            )
        }
    };
    format!(
        "# {}, {}, {place}\n\
         apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata:\n  name: {name}\n\
         spec:\n  existing: {{ id: {} }}\n{attach}",
        line(&volume.name),
        volume.size,
        volume.id,
    )
}

#[cfg(test)]
mod tests;
