use serde_json::json;
use uuid::Uuid;

use super::fake::{FakeCloud, FakeNbd, NOW, accept, hands, hands_on};
use super::*;
use crate::cloudstack::TransportError;
use crate::model::{Cause, IntentId, JobId, VmId};
use crate::store::IntentFilter;

const NAME: &str = "disk-0";

fn volume() -> VolumeId {
    VolumeId::new(Uuid::from_u128(1 << 96))
}

fn attach() -> Box<Intent> {
    Box::new(Intent {
        id: IntentId::new(Uuid::from_u128(3)),
        name: NAME.parse().expect("a name"),
        generation: 1,
        action: Action::Attach {
            volume: volume(),
            vm: VmId::new(Uuid::from_u128(4)),
            device_id: None,
        },
        cause: Cause::Declared,
        created: NOW.wall,
        expires: NOW.wall.plus(std::time::Duration::from_secs(60)),
        progress: Progress::Journalled,
    })
}

fn job() -> JobId {
    JobId::new(Uuid::from_u128(5))
}

fn receipt() -> FakeCloud {
    FakeCloud::answering(
        200,
        &json!({"attachvolumeresponse": {"jobid": job().to_string()}}),
    )
}

fn unknown() -> FakeCloud {
    FakeCloud::new(Err(TransportError::Unknown {
        why: "the connection was closed".to_owned(),
    }))
}

/// How far a call came by its row in the journal, and its end unless it is open.
type Journalled = (Progress, Option<Outcome>);

/// What came of one attach, what was sent for it, and its row, if it has one.
async fn attached(
    cloud: FakeCloud,
    is_accepted: bool,
) -> (Acted, Vec<&'static str>, Option<Journalled>) {
    let root = tempfile::tempdir().expect("a directory");
    let hands = hands(cloud.clone(), FakeNbd::new(Withdrawn::Gone), root.path()).await;
    if is_accepted {
        accept(&hands.store, NAME).await;
    }
    let acted = hands.act_on_cloud(attach()).await;
    let filter = IntentFilter {
        name: None,
        open_only: false,
        limit: 10,
    };
    let rows = hands.store.intents(filter).await.expect("readable");
    assert!(rows.len() <= 1, "{rows:?}");
    let row = rows.into_iter().next();
    let row = row.map(|row| (row.intent.progress, row.settled.map(|end| end.outcome)));
    (acted, cloud.sent(), row)
}

#[tokio::test]
async fn what_cannot_be_journalled_is_not_sent() {
    // Its spec was never accepted, so its row is refused.
    let (acted, sent, row) = attached(receipt(), false).await;
    assert!(matches!(acted, Acted::NotJournalled(..)), "{acted:?}");
    assert_eq!(sent, [""; 0]);
    assert_eq!(row, None);
}

#[tokio::test]
async fn an_accepted_call_is_open_with_its_job() {
    let (acted, sent, row) = attached(receipt(), true).await;
    let Acted::Open(intent) = acted else {
        panic!("{acted:?}");
    };
    assert_eq!(intent.progress, Progress::Submitted(job()));
    assert_eq!(sent, ["attachVolume"]);
    // The next daemon knows its job, too.
    assert_eq!(row, Some((Progress::Submitted(job()), None)));
}

#[tokio::test]
async fn a_lost_answer_leaves_it_open_and_is_not_asked_for_again() {
    let (acted, sent, row) = attached(unknown(), true).await;
    let Acted::Open(intent) = acted else {
        panic!("{acted:?}");
    };
    assert_eq!(intent.progress, Progress::Journalled);
    assert_eq!(intent.id, attach().id);
    assert_eq!(sent, ["attachVolume"], "once");
    let row = row.expect("journalled");
    assert_eq!(row, (Progress::Journalled, None), "its end is not known");
}

#[tokio::test]
async fn a_call_that_certainly_did_nothing_ends_at_once() {
    let refused = json!({"attachvolumeresponse": {
        "errorcode": 431, "cserrorcode": 4350, "errortext": "no such thing"}});
    let no_connection = FakeCloud::new(Err(TransportError::NotSent {
        why: "refused".to_owned(),
    }));
    for cloud in [FakeCloud::answering(431, &refused), no_connection] {
        let (acted, sent, row) = attached(cloud, true).await;
        assert!(matches!(acted, Acted::Ended(..)), "{acted:?}");
        assert_eq!(sent, ["attachVolume"]);
        assert!(
            matches!(row, Some((_, Some(Outcome::Failed { .. })))),
            "{row:?}"
        );
    }
}

#[tokio::test]
async fn an_end_that_cannot_be_written_leaves_it_open() {
    let root = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", root.path().join("store.db").display());
    let refused = FakeCloud::new(Err(TransportError::NotSent {
        why: "refused".to_owned(),
    }));
    let nbd = FakeNbd::new(Withdrawn::Gone);
    let hands = hands_on(&url, refused.taking_over(&url), nbd, root.path()).await;
    accept(&hands.store, NAME).await;
    let acted = hands.act_on_cloud(attach()).await;
    // Its row says open, so a restart follows it up; so must we.
    assert!(matches!(acted, Acted::Open(..)), "{acted:?}");
}

#[tokio::test]
async fn an_export_ends_the_way_it_was_decided() {
    for (mode, withdrawn, expected) in [
        (WithdrawMode::Soft, Withdrawn::Gone, "done"),
        (WithdrawMode::Soft, Withdrawn::StillInUse, "in use"),
        (WithdrawMode::Soft, Withdrawn::Draining, "done"),
        (WithdrawMode::Hard, Withdrawn::Gone, "done"),
    ] {
        let root = tempfile::tempdir().expect("a directory");
        let nbd = FakeNbd::new(withdrawn);
        let hands = hands(receipt(), nbd.clone(), root.path()).await;
        let action = Action::Withdraw {
            volume: volume(),
            export: ExportName::default_for(volume()),
            node: NodeName::reported("drive0"),
            mode,
        };
        let name = NAME.parse().expect("a name");
        let said = match hands.act_locally(&name, &action).await {
            LocalResult::Done => "done",
            LocalResult::Failed(FailureClass::InUse, _) => "in use",
            LocalResult::Failed(..) => "failed",
        };
        assert_eq!(said, expected, "{mode:?} {withdrawn:?}");
        assert_eq!(nbd.modes(), [mode]);
    }
}

#[tokio::test]
async fn a_cloud_action_is_never_carried_out_without_an_intent() {
    let root = tempfile::tempdir().expect("a directory");
    let cloud = receipt();
    let hands = hands(cloud.clone(), FakeNbd::new(Withdrawn::Gone), root.path()).await;
    let name = NAME.parse().expect("a name");
    let result = hands.act_locally(&name, &attach().action).await;
    assert!(matches!(
        result,
        LocalResult::Failed(FailureClass::Refused, _)
    ));
    assert_eq!(cloud.sent(), [""; 0]);
}
