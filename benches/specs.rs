//! What many spec files cost: 10,000 of them read, judged and stored for the first time, and one of them
//! changed.
//!
//! Run with `cargo bench --bench specs`. The bars: 2 s for all, 100 ms for one, up to the
//! decision what becomes of its volume; the planner's share is in `plan`. The database is a file in
//! the temporary directory.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints what it read"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use volume_daemon::clock::{Clock as _, SystemClock};
use volume_daemon::model::{BootTime, DesiredVolume, Now, SourceFile, VolumeName};
use volume_daemon::source::{Depth, Known, SpecDirectory};
use volume_daemon::store::Store;

const FILES: usize = 10_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let specs = folder.path().join("specs");
    fs::create_dir(&specs).expect("made");
    for n in 0..FILES {
        write(&specs, n, 1);
    }
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let clock = Arc::new(SystemClock);
    let store = Store::open(&url, clock.clone()).await.expect("a store");
    let mut site = Site {
        directory: SpecDirectory::new(&specs),
        store,
        files: BTreeMap::new(),
        specs: BTreeMap::new(),
    };
    // As if the files had been there for a minute: younger ones are read each time.
    let boot = BootTime::from_millis(0);
    let now = Now {
        wall: clock.now().wall.plus(std::time::Duration::from_secs(60)),
        boot,
    };
    let begun = Instant::now();
    assert_eq!(site.look(Depth::Everything, now).await, FILES);
    println!(
        "{FILES} spec files for the first time  {:>8.3} s   (bar 2)",
        begun.elapsed().as_secs_f64()
    );
    for (what, depth) in [
        ("by events", Depth::Changes),
        ("by a rescan", Depth::Everything),
    ] {
        let mut took = Vec::new();
        for round in 0..20 {
            write(&specs, round * 97, 2 + round);
            let begun = Instant::now();
            let changed = site.look(depth, now).await;
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
            assert!(changed <= 1, "{changed}");
        }
        took.sort_by(f64::total_cmp);
        println!(
            "one of them changed, {what:<14}  {:>8.1} ms  (bar 100 with the debounce of 20)",
            took[took.len() / 2]
        );
    }
}

fn write(specs: &Path, n: usize, gib: usize) {
    let text = format!(
        "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata:\n  name: v{n:05}\n\
         spec:\n  size: {gib}GiB\n  zone: zone-1\n  diskOffering: Custom OSSEA\n"
    );
    fs::write(specs.join(format!("v{n:05}.yaml")), text).expect("written");
}

struct Site {
    directory: SpecDirectory,
    store: Store,
    files: BTreeMap<String, SourceFile>,
    specs: BTreeMap<VolumeName, DesiredVolume>,
}

impl Site {
    /// Looks and stores what changed, as the daemon does; returns how many documents did.
    async fn look(&mut self, depth: Depth, now: Now) -> usize {
        let bindings = self.store.bindings().await.expect("read");
        let known = Known {
            files: &self.files,
            specs: &self.specs,
            bindings: &bindings,
        };
        let look = self.directory.look(known, depth, now).await;
        let accepted = self
            .store
            .accept(&look.change, now.wall)
            .await
            .expect("stored");
        let count = accepted.volumes.len();
        for volume in accepted.volumes {
            self.specs.insert(volume.name().clone(), volume);
        }
        for file in look.change.files {
            self.files.insert(file.path.clone(), file);
        }
        count
    }
}
