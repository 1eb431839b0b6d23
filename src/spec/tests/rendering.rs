//! What people see.

use super::super::*;

fn rendered(text: &[u8], color: bool) -> String {
    let problems = parse("specs/a.yaml", text).expect_err("mistakes");
    render(&problems, text, color)
}

#[test]
fn an_excerpt_a_pointer_and_help_for_each_problem() {
    let text = "\
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata:
  name: data
spec:
  size: 40GB          # too small?
  zone: zone-1
  diskOffering: Größe M
  attachTo:
    vm: none
    mov: Never
  export:
";
    let expected = r#"error: spec.size: "40GB" has no binary unit
 --> specs/a.yaml:6:9
  |
6 |   size: 40GB          # too small?
  |         ^^^^
  |
  = help: write 40GiB

error: spec.attachTo.mov: unknown key
  --> specs/a.yaml:11:5
   |
11 |     mov: Never
   |     ^^^
   |
   = help: did you mean "move"?

error: spec.export: found nothing
  --> specs/a.yaml:12:3
   |
12 |   export:
   |   ^^^^^^ expected a block with the keys drainTimeout, enabled, name, readOnly
   |
   = help: write its keys below it, indented, or remove it
"#;
    assert_eq!(rendered(text.as_bytes(), false), expected);
}

#[test]
fn pointers_stand_right_after_a_byte_order_mark_and_wide_characters() {
    let text = "\u{feff}kind: Volume\r\nmetadata: {labels: {größe 💾: 1}, name: a}\r\n";
    let expected = r#"error: metadata.labels["größe 💾"]: the key of a label has 1-63 letters, digits and '-', '_', '.', '/', and starts and ends with a letter or digit, got "größe 💾"
 --> specs/a.yaml:2:21
  |
2 | metadata: {labels: {größe 💾: 1}, name: a}
  |                     ^^^^^^^^
"#;
    let rendered = rendered(text.as_bytes(), false);
    assert!(rendered.contains(expected), "{rendered}");
}

#[test]
fn what_is_not_utf_8_is_shown_as_far_as_it_goes() {
    let expected = "\
error: this is not UTF-8: byte 0xfc
 --> specs/a.yaml:2:9
  |
2 | name: Gr?n
  |         ^
  |
  = help: save the file as UTF-8
";
    assert_eq!(rendered(b"kind: Volume\nname: Gr\xfcn\n", false), expected);
}

#[test]
fn a_line_too_long_to_show_is_named() {
    let text = format!("# {}\nkind: {{a: 1}} # {}", "x".repeat(9), "y".repeat(5000));
    let rendered = rendered(text.as_bytes(), false);
    let expected = "\
error: kind: found a block
--> specs/a.yaml:2:1
 = note: expected Volume
";
    assert!(rendered.contains(expected), "{rendered}");
}

#[test]
fn problems_without_a_place_are_shown_without_an_excerpt() {
    let problems = from_manifest(&serde_json::json!({ "kind": "Pod" })).expect_err("a mistake");
    let expected = "\
error: kind: unknown kind \"Pod\"
 |
 = note: expected Volume
";
    assert_eq!(render(&problems, b"", false), expected);
}

#[test]
fn colours_are_extra() {
    let text = b"kind: Pod\n";
    let coloured = rendered(text, true);
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    assert!(!rendered(text, false).contains('\u{1b}'));
}

/// A file may come from anywhere, and a terminal obeys what it is sent.
#[test]
fn a_file_cannot_steer_the_terminal() {
    for text in [
        "kind: \"\\e[31m\"\n",
        "\"\\e[31m\": 1\n",
        "metadata: {\"\\e]0;x\\a\": 1}\n",
        "kind: \u{1b}[31m\n",
        "kind: \u{9b}31m\n",
        "kind: \"\\e[31m\" \"\n",
        "kind: !<\u{1b}[31m> x\n",
        "kind: !%1b[31m x\n",
        "a: !%c2%9bx y\n",
        "kind: x\u{202e}y\n",
    ] {
        let rendered = rendered(text.as_bytes(), false);
        let turns = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let steers = |c: char| (c.is_control() && c != '\n') || turns(c);
        assert!(!rendered.contains(steers), "{text:?}: {rendered:?}");
    }
}
