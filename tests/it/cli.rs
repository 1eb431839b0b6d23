//! The binary itself: what only a process has, its exit status and its signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use volume_daemon::model::{InstanceId, Timestamp};
use volume_daemon::reconcile::report::{Report, SourceStatus};

use crate::program::volume_daemon;

/// Where a daemon can be played.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Takes one request.
fn asked(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        request.extend(byte);
    }
    stream
}

/// Answers with a report on no volumes, by a daemon that sees CloudStack.
fn answer(stream: TcpStream) {
    answer_with(stream, true);
}

/// The same, by one that sees CloudStack or not.
fn answer_with(mut stream: TcpStream, ok: bool) {
    let report = Report {
        at: Timestamp::from_millis(1_800_000_000_000),
        instance: InstanceId::new(uuid::Uuid::from_u128(1)),
        self_vm: None,
        sources: vec![SourceStatus {
            name: "cloudstack".to_owned(),
            ok,
            message: None,
            age_ms: Some(1000),
        }],
        frozen: None,
        volumes: Vec::new(),
        exports: Vec::new(),
        files: Vec::new(),
        devices: Vec::new(),
    };
    let body = serde_json::to_string(&report).expect("JSON");
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .expect("sent");
}

fn start(address: SocketAddr, config: &str, arguments: &[&str]) -> Child {
    let listen = format!("--set=api.listen={address}");
    let all = [arguments, &[&listen, "--config", config]].concat();
    volume_daemon(&all).spawn().expect("it runs")
}

fn empty_config() -> tempfile::NamedTempFile {
    tempfile::NamedTempFile::new().expect("a file")
}

fn ended(child: Child) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("it ends");
    assert_eq!(status.signal(), None);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn help_and_usage_have_their_exit_codes() {
    for (arguments, code) in [
        (&["--help"] as &[&str], 0),
        (&["--version"], 0),
        (&["help", "plan"], 0),
        (&[], 3),
        (&["plna"], 3),
        (&["wait", "volume/a", "--for=redy"], 3),
        (&["plan", "--config", "/nonexistent/config.toml"], 3),
    ] {
        let child = volume_daemon(arguments).spawn().expect("it runs");
        let (ended, out, err) = ended(child);
        assert_eq!(ended, Some(code), "{arguments:?}: {out}{err}");
        assert_eq!(out.is_empty(), code != 0, "{arguments:?}: {out}");
        assert_eq!(err.is_empty(), code == 0, "{arguments:?}: {err}");
    }
}

#[test]
fn an_answer_has_no_colours_in_a_pipe() {
    let config = empty_config();
    let path = config.path().to_str().expect("UTF-8");
    for (color, colourful) in [("auto", false), ("never", false), ("always", true)] {
        let (listener, address) = listener();
        let child = start(address, path, &["get", "sources", "--color", color]);
        answer(asked(&listener));
        let (code, out, err) = ended(child);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert_eq!(out.contains('\x1b'), colourful, "{color}: {out:?}");
    }
}

#[test]
fn ctrl_c_ends_it_at_once_while_it_waits() {
    let config = empty_config();
    let (listener, address) = listener();
    let path = config.path().to_str().expect("UTF-8");
    let mut child = start(address, path, &["wait", "volume/a", "--for=Ready"]);
    answer(asked(&listener));
    // It has looked once, and says so.
    let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert_eq!(line, "volume/a: not declared\n");
    interrupt(&child);
    assert_eq!(ended(child).0, Some(130));
}

#[test]
fn ctrl_c_ends_it_at_once_while_the_daemon_is_silent() {
    let config = empty_config();
    let (listener, address) = listener();
    let path = config.path().to_str().expect("UTF-8");
    let child = start(address, path, &["plan"]);
    let _silent = asked(&listener);
    interrupt(&child);
    let (code, out, err) = ended(child);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(130), "", ""));
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, Signal::SIGINT).expect("it is there");
}

#[test]
fn an_answer_that_nobody_reads_ends_quietly() {
    let config = empty_config();
    let (listener, address) = listener();
    let path = config.path().to_str().expect("UTF-8");
    let mut child = start(address, path, &["plan", "-o", "json"]);
    let stream = asked(&listener);
    drop(child.stdout.take());
    answer(stream);
    let (code, _, err) = ended(child);
    assert_eq!((code, err.as_str()), (Some(141), ""));
}

