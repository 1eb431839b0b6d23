//! Rows to model types. One row that cannot be understood never hides another (I8).

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::db::{Columns, Row};
use super::journal::{JournalRow, Settled};
use super::specs::{SpecPresence, StoredSpec};
use crate::model::action::Mark;
use crate::model::desired::Generation;
use crate::model::memory::{
    AcceptedView, Approved, Binding, FailureClass, ImpliedStep, Intent, Outcome, Pause, Progress,
    Resolution,
};
use crate::model::{
    Action, Cause, DesiredVolume, ExportName, IntentId, Now, Owner, Presence, SourceFile, SpecUid,
    Timestamp, VmId, VolumeId, VolumeName,
};
use crate::plan::DriftClass;
use crate::spec;

/// A row that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// In which table.
    pub table: &'static str,
    /// Its key, as stored.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// Why a row could not be understood.
pub(super) type Unreadable = String;

/// Understands each row by itself; `skipped` gets those that cannot be.
pub(super) fn each<T: Columns, V>(
    table: &'static str,
    rows: &[Row],
    skipped: &mut Vec<Skipped>,
    decode: impl Fn(T) -> Result<V, Unreadable>,
) -> Vec<V> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        match row.read().map_err(text).and_then(&decode) {
            Ok(value) => values.push(value),
            Err(reason) => skipped.push(Skipped {
                table,
                key: row.text(0).unwrap_or_else(|| "?".to_owned()),
                reason,
            }),
        }
    }
    values
}

fn text(error: impl Display) -> Unreadable {
    error.to_string()
}

/// Reads text as one of our types.
pub(super) fn parse<T: FromStr<Err: Display>>(value: &str) -> Result<T, Unreadable> {
    value.parse().map_err(text)
}

pub(super) fn json<T: serde::de::DeserializeOwned>(value: &str) -> Result<T, Unreadable> {
    serde_json::from_str(value).map_err(text)
}

/// Writes one of our own types as JSON.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our types have text keys and no failing serializer")
}

/// `name, uid, generation, owner, manifest, abandoned, counted_ms`
pub(super) type SpecRow = (String, String, i64, String, String, i64, i64);

pub(super) fn desired(row: SpecRow) -> Result<DesiredVolume, Unreadable> {
    let (name, uid, generation, owner, manifest, abandoned, counted_ms) = row;
    let document = spec::from_manifest(&json(&manifest)?).map_err(text)?;
    if document.name.as_str() != name {
        return Err(format!("its manifest is of {}", document.name));
    }
    Ok(DesiredVolume {
        document,
        uid: parse(&uid)?,
        generation: self::generation(generation)?,
        owner: Owner::try_from(owner).map_err(text)?,
        presence: match abandoned {
            0 => Presence::Declared,
            1 => Presence::Abandoned {
                counted: Duration::from_millis(u64::try_from(counted_ms).map_err(text)?),
            },
            other => return Err(format!("abandoned is 0 or 1, not {other}")),
        },
    })
}

/// Reads `name, owner, generation, abandoned, manifest`.
pub(super) fn stored_spec(
    row: (String, String, i64, i64, String),
) -> Result<StoredSpec, Unreadable> {
    let (name, owner, generation, abandoned, manifest) = row;
    Ok(StoredSpec {
        name: parse(&name)?,
        owner: Owner::try_from(owner).map_err(text)?,
        generation: self::generation(generation)?,
        presence: match abandoned {
            0 => SpecPresence::Declared,
            1 => SpecPresence::Abandoned,
            other => return Err(format!("abandoned is 0 or 1, not {other}")),
        },
        manifest: json(&manifest)?,
    })
}

/// What a new version of a spec takes over from the stored one.
pub(super) struct Head {
    pub(super) uid: SpecUid,
    pub(super) generation: Generation,
    pub(super) manifest: String,
}

/// Reads `name, uid, generation, manifest`.
pub(super) fn head(row: &Row) -> Result<Head, Unreadable> {
    let (_, uid, generation, manifest): (String, String, i64, String) = row.read().map_err(text)?;
    Ok(Head {
        uid: parse(&uid)?,
        generation: self::generation(generation)?,
        manifest,
    })
}

pub(super) fn generation(value: i64) -> Result<Generation, Unreadable> {
    Generation::try_from(value).map_err(text)
}

