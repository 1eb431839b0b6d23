//! The commands about tags.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::sim::refusal::Refusal;
use crate::sim::view::TagView;
use crate::sim::world::{Tag, Tagged, Work, World, collates_equal, no_resource};

use super::Call;
use super::args::Args;
use super::envelope::{Answer, ApiError};
use super::lists::page;

/// What can be tagged here (`ResourceTag.ResourceObjectType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResourceType {
    Volume,
    Vm,
    Snapshot,
}

fn resource_type(text: &str) -> Result<ResourceType, Refusal> {
    if text.eq_ignore_ascii_case("Volume") {
        Ok(ResourceType::Volume)
    } else if text.eq_ignore_ascii_case("UserVm") {
        Ok(ResourceType::Vm)
    } else if text.eq_ignore_ascii_case("Snapshot") {
        Ok(ResourceType::Snapshot)
    } else {
        Err(Refusal::invalid(format!("Invalid resource type {text}")))
    }
}

/// Finds a resource as `ResourceManagerUtilImpl.java` does, inside the job, which looks again
/// whether it is still there.
fn resource(world: &World, kind: ResourceType, id: &str) -> Result<Tagged, Refusal> {
    let found = Uuid::try_parse(id).ok().and_then(|uuid| match kind {
        ResourceType::Volume => world.find_volume(uuid).map(Tagged::Volume),
        ResourceType::Vm => world.find_vm(uuid).map(Tagged::Vm),
        ResourceType::Snapshot => world.find_snapshot(uuid).map(Tagged::Snapshot),
    });
    found.ok_or_else(|| {
        let kind = match kind {
            ResourceType::Volume => "Volume",
            ResourceType::Vm => "UserVm",
            ResourceType::Snapshot => "Snapshot",
        };
        no_resource(kind, id)
    })
}

impl Call<'_> {
    fn tagged_resources(&self) -> Result<Vec<Tagged>, Refusal> {
        let kind = resource_type(self.args.text("resourcetype").unwrap_or_default())?;
        self.args
            .texts("resourceids")
            .iter()
            .map(|id| resource(self.world, kind, id))
            .collect()
    }
}

/// The tags of a request. As in a Java map, the last value of a key counts.
pub(super) fn given(args: &Args) -> Vec<Tag> {
    let tags: BTreeMap<String, String> = args
        .map("tags")
        .unwrap_or_default()
        .iter()
        .map(|item| {
            let field = |name: &str| item.get(name).cloned().unwrap_or_default();
            (field("key"), field("value"))
        })
        .collect();
    tags.into_iter()
        .map(|(key, value)| Tag { key, value })
        .collect()
}

pub(super) fn create(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let tags = given(&call.args);
    let on = call.tagged_resources();
    Ok(Answer::job(call.submit(Work::CreateTags { on, tags })?))
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let tags = call
        .args
        .map("tags")
        .unwrap_or_default()
        .iter()
        .map(|item| {
            (
                item.get("key").cloned().unwrap_or_default(),
                item.get("value").cloned(),
            )
        })
        .collect();
    let on = call.tagged_resources();
    Ok(Answer::job(call.submit(Work::DeleteTags { on, tags })?))
}

pub(super) fn list(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    let kind = args.text("resourcetype").map(resource_type).transpose()?;
    let scope = call.scope("")?;
    let fits = |tag: &Tag| {
        args.text("key")
            .is_none_or(|key| collates_equal(key, &tag.key))
            && args
                .text("value")
                .is_none_or(|value| collates_equal(value, &tag.value))
    };
    let id = args.text("resourceid");
    let volumes = world.volumes().map(|(no, _)| Tagged::Volume(no));
    let vms = world.vms().map(|(no, _)| Tagged::Vm(no));
    let snapshots = world.snapshots().map(|(no, _)| Tagged::Snapshot(no));
    let of_kind = |on: Tagged| match on {
        Tagged::Volume(_) => ResourceType::Volume,
        Tagged::Vm(_) => ResourceType::Vm,
        Tagged::Snapshot(_) => ResourceType::Snapshot,
    };
    let wanted = |on: &Tagged| {
        kind.is_none_or(|kind| kind == of_kind(*on))
            && !world.tags(*on).is_empty()
            && id.is_none_or(|id| id == world.tagged(*on).1.to_string())
            && scope.shows(world, world.owner(*on))
    };
    let found: Vec<(Tagged, &Tag)> = volumes
        .chain(vms)
        .chain(snapshots)
        .filter(wanted)
        .flat_map(|on| world.tags(on).iter().map(move |tag| (on, tag)))
        .filter(|(_, tag)| fits(tag))
        .collect();
    let rows: Vec<TagView> = found[page(args, world, found.len())?]
        .iter()
        .map(|(on, tag)| TagView::of(world, *on, tag))
        .collect();
    Ok(Answer::list("tag", found.len(), &rows))
}
