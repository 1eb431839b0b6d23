//! The client against the bodies in `tests/bodies`: one file for each case, assembled by hand from
//! CloudStack's response classes. The simulator is held to the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::fake::{Fake, answer, client};
use super::{CallOutcome, CloudStackError, Scope};
use crate::clock::Deadline;
use crate::model::memory::{Intent, Progress};
use crate::model::observed::{CloudVolume, VolumeKind};
use crate::model::{Action, ByteSize, Cause, IntentId, JobId, OfferingId, VmId, VolumeId, ZoneId};

/// The ids in the files.
const VOLUME: &str = "6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
const VM: &str = "1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809";
const ZONE: &str = "0c1d2e3f-4051-4263-8475-96a7b8c9dae0";
const OFFERING: &str = "2d3e4f50-6172-4384-95a6-b7c8d9eaf0b1";
const JOB: &str = "3e4f5061-7283-4495-a6b7-c8d9eaf0b1c2";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "about")]
    _about: String,
    command: String,
    status: u16,
    /// The body, if it is JSON.
    body: Option<Value>,
    /// The body, if it is not.
    text: Option<String>,
}

fn cases() -> BTreeMap<String, Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bodies");
    std::fs::read_dir(&folder)
        .expect("tests/bodies is there")
        .map(|entry| {
            let path = entry.expect("tests/bodies can be listed").path();
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let case = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = path.file_stem().expect("a file name");
            (name.to_string_lossy().into_owned(), case)
        })
        .collect()
}

fn id<Id: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Id {
    text.parse().expect("an id")
}

fn intent(action: Action) -> Intent {
    Intent {
        id: IntentId::new(id::<JobId>(JOB).uuid()),
        name: "data-1".parse().expect("a name"),
        generation: 1,
        action,
        cause: Cause::Declared,
        created: "2026-11-20T22:00:00Z".parse().expect("a time"),
        expires: "2026-11-20T22:01:00Z".parse().expect("a time"),
        progress: Progress::Journalled,
    }
}

fn action(command: &str) -> Action {
    let (volume, vm) = (id::<VolumeId>(VOLUME), id::<VmId>(VM));
    match command {
        "createVolume" => Action::Create {
            volume_name: "pvc-1".to_owned(),
            size: ByteSize::gib(10),
            zone: id::<ZoneId>(ZONE),
            offering: id::<OfferingId>(OFFERING),
        },
        "attachVolume" => Action::Attach {
            volume,
            vm,
            device_id: None,
        },
        "detachVolume" => Action::Detach { volume, vm },
        other => panic!("no action for {other}"),
    }
}

/// A volume in one line.
fn line(v: &CloudVolume) -> String {
    let mut line = format!("{} {} {} {}", v.id, v.name, v.state, v.size);
    if v.kind == VolumeKind::Root {
        line += " root";
    }
    if let Some(attachment) = v.attachment {
        line += &format!(" on {} as {:?}", attachment.vm, attachment.device_id);
    }
    if let Some(job) = v.pending_job {
        line += &format!(" job {job}");
    }
    for (key, value) in &v.tags {
        line += &format!(" {key}={value}");
    }
    if v.offering.is_none() {
        line += " without offering";
    }
    assert_eq!(
        v.created.expect("created").to_string(),
        "2026-11-20T22:00:00Z"
    );
    line
}

/// Makes the call of `case`, and says in one line what came of it.
async fn play(case: &Case) -> String {
    let body = match (&case.body, &case.text) {
        (Some(body), None) => body.to_string(),
        (None, Some(text)) => text.clone(),
        _ => panic!("a case has either a body or a text"),
    };
    let status = case.status;
    let fake = Fake::new(move |_| answer(status, body.clone()));
    let client = client(&fake, Scope::default());
    let outcome = match case.command.as_str() {
        "listVolumes" => client.volumes().await.map(|listed| {
            let lines: Vec<_> = listed.items.iter().map(line).collect();
            let left_out = client.skipped.lock().expect("not poisoned");
            format!("{lines:?}, {} left out", left_out["listVolumes"])
        }),
        "listVirtualMachines" => client.vms().await.map(|listed| {
            let lines = listed.items.iter();
            let lines: Vec<_> = lines
                .map(|vm| format!("{} {}", vm.name, vm.state))
                .collect();
            format!("{lines:?}")
        }),
        "listZones" => (client.zones().await).map(|listed| listed.items[0].name.clone()),
        "listDiskOfferings" => {
            (client.disk_offerings().await).map(|listed| listed.items[0].name.clone())
        }
        "listAsyncJobs" => (client.pending_jobs().await).map(|jobs| format!("{:?}", jobs.items)),
        "queryAsyncJobResult" => (client.job(id(JOB)).await).map(|job| format!("{:?}", job.items)),
        command => (client
            .submit(&intent(action(command)), Deadline::never())
            .await)
            .map(|submitted| format!("{submitted:?}")),
    };
    outcome.unwrap_or_else(|error| failure(&error))
}

