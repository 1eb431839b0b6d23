//! What is remembered beside specs and intents: export names, resolutions, views, our VM.

use super::Store;
use super::StoreError;
use super::journal::PlacementChange;
use super::rows;
use crate::model::memory::{AcceptedView, Resolution};
use crate::model::{ExportName, VmId, VolumeId, VolumeName};

impl Store {
    /// Gives `name` to `volume`, for ever. The inner `Err` says which other volume has it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`], and [`StoreError::Corrupt`] if it
    /// cannot be told whose it is.
    pub async fn claim_export_name(
        &self,
        name: &ExportName,
        volume: VolumeId,
    ) -> Result<Result<(), VolumeId>, StoreError> {
        const DOING: &str = "claim an export name";
        let mut tx = self.write(DOING).await?;
        let stored: Option<(String,)> = tx
            .sql("SELECT volume_id FROM vd_export_names WHERE appliance = ? AND export_name = ?")
            .mine()
            .bind(name.as_str())
            .first()
            .await?;
        if let Some((stored,)) = stored {
            tx.commit().await?;
            let owner: VolumeId = id(&stored)?;
            return Ok(if owner == volume { Ok(()) } else { Err(owner) });
        }
        tx.sql(
            "INSERT INTO vd_export_names (appliance, export_name, volume_id, claimed_at) \
             VALUES (?, ?, ?, ?)",
        )
        .mine()
        .bind(name.as_str())
        .bind(volume.to_string())
        .bind(self.clock.now().wall.as_millis())
        .execute()
        .await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Records where volumes were found as their specs ask.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn put_placements(&self, placed: &[(VolumeId, VmId)]) -> Result<(), StoreError> {
        const DOING: &str = "record where volumes are";
        let mut tx = self.write(DOING).await?;
        let at = self.clock.now().wall;
        for (volume, vm) in placed {
            let change = PlacementChange::Put(*volume, *vm);
            super::journal::place(&mut tx, change, at).await?;
        }
        tx.commit().await
    }

    /// Records what the names in specs were found to mean, all or nothing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn put_resolutions(
        &self,
        found: &[(VolumeName, Resolution)],
    ) -> Result<(), StoreError> {
        const DOING: &str = "record what the names in specs mean";
        if found.is_empty() {
            return Ok(());
        }
        let mut tx = self.write(DOING).await?;
        for (name, resolution) in found {
            let resolution = rows::to_json(resolution);
            let updated = tx
                .sql("UPDATE vd_resolutions SET resolution = ? WHERE appliance = ? AND name = ?")
                .bind(&resolution)
                .mine()
                .bind(name.as_str())
                .execute()
                .await?;
            if updated == 0 {
                tx.sql("INSERT INTO vd_resolutions (appliance, name, resolution) VALUES (?, ?, ?)")
                    .mine()
                    .bind(name.as_str())
                    .bind(&resolution)
                    .execute()
                    .await?;
            }
        }
        tx.commit().await
    }

    /// Records what CloudStack last said of bound volumes; only of those that are given.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn put_views(&self, views: &[(VolumeId, AcceptedView)]) -> Result<(), StoreError> {
        const DOING: &str = "record what CloudStack said";
        if views.is_empty() {
            return Ok(());
        }
        let mut tx = self.write(DOING).await?;
        for (volume, view) in views {
            let (volume, view) = (volume.to_string(), rows::to_json(view));
            let updated = tx
                .sql("UPDATE vd_views SET view = ? WHERE appliance = ? AND volume_id = ?")
                .bind(&view)
                .mine()
                .bind(&volume)
                .execute()
                .await?;
            if updated == 0 {
                tx.sql("INSERT INTO vd_views (appliance, volume_id, view) VALUES (?, ?, ?)")
                    .mine()
                    .bind(&volume)
                    .bind(&view)
                    .execute()
                    .await?;
            }
        }
        tx.commit().await
    }

    /// Ties the store to the VM it runs on, once and for ever (I16). The inner `Err` says
    /// to which other VM it belongs: this is a clone of that one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`], and [`StoreError::Corrupt`] if it
    /// cannot be told whose it is.
    pub async fn set_vm(&self, vm: VmId) -> Result<Result<(), VmId>, StoreError> {
        const DOING: &str = "record which VM the store belongs to";
        let mut tx = self.write(DOING).await?;
        tx.sql("UPDATE vd_instance SET vm_id = ? WHERE appliance = ? AND vm_id IS NULL")
            .bind(vm.to_string())
            .mine()
            .execute()
            .await?;
        let stored: Option<(String,)> = tx
            .sql("SELECT vm_id FROM vd_instance WHERE appliance = ?")
            .mine()
            .first()
            .await?;
        tx.commit().await?;
        let owner: VmId = id(&stored.map_or_else(String::new, |(vm,)| vm))?;
        Ok(if owner == vm { Ok(()) } else { Err(owner) })
    }

    /// Gives the store of VM `from` to VM `to`. Does nothing if it does not belong to `from`.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] and [`StoreError::Failed`].
    pub async fn give_vm(&self, from: VmId, to: VmId) -> Result<(), StoreError> {
        const DOING: &str = "record which VM the store belongs to";
        let mut tx = self.write(DOING).await?;
        tx.sql("UPDATE vd_instance SET vm_id = ? WHERE appliance = ? AND vm_id = ?")
            .bind(to.to_string())
            .mine()
            .bind(from.to_string())
            .execute()
            .await?;
        tx.commit().await
    }
}

fn id<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    text: &str,
) -> Result<T, StoreError> {
    text.parse()
        .map_err(|error: T::Err| StoreError::Corrupt(sqlx::Error::Decode(Box::new(error))))
}
