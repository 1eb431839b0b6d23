//! `volume-daemon check` on a site with everything, before the first run and beside a daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::rig::{Rig, run};

/// Every file below `root`, with length and time of the last change.
fn files(root: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("it is there");
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            let changed = metadata.modified().expect("Linux tells");
            found.insert(path, (metadata.len(), changed));
        }
    }
    found
}

/// Runs the command; returns its exit code and its report.
pub async fn check(rig: &Rig) -> (Option<i32>, Value) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_volume-daemon"))
        .env_clear()
        .arg("--config")
        .arg(rig.path("config.toml"))
        .args(["check", "-o", "json"])
        .kill_on_drop(true)
        .output()
        .await
        .expect("it runs");
    let out = String::from_utf8(output.stdout).expect("UTF-8");
    let report = serde_json::from_str(&out).expect(&out);
    (output.status.code(), report)
}

/// What was found by one check.
pub fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("a list");
    let found = checks.iter().find(|check| check["check"] == name);
    found.expect(name)
}

/// Asserts that nothing is wrong with the site. What else is installed on the machine of the test, and
/// who runs it, may deserve a warning; so do the modes of the rig's keys.
pub fn all_is_well(code: Option<i32>, report: &Value) {
    assert_eq!(code, Some(0), "{report:#}");
    for check in report["checks"].as_array().expect("a list") {
        let expected: &[&str] = match check["check"].as_str().expect("a name") {
            "credentials" => &["warning"],
            "nbd-server" | "user" => &["ok", "warning"],
            // An address, on this machine, with a simulated host; and the socket is the daemon's.
            "dns" | "tls" | "udev" => &["skipped"],
            "nbd-control" => &["ok", "skipped"],
            _ => &["ok"],
        };
        let status = check["status"].as_str().expect("text");
        assert!(expected.contains(&status), "{check:#}");
    }
}

#[test]
fn before_the_first_run_all_is_well_and_nothing_is_left_behind() {
    run(async {
        let rig = Rig::new().await;
        for file in ["api_key", "secret_key"] {
            let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            fs::set_permissions(rig.path(file), readable).expect("ours");
        }
        let before = files(&rig.path("."));
        let (code, report) = check(&rig).await;
        all_is_well(code, &report);
        assert_eq!(report["status"], "warning");
        assert_eq!(finding(&report, "nbd-control")["status"], "ok");
        assert_eq!(files(&rig.path(".")), before);
        assert!(rig.tap.mutations().is_empty());
        rig.finish().await;
    });
}

#[test]
fn beside_a_daemon_and_after_it_nothing_is_disturbed() {
    run(async {
        let mut rig = Rig::serving(&["a"]).await;
        let client = rig.steady("a").await;
        let mutations = rig.tap.mutations();
        let (code, report) = check(&rig).await;
        all_is_well(code, &report);
        let said = |name: &str| finding(&report, name)["message"].to_string();
        assert_eq!(finding(&report, "nbd-control")["status"], "skipped");
        assert!(said("nbd-listen").contains("1 export"), "{report:#}");
        assert!(said("daemon").contains("runs (process "), "{report:#}");
        assert!(said("slots").contains("1 data disk attached"), "{report:#}");
        client.reads_on().await;
        client.leave().await;
        assert_eq!(rig.tap.mutations(), mutations);
        // A store that nobody has open, as after an update: SQLite would leave two files beside it.
        rig.terminate().await;
        let before = files(&rig.path("."));
        let (code, report) = check(&rig).await;
        all_is_well(code, &report);
        assert!(
            finding(&report, "store")["message"]
                .to_string()
                .contains("schema")
        );
        assert_eq!(files(&rig.path(".")), before);
        rig.finish().await;
    });
}
