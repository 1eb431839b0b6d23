//! A plan that somebody looked at, kept in a file until it is carried out: the specs that it is for,
//! and what it follows from, so that it can be told whether it still holds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::cli::offline::SpecText;
use crate::cli::output::{Exit, Failure};
use crate::model::{
    ByteSize, DesiredVolume, Owner, Presence, Timestamp, VmId, VolumeId, VolumeName, sha1_hex,
};
use crate::reconcile::report::{PlanStatus, Report, VolumeStatus};

/// The form of the file; another one is not read.
const FORMAT: u32 = 1;

/// A plan as it was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedPlan {
    format: u32,
    /// When it was made.
    pub at: Timestamp,
    /// The specs to install; none if it is a plan for those that are accepted.
    pub specs: Vec<SavedSpec>,
    /// What the guard held back, see [`crate::plan::Freeze::digest`]; `None` if nothing.
    pub frozen: Option<String>,
    basis: Basis,
}

/// A spec file that is to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedSpec {
    /// Where it was read from.
    pub path: String,
    /// What stands in it.
    pub text: String,
    /// SHA-1 of what stood at its place in the watched directory, in hexadecimal; `None` if nothing
    /// did.
    replaces: Option<String>,
}

/// What the plan follows from, and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Basis {
    self_vm: Option<VmId>,
    volumes: BTreeMap<VolumeName, Expected>,
}

/// One volume, and what is to be done for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expected {
    generation: u64,
    volume: Option<VolumeId>,
    vm: Option<VmId>,
    size: Option<ByteSize>,
    steps: Vec<String>,
    held_by: Vec<String>,
}

impl SavedPlan {
    /// The plan that `report` shows for `specs`, which are to be installed in `directory`.
    ///
    /// # Errors
    /// If a file cannot be installed there: another one has its name, or one that is there cannot be
    /// read.
    pub fn new(report: &Report, specs: &[SpecText], directory: &Path) -> anyhow::Result<Self> {
        let mut saved: Vec<SavedSpec> = Vec::new();
        for SpecText { path, text } in specs {
            let spec = SavedSpec {
                path: path.clone(),
                text: String::from_utf8(text.clone()).context("specs are UTF-8")?,
                replaces: None,
            };
            if let Some(twin) = saved.iter().find(|other| other.name() == spec.name()) {
                bail!(
                    "{} and {path} have the same file name: rename one",
                    twin.path
                );
            }
            let replaces = hash_of(&spec.target(directory))?;
            saved.push(SavedSpec { replaces, ..spec });
        }
        Ok(Self {
            format: FORMAT,
            at: report.at,
            specs: saved,
            frozen: frozen(report),
            basis: Basis::of(report),
        })
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// If it is not there, or not such a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let invalid = |why: String| Failure {
            message: format!("{} is not a saved plan: {why}", path.display()),
            hint: Some("volume-daemon plan --save FILE writes one".to_owned()),
            exit: Exit::Invalid,
        };
        let plan: Self = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        if plan.format != FORMAT {
            return Err(invalid(format!("its format is {}, not {FORMAT}", plan.format)).into());
        }
        Ok(plan)
    }

    /// Writes it to a file that is not there yet.
    ///
    /// # Errors
    /// If it is there, or cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let written = fs::File::create_new(path)
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
        written.with_context(|| format!("cannot save the plan in {}", path.display()))
    }

    /// The specs as they are given to a planner.
    pub fn texts(&self) -> Vec<SpecText> {
        let text = |spec: &SavedSpec| SpecText {
            path: spec.path.clone(),
            text: spec.text.clone().into_bytes(),
        };
        self.specs.iter().map(text).collect()
    }

    /// What is not as it was when the plan was made, a sentence each.
    ///
    /// # Errors
    /// If a file in `directory` cannot be read.
    pub fn moved(&self, report: &Report, directory: &Path) -> anyhow::Result<Vec<String>> {
        let mut moved = self.basis.differences(&Basis::of(report));
        if self.specs.is_empty() && self.frozen != frozen(report) {
            moved.push("the guard holds back other steps".to_owned());
        }
        for spec in &self.specs {
            let target = spec.target(directory);
            let there = hash_of(&target)?;
            if there != spec.replaces && there != Some(sha1_hex(&spec.text)) {
                moved.push(format!("{} was changed", target.display()));
            }
        }
        Ok(moved)
    }
}

