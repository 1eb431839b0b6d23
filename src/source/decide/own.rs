//! Hands a spec over from one writer to another while both of them write it. The API takes over what is
//! in force, so nobody has to write it twice.

use super::{Document, Known, Scan, Written, files};
use crate::model::desired::VolumeSpec;
use crate::model::{
    AcceptedDocument, DesiredVolume, Owner, Place, Presence, SourceChange, SourceFile, VolumeName,
};

/// Why a spec is not handed over.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotHandedOver {
    /// Nobody ever declared it.
    #[error("there is no spec {0}")]
    NoSpec(VolumeName),
    /// It is not in force, so there is nothing to take over.
    #[error("{0} is abandoned: volume-daemon apply -f declares it anew")]
    Abandoned(VolumeName),
    /// The new owner does not write it, or not so that it is valid.
    #[error(
        "{to} has no valid document of {name} yet: let it write what {from} says; both are Conflict \
         then, and nothing happens until it is handed over"
    )]
    NotWritten {
        /// Which spec.
        name: VolumeName,
        /// Who owns it.
        from: Owner,
        /// Who is to own it.
        to: Owner,
    },
    /// The new owner asks for something else.
    #[error(
        "{to} does not ask of {name} what {from} does: {} differ. Handing it over must not change \
         the volume: let both say the same, hand it over, and change it then",
        fields.join(", ")
    )]
    Differs {
        /// Which spec.
        name: VolumeName,
        /// Who owns it.
        from: Owner,
        /// Who is to own it.
        to: Owner,
        /// What is not the same.
        fields: Vec<&'static str>,
    },
}

/// What has to be stored for `to` to own `name`; `None` if it does already. `manifest` is what is stored
/// of it.
///
/// # Errors
/// If that could change the volume, or somebody else would own it after the next look.
pub fn hand_over(
    known: Known<'_>,
    scan: &Scan,
    name: &VolumeName,
    to: &Owner,
    manifest: Option<serde_json::Value>,
) -> Result<Option<SourceChange>, NotHandedOver> {
    let (Some(want), Some(manifest)) = (known.specs.get(name), manifest) else {
        return Err(NotHandedOver::NoSpec(name.clone()));
    };
    let from = want.owner.clone();
    if from == *to && want.presence == Presence::Declared {
        return Ok(None);
    }
    let place = match to {
        Owner::File(path) => Place::File(path),
        Owner::Db(_) => Place::Row(name.as_str()),
        Owner::Api => {
            return match want.presence {
                Presence::Declared => Ok(Some(taken_over(known, want, manifest))),
                Presence::Abandoned { .. } => Err(NotHandedOver::Abandoned(name.clone())),
            };
        }
    };
    let is_theirs = |written: &&Document<'_>| match (to, written.writer) {
        (Owner::File(_), None) => true,
        (Owner::Db(writer), Some(theirs)) => theirs == writer,
        (Owner::File(_), Some(_)) | (Owner::Db(_), None) | (Owner::Api, _) => false,
    };
    let files = files(known, scan);
    let written = match files.get(&place).map(|file| &file.written) {
        Some(Written::Documents(documents)) => documents.get(name).filter(is_theirs),
        Some(Written::InForce | Written::Deleted | Written::Gone) | None => None,
    };
    let (name, to) = (name.clone(), to.clone());
    let Some(written) = written else {
        return Err(NotHandedOver::NotWritten { name, from, to });
    };
    let fields = differences(want.spec(), &written.document.spec);
    if !fields.is_empty() {
        return Err(NotHandedOver::Differs {
            name,
            from,
            to,
            fields,
        });
    }
    Ok(Some(SourceChange {
        accepted: vec![AcceptedDocument {
            document: written.document.clone(),
            manifest: written.manifest.clone(),
            owner: to,
        }],
        ..SourceChange::default()
    }))
}

/// What is in force, in the name of the API. Where it is written now is judged anew, though nothing in
/// there changed: it is a conflict from now on.
fn taken_over(known: Known<'_>, want: &DesiredVolume, manifest: serde_json::Value) -> SourceChange {
    let written = want
        .place()
        .and_then(|place| known.files.get(&place.path()));
    let anew = |file: &SourceFile| SourceFile {
        hash: String::new(),
        ..file.clone()
    };
    SourceChange {
        accepted: vec![AcceptedDocument {
            document: want.document.clone(),
            manifest,
            owner: Owner::Api,
        }],
        files: written.map(anew).into_iter().collect(),
        ..SourceChange::default()
    }
}

/// What two specs do not ask alike.
fn differences(one: &VolumeSpec, other: &VolumeSpec) -> Vec<&'static str> {
    let VolumeSpec {
        mode,
        suspend,
        origin,
        attach_to,
        export,
        reclaim_policy,
        deletion_protection,
    } = one;
    let same = [
        ("spec.mode", *mode == other.mode),
        ("spec.suspend", *suspend == other.suspend),
        (
            "where the volume comes from, and its size",
            *origin == other.origin,
        ),
        ("spec.attachTo", *attach_to == other.attach_to),
        ("spec.export", *export == other.export),
        (
            "spec.reclaimPolicy",
            *reclaim_policy == other.reclaim_policy,
        ),
        (
            "spec.deletionProtection",
            *deletion_protection == other.deletion_protection,
        ),
    ];
    let differ = same.into_iter().filter(|(_, same)| !same);
    differ.map(|(field, _)| field).collect()
}
