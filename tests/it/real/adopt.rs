//! What others made before, taken over as it is.

use volume_daemon::reconcile::report::Phase;
use volume_daemon::sim::Operation;
use volume_daemon::sim::control::Side;

use super::rig::{Rig, SELF, run, volume};

#[test]
fn what_adopt_prints_takes_volumes_over_and_changes_nothing_but_their_tags() {
    run(async {
        let mut rig = Rig::serving(&["a"]).await;
        for (name, vm) in [
            ("Old Disk", Some(SELF)),
            ("old_2", Some("final-vm")),
            ("old-3", None),
        ] {
            rig.operate(&Operation::CreateVolume {
                name: name.to_owned(),
                size_gib: 1,
            });
            if let Some(vm) = vm {
                rig.operate(&Operation::AttachVolume {
                    volume: name.to_owned(),
                    vm: vm.to_owned(),
                    device_id: None,
                    side: Side::Both,
                });
            }
        }
        let (code, only) = rig
            .cli(&["adopt", "--vm", SELF, "--name-prefix", "Old"])
            .await;
        assert_eq!(code, 0, "{only}");
        assert_eq!(only.matches("kind: Volume").count(), 1, "{only}");
        assert!(only.contains("attachTo: { vm: self }"), "{only}");
        let (code, said) = rig.cli(&["adopt", "--vm", "appliancee"]).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("hint: `self`, an id, or one of"), "{said}");

        let (code, all) = rig.cli(&["adopt"]).await;
        assert_eq!(code, 0, "{all}");
        let (specs, said) = all.rsplit_once("}\n").expect("specs, and a remark");
        assert!(said.starts_with("3 volumes to adopt; "), "{said}");
        assert!(
            said.contains("1 volume left out: managed by a spec here"),
            "{said}"
        );
        let before = rig.tap.mutations().len();
        rig.write("adopted.yaml", &format!("{specs}}}\n"));
        for name in ["old-disk", "old-2"] {
            rig.ready(name).await;
        }
        let adopted = |name: &str| rig.attached_to(name);
        assert_eq!(adopted("Old Disk").as_deref(), Some(SELF));
        assert_eq!(adopted("old_2").as_deref(), Some("final-vm"));
        rig.until("adopted, and on no VM", |report| {
            volume(report, "old-3").is_some_and(|it| it.phase == Phase::Ready)
        })
        .await;
        let sent = rig.tap.mutations();
        assert_eq!(sent[before..].len(), 3, "{sent:?}");
        assert_eq!(rig.tap.count("createTags"), 4);
        let (code, said) = rig.cli(&["adopt"]).await;
        assert_eq!(code, 0, "{said}");
        assert!(said.starts_with("there is nothing to adopt; "), "{said}");
        rig.check_marks("a").await;
        rig.kill().await;
    });
}
