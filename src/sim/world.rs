//! The pure half of the simulator: rows, jobs, queues and guests.
//!
//! No I/O and no clock: [`World::advance`] is told the time and runs what has become due, in
//! order. Everything else happens at the moment of the last `advance`. Ids come from a seeded
//! generator, so a world is the same again from the same seed and calls.

mod account;
mod attach;
mod bus;
mod catalog;
mod check;
mod custom;
mod deploy;
mod event;
mod given;
mod guest;
mod job;
mod migrate;
mod order;
mod owner;
mod resize;
mod rows;
mod snapshot;
mod tag;
mod vm;
mod vm_snapshot;
mod volume;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::SimTime;

pub use account::{Limits, Role, Usage};
pub use bus::{Bus, DATA_DISK_CONTROLLER, ROOT_DISK_CONTROLLER};
pub use catalog::{Host, ServiceOffering, Template};
pub use custom::{Taken, custom_id};
pub use deploy::NewVm;
pub use event::{EventKind, EventRow, EventState, Resource};
pub use given::{GivenVm, GivenVolume};
pub use guest::{Disk, Guest};
pub use job::{Job, JobState, Outcome, Trouble};
pub use order::{Change, Order, OrderNo};
pub use owner::{Asked, AskedProject, Domain, Project, Scope};
pub use rows::{
    Account, AccountNo, Attachment, DomainNo, GIB, HostNo, JobNo, Offering, OfferingNo, ProjectNo,
    ServiceOfferingNo, Snapshot, SnapshotNo, SnapshotState, Tag, Tagged, TemplateNo, Vm, VmNo,
    VmSnapshot, VmSnapshotNo, VmSnapshotState, VmState, Volume, VolumeKind, VolumeNo, VolumeState,
    Zone, ZoneNo, collates_equal,
};
pub(super) use tag::no_resource;
pub use vm_snapshot::NewVmSnapshot;
pub(super) use volume::CUSTOM_SIZE_GIB;
pub use volume::NewVolume;
pub use work::Work;

use job::Event;
use order::Hypervisor;

/// The domain that all others are in.
pub const ROOT_DOMAIN: &str = "ROOT";

/// The API key of the default world's `admin`.
pub const ADMIN_API_KEY: &str =
    "sim-admin-api-key-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The secret key of the default world's `admin`.
pub const ADMIN_SECRET_KEY: &str =
    "sim-admin-secret-key-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// How long things take, in milliseconds. Attach and detach take no time on a stopped VM,
/// where they only change the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Latencies {
    /// The job of `createVolume`; the row is there before its answer.
    pub create_ms: u64,
    /// Creating on storage, at the first attach: state Creating.
    pub provision_ms: u64,
    /// Plugging into a running VM: state Attaching.
    pub attach_ms: u64,
    /// From the link in the database to the end of the attach job: still Attaching.
    pub settle_ms: u64,
    /// Unplugging from a running VM.
    pub detach_ms: u64,
    /// How long the agent waits for a guest that does not acknowledge an unplug
    /// (`wait.detach.device`).
    pub detach_wait_ms: u64,
    /// Taking a snapshot: state Snapshotting. Copying it to secondary storage takes as long again,
    /// and so does going back to it.
    pub snapshot_ms: u64,
    /// Resizing what is on storage: state Resizing.
    pub resize_ms: u64,
    /// Removing from storage: half of it Destroy, then Expunging.
    pub delete_ms: u64,
    /// Starting or stopping a VM.
    pub vm_ms: u64,
    /// By how many percent a job may take longer or shorter than that, by the seed; at most
    /// 100.
    pub jitter_percent: u8,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            create_ms: 50,
            provision_ms: 50,
            attach_ms: 300,
            settle_ms: 10,
            detach_ms: 300,
            detach_wait_ms: 10_000,
            snapshot_ms: 500,
            resize_ms: 200,
            delete_ms: 100,
            vm_ms: 500,
            jitter_percent: 0,
        }
    }
}

