//! Accepted specs and the files and rows they come from.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Store;
use super::StoreError;
use super::db::Work;
use super::rows::{self, Head, Skipped, Unreadable};
use crate::model::desired::Generation;
use crate::model::{
    AcceptedDocument, DesiredVolume, Owner, Presence, SourceChange, SourceFile, SpecUid, Timestamp,
    VolumeName,
};

/// What became of the accepted documents of a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Those that are stored, as they are in force now.
    pub volumes: Vec<DesiredVolume>,
    /// Those whose stored row cannot be understood; they are left as they were.
    pub skipped: Vec<Skipped>,
}

/// A spec as it is stored, for people and other programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredSpec {
    /// Its name.
    pub name: VolumeName,
    /// Whose it is, or was.
    pub owner: Owner,
    /// Which version it is.
    pub generation: Generation,
    /// Whether it is in force.
    pub presence: SpecPresence,
    /// What it says, as it was written.
    pub manifest: serde_json::Value,
}

/// Whether a stored spec is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecPresence {
    /// It is.
    Declared,
    /// It is gone; its reclaim policy takes over.
    Abandoned,
}

/// Most versions of a spec that are kept, for people.
const VERSIONS_KEPT: i64 = 20;

/// Rows written by one statement, each of which is handed to the connection's thread and back.
const ROWS: usize = 200;

const DOING: &str = "store what the spec files say";

impl Store {
    /// Stores what one look at the spec files changed, all or nothing.
    ///
    /// A name gets its uid once and keeps it for ever. Its generation grows only if its
    /// manifest changed; a move to another file or a return after being abandoned does not
    /// count. Calling again with the same change changes nothing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`]; a single row that cannot be
    /// understood is skipped.
    pub async fn accept(
        &self,
        change: &SourceChange,
        at: Timestamp,
    ) -> Result<Accepted, StoreError> {
        let SourceChange {
            accepted,
            abandoned,
            files,
            forgotten,
        } = change;
        let mut tx = self.write(DOING).await?;
        let mut result = Accepted::default();
        for documents in accepted.chunks(ROWS) {
            store(&mut tx, documents, at, &mut result).await?;
        }
        for name in abandoned {
            abandon(&mut tx, name).await?;
        }
        for files in files.chunks(ROWS) {
            put_files(&mut tx, files).await?;
        }
        for path in forgotten {
            tx.sql("DELETE FROM vd_source_files WHERE appliance = ? AND path = ?")
                .mine()
                .bind(path)
                .execute()
                .await?;
        }
        tx.commit().await?;
        Ok(result)
    }

    /// Every spec, or the one of this name, in order of names. Also those that this version cannot act
    /// upon; a row that cannot be read at all is left out.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn specs(&self, name: Option<&VolumeName>) -> Result<Vec<StoredSpec>, StoreError> {
        const ALL: &str = "SELECT name, owner, generation, abandoned, manifest FROM vd_specs \
                           WHERE appliance = ? ORDER BY name";
        const ONE: &str = "SELECT name, owner, generation, abandoned, manifest FROM vd_specs \
                           WHERE appliance = ? AND name = ?";
        let mut tx = self.read("read specs").await?;
        let read = match name {
            None => tx.sql(ALL).mine(),
            Some(name) => tx.sql(ONE).mine().bind(name.as_str()),
        };
        let read = read.rows().await?;
        tx.commit().await?;
        let mut skipped = Vec::new();
        let specs = rows::each("vd_specs", &read, &mut skipped, rows::stored_spec);
        for Skipped { key, reason, .. } in skipped {
            tracing::warn!(volume.name = key, "its spec cannot be shown: {reason}");
        }
        Ok(specs)
    }

    /// Records how much time has counted, in all, towards the grace periods of abandoned
    /// specs. What was counted never shrinks; names that returned meanwhile are left alone.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn count_abandoned(
        &self,
        counted: &[(VolumeName, Duration)],
    ) -> Result<(), StoreError> {
        const DOING: &str = "record the time counted for abandoned specs";
        let mut tx = self.write(DOING).await?;
        for (name, counted) in counted {
            let millis = i64::try_from(counted.as_millis()).unwrap_or(i64::MAX);
            tx.sql(
                "UPDATE vd_specs SET counted_ms = ? \
                 WHERE appliance = ? AND name = ? AND abandoned = 1 AND counted_ms < ?",
            )
            .bind(millis)
            .mine()
            .bind(name.as_str())
            .bind(millis)
            .execute()
            .await?;
        }
        tx.commit().await
    }
}

/// Stores documents of different names, and says in `result` what became of each.
async fn store(
    tx: &mut Work,
    accepted: &[AcceptedDocument],
    at: Timestamp,
    result: &mut Accepted,
) -> Result<(), StoreError> {
    let mut stored = heads(tx, accepted).await?;
    let mut new = Vec::new();
    let mut versions = Vec::new();
    for document in accepted {
        let AcceptedDocument {
            document,
            manifest,
            owner,
        } = document;
        // Keys are sorted: equal documents are equal text.
        let manifest = rows::to_json(manifest);
        let head = match stored.remove(document.name.as_str()).transpose() {
            Ok(head) => head,
            Err(reason) => {
                result.skipped.push(Skipped {
                    table: "vd_specs",
                    key: document.name.to_string(),
                    reason,
                });
                continue;
            }
        };
        let volume = DesiredVolume {
            document: document.clone(),
            uid: head
                .as_ref()
                .map_or_else(|| SpecUid::new(Uuid::new_v4()), |head| head.uid),
            generation: match &head {
                None => 1,
                Some(head) if head.manifest == manifest => head.generation,
                Some(head) => head.generation.saturating_add(1),
            },
            owner: owner.clone(),
            presence: Presence::Declared,
        };
        let index = result.volumes.len();
        match head {
            None => new.push((index, manifest)),
            Some(head) if head.generation == volume.generation => redeclare(tx, &volume).await?,
            Some(_) => {
                update(tx, &volume, &manifest, at).await?;
                versions.push((index, manifest));
            }
        }
        result.volumes.push(volume);
    }
    insert(tx, &result.volumes, &new, at).await?;
    versions.append(&mut new);
    keep_versions(tx, &result.volumes, &versions, at).await
}

