use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};

use super::super::fixture::{
    self, blocked, daemon, nobody, progressing, ready, released, report, serve_tcp,
};
use super::*;
use crate::clock::SystemClock;
use crate::config::Address;

fn args(targets: &[&str], goal: &str, timeout: &str) -> Args {
    Args {
        targets: targets
            .iter()
            .map(|target| target.parse().expect("a target"))
            .collect(),
        goal: goal.parse().expect("a goal"),
        timeout: super::timeout(timeout).expect("a time span"),
    }
}

#[test]
fn goals_are_read_in_any_case_and_refused_with_what_would_do() {
    let condition = |kind: &str, status| Goal::Condition(kind.to_owned(), status);
    for (text, goal) in [
        ("Ready", Goal::Phase(Phase::Ready)),
        ("released", Goal::Phase(Phase::Released)),
        ("phase=Blocked", Goal::Phase(Phase::Blocked)),
        ("phase=waiting", Goal::Phase(Phase::Waiting)),
        ("condition=Exported", condition("Exported", Truth::True)),
        (
            "condition=Blocked=false",
            condition("Blocked", Truth::False),
        ),
        (
            "condition=Ready=Unknown",
            condition("Ready", Truth::Unknown),
        ),
    ] {
        assert_eq!(text.parse(), Ok(goal), "{text}");
    }
    for (text, says) in [
        (
            "",
            "expected Ready, Released, phase=PHASE or condition=TYPE[=STATUS]",
        ),
        ("redy", "expected Ready"),
        ("Blocked", "write phase=Blocked"),
        ("phase=redy", "expected one of Ready, Progressing"),
        ("condition=", "expected a condition such as"),
        ("condition=a b", "expected a condition such as"),
        ("condition=Ready=yes", "expected True, False or Unknown"),
        ("jsonpath=x", "expected phase=PHASE"),
    ] {
        let error = text.parse::<Goal>().expect_err(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn targets_are_volumes() {
    let pg = Target("pg".parse().expect("a name"));
    for text in ["volume/pg", "volumes/pg", "pg"] {
        assert_eq!(text.parse(), Ok(pg.clone()), "{text}");
    }
    for (text, says) in [
        ("vm/pg", "expected a volume"),
        ("volume/", "1-63 characters"),
        ("volume/PG", "1-63 characters"),
    ] {
        let error = text.parse::<Target>().expect_err(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn all_must_be_as_needed_at_the_same_time() {
    let mut watch = Watch::new(&args(&["a", "b"], "Ready", "1s"));
    let mut look = |volumes: [VolumeStatus; 2]| watch.look(&report(volumes)).expect("known");
    assert!(!look([progressing("a"), ready("b")]));
    assert!(!look([ready("a"), progressing("b")]));
    assert!(look([ready("a"), ready("b")]));
}

#[test]
fn a_spec_that_was_never_there_is_not_released() {
    let mut watch = Watch::new(&args(&["pg"], "Released", "1s"));
    let mut look = |report: &Report| watch.look(report).expect("known");
    assert!(!look(&report([])), "perhaps misspelt");
    assert!(!look(&report([ready("pg")])));
    assert!(look(&report([released("pg")])));
    assert!(look(&report([])), "was there, is gone");
    let late = Watch {
        known: vec!["pg-1".parse().expect("a name")],
        ..Watch::new(&args(&["pg-2"], "Released", "1s"))
    };
    let late = late.late(Duration::from_secs(1));
    assert_eq!(late.hint.as_deref(), Some("did you mean pg-1?"));
}

#[test]
fn conditions_are_compared_by_type_and_status() {
    let met = |goal: &str| is_met(&goal.parse().expect("a goal"), &blocked("pg"));
    assert!(met("condition=ready=False").expect("known"));
    assert!(!met("condition=Ready").expect("known"));
    let unknown = met("condition=Redy").expect_err("no such condition");
    assert_eq!(unknown.exit, Exit::Invalid);
    assert_eq!(unknown.to_string(), "volume/pg has no condition Redy");
    assert_eq!(unknown.hint.as_deref(), Some("it has Ready"));
}

/// Runs `wait`; returns how it ended, what it answered, and what it said meanwhile.
async fn waited(address: Address, args: &Args, live: bool) -> (Exit, String, String) {
    let mut config = Config::default();
    config.api.listen = address;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut io = Io {
        out: &mut out,
        err: &mut err,
        live,
    };
    let exit = match run(args, &config, &SystemClock, &mut io).await {
        Ok(exit) => exit,
        Err(error) => super::super::fail(&error, io.err),
    };
    let text = |bytes| fixture::plain(&String::from_utf8(bytes).expect("UTF-8"));
    (exit, text(out), text(err))
}

#[tokio::test]
async fn it_returns_at_once_if_nothing_is_to_be_waited_for() {
    let address = serve_tcp(daemon(vec![report([ready("a"), ready("b")])])).await;
    let waited = waited(address, &args(&["a", "b"], "Ready", "0s"), false).await;
    let answer = "volume/a: Ready\nvolume/b: Ready\n".to_owned();
    assert_eq!(waited, (Exit::Fine, answer, String::new()));
}

#[tokio::test]
async fn each_change_is_one_line_until_it_comes_true() {
    let reports = vec![
        report([]),
        report([progressing("a")]),
        report([progressing("a")]),
        report([ready("a")]),
    ];
    let address = serve_tcp(daemon(reports)).await;
    let waited = waited(address, &args(&["a"], "Ready", "1m"), false).await;
    let said = "\
volume/a: not declared
volume/a: Progressing: next: attach the volume to VM pg
";
    let answer = "volume/a: Ready\n".to_owned();
    assert_eq!(waited, (Exit::Fine, answer, said.to_owned()));
}

#[tokio::test]
async fn a_terminal_gets_one_line_that_is_gone_at_the_end() {
    let address = serve_tcp(daemon(vec![report([blocked("a")]), report([ready("a")])])).await;
    let (exit, answer, said) = waited(address, &args(&["a"], "Ready", "1m"), true).await;
    assert_eq!((exit, answer.as_str()), (Exit::Fine, "volume/a: Ready\n"));
    assert!(!said.contains('\n'), "{said:?}");
    assert!(
        said.starts_with("\r0s  volume/a: Blocked: attached"),
        "{said:?}"
    );
    assert!(
        said.split('\r').all(|line| line.len() <= LINE_MAX),
        "{said:?}"
    );
    assert!(said.ends_with(&format!("\r{:LINE_MAX$}\r", "")), "{said:?}");
}

#[tokio::test]
async fn too_late_says_the_last_state() {
    let address = serve_tcp(daemon(vec![report([blocked("a"), ready("b")])])).await;
    let (exit, answer, said) = waited(address, &args(&["a", "b"], "Ready", "0s"), false).await;
    assert_eq!((exit, answer.as_str()), (Exit::TimedOut, ""));
    let expected = "\
volume/a: Blocked: attached to VM x; detach it there
error: timed out after 0s waiting for Ready; volume/a: Blocked: attached to VM x; detach it there
hint: volume-daemon describe volume a
";
    assert_eq!(said, expected);
}

#[tokio::test]
async fn no_daemon_until_the_end_is_an_error() {
    let (exit, answer, said) = waited(nobody().await, &args(&["a"], "Ready", "0s"), false).await;
    assert_eq!((exit, answer.as_str()), (Exit::Error, ""));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].ends_with("; trying again"), "{said}");
    assert!(
        lines[1].starts_with("error: no daemon at 127.0.0.1:"),
        "{said}"
    );
    assert!(
        lines[2].starts_with("hint: start it with systemctl"),
        "{said}"
    );
}

#[tokio::test]
async fn a_daemon_that_restarts_is_waited_for() {
    let reports = Arc::new(AtomicUsize::new(0));
    let status = move || {
        let at = reports.fetch_add(1, Ordering::Relaxed);
        async move {
            match at {
                0 => Ok(Json(report([progressing("a")]))),
                1 => Err(StatusCode::SERVICE_UNAVAILABLE),
                _ => Ok(Json(report([ready("a")]))),
            }
        }
    };
    let router = Router::new().route("/api/v1/status", get(status));
    let address = serve_tcp(router).await;
    let (exit, _, said) = waited(address, &args(&["a"], "Ready", "1m"), false).await;
    assert_eq!(exit, Exit::Fine);
    assert!(said.contains("503"), "{said}");
    assert!(said.contains("; trying again\n"), "{said}");
}

#[test]
fn time_spans_are_read_as_in_the_settings() {
    assert_eq!(super::timeout("1h30m"), Ok(Duration::from_secs(5400)));
    for bad in ["", "5", "-1s", "soon"] {
        assert!(super::timeout(bad).is_err(), "{bad}");
    }
}
