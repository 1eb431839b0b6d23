//! From the old daemon to this one and back, as `docs/import.md` says it: its tables in a database,
//! CloudStack, and clients that know their exports by name.

use std::fs;

use serde_json::Value;
use sqlx::mysql::MySqlConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use uuid::Uuid;
use volume_daemon::sim::Operation;
use volume_daemon::sim::control::Side;

use super::client::{Client, check_marks, write_marks};
use super::mariadb::{hides_password, remember_in};
use super::rig::{PATIENCE, Rig, SELF, run, run_within};
use super::sql::statement;
use crate::mariadb::database;

const DOCUMENT: &str = include_str!("../../../docs/import.md");

/// What the document calls its appliance.
const APPLIANCE: &str = "oma-1";

/// The old daemon's tables.
const TABLES: [&str; 4] = [
    "device_mappings",
    "nbd_exports",
    "ossea_volumes",
    "vm_disks",
];

const SCHEMA: &str = "
    CREATE TABLE device_mappings (
        id varchar(64) NOT NULL PRIMARY KEY, volume_uuid varchar(64) NOT NULL,
        vm_id varchar(64) NOT NULL, device_path varchar(255) NOT NULL,
        cloudstack_state varchar(32) NOT NULL, linux_state varchar(32) NOT NULL, size bigint NOT NULL);
    CREATE TABLE nbd_exports (
        id varchar(64) NOT NULL PRIMARY KEY, volume_id varchar(64), export_name varchar(191) NOT NULL,
        port bigint NOT NULL, device_path varchar(255) NOT NULL, status varchar(191) NOT NULL);
    CREATE TABLE ossea_volumes (
        id varchar(64) NOT NULL PRIMARY KEY, volume_id varchar(64) NOT NULL, size_gb bigint NOT NULL);
    CREATE TABLE vm_disks (
        id varchar(64) NOT NULL PRIMARY KEY, ossea_volume_id varchar(64),
        cloudstack_volume_uuid varchar(64));
";

/// An engine's volume, and how the old daemon knows it.
struct Old {
    name: &'static str,
    vm: &'static str,
    /// The name of its export, if it has one.
    export: Option<&'static str>,
    /// Its path in `device_mappings`, if not the by-id path.
    path: Option<&'static str>,
}

const VOLUMES: [Old; 3] = [
    Old {
        name: "pg data",
        vm: SELF,
        export: Some("migration-vm-pg-disk0"),
        path: None,
    },
    Old {
        name: "pg-log",
        vm: SELF,
        export: Some("pg-log"),
        path: Some("/dev/vdx"),
    },
    Old {
        name: "pg-test",
        vm: "final-vm",
        export: None,
        path: None,
    },
];

/// The names of their rows.
const ROWS: [&str; 3] = ["pg-data", "pg-log", "pg-test"];

/// Makes the volumes in CloudStack; the statements that put them into the old daemon's tables.
fn old_installation(rig: &Rig) -> String {
    let mut sql = SCHEMA.to_owned();
    let gone = Uuid::from_u128(99);
    sql += &format!(
        "INSERT INTO device_mappings VALUES ('m-gone', '{gone}', 'x', '/dev/vdz', 'attached', \
         'detected', 1);"
    );
    for Old {
        name,
        vm,
        export,
        path,
    } in &VOLUMES
    {
        rig.operate(&Operation::CreateVolume {
            name: (*name).to_owned(),
            size_gib: 1,
        });
        rig.operate(&Operation::AttachVolume {
            volume: (*name).to_owned(),
            vm: (*vm).to_owned(),
            device_id: None,
            side: Side::Both,
        });
        let (id, vm_id) = ids(rig, name, vm);
        let serial: String = id.simple().to_string().chars().take(20).collect();
        let by_id = format!("/dev/disk/by-id/virtio-{serial}");
        let path = path.unwrap_or(&by_id);
        sql += &format!(
            "INSERT INTO device_mappings VALUES ('m-{name}', '{id}', '{vm_id}', '{path}', 'attached', \
             'detected', 1073741824);
             INSERT INTO ossea_volumes VALUES ('{name}', '{id}', 1);
             INSERT INTO vm_disks VALUES ('d-{name}', '{name}', '{id}');"
        );
        if let Some(export) = export {
            sql += &format!(
                "INSERT INTO nbd_exports VALUES ('e-{name}', '{id}', '{export}', 10809, '{by_id}', \
                 'active');"
            );
        }
    }
    sql
}

