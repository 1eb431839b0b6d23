//! What belongs to others, and what is gone for good.

use std::time::Duration;

use volume_daemon::sim::Operation;
use volume_daemon::sim::control::Side;

use super::client::Client;
use super::rig::{PATIENCE, Rig, SELF, has, run};

/// Longer than any delay of the settings and two looks at everything.
const LONG: Duration = Duration::from_secs(4);

fn attach(volume: &str, vm: &str) -> Operation {
    Operation::AttachVolume {
        volume: volume.to_owned(),
        vm: vm.to_owned(),
        device_id: None,
        side: Side::Both,
    }
}

#[test]
fn a_volume_of_somebody_else_is_left_alone() {
    run(async {
        let mut rig = Rig::serving(&["a"]).await;
        rig.operate(&Operation::CreateVolume {
            name: "theirs".to_owned(),
            size_gib: 1,
        });
        rig.operate(&attach("theirs", SELF));
        rig.foreign_stays();
        let before = rig.tap.mutations();
        rig.declare("theirs", "");
        rig.held_by("theirs", "NameTaken").await;
        rig.throughout(LONG, async |report| {
            assert!(has(report, "theirs", "NameTaken"));
            assert_eq!(report.exports.len(), 1);
        })
        .await;
        assert!(!rig.is_served("theirs").await);
        assert_eq!(rig.tap.mutations(), before);
        rig.remove("theirs.yaml");
        rig.finish().await;
    });
}

#[test]
fn an_export_of_somebody_else_is_left_alone() {
    run(async {
        let mut rig = Rig::new().await;
        std::fs::write(rig.path("theirs.img"), vec![7; 1 << 20]).expect("writable");
        rig.export_theirs("theirs", &rig.path("theirs.img")).await;
        rig.declare("a", "");
        rig.start();
        rig.ready("a").await;
        let report = rig.until("both", |report| report.exports.len() == 2).await;
        let theirs = report.exports.iter().find(|export| export.volume.is_none());
        assert_eq!(theirs.map(|export| export.name.as_str()), Some("theirs"));
        let mut client = Client::connect(&rig.nbd(), "theirs").await.expect("served");
        rig.kill().await;
        rig.start();
        rig.ready("a").await;
        assert_eq!(client.read(0).await.expect("undisturbed"), vec![7; 4096]);
        client.leave().await;
        rig.finish().await;
    });
}

#[test]
fn a_volume_that_somebody_moved_is_left_where_it_is() {
    run(async {
        let mut rig = Rig::serving(&["a", "b"]).await;
        let (cut, kept) = (rig.steady("a").await, rig.steady("b").await);
        let before = rig.tap.mutations();
        let moved = rig.sim.with(|front| {
            let detach = Operation::DetachVolume {
                volume: "a".to_owned(),
                side: Side::Both,
            };
            front.world_mut().operate(&detach)?;
            front.world_mut().operate(&attach("a", "final-vm"))
        });
        moved.expect("a world").expect("possible");
        rig.foreign_stays();
        cut.cut_off().await;
        rig.withdrawn("a", PATIENCE).await;
        rig.held_by("a", "ForeignAttachment").await;
        rig.throughout(LONG, async |report| {
            assert!(has(report, "a", "ForeignAttachment"));
        })
        .await;
        rig.kill().await;
        rig.start();
        rig.held_by("a", "ForeignAttachment").await;
        assert_eq!(rig.attached_to("a").as_deref(), Some("final-vm"));
        assert_eq!(rig.tap.mutations(), before);
        kept.leave().await;
        rig.finish().await;
    });
}

#[test]
fn a_lost_volume_is_never_made_anew() {
    run(async {
        let mut rig = Rig::serving(&["a", "b", "c", "d", "e"]).await;
        let client = rig.steady("a").await;
        let before = rig.tap.mutations();
        rig.operate(&Operation::DeleteVolume {
            volume: "a".to_owned(),
        });
        client.cut_off().await;
        rig.withdrawn("a", PATIENCE).await;
        rig.held_by("a", "VolumeLost").await;
        rig.kill().await;
        rig.start();
        rig.held_by("a", "VolumeLost").await;
        // Nor if it is declared again.
        rig.remove("a.yaml");
        rig.declare("a", "  reclaimPolicy: Detach\n");
        rig.until("a new generation", |report| {
            super::rig::volume(report, "a").is_some_and(|volume| volume.observed_generation == 2)
        })
        .await;
        rig.held_by("a", "VolumeLost").await;
        rig.throughout(LONG, async |report| {
            assert!(has(report, "a", "VolumeLost") || has(report, "a", "Observing"));
        })
        .await;
        assert_eq!(rig.made("a"), 1);
        assert_eq!(rig.tap.mutations(), before);
        rig.check_marks("b").await;
        rig.finish().await;
    });
}
