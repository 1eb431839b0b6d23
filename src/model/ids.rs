//! Identities. Two ids of different things never compare or swap by accident.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Reads the hyphenated form, in either case; nothing else is an id.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if text.len() != 36 {
                    return Err(InvalidId(text.to_owned()));
                }
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| InvalidId(text.to_owned()))
            }
        }
    };
}

/// Text that is not a hyphenated UUID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a UUID like 2aff4799-7a2b-4c0e-9c5e-0d6f1f6f2b11, got {0:?}")]
pub struct InvalidId(pub String);

/// What tells one account of one CloudStack from another: a keyed digest that says nothing about
/// the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountMark(String);

impl AccountMark {
    /// Wraps a digest.
    pub fn new(digest: impl Into<String>) -> Self {
        Self(digest.into())
    }

    /// The digest.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

uuid_id!(
    /// A CloudStack volume.
    VolumeId
);
uuid_id!(
    /// A CloudStack virtual machine.
    VmId
);
uuid_id!(
    /// A CloudStack zone.
    ZoneId
);
uuid_id!(
    /// A CloudStack disk offering.
    OfferingId
);
uuid_id!(
    /// A CloudStack asynchronous job.
    JobId
);
uuid_id!(
    /// One row of our intent journal. CloudStack is asked to use the same
    /// UUID for the job (`customjobid`, `BaseAsyncCmd.java`), so that a lost
    /// answer can be looked up.
    IntentId
);
uuid_id!(
    /// The spec of one name, from its first acceptance on. Part of the claim tag.
    SpecUid
);
uuid_id!(
    /// One store, hence one history of decisions. Part of the claim tag.
    InstanceId
);

impl IntentId {
    /// The job id that CloudStack is asked to give to this intent's call.
    pub const fn job(self) -> JobId {
        JobId(self.0)
    }
}

/// Name of a volume's spec: an RFC 1123 label of at most 63 characters. The identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);

/// Text that is not an RFC 1123 label.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a name has 1-63 characters a-z, 0-9 and '-', and starts and ends with a letter or digit, got {0:?}"
)]
pub struct InvalidName(pub String);

impl VolumeName {
    /// Longest name, in characters (RFC 1123 label).
    pub const LEN_MAX: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = !bytes.is_empty()
            && bytes.len() <= Self::LEN_MAX
            && bytes.iter().all(|&b| inner(b) || b == b'-')
            && bytes.first().copied().is_some_and(inner)
            && bytes.last().copied().is_some_and(inner);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for VolumeName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<VolumeName> for String {
    fn from(name: VolumeName) -> Self {
        name.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rfc_1123_labels() {
        let longest = "a".repeat(63);
        for good in ["a", "pgtest2-disk-0", "0", longest.as_str()] {
            assert!(good.parse::<VolumeName>().is_ok(), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é", too_long.as_str()] {
            assert_eq!(
                bad.parse::<VolumeName>(),
                Err(InvalidName(bad.to_owned())),
                "{bad}"
            );
        }
    }

    #[test]
    fn ids_take_the_hyphenated_form_only() {
        let text = "2AFF4799-7a2b-4c0e-9c5e-0d6f1f6f2b11";
        let id: VolumeId = text.parse().expect("a UUID");
        assert_eq!(id.to_string(), text.to_lowercase());
        assert!(
            "2aff47997a2b4c0e9c5e0d6f1f6f2b11"
                .parse::<VolumeId>()
                .is_err()
        );
        assert!("vol-1".parse::<VolumeId>().is_err());
    }
}