fn ids(rig: &Rig, volume: &str, vm: &str) -> (Uuid, Uuid) {
    let ids = rig.sim.with(|front| {
        let world = front.world();
        let volume = world.volume_called(volume).expect("it was made");
        let vm = world.vm_called(vm).expect("one of the world's");
        (world.volume(volume).uuid, world.vm(vm).uuid)
    });
    ids.expect("a world")
}

/// All volumes and where they are, without their tags.
fn places(rig: &Rig) -> Value {
    let dump = rig
        .sim
        .with(|front| serde_json::to_value(front.world().dump()));
    let mut dump = dump.expect("a world").expect("JSON");
    let mut volumes = dump["volumes"].take();
    for volume in volumes.as_array_mut().expect("a list") {
        volume.as_object_mut().expect("one").remove("tags");
    }
    volumes
}

/// Everything that is in a database, but for the tables of the new daemon.
async fn old_tables(server: &mut MySqlConnection) -> Vec<String> {
    let mut all = Vec::new();
    for table in TABLES {
        let sql = format!("CHECKSUM TABLE {table} EXTENDED");
        let row = server.fetch_one(AssertSqlSafe(sql)).await.expect("a table");
        let checksum: Option<i64> = row.get(1);
        let sql = format!("SHOW CREATE TABLE {table}");
        let row = server.fetch_one(AssertSqlSafe(sql)).await.expect("a table");
        let schema: String = row.get(1);
        all.push(format!("{table} {checksum:?} {schema}"));
    }
    all
}

async fn tables(server: &mut MySqlConnection) -> Vec<String> {
    let rows = server.fetch_all("SHOW TABLES").await.expect("a database");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn desired(server: &mut MySqlConnection) -> Vec<String> {
    let sql = "CHECKSUM TABLE desired_volumes EXTENDED";
    let row = server.fetch_one(sql).await.expect("a table");
    let checksum: Option<i64> = row.get(1);
    let sql = "SELECT name FROM desired_volumes ORDER BY name";
    let rows = server.fetch_all(sql).await.expect("a table");
    let names = rows.iter().map(|row| row.get::<String, _>(0));
    [format!("{checksum:?}")].into_iter().chain(names).collect()
}

/// Imports, and waits as the answer says.
async fn import(rig: &Rig, import_legacy: &[&str]) {
    let (code, said) = rig.cli(import_legacy).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("3 rows written"), "{said}");
    let wait = said
        .lines()
        .find_map(|line| line.strip_prefix("volume-daemon wait "));
    let wait: Vec<&str> = wait.expect("what to wait with").split(' ').collect();
    assert_eq!(wait.len(), 4, "{said}");
    let (code, said) = rig.cli(&[&["wait"], wait.as_slice()].concat()).await;
    assert_eq!(code, 0, "{said}");
}

#[test]
fn an_old_installation_is_taken_over_as_it_is_and_given_back() {
    run_within(std::time::Duration::from_secs(90), async {
        // The store has a database of its own, or the daemon would tell the old tables what is so.
        let (store, database) = (database().await, database().await);
        let mut rig = Rig::new().await;
        remember_in(&rig, &store);
        let old_database = rig.path("old").display().to_string();
        fs::write(&old_database, &database.url).expect("writable");
        let import_legacy = ["import-legacy", "--database-file", &old_database];
        let mut server = MySqlConnection::connect(&database.url)
            .await
            .expect("a server");
        let sql = old_installation(&rig);
        server
            .execute(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await
            .expect("valid SQL");
        let (old, before) = (old_tables(&mut server).await, places(&rig));
        let store = MySqlConnection::connect(&store.url).await;
        let mut store = store.expect("a server");

        let dry_run = [&import_legacy[..], &["--dry-run"]].concat();
        let (code, said) = rig.cli(&dry_run).await;
        assert_eq!(code, 2, "{said}");
        for says in [
            "VolumeGone",
            "KernelPath",
            "3 rows to write; nothing was written",
        ] {
            assert!(said.contains(says), "{says}: {said}");
        }
        hides_password("a dry run", &said);
        assert_eq!(tables(&mut server).await, TABLES, "nothing was made");
        let wrong = database.url.replace(&database.name, "vd_missing");
        let (code, said) = rig.cli(&["import-legacy", "--database", &wrong]).await;
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("the old daemon's database cannot be read"),
            "{said}"
        );
        hides_password("a refusal", &said);
        let (code, said) = rig.cli(&import_legacy).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("hint: start the daemon once"), "{said}");
        assert_eq!(tables(&mut server).await, TABLES, "nothing was made");
        assert_eq!(tables(&mut store).await, [""; 0], "nothing was made");
        assert_eq!(old_tables(&mut server).await, old);

        rig.start();
        rig.readyz(200).await;
        import(&rig, &import_legacy).await;
        let exports = VOLUMES.iter().filter_map(|old| old.export);
        for export in exports.clone() {
            write_marks(&rig.nbd(), export, export).await;
            check_marks(&rig.nbd(), export, export).await;
        }
        assert_eq!(rig.tap.mutations(), ["createTags"; 3]);
        assert_eq!(
            (places(&rig), old_tables(&mut server).await),
            (before.clone(), old.clone())
        );

        let rows = desired(&mut store).await;
        assert_eq!(rows[1..], ROWS);
        for arguments in [&import_legacy[..], &dry_run] {
            let (code, said) = rig.cli(arguments).await;
            assert_eq!(code, 0, "{said}");
            assert!(
                said.contains("nothing to write: nothing was changed"),
                "{said}"
            );
            assert!(said.contains("3 volumes: has its row already"), "{said}");
        }
        assert_eq!(desired(&mut store).await, rows);

        go_back(&mut rig, &mut store).await;
        assert_eq!(
            (places(&rig), old_tables(&mut server).await),
            (before.clone(), old.clone())
        );

        // And there again: the tags are found.
        rig.start();
        rig.readyz(200).await;
        import(&rig, &import_legacy).await;
        for export in exports {
            check_marks(&rig.nbd(), export, export).await;
        }
        assert_eq!(rig.tap.mutations(), ["createTags"; 3]);
        assert_eq!((places(&rig), old_tables(&mut server).await), (before, old));
        rig.terminate().await;
    });
}

