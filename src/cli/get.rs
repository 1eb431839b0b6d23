//! `volume-daemon get`: tables of volumes, calls, exports and sources.

use serde::Serialize;

use self::listing::Listing;
pub use self::tables::intents;
pub(super) use self::tables::{age, phase_style};
use self::tables::{devices, exports, journal, sources, volumes};
use super::client::{self, Source};
use super::output::{Exit, Failure, Io, not_found, printable};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Timestamp, VolumeName};
use crate::reconcile::report::{
    ExportStatus, FileStatus, HostDevice, Report, SourceStatus, VolumeStatus,
};
use crate::store::{IntentFilter, JournalRow};

mod files;
mod listing;
mod tables;
mod watch;

/// How many calls are listed unless more are asked for.
const LIMIT: u32 = 20;

/// Lists volumes, calls to CloudStack, exports, disks, or sources of knowledge.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Kinds:
  volumes   specs, and what became of them
  intents   the journal of calls that change something in CloudStack, newest first
  exports   what the NBD server serves, whoever made it so
  devices   the disks of this machine, and whose they are
  sources   what the daemon sees the world through, and how each spec file and row stands

Examples:
  volume-daemon get volumes                       one line for each spec
  volume-daemon get volumes pgtest2-disk-0 -o json
  volume-daemon get intents pgtest2-disk-0        what was asked of CloudStack for it
  volume-daemon get intents --open                calls whose end is not known
  volume-daemon get exports -o wide
  volume-daemon get devices                       also disks that should not be here
  volume-daemon get sources                       spec files with mistakes, and where these are
  volume-daemon get sources -o wide               every spec file
  volume-daemon get sources a.yaml                this file
  volume-daemon get volumes --watch               then one line for each change, until Ctrl-C
  volume-daemon get intents --open -w -o json     one JSON document a line for each change

With --watch the list is printed once, and after that whatever is new, has changed or is gone, as it
happens; growing ages alone are no change. A daemon that goes away is waited for.

Exit codes: 0 it was listed, 1 it could not be read or has no such name, 3 usage, 130 Ctrl-C.")]
pub struct Args {
    /// What to list
    #[arg(value_enum)]
    kind: Kind,
    /// Only this one; for intents: only those of this volume; for sources: also a spec file
    name: Option<String>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Only calls whose end is not known (intents)
    #[arg(long)]
    open: bool,
    /// At most so many calls (intents; 20 unless given)
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Go on, and show what changes, until Ctrl-C (needs the daemon)
    #[arg(short, long, conflicts_with = "offline")]
    watch: bool,
    #[command(flatten)]
    source: Source,
}

/// What can be listed; the help says what each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    #[value(alias = "volume")]
    Volumes,
    #[value(alias = "intent")]
    Intents,
    #[value(alias = "export")]
    Exports,
    #[value(alias = "device")]
    Devices,
    #[value(alias = "source")]
    Sources,
}

/// How to show a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    // The usual columns.
    Table,
    // All columns.
    Wide,
    // For programs: a list, or one object if a name is given; watching: one line for each change.
    Json,
}

/// Runs the subcommand.
///
/// # Errors
/// If neither the daemon nor the world can be asked, there is nothing of that name, or nobody
/// reads the answer.
pub async fn run(
    args: &Args,
    config: &Config,
    clock: &dyn Clock,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    if args.kind != Kind::Intents && (args.open || args.limit.is_some()) {
        return Err(Failure {
            message: "--open and --limit are about intents".to_owned(),
            hint: Some("volume-daemon get intents --open".to_owned()),
            exit: Exit::Invalid,
        }
        .into());
    }
    if args.watch {
        return watch::run(args, config, clock, io).await;
    }
    let answer = match args.kind {
        Kind::Intents => {
            Answer::Journal(client::intents(config, &args.source, filter(args)?, io).await?)
        }
        Kind::Volumes | Kind::Exports | Kind::Devices | Kind::Sources => Answer::Report(Box::new(
            client::report(config, &args.source, &[], io).await?,
        )),
    };
    match args.output {
        Output::Json => json(args, &answer, io)?,
        Output::Table | Output::Wide => {
            io.text(&list(args, &answer.printable()?, clock.now().wall)?)?;
        }
    }
    Ok(Exit::Fine)
}

/// What a list is made from.
enum Answer {
    /// Volumes, exports and sources.
    Report(Box<Report>),
    /// Intents.
    Journal(Vec<JournalRow>),
}

impl Answer {
    /// The same with all texts as people may see them.
    fn printable(&self) -> anyhow::Result<Self> {
        Ok(match self {
            Self::Report(report) => Self::Report(Box::new(printable(&**report)?)),
            Self::Journal(rows) => Self::Journal(printable(rows)?),
        })
    }
}

impl Args {
    fn wide(&self) -> bool {
        self.output == Output::Wide
    }
}

fn filter(args: &Args) -> anyhow::Result<IntentFilter> {
    let name: Option<Result<VolumeName, _>> = args.name.as_deref().map(str::parse);
    Ok(IntentFilter {
        name: name.transpose().map_err(|error| Failure {
            message: error.to_string(),
            hint: None,
            exit: Exit::Invalid,
        })?,
        open_only: args.open,
        limit: args.limit.unwrap_or(LIMIT),
    })
}

/// Writes a list for programs; a named item is one object, so that `jq .phase` works.
fn json(args: &Args, answer: &Answer, io: &mut Io<'_>) -> anyhow::Result<()> {
    let items = objects(args, answer)?;
    match (items.as_slice(), &args.name) {
        ([one], Some(_)) if args.kind != Kind::Intents => io.json(one),
        (all, _) => io.json(&all),
    }
}

