//! From a world file to a world.

use std::collections::BTreeMap;

use crate::sim::time::SimTime;
use crate::sim::world::{
    AccountNo, DomainNo, GIB, GivenVm, GivenVolume, OfferingNo, ROOT_DOMAIN, Tag, VmNo, VmState,
    VolumeState, World, ZoneNo,
};

use super::world::{DomainSpec, OfferingSpec, ProjectSpec, VmGiven, VmSpec, VolumeSpec, WorldFile};
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
    domains: Named<DomainNo>,
    zones: Named<ZoneNo>,
    accounts: Named<AccountNo>,
    /// Projects, by the accounts their things belong to.
    projects: Named<AccountNo>,
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
            domains: Named::new("domain"),
            zones: Named::new("zone"),
            projects: Named::new("project"),
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
        let root = self.world.root_domain();
        self.domains.first = Some(root);
        self.domains.by_name.insert(ROOT_DOMAIN.to_owned(), root);
        for domain in file.domains.into_iter().flatten() {
            self.domain(&domain)?;
        }
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
            let domain = self.domains.find_or_first(account.domain.as_ref(), name)?;
            self.world.place_account(no, domain);
            let (role, limits) = (account.role, account.limits);
            self.world
                .restrict_account(no, role, limits, &account.forbidden);
            self.accounts.add(name, no)?;
        }
        for project in file.projects.into_iter().flatten() {
            self.project(&project)?;
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

    fn domain(&mut self, spec: &DomainSpec) -> Result<(), Mistake> {
        let Some((above, name)) = spec.path.value.rsplit_once('/') else {
            let text = format!(
                "{} is not a path below ROOT, as ROOT/sales",
                spec.path.value
            );
            return Err(Mistake::at(&spec.path, text));
        };
        let parent = self.domains.by_name.get(above).copied().ok_or_else(|| {
            let text = format!("there is no domain {above} yet: list it first");
            Mistake::at(&spec.path, text)
        })?;
        let no = self.world.add_domain(name, parent, spec.limits);
        self.domains.add(&spec.path, no)
    }

    fn project(&mut self, spec: &ProjectSpec) -> Result<(), Mistake> {
        let members = std::iter::once(&spec.owner).chain(&spec.members);
        let members: Vec<AccountNo> = members
            .map(|name| self.accounts.find(name))
            .collect::<Result<_, _>>()?;
        let no = self
            .world
            .add_project(&spec.name.value, &members, spec.limits);
        let account = self.world.project(no).account;
        self.projects.add(&spec.name, account)
    }

    /// Whose something is, if that is said: an account's or a project's.
    fn owner(
        &self,
        account: Option<&Placed>,
        project: Option<&Placed>,
    ) -> Result<Option<AccountNo>, Mistake> {
        match (account, project) {
            (Some(_), Some(project)) => {
                let text = "it belongs to an account or to a project, not to both";
                Err(Mistake::at(project, text))
            }
            (Some(account), None) => self.accounts.find(account).map(Some),
            (None, Some(project)) => self.projects.find(project).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn offering(&mut self, spec: &OfferingSpec) -> Result<(), Mistake> {
        let size = spec
            .size_gib
            .map(|gib| bytes(gib, &spec.name))
            .transpose()?;
        let no = self.world.add_offering(&spec.name.value, size);
        self.world.set_strict(no, spec.disk_size_strictness);
        self.offerings.add(&spec.name, no)
    }

    fn vm(&mut self, spec: &VmSpec) -> Result<(), Mistake> {
        let given = GivenVm {
            uuid: spec.id,
            name: spec.name.value.clone(),
            zone: self.zones.find_or_first(spec.zone.as_ref(), &spec.name)?,
            account: match self.owner(spec.account.as_ref(), spec.project.as_ref())? {
                Some(owner) => owner,
                None => self.accounts.find_or_first(None, &spec.name)?,
            },
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
        self.world.ignore_unplug(no, spec.ignores_unplug);
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
            account: match (
                self.owner(spec.account.as_ref(), spec.project.as_ref())?,
                at_home,
            ) {
                (Some(owner), _) => owner,
                (None, Some((_, account, _))) => account,
                (None, None) => self.accounts.find_or_first(None, &spec.name)?,
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
