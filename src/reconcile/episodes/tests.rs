use std::collections::BTreeSet;

use super::*;
use crate::plan::{Blocked, Decision, Drift, VolumePlan};
use crate::reconcile::fixture::{self, HERE, OTHER, Seen, answered, bound, now};
use crate::reconcile::{Core, Effect, Event, Memo};

fn drifted() -> VolumePlan {
    VolumePlan {
        decision: Decision::Blocked {
            by: vec![Blocked::Contended { heals: 3 }],
            then: Vec::new(),
        },
        drift: vec![Drift {
            class: DriftClass::Attachment,
            field: "spec.attachTo.vm".to_owned(),
            desired: "here".to_owned(),
            observed: "there".to_owned(),
        }],
    }
}

fn see(episodes: &mut Episodes, volume: &str, plan: &VolumePlan, millis: u64) {
    episodes.follow(&Sight {
        volume: &fixture::name(volume),
        generation: 1,
        plan,
        is_read: true,
        at: now(millis).wall,
    });
}

#[test]
fn a_flood_is_written_in_batches_one_after_another() {
    let mut episodes = Episodes::default();
    for n in 0..10_000 {
        see(&mut episodes, &format!("disk-{n}"), &drifted(), 0);
    }
    let (mut batches, mut written) = (0, BTreeSet::new());
    while let Some(batch) = episodes.take(now(1)) {
        assert!(batch.len() <= BATCH);
        assert_eq!(episodes.take(now(1)), None, "one at a time");
        written.extend(batch.iter().map(Episode::key));
        batches += 1;
        episodes.written(batch, true, now(1));
    }
    assert_eq!((batches, written.len()), (10_000 / BATCH, 10_000));
    for millis in 2..10 {
        see(&mut episodes, "disk-1", &drifted(), millis);
    }
    assert_eq!(episodes.take(now(20)), None, "it is as it was");
    assert_eq!(episodes.due(), None);
}

#[test]
fn what_could_not_be_written_is_written_later_as_it_is_then() {
    let mut episodes = Episodes::default();
    see(&mut episodes, "a", &drifted(), 0);
    see(&mut episodes, "b", &drifted(), 0);
    let batch = episodes.take(now(0)).expect("two have begun");
    let in_sync = VolumePlan {
        decision: Decision::InSync,
        drift: Vec::new(),
    };
    see(&mut episodes, "a", &in_sync, 5);
    episodes.written(batch, false, now(10));
    assert_eq!(episodes.take(now(20)), None, "not in a loop");
    let due = now(10).boot.plus(RETRY);
    assert_eq!(episodes.due(), Some(due));
    let later = Now {
        boot: due,
        ..now(0)
    };
    let batch = episodes.take(later).expect("due");
    let over: Vec<bool> = batch.iter().map(|it| it.ended.is_some()).collect();
    assert_eq!(over, [true, false]);
}

fn episodes_in(effects: Vec<Effect>) -> Vec<Vec<Episode>> {
    let batch = |effect| match effect {
        Effect::Remember(Memo::Episodes(batch)) => Some(batch),
        _ => None,
    };
    effects.into_iter().filter_map(batch).collect()
}

/// `disk-1` is on another VM than its spec says.
fn elsewhere() -> (Core, Vec<Effect>) {
    let seen = Seen {
        cloud: vec![fixture::attached(1, OTHER)],
        ..Seen::nothing(vec![fixture::want(1)])
    };
    seen.start(bound(&[1]))
}

#[test]
fn what_differs_is_handed_out_to_be_written_and_no_call_waits_for_it() {
    let (mut core, effects) = elsewhere();
    let batches = episodes_in(effects);
    let [batch] = batches.as_slice() else {
        panic!("{batches:?}")
    };
    assert_eq!(batch[0].drift.observed, format!("VM {OTHER}"));
    let refused = Err("a row is too long".to_owned());
    let memo = Memo::Episodes(batch.clone());
    core.handle(Event::Remembered(memo, refused), now(10));
    assert_eq!(core.store_down(), None);
    assert_eq!(episodes_in(answered(&mut core, now(10))).len(), 0);
}

#[test]
fn while_the_store_rests_nothing_is_handed_out_to_be_written() {
    let seen = Seen {
        cloud: vec![fixture::attached(1, HERE)],
        ..Seen::nothing(vec![fixture::want(1)])
    };
    let (mut core, _) = seen.start(bound(&[1]));
    core.handle(Event::Lease(Err("no server".to_owned())), now(10));
    let moved = crate::model::observed::CloudVolume {
        begun: now(11).boot,
        ..fixture::attached(1, OTHER)
    };
    let answer = fixture::listing(vec![moved], now(11).boot);
    let event = Event::Cloud(fixture::full(), Ok(Box::new(answer)));
    core.handle(event, now(11));
    assert_eq!(episodes_in(answered(&mut core, now(11))).len(), 0);
    core.handle(Event::Lease(Ok(())), now(12));
    assert_eq!(episodes_in(answered(&mut core, now(12))).len(), 1);
}

#[test]
fn an_episode_that_was_open_when_the_daemon_ended_is_the_same_one() {
    let (_, effects) = elsewhere();
    let before = episodes_in(effects).concat();
    let open = before.iter().cloned().map(|it| Open::again(it, None));
    let mut again = Episodes::default();
    again.restore(open.collect());
    let plan = VolumePlan {
        drift: vec![before[0].drift.clone()],
        ..drifted()
    };
    see(&mut again, "disk-1", &plan, 99);
    assert_eq!(again.take(now(99)), None);
}
