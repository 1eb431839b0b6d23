//! Says everything that is wrong with a document that was refused.
//!
//! The types in [`wire`](super::wire) decide; but serde stops at its first error and has no
//! place for it. So a refused document is held against the schema generated from these types,
//! which finds every mistake of form, and each of its texts is read once more by itself.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::form::{Fault, faults};
use super::problem::{Finding, Findings, Source};
use super::schema::{allowed, expected, home_of, known_keys, nearest, one_of, schema_at};
use super::tree::{At, Kind, Node, written};
use super::values::{CloudName, DrainTimeout, LabelKey, LabelValue, ReservedDeviceId, VmRef};
use crate::model::size::InvalidSize;
use crate::model::{ByteSize, ExportName, VolumeId, VolumeName};

/// A refused document, and where its mistakes go.
struct Explainer<'a> {
    root: &'a Node,
    source: &'a Source<'a>,
    findings: &'a mut Findings,
}

/// Adds all mistakes in `root`, which became `json`, to `findings`.
pub(super) fn explain(root: &Node, json: &Value, source: &Source<'_>, findings: &mut Findings) {
    let mut explainer = Explainer {
        root,
        source,
        findings,
    };
    if explainer.is_another_kind() {
        return;
    }
    faults(schema_at(&[]), json, &mut |path, fault| {
        if !explainer.findings.is_full() {
            explainer.form(path, json, fault);
        }
    });
    explainer.texts(root, &mut Vec::new());
}

