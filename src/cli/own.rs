//! `volume-daemon own`: lets a spec belong to another writer.

use std::path::Path;

use super::client::{Client, ClientError};
use super::output::{Exit, Failure, Io};
use super::wait::Target;
use crate::api::owner::OwnRequest;
use crate::config::Config;
use crate::model::Owner;

/// Hands a spec over to another writer, without touching its volume
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A name belongs to who declared it first; what others write of it is a Conflict. To hand it over, let
the new owner write the same as the old one, run this, and take it away from the old one. Both may
write it for as long as you like: only its owner is heard. The API takes over what is in force.

Examples:
  volume-daemon own volume/pgtest2-disk-0 --to db:engine       to a row of desired_volumes
  volume-daemon own volume/pgtest2-disk-0 --to file:pg.yaml    back to a file in specs.dir
  volume-daemon own volume/pgtest2-disk-0 --to api             to calls of the API
  volume-daemon get sources                                    who writes what, and conflicts

Exit codes: 0 it belongs to them now, 1 the daemon did not answer, or they do not write the same,
3 usage.")]
pub struct Args {
    /// Which spec
    #[arg(value_name = "volume/NAME")]
    target: Target,
    /// Its new owner: file:PATH, db:WRITER, or api
    #[arg(long, value_name = "OWNER", value_parser = owner)]
    to: Owner,
}

fn owner(text: &str) -> Result<Owner, String> {
    Owner::try_from(text.to_owned())
        .map_err(|_| "expected file:PATH, db: and the writer of its row, or api".to_owned())
}

/// Runs the subcommand.
///
/// # Errors
/// If the daemon does not answer, or the spec is not handed over.
pub async fn run(args: &Args, config: &Config, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let to = match &args.to {
        Owner::File(path) => {
            // A path that is absolute stays as it is.
            let path = config.specs.dir.join(Path::new(path));
            Owner::File(path.display().to_string())
        }
        Owner::Db(_) | Owner::Api => args.to.clone(),
    };
    let request = OwnRequest {
        volume: args.target.name().clone(),
        to,
    };
    let client = Client::new(&config.api.listen)?;
    let owned = client.own(&request).await.map_err(refused)?;
    let already = if owned.handed_over { "" } else { " already" };
    io.text(&format!(
        "volume/{}: belongs to {}{already}\n",
        owned.volume, owned.owner
    ))?;
    Ok(Exit::Fine)
}

fn refused(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Status { status, text, .. } if status.is_client_error() => Failure {
            message: text,
            hint: Some("volume-daemon get sources shows who writes what".to_owned()),
            exit: Exit::Error,
        }
        .into(),
        error => error.into(),
    }
}
