//! `volume-daemon validate`: checks spec files without a daemon, a cloud or a configuration.
//!
//! It reads what the daemon would read and says what the daemon would say; whether the names in
//! a spec exist in CloudStack is a matter for `plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::model::VolumeName;
use crate::spec::{self, Parsed, Problem, Problems};

/// Exit status for invalid specs.
const INVALID: u8 = 3;

/// Checks spec files and reports every mistake with its place.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon validate specs/                     every *.yaml and *.yml in specs
  volume-daemon validate a.yaml b.yaml              names must be unique across both
  helm template . | volume-daemon validate -        standard input
  volume-daemon validate -o json specs/ | jq '.problems[]'

Exit codes: 0 everything is valid, 3 it is not.")]
pub struct Args {
    /// Files, directories (without their subdirectories), or - for standard input
    #[arg(required = true, value_name = "FILE|DIR|-")]
    pub(super) paths: Vec<PathBuf>,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
}

/// How to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    // Excerpts for people.
    Text,
    // One JSON object for programs.
    Json,
}

/// Runs the subcommand. `color` allows colours in text.
///
/// # Errors
///
/// `out` cannot be written to. What is wrong with the input is reported to `out`.
pub fn run(args: &Args, out: &mut dyn Write, color: bool) -> anyhow::Result<ExitCode> {
    validate(args, &mut io::stdin().lock(), out, color)
}

fn validate(
    args: &Args,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    color: bool,
) -> anyhow::Result<ExitCode> {
    let files = check(&args.paths, stdin);
    let volumes = files.iter().map(|file| file.names.len()).sum();
    match args.output {
        Output::Text => write_text(&files, volumes, out, color)?,
        Output::Json => write_json(&files, volumes, out)?,
    }
    let valid = files.iter().all(|file| file.problems.is_none());
    Ok(if valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INVALID)
    })
}

fn check(paths: &[PathBuf], stdin: &mut dyn Read) -> Vec<File> {
    let mut names = BTreeSet::new();
    let mut files: Vec<_> = paths
        .iter()
        .flat_map(|path| read_path(path, stdin))
        // `validate specs/ specs/a.yaml` is no conflict.
        .filter(|(name, _)| names.insert(name.clone()))
        .map(File::check)
        .collect();
    report_conflicts(&mut files);
    files
}

/// Every document in the files that `paths` stand for; `None` if anything is wrong in any of them, which
/// is said to `err`.
///
/// # Errors
/// `err` cannot be written to.
pub(super) fn documents(
    paths: &[PathBuf],
    stdin: &mut dyn Read,
    err: &mut dyn Write,
) -> io::Result<Option<Vec<Parsed>>> {
    let files = check(paths, stdin);
    if problem_count(&files) > 0 {
        write_text(&files, 0, err, true)?;
        return Ok(None);
    }
    Ok(Some(
        files.into_iter().flat_map(|file| file.names).collect(),
    ))
}

/// The files that `path` stands for, with their content or why there is none.
fn read_path(path: &Path, stdin: &mut dyn Read) -> Vec<(String, io::Result<Vec<u8>>)> {
    if path == Path::new("-") {
        return vec![("<stdin>".to_owned(), read(stdin))];
    }
    let name = path.display().to_string();
    if !path.is_dir() {
        let text = std::fs::File::open(path).and_then(|mut file| read(&mut file));
        return vec![(name, text)];
    }
    match spec_files(path) {
        Ok(paths) => paths
            .iter()
            .flat_map(|path| read_path(path, stdin))
            .collect(),
        Err(error) => vec![(name, Err(error))],
    }
}

/// Reads as much as a spec file may have, and one byte more: the parser refuses it then.
pub(super) fn read(from: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let most = u64::try_from(spec::FILE_BYTES_MAX).unwrap_or(u64::MAX);
    from.take(most.saturating_add(1)).read_to_end(&mut text)?;
    Ok(text)
}

/// The spec files in a directory, sorted.
pub(super) fn spec_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str);
        if name.is_some_and(spec::is_spec_name) && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A file that was checked.
struct File {
    name: String,
    text: Vec<u8>,
    problems: Option<Problems>,
    /// The valid documents in it, by where their names are.
    names: Vec<Parsed>,
}

impl File {
    fn check((name, text): (String, io::Result<Vec<u8>>)) -> Self {
        let (text, parsed) = match text {
            Ok(text) => {
                let parsed = spec::parse(&name, &text);
                (text, parsed)
            }
            Err(error) => {
                let problem = Problem {
                    file: name.clone(),
                    line: 0,
                    column: 0,
                    span: 0..0,
                    path: String::new(),
                    message: format!("cannot be read: {error}"),
                    expected: None,
                    suggestion: None,
                };
                (Vec::new(), Err(problem.into()))
            }
        };
        let (names, problems) = match parsed {
            Ok(parsed) => (parsed, None),
            Err(problems) => (Vec::new(), Some(problems)),
        };
        Self {
            name,
            text,
            problems,
            names,
        }
    }
}

/// Adds a problem wherever a name is used that an earlier file uses as well.
fn report_conflicts(files: &mut [File]) {
    let mut first: BTreeMap<VolumeName, String> = BTreeMap::new();
    for file in files {
        let mut conflicts = Vec::new();
        for parsed in &file.names {
            let name = &parsed.document.name;
            let Some(other) = first.get(name) else {
                first.insert(name.clone(), format!("{}:{}", file.name, parsed.line));
                continue;
            };
            conflicts.push(Problem {
                file: file.name.clone(),
                line: parsed.line,
                column: parsed.column,
                span: parsed.span.clone(),
                path: "metadata.name".to_owned(),
                message: format!("the name {:?} is already used in {other}", name.as_str()),
                expected: None,
                suggestion: Some("give every volume a name of its own".to_owned()),
            });
        }
        // A file with valid documents has no other problems.
        if let Some(conflicts) = Problems::new(conflicts) {
            file.problems = Some(conflicts);
        }
    }
}

