//! A driver of a hypervisor, played by the test over the real socket.

use std::path::Path;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::*;

const WAIT_MS: u64 = 30_000;

/// A simulator whose jobs wait for a driver.
struct Driven {
    rig: Rig,
    socket: PathBuf,
    _folder: TempDir,
}

impl Driven {
    async fn new(clock: ClockMode) -> Self {
        let folder = TempDir::new().expect("a folder");
        let socket = folder.path().join("hypervisor.sock");
        let rig = Rig::start(config(clock, &socket)).await.expect("it starts");
        Self {
            rig,
            socket,
            _folder: folder,
        }
    }

    /// A driver that has answered its first lines.
    async fn driver(&self) -> Driver {
        let mut driver = Driver::connect(&self.socket).await;
        let state = driver.state().await;
        driver.done(&state).await;
        driver
    }

    async fn submit(&self, command: &str, params: &[(&str, &str)]) -> String {
        let answer = self.rig.call(command, params).await;
        self.rig.advance(1_000).await;
        answer["jobid"].as_str().expect("a job").to_owned()
    }

    async fn job(&self, id: &str) -> Value {
        self.rig.call("queryAsyncJobResult", &[("jobid", id)]).await
    }

    /// How a job ends whose order was answered.
    async fn ended(&self, id: &str) -> Value {
        for _ in 0..1_000 {
            self.rig.advance(10).await;
            let job = self.job(id).await;
            if job["jobstatus"] != 0 {
                return job;
            }
        }
        panic!("job {id} does not end");
    }

    /// Which orders are out and what VM `appliance` really has besides its root disk.
    async fn truth(&self) -> (Vec<String>, Vec<String>) {
        let (status, world) = self
            .rig
            .control(reqwest::Method::GET, "world", &Value::Null)
            .await;
        assert_eq!(status, 200);
        let texts = |list: &Value, key: &str| {
            let rows = list.as_array().into_iter().flatten();
            rows.map(|row| row[key].as_str().expect("a text").to_owned())
                .collect::<Vec<_>>()
        };
        let vms = world["vms"].as_array().expect("VMs");
        let vm = vms.iter().find(|vm| vm["name"] == "appliance");
        let mut disks = texts(&vm.expect("it")["guest"], "volume");
        disks.remove(0);
        (texts(&world["orders"], "do"), disks)
    }
}

fn config(clock: ClockMode, socket: &Path) -> SimConfig {
    SimConfig {
        settings: Settings {
            latencies: Latencies::all(5),
            ..Settings::default()
        },
        clock,
        host: None,
        hypervisor: Some(HypervisorConfig {
            socket: socket.to_owned(),
            wait_ms: WAIT_MS,
        }),
    }
}

struct Driver(BufReader<UnixStream>);

impl Driver {
    async fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.expect("it listens");
        Self(BufReader::new(stream))
    }

    /// The next line; `None` at the end.
    async fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        match read.expect("a line in time").expect("readable") {
            0 => None,
            _ => Some(serde_json::from_str(&line).expect("JSON")),
        }
    }

    /// The two lines that come first; the second.
    async fn state(&mut self) -> Value {
        let hello = self.line().await.expect("a greeting");
        let expected = json!({
            "hello": "volume-daemon-hypervisor", "version": 1, "timeoutMs": WAIT_MS,
        });
        assert_eq!(hello, expected);
        self.told("state").await
    }

    /// The next line, which must be this command.
    async fn told(&mut self, what: &str) -> Value {
        let line = self.line().await.expect("a command");
        assert_eq!(line["do"], what, "{line}");
        line
    }

    async fn write(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.0.write_all(line.as_bytes()).await.expect("writable");
    }

    async fn done(&mut self, command: &Value) {
        let answer = json!({"id": command["id"], "result": "done"});
        self.write(&answer.to_string()).await;
    }

    async fn failed(&mut self, command: &Value, text: &str) {
        let answer = json!({"id": command["id"], "result": "failed", "text": text});
        self.write(&answer.to_string()).await;
    }
}

