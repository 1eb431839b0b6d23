//! What the API shows of service offerings, templates and hosts.

use serde::Serialize;
use uuid::Uuid;

use crate::sim::world::{GIB, Host, ROOT_DOMAIN, ServiceOffering, Template, World, Zone};

/// Megahertz of each virtual CPU.
pub(super) const CPU_MHZ: u32 = 2000;

/// A service offering (`ServiceOfferingResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct ServiceOfferingView {
    id: Uuid,
    name: String,
    displaytext: String,
    cpunumber: u32,
    cpuspeed: u32,
    /// In MiB.
    memory: u32,
    created: String,
    storagetype: &'static str,
    provisioningtype: &'static str,
    offerha: bool,
    limitcpuuse: bool,
    isvolatile: bool,
    issystem: bool,
    defaultuse: bool,
    iscustomized: bool,
    dynamicscalingenabled: bool,
    encryptroot: bool,
    diskofferingstrictness: bool,
    state: &'static str,
}

impl ServiceOfferingView {
    /// The service offering.
    pub fn of(row: &ServiceOffering) -> Self {
        Self {
            id: row.uuid,
            name: row.name.clone(),
            displaytext: row.name.clone(),
            cpunumber: row.cpus,
            cpuspeed: CPU_MHZ,
            memory: row.memory_mib,
            created: row.created.to_string(),
            storagetype: "shared",
            provisioningtype: "thin",
            offerha: false,
            limitcpuuse: false,
            isvolatile: false,
            issystem: false,
            defaultuse: false,
            iscustomized: false,
            dynamicscalingenabled: false,
            encryptroot: false,
            diskofferingstrictness: false,
            state: "Active",
        }
    }
}

/// A template in a zone (`TemplateResponse.java`): there is one row for each zone.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct TemplateView {
    id: Uuid,
    name: String,
    displaytext: String,
    ispublic: bool,
    created: String,
    isready: bool,
    passwordenabled: bool,
    format: &'static str,
    isfeatured: bool,
    /// Written like this.
    #[serde(rename = "crossZones")]
    cross_zones: bool,
    ostypename: String,
    account: &'static str,
    zoneid: Uuid,
    zonename: String,
    status: &'static str,
    /// In bytes.
    size: u64,
    physicalsize: u64,
    templatetype: &'static str,
    hypervisor: &'static str,
    domain: &'static str,
    domainid: Uuid,
    isextractable: bool,
    sshkeyenabled: bool,
    isdynamicallyscalable: bool,
    directdownload: bool,
    deployasis: bool,
    requireshvm: bool,
    tags: [(); 0],
}

impl TemplateView {
    /// The template in that zone.
    pub fn of(world: &World, row: &Template, zone: &Zone) -> Self {
        Self {
            id: row.uuid,
            name: row.name.clone(),
            displaytext: row.name.clone(),
            ispublic: true,
            created: row.created.to_string(),
            isready: true,
            passwordenabled: false,
            format: "QCOW2",
            isfeatured: true,
            cross_zones: true,
            ostypename: row.os.clone(),
            account: "system",
            zoneid: zone.uuid,
            zonename: zone.name.clone(),
            status: "Download Complete",
            size: row.size,
            physicalsize: GIB,
            templatetype: "USER",
            hypervisor: super::HYPERVISOR,
            domain: ROOT_DOMAIN,
            domainid: world.domain(world.root_domain()).uuid,
            isextractable: false,
            sshkeyenabled: false,
            isdynamicallyscalable: false,
            directdownload: false,
            deployasis: false,
            requireshvm: true,
            tags: [],
        }
    }
}

/// A host (`HostResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct HostView {
    id: Uuid,
    name: String,
    state: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    zoneid: Uuid,
    zonename: String,
    hypervisor: &'static str,
    resourcestate: &'static str,
    managementserverid: Uuid,
    created: String,
    islocalstorageactive: bool,
    hahost: bool,
}

impl HostView {
    /// The host.
    pub fn of(world: &World, row: &Host) -> Self {
        let zone = world.zone(row.zone);
        Self {
            id: row.uuid,
            name: row.name.clone(),
            state: "Up",
            kind: "Routing",
            zoneid: zone.uuid,
            zonename: zone.name.clone(),
            hypervisor: super::HYPERVISOR,
            resourcestate: "Enabled",
            managementserverid: world.management_server(),
            created: row.created.to_string(),
            islocalstorageactive: false,
            hahost: false,
        }
    }
}
