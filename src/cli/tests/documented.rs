//! docs/output.md against what is really answered: every member of an answer is written there with
//! its type, and everything that is written there occurs.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::routing::get;
use serde_json::Value;
use uuid::Uuid;

use super::super::fixture::{
    NOW, episode, frozen, ghost, held, in_flight, later, over, progressing, waiting,
};
use super::super::history::tests::everything as everything_that_happened;
use super::*;
use crate::api::specs::SpecAnswer;
use crate::model::action::{Claim, Mark};
use crate::model::memory::{FailureClass, Intent, Outcome, Progress};
use crate::model::{
    Action, ByteSize, Cause, FileProblem, FileState, InstanceId, IntentId, JobId, OfferingId,
    Owner, SpecUid, VmId, VolumeId, ZoneId,
};
use crate::plan::episode::{Culprit, Ending, Episode};
use crate::reconcile::report::{FileStatus, FileVolume, HostDevice, PauseStatus, Report};
use crate::reconcile::specs::Done;
use crate::store::{JournalRow, Settled, SpecPresence, StoredSpec};

const DOCUMENT: &str = include_str!("../../../docs/output.md");

/// What stands in the table of one section: the types of each member, and whether its own members
/// are described elsewhere.
struct Written {
    types: BTreeSet<&'static str>,
    optional: bool,
    elsewhere: bool,
}

fn written(section: &str) -> BTreeMap<&'static str, Written> {
    let (_, text) = DOCUMENT
        .split_once(&format!("\n## {section}\n"))
        .unwrap_or_else(|| panic!("docs/output.md has no section {section}"));
    let text = text.split("\n## ").next().unwrap_or_default();
    let rows = text.lines().filter_map(|line| {
        let (member, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let (types, meaning) = rest.split_once(" | ").expect("three columns");
        let (types, optional) = match types.strip_suffix(", optional") {
            Some(types) => (types, true),
            None => (types, false),
        };
        let written = Written {
            types: types.split(" or ").map(kind).collect(),
            optional,
            elsewhere: meaning.starts_with("As "),
        };
        Some((member, written))
    });
    rows.collect()
}

