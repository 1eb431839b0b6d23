//! Deploying VMs, in the simplest form: from a template, without networks
//! (`UserVmManagerImpl.createVirtualMachine`).

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::sim::refusal::Refusal;

use super::World;
use super::attach::unreachable_stage;
use super::job::{Flow, Stage};
use super::rows::{
    AccountNo, OfferingNo, ServiceOfferingNo, TemplateNo, Vm, VmNo, VmState, Volume, VolumeKind,
    VolumeState, ZoneNo,
};

/// What `deployVirtualMachine` is told, unchecked.
#[derive(Debug, Clone)]
pub struct NewVm {
    /// Whose it is to be.
    pub owner: AccountNo,
    /// Its name; one made from its id if absent.
    pub name: Option<String>,
    /// Its name for people; its name if absent.
    pub display_name: Option<String>,
    /// Where.
    pub zone: ZoneNo,
    /// How large.
    pub service_offering: ServiceOfferingNo,
    /// From what.
    pub template: TemplateNo,
    /// A data volume to make with it: from what, and its size in GiB.
    pub data: Option<(OfferingNo, Option<i64>)>,
    /// Its details.
    pub details: BTreeMap<String, String>,
}

impl World {
    /// Makes the rows of a new VM and its volumes, as `deployVirtualMachine` does before it
    /// answers.
    ///
    /// # Errors
    /// Whatever `createVirtualMachine` refuses.
    pub fn create_vm(&mut self, caller: AccountNo, new: NewVm) -> Result<VmNo, Refusal> {
        let account = new.owner;
        if !self.zone(new.zone).enabled && !self.is_root(caller) {
            return Err(Refusal::denied(format!(
                "Cannot perform this operation, Zone is currently disabled: {}",
                new.zone
            )));
        }
        if let Some(name) = &new.name
            && !is_host_name(name)
        {
            return Err(Refusal::invalid(
                "Invalid name. Instance name can contain ASCII letters 'a' through 'z', the \
                 digits '0' through '9', and the hyphen ('-'), must be between 1 and 63 characters \
                 long, and can't start or end with \"-\" and can't start with digit",
            ));
        }
        let data = match new.data {
            Some((offering, size)) => Some((offering, self.new_size(offering, size)?)),
            None => None,
        };
        let template = self.template(new.template).clone();
        let (volumes, more) = match data {
            Some((_, size)) => (2, size),
            None => (1, 0),
        };
        self.check_limits(account, (volumes, template.size.saturating_add(more)))?;
        let uuid = self.uuid();
        let name = new.name.unwrap_or_else(|| format!("VM-{uuid}"));
        let no = self.insert_vm(Vm {
            uuid,
            display_name: new.display_name.unwrap_or_else(|| name.clone()),
            name,
            zone: new.zone,
            account,
            os: template.os.clone(),
            template: Some(new.template),
            service_offering: Some(new.service_offering),
            host: None,
            details: new.details,
            state: VmState::Stopped,
            started_once: false,
            disks: BTreeMap::new(),
            tags: Vec::new(),
            created: self.now,
            removed: false,
            ignores_unplug: false,
            guest: None,
        });
        let root = self.new_disk(no, (format!("ROOT-{no}"), template.size), None);
        let root = self.insert_volume(root);
        self.set_link(root, no, 0);
        if let Some((offering, size)) = data {
            let disk = self.new_disk(no, (format!("DATA-{no}"), size), Some(offering));
            let disk = self.insert_volume(disk);
            self.set_link(disk, no, 1);
        }
        Ok(no)
    }

    fn new_disk(
        &mut self,
        vm: VmNo,
        (name, size): (String, u64),
        offering: Option<OfferingNo>,
    ) -> Volume {
        let (zone, account) = (self.vm(vm).zone, self.vm(vm).account);
        Volume {
            uuid: self.uuid(),
            name,
            kind: VolumeKind::Data,
            size,
            state: VolumeState::Allocated,
            zone,
            offering,
            account,
            created: self.now,
            attachment: None,
            tags: Vec::new(),
            delete_protection: false,
            from_snapshot: None,
            removed: false,
        }
    }

    /// With `startvm=false` the rows are all there is to it.
    pub(super) fn run_deploy_vm(
        &mut self,
        vm: VmNo,
        start: bool,
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted if !start => Ok(Flow::Begin),
            Stage::Queued if !start => Ok(Flow::Wait(
                Stage::Settling,
                self.settings.latencies.create_ms,
            )),
            Stage::Settling => Ok(Flow::Done(self.vm_outcome(vm))),
            Stage::Submitted
            | Stage::Queued
            | Stage::Working
            | Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. } => {
                if start {
                    self.run_start_vm(vm, stage)
                } else {
                    unreachable_stage(stage)
                }
            }
        }
    }

    /// Adds the row of a VM.
    pub(super) fn insert_vm(&mut self, vm: Vm) -> VmNo {
        let no = VmNo(self.row());
        self.vm_by_uuid.insert(vm.uuid, no);
        self.vms.insert(no, vm);
        no
    }

    /// Gives a VM another id, if it is free.
    pub(super) fn rename_vm(&mut self, no: VmNo, uuid: Uuid) {
        let old = std::mem::replace(&mut self.vm_mut(no).uuid, uuid);
        self.vm_by_uuid.remove(&old);
        self.vm_by_uuid.insert(uuid, no);
    }
}

/// `NetUtils.verifyDomainNameLabel` for a host name.
fn is_host_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(fits)
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_vms_are_host_names() {
        for (name, fits) in [
            ("web-1", true),
            ("W", true),
            ("", false),
            ("1web", false),
            ("-web", false),
            ("web-", false),
            ("web_1", false),
            ("wéb", false),
        ] {
            assert_eq!(is_host_name(name), fits, "{name}");
        }
        assert!(is_host_name(&"a".repeat(63)));
        assert!(!is_host_name(&"a".repeat(64)));
    }
}
