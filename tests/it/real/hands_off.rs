//! Restraint: what a person paused, a store that is older than the world, another account, a
//! machine that stood still; and settings that change meanwhile.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use volume_daemon::clock;
use volume_daemon::reconcile::report::{Phase, Report};
use volume_daemon::sim::control::Side;

use super::rig::{PATIENCE, Rig, SELF, has, run, volume};
use super::tap::Moment;

/// Longer than any delay of the settings and two looks at everything.
const LONG: Duration = Duration::from_secs(4);

#[test]
fn what_is_paused_is_left_alone_over_restarts_until_it_is_resumed() {
    run(async {
        let mut rig = Rig::serving(&["a", "b"]).await;
        let hour = ["--for", "1h", "--reason", "restore"];
        let (code, said) = rig.cli(&[&["pause", "volume/a"], &hour[..]].concat()).await;
        assert_eq!(code, 0, "{said}");
        assert!(said.starts_with("volume/a: paused until 20"), "{said}");
        // As declared or not, a pause can be seen.
        let (_, said) = rig.cli(&["describe", "volume", "a"]).await;
        assert!(said.contains("Ready: as declared"), "{said}");
        assert!(
            said.contains("paused until 20") && said.contains("(restore)"),
            "{said}"
        );
        let (_, said) = rig.cli(&["get", "volumes", "a"]).await;
        assert!(said.contains("Paused"), "{said}");
        rig.detach("a", Side::Both);
        // An export whose disk is gone ends all the same.
        rig.withdrawn("a", PATIENCE).await;
        let before = rig.tap.mutations();
        rig.kill().await;
        rig.start();
        rig.held_by("a", "Paused").await;
        rig.throughout(LONG, async |report| assert!(has(report, "a", "Paused")))
            .await;
        assert_eq!(rig.tap.mutations(), before);
        let (_, said) = rig.cli(&["describe", "volume", "a"]).await;
        assert!(said.contains("paused (restore)"), "{said}");

        let (code, said) = rig.cli(&["resume", "volume/a"]).await;
        assert_eq!((code, said.as_str()), (0, "volume/a: resumed\n"));
        rig.ready("a").await;
        rig.ready("b").await;
        let (code, said) = rig.cli(&["resume", "volume/a"]).await;
        assert!(
            code == 1 && said.contains("no pause is in force for a"),
            "{said}"
        );
        let (code, said) = rig.cli(&["pause", "volume/nobody", "--for", "1m"]).await;
        assert!(
            code == 1 && said.contains("there is no spec nobody"),
            "{said}"
        );
        let (code, said) = rig.cli(&["pause", "--all", "--for", "200h"]).await;
        assert!(code == 1 && said.contains("a week at most"), "{said}");
        rig.finish().await;
    });
}

#[test]
fn everything_paused_includes_what_is_yet_to_come_and_ends_by_itself() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        let before = rig.tap.mutations();
        let (code, said) = rig.cli(&["pause", "--all", "--for", "3s"]).await;
        assert_eq!(code, 0, "{said}");
        rig.declare("b", "");
        rig.held_by("b", "Paused").await;
        assert_eq!(rig.tap.mutations(), before);
        rig.ready("b").await;
        rig.finish().await;
    });
}

#[test]
fn a_flood_is_held_back_until_a_person_approves_exactly_that() {
    run(async {
        let names = ["a", "b", "c", "d"];
        let all = |vm: &str| {
            names
                .map(|name| crate::rig::spec(name, 1, vm, false))
                .join("---\n")
        };
        let mut rig = Rig::new().await;
        rig.write("all.yaml", &all("self"));
        rig.declare("stays", "");
        rig.start();
        for name in names {
            rig.until("attached", |report| {
                volume(report, name).is_some_and(|it| it.phase == Phase::Ready)
            })
            .await;
        }
        rig.ready("stays").await;
        let (code, said) = rig.cli(&["approve"]).await;
        assert_eq!((code, said.as_str()), (0, "nothing is held back\n"));
        // Three of them would be allowed in an hour.
        rig.write("all.yaml", &all("none"));
        let frozen = |report: &Report| {
            let steps = report.frozen.as_ref().map(|frozen| frozen.steps.len());
            steps.unwrap_or(0)
        };
        let report = rig.until("held back", |report| frozen(report) > 0).await;
        let digest = report.frozen.expect("just seen").digest;
        let (code, said) = rig.cli(&["approve"]).await;
        assert_eq!(code, 2, "{said}");
        assert!(
            said.contains(&format!("volume-daemon approve {digest}")),
            "{said}"
        );
        let (code, said) = rig.cli(&["approve", "000000000000"]).await;
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("is not what 000000000000 stood for"),
            "{said}"
        );
        // What was approved is remembered.
        let (code, said) = rig.cli(&["approve", &digest, "--reason", "meant"]).await;
        assert_eq!(code, 0, "{said}");
        rig.kill().await;
        rig.start();
        rig.until("all detached", |_| {
            names.iter().all(|name| rig.attached_to(name).is_none())
        })
        .await;
        assert_eq!(rig.tap.count("detachVolume"), 4);
        rig.logs(&["approved: detach", "volume.name=a"]).await;
        assert_eq!(rig.attached_to("stays").as_deref(), Some(SELF));
        rig.finish().await;
    });
}