impl Explainer<'_> {
    fn push(&mut self, path: &[&str], at: At, finding: Finding) {
        let place = self.root.place_of(path, at);
        self.findings.push(finding.at(place, written(path)));
    }

    /// A document of another kind has one mistake, not one for each of its keys.
    fn is_another_kind(&mut self) -> bool {
        let Some(Kind::Text(kind)) = self.root.get(&["kind"]).map(|node| &node.kind) else {
            return false;
        };
        let known = allowed(schema_at(&["kind"]));
        if known.contains(&kind.as_str()) || nearest(kind, &known).is_some() {
            return false;
        }
        let finding = Finding::new(format!("unknown kind {kind:?}")).expecting(one_of(&known));
        self.push(&["kind"], At::Value, finding);
        true
    }

    /// Says what is wrong with the form of the value at `path` in `json`.
    fn form(&mut self, path: &[&str], json: &Value, fault: Fault<'_>) {
        let expected = || expected(schema_at(path));
        let finding = match fault {
            Fault::UnknownKey(key) => return self.unknown_key(path, key),
            Fault::Missing(key) => return self.missing(path, key),
            Fault::WrongType => return self.wrong_type(path),
            Fault::UnknownValue => return self.unknown_value(path),
            Fault::Forbidden => {
                let finding = Finding::new("this is for creating a volume, not for adopting one")
                    .suggesting("remove it, or remove existing");
                return self.push(path, At::Key, finding);
            }
            Fault::Excluded => Finding::new(ReservedDeviceId.to_string()).expecting(expected()),
            Fault::OutOfRange => {
                let value = path.iter().try_fold(json, |json, key| json.get(key));
                let value = value.unwrap_or(&Value::Null);
                Finding::new(format!("{value} is out of range")).expecting(expected())
            }
            Fault::TooFewKeys => {
                Finding::new("found neither id nor name").expecting("exactly one of them")
            }
            Fault::TooManyKeys(_) if path.last() == Some(&"existing") => {
                Finding::new("found more than one key").expecting("either id or name")
            }
            Fault::TooManyKeys(limit) => Finding::new(format!("found more than {limit} keys")),
        };
        self.push(path, At::Value, finding);
    }

    fn unknown_key(&mut self, block: &[&str], key: &str) {
        if self.findings.is_full() {
            return;
        }
        let path: Vec<_> = block.iter().copied().chain([key]).collect();
        let known = known_keys(block);
        let finding = Finding::new("unknown key");
        let finding = if path == ["status"] {
            Finding::new("this block is written by the daemon").suggesting("remove it")
        } else if let Some(near) = nearest(key, &known) {
            finding.suggesting(format!("did you mean {near:?}?"))
        } else if let Some(home) = home_of(key) {
            finding.suggesting(format!("it belongs in {home}"))
        } else {
            finding.expecting(one_of(&known))
        };
        self.push(&path, At::Key, finding);
    }

    fn missing(&mut self, block: &[&str], key: &str) {
        const TO_CREATE: [&str; 3] = ["size", "zone", "diskOffering"];
        let path: Vec<_> = block.iter().copied().chain([key]).collect();
        let finding = Finding::new("missing").expecting(expected(schema_at(&path)));
        if block != ["spec"] {
            return self.push(&path, At::Key, finding);
        }
        let given = |key| self.root.get(&["spec", key]).is_some();
        if TO_CREATE.into_iter().any(given) {
            let finding = finding.suggesting("it is needed to create a volume");
            self.push(&path, At::Key, finding);
        } else if key == TO_CREATE[0] {
            // Said once, not once for each of them.
            let finding = Finding::new("does not say which volume")
                .expecting("existing to adopt one, or size, zone and diskOffering to create one");
            self.push(block, At::Key, finding);
        }
    }

    fn wrong_type(&mut self, path: &[&str]) {
        let Some(node) = self.root.get(path) else {
            return;
        };
        let schema = schema_at(path);
        let is = |name: &str| schema.get("type").and_then(Value::as_str) == Some(name);
        let suggestion = match &node.kind {
            Kind::Null if is("object") => {
                Some("write its keys below it, indented, or remove it".to_owned())
            }
            Kind::Null => Some("give it a value, or remove it".to_owned()),
            Kind::Bool(_) | Kind::Integer(_) | Kind::Fraction(_) if is("string") => {
                let written = self.written(node);
                match check_at(path, &written) {
                    Some(finding) => finding.suggestion,
                    None => Some(format!("put it in quotes: {written:?}")),
                }
            }
            Kind::Text(text) if is("boolean") => {
                boolean(text).map(|value| format!("write {value}"))
            }
            Kind::Text(text) if is("integer") => {
                let number: Option<u64> = text.parse().ok();
                number.map(|number| format!("remove the quotes: {number}"))
            }
            Kind::Text(_) | Kind::Bool(_) if is("object") => {
                main_key(path).map(|key| format!("write {{ {key}: {} }}", self.written(node)))
            }
            Kind::Bool(_)
            | Kind::Integer(_)
            | Kind::Fraction(_)
            | Kind::Text(_)
            | Kind::List
            | Kind::Block(_) => None,
        };
        let message = match &node.kind {
            Kind::Null => "found nothing".to_owned(),
            Kind::Bool(value) => format!("found {value}"),
            Kind::Integer(_) | Kind::Fraction(_) => {
                format!("found the number {}", self.written(node))
            }
            Kind::Text(text) => format!("found the text {text:?}"),
            Kind::List => "found a list".to_owned(),
            Kind::Block(_) => "found a block".to_owned(),
        };
        let finding = Finding::new(message)
            .expecting(expected(schema))
            .perhaps_suggesting(suggestion);
        self.push(path, At::Value, finding);
    }

    /// A value as it was written, where there is a text: `1.10` is not 1.1.
    fn written(&self, node: &Node) -> String {
        match (self.source.slice(node.place), &node.kind) {
            (Some(text), _) => text.to_owned(),
            (None, Kind::Bool(value)) => value.to_string(),
            (None, Kind::Integer(number)) => number.to_string(),
            (None, Kind::Fraction(number)) => format!("{number:?}"),
            (None, Kind::Text(text)) => text.clone(),
            (None, Kind::Null | Kind::List | Kind::Block(_)) => String::new(),
        }
    }

    fn unknown_value(&mut self, path: &[&str]) {
        // Anything but a text is reported as a wrong type.
        let Some(Kind::Text(text)) = self.root.get(path).map(|node| &node.kind) else {
            return;
        };
        let known = allowed(schema_at(path));
        let near = nearest(text, &known);
        let finding = Finding::new(format!("unknown value {text:?}"))
            .expecting(one_of(&known))
            .perhaps_suggesting(near.map(|near| format!("did you mean {near:?}?")));
        self.push(path, At::Value, finding);
    }

    /// Reads every text in `node` by itself.
    fn texts<'n>(&mut self, node: &'n Node, path: &mut Vec<&'n str>) {
        match &node.kind {
            Kind::Block(entries) => {
                for (key, value) in entries {
                    if self.findings.is_full() {
                        return;
                    }
                    let Kind::Text(name) = &key.kind else {
                        continue;
                    };
                    path.push(name);
                    if let ["metadata", "labels", key] = path.as_slice()
                        && let Some(finding) = check::<LabelKey>(key)
                    {
                        self.push(path, At::Key, finding);
                    }
                    self.texts(value, path);
                    path.pop();
                }
            }
            Kind::Text(text) => {
                if let Some(finding) = check_at(path, text) {
                    self.push(path, At::Value, finding);
                }
            }
            Kind::Null | Kind::Bool(_) | Kind::Integer(_) | Kind::Fraction(_) | Kind::List => {}
        }
    }
}