/// Runs the program on this store, as this VM, and returns how it ended.
fn on_store(
    store: &std::path::Path,
    vm: &str,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let config = empty_config();
    let url = format!("--set=store.url=sqlite://{}", store.display());
    let vm = format!("--set=host.vm_id={vm}");
    let config = config.path().to_str().expect("UTF-8");
    let all = [arguments, &[&url, &vm, "--config", config]].concat();
    ended(volume_daemon(&all).spawn().expect("it runs"))
}

#[test]
fn a_store_is_taken_over_only_from_the_vm_it_belongs_to() {
    const OLD: &str = "0f8a2c1e-5d34-4b7a-9c1d-2e6f7a8b9c0d";
    const NEW: &str = "1f8a2c1e-5d34-4b7a-9c1d-2e6f7a8b9c0d";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let url = format!("sqlite://{}", path.display());
        let url = volume_daemon::store::Location::local(&url).expect("a file");
        let clock = std::sync::Arc::new(volume_daemon::clock::SystemClock);
        let store = volume_daemon::store::Store::open(&url, clock).await;
        let store = store.expect("a new store");
        let old = OLD.parse().expect("an id");
        store
            .set_vm(old)
            .await
            .expect("written")
            .expect("it was nobody's");
        store.close().await;
    });
    let (code, out, _) = on_store(&path, OLD, &["take-over"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("belongs to this VM"), "{out}");
    let (code, out, _) = on_store(&path, NEW, &["take-over"]);
    assert_eq!(code, Some(2));
    assert!(out.contains(&format!("take-over --from {OLD}")), "{out}");
    let (code, _, err) = on_store(&path, NEW, &["take-over", "--from", NEW]);
    assert_eq!(code, Some(3));
    assert!(
        err.contains(&format!("belongs to VM {OLD}, not to {NEW}")),
        "{err}"
    );
    let (code, _, err) = on_store(&path, NEW, &["take-over", "--from", OLD]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, _) = on_store(&path, NEW, &["take-over"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("belongs to this VM"), "{out}");
    let (code, _, _) = on_store(&path, OLD, &["take-over"]);
    assert_eq!(code, Some(2), "the old VM is the stranger now");
}

#[test]
fn a_daemon_that_is_not_up_yet_is_waited_for() {
    let (listener, address) = listener();
    let config = empty_config();
    drop(listener);
    let wait = ["wait", "volume/a", "--for=Ready", "--timeout=0s"];
    let (code, _, err) = ended(start(
        address,
        config.path().to_str().expect("UTF-8"),
        &wait,
    ));
    assert_eq!(code, Some(1), "{err}");
    let wait = ["wait", "volume/a", "--for=Ready", "--timeout=2m"];
    let mut child = start(address, config.path().to_str().expect("UTF-8"), &wait);
    let mut err = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    err.read_line(&mut line).expect("what it waits for");
    assert!(line.contains("trying again"), "{line}");
    let listener = TcpListener::bind(address).expect("the port is free again");
    answer(asked(&listener));
    line.clear();
    err.read_line(&mut line).expect("what it waits for now");
    assert!(line.contains("volume/a"), "{line}");
    interrupt(&child);
    child.wait().expect("it ends");
}

#[test]
fn a_watch_survives_a_daemon_that_goes_away_and_ends_with_ctrl_c() {
    let config = empty_config();
    let path = config.path().to_str().expect("UTF-8");
    let (listener, address) = listener();
    let watch = ["get", "sources", "--watch", "-o", "json"];
    let mut child = start(address, path, &watch);
    answer(asked(&listener));
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    let event: serde_json::Value = serde_json::from_str(&line).expect("one document");
    assert_eq!(
        (&event["change"], &event["object"]["name"]),
        (&"Added".into(), &"cloudstack".into())
    );
    drop(listener);
    line.clear();
    err.read_line(&mut line).expect("a line");
    assert_eq!(line, format!("no daemon at {address}; trying again\n"));
    let listener = TcpListener::bind(address).expect("the port is free again");
    // The first answer says what was known before.
    answer(asked(&listener));
    answer_with(asked(&listener), false);
    line.clear();
    out.read_line(&mut line).expect("a line");
    let event: serde_json::Value = serde_json::from_str(&line).expect("one document");
    assert_eq!(
        (&event["change"], &event["object"]["ok"]),
        (&"Changed".into(), &false.into())
    );
    interrupt(&child);
    let mut rest = String::new();
    err.read_to_string(&mut rest).expect("UTF-8");
    assert_eq!((ended(child).0, rest.as_str()), (Some(130), ""));
}