/// The JSON type of what the document calls so.
fn kind(word: &str) -> &'static str {
    match word {
        "text" | "time" | "id" => "text",
        "number" | "bytes" | "ms" => "number",
        "boolean" => "boolean",
        "list" => "list",
        "object" => "object",
        "null" => "null",
        other => panic!("docs/output.md: {other:?} is no type"),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// How often each member occurs with which type, and how often it could have.
#[derive(Default)]
struct Found {
    types: BTreeMap<String, BTreeSet<&'static str>>,
    times: BTreeMap<String, usize>,
}

impl Found {
    fn take(&mut self, value: &Value, path: &str, elsewhere: &BTreeSet<&str>) {
        if elsewhere.contains(path) {
            return;
        }
        match value {
            Value::Object(members) => {
                *self.times.entry(format!("{path}{{}}")).or_default() += 1;
                for (key, member) in members {
                    let path = match path {
                        "" => key.clone(),
                        path => format!("{path}.{key}"),
                    };
                    self.types
                        .entry(path.clone())
                        .or_default()
                        .insert(kind_of(member));
                    *self.times.entry(path.clone()).or_default() += 1;
                    self.take(member, &path, elsewhere);
                }
            }
            Value::Array(items) => {
                for item in items.iter().filter(|item| item.is_object()) {
                    self.take(item, &format!("{path}[]"), elsewhere);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Whether every object that could have the member has it.
    fn is_always_there(&self, member: &str) -> bool {
        let parent = member.rsplit_once('.').map_or("", |(parent, _)| parent);
        self.times.get(member) == self.times.get(&format!("{parent}{{}}"))
    }
}

/// Holds the section against these answers.
pub(in crate::cli) fn compare(section: &str, answers: &[Value]) {
    let written = written(section);
    let elsewhere: BTreeSet<String> = written
        .iter()
        .filter(|(_, one)| one.elsewhere)
        .flat_map(|(member, _)| [(*member).to_owned(), format!("{member}[]")])
        .collect();
    let elsewhere = elsewhere.iter().map(String::as_str).collect();
    let mut found = Found::default();
    for answer in answers {
        found.take(answer, "", &elsewhere);
    }
    let members: Vec<&str> = found.types.keys().map(String::as_str).collect();
    let known: Vec<&str> = written.keys().copied().collect();
    assert_eq!(known, members, "docs/output.md, {section}");
    for (member, one) in &written {
        let types = &found.types[*member];
        assert!(
            types.is_subset(&one.types),
            "{section}, {member}: {types:?}"
        );
        let missing: Vec<_> = one
            .types
            .difference(types)
            .filter(|word| **word != "null")
            .collect();
        assert!(
            missing.is_empty(),
            "{section}, {member} is never {missing:?}"
        );
        assert_eq!(
            found.is_always_there(member),
            !one.optional,
            "{section}, {member}: optional or not"
        );
    }
}

/// A report in which everything occurs.
fn everything() -> Report {
    let mut report = report([
        ready("a"),
        blocked("b"),
        in_flight("c"),
        waiting("d"),
        held("e"),
        progressing("f"),
    ]);
    report.volumes[0].paused = Some(PauseStatus {
        until: NOW,
        reason: "restore".to_owned(),
    });
    report.frozen = Some(frozen("too many at once"));
    report.sources[2].ok = false;
    report.sources[2].message = Some("connection refused".to_owned());
    let problem = FileProblem {
        line: Some(3),
        column: Some(9),
        excerpt: Some("  size: 40".to_owned()),
        ..FileProblem::from("no unit".to_owned())
    };
    let file = FileStatus {
        path: "/specs/a.yaml".to_owned(),
        state: FileState::Invalid,
        since: NOW,
        read_age_ms: Some(10),
        hash: "0123".to_owned(),
        revision: None,
        volumes: vec![FileVolume {
            name: "a".parse().expect("a name"),
            generation: 3,
        }],
        problems: vec![problem, FileProblem::from("and more".to_owned())],
    };
    report.files.push(FileStatus {
        path: "row:b".to_owned(),
        revision: Some(3),
        ..file.clone()
    });
    report.files.push(file);
    report.devices = vec![
        ghost(),
        HostDevice {
            serial: None,
            volume: Some("a".parse().expect("a name")),
            volume_id: Some(VolumeId::new(Uuid::from_u128(1))),
            message: None,
            ..ghost()
        },
    ];
    report
}

/// Calls of every kind, with every end.
fn calls() -> Vec<JournalRow> {
    let id = |number: u128| Uuid::from_u128(number);
    let (volume, vm) = (VolumeId::new(id(1)), VmId::new(id(2)));
    let claim = Claim {
        instance: InstanceId::new(id(3)),
        spec: SpecUid::new(id(4)),
        mark: Mark::Created,
    };
    let submitted = || Progress::Submitted(JobId::new(id(5)));
    let created = Some(volume);
    let text = || "no room".to_owned();
    let failed = Outcome::Failed {
        class: FailureClass::Quota,
        text: text(),
    };
    let create = || Action::Create {
        volume_name: "a".to_owned(),
        size: ByteSize::gib(40),
        zone: ZoneId::new(id(6)),
        offering: OfferingId::new(id(7)),
    };
    let grow = Action::Grow {
        volume,
        vm: Some(vm),
        from: ByteSize::gib(1),
        to: ByteSize::gib(2),
    };
    let attach = Action::Attach {
        volume,
        vm,
        device_id: Some(1),
    };
    let done = |created| Some(Outcome::Succeeded { created });
    [
        (create(), submitted(), done(created)),
        (create(), Progress::Undecided(vec![volume]), None),
        (Action::Tag { volume, claim }, submitted(), done(None)),
        (grow, submitted(), Some(failed)),
        (attach, submitted(), Some(Outcome::Lost { text: text() })),
        (
            Action::Detach { volume, vm },
            Progress::Journalled,
            Some(Outcome::NeverSent),
        ),
    ]
    .into_iter()
    .map(|(action, progress, outcome)| JournalRow {
        intent: Intent {
            id: IntentId::new(id(8)),
            name: "a".parse().expect("a name"),
            generation: 3,
            action,
            cause: Cause::Declared,
            created: NOW,
            expires: later(NOW, 60),
            progress,
        },
        owner: Owner::File("/specs/a.yaml".to_owned()),
        settled: outcome.map(|outcome| Settled { outcome, at: NOW }),
    })
    .collect()
}

/// Differences of every kind of end.
fn episodes() -> Vec<Episode> {
    let call = IntentId::new(Uuid::from_u128(8));
    let ends = [
        Ending::Healed { intent: Some(call) },
        Ending::Healed { intent: None },
        Ending::ByItself,
    ];
    let ended = ends.map(|ending| over(episode("a", NOW), later(NOW, 9), ending));
    let explained = Episode {
        who: Some(Culprit {
            account: "ops".to_owned(),
            user: "kim".to_owned(),
            event: "VOLUME.DETACH".to_owned(),
            at: NOW,
        }),
        ..episode("b", NOW)
    };
    ended.into_iter().chain([explained]).collect()
}

fn objects(answer: &str) -> Vec<Value> {
    match serde_json::from_str(answer).expect("JSON") {
        Value::Array(items) => items,
        one => vec![one],
    }
}

#[tokio::test]
async fn every_member_of_an_answer_is_documented_and_no_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = dir.path().join("bad.yaml");
    std::fs::write(
        &spec,
        "kind: Pod\n---\nkind: Volume\nspec: { size: 40GB }\n",
    )
    .expect("written");
    let spec = spec.to_str().expect("UTF-8");
    let report = everything();
    let router = daemon(vec![report.clone()])
        .route("/api/v1/intents", get(|| async { Json(calls()) }))
        .route("/api/v1/episodes", get(|| async { Json(episodes()) }))
        .route(
            "/api/v1/history",
            get(|| async { Json(everything_that_happened()) }),
        );
    let address = serve_unix(router, &dir.path().join("api.sock"));
    for (section, arguments) in [
        ("get volumes", &["get", "volumes"] as &[&str]),
        ("get exports", &["get", "exports"]),
        ("get devices", &["get", "devices"]),
        ("get sources", &["get", "sources"]),
        ("get intents", &["get", "intents"]),
        ("plan", &["plan"]),
        ("drift", &["drift"]),
        ("drift --since", &["drift", "--since", "24h"]),
        ("history", &["history", "pg"]),
        ("history --diff", &["history", "pg", "--diff", "1", "3"]),
        ("validate", &["validate", spec]),
    ] {
        let arguments = [arguments, &["-o", "json"]].concat();
        let (_, out, err) = ran(&address, &arguments).await;
        assert_eq!(err, "", "{section}");
        compare(section, &objects(&out));
    }
    compare("status", &[serde_json::to_value(&report).expect("JSON")]);
}

#[test]
fn the_specs_and_what_calls_do_to_them_are_documented() {
    let json = |answer: serde_json::Result<Value>| answer.expect("it is JSON");
    let name: crate::model::VolumeName = "a".parse().expect("a name");
    let stored = StoredSpec {
        name: name.clone(),
        owner: Owner::Api,
        generation: 1,
        presence: SpecPresence::Declared,
        manifest: serde_json::json!({ "kind": "Volume" }),
    };
    compare("specs", &[json(serde_json::to_value(stored))]);
    let answer = SpecAnswer {
        name,
        owner: Owner::Api,
        generation: 1,
        result: Done::Created,
    };
    compare(
        "specs: PUT and DELETE",
        &[json(serde_json::to_value(answer))],
    );
}
