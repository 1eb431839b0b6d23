//! The old daemon's tables, and rows that are added beside a daemon, on either database.

use std::collections::BTreeMap;

use sqlx::mysql::MySqlConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

use super::*;
use crate::model::legacy::OldRow;
use crate::model::source::DesiredRow;

/// Tables as a later version has them; the types are a dump's of the field, where both know them.
const LATER_ON: &str = "
    CREATE TABLE device_mappings (
        id varchar(64) NOT NULL PRIMARY KEY, vm_context_id varchar(64), volume_uuid varchar(64) NOT NULL,
        volume_id_numeric bigint, vm_id varchar(64) NOT NULL, cloudstack_device_id int,
        device_path varchar(255) NOT NULL, cloudstack_state varchar(32) NOT NULL,
        linux_state varchar(32) NOT NULL, size bigint NOT NULL, last_sync timestamp NULL);
    CREATE TABLE nbd_exports (
        id bigint NOT NULL PRIMARY KEY, volume_id varchar(64) DEFAULT '', device_mapping_uuid varchar(64),
        export_name varchar(191) NOT NULL, device_path longtext NOT NULL,
        status varchar(191) NOT NULL DEFAULT 'pending', created_at datetime);
    CREATE TABLE vm_export_mappings (
        id bigint NOT NULL PRIMARY KEY, vm_id varchar(36) NOT NULL, export_name varchar(255) NOT NULL,
        device_path varchar(255) NOT NULL, status varchar(8) DEFAULT 'active');
    CREATE TABLE ossea_volumes (
        id bigint NOT NULL PRIMARY KEY, volume_id longtext NOT NULL, volume_name longtext NOT NULL,
        size_gb bigint NOT NULL, device_path longtext);
    CREATE TABLE vm_disks (
        id bigint NOT NULL PRIMARY KEY, job_id varchar(191), ossea_volume_id bigint,
        cloudstack_volume_uuid varchar(64));
    INSERT INTO device_mappings (id, volume_uuid, vm_id, cloudstack_device_id, device_path,
        cloudstack_state, linux_state, size)
        VALUES ('m1', 'uuid-1', 'vm-1', 3, '/dev/vdb', 'attached', 'detected', 5368717312);
    INSERT INTO nbd_exports (id, volume_id, export_name, device_path, status)
        VALUES (7, 'uuid-1', 'migration-vol-uuid-1', '/dev/vdb', 'active');
    INSERT INTO vm_export_mappings (id, vm_id, export_name, device_path)
        VALUES (1, 'vmware', 'older', '/dev/vdb');
    INSERT INTO ossea_volumes (id, volume_id, volume_name, size_gb) VALUES (11, 'uuid-1', 'pg', 5);
    INSERT INTO vm_disks (id, job_id, ossea_volume_id) VALUES (1, 'job', 11);
";

/// Tables as an earlier version has them, as far as it has any.
const EARLIER: &str = "
    CREATE TABLE device_mappings (
        volume_id varchar(64) NOT NULL, vm_id varchar(64), device_path varchar(255), size bigint);
    CREATE TABLE vm_export_mappings (
        id bigint NOT NULL PRIMARY KEY, vm_id varchar(36) NOT NULL, export_name varchar(255) NOT NULL,
        device_path varchar(255) NOT NULL, status varchar(8) DEFAULT 'active');
    INSERT INTO device_mappings VALUES ('uuid-1', NULL, '/dev/vdb', 1);
    INSERT INTO vm_export_mappings (id, vm_id, export_name, device_path)
        VALUES (1, 'vmware', 'older', '/dev/vdb');
";

fn row(columns: &[(&'static str, &str)]) -> OldRow {
    let columns = columns
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()));
    OldRow(columns.collect())
}

