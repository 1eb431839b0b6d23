//! What tests and stories ask about the daemon and its world.

use std::path::PathBuf;

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row as _, SqliteConnection};
use volume_daemon::clock::Clock as _;
use volume_daemon::model::{BootTime, ExportName, VolumeId, VolumeName};
use volume_daemon::plan::Decision;
use volume_daemon::reconcile::Core;
use volume_daemon::store::{IntentFilter, JournalRow, Operation};

use super::{Rig, START, Story};

impl Rig {
    /// What is decided for a volume, in one line.
    pub fn says(&self, name: &str) -> String {
        let name: VolumeName = name.parse().expect("a name");
        let Some(daemon) = &self.daemon else {
            return "no daemon".to_owned();
        };
        match daemon
            .core
            .plan()
            .volumes
            .get(&name)
            .map(|plan| &plan.decision)
        {
            None => "nothing".to_owned(),
            Some(Decision::InSync) => "InSync".to_owned(),
            Some(Decision::Released) => "Released".to_owned(),
            Some(Decision::Act { now, .. }) => format!("Act {}", now.action.kind()),
            Some(Decision::Waiting { on, .. }) => format!("Waiting {}", on.reason()),
            Some(Decision::Blocked { by, .. }) => {
                let codes: Vec<&str> = by.iter().map(|by| by.reason()).collect();
                format!("Blocked {}", codes.join(", "))
            }
            Some(Decision::Observing { what, .. }) => format!("Observing {what}"),
        }
    }

    /// The CloudStack volume that a name is bound to.
    pub fn volume_of(&self, name: &str) -> Option<VolumeId> {
        let name: VolumeName = name.parse().expect("a name");
        let memory = &self.daemon.as_ref()?.core.world().memory;
        memory.bindings.get(&name).map(|binding| binding.volume)
    }

    /// The only volume of that name in CloudStack.
    pub fn volume_called(&self, name: &str) -> Option<VolumeId> {
        let front = self.front();
        let world = front.world();
        let no = world.volume_called(name).ok()?;
        Some(VolumeId::new(world.volume(no).uuid))
    }

    /// How often a command that changes something was sent.
    pub fn calls(&self, command: &str) -> usize {
        let sent = self.transport.sent();
        sent.iter().filter(|call| call.command == command).count()
    }

    /// Where what the appliance's kernel shows is.
    pub fn host_root(&self) -> PathBuf {
        self.root.path().join("host")
    }

    /// Every intent there ever was.
    pub async fn journal(&self) -> Vec<JournalRow> {
        let store = &self.daemon.as_ref().expect("a daemon").hands.store;
        let all = IntentFilter {
            name: None,
            open_only: false,
            limit: u32::MAX,
        };
        store.intents(all).await.expect("a readable store")
    }

    /// Asserts that `volume_operations` says what the journal says, whatever happened between them.
    pub async fn check_operations(&self) {
        let url = format!("sqlite://{}", self.root.path().join("store.db").display());
        let mut reader = SqliteConnection::connect(&url).await.expect("a store");
        let found: Vec<[Option<String>; 8]> = sqlx::query(
            "SELECT id, type, status, volume_id, vm_id, request, response, error \
             FROM volume_operations ORDER BY id",
        )
        .map(|row: SqliteRow| std::array::from_fn(|column| row.get(column)))
        .fetch_all(&mut reader)
        .await
        .expect("readable");
        let mut expected: Vec<_> = self.journal().await.iter().filter_map(line).collect();
        expected.sort();
        assert_eq!(found, expected, "the journal has other calls");
    }

    /// The loop's view, while there is a daemon.
    pub fn core(&self) -> Option<&Core> {
        self.daemon.as_ref().map(|daemon| &daemon.core)
    }

    /// Now, on the boot clock.
    pub fn now(&self) -> BootTime {
        self.clock.now().boot
    }

    /// Whether the daemon holds that the volume of a spec is where it put it.
    pub fn placed(&self, name: &VolumeName) -> bool {
        self.core().is_some_and(|core| {
            let memory = &core.world().memory;
            let bound = memory.bindings.get(name);
            bound.is_some_and(|bound| memory.placements.contains_key(&bound.volume))
        })
    }

    /// From now on, what happens is told.
    pub fn tell_story(&mut self, story: Story) {
        self.story = story;
    }

    /// Adds a line to the story.
    pub fn note(&self, line: impl FnOnce() -> String) {
        let at = self.time.at(self.now()).as_millis() - START;
        self.story
            .add(|| format!("{:>6}.{:03} {}", at / 1000, at % 1000, line()));
    }

    /// Tells every decision that is another than before.
    pub(super) fn tell_decisions(&mut self) {
        if !self.story.is_told() {
            return;
        }
        let names: Vec<VolumeName> = self.specs.keys().cloned().collect();
        for name in names {
            let says = self.says(name.as_str());
            if self.told.get(&name) != Some(&says) {
                self.note(|| format!("{name}: {says}"));
                self.told.insert(name, says);
            }
        }
    }

    /// The name under which a volume is exported, unless its spec says otherwise.
    pub fn export_of(&self, name: &str) -> Option<ExportName> {
        self.volume_of(name).map(ExportName::default_for)
    }
}

/// What a reader of `volume_operations` is to see of a call. No rig knows its own VM beforehand.
fn line(row: &JournalRow) -> Option<[Option<String>; 8]> {
    let operation = Operation::of(&row.intent, row.settled.as_ref(), None)?;
    let Operation {
        id,
        kind,
        status,
        volume,
        vm,
        request,
        response,
        error,
        created: _,
        completed: _,
    } = operation;
    let [kind, status] = [kind, status].map(|word| Some(word.to_owned()));
    Some([
        Some(id),
        kind,
        status,
        Some(volume),
        vm,
        Some(request),
        response,
        error,
    ])
}
