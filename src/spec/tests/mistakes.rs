//! What is said about mistakes, case by case.
//!
//! A case is a title, a text, and what must be said about it, word for word:
//!
//! ```text
//! === title
//! text
//! >>>
//! line:column: path: message, expected …; suggestion
//! ```

use super::super::*;
use super::{said, said_of};

/// What the texts of `in_spec.txt` are put below.
const HEAD: &str = "\
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata: {name: a}
";

/// Checks every case in `cases` and returns how many there are.
fn check(head: &str, cases: &str) -> usize {
    let mut count = 0;
    let mut failures = String::new();
    for case in cases.split("=== ").skip(1) {
        let (title, rest) = case.split_once('\n').expect("a title");
        let (text, expected) = rest.split_once(">>>\n").expect("an expectation");
        let said = said(&format!("{head}{text}"));
        if said != expected.trim_end() {
            failures.push_str(&format!("=== {title}\n{text}>>>\n{said}\n"));
        }
        count += 1;
    }
    assert!(failures.is_empty(), "said otherwise:\n{failures}");
    count
}

#[test]
fn mistakes_in_the_spec_block() {
    let count = check(HEAD, include_str!("in_spec.txt"));
    assert!(count >= 50, "{count}");
}

#[test]
fn mistakes_elsewhere() {
    let count = check("", include_str!("documents.txt"));
    assert!(count >= 30, "{count}");
}

#[test]
fn files_that_are_no_text() {
    let table: &[(&[u8], &str)] = &[
        (
            b"",
            "1:1: the file has no document; delete the file if its volumes are no longer declared",
        ),
        (
            b"\xef\xbb\xbf",
            "1:1: the file has no document; delete the file if its volumes are no longer declared",
        ),
        (
            b"kind: Volume\nname: Gr\xfc\xdfe\n",
            "2:9: this is not UTF-8: byte 0xfc; save the file as UTF-8",
        ),
        (
            b"\xff\xfek\0i\0n\0d\0",
            "1:1: this is not UTF-8: byte 0xff; save the file as UTF-8",
        ),
        (
            b"\xef\xbb\xbfkind: V\0lume\n",
            "1:8: this is not text: it contains a NUL byte; restore the file",
        ),
        (
            b"kind: Volume\na: \"\x1b[31m\"\n",
            "2:5: unexpected character: `\\u{1b}'; remove it",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(said_of(text), *expected, "{text:?}");
    }
}

#[test]
fn columns_count_characters_and_spans_count_bytes() {
    let text = format!("\u{feff}{HEAD}spec: {{volumeName: \"Größe 💾\", mode: x}} # ü\r\n");
    let problems = parse("f", text.as_bytes()).expect_err("two mistakes");
    let mode = problems.iter().find(|it| it.path == "spec.mode");
    let mode = mode.expect("it is a mistake");
    assert_eq!((mode.line, mode.column), (4, 37));
    assert_eq!(&text[mode.span.clone()], "x");
}

#[test]
fn lines_end_as_yaml_says() {
    for end in ["\n", "\r\n", "\r"] {
        let text = format!("{HEAD}spec: {{mode: x}}\n# x\n").replace('\n', end);
        let problems = parse("f", text.as_bytes()).expect_err("two mistakes");
        let mode = problems.iter().find(|it| it.path == "spec.mode");
        let mode = mode.expect("it is a mistake");
        assert_eq!((mode.line, mode.column), (4, 14), "{end:?}");
        assert_eq!(&text[mode.span.clone()], "x", "{end:?}");
    }
}

#[test]
fn a_manifest_is_checked_like_a_file() {
    let manifest = serde_json::json!({
        "apiVersion": "volume-daemon.io/v1alpha1",
        "kind": "Volume",
        "metadata": { "name": "a", "labels": { "job": 12, "a.b": null } },
        "spec": {
            "size": "40GB",
            "zone": 1.5,
            "diskOffering": "Custom",
            "attachTo": { "vm": "self", "deviceId": 1.5, "mov": "Never" },
        },
    });
    let problems = from_manifest(&manifest).expect_err("mistakes");
    let expected = r#"metadata.labels.job: found the number 12, expected text; put it in quotes: "12"
metadata.labels["a.b"]: found nothing, expected text; give it a value, or remove it
spec.attachTo.deviceId: found the number 1.5, expected a number from 0 to 255, but not 3
spec.attachTo.mov: unknown key; did you mean "move"?
spec.size: "40GB" has no binary unit; write 40GiB
spec.zone: found the number 1.5, expected text like zone-1; put it in quotes: "1.5""#;
    assert_eq!(problems.to_string(), expected);
    assert!(from_manifest(&Value::Null).is_err());
}

#[test]
fn problems_have_fields_for_programs() {
    let text = format!("{HEAD}spec: {{existing: {{name: x}}, mode: enforce}}\n");
    let problems = parse("specs/a.yaml", text.as_bytes()).expect_err("a mistake");
    assert_eq!(
        serde_json::to_value(&problems).expect("JSON"),
        serde_json::json!([{
            "file": "specs/a.yaml",
            "line": 4,
            "column": 35,
            "path": "spec.mode",
            "message": "unknown value \"enforce\"",
            "expected": "Enforce or Observe",
            "suggestion": "did you mean \"Enforce\"?",
        }])
    );
}

#[test]
fn names_of_spec_files() {
    for name in ["a.yaml", "a.yml", "a.b.yaml", "-.yaml"] {
        assert!(is_spec_name(name), "{name}");
    }
    for name in [
        ".yaml",
        ".a.yaml",
        "..data",
        "a.yaml~",
        "a.yaml.tmp",
        "a.yaml.swp",
        ".yml",
        ".a.yaml.swp",
        "a.json",
        "a.YAML",
        "yaml",
        "#a.yaml#",
    ] {
        assert!(!is_spec_name(name), "{name}");
    }
}
