//! A world to ask what was recorded elsewhere: what the recording shows of zones, offerings, VMs
//! and volumes that were there before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::sim::time::SimTime;
use crate::sim::world::{
    ADMIN_API_KEY, ADMIN_SECRET_KEY, AccountNo, GIB, NewVolume, OfferingNo, Settings, VmNo,
    VmState, Work, World, ZoneNo,
};

use super::Exchange;

/// The size of a ROOT volume in GiB, where a VM shows none.
const ROOT_GIB: u32 = 20;

/// Lets what is under way come to its end.
const SETTLE_MS: u64 = 3_600_000;

/// A world that has what the recording shows, as far as this can be told from lists; the standard
/// world where they show no zone. Ids are the world's own.
pub fn prepare(exchanges: &[Exchange], settings: Settings, now: SimTime) -> World {
    let seen = Seen::of(exchanges);
    if seen.zones.is_empty() {
        return World::standard(settings, now);
    }
    let mut world = World::new(settings, now);
    let admin = world.add_account("admin", ADMIN_API_KEY, ADMIN_SECRET_KEY);
    let mut builder = Builder {
        admin,
        zones: BTreeMap::new(),
        offerings: BTreeMap::new(),
        hosts: BTreeSet::new(),
        vms: BTreeMap::new(),
        world,
    };
    for row in &seen.zones {
        let no = builder.world.add_zone(text(row, "name"));
        builder.zones.insert(text(row, "id"), no);
    }
    for row in &seen.offerings {
        let size = match row.get("iscustomized").and_then(Value::as_bool) {
            Some(true) => None,
            Some(false) | None => row.get("disksize").and_then(Value::as_u64),
        };
        let size = size.map(|gib| gib.saturating_mul(GIB));
        let no = builder.world.add_offering(text(row, "name"), size);
        builder.offerings.insert(text(row, "id"), no);
    }
    // Service offerings and templates show on VMs. Here, all VMs count as made from the first.
    if let Some(row) = seen.vms.last() {
        let number = |name| row.get(name).and_then(Value::as_u64);
        let number = |name| number(name).and_then(|number| u32::try_from(number).ok());
        if let (Some(cpus), Some(memory)) = (number("cpunumber"), number("memory")) {
            let name = text(row, "serviceofferingname");
            builder.world.add_service_offering(name, cpus, memory);
        }
        if row.get("templateid").is_some() {
            let (name, os) = (text(row, "templatename"), text(row, "osdisplayname"));
            builder.world.add_template(name, os, ROOT_GIB);
        }
    }
    // Lists show the newest first.
    for row in seen.vms.iter().rev() {
        builder.vm(row);
    }
    for row in seen.volumes.iter().rev() {
        builder.volume(row);
    }
    builder.world
}

/// Rows as lists first showed them.
#[derive(Default)]
struct Seen<'a> {
    zones: Vec<&'a Value>,
    offerings: Vec<&'a Value>,
    vms: Vec<&'a Value>,
    volumes: Vec<&'a Value>,
    ids: BTreeSet<&'a str>,
}

impl<'a> Seen<'a> {
    fn of(exchanges: &'a [Exchange]) -> Self {
        let mut seen = Self::default();
        for exchange in exchanges {
            let Some(inner) = exchange.body.as_object().and_then(|o| o.values().next()) else {
                continue;
            };
            // What the recording made itself was not there before.
            if let Some(id) = inner.get("id").and_then(Value::as_str) {
                seen.ids.insert(id);
            }
            for (key, rows) in [
                ("zone", &mut seen.zones),
                ("diskoffering", &mut seen.offerings),
                ("virtualmachine", &mut seen.vms),
                ("volume", &mut seen.volumes),
            ] {
                let listed = inner.get(key).and_then(Value::as_array);
                for row in listed.into_iter().flatten() {
                    let id = text(row, "id");
                    if !id.is_empty() && seen.ids.insert(id) {
                        rows.push(row);
                    }
                }
            }
        }
        seen
    }
}

/// A world under construction, and what stands for which recorded id in it.
struct Builder<'a> {
    world: World,
    admin: AccountNo,
    zones: BTreeMap<&'a str, ZoneNo>,
    offerings: BTreeMap<&'a str, OfferingNo>,
    /// Ids of those that are there already.
    hosts: BTreeSet<&'a str>,
    vms: BTreeMap<&'a str, VmNo>,
}

impl<'a> Builder<'a> {
    fn vm(&mut self, row: &'a Value) {
        let Some(zone) = self.zones.get(text(row, "zoneid")) else {
            return;
        };
        let host = text(row, "hostid");
        if !host.is_empty() && self.hosts.insert(host) {
            self.world.add_host(text(row, "hostname"), *zone);
        }
        let state = match text(row, "state") {
            "Running" | "Starting" => VmState::Running,
            _ => VmState::Stopped,
        };
        let no = self
            .world
            .add_vm(text(row, "name"), *zone, self.admin, state);
        self.vms.insert(text(row, "id"), no);
    }

    /// A VM has its root volume already, whose name comes from the VM's internal number. What cannot
    /// be made is left out, and so becomes a difference.
    fn volume(&mut self, row: &'a Value) {
        if text(row, "type") == "ROOT" {
            let vm = self.vms.get(text(row, "virtualmachineid"));
            if let Some(root) = vm.and_then(|vm| self.world.vm(*vm).disks.get(&0).copied()) {
                self.work(Work::Update {
                    volume: root,
                    name: Some(text(row, "name").to_owned()),
                    delete_protection: None,
                });
            }
            return;
        }
        let offering = self.offerings.get(text(row, "diskofferingid")).copied();
        let fixed = offering.is_some_and(|no| self.world.offering(no).size.is_some());
        let size = row.get("size").and_then(Value::as_i64);
        let new = NewVolume {
            name: Some(text(row, "name").to_owned()),
            zone: self.zones.get(text(row, "zoneid")).copied(),
            offering,
            size_gib: size.map(|bytes| bytes >> 30).filter(|_| !fixed),
            ..NewVolume::default()
        };
        let Ok(volume) = self.world.create_volume(self.admin, new) else {
            return;
        };
        let on = self.vms.get(text(row, "virtualmachineid")).copied();
        let created = text(row, "state") == "Ready";
        // On storage it gets by being attached.
        let Some(vm) = on.or_else(|| self.vms.values().next().copied().filter(|_| created)) else {
            return;
        };
        let device = row.get("deviceid").and_then(Value::as_i64);
        self.work(Work::Attach { volume, vm, device });
        if on.is_none() {
            self.work(Work::Detach {
                volume: Some(volume),
                vm: None,
                device: None,
            });
        }
    }

    fn work(&mut self, work: Work) {
        self.world.submit(self.admin, work, None, None);
        let later = self.world.now().plus_millis(SETTLE_MS);
        self.world.advance(later);
    }
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}
