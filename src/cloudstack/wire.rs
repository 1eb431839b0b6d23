//! From bytes to model types, tolerant where it is safe to be.
//!
//! Tolerant: fields that we do not know, numbers written as text, fields left out, lists without an
//! array. Strict: a field that we do act upon and that is there but not understood. Such a row is
//! nobody's reading: taking an odd `virtualmachineid` for "not attached" would be worse than not
//! seeing the volume. One such row never spoils the others; an answer of another shape is an error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::CloudStackError;
use super::sign::Credentials;
use super::transport::Response;
use crate::model::observed::{
    Attachment, CloudVm, CloudVolume, Named, VmState, VolumeKind, VolumeState,
};
use crate::model::{BootTime, ByteSize, JobId, OfferingId, Timestamp, VmId, VolumeId, ZoneId};

/// How much of an error text is kept, in characters; CloudStack's own are shorter.
const TEXT_MAX: usize = 600;

/// Opens the envelope: one object with one key, whatever that is (`ApiResponseSerializer.java`), that
/// holds what was asked for or an error.
pub(super) fn open(
    command: &'static str,
    response: &Response,
    credentials: &Credentials,
) -> Result<Map<String, Value>, CloudStackError> {
    let status = response.status;
    let undecodable = |why: &str| CloudStackError::Undecodable {
        command,
        status,
        why: why.to_owned(),
    };
    if (300..400).contains(&status) {
        return Err(undecodable("it redirects elsewhere; check the URL"));
    }
    let Ok(value) = serde_json::from_slice::<Value>(&response.body) else {
        return Err(undecodable(match response.body.first() {
            None => "it is empty",
            Some(b'<') => "it is HTML or XML",
            Some(_) => "it is not JSON",
        }));
    };
    let Value::Object(envelope) = value else {
        return Err(undecodable("it is not an object"));
    };
    let mut entries = envelope.into_iter();
    let (Some((_, Value::Object(body))), None) = (entries.next(), entries.next()) else {
        return Err(undecodable("it does not hold exactly one object"));
    };
    if let Some(failure) = Failure::of(&body) {
        let text = credentials.redact(&failure.text);
        return Err(CloudStackError::from_answer(command, failure.code, text));
    }
    if !(200..300).contains(&status) {
        return Err(undecodable("it has an error status and no error code"));
    }
    Ok(body)
}

/// CloudStack's description of an error, in an answer or in the result of a job.
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Failure {
    /// The error that `body` describes, if it does (`ExceptionResponse.java`).
    pub(super) fn of(body: &Map<String, Value>) -> Option<Self> {
        let row = Row(body);
        Some(Self {
            code: row.optional("errorcode").ok()??,
            text: tidy(&row.text("errortext").ok()?.unwrap_or_default()),
        })
    }
}

/// Text from outside, made fit for one line of a log.
pub(super) fn tidy(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TEXT_MAX)
        .collect()
}

/// A row that cannot be understood, and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum BadRow {
    #[error("it is not an object")]
    NotAnObject,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field} is {value}")]
    Field { field: &'static str, value: String },
}

/// One JSON object, read field by field.
pub(super) struct Row<'a>(pub(super) &'a Map<String, Value>);

impl Row<'_> {
    /// A field as text, whether it was sent as text, number or truth value. Missing, `null` and empty
    /// are the same: CloudStack leaves out what it does not know.
    pub(super) fn text(&self, field: &'static str) -> Result<Option<Cow<'_, str>>, BadRow> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Value::Number(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            Some(Value::Bool(truth)) => Ok(Some(Cow::Owned(truth.to_string()))),
            Some(other @ (Value::Array(_) | Value::Object(_))) => Err(BadRow::Field {
                field,
                value: tidy(&other.to_string()),
            }),
        }
    }

    /// A field that may be missing, but must be understood if it is there.
    pub(super) fn optional<T: FromStr>(&self, field: &'static str) -> Result<Option<T>, BadRow> {
        let Some(text) = self.text(field)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(BadRow::Field {
                field,
                value: tidy(&format!("{text:?}")),
            }),
        }
    }

    /// A field without which the row says nothing.
    pub(super) fn required<T: FromStr>(&self, field: &'static str) -> Result<T, BadRow> {
        self.optional(field)?.ok_or(BadRow::Missing(field))
    }

    fn name(&self) -> Result<String, BadRow> {
        Ok(self.text("name")?.unwrap_or_default().into_owned())
    }
}

/// Something that a list command returns.
pub(super) trait ListRow: Sized {
    /// The command.
    const COMMAND: &'static str;
    /// The key of its array; not always derivable from the command.
    const ARRAY: &'static str;
    /// What makes two rows the same row.
    type Id: Copy + Ord + fmt::Display;

    fn id(&self) -> Self::Id;
    fn read(row: &Row<'_>, begun: BootTime) -> Result<Self, BadRow>;
}

impl ListRow for CloudVolume {
    const COMMAND: &'static str = "listVolumes";
    const ARRAY: &'static str = "volume";
    type Id = VolumeId;

    fn id(&self) -> VolumeId {
        self.id
    }

