//! Tables of looks, one after another, and what holds after any of them.

mod asked;
mod own;
mod rows;

use std::fmt::Write as _;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::action::Mark;
use crate::model::{FileState, SpecUid, Timestamp, VolumeId};
use crate::source::DesiredRows;
use crate::source::files::judged;

const DIRECTORY: &str = "/specs";
const DEVICE: u64 = 1;
const LONG: Duration = Duration::from_secs(60);

/// What a test puts into the directory.
#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Text(String),
    Unreadable,
}

type Entries = BTreeMap<String, Entry>;

/// A store, a directory and the time, all in memory.
#[derive(Debug, Clone)]
struct World {
    entries: Entries,
    device: u64,
    readable: bool,
    rows: DesiredRows,
    files: BTreeMap<String, SourceFile>,
    specs: BTreeMap<VolumeName, DesiredVolume>,
    bindings: BTreeMap<VolumeName, Binding>,
    sightings: Sightings,
    now: Now,
    parsed: usize,
}

impl World {
    fn new() -> Self {
        Self {
            entries: Entries::new(),
            device: DEVICE,
            readable: true,
            rows: DesiredRows::default(),
            files: BTreeMap::new(),
            specs: BTreeMap::new(),
            bindings: BTreeMap::new(),
            sightings: Sightings::default(),
            now: Now {
                wall: Timestamp::from_millis(0),
                boot: BootTime::from_millis(0),
            },
            parsed: 0,
        }
    }

    /// A world in which these files were looked at.
    fn with(files: &[(&str, &str)]) -> Self {
        let mut world = Self::new();
        for (file, text) in files {
            world.write(file, text);
        }
        world.look();
        world
    }

    fn write(&mut self, file: &str, text: &str) {
        self.entries
            .insert(path(file), Entry::Text(text.to_owned()));
    }

    fn delete(&mut self, file: &str) {
        self.entries.remove(&path(file));
    }

