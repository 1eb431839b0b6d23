//! What happens in the demo, in order. Each scene does something, waits for the daemon, and
//! notes what it measured.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::checks::{Check, Checks, seconds};
use super::data::{self, Data};
use super::place::HEAL_DELAY;
use super::screen::Screen;
use super::stage::Stage;
use super::story;
use super::track::{self, Track};
use crate::cli::{drift, get, offline};
use crate::clock::{self, Clock as _, SystemClock};
use crate::config::Config;
use crate::model::{BootTime, FileState, Timestamp};
use crate::reconcile::report::{Phase, Report};
use crate::sim::control::Side;
use crate::sim::fault::Target;
use crate::sim::{Fault, Operation};
use crate::spec;
use crate::store::{IntentFilter, JournalRow, Store};

/// How often the demo looks for a moment that it measures.
const POLL: Duration = Duration::from_millis(10);
/// How often it asks the daemon how far it is: twice as often as the eye notices.
const DRAW: Duration = Duration::from_millis(50);
/// Longest wait for anything; only a failing demo waits so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a first run of three volumes may take.
const READY_MAX: Duration = Duration::from_secs(10);
/// How long a lost disk may still be offered.
const WITHDRAW_MAX: Duration = Duration::from_secs(1);
/// How long attaching and exporting again may take, after the delay.
const HEAL_MAX: Duration = Duration::from_secs(8);
/// How long exports may be missing from a server that came back empty.
const SERVE_MAX: Duration = Duration::from_secs(3);
/// How long an interrupted creation may take: until CloudStack refuses the call it may still be
/// sent, plus the handling time (`pace.request_ttl`, `pace.handling`), plus the rest of the way.
const RESUME_MAX: Duration = Duration::from_secs(15);
/// How late CloudStack answers the call that is interrupted.
const LATE_ANSWER: Duration = Duration::from_secs(30);
/// Rows of the journal that are looked at.
const JOURNAL_MAX: u32 = 100;

/// Tells the whole story.
///
/// # Errors
/// If something went so wrong that the rest makes no sense.
pub async fn tell(
    stage: &mut Stage,
    screen: &mut Screen<'_>,
    checks: &mut Checks,
) -> anyhow::Result<()> {
    screen.say(&story::opening(&stage.place))?;
    let mut show = Show {
        stage,
        screen,
        checks,
    };
    show.begin().await?;
    let foreign = show.volume(story::FOREIGN).await?;
    show.files_arrive().await?;
    let data = show.data_are_written().await?;
    show.volume_is_detached(&data).await?;
    show.nbd_server_is_killed(&data).await?;
    show.daemon_is_killed().await?;
    show.nothing_else_happened(&foreign, &data).await
}

struct Show<'a, 'b> {
    stage: &'a mut Stage,
    screen: &'a mut Screen<'b>,
    checks: &'a mut Checks,
}

impl Show<'_, '_> {
    /// Starts everything, with a volume for adoption and one that is none of ours.
    async fn begin(&mut self) -> anyhow::Result<()> {
        self.stage.start_sim().await?;
        for name in [story::FOUND, story::FOREIGN] {
            let create = Operation::CreateVolume {
                name: name.to_owned(),
                size_gib: 1,
            };
            self.stage.operate(&create).await?;
        }
        let attach = Operation::AttachVolume {
            volume: story::FOREIGN.to_owned(),
            vm: "appliance".to_owned(),
            device_id: None,
            side: Side::Both,
        };
        self.stage.operate(&attach).await?;
        self.stage.start_nbd().await?;
        self.stage.start_daemon()?;
        let sees = |report: &Report| report.sources.iter().all(|source| source.ok);
        self.report_that("the daemon to see everything", sees)
            .await?;
        Ok(())
    }

    async fn files_arrive(&mut self) -> anyhow::Result<()> {
        self.screen
            .scene("Four files are put into the spec directory")?;
        self.screen.tell(&story::files())?;
        let since = SystemClock.now().wall;
        for file in &story::FILES {
            self.write_spec(file.file, file.text)?;
        }
        let slowest = self.until_ready(&story::VALID, since).await?;
        let promise = "new, adopted and read-only volumes are Ready";
        let check = self.checks.within(promise, READY_MAX, slowest);
        self.screen.check(check)?;

        let wrong = &story::FILES[story::FILES.len() - 1];
        let config = self.config()?;
        let refused = self
            .until("the daemon to refuse scratch.yaml", async |_| {
                let store = Store::open_read_only(&config.store.url).await?;
                let stored = store.load().await?;
                Ok(stored
                    .files
                    .into_iter()
                    .find(|file| file.path.ends_with(wrong.file))
                    .filter(|file| file.state == FileState::Invalid))
            })
            .await?;
        if let Err(problems) = spec::parse(wrong.file, wrong.text.as_bytes()) {
            let shown = spec::render(&problems, wrong.text.as_bytes(), true);
            self.screen
                .command("volume-daemon validate specs/", &shown)?;
        }
        let (mistakes, volumes) = (refused.problems.len(), self.named(story::LATE).await?.len());
        let check = self.checks.note(
            "a wrong file is refused whole, the others go on",
            format!("{mistakes} mistakes reported, {volumes} volumes made from it"),
            mistakes == 2 && volumes == 0,
        );
        Ok(self.screen.check(check)?)
    }

