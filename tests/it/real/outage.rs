//! CloudStack is away. What is served stays served, and everything is caught up with later.

use volume_daemon::sim::Fault;
use volume_daemon::sim::fault::OutageMode;

use super::rig::{PATIENCE, Rig, run};

/// Ends only when the test says so.
fn begin(rig: &Rig, mode: OutageMode) {
    rig.inject(Fault::Outage {
        mode,
        ms: 3_600_000,
    });
}

fn end(rig: &Rig) {
    rig.sim.with(|front| front.clear_faults()).expect("a world");
}

/// Waits until CloudStack was asked so often in vain.
async fn tried(rig: &Rig, times: usize) {
    let before = rig.tap.count("listVolumes");
    rig.poll("tried again", PATIENCE, async || {
        (rig.tap.count("listVolumes") >= before + times).then_some(())
    })
    .await;
}

async fn outage(mode: OutageMode) {
    let mut rig = Rig::serving(&["a", "b"]).await;
    let client = rig.steady("a").await;
    let before = rig.tap.mutations();
    begin(&rig, mode);
    let why = rig.readyz(503).await;
    assert!(why.contains("CloudStack"), "{why}");
    assert_eq!(rig.get("/livez").await.0, 200);
    rig.declare("c", "");
    let waiting = rig.held_by("c", "SourceUnknown").await;
    assert_eq!(waiting.volume_id, None);
    tried(&rig, 2).await;
    rig.check_marks("a").await;
    rig.check_marks("b").await;

    // Not even a restart of everything on this machine needs CloudStack.
    client.reads_on().await;
    rig.kill().await;
    rig.start();
    rig.held_by("a", "SourceUnknown").await;
    client.leave().await;
    rig.kill_qsd().await;
    rig.start_qsd().await;
    for name in ["a", "b"] {
        rig.poll("served unconfirmed", PATIENCE, async || {
            rig.is_served(name).await.then_some(())
        })
        .await;
        rig.check_marks(name).await;
    }
    assert_eq!(rig.tap.mutations(), before, "nothing was changed");

    end(&rig);
    for name in ["a", "b", "c"] {
        rig.ready(name).await;
    }
    rig.readyz(200).await;
    rig.check_marks("a").await;
    rig.check_marks("b").await;
    rig.write_marks("c").await;
    rig.check_marks("c").await;
    assert_eq!(rig.tap.mutations().len(), before.len() + 3);
    rig.finish().await;
}

#[test]
fn closed_connections_change_nothing() {
    run(outage(OutageMode::Closed));
}

#[test]
fn a_management_server_that_is_unavailable_changes_nothing() {
    run(outage(OutageMode::Unavailable));
}

#[test]
fn it_starts_with_everything_away() {
    run(async {
        let mut rig = Rig::new().await;
        rig.kill_qsd().await;
        begin(&rig, OutageMode::Closed);
        std::fs::remove_dir(rig.path("specs")).expect("empty");
        rig.start();
        let why = rig.readyz(503).await;
        for missing in ["CloudStack", "NBD server"] {
            assert!(why.contains(missing), "{missing}: {why}");
        }
        tried(&rig, 1).await;
        end(&rig);
        rig.start_qsd().await;
        std::fs::create_dir(rig.path("specs")).expect("writable");
        rig.declare("a", "");
        rig.ready("a").await;
        rig.readyz(200).await;
        rig.write_marks("a").await;
        rig.check_marks("a").await;
        rig.finish().await;
    });
}

#[test]
fn it_rests_whatever_is_away() {
    run(async {
        let mut rig = Rig::serving(&["a"]).await;
        rig.rests("settled").await;
        rig.kill_qsd().await;
        rig.readyz(503).await;
        rig.rests("without an NBD server").await;
        begin(&rig, OutageMode::Closed);
        rig.held_by("a", "SourceUnknown").await;
        rig.rests("without CloudStack either").await;
        std::fs::rename(rig.path("specs"), rig.path("away")).expect("there");
        rig.until("not readable", |report| {
            report
                .sources
                .iter()
                .any(|source| source.name == "specs" && !source.ok)
        })
        .await;
        rig.rests("without specs either").await;
        end(&rig);
        rig.start_qsd().await;
        std::fs::rename(rig.path("away"), rig.path("specs")).expect("there");
        rig.ready("a").await;
        rig.check_marks("a").await;
        rig.rests("settled again").await;
        rig.finish().await;
    });
}