    fn known(&self) -> Known<'_> {
        Known {
            files: &self.files,
            specs: &self.specs,
            bindings: &self.bindings,
        }
    }

    fn scan(&mut self) -> Scan {
        let judged = judged(&self.files);
        self.parsed = 0;
        let mut files = BTreeMap::new();
        for (path, entry) in &self.entries {
            let (hash, content) = match entry {
                Entry::Unreadable => (String::new(), Content::Unreadable("no".to_owned())),
                Entry::Text(text) if judged.get(path) == Some(&hash(text)) => {
                    (hash(text), Content::Unchanged)
                }
                Entry::Text(text) => {
                    self.parsed += 1;
                    let content = match crate::spec::parse(path, text.as_bytes()) {
                        Ok(documents) => Content::Documents(documents),
                        Err(problems) => Content::Invalid(vec![problems.to_string().into()]),
                    };
                    (hash(text), content)
                }
            };
            files.insert(path.clone(), ScannedFile { hash, content });
        }
        let listing = Listing {
            device: self.device,
            files,
        };
        Scan {
            directory: DIRECTORY.to_owned(),
            listing: if self.readable {
                Ok(listing)
            } else {
                Err("away".to_owned())
            },
            rows: self.rows.scan(&self.files),
        }
    }

    /// Looks, stores what changed as the store does, and lets a minute pass.
    fn look(&mut self) -> Look {
        self.look_after(LONG)
    }

    fn look_after(&mut self, pause: Duration) -> Look {
        self.now.wall = self.now.wall.plus(pause);
        self.now.boot = self.now.boot.plus(pause);
        let scan = self.scan();
        let look = decide(self.known(), &scan, &self.sightings, self.now);
        self.sightings = look.sightings.clone();
        self.store(&look.change);
        look
    }

    fn store(&mut self, change: &SourceChange) {
        for accepted in &change.accepted {
            let name = &accepted.document.name;
            let before = self.specs.get(name);
            let volume = DesiredVolume {
                uid: before.map_or(SpecUid::new(Uuid::from_u128(1)), |before| before.uid),
                generation: match before {
                    None => 1,
                    Some(before) if before.document == accepted.document => before.generation,
                    Some(before) => before.generation + 1,
                },
                document: accepted.document.clone(),
                owner: accepted.owner.clone(),
                presence: Presence::Declared,
            };
            self.specs.insert(name.clone(), volume);
        }
        for name in &change.abandoned {
            let volume = self.specs.get_mut(name).expect("only what is stored");
            assert_eq!(volume.presence, Presence::Declared, "abandoned once");
            volume.presence = Presence::Abandoned {
                counted: Duration::ZERO,
            };
        }
        for file in &change.files {
            self.files.insert(file.path.clone(), file.clone());
        }
        for path in &change.forgotten {
            assert!(self.files.remove(path).is_some(), "only what is stored");
        }
    }

    /// `a:a.yaml b:-` says that `a` is declared in `a.yaml`, and `b` abandoned.
    fn specs(&self) -> String {
        let mut text = String::new();
        for (name, volume) in &self.specs {
            let owner = match volume.place() {
                Some(Place::File(path)) => path.trim_start_matches("/specs/"),
                Some(Place::Row(_)) => "row",
                Some(Place::Api(_)) => "api",
                None => "-",
            };
            let _ = write!(text, "{name}:{owner} ");
        }
        text.trim_end().to_owned()
    }

    fn states(&self) -> String {
        let states = self.files.values().map(|file| {
            let name = file.path.trim_start_matches("/specs/");
            format!("{name}:{}", file.state)
        });
        states.collect::<Vec<_>>().join(" ")
    }

    fn generation(&self, of: &str) -> u64 {
        self.specs[&of.parse::<VolumeName>().unwrap()].generation
    }

    fn problems(&self, file: &str) -> String {
        self.files[&path(file)]
            .problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Stands for a hash: differs where the text does, and is never empty.
fn hash(text: &str) -> String {
    format!("hash of {text}")
}

fn path(file: &str) -> String {
    format!("{DIRECTORY}/{file}")
}

/// Documents, one for each `name=size` in `volumes`: `a=1 b=2`.
fn yaml(volumes: &str) -> String {
    let documents = volumes.split_whitespace().map(|volume| {
        let (name, gib) = volume.split_once('=').unwrap();
        format!(
            "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: {name} }}\n\
             spec: {{ size: {gib}GiB, zone: z, diskOffering: o }}\n"
        )
    });
    documents.collect::<Vec<_>>().join("---\n")
}

/// A document that adopts volume `n`.
fn adopting(name: &str, n: u128, gib: u64) -> String {
    format!(
        "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: {name} }}\n\
         spec: {{ existing: {{ id: {} }}, size: {gib}GiB }}\n",
        Uuid::from_u128(n)
    )
}

#[test]
fn nothing_to_do() {
    let mut world = World::new();
    let look = world.look();
    assert!(look.change.is_empty());
    assert_eq!(look.directory, DirectoryState::Readable);
}

#[test]
fn a_valid_file_is_accepted_once() {
    let mut world = World::with(&[("a.yaml", &yaml("a=1 b=2"))]);
    assert_eq!(world.specs(), "a:a.yaml b:a.yaml");
    assert_eq!(world.states(), "a.yaml:Accepted");
    let look = world.look();
    assert!(look.change.is_empty(), "no writes: {look:?}");
    assert_eq!(world.parsed, 0, "no parsing");
    world.write("a.yaml", &yaml("a=1 b=3"));
    let look = world.look();
    assert_eq!(look.change.accepted.len(), 1, "only what changed");
    assert_eq!((world.generation("a"), world.generation("b")), (1, 2));
}

#[test]
fn a_bad_file_leaves_in_force_what_it_said_and_disturbs_no_other() {
    for (bad, state) in [
        (Entry::Text("kind: [".to_owned()), "Invalid"),
        (Entry::Text(String::new()), "Invalid"),
        (Entry::Text(yaml("a=1 a=2")), "Invalid"),
        (Entry::Unreadable, "Unreadable"),
    ] {
        let mut world = World::with(&[("a.yaml", &yaml("a=1")), ("b.yaml", &yaml("b=2"))]);
        world.entries.insert(path("a.yaml"), bad.clone());
        world.write("b.yaml", &yaml("b=3"));
        world.write("c.yaml", &yaml("c=4"));
        for _ in 0..3 {
            world.look();
            assert_eq!(world.specs(), "a:a.yaml b:b.yaml c:c.yaml", "{bad:?}");
            assert_eq!(
                world.states(),
                format!("a.yaml:{state} b.yaml:Accepted c.yaml:Accepted")
            );
            assert_ne!(world.problems("a.yaml"), "");
        }
        assert!(world.look().change.is_empty(), "no writes");
        assert_eq!(world.parsed, 0, "an invalid file is not parsed again");
        world.write("a.yaml", &yaml("a=1"));
        world.look();
        assert_eq!(world.problems("a.yaml"), "");
        assert_eq!((world.generation("a"), world.generation("b")), (1, 2));
    }
}

#[test]
fn a_document_is_gone_when_its_file_is_read_without_it() {
    let mut world = World::with(&[("a.yaml", &yaml("a=1 b=2"))]);
    world.write("a.yaml", &yaml("a=1"));
    world.look();
    assert_eq!(world.specs(), "a:a.yaml b:-");
    world.write("a.yaml", &yaml("a=1 b=2"));
    world.look();
    assert_eq!(world.specs(), "a:a.yaml b:a.yaml");
    assert_eq!(world.generation("b"), 1, "the same again");
}

#[test]
fn a_missing_file_is_gone_when_seen_so_twice_some_time_apart() {
    let mut world = World::with(&[("a.yaml", &yaml("a=1")), ("b.yaml", &yaml("b=2"))]);
    world.delete("a.yaml");
    for pause in [LONG, Duration::from_secs(3), Duration::from_secs(3)] {
        let look = world.look_after(pause);
        assert_eq!(look.directory, DirectoryState::Readable);
        assert_eq!(world.specs(), "a:a.yaml b:b.yaml");
        assert_eq!(world.states(), "a.yaml:Missing b.yaml:Accepted");
    }
    world.look_after(GONE_AFTER);
    assert_eq!(world.specs(), "a:- b:b.yaml");
    assert_eq!(world.states(), "b.yaml:Accepted", "the row is gone too");
    assert!(world.look().change.is_empty());
}

#[test]
fn only_an_unbroken_absence_counts() {
    let absent = |world: &mut World| {
        world.delete("a.yaml");
        world.look();
    };
    for case in ["back", "unreadable", "empty", "restart"] {
        let mut world = World::with(&[("a.yaml", &yaml("a=1")), ("b.yaml", &yaml("b=2"))]);
        absent(&mut world);
        let entries = world.entries.clone();
        match case {
            "back" => world.write("a.yaml", &yaml("a=1")),
            "unreadable" => world.readable = false,
            "empty" => world.entries.clear(),
            _ => world.sightings = Sightings::default(),
        }
        if case != "restart" {
            world.look();
        }
        (world.entries, world.readable) = (entries, true);
        absent(&mut world);
        assert_eq!(world.specs(), "a:a.yaml b:b.yaml", "{case}");
        world.look();
        assert_eq!(world.specs(), "a:- b:b.yaml", "{case}");
    }
}

#[test]
fn a_directory_that_is_not_the_one_from_before_abandons_nothing() {
    let suspect = |look: &Look| matches!(look.directory, DirectoryState::Suspect(_));
    let start = World::with(&[("a.yaml", &yaml("a=1")), ("b.yaml", &yaml("b=2"))]);

    let mut empty = start.clone();
    empty.entries.clear();
    for _ in 0..5 {
        assert!(suspect(&empty.look()), "empty");
        assert_eq!(empty.states(), "a.yaml:Missing b.yaml:Missing");
    }
    assert_eq!(empty.specs(), "a:a.yaml b:b.yaml");

    let mut remounted = start.clone();
    remounted.device = 2;
    remounted.delete("a.yaml");
    for _ in 0..5 {
        assert!(suspect(&remounted.look()), "another file system");
    }
    assert_eq!(remounted.specs(), "a:a.yaml b:b.yaml");
    assert!(remounted.problems("a.yaml").contains("file system"));
    remounted.write("a.yaml", &yaml("a=1"));
    assert_eq!(remounted.look().directory, DirectoryState::Readable);
    remounted.delete("a.yaml");
    remounted.look();
    remounted.look();
    assert_eq!(remounted.specs(), "a:- b:b.yaml", "seen on the new one");

    let mut configured = start.clone();
    for volume in configured.specs.values_mut() {
        volume.owner = Owner::File("/elsewhere/x.yaml".to_owned());
    }
    configured.files.clear();
    configured.entries = Entries::new();
    configured.write("b.yaml", &yaml("b=2"));
    for _ in 0..5 {
        assert!(suspect(&configured.look()), "another directory");
    }
    assert_eq!(configured.specs(), "a:/elsewhere/x.yaml b:b.yaml");

    let mut away = start.clone();
    away.readable = false;
    for _ in 0..5 {
        let look = away.look();
        assert_eq!(
            look.directory,
            DirectoryState::Unreadable("away".to_owned())
        );
        assert!(look.change.is_empty());
    }
}

#[test]
fn the_first_file_to_own_a_name_keeps_it() {
    let mut world = World::with(&[("b.yaml", &yaml("x=1"))]);
    world.write("a.yaml", &yaml("x=9 y=2"));
    for _ in 0..2 {
        world.look();
        assert_eq!(
            world.specs(),
            "x:b.yaml",
            "nothing of the second, y included"
        );
        assert_eq!(world.states(), "a.yaml:Conflict b.yaml:Conflict");
        assert!(
            world
                .problems("a.yaml")
                .contains("x belongs to /specs/b.yaml")
        );
        assert!(
            world
                .problems("b.yaml")
                .contains("also written in /specs/a.yaml")
        );
    }
    assert!(world.look().change.is_empty());
    world.write("b.yaml", &yaml("x=3"));
    world.look();
    assert_eq!(
        world.generation("x"),
        2,
        "the second cannot block the first"
    );
    world.write("a.yaml", &yaml("y=2"));
    world.look();
    assert_eq!(world.specs(), "x:b.yaml y:a.yaml");
    assert_eq!(world.states(), "a.yaml:Accepted b.yaml:Accepted");
}

#[test]
fn of_two_that_come_together_neither_owns_the_name() {
    let mut world = World::with(&[
        ("a.yaml", &yaml("x=1")),
        ("b.yaml", &yaml("x=1 y=2")),
        ("c.yaml", &yaml("c=3")),
    ]);
    assert_eq!(world.specs(), "c:c.yaml");
    assert_eq!(
        world.states(),
        "a.yaml:Conflict b.yaml:Conflict c.yaml:Accepted"
    );
    world.delete("a.yaml");
    world.look();
    assert_eq!(world.specs(), "c:c.yaml x:b.yaml y:b.yaml");
    assert_eq!(world.states(), "b.yaml:Accepted c.yaml:Accepted");
}

#[test]
fn a_conflicting_file_keeps_in_force_what_it_owned() {
    let mut world = World::with(&[("a.yaml", &yaml("x=1")), ("b.yaml", &yaml("y=2"))]);
    // b drops y for x, which is a's; so y stays b's, and c cannot have it either.
    world.write("b.yaml", &yaml("x=1"));
    world.write("c.yaml", &yaml("y=7"));
    world.look();
    assert_eq!(world.specs(), "x:a.yaml y:b.yaml");
    assert_eq!(
        world.states(),
        "a.yaml:Conflict b.yaml:Conflict c.yaml:Conflict"
    );
    assert_eq!(world.generation("y"), 1);
    world.write("a.yaml", &yaml("z=3"));
    world.look();
    assert_eq!(world.specs(), "x:b.yaml y:c.yaml z:a.yaml");
}

#[test]
fn a_name_moves_with_its_document() {
    // (case, before, after, specs, generation of x)
    type Files<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Files, Files, &str, u64); 5] = [
        (
            "file renamed",
            &[("a.yaml", "x=1 y=2")],
            &[("b.yaml", "x=1 y=2")],
            "x:b.yaml y:b.yaml",
            1,
        ),
        (
            "file renamed and edited",
            &[("a.yaml", "x=1")],
            &[("b.yaml", "x=5")],
            "x:b.yaml",
            2,
        ),
        (
            "document moved",
            &[("a.yaml", "x=1 y=2"), ("b.yaml", "z=3")],
            &[("a.yaml", "y=2"), ("b.yaml", "x=1 z=3")],
            "x:b.yaml y:a.yaml z:b.yaml",
            1,
        ),
        (
            "contents swapped",
            &[("a.yaml", "x=1"), ("b.yaml", "y=2")],
            &[("a.yaml", "y=2"), ("b.yaml", "x=1")],
            "x:b.yaml y:a.yaml",
            1,
        ),
        (
            "file split",
            &[("a.yaml", "x=1 y=2")],
            &[("x.yaml", "x=1"), ("y.yaml", "y=2")],
            "x:x.yaml y:y.yaml",
            1,
        ),
    ];
    for (case, before, after, specs, generation) in cases {
        let mut world = World::new();
        for (file, volumes) in before {
            world.write(file, &yaml(volumes));
        }
        world.look();
        world.entries.clear();
        for (file, volumes) in after {
            world.write(file, &yaml(volumes));
        }
        let look = world.look();
        assert_eq!(look.change.abandoned, [], "{case}");
        assert_eq!(world.specs(), specs, "{case}");
        assert_eq!(world.generation("x"), generation, "{case}");
        let accepted = after.iter().map(|(file, _)| format!("{file}:Accepted"));
        let accepted: Vec<_> = accepted.collect();
        assert_eq!(world.states(), accepted.join(" "), "{case}");
        assert!(world.look().change.is_empty(), "{case}");
    }
}

