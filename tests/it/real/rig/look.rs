//! What the daemon says of a site, and what is really so.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use volume_daemon::clock;
use volume_daemon::model::action::CLAIM_TAG;
use volume_daemon::model::{ByteSize, ExportName, VolumeId};
use volume_daemon::reconcile::report::{Capacity, Phase, Report, VolumeStatus};
use volume_daemon::sim::control::Side;
use volume_daemon::sim::world::Work;
use volume_daemon::sim::{Fault, Front, Operation};

use super::super::client::{self, Client, Steady};
use super::super::daemon::get;
use super::{BESIDE, PATIENCE, Rig, SELF, has, volume};

/// Between two looks at something that cannot be awaited.
const POLL: Duration = Duration::from_millis(20);

/// What the daemon says.
impl Rig {
    /// The answer to a GET; status 0 while nobody answers.
    pub async fn get(&self, path: &str) -> (u16, String) {
        get(&self.path("api.sock"), path).await.unwrap_or_default()
    }

    /// What the daemon reports, if it does.
    pub async fn report(&self) -> Option<Report> {
        match self.get("/api/v1/status").await {
            (200, body) => Some(serde_json::from_str(&body).expect("a report")),
            _ => None,
        }
    }

    /// Waits until the daemon reports what is waited for.
    pub async fn until(&self, what: &str, mut done: impl FnMut(&Report) -> bool) -> Report {
        let mut last = None;
        let waiting = async {
            loop {
                let report = self.report().await;
                match report {
                    Some(report) if done(&report) => return report,
                    Some(report) => last = Some(report),
                    None => {}
                }
                clock::sleep(POLL).await;
            }
        };
        let ended = timeout(PATIENCE, waiting).await;
        ended.unwrap_or_else(|_| panic!("not {what} after {PATIENCE:?}, last {last:#?}"))
    }

    /// Waits until a volume is as declared and returns its status.
    pub async fn ready(&self, name: &str) -> VolumeStatus {
        let what = format!("ready: {name}");
        let is_ready = |report: &Report| {
            volume(report, name).is_some_and(|volume| volume.phase == Phase::Ready)
        };
        let report = self.until(&what, is_ready).await;
        volume(&report, name).expect("just seen").clone()
    }

    /// Waits until CloudStack, the disk and the export of a volume all have so many GiB.
    pub async fn grown(&self, name: &str, gib: u64) {
        let is_grown = |report: &Report| {
            volume(report, name).is_some_and(|volume| {
                let Capacity {
                    cloud,
                    device,
                    export,
                } = volume.capacity;
                [cloud, device, export] == [Some(ByteSize::gib(gib)); 3]
            })
        };
        self.until(&format!("{gib} GiB: {name}"), is_grown).await;
        self.ready(name).await;
    }

    /// Waits until nothing is done for a volume for this reason.
    pub async fn held_by(&self, name: &str, code: &str) -> VolumeStatus {
        let what = format!("{code}: {name}");
        let report = self.until(&what, |report| has(report, name, code)).await;
        volume(&report, name).expect("just seen").clone()
    }

    /// Waits until `/readyz` answers so; returns what it says.
    pub async fn readyz(&self, status: u16) -> String {
        self.poll(&format!("/readyz {status}"), PATIENCE, async || {
            let (answer, body) = self.get("/readyz").await;
            (answer == status).then_some(body)
        })
        .await
    }

    /// Asks until there is an answer.
    pub async fn poll<T>(
        &self,
        what: &str,
        patience: Duration,
        mut ask: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        let asking = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                clock::sleep(POLL).await;
            }
        };
        let ended = timeout(patience, asking).await;
        ended.unwrap_or_else(|_| panic!("not {what} after {patience:?}"))
    }

    /// Asserts that something holds all the time for so long.
    pub async fn throughout(&self, span: Duration, mut holds: impl AsyncFnMut(&Report)) {
        let begun = Instant::now();
        while begun.elapsed() < span {
            if let Some(report) = self.report().await {
                holds(&report).await;
            }
            clock::sleep(POLL).await;
        }
    }
}

