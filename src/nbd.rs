//! The NBD server: what it serves, and how to change that.
//!
//! Owns the two protocols spoken with it, NBD and QMP, and the order of steps that makes sure that
//! what was proven is what is served (I3). Decides nothing: which disk, which name and whether
//! clients may be cut off is in the call.

pub mod greet;
pub mod handshake;
mod process;
pub mod qmp;
pub mod qsd;
pub mod spawn;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::host::OpenDevice;
use crate::model::observed::{Disks, NbdView};
use crate::model::{BootTime, ExportName, NodeName, Reading, WithdrawMode};
use handshake::HandshakeError;
use qmp::QmpError;

pub use qsd::{Qsd, QsdConfig};

/// Where clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NbdAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl fmt::Display for NbdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// A server of exports. Calls may be repeated: what is so already is a success.
pub trait ExportServer: Send + Sync {
    /// What is served, asked on a new connection. Never fails as a whole.
    ///
    /// `disks` must have been read before: an export is proven if its node is called after one
    /// of them and the server has that one open.
    fn observe(
        &self,
        disks: &Reading<Disks>,
        begun: BootTime,
    ) -> impl Future<Output = NbdView> + Send;

    /// Serves `device` as `name`. The caller keeps `device` open as long as it is served.
    ///
    /// # Errors
    /// [`NbdError`]; nothing new is served then, except after a lost connection or a
    /// time-out, when it has to be looked up.
    fn export(
        &self,
        name: &ExportName,
        read_only: bool,
        device: &OpenDevice,
    ) -> impl Future<Output = Result<(), NbdError>> + Send;

    /// Stops serving `name`, which is called `node` inside the server.
    ///
    /// # Errors
    /// [`NbdError`]; it has to be looked up whether it is still served.
    fn withdraw(
        &self,
        name: &ExportName,
        node: &NodeName,
        mode: WithdrawMode,
    ) -> impl Future<Output = Result<Withdrawn, NbdError>> + Send;
}

/// What became of an export that was to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// It is not served, and the server has closed the disk.
    Gone,
    /// A client uses it; nothing was changed.
    StillInUse,
    /// No client gets in any more, but requests are still under way on the disk. Observe, and
    /// withdraw again, until it is gone.
    Draining,
}

/// Why something was not served, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// The control connection.
    #[error("cannot control the NBD server")]
    Qmp(#[from] QmpError),
    /// The client's view.
    #[error("cannot see what the NBD server offers")]
    Handshake(#[from] HandshakeError),
    /// The server's descriptors cannot be seen.
    #[error(
        "cannot see what process {pid}, the NBD server, has open: check that it runs as our user"
    )]
    Process {
        /// The server.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Control socket and listener disagree.
    #[error(
        "{listen} does not offer as many exports as the NBD server has: \
         check that nbd.listen and nbd.qmp belong to the same server"
    )]
    AnotherServer {
        /// The listener.
        listen: NbdAddress,
    },
    /// No two looks were alike.
    #[error("exports come and go faster than they can be looked at")]
    Unsteady,
    /// A writable export of a disk that was not checked for it.
    #[error("{name} cannot be writable: its disk was opened for reading")]
    NotWritable {
        /// Which export.
        name: ExportName,
    },
    /// The server opened another disk than it was handed.
    #[error("the NBD server opened another disk for {node} than it was given; it was not exported")]
    WrongDisk {
        /// The node that was to be.
        node: NodeName,
    },
    /// The disk is served already, but not as asked.
    #[error("{node} is exported {found}: withdraw it first")]
    Otherwise {
        /// Which node.
        node: NodeName,
        /// How.
        found: &'static str,
    },
    /// An export that somebody else made.
    #[error("{name} was not exported by volume-daemon: end it where it was made")]
    NotOurs {
        /// Which export.
        name: ExportName,
    },
    /// An earlier export of the disk has not ended.
    #[error("requests to an earlier export of {node} are still under way")]
    Draining {
        /// Which node.
        node: NodeName,
    },
}

/// An error and its causes, for a reading that is unknown because of it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
