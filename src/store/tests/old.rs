//! The tables of the old daemon, made by us or there before, on either database.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, SqliteConnection};

use super::*;
use crate::store::operations::Operation;

/// What a reader of the table sees, as text.
async fn table(store: &Store, sql: &str) -> Vec<Vec<Option<String>>> {
    let mut tx = store.read("test").await.unwrap();
    let rows = tx.sql(sql).rows().await.unwrap();
    let columns = sql.split(" FROM ").next().unwrap().matches("CAST(").count();
    let texts = |row: &crate::store::db::Row| (0..columns).map(|n| row.text(n)).collect();
    rows.iter().map(texts).collect()
}

/// The rows of a query whose columns are all cast, joined with `|`; nothing is `-`.
async fn lines(store: &Store, columns: &str, from: &str) -> Vec<String> {
    let cast = |column: &str| format!("CAST({} AS CHAR)", column.trim());
    let columns: Vec<String> = columns.split(',').map(cast).collect();
    let rows = table(store, &format!("SELECT {} FROM {from}", columns.join(", "))).await;
    let line = |row: Vec<Option<String>>| {
        let texts = row.into_iter().map(|text| text.unwrap_or("-".to_owned()));
        texts.collect::<Vec<_>>().join("|")
    };
    rows.into_iter().map(line).collect()
}

const MINE: &str = "op-00000000-0000-%";

/// Asserts that every call of the journal has the operation that follows from it, and no other is ours.
async fn agrees(store: &Store, case: &str) {
    let here = store.load().await.unwrap().vm;
    let journal = store.intents(all()).await.unwrap();
    let expected: BTreeMap<String, String> = journal
        .iter()
        .filter_map(|row| {
            let operation = Operation::of(&row.intent, row.settled.as_ref(), here)?;
            let at = |at: Timestamp| at.to_string().replace('T', " ").replace('Z', "");
            let or = |text: Option<String>| text.unwrap_or("-".to_owned());
            let Operation {
                id,
                kind,
                status,
                volume,
                vm,
                request,
                response,
                error,
                created,
                completed,
            } = operation;
            let line = format!(
                "{id}|{kind}|{status}|{volume}|{}|{request}|{}|{}|{}.000|{}",
                or(vm),
                or(response),
                or(error),
                at(created),
                or(completed.map(|it| format!("{}.000", at(it)))),
            );
            Some((id, line))
        })
        .collect();
    let columns =
        "id, type, status, volume_id, vm_id, request, response, error, created_at, completed_at";
    let from = format!("volume_operations WHERE id LIKE '{MINE}' ORDER BY id");
    let found = lines(store, columns, &from).await;
    assert_eq!(found, expected.into_values().collect::<Vec<_>>(), "{case}");
}

fn detach(of: u64) -> Action {
    Action::Detach {
        volume: volume(of),
        vm: vm(9),
    }
}

pub async fn operations_agree_with_the_journal_at_every_step(store: Store) {
    let uid = with_spec(&store, "a").await;
    store.set_vm(vm(9)).await.unwrap().unwrap();
    let elsewhere = Action::Attach {
        volume: volume(2),
        vm: vm(8),
        device_id: None,
    };
    let tag = Action::Tag {
        volume: volume(1),
        claim: Claim {
            instance: store.instance(),
            spec: uid,
            mark: Mark::Created,
        },
    };
    let outcomes = [
        Outcome::Succeeded {
            created: Some(volume(5)),
        },
        CREATED,
        Outcome::NeverSent,
        refused(&"it's \"é\"".repeat(1000)),
        Outcome::Lost {
            text: "530".to_owned(),
        },
    ];
    let mut n = 0;
    for action in [create(), attach(1), elsewhere, detach(1), tag] {
        for outcome in &outcomes {
            for has_job in [false, true] {
                n += 1;
                let case = format!("{n}: {action}, {outcome:?}, {has_job}");
                let call = intent(n, "a", action.clone());
                store.begin(&call).await.unwrap();
                store.begin(&call).await.unwrap();
                agrees(&store, &case).await;
                if has_job {
                    store.submitted(call.id, job(1)).await.unwrap();
                    agrees(&store, &case).await;
                }
                for _ in 0..2 {
                    let none = Effects::default();
                    store.settle(&call, outcome, &none, LATER).await.unwrap();
                }
                agrees(&store, &case).await;
            }
        }
    }
    // Nothing was left to be caught up.
    let due = "vd_intents WHERE appliance = 'local' AND operation IS NULL";
    assert_eq!(lines(&store, "id", due).await, [""; 0]);
    let link = "/dev/disk/by-id/virtio-00000000000000000000";
    let of = |vm: u64| {
        format!(
            "volume_operations WHERE type = 'attach' AND status = 'completed' AND vm_id = '{}' \
             AND response LIKE '%\"device_path\":\"{link}\"%'",
            super::vm(vm)
        )
    };
    assert_eq!(lines(&store, "id", &of(9)).await.len(), 4, "here");
    assert_eq!(lines(&store, "id", &of(8)).await.len(), 0, "elsewhere");
}

