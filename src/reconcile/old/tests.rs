use super::*;
use crate::model::observed::CloudVolume;
use crate::model::{ByteSize, Serial};
use crate::plan::Policy;
use crate::reconcile::fixture::{
    HERE, OTHER, Seen, attached, bound, desired, now, volume, volume_id, want,
};
use crate::reconcile::{Core, Event, Pace};

const PORT: u16 = 10809;

fn seen(core: &Core) -> BTreeMap<VolumeId, Sight> {
    let situation = Situation {
        world: core.world(),
        plan: core.plan(),
        policy: core.policy(),
        files: core.files(),
        store_down: None,
    };
    sights(situation, PORT)
}

fn start(cloud: Vec<CloudVolume>, disks: &[u32], exports: &[u32]) -> Core {
    let seen = Seen {
        cloud,
        disks: disks.to_vec(),
        served: exports.to_vec(),
        ..Seen::nothing(vec![want(1)])
    };
    seen.start(bound(&[1])).0
}

fn link() -> String {
    format!("/dev/disk/by-id/virtio-{}", Serial::of(volume_id(1)))
}

fn mapped(vm: VmId, disk: Disk) -> Reading<MappingRow> {
    Reading::Present(MappingRow {
        volume: volume_id(1),
        vm,
        disk,
        size: ByteSize::gib(4),
        device_id: None,
    })
}

fn exported(state: ExportState, device_path: Option<String>) -> Reading<ExportRow> {
    Reading::Present(ExportRow {
        volume: volume_id(1),
        export: ExportName::default_for(volume_id(1)),
        port: PORT,
        device_path,
        state,
    })
}

#[test]
fn a_volume_is_told_where_it_is_attached_and_how_it_is_exported() {
    for (case, cloud, disks, exports, mapping, export) in [
        (
            "as declared",
            attached(1, HERE),
            &[1][..],
            &[1][..],
            mapped(HERE, Disk::Here(link())),
            exported(ExportState::Active, Some(link())),
        ),
        (
            "its disk is not here yet",
            attached(1, HERE),
            &[],
            &[],
            mapped(HERE, Disk::Missing),
            exported(ExportState::Pending, None),
        ),
        (
            "on another VM",
            attached(1, OTHER),
            &[],
            &[],
            mapped(OTHER, Disk::Elsewhere),
            exported(ExportState::Pending, None),
        ),
        (
            "detached",
            volume(1),
            &[],
            &[],
            Reading::Absent,
            exported(ExportState::Pending, None),
        ),
    ] {
        let core = start(vec![cloud], disks, exports);
        let expected = Sight { mapping, export };
        assert_eq!(seen(&core)[&volume_id(1)], expected, "{case}");
    }
}

#[test]
fn what_was_not_read_stays_as_it_was_told() {
    let mut core = Core::new(bound(&[1]), Policy::default(), Pace::default(), 1);
    core.handle(Event::Desired(desired([want(1)])), now(0));
    let sight = &seen(&core)[&volume_id(1)];
    assert!(matches!(sight.mapping, Reading::Unknown(_)), "{sight:?}");
    assert!(matches!(sight.export, Reading::Unknown(_)), "{sight:?}");
}

#[test]
fn what_is_asked_of_nobody_is_not_about_to_be_exported() {
    let mut core = start(vec![volume(1)], &[], &[]);
    for (case, change) in [
        (
            "observed",
            (|want| want.document.spec.mode = Mode::Observe) as fn(&mut DesiredVolume),
        ),
        ("not exported", |want| want.document.spec.export = None),
        ("abandoned", |want| {
            want.presence = Presence::Abandoned {
                counted: std::time::Duration::ZERO,
            }
        }),
    ] {
        let mut want = want(1);
        change(&mut want);
        core.handle(Event::Desired(desired([want])), now(0));
        assert_eq!(seen(&core)[&volume_id(1)].export, Reading::Absent, "{case}");
    }
}
