//! The types, the schema and the explanations are three accounts of one format. They must agree.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::super::*;

/// Values for any key, most of them wrong.
fn oddities() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(1),
        json!(1.0),
        json!(-1),
        json!([]),
        json!({}),
        json!(""),
        json!("x"),
        json!("a\tb"),
        json!("x".repeat(300)),
        json!({ "name": "x" }),
    ]
}

/// One of `good`, or now and then anything else.
fn value(good: &[Value]) -> BoxedStrategy<Value> {
    prop_oneof![
        30 => prop::sample::select(good.to_vec()),
        1 => prop::sample::select(oddities()),
    ]
    .boxed()
}

/// A block of some of `keys`, rarely with one that nobody knows.
fn block(keys: Vec<(&'static str, f64, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let entries: Vec<_> = keys
        .into_iter()
        .map(|(key, often, value)| {
            prop::option::weighted(often, value).prop_map(move |value| value.map(|it| (key, it)))
        })
        .collect();
    let unknown = prop::option::weighted(0.03, Just(("unknown", json!(1))));
    (entries, unknown)
        .prop_map(|(entries, unknown)| {
            let known = entries.into_iter().flatten().chain(unknown);
            let entries: Map<_, _> = known.map(|(key, it)| (key.to_owned(), it)).collect();
            Value::Object(entries)
        })
        .boxed()
}

/// A block, or now and then anything else.
fn or_odd(block: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop_oneof![30 => block, 1 => prop::sample::select(oddities())].boxed()
}

fn texts(pattern: &'static str) -> BoxedStrategy<Value> {
    pattern.prop_map(Value::String).boxed()
}

fn name(good: &str) -> BoxedStrategy<Value> {
    value(&[json!(good), json!("2aff4799-7a2b-4c0e-9c5e-0d6f1f6f2b11")])
}

fn size() -> BoxedStrategy<Value> {
    let good = ["40GiB", "1B", "007MiB", "16384TiB"].map(Value::from);
    prop_oneof![4 => value(&good), 1 => texts("[0-9]{0,9}(B|GB|MiB|GiB|TiB| GiB)?")].boxed()
}

fn attach_to() -> BoxedStrategy<Value> {
    let vms = ["self", "none", "None", "web 1"].map(Value::from);
    let ids = [0, 1, 2, 3, 4, 255, 256].map(Value::from);
    block(vec![
        ("vm", 0.97, value(&vms)),
        ("deviceId", 0.5, value(&ids)),
        ("move", 0.5, value(&[json!("Never"), json!("WhenFree")])),
    ])
}

fn export() -> BoxedStrategy<Value> {
    let names = prop_oneof![value(&[json!("a")]), texts("[!-~]{1,4}")];
    let spans = ["5m", "1h30m5s", "168h", "0001h"].map(Value::from);
    let spans = prop_oneof![
        value(&spans),
        texts("([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?m?")
    ];
    block(vec![
        ("enabled", 0.5, value(&[json!(true), json!(false)])),
        ("name", 0.5, names.boxed()),
        ("readOnly", 0.5, value(&[json!(true), json!(false)])),
        ("drainTimeout", 0.5, spans.boxed()),
    ])
}

fn spec(creates: bool) -> BoxedStrategy<Value> {
    let existing = block(vec![
        (
            "id",
            0.5,
            value(&[json!("2aff4799-7a2b-4c0e-9c5e-0d6f1f6f2b11")]),
        ),
        ("name", 0.5, name("data")),
    ]);
    let (new, old) = if creates { (0.97, 0.03) } else { (0.03, 0.97) };
    let modes = ["Enforce", "Observe"].map(Value::from);
    let policies = ["Retain", "Detach", "Delete"].map(Value::from);
    let bools = [true, false].map(Value::from);
    block(vec![
        ("mode", 0.5, value(&modes)),
        ("suspend", 0.5, value(&bools)),
        ("volumeName", new / 2.0, name("data")),
        ("size", if creates { 0.97 } else { 0.5 }, size()),
        ("zone", new, name("zone-1")),
        ("diskOffering", new, name("Custom")),
        ("existing", old, or_odd(existing)),
        ("attachTo", 0.5, or_odd(attach_to())),
        ("export", 0.5, or_odd(export())),
        ("reclaimPolicy", 0.5, value(&policies)),
        ("deletionProtection", 0.5, value(&bools)),
    ])
}

fn metadata() -> BoxedStrategy<Value> {
    let names = prop_oneof![4 => value(&[json!("data")]), 1 => texts("[a-zA-Z0-9.-]{0,66}")];
    let labels = prop::collection::btree_map(
        "[a-zA-Z0-9]{1,3}([-._/ ~]{0,1}[a-z0-9]{1,40}){0,2}",
        prop_oneof![9 => texts("[a-z]{0,9}"), 1 => prop::sample::select(oddities())],
        0..4,
    );
    let labels = labels.prop_map(|labels| Value::Object(labels.into_iter().collect()));
    let many = Just(
        (0..65)
            .map(|n| (format!("k{n}"), json!("")))
            .collect::<Map<_, _>>(),
    );
    let labels = prop_oneof![20 => labels, 1 => many.prop_map(Value::Object)];
    block(vec![
        ("name", 0.97, names.boxed()),
        ("labels", 0.5, or_odd(labels.boxed())),
    ])
}

/// Documents, many of them with mistakes.
pub(super) fn document() -> BoxedStrategy<Value> {
    let spec = any::<bool>().prop_flat_map(spec);
    block(vec![
        (
            "apiVersion",
            0.99,
            value(&[json!("volume-daemon.io/v1alpha1")]),
        ),
        ("kind", 0.99, value(&[json!("Volume")])),
        ("metadata", 0.99, or_odd(metadata())),
        ("spec", 0.99, or_odd(spec.boxed())),
    ])
}

/// What explaining `json` finds, whether it is valid or not.
fn findings(json: &Value) -> Option<Problems> {
    let source = Source::default();
    let mut findings = Findings::default();
    let node = Node::from_json(json);
    let json = node.json(&source, &mut findings);
    explain::explain(&node, &json, &source, &mut findings);
    findings.into_problems(&source)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Every refusal is explained, and nothing that is accepted would be complained about: an editor
    /// with the schema and the daemon say the same.
    #[test]
    fn types_schema_and_explanations_agree(json in document()) {
        match (wire::read(&json), findings(&json)) {
            (Ok(_), None) => {}
            (Ok(_), Some(problems)) => prop_assert!(false, "valid, but: {problems}"),
            (Err(refused), None) => prop_assert!(false, "unexplained: {refused}"),
            (Err(_), Some(_)) => prop_assert!(from_manifest(&json).is_err()),
        }
    }

    /// JSON is YAML: what a file says is what an API body says.
    #[test]
    fn a_file_and_a_body_are_read_alike(json in document()) {
        let text = json.to_string();
        match (parse("f", text.as_bytes()), from_manifest(&json)) {
            (Ok(parsed), Ok(document)) => {
                prop_assert_eq!(&parsed[0].document, &document);
                prop_assert_eq!(&parsed[0].manifest, &json);
            }
            (Err(in_file), Err(in_body)) => {
                let plain = |problems: &Problems| -> Vec<_> {
                    let mut all: Vec<_> = problems
                        .iter()
                        .map(|it| (it.path.clone(), it.message.clone()))
                        .collect();
                    all.sort();
                    all
                };
                prop_assert_eq!(plain(&in_file), plain(&in_body));
            }
            (in_file, in_body) => prop_assert!(false, "{in_file:?} but {in_body:?}"),
        }
    }
}

/// The generator is worth something only if it makes both valid and invalid documents.
#[test]
fn the_generator_makes_valid_and_invalid_documents() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut valid = 0;
    for _ in 0..400 {
        let tree = document().new_tree(&mut runner).expect("a document");
        valid += u32::from(wire::read(&tree.current()).is_ok());
    }
    assert!((40..360).contains(&valid), "{valid} of 400 are valid");
}