pub async fn operations_that_are_missing_are_written_again(store: Store) {
    with_spec(&store, "a").await;
    for n in 0..250 {
        let call = intent(n, "a", attach(1));
        store.begin(&call).await.unwrap();
        let none = Effects::default();
        store.settle(&call, &CREATED, &none, LATER).await.unwrap();
    }
    // As in a store from before there were such tables.
    raw(
        &store,
        "DELETE FROM volume_operations; UPDATE vd_intents SET operation = NULL",
    )
    .await;
    store.catch_up_operations().await.unwrap();
    assert_eq!(lines(&store, "id", "volume_operations").await.len(), 250);
    // Whoever clears up does not meet them again, but for what goes on.
    let open = intent(300, "a", attach(1));
    store.begin(&open).await.unwrap();
    raw(&store, "DELETE FROM volume_operations").await;
    store.catch_up_operations().await.unwrap();
    assert_eq!(lines(&store, "id", "volume_operations").await, [""; 0]);
    store.submitted(open.id, job(1)).await.unwrap();
    store.catch_up_operations().await.unwrap();
    let left = lines(&store, "id, status", "volume_operations").await;
    assert_eq!(left, [format!("op-{}|executing", open.id)]);
}

pub async fn operations_go_with_their_calls(store: Store) {
    with_spec(&store, "a").await;
    raw(
        &store,
        "INSERT INTO volume_operations (id, type, status, volume_id, request, created_at, updated_at) \
         VALUES ('op-of-others', 'attach', 'completed', 'v', '{}', '2020-01-01 00:00:00', \
                 '2020-01-01 00:00:00')",
    )
    .await;
    let days = |n: u64| NOW.plus(Duration::from_secs(n * 24 * 60 * 60));
    for n in 1..=3 {
        let call = Intent {
            created: days(n),
            ..intent(n, "a", attach(1))
        };
        store.begin(&call).await.unwrap();
        let none = Effects::default();
        store.settle(&call, &CREATED, &none, days(n)).await.unwrap();
    }
    let late = Intent {
        created: days(92).plus(Duration::from_secs(1)),
        ..intent(4, "a", attach(1))
    };
    store.begin(&late).await.unwrap();
    let left = lines(&store, "id", "volume_operations ORDER BY created_at").await;
    let ours = [3, 4].map(|n| format!("op-{}", IntentId::new(Uuid::from_u128(n))));
    assert_eq!(left, ["op-of-others", &ours[0], &ours[1]]);
    agrees(&store, "the journal lost the same").await;
}

fn mapping(n: u64, disk: Disk) -> MappingRow {
    MappingRow {
        volume: volume(n),
        vm: vm(9),
        disk,
        size: ByteSize::gib(1),
        device_id: Some(1),
    }
}

fn here(n: u64) -> Disk {
    Disk::Here(format!("/dev/disk/by-id/virtio-{n}"))
}

fn export(n: u64, name: &str, state: ExportState) -> ExportRow {
    ExportRow {
        volume: volume(n),
        export: name.parse().unwrap(),
        port: 10809,
        device_path: Some(format!("/dev/disk/by-id/virtio-{n}")),
        state,
    }
}

async fn maps(store: &Store, rows: &[MappingRow], absent: &[u64]) -> Vec<LeftOut> {
    let telling = Telling {
        mappings: Change {
            rows: rows.to_vec(),
            absent: absent.iter().map(|&n| volume(n)).collect(),
        },
        ..Telling::default()
    };
    store.tell(&telling, NOW).await.unwrap()
}

async fn exports(store: &Store, rows: &[ExportRow], absent: &[u64]) -> Vec<LeftOut> {
    let telling = Telling {
        exports: Change {
            rows: rows.to_vec(),
            absent: absent.iter().map(|&n| volume(n)).collect(),
        },
        ..Telling::default()
    };
    store.tell(&telling, NOW).await.unwrap()
}

