//! Asking a server who it is. Changes nothing, but takes the control socket for a moment, which
//! serves one client at a time: not for use beside a daemon.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::NbdError;
use super::qmp::Qmp;
use super::qmp::command::{Command, Version};

/// Who serves a control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its version, like `7.2.22`.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Why its open files cannot be seen; `None` if they can, which every export needs.
    pub hidden: Option<String>,
}

/// Asks the server at the QMP socket `path`, which is given `timeout` for each answer.
///
/// # Errors
/// [`NbdError::Qmp`], if nobody answers there as a QMP server does.
pub async fn greet(path: &Path, timeout: Duration) -> Result<ServerFacts, NbdError> {
    let qmp = Qmp::new(path, timeout);
    let mut session = qmp.session().await?;
    let version: Version = session.execute(Command::QueryVersion).await?;
    let pid = session.server()?.pid();
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    Ok(ServerFacts {
        version: version.to_string(),
        pid,
        hidden: files.err().map(|error| error.to_string()),
    })
}
