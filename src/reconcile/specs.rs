//! Keeps what is asked for up to date: looks at the spec files and the rows of `desired_volumes`,
//! stores what they say, and only then tells the loop. What the API is asked goes through here, too,
//! since nobody else knows who owns what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::act::Hands;
use crate::clock::sleep;
use crate::model::{
    BootTime, DesiredVolume, FileState, Presence, SourceChange, SourceFile, VolumeName,
};
use crate::plan::{Desired, SourceHealth};
use crate::source::{DesiredRows, DirectoryState, Known, SpecDirectory, Watch, Writers};
use crate::store::{Extent, RowReading, Store, StoreError};
use crate::telemetry::chain;

use super::core::Event;
use super::files::FilesNews;

mod asked;

pub use asked::{Ask, Done, OwnError, SpecError};

/// How often the directory is looked at without an event: inotify cannot see everything.
const RESCAN: Duration = Duration::from_secs(30);
/// How soon again while a file is missing and may be gone, or something could not be stored.
const RECHECK: Duration = Duration::from_secs(1);

/// How often it is asked whether rows changed: one small query.
const ROWS: Duration = Duration::from_millis(500);
/// How often all rows are read, whether or not a change left a mark: `TRUNCATE` leaves none.
const ALL_ROWS: Duration = Duration::from_secs(300);
/// How often all rows are read where no change leaves a mark.
const UNMARKED_ROWS: Duration = Duration::from_secs(5);

/// The task that watches the spec files and rows.
pub struct SpecsTask {
    directory: SpecDirectory,
    rows: DesiredRows,
    /// When all rows were last asked for.
    rows_asked: Option<BootTime>,
    /// What led to the rows that were read since anything was last stored.
    marks: BTreeSet<i64>,
    /// Whether rows could be read when that was last tried.
    rows_readable: bool,
    specs: BTreeMap<VolumeName, DesiredVolume>,
    files: BTreeMap<String, SourceFile>,
    health: Option<SourceHealth>,
    /// Whether something was stored since the loop last heard of what is asked for.
    is_untold: bool,
}

/// What the loop has to hear of.
struct News {
    files: FilesNews,
    /// Whether what is asked for, or whether it can be believed, is another than before.
    desired: bool,
}

impl SpecsTask {
    /// A task for the files in `directory`, of which the store knows `specs` and `files`.
    pub fn new(
        directory: &Path,
        specs: Vec<DesiredVolume>,
        files: BTreeMap<String, SourceFile>,
    ) -> Self {
        Self {
            directory: SpecDirectory::new(directory),
            rows: DesiredRows::default(),
            rows_asked: None,
            marks: BTreeSet::new(),
            rows_readable: true,
            specs: specs
                .into_iter()
                .map(|spec| (spec.name().clone(), spec))
                .collect(),
            files,
            health: None,
            is_untold: false,
        }
    }

