//! The command line: what can be asked for, and who answers.
//!
//! Owns arguments, output and exit codes. Must not decide anything about volumes: it shows what
//! the daemon says, or what the same code says without a daemon.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anstream::ColorChoice;
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, ConfigError, Override};
use crate::telemetry::{self, LogFormat};

pub mod adopt;
pub mod apply;
pub mod approve;
pub mod check;
pub mod client;
pub mod delete;
pub mod demo;
pub mod describe;
mod desired;
pub mod drift;
pub mod get;
pub mod history;
pub mod import_legacy;
pub mod offline;
pub mod output;
pub mod own;
pub mod pause;
pub mod plan;
mod reasons;
pub mod record;
mod reload;
pub mod run;
pub mod schema;
pub mod settings;
pub mod shell;
pub mod sim;
pub mod take_over;
pub mod validate;
pub mod wait;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use output::{Exit, Io, fail};

/// Keeps CloudStack volumes, their attachments and their NBD exports as declared.
#[derive(Debug, clap::Parser)]
#[command(
    name = "volume-daemon",
    version,
    after_help = "\
Configuration: /etc/volume-daemon/config.toml. A variable like VOLUME_DAEMON_API__LISTEN overrides
the file, --set api.listen=... overrides both. Specs are read from /etc/volume-daemon/specs.

Examples:
  volume-daemon demo                                  see it work, in ten seconds, without a CloudStack
  volume-daemon check                                 is everything there that it needs?
  volume-daemon validate specs/                       check spec files before they are installed
  volume-daemon plan                                  what would be done, and why
  volume-daemon get volumes --watch                   what there is, and what changes
  volume-daemon wait volume/pgtest2-disk-0 --for=Ready

Exit codes: 0 fine, 1 error, 2 differences or drift, 3 invalid input or usage, 4 timed out,
5 blocked; 130 interrupted, 141 the output was closed. The help of each command has examples, and
what these codes mean there."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Read the configuration from FILE instead of /etc/volume-daemon/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one setting; may be given several times
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<Override>,
    /// Whether to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    color: Color,
    /// Log to standard error what FILTER lets through, like debug or volume_daemon=trace
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    // On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

// What each is for is said where its arguments are.
#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Brief(Brief),
    Run(run::Args),
    Sim(Box<sim::Args>),
    Record(record::Args),
    Demo(demo::Args),
}

/// Commands that ask, answer and end.
#[derive(Debug, clap::Subcommand)]
enum Brief {
    Plan(plan::Args),
    Apply(apply::Args),
    Delete(delete::Args),
    Drift(drift::Args),
    Get(get::Args),
    Describe(describe::Args),
    History(history::Args),
    Wait(wait::Args),
    Validate(validate::Args),
    Adopt(adopt::Args),
    ImportLegacy(import_legacy::Args),
    Check(check::Args),
    Schema(schema::Args),
    Config(settings::Args),
    Approve(approve::Args),
    Own(own::Args),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    TakeOver(take_over::Args),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

/// The subcommands as the help groups them.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Look",
        &["plan", "drift", "get", "describe", "history", "wait"],
    ),
    (
        "Write specs",
        &["validate", "adopt", "import-legacy", "schema"],
    ),
    (
        "Run",
        &[
            "check",
            "run",
            "apply",
            "delete",
            "approve",
            "own",
            "pause",
            "resume",
            "config",
            "take-over",
        ],
    ),
    ("Try it out", &["sim", "record", "demo"]),
    ("Install", &["completions", "man"]),
];

/// The widest help text, in columns.
const WIDTH_MAX: usize = 100;

/// Reads the command line.
///
/// # Errors
/// If it makes no sense, and if help or the version is asked for.
pub fn parse<Arg>(arguments: impl IntoIterator<Item = Arg>) -> Result<Cli, clap::Error>
where
    Arg: Into<OsString> + Clone,
{
    Cli::from_arg_matches(&parser().try_get_matches_from(arguments)?)
}

fn parser() -> clap::Command {
    let command = Cli::command().max_term_width(WIDTH_MAX);
    let template = help_template(&command);
    command.help_template(template)
}

/// The top-level help with its subcommands in groups, which clap cannot do by itself.
fn help_template(command: &clap::Command) -> String {
    let head = command.get_styles().get_header();
    let name = command.get_styles().get_literal();
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, members) in GROUPS {
        let _ = write!(text, "\n{head}{heading}:{head:#}\n");
        for member in members {
            let about = command
                .find_subcommand(member)
                .and_then(clap::Command::get_about)
                .map(ToString::to_string)
                .unwrap_or_default();
            let _ = writeln!(text, "  {name}{member:<15}{name:#}{about}");
        }
    }
    text + &format!("\n{head}Global options:{head:#}\n{{options}}{{after-help}}")
}

