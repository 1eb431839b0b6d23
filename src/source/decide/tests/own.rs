//! Handing a spec over: by whom it is written afterwards, and that nothing else changes.

use serde_json::Value;

use super::rows::row;
use super::*;
use crate::source::decide::own::{NotHandedOver, hand_over};

impl World {
    /// Hands `a` over, and looks.
    fn hands_over(&mut self, to: &str) -> Result<bool, NotHandedOver> {
        let to = Owner::try_from(to.to_owned()).expect("an owner");
        let scan = self.scan();
        let name = "a".parse().expect("a name");
        // The tests that store what was written are of the store.
        let stored = self.specs.contains_key(&name).then_some(Value::Null);
        let change = hand_over(self.known(), &scan, &name, &to, stored)?;
        self.store(change.as_ref().unwrap_or(&SourceChange::default()));
        self.look();
        Ok(change.is_some())
    }
}

#[test]
fn who_writes_the_same_may_take_a_spec_over_and_the_other_may_leave() {
    let mut world = World::with(&[("a.yaml", &yaml("a=1"))]);
    world.sees(vec![row("a", &[])]);
    assert_eq!(world.specs(), "a:a.yaml");
    assert_eq!(world.states(), "a.yaml:Conflict row:a:Conflict");

    assert_eq!(world.hands_over("db:engine"), Ok(true));
    assert_eq!(world.specs(), "a:row");
    assert_eq!(
        world.generation("a"),
        1,
        "nothing is asked for that was not before"
    );
    assert_eq!(world.hands_over("db:engine"), Ok(false), "again");
    world.write("a.yaml", &yaml("a=2"));
    world.look();
    assert_eq!(world.generation("a"), 1, "the file is not heard any more");
    world.write("a.yaml", &yaml("z=1"));
    world.look();
    assert_eq!(
        (world.specs().as_str(), world.states().as_str()),
        ("a:row z:a.yaml", "a.yaml:Accepted row:a:Accepted")
    );

    world.write("a.yaml", &yaml("a=1 z=1"));
    world.look();
    assert_eq!(world.hands_over("file:/specs/a.yaml"), Ok(true));
    assert_eq!(world.specs(), "a:a.yaml z:a.yaml", "and back");
    world.sees(Vec::new());
    assert_eq!(world.specs(), "a:a.yaml z:a.yaml");
    assert_eq!(world.states(), "a.yaml:Accepted");
}

#[test]
fn the_api_takes_over_what_is_in_force_and_gives_it_back() {
    let mut world = World::with(&[("a.yaml", &yaml("a=1 b=1"))]);
    assert_eq!(world.hands_over("api"), Ok(true));
    assert_eq!(
        (world.specs().as_str(), world.generation("a")),
        ("a:api b:a.yaml", 1)
    );
    assert_eq!(
        world.states(),
        "a.yaml:Conflict api:a:Conflict",
        "said though nothing in the file changed"
    );
    assert_eq!(world.hands_over("api"), Ok(false), "again");
    world.write("a.yaml", &yaml("a=2 b=2"));
    world.look();
    assert_eq!(
        (world.generation("a"), world.generation("b")),
        (1, 1),
        "not heard any more"
    );
    let why = world
        .hands_over("file:/specs/a.yaml")
        .expect_err("it says something else");
    assert!(why.to_string().contains("and its size differ"), "{why}");

    world.sees(vec![row("a", &[])]);
    assert_eq!(world.hands_over("db:engine"), Ok(true));
    assert_eq!(world.specs(), "a:row b:a.yaml");
    assert_eq!(world.hands_over("api"), Ok(true), "from a row");
    assert_eq!(
        world.states(),
        "a.yaml:Conflict api:a:Conflict row:a:Conflict"
    );

    world.write("a.yaml", &yaml("a=1 b=2"));
    world.sees(Vec::new());
    assert_eq!(world.hands_over("file:/specs/a.yaml"), Ok(true), "and back");
    assert_eq!(world.specs(), "a:a.yaml b:a.yaml");
    assert_eq!(world.states(), "a.yaml:Accepted");

    world.write("a.yaml", &yaml("b=2"));
    world.look();
    let why = world
        .hands_over("api")
        .expect_err("there is nothing to take over");
    assert!(why.to_string().starts_with("a is abandoned"), "{why}");
}

#[test]
fn nothing_is_handed_over_that_could_change_the_volume() {
    let mut world = World::with(&[("a.yaml", &yaml("a=1"))]);
    let refused =
        |world: &mut World, to: &str| world.hands_over(to).expect_err("refused").to_string();
    let why = refused(&mut world, "db:engine");
    assert!(
        why.starts_with(
            "db:engine has no valid document of a yet: let it write what file:/specs/a.yaml"
        ),
        "{why}"
    );
    for other in [
        &[("writer", "another")][..],
        &[("size_gib", "x")],
        &[("deleted_at", "now")],
    ] {
        world.sees(vec![row("a", other)]);
        assert_eq!(refused(&mut world, "db:engine"), why);
    }
    for (columns, field) in [
        (&[("size_gib", "2")][..], "and its size differ"),
        (&[("vm", "self")], "spec.attachTo differ"),
        (
            &[("vm", "self"), ("export", "1")],
            "spec.attachTo, spec.export differ",
        ),
        (
            &[("suspend", "1"), ("mode", "Observe")],
            "spec.mode, spec.suspend differ",
        ),
        (&[("reclaim_policy", "Detach")], "spec.reclaimPolicy differ"),
        (
            &[("deletion_protection", "0")],
            "spec.deletionProtection differ",
        ),
    ] {
        world.sees(vec![row("a", columns)]);
        let why = refused(&mut world, "db:engine");
        assert!(why.contains(field), "{why}");
    }
    world.sees(vec![row("a", &[("labels", r#"{"job":"j"}"#)])]);
    assert_eq!(
        world.hands_over("db:engine"),
        Ok(true),
        "labels are for people"
    );
    assert_eq!(
        refused(&mut World::new(), "db:engine"),
        "there is no spec a"
    );
}
