use uuid::Uuid;

use super::super::tests::{args, row, spec_file};
use super::*;
use crate::cli::fixture::{NOW, blocked, later, plain, progressing, ready, report, waiting};
use crate::model::memory::{Outcome, Progress};
use crate::model::{FileState, IntentId, JobId};
use crate::reconcile::report::VolumeStatus;
use crate::store::JournalRow;

/// What is printed for these answers, one second apart, each on its own.
fn watched(args: &Args, answers: impl IntoIterator<Item = Answer>) -> Vec<String> {
    let mut watch = Watch::default();
    let mut printed = Vec::new();
    for (seconds, answer) in (0..).zip(answers) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io {
            out: &mut out,
            err: &mut err,
            live: false,
        };
        let now = later(NOW, seconds);
        match seconds {
            0 => watch.begin(args, &answer, now, &mut io),
            _ => watch.go_on(args, &answer, now, &mut io),
        }
        .expect("printed");
        printed.push(plain(&String::from_utf8(out).expect("UTF-8")));
    }
    printed
}

fn of(volumes: &[VolumeStatus]) -> Answer {
    Answer::Report(Box::new(report(volumes.iter().cloned())))
}

#[test]
fn what_changes_is_added_below_in_the_same_columns() {
    let mut older = ready("pg-data");
    older.observed.age_ms = Some(99_000);
    let printed = watched(
        &args(Kind::Volumes, None),
        [
            of(&[ready("pg-data"), progressing("b")]),
            of(&[older.clone(), progressing("b")]),
            of(&[older.clone(), waiting("b")]),
            of(&[older.clone(), waiting("b"), waiting("c")]),
            of(&[waiting("b"), waiting("c")]),
        ],
    );
    let expected = [
        "\
NAME      PHASE         REASON   SIZE    VM   DEVICE     EXPORT                  READ
pg-data   Ready         -        40GiB   pg   /dev/vdb   migration-vol-pg-data   12s
b         Progressing   Attach   -       -    -          -                       -
",
        "",
        "\
b         Waiting       QuotaExceeded   -       -    -          -                       -
",
        "\
c         Waiting       QuotaExceeded   -       -    -          -                       -
",
        "\
pg-data   Gone          -               40GiB   pg   /dev/vdb   migration-vol-pg-data   102s
",
    ];
    assert_eq!(printed, expected);
}

#[test]
fn programs_get_one_document_a_line_and_no_ages() {
    let json = Args {
        output: Output::Json,
        ..args(Kind::Volumes, None)
    };
    let mut soon = waiting("b");
    soon.plan.next_in_ms = Some(1);
    let answers = [
        of(&[ready("a"), waiting("b")]),
        of(&[ready("a"), soon]),
        of(&[blocked("a")]),
    ];
    let printed = watched(&json, answers);
    let events: Vec<Vec<(String, String)>> = printed
        .iter()
        .map(|text| {
            let lines = text.lines().map(|line| {
                let event: Value = serde_json::from_str(line).expect("JSON");
                let text = |value: &Value| value.as_str().expect("text").to_owned();
                (text(&event["change"]), text(&event["object"]["name"]))
            });
            lines.collect()
        })
        .collect();
    let first = printed[0].lines().map(serde_json::from_str);
    let first: Vec<Value> = first.collect::<Result<_, _>>().expect("JSON");
    crate::cli::tests::documented::compare("get --watch", &first);
    let event = |change: &str, name: &str| (change.to_owned(), name.to_owned());
    assert_eq!(
        events,
        [
            vec![event("Added", "a"), event("Added", "b")],
            vec![],
            vec![event("Changed", "a"), event("Removed", "b")],
        ]
    );
}

