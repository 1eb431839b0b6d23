//! Valid specs: the examples, what they mean, and that they survive being stored.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::*;
use super::VALID;
use crate::model::ByteSize;
use crate::model::desired::{
    AttachSpec, AttachVm, ExportSpec, Mode, Move, NameOrId, Origin, Reclaim, VolumeSpec,
};

pub(super) const EXAMPLES: [(&str, &str); 8] = [
    ("minimal", include_str!("../../../specs/minimal.yaml")),
    (
        "read-only-export",
        include_str!("../../../specs/read-only-export.yaml"),
    ),
    (
        "adopt-by-id",
        include_str!("../../../specs/adopt-by-id.yaml"),
    ),
    (
        "adopt-by-name",
        include_str!("../../../specs/adopt-by-name.yaml"),
    ),
    ("detached", include_str!("../../../specs/detached.yaml")),
    (
        "failover-root",
        include_str!("../../../specs/failover-root.yaml"),
    ),
    (
        "observe-only",
        include_str!("../../../specs/observe-only.yaml"),
    ),
    ("several", include_str!("../../../specs/several.yaml")),
];

fn document(text: &str) -> VolumeDocument {
    let mut parsed = parse("f", text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"));
    parsed.remove(0).document
}

#[test]
fn every_example_is_valid_and_can_be_stored() {
    let mut names = BTreeSet::new();
    for (file, text) in EXAMPLES {
        let parsed = parse(file, text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"));
        for Parsed {
            document, manifest, ..
        } in parsed
        {
            assert_eq!(from_manifest(&manifest).as_ref(), Ok(&document), "{file}");
            assert!(names.insert(document.name), "{file}: a name of its own");
        }
    }
    assert_eq!(names.len(), EXAMPLES.len() + 1, "one file has two");
}

#[test]
fn every_example_of_the_folder_is_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/specs");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .expect("the examples")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    found.sort();
    let mut known: Vec<_> = EXAMPLES
        .iter()
        .map(|(name, _)| std::ffi::OsString::from(format!("{name}.yaml")))
        .collect();
    known.sort();
    assert_eq!(found, known);
}

#[test]
fn the_examples_show_every_key() {
    fn keys(of: &Value, path: &str, into: &mut BTreeSet<String>) {
        for (key, below) in of.as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            keys(below, &path, into);
            into.insert(path);
        }
    }
    fn known(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            known(below, &path, into);
            into.insert(path);
        }
    }
    let mut shown = BTreeSet::new();
    for (file, text) in EXAMPLES {
        for parsed in parse(file, text.as_bytes()).expect("valid") {
            keys(&parsed.manifest, "", &mut shown);
        }
    }
    let mut all = BTreeSet::new();
    known(&schema(), "", &mut all);
    let missing: Vec<_> = all.difference(&shown).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(all.len() > 20, "the schema was walked: {all:?}");
}

#[test]
fn the_reference_shows_a_valid_spec_with_every_key() {
    let reference = reference();
    let blocks: Vec<&str> = reference.split("```yaml\n").skip(1).collect();
    let [usual, whole] = blocks.as_slice() else {
        panic!("{reference}");
    };
    let spec = |block: &str| document(block.split("```").next().expect("a block"));
    assert_eq!(spec(usual).name.as_str(), "pgtest2-data");
    let whole = spec(whole).spec;
    assert!(whole.attach_to.is_some_and(|at| at.device_id.is_some()));
    // The schema's default is the one in force.
    let default = values::DrainTimeout::DEFAULT.0;
    assert_eq!(whole.export.expect("a block").drain_timeout, default);
    assert_eq!(
        schema().pointer("/properties/spec/properties/export/properties/drainTimeout/default"),
        Some(&Value::from("5m"))
    );
    for row in reference.lines().filter(|line| line.starts_with("| `")) {
        assert_eq!(row.matches('|').count(), 6, "{row}");
        assert!(!row.contains("|  |") || row.contains("block: "), "{row}");
    }
}

#[test]
fn defaults_are_the_safe_ones() {
    let document = document(VALID);
    assert_eq!(document.name.as_str(), "data");
    assert!(document.labels.is_empty());
    assert_eq!(
        document.spec,
        VolumeSpec {
            mode: Mode::Enforce,
            suspend: false,
            origin: Origin::Create {
                volume_name: "data".to_owned(),
                size: ByteSize::gib(40),
                zone: NameOrId::Name("zone-1".to_owned()),
                offering: NameOrId::Name("Custom".to_owned()),
            },
            attach_to: None,
            export: None,
            reclaim_policy: Reclaim::Retain,
            deletion_protection: true,
        }
    );
}

