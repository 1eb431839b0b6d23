//! What a module may know of: the pure ones of nothing that moves, all of them only of what
//! stands below them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules that only compute.
const PURE: [&str; 4] = ["model", "spec", "plan", "import"];

/// What a pure module must not name.
const IMPURE: [&str; 8] = [
    "async", "tokio", "sqlx", "reqwest", "std::fs", "::now(", "tracing", "HashMap",
];

/// Modules from the bottom up: each names only those in rows above its own here.
const LAYERS: [&[&str]; 9] = [
    &["model"],
    &["spec", "plan", "clock", "telemetry"],
    &["cloudstack", "host", "store"],
    // Serves the descriptor that the host proved.
    &["nbd"],
    &["source", "observe", "act"],
    &["reconcile", "import"],
    // Settings are those of the planner and of the loop.
    &["config"],
    &["api"],
    &["cli"],
];

/// One line of code, without comments.
struct Line {
    file: PathBuf,
    number: usize,
    text: String,
}

impl Line {
    fn place(&self) -> String {
        format!(
            "{}:{}: {}",
            self.file.display(),
            self.number,
            self.text.trim()
        )
    }
}

/// The code of every module at the top of the crate, without its tests.
fn modules() -> BTreeMap<String, Vec<Line>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for file in files_in(&src) {
        let path = file.strip_prefix(&src).expect("found there");
        let first = path.iter().next().expect("a file has a name");
        let module = first.to_string_lossy().replace(".rs", "");
        let text = std::fs::read_to_string(&file).expect("readable source");
        modules
            .entry(module)
            .or_default()
            .extend(code(&file, &text));
    }
    modules
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() && name != "tests" {
            files.extend(files_in(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Lines up to a module of tests, which stands last in its file.
fn code(file: &Path, text: &str) -> Vec<Line> {
    let text = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    text.lines()
        .enumerate()
        .map(|(index, line)| Line {
            file: file.to_owned(),
            number: index + 1,
            text: without_comment(line).to_owned(),
        })
        .collect()
}

/// A line up to `//`, unless that stands in a string.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            // `'"'` is a character, not the begin of a string.
            b'"' if !line[..at].ends_with('\'') => quoted = !quoted,
            b'/' if !quoted && line[at..].starts_with("//") => return &line[..at],
            _ => {}
        }
    }
    line
}

/// Whether `text` has `word` other than as a part of a longer name.
fn names(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let open = word.starts_with(is_part);
    let close = word.ends_with(is_part);
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !(open && before.is_some_and(is_part) || close && after.is_some_and(is_part))
    })
}

/// The modules that a line reaches by `crate::…`.
fn imports(text: &str) -> Vec<String> {
    text.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group.split(',').map(first_word).collect(),
            None => vec![first_word(rest)],
        })
        .filter(|name| !name.is_empty())
        .collect()
}

fn first_word(text: &str) -> String {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    text[..end.unwrap_or(text.len())].to_owned()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn the_pure_core_names_nothing_that_moves() {
    let modules = modules();
    let mut found = Vec::new();
    for module in PURE {
        let lines = modules.get(module).expect("it is there");
        assert!(lines.len() > 100, "{module} was not read");
        for line in lines {
            let words = IMPURE.iter().filter(|word| names(&line.text, word));
            found.extend(words.map(|word| format!("`{word}` in {}", line.place())));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn imports_go_down_only() {
    let mut found = Vec::new();
    for (module, lines) in modules() {
        // They put the rest together.
        if module == "lib" || module == "main" {
            continue;
        }
        let layer = layer_of(&module);
        assert!(
            layer.is_some() || module == "sim",
            "{module} has no place in LAYERS"
        );
        for line in &lines {
            for other in imports(&line.text) {
                let below = match (layer, layer_of(&other)) {
                    (Some(here), Some(there)) => there < here,
                    // The simulator shares nothing with what it is to test.
                    (None, _) => false,
                    // Only the command line starts it.
                    (Some(_), None) => module == "cli" && other == "sim",
                };
                if other != module && !below {
                    found.push(format!("{module} names {other} in {}", line.place()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_is_searched_for_is_found() {
    assert!(names("pub async fn x()", "async"));
    assert!(names("let t = Timestamp::now();", "::now("));
    assert!(!names("AsyncJob, async_job, reasync", "async"));
    assert_eq!(without_comment("let x = 1; // tokio"), "let x = 1; ");
    assert_eq!(without_comment(r#"let x = "a//b";"#), r#"let x = "a//b";"#);
    assert_eq!(without_comment("    /// async"), "    ");
    assert_eq!(imports("use crate::model::Now;"), ["model"]);
    assert_eq!(imports("use crate::{act::Hands, store};"), ["act", "store"]);
}