    /// Source of the fields: `VolumeResponse.java`, filled in `VolumeJoinDaoImpl.java`.
    fn read(row: &Row<'_>, begun: BootTime) -> Result<Self, BadRow> {
        let attachment = match row.optional::<VmId>("virtualmachineid")? {
            None => None,
            Some(vm) => Some(Attachment {
                vm,
                device_id: row.optional("deviceid")?,
            }),
        };
        Ok(Self {
            id: row.required("id")?,
            name: row.name()?,
            size: ByteSize::bytes(row.required("size")?),
            state: VolumeState::parse(&row.required::<String>("state")?),
            kind: match row.required::<String>("type")?.as_str() {
                "ROOT" => VolumeKind::Root,
                _ => VolumeKind::Data,
            },
            zone: row.required("zoneid")?,
            // Compared and shown only: what is not understood counts as not known.
            offering: row.optional("diskofferingid").unwrap_or_default(),
            attachment,
            pending_job: pending_job(row)?,
            tags: tags(row)?,
            created: row
                .optional::<WireTime>("created")
                .unwrap_or_default()
                .map(|at| at.0),
            begun,
        })
    }
}

/// `jobid` is shown with `jobstatus` 0 while a job on the volume is pending (`VolumeJoinDaoImpl.java`).
/// Without a status it counts as pending.
fn pending_job(row: &Row<'_>) -> Result<Option<JobId>, BadRow> {
    match row.optional::<i64>("jobstatus")? {
        None | Some(0) => row.optional("jobid"),
        Some(_) => Ok(None),
    }
}

fn tags(row: &Row<'_>) -> Result<BTreeMap<String, String>, BadRow> {
    let bad = |value: &Value| BadRow::Field {
        field: "tags",
        value: tidy(&value.to_string()),
    };
    let list = match row.0.get("tags") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(bad(other)),
    };
    list.iter()
        .map(|value| {
            let tag = Row(value.as_object().ok_or_else(|| bad(value))?);
            let text = tag.text("value")?.unwrap_or_default().into_owned();
            Ok((tag.required("key")?, text))
        })
        .collect()
}

impl ListRow for CloudVm {
    const COMMAND: &'static str = "listVirtualMachines";
    const ARRAY: &'static str = "virtualmachine";
    type Id = VmId;

    fn id(&self) -> VmId {
        self.id
    }

    fn read(row: &Row<'_>, begun: BootTime) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.required("id")?,
            name: row.name()?,
            state: VmState::parse(&row.required::<String>("state")?),
            zone: row.required("zoneid")?,
            begun,
        })
    }
}

impl ListRow for Named<ZoneId> {
    const COMMAND: &'static str = "listZones";
    const ARRAY: &'static str = "zone";
    type Id = ZoneId;

    fn id(&self) -> ZoneId {
        self.id
    }

    fn read(row: &Row<'_>, _begun: BootTime) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.required("id")?,
            name: row.name()?,
        })
    }
}

impl ListRow for Named<OfferingId> {
    const COMMAND: &'static str = "listDiskOfferings";
    const ARRAY: &'static str = "diskoffering";
    type Id = OfferingId;

    fn id(&self) -> OfferingId {
        self.id
    }

    fn read(row: &Row<'_>, _begun: BootTime) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.required("id")?,
            name: row.name()?,
        })
    }
}

/// One page of a list.
pub(super) struct Page<R> {
    /// How many rows the whole list has.
    pub(super) count: usize,
    pub(super) rows: Vec<R>,
    /// Why rows of this page were left out.
    pub(super) skipped: Vec<BadRow>,
}

impl<R: ListRow> Page<R> {
    /// Reads a page that was asked for with `page_len` rows at most.
    ///
    /// An empty list has neither count nor array; a page past the end has a count only
    /// (`ApiResponseSerializer.java`). The error says in which way it is neither of these nor a page.
    pub(super) fn read(
        body: &Map<String, Value>,
        page_len: usize,
        begun: BootTime,
    ) -> Result<Self, &'static str> {
        let list = match body.get(R::ARRAY) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(list)) => list.as_slice(),
            Some(_) => return Err("its list is not an array"),
        };
        let here = list.len();
        if here > page_len {
            return Err("it has more rows than were asked for");
        }
        let count = match Row(body).optional::<usize>("count") {
            Ok(Some(count)) => count,
            Ok(None) if here == page_len => return Err("it does not say how many rows there are"),
            Ok(None) => here,
            Err(_) => return Err("its count is not a number"),
        };
        let mut page = Self {
            count,
            rows: Vec::with_capacity(list.len()),
            skipped: Vec::new(),
        };
        for value in list {
            let row = match value {
                Value::Object(row) => R::read(&Row(row), begun),
                _ => Err(BadRow::NotAnObject),
            };
            match row {
                Ok(row) => page.rows.push(row),
                Err(why) => page.skipped.push(why),
            }
        }
        Ok(page)
    }
}

/// A moment as CloudStack writes it, like `2026-11-20T22:30:00+0000` (`ApiResponseGsonHelper.java`).
struct WireTime(Timestamp);

impl FromStr for WireTime {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let at = jiff::Timestamp::strptime("%Y-%m-%dT%H:%M:%S%z", text)?;
        Ok(Self(Timestamp::from_millis(at.as_millisecond())))
    }
}

#[cfg(test)]
mod tests;