    async fn data_are_written(&mut self) -> anyhow::Result<Data> {
        let mib = data::LEN >> 20;
        let title = format!("{mib} MiB of random data go through NBD");
        self.screen.scene(&title)?;
        let data = Data::make(self.stage, story::DATA).await?;
        self.screen.command(&data.command(), "")?;
        let begun = now();
        data.write().await?;
        let same = data.is_there().await?;
        let took = seconds(since(begun));
        let check = self.checks.note(
            "what is written through an export can be read from it",
            format!("{mib} MiB written and read back in {took}, {}", equal(same)),
            same,
        );
        self.screen.check(check)?;
        Ok(data)
    }

    async fn volume_is_detached(&mut self, data: &Data) -> anyhow::Result<()> {
        let name = story::DATA;
        self.screen
            .scene(&format!("Somebody detaches {name} in CloudStack"))?;
        let (begun, at) = (now(), SystemClock.now().wall);
        let detach = Operation::DetachVolume {
            volume: name.to_owned(),
            side: Side::Both,
        };
        self.stage.operate(&detach).await?;
        self.until("the export to be withdrawn", async |stage| {
            let offered = data::offered(stage).await.unwrap_or_default();
            Ok((!offered.iter().any(|offered| offered == name)).then_some(()))
        })
        .await?;
        let promise = "the export of a lost disk is withdrawn";
        let check = self.checks.within(promise, WITHDRAW_MAX, since(begun));
        self.screen.check(check)?;

        let drifted = |report: &Report| report.volumes.iter().any(|it| !it.drift.is_empty());
        let report = self
            .report_that("the daemon to show the drift", drifted)
            .await?;
        self.screen
            .command("volume-daemon drift", &drift::text(&report))?;
        let took = self.until_ready(&[name], at).await?;
        let limit = HEAL_DELAY + HEAL_MAX;
        let promise = format!(
            "it is healed after heal_delay, {}, but",
            seconds(HEAL_DELAY)
        );
        let check = self.checks.within(&promise, limit, took);
        self.screen.check(check)?;
        self.data_are_whole(data, "the healed volume holds what it held")
            .await
    }

    async fn nbd_server_is_killed(&mut self, data: &Data) -> anyhow::Result<()> {
        self.screen.scene("The NBD server is killed (SIGKILL)")?;
        self.stage.kill_nbd().await?;
        let blind = |report: &Report| {
            let mut sources = report.sources.iter();
            sources.any(|source| source.name == "nbd" && !source.ok)
        };
        let report = self.report_that("the daemon to notice it", blind).await?;
        self.screen
            .command("volume-daemon drift", &drift::text(&report))?;
        let at = SystemClock.now().wall;
        self.stage.start_nbd().await?;
        self.screen
            .tell("A new one is started. It serves nothing by itself.")?;
        let begun = now();
        self.until("all exports to be served again", async |stage| {
            let offered = data::offered(stage).await.unwrap_or_default();
            Ok((offered == story::VALID).then_some(()))
        })
        .await?;
        let took = since(begun);
        self.until_ready(&story::VALID, at).await?;
        let promise = "an NBD server that comes back empty serves all exports";
        let check = self.checks.within(promise, SERVE_MAX, took);
        self.screen.check(check)?;
        self.data_are_whole(data, "and serves the same data").await
    }

    async fn daemon_is_killed(&mut self) -> anyhow::Result<()> {
        let name = story::LATE;
        self.screen.scene(
            "scratch.yaml is corrected, and the daemon killed while CloudStack creates the volume",
        )?;
        let delay = Fault::DelayResponse {
            on: Target::next("createVolume"),
            ms: u64::try_from(LATE_ANSWER.as_millis())?,
        };
        self.stage.inject(&delay).await?;
        let wrong = &story::FILES[story::FILES.len() - 1];
        let at = SystemClock.now().wall;
        self.write_spec(wrong.file, &story::corrected(wrong.text))?;
        self.until("CloudStack to create the volume", async |stage| {
            let volumes = stage.volumes().await?;
            Ok(volumes.iter().any(|it| it["name"] == name).then_some(()))
        })
        .await?;
        self.stage.kill_daemon().await?;
        let open = IntentFilter {
            name: None,
            open_only: true,
            limit: JOURNAL_MAX,
        };
        let rows = offline::intents(&self.config()?, open).await?;
        let shown = get::intents(&rows, false, SystemClock.now().wall);
        self.screen
            .tell("It is dead. CloudStack has the volume; the answer never came. Its journal:")?;
        self.screen
            .command("volume-daemon get intents --open", &shown)?;
        let offered = data::offered(self.stage).await.unwrap_or_default();
        let check = self.checks.note(
            "exports outlive the daemon",
            format!(
                "{} of {} served without it",
                offered.len(),
                story::VALID.len()
            ),
            offered == story::VALID,
        );
        self.screen.check(check)?;

        let begun = now();
        self.stage.start_daemon()?;
        self.screen.tell("It is started again.")?;
        self.until_ready(&[name], at).await?;
        let promise = "an interrupted creation is taken up and finished";
        let check = self.checks.within(promise, RESUME_MAX, since(begun));
        self.screen.check(check)?;
        let journalled = rows
            .iter()
            .filter(|row| row.intent.name.as_str() == name)
            .count();
        let (made, held) = (self.named(name).await?.len(), "of that name in CloudStack");
        let check = self.checks.note(
            "no crash makes a second volume",
            format!("{made} {held}, {journalled} call in the journal"),
            made == 1 && journalled == 1,
        );
        Ok(self.screen.check(check)?)
    }

