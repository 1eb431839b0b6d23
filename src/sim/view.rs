//! What the API shows of a row: the response objects, null fields left out.
//!
//! Field names and the conditions under which a field appears are those of
//! `VolumeResponse.java`, `VolumeJoinDaoImpl.java`, `UserVmResponse.java`,
//! `AsyncJobJoinDaoImpl.java` and their neighbours, as a root administrator sees them.

mod catalog;
mod event;
mod owner;
mod snapshot;
mod vm_snapshot;

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::time::SimTime;
use super::world::{
    Account, GIB, Job, JobState, Offering, OfferingNo, Outcome, Resource, Tag, Tagged, Vm, VmNo,
    Volume, VolumeNo, VolumeState, World, Zone,
};

pub use catalog::{HostView, ServiceOfferingView, TemplateView};
pub use event::EventView;
pub use owner::{AccountView, DomainView, ProjectView, UserView};
pub use snapshot::SnapshotView;
pub use vm_snapshot::VmSnapshotView;

use owner::OwnerView;

/// The hypervisor of every host.
const HYPERVISOR: &str = "KVM";
/// The only primary storage.
const STORAGE: &str = "primary-1";

/// A volume (`VolumeResponse.java`).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct VolumeView<'a> {
    id: Uuid,
    name: &'a str,
    zoneid: Uuid,
    zonename: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    provisioningtype: &'static str,
    /// In bytes.
    size: u64,
    created: String,
    state: &'static str,
    #[serde(flatten)]
    owner: OwnerView<'a>,
    #[serde(flatten)]
    attachment: Option<AttachmentView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diskofferingid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diskofferingname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diskofferingdisplaytext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hypervisor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storagetype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshotid: Option<Uuid>,
    destroyed: bool,
    isextractable: bool,
    displayvolume: bool,
    quiescevm: bool,
    supportsstoragesnapshot: bool,
    deleteprotection: bool,
    hasannotations: bool,
    tags: Vec<TagView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobstatus: Option<u8>,
}

/// What an attached volume shows of its VM.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
struct AttachmentView<'a> {
    deviceid: u32,
    virtualmachineid: Uuid,
    vmname: &'a str,
    vmdisplayname: &'a str,
    vmstate: &'static str,
    vmtype: &'static str,
    attached: String,
}

impl<'a> VolumeView<'a> {
    /// The volume as it is now.
    pub fn of(world: &'a World, no: VolumeNo) -> Self {
        let job = world.job_on(no).map(|job| job.uuid);
        Self::of_row(world, no, world.volume(no), job)
    }

    /// A volume as its row was at some time, while `job` was pending on it.
    fn of_row(world: &'a World, no: VolumeNo, row: &'a Volume, job: Option<Uuid>) -> Self {
        let on_storage = match row.state {
            VolumeState::Allocated | VolumeState::Creating => false,
            VolumeState::Ready
            | VolumeState::Attaching
            | VolumeState::Resizing
            | VolumeState::Snapshotting
            | VolumeState::RevertSnapshotting
            | VolumeState::Destroy
            | VolumeState::Expunging
            | VolumeState::Expunged => true,
        };
        let offering = row.offering.map(|no| world.offering(no));
        let zone = world.zone(row.zone);
        Self {
            id: row.uuid,
            name: &row.name,
            zoneid: zone.uuid,
            zonename: &zone.name,
            kind: row.kind.as_str(),
            provisioningtype: "thin",
            size: row.size,
            created: row.created.to_string(),
            state: row.state.as_str(),
            owner: OwnerView::of(world, row.account),
            attachment: attachment(world, row),
            diskofferingid: offering.map(|offering| offering.uuid),
            diskofferingname: offering.map(|offering| offering.name.as_str()),
            diskofferingdisplaytext: offering.map(|offering| offering.name.as_str()),
            hypervisor: Some(if on_storage { HYPERVISOR } else { "None" }),
            storage: Some(if on_storage { STORAGE } else { "none" }),
            storagetype: on_storage.then_some("shared"),
            path: on_storage.then_some(row.uuid),
            snapshotid: row.from_snapshot.map(|no| world.snapshot(no).uuid),
            destroyed: row.state == VolumeState::Destroy,
            isextractable: true,
            displayvolume: true,
            quiescevm: false,
            supportsstoragesnapshot: false,
            deleteprotection: row.delete_protection,
            hasannotations: false,
            tags: tags(world, Tagged::Volume(no), &row.tags),
            jobid: job,
            jobstatus: job.map(|_| 0),
        }
    }
}