pub async fn attachments_and_exports_are_told_as_they_are(store: Store) {
    const COLUMNS: &str = "id, volume_id, volume_uuid, vm_id, device_path, cloudstack_state, linux_state, \
                           size, operation_mode, cloudstack_device_id, requires_device_correlation, \
                           created_at";
    let (a, on) = (volume(1), vm(9));
    let line = |path: &str, state: &str, mode: &str, correlated: u8| {
        format!(
            "mapping-{a}|{a}|{a}|{on}|{path}|attached|{state}|1073741824|{mode}|1|{correlated}|\
             2027-01-15 08:00:00.000"
        )
    };
    for (disk, expected) in [
        (
            Disk::Missing,
            line(&format!("pending-{a}"), "pending", "oma", 1),
        ),
        (
            here(1),
            line("/dev/disk/by-id/virtio-1", "detected", "oma", 1),
        ),
        (
            Disk::Elsewhere,
            line(&format!("remote-{a}"), "remote", "failover", 0),
        ),
    ] {
        for _again in 0..2 {
            assert_eq!(maps(&store, &[mapping(1, disk.clone())], &[]).await, []);
            let found = lines(&store, COLUMNS, "device_mappings").await;
            assert_eq!(found, std::slice::from_ref(&expected));
        }
    }
    let many: Vec<MappingRow> = (1..=450).map(|n| mapping(n, here(n))).collect();
    for _again in 0..2 {
        assert_eq!(maps(&store, &many, &[]).await, []);
        let paths = lines(&store, "device_path", "device_mappings ORDER BY id").await;
        let expected: Vec<_> = (1..=450)
            .map(|n| format!("/dev/disk/by-id/virtio-{n}"))
            .collect();
        assert_eq!(paths, expected);
    }
    let gone: Vec<u64> = (2..=450).collect();
    assert_eq!(maps(&store, &[], &gone).await, []);
    assert_eq!(
        lines(&store, "id", "device_mappings").await,
        [format!("mapping-{a}")]
    );

    const EXPORT: &str = "id, volume_id, export_name, port, device_path, config_path, status";
    for (state, status) in [
        (ExportState::Pending, "pending"),
        (ExportState::Active, "active"),
        (ExportState::Failed, "failed"),
    ] {
        assert_eq!(exports(&store, &[export(1, "x", state)], &[]).await, []);
        let found = lines(&store, EXPORT, "nbd_exports").await;
        let path = "/dev/disk/by-id/virtio-1";
        assert_eq!(found, [format!("export-{a}|{a}|x|10809|{path}||{status}")]);
    }
    assert_eq!(exports(&store, &[], &[1]).await, []);
    assert_eq!(lines(&store, "id", "nbd_exports").await, [""; 0]);
}

pub async fn rows_of_others_stay_and_what_they_claim_is_a_conflict(store: Store) {
    raw(
        &store,
        "INSERT INTO device_mappings (id, volume_id, volume_uuid, vm_id, device_path, \
             cloudstack_state, linux_state, size, last_sync, created_at, updated_at, operation_mode, \
             requires_device_correlation) \
         VALUES ('theirs', 'v', 'v', 'x', '/dev/disk/by-id/virtio-1', 'attached', 'detected', 1, \
                 '2020-01-01', '2020-01-01', '2020-01-01', 'oma', 1); \
         INSERT INTO nbd_exports (id, volume_id, export_name, port, device_path, config_path, status, \
             created_at, updated_at) \
         VALUES ('theirs', '00000000-0000-0000-0000-000000000077', 'x', 1, '', '', 'active', \
                 '2020-01-01', '2020-01-01')",
    )
    .await;
    let rows = [mapping(1, here(1)), mapping(2, here(2))];
    for _again in 0..2 {
        let left_out = maps(&store, &rows, &[]).await;
        let expected = LeftOut {
            table: OldTable::Mappings,
            volume: volume(1),
            why: "row theirs of volume another has /dev/disk/by-id/virtio-1".to_owned(),
        };
        assert_eq!(left_out, [expected]);
        let left_out = exports(&store, &[export(1, "x", ExportState::Active)], &[]).await;
        assert!(
            left_out[0].why.contains(&volume(0x77).to_string()),
            "{left_out:?}"
        );
    }
    // Not ours to forget, although the volume is.
    maps(&store, &[], &[1, 0x77]).await;
    exports(&store, &[], &[1, 0x77]).await;
    let ids = lines(&store, "id", "device_mappings ORDER BY id").await;
    assert_eq!(ids, [format!("mapping-{}", volume(2)), "theirs".to_owned()]);
    assert_eq!(lines(&store, "id", "nbd_exports").await, ["theirs"]);
    // Once it is gone, the row can be written.
    raw(&store, "DELETE FROM device_mappings WHERE id = 'theirs'").await;
    assert_eq!(maps(&store, &rows, &[]).await, []);
    assert_eq!(lines(&store, "id", "device_mappings").await.len(), 2);
}

