//! A report without a daemon: reads everything once, plans, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::client::Client;
use super::output::{Exit, Failure};
use crate::api::Served;
use crate::api::history::{Planned, planned};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::host::Host;
use crate::model::action::{CLAIM_TAG, Claim};
use crate::model::memory::Memory;
use crate::model::observed::{CloudVolume, HostView, NbdView, Unlisted};
use crate::model::source::DesiredRow;
use crate::model::{
    AcceptedDocument, DesiredVolume, InstanceId, Now, Observed, Owner, Presence, Reading,
    SourceFile, SpecUid, Timestamp, VolumeId, VolumeName,
};
use crate::nbd::ExportServer;
use crate::observe::{self, CloudQuery};
use crate::plan::episode::Episode;
use crate::plan::{self, Desired, Guard, Policy, SourceHealth, World, resolve};
use crate::reconcile::report::Report;
use crate::reconcile::{FilesNews, Situation, SpecFiles, Transitions, absorb, write};
use crate::source::{DesiredRows, DirectoryState, Known, SpecDirectory, Writers};
use crate::spec;
use crate::store::{EpisodeFilter, Extent, Happening, IntentFilter, JournalRow, Store};
use crate::telemetry::chain;

/// A report, and the specs that it is about.
pub struct Seen {
    /// What there is to say about them.
    pub report: Report,
    /// What is asked for; of some it may not be known.
    pub specs: BTreeMap<VolumeName, DesiredVolume>,
}

/// A spec file that is given by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecText {
    /// Its path.
    pub path: String,
    /// What stands in it.
    pub text: Vec<u8>,
}

/// What a daemon would report that started now. With `specs`, these count instead of the watched
/// directory and the rows.
///
/// # Errors
/// If settings are missing, a given spec is invalid, or the store cannot be read. What of the
/// outside cannot be read is part of the report.
pub async fn look(config: &Config, specs: &[SpecText]) -> anyhow::Result<Seen> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let remembered = remembered(config).await?;
    let (desired, files) = if specs.is_empty() {
        watched(config, &remembered, clock.now()).await
    } else {
        (given(specs, &remembered.specs)?, SpecFiles::default())
    };
    let memory = remembered.memory;
    let mut observed = observe(config, bound(&memory), Arc::clone(&clock)).await?;
    observed.nbd = served(config, &observed.host, clock.as_ref()).await;
    let mut world = World {
        desired,
        observed,
        memory,
    };
    for want in world.desired.volumes.values() {
        if let Ok(Some(found)) = resolve(want, &world.observed) {
            let known = &mut world.memory.resolutions;
            if known.get(want.name()).map(|known| known.generation) != Some(want.generation) {
                known.insert(want.name().clone(), found);
            }
        }
    }
    world.memory.unknown_claims = plan::unknown_claims(&world);
    let policy = Policy::from(&config.policy);
    let now = clock.now();
    let plan = plan::plan(&world, &policy, &Guard::default(), now);
    let mut transitions = Transitions::default();
    let situation = Situation {
        world: &world,
        plan: &plan,
        policy: &policy,
        files: &files,
        store_down: None,
    };
    Ok(Seen {
        report: write(situation, &mut transitions, now),
        specs: world.desired.volumes,
    })
}

/// The specs that the daemon's store holds.
///
/// # Errors
/// If the store cannot be read.
pub async fn specs(config: &Config) -> anyhow::Result<Vec<DesiredVolume>> {
    Ok(remembered(config).await?.specs)
}

