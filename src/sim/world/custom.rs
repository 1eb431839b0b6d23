//! Ids that a caller chooses (`UUIDManagerImpl.java`), of volumes and of jobs.

use uuid::Uuid;

use crate::sim::refusal::Refusal;

/// Whether somebody has an id already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nobody has it.
    No,
    /// A row has it that the check sees.
    Seen,
    /// A row has it that the check does not see: its table refuses the new one.
    Unseen {
        /// Which table.
        table: &'static str,
    },
}

/// Reads an id that a caller chose, in lower case; `taken` says whether somebody has it.
///
/// # Errors
/// If it is none, or is taken: 431 where the check sees it, else 530.
pub fn custom_id(text: &str, taken: impl FnOnce(Uuid) -> Taken) -> Result<Uuid, Refusal> {
    let uuid = Uuid::try_parse(text)
        .ok()
        .filter(|uuid| uuid.hyphenated().to_string() == text)
        .ok_or_else(|| Refusal::invalid(format!("UUID: {text} doesn't follow the UUID format")))?;
    match taken(uuid) {
        Taken::No => Ok(uuid),
        Taken::Seen => Err(Refusal::invalid(format!(
            "UUID: {text} already exists so can't create/update with custom id"
        ))),
        Taken::Unseen { table } => Err(Refusal::runtime(format!(
            "DB Exception on: INSERT INTO {table}: Duplicate entry for key 'uuid'"
        ))),
    }
}
