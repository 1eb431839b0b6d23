//! What a call of the API may do to a spec: only what no other writer has a say in.

use std::collections::BTreeMap;

use crate::model::desired::Generation;
use crate::model::{AcceptedDocument, DesiredVolume, Owner, Presence, VolumeName};

/// Why a call changes nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// Somebody else had the name first.
    #[error(
        "{name} belongs to {owner}: change it there, or let the API have it with volume-daemon own \
         volume/{name} --to api"
    )]
    Owned {
        /// Which spec.
        name: VolumeName,
        /// Whose it is.
        owner: Owner,
    },
    /// Another version is stored than the one that the call is about.
    #[error("{name} has generation {stored}, not {expected}: look at it again")]
    Moved {
        /// Which spec.
        name: VolumeName,
        /// The version that is stored; 0: none.
        stored: Generation,
        /// The version that was expected.
        expected: Generation,
    },
    /// Nobody ever declared it.
    #[error("there is no spec {0}")]
    NoSpec(VolumeName),
}

/// Accepted specs, those that are abandoned included.
type Specs = BTreeMap<VolumeName, DesiredVolume>;

/// Whether the API may put `asked` in force: `false` if it is already. `expected` is the version that is
/// to be stored now, 0 for none; `None`: any.
///
/// # Errors
/// If the name is somebody else's, or another version is stored.
pub fn put(
    specs: &Specs,
    asked: &AcceptedDocument,
    expected: Option<Generation>,
) -> Result<bool, Refused> {
    let name = &asked.document.name;
    let stored = specs.get(name);
    if let Some(stored) = stored {
        refuse_others(stored)?;
    }
    let generation = stored.map_or(0, |stored| stored.generation);
    if let Some(expected) = expected.filter(|expected| *expected != generation) {
        return Err(Refused::Moved {
            name: name.clone(),
            stored: generation,
            expected,
        });
    }
    let stands = |stored: &DesiredVolume| {
        stored.presence == Presence::Declared
            && stored.owner == asked.owner
            && stored.document == asked.document
    };
    Ok(!stored.is_some_and(stands))
}

/// Whether the API may abandon `name`: `false` if that is so already.
///
/// # Errors
/// If there is no such spec, or it is somebody else's.
pub fn delete(specs: &Specs, name: &VolumeName) -> Result<bool, Refused> {
    let Some(stored) = specs.get(name) else {
        return Err(Refused::NoSpec(name.clone()));
    };
    refuse_others(stored)?;
    Ok(stored.presence == Presence::Declared)
}

/// What nobody writes any more is free for all.
fn refuse_others(stored: &DesiredVolume) -> Result<(), Refused> {
    match (stored.presence, &stored.owner) {
        (_, Owner::Api) | (Presence::Abandoned { .. }, _) => Ok(()),
        (Presence::Declared, owner @ (Owner::File(_) | Owner::Db(_))) => Err(Refused::Owned {
            name: stored.name().clone(),
            owner: owner.clone(),
        }),
    }
}
