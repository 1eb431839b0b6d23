//! One site: CloudStack, a machine with disks, an NBD server, and the daemon.

mod look;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, UnixStream};
use tokio::time::{Instant, timeout};
use volume_daemon::clock;
use volume_daemon::nbd::NbdAddress;
use volume_daemon::nbd::spawn::SpawnedQsd;
use volume_daemon::reconcile::report::{Report, VolumeStatus};
use volume_daemon::sim::server::HostConfig;
use volume_daemon::sim::world::{
    ADMIN_API_KEY, ADMIN_SECRET_KEY, Latencies, Limits, Role, Settings, Vm, VmState,
};
use volume_daemon::sim::{ClockMode, Front, Handle, SimConfig, serve};

use super::daemon::Daemon;
use super::tap::Tap;

/// The VM that the daemon runs on.
pub const SELF: &str = "appliance";
/// The VM that another daemon runs on.
pub const BESIDE: &str = "appliance-2";

/// Longest a test may take.
const TEST_MAX: Duration = Duration::from_secs(30);
/// Longest that anything is waited for; only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a daemon is watched resting.
const REST: Duration = Duration::from_secs(2);

/// Settings with which a test need not wait for minutes.
const SETTINGS: &str = r#"
[pace]
resync = "2s"
jobs = "100ms"
rescan = "1s"
request_ttl = "3s"
handling = "1s"

[policy]
heal_delay = "1s"
stale_after = "10s"
release_grace = "1s"
detach_grace = "3s"
delete_grace = "3s"

[cloudstack]
rate = 200
timeout = "5s"
"#;

fn root() -> TempDir {
    // In memory where possible: the store syncs a lot.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    root.expect("a temporary directory")
}

/// Where a VM of a site is shown.
fn host(root: &TempDir, vm: &str) -> HostConfig {
    HostConfig {
        dir: root.path().join("host"),
        vm: vm.to_owned(),
    }
}

/// Runs a test with a time limit.
pub fn run(test: impl Future<Output = ()>) {
    run_within(TEST_MAX, test);
}

/// Runs a test with another time limit.
pub fn run_within(limit: Duration, test: impl Future<Output = ()>) {
    crate::rig::block_on(async {
        let mut test = pin!(test);
        // What the test holds is dropped while this panics, which prints the log.
        assert!(
            timeout(limit, test.as_mut()).await.is_ok(),
            "the test did not end within {limit:?}"
        );
    });
}

pub struct Rig {
    daemon: Option<Daemon>,
    qsd: Option<SpawnedQsd>,
    pub sim: Arc<Handle>,
    pub tap: Tap,
    /// Everything in CloudStack that is not the daemon's, as it should stay.
    foreign: Value,
    /// Names of volumes that were declared.
    names: RefCell<BTreeSet<String>>,
    root: TempDir,
}

impl Rig {
    /// A site on which no daemon was started yet.
    pub async fn new() -> Self {
        Self::with(Latencies::all(50)).await
    }

    /// The same, with another speed of CloudStack.
    pub async fn with(latencies: Latencies) -> Self {
        let root = root();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let config = SimConfig {
            settings: Settings {
                seed: fastrand::u64(..),
                latencies,
                ..Settings::default()
            },
            clock: ClockMode::Real,
            host: Some(host(&root, SELF)),
            hypervisor: None,
        };
        let sim = serve(listener, config).await.expect("a simulator");
        Self::at(root, Arc::new(sim)).await
    }

    /// Another VM of the same CloudStack, which the same account owns, with a daemon of its own.
    pub async fn beside(&mut self) -> Self {
        let root = root();
        let add = |front: &mut Front| {
            let world = front.world_mut();
            let one = world.vm_called(SELF).expect("it is there");
            let Vm { zone, account, .. } = *world.vm(one);
            world.add_vm(BESIDE, zone, account, VmState::Running);
        };
        self.sim.with(add).expect("a world");
        self.foreign_stays();
        self.sim.show(host(&root, BESIDE)).expect("it is there");
        Self::at(root, Arc::clone(&self.sim)).await
    }

    async fn at(root: TempDir, sim: Arc<Handle>) -> Self {
        let tap = Tap::before(sim.address()).await;
        fs::create_dir(root.path().join("specs")).expect("writable");
        let mut rig = Self {
            daemon: None,
            qsd: None,
            sim,
            tap,
            foreign: Value::Null,
            names: RefCell::default(),
            root,
        };
        rig.configure();
        rig.foreign = rig.foreign_now();
        rig.start_qsd().await;
        rig
    }

    /// A site with served volumes that carry their marks: one spec file each, 1 GiB.
    pub async fn serving(names: &[&str]) -> Self {
        let mut rig = Self::new().await;
        for name in names {
            rig.declare(name, "");
        }
        rig.start();
        for name in names {
            rig.ready(name).await;
            rig.write_marks(name).await;
        }
        rig
    }

