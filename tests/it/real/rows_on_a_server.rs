//! Rows in a MariaDB database that lacks a right, or is away.

use nix::sys::signal::Signal;
use sqlx::Connection as _;
use sqlx::mysql::MySqlConnection;

use super::daemon::Daemon;
use super::mariadb::{hides_password, remember_in};
use super::rig::{Rig, run_within};
use super::sql::{Engine, LIFE, until};
use crate::mariadb::{Database, Server};

const INSERT: &str = "INSERT INTO desired_volumes (appliance, name, revision, writer, size_gib, \
     zone, disk_offering, vm, export) VALUES ('oma-1', 'a', 1, 'engine', 1, 'zone-1', \
     'Custom OSSEA', 'self', 1)";
const DETACH: &str = "UPDATE desired_volumes SET vm = 'none', export = 0, revision = 2";
const ATTACH: &str = "UPDATE desired_volumes SET vm = 'self', export = 1, revision = 3";

/// Waits until the volume is as this revision of its row says.
async fn ready(rig: &Rig, engine: &mut Engine, revision: u8) {
    let stands = format!(
        "SELECT name FROM volume_status WHERE name = 'a' AND ready = 1 AND observed_revision = {revision}"
    );
    until(rig, engine, &stands).await;
}

async fn engine(database: &Database) -> Engine {
    let engine = MySqlConnection::connect(&database.url).await;
    Engine::MariaDb(engine.expect("a server"))
}

/// Rows count although their changes leave no marks; once the daemon may make triggers, they do.
async fn unmarked(database: Database, permit: &str) {
    let mut rig = Rig::new().await;
    remember_in(&rig, &database);
    rig.start();
    rig.readyz(200).await;
    let warned = ["GRANT TRIGGER", "log_bin_trust_function_creators"];
    rig.logs(&warned).await;
    let mut engine = engine(&database).await;
    engine.asks(INSERT).await;
    ready(&rig, &mut engine, 1).await;
    rig.write_marks("a").await;
    engine.asks(DETACH).await;
    ready(&rig, &mut engine, 2).await;
    engine.asks(ATTACH).await;
    ready(&rig, &mut engine, 3).await;
    rig.check_marks("a").await;
    engine.asks("DELETE FROM desired_volumes").await;
    let missing = "SELECT name FROM volume_status WHERE source_state = 'Missing'";
    until(&rig, &mut engine, missing).await;
    rig.check_marks("a").await;
    engine.asks(INSERT).await;
    ready(&rig, &mut engine, 1).await;

    rig.terminate().await;
    database.server.execute(permit).await;
    rig.start();
    rig.readyz(200).await;
    let times = rig.log().matches(warned[0]).count();
    assert_eq!(times, 1, "it may make triggers now: {}", rig.log());
    rig.ready("a").await;
    rig.check_marks("a").await;
    rig.finish().await;
}

#[test]
fn without_the_right_to_make_triggers_rows_are_compared_and_a_warning_says_what_to_do() {
    run_within(LIFE, async {
        let server = Server::start(&[]).await;
        let mut database = server.database().await;
        let name = &database.name;
        server
            .execute("CREATE USER 'plain'@'localhost' IDENTIFIED BY 'plain-password'")
            .await;
        let rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES";
        let grant = format!("GRANT {rights} ON {name}.* TO 'plain'@'localhost'");
        server.execute(&grant).await;
        let permit = format!("GRANT TRIGGER ON {name}.* TO 'plain'@'localhost'");
        database.url = server.url(name, "plain", "plain-password");
        unmarked(database, &permit).await;
    });
}

#[test]
fn with_a_binary_log_and_without_super_rows_are_compared_and_a_warning_says_what_to_do() {
    run_within(LIFE, async {
        let server = Server::start(&["--log-bin=binlog"]).await;
        let database = server.database().await;
        let permit = "SET GLOBAL log_bin_trust_function_creators = 1";
        unmarked(database, permit).await;
    });
}

/// A row is changed just before its server goes away. The daemon may be started meanwhile.
async fn away(goes: impl FnOnce(&Server), comes: impl FnOnce(&Server), is_restarted: bool) {
    let database = Server::start(&[]).await.database().await;
    let mut rig = Rig::new().await;
    remember_in(&rig, &database);
    rig.start();
    rig.readyz(200).await;
    let mut before = engine(&database).await;
    before.asks(INSERT).await;
    ready(&rig, &mut before, 1).await;
    rig.write_marks("a").await;
    rig.declare("b", "");
    rig.ready("b").await;
    rig.write_marks("b").await;
    let client = rig.steady("b").await;
    let sent = rig.tap.mutations();
    if is_restarted {
        rig.terminate().await;
    }
    before.asks("START TRANSACTION").await;
    before.asks(DETACH).await;
    before.asks("COMMIT").await;
    goes(&database.server);
    if is_restarted {
        // The service is started again every second, until this ends well.
        let ended = Daemon::run(&rig.path("config.toml")).await;
        assert_eq!(ended.status.code(), Some(1));
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(said.contains(&database.name), "{said}");
        assert!(said.contains("cannot use the store"), "{said}");
        hides_password("what it said", &said);
    } else {
        rig.readyz(503).await;
        rig.rests("without rows").await;
    }
    // At most what the row says, and perhaps it was not heard of.
    client.reads_on().await;
    rig.check_marks("b").await;
    assert!(rig.tap.mutations().len() <= sent.len() + 1);

    comes(&database.server);
    if is_restarted {
        rig.start();
    }
    let mut after = engine(&database).await;
    ready(&rig, &mut after, 2).await;
    after.asks(ATTACH).await;
    ready(&rig, &mut after, 3).await;
    rig.check_marks("a").await;
    client.reads_on().await;
    client.leave().await;
    let again = ["detachVolume", "attachVolume"];
    assert_eq!(rig.tap.mutations()[sent.len()..], again);
    rig.finish().await;
}

#[test]
fn a_row_changed_just_before_its_server_dies_is_taken_in_when_that_is_back() {
    run_within(LIFE, away(Server::kill, Server::run, false));
}

#[test]
fn a_row_changed_just_before_its_server_falls_silent_is_taken_in_when_that_is_back() {
    run_within(
        LIFE,
        away(
            |server| server.signal(Signal::SIGSTOP),
            |server| server.signal(Signal::SIGCONT),
            false,
        ),
    );
}

#[test]
fn a_daemon_that_begins_while_the_server_is_dead_says_so_and_ends() {
    run_within(LIFE, away(Server::kill, Server::run, true));
}

#[test]
fn a_daemon_that_begins_while_the_server_is_silent_says_so_and_ends() {
    run_within(
        LIFE,
        away(
            |server| server.signal(Signal::SIGSTOP),
            |server| server.signal(Signal::SIGCONT),
            true,
        ),
    );
}
