//! The daemon's memory on a MariaDB server, from the first declaration to a server that dies.

use std::fs;

use nix::sys::signal::Signal;
use volume_daemon::clock;

use super::check::{all_is_well, check, finding};
use super::daemon::Daemon;
use super::rig::{PATIENCE, Rig, run};
use crate::mariadb::{Database, PASSWORD, Server, database};

/// Lets a site that has not begun yet remember on a server.
pub fn remember_in(rig: &Rig, database: &Database) {
    remember_as("oma-1", rig, database);
}

/// The same, as one of the appliances that share it.
pub fn remember_as(appliance: &str, rig: &Rig, database: &Database) {
    fs::write(rig.path("store_url"), &database.url).expect("writable");
    let config = fs::read_to_string(rig.path("config.toml")).expect("readable");
    let file = format!("url = \"sqlite://{}\"", rig.path("store.db").display());
    let server = format!(
        "url_file = \"{}\"\nappliance = \"{appliance}\"\nlock_dir = \"{}\"",
        rig.path("store_url").display(),
        database.lock_dir.display()
    );
    assert!(config.contains(&file), "{config}");
    fs::write(rig.path("config.toml"), config.replace(&file, &server)).expect("writable");
}

/// Asserts that nothing that was said shows the password, as it is or as it stands in the URL.
pub fn hides_password(what: &str, text: &str) {
    for secret in [PASSWORD, "tr0ub4dor"] {
        assert!(!text.contains(secret), "the password is in {what}: {text}");
    }
}

#[test]
fn a_volume_lives_its_whole_life_on_mariadb() {
    run(async {
        let database = database().await;
        let mut rig = Rig::new().await;
        remember_in(&rig, &database);
        let (code, report) = check(&rig).await;
        all_is_well(code, &report);
        hides_password("the check", &report.to_string());
        let store = finding(&report, "store").to_string();
        assert!(store.contains(&database.name), "{store}");
        let (code, shown) = rig.cli(&["plan"]).await;
        assert_eq!(code, 0, "before there are tables: {shown}");

        rig.declare("a", "");
        rig.start_with(&["--log", "trace"]);
        rig.ready("a").await;
        rig.write_marks("a").await;
        let second = Daemon::run(&rig.path("config.toml")).await;
        assert_eq!(second.status.code(), Some(1));
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(said.contains("is in use by process"), "{said}");
        hides_password("a refusal", &said);

        // Whoever was killed here is dead for sure, and followed at once.
        rig.kill().await;
        let begun = clock::Clock::now(&clock::SystemClock).boot;
        rig.start_with(&["--log", "trace"]);
        rig.readyz(200).await;
        let took = clock::Clock::now(&clock::SystemClock).boot.since(begun);
        assert!(took < volume_daemon::store::HOLD, "{took:?}");
        rig.ready("a").await;
        rig.check_marks("a").await;
        assert_eq!(rig.made("a"), 1);
        for command in ["createVolume", "createTags", "attachVolume"] {
            assert_eq!(rig.tap.count(command), 1, "{command}");
        }
        let (code, report) = check(&rig).await;
        all_is_well(code, &report);
        let daemon = finding(&report, "daemon").to_string();
        assert!(daemon.contains("runs (process "), "{daemon}");

        let (_, journal) = rig.get("/api/v1/intents").await;
        assert!(journal.contains("Attach"), "{journal}");
        rig.terminate().await;
        let mut said = vec![("the journal", journal), ("the log", rig.log())];
        assert!(rig.log().contains("TRACE"), "everything is logged");
        // And without a daemon.
        for (arguments, says) in [
            (&["get", "intents"][..], "attach"),
            (&["plan"], ""),
            (&["describe", "volume", "a"], "migration-vol-"),
            (&["config", "show"], "url_file"),
        ] {
            let (code, text) = rig.cli(arguments).await;
            assert!(code == 0 || arguments[0] != "get", "{arguments:?}: {text}");
            assert!(text.contains(says), "{arguments:?}: {text}");
            said.push(("a command", text));
        }
        for (what, text) in said {
            hides_password(what, &text);
        }
        rig.finish().await;
    });
}

/// The server does what `goes` says, and later what `comes` says.
async fn away(goes: impl FnOnce(&Server), comes: impl FnOnce(&Server)) {
    let database = Server::start(&[]).await.database().await;
    let mut rig = Rig::new().await;
    remember_in(&rig, &database);
    rig.declare("a", "");
    rig.start();
    rig.ready("a").await;
    rig.write_marks("a").await;
    let client = rig.steady("a").await;
    let before = rig.tap.mutations();

    goes(&database.server);
    rig.declare("b", "");
    let why = rig.readyz(503).await;
    assert!(why.contains("store"), "{why}");
    rig.rests("without its store").await;
    client.reads_on().await;
    rig.check_marks("a").await;
    assert_eq!(rig.tap.mutations(), before, "nothing was changed");

    comes(&database.server);
    rig.ready("b").await;
    rig.poll("ready", PATIENCE, async || {
        (rig.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    client.reads_on().await;
    client.leave().await;
    assert_eq!(rig.tap.mutations().len(), before.len() + 3);
    rig.finish().await;
}

#[test]
fn while_its_server_says_nothing_exports_go_on_and_nothing_is_changed() {
    run(away(
        |server| server.signal(Signal::SIGSTOP),
        |server| server.signal(Signal::SIGCONT),
    ));
}

#[test]
fn a_server_that_was_killed_and_comes_back_is_used_again() {
    run(away(Server::kill, Server::run));
}
