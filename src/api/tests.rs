use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::act::fake::{FakeCloud, FakeNbd, hands};
use crate::model::memory::Memory;
use crate::model::{InstanceId, Now, Observed};
use crate::nbd::Withdrawn;
use crate::plan::{Guard, Plan, Policy};
use crate::reconcile::run::Health;
use crate::reconcile::{Situation, Transitions, write};

/// Status, content type and body of one answer.
struct Answer {
    status: u16,
    kind: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

async fn get(socket: &Path, path: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answered");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let kind = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type")
            .then(|| value.to_owned())
    });
    Answer {
        status: head
            .split(' ')
            .nth(1)
            .expect("a status")
            .parse()
            .expect("a number"),
        kind: kind.unwrap_or_default(),
        body: body.to_owned(),
    }
}

/// Answers what the loop would, with this health; `None` for a loop that has gone.
fn answer_questions(mut questions: mpsc::Receiver<Question>, health: Option<Health>) {
    let Some(health) = health else { return };
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            match question {
                Question::Report(to) => drop(to.send(empty_report())),
                Question::Health(to) => drop(to.send(health.clone())),
                Question::Frozen(to) => drop(to.send(None)),
                Question::Served(to) => drop(to.send(Observed::default().nbd)),
                Question::Sights(..)
                | Question::Resync
                | Question::Pause(..)
                | Question::Approve(_) => {}
            }
        }
    });
}

fn empty_report() -> crate::reconcile::report::Report {
    let memory = Memory::new(InstanceId::new(uuid::Uuid::from_u128(1)));
    let core = crate::reconcile::Core::new(
        memory,
        Policy::default(),
        crate::reconcile::Pace::default(),
        1,
    );
    let plan = Plan {
        volumes: std::collections::BTreeMap::new(),
        guard: Guard::default(),
    };
    let now: Now = crate::act::fake::NOW;
    let mut transitions = Transitions::default();
    let situation = Situation {
        world: core.world(),
        plan: &plan,
        policy: core.policy(),
        files: core.files(),
        store_down: None,
    };
    write(situation, &mut transitions, now)
}

/// Asks an API for `paths`, over a unix socket.
async fn ask_all(health: Option<Health>, paths: &[&str]) -> Vec<Answer> {
    let root = tempfile::tempdir().expect("a directory");
    let cloud = FakeCloud::answering(200, &serde_json::json!({}));
    let hands = Arc::new(hands(cloud, FakeNbd::new(Withdrawn::Gone), root.path()).await);
    let socket = root.path().join("api.sock");
    let listener = Listener::bind(&Address::Unix(socket.clone()))
        .await
        .expect("a socket");
    let (to, questions) = mpsc::channel(4);
    answer_questions(questions, health);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, to, mpsc::channel(1).0, hands, stop.clone()));
    let mut answers = Vec::new();
    for path in paths {
        answers.push(get(&socket, path).await);
    }
    stop.cancel();
    serving.await.expect("no panic").expect("served to the end");
    answers
}

#[tokio::test]
async fn a_loop_that_can_do_its_work_is_alive_and_ready() {
    let answers = ask_all(Some(Health::default()), &["/livez", "/readyz"]).await;
    for answer in answers {
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    }
}

#[tokio::test]
async fn what_is_missing_is_said_and_is_no_reason_to_restart() {
    let health = Health {
        missing: vec!["store: disk full".to_owned(), "host: EIO".to_owned()],
    };
    let answers = ask_all(Some(health), &["/livez", "/readyz"]).await;
    assert_eq!(answers[0].status, 200);
    assert_eq!(answers[1].status, 503);
    assert_eq!(answers[1].kind, "application/problem+json");
    assert_eq!(answers[1].json()["detail"], "store: disk full; host: EIO");
}

#[tokio::test]
async fn a_loop_that_has_gone_is_not_alive() {
    for answer in ask_all(None, &["/livez", "/readyz", "/api/v1/status"]).await {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["error"], "the daemon is stopping");
    }
}

#[tokio::test]
async fn the_status_is_a_report_and_the_journal_is_shown() {
    let answers = ask_all(
        Some(Health::default()),
        &[
            "/api/v1/status",
            "/api/v1/intents?open=true&limit=5",
            "/api/v1/episodes?since=2026-11-21T09:00:00Z&limit=5",
            "/api/v1/history?name=a",
            "/api/v1/episodes?since=yesterday",
            "/api/v1/history",
        ],
    )
    .await;
    assert_eq!(answers[0].status, 200);
    assert_eq!(answers[0].kind, "application/json");
    let told: crate::reconcile::report::Report =
        serde_json::from_str(&answers[0].body).expect("a report");
    assert_eq!(told, empty_report());
    for answer in &answers[1..4] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), serde_json::json!([]));
    }
    for answer in &answers[4..] {
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_with_the_old_member() {
    let answers = ask_all(Some(Health::default()), &["/nothing"]).await;
    let [answer] = answers.as_slice() else {
        panic!("one answer");
    };
    assert_eq!(answer.status, 404);
    assert_eq!(answer.kind, "application/problem+json");
    let body = answer.json();
    assert_eq!(body["status"], 404);
    assert_eq!(body["title"], "not found");
    assert_eq!(body["error"], body["detail"]);
    assert!(
        body["error"]
            .as_str()
            .is_some_and(|text| text.contains("/api/v1/status"))
    );
}

#[tokio::test]
async fn a_socket_is_taken_over_from_the_dead_only() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("api.sock");
    let address = Address::Unix(path.clone());
    let first = Listener::bind(&address).await.expect("free");
    let error = Listener::bind(&address).await.err().expect("in use");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    let _second = Listener::bind(&address)
        .await
        .expect("nobody listens any more");
    let mode = std::fs::metadata(&path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}
