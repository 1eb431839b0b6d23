//! The steps that change something, each exactly one call.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::export::{ExportName, NodeName, Serial};
use super::ids::{OfferingId, VmId, VolumeId, ZoneId};
use super::observed::DeviceNumber;
use super::size::ByteSize;

/// One mutating step. Carries every choice: execution makes none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum Action {
    /// `createVolume`.
    Create {
        /// Its name in CloudStack.
        volume_name: String,
        /// Its size, a whole number of GiB.
        size: ByteSize,
        /// Where.
        zone: ZoneId,
        /// From what.
        offering: OfferingId,
    },
    /// `createTags`: the claim, before any other mutation of a volume.
    Tag {
        /// Which volume.
        volume: VolumeId,
        /// The value of [`CLAIM_TAG`].
        claim: Claim,
    },
    /// Record that a volume which carries our claim is the one of this spec. No call.
    Bind {
        /// Which volume.
        volume: VolumeId,
        /// The claim that was read from it.
        claim: Claim,
    },
    /// `resizeVolume`, never with `shrinkok`.
    Grow {
        /// Which volume.
        volume: VolumeId,
        /// The VM it is attached to: its jobs queue there.
        vm: Option<VmId>,
        /// Its size now.
        from: ByteSize,
        /// Its size then, a whole number of GiB.
        to: ByteSize,
    },
    /// `attachVolume`.
    Attach {
        /// Which volume.
        volume: VolumeId,
        /// To which VM.
        vm: VmId,
        /// As which device; `None`: CloudStack chooses.
        device_id: Option<u8>,
    },
    /// `detachVolume`, by volume id.
    Detach {
        /// Which volume.
        volume: VolumeId,
        /// From which VM it is expected to go.
        vm: VmId,
    },
    /// `destroyVolume`: CloudStack keeps what was ever in use for a while, and `recoverVolume`
    /// brings it back.
    Delete {
        /// Which volume.
        volume: VolumeId,
        /// Whether it never was in use, so that there is nothing to bring back and CloudStack wants
        /// it removed at once (`VolumeApiServiceImpl.destroyVolume`).
        is_blank: bool,
    },
    /// Serve a device that is proven once more on the opened descriptor.
    Export {
        /// Whose data.
        volume: VolumeId,
        /// Under which name.
        export: ExportName,
        /// Whether clients may only read.
        read_only: bool,
        /// What must be found on the descriptor.
        device: DeviceProof,
    },
    /// Stop serving.
    Withdraw {
        /// Whose data.
        volume: VolumeId,
        /// Which export.
        export: ExportName,
        /// What it is called inside the server.
        node: NodeName,
        /// With or without regard for clients.
        mode: WithdrawMode,
    },
}

/// The tag key of the claim. CloudStack refuses a second value for a key
/// (`TaggedResourceManagerImpl.java`), which makes setting it a compare-and-set.
pub const CLAIM_TAG: &str = "volume-daemon/uid";

/// Who claims a volume, and whether it made it: the value of [`CLAIM_TAG`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Which store.
    pub instance: super::ids::InstanceId,
    /// Which spec.
    pub spec: super::ids::SpecUid,
    /// How it came to us.
    pub mark: Mark,
}

/// How a volume came to us. Only what we created may ever be deleted (I5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// We made it.
    Created,
    /// It was there.
    Adopted,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Created => "created",
            Self::Adopted => "adopted",
        })
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.instance, self.spec, self.mark)
    }
}

impl std::str::FromStr for Claim {
    type Err = InvalidClaim;

    fn from_str(text: &str) -> Result<Self, InvalidClaim> {
        let invalid = || InvalidClaim(text.to_owned());
        let mut parts = text.split('/');
        let (Some(instance), Some(spec), Some(mark), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self {
            instance: instance.parse().map_err(|_| invalid())?,
            spec: spec.parse().map_err(|_| invalid())?,
            mark: match mark {
                "created" => Mark::Created,
                "adopted" => Mark::Adopted,
                _ => return Err(invalid()),
            },
        })
    }
}

/// A tag value that is not a claim.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a claim of the form <instance>/<spec>/<created|adopted>")]
pub struct InvalidClaim(pub String);

/// What the planner saw of a device, to be found again on the opened descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceProof {
    /// The link in `/dev/disk/by-id` to open.
    pub link: String,
    /// The serial behind it.
    pub serial: Serial,
    /// The device behind it.
    pub number: DeviceNumber,
    /// Its diskseq, where the kernel has one.
    pub diskseq: Option<u64>,
    /// Its size.
    pub size: ByteSize,
}

impl DeviceProof {
    /// What the proven device is called inside the NBD server.
    pub fn node(&self) -> NodeName {
        NodeName::of(&self.serial, self.number, self.diskseq)
    }
}

/// How an export ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WithdrawMode {
    /// Only if no client uses it; the server refuses otherwise.
    Soft,
    /// At once: what is served is not, or no longer, the right disk (I3).
    Hard,
}

