//! YAML text as a tree in which every key and value knows its place.
//!
//! serde's derive stops at the first mistake and forgets where it was. So a text is first read
//! into this tree under strict rules, which then becomes JSON for everything else. What is
//! legal YAML but has no place in a spec (anchors, tags, merge keys, duplicate keys, keys
//! that are not text) is refused here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_yaml::budget::BudgetBreach;
use serde_yaml::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy, Spanned, Tagged};

use super::problem::{Finding, Findings, Place, Source};

/// Deepest nesting of blocks. A spec needs 4.
const DEPTH_MAX: usize = 16;
/// Most documents in one file: as many of the shortest as a file can hold.
const DOCUMENTS_MAX: usize = 10_000;
/// Most keys and values in one document. A spec needs about 50.
const NODES_MAX: usize = 10_000;

/// One key or value.
#[derive(Debug)]
pub(super) struct Node {
    /// Of a block written over several lines: where its first key is, with no length.
    pub place: Place,
    pub kind: Kind,
    tag: Option<String>,
}

/// What a key or value is.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Integer(Number),
    /// A number with a fraction or exponent, or beyond 64 bits: nothing in a spec is one.
    Fraction(f64),
    Text(String),
    /// Nothing in a spec is a list, so its items are not kept.
    List,
    Block(Vec<(Node, Node)>),
}

/// Which part of an entry a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Key,
    /// The value, or its key where the value is a block or nothing at all.
    Value,
}

/// Reads every document of `source` that can be read. Documents without content are left out.
///
/// What the parser refuses goes to `findings`; a syntax error ends the reading, since nothing
/// after it can be trusted.
pub(super) fn read(source: &Source<'_>, findings: &mut Findings) -> Vec<Node> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_aliases: 0,
            max_anchors: 0,
        },
        strict_booleans: true,
        with_snippet: false,
        // The next three are refused by `Node::json`, all of them at once.
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    let mut nodes = Vec::new();
    let mut bytes = source.text().as_bytes();
    for document in serde_yaml::read_with_options::<_, Spanned<Tagged<Kind>>>(&mut bytes, options) {
        match document {
            // The parser's own limit does not count when it reads one document after the other.
            Ok(document) if nodes.len() == DOCUMENTS_MAX => {
                let message = format!("the file has more than {DOCUMENTS_MAX} documents");
                let finding = Finding::new(message).suggesting("split it");
                findings.push(finding.at(Node::new(document).head(), String::new()));
                break;
            }
            Ok(document) => nodes.push(Node::new(document)),
            Err(error) => findings.push(refusal(&error)),
        }
        if findings.is_full() {
            break;
        }
    }
    nodes
}

/// Says in our words what the parser refused.
fn refusal(error: &serde_yaml::Error) -> Finding {
    use serde_yaml::Error;
    let finding = match error.without_snippet() {
        Error::UnknownAnchor { .. }
        | Error::Budget {
            breach: BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. },
            ..
        } => Finding::new("anchors and aliases are not supported")
            .suggesting("write the value out; quote a text that starts with '&' or '*'"),
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => Finding::new(format!("nested more than {DEPTH_MAX} levels deep")),
        Error::Budget { .. } => Finding::new("larger than any spec"),
        other => {
            let text = other.to_string();
            // The place is said elsewhere.
            let end = text.rfind(" at line ").unwrap_or(text.len());
            let message = &text[..end];
            Finding::new(message).perhaps_suggesting(hint(message).map(str::to_owned))
        }
    };
    let place = error.location().map(place).unwrap_or_default();
    finding.at(place, String::new())
}

/// What to do about a message of the YAML parser, for the usual ones.
fn hint(message: &str) -> Option<&'static str> {
    if message.contains("tab") {
        Some("indent with spaces")
    } else if message.contains("mapping values are not allowed") {
        Some("check the indentation; quote a text that contains ': '")
    } else if message.contains("did not find expected key") {
        Some("check the indentation")
    } else if message.contains("unexpected character: `\\") {
        Some("remove it")
    } else if message.contains("unexpected character") {
        Some("quote a text that starts with a special character")
    } else {
        None
    }
}

fn place(location: serde_yaml::Location) -> Place {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        line: number(location.line()),
        column: number(location.column()),
        chars: u32::try_from(location.span().len()).unwrap_or(u32::MAX),
    }
}

impl Node {
    fn new(Spanned { value, defined, .. }: Spanned<Tagged<Kind>>) -> Self {
        let Tagged(kind, tag) = value;
        Self {
            place: place(defined),
            kind,
            tag,
        }
    }

    /// A tree without places.
    pub fn from_json(json: &Value) -> Self {
        let kind = match json {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(*value),
            Value::Number(number) => match number.as_f64() {
                Some(fraction) if number.is_f64() => Kind::Fraction(fraction),
                _ => Kind::Integer(number.clone()),
            },
            Value::String(text) => Kind::Text(text.clone()),
            Value::Array(_) => Kind::List,
            Value::Object(entries) => Kind::Block(
                entries
                    .iter()
                    .map(|(key, value)| (Self::text(key), Self::from_json(value)))
                    .collect(),
            ),
        };
        Self {
            place: Place::default(),
            kind,
            tag: None,
        }
    }

