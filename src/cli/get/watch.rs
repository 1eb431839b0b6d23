//! `get --watch`: the list once, then what changes.
//!
//! Lines are added, never written over: what happened stays on the screen, and a pipe or a log
//! gets the same. The daemon is asked once a second and answers from memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::listing::Line;
use super::{Answer, Args, Kind, Output, file, files, filter, list, listing, objects, sources_in};
use crate::cli::client::{Client, ClientError};
use crate::cli::output::{Exit, Failure, Io};
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::model::Timestamp;
use crate::reconcile::report::{FileStatus, Report};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Members of JSON answers that grow older by themselves, which is no change.
const AGES: [&str; 3] = ["ageMs", "readAgeMs", "nextInMs"];

/// Watches until Ctrl-C, which the caller takes care of. Cancel-safe: every change is written whole.
///
/// # Errors
/// If the daemon cannot be asked at the beginning, says what cannot be understood, has nothing of
/// that name, or nobody reads the answer.
pub(super) async fn run(
    args: &Args,
    config: &Config,
    clock: &dyn Clock,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let client = Client::new(&config.api.listen)?;
    let mut watch = Watch::default();
    // A name or an address that is misspelt would be waited for in vain.
    let first = ask(args, &client).await??;
    watch.begin(args, &first, clock.now().wall, io)?;
    let mut away = false;
    loop {
        clock::sleep(PAUSE).await;
        match ask(args, &client).await? {
            Ok(answer) => {
                away = false;
                watch.go_on(args, &answer, clock.now().wall, io)?;
            }
            Err(error) if error.may_pass() => {
                if !away {
                    writeln!(io.err, "{error}; trying again")?;
                }
                away = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn ask(args: &Args, client: &Client) -> anyhow::Result<Result<Answer, ClientError>> {
    Ok(match args.kind {
        Kind::Intents => client.intents(&filter(args)?).await.map(Answer::Journal),
        Kind::Volumes | Kind::Exports | Kind::Devices | Kind::Sources => {
            client.report().await.map(Box::new).map(Answer::Report)
        }
    })
}

/// What was shown so far.
#[derive(Default)]
struct Watch {
    lines: Seen<Line>,
    files: Seen<FileStatus>,
    /// JSON texts.
    objects: Seen<String>,
    widths: Vec<usize>,
}

impl Watch {
    /// Shows everything.
    fn begin(
        &mut self,
        args: &Args,
        answer: &Answer,
        now: Timestamp,
        io: &mut Io<'_>,
    ) -> anyhow::Result<()> {
        if args.output == Output::Json {
            return self.go_on(args, answer, now, io);
        }
        let answer = answer.printable()?;
        io.text(&list(args, &answer, now)?)?;
        let shown = listing(args, &answer, now)?;
        // An empty list has no header yet.
        if !shown.lines.is_empty() {
            shown.widen(&shown.lines, &mut self.widths);
        }
        // All of it was printed just now.
        self.changed(args, &answer, now)?;
        Ok(())
    }

    /// Shows what is different from what was shown.
    fn go_on(
        &mut self,
        args: &Args,
        answer: &Answer,
        now: Timestamp,
        io: &mut Io<'_>,
    ) -> anyhow::Result<()> {
        if let Some(nothing) = emptied(args, answer, now) {
            let args = Args {
                name: None,
                ..args.clone()
            };
            return self.go_on(&args, &nothing, now, io);
        }
        if args.output != Output::Json {
            let text = self.changed(args, &answer.printable()?, now)?;
            return if text.is_empty() {
                Ok(())
            } else {
                io.text(&text)
            };
        }
        let mut now = Vec::new();
        for object in objects(args, answer)? {
            let text = one_line(&serde_json::to_string_pretty(&object)?);
            now.push((
                object.key(),
                gist(serde_json::from_str(&text)?).to_string(),
                text,
            ));
        }
        let changes = self.objects.take(now, forgets(args));
        for (change, object) in in_time(args, changes) {
            // Put together here so that the members keep their order.
            io.text(&format!(
                "{{\"change\":\"{change:?}\",\"object\":{object}}}\n"
            ))?;
        }
        Ok(())
    }

    /// Takes an answer in; returns what is new in it.
    fn changed(&mut self, args: &Args, answer: &Answer, now: Timestamp) -> Result<String, Failure> {
        let shown = listing(args, answer, now)?;
        let lines = shown.lines.iter();
        let lines = lines.map(|line| (line.key.clone(), shown.gist(line), line.clone()));
        let word = match args.kind {
            Kind::Intents => "Ended",
            Kind::Volumes | Kind::Exports | Kind::Devices | Kind::Sources => "Gone",
        };
        let changes = self.lines.take(lines.collect(), forgets(args));
        let changed: Vec<Line> = in_time(args, changes)
            .into_iter()
            .map(|(change, line)| match change {
                Change::Added | Change::Changed => line,
                Change::Removed => shown.gone(line, word),
            })
            .collect();
        let mut text = String::new();
        if !changed.is_empty() {
            text += &shown.below(&changed, &mut self.widths);
        }
        if let (Kind::Sources, Answer::Report(report)) = (args.kind, answer) {
            let reading = files::Reading::of(report, now);
            let watched = watched(args, report).into_iter();
            let watched = watched.map(|file| (file.path.clone(), files::gist(file), file.clone()));
            for (change, file) in self.files.take(watched.collect(), false) {
                text += &match change {
                    Change::Added | Change::Changed => files::one(&file, reading),
                    Change::Removed => format!("{}: gone\n", file.path),
                };
            }
        }
        Ok(text)
    }
}

/// `answer` without anything in it, if what was named is not there any more: at the beginning that
/// is a mistake, later it is news.
fn emptied(args: &Args, answer: &Answer, now: Timestamp) -> Option<Answer> {
    let Answer::Report(report) = answer else {
        return None;
    };
    listing(args, answer, now).err()?;
    Some(Answer::Report(Box::new(Report {
        sources: Vec::new(),
        volumes: Vec::new(),
        exports: Vec::new(),
        files: Vec::new(),
        devices: Vec::new(),
        ..(**report).clone()
    })))
}

/// The spec files that are watched.
fn watched<'a>(args: &Args, report: &'a Report) -> Vec<&'a FileStatus> {
    if let Some(file) = file(args, report) {
        return vec![file];
    }
    let with_specs = sources_in(args, report)
        .is_ok_and(|sources| sources.iter().any(|source| super::is_specs(source)));
    if with_specs {
        report.files.iter().collect()
    } else {
        Vec::new()
    }
}

/// Whether things leave the list for another reason than their end: older calls do, in favour of
/// newer ones.
fn forgets(args: &Args) -> bool {
    args.kind == Kind::Intents && !args.open
}

/// The newest last, as everything that is added to a list: the journal begins with it.
fn in_time<T>(args: &Args, mut changes: Vec<T>) -> Vec<T> {
    if args.kind == Kind::Intents {
        changes.reverse();
    }
    changes
}

/// A JSON text in one line: within strings, line breaks are escaped. Texts as for people are at hand
/// for all that is listed; writing each another way would cost the binary as much again.
fn one_line(pretty: &str) -> String {
    pretty.lines().map(str::trim_start).collect()
}

/// An object without its ages.
fn gist(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            members.retain(|key, _| !AGES.contains(&key.as_str()));
            for member in members.values_mut() {
                *member = gist(member.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = gist(item.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

/// What became of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It was not there before.
    Added,
    /// It is different.
    Changed,
    /// It is not there any more.
    Removed,
}

/// The things that were seen last, by key, each with what tells a change.
struct Seen<T>(BTreeMap<String, (String, T)>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone> Seen<T> {
    /// Takes in what there is now, as `(key, gist, thing)`. Returns what changed, in that order,
    /// then what is gone; if the list `forgets`, that is not told.
    fn take(&mut self, now: Vec<(String, String, T)>, forgets: bool) -> Vec<(Change, T)> {
        let keys: BTreeSet<String> = now.iter().map(|(key, ..)| key.clone()).collect();
        let mut changes = Vec::new();
        for (key, gist, thing) in now {
            let change = match self.0.get(&key) {
                None => Some(Change::Added),
                Some((known, _)) if *known != gist => Some(Change::Changed),
                Some(_) => None,
            };
            changes.extend(change.map(|change| (change, thing.clone())));
            self.0.insert(key, (gist, thing));
        }
        let gone: Vec<String> = self
            .0
            .keys()
            .filter(|key| !keys.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            if let Some((_, thing)) = self.0.remove(&key)
                && !forgets
            {
                changes.push((Change::Removed, thing));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests;