impl<'a> VolumeView<'a> {
    /// The same without what only root administrators see (`VolumeJoinDaoImpl.java`).
    #[must_use]
    pub fn seen_by(mut self, root: bool) -> Self {
        if !root {
            self.hypervisor = None;
            self.storage = None;
            self.storagetype = None;
            self.path = None;
        }
        self
    }
}

/// In state Destroy the VM is hidden even if linked (`VolumeJoinDaoImpl.java`).
fn attachment<'a>(world: &'a World, row: &Volume) -> Option<AttachmentView<'a>> {
    let link = row
        .attachment
        .filter(|_| row.state != VolumeState::Destroy)?;
    let vm = world.vm(link.vm);
    Some(AttachmentView {
        deviceid: link.device,
        virtualmachineid: vm.uuid,
        vmname: &vm.name,
        vmdisplayname: &vm.display_name,
        vmstate: vm.state.as_str(),
        vmtype: "User",
        attached: link.since.to_string(),
    })
}

/// A tag (`ResourceTagResponse.java`).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct TagView<'a> {
    key: &'a str,
    value: &'a str,
    resourcetype: &'static str,
    resourceid: Uuid,
    #[serde(flatten)]
    owner: OwnerView<'a>,
}

impl<'a> TagView<'a> {
    /// A tag on a resource.
    pub fn of(world: &'a World, on: Tagged, tag: &'a Tag) -> Self {
        let (resourcetype, resourceid) = world.tagged(on);
        Self {
            key: &tag.key,
            value: &tag.value,
            resourcetype,
            resourceid,
            owner: OwnerView::of(world, world.owner(on)),
        }
    }
}

fn tags<'a>(world: &'a World, on: Tagged, tags: &'a [Tag]) -> Vec<TagView<'a>> {
    tags.iter().map(|tag| TagView::of(world, on, tag)).collect()
}

/// A VM (`UserVmResponse.java`), as with `details=min`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct VmView<'a> {
    id: Uuid,
    name: String,
    displayname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instancename: Option<String>,
    state: &'static str,
    #[serde(flatten)]
    owner: OwnerView<'a>,
    created: String,
    zoneid: Uuid,
    zonename: String,
    hypervisor: &'static str,
    osdisplayname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(flatten)]
    template: Option<OfTemplate>,
    #[serde(flatten)]
    size: Option<OfServiceOffering>,
    haenable: bool,
    passwordenabled: bool,
    displayvm: bool,
    isdynamicallyscalable: bool,
    deleteprotection: bool,
    details: BTreeMap<String, String>,
    nic: [(); 0],
    securitygroup: [(); 0],
    affinitygroup: [(); 0],
    tags: Vec<TagView<'a>>,
}

/// What a VM shows of its template.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
struct OfTemplate {
    templateid: Uuid,
    templatename: String,
    templatedisplaytext: String,
}

/// What a VM shows of its service offering.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
struct OfServiceOffering {
    serviceofferingid: Uuid,
    serviceofferingname: String,
    cpunumber: u32,
    cpuspeed: u32,
    memory: u32,
}

impl<'a> VmView<'a> {
    /// The VM as it is now.
    pub fn of(world: &'a World, no: VmNo) -> Self {
        Self::of_row(world, no, world.vm(no))
    }

