use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::fixture::*;
use super::*;
use crate::model::memory::Memory;
use crate::model::observed::{CloudView, Observed, Unlisted};
use crate::model::{BootTime, ByteSize, JobId, OfferingId, Timestamp, VmId, ZoneId};
use crate::plan::{Desired, World};

const HANDLING: Duration = Duration::from_secs(60);

/// When the question about the job is begun in every case.
fn asked_at() -> BootTime {
    now(0).boot
}

/// A world in which `volumes` were listed just after the question about the job.
fn world(volumes: Vec<CloudVolume>) -> World {
    World {
        desired: Desired::default(),
        observed: Observed {
            cloud: CloudView {
                volumes: volumes.into_iter().map(|v| (v.id, v)).collect(),
                listed: Ok(now(1).boot),
                ..CloudView::default()
            },
            ..Observed::default()
        },
        memory: Memory::new(INSTANCE),
    }
}

/// What `createVolume` of `disk-1` leaves: nobody's yet. Volumes made by one call differ in
/// their ids only.
fn made(id: u32) -> CloudVolume {
    CloudVolume {
        id: volume_id(id),
        tags: BTreeMap::new(),
        ..volume(1)
    }
}

/// Volume 1 on that VM, as it was read after the answer.
fn read_at(vm: Option<VmId>) -> CloudVolume {
    CloudVolume {
        begun: now(1).boot,
        ..vm.map_or_else(|| made(1), |vm| attached(1, vm))
    }
}

fn answer(state: JobState, server: Option<Timestamp>) -> JobAnswer {
    JobAnswer {
        state,
        begun: asked_at(),
        server,
    }
}

fn say(verdict: &Verdict) -> String {
    let number = |id: &VolumeId| {
        let n = (1..9).find(|n| volume_id(*n) == *id);
        n.expect("one of ours").to_string()
    };
    match verdict {
        Verdict::Open => "open".to_owned(),
        Verdict::NeedsName(name) => format!("needs {name}"),
        Verdict::NeedsVolume(volume) => format!("needs {}", number(volume)),
        Verdict::Undecided(all) => {
            let all: Vec<String> = all.iter().map(number).collect();
            format!("undecided {}", all.join(" "))
        }
        Verdict::Ended(Outcome::Succeeded { created: None }) => "succeeded".to_owned(),
        Verdict::Ended(Outcome::Succeeded { created: Some(id) }) => format!("made {}", number(id)),
        Verdict::Ended(outcome) => outcome.as_str().to_owned(),
    }
}

fn submitted() -> Progress {
    Progress::Submitted(JobId::new(Uuid::from_u128(5)))
}

fn undecided() -> Progress {
    Progress::Undecided(vec![volume_id(1), volume_id(2)])
}

fn failed(volume: Option<u32>) -> JobState {
    JobState::Failed {
        class: FailureClass::Environment,
        code: 530,
        volume: volume.map(volume_id),
        text: "no host".to_owned(),
    }
}

fn lost(volume: Option<u32>) -> JobState {
    JobState::Lost {
        volume: volume.map(volume_id),
        text: "restarted".to_owned(),
    }
}

fn succeeded(id: Option<u32>) -> JobState {
    JobState::Succeeded {
        volume: id.map(volume_id),
    }
}

