//! The texts and numbers of a spec that the model has no type of its own for.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::model::VmId;
use crate::model::desired::{AttachVm, NameOrId};

/// The name of an object in CloudStack: 1-255 characters, none of them a control character.
///
/// The length is CloudStack's (`varchar(255)` in `volumes`, `data_center`, `disk_offering`
/// and `vm_instance`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CloudName(pub String);

pub(super) const CLOUD_NAME_CHARS_MAX: u32 = 255;

/// Text that cannot name anything in CloudStack.
#[derive(Debug, thiserror::Error)]
#[error("a name in CloudStack has 1-255 characters, none of them a control character, got {0:?}")]
pub(super) struct InvalidCloudName(String);

impl FromStr for CloudName {
    type Err = InvalidCloudName;

    fn from_str(text: &str) -> Result<Self, InvalidCloudName> {
        if is_line(text, 1, CLOUD_NAME_CHARS_MAX) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidCloudName(text.to_owned()))
        }
    }
}

/// Whether `text` has from `min` to `max` characters, none of them a control character.
fn is_line(text: &str, min: u32, max: u32) -> bool {
    let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    (min..=max).contains(&chars) && !text.chars().any(char::is_control)
}

/// The value of `attachTo.vm`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct VmRef(pub AttachVm);

/// Text that refers to no VM.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidVmRef {
    /// Too near to a keyword to be taken for the name of a VM.
    #[error("{text:?} is not {keyword:?}; a VM of that name is given by its UUID")]
    NearlyKeyword { text: String, keyword: &'static str },
    #[error(transparent)]
    Name(#[from] InvalidCloudName),
}

impl VmRef {
    const SELF: &'static str = "self";
    const NONE: &'static str = "none";
}

impl FromStr for VmRef {
    type Err = InvalidVmRef;

    fn from_str(text: &str) -> Result<Self, InvalidVmRef> {
        match text {
            Self::SELF => return Ok(Self(AttachVm::SelfVm)),
            Self::NONE => return Ok(Self(AttachVm::Nobody)),
            _ => {}
        }
        // `None` taken for the name of a VM would leave a disk attached that must not be.
        for keyword in [Self::SELF, Self::NONE] {
            if text.eq_ignore_ascii_case(keyword) {
                return Err(InvalidVmRef::NearlyKeyword {
                    text: text.to_owned(),
                    keyword,
                });
            }
        }
        let CloudName(name) = text.parse()?;
        Ok(Self(AttachVm::Vm(NameOrId::<VmId>::parse(&name))))
    }
}

/// The value of `attachTo.deviceId`: 0-255, but not 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub(super) struct DeviceId(pub u8);

/// CloudStack keeps this device id for the CD-ROM drive
/// (`VolumeApiServiceImpl.getDeviceId`).
pub(super) const DEVICE_ID_CDROM: u8 = 3;

/// The device id of the CD-ROM drive.
#[derive(Debug, thiserror::Error)]
#[error("device id {DEVICE_ID_CDROM} is kept for the CD-ROM drive")]
pub(super) struct ReservedDeviceId;

impl TryFrom<u8> for DeviceId {
    type Error = ReservedDeviceId;

    fn try_from(id: u8) -> Result<Self, ReservedDeviceId> {
        if id == DEVICE_ID_CDROM {
            Err(ReservedDeviceId)
        } else {
            Ok(Self(id))
        }
    }
}

/// The value of `export.drainTimeout`: hours, minutes and seconds, like `1h30m`, from 1 s to
/// 7 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DrainTimeout(pub Duration);

/// As JSON Schema and `FromStr` both read it.
pub(super) const DRAIN_TIMEOUT_PATTERN: &str = "^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$";

/// Text that is not a time span.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidDrainTimeout {
    #[error("{0:?} is not a time span: write hours, minutes and seconds, like 5m or 1h30m")]
    Form(String),
    #[error("{0:?} is not between 1s and 168h (7 days)")]
    Range(String),
}

impl DrainTimeout {
    /// Five minutes: long enough for a client to notice and leave.
    pub const DEFAULT: Self = Self(Duration::from_secs(300));
    const MAX: Duration = Duration::from_secs(7 * 24 * 3600);
}

impl FromStr for DrainTimeout {
    type Err = InvalidDrainTimeout;

    fn from_str(text: &str) -> Result<Self, InvalidDrainTimeout> {
        let invalid = || InvalidDrainTimeout::Form(text.to_owned());
        let mut rest = text;
        let mut seconds: u64 = 0;
        for (unit, scale, digits_max) in [('h', 3600, 4), ('m', 60, 5), ('s', 1, 6)] {
            let Some((number, after)) = rest.split_once(unit) else {
                continue;
            };
            if !(1..=digits_max).contains(&number.len())
                || !number.bytes().all(|b| b.is_ascii_digit())
            {
                return Err(invalid());
            }
            let count: u64 = number.parse().map_err(|_| invalid())?;
            seconds += count * scale;
            rest = after;
        }
        if text.is_empty() || !rest.is_empty() {
            return Err(invalid());
        }
        let span = Duration::from_secs(seconds);
        if span.is_zero() || span > Self::MAX {
            return Err(InvalidDrainTimeout::Range(text.to_owned()));
        }
        Ok(Self(span))
    }
}

/// The key of a label: letters, digits and `-_./`, at most 63 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LabelKey(pub String);

pub(super) const LABEL_KEY_PATTERN: &str = "^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$";

/// Text that cannot be the key of a label.
#[derive(Debug, thiserror::Error)]
#[error(
    "the key of a label has 1-63 letters, digits and '-', '_', '.', '/', and starts and ends with a letter or digit, got {0:?}"
)]
pub(super) struct InvalidLabelKey(String);

impl FromStr for LabelKey {
    type Err = InvalidLabelKey;

    fn from_str(text: &str) -> Result<Self, InvalidLabelKey> {
        let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let valid = bytes.len() <= 63
            && ends(bytes.first())
            && ends(bytes.last())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(b));
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidLabelKey(text.to_owned()))
        }
    }
}

/// The value of a label: at most 255 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LabelValue(pub String);

pub(super) const LABEL_VALUE_CHARS_MAX: u32 = 255;

/// Text that cannot be the value of a label.
#[derive(Debug, thiserror::Error)]
#[error("a label has at most 255 characters, none of them a control character, got {0:?}")]
pub(super) struct InvalidLabelValue(String);

impl FromStr for LabelValue {
    type Err = InvalidLabelValue;

    fn from_str(text: &str) -> Result<Self, InvalidLabelValue> {
        if is_line(text, 0, LABEL_VALUE_CHARS_MAX) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidLabelValue(text.to_owned()))
        }
    }
}
