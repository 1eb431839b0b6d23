//! Rows of `desired_volumes` beside files, rows that vanish, and rows while no daemon runs.

use super::rig::{Rig, run_within};
use super::sql::{Engine, LIFE, on_mariadb, on_sqlite, until};

/// A statement by which an engine declares a volume that is served here.
fn insert(name: &str) -> String {
    format!(
        "INSERT INTO desired_volumes (appliance, name, writer, size_gib, zone, disk_offering, vm, \
         export) VALUES ('oma-1', '{name}', 'engine', 1, 'zone-1', 'Custom OSSEA', 'self', 1)"
    )
}

/// A question that finds a row once a volume stands so.
fn stands(name: &str, condition: &str) -> String {
    format!("SELECT message FROM volume_status WHERE name = '{name}' AND {condition}")
}

async fn rows_and_files(mut rig: Rig, mut engine: Engine) {
    let engine = &mut engine;
    // A file has the name first: both hear of it, and nothing of the row counts.
    rig.declare("a", "");
    rig.ready("a").await;
    engine.asks(&insert("a")).await;
    until(&rig, engine, &stands("a", "source_state = 'Conflict'")).await;
    for place in ["row:a", "a.yaml"] {
        let (_, shown) = rig.cli(&["get", "sources", place]).await;
        assert!(shown.contains("Conflict"), "{place}: {shown}");
    }
    let owner = rig.until("the file keeps it", |_| true).await;
    assert_eq!(owner.volumes.len(), 1);
    // The row is given the name, and the file may go; and nothing else happens.
    let before = rig.tap.mutations();
    let own = ["own", "volume/a", "--to", "db:engine"];
    engine.asks("UPDATE desired_volumes SET vm = 'none'").await;
    let (code, said) = rig.cli(&own).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("spec.attachTo differ"), "{said}");
    engine.asks("UPDATE desired_volumes SET vm = 'self'").await;
    let (code, said) = rig.cli(&own).await;
    assert_eq!(
        (code, said.as_str()),
        (0, "volume/a: belongs to db:engine\n")
    );
    let (code, said) = rig.cli(&own).await;
    assert_eq!(
        (code, said.as_str()),
        (0, "volume/a: belongs to db:engine already\n")
    );
    rig.write("none.yaml", "# no specs\n");
    rig.remove("a.yaml");
    until(
        &rig,
        engine,
        &stands("a", "source_state = 'Accepted' AND ready = 1"),
    )
    .await;
    let (code, said) = rig.cli(&["own", "volume/b", "--to", "db:engine"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("there is no spec b"), "{said}");
    assert_eq!(rig.tap.mutations(), before);
    let (_, history) = rig.cli(&["history", "volume/a"]).await;
    assert!(history.contains("db:engine"), "{history}");
    rig.ready("a").await;
    assert_eq!(rig.made("a"), 1);

    // A row that is deleted without a word stays in force.
    engine.asks(&insert("b")).await;
    until(&rig, engine, &stands("b", "ready = 1")).await;
    rig.write_marks("b").await;
    engine
        .asks("DELETE FROM desired_volumes WHERE name = 'b'")
        .await;
    let told = until(&rig, engine, &stands("b", "source_state = 'Missing'")).await;
    let told = told[0].as_deref().unwrap_or_default();
    assert!(told.contains("insert it again as it was"), "{told}");
    rig.rests("without a row").await;
    rig.check_marks("b").await;

    // Without a daemon, a plan is made from the rows as they are now.
    rig.terminate().await;
    engine.asks(&insert("b")).await;
    engine.asks(&insert("c")).await;
    let (code, plan) = rig.cli(&["plan", "--offline", "--all"]).await;
    assert_eq!(code, 2, "{plan}");
    assert!(plan.contains("1 volume to change, 2 in sync"), "{plan}");
    assert!(plan.contains("create c with 1GiB"), "{plan}");
    rig.start();
    until(&rig, engine, &stands("c", "ready = 1")).await;
    until(&rig, engine, &stands("b", "ready = 1")).await;
    rig.check_marks("b").await;
    for name in ["a", "b", "c"] {
        assert_eq!(rig.made(name), 1, "{name}");
    }
    rig.finish().await;
}

#[test]
fn rows_stand_beside_files_vanish_and_are_read_without_a_daemon_on_sqlite() {
    run_within(LIFE, async {
        let (rig, engine) = on_sqlite().await;
        rows_and_files(rig, engine).await;
    });
}

#[test]
fn rows_stand_beside_files_vanish_and_are_read_without_a_daemon_on_mariadb() {
    run_within(LIFE, async {
        let (rig, engine) = on_mariadb().await;
        rows_and_files(rig, engine).await;
    });
}