/// What each state of a job means for each progress of its intent: for any other call, and for a
/// create that left nothing, one volume, or two. The first column tells whether the answer is
/// final.
#[test]
fn every_end_of_a_job_has_its_verdict() {
    let (journalled, gone) = (|| Progress::Journalled, || JobState::NotFound);
    // The intent expires at 60 s; handling takes another 60 s.
    let (early, limit, late) = (0, 120_000, 120_001);
    let open = [false, false, false, false, false].map(|_| "open");
    let two = "undecided 1 2";
    type Row = (&'static str, Progress, JobState, u64, [&'static str; 5]);
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        ("it runs", submitted(), JobState::Pending, late, open),
        ("it runs, found", journalled(), JobState::Pending, late, open),
        ("it runs, undecided", undecided(), JobState::Pending, late, open),
        ("done", submitted(), succeeded(None), early, ["final", "succeeded", "lost", "made 1", two]),
        ("done, found", journalled(), succeeded(None), early, ["final", "succeeded", "lost", "made 1", two]),
        ("done, and says what", submitted(), succeeded(Some(2)), early, ["final", "succeeded", "made 2", "made 2", "made 2"]),
        ("says at last", undecided(), succeeded(Some(2)), early, ["final", "succeeded", "made 2", "made 2", "made 2"]),
        ("failed", submitted(), failed(None), early, ["final", "failed", "failed", "made 1", two]),
        ("failed, found", journalled(), failed(None), early, ["final", "failed", "failed", "made 1", two]),
        ("failed, names the second", submitted(), failed(Some(2)), early, ["final", "failed", "failed", "failed", "made 2"]),
        ("lost", submitted(), lost(None), early, ["final", "lost", "lost", "made 1", two]),
        ("lost, found", journalled(), lost(None), early, ["final", "lost", "lost", "made 1", two]),
        ("lost, names the first", undecided(), lost(Some(1)), early, ["final", "lost", "lost", "made 1", "made 1"]),
        ("purged", submitted(), gone(), early, ["final", "lost", "lost", "made 1", two]),
        ("may come", journalled(), gone(), early, open),
        ("may come to the last", journalled(), gone(), limit, open),
        ("never came", journalled(), gone(), late, ["final", "never-sent", "never-sent", "made 1", two]),
        ("undecided, may come", undecided(), gone(), limit, open),
        ("undecided", undecided(), gone(), late, ["final", "never-sent", "never-sent", "made 1", two]),
    ];
    for (case, progress, state, server, expected) in rows {
        let answer = answer(state, Some(now(server).wall));
        let ends = |action, volumes| {
            let intent = intent(1, action, progress.clone());
            let is_final = is_final(&answer, &intent, HANDLING);
            assert_eq!(is_final, expected[0] == "final", "{case}: {intent:?}");
            say(&judge(&world(volumes), &intent, &answer, HANDLING))
        };
        for action in others() {
            let kind = action.kind();
            // As it was before, so that nothing but the job tells.
            let place = (kind == Action::DETACH).then_some(HERE);
            let ends = ends(action, vec![read_at(place)]);
            assert_eq!(ends, expected[1], "{case}: {kind}");
        }
        assert_eq!(ends(create(1), vec![]), expected[2], "{case}: nothing");
        assert_eq!(ends(create(1), vec![made(1)]), expected[3], "{case}: one");
        let both = vec![made(1), made(2)];
        assert_eq!(ends(create(1), both), expected[4], "{case}: two");
    }
}

/// One of each cloud action that makes no volume.
fn others() -> [Action; 4] {
    let volume = volume_id(1);
    [
        Action::Tag {
            volume,
            claim: claim(1),
        },
        Action::Grow {
            volume,
            vm: None,
            from: ByteSize::gib(4),
            to: ByteSize::gib(5),
        },
        attach(1, HERE),
        Action::Detach { volume, vm: HERE },
    ]
}

#[test]
fn a_lost_attach_or_detach_is_judged_by_where_the_volume_is() {
    let detach = Action::Detach {
        volume: volume_id(1),
        vm: HERE,
    };
    for (action, place, ends) in [
        (attach(1, HERE), Some(HERE), "succeeded"),
        (attach(1, HERE), Some(OTHER), "lost"),
        (attach(1, HERE), None, "lost"),
        (detach.clone(), Some(HERE), "lost"),
        (detach.clone(), Some(OTHER), "succeeded"),
        (detach, None, "succeeded"),
    ] {
        for state in [lost(None), JobState::NotFound] {
            let intent = intent(1, action.clone(), submitted());
            let answer = answer(state, None);
            let judge = |world: &World| say(&judge(world, &intent, &answer, HANDLING));
            assert_eq!(
                judge(&world(vec![read_at(place)])),
                ends,
                "{action:?} {place:?}"
            );
            let mut before = world(vec![CloudVolume {
                begun: asked_at(),
                ..read_at(place)
            }]);
            assert_eq!(judge(&before), "needs 1", "{action:?} {place:?}");
            before
                .observed
                .cloud
                .absent
                .insert(volume_id(1), now(1).boot);
            assert_eq!(judge(&before), "lost", "{action:?} {place:?}");
        }
    }
}

