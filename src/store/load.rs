//! Reads everything that is remembered, as one consistent picture.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::db::{Row, Work};
use super::rows::{self, Skipped};
use super::{Store, StoreError, episodes, journal};
use crate::model::memory::{Approved, Binding, Memory, Pauses};
use crate::model::{
    AccountMark, Action, DesiredVolume, Now, Owner, Place, SourceFile, Timestamp, VmId, VolumeId,
    VolumeName,
};
use crate::plan::episode::Open;

/// How far back the guard counts implied steps (I6).
const IMPLIED_WINDOW: Duration = Duration::from_secs(60 * 60);

/// Everything that is remembered.
#[derive(Debug)]
pub struct Loaded {
    /// What the planner remembers; `settled` and `failures` are empty, they are of one run.
    pub memory: Memory,
    /// Accepted specs, by name, those that are abandoned included.
    pub desired: Vec<DesiredVolume>,
    /// Spec files as they were last judged.
    pub files: Vec<SourceFile>,
    /// The VM this store belongs to, once it was told.
    pub vm: Option<VmId>,
    /// The account that was last seen to be the right one.
    pub account: Option<AccountMark>,
    /// Differences that were not seen to be gone. Nothing depends on them.
    pub episodes: Vec<Open>,
    /// Rows that cannot be understood. A name with such a row is not among `desired`:
    /// nothing is done for it, rather than something wrong.
    pub skipped: Vec<Skipped>,
}

const DOING: &str = "read the store";

impl Store {
    /// Reads everything that is remembered, as of one moment.
    ///
    /// # Errors
    /// Only if the database as a whole cannot be read; single rows are skipped.
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        let now = self.clock.now();
        let mut tx = self.read(DOING).await?;
        let mut loaded = self.picture(&mut tx, now).await?;
        tx.commit().await?;
        loaded.quarantine();
        Ok(loaded)
    }

    /// Which volume each spec is about; rows that cannot be understood are left out.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn bindings(&self) -> Result<BTreeMap<VolumeName, Binding>, StoreError> {
        let mut tx = self.read(DOING).await?;
        let bindings = bindings(&mut tx, &mut Vec::new()).await?;
        tx.commit().await?;
        Ok(bindings)
    }

    async fn picture(&self, tx: &mut Work, now: Now) -> Result<Loaded, StoreError> {
        let mut skipped = Vec::new();
        let mut memory = Memory::new(self.instance);

        memory.bindings = bindings(tx, &mut skipped).await?;
        let read = all(
            tx,
            "SELECT volume_id, vm_id FROM vd_placements WHERE appliance = ?",
        )
        .await?;
        memory.placements = rows::each("vd_placements", &read, &mut skipped, rows::placement)
            .into_iter()
            .collect();
        let read = all(
            tx,
            "SELECT export_name, volume_id FROM vd_export_names WHERE appliance = ?",
        )
        .await?;
        memory.export_names = rows::each("vd_export_names", &read, &mut skipped, rows::export_name)
            .into_iter()
            .collect();
        let read = all(
            tx,
            "SELECT name, resolution FROM vd_resolutions WHERE appliance = ?",
        )
        .await?;
        memory.resolutions = rows::each("vd_resolutions", &read, &mut skipped, rows::resolution)
            .into_iter()
            .collect();
        let read = all(
            tx,
            "SELECT volume_id, view FROM vd_views WHERE appliance = ?",
        )
        .await?;
        memory.views = rows::each("vd_views", &read, &mut skipped, rows::view)
            .into_iter()
            .collect();
        let read = all(tx, journal::UNSETTLED).await?;
        memory.intents = rows::each("vd_intents", &read, &mut skipped, rows::intent)
            .into_iter()
            .map(|intent| (intent.name.clone(), intent))
            .collect();
        let hour = i64::try_from(IMPLIED_WINDOW.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp::from_millis(now.wall.as_millis().saturating_sub(hour));
        memory.implied = journal::implied(tx, since, now, &mut skipped).await?;
        memory.deleted = deleted(tx, &mut skipped).await?;
        memory.pauses = pauses(tx, now, &mut skipped).await?;
        memory.approved = approved(tx, now, &mut skipped).await?;
        let read = all(tx, "SELECT uid FROM vd_disowned WHERE appliance = ?").await?;
        let disowned = rows::each("vd_disowned", &read, &mut skipped, |(uid,): (String,)| {
            rows::parse(&uid)
        });
        memory.disowned = disowned.into_iter().collect();
        let read = all(tx, "SELECT mark FROM vd_account WHERE appliance = ?").await?;
        let account = rows::each("vd_account", &read, &mut skipped, |(mark,): (String,)| {
            Ok(AccountMark::new(mark))
        });

        let specs = all(
            tx,
            "SELECT name, uid, generation, owner, manifest, abandoned, counted_ms \
             FROM vd_specs WHERE appliance = ? ORDER BY name",
        )
        .await?;
        let desired = rows::each("vd_specs", &specs, &mut skipped, rows::desired);
        let read = all(
            tx,
            "SELECT path, hash, device, state, problems, since, revision FROM vd_source_files \
             WHERE appliance = ? ORDER BY path",
        )
        .await?;
        let mut files = rows::each("vd_source_files", &read, &mut skipped, rows::file);
        read_again(&mut files, &specs, &skipped);
        let vm = self.vm(tx, &mut skipped).await?;
        memory.is_whole = skipped.is_empty();
        Ok(Loaded {
            memory,
            desired,
            files,
            vm,
            account: account.into_iter().next(),
            episodes: episodes::open(tx).await?,
            skipped,
        })
    }

    async fn vm(
        &self,
        tx: &mut Work,
        skipped: &mut Vec<Skipped>,
    ) -> Result<Option<VmId>, StoreError> {
        let read = all(
            tx,
            "SELECT vm_id FROM vd_instance WHERE appliance = ? AND vm_id IS NOT NULL",
        )
        .await?;
        let vms = rows::each("vd_instance", &read, skipped, |(vm,): (String,)| {
            rows::parse(&vm)
        });
        Ok(vms.first().copied())
    }
}

