//! The commands about VMs.

use crate::sim::refusal::Refusal;
use crate::sim::view::VmView;
use crate::sim::world::{EventKind, Resource, VmNo, Work};

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
    let details = details.map(|items| items.iter().flatten());
    let details = details.map(|all| all.map(|(key, value)| (key.clone(), value.clone())));
    call.world.update_vm(
        vm,
        call.args.text("name"),
        call.args.text("displayname"),
        details.map(Iterator::collect),
    )?;
    call.done(EventKind::VmUpdate, Resource::Vm(vm));
    Ok(Answer::object(
        "virtualmachine",
        &VmView::of(call.world, vm).seen_by(call.world.is_root(call.caller)),
    ))
}
