//! State files: a front with its world and armed faults, as text.
//!
//! A restored front behaves as the one that was saved: the same answers, ids and times. No I/O.

use serde::{Deserialize, Serialize};

use super::front::Front;

/// What the files call themselves.
const FORMAT: &str = "volume-daemon-sim-state";

/// The version that is written, and the only one that is read. It goes up whenever a field of
/// the world, its rows or its jobs comes, goes or changes.
const VERSION: u32 = 3;

/// Why a state cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is not a state file.
    #[error("this is not a state file of the simulator")]
    Format(#[source] serde_json::Error),
    /// It is one of another program.
    #[error("this is a file of format {0:?}, not {FORMAT:?}")]
    Foreign(String),
    /// It is one of another version.
    #[error("the state file has version {0}; this simulator reads only version {VERSION}")]
    Version(u32),
    /// It is damaged, or its version was not raised.
    #[error("the state file is damaged")]
    Damaged(#[source] serde_json::Error),
    /// It contradicts itself.
    #[error("the state file contradicts itself: {0}")]
    Inconsistent(String),
}

#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Serialize)]
struct Written<'a> {
    format: &'static str,
    version: u32,
    front: &'a Front,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "version")]
    _version: u32,
    front: Front,
}

/// Writes a front.
pub fn save(front: &Front) -> String {
    let written = Written {
        format: FORMAT,
        version: VERSION,
        front,
    };
    serde_json::to_string(&written).expect("all keys of maps are numbers or texts")
}

/// Reads a front.
///
/// # Errors
/// If the text is not a state of this version, or its world breaks its own rules.
pub fn restore(text: &str) -> Result<Front, StateError> {
    let header: Header = serde_json::from_str(text).map_err(StateError::Format)?;
    if header.format != FORMAT {
        return Err(StateError::Foreign(header.format));
    }
    if header.version != VERSION {
        return Err(StateError::Version(header.version));
    }
    let Read { front, .. } = serde_json::from_str(text).map_err(StateError::Damaged)?;
    front.world().check().map_err(StateError::Inconsistent)?;
    Ok(front)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimTime;
    use crate::sim::world::{Settings, World};

    fn front() -> Front {
        let start = SimTime::from_millis(1_795_213_800_000);
        Front::new(World::standard(Settings::default(), start))
    }

    #[test]
    fn a_state_is_restored_as_it_was() {
        let text = save(&front());
        let again = restore(&text).expect("a state");
        assert_eq!(save(&again), text);
    }

    #[test]
    fn other_files_are_refused_with_the_reason() {
        let text = save(&front());
        let newer = VERSION + 1;
        let other = format!("has version {newer}; this simulator reads only version {VERSION}");
        let newer = text.replacen(
            &format!(r#""version":{VERSION}"#),
            &format!(r#""version":{newer}"#),
            1,
        );
        let foreign = text.replacen("volume-daemon-sim-state", "other", 1);
        let unknown = text.replacen(r#""front":{"#, r#""front":{"more":1,"#, 1);
        let vm = text.replace(r#""state":"Running""#, r#""state":"Stopped""#);
        for (text, expected) in [
            ("kind: yaml", "not a state file"),
            ("{}", "not a state file"),
            (newer.as_str(), other.as_str()),
            (foreign.as_str(), r#"of format "other""#),
            (unknown.as_str(), "damaged"),
            (&text[..text.len() / 2], "not a state file"),
            (vm.as_str(), "contradicts itself"),
        ] {
            let error = restore(text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
