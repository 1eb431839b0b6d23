//! Where a volume is, where it is to be, and whose it is there.

use super::*;

#[test]
fn foreign_is_foreign() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "the root disk of a VM that was destroyed, where somebody put it",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).kind = VolumeKind::Root;
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(0),
                });
                let gone = vm(other(), VmState::Gone("Destroyed".to_owned()));
                w.observed.cloud.vms.insert(other(), gone);
            },
            "Blocked VolumeAtRisk, ForeignAttachment > Attach > Export",
        ),
        (
            "the same, where the spec wants it",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                let attach = spec(w).attach_to.as_mut().expect("attached");
                attach.vm = AttachVm::Vm(NameOrId::Id(other()));
                spec(w).export = None;
                w.memory.resolutions.get_mut(&name()).expect("resolved").vm = Some(other());
                cloud(w).kind = VolumeKind::Root;
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(0),
                });
                let gone = vm(other(), VmState::Gone("Destroyed".to_owned()));
                w.observed.cloud.vms.insert(other(), gone);
            },
            "Blocked VolumeAtRisk",
        ),
        (
            "the same, and the spec wants it nowhere any more",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                spec(w).attach_to.as_mut().expect("attached").vm = AttachVm::Nobody;
                spec(w).export = None;
                cloud(w).kind = VolumeKind::Root;
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(0),
                });
                let gone = vm(other(), VmState::Gone("Destroyed".to_owned()));
                w.observed.cloud.vms.insert(other(), gone);
            },
            "Act Detach edited",
        ),
        (
            "on another VM, where we did not put it",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
            },
            "Blocked ForeignAttachment > Attach > Export",
        ),
        (
            "the same, stopped, and the spec allows taking it",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                if let Some(attach) = &mut spec(w).attach_to {
                    attach.take = Move::WhenFree;
                }
            },
            "Act Detach healing > Attach > Export",
        ),
        (
            "the same, taken and put there again for the fourth time in an hour",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                if let Some(attach) = &mut spec(w).attach_to {
                    attach.take = Move::WhenFree;
                }
                w.memory.implied = undone(Action::DETACH, [3000, 2000, 1000]);
            },
            "Blocked Contended > Detach > Attach > Export",
        ),
        (
            "the same, running",
            |w| {
                detached(w);
                w.memory.placements.clear();
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                w.observed
                    .cloud
                    .vms
                    .insert(other(), vm(other(), VmState::Running));
                if let Some(attach) = &mut spec(w).attach_to {
                    attach.take = Move::WhenFree;
                }
            },
            "Blocked ForeignAttachment > Attach > Export",
        ),
        (
            "we put it on a VM that runs now",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                w.observed
                    .cloud
                    .vms
                    .insert(other(), vm(other(), VmState::Running));
            },
            "Blocked OtherVMRunning > Attach > Export",
        ),
        (
            "we put it on a VM that no listing shows",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: Some(1),
                });
                w.observed.cloud.vms.remove(&other());
            },
            "Blocked VMGone > Attach > Export",
        ),
        (
            "claimed by somebody else",
            |w| {
                cloud(w)
                    .tags
                    .insert(CLAIM_TAG.to_owned(), "somebody".to_owned());
            },
            "Blocked ClaimedBy",
        ),
        (
            "the name is taken",
            |w| {
                unbound(w);
                let mut volume = cloud_volume();
                volume.tags.clear();
                w.observed.cloud.volumes.insert(volume_id(), volume);
            },
            "Blocked NameTaken > Attach > Export",
        ),
        (
            "whether the name is free was not read since it was asked for",
            |w| {
                unbound(w);
                w.memory.seen.insert(name(), at(990_001));
            },
            "Observing",
        ),
        (
            "it was, on its own",
            |w| {
                unbound(w);
                w.memory.seen.insert(name(), at(990_001));
                w.observed.cloud.named.insert(NAME.to_owned(), at(990_002));
            },
            "Act Create declared > Tag > Attach > Export",
        ),
        (
            "not listed since a create of ours settled",
            |w| {
                unbound(w);
                w.memory.settled.insert(name(), at(990_000));
            },
            "Observing",
        ),
        (
            "two volumes carry our claim",
            |w| {
                w.memory.bindings.clear();
                exports(w).clear();
                let mut twin = cloud_volume();
                twin.id = VolumeId::new(uuid(2));
                w.observed.cloud.volumes.insert(twin.id, twin);
            },
            "Blocked ClaimedTwice > Attach > Export",
        ),
        (
            "ours by its claim, only not recorded",
            |w| {
                w.memory.bindings.clear();
                exports(w).clear();
            },
            "Act Bind declared > Export",
        ),
    ]);
}