#[test]
fn a_lost_delete_is_judged_by_whether_the_volume_is_there() {
    let delete = Action::Delete {
        volume: volume_id(1),
        is_blank: false,
    };
    let intent = intent(1, delete, submitted());
    let answer = answer(lost(None), None);
    let judge = |world: &World| say(&judge(world, &intent, &answer, HANDLING));
    assert_eq!(judge(&world(vec![read_at(None)])), "lost");
    let destroyed = CloudVolume {
        state: VolumeState::Destroy,
        ..read_at(None)
    };
    assert_eq!(judge(&world(vec![destroyed])), "succeeded");
    let mut gone = world(vec![]);
    assert_eq!(judge(&gone), "needs 1");
    gone.observed.cloud.absent.insert(volume_id(1), now(1).boot);
    assert_eq!(judge(&gone), "succeeded");
}

#[test]
fn without_the_servers_clock_a_call_may_still_come() {
    let not_found = answer(JobState::NotFound, None);
    for action in others().into_iter().chain([create(1)]) {
        let journalled = intent(1, action.clone(), Progress::Journalled);
        assert!(!is_final(&not_found, &journalled, HANDLING));
        let verdict = judge(&world(vec![made(1)]), &journalled, &not_found, HANDLING);
        assert_eq!(verdict, Verdict::Open);
        // What was accepted once does not come again.
        let accepted = intent(1, action, submitted());
        assert!(is_final(&not_found, &accepted, HANDLING));
    }
}

#[test]
fn a_create_is_judged_by_a_look_begun_after_the_answer() {
    let listed = |at: u64, named: Option<u64>| {
        let mut world = world(vec![made(1)]);
        world.observed.cloud.listed = Ok(self::at(at));
        let named = named.map(|at| ("disk-1".to_owned(), self::at(at)));
        world.observed.cloud.named = named.into_iter().collect();
        world
    };
    let mut away = world(vec![made(1)]);
    away.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
    let mut another = listed(999_000, None);
    another.observed.cloud.named = BTreeMap::from([("disk-2".to_owned(), at(1_000_001))]);
    let cases = [
        ("listed before", listed(999_000, None), "needs disk-1"),
        (
            "listed as it was asked",
            listed(1_000_000, None),
            "needs disk-1",
        ),
        ("listed after", listed(1_000_001, None), "made 1"),
        (
            "looked up before",
            listed(990_000, Some(999_000)),
            "needs disk-1",
        ),
        (
            "looked up as it was asked",
            listed(990_000, Some(1_000_000)),
            "needs disk-1",
        ),
        (
            "looked up after",
            listed(990_000, Some(1_000_001)),
            "made 1",
        ),
        ("another name looked up after", another, "needs disk-1"),
        ("never listed", away, "needs disk-1"),
    ];
    for (case, world, expected) in cases {
        for state in [
            failed(None),
            lost(None),
            lost(Some(1)),
            JobState::NotFound,
            succeeded(None),
        ] {
            let intent = intent(1, create(1), submitted());
            let verdict = judge(&world, &intent, &answer(state.clone(), None), HANDLING);
            assert_eq!(say(&verdict), expected, "{case}: {state:?}");
        }
        // What its job says of a success needs no look.
        let intent = intent(1, create(1), submitted());
        let told = answer(succeeded(Some(3)), None);
        assert_eq!(
            say(&judge(&world, &intent, &told, HANDLING)),
            "made 3",
            "{case}"
        );
    }
}