#[tokio::test]
async fn jobs_do_what_the_hypervisor_does() {
    let sim = Driven::new(ClockMode::Explicit(START)).await;
    let mut driver = sim.driver().await;
    let (id, vm) = (sim.rig.create().await, sim.rig.vm("appliance").await);
    let attach = [("id", id.as_str()), ("virtualmachineid", vm.as_str())];
    let job = sim.submit("attachVolume", &attach).await;
    let plug = driver.told("plug").await;
    let disk = json!({
        "volume": id, "serial": id.replace('-', "")[..20], "bus": "virtio", "deviceId": 1,
        "size": 5_u64 << 30, "backing": id,
    });
    assert_eq!(
        (&plug["vm"], &plug["name"]),
        (&json!(vm), &json!("appliance"))
    );
    assert_eq!(plug["disk"], disk);
    assert_eq!(sim.job(&job).await["jobstatus"], 0);
    assert_eq!(sim.truth().await, (vec!["plug".to_owned()], vec![]));
    driver.done(&plug).await;
    assert_eq!(sim.ended(&job).await["jobstatus"], 1);
    assert_eq!(sim.truth().await, (vec![], vec![id.clone()]));

    let job = sim.submit("detachVolume", &[("id", &id)]).await;
    let unplug = driver.told("unplug").await;
    assert_eq!(unplug["disk"], disk);
    driver.failed(&unplug, "the guest keeps it").await;
    let job = sim.ended(&job).await;
    assert_eq!(job["jobresultcode"], 530, "{job}");
    let text = job["jobresult"]["errortext"].as_str().expect("a text");
    assert!(
        text.contains("Probably the VM does not support the sent detach command"),
        "{text}"
    );
    let row = &sim.rig.call("listVolumes", &[("id", &id)]).await["volume"][0];
    assert_eq!(row["vmname"], "appliance");
    assert_eq!(sim.truth().await, (vec![], vec![id.clone()]));

    let job = sim.submit("detachVolume", &[("id", &id)]).await;
    let unplug = driver.told("unplug").await;
    driver.done(&unplug).await;
    assert_eq!(sim.ended(&job).await["jobstatus"], 1);
    assert_eq!(sim.truth().await, (vec![], vec![]));
}

#[tokio::test]
async fn a_driver_that_comes_again_learns_everything() {
    let sim = Driven::new(ClockMode::Explicit(START)).await;
    let (id, vm) = (sim.rig.create().await, sim.rig.vm("appliance").await);
    let attach = [("id", id.as_str()), ("virtualmachineid", vm.as_str())];
    // Nobody is there yet.
    let job = sim.submit("attachVolume", &attach).await;
    let mut first = sim.driver().await;
    first.told("plug").await;
    drop(first);
    let mut second = sim.driver().await;
    let plug = second.told("plug").await;
    second.done(&plug).await;
    assert_eq!(sim.ended(&job).await["jobstatus"], 1);
    // While the second is still there.
    let mut third = Driver::connect(&sim.socket).await;
    let state = third.state().await;
    assert_eq!(second.line().await, None);
    let vms = state["vms"].as_array().expect("VMs");
    let names: Vec<&Value> = vms.iter().map(|vm| &vm["name"]).collect();
    assert_eq!(names, ["appliance", "final-vm"]);
    assert_eq!(vms[0]["disks"][0]["deviceId"], 0);
    assert_eq!(vms[0]["disks"][1]["volume"], id);
    assert_eq!(vms[1]["disks"].as_array().expect("disks").len(), 1);
}

#[tokio::test]
async fn a_driver_that_says_nothing_holds_a_job_up_for_a_time() {
    let sim = Driven::new(ClockMode::Explicit(START)).await;
    let mut driver = sim.driver().await;
    let (id, vm) = (sim.rig.create().await, sim.rig.vm("appliance").await);
    let attach = [("id", id.as_str()), ("virtualmachineid", vm.as_str())];
    let job = sim.submit("attachVolume", &attach).await;
    let plug = driver.told("plug").await;
    sim.rig.advance(WAIT_MS - 1_000).await;
    assert_eq!(sim.job(&job).await["jobstatus"], 0);
    sim.rig.advance(1_000).await;
    let job = sim.job(&job).await;
    let text = job["jobresult"]["errortext"].as_str().expect("a text");
    assert!(
        text.ends_with("the hypervisor did not answer within 30000 ms"),
        "{text}"
    );
    assert_eq!(sim.truth().await, (vec![], vec![]));
    // It did, but nobody waits for it any more.
    driver.done(&plug).await;
    let unplug = driver.told("unplug").await;
    assert_eq!(unplug["disk"]["volume"], id);
}

