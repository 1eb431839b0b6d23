//! What somebody asked for, parsed and valid.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::export::ExportName;
use super::ids::{OfferingId, SpecUid, VmId, VolumeId, VolumeName, ZoneId};
use super::size::ByteSize;
use super::source::Place;

/// One accepted `kind: Volume` document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDocument {
    /// The identity.
    pub name: VolumeName,
    /// Free labels, for people and filters only.
    pub labels: BTreeMap<String, String>,
    /// What is asked for.
    pub spec: VolumeSpec,
}

/// The `spec` block of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Whether to act at all.
    pub mode: Mode,
    /// True: no mutating action; observation and drift go on.
    pub suspend: bool,
    /// Where the volume comes from.
    pub origin: Origin,
    /// What its attachment should be; `None` means not managed, only reported.
    pub attach_to: Option<AttachSpec>,
    /// What its export should be; `None` means not exported.
    pub export: Option<ExportSpec>,
    /// What happens when the spec goes away.
    pub reclaim_policy: Reclaim,
    /// True: never deleted, whatever `reclaim_policy` says.
    pub deletion_protection: bool,
}

/// Where a volume comes from: made by us, or there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Create it.
    Create {
        /// Its name in CloudStack, not unique there; 1-255 characters.
        volume_name: String,
        /// Its least size; CloudStack takes whole GiB, so it is rounded up.
        size: ByteSize,
        /// Where to create it.
        zone: NameOrId<ZoneId>,
        /// From which offering.
        offering: NameOrId<OfferingId>,
    },
    /// Adopt it.
    Existing {
        /// Which one.
        volume: NameOrId<VolumeId>,
        /// Its least size, if growing is asked for.
        size: Option<ByteSize>,
    },
}

impl Origin {
    /// The least size asked for, if any.
    pub fn size(&self) -> Option<ByteSize> {
        match self {
            Self::Create { size, .. } => Some(*size),
            Self::Existing { size, .. } => *size,
        }
    }
}

/// Whether the daemon acts for a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Make it so.
    Enforce,
    /// Report only.
    Observe,
}

/// A CloudStack object, by its name or by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameOrId<Id> {
    /// Looked up once for each generation of the spec.
    Name(String),
    /// Taken as it is.
    Id(Id),
}

impl<Id: FromStr> NameOrId<Id> {
    /// Reads `text`: an id if it has the form of one, else a name.
    pub fn parse(text: &str) -> Self {
        match text.parse() {
            Ok(id) => Self::Id(id),
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}

impl<Id: fmt::Display> fmt::Display for NameOrId<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.pad(name),
            Self::Id(id) => f.pad(&id.to_string()),
        }
    }
}

/// The `attachTo` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachSpec {
    /// To which VM.
    pub vm: AttachVm,
    /// CloudStack device id, 0 for the root disk, never 3 (CD-ROM). `None`: CloudStack
    /// chooses. Used when attaching; a later difference is drift only.
    pub device_id: Option<u8>,
    /// May it be taken from a stopped VM on which this daemon did not put it?
    pub take: Move,
}

/// The VM of an `attachTo` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachVm {
    /// The VM this daemon runs on.
    SelfVm,
    /// No VM: it must be detached.
    Nobody,
    /// Another VM.
    Vm(NameOrId<VmId>),
}

/// The `move` key (I2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// A foreign attachment is left alone.
    Never,
    /// It may be taken from a VM that is Stopped.
    WhenFree,
}

/// The `export` block, enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSpec {
    /// Its name; `None`: `migration-vol-<volume uuid>`.
    pub name: Option<ExportName>,
    /// Whether clients may only read.
    pub read_only: bool,
    /// How long clients may take to leave before waiting for them is reported as
    /// stalled. They are never cut off by a timer.
    pub drain_timeout: Duration,
}

/// What happens to the volume when its spec goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reclaim {
    /// Volume and attachment stay; our export ends once no client uses it.
    Retain,
    /// The export ends and the volume is detached, after a grace period.
    Detach,
    /// As Detach, then the volume is deleted, where everything allows it (I5).
    Delete,
}

/// Who wrote a spec: one owner per name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Owner {
    /// A watched file, by its path.
    File(String),
    /// A row of `desired_volumes`, by who writes it.
    Db(Writer),
    /// Calls of the API.
    Api,
}

/// How the API is written as an owner.
const API: &str = "api";

/// Who writes rows of `desired_volumes`: 1-63 letters, digits, dots, hyphens and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer(String);

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Text that cannot name a writer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected 1-63 letters, digits, dots, hyphens and underscores, got {0:?}")]
pub struct InvalidWriter(pub String);

impl FromStr for Writer {
    type Err = InvalidWriter;

    fn from_str(text: &str) -> Result<Self, InvalidWriter> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if (1..=63).contains(&text.len()) && text.bytes().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidWriter(text.to_owned()))
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Db(writer) => write!(f, "db:{writer}"),
            Self::Api => f.write_str(API),
        }
    }
}

/// Text that names no owner.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected an owner like file:/etc/volume-daemon/specs/a.yaml, db:engine or api, got {0:?}")]
pub struct InvalidOwner(pub String);

impl TryFrom<String> for Owner {
    type Error = InvalidOwner;

    fn try_from(text: String) -> Result<Self, InvalidOwner> {
        if text == API {
            return Ok(Self::Api);
        }
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(path.to_owned()));
        }
        let writer = text.strip_prefix("db:").map(str::parse);
        match writer {
            Some(Ok(writer)) => Ok(Self::Db(writer)),
            Some(Err(_)) | None => Err(InvalidOwner(text)),
        }
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

/// Counts the accepted versions of one spec, from 1.
pub type Generation = u64;

/// An accepted document and its place in history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredVolume {
    /// What was asked for.
    pub document: VolumeDocument,
    /// Made when the name was first accepted; part of the claim tag.
    pub uid: SpecUid,
    /// Which version of the document this is.
    pub generation: Generation,
    /// Who wrote it.
    pub owner: Owner,
    /// Whether it is still written anywhere.
    pub presence: Presence,
}

impl DesiredVolume {
    /// The identity.
    pub fn name(&self) -> &VolumeName {
        &self.document.name
    }

    /// What is asked for.
    pub fn spec(&self) -> &VolumeSpec {
        &self.document.spec
    }

    /// Where it is written; `None` once it is gone from there.
    pub fn place(&self) -> Option<Place<'_>> {
        match (&self.owner, self.presence) {
            (_, Presence::Abandoned { .. }) => None,
            (Owner::File(path), Presence::Declared) => Some(Place::File(path)),
            (Owner::Db(_), Presence::Declared) => Some(Place::Row(self.name().as_str())),
            (Owner::Api, Presence::Declared) => Some(Place::Api(self.name().as_str())),
        }
    }
}

/// Whether a spec is still written anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Declared,
    /// It is gone, and its reclaim policy waits for its grace period.
    Abandoned {
        /// Time that counted towards the grace period: while the source was
        /// readable, the daemon up and nothing frozen.
        counted: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_read_back_and_nothing_else_is_one() {
        for text in [
            "file:/specs/a.yaml",
            "db:engine",
            "db:oma-1.migrate_2",
            "api",
        ] {
            let owner = Owner::try_from(text.to_owned());
            assert_eq!(owner.map(String::from).as_deref(), Ok(text));
        }
        let long = format!("db:{}", "x".repeat(64));
        for text in ["db:", "db:a b", "api:", "API", "db:\u{e9}", &long] {
            assert!(Owner::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