async fn are_read(at: &Location, tables: &'static str, mut run: impl AsyncFnMut(&'static str)) {
    let nothing = old_tables(at).await.unwrap();
    assert!(nothing.are_missing(), "{nothing:?}");
    run(tables).await;
    let read = old_tables(at).await.unwrap();
    assert_eq!(old_tables(at).await.unwrap(), read);
    let export = |name, columns: &[(&'static str, &str)]| {
        let all = [
            ("export_name", name),
            ("device_path", "/dev/vdb"),
            ("status", "active"),
        ];
        Some(vec![row(&[&all, columns].concat())])
    };
    if tables == EARLIER {
        let mapping = [
            ("volume_id", "uuid-1"),
            ("device_path", "/dev/vdb"),
            ("size", "1"),
        ];
        assert_eq!(read.mappings, Some(vec![row(&mapping)]));
        assert_eq!(read.exports, export("older", &[("id", "1")]));
        assert_eq!((read.volumes, read.disks), (None, None));
        return;
    }
    let mapping = row(&[
        ("id", "m1"),
        ("volume_uuid", "uuid-1"),
        ("vm_id", "vm-1"),
        ("cloudstack_device_id", "3"),
        ("device_path", "/dev/vdb"),
        ("cloudstack_state", "attached"),
        ("size", "5368717312"),
    ]);
    assert_eq!(read.mappings, Some(vec![mapping]));
    let newer = [("id", "7"), ("volume_id", "uuid-1")];
    assert_eq!(read.exports, export("migration-vol-uuid-1", &newer));
    let volume = row(&[("id", "11"), ("volume_id", "uuid-1"), ("size_gb", "5")]);
    assert_eq!(read.volumes, Some(vec![volume]));
    let disk = row(&[("id", "1"), ("job_id", "job"), ("ossea_volume_id", "11")]);
    assert_eq!(read.disks, Some(vec![disk]));
    run("DELETE FROM nbd_exports").await;
    let older = old_tables(at).await.unwrap().exports;
    assert_eq!(older, export("older", &[("id", "1")]));
}

#[tokio::test]
async fn old_tables_of_every_age_are_read_from_a_file() {
    for tables in [LATER_ON, EARLIER] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.db");
        assert!(old_tables(&at(&path)).await.unwrap_err().is_missing());
        assert!(!path.exists());
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let mut old = SqliteConnection::connect_with(&options).await.unwrap();
        old.execute("CREATE TABLE other (id bigint)").await.unwrap();
        are_read(&at(&path), tables, async |sql| {
            old.execute(sqlx::raw_sql(sql)).await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn old_tables_of_every_age_are_read_from_a_server() {
    for tables in [LATER_ON, EARLIER] {
        let database = database().await;
        let mut old = MySqlConnection::connect(&database.url).await.unwrap();
        are_read(&of(&database, "oma-1"), tables, async |sql| {
            old.execute(sqlx::raw_sql(sql)).await.unwrap();
        })
        .await;
    }
}

fn desired(name: &str, id: &str) -> DesiredRow {
    let columns = [("writer", "x"), ("existing_id", id), ("export", "1")];
    DesiredRow {
        name: name.to_owned(),
        columns: columns.map(|(key, value)| (key, value.to_owned())).into(),
    }
}

async fn are_added(at: &Location) {
    let none = add_rows(at, &[desired("a", "1")]).await.unwrap_err();
    assert!(none.is_missing(), "{none}");
    let store = Store::open(at, clock()).await.unwrap();
    add_rows(at, &[desired("a", "1"), desired("b", "2")])
        .await
        .unwrap();
    let taken = add_rows(
        at,
        &[desired("c", "3"), desired("a", "4"), desired("d", "5")],
    )
    .await;
    let taken = taken.unwrap_err();
    assert!(
        matches!(&taken, StoreError::RowTaken { name } if name == "a"),
        "{taken}"
    );
    let reading = store.desired_rows(Extent::Marked).await.unwrap();
    let there: BTreeMap<_, _> = reading
        .rows
        .iter()
        .map(|row| (row.name.as_str(), row.columns["existing_id"].as_str()))
        .collect();
    assert_eq!(
        there,
        BTreeMap::from([("a", "1"), ("b", "2")]),
        "all or none"
    );
    assert_eq!(reading.rows, [desired("a", "1"), desired("b", "2")]);
    assert_eq!(reading.marks.len(), 2);
    store.close().await;
}

#[tokio::test]
async fn rows_are_added_beside_a_daemon_all_or_none_to_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    are_added(&at(&path)).await;
}

#[tokio::test]
async fn rows_are_added_beside_a_daemon_all_or_none_on_a_server() {
    let database = database().await;
    are_added(&of(&database, "oma-1")).await;
}
