//! Keeps `volume_status`, and the tables of the old daemon, up to date: what the report says, as rows,
//! whenever any of them changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::act::Hands;
use crate::clock::sleep;
use crate::model::{FileState, Place, Reading, VolumeId};
use crate::store::{
    Change, ExportRow, LeftOut, MappingRow, OldTable, StatusRow, StoreError, Telling,
};
use crate::telemetry::chain;

use super::old::Sight;
use super::plans::PlanLog;
use super::report::{FileStatus, Phase, Report, VolumeStatus};
use super::run::Question;

/// How long changes are collected before they are written: a volume passes through several states
/// within one.
const COLLECT: Duration = Duration::from_millis(200);

/// How many times as long as the last writing took it rests: with ten thousand volumes that change
/// all the time, a tenth of a core at most goes into telling.
const REST: u32 = 10;

/// How soon it is tried again after the store could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// Runs until `stop` is cancelled. `changed` tells that the report may say something else. Exports
/// are at this TCP port, or 0.
pub async fn keep_told<T, E>(
    hands: Arc<Hands<T, E>>,
    questions: mpsc::Sender<Question>,
    changed: Arc<Notify>,
    port: u16,
    stop: CancellationToken,
) {
    let telling = async {
        let mut told = Told::default();
        let mut plans = PlanLog::default();
        let mut rest = COLLECT;
        loop {
            sleep(rest).await;
            let begun = hands.clock.now().boot;
            let (to, report) = oneshot::channel();
            let question = Question::Sights(port, to);
            if questions.send(question).await.is_err() {
                return;
            }
            let Ok((report, sights)) = report.await else {
                return;
            };
            let written = match told.write(&hands, rows(&report), sights).await {
                Ok(()) => plans.write(&hands, &report).await,
                failed => failed,
            };
            if let Err(error) = &written {
                // The loop says what is wrong with the store.
                tracing::debug!(
                    error = chain(error),
                    "how volumes stand could not be written; it is tried again"
                );
            }
            let took = hands.clock.now().boot.since(begun);
            rest = if written.is_err() {
                RETRY
            } else {
                changed.notified().await;
                COLLECT.max(took * REST)
            };
        }
    };
    tokio::select! {
        () = telling => {}
        () = stop.cancelled() => {}
    }
}

/// What was written in this run.
#[derive(Debug, Default)]
struct Told {
    /// `None`: nothing yet, and there are rows of the run before.
    statuses: Option<BTreeMap<String, StatusRow>>,
    mappings: Rows<MappingRow>,
    exports: Rows<ExportRow>,
    /// Rows of the old tables that were left out, and that was said.
    left_out: BTreeSet<LeftOut>,
}

impl Told {
    /// Writes what differs from what was written before.
    async fn write<T, E>(
        &mut self,
        hands: &Hands<T, E>,
        statuses: BTreeMap<String, StatusRow>,
        sights: BTreeMap<VolumeId, Sight>,
    ) -> Result<(), StoreError> {
        hands.store.catch_up_operations().await?;
        let (mut mappings, mut exports) = (BTreeMap::new(), BTreeMap::new());
        for (volume, Sight { mapping, export }) in sights {
            mappings.insert(volume, mapping);
            exports.insert(volume, export);
        }
        let (gone, statuses_changed) = self.changed(&statuses);
        let telling = Telling {
            statuses: statuses_changed,
            gone,
            mappings: self.mappings.change(&mappings),
            exports: self.exports.change(&exports),
        };
        if !telling.is_empty() {
            let at = hands.clock.now().wall;
            let left_out = hands.store.tell(&telling, at).await?;
            self.mappings.note(mappings);
            self.exports.note(exports);
            self.leave_out(left_out);
        }
        self.statuses = Some(statuses);
        Ok(())
    }

    fn changed(&self, now: &BTreeMap<String, StatusRow>) -> (Option<Vec<String>>, Vec<StatusRow>) {
        let told = self.statuses.as_ref();
        let is_news = |row: &&StatusRow| told.and_then(|told| told.get(&row.name)) != Some(*row);
        let gone = told.map(|told| {
            let gone = told.keys().filter(|name| !now.contains_key(*name));
            gone.cloned().collect()
        });
        (gone, now.values().filter(is_news).cloned().collect())
    }

    /// Says what was left out, each only once, and forgets that it was told.
    fn leave_out(&mut self, left_out: Vec<LeftOut>) {
        for row in left_out {
            match row.table {
                OldTable::Mappings => drop(self.mappings.0.remove(&row.volume)),
                OldTable::Exports => drop(self.exports.0.remove(&row.volume)),
                OldTable::Operations => {}
            }
            if !self.left_out.contains(&row) {
                tracing::warn!(
                    table = row.table.name(),
                    volume.id = %row.volume,
                    error = row.why,
                    "a row of {} was left out, so who reads that table does not see how the volume \
                     stands; what this daemon does is right all the same",
                    row.table
                );
                self.left_out.insert(row);
            }
        }
    }
}