/// `path, hash, device, state, problems, since, revision`
pub(super) type FileRow = (String, String, i64, String, String, i64, Option<i64>);

pub(super) fn file(row: FileRow) -> Result<SourceFile, Unreadable> {
    let (path, hash, device, state, problems, since, revision) = row;
    Ok(SourceFile {
        path,
        hash,
        device: device.cast_unsigned(),
        state: parse(&state)?,
        problems: json(&problems)?,
        since: Timestamp::from_millis(since),
        revision,
    })
}

/// `name, volume_id, uid, mark`
pub(super) type BindingRow = (String, String, String, String);

pub(super) fn binding(row: BindingRow) -> Result<(VolumeName, Binding), Unreadable> {
    let (name, volume, uid, mark) = row;
    let binding = Binding {
        volume: parse(&volume)?,
        uid: parse(&uid)?,
        mark: match mark.as_str() {
            "created" => Mark::Created,
            "adopted" => Mark::Adopted,
            other => return Err(format!("{other:?} is no mark")),
        },
    };
    Ok((parse(&name)?, binding))
}

pub(super) fn placement(row: (String, String)) -> Result<(VolumeId, VmId), Unreadable> {
    Ok((parse(&row.0)?, parse(&row.1)?))
}

pub(super) fn export_name(row: (String, String)) -> Result<(ExportName, VolumeId), Unreadable> {
    Ok((parse(&row.0)?, parse(&row.1)?))
}

pub(super) fn resolution(row: (String, String)) -> Result<(VolumeName, Resolution), Unreadable> {
    Ok((parse(&row.0)?, json(&row.1)?))
}

pub(super) fn view(row: (String, String)) -> Result<(VolumeId, AcceptedView), Unreadable> {
    Ok((parse(&row.0)?, json(&row.1)?))
}

/// `name, id, generation, action, cause, created_at, expires_at, job_id`
pub(super) type IntentRow = (
    String,
    String,
    i64,
    String,
    String,
    i64,
    i64,
    Option<String>,
);

pub(super) fn intent(row: IntentRow) -> Result<Intent, Unreadable> {
    let (name, id, generation, action, cause, created, expires, job) = row;
    Ok(Intent {
        id: parse(&id)?,
        name: parse(&name)?,
        generation: self::generation(generation)?,
        action: json::<Action>(&action)?,
        cause: self::cause(&cause)?,
        created: Timestamp::from_millis(created),
        expires: Timestamp::from_millis(expires),
        progress: match job {
            Some(job) => Progress::Submitted(parse(&job)?),
            None => Progress::Journalled,
        },
    })
}

