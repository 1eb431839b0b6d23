//! Holds a document against the schema of the format: which keys and what kinds of values it has.
//!
//! Knows the few words of JSON Schema (2020-12) that the generated schema uses, which a test
//! asserts, and whose meaning a test compares with a complete validator. Texts are not judged
//! here: each is read by its own type, which says more.

use serde_json::{Map, Value};

/// A mistake of form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault<'a> {
    /// A block has a key that it may not have.
    UnknownKey(&'a str),
    /// A block lacks a key that it must have.
    Missing(&'a str),
    /// It is a value of another type.
    WrongType,
    /// It is none of the listed values.
    UnknownValue,
    /// It may not be written here.
    Forbidden,
    /// It is the one value that is excluded.
    Excluded,
    /// It is a number, and too small or too large.
    OutOfRange,
    /// It is a block with too few keys.
    TooFewKeys,
    /// It is a block with more keys than this.
    TooManyKeys(u64),
}

/// Words that say nothing about form: remarks, and what is judged text by text.
#[cfg(test)]
pub(super) const IGNORED: [&str; 10] = [
    "$schema",
    "default",
    "description",
    "examples",
    "format",
    "maxLength",
    "minLength",
    "pattern",
    "propertyNames",
    "title",
];

/// Words whose meaning is known here.
#[cfg(test)]
pub(super) const KNOWN: [&str; 14] = [
    "additionalProperties",
    "const",
    "else",
    "enum",
    "if",
    "maxProperties",
    "maximum",
    "minProperties",
    "minimum",
    "not",
    "properties",
    "required",
    "then",
    "type",
];

/// Reports every mistake in `value` and what is in it, each with its path.
pub(super) fn faults<'a>(
    schema: &'a Value,
    value: &'a Value,
    report: &mut impl FnMut(&[&'a str], Fault<'a>),
) {
    Walk {
        path: Vec::new(),
        report,
    }
    .judge(schema, value);
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    let mut valid = true;
    faults(schema, value, &mut |_, _| valid = false);
    valid
}

struct Walk<'a, 'r, R> {
    path: Vec<&'a str>,
    report: &'r mut R,
}

impl<'a, R: FnMut(&[&'a str], Fault<'a>)> Walk<'a, '_, R> {
    fn fault(&mut self, fault: Fault<'a>) {
        (self.report)(&self.path, fault);
    }

    fn judge(&mut self, schema: &'a Value, value: &'a Value) {
        let words = match schema {
            Value::Bool(false) => return self.fault(Fault::Forbidden),
            Value::Object(words) => words,
            _ => return,
        };
        if let Some(Value::String(name)) = words.get("type")
            && !is_a(name, value)
        {
            self.fault(Fault::WrongType);
        }
        let listed = words.get("enum").and_then(Value::as_array);
        if listed.is_some_and(|listed| !listed.contains(value)) {
            self.fault(Fault::UnknownValue);
        }
        if words.get("const").is_some_and(|only| only != value) {
            self.fault(Fault::UnknownValue);
        }
        if words.get("not").is_some_and(|not| is_valid(not, value)) {
            self.fault(Fault::Excluded);
        }
        if let Some(number) = value.as_f64() {
            let limit = |word: &str| words.get(word).and_then(Value::as_f64);
            if limit("minimum").is_some_and(|least| number < least)
                || limit("maximum").is_some_and(|most| number > most)
            {
                self.fault(Fault::OutOfRange);
            }
        }
        if let Value::Object(block) = value {
            self.judge_block(words, block);
        }
        if let Some(condition) = words.get("if") {
            let holds = is_valid(condition, value);
            if let Some(schema) = words.get(if holds { "then" } else { "else" }) {
                self.judge(schema, value);
            }
        }
    }

    fn judge_block(&mut self, words: &'a Map<String, Value>, block: &'a Map<String, Value>) {
        let required = words.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !block.contains_key(key) {
                self.fault(Fault::Missing(key));
            }
        }
        let count = u64::try_from(block.len()).unwrap_or(u64::MAX);
        let limit = |word: &str| words.get(word).and_then(Value::as_u64);
        if limit("minProperties").is_some_and(|least| count < least) {
            self.fault(Fault::TooFewKeys);
        }
        if let Some(most) = limit("maxProperties").filter(|most| count > *most) {
            self.fault(Fault::TooManyKeys(most));
        }
        let properties = words.get("properties").and_then(Value::as_object);
        for (key, value) in block {
            let schema = properties.and_then(|properties| properties.get(key));
            match (schema, words.get("additionalProperties")) {
                (None, Some(Value::Bool(false))) => self.fault(Fault::UnknownKey(key)),
                (Some(schema), _) | (None, Some(schema)) => {
                    self.path.push(key);
                    self.judge(schema, value);
                    self.path.pop();
                }
                (None, None) => {}
            }
        }
    }
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        // A fraction of zero is an integer (JSON Schema, core, section 4.2.3).
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    }
}