/// The rows of one of the old tables that were written in this run; `None`: that there is none.
#[derive(Debug)]
struct Rows<R>(BTreeMap<VolumeId, Option<R>>);

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R: Clone + PartialEq> Rows<R> {
    /// What is to be written now.
    fn change(&self, now: &BTreeMap<VolumeId, Reading<R>>) -> Change<R> {
        let mut change = Change::default();
        for (volume, reading) in now {
            let told = self.0.get(volume);
            match reading {
                Reading::Present(row) if told.and_then(Option::as_ref) != Some(row) => {
                    change.rows.push(row.clone());
                }
                Reading::Absent if told != Some(&None) => drop(change.absent.insert(*volume)),
                Reading::Present(_) | Reading::Absent | Reading::Unknown(_) => {}
            }
        }
        change
    }

    /// Notes that it was written.
    fn note(&mut self, now: BTreeMap<VolumeId, Reading<R>>) {
        for (volume, reading) in now {
            match reading {
                Reading::Present(row) => drop(self.0.insert(volume, Some(row))),
                Reading::Absent => drop(self.0.insert(volume, None)),
                Reading::Unknown(_) => {}
            }
        }
    }
}

/// What the report says of every volume, and of every row that never became one.
fn rows(report: &Report) -> BTreeMap<String, StatusRow> {
    let mut sources: BTreeMap<&str, &FileStatus> = BTreeMap::new();
    for file in &report.files {
        for volume in &file.volumes {
            sources.insert(volume.name.as_str(), file);
        }
    }
    let mut rows = BTreeMap::new();
    for file in &report.files {
        if let Place::Row(name) = Place::of(&file.path) {
            // A row whose spec is abandoned, or somebody else's, is still what its writer asks about.
            sources.entry(name).or_insert(file);
            if let Some(row) = refused(name, file) {
                rows.insert(row.name.clone(), row);
            }
        }
    }
    for volume in &report.volumes {
        let source = sources.get(volume.name.as_str()).copied();
        rows.insert(volume.name.to_string(), status(volume, source));
    }
    rows
}

/// A row of which nothing is in force.
fn refused(name: &str, file: &FileStatus) -> Option<StatusRow> {
    if file.problems.is_empty() {
        return None;
    }
    Some(StatusRow {
        name: name.to_owned(),
        source_state: Some(file.state.as_str()),
        observed_revision: file.revision,
        observed_generation: None,
        phase: "Refused".to_owned(),
        is_ready: false,
        volume: None,
        vm: None,
        device_path: None,
        export_name: None,
        message: problems(file),
    })
}

fn problems(file: &FileStatus) -> String {
    let all: Vec<&str> = file.problems.iter().map(|it| it.message.as_str()).collect();
    all.join("; ")
}

fn status(volume: &VolumeStatus, source: Option<&FileStatus>) -> StatusRow {
    let is_current = source.is_none_or(|file| file.state == FileState::Accepted);
    StatusRow {
        name: volume.name.to_string(),
        source_state: source.map(|file| file.state.as_str()),
        observed_revision: source.and_then(|file| file.revision),
        observed_generation: Some(volume.observed_generation),
        phase: format!("{:?}", volume.phase),
        is_ready: is_current && volume.phase == Phase::Ready,
        volume: volume.volume_id,
        vm: volume.attachment.as_ref().map(|at| at.vm),
        device_path: volume
            .device
            .as_ref()
            .and_then(|device| device.by_id.clone()),
        export_name: volume.export.as_ref().map(|it| it.name.to_string()),
        message: match source {
            Some(file) if !file.problems.is_empty() => problems(file),
            Some(_) | None => volume.message.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn of_the_old_tables_only_what_changed_and_is_known_is_written() {
        let volume = VolumeId::new(Uuid::from_u128(1));
        let mut rows: Rows<&str> = Rows::default();
        let nothing = Change::default();
        let row = |text| Change {
            rows: vec![text],
            ..Change::default()
        };
        let gone = Change {
            absent: BTreeSet::from([volume]),
            ..Change::default()
        };
        let unknown = || Reading::Unknown("away".to_owned());
        for (step, reading, expected) in [
            (1, unknown(), &nothing),
            (2, Reading::Absent, &gone),
            (3, Reading::Absent, &nothing),
            (4, Reading::Present("a"), &row("a")),
            (5, Reading::Present("a"), &nothing),
            (6, unknown(), &nothing),
            (7, Reading::Present("a"), &nothing),
            (8, Reading::Present("b"), &row("b")),
            (9, Reading::Absent, &gone),
        ] {
            let now = BTreeMap::from([(volume, reading)]);
            assert_eq!(rows.change(&now), *expected, "step {step}");
            rows.note(now);
        }
    }
}
