//! Over real sockets on loopback.

mod driver;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::sim::fault::{OutageMode, Target};
use crate::sim::front::signature;
use crate::sim::world::{ADMIN_API_KEY, ADMIN_SECRET_KEY, Latencies};

/// 2026-11-20T22:30:00Z.
const START: SimTime = SimTime::from_millis(1_795_213_800_000);

struct Rig {
    sim: Handle,
    http: reqwest::Client,
}

impl Rig {
    async fn new(clock: ClockMode, host: Option<HostConfig>) -> Self {
        let settings = Settings {
            latencies: match clock {
                ClockMode::Real => Latencies::all(5),
                ClockMode::Explicit(_) => Latencies::default(),
            },
            ..Settings::default()
        };
        let config = SimConfig {
            settings,
            clock,
            host,
            hypervisor: None,
        };
        Self::start(config).await.expect("a simulator")
    }

    async fn start(config: SimConfig) -> Result<Self, SimError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sim = serve(listener, config).await?;
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        Ok(Self { sim, http })
    }

    fn request(&self, command: &str, params: &[(&str, &str)]) -> reqwest::Request {
        let mut all = vec![
            ("command", command),
            ("response", "json"),
            ("apikey", ADMIN_API_KEY),
        ];
        all.extend_from_slice(params);
        let signature = signature(all.iter().copied(), ADMIN_SECRET_KEY);
        all.push(("signature", &signature));
        let form: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{name}={}", value.replace('+', "%2B")))
            .collect();
        self.http
            .post(self.sim.endpoint())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.join("&"))
            .build()
            .expect("a request")
    }

    async fn call(&self, command: &str, params: &[(&str, &str)]) -> Value {
        let request = self.request(command, params);
        let answer = self.http.execute(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{command}");
        assert!(answer.headers().contains_key("date"));
        let text = answer.text().await.expect("a body");
        let mut body: Value = serde_json::from_str(&text).expect("JSON");
        body[format!("{}response", command.to_lowercase())].take()
    }

    async fn control(&self, method: reqwest::Method, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}/control/{path}", self.sim.address());
        let answer = self
            .http
            .request(method, url)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn advance(&self, ms: u64) {
        let (status, body) = self
            .control(reqwest::Method::POST, "clock/advance", &json!({ "ms": ms }))
            .await;
        assert_eq!(status, 200, "{body}");
    }

    async fn create(&self) -> String {
        let zone = self.call("listZones", &[]).await["zone"][0]["id"].clone();
        let offering = self.call("listDiskOfferings", &[("name", "Small")]).await["diskoffering"]
            [0]["id"]
            .clone();
        let params = [
            ("zoneid", zone.as_str().expect("an id")),
            ("diskofferingid", offering.as_str().expect("an id")),
        ];
        let created = self.call("createVolume", &params).await;
        created["id"].as_str().expect("an id").to_owned()
    }

    async fn vm(&self, name: &str) -> String {
        let found = self.call("listVirtualMachines", &[("name", name)]).await;
        found["virtualmachine"][0]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }
}