/// CloudStack and this machine, beside what the store holds. Not the NBD server: its control socket
/// serves one client, and beside a running daemon anybody else waits there until they give up.
///
/// # Errors
/// If the store or CloudStack cannot be read.
pub async fn world(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<World> {
    world_with(config, BTreeSet::new(), clock).await
}

/// The same; these volumes are looked up by id, too, where no listing has them.
///
/// # Errors
/// As of [`world`].
pub async fn world_with(
    config: &Config,
    volumes: BTreeSet<VolumeId>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<World> {
    let Remembered { memory, specs, .. } = remembered(config).await?;
    let volumes = bound(&memory).into_iter().chain(volumes).collect();
    let observed = observe(config, volumes, clock).await?;
    if let Err(why) = &observed.cloud.listed {
        bail!("CloudStack could not be read: {why}");
    }
    let volumes = specs.into_iter().map(|spec| (spec.name().clone(), spec));
    Ok(World {
        desired: Desired::new(volumes.collect(), SourceHealth::Sound, []),
        observed,
        memory,
    })
}

/// Volumes that carry the claim of the configured store for specs that it knows nothing of.
///
/// # Errors
/// As of [`world`].
pub async fn unknown_claims(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Vec<(Claim, CloudVolume)>> {
    let world = world(config, clock).await?;
    let claim = |volume: &CloudVolume| volume.tags.get(CLAIM_TAG)?.parse().ok();
    Ok(plan::unknown_claims(&world)
        .into_iter()
        .filter_map(|id| world.observed.cloud.volumes.get(&id))
        .filter_map(|volume| Some((claim(volume)?, volume.clone())))
        .collect())
}

/// Rows of `desired_volumes`, read from the store.
///
/// # Errors
/// If the store cannot be read.
pub async fn rows(config: &Config) -> anyhow::Result<Vec<DesiredRow>> {
    match store(config).await? {
        Some(store) => Ok(store.desired_rows(Extent::All).await?.rows),
        None => Ok(Vec::new()),
    }
}

/// Rows of the journal, read from the store.
///
/// # Errors
/// If the store cannot be read.
pub async fn intents(config: &Config, filter: IntentFilter) -> anyhow::Result<Vec<JournalRow>> {
    match store(config).await? {
        Some(store) => Ok(store.intents(filter).await?),
        None => Ok(Vec::new()),
    }
}

/// What differed, read from the store.
///
/// # Errors
/// If the store cannot be read.
pub async fn episodes(config: &Config, filter: &EpisodeFilter) -> anyhow::Result<Vec<Episode>> {
    match store(config).await? {
        Some(store) => Ok(store.episodes(filter).await?),
        None => Ok(Vec::new()),
    }
}

/// What happened to a volume, read from the store.
///
/// # Errors
/// If the store cannot be read.
pub async fn history(config: &Config, name: &VolumeName) -> anyhow::Result<Vec<Happening>> {
    match store(config).await? {
        Some(store) => Ok(store.history(name).await?),
        None => Ok(Vec::new()),
    }
}

/// How volumes stood at a moment, read from the store.
///
/// # Errors
/// If the store cannot be read.
pub async fn plans(config: &Config, at: Timestamp) -> anyhow::Result<Vec<Planned>> {
    match store(config).await? {
        Some(store) => Ok(planned(store.plans_at(at).await?)),
        None => Ok(Vec::new()),
    }
}

/// The store, to be read; `None` if it does not exist yet.
async fn store(config: &Config) -> anyhow::Result<Option<Store>> {
    match Store::open_read_only(&config.store.location()?).await {
        Ok(store) => Ok(Some(store)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the store holds.
struct Remembered {
    memory: Memory,
    specs: Vec<DesiredVolume>,
    files: BTreeMap<String, SourceFile>,
    rows: DesiredRows,
}

/// What the store holds; a store that does not exist yet holds nothing.
async fn remembered(config: &Config) -> anyhow::Result<Remembered> {
    let Some(store) = store(config).await? else {
        let instance = InstanceId::new(uuid::Uuid::new_v4());
        return Ok(Remembered {
            memory: Memory::new(instance),
            specs: Vec::new(),
            files: BTreeMap::new(),
            rows: DesiredRows::default(),
        });
    };
    let loaded = store.load().await?;
    let mut rows = DesiredRows::default();
    rows.replace(store.desired_rows(Extent::All).await?.rows);
    let files = loaded.files.into_iter();
    Ok(Remembered {
        memory: loaded.memory,
        specs: loaded.desired,
        files: files.map(|file| (file.path.clone(), file)).collect(),
        rows,
    })
}

/// What the daemon would accept from files and rows now, and how they stand.
async fn watched(config: &Config, remembered: &Remembered, now: Now) -> (Desired, SpecFiles) {
    let Remembered {
        memory,
        specs,
        files,
        rows,
    } = remembered;
    let mut specs: BTreeMap<VolumeName, DesiredVolume> = specs
        .iter()
        .map(|spec| (spec.name().clone(), spec.clone()))
        .collect();
    let known = Known {
        files,
        specs: &specs,
        bindings: &memory.bindings,
    };
    let mut directory = SpecDirectory::new(&config.specs.dir);
    let mut scan = directory.read(files, &Writers::default(), now).await;
    scan.rows = rows.scan(files);
    let look = directory.judge(known, &scan, now);
    for accepted in look.change.accepted {
        let spec = next_version(accepted, &specs);
        specs.insert(spec.name().clone(), spec);
    }
    for name in look.change.abandoned {
        if let Some(spec) = specs.get_mut(&name) {
            spec.presence = Presence::Abandoned {
                counted: Duration::ZERO,
            };
        }
    }
    let readable = !matches!(look.directory, DirectoryState::Unreadable(_));
    let health = match look.directory {
        DirectoryState::Readable => SourceHealth::Sound,
        DirectoryState::Suspect(why) | DirectoryState::Unreadable(why) => {
            SourceHealth::Suspect(why)
        }
    };
    let mut files = files.clone();
    let changed = look.change.files.into_iter();
    files.extend(changed.map(|file| (file.path.clone(), file)));
    files.retain(|path, _| !look.change.forgotten.contains(path));
    let desired = Desired::new(specs, health, files.values());
    let mut judged = SpecFiles::default();
    judged.apply(FilesNews {
        read: readable.then_some(now.boot),
        files: files.into_values().collect(),
        forgotten: Vec::new(),
    });
    (desired, judged)
}

/// What the given files ask for.
fn given(specs: &[SpecText], stored: &[DesiredVolume]) -> anyhow::Result<Desired> {
    let stored = stored
        .iter()
        .map(|spec| (spec.name().clone(), spec.clone()))
        .collect();
    let mut volumes = BTreeMap::new();
    for SpecText { path, text } in specs {
        let parsed = match spec::parse(path, text) {
            Ok(parsed) => parsed,
            Err(problems) => {
                let failure = Failure {
                    message: spec::render(&problems, text, false),
                    hint: None,
                    exit: Exit::Invalid,
                };
                return Err(failure.into());
            }
        };
        for parsed in parsed {
            let accepted = AcceptedDocument {
                document: parsed.document,
                manifest: parsed.manifest,
                owner: Owner::File(path.clone()),
            };
            let spec = next_version(accepted, &stored);
            if let Some(twice) = volumes.insert(spec.name().clone(), spec) {
                bail!("{path}: the name {} is written twice", twice.name());
            }
        }
    }
    Ok(Desired::new(volumes, SourceHealth::Sound, []))
}

/// Reads the spec files at `paths`, which may be directories.
///
/// # Errors
/// If one cannot be read.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<SpecText>> {
    let read = |path: PathBuf| {
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.display().to_string();
        Ok(SpecText { path, text })
    };
    files_of(paths)?.into_iter().map(read).collect()
}

fn files_of(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let listing =
            std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in listing {
            let entry = entry?.path();
            if entry
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(spec::is_spec_name)
                && entry.is_file()
            {
                files.push(entry);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The spec as the store would have it after accepting `document`.
fn next_version(
    document: AcceptedDocument,
    stored: &BTreeMap<VolumeName, DesiredVolume>,
) -> DesiredVolume {
    let AcceptedDocument {
        document, owner, ..
    } = document;
    let known = stored.get(&document.name);
    let generation = match known {
        Some(known) if known.document == document => known.generation,
        Some(known) => known.generation + 1,
        None => 1,
    };
    DesiredVolume {
        uid: known.map_or_else(|| SpecUid::new(uuid::Uuid::new_v4()), |known| known.uid),
        document,
        generation,
        owner,
        presence: Presence::Declared,
    }
}

/// What the NBD server serves: as the daemon says if one runs, since only one can talk to the server.
async fn served(config: &Config, host: &HostView, clock: &dyn Clock) -> NbdView {
    let asked = match Client::new(&config.api.listen) {
        Ok(client) => client.served().await.ok(),
        Err(_) => None,
    };
    let now = clock.now().boot;
    match asked {
        Some(Served { age_ms, exports }) => {
            let begun = now.minus(Duration::from_millis(age_ms));
            NbdView::read(Reading::Present(exports), begun)
        }
        None => super::run::nbd(config).observe(&host.disks, now).await,
    }
}

/// The volumes that specs are bound to.
fn bound(memory: &Memory) -> BTreeSet<VolumeId> {
    let bindings = memory.bindings.values();
    bindings.map(|binding| binding.volume).collect()
}

/// Reads the host and CloudStack, once; these volumes by their ids, where no listing has them.
async fn observe(
    config: &Config,
    volumes: BTreeSet<VolumeId>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Observed> {
    let mut observed = Observed::default();
    let host = Host::new(&config.host.root, config.host.vm_id);
    let begun = clock.now().boot;
    observed.host = tokio::task::spawn_blocking(move || host.scan(begun)).await?;
    let client = super::run::cloud(config, clock)?;
    let query = CloudQuery {
        full: true,
        catalogue: true,
        ..CloudQuery::default()
    };
    match observe::cloud(&client, &query).await {
        Ok(answer) => absorb(&mut observed.cloud, answer),
        Err(error) => observed.cloud.listed = Err(Unlisted::Failed(chain(&error))),
    }
    let listed = &observed.cloud.volumes;
    let mut missing: Vec<VolumeId> = volumes
        .into_iter()
        .filter(|id| !listed.contains_key(id))
        .collect();
    while observed.cloud.listed.is_ok() && !missing.is_empty() {
        let query = CloudQuery {
            ids: missing,
            ..CloudQuery::default()
        };
        // What stays unread stays Unknown.
        let Ok(mut answer) = observe::cloud(&client, &query).await else {
            break;
        };
        missing = std::mem::take(&mut answer.left);
        absorb(&mut observed.cloud, answer);
    }
    Ok(observed)
}
