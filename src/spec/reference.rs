//! The reference of the format for people, generated from the schema: every key with its type,
//! default, meaning and an example.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::schema;

/// What stands above the keys.
const HEAD: &str = "\
<!-- Written by `make schema` from the types in src/spec/wire.rs. Do not edit. -->

# Every key of a spec

A spec file is YAML with one or more documents, each about one volume. Files are `*.yaml` or `*.yml` in the directory
`specs.dir`, at most 1 MiB each. One mistake refuses the whole file: what it said before stays in force. An unknown key is a
mistake, and so is `key:` without a value: leave the key out to get its default.

`volume-daemon validate FILE` says what is wrong with a file, with line and column; `volume-daemon plan FILE` says what it would lead
to. Editors complete and check specs with [the JSON Schema](../schema/volume.schema.json). Commented examples:
[specs/](../specs/minimal.yaml).

- **Sizes** are a whole number and a unit without a space: `40GiB`; MiB, GiB, TiB are powers of 1024, and B is bytes.
- **Times** are hours, minutes and seconds: `90s`, `5m`, `1h30m`.
- **Names or UUIDs**: where both are allowed, text in the form of a UUID is one. Names are looked up once for each version of the spec.

The usual case:

";

/// Heads the document with every key in it.
const ALL: &str = "
## Every key at once

For a new volume; with `existing`, the keys that are marked above are left out.

";

/// The whole document, in Markdown.
pub(super) fn generate() -> String {
    let schema = schema::generate();
    // Without the line for editors, whose path is right in the folder of examples only.
    let example = include_str!("../../specs/minimal.yaml");
    let (_, example) = example.split_once('\n').unwrap_or_default();
    let mut text = format!("{HEAD}```yaml\n{example}```\n");
    block(&schema, &mut Vec::new(), &mut text);
    text += ALL;
    text += "```yaml\n";
    whole(&schema, 0, &mut text);
    text += "```\n";
    text
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn text_of<'s>(schema: &'s Value, key: &str) -> &'s str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A block with a table of its keys, then the blocks in it.
fn block(schema: &Value, path: &mut Vec<String>, text: &mut String) {
    let Some(keys) = properties(schema) else {
        return;
    };
    let title = if path.is_empty() {
        "The document".to_owned()
    } else {
        format!("`{}`", path.join("."))
    };
    let _ = writeln!(text, "\n## {title}\n\n{}\n", text_of(schema, "description"));
    *text += "| Key | Type | Default | Meaning | Example |\n|---|---|---|---|---|\n";
    for (key, of) in keys {
        let _ = writeln!(
            text,
            "| `{key}` | {} | {} | {} | {} |",
            kind(of, &[path.as_slice(), std::slice::from_ref(key)].concat()),
            default(schema, key, of),
            text_of(of, "description").replace('|', "\\|"),
            example(of).map_or_else(String::new, |value| format!("`{key}: {value}`")),
        );
    }
    for (key, of) in keys {
        path.push(key.clone());
        block(of, path, text);
        path.pop();
    }
}

/// What may stand there.
fn kind(of: &Value, path: &[String]) -> String {
    let number = |key: &str| of.get(key).and_then(Value::as_u64);
    if let Some(values) = of.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values
            .iter()
            .map(|value| format!("`{}`", bare(value)))
            .collect();
        return values.join(" or ");
    }
    match text_of(of, "type") {
        "boolean" => "`true` or `false`".to_owned(),
        "integer" => {
            let except = of
                .pointer("/not/const")
                .map(|not| format!(", but not {not}"));
            format!(
                "number, {}–{}{}",
                number("minimum").unwrap_or(0),
                number("maximum").unwrap_or(u64::MAX),
                except.unwrap_or_default()
            )
        }
        "object" if properties(of).is_some() => {
            let path = path.join(".");
            let anchor = path.replace('.', "").to_lowercase();
            format!("block: [`{path}`](#{anchor})")
        }
        "object" => match number("maxProperties") {
            Some(most) => format!("block of texts, at most {most}"),
            None => "block of texts".to_owned(),
        },
        _ if text_of(of, "format") == "uuid" => "UUID".to_owned(),
        // Its form matters more than its length.
        _ if number("maxLength").is_none() => match example(of) {
            Some(example) => format!("text like `{example}`"),
            None => "text".to_owned(),
        },
        _ => match number("maxLength") {
            Some(most) => format!("text, 1–{most} characters"),
            None => "text".to_owned(),
        },
    }
}

/// What holds if the key is absent, and when it may or must be.
fn default(parent: &Value, key: &str, of: &Value) -> String {
    let lists = |pointer: &str| {
        let listed = parent.pointer(pointer).and_then(Value::as_array);
        listed.is_some_and(|keys| keys.iter().any(|one| one == key))
    };
    let excluded = parent.pointer(&format!("/then/properties/{key}")) == Some(&Value::Bool(false));
    let with = match parent.pointer("/if/required/0").and_then(Value::as_str) {
        Some(other) if excluded => format!("; not with `{other}`"),
        Some(_) | None => String::new(),
    };
    if lists("/required") {
        return format!("required{with}");
    }
    if lists("/else/required") {
        return format!("required for a new volume{with}");
    }
    match of.get("default") {
        Some(value) => format!("`{}`{with}", bare(value)),
        None => format!("none{with}"),
    }
}

/// A value as YAML writes it in one line.
fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{key}: {}", bare(value)))
                .collect();
            match members.as_slice() {
                [] => "{}".to_owned(),
                some => format!("{{ {} }}", some.join(", ")),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

/// An example of a value; `None` for a block, which has a table of its own.
fn example(of: &Value) -> Option<String> {
    if properties(of).is_some() {
        return None;
    }
    let pointers = ["/examples/0", "/default", "/enum/0"];
    let value = pointers.iter().find_map(|pointer| of.pointer(pointer))?;
    Some(bare(value))
}

/// A document with every key that a new volume may have.
fn whole(schema: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    // The key that makes it another kind of document.
    let other = schema.pointer("/if/required/0").and_then(Value::as_str);
    for (key, of) in properties(schema).into_iter().flatten() {
        if Some(key.as_str()) == other {
            continue;
        }
        if let Some(value) = example(of) {
            let _ = writeln!(text, "{indent}{key}: {value}");
        } else {
            let _ = writeln!(text, "{indent}{key}:");
            whole(of, depth + 1, text);
        }
    }
}
