use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::model::memory::{Binding, Memory};
use crate::model::observed::{Attachment, CloudView, HostView, Observed};
use crate::model::{BootTime, ByteSize, InstanceId, Reading, SpecUid, VolumeId, ZoneId};
use crate::plan::Desired;
use crate::spec;

const HERE: VmId = VmId::new(Uuid::from_u128(7));
const ELSEWHERE: VmId = VmId::new(Uuid::from_u128(8));

/// The serials of these differ.
fn id(n: u32) -> VolumeId {
    VolumeId::new(Uuid::from_u128(u128::from(n) << 96))
}

fn volume(n: u32, name: &str, vm: Option<VmId>) -> CloudVolume {
    CloudVolume {
        id: id(n),
        name: name.to_owned(),
        size: ByteSize::gib(4),
        state: VolumeState::Ready,
        kind: VolumeKind::Data,
        zone: ZoneId::new(Uuid::from_u128(1)),
        offering: None,
        attachment: vm.map(|vm| Attachment {
            vm,
            device_id: Some(1),
        }),
        pending_job: None,
        tags: BTreeMap::new(),
        created: None,
        begun: BootTime::from_millis(1),
    }
}

fn world(volumes: impl IntoIterator<Item = CloudVolume>) -> World {
    let cloud = CloudView {
        volumes: volumes.into_iter().map(|it| (it.id, it)).collect(),
        listed: Ok(BootTime::from_millis(1)),
        ..CloudView::default()
    };
    let host = HostView {
        self_vm: Reading::Present(HERE),
        ..HostView::default()
    };
    World {
        desired: Desired::default(),
        observed: Observed {
            cloud,
            host,
            ..Observed::default()
        },
        memory: Memory::new(InstanceId::new(Uuid::from_u128(2))),
    }
}

#[test]
fn each_spec_is_valid_and_leaves_its_volume_where_it_is() {
    let world = world([
        volume(3, "c", None),
        volume(1, "a", Some(HERE)),
        volume(2, "b\n# \u{1b}[2J", Some(ELSEWHERE)),
    ]);
    let text = specs(&world, &sort(&world, |_| true).free);
    let parsed = spec::parse("adopted.yaml", text.as_bytes()).expect("valid");
    let names: Vec<&str> = parsed.iter().map(|it| it.document.name.as_str()).collect();
    assert_eq!(names, ["a", "b-2j", "c"]);
    let ids = [1, 2, 3].map(|n| format!("  existing: {{ id: {} }}\n", id(n)));
    assert!(ids.iter().all(|id| text.contains(id)), "{text}");
    let attached: Vec<&str> = text
        .lines()
        .filter(|it| it.contains("attachTo: {"))
        .collect();
    assert_eq!(
        attached,
        [
            "  attachTo: { vm: self }",
            &format!("  attachTo: {{ vm: {ELSEWHERE} }}")
        ]
    );
    assert!(text.contains("# c, 4GiB, on no VM\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_is_not_ours_to_offer_is_left_out_and_counted() {
    let root = CloudVolume {
        kind: VolumeKind::Root,
        ..volume(1, "ROOT-1", Some(HERE))
    };
    let mut claimed = volume(2, "claimed", None);
    let claim = "11111111-2222-4333-8444-555555555555/x/created".to_owned();
    claimed.tags.insert(CLAIM_TAG.to_owned(), claim);
    let gone = CloudVolume {
        state: VolumeState::Destroy,
        ..volume(3, "gone", None)
    };
    let twin = |low: u128| CloudVolume {
        id: VolumeId::new(Uuid::from_u128((9 << 96) + low)),
        ..volume(0, "twin", None)
    };
    let mut world = world([
        root,
        claimed,
        gone,
        twin(1),
        twin(2),
        volume(5, "bound", None),
    ]);
    let binding = Binding {
        volume: id(5),
        uid: SpecUid::new(Uuid::from_u128(4)),
        mark: crate::model::action::Mark::Created,
    };
    let name: VolumeName = "mine".parse().expect("a name");
    world.memory.bindings.insert(name, binding);
    let found = sort(&world, |_| true);
    assert!(found.free.is_empty());
    let expected = [
        (LeftOut::Root, 1),
        (LeftOut::Managed, 1),
        (LeftOut::Claimed, 1),
        (LeftOut::Busy, 1),
        (LeftOut::Twin, 2),
    ];
    assert_eq!(found.left_out, BTreeMap::from(expected));
}
