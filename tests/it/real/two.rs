//! Two appliances in one CloudStack account and one MariaDB database: each has its own, and leaves
//! the other's alone.

use sqlx::Connection as _;
use sqlx::mysql::MySqlConnection;

use super::mariadb::remember_as;
use super::rig::{BESIDE, Rig, SELF, run_within, spec};
use super::sql::{Engine, LIFE, until};
use crate::mariadb::database;

/// The same spec as on the other appliance, of a volume with another name.
fn theirs(name: &str) -> String {
    spec(name, 1, &format!("  volumeName: their-{name}\n"))
}

/// Both sites, their daemons, and a program that writes rows for both.
async fn sites() -> (Rig, Rig, Engine) {
    let database = database().await;
    let mut one = Rig::new().await;
    let mut two = one.beside().await;
    remember_as("oma-1", &one, &database);
    remember_as("oma-2", &two, &database);
    one.start();
    two.start();
    one.readyz(200).await;
    two.readyz(200).await;
    let engine = MySqlConnection::connect(&database.url).await;
    (one, two, Engine::MariaDb(engine.expect("a server")))
}

#[test]
fn two_appliances_that_share_an_account_and_a_database_have_each_their_own() {
    run_within(LIFE, async {
        let (mut one, mut two, _) = sites().await;
        one.declare("a", "");
        let a = one.ready("a").await;
        one.write_marks("a").await;
        // The same text elsewhere is about another volume, whose name is taken.
        two.declare("a", "");
        two.held_by("a", "NameTaken").await;
        two.write("a.yaml", &theirs("a"));
        let b = two.ready("a").await;
        assert_ne!(a.volume_id, b.volume_id);
        two.write_marks("their-a").await;
        one.check_marks("a").await;
        for (site, volume, vm) in [(&one, "a", SELF), (&two, "their-a", BESIDE)] {
            assert_eq!(site.attached_to(volume).as_deref(), Some(vm));
            assert_eq!(site.tap.count("createVolume"), 1, "{vm}");
        }
        for (site, other) in [(&one, "their-a"), (&two, "a")] {
            assert!(!site.is_served(other).await, "{other}");
        }

        // What the one made is not to be had by the other.
        let before = (one.tap.mutations(), two.tap.mutations());
        let id = a.volume_id.expect("it was made");
        let text =
            spec("taken", 1, "").replace("  zone: zone-1\n  diskOffering: Custom OSSEA\n", "");
        let adopt = format!("spec:\n  existing: {{ id: {id} }}\n");
        two.write("taken.yaml", &text.replace("spec:\n", &adopt));
        two.held_by("taken", "ClaimedBy").await;
        one.rests("beside the other").await;
        let after = (one.tap.mutations(), two.tap.mutations());
        assert_eq!(after, before, "nothing was done about it");
        two.write("taken.yaml", "# nothing\n");

        // While the one is dead the other goes on with its own, and only that.
        let client = one.steady("a").await;
        one.kill().await;
        two.write(
            "a.yaml",
            &theirs("a")
                .replace("vm: self", "vm: none")
                .replace("  export: {}\n", ""),
        );
        two.until("detached", |_| two.attached_to("their-a").is_none())
            .await;
        two.kill().await;
        two.start();
        two.write("a.yaml", &theirs("a"));
        two.ready("a").await;
        two.check_marks("their-a").await;
        client.reads_on().await;
        client.leave().await;
        assert_eq!(one.attached_to("a").as_deref(), Some(SELF));
        one.start();
        one.ready("a").await;
        one.check_marks("a").await;
        assert_eq!(one.tap.mutations(), before.0, "nothing was to be done");
        one.finish().await;
        two.finish().await;
    });
}

#[test]
fn rows_for_two_appliances_go_to_the_one_that_they_name() {
    run_within(LIFE, async {
        let (one, two, mut engine) = sites().await;
        let engine = &mut engine;
        let insert = |appliance: &str, volume: &str| {
            format!(
                "INSERT INTO desired_volumes (appliance, name, volume_name, writer, size_gib, zone, \
                 disk_offering, vm, export, reclaim_policy, deletion_protection) VALUES \
                 ('{appliance}', 'a', '{volume}', 'engine', 1, 'zone-1', 'Custom OSSEA', 'self', 1, \
                 'Delete', 0)"
            )
        };
        let stands = |appliance: &str, condition: &str| {
            format!(
                "SELECT name FROM volume_status WHERE appliance = '{appliance}' AND name = 'a' \
                 AND {condition}"
            )
        };
        for (appliance, volume) in [("oma-1", "mine"), ("oma-2", "theirs")] {
            engine.asks(&insert(appliance, volume)).await;
        }
        for (site, appliance, volume, vm) in [
            (&one, "oma-1", "mine", SELF),
            (&two, "oma-2", "theirs", BESIDE),
        ] {
            until(site, engine, &stands(appliance, "ready = 1")).await;
            site.write_marks(volume).await;
            assert_eq!(site.attached_to(volume).as_deref(), Some(vm));
        }

        let before = one.tap.mutations();
        let theirs = "WHERE appliance = 'oma-2' AND name = 'a'";
        engine
            .asks(&format!(
                "UPDATE desired_volumes SET vm = 'none', export = 0 {theirs}"
            ))
            .await;
        two.until("detached", |_| two.attached_to("theirs").is_none())
            .await;
        engine
            .asks(&format!(
                "UPDATE desired_volumes SET deleted_at = CURRENT_TIMESTAMP {theirs}"
            ))
            .await;
        until(&two, engine, &stands("oma-2", "phase = 'Released'")).await;
        assert_eq!(
            two.tap.count("destroyVolume") + two.tap.count("deleteVolume"),
            1
        );
        engine
            .asks(&format!("DELETE FROM desired_volumes {theirs}"))
            .await;

        one.rests("beside the other").await;
        until(&one, engine, &stands("oma-1", "ready = 1")).await;
        one.check_marks("mine").await;
        assert_eq!(one.tap.mutations(), before, "nothing was its own");
        one.finish().await;
        two.finish().await;
    });
}
