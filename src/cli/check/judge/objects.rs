//! What specs and settings name in CloudStack: zones, disk offerings, this VM, and room on it.

use super::super::facts::{Cloud, Look, Settings};
use super::super::finding::Finding;
use super::{answered, needs, some};
use crate::cli::output::count;
use crate::cloudstack::probe::{Capabilities, OfferingFacts, VmFacts, ZoneFacts};
use crate::config::Config;
use crate::model::desired::{AttachVm, NameOrId, Origin, VolumeDocument};
use crate::model::{ByteSize, OfferingId, ZoneId};

/// How many data disks CloudStack lets a VM have on KVM unless an administrator has changed it
/// (`schema-452to460.sql`, `hypervisor_capabilities`). Only root administrators can ask for it.
const SLOTS: usize = 32;
/// So few free ones are worth a word.
const SLOTS_LOW: usize = 2;

pub(super) fn judge(cloud: &Cloud, settings: &Settings) -> Vec<Finding> {
    let Ok(config) = &settings.config else {
        return Vec::new();
    };
    let (zone, offering, asked) = match &settings.specs {
        Look::Done(Ok(specs)) => {
            let wanted: Vec<Wanted<'_>> = specs.documents.iter().filter_map(wanted).collect();
            let asked = specs.documents.iter().filter(|one| wants_this_vm(one));
            (
                zone(cloud, &wanted),
                offering(cloud, &wanted),
                asked.count(),
            )
        }
        Look::Done(Err(_)) | Look::Late(_) | Look::Needs(_) => {
            (needs("zone", "specs"), needs("offering", "specs"), 0)
        }
    };
    vec![zone, offering, vm(cloud, config), slots(cloud, asked)]
}

fn wants_this_vm(document: &VolumeDocument) -> bool {
    let attach = document.spec.attach_to.as_ref();
    attach.is_some_and(|attach| attach.vm == AttachVm::SelfVm)
}

/// What a spec names for a volume that is to be made.
struct Wanted<'a> {
    volume: &'a str,
    size: ByteSize,
    zone: &'a NameOrId<ZoneId>,
    offering: &'a NameOrId<OfferingId>,
}

/// What is wanted of a volume that is to be made.
fn wanted(document: &VolumeDocument) -> Option<Wanted<'_>> {
    match &document.spec.origin {
        Origin::Create {
            size,
            zone,
            offering,
            ..
        } => Some(Wanted {
            volume: document.name.as_str(),
            size: *size,
            zone,
            offering,
        }),
        Origin::Existing { .. } => None,
    }
}

/// The one thing that goes by a name or id; a name must be exact, as for the planner.
fn one<'a, T, Id: PartialEq>(
    wanted: &NameOrId<Id>,
    known: &'a [T],
    id: impl Fn(&T) -> &Id,
    name: impl Fn(&T) -> &str,
) -> Result<&'a T, &'static str> {
    let fits = |thing: &&T| match wanted {
        NameOrId::Id(wanted) => id(thing) == wanted,
        NameOrId::Name(wanted) => name(thing) == wanted,
    };
    let mut found = known.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(thing), None) => Ok(thing),
        (Some(_), Some(_)) => Err("is the name of several; write its id"),
        (None, _) => Err("does not exist, or these keys do not see it"),
    }
}

/// Each different complaint with the volumes that it is about, most of which share one.
fn complaints<'a>(found: impl Iterator<Item = (&'a str, String)>) -> Vec<String> {
    let mut by_text: Vec<(String, Vec<String>)> = Vec::new();
    for (volume, text) in found {
        match by_text.iter_mut().find(|(known, _)| *known == text) {
            Some((_, volumes)) => volumes.push(volume.to_owned()),
            None => by_text.push((text, vec![volume.to_owned()])),
        }
    }
    let each = by_text.into_iter();
    each.map(|(text, volumes)| format!("{text} (spec {})", some(&volumes)))
        .collect()
}

