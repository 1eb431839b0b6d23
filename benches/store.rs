//! How long it takes to write the journal with what it tells in `volume_operations`, and to ask a store with
//! 10,000 volumes and 100,000 calls, on SQLite in memory and on a disk, and on a MariaDB server.
//!
//! Run with `cargo bench --bench store`. The bars are medians: 2 ms for a write on SQLite in memory, 5 ms for a
//! question. Writing includes what makes it last; how long that takes is up to the disk.
//! The server is one of the tests', on the disk of temporary files; it syncs each commit.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints what it read"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, SqliteConnection};
use tokio::runtime::Runtime;
use uuid::Uuid;
use volume_daemon::clock::{Clock as _, SystemClock};
use volume_daemon::model::action::Mark;
use volume_daemon::model::memory::{Binding, Intent, Outcome, Progress};
use volume_daemon::model::{
    AcceptedDocument, Action, Cause, IntentId, JobId, Owner, SourceChange, Timestamp, VmId,
    VolumeId, VolumeName,
};
use volume_daemon::store::{
    Change, Disk, Effects, EpisodeFilter, ExportRow, ExportState, IntentFilter, Location,
    MappingRow, StatusRow, Store, Telling,
};

#[expect(dead_code, reason = "tests do more with it")]
#[path = "../tests/support/mariadb.rs"]
mod mariadb;

const VOLUMES: u128 = 10_000;
const CALLS: u128 = 100_000;
/// Differences that are over, and that are not.
const EPISODES: u128 = 20_000;
/// Rows written by one statement.
const ROWS: usize = 500;
/// How far back the calls go: all of them are kept.
const DAYS: i64 = 80;
/// How often each thing is done.
const TIMES: u32 = 300;
const HERE: VmId = VmId::new(Uuid::from_u128(1));

/// Somebody else in the same database: makes it large, and asks as old readers do.
enum Reader {
    Sqlite(SqliteConnection),
    MariaDb(MySqlConnection),
}

impl Reader {
    async fn execute(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(on) => drop(on.execute(sql).await.expect("valid SQL")),
            Self::MariaDb(on) => drop(on.execute(sql).await.expect("valid SQL")),
        }
    }

    /// How many rows it finds, all of them read.
    async fn ask(&mut self, sql: &str) -> usize {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(on) => on.fetch_all(sql).await.expect("valid SQL").len(),
            Self::MariaDb(on) => on.fetch_all(sql).await.expect("valid SQL").len(),
        }
    }

    async fn insert(&mut self, into: &str, rows: impl Iterator<Item = String>) {
        let rows: Vec<String> = rows.collect();
        self.execute("BEGIN").await;
        for rows in rows.chunks(ROWS) {
            self.execute(&format!("INSERT INTO {into} VALUES {}", rows.join(", ")))
                .await;
        }
        self.execute("COMMIT").await;
    }
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        println!("{:<58} {:>9} {:>9}", "ms", "median", "p99");
        let memory = tempfile::tempdir_in("/dev/shm").expect("memory");
        sqlite("SQLite in memory", memory.path()).await;
        let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        sqlite("SQLite on a disk", disk.path()).await;
        let server = mariadb::Server::start(&["--innodb-flush-log-at-trx-commit=1"]).await;
        let database = server.database().await;
        let appliance = "local".parse().expect("a name");
        let location = Location::new(&database.url, appliance, &database.lock_dir);
        let location = location.expect("a server");
        let reader = MySqlConnection::connect(&database.url).await;
        let reader = Reader::MariaDb(reader.expect("a server"));
        measure("MariaDB", &location, reader).await;
    });
}

async fn sqlite(what: &str, directory: &Path) {
    let url = format!("sqlite://{}/store.db", directory.display());
    let location = Location::local(&url).expect("a file");
    let reader = SqliteConnection::connect(&format!("{url}?mode=rwc")).await;
    measure(what, &location, Reader::Sqlite(reader.expect("a file"))).await;
}

async fn measure(what: &str, location: &Location, mut reader: Reader) {
    let store = Store::open(location, Arc::new(SystemClock)).await;
    let store = store.expect("a store");
    fill(&store, &mut reader).await;
    println!("{what}");
    write(&store).await;
    ask(&store).await;
    let volume = volume(4_711);
    let columns = "id, type, status, vm_id, request, response, error, created_at, completed_at";
    for (what, sql) in [
        (
            "volume_operations of a volume",
            format!("SELECT {columns} FROM volume_operations WHERE volume_id = '{volume}' ORDER BY created_at DESC, id DESC LIMIT 100"),
        ),
        (
            "volume_operations that failed, the latest 100",
            format!("SELECT {columns} FROM volume_operations WHERE status = 'failed' ORDER BY created_at DESC, id DESC LIMIT 100"),
        ),
        (
            "volume_operations, the latest 100",
            format!("SELECT {columns} FROM volume_operations ORDER BY created_at DESC, id DESC LIMIT 100"),
        ),
        (
            "device_mappings of a volume",
            format!("SELECT vm_id, device_path FROM device_mappings WHERE volume_id = '{volume}'"),
        ),
        (
            "nbd_exports of a volume",
            format!("SELECT export_name, port, device_path FROM nbd_exports WHERE volume_id = '{volume}'"),
        ),
        (
            "volume_status of a volume",
            "SELECT phase, ready, message FROM volume_status WHERE appliance = 'local' AND name = 'disk-4711'".to_owned(),
        ),
        (
            "volume_status of 100 volumes that are not ready",
            "SELECT name, phase, message FROM volume_status WHERE appliance = 'local' AND ready = 0 ORDER BY name LIMIT 100".to_owned(),
        ),
    ] {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let begun = Instant::now();
            assert!(reader.ask(&sql).await > 0, "{sql}");
            times.push(begun.elapsed());
        }
        print(what, times);
    }
    store.close().await;
}