/// One thing in a list for programs.
#[derive(Serialize)]
#[serde(untagged)]
enum Object<'a> {
    Volume(&'a VolumeStatus),
    Export(&'a ExportStatus),
    Device(&'a HostDevice),
    Source(WithFiles<'a>),
    File(&'a FileStatus),
    Call(&'a JournalRow),
}

impl Object<'_> {
    /// What tells it from the others.
    fn key(&self) -> String {
        match self {
            Self::Volume(volume) => volume.name.to_string(),
            Self::Export(export) => export.name.to_string(),
            Self::Device(device) => device.path.clone(),
            Self::Source(WithFiles { source, .. }) => source.name.clone(),
            Self::File(file) => file.path.clone(),
            Self::Call(row) => row.intent.id.to_string(),
        }
    }
}

fn objects<'a>(args: &Args, answer: &'a Answer) -> Result<Vec<Object<'a>>, Failure> {
    let report = match answer {
        Answer::Journal(rows) => return Ok(rows.iter().map(Object::Call).collect()),
        Answer::Report(report) => report,
    };
    Ok(match args.kind {
        Kind::Volumes => {
            let volumes = pick(args, "volume", &report.volumes)?.into_iter();
            volumes.map(Object::Volume).collect()
        }
        Kind::Exports => {
            let exports = pick(args, "export", &report.exports)?.into_iter();
            exports.map(Object::Export).collect()
        }
        Kind::Devices => {
            let devices = pick(args, "device", &report.devices)?.into_iter();
            devices.map(Object::Device).collect()
        }
        Kind::Sources | Kind::Intents => match file(args, report) {
            Some(file) => vec![Object::File(file)],
            None => {
                let sources = sources_in(args, report)?.into_iter();
                let known = sources.map(|source| WithFiles::of(source, report));
                known.map(Object::Source).collect()
            }
        },
    })
}

/// A list for people.
fn list(args: &Args, answer: &Answer, now: Timestamp) -> Result<String, Failure> {
    let mut text = listing(args, answer, now)?.text();
    let Answer::Report(report) = answer else {
        return Ok(text);
    };
    if args.kind == Kind::Sources {
        let reading = files::Reading::of(report, now);
        if let Some(file) = file(args, report) {
            return Ok(files::one(file, reading));
        }
        if sources_in(args, report)?.iter().any(|one| is_specs(one)) {
            text += "\n";
            text += &files::summary(&report.files, args.wide(), reading);
        }
    }
    Ok(text)
}

/// The table of a list; for sources without the spec files, which are a table of their own.
fn listing(args: &Args, answer: &Answer, now: Timestamp) -> Result<Listing, Failure> {
    let wide = args.wide();
    let report = match answer {
        Answer::Journal(rows) => return Ok(journal(rows, wide, now)),
        Answer::Report(report) => report,
    };
    let elapsed = now.since(report.at);
    Ok(match args.kind {
        Kind::Volumes => volumes(&pick(args, "volume", &report.volumes)?, wide, elapsed),
        Kind::Exports => exports(&pick(args, "export", &report.exports)?, wide),
        Kind::Devices => devices(&pick(args, "device", &report.devices)?, wide),
        Kind::Sources | Kind::Intents => match file(args, report) {
            Some(_) => sources(&[], elapsed),
            None => sources(&sources_in(args, report)?, elapsed),
        },
    })
}

/// Something with a name.
trait Named {
    fn name(&self) -> &str;
}

impl Named for VolumeStatus {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl Named for ExportStatus {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl Named for HostDevice {
    fn name(&self) -> &str {
        &self.path
    }
}

impl Named for SourceStatus {
    fn name(&self) -> &str {
        &self.name
    }
}

/// A source with what it is made of.
#[derive(Serialize)]
struct WithFiles<'a> {
    #[serde(flatten)]
    source: &'a SourceStatus,
    /// Only of the source `specs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<&'a [FileStatus]>,
}

impl<'a> WithFiles<'a> {
    fn of(source: &'a SourceStatus, report: &'a Report) -> Self {
        Self {
            source,
            files: is_specs(source).then_some(report.files.as_slice()),
        }
    }
}

fn is_specs(source: &SourceStatus) -> bool {
    source.name == "specs"
}

/// The spec file that is asked for, by its path or its name.
fn file<'a>(args: &Args, report: &'a Report) -> Option<&'a FileStatus> {
    let name = args.name.as_deref()?;
    let mut files = report.files.iter();
    files.find(|file| file.path == name || file.name() == name)
}

fn sources_in<'a>(args: &Args, report: &'a Report) -> Result<Vec<&'a SourceStatus>, Failure> {
    let files = report.files.iter().map(Named::name);
    let all = &report.sources;
    let known = all.iter().map(Named::name).chain(files);
    match args.name.as_deref() {
        None => Ok(all.iter().collect()),
        Some(name) => match all.iter().find(|source| source.name == name) {
            Some(source) => Ok(vec![source]),
            None => Err(not_found("source, spec file or row", name, known)),
        },
    }
}

fn pick<'a, T: Named>(args: &Args, what: &str, items: &'a [T]) -> Result<Vec<&'a T>, Failure> {
    let Some(name) = args.name.as_deref() else {
        return Ok(items.iter().collect());
    };
    match items.iter().find(|item| item.name() == name) {
        Some(item) => Ok(vec![item]),
        None => Err(not_found(what, name, items.iter().map(Named::name))),
    }
}

#[cfg(test)]
mod tests;
