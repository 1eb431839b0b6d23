//! Specs: YAML text to [`VolumeDocument`].
//!
//! Owns the format of `kind: Volume` documents: the parser, the schema, and what is said about
//! mistakes. Pure: text in, documents or problems out. Where the text comes from, and what becomes
//! of documents, is decided elsewhere.
//!
//! ```text
//!  text ─► tree (places) ─► JSON ─► wire types ─► VolumeDocument
//!                            │          │ refused
//!                            └──► schema, texts ─► Problems
//! ```

mod explain;
mod form;
mod problem;
mod reference;
mod render;
mod schema;
mod tree;
mod values;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

pub use problem::{Problem, Problems};
pub use render::{excerpt, render};

use crate::model::VolumeDocument;
use problem::{Finding, Findings, Place, Source};
use tree::{At, Kind, Node};

/// Largest file read, in bytes: room for about two thousand volumes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The `apiVersion` that documents are written in.
pub const API_VERSION: &str = "volume-daemon.io/v1alpha1";

/// One valid document of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What it asks for.
    pub document: VolumeDocument,
    /// The same as JSON, exactly as written: no defaults added, keys sorted. Equal for texts
    /// that differ in layout and comments only. [`from_manifest`] reads it back.
    pub manifest: Value,
    /// The line of its name, counted from 1.
    pub line: u32,
    /// The column of its name, in characters, counted from 1.
    pub column: u32,
    /// The bytes of its name in the file.
    pub span: Range<usize>,
}

/// Reads all documents of a spec file. `file` is what problems call it.
///
/// # Errors
///
/// Every mistake that can be told from the others, up to [`Problems::MAX`]. One mistake refuses the
/// whole file. So does a file without any document: a file cut short by a crash or a full disk must not
/// look like one from which all volumes were removed.
pub fn parse(file: &str, text: &[u8]) -> Result<Vec<Parsed>, Problems> {
    let mut findings = Findings::default();
    let (text, unreadable) = readable(text);
    let source = Source::new(file, text);
    if let Some((at, finding)) = unreadable {
        findings.push(finding.at(source.place(at), String::new()));
    }
    let mut parsed = Vec::new();
    if findings.is_empty() {
        let nodes = tree::read(&source, &mut findings);
        if nodes.is_empty() && findings.is_empty() {
            let finding = Finding::new("the file has no document")
                .suggesting("delete the file if its volumes are no longer declared");
            findings.push(finding.at(source.place(0), String::new()));
        }
        refuse_duplicate_names(&nodes, &mut findings);
        for node in &nodes {
            parsed.extend(document(node, &source, &mut findings));
        }
    }
    match findings.into_problems(&source) {
        None => Ok(parsed),
        Some(problems) => Err(problems),
    }
}

/// Reads a document back from its manifest, or from any other JSON.
///
/// # Errors
///
/// As [`parse`], without file, lines and columns.
pub fn from_manifest(manifest: &Value) -> Result<VolumeDocument, Problems> {
    let refused = match wire::read(manifest) {
        Ok(document) => return Ok(document),
        Err(refused) => refused,
    };
    let source = Source::default();
    let mut findings = Findings::default();
    let node = Node::from_json(manifest);
    let json = node.json(&source, &mut findings);
    refuse(&node, &json, &refused, &source, &mut findings);
    Err(findings
        .into_problems(&source)
        .expect("a refusal leaves a finding"))
}

/// The JSON Schema (2020-12) of a spec document, for editors and for other programs.
pub fn schema() -> Value {
    schema::generate()
}

/// The reference of the format for people, in Markdown: every key with type, default, meaning and an
/// example. Generated from the same schema.
pub fn reference() -> String {
    reference::generate()
}

/// Whether a file of this name in a spec directory is a spec: `*.yaml` or `*.yml`, and not hidden.
/// Editors' and Kubernetes' own files begin with a dot or end otherwise (`*~`, `*.tmp`, `*.swp`).
pub fn is_spec_name(name: &str) -> bool {
    let stem = name
        .strip_suffix(".yaml")
        .or_else(|| name.strip_suffix(".yml"));
    stem.is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.'))
}

/// The part of `bytes` that is text, and what is wrong at which byte if that is not all of it.
fn readable(bytes: &[u8]) -> (&str, Option<(usize, Finding)>) {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
        return ("", Some((0, Finding::new(message).suggesting("split it"))));
    }
    let chunk = bytes.utf8_chunks().next();
    let text = chunk.as_ref().map_or("", |chunk| chunk.valid());
    if let Some(byte) = bytes.get(text.len()) {
        let finding = Finding::new(format!("this is not UTF-8: byte 0x{byte:02x}"));
        let finding = finding.suggesting("save the file as UTF-8");
        return (text, Some((text.len(), finding)));
    }
    let nul = text.find('\0').map(|at| {
        let finding = Finding::new("this is not text: it contains a NUL byte");
        (at, finding.suggesting("restore the file"))
    });
    (text, nul)
}

/// Reads one document.
fn document(node: &Node, source: &Source<'_>, findings: &mut Findings) -> Option<Parsed> {
    if findings.is_full() {
        return None;
    }
    let before = findings.len();
    let manifest = node.json(source, findings);
    match wire::read(&manifest) {
        Ok(document) => {
            let name = node.place_of(&["metadata", "name"], At::Value);
            (findings.len() == before).then(|| Parsed {
                document,
                manifest,
                line: name.line,
                column: name.column,
                span: source.span(name),
            })
        }
        Err(refused) => {
            refuse(node, &manifest, &refused, source, findings);
            None
        }
    }
}

/// Adds at least one finding for a document that was refused.
fn refuse(
    node: &Node,
    json: &Value,
    refused: &wire::Refused,
    source: &Source<'_>,
    findings: &mut Findings,
) {
    let before = findings.len();
    explain::explain(node, json, source, findings);
    if findings.len() == before {
        let place = node.place_of(&[], At::Key);
        findings.push(Finding::new(refused.to_string()).at(place, String::new()));
    }
}

/// Finds names used by more than one document, valid or not.
fn refuse_duplicate_names(nodes: &[Node], findings: &mut Findings) {
    const NAME: [&str; 2] = ["metadata", "name"];
    let mut first: BTreeMap<&str, Place> = BTreeMap::new();
    for node in nodes {
        let Some(Kind::Text(name)) = node.get(&NAME).map(|node| &node.kind) else {
            continue;
        };
        let place = node.place_of(&NAME, At::Value);
        match first.get(name.as_str()) {
            None => {
                first.insert(name, place);
            }
            Some(first) => {
                let message = format!("the name {name:?} is already used in line {}", first.line);
                let finding = Finding::new(message);
                let finding = finding.suggesting("give every volume a name of its own");
                findings.push(finding.at(place, tree::written(&NAME)));
            }
        }
    }
}