#[test]
fn only_a_new_free_volume_of_that_name_may_have_been_made() {
    type Change = fn(&mut CloudVolume);
    let before = |seconds: i64| {
        let wall = now(0).wall.as_millis() - seconds * 1000;
        Some(Timestamp::from_millis(wall))
    };
    let changed = |change: Change| {
        let mut volume = made(1);
        change(&mut volume);
        volume
    };
    let created = |created| CloudVolume { created, ..made(1) };
    let cases = [
        ("as it was asked for", made(1), true),
        (
            "not ready yet",
            changed(|v| v.state = VolumeState::parse("Creating")),
            true,
        ),
        ("rounded up", changed(|v| v.size = ByteSize::gib(5)), true),
        (
            "destroyed",
            changed(|v| v.state = VolumeState::Destroy),
            false,
        ),
        (
            "expunged",
            changed(|v| v.state = VolumeState::Expunged),
            false,
        ),
        ("made later", created(before(-5)), true),
        ("made by a clock a little behind", created(before(60)), true),
        ("made long before", created(before(61)), false),
        ("claimed", volume(1), false),
        (
            "another name",
            changed(|v| v.name = "disk-2".to_owned()),
            false,
        ),
        (
            "another zone",
            changed(|v| v.zone = ZoneId::new(Uuid::from_u128(9))),
            false,
        ),
    ];
    let ends = |world: &World, state| {
        let intent = intent(1, create(1), submitted());
        say(&judge(world, &intent, &answer(state, None), HANDLING))
    };
    for (case, seen, may) in cases {
        let alone = world(vec![seen.clone()]);
        let expected = if may { "made 1" } else { "lost" };
        assert_eq!(ends(&alone, lost(None)), expected, "{case}");
        // That its job names it makes it no better.
        assert_eq!(ends(&alone, lost(Some(1))), expected, "{case}, named");
        let beside = world(vec![seen, made(2)]);
        let expected = if may { "undecided 1 2" } else { "made 2" };
        assert_eq!(ends(&beside, lost(None)), expected, "{case}, and another");
        assert_eq!(ends(&beside, lost(Some(2))), "made 2", "{case}, not named");
    }
    let unlike: [(&str, Change); 3] = [
        ("smaller", |v| v.size = ByteSize::gib(3)),
        ("another offering", |v| {
            v.offering = Some(OfferingId::new(Uuid::from_u128(9)));
        }),
        ("in use", |v| v.attachment = attached(1, HERE).attachment),
    ];
    for (case, change) in unlike {
        let alone = world(vec![changed(change)]);
        assert_eq!(ends(&alone, lost(None)), "lost", "{case}");
        assert_eq!(ends(&alone, lost(Some(1))), "made 1", "{case}, but named");
    }
    let mut bound_elsewhere = world(vec![made(1), made(2)]);
    bound_elsewhere.memory.bindings = bound(&[1]).bindings;
    assert_eq!(ends(&bound_elsewhere, lost(None)), "made 2", "bound");
    assert_eq!(
        ends(&bound_elsewhere, lost(Some(1))),
        "lost",
        "bound, named"
    );
}

#[test]
fn only_success_changes_what_is_remembered() {
    let done = |created| Outcome::Succeeded { created };
    let detach = |vm: VmId| Action::Detach {
        volume: volume_id(1),
        vm,
    };
    let effects = |action, outcome| effects(&intent(1, action, submitted()), &outcome, uid(1));
    let none = Effects::default();

    let made = effects(create(1), done(Some(volume_id(3))));
    let binding = made.binding.expect("bound");
    assert_eq!(
        (binding.volume, binding.uid, binding.mark),
        (volume_id(3), uid(1), Mark::Created)
    );
    assert_eq!(made.placement, None);
    assert_eq!(
        effects(attach(1, OTHER), done(None)).placement,
        Some(PlacementChange::Put(volume_id(1), OTHER))
    );
    assert_eq!(
        effects(detach(HERE), done(None)).placement,
        Some(PlacementChange::Forget(volume_id(1)))
    );
    let grow = Action::Grow {
        volume: volume_id(1),
        vm: None,
        from: ByteSize::gib(4),
        to: ByteSize::gib(5),
    };
    assert_eq!(effects(grow, done(None)), none);
    for outcome in [
        Outcome::NeverSent,
        Outcome::Lost {
            text: String::new(),
        },
        Outcome::Failed {
            class: FailureClass::Retry,
            text: String::new(),
        },
    ] {
        for action in [create(1), attach(1, HERE), detach(HERE)] {
            assert_eq!(effects(action, outcome.clone()), none, "{outcome:?}");
        }
    }
}

#[test]
fn what_did_not_succeed_is_retried_or_said() {
    let class = |outcome| failure_of(&outcome).map(|(class, _)| class);
    assert_eq!(class(Outcome::Succeeded { created: None }), None);
    assert_eq!(class(Outcome::NeverSent), Some(FailureClass::Retry));
    let text = String::new;
    assert_eq!(
        class(Outcome::Lost { text: text() }),
        Some(FailureClass::Retry)
    );
    let refused = Outcome::Failed {
        class: FailureClass::Refused,
        text: text(),
    };
    assert_eq!(class(refused), Some(FailureClass::Refused));
}
