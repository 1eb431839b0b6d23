//! Everything that happened to one volume, as far as it is remembered. For people.

use serde::{Deserialize, Serialize};

use super::db::Work;
use super::episodes::{self, EpisodeFilter};
use super::journal::JournalRow;
use super::rows;
use super::{Store, StoreError, journal};
use crate::model::action::Mark;
use crate::model::desired::Generation;
use crate::model::{Action, Owner, Timestamp, VolumeId, VolumeName, sha1_hex};
use crate::plan::episode::Episode;

/// Something that happened to a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Happening {
    /// When, or when it began.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// A version of its spec was accepted.
    Accepted(SpecVersion),
    /// It was bound to a CloudStack volume, for ever.
    Bound(Bound),
    /// CloudStack was asked to change something.
    Call(Box<JournalRow>),
    /// Something differed from what is asked for.
    Drift(Episode),
    /// A person let a step pass that the guard froze.
    Approved(Approval),
    /// A person said to leave it alone, and that is still in force or has run out since. A pause
    /// that was ended or replaced is not remembered.
    Paused(PauseNote),
}

/// An accepted version of a spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecVersion {
    /// Which one.
    pub generation: Generation,
    /// Who wrote it; `None`: that was not recorded then.
    pub owner: Option<Owner>,
    /// SHA-1 of what it says, in hexadecimal: equal specs have equal hashes, on every appliance.
    pub hash: String,
    /// What it says.
    pub manifest: serde_json::Value,
}

/// A binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// To which volume.
    pub volume: VolumeId,
    /// Whether we made that volume.
    pub mark: Mark,
}

/// A step that a person let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Which step.
    pub action: Action,
    /// How long it counted.
    pub until: Timestamp,
    /// What was given to `approve`.
    pub digest: String,
    /// Why, in their words; may be empty.
    pub reason: String,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PauseNote {
    /// When it ends, or ended.
    pub until: Timestamp,
    /// Whether it is of everything.
    pub everything: bool,
    /// Why, in their words; may be empty.
    pub reason: String,
}

/// How many calls, and how many approvals, are told of one volume.
const TOLD_MAX: u32 = 1000;

impl Store {
    /// Everything that is remembered of `name`, in order of time; nothing if there never was such
    /// a spec. Rows that cannot be understood are left out.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn history(&self, name: &VolumeName) -> Result<Vec<Happening>, StoreError> {
        let mut tx = self.read("read the history of a volume").await?;
        let mut history = versions(&mut tx, name).await?;
        if history.is_empty() {
            return Ok(history);
        }
        history.extend(bound(&mut tx, name).await?);
        history.extend(pauses(&mut tx, name).await?);
        history.extend(approvals(&mut tx, name).await?);
        let filter = EpisodeFilter {
            name: Some(name.clone()),
            since: None,
            limit: TOLD_MAX,
        };
        let drift = episodes::select(&mut tx, &filter).await?;
        history.extend(drift.into_iter().map(|episode| Happening {
            at: episode.first_seen,
            what: What::Drift(episode),
        }));
        let filter = journal::IntentFilter {
            name: Some(name.clone()),
            open_only: false,
            limit: TOLD_MAX,
        };
        let calls = journal::select(&mut tx, filter).await?;
        history.extend(calls.into_iter().map(|row| Happening {
            at: row.intent.created,
            what: What::Call(Box::new(row)),
        }));
        tx.commit().await?;
        // Stable: of one moment, the spec comes before what follows from it.
        history.sort_by_key(|happening| happening.at);
        Ok(history)
    }
}

async fn versions(tx: &mut Work, name: &VolumeName) -> Result<Vec<Happening>, StoreError> {
    let read = tx
        .sql(
            "SELECT name, generation, owner, manifest, accepted_at FROM vd_spec_versions \
             WHERE appliance = ? AND name = ? ORDER BY generation",
        )
        .mine()
        .bind(name.as_str())
        .rows()
        .await?;
    type Columns = (String, i64, Option<String>, String, i64);
    let decode = |(_, generation, owner, manifest, at): Columns| {
        let owner = owner.map(Owner::try_from).transpose();
        Ok(Happening {
            at: Timestamp::from_millis(at),
            what: What::Accepted(SpecVersion {
                generation: rows::generation(generation)?,
                owner: owner.map_err(|error| error.to_string())?,
                // Its keys are sorted.
                hash: sha1_hex(&manifest),
                manifest: rows::json(&manifest)?,
            }),
        })
    };
    Ok(rows::each(
        "vd_spec_versions",
        &read,
        &mut Vec::new(),
        decode,
    ))
}

async fn bound(tx: &mut Work, name: &VolumeName) -> Result<Vec<Happening>, StoreError> {
    let read = tx
        .sql(
            "SELECT name, volume_id, uid, mark, bound_at FROM vd_bindings \
             WHERE appliance = ? AND name = ?",
        )
        .mine()
        .bind(name.as_str())
        .rows()
        .await?;
    let decode = |(name, volume, uid, mark, at): (String, String, String, String, i64)| {
        let (_, binding) = rows::binding((name, volume, uid, mark))?;
        Ok(Happening {
            at: Timestamp::from_millis(at),
            what: What::Bound(Bound {
                volume: binding.volume,
                mark: binding.mark,
            }),
        })
    };
    Ok(rows::each("vd_bindings", &read, &mut Vec::new(), decode))
}

async fn pauses(tx: &mut Work, name: &VolumeName) -> Result<Vec<Happening>, StoreError> {
    let read = tx
        .sql(
            "SELECT name, until_at, reason, paused_at FROM vd_pauses \
             WHERE appliance = ? AND name IN (?, ?) ORDER BY name DESC",
        )
        .mine()
        .bind(name.as_str())
        .bind(rows::EVERYTHING)
        .rows()
        .await?;
    let decode = |(name, until, reason, at): (String, i64, String, i64)| {
        Ok(Happening {
            at: Timestamp::from_millis(at),
            what: What::Paused(PauseNote {
                until: Timestamp::from_millis(until),
                everything: name == rows::EVERYTHING,
                reason,
            }),
        })
    };
    Ok(rows::each("vd_pauses", &read, &mut Vec::new(), decode))
}

async fn approvals(tx: &mut Work, name: &VolumeName) -> Result<Vec<Happening>, StoreError> {
    let read = tx
        .sql(
            "SELECT name, action, until_at, digest, reason, approved_at FROM vd_approvals \
             WHERE appliance = ? AND name = ? ORDER BY approved_at DESC LIMIT ?",
        )
        .mine()
        .bind(name.as_str())
        .bind(i64::from(TOLD_MAX))
        .rows()
        .await?;
    type Columns = (String, String, i64, String, String, i64);
    let decode = |(_, action, until, digest, reason, at): Columns| {
        Ok(Happening {
            at: Timestamp::from_millis(at),
            what: What::Approved(Approval {
                action: rows::json(&action)?,
                until: Timestamp::from_millis(until),
                digest,
                reason,
            }),
        })
    };
    Ok(rows::each("vd_approvals", &read, &mut Vec::new(), decode))
}
