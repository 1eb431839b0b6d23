//! Our reading of the schema, held against a complete validator of JSON Schema.

use std::collections::BTreeSet;

use jsonschema::error::{ValidationError, ValidationErrorKind};
use proptest::prelude::*;

use super::super::form::{Fault, IGNORED, KNOWN, faults};
use super::super::*;
use super::agreement::document;

/// A mistake and where it is, as both ways of finding it can say.
type Said = BTreeSet<(String, String)>;

fn by_us(schema: &Value, json: &Value) -> Said {
    let mut said = Said::new();
    faults(schema, json, &mut |path, fault| {
        said.insert((path.join("/"), format!("{fault:?}")));
    });
    said
}

fn by_the_validator(validator: &jsonschema::Validator, json: &Value) -> Said {
    let one = |error: &ValidationError<'_>| -> Vec<String> {
        let say = |fault: Fault<'_>| format!("{fault:?}");
        vec![match error.kind() {
            ValidationErrorKind::Pattern { .. }
            | ValidationErrorKind::MinLength { .. }
            | ValidationErrorKind::MaxLength { .. }
            | ValidationErrorKind::PropertyNames { .. } => return Vec::new(),
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let keys = unexpected.iter();
                return keys.map(|key| say(Fault::UnknownKey(key))).collect();
            }
            ValidationErrorKind::Required { property } => {
                say(Fault::Missing(property.as_str().expect("a key")))
            }
            ValidationErrorKind::Type { .. } => say(Fault::WrongType),
            ValidationErrorKind::Enum { .. } | ValidationErrorKind::Constant { .. } => {
                say(Fault::UnknownValue)
            }
            ValidationErrorKind::FalseSchema => say(Fault::Forbidden),
            ValidationErrorKind::Not { .. } => say(Fault::Excluded),
            ValidationErrorKind::Minimum { .. } | ValidationErrorKind::Maximum { .. } => {
                say(Fault::OutOfRange)
            }
            ValidationErrorKind::MinProperties { .. } => say(Fault::TooFewKeys),
            ValidationErrorKind::MaxProperties { limit } => say(Fault::TooManyKeys(*limit)),
            other => panic!("{other:?}"),
        }]
    };
    let mut said = Said::new();
    for error in validator.iter_errors(json) {
        let path = error.instance_path().as_str().trim_start_matches('/');
        for fault in one(&error) {
            said.insert((path.replace("~1", "/").replace("~0", "~"), fault));
        }
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn we_find_what_a_complete_validator_finds(
        documents in prop::collection::vec(document(), 16),
    ) {
        let schema = schema::generate();
        let validator = jsonschema::draft202012::new(&schema).expect("a schema");
        for json in documents {
            prop_assert_eq!(by_us(&schema, &json), by_the_validator(&validator, &json), "{}", json);
        }
    }
}

#[test]
fn every_word_of_the_schema_is_known() {
    fn check(schema: &Value) {
        let Value::Object(words) = schema else {
            assert!(schema.is_boolean(), "{schema}");
            return;
        };
        for (word, value) in words {
            let word = word.as_str();
            assert!(KNOWN.contains(&word) || IGNORED.contains(&word), "{word}");
            match word {
                "properties" => value.as_object().expect("a block").values().for_each(check),
                "additionalProperties" | "if" | "then" | "else" | "not" => check(value),
                "type" => {
                    let name = value.as_str().expect("one type");
                    let known = ["object", "string", "boolean", "integer"];
                    assert!(known.contains(&name), "{name}");
                }
                _ => {}
            }
        }
    }
    check(&schema::generate());
}
