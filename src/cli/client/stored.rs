//! What is told from the store: by the daemon, or without one by reading it.

use super::{Client, ClientError, Source};
use crate::api::history::Planned;
use crate::cli::offline;
use crate::cli::output::Io;
use crate::config::Config;
use crate::model::{Timestamp, VolumeName};
use crate::plan::episode::Episode;
use crate::store::{EpisodeFilter, Happening, IntentFilter, JournalRow};

/// The journal, from the daemon or from its store.
///
/// # Errors
/// If neither way leads anywhere.
pub(in crate::cli) async fn intents(
    config: &Config,
    source: &Source,
    filter: IntentFilter,
    io: &mut Io<'_>,
) -> anyhow::Result<Vec<JournalRow>> {
    let asked = async |client: Client| client.intents(&filter).await;
    match stored(config, source, asked, io).await? {
        Some(rows) => Ok(rows),
        None => offline::intents(config, filter).await,
    }
}

/// What differed, from the daemon or from its store.
///
/// # Errors
/// If neither way leads anywhere.
pub(in crate::cli) async fn episodes(
    config: &Config,
    source: &Source,
    filter: &EpisodeFilter,
    io: &mut Io<'_>,
) -> anyhow::Result<Vec<Episode>> {
    let asked = async |client: Client| client.episodes(filter).await;
    match stored(config, source, asked, io).await? {
        Some(episodes) => Ok(episodes),
        None => offline::episodes(config, filter).await,
    }
}

/// What happened to a volume, from the daemon or from its store.
///
/// # Errors
/// If neither way leads anywhere.
pub(in crate::cli) async fn history(
    config: &Config,
    source: &Source,
    name: &VolumeName,
    io: &mut Io<'_>,
) -> anyhow::Result<Vec<Happening>> {
    let asked = async |client: Client| client.history(name).await;
    match stored(config, source, asked, io).await? {
        Some(history) => Ok(history),
        None => offline::history(config, name).await,
    }
}

/// How volumes stood at a moment, from the daemon or from its store.
///
/// # Errors
/// If neither way leads anywhere.
pub(in crate::cli) async fn plans(
    config: &Config,
    source: &Source,
    at: Timestamp,
    io: &mut Io<'_>,
) -> anyhow::Result<Vec<Planned>> {
    let asked = async |client: Client| client.plans(at).await;
    match stored(config, source, asked, io).await? {
        Some(plans) => Ok(plans),
        None => offline::plans(config, at).await,
    }
}

/// What the daemon answers from its store; `None` if that is to be read directly.
async fn stored<A>(
    config: &Config,
    source: &Source,
    asked: impl AsyncFnOnce(Client) -> Result<A, ClientError>,
    io: &mut Io<'_>,
) -> anyhow::Result<Option<A>> {
    if source.offline {
        return Ok(None);
    }
    match asked(Client::new(&config.api.listen)?).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_absence() && !source.online => {
            writeln!(io.err, "{error}; reading the store directly")?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