fn zone(cloud: &Cloud, wanted: &[Wanted<'_>]) -> Finding {
    const NAME: &str = "zone";
    let zones: &Vec<ZoneFacts> = match answered(NAME, &cloud.zones) {
        Ok(zones) => zones,
        Err(finding) => return finding,
    };
    let known: Vec<String> = zones.iter().map(shown).collect();
    if zones.is_empty() {
        let fix = "see that the account's domain may use a zone";
        return Finding::failed(NAME, "CloudStack shows no zone to these keys", fix);
    }
    if wanted.is_empty() {
        return Finding::ok(
            NAME,
            format!("no spec names one yet; there is {}", some(&known)),
        );
    }
    let found = wanted.iter().filter_map(|spec| {
        match one(spec.zone, zones, |zone| &zone.id, |zone| &zone.name) {
            Ok(zone) if zone.enabled => None,
            Ok(zone) => Some((
                spec.volume,
                format!(
                    "{} is disabled: only root administrators make volumes there",
                    zone.name
                ),
            )),
            Err(why) => Some((spec.volume, format!("zone {} {why}", spec.zone))),
        }
    });
    let found = complaints(found);
    if found.is_empty() {
        let mut names: Vec<String> = wanted.iter().map(|spec| spec.zone.to_string()).collect();
        names.sort();
        names.dedup();
        return Finding::ok(NAME, format!("{} exists and is enabled", some(&names)));
    }
    let fix = format!(
        "correct spec.zone, or have the zone enabled; there is {}",
        some(&known)
    );
    Finding::failed(NAME, some(&found), fix)
}

fn shown(zone: &ZoneFacts) -> String {
    match zone.enabled {
        true => zone.name.clone(),
        false => format!("{} (disabled)", zone.name),
    }
}

fn offering(cloud: &Cloud, wanted: &[Wanted<'_>]) -> Finding {
    const NAME: &str = "offering";
    let offerings: &Vec<OfferingFacts> = match answered(NAME, &cloud.offerings) {
        Ok(offerings) => offerings,
        Err(finding) => return finding,
    };
    let usable = offerings.iter().filter(|one| one.active);
    let known: Vec<String> = usable
        .map(|one| match one.size {
            Some(size) => format!("{} ({size})", one.name),
            None => format!("{} (any size)", one.name),
        })
        .collect();
    if known.is_empty() {
        let fix =
            "create one (CloudStack: Service offerings, Disk offerings), best with custom size";
        return Finding::failed(
            NAME,
            "CloudStack shows no active disk offering to these keys",
            fix,
        );
    }
    if wanted.is_empty() {
        return Finding::ok(
            NAME,
            format!("no spec names one yet; there is {}", some(&known)),
        );
    }
    let zones = match &cloud.zones {
        Look::Done(Ok(zones)) => zones.as_slice(),
        Look::Done(Err(_)) | Look::Late(_) | Look::Needs(_) => &[],
    };
    let none = Capabilities::default();
    let limits = match &cloud.greeting {
        Look::Done(greeting) => greeting.answer.as_ref().unwrap_or(&none),
        Look::Late(_) | Look::Needs(_) => &none,
    };
    let found = wanted.iter().filter_map(|spec| {
        let found = one(spec.offering, offerings, |one| &one.id, |one| &one.name);
        let why = match found {
            Ok(found) => unusable(found, spec, zones, limits)?,
            Err(why) => format!("disk offering {} {why}", spec.offering),
        };
        Some((spec.volume, why))
    });
    let found = complaints(found);
    if found.is_empty() {
        let mut names: Vec<String> = wanted
            .iter()
            .map(|spec| spec.offering.to_string())
            .collect();
        names.sort();
        names.dedup();
        return Finding::ok(
            NAME,
            format!("{} can be used as the specs ask", some(&names)),
        );
    }
    let fix = format!(
        "correct spec.diskOffering, or spec.size; there is {}",
        some(&known)
    );
    Finding::failed(NAME, some(&found), fix)
}

/// Why an offering cannot give what a spec asks for.
fn unusable(
    offering: &OfferingFacts,
    spec: &Wanted<'_>,
    zones: &[ZoneFacts],
    limits: &Capabilities,
) -> Option<String> {
    let name = &offering.name;
    if !offering.active {
        return Some(format!("{name} is not active any more"));
    }
    let zone = one(spec.zone, zones, |zone| &zone.id, |zone| &zone.name);
    if let Ok(zone) = zone
        && !offering.zones.is_empty()
        && !offering.zones.contains(&zone.id)
    {
        return Some(format!("{name} cannot be used in {}", zone.name));
    }
    let wanted = spec.size.rounded_up_to_gib();
    let gib = spec.size.as_gib_rounded_up();
    match offering.size {
        // CloudStack ignores the size that is asked for then (VolumeApiServiceImpl.java).
        Some(size) if size < wanted => Some(format!(
            "{name} makes volumes of {size}, and {wanted} is asked for"
        )),
        Some(_) => None,
        None if limits.custom_max_gib.is_some_and(|max| gib > max) => Some(format!(
            "{wanted} is more than CloudStack allows ({} GiB, custom.diskoffering.size.max)",
            limits.custom_max_gib.unwrap_or_default()
        )),
        None if limits.custom_min_gib.is_some_and(|min| gib < min) => Some(format!(
            "{wanted} is less than CloudStack allows ({} GiB, custom.diskoffering.size.min)",
            limits.custom_min_gib.unwrap_or_default()
        )),
        None => None,
    }
}

fn vm(cloud: &Cloud, config: &Config) -> Finding {
    const NAME: &str = "vm";
    let found: &VmFacts = match answered(NAME, &cloud.vm) {
        Ok(Some(found)) => found,
        Ok(None) => {
            let whose = match config.cloudstack.project {
                Some(project) => format!("in project {project}"),
                None => "with these keys".to_owned(),
            };
            let message = match config.host.vm_id {
                Some(id) => format!("CloudStack shows no VM {id} (host.vm_id) {whose}"),
                None => format!("CloudStack shows no VM of this machine's id {whose}"),
            };
            let fix = "compare the id with the VM's page in CloudStack; set host.vm_id if it is wrong, \
                       cloudstack.project if a project owns the VM, else use keys of its account";
            return Finding::failed(NAME, message, fix);
        }
        Err(finding) => return finding,
    };
    let VmFacts {
        id,
        name,
        state,
        account,
        hypervisor,
    } = found;
    if let Some(hypervisor) = hypervisor
        .as_ref()
        .filter(|kind| !kind.eq_ignore_ascii_case("KVM"))
    {
        return Finding::warning(
            NAME,
            format!(
                "{name} ({id}) runs on {hypervisor}; disks are recognised by the serials that KVM gives them"
            ),
            "run volume-daemon on a VM on KVM",
        );
    }
    if state != "Running" {
        return Finding::warning(
            NAME,
            format!("CloudStack says that {name} ({id}) is {state}, and yet this runs on it"),
            "see whether it is the right VM (host.vm_id), and what CloudStack does with it",
        );
    }
    let owner = account
        .clone()
        .unwrap_or_else(|| "the configured project".to_owned());
    match answered(NAME, &cloud.owned) {
        Ok(true) => Finding::ok(
            NAME,
            format!("{name} ({id}) is Running and belongs to {owner}, as new volumes will"),
        ),
        Ok(false) => Finding::warning(
            NAME,
            format!(
                "{name} ({id}) is Running and belongs to {owner}, another account than the keys: new volumes belong to the keys' account and count against its limits"
            ),
            format!("use keys of {owner}, if volumes are to belong to it"),
        ),
        Err(finding) => finding,
    }
}

/// `asked` is how many specs want a disk here.
fn slots(cloud: &Cloud, asked: usize) -> Finding {
    const NAME: &str = "slots";
    let volumes = match answered(NAME, &cloud.volumes) {
        Ok(volumes) => volumes,
        Err(finding) => return finding,
    };
    // Device 0 is the root disk, and takes no data disk's place.
    let used = volumes.iter().filter(|volume| {
        let attachment = volume.attachment.as_ref();
        attachment.is_some_and(|attachment| attachment.device_id != Some(0))
    });
    let used = used.count();
    let free = SLOTS.saturating_sub(used);
    let message = format!(
        "{} attached, {free} of {SLOTS} slots free",
        count(used, "data disk")
    );
    let fix = "detach what is not needed here, move specs to another VM, or raise the limit \
               (hypervisor capabilities, by an administrator)";
    // At least: what is attached may be other volumes than the specs name.
    let more = asked.saturating_sub(used);
    if more > free {
        let message = format!("{message}, and {asked} specs want a disk here");
        Finding::failed(NAME, message, fix)
    } else if free - more <= SLOTS_LOW {
        let message = match more {
            0 => message,
            _ => format!("{message}; specs will use {more} of them"),
        };
        Finding::warning(NAME, message, fix)
    } else {
        Finding::ok(NAME, message)
    }
}
