//! The simulator as a program: its files, and the commands for one that runs.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Output};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::program::volume_daemon;

/// What a command that must fail says.
fn refused(arguments: &[&str]) -> String {
    let output = volume_daemon(arguments).output().expect("it runs");
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// A simulator that runs on an explicit clock.
struct Sim {
    process: Child,
    started: Value,
}

impl Sim {
    fn start(arguments: &[&str]) -> Self {
        let all = [&["sim", "--explicit-clock"], arguments].concat();
        let mut process = volume_daemon(&all).spawn().expect("it runs");
        let mut line = String::new();
        let out = process.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let started = serde_json::from_str(&line).expect(&line);
        Self { process, started }
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let control = self.started["control"].as_str().expect("a URL");
        volume_daemon(&[&["sim"], arguments].concat())
            .env("VOLUME_DAEMON_SIM_CONTROL", control)
            .output()
            .expect("it runs")
    }

    /// What a command prints, as JSON.
    fn says(&self, arguments: &[&str]) -> Value {
        let output = self.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// What is wrong with a command.
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    /// Ends it as a service manager does.
    fn end(mut self) {
        let id = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("it runs");
        assert!(self.process.wait().expect("an end").success());
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn names(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().expect("a list");
    rows.iter().filter_map(|row| row["name"].as_str()).collect()
}

#[test]
fn a_person_needs_no_curl() {
    let sim = Sim::start(&[]);
    assert_eq!(sim.started.get("accounts"), None, "there is one");
    let done = sim.says(&["op", "{op: stopVm, vm: appliance}"]);
    assert!(done["job"].is_string(), "{done}");
    let clock = sim.says(&["advance", "30s"]);
    assert_eq!(clock["now"], "2026-01-01T00:00:30+0000");
    let world = sim.says(&["dump"]);
    let vms = world["vms"].as_array().expect("VMs");
    let appliance = vms.iter().find(|vm| vm["name"] == "appliance");
    assert_eq!(appliance.expect("it")["state"], "Stopped");
    let armed = sim.says(&["fault", "add", "{kind: stuckJob, on: {count: all}}"]);
    assert_eq!(
        armed,
        json!([{"id": 1, "hits": 0, "remaining": "all", "kind": "stuckJob", "on": {"count": "all"}}])
    );
    assert_eq!(sim.says(&["fault", "list"]), armed);
    assert_eq!(sim.says(&["fault", "remove", "1"]), json!([]));
    let why = sim.refuses(&["fault", "remove", "1"]);
    assert!(why.contains("there is no fault 1"), "{why}");
    let why = sim.refuses(&["fault", "add", "{kind: stuckJb}"]);
    assert!(why.contains("1:8: unknown variant `stuckJb`"), "{why}");
    let why = sim.refuses(&["op", "{op: stopVm, vm: nobody}"]);
    assert!(why.contains("there is no nobody"), "{why}");
    sim.end();
}

#[test]
fn a_driver_of_a_hypervisor_decides_whether_a_vm_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("hypervisor.sock");
    let sim = Sim::start(&["--hypervisor", text(&socket), "--hypervisor-timeout", "5s"]);
    let mut driver = UnixStream::connect(&socket).expect("it listens");
    let patience = Some(Duration::from_secs(20));
    driver.set_read_timeout(patience).expect("a limit");
    let mut lines = BufReader::new(driver.try_clone().expect("the same")).lines();
    let mut told = || -> Value {
        let line = lines.next().expect("a line").expect("in time");
        serde_json::from_str(&line).expect(&line)
    };
    assert_eq!(told()["timeoutMs"], 5_000);
    assert_eq!(told()["do"], "state");
    writeln!(driver, r#"{{"id":1,"result":"done"}}"#).expect("writable");
    let state = |sim: &Sim| {
        let world = sim.says(&["dump"]);
        let vms = world["vms"].as_array().expect("VMs").clone();
        let vm = vms.into_iter().find(|vm| vm["name"] == "final-vm");
        vm.expect("it")["state"].clone()
    };
    let stop = ["op", "{op: stopVm, vm: final-vm}"];
    sim.says(&stop);
    sim.says(&["advance", "1s"]);
    assert_eq!(
        (&told()["do"], state(&sim)),
        (&json!("stop"), json!("Stopping"))
    );
    sim.says(&["advance", "5s"]);
    assert_eq!(state(&sim), "Running", "the driver said nothing in time");
    sim.says(&stop);
    sim.says(&["advance", "1s"]);
    assert_eq!(told()["id"], 3);
    // What is wrong is told after what was right, so the answer is in effect then.
    writeln!(driver, "{{\"id\":3,\"result\":\"done\"}}\n?").expect("writable");
    assert_eq!(told()["error"], "expected value");
    assert_eq!(state(&sim), "Stopped");
    sim.end();
    assert!(!socket.exists());
    let said = refused(&["sim", "--hypervisor-timeout", "5s"]);
    assert!(said.contains("--hypervisor <SOCKET>"), "{said}");
}

#[test]
fn a_command_that_finds_no_simulator_says_so() {
    let said = refused(&["sim", "dump", "--control", "http://127.0.0.1:1/control"]);
    assert!(
        said.contains("no simulator answers at http://127.0.0.1:1"),
        "{said}"
    );
    let said = refused(&["sim", "dump"]);
    assert!(said.contains("--control"), "{said}");
}

#[test]
fn worlds_and_faults_come_from_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let (world, faults) = (folder.path().join("w.yaml"), folder.path().join("f.yaml"));
    let printed = volume_daemon(&["sim", "world"]).output().expect("it runs");
    fs::write(&world, &printed.stdout).expect("written");
    let sim = Sim::start(&["--world", text(&world)]);
    let plain = Sim::start(&[]);
    assert_eq!(sim.says(&["dump"]), plain.says(&["dump"]));
    drop((sim, plain));
    fs::write(
        &world,
        "accounts:\n  - {name: a, apiKey: k, secretKey: s}\n  - {name: b, apiKey: l, secretKey: t}\n\
         volumes:\n  - {name: v, sizeGib: 1, attachedTo: appliance}\n",
    )
    .expect("written");
    fs::write(
        &faults,
        "faults:\n  - {kind: restart, at: 10s}\n  - kind: purgeJob\n",
    )
    .expect("written");
    let sim = Sim::start(&["--world", text(&world), "--faults", text(&faults)]);
    assert_eq!(sim.started["apiKey"], "k");
    assert_eq!(sim.started["accounts"][1]["secretKey"], "t");
    assert!(names(&sim.says(&["dump"])["volumes"]).contains(&"v"));
    assert_eq!(sim.says(&["fault", "list"])[0]["remaining"], 1);
    sim.says(&["advance", "10s"]);
    assert_eq!(sim.says(&["fault", "list"])[0]["remaining"], 0);
    fs::write(&faults, "faults:\n  - {kind: restart, att: 10s}\n").expect("written");
    let why = sim.refuses(&["run", "--faults", text(&faults)]);
    assert!(why.contains("f.yaml:2:21: unknown field `att`"), "{why}");
    // A mistake in a file is invalid input to scripts.
    let mut wrong = volume_daemon(&["sim", "run", "--faults", text(&faults)]);
    let exit = wrong.status().expect("it runs").code();
    assert_eq!(exit, Some(3));
}

#[test]
fn a_state_outlives_its_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state.json");
    let sim = Sim::start(&["--state", text(&state), "--seed", "5"]);
    sim.says(&["op", "{op: createVolume, name: kept, sizeGib: 1}"]);
    sim.says(&["op", "{op: stopVm, vm: appliance}"]);
    sim.says(&["fault", "add", "{kind: stuckJob}"]);
    sim.says(&["advance", "100ms"]);
    let (world, faults) = (sim.says(&["dump"]), sim.says(&["fault", "list"]));
    sim.end();
    let sim = Sim::start(&["--state", text(&state)]);
    assert_eq!(sim.says(&["dump"]), world);
    assert_eq!(sim.says(&["fault", "list"]), faults);
    sim.says(&["advance", "10s"]);
    assert_eq!(sim.says(&["dump"])["jobs"], json!([]));
    sim.end();
    let kept = fs::read_to_string(&state).expect("a state");
    let mut kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    kept["version"] = 99.into();
    fs::write(&state, kept.to_string()).expect("written");
    let said = refused(&["sim", "--state", text(&state)]);
    assert!(said.contains("version 99"), "{said}");
}

#[test]
fn a_snapshot_takes_a_simulator_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("snapshot.json");
    let sim = Sim::start(&["--vms", "3", "--volumes", "50"]);
    let before = sim.says(&["dump"]);
    assert_eq!(names(&before["vms"]).len(), 6);
    sim.says(&["snapshot", text(&file)]);
    let create = ["op", "{op: createVolume, name: new, sizeGib: 1}"];
    let made = sim.says(&create);
    sim.says(&["advance", "1h"]);
    assert_ne!(sim.says(&["dump"]), before);
    sim.says(&["restore", text(&file)]);
    assert_eq!(sim.says(&["dump"]), before);
    assert_eq!(sim.says(&create), made, "ids go on as they would have");
    fs::write(&file, "{}").expect("written");
    let why = sim.refuses(&["restore", text(&file)]);
    assert!(why.contains("not a state file"), "{why}");
    sim.end();
}
