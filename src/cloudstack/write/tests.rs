//! What is sent for each step, and that it is sent once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::clock::Clock as _;
use crate::cloudstack::fake::{self, Fake, client};
use crate::cloudstack::{CallOutcome, Scope, TransportError};
use crate::model::action::{Claim, DeviceProof, Mark};
use crate::model::memory::{FailureClass, Progress};
use crate::model::observed::DeviceNumber;
use crate::model::{
    ByteSize, Cause, InstanceId, IntentId, OfferingId, Serial, SpecUid, VmId, WithdrawMode, ZoneId,
};

const VOLUME: VolumeId = VolumeId::new(Uuid::from_u128(1));
const VM: VmId = VmId::new(Uuid::from_u128(2));
const ZONE: ZoneId = ZoneId::new(Uuid::from_u128(3));
const OFFERING: OfferingId = OfferingId::new(Uuid::from_u128(4));
const PROJECT: Uuid = Uuid::from_u128(5);
const INTENT: IntentId = IntentId::new(Uuid::from_u128(6));

fn intent(action: Action) -> Intent {
    Intent {
        id: INTENT,
        name: "data-1".parse().expect("a name"),
        generation: 1,
        action,
        cause: Cause::Declared,
        created: fake::WALL.parse().expect("a time"),
        expires: "2026-11-20T22:02:03.456Z".parse().expect("a time"),
        progress: Progress::Journalled,
    }
}

fn create() -> Action {
    Action::Create {
        volume_name: "data 1".to_owned(),
        size: ByteSize::mib(1025),
        zone: ZONE,
        offering: OFFERING,
    }
}

fn detach() -> Action {
    Action::Detach {
        volume: VOLUME,
        vm: VM,
    }
}

#[tokio::test]
async fn each_step_is_one_post_with_its_parameters() {
    let claim = Claim {
        instance: InstanceId::new(Uuid::from_u128(7)),
        spec: SpecUid::new(Uuid::from_u128(8)),
        mark: Mark::Created,
    };
    let attach = |device_id| Action::Attach {
        volume: VOLUME,
        vm: VM,
        device_id,
    };
    let (volume, vm, claim_text) = (VOLUME.to_string(), VM.to_string(), claim.to_string());
    let (zone, offering, project) = (ZONE.to_string(), OFFERING.to_string(), PROJECT.to_string());
    for (action, command, params) in [
        (
            create(),
            "createVolume",
            vec![
                ("name", "data 1"),
                ("size", "2"),
                ("zoneid", &zone),
                ("diskofferingid", &offering),
                ("projectid", &project),
            ],
        ),
        (
            Action::Tag {
                volume: VOLUME,
                claim,
            },
            "createTags",
            vec![
                ("resourcetype", "Volume"),
                ("resourceids", &volume),
                ("tags[0].key", "volume-daemon/uid"),
                ("tags[0].value", &claim_text),
            ],
        ),
        (
            Action::Grow {
                volume: VOLUME,
                vm: Some(VM),
                from: ByteSize::gib(1),
                to: ByteSize::gib(3),
            },
            "resizeVolume",
            vec![("id", &volume), ("size", "3")],
        ),
        (
            attach(None),
            "attachVolume",
            vec![("id", &volume), ("virtualmachineid", &vm)],
        ),
        (
            attach(Some(0)),
            "attachVolume",
            vec![
                ("id", &volume),
                ("virtualmachineid", &vm),
                ("deviceid", "0"),
            ],
        ),
        (detach(), "detachVolume", vec![("id", &volume)]),
    ] {
        let job = INTENT.to_string();
        let fake = Fake::new(|_| {
            fake::json(&json!({"r": {"id": VOLUME.to_string(), "jobid": INTENT.to_string()}}))
        });
        let scope = Scope {
            listall: true,
            project: Some(PROJECT),
        };
        let submitted = client(&fake, scope)
            .submit(&intent(action), Deadline::never())
            .await;
        assert_eq!(
            submitted.expect("a receipt"),
            Submitted {
                job: INTENT.job(),
                volume: (command == "createVolume").then_some(VOLUME),
            }
        );
        let mut expected: BTreeMap<_, _> = params.into_iter().collect();
        expected.extend([
            ("command", command),
            ("customjobid", &job),
            ("apikey", "the-key"),
            ("response", "json"),
            ("signatureversion", "3"),
            // Cut to the second, never later than the journal says.
            ("expires", "2026-11-20T22:02:03+0000"),
        ]);
        let [call] = &fake.calls()[..] else {
            panic!("{command} is sent once")
        };
        assert_eq!(call.method, Method::Post);
        let mut sent = call.params.clone();
        let signature = sent.remove("signature").expect("signed");
        assert_eq!(signature.len(), 28);
        let sent: BTreeMap<_, _> = sent.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(sent, expected);
    }
}