    fn text(text: &str) -> Self {
        Self {
            place: Place::default(),
            kind: Kind::Text(text.to_owned()),
            tag: None,
        }
    }

    /// The tree as JSON, without what JSON or a spec has no room for; that goes to `findings`.
    ///
    /// A fraction becomes null, which no key takes: JSON Schema would take 1.0 for an integer.
    pub fn json(&self, source: &Source<'_>, findings: &mut Findings) -> Value {
        self.to_json(&mut Vec::new(), source, findings)
    }

    fn to_json(
        &self,
        path: &mut Vec<String>,
        source: &Source<'_>,
        findings: &mut Findings,
    ) -> Value {
        self.refuse_tag(path, findings);
        let entries = match &self.kind {
            Kind::Null | Kind::Fraction(_) => return Value::Null,
            Kind::Bool(value) => return Value::Bool(*value),
            Kind::Integer(number) => return Value::Number(number.clone()),
            Kind::Text(text) => return Value::String(text.clone()),
            Kind::List => return Value::Array(Vec::new()),
            Kind::Block(entries) => entries,
        };
        let mut object = Map::new();
        for (key, value) in entries {
            key.refuse_tag(path, findings);
            let name = match key.as_key(source) {
                Ok(name) => name,
                Err(finding) => {
                    findings.push(finding.at(key.place, written(path)));
                    continue;
                }
            };
            path.push(name.to_owned());
            let json = value.to_json(path, source, findings);
            if object.contains_key(name) {
                let first = self.entry(name).map_or(0, |(key, _)| key.place.line);
                let message = format!("this key is written twice, first in line {first}");
                let finding = Finding::new(message).suggesting("remove one");
                findings.push(finding.at(key.place, written(path)));
            } else {
                object.insert(name.to_owned(), json);
            }
            path.pop();
        }
        Value::Object(object)
    }

    fn refuse_tag(&self, path: &[String], findings: &mut Findings) {
        if let Some(tag) = &self.tag {
            let tag = tag.replace("tag:yaml.org,2002:", "!!");
            let finding = Finding::new(format!("tags are not supported, found {tag}"))
                .suggesting("remove the tag; quote a text that starts with '!'");
            findings.push(finding.at(self.place, written(path)));
        }
    }

    /// The text of a key.
    fn as_key(&self, source: &Source<'_>) -> Result<&str, Finding> {
        let not_text = Finding::new("a key must be text");
        match &self.kind {
            Kind::Text(text) if text == "<<" => {
                Err(Finding::new("merge keys are not supported").suggesting("write the keys out"))
            }
            Kind::Text(text) => Ok(text),
            Kind::Null | Kind::Bool(_) | Kind::Integer(_) | Kind::Fraction(_) => {
                let written = source.slice(self.place);
                Err(not_text.perhaps_suggesting(written.map(|text| format!("write {text:?}"))))
            }
            Kind::List | Kind::Block(_) => Err(not_text),
        }
    }

    fn is_text(&self, text: &str) -> bool {
        matches!(&self.kind, Kind::Text(own) if own == text)
    }

    /// The first entry called `name`.
    fn entry(&self, name: &str) -> Option<&(Node, Node)> {
        match &self.kind {
            Kind::Block(entries) => entries.iter().find(|(key, _)| key.is_text(name)),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Integer(_)
            | Kind::Fraction(_)
            | Kind::Text(_)
            | Kind::List => None,
        }
    }

    /// The value at `path`, if it is there.
    pub fn get(&self, path: &[&str]) -> Option<&Node> {
        path.iter()
            .try_fold(self, |node, name| node.entry(name).map(|(_, value)| value))
    }

    /// Where to point for a finding about `path`: at the last part of it that is there.
    pub fn place_of(&self, path: &[&str], at: At) -> Place {
        let mut node = self;
        let mut place = self.head();
        for (depth, name) in path.iter().enumerate() {
            let Some((key, value)) = node.entry(name) else {
                return place;
            };
            let is_whole = depth + 1 == path.len();
            place = match &value.kind {
                Kind::Bool(_) | Kind::Integer(_) | Kind::Fraction(_) | Kind::Text(_)
                    if is_whole && at == At::Value =>
                {
                    value.place
                }
                Kind::Null
                | Kind::Bool(_)
                | Kind::Integer(_)
                | Kind::Fraction(_)
                | Kind::Text(_)
                | Kind::List
                | Kind::Block(_) => key.place,
            };
            node = value;
        }
        place
    }

    /// The first thing that can be pointed at.
    fn head(&self) -> Place {
        match &self.kind {
            Kind::Block(entries) => entries.first().map_or(self.place, |(key, _)| key.place),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Integer(_)
            | Kind::Fraction(_)
            | Kind::Text(_)
            | Kind::List => self.place,
        }
    }
}

/// A path as people write it: `metadata.labels.job`, `metadata.labels["a.b"]`.
pub(super) fn written<S: AsRef<str>>(path: &[S]) -> String {
    let mut text = String::new();
    for name in path {
        let name = name.as_ref();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            text.push_str(&format!("[{name:?}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(name);
        }
    }
    text
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Integer(value.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Kind, E> {
        Ok(Kind::Fraction(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
        Ok(Kind::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Kind, E> {
        Ok(Kind::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Kind::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.push((Node::new(key), Node::new(value)));
        }
        Ok(Kind::Block(entries))
    }
}