/// A row that the database refuses is left out alone, and loses nothing of the truth.
pub async fn a_refused_row_is_left_out_alone(store: Store) {
    with_spec(&store, "a").await;
    // Whatever a database may have against a row: this one is there under another key.
    raw(
        &store,
        "INSERT INTO volume_operations (id, type, status, volume_id, request, created_at, updated_at) \
         VALUES ('op-00000000-0000-0000-0000-000000000001', 'x', 'x', 'v', '{}', '2020-01-01', \
                 '2020-01-01'); \
         INSERT INTO device_mappings (id, volume_id, volume_uuid, vm_id, device_path, \
             cloudstack_state, linux_state, size, last_sync, created_at, updated_at, operation_mode, \
             requires_device_correlation) \
         VALUES ('mapping-00000000-0000-0000-0000-000000000002', 'v', 'v', 'x', 'y', 'attached', \
                 'detected', 1, '2020-01-01', '2020-01-01', '2020-01-01', 'oma', 1)",
    )
    .await;
    let call = intent(1, "a", attach(1));
    store.begin(&call).await.unwrap();
    assert_eq!(store.load().await.unwrap().memory.intents[&name("a")], call);
    store.catch_up_operations().await.unwrap();
    agrees(&store, "it was taken for ours, since its id is").await;

    let rows = [1, 2, 3].map(|n| mapping(n, here(n)));
    let left_out = maps(&store, &rows, &[]).await;
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert_eq!(left_out[0].volume, volume(2));
    assert_eq!(lines(&store, "id", "device_mappings").await.len(), 3);
}

/// After some errors a database has ended the transaction by itself, and what came next would be one of
/// its own, without the lease.
pub async fn a_transaction_that_is_gone_is_not_gone_on_with(store: Store) {
    let mut tx = store.write("test").await.unwrap();
    tx.save().await.unwrap();
    tx.script("ROLLBACK").await.unwrap();
    let refused = tx
        .sql("INSERT INTO volume_operations (id) VALUES (?)")
        .bind("x");
    let refused = refused.execute().await.unwrap_err();
    assert!(tx.recover(refused).await.is_err());
}

/// Somebody who clears up keeps a row locked for longer than we wait.
#[tokio::test]
async fn a_row_that_somebody_keeps_locked_holds_up_no_call() {
    let database = database().await;
    let store = Store::open(&of(&database, "local"), clock()).await.unwrap();
    with_spec(&store, "a").await;
    let call = intent(1, "a", attach(1));
    store.begin(&call).await.unwrap();
    let mut other = MySqlConnection::connect(&database.url).await.unwrap();
    other
        .execute("BEGIN; UPDATE volume_operations SET error = 'mine'")
        .await
        .unwrap();
    store.submitted(call.id, job(1)).await.unwrap();
    other.execute("ROLLBACK").await.unwrap();
    let memory = store.load().await.unwrap().memory;
    let progress = &memory.intents[&name("a")].progress;
    assert_eq!(*progress, Progress::Submitted(job(1)));
    store.catch_up_operations().await.unwrap();
    agrees(&store, "once it is free").await;
}

