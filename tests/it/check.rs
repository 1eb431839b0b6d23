//! `volume-daemon check` as a program, against a simulator that is a program, too: one thing is wrong
//! at a time, and exactly that is found. No NBD server runs here; `real::check` has one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Child;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::volume_daemon;

/// What fails here without an NBD server.
const NO_NBD: &str = "nbd-control";

const SPEC: &str = "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {name: a}\n\
                    spec: {size: 1GiB, zone: ZONE, diskOffering: Custom OSSEA}\n";

/// A site before the first run.
struct Site {
    sim: Child,
    started: Value,
    root: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with("")
    }

    /// A site whose account is as said in a world file.
    fn with(world: &str) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let guest = root.path().join("guest");
        let file = root.path().join("world.yaml");
        fs::write(&file, world).expect("written");
        let mut arguments = vec!["sim", "--host-dir", guest.to_str().expect("UTF-8")];
        if !world.is_empty() {
            arguments.extend(["--world", file.to_str().expect("UTF-8")]);
        }
        let mut sim = volume_daemon(&arguments).spawn().expect("it runs");
        let mut line = String::new();
        let out = sim.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let started = serde_json::from_str(&line).expect(&line);
        let site = Self { sim, started, root };
        site.configure();
        site
    }

    fn configure(&self) {
        for (file, key) in [("api.key", "apiKey"), ("secret.key", "secretKey")] {
            let path = self.path(file);
            fs::write(&path, self.text(key)).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        }
        fs::create_dir(self.path("specs")).expect("made");
        let at = |name: &str| self.path(name).display().to_string();
        let text = format!(
            "[cloudstack]\nurl = \"{}\"\napi_key_file = \"{}\"\nsecret_key_file = \"{}\"\n\
             [host]\nroot = \"{}\"\n[nbd]\nqmp = \"{}\"\nlisten = \"unix:{}\"\n\
             [store]\nurl = \"sqlite://{}\"\n[specs]\ndir = \"{}\"\n[api]\nlisten = \"unix:{}\"\n",
            self.text("endpoint"),
            at("api.key"),
            at("secret.key"),
            at("guest"),
            at("qmp.sock"),
            at("nbd.sock"),
            at("store.db"),
            at("specs"),
            at("api.sock"),
        );
        fs::write(self.path("config.toml"), text).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn text(&self, key: &str) -> &str {
        self.started[key].as_str().expect("text")
    }

    fn inject(&self, fault: &str) {
        let output = volume_daemon(&["sim", "fault", "add", fault])
            .env("VOLUME_DAEMON_SIM_CONTROL", self.text("control"))
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
    }

    /// What is found with these additional settings.
    fn check(&self, settings: &[&str]) -> Found {
        let config = self.path("config.toml");
        let mut arguments = vec!["--config", config.to_str().expect("UTF-8"), "check"];
        arguments.extend(["-o", "json"]);
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let output = volume_daemon(&arguments).output().expect("it runs");
        let out = String::from_utf8(output.stdout).expect("UTF-8");
        let err = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(err, "");
        assert!(!out.contains(self.text("secretKey")), "{out}");
        assert!(!out.contains(self.text("apiKey")), "{out}");
        Found {
            code: output.status.code(),
            report: serde_json::from_str(&out).expect(&out),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.sim.kill();
        let _ = self.sim.wait();
    }
}

struct Found {
    code: Option<i32>,
    report: Value,
}

impl Found {
    fn of(&self, name: &str) -> &Value {
        let checks = self.report["checks"].as_array().expect("a list");
        let found = checks.iter().find(|check| check["check"] == name);
        found.expect(name)
    }

    fn with(&self, status: &str) -> BTreeSet<&str> {
        let checks = self.report["checks"].as_array().expect("a list");
        let found = checks.iter().filter(|check| check["status"] == status);
        found
            .map(|check| check["check"].as_str().expect("a name"))
            .collect()
    }

    /// Asserts that only these failed, and that others were not made because of the first.
    fn only(&self, failed: &[&str], skipped: &[&str]) {
        let report = &self.report;
        assert_eq!(self.code, Some(5), "{report:#}");
        let mut expected: BTreeSet<&str> = failed.iter().copied().collect();
        expected.insert(NO_NBD);
        assert_eq!(self.with("failed"), expected, "{report:#}");
        for name in skipped {
            assert_eq!(self.of(name)["status"], "skipped", "{report:#}");
            let needs = format!("needs {}", failed[0]);
            assert_eq!(self.of(name)["message"], needs.as_str());
        }
    }

    /// Asserts that what is said of a check has all these parts.
    fn says(&self, name: &str, parts: &[&str]) {
        let check = self.of(name);
        let said = format!("{} / {}", check["message"], check["fix"]);
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
}

/// What is asked of CloudStack once it has taken us.
const ASKED: [&str; 5] = ["permissions", "zone", "offering", "vm", "slots"];

#[test]
fn a_site_where_all_is_well_but_the_nbd_server() {
    let site = Site::new();
    fs::write(site.path("specs/a.yaml"), SPEC.replace("ZONE", "zone-1")).expect("written");
    let found = site.check(&[]);
    found.only(&[], &[]);
    found.says("api", &["CloudStack 4.22.0.0"]);
    found.says("zone", &["zone-1"]);
    found.says("offering", &["Custom OSSEA"]);
    found.says("vm", &["appliance"]);
    found.says("nbd-control", &["systemctl"]);
}

#[test]
fn a_wrong_key() {
    let site = Site::new();
    fs::write(site.path("secret.key"), "not-the-key\n").expect("written");
    let found = site.check(&[]);
    found.only(&["api"], &ASKED);
    found.says("api", &["401", "those of the user"]);
    assert_eq!(
        found.of("clock")["status"],
        "ok",
        "its answer tells the time"
    );
    assert!(!found.report.to_string().contains("not-the-key"));
}

#[test]
fn a_missing_key() {
    let site = Site::new();
    fs::remove_file(site.path("api.key")).expect("it was there");
    let found = site.check(&[]);
    found.only(&["credentials"], &["api", "clock", "permissions", "vm"]);
    assert_eq!(found.of("tcp")["status"], "ok", "that needs no key");
}

#[test]
fn a_wrong_zone() {
    let site = Site::new();
    fs::write(site.path("specs/a.yaml"), SPEC.replace("ZONE", "zone-9")).expect("written");
    let found = site.check(&[]);
    found.only(&["zone"], &[]);
    found.says("zone", &["zone-9", "spec a", "there is zone-1"]);
}

#[test]
fn a_role_that_lacks_something() {
    let site = Site::with(
        "accounts:\n  - {name: alice, apiKey: the-api-key, secretKey: the-secret-key, role: User,\n     \
         forbidden: [resizeVolume, detachVolume]}\n",
    );
    let found = site.check(&[]);
    found.only(&["permissions"], &[]);
    found.says(
        "permissions",
        &["detachVolume, resizeVolume", "volumes cannot grow"],
    );
    found.says("vm", &["belongs to alice"]);
}

/// Roles are looked at before signatures, so the first question tells nothing about the keys.
#[test]
fn a_role_that_hides_what_is_asked_first() {
    let site = Site::with(
        "accounts:\n  - {name: alice, apiKey: the-api-key, secretKey: the-secret-key, role: User,\n     \
         forbidden: [listCapabilities]}\n",
    );
    site.check(&[]).only(&[], &[]);
    fs::write(site.path("secret.key"), "not-the-key").expect("written");
    site.check(&[]).only(&["api"], &ASKED);
}

#[test]
fn a_vm_of_another_account() {
    let site = Site::with(
        "accounts:\n  - {name: admin, apiKey: the-api-key, secretKey: the-secret-key}\n  \
         - {name: bob, apiKey: b, secretKey: c, role: User}\n\
         vms:\n  - {name: appliance, account: bob}\n",
    );
    let found = site.check(&[]);
    found.only(&[], &[]);
    assert_eq!(found.of("vm")["status"], "warning");
    found.says("vm", &["belongs to bob", "use keys of bob"]);
}

#[test]
fn clocks_apart() {
    let site = Site::new();
    site.inject("{kind: clockSkew, ms: 45000}");
    let found = site.check(&[]);
    found.only(&["clock"], &[]);
    found.says("clock", &["behind", "policy.max_skew (30s)", "set-ntp"]);
    // Behind by more than signatures are valid for: it is read by the server's clock.
    site.inject("{kind: clockSkew, ms: 3630000}");
    let found = site.check(&[]);
    found.only(&["clock"], &[]);
    found.says("clock", &["60m behind", "policy.max_skew (30s)"]);
}

#[test]
fn a_server_that_is_away() {
    let mut site = Site::new();
    site.inject("{kind: outage, mode: closed, ms: 3600000}");
    let found = site.check(&[]);
    found.only(&["api"], &["clock", "permissions", "zone", "vm"]);
    assert_eq!(found.of("tcp")["status"], "ok");
    site.sim.kill().expect("ours");
    site.sim.wait().expect("it ends");
    let found = site.check(&[]);
    found.only(&["tcp"], &["api", "clock", "permissions", "zone", "vm"]);
    found.says("tcp", &["Connection refused"]);
    // What needs no CloudStack is checked all the same.
    assert_eq!(found.of("store")["status"], "ok");
    let found = site.check(&["cloudstack.url=https://name.invalid/client/api"]);
    found.only(&["dns"], &["tcp", "tls", "api"]);
}

#[test]
fn what_answers_is_something_else() {
    let site = Site::new();
    let encrypted = site.text("endpoint").replace("http:", "https:");
    let found = site.check(&[&format!("cloudstack.url={encrypted}")]);
    found.only(&["tls"], &["api"]);
    found.says("tls", &["does not speak TLS"]);
    let elsewhere = site.text("endpoint").replace("/client/api", "/elsewhere");
    let found = site.check(&[&format!("cloudstack.url={elsewhere}")]);
    found.only(&["api"], &ASKED);
    found.says("api", &["HTTP 404", "/client/api"]);
}

#[test]
fn an_unknown_vm() {
    let site = Site::new();
    let dmi = site.path("guest/sys/class/dmi/id/product_uuid");
    fs::write(&dmi, "0f8a2c1e-5d34-4b7a-9c1d-2e6f7a8b9c0d\n").expect("written");
    let found = site.check(&[]);
    found.only(&["vm"], &["slots"]);
    fs::remove_file(&dmi).expect("it was there");
    let found = site.check(&[]);
    found.only(&["identity"], &["vm", "slots"]);
    found.says("identity", &["set host.vm_id"]);
}

#[test]
fn who_else_would_take_the_disks() {
    let site = Site::new();
    let write = |path: &str, text: &str| {
        let path = site.path("guest").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    write("usr/sbin/lvm", "");
    write("usr/sbin/mdadm", "");
    let rule = "usr/lib/udev/rules.d/64-md-raid-assembly.rules";
    write(
        rule,
        "ACTION==\"add\", RUN+=\"/sbin/mdadm --incremental $devnode\"\n",
    );
    let found = site.check(&[]);
    found.says("lvm", &["global_filter", "update-initramfs"]);
    found.says("md", &["64-md-raid-assembly.rules", "AUTO -all"]);
    assert_eq!(found.of("lvm")["status"], "warning");
    assert_eq!(found.of("md")["status"], "warning");
    write(
        "etc/lvm/lvm.conf",
        "devices {\n\tglobal_filter = [ \"a|^/dev/vda|\", \"r|.*|\" ]\n}\n",
    );
    // An empty file of the same name hides the rule.
    write("etc/udev/rules.d/64-md-raid-assembly.rules", "");
    let found = site.check(&[]);
    assert_eq!(found.of("lvm")["status"], "ok");
    assert_eq!(found.of("md")["status"], "ok");
}

#[test]
fn without_settings_it_says_so_and_ends() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "[cloudstack]\nsecret_key = hunter2\n").expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let output = volume_daemon(&["--config", path, "check"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(5));
    let out = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(out.contains("failed") && out.contains("line 2"), "{out}");
    assert!(out.contains("needs config"), "{out}");
    assert!(!out.contains("hunter2"), "{out}");
}
