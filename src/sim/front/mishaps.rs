//! What goes wrong between a client and the front, and what happens by itself: faults that are
//! due, requests that come late, replicas that catch up.

use serde::{Deserialize, Serialize};

use crate::sim::fault::{Armed, Facts, Fault, Mishap, Sort};
use crate::sim::time::SimTime;
use crate::sim::world::{VolumeNo, World};

use super::commands::{self, Shape};
use super::params::Params;
use super::{Front, HttpRequest};

/// A copy of the world that lags behind, for [`Fault::StaleListing`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Replica {
    pub world: World,
    /// When it last caught up.
    caught_up: SimTime,
    /// How often it does, in milliseconds; 0: never again.
    every_ms: u64,
}

impl Replica {
    /// The last moment up to `now` at which it was to catch up, unless it did.
    fn due(&self, now: SimTime) -> Option<SimTime> {
        let times = now
            .millis_since(self.caught_up)
            .checked_div(self.every_ms)?;
        (times > 0).then(|| self.caught_up.plus_millis(times * self.every_ms))
    }
}

/// Something that happens by itself, apart from the world's own agenda.
enum Event {
    Fault(u64),
    Late((SimTime, u64)),
    CatchUp(u64),
}

impl Front {
    /// The present moment, by a clock that is never wrong: that of the last
    /// [`Front::advance`].
    pub const fn now(&self) -> SimTime {
        self.world.now().shifted(self.skew.saturating_neg())
    }

    /// Runs what is due at `now`, in order.
    pub fn advance(&mut self, now: SimTime) {
        while let Some((at, event)) = self.next_event(now) {
            self.world.advance(at.shifted(self.skew));
            match event {
                Event::Fault(id) => {
                    if let Some(fault) = self.faults.take_due(id) {
                        self.inject(fault);
                    }
                }
                Event::Late(key) => {
                    if let Some(request) = self.late.remove(&key) {
                        self.carry_out_late(&request);
                    }
                }
                Event::CatchUp(id) => {
                    if let Some(replica) = self.replicas.get_mut(&id) {
                        replica.world = self.world.clone();
                        replica.caught_up = at;
                    }
                }
            }
        }
        self.world.advance(now.shifted(self.skew));
        if !self.replicas.is_empty() {
            let armed: Vec<u64> = self.armed_faults().iter().map(|armed| armed.id).collect();
            self.replicas.retain(|id, _| armed.contains(id));
        }
    }

