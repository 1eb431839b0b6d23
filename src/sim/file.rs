//! What people write for the simulator, as YAML: worlds and faults. Read strictly; every mistake
//! is told with its line and column. No I/O: texts come in.

mod build;
pub mod generate;
mod world;

use serde::de::DeserializeOwned;

use super::control::Operation;
use super::fault::{Fault, FaultFile};

pub use world::{STANDARD_WORLD, WorldFile};

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {text}")]
pub struct FileError {
    /// The file as it was named.
    pub file: String,
    /// Line, counted from 1.
    pub line: u64,
    /// Column in characters, counted from 1.
    pub column: u64,
    /// What is wrong, and what is allowed.
    pub text: String,
}

/// A text with its place in the file.
type Placed = serde_yaml::Spanned<String>;

/// A mistake in a file whose name is known elsewhere.
struct Mistake {
    line: u64,
    column: u64,
    text: String,
}

impl Mistake {
    fn at(place: &Placed, text: impl Into<String>) -> Self {
        Self {
            line: place.referenced.line(),
            column: place.referenced.column(),
            text: text.into(),
        }
    }

    fn in_file(self, file: &str) -> FileError {
        FileError {
            file: file.to_owned(),
            line: self.line,
            column: self.column,
            text: self.text,
        }
    }
}

/// Reads a file of faults.
///
/// # Errors
/// The first mistake.
pub fn faults(file: &str, text: &str) -> Result<Vec<Fault>, FileError> {
    read::<FaultFile>(text)
        .map(|read| read.faults)
        .map_err(|mistake| mistake.in_file(file))
}

/// Reads one fault; `name` is what the text is called in errors.
///
/// # Errors
/// The first mistake.
pub fn fault(name: &str, text: &str) -> Result<Fault, FileError> {
    read(text).map_err(|mistake| mistake.in_file(name))
}

/// Reads one operation; `name` is what the text is called in errors.
///
/// # Errors
/// The first mistake.
pub fn operation(name: &str, text: &str) -> Result<Operation, FileError> {
    read(text).map_err(|mistake| mistake.in_file(name))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    let options = serde_yaml::options! {
        with_snippet: false,
        strict_booleans: true,
        budget: serde_yaml::budget! { max_aliases: 0, max_anchors: 0 },
    };
    serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let place = error.location();
        let told = error.to_string();
        // The place is told in front, and nobody here can set a policy.
        let end = [" at line ", ", set DuplicateKeyPolicy"]
            .iter()
            .filter_map(|tail| told.rfind(tail))
            .min()
            .unwrap_or(told.len());
        Mistake {
            line: place.map_or(1, |place| place.line()),
            column: place.map_or(1, |place| place.column()),
            text: told[..end].to_owned(),
        }
    })
}

#[cfg(test)]
mod tests;
