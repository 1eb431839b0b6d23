//! A client of somebody else is recorded, the recording is replayed, and the simulator held
//! against it: through the binary, as its users do it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use volume_daemon::sim::recording::{Exchange, load};
use volume_daemon::sim::world::{ADMIN_API_KEY, ADMIN_SECRET_KEY};

use super::clients::{python, simulator};

/// What is recorded: volumes from create to delete, tags, filters, jobs, refusals.
const RECORDED: [&str; 6] = [
    "test_cs.Cs.test_a_volume_lives_and_dies",
    "test_cs.Cs.test_a_job_is_waited_for",
    "test_cs.Cs.test_lists_are_filtered",
    "test_cs.Cs.test_tags_are_set_once",
    "test_cs.Cs.test_who_is_not_known_is_refused",
    "test_cs.Cs.test_both_styles_of_signature_and_both_methods",
];

/// Longest that a program may take to say that it runs, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// As everywhere, but awaited, and ended with its test.
fn volume_daemon(arguments: &[&str]) -> Command {
    let mut command = Command::from(crate::program::volume_daemon(arguments));
    command.stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// Starts what prints its endpoint and then serves.
async fn started(arguments: &[&str]) -> (Child, String) {
    let mut child = volume_daemon(arguments).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let line = line.expect("in time").expect("readable").expect("a line");
    let started: Value = serde_json::from_str(&line).expect("JSON");
    let endpoint = started["endpoint"].as_str().expect("text").to_owned();
    (child, endpoint)
}

async fn stopped(mut child: Child) {
    let pid = i32::try_from(child.id().expect("it runs")).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is ours");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    assert!(ended.expect("in time").expect("waited for").success());
}

/// What `sim conform` says of a directory: its exit status and its report.
async fn conform(directory: &Path) -> (i32, Value) {
    let directory = directory.to_str().expect("UTF-8");
    let mut command = volume_daemon(&["sim", "conform", directory, "-o", "json"]);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.expect("in time").expect("it starts");
    let report = serde_json::from_slice(&output.stdout).expect("a report");
    (output.status.code().expect("it ended by itself"), report)
}

fn rewrite(directory: &Path, exchange: &Exchange) {
    let name = format!("{:06}-{}.json", exchange.sequence, exchange.command);
    let text = serde_json::to_vec_pretty(exchange).expect("JSON");
    std::fs::write(directory.join(name), text).expect("writable");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cs_sees_is_recorded_replayed_and_found_the_same() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("recording");
    let out = directory.to_str().expect("UTF-8");
    let sim = simulator().await;
    let (recorder, endpoint) =
        started(&["record", "--upstream", &sim.endpoint(), "--out", out]).await;
    python(&RECORDED, &endpoint, &sim).await;
    stopped(recorder).await;
    sim.shutdown().await.expect("it ends");

    let exchanges = load(&directory).expect("exchanges");
    assert!(exchanges.len() > 60, "{}", exchanges.len());
    for entry in std::fs::read_dir(&directory).expect("there") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("text");
        for secret in [ADMIN_API_KEY, ADMIN_SECRET_KEY, "\"signature\":", "apiKey"] {
            assert!(!text.contains(secret), "{secret} is written: {text}");
        }
    }

    let (status, report) = conform(&directory).await;
    assert_eq!((status, &report["differing"]), (0, &Value::Array(vec![])));
    assert_eq!(report["skipped"], Value::Array(vec![]));

    // One field of one exchange is changed: exactly that is found.
    let attached = |exchange: &&Exchange| {
        exchange.body["queryasyncjobresultresponse"]["jobresult"]["volume"]["deviceid"].is_u64()
    };
    let mut changed = exchanges.iter().find(attached).expect("an attach").clone();
    let volume = &mut changed.body["queryasyncjobresultresponse"]["jobresult"]["volume"];
    volume["deviceid"] = 7.into();
    rewrite(&directory, &changed);
    let (status, report) = conform(&directory).await;
    assert_eq!(status, 2);
    let differing = report["differing"].as_array().expect("a list");
    assert_eq!(differing.len(), 1, "{report:#}");
    assert_eq!(differing[0]["sequence"], changed.sequence);
    let differences = differing[0]["differences"].as_array().expect("a list");
    let path = "queryasyncjobresultresponse.jobresult.volume.deviceid";
    assert_eq!(differences.len(), 1, "{report:#}");
    assert_eq!(differences[0]["path"], path);
    assert_eq!(differences[0]["recorded"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_answers_in_place_of_its_cloudstack() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("recording");
    let out = directory.to_str().expect("UTF-8");
    let sim = simulator().await;
    let (recorder, endpoint) =
        started(&["record", "--upstream", &sim.endpoint(), "--out", out]).await;
    let tests = ["test_cs.Cs.test_it_tells_what_it_can_do"];
    python(&tests, &endpoint, &sim).await;
    stopped(recorder).await;
    let (replay, endpoint) = started(&["sim", "--replay", out]).await;
    python(&tests, &endpoint, &sim).await;
    stopped(replay).await;
    sim.shutdown().await.expect("it ends");
    // A second recording never mixes with the first.
    let mut again = volume_daemon(&["record", "--upstream", "http://127.0.0.1:9", "--out", out]);
    let ended = tokio::time::timeout(PATIENCE, again.status()).await;
    assert!(!ended.expect("in time").expect("it starts").success());
}
