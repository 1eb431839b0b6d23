//! Keeps `volume_status` up to date: what the report says, as rows, whenever any of them changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::act::Hands;
use crate::clock::sleep;
use crate::model::{FileState, Place};
use crate::store::StatusRow;
use crate::telemetry::chain;

use super::report::{FileStatus, Phase, Report, VolumeStatus};
use super::run::Question;

/// How long changes are collected before they are written: a volume passes through several states
/// within one.
const COLLECT: Duration = Duration::from_millis(200);

/// How soon it is tried again after the store could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// Runs until `stop` is cancelled. `changed` tells that the report may say something else.
pub async fn keep_told<T, E>(
    hands: Arc<Hands<T, E>>,
    questions: mpsc::Sender<Question>,
    changed: Arc<Notify>,
    stop: CancellationToken,
) {
    let telling = async {
        let mut told: Option<BTreeMap<String, StatusRow>> = None;
        let mut fails = false;
        loop {
            sleep(if fails { RETRY } else { COLLECT }).await;
            let (to, report) = oneshot::channel();
            if questions.send(Question::Report(to)).await.is_err() {
                return;
            }
            let Ok(report) = report.await else { return };
            let now = rows(&report);
            let written = write(&hands, told.as_ref(), &now).await;
            match written {
                Ok(()) => told = Some(now),
                // The loop says what is wrong with the store.
                Err(ref error) => tracing::debug!(
                    error = chain(error),
                    "volume_status could not be written; it is tried again"
                ),
            }
            fails = written.is_err();
            if !fails {
                changed.notified().await;
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = stop.cancelled() => {}
    }
}

/// Writes what differs from what was written before, in this run.
async fn write<T, E>(
    hands: &Hands<T, E>,
    told: Option<&BTreeMap<String, StatusRow>>,
    now: &BTreeMap<String, StatusRow>,
) -> Result<(), crate::store::StoreError> {
    let is_news = |row: &&StatusRow| told.and_then(|told| told.get(&row.name)) != Some(*row);
    let news: Vec<StatusRow> = now.values().filter(is_news).cloned().collect();
    let gone = told.map(|told| -> Vec<String> {
        let gone = told.keys().filter(|name| !now.contains_key(*name));
        gone.cloned().collect()
    });
    if news.is_empty() && gone.as_ref().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    let at = hands.clock.now().wall;
    hands.store.put_statuses(&news, gone.as_deref(), at).await
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
