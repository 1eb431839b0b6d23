//! `volume-daemon record`: writes down what passes between a client and a CloudStack.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::sim::recording::proxy::{RecordConfig, Recorder};

/// Records what passes between a client and a CloudStack, without its secrets.
///
/// Point the client at the printed endpoint. Keys, signatures, passwords and user data are never
/// written; names of accounts, domains, projects and users are replaced by others, always the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon record --upstream https://cloud.example/client/api --out recording
  volume-daemon sim conform recording       hold the simulator against it
  volume-daemon sim --replay recording      answer with it

It records until Ctrl-C. Exit codes: 0 it was interrupted, 1 it could not begin, 3 usage.")]
pub struct Args {
    /// The CloudStack to pass everything on to
    #[arg(long, value_name = "URL")]
    upstream: String,

    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    listen: std::net::SocketAddr,

    /// An empty directory for the exchanges; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Also write IP and MAC addresses and names of hosts
    #[arg(long)]
    keep_addresses: bool,
}

/// What is printed once it runs, as one line of JSON.
#[derive(Debug, Serialize)]
struct Started {
    endpoint: String,
}

/// Records until it is interrupted or terminated.
///
/// # Errors
/// If it cannot listen, or cannot write what it records.
pub async fn run(args: Args) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.listen.ip().is_loopback(),
        "whoever reaches the recorder reaches the CloudStack behind it, so it only listens on \
         loopback, not on {}",
        args.listen
    );
    let recorder = Recorder::new(&RecordConfig {
        upstream: args.upstream,
        directory: args.out,
        keep_addresses: args.keep_addresses,
    })?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let endpoint = format!("http://{}/client/api", listener.local_addr()?);
    // Before anybody is told that it runs.
    let stop = stopped()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&Started { endpoint })?)?;
    out.flush()?;
    drop(out);
    let written = recorder.serve(listener, stop).await?;
    tracing::info!(exchanges = written, "recorded");
    Ok(())
}

/// Until somebody interrupts or terminates this process.
///
/// # Errors
/// If signals cannot be caught.
pub(super) fn stopped() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot wait for a signal")?;
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for a signal")?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}