/// The statements of the document, in its order.
async fn go_back(rig: &mut Rig, server: &mut MySqlConnection) {
    let says = |after| AssertSqlSafe(statement(DOCUMENT, after));
    let gone = server.execute(says("Say that the rows are to go.**")).await;
    assert_eq!(gone.expect("valid SQL").rows_affected(), 3);
    let is_over = says("It is done when this finds no row:").0;
    let asked = tokio::sync::Mutex::new(&mut *server);
    rig.poll("released", PATIENCE, async || {
        let left = asked.lock().await.fetch_all(AssertSqlSafe(is_over)).await;
        left.expect("valid SQL").is_empty().then_some(())
    })
    .await;
    for old in VOLUMES.iter().filter_map(|old| old.export) {
        assert!(Client::connect(&rig.nbd(), old).await.is_err(), "{old}");
    }
    rig.terminate().await;
    let deleted = server.execute(says("Delete the rows.**")).await;
    assert_eq!(deleted.expect("valid SQL").rows_affected(), 3);
}

#[test]
fn rows_that_no_daemon_has_seen_are_only_deleted() {
    run(async {
        let mut rig = Rig::new().await;
        let config = fs::read_to_string(rig.path("config.toml")).expect("readable");
        let named = format!("[store]\nappliance = \"{APPLIANCE}\"\n");
        fs::write(rig.path("config.toml"), config.replace("[store]\n", &named)).expect("writable");
        rig.start();
        rig.readyz(200).await;
        rig.terminate().await;

        let (code, said) = rig.cli(&["import-legacy"]).await;
        assert_eq!(code, 0, "the store has such tables, too: {said}");
        assert!(said.contains("the old tables name no volume"), "{said}");
        let path = rig.path("old.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let mut old = SqliteConnection::connect_with(&options)
            .await
            .expect("a file");
        let sql = old_installation(&rig);
        old.execute(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await
            .expect("valid SQL");
        old.close().await.expect("closed");
        let bytes = fs::read(&path).expect("readable");
        fs::write(rig.path("old"), format!("sqlite://{}\n", path.display())).expect("writable");
        let file = rig.path("old").display().to_string();
        rig.foreign_stays();
        let before = places(&rig);
        let (code, said) = rig.cli(&["import-legacy", "--database-file", &file]).await;
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("3 rows written"), "{said}");
        assert_eq!(fs::read(&path).expect("readable"), bytes);

        let store = format!("sqlite://{}", rig.path("store.db").display());
        let mut store = SqliteConnection::connect(&store).await.expect("a file");
        let sql = AssertSqlSafe(statement(DOCUMENT, "Delete the rows.**"));
        let deleted = store.execute(sql).await.expect("valid SQL");
        assert_eq!(deleted.rows_affected(), 3);
        store.close().await.expect("closed");
        rig.start();
        rig.readyz(200).await;
        assert_eq!(rig.report().await.expect("a report").volumes, []);
        assert_eq!(rig.tap.mutations(), [""; 0]);
        assert_eq!(places(&rig), before);
        rig.finish().await;
    });
}
