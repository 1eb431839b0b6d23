//! The JSON Schema of the format, generated from the types, and what can be looked up in it.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::tree::written;
use super::wire;

/// The schema of a volume, ready for use. Generating it takes a while, so it is done once.
struct Schema {
    json: Value,
    blocks: Vec<Block>,
}

/// A block of the format, and the keys it may have.
struct Block {
    path: Vec<String>,
    keys: Vec<String>,
}

static VOLUME: LazyLock<Schema> = LazyLock::new(|| {
    let json = generate();
    let mut blocks = Vec::new();
    collect_blocks(&json, &mut Vec::new(), &mut blocks);
    Schema { json, blocks }
});

/// The JSON Schema of a volume document.
pub(super) fn generate() -> Value {
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

/// The schema of the value at `path`; null if the schema has no such key.
pub(super) fn schema_at(path: &[&str]) -> &'static Value {
    path.iter().fold(&VOLUME.json, |schema, name| {
        let property = schema.get("properties").and_then(|keys| keys.get(name));
        property
            .or_else(|| schema.get("additionalProperties"))
            .unwrap_or(&Value::Null)
    })
}

pub(super) fn known_keys(block: &[&str]) -> Vec<&'static str> {
    let found = VOLUME.blocks.iter().find(|known| known.path == block);
    found.map_or_else(Vec::new, |known| {
        known.keys.iter().map(String::as_str).collect()
    })
}

/// The block in which `key` is known, if it is the only one.
pub(super) fn home_of(key: &str) -> Option<String> {
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
pub(super) fn allowed(schema: &'static Value) -> Vec<&'static str> {
    let listed = schema.get("enum").and_then(Value::as_array);
    listed.map_or_else(Vec::new, |values| {
        values.iter().filter_map(Value::as_str).collect()
    })
}

/// What a schema asks for, in words.
pub(super) fn expected(schema: &'static Value) -> String {
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

pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [firsts @ .., last] => format!("{} or {last}", firsts.join(", ")),
    }
}

/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
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
