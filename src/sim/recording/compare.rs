//! One recorded answer against another to the same question, field by field.
//!
//! Every field has to be there, or not, and to have its type. The values of those that clients
//! decide by have to agree, too; texts by their pattern, since they name ids and internal numbers.
//! Dates, counters and names of the place are its own.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Fields whose values have to agree.
const DECIDED_BY: [&str; 21] = [
    "cmd",
    "count",
    "cserrorcode",
    "deleteprotection",
    "destroyed",
    "deviceid",
    "errorcode",
    "isasync",
    "jobinstancetype",
    "jobresultcode",
    "jobresulttype",
    "jobstatus",
    "key",
    "name",
    "resourcetype",
    "size",
    "state",
    "success",
    "type",
    "value",
    "vmstate",
];

/// Fields that are sentences.
const TEXTS: [&str; 1] = ["errortext"];

/// A field in which the two are not alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where: `listvolumesresponse.volume[0].state`.
    pub path: String,
    /// What was recorded; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Value>,
    /// What the simulator answered; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated: Option<Value>,
}

/// Which id of the simulator stands for which recorded one, by their first appearance.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    simulated: BTreeMap<Uuid, Uuid>,
    recorded: BTreeMap<Uuid, Uuid>,
}

impl Ids {
    /// Whether the two may be the same; from now on they are.
    fn same(&mut self, recorded: Uuid, simulated: Uuid) -> bool {
        match (self.simulated.get(&recorded), self.recorded.get(&simulated)) {
            (Some(known), _) => *known == simulated,
            (None, Some(_)) => false,
            (None, None) => {
                self.simulated.insert(recorded, simulated);
                self.recorded.insert(simulated, recorded);
                true
            }
        }
    }

    /// A recorded value with the ids of the simulator, as far as they are known; it may be a list
    /// of ids.
    pub fn translated(&self, value: &str) -> String {
        let parts: Vec<String> = value
            .split(',')
            .map(
                |part| match id(part).and_then(|id| self.simulated.get(&id)) {
                    Some(other) => other.to_string(),
                    None => part.to_owned(),
                },
            )
            .collect();
        parts.join(",")
    }
}

/// What differs between a recorded status and body and the simulator's.
pub fn compare(
    recorded: (u16, &Value),
    simulated: (u16, &Value),
    ids: &mut Ids,
) -> Vec<Difference> {
    let mut found = Vec::new();
    if recorded.0 != simulated.0 {
        let status = (recorded.0.into(), simulated.0.into());
        note(
            "HTTP status",
            (Some(&status.0), Some(&status.1)),
            &mut found,
        );
    }
    walk("", recorded.1, simulated.1, ids, &mut found);
    found
}

fn note(path: &str, sides: (Option<&Value>, Option<&Value>), found: &mut Vec<Difference>) {
    found.push(Difference {
        path: path.to_owned(),
        recorded: sides.0.cloned(),
        simulated: sides.1.cloned(),
    });
}

fn walk(path: &str, left: &Value, right: &Value, ids: &mut Ids, found: &mut Vec<Difference>) {
    let alike = match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            return fields(path, left, right, ids, found);
        }
        (Value::Array(left), Value::Array(right)) => return rows(path, left, right, ids, found),
        (Value::String(left), Value::String(right)) => match (id(left), id(right)) {
            (Some(left), Some(right)) => ids.same(left, right),
            (None, None) => strings_agree(last(path), left, right),
            (Some(_), None) | (None, Some(_)) => false,
        },
        (Value::Number(_), Value::Number(_)) | (Value::Bool(_), Value::Bool(_)) => {
            !DECIDED_BY.contains(&last(path)) || left == right
        }
        (Value::Null, Value::Null) => true,
        _ => false,
    };
    if !alike {
        note(path, (Some(left), Some(right)), found);
    }
}

fn fields(
    path: &str,
    left: &Map<String, Value>,
    right: &Map<String, Value>,
    ids: &mut Ids,
    found: &mut Vec<Difference>,
) {
    let join = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    for (name, value) in left {
        match right.get(name) {
            Some(other) => walk(&join(name), value, other, ids, found),
            None => note(&join(name), (Some(value), None), found),
        }
    }
    for (name, value) in right.iter().filter(|(name, _)| !left.contains_key(*name)) {
        note(&join(name), (None, Some(value)), found);
    }
}

/// Rows belong together by their ids; new ones by their names, then by their places.
fn rows(path: &str, left: &[Value], right: &[Value], ids: &mut Ids, found: &mut Vec<Difference>) {
    let mut free: Vec<&Value> = right.iter().collect();
    let mut pairs: Vec<Option<&Value>> = vec![None; left.len()];
    let rules: [fn(&Value, &Value, &Ids) -> bool; 3] = [same_id, same_name, |_, _, _| true];
    for belong in rules {
        for (row, pair) in left.iter().zip(&mut pairs) {
            if pair.is_none()
                && let Some(at) = free.iter().position(|other| belong(row, other, ids))
            {
                *pair = Some(free.remove(at));
            }
        }
    }
    for (at, (row, pair)) in left.iter().zip(pairs).enumerate() {
        let path = format!("{path}[{at}]");
        match pair {
            Some(other) => walk(&path, row, other, ids, found),
            None => note(&path, (Some(row), None), found),
        }
    }
    for other in free {
        note(&format!("{path}[]"), (None, Some(other)), found);
    }
}

