//! The HTTP transport against servers on loopback that misbehave in known ways.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::model::{BootTime, Now};

const FORM: &str = "apikey=the-key&command=listZones&signature=the-signature";

fn config(url: String) -> HttpConfig {
    HttpConfig {
        url,
        ca_file: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        concurrency: 2,
        rate_per_second: NonZeroU32::new(1000).expect("not zero"),
    }
}

fn transport(address: SocketAddr) -> HttpTransport {
    HttpTransport::new(&config(format!("http://{address}/client/api"))).expect("a valid URL")
}

fn request(method: Method) -> Request {
    Request {
        method,
        command: "listZones",
        form: FORM.to_owned(),
        deadline: Deadline::never(),
    }
}

/// Reads one request: its head, and as much body as it announces.
async fn receive(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.expect("a readable request");
        text.push_str(std::str::from_utf8(&buffer[..read]).expect("UTF-8"));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            return text;
        }
    }
}

/// A server that answers every connection's first request with `answer`, then closes. Returns what it
/// received first.
async fn serve(answer: Vec<u8>) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let received = receive(&mut stream).await;
        // The client may hang up before everything is written.
        let _ = stream.write_all(&answer).await;
        received
    });
    (address, served)
}

fn http(head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

fn assert_hides_secrets(error: &TransportError) {
    let text = format!("{error} {error:?}");
    for secret in ["the-key", "the-signature", "/client/api"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_get_carries_its_parameters_in_the_query() {
    let head = "431 X\r\nDate: Fri, 20 Nov 2026 22:30:00 GMT";
    let (address, served) = serve(http(head, "body")).await;
    let response = transport(address).send(request(Method::Get)).await;
    assert_eq!(
        response,
        Ok(Response {
            status: 431,
            date: Some("2026-11-20T22:30:00Z".parse().expect("a time")),
            body: b"body".to_vec(),
        })
    );
    let received = served.await.expect("the server ends");
    let line = format!("GET /client/api?{FORM} HTTP/1.1\r\n");
    assert!(received.starts_with(&line), "{received}");
}

#[tokio::test]
async fn a_post_carries_its_parameters_in_the_body() {
    let (address, served) = serve(http("200 OK\r\nDate: today", "{}")).await;
    let response = transport(address).send(request(Method::Post)).await;
    assert_eq!(response.expect("an answer").date, None);
    let received = served.await.expect("the server ends");
    assert!(
        received.starts_with("POST /client/api HTTP/1.1\r\n"),
        "{received}"
    );
    assert!(
        received.contains("content-type: application/x-www-form-urlencoded\r\n"),
        "{received}"
    );
    assert!(received.ends_with(&format!("\r\n\r\n{FORM}")), "{received}");
}

#[tokio::test]
async fn a_refused_connection_is_certainly_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let error = transport(address)
        .send(request(Method::Get))
        .await
        .expect_err("nobody listens");
    assert!(matches!(error, TransportError::NotSent { .. }), "{error}");
    assert_hides_secrets(&error);
}

#[tokio::test]
async fn a_failed_tls_handshake_is_certainly_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let error = HttpTransport::new(&config(format!("https://{address}/client/api")))
        .expect("a valid URL")
        .send(request(Method::Post))
        .await
        .expect_err("that is no TLS");
    assert!(matches!(error, TransportError::NotSent { .. }), "{error}");
    assert_hides_secrets(&error);
}

#[tokio::test]
async fn whatever_goes_wrong_once_connected_is_unknown() {
    let unfinished = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec();
    for (case, answer) in [
        ("closed without an answer", Vec::new()),
        ("closed within the answer", unfinished),
        ("no HTTP", b"hello\r\n\r\n".to_vec()),
    ] {
        for method in [Method::Get, Method::Post] {
            let (address, _served) = serve(answer.clone()).await;
            let error = transport(address)
                .send(request(method))
                .await
                .expect_err(case);
            assert!(
                matches!(error, TransportError::Unknown { .. }),
                "{case}: {error}"
            );
            assert_hides_secrets(&error);
        }
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let transport = HttpTransport::new(&HttpConfig {
        timeout: Duration::from_millis(50),
        ..config(format!("http://{address}/client/api"))
    })
    .expect("a valid URL");
    let error = transport
        .send(request(Method::Post))
        .await
        .expect_err("no answer");
    assert!(matches!(error, TransportError::Unknown { .. }), "{error}");
    assert_hides_secrets(&error);
}

#[tokio::test]
async fn what_had_to_wait_until_after_its_deadline_is_certainly_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let transport = transport(listener.local_addr().expect("bound"));
    let clock = Arc::new(ManualClock::at(Now {
        wall: Timestamp::from_millis(0),
        boot: BootTime::from_millis(0),
    }));
    let too: Arc<dyn Clock> = clock.clone();
    let request = Request {
        deadline: Deadline::at(BootTime::from_millis(1), too),
        ..request(Method::Post)
    };
    let permits = Arc::clone(&transport.permits);
    let all = u32::try_from(permits.available_permits()).expect("a few");
    let others = permits.acquire_many(all).await.expect("open");
    let mut sent = Box::pin(transport.send(request));
    assert!(
        tokio::time::timeout(Duration::from_millis(1), &mut sent)
            .await
            .is_err()
    );
    clock.advance(Duration::from_millis(1));
    drop(others);
    let error = sent.await.expect_err("too late");
    assert!(matches!(error, TransportError::NotSent { .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_is_handed_over_and_not_followed() {
    let elsewhere = "302 Found\r\nLocation: http://127.0.0.1:1/";
    let (address, _served) = serve(http(elsewhere, "")).await;
    let response = transport(address).send(request(Method::Post)).await;
    assert_eq!(response.expect("an answer").status, 302);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    for (length, fits) in [(1000, true), (1001, false)] {
        let (address, _served) = serve(http("200 OK", &"x".repeat(length))).await;
        let mut transport = transport(address);
        transport.body_max = 1000;
        let answer = transport.send(request(Method::Get)).await;
        match answer {
            Ok(response) => assert!(fits && response.body.len() == length),
            Err(error) => assert!(
                !fits && matches!(error, TransportError::Unknown { .. }),
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_allowed() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                receive(&mut stream).await;
                let now = NOW.fetch_add(1, Ordering::SeqCst) + 1;
                MOST.fetch_max(now, Ordering::SeqCst);
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                NOW.fetch_sub(1, Ordering::SeqCst);
                let _ = stream.write_all(&http("200 OK", "{}")).await;
            });
        }
    });
    let transport = transport(address);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let transport = transport.clone();
        requests.spawn(async move { transport.send(request(Method::Get)).await });
    }
    for answer in requests.join_all().await {
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert!(MOST.load(Ordering::SeqCst) <= 2);
}

#[test]
fn debug_masks_key_and_signature() {
    assert_eq!(
        format!("{:?}", request(Method::Get)),
        r#"Request { method: Get, command: "listZones", form: "apikey=***&command=listZones&signature=***" }"#
    );
}

#[test]
fn an_endpoint_is_plain() {
    for (url, says) in [
        ("", "this is not a URL"),
        ("cloud.example/client/api", "this is not a URL"),
        ("ftp://cloud.example/", "http:// or https://"),
        ("http://cloud.example/?apikey=x", "query"),
        ("http://cloud.example/#x", "fragment"),
        ("http://user:geheim@cloud.example/", "password"),
    ] {
        let error = HttpTransport::new(&config(url.to_owned())).expect_err(url);
        let text = error.to_string();
        assert!(text.contains(says), "{url}: {text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}

#[test]
fn authorities_must_be_readable_certificates() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(b"no certificate").expect("writable");
    let with = |path: &Path| {
        HttpTransport::new(&HttpConfig {
            ca_file: Some(path.to_owned()),
            ..config("https://cloud.example/client/api".to_owned())
        })
    };
    assert!(matches!(
        with(file.path()),
        Err(HttpConfigError::CaContent { .. })
    ));
    assert!(matches!(
        with(Path::new("/does/not/exist.pem")),
        Err(HttpConfigError::CaFile { .. })
    ));
}