impl SavedSpec {
    fn name(&self) -> &str {
        let (_, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        name
    }

    /// Where it belongs in the watched directory.
    pub fn target(&self, directory: &Path) -> PathBuf {
        directory.join(self.name())
    }
}

/// Names of `specs` that are written elsewhere than where they would be installed, with that place.
pub fn written_elsewhere(
    plan: &SavedPlan,
    accepted: &[DesiredVolume],
    directory: &Path,
) -> Vec<String> {
    let mut elsewhere = Vec::new();
    for want in accepted {
        let is_meant = plan.basis.volumes.contains_key(want.name()) && !plan.specs.is_empty();
        let is_there = plan
            .specs
            .iter()
            .any(|spec| want.owner == Owner::File(spec.target(directory).display().to_string()));
        if is_meant && !is_there && want.presence == Presence::Declared {
            elsewhere.push(format!("{} is written by {}", want.name(), want.owner));
        }
    }
    elsewhere
}

fn frozen(report: &Report) -> Option<String> {
    let frozen = report.frozen.as_ref()?;
    (!frozen.steps.is_empty()).then(|| frozen.digest.clone())
}

/// The hash of a file; `None` if there is none.
fn hash_of(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(sha1_hex(bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

impl Basis {
    fn of(report: &Report) -> Self {
        let volumes = report.volumes.iter();
        Self {
            self_vm: report.self_vm,
            volumes: volumes
                .map(|volume| (volume.name.clone(), Expected::of(volume)))
                .collect(),
        }
    }

    fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.self_vm != now.self_vm {
            found.push(format!(
                "it was made on VM {}, and this is {}",
                or_none(self.self_vm),
                or_none(now.self_vm)
            ));
        }
        for (name, before) in &self.volumes {
            match now.volumes.get(name) {
                Some(now) => before.differences(now, |what| found.push(format!("{name}: {what}"))),
                None => found.push(format!("{name} is not declared any more")),
            }
        }
        let new = now
            .volumes
            .keys()
            .filter(|name| !self.volumes.contains_key(*name));
        found.extend(new.map(|name| format!("{name} is new")));
        found
    }
}

impl Expected {
    fn of(volume: &VolumeStatus) -> Self {
        let PlanStatus {
            now,
            then,
            held_by,
            next_in_ms: _,
        } = &volume.plan;
        Self {
            generation: volume.observed_generation,
            volume: volume.volume_id,
            vm: volume.attachment.as_ref().map(|at| at.vm),
            size: volume.capacity.cloud,
            steps: now
                .iter()
                .chain(then)
                .map(|step| step.text.clone())
                .collect(),
            held_by: held_by.iter().map(|by| by.code.clone()).collect(),
        }
    }

    fn differences(&self, now: &Self, mut say: impl FnMut(String)) {
        let Self {
            generation,
            volume,
            vm,
            size,
            steps,
            held_by,
        } = self;
        let mut compare = |what: &str, before: String, now: String| {
            if before != now {
                say(format!("{what} was {before}, and is {now}"));
            }
        };
        compare(
            "its generation",
            generation.to_string(),
            now.generation.to_string(),
        );
        compare("its volume", or_none(*volume), or_none(now.volume));
        compare("its VM", or_none(*vm), or_none(now.vm));
        compare("its size", or_none(*size), or_none(now.size));
        compare("what is to be done", list(steps), list(&now.steps));
        compare("what holds it back", list(held_by), list(&now.held_by));
    }
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn list(all: &[String]) -> String {
    if all.is_empty() {
        "nothing".to_owned()
    } else {
        format!("\"{}\"", all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{VM, progressing, ready, report};

    #[test]
    fn a_plan_holds_as_long_as_nothing_that_it_follows_from_moved() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path();
        let specs = [SpecText {
            path: "new/a.yaml".to_owned(),
            text: b"kind: Volume".to_vec(),
        }];
        let attached = VolumeStatus {
            plan: progressing("a").plan,
            ..ready("a")
        };
        let made = report([attached, ready("b")]);
        let plan = SavedPlan::new(&made, &specs, directory).expect("readable");
        let file = directory.join("plan.json");
        plan.write(&file).expect("writable");
        assert_eq!(SavedPlan::read(&file).expect("a plan"), plan);
        assert!(plan.write(&file).is_err(), "it would be lost");

        let moved = |change: &dyn Fn(&mut Report)| {
            let mut now = made.clone();
            change(&mut now);
            plan.moved(&now, directory).expect("readable").join("; ")
        };
        assert_eq!(moved(&|_| {}), "");
        assert_eq!(
            moved(&|now| now.at = now.at.plus(std::time::Duration::from_secs(9))),
            ""
        );
        let of_a = |change: fn(&mut VolumeStatus)| {
            moved(&|now| change(now.volumes.first_mut().expect("a")))
        };
        let attached = of_a(|a| a.attachment = None);
        assert_eq!(attached, format!("a: its VM was {VM}, and is none"));
        assert!(of_a(|a| a.observed_generation += 1).contains("its generation was"));
        assert!(of_a(|a| a.volume_id = None).contains("its volume was"));
        assert!(of_a(|a| a.capacity.cloud = None).contains("its size was"));
        assert!(of_a(|a| drop(a.plan.then.pop())).contains("what is to be done was"));
        assert!(moved(&|now| now.self_vm = None).contains("it was made on VM"));
        assert_eq!(
            moved(&|now| drop(now.volumes.pop())),
            "b is not declared any more"
        );
        assert_eq!(moved(&|now| now.volumes.push(ready("c"))), "c is new");

        let target = directory.join("a.yaml");
        fs::write(&target, "kind: Volume").expect("writable");
        assert_eq!(moved(&|_| {}), "", "it is there already");
        fs::write(&target, "another").expect("writable");
        assert_eq!(moved(&|_| {}), format!("{} was changed", target.display()));
    }

    #[test]
    fn what_cannot_be_a_plan_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("plan.json");
        let read = |text: &str| {
            fs::write(&file, text).expect("writable");
            SavedPlan::read(&file).expect_err("no plan").to_string()
        };
        assert!(read("{}").contains("is not a saved plan: missing field"));
        assert!(read("kind: Volume").contains("is not a saved plan: expected"));
        let plan = SavedPlan::new(&report([]), &[], directory.path()).expect("readable");
        let newer = serde_json::to_string(&SavedPlan { format: 2, ..plan }).expect("text");
        assert!(read(&newer).ends_with("its format is 2, not 1"));
        let twice = ["x/a.yaml", "y/a.yaml"].map(|path| SpecText {
            path: path.to_owned(),
            text: Vec::new(),
        });
        let refused = SavedPlan::new(&report([]), &twice, directory.path());
        let why = refused.expect_err("one name").to_string();
        assert_eq!(
            why,
            "x/a.yaml and y/a.yaml have the same file name: rename one"
        );
    }
}
