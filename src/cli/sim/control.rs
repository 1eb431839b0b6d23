//! What can be done to a simulator that runs, through its control API.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::cli::output::Io;
use crate::sim::{self, Operation, file, server};

/// How long the simulator may take for one answer: a snapshot of a large world takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Which simulator.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Target {
    /// The control URL that the simulator printed when it started
    #[arg(long, env = "VOLUME_DAEMON_SIM_CONTROL", value_name = "URL")]
    control: Url,
}

/// Moves the explicit clock of a running simulator.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon sim advance 30s
  volume-daemon sim advance 1h30m --control http://127.0.0.1:8096/control")]
pub(super) struct Advance {
    /// By how much, like 500ms, 30s or 1h30m
    #[arg(value_parser = span)]
    by: Duration,
    #[command(flatten)]
    target: Target,
}

/// Lets things go wrong in a running simulator, shows what is armed, or ends it.
#[derive(Debug, clap::Args)]
pub(super) struct Fault {
    #[command(subcommand)]
    command: FaultCommand,
}

#[derive(Debug, clap::Subcommand)]
enum FaultCommand {
    /// Arms faults; restarts and outages happen at once
    Add(AddFault),
    /// Shows the armed faults and how often each has struck
    List(Target),
    /// Disarms one fault, or all
    Remove(RemoveFault),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon sim fault add '{kind: restart, keepPlugged: true}'
  volume-daemon sim fault add '{kind: dropResponse, when: afterCommit, on: {command: createVolume}}'
  volume-daemon sim fault add faults.yaml

A file holds a list under the key faults. kind is one of
  dropResponse (when), delayResponse (ms), duplicateRequest, lateRequest (ms), tooManyRequests
  (retryAfterMs), badGateway, serviceUnavailable, internalError (text); stuckJob, delayJob (ms),
  failJob (text), storageFailure, purgeJob, loseJob (when), stragglingDetach (ms), detachTimeout,
  deleteStuck; missRows (rows), repeatRows (rows), staleListing (ms); and at once, or at: 30s,
  clockSkew (ms), outage (mode, ms), restart (keepPlugged).
on is for which requests: command, volume, account, page, probability, count, from, until, seed.")]
struct AddFault {
    /// The fault as YAML or JSON, a file of faults, or - for standard input
    fault: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct RemoveFault {
    /// Its number in the list
    #[arg(required_unless_present = "all")]
    id: Option<u64>,
    /// Disarms all, and ends outages
    #[arg(long, conflicts_with = "id")]
    all: bool,
    #[command(flatten)]
    target: Target,
}

/// Does something in a running simulator without asking its API: power buttons, other people's
/// clients, changes to a guest of which the database never learns.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon sim op '{op: stopVm, vm: appliance}'
  volume-daemon sim op '{op: detachVolume, volume: data, side: guest}'")]
pub(super) struct Op {
    /// The operation as YAML or JSON, or - to read it from standard input
    operation: String,
    #[command(flatten)]
    target: Target,
}

/// Prints the world of a running simulator as JSON.
#[derive(Debug, clap::Args)]
pub(super) struct Dump {
    #[command(flatten)]
    target: Target,
}

/// Writes the state of a running simulator to a file, for `sim restore` or `sim --state`.
#[derive(Debug, clap::Args)]
pub(super) struct Snapshot {
    /// Where to
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

/// Lets a running simulator go on from a state.
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// What `sim snapshot` or `sim --state` wrote
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn snapshot(args: &Snapshot) -> anyhow::Result<()> {
    let text = ask(&args.target, Method::GET, "state", None).await?;
    Ok(server::replace(&args.file, &text)?)
}

pub(super) async fn restore(args: &Restore) -> anyhow::Result<()> {
    let file = &args.file;
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    ask(&args.target, Method::PUT, "state", Some(text)).await?;
    Ok(())
}

pub(super) async fn advance(args: &Advance, io: &mut Io<'_>) -> anyhow::Result<()> {
    let ms = u64::try_from(args.by.as_millis()).context("that is too long")?;
    let answer = post(&args.target, "clock/advance", json!({ "ms": ms })).await?;
    print(&answer, io)
}

pub(super) async fn fault(args: Fault, io: &mut Io<'_>) -> anyhow::Result<()> {
    let answer = match args.command {
        FaultCommand::Add(add) => {
            let mut answer = Value::Null;
            for fault in faults(&add.fault)? {
                answer = post(&add.target, "faults", serde_json::to_value(fault)?).await?;
            }
            answer
        }
        FaultCommand::List(target) => json_of(&target, Method::GET, "faults").await?,
        FaultCommand::Remove(RemoveFault { id, target, .. }) => {
            let path = id.map_or_else(|| "faults".to_owned(), |id| format!("faults/{id}"));
            json_of(&target, Method::DELETE, &path).await?
        }
    };
    print(&answer, io)
}

pub(super) async fn op(args: &Op, io: &mut Io<'_>) -> anyhow::Result<()> {
    let operation = serde_json::to_value(operation(&args.operation)?)?;
    print(&post(&args.target, "operations", operation).await?, io)
}

pub(super) async fn dump(args: &Dump, io: &mut Io<'_>) -> anyhow::Result<()> {
    writeln!(
        io.out,
        "{}",
        ask(&args.target, Method::GET, "world", None).await?
    )?;
    Ok(())
}

pub(super) fn span(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| span.try_into().ok())
        .ok_or_else(|| format!("{text:?} is not a time span like 500ms, 30s or 1h30m"))
}

/// Faults in an argument that is one, or names a file of them.
fn faults(argument: &str) -> anyhow::Result<Vec<sim::Fault>> {
    if argument.trim_start().starts_with('{') {
        return Ok(vec![file::fault("argument", argument)?]);
    }
    let (name, text) = if argument == "-" {
        ("standard input", stdin()?)
    } else {
        let text =
            std::fs::read_to_string(argument).with_context(|| format!("cannot read {argument}"))?;
        (argument, text)
    };
    Ok(file::faults(name, &text)?)
}

fn operation(argument: &str) -> anyhow::Result<Operation> {
    if argument == "-" {
        return Ok(file::operation("standard input", &stdin()?)?);
    }
    Ok(file::operation("argument", argument)?)
}

fn stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    Ok(text)
}

fn print(answer: &Value, io: &mut Io<'_>) -> anyhow::Result<()> {
    writeln!(io.out, "{}", serde_json::to_string_pretty(answer)?)?;
    Ok(())
}

async fn post(target: &Target, path: &str, body: Value) -> anyhow::Result<Value> {
    let text = ask(target, Method::POST, path, Some(body.to_string())).await?;
    serde_json::from_str(&text).context("the simulator answers with something else than JSON")
}

async fn json_of(target: &Target, method: Method, path: &str) -> anyhow::Result<Value> {
    let text = ask(target, method, path, None).await?;
    serde_json::from_str(&text).context("the simulator answers with something else than JSON")
}

async fn ask(
    target: &Target,
    method: Method,
    path: &str,
    body: Option<String>,
) -> anyhow::Result<String> {
    let base = target.control.as_str().trim_end_matches('/');
    // A second installation fails, and is not needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut request = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        .build()?
        .request(method, format!("{base}/{path}"));
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body);
    }
    let answer = request
        .send()
        .await
        .with_context(|| format!("no simulator answers at {base}"))?;
    let status = answer.status();
    let text = answer.text().await?;
    if status.is_success() {
        return Ok(text);
    }
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let why = body["error"].as_str().unwrap_or(&text);
    anyhow::bail!("the simulator refuses ({status}): {why}")
}