#[test]
fn a_name_does_not_move_out_of_a_file_that_cannot_be_read() {
    for bad in [Entry::Unreadable, Entry::Text("kind: [".to_owned())] {
        let mut world = World::with(&[("a.yaml", &yaml("x=1"))]);
        world.entries.insert(path("a.yaml"), bad);
        world.write("b.yaml", &yaml("x=2"));
        world.look();
        assert_eq!(world.specs(), "x:a.yaml");
        assert!(world.states().ends_with("b.yaml:Conflict"));
        world.delete("a.yaml");
        world.look();
        assert_eq!(world.specs(), "x:b.yaml");
    }
}

#[test]
fn a_name_that_moved_into_two_files_waits() {
    let mut world = World::with(&[("a.yaml", &yaml("x=1 k=4"))]);
    world.write("a.yaml", &yaml("k=4"));
    world.write("b.yaml", &yaml("x=1"));
    world.write("c.yaml", &yaml("x=1"));
    for _ in 0..3 {
        world.look();
        assert_eq!(world.specs(), "k:a.yaml x:a.yaml", "not abandoned");
        assert_eq!(
            world.states(),
            "a.yaml:Conflict b.yaml:Conflict c.yaml:Conflict"
        );
    }
    assert!(world.problems("a.yaml").contains("x was here"));
    world.delete("c.yaml");
    world.look();
    assert_eq!(world.specs(), "k:a.yaml x:b.yaml");
    assert_eq!(world.states(), "a.yaml:Accepted b.yaml:Accepted");
}

