//! The order of things: from nothing to a served volume, and what holds every step back.

use super::*;

#[test]
fn the_path_to_a_served_volume() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "new",
            unbound,
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "made, not claimed",
            |w| {
                detached(w);
                cloud(w).tags.clear();
                w.memory.placements.clear();
            },
            "Act Tag declared > Attach > Export",
        ),
        (
            "claimed",
            |w| {
                detached(w);
                w.memory.placements.clear();
            },
            "Act Attach declared > Export",
        ),
        (
            "attached, disk not here yet",
            |w| {
                unplug(w);
                exports(w).clear();
            },
            "Waiting WaitingForDevice",
        ),
        ("disk here", |w| exports(w).clear(), "Act Export declared"),
        (
            "too small",
            |w| {
                if let Origin::Create { size, .. } = &mut spec(w).origin {
                    *size = ByteSize::gib(5);
                }
            },
            "Act Grow declared",
        ),
        (
            "grown in CloudStack, not here",
            |w| {
                cloud(w).size = ByteSize::gib(5);
                exports(w).clear();
            },
            "Waiting WaitingForDeviceSize",
        ),
        (
            "grown here, not served",
            |w| {
                cloud(w).size = ByteSize::gib(5);
                disks(w).devices.get_mut("vdb").expect("vdb").size = ByteSize::gib(5);
            },
            "Act Withdraw Soft declared > Export",
        ),
        (
            "read-only now",
            |w| {
                if let Some(export) = &mut spec(w).export {
                    export.read_only = true;
                }
            },
            "Act Withdraw Soft declared > Export",
        ),
        (
            "not exported any more",
            |w| spec(w).export = None,
            "Act Withdraw Soft declared",
        ),
        (
            "detached on purpose",
            |w| {
                if let Some(attach) = &mut spec(w).attach_to {
                    attach.vm = AttachVm::Nobody;
                }
                spec(w).export = None;
            },
            "Act Withdraw Soft declared > Detach",
        ),
    ]);
}

#[test]
fn nothing_overlaps() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "our own call is under way",
            |w| {
                detached(w);
                let action = Action::Attach {
                    volume: volume_id(),
                    vm: here(),
                    device_id: None,
                };
                w.memory.intents.insert(name(), intent(action));
            },
            "Waiting InProgress",
        ),
        (
            "somebody else's job",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).pending_job = Some(JobId::new(uuid(401)));
            },
            "Waiting ForeignJob > Attach > Export",
        ),
        (
            "volume between two states",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).state = VolumeState::parse("Snapshotting");
            },
            "Waiting Transitional > Attach > Export",
        ),
        (
            "the volume was read too long ago to detach it",
            |w| {
                cloud(w).begun = at(989_999);
                exports(w).clear();
                spec(w).export = None;
                spec(w).attach_to.as_mut().expect("attached").vm = AttachVm::Nobody;
            },
            "Observing",
        ),
        (
            "the VM was read too long ago to attach to it",
            |w| {
                detached(w);
                w.memory.placements.clear();
                let seen = w.observed.cloud.vms.get_mut(&here()).expect("listed");
                seen.begun = at(989_999);
            },
            "Observing",
        ),
        (
            "VM between two states",
            |w| {
                detached(w);
                w.memory.placements.clear();
                let state = VmState::parse("Starting");
                w.observed.cloud.vms.insert(here(), vm(here(), state));
            },
            "Waiting Transitional > Attach > Export",
        ),
        (
            "the VM it is to leave between two states",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                let state = VmState::parse("Migrating");
                w.observed.cloud.vms.insert(here(), vm(here(), state));
            },
            "Waiting Transitional > Detach",
        ),
        (
            "to be grown, its VM between two states",
            |w| {
                if let Origin::Create { size, .. } = &mut spec(w).origin {
                    *size = ByteSize::gib(5);
                }
                let state = VmState::parse("Stopping");
                w.observed.cloud.vms.insert(here(), vm(here(), state));
            },
            "Waiting Transitional > Grow",
        ),
        (
            "read before the last change settled",
            |w| {
                detached(w);
                w.memory.settled.insert(name(), at(990_000));
            },
            "Observing",
        ),
    ]);
}

