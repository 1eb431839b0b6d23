//! What is served, and when that begins and ends.

use super::*;

#[test]
fn what_is_wrong_on_the_host_ends_at_once() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        ("disk gone", unplug, "Act Withdraw Hard healing"),
        (
            "disk gone, everything frozen and CloudStack away",
            |w| {
                unplug(w);
                w.desired.files = SourceHealth::Suspect("empty".to_owned());
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                spec(w).suspend = true;
            },
            "Act Withdraw Hard healing",
        ),
        (
            "another disk under the same serial",
            |w| disks(w).devices.get_mut("vdb").expect("vdb").diskseq = Some(10),
            "Act Withdraw Hard healing",
        ),
        (
            "size zero",
            |w| disks(w).devices.get_mut("vdb").expect("vdb").size = ByteSize::bytes(0),
            "Act Withdraw Hard healing",
        ),
        (
            "the server holds something else",
            |w| exports(w).get_mut(&export_name()).expect("served").proven = false,
            "Act Withdraw Hard healing",
        ),
        (
            "CloudStack says another VM",
            |w| {
                cloud(w).attachment = Some(Attachment {
                    vm: other(),
                    device_id: None,
                });
            },
            "Act Withdraw Hard healing",
        ),
        (
            "the server cannot be asked any more, and the disk goes",
            |w| {
                unplug(w);
                w.observed.nbd.last_known = exports(w).clone();
                w.observed.nbd.exports = Reading::Unknown("it refuses".to_owned());
            },
            "Act Withdraw Hard healing",
        ),
        (
            "a withdrawal failed a moment ago",
            |w| {
                unplug(w);
                fail(w, "Withdraw", FailureClass::Retry, 1_000_500);
            },
            "Waiting Retrying > Withdraw",
        ),
        (
            "a withdrawal failed a while ago",
            |w| {
                unplug(w);
                fail(w, "Withdraw", FailureClass::Retry, 1_000_000);
            },
            "Act Withdraw Hard healing",
        ),
        (
            "a call is under way, and the disk goes",
            |w| {
                unplug(w);
                let action = Action::Detach {
                    volume: volume_id(),
                    vm: here(),
                };
                w.memory.intents.insert(name(), intent(action));
            },
            "Act Withdraw Hard healing",
        ),
        (
            "the link is missing, serial and diskseq agree",
            |w| disks(w).links.clear(),
            "InSync",
        ),
        (
            "the host cannot be read",
            |w| w.observed.host.disks = Reading::Unknown("EIO".to_owned()),
            "InSync",
        ),
        (
            "withdrawn already, the server not asked again yet",
            |w| {
                unplug(w);
                w.memory.served.insert(name(), at(996_000));
            },
            "Observing",
        ),
    ]);
}

#[test]
fn exports_take_every_fact() {
    check(&[
        ("nothing to do", |_| {}, "InSync"),
        (
            "mounted",
            |w| {
                exports(w).clear();
                let device = disks(w).devices.get_mut("vdb").expect("vdb");
                device.users = vec![DeviceUser::Mount("/mnt".to_owned())];
            },
            "Blocked DeviceBusy",
        ),
        (
            "mounted, exported read-only",
            |w| {
                exports(w).clear();
                let device = disks(w).devices.get_mut("vdb").expect("vdb");
                device.users = vec![DeviceUser::Mount("/mnt".to_owned())];
                spec(w).export.as_mut().expect("export").read_only = true;
            },
            "Act Export declared",
        ),
        (
            "the link leads elsewhere",
            |w| {
                exports(w).clear();
                disks(w).devices.get_mut("vdb").expect("vdb").serial = None;
            },
            "Blocked DeviceMismatch",
        ),
        (
            "no link with its name, though a disk has its serial",
            |w| {
                exports(w).clear();
                disks(w).links.clear();
            },
            "Waiting WaitingForDevice",
        ),
        (
            "the disks were read before the last change settled",
            |w| {
                exports(w).clear();
                w.observed.host.begun = at(980_000);
                w.memory.settled.insert(name(), at(985_000));
            },
            "Observing",
        ),
        (
            "two disks with that serial",
            |w| {
                exports(w).clear();
                let mut twin = device();
                twin.kernel_name = "vdc".to_owned();
                disks(w).devices.insert("vdc".to_owned(), twin);
            },
            "Blocked DeviceMismatch",
        ),
        (
            "another volume shares the serial",
            |w| {
                exports(w).clear();
                let mut twin = cloud_volume();
                twin.id = VolumeId::new(Uuid::from_u128(volume_id().uuid().as_u128() + 1));
                w.observed.cloud.volumes.insert(twin.id, twin);
            },
            "Blocked SerialCollision",
        ),
        (
            "the name belongs to another volume",
            |w| {
                exports(w).clear();
                let owner = VolumeId::new(uuid(2));
                w.memory.export_names.insert(export_name(), owner);
            },
            "Blocked ExportNameTaken",
        ),
        (
            "somebody else serves under the name",
            |w| {
                let foreign = exports(w).get_mut(&export_name()).expect("served");
                foreign.node = NodeName::reported("drive0");
            },
            "Blocked ExportNameTaken",
        ),
        (
            "the server cannot be asked",
            |w| w.observed.nbd.exports = Reading::Unknown("down".to_owned()),
            "Blocked SourceUnknown",
        ),
        (
            "a client uses what should end",
            |w| {
                spec(w).export = None;
                fail(w, "Withdraw", FailureClass::InUse, 1_200_000);
            },
            "Waiting WaitingForClients > Withdraw",
        ),
        (
            "CloudStack away, nothing served, last seen here",
            |w| {
                exports(w).clear();
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                remember_view(w, Some(here()));
            },
            "Act Export declared",
        ),
        (
            "CloudStack away, nothing served, and wanted nowhere",
            |w| {
                exports(w).clear();
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                remember_view(w, Some(here()));
                spec(w).attach_to.as_mut().expect("attached").vm = AttachVm::Nobody;
            },
            "Blocked SourceUnknown",
        ),
        (
            "CloudStack away, nothing served, and something was changed in this run",
            |w| {
                exports(w).clear();
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                remember_view(w, Some(here()));
                w.memory.settled.insert(name(), at(980_000));
            },
            "Blocked SourceUnknown",
        ),
        (
            "CloudStack away, nothing served, last seen elsewhere",
            |w| {
                exports(w).clear();
                w.observed.cloud.listed = Err(Unlisted::Failed("away".to_owned()));
                remember_view(w, Some(other()));
            },
            "Blocked SourceUnknown",
        ),
    ]);
}
