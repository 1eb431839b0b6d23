//! The calls that change something: one for each journalled intent, sent once.

use super::Client;
use super::error::CloudStackError;
use super::sign::Params;
use super::transport::{Method, Transport};
use super::wire::{BadRow, Row};
use crate::clock::Deadline;
use crate::model::action::CLAIM_TAG;
use crate::model::memory::Intent;
use crate::model::{Action, JobId, VolumeId};

/// CloudStack's receipt for a call: accepted, not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// Its job. A server that does not know `customjobid` chooses its own id.
    pub job: JobId,
    /// The volume that `createVolume` has made; its row exists before the answer is sent.
    pub volume: Option<VolumeId>,
}

impl<T: Transport> Client<T> {
    /// Sends the call of `intent`, once, valid until `intent.expires` and not longer, and only
    /// before `deadline`: the one that was returned when the intent was journalled.
    ///
    /// `intent.expires` must lie less than 15 minutes ahead, which is the most a server that enforces
    /// time stamps accepts (`ApiServer.java`). The job is asked to have [`Intent::id`] as its id
    /// (`customjobid`, `BaseAsyncCmd.java`), so that it is found again when the answer is lost.
    ///
    /// Not cancel-safe: once polled, the call may have been executed.
    ///
    /// # Errors
    /// [`CloudStackError::outcome`] says whether it was certainly not executed.
    pub async fn submit(
        &self,
        intent: &Intent,
        deadline: Deadline,
    ) -> Result<Submitted, CloudStackError> {
        let (command, mut params) = self.call_of(&intent.action)?;
        let job = intent.id.job();
        params.push(("customjobid", job.to_string()));
        let answer = self
            .call(Method::Post, command, params, intent.expires, deadline)
            .await
            .map_err(|error| error.after_submission(job.uuid()))?;
        receipt(command, &Row(&answer.body)).map_err(|why| CloudStackError::Undecodable {
            command,
            status: 200,
            why: why.to_string(),
        })
    }

    /// The command and parameters of a step.
    fn call_of(&self, action: &Action) -> Result<(&'static str, Params), CloudStackError> {
        Ok(match action {
            Action::Create {
                volume_name,
                size,
                zone,
                offering,
            } => {
                let mut params = vec![
                    ("name", volume_name.clone()),
                    ("size", size.as_gib_rounded_up().to_string()),
                    ("zoneid", zone.to_string()),
                    ("diskofferingid", offering.to_string()),
                ];
                params.extend(self.project());
                ("createVolume", params)
            }
            Action::Tag { volume, claim } => (
                "createTags",
                vec![
                    ("resourcetype", "Volume".to_owned()),
                    ("resourceids", volume.to_string()),
                    ("tags[0].key", CLAIM_TAG.to_owned()),
                    ("tags[0].value", claim.to_string()),
                ],
            ),
            // Never with `shrinkok`: on a grow it makes the KVM agent fail
            // (`LibvirtResizeVolumeCommandWrapper.java`), and a shrink shall be refused.
            Action::Grow { volume, to, .. } => (
                "resizeVolume",
                vec![
                    ("id", volume.to_string()),
                    ("size", to.as_gib_rounded_up().to_string()),
                ],
            ),
            Action::Attach {
                volume,
                vm,
                device_id,
            } => {
                let mut params = vec![
                    ("id", volume.to_string()),
                    ("virtualmachineid", vm.to_string()),
                ];
                params.extend(device_id.map(|id| ("deviceid", id.to_string())));
                ("attachVolume", params)
            }
            // By id alone: with VM and device, the server loses the volume on the way
            // (`VolumeApiServiceImpl.java`, `detachVolumeFromVM`).
            Action::Detach { volume, .. } => ("detachVolume", vec![("id", volume.to_string())]),
            // Without `expunge` CloudStack keeps it for `expunge.delay`. It refuses that for what never
            // was on storage (`VolumeApiServiceImpl.java`, `destroyVolume`).
            Action::Delete { volume, is_blank } => {
                let mut params = vec![("id", volume.to_string())];
                if *is_blank {
                    params.push(("expunge", "true".to_owned()));
                }
                ("destroyVolume", params)
            }
            Action::Bind { .. } | Action::Export { .. } | Action::Withdraw { .. } => {
                return Err(CloudStackError::NotACloudAction {
                    kind: action.kind(),
                });
            }
        })
    }
}

/// Reads `{"jobid":…}`, or `{"id":…,"jobid":…}` of `createVolume` (`ApiServer.java`).
fn receipt(command: &'static str, row: &Row<'_>) -> Result<Submitted, BadRow> {
    Ok(Submitted {
        job: row.required("jobid")?,
        volume: match command {
            "createVolume" => row.optional("id")?,
            _ => None,
        },
    })
}

#[cfg(test)]
mod tests;