/// What an older daemon left: no later column, moments without fractions, words in enumerations.
const OLDER: &str = "
    CREATE TABLE volume_operations (
        id VARCHAR(64) PRIMARY KEY,
        type /*M! ENUM('create','attach','detach','delete','cleanup') */ NOT NULL,
        status /*M! ENUM('pending','executing','completed','failed','cancelled') */ NOT NULL,
        volume_id VARCHAR(191) NOT NULL, vm_id VARCHAR(191), request JSON NOT NULL, response JSON,
        error TEXT, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, completed_at TIMESTAMP NULL);
    CREATE TABLE device_mappings (
        id VARCHAR(64) PRIMARY KEY, volume_id VARCHAR(191) NOT NULL UNIQUE, vm_id VARCHAR(191) NOT NULL,
        device_path VARCHAR(191) NOT NULL UNIQUE, cloudstack_state VARCHAR(32) NOT NULL,
        linux_state VARCHAR(32) NOT NULL, size BIGINT NOT NULL,
        last_sync TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE nbd_exports (
        id INTEGER PRIMARY KEY /*M! AUTO_INCREMENT */, volume_id VARCHAR(64) NOT NULL,
        export_name VARCHAR(191) NOT NULL UNIQUE, port INTEGER NOT NULL DEFAULT 10809,
        device_path VARCHAR(191) NOT NULL, config_path VARCHAR(255) NOT NULL,
        status /*M! ENUM('pending','active','failed') */ NOT NULL,
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);";

/// What a later one left: another spelling, columns of other programs, keys between tables.
const LATER_ON: &str = "
    CREATE TABLE device_mappings (
        id VARCHAR(64) PRIMARY KEY, vm_context_id VARCHAR(64), volume_uuid VARCHAR(64) NOT NULL UNIQUE,
        volume_id_numeric BIGINT, vm_id VARCHAR(64) NOT NULL, device_path VARCHAR(191) UNIQUE,
        operation_mode /*M! ENUM('oma','failover') */ NOT NULL DEFAULT 'oma',
        cloudstack_device_id INTEGER, requires_device_correlation BOOLEAN DEFAULT TRUE,
        cloudstack_state VARCHAR(32) NOT NULL, linux_state VARCHAR(32) NOT NULL, size BIGINT NOT NULL,
        snapshot_id VARCHAR(64), last_sync DATETIME, created_at DATETIME(3), updated_at DATETIME(3));
    CREATE TABLE nbd_exports (
        id VARCHAR(64) PRIMARY KEY, job_id VARCHAR(64), vm_context_id VARCHAR(64),
        volume_id VARCHAR(64) NOT NULL, vm_disk_id INTEGER, device_mapping_uuid VARCHAR(64),
        export_name VARCHAR(191) NOT NULL UNIQUE, port INTEGER NOT NULL DEFAULT 10809,
        device_path VARCHAR(191) NOT NULL, config_path VARCHAR(255), status VARCHAR(16),
        created_at DATETIME, updated_at DATETIME);
    CREATE TABLE volume_operations (
        id VARCHAR(64) PRIMARY KEY, type VARCHAR(16) NOT NULL, status VARCHAR(16) NOT NULL,
        volume_id VARCHAR(64) NOT NULL, tenant VARCHAR(64) NOT NULL);";

/// Opens a store in a database where this was done before, of either kind.
async fn after(sql: &str) -> [(Store, Option<tempfile::TempDir>); 2] {
    let dir = directory();
    let path = dir.path().join("state.db");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut engine = SqliteConnection::connect(&url).await.unwrap();
    engine.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    engine.close().await.unwrap();
    let database = database().await;
    let mut engine = MySqlConnection::connect(&database.url).await.unwrap();
    engine.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    let server = Store::open(&of(&database, "local"), clock()).await.unwrap();
    [(open(&path).await.unwrap(), Some(dir)), (server, None)]
}

#[tokio::test]
async fn tables_of_an_older_daemon_are_taken_over() {
    let rows = format!(
        "{OLDER}
         INSERT INTO volume_operations (id, type, status, volume_id, request)
             VALUES ('op-theirs', 'cleanup', 'executing', 'v', '{{}}');
         INSERT INTO device_mappings (id, volume_id, vm_id, device_path, cloudstack_state, linux_state, size)
             VALUES ('mapping-7', '{}', 'x', '/dev/vdb', 'attached', 'detected', 1),
                    ('mapping-8', '{}', 'x', '/dev/vdc', 'attached', 'detected', 1);
         INSERT INTO nbd_exports (volume_id, export_name, device_path, config_path, status)
             VALUES ('{}', 'old-name', '/dev/vdb', '/etc/x.conf', 'active');",
        volume(1),
        volume(0x99),
        volume(1),
    );
    for (store, _dir) in after(&rows).await {
        assert_eq!(store.untold(), [""; 0]);
        let tables = lines(&store, "status", "volume_operations").await;
        assert_eq!(tables, ["executing"], "as it was");
        with_spec(&store, "a").await;
        let call = intent(1, "a", attach(1));
        store.begin(&call).await.unwrap();
        store.submitted(call.id, job(1)).await.unwrap();
        let none = Effects::default();
        store
            .settle(&call, &refused("no"), &none, LATER)
            .await
            .unwrap();
        let from = format!("volume_operations WHERE id LIKE '{MINE}'");
        let found = lines(
            &store,
            "type, status, error, created_at, completed_at",
            &from,
        )
        .await;
        let found = found[0].replace(".000", "");
        assert_eq!(
            found,
            "attach|failed|no|2027-01-15 08:00:00|2027-01-15 08:01:00"
        );

        let rows = [mapping(1, here(1)), mapping(2, Disk::Elsewhere)];
        assert_eq!(maps(&store, &rows, &[]).await, []);
        let found = lines(&store, "id, device_path", "device_mappings ORDER BY id").await;
        let (second, remote) = (volume(2), format!("remote-{}", volume(2)));
        let others = "mapping-8|/dev/vdc";
        let taken_over = ["mapping-7|/dev/disk/by-id/virtio-1", others];
        let new = format!("mapping-{second}|{remote}");
        assert_eq!(found, [&new, taken_over[0], taken_over[1]]);

        let rows = [
            export(1, "new-name", ExportState::Active),
            export(2, "b", ExportState::Pending),
        ];
        assert_eq!(exports(&store, &rows, &[]).await, []);
        let columns = "id, export_name, config_path, status";
        let found = lines(&store, columns, "nbd_exports ORDER BY id").await;
        assert_eq!(
            found,
            ["1|new-name||active", "2|b||pending"],
            "ids are counted"
        );
        // What was taken over is ours from then on.
        maps(&store, &[], &[1, 2, 0x99]).await;
        exports(&store, &[], &[1, 2]).await;
        let left = lines(&store, "id, device_path", "device_mappings").await;
        assert_eq!(left, [others]);
        assert_eq!(lines(&store, "id", "nbd_exports").await, [""; 0]);
    }
}

#[tokio::test]
async fn tables_of_a_later_daemon_keep_what_others_wrote_into_them() {
    let rows = format!(
        "{LATER_ON}
         INSERT INTO device_mappings (id, vm_context_id, volume_uuid, volume_id_numeric, vm_id, \
                                      device_path, cloudstack_state, linux_state, size, snapshot_id)
             VALUES ('m', 'ctx', '{}', 42, 'x', '/dev/vdb', 'attached', 'detected', 1, 'snap');
         INSERT INTO nbd_exports (id, job_id, vm_context_id, volume_id, vm_disk_id, export_name, device_path)
             VALUES ('e', 'job', 'ctx', '{}', 7, 'x', '/dev/vdb');",
        volume(1),
        volume(1).to_string().to_uppercase(),
    );
    for (store, _dir) in after(&rows).await {
        assert_eq!(maps(&store, &[mapping(1, Disk::Elsewhere)], &[]).await, []);
        let columns = "id, vm_context_id, volume_id_numeric, snapshot_id, operation_mode, \
                       cloudstack_device_id, requires_device_correlation, linux_state";
        let found = lines(&store, columns, "device_mappings").await;
        assert_eq!(found, ["m|ctx|42|snap|failover|1|0|remote"]);

        assert_eq!(
            exports(&store, &[export(1, "x", ExportState::Active)], &[]).await,
            []
        );
        let columns = "id, job_id, vm_context_id, vm_disk_id, status, device_path";
        let found = lines(&store, columns, "nbd_exports").await;
        assert_eq!(found, ["e|job|ctx|7|active|/dev/disk/by-id/virtio-1"]);

        // A column that wants what only others know: nothing is written there, and it is said.
        let [untold] = store.untold().try_into().unwrap();
        assert!(
            untold.starts_with("volume_operations is not written"),
            "{untold}"
        );
        assert!(untold.contains("column tenant "), "{untold}");
        with_spec(&store, "a").await;
        let call = intent(1, "a", attach(1));
        store.begin(&call).await.unwrap();
        store.submitted(call.id, job(1)).await.unwrap();
        let none = Effects::default();
        store.settle(&call, &CREATED, &none, LATER).await.unwrap();
        store.catch_up_operations().await.unwrap();
        assert_eq!(lines(&store, "id", "volume_operations").await, [""; 0]);
        let due = lines(&store, "id", "vd_intents WHERE operation IS NULL").await;
        assert_eq!(due.len(), 1, "for a table that is mended");
    }
}
