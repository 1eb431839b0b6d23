//! What holds for a store on a MariaDB server only: several appliances in one database, leases
//! without a common clock, servers that refuse, stop and come back.

use nix::sys::signal::Signal;

use super::super::mariadb_server::{PASSWORD, Server};
use super::*;
use crate::clock::SystemClock;
use crate::telemetry::chain;

async fn open(at: &Location) -> Result<Store, StoreError> {
    Store::open(at, clock()).await
}

/// The part of `appliance`, as a machine with a lock directory of its own sees it.
fn elsewhere(database: &Database, appliance: &str) -> (Location, tempfile::TempDir) {
    let locks = directory();
    let appliance = appliance.parse().unwrap();
    let location = Location::new(&database.url, appliance, locks.path()).unwrap();
    (location, locks)
}

#[tokio::test]
async fn two_appliances_in_one_database_stay_apart() {
    let database = database().await;
    // Both find no tables, and make them.
    let (here, there) = (of(&database, "here"), of(&database, "there"));
    let (here, there) = tokio::join!(open(&here), open(&there));
    let (here, there) = (here.unwrap(), there.unwrap());
    assert_ne!(here.instance(), there.instance());
    let uid = with_spec(&here, "a").await;
    let empty = there.load().await.unwrap();
    assert_eq!(empty.desired, []);
    assert_ne!(with_spec(&there, "a").await, uid);

    // Everything the one does to its own leaves the other's as it was.
    here.pause(None, LATER, "mine").await.unwrap();
    here.set_vm(vm(1)).await.unwrap().unwrap();
    there.set_vm(vm(2)).await.unwrap().unwrap();
    let export: ExportName = "disk".parse().unwrap();
    here.claim_export_name(&export, volume(1))
        .await
        .unwrap()
        .unwrap();
    there
        .claim_export_name(&export, volume(2))
        .await
        .unwrap()
        .unwrap();
    let paths = file("/specs/a.yaml", FileState::Accepted, &[]);
    let files = SourceChange {
        files: vec![paths],
        ..abandons("a")
    };
    here.accept(&files, NOW).await.unwrap();
    here.put_account(&AccountMark::new("x")).await.unwrap();
    here.disown(&[(uid, volume(9))]).await.unwrap();
    let untouched = there.load().await.unwrap();
    assert_eq!(untouched.desired[0].presence, Presence::Declared);
    assert_eq!((untouched.vm, untouched.account), (Some(vm(2)), None));
    assert_eq!(untouched.files, []);
    assert_eq!(untouched.memory.pauses, Pauses::default());
    assert!(untouched.memory.disowned.is_empty());
    assert_eq!(untouched.memory.export_names[&export], volume(2));

    // But a volume has one call under way, and one binding, whoever asks.
    let first = intent(1, "a", attach(7));
    here.begin(&first).await.unwrap();
    let refused = there.begin(&intent(2, "a", attach(7))).await;
    assert!(
        matches!(&refused, Err(StoreError::IntentOpen { open, .. }) if *open == first.id.to_string()),
        "{refused:?}"
    );
    there.begin(&intent(3, "a", attach(8))).await.unwrap();
    assert_eq!(there.intents(all()).await.unwrap().len(), 1);
    let effects = binding(7, uid);
    here.settle(&first, &CREATED, &effects, LATER)
        .await
        .unwrap();
    let taken = there.bind(&name("a"), &effects.binding.unwrap(), NOW).await;
    assert!(
        matches!(taken, Err(StoreError::VolumeTaken { .. })),
        "{taken:?}"
    );
    assert!(there.load().await.unwrap().memory.bindings.is_empty());
}

