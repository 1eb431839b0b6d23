//! Keeps the episodes of drift up to date, and hands out what is to be written of them.
//!
//! Nothing waits for this: what cannot be written is tried again, and given up when it is too much.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{BootTime, IntentId, Now, Timestamp, VolumeName};
use crate::plan::DriftClass;
use crate::plan::episode::{Episode, Open, Sight, follow, undone};

/// How many episodes one write takes.
const BATCH: usize = 500;
/// How many wait to be written at most: then the oldest are forgotten.
const UNWRITTEN_MAX: usize = 50_000;
/// How soon a write that failed is tried again. Not by the pace of the store's other troubles: a row
/// that cannot be written must not hold up calls.
const RETRY: Duration = Duration::from_secs(30);

/// What is known of episodes.
#[derive(Debug, Default)]
pub(super) struct Episodes {
    open: BTreeMap<VolumeName, Vec<Open>>,
    /// By when they began, and by what tells them apart.
    unwritten: BTreeMap<(Timestamp, String), Episode>,
    is_writing: bool,
    retry_at: BootTime,
}

impl Episodes {
    /// Goes on with what was open when the daemon last ran.
    pub fn restore(&mut self, open: Vec<Open>) {
        for one in open {
            let volume = one.episode.volume.clone();
            self.open.entry(volume).or_default().push(one);
        }
    }

    /// Whether something of this spec was seen to differ, and not to be gone since.
    pub fn has_open(&self, volume: &VolumeName) -> bool {
        self.open.contains_key(volume)
    }

    /// Takes a plan into account. One without drift, for a spec that has nothing open, is none of its
    /// business.
    pub fn follow(&mut self, sight: &Sight<'_>) {
        let open = self.open.entry(sight.volume.clone()).or_default();
        let news = follow(open, sight);
        if open.is_empty() {
            self.open.remove(sight.volume);
        }
        for episode in news {
            self.unwritten
                .insert((episode.first_seen, episode.key()), episode);
        }
        while self.unwritten.len() > UNWRITTEN_MAX {
            self.unwritten.pop_first();
        }
    }

    /// Notes that a step of ours was done.
    pub fn undone(&mut self, volume: &VolumeName, class: DriftClass, intent: Option<IntentId>) {
        if let Some(open) = self.open.get_mut(volume) {
            undone(open, class, intent);
        }
    }

    /// What is to be written now: one batch at a time.
    pub fn take(&mut self, now: Now) -> Option<Vec<Episode>> {
        if self.is_writing || self.unwritten.is_empty() || now.boot < self.retry_at {
            return None;
        }
        self.is_writing = true;
        let rest = match self.unwritten.keys().nth(BATCH).cloned() {
            Some(next) => self.unwritten.split_off(&next),
            None => BTreeMap::new(),
        };
        let batch = std::mem::replace(&mut self.unwritten, rest);
        Some(batch.into_values().collect())
    }

    /// A batch was written, or not.
    pub fn written(&mut self, batch: Vec<Episode>, is_written: bool, now: Now) {
        self.is_writing = false;
        if is_written {
            return;
        }
        self.retry_at = now.boot.plus(RETRY);
        for episode in batch {
            // What is known since then is newer.
            let key = (episode.first_seen, episode.key());
            self.unwritten.entry(key).or_insert(episode);
        }
    }

    /// When there is something to be written, if not at once.
    pub fn due(&self) -> Option<BootTime> {
        (!self.is_writing && !self.unwritten.is_empty()).then_some(self.retry_at)
    }
}

#[cfg(test)]
mod tests;
