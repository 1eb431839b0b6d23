//! For which requests a fault is meant, how often, and when.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::sim::time::SimTime;

/// For which requests a fault is meant. Everything that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Target {
    /// The commands, as `attachVolume` or `*Volume`, one or a list; none: any.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub command: Patterns,
    /// The volumes that the request names, by id, or by name as `pvc-*`; none: any, or none at
    /// all.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub volume: Patterns,
    /// The accounts that ask, by name; none: any.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub account: Patterns,
    /// The page of a listing, from 1; a listing without `page` shows the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// How probable it is that such a request is struck.
    #[serde(skip_serializing_if = "Probability::is_certain")]
    pub probability: Probability,
    /// How many requests are struck at most; one if absent.
    pub count: Count,
    /// From when on, counted from the moment the fault is armed; absent: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<When>,
    /// Until when, exclusively; absent: always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
    /// Decides, with the probability, which requests are struck; absent: the seed of the world
    /// and the number of the fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Target {
    /// The next request with this command.
    pub fn next(command: &str) -> Self {
        Self {
            command: Patterns::one(command),
            ..Self::default()
        }
    }

    /// Only requests that name this volume.
    #[must_use]
    pub fn of_volume(self, volume: Uuid) -> Self {
        Self {
            volume: Patterns::one(&volume.to_string()),
            ..self
        }
    }

    /// So many requests.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self {
            count: Count::Times(count),
            ..self
        }
    }

    /// Whether such a request is meant, apart from chance, count and time.
    pub(super) fn fits(&self, request: &Facts<'_>) -> bool {
        self.command.fit([request.command])
            && self.volume.fit(request.volumes.iter().map(String::as_str))
            && self.account.fit(request.account)
            && self
                .page
                .is_none_or(|page| request.sort == Sort::Listing && page == request.page)
    }
}

/// What faults can tell requests by.
#[derive(Debug)]
pub(in crate::sim) struct Facts<'a> {
    /// `command`.
    pub command: &'a str,
    /// What the command does.
    pub sort: Sort,
    /// Ids and names of the volumes it is about.
    pub volumes: Vec<String>,
    /// The account whose key it carries.
    pub account: Option<&'a str>,
    /// The page it asks for; 1 if none.
    pub page: u32,
}

/// What a command does, as far as faults care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) enum Sort {
    /// It shows pages of rows.
    Listing,
    /// It answers with a job.
    Job,
    /// Anything else.
    Other,
}

/// Texts in which `*` stands for any characters. In JSON and YAML one text, or a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// One.
    pub fn one(pattern: &str) -> Self {
        Self(vec![pattern.to_owned()])
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether there are none, or one of them fits one of these.
    fn fit<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        self.is_empty()
            || texts
                .into_iter()
                .any(|text| self.iter().any(|pattern| fits(pattern, text)))
    }
}

/// Whether a text fits a pattern in which `*` stands for any characters.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

