//! The commands about volumes.

use crate::sim::refusal::Refusal;
use crate::sim::view::VolumeView;
use crate::sim::world::{EventKind, NewVolume, Resource, Volume, VolumeNo, Work, collates_equal};

use super::Call;
use super::envelope::{Answer, ApiError};
use super::lists::{both_ids, like, page, tag_filter, tagged};

impl Call<'_> {
    /// The volume under `id`, a required parameter.
    fn id(&self) -> Result<VolumeNo, ApiError> {
        self.args
            .volume("id")
            .ok_or_else(|| Refusal::invalid("Unable to find volume with ID: null").into())
    }
}

/// The row is written before the job id is looked at: a second request with the same
/// `customjobid` is refused and leaves one more volume (`ApiServer.queueCommand`).
pub(super) fn create(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let new = NewVolume {
        owner: Some(call.new_owner()?),
        name: call.args.text("name").map(str::to_owned),
        zone: call.args.zone("zoneid"),
        offering: call.args.offering("diskofferingid"),
        size_gib: call.args.number("size"),
        snapshot: call.args.snapshot("snapshotid"),
        custom_id: call.args.text("customid").map(str::to_owned),
    };
    let volume = call.world.create_volume(call.caller, new)?;
    call.created(EventKind::VolumeCreate, Resource::Volume(volume));
    let job = call.submit(Work::Create { volume })?;
    Ok(Answer::created(call.world.volume(volume).uuid, job))
}

pub(super) fn attach(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let vm = call
        .args
        .vm("virtualmachineid")
        .ok_or_else(|| Refusal::invalid("Please specify a valid User VM."))?;
    let work = Work::Attach {
        volume: call.id()?,
        vm,
        device: call.args.number("deviceid"),
    };
    Ok(Answer::job(call.submit(work)?))
}

pub(super) fn detach(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::Detach {
        volume: call.args.volume("id"),
        vm: call.args.vm("virtualmachineid"),
        device: call.args.number("deviceid"),
    };
    Ok(Answer::job(call.submit(work)?))
}

pub(super) fn resize(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::Resize {
        volume: call.id()?,
        size_gib: call.args.number("size"),
        offering: call.args.offering("diskofferingid"),
        shrink_ok: call.args.flag("shrinkok"),
    };
    Ok(Answer::job(call.submit(work)?))
}

/// Answers only once the storage has deleted it.
pub(super) fn delete(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let volume = call.id()?;
    let result = call.world.delete_volume(volume, call.trouble.as_ref());
    let after_ms = call.ended(EventKind::VolumeDelete, Resource::Volume(volume), result)?;
    Ok(Answer::success(after_ms))
}

pub(super) fn destroy(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::Destroy {
        volume: call.id()?,
        expunge: call.args.flag("expunge"),
    };
    Ok(Answer::job(call.submit(work)?))
}

pub(super) fn recover(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let volume = call.id()?;
    let result = call.world.recover_volume(volume);
    call.ended(EventKind::VolumeRecover, Resource::Volume(volume), result)?;
    Ok(Answer::object(
        "volume",
        &VolumeView::of(call.world, volume).seen_by(call.world.is_root(call.caller)),
    ))
}

pub(super) fn update(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let work = Work::Update {
        volume: call.id()?,
        name: call.args.text("name").map(str::to_owned),
        delete_protection: call.args.choice("deleteprotection"),
    };
    Ok(Answer::job(call.submit(work)?))
}

pub(super) fn list(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    if args.has("id") && args.has("ids") {
        return Err(both_ids());
    }
    let tags = tag_filter(args)?;
    let keyword = args.text("keyword").map(str::to_lowercase);
    let kind = args.text("type").map(str::to_lowercase);
    // `ids` does not count as `id` (`AccountManagerImpl.buildACLSearchParameters`).
    let scope = call.scope("id")?;
    let (name, state, zone, offering) = (
        args.text("name"),
        args.text("state"),
        args.zone("zoneid"),
        args.offering("diskofferingid"),
    );
    let filters = [
        "name",
        "state",
        "zoneid",
        "diskofferingid",
        "type",
        "keyword",
        "tags",
    ];
    let everything = scope.is_everything(world) && !filters.iter().any(|name| args.has(name));
    let wanted = |row: &Volume| {
        !row.removed
            && scope.shows(world, row.account)
            && name.is_none_or(|name| collates_equal(name, &row.name))
            && state.is_none_or(|state| row.state.as_str().eq_ignore_ascii_case(state))
            && zone.is_none_or(|zone| zone == row.zone)
            && offering.is_none_or(|offering| row.offering == Some(offering))
            && kind
                .as_ref()
                .is_none_or(|kind| like(row.kind.as_str(), kind))
            && keyword.as_ref().is_none_or(|keyword| {
                like(&row.name, keyword)
                    || like(row.kind.as_str(), keyword)
                    || like(row.state.as_str(), keyword)
            })
            && tagged(tags.as_deref(), &row.tags)
    };
    let on_vm = |row: &Volume| {
        args.vm("virtualmachineid")
            .is_none_or(|vm| row.attachment.is_some_and(|link| link.vm == vm))
    };
    let named = |nos: &[VolumeNo]| {
        let mut found: Vec<VolumeNo> = nos
            .iter()
            .copied()
            .filter(|no| wanted(world.volume(*no)) && on_vm(world.volume(*no)))
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        found
    };
    let found: Vec<VolumeNo> = match (args.volumes("id"), args.volumes("ids")) {
        (Some(nos), _) | (None, Some(nos)) => named(nos),
        (None, None) => match args.vm("virtualmachineid") {
            Some(vm) => {
                let nos: Vec<VolumeNo> = world.vm(vm).disks.values().copied().collect();
                named(&nos)
            }
            // The filters would look at every row only to let it pass.
            None if everything => world.live_volumes().collect(),
            None => world
                .volumes()
                .filter(|(_, row)| wanted(row))
                .map(|(no, _)| no)
                .collect(),
        },
    };
    let rows: Vec<VolumeView> = found[page(args, world, found.len())?]
        .iter()
        .map(|no| VolumeView::of(world, *no).seen_by(world.is_root(call.caller)))
        .collect();
    Ok(Answer::list("volume", found.len(), &rows))
}
