use super::super::fixture::{NOW, blocked, frozen, held, later, plain, progressing, ready, report};
use super::super::fixture::{released, unknown, waiting};
use super::*;

fn shown(report: &Report, all: bool) -> String {
    plain(&text(report, all, later(NOW, 2)))
}

#[test]
fn nothing_to_do_is_one_line() {
    let report = report([ready("a"), ready("b")]);
    assert_eq!(shown(&report, false), "nothing to do now, 2 in sync\n");
    assert_eq!(exit(&report), Exit::Fine);
    let none = super::super::fixture::report([]);
    assert_eq!(shown(&none, false), "no volumes are declared\n");
    assert_eq!(exit(&none), Exit::Fine);
}

#[test]
fn every_group_shows_its_whole_path_with_reasons() {
    let report = report([
        ready("a"),
        progressing("b"),
        progressing("c"),
        waiting("d"),
        blocked("e"),
        held("f"),
        released("g"),
    ]);
    let expected = "\
To do now
  b
    1. attach the volume to VM pg
       the spec asks for this VM
    2. export it as migration-vol-b
       the spec asks for an export
  c
    1. attach the volume to VM pg
       the spec asks for this VM
    2. export it as migration-vol-c
       the spec asks for an export

Waiting
  d
    QuotaExceeded: attempt 2 failed and will be repeated: no room
    due in 28s
    1. create d with 40GiB
       there is no volume yet

Blocked
  e
    ForeignAttachment: attached to VM x; detach it there
    1. attach the volume to VM pg
       the spec asks for this VM

Held back by the spec
  f
    Held: the spec says suspend: true, so this is not done
    1. attach the volume to VM pg
       the spec asks for this VM

2 volumes to change, 1 waiting, 1 blocked, 1 held, 1 in sync, 1 released
";
    assert_eq!(shown(&report, false), expected);
}

#[test]
fn all_lists_the_quiet_ones() {
    let report = report([ready("a"), released("g")]);
    let expected = "\
In sync
  a

Released
  g

nothing to do now, 1 in sync, 1 released
";
    assert_eq!(shown(&report, true), expected);
}

#[test]
fn what_cannot_be_read_and_what_is_frozen_comes_first() {
    let mut report = report([ready("a")]);
    report.sources[0].ok = false;
    report.sources[0].message = Some("connection refused".to_owned());
    report.frozen = Some(frozen("4 of 9 volumes vanished"));
    let expected = "\
warning: cloudstack: connection refused
warning: implied steps are frozen: 4 of 9 volumes vanished
volume-daemon approve shows them

nothing to do now, 1 in sync
";
    assert_eq!(shown(&report, false), expected);
}

#[test]
fn a_person_counts_more_than_work_and_work_more_than_nothing() {
    let of = |volumes: Vec<VolumeStatus>| exit(&report(volumes));
    for (volumes, expected) in [
        (vec![], Exit::Fine),
        (vec![ready("a")], Exit::Fine),
        (vec![released("a")], Exit::Fine),
        (vec![held("a"), ready("b")], Exit::Fine),
        (vec![progressing("a"), ready("b")], Exit::Differences),
        (vec![waiting("a")], Exit::Differences),
        (vec![unknown("a")], Exit::Differences),
        (vec![held("a"), waiting("b")], Exit::Differences),
        (vec![progressing("a"), blocked("b")], Exit::Blocked),
    ] {
        assert_eq!(of(volumes.clone()), expected, "{volumes:?}");
    }
    let without = |source: usize| {
        let mut report = report([ready("a")]);
        report.sources[source].ok = false;
        exit(&report)
    };
    assert_eq!(
        without(0),
        Exit::Blocked,
        "cloudstack: not known to be in sync"
    );
    assert_eq!(
        without(2),
        Exit::Fine,
        "nbd: nothing that needs it is blocked"
    );
    assert_eq!(without(3), Exit::Blocked, "specs: more may be asked for");
}

#[test]
fn json_has_every_volume_with_its_group() {
    let report = report([ready("a"), progressing("b"), blocked("c")]);
    let json = serde_json::to_value(Document::of(&report)).expect("JSON");
    assert_eq!(json["summary"]["toDo"], 1);
    assert_eq!(json["summary"]["inSync"], 1);
    let groups: Vec<_> = (0..3)
        .map(|n| json["volumes"][n]["group"].clone())
        .collect();
    assert_eq!(groups, ["inSync", "toDo", "blocked"]);
    assert_eq!(json["volumes"][1]["plan"]["now"]["kind"], "Attach");
    assert_eq!(
        json["volumes"][2]["plan"]["heldBy"][0]["code"],
        "ForeignAttachment"
    );
}