impl Serialize for Patterns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            many => serializer.collect_seq(many),
        }
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Patterns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one text, or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Patterns, E> {
                Ok(Patterns::one(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Patterns, A::Error> {
                let mut patterns = Vec::new();
                while let Some(text) = list.next_element()? {
                    patterns.push(text);
                }
                if patterns.is_empty() {
                    return Err(de::Error::custom(
                        "an empty list fits nothing; leave it out",
                    ));
                }
                Ok(Patterns(patterns))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// How probable something is, from 0 (never) to 1 (always).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Probability(f64);

// Never NaN.
impl Eq for Probability {}

impl Default for Probability {
    fn default() -> Self {
        Self(1.0)
    }
}

impl TryFrom<f64> for Probability {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(format!("{value} is not a probability from 0 to 1"))
        }
    }
}

impl Probability {
    fn is_certain(&self) -> bool {
        *self == Self::default()
    }

    /// Lets a number from 0 (inclusive) to 1 (exclusive) decide.
    pub(super) fn decides(self, chance: f64) -> bool {
        chance < self.0
    }
}

/// How many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Times(u32),
    /// Without a limit; `all`.
    All,
}

impl Default for Count {
    fn default() -> Self {
        Self::Times(1)
    }
}

impl Count {
    /// Whether none is left.
    pub const fn is_used_up(self) -> bool {
        matches!(self, Self::Times(0))
    }

    /// One less.
    pub(super) fn take(&mut self) {
        if let Self::Times(left) = self {
            *left = left.saturating_sub(1);
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Times(count) => serializer.serialize_u32(*count),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrAll;

        impl Visitor<'_> for NumberOrAll {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or all")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Count, E> {
                u32::try_from(count)
                    .map(Count::Times)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                match text {
                    "all" => Ok(Count::All),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }

        deserializer.deserialize_any(NumberOrAll)
    }
}

/// A moment: so long after something, as `30s`, or absolute, as `2026-01-01T00:01:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum When {
    /// So many milliseconds later.
    After(u64),
    /// Then.
    At(SimTime),
}

impl When {
    /// The moment, if it is counted from `start`.
    pub(super) fn from(self, start: SimTime) -> SimTime {
        match self {
            Self::After(millis) => start.plus_millis(millis),
            Self::At(moment) => moment,
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(moment) = SimTime::parse_expires(text) {
            return Ok(Self::At(moment));
        }
        millis(text).map(Self::After).ok_or_else(|| {
            format!(
                "{text:?} is neither a time span like 30s nor a moment like 2026-01-01T00:01:00Z"
            )
        })
    }
}

/// A time span such as `30s` or `1h30m` in milliseconds.
fn millis(text: &str) -> Option<u64> {
    let span: jiff::SignedDuration = text.parse().ok()?;
    u64::try_from(span.as_millis()).ok()
}

impl TryFrom<String> for When {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<When> for String {
    fn from(when: When) -> Self {
        match when {
            When::After(millis) => format!("{millis}ms"),
            When::At(moment) => moment.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("attachVolume", "attachVolume", true),
            ("attachVolume", "detachVolume", false),
            ("*", "", true),
            ("*Volume", "attachVolume", true),
            ("*Volume", "listVolumes", false),
            ("list*", "listVolumes", true),
            ("list*s*", "listVolumes", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("a*a*a", "aa", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn everything_that_is_given_must_fit() {
        let request = Facts {
            command: "listVolumes",
            sort: Sort::Listing,
            volumes: vec!["7f".to_owned(), "pvc-7".to_owned()],
            account: Some("alice"),
            page: 2,
        };
        let rows = [
            (r"{}", true),
            (r#"{"command":"listVolumes"}"#, true),
            (r#"{"command":["list*","deleteVolume"]}"#, true),
            (r#"{"command":"deleteVolume"}"#, false),
            (r#"{"volume":"pvc-*"}"#, true),
            (r#"{"volume":"7f"}"#, true),
            (r#"{"volume":"pvc"}"#, false),
            (r#"{"account":"alice","page":2}"#, true),
            (r#"{"account":"alice","page":1}"#, false),
            (r#"{"account":"bob"}"#, false),
        ];
        for (text, expected) in rows {
            let target: Target = serde_json::from_str(text).expect(text);
            assert_eq!(target.fits(&request), expected, "{text}");
        }
        let other = Facts {
            sort: Sort::Other,
            ..request
        };
        let second: Target = serde_json::from_str(r#"{"page":2}"#).expect("a target");
        assert!(!second.fits(&other), "only listings have pages");
        let nobody = Facts {
            account: None,
            volumes: Vec::new(),
            ..other
        };
        for text in [r#"{"account":"*"}"#, r#"{"volume":"*"}"#] {
            let target: Target = serde_json::from_str(text).expect(text);
            assert!(!target.fits(&nobody), "{text}");
        }
    }

    #[test]
    fn targets_are_strict_and_keep_what_they_say() {
        for wrong in [
            r#"{"comand":"x"}"#,
            r#"{"command":[]}"#,
            r#"{"command":7}"#,
            r#"{"probability":1.5}"#,
            r#"{"probability":-0.1}"#,
            r#"{"count":"some"}"#,
            r#"{"count":-1}"#,
            r#"{"from":"soon"}"#,
            r#"{"from":"-3s"}"#,
            r#"{"page":"two"}"#,
        ] {
            assert!(serde_json::from_str::<Target>(wrong).is_err(), "{wrong}");
        }
        let text = r#"{"command":["a*","b"],"volume":"v","page":2,"probability":0.25,"count":"all","from":"30s","until":"2026-01-01T00:01:00Z","seed":7}"#;
        let target: Target = serde_json::from_str(text).expect("a target");
        assert_eq!(target.from, Some(When::After(30_000)));
        let again = serde_json::to_string(&target).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Target>(&again).expect("a target"),
            target
        );
    }
}