    fn next_event(&self, now: SimTime) -> Option<(SimTime, Event)> {
        let fault = self
            .faults
            .next_due()
            .map(|(at, id)| (at, Event::Fault(id)));
        let late = self.late.keys().next();
        let late = late.map(|key| (key.0, Event::Late(*key)));
        let replicas = self
            .replicas
            .iter()
            .filter_map(|(id, replica)| Some((replica.due(now)?, Event::CatchUp(*id))));
        fault
            .into_iter()
            .chain(late)
            .chain(replicas)
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, _)| *at)
    }

    /// When the next thing will happen by itself, by the clock of [`Front::now`].
    pub fn next_due(&self) -> Option<SimTime> {
        let world = self.world.next_due();
        let world = world.map(|at| at.shifted(self.skew.saturating_neg()));
        let fault = self.faults.next_due().map(|(at, _)| at);
        let late = self.late.keys().next().map(|(at, _)| *at);
        [world, fault, late].into_iter().flatten().min()
    }

    /// Lets something go wrong: a skew, restart or outage at once, anything else when its
    /// request or its moment comes.
    pub fn inject(&mut self, fault: Fault) {
        let now = self.now();
        match fault {
            Fault::Outage { mode, ms } => self.faults.begin_outage(mode, now.plus_millis(ms)),
            Fault::Restart { keep_plugged } => self.world.restart_management_server(keep_plugged),
            Fault::ClockSkew { ms } => self.set_skew(ms),
            Fault::StaleListing { ms, .. } => {
                let id = self.arm(fault);
                let replica = Replica {
                    world: self.world.clone(),
                    caught_up: now,
                    every_ms: ms,
                };
                self.replicas.insert(id, replica);
            }
            Fault::DropResponse { .. }
            | Fault::DelayResponse { .. }
            | Fault::DuplicateRequest { .. }
            | Fault::LateRequest { .. }
            | Fault::TooManyRequests { .. }
            | Fault::BadGateway { .. }
            | Fault::ServiceUnavailable { .. }
            | Fault::InternalError { .. }
            | Fault::StuckJob { .. }
            | Fault::DelayJob { .. }
            | Fault::StragglingDetach { .. }
            | Fault::FailJob { .. }
            | Fault::StorageFailure { .. }
            | Fault::DetachTimeout { .. }
            | Fault::DeleteStuck { .. }
            | Fault::PurgeJob { .. }
            | Fault::LoseJob { .. }
            | Fault::MissRows { .. }
            | Fault::RepeatRows { .. }
            | Fault::At { .. } => {
                self.arm(fault);
            }
        }
    }

    fn arm(&mut self, fault: Fault) -> u64 {
        let seed = self.world.settings().seed;
        self.faults.arm(fault, self.now(), seed)
    }

    fn set_skew(&mut self, millis: i64) {
        self.world.set_clock(millis.saturating_sub(self.skew));
        self.skew = millis;
    }

    /// The faults that can still strike, in the order of arming.
    pub fn armed_faults(&self) -> Vec<&Armed> {
        let now = self.now();
        self.faults
            .all()
            .filter(|armed| armed.is_armed(now))
            .collect()
    }

    /// All faults that were armed, also those that are used up (the last thousand).
    pub fn faults(&self) -> impl Iterator<Item = &Armed> {
        self.faults.all()
    }

    /// Disarms one fault and says whether it was there.
    pub fn disarm(&mut self, id: u64) -> bool {
        self.replicas.remove(&id);
        self.faults.disarm(id)
    }

    /// Disarms all faults, ends an outage and sets the clock right.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
        self.replicas.clear();
        self.set_skew(0);
    }

    /// What goes wrong with a request.
    pub(super) fn mishap(&mut self, params: &Params) -> Mishap {
        // Without faults, requests are not looked at twice.
        if self.faults.all().next().is_none() {
            return Mishap::default();
        }
        let now = self.now();
        self.faults.strike(&facts(&self.world, params), now)
    }

    pub(super) fn hold_up(&mut self, request: &HttpRequest, millis: u64) {
        let at = self.now().plus_millis(millis);
        let order = self
            .late
            .keys()
            .next_back()
            .map_or(0, |(_, order)| order + 1);
        self.late.insert((at, order), request.clone());
    }
}

/// What faults can tell a request by.
fn facts<'a>(world: &'a World, params: &'a Params) -> Facts<'a> {
    let command = params.get("command").unwrap_or_default();
    let sort = match commands::find(command).map(|command| command.shape) {
        Some(Shape::List) => Sort::Listing,
        Some(Shape::Async) => Sort::Job,
        Some(Shape::Sync) | None => Sort::Other,
    };
    let mut volumes: Vec<String> = Vec::new();
    let mut nos: Vec<VolumeNo> = Vec::new();
    for id in params.volumes() {
        volumes.push(id.to_string());
        nos.extend(world.find_volume(id));
    }
    if let Some(no) = by_device(world, params) {
        volumes.push(world.volume(no).uuid.to_string());
        nos.push(no);
    }
    let job = params.get_ignoring_case("jobid");
    let job = job.and_then(|id| world.find_job(id.parse().ok()?));
    if let Some(no) = job.and_then(|job| job.work.volume()) {
        volumes.push(world.volume(no).uuid.to_string());
        nos.push(no);
    }
    volumes.extend(nos.iter().map(|no| world.volume(*no).name.clone()));
    if matches!(command, "createVolume" | "listVolumes") {
        volumes.extend(params.get_ignoring_case("name").map(str::to_owned));
    }
    let account = params
        .get_ignoring_case("apikey")
        .and_then(|key| world.find_account(key));
    let page = params.get_ignoring_case("page");
    Facts {
        command,
        sort,
        volumes,
        account: account.map(|no| world.account(no).name.as_str()),
        page: page.and_then(|page| page.parse().ok()).unwrap_or(1),
    }
}

/// The volume that a detach names by VM and device.
fn by_device(world: &World, params: &Params) -> Option<VolumeNo> {
    let device = params.get_ignoring_case("deviceid")?.parse().ok()?;
    let vm = params.get_ignoring_case("virtualmachineid")?.parse().ok()?;
    if params.get_ignoring_case("id").is_some() {
        // An attach, which names the device that is to be.
        return None;
    }
    world.vm(world.find_vm(vm)?).disks.get(&device).copied()
}