#[test]
fn a_store_older_than_the_world_changes_nothing_until_a_person_says_so() {
    run(async {
        let mut rig = Rig::serving(&["a"]).await;
        rig.terminate().await;
        fs::copy(rig.path("store.db"), rig.path("backup.db")).expect("copied");
        rig.declare("b", "");
        rig.start();
        rig.ready("b").await;
        rig.terminate().await;
        let before = rig.tap.mutations();

        fs::rename(rig.path("backup.db"), rig.path("store.db")).expect("restored");
        rig.declare("c", "");
        rig.start();
        rig.held_by("c", "StoreRolledBack").await;
        rig.readyz(503).await;
        rig.throughout(LONG, async |report: &Report| {
            assert!(has(report, "b", "NameTaken"));
            assert!(has(report, "c", "StoreRolledBack"));
            assert_eq!(report.exports.len(), 2, "what is served stays served");
        })
        .await;
        assert_eq!(rig.tap.mutations(), before);

        rig.terminate().await;
        let (code, said) = rig.cli(&["take-over", "--disown"]).await;
        assert!(
            code == 0 && said.contains("is left alone from now on"),
            "{said}"
        );
        rig.start();
        rig.ready("a").await;
        rig.ready("c").await;
        // Its volume is nobody's now, and there is no second one.
        rig.held_by("b", "NameTaken").await;
        rig.finish().await;
    });
}

#[test]
fn keys_of_another_account_make_nothing_look_lost() {
    run(async {
        let mut rig = Rig::serving(&["a", "b"]).await;
        rig.terminate().await;
        let before = rig.tap.mutations();
        rig.add_user("stranger", "other-key", "other-secret");
        fs::write(rig.path("other_key"), "other-key").expect("writable");
        fs::write(rig.path("other_secret"), "other-secret").expect("writable");
        let set = |key: &str, file: &str| format!("cloudstack.{key}={}", rig.path(file).display());
        let key = set("api_key_file", "other_key");
        let secret = set("secret_key_file", "other_secret");
        rig.start_with(&["--set", &key, "--set", &secret]);
        rig.logs(&[
            "asked with other keys",
            "neither this VM nor one of the 2 volumes",
        ])
        .await;
        rig.readyz(503).await;
        rig.throughout(LONG, async |report| {
            assert_eq!(report.exports.len(), 2, "what is served stays served");
            for name in ["a", "b"] {
                assert!(!has(report, name, "VolumeLost"), "{name}");
            }
        })
        .await;
        assert_eq!(rig.tap.mutations(), before);
        rig.terminate().await;
        rig.start();
        rig.ready("a").await;
        rig.ready("b").await;
        rig.finish().await;
    });
}

/// The machine stood still between the journal and the call, for longer than the call was good.
#[test]
fn a_call_that_arrives_after_its_time_is_refused_and_made_anew_once() {
    run(async {
        let mut rig = Rig::new().await;
        rig.tap.hold(Moment::Request("createVolume"));
        rig.declare("a", "");
        rig.start();
        rig.tap.held().await;
        rig.send(Signal::SIGSTOP);
        // pace.request_ttl is 3 s.
        clock::sleep(Duration::from_secs(4)).await;
        rig.tap.release();
        rig.send(Signal::SIGCONT);
        rig.ready("a").await;
        assert_eq!(rig.tap.count("createVolume"), 2, "refused, then made");
        assert_eq!(rig.made("a"), 1);
        rig.finish().await;
    });
}

#[test]
fn limits_are_taken_over_by_a_running_daemon_and_mistakes_are_not() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        let config = fs::read_to_string(rig.path("config.toml")).expect("readable");
        let write = |text: String| fs::write(rig.path("config.toml"), text).expect("writable");
        write(config.replace("heal_delay = \"1s\"", "heal_delay = \"soon\""));
        rig.send(Signal::SIGHUP);
        rig.logs(&["the settings were not taken", "soon"]).await;

        let changed = config
            .replace("heal_delay = \"1s\"", "heal_delay = \"1h\"")
            .replace("rate = 200", "rate = 100");
        write(changed);
        rig.send(Signal::SIGHUP);
        rig.logs(&["settings were taken over", "policy.heal_delay"])
            .await;
        rig.logs(&["at the next start only", "cloudstack.rate"])
            .await;
        rig.detach("a", Side::Both);
        rig.held_by("a", "HealDelay").await;
        rig.throughout(LONG, async |report| assert!(has(report, "a", "HealDelay")))
            .await;
        write(config);
        rig.send(Signal::SIGHUP);
        rig.ready("a").await;
        rig.finish().await;
    });
}
