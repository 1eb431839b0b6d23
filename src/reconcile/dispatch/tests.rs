use std::collections::BTreeMap;

use super::super::fixture::*;
use super::*;
use crate::act::{Acted, LocalResult};
use crate::cloudstack::JobState;
use crate::model::desired::{NameOrId, Origin, Reclaim};
use crate::model::memory::{FailureClass, Memory, Outcome, Resolution};
use crate::model::observed::{Device, DeviceNumber, Disks, HostView, NbdView};
use crate::model::{ByteSize, JobId, Reading, Timestamp};
use crate::observe::JobAnswer;
use crate::plan::Policy;
use crate::reconcile::core::{Event, Pace};
use crate::store::Effects;

fn sent(intent: Box<Intent>) -> Acted {
    Acted::Open(intent)
}

fn unwritten(intent: Box<Intent>) -> Acted {
    Acted::NotJournalled(intent, "disk full".to_owned())
}

fn refused_for_now(intent: Box<Intent>) -> Acted {
    let outcome = Outcome::Failed {
        class: FailureClass::Retry,
        text: "busy".to_owned(),
    };
    Acted::Ended(intent, outcome)
}

/// The end of the open intent of `of`, written.
fn succeeded(core: &Core, of: &str) -> Event {
    let intent = core.world().memory.intents[&name(of)].clone();
    let outcome = Outcome::Succeeded { created: None };
    Event::Settled(Box::new(intent), outcome, Effects::default(), Ok(()))
}

fn job_of(core: &Core, of: &str, state: JobState, at: Timestamp) -> Event {
    let intent = &core.world().memory.intents[&name(of)];
    let answer = JobAnswer {
        state,
        begun: now(0).boot,
        server: Some(at),
    };
    Event::Jobs(Ok(BTreeMap::from([(intent.id, answer)])))
}

#[test]
fn jobs_on_one_vm_go_one_after_another() {
    let (mut core, effects) = Seen {
        cloud: vec![volume(1), volume(2)],
        ..Seen::nothing(vec![want(1), want(2)])
    }
    .start(bound(&[1, 2]));
    assert_eq!(steps(&effects), ["disk-1 Attach"]);
    core.handle(acted(&effects, "disk-1", sent), now(1));
    assert_eq!(steps(&answered(&mut core, now(1))), [""; 0], "its job runs");
    core.handle(succeeded(&core, "disk-1"), now(2));
    assert_eq!(steps(&answered(&mut core, now(3))), ["disk-2 Attach"]);
}

#[test]
fn only_so_many_cloud_actions_are_under_way() {
    let mut memory = bound(&[1, 2, 3]);
    memory.bindings.clear();
    let pace = Pace {
        parallel: 2,
        ..Pace::default()
    };
    let (_, effects) = Seen {
        pace,
        ..Seen::nothing(vec![want(1), want(2), want(3)])
    }
    .start(memory);
    assert_eq!(steps(&effects), ["disk-1 Create", "disk-2 Create"]);
}

#[test]
fn one_volume_has_one_job_whoever_asks() {
    let adopts = |n: u32| {
        let mut want = want(n);
        want.document.spec.origin = Origin::Existing {
            volume: NameOrId::Id(volume_id(5)),
            size: None,
        };
        want
    };
    let mut memory = bound(&[1, 2]);
    memory.bindings.clear();
    for resolution in memory.resolutions.values_mut() {
        *resolution = Resolution {
            zone: None,
            offering: None,
            existing: Some(volume_id(5)),
            ..resolution.clone()
        };
    }
    let mut unclaimed = volume(5);
    unclaimed.tags.clear();
    let (_, effects) = Seen {
        cloud: vec![unclaimed],
        ..Seen::nothing(vec![adopts(1), adopts(2)])
    }
    .start(memory);
    assert_eq!(steps(&effects), ["disk-1 Tag"]);
}

