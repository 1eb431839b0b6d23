//! What the documents say exists: subcommands, files, and examples that are valid.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use volume_daemon::sim::front::signature;
use volume_daemon::sim::world::{ADMIN_API_KEY, ADMIN_SECRET_KEY, Settings};
use volume_daemon::sim::{Front, HttpRequest, SimTime, World};

/// One document.
struct Document {
    path: PathBuf,
    text: String,
}

/// A fenced block: its language, and the lines in it.
struct Block<'a> {
    language: &'a str,
    text: String,
}

fn documents() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["", "docs", "docs/adr"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("a folder of documents") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let documents: Vec<_> = paths
        .into_iter()
        .map(|path| Document {
            text: std::fs::read_to_string(&path).expect("readable"),
            path,
        })
        .collect();
    assert!(documents.len() > 10, "the documents were not found");
    documents
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                blocks.push(Block {
                    language,
                    text: String::new(),
                });
            }
            None if open => {
                let block = blocks.last_mut().expect("one is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "a block is not closed");
    blocks
}

/// Code within a line of prose.
fn spans(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut spans = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            spans.extend(line.split('`').skip(1).step_by(2));
        }
    }
    spans
}

/// The word after `volume-daemon ` in a piece of code, if one is there.
fn subcommands(code: &str) -> Vec<&str> {
    code.split("volume-daemon ")
        .skip(1)
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_lowercase() && c != '-')
                .next()
        })
        .map(|word| word.trim_end_matches('-'))
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn every_subcommand_exists() {
    let mut seen = 0;
    for document in documents() {
        let blocks = blocks(&document.text);
        let code = blocks.iter().map(|block| block.text.as_str());
        for word in code.chain(spans(&document.text)).flat_map(subcommands) {
            let error = volume_daemon::cli::parse(["volume-daemon", word, "--help"])
                .expect_err("help is asked for");
            let kind = error.kind();
            let path = document.path.display();
            assert_eq!(kind, ErrorKind::DisplayHelp, "{path}: {word:?}");
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} subcommands were found");
}

#[test]
fn every_linked_file_exists() {
    for document in documents() {
        for rest in document.text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap_or_default();
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let folder = document.path.parent().expect("in a folder");
            let path = document.path.display();
            assert!(folder.join(target).exists(), "{path}: no {target}");
        }
    }
}

#[test]
fn every_spec_in_the_readme_and_the_reference_is_valid() {
    let documents = documents();
    for (file, least) in [("README.md", 1), ("docs/spec.md", 2)] {
        let document = documents
            .iter()
            .find(|document| document.path.ends_with(file))
            .expect("it is there");
        let specs: Vec<_> = blocks(&document.text)
            .into_iter()
            .filter(|block| block.language == "yaml")
            .collect();
        assert!(specs.len() >= least, "{file}");
        for block in specs {
            if let Err(problems) = volume_daemon::spec::parse(file, block.text.as_bytes()) {
                panic!("{problems:?}\n{}", block.text);
            }
        }
    }
}

/// All Rust sources of the project, one after another.
fn sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("tests")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &std::fs::read_to_string(path).expect("readable");
            }
        }
    }
    text
}

#[test]
fn every_named_test_exists() {
    let (sources, mut seen) = (sources(), 0);
    for document in documents() {
        for span in spans(&document.text) {
            let is_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let Some((_, test)) = span.rsplit_once("tests::") else {
                continue;
            };
            // Tests may have modules of their own.
            let test = test.rsplit("::").next().unwrap_or_default();
            if span.chars().all(is_path) && !test.is_empty() {
                let path = document.path.display();
                assert!(
                    sources.contains(&format!("fn {test}(")),
                    "{path}: no {span}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} names of tests were found");
}

/// The names in the simulator's own table of commands, which `listApis` answers with.
fn simulated_commands() -> Vec<String> {
    let start = SimTime::from_millis(1_767_225_600_000);
    let mut front = Front::new(World::standard(Settings::default(), start));
    let pairs = [
        ("apiKey", ADMIN_API_KEY),
        ("command", "listApis"),
        ("response", "json"),
    ];
    let signed = signature(pairs.into_iter(), ADMIN_SECRET_KEY);
    let escaped = signed
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let query = pairs.map(|(name, value)| format!("{name}={value}"));
    let query = format!("{}&signature={escaped}", query.join("&"));
    let answer = front.handle(&HttpRequest::get(query), start);
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let apis = body["listapisresponse"]["api"].as_array().expect("a list");
    apis.iter()
        .map(|api| api["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn the_simulators_document_names_its_commands_and_no_others() {
    let documents = documents();
    let document = documents
        .iter()
        .find(|document| document.path.ends_with("docs/simulator.md"))
        .expect("it is there");
    let (_, rest) = document.text.split_once("\n## Commands\n").expect("one");
    let (section, _) = rest.split_once("\n## ").expect("not the last one");
    let listed: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(listed, simulated_commands());
}

/// The reasons of one enum of `plan/reason.rs`: the codes of each variant, and its comment.
fn reasons(source: &str, of: &str) -> Vec<(Vec<String>, String)> {
    let after = |text: &str, from: &str| -> String {
        let at = text.find(from).expect(from);
        text[at..].to_owned()
    };
    let block = |text: &str, end: &str| text[..text.find(end).expect(end)].to_owned();
    let body = block(&after(source, &format!("pub enum {of} {{")), "\n}\n");
    let codes = after(source, &format!("impl {of} {{"));
    let codes = block(&after(&codes, "pub fn reason("), "\n    }\n");
    let mut found = Vec::new();
    let mut comment = String::new();
    for line in body.lines().skip(1) {
        if let Some(text) = line.strip_prefix("    /// ") {
            comment = format!("{comment} {text}").trim().to_owned();
        } else if line.starts_with("    ") && !line.starts_with("     ") && !line.contains('}') {
            let name = line.trim().trim_end_matches([' ', '{', ',']);
            let arm = after(&codes, &format!("Self::{name}"));
            let arm = arm.split("\n            Self::").next().expect("an arm");
            let codes = arm.split("=> \"").skip(1);
            let codes = codes.map(|rest| rest.split('"').next().expect("closed").to_owned());
            found.push((codes.collect(), std::mem::take(&mut comment)));
        }
    }
    found
}

#[test]
fn the_conditions_are_those_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("readable");
    let (source, document) = (read("src/plan/reason.rs"), read("docs/conditions.md"));
    for (of, least) in [("Waiting", 10), ("Blocked", 25)] {
        let reasons = reasons(&source, of);
        assert!(reasons.len() >= least, "{of}: {reasons:?}");
        for (codes, comment) in reasons {
            let codes: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
            assert!(!codes.is_empty() && !comment.is_empty(), "{of}: {comment}");
            let row = format!("| {} | {comment} |", codes.join(", "));
            assert!(document.contains(&row), "docs/conditions.md lacks\n{row}");
        }
    }
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let count = rows.count();
    let written = reasons(&source, "Waiting").len() + reasons(&source, "Blocked").len();
    assert_eq!(
        count, written,
        "docs/conditions.md has rows that the code has not"
    );
}
