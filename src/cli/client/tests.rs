use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::io::AsyncWriteExt;

use super::super::fixture::{self, daemon, nobody, ready, serve_tcp, serve_unix};
use super::*;

fn client(address: &Address) -> Client {
    Client::new(address).expect("a client")
}

fn answering(status: StatusCode, body: &'static str) -> Router {
    Router::new().route("/api/v1/status", get(move || async move { (status, body) }))
}

async fn refused(address: &Address) -> ClientError {
    client(address).report().await.expect_err("no report")
}

#[tokio::test]
async fn it_speaks_over_tcp_and_over_a_unix_socket() {
    let report = fixture::report([ready("a")]);
    let tcp = serve_tcp(daemon(vec![report.clone()])).await;
    assert_eq!(client(&tcp).report().await.expect("a report"), report);
    let dir = tempfile::tempdir().expect("a directory");
    let unix = serve_unix(daemon(vec![report.clone()]), &dir.path().join("api.sock"));
    assert_eq!(client(&unix).report().await.expect("a report"), report);
}

#[tokio::test]
async fn intents_are_asked_for_with_their_filter() {
    let queries = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&queries);
    let router = Router::new().route(
        "/api/v1/intents",
        get(move |RawQuery(query): RawQuery| async move {
            seen.lock().unwrap().push(query.unwrap_or_default());
            Json(Vec::<JournalRow>::new())
        }),
    );
    let client = client(&serve_tcp(router).await);
    let mut filter = IntentFilter {
        name: None,
        open_only: false,
        limit: 20,
    };
    assert_eq!(client.intents(&filter).await.expect("rows"), []);
    filter.name = Some("a".parse().expect("a name"));
    filter.open_only = true;
    assert_eq!(client.intents(&filter).await.expect("rows"), []);
    assert_eq!(
        *queries.lock().unwrap(),
        ["open=false&limit=20", "open=true&limit=20&name=a"]
    );
}

#[tokio::test]
async fn nobody_there_is_told_from_somebody_who_is_silent() {
    let dir = tempfile::tempdir().expect("a directory");
    for address in [nobody().await, Address::Unix(dir.path().join("none.sock"))] {
        let error = refused(&address).await;
        assert!(matches!(error, ClientError::Absent { .. }), "{error:?}");
        assert!(error.is_absence());
        assert_eq!(error.to_string(), format!("no daemon at {address}"));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = Address::Tcp(listener.local_addr().unwrap());
    let client = Client::with_timeout(&silent, Duration::from_millis(50)).expect("a client");
    let error = client.report().await.expect_err("no answer");
    assert!(matches!(error, ClientError::Silent { .. }), "{error:?}");
    assert!(error.is_absence());
    assert_eq!(
        error.to_string(),
        format!("no answer from the daemon at {silent} within 0.05 s")
    );
}

#[tokio::test]
async fn whoever_is_there_and_makes_no_sense_is_not_gone_around() {
    let not_found = serve_tcp(Router::new()).await;
    let garbage = serve_tcp(answering(StatusCode::OK, "<html>hello</html>")).await;
    let other = serve_tcp(answering(StatusCode::OK, "{\"volumes\": 7}")).await;
    for (address, says) in [
        (
            not_found,
            "answers /api/v1/status with 404 Not Found: (no words)",
        ),
        (
            garbage,
            "to /api/v1/status cannot be understood: expected value",
        ),
        (other, "to /api/v1/status cannot be understood: "),
    ] {
        let error = refused(&address).await;
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.is_absence(), "{error}");
        let hint = error.hint().expect("a hint");
        assert!(hint.contains("another program"), "{hint}");
    }
}

#[tokio::test]
async fn what_speaks_no_http_is_broken() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"NBDMAGICIHAVEOPT").await.unwrap();
    });
    let error = refused(&address).await;
    assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
    assert!(!error.is_absence());
}

#[tokio::test]
async fn the_words_of_a_problem_are_passed_on() {
    let unavailable = |body| answering(StatusCode::SERVICE_UNAVAILABLE, body);
    for (body, says) in [
        (
            "{\"title\": \"t\", \"detail\": \"not read\\nyet\"}",
            "Unavailable: not read yet",
        ),
        ("{\"error\": \"starting\"}", "Unavailable: starting"),
        ("one\u{1b}[2Jmoment", "Unavailable: one [2Jmoment"),
    ] {
        let error = refused(&serve_tcp(unavailable(body)).await).await;
        assert!(error.to_string().ends_with(says), "{error}");
        assert_eq!(
            error.hint().as_deref(),
            Some("see journalctl -u volume-daemon")
        );
    }
}

/// Root may use any socket, so this is about the answer to a refusal.
#[tokio::test]
async fn a_forbidden_socket_says_who_may_use_it() {
    let address = Address::Unix(PathBuf::from("/run/x.sock"));
    let error = ClientError::Denied {
        address,
        source: io::Error::from(io::ErrorKind::PermissionDenied),
    };
    assert!(!error.is_absence());
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("as root"), "{hint}");
}

/// Runs `report` against `address` and returns what was said meanwhile.
async fn fetched(address: Address, source: Source) -> (anyhow::Result<Report>, String) {
    // A machine on which there is nothing.
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = Config::default();
    config.api.listen = address;
    config.host.root = dir.path().to_owned();
    config.specs.dir = dir.path().to_owned();
    config.store.url = format!("sqlite://{}/none.db", dir.path().display()).into();
    config.nbd.qmp = dir.path().join("none.sock");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut io = Io {
        out: &mut out,
        err: &mut err,
        live: false,
    };
    let report = report(&config, &source, &[], &mut io).await;
    (report, String::from_utf8(err).expect("UTF-8"))
}

#[tokio::test]
async fn without_a_daemon_the_world_is_read_and_that_is_said() {
    let address = nobody().await;
    let (_, said) = fetched(address.clone(), Source::default()).await;
    assert_eq!(
        said,
        format!("no daemon at {address}; reading CloudStack, host and NBD server directly\n")
    );
    let online = Source {
        online: true,
        ..Source::default()
    };
    let (failed, said) = fetched(address, online).await;
    assert!(failed.expect_err("no daemon").is::<ClientError>());
    assert_eq!(said, "");
    let garbage = serve_tcp(answering(StatusCode::OK, "x")).await;
    let (failed, said) = fetched(garbage, Source::default()).await;
    assert!(failed.expect_err("garbage").is::<ClientError>());
    assert_eq!(said, "");
}

#[tokio::test]
async fn offline_never_asks() {
    let report = fixture::report([]);
    let address = serve_tcp(daemon(vec![report])).await;
    let offline = Source {
        offline: true,
        ..Source::default()
    };
    let (found, said) = fetched(address, offline).await;
    assert!(!found.is_ok_and(|found| found.at == fixture::NOW));
    assert_eq!(said, "");
}
