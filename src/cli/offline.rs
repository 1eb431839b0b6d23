//! A report without a daemon: reads everything once, plans, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::output::{Exit, Failure};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::host::Host;
use crate::model::action::{CLAIM_TAG, Claim};
use crate::model::memory::Memory;
use crate::model::observed::{CloudVolume, Unlisted};
use crate::model::source::DesiredRow;
use crate::model::{
    AcceptedDocument, DesiredVolume, InstanceId, Now, Observed, Owner, Presence, SourceFile,
    SpecUid, VolumeId, VolumeName,
};
use crate::nbd::ExportServer;
use crate::observe::{self, CloudQuery};
use crate::plan::episode::Episode;
use crate::plan::{self, Desired, Guard, Policy, SourceHealth, World, resolve};
use crate::reconcile::report::Report;
use crate::reconcile::{FilesNews, Situation, SpecFiles, Transitions, absorb, write};
use crate::source::{DirectoryState, Known, SpecDirectory, Writers};
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

/// What a daemon would report that started now. With `paths`, these spec files count instead
/// of the watched directory.
///
/// # Errors
/// If settings are missing, a given spec is invalid, or the store cannot be read. What of the
/// outside cannot be read is part of the report.
pub async fn look(config: &Config, paths: &[PathBuf]) -> anyhow::Result<Seen> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (memory, specs, files) = remembered(config).await?;
    let (desired, files) = if paths.is_empty() {
        watched(config, &memory, specs, files, clock.now()).await
    } else {
        (given(paths, &specs)?, SpecFiles::default())
    };
    let mut observed = observe(config, bound(&memory), Arc::clone(&clock)).await?;
    let nbd = super::run::nbd(config);
    observed.nbd = nbd.observe(&observed.host.disks, clock.now().boot).await;
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
    let (_, specs, _) = remembered(config).await?;
    Ok(specs)
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
    let (memory, specs, _) = remembered(config).await?;
    let volumes = bound(&memory).into_iter().chain(volumes).collect();
    let observed = observe(config, volumes, clock).await?;
    if let Err(why) = &observed.cloud.listed {
        bail!("CloudStack could not be read: {why}");
    }
    let volumes = specs.into_iter().map(|spec| (spec.name().clone(), spec));
    Ok(World {
        desired: Desired {
            volumes: volumes.collect(),
            files: SourceHealth::Sound,
        },
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

/// The store, to be read; `None` if it does not exist yet.
async fn store(config: &Config) -> anyhow::Result<Option<Store>> {
    match Store::open_read_only(&config.store.location()?).await {
        Ok(store) => Ok(Some(store)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

type Remembered = (Memory, Vec<DesiredVolume>, Vec<SourceFile>);

/// What the store holds; a store that does not exist yet holds nothing.
async fn remembered(config: &Config) -> anyhow::Result<Remembered> {
    match store(config).await? {
        Some(store) => {
            let loaded = store.load().await?;
            Ok((loaded.memory, loaded.desired, loaded.files))
        }
        None => {
            let instance = InstanceId::new(uuid::Uuid::new_v4());
            Ok((Memory::new(instance), Vec::new(), Vec::new()))
        }
    }
}

/// What the daemon would accept from the watched directory now, and how its files stand.
async fn watched(
    config: &Config,
    memory: &Memory,
    specs: Vec<DesiredVolume>,
    files: Vec<SourceFile>,
    now: Now,
) -> (Desired, SpecFiles) {
    let mut specs: BTreeMap<VolumeName, DesiredVolume> = specs
        .into_iter()
        .map(|spec| (spec.name().clone(), spec))
        .collect();
    let files: BTreeMap<String, SourceFile> = files
        .into_iter()
        .map(|file| (file.path.clone(), file))
        .collect();
    let known = Known {
        files: &files,
        specs: &specs,
        bindings: &memory.bindings,
    };
    let look = SpecDirectory::new(&config.specs.dir)
        .look(known, &Writers::default(), now)
        .await;
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
    let mut judged = SpecFiles::default();
    judged.apply(FilesNews {
        read: readable.then_some(now.boot),
        files: files.into_values().chain(look.change.files).collect(),
        forgotten: Vec::new(),
    });
    judged.apply(FilesNews {
        forgotten: look.change.forgotten,
        ..FilesNews::default()
    });
    let desired = Desired {
        volumes: specs,
        files: health,
    };
    (desired, judged)
}

/// What the given files ask for.
fn given(paths: &[PathBuf], stored: &[DesiredVolume]) -> anyhow::Result<Desired> {
    let stored = stored
        .iter()
        .map(|spec| (spec.name().clone(), spec.clone()))
        .collect();
    let mut volumes = BTreeMap::new();
    for path in files_of(paths)? {
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let label = path.display().to_string();
        let parsed = match spec::parse(&label, &text) {
            Ok(parsed) => parsed,
            Err(problems) => {
                let failure = Failure {
                    message: spec::render(&problems, &text, false),
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
                owner: Owner::File(label.clone()),
            };
            let spec = next_version(accepted, &stored);
            if let Some(twice) = volumes.insert(spec.name().clone(), spec) {
                bail!("{label}: the name {} is written twice", twice.name());
            }
        }
    }
    Ok(Desired {
        volumes,
        files: SourceHealth::Sound,
    })
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