#[tokio::test]
async fn by_the_real_clock_jobs_end_by_themselves() {
    let rig = Rig::new(ClockMode::Real, None).await;
    let (id, vm) = (rig.create().await, rig.vm("appliance").await);
    let answer = rig
        .call("attachVolume", &[("id", &id), ("virtualmachineid", &vm)])
        .await;
    let job = answer["jobid"].as_str().expect("a job").to_owned();
    let deadline = Duration::from_secs(20);
    let ended = tokio::time::timeout(deadline, async {
        loop {
            let job = rig.call("queryAsyncJobResult", &[("jobid", &job)]).await;
            if job["jobstatus"] != 0 {
                return job;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("an end");
    assert_eq!(ended["jobresult"]["volume"]["deviceid"], 1);
    rig.sim.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn the_explicit_clock_moves_only_when_told() {
    let rig = Rig::new(ClockMode::Explicit(START), None).await;
    let id = rig.create().await;
    let state = async || rig.call("listVolumes", &[("id", &id)]).await["volume"][0].clone();
    assert!(state().await.get("jobid").is_some());
    assert!(state().await.get("jobid").is_some());
    rig.advance(50).await;
    assert_eq!(state().await.get("jobid"), None);
    let answer = rig.http.execute(rig.request("listZones", &[])).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.headers()["date"], "Fri, 20 Nov 2026 22:30:00 GMT");
    // A slow answer waits for the same clock.
    rig.sim
        .inject(Fault::DelayResponse {
            on: Target::next("listZones"),
            ms: 400,
        })
        .expect("injected");
    let slow = tokio::spawn(rig.http.execute(rig.request("listZones", &[])));
    let taken = async || {
        while !rig
            .sim
            .with(|front| front.armed_faults().is_empty())
            .expect("a look")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken())
        .await
        .expect("the request arrived");
    rig.advance(399).await;
    assert!(!slow.is_finished());
    rig.advance(1).await;
    let answer = slow.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_dropped_answer_is_a_closed_connection_and_the_next_one_works() {
    let rig = Rig::new(ClockMode::Explicit(START), None).await;
    for fault in [
        json!({"kind": "dropResponse", "on": {"command": "listZones"}, "when": "beforeCommit"}),
        json!({"kind": "dropResponse", "on": {"command": "listZones"}, "when": "afterCommit"}),
        json!({"kind": "outage", "mode": "closed", "ms": 10}),
    ] {
        let (status, _) = rig.control(reqwest::Method::POST, "faults", &fault).await;
        assert_eq!(status, 200, "{fault}");
        let error = rig
            .http
            .execute(rig.request("listZones", &[]))
            .await
            .expect_err("no answer");
        assert!(error.is_request() && !error.is_connect(), "{error:?}");
        rig.advance(10).await;
        rig.call("listZones", &[]).await;
    }
    let (_, faults) = rig
        .control(reqwest::Method::GET, "faults", &json!({}))
        .await;
    assert_eq!(faults[1]["kind"], "dropResponse");
    assert_eq!(
        (&faults[1]["hits"], &faults[1]["remaining"]),
        (&json!(1), &json!(0))
    );
    let (status, left) = rig
        .control(reqwest::Method::DELETE, "faults/1", &json!({}))
        .await;
    assert_eq!((status, left.as_array().map(Vec::len)), (200, Some(1)));
    let (status, error) = rig
        .control(reqwest::Method::DELETE, "faults/1", &json!({}))
        .await;
    assert_eq!(
        (status, &error["error"]),
        (404, &json!("there is no fault 1"))
    );
    assert_eq!(
        rig.sim
            .inject(Fault::Outage {
                mode: OutageMode::Unavailable,
                ms: 5
            })
            .ok(),
        Some(())
    );
    let answer = rig.http.execute(rig.request("listZones", &[])).await;
    assert_eq!(
        answer.expect("an answer").status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    let (status, _) = rig
        .control(reqwest::Method::DELETE, "faults", &json!({}))
        .await;
    assert_eq!(status, 200);
    rig.call("listZones", &[]).await;
}

#[tokio::test]
async fn the_guest_follows_the_world() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = HostConfig {
        dir: dir.path().to_owned(),
        vm: "appliance".to_owned(),
    };
    let rig = Rig::new(ClockMode::Explicit(START), Some(host)).await;
    let (id, vm) = (rig.create().await, rig.vm("appliance").await);
    let product = std::fs::read_to_string(dir.path().join("sys/class/dmi/id/product_uuid"));
    assert_eq!(product.expect("a file").trim(), vm);
    let serial = id.replace('-', "")[..20].to_owned();
    let link = dir.path().join(format!("dev/disk/by-id/virtio-{serial}"));
    rig.call("attachVolume", &[("id", &id), ("virtualmachineid", &vm)])
        .await;
    rig.advance(349).await;
    assert!(!link.exists());
    rig.advance(1).await;
    assert_eq!(std::fs::metadata(&link).expect("the disk").len(), 5 << 30);
    for (operation, there) in [
        (
            json!({"op": "detachVolume", "volume": id, "side": "guest"}),
            false,
        ),
        (
            json!({"op": "attachVolume", "volume": id, "vm": "appliance", "side": "guest"}),
            true,
        ),
        (json!({"op": "stopVm", "vm": "appliance"}), false),
        (json!({"op": "startVm", "vm": vm}), true),
        (json!({"op": "deleteVolume", "volume": id}), false),
    ] {
        let (status, body) = rig
            .control(reqwest::Method::POST, "operations", &operation)
            .await;
        assert_eq!(status, 200, "{operation}: {body}");
        rig.advance(1_000).await;
        assert_eq!(link.exists(), there, "{operation}");
    }
    let wrong = json!({"op": "startVm", "vm": "nobody"});
    let (status, body) = rig
        .control(reqwest::Method::POST, "operations", &wrong)
        .await;
    assert_eq!(status, 409);
    assert!(
        body["error"]
            .as_str()
            .expect("text")
            .ends_with("there is no nobody")
    );
    let (_, world) = rig.control(reqwest::Method::GET, "world", &json!({})).await;
    assert_eq!(world["vms"].as_array().expect("vms").len(), 3);
    assert_eq!(world["vms"][2]["guest"][0]["name"], "vda");
}

#[tokio::test]
async fn every_guest_that_is_shown_has_its_own_disks() {
    let (one, two) = (tempfile::tempdir(), tempfile::tempdir());
    let (one, two) = (one.expect("a directory"), two.expect("a directory"));
    let show = |dir: &tempfile::TempDir, vm: &str| HostConfig {
        dir: dir.path().to_owned(),
        vm: vm.to_owned(),
    };
    let rig = Rig::new(ClockMode::Explicit(START), Some(show(&one, "appliance"))).await;
    rig.sim.show(show(&two, "final-vm")).expect("shown");
    let nobody = rig.sim.show(show(&two, "nobody"));
    assert!(matches!(nobody, Err(SimError::Refused(_))), "{nobody:?}");
    let (id, vm) = (rig.create().await, rig.vm("final-vm").await);
    rig.call("attachVolume", &[("id", &id), ("virtualmachineid", &vm)])
        .await;
    rig.advance(1_000).await;
    let link = format!("dev/disk/by-id/virtio-{}", &id.replace('-', "")[..20]);
    assert!(!one.path().join(&link).exists());
    assert!(two.path().join(&link).exists());
}

#[tokio::test]
async fn a_change_is_in_the_state_file_soon_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.json");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let config = SimConfig {
        settings: Settings::default(),
        clock: ClockMode::Explicit(START),
        host: None,
        hypervisor: None,
    };
    let front = Front::new(World::standard(config.settings, START));
    let sim = serve_front(listener, front, config, Some(path.clone()))
        .await
        .expect("a simulator");
    let operation = Operation::CreateVolume {
        name: "kept".to_owned(),
        size_gib: 1,
    };
    sim.operate(&operation).expect("a volume");
    let written = async {
        loop {
            let kept = load(&path).expect("whole at any time");
            if kept.is_some_and(|front| front.world().volume_called("kept").is_ok()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written)
        .await
        .expect("written");
}

#[tokio::test]
async fn a_state_is_taken_and_given_back_over_http() {
    let rig = Rig::new(ClockMode::Explicit(START), None).await;
    let (status, state) = rig
        .control(reqwest::Method::GET, "state", &Value::Null)
        .await;
    assert_eq!((status, &state["version"]), (200, &json!(3)));
    let created = rig.create().await;
    rig.advance(3_600_000).await;
    let (status, _) = rig.control(reqwest::Method::PUT, "state", &state).await;
    assert_eq!(status, 200);
    assert_eq!(rig.sim.with(|front| front.now()).expect("a look"), START);
    assert_eq!(rig.create().await, created);
    let (status, error) = rig.control(reqwest::Method::PUT, "state", &json!({})).await;
    assert_eq!(status, 422);
    let text = error["error"].as_str().expect("why");
    assert!(text.starts_with("this is not a state file"), "{text}");
}

#[tokio::test]
async fn a_state_of_the_future_needs_an_explicit_clock() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let config = SimConfig {
        settings: Settings::default(),
        clock: ClockMode::Real,
        host: None,
        hypervisor: None,
    };
    let year_3000 = SimTime::from_millis(32_503_680_000_000);
    let world = World::standard(config.settings, year_3000);
    let refused = serve_world(listener, world, config).await;
    assert!(matches!(refused, Err(SimError::Future(at)) if at == year_3000));
}

#[tokio::test]
async fn a_late_request_takes_effect_after_its_connection_is_gone() {
    let rig = Rig::new(ClockMode::Explicit(START), None).await;
    let id = rig.create().await;
    rig.advance(100).await;
    let fault = json!({"kind": "lateRequest", "on": {"command": "deleteVolume"}, "ms": 5000});
    rig.control(reqwest::Method::POST, "faults", &fault).await;
    let request = rig.request("deleteVolume", &[("id", &id)]);
    rig.http.execute(request).await.expect_err("no answer");
    rig.advance(4_999).await;
    let there = rig.call("listVolumes", &[("id", &id)]).await;
    assert_eq!(there["count"], 1);
    rig.advance(1).await;
    assert_eq!(rig.call("listVolumes", &[("id", &id)]).await, json!({}));
}
