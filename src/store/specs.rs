//! Accepted specs and the files they come from.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use super::error::{StoreError, failed};
use super::rows::{self, Head, Skipped, Unreadable};
use super::{Store, Write};
use crate::model::{
    AcceptedDocument, DesiredVolume, Presence, SourceChange, SourceFile, SpecUid, Timestamp,
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
            store(&mut tx, documents, at, &mut result)
                .await
                .map_err(failed(DOING))?;
        }
        for name in abandoned {
            abandon(&mut tx, name).await.map_err(failed(DOING))?;
        }
        for files in files.chunks(ROWS) {
            put_files(&mut tx, files).await.map_err(failed(DOING))?;
        }
        for path in forgotten {
            sqlx::query("DELETE FROM vd_source_files WHERE path = ?")
                .bind(path)
                .execute(&mut *tx)
                .await
                .map_err(failed(DOING))?;
        }
        tx.commit().await.map_err(failed(DOING))?;
        Ok(result)
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
            sqlx::query(
                "UPDATE vd_specs SET counted_ms = ? \
                 WHERE name = ? AND abandoned = 1 AND counted_ms < ?",
            )
            .bind(millis)
            .bind(name.as_str())
            .bind(millis)
            .execute(&mut *tx)
            .await
            .map_err(failed(DOING))?;
        }
        tx.commit().await.map_err(failed(DOING))
    }
}

/// Stores documents of different names, and says in `result` what became of each.
async fn store(
    tx: &mut Write,
    accepted: &[AcceptedDocument],
    at: Timestamp,
    result: &mut Accepted,
) -> Result<(), sqlx::Error> {
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
    tx: &mut Write,
    accepted: &[AcceptedDocument],
) -> Result<BTreeMap<String, Result<Head, Unreadable>>, sqlx::Error> {
    let mut query =
        QueryBuilder::new("SELECT name, uid, generation, manifest FROM vd_specs WHERE name IN (");
    let mut names = query.separated(", ");
    for document in accepted {
        names.push_bind(document.document.name.as_str());
    }
    query.push(")");
    let read = query.build().fetch_all(&mut **tx).await?;
    read.iter()
        .map(|row| Ok((row.try_get("name")?, rows::head(row))))
        .collect()
}

/// Stores names that are new; `new` gives the place of each among `volumes`, and its manifest.
async fn insert(
    tx: &mut Write,
    volumes: &[DesiredVolume],
    new: &[(usize, String)],
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::new(
        "INSERT INTO vd_specs (name, uid, generation, owner, manifest, accepted_at, abandoned, \
                               counted_ms) ",
    );
    query.push_values(new, |mut row, (index, manifest)| {
        let volume = &volumes[*index];
        row.push_bind(volume.name().as_str())
            .push_bind(volume.uid.to_string())
            .push_bind(volume.generation.cast_signed())
            .push_bind(volume.owner.to_string())
            .push_bind(manifest)
            .push_bind(at.as_millis())
            .push("0")
            .push("0");
    });
    query.build().execute(&mut **tx).await?;
    Ok(())
}

/// The same manifest is written again, or elsewhere.
async fn redeclare(tx: &mut Write, volume: &DesiredVolume) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE vd_specs SET owner = ?, abandoned = 0, counted_ms = 0 WHERE name = ?")
        .bind(volume.owner.to_string())
        .bind(volume.name().as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Another manifest of a known name.
async fn update(
    tx: &mut Write,
    volume: &DesiredVolume,
    manifest: &str,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE vd_specs SET generation = ?, owner = ?, manifest = ?, accepted_at = ?, \
                             abandoned = 0, counted_ms = 0 \
         WHERE name = ?",
    )
    .bind(volume.generation.cast_signed())
    .bind(volume.owner.to_string())
    .bind(manifest)
    .bind(at.as_millis())
    .bind(volume.name().as_str())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Adds to the history of names, and drops the oldest version of each that has too many.
async fn keep_versions(
    tx: &mut Write,
    volumes: &[DesiredVolume],
    versions: &[(usize, String)],
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    if versions.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::new(
        "INSERT INTO vd_spec_versions (name, generation, manifest, accepted_at) ",
    );
    query.push_values(versions, |mut row, (index, manifest)| {
        let volume = &volumes[*index];
        row.push_bind(volume.name().as_str())
            .push_bind(volume.generation.cast_signed())
            .push_bind(manifest)
            .push_bind(at.as_millis());
    });
    query.build().execute(&mut **tx).await?;
    for (index, _) in versions {
        let volume = &volumes[*index];
        let generation = volume.generation.cast_signed();
        if generation > VERSIONS_KEPT {
            sqlx::query("DELETE FROM vd_spec_versions WHERE name = ? AND generation <= ?")
                .bind(volume.name().as_str())
                .bind(generation.saturating_sub(VERSIONS_KEPT))
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(())
}

/// Begins to count towards the grace period; a name that is abandoned already counts on.
async fn abandon(tx: &mut Write, name: &VolumeName) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE vd_specs SET abandoned = 1, counted_ms = 0 WHERE name = ? AND abandoned = 0",
    )
    .bind(name.as_str())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Writes the rows of `files` anew.
async fn put_files(tx: &mut Write, files: &[SourceFile]) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::new("DELETE FROM vd_source_files WHERE path IN (");
    let mut paths = query.separated(", ");
    for file in files {
        paths.push_bind(&file.path);
    }
    query.push(")");
    query.build().execute(&mut **tx).await?;
    let mut query = QueryBuilder::new(
        "INSERT INTO vd_source_files (path, hash, device, state, problems, since) ",
    );
    query.push_values(files, |mut row, file| {
        let SourceFile {
            path,
            hash,
            device,
            state,
            problems,
            since,
        } = file;
        row.push_bind(path)
            .push_bind(hash)
            .push_bind(device.cast_signed())
            .push_bind(state.as_str())
            .push_bind(rows::to_json(problems))
            .push_bind(since.as_millis());
    });
    query.build().execute(&mut **tx).await?;
    Ok(())
}
