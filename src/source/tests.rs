//! A real directory, a real store, and what people and tools do to them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::model::memory::Binding;
use crate::model::{
    BootTime, DesiredVolume, FileState, Owner, Presence, SourceChange, SourceFile, Timestamp,
    VolumeName,
};
use crate::store::{Location, Store};

mod hazards;

struct Site {
    root: TempDir,
    clock: Arc<ManualClock>,
    store: Store,
    directory: SpecDirectory,
    files: BTreeMap<String, SourceFile>,
    specs: BTreeMap<VolumeName, DesiredVolume>,
    bindings: BTreeMap<VolumeName, Binding>,
    writers: Writers,
}

impl Site {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("specs")).unwrap();
        let clock = Arc::new(ManualClock::at(Now {
            // Long ago: no file is old enough to be taken for read, however fast a test is.
            wall: Timestamp::from_millis(1_000_000_000_000),
            boot: BootTime::from_millis(0),
        }));
        let clock_too: Arc<dyn Clock> = clock.clone();
        Self {
            store: Store::open(&Location::local("sqlite::memory:").unwrap(), clock_too)
                .await
                .unwrap(),
            directory: SpecDirectory::new(root.path().join("specs")),
            root,
            clock,
            files: BTreeMap::new(),
            specs: BTreeMap::new(),
            bindings: BTreeMap::new(),
            writers: Writers::default(),
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join("specs").join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    /// Looks, stores what changed, reads it all back, and lets a minute pass.
    async fn look(&mut self) -> Look {
        self.look_after(Duration::from_secs(60)).await
    }

    async fn look_after(&mut self, pause: Duration) -> Look {
        self.clock.advance(pause);
        let now = self.clock.now();
        let known = Known {
            files: &self.files,
            specs: &self.specs,
            bindings: &self.bindings,
        };
        let look = self.directory.look(known, &self.writers, now).await;
        let accepted = self.store.accept(&look.change, now.wall).await.unwrap();
        assert_eq!(accepted.skipped, []);
        let loaded = self.store.load().await.unwrap();
        let files = loaded.files.into_iter();
        self.files = files.map(|file| (file.path.clone(), file)).collect();
        let specs = loaded.desired.into_iter();
        self.specs = specs.map(|spec| (spec.name().clone(), spec)).collect();
        look
    }

    /// The declared names.
    fn declared(&self) -> String {
        let specs = self.specs.values();
        let declared = specs.filter(|spec| spec.presence == Presence::Declared);
        declared
            .map(|spec| spec.name().to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn state(&self, file: &str) -> Option<FileState> {
        let path = self.path(file).display().to_string();
        self.files.get(&path).map(|file| file.state)
    }

    fn problems(&self, file: &str) -> String {
        self.files[&self.path(file).display().to_string()]
            .problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn volume(name: &str, gib: u64) -> String {
    format!(
        "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: {name} }}\n\
         spec: {{ size: {gib}GiB, zone: z, diskOffering: o }}\n"
    )
}

#[tokio::test]
async fn editors_and_tools_replace_files_without_any_being_missed() {
    let mut site = Site::new().await;
    site.write("a.yaml", &volume("a", 1));
    site.look().await;
    assert_eq!(site.declared(), "a");
    site.write(".a.yaml.tmp", &volume("a", 2));
    site.write("a.yaml~", "backup");
    site.write(".a.yaml.swp", "swap");
    site.write("a.yaml.tmp", "half");
    site.write("README.md", "# text");
    fs::rename(site.path(".a.yaml.tmp"), site.path("a.yaml")).unwrap();
    site.write("b.yml", &volume("b", 3));
    site.look().await;
    assert_eq!(site.declared(), "a b");
    assert_eq!(site.files.len(), 2, "{:?}", site.files.keys());
    assert_eq!(site.specs[&"a".parse().unwrap()].generation, 2);
    assert!(site.look().await.change.is_empty());
}

#[tokio::test]
async fn a_kubernetes_volume_is_swapped_at_once() {
    let mut site = Site::new().await;
    let version = |n: u64, files: &[(&str, String)]| {
        let dir = site.path(&format!("..{n}"));
        fs::create_dir(&dir).unwrap();
        for (file, text) in files {
            fs::write(dir.join(file), text).unwrap();
        }
        symlink(format!("..{n}"), site.path("..data_tmp")).unwrap();
        fs::rename(site.path("..data_tmp"), site.path("..data")).unwrap();
    };
    version(1, &[("a.yaml", volume("a", 1)), ("b.yaml", volume("b", 2))]);
    for file in ["a.yaml", "b.yaml"] {
        symlink(format!("..data/{file}"), site.path(file)).unwrap();
    }
    version(2, &[("a.yaml", volume("a", 5)), ("b.yaml", volume("b", 2))]);
    fs::remove_dir_all(site.path("..1")).unwrap();
    site.look().await;
    assert_eq!(site.declared(), "a b");
    let owner = Owner::File(site.path("a.yaml").display().to_string());
    assert_eq!(site.specs[&"a".parse().unwrap()].owner, owner);

    let dir = site.path("..3");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("b.yaml"), volume("b", 7)).unwrap();
    symlink("..3", site.path("..data_tmp")).unwrap();
    fs::rename(site.path("..data_tmp"), site.path("..data")).unwrap();
    // The kubelet removes stale links last; until then the link leads nowhere.
    for _ in 0..3 {
        site.look().await;
        assert_eq!(site.declared(), "a b");
        assert_eq!(site.state("a.yaml"), Some(FileState::Unreadable));
    }
    fs::remove_file(site.path("a.yaml")).unwrap();
    site.look().await;
    site.look().await;
    assert_eq!(site.declared(), "b");
}

#[tokio::test]
async fn deleted_files_are_gone_after_the_second_look_all_of_them_never() {
    let mut site = Site::new().await;
    for (name, gib) in [("a", 1), ("b", 2), ("c", 3)] {
        site.write(&format!("{name}.yaml"), &volume(name, gib));
    }
    site.look().await;
    fs::remove_file(site.path("a.yaml")).unwrap();
    site.look().await;
    assert_eq!(
        (site.declared(), site.state("a.yaml")),
        ("a b c".to_owned(), Some(FileState::Missing))
    );
    site.look().await;
    assert_eq!(
        (site.declared(), site.state("a.yaml")),
        ("b c".to_owned(), None)
    );

    for file in ["b.yaml", "c.yaml"] {
        fs::remove_file(site.path(file)).unwrap();
    }
    for _ in 0..5 {
        let look = site.look().await;
        assert!(matches!(look.directory, DirectoryState::Suspect(_)));
        assert_eq!(site.declared(), "b c");
    }
    fs::remove_dir(site.directory.path()).unwrap();
    for _ in 0..5 {
        let look = site.look().await;
        assert!(matches!(look.directory, DirectoryState::Unreadable(_)));
        assert!(look.change.is_empty());
    }
    fs::write(site.directory.path(), "a file in its place").unwrap();
    assert!(site.look().await.change.is_empty());
    assert_eq!(site.declared(), "b c");
}

#[tokio::test]
async fn what_cannot_be_read_stays_in_force_and_stops_nobody() {
    let mut site = Site::new().await;
    site.write("a.yaml", &volume("a", 1));
    site.look().await;
    let breakages: [(&str, &dyn Fn(PathBuf)); 6] = [
        ("directory", &|path| fs::create_dir(path).unwrap()),
        ("broken link", &|path| symlink("nowhere", path).unwrap()),
        ("link to itself", &|path| symlink("a.yaml", path).unwrap()),
        ("device", &|path| symlink("/dev/zero", path).unwrap()),
        ("pipe", &|path| {
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        }),
        ("too large", &|path| {
            fs::File::create(path).unwrap().set_len(1 << 30).unwrap();
        }),
    ];
    for (n, (case, make)) in (2..).zip(breakages) {
        fs::remove_file(site.path("a.yaml")).unwrap();
        make(site.path("a.yaml"));
        site.write("z.yaml", &volume("z", n));
        for _ in 0..3 {
            site.look().await;
            assert_eq!(site.declared(), "a z", "{case}");
            assert_eq!(site.state("a.yaml"), Some(FileState::Unreadable), "{case}");
            assert_ne!(site.problems("a.yaml"), "", "{case}");
        }
        assert_eq!(
            site.specs[&"z".parse().unwrap()].generation,
            n - 1,
            "{case}"
        );
        let path = site.path("a.yaml");
        let _ = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
        site.write("a.yaml", &volume("a", 1));
        site.look().await;
        assert_eq!(site.state("a.yaml"), Some(FileState::Accepted), "{case}");
    }
}

#[tokio::test]
async fn a_file_name_that_is_no_text_is_reported_and_stops_nobody() {
    use std::os::unix::ffi::OsStrExt;
    let mut site = Site::new().await;
    let odd = site
        .path("")
        .join(std::ffi::OsStr::from_bytes(b"\xff.yaml"));
    fs::write(odd, volume("odd", 1)).unwrap();
    site.write("a.yaml", &volume("a", 2));
    site.look().await;
    assert_eq!(site.declared(), "a");
    let states: Vec<_> = site.files.values().map(|file| file.state).collect();
    assert_eq!(states, [FileState::Accepted, FileState::Unreadable]);
}

#[tokio::test]
async fn too_many_files_are_no_reason_to_guess() {
    let mut site = Site::new().await;
    site.write("a.yaml", &volume("a", 1));
    site.look().await;
    for n in 0..files::FILES_MAX {
        symlink("nowhere", site.path(&format!("{n}.yaml"))).unwrap();
    }
    fs::remove_file(site.path("a.yaml")).unwrap();
    symlink("nowhere", site.path("one-more.yaml")).unwrap();
    let look = site.look().await;
    assert!(matches!(&look.directory, DirectoryState::Unreadable(why) if why.contains("10000")));
    assert!(look.change.is_empty());
}

#[tokio::test]
async fn a_daemon_that_starts_again_knows_what_it_knew() {
    let mut site = Site::new().await;
    for (name, gib) in [("a", 1), ("b", 2)] {
        site.write(&format!("{name}.yaml"), &volume(name, gib));
    }
    site.look().await;
    // Stopped; meanwhile one file went, and another changed to nonsense.
    fs::remove_file(site.path("a.yaml")).unwrap();
    site.write("b.yaml", "nonsense");
    site.directory = SpecDirectory::new(site.directory.path());
    site.look().await;
    assert_eq!(site.declared(), "a b");
    assert_eq!(site.state("a.yaml"), Some(FileState::Missing));
    assert_eq!(site.state("b.yaml"), Some(FileState::Invalid));
    site.look().await;
    assert_eq!(site.declared(), "b");
}

/// Long enough for any machine; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

async fn noticed(watch: &mut Watch, what: &str) {
    let changed = tokio::time::timeout(PATIENCE, watch.changed());
    changed.await.expect(what);
}

#[tokio::test]
async fn a_file_that_is_being_written_says_what_it_said_until_it_is_closed() {
    let mut site = Site::new().await;
    let both = volume("a", 1) + "---\n" + &volume("b", 2);
    let mut watch = Watch::new(site.directory.path());
    site.writers = watch.writers();
    site.write("all.yaml", &both);
    site.write("z.yaml", &volume("z", 1));
    noticed(&mut watch, "written").await;
    site.look().await;
    assert_eq!(site.declared(), "a b z");

    // Written in place, and cut off where it is valid: without `b`, and `a` smaller.
    let more = both.replace("1GiB", "9GiB") + "---\n" + &volume("c", 3);
    let cuts = [more.find("---").unwrap(), more.rfind("---").unwrap()];
    let mut file = fs::File::create(site.path("all.yaml")).unwrap();
    let mut done = 0;
    for cut in cuts {
        file.write_all(&more.as_bytes()[done..cut]).unwrap();
        done = cut;
        noticed(&mut watch, "written to").await;
        for _ in 0..3 {
            site.look_after(Duration::from_secs(1)).await;
            assert_eq!(site.declared(), "a b z");
            assert_eq!(site.state("all.yaml"), Some(FileState::Settling));
            assert_eq!(site.specs[&"a".parse().unwrap()].generation, 1);
        }
    }
    // It disturbs no other.
    site.write("z.yaml", &volume("z", 2));
    noticed(&mut watch, "another one").await;
    site.look_after(Duration::ZERO).await;
    assert_eq!(site.specs[&"z".parse().unwrap()].generation, 2);

    file.write_all(&more.as_bytes()[done..]).unwrap();
    drop(file);
    noticed(&mut watch, "closed").await;
    site.look_after(Duration::ZERO).await;
    assert_eq!(site.declared(), "a b c z");
    assert_eq!(site.state("all.yaml"), Some(FileState::Accepted));
    assert_eq!(site.specs[&"a".parse().unwrap()].generation, 2);
}

#[tokio::test]
async fn a_file_that_is_never_closed_is_read_once_it_stands_still() {
    let mut site = Site::new().await;
    let mut watch = Watch::new(site.directory.path());
    site.writers = watch.writers();
    let mut file = fs::File::create(site.path("a.yaml")).unwrap();
    for size in [1, 2] {
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(volume("a", size).as_bytes()).unwrap();
        noticed(&mut watch, "written").await;
        site.look_after(Duration::ZERO).await;
        site.look_after(SETTLED_AFTER / 2).await;
        assert_eq!(site.state("a.yaml"), Some(FileState::Settling));
        site.look_after(SETTLED_AFTER / 2).await;
        assert_eq!(site.state("a.yaml"), Some(FileState::Accepted));
        assert_eq!(site.specs[&"a".parse().unwrap()].generation, size);
    }
}