impl Latencies {
    /// The same latency for everything.
    pub const fn all(millis: u64) -> Self {
        Self {
            create_ms: millis,
            provision_ms: millis,
            attach_ms: millis,
            settle_ms: millis,
            detach_ms: millis,
            detach_wait_ms: millis,
            snapshot_ms: millis,
            resize_ms: millis,
            delete_ms: millis,
            vm_ms: millis,
            jitter_percent: 0,
        }
    }
}

/// What a world is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Decides all ids.
    pub seed: u64,
    /// How long things take.
    pub latencies: Latencies,
    /// Data disks a VM can have: 32 for KVM (`schema-452to460.sql`).
    pub max_data_disks: u32,
    /// Requests per account and time: `api.throttling.*`. Root administrators are exempt.
    pub throttle: Option<Throttle>,
    /// `enforce.post.requests.and.timestamps`: what changes something has to be posted, and
    /// signed with version 3 for at most 15 minutes.
    pub enforce_post: bool,
    /// `job.expire.minutes`: how long finished jobs can be asked for (`AsyncJobManagerImpl.java`).
    pub job_expire_minutes: u64,
    /// How many events are kept. CloudStack keeps them for `event.purge.delay` days.
    pub max_events: usize,
    /// `default.page.size`: page size and its limit (`Config.java`).
    pub page_size: u32,
    /// `storage.cleanup.delay` in seconds (`StorageManager.java`): a volume that stays in
    /// Destroy for so long is removed from storage. The scavenger looks at every moment, not
    /// only each `storage.cleanup.interval`.
    pub storage_cleanup_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            latencies: Latencies::default(),
            max_data_disks: 32,
            throttle: None,
            enforce_post: false,
            job_expire_minutes: 1440,
            max_events: 10_000,
            page_size: 500,
            storage_cleanup_s: 86_400,
        }
    }
}

/// How many requests an account may send (`ApiRateLimitServiceImpl.java`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttle {
    /// The length of a window in milliseconds.
    pub interval_ms: u64,
    /// Requests in it.
    pub max: u32,
}

/// Everything there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct World {
    settings: Settings,
    #[serde(with = "crate::sim::serial::dice")]
    rng: fastrand::Rng,
    now: SimTime,
    management_server: Uuid,
    domains: BTreeMap<DomainNo, Domain>,
    projects: BTreeMap<ProjectNo, Project>,
    zones: BTreeMap<ZoneNo, Zone>,
    offerings: BTreeMap<OfferingNo, Offering>,
    service_offerings: BTreeMap<ServiceOfferingNo, ServiceOffering>,
    templates: BTreeMap<TemplateNo, Template>,
    hosts: BTreeMap<HostNo, Host>,
    accounts: BTreeMap<AccountNo, Account>,
    account_by_key: BTreeMap<String, AccountNo>,
    /// What each account has: the sums over its volumes that are not removed.
    usages: BTreeMap<AccountNo, Usage>,
    vms: BTreeMap<VmNo, Vm>,
    volumes: BTreeMap<VolumeNo, Volume>,
    snapshots: BTreeMap<SnapshotNo, Snapshot>,
    vm_snapshots: BTreeMap<VmSnapshotNo, VmSnapshot>,
    jobs: BTreeMap<JobNo, Job>,
    volume_by_uuid: BTreeMap<Uuid, VolumeNo>,
    vm_by_uuid: BTreeMap<Uuid, VmNo>,
    /// Those that are not removed: what a listing without a filter shows.
    live_volumes: BTreeSet<VolumeNo>,
    /// Those in state Destroy, and since when: the storage scavenger comes for them.
    destroyed: BTreeMap<VolumeNo, SimTime>,
    job_by_uuid: BTreeMap<Uuid, JobNo>,
    /// Where each plugged volume is plugged.
    plugged: BTreeMap<VolumeNo, VmNo>,
    /// Unfinished jobs, and those of them that are about a volume.
    pending: BTreeSet<JobNo>,
    pending_on: BTreeSet<(VolumeNo, JobNo)>,
    /// Finished jobs by the moment they ended.
    ended: VecDeque<(SimTime, JobNo)>,
    /// One queue of width 1 for each VM; the first one runs.
    queues: BTreeMap<VmNo, VecDeque<JobNo>>,
    #[serde(with = "crate::sim::serial::as_list")]
    agenda: BTreeMap<(SimTime, u64), Event>,
    next_event: u64,
    /// What was done, oldest first, and the number of the last one.
    events: VecDeque<EventRow>,
    next_event_row: u64,
    hypervisor: Hypervisor,
    next_row: u64,
    diskseq: u64,
}