#[test]
fn gates_hold_every_step_back() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "paused",
            |w| {
                unbound(w);
                w.memory.pauses.volumes.insert(name(), pause());
            },
            "Waiting Paused > Create > Tag > Attach > Export",
        ),
        (
            "everything is paused",
            |w| {
                unbound(w);
                w.memory.pauses.all = Some(pause());
            },
            "Waiting Paused > Create > Tag > Attach > Export",
        ),
        (
            "a pause that is over",
            |w| {
                unbound(w);
                let over = Pause {
                    until: now().boot,
                    ..pause()
                };
                w.memory.pauses.volumes.insert(name(), over);
            },
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "paused, but the disk is gone",
            |w| {
                unplug(w);
                w.memory.pauses.all = Some(pause());
            },
            "Act Withdraw Hard healing",
        ),
        (
            "the store is older than a volume with its claim",
            |w| {
                unbound(w);
                w.memory.unknown_claims = vec![volume_id()];
            },
            "Blocked StoreRolledBack > Create > Tag > Attach > Export",
        ),
        (
            "the same, and nothing new is exported",
            |w| {
                exports(w).clear();
                w.memory.unknown_claims = vec![volume_id()];
            },
            "Blocked StoreRolledBack > Export",
        ),
        (
            "suspended",
            |w| {
                unbound(w);
                spec(w).suspend = true;
            },
            "Blocked Held > Create > Tag > Attach > Export",
        ),
        (
            "observed only",
            |w| {
                unbound(w);
                spec(w).mode = Mode::Observe;
            },
            "Blocked Held > Create > Tag > Attach > Export",
        ),
        (
            "CloudStack away",
            |w| {
                unbound(w);
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
            },
            "Blocked SourceUnknown > Attach > Export",
        ),
        (
            "CloudStack has not answered yet",
            |w| {
                unbound(w);
                w.observed.cloud.listed = Err(Unlisted::NotAsked);
            },
            "Observing",
        ),
        (
            "the last listing is old",
            |w| {
                unbound(w);
                w.observed.cloud.listed = Ok(at(0));
            },
            "Observing",
        ),
        (
            "clocks apart",
            |w| {
                unbound(w);
                let server = now().wall.plus(Duration::from_secs(31));
                w.observed.cloud.server_time = Some((server, now().boot));
            },
            "Blocked ClockSkew > Create > Tag > Attach > Export",
        ),
        (
            "refused before",
            |w| {
                unbound(w);
                fail(w, "Create", FailureClass::Refused, 0);
            },
            "Blocked Refused > Create > Tag > Attach > Export",
        ),
        (
            "failed just now",
            |w| {
                unbound(w);
                fail(w, "Create", FailureClass::Retry, 1_000_001);
            },
            "Waiting Retrying > Create > Tag > Attach > Export",
        ),
        (
            "refused before, then edited",
            |w| {
                unbound(w);
                fail(w, "Create", FailureClass::Refused, 0);
                w.memory.failures.get_mut(&name()).expect("one").generation = 0;
            },
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "another step failed just now",
            |w| {
                unbound(w);
                fail(w, "Attach", FailureClass::Retry, 1_000_001);
            },
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "failed a while ago",
            |w| {
                unbound(w);
                fail(w, "Create", FailureClass::Retry, 1_000_000);
            },
            "Act Create declared > Tag > Attach > Export",
        ),
    ]);
}

#[test]
fn names_that_mean_nothing_or_too_much_are_all_reported() {
    let mut world = in_sync();
    unbound(&mut world);
    world.memory.resolutions.clear();
    let catalogue = world.observed.cloud.catalogue.as_mut().expect("listed");
    catalogue.zones.clear();
    catalogue.offerings.push(Named {
        id: OfferingId::new(uuid(202)),
        name: "custom".to_owned(),
    });
    assert_eq!(
        say(&decided(&world)),
        "Blocked NotFound, Ambiguous > Attach > Export"
    );
}

#[test]
fn a_panic_about_one_volume_stops_that_one_only() {
    let mut world = in_sync();
    let mut broken = wanted();
    broken.document.name = PANICS.parse().expect("a name");
    broken.uid = SpecUid::new(uuid(310));
    world.desired.volumes.insert(broken.name().clone(), broken);
    let plan = plan(&world, &Policy::default(), &Guard::default(), now());
    let said: Vec<String> = plan.volumes.values().map(say).collect();
    assert_eq!(said, ["InSync", "Blocked InternalError"]);
}

#[test]
fn drift_is_what_nobody_works_on() {
    let fields = |change: Change| -> Vec<String> {
        let mut world = in_sync();
        change(&mut world);
        let drift = decided(&world).drift;
        drift.into_iter().map(|drift| drift.field).collect()
    };
    assert_eq!(fields(|_| {}), [""; 0]);
    assert_eq!(fields(unbound), [""; 0], "it is being made");
    assert_eq!(fields(detached), ["spec.attachTo.vm", "spec.attachTo"][..1]);
    assert_eq!(fields(|w| cloud(w).size = ByteSize::gib(9)), ["spec.size"]);
    assert_eq!(
        fields(|w| {
            unbound(w);
            spec(w).suspend = true;
        }),
        ["spec"]
    );
    assert_eq!(
        fields(|w| {
            let attach = spec(w).attach_to.as_mut().expect("attached");
            attach.device_id = Some(4);
        }),
        ["spec.attachTo.deviceId"]
    );
    let renamed = fields(|w| cloud(w).name = "another".to_owned());
    assert_eq!(renamed, ["spec.volumeName"]);
}
