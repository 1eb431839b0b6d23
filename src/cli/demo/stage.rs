//! The parts of a demo as processes: simulated CloudStack, NBD server, daemon.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::place::Place;
use crate::cli::client::Client;
use crate::config::Address;
use crate::nbd::NbdAddress;
use crate::nbd::spawn::SpawnedQsd;
use crate::sim::{Fault, Operation};

/// How long one part may take for one answer, or to start.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of a log is quoted, in lines.
const LOG_TAIL: usize = 5;

/// The parts, and where they are. Dropping it ends them.
pub struct Stage {
    pub place: Place,
    program: PathBuf,
    http: reqwest::Client,
    /// The daemon's API.
    pub api: Client,
    control: String,
    sim: Option<Child>,
    nbd: Option<SpawnedQsd>,
    daemon: Option<Child>,
}

/// What `volume-daemon sim` says once it runs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    endpoint: String,
    control: String,
    api_key: String,
    secret_key: String,
}

impl Stage {
    /// An empty stage.
    ///
    /// # Errors
    /// If this program cannot find itself, or HTTP cannot be set up.
    pub fn new(place: &Place) -> anyhow::Result<Self> {
        let api = Client::new(&Address::Unix(place.api()))?;
        Ok(Self {
            place: place.clone(),
            program: std::env::current_exe().context("cannot find this program")?,
            // Everything is on this machine; a proxy would send it elsewhere.
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(PATIENCE)
                .build()?,
            api,
            control: String::new(),
            sim: None,
            nbd: None,
            daemon: None,
        })
    }

    /// Where the simulated CloudStack is told what somebody else does; empty until it runs.
    pub fn control_url(&self) -> &str {
        &self.control
    }

    /// This program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The NBD server's address for clients.
    pub fn nbd_address(&self) -> NbdAddress {
        NbdAddress::Unix(self.place.nbd())
    }