    fn configure(&self) {
        let at = |name: &str| self.path(name).display().to_string();
        let file = |name: &str, text: &str| fs::write(self.path(name), text).expect("writable");
        file("api_key", ADMIN_API_KEY);
        file("secret_key", ADMIN_SECRET_KEY);
        let tap = self.tap.address;
        let config = format!(
            "{SETTINGS}\
             url = \"http://{tap}/client/api\"\n\
             api_key_file = \"{}\"\nsecret_key_file = \"{}\"\n\
             [host]\nroot = \"{}\"\n\
             [nbd]\nqmp = \"{}\"\nlisten = \"unix:{}\"\n\
             [store]\nurl = \"sqlite://{}\"\n\
             [specs]\ndir = \"{}\"\n\
             [api]\nlisten = \"unix:{}\"\n",
            at("api_key"),
            at("secret_key"),
            at("host"),
            at("qmp.sock"),
            at("nbd.sock"),
            at("store.db"),
            at("specs"),
            at("api.sock"),
        );
        file("config.toml", &config);
    }

    /// Where something of this site is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The NBD server's socket.
    pub fn nbd(&self) -> PathBuf {
        self.path("nbd.sock")
    }

    /// Everything that daemons of this site said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// Processes.
impl Rig {
    /// Starts a daemon.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts a daemon with additional arguments.
    pub fn start_with(&mut self, arguments: &[&str]) {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let daemon = Daemon::start(&self.path("config.toml"), &self.path("log"), arguments);
        self.daemon = Some(daemon);
    }

    /// Kills the daemon where it stands.
    pub async fn kill(&mut self) {
        self.daemon.take().expect("a daemon").kill().await;
    }

    /// Waits until the daemon ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let daemon = self.daemon.take().expect("a daemon");
        timeout(PATIENCE, daemon.wait()).await.expect("in time")
    }

    /// Sends the daemon a signal that does not end it.
    pub fn send(&self, signal: Signal) {
        self.daemon.as_ref().expect("a daemon").send(signal);
    }

    /// Adds an account to CloudStack that sees nothing of what others own.
    pub fn add_user(&self, name: &str, api_key: &str, secret_key: &str) {
        let add = |front: &mut Front| {
            let world = front.world_mut();
            let account = world.add_account(name, api_key, secret_key);
            world.restrict_account(account, Role::User, Limits::default(), &[]);
        };
        self.sim.with(add).expect("a world");
    }