    /// A VM as its row was at some time.
    fn of_row(world: &'a World, no: VmNo, row: &'a Vm) -> Self {
        let zone = world.zone(row.zone);
        // Where it ran last is not shown.
        let host = row
            .host
            .filter(|_| row.guest.is_some())
            .map(|no| world.host(no));
        let template = row.template.map(|no| world.template(no));
        let size = row.service_offering.map(|no| world.service_offering(no));
        Self {
            id: row.uuid,
            name: row.name.clone(),
            displayname: row.display_name.clone(),
            instancename: Some(format!("i-2-{no}-VM")),
            state: row.state.as_str(),
            owner: OwnerView::of(world, row.account),
            created: row.created.to_string(),
            zoneid: zone.uuid,
            zonename: zone.name.clone(),
            hypervisor: HYPERVISOR,
            osdisplayname: row.os.clone(),
            hostid: host.map(|host| host.uuid),
            hostname: host.map(|host| host.name.clone()),
            template: template.map(|template| OfTemplate {
                templateid: template.uuid,
                templatename: template.name.clone(),
                templatedisplaytext: template.name.clone(),
            }),
            size: size.map(|size| OfServiceOffering {
                serviceofferingid: size.uuid,
                serviceofferingname: size.name.clone(),
                cpunumber: size.cpus,
                cpuspeed: catalog::CPU_MHZ,
                memory: size.memory_mib,
            }),
            haenable: false,
            passwordenabled: false,
            displayvm: true,
            isdynamicallyscalable: false,
            deleteprotection: false,
            details: row.details.clone(),
            nic: [],
            securitygroup: [],
            affinitygroup: [],
            tags: tags(world, Tagged::Vm(no), &row.tags),
        }
    }
}

impl<'a> VmView<'a> {
    /// The same without what only root administrators see (`UserVmJoinDaoImpl.java`).
    #[must_use]
    pub fn seen_by(mut self, root: bool) -> Self {
        if !root {
            self.instancename = None;
            self.hostid = None;
            self.hostname = None;
        }
        self
    }

    /// Only what `details` asks for; nothing asked for is everything
    /// (`UserVmJoinDaoImpl.newUserVmResponse`).
    #[must_use]
    pub fn in_detail(mut self, asked: &[String]) -> Self {
        let wants = |detail: &str| {
            asked.is_empty()
                || asked
                    .iter()
                    .any(|one| one.eq_ignore_ascii_case(detail) || one.eq_ignore_ascii_case("all"))
        };
        if !wants("tmpl") {
            self.template = None;
        }
        if !wants("servoff") {
            self.size = None;
        }
        self
    }
}

/// A zone (`ZoneResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct ZoneView {
    id: Uuid,
    name: String,
    networktype: &'static str,
    securitygroupsenabled: bool,
    allocationstate: &'static str,
    localstorageenabled: bool,
    #[serde(rename = "type")]
    kind: &'static str,
    tags: [(); 0],
}

impl ZoneView {
    /// The zone.
    pub fn of(zone: &Zone) -> Self {
        Self {
            id: zone.uuid,
            name: zone.name.clone(),
            networktype: "Advanced",
            securitygroupsenabled: false,
            allocationstate: if zone.enabled { "Enabled" } else { "Disabled" },
            localstorageenabled: false,
            kind: "Core",
            tags: [],
        }
    }
}

/// A disk offering (`DiskOfferingResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct OfferingView {
    id: Uuid,
    name: String,
    displaytext: String,
    /// In GiB; 0 where the caller gives the size.
    disksize: u64,
    created: String,
    iscustomized: bool,
    storagetype: &'static str,
    provisioningtype: &'static str,
    displayoffering: bool,
    disksizestrictness: bool,
    encrypt: bool,
    state: &'static str,
}

impl OfferingView {
    /// The offering.
    pub fn of(world: &World, no: OfferingNo) -> Self {
        let offering: &Offering = world.offering(no);
        Self {
            id: offering.uuid,
            name: offering.name.clone(),
            displaytext: offering.name.clone(),
            disksize: offering.size.unwrap_or(0) / GIB,
            created: offering.created.to_string(),
            iscustomized: offering.size.is_none(),
            storagetype: "shared",
            provisioningtype: "thin",
            displayoffering: true,
            disksizestrictness: offering.strict,
            encrypt: false,
            state: "Active",
        }
    }
}

