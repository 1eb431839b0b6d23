//! What is wrong with a spec, and where.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// One mistake in a spec file or manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file as it was named to [`parse`](super::parse); empty for a manifest.
    pub file: String,
    /// Line, counted from 1; 0 for a manifest, which has no lines.
    pub line: u32,
    /// Column in characters, counted from 1; 0 for a manifest.
    pub column: u32,
    /// The bytes of the file it is about; empty for a manifest.
    #[serde(skip)]
    pub span: Range<usize>,
    /// The key it is about, as written: `spec.export.name`. Empty for a whole document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What to do about it, where a good guess is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Problem {
    /// The message with its path: the headline.
    pub(super) fn title(&self) -> String {
        if self.path.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.path, self.message)
        }
    }
}

impl fmt::Display for Problem {
    /// One line: `a.yaml:3:9: spec.size: "40GB" has no binary unit; write 40GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        }
        f.write_str(&self.title())?;
        if let Some(expected) = &self.expected {
            write!(f, ", expected {expected}")?;
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

/// Every mistake that was found, in the order of the text. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
#[error("{}", lines(.0))]
pub struct Problems(Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

impl Problems {
    /// Most problems reported for one file: more help nobody, and a hostile file could
    /// otherwise make its report much larger than itself.
    pub const MAX: usize = 100;

    /// `problems`, or `None` if there are none.
    pub fn new(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// The problems in the order of the text.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// A piece of one line of a text; all zero where there is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// Length in characters.
    pub chars: u32,
}

/// A problem before it is written out for a file.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub place: Place,
    pub path: String,
    pub message: String,
    pub expected: Option<String>,
    pub suggestion: Option<String>,
}

impl Finding {
    /// A finding that is nowhere yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    pub fn at(self, place: Place, path: String) -> Self {
        Self {
            place,
            path,
            ..self
        }
    }

    pub fn expecting(self, expected: impl Into<String>) -> Self {
        Self {
            expected: Some(expected.into()),
            ..self
        }
    }

    pub fn suggesting(self, suggestion: impl Into<String>) -> Self {
        self.perhaps_suggesting(Some(suggestion.into()))
    }

    pub fn perhaps_suggesting(self, suggestion: Option<String>) -> Self {
        Self { suggestion, ..self }
    }
}

/// Collects findings, and stops doing so at [`Problems::MAX`].
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        if !self.is_full() {
            self.0.push(finding);
        }
    }

    pub fn is_full(&self) -> bool {
        self.0.len() >= Problems::MAX
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The problems for `source`, or `None` if nothing was found.
    pub fn into_problems(mut self, source: &Source<'_>) -> Option<Problems> {
        self.0
            .sort_by(|a, b| (a.place, &a.path).cmp(&(b.place, &b.path)));
        let problems: Vec<_> = self
            .0
            .into_iter()
            .map(|finding| Problem {
                file: source.file.to_owned(),
                line: finding.place.line,
                column: finding.place.column,
                span: source.span(finding.place),
                path: quotable(&finding.path),
                message: quotable(&finding.message),
                expected: finding.expected,
                suggestion: finding.suggestion.as_deref().map(quotable),
            })
            .collect();
        Problems::new(problems)
    }
}

/// Messages quote what was written, which may be a megabyte or steer a terminal.
fn quotable(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let mut quotable = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == CHARS_MAX {
            quotable.push('…');
            break;
        }
        if c.is_control() {
            quotable.extend(c.escape_default());
        } else {
            quotable.push(c);
        }
    }
    quotable
}

/// The text of a file, and where its lines begin.
#[derive(Debug, Default)]
pub(super) struct Source<'a> {
    file: &'a str,
    /// Without the byte order mark.
    text: &'a str,
    /// Length of the byte order mark.
    bom: usize,
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    pub fn new(file: &'a str, whole: &'a str) -> Self {
        let text = whole.strip_prefix('\u{feff}').unwrap_or(whole);
        let mut lines = vec![0];
        let bytes = text.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            // YAML 1.2, section 5.4: LF, CR LF, or CR alone.
            if *byte == b'\n' || (*byte == b'\r' && bytes.get(at + 1) != Some(&b'\n')) {
                lines.push(at + 1);
            }
        }
        Self {
            file,
            text,
            bom: whole.len() - text.len(),
            lines,
        }
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// What is written at `place`.
    pub fn slice(&self, place: Place) -> Option<&'a str> {
        let range = self.range(place);
        self.text.get(range).filter(|text| !text.is_empty())
    }

    /// The place of the byte `at` of the file.
    pub fn place(&self, at: usize) -> Place {
        let at = at.saturating_sub(self.bom);
        let line = self.lines.partition_point(|&start| start <= at);
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line));
        let before = self.text.get(start.copied().unwrap_or(0)..at).unwrap_or("");
        Place {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
            chars: 1,
        }
    }

    /// The bytes of the file at `place`.
    pub fn span(&self, place: Place) -> Range<usize> {
        let Range { start, end } = self.range(place);
        start + self.bom..end + self.bom
    }

    fn range(&self, place: Place) -> Range<usize> {
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let line = count(place.line).checked_sub(1);
        let Some(&line_start) = line.and_then(|line| self.lines.get(line)) else {
            return self.text.len()..self.text.len();
        };
        let line = &self.text[line_start..];
        let start = line_start + chars_to_bytes(line, count(place.column).saturating_sub(1));
        let end = start + chars_to_bytes(&self.text[start..], count(place.chars));
        start..end
    }
}

/// The length in bytes of the first `chars` characters of `text`.
fn chars_to_bytes(text: &str, chars: usize) -> usize {
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}
