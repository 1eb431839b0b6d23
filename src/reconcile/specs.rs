//! Keeps what is asked for up to date: looks at the spec files, stores what they say, and only
//! then tells the loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::act::Hands;
use crate::clock::sleep;
use crate::model::{DesiredVolume, FileState, Presence, SourceChange, SourceFile, VolumeName};
use crate::plan::{Desired, SourceHealth};
use crate::source::{DirectoryState, Known, SpecDirectory, Watch, Writers};
use crate::store::StoreError;
use crate::telemetry::chain;

use super::core::Event;
use super::files::FilesNews;

/// How often the directory is looked at without an event: inotify cannot see everything.
const RESCAN: Duration = Duration::from_secs(30);
/// How soon again while a file is missing and may be gone, or something could not be stored.
const RECHECK: Duration = Duration::from_secs(1);

/// The task that watches the spec files.
pub struct SpecsTask {
    directory: SpecDirectory,
    specs: BTreeMap<VolumeName, DesiredVolume>,
    files: BTreeMap<String, SourceFile>,
    health: Option<SourceHealth>,
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
            specs: specs
                .into_iter()
                .map(|spec| (spec.name().clone(), spec))
                .collect(),
            files,
            health: None,
        }
    }

    /// Runs until `stop` is cancelled.
    pub async fn run<T, E>(
        mut self,
        hands: Arc<Hands<T, E>>,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) {
        let mut watch = Watch::new(self.directory.path());
        let writers = watch.writers();
        loop {
            let pause = match self.look(&hands, &writers).await {
                Ok(news) => {
                    let files = Event::Files(news.files);
                    if events.send(files).await.is_err() {
                        return;
                    }
                    if news.desired && events.send(Event::Desired(self.desired())).await.is_err() {
                        return;
                    }
                    self.next_look()
                }
                Err(error) => {
                    tracing::error!(
                        error = chain(&error),
                        "what the spec files say could not be stored; what was stored stays in force"
                    );
                    RECHECK
                }
            };
            tokio::select! {
                () = watch.changed() => {}
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks once, and stores what it finds.
    async fn look<T, E>(
        &mut self,
        hands: &Hands<T, E>,
        writers: &Writers,
    ) -> Result<News, StoreError> {
        let now = hands.clock.now();
        let scan = self.directory.read(&self.files, writers, now).await;
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
        let mut news = News {
            desired: !look.change.accepted.is_empty() || !look.change.abandoned.is_empty(),
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
        Desired {
            volumes: self.specs.clone(),
            files: self.health.clone().unwrap_or_default(),
        }
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
