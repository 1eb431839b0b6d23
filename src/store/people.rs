//! What people said to the daemon, and the account it is known to use: pauses, disowned claims.

use super::error::{StoreError, failed};
use super::{Store, rows};
use crate::model::{AccountMark, SpecUid, Timestamp, VolumeId, VolumeName};

impl Store {
    /// Leaves a spec, or everything (`None`), alone until `until`. What was said of it before
    /// no longer counts. Says whether there is such a spec.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn pause(
        &self,
        name: Option<&VolumeName>,
        until: Timestamp,
        reason: &str,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "record a pause";
        let mut tx = self.write(DOING).await?;
        if let Some(name) = name {
            let known: Option<String> =
                sqlx::query_scalar("SELECT name FROM vd_specs WHERE name = ?")
                    .bind(name.as_str())
                    .fetch_optional(&mut *tx)
                    .await
                    .map_err(failed(DOING))?;
            if known.is_none() {
                return Ok(false);
            }
        }
        let name = name.map_or(rows::EVERYTHING, VolumeName::as_str);
        sqlx::query("DELETE FROM vd_pauses WHERE name = ?")
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(failed(DOING))?;
        sqlx::query(
            "INSERT INTO vd_pauses (name, until_at, reason, paused_at) VALUES (?, ?, ?, ?)",
        )
        .bind(name)
        .bind(until.as_millis())
        .bind(reason)
        .bind(self.clock.now().wall.as_millis())
        .execute(&mut *tx)
        .await
        .map_err(failed(DOING))?;
        tx.commit().await.map_err(failed(DOING))?;
        Ok(true)
    }

    /// Ends the pause of a spec, or of everything (`None`); the pauses of single specs are apart
    /// from that of everything. Says whether there was one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn resume(&self, name: Option<&VolumeName>) -> Result<bool, StoreError> {
        const DOING: &str = "end a pause";
        let mut tx = self.write(DOING).await?;
        let deleted = sqlx::query("DELETE FROM vd_pauses WHERE name = ?")
            .bind(name.map_or(rows::EVERYTHING, VolumeName::as_str))
            .execute(&mut *tx)
            .await
            .map_err(failed(DOING))?;
        tx.commit().await.map_err(failed(DOING))?;
        Ok(deleted.rows_affected() > 0)
    }

    /// Leaves the claims of specs alone that this store knows nothing of: their volumes belong
    /// to nobody from now on.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn disown(&self, claims: &[(SpecUid, VolumeId)]) -> Result<(), StoreError> {
        const DOING: &str = "disown volumes";
        let mut tx = self.write(DOING).await?;
        for (uid, volume) in claims {
            sqlx::query("DELETE FROM vd_disowned WHERE uid = ?")
                .bind(uid.to_string())
                .execute(&mut *tx)
                .await
                .map_err(failed(DOING))?;
            sqlx::query("INSERT INTO vd_disowned (uid, volume_id, disowned_at) VALUES (?, ?, ?)")
                .bind(uid.to_string())
                .bind(volume.to_string())
                .bind(self.clock.now().wall.as_millis())
                .execute(&mut *tx)
                .await
                .map_err(failed(DOING))?;
        }
        tx.commit().await.map_err(failed(DOING))
    }

    /// Records the account that was seen to be the right one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn put_account(&self, account: &AccountMark) -> Result<(), StoreError> {
        const DOING: &str = "record the account";
        let mut tx = self.write(DOING).await?;
        sqlx::query("DELETE FROM vd_account")
            .execute(&mut *tx)
            .await
            .map_err(failed(DOING))?;
        sqlx::query("INSERT INTO vd_account (one, mark, proven_at) VALUES (1, ?, ?)")
            .bind(account.as_str())
            .bind(self.clock.now().wall.as_millis())
            .execute(&mut *tx)
            .await
            .map_err(failed(DOING))?;
        tx.commit().await.map_err(failed(DOING))
    }
}
