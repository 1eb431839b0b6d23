//! What nobody asked for in so many words, when there is suddenly much of it.

use super::*;

/// A volume whose spec was abandoned long enough to be detached.
fn to_be_detached() -> World {
    let mut world = in_sync();
    exports(&mut world).clear();
    spec(&mut world).reclaim_policy = Reclaim::Detach;
    spec(&mut world).export = None;
    world.memory.placements.insert(volume_id(), here());
    unplug(&mut world);
    // CloudStack was asked after the host, so its word about the missing disk counts.
    world.observed.host.begun = at(980_000);
    want(&mut world).presence = Presence::Abandoned {
        counted: Duration::from_secs(600),
    };
    world
}

#[test]
fn a_directory_that_is_not_believed_freezes_what_is_written_in_files() {
    let written_in_a_row = |world: &mut World| {
        want(world).owner = Owner::Db("engine".parse().expect("a writer"));
    };
    let go = |world: &World, before: &Guard| {
        let plan = plan(world, &Policy::default(), before, now());
        (say(&plan.volumes[&name()]), plan.guard)
    };
    let mut world = to_be_detached();
    assert_eq!(go(&world, &Guard::default()).0, "Act Detach abandoned");

    world.desired.files = SourceHealth::Suspect("it is empty".to_owned());
    let (said, guard) = go(&world, &Guard::default());
    assert_eq!(said, "Blocked GuardFrozen > Detach");
    written_in_a_row(&mut world);
    assert_eq!(go(&world, &Guard::default()).0, "Act Detach abandoned");

    // A freeze for everybody is not made smaller by a lesser cause that comes after it.
    let mut flooded = guard.clone();
    flooded.freeze.as_mut().expect("frozen").scope = Scope::Everything;
    let (said, guard) = go(&world, &flooded);
    assert_eq!(said, "Blocked GuardFrozen > Detach");
    assert_eq!(guard.freeze.expect("still").scope, Scope::Everything);

    world.desired.files = SourceHealth::Unread;
    let (said, _) = go(&world, &Guard::default());
    assert_eq!(said, "Blocked GuardFrozen > Detach", "nor were rows read");
}

#[test]
fn nothing_is_taken_to_be_asked_for_by_a_row_that_vanished() {
    let mut world = to_be_detached();
    want(&mut world).owner = Owner::Db("engine".parse().expect("a writer"));
    world.desired.missing_rows = BTreeSet::from([name()]);
    let plan = plan(&world, &Policy::default(), &Guard::default(), now());
    let of = &plan.volumes[&name()];
    assert_eq!(say(of), "Blocked RowMissing > Detach");
    assert_eq!(of.drift.len(), 1);
    assert_eq!(plan.guard.freeze, None, "it says nothing about the others");

    // What is done for the volume as it stands goes on.
    let mut world = in_sync();
    exports(&mut world).clear();
    world.desired.missing_rows = BTreeSet::from([name()]);
    let plan = super::plan(&world, &Policy::default(), &Guard::default(), now());
    assert_eq!(say(&plan.volumes[&name()]), "Act Export declared");
}

