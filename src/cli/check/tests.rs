//! How findings are shown.

use super::*;
use crate::cli::fixture;
use crate::model::Timestamp;

fn report() -> Report {
    let checks = vec![
        Finding::ok("config", "it is valid"),
        Finding::warning("credentials", "mode 0644\u{1b}[2J", "chmod 0600 x"),
        Finding::failed("api", "not accepted", "compare both keys"),
        Finding::skipped("zone", "needs api"),
    ];
    Report::new(Timestamp::from_millis(1_767_225_600_000), checks)
}

#[test]
fn the_worst_counts() {
    assert_eq!(report().status, Status::Failed);
    let of = |checks| Report::new(Timestamp::from_millis(0), checks).status;
    let (ok, skipped) = (Finding::ok("dns", ""), Finding::skipped("tls", ""));
    assert_eq!(of(vec![ok.clone(), skipped.clone()]), Status::Ok);
    let warning = Finding::warning("user", "", "");
    assert_eq!(of(vec![warning, ok, skipped]), Status::Warning);
}

#[test]
fn people_read_a_line_for_each_and_the_fix_below() {
    let text = fixture::plain(&text(&report()));
    let expected = [
        "Settings",
        "  config       ok       it is valid",
        // What others wrote does not reach the terminal as it is.
        "  credentials  warning  mode 0644 [2J",
        "                        fix: chmod 0600 x",
        "CloudStack",
        "  api          failed   not accepted",
        "                        fix: compare both keys",
        "  zone         skipped  needs api",
    ];
    assert!(text.starts_with(&expected.join("\n")), "{text}");
    assert!(
        text.ends_with("\n\n1 failed, 1 warning, 1 skipped, 1 ok\n"),
        "{text}"
    );
}

/// Monitoring reads it; `docs/check.md` describes it.
#[test]
fn programs_read_what_is_documented() {
    let json = serde_json::to_value(report()).expect("JSON");
    assert_eq!(json["status"], "failed");
    assert_eq!(json["at"], "2026-01-01T00:00:00Z");
    let counts = serde_json::json!({"ok": 1, "warning": 1, "failed": 1, "skipped": 1});
    assert_eq!(json["counts"], counts);
    let first = serde_json::json!({"check": "config", "status": "ok", "message": "it is valid"});
    assert_eq!(json["checks"][0], first);
    assert_eq!(json["checks"][2]["fix"], "compare both keys");
    let document = include_str!("../../../docs/check.md");
    for name in CHECKS.iter().flat_map(|(_, names)| names.iter()) {
        assert!(document.contains(&format!("\n| `{name}` |")), "{name}");
    }
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let all: usize = CHECKS.iter().map(|(_, names)| names.len()).sum();
    assert_eq!(rows.count(), all);
}

#[test]
fn what_takes_long_is_told_on_a_terminal_only() {
    for live in [true, false] {
        let mut err = Vec::new();
        let mut progress = Progress::new(&mut err, live);
        progress.show(&["dns", "store"]).expect("written");
        drop(progress);
        let told = String::from_utf8(err).expect("UTF-8");
        assert_eq!(told.contains("checking: dns, store ..."), live, "{told:?}");
        // Nothing stays on the screen.
        assert_eq!(told.ends_with(" \r"), live, "{told:?}");
    }
    let mut err = Vec::new();
    drop(Progress::new(&mut err, true));
    assert!(err.is_empty(), "nothing took long");
}