fn same_id(left: &Value, right: &Value, ids: &Ids) -> bool {
    let id_of = |row: &Value| row.get("id").and_then(Value::as_str).and_then(id);
    id_of(left)
        .and_then(|id| ids.simulated.get(&id))
        .is_some_and(|known| Some(*known) == id_of(right))
}

/// Neither is known under another name yet.
fn same_name(left: &Value, right: &Value, ids: &Ids) -> bool {
    let text = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let known = text(left, "id")
        .and_then(|text| id(&text))
        .is_some_and(|id| ids.simulated.contains_key(&id));
    let label = |row: &Value| text(row, "name").or_else(|| text(row, "key"));
    !known && label(left).is_some() && label(left) == label(right)
}

fn strings_agree(name: &str, left: &str, right: &str) -> bool {
    if TEXTS.contains(&name) {
        return pattern(left) == pattern(right);
    }
    !DECIDED_BY.contains(&name) || left == right
}

/// A text without the ids and numbers in it.
fn pattern(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let end = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        if id(end).is_some() {
            out.push_str("<id>");
            out.push_str(&word[end.len()..]);
            continue;
        }
        for c in word.chars() {
            match c {
                '0'..='9' if out.ends_with("<n>") => {}
                '0'..='9' => out.push_str("<n>"),
                c => out.push(c),
            }
        }
    }
    out
}

/// The name of a field, from its path.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or_default()
}

/// A UUID as CloudStack writes it.
fn id(text: &str) -> Option<Uuid> {
    (text.len() == 36)
        .then(|| Uuid::parse_str(text).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
    const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
    const C: &str = "cccccccc-0000-4000-8000-000000000003";

    fn paths(left: &Value, right: &Value, ids: &mut Ids) -> Vec<String> {
        compare((200, left), (200, right), ids)
            .into_iter()
            .map(|difference| difference.path)
            .collect()
    }

    #[test]
    fn what_clients_decide_by_has_to_agree_and_the_rest_to_be_of_its_type() {
        let left = json!({"r": {"volume": [{
            "id": A, "name": "v", "state": "Ready", "size": 5, "zonename": "here", "tags": [],
            "created": "2026-11-20T22:30:00+0000", "utilization": "1%", "gone": true
        }]}});
        let right = json!({"r": {"volume": [{
            "id": B, "name": "v", "state": "Allocated", "size": "5", "zonename": "there",
            "tags": [], "created": "2020-01-01T00:00:00+0000", "utilization": 1, "new": 1
        }]}});
        assert_eq!(
            paths(&left, &right, &mut Ids::default()),
            ["gone", "size", "state", "utilization", "new"].map(|f| format!("r.volume[0].{f}"))
        );
        assert_eq!(paths(&left, &left, &mut Ids::default()), [""; 0]);
        let status = compare((200, &left), (431, &left), &mut Ids::default());
        assert_eq!(status[0].path, "HTTP status");
    }

    #[test]
    fn an_id_stands_for_one_other_from_its_first_appearance() {
        let mut ids = Ids::default();
        let asks = |id: &str| json!({"r": {"id": id}});
        assert_eq!(paths(&asks(A), &asks(B), &mut ids), [""; 0]);
        assert_eq!(paths(&asks(A), &asks(B), &mut ids), [""; 0]);
        assert_eq!(paths(&asks(A), &asks(C), &mut ids), ["r.id"]);
        assert_eq!(paths(&asks(C), &asks(B), &mut ids), ["r.id"]);
        assert_eq!(ids.translated(&format!("{A},x,{C}")), format!("{B},x,{C}"));
    }

    #[test]
    fn rows_are_paired_by_id_then_by_name_then_by_place() {
        let mut ids = Ids::default();
        let known = json!({"r": {"id": A}});
        assert_eq!(paths(&known, &json!({"r": {"id": B}}), &mut ids), [""; 0]);
        let left = json!({"r": [{"name": "x"}, {"name": "y"}, {"id": A, "name": "z"}]});
        let right = json!({"r": [{"id": B, "name": "z"}, {"name": "y"}, {"name": "x"}]});
        assert_eq!(paths(&left, &right, &mut ids), [""; 0]);
        let short = json!({"r": [{"name": "y"}]});
        let found = paths(&left, &short, &mut ids);
        assert_eq!(found, ["r[0]", "r[2]"]);
        assert_eq!(paths(&short, &left, &mut ids), ["r[]", "r[]"]);
    }

    #[test]
    fn texts_agree_by_pattern() {
        for (left, right, agree) in [
            (
                format!("volume {A} is 12 GB"),
                format!("volume {B} is 5 GB"),
                true,
            ),
            (format!("volume {A}"), "volume 7".to_owned(), false),
            (
                "Unable to find it".to_owned(),
                "Cannot find it".to_owned(),
                false,
            ),
        ] {
            assert_eq!(pattern(&left) == pattern(&right), agree, "{left} / {right}");
        }
    }
}
