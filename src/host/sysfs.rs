//! Disks as sysfs describes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::users::Users;
use super::{Host, HostError, is_gone, number_of, read_file};
use crate::model::observed::{Device, DeviceNumber, KernelName};
use crate::model::{ByteSize, Serial};

/// No attribute read here is longer than a page (kernel `Documentation/filesystems/sysfs.rst`).
const ATTRIBUTE_MAX: u64 = 4096;
/// sysfs counts in these, whatever the disk's own sectors are (`Documentation/ABI/stable/sysfs-block`).
const SECTOR_BYTES: u64 = 512;
/// How often a disk is read again because it was replaced meanwhile.
const ATTEMPTS: usize = 3;

/// What makes a disk the disk it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub number: DeviceNumber,
    pub serial: Option<Serial>,
    pub size: ByteSize,
    pub diskseq: Option<u64>,
}

/// Every block device that is not a partition.
pub(super) fn devices(
    host: &Host,
    users: &Users,
) -> Result<BTreeMap<KernelName, Device>, HostError> {
    let mut devices = BTreeMap::new();
    for name in names(host)? {
        let dir = host.path("sys/block").join(&name);
        let Some(facts) = facts(host, &dir, &name)? else {
            continue;
        };
        let Facts {
            number,
            serial,
            size,
            diskseq,
        } = facts;
        let device = Device {
            kernel_name: name.clone(),
            number,
            serial,
            size,
            diskseq,
            users: users.of(&dir, &name)?,
        };
        devices.insert(name, device);
    }
    Ok(devices)
}

fn names(host: &Host) -> Result<Vec<KernelName>, HostError> {
    let dir = host.path("sys/block");
    let entries = fs::read_dir(&dir).map_err(|source| HostError::read(dir.clone(), source))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| HostError::read(dir.clone(), source))?;
        // The kernel's own names are ASCII.
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}

/// The sysfs directory and kernel name of the disk with `number`; `None` if there is none.
pub(super) fn find(
    host: &Host,
    number: DeviceNumber,
) -> Result<Option<(PathBuf, KernelName)>, HostError> {
    if let DeviceNumber::Block { major, minor } = number {
        let link = host.path(format!("sys/dev/block/{major}:{minor}"));
        return match fs::canonicalize(&link) {
            Ok(dir) => Ok(dir
                .file_name()
                .and_then(|name| name.to_str())
                .map(str::to_owned)
                .map(|name| (dir, name))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(source) => Err(HostError::read(link, source)),
        };
    }
    for name in names(host)? {
        let dir = host.path("sys/block").join(&name);
        if number_in(host, &dir, &name)? == Some(number) {
            return Ok(Some((dir, name)));
        }
    }
    Ok(None)
}

/// Reads a disk; `None` if it is gone, or not completely there yet: the attributes of a
/// disk that works never vanish.
///
/// A diskseq that changed on the way means that the facts may be of two disks.
pub(super) fn facts(host: &Host, dir: &Path, name: &str) -> Result<Option<Facts>, HostError> {
    for _ in 0..ATTEMPTS {
        let diskseq = decimal(&dir.join("diskseq"))?;
        let Some(number) = number_in(host, dir, name)? else {
            return Ok(None);
        };
        let Some(sectors) = decimal(&dir.join("size"))? else {
            return Ok(None);
        };
        let serial = serial(dir)?;
        if decimal(&dir.join("diskseq"))? == diskseq {
            return Ok(Some(Facts {
                number,
                serial,
                size: ByteSize::bytes(sectors.saturating_mul(SECTOR_BYTES)),
                diskseq,
            }));
        }
    }
    Err(HostError::Malformed {
        path: dir.join("diskseq"),
        what: "it changes faster than it can be read",
    })
}

/// The device number from sysfs on the machine itself, from `dev/<name>` below another root.
fn number_in(host: &Host, dir: &Path, name: &str) -> Result<Option<DeviceNumber>, HostError> {
    if host.is_real() {
        let Some((major, minor)) = devt(&dir.join("dev"))? else {
            return Ok(None);
        };
        return Ok(Some(DeviceNumber::Block { major, minor }));
    }
    let path = host.path("dev").join(name);
    match fs::metadata(&path) {
        Ok(metadata) => Ok(number_of(&metadata)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(HostError::read(path, source)),
    }
}

/// Reads `major:minor`.
pub(super) fn devt(path: &Path) -> Result<Option<(u32, u32)>, HostError> {
    let Some(content) = text(path)? else {
        return Ok(None);
    };
    parse_devt(&content)
        .map(Some)
        .ok_or_else(|| HostError::Malformed {
            path: path.to_owned(),
            what: "expected major:minor",
        })
}

/// Parses `major:minor`.
pub(super) fn parse_devt(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn decimal(path: &Path) -> Result<Option<u64>, HostError> {
    let Some(content) = text(path)? else {
        return Ok(None);
    };
    content.parse().map(Some).map_err(|_| HostError::Malformed {
        path: path.to_owned(),
        what: "expected a number",
    })
}

fn text(path: &Path) -> Result<Option<String>, HostError> {
    let content = read_file(path, ATTRIBUTE_MAX)?;
    Ok(content.map(|content| String::from_utf8_lossy(&content).trim().to_owned()))
}

/// The serial of a disk, if it has one that CloudStack could have given.
fn serial(dir: &Path) -> Result<Option<Serial>, HostError> {
    // virtio-blk: `serial_show` in drivers/block/virtio_blk.c.
    let raw = match read_file(&dir.join("serial"), ATTRIBUTE_MAX)? {
        Some(raw) => raw,
        // SCSI, and ATA through libata.
        None => match read_file(&dir.join("device/vpd_pg80"), ATTRIBUTE_MAX)? {
            Some(page) => unit_serial(&page).unwrap_or_default().to_vec(),
            None => return Ok(None),
        },
    };
    let padding = |c: char| c == '\0' || c.is_ascii_whitespace();
    let text = String::from_utf8_lossy(&raw);
    Ok(text.trim_matches(padding).parse().ok())
}

/// The serial in a Unit Serial Number VPD page: four bytes of header, of which the second is
/// 0x80 and the last two the length (SPC-4, 7.8.14).
fn unit_serial(page: &[u8]) -> Option<&[u8]> {
    let [_, 0x80, high, low, serial @ ..] = page else {
        return None;
    };
    serial.get(..usize::from(u16::from_be_bytes([*high, *low])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_serial_page_is_read_within_its_bounds() {
        let page = |length: u8, text: &[u8]| [&[0, 0x80, 0, length], text].concat();
        let cases = [
            ("exact", page(3, b"abc"), Some(&b"abc"[..])),
            ("trailing bytes", page(2, b"abc"), Some(&b"ab"[..])),
            ("truncated", page(4, b"abc"), None),
            ("empty", page(0, b""), Some(&b""[..])),
            ("no header", vec![0, 0x80, 0], None),
            ("another page", vec![0, 0x83, 0, 1, b'a'], None),
        ];
        for (case, page, expected) in cases {
            assert_eq!(unit_serial(&page), expected, "{case}");
        }
    }

    #[test]
    fn device_numbers_are_two_decimals() {
        assert_eq!(parse_devt("254:16"), Some((254, 16)));
        for bad in ["", "254", "254:", ":16", "a:b", "254:16:1", "-1:2"] {
            assert_eq!(parse_devt(bad), None, "{bad}");
        }
    }
}
