//! What has to be asked of the outside, and when. Asks nobody: `dispatch` hands the questions out.

use std::collections::BTreeSet;

use crate::model::{BootTime, VmId, VolumeId};
use crate::observe::CloudQuery;
use crate::plan::Reread;

/// What has to be asked, and when it was asked last.
#[derive(Debug, Default)]
pub(super) struct Asks {
    pub full: Ask,
    pub host: Ask,
    pub nbd: Ask,
    pub jobs: Ask,
    /// Single objects of CloudStack to read again.
    pub some: Objects,
    /// Whether some are being read.
    pub some_asked: bool,
    /// CloudStack is not asked for single objects before this.
    pub paused: BootTime,
    /// Listings of CloudStack that failed in a row.
    pub failures: u32,
}

/// Single objects of CloudStack.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub volumes: BTreeSet<VolumeId>,
    pub names: BTreeSet<String>,
    pub vms: BTreeSet<VmId>,
}

impl Objects {
    pub fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.names.is_empty() && self.vms.is_empty()
    }

    /// Asks again for what was not answered.
    pub fn add(&mut self, query: CloudQuery) {
        self.volumes.extend(query.ids);
        self.names.extend(query.names);
        self.vms.extend(query.vms);
    }
}

impl Asks {
    /// Leaves CloudStack alone until `until`.
    pub fn pause(&mut self, until: BootTime) {
        self.paused = self.paused.max(until);
        self.full.not_before(until);
        self.jobs.not_before(until);
    }

    /// Asks for what a decision waits for.
    pub fn reread(&mut self, reread: &Reread) {
        match reread {
            Reread::Listing => self.full.now(),
            Reread::Volume(id) => drop(self.some.volumes.insert(*id)),
            Reread::Vm(id) => drop(self.some.vms.insert(*id)),
            Reread::Name(name) => drop(self.some.names.insert(name.clone())),
            Reread::Host => self.host.now(),
            Reread::Nbd => self.nbd.now(),
        }
    }
}

/// One question to the outside.
#[derive(Debug, Default)]
pub(super) struct Ask {
    /// When it is due without an occasion; `None`: as soon as possible.
    pub due: Option<BootTime>,
    /// Whether the answer is under way.
    pub asked: bool,
}

impl Ask {
    pub fn now(&mut self) {
        self.due = None;
    }

    pub fn not_before(&mut self, until: BootTime) {
        self.due = Some(self.due.map_or(until, |due| due.max(until)));
    }

    pub fn is_due(&self, now: BootTime) -> bool {
        !self.asked && self.due.is_none_or(|due| due <= now)
    }

    /// Takes the answer; the question is due again at `next`, or at once if it was asked
    /// for while this answer was under way.
    pub fn answered(&mut self, next: BootTime) {
        self.asked = false;
        if self.due.is_some() {
            self.due = Some(next);
        }
    }

    /// Marks the question as asked. What happens from here on needs a new answer.
    pub fn ask(&mut self) {
        self.asked = true;
        self.due = Some(BootTime::from_millis(u64::MAX));
    }
}
