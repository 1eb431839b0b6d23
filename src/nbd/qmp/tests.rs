use std::future::pending;

use tokio::net::UnixListener;

use super::super::chain;
use super::*;

const SOON: Duration = Duration::from_secs(10);
const GREETING: &str = r#"{"QMP":{"version":{},"capabilities":["oob"]}}"#;
const VERSION: &str = r#"{"qemu":{"micro":22,"minor":2,"major":7},"package":"Debian"}"#;

/// A server that follows a script: for each command, what it sends.
struct Script {
    _dir: tempfile::TempDir,
    qmp: Qmp,
    listener: UnixListener,
}

type Stream = BufReader<UnixStream>;

impl Script {
    fn new(timeout: Duration) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).expect("a new socket");
        Self {
            _dir: dir,
            qmp: Qmp::new(path, timeout),
            listener,
        }
    }

    async fn accept(&self) -> Stream {
        let (stream, _) = self.listener.accept().await.expect("a client");
        BufReader::new(stream)
    }

    /// Accepts and goes through everything up to readiness.
    async fn greet(&self) -> Stream {
        let mut stream = self.accept().await;
        say(&mut stream, GREETING).await;
        assert_eq!(hear(&mut stream).await["execute"], "qmp_capabilities");
        say(&mut stream, r#"{"return":{},"id":0}"#).await;
        assert_eq!(hear(&mut stream).await["execute"], "query-version");
        say(&mut stream, &format!(r#"{{"return":{VERSION},"id":1}}"#)).await;
        stream
    }
}

async fn say(stream: &mut Stream, line: &str) {
    let line = format!("{line}\r\n");
    stream
        .get_mut()
        .write_all(line.as_bytes())
        .await
        .expect("a client");
}

async fn hear(stream: &mut Stream) -> serde_json::Value {
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("a client");
    serde_json::from_str(&line).unwrap_or(serde_json::Value::Null)
}

async fn exports(session: &mut Session<'_>) -> Result<Vec<command::BlockExport>, QmpError> {
    session.execute(Command::QueryBlockExports).await
}

/// Runs client and server side by side, and gives what the client came to.
async fn run<T>(server: impl Future<Output = ()>, client: impl Future<Output = T>) -> T {
    let both = async { tokio::join!(server, client).1 };
    tokio::time::timeout(SOON, both)
        .await
        .expect("client and server get on")
}

#[tokio::test]
async fn replies_are_told_from_events_that_overtake_them() {
    let script = Script::new(SOON);
    let server = async {
        let mut stream = script.greet().await;
        hear(&mut stream).await;
        for line in [
            r#"{"event":"BLOCK_EXPORT_DELETED","data":{"id":"gone"},"timestamp":{}}"#,
            r#"{"event":"SHUTDOWN","timestamp":{}}"#,
            r#"{"return":[{"node-name":"n","shutting-down":true,"type":"nbd","id":"e"}],"id":2}"#,
        ] {
            say(&mut stream, line).await;
        }
    };
    let client = async {
        let mut session = script.qmp.session().await.expect("a session");
        assert_eq!(session.server().expect("a peer").pid(), std::process::id());
        let exports = exports(&mut session).await.expect("a reply");
        assert_eq!(exports.len(), 1);
        assert!(exports[0].shutting_down);
        assert!(
            session.deleted("gone", SOON).await,
            "heard before the reply"
        );
    };
    run(server, client).await;
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_the_session_goes_on() {
    let script = Script::new(SOON);
    let server = async {
        let mut stream = script.greet().await;
        hear(&mut stream).await;
        say(
            &mut stream,
            r#"{"error":{"class":"GenericError","desc":"Node n is in use"},"id":2}"#,
        )
        .await;
        hear(&mut stream).await;
        say(&mut stream, r#"{"return":[],"id":3}"#).await;
    };
    let client = async {
        let mut session = script.qmp.session().await.expect("a session");
        let refused = session
            .execute::<command::Done>(Command::BlockdevDel { node_name: "n" })
            .await
            .expect_err("a refusal");
        assert!(matches!(&refused, QmpError::Refused { text, .. } if text == "Node n is in use"));
        assert_eq!(exports(&mut session).await.expect("a reply"), []);
    };
    run(server, client).await;
}

#[tokio::test]
async fn whatever_is_not_a_reply_ends_the_connection() {
    for (case, line) in [
        ("no JSON", "hello"),
        ("no message", r#"{"hello":1}"#),
        ("another id", r#"{"return":[],"id":1}"#),
        (
            "no id",
            r#"{"error":{"class":"GenericError","desc":"JSON parse error"}}"#,
        ),
        ("id of another type", r#"{"return":[],"id":"2"}"#),
        ("a second greeting", GREETING),
    ] {
        let script = Script::new(SOON);
        let server = async {
            let mut stream = script.greet().await;
            hear(&mut stream).await;
            say(&mut stream, line).await;
            // The next session is a new connection.
            script.greet().await;
        };
        let client = async {
            let mut session = script.qmp.session().await.expect("a session");
            let error = exports(&mut session).await.expect_err(case);
            assert!(matches!(error, QmpError::Lost { .. }), "{case}: {error:?}");
            let again = exports(&mut session).await.expect_err(case);
            assert!(matches!(again, QmpError::Lost { .. }), "{case}: {again:?}");
            drop(session);
            script.qmp.session().await.expect(case);
        };
        run(server, client).await;
    }
}

#[tokio::test]
async fn an_answer_of_another_shape_is_an_error_that_says_where() {
    let script = Script::new(SOON);
    let server = async {
        let mut stream = script.greet().await;
        hear(&mut stream).await;
        say(&mut stream, r#"{"return":[{"id":"e"}],"id":2}"#).await;
    };
    let client = async {
        let mut session = script.qmp.session().await.expect("a session");
        let error = exports(&mut session).await.expect_err("no node-name");
        let text = chain(&error);
        assert!(text.contains("query-block-exports"), "{text}");
        assert!(text.contains("node-name"), "{text}");
    };
    run(server, client).await;
}

#[tokio::test]
async fn a_command_without_an_answer_is_given_up() {
    let script = Script::new(Duration::from_millis(50));
    let server = async {
        let mut first = script.greet().await;
        hear(&mut first).await;
        // The reply to the old command must not be taken for one to a new command.
        let mut second = script.greet().await;
        let _ = first.get_mut().try_write(b"{\"return\":[],\"id\":2}\n");
        hear(&mut second).await;
        say(&mut second, r#"{"return":[],"id":2}"#).await;
    };
    let client = async {
        let mut session = script.qmp.session().await.expect("a session");
        let error = exports(&mut session).await.expect_err("silence");
        assert!(matches!(error, QmpError::Timeout { .. }), "{error:?}");
        drop(session);
        let mut session = script.qmp.session().await.expect("a new connection");
        assert_eq!(exports(&mut session).await.expect("a reply"), []);
    };
    run(server, client).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_half_way_does_not_leave_its_reply_to_the_next() {
    let script = Script::new(SOON);
    let server = async {
        let mut first = script.greet().await;
        hear(&mut first).await;
        script.greet().await;
    };
    let client = async {
        let mut session = script.qmp.session().await.expect("a session");
        let call = exports(&mut session);
        let dropped = tokio::time::timeout(Duration::from_millis(20), call).await;
        assert!(dropped.is_err(), "the server is silent");
        drop(session);
        script.qmp.session().await.expect("a new connection");
    };
    run(server, client).await;
}

#[tokio::test]
async fn accepting_is_not_being_ready() {
    for (case, greeting) in [
        ("silent", None),
        ("not QMP", Some("220 smtp ready")),
        ("an event", Some(r#"{"event":"SHUTDOWN"}"#)),
    ] {
        let script = Script::new(Duration::from_millis(50));
        let server = async {
            let mut stream = script.accept().await;
            if let Some(line) = greeting {
                say(&mut stream, line).await;
            }
            hear(&mut stream).await;
        };
        let client = async {
            let error = script.qmp.session().await.expect_err(case);
            assert!(
                matches!(error, QmpError::NoGreeting { .. }),
                "{case}: {error:?}"
            );
        };
        run(server, client).await;
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_that_says_what_to_check() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let qmp = Qmp::new(dir.path().join("qmp.sock"), SOON);
    let error = qmp.session().await.expect_err("nobody listens");
    assert!(chain(&error).contains("check that qemu-storage-daemon runs"));
}

#[tokio::test]
async fn the_end_of_the_server_is_told_once_even_while_idle() {
    let script = Script::new(SOON);
    let server = async {
        let mut stream = script.greet().await;
        // Events that nobody reads must not hide the end.
        for _ in 0..2 * MESSAGES_MAX {
            say(&mut stream, r#"{"event":"JOB_STATUS_CHANGE","data":{}}"#).await;
        }
    };
    let client = async {
        drop(script.qmp.session().await.expect("a session"));
        script.qmp.lost().await;
    };
    run(server, client).await;
    let again = tokio::time::timeout(Duration::from_millis(20), script.qmp.lost()).await;
    assert!(again.is_err(), "told once");
}

#[tokio::test]
async fn a_line_without_end_is_not_read_for_ever() {
    let (mut writer, reader) = tokio::io::duplex(64 << 10);
    let (sender, mut messages) = mpsc::channel(1);
    let flood = async {
        let chunk = vec![b'x'; 64 << 10];
        while writer.write_all(&chunk).await.is_ok() {}
        pending::<()>().await;
    };
    let read = async {
        let mut reader = BufReader::new(reader);
        read_messages(&mut reader, &sender).await;
    };
    tokio::select! {
        () = flood => {}
        ended = tokio::time::timeout(SOON, read) => ended.expect("a limit"),
    }
    assert!(messages.try_recv().is_err());
}