/// [`IntentRow`], then `owner, settled_at` and [`OutcomeRow`], in one row.
pub(super) type JournalColumns = (
    String,
    String,
    i64,
    String,
    String,
    i64,
    i64,
    Option<String>,
    String,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

pub(super) fn journal(row: JournalColumns) -> Result<JournalRow, Unreadable> {
    let (name, id, generation, action, cause, created, expires, job, owner, at, ..) = row;
    let (.., word, class, words, created_volume) = row;
    let settled = match (at, word) {
        (Some(at), Some(word)) => Some(Settled {
            outcome: outcome((word, class, words, created_volume))?,
            at: Timestamp::from_millis(at),
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err("it is half settled".to_owned()),
    };
    Ok(JournalRow {
        intent: intent((name, id, generation, action, cause, created, expires, job))?,
        owner: Owner::try_from(owner).map_err(text)?,
        settled,
    })
}

/// A call that was carried out.
pub(super) struct EndedWell {
    pub(super) name: VolumeName,
    pub(super) id: IntentId,
    /// Of which kind a difference is that it ended.
    pub(super) class: DriftClass,
    pub(super) at: Timestamp,
}

/// Reads `name, id, action, settled_at`.
pub(super) fn ended_well(row: (String, String, String, i64)) -> Result<EndedWell, Unreadable> {
    let (name, id, action, at) = row;
    Ok(EndedWell {
        name: VolumeName::try_from(name).map_err(text)?,
        id: parse(&id)?,
        class: DriftClass::of(&json::<Action>(&action)?),
        at: Timestamp::from_millis(at),
    })
}

fn cause(text: &str) -> Result<Cause, Unreadable> {
    [
        Cause::Declared,
        Cause::Edited,
        Cause::Abandoned,
        Cause::Healing,
    ]
    .into_iter()
    .find(|cause| cause.as_str() == text)
    .ok_or_else(|| format!("{text:?} is no cause"))
}

/// `outcome, outcome_class, outcome_text, created_volume`: an outcome in columns.
pub(super) type OutcomeRow = (String, Option<String>, Option<String>, Option<String>);

pub(super) fn outcome_row(outcome: &Outcome) -> OutcomeRow {
    let word = outcome.as_str().to_owned();
    match outcome {
        Outcome::Succeeded { created } => (word, None, None, created.map(|id| id.to_string())),
        Outcome::Failed { class, text } => {
            let class = class_name(*class).to_owned();
            (word, Some(class), Some(bounded(text).to_owned()), None)
        }
        Outcome::NeverSent => (word, None, None, None),
        Outcome::Lost { text } => (word, None, Some(bounded(text).to_owned()), None),
    }
}

pub(super) fn outcome(row: OutcomeRow) -> Result<Outcome, Unreadable> {
    let (word, class, text, created) = row;
    let text = text.unwrap_or_default();
    match word.as_str() {
        "succeeded" => Ok(Outcome::Succeeded {
            created: created.as_deref().map(parse).transpose()?,
        }),
        "failed" => Ok(Outcome::Failed {
            class: self::class(&class.unwrap_or_default())?,
            text,
        }),
        "never-sent" => Ok(Outcome::NeverSent),
        "lost" => Ok(Outcome::Lost { text }),
        other => Err(format!("{other:?} is no outcome")),
    }
}

/// Most bytes kept of what CloudStack says of a failure.
const OUTCOME_TEXT_MAX: usize = 4096;

/// As much of it as is kept.
pub(super) fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(OUTCOME_TEXT_MAX)]
}

const CLASSES: [FailureClass; 6] = [
    FailureClass::Refused,
    FailureClass::Environment,
    FailureClass::Retry,
    FailureClass::Quota,
    FailureClass::Throttled,
    FailureClass::InUse,
];

const fn class_name(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Refused => "refused",
        FailureClass::Environment => "environment",
        FailureClass::Retry => "retry",
        FailureClass::Quota => "quota",
        FailureClass::Throttled => "throttled",
        FailureClass::InUse => "in-use",
    }
}

fn class(text: &str) -> Result<FailureClass, Unreadable> {
    CLASSES
        .into_iter()
        .find(|class| class_name(*class) == text)
        .ok_or_else(|| format!("{text:?} is no class of failure"))
}

/// `id, name, kind, cause, owner, created_at`
pub(super) type ImpliedRow = (String, String, String, String, String, i64);

pub(super) fn implied(row: ImpliedRow, now: Now) -> Result<ImpliedStep, Unreadable> {
    let (_, name, kind, cause, owner, at) = row;
    Ok(ImpliedStep {
        name: VolumeName::try_from(name).map_err(text)?,
        kind,
        cause: self::cause(&cause)?,
        owner: Owner::try_from(owner).map_err(text)?,
        at: now.boot_of(Timestamp::from_millis(at)),
    })
}

/// `name, until_at, reason`
pub(super) type PauseRow = (String, i64, String);

/// A pause, and the spec it is of; `None`: of everything.
pub(super) fn pause(row: PauseRow, now: Now) -> Result<(Option<VolumeName>, Pause), Unreadable> {
    let (name, until, reason) = row;
    let name = (name != EVERYTHING)
        .then(|| VolumeName::try_from(name).map_err(text))
        .transpose()?;
    let until = now.boot_of(Timestamp::from_millis(until));
    Ok((name, Pause { until, reason }))
}

pub(super) type ApprovedRow = (String, String, i64);

/// A step that a person let pass.
pub(super) fn approved(row: ApprovedRow, now: Now) -> Result<(VolumeName, Approved), Unreadable> {
    let (name, action, until) = row;
    let approved = Approved {
        action: json(&action)?,
        until: now.boot_of(Timestamp::from_millis(until)),
    };
    Ok((VolumeName::try_from(name).map_err(text)?, approved))
}

/// What stands for all specs where a name is written; no spec has such a name.
pub(super) const EVERYTHING: &str = "*";