#[test]
fn a_name_that_moved_into_a_file_that_waits_is_not_lost() {
    let mut world = World::with(&[("a.yaml", &yaml("x=1")), ("b.yaml", &yaml("y=2"))]);
    // x is a's and cannot go to c, so nothing of c counts, and y has no other place yet.
    world.write("b.yaml", &yaml("z=3"));
    world.write("c.yaml", &yaml("x=1 y=2"));
    for _ in 0..3 {
        world.look();
        assert_eq!(world.specs(), "x:a.yaml y:b.yaml z:b.yaml");
        assert!(
            world
                .problems("b.yaml")
                .contains("y was here and is now in /specs/c.yaml")
        );
    }
    world.delete("a.yaml");
    world.look();
    assert_eq!(world.specs(), "x:c.yaml y:c.yaml z:b.yaml");
    assert_eq!(world.states(), "b.yaml:Accepted c.yaml:Accepted");
}

#[test]
fn an_abandoned_name_returns_from_any_file() {
    let mut world = World::with(&[("a.yaml", &yaml("x=1 k=4"))]);
    world.write("a.yaml", &yaml("k=4"));
    world.look();
    world.write("b.yaml", &yaml("x=1"));
    world.look();
    assert_eq!(world.specs(), "k:a.yaml x:b.yaml");
    assert_eq!(world.generation("x"), 1);
}

