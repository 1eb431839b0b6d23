//! This machine's disks: which there are, who uses them, and a descriptor that is proven to
//! lead to the right one.
//!
//! Owns everything below `host.root`: sysfs, `/dev/disk/by-id`, mounts, swaps, and which VM
//! this is. Only reads; the one thing it opens for writing is a disk that was proven (I3).
//! Starts no process and issues no ioctl. All of it blocks, for milliseconds as a rule and for as
//! long as a stuck disk likes at worst, so an async caller runs it on a blocking thread.

mod identity;
mod open;
mod sysfs;
#[cfg(test)]
pub(crate) mod tree;
mod users;
mod watch;

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::model::observed::{BY_ID_PREFIXES, DeviceNumber, Disks, HostView, KernelName};
use crate::model::{BootTime, Reading, VmId};

pub use open::{OpenDevice, OpenError};
pub use watch::{HostWatch, WatchError};

/// This machine, or a tree of files that stands for one.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    self_vm: Option<VmId>,
}

impl Host {
    /// The machine whose `/sys`, `/dev` and `/proc` are below `root`. `self_vm` is the
    /// configured id of this VM; `None` means that it is to be found out.
    ///
    /// Below any root but `/` a regular file in `dev` counts as a device.
    pub fn new(root: impl Into<PathBuf>, self_vm: Option<VmId>) -> Self {
        let root = root.into();
        // Another spelling of `/` must not make regular files pass for disks.
        let root = fs::canonicalize(&root).unwrap_or(root);
        Self { root, self_vm }
    }

    /// Looks at everything. What cannot be read is `Unknown` with a reason.
    pub fn scan(&self, begun: BootTime) -> HostView {
        HostView {
            disks: match self.disks() {
                Ok(disks) => Reading::Present(disks),
                Err(error) => Reading::Unknown(error.reason()),
            },
            self_vm: identity::self_vm(self),
            begun,
        }
    }

    /// A file below the root; `path` is relative.
    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// Whether this is the machine itself, where only block devices are disks.
    fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    fn by_id(&self) -> PathBuf {
        self.path("dev/disk/by-id")
    }

    fn disks(&self) -> Result<Disks, HostError> {
        let users = users::Users::read(self)?;
        let devices = sysfs::devices(self, &users)?;
        let numbers = devices
            .iter()
            .map(|(name, device)| (name.as_str(), device.number))
            .collect();
        let links = self.links(&numbers)?;
        Ok(Disks { devices, links })
    }

    /// The links of CloudStack's naming schemes that lead to a disk that is there.
    fn links(
        &self,
        disks: &BTreeMap<&str, DeviceNumber>,
    ) -> Result<BTreeMap<String, KernelName>, HostError> {
        let dir = self.by_id();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            // udev removes the directory with its last link, and may never have made it.
            Err(error) if is_gone(&error) => return Ok(BTreeMap::new()),
            Err(source) => return Err(HostError::read(dir, source)),
        };
        let mut links = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(|source| HostError::read(dir.clone(), source))?;
            let Ok(link) = entry.file_name().into_string() else {
                continue;
            };
            if !BY_ID_PREFIXES.iter().any(|p| link.starts_with(p)) || is_partition_link(&link) {
                continue;
            }
            let target = match fs::read_link(entry.path()) {
                Ok(target) => target,
                // Gone since it was listed, or not a link.
                Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::InvalidInput => {
                    continue;
                }
                Err(source) => return Err(HostError::read(entry.path(), source)),
            };
            let Some(name) = target.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            // A dangling link, or one to another device than sysfs has under that name, proves
            // nothing.
            let number = fs::metadata(entry.path()).ok().and_then(|m| number_of(&m));
            if number.is_some() && disks.get(name).copied() == number {
                links.insert(link, name.to_owned());
            }
        }
        Ok(links)
    }
}

/// Whether `link` is udev's name of a partition: `…-part3`.
fn is_partition_link(link: &str) -> bool {
    link.rsplit_once("-part").is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Which device `metadata` belongs to; `None` for anything but block devices and
/// regular files.
pub(crate) fn number_of(metadata: &Metadata) -> Option<DeviceNumber> {
    let kind = metadata.file_type();
    if kind.is_block_device() {
        let (major, minor) = split_rdev(metadata.rdev())?;
        Some(DeviceNumber::Block { major, minor })
    } else if kind.is_file() {
        Some(DeviceNumber::File {
            dev: metadata.dev(),
            ino: metadata.ino(),
        })
    } else {
        None
    }
}

fn split_rdev(rdev: u64) -> Option<(u32, u32)> {
    let major = nix::sys::stat::major(rdev).try_into().ok()?;
    let minor = nix::sys::stat::minor(rdev).try_into().ok()?;
    Some((major, minor))
}

/// Whether an error means that the thing is not there (any more). sysfs answers ENODEV or
/// ENXIO for an attribute whose device is just being removed.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(
            error.raw_os_error(),
            Some(nix::libc::ENODEV | nix::libc::ENXIO)
        )
}

/// Reads a whole file that must not be larger than `limit` bytes; `None` if it is gone.
fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        fs::File::open(path)?
            .take(limit + 1)
            .read_to_end(&mut content)?;
        Ok(content)
    };
    match read() {
        Ok(content) if content.len() as u64 > limit => Err(HostError::Malformed {
            path: path.to_owned(),
            what: "larger than expected",
        }),
        Ok(content) => Ok(Some(content)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(HostError::read(path.to_owned(), source)),
    }
}

/// Why the disks of this machine are not known.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file of the kernel could not be read.
    #[error("cannot read {path}: check that volume-daemon is permitted to")]
    Read {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that must be there is not.
    #[error("{path} does not exist: check that it is mounted, and host.root")]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// A file of the kernel does not look as documented.
    #[error("cannot understand {path}: {what}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl HostError {
    fn read(path: PathBuf, source: io::Error) -> Self {
        Self::Read { path, source }
    }

    /// The whole story, for a reading that is unknown because of it.
    fn reason(&self) -> String {
        match self {
            Self::Read { source, .. } => format!("{self} ({source})"),
            Self::Missing { .. } | Self::Malformed { .. } => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