impl World {
    /// An empty world.
    pub fn new(settings: Settings, now: SimTime) -> Self {
        let mut rng = fastrand::Rng::with_seed(settings.seed);
        Self {
            domains: BTreeMap::from([(
                DomainNo(1),
                Domain {
                    uuid: random_uuid(&mut rng),
                    name: ROOT_DOMAIN.to_owned(),
                    path: ROOT_DOMAIN.to_owned(),
                    parent: None,
                    limits: Limits::default(),
                    created: now,
                },
            )]),
            projects: BTreeMap::new(),
            management_server: random_uuid(&mut rng),
            settings,
            rng,
            now,
            zones: BTreeMap::new(),
            offerings: BTreeMap::new(),
            service_offerings: BTreeMap::new(),
            templates: BTreeMap::new(),
            hosts: BTreeMap::new(),
            accounts: BTreeMap::new(),
            account_by_key: BTreeMap::new(),
            usages: BTreeMap::new(),
            vms: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            vm_snapshots: BTreeMap::new(),
            jobs: BTreeMap::new(),
            volume_by_uuid: BTreeMap::new(),
            vm_by_uuid: BTreeMap::new(),
            live_volumes: BTreeSet::new(),
            destroyed: BTreeMap::new(),
            job_by_uuid: BTreeMap::new(),
            plugged: BTreeMap::new(),
            pending: BTreeSet::new(),
            pending_on: BTreeSet::new(),
            ended: VecDeque::new(),
            queues: BTreeMap::new(),
            agenda: BTreeMap::new(),
            next_event: 0,
            events: VecDeque::new(),
            next_event_row: 0,
            hypervisor: Hypervisor::default(),
            next_row: 1,
            diskseq: 0,
        }
    }

    /// The default world: account `admin`, zone `zone-1` with two hosts, disk offerings
    /// `Custom OSSEA` (any size) and `Small` (5 GiB), one service offering and template, VMs `appliance` (Running), `test-vm` (Stopped) and `final-vm`
    /// (Running), each with a ROOT volume.
    pub fn standard(settings: Settings, now: SimTime) -> Self {
        let mut world = Self::new(settings, now);
        let admin = world.add_account("admin", ADMIN_API_KEY, ADMIN_SECRET_KEY);
        let zone = world.add_zone("zone-1");
        world.add_host("kvm-1", zone);
        world.add_host("kvm-2", zone);
        world.add_offering("Custom OSSEA", None);
        world.add_offering("Small", Some(5 * GIB));
        world.add_service_offering("Small Instance", 1, 512);
        world.add_template("debian-12", "Debian GNU/Linux 12 (64-bit)", 20);
        for (name, state) in [
            ("appliance", VmState::Running),
            ("test-vm", VmState::Stopped),
            ("final-vm", VmState::Running),
        ] {
            world.add_vm(name, zone, admin, state);
        }
        world
    }

    /// Adds an account to ROOT.
    pub fn add_account(&mut self, name: &str, api_key: &str, secret_key: &str) -> AccountNo {
        let no = AccountNo(self.row());
        let account = Account {
            uuid: self.uuid(),
            user: self.uuid(),
            name: name.to_owned(),
            domain: self.root_domain(),
            project: None,
            api_key: api_key.to_owned(),
            secret_key: secret_key.to_owned(),
            role: Role::RootAdmin,
            limits: Limits::default(),
            forbidden: Vec::new(),
            enabled: true,
            created: self.now,
        };
        self.accounts.insert(no, account);
        self.account_by_key.insert(api_key.to_owned(), no);
        no
    }

    /// Moves an account to another domain, as long as it is new.
    pub fn place_account(&mut self, no: AccountNo, domain: DomainNo) {
        if let Some(account) = self.accounts.get_mut(&no) {
            account.domain = domain;
        }
    }

