//! The table of commands: what each is called, takes and does.

use super::envelope::{Answer, ApiError};
use super::{
    Call, apis, catalog, events, jobs, lists, owners, snapshots, tags, vm_snapshots, vms, volumes,
};

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Long,
    Int,
    Bool,
    Zone,
    Offering,
    ServiceOffering,
    Template,
    Host,
    Vm,
    Vms,
    Volume,
    Volumes,
    Snapshot,
    Snapshots,
    VmSnapshot,
    VmSnapshots,
    Job,
    Domain,
    Project,
    Texts,
    Map,
    /// CloudStack has it and would heed it; the simulator refuses it.
    NotSimulated,
}

/// A parameter of a command.
#[derive(Debug)]
pub(super) struct Param {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
}

/// A command of the API.
pub(super) struct Command {
    pub name: &'static str,
    pub description: &'static str,
    pub shape: Shape,
    pub params: &'static [Param],
    pub run: fn(&mut Call<'_>) -> Result<Answer, ApiError>,
}

/// What kind of command it is, which gives it more parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Answers with its result.
    Sync,
    /// Answers with a page.
    List,
    /// Answers with a job.
    Async,
}

impl Command {
    /// Whether it changes nothing (`ApiServlet.java`, `GET_REQUEST_COMMANDS`).
    pub(super) fn only_reads(&self) -> bool {
        only_reads(self.name)
    }

    /// Whether roles other than root administrators' lack it (`authorized` of `ListHostsCmd.java`
    /// and `MigrateVMCmd.java`).
    pub(super) fn is_for_root(&self) -> bool {
        matches!(self.name, "listHosts" | "migrateVirtualMachine")
    }

    /// Its own parameters and those of its shape.
    pub(super) fn all_params(&self) -> impl Iterator<Item = &'static Param> {
        let more = match self.shape {
            Shape::Sync => &[][..],
            Shape::List => LIST_PARAMS,
            Shape::Async => ASYNC_PARAMS,
        };
        self.params.iter().chain(more)
    }
}

/// Whether a command of this name changes nothing: one word character at least after the verb.
pub(super) fn only_reads(name: &str) -> bool {
    ["get", "list", "query", "find"]
        .iter()
        .any(|verb| name.strip_prefix(verb).is_some_and(|rest| !rest.is_empty()))
}

pub(super) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

const fn optional(name: &'static str, kind: Kind) -> Param {
    Param {
        name,
        kind,
        required: false,
    }
}

const fn required(name: &'static str, kind: Kind) -> Param {
    Param {
        name,
        kind,
        required: true,
    }
}

/// `BaseListCmd.java`.
const LIST_PARAMS: &[Param] = &[
    optional("keyword", Kind::Text),
    optional("page", Kind::Int),
    optional("pagesize", Kind::Int),
];

/// `BaseAsyncCmd.java`.
const ASYNC_PARAMS: &[Param] = &[optional("customjobid", Kind::Text)];

/// What of networks is asked for by clients that list VMs.
const NETWORK_PARAMS: &[Param] = &[
    optional("listall", Kind::Bool),
    optional("isrecursive", Kind::Bool),
    optional("projectid", Kind::Project),
    optional("virtualmachineid", Kind::Vm),
];

