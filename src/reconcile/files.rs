//! What is known of the spec files and rows, for the report: kept beside the world, because nothing is
//! decided by it. What a file says reaches the plan only once it is accepted and stored.

use std::collections::BTreeMap;

use crate::model::{BootTime, DesiredVolume, FileState, Now, Place, SourceFile};

use super::report::{FileStatus, FileVolume};

/// Every spec file and row that is there, or owns something, and every spec of the API.
#[derive(Debug, Clone, Default)]
pub struct SpecFiles {
    /// When the directory was last read in full, in this run.
    pub(super) read: Option<BootTime>,
    files: BTreeMap<String, SourceFile>,
}

/// What one look at the spec files found that was not known yet.
#[derive(Debug, Clone, Default)]
pub struct FilesNews {
    /// When the directory was read in full, if it was.
    pub read: Option<BootTime>,
    /// Files whose status is new.
    pub files: Vec<SourceFile>,
    /// Paths of files that are gone and own nothing.
    pub forgotten: Vec<String>,
}

impl SpecFiles {
    /// Takes in what a look found.
    pub fn apply(&mut self, news: FilesNews) {
        let FilesNews {
            read,
            files,
            forgotten,
        } = news;
        self.read = read.or(self.read);
        for path in forgotten {
            self.files.remove(&path);
        }
        for file in files {
            self.files.insert(file.path.clone(), file);
        }
    }

    /// Age of the last full reading of the directory, in milliseconds; `None` if there was none.
    pub(super) fn age_ms(&self, now: Now) -> Option<u64> {
        self.read
            .map(|read| super::status::millis(now.boot.since(read)))
    }

    /// The file or row that `want` is written in, unless it is written nowhere any more.
    pub(super) fn of(&self, want: &DesiredVolume) -> Option<&SourceFile> {
        match want.place()? {
            Place::File(path) => self.files.get(path),
            other @ (Place::Row(_) | Place::Api(_)) => self.files.get(&other.path()),
        }
    }

    /// The status of each file, by path.
    pub(super) fn statuses<'a>(
        &self,
        specs: impl Iterator<Item = &'a DesiredVolume>,
        now: Now,
    ) -> Vec<FileStatus> {
        let mut volumes: BTreeMap<&str, Vec<FileVolume>> = BTreeMap::new();
        for want in specs {
            if let Some(file) = self.of(want) {
                let volume = FileVolume {
                    name: want.name().clone(),
                    generation: want.generation,
                };
                volumes.entry(&file.path).or_default().push(volume);
            }
        }
        self.files
            .values()
            .map(|file| FileStatus {
                path: file.path.clone(),
                state: file.state,
                since: file.since,
                read_age_ms: is_read(file).then(|| self.age_ms(now)).flatten(),
                hash: file.hash.clone(),
                revision: file.revision,
                volumes: volumes.remove(file.path.as_str()).unwrap_or_default(),
                problems: file.problems.clone(),
            })
            .collect()
    }
}

