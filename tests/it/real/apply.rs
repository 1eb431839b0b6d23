//! Plans that are kept, looked at, and carried out only while they still hold.

use std::fs;

use volume_daemon::sim::Operation;
use volume_daemon::sim::control::Side;

use super::rig::{Rig, SELF, run, spec};

#[test]
fn a_saved_plan_is_carried_out_unless_the_world_has_moved() {
    run(async {
        let mut rig = Rig::new().await;
        rig.start();
        rig.readyz(200).await;
        let file = |name: &str| rig.path(name).display().to_string();
        for name in ["a", "b"] {
            fs::write(rig.path(&format!("{name}.yaml")), spec(name, 1, "")).expect("writable");
            let (given, plan) = (file(&format!("{name}.yaml")), file(&format!("{name}.plan")));
            let (code, said) = rig.cli(&["plan", &given, "--save", &plan]).await;
            assert_eq!(code, 2, "{said}");
            assert!(said.contains("1. create"), "{said}");
            assert!(said.contains("volume-daemon apply "), "{said}");
        }
        let (code, said) = rig.cli(&["plan", "--save", &file("a.plan")]).await;
        assert_eq!(code, 1, "it would be lost: {said}");

        // What is given may change; the plan is what was looked at.
        fs::write(rig.path("b.yaml"), "another").expect("writable");
        let (code, said) = rig.cli(&["apply", &file("b.plan"), "--dry-run"]).await;
        assert_eq!((code, said.trim()), (0, "the plan still holds"));
        assert!(rig.report().await.expect("it runs").volumes.is_empty());
        let (code, said) = rig.cli(&["apply", &file("b.plan")]).await;
        assert_eq!(code, 0, "{said}");
        rig.ready("b").await;
        assert_eq!(rig.made("b"), 1);
        let (code, said) = rig.cli(&["apply", &file("b.plan")]).await;
        assert_eq!(code, 2, "it is done: {said}");
        assert!(said.contains("b: its volume was none"), "{said}");

        // What is served is known beside the daemon, too: a change of it is planned as it will be.
        let bigger = file("bigger.yaml");
        fs::write(&bigger, spec("b", 2, "")).expect("writable");
        let installed = file("specs/b.yaml");
        let (_, said) = rig.cli(&["plan", &bigger]).await;
        assert!(said.contains("1. grow"), "{said}");
        assert!(!said.contains("warning"), "{said}");
        fs::copy(&bigger, file("b.yaml")).expect("writable");
        let plan = file("bigger.plan");
        let (code, said) = rig.cli(&["plan", &file("b.yaml"), "--save", &plan]).await;
        assert_eq!(code, 2, "{said}");
        let (code, said) = rig.cli(&["apply", &plan]).await;
        assert_eq!((code, said), (0, format!("installed {installed}\n")));
        rig.grown("b", 2).await;

        // Somebody makes a volume of that name.
        rig.operate(&Operation::CreateVolume {
            name: "a".to_owned(),
            size_gib: 1,
        });
        let plan = file("a.plan");
        rig.foreign_stays();
        let (code, said) = rig.cli(&["apply", &plan]).await;
        assert_eq!(code, 2, "{said}");
        assert!(
            said.contains("what holds it back was nothing, and is \"NameTaken\""),
            "{said}"
        );
        assert!(!rig.path("specs/a.yaml").exists());
        rig.finish().await;
    });
}

#[test]
fn a_saved_plan_approves_what_is_held_back_in_it() {
    run(async {
        let mut rig = Rig::new().await;
        let config = fs::read_to_string(rig.path("config.toml")).expect("readable");
        let strict = "[policy]\nimplied_floor = 0\nimplied_percent = 0\n";
        let config = config.replace("[policy]\n", strict);
        fs::write(rig.path("config.toml"), config).expect("writable");
        let on = |vm: &str| crate::rig::spec("a", 1, vm, false);
        rig.write("a.yaml", &on("self"));
        rig.start();
        let attached = || rig.attached_to("a");
        rig.until("it is attached", |_| attached().is_some()).await;
        rig.write("a.yaml", &on("none"));
        rig.held_by("a", "GuardFrozen").await;
        let file = |name: &str| rig.path(name).display().to_string();
        for name in ["first.plan", "second.plan"] {
            let (code, said) = rig.cli(&["plan", "--save", &file(name)]).await;
            assert_eq!(code, 5, "{said}");
        }
        let (code, said) = rig.cli(&["apply", &file("first.plan")]).await;
        assert_eq!(code, 0, "{said}");
        assert!(said.starts_with("1 step may begin until "), "{said}");
        rig.until("it is detached", |_| rig.attached_to("a").is_none())
            .await;
        rig.operate(&Operation::AttachVolume {
            volume: "a".to_owned(),
            vm: SELF.to_owned(),
            device_id: None,
            side: Side::Both,
        });
        let (code, said) = rig.cli(&["apply", &file("second.plan")]).await;
        assert_eq!(code, 2, "{said}");
        rig.finish().await;
    });
}
