//! Asks the outside what is so. Changes nothing, decides nothing.

use std::collections::BTreeMap;

use crate::cloudstack::{Client, CloudStackError, JobState, Listed, Transport};
use crate::model::observed::{Catalogue, CloudVm, CloudVolume};
use crate::model::{BootTime, IntentId, JobId, Timestamp, VmId, VolumeId};
use crate::telemetry::chain;

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
    /// These VMs again.
    pub vms: Vec<VmId>,
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
    /// VMs read by id.
    pub vms: Vec<CloudVm>,
    /// Volumes that were not looked up, because there were too many.
    pub left: Vec<VolumeId>,
    /// Volumes whose answer could not be understood, and why. They stay Unknown.
    pub failed: Vec<(VolumeId, String)>,
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

/// What CloudStack said about the job of an intent, and when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobAnswer {
    /// How the job stands.
    pub state: JobState,
    /// When the question was begun.
    pub begun: BootTime,
    /// The server's clock with the answer, if it told.
    pub server: Option<Timestamp>,
}

/// Asks CloudStack.
///
/// # Errors
/// Any call that failed, unless it is about one volume only: half a listing is none.
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
    if !query.vms.is_empty() {
        match client.vms_by_id(&query.vms).await {
            Ok(read) => {
                answer.server_time = server_time(&read);
                answer.vms = read.items;
            }
            // Stays as old as it was, which holds back what waits for it.
            Err(error) if error.is_about_one() => {
                tracing::warn!(error = chain(&error), "a VM cannot be read by its id");
            }
            Err(error) => return Err(error),
        }
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
    let mut missing: Vec<VolumeId> = ids.to_vec();
    match client.volumes_by_id(ids).await {
        Ok(read) => {
            answer.server_time = server_time(&read);
            missing.retain(|id| !read.items.iter().any(|volume| volume.id == *id));
            answer.read.extend(read.items);
        }
        // One row that is not understood must not hide the others (I8).
        Err(error) if error.is_about_one() => {}
        Err(error) => return Err(error),
    }
    answer.left = missing.split_off(missing.len().min(LOOKUPS_AT_ONCE));
    for id in missing {
        match client.volume(id).await {
            Ok(found) => match found.items {
                Some(volume) => answer.read.push(volume),
                None => answer.absent.push((id, found.begun)),
            },
            Err(error) if error.is_about_one() => answer.failed.push((id, chain(&error))),
            Err(error) => return Err(error),
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
) -> Result<BTreeMap<IntentId, JobAnswer>, CloudStackError> {
    let pending = client.pending_jobs().await?;
    let mut answers = BTreeMap::new();
    for (intent, job) in jobs {
        let answer = if pending.items.contains(job) {
            JobAnswer {
                state: JobState::Pending,
                begun: pending.begun,
                server: pending.server_time,
            }
        } else {
            match client.job(*job).await {
                Ok(found) => JobAnswer {
                    state: found.items,
                    begun: found.begun,
                    // A refusal carries no clock; the list of a moment ago does.
                    server: found.server_time.or(pending.server_time),
                },
                // The others are asked for all the same (I8).
                Err(error) if error.is_about_one() => {
                    tracing::warn!(job.id = %job, error = chain(&error), "the answer about a job is not understood");
                    continue;
                }
                Err(error) => return Err(error),
            }
        };
        answers.insert(*intent, answer);
    }
    Ok(answers)
}

fn server_time<T>(listed: &Listed<T>) -> Option<(Timestamp, BootTime)> {
    Some((listed.server_time?, listed.begun))
}
