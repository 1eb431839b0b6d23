//! The commands about VMs.

use crate::sim::refusal::Refusal;
use crate::sim::view::VmView;
use crate::sim::world::{EventKind, NewVm, Resource, VmNo, Work};

use super::Call;
use super::envelope::{Answer, ApiError};

impl Call<'_> {
    /// The VM under `id`, a required parameter.
    fn vm_id(&self) -> Result<VmNo, ApiError> {
        self.args
            .vm("id")
            .ok_or_else(|| Refusal::invalid("unable to find a virtual machine with id null").into())
    }
}

/// As with volumes, the rows are there before the answer.
pub(super) fn deploy(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let args = &call.args;
    let (Some(zone), Some(service_offering), Some(template)) = (
        args.zone("zoneid"),
        args.service_offering("serviceofferingid"),
        args.template("templateid"),
    ) else {
        return Err(Refusal::invalid("Unable to find zone by id null").into());
    };
    if let Some(hypervisor) = args.text("hypervisor")
        && !hypervisor.eq_ignore_ascii_case("kvm")
    {
        return Err(Refusal::invalid(format!(
            "Hypervisor type {hypervisor} is not the one of the template: KVM"
        ))
        .into());
    }
    let data = args.offering("diskofferingid");
    let details = args.map("details").unwrap_or_default();
    let new = NewVm {
        owner: call.new_owner()?,
        name: args.text("name").map(str::to_owned),
        display_name: args.text("displayname").map(str::to_owned),
        zone,
        service_offering,
        template,
        data: data.map(|offering| (offering, args.number("size"))),
        details: details.iter().flatten().map(own).collect(),
    };
    let start = args.choice("startvm").unwrap_or(true);
    let vm = call.world.create_vm(call.caller, new)?;
    call.created(EventKind::VmCreate, Resource::Vm(vm));
    let job = call.submit(Work::DeployVm { vm, start })?;
    Ok(Answer::created(call.world.vm(vm).uuid, job))
}

fn own((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// To the given host, or to any other unless `autoselect=false`.
pub(super) fn migrate(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let vm = call
        .args
        .vm("virtualmachineid")
        .ok_or_else(|| Refusal::invalid("Unable to find the VM by id=null"))?;
    let host = call.args.host("hostid");
    let work = match (host, call.args.choice("autoselect")) {
        (None, Some(false)) => Work::MigrateVm {
            vm,
            host: Err(Refusal::invalid(
                "Please specify a host or storage as destination, or pass 'autoselect=true' to \
                 automatically select a destination host which do not require storage migration",
            )),
        },
        (host, _) => Work::MigrateVm { vm, host: Ok(host) },
    };
    Ok(Answer::job(call.submit(work)?))
}

pub(super) fn start(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::StartVm { vm: call.vm_id()? };
    Ok(Answer::job(call.submit(work)?))
}

/// `forced` only matters to a host that does not answer.
pub(super) fn stop(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::StopVm { vm: call.vm_id()? };
    Ok(Answer::job(call.submit(work)?))
}

pub(super) fn reboot(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::RebootVm { vm: call.vm_id()? };
    Ok(Answer::job(call.submit(work)?))
}

pub(super) fn destroy(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::DestroyVm {
        vm: call.vm_id()?,
        expunge: call.args.flag("expunge"),
    };
    Ok(Answer::job(call.submit(work)?))
}

pub(super) fn expunge(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::ExpungeVm { vm: call.vm_id()? };
    Ok(Answer::job(call.submit(work)?))
}

/// Answers with the VM, at once.
pub(super) fn recover(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let vm = call.vm_id()?;
    call.world.recover_vm(vm)?;
    Ok(Answer::object(
        "virtualmachine",
        &VmView::of(call.world, vm).seen_by(call.world.is_root(call.caller)),
    ))
}

/// Of all that can be updated: names and details (`UserVmManagerImpl.updateVirtualMachine`).
pub(super) fn update(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let vm = call.vm_id()?;
    // `details[0].a=b` and `details[1].c=d` are one map.
    let details = call.args.map("details");
    let details = details.map(|items| items.iter().flatten().map(own));
    let result = call.world.update_vm(
        vm,
        call.args.text("name"),
        call.args.text("displayname"),
        details.map(Iterator::collect),
    );
    call.ended(EventKind::VmUpdate, Resource::Vm(vm), result)?;
    Ok(Answer::object(
        "virtualmachine",
        &VmView::of(call.world, vm).seen_by(call.world.is_root(call.caller)),
    ))
}
