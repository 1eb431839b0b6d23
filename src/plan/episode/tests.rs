use uuid::Uuid;

use super::*;
use crate::model::{Action, Cause, VmId, VolumeId};
use crate::plan::{Blocked, Step, Waiting};

const VM: &str = "spec.attachTo.vm";
const CALL: IntentId = IntentId::new(Uuid::from_u128(7));

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1000)
}

fn drift(field: &str, observed: &str) -> Drift {
    let class = if field.contains("attachTo") {
        DriftClass::Attachment
    } else {
        DriftClass::Size
    };
    Drift::new(class, field, "as asked", observed)
}

fn act() -> Decision {
    let action = Action::Attach {
        volume: VolumeId::new(Uuid::from_u128(1)),
        vm: VmId::new(Uuid::from_u128(2)),
        device_id: None,
    };
    Decision::Act {
        now: Box::new(Step {
            action,
            cause: Cause::Healing,
            reason: String::new(),
        }),
        then: Vec::new(),
    }
}

fn waiting() -> Decision {
    Decision::Waiting {
        on: Waiting::Paused {
            until: crate::model::BootTime::from_millis(0),
            reason: String::new(),
        },
        then: Vec::new(),
    }
}

fn blocked() -> Decision {
    Decision::Blocked {
        by: vec![Blocked::Contended { heals: 3 }],
        then: Vec::new(),
    }
}

fn observing() -> Decision {
    Decision::Observing {
        what: String::new(),
        reread: Vec::new(),
    }
}

/// What is seen at one moment, or done just before it.
enum Then {
    Seen(Decision, Vec<Drift>),
    /// CloudStack's word did not count.
    Unread(Decision, Vec<Drift>),
    /// The same by another version of the spec.
    Edited(Decision, Vec<Drift>),
    Done(DriftClass, Option<IntentId>),
}
use Then::{Done, Edited, Seen, Unread};

/// The episodes of a story, one moment a second from 1: `field observed first-end how`.
fn told(story: Vec<Then>) -> Vec<String> {
    let volume: VolumeName = "pg".parse().expect("a name");
    let (mut open, mut told) = (Vec::new(), Vec::new());
    for (second, then) in (1..).zip(story) {
        let (generation, is_read, decision, drift) = match then {
            Done(class, intent) => {
                undone(&mut open, class, intent);
                continue;
            }
            Seen(decision, drift) => (1, true, decision, drift),
            Unread(decision, drift) => (1, false, decision, drift),
            Edited(decision, drift) => (2, true, decision, drift),
        };
        let plan = VolumePlan { decision, drift };
        let sight = Sight {
            volume: &volume,
            generation,
            plan: &plan,
            is_read,
            at: at(second),
        };
        told.extend(follow(&mut open, &sight));
    }
    let line = |episode: &Episode| {
        let Drift {
            field, observed, ..
        } = &episode.drift;
        let begun = episode.first_seen.as_millis() / 1000;
        match &episode.ended {
            None => format!("{field} {observed} {begun}-"),
            Some(ended) => {
                let (last, at) = (ended.last_seen.as_millis(), ended.at.as_millis());
                let (last, at, how) = (last / 1000, at / 1000, ended.ending);
                format!("{field} {observed} {begun}-{last}-{at} {how:?}")
            }
        }
    };
    told.iter().map(line).collect()
}