/// Whether it was read whenever the directory was. Rows are read when they change, and the API is not
/// read at all.
fn is_read(file: &SourceFile) -> bool {
    match Place::of(&file.path) {
        Place::File(_) => {}
        Place::Row(_) | Place::Api(_) => return false,
    }
    match file.state {
        FileState::Accepted
        | FileState::Invalid
        | FileState::Conflict
        | FileState::RenameSuspected => true,
        FileState::Unreadable | FileState::Settling | FileState::Missing => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::memory::Memory;
    use crate::model::{FileProblem, InstanceId, Owner, Presence, Timestamp};
    use crate::plan::SourceHealth;
    use crate::reconcile::fixture::{Seen, desired, now, want};
    use crate::reconcile::report::{Report, Truth};
    use crate::reconcile::{Core, Event, Situation, Transitions, write};

    fn loop_with(wants: Vec<DesiredVolume>) -> Core {
        let memory = Memory::new(InstanceId::new(uuid::Uuid::from_u128(1)));
        let (core, _) = Seen::nothing(wants).start(memory);
        core
    }

    fn report(core: &Core) -> Report {
        let situation = Situation {
            world: core.world(),
            plan: core.plan(),
            policy: core.policy(),
            files: core.files(),
            store_down: None,
        };
        write(situation, &mut Transitions::default(), now(7000))
    }

    fn file(path: &str, state: FileState, problems: &[&str]) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            hash: "0123".to_owned(),
            device: 1,
            state,
            problems: problems
                .iter()
                .map(|&text| FileProblem::from(text.to_owned()))
                .collect(),
            since: Timestamp::from_millis(5),
            revision: None,
        }
    }

    fn read(core: &mut Core, files: Vec<SourceFile>) {
        let news = FilesNews {
            read: Some(now(5000).boot),
            files,
            forgotten: Vec::new(),
        };
        core.handle(Event::Files(news), now(5000));
    }

    fn spec_current(core: &Core) -> (Truth, String, String) {
        let report = report(core);
        let conditions = &report.volumes[0].conditions;
        let found = conditions.iter().find(|it| it.kind == "SpecCurrent");
        let found = found.expect("always there");
        let text = found.message.clone();
        (found.status, found.reason.clone(), text)
    }

    #[test]
    fn a_file_that_was_never_valid_is_reported_and_a_forgotten_one_is_not() {
        let mut core = loop_with(vec![want(1)]);
        let Owner::File(path) = want(1).owner else {
            unreachable!()
        };
        let good = file(&path, FileState::Accepted, &[]);
        read(
            &mut core,
            vec![good, file("zzz.yaml", FileState::Unreadable, &["no"])],
        );
        let files = report(&core).files;
        let [good, bad] = files.as_slice() else {
            panic!("{files:?}")
        };
        assert_eq!((&good.path, good.read_age_ms), (&path, Some(2000)));
        let in_force: Vec<_> = good.volumes.iter().map(|it| it.generation).collect();
        assert_eq!(in_force, [want(1).generation]);
        assert_eq!((bad.state, bad.read_age_ms), (FileState::Unreadable, None));
        assert_eq!((bad.volumes.len(), bad.problems.len()), (0, 1));
        let specs = report(&core).sources[3].clone();
        assert_eq!((specs.name.as_str(), specs.age_ms), ("specs", Some(2000)));

        let news = FilesNews {
            forgotten: vec!["zzz.yaml".to_owned()],
            ..FilesNews::default()
        };
        core.handle(Event::Files(news), now(6000));
        assert_eq!(report(&core).files.len(), 1);
    }

    #[test]
    fn a_volume_says_when_its_file_says_something_else() {
        let mut core = loop_with(vec![want(1)]);
        let Owner::File(path) = want(1).owner else {
            unreachable!()
        };
        assert_eq!(spec_current(&core).0, Truth::True, "not looked at yet");
        for (state, problems, says) in [
            (
                FileState::Invalid,
                &["x:3:9: no unit"][..],
                "x:3:9: no unit; generation 1",
            ),
            (
                FileState::Invalid,
                &["one", "two", "three"],
                "one (and 2 more: volume-daemon get",
            ),
            (
                FileState::Unreadable,
                &["denied"],
                "denied; generation 1 stays in force",
            ),
            (FileState::Settling, &["being written"], "being written"),
            (FileState::Conflict, &["two files"], "two files"),
            (FileState::RenameSuspected, &["renamed"], "renamed"),
            (FileState::Missing, &["not there"], "not there"),
        ] {
            read(&mut core, vec![file(&path, state, problems)]);
            let (truth, reason, text) = spec_current(&core);
            assert_eq!((truth, reason.as_str()), (Truth::False, state.as_str()));
            assert!(text.contains(says), "{text}");
        }
        read(&mut core, vec![file(&path, FileState::Accepted, &[])]);
        assert_eq!(spec_current(&core).0, Truth::True);

        let mut doubtful = desired([want(1)]);
        doubtful.files = SourceHealth::Suspect("it is empty".to_owned());
        core.handle(Event::Desired(doubtful), now(6000));
        let (truth, reason, text) = spec_current(&core);
        assert_eq!((truth, reason.as_str()), (Truth::Unknown, "SourceSuspect"));
        assert!(text.contains("it is empty"), "{text}");
        // A row, or what the API was told, does not depend on a directory.
        for owner in [Owner::Db("engine".parse().expect("a writer")), Owner::Api] {
            let mut doubtful = desired([DesiredVolume { owner, ..want(1) }]);
            doubtful.files = SourceHealth::Suspect("it is empty".to_owned());
            core.handle(Event::Desired(doubtful), now(6000));
            assert_eq!(spec_current(&core).0, Truth::True);
        }

        let mut gone = want(1);
        gone.presence = Presence::Abandoned {
            counted: std::time::Duration::ZERO,
        };
        core.handle(Event::Desired(desired([gone])), now(6000));
        let (truth, reason, _) = spec_current(&core);
        assert_eq!((truth, reason.as_str()), (Truth::False, "Abandoned"));
    }
}
