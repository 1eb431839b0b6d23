//! Spec files for people: how each stands, and what is wrong in it, with the place.

use std::fmt::Write as _;

use anstyle::Style;

use super::super::output::{BAD, Failure, GOOD, PENDING, cell, not_found, plain, span, table};
use crate::model::{FileState, Timestamp};
use crate::reconcile::files::FileStatus;
use crate::source::sha1_hex;
use crate::spec;

/// Files whose mistakes are shown in full; the others are named.
const EXPLAINED_MAX: usize = 10;

/// How much of a hash is shown.
const HASH_CHARS: usize = 8;

/// The file called so: by its path, or by the end of it.
pub(super) fn called(files: Vec<FileStatus>, name: &str) -> Result<FileStatus, Failure> {
    let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let fits = |path: &str| path == name || path.ends_with(&format!("/{name}"));
    files
        .into_iter()
        .find(|file| fits(&file.path))
        .ok_or_else(|| not_found("spec file", name, paths.iter().map(String::as_str)))
}

/// All files, those with problems first, and the problems below.
pub(super) fn list(files: &[FileStatus], wide: bool, now: Timestamp) -> String {
    if files.is_empty() {
        return "no spec files were read yet\n".to_owned();
    }
    let mut header = vec!["FILE", "STATE", "SINCE", "VOLUMES", "HASH"];
    if wide {
        header.push("GENERATIONS");
    }
    let rows = files.iter().map(|file| {
        let hash = if wide {
            &file.hash
        } else {
            file.hash.get(..HASH_CHARS).unwrap_or_default()
        };
        let mut row = vec![
            plain(&file.path),
            cell(file.state, style(file.state)),
            plain(span(now.since(file.since))),
            plain(file.volumes.len()),
            plain(hash),
        ];
        if wide {
            row.push(plain(generations(file)));
        }
        row
    });
    table(&header, rows) + &problems(files)
}

/// How many files stand how, and what is wrong.
pub(super) fn summary(files: &[FileStatus], now: Timestamp) -> String {
    let bad: Vec<FileStatus> = files
        .iter()
        .filter(|file| file.state != FileState::Accepted)
        .cloned()
        .collect();
    let mut text = match files.len() {
        0 => return "\nno spec files were read yet\n".to_owned(),
        1 => "\n1 spec file".to_owned(),
        count => format!("\n{count} spec files"),
    };
    if bad.is_empty() {
        return text + ", all accepted\n";
    }
    let _ = writeln!(text, ", {} of them not accepted:\n", bad.len());
    text + &list(&bad, false, now)
}

const fn style(state: FileState) -> Style {
    match state {
        FileState::Accepted => GOOD,
        FileState::Missing => PENDING,
        FileState::Invalid
        | FileState::Unreadable
        | FileState::Conflict
        | FileState::RenameSuspected => BAD,
    }
}

/// As `pgdata:3, scratch:1 (abandoned)`.
fn generations(file: &FileStatus) -> String {
    let each = file.volumes.iter().map(|volume| {
        let abandoned = if volume.abandoned { " (abandoned)" } else { "" };
        format!("{}:{}{abandoned}", volume.name, volume.generation)
    });
    each.collect::<Vec<_>>().join(", ")
}

fn problems(files: &[FileStatus]) -> String {
    let bad: Vec<&FileStatus> = files
        .iter()
        .filter(|file| !file.problems.is_empty())
        .collect();
    let mut text = String::new();
    for file in bad.iter().take(EXPLAINED_MAX) {
        let what_then = match (file.state, file.volumes.len()) {
            (FileState::Accepted, _) => "",
            (_, 0) => ": nothing is in force because of it",
            (_, _) => ": what it said before stays in force",
        };
        let _ = writeln!(text, "\n{}{what_then}", file.path);
        match excerpts(file) {
            Some(excerpts) => text.push_str(&excerpts),
            None => {
                for problem in &file.problems {
                    let _ = writeln!(text, "  {problem}");
                }
            }
        }
    }
    let more = bad.len().saturating_sub(EXPLAINED_MAX);
    if more > 0 {
        let _ = writeln!(
            text,
            "\nand {more} more with problems: volume-daemon get files -o json"
        );
    }
    text
}

/// The mistakes with the lines they are in, if the file is still as it was judged.
fn excerpts(file: &FileStatus) -> Option<String> {
    if file.state != FileState::Invalid {
        return None;
    }
    let length = std::fs::metadata(&file.path).ok()?.len();
    if length > u64::try_from(spec::FILE_BYTES_MAX).ok()? {
        return None;
    }
    let bytes = std::fs::read(&file.path).ok()?;
    if sha1_hex(&bytes) != file.hash {
        return None;
    }
    let problems = spec::parse(&file.path, &bytes).err()?;
    Some(spec::render(&problems, &bytes, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::files::FileVolume;

    const NOW: Timestamp = Timestamp::from_millis(60_000);

    fn file(path: &str, state: FileState, problems: &[&str]) -> FileStatus {
        FileStatus {
            path: path.to_owned(),
            state,
            since: Timestamp::from_millis(0),
            hash: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            problems: problems.iter().map(ToString::to_string).collect(),
            volumes: vec![FileVolume {
                name: "pgdata".parse().expect("a name"),
                generation: 3,
                abandoned: false,
            }],
        }
    }

    #[test]
    fn files_are_listed_with_what_is_wrong_in_them() {
        let never = FileStatus {
            volumes: Vec::new(),
            ..file(
                "/specs/never.yaml",
                FileState::Invalid,
                &["never.yaml:1:1: no"],
            )
        };
        let files = [
            file("/specs/a.yaml", FileState::Unreadable, &["cannot be read"]),
            never,
            file("/specs/b.yaml", FileState::Accepted, &[]),
        ];
        let text = list(&files, false, NOW);
        let expected = "
/specs/a.yaml: what it said before stays in force
  cannot be read

/specs/never.yaml: nothing is in force because of it
  never.yaml:1:1: no
";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains("01234567"), "{text}");
        assert!(!text.contains("0123456789"), "{text}");
        let wide = list(&files, true, NOW);
        assert!(wide.contains("pgdata:3"), "{wide}");
        let summary = summary(&files, NOW);
        assert!(
            summary.contains("3 spec files, 2 of them not accepted"),
            "{summary}"
        );
        assert!(!summary.contains("b.yaml"), "{summary}");
        assert_eq!(
            called(files.to_vec(), "b.yaml").expect("one").path,
            "/specs/b.yaml"
        );
        assert!(called(files.to_vec(), "c.yaml").is_err());
    }

    #[test]
    fn mistakes_are_shown_with_their_lines_while_the_file_is_as_it_was_judged() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yaml");
        let text = "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {name: A}\n";
        std::fs::write(&path, text).expect("written");
        let mut judged = file(
            path.to_str().expect("UTF-8"),
            FileState::Invalid,
            &["a sentence"],
        );
        let shown = list(&[judged.clone()], false, NOW);
        assert!(shown.contains("  a sentence\n"), "it has changed: {shown}");
        judged.hash = sha1_hex(text.as_bytes());
        let shown = list(&[judged], false, NOW);
        assert!(shown.contains("metadata: {name: A}"), "{shown}");
        assert!(shown.contains(":3:"), "{shown}");
    }

    #[test]
    fn thousands_of_bad_files_are_counted_not_all_explained() {
        let files: Vec<FileStatus> = (0..2000)
            .map(|n| file(&format!("/specs/{n}.yaml"), FileState::Invalid, &["no"]))
            .collect();
        let text = summary(&files, NOW);
        assert!(text.contains("and 1990 more with problems"), "{text}");
    }
}
