//! Handing a spec over: by whom it is written afterwards, and that nothing else changes.

use super::rows::row;
use super::*;
use crate::source::decide::own::{NotHandedOver, hand_over};

impl World {
    /// Hands `a` over, and looks.
    fn hands_over(&mut self, to: &str) -> Result<bool, NotHandedOver> {
        let to = Owner::try_from(to.to_owned()).expect("an owner");
        let scan = self.scan();
        let name = "a".parse().expect("a name");
        let document = hand_over(self.known(), &scan, &name, &to)?;
        let is_news = document.is_some();
        self.store(&SourceChange {
            accepted: document.into_iter().collect(),
            ..SourceChange::default()
        });
        self.look();
        Ok(is_news)
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
