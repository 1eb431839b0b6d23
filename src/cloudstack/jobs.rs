//! Asynchronous jobs: which are pending, and how one ended.
//!
//! Reads only. What an end means for an intent is decided elsewhere, with what the volume shows.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::{self, CloudStackError};
use super::sign::Params;
use super::transport::Transport;
use super::wire::{BadRow, Failure, ListRow, Row, tidy};
use super::{Client, Listed};
use crate::model::memory::FailureClass;
use crate::model::{BootTime, JobId, VolumeId};

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// It waits or runs.
    Pending,
    /// It did what it was made for.
    Succeeded {
        /// The volume it was about.
        volume: Option<VolumeId>,
    },
    /// It ended with an error. That it changed nothing is likely, not certain: observe.
    Failed {
        /// What follows from it.
        class: FailureClass,
        /// CloudStack's error code; coarser than that of a direct answer, and mostly 530
        /// (`ApiAsyncJobDispatcher.java`).
        code: u16,
        /// The volume it was about; for `createVolume` the one it made, which may be there all the
        /// same.
        volume: Option<VolumeId>,
        /// CloudStack's words.
        text: String,
    },
    /// It ended without a result, because the management server was restarted or the job waited too
    /// long (`AsyncJobManagerImpl.java`). What it did is unknown: observe.
    Lost {
        /// The volume it was about; for `createVolume` the one it made.
        volume: Option<VolumeId>,
        /// What is known.
        text: String,
    },
    /// There is no such job: it was never made, or has been purged, a day after its end by default
    /// (`job.expire.minutes`).
    NotFound,
}

const COMMAND: &str = "queryAsyncJobResult";

impl<T: Transport> Client<T> {
    /// The jobs that have not ended, among those that the scope shows.
    ///
    /// A job that is missing here has ended, or ended and began while the list was read; its own
    /// state says which.
    ///
    /// # Errors
    /// When a page fails.
    pub async fn pending_jobs(&self) -> Result<Listed<BTreeSet<JobId>>, CloudStackError> {
        let mut params = Params::new();
        if self.scope.listall {
            params.push(("listall", "true".to_owned()));
        }
        let listed = self.list::<Job>(params).await?;
        Ok(listed.map(|jobs| {
            jobs.into_iter()
                .filter(|job| job.pending)
                .map(|job| job.id)
                .collect()
        }))
    }

    /// How one job stands.
    ///
    /// # Errors
    /// When the call fails, or its answer is no job.
    pub async fn job(&self, id: JobId) -> Result<Listed<JobState>, CloudStackError> {
        let begun = self.clock.now().boot;
        let listed = |items, server_time| Listed {
            items,
            begun,
            server_time,
        };
        match self.get(COMMAND, vec![("jobid", id.to_string())]).await {
            Ok(answer) => match JobState::read(&answer.body) {
                Ok(items) => Ok(listed(items, answer.date)),
                Err(why) => Err(CloudStackError::Undecodable {
                    command: COMMAND,
                    status: 200,
                    why: why.to_string(),
                }),
            },
            Err(error) if error.never_existed(id.uuid()) => Ok(listed(JobState::NotFound, None)),
            Err(error) => Err(error),
        }
    }
}

impl JobState {
    /// Reads the answer of `queryAsyncJobResult` (`AsyncJobResponse.java`, `AsyncJobJoinDaoImpl.java`).
    pub(super) fn read(body: &Map<String, Value>) -> Result<Self, BadRow> {
        let row = Row(body);
        match row.required::<i64>("jobstatus")? {
            0 => Ok(Self::Pending),
            1 => Ok(Self::Succeeded {
                volume: volume(body)?,
            }),
            // 3, cancelled, is defined and not used.
            2 | 3 => Self::read_failure(body),
            other => Err(BadRow::Field {
                field: "jobstatus",
                value: other.to_string(),
            }),
        }
    }

    fn read_failure(body: &Map<String, Value>) -> Result<Self, BadRow> {
        let volume = instance(body)?;
        let result = body.get("jobresult");
        let failure = result.and_then(Value::as_object).and_then(Failure::of);
        Ok(match failure {
            Some(Failure { code, text }) if code != 0 => Self::Failed {
                class: error::classify(code, &text),
                code,
                volume,
                text,
            },
            // Neither has a result that says what was not done.
            _ => Self::Lost {
                volume,
                text: match result {
                    Some(Value::String(text)) => tidy(text),
                    _ => "the job ended without a result".to_owned(),
                },
            },
        })
    }
}

/// The volume in a job's result, else the one the job is registered for. The result was written
/// before the job ended, so it may still show the job as pending; only the id is taken from it.
fn volume(body: &Map<String, Value>) -> Result<Option<VolumeId>, BadRow> {
    let result = body
        .get("jobresult")
        .and_then(|result| result.get("volume"))
        .and_then(Value::as_object);
    if let Some(volume) = result {
        return Row(volume).required("id").map(Some);
    }
    instance(body)
}

/// The volume that a job is registered for (`AsyncJobResponse.java`).
fn instance(body: &Map<String, Value>) -> Result<Option<VolumeId>, BadRow> {
    let row = Row(body);
    match row.text("jobinstancetype")?.as_deref() {
        Some("Volume") => row.optional("jobinstanceid"),
        _ => Ok(None),
    }
}

/// A row of `listAsyncJobs`.
struct Job {
    id: JobId,
    pending: bool,
}

impl ListRow for Job {
    const COMMAND: &'static str = "listAsyncJobs";
    const ARRAY: &'static str = "asyncjobs";
    type Id = JobId;

    fn id(&self) -> JobId {
        self.id
    }

    fn read(row: &Row<'_>, _begun: BootTime) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.required("jobid")?,
            // Ended jobs are not listed, but one may end between the search and the answer.
            pending: matches!(row.optional::<i64>("jobstatus")?, None | Some(0)),
        })
    }
}
