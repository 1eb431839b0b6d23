//! Who uses a disk besides us: devices built on it, mounts, swap space.
//!
//! The kernel also refuses an exclusive open of a disk in use; this says *who* it is, before
//! anything is opened.

use std::fs;
use std::path::Path;

use super::sysfs::{devt, parse_devt};
use super::{Host, HostError, is_gone, number_of, read_file};
use crate::model::observed::{DeviceNumber, DeviceUser};

/// Some hundred bytes for each mount; machines with ten thousand mounts exist.
const MOUNTINFO_MAX: u64 = 64 << 20;
const SWAPS_MAX: u64 = 1 << 20;

/// The mounts and swap spaces of this machine.
pub(super) struct Users {
    mounts: Vec<(Place, String)>,
    swaps: Vec<Place>,
}

/// A block device that something names by number, by path, or both.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// The number the kernel gave; anonymous for file systems such as btrfs.
    devt: Option<(u32, u32)>,
    /// What its path leads to.
    target: Option<DeviceNumber>,
    /// The last part of that path.
    name: Option<String>,
}

impl Users {
    /// Reads both lists.
    pub(super) fn read(host: &Host) -> Result<Self, HostError> {
        Ok(Self {
            mounts: mounts(host)?,
            swaps: swaps(host)?,
        })
    }

    /// Who uses the disk `name`, whose sysfs directory is `dir`, or a partition of it.
    pub(super) fn of(&self, dir: &Path, name: &str) -> Result<Vec<DeviceUser>, HostError> {
        let mut users = Vec::new();
        let mut parts = partitions(dir)?;
        parts.push(name.to_owned());
        for part in &parts {
            let dir = if part == name {
                dir.to_owned()
            } else {
                dir.join(part)
            };
            let number = devt(&dir.join("dev"))?;
            for holder in list(&dir.join("holders"))? {
                users.push(DeviceUser::Holder(holder));
            }
            let is_here = |place: &&Place| place.is(part, number);
            users.extend(
                self.mounts
                    .iter()
                    .filter(|(place, _)| is_here(&place))
                    .map(|(_, point)| DeviceUser::Mount(point.clone())),
            );
            if self.swaps.iter().any(|place| is_here(&place)) {
                users.push(DeviceUser::Swap);
            }
        }
        Ok(users)
    }
}

impl Place {
    fn is(&self, name: &str, number: Option<(u32, u32)>) -> bool {
        let target = match self.target {
            Some(DeviceNumber::Block { major, minor }) => Some((major, minor)),
            Some(DeviceNumber::File { .. }) | None => None,
        };
        self.name.as_deref() == Some(name)
            || (number.is_some() && (self.devt == number || target == number))
    }

    /// The device that a path below `/dev` leads to, through however many links.
    fn at(host: &Host, devt: Option<(u32, u32)>, path: &str) -> Self {
        let Some(relative) = path.strip_prefix("/dev/") else {
            return Self {
                devt,
                target: None,
                name: None,
            };
        };
        let path = host.path("dev").join(relative);
        let path = fs::canonicalize(&path).unwrap_or(path);
        Self {
            devt,
            target: fs::metadata(&path).ok().and_then(|m| number_of(&m)),
            name: path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        }
    }
}

fn mounts(host: &Host) -> Result<Vec<(Place, String)>, HostError> {
    let path = host.path("proc/self/mountinfo");
    let Some(content) = read_file(&path, MOUNTINFO_MAX)? else {
        return missing(host, &path);
    };
    String::from_utf8_lossy(&content)
        .lines()
        .map(|line| {
            let mount = parse_mount(line).ok_or_else(|| HostError::Malformed {
                path: path.clone(),
                what: "a line does not have the fields of proc_pid_mountinfo(5)",
            })?;
            let place = Place::at(host, Some(mount.devt), &mount.source);
            Ok((place, mount.point))
        })
        .collect()
}

