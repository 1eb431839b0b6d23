//! `volume-daemon adopt`: writes specs for volumes that nobody manages yet. It only prints them:
//! whoever puts them into the spec directory adopts the volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::offline;
use super::output::{Exit, Failure, Io, count, line};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::action::CLAIM_TAG;
use crate::model::desired::{NameOrId, Origin};
use crate::model::observed::{CloudVolume, VolumeKind, VolumeState};
use crate::model::{Serial, VmId, VolumeId, VolumeName};
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
    let mut serials: BTreeMap<Serial, usize> = BTreeMap::new();
    let volumes = &world.observed.cloud.volumes;
    for id in volumes.keys() {
        *serials.entry(Serial::of(*id)).or_default() += 1;
    }
    let mut found = Found::default();
    for volume in volumes.values().filter(|volume| wanted(volume)) {
        let why = if volume.kind == VolumeKind::Root {
            LeftOut::Root
        } else if managed.contains(&volume.id) {
            LeftOut::Managed
        } else if volume.tags.contains_key(CLAIM_TAG) {
            LeftOut::Claimed
        } else if !matches!(volume.state, VolumeState::Ready | VolumeState::Allocated) {
            LeftOut::Busy
        } else if serials[&Serial::of(volume.id)] > 1 {
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

/// Volumes that a spec here is about, or asks for.
fn managed(world: &World) -> BTreeSet<VolumeId> {
    let bound = world.memory.bindings.values().map(|bound| bound.volume);
    let mut managed: BTreeSet<VolumeId> = bound.collect();
    for want in world.desired.volumes.values() {
        match &want.spec().origin {
            Origin::Existing {
                volume: NameOrId::Id(id),
                ..
            } => drop(managed.insert(*id)),
            Origin::Existing {
                volume: NameOrId::Name(name),
                ..
            } => {
                let all = world.observed.cloud.volumes.values();
                managed.extend(all.filter(|it| it.name == *name).map(|it| it.id));
            }
            Origin::Create { .. } => {}
        }
    }
    managed
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

/// A name for the spec of a volume: its own, as far as it is allowed, with the first digits of its
/// id if that is nothing or taken.
fn name_for(volume: &CloudVolume, taken: &BTreeSet<VolumeName>) -> VolumeName {
    let mut label = String::new();
    for letter in volume.name.to_lowercase().chars() {
        match letter {
            'a'..='z' | '0'..='9' => label.push(letter),
            _ if label.is_empty() || label.ends_with('-') => {}
            _ => label.push('-'),
        }
    }
    let id = volume.id.to_string();
    let short = &id[..8];
    let cut = |length: usize| label[..label.len().min(length)].trim_end_matches('-');
    let candidates = [
        cut(VolumeName::LEN_MAX).to_owned(),
        format!("{}-{short}", cut(VolumeName::LEN_MAX - 9)),
        format!("volume-{short}"),
        format!("volume-{id}"),
    ];
    let mut names = candidates.iter().filter_map(|name| name.parse().ok());
    names
        .find(|name| !taken.contains(name))
        .expect("a whole id is a name, and nobody else's")
}

#[cfg(test)]
mod tests;
