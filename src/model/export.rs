//! How a volume's identity shows on the host and on the NBD server.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::ids::VolumeId;
use super::observed::DeviceNumber;

/// Disk serial as the guest sees it: 1-20 ASCII letters or digits, lower case.
///
/// Source: CloudStack's KVM agent, `LibvirtComputingResource.diskUuidToSerial`
/// (volume UUID, hyphens removed, first 20 characters).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

/// Text that is not a disk serial.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a disk serial has 1-20 ASCII letters or digits, got {0:?}")]
pub struct InvalidSerial(pub String);

impl Serial {
    /// virtio-blk's limit (`VIRTIO_BLK_ID_BYTES`).
    pub const LEN_MAX: usize = 20;

    /// The serial CloudStack gives to `volume`.
    pub fn of(volume: VolumeId) -> Self {
        let mut hex = volume.uuid().simple().to_string();
        hex.truncate(Self::LEN_MAX);
        Self(hex)
    }

    /// The serial as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = InvalidSerial;

    fn from_str(text: &str) -> Result<Self, InvalidSerial> {
        let valid = (1..=Self::LEN_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if valid {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(InvalidSerial(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Serial {
    type Error = InvalidSerial;

    fn try_from(text: String) -> Result<Self, InvalidSerial> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Name under which clients find an export.
///
/// 1-255 printable ASCII characters without space, `[`, `]` and `%`. Narrower than
/// the NBD protocol (4096 bytes of UTF-8), so that the same name also works as a section
/// and file name of nbd-server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExportName(String);

/// Text that cannot name an export.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "an export name has 1-255 printable ASCII characters other than space, '/', '[', ']' and '%', and does not start with '.', got {0:?}"
)]
pub struct InvalidExportName(pub String);

impl ExportName {
    /// Longest name, in bytes.
    pub const LEN_MAX: usize = 255;

    /// The name an export has unless its spec says otherwise.
    pub fn default_for(volume: VolumeId) -> Self {
        Self(format!("migration-vol-{volume}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExportName {
    type Err = InvalidExportName;

    fn from_str(text: &str) -> Result<Self, InvalidExportName> {
        let valid = (1..=Self::LEN_MAX).contains(&text.len())
            && !text.starts_with('.')
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"/[]%".contains(&b));
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidExportName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ExportName {
    type Error = InvalidExportName;

    fn try_from(text: String) -> Result<Self, InvalidExportName> {
        text.parse()
    }
}

impl From<ExportName> for String {
    fn from(name: ExportName) -> Self {
        name.0
    }
}

impl fmt::Display for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Identifier of a proven device inside the NBD server: block node name and export id.
///
/// It is a function of what was proven (serial, device number, diskseq), so
/// a later run that finds an export under this name knows *which* disk it was proven for: a
/// hot-plugged replacement yields another name. At most 31 bytes, QEMU's limit for
/// node names (`block/block.c`, `BlockDriverState.node_name[32]`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(String);

impl NodeName {
    /// The name for a device that was proven to carry `serial`.
    pub fn of(serial: &Serial, number: DeviceNumber, diskseq: Option<u64>) -> Self {
        let mut hash = Sha1::new();
        hash.update(number.to_string());
        hash.update([0]);
        if let Some(diskseq) = diskseq {
            hash.update(diskseq.to_be_bytes());
        }
        let digest = hash.finalize();
        let tail = digest
            .iter()
            .take(5)
            .fold(String::new(), |tail, byte| tail + &format!("{byte:02x}"));
        Self(format!("v{serial}{tail}"))
    }

    /// Takes a name as the server reports it; it need not be one of ours.
    pub fn reported(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name was made for `serial`, whatever the device.
    pub fn is_for(&self, serial: &Serial) -> bool {
        self.0
            .strip_prefix('v')
            .and_then(|rest| rest.strip_prefix(serial.as_str()))
            .is_some_and(|tail| tail.len() == 10)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: &str = "b3bb9310-1b59-4f62-97e8-cefffdfe3804";

    #[test]
    fn serial_is_the_first_twenty_digits() {
        let serial = Serial::of(VOLUME.parse().expect("a UUID"));
        assert_eq!(serial.as_str(), "b3bb93101b594f6297e8");
    }

    #[test]
    fn node_name_tells_devices_apart_and_fits_qemu() {
        let serial = Serial::of(VOLUME.parse().expect("a UUID"));
        let number = |minor| DeviceNumber::Block { major: 254, minor };
        let first = NodeName::of(&serial, number(16), Some(9));
        assert_eq!(first, NodeName::of(&serial, number(16), Some(9)));
        assert_ne!(first, NodeName::of(&serial, number(32), Some(9)));
        assert_ne!(first, NodeName::of(&serial, number(16), Some(10)));
        assert_ne!(first, NodeName::of(&serial, number(16), None));
        assert_eq!(first.as_str().len(), 31);
        assert!(first.is_for(&serial));
        assert!(!NodeName::reported("drive0").is_for(&serial));
    }

    #[test]
    fn export_names_are_safe_everywhere() {
        assert!("migration-vol-x".parse::<ExportName>().is_ok());
        for bad in ["", "a b", "a/b", "[x]", "100%", ".conf", "é", "a\n"] {
            assert!(bad.parse::<ExportName>().is_err(), "{bad:?}");
        }
    }
}