#[test]
fn the_guard_freezes_floods_and_thaws_by_itself() {
    let fleet = |count: u64| {
        let mut world = in_sync();
        world.observed.nbd.exports = Reading::Present(BTreeMap::new());
        let template = world.desired.volumes.remove(&name()).expect("one spec");
        world.memory.bindings.clear();
        world.observed.cloud.volumes.clear();
        for n in 0..count {
            let mut want = template.clone();
            want.document.name = format!("disk-{n}").parse().expect("a name");
            want.document.spec.export = None;
            want.uid = SpecUid::new(uuid(10_000 + n));
            let id = VolumeId::new(uuid(20_000 + n));
            let binding = Binding {
                volume: id,
                uid: want.uid,
                mark: Mark::Created,
            };
            let mut volume = cloud_volume();
            volume.id = id;
            let claim = Claim {
                spec: want.uid,
                ..claim(Mark::Created)
            };
            volume.tags.insert(CLAIM_TAG.to_owned(), claim.to_string());
            world.observed.cloud.volumes.insert(id, volume);
            world.memory.placements.insert(id, here());
            world.memory.bindings.insert(want.name().clone(), binding);
            let resolution = world.memory.resolutions[&name()].clone();
            world
                .memory
                .resolutions
                .insert(want.name().clone(), resolution);
            world.desired.volumes.insert(want.name().clone(), want);
        }
        unplug(&mut world);
        // CloudStack was asked after the host, so its word about the missing disks counts.
        world.observed.host.begun = at(980_000);
        world
    };
    let abandon_first = |world: &mut World, count: usize| {
        for want in world.desired.volumes.values_mut().take(count) {
            want.document.spec.reclaim_policy = Reclaim::Detach;
            want.presence = Presence::Abandoned {
                counted: Duration::from_secs(600),
            };
        }
    };
    let acting = |plan: &Plan| {
        let acts = |plan: &&VolumePlan| matches!(plan.decision, Decision::Act { .. });
        plan.volumes.values().filter(acts).count()
    };
    let go = |world: &World, before: &Guard| plan(world, &Policy::default(), before, now());

    let mut few = fleet(10);
    abandon_first(&mut few, 3);
    assert_eq!(acting(&go(&few, &Guard::default())), 3, "three are allowed");

    let mut many = fleet(10);
    abandon_first(&mut many, 4);
    let frozen = go(&many, &Guard::default());
    assert_eq!(acting(&frozen), 0, "four of ten are not");
    assert!(frozen.guard.freeze.is_some());
    let first = frozen.volumes.values().next().expect("ten");
    assert_eq!(say(first), "Blocked GuardFrozen > Detach");

    let mut deleting = fleet(10);
    for want in deleting.desired.volumes.values_mut().take(4) {
        want.document.spec.reclaim_policy = Reclaim::Delete;
        want.document.spec.deletion_protection = false;
        want.presence = Presence::Abandoned {
            counted: Duration::from_secs(24 * 3600),
        };
        let id = deleting.memory.bindings[want.name()].volume;
        let volume = deleting.observed.cloud.volumes.get_mut(&id);
        volume.expect("listed").attachment = None;
    }
    let held = go(&deleting, &Guard::default());
    assert_eq!(acting(&held), 0, "nor are four deletions");
    let steps = held.guard.freeze.expect("frozen").steps;
    assert!(steps.values().all(|step| step.kind() == Action::DELETE));

    // A person looks at exactly these, and lets them pass.
    let freeze = frozen.guard.freeze.clone().expect("frozen");
    assert_eq!(freeze.steps.len(), 4);
    let approve = |world: &mut World, until: u64| {
        let approved = freeze.steps.iter().map(|(name, action)| {
            let until = now().boot.plus(Duration::from_secs(until));
            let action = action.clone();
            (name.clone(), Approved { action, until })
        });
        world.memory.approved = approved.collect();
    };
    let mut approved = many.clone();
    approve(&mut approved, 1);
    assert_eq!(acting(&go(&approved, &frozen.guard)), 4);
    approve(&mut approved, 0);
    assert_eq!(acting(&go(&approved, &frozen.guard)), 0, "it has expired");
    // One volume is somewhere else by now: nobody approved that.
    let (moved, _) = freeze.steps.first_key_value().expect("four");
    let id = many.memory.bindings[moved].volume;
    let place = |world: &mut World| {
        let volume = world.observed.cloud.volumes.get_mut(&id).expect("listed");
        volume.attachment.as_mut().expect("attached").vm = other();
        world.memory.placements.insert(id, other());
        let stopped = vm(other(), VmState::Stopped);
        world.observed.cloud.vms.insert(other(), stopped);
    };
    approve(&mut approved, 1);
    place(&mut approved);
    let then = go(&approved, &frozen.guard);
    assert_eq!(acting(&then), 3);
    let left = then.guard.freeze.expect("still");
    assert_eq!(left.steps.keys().collect::<Vec<_>>(), [moved]);
    place(&mut many);
    let other_digest = go(&many, &Guard::default()).guard.freeze;
    let other_digest = other_digest.expect("frozen").digest();
    assert_ne!(other_digest, freeze.digest(), "other steps, another digest");

    let mut large = fleet(100);
    abandon_first(&mut large, 10);
    assert_eq!(acting(&go(&large, &Guard::default())), 10, "a tenth is");

    let mut hour = fleet(10);
    abandon_first(&mut hour, 2);
    let done = |secs: u64| ImpliedStep {
        name: format!("earlier-{secs}").parse().expect("a name"),
        kind: "Detach".to_owned(),
        cause: Cause::Abandoned,
        owner: Owner::File("a.yaml".to_owned()),
        at: now().boot.minus(Duration::from_secs(secs)),
    };
    hour.memory.implied = vec![done(10), done(20)];
    assert_eq!(
        acting(&go(&hour, &Guard::default())),
        0,
        "two more in an hour"
    );
    hour.memory.implied = vec![done(3700), done(3800)];
    assert_eq!(
        acting(&go(&hour, &Guard::default())),
        2,
        "older ones are forgotten"
    );

    let mut suspect = fleet(10);
    abandon_first(&mut suspect, 1);
    suspect.desired.files = SourceHealth::Suspect("it is empty".to_owned());
    let held = go(&suspect, &Guard::default());
    assert_eq!(acting(&held), 0, "the directory is not believed");
    suspect.desired.files = SourceHealth::Sound;
    let once = go(&suspect, &held.guard);
    assert_eq!(acting(&once), 0, "once clean is not enough");
    assert_eq!(
        acting(&go(&suspect, &once.guard)),
        0,
        "nor is the same listing twice"
    );
    suspect.observed.cloud.listed = Ok(at(990_001));
    assert_eq!(acting(&go(&suspect, &once.guard)), 1, "the next listing is");

    let mut starting = fleet(10);
    abandon_first(&mut starting, 1);
    starting.desired.files = SourceHealth::Unread;
    let held = go(&starting, &Guard::default());
    assert_eq!(acting(&held), 0, "the directory was not read yet");
    starting.desired.files = SourceHealth::Sound;
    assert_eq!(acting(&go(&starting, &held.guard)), 1, "now it was");

    let mut lost = fleet(10);
    abandon_first(&mut lost, 1);
    let gone: Vec<VolumeId> = lost
        .observed
        .cloud
        .volumes
        .keys()
        .skip(5)
        .take(2)
        .copied()
        .collect();
    for id in gone {
        lost.observed.cloud.volumes.remove(&id);
        lost.observed.cloud.absent.insert(id, at(991_000));
    }
    assert_eq!(
        acting(&go(&lost, &Guard::default())),
        0,
        "the view is not believed"
    );
}