impl Cli {
    /// When to use colours.
    pub fn color(&self) -> ColorChoice {
        match self.global.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }
}

impl Global {
    fn load(&self) -> Result<Config, ConfigError> {
        let mut overrides = config::from_environment(std::env::vars());
        overrides.extend(self.set.iter().cloned());
        overrides.extend(self.log.iter().map(|filter| Override {
            origin: "--log".to_owned(),
            key: "log.filter".to_owned(),
            value: filter.clone(),
        }));
        Config::load(self.config.as_deref(), &overrides)
    }

    /// The configuration file.
    fn file(&self) -> &Path {
        self.config
            .as_deref()
            .unwrap_or(Path::new(config::DEFAULT_FILE))
    }

    /// Starts logging for what runs for long, or if it is asked for.
    fn log(&self, otherwise: Option<&str>) -> anyhow::Result<()> {
        match self.log.as_deref().or(otherwise) {
            Some(filter) => telemetry::start(filter, LogFormat::Text).map(drop),
            None => Ok(()),
        }
    }
}

/// Does what was asked for. Ctrl-C ends it at once; `run`, `sim`, `record` and `demo` end in order instead.
///
/// # Errors
/// Whatever stood in the way; [`fail`] says it.
pub async fn run(cli: Cli, io: &mut Io<'_>) -> anyhow::Result<ExitCode> {
    let Cli { command, global } = cli;
    match command {
        Command::Run(args) => {
            let config = global.load()?;
            let logs = telemetry::start(&config.log.filter, config.log.format)?;
            let settings = reload::Settings::new(config, move || global.load(), logs);
            run::run(&args, settings).await
        }
        Command::Sim(args) => {
            global.log(args.serves().then_some("info"))?;
            Ok(sim::run(*args, io).await?.into())
        }
        Command::Record(args) => {
            global.log(Some("info"))?;
            record::run(args).await?;
            Ok(Exit::Fine.into())
        }
        Command::Demo(args) => {
            global.log(Some("warn"))?;
            demo::run(&args, io.out).await
        }
        Command::Brief(brief) => {
            global.log(None)?;
            tokio::select! {
                // First, so that the signal is caught before anything begins.
                biased;
                _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted.into()),
                done = answer(brief, &global, io) => done,
            }
        }
    }
}

async fn answer(brief: Brief, global: &Global, io: &mut Io<'_>) -> anyhow::Result<ExitCode> {
    let clock = &SystemClock;
    let exit = match brief {
        Brief::Plan(args) => plan::run(&args, &global.load()?, clock, io).await?,
        Brief::Apply(args) => apply::run(&args, &global.load()?, io).await?,
        Brief::Delete(args) => delete::run(&args, &global.load()?, io).await?,
        Brief::Drift(args) => drift::run(&args, &global.load()?, clock, io).await?,
        Brief::Get(args) => get::run(&args, &global.load()?, clock, io).await?,
        Brief::Describe(args) => describe::run(&args, &global.load()?, clock, io).await?,
        Brief::History(args) => history::run(&args, &global.load()?, io).await?,
        Brief::Adopt(args) => adopt::run(&args, &global.load()?, Arc::new(SystemClock), io).await?,
        Brief::ImportLegacy(args) => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            import_legacy::run(&args, &global.load()?, clock, io).await?
        }
        Brief::Check(args) => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            check::run(&args, global.file(), global.load(), &clock, io).await?
        }
        Brief::Config(args) => settings::run(&args, &global.load()?, io)?,
        Brief::Approve(args) => approve::run(&args, &global.load()?, io).await?,
        Brief::Own(args) => own::run(&args, &global.load()?, io).await?,
        Brief::Pause(args) => pause::pause(&args, &global.load()?, io).await?,
        Brief::Resume(args) => pause::resume(&args, &global.load()?, io).await?,
        Brief::TakeOver(args) => {
            take_over::run(&args, &global.load()?, std::sync::Arc::new(SystemClock), io).await?
        }
        Brief::Completions(args) => shell::completions(&args, parser(), io)?,
        Brief::Man(args) => shell::man(&args, parser(), io)?,
        Brief::Wait(args) => wait::run(&args, &global.load()?, clock, io).await?,
        // The stream drops colours that nobody would see.
        Brief::Validate(args) => return validate::run(&args, io.out, true),
        Brief::Schema(args) => return schema::run(&args, io.out),
    };
    Ok(exit.into())
}
