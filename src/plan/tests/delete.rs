//! What becomes of a volume whose spec is gone.

use super::*;

#[test]
fn an_abandoned_spec_is_reclaimed_as_it_said() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let case = |counted, reclaim, change: Change| {
        let mut world = in_sync();
        abandon(&mut world, counted, reclaim);
        change(&mut world);
        say(&decided(&world))
    };
    let seconds = Duration::from_secs;
    assert_eq!(
        case(seconds(9), Reclaim::Retain, |_| {}),
        "Waiting Abandoned > Withdraw"
    );
    assert_eq!(
        case(seconds(10), Reclaim::Retain, |_| {}),
        "Act Withdraw Soft declared"
    );
    assert_eq!(
        case(seconds(10), Reclaim::Retain, |w| exports(w).clear()),
        "Released"
    );
    assert_eq!(
        case(minutes(9), Reclaim::Detach, |_| {}),
        "Waiting Abandoned > Detach"
    );
    assert_eq!(
        case(minutes(10), Reclaim::Detach, |_| {}),
        "Act Withdraw Soft declared > Detach"
    );
    assert_eq!(
        case(minutes(10), Reclaim::Detach, |w| exports(w).clear()),
        "Act Detach abandoned"
    );
    assert_eq!(case(minutes(10), Reclaim::Detach, detached), "Released");
    // Suspended specs are reclaimed as Retain.
    assert_eq!(
        case(minutes(10), Reclaim::Detach, |w| {
            spec(w).suspend = true;
            exports(w).clear();
        }),
        "Released"
    );
    // What somebody else attached stays.
    assert_eq!(
        case(minutes(10), Reclaim::Detach, |w| {
            exports(w).clear();
            w.memory.placements.clear();
        }),
        "Released"
    );
}

/// Gone for long enough, unprotected, made by us, detached, not served: to be deleted.
fn to_be_deleted(world: &mut World) {
    abandon(world, Duration::from_secs(24 * 3600), Reclaim::Delete);
    spec(world).deletion_protection = false;
    exports(world).clear();
    detached(world);
    world.memory.placements.clear();
}

#[test]
fn data_outlives_its_spec_unless_everything_says_otherwise() {
    let cases: [(&str, Change, &str); 21] = [
        ("all of it", |_| {}, "Act Delete abandoned"),
        (
            "a second too early",
            |w| abandon(w, Duration::from_secs(24 * 3600 - 1), Reclaim::Delete),
            "Waiting Abandoned > Detach > Delete",
        ),
        (
            "it is declared",
            |w| {
                let want = w.desired.volumes.get_mut(&name()).expect("one spec");
                want.presence = Presence::Declared;
            },
            "Act Attach declared > Export",
        ),
        (
            "only to be detached",
            |w| spec(w).reclaim_policy = Reclaim::Detach,
            "Released",
        ),
        (
            "protected",
            |w| spec(w).deletion_protection = true,
            "Blocked NotDeletable",
        ),
        ("suspended", |w| spec(w).suspend = true, "Released"),
        (
            "only observed",
            |w| spec(w).mode = Mode::Observe,
            "Released",
        ),
        (
            "adopted",
            |w| {
                let binding = w.memory.bindings.get_mut(&name()).expect("bound");
                binding.mark = Mark::Adopted;
            },
            "Blocked NotDeletable",
        ),
        (
            "its tag says adopted",
            |w| {
                let text = claim(Mark::Adopted).to_string();
                cloud(w).tags.insert(CLAIM_TAG.to_owned(), text);
            },
            "Blocked NotDeletable",
        ),
        (
            "its tag is gone",
            |w| cloud(w).tags.clear(),
            "Blocked NotDeletable",
        ),
        (
            "another store claims it",
            |w| {
                let text = Claim {
                    instance: InstanceId::new(uuid(900)),
                    ..claim(Mark::Created)
                };
                cloud(w).tags.insert(CLAIM_TAG.to_owned(), text.to_string());
            },
            "Blocked ClaimedBy",
        ),
        (
            "a VM boots from it",
            |w| cloud(w).kind = VolumeKind::Root,
            "Blocked NotDeletable",
        ),
        (
            "on a VM where we did not put it",
            |w| {
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
            },
            "Blocked NotDeletable",
        ),
        (
            "recovered after it was deleted",
            |w| w.memory.deleted = BTreeSet::from([volume_id()]),
            "Blocked NotDeletable",
        ),
        (
            "being copied",
            |w| cloud(w).state = VolumeState::Transitional("Snapshotting".to_owned()),
            "Waiting Transitional > Delete",
        ),
        (
            "its disk is still here",
            |w| {
                let disks = in_sync().observed.host.disks;
                w.observed.host.disks = disks;
            },
            "Blocked PlacementDisputed > Delete",
        ),
        (
            "the disks here cannot be read",
            |w| w.observed.host.disks = Reading::Unknown("no sysfs".to_owned()),
            "Observing",
        ),
        (
            "never was in use",
            |w| cloud(w).state = VolumeState::Allocated,
            "Act Delete abandoned",
        ),
        (
            "still where we put it",
            |w| {
                cloud(w).attachment = cloud_volume().attachment;
                w.memory.placements.insert(volume_id(), here());
                w.observed.host.disks = in_sync().observed.host.disks;
            },
            "Act Detach abandoned > Delete",
        ),
        (
            "deleted",
            |w| {
                w.memory.deleted = BTreeSet::from([volume_id()]);
                cloud(w).state = VolumeState::Destroy;
            },
            "Released",
        ),
        (
            "read too long ago",
            |w| cloud(w).begun = at(900_000),
            "Observing",
        ),
    ];
    for (case, change, expected) in cases {
        let mut world = in_sync();
        to_be_deleted(&mut world);
        change(&mut world);
        let said = say(&decided(&world));
        assert!(said.starts_with(expected), "{case}: {said}");
        assert!(
            !expected.starts_with("Released") || said == "Released",
            "{case}: {said}"
        );
    }
}