#[test]
fn an_episode_begins_once_and_ends_when_the_difference_is_seen_to_be_gone() {
    let gone = || vec![drift(VM, "gone")];
    let in_sync = || Seen(Decision::InSync, vec![]);
    let healed = format!(
        "{VM} gone 1-2-6 Healed {{ intent: Some(IntentId({})) }}",
        CALL.uuid()
    );
    let cases: Vec<(&str, Vec<Then>, Vec<&str>)> = vec![
        ("nothing differs", vec![in_sync(), in_sync()], vec![]),
        (
            "as it was",
            vec![Seen(waiting(), gone()), Seen(waiting(), gone())],
            vec!["spec.attachTo.vm gone 1-"],
        ),
        (
            "healed",
            vec![
                Seen(waiting(), gone()),
                Seen(waiting(), gone()),
                Seen(act(), vec![]),
                Done(DriftClass::Attachment, Some(CALL)),
                Seen(observing(), vec![]),
                in_sync(),
            ],
            vec!["spec.attachTo.vm gone 1-", &healed],
        ),
        (
            "healed without a call",
            vec![
                Seen(waiting(), gone()),
                Done(DriftClass::Attachment, None),
                in_sync(),
            ],
            vec![
                "spec.attachTo.vm gone 1-",
                "spec.attachTo.vm gone 1-1-3 Healed { intent: None }",
            ],
        ),
        (
            "healed, and something else is in the way then",
            vec![
                Seen(waiting(), gone()),
                Done(DriftClass::Attachment, None),
                Unread(blocked(), vec![]),
                Seen(blocked(), vec![]),
            ],
            vec![
                "spec.attachTo.vm gone 1-",
                "spec.attachTo.vm gone 1-1-4 Healed { intent: None }",
            ],
        ),
        (
            "a step about something else heals nothing",
            vec![
                Seen(blocked(), gone()),
                Done(DriftClass::Size, Some(CALL)),
                in_sync(),
            ],
            vec![
                "spec.attachTo.vm gone 1-",
                "spec.attachTo.vm gone 1-1-3 ByItself",
            ],
        ),
        (
            "what we did did not last",
            vec![
                Seen(waiting(), gone()),
                Done(DriftClass::Attachment, Some(CALL)),
                Seen(waiting(), gone()),
                in_sync(),
            ],
            vec![
                "spec.attachTo.vm gone 1-",
                "spec.attachTo.vm gone 1-3-4 ByItself",
            ],
        ),
        (
            "not seen is not gone",
            vec![
                Seen(blocked(), gone()),
                Seen(observing(), vec![]),
                Seen(blocked(), vec![]),
                Unread(blocked(), vec![drift("spec.size", "9GiB")]),
                Unread(Decision::InSync, vec![]),
            ],
            vec!["spec.attachTo.vm gone 1-", "spec.size 9GiB 4-"],
        ),
        (
            "one of two is gone",
            vec![
                Seen(blocked(), vec![drift(VM, "x"), drift("spec.size", "9GiB")]),
                Seen(blocked(), vec![drift(VM, "x")]),
            ],
            vec![
                "spec.attachTo.vm x 1-",
                "spec.size 9GiB 1-",
                "spec.size 9GiB 1-1-2 ByItself",
            ],
        ),
        (
            "another value is another episode",
            vec![
                Seen(blocked(), vec![drift(VM, "x")]),
                Seen(blocked(), vec![drift(VM, "y")]),
            ],
            vec![
                "spec.attachTo.vm x 1-",
                "spec.attachTo.vm x 1-1-2 Changed",
                "spec.attachTo.vm y 2-",
            ],
        ),
        (
            "a step that is held up is about the same",
            vec![
                Seen(waiting(), gone()),
                Seen(
                    waiting(),
                    vec![drift("spec.attachTo", "somebody detached it")],
                ),
                Seen(waiting(), gone()),
            ],
            vec!["spec.attachTo.vm gone 1-"],
        ),
        (
            "an edit that asks for what there is",
            vec![Seen(blocked(), gone()), Edited(Decision::InSync, vec![])],
            vec![
                "spec.attachTo.vm gone 1-",
                "spec.attachTo.vm gone 1-1-2 SpecChanged",
            ],
        ),
        (
            "an edit of something else",
            vec![Seen(blocked(), gone()), Edited(blocked(), gone())],
            vec!["spec.attachTo.vm gone 1-"],
        ),
        (
            "an edit that asks for yet another",
            vec![
                Seen(blocked(), gone()),
                Edited(
                    blocked(),
                    vec![Drift::new(DriftClass::Attachment, VM, "b", "gone")],
                ),
            ],
            vec![
                "spec.attachTo.vm gone 1-",
                "spec.attachTo.vm gone 1-1-2 SpecChanged",
                "spec.attachTo.vm gone 2-",
            ],
        ),
        (
            "the spec is gone",
            vec![Seen(blocked(), gone()), Unread(Decision::Released, vec![])],
            vec![
                "spec.attachTo.vm gone 1-",
                "spec.attachTo.vm gone 1-1-2 SpecChanged",
            ],
        ),
    ];
    for (case, story, expected) in cases {
        assert_eq!(told(story), expected, "{case}");
    }
}
