//! Specs by calls of the API, beside files, and through a crash.

use std::fs;

use volume_daemon::reconcile::report::Phase;

use super::rig::{Rig, SELF, run, spec, volume};

#[test]
fn specs_are_put_changed_handed_over_and_given_up_by_calls() {
    run(async {
        let mut rig = Rig::new().await;
        rig.declare("theirs", "");
        rig.start();
        rig.ready("theirs").await;
        let file = rig.path("mine.yaml").display().to_string();
        let write = |text: &str| fs::write(&file, text).expect("writable");
        let both = |gib| spec("theirs", gib, "") + "---\n" + &spec("a", gib, "");

        // Nothing is sent if anything is wrong, and what is refused stops no other.
        write(&both(1).replacen("1GiB", "1GB", 1));
        let (code, said) = rig.cli(&["apply", "-f", &file]).await;
        assert!(
            code == 3 && said.contains("write 1GiB") && said.contains("nothing was sent"),
            "{said}"
        );
        write(&both(1));
        let (code, said) = rig.cli(&["apply", "-f", &file]).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("volume/a: created\n"), "{said}");
        assert!(
            said.contains("volume/theirs: theirs belongs to file:"),
            "{said}"
        );
        rig.ready("a").await;
        rig.write_marks("a").await;

        write(&spec("a", 2, ""));
        for says in ["changed", "unchanged"] {
            let (code, said) = rig.cli(&["apply", "-f", &file]).await;
            assert_eq!((code, said), (0, format!("volume/a: {says}\n")));
        }
        rig.grown("a", 2).await;
        let (_, said) = rig.cli(&["get", "sources"]).await;
        assert!(
            said.contains("1 spec file, 1 API spec, all accepted"),
            "{said}"
        );
        let (_, said) = rig.cli(&["history", "volume/a"]).await;
        assert!(said.contains("api"), "{said}");

        // To a file and back, without touching the volume.
        let before = rig.tap.mutations();
        rig.write("a.yaml", &spec("a", 2, ""));
        let sees_both = rig.poll("a conflict", super::rig::PATIENCE, async || {
            let (_, said) = rig.cli(&["get", "sources", "api:a"]).await;
            said.contains("is also written in").then_some(said)
        });
        assert!(sees_both.await.contains("this API spec counts"));
        let own = async |to: &str| rig.cli(&["own", "volume/a", "--to", to]).await;
        let (code, said) = own("file:a.yaml").await;
        assert_eq!(code, 0, "{said}");
        let (code, said) = rig.cli(&["delete", "volume/a"]).await;
        assert!(code == 1 && said.contains("--to api"), "{said}");
        let owned = (0, "volume/a: belongs to api\n".to_owned());
        assert_eq!(own("api").await, owned);
        rig.remove("a.yaml");
        rig.ready("a").await;
        assert_eq!(rig.tap.mutations(), before);

        let (code, said) = rig.cli(&["delete", "volume/a"]).await;
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("the volume stays where it is (Retain)"),
            "{said}"
        );
        rig.until("released", |report| {
            volume(report, "a").is_some_and(|it| it.phase == Phase::Released)
        })
        .await;
        assert!(!rig.is_served("a").await);
        assert_eq!(rig.attached_to("a").as_deref(), Some(SELF), "Retain");
        let again = rig.cli(&["delete", "volume/a"]).await;
        assert_eq!(
            again,
            (0, "volume/a: its spec was gone already\n".to_owned())
        );
        let (code, said) = rig.cli(&["apply", "-f", &file]).await;
        assert_eq!(
            (code, said.as_str()),
            (0, "volume/a: changed\n"),
            "taken back"
        );
        rig.ready("a").await;
        rig.check_marks("a").await;
        assert_eq!(rig.made("a"), 1);
        rig.ready("theirs").await;
        rig.finish().await;
    });
}

#[test]
fn what_was_answered_is_in_force_though_the_daemon_is_killed_at_once() {
    run(async {
        let mut rig = Rig::new().await;
        rig.start();
        rig.readyz(200).await;
        let file = rig.path("mine.yaml");
        fs::write(&file, spec("a", 1, "")).expect("writable");
        let (code, said) = rig.cli(&["apply", "-f", &file.display().to_string()]).await;
        rig.kill().await;
        assert_eq!((code, said.as_str()), (0, "volume/a: created\n"));
        rig.start();
        rig.ready("a").await;
        assert_eq!(rig.made("a"), 1);
        rig.finish().await;
    });
}
