//! The daemon ends, one way or another, and is started again.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::Instant;
use volume_daemon::clock;
use volume_daemon::sim::Fault;
use volume_daemon::sim::control::Side;
use volume_daemon::sim::fault::Target;

use super::daemon::{Daemon, get};
use super::rig::{PATIENCE, Rig, run};
use super::tap::Moment;

/// How many moments of a first run are tried.
const MOMENTS: u32 = 12;
/// How many sites are looked at side by side.
const AT_ONCE: u32 = 4;
/// How long an end in order may take.
const STOP_MAX: Duration = Duration::from_secs(2);

/// The end is the same as if nothing had happened.
async fn ends_well(rig: Rig) {
    rig.ready("a").await;
    rig.write_marks("a").await;
    rig.check_marks("a").await;
    assert_eq!(rig.made("a"), 1);
    for command in ["createVolume", "createTags", "attachVolume"] {
        assert_eq!(rig.tap.count(command), 1, "{command}");
    }
    rig.finish().await;
}

async fn killed_after(pause: Duration) {
    let mut rig = Rig::new().await;
    rig.declare("a", "");
    rig.start();
    clock::sleep(pause).await;
    rig.kill().await;
    rig.start();
    ends_well(rig).await;
}

#[test]
fn killed_at_any_moment_of_a_first_run_it_ends_the_same() {
    run(async {
        let mut rig = Rig::new().await;
        rig.declare("a", "");
        let begun = Instant::now();
        rig.start();
        rig.ready("a").await;
        let first_run = begun.elapsed();
        ends_well(rig).await;

        let moment = |number| killed_after(first_run * number / (MOMENTS - 1));
        for first in (0..MOMENTS).step_by(AT_ONCE as usize) {
            tokio::join!(
                moment(first),
                moment(first + 1),
                moment(first + 2),
                moment(first + 3)
            );
        }
    });
}

async fn killed_at(moment: Moment) {
    let mut rig = Rig::new().await;
    rig.tap.hold(moment);
    rig.declare("a", "");
    rig.start();
    rig.tap.held().await;
    rig.kill().await;
    rig.start();
    ends_well(rig).await;
}

#[test]
fn killed_before_cloudstack_saw_a_call_it_is_sent_once() {
    run(async {
        tokio::join!(
            killed_at(Moment::Request("createVolume")),
            killed_at(Moment::Request("createTags")),
            killed_at(Moment::Request("attachVolume"))
        );
    });
}

#[test]
fn killed_before_an_answer_arrived_the_call_is_not_sent_again() {
    run(async {
        tokio::join!(
            killed_at(Moment::Answer("createVolume")),
            killed_at(Moment::Answer("createTags")),
            killed_at(Moment::Answer("attachVolume"))
        );
    });
}

#[test]
fn a_restarted_daemon_takes_over_what_is_served_and_no_client_notices() {
    run(async {
        let mut rig = Rig::serving(&["a", "b"]).await;
        let (before, open) = (rig.tap.mutations(), rig.open_in_qsd());
        let client = rig.steady("a").await;
        rig.kill().await;
        client.reads_on().await;
        assert!(rig.is_served("b").await, "others still get in");
        rig.start();
        rig.ready("a").await;
        rig.ready("b").await;
        rig.readyz(200).await;
        client.reads_on().await;
        assert_eq!(rig.open_in_qsd(), open, "nothing was opened anew");
        assert_eq!(rig.tap.mutations(), before, "nothing was changed");
        client.leave().await;
        rig.check_marks("a").await;
        rig.check_marks("b").await;

        // What was taken over is looked after like everything else.
        rig.detach("a", Side::Both);
        rig.withdrawn("a", PATIENCE).await;
        rig.ready("a").await;
        rig.check_marks("a").await;
        rig.finish().await;
    });
}

#[test]
fn what_happened_while_no_daemon_ran_is_noticed_at_its_start() {
    run(async {
        let mut rig = Rig::serving(&["a", "b"]).await;
        let kept = rig.steady("b").await;
        rig.kill().await;
        rig.detach("a", Side::Both);
        rig.start();
        rig.withdrawn("a", PATIENCE).await;
        rig.ready("a").await;
        rig.check_marks("a").await;
        kept.leave().await;
        assert_eq!(rig.tap.count("createVolume"), 2);
        assert_eq!(rig.tap.count("attachVolume"), 3);
        rig.finish().await;
    });
}

#[test]
fn sigterm_ends_it_promptly_and_what_is_served_stays() {
    run(async {
        let mut rig = Rig::serving(&["a"]).await;
        let client = rig.steady("a").await;
        assert!(rig.terminate().await < STOP_MAX);
        client.reads_on().await;
        assert!(rig.is_served("a").await, "others still get in");
        client.leave().await;
        assert_eq!(rig.get("/livez").await.0, 0, "nobody answers");
        rig.finish().await;
    });
}

#[test]
fn nobody_can_hold_up_its_end() {
    run(async {
        let mut rig = Rig::serving(&["a"]).await;
        let socket = rig.path("api.sock");
        let silent = UnixStream::connect(&socket).await.expect("it listens");
        let mut slow = UnixStream::connect(&socket).await.expect("it listens");
        slow.write_all(b"GET /livez HTTP/1.1\r\nHost:")
            .await
            .expect("it reads");
        rig.inject(Fault::DelayResponse {
            on: Target::next("listVolumes"),
            ms: 60_000,
        });
        rig.poll("asked", PATIENCE, async || {
            let armed = rig.sim.with(|front| front.armed_faults().len());
            (armed.expect("a world") == 0).then_some(())
        })
        .await;
        // As opposed to never.
        assert!(rig.terminate().await < STOP_MAX * 2);
        drop((silent, slow));
        rig.finish().await;
    });
}

#[test]
fn a_daemon_that_was_replaced_ends_and_disturbs_nobody() {
    run(async {
        let mut rig = Rig::serving(&["a"]).await;
        let client = rig.steady("a").await;
        // What nobody should do.
        std::fs::remove_file(rig.path("store.db.lock")).expect("there");
        let socket = rig.path("second.sock");
        let listen = format!("api.listen=unix:{}", socket.display());
        let log = rig.path("second.log");
        let second = Daemon::start(&rig.path("config.toml"), &log, &["--set", &listen]);
        rig.poll("the second one runs", PATIENCE, async || {
            let answer = get(&socket, "/livez").await;
            answer.is_ok_and(|(status, _)| status == 200).then_some(())
        })
        .await;
        // Whatever it has to write next tells it.
        rig.declare("b", "");
        assert_eq!(rig.ended().await.code(), Some(1));
        rig.logs(&["another daemon has taken over the store"]).await;
        client.reads_on().await;
        client.leave().await;
        second.kill().await;
        rig.start();
        rig.ready("b").await;
        rig.check_marks("a").await;
        assert_eq!(rig.made("b"), 1);
        rig.finish().await;
    });
}

#[test]
fn a_second_daemon_on_the_same_store_is_refused() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        let second = Daemon::run(&rig.path("config.toml")).await;
        assert_eq!(second.status.code(), Some(1));
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        let store = rig.path("store.db").display().to_string();
        for part in [store.as_str(), "is in use by"] {
            assert!(said.contains(part), "{part} is not said: {said}");
        }
        rig.readyz(200).await;
        rig.ready("a").await;
        rig.check_marks("a").await;
        rig.finish().await;
    });
}
