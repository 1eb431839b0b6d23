//! An engine that only speaks SQL: the statements of `docs/sql.md`, on either database.

use std::fs;

use sqlx::mysql::MySqlConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

use super::mariadb::remember_in;
use super::rig::{PATIENCE, Rig, run_within};
use crate::mariadb::database;

/// A program that knows where the database is, and no more.
pub enum Engine {
    Sqlite(SqliteConnection),
    MariaDb(MySqlConnection),
}

impl Engine {
    /// Runs a statement; the first row that it finds, if it finds one, as a terminal would show it.
    pub async fn asks(&mut self, sql: &str) -> Option<Vec<Option<String>>> {
        let sql = AssertSqlSafe(sql.to_owned());
        macro_rules! texts {
            ($engine:expr) => {
                $engine
                    .fetch_optional(sql)
                    .await
                    .expect("valid SQL")
                    .map(|row| {
                        (0..row.len())
                            .map(|column| row.get_unchecked::<Option<String>, _>(column))
                            .collect()
                    })
            };
        }
        match self {
            Self::Sqlite(engine) => texts!(engine),
            Self::MariaDb(engine) => texts!(engine),
        }
    }
}

/// The statement that follows a heading, or a sentence, of the document.
pub fn statement<'a>(document: &'a str, after: &str) -> &'a str {
    let (_, rest) = document.split_once(after).expect(after);
    let (_, rest) = rest.split_once("```sql\n").expect("SQL");
    rest.split_once("```").expect("closed").0
}

/// What the document calls its appliance.
const APPLIANCE: &str = "oma-1";