    /// Runs until `stop` is cancelled.
    pub async fn run<T, E>(
        mut self,
        hands: Arc<Hands<T, E>>,
        events: mpsc::Sender<Event>,
        mut asked: mpsc::Receiver<Ask>,
        stop: CancellationToken,
    ) {
        let mut watch = Watch::new(self.directory.path());
        let writers = watch.writers();
        if let Err(why) = hands.store.marks_rows() {
            tracing::warn!(
                error = why,
                "changes of desired_volumes are noticed within {} s, not at once, since triggers \
                 cannot be made: let the store's user make them (GRANT TRIGGER, and where the binary \
                 log is on log_bin_trust_function_creators = 1), and start this daemon again",
                UNMARKED_ROWS.as_secs()
            );
        }
        loop {
            self.read_all_rows(&hands).await;
            let pause = match self.look(&hands, &writers).await {
                Ok(news) => {
                    // In this order: what is said of a file is about what is decided by then.
                    if news.desired && events.send(Event::Desired(self.desired())).await.is_err() {
                        return;
                    }
                    let files = Event::Files(news.files);
                    if events.send(files).await.is_err() {
                        return;
                    }
                    self.next_look()
                }
                Err(error) => {
                    tracing::error!(
                        error = chain(&error),
                        "what the specs say could not be stored; what was stored stays in force"
                    );
                    RECHECK
                }
            };
            tokio::select! {
                () = watch.changed() => {}
                rows = changed_rows(&hands.store) => self.take_in(rows),
                Some(ask) = asked.recv() => self.answer(ask, &hands, &writers, &events).await,
                () = sleep(pause.min(self.rows_due(&hands))) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Reads all rows, if it is time. What was read before counts while they cannot be read.
    async fn read_all_rows<T, E>(&mut self, hands: &Hands<T, E>) {
        if self.rows_due(hands) > Duration::ZERO {
            return;
        }
        self.rows_asked = Some(hands.clock.now().boot);
        match hands.store.desired_rows(Extent::All).await {
            Ok(rows) => {
                self.take_in(rows);
                if !self.rows_readable {
                    tracing::info!("desired_volumes can be read again");
                }
                self.rows_readable = true;
            }
            Err(error) => {
                if self.rows_readable {
                    tracing::warn!(
                        error = chain(&error),
                        "desired_volumes cannot be read; what was accepted stays in force"
                    );
                }
                self.rows_readable = false;
            }
        }
    }

    /// In how long all rows are to be read.
    fn rows_due<T, E>(&self, hands: &Hands<T, E>) -> Duration {
        let every = match (self.rows_readable, hands.store.marks_rows()) {
            (true, Ok(())) => ALL_ROWS,
            (true, Err(_)) | (false, _) => UNMARKED_ROWS,
        };
        let now = hands.clock.now().boot;
        self.rows_asked.map_or(Duration::ZERO, |asked| {
            every.saturating_sub(now.since(asked))
        })
    }

    fn take_in(&mut self, rows: RowReading) {
        let RowReading { names, rows, marks } = rows;
        self.marks.extend(marks);
        match names {
            Some(names) => self.rows.update(&names, rows),
            None => self.rows.replace(rows),
        }
    }

    /// Looks once, and stores what it finds.
    async fn look<T, E>(
        &mut self,
        hands: &Hands<T, E>,
        writers: &Writers,
    ) -> Result<News, StoreError> {
        let now = hands.clock.now();
        let mut scan = self.directory.read(&self.files, writers, now).await;
        scan.rows = self.rows.scan(&self.files);
        let bindings = if scan.adopts() {
            hands.store.bindings().await?
        } else {
            BTreeMap::new()
        };
        let known = Known {
            files: &self.files,
            specs: &self.specs,
            bindings: &bindings,
        };
        let look = self.directory.judge(known, &scan, now);
        let (health, read) = match look.directory {
            DirectoryState::Readable => (SourceHealth::Sound, Some(now.boot)),
            DirectoryState::Suspect(why) => (SourceHealth::Suspect(why), Some(now.boot)),
            DirectoryState::Unreadable(why) => (SourceHealth::Suspect(why), None),
        };
        let is_missing = |file: &SourceFile| file.state == FileState::Missing;
        let comes_or_goes = |file: &SourceFile| {
            is_missing(file) != self.files.get(&file.path).is_some_and(is_missing)
        };
        let mut news = News {
            desired: std::mem::take(&mut self.is_untold)
                || !look.change.accepted.is_empty()
                || !look.change.abandoned.is_empty()
                || look.change.files.iter().any(comes_or_goes),
            files: FilesNews {
                read,
                files: look.change.files.clone(),
                forgotten: look.change.forgotten.clone(),
            },
        };
        if !look.change.is_empty() {
            let accepted = hands.store.accept(&look.change, now.wall).await?;
            self.take_over(look.change, accepted.volumes);
        }
        self.take_marks_away(&hands.store).await;
        if self.health.as_ref() != Some(&health) {
            match health.doubt() {
                None => tracing::info!("the spec directory is readable"),
                Some(why) => tracing::warn!("the spec directory is not believed: {why}"),
            }
            self.health = Some(health);
            news.desired = true;
        }
        Ok(news)
    }

    /// Takes away the marks whose rows have been stored. What was stored has to be told
    /// whether or not this succeeds: marks that stay only let their rows be read again.
    async fn take_marks_away(&mut self, store: &Store) {
        if self.marks.is_empty() {
            return;
        }
        let marks: Vec<i64> = self.marks.iter().copied().collect();
        match store.take_row_marks(&marks).await {
            Ok(()) => self.marks.clear(),
            Err(error) => tracing::warn!(
                error = chain(&error),
                "marks of changed rows could not be taken away; tried again with the next look"
            ),
        }
    }

    fn take_over(&mut self, change: SourceChange, accepted: Vec<DesiredVolume>) {
        for spec in accepted {
            tracing::info!(
                volume.name = %spec.name(), generation = spec.generation, owner = %spec.owner,
                "spec accepted"
            );
            self.specs.insert(spec.name().clone(), spec);
        }
        for name in change.abandoned {
            tracing::warn!(volume.name = %name, "its spec is gone; its reclaim policy takes over");
            if let Some(spec) = self.specs.get_mut(&name) {
                spec.presence = Presence::Abandoned {
                    counted: Duration::ZERO,
                };
            }
        }
        for path in change.forgotten {
            self.files.remove(&path);
        }
        for file in change.files {
            for problem in &file.problems {
                tracing::warn!(file = file.path, state = %file.state, "{problem}");
            }
            self.files.insert(file.path.clone(), file);
        }
    }

    fn desired(&self) -> Desired {
        let health = self.health.clone().unwrap_or_default();
        Desired::new(self.specs.clone(), health, self.files.values())
    }

    /// A file that is missing, or being written, is looked at again soon, to tell a moment from
    /// an end.
    fn next_look(&self) -> Duration {
        let unsettled = |file: &SourceFile| match file.state {
            FileState::Missing | FileState::Settling => true,
            FileState::Accepted
            | FileState::Invalid
            | FileState::Unreadable
            | FileState::Conflict
            | FileState::RenameSuspected => false,
        };
        if self.files.values().any(unsettled) {
            RECHECK
        } else {
            RESCAN
        }
    }
}

/// Waits until rows changed, and reads those. While the store cannot be read, nothing changed.
///
/// Dropping it loses nothing: the marks stay until they are taken away.
async fn changed_rows(store: &Store) -> RowReading {
    loop {
        sleep(ROWS).await;
        if let Ok(rows) = store.desired_rows(Extent::Marked).await
            && !rows.marks.is_empty()
        {
            return rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sqlx::{Connection as _, SqliteConnection};

    use super::*;
    use crate::act::fake::{FakeCloud, FakeNbd, hands_on};
    use crate::nbd::Withdrawn;

    const SPEC: &str = "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: { name: a }\n\
                        spec: { size: 1GiB, zone: z, diskOffering: o }\n";

    #[tokio::test]
    async fn what_was_stored_is_told_though_marks_cannot_be_taken_away() {
        let root = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}/store.db", root.path().display());
        let cloud = FakeCloud::answering(200, &serde_json::json!({}));
        let hands = hands_on(&url, cloud, FakeNbd::new(Withdrawn::Gone), root.path()).await;
        let specs = root.path().join("specs");
        fs::create_dir(&specs).expect("writable");
        fs::write(specs.join("a.yaml"), SPEC).expect("writable");
        let mut task = SpecsTask::new(&specs, Vec::new(), BTreeMap::new());
        task.marks.insert(1);
        let mut other = SqliteConnection::connect(&url).await.expect("it is there");
        sqlx::raw_sql("DROP TABLE vd_row_marks")
            .execute(&mut other)
            .await
            .expect("there");

        let news = task.look(&hands, &Writers::default()).await;
        let news = news.expect("what it stored is no failure");
        assert!(news.desired, "nobody would ever hear of it otherwise");
        assert_eq!(task.desired().volumes.len(), 1);
        assert_eq!(task.marks.len(), 1, "tried again with the next look");
    }
}