/// A job (`AsyncJobResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct JobView<'a> {
    accountid: Uuid,
    account: &'a str,
    domainid: Uuid,
    domainpath: &'a str,
    userid: Uuid,
    cmd: String,
    jobstatus: u8,
    jobprocstatus: u8,
    jobresultcode: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobresulttype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobresult: Option<JobResultView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobinstancetype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobinstanceid: Option<Uuid>,
    managementserverid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    managementservername: Option<&'static str>,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    jobid: Uuid,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum JobResultView<'a> {
    Volume(Box<VolumeView<'a>>),
    #[serde(rename = "virtualmachine")]
    Vm(Box<VmView<'a>>),
    Snapshot(Box<SnapshotView<'a>>),
    VmSnapshot(Box<VmSnapshotView<'a>>),
    Success(bool),
    #[serde(untagged)]
    Failed {
        errorcode: u16,
        errortext: &'a str,
    },
}

impl<'a> JobView<'a> {
    /// The job as it is now. Its result was written down when it ended, so it shows what whoever
    /// ran it sees, whoever asks (`ApiAsyncJobDispatcher.java`).
    pub fn of(world: &'a World, job: &'a Job) -> Self {
        let root = world.is_root(job.account);
        let account: &Account = world.account(job.account);
        let about = job.work.about();
        let (status, code, result, ended): (u8, u16, Option<JobResultView<'a>>, Option<SimTime>) =
            match &job.state {
                JobState::Pending => (0, 0, None, None),
                JobState::Ended { at, outcome } => {
                    let (status, code, result) = result_of(world, (job.uuid, root), outcome);
                    (status, code, result, Some(*at))
                }
            };
        Self {
            accountid: account.uuid,
            account: &account.name,
            domainid: world.domain(account.domain).uuid,
            domainpath: &world.domain(account.domain).path,
            userid: account.user,
            cmd: job.work.class_for(root),
            jobstatus: status,
            jobprocstatus: 0,
            jobresultcode: code,
            jobresulttype: result.is_some().then_some("object"),
            jobresult: result,
            jobinstancetype: about.map(Resource::kind),
            jobinstanceid: about.map(|resource| world.id_of(resource)),
            managementserverid: world.management_server(),
            managementservername: ended.is_none().then_some("ms1"),
            created: job.created.to_string(),
            completed: ended.map(|at| at.to_string()),
            jobid: job.uuid,
        }
    }
}

fn result_of<'a>(
    world: &'a World,
    (job, root): (Uuid, bool),
    outcome: &'a Outcome,
) -> (u8, u16, Option<JobResultView<'a>>) {
    match outcome {
        // Shown as it was while this job was still pending (`ApiAsyncJobDispatcher.java`).
        Outcome::Volume(no, row) => {
            let view = VolumeView::of_row(world, *no, row, Some(job)).seen_by(root);
            (1, 0, Some(JobResultView::Volume(Box::new(view))))
        }
        Outcome::Vm(no, row) => {
            let view = VmView::of_row(world, *no, row).seen_by(root);
            (1, 0, Some(JobResultView::Vm(Box::new(view))))
        }
        Outcome::Snapshot(no) => {
            let view = SnapshotView::of(world, *no);
            (1, 0, Some(JobResultView::Snapshot(Box::new(view))))
        }
        Outcome::VmSnapshot(no) => {
            let view = VmSnapshotView::of(world, *no);
            (1, 0, Some(JobResultView::VmSnapshot(Box::new(view))))
        }
        Outcome::Success => (1, 0, Some(JobResultView::Success(true))),
        Outcome::Failed { code, text } => (
            2,
            *code,
            Some(JobResultView::Failed {
                errorcode: *code,
                errortext: text,
            }),
        ),
        // Its result is a bare string that does not deserialise (`ApiSerializerHelper.java`).
        Outcome::Lost => (2, 530, None),
    }
}