#[test]
fn a_renamed_volume_waits_and_loses_nothing() {
    let rename = "old=1";
    for (case, file, after) in [
        ("in one file", "a.yaml", yaml("new=1 k=4")),
        ("into another file", "b.yaml", yaml("new=1")),
    ] {
        let mut world = World::with(&[("a.yaml", &yaml(&format!("{rename} k=4")))]);
        world.write("a.yaml", &yaml("k=4"));
        world.write(file, &after);
        for _ in 0..3 {
            world.look();
            assert_eq!(world.specs(), "k:a.yaml old:a.yaml", "{case}");
            assert!(
                world.problems(file).contains("new looks like old"),
                "{case}"
            );
            assert!(
                world.problems("a.yaml").contains("new looks like old"),
                "{case}"
            );
        }
        assert!(world.look().change.is_empty(), "{case}");
        let mut undone = world.clone();
        undone.delete("b.yaml");
        undone.write("a.yaml", &yaml("old=1 k=4"));
        undone.look();
        assert_eq!(undone.specs(), "k:a.yaml old:a.yaml", "{case}");
        assert_eq!(undone.states(), "a.yaml:Accepted", "{case}");
        let mut in_two_steps = world;
        in_two_steps.delete("b.yaml");
        in_two_steps.write("a.yaml", &yaml("k=4"));
        in_two_steps.look();
        assert_eq!(in_two_steps.specs(), "k:a.yaml old:-", "{case}");
        in_two_steps.write(file, &after);
        in_two_steps.look();
        assert!(in_two_steps.specs().contains("new:"), "{case}");
    }
}