#[tokio::test]
async fn two_appliances_cannot_begin_a_call_for_one_volume_at_the_same_moment() {
    let database = database().await;
    let here = open(&of(&database, "here")).await.unwrap();
    let there = open(&of(&database, "there")).await.unwrap();
    with_spec(&here, "a").await;
    with_spec(&there, "a").await;
    // Written, and not to be seen before it is committed.
    let mut tx = here.write("test").await.unwrap();
    tx.script(
        "INSERT INTO vd_intents (appliance, id, epoch, name, generation, owner, volume_id, \
                open_volume, kind, action, cause, created_at, expires_at) \
         VALUES ('here', 'x', 1, 'a', 1, 'api', '00000000-0000-0000-0000-000000000007', \
                '00000000-0000-0000-0000-000000000007', 'Attach', '{}', 'declared', 0, 0)",
    )
    .await
    .unwrap();
    let other = tokio::spawn(async move { there.begin(&intent(2, "a", attach(7))).await });
    let mut root = database.server.root().await;
    loop {
        let waits: (String, String) =
            sqlx::query_as("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
                .fetch_one(&mut root)
                .await
                .unwrap();
        if waits.1 != "0" || other.is_finished() {
            break;
        }
    }
    tx.commit().await.unwrap();
    let refused = other.await.unwrap();
    assert!(
        matches!(refused, Err(StoreError::IntentOpen { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_second_daemon_on_this_machine_is_told_who_is_there() {
    let database = database().await;
    let first = open(&of(&database, "a")).await.unwrap();
    let error = open(&of(&database, "a")).await.unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(error, StoreError::Locked { pid: Some(found), .. } if found == pid),
        "{error}"
    );
    assert!(error.to_string().contains(&database.name), "{error}");
    open(&of(&database, "b")).await.expect("another appliance");
    let epoch = first.epoch();
    // Killed: its lock goes with it, so whoever holds that next knows, and need not wait.
    drop(first);
    let next = open(&of(&database, "a")).await.unwrap();
    assert_eq!(next.epoch(), epoch.map(|epoch| epoch + 1));
}

#[tokio::test]
async fn a_daemon_elsewhere_that_is_alive_keeps_its_lease() {
    let database = database().await;
    let first = open(&of(&database, "a")).await.unwrap();
    let (at, _locks) = elsewhere(&database, "a");
    let clock = clock();
    let second = {
        let clock = Arc::clone(&clock);
        tokio::spawn(async move { Store::open(&at, clock).await })
    };
    // However far apart the two clocks are: what counts is that the first one writes.
    let refused = loop {
        first.renew().await.unwrap();
        tokio::task::yield_now().await;
        if second.is_finished() {
            break second.await.unwrap();
        }
    };
    let error = refused.unwrap_err();
    assert!(matches!(error, StoreError::Held { .. }), "{error}");
    let me = format!("process {}", std::process::id());
    assert!(error.to_string().contains(&me), "{error}");
    first.renew().await.expect("undisturbed");
}

#[tokio::test]
async fn a_daemon_that_died_elsewhere_is_followed_when_its_lease_has_run_out() {
    let database = database().await;
    let first = open(&of(&database, "a")).await.unwrap();
    with_spec(&first, "a").await;
    let (at, _locks) = elsewhere(&database, "a");
    let clock = clock();
    let too = Arc::clone(&clock);
    let mut second = Box::pin(Store::open(&at, too));
    // It looks, and waits for its own clock.
    let looked = tokio::time::timeout(Duration::from_millis(1200), &mut second).await;
    assert!(looked.is_err(), "it took the lease at once");
    clock.advance(LEASE - Duration::from_millis(1));
    let looked = tokio::time::timeout(Duration::from_millis(1200), &mut second).await;
    assert!(looked.is_err(), "it took the lease too early");
    clock.advance(Duration::from_millis(1));
    let second = second.await.unwrap();
    assert_eq!(
        (second.instance(), second.epoch()),
        (first.instance(), Some(2))
    );
    let lost = first.begin(&intent(1, "a", create())).await.unwrap_err();
    assert!(matches!(lost, StoreError::LeaseLost { .. }), "{lost}");
}

#[tokio::test]
async fn a_daemon_that_ended_in_order_is_followed_at_once() {
    let database = database().await;
    open(&of(&database, "a")).await.unwrap().close().await;
    let (at, _locks) = elsewhere(&database, "a");
    let next = tokio::time::timeout(Duration::from_secs(5), open(&at)).await;
    assert_eq!(next.expect("at once").unwrap().epoch(), Some(2));
}

#[tokio::test]
async fn what_is_journalled_may_be_sent_only_while_the_lease_is_ours() {
    let database = database().await;
    let clock = clock();
    let store = Store::open(&of(&database, "a"), clock.clone())
        .await
        .unwrap();
    with_spec(&store, "a").await;
    let intent = intent(1, "a", create());
    for _again in 0..2 {
        let deadline = store.begin(&intent).await.unwrap();
        clock.advance(HOLD - Duration::from_millis(1));
        assert!(!deadline.has_passed());
        clock.advance(Duration::from_millis(1));
        assert!(deadline.has_passed());
    }
    assert!(HOLD < LEASE && RENEW * 3 <= HOLD);
}

/// A clock on which a second goes by whenever it is read.
struct Ticking(ManualClock);

impl Clock for Ticking {
    fn now(&self) -> Now {
        self.0.advance(Duration::from_secs(1));
        self.0.now()
    }
}

#[tokio::test]
async fn the_lease_counts_from_before_it_was_written() {
    let database = database().await;
    let ticking = Arc::new(Ticking(ManualClock::at(clock().now())));
    let store = Store::open(&of(&database, "a"), ticking.clone())
        .await
        .unwrap();
    with_spec(&store, "a").await;
    let begun = ticking.0.now().boot;
    let deadline = store.begin(&intent(1, "a", create())).await.unwrap();
    while !deadline.has_passed() {}
    // It was read once before anything was sent, and is good from then on.
    let passed = ticking.0.now().boot.since(begun);
    assert_eq!(passed, HOLD + Duration::from_secs(1));
}

#[tokio::test]
async fn a_text_that_is_too_long_is_refused_and_never_cut() {
    let database = database().await;
    let store = open(&of(&database, "a")).await.unwrap();
    let path = format!("/{}", "x".repeat(700));
    let change = SourceChange {
        files: vec![file(&path, FileState::Accepted, &[])],
        ..SourceChange::default()
    };
    let refused = store.accept(&change, NOW).await.unwrap_err();
    assert!(refused.to_string().contains("too long"), "{refused}");
    assert_eq!(store.load().await.unwrap().files, []);
}

#[tokio::test]
async fn readers_need_no_daemon_and_no_right_to_write() {
    let database = database().await;
    let missing = Store::open_read_only(&of(&database, "a"))
        .await
        .unwrap_err();
    assert!(missing.is_missing(), "{missing}");
    let store = open(&of(&database, "a")).await.unwrap();
    with_spec(&store, "a").await;
    for sql in [
        "CREATE OR REPLACE USER reader@localhost IDENTIFIED BY 'x'".to_owned(),
        format!("GRANT SELECT ON {}.* TO reader@localhost", database.name),
    ] {
        database.server.execute(&sql).await;
    }
    let url = database.server.url(&database.name, "reader", "x");
    let at = Location::new(&url, "a".parse().unwrap(), &database.lock_dir).unwrap();
    let reader = Store::open_read_only(&at).await.unwrap();
    assert_eq!(reader.load().await.unwrap().desired.len(), 1);
    assert_eq!(reader.instance(), store.instance());
    let error = reader.set_vm(vm(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");
    store.close().await;
    let refused = open(&at).await.unwrap_err();
    assert!(
        refused.to_string().contains("lacks a privilege"),
        "{refused}"
    );
    let at = of(&database, "nobody");
    let missing = Store::open_read_only(&at).await.unwrap_err();
    assert!(missing.is_missing(), "{missing}");
}

#[tokio::test]
async fn what_a_server_refuses_says_what_to_do() {
    let server = Server::start(&[]).await;
    let database = server.database().await;
    server
        .execute("CREATE USER none@localhost IDENTIFIED BY 'secret'")
        .await;
    let socket = |path: &str| format!("mysql://vd:secret@localhost/x?socket={path}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    for (case, url, says) in [
        (
            "password",
            server.url(&database.name, "vd", "secret"),
            "password",
        ),
        (
            "user",
            server.url(&database.name, "secret", "x"),
            "password",
        ),
        (
            "database",
            server.url("vd_nowhere", "vd", "tr0ub4dor%2F%263"),
            "no such database",
        ),
        (
            "privilege",
            server.url(&database.name, "none", "secret"),
            "privilege",
        ),
        ("socket", socket("/nonexistent"), "cannot be reached"),
        (
            "port",
            format!("mysql://vd:secret@127.0.0.1:{port}/x"),
            "cannot be reached",
        ),
    ] {
        let at = Location::new(&url, "a".parse().unwrap(), &database.lock_dir).unwrap();
        let begun = SystemClock.now().boot;
        for error in [
            open(&at).await.unwrap_err(),
            Store::open_read_only(&at).await.unwrap_err(),
        ] {
            assert!(
                matches!(error, StoreError::Server { .. }),
                "{case}: {error:?}"
            );
            assert!(error.to_string().contains(says), "{case}: {error}");
            let said = chain(&error);
            assert!(!said.contains("secret") || case == "user", "{case}: {said}");
            assert!(!said.contains(PASSWORD), "{case}: {said}");
        }
        assert!(
            SystemClock.now().boot.since(begun) < Duration::from_secs(5),
            "{case} took too long"
        );
    }
    let at = of(&database, "a");
    let store = open(&at).await.unwrap();
    server.execute("SET GLOBAL read_only = 1").await;
    let error = store.set_vm(vm(1)).await.unwrap_err();
    assert!(error.to_string().contains("server is read-only"), "{error}");
    server.execute("SET GLOBAL read_only = 0").await;
    store.set_vm(vm(1)).await.unwrap().unwrap();
}

/// An authority and a certificate of it for `localhost`, as PEM files in `dir`.
fn certificates(dir: &Path) {
    for command in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
         -keyout ca.key -out ca.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost -keyout key.pem -out request.pem",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -days 2 -copy_extensions copy \
         -out cert.pem",
    ] {
        let output = std::process::Command::new("openssl")
            .args(command.split_whitespace())
            .current_dir(dir)
            .output()
            .expect("openssl");
        assert!(output.status.success(), "{output:?}");
    }
}

#[tokio::test]
async fn a_connection_is_encrypted_and_the_server_proven_as_the_url_says() {
    let dir = directory();
    certificates(dir.path());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let pem = |name: &str| dir.path().join(name).display().to_string();
    let server = Server::start(&[
        &format!("--port={port}"),
        "--bind-address=127.0.0.1",
        &format!("--ssl-cert={}", pem("cert.pem")),
        &format!("--ssl-key={}", pem("key.pem")),
    ])
    .await;
    let database = server.database().await;
    let ca = pem("ca.pem");
    let refused = Some("no encrypted connection");
    for (host, parameters, expected) in [
        (
            "localhost",
            format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"),
            None,
        ),
        ("localhost", "ssl-mode=VERIFY_IDENTITY".to_owned(), refused),
        (
            "127.0.0.1",
            format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"),
            refused,
        ),
        ("127.0.0.1", format!("ssl-mode=VERIFY_CA&ssl-ca={ca}"), None),
        ("127.0.0.1", "ssl-mode=REQUIRED".to_owned(), None),
        ("127.0.0.1", "ssl-mode=DISABLED".to_owned(), None),
    ] {
        let url = format!(
            "mysql://vd:tr0ub4dor%2F%263@{host}:{port}/{}?{parameters}",
            database.name
        );
        let at = Location::new(&url, "a".parse().unwrap(), &database.lock_dir).unwrap();
        let opened = open(&at).await;
        match (opened, expected) {
            (Ok(store), None) => {
                let mut tx = store.read("test").await.unwrap();
                let cipher: Option<(String, String)> = tx
                    .sql("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
                    .first()
                    .await
                    .unwrap();
                let is_encrypted = cipher.is_some_and(|(_, cipher)| !cipher.is_empty());
                assert_eq!(
                    is_encrypted,
                    !parameters.contains("DISABLED"),
                    "{parameters}"
                );
                tx.commit().await.unwrap();
                store.close().await;
            }
            (Err(error), Some(says)) => {
                assert!(
                    error.to_string().contains(says),
                    "{host} {parameters}: {error}"
                );
            }
            (opened, _) => panic!("{host} {parameters}: {opened:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_and_comes_back_is_found_again_with_the_lease() {
    let server = Server::start(&[]).await;
    let database = server.database().await;
    let store = open(&of(&database, "a")).await.unwrap();
    with_spec(&store, "a").await;

    // It is there, and says nothing.
    server.signal(Signal::SIGSTOP);
    let begun = SystemClock.now().boot;
    let error = store.begin(&intent(1, "a", create())).await.unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    assert!(
        SystemClock.now().boot.since(begun) < 3 * db::ANSWER,
        "too late"
    );
    let error = store.load().await.unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    server.signal(Signal::SIGCONT);
    store.begin(&intent(1, "a", create())).await.unwrap();

    // It is gone, and comes back with everything.
    server.kill();
    let error = store.begin(&intent(1, "a", create())).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    server.run();
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.memory.intents.len(), 1);
    let (intent, none) = (intent(1, "a", create()), Effects::default());
    store
        .settle(&intent, &Outcome::NeverSent, &none, LATER)
        .await
        .unwrap();
    assert_eq!(store.epoch(), Some(1));
    store.renew().await.expect("nobody else took it");
}

#[tokio::test]
async fn migrations_that_were_cut_short_on_a_server_are_run_again() {
    let database = database().await;
    let at = of(&database, "local");
    let store = open(&at).await.unwrap();
    with_spec(&store, "a").await;
    // Each statement commits by itself; that a migration was run is written last.
    raw(&store, "DELETE FROM vd_migrations").await;
    store.close().await;
    let store = open(&at).await.unwrap();
    assert_eq!(store.history(&name("a")).await.unwrap().len(), 1);
}
