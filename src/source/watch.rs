//! Says when to look at the spec files. An event is a hint: what happened is read, not told.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::files::FILES_MAX;
use crate::clock;
use crate::spec;

/// How long it must be quiet before a look is worth it: an editor or `cp` makes several
/// events within a few milliseconds.
pub const QUIET: Duration = Duration::from_millis(20);

/// How long it may stay noisy before a look happens all the same.
pub const NOISE_MAX: Duration = Duration::from_secs(1);

/// Which spec files somebody has begun to write and not closed yet, as far as the kernel tells.
///
/// A half-written file can be valid: cut off at `---` it has fewer documents, cut off at a line
/// it has no export. So a file is read when its writer is done. Levels still decide: lost events
/// may leave a file in here, or out of it, and the reader waits for neither for ever.
#[derive(Debug, Clone, Default)]
pub struct Writers(Arc<Mutex<BTreeMap<PathBuf, u64>>>);

impl Writers {
    /// The files, each with a number that grows with every write to it.
    pub fn now(&self) -> BTreeMap<PathBuf, u64> {
        self.lock().clone()
    }

    /// Forgets that somebody writes to `path`, unless there was another write since `progress`.
    pub(super) fn forget(&self, path: &Path, progress: u64) {
        let mut open = self.lock();
        if open.get(path) == Some(&progress) {
            open.remove(path);
        }
    }

    /// Keeps the thread that takes events waiting, until the answer is dropped.
    #[cfg(test)]
    pub(super) fn stall(&self) -> MutexGuard<'_, BTreeMap<PathBuf, u64>> {
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, u64>> {
        // It is whole between any two statements, so a panic elsewhere does not matter.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of `event` in `directory`.
    fn note(&self, event: &Event, directory: &Path) {
        let mut open = self.lock();
        if event.need_rescan() {
            open.clear();
        }
        for path in &event.paths {
            let is_spec = |name: &str| spec::is_spec_name(name);
            let name = path.file_name().and_then(OsStr::to_str);
            if path.parent() != Some(directory) || !name.is_some_and(is_spec) {
                continue;
            }
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_)) => {
                    if open.len() < FILES_MAX || open.contains_key(path) {
                        *open.entry(path.clone()).or_default() += 1;
                    }
                }
                // Closed, moved here complete, moved away, or deleted.
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(_))
                | EventKind::Remove(_) => {
                    open.remove(path);
                }
                EventKind::Any
                | EventKind::Access(_)
                | EventKind::Create(_)
                | EventKind::Modify(_)
                | EventKind::Other => {}
            }
        }
    }
}

/// Watches a directory and whatever it takes to notice that the directory itself was replaced.
///
/// A watch follows an inode: a directory that was removed and made again sends nothing any
/// more. So the nearest existing parent is watched too, and everything is watched anew
/// after each event. What inotify cannot tell (an edit behind a symbolic link, a network
/// file system) is left to the caller's slow rescan.
pub struct Watch {
    directory: PathBuf,
    events: Arc<Notify>,
    /// An event was taken that is not reported yet.
    noticed: bool,
    /// `None` where the kernel gives no watches; then only the caller's rescan looks.
    watcher: Option<RecommendedWatcher>,
    watched: Vec<PathBuf>,
    writers: Writers,
}

impl Watch {
    /// Watches `directory`, which need not be there yet. Does not fail: without watches
    /// [`Watch::changed`] never returns, and the caller's slow rescan has to do.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        let events = Arc::new(Notify::new());
        let writers = Writers::default();
        let (wake, about) = (Arc::clone(&events), directory.clone());
        let noted = writers.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            match &event {
                Ok(event) => noted.note(event, &about),
                Err(_) => noted.lock().clear(),
            }
            // An error, such as lost events, is a reason to look as well.
            if event.map_or(true, |event| matters(&event, &about)) {
                wake.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(
                    error = %error,
                    "cannot watch for changed spec files; only the slow rescan notices them"
                );
            })
            .ok();
        let mut watch = Self {
            directory,
            events,
            noticed: false,
            watcher,
            watched: Vec::new(),
            writers,
        };
        watch.arm();
        watch
    }

    /// Who writes to the files; stays up to date.
    pub fn writers(&self) -> Writers {
        self.writers.clone()
    }

    /// Waits until something may have changed and it is quiet again.
    ///
    /// Cancel-safe: what was noticed and not yet returned is returned by the next call.
    pub async fn changed(&mut self) {
        if !self.noticed {
            self.events.notified().await;
            self.noticed = true;
        }
        quiet(&self.events).await;
        self.noticed = false;
        // The caller looks after this: what happens between two watches is seen then.
        self.arm();
    }

    fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for path in self.watched.drain(..) {
            // Fails if it is gone, and then there is nothing to undo.
            let _ = watcher.unwatch(&path);
        }
        let parent = self
            .directory
            .ancestors()
            .skip(1)
            .find(|path| path.is_dir());
        for path in [Some(self.directory.as_path()), parent]
            .into_iter()
            .flatten()
        {
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => self.watched.push(path.to_owned()),
                Err(error) => tracing::debug!(
                    path = %path.display(),
                    error = %error,
                    "cannot watch {}", path.display()
                ),
            }
        }
    }
}

