//! Other people's CloudStack clients against the simulator, unmodified: `tests/clients`.
//!
//! They are installed once, by hash, into a directory of the tests' own; nothing of the machine's
//! Python changes.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::OnceCell;
use volume_daemon::sim::world::{ADMIN_API_KEY, ADMIN_SECRET_KEY, Latencies, Settings};
use volume_daemon::sim::{ClockMode, Handle, SimConfig, serve};

/// Longest that the clients may take to install.
const INSTALL_MAX: Duration = Duration::from_secs(180);
/// Longest that one client's tests may take.
const TESTS_MAX: Duration = Duration::from_secs(120);

const REQUIREMENTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/clients/requirements.txt"
);

/// Runs a program to its end.
async fn finish(limit: Duration, command: &mut Command) {
    command.kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output())
        .await
        .unwrap_or_else(|_| panic!("{command:?} took longer than {limit:?}"))
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Where the clients are installed. Other versions get another directory.
async fn installed() -> &'static Path {
    static DIRECTORY: OnceCell<PathBuf> = OnceCell::const_new();
    DIRECTORY
        .get_or_init(|| async {
            let text = std::fs::read(REQUIREMENTS).expect("it is committed");
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            let version = hasher.finish();
            let directory =
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clients-{version:x}"));
            if !directory.exists() {
                let half = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
                    .args(["--disable-pip-version-check", "--root-user-action=ignore"])
                    .args(["--require-hashes", "--no-deps", "--only-binary", ":all:"])
                    .args([OsStr::new("--target"), half.path().as_os_str()])
                    .args(["--requirement", REQUIREMENTS]);
                finish(INSTALL_MAX, &mut pip).await;
                // Whoever comes second finds a whole one.
                let _ = std::fs::rename(half.keep(), &directory);
            }
            directory
        })
        .await
}

/// A simulator with the standard world.
pub async fn simulator() -> Handle {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let settings = Settings {
        latencies: Latencies::all(5),
        ..Settings::default()
    };
    let config = SimConfig {
        settings,
        clock: ClockMode::Real,
        host: None,
        hypervisor: None,
    };
    serve(listener, config).await.expect("it starts")
}

/// Runs tests of `tests/clients` against an endpoint, with the control API of a simulator.
pub async fn python(tests: &[&str], endpoint: &str, sim: &Handle) {
    let packages = installed().await;
    let mut python = Command::new("python3");
    python
        .args(["-m", "unittest"])
        .args(tests)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CLOUDSTACK_ENDPOINT", endpoint)
        .env("CLOUDSTACK_KEY", ADMIN_API_KEY)
        .env("CLOUDSTACK_SECRET", ADMIN_SECRET_KEY)
        .env(
            "SIMULATOR_CONTROL",
            format!("http://{}/control", sim.address()),
        );
    finish(TESTS_MAX, &mut python).await;
}

/// Runs `tests/clients/<module>.py` against a simulator of its own.
async fn run(module: &str) {
    let sim = simulator().await;
    python(&[module], &sim.endpoint(), &sim).await;
    sim.with(|front| front.world().check())
        .expect("it goes on")
        .expect("the world holds together");
    sim.shutdown().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn cs_cannot_tell_the_difference() {
    run("test_cs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn libcloud_cannot_tell_the_difference() {
    run("test_libcloud").await;
}