#[test]
fn a_named_thing_may_go_and_return_but_must_be_there_at_first() {
    let one = args(Kind::Volumes, Some("a"));
    let printed = watched(
        &one,
        [of(&[ready("a")]), of(&[]), of(&[]), of(&[ready("a")])],
    );
    assert!(printed[1].starts_with("a      Gone "), "{printed:?}");
    assert_eq!(printed[2], "");
    assert!(printed[3].starts_with("a      Ready "), "{printed:?}");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut io = Io {
        out: &mut out,
        err: &mut err,
        live: false,
    };
    let refused = Watch::default().begin(&one, &of(&[ready("b")]), NOW, &mut io);
    assert!(refused.is_err_and(|error| error.to_string().contains("no volume named")));
}

fn call(number: u128, name: &str, outcome: Option<Outcome>) -> JournalRow {
    let job = Progress::Submitted(JobId::new(Uuid::from_u128(9)));
    let mut row = row(name, job, outcome);
    row.intent.id = IntentId::new(Uuid::from_u128(number));
    row
}

#[test]
fn calls_are_added_as_they_are_made_and_end() {
    let done = || Some(Outcome::Succeeded { created: None });
    let state = |text: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter(|line| !line.starts_with("AGE"));
        lines
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                (words[1].to_owned(), words[words.len() - 1].to_owned())
            })
            .collect()
    };
    let pair = |name: &str, state: &str| (name.to_owned(), state.to_owned());
    let all = watched(
        &args(Kind::Intents, None),
        [
            Answer::Journal(vec![call(1, "a", None)]),
            // The newest first, and the oldest not among the last few any more.
            Answer::Journal(vec![call(3, "c", None), call(2, "b", done())]),
        ],
    );
    assert_eq!(state(&all[0]), [pair("a", "Running")]);
    assert_eq!(
        state(&all[1]),
        [pair("b", "Succeeded"), pair("c", "Running")]
    );
    let open = Args {
        open: true,
        ..args(Kind::Intents, None)
    };
    let open = watched(
        &open,
        [
            Answer::Journal(vec![call(1, "a", None)]),
            Answer::Journal(Vec::new()),
        ],
    );
    assert_eq!(state(&open[1]), [pair("a", "Ended")]);
    let none_at_first = watched(
        &args(Kind::Intents, None),
        [
            Answer::Journal(Vec::new()),
            Answer::Journal(vec![call(1, "a", None)]),
            Answer::Journal(vec![call(1, "a", done())]),
        ],
    );
    assert_eq!(none_at_first[0], "no such calls are in the journal\n");
    assert!(none_at_first[1].starts_with("AGE "), "{none_at_first:?}");
    assert_eq!(none_at_first[2].lines().count(), 1, "{none_at_first:?}");
}

#[test]
fn a_spec_file_is_shown_with_what_is_wrong_with_it() {
    let with = |files: Vec<FileStatus>| {
        let mut report = report([]);
        report.files = files;
        Answer::Report(Box::new(report))
    };
    let good = spec_file("a.yaml", FileState::Accepted, &[]);
    let bad = spec_file("a.yaml", FileState::Invalid, &["a.yaml:3: no unit"]);
    let mut read_again = good.clone();
    read_again.read_age_ms = Some(1);
    let printed = watched(
        &args(Kind::Sources, None),
        [
            with(vec![good]),
            with(vec![read_again]),
            with(vec![bad]),
            with(vec![]),
        ],
    );
    assert!(
        printed[0].ends_with("1 spec file, all accepted\n"),
        "{printed:?}"
    );
    assert_eq!(printed[1], "");
    assert!(printed[2].contains("a.yaml   Invalid"), "{printed:?}");
    assert!(printed[2].ends_with("\na.yaml:3: no unit\n"), "{printed:?}");
    assert_eq!(printed[3], "/etc/volume-daemon/specs/a.yaml: gone\n");
}

#[test]
fn one_line_is_the_same_document() {
    let value = serde_json::json!({ "a": [1, { "b": "x\n  y \"z\"" }], "c": "  " });
    let pretty = serde_json::to_string_pretty(&value).expect("JSON");
    let line = one_line(&pretty);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), value);
}