/// Waits for [`QUIET`] without events, but not longer than [`NOISE_MAX`].
async fn quiet(events: &Notify) {
    let enough = clock::sleep(NOISE_MAX);
    tokio::pin!(enough);
    loop {
        tokio::select! {
            () = events.notified() => {}
            () = clock::sleep(QUIET) => return,
            () = &mut enough => return,
        }
    }
}

/// Whether an event can mean that the directory, or a file in it, is another than before.
/// Reading the files makes events too; those must not, or each look would cause the next.
fn matters(event: &Event, directory: &Path) -> bool {
    let changes = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    };
    let near = |path: &PathBuf| path.starts_with(directory) || directory.starts_with(path);
    changes && (event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(near))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_change_and_endless_noise_does_not_hold_it_back() {
        let events = Notify::new();
        let start = Instant::now();
        let few = async {
            for _ in 0..3 {
                clock::sleep(QUIET / 2).await;
                events.notify_one();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! { () = quiet(&events) => {}, () = few => {} }
        assert_eq!(start.elapsed(), QUIET / 2 * 3 + QUIET);

        let start = Instant::now();
        let endless = async {
            loop {
                clock::sleep(QUIET / 2).await;
                events.notify_one();
            }
        };
        tokio::select! { () = quiet(&events) => {}, () = endless => {} }
        assert_eq!(start.elapsed(), NOISE_MAX);
    }

    /// Long enough for any machine; only a failing test waits so long.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn noticed(watch: &mut Watch, what: &str) {
        timeout(PATIENCE, watch.changed()).await.expect(what);
    }

    #[tokio::test]
    async fn every_way_to_change_the_directory_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("etc/specs");
        let mut watch = Watch::new(&dir);
        fs::create_dir_all(&dir).unwrap();
        noticed(&mut watch, "made after it was watched").await;
        fs::write(dir.join("a.yaml"), "x").unwrap();
        noticed(&mut watch, "written").await;
        fs::write(dir.join(".a.tmp"), "y").unwrap();
        fs::rename(dir.join(".a.tmp"), dir.join("a.yaml")).unwrap();
        noticed(&mut watch, "replaced").await;
        fs::remove_file(dir.join("a.yaml")).unwrap();
        noticed(&mut watch, "deleted").await;
        fs::rename(&dir, root.path().join("old")).unwrap();
        noticed(&mut watch, "moved away").await;
        fs::create_dir(&dir).unwrap();
        noticed(&mut watch, "made again").await;
        fs::write(dir.join("b.yaml"), "z").unwrap();
        noticed(&mut watch, "written in the new one").await;
    }

    #[tokio::test]
    async fn a_swapped_link_to_the_directory_is_noticed() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        for release in ["1", "2"] {
            fs::create_dir(root.path().join(release)).unwrap();
        }
        let dir = root.path().join("specs");
        symlink("1", &dir).unwrap();
        let mut watch = Watch::new(&dir);
        symlink("2", root.path().join("next")).unwrap();
        fs::rename(root.path().join("next"), &dir).unwrap();
        noticed(&mut watch, "swapped").await;
        fs::write(root.path().join("2/a.yaml"), "x").unwrap();
        noticed(&mut watch, "written behind the new link").await;
    }

    #[tokio::test]
    async fn looking_does_not_cause_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(dir.path());
        fs::write(dir.path().join("a.yaml"), "x").unwrap();
        noticed(&mut watch, "written").await;
        for entry in fs::read_dir(dir.path()).unwrap() {
            fs::read(entry.unwrap().path()).unwrap();
        }
        let again = timeout(QUIET * 6, watch.changed()).await;
        assert!(again.is_err(), "reading and watching anew are no events");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(dir.path());
        watch.events.notify_one();
        let dropped = timeout(QUIET / 2, watch.changed()).await;
        assert!(dropped.is_err(), "it was not quiet for long enough");
        noticed(&mut watch, "noticed before").await;
    }

    #[test]
    fn what_reading_causes_and_what_others_do_does_not_matter() {
        use notify::event::{CreateKind, Flag};
        let dir = Path::new("/etc/vd/specs");
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let create = EventKind::Create(CreateKind::Any);
        for (kind, path, expected) in [
            (open, "/etc/vd/specs/a.yaml", false),
            (written, "/etc/vd/specs/a.yaml", true),
            (create, "/etc/vd/specs/..data", true),
            (create, "/etc/vd/specs", true),
            (create, "/etc/vd", true),
            (create, "/etc/vd/state.db-wal", false),
            (create, "/etc/vd/specs-old", false),
        ] {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(matters(&event, dir), expected, "{kind:?} {path}");
        }
        assert!(matters(
            &Event::new(EventKind::Other).set_flag(Flag::Rescan),
            dir
        ));
    }
}