fn failure(error: &CloudStackError) -> String {
    let outcome = match error.outcome() {
        CallOutcome::Unknown => "unknown".to_owned(),
        CallOutcome::NotExecuted { class, retry_after } => match retry_after {
            Some(wait) => format!("{class:?} for {wait:?}"),
            None => format!("{class:?}"),
        },
    };
    format!("{outcome}: {error}")
}

/// Part of what each case must come to.
const EXPECTED: &[(&str, &str)] = &[
    ("listVolumes-empty", "[], 0 left out"),
    ("listVolumes-null-list", "[], 0 left out"),
    (
        "listVolumes-past-the-end",
        "unknown: the answer to `listVolumes` (HTTP 200) is not CloudStack's: it counts rows and shows none",
    ),
    (
        "listVolumes-count-without-rows",
        "it counts rows and shows none",
    ),
    (
        "listVolumes-allocated",
        r#"["6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d pvc-1 Allocated 10GiB"], 0 left out"#,
    ),
    (
        "listVolumes-attached",
        r#" pvc-1 Ready 10GiB on 1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809 as Some(1) volume-daemon/uid=x"]"#,
    ),
    (
        "listVolumes-pending-job",
        r#" as Some(1) job 3e4f5061-7283-4495-a6b7-c8d9eaf0b1c2"]"#,
    ),
    ("listVolumes-ended-job", r#" pvc-1 Allocated 10GiB"]"#),
    (
        "listVolumes-root-admin",
        r#" ROOT-12 Resizing 10GiB root on 1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809 as Some(0) without offering"]"#,
    ),
    (
        "listVolumes-text-numbers",
        r#" 10GiB on 1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809 as Some(1) job 3e4f5061-7283-4495-a6b7-c8d9eaf0b1c2"]"#,
    ),
    ("listVolumes-new-state", " pvc-1 Defragmenting 10GiB"),
    ("listVolumes-destroyed", r#" pvc-1 Destroy 10GiB"]"#),
    (
        "listVolumes-bad-rows",
        r#"["7a2b3c4d-5e6f-4b7c-9d8e-0f1a2b3c4d5e pvc-1 Allocated 10GiB"], 4 left out"#,
    ),
    (
        "listVolumes-list-is-object",
        "unknown: the answer to `listVolumes` (HTTP 200) is not CloudStack's: its list is not an array",
    ),
    (
        "listVolumes-never-existed",
        "Refused: CloudStack refused `listVolumes` with error 431",
    ),
    (
        "listVolumes-no-such-project",
        "Refused: CloudStack refused `listVolumes` with error 431",
    ),
    (
        "listVolumes-page-size",
        "Refused: CloudStack refused `listVolumes` with error 431: Page size can't exceed",
    ),
    (
        "listVolumes-throttled",
        "Throttled for 730ms: CloudStack limits how often it may be asked: `listVolumes` again in 730 ms",
    ),
    (
        "listVolumes-unauthorized",
        "Environment: CloudStack does not authorise `listVolumes`: unable to verify",
    ),
    (
        "listVolumes-unknown-command",
        "Environment: CloudStack does not authorise `listVolumes`: unable to verify",
    ),
    (
        "listVolumes-role",
        "Environment: CloudStack does not authorise `listVolumes`: The API [listVolumes] is not available",
    ),
    (
        "listVolumes-no-command",
        "Environment: CloudStack does not authorise `listVolumes`: unable to verify",
    ),
    (
        "listVolumes-two-keys",
        "unknown: the answer to `listVolumes` (HTTP 200) is not CloudStack's: it does not hold exactly one object",
    ),
    (
        "listVolumes-empty-answer",
        "unknown: the answer to `listVolumes` (HTTP 200) is not CloudStack's: it is empty",
    ),
    (
        "listVolumes-cut-off",
        "unknown: the answer to `listVolumes` (HTTP 200) is not CloudStack's: it is not JSON",
    ),
    (
        "listVolumes-xml",
        "unknown: the answer to `listVolumes` (HTTP 200) is not CloudStack's: it is HTML or XML",
    ),
    (
        "listVolumes-bad-gateway",
        "unknown: the answer to `listVolumes` (HTTP 502) is not CloudStack's: it is HTML or XML",
    ),
    (
        "listVolumes-moved",
        "unknown: the answer to `listVolumes` (HTTP 301) is not CloudStack's: it redirects elsewhere; check the URL",
    ),
    (
        "listVirtualMachines",
        r#"["web-1 Running", "old-1 Stopping"]"#,
    ),
    ("listZones", "z1"),
    ("listDiskOfferings", "custom"),
    (
        "listAsyncJobs",
        "{JobId(3e4f5061-7283-4495-a6b7-c8d9eaf0b1c2)}",
    ),
    ("queryAsyncJobResult-pending", "Pending"),
    (
        "queryAsyncJobResult-attached",
        "Succeeded { volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d)) }",
    ),
    (
        "queryAsyncJobResult-created",
        "Succeeded { volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d)) }",
    ),
    ("queryAsyncJobResult-tagged", "Succeeded { volume: None }"),
    (
        "queryAsyncJobResult-snapshots",
        "Failed { class: Environment, code: 431, volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d))",
    ),
    (
        "queryAsyncJobResult-host-down",
        "Failed { class: Environment, code: 432, volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d))",
    ),
    (
        "queryAsyncJobResult-shrink",
        "Failed { class: Refused, code: 432, volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d))",
    ),
    (
        "queryAsyncJobResult-quota",
        "Failed { class: Quota, code: 535, volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d))",
    ),
    (
        "queryAsyncJobResult-tag-taken",
        "Failed { class: Environment, code: 530, volume: None, text: \"tag volume-daemon/uid already on",
    ),
    (
        "queryAsyncJobResult-agent",
        "Failed { class: Retry, code: 530, volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d))",
    ),
    (
        "queryAsyncJobResult-restarted",
        r#"Lost { volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d)), text: "the job ended without a result" }"#,
    ),
    (
        "queryAsyncJobResult-restarted-text",
        r#"Lost { volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d)), text: "job cancelled because of management server restart or shutdown" }"#,
    ),
    (
        "queryAsyncJobResult-queued-too-long",
        r#"Lost { volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d)), text: "the job ended without a result" }"#,
    ),
    (
        "queryAsyncJobResult-text-numbers",
        "Failed { class: Environment, code: 431, volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d))",
    ),
    (
        "queryAsyncJobResult-odd-status",
        "unknown: the answer to `queryAsyncJobResult` (HTTP 200) is not CloudStack's: jobstatus is 7",
    ),
    ("queryAsyncJobResult-unknown", "NotFound"),
    (
        "queryAsyncJobResult-not-ours",
        "Refused: CloudStack refused `queryAsyncJobResult` with error 531",
    ),
    (
        "createVolume",
        "Submitted { job: JobId(3e4f5061-7283-4495-a6b7-c8d9eaf0b1c2), volume: Some(VolumeId(6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d)) }",
    ),
    (
        "createVolume-no-job",
        "unknown: the answer to `createVolume` (HTTP 200) is not CloudStack's: jobid is missing",
    ),
    (
        "createVolume-numeric-job",
        "unknown: the answer to `createVolume` (HTTP 200) is not CloudStack's: jobid is \"4711\"",
    ),
    (
        "createVolume-quota",
        "Quota: CloudStack refused `createVolume` with error 535",
    ),
    (
        "createVolume-fixed-offering",
        "Refused: CloudStack refused `createVolume` with error 431: This disk offering does not allow",
    ),
    (
        "createVolume-masked",
        "unknown: CloudStack failed in `createVolume` with error 530, perhaps after doing it",
    ),
    (
        "createVolume-shutting-down",
        "Retry: CloudStack refused `createVolume` with error 503",
    ),
    (
        "createVolume-job-exists",
        "unknown: CloudStack failed in `createVolume` with error 431, perhaps after doing it",
    ),
    (
        "createVolume-post-only",
        "Refused: CloudStack refused `createVolume` with error 400",
    ),
    (
        "createVolume-gateway-timeout",
        "unknown: the answer to `createVolume` (HTTP 504) is not CloudStack's: it is HTML or XML",
    ),
    (
        "attachVolume",
        "Submitted { job: JobId(3e4f5061-7283-4495-a6b7-c8d9eaf0b1c2), volume: None }",
    ),
    (
        "detachVolume-never-existed",
        "Refused: CloudStack refused `detachVolume` with error 431",
    ),
];

#[tokio::test]
async fn every_body_is_understood_as_intended() {
    let cases = cases();
    let files: BTreeSet<_> = cases.keys().map(String::as_str).collect();
    let expected: BTreeSet<_> = EXPECTED.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        files, expected,
        "each file has a row here, and each row a file"
    );
    for (name, part) in EXPECTED {
        let said = play(&cases[*name]).await;
        assert!(said.contains(part), "{name}\n said {said}\n not  {part}");
    }
}
