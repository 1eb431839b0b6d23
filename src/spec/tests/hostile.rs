//! Texts written to do harm, and texts at random.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::VALID;
use crate::clock::{Clock, SystemClock};

const HEAD: &str =
    "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {name: a}\nspec: ";

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

fn hostile() -> Vec<(&'static str, String)> {
    let bombs = lines(10, |n| {
        let one = format!("*a{n}, ");
        format!("a{}: &a{} [{}]\n", n + 1, n + 1, one.repeat(9))
    });
    vec![
        ("billion laughs", format!("a0: &a0 lol\n{bombs}")),
        (
            "an anchor used often",
            format!("a: &a {}\nb: [{}]", "x".repeat(9999), "*a, ".repeat(9999)),
        ),
        ("itself", "&a [*a]".to_owned()),
        ("open lists", "[".repeat(FILE_BYTES_MAX)),
        ("open blocks", "{a: ".repeat(FILE_BYTES_MAX / 4)),
        ("keys of keys", "? ".repeat(FILE_BYTES_MAX / 2)),
        ("items of items", "- ".repeat(FILE_BYTES_MAX / 2)),
        ("stairs", lines(1000, |n| format!("{}a:\n", " ".repeat(n)))),
        (
            "one long text",
            format!("{HEAD}{}", "x".repeat(FILE_BYTES_MAX - 200)),
        ),
        (
            "one long name",
            format!("metadata: {{name: {}}}", "É".repeat(500_000)),
        ),
        (
            "one long key",
            format!("{HEAD}{{\"{}\": 1}}", "\\n".repeat(400_000)),
        ),
        ("one long comment", "#".repeat(FILE_BYTES_MAX)),
        (
            "one long open quote",
            format!("a: \"{}", "\\u00e9".repeat(100_000)),
        ),
        ("line breaks", "\n".repeat(FILE_BYTES_MAX)),
        ("carriage returns", "\r".repeat(FILE_BYTES_MAX)),
        (
            "unknown keys in one line",
            format!("{HEAD}{{{}}}", lines(4900, |n| format!("é{n}: 1, "))),
        ),
        (
            "unknown keys",
            format!("{HEAD}\n{}", lines(4900, |n| format!("  depo{n}: 1\n"))),
        ),
        (
            "too many keys",
            format!("{HEAD}\n{}", lines(90_000, |n| format!("  a{n}: 1\n"))),
        ),
        (
            "the same key",
            format!("{HEAD}\n{}", "  a: 1\n".repeat(4900)),
        ),
        (
            "labels that are no texts",
            format!(
                "metadata: {{labels: {{{}}}}}",
                lines(4900, |n| format!("é{n}: 1, "))
            ),
        ),
        (
            "tags",
            format!("{HEAD}\n{}", lines(4900, |n| format!("  a{n}: !x y\n"))),
        ),
        (
            "keys that are no texts",
            format!("{HEAD}\n{}", "  ~: 1\n".repeat(4900)),
        ),
        ("many documents", "a: 1\n---\n".repeat(FILE_BYTES_MAX / 10)),
        ("many empty documents", "---\n".repeat(FILE_BYTES_MAX / 4)),
        (
            "many broken documents",
            "!x &a b\n---\n".repeat(FILE_BYTES_MAX / 13),
        ),
        ("the same name", format!("{VALID}---\n").repeat(2000)),
        ("too long", "a".repeat(FILE_BYTES_MAX + 1)),
        ("directives", "%YAML 1.2\n".repeat(10_000)),
    ]
}

/// Generous, for slow machines: what is wrong here takes minutes or for ever.
const LONGEST: Duration = Duration::from_secs(20);

