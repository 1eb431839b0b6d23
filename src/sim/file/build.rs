//! From a world file to a world.

use std::collections::BTreeMap;

use crate::sim::time::SimTime;
use crate::sim::world::{
    AccountNo, GIB, GivenVm, GivenVolume, OfferingNo, Tag, VmNo, VmState, VolumeState, World,
    ZoneNo,
};

use super::world::{OfferingSpec, VmGiven, VmSpec, VolumeSpec, WorldFile};
use super::{FileError, Mistake, Placed};

/// What has a name in a file, in the order of the file.
struct Named<No> {
    what: &'static str,
    first: Option<No>,
    by_name: BTreeMap<String, No>,
}

impl<No: Copy> Named<No> {
    const fn new(what: &'static str) -> Self {
        Self {
            what,
            first: None,
            by_name: BTreeMap::new(),
        }
    }

    fn add(&mut self, name: &Placed, no: No) -> Result<(), Mistake> {
        self.first.get_or_insert(no);
        match self.by_name.insert(name.value.clone(), no) {
            None => Ok(()),
            Some(_) => Err(Mistake::at(
                name,
                format!("there is another {} called {}", self.what, name.value),
            )),
        }
    }

    fn find(&self, name: &Placed) -> Result<No, Mistake> {
        self.by_name.get(&name.value).copied().ok_or_else(|| {
            let known: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
            Mistake::at(
                name,
                format!(
                    "there is no {} called {}, only {}",
                    self.what,
                    name.value,
                    known.join(", ")
                ),
            )
        })
    }

    /// The named one, or the first; `about` is what needs it.
    fn find_or_first(&self, name: Option<&Placed>, about: &Placed) -> Result<No, Mistake> {
        match name {
            Some(name) => self.find(name),
            None => self.first.ok_or_else(|| {
                let text = format!("{} needs a {}, and there is none", about.value, self.what);
                Mistake::at(about, text)
            }),
        }
    }
}

struct Builder {
    world: World,
    zones: Named<ZoneNo>,
    accounts: Named<AccountNo>,
    offerings: Named<OfferingNo>,
    vms: Named<VmNo>,
    /// VMs are as old as the oldest volume: rows are numbered by age.
    oldest: SimTime,
}

impl WorldFile {
    /// Builds the world at this moment. The order of the sections decides the ids, as the seed
    /// does.
    ///
    /// # Errors
    /// The first thing that does not fit the others, with its place in `file`.
    pub fn build(self, file: &str, now: SimTime) -> Result<World, FileError> {
        let ages = self.volumes.iter().flatten().map(|volume| volume.age.0);
        let mut builder = Builder {
            oldest: now.shifted(-ages.max().unwrap_or(0)),
            world: World::new(self.settings, now),
            zones: Named::new("zone"),
            accounts: Named::new("account"),
            offerings: Named::new("offering"),
            vms: Named::new("VM"),
        };
        builder.all(self).map_err(|mistake| mistake.in_file(file))?;
        Ok(builder.world)
    }
}

impl Builder {
    fn all(&mut self, file: WorldFile) -> Result<(), Mistake> {
        let standard = WorldFile::standard();
        let or_standard = "the standard file has every section";
        for account in file.accounts.or(standard.accounts).expect(or_standard) {
            if self.world.find_account(&account.api_key.value).is_some() {
                let text = "another account has this key";
                return Err(Mistake::at(&account.api_key, text));
            }
            let (name, key) = (&account.name, &account.api_key.value);
            let no = self
                .world
                .add_account(&name.value, key, &account.secret_key);
            self.world.enable_account(no, account.enabled);
            let (role, limits) = (account.role, account.limits);
            self.world
                .restrict_account(no, role, limits, &account.forbidden);
            self.accounts.add(name, no)?;
        }
        for zone in file.zones.or(standard.zones).expect(or_standard) {
            let no = self.world.add_zone(&zone.name.value);
            self.world.enable_zone(no, zone.enabled);
            self.zones.add(&zone.name, no)?;
            for host in &zone.hosts {
                self.world.add_host(host, no);
            }
        }
        for offering in file.offerings.or(standard.offerings).expect(or_standard) {
            self.offering(&offering)?;
        }
        let service_offerings = file.service_offerings.or(standard.service_offerings);
        for spec in service_offerings.expect(or_standard) {
            self.world
                .add_service_offering(&spec.name.value, spec.cpus, spec.memory_mib);
        }
        for spec in file.templates.or(standard.templates).expect(or_standard) {
            self.world
                .add_template(&spec.name.value, &spec.os, spec.size_gib);
        }
        match file.vms {
            Some(vms) => vms.iter().try_for_each(|vm| self.vm(vm))?,
            None => self.standard_vms(&standard.vms.expect(or_standard))?,
        }
        for volume in file.volumes.or(standard.volumes).expect(or_standard) {
            self.volume(&volume)?;
        }
        Ok(())
    }