#[tokio::test]
async fn a_failed_call_is_never_sent_again() {
    use CallOutcome::Unknown;
    let known = |class| CallOutcome::NotExecuted {
        class,
        retry_after: None,
    };
    let lost = || "lost".to_owned();
    for (case, answer, outcome) in [
        (
            "refused connection",
            Err(TransportError::NotSent { why: lost() }),
            known(FailureClass::Retry),
        ),
        (
            "time-out",
            Err(TransportError::Unknown { why: lost() }),
            Unknown,
        ),
        ("bad gateway", fake::answer(502, "<html>"), Unknown),
        ("unavailable", fake::answer(503, "<html>"), Unknown),
        ("empty", fake::answer(200, ""), Unknown),
        ("no receipt", fake::answer(200, r#"{"r":{}}"#), Unknown),
        (
            "not under an id",
            fake::answer(200, r#"{"r":{"jobid":"7"}}"#),
            Unknown,
        ),
        ("internal", fake::error(530, "Internal error"), Unknown),
        (
            "shutting down",
            fake::error(503, "Can not accept new jobs"),
            known(FailureClass::Retry),
        ),
        (
            "parameter",
            fake::error(431, "Please specify a valid disk offering."),
            known(FailureClass::Refused),
        ),
        (
            "expired or wrong key",
            fake::error(401, "unable to verify user credentials"),
            known(FailureClass::Environment),
        ),
    ] {
        let fake = Fake::new(move |_| answer.clone());
        let error = client(&fake, Scope::default())
            .submit(&intent(create()), Deadline::never())
            .await
            .expect_err(case);
        assert_eq!(error.outcome(), outcome, "{case}");
        assert_eq!(fake.calls().len(), 1, "{case}");
        let mut text = format!("{error:?}");
        let mut below: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = below {
            text += &error.to_string();
            below = error.source();
        }
        for secret in ["the-key", "the-secret", "signature="] {
            assert!(!text.contains(secret), "{case}: {text}");
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_once_the_lease_may_be_somebody_elses() {
    let clock = fake::clock();
    let until = clock.now().boot.plus(Duration::from_secs(10));
    let deadline = || Deadline::at(until, clock.clone());
    let job = JobId::new(Uuid::from_u128(9));
    let fake = Fake::new(move |_| fake::json(&json!({"r": {"jobid": job.to_string()}})));
    let client = client(&fake, Scope::default());
    clock.advance(Duration::from_secs(10) - Duration::from_micros(1));
    let sent = client.submit(&intent(detach()), deadline()).await;
    assert_eq!(sent.expect("in time").job, job);
    clock.advance(Duration::from_micros(1));
    let error = client
        .submit(&intent(detach()), deadline())
        .await
        .expect_err("too late");
    assert!(
        matches!(error.outcome(), CallOutcome::NotExecuted { .. }),
        "{error}"
    );
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn a_server_may_choose_its_own_job_id() {
    let own = JobId::new(Uuid::from_u128(99));
    let fake = Fake::new(move |_| fake::json(&json!({"r": {"jobid": own.to_string()}})));
    let submitted = client(&fake, Scope::default())
        .submit(&intent(detach()), Deadline::never())
        .await;
    assert_eq!(submitted.expect("a receipt").job, own);
}

#[tokio::test]
async fn steps_without_cloudstack_are_not_sent() {
    let export = format!("migration-vol-{VOLUME}").parse::<crate::model::ExportName>();
    let export = export.expect("a name");
    let device = DeviceProof {
        link: "virtio-1".to_owned(),
        serial: Serial::of(VOLUME),
        number: DeviceNumber::Block {
            major: 254,
            minor: 0,
        },
        diskseq: None,
        size: ByteSize::gib(1),
    };
    for action in [
        Action::Withdraw {
            volume: VOLUME,
            export: export.clone(),
            node: device.node(),
            mode: WithdrawMode::Soft,
        },
        Action::Export {
            volume: VOLUME,
            export: export.clone(),
            read_only: true,
            device: device.clone(),
        },
    ] {
        let fake = Fake::new(|_| fake::error(530, "never asked"));
        let error = client(&fake, Scope::default())
            .submit(&intent(action), Deadline::never())
            .await
            .expect_err("no call");
        assert!(
            matches!(error, CloudStackError::NotACloudAction { .. }),
            "{error}"
        );
        assert!(fake.calls().is_empty());
    }
}
