use std::time::Duration;

use uuid::Uuid;

use super::super::fixture::{
    NOW, blocked, later, plain as bare, progressing, ready, report, unknown,
};
use super::*;
use crate::cli::output::or_empty;
use crate::model::memory::{FailureClass, Intent, Outcome, Progress};
use crate::model::{Action, Cause, FileProblem, FileState, IntentId, JobId, Owner, VmId, VolumeId};
use crate::reconcile::report::FileVolume;
use crate::store::Settled;

pub(super) fn args(kind: Kind, name: Option<&str>) -> Args {
    Args {
        kind,
        name: name.map(str::to_owned),
        output: Output::Table,
        open: false,
        limit: None,
        watch: false,
        source: Source::default(),
    }
}

fn shown(args: &Args, report: &Report, wide: bool) -> Result<String, String> {
    let args = Args {
        output: if wide { Output::Wide } else { args.output },
        ..args.clone()
    };
    match list(
        &args,
        &Answer::Report(Box::new(report.clone())),
        later(NOW, 2),
    ) {
        Ok(text) => Ok(bare(&text)),
        Err(failure) => Err(format!("{failure}; {}", or_empty(failure.hint.as_ref()))),
    }
}

#[test]
fn volumes_are_one_aligned_line_each() {
    let report = report([
        ready("pgtest2-disk-0"),
        progressing("b"),
        blocked("c"),
        unknown("d"),
    ]);
    let expected = "\
NAME             PHASE         REASON              SIZE    VM                                     DEVICE     EXPORT                         READ
pgtest2-disk-0   Ready         -                   40GiB   pg                                     /dev/vdb   migration-vol-pgtest2-disk-0   14s
b                Progressing   Attach              -       -                                      -          -                              -
c                Blocked       ForeignAttachment   40GiB   00000000-0000-0000-0000-000000000008   -          -                              14s
d                Unknown       Observing           -       -                                      -          -                              -
";
    let text = shown(&args(Kind::Volumes, None), &report, false);
    assert_eq!(text.as_deref(), Ok(expected));
    let one = shown(&args(Kind::Volumes, Some("b")), &report, true).expect("found");
    assert_eq!(one.lines().count(), 2);
    assert!(one.contains("next: attach the volume to VM pg"), "{one}");
    assert!(
        one.contains("file:/etc/volume-daemon/specs/b.yaml"),
        "{one}"
    );
}

#[test]
fn an_unknown_name_is_an_error_with_the_nearest_one() {
    let report = report([ready("pgtest2-disk-0")]);
    assert_eq!(
        shown(&args(Kind::Volumes, Some("pgtest2-disk-1")), &report, false),
        Err("there is no volume named \"pgtest2-disk-1\"; did you mean pgtest2-disk-0?".to_owned())
    );
}

#[test]
fn exports_say_whose_they_are() {
    let mut report = report([ready("a"), ready("b"), ready("c")]);
    report.exports[1].proven = false;
    report.exports[2].draining = true;
    report.exports.push(ExportStatus {
        name: "backup".parse().expect("a name"),
        volume: None,
        read_only: true,
        ..report.exports[0].clone()
    });
    let expected = "\
NAME              VOLUME   SIZE    MODE   STATE
migration-vol-a   a        40GiB   rw     Proven
migration-vol-b   b        40GiB   rw     NotProven
migration-vol-c   c        40GiB   rw     Draining
backup            -        40GiB   ro     Foreign
";
    let text = shown(&args(Kind::Exports, None), &report, false);
    assert_eq!(text.as_deref(), Ok(expected));
}

#[test]
fn sources_say_how_old_they_are_and_what_fails() {
    let mut report = report([]);
    report.sources[2].ok = false;
    report.sources[2].message = Some("connection refused".to_owned());
    let expected = "\
NAME         STATE     READ   MESSAGE
cloudstack   Ok        14s    -
host         Ok        5s     -
nbd          Failing   6s     connection refused
specs        Ok        -      -
store        Ok        -      -

no spec files, no rows
";
    let text = shown(&args(Kind::Sources, None), &report, false);
    assert_eq!(text.as_deref(), Ok(expected));
}