    fn offering(&mut self, spec: &OfferingSpec) -> Result<(), Mistake> {
        let size = spec
            .size_gib
            .map(|gib| bytes(gib, &spec.name))
            .transpose()?;
        let no = self.world.add_offering(&spec.name.value, size);
        self.offerings.add(&spec.name, no)
    }

    fn vm(&mut self, spec: &VmSpec) -> Result<(), Mistake> {
        let given = GivenVm {
            uuid: spec.id,
            name: spec.name.value.clone(),
            zone: self.zones.find_or_first(spec.zone.as_ref(), &spec.name)?,
            account: self
                .accounts
                .find_or_first(spec.account.as_ref(), &spec.name)?,
            os: spec.os.clone(),
            details: spec.details.clone(),
            state: match spec.state {
                VmGiven::Running => VmState::Running,
                VmGiven::Stopped | VmGiven::New => VmState::Stopped,
            },
            started_once: spec.state != VmGiven::New,
            created: self.oldest,
        };
        let no = self.world.add_given_vm(given);
        let no = no.map_err(|refusal| Mistake::at(&spec.name, refusal.text))?;
        self.vms.add(&spec.name, no)
    }

    /// Their places are not in the file that is being read.
    fn standard_vms(&mut self, specs: &[VmSpec]) -> Result<(), Mistake> {
        specs
            .iter()
            .try_for_each(|vm| self.vm(vm))
            .map_err(|Mistake { text, .. }| Mistake {
                line: 1,
                column: 1,
                text: format!("the standard vms do not fit: {text}; give vms, if only []"),
            })
    }

    fn volume(&mut self, spec: &VolumeSpec) -> Result<(), Mistake> {
        let wrong = |text: String| Mistake::at(&spec.name, text);
        let vm = spec.attached_to.as_ref();
        let vm = vm.map(|name| self.vms.find(name)).transpose()?;
        if spec.device_id.is_some() && vm.is_none() {
            return Err(wrong(
                "deviceId has no meaning without attachedTo".to_owned(),
            ));
        }
        let offering = self
            .offerings
            .find_or_first(spec.offering.as_ref(), &spec.name)?;
        let size = match (spec.size_gib, self.world.offering(offering).size) {
            (Some(gib), _) => bytes(gib, &spec.name)?,
            (None, Some(size)) => size,
            (None, None) => return Err(wrong("its offering has no size: give sizeGib".to_owned())),
        };
        let row = vm.map(|no| self.world.vm(no));
        let at_home = row.map(|row| (row.zone, row.account, row.started_once));
        let given = GivenVolume {
            uuid: spec.id,
            name: spec.name.value.clone(),
            size,
            offering,
            zone: match (&spec.zone, at_home) {
                (None, Some((zone, ..))) => zone,
                (zone, _) => self.zones.find_or_first(zone.as_ref(), &spec.name)?,
            },
            account: match (&spec.account, at_home) {
                (None, Some((_, account, _))) => account,
                (account, _) => self.accounts.find_or_first(account.as_ref(), &spec.name)?,
            },
            state: match (spec.state, at_home) {
                (Some(state), _) => state.into(),
                (None, Some((.., true))) => VolumeState::Ready,
                (None, Some((.., false)) | None) => VolumeState::Allocated,
            },
            created: self.world.now().shifted(-spec.age.0),
            tags: spec
                .tags
                .iter()
                .map(|(key, value)| Tag {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
            attach: vm.map(|vm| (vm, spec.device_id)),
        };
        let added = self.world.add_given_volume(given);
        added.map(|_| ()).map_err(|refusal| wrong(refusal.text))
    }
}

fn bytes(gib: u64, about: &Placed) -> Result<u64, Mistake> {
    gib.checked_mul(GIB)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| Mistake::at(about, format!("{gib} is not a size in GiB")))
}