/// What is really so.
impl Rig {
    /// The name under which a volume is exported unless its spec says otherwise.
    pub fn export(&self, name: &str) -> String {
        let world = self.sim.with(|front| {
            let world = front.world();
            let no = world.volumes().find(|(_, row)| row.name == name);
            no.map(|(_, row)| row.uuid)
        });
        let id = world.expect("a world").expect("it was made");
        ExportName::default_for(VolumeId::new(id)).to_string()
    }

    pub async fn write_marks(&self, name: &str) {
        client::write_marks(&self.nbd(), &self.export(name), name).await;
    }

    /// Asserts that a volume is served with its own data.
    pub async fn check_marks(&self, name: &str) {
        client::check_marks(&self.nbd(), &self.export(name), name).await;
    }

    /// A client that reads on and on.
    pub async fn steady(&self, name: &str) -> Steady {
        Steady::connect(&self.nbd(), &self.export(name), name).await
    }

    /// Whether a client gets in.
    pub async fn is_served(&self, name: &str) -> bool {
        match Client::connect(&self.nbd(), &self.export(name)).await {
            Ok(client) => {
                client.leave().await;
                true
            }
            Err(_) => false,
        }
    }

    /// Waits until no client gets in any more.
    pub async fn withdrawn(&self, name: &str, patience: Duration) {
        self.poll("withdrawn", patience, async || {
            (!self.is_served(name).await).then_some(())
        })
        .await;
    }

    /// How many volumes of this name were ever made, whoever made them.
    pub fn made(&self, name: &str) -> usize {
        let made = self.sim.with(|front| {
            let volumes = front.world().volumes();
            volumes.filter(|(_, row)| row.name == name).count()
        });
        made.expect("a world")
    }

    /// The VM that a volume is attached to.
    pub fn attached_to(&self, name: &str) -> Option<String> {
        let vm = self.sim.with(|front| {
            let world = front.world();
            let no = world.volume_called(name).ok()?;
            let at = world.volume(no).attachment?;
            Some(world.vm(at.vm).name.clone())
        });
        vm.expect("a world")
    }

    /// Does something behind the daemon's back.
    pub fn operate(&self, operation: &Operation) {
        self.sim.operate(operation).expect("possible");
    }

    /// Detaches a volume behind the daemon's back.
    pub fn detach(&self, name: &str, side: Side) {
        self.operate(&Operation::DetachVolume {
            volume: name.to_owned(),
            side,
        });
    }

    /// Detaches a volume as another user of CloudStack does, who is made for that.
    pub fn detach_as(&self, user: &str, name: &str) {
        let detach = |front: &mut Front| {
            let world = front.world_mut();
            let account = world.add_account(user, "another-key", "another-secret");
            let work = Work::Detach {
                volume: world.volume_called(name).ok(),
                vm: None,
                device: None,
            };
            world.submit(account, work, None, None);
        };
        self.sim.with(detach).expect("a world");
    }

    pub fn inject(&self, fault: Fault) {
        self.sim.inject(fault).expect("a world");
    }

    /// From now on everything that is not the daemon's is to stay as it is.
    pub fn foreign_stays(&mut self) {
        self.foreign = self.foreign_now();
    }

    pub(super) fn foreign_now(&self) -> Value {
        let dump = self
            .sim
            .with(|front| serde_json::to_value(front.world().dump()));
        let mut dump = dump.expect("a world").expect("JSON");
        let is_ours = |volume: &Value| {
            let tags = volume["tags"].as_array().into_iter().flatten();
            tags.into_iter().any(|tag| tag["key"] == CLAIM_TAG)
        };
        let list = |value: &mut Value| value.take().as_array_mut().map(std::mem::take);
        let mut volumes = list(&mut dump["volumes"]).expect("a list");
        volumes.retain(|volume| !is_ours(volume));
        let mut vms = list(&mut dump["vms"]).expect("a list");
        vms.retain(|vm| vm["name"] != SELF && vm["name"] != BESIDE);
        json!({ "volumes": volumes, "vms": vms })
    }
}