    /// Enables or disables an account.
    pub fn enable_account(&mut self, no: AccountNo, enabled: bool) {
        if let Some(account) = self.accounts.get_mut(&no) {
            account.enabled = enabled;
        }
    }

    /// Adds a zone.
    pub fn add_zone(&mut self, name: &str) -> ZoneNo {
        let no = ZoneNo(self.row());
        let zone = Zone {
            uuid: self.uuid(),
            name: name.to_owned(),
            enabled: true,
        };
        self.zones.insert(no, zone);
        no
    }

    /// Enables or disables a zone.
    pub fn enable_zone(&mut self, no: ZoneNo, enabled: bool) {
        if let Some(zone) = self.zones.get_mut(&no) {
            zone.enabled = enabled;
        }
    }

    /// Adds a disk offering; `size` in bytes, `None` for one whose callers give the size.
    pub fn add_offering(&mut self, name: &str, size: Option<u64>) -> OfferingNo {
        let no = OfferingNo(self.row());
        let offering = Offering {
            uuid: self.uuid(),
            name: name.to_owned(),
            size,
            strict: false,
            created: self.now,
        };
        self.offerings.insert(no, offering);
        no
    }

    /// Lets the volumes of an offering keep their size, or not.
    pub fn set_strict(&mut self, no: OfferingNo, strict: bool) {
        if let Some(offering) = self.offerings.get_mut(&no) {
            offering.strict = strict;
        }
    }

    /// The time of the last [`World::advance`].
    pub const fn now(&self) -> SimTime {
        self.now
    }

    /// What it was made from.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs everything that is due at `now`, in order. Time never goes back: an earlier `now`
    /// than the last one changes nothing.
    pub fn advance(&mut self, now: SimTime) {
        while let Some(entry) = self.agenda.first_entry() {
            let (at, _) = *entry.key();
            if at > now.max(self.now) {
                break;
            }
            let event = entry.remove();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(now);
        self.purge_old_jobs();
    }

    /// Sets the clock forward, or back if negative. What is under way takes as long as it
    /// would have: only times that are written or compared from now on are different.
    pub fn set_clock(&mut self, millis: i64) {
        self.now = self.now.shifted(millis);
        self.agenda = std::mem::take(&mut self.agenda)
            .into_iter()
            .map(|((at, order), event)| ((at.shifted(millis), order), event))
            .collect();
        for since in self.destroyed.values_mut() {
            *since = since.shifted(millis);
        }
    }

    /// When the next thing will happen by itself.
    pub fn next_due(&self) -> Option<SimTime> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// The id of the management server.
    pub const fn management_server(&self) -> Uuid {
        self.management_server
    }

    /// All zones.
    pub fn zones(&self) -> impl Iterator<Item = (ZoneNo, &Zone)> {
        self.zones.iter().map(|(no, zone)| (*no, zone))
    }

    /// All disk offerings.
    pub fn offerings(&self) -> impl Iterator<Item = (OfferingNo, &Offering)> {
        self.offerings.iter().map(|(no, offering)| (*no, offering))
    }

    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountNo, &Account)> {
        self.accounts.iter().map(|(no, account)| (*no, account))
    }

    /// All VMs, newest first, removed ones too.
    pub fn vms(&self) -> impl Iterator<Item = (VmNo, &Vm)> {
        self.vms.iter().rev().map(|(no, vm)| (*no, vm))
    }

    /// All volumes, newest first, removed ones too.
    pub fn volumes(&self) -> impl Iterator<Item = (VolumeNo, &Volume)> {
        self.volumes.iter().rev().map(|(no, volume)| (*no, volume))
    }

    /// The volumes that are not removed, newest first.
    pub fn live_volumes(&self) -> impl Iterator<Item = VolumeNo> {
        self.live_volumes.iter().rev().copied()
    }

    /// All unfinished jobs, oldest first.
    pub fn pending_jobs(&self) -> impl Iterator<Item = &Job> {
        self.pending.iter().map(|no| self.job(*no))
    }

