//! Says everything that is wrong with a document that was refused.
//!
//! The types in [`wire`](super::wire) decide; but serde stops at its first error and has no
//! place for it. So a refused document is held against the schema generated from these types,
//! which finds every mistake of form, and each of its texts is read once more by itself.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::problem::{Finding, Findings, Source};
use super::tree::{At, Kind, Node, written};
use super::values::{CloudName, DrainTimeout, LabelKey, LabelValue, ReservedDeviceId, VmRef};
use super::wire;
use crate::model::size::InvalidSize;
use crate::model::{ByteSize, ExportName, VolumeId, VolumeName};

/// The schema of a volume, ready for use. Compiling it takes milliseconds, so it is done once.
struct Schema {
    json: Value,
    validator: jsonschema::Validator,
    blocks: Vec<Block>,
}

/// A block of the format, and the keys it may have.
struct Block {
    path: Vec<String>,
    keys: Vec<String>,
}

static VOLUME: LazyLock<Schema> = LazyLock::new(|| {
    let json = schema();
    let validator = jsonschema::draft202012::new(&json).expect("the generated schema is a schema");
    let mut blocks = Vec::new();
    collect_blocks(&json, &mut Vec::new(), &mut blocks);
    Schema {
        json,
        validator,
        blocks,
    }
});

/// The JSON Schema of a volume document.
pub(super) fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings
        .with_transform(RecursiveTransform(tidy))
        .into_generator()
        .into_root_schema_for::<wire::Document>()
        .to_value()
}

/// Undoes line breaks that only come from the source code, and defaults that no document could
/// write.
fn tidy(schema: &mut schemars::Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
}

fn collect_blocks(schema: &Value, path: &mut Vec<String>, blocks: &mut Vec<Block>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    blocks.push(Block {
        path: path.clone(),
        keys: properties.keys().cloned().collect(),
    });
    for (key, schema) in properties {
        path.push(key.clone());
        collect_blocks(schema, path, blocks);
        path.pop();
    }
}

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
    for error in VOLUME.validator.iter_errors(json) {
        if explainer.findings.is_full() {
            return;
        }
        let path: Vec<_> = error.instance_path().as_str().split('/').skip(1).collect();
        let path: Vec<_> = path.iter().map(|name| unescaped(name)).collect();
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        explainer.form(&path, &error);
    }
    explainer.texts(root, &mut Vec::new());
}

/// Undoes the escapes of a JSON Pointer (RFC 6901, section 4).
fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

impl Explainer<'_> {
    fn push(&mut self, path: &[&str], at: At, finding: Finding) {
        self.findings.push(Finding {
            place: self.root.place_of(path, at),
            path: written(path),
            ..finding
        });
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
        let finding = Finding {
            message: format!("unknown kind {kind:?}"),
            expected: Some(one_of(&known)),
            ..Finding::default()
        };
        self.push(&["kind"], At::Value, finding);
        true
    }

    /// Translates one error of the schema.
    fn form(&mut self, path: &[&str], error: &jsonschema::ValidationError<'_>) {
        let expected = || Some(expected(schema_at(path)));
        let finding = match error.kind() {
            // Each text is read by itself, which says more than these can.
            ValidationErrorKind::Pattern { .. }
            | ValidationErrorKind::MinLength { .. }
            | ValidationErrorKind::MaxLength { .. }
            | ValidationErrorKind::PropertyNames { .. } => return,
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    self.unknown_key(path, key);
                }
                return;
            }
            ValidationErrorKind::Required { property } => {
                return self.missing(path, property.as_str().unwrap_or_default());
            }
            ValidationErrorKind::Type { .. } => return self.wrong_type(path),
            ValidationErrorKind::Enum { .. } => return self.unknown_value(path),
            ValidationErrorKind::FalseSchema => {
                let finding = Finding {
                    message: "this is for creating a volume, not for adopting one".to_owned(),
                    suggestion: Some("remove it, or remove existing".to_owned()),
                    ..Finding::default()
                };
                return self.push(path, At::Key, finding);
            }
            ValidationErrorKind::Not { .. } => Finding {
                message: ReservedDeviceId.to_string(),
                expected: expected(),
                ..Finding::default()
            },
            ValidationErrorKind::Minimum { .. } | ValidationErrorKind::Maximum { .. } => Finding {
                message: format!("{} is out of range", error.instance()),
                expected: expected(),
                ..Finding::default()
            },
            ValidationErrorKind::MinProperties { .. } => Finding {
                message: "found neither id nor name".to_owned(),
                expected: Some("exactly one of them".to_owned()),
                ..Finding::default()
            },
            ValidationErrorKind::MaxProperties { .. } if path.last() == Some(&"existing") => {
                Finding {
                    message: "found more than one key".to_owned(),
                    expected: Some("either id or name".to_owned()),
                    ..Finding::default()
                }
            }
            ValidationErrorKind::MaxProperties { limit } => Finding {
                message: format!("found more than {limit} keys"),
                ..Finding::default()
            },
            other => Finding {
                message: format!("does not fit the schema ({})", other.keyword()),
                expected: expected(),
                ..Finding::default()
            },
        };
        self.push(path, At::Value, finding);
    }

    fn unknown_key(&mut self, block: &[&str], key: &str) {
        if self.findings.is_full() {
            return;
        }
        let path: Vec<_> = block.iter().copied().chain([key]).collect();
        if path == ["status"] {
            let finding = Finding {
                message: "this block is written by the daemon".to_owned(),
                suggestion: Some("remove it".to_owned()),
                ..Finding::default()
            };
            return self.push(&path, At::Key, finding);
        }
        let known = known_keys(block);
        let suggestion = match nearest(key, &known) {
            Some(near) => Some(format!("did you mean {near:?}?")),
            None => home_of(key).map(|home| format!("it belongs in {home}")),
        };
        let finding = Finding {
            message: "unknown key".to_owned(),
            expected: suggestion.is_none().then(|| one_of(&known)),
            suggestion,
            ..Finding::default()
        };
        self.push(&path, At::Key, finding);
    }

    fn missing(&mut self, block: &[&str], key: &str) {
        const TO_CREATE: [&str; 3] = ["size", "zone", "diskOffering"];
        let path: Vec<_> = block.iter().copied().chain([key]).collect();
        if let ["spec", key] = path.as_slice() {
            let given = |key| self.root.get(&["spec", key]).is_some();
            if !TO_CREATE.into_iter().any(given) {
                // Said once, not once for each of them.
                if *key == TO_CREATE[0] {
                    self.no_origin();
                }
                return;
            }
        }
        let is_origin = block == ["spec"];
        let finding = Finding {
            message: "missing".to_owned(),
            expected: Some(expected(schema_at(&path))),
            suggestion: is_origin.then(|| "it is needed to create a volume".to_owned()),
            ..Finding::default()
        };
        self.push(&path, At::Key, finding);
    }

    fn no_origin(&mut self) {
        let finding = Finding {
            message: "does not say which volume".to_owned(),
            expected: Some(
                "existing to adopt one, or size, zone and diskOffering to create one".to_owned(),
            ),
            ..Finding::default()
        };
        self.push(&["spec"], At::Key, finding);
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
        let finding = Finding {
            message,
            expected: Some(expected(schema)),
            suggestion,
            ..Finding::default()
        };
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
        let finding = Finding {
            message: format!("unknown value {text:?}"),
            expected: Some(one_of(&known)),
            suggestion: nearest(text, &known).map(|near| format!("did you mean {near:?}?")),
            ..Finding::default()
        };
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
        ["metadata", "name"] => check::<VolumeName>(text).map(|finding| Finding {
            suggestion: near_name(text).map(|name| format!("did you mean {name:?}?")),
            ..finding
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
            Finding {
                suggestion: is_number.then(|| format!("write {text}s or {text}m")),
                ..finding
            }
        }),
        _ => None,
    }
}