#[test]
fn empty_lists_say_so() {
    let report = report([]);
    for (kind, text) in [
        (Kind::Volumes, "no volumes are declared\n"),
        (Kind::Exports, "the NBD server serves nothing\n"),
    ] {
        assert_eq!(
            shown(&args(kind, None), &report, false).as_deref(),
            Ok(text)
        );
    }
    assert_eq!(
        intents(&[], false, NOW),
        "no such calls are in the journal\n"
    );
}

pub(super) fn row(name: &str, progress: Progress, outcome: Option<Outcome>) -> JournalRow {
    JournalRow {
        intent: Intent {
            id: IntentId::new(Uuid::from_u128(5)),
            name: name.parse().expect("a name"),
            generation: 3,
            action: Action::Detach {
                volume: VolumeId::new(Uuid::from_u128(1)),
                vm: VmId::new(Uuid::from_u128(2)),
            },
            cause: Cause::Edited,
            created: NOW,
            expires: later(NOW, 60),
            progress,
        },
        owner: Owner::File("/specs/a.yaml".to_owned()),
        settled: outcome.map(|outcome| Settled {
            outcome,
            at: later(NOW, 7),
        }),
    }
}

#[test]
fn the_journal_shows_how_each_call_ended() {
    let job = Progress::Submitted(JobId::new(Uuid::from_u128(9)));
    let failed = Outcome::Failed {
        class: FailureClass::Refused,
        text: "not on that VM".to_owned(),
    };
    let rows = [
        row("a", Progress::Journalled, None),
        row("b", job.clone(), None),
        row("c", Progress::Undecided(Vec::new()), None),
        row("d", job.clone(), Some(Outcome::Succeeded { created: None })),
        row("e", job, Some(failed)),
        row("f", Progress::Journalled, Some(Outcome::NeverSent)),
    ];
    let text = bare(&intents(&rows, false, later(NOW, 192)));
    let states: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split("   ").map(str::trim).collect())
        .collect();
    assert_eq!(states[0].first(), Some(&"AGE"));
    let action = "detach 00000000-0000-0000-0000-000000000001 from VM \
                      00000000-0000-0000-0000-000000000002";
    for (line, name, state) in [
        (1, "a", "Sending"),
        (2, "b", "Running"),
        (3, "c", "Undecided"),
        (4, "d", "Succeeded"),
        (5, "e", "Failed"),
        (6, "f", "NeverSent"),
    ] {
        let cells: Vec<&str> = states[line]
            .iter()
            .copied()
            .filter(|c| !c.is_empty())
            .collect();
        assert_eq!(cells, ["3m12s", name, action, "edited", state]);
    }
    let wide = bare(&intents(&rows[4..5], true, later(NOW, 192)));
    for part in ["TOOK", " 7s ", "not on that VM", "file:/specs/a.yaml"] {
        assert!(wide.contains(part), "{part}: {wide}");
    }
}

#[test]
fn a_named_item_is_one_object_in_json() {
    let report = report([ready("a"), ready("b")]);
    let printed = |name| printed(&args(Kind::Volumes, name), &report);
    assert_eq!(printed(Some("b"))["name"], "b");
    assert_eq!(printed(None).as_array().map(Vec::len), Some(2));
}

pub(super) fn spec_file(name: &str, state: FileState, problems: &[&str]) -> FileStatus {
    FileStatus {
        path: format!("/etc/volume-daemon/specs/{name}"),
        state,
        since: NOW,
        read_age_ms: Some(3000),
        hash: "0123456789abcdef".to_owned(),
        revision: None,
        volumes: Vec::new(),
        problems: problems
            .iter()
            .map(|&text| FileProblem::from(text.to_owned()))
            .collect(),
    }
}

