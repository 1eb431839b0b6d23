use super::*;

#[test]
fn ids_differ_in_their_first_20_digits_and_come_from_the_seed() {
    let ids = |seed| {
        let settings = Settings {
            seed,
            ..Settings::default()
        };
        let mut world = World::new(settings, SimTime::from_millis(0));
        (0..10_000).map(|_| world.uuid()).collect::<Vec<Uuid>>()
    };
    let first = ids(1);
    let serials: BTreeSet<String> = first
        .iter()
        .map(|uuid| uuid.simple().to_string()[..20].to_owned())
        .collect();
    assert_eq!(serials.len(), first.len());
    assert_eq!(first, ids(1));
    assert_ne!(first, ids(2));
}

#[test]
fn time_does_not_go_back() {
    let mut world = World::standard(Settings::default(), SimTime::from_millis(1_000));
    world.advance(SimTime::from_millis(500));
    assert_eq!(world.now(), SimTime::from_millis(1_000));
}

#[test]
fn the_standard_world_holds_and_is_idle() {
    let world = World::standard(Settings::default(), SimTime::from_millis(0));
    assert_eq!(world.check(), Ok(()));
    assert_eq!(world.next_due(), None);
    let vms: Vec<(&str, VmState, usize)> = world
        .vms()
        .map(|(_, vm)| (vm.name.as_str(), vm.state, vm.disks.len()))
        .collect();
    assert_eq!(
        vms,
        [
            ("final-vm", VmState::Running, 1),
            ("test-vm", VmState::Stopped, 1),
            ("appliance", VmState::Running, 1),
        ]
    );
}

#[test]
fn names_are_compared_as_the_database_does() {
    for (a, b, equal) in [
        ("a", "A", true),
        ("a", "a  ", true),
        ("a", " a", false),
        ("é", "É", true),
        ("a", "b", false),
    ] {
        assert_eq!(collates_equal(a, b), equal, "{a:?} {b:?}");
    }
}

#[test]
fn jitter_stays_within_its_bounds_and_comes_from_the_seed() {
    let took = |seed: u64, jitter_percent: u8| -> Vec<u64> {
        let settings = Settings {
            seed,
            latencies: Latencies {
                jitter_percent,
                ..Latencies::all(1_000)
            },
            ..Settings::default()
        };
        let mut world = World::standard(settings, SimTime::default());
        let account = world.accounts().next().expect("one").0;
        let vm = world.vm_called("appliance").expect("it");
        (0..50)
            .map(|_| {
                world.submit(account, Work::RebootVm { vm }, None, None);
                world.advance(world.now());
                let before = world.now();
                let due = world.next_due().expect("a reboot");
                world.advance(due);
                due.millis_since(before)
            })
            .collect()
    };
    assert_eq!(took(1, 0), [1_000; 50]);
    let times = took(1, 20);
    assert!(
        times.iter().all(|ms| (800..=1_200).contains(ms)),
        "{times:?}"
    );
    assert!(times.iter().any(|ms| *ms < 900) && times.iter().any(|ms| *ms > 1_100));
    assert_eq!(times, took(1, 20));
    assert_ne!(times, took(2, 20));
}

#[test]
fn a_clock_that_is_set_changes_times_but_not_how_long_things_take() {
    let mut world = World::standard(Settings::default(), SimTime::from_millis(1_000_000));
    let account = world.accounts().next().expect("one").0;
    let vm = world.vm_called("appliance").expect("it");
    let job = world.submit(account, Work::StopVm { vm }, None, None);
    world.advance(world.now().plus_millis(100));
    for (millis, now) in [(60_000, 1_060_100), (-90_000, 970_100)] {
        world.set_clock(millis);
        assert_eq!(world.now().as_millis(), now);
        assert_eq!(world.next_due(), Some(world.now().plus_millis(400)));
    }
    world.advance(world.now().plus_millis(400));
    let ended = world.find_job(job).expect("it");
    assert!(matches!(ended.state, JobState::Ended { .. }));
}
