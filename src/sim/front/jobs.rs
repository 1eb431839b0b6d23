//! Submitting jobs and asking about them.

use uuid::Uuid;

use crate::sim::refusal::Refusal;
use crate::sim::view::JobView;
use crate::sim::world::{Job, JobState, Taken, Work, custom_id};

use super::Call;
use super::envelope::{Answer, ApiError};
use super::lists::page;

impl Call<'_> {
    /// Accepts a job under the caller's `customjobid`, or a new id.
    pub(super) fn submit(&mut self, work: Work) -> Result<Uuid, ApiError> {
        let custom = match self.args.text("customjobid") {
            Some(text) => Some(self.free_job_id(text)?),
            None => None,
        };
        let trouble = self.trouble.take();
        Ok(self.world.submit(self.caller, work, custom, trouble))
    }

    /// `UUIDManagerImpl.checkUuidSimple`. It only sees jobs that are not finished; a finished
    /// one with that id violates the table's unique key.
    fn free_job_id(&self, text: &str) -> Result<Uuid, Refusal> {
        custom_id(text, |uuid| {
            match self.world.find_job(uuid).map(|job| &job.state) {
                None => Taken::No,
                Some(JobState::Pending) => Taken::Seen,
                Some(JobState::Ended { .. }) => Taken::Unseen { table: "async_job" },
            }
        })
    }
}

pub(super) fn query(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let job = call
        .args
        .job("jobid")
        .and_then(|uuid| call.world.find_job(uuid))
        .ok_or_else(|| Refusal::invalid("unable to find a job by id"))?;
    // `ApiResponseHelper.queryJobResult`.
    if !call.world.may_change(call.caller, job.account) {
        return Err(Refusal::denied(format!(
            "Account {} is not authorized to see job id={}",
            call.world.account(call.caller).name,
            job.uuid
        ))
        .into());
    }
    Ok(Answer::of(&JobView::of(call.world, job)))
}

/// Pending jobs only.
pub(super) fn list(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    // Jobs have no id parameter.
    let scope = call.scope("")?;
    let keyword = call.args.text("keyword").map(str::to_lowercase);
    let visible = |job: &&Job| {
        scope.shows(call.world, job.account)
            && keyword
                .as_ref()
                .is_none_or(|keyword| job.work.class().to_lowercase().contains(keyword))
    };
    let jobs: Vec<&Job> = call.world.pending_jobs().filter(visible).collect();
    let range = page(&call.args, call.world, jobs.len())?;
    let rows: Vec<JobView<'_>> = jobs[range]
        .iter()
        .map(|job| JobView::of(call.world, job))
        .collect();
    Ok(Answer::list("asyncjobs", jobs.len(), &rows))
}
