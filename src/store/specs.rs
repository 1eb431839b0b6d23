//! Accepted specs and the files they come from.

use std::time::Duration;

use uuid::Uuid;

use super::error::{StoreError, failed};
use super::rows::{self, Skipped, Unreadable};
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
        for document in accepted {
            let stored = store(&mut tx, document, at).await.map_err(failed(DOING))?;
            match stored {
                Ok(volume) => result.volumes.push(volume),
                Err(reason) => result.skipped.push(Skipped {
                    table: "vd_specs",
                    key: document.document.name.to_string(),
                    reason,
                }),
            }
        }
        for name in abandoned {
            abandon(&mut tx, name).await.map_err(failed(DOING))?;
        }
        for file in files {
            put_file(&mut tx, file).await.map_err(failed(DOING))?;
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

/// Stores one document; `Err` says why its row cannot be understood.
async fn store(
    tx: &mut Write,
    accepted: &AcceptedDocument,
    at: Timestamp,
) -> Result<Result<DesiredVolume, Unreadable>, sqlx::Error> {
    let AcceptedDocument {
        document,
        manifest,
        owner,
    } = accepted;
    // Keys are sorted: equal documents are equal text.
    let manifest = rows::to_json(manifest);
    let stored = sqlx::query("SELECT uid, generation, manifest FROM vd_specs WHERE name = ?")
        .bind(document.name.as_str())
        .fetch_optional(&mut **tx)
        .await?;
    let stored = match stored.as_ref().map(rows::head).transpose() {
        Ok(stored) => stored,
        Err(reason) => return Ok(Err(reason)),
    };
    let volume = DesiredVolume {
        document: document.clone(),
        uid: stored
            .as_ref()
            .map_or_else(|| SpecUid::new(Uuid::new_v4()), |stored| stored.uid),
        generation: match &stored {
            None => 1,
            Some(stored) if stored.manifest == manifest => stored.generation,
            Some(stored) => stored.generation.saturating_add(1),
        },
        owner: owner.clone(),
        presence: Presence::Declared,
    };
    match stored {
        None => insert(tx, &volume, &manifest, at).await?,
        Some(stored) if stored.generation == volume.generation => redeclare(tx, &volume).await?,
        Some(_) => update(tx, &volume, &manifest, at).await?,
    }
    Ok(Ok(volume))
}

async fn insert(
    tx: &mut Write,
    volume: &DesiredVolume,
    manifest: &str,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO vd_specs (name, uid, generation, owner, manifest, accepted_at, abandoned, \
                               counted_ms) \
         VALUES (?, ?, ?, ?, ?, ?, 0, 0)",
    )
    .bind(volume.name().as_str())
    .bind(volume.uid.to_string())
    .bind(volume.generation.cast_signed())
    .bind(volume.owner.to_string())
    .bind(manifest)
    .bind(at.as_millis())
    .execute(&mut **tx)
    .await?;
    keep_version(tx, volume, manifest, at).await
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
    keep_version(tx, volume, manifest, at).await
}

/// Adds to the history of a name, and drops its oldest version once there are too many.
async fn keep_version(
    tx: &mut Write,
    volume: &DesiredVolume,
    manifest: &str,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let (name, generation) = (volume.name().as_str(), volume.generation.cast_signed());
    sqlx::query(
        "INSERT INTO vd_spec_versions (name, generation, manifest, accepted_at) \
         VALUES (?, ?, ?, ?)",
    )
    .bind(name)
    .bind(generation)
    .bind(manifest)
    .bind(at.as_millis())
    .execute(&mut **tx)
    .await?;
    if generation > VERSIONS_KEPT {
        sqlx::query("DELETE FROM vd_spec_versions WHERE name = ? AND generation <= ?")
            .bind(name)
            .bind(generation.saturating_sub(VERSIONS_KEPT))
            .execute(&mut **tx)
            .await?;
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

async fn put_file(tx: &mut Write, file: &SourceFile) -> Result<(), sqlx::Error> {
    let SourceFile {
        path,
        hash,
        device,
        state,
        problems,
        since,
    } = file;
    let problems = rows::to_json(problems);
    let updated = sqlx::query(
        "UPDATE vd_source_files SET hash = ?, device = ?, state = ?, problems = ?, since = ? \
         WHERE path = ?",
    )
    .bind(hash)
    .bind(device.cast_signed())
    .bind(state.as_str())
    .bind(&problems)
    .bind(since.as_millis())
    .bind(path)
    .execute(&mut **tx)
    .await?;
    if updated.rows_affected() == 0 {
        sqlx::query(
            "INSERT INTO vd_source_files (path, hash, device, state, problems, since) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(path)
        .bind(hash)
        .bind(device.cast_signed())
        .bind(state.as_str())
        .bind(&problems)
        .bind(since.as_millis())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