fn check<T: FromStr<Err: fmt::Display>>(text: &str) -> Option<Finding> {
    text.parse::<T>().err().map(|error| Finding {
        message: error.to_string(),
        ..Finding::default()
    })
}

fn check_size(text: &str) -> Option<Finding> {
    match text.parse::<ByteSize>() {
        Ok(_) => None,
        Err(InvalidSize::Unit { text, hint }) => Some(Finding {
            message: format!("{text:?} has no binary unit"),
            suggestion: Some(format!("write {hint}")),
            ..Finding::default()
        }),
        Err(error @ (InvalidSize::Number(_) | InvalidSize::TooLarge(_))) => Some(Finding {
            message: error.to_string(),
            ..Finding::default()
        }),
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

/// The schema of the value at `path`; null if the schema has no such key.
fn schema_at(path: &[&str]) -> &'static Value {
    path.iter().fold(&VOLUME.json, |schema, name| {
        let property = schema.get("properties").and_then(|keys| keys.get(name));
        property
            .or_else(|| schema.get("additionalProperties"))
            .unwrap_or(&Value::Null)
    })
}

fn known_keys(block: &[&str]) -> Vec<&'static str> {
    let found = VOLUME.blocks.iter().find(|known| known.path == block);
    found.map_or_else(Vec::new, |known| {
        known.keys.iter().map(String::as_str).collect()
    })
}

/// The block in which `key` is known, if it is the only one.
fn home_of(key: &str) -> Option<String> {
    let mut homes = VOLUME
        .blocks
        .iter()
        .filter(|block| block.keys.iter().any(|known| known == key));
    match (homes.next(), homes.next()) {
        (Some(home), None) if home.path.is_empty() => Some("the top level".to_owned()),
        (Some(home), None) => Some(written(&home.path)),
        (_, Some(_)) | (None, None) => None,
    }
}

/// The texts that a schema lists as allowed.
fn allowed(schema: &'static Value) -> Vec<&'static str> {
    let listed = schema.get("enum").and_then(Value::as_array);
    listed.map_or_else(Vec::new, |values| {
        values.iter().filter_map(Value::as_str).collect()
    })
}

/// What a schema asks for, in words.
fn expected(schema: &'static Value) -> String {
    let allowed = allowed(schema);
    if !allowed.is_empty() {
        return one_of(&allowed);
    }
    let text = |key| schema.get(key).and_then(Value::as_str);
    match text("type") {
        Some("boolean") => "true or false".to_owned(),
        Some("integer") => {
            let number = |key| schema.get(key).map(Value::to_string).unwrap_or_default();
            let range = format!(
                "a number from {} to {}",
                number("minimum"),
                number("maximum")
            );
            match schema.pointer("/not/const") {
                Some(not) => format!("{range}, but not {not}"),
                None => range,
            }
        }
        Some("object") => match schema.get("properties").and_then(Value::as_object) {
            Some(keys) => {
                let keys: Vec<_> = keys.keys().map(String::as_str).collect();
                format!("a block with the keys {}", keys.join(", "))
            }
            None => "a block of keys and texts".to_owned(),
        },
        _ => match schema.pointer("/examples/0").and_then(Value::as_str) {
            Some(example) => format!("text like {example}"),
            None => "text".to_owned(),
        },
    }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [firsts @ .., last] => format!("{} or {last}", firsts.join(", ")),
    }
}

/// The known word that `word` was probably meant to be.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    /// Nothing in the format is half as long, and distances take time.
    const LEN_MAX: usize = 40;
    if word.len() > LEN_MAX {
        return None;
    }
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let word = plain(word);
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), *known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
