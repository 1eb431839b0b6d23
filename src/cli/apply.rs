//! `volume-daemon apply`: carries a saved plan out, unless what it follows from has moved; or puts specs
//! in force by calls of the API.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::client::{self, Client, Source};
use super::delete::refused;
use super::offline;
use super::output::{Exit, Failure, Io, count};
use super::plan::saved::{SavedPlan, SavedSpec, written_elsewhere};
use super::validate;
use crate::api::approve::ApproveRequest;
use crate::config::{Config, Span};
use crate::reconcile::specs::Done;
use crate::spec::Parsed;

/// Carries out a saved plan if it is still the plan; with -f, puts specs in force
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A plan for spec files installs them in the watched directory, where the daemon carries them out. A
plan for the accepted specs approves what the guard holds back in it; the daemon does the rest anyway.
Either is refused if a volume, its attachment or size, a step, an accepted spec or a file that would
be replaced is not as it was when the plan was saved.

With -f, the documents in these files are put by calls of the API, which owns them from then on: no
file in the watched directory has them. Nothing is sent if any document has a mistake.

Examples:
  volume-daemon plan new/ --save plan.json     look at what these specs lead to, and keep it
  volume-daemon apply plan.json --dry-run      does it still hold?
  volume-daemon apply plan.json                then carry it out
  volume-daemon apply -f pg.yaml               created, changed or unchanged
  volume-daemon apply -f specs/ -f more.yaml   every *.yaml and *.yml in specs, and one more
  helm template . | volume-daemon apply -f -   standard input

Exit codes:
  0  it was carried out, or would be
  2  the world has moved: nothing was changed
  1  it could not be carried out, or found out; with -f, also if a file or row has one of these specs
     (the others are put)
  3  usage, the file is no plan, or a document has a mistake")]
pub struct Args {
    /// What plan --save wrote
    #[arg(
        value_name = "PLAN",
        required_unless_present = "files",
        conflicts_with = "files"
    )]
    plan: Option<PathBuf>,
    /// Put the specs in these files or directories, or - for standard input; may be given several times
    #[arg(short, long = "file", value_name = "FILE|DIR|-", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Only say whether it still holds
    #[arg(long, conflicts_with = "files")]
    dry_run: bool,
}

/// How long what is approved may take to begin.
const APPROVED_FOR: Duration = Duration::from_secs(600);

/// Runs the subcommand.
///
/// # Errors
/// If the file is no plan, the world cannot be seen or has moved, or the plan cannot be carried out.
pub async fn run(args: &Args, config: &Config, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let Some(path) = &args.plan else {
        return put(&args.files, config, io).await;
    };
    let plan = SavedPlan::read(path)?;
    let directory = &config.specs.dir;
    let report = client::report(config, &Source::default(), &plan.texts(), io).await?;
    let mut moved = plan.moved(&report, directory)?;
    moved.extend(written_elsewhere(
        &plan,
        &offline::specs(config).await?,
        directory,
    ));
    if !moved.is_empty() {
        return Err(has_moved(&moved).into());
    }
    if args.dry_run {
        io.text("the plan still holds\n")?;
        return Ok(Exit::Fine);
    }
    let done = if plan.specs.is_empty() {
        approve(&plan, path, config).await?
    } else {
        install(&plan.specs, directory)?
    };
    io.text(&done)?;
    Ok(Exit::Fine)
}

/// Puts every document, if all are valid; goes on with the others when one is refused.
async fn put(files: &[PathBuf], config: &Config, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let Some(documents) = validate::documents(files, &mut io::stdin().lock(), io.err)? else {
        writeln!(io.err, "nothing was sent")?;
        return Ok(Exit::Invalid);
    };
    let client = Client::new(&config.api.listen)?;
    let mut exit = Exit::Fine;
    for Parsed {
        document, manifest, ..
    } in documents
    {
        let name = &document.name;
        match client.put_spec(name, &manifest).await {
            Ok(answer) => io.text(&format!("volume/{name}: {}\n", word(answer.result)))?,
            Err(error) => {
                refused(name, error, io)?;
                exit = Exit::Error;
            }
        }
    }
    Ok(exit)
}

fn word(done: Done) -> &'static str {
    match done {
        Done::Created => "created",
        Done::Changed => "changed",
        Done::Deleted => "deleted",
        Done::Unchanged => "unchanged",
    }
}

fn has_moved(moved: &[String]) -> Failure {
    let mut message =
        "the world is not as it was when the plan was saved; nothing was changed".to_owned();
    for what in moved {
        let _ = write!(message, "\n  {what}");
    }
    Failure {
        message,
        hint: Some("make a new plan, and look at it".to_owned()),
        exit: Exit::Differences,
    }
}

/// Lets pass what the guard held back in the plan.
async fn approve(plan: &SavedPlan, file: &Path, config: &Config) -> anyhow::Result<String> {
    let Some(digest) = &plan.frozen else {
        return Ok(
            "nothing is held back in this plan: the daemon carries it out by itself\n".to_owned(),
        );
    };
    let request = ApproveRequest {
        digest: digest.clone(),
        span: Span(APPROVED_FOR),
        reason: format!("plan {}", file.display()),
    };
    let answer = Client::new(&config.api.listen)?.approve(&request).await?;
    let many = count(answer.steps.steps.len(), "step");
    Ok(format!("{many} may begin until {}\n", answer.until))
}

/// Puts spec files into the watched directory: each at once and whole, and none if one cannot be
/// written.
fn install(specs: &[SavedSpec], directory: &Path) -> anyhow::Result<String> {
    let mut written = Vec::new();
    for spec in specs {
        let target = spec.target(directory);
        match write_beside(&target, spec.text.as_bytes()) {
            Ok(temporary) => written.push((temporary, target)),
            Err(error) => {
                remove(&written);
                let cannot = format!(
                    "cannot write in {}; nothing was changed",
                    directory.display()
                );
                return Err(error).context(cannot);
            }
        }
    }
    let mut text = String::new();
    for (number, (temporary, target)) in written.iter().enumerate() {
        if let Err(error) = fs::rename(temporary, target) {
            remove(&written[number..]);
            let cannot = format!(
                "cannot install {}; {number} of {} files are installed",
                target.display(),
                written.len()
            );
            return Err(error).context(cannot);
        }
        let _ = writeln!(text, "installed {}", target.display());
    }
    File::open(directory).and_then(|directory| directory.sync_all())?;
    Ok(text)
}

/// Removes files that will not be installed.
fn remove(written: &[(PathBuf, PathBuf)]) {
    for (temporary, _) in written {
        // The error that is told is the one before.
        let _ = fs::remove_file(temporary);
    }
}

/// Writes a file under a name that the daemon does not read.
fn write_beside(target: &Path, text: &[u8]) -> io::Result<PathBuf> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let mut file = File::create_new(&temporary)?;
    let written = io::Write::write_all(&mut file, text).and_then(|()| file.sync_all());
    written.map(|()| temporary.clone()).inspect_err(|_| {
        // The error that is told is the first one.
        let _ = fs::remove_file(&temporary);
    })
}
