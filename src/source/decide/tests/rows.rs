//! Rows beside files: what they say, who owns a name, and what an accident must not do.

use super::*;
use crate::model::DesiredRow;

/// `a` of 1 GiB: what every row has unless `more` says otherwise; an empty value is NULL.
pub(super) fn row(name: &str, more: &[(&'static str, &str)]) -> DesiredRow {
    let least = [
        ("writer", "engine"),
        ("size_gib", "1"),
        ("zone", "z"),
        ("disk_offering", "o"),
    ];
    let mut columns = BTreeMap::new();
    for &(column, value) in least.iter().chain(more) {
        columns.insert(column, value.to_owned());
    }
    columns.retain(|_, value| !value.is_empty());
    DesiredRow {
        name: name.to_owned(),
        columns,
    }
}

impl World {
    /// A world in which these rows were looked at.
    fn of_rows(rows: Vec<DesiredRow>) -> Self {
        let mut world = Self::new();
        world.rows.replace(rows);
        world.look();
        world
    }

    pub(super) fn sees(&mut self, rows: Vec<DesiredRow>) -> Look {
        self.rows.replace(rows);
        self.look()
    }

    fn said_of(&self, row: &str) -> String {
        let problems = &self.files[&Place::Row(row).path()].problems;
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        problems.join("\n")
    }
}

#[test]
fn a_row_is_the_document_that_a_file_would_be() {
    let full = row(
        "a",
        &[
            ("labels", r#"{"job":"j-1"}"#),
            ("size_gib", "40"),
            ("volume_name", "disk-0"),
            ("vm", "self"),
            ("device_id", "1"),
            ("move", "WhenFree"),
            ("export", "1"),
            ("export_name", "disk"),
            ("export_read_only", "1"),
            ("drain_timeout", "7m"),
            ("mode", "Observe"),
            ("suspend", "1"),
            ("reclaim_policy", "Detach"),
            ("deletion_protection", "0"),
            ("revision", "7"),
        ],
    );
    let mut world = World::of_rows(vec![full]);
    let text = "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\n\
        metadata: { name: a, labels: { job: j-1 } }\n\
        spec:\n  { size: 40GiB, zone: z, diskOffering: o, volumeName: disk-0, mode: Observe,\n    \
        suspend: true, reclaimPolicy: Detach, deletionProtection: false,\n    \
        attachTo: { vm: self, deviceId: 1, move: WhenFree },\n    \
        export: { name: disk, readOnly: true, drainTimeout: 7m } }\n";
    let written = crate::spec::parse("a.yaml", text.as_bytes()).unwrap();
    let volume = &world.specs[&"a".parse().unwrap()];
    assert_eq!(volume.document, written[0].document);
    assert_eq!(volume.owner.to_string(), "db:engine");
    assert_eq!(world.files["row:a"].revision, Some(7));
    assert!(world.look().change.is_empty(), "nothing to write");

    let adopts = [
        ("size_gib", ""),
        ("zone", ""),
        ("disk_offering", ""),
        ("existing_name", "pg"),
        ("vm", "none"),
        ("export_name", "is-not-enabled"),
    ];
    world.sees(vec![row("a", &adopts)]);
    let text = "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: { name: a }\n\
        spec: { existing: { name: pg }, attachTo: { vm: none } }\n";
    let written = crate::spec::parse("a.yaml", text.as_bytes()).unwrap();
    let volume = &world.specs[&"a".parse().unwrap()];
    assert_eq!(volume.document, written[0].document);
}

#[test]
fn every_mistake_names_its_column_and_leaves_in_force_what_was_accepted() {
    let mut world = World::of_rows(vec![row("a", &[])]);
    assert_eq!(
        (world.specs().as_str(), world.generation("a")),
        ("a:row", 1)
    );
    for (columns, says) in [
        (&[("size_gib", "40GB")][..], "column size_gib: "),
        (&[("size_gib", "-1")], "column size_gib: "),
        (&[("size_gib", "0")], "column size_gib: "),
        (&[("size_gib", "")], "column size_gib: missing"),
        (&[("zone", "")], "column zone: missing"),
        (&[("existing_id", "x")], "column existing_id: "),
        (&[("device_id", "3"), ("vm", "self")], "column device_id: "),
        (&[("device_id", "1")], "column vm: missing"),
        (&[("move", "Always"), ("vm", "self")], "column move: "),
        (&[("export", "yes")], "column export: expected 0, 1 or NULL"),
        (&[("suspend", "2")], "column suspend: "),
        (&[("drain_timeout", "5")], "column drain_timeout: "),
        (&[("mode", "enforce")], "column mode: "),
        (&[("reclaim_policy", "delete")], "column reclaim_policy: "),
        (&[("labels", "{")], "column labels: "),
        (&[("labels", r#"{"a":1}"#)], "column labels: a: "),
        (&[("writer", "")], "column writer: "),
        (&[("writer", "a b")], "column writer: "),
    ] {
        world.sees(vec![row("a", columns)]);
        assert_eq!(world.states(), "row:a:Invalid", "{columns:?}");
        let said = world.said_of("a");
        assert!(said.starts_with("row a: column "), "{said}");
        assert!(said.contains(says), "{columns:?}: {said}");
        assert_eq!(
            (world.specs().as_str(), world.generation("a")),
            ("a:row", 1)
        );
        assert!(world.look().change.is_empty(), "{columns:?}");
    }
    // All at once, as in a file.
    world.sees(vec![row(
        "a",
        &[("mode", "x"), ("move", "y"), ("vm", "self")],
    )]);
    assert_eq!(world.said_of("a").lines().count(), 2);
    world.sees(vec![row("a", &[("size_gib", "2")])]);
    assert_eq!(world.states(), "row:a:Accepted");
    assert_eq!(
        (world.specs().as_str(), world.generation("a")),
        ("a:row", 2)
    );
}

#[test]
fn a_row_whose_name_is_not_valid_declares_nothing() {
    let mut world = World::of_rows(vec![row("/specs/a.yaml", &[]), row("b", &[])]);
    assert_eq!(world.specs(), "b:row");
    assert!(world.said_of("/specs/a.yaml").contains("column name: "));
    // And it is not taken for the file of that path.
    world.write("a.yaml", &yaml("a=1"));
    world.look();
    assert_eq!(world.specs(), "a:a.yaml b:row");
}

#[test]
fn deleted_at_abandons_at_once_and_a_row_that_vanished_never() {
    let mut world = World::of_rows(vec![row("a", &[]), row("b", &[])]);
    world.sees(vec![row("a", &[("deleted_at", "now"), ("size_gib", "x")])]);
    assert_eq!(world.specs(), "a:- b:row");
    assert_eq!(world.states(), "row:a:Accepted row:b:Missing");
    for _ in 0..3 {
        let look = world.look();
        assert!(look.change.is_empty(), "{look:?}");
    }
    let said = world.said_of("b");
    assert!(said.contains("the row is not there"), "{said}");
    assert!(said.contains("insert it again with deleted_at"), "{said}");
    // The one comes back, and the other goes for good.
    world.sees(vec![row("a", &[]), row("b", &[("deleted_at", "now")])]);
    assert_eq!(world.specs(), "a:row b:-");
    assert_eq!(world.generation("a"), 1);
    world.sees(vec![row("a", &[])]);
    assert_eq!(
        world.states(),
        "row:a:Accepted",
        "nothing is owned, so forgotten"
    );
}

#[test]
fn a_row_that_was_deleted_on_purpose_is_no_rename_and_one_that_vanished_may_be() {
    let mut world = World::of_rows(vec![row("a", &[])]);
    world.sees(vec![row("a", &[("deleted_at", "now")]), row("b", &[])]);
    assert_eq!(world.specs(), "a:- b:row");
    world.sees(vec![row("c", &[])]);
    assert_eq!(world.specs(), "a:- b:row", "UPDATE … SET name = 'c'");
    assert_eq!(world.states(), "row:b:Missing row:c:RenameSuspected");
}

#[test]
fn a_name_has_one_owner_whether_file_or_row() {
    // The file had it first.
    let mut world = World::with(&[("a.yaml", &yaml("a=1"))]);
    world.sees(vec![row("a", &[("size_gib", "5")])]);
    assert_eq!(world.specs(), "a:a.yaml");
    assert_eq!(world.generation("a"), 1);
    assert_eq!(world.states(), "a.yaml:Conflict row:a:Conflict");
    let said = world.said_of("a");
    assert!(said.contains("belongs to /specs/a.yaml"), "{said}");
    assert!(said.contains("nothing of this row is accepted"), "{said}");
    let said = world.problems("a.yaml");
    assert!(said.contains("the row a of desired_volumes"), "{said}");
    assert!(said.contains("so this file counts"), "{said}");
    assert!(world.look().change.is_empty(), "said once");
    // Even where the row says that it is to go, the file stays.
    world.sees(vec![row("a", &[("deleted_at", "now")])]);
    assert_eq!(world.specs(), "a:a.yaml");
    assert_eq!(world.states(), "a.yaml:Accepted row:a:Accepted");
    // Once the file is gone, the row has the volume.
    world.sees(vec![row("a", &[("size_gib", "5")])]);
    world.delete("a.yaml");
    world.look();
    assert_eq!(
        (world.specs().as_str(), world.generation("a")),
        ("a:row", 2)
    );

    // The row had it first.
    world.write("b.yaml", &yaml("a=9"));
    world.look();
    assert_eq!(
        (world.specs().as_str(), world.generation("a")),
        ("a:row", 2)
    );
    assert_eq!(world.states(), "b.yaml:Conflict row:a:Conflict");
    assert!(world.said_of("a").contains("so this row counts"));

    // Nobody had it first.
    let mut world = World::new();
    world.write("a.yaml", &yaml("a=1"));
    world.sees(vec![row("a", &[])]);
    assert_eq!(world.specs(), "");
    assert_eq!(world.states(), "a.yaml:Conflict row:a:Conflict");
}

#[test]
fn each_source_is_judged_while_the_other_cannot_be_read() {
    let mut world = World::of_rows(vec![row("a", &[])]);
    world.write("b.yaml", &yaml("b=1"));
    world.look();
    world.readable = false;
    let look = world.sees(vec![
        row("a", &[("size_gib", "2")]),
        row("c", &[("size_gib", "3")]),
    ]);
    assert_eq!(
        look.directory,
        DirectoryState::Unreadable("away".to_owned())
    );
    assert_eq!(world.specs(), "a:row b:b.yaml c:row");
    assert_eq!(world.generation("a"), 2);
    world.readable = true;
    world.rows = DesiredRows::default();
    world.delete("b.yaml");
    world.write("d.yaml", &yaml("d=4"));
    world.look();
    world.look();
    assert_eq!(world.specs(), "a:row b:- c:row d:d.yaml");
    // A reading of some rows says nothing as long as not all were read once.
    world
        .rows
        .update(&BTreeSet::from(["a".to_owned()]), Vec::new());
    assert!(world.look().change.is_empty());
}

#[test]
fn another_writer_is_another_owner_of_the_same_generation() {
    let mut world = World::of_rows(vec![row("a", &[])]);
    world.sees(vec![row("a", &[("writer", "other")])]);
    let volume = &world.specs[&"a".parse().unwrap()];
    assert_eq!(
        (volume.owner.to_string().as_str(), volume.generation),
        ("db:other", 1)
    );
    assert!(world.look().change.is_empty());
}