#[test]
fn an_intent_is_open_from_the_moment_it_is_handed_out() {
    let (core, effects) = Seen {
        cloud: vec![volume(1)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    assert_eq!(steps(&effects), ["disk-1 Attach"]);
    assert!(core.world().memory.intents.contains_key(&name("disk-1")));
}

#[test]
fn a_disk_that_goes_is_withdrawn_first_and_whatever_is_under_way() {
    let mut grown = want(9);
    if let Origin::Create { size, .. } = &mut grown.document.spec.origin {
        *size = ByteSize::gib(5);
    }
    let (mut core, effects) = Seen {
        cloud: vec![attached(9, HERE)],
        disks: vec![9],
        served: vec![9],
        ..Seen::nothing(vec![grown.clone()])
    }
    .start(bound(&[1, 9]));
    assert_eq!(steps(&effects), ["disk-9 Grow"]);
    core.handle(acted(&effects, "disk-9", sent), now(1));
    core.handle(Event::Desired(desired([grown, want(1)])), now(2));
    // The volume of disk-1 turns up, to be attached elsewhere than the disk that goes.
    let mut answer = listing(vec![attached(9, HERE), volume(1)], now(2).boot);
    for volume in &mut answer.listing.as_mut().expect("full").volumes {
        volume.begun = now(2).boot;
    }
    core.world
        .memory
        .intents
        .get_mut(&name("disk-9"))
        .expect("open")
        .action = create(9);
    core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(2));
    core.handle(Event::Host(host(&[], now(2).boot)), now(2));
    let effects = core.poll(now(2));
    assert_eq!(steps(&effects), ["disk-9 Withdraw", "disk-1 Attach"]);
}

#[test]
fn what_is_handed_out_is_still_what_has_to_be_done() {
    let (mut core, effects) = Seen {
        cloud: vec![volume(1), volume(2)],
        ..Seen::nothing(vec![want(1), want(2)])
    }
    .start(bound(&[1, 2]));
    core.handle(acted(&effects, "disk-1", sent), now(1));
    let volumes = &mut core.world.observed.cloud.volumes;
    let waiting = volumes.get_mut(&volume_id(2)).expect("listed");
    waiting.pending_job = Some(JobId::new(uuid::Uuid::from_u128(1)));
    core.handle(succeeded(&core, "disk-1"), now(2));
    assert_eq!(
        steps(&core.poll(now(3))),
        [""; 0],
        "somebody's job is on it now"
    );
}

#[test]
fn while_the_host_is_being_read_there_is_nothing_to_hurry_for() {
    let mut core = Core::new(bound(&[]), Policy::default(), Pace::default(), 1);
    assert_eq!(asked(&core.poll(now(0))), ["host", "list"]);
    assert_eq!(
        core.next_due(now(0)),
        None,
        "the NBD server waits for the host"
    );
    core.handle(Event::Host(host(&[], now(0).boot)), now(1));
    assert_eq!(asked(&core.poll(now(1))), ["nbd"]);
}

#[test]
fn what_changed_while_it_was_read_is_read_again() {
    let (mut core, _) = Seen::nothing(vec![]).start(bound(&[]));
    assert_eq!(asked(&core.poll(now(1))), [""; 0]);
    core.handle(Event::HostChanged, now(1));
    assert_eq!(asked(&core.poll(now(1))), ["host"]);
    core.handle(Event::Host(host(&[], now(1).boot)), now(2));
    assert_eq!(asked(&core.poll(now(2))), [""; 0], "nothing since");

    core.handle(Event::HostChanged, now(3));
    assert_eq!(asked(&core.poll(now(3))), ["host"]);
    core.handle(Event::HostChanged, now(4));
    assert_eq!(asked(&core.poll(now(4))), [""; 0], "one at a time");
    core.handle(Event::Host(host(&[], now(3).boot)), now(5));
    assert_eq!(asked(&core.poll(now(5))), ["host"]);
}

#[test]
fn a_call_that_may_still_be_sent_is_not_judged() {
    let (mut core, effects) = Seen {
        cloud: vec![volume(1)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    let late = now(1_000_000).wall;
    core.handle(job_of(&core, "disk-1", JobState::NotFound, late), now(1));
    assert_eq!(
        asked(&core.poll(now(1))),
        [""; 0],
        "its call has not come back"
    );
    core.handle(acted(&effects, "disk-1", sent), now(2));
    let effects = core.poll(now(2));
    assert_eq!(asked(&effects), ["settle"]);
    assert_eq!(asked(&core.poll(now(3))), [""; 0], "told once");
}

#[test]
fn failures_are_retried_later_and_later_and_forgotten_by_success() {
    let (mut core, mut effects) = Seen {
        cloud: vec![volume(1)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    let mut millis = 0;
    for attempt in 1..=3 {
        assert_eq!(steps(&effects), ["disk-1 Attach"], "{attempt}");
        millis += 10;
        core.handle(acted(&effects, "disk-1", refused_for_now), now(millis));
        let soon = answered(&mut core, now(millis + 990));
        assert_eq!(steps(&soon), [""; 0], "not within a second");
        assert_eq!(
            core.world().memory.failures[&name("disk-1")].attempts,
            attempt
        );
        // The ceiling of the third wait.
        millis += 5_000;
        effects = answered(&mut core, now(millis));
    }
    core.handle(acted(&effects, "disk-1", sent), now(millis));
    core.handle(succeeded(&core, "disk-1"), now(millis + 1));
    assert!(core.world().memory.failures.is_empty());
}

#[test]
fn after_a_change_the_volume_and_the_host_are_read_again() {
    let (mut core, effects) = Seen {
        cloud: vec![volume(1)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    core.handle(acted(&effects, "disk-1", sent), now(1));
    core.handle(succeeded(&core, "disk-1"), now(2));
    let effects = core.poll(now(2));
    assert_eq!(
        steps(&effects),
        [""; 0],
        "what was read before does not count"
    );
    assert_eq!(asked(&effects), ["host", "look up"]);
}

fn retry_at(core: &Core) -> BootTime {
    core.store_down.as_ref().expect("it is down").retry_at
}

fn when(boot: BootTime) -> Now {
    Now {
        wall: now(0).wall.plus(boot.since(now(0).boot)),
        boot,
    }
}

fn just_before(then: BootTime) -> BootTime {
    at(0).plus(then.since(at(1)))
}

/// Nothing is tried again before its time, and the loop wakes then and not earlier.
fn rests(core: &mut Core, since: Now) -> Now {
    let until = retry_at(core);
    assert!(until > since.boot);
    let polled = |effects: Vec<Effect>| asked(&effects).join(" ") + &steps(&effects).join(" ");
    assert_eq!(polled(core.poll(since)), "", "not at once");
    let due = core.next_due(since).expect("it wakes by itself");
    assert!(due > since.boot && due <= until);
    let shortly = when(just_before(until));
    assert_eq!(polled(core.poll(shortly)), "", "not before its time");
    assert_eq!(core.next_due(shortly), Some(until));
    when(until)
}

#[test]
fn while_the_lease_cannot_be_renewed_the_store_rests_and_then_serves_at_once() {
    let (mut core, _) = Seen::nothing(vec![want(1)]).start(bound(&[1]));
    for _ in 0..5 {
        core.handle(Event::Lease(Err("no answer".to_owned())), now(1));
        assert_eq!(core.store_down(), Some("no answer"));
        assert!(!core.may_write(now(1)));
    }
    core.handle(Event::Lease(Ok(())), now(1));
    assert_eq!(core.store_down(), None);
    assert!(core.may_write(now(1)), "however long it was away");
}

#[test]
fn a_call_that_could_not_be_journalled_ends_in_the_journal_before_another_begins() {
    let (mut core, effects) = Seen {
        cloud: vec![volume(1)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    core.handle(acted(&effects, "disk-1", unwritten), now(10));
    assert_eq!(core.store_down(), Some("disk full"));
    let again = rests(&mut core, now(10));
    let (intent, outcome, effects) = settle(core.poll(again));
    assert_eq!(outcome, Outcome::NeverSent);
    core.handle(Event::Settled(intent, outcome, effects, Ok(())), again);
    assert_eq!(core.store_down(), None);
    assert!(core.world().memory.intents.is_empty());
    assert_eq!(core.world().memory.failures[&name("disk-1")].attempts, 1);
}

#[test]
fn without_a_journal_exports_change_all_the_same() {
    let mut unexported = want(4);
    unexported.document.spec.export = None;
    let mut memory = bound(&[1, 2, 3, 4]);
    // Its names are known, its volume is still to be made.
    memory.bindings.remove(&name("disk-2"));
    let (mut core, effects) = Seen {
        cloud: vec![volume(1)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(memory);
    core.handle(acted(&effects, "disk-1", unwritten), now(10));

    let all = [want(1), want(2), want(3), unexported];
    core.handle(Event::Desired(desired(all)), now(20));
    core.handle(Event::Host(host(&[3, 4], now(20).boot)), now(20));
    core.handle(Event::Nbd(nbd(&[4], now(20).boot)), now(20));
    let mut cloud = vec![volume(1), attached(3, HERE), attached(4, HERE)];
    for volume in &mut cloud {
        volume.begun = now(20).boot;
    }
    let answer = listing(cloud, now(20).boot);
    core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(20));
    let effects = core.poll(now(20));
    assert_eq!(steps(&effects), ["disk-3 Export", "disk-4 Withdraw"]);
    assert!(!asked(&effects).contains(&"settle"));
    let again = when(retry_at(&core));
    assert_eq!(
        steps(&core.poll(again)),
        ["disk-2 Create"],
        "then it goes on"
    );
}

fn settle(effects: Vec<Effect>) -> (Box<Intent>, Outcome, Effects) {
    let settle = effects.into_iter().find_map(|effect| match effect {
        Effect::Settle(intent, outcome, effects) => Some((intent, outcome, effects)),
        _ => None,
    });
    settle.expect("an end to be written")
}

#[test]
fn an_end_that_cannot_be_written_is_not_written_in_a_loop() {
    let (mut core, effects) = Seen {
        cloud: vec![volume(1)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    core.handle(acted(&effects, "disk-1", sent), now(1));
    let done = JobState::Succeeded { volume: None };
    core.handle(job_of(&core, "disk-1", done, now(1).wall), now(1));
    let mut at = now(1);
    for _ in 0..3 {
        let (intent, outcome, effects) = settle(core.poll(at));
        let failed = Event::Settled(intent, outcome, effects, Err("disk full".to_owned()));
        core.handle(failed, at);
        at = rests(&mut core, at);
    }
    let (intent, outcome, effects) = settle(core.poll(at));
    core.handle(Event::Settled(intent, outcome, effects, Ok(())), at);
    assert_eq!(core.store_down(), None);
    assert!(core.world().memory.intents.is_empty());
}

#[test]
fn names_that_cannot_be_recorded_are_not_recorded_in_a_loop() {
    let (mut core, effects) = Seen::nothing(vec![want(1)]).start(Memory::new(INSTANCE));
    let memo = |effects: &[Effect]| match effects {
        [Effect::Remember(memo @ Memo::Resolutions(_))] => memo.clone(),
        other => panic!("{other:?}"),
    };
    let failed = Event::Remembered(memo(&effects), Err("disk full".to_owned()));
    core.handle(failed, now(1));
    let again = rests(&mut core, now(1));
    let written = Event::Remembered(memo(&core.poll(again)), Ok(()));
    core.handle(written, again);
    assert_eq!(core.store_down(), None);
    assert_eq!(steps(&core.poll(again)), ["disk-1 Create"]);
}

#[test]
fn counts_that_could_not_be_written_are_counted_anew() {
    let (mut core, _) = Seen {
        cloud: vec![attached(1, HERE)],
        ..Seen::nothing(vec![abandoned(1, 0)])
    }
    .start(bound(&[1]));
    let counts = |effects: Vec<Effect>| -> Vec<Memo> {
        let memo = |effect| match effect {
            Effect::Remember(memo @ Memo::Abandoned(_)) => Some(memo),
            _ => None,
        };
        effects.into_iter().filter_map(memo).collect()
    };
    let mut memos = counts(core.poll(now(1_000)));
    let memo = memos.pop().expect("counted");
    core.handle(
        Event::Remembered(memo, Err("disk full".to_owned())),
        now(1_001),
    );
    // While the store rests, time goes on, and what is counted is not kept to be written.
    let until = when(retry_at(&core));
    core.poll(when(just_before(until.boot)));
    core.handle(Event::Desired(desired([want(1)])), until);
    assert_eq!(counts(core.poll(until)), [], "its spec is there again");
    core.handle(Event::Desired(desired([abandoned(1, 0)])), until);
    let later = when(until.boot.plus(Duration::from_secs(1)));
    let one = Memo::Abandoned(vec![(name("disk-1"), Duration::from_secs(1))]);
    assert_eq!(counts(core.poll(later)), [one]);
}

fn abandoned(n: u32, seconds: u64) -> crate::model::DesiredVolume {
    let mut want = want(n);
    want.document.spec.reclaim_policy = Reclaim::Detach;
    want.presence = Presence::Abandoned {
        counted: Duration::from_secs(seconds),
    };
    want
}

fn counted(core: &Core) -> Duration {
    match core.world().desired.volumes[&name("disk-1")].presence {
        Presence::Abandoned { counted } => counted,
        Presence::Declared => panic!("it is there"),
    }
}

#[test]
fn time_counts_for_abandoned_specs_while_their_source_is_believed() {
    let seconds = Duration::from_secs;
    let start = || {
        let (core, _) = Seen {
            cloud: vec![attached(1, HERE)],
            ..Seen::nothing(vec![abandoned(1, 0)])
        }
        .start(bound(&[1]));
        core
    };
    let mut core = start();
    for second in 1..=5 {
        let effects = core.poll(now(second * 1_000));
        assert_eq!(counted(&core), seconds(second));
        let written = Memo::Abandoned(vec![(name("disk-1"), seconds(second))]);
        assert!(
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::Remember(memo) if *memo == written)),
            "it outlives a restart: {effects:?}"
        );
    }
    // What the source says is older than what the loop has counted.
    core.handle(Event::Desired(desired([abandoned(1, 2)])), now(5_001));
    assert_eq!(counted(&core), seconds(5));

    let mut core = start();
    let mut doubtful = desired([abandoned(1, 0)]);
    doubtful.files = SourceHealth::Suspect("it is empty".to_owned());
    core.handle(Event::Desired(doubtful), now(0));
    core.poll(now(5_000));
    assert_eq!(
        counted(&core),
        Duration::ZERO,
        "the directory is not believed"
    );

    let mut core = start();
    core.plan.guard.freeze = Some(crate::plan::Freeze {
        why: "a flood".to_owned(),
        scope: crate::plan::Scope::Everything,
        clean: 0,
        listed: None,
        steps: BTreeMap::new(),
    });
    core.poll(now(5_000));
    assert_eq!(counted(&core), Duration::ZERO, "frozen");
}

#[test]
fn time_that_nobody_watched_does_not_count() {
    let (mut core, _) = Seen {
        cloud: vec![attached(1, HERE)],
        ..Seen::nothing(vec![abandoned(1, 0)])
    }
    .start(bound(&[1]));
    core.poll(now(3_600_000));
    assert_eq!(counted(&core), Duration::from_secs(2));
}

#[test]
fn time_counts_from_when_a_spec_was_abandoned() {
    let (mut core, _) = Seen {
        cloud: vec![attached(1, HERE)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    core.handle(Event::Desired(desired([abandoned(1, 0)])), now(1_900));
    core.poll(now(1_900));
    assert_eq!(counted(&core), Duration::ZERO);
    core.poll(now(2_899));
    assert_eq!(counted(&core), Duration::ZERO);
    core.poll(now(2_900));
    assert_eq!(counted(&core), Duration::from_secs(1));
}

#[test]
fn implied_steps_are_judged_together_and_counted() {
    let detaching = |count: u32| {
        let volumes: Vec<u32> = (1..=count).collect();
        let mut memory = bound(&volumes);
        for n in &volumes {
            memory.placements.insert(volume_id(*n), HERE);
        }
        // Nobody's time has come when the first plan is made.
        Seen {
            cloud: volumes.iter().map(|n| attached(*n, HERE)).collect(),
            disks: volumes.clone(),
            ..Seen::nothing(volumes.iter().map(|n| abandoned(*n, 599)).collect())
        }
        .start(memory)
        .0
    };
    let mut core = detaching(4);
    assert_eq!(
        steps(&core.poll(now(2_000))),
        [""; 0],
        "four at once are a flood"
    );
    assert!(core.plan().guard.freeze.is_some());

    let mut core = detaching(1);
    let effects = core.poll(now(2_000));
    assert_eq!(steps(&effects), ["disk-1 Detach"]);
    core.handle(acted(&effects, "disk-1", sent), now(2_001));
    assert_eq!(core.world().memory.implied.len(), 1);
}

#[test]
fn a_step_that_became_another_is_decided_and_told_first() {
    let (mut core, effects) = Seen {
        cloud: vec![volume(1), volume(2)],
        ..Seen::nothing(vec![want(1), want(2)])
    }
    .start(bound(&[1, 2]));
    core.handle(acted(&effects, "disk-1", sent), now(1));
    let volumes = &mut core.world.observed.cloud.volumes;
    volumes.get_mut(&volume_id(2)).expect("listed").tags.clear();
    core.handle(succeeded(&core, "disk-1"), now(2));
    assert_eq!(steps(&core.poll(now(3))), [""; 0], "not what was planned");
    assert_eq!(steps(&core.poll(now(4))), ["disk-2 Tag"]);
}

#[test]
fn a_local_step_that_succeeds_ends_its_failures() {
    let (mut core, effects) = Seen {
        cloud: vec![attached(1, HERE)],
        disks: vec![1],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    let ended = |effects: Vec<Effect>, result| match effects.into_iter().next() {
        Some(Effect::Act(name, step, None)) => Event::Acted(name, step, Acted::Local(result)),
        other => panic!("{other:?}"),
    };
    let failed = LocalResult::Failed(FailureClass::Retry, "busy".to_owned());
    core.handle(ended(effects, failed), now(1));
    assert_eq!(steps(&answered(&mut core, now(2))), [""; 0], "not at once");
    assert_eq!(core.world().memory.failures.len(), 1);
    let again = answered(&mut core, now(5_000));
    core.handle(ended(again, LocalResult::Done), now(5_001));
    assert!(core.world().memory.failures.is_empty());
}

#[test]
fn a_local_step_under_way_is_not_begun_again() {
    let (mut core, effects) = Seen {
        cloud: vec![attached(1, HERE)],
        disks: vec![1],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    assert_eq!(steps(&effects), ["disk-1 Export"]);
    core.handle(Event::Resync, now(1));
    assert_eq!(steps(&answered(&mut core, now(1))), [""; 0]);
    let Some(Effect::Act(name, step, None)) = effects.into_iter().next() else {
        panic!("a local step");
    };
    let done = Event::Acted(name, step, Acted::Local(LocalResult::Done));
    core.handle(done, now(2));
    let effects = core.poll(now(2));
    assert_eq!(
        steps(&effects),
        [""; 0],
        "what the server showed before does not count"
    );
    assert_eq!(asked(&effects), ["host"], "and then the server");
}

#[test]
fn the_host_is_read_again_soon_after_something_changed_there() {
    let disk = Device {
        kernel_name: "vdb".to_owned(),
        number: DeviceNumber::Block {
            major: 254,
            minor: 16,
        },
        serial: Some("0123456789abcdef0123".parse().expect("a serial")),
        size: ByteSize::gib(1),
        diskseq: None,
        users: Vec::new(),
    };
    let name = disk.kernel_name.clone();
    let links = BTreeMap::from([("virtio-0123456789abcdef0123".to_owned(), name.clone())]);
    let mut core = Core::new(bound(&[]), Policy::default(), Pace::default(), 1);
    let mut read = |links: &BTreeMap<_, _>, millis| {
        core.handle(Event::HostChanged, now(millis));
        let asked = core.poll(now(millis));
        assert!(matches!(asked.first(), Some(Effect::ObserveHost)));
        let disks = Disks {
            devices: BTreeMap::from([(name.clone(), disk.clone())]),
            links: links.clone(),
        };
        let view = HostView {
            disks: Reading::Present(disks),
            ..HostView::default()
        };
        core.handle(Event::Host(view), now(millis));
        core.poll(now(millis));
        let nbd = NbdView {
            exports: Reading::Present(BTreeMap::new()),
            ..NbdView::default()
        };
        core.handle(Event::Nbd(nbd), now(millis));
        core.next_due(now(millis)).expect("it reads again")
    };
    read(&links, 1_000);
    assert_eq!(read(&links, 2_000), now(12_000).boot, "nothing changed");
    assert_eq!(
        read(&BTreeMap::new(), 3_000),
        now(3_100).boot,
        "a link went"
    );
}

#[test]
fn a_grace_period_that_gets_shorter_is_no_news() {
    let name: VolumeName = "a".parse().expect("a name");
    let grace = |seconds| VolumePlan {
        decision: Decision::Waiting {
            on: Waiting::Grace {
                left: Duration::from_secs(seconds),
            },
            then: Vec::new(),
        },
        drift: Vec::new(),
    };
    let mut core = Core::new(bound(&[]), Policy::default(), Pace::default(), 1);
    core.record(name.clone(), grace(600), now(0));
    assert_eq!(core.take_changed(), BTreeSet::from([name.clone()]));
    core.record(name.clone(), grace(599), now(1_000));
    assert!(core.take_changed().is_empty());
}