async fn bindings(
    tx: &mut Work,
    skipped: &mut Vec<Skipped>,
) -> Result<BTreeMap<VolumeName, Binding>, StoreError> {
    let read = all(
        tx,
        "SELECT name, volume_id, uid, mark FROM vd_bindings WHERE appliance = ?",
    )
    .await?;
    let bindings = rows::each("vd_bindings", &read, skipped, rows::binding);
    Ok(bindings.into_iter().collect())
}

async fn pauses(tx: &mut Work, now: Now, skipped: &mut Vec<Skipped>) -> Result<Pauses, StoreError> {
    let read = all(
        tx,
        "SELECT name, until_at, reason FROM vd_pauses WHERE appliance = ?",
    )
    .await?;
    let mut pauses = Pauses::default();
    for (name, pause) in rows::each("vd_pauses", &read, skipped, |row| rows::pause(row, now)) {
        match name {
            Some(name) => drop(pauses.volumes.insert(name, pause)),
            None => pauses.all = Some(pause),
        }
    }
    Ok(pauses)
}

/// Volumes that were deleted, as far as anybody knows.
async fn deleted(
    tx: &mut Work,
    skipped: &mut Vec<Skipped>,
) -> Result<BTreeSet<VolumeId>, StoreError> {
    let read = tx
        .sql(
            "SELECT volume_id FROM vd_intents WHERE appliance = ? AND kind = ? \
             AND outcome IN ('succeeded', 'lost') AND volume_id IS NOT NULL",
        )
        .mine()
        .bind(Action::DELETE)
        .rows()
        .await?;
    let deleted = rows::each("vd_intents", &read, skipped, |(id,): (String,)| {
        rows::parse(&id)
    });
    Ok(deleted.into_iter().collect())
}

/// What was approved and still counts; of two for one spec, the later one. A clock that was set
/// back makes none count for longer.
async fn approved(
    tx: &mut Work,
    now: Now,
    skipped: &mut Vec<Skipped>,
) -> Result<BTreeMap<VolumeName, Approved>, StoreError> {
    let read = tx
        .sql(
            "SELECT name, action, until_at FROM vd_approvals \
             WHERE appliance = ? AND until_at > ? AND approved_at <= ? ORDER BY approved_at",
        )
        .mine()
        .bind(now.wall.as_millis())
        .bind(now.wall.as_millis())
        .rows()
        .await?;
    let approved = rows::each("vd_approvals", &read, skipped, |row| {
        rows::approved(row, now)
    });
    Ok(approved.into_iter().collect())
}

impl Loaded {
    /// Takes every name out of `desired` of which something is remembered that cannot be
    /// understood: an unread binding must not look like a volume yet to be created (I13).
    fn quarantine(&mut self) {
        let Self {
            desired, skipped, ..
        } = self;
        let names: BTreeSet<&str> = skipped
            .iter()
            .filter(|row| NAMED.contains(&row.table))
            .map(|row| row.key.as_str())
            .collect();
        desired.retain(|volume| !names.contains(volume.name().as_str()));
    }
}

/// Forgets the hash of every file whose spec cannot be understood, so that the file is
/// parsed again: a later version may store it in another form, or say what is wrong with it.
fn read_again(files: &mut [SourceFile], specs: &[Row], skipped: &[Skipped]) {
    // Columns: 0 is the name, 3 the owner.
    let places: BTreeSet<String> = specs
        .iter()
        .filter(|row| {
            let name = row.text(0);
            skipped
                .iter()
                .any(|skip| skip.table == "vd_specs" && Some(&skip.key) == name.as_ref())
        })
        .filter_map(|row| match Owner::try_from(row.text(3)?).ok()? {
            Owner::File(path) => Some(path),
            Owner::Db(_) => Some(Place::Row(&row.text(0)?).path()),
            // Only the API can say it again.
            Owner::Api => None,
        })
        .collect();
    for file in files {
        if places.contains(&file.path) {
            file.hash.clear();
        }
    }
}

/// The tables whose key is a spec's name. Intents are read with the name first.
const NAMED: [&str; 4] = ["vd_specs", "vd_bindings", "vd_resolutions", "vd_intents"];

/// All rows of ours that a query with one `?`, the appliance, finds.
async fn all(tx: &mut Work, sql: &str) -> Result<Vec<Row>, StoreError> {
    tx.sql(sql).mine().rows().await
}
