//! Rows of `desired_volumes`: the last reading of them, and what each one says.
//!
//! A row becomes the document that a file would have, and is judged as that is. Nothing here knows
//! what is valid, but for how a column spells a key of the document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::decide::{RowDocument, RowSays, ScannedRow};
use crate::model::{DesiredRow, FileProblem, FileState, Place, SourceFile, sha1_hex};
use crate::spec::{self, FILE_BYTES_MAX, Problem};

/// The columns that spell a document: each with its key, and how it is written.
const COLUMNS: [(&str, &str, Spelling); 19] = [
    ("name", "metadata.name", Spelling::Text),
    ("labels", "metadata.labels", Spelling::Json),
    ("size_gib", "spec.size", Spelling::Gib),
    ("zone", "spec.zone", Spelling::Text),
    ("disk_offering", "spec.diskOffering", Spelling::Text),
    ("existing_id", "spec.existing.id", Spelling::Text),
    ("existing_name", "spec.existing.name", Spelling::Text),
    ("volume_name", "spec.volumeName", Spelling::Text),
    ("vm", "spec.attachTo.vm", Spelling::Text),
    ("device_id", "spec.attachTo.deviceId", Spelling::Number),
    ("move", "spec.attachTo.move", Spelling::Text),
    ("export", "spec.export.enabled", Spelling::Flag),
    ("export_name", "spec.export.name", Spelling::Text),
    ("export_read_only", "spec.export.readOnly", Spelling::Flag),
    ("drain_timeout", "spec.export.drainTimeout", Spelling::Text),
    ("mode", "spec.mode", Spelling::Text),
    ("suspend", "spec.suspend", Spelling::Flag),
    ("reclaim_policy", "spec.reclaimPolicy", Spelling::Text),
    (
        "deletion_protection",
        "spec.deletionProtection",
        Spelling::Flag,
    ),
];

/// How the value of a key is written in a column.
#[derive(Debug, Clone, Copy)]
enum Spelling {
    /// As it is.
    Text,
    /// A whole number.
    Number,
    /// A whole number of GiB.
    Gib,
    /// 0 or 1.
    Flag,
    /// An object in JSON.
    Json,
}

impl Spelling {
    /// The value that `text` spells.
    fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text => Ok(text.into()),
            Self::Number => match text.parse::<i64>() {
                Ok(number) => Ok(number.into()),
                Err(_) => Err(format!("expected a whole number, found {text:?}")),
            },
            Self::Gib => match text.parse::<u64>() {
                Ok(gib) => Ok(format!("{gib}GiB").into()),
                Err(_) => Err(format!("expected a whole number of GiB, found {text:?}")),
            },
            Self::Flag => match text {
                "0" => Ok(false.into()),
                "1" => Ok(true.into()),
                _ => Err(format!("expected 0, 1 or NULL, found {text:?}")),
            },
            Self::Json if text.len() > FILE_BYTES_MAX => {
                Err(format!("it has more than {FILE_BYTES_MAX} bytes"))
            }
            Self::Json => serde_json::from_str(text)
                .map_err(|error| format!("expected an object in JSON: {error}")),
        }
    }
}

/// The rows of this appliance as they were last read.
#[derive(Debug, Clone, Default)]
pub struct DesiredRows(Option<BTreeMap<String, Held>>);

#[derive(Debug, Clone)]
struct Held {
    hash: String,
    row: DesiredRow,
}

impl DesiredRows {
    /// Takes in a reading of all rows.
    pub fn replace(&mut self, rows: Vec<DesiredRow>) {
        let mut all = BTreeMap::new();
        for row in rows {
            all.insert(row.name.clone(), Held::new(row));
        }
        self.0 = Some(all);
    }

    /// Takes in a reading of the rows with these names; those that it lacks are not there any more.
    /// Says nothing as long as not all were read once.
    pub fn update(&mut self, names: &BTreeSet<String>, rows: Vec<DesiredRow>) {
        let Some(all) = &mut self.0 else {
            return;
        };
        for name in names {
            all.remove(name);
        }
        for row in rows {
            all.insert(row.name.clone(), Held::new(row));
        }
    }

