//! Tells that something may have changed in `/dev/disk/by-id`.
//!
//! Only wakes the caller, who then scans: what changed is never taken from an event. Nothing
//! tells of changes in sysfs (size, serial), so the caller also scans now and then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::Host;

/// A watch on the links of this machine's disks.
#[derive(Debug)]
pub struct HostWatch {
    watcher: RecommendedWatcher,
    dev: PathBuf,
    watches_dev: bool,
    changed: Arc<Notify>,
}

/// Why changes will not be noticed at once.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// inotify is not to be had.
    #[error("cannot watch for changes: check fs.inotify.max_user_instances")]
    Start(#[source] notify::Error),
    /// A directory cannot be watched.
    #[error("cannot watch {path} for changes")]
    Watch {
        /// Which directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: notify::Error,
    },
}

impl Host {
    /// Starts to watch `dev/disk/by-id`, whether it exists yet or not.
    ///
    /// # Errors
    /// [`WatchError`] if inotify is not to be had or there is no `dev`.
    pub fn watch(&self) -> Result<HostWatch, WatchError> {
        let changed = Arc::new(Notify::new());
        let wake = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, is_relevant) {
                wake.notify_one();
            }
        })
        .map_err(WatchError::Start)?;
        let mut watch = HostWatch {
            watcher,
            dev: self.path("dev"),
            watches_dev: false,
            changed,
        };
        watch.arm()?;
        Ok(watch)
    }
}

impl HostWatch {
    /// Waits until links may have changed since the last return, or since the watch was started.
    /// Any number of changes is one return.
    ///
    /// Cancel-safe: a change that was not returned is kept for the next call.
    ///
    /// # Errors
    /// [`WatchError`] once a directory can no longer be watched; the caller then has its slow
    /// scan only, and may call again.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        self.changed.notified().await;
        self.arm()
    }

    /// Watches the directories that are there now, parents first, so that one that appears
    /// meanwhile is noticed by its parent's watch.
    ///
    /// udev removes `by-id` and even `disk` with their last entry and makes them again; a watch on
    /// the old directory then sees nothing.
    fn arm(&mut self) -> Result<(), WatchError> {
        let disk = self.dev.join("disk");
        // Every open(2) of, say, /dev/null is an event in /dev, so it is watched only while there
        // is no disk/ to watch.
        if self.add(&disk)? {
            if self.watches_dev {
                // An error means that it is not watched: just as wanted.
                let _ = self.watcher.unwatch(&self.dev);
                self.watches_dev = false;
            }
        } else {
            if !self.add(&self.dev.clone())? {
                return Err(WatchError::Watch {
                    path: self.dev.clone(),
                    source: notify::Error::path_not_found(),
                });
            }
            self.watches_dev = true;
            if !self.add(&disk)? {
                return Ok(());
            }
        }
        self.add(&disk.join("by-id")).map(|_| ())
    }

    /// Watches a directory; false if it does not exist. Doing so again changes nothing.
    fn add(&mut self, path: &Path) -> Result<bool, WatchError> {
        match self.watcher.watch(path, RecursiveMode::NonRecursive) {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(source) => Err(WatchError::Watch {
                path: path.to_owned(),
                source,
            }),
        }
    }
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        notify::ErrorKind::Generic(_)
        | notify::ErrorKind::WatchNotFound
        | notify::ErrorKind::InvalidConfig(_)
        | notify::ErrorKind::MaxFilesWatch => false,
    }
}

/// Names that came, went or were renamed; and `Other`, which is a queue that overflowed.
/// Our own scans cause accesses, which are none of these.
fn is_relevant(event: &Event) -> bool {
    match event.kind {
        EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Other
        | EventKind::Any => true,
        EventKind::Modify(
            ModifyKind::Any | ModifyKind::Data(_) | ModifyKind::Metadata(_) | ModifyKind::Other,
        )
        | EventKind::Access(_) => false,
    }
}