#[test]
fn healing_waits_and_heals_this_vm_only() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "just vanished",
            detached,
            "Waiting HealDelay > Attach > Export",
        ),
        (
            "vanished a while ago",
            |w| {
                detached(w);
                w.memory.vanished.insert(volume_id(), at(960_000));
            },
            "Act Attach healing > Export",
        ),
        (
            "vanished for the fourth time in an hour",
            |w| {
                detached(w);
                w.memory.vanished.insert(volume_id(), at(960_000));
                w.memory.implied = undone(Action::ATTACH, [3000, 2000, 1000]);
            },
            "Blocked Contended > Attach > Export",
        ),
        (
            "the same, over more than an hour",
            |w| {
                detached(w);
                w.memory.vanished.insert(volume_id(), at(960_000));
                w.memory.implied = undone(Action::ATTACH, [3601, 2000, 1000]);
            },
            "Act Attach healing > Export",
        ),
        (
            "vanished from another VM",
            |w| {
                detached(w);
                w.memory.placements.insert(volume_id(), other());
                let attach = spec(w).attach_to.as_mut().expect("attached");
                attach.vm = AttachVm::Vm(NameOrId::Id(other()));
                w.memory.resolutions.get_mut(&name()).expect("resolved").vm = Some(other());
                spec(w).export = None;
            },
            "Blocked VanishedElsewhere",
        ),
        (
            "detached in CloudStack, disk still here",
            |w| {
                cloud(w).attachment = None;
                exports(w).clear();
            },
            "Blocked PlacementDisputed > Attach > Export",
        ),
        (
            "the same, and served",
            |w| cloud(w).attachment = None,
            "Act Withdraw Soft declared > Attach > Export",
        ),
    ]);
}

#[test]
fn nothing_is_unplugged_before_it_is_quiet() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "served",
            leave_this_vm,
            "Act Withdraw Soft declared > Detach",
        ),
        (
            "not served",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
            },
            "Act Detach edited",
        ),
        (
            "mounted here",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                let device = disks(w).devices.get_mut("vdb").expect("vdb");
                device.users = vec![DeviceUser::Mount("/mnt".to_owned())];
            },
            "Blocked DeviceBusy > Detach",
        ),
        (
            "whether it is served was not asked since we changed it",
            |w| {
                leave_this_vm(w);
                w.memory.served.insert(name(), at(996_000));
            },
            "Observing",
        ),
        (
            "whether it is served cannot be asked",
            |w| {
                leave_this_vm(w);
                w.observed.nbd.exports = Reading::Unknown("down".to_owned());
            },
            "Blocked SourceUnknown > Detach",
        ),
        (
            "who uses it cannot be read",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                w.observed.host.disks = Reading::Unknown("EIO".to_owned());
            },
            "Observing",
        ),
        (
            "the disk went after CloudStack was asked",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                unplug(w);
            },
            "Observing",
        ),
        (
            "the disk is gone already",
            |w| {
                leave_this_vm(w);
                exports(w).clear();
                unplug(w);
                w.observed.host.begun = at(980_000);
            },
            "Act Detach edited",
        ),
    ]);
}

#[test]
fn root_disks_need_a_stopped_vm_without_one() {
    let case = |state, has_root| {
        let mut world = in_sync();
        detached(&mut world);
        world.memory.placements.clear();
        spec(&mut world).export = None;
        let attach = spec(&mut world).attach_to.as_mut().expect("attached");
        attach.vm = AttachVm::Vm(NameOrId::Id(other()));
        attach.device_id = Some(0);
        world
            .memory
            .resolutions
            .get_mut(&name())
            .expect("resolved")
            .vm = Some(other());
        world.observed.cloud.vms.insert(other(), vm(other(), state));
        if has_root {
            let mut root = cloud_volume();
            root.id = VolumeId::new(uuid(5));
            root.kind = VolumeKind::Root;
            root.attachment = Some(Attachment {
                vm: other(),
                device_id: Some(0),
            });
            world.observed.cloud.volumes.insert(root.id, root);
        }
        say(&decided(&world))
    };
    assert_eq!(case(VmState::Stopped, false), "Act Attach declared");
    assert_eq!(
        case(VmState::Running, false),
        "Blocked RootNeedsStoppedVM > Attach"
    );
    assert_eq!(case(VmState::Stopped, true), "Blocked RootTaken > Attach");
}