/// What is wrong with `text` as the value at `path`.
fn check_at(path: &[&str], text: &str) -> Option<Finding> {
    match path {
        ["metadata", "name"] => check::<VolumeName>(text).map(|finding| {
            let near = near_name(text);
            finding.perhaps_suggesting(near.map(|name| format!("did you mean {name:?}?")))
        }),
        ["metadata", "labels", _] => check::<LabelValue>(text),
        ["spec", "volumeName" | "zone" | "diskOffering"] => check::<CloudName>(text),
        ["spec", "size"] => check_size(text),
        ["spec", "existing", "id"] => check::<VolumeId>(text),
        ["spec", "existing", "name"] => check::<CloudName>(text),
        ["spec", "attachTo", "vm"] => check::<VmRef>(text),
        ["spec", "export", "name"] => check::<ExportName>(text),
        ["spec", "export", "drainTimeout"] => check::<DrainTimeout>(text).map(|finding| {
            let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            finding.perhaps_suggesting(is_number.then(|| format!("write {text}s or {text}m")))
        }),
        _ => None,
    }
}

fn check<T: FromStr<Err: fmt::Display>>(text: &str) -> Option<Finding> {
    let error = text.parse::<T>().err()?;
    Some(Finding::new(error.to_string()))
}

fn check_size(text: &str) -> Option<Finding> {
    match text.parse::<ByteSize>() {
        Ok(_) => None,
        Err(InvalidSize::Unit { text, hint }) => Some(
            Finding::new(format!("{text:?} has no binary unit"))
                .suggesting(format!("write {hint}")),
        ),
        Err(error @ (InvalidSize::Number(_) | InvalidSize::TooLarge(_))) => {
            Some(Finding::new(error.to_string()))
        }
    }
}

/// The valid name that `text` was probably meant to be.
fn near_name(text: &str) -> Option<String> {
    let dashed: String = text
        .to_lowercase()
        .chars()
        .map(|c| if matches!(c, '_' | '.' | ' ') { '-' } else { c })
        .collect();
    let name = dashed.trim_matches('-');
    name.parse::<VolumeName>().ok().map(String::from)
}

/// The key that a block was probably meant to have if only a value was written.
fn main_key(block: &[&str]) -> Option<&'static str> {
    match block {
        ["spec", "existing"] => Some("name"),
        ["spec", "attachTo"] => Some("vm"),
        ["spec", "export"] => Some("enabled"),
        _ => None,
    }
}

/// The boolean that somebody used to YAML 1.1 meant.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" => Some(true),
        "no" | "n" | "off" | "false" => Some(false),
        _ => None,
    }
}
