use super::super::fixture::*;
use super::*;
use crate::model::{AccountMark, ByteSize};
use crate::plan::Policy;
use crate::reconcile::Pace;
use crate::reconcile::core::{Effect, Event};

fn read(volume: CloudVolume, begun: u64) -> CloudAnswer {
    CloudAnswer {
        read: vec![CloudVolume {
            begun: at(begun),
            ..volume
        }],
        ..CloudAnswer::default()
    }
}

fn absent(begun: u64) -> CloudAnswer {
    CloudAnswer {
        absent: vec![(volume_id(1), at(begun))],
        ..CloudAnswer::default()
    }
}

fn listed(volumes: Vec<CloudVolume>, begun: u64) -> CloudAnswer {
    let volumes = volumes.into_iter().map(|volume| CloudVolume {
        begun: at(begun),
        ..volume
    });
    listing(volumes.collect(), at(begun))
}

fn away() -> Unanswered {
    Unanswered {
        why: "away".to_owned(),
        retry_after: None,
    }
}

fn throttled(seconds: u64) -> Unanswered {
    Unanswered {
        why: "too many requests".to_owned(),
        retry_after: Some(std::time::Duration::from_secs(seconds)),
    }
}

/// What CloudStack is asked about single objects.
fn look_ups(core: &mut Core, now: Now) -> Vec<CloudQuery> {
    let query = |effect| match effect {
        Effect::ObserveCloud(query) if !query.full => Some(query),
        _ => None,
    };
    core.poll(now).into_iter().filter_map(query).collect()
}

fn by_id(n: u32) -> CloudQuery {
    CloudQuery {
        ids: vec![volume_id(n)],
        ..CloudQuery::default()
    }
}

/// What is known of volume 1 after these answers, in this order: its size, or its absence.
fn after(answers: Vec<CloudAnswer>) -> String {
    let mut view = CloudView::default();
    absorb(&mut view, listed(vec![], 1));
    for answer in answers {
        absorb(&mut view, answer);
    }
    match view.volume(volume_id(1), None) {
        Reading::Present(volume) => volume.size.to_string(),
        Reading::Absent => "absent".to_owned(),
        Reading::Unknown(_) => "unknown".to_owned(),
    }
}

#[test]
fn of_two_readings_the_one_begun_later_counts() {
    let small = || volume(1);
    let large = || CloudVolume {
        size: ByteSize::gib(8),
        ..volume(1)
    };
    let cases = [
        ("nothing", vec![], "unknown"),
        ("read", vec![read(small(), 10)], "4GiB"),
        (
            "read later",
            vec![read(small(), 10), read(large(), 20)],
            "8GiB",
        ),
        (
            "late answer",
            vec![read(large(), 20), read(small(), 10)],
            "8GiB",
        ),
        (
            "listed later",
            vec![read(small(), 10), listed(vec![large()], 20)],
            "8GiB",
        ),
        (
            "late listing",
            vec![read(large(), 20), listed(vec![small()], 10)],
            "8GiB",
        ),
        (
            "not in a late listing",
            vec![read(large(), 20), listed(vec![], 10)],
            "8GiB",
        ),
        (
            "not in a listing",
            vec![read(large(), 10), listed(vec![], 20)],
            "unknown",
        ),
        ("gone", vec![read(small(), 10), absent(20)], "absent"),
        (
            "late answer that it is gone",
            vec![read(small(), 20), absent(10)],
            "4GiB",
        ),
        ("back", vec![absent(10), read(small(), 20)], "4GiB"),
        (
            "late answer that it is there",
            vec![absent(20), read(small(), 10)],
            "absent",
        ),
        (
            "listed again",
            vec![absent(10), listed(vec![small()], 20)],
            "4GiB",
        ),
        (
            "in a late listing",
            vec![absent(20), listed(vec![small()], 10)],
            "absent",
        ),
        (
            "gone stays gone",
            vec![absent(10), listed(vec![], 20)],
            "absent",
        ),
    ];
    for (case, answers, expected) in cases {
        assert_eq!(after(answers), expected, "{case}");
    }
}

#[test]
fn names_are_free_as_of_their_last_look_up_or_listing() {
    let named = |begun| CloudAnswer {
        named: vec![("disk-1".to_owned(), at(begun))],
        ..CloudAnswer::default()
    };
    let mut view = CloudView::default();
    absorb(&mut view, listed(vec![], 10));
    absorb(&mut view, named(20));
    assert_eq!(view.name_read("disk-1"), Some(at(20)));
    assert_eq!(view.name_read("disk-2"), Some(at(10)));
    absorb(&mut view, listed(vec![], 15));
    assert_eq!(view.name_read("disk-1"), Some(at(20)), "begun before it");
    absorb(&mut view, listed(vec![], 30));
    assert_eq!(view.name_read("disk-1"), Some(at(30)));
    assert!(view.named.is_empty(), "kept no longer than it says more");
}

