//! A descriptor that is proven to lead to the right disk (I3).

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

use super::users::Users;
use super::{Host, HostError, number_of, sysfs};
use crate::model::ByteSize;
use crate::model::action::DeviceProof;
use crate::model::observed::{BY_ID_PREFIXES, DeviceNumber, DeviceUser};

/// An open disk that was proven on its descriptor.
///
/// While it is held the kernel gives its device number to no other disk, and refuses mounts and
/// other exclusive opens if it is writable.
#[derive(Debug)]
pub struct OpenDevice {
    file: File,
    proof: DeviceProof,
    writable: bool,
}

impl OpenDevice {
    /// Its number, taken from the descriptor.
    pub fn number(&self) -> DeviceNumber {
        self.proof.number
    }

    /// What was proven.
    pub fn proof(&self) -> &DeviceProof {
        &self.proof
    }

    /// Whether it was opened, and checked, for writing.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// A path by which another process with our user id opens this very inode, wherever
    /// links point by now (proc_pid_fd(5)). Valid while this value lives.
    pub fn path_for_server(&self) -> PathBuf {
        let (pid, fd) = (std::process::id(), self.file.as_raw_fd());
        PathBuf::from(format!("/proc/{pid}/fd/{fd}"))
    }

    /// Writes out what the kernel still caches of this disk: fsync(2).
    ///
    /// # Errors
    /// What was written may be lost; the error is told to one caller only.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Why a disk was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The proof names a link that is not named after its serial.
    #[error("{0:?} is not the by-id link of the disk to open")]
    Link(String),
    /// The link is gone, or may not be followed or opened.
    #[error("cannot open {path}")]
    Open {
        /// The link.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the exclusive open.
    #[error("{path} is in use: something has opened it exclusively")]
    Busy {
        /// The link.
        path: PathBuf,
    },
    /// It leads to something that is not a disk.
    #[error("{path} does not lead to a block device")]
    NotADisk {
        /// The link.
        path: PathBuf,
    },
    /// It leads to another disk than was proven, or to one that changed.
    #[error("{path} changed since it was looked at: {what} was {proven} and is {found}")]
    Differs {
        /// The link.
        path: PathBuf,
        /// Which fact.
        what: &'static str,
        /// What it was.
        proven: String,
        /// What it is.
        found: String,
    },
    /// Somebody else uses it.
    #[error("{path} is in use: {user}")]
    InUse {
        /// The link.
        path: PathBuf,
        /// The first of its users.
        user: DeviceUser,
    },
    /// sysfs could not be read.
    #[error("cannot prove what {path} leads to")]
    Host {
        /// The link.
        path: PathBuf,
        /// Why.
        #[source]
        source: HostError,
    },
}

impl Host {
    /// Opens the disk that `proof` describes, and proves on the descriptor that it is that one.
    ///
    /// The link is followed once, without opening what it leads to; nothing but a disk with the
    /// right number is ever opened. The other facts are read after that, when the number can no
    /// longer go to another disk.
    ///
    /// A writable disk is opened exclusively, so a second call fails while the first result lives.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is left open.
    pub fn open(&self, proof: &DeviceProof, writable: bool) -> Result<OpenDevice, OpenError> {
        if !names(&proof.link, proof) {
            return Err(OpenError::Link(proof.link.clone()));
        }
        let path = self.by_id().join(&proof.link);
        let file = self.open_number(&path, proof.number, writable)?;
        self.prove(&path, &file, proof, writable)?;
        Ok(OpenDevice {
            file,
            proof: proof.clone(),
            writable,
        })
    }

    fn open_number(
        &self,
        path: &Path,
        number: DeviceNumber,
        writable: bool,
    ) -> Result<File, OpenError> {
        let failed = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        let found = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)
            .map_err(failed)?;
        let found_number = number_of(&found.metadata().map_err(failed)?)
            .filter(|number| match number {
                DeviceNumber::Block { .. } => true,
                DeviceNumber::File { .. } => !self.is_real(),
            })
            .ok_or_else(|| OpenError::NotADisk {
                path: path.to_owned(),
            })?;
        same(path, "its device number", &number, &found_number)?;

        let exclusive = match number {
            DeviceNumber::Block { .. } if writable => libc::O_EXCL,
            // For regular files O_EXCL means nothing without O_CREAT (open(2)).
            DeviceNumber::Block { .. } | DeviceNumber::File { .. } => 0,
        };
        OpenOptions::new()
            .read(true)
            .write(writable)
            .custom_flags(exclusive)
            .open(format!("/proc/self/fd/{}", found.as_raw_fd()))
            .map_err(|source| match source.raw_os_error() {
                Some(libc::EBUSY) => OpenError::Busy {
                    path: path.to_owned(),
                },
                _ => failed(source),
            })
    }

    fn prove(
        &self,
        path: &Path,
        file: &File,
        proof: &DeviceProof,
        writable: bool,
    ) -> Result<(), OpenError> {
        let unreadable = |source| OpenError::Host {
            path: path.to_owned(),
            source,
        };
        let gone = || OpenError::Open {
            path: path.to_owned(),
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        let (dir, name) = sysfs::find(self, proof.number)
            .map_err(unreadable)?
            .ok_or_else(gone)?;
        let found = sysfs::facts(self, &dir, &name)
            .map_err(unreadable)?
            .ok_or_else(gone)?;
        same(path, "its device number", &proof.number, &found.number)?;
        let serial = found.serial.map_or("none".to_owned(), String::from);
        same(path, "its serial", &proof.serial.to_string(), &serial)?;
        let text = |seq: Option<u64>| seq.map_or("none".to_owned(), |seq| seq.to_string());
        same(
            path,
            "its diskseq",
            &text(proof.diskseq),
            &text(found.diskseq),
        )?;
        same(path, "its size", &proof.size, &found.size)?;
        // The end of the opened disk, which is 0 once it was unplugged.
        let end = (&mut &*file)
            .seek(SeekFrom::End(0))
            .map_err(|source| OpenError::Open {
                path: path.to_owned(),
                source,
            })?;
        same(path, "its size", &proof.size, &ByteSize::bytes(end))?;
        if !writable {
            return Ok(());
        }
        let users = Users::read(self)
            .and_then(|users| users.of(&dir, &name))
            .map_err(unreadable)?;
        match users.into_iter().next() {
            None => Ok(()),
            Some(user) => Err(OpenError::InUse {
                path: path.to_owned(),
                user,
            }),
        }
    }
}

/// Whether `link` is named exactly after the serial in `proof`.
fn names(link: &str, proof: &DeviceProof) -> bool {
    BY_ID_PREFIXES
        .iter()
        .any(|prefix| link.strip_prefix(prefix) == Some(proof.serial.as_str()))
}

fn same<T: PartialEq + ToString>(
    path: &Path,
    what: &'static str,
    proven: &T,
    found: &T,
) -> Result<(), OpenError> {
    if proven == found {
        return Ok(());
    }
    Err(OpenError::Differs {
        path: path.to_owned(),
        what,
        proven: proven.to_string(),
        found: found.to_string(),
    })
}
