//! What the scenes of the demo have in common: waiting, looking, and noting what was promised.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::checks::{Checks, seconds};
use super::screen::Screen;
use super::stage::Stage;
use super::track::{self, Track};
use crate::clock::{self, Clock as _, SystemClock};
use crate::config::Config;
use crate::model::{BootTime, Timestamp};
use crate::reconcile::report::Report;
use crate::store::{IntentFilter, JournalRow};

/// How often the demo looks for a moment that it measures.
const POLL: Duration = Duration::from_millis(10);
/// How often it asks the daemon how far it is: twice as often as the eye notices.
const DRAW: Duration = Duration::from_millis(50);
/// Longest wait for anything; only a failing demo waits so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows of the journal that are looked at.
pub const JOURNAL_MAX: u32 = 100;

/// Where it happens, where it is told, and what was promised.
pub struct Show<'a, 'b> {
    /// The parts.
    pub stage: &'a mut Stage,
    /// What people see.
    pub screen: &'a mut Screen<'b>,
    /// What was promised so far.
    pub checks: &'a mut Checks,
}

impl Show<'_, '_> {
    /// Notes a promise, and says whether it held.
    pub fn promised(
        &mut self,
        promise: impl Into<String>,
        measured: impl Into<String>,
        held: bool,
    ) -> anyhow::Result<()> {
        let check = self.checks.note(promise, measured, held);
        Ok(self.screen.check(check)?)
    }

    /// Notes something that was to happen within `limit`, and took `took`.
    pub fn promised_within(
        &mut self,
        promise: &str,
        limit: Duration,
        took: Duration,
    ) -> anyhow::Result<()> {
        let promise = format!("{promise} within {}", seconds(limit));
        self.promised(promise, seconds(took), took <= limit)
    }

    /// Puts a file into the spec directory as editors do: whole, by a rename.
    pub fn write_spec(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let dir = self.stage.place.specs();
        let temporary = dir.join(format!(".{file}.tmp"));
        fs::write(&temporary, text)?;
        Ok(fs::rename(temporary, dir.join(file))?)
    }

    /// The daemon's configuration.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(Some(&self.stage.place.config()), &[])?)
    }

    /// Shows the way of these volumes until all are Ready. Returns how long the slowest took.
    pub async fn until_ready(&mut self, names: &[&str], at: Timestamp) -> anyhow::Result<Duration> {
        let mut tracks = Vec::with_capacity(names.len());
        for name in names {
            tracks.push(Track::new(name.parse()?, at));
        }
        let begun = now();
        loop {
            if let Some((report, journal)) = self.asked().await? {
                for track in &mut tracks {
                    track.update(&report, &journal);
                }
            }
            let lines = track::lines(&tracks);
            let ready: Option<Vec<Duration>> = tracks.iter().map(Track::ready).collect();
            if let Some(ready) = ready {
                self.screen.settle(&lines)?;
                return Ok(ready.into_iter().max().unwrap_or_default());
            }
            self.screen.draw(&lines)?;
            if since(begun) > PATIENCE {
                self.screen.settle(&lines)?;
                let why: Vec<&str> = tracks.iter().filter_map(Track::why_not).collect();
                bail!("not Ready after {}: {}", seconds(PATIENCE), why.join("; "));
            }
            clock::sleep(DRAW).await;
        }
    }

    /// What the daemon says, and its journal; `None` while it does not answer.
    async fn asked(&mut self) -> anyhow::Result<Option<(Report, Vec<JournalRow>)>> {
        self.stage.check()?;
        let all = IntentFilter {
            name: None,
            open_only: false,
            limit: JOURNAL_MAX,
        };
        let api = &self.stage.api;
        let answers = (api.report().await, api.intents(&all).await);
        Ok(match answers {
            (Ok(report), Ok(journal)) => Some((report, journal)),
            (Err(_), _) | (_, Err(_)) => None,
        })
    }

    /// The daemon's first report of which something is true.
    pub async fn report_that(
        &mut self,
        what: &str,
        is_so: impl Fn(&Report) -> bool,
    ) -> anyhow::Result<Report> {
        self.until(what, async |stage| {
            Ok(stage.api.report().await.ok().filter(|report| is_so(report)))
        })
        .await
    }

    /// Looks until something is found.
    pub async fn until<T>(
        &mut self,
        what: &str,
        look: impl AsyncFn(&Stage) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let begun = now();
        loop {
            self.stage.check()?;
            if let Some(found) = look(self.stage).await? {
                return Ok(found);
            }
            if since(begun) > PATIENCE {
                bail!("waited {} for {what}", seconds(PATIENCE));
            }
            clock::sleep(POLL).await;
        }
    }

    /// The volumes that CloudStack has under a name.
    pub async fn named(&self, name: &str) -> anyhow::Result<Vec<Value>> {
        let mut volumes = self.stage.volumes().await?;
        volumes.retain(|volume| volume["name"] == name);
        Ok(volumes)
    }

    /// The volume that CloudStack has under a name.
    pub async fn volume(&self, name: &str) -> anyhow::Result<Value> {
        let volume = self.named(name).await?.pop();
        volume.with_context(|| format!("CloudStack has no volume {name}"))
    }

    /// How many data volumes CloudStack has of each name.
    pub async fn counts(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for volume in self.stage.volumes().await? {
            if volume["type"] == "DATADISK" {
                let name = volume["name"].as_str().unwrap_or_default();
                *counts.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
        Ok(counts)
    }
}

/// The present moment, for measuring.
pub fn now() -> BootTime {
    SystemClock.now().boot
}

/// How long ago that was.
pub fn since(begun: BootTime) -> Duration {
    now().since(begun)
}
