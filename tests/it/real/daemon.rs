//! The daemon as a process, and what it says over its API.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// A running daemon; dropping it kills it.
#[derive(Debug)]
pub struct Daemon(Child);

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volume-daemon"));
    command
        .arg("run")
        .arg("--config")
        .arg(config)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

impl Daemon {
    /// Starts it; what it says is added to the file `log`.
    pub fn start(config: &Path, log: &Path, more: &[impl AsRef<OsStr>]) -> Self {
        let log = File::options().append(true).create(true).open(log);
        let log = log.expect("a log file");
        let child = command(config)
            .args(more)
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn();
        Self(child.expect("the binary"))
    }

    /// Runs one that is expected to end by itself.
    pub async fn run(config: &Path) -> Output {
        command(config).output().await.expect("the binary")
    }

    /// Ends it the hard way.
    pub async fn kill(mut self) {
        let status = self.signal(Signal::SIGKILL).await;
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
    }

    /// Sends a signal and waits until it ended.
    pub async fn signal(&mut self, signal: Signal) -> ExitStatus {
        self.send(signal);
        self.0.wait().await.expect("our child")
    }

    /// Waits until it ends by itself.
    pub async fn wait(mut self) -> ExitStatus {
        self.0.wait().await.expect("our child")
    }

    /// Sends a signal that does not end it.
    pub fn send(&self, signal: Signal) {
        let pid = self.0.id().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(pid).expect("process ids are i32"));
        kill(pid, signal).expect("it runs");
    }

    /// The processor time it has used, in clock ticks (proc_pid_stat(5)).
    pub fn ticks(&self) -> u64 {
        let pid = self.0.id().expect("it runs");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        // The second field is in parentheses and may hold anything.
        let (_, rest) = stat.rsplit_once(')').expect("a name");
        let used = rest.split_ascii_whitespace().skip(11).take(2);
        used.map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("our child")
    }
}

/// Asks the API; status and body.
pub async fn get(socket: &Path, path: &str) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut short");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(cut)?, body.to_owned()))
}
