//! What people said to the daemon, and the account it is known to use: pauses, approvals, disowned
//! claims.

use std::collections::BTreeMap;

use super::StoreError;
use super::{Store, rows};
use crate::model::{AccountMark, Action, SpecUid, Timestamp, VolumeId, VolumeName};

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
            let known: Option<(String,)> = tx
                .sql("SELECT name FROM vd_specs WHERE appliance = ? AND name = ?")
                .mine()
                .bind(name.as_str())
                .first()
                .await?;
            if known.is_none() {
                return Ok(false);
            }
        }
        let name = name.map_or(rows::EVERYTHING, VolumeName::as_str);
        tx.sql("DELETE FROM vd_pauses WHERE appliance = ? AND name = ?")
            .mine()
            .bind(name)
            .execute()
            .await?;
        tx.sql(
            "INSERT INTO vd_pauses (appliance, name, until_at, reason, paused_at) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .mine()
        .bind(name)
        .bind(until.as_millis())
        .bind(reason)
        .bind(self.clock.now().wall.as_millis())
        .execute()
        .await?;
        tx.commit().await?;
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
        let deleted = tx
            .sql("DELETE FROM vd_pauses WHERE appliance = ? AND name = ?")
            .mine()
            .bind(name.map_or(rows::EVERYTHING, VolumeName::as_str))
            .execute()
            .await?;
        tx.commit().await?;
        Ok(deleted > 0)
    }

    /// Lets steps pass until `until`. `digest` stands for all of them.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn approve(
        &self,
        digest: &str,
        steps: &BTreeMap<VolumeName, Action>,
        until: Timestamp,
        reason: &str,
    ) -> Result<(), StoreError> {
        const DOING: &str = "record an approval";
        let at = self.clock.now().wall;
        let mut tx = self.write(DOING).await?;
        for (name, action) in steps {
            // Said twice within a moment, it is the same.
            tx.sql("DELETE FROM vd_approvals WHERE appliance = ? AND name = ? AND approved_at = ?")
                .mine()
                .bind(name.as_str())
                .bind(at.as_millis())
                .execute()
                .await?;
            tx.sql(
                "INSERT INTO vd_approvals \
                 (appliance, name, approved_at, until_at, digest, action, reason) \
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .mine()
            .bind(name.as_str())
            .bind(at.as_millis())
            .bind(until.as_millis())
            .bind(digest)
            .bind(rows::to_json(action))
            .bind(reason)
            .execute()
            .await?;
        }
        tx.commit().await
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
            tx.sql("DELETE FROM vd_disowned WHERE appliance = ? AND uid = ?")
                .mine()
                .bind(uid.to_string())
                .execute()
                .await?;
            tx.sql(
                "INSERT INTO vd_disowned (appliance, uid, volume_id, disowned_at) \
                 VALUES (?, ?, ?, ?)",
            )
            .mine()
            .bind(uid.to_string())
            .bind(volume.to_string())
            .bind(self.clock.now().wall.as_millis())
            .execute()
            .await?;
        }
        tx.commit().await
    }

    /// Records the account that was seen to be the right one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn put_account(&self, account: &AccountMark) -> Result<(), StoreError> {
        const DOING: &str = "record the account";
        let mut tx = self.write(DOING).await?;
        tx.sql("DELETE FROM vd_account WHERE appliance = ?")
            .mine()
            .execute()
            .await?;
        tx.sql("INSERT INTO vd_account (appliance, mark, proven_at) VALUES (?, ?, ?)")
            .mine()
            .bind(account.as_str())
            .bind(self.clock.now().wall.as_millis())
            .execute()
            .await?;
        tx.commit().await
    }
}