#[test]
fn every_key_reaches_the_model() {
    let id = "2aff4799-7a2b-4c0e-9c5e-0d6f1f6f2b11";
    let text = format!(
        "\
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata:
  name: data
  labels: {{ job: 'job 1', a.b/c: '' }}
spec:
  mode: Observe
  suspend: true
  volumeName: Data disk
  size: 1025MiB
  zone: {id}
  diskOffering: {id}
  attachTo: {{ vm: {id}, deviceId: 255, move: WhenFree }}
  export: {{ name: x, readOnly: true, drainTimeout: 1h30m5s }}
  reclaimPolicy: Delete
  deletionProtection: false
"
    );
    let document = document(&text);
    let labels: Vec<_> = document
        .labels
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(labels, [("a.b/c", ""), ("job", "job 1")]);
    assert_eq!(
        document.spec,
        VolumeSpec {
            mode: Mode::Observe,
            suspend: true,
            origin: Origin::Create {
                volume_name: "Data disk".to_owned(),
                size: ByteSize::mib(1025),
                zone: NameOrId::Id(id.parse().expect("a UUID")),
                offering: NameOrId::Id(id.parse().expect("a UUID")),
            },
            attach_to: Some(AttachSpec {
                vm: AttachVm::Vm(NameOrId::Id(id.parse().expect("a UUID"))),
                device_id: Some(255),
                take: Move::WhenFree,
            }),
            export: Some(ExportSpec {
                name: Some("x".parse().expect("an export name")),
                read_only: true,
                drain_timeout: Duration::from_secs(5405),
            }),
            reclaim_policy: Reclaim::Delete,
            deletion_protection: false,
        }
    );
}

#[test]
fn the_forms_of_origin_attachment_and_export() {
    let spec = |spec: &str| {
        let head = "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {name: data}\n";
        document(&format!("{head}spec: {{{spec}}}\n")).spec
    };
    let id = "2AFF4799-7a2b-4c0e-9c5e-0d6f1f6f2b11";
    let by_id = spec(&format!("existing: {{id: {id}}}, size: 2TiB"));
    assert_eq!(
        by_id.origin,
        Origin::Existing {
            volume: NameOrId::Id(id.parse().expect("a UUID")),
            size: Some(ByteSize::gib(2048)),
        }
    );
    // `name` is taken at its word, even if it looks like an id.
    let by_name = spec(&format!("existing: {{name: {id}}}"));
    assert_eq!(
        by_name.origin,
        Origin::Existing {
            volume: NameOrId::Name(id.to_owned()),
            size: None,
        }
    );
    let vm = |vm: &str| {
        let spec = spec(&format!("existing: {{name: x}}, attachTo: {{vm: {vm}}}"));
        spec.attach_to.expect("a block").vm
    };
    assert_eq!(vm("self"), AttachVm::SelfVm);
    assert_eq!(vm("none"), AttachVm::Nobody);
    assert_eq!(
        vm("web 1"),
        AttachVm::Vm(NameOrId::Name("web 1".to_owned()))
    );
    // YAML 1.2: these are texts.
    assert_eq!(vm("no"), AttachVm::Vm(NameOrId::Name("no".to_owned())));
    let export = |export: &str| spec(&format!("existing: {{name: x}}, export: {export}")).export;
    assert_eq!(
        export("{}"),
        Some(ExportSpec {
            name: None,
            read_only: false,
            drain_timeout: Duration::from_secs(300),
        })
    );
    assert_eq!(export("{enabled: false, name: y}"), None);
}

#[test]
fn layout_does_not_matter_to_the_manifest() {
    let parsed = |text: &str| parse("f", text.as_bytes()).expect("valid").remove(0);
    let block = parsed(VALID);
    let dressed = parsed(&format!(
        "\u{feff}# first\r\n---\r\n{}\r\n...\r\n---\r\n# nothing more\r\n",
        VALID.replace('\n', " # why\r\n")
    ));
    let json = r#"{"spec": {"diskOffering": "Custom", "zone": "zone-1", "size": "40GiB"},
        "kind": "Volume", "apiVersion": "volume-daemon.io/v1alpha1", "metadata": {"name": "data"}}"#;
    for other in [&dressed, &parsed(json)] {
        assert_eq!(other.manifest.to_string(), block.manifest.to_string());
        assert_eq!(other.document, block.document);
    }
    assert_eq!((block.line, block.column), (4, 9));
    assert_eq!((dressed.line, dressed.column), (6, 9));
    assert_eq!(&VALID[block.span.clone()], "data");
}
