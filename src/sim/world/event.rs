//! Events: who did what, and how it went (`ActionEventUtils.java`, `EventTypes.java`). An async
//! command leaves three, linked by the first one's id; a sync one leaves the last only.
//!
//! What goes on behind the API's back leaves none, as with a real hypervisor.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sim::time::SimTime;

use super::World;
use super::job::Outcome;
use super::rows::{AccountNo, SnapshotNo, VmNo, VolumeNo};
use super::work::Work;

/// What an event is about (`EventTypes.java`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// `VOLUME.CREATE`.
    VolumeCreate,
    /// `VOLUME.ATTACH`.
    VolumeAttach,
    /// `VOLUME.DETACH`.
    VolumeDetach,
    /// `VOLUME.RESIZE`.
    VolumeResize,
    /// `VOLUME.DESTROY`.
    VolumeDestroy,
    /// `VOLUME.DELETE`.
    VolumeDelete,
    /// `VOLUME.RECOVER`.
    VolumeRecover,
    /// `VOLUME.UPDATE`.
    VolumeUpdate,
    /// `SNAPSHOT.CREATE`.
    SnapshotCreate,
    /// `SNAPSHOT.DELETE`.
    SnapshotDelete,
    /// `SNAPSHOT.REVERT`.
    SnapshotRevert,
    /// `VM.CREATE`.
    VmCreate,
    /// `VM.MIGRATE`.
    VmMigrate,
    /// `VM.START`.
    VmStart,
    /// `VM.STOP`.
    VmStop,
    /// `VM.REBOOT`.
    VmReboot,
    /// `VM.DESTROY`.
    VmDestroy,
    /// `VM.EXPUNGE`.
    VmExpunge,
    /// `VM.UPDATE`.
    VmUpdate,
    /// `VMSNAPSHOT.CREATE`.
    VmSnapshotCreate,
    /// `VMSNAPSHOT.DELETE`.
    VmSnapshotDelete,
    /// `CREATE_TAGS`.
    CreateTags,
    /// `DELETE_TAGS`.
    DeleteTags,
}

impl EventKind {
    /// The type as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VolumeCreate => "VOLUME.CREATE",
            Self::VolumeAttach => "VOLUME.ATTACH",
            Self::VolumeDetach => "VOLUME.DETACH",
            Self::VolumeResize => "VOLUME.RESIZE",
            Self::VolumeDestroy => "VOLUME.DESTROY",
            Self::VolumeDelete => "VOLUME.DELETE",
            Self::VolumeRecover => "VOLUME.RECOVER",
            Self::VolumeUpdate => "VOLUME.UPDATE",
            Self::SnapshotCreate => "SNAPSHOT.CREATE",
            Self::SnapshotDelete => "SNAPSHOT.DELETE",
            Self::SnapshotRevert => "SNAPSHOT.REVERT",
            Self::VmCreate => "VM.CREATE",
            Self::VmMigrate => "VM.MIGRATE",
            Self::VmStart => "VM.START",
            Self::VmStop => "VM.STOP",
            Self::VmReboot => "VM.REBOOT",
            Self::VmDestroy => "VM.DESTROY",
            Self::VmExpunge => "VM.EXPUNGE",
            Self::VmUpdate => "VM.UPDATE",
            Self::VmSnapshotCreate => "VMSNAPSHOT.CREATE",
            Self::VmSnapshotDelete => "VMSNAPSHOT.DELETE",
            Self::CreateTags => "CREATE_TAGS",
            Self::DeleteTags => "DELETE_TAGS",
        }
    }

    /// What is being done, as descriptions say it.
    const fn doing(self) -> &'static str {
        match self {
            Self::VolumeCreate => "creating volume",
            Self::VolumeAttach => "attaching volume",
            Self::VolumeDetach => "detaching volume",
            Self::VolumeResize => "resizing volume",
            Self::VolumeDestroy => "destroying volume",
            Self::VolumeDelete => "deleting volume",
            Self::VolumeRecover => "recovering volume",
            Self::VolumeUpdate => "updating volume",
            Self::SnapshotCreate => "creating snapshot",
            Self::SnapshotDelete => "deleting snapshot",
            Self::SnapshotRevert => "revert snapshot",
            Self::VmCreate => "deploying Vm",
            Self::VmMigrate => "migrating VM",
            Self::VmStart => "starting Vm",
            Self::VmStop => "stopping Vm",
            Self::VmReboot => "rebooting Vm",
            Self::VmDestroy => "destroying Vm",
            Self::VmExpunge => "expunging Vm",
            Self::VmUpdate => "updating Vm",
            Self::VmSnapshotCreate => "Creating Instance Snapshot",
            Self::VmSnapshotDelete => "Delete Instance Snapshots",
            Self::CreateTags => "creating resource tags",
            Self::DeleteTags => "Deleting resource tags",
        }
    }
}

