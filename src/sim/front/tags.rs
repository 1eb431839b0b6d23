//! The commands about tags.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::sim::refusal::Refusal;
use crate::sim::view::TagView;
use crate::sim::world::{AccountNo, Tag, Tagged, Work, World, collates_equal, no_resource};

use super::Call;
use super::envelope::{Answer, ApiError};
use super::lists::page;

/// What can be tagged here (`ResourceTag.ResourceObjectType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResourceType {
    Volume,
    Vm,
}

fn resource_type(text: &str) -> Result<ResourceType, Refusal> {
    if text.eq_ignore_ascii_case("Volume") {
        Ok(ResourceType::Volume)
    } else if text.eq_ignore_ascii_case("UserVm") {
        Ok(ResourceType::Vm)
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
    });
    found.ok_or_else(|| {
        let kind = match kind {
            ResourceType::Volume => "Volume",
            ResourceType::Vm => "UserVm",
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

pub(super) fn create(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    // As in a Java map, the last value of a key counts.
    let tags: BTreeMap<String, String> = call
        .args
        .map("tags")
        .unwrap_or_default()
        .iter()
        .map(|item| {
            let field = |name: &str| item.get(name).cloned().unwrap_or_default();
            (field("key"), field("value"))
        })
        .collect();
    let tags = tags
        .into_iter()
        .map(|(key, value)| Tag { key, value })
        .collect();
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
    let visible = |account: AccountNo| scope.shows(world, account);
    let id = args.text("resourceid");
    let volumes = world
        .volumes()
        .filter(|(_, row)| kind != Some(ResourceType::Vm) && visible(row.account))
        .filter(|(_, row)| id.is_none_or(|id| id == row.uuid.to_string()))
        .map(|(no, _)| Tagged::Volume(no));
    let vms = world
        .vms()
        .filter(|(_, row)| kind != Some(ResourceType::Volume) && visible(row.account))
        .filter(|(_, row)| id.is_none_or(|id| id == row.uuid.to_string()))
        .map(|(no, _)| Tagged::Vm(no));
    let found: Vec<(Tagged, &Tag)> = volumes
        .chain(vms)
        .flat_map(|on| world.tags(on).iter().map(move |tag| (on, tag)))
        .filter(|(_, tag)| fits(tag))
        .collect();
    let rows: Vec<TagView> = found[page(args, world, found.len())?]
        .iter()
        .map(|(on, tag)| TagView::of(world, *on, tag))
        .collect();
    Ok(Answer::list("tag", found.len(), &rows))
}
