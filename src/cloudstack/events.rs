//! What CloudStack's event log says about volumes: who did what, and when. For people only.

use serde_json::Value;

use super::error::CloudStackError;
use super::transport::Transport;
use super::wire::{BadRow, Row};
use super::{Client, Listed};
use crate::model::{Timestamp, VolumeId};

const COMMAND: &str = "listEvents";

/// How many of the latest events are read. On a site where more happens to volumes within a minute,
/// who did something stays unknown.
const EVENTS: usize = 500;

/// One event about a volume. A job has several: when it was asked for, begun and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeEvent {
    /// Which volume.
    pub volume: VolumeId,
    /// What was done, like `VOLUME.DETACH` (`EventTypes.java`).
    pub kind: String,
    /// When, by the server's clock.
    pub at: Timestamp,
    /// The account in whose name.
    pub account: String,
    /// The user.
    pub user: String,
}

impl<T: Transport> Client<T> {
    /// The latest events about volumes in scope, newest first. Rows that are not understood, or are
    /// about nothing that has an id, are left out.
    ///
    /// # Errors
    /// When the call fails; a role may not be allowed to make it.
    pub async fn volume_events(&self) -> Result<Listed<Vec<VolumeEvent>>, CloudStackError> {
        let begun = self.clock.now().boot;
        let mut params = self.scoped(vec![("resourcetype", "Volume".to_owned())]);
        params.extend([("page", "1".to_owned()), ("pagesize", EVENTS.to_string())]);
        let answer = self.get(COMMAND, params).await?;
        // Without any, there is no array.
        let rows = answer.body.get("event").and_then(Value::as_array);
        let rows = rows.into_iter().flatten().filter_map(Value::as_object);
        Ok(Listed {
            items: rows.filter_map(|row| read(&Row(row)).ok()).collect(),
            begun,
            server_time: answer.date,
        })
    }
}

/// Source of the fields: `EventResponse.java`.
fn read(row: &Row<'_>) -> Result<VolumeEvent, BadRow> {
    let text = |field| Ok(row.text(field)?.unwrap_or_default().into_owned());
    let created: String = row.required("created")?;
    let at = date(&created).ok_or(BadRow::Field {
        field: "created",
        value: created,
    })?;
    Ok(VolumeEvent {
        volume: row.required("resourceid")?,
        kind: row.required("type")?,
        at,
        account: text("account")?,
        user: text("username")?,
    })
}

/// `2026-11-20T22:30:00+0000`: RFC 3339, but for a colon (`DateUtil.java`).
fn date(text: &str) -> Option<Timestamp> {
    let (moment, minutes) = text.split_at_checked(text.len().checked_sub(2)?)?;
    format!("{moment}:{minutes}").parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cloudstack::Scope;
    use crate::cloudstack::fake::{Fake, client, json as json_answer};

    const VOLUME: &str = "6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

    #[tokio::test]
    async fn what_is_understood_of_the_latest_events_is_told() {
        let event = json!({
            "id": "9", "username": "kim", "type": "VOLUME.DETACH", "level": "INFO", "account": "ops",
            "description": "Successfully completed detaching volume", "resourceid": VOLUME,
            "resourcetype": "Volume", "created": "2026-11-20T23:30:00+0100", "state": "Completed",
        });
        let mut odd = event.clone();
        odd["created"] = json!("yesterday");
        let mut about_nothing = event.clone();
        about_nothing["resourceid"] = json!(null);
        let body =
            json!({ "listeventsresponse": { "count": 3, "event": [odd, about_nothing, event] } });
        let fake = Fake::new(move |_| json_answer(&body));
        let client = client(&fake, Scope::default());
        let listed = client.volume_events().await.expect("events");
        let expected = VolumeEvent {
            volume: VOLUME.parse().expect("an id"),
            kind: "VOLUME.DETACH".to_owned(),
            at: "2026-11-20T22:30:00Z".parse().expect("a time"),
            account: "ops".to_owned(),
            user: "kim".to_owned(),
        };
        assert_eq!(listed.items, [expected]);
    }
}