#[test]
fn a_renamed_volume_in_a_renamed_file_waits_as_well() {
    let mut world = World::with(&[("a.yaml", &yaml("old=1")), ("k.yaml", &yaml("k=4"))]);
    world.delete("a.yaml");
    world.write("b.yaml", &yaml("new=1"));
    for _ in 0..3 {
        world.look();
        assert_eq!(world.specs(), "k:k.yaml old:a.yaml");
        assert_eq!(
            world.states(),
            "a.yaml:Missing b.yaml:RenameSuspected k.yaml:Accepted"
        );
    }
}

#[test]
fn adopting_the_volume_of_a_spec_that_went_is_a_rename() {
    let adopted = World::with(&[("a.yaml", &adopting("old", 7, 1))]);
    let mut created = World::with(&[("a.yaml", &yaml("old=1"))]);
    let binding = Binding {
        volume: VolumeId::new(Uuid::from_u128(7)),
        uid: SpecUid::new(Uuid::from_u128(1)),
        mark: Mark::Created,
    };
    created.bindings.insert("old".parse().unwrap(), binding);
    for mut world in [adopted, created] {
        world.write("a.yaml", &adopting("new", 7, 9));
        world.look();
        assert_eq!(world.specs(), "old:a.yaml");
        assert_eq!(world.states(), "a.yaml:RenameSuspected");
        world.write("a.yaml", &adopting("new", 8, 9));
        world.look();
        assert_eq!(world.specs(), "new:a.yaml old:-", "another volume");
    }
}