fn write_text(files: &[File], volumes: usize, out: &mut dyn Write, color: bool) -> io::Result<()> {
    for file in files {
        if let Some(problems) = &file.problems {
            writeln!(out, "{}", spec::render(problems, &file.text, color))?;
        }
    }
    let problems = problem_count(files);
    let checked = count(files.len(), "file");
    if problems == 0 {
        writeln!(out, "{checked}, {}: valid", count(volumes, "volume"))
    } else {
        let bad = files.iter().filter(|file| file.problems.is_some()).count();
        let problems = count(problems, "problem");
        writeln!(out, "{checked}: {problems} in {}", count(bad, "file"))
    }
}

fn write_json(files: &[File], volumes: usize, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Report<'a> {
        valid: bool,
        files: usize,
        volumes: usize,
        problems: Vec<&'a Problem>,
    }
    let problems: Vec<_> = files
        .iter()
        .flat_map(|file| file.problems.iter().flat_map(Problems::iter))
        .collect();
    let report = Report {
        valid: problems.is_empty(),
        files: files.len(),
        volumes,
        problems,
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

fn problem_count(files: &[File]) -> usize {
    files
        .iter()
        .filter_map(|file| file.problems.as_ref())
        .map(|problems| problems.iter().count())
        .sum()
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "\
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata: { name: pg }
spec: { size: 1GiB, zone: zone-1, diskOffering: Custom }
";

    /// Runs `validate` and returns what it printed, without the name of `dir`.
    fn run_in(dir: &Path, paths: &[&str], stdin: &str, output: Output) -> (ExitCode, String) {
        let paths = paths.iter().map(|path| match *path {
            "-" => PathBuf::from("-"),
            path => dir.join(path),
        });
        let args = Args {
            paths: paths.collect(),
            output,
        };
        let mut out = Vec::new();
        let code = validate(&args, &mut stdin.as_bytes(), &mut out, false).expect("prints");
        let out = String::from_utf8(out).expect("UTF-8");
        (code, out.replace(&format!("{}/", dir.display()), ""))
    }

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("a file");
        }
        dir
    }

    #[test]
    fn a_directory_means_its_spec_files() {
        let dir = dir(&[
            ("a.yaml", VALID),
            ("b.yml", &VALID.replace("pg", "logs")),
            (".hidden.yaml", "nonsense"),
            ("a.yaml~", "nonsense"),
            ("a.yaml.tmp", "nonsense"),
            (".a.yaml.swp", "nonsense"),
            ("README.md", "nonsense"),
        ]);
        std::fs::create_dir(dir.path().join("sub.yaml")).expect("a directory");
        let ran = run_in(dir.path(), &["", "a.yaml"], "", Output::Text);
        assert_eq!(
            ran,
            (ExitCode::SUCCESS, "2 files, 2 volumes: valid\n".to_owned())
        );
    }

    #[test]
    fn mistakes_are_shown_and_counted() {
        let dir = dir(&[("a.yaml", VALID), ("b.yaml", &VALID.replace("1GiB", "1GB"))]);
        let (code, out) = run_in(dir.path(), &[""], "", Output::Text);
        assert_eq!(code, ExitCode::from(INVALID));
        let expected = r#"error: spec.size: "1GB" has no binary unit
 --> b.yaml:4:15
  |
4 | spec: { size: 1GB, zone: zone-1, diskOffering: Custom }
  |               ^^^
  |
  = help: write 1GiB

2 files: 1 problem in 1 file
"#;
        assert_eq!(out, expected);
    }

    #[test]
    fn a_name_in_two_files_is_a_conflict() {
        let dir = dir(&[("a.yaml", VALID), ("b.yaml", VALID)]);
        let (code, out) = run_in(dir.path(), &["b.yaml", "a.yaml", "-"], VALID, Output::Text);
        assert_eq!(code, ExitCode::from(INVALID));
        for place in ["--> a.yaml:3:19", "--> <stdin>:3:19"] {
            assert!(out.contains(place), "{out}");
        }
        let both = out.matches("\"pg\" is already used in b.yaml:3").count();
        assert_eq!(both, 2, "{out}");
    }

    #[test]
    fn json_has_the_same_in_fields() {
        let (code, out) = run_in(
            Path::new("/nowhere"),
            &["-", "gone.yaml"],
            &VALID.replace("size", "sise"),
            Output::Json,
        );
        assert_eq!(code, ExitCode::from(INVALID));
        let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(report["valid"], false);
        assert_eq!(report["files"], 2);
        let first = &report["problems"][0];
        assert_eq!(first["file"], "<stdin>");
        assert_eq!(first["line"], 4);
        assert_eq!(first["column"], 1);
        assert_eq!(first["path"], "spec.size");
        assert_eq!(
            report["problems"][1]["suggestion"],
            "did you mean \"size\"?"
        );
        let unreadable = report["problems"][2]["message"].as_str().expect("text");
        assert!(
            unreadable.starts_with("cannot be read: No such file"),
            "{unreadable}"
        );
    }

    #[test]
    fn the_arguments_are_well_formed() {
        <Args as clap::Args>::augment_args(clap::Command::new("validate")).debug_assert();
    }

    #[test]
    fn nothing_to_check_is_said() {
        let dir = dir(&[]);
        let ran = run_in(dir.path(), &[""], "", Output::Text);
        assert_eq!(
            ran,
            (ExitCode::SUCCESS, "0 files, 0 volumes: valid\n".to_owned())
        );
    }
}
