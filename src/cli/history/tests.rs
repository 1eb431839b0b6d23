use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::cli::fixture::{NOW, VM, episode, later, over, plain};
use crate::model::action::Mark;
use crate::model::memory::{FailureClass, Intent, Progress};
use crate::model::{Action, Cause, IntentId, Owner, VolumeId};
use crate::store::{Approval, Bound, Settled};

const VOLUME: VolumeId = VolumeId::new(Uuid::from_u128(1));
const CALL: IntentId = IntentId::new(Uuid::from_u128(8));

fn attach() -> Action {
    Action::Attach {
        volume: VOLUME,
        vm: VM,
        device_id: None,
    }
}

fn version(generation: Generation, size: &str) -> What {
    What::Accepted(SpecVersion {
        generation,
        owner: Some(Owner::File("/specs/a.yaml".to_owned())),
        hash: format!("{generation}bcdef").repeat(7),
        manifest: json!({ "spec": { "size": size } }),
    })
}

fn called(second: u64, outcome: Option<Outcome>) -> What {
    What::Call(Box::new(JournalRow {
        intent: Intent {
            id: CALL,
            name: "pg".parse().expect("a name"),
            generation: 1,
            action: attach(),
            cause: Cause::Healing,
            created: later(NOW, second),
            expires: later(NOW, second + 60),
            progress: Progress::Journalled,
        },
        owner: Owner::File("/specs/a.yaml".to_owned()),
        settled: outcome.map(|outcome| Settled {
            outcome,
            at: later(NOW, second + 3),
        }),
    }))
}

/// A history in which everything occurs.
pub(in crate::cli) fn everything() -> Vec<Happening> {
    let healed = Ending::Healed { intent: Some(CALL) };
    let failed = Outcome::Failed {
        class: FailureClass::Quota,
        text: "no room".to_owned(),
    };
    let note = |everything, reason: &str| {
        What::Paused(PauseNote {
            until: later(NOW, 99),
            everything,
            reason: reason.to_owned(),
        })
    };
    let approval = What::Approved(Approval {
        action: attach(),
        until: later(NOW, 600),
        digest: "0123".to_owned(),
        reason: "as planned".to_owned(),
    });
    let bound = What::Bound(Bound {
        volume: VOLUME,
        mark: Mark::Adopted,
    });
    let nobodys = What::Accepted(SpecVersion {
        generation: 3,
        owner: None,
        hash: "ABC4".to_lowercase().repeat(10),
        manifest: json!({ "spec": { "size": "50GiB", "suspend": true } }),
    });
    let all = [
        (0, version(1, "40GiB")),
        (1, bound),
        (
            10,
            What::Drift(over(episode("pg", later(NOW, 10)), later(NOW, 45), healed)),
        ),
        (40, called(40, Some(Outcome::Succeeded { created: None }))),
        (50, version(2, "50GiB")),
        (51, called(51, Some(failed))),
        (52, approval),
        (53, note(false, "")),
        (54, note(true, "storage")),
        (60, What::Drift(episode("pg", later(NOW, 60)))),
        (61, called(61, None)),
        (70, nobodys),
    ];
    let happening = |(second, what)| Happening {
        at: later(NOW, second),
        what,
    };
    all.into_iter().map(happening).collect()
}

#[test]
fn a_history_is_one_list_in_order_of_time() {
    let call = CALL.to_string();
    let action = attach().to_string();
    let shown = plain(&text(&everything()));
    let lines: Vec<String> = shown
        .lines()
        .map(|line| {
            let line = line.replace(&call, "CALL").replace(&action, "ATTACH");
            let line = line.replace(&VOLUME.to_string(), "VOLUME");
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect();
    let expected = [
        "AT KIND STATE WHAT",
        "2027-01-15T08:00:00Z Spec Accepted version 1 (1bcdef1bcdef) from file:/specs/a.yaml",
        "2027-01-15T08:00:01Z Binding adopted bound to volume VOLUME",
        "2027-01-15T08:00:10Z Drift Differs spec.attachTo.vm: detached by somebody, not VM a",
        "2027-01-15T08:00:40Z Call Succeeded ATTACH (healing), took 3s",
        "2027-01-15T08:00:45Z Drift Over spec.attachTo.vm: healed by call CALL after 35s",
        "2027-01-15T08:00:50Z Spec Accepted version 2 (2bcdef2bcdef) from file:/specs/a.yaml: spec.size 40GiB → 50GiB",
        "2027-01-15T08:00:51Z Call Failed ATTACH (healing): no room",
        "2027-01-15T08:00:52Z Approval Approved ATTACH (as planned)",
        "2027-01-15T08:00:53Z Pause Paused until 2027-01-15T08:01:39Z",
        "2027-01-15T08:00:54Z Pause Paused everything until 2027-01-15T08:01:39Z (storage)",
        "2027-01-15T08:01:00Z Drift Differs spec.attachTo.vm: detached by somebody, not VM a",
        "2027-01-15T08:01:01Z Call Open ATTACH (healing)",
        "2027-01-15T08:01:10Z Spec Accepted version 3 (abc4abc4abc4): spec.suspend (not written) → true",
        "",
        "13 lines",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn two_versions_are_compared_in_either_order() {
    let history = everything();
    let between = |from: &str, to: &str| {
        let pair = [from.to_owned(), to.to_owned()];
        Difference::between(&history, &pair).map(|it| plain(&it.text()))
    };
    let grown = "~ spec.size\n   - 40GiB\n   + 50GiB\n";
    let shrunk = "~ spec.size\n   - 50GiB\n   + 40GiB\n";
    assert_eq!(between("1", "2").expect("kept"), grown);
    assert_eq!(between("2bcdef", "1BCD").expect("kept"), shrunk);
    assert_eq!(
        between("2", "2").expect("kept"),
        "versions 2 and 2 say the same\n"
    );
    assert!(between("2", "abc").is_err(), "too little of a hash");
    let failure = between("2", "9").expect_err("not kept");
    assert_eq!(failure.message, "version 9 of its spec is not kept");
    assert_eq!(
        failure.hint.as_deref(),
        Some("these are: 1 (1bcdef1bcdef), 2 (2bcdef2bcdef), 3 (abc4abc4abc4)")
    );
}
