//! What the API shows of an event.

use serde::Serialize;
use uuid::Uuid;

use crate::sim::world::{EventRow, Resource, World};

use super::owner::OwnerView;

/// An event (`EventResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct EventView<'a> {
    id: Uuid,
    username: String,
    #[serde(rename = "type")]
    kind: &'static str,
    level: &'static str,
    description: String,
    #[serde(flatten)]
    owner: OwnerView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resourceid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resourcetype: Option<&'static str>,
    created: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parentid: Option<Uuid>,
    archived: bool,
}

impl<'a> EventView<'a> {
    /// The event; `about` is what it happened to, and the id of that.
    pub fn of(world: &'a World, row: &EventRow, about: Option<(Resource, Uuid)>) -> Self {
        Self {
            id: EventRow::uuid(row.no),
            username: world.account(row.account).name.clone(),
            kind: row.kind.as_str(),
            level: if row.failed { "ERROR" } else { "INFO" },
            description: row.description(about.map(|(_, id)| id)),
            owner: OwnerView::of(world, row.owner),
            resourceid: about.map(|(_, id)| id),
            resourcetype: about.map(|(resource, _)| resource.kind()),
            created: row.created.to_string(),
            state: row.state.as_str(),
            parentid: row.parent.map(EventRow::uuid),
            archived: false,
        }
    }
}