#[tokio::test]
async fn nonsense_is_answered_and_ends_nothing() {
    let sim = Driven::new(ClockMode::Explicit(START)).await;
    let mut driver = sim.driver().await;
    driver.write("let there be light").await;
    let complaint = json!({"error": "expected value", "line": 2, "column": 1});
    assert_eq!(driver.line().await, Some(complaint));
    driver.write(&"x".repeat(200_000)).await;
    let complaint = json!({"error": "longer than 65536 bytes", "line": 3});
    assert_eq!(driver.line().await, Some(complaint));
    driver
        .0
        .write_all(b"\xff\xfe\n\n{\"id\"")
        .await
        .expect("writable");
    let complaint = driver.line().await.expect("a complaint");
    assert_eq!(complaint["line"], 4, "{complaint}");
    driver.write(": 99, \"result\": \"done\"}").await;
    let complaint = json!({"error": "no command 99 waits for an answer", "line": 6});
    assert_eq!(driver.line().await, Some(complaint));
    let vm = sim.rig.vm("appliance").await;
    let job = sim.submit("stopVirtualMachine", &[("id", &vm)]).await;
    let stop = driver.told("stop").await;
    driver.done(&stop).await;
    assert_eq!(sim.ended(&job).await["jobstatus"], 1);
}

#[tokio::test]
async fn by_the_real_clock_the_driver_is_told_by_itself() {
    let sim = Driven::new(ClockMode::Real).await;
    let mut driver = sim.driver().await;
    let vm = sim.rig.vm("appliance").await;
    let answer = sim.rig.call("rebootVirtualMachine", &[("id", &vm)]).await;
    let reboot = driver.told("reboot").await;
    assert_eq!(reboot["vm"], vm);
    driver.done(&reboot).await;
    let job = answer["jobid"].as_str().expect("a job");
    let ended = async {
        while sim.job(job).await["jobstatus"] == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .expect("an end");
    assert_eq!(sim.job(job).await["jobstatus"], 1);
}

#[tokio::test]
async fn another_state_is_told_as_a_whole() {
    let sim = Driven::new(ClockMode::Explicit(START)).await;
    let mut driver = sim.driver().await;
    let get = sim.rig.control(reqwest::Method::GET, "state", &Value::Null);
    let (_, state) = get.await;
    let stop = json!({"op": "stopVm", "vm": "final-vm"});
    sim.rig
        .control(reqwest::Method::POST, "operations", &stop)
        .await;
    sim.rig.advance(1_000).await;
    let stop = driver.told("stop").await;
    let put = sim.rig.control(reqwest::Method::PUT, "state", &state);
    assert_eq!(put.await.0, 200);
    let again = driver.told("state").await;
    assert_eq!(again["vms"].as_array().expect("VMs").len(), 2);
    driver.done(&stop).await;
    let complaint = json!({"error": "no command 2 waits for an answer", "line": 2});
    assert_eq!(driver.line().await, Some(complaint));
}

#[tokio::test]
async fn a_socket_is_taken_over_only_from_the_dead() {
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("hypervisor.sock");
    let start = || Rig::start(config(ClockMode::Explicit(START), &socket));
    let first = start().await.expect("it starts");
    let why = start().await.err().expect("it is taken").to_string();
    assert!(
        why.starts_with("cannot listen for a hypervisor's driver at /"),
        "{why}"
    );
    assert!(socket.exists(), "it is the first one's");
    first.sim.shutdown().await.expect("an end");
    assert!(!socket.exists(), "it is taken away");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("left over"));
    let second = start().await.expect("it starts");
    second.sim.shutdown().await.expect("an end");
    std::fs::write(&socket, "mine").expect("a file");
    start().await.err().expect("no socket is no left-over");
    assert_eq!(std::fs::read_to_string(&socket).expect("it"), "mine");
}