async fn lives_by_sql(rig: Rig, mut engine: Engine) {
    let document = include_str!("../../../docs/sql.md");
    let says = |after| statement(document, after);
    let ready = |revision: u8| {
        let sql = says("## Wait until it is ready");
        let waits = sql.replace(
            "observed_revision >= 1",
            &format!("observed_revision >= {revision}"),
        );
        assert!(
            revision == 1 || waits != sql,
            "the document waits for another thing"
        );
        waits
    };
    assert_eq!(engine.asks(says("## Create")).await, None);
    let (site, engine) = (rig, &mut engine);
    let rig = &site;
    let found = until(rig, engine, &ready(1)).await;
    let [Some(volume), Some(device), Some(export)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(device.starts_with("/dev/disk/by-id/virtio-"), "{device}");
    assert_eq!(export, &format!("migration-vol-{volume}"));
    rig.write_marks("pg-0").await;
    assert_eq!(rig.ready("pg-0").await.owner, "db:engine");
    let old = |after| says(after).replace("2aff4799-7a2b-4c0e-9c5e-0d6f1f6f2b11", volume);
    let found = until(rig, engine, &old("Whether a volume has come")).await;
    assert_eq!(found[1].as_ref(), Some(device), "{found:?}");
    let mut found = until(rig, engine, &old("What is served:")).await;
    let port = found.remove(1);
    assert_eq!(found, [Some(export.clone()), Some(device.clone())]);
    assert_eq!(port.as_deref(), Some("0"), "a unix socket");
    let found = until(rig, engine, &old("What was asked of CloudStack")).await;
    let [_, kind, status, error, ..] = found.as_slice() else {
        panic!("{found:?}");
    };
    let texts = [kind, status, error].map(|text| text.as_deref());
    assert_eq!(texts, [Some("attach"), Some("completed"), None]);

    // A mistake is told, and changes nothing.
    for (wrong, message) in [
        ("UPDATE desired_volumes SET move = 'Now'", "column move: "),
        ("UPDATE desired_volumes SET writer = ''", "column writer: "),
    ] {
        engine.asks(wrong).await;
        let why = says("If it takes long, this says why.");
        let told = format!(
            "{} AND message LIKE '%{message}%'",
            why.trim().trim_end_matches(';')
        );
        let told = until(rig, engine, &told).await;
        assert_eq!(told[0].as_deref(), Some("Invalid"));
    }
    engine
        .asks("UPDATE desired_volumes SET move = NULL, writer = 'engine'")
        .await;
    until(rig, engine, &ready(1)).await;
    rig.check_marks("pg-0").await;

    assert_eq!(engine.asks(says("## Move to another VM")).await, None);
    let found = until(rig, engine, &ready(2)).await;
    assert_eq!(found[1..], [None, None], "neither disk nor export here");
    let remote = "SELECT device_path FROM device_mappings WHERE operation_mode = 'failover'";
    let found = until(rig, engine, remote).await;
    assert_eq!(found, [Some(format!("remote-{volume}"))]);
    assert_eq!(engine.asks(says("Back:")).await, None);
    until(rig, engine, &ready(3)).await;
    rig.check_marks("pg-0").await;

    assert_eq!(engine.asks(says("## Detach")).await, None);
    until(rig, engine, &ready(4)).await;
    for table in ["device_mappings", "nbd_exports"] {
        let count = format!("SELECT 'none' WHERE NOT EXISTS (SELECT 1 FROM {table})");
        until(rig, engine, &count).await;
    }
    assert_eq!(engine.asks(says("## Delete")).await, None);
    until(rig, engine, says("It is done when this finds a row:")).await;
    assert_eq!(
        engine.asks(says("Only then delete the row itself.")).await,
        None
    );
    assert_eq!(rig.made("pg-0"), 1);
    for command in ["createVolume", "deleteVolume", "destroyVolume"] {
        let expected = usize::from(command == "createVolume");
        assert_eq!(rig.tap.count(command), expected, "{command}");
    }
    site.finish().await;
}

/// Asks again and again, as an engine does, until a row is found.
pub async fn until(rig: &Rig, engine: &mut Engine, sql: &str) -> Vec<Option<String>> {
    rig.poll(sql, PATIENCE, async || engine.asks(sql).await)
        .await
}

#[test]
fn a_table_of_the_old_daemon_that_cannot_be_written_is_told_and_holds_up_nothing() {
    run_within(LIFE, async {
        let mut rig = Rig::new().await;
        let url = format!("sqlite://{}?mode=rwc", rig.path("store.db").display());
        let mut before = SqliteConnection::connect(&url).await.expect("a file");
        before
            .execute("CREATE TABLE nbd_exports (id TEXT, volume_id TEXT, export_name TEXT, status TEXT, tenant TEXT NOT NULL)")
            .await
            .expect("a table");
        before.close().await.expect("closed");
        rig.declare("a", "");
        rig.start();
        rig.ready("a").await;
        rig.readyz(200).await;
        let (code, sources) = rig.cli(&["get", "sources"]).await;
        assert_eq!(code, 0, "{sources}");
        for text in [sources, rig.log()] {
            let times = text.matches("nbd_exports is not written").count();
            assert_eq!(times, 1, "{text}");
            assert!(text.contains("its column tenant must"), "{text}");
        }
        rig.finish().await;
    });
}

/// The whole life takes several jobs, one after another.
pub const LIFE: std::time::Duration = std::time::Duration::from_secs(90);

/// A site that remembers in a file, and an engine beside it.
pub async fn on_sqlite() -> (Rig, Engine) {
    let mut rig = Rig::new().await;
    let config = fs::read_to_string(rig.path("config.toml")).expect("readable");
    let named = format!("[store]\nappliance = \"{APPLIANCE}\"\n");
    fs::write(rig.path("config.toml"), config.replace("[store]\n", &named)).expect("writable");
    rig.start();
    rig.readyz(200).await;
    let url = format!("sqlite://{}", rig.path("store.db").display());
    let engine = SqliteConnection::connect(&url).await.expect("a file");
    (rig, Engine::Sqlite(engine))
}

/// A site that remembers on a server, and an engine beside it.
pub async fn on_mariadb() -> (Rig, Engine) {
    let database = database().await;
    let mut rig = Rig::new().await;
    remember_in(&rig, &database);
    rig.start();
    rig.readyz(200).await;
    let engine = MySqlConnection::connect(&database.url).await;
    (rig, Engine::MariaDb(engine.expect("a server")))
}

#[test]
fn an_engine_that_only_speaks_sql_needs_no_more_than_its_document_on_sqlite() {
    run_within(LIFE, async {
        let (rig, engine) = on_sqlite().await;
        lives_by_sql(rig, engine).await;
    });
}

#[test]
fn an_engine_that_only_speaks_sql_needs_no_more_than_its_document_on_mariadb() {
    run_within(LIFE, async {
        let (rig, engine) = on_mariadb().await;
        lives_by_sql(rig, engine).await;
    });
}