/// How far it had come (`Event.State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventState {
    /// The row of what is to be made is there.
    Created,
    /// The job is accepted.
    Scheduled,
    /// The job has begun.
    Started,
    /// It is over, well or not.
    Completed,
}

impl EventState {
    /// The state as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Scheduled => "Scheduled",
            Self::Started => "Started",
            Self::Completed => "Completed",
        }
    }
}

/// What an event happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// `Volume`.
    Volume(VolumeNo),
    /// `VirtualMachine`.
    Vm(VmNo),
    /// `Snapshot`.
    Snapshot(SnapshotNo),
}

impl Resource {
    /// `resourcetype` as the API writes it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Volume(_) => "Volume",
            Self::Vm(_) => "VirtualMachine",
            Self::Snapshot(_) => "Snapshot",
        }
    }
}

/// An event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventRow {
    /// Counts up.
    pub no: u64,
    /// What was done.
    pub kind: EventKind,
    /// How far it had come.
    pub state: EventState,
    /// Whether it went wrong: level ERROR instead of INFO.
    pub failed: bool,
    /// Who did it.
    pub account: AccountNo,
    /// Whose it is: whose resource it was done to.
    pub owner: AccountNo,
    /// To what, if it is one thing.
    pub resource: Option<Resource>,
    /// The event with which it began (`parentid`).
    pub parent: Option<u64>,
    /// When.
    pub created: SimTime,
}

impl EventRow {
    /// Its id in the API, made from its number: events take no part in the world's dice.
    pub const fn uuid(no: u64) -> Uuid {
        uuid::Builder::from_random_bytes(((no as u128) << 64 | 0xe7e7).to_be_bytes()).into_uuid()
    }

    /// The description (`ActionEventUtils.java`).
    pub fn description(&self, resource: Option<Uuid>) -> String {
        let of = resource.map(|id| format!(": {id}")).unwrap_or_default();
        let doing = self.kind.doing();
        match (self.state, self.failed) {
            (EventState::Created, _) => {
                format!("Successfully created entity for {doing}{of}")
            }
            (EventState::Scheduled, _) => format!("Scheduled async job for {doing}{of}"),
            (EventState::Started, _) => format!("Starting job for {doing}{of}"),
            (EventState::Completed, false) => format!("Successfully completed {doing}{of}"),
            (EventState::Completed, true) => format!("Error while {doing}{of}"),
        }
    }
}

impl World {
    /// Notes what a sync command did or failed to do, or what an async one made before its job.
    pub fn note(
        &mut self,
        account: AccountNo,
        kind: EventKind,
        resource: Resource,
        (state, failed): (EventState, bool),
    ) {
        self.add_event(EventRow {
            no: 0,
            kind,
            state,
            failed,
            account,
            owner: self.owner_of(account, Some(resource)),
            resource: Some(resource),
            parent: None,
            created: self.now,
        });
    }

    /// The id of a resource, which may be gone by now.
    pub fn id_of(&self, resource: Resource) -> Uuid {
        match resource {
            Resource::Volume(no) => self.volume(no).uuid,
            Resource::Vm(no) => self.vm(no).uuid,
            Resource::Snapshot(no) => self.snapshot(no).uuid,
        }
    }