#[test]
fn spec_files_with_problems_come_first_and_good_ones_only_when_asked_for() {
    let mut report = report([]);
    let mut good = spec_file("a.yaml", FileState::Accepted, &[]);
    good.volumes = (1..=5)
        .map(|n| FileVolume {
            name: format!("a{n}").parse().expect("a name"),
            generation: n,
        })
        .collect();
    let mut bad = spec_file("b.yaml", FileState::Invalid, &["b.yaml:12:9: no unit"]);
    bad.problems[0].line = Some(12);
    bad.problems[0].column = Some(9);
    bad.problems[0].excerpt = Some("  size: 40".to_owned());
    bad.volumes.push(good.volumes[0].clone());
    let gone = spec_file("c.yaml", FileState::Missing, &["the file is not there"]);
    let mut row = good.clone();
    row.path = "row:a1".to_owned();
    report.files = vec![good.clone(), row];
    let text = shown(&args(Kind::Sources, None), &report, false).expect("shown");
    assert!(
        text.contains("1 spec file, 1 row, all accepted\n"),
        "{text}"
    );
    report.files = vec![good, bad, gone];
    let text = shown(&args(Kind::Sources, None), &report, false).expect("shown");
    let expected = "\
3 spec files, 2 not accepted as written

FILE     STATE     SINCE   IN FORCE
b.yaml   Invalid   2s      a1@1
c.yaml   Missing   2s      -

b.yaml:12:9: no unit
  12 |   size: 40
     |         ^

the file is not there
";
    let (_, files) = text.split_once("\n\n").expect("two parts");
    assert_eq!(files, expected);
    let wide = shown(&args(Kind::Sources, None), &report, true).expect("shown");
    assert!(wide.contains("a1@1, a2@2, a3@3, a4@4, a5@5"), "{wide}");
    assert!(wide.contains("0123456789abcdef"), "{wide}");

    // A file can be asked for by its name, and is one object.
    let by_name = args(Kind::Sources, Some("b.yaml"));
    let one = shown(&by_name, &report, false).expect("found");
    assert!(one.starts_with("FILE") && one.contains("no unit"), "{one}");
    let one = printed(&by_name, &report);
    assert_eq!(one["state"], "Invalid");
    assert_eq!(one["volumes"][0]["generation"], 1);
    assert_eq!(one["problems"][0]["column"], 9);
    let all = printed(&args(Kind::Sources, None), &report);
    assert_eq!(all[3]["files"].as_array().map(Vec::len), Some(3));
    assert!(all[0].get("files").is_none());
    let refused = shown(&args(Kind::Sources, Some("d.yaml")), &report, false);
    assert!(refused.is_err_and(|text| text.contains("no source, spec file or row")));
}

fn printed(args: &Args, report: &Report) -> serde_json::Value {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut io = Io {
        out: &mut out,
        err: &mut err,
        live: false,
    };
    json(args, &Answer::Report(Box::new(report.clone())), &mut io).expect("written");
    serde_json::from_slice(&out).expect("JSON")
}

#[test]
fn thousands_of_bad_files_stay_readable() {
    let mut report = report([]);
    report.files = (0..5000)
        .map(|n| spec_file(&format!("{n}.yaml"), FileState::Invalid, &["wrong"]))
        .collect();
    let text = shown(&args(Kind::Sources, None), &report, false).expect("shown");
    assert!(text.lines().count() < 100, "{}", text.lines().count());
    assert!(text.ends_with("and 4980 more: volume-daemon get sources -o wide\n"));
}

#[test]
fn a_long_line_is_shown_around_its_mistake() {
    let mut file = spec_file("a.yaml", FileState::Invalid, &["wrong"]);
    file.problems[0].line = Some(1);
    file.problems[0].column = Some(901);
    file.problems[0].excerpt = Some("x".repeat(900) + "!" + &"y".repeat(90));
    let reading = files::Reading {
        now: NOW,
        elapsed: Duration::ZERO,
    };
    let text = bare(&files::one(&file, reading));
    let lines: Vec<&str> = text.lines().collect();
    let [.., line, pointer] = lines.as_slice() else {
        panic!("{text}");
    };
    assert_eq!(line.find('!'), pointer.find('^'), "{text}");
    assert!(line.len() < 120, "{text}");
}
