//! Where the secret key must never appear.

use volume_daemon::sim::Fault;
use volume_daemon::sim::fault::{DropWhen, OutageMode, Target};
use volume_daemon::sim::world::ADMIN_SECRET_KEY;

use super::rig::{Rig, run};

#[test]
fn the_secret_key_is_nowhere_to_be_read() {
    run(async {
        let mut rig = Rig::new().await;
        rig.declare("a", "");
        // Also not where something goes wrong.
        rig.inject(Fault::DropResponse {
            on: Target::next("createVolume"),
            when: DropWhen::AfterCommit,
        });
        rig.inject(Fault::BadGateway {
            on: Target::next("attachVolume"),
        });
        rig.start_with(&["--log", "trace"]);
        rig.ready("a").await;
        rig.inject(Fault::Outage {
            mode: OutageMode::Closed,
            ms: 3_600_000,
        });
        rig.readyz(503).await;
        rig.sim.with(|front| front.clear_faults()).expect("a world");
        rig.readyz(200).await;
        let (status, report) = rig.get("/api/v1/status").await;
        assert_eq!(status, 200);
        let (status, journal) = rig.get("/api/v1/intents").await;
        assert_eq!(status, 200);
        assert!(
            journal.contains("volume-daemon/uid") || journal.contains("Tag"),
            "{journal}"
        );
        rig.terminate().await;
        let mut texts = vec![
            ("the report".to_owned(), report),
            ("the journal".to_owned(), journal),
            ("the log".to_owned(), rig.log()),
        ];
        assert!(rig.log().contains("TRACE"), "everything is logged");
        for file in ["store.db", "store.db-wal"] {
            let bytes = std::fs::read(rig.path(file)).unwrap_or_default();
            texts.push((
                file.to_owned(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
        for (what, text) in texts {
            assert!(!text.contains(ADMIN_SECRET_KEY), "it is in {what}");
            assert!(
                !text.contains("signature="),
                "a signed request is in {what}"
            );
        }
        rig.finish().await;
    });
}