#[test]
fn a_bound_volume_that_a_listing_lacks_is_looked_up() {
    let (mut core, _) = Seen {
        cloud: vec![volume(1), volume(2)],
        ..Seen::nothing(vec![want(1), want(2)])
    }
    .start(bound(&[1, 2]));
    let answer = listed(vec![volume(2)], 1_000_010);
    core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(20));
    assert_eq!(look_ups(&mut core, now(20)), [by_id(1)]);
    let gone = CloudAnswer {
        absent: vec![(volume_id(1), now(21).boot)],
        ..CloudAnswer::default()
    };
    core.handle(Event::Cloud(by_id(1), Ok(Box::new(gone))), now(21));
    let cloud = &core.world().observed.cloud;
    assert_eq!(cloud.volume(volume_id(1), None), Reading::Absent);
    let answer = listed(vec![volume(2)], 1_000_030);
    core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(40));
    assert_eq!(look_ups(&mut core, now(40)), [], "it is known to be gone");
}

#[test]
fn what_one_query_left_out_is_asked_for_in_the_next() {
    let (mut core, _) = Seen {
        cloud: vec![volume(1)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    let answer = CloudAnswer {
        left: vec![volume_id(1)],
        ..CloudAnswer::default()
    };
    core.handle(Event::Cloud(by_id(1), Ok(Box::new(answer))), now(1));
    assert_eq!(look_ups(&mut core, now(1)), [by_id(1)]);
}

#[test]
fn to_be_asked_less_often_is_no_outage() {
    for full in [false, true] {
        let (mut core, _) = Seen {
            cloud: vec![volume(1)],
            ..Seen::nothing(vec![want(1)])
        }
        .start(bound(&[1]));
        let query = CloudQuery { full, ..by_id(1) };
        let before = core.world().observed.cloud.clone();
        core.handle(Event::Cloud(query, Err(throttled(5))), now(10));
        assert_eq!(core.world().observed.cloud, before, "it still counts");
        assert_eq!(core.asks.failures, 0);
        assert_eq!(look_ups(&mut core, now(5_009)), [], "not before");
        assert_eq!(look_ups(&mut core, now(5_010)), [by_id(1)]);
    }
}

#[test]
fn some_answers_after_an_outage_ask_for_all() {
    let (mut core, _) = Seen::nothing(vec![want(1)]).start(bound(&[1]));
    core.handle(Event::Cloud(full(), Err(away())), now(0));
    assert_eq!(asked(&core.poll(now(999))), [""; 0]);
    let answer = Box::new(read(volume(1), 1_000_500));
    core.handle(Event::Cloud(by_id(1), Ok(answer)), now(999));
    assert!(core.world().observed.cloud.listed.is_err());
    assert_eq!(asked(&core.poll(now(999))), ["list"]);
}

#[test]
fn an_outage_is_asked_about_less_and_less() {
    let (mut core, _) = Seen::nothing(vec![]).start(bound(&[]));
    let mut waits = Vec::new();
    for _ in 0..7 {
        core.handle(Event::Cloud(full(), Err(away())), now(0));
        let due = core.asks.full.due.expect("asked again");
        waits.push(due.since(now(0).boot).as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    let answer = listed(vec![], 1_000_001);
    core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(2));
    core.handle(Event::Cloud(full(), Err(away())), now(0));
    let due = core.asks.full.due.expect("asked again");
    assert_eq!(due.since(now(0).boot).as_secs(), 1, "from the beginning");
}

#[test]
fn a_look_up_that_failed_is_made_again_once_cloudstack_is_back() {
    let (mut core, _) = Seen::nothing(vec![want(1)]).start(bound(&[1]));
    let query = CloudQuery {
        ids: vec![volume_id(1)],
        names: vec!["disk-1".to_owned()],
        ..CloudQuery::default()
    };
    core.handle(Event::Cloud(query.clone(), Err(away())), now(1));
    assert_eq!(asked(&core.poll(now(1))), [""; 0], "not while it is away");
    let answer = listed(vec![], 1_000_002);
    core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(3));
    assert_eq!(look_ups(&mut core, now(3)), [query]);
}

#[test]
fn what_cannot_be_read_by_its_id_is_not_asked_for_in_a_loop() {
    let failed = CloudAnswer {
        failed: vec![(volume_id(1), "503".to_owned())],
        ..CloudAnswer::default()
    };
    let about_volume = CloudQuery {
        ids: vec![volume_id(1)],
        ..CloudQuery::default()
    };
    let about_vm = CloudQuery {
        vms: vec![HERE],
        ..CloudQuery::default()
    };
    let untold = [
        (about_volume.clone(), Ok(Box::new(failed))),
        (about_vm, Ok(Box::default())),
        (about_volume, Err(throttled(0))),
    ];
    for (query, answer) in untold {
        let (mut core, _) = Seen::nothing(vec![want(1)]).start(bound(&[1]));
        core.poll(now(1));
        core.handle(Event::Cloud(query.clone(), answer), now(2));
        core.asks.some.add(query);
        assert!(look_ups(&mut core, now(3)).is_empty(), "not at once");
        assert_eq!(look_ups(&mut core, now(1_002)).len(), 1);
    }
}

#[test]
fn what_was_found_as_asked_for_is_remembered_as_ours() {
    let placement = |vm| {
        let (core, _) = Seen {
            cloud: vec![attached(1, vm)],
            ..Seen::nothing(vec![want(1)])
        }
        .start(bound(&[1]));
        core.world().memory.placements.get(&volume_id(1)).copied()
    };
    assert_eq!(placement(HERE), Some(HERE));
    assert_eq!(placement(OTHER), None, "somebody else's choice");
}

#[test]
fn a_vanished_attachment_is_timed_from_when_it_was_first_seen_gone() {
    let (mut core, _) = Seen {
        cloud: vec![attached(1, HERE)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    let mut see = |volume: CloudVolume, millis: u64| {
        let answer = read(volume, 1_000_000 + millis);
        core.handle(
            Event::Cloud(CloudQuery::default(), Ok(Box::new(answer))),
            now(millis),
        );
        core.world().memory.vanished.get(&volume_id(1)).copied()
    };
    assert_eq!(see(attached(1, HERE), 10), None);
    assert_eq!(see(volume(1), 20), Some(now(20).boot));
    assert_eq!(see(volume(1), 30), Some(now(20).boot));
    assert_eq!(see(attached(1, HERE), 40), None);
}

/// What a loop makes of a first listing of these volumes and VMs, with keys that were never
/// used before: whether it believes it, and what it wants to be remembered.
fn believes(bound_to: &[u32], volumes: Vec<CloudVolume>, vms: &[VmId]) -> (bool, usize) {
    let mark = AccountMark::new("another");
    let mut memory = bound(bound_to);
    memory.account = Account::Unproven(mark.clone());
    let mut core = Core::new(memory, Policy::default(), Pace::default(), 1);
    core.handle(Event::Host(host(&[], at(1))), now(0));
    let mut answer = listing(volumes, at(2));
    if let Some(listing) = &mut answer.listing {
        listing.vms.retain(|vm| vms.contains(&vm.id));
    }
    core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(0));
    let proven = core.world().memory.account == Account::Proven;
    assert_eq!(core.world().observed.cloud.listed.is_ok(), proven);
    let remembered = |memo: &&Memo| **memo == Memo::Account(mark.clone());
    (proven, core.memos.iter().filter(remembered).count())
}

#[test]
fn another_account_has_to_show_this_vm_and_a_bound_volume() {
    let seen = || vec![volume(1)];
    assert_eq!(believes(&[1, 2], seen(), &[HERE]), (true, 1));
    assert_eq!(believes(&[1, 2], seen(), &[]), (false, 0), "not this VM");
    assert_eq!(believes(&[1, 2], vec![], &[HERE]), (false, 0), "no volume");
    assert_eq!(believes(&[], vec![], &[]), (true, 1), "nothing to lose yet");
}

#[test]
fn claims_that_the_store_does_not_know_are_looked_for_in_each_listing() {
    let (mut core, _) = Seen {
        cloud: vec![volume(1)],
        ..Seen::nothing(vec![want(1)])
    }
    .start(bound(&[1]));
    assert_eq!(core.world().memory.unknown_claims, []);
    let answer = listed(vec![volume(1), volume(2)], 2_000_000);
    core.handle(Event::Cloud(full(), Ok(Box::new(answer))), now(10));
    assert_eq!(core.world().memory.unknown_claims, [volume_id(2)]);
}