    /// Starts the simulated CloudStack, and writes the configuration of a daemon for it.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_sim(&mut self) -> anyhow::Result<()> {
        let mut command = self.part("sim", "cloudstack")?;
        command.arg("--host-dir").arg(self.place.guest());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("it was asked for")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        let read = tokio::time::timeout(PATIENCE, output.read_line(&mut line)).await;
        self.sim = Some(child);
        let started: Started = match read {
            Ok(Ok(_)) => serde_json::from_str(&line).ok(),
            Ok(Err(_)) | Err(_) => None,
        }
        .with_context(|| self.failed("cloudstack", "the simulated CloudStack did not start"))?;
        self.place
            .write_config(&started.endpoint, &started.api_key, &started.secret_key)?;
        self.control = started.control;
        Ok(())
    }

    /// Starts the NBD server, which serves nothing yet.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_nbd(&mut self) -> anyhow::Result<()> {
        let qmp = self.place.nbd_control();
        self.nbd = Some(SpawnedQsd::start(&qmp, &self.nbd_address(), PATIENCE).await?);
        Ok(())
    }

    /// Ends the NBD server with SIGKILL.
    ///
    /// # Errors
    /// If there is none.
    pub async fn kill_nbd(&mut self) -> anyhow::Result<()> {
        let mut nbd = self.nbd.take().context("no NBD server runs")?;
        Ok(nbd.kill().await?)
    }

    /// Starts the daemon.
    ///
    /// # Errors
    /// If it cannot be executed.
    pub fn start_daemon(&mut self) -> anyhow::Result<()> {
        let mut command = self.part("run", "daemon")?;
        command.arg("--config").arg(self.place.config());
        self.daemon = Some(command.spawn()?);
        Ok(())
    }

    /// Ends the daemon with SIGKILL.
    ///
    /// # Errors
    /// If there is none.
    pub async fn kill_daemon(&mut self) -> anyhow::Result<()> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        Ok(daemon.kill().await?)
    }

    /// This program with a subcommand, as a part that ends with this process.
    fn part(&self, subcommand: &str, log: &str) -> anyhow::Result<Command> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.place.log(log))?;
        let mut command = Command::new(&self.program);
        command
            .arg(subcommand)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        without_settings(&mut command, std::env::vars_os().map(|(name, _)| name));
        Ok(command)
    }

    /// Makes sure that nothing ended that was not ended on purpose.
    ///
    /// # Errors
    /// If something did; says what it said last.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.sim
            && let Some(status) = child.try_wait()?
        {
            let what = format!("the simulated CloudStack ended with {status}");
            bail!(self.failed("cloudstack", &what));
        }
        if let Some(child) = &mut self.daemon
            && let Some(status) = child.try_wait()?
        {
            let what = format!("the daemon ended with {status}");
            bail!(self.failed("daemon", &what));
        }
        Ok(())
    }

    fn failed(&self, log: &str, what: &str) -> String {
        let log = fs::read_to_string(self.place.log(log)).unwrap_or_default();
        let mut tail: Vec<&str> = log.lines().rev().take(LOG_TAIL).collect();
        tail.reverse();
        match tail.is_empty() {
            true => what.to_owned(),
            false => format!("{what}, and said last:\n{}", tail.join("\n")),
        }
    }

    /// Does something behind the daemon's back. Returns the volume it made, if it did.
    ///
    /// # Errors
    /// If the simulated world refuses.
    pub async fn operate(&self, operation: &Operation) -> anyhow::Result<Option<String>> {
        let made = self
            .control(Method::POST, "operations", Some(operation))
            .await?;
        Ok(made["volume"].as_str().map(str::to_owned))
    }

    /// Lets something go wrong.
    ///
    /// # Errors
    /// If the simulator cannot be asked.
    pub async fn inject(&self, fault: &Fault) -> anyhow::Result<()> {
        self.control(Method::POST, "faults", Some(fault)).await?;
        Ok(())
    }

    /// The volumes that CloudStack has.
    ///
    /// # Errors
    /// If the simulator cannot be asked.
    pub async fn volumes(&self) -> anyhow::Result<Vec<Value>> {
        let world = self.control(Method::GET, "world", None::<&()>).await?;
        let volumes = world["volumes"].as_array().cloned();
        volumes.context("the simulator does not list volumes")
    }

    async fn control(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Value> {
        let url = format!("{}/{path}", self.control);
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request
                .header(reqwest::header::CONTENT_TYPE, "application/json")
                .body(serde_json::to_vec(body)?);
        }
        let response = request.send().await.context("the simulator is away")?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("the simulator answers {path} with {status}: {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Ends everything, the daemon first so that it sees nothing of it.
    pub async fn end(self) {
        let Self {
            daemon, nbd, sim, ..
        } = self;
        // What cannot be waited for has ended.
        if let Some(mut daemon) = daemon {
            let _ = daemon.kill().await;
        }
        if let Some(mut nbd) = nbd {
            let _ = nbd.kill().await;
        }
        if let Some(mut sim) = sim {
            let _ = sim.kill().await;
        }
    }
}

/// Takes away settings that this user may have in the environment: they override the
/// configuration, and could lead the demo's daemon to a real CloudStack.
fn without_settings(command: &mut Command, names: impl Iterator<Item = std::ffi::OsString>) {
    for name in names {
        if name.as_encoded_bytes().starts_with(b"VOLUME_DAEMON_") {
            command.env_remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_this_user_do_not_reach_the_demo() {
        let mut command = Command::new("volume-daemon");
        let names = ["HOME", "VOLUME_DAEMON_CLOUDSTACK__URL", "VOLUME_DAEMON"];
        without_settings(&mut command, names.into_iter().map(Into::into));
        let removed: Vec<_> = command
            .as_std()
            .get_envs()
            .map(|(name, value)| (name.to_owned(), value.is_some()))
            .collect();
        assert_eq!(removed, [("VOLUME_DAEMON_CLOUDSTACK__URL".into(), false)]);
    }
}
