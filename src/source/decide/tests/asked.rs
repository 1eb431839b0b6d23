//! What the API was told beside what files and rows say.

use super::rows::row;
use super::*;

impl World {
    /// Puts one `name=size`, and looks; whether that changed anything.
    fn puts(&mut self, volume: &str, expected: Option<u64>) -> Result<bool, Refused> {
        let parsed = crate::spec::parse("body", yaml(volume).as_bytes()).expect("valid");
        let [parsed] = <[_; 1]>::try_from(parsed).expect("one document");
        let document = AcceptedDocument {
            document: parsed.document,
            manifest: parsed.manifest,
            owner: Owner::Api,
        };
        let is_news = put(&self.specs, &document, expected)?;
        self.store(&SourceChange {
            accepted: is_news.then_some(document).into_iter().collect(),
            ..SourceChange::default()
        });
        self.look();
        Ok(is_news)
    }

    /// Deletes a spec, and looks; whether that changed anything.
    fn deletes(&mut self, name: &str) -> Result<bool, Refused> {
        let name: VolumeName = name.parse().expect("a name");
        let is_news = delete(&self.specs, &name)?;
        self.store(&SourceChange {
            abandoned: is_news.then_some(name).into_iter().collect(),
            ..SourceChange::default()
        });
        self.look();
        Ok(is_news)
    }

    fn said_to_api(&self, name: &str) -> String {
        let problems = &self.files[&Place::Api(name).path()].problems;
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        problems.join("\n")
    }
}

fn owned(by: &str) -> Refused {
    Refused::Owned {
        name: "a".parse().expect("a name"),
        owner: Owner::try_from(by.to_owned()).expect("an owner"),
    }
}

#[test]
fn what_the_api_was_told_is_in_force_until_it_is_told_otherwise() {
    let mut world = World::new();
    assert_eq!(world.puts("a=1", None), Ok(true));
    assert_eq!(
        (world.specs(), world.states()),
        ("a:api".into(), "api:a:Accepted".into())
    );
    assert!(world.look().change.is_empty(), "no writes");
    assert_eq!(world.puts("a=1", None), Ok(false), "again");
    assert_eq!(world.generation("a"), 1);
    assert_eq!(world.puts("a=2", None), Ok(true));
    assert_eq!(world.generation("a"), 2);

    // Whatever is read, or not: nothing of it is about the API.
    world.sees(Vec::new());
    world.device += 1;
    world.look();
    world.readable = false;
    world.look();
    assert_eq!(
        (world.specs(), world.states()),
        ("a:api".into(), "api:a:Accepted".into())
    );
    world.readable = true;

    assert_eq!(world.deletes("a"), Ok(true));
    assert_eq!(
        (world.specs(), world.states()),
        ("a:-".into(), String::new())
    );
    assert_eq!(world.deletes("a"), Ok(false), "again");
    assert_eq!(world.puts("a=2", None), Ok(true), "taken back");
    assert_eq!(world.specs(), "a:api");
    assert_eq!(world.generation("a"), 2);
}

#[test]
fn nothing_is_accepted_of_a_file_or_row_that_writes_what_the_api_has() {
    let mut world = World::new();
    world.puts("a=1", None).expect("nobody has it");
    world.write("a.yaml", &yaml("a=2 b=1"));
    world.sees(vec![row("a", &[("size_gib", "3")])]);
    assert_eq!(world.specs(), "a:api");
    assert_eq!(
        world.states(),
        "a.yaml:Conflict api:a:Conflict row:a:Conflict"
    );
    assert!(world.problems("a.yaml").contains("a belongs to the API"));
    assert_eq!(
        world.said_to_api("a"),
        "a is also written in /specs/a.yaml, the row a of desired_volumes; this API spec had it \
         first, so this API spec counts"
    );
    assert_eq!(world.puts("a=4", None), Ok(true), "its owner is heard");
    assert_eq!((world.specs(), world.generation("a")), ("a:api".into(), 2));

    world.write("a.yaml", &yaml("b=1"));
    world.sees(Vec::new());
    assert_eq!(world.states(), "a.yaml:Accepted api:a:Accepted");
    assert_eq!(world.specs(), "a:api b:a.yaml");

    // Whoever waits for the name gets it once the API gives it up.
    world.write("c.yaml", &yaml("a=4"));
    world.look();
    assert_eq!(world.deletes("a"), Ok(true));
    assert_eq!(world.specs(), "a:c.yaml b:a.yaml");
    assert_eq!(world.states(), "a.yaml:Accepted c.yaml:Accepted");
}

#[test]
fn the_api_may_not_touch_what_a_file_or_row_had_first() {
    let mut world = World::with(&[("a.yaml", &yaml("a=1")), ("z.yaml", &yaml("z=1"))]);
    let file = "file:/specs/a.yaml";
    assert_eq!(world.puts("a=1", None), Err(owned(file)));
    assert_eq!(world.puts("a=2", Some(1)), Err(owned(file)));
    assert_eq!(world.deletes("a"), Err(owned(file)));
    assert_eq!(
        owned(file).to_string(),
        "a belongs to file:/specs/a.yaml: change it there, or let the API have it with \
         volume-daemon own volume/a --to api"
    );
    assert_eq!(world.specs(), "a:a.yaml z:z.yaml");

    // A file that is not there may only be away; one that is gone has no say.
    world.delete("a.yaml");
    world.look_after(Duration::from_secs(1));
    assert_eq!(world.puts("a=1", None), Err(owned(file)));
    world.look();
    assert_eq!(world.specs(), "a:- z:z.yaml");
    assert_eq!(world.deletes("a"), Ok(false), "nobody asks for it any more");
    assert_eq!(world.puts("a=1", None), Ok(true));
    assert_eq!(world.specs(), "a:api z:z.yaml");

    let mut world = World::new();
    world.sees(vec![row("a", &[])]);
    assert_eq!(world.puts("a=1", None), Err(owned("db:engine")));
    assert_eq!(world.deletes("a"), Err(owned("db:engine")));
}

#[test]
fn a_call_may_say_which_version_it_is_about() {
    let mut world = World::new();
    let moved = |stored, expected| {
        Err(Refused::Moved {
            name: "a".parse().expect("a name"),
            stored,
            expected,
        })
    };
    assert_eq!(world.puts("a=1", Some(1)), moved(0, 1));
    assert_eq!(
        world.puts("a=1", Some(0)),
        Ok(true),
        "only if there is none"
    );
    assert_eq!(world.puts("a=1", Some(0)), moved(1, 0));
    assert_eq!(world.puts("a=2", Some(1)), Ok(true));
    assert_eq!(world.puts("a=3", Some(1)), moved(2, 1));
    assert_eq!(world.generation("a"), 2);
    let b = "b".parse().expect("a name");
    assert_eq!(world.deletes("b"), Err(Refused::NoSpec(b)));
}
