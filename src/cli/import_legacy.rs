//! `volume-daemon import-legacy`: takes over an installation of the daemon before this one. It reads
//! and writes; what follows from what was read is decided in [`crate::import`].

mod show;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::offline;
use super::output::{Exit, Failure, Io};
use crate::clock::Clock;
use crate::config::{Config, Masked, OldDatabase};
use crate::import::{Facts, import, old_volumes};
use crate::model::Reading;
use crate::model::source::DesiredRow;
use crate::store;

/// Takes over the volumes of the daemon before this one, as they are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It reads the old tables (device_mappings, nbd_exports, ossea_volumes, vm_disks) and never writes to
them, compares them with CloudStack and with this machine's disks, and writes a row of
desired_volumes for each volume whose facts agree: adopted by its id, left where it is, exported
under the name it has, kept whatever happens. What does not agree is left out and listed, with what
to do. A row that is there already is never changed; a second run changes nothing.

It calls nothing in CloudStack but lists. The daemon begins within a second: it tags each
volume with its claim, then exports it. Stop the old daemon and its nbd-server first.
docs/import.md goes through it, and says how to go back.

The old database, first of these: --database-file, --database, DATABASE_DSN of the old daemon, the
database of store.url. Each like store.url, or as the old daemon writes it. Who may list processes
reads a password in --database; give it in a file.

Examples:
  volume-daemon import-legacy --dry-run --database-file /root/old-database
  volume-daemon import-legacy --dry-run            the old tables are where store.url is
  volume-daemon import-legacy --dry-run --database sqlite:///tmp/copy.db
  volume-daemon import-legacy --dry-run -o json | jq '.findings[] | select(.blocks)'
  volume-daemon import-legacy                      writes the rows

Exit codes: 0 all that can be taken over is, 2 something was left out, or --dry-run found something
to write, 1 the databases, CloudStack or this machine could not be read, 3 usage.")]
pub struct Args {
    /// The old daemon's database, like mysql://user@host/migratekit_oma or sqlite:///path
    #[arg(long, value_name = "URL")]
    database: Option<Masked>,
    /// A file that holds its URL
    #[arg(long, value_name = "FILE", conflicts_with = "database")]
    database_file: Option<PathBuf>,
    /// Only report; write nothing
    #[arg(long)]
    dry_run: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    // For people.
    Table,
    // One object, for programs.
    Json,
}

/// Runs the subcommand.
///
/// # Errors
/// If a database, CloudStack or this machine's disks cannot be read, or the rows not be written.
pub async fn run(
    args: &Args,
    config: &Config,
    clock: Arc<dyn Clock>,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let at = OldDatabase {
        url: args.database.clone(),
        file: args.database_file.clone(),
        variable: None,
    };
    let at = at.or_variable().location(config)?;
    let tables = store::old_tables(&at)
        .await
        .context("the old daemon's database cannot be read")?;
    if tables.are_missing() {
        return Err(no_tables().into());
    }
    let world = offline::world_with(config, old_volumes(&tables), clock).await?;
    let rows = offline::rows(config).await?;
    let here = match &world.observed.host.self_vm {
        Reading::Present(vm) => *vm,
        Reading::Absent | Reading::Unknown(_) => {
            bail!("it is not known which VM this is; set host.vm_id")
        }
    };
    let disks = match &world.observed.host.disks {
        Reading::Present(disks) => disks,
        Reading::Absent => bail!("this machine shows no disks"),
        Reading::Unknown(why) => bail!("this machine's disks cannot be read: {why}"),
    };
    let import = import(Facts {
        tables: &tables,
        world: &world,
        rows: &rows,
        here,
        disks,
    });
    if !args.dry_run && !import.rows.is_empty() {
        write(config, &import.rows).await?;
    }
    match args.output {
        Output::Table => io.text(&show::text(&import, args.dry_run))?,
        Output::Json => io.json(&show::Answer::new(&import, args.dry_run))?,
    }
    let is_fine = match args.dry_run {
        true => import.is_settled(),
        false => !import.findings.iter().any(|finding| finding.blocks),
    };
    Ok(if is_fine {
        Exit::Fine
    } else {
        Exit::Differences
    })
}

fn no_tables() -> Failure {
    Failure {
        message: "the database has none of the old daemon's tables".to_owned(),
        hint: Some(
            "name the old daemon's database with --database-file; its user must be allowed to \
             SELECT"
                .to_owned(),
        ),
        exit: Exit::Error,
    }
}

async fn write(config: &Config, rows: &[DesiredRow]) -> anyhow::Result<()> {
    match store::add_rows(&config.store.location()?, rows).await {
        Ok(()) => Ok(()),
        // Made here, a file would belong to whoever runs this.
        Err(error) if error.is_missing() => Err(Failure {
            message: "there is no store to write to".to_owned(),
            hint: Some("start the daemon once, which makes it; it may go on running".to_owned()),
            exit: Exit::Error,
        }
        .into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
