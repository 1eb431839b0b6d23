//! What the API shows of an event.

use serde::Serialize;
use uuid::Uuid;

use crate::sim::world::{DOMAIN, EventRow, Resource, World};

/// An event (`EventResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct EventView {
    id: Uuid,
    username: String,
    #[serde(rename = "type")]
    kind: &'static str,
    level: &'static str,
    description: String,
    account: String,
    domainid: Uuid,
    domain: &'static str,
    domainpath: &'static str,
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

impl EventView {
    /// The event; `about` is what it happened to, and the id of that.
    pub fn of(world: &World, row: &EventRow, about: Option<(Resource, Uuid)>) -> Self {
        let account = &world.account(row.account).name;
        Self {
            id: EventRow::uuid(row.no),
            username: account.clone(),
            kind: row.kind.as_str(),
            level: if row.failed { "ERROR" } else { "INFO" },
            description: row.description(about.map(|(_, id)| id)),
            account: account.clone(),
            domainid: world.domain(),
            domain: DOMAIN,
            domainpath: DOMAIN,
            resourceid: about.map(|(_, id)| id),
            resourcetype: about.map(|(resource, _)| resource.kind()),
            created: row.created.to_string(),
            state: row.state.as_str(),
            parentid: row.parent.map(EventRow::uuid),
            archived: false,
        }
    }
}