    /// A zone.
    pub fn zone(&self, no: ZoneNo) -> &Zone {
        self.zones.get(&no).expect("zones are never removed")
    }

    /// A disk offering.
    pub fn offering(&self, no: OfferingNo) -> &Offering {
        self.offerings
            .get(&no)
            .expect("offerings are never removed")
    }

    /// An account.
    pub fn account(&self, no: AccountNo) -> &Account {
        self.accounts.get(&no).expect("accounts are never removed")
    }

    /// A VM, perhaps a removed one.
    pub fn vm(&self, no: VmNo) -> &Vm {
        self.vms.get(&no).expect("rows of VMs stay")
    }

    /// A volume, perhaps a removed one.
    pub fn volume(&self, no: VolumeNo) -> &Volume {
        self.volumes.get(&no).expect("rows of volumes stay")
    }

    /// The zone with this id.
    pub fn find_zone(&self, uuid: Uuid) -> Option<ZoneNo> {
        find(&self.zones, |zone| zone.uuid == uuid)
    }

    /// The disk offering with this id.
    pub fn find_offering(&self, uuid: Uuid) -> Option<OfferingNo> {
        find(&self.offerings, |offering| offering.uuid == uuid)
    }

    /// The account with this API key.
    pub fn find_account(&self, api_key: &str) -> Option<AccountNo> {
        self.account_by_key.get(api_key).copied()
    }

    /// The VM with this id, perhaps a removed one.
    pub fn find_vm(&self, uuid: Uuid) -> Option<VmNo> {
        self.vm_by_uuid.get(&uuid).copied()
    }

    /// The volume with this id, perhaps a removed one.
    pub fn find_volume(&self, uuid: Uuid) -> Option<VolumeNo> {
        self.volume_by_uuid.get(&uuid).copied()
    }

    /// The snapshot with this id, perhaps a removed one.
    pub fn find_snapshot(&self, uuid: Uuid) -> Option<SnapshotNo> {
        find(&self.snapshots, |row| row.uuid == uuid)
    }

    /// The job with this id; old ones are purged.
    pub fn find_job(&self, uuid: Uuid) -> Option<&Job> {
        self.job_by_uuid.get(&uuid).map(|no| self.job(*no))
    }

    fn job(&self, no: JobNo) -> &Job {
        self.jobs.get(&no).expect("a job known by number has a row")
    }

    fn vm_mut(&mut self, no: VmNo) -> &mut Vm {
        self.vms.get_mut(&no).expect("rows of VMs stay")
    }

    fn volume_mut(&mut self, no: VolumeNo) -> &mut Volume {
        self.volumes.get_mut(&no).expect("rows of volumes stay")
    }

    fn row(&mut self) -> u64 {
        self.next_row += 1;
        self.next_row
    }

    /// 122 random bits: the first 20 hex digits, which make a disk's serial, differ too.
    fn uuid(&mut self) -> Uuid {
        random_uuid(&mut self.rng)
    }

    fn next_diskseq(&mut self) -> u64 {
        self.diskseq += 1;
        self.diskseq
    }

    /// Lets things take so long from now on.
    pub const fn set_latencies(&mut self, latencies: Latencies) {
        self.settings.latencies = latencies;
    }

    /// A latency, longer or shorter by chance. Without jitter no chance is taken, so that it
    /// does not change the ids of worlds that have none.
    fn jittered(&mut self, millis: u64) -> u64 {
        let percent = u64::from(self.settings.latencies.jitter_percent.min(100));
        let most = millis.saturating_mul(percent) / 100;
        if most == 0 {
            return millis;
        }
        millis - most + self.rng.u64(0..=most.saturating_mul(2))
    }

    fn schedule(&mut self, after_ms: u64, event: Event) {
        let at = self.now.plus_millis(after_ms);
        self.agenda.insert((at, self.next_event), event);
        self.next_event += 1;
    }
}

fn find<No: Copy, Row>(rows: &BTreeMap<No, Row>, wanted: impl Fn(&Row) -> bool) -> Option<No> {
    rows.iter().find(|(_, row)| wanted(row)).map(|(no, _)| *no)
}

fn random_uuid(rng: &mut fastrand::Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests;