    async fn nothing_else_happened(&mut self, foreign: &Value, data: &Data) -> anyhow::Result<()> {
        self.screen.scene("And what was not to be touched?")?;
        let after = self.volume(story::FOREIGN).await?;
        let offered = data::offered(self.stage).await.unwrap_or_default();
        let alone = after == *foreign && !offered.iter().any(|it| it == story::FOREIGN);
        let what = "attached to this VM by somebody else";
        let check = self.checks.note(
            format!("{}, {what}, is left alone", story::FOREIGN),
            if alone {
                "same attachment, no tag, no export".to_owned()
            } else {
                format!("{after}")
            },
            alone,
        );
        self.screen.check(check)?;

        let all_ready = |report: &Report| report.volumes.iter().all(|it| it.phase == Phase::Ready);
        let report = self
            .report_that("all volumes to be Ready", all_ready)
            .await?;
        let counts = self.counts().await?;
        let one_each = counts.len() == story::FILES.len() + 1 && counts.values().all(|it| *it == 1);
        let check = self.checks.note(
            "in the end there is one volume for each spec",
            format!(
                "{} specs, {} volumes, and the foreign one",
                report.volumes.len(),
                counts.len() - 1
            ),
            one_each && report.volumes.len() == story::FILES.len(),
        );
        self.screen.check(check)?;
        let drifts: usize = report.volumes.iter().map(|it| it.drift.len()).sum();
        let check = self.checks.note(
            "no drift is left",
            format!("{drifts} differences"),
            drifts == 0,
        );
        self.screen.check(check)?;
        self.data_are_whole(data, "the data of the beginning are still there")
            .await?;
        self.screen.say("")?;
        Ok(self
            .screen
            .say(&story::volumes(&report, &self.stage.place))?)
    }

    async fn data_are_whole(&mut self, data: &Data, promise: &str) -> anyhow::Result<()> {
        let same = data.is_there().await?;
        let measured = format!("{} MiB read through NBD, {}", data::LEN >> 20, equal(same));
        let check: &Check = self.checks.note(promise, measured, same);
        Ok(self.screen.check(check)?)
    }

    /// Puts a file into the spec directory as editors do: whole, by a rename.
    fn write_spec(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let dir = self.stage.place.specs();
        let temporary = dir.join(format!(".{file}.tmp"));
        fs::write(&temporary, text)?;
        Ok(fs::rename(temporary, dir.join(file))?)
    }

    fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(Some(&self.stage.place.config()), &[])?)
    }

    /// Shows the way of these volumes until all are Ready. Returns how long the slowest took.
    async fn until_ready(&mut self, names: &[&str], at: Timestamp) -> anyhow::Result<Duration> {
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
                bail!("not Ready after {}", seconds(PATIENCE));
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

    async fn report_that(
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
    async fn until<T>(
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
    async fn named(&self, name: &str) -> anyhow::Result<Vec<Value>> {
        let mut volumes = self.stage.volumes().await?;
        volumes.retain(|volume| volume["name"] == name);
        Ok(volumes)
    }

    async fn volume(&self, name: &str) -> anyhow::Result<Value> {
        let volume = self.named(name).await?.pop();
        volume.with_context(|| format!("CloudStack has no volume {name}"))
    }

    /// How many data volumes CloudStack has of each name.
    async fn counts(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for volume in self.stage.volumes().await? {
            if volume["type"] == "DATADISK" {
                *counts.entry(volume["name"].to_string()).or_insert(0) += 1;
            }
        }
        Ok(counts)
    }
}

fn now() -> BootTime {
    SystemClock.now().boot
}

fn since(begun: BootTime) -> Duration {
    now().since(begun)
}

const fn equal(same: bool) -> &'static str {
    if same { "identical" } else { "DIFFERENT" }
}
