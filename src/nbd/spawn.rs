//! Starts a qemu-storage-daemon of our own, for tests and the demo.
//!
//! In production it is a systemd unit of its own, so that restarting volume-daemon drops no client.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::NbdAddress;
use super::handshake::{self, HandshakeError};
use crate::clock;

/// Pause between two attempts to connect; the daemon is ready after 5 to 20 ms.
const POLL: Duration = Duration::from_millis(5);

/// A running qemu-storage-daemon, killed when this is dropped.
#[derive(Debug)]
pub struct SpawnedQsd {
    child: Child,
}

/// Why there is no qemu-storage-daemon.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// It could not be executed.
    #[error("cannot start qemu-storage-daemon: check that qemu-system-common is installed")]
    Start(#[source] io::Error),
    /// It ended at once.
    #[error("qemu-storage-daemon ended at once: {said}")]
    Ended {
        /// What it said.
        said: String,
    },
    /// It does not answer.
    #[error("qemu-storage-daemon is not ready after {timeout:?}")]
    NotReady {
        /// How long it was given.
        timeout: Duration,
        /// The last attempt, if one ended.
        #[source]
        source: Option<HandshakeError>,
    },
}

impl SpawnedQsd {
    /// Starts a daemon that is controlled at the unix socket `qmp` and serves NBD at `listen`,
    /// and waits until it is ready. Its messages go to a file beside the socket.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing is left running.
    pub async fn start(
        qmp: &Path,
        listen: &NbdAddress,
        timeout: Duration,
    ) -> Result<Self, SpawnError> {
        let log = qmp.with_extension("log");
        let output = File::create(&log).map_err(SpawnError::Start)?;
        // An existing socket would be taken for the new daemon's until that replaces it.
        match fs::remove_file(qmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SpawnError::Start(error));
            }
            Ok(()) | Err(_) => {}
        }
        let child = Command::new("qemu-storage-daemon")
            .args(arguments(qmp, listen))
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(SpawnError::Start)?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .map_err(SpawnError::Start)?;
        let mut spawned = Self { child };
        spawned.ready(listen, &log, timeout).await?;
        Ok(spawned)
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it the hard way, SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// It could not be waited for.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks as an NBD client: the control socket takes one client only, and a volume-daemon
    /// that waits for this one may be first. It is there once NBD is served.
    async fn ready(
        &mut self,
        listen: &NbdAddress,
        log: &Path,
        timeout: Duration,
    ) -> Result<(), SpawnError> {
        let mut last = None;
        let answers = async {
            while let Err(error) = handshake::survey(listen, timeout).await {
                last = Some(error);
                clock::sleep(POLL).await;
            }
        };
        tokio::select! {
            answered = tokio::time::timeout(timeout, answers) => match answered {
                Ok(()) => Ok(()),
                Err(_) => Err(SpawnError::NotReady { timeout, source: last }),
            },
            _ = self.child.wait() => Err(SpawnError::Ended {
                said: fs::read_to_string(log).unwrap_or_default().trim().to_owned(),
            }),
        }
    }
}

/// Options are processed in order.
fn arguments(qmp: &Path, listen: &NbdAddress) -> Vec<String> {
    let listen = match listen {
        NbdAddress::Unix(path) => format!("addr.type=unix,addr.path={}", escaped(path)),
        NbdAddress::Tcp(address) => format!(
            "addr.type=inet,addr.host={},addr.port={}",
            address.ip(),
            address.port()
        ),
    };
    let socket = escaped(qmp);
    vec![
        "--chardev".to_owned(),
        format!("socket,id=q0,path={socket},server=on,wait=off"),
        "--monitor".to_owned(),
        "chardev=q0,mode=control".to_owned(),
        "--nbd-server".to_owned(),
        // The default is 100; the client after those hangs without an error.
        format!("{listen},max-connections=0"),
    ]
}

/// A comma ends an option unless it is doubled (QEMU `util/keyval.c`).
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
