//! JSON as YAML, in blocks. Texts are quoted as in JSON, which YAML 1.2 reads as the same texts.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes `value` as one document.
pub(super) fn text(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// Writes a value at the beginning of a line, or after `- `.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (at, (name, member)) in members.iter().enumerate() {
                if at > 0 {
                    let _ = write!(text, "{:indent$}", "");
                }
                text.push_str(name);
                text.push(':');
                within(member, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    let _ = write!(text, "{:indent$}", "");
                }
                text.push_str("- ");
                block(item, indent + 2, text);
            }
        }
        plain => {
            let _ = writeln!(text, "{plain}");
        }
    }
}

/// Writes the value of a member, after its colon.
fn within(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let indent = indent + 2;
            let _ = write!(text, "\n{:indent$}", "");
            block(value, indent, text);
        }
        Value::Array(items) if !items.is_empty() => {
            let _ = write!(text, "\n{:indent$}", "");
            block(value, indent, text);
        }
        plain => {
            let _ = writeln!(text, " {plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for value in [
            json!({"a": 1, "b": "x: \"y\" # z\n", "c": null, "d": [], "e": {}, "f": true}),
            json!({"list": [{"a": 1, "b": [1, [2, 3]]}, "no", {}, {"c": {"d": "e"}}]}),
            json!(["~", "1", "yes", "", "- a", "ü \u{7} \u{feff}"]),
            json!("alone"),
        ] {
            let written = text(&value);
            let read: Value = serde_yaml::from_str(&written).expect(&written);
            assert_eq!(read, value, "{written}");
        }
        let list = text(&json!({"list": [{"a": 1, "b": 2}]}));
        assert_eq!(list, "list:\n- a: 1\n  b: 2\n");
    }
}
