//! Problems as people read them: an excerpt of the file, a pointer, and what to do.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::problem::{Problem, Problems};

/// Longest line shown. A longer one was not written by hand.
const LINE_BYTES_MAX: usize = 1000;

const BOM: char = '\u{feff}';

/// Writes out `problems` of the file whose content is `text`, with an excerpt for each.
pub fn render(problems: &Problems, text: &[u8], color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let text = printable(text);
    let reports: Vec<_> = problems
        .iter()
        .map(|problem| renderer.render(&[report(problem, &text)]) + "\n")
        .collect();
    reports.join("\n")
}

/// The line in which `problem` of the file whose content is `text` begins; `None` where there is
/// no such line, or one that nobody wrote by hand.
pub fn excerpt(problem: &Problem, text: &[u8]) -> Option<String> {
    line_of(problem, &printable(text)).map(|(line, _)| line.to_owned())
}

fn report<'a>(problem: &'a Problem, text: &'a str) -> Group<'a> {
    let group = Group::with_title(Level::ERROR.primary_title(problem.title()));
    let help = problem
        .suggestion
        .as_deref()
        .map(|it| Level::HELP.message(it));
    let Some((line, span)) = line_of(problem, text) else {
        let place = match problem.line {
            0 => problem.file.clone(),
            line => format!("{}:{line}:{}", problem.file, problem.column),
        };
        let expected = problem
            .expected
            .as_deref()
            .map(|it| format!("expected {it}"));
        return group
            .elements((!place.is_empty()).then(|| annotate_snippets::Origin::path(place)))
            .elements(expected.map(|it| Level::NOTE.message(it)))
            .elements(help);
    };
    let label = problem
        .expected
        .as_deref()
        .map(|it| format!("expected {it}"));
    let pointer = AnnotationKind::Primary.span(span).label(label);
    group
        .element(
            Snippet::source(line)
                .line_start(usize::try_from(problem.line).unwrap_or(usize::MAX))
                .path(problem.file.as_str())
                .annotation(pointer),
        )
        .elements(help)
}

/// The line a problem begins in, and the bytes of it to point at.
fn line_of<'a>(problem: &Problem, text: &'a str) -> Option<(&'a str, Range<usize>)> {
    if problem.line == 0 {
        return None;
    }
    let before = text.get(..problem.span.start)?;
    let first = if text.starts_with(BOM) {
        BOM.len_utf8()
    } else {
        0
    };
    let start = before.rfind(['\n', '\r']).map_or(first, |at| at + 1);
    let rest = text.get(start..)?;
    let line = rest.split(['\n', '\r']).next()?;
    let end = problem.span.end.saturating_sub(start).min(line.len());
    (line.len() <= LINE_BYTES_MAX).then_some((line, problem.span.start - start..end))
}

/// The text without what is not UTF-8, and without the control characters U+0080 to U+009F, which
/// steer terminals and which the renderer lets through. Bytes and columns stay what they are.
fn printable(text: &[u8]) -> String {
    let mut printable = String::new();
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\u{80}'..='\u{9f}' => printable.push('·'),
                _ => printable.push(c),
            }
        }
        printable.push_str(&"?".repeat(chunk.invalid().len()));
    }
    printable
}