    /// Runs another subcommand with the settings of this site; exit code, and what it said.
    pub async fn cli(&self, arguments: &[&str]) -> (i32, String) {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_volume-daemon"))
            .arg("--config")
            .arg(self.path("config.toml"))
            .args(arguments)
            .env_clear()
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, output).await.expect("in time");
        let output = output.expect("the binary");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("UTF-8");
        (output.status.code().expect("not killed"), said)
    }

    /// Waits until the log has a line with all of this.
    pub async fn logs(&self, parts: &[&str]) {
        let waiting = async {
            while !self
                .log()
                .lines()
                .any(|line| parts.iter().all(|part| line.contains(part)))
            {
                clock::sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = timeout(PATIENCE, waiting).await;
        assert!(ended.is_ok(), "the log never said {parts:?}");
    }

    /// Ends the daemon as an administrator does; says how long that took.
    pub async fn terminate(&mut self) -> Duration {
        let mut daemon = self.daemon.take().expect("a daemon");
        let begun = Instant::now();
        let status = daemon.signal(Signal::SIGTERM).await;
        assert!(status.success(), "{status}");
        begun.elapsed()
    }

    /// Asserts that the daemon hardly works for a while.
    pub async fn rests(&self, state: &str) {
        let ticks = || self.daemon.as_ref().expect("a daemon").ticks();
        let before = ticks();
        clock::sleep(REST).await;
        let used = ticks() - before;
        // A second has 100 ticks; a loop that spins uses most of them.
        assert!(used < 50, "{state}: {used} ticks in {REST:?}");
    }

    /// Starts an NBD server that serves nothing yet.
    pub async fn start_qsd(&mut self) {
        let listen = NbdAddress::Unix(self.nbd());
        let qsd = SpawnedQsd::start(&self.path("qmp.sock"), &listen, PATIENCE).await;
        self.qsd = Some(qsd.expect("a qemu-storage-daemon"));
    }

    /// Kills the NBD server.
    pub async fn kill_qsd(&mut self) {
        let mut qsd = self.qsd.take().expect("an NBD server");
        qsd.kill().await.expect("our child");
    }

    /// Exports a file as somebody else would. Only while no daemon controls the NBD server.
    pub async fn export_theirs(&self, name: &str, file: &Path) {
        let stream = UnixStream::connect(self.path("qmp.sock")).await;
        let mut stream = BufStream::new(stream.expect("it listens"));
        let node = json!({ "driver": "file", "node-name": "disk0", "filename": file });
        let export = json!({ "type": "nbd", "id": "export0", "node-name": "disk0", "name": name });
        for (command, arguments) in [
            ("qmp_capabilities", json!({})),
            ("blockdev-add", node),
            ("block-export-add", export),
        ] {
            let command = json!({ "execute": command, "arguments": arguments });
            let text = format!("{command}\n");
            stream.write_all(text.as_bytes()).await.expect("it reads");
            stream.flush().await.expect("it reads");
            let mut answer = String::new();
            while !answer.contains("\"return\"") {
                answer.clear();
                stream.read_line(&mut answer).await.expect("an answer");
                assert!(!answer.contains("\"error\""), "{answer}");
            }
        }
    }

    /// The disks that the NBD server has open, by descriptor: they change if one is opened anew.
    pub fn open_in_qsd(&self) -> BTreeSet<(String, PathBuf)> {
        let pid = self.qsd.as_ref().and_then(SpawnedQsd::pid);
        let fds = format!("/proc/{}/fd", pid.expect("it runs"));
        let fds = fs::read_dir(fds).expect("our child").map(|fd| {
            let fd = fd.expect("readable").path();
            let name = fd.file_name().expect("a number").to_string_lossy();
            (name.into_owned(), fs::read_link(&fd).unwrap_or_default())
        });
        let host = self.path("host");
        fds.filter(|(_, path)| path.starts_with(&host)).collect()
    }
}

/// Specs.
impl Rig {
    /// Writes a file into the watched directory, as `mv` from elsewhere does.
    pub fn write(&self, file: &str, text: &str) {
        for name in text.split("name: ").skip(1) {
            let name = name.split([' ', '}', '\n']).next().unwrap_or_default();
            self.names.borrow_mut().insert(name.to_owned());
        }
        let temporary = self.path("temporary");
        fs::write(&temporary, text).expect("writable");
        fs::rename(&temporary, self.path("specs").join(file)).expect("renamed");
    }

    /// Declares a volume of 1 GiB on this VM, exported, in a file of its own. `more` is added
    /// to its spec.
    pub fn declare(&self, name: &str, more: &str) {
        self.write(&format!("{name}.yaml"), &spec(name, 1, more));
    }

    /// Deletes a file.
    pub fn remove(&self, file: &str) {
        fs::remove_file(self.path("specs").join(file)).expect("it was there");
    }
}

/// The end.
impl Rig {
    /// Asserts what must hold at the end of every test, and ends the daemon.
    pub async fn finish(mut self) {
        if self.daemon.is_some() {
            self.terminate().await;
        }
        self.sim
            .with(|front| front.world().check())
            .expect("a world")
            .expect("the world is consistent");
        let foreign = self.foreign_now();
        assert_eq!(foreign, self.foreign, "something foreign changed");
        let names = self.names.borrow().clone();
        for name in &names {
            assert!(self.made(name) <= 1, "two volumes of the name {name}");
        }
        let log = self.log();
        assert!(
            !log.contains(ADMIN_SECRET_KEY),
            "the secret key is in the log"
        );
        assert!(!log.contains("panicked"), "the daemon panicked");
    }
}

impl Drop for Rig {
    #[expect(clippy::print_stderr, reason = "the log of a test that failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = self.daemon.as_mut().and_then(Daemon::ended);
            eprintln!("the daemon's log, ended {ended:?}:\n{}", self.log());
        }
    }
}

/// A spec of a volume on this VM, exported.
pub fn spec(name: &str, gib: u64, more: &str) -> String {
    format!("{}{more}", crate::rig::spec(name, gib, "self", true))
}

/// What a report says about a volume.
pub fn volume<'a>(report: &'a Report, name: &str) -> Option<&'a VolumeStatus> {
    report
        .volumes
        .iter()
        .find(|volume| volume.name.as_str() == name)
}

/// Whether nothing is done for a volume for this reason.
pub fn has(report: &Report, name: &str, code: &str) -> bool {
    volume(report, name).is_some_and(|volume| {
        let mut held_by = volume.plan.held_by.iter();
        held_by.any(|reason| reason.code == code)
    })
}

/// Runs a program to its end and returns what it printed.
pub async fn output(program: &str, arguments: &[&str]) -> String {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .expect(program);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A URL of an export for other people's programs.
pub fn url(socket: &Path, export: &str) -> String {
    format!("nbd+unix:///{export}?socket={}", socket.display())
}
