//! `listEvents`.

use uuid::Uuid;

use crate::sim::refusal::Refusal;
use crate::sim::time::SimTime;
use crate::sim::view::EventView;
use crate::sim::world::{EventKind, EventRow, EventState, Resource};

use super::Call;
use super::envelope::{Answer, ApiError};
use super::lists::{like, page};

impl Call<'_> {
    /// Notes how a sync command ended (`ActionEventInterceptor.java`).
    pub(super) fn ended<T>(
        &mut self,
        kind: EventKind,
        resource: Resource,
        result: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let how = (EventState::Completed, result.is_err());
        self.world.note(self.caller, kind, resource, how);
        result
    }

    /// Notes that what a job is to make has its row.
    pub(super) fn created(&mut self, kind: EventKind, resource: Resource) {
        let how = (EventState::Created, false);
        self.world.note(self.caller, kind, resource, how);
    }
}

pub(super) fn list(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    // `QueryManagerImpl.searchForEventsInternal`.
    if args.has("resourceid") && !args.has("resourcetype") {
        return Err(Refusal::invalid(
            "resourcetype parameter must be used with resourceid parameter",
        )
        .into());
    }
    let after = date(args.text("startdate"), "startdate")?;
    let before = date(args.text("enddate"), "enddate")?;
    let id = args.text("id").map(uuid);
    let resource = args.text("resourceid").map(uuid);
    // The event itself, and all that are linked to it.
    let start = args.text("startid").map(uuid);
    let scope = call.scope("id")?;
    let keyword = args.text("keyword").map(str::to_lowercase);
    let same = |name: &str, value: &str| {
        args.text(name)
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let wanted = |row: &EventRow| {
        let own = EventRow::uuid(row.no);
        scope.shows(world, row.owner)
            && id.is_none_or(|id| id == Some(own))
            && start.is_none_or(|start| {
                start == Some(own) || (start.is_some() && start == row.parent.map(EventRow::uuid))
            })
            && same("type", row.kind.as_str())
            && same("state", row.state.as_str())
            && same("level", if row.failed { "ERROR" } else { "INFO" })
            && args.text("resourcetype").is_none_or(|kind| {
                row.resource
                    .is_some_and(|resource| resource.kind().eq_ignore_ascii_case(kind))
            })
            && resource.is_none_or(|wanted| {
                row.resource
                    .is_some_and(|resource| Some(world.id_of(resource)) == wanted)
            })
            && after.is_none_or(|after| row.created >= after)
            && before.is_none_or(|before| row.created <= before)
            && keyword.as_ref().is_none_or(|keyword| {
                let about = row.resource.map(|resource| world.id_of(resource));
                like(row.kind.as_str(), keyword) || like(&row.description(about), keyword)
            })
    };
    let found: Vec<&EventRow> = world.events().filter(|row| wanted(row)).collect();
    let rows: Vec<EventView> = found[page(args, world, found.len())?]
        .iter()
        .map(|row| {
            let about = row
                .resource
                .map(|resource| (resource, world.id_of(resource)));
            EventView::of(world, row, about)
        })
        .collect();
    Ok(Answer::list("event", found.len(), &rows))
}

/// What is no id is that of no event.
fn uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}

/// `yyyy-MM-dd`, also with `HH:mm:ss`, or as `expires` (`ParamProcessWorker.java`).
fn date(text: Option<&str>, name: &str) -> Result<Option<SimTime>, ApiError> {
    let Some(text) = text else {
        return Ok(None);
    };
    SimTime::parse_date(text).map(Some).ok_or_else(|| {
        ApiError::plain(
            431,
            format!(
                "Unable to parse date {text} for command listevents, please pass dates in the \
                 format yyyy-MM-dd or yyyy-MM-dd HH:mm:ss for parameter {name}"
            ),
        )
    })
}