/// Every command there is, by name.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "attachVolume",
        description: "Attaches a disk volume to a virtual machine.",
        shape: Shape::Async,
        params: &[
            required("id", Kind::Volume),
            required("virtualmachineid", Kind::Vm),
            optional("deviceid", Kind::Long),
        ],
        run: volumes::attach,
    },
    Command {
        name: "createSnapshot",
        description: "Creates an instant snapshot of a volume.",
        shape: Shape::Async,
        params: &[
            required("volumeid", Kind::Volume),
            optional("name", Kind::Text),
            optional("account", Kind::NotSimulated),
            optional("asyncbackup", Kind::NotSimulated),
            optional("domainid", Kind::NotSimulated),
            optional("locationtype", Kind::NotSimulated),
            optional("policyid", Kind::NotSimulated),
            optional("quiescevm", Kind::NotSimulated),
            optional("tags", Kind::Map),
            optional("zoneids", Kind::NotSimulated),
        ],
        run: snapshots::create,
    },
    Command {
        name: "createTags",
        description: "Creates resource tag(s)",
        shape: Shape::Async,
        params: &[
            required("resourceids", Kind::Texts),
            required("resourcetype", Kind::Text),
            required("tags", Kind::Map),
            optional("customer", Kind::NotSimulated),
        ],
        run: tags::create,
    },
    Command {
        name: "createVMSnapshot",
        description: "Creates snapshot for an Instance.",
        shape: Shape::Async,
        params: &[
            required("virtualmachineid", Kind::Vm),
            optional("name", Kind::Text),
            optional("description", Kind::Text),
            optional("snapshotmemory", Kind::Bool),
            optional("quiescevm", Kind::NotSimulated),
        ],
        run: vm_snapshots::create,
    },
    Command {
        name: "createVolume",
        description: "Creates a disk volume from a disk offering.",
        shape: Shape::Async,
        params: &[
            optional("diskofferingid", Kind::Offering),
            optional("zoneid", Kind::Zone),
            optional("name", Kind::Text),
            optional("size", Kind::Long),
            optional("displayvolume", Kind::Bool),
            optional("snapshotid", Kind::Snapshot),
            optional("virtualmachineid", Kind::NotSimulated),
            optional("miniops", Kind::NotSimulated),
            optional("maxiops", Kind::NotSimulated),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("projectid", Kind::Project),
            optional("customid", Kind::Text),
        ],
        run: volumes::create,
    },
    Command {
        name: "deleteSnapshot",
        description: "Deletes a snapshot of a disk volume.",
        shape: Shape::Async,
        params: &[
            required("id", Kind::Snapshot),
            optional("zoneid", Kind::NotSimulated),
        ],
        run: snapshots::delete,
    },
    Command {
        name: "deleteTags",
        description: "Deleting resource tag(s)",
        shape: Shape::Async,
        params: &[
            required("resourceids", Kind::Texts),
            required("resourcetype", Kind::Text),
            optional("tags", Kind::Map),
        ],
        run: tags::delete,
    },
    Command {
        name: "deleteVMSnapshot",
        description: "Deletes an Instance Snapshot.",
        shape: Shape::Async,
        params: &[required("vmsnapshotid", Kind::VmSnapshot)],
        run: vm_snapshots::delete,
    },
    Command {
        name: "deleteVolume",
        description: "Deletes a detached disk volume.",
        shape: Shape::Sync,
        params: &[required("id", Kind::Volume)],
        run: volumes::delete,
    },
    Command {
        name: "deployVirtualMachine",
        description: "Creates and automatically starts an Instance based on a service offering, disk offering, and Template.",
        shape: Shape::Async,
        params: &[
            required("zoneid", Kind::Zone),
            required("serviceofferingid", Kind::ServiceOffering),
            required("templateid", Kind::Template),
            optional("name", Kind::Text),
            optional("displayname", Kind::Text),
            optional("diskofferingid", Kind::Offering),
            optional("size", Kind::Long),
            optional("startvm", Kind::Bool),
            optional("details", Kind::Map),
            optional("hypervisor", Kind::Text),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("projectid", Kind::Project),
            optional("affinitygroupids", Kind::NotSimulated),
            optional("affinitygroupnames", Kind::NotSimulated),
            optional("boottype", Kind::NotSimulated),
            optional("customid", Kind::NotSimulated),
            optional("datadiskofferinglist", Kind::NotSimulated),
            optional("group", Kind::NotSimulated),
            optional("hostid", Kind::NotSimulated),
            optional("ipaddress", Kind::NotSimulated),
            optional("iptonetworklist", Kind::NotSimulated),
            optional("keyboard", Kind::NotSimulated),
            optional("keypair", Kind::NotSimulated),
            optional("keypairs", Kind::NotSimulated),
            optional("networkids", Kind::NotSimulated),
            optional("overridediskofferingid", Kind::NotSimulated),
            optional("rootdisksize", Kind::NotSimulated),
            optional("securitygroupids", Kind::NotSimulated),
            optional("securitygroupnames", Kind::NotSimulated),
            optional("userdata", Kind::NotSimulated),
            optional("userdataid", Kind::NotSimulated),
        ],
        run: vms::deploy,
    },
    Command {
        name: "destroyVirtualMachine",
        description: "Destroys a virtual machine.",
        shape: Shape::Async,
        params: &[
            required("id", Kind::Vm),
            optional("expunge", Kind::Bool),
            optional("volumeids", Kind::NotSimulated),
        ],
        run: vms::destroy,
    },
    Command {
        name: "destroyVolume",
        description: "Destroys a Volume.",
        shape: Shape::Async,
        params: &[
            required("id", Kind::Volume),
            optional("expunge", Kind::Bool),
        ],
        run: volumes::destroy,
    },
    Command {
        name: "detachVolume",
        description: "Detaches a disk volume from a virtual machine.",
        shape: Shape::Async,
        params: &[
            optional("id", Kind::Volume),
            optional("deviceid", Kind::Long),
            optional("virtualmachineid", Kind::Vm),
        ],
        run: volumes::detach,
    },
    Command {
        name: "expungeVirtualMachine",
        description: "Expunge a virtual machine. Once expunged, it cannot be recoverd.",
        shape: Shape::Async,
        params: &[required("id", Kind::Vm)],
        run: vms::expunge,
    },
    Command {
        name: "getApiLimit",
        description: "Get API limit count for the caller",
        shape: Shape::Sync,
        params: &[],
        run: lists::api_limit,
    },
    Command {
        name: "listAccounts",
        description: "Lists accounts and provides detailed account information for listed accounts",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Text),
            optional("name", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("accounttype", Kind::NotSimulated),
            optional("state", Kind::NotSimulated),
        ],
        run: owners::accounts,
    },
    Command {
        name: "listApis",
        description: "lists all available apis on the server, provided by the Api Discovery plugin",
        shape: Shape::Sync,
        params: &[optional("name", Kind::Text)],
        run: apis::list,
    },
    Command {
        name: "listAsyncJobs",
        description: "Lists all pending asynchronous jobs for the account.",
        shape: Shape::List,
        params: &[
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("startdate", Kind::NotSimulated),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
        ],
        run: jobs::list,
    },
    Command {
        name: "listCapabilities",
        description: "Lists capabilities",
        shape: Shape::Sync,
        params: &[],
        run: lists::capabilities,
    },
    Command {
        name: "listDiskOfferings",
        description: "Lists all available disk offerings.",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Offering),
            optional("name", Kind::Text),
            optional("zoneid", Kind::Zone),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("projectid", Kind::Project),
            optional("domainid", Kind::Domain),
            optional("account", Kind::Text),
            optional("volumeid", Kind::NotSimulated),
            optional("storageid", Kind::NotSimulated),
            optional("encrypt", Kind::NotSimulated),
            optional("storagetype", Kind::NotSimulated),
        ],
        run: lists::offerings,
    },
    Command {
        name: "listDomains",
        description: "Lists domains and provides detailed information for listed domains",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Domain),
            optional("name", Kind::Text),
            optional("listall", Kind::Bool),
            optional("details", Kind::Texts),
            optional("level", Kind::NotSimulated),
        ],
        run: owners::domains,
    },
    Command {
        name: "listEvents",
        description: "A command to list events.",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Text),
            optional("type", Kind::Text),
            optional("level", Kind::Text),
            optional("state", Kind::Text),
            optional("startdate", Kind::Text),
            optional("enddate", Kind::Text),
            optional("resourceid", Kind::Text),
            optional("resourcetype", Kind::Text),
            optional("startid", Kind::Text),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("projectid", Kind::Project),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("duration", Kind::NotSimulated),
            optional("entrytime", Kind::NotSimulated),
            optional("archived", Kind::NotSimulated),
        ],
        run: events::list,
    },
    Command {
        name: "listHosts",
        description: "Lists hosts.",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Host),
            optional("name", Kind::Text),
            optional("zoneid", Kind::Zone),
            optional("type", Kind::Text),
            optional("state", Kind::Text),
            optional("virtualmachineid", Kind::NotSimulated),
            optional("clusterid", Kind::NotSimulated),
            optional("podid", Kind::NotSimulated),
            optional("resourcestate", Kind::NotSimulated),
            optional("details", Kind::Texts),
        ],
        run: catalog::hosts,
    },
    Command {
        name: "listIpForwardingRules",
        description: "List the IP forwarding rules",
        shape: Shape::List,
        params: NETWORK_PARAMS,
        run: lists::of_networks,
    },
    Command {
        name: "listPortForwardingRules",
        description: "Lists all port forwarding rules for an IP address.",
        shape: Shape::List,
        params: NETWORK_PARAMS,
        run: lists::of_networks,
    },
    Command {
        name: "listProjects",
        description: "Lists projects and provides detailed information for listed projects",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Project),
            optional("name", Kind::Text),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("account", Kind::NotSimulated),
            optional("domainid", Kind::NotSimulated),
            optional("state", Kind::NotSimulated),
            optional("tags", Kind::NotSimulated),
        ],
        run: owners::projects,
    },
    Command {
        name: "listPublicIpAddresses",
        description: "Lists all public ip addresses",
        shape: Shape::List,
        params: NETWORK_PARAMS,
        run: lists::of_networks,
    },
    Command {
        name: "listServiceOfferings",
        description: "Lists all available service offerings.",
        shape: Shape::List,
        params: &[
            optional("id", Kind::ServiceOffering),
            optional("name", Kind::Text),
            optional("zoneid", Kind::Zone),
            optional("issystem", Kind::Bool),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("projectid", Kind::Project),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("virtualmachineid", Kind::NotSimulated),
        ],
        run: catalog::service_offerings,
    },
    Command {
        name: "listSnapshots",
        description: "Lists all available snapshots for the account.",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Snapshot),
            optional("ids", Kind::Snapshots),
            optional("volumeid", Kind::Volume),
            optional("name", Kind::Text),
            optional("zoneid", Kind::Zone),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("projectid", Kind::Project),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("intervaltype", Kind::NotSimulated),
            optional("snapshottype", Kind::NotSimulated),
            optional("tags", Kind::Map),
            optional("showunique", Kind::NotSimulated),
            optional("locationtype", Kind::NotSimulated),
        ],
        run: snapshots::list,
    },
    Command {
        name: "listTags",
        description: "List resource tag(s)",
        shape: Shape::List,
        params: &[
            optional("resourcetype", Kind::Text),
            optional("resourceid", Kind::Text),
            optional("key", Kind::Text),
            optional("value", Kind::Text),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("projectid", Kind::Project),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("customer", Kind::NotSimulated),
        ],
        run: tags::list,
    },
    Command {
        name: "listTemplates",
        description: "List all public, private, and privileged Templates.",
        shape: Shape::List,
        params: &[
            required("templatefilter", Kind::Text),
            optional("id", Kind::Template),
            optional("name", Kind::Text),
            optional("zoneid", Kind::Zone),
            optional("hypervisor", Kind::Text),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("projectid", Kind::Project),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("ids", Kind::NotSimulated),
            optional("showremoved", Kind::NotSimulated),
            optional("tags", Kind::NotSimulated),
        ],
        run: catalog::templates,
    },
    Command {
        name: "listUsers",
        description: "Lists user accounts",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Text),
            optional("username", Kind::Text),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("accounttype", Kind::NotSimulated),
            optional("state", Kind::NotSimulated),
        ],
        run: owners::users,
    },
    Command {
        name: "listVMSnapshot",
        description: "List Instance Snapshots by conditions",
        shape: Shape::List,
        params: &[
            optional("vmsnapshotid", Kind::VmSnapshot),
            optional("vmsnapshotids", Kind::VmSnapshots),
            optional("virtualmachineid", Kind::Vm),
            optional("state", Kind::Text),
            optional("name", Kind::Text),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("projectid", Kind::Project),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("tags", Kind::NotSimulated),
        ],
        run: vm_snapshots::list,
    },
    Command {
        name: "listVirtualMachines",
        description: "List the virtual machines owned by the account.",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Vm),
            optional("ids", Kind::Vms),
            optional("name", Kind::Text),
            optional("state", Kind::Text),
            optional("zoneid", Kind::Zone),
            optional("details", Kind::Texts),
            optional("tags", Kind::Map),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("projectid", Kind::Project),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("groupid", Kind::NotSimulated),
            optional("forvirtualnetwork", Kind::NotSimulated),
            optional("networkid", Kind::NotSimulated),
            optional("hypervisor", Kind::NotSimulated),
            optional("templateid", Kind::NotSimulated),
            optional("isoid", Kind::NotSimulated),
            optional("vpcid", Kind::NotSimulated),
            optional("affinitygroupid", Kind::NotSimulated),
            optional("keypair", Kind::NotSimulated),
            optional("serviceofferingid", Kind::NotSimulated),
            optional("backupofferingid", Kind::NotSimulated),
            optional("displayvm", Kind::NotSimulated),
            optional("userid", Kind::NotSimulated),
            optional("securitygroupid", Kind::NotSimulated),
            optional("haenable", Kind::NotSimulated),
            optional("autoscalevmgroupid", Kind::NotSimulated),
            optional("userdataid", Kind::NotSimulated),
            optional("isvnf", Kind::NotSimulated),
            optional("hostid", Kind::NotSimulated),
            optional("podid", Kind::NotSimulated),
            optional("clusterid", Kind::NotSimulated),
            optional("storageid", Kind::NotSimulated),
            optional("showicon", Kind::NotSimulated),
            optional("accumulate", Kind::NotSimulated),
            optional("userdata", Kind::NotSimulated),
            optional("retrieveonlyresourcecount", Kind::NotSimulated),
        ],
        run: lists::vms,
    },
    Command {
        name: "listVolumes",
        description: "Lists all volumes.",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Volume),
            optional("ids", Kind::Volumes),
            optional("name", Kind::Text),
            optional("virtualmachineid", Kind::Vm),
            optional("zoneid", Kind::Zone),
            optional("diskofferingid", Kind::Offering),
            optional("state", Kind::Text),
            optional("type", Kind::Text),
            optional("tags", Kind::Map),
            optional("listall", Kind::Bool),
            optional("isrecursive", Kind::Bool),
            optional("projectid", Kind::Project),
            optional("account", Kind::Text),
            optional("domainid", Kind::Domain),
            optional("hostid", Kind::NotSimulated),
            optional("storageid", Kind::NotSimulated),
            optional("podid", Kind::NotSimulated),
            optional("clusterid", Kind::NotSimulated),
            optional("serviceofferingid", Kind::NotSimulated),
            optional("displayvolume", Kind::NotSimulated),
            optional("listsystemvms", Kind::NotSimulated),
            optional("isencrypted", Kind::NotSimulated),
            optional("retrieveonlyresourcecount", Kind::NotSimulated),
        ],
        run: volumes::list,
    },
    Command {
        name: "listZones",
        description: "Lists zones",
        shape: Shape::List,
        params: &[
            optional("id", Kind::Zone),
            optional("name", Kind::Text),
            optional("available", Kind::Bool),
            optional("showcapacities", Kind::Bool),
            optional("ids", Kind::NotSimulated),
            optional("domainid", Kind::NotSimulated),
            optional("networktype", Kind::NotSimulated),
            optional("tags", Kind::NotSimulated),
            optional("showicon", Kind::NotSimulated),
        ],
        run: lists::zones,
    },
    Command {
        name: "migrateVirtualMachine",
        description: "Attempts Migration of a VM to a different host or Root volume of the vm to a different storage pool",
        shape: Shape::Async,
        params: &[
            required("virtualmachineid", Kind::Vm),
            optional("hostid", Kind::Host),
            optional("autoselect", Kind::Bool),
            optional("storageid", Kind::NotSimulated),
        ],
        run: vms::migrate,
    },
    Command {
        name: "queryAsyncJobResult",
        description: "Retrieves the current status of asynchronous job.",
        shape: Shape::Sync,
        params: &[required("jobid", Kind::Job)],
        run: jobs::query,
    },
    Command {
        name: "rebootVirtualMachine",
        description: "Reboots a virtual machine.",
        shape: Shape::Async,
        params: &[
            required("id", Kind::Vm),
            optional("forced", Kind::Bool),
            optional("bootintosetup", Kind::NotSimulated),
        ],
        run: vms::reboot,
    },
    Command {
        name: "recoverVirtualMachine",
        description: "Recovers a virtual machine.",
        shape: Shape::Sync,
        params: &[required("id", Kind::Vm)],
        run: vms::recover,
    },
    Command {
        name: "recoverVolume",
        description: "Recovers a Destroy volume.",
        shape: Shape::Sync,
        params: &[required("id", Kind::Volume)],
        run: volumes::recover,
    },
    Command {
        name: "resizeVolume",
        description: "Resizes a volume",
        shape: Shape::Async,
        params: &[
            required("id", Kind::Volume),
            optional("size", Kind::Long),
            optional("diskofferingid", Kind::Offering),
            optional("shrinkok", Kind::Bool),
            optional("automigrate", Kind::Bool),
            optional("miniops", Kind::NotSimulated),
            optional("maxiops", Kind::NotSimulated),
        ],
        run: volumes::resize,
    },
    Command {
        name: "revertSnapshot",
        description: "This is supposed to revert a volume snapshot.",
        shape: Shape::Async,
        params: &[required("id", Kind::Snapshot)],
        run: snapshots::revert,
    },
    Command {
        name: "startVirtualMachine",
        description: "Starts a virtual machine.",
        shape: Shape::Async,
        params: &[
            required("id", Kind::Vm),
            optional("hostid", Kind::NotSimulated),
            optional("clusterid", Kind::NotSimulated),
            optional("podid", Kind::NotSimulated),
        ],
        run: vms::start,
    },
    Command {
        name: "stopVirtualMachine",
        description: "Stops a virtual machine.",
        shape: Shape::Async,
        params: &[required("id", Kind::Vm), optional("forced", Kind::Bool)],
        run: vms::stop,
    },
    Command {
        name: "updateVirtualMachine",
        description: "Updates properties of a virtual machine. The VM has to be stopped and restarted for the new properties to take effect.",
        shape: Shape::Sync,
        params: &[
            required("id", Kind::Vm),
            optional("name", Kind::Text),
            optional("displayname", Kind::Text),
            optional("details", Kind::Map),
            optional("ostypeid", Kind::NotSimulated),
            optional("userdata", Kind::NotSimulated),
            optional("customid", Kind::NotSimulated),
            optional("deleteprotection", Kind::NotSimulated),
        ],
        run: vms::update,
    },
    Command {
        name: "updateVolume",
        description: "Updates the volume.",
        shape: Shape::Async,
        params: &[
            required("id", Kind::Volume),
            optional("name", Kind::Text),
            optional("deleteprotection", Kind::Bool),
            optional("path", Kind::NotSimulated),
            optional("chaininfo", Kind::NotSimulated),
            optional("storageid", Kind::NotSimulated),
            optional("state", Kind::NotSimulated),
            optional("displayvolume", Kind::NotSimulated),
            optional("customid", Kind::NotSimulated),
        ],
        run: volumes::update,
    },
];
