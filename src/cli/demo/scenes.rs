//! What happens in the demo, in order. Each scene does something, waits for the daemon, and
//! notes what it measured.

use std::time::Duration;

use serde_json::Value;

use super::checks::{Checks, seconds};
use super::data::{self, Data};
use super::place::HEAL_DELAY;
use super::screen::Screen;
use super::show::{JOURNAL_MAX, Show, now, since};
use super::stage::Stage;
use super::story;
use crate::cli::{drift, get, offline, validate};
use crate::clock::{Clock as _, SystemClock};
use crate::model::FileState;
use crate::reconcile::report::{Phase, Report};
use crate::sim::control::Side;
use crate::sim::fault::Target;
use crate::sim::{Fault, Operation};
use crate::store::{IntentFilter, JournalRow, Store};

/// How long a first run of three volumes may take.
const READY_MAX: Duration = Duration::from_secs(15);
/// How long a lost disk may still be offered. It takes milliseconds, but not on every machine.
const WITHDRAW_MAX: Duration = Duration::from_secs(2);
/// How long attaching and exporting again may take, after the delay.
const HEAL_MAX: Duration = Duration::from_secs(10);
/// How long exports may be missing from a server that came back empty.
const SERVE_MAX: Duration = Duration::from_secs(5);
/// How long the rest of an interrupted creation may take, from the start of the daemon.
const RESUME_MAX: Duration = Duration::from_secs(15);
/// How late CloudStack answers the call that is interrupted.
const LATE_ANSWER: Duration = Duration::from_secs(30);

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
    show.spec_directory_is_empty(&data).await?;
    show.daemon_is_killed().await?;
    show.nothing_else_happened(&foreign, &data).await
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
        self.promised_within(promise, READY_MAX, slowest)?;

        let wrong = &story::FILES[story::FILES.len() - 1];
        let config = self.config()?;
        let refused = self
            .until("the daemon to refuse scratch.yaml", async |_| {
                let store = Store::open_read_only(&config.store.location()?).await?;
                let stored = store.load().await?;
                Ok(stored
                    .files
                    .into_iter()
                    .find(|file| file.path.ends_with(wrong.file))
                    .filter(|file| file.state == FileState::Invalid))
            })
            .await?;
        let shown = self.validated()?;
        self.screen
            .command("volume-daemon validate specs", &shown)?;
        let (mistakes, volumes) = (refused.problems.len(), self.named(story::LATE).await?.len());
        self.promised(
            "a wrong file is refused whole, the others go on",
            format!("{mistakes} mistakes reported, {volumes} volumes made from it"),
            mistakes == 2 && volumes == 0,
        )
    }

    /// What `validate` says about the spec directory, without the way there.
    fn validated(&self) -> anyhow::Result<String> {
        let args = validate::Args {
            paths: vec![self.stage.place.specs()],
            output: validate::Output::Text,
        };
        let mut shown = Vec::new();
        validate::run(&args, &mut shown, true)?;
        let dir = format!("{}/", self.stage.place.dir().display());
        Ok(String::from_utf8(shown)?.replace(&dir, ""))
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
        self.promised(
            "what is written through an export can be read from it",
            format!("{mib} MiB written and read back in {took}, {}", equal(same)),
            same,
        )?;
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
            let offered = data::offered(stage).await;
            let gone = offered.is_some_and(|names| !names.iter().any(|it| it == name));
            Ok(gone.then_some(()))
        })
        .await?;
        let promise = "the export of a lost disk is withdrawn";
        self.promised_within(promise, WITHDRAW_MAX, since(begun))?;

        let drifted = |report: &Report| report.volumes.iter().any(|it| !it.drift.is_empty());
        let report = self
            .report_that("the daemon to show the drift", drifted)
            .await?;
        self.screen
            .command("volume-daemon drift", &drift::text(&report))?;
        let took = self.until_ready(&[name], at).await?;
        let (delay, limit) = (HEAL_DELAY, HEAL_DELAY + HEAL_MAX);
        self.promised(
            format!(
                "it is healed after heal_delay ({}), within {}",
                seconds(delay),
                seconds(limit)
            ),
            seconds(took),
            (delay..=limit).contains(&took),
        )?;
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
            let offered = data::offered(stage).await;
            Ok(offered
                .is_some_and(|names| names == story::VALID)
                .then_some(()))
        })
        .await?;
        let took = since(begun);
        self.until_ready(&story::VALID, at).await?;
        let promise = "an NBD server that comes back empty serves all exports";
        self.promised_within(promise, SERVE_MAX, took)?;
        self.data_are_whole(data, "and serves the same data").await
    }

    /// As when it was unmounted, or a deployment first deletes and then copies.
    async fn spec_directory_is_empty(&mut self, data: &Data) -> anyhow::Result<()> {
        self.screen.scene("The spec directory is suddenly empty")?;
        let specs = self.stage.place.specs();
        let away = specs.with_extension("away");
        std::fs::rename(&specs, &away)?;
        std::fs::create_dir(&specs)?;
        let specs_of = |report: &Report| {
            let mut sources = report.sources.iter();
            sources.find(|source| source.name == "specs").cloned()
        };
        let doubted = |report: &Report| specs_of(report).is_some_and(|source| !source.ok);
        let report = self
            .report_that("the daemon to doubt the empty directory", doubted)
            .await?;
        let why = specs_of(&report).and_then(|source| source.message);
        self.screen
            .tell(&format!("The daemon says: {}", why.unwrap_or_default()))?;
        let ready = |report: &Report| {
            let volumes = report.volumes.iter();
            volumes.filter(|it| it.phase == Phase::Ready).count()
        };
        let offered = data::offered(self.stage).await.unwrap_or_default();
        self.promised(
            "an empty spec directory tears nothing down",
            format!(
                "{} of {} volumes are Ready, {} are served",
                ready(&report),
                story::VALID.len(),
                offered.join(", ")
            ),
            ready(&report) == story::VALID.len() && offered == story::VALID,
        )?;
        self.data_are_whole(data, "and its data can be read meanwhile")
            .await?;
        std::fs::remove_dir(&specs)?;
        std::fs::rename(&away, &specs)?;
        self.screen.tell("The files are back.")?;
        self.report_that("the daemon to believe the directory again", |report| {
            !doubted(report)
        })
        .await?;
        Ok(())
    }

    async fn daemon_is_killed(&mut self) -> anyhow::Result<()> {
        let name = story::LATE;
        self.screen.scene(
            "scratch.yaml is corrected, and the daemon killed while CloudStack creates the volume",
        )?;
        let at = SystemClock.now().wall;
        self.kill_in_creation().await?;
        let journal = self.open_calls().await?;
        let shown = get::intents(&journal, false, SystemClock.now().wall);
        self.screen
            .tell("It is dead. CloudStack has the volume; the answer never came. Its journal:")?;
        self.screen
            .command("volume-daemon get intents --open", &shown)?;
        let offered = data::offered(self.stage).await.unwrap_or_default();
        self.promised(
            "exports outlive the daemon",
            format!("without it, {} are served", offered.join(", ")),
            offered == story::VALID,
        )?;

        let begun = now();
        self.stage.start_daemon()?;
        self.screen.tell("It is started again.")?;
        self.until_ready(&[name], at).await?;
        let promise = "an interrupted creation is taken up and finished";
        self.promised_within(promise, RESUME_MAX, since(begun))?;
        let mine = |row: &&JournalRow| row.intent.name.as_str() == name;
        let journalled = journal.iter().filter(mine).count();
        let made = self.named(name).await?.len();
        self.promised(
            "no crash makes a second volume",
            format!("{made} of that name in CloudStack, {journalled} open call was in the journal"),
            made == 1 && journalled == 1,
        )
    }

    /// Corrects the wrong file, and kills the daemon once CloudStack has made the volume, before
    /// it says so.
    async fn kill_in_creation(&mut self) -> anyhow::Result<()> {
        let delay = Fault::DelayResponse {
            on: Target::next("createVolume"),
            ms: u64::try_from(LATE_ANSWER.as_millis())?,
        };
        self.stage.inject(&delay).await?;
        let wrong = &story::FILES[story::FILES.len() - 1];
        self.write_spec(wrong.file, &story::corrected(wrong.text))?;
        self.until("CloudStack to create the volume", async |stage| {
            let volumes = stage.volumes().await?;
            let made = volumes.iter().any(|it| it["name"] == story::LATE);
            Ok(made.then_some(()))
        })
        .await?;
        self.stage.kill_daemon().await
    }

    /// The calls whose end is not known, from the store.
    async fn open_calls(&self) -> anyhow::Result<Vec<JournalRow>> {
        let open = IntentFilter {
            name: None,
            open_only: true,
            limit: JOURNAL_MAX,
        };
        offline::intents(&self.config()?, open).await
    }

    async fn nothing_else_happened(&mut self, foreign: &Value, data: &Data) -> anyhow::Result<()> {
        self.screen.scene("And what was not to be touched?")?;
        let after = self.volume(story::FOREIGN).await?;
        let alone = after == *foreign;
        self.promised(
            format!(
                "{}, attached to this VM by somebody else, is left alone",
                story::FOREIGN
            ),
            if alone {
                "nothing about it changed in CloudStack".to_owned()
            } else {
                format!("it was {foreign}, and is {after}")
            },
            alone,
        )?;
        let offered = data::offered(self.stage).await.unwrap_or_default();
        let mut declared = [&story::VALID[..], &[story::LATE]].concat();
        declared.sort_unstable();
        self.promised(
            "nothing is served but what is declared",
            offered.join(", "),
            offered == declared,
        )?;

        let all_ready = |report: &Report| report.volumes.iter().all(|it| it.phase == Phase::Ready);
        let report = self
            .report_that("all volumes to be Ready", all_ready)
            .await?;
        let mut counts = self.counts().await?;
        counts.remove(story::FOREIGN);
        let one_each = counts.len() == story::FILES.len() && counts.values().all(|it| *it == 1);
        self.promised(
            "in the end there is one volume for each spec",
            format!(
                "{} specs, {} volumes",
                report.volumes.len(),
                counts.values().sum::<usize>()
            ),
            one_each && report.volumes.len() == story::FILES.len(),
        )?;
        let drifts: usize = report.volumes.iter().map(|it| it.drift.len()).sum();
        self.promised(
            "no drift is left",
            format!("{drifts} differences"),
            drifts == 0,
        )?;
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
        self.promised(promise, measured, same)
    }
}

const fn equal(same: bool) -> &'static str {
    if same { "identical" } else { "DIFFERENT" }
}