/// What is stored of the names of `accepted`.
async fn heads(
    tx: &mut Work,
    accepted: &[AcceptedDocument],
) -> Result<BTreeMap<String, Result<Head, Unreadable>>, StoreError> {
    let names = accepted
        .iter()
        .map(|document| document.document.name.as_str().into());
    let read = tx
        .sql(
            "SELECT name, uid, generation, manifest FROM vd_specs WHERE appliance = ? AND name IN ",
        )
        .mine()
        .list(names)
        .rows()
        .await?;
    let heads = read.iter();
    Ok(heads
        .map(|row| (row.text(0).unwrap_or_default(), rows::head(row)))
        .collect())
}

/// Stores names that are new; `new` gives the place of each among `volumes`, and its manifest.
async fn insert(
    tx: &mut Work,
    volumes: &[DesiredVolume],
    new: &[(usize, String)],
    at: Timestamp,
) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let mut query = tx.sql(
        "INSERT INTO vd_specs (appliance, name, uid, generation, owner, manifest, accepted_at, \
                               abandoned, counted_ms) VALUES ",
    );
    for (index, manifest) in new {
        let volume = &volumes[*index];
        query = query.row([
            volume.name().as_str().into(),
            volume.uid.to_string().into(),
            volume.generation.cast_signed().into(),
            volume.owner.to_string().into(),
            manifest.into(),
            at.as_millis().into(),
            0.into(),
            0.into(),
        ]);
    }
    query.execute().await?;
    Ok(())
}
/// The same manifest is written again, or elsewhere.
async fn redeclare(tx: &mut Work, volume: &DesiredVolume) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE vd_specs SET owner = ?, abandoned = 0, counted_ms = 0 \
         WHERE appliance = ? AND name = ?",
    )
    .bind(volume.owner.to_string())
    .mine()
    .bind(volume.name().as_str())
    .execute()
    .await?;
    Ok(())
}

/// Another manifest of a known name.
async fn update(
    tx: &mut Work,
    volume: &DesiredVolume,
    manifest: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE vd_specs SET generation = ?, owner = ?, manifest = ?, accepted_at = ?, \
                             abandoned = 0, counted_ms = 0 \
         WHERE appliance = ? AND name = ?",
    )
    .bind(volume.generation.cast_signed())
    .bind(volume.owner.to_string())
    .bind(manifest)
    .bind(at.as_millis())
    .mine()
    .bind(volume.name().as_str())
    .execute()
    .await?;
    Ok(())
}

/// Adds to the history of names, and drops the oldest version of each that has too many.
async fn keep_versions(
    tx: &mut Work,
    volumes: &[DesiredVolume],
    versions: &[(usize, String)],
    at: Timestamp,
) -> Result<(), StoreError> {
    if versions.is_empty() {
        return Ok(());
    }
    let mut query = tx.sql(
        "INSERT INTO vd_spec_versions (appliance, name, generation, owner, manifest, accepted_at) VALUES ",
    );
    for (index, manifest) in versions {
        let volume = &volumes[*index];
        query = query.row([
            volume.name().as_str().into(),
            volume.generation.cast_signed().into(),
            volume.owner.to_string().into(),
            manifest.into(),
            at.as_millis().into(),
        ]);
    }
    query.execute().await?;
    for (index, _) in versions {
        let volume = &volumes[*index];
        let generation = volume.generation.cast_signed();
        if generation > VERSIONS_KEPT {
            tx.sql(
                "DELETE FROM vd_spec_versions WHERE appliance = ? AND name = ? AND generation <= ?",
            )
            .mine()
            .bind(volume.name().as_str())
            .bind(generation.saturating_sub(VERSIONS_KEPT))
            .execute()
            .await?;
        }
    }
    Ok(())
}

/// Begins to count towards the grace period; a name that is abandoned already counts on.
async fn abandon(tx: &mut Work, name: &VolumeName) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE vd_specs SET abandoned = 1, counted_ms = 0 \
         WHERE appliance = ? AND name = ? AND abandoned = 0",
    )
    .mine()
    .bind(name.as_str())
    .execute()
    .await?;
    Ok(())
}

/// Writes the rows of `files` anew.
async fn put_files(tx: &mut Work, files: &[SourceFile]) -> Result<(), StoreError> {
    tx.sql("DELETE FROM vd_source_files WHERE appliance = ? AND path IN ")
        .mine()
        .list(files.iter().map(|file| (&file.path).into()))
        .execute()
        .await?;
    let mut query = tx.sql(
        "INSERT INTO vd_source_files (appliance, path, hash, device, state, problems, since, revision) \
         VALUES ",
    );
    for file in files {
        let SourceFile {
            path,
            hash,
            device,
            state,
            problems,
            since,
            revision,
        } = file;
        query = query.row([
            path.into(),
            hash.into(),
            device.cast_signed().into(),
            state.as_str().into(),
            rows::to_json(problems).into(),
            since.as_millis().into(),
            (*revision).into(),
        ]);
    }
    query.execute().await?;
    Ok(())
}