    /// What is about no single resource is whoever's who did it (`getEntityOwnerId`).
    fn owner_of(&self, caller: AccountNo, resource: Option<Resource>) -> AccountNo {
        match resource {
            Some(Resource::Volume(no)) => self.volume(no).account,
            Some(Resource::Vm(no)) => self.vm(no).account,
            Some(Resource::Snapshot(no)) => self.snapshot(no).account,
            None => caller,
        }
    }

    /// All events that are still kept, newest first.
    pub fn events(&self) -> impl Iterator<Item = &EventRow> {
        self.events.iter().rev()
    }

    /// Notes that a job was accepted, and returns what its other events are linked to.
    pub(super) fn job_scheduled(&mut self, account: AccountNo, work: &Work) -> u64 {
        self.add_event(EventRow {
            no: 0,
            kind: kind_of(work),
            state: EventState::Scheduled,
            failed: false,
            account,
            owner: self.owner_of(account, work.about()),
            resource: work.about(),
            parent: None,
            created: self.now,
        })
    }

    pub(super) fn job_started(&mut self, account: AccountNo, work: &Work, parent: u64) {
        self.add_event(EventRow {
            no: 0,
            kind: kind_of(work),
            state: EventState::Started,
            failed: false,
            account,
            owner: self.owner_of(account, work.about()),
            resource: work.about(),
            parent: Some(parent),
            created: self.now,
        });
    }

    /// A job that was lost has nobody left to say so.
    pub(super) fn job_ended(
        &mut self,
        (account, parent): (AccountNo, u64),
        work: &Work,
        outcome: &Outcome,
    ) {
        let failed = match outcome {
            Outcome::Volume(..)
            | Outcome::Vm(..)
            | Outcome::Snapshot(_)
            | Outcome::VmSnapshot(_)
            | Outcome::Success => false,
            Outcome::Failed { .. } => true,
            Outcome::Lost => return,
        };
        self.add_event(EventRow {
            no: 0,
            kind: kind_of(work),
            state: EventState::Completed,
            failed,
            account,
            owner: self.owner_of(account, work.about()),
            resource: work.about(),
            parent: Some(parent),
            created: self.now,
        });
    }

    fn add_event(&mut self, mut row: EventRow) -> u64 {
        self.next_event_row += 1;
        row.no = self.next_event_row;
        self.events.push_back(row);
        while self.events.len() > self.settings.max_events {
            self.events.pop_front();
        }
        self.next_event_row
    }
}

const fn kind_of(work: &Work) -> EventKind {
    match work {
        Work::Create { .. } => EventKind::VolumeCreate,
        Work::Attach { .. } => EventKind::VolumeAttach,
        Work::Detach { .. } => EventKind::VolumeDetach,
        Work::Resize { .. } => EventKind::VolumeResize,
        Work::Destroy { .. } => EventKind::VolumeDestroy,
        Work::Update { .. } => EventKind::VolumeUpdate,
        Work::CreateSnapshot { .. } => EventKind::SnapshotCreate,
        Work::DeleteSnapshot { .. } => EventKind::SnapshotDelete,
        Work::RevertSnapshot { .. } => EventKind::SnapshotRevert,
        Work::CreateVmSnapshot { .. } => EventKind::VmSnapshotCreate,
        Work::DeleteVmSnapshot { .. } => EventKind::VmSnapshotDelete,
        Work::CreateTags { .. } => EventKind::CreateTags,
        Work::DeleteTags { .. } => EventKind::DeleteTags,
        Work::DeployVm { .. } => EventKind::VmCreate,
        Work::MigrateVm { .. } => EventKind::VmMigrate,
        Work::StartVm { .. } => EventKind::VmStart,
        Work::StopVm { .. } => EventKind::VmStop,
        Work::RebootVm { .. } => EventKind::VmReboot,
        Work::DestroyVm { .. } => EventKind::VmDestroy,
        Work::ExpungeVm { .. } => EventKind::VmExpunge,
    }
}
