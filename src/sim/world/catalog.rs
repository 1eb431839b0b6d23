//! What VMs are made from and run on: service offerings, templates and hosts.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sim::time::SimTime;

use super::rows::{GIB, HostNo, ServiceOfferingNo, TemplateNo, ZoneNo};
use super::{World, find};

/// A service (or compute) offering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceOffering {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// When it was made.
    pub created: SimTime,
}

/// A template: public, featured, and ready in each zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Template {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// The guest OS by its display name.
    pub os: String,
    /// The size of the ROOT volumes made from it, in bytes.
    pub size: u64,
    /// When it was made.
    pub created: SimTime,
}

/// A KVM host: up and enabled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Host {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub zone: ZoneNo,
    /// Since when.
    pub created: SimTime,
}

impl World {
    /// Adds a service offering.
    pub fn add_service_offering(
        &mut self,
        name: &str,
        cpus: u32,
        memory_mib: u32,
    ) -> ServiceOfferingNo {
        let no = ServiceOfferingNo(self.row());
        let row = ServiceOffering {
            uuid: self.uuid(),
            name: name.to_owned(),
            cpus,
            memory_mib,
            created: self.now,
        };
        self.service_offerings.insert(no, row);
        no
    }

    /// Adds a template of so many GiB.
    pub fn add_template(&mut self, name: &str, os: &str, size_gib: u32) -> TemplateNo {
        let no = TemplateNo(self.row());
        let row = Template {
            uuid: self.uuid(),
            name: name.to_owned(),
            os: os.to_owned(),
            size: u64::from(size_gib) * GIB,
            created: self.now,
        };
        self.templates.insert(no, row);
        no
    }

    /// Adds a host.
    pub fn add_host(&mut self, name: &str, zone: ZoneNo) -> HostNo {
        let no = HostNo(self.row());
        let row = Host {
            uuid: self.uuid(),
            name: name.to_owned(),
            zone,
            created: self.now,
        };
        self.hosts.insert(no, row);
        no
    }

    /// All service offerings.
    pub fn service_offerings(&self) -> impl Iterator<Item = (ServiceOfferingNo, &ServiceOffering)> {
        self.service_offerings.iter().map(|(no, row)| (*no, row))
    }

    /// All templates.
    pub fn templates(&self) -> impl Iterator<Item = (TemplateNo, &Template)> {
        self.templates.iter().map(|(no, row)| (*no, row))
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = (HostNo, &Host)> {
        self.hosts.iter().map(|(no, row)| (*no, row))
    }

    /// A service offering.
    pub fn service_offering(&self, no: ServiceOfferingNo) -> &ServiceOffering {
        self.service_offerings
            .get(&no)
            .expect("service offerings are never removed")
    }

    /// A template.
    pub fn template(&self, no: TemplateNo) -> &Template {
        self.templates
            .get(&no)
            .expect("templates are never removed")
    }

    /// A host.
    pub fn host(&self, no: HostNo) -> &Host {
        self.hosts.get(&no).expect("hosts are never removed")
    }

    /// The service offering with this id.
    pub fn find_service_offering(&self, uuid: Uuid) -> Option<ServiceOfferingNo> {
        find(&self.service_offerings, |row| row.uuid == uuid)
    }

    /// The template with this id.
    pub fn find_template(&self, uuid: Uuid) -> Option<TemplateNo> {
        find(&self.templates, |row| row.uuid == uuid)
    }

    /// The host with this id.
    pub fn find_host(&self, uuid: Uuid) -> Option<HostNo> {
        find(&self.hosts, |row| row.uuid == uuid)
    }
}
