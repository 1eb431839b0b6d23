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
