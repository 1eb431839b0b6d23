//! The commands about snapshots of volumes.

use crate::sim::refusal::Refusal;
use crate::sim::view::SnapshotView;
use crate::sim::world::{EventKind, Resource, Snapshot, SnapshotNo, Work, collates_equal};

use super::Call;
use super::envelope::{Answer, ApiError};
use super::lists::{both_ids, like, page, tag_filter, tagged};
use super::tags;

impl Call<'_> {
    /// The snapshot under `id`, a required parameter.
    fn snapshot_id(&self) -> Result<SnapshotNo, ApiError> {
        self.args
            .snapshot("id")
            .ok_or_else(|| Refusal::invalid("unable to find a snapshot with id null").into())
    }
}

/// As with volumes, the row is there before the answer.
pub(super) fn create(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let volume = call
        .args
        .volume("volumeid")
        .ok_or_else(|| Refusal::invalid("Unable to find volume with ID: null"))?;
    let name = call.args.text("name");
    let tags = tags::given(&call.args);
    let snapshot = call.world.create_snapshot(volume, name, tags)?;
    call.created(EventKind::SnapshotCreate, Resource::Snapshot(snapshot));
    let job = call.submit(Work::CreateSnapshot { snapshot, volume })?;
    Ok(Answer::created(call.world.snapshot(snapshot).uuid, job))
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::DeleteSnapshot {
        snapshot: call.snapshot_id()?,
    };
    Ok(Answer::job(call.submit(work)?))
}

pub(super) fn revert(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let snapshot = call.snapshot_id()?;
    let volume = call.world.snapshot(snapshot).volume;
    Ok(Answer::job(
        call.submit(Work::RevertSnapshot { volume, snapshot })?,
    ))
}

pub(super) fn list(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    if args.has("id") && args.has("ids") {
        return Err(both_ids());
    }
    let keyword = args.text("keyword").map(str::to_lowercase);
    let scope = call.scope("id")?;
    let tags = tag_filter(args)?;
    let wanted = |no: SnapshotNo, row: &Snapshot| {
        !row.removed
            && scope.shows(world, row.account)
            && args.snapshot("id").is_none_or(|id| id == no)
            && args.snapshots("ids").is_none_or(|ids| ids.contains(&no))
            && args.volume("volumeid").is_none_or(|id| id == row.volume)
            && args
                .zone("zoneid")
                .is_none_or(|zone| zone == world.volume(row.volume).zone)
            && args
                .text("name")
                .is_none_or(|name| collates_equal(name, &row.name))
            && keyword
                .as_ref()
                .is_none_or(|keyword| like(&row.name, keyword))
            && tagged(tags.as_deref(), &row.tags)
    };
    let found: Vec<SnapshotNo> = world
        .snapshots()
        .filter(|(no, row)| wanted(*no, row))
        .map(|(no, _)| no)
        .collect();
    let rows: Vec<SnapshotView> = found[page(args, world, found.len())?]
        .iter()
        .map(|no| SnapshotView::of(world, *no))
        .collect();
    Ok(Answer::list("snapshot", found.len(), &rows))
}
