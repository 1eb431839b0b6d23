//! Sizes of disks, in bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A size in bytes.
///
/// Written by people as a whole number with a binary unit: `40GiB`,
/// `512MiB`, `2TiB`, or `1073741824B`. Decimal units and bare numbers are refused,
/// because CloudStack counts in GiB while everybody else's "GB" varies.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(u64);

/// Why a text is not a size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSize {
    /// A unit that is not binary, or no unit.
    #[error("{text:?} has no binary unit: write {hint}")]
    Unit {
        /// What was written.
        text: String,
        /// The nearest valid spelling.
        hint: String,
    },
    /// Not a positive whole number.
    #[error("{0:?} is not a size: write a whole number and MiB, GiB, TiB or B, like 40GiB")]
    Number(String),
    /// More than CloudStack can express.
    #[error("{0:?} is larger than 16 PiB")]
    TooLarge(String),
}

impl ByteSize {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;
    /// 16 PiB. CloudStack's own ceiling is lower; this one keeps arithmetic in i64.
    const MAX: u64 = 1 << 54;

    /// A size of so many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of so many GiB.
    pub const fn gib(gib: u64) -> Self {
        Self(gib.saturating_mul(Self::GIB))
    }

    /// A size of so many MiB.
    pub const fn mib(mib: u64) -> Self {
        Self(mib.saturating_mul(Self::MIB))
    }

    /// The size in bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// The size in whole GiB, rounded up: what `createVolume` and
    /// `resizeVolume` take (`CreateVolumeCmd.java`).
    pub const fn as_gib_rounded_up(self) -> u64 {
        self.0.div_ceil(Self::GIB)
    }

    /// The smallest size CloudStack can give that holds this one.
    pub const fn rounded_up_to_gib(self) -> Self {
        Self::gib(self.as_gib_rounded_up())
    }

    /// Whether nothing fits.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let count: u64 = match number.parse() {
            Ok(count) if count > 0 => count,
            Ok(_) => return Err(InvalidSize::Number(text.to_owned())),
            Err(_) if number.is_empty() => return Err(InvalidSize::Number(text.to_owned())),
            Err(_) => return Err(InvalidSize::TooLarge(text.to_owned())),
        };
        let scale = match unit {
            "B" => 1,
            "MiB" => Self::MIB,
            "GiB" => Self::GIB,
            "TiB" => Self::TIB,
            _ => {
                let hint = match unit.trim().to_ascii_lowercase().chars().next() {
                    Some('m') => format!("{count}MiB"),
                    Some('t') => format!("{count}TiB"),
                    Some('g') => format!("{count}GiB"),
                    Some('.') => return Err(InvalidSize::Number(text.to_owned())),
                    _ => format!("{count}GiB (or {count}B for bytes)"),
                };
                return Err(InvalidSize::Unit {
                    text: text.to_owned(),
                    hint,
                });
            }
        };
        match count.checked_mul(scale) {
            Some(bytes) if bytes <= Self::MAX => Ok(Self(bytes)),
            _ => Err(InvalidSize::TooLarge(text.to_owned())),
        }
    }
}

impl fmt::Display for ByteSize {
    /// Writes the largest unit that is exact, so that the text parses back to the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0 => "0B".to_owned(),
            n if n % Self::TIB == 0 => format!("{}TiB", n / Self::TIB),
            n if n % Self::GIB == 0 => format!("{}GiB", n / Self::GIB),
            n if n % Self::MIB == 0 => format!("{}MiB", n / Self::MIB),
            n => format!("{n}B"),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_units_are_read_and_written_exactly() {
        for (text, bytes) in [
            ("40GiB", 40 << 30),
            ("512MiB", 512 << 20),
            ("2TiB", 2 << 40),
            ("1073741825B", (1 << 30) + 1),
        ] {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!(size.as_bytes(), bytes, "{text}");
            assert_eq!(size.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_spelling_that_would_do() {
        for (text, says) in [
            ("40GB", "write 40GiB"),
            ("40G", "write 40GiB"),
            ("40", "write 40GiB (or 40B for bytes)"),
            ("40 GiB", "write 40GiB"),
            ("2T", "write 2TiB"),
            ("1.5GiB", "whole number"),
            ("0GiB", "whole number"),
            ("-1GiB", "whole number"),
            ("", "whole number"),
            ("99999999999999999999GiB", "larger than"),
            ("99999999TiB", "larger than"),
        ] {
            let error = text.parse::<ByteSize>().expect_err(text);
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn cloudstack_takes_whole_gib_rounded_up() {
        assert_eq!(ByteSize::bytes(1).as_gib_rounded_up(), 1);
        assert_eq!(ByteSize::gib(3).as_gib_rounded_up(), 3);
        assert_eq!(ByteSize::mib(1025).rounded_up_to_gib(), ByteSize::gib(2));
    }
}