/// The journal of a call: each of its three writes, with its row of `volume_operations`.
async fn write(store: &Store) {
    let (mut begun, mut submitted, mut settled) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..u128::from(TIMES) {
        let intent = Intent {
            created: SystemClock.now().wall,
            ..intent(n, attach(n))
        };
        let start = Instant::now();
        store.begin(&intent).await.expect("written");
        begun.push(start.elapsed());
        let start = Instant::now();
        let job = JobId::new(intent.id.uuid());
        store.submitted(intent.id, job).await.expect("written");
        submitted.push(start.elapsed());
        let start = Instant::now();
        let done = Outcome::Succeeded { created: None };
        let none = Effects::default();
        let at = SystemClock.now().wall;
        store
            .settle(&intent, &done, &none, at)
            .await
            .expect("written");
        settled.push(start.elapsed());
    }
    print("a call is journalled, and its operation written", begun);
    print("its job is recorded", submitted);
    print("its end is recorded", settled);
    let mut told = Vec::new();
    for n in 0..u128::from(TIMES) {
        let telling = Telling {
            gone: Some(Vec::new()),
            ..telling(n..n + 1, if n % 2 == 0 { "Ready" } else { "Waiting" })
        };
        let start = Instant::now();
        let left_out = store.tell(&telling, SystemClock.now().wall).await;
        told.push(start.elapsed());
        assert_eq!(left_out.expect("written"), []);
    }
    print("a volume's status, mapping and export are told", told);
}

async fn ask(store: &Store) {
    let name: VolumeName = "disk-4711".parse().expect("a name");
    let calls = |name: Option<&VolumeName>, open_only| IntentFilter {
        name: name.cloned(),
        open_only,
        limit: 100,
    };
    let day = SystemClock.now().wall.as_millis() - 24 * 60 * 60 * 1000;
    let differences = |name: Option<&VolumeName>, since| EpisodeFilter {
        name: name.cloned(),
        since,
        limit: 100,
    };
    macro_rules! times {
        ($what:literal, $asked:expr) => {
            let mut times = Vec::new();
            for _ in 0..TIMES {
                let start = Instant::now();
                let found = $asked.await.expect("readable");
                times.push(start.elapsed());
                assert!(!found.is_empty(), $what);
            }
            print($what, times);
        };
    }
    times!("the history of a volume", store.history(&name));
    times!("intents, the latest 100", store.intents(calls(None, false)));
    times!(
        "intents of a volume",
        store.intents(calls(Some(&name), false))
    );
    let open = Intent {
        created: SystemClock.now().wall,
        ..intent(1, attach(1))
    };
    store.begin(&open).await.expect("written");
    times!("intents that are open", store.intents(calls(None, true)));
    let since = Some(Timestamp::from_millis(day));
    times!(
        "differences of a day, the latest 100",
        store.episodes(&differences(None, since))
    );
    times!(
        "differences, the latest 100",
        store.episodes(&differences(None, None))
    );
    times!(
        "differences of a volume",
        store.episodes(&differences(Some(&name), None))
    );
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("  {what:<56} {:>9.3} {:>9.3}", ms(50), ms(99));
}

fn volume(n: u128) -> VolumeId {
    // The first 20 digits are the serial.
    VolumeId::new(Uuid::from_u128((n % VOLUMES) << 64 | 7))
}

fn attach(n: u128) -> Action {
    Action::Attach {
        volume: volume(n),
        vm: HERE,
        device_id: None,
    }
}

fn intent(n: u128, action: Action) -> Intent {
    let now = SystemClock.now().wall;
    Intent {
        id: IntentId::new(Uuid::new_v4()),
        name: format!("disk-{}", n % VOLUMES).parse().expect("a name"),
        generation: 1,
        action,
        cause: Cause::Declared,
        created: now,
        expires: now.plus(Duration::from_secs(60)),
        progress: Progress::Journalled,
    }
}

