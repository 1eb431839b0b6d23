use uuid::Uuid;

use super::super::fixture::plain;
use super::super::tests::documented::compare;
use super::*;
use crate::import::{Code, Finding, Here, Import, InCloud, OldVolume, Outcome};
use crate::model::source::DesiredRow;
use crate::model::{ByteSize, VmId, VolumeId};

fn id(n: u128) -> VolumeId {
    VolumeId::new(Uuid::from_u128(n))
}

/// A volume that gets a row, one that is left out, and one that is gone.
fn found() -> Import {
    let cloud = InCloud {
        name: "pg data\u{1b}[2J".to_owned(),
        root: false,
        size: ByteSize::gib(5),
        zone: "zone-1".to_owned(),
        offering: Some("Custom".to_owned()),
        vm: Some(VmId::new(Uuid::from_u128(7))),
        vm_name: Some("oma".to_owned()),
        device_id: Some(1),
    };
    let here = Here {
        by_id: "/dev/disk/by-id/virtio-x".to_owned(),
        exists: true,
    };
    let new = OldVolume {
        id: id(1),
        outcome: Outcome::New,
        row: Some("pg-data".to_owned()),
        cloud: Some(cloud.clone()),
        device: Some(here),
        export: Some("migration-vol-x".to_owned()),
    };
    let left_out = OldVolume {
        id: id(2),
        outcome: Outcome::LeftOut,
        row: None,
        cloud: Some(InCloud {
            name: "root".to_owned(),
            root: true,
            vm_name: None,
            offering: None,
            device_id: None,
            ..cloud
        }),
        device: None,
        export: None,
    };
    let gone = OldVolume {
        id: id(3),
        outcome: Outcome::Gone,
        cloud: None,
        ..left_out.clone()
    };
    let finding = |code, blocks, volume, message: &str, fix| Finding {
        code,
        blocks,
        volume,
        message: message.to_owned(),
        fix,
    };
    Import {
        volumes: vec![new, left_out, gone],
        findings: vec![
            finding(
                Code::RootDisk,
                true,
                Some(id(2)),
                "it is a root disk",
                "see to it",
            ),
            finding(Code::NoVolume, false, None, "a row\nnames none", "nothing"),
            finding(
                Code::VolumeGone,
                false,
                Some(id(3)),
                "no such volume",
                "nothing",
            ),
        ],
        rows: vec![DesiredRow {
            name: "pg-data".to_owned(),
            columns: std::iter::empty().collect(),
        }],
    }
}

#[test]
fn people_see_what_comes_of_each_volume_and_what_to_do() {
    let text = plain(&show::text(&found(), true));
    let expected = "\
VOLUME                                 NAME          ROW       RESULT     VM                                     DEVICE   SIZE   KIND   ZONE     OFFERING   LINK    EXPORT
00000000-0000-0000-0000-000000000001   pg data [2J   pg-data   new        oma                                    1        5GiB   data   zone-1   Custom     there   migration-vol-x
00000000-0000-0000-0000-000000000002   root          -         left out   00000000-0000-0000-0000-000000000007   -        5GiB   root   zone-1   -          -       -
00000000-0000-0000-0000-000000000003   -             -         gone       -                                      -        -      -      -        -          -       -

In the way
  RootDisk root (00000000-0000-0000-0000-000000000002): it is a root disk
    do: see to it

Remarks
  NoVolume a row names none
    do: nothing
  VolumeGone 00000000-0000-0000-0000-000000000003: no such volume
    do: nothing

1 row to write; nothing was written
1 volume: left out; 1 volume: gone
";
    assert_eq!(text, expected);
    let written = plain(&show::text(&found(), false));
    assert!(
        written.ends_with(
            "then exports what was exported:\nvolume-daemon wait volume/pg-data --for=Ready\n"
        ),
        "{written}"
    );
    let nothing = Import {
        volumes: Vec::new(),
        findings: Vec::new(),
        rows: Vec::new(),
    };
    let nothing = plain(&show::text(&nothing, false));
    assert_eq!(
        nothing,
        "the old tables name no volume\n\nnothing to write: nothing was changed\n"
    );
}

#[test]
fn every_member_of_the_answer_is_documented_and_no_others() {
    let answer = |is_dry| serde_json::to_value(show::Answer::new(&found(), is_dry)).expect("JSON");
    assert_eq!(
        (
            answer(true)["written"] == false,
            answer(false)["written"] == true
        ),
        (true, true)
    );
    compare("import-legacy", &[answer(true), answer(false)]);
}

#[test]
fn every_code_is_documented_and_no_others() {
    let document = include_str!("../../../docs/import.md");
    let (_, section) = document
        .split_once("## What may not agree")
        .expect("a section");
    let (section, _) = section.split_once("\n## ").expect("not the last one");
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut documented: Vec<&str> = rows.collect();
    let source = include_str!("../../import/code.rs");
    let (_, codes) = source.split_once("pub enum Code {").expect("it is there");
    let (codes, _) = codes.split_once("\n}").expect("closed");
    let codes = codes
        .lines()
        .map(str::trim)
        .filter(|line| line.ends_with(','));
    let mut codes: Vec<&str> = codes.map(|line| line.trim_end_matches(',')).collect();
    documented.sort_unstable();
    codes.sort_unstable();
    assert_eq!(documented, codes);
}

#[test]
fn a_password_on_the_command_line_is_not_shown() {
    let parsed = crate::cli::parse([
        "volume-daemon",
        "import-legacy",
        "--database",
        "mysql://u:secret@db/x",
    ]);
    let parsed = format!("{:?}", parsed.expect("valid"));
    assert!(parsed.contains("ImportLegacy"), "{parsed}");
    assert!(!parsed.contains("secret"), "{parsed}");
}
