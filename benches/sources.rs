//! How long it takes from 10,000 spec files to decisions: all of them for the first time, and one
//! that changed among the others.
//!
//! Run with `cargo bench --bench sources`. The bars are 2 s and 100 ms; of the latter, 20 ms are the
//! pause in which an editor may finish (`volume_daemon::source::QUIET`), which is not measured here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use volume_daemon::clock::{Clock, SystemClock};
use volume_daemon::model::memory::Memory;
use volume_daemon::model::{DesiredVolume, Now, SourceFile, VolumeName};
use volume_daemon::plan::{Desired, Policy, SourceHealth};
use volume_daemon::reconcile::{Core, Event, FilesNews, Pace};
use volume_daemon::source::{Known, SpecDirectory, Writers};
use volume_daemon::store::{Location, Store};

const FILES: usize = 10_000;

fn write(directory: &Path, n: usize, gib: u64) {
    let text = format!(
        "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata:\n  name: disk-{n}\n  \
         labels: {{ job: job-{n} }}\nspec:\n  size: {gib}GiB\n  zone: zone-1\n  \
         diskOffering: Custom OSSEA\n  attachTo: {{ vm: self }}\n  export: {{}}\n"
    );
    fs::write(directory.join(format!("disk-{n}.yaml")), text).expect("writable");
}

/// A daemon as far as it is about specs: from the files to a decision.
struct Daemon {
    clock: Arc<dyn Clock>,
    directory: SpecDirectory,
    store: Store,
    core: Core,
    specs: BTreeMap<VolumeName, DesiredVolume>,
    files: BTreeMap<String, SourceFile>,
}

impl Daemon {
    async fn new(root: &Path, number: u64) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = format!("sqlite://{}/{number}.db", root.display());
        let location = Location::local(&url).expect("a file");
        let store = Store::open(&location, Arc::clone(&clock))
            .await
            .expect("a store");
        let memory = Memory::new(store.instance());
        Self {
            clock,
            directory: SpecDirectory::new(root.join("specs")),
            store,
            core: Core::new(memory, Policy::default(), Pace::default(), 1),
            specs: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// What the daemon does at each look, until the specs that changed are decided. Says how many
    /// these are.
    async fn look(&mut self) -> usize {
        let now: Now = self.clock.now();
        let scan = self
            .directory
            .read(&self.files, &Writers::default(), now)
            .await;
        assert!(!scan.adopts(), "no bindings are needed");
        let known = Known {
            files: &self.files,
            specs: &self.specs,
            bindings: &BTreeMap::new(),
        };
        let look = self.directory.judge(known, &scan, now);
        if look.change.is_empty() {
            return 0;
        }
        let accepted = self.store.accept(&look.change, now.wall).await;
        let accepted = accepted.expect("written").volumes;
        let count = accepted.len();
        for spec in accepted {
            self.specs.insert(spec.name().clone(), spec);
        }
        for file in &look.change.files {
            self.files.insert(file.path.clone(), file.clone());
        }
        let news = FilesNews {
            read: Some(now.boot),
            files: look.change.files,
            forgotten: look.change.forgotten,
        };
        self.core.handle(Event::Files(news), now);
        let desired = Desired::new(self.specs.clone(), SourceHealth::Sound, []);
        self.core.handle(Event::Desired(desired), now);
        self.core.poll(now);
        count
    }
}

fn sources(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let root = tempfile::tempdir().expect("a directory");
    let specs = root.path().join("specs");
    fs::create_dir(&specs).expect("writable");
    for n in 0..FILES {
        write(&specs, n, 1);
    }
    let mut group = criterion.benchmark_group("sources");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(8));
    let mut stores = 0;
    group.bench_function("10000 files, cold", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                stores += 1;
                let mut daemon = runtime.block_on(Daemon::new(root.path(), stores));
                let begun = Instant::now();
                assert_eq!(runtime.block_on(daemon.look()), FILES);
                spent += begun.elapsed();
            }
            spent
        });
    });
    let mut daemon = runtime.block_on(Daemon::new(root.path(), 0));
    runtime.block_on(daemon.look());
    runtime.block_on(daemon.look());
    let mut gib = 1;
    group.bench_function("one of 10000 changed", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                gib += 1;
                write(&specs, 77, gib);
                let begun = Instant::now();
                assert_eq!(runtime.block_on(daemon.look()), 1);
                spent += begun.elapsed();
            }
            spent
        });
    });
    group.bench_function("none of 10000 changed", |bencher| {
        bencher.iter(|| assert_eq!(runtime.block_on(daemon.look()), 0));
    });
    group.finish();
}

criterion_group!(benches, sources);
criterion_main!(benches);
