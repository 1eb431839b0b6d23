//! `volume-daemon sim conform`: holds the simulator against a recording.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::Url;
use serde_json::Value;

use crate::cli::output::{BAD, Exit, GOOD, HEAD, Io};
use crate::sim::file::WorldFile;
use crate::sim::recording::compare::Difference;
use crate::sim::recording::conform::{Differing, Keys, Report, Target, conform};
use crate::sim::recording::prepare::prepare;
use crate::sim::recording::{self, Exchange};
use crate::sim::world::{ADMIN_API_KEY, ADMIN_SECRET_KEY, Settings, World};
use crate::sim::{Front, SimTime};

/// The world file that belongs to a recording, in its directory.
const WORLD_BESIDE: &str = "world.yaml";

/// Where its clock begins: 2026-01-01T00:00:00Z.
const START: SimTime = SimTime::from_millis(1_767_225_600_000);

/// The longest value that is printed.
const VALUE_MAX: usize = 100;

/// Asks a simulator what was recorded elsewhere, and prints what differs.
///
/// The simulator begins with the world in --world, or in DIR/world.yaml, or with what the
/// recording shows to have been there. Time is not compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon sim conform recording
  volume-daemon sim conform recording --endpoint http://127.0.0.1:8096/client/api -o json")]
pub(super) struct Conform {
    /// The recording
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Begin with the world in FILE
    #[arg(long, value_name = "FILE", conflicts_with = "endpoint")]
    world: Option<PathBuf>,

    /// Ask a simulator that runs, instead of one of its own
    #[arg(long, value_name = "URL")]
    endpoint: Option<Url>,

    /// The API key for --endpoint
    #[arg(long, value_name = "KEY", default_value = ADMIN_API_KEY, hide_default_value = true)]
    api_key: String,

    /// The secret key for --endpoint
    #[arg(long, value_name = "KEY", default_value = ADMIN_SECRET_KEY, hide_default_value = true)]
    secret_key: String,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Compares, and prints what differs.
///
/// # Errors
/// If the recording or the world cannot be read, or a running simulator does not answer.
pub(super) async fn run(args: Conform, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let exchanges = recording::load(&args.directory)?;
    let mut keys = Keys {
        api: args.api_key,
        secret: args.secret_key,
    };
    let mut target = match args.endpoint {
        Some(url) => running(url)?,
        None => {
            let world = world(args.world, &args.directory, &exchanges)?;
            let first = world
                .accounts()
                .next()
                .context("the world has no account")?;
            keys = Keys {
                api: first.1.api_key.clone(),
                secret: first.1.secret_key.clone(),
            };
            let now = world.now();
            Target::Own(Box::new(Front::new(world)), now)
        }
    };
    let report = conform(&exchanges, &mut target, &keys).await?;
    match args.output {
        Format::Text => io.text(&shown(&report))?,
        Format::Json => io.json(&report)?,
    }
    Ok(if report.differing.is_empty() {
        Exit::Fine
    } else {
        Exit::Differences
    })
}

fn running(url: Url) -> anyhow::Result<Target> {
    // A second installation fails, and is not needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(std::time::Duration::from_secs(60))
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .context("cannot set up the HTTP client")?;
    Ok(Target::Running(client, url))
}

fn world(
    given: Option<PathBuf>,
    directory: &Path,
    exchanges: &[Exchange],
) -> anyhow::Result<World> {
    let beside = directory.join(WORLD_BESIDE);
    let Some(path) = given.or_else(|| beside.exists().then_some(beside)) else {
        return Ok(prepare(exchanges, Settings::default(), START));
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
    Ok(WorldFile::parse(&name, &text)?.build(&name, START)?)
}

/// The report for people, by command.
fn shown(report: &Report) -> String {
    let mut by_command: BTreeMap<&str, Vec<&Differing>> = BTreeMap::new();
    for differing in &report.differing {
        let command = differing.command.as_str();
        by_command.entry(command).or_default().push(differing);
    }
    let mut text = String::new();
    for (command, compared) in &report.compared {
        let differing = by_command.remove(command.as_str()).unwrap_or_default();
        let style = if differing.is_empty() { GOOD } else { BAD };
        let _ = writeln!(
            text,
            "{HEAD}{command}{HEAD:#}: {style}{} of {compared} differ{style:#}",
            differing.len()
        );
        for exchange in differing {
            for difference in &exchange.differences {
                let _ = writeln!(text, "  #{} {}", exchange.sequence, line(difference));
            }
        }
    }
    for skipped in &report.skipped {
        let (sequence, command, why) = (skipped.sequence, &skipped.command, skipped.why);
        let _ = writeln!(text, "skipped #{sequence} {command}: {why}");
    }
    text
}

fn line(difference: &Difference) -> String {
    let side = |value: &Option<Value>| match value {
        Some(value) => {
            let text: String = value.to_string();
            match text.char_indices().nth(VALUE_MAX) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            }
        }
        None => "nothing".to_owned(),
    };
    format!(
        "{}: recorded {}, simulated {}",
        difference.path,
        side(&difference.recorded),
        side(&difference.simulated)
    )
}
