//! The commands about snapshots of whole VMs.

use crate::sim::refusal::Refusal;
use crate::sim::view::VmSnapshotView;
use crate::sim::world::{
    NewVmSnapshot, VmSnapshot, VmSnapshotNo, VmSnapshotState, Work, collates_equal,
};

use super::Call;
use super::envelope::{Answer, ApiError};
use super::lists::{both_ids, like, page};

/// As with volumes, the row is there before the answer.
pub(super) fn create(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let vm = call.args.vm("virtualmachineid").ok_or_else(|| {
        Refusal::invalid("Creating Instance Snapshot failed due to Instance: null is not found")
    })?;
    let new = NewVmSnapshot {
        name: call.args.text("name").map(str::to_owned),
        description: call.args.text("description").map(str::to_owned),
        memory: call.args.flag("snapshotmemory"),
    };
    let snapshot = call.world.create_vm_snapshot(vm, new)?;
    let job = call.submit(Work::CreateVmSnapshot { snapshot })?;
    Ok(Answer::created(call.world.vm_snapshot(snapshot).uuid, job))
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let snapshot = call
        .args
        .vm_snapshot("vmsnapshotid")
        .ok_or_else(|| Refusal::invalid("Unable to find the Instance Snapshot with id null"))?;
    Ok(Answer::job(
        call.submit(Work::DeleteVmSnapshot { snapshot })?,
    ))
}

/// `VMSnapshotManagerImpl.listVMSnapshots`.
pub(super) fn list(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    if args.has("vmsnapshotid") && args.has("vmsnapshotids") {
        return Err(both_ids());
    }
    let keyword = args.text("keyword").map(str::to_lowercase);
    let scope = call.scope("vmsnapshotid")?;
    let (one, some) = (
        args.vm_snapshot("vmsnapshotid"),
        args.vm_snapshots("vmsnapshotids"),
    );
    let wanted = |no: VmSnapshotNo, row: &VmSnapshot| {
        row.state != VmSnapshotState::Removed
            && scope.shows(world, world.vm(row.vm).account)
            && one.is_none_or(|id| id == no)
            && some.is_none_or(|ids| ids.contains(&no))
            && args.vm("virtualmachineid").is_none_or(|vm| vm == row.vm)
            && args
                .text("state")
                .is_none_or(|state| row.state.as_str().eq_ignore_ascii_case(state))
            && args.text("name").is_none_or(|name| {
                collates_equal(name, &row.name) || collates_equal(name, &row.display_name)
            })
            && keyword.as_ref().is_none_or(|keyword| {
                like(&row.name, keyword)
                    || like(&row.display_name, keyword)
                    || row
                        .description
                        .as_ref()
                        .is_some_and(|text| like(text, keyword))
            })
    };
    let found: Vec<VmSnapshotNo> = world
        .vm_snapshots()
        .filter(|(no, row)| wanted(*no, row))
        .map(|(no, _)| no)
        .collect();
    let rows: Vec<VmSnapshotView> = found[page(args, world, found.len())?]
        .iter()
        .map(|no| VmSnapshotView::of(world, *no))
        .collect();
    Ok(Answer::list("vmSnapshot", found.len(), &rows))
}