#[test]
fn what_is_said_about_a_thousand_files_is_bounded() {
    let mut world = World::with(&[("k.yaml", &yaml("k=4"))]);
    for n in 0..300 {
        world.write(&format!("{n:03}.yaml"), &yaml("x=1"));
    }
    world.look();
    assert_eq!(world.specs(), "k:k.yaml");
    let problems = world.problems("007.yaml");
    let others = "/specs/000.yaml, /specs/001.yaml, /specs/002.yaml and 296 more,";
    assert!(problems.contains(others), "{problems}");

    let fleet = |prefix: &str| {
        let names = (0..60).map(|n| format!("{prefix}{n}=1"));
        yaml(&names.collect::<Vec<_>>().join(" "))
    };
    let mut world = World::with(&[("a.yaml", &fleet("old"))]);
    world.write("a.yaml", &fleet("new"));
    world.look();
    assert_eq!(world.files[&path("a.yaml")].problems.len(), 20);
    assert!(!world.specs().contains("new") && !world.specs().contains(":-"));
}

/// A file of any of four names; every file may use each, so that conflicts and moves
/// happen. Renames as well, unless each name has a size of its own.
fn entry(own_sizes: bool) -> impl Strategy<Value = Option<Entry>> {
    let valid = prop::collection::btree_map(0..4_usize, 1..3_usize, 1..4).prop_map(move |names| {
        let volumes = names.iter().map(|(name, version)| {
            let gib = if own_sizes {
                version + 10 * name
            } else {
                *version
            };
            format!("v{name}={gib}")
        });
        Some(Entry::Text(yaml(&volumes.collect::<Vec<_>>().join(" "))))
    });
    prop_oneof![
        5 => valid,
        2 => Just(None),
        1 => Just(Some(Entry::Unreadable)),
        1 => Just(Some(Entry::Text("kind: [".to_owned()))),
    ]
}

fn directory(own_sizes: bool) -> impl Strategy<Value = Entries> {
    prop::collection::vec(entry(own_sizes), 3).prop_map(|entries| {
        let named = entries.into_iter().enumerate();
        let present = named.filter_map(|(n, entry)| Some((path(&format!("{n}.yaml")), entry?)));
        present.collect()
    })
}

/// A directory in which each name is in one valid file at most, and that is not empty.
fn orderly() -> impl Strategy<Value = Vec<(String, String)>> {
    let volume = prop::option::of((0..3_usize, 1..3_usize));
    prop::collection::vec(volume, 4).prop_map(|volumes| {
        let mut files: BTreeMap<usize, String> = BTreeMap::new();
        for (name, volume) in volumes.into_iter().enumerate() {
            if let Some((file, version)) = volume {
                let text = files.entry(file).or_default();
                let _ = write!(text, "v{name}={} ", version + 10 * name);
            }
        }
        let files = files.into_iter();
        let files = files.map(|(file, volumes)| (format!("{file}.yaml"), volumes));
        files
            .chain([("other.yaml".to_owned(), "other=999".to_owned())])
            .collect()
    })
}

/// One step of a history: what is in the directory, whether it can be read, on which device.
fn step() -> impl Strategy<Value = (Entries, bool, u64)> {
    (
        directory(false),
        prop::bool::weighted(0.9),
        prop_oneof![9 => Just(DEVICE), 1 => Just(DEVICE + 1)],
    )
}