fn swaps(host: &Host) -> Result<Vec<Place>, HostError> {
    let path = host.path("proc/swaps");
    let Some(content) = read_file(&path, SWAPS_MAX)? else {
        return missing(host, &path);
    };
    let places = String::from_utf8_lossy(&content)
        .lines()
        .skip(1) // the heading
        .filter_map(|line| line.split_ascii_whitespace().next())
        .map(|path| Place::at(host, None, &unescape(path)))
        .collect();
    Ok(places)
}

/// On the machine itself a missing list means that nothing is known; a tree of files
/// need not have it.
fn missing<T>(host: &Host, path: &Path) -> Result<Vec<T>, HostError> {
    if host.is_real() {
        Err(HostError::Missing {
            path: path.to_owned(),
        })
    } else {
        Ok(Vec::new())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    devt: (u32, u32),
    point: String,
    source: String,
}

/// Parses `36 35 98:0 /root /point options [tags…] - type source super-options`
/// (proc_pid_mountinfo(5)).
fn parse_mount(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let devt = parse_devt(fields.nth(2)?)?;
    let point = unescape(fields.nth(1)?);
    fields.find(|field| *field == "-")?;
    let source = unescape(fields.nth(1)?);
    Some(Mount {
        devt,
        point,
        source,
    })
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash (`mangle_path` in
/// fs/seq_file.c).
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = |b: u8| (b'0'..=b'7').contains(&b).then(|| u16::from(b - b'0'));
        let escaped = match (first, tail) {
            (b'\\', [a, b, c, ..]) => match (octal(*a), octal(*b), octal(*c)) {
                (Some(a), Some(b), Some(c)) => u8::try_from(a * 64 + b * 8 + c).ok(),
                _ => None,
            },
            _ => None,
        };
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The partitions of a disk: its subdirectories with a file `partition`
/// (`Documentation/ABI/stable/sysfs-block`).
fn partitions(dir: &Path) -> Result<Vec<String>, HostError> {
    let mut names = list(dir)?;
    names.retain(|name| dir.join(name).join("partition").exists());
    Ok(names)
}

/// The names in a directory, sorted; none if it is gone.
fn list(dir: &Path) -> Result<Vec<String>, HostError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(source) => return Err(HostError::read(dir.to_owned(), source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| HostError::read(dir.to_owned(), source))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_documented() {
        let mount = |devt, point: &str, source: &str| {
            Some(Mount {
                devt,
                point: point.to_owned(),
                source: source.to_owned(),
            })
        };
        for (case, line, expected) in [
            (
                "tagged",
                "36 35 254:17 / /mnt rw,noatime master:1 shared:2 - ext4 /dev/vdb1 rw",
                mount((254, 17), "/mnt", "/dev/vdb1"),
            ),
            (
                "no tags",
                "36 35 254:17 / /mnt rw - ext4 /dev/vdb1 rw",
                mount((254, 17), "/mnt", "/dev/vdb1"),
            ),
            (
                "escapes",
                r"36 35 0:40 / /a\040b\134c rw - btrfs /dev/disk/by-label/a\040b rw",
                mount((0, 40), r"/a b\c", "/dev/disk/by-label/a b"),
            ),
            (
                "empty source",
                "36 35 0:40 / /mnt rw - tmpfs  rw",
                mount((0, 40), "/mnt", ""),
            ),
            ("no separator", "36 35 0:40 / /mnt rw ext4 /dev/vdb1", None),
            ("no number", "36 35 x / /mnt rw - ext4 /dev/vdb1 rw", None),
            ("empty", "", None),
        ] {
            assert_eq!(parse_mount(line), expected, "{case}");
        }
    }

    #[test]
    fn only_complete_octal_escapes_are_undone() {
        for (text, expected) in [
            (r"a\040b", "a b"),
            (r"\134", r"\"),
            (r"\04", r"\04"),
            (r"\048", r"\048"),
            (r"\777", r"\777"),
            (r"\", r"\"),
            (r"\303\251", "é"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    #[test]
    fn only_the_machine_itself_must_have_its_lists() {
        let tree = crate::host::tree::Tree::new();
        let path = tree.path("nowhere");
        assert!(missing::<()>(&tree.host(), &path).is_ok());
        assert!(missing::<()>(&Host::new("/", None), &path).is_err());
    }
}