/// Why a step is taken. The guard counts what nobody asked for in so many words (I6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A spec asks for it.
    Declared,
    /// A spec was changed, and what was there no longer fits.
    Edited,
    /// A spec went away.
    Abandoned,
    /// Somebody undid what was done before, or holds what the spec may take from them.
    Healing,
}

impl Cause {
    /// The cause as text, as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Edited => "edited",
            Self::Abandoned => "abandoned",
            Self::Healing => "healing",
        }
    }
}

impl Action {
    /// [`Action::kind`] of [`Action::Create`].
    pub const CREATE: &str = "Create";
    /// [`Action::kind`] of [`Action::Grow`].
    pub const GROW: &str = "Grow";
    /// [`Action::kind`] of [`Action::Attach`].
    pub const ATTACH: &str = "Attach";
    /// [`Action::kind`] of [`Action::Detach`].
    pub const DETACH: &str = "Detach";
    /// [`Action::kind`] of [`Action::Delete`].
    pub const DELETE: &str = "Delete";
    /// [`Action::kind`] of [`Action::Export`].
    pub const EXPORT: &str = "Export";
    /// [`Action::kind`] of [`Action::Withdraw`].
    pub const WITHDRAW: &str = "Withdraw";

    /// The kind of step, as printed and stored.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => Self::CREATE,
            Self::Tag { .. } => "Tag",
            Self::Bind { .. } => "Bind",
            Self::Grow { .. } => Self::GROW,
            Self::Attach { .. } => Self::ATTACH,
            Self::Detach { .. } => Self::DETACH,
            Self::Delete { .. } => Self::DELETE,
            Self::Export { .. } => Self::EXPORT,
            Self::Withdraw { .. } => Self::WITHDRAW,
        }
    }

    /// Whether it changes CloudStack, hence needs an intent and fresh readings.
    pub const fn is_cloud(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::Tag { .. }
            | Self::Grow { .. }
            | Self::Attach { .. }
            | Self::Detach { .. }
            | Self::Delete { .. } => true,
            Self::Bind { .. } | Self::Export { .. } | Self::Withdraw { .. } => false,
        }
    }

    /// The volume it changes; a volume to be created has no id yet.
    pub const fn volume(&self) -> Option<VolumeId> {
        match self {
            Self::Create { .. } => None,
            Self::Tag { volume, .. }
            | Self::Bind { volume, .. }
            | Self::Grow { volume, .. }
            | Self::Attach { volume, .. }
            | Self::Detach { volume, .. }
            | Self::Delete { volume, .. }
            | Self::Export { volume, .. }
            | Self::Withdraw { volume, .. } => Some(*volume),
        }
    }

    /// The VM whose queue its job stands in (`VolumeApiServiceImpl.java`: attach, detach and
    /// resize of attached volumes run one after another for each VM).
    pub const fn vm(&self) -> Option<VmId> {
        match self {
            Self::Attach { vm, .. } | Self::Detach { vm, .. } => Some(*vm),
            Self::Grow { vm, .. } => *vm,
            Self::Create { .. }
            | Self::Tag { .. }
            | Self::Bind { .. }
            | Self::Delete { .. }
            | Self::Export { .. }
            | Self::Withdraw { .. } => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create {
                volume_name, size, ..
            } => write!(f, "create {volume_name} with {size}"),
            Self::Tag { volume, claim } => write!(f, "claim {volume} as {}", claim.mark),
            Self::Bind { volume, .. } => write!(f, "bind to {volume}"),
            Self::Grow {
                volume, from, to, ..
            } => write!(f, "grow {volume} from {from} to {to}"),
            Self::Attach {
                volume,
                vm,
                device_id,
            } => match device_id {
                Some(id) => write!(f, "attach {volume} to VM {vm} as device {id}"),
                None => write!(f, "attach {volume} to VM {vm}"),
            },
            Self::Detach { volume, vm } => write!(f, "detach {volume} from VM {vm}"),
            Self::Delete { volume, .. } => write!(f, "delete {volume}"),
            Self::Export {
                export,
                read_only,
                device,
                ..
            } => {
                let how = if *read_only { " read-only" } else { "" };
                write!(f, "export {} as {export}{how}", device.link)
            }
            Self::Withdraw { export, mode, .. } => match mode {
                WithdrawMode::Soft => write!(f, "withdraw {export} once unused"),
                WithdrawMode::Hard => write!(f, "withdraw {export} at once"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_claim_survives_being_written_as_a_tag() {
        let claim = Claim {
            instance: super::super::InstanceId::new(Uuid::from_u128(7)),
            spec: super::super::SpecUid::new(Uuid::from_u128(8)),
            mark: Mark::Adopted,
        };
        assert_eq!(claim.to_string().parse(), Ok(claim));
        assert!(
            claim.to_string().len() <= 255,
            "tag values are varchar(255)"
        );
        for bad in ["", "me", "a/b/created", "a/b/c/d"] {
            assert!(bad.parse::<Claim>().is_err(), "{bad}");
        }
    }
}