/// Whether the text of a file that can be read declares `name`.
fn declares(entry: &Entry, name: &VolumeName) -> bool {
    match entry {
        Entry::Text(text) => text.contains(&format!("name: {name} ")),
        Entry::Unreadable => false,
    }
}

fn is_valid(entry: &Entry) -> bool {
    matches!(entry, Entry::Text(text) if text.starts_with("apiVersion"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_directory_that_stands_still_settles(history in prop::collection::vec(step(), 1..6)) {
        let mut world = World::new();
        for (entries, readable, device) in history {
            (world.entries, world.readable, world.device) = (entries, readable, device);
            world.look();
        }
        for _ in 0..3 {
            world.look();
        }
        let look = world.look();
        prop_assert!(look.change.is_empty(), "{look:?}");
    }

    #[test]
    fn nothing_is_abandoned_without_proof(history in prop::collection::vec(step(), 1..8)) {
        let mut world = World::new();
        let mut before_last: Option<Entries> = None;
        for (entries, readable, device) in history {
            (world.entries, world.readable, world.device) = (entries.clone(), readable, device);
            let (specs, files) = (world.specs.clone(), world.files.clone());
            let look = world.look();
            for name in &look.change.abandoned {
                let Owner::File(owner) = &specs[name].owner else {
                    unreachable!()
                };
                prop_assert!(readable && !entries.is_empty());
                prop_assert!(!entries.values().any(|e| is_valid(e) && declares(e, name)));
                match entries.get(owner) {
                    Some(entry) => prop_assert!(is_valid(entry)),
                    None => {
                        let twice = before_last.as_ref().is_some_and(|e| {
                            !e.is_empty() && !e.contains_key(owner)
                        });
                        prop_assert!(twice, "{owner} was there the time before");
                        prop_assert_eq!(files[owner].device, device);
                    }
                }
            }
            before_last = readable.then_some(entries);
        }
    }

    #[test]
    fn one_file_for_each_name_and_all_or_nothing_of_each(
        history in prop::collection::vec(step(), 1..8),
    ) {
        let mut world = World::new();
        for (entries, readable, device) in history {
            (world.entries, world.readable, world.device) = (entries, readable, device);
            let look = world.look();
            let mut written: BTreeMap<&VolumeName, &Owner> = BTreeMap::new();
            for accepted in &look.change.accepted {
                let twice = written.insert(&accepted.document.name, &accepted.owner);
                prop_assert_eq!(twice, None);
            }
            for (path, entry) in world.entries.iter().filter(|(_, entry)| is_valid(entry)) {
                let Some(file) = world.files.get(path) else { continue };
                if file.state != FileState::Accepted || !world.readable {
                    continue;
                }
                let owned = world.specs.values().filter(|volume| {
                    volume.presence == Presence::Declared
                        && volume.owner == Owner::File(path.clone())
                });
                let owned: BTreeSet<_> = owned.map(DesiredVolume::name).collect();
                prop_assert!(owned.iter().all(|name| declares(entry, name)));
                let Entry::Text(text) = entry else { unreachable!() };
                prop_assert_eq!(owned.len(), text.matches("kind: Volume").count());
            }
        }
    }

    #[test]
    fn the_end_depends_on_the_last_contents_only(
        history in prop::collection::vec(directory(true), 0..6),
        last in orderly(),
    ) {
        let mut world = World::new();
        for entries in history {
            world.entries = entries;
            world.look();
        }
        world.entries.clear();
        let mut fresh = World::new();
        for (file, volumes) in &last {
            world.write(file, &yaml(volumes));
            fresh.write(file, &yaml(volumes));
        }
        fresh.look();
        for _ in 0..3 {
            world.look();
        }
        world.specs.retain(|_, volume| volume.presence == Presence::Declared);
        prop_assert_eq!(world.specs(), fresh.specs());
        prop_assert_eq!(world.states(), fresh.states());
        for (name, volume) in &world.specs {
            prop_assert_eq!(&volume.document, &fresh.specs[name].document);
        }
    }
}