fn telling(of: std::ops::Range<u128>, phase: &str) -> Telling {
    let status = |n: u128| StatusRow {
        name: format!("disk-{n}"),
        source_state: Some("Accepted"),
        observed_revision: None,
        observed_generation: Some(1),
        phase: phase.to_owned(),
        is_ready: phase == "Ready",
        volume: Some(volume(n)),
        vm: Some(HERE),
        device_path: None,
        export_name: None,
        message: "as declared".to_owned(),
    };
    let mapping = |n: u128| MappingRow {
        volume: volume(n),
        vm: HERE,
        disk: Disk::Here(format!("/dev/disk/by-id/virtio-{n}")),
        size: volume_daemon::model::ByteSize::gib(1),
        device_id: Some(1),
    };
    let export = |n: u128| ExportRow {
        volume: volume(n),
        export: format!("disk-{n}").parse().expect("a name"),
        port: 10809,
        device_path: Some(format!("/dev/disk/by-id/virtio-{n}")),
        state: if phase == "Ready" {
            ExportState::Active
        } else {
            ExportState::Pending
        },
    };
    Telling {
        statuses: of.clone().map(status).collect(),
        gone: None,
        mappings: Change {
            rows: of.clone().map(mapping).collect(),
            ..Change::default()
        },
        exports: Change {
            rows: of.map(export).collect(),
            ..Change::default()
        },
    }
}

/// Makes it as large as an installation of some years.
async fn fill(store: &Store, reader: &mut Reader) {
    store.set_vm(HERE).await.expect("written").expect("ours");
    let now = SystemClock.now().wall;
    let documents = (0..VOLUMES).map(|n| {
        let manifest = json!({
            "apiVersion": "volume-daemon.io/v1alpha1",
            "kind": "Volume",
            "metadata": { "name": format!("disk-{n}") },
            "spec": { "existing": { "id": volume(n) } },
        });
        let text = manifest.to_string();
        let parsed = volume_daemon::spec::parse("fleet", text.as_bytes()).expect("valid");
        AcceptedDocument {
            document: parsed.into_iter().next().expect("one").document,
            manifest,
            owner: Owner::File("fleet.yaml".to_owned()),
        }
    });
    let change = SourceChange {
        accepted: documents.collect(),
        ..SourceChange::default()
    };
    let accepted = store.accept(&change, now).await.expect("written").volumes;
    let want = accepted
        .iter()
        .find(|want| want.name().as_str() == "disk-4711");
    let want = want.expect("declared");
    let binding = Binding {
        volume: volume(4_711),
        uid: want.uid,
        mark: Mark::Adopted,
    };
    let bound = store.bind(want.name(), &binding, now).await;
    bound.expect("written");
    let age = |n: u128, of: u128| {
        let n = i64::try_from(n).expect("small");
        now.as_millis() - DAYS * 24 * 60 * 60 * 1000 / i64::try_from(of).expect("small") * (n + 1)
    };
    let calls = (0..CALLS).map(|n| {
        let Intent { id, name, action, .. } = intent(n, attach(n));
        let (at, volume) = (age(n, CALLS), volume(n));
        let action = serde_json::to_string(&action).expect("JSON");
        let (outcome, class, text) = match n % 50 {
            0 => ("failed", "'refused'", "'the VM has snapshots'"),
            _ => ("succeeded", "NULL", "NULL"),
        };
        format!(
            "('local', '{id}', 1, '{name}', 1, 'file:fleet.yaml', '{volume}', 'Attach', '{action}', \
              'declared', {at}, {at} + 60000, '{id}', {at} + 5000, '{outcome}', {class}, {text}, NULL)"
        )
    });
    let columns = "vd_intents (appliance, id, epoch, name, generation, owner, volume_id, kind, action, \
                   cause, created_at, expires_at, job_id, settled_at, outcome, outcome_class, \
                   outcome_text, operation)";
    reader.insert(columns, calls).await;
    // As for a journal that is older than the table.
    let begun = Instant::now();
    store.catch_up_operations().await.expect("written");
    let caught_up = begun.elapsed();
    let differences = (0..EPISODES).map(|n| {
        let (at, name) = (age(n, EPISODES), n % VOLUMES);
        let end = match n % 100 {
            0 => "NULL, NULL, NULL".to_owned(),
            _ => format!("{at} + 1000, {at} + 1000, 'by-itself'"),
        };
        format!(
            "('local', 'disk-{name}/attachment/{at}', 'disk-{name}', 1, 'Attachment', 'vm', 'a', 'b', \
              {at}, {end})"
        )
    });
    let columns = "vd_drift (appliance, episode, name, generation, class, field, desired, observed, \
                   first_seen, last_seen, ended_at, ending)";
    reader.insert(columns, differences).await;
    let begun = Instant::now();
    let left_out = store.tell(&telling(0..VOLUMES, "Waiting"), now).await;
    assert_eq!(left_out.expect("written"), []);
    println!(
        "(filled: {CALLS} operations caught up in {caught_up:.1?}, {VOLUMES} volumes told in {:.1?})",
        begun.elapsed()
    );
}