    /// What they say; `judged` is how they stood before. `None` if they were never read.
    pub fn scan(
        &self,
        judged: &BTreeMap<String, SourceFile>,
    ) -> Option<BTreeMap<String, ScannedRow>> {
        let scan = |(name, held): (&String, &Held)| {
            let before = judged.get(&Place::Row(name).path());
            (name.clone(), held.scan(before))
        };
        self.0.as_ref().map(|all| all.iter().map(scan).collect())
    }
}

impl Held {
    fn new(row: DesiredRow) -> Self {
        let text = serde_json::to_string(&row.columns).expect("text");
        Self {
            hash: sha1_hex(text),
            row,
        }
    }

    fn scan(&self, before: Option<&SourceFile>) -> ScannedRow {
        let Self { hash, row } = self;
        let says = if row.columns.contains_key("deleted_at") {
            RowSays::Deleted
        } else if before.is_some_and(|before| before.hash == *hash && stands_alone(before.state)) {
            RowSays::Unchanged
        } else {
            match document(row) {
                Ok(document) => RowSays::Document(Box::new(document)),
                Err(problems) => RowSays::Invalid(problems),
            }
        };
        ScannedRow {
            hash: hash.clone(),
            revision: row.columns.get("revision").and_then(|it| it.parse().ok()),
            says,
        }
    }
}

/// Whether the verdict depends on the row alone: conflicts and suspected renames may end by what
/// another one says.
fn stands_alone(state: FileState) -> bool {
    match state {
        FileState::Accepted | FileState::Invalid => true,
        FileState::Unreadable
        | FileState::Settling
        | FileState::Conflict
        | FileState::RenameSuspected
        | FileState::Missing => false,
    }
}

/// The document that a row stands for.
///
/// # Errors
/// Everything that is wrong, each with its column.
pub fn document(row: &DesiredRow) -> Result<RowDocument, Vec<FileProblem>> {
    let mut problems = Vec::new();
    let mut manifest = json!({ "apiVersion": spec::API_VERSION, "kind": "Volume", "spec": {} });
    for (column, path, spelling) in COLUMNS {
        let text = match column {
            "name" => Some(&row.name),
            _ => row.columns.get(column),
        };
        match text.map(|text| spelling.read(text)) {
            Some(Ok(value)) => put(&mut manifest, path, value),
            Some(Err(why)) => problems.push(format!("column {column}: {why}")),
            None => {}
        }
    }
    // In a file, a block that is there is enabled; a column that is NULL enables nothing.
    if let Some(Value::Object(export)) = manifest.pointer_mut("/spec/export") {
        export.entry("enabled").or_insert(Value::Bool(false));
    }
    let writer = row.columns.get("writer").map_or("", String::as_str);
    let writer = writer.parse();
    if let Err(invalid) = &writer {
        problems.push(format!("column writer: {invalid}"));
    }
    // What could not even be put in is missing from the document, so it is not judged then.
    let document = problems.is_empty().then(|| spec::from_manifest(&manifest));
    match (document, writer) {
        (Some(Ok(document)), Ok(writer)) => {
            return Ok(RowDocument {
                writer,
                document,
                manifest,
            });
        }
        (Some(Err(wrong)), _) => problems.extend(wrong.iter().map(in_column)),
        (Some(Ok(_)) | None, _) => {}
    }
    let named = |problem| format!("row {}: {problem}", row.name).into();
    Err(problems.into_iter().map(named).collect())
}

/// Puts a value where `path`, of keys with dots between, says.
fn put(manifest: &mut Value, path: &str, value: Value) {
    let mut at = manifest;
    for key in path.split('.') {
        at = &mut at[key];
    }
    *at = value;
}

/// A problem of a document, told of the column that spells the key.
fn in_column(problem: &Problem) -> String {
    let is_for = |path: &str| {
        let rest = problem.path.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    match COLUMNS.iter().find(|(_, path, _)| is_for(path)) {
        Some((column, path, _)) => format!(
            "column {column}: {}",
            Problem {
                path: problem.path[path.len()..]
                    .trim_start_matches('.')
                    .to_owned(),
                ..problem.clone()
            }
        ),
        None => problem.to_string(),
    }
}
