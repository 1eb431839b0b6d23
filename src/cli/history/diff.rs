//! What differs between two versions of a spec, by the paths of its fields.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::cli::output::{BAD, GOOD, PENDING};

/// A field that two versions of a spec give different values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct FieldChange {
    /// Its path.
    pub field: String,
    /// Its value before; `None`: it was not written.
    pub before: Option<String>,
    /// Its value after; `None`: it is not written any more.
    pub after: Option<String>,
}

/// What differs, by path. A list is one value: nothing in a spec is found by its place in one.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare("", Some(before), Some(after), &mut changes);
    changes
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, to: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    let members = |value: Option<&Value>| match value {
        // A block that is not written differs from one that is in each of its fields.
        None => Some(BTreeSet::new()),
        Some(Value::Object(members)) => Some(members.keys().cloned().collect::<BTreeSet<_>>()),
        Some(_) => None,
    };
    if let (Some(left), Some(right)) = (members(before), members(after))
        && !(left.is_empty() && right.is_empty())
    {
        for key in left.union(&right) {
            let path = match path {
                "" => key.clone(),
                path => format!("{path}.{key}"),
            };
            let of = |value: Option<&'_ Value>| value.and_then(|value| value.get(key)).cloned();
            compare(&path, of(before).as_ref(), of(after).as_ref(), to);
        }
        return;
    }
    to.push(FieldChange {
        field: path.to_owned(),
        before: before.map(written),
        after: after.map(written),
    });
}

/// A value as it stands in a spec.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// A value for people.
pub(super) fn shown(value: Option<&String>) -> &str {
    value.map_or("(not written)", String::as_str)
}

/// The differences for people, in the form of `plan --explain`.
pub(super) fn text(changes: &[FieldChange]) -> String {
    let mut text = String::new();
    for FieldChange {
        field,
        before,
        after,
    } in changes
    {
        let (before, after) = (shown(before.as_ref()), shown(after.as_ref()));
        let _ = write!(
            text,
            "{PENDING}~ {field}{PENDING:#}\n   {BAD}- {before}{BAD:#}\n   {GOOD}+ {after}{GOOD:#}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fixture::plain;

    #[test]
    fn versions_differ_in_fields() {
        let before = json!({
            "metadata": { "name": "a", "labels": { "job": "x" } },
            "spec": { "size": "40GiB", "suspend": true, "list": [1] },
        });
        assert_eq!(differences(&before, &before), []);
        let after = json!({
            "metadata": { "name": "a" },
            "spec": { "size": "50GiB", "list": [1, 2], "export": { "enabled": true } },
        });
        let expected = "\
~ metadata.labels.job
   - x
   + (not written)
~ spec.export.enabled
   - (not written)
   + true
~ spec.list
   - [1]
   + [1,2]
~ spec.size
   - 40GiB
   + 50GiB
~ spec.suspend
   - true
   + (not written)
";
        assert_eq!(plain(&text(&differences(&before, &after))), expected);
        let scalar = differences(&json!({ "a": { "b": 1 } }), &json!({ "a": 2 }));
        assert_eq!(scalar.len(), 1, "a block that became a value is one change");
        assert_eq!(scalar[0].field, "a");
    }
}
