//! Asks the outside what is so. Changes nothing, decides nothing.

use crate::cloudstack::{Client, CloudStackError, JobState, Listed, Transport};
use crate::model::observed::{Catalogue, CloudVm, CloudVolume};
use crate::model::{BootTime, IntentId, JobId, Timestamp, VolumeId};
use crate::reconcile::JobAnswers;

/// Missing volumes looked up one by one in one query; the rest stay Unknown until the next.
const LOOKUPS_AT_ONCE: usize = 20;

/// What CloudStack is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudQuery {
    /// Everything in our scope.
    pub full: bool,
    /// Zones and offerings too.
    pub catalogue: bool,
    /// These volumes again; those that are missing are looked up one by one.
    pub ids: Vec<VolumeId>,
    /// Which volumes go by these names.
    pub names: Vec<String>,
}

/// What CloudStack said.
#[derive(Debug, Clone, Default)]
pub struct CloudAnswer {
    /// A complete listing.
    pub listing: Option<CloudListing>,
    /// Zones and offerings.
    pub catalogue: Option<Catalogue>,
    /// Volumes read by id.
    pub read: Vec<CloudVolume>,
    /// Names that were looked up, and when each look-up began; what goes by them is in `read`.
    pub named: Vec<(String, BootTime)>,
    /// Volumes looked up by id that are not there, and when each look-up began.
    pub absent: Vec<(VolumeId, BootTime)>,
    /// The server's clock, and when it was read.
    pub server_time: Option<(Timestamp, BootTime)>,
}

/// Everything in our scope, from page sets: proves presence, never absence.
#[derive(Debug, Clone)]
pub struct CloudListing {
    /// All volumes, of every type.
    pub volumes: Vec<CloudVolume>,
    /// All VMs.
    pub vms: Vec<CloudVm>,
    /// When the first request was begun.
    pub begun: BootTime,
}

/// Asks CloudStack.
///
/// # Errors
/// Any call that failed: half an answer is none.
pub async fn cloud<T: Transport>(
    client: &Client<T>,
    query: &CloudQuery,
) -> Result<CloudAnswer, CloudStackError> {
    let mut answer = CloudAnswer::default();
    if query.full {
        let (volumes, vms) = tokio::try_join!(client.volumes(), client.vms())?;
        answer.server_time = server_time(&volumes);
        answer.listing = Some(CloudListing {
            begun: volumes.begun.min(vms.begun),
            volumes: volumes.items,
            vms: vms.items,
        });
    }
    if query.catalogue {
        let (zones, offerings) = tokio::try_join!(client.zones(), client.disk_offerings())?;
        answer.catalogue = Some(Catalogue {
            zones: zones.items,
            offerings: offerings.items,
        });
    }
    if !query.ids.is_empty() {
        by_id(client, &query.ids, &mut answer).await?;
    }
    for name in &query.names {
        let found = client.volumes_named(name).await?;
        answer.server_time = server_time(&found);
        answer.named.push((name.clone(), found.begun));
        answer.read.extend(found.items);
    }
    Ok(answer)
}

async fn by_id<T: Transport>(
    client: &Client<T>,
    ids: &[VolumeId],
    answer: &mut CloudAnswer,
) -> Result<(), CloudStackError> {
    let read = client.volumes_by_id(ids).await?;
    answer.server_time = server_time(&read);
    let mut missing: Vec<VolumeId> = ids.to_vec();
    missing.retain(|id| !read.items.iter().any(|volume| volume.id == *id));
    answer.read.extend(read.items);
    for id in missing.into_iter().take(LOOKUPS_AT_ONCE) {
        let found = client.volume(id).await?;
        match found.items {
            Some(volume) => answer.read.push(volume),
            None => answer.absent.push((id, found.begun)),
        }
    }
    Ok(())
}

/// Asks about jobs: one listing of all that are pending, one look at each that is not.
///
/// # Errors
/// Any call that failed.
pub async fn jobs<T: Transport>(
    client: &Client<T>,
    jobs: &[(IntentId, JobId)],
) -> Result<JobAnswers, CloudStackError> {
    let pending = client.pending_jobs().await?;
    let mut answers = JobAnswers {
        server_time: pending.server_time,
        ..JobAnswers::default()
    };
    for (intent, job) in jobs {
        let state = if pending.items.contains(job) {
            JobState::Pending
        } else {
            client.job(*job).await?.items
        };
        answers.states.insert(*intent, state);
    }
    Ok(answers)
}

fn server_time<T>(listed: &Listed<T>) -> Option<(Timestamp, BootTime)> {
    Some((listed.server_time?, listed.begun))
}
