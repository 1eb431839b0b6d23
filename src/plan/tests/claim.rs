//! Which volume a spec is about, for ever.

use super::*;

#[test]
fn a_lost_volume_is_never_made_anew() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "not in the listing",
            |w| w.observed.cloud.volumes.clear(),
            "Observing",
        ),
        (
            "looked up and gone, disk here",
            |w| {
                w.observed.cloud.volumes.clear();
                w.observed.cloud.absent.insert(volume_id(), at(991_000));
            },
            "Act Withdraw Soft declared",
        ),
        (
            "looked up and gone",
            |w| {
                w.observed.cloud.volumes.clear();
                w.observed.cloud.absent.insert(volume_id(), at(991_000));
                unplug(w);
                exports(w).clear();
            },
            "Blocked VolumeLost",
        ),
        (
            "destroyed",
            |w| {
                detached(w);
                cloud(w).state = VolumeState::Destroy;
            },
            "Blocked VolumeDestroyed",
        ),
    ]);
}

#[test]
fn adoption_claims_before_it_binds() {
    let case = |change: Change| {
        let mut world = in_sync();
        world.memory.bindings.clear();
        exports(&mut world).clear();
        spec(&mut world).origin = Origin::Existing {
            volume: NameOrId::Id(volume_id()),
            size: None,
        };
        world.memory.resolutions.insert(
            name(),
            Resolution {
                generation: 1,
                zone: None,
                offering: None,
                vm: None,
                existing: Some(volume_id()),
            },
        );
        cloud(&mut world).tags.clear();
        change(&mut world);
        say(&decided(&world))
    };
    assert_eq!(case(|_| {}), "Act Tag declared > Bind > Export");
    assert_eq!(
        case(|w| {
            let claim = claim(Mark::Adopted).to_string();
            cloud(w).tags.insert(CLAIM_TAG.to_owned(), claim);
        }),
        "Act Bind declared > Export"
    );
    assert_eq!(
        case(|w| {
            w.memory.bindings.insert(
                "another".parse().expect("a name"),
                Binding {
                    volume: volume_id(),
                    uid: SpecUid::new(uuid(310)),
                    mark: Mark::Created,
                },
            );
        }),
        "Blocked BoundToOther > Export"
    );
    assert_eq!(
        case(|w| cloud(w).state = VolumeState::Destroy),
        "Blocked VolumeDestroyed > Export"
    );
}

#[test]
fn a_claim_is_unknown_if_nothing_remembers_its_spec() {
    type Edit = fn(&mut World);
    let cases: [(&str, Edit, bool); 7] = [
        ("bound", |_| {}, false),
        (
            "accepted, not bound yet",
            |w| w.memory.bindings.clear(),
            false,
        ),
        (
            "abandoned long ago, still bound",
            |w| w.desired.volumes.clear(),
            false,
        ),
        ("forgotten", forget, true),
        (
            "forgotten, of another store",
            |w| {
                forget(w);
                w.memory.instance = InstanceId::new(uuid(302));
            },
            false,
        ),
        (
            "forgotten, and a person gave it up",
            |w| {
                forget(w);
                w.memory.disowned.insert(uid());
            },
            false,
        ),
        (
            "perhaps in a row that was not understood",
            |w| {
                forget(w);
                w.memory.is_whole = false;
            },
            false,
        ),
    ];
    for (what, edit, unknown) in cases {
        let mut world = in_sync();
        edit(&mut world);
        let expected = if unknown { vec![volume_id()] } else { vec![] };
        assert_eq!(unknown_claims(&world), expected, "{what}");
    }
}
