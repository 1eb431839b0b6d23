//! `volume-daemon config`: what the settings are, and whether they can be used.

use super::output::{Exit, Io};
use crate::config::{Config, ConfigError};

/// Shows or checks the settings, wherever they come from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon config check               after every change, before the daemon is restarted
  volume-daemon config show                what is in force, with all defaults; secrets are masked
  volume-daemon --set pace.resync=1m config show

Exit codes: 0 the settings can be used, 3 they cannot, and why.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print all settings with their values, as a configuration file
    Show,
    /// Say whether the settings are valid and complete; reads key files, asks nobody
    Check,
}

/// Runs the subcommand. That the settings can be read at all was found out by reading them.
///
/// # Errors
/// If something that is needed is missing, or the output cannot be written.
pub fn run(args: &Args, config: &Config, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    match args.what {
        What::Show => io.text(&config.to_toml())?,
        What::Check => {
            complete(config)?;
            io.text("the settings are valid and complete\n")?;
        }
    }
    Ok(Exit::Fine)
}

/// What [`Config::load`] cannot know: whether all that `run` needs is there.
fn complete(config: &Config) -> Result<(), ConfigError> {
    config.cloudstack.endpoint()?;
    config.cloudstack.keys()?;
    Ok(())
}