#[test]
fn hostile_texts_are_refused_soon_and_briefly() {
    for (name, text) in hostile() {
        let start = SystemClock.now().boot;
        let problems = parse("f", text.as_bytes()).expect_err(name);
        let rendered = render(&problems, text.as_bytes(), false);
        let took = SystemClock.now().boot.since(start);
        assert!(took < LONGEST, "{name} took {took:?}");
        assert!(problems.iter().count() <= Problems::MAX, "{name}");
        assert!(rendered.contains("f:"), "{name}: {rendered}");
        assert!(rendered.len() < 400_000, "{name}: {}", rendered.len());
    }
}

/// What is typed by mistake, or by tools.
const SNIPPETS: [&str; 28] = [
    ": ", "- ", "? ", "&a ", "*a", "!x ", "!!str ", "\t", "\n", "\r\n", "{", "}", "[", "]", "'",
    "\"", "---\n", "...\n", "#", "null", "~", "é", "💾", "\u{feff}", "<<: ", "|\n", "\0", "  ",
];

fn any_example() -> impl Strategy<Value = &'static str> {
    prop::sample::select(super::examples::EXAMPLES.map(|(_, text)| text).to_vec())
}

/// Replaces the characters from `at` on, `length` of them, by `with`.
fn replaced(text: &str, at: usize, length: usize, with: &str) -> String {
    let chars: Vec<_> = text.chars().collect();
    let at = at % (chars.len() + 1);
    let end = (at + length).min(chars.len());
    chars[..at].iter().collect::<String>() + with + &chars[end..].iter().collect::<String>()
}

/// What holds whatever the text is.
fn check_any(text: &[u8]) -> Result<(), TestCaseError> {
    match parse("f", text) {
        Ok(parsed) => {
            prop_assert!(!parsed.is_empty());
            for one in parsed {
                prop_assert_eq!(from_manifest(&one.manifest), Ok(one.document.clone()));
                let stored = one.manifest.to_string();
                let read = serde_json::from_str(&stored).expect("JSON");
                prop_assert_eq!(from_manifest(&read), Ok(one.document));
            }
        }
        Err(problems) => {
            let rendered = render(&problems, text, false);
            let lines = text.split(|b| b"\r\n".contains(b)).count();
            for problem in problems.iter() {
                let place = format!("f:{}:{}", problem.line, problem.column);
                prop_assert!(rendered.contains(&place), "{place} in {rendered}");
                let line = usize::try_from(problem.line).expect("it fits");
                prop_assert!((1..=lines).contains(&line), "{problem}");
                prop_assert!(problem.span.start <= problem.span.end);
                prop_assert!(problem.span.end <= text.len(), "{problem}");
                prop_assert!(!problem.message.is_empty());
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        mark in any::<bool>(),
        text in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mark: &[u8] = if mark { b"\xef\xbb\xbf" } else { b"" };
        check_any(&[mark, &text].concat())?;
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\u{feff}?(\\PC|[\n\r\u{85}:{}]){0,200}") {
        check_any(text.as_bytes())?;
    }

    #[test]
    fn damaged_specs_are_read_or_refused(
        example in any_example(),
        damage in prop::collection::vec(
            (any::<usize>(), 0_usize..12, prop::sample::select(SNIPPETS.to_vec())),
            1..4,
        ),
    ) {
        let text = damage.iter().fold(example.to_owned(), |text, (at, length, with)| {
            replaced(&text, *at, *length, with)
        });
        check_any(text.as_bytes())?;
    }

    /// A file that was only half written is refused unless it ends between two documents or in
    /// the middle of a comment or value, which nobody can tell.
    #[test]
    fn cut_specs_never_lose_a_document_silently(example in any_example(), at in any::<usize>()) {
        let cut: String = example.chars().take(at % example.len()).collect();
        check_any(cut.as_bytes())?;
        let whole = parse("f", example.as_bytes()).expect("an example");
        if let Ok(parsed) = parse("f", cut.as_bytes()) {
            let begun = cut.matches("kind: Volume\n").count();
            prop_assert_eq!(parsed.len(), begun.max(1));
            prop_assert!(parsed.len() <= whole.len());
        }
    }
}
