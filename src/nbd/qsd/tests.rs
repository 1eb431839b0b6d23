//! With a real qemu-storage-daemon, on regular files below another root.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command as Program;

use super::super::handshake::{Connected, ExportInfo, Refusal, RefusalReason, go};
use super::super::spawn::{SpawnError, SpawnedQsd};
use super::*;
use crate::clock;
use crate::host::OpenError;
use crate::host::tree::{OTHER_SERIAL, SERIAL, Tree};
use crate::model::Serial;

/// Everything here takes milliseconds; this only bounds a test that hangs.
const SOON: Duration = Duration::from_secs(20);

/// A machine with a disk `vdb`, and a server that serves nothing.
struct Rig {
    tree: Tree,
    config: QsdConfig,
    server: SpawnedQsd,
    qsd: Qsd,
}

type Exports = BTreeMap<ExportName, ServedExport>;

impl Rig {
    async fn new() -> Self {
        let tree = Tree::new();
        let listen = NbdAddress::Unix(tree.path("nbd.sock"));
        Self::at(tree, listen).await
    }

    async fn at(tree: Tree, listen: NbdAddress) -> Self {
        tree.plug("vdb", SERIAL, 1);
        let config = QsdConfig {
            qmp: tree.path("qmp.sock"),
            listen,
            timeout: SOON,
        };
        Self {
            server: start(&config).await,
            qsd: Qsd::new(config.clone()),
            tree,
            config,
        }
    }

    /// As after a restart of volume-daemon, which leaves the server alone.
    fn forget(&mut self) {
        self.qsd = Qsd::new(self.config.clone());
    }

    fn open(&self, serial: &str) -> OpenDevice {
        let proof = self.tree.proof(serial);
        self.tree.host().open(&proof, true).expect("a proven disk")
    }

    async fn reading(&self) -> Reading<Exports> {
        let disks = Reading::Present(self.tree.disks());
        self.qsd.observe(&disks, BootTime::default()).await.exports
    }

    async fn served(&self) -> Exports {
        match self.reading().await {
            Reading::Present(served) => served,
            other => panic!("what is served is known: {other:?}"),
        }
    }

    async fn withdraw(&self, export: &str, node: &NodeName, mode: WithdrawMode) -> Withdrawn {
        let outcome = self.qsd.withdraw(&name(export), node, mode).await;
        outcome.expect("an answer")
    }

    /// Asks for a soft withdrawal until the server has noticed that clients are gone.
    async fn withdraw_soon(&self, export: &str, node: &NodeName) {
        until("the server to see that its client left", async || {
            self.withdraw(export, node, WithdrawMode::Soft).await == Withdrawn::Gone
        })
        .await;
    }

    async fn client(&self, export: &str) -> Connected {
        go(&self.config.listen, &name(export), SOON)
            .await
            .expect("a server")
            .expect("an export")
    }

    async fn nodes(&self) -> Vec<String> {
        let mut session = self.qsd.qmp.session().await.expect("a session");
        let nodes = block_nodes(&mut session).await.expect("nodes");
        nodes.into_iter().map(|node| node.node_name).collect()
    }

    /// Sends commands that we never use. Nobody else may be connected meanwhile.
    async fn raw(&mut self, commands: &[Value]) {
        self.forget();
        let stream = UnixStream::connect(&self.config.qmp)
            .await
            .expect("a server");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("a greeting");
        for command in [&json!({"execute": "qmp_capabilities"})]
            .into_iter()
            .chain(commands)
        {
            let text = format!("{command}\n");
            stream
                .get_mut()
                .write_all(text.as_bytes())
                .await
                .expect("a server");
            loop {
                line.clear();
                stream.read_line(&mut line).await.expect("a reply");
                let reply: Value = serde_json::from_str(&line).expect("JSON");
                assert!(reply.get("error").is_none(), "{command}: {reply}");
                if reply.get("return").is_some() {
                    break;
                }
            }
        }
    }
}

async fn start(config: &QsdConfig) -> SpawnedQsd {
    SpawnedQsd::start(&config.qmp, &config.listen, SOON)
        .await
        .expect("Debian package qemu-system-common")
}

fn name(text: &str) -> ExportName {
    text.parse().expect("an export name")
}

/// Tries until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let tries = async {
        while !is_so().await {
            clock::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, tries).await.expect(what);
}

fn one(served: &Exports, export: &str) -> ServedExport {
    assert_eq!(
        served.keys().map(ExportName::as_str).collect::<Vec<_>>(),
        [export]
    );
    served[&name(export)].clone()
}

/// What a client reads of an export.
async fn copy_of(listen: &NbdAddress, export: &str, to: &Path) -> Vec<u8> {
    let NbdAddress::Unix(socket) = listen else {
        panic!("a unix socket");
    };
    let uri = format!("nbd+unix:///{export}?socket={}", socket.display());
    let copied = Program::new("nbdcopy")
        .arg(uri)
        .arg(to)
        .kill_on_drop(true)
        .status();
    let copied = tokio::time::timeout(SOON, copied).await.expect("in time");
    assert!(copied.expect("Debian package libnbd-bin").success());
    fs::read(to).expect("the copy")
}

#[tokio::test]
async fn a_server_without_exports_serves_nothing() {
    let rig = Rig::new().await;
    assert_eq!(rig.served().await, Exports::new());
    assert_eq!(rig.served().await, Exports::new(), "asked again");
}

#[tokio::test]
async fn what_was_proven_is_what_is_served() {
    let rig = Rig::new().await;
    let content: Vec<u8> = (0..=255_u8).cycle().take(1 << 20).collect();
    fs::write(rig.tree.path("dev/vdb"), &content).expect("a disk");
    let device = rig.open(SERIAL);
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("an export");
    let expected = ServedExport {
        node: device.proof().node(),
        size: ByteSize::mib(1),
        read_only: false,
        proven: true,
        draining: false,
    };
    assert_eq!(one(&rig.served().await, "vol"), expected);
    let copy = copy_of(&rig.config.listen, "vol", &rig.tree.path("copy")).await;
    assert!(copy == content, "another disk's data");

    // Once more changes nothing.
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("it is so already");
    assert_eq!(one(&rig.served().await, "vol"), expected);
    assert_eq!(rig.nodes().await, [device.proof().node().as_str()]);
}

#[tokio::test]
async fn a_disk_opened_for_reading_is_exported_for_reading_only() {
    let rig = Rig::new().await;
    let proof = rig.tree.proof(SERIAL);
    let device = rig.tree.host().open(&proof, false).expect("a proven disk");
    let refused = rig.qsd.export(&name("vol"), false, &device).await;
    assert!(matches!(refused, Err(NbdError::NotWritable { .. })));
    rig.qsd
        .export(&name("vol"), true, &device)
        .await
        .expect("an export");
    assert!(one(&rig.served().await, "vol").read_only);
}

#[tokio::test]
async fn an_export_that_is_there_otherwise_is_left_alone() {
    let rig = Rig::new().await;
    rig.tree.plug("vdc", OTHER_SERIAL, 2);
    let (device, other) = (rig.open(SERIAL), rig.open(OTHER_SERIAL));
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("an export");
    let before = rig.served().await;

    let otherwise = [
        (
            rig.qsd.export(&name("vol"), true, &device).await,
            "writable",
        ),
        (
            rig.qsd.export(&name("vol2"), false, &device).await,
            "under another name",
        ),
    ];
    for (outcome, how) in otherwise {
        match outcome {
            Err(NbdError::Otherwise { found, .. }) => assert_eq!(found, how),
            other => panic!("{how}: {other:?}"),
        }
    }
    let taken = rig.qsd.export(&name("vol"), false, &other).await;
    assert!(
        matches!(taken, Err(NbdError::Qmp(QmpError::Refused { .. }))),
        "{taken:?}"
    );
    assert_eq!(rig.served().await, before);
    assert_eq!(
        rig.nodes().await,
        [device.proof().node().as_str()],
        "the other disk is closed again"
    );
}

#[tokio::test]
async fn a_soft_withdrawal_waits_for_clients_without_disturbing_them() {
    let rig = Rig::new().await;
    let device = rig.open(SERIAL);
    let node = device.proof().node();
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("an export");
    let client = rig.client("vol").await;
    assert_eq!(client.info().size, ByteSize::mib(1));
    let before = rig.served().await;
    assert_eq!(
        rig.withdraw("vol", &node, WithdrawMode::Soft).await,
        Withdrawn::StillInUse
    );
    assert_eq!(rig.served().await, before);

    client.close().await;
    rig.withdraw_soon("vol", &node).await;
    assert_eq!(rig.served().await, Exports::new());
    assert_eq!(rig.nodes().await, Vec::<String>::new());
    for mode in [WithdrawMode::Soft, WithdrawMode::Hard] {
        assert_eq!(
            rig.withdraw("vol", &node, mode).await,
            Withdrawn::Gone,
            "already so"
        );
    }
}

#[tokio::test]
async fn a_hard_withdrawal_cuts_off_its_own_clients_only() {
    let rig = Rig::new().await;
    rig.tree.plug("vdc", OTHER_SERIAL, 2);
    let (device, other) = (rig.open(SERIAL), rig.open(OTHER_SERIAL));
    for (export, device) in [("vol", &device), ("other", &other)] {
        rig.qsd
            .export(&name(export), false, device)
            .await
            .expect("an export");
    }
    let mut cut = rig.client("vol").await;
    let mut kept = rig.client("other").await;
    assert_eq!(
        rig.withdraw("vol", &device.proof().node(), WithdrawMode::Hard)
            .await,
        Withdrawn::Gone
    );
    tokio::time::timeout(SOON, cut.closed())
        .await
        .expect("cut off");
    assert!(one(&rig.served().await, "other").proven);
    kept.start_read().await;
    tokio::time::timeout(SOON, kept.closed())
        .await
        .expect("an answer, which ends the wait as well");
    assert_eq!(
        rig.withdraw("other", &other.proof().node(), WithdrawMode::Soft)
            .await,
        Withdrawn::StillInUse
    );
}

#[tokio::test]
async fn the_death_of_the_server_is_noticed_and_mended() {
    let mut rig = Rig::new().await;
    let device = rig.open(SERIAL);
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("an export");
    let gone = rig.qsd.gone();
    rig.server.kill().await.expect("a dead server");
    tokio::time::timeout(SOON, gone).await.expect("noticed");
    match rig.reading().await {
        Reading::Unknown(why) => assert!(why.contains("check that"), "{why}"),
        other => panic!("nobody can be asked: {other:?}"),
    }
    rig.server = start(&rig.config).await;
    assert_eq!(rig.served().await, Exports::new());
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("the same call again");
    assert!(one(&rig.served().await, "vol").proven);
}

#[tokio::test]
async fn exports_of_an_earlier_run_are_proven_again() {
    let mut rig = Rig::new().await;
    let device = rig.open(SERIAL);
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("an export");
    let before = rig.served().await;
    drop(device);
    rig.forget();
    assert_eq!(rig.served().await, before);
    assert!(one(&before, "vol").proven);
    let device = rig.open(SERIAL);
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("it is so already");
    assert_eq!(rig.served().await, before);
}

#[tokio::test]
async fn a_disk_that_came_in_its_place_is_not_proven() {
    let rig = Rig::new().await;
    let proof = rig.tree.proof(SERIAL);
    let device = rig.open(SERIAL);
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("an export");
    // The same volume, detached and attached again: another device under the same link.
    rig.tree.unplug("vdb");
    rig.tree.plug("vdc", SERIAL, 2);
    assert_ne!(rig.tree.proof(SERIAL).node(), proof.node());
    let served = one(&rig.served().await, "vol");
    assert_eq!(served.node, proof.node());
    assert!(!served.proven);
    assert!(
        rig.tree.host().open(&proof, true).is_err(),
        "the link leads elsewhere now"
    );
    // The new one gets the name once the old one has lost it.
    let replacement = rig.open(SERIAL);
    let taken = rig.qsd.export(&name("vol"), false, &replacement).await;
    assert!(taken.is_err(), "{taken:?}");
    rig.withdraw("vol", &proof.node(), WithdrawMode::Hard).await;
    rig.qsd
        .export(&name("vol"), false, &replacement)
        .await
        .expect("an export");
    assert!(one(&rig.served().await, "vol").proven);
}

#[tokio::test]
async fn what_a_crash_left_half_done_is_cleared_away() {
    let mut rig = Rig::new().await;
    rig.tree.plug("vdc", OTHER_SERIAL, 2);
    let node_of = |serial: &str| rig.tree.proof(serial).node();
    let (node, other) = (node_of(SERIAL), node_of(OTHER_SERIAL));
    // One disk that we are going to export, opened in another way, and one that we are not.
    let commands = [(&node, "dev/vdc"), (&other, "dev/vdc")].map(|(node, file)| {
        json!({"execute": "blockdev-add", "arguments": {
            "driver": "file", "node-name": node.as_str(), "read-only": true,
            "filename": rig.tree.path(file),
        }})
    });
    rig.raw(&commands).await;
    assert_eq!(rig.served().await, Exports::new());
    let device = rig.open(SERIAL);
    rig.qsd
        .export(&name("vol"), false, &device)
        .await
        .expect("an export");
    assert!(one(&rig.served().await, "vol").proven);
    assert_eq!(rig.nodes().await, [node.as_str()]);
}

/// A node like those of ours whose requests take four seconds, exported: longer than a busy
/// machine needs to look.
fn stuck_export(node: &NodeName, export: &str) -> [Value; 2] {
    let node = node.as_str();
    [
        json!({"execute": "blockdev-add", "arguments": {
            "driver": "null-co", "node-name": node, "size": 1 << 20,
            "read-only": true, "latency-ns": 4_000_000_000_u64,
        }}),
        json!({"execute": "block-export-add", "arguments": {
            "type": "nbd", "id": node, "node-name": node, "name": export, "description": node,
        }}),
    ]
}

#[tokio::test]
async fn an_export_with_requests_under_way_drains() {
    let mut rig = Rig::new().await;
    let node = rig.tree.proof(SERIAL).node();
    rig.raw(&stuck_export(&node, "vol")).await;
    let mut client = rig.client("vol").await;
    client.start_read().await;
    // By the time it has answered this, the server has read the request too.
    assert!(
        !one(&rig.served().await, "vol").proven,
        "it does not have our disk open"
    );
    let draining = rig.withdraw("vol", &node, WithdrawMode::Hard).await;
    assert_eq!(draining, Withdrawn::Draining);
    let draining = rig.withdraw("vol", &node, WithdrawMode::Soft).await;
    assert_eq!(draining, Withdrawn::Draining, "asked again");

    let served = one(&rig.served().await, "vol");
    assert!(served.draining);
    assert_eq!(served.node, node);
    let device = rig.open(SERIAL);
    let refused = rig.qsd.export(&name("vol"), false, &device).await;
    assert!(
        matches!(refused, Err(NbdError::Draining { .. })),
        "{refused:?}"
    );

    // Seeing that it has ended is enough to have its disk closed.
    until("the request to end", async || rig.served().await.is_empty()).await;
    assert_eq!(rig.nodes().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_earlier_run_s_draining_export_is_shown_under_its_node() {
    let mut rig = Rig::new().await;
    let node = rig.tree.proof(SERIAL).node();
    rig.raw(&stuck_export(&node, "vol")).await;
    let mut client = rig.client("vol").await;
    client.start_read().await;
    rig.served().await;
    let draining = rig.withdraw("vol", &node, WithdrawMode::Hard).await;
    assert_eq!(draining, Withdrawn::Draining);
    rig.forget();
    assert!(one(&rig.served().await, node.as_str()).draining);
    until("the withdrawal to end", async || {
        rig.withdraw(node.as_str(), &node, WithdrawMode::Hard).await == Withdrawn::Gone
    })
    .await;
    assert_eq!(rig.nodes().await, Vec::<String>::new());
}

#[tokio::test]
async fn exports_that_others_made_are_shown_but_not_proven() {
    let mut rig = Rig::new().await;
    let file = rig.tree.path("dev/vdb");
    rig.raw(&[
        json!({"execute": "blockdev-add", "arguments": {
            "driver": "file", "node-name": "theirs", "filename": file, "read-only": true,
        }}),
        json!({"execute": "block-export-add", "arguments": {
            "type": "nbd", "id": "alike", "node-name": "theirs", "name": "alike",
        }}),
        json!({"execute": "block-export-add", "arguments": {
            "type": "nbd", "id": "some-id", "node-name": "theirs", "name": "some name/%",
        }}),
        json!({"execute": "block-export-add", "arguments": {
            "type": "nbd", "id": "other-id", "node-name": "theirs", "name": "unlike",
            "description": "the disk of somebody",
        }}),
    ])
    .await;
    let served = rig.served().await;
    let nodes: Vec<_> = served
        .iter()
        .map(|(name, export)| (name.as_str(), export.node.as_str(), export.proven))
        .collect();
    assert_eq!(nodes, [("alike", "alike", false), ("unlike", "", false)]);
    let refused = rig
        .qsd
        .withdraw(
            &name("unlike"),
            &served[&name("unlike")].node,
            WithdrawMode::Hard,
        )
        .await;
    assert!(
        matches!(refused, Err(NbdError::NotOurs { .. })),
        "{refused:?}"
    );
    assert_eq!(rig.served().await, served);
}

#[tokio::test]
async fn a_listener_of_another_server_is_noticed() {
    let rig = Rig::new().await;
    let other = Rig::new().await;
    rig.qsd
        .export(&name("vol"), false, &rig.open(SERIAL))
        .await
        .expect("an export");
    let mixed = Qsd::new(QsdConfig {
        qmp: other.config.qmp.clone(),
        ..rig.config.clone()
    });
    drop(other.qsd);
    let disks = Reading::Present(rig.tree.disks());
    match mixed.observe(&disks, BootTime::default()).await.exports {
        Reading::Unknown(why) => assert!(why.contains("same server"), "{why}"),
        other => panic!("two servers are not one: {other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_claimed_about_exports_while_the_disks_are_unknown() {
    let rig = Rig::new().await;
    let view = rig
        .qsd
        .observe(
            &Reading::Unknown("no sysfs".to_owned()),
            BootTime::from_millis(7),
        )
        .await;
    assert_eq!(view.begun, BootTime::from_millis(7));
    assert!(matches!(view.exports, Reading::Unknown(why) if why.contains("no sysfs")));
}

/// Answers every command with success and does nothing; gives the commands it was asked.
async fn pretend(listener: UnixListener) -> Vec<String> {
    let (stream, _) = listener.accept().await.expect("a client");
    let mut stream = BufReader::new(stream);
    let mut say = r#"{"QMP":{}}"#.to_owned();
    let mut asked = Vec::new();
    loop {
        say.push('\n');
        stream
            .get_mut()
            .write_all(say.as_bytes())
            .await
            .expect("a client");
        let mut line = String::new();
        if stream.read_line(&mut line).await.expect("a client") == 0 {
            return asked;
        }
        let command: Value = serde_json::from_str(&line).expect("JSON");
        let name = command["execute"].as_str().expect("a command").to_owned();
        let answer = match name.as_str() {
            "query-version" => json!({"qemu": {"major": 7, "minor": 2, "micro": 22}}),
            "query-block-exports" | "query-named-block-nodes" => json!([]),
            _ => json!({}),
        };
        asked.push(name);
        say = json!({"return": answer, "id": command["id"]}).to_string();
    }
}

#[tokio::test]
async fn a_server_that_did_not_open_the_proven_disk_does_not_get_to_export_it() {
    let tree = Tree::new();
    tree.plug("vdb", SERIAL, 1);
    let device = tree
        .host()
        .open(&tree.proof(SERIAL), true)
        .expect("a proven disk");
    let qmp = tree.path("qmp.sock");
    let listener = UnixListener::bind(&qmp).expect("a new socket");
    let server = tokio::spawn(pretend(listener));
    let qsd = Qsd::new(QsdConfig {
        qmp,
        listen: NbdAddress::Unix(tree.path("nbd.sock")),
        timeout: SOON,
    });
    let refused = qsd.export(&name("vol"), false, &device).await;
    assert!(
        matches!(refused, Err(NbdError::WrongDisk { .. })),
        "{refused:?}"
    );
    drop(qsd);
    let asked = server.await.expect("a server");
    assert_eq!(asked.last().map(String::as_str), Some("blockdev-del"));
    assert!(asked.contains(&"blockdev-add".to_owned()));
    assert!(!asked.contains(&"block-export-add".to_owned()));
}

/// A loop device, or `None` where they are not to be had.
struct Loop(String);

impl Loop {
    fn over(file: &Path) -> Option<Self> {
        let output = std::process::Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(Self(
            String::from_utf8(output.stdout).ok()?.trim().to_owned(),
        ))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup")
            .args(["--detach", &self.0])
            .status();
    }
}

/// Makes `vdb` a real block device; false where that is not possible.
fn make_block_device(tree: &Tree, device: &Loop) -> bool {
    use nix::sys::stat::{Mode, SFlag, mknod};
    use std::os::unix::fs::{MetadataExt, symlink};

    let rdev = fs::metadata(&device.0).expect("a loop device").rdev();
    let node = tree.path("dev/vdb");
    fs::remove_file(&node).expect("a plugged disk");
    if mknod(&node, SFlag::S_IFBLK, Mode::S_IRUSR | Mode::S_IWUSR, rdev).is_err()
        || fs::File::open(&node).is_err()
    {
        return false;
    }
    let number = fs::read_to_string(format!(
        "/sys/block/{}/dev",
        device.0.trim_start_matches("/dev/")
    ))
    .expect("sysfs");
    fs::create_dir_all(tree.path("sys/dev/block")).expect("a directory");
    symlink(
        "../../block/vdb",
        tree.path("sys/dev/block").join(number.trim()),
    )
    .expect("a new link");
    true
}

#[tokio::test]
async fn a_block_device_is_held_exclusively_and_served_directly() {
    let mut rig = Rig::new().await;
    let backing = rig.tree.path("backing");
    let content: Vec<u8> = (0..=255_u8).rev().cycle().take(1 << 20).collect();
    fs::write(&backing, &content).expect("a file");
    let Some(device) = Loop::over(&backing) else {
        eprintln!("skipped: no loop devices here");
        return;
    };
    if !make_block_device(&rig.tree, &device) {
        eprintln!("skipped: block devices cannot be used in temporary directories here");
        return;
    }
    let held = rig.open(SERIAL);
    assert!(matches!(held.number(), DeviceNumber::Block { .. }));
    let proof = held.proof().clone();
    let second = rig.tree.host().open(&proof, true);
    assert!(matches!(second, Err(OpenError::Busy { .. })), "{second:?}");
    assert!(rig.tree.host().open(&proof, false).is_ok(), "to read");

    rig.qsd
        .export(&name("vol"), false, &held)
        .await
        .expect("an export");
    let served = one(&rig.served().await, "vol");
    assert!(served.proven);
    assert_eq!(served.size, ByteSize::mib(1));
    let copy = copy_of(&rig.config.listen, "vol", &rig.tree.path("copy")).await;
    assert!(copy == content, "another disk's data");

    // The server does not mind that we let go and take hold again, as a restart does.
    drop(held);
    rig.forget();
    let held = rig.open(SERIAL);
    held.sync().expect("nothing to write out");
    assert!(one(&rig.served().await, "vol").proven);
    rig.withdraw_soon("vol", &proof.node()).await;
}

#[tokio::test]
async fn thirty_two_disks_are_served_over_tcp() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let rig = Rig::at(Tree::new(), NbdAddress::Tcp(port)).await;
    let mut held = Vec::new();
    for n in 0..32_u64 {
        let serial = format!("{n:020}");
        rig.tree.plug(&format!("vd{n}"), &serial, 10 + n);
        let device = rig.open(&serial);
        rig.qsd
            .export(&name(&format!("vol-{n}")), false, &device)
            .await
            .expect("an export");
        held.push(device);
    }
    let served = rig.served().await;
    assert_eq!(served.len(), 32);
    assert!(served.values().all(|export| export.proven));
    for (n, device) in held.iter().enumerate() {
        assert_eq!(
            served[&name(&format!("vol-{n}"))].node,
            device.proof().node()
        );
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let listen = NbdAddress::Unix(dir.path().join("no/such/directory/nbd.sock"));
    let error = SpawnedQsd::start(&dir.path().join("qmp.sock"), &listen, SOON)
        .await
        .expect_err("nowhere to listen");
    match error {
        SpawnError::Ended { said } => assert!(said.contains("No such file"), "{said}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_somebody_else_controls_already_is_ready() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let listen = NbdAddress::Unix(dir.path().join("nbd.sock"));
    let qmp = dir.path().join("qmp.sock");
    let first = async {
        loop {
            if let Ok(stream) = UnixStream::connect(&qmp).await {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    };
    let (server, _first) = tokio::join!(SpawnedQsd::start(&qmp, &listen, SOON), first);
    server.expect("ready");
}

#[test]
fn an_export_that_refuses_to_be_described_hides_no_other() {
    let number = DeviceNumber::Block {
        major: 254,
        minor: 16,
    };
    let serial: Serial = SERIAL.parse().expect("a serial");
    let node = NodeName::of(&serial, number, Some(1));
    let export = |id: &str| BlockExport {
        id: id.to_owned(),
        node_name: id.to_owned(),
        kind: "nbd".to_owned(),
        shutting_down: false,
    };
    let view = View {
        disks: BTreeMap::from([(node.clone(), (number, ByteSize::mib(1)))]),
        open: BTreeSet::from([number]),
        exports: vec![export(node.as_str()), export("theirs"), export("drive0")],
    };
    let refused = || {
        Err(Refusal {
            reason: RefusalReason::Policy,
            message: String::new(),
        })
    };
    let served = |offered: Vec<(&str, Result<ExportInfo, Refusal>)>| {
        let offer = Offer {
            exports: offered
                .into_iter()
                .map(|(n, info)| (name(n), info))
                .collect(),
            others: 0,
        };
        let listen = NbdAddress::Unix("nbd.sock".into());
        let served = view.served(offer, &BTreeMap::new(), &listen);
        served.expect("a view")
    };
    let shown = |node: &str, size, proven| ServedExport {
        node: NodeName::reported(node),
        size,
        read_only: false,
        proven,
        draining: false,
    };
    let described = ExportInfo {
        size: ByteSize::mib(1),
        read_only: false,
        description: Some(node.as_str().to_owned()),
    };
    // One is called alike on both sides, of the other nothing is known.
    let expected = [
        ("a", shown("", ByteSize::default(), false)),
        ("theirs", shown("theirs", ByteSize::default(), false)),
        ("vol", shown(node.as_str(), ByteSize::mib(1), true)),
    ];
    assert_eq!(
        served(vec![
            ("vol", Ok(described)),
            ("theirs", refused()),
            ("a", refused())
        ]),
        expected.map(|(n, export)| (name(n), export)).into()
    );
    let by_its_node = served(vec![
        (node.as_str(), refused()),
        ("b", refused()),
        ("a", refused()),
    ]);
    assert_eq!(
        by_its_node[&name(node.as_str())],
        shown(node.as_str(), ByteSize::mib(1), true)
    );
}

#[test]
fn our_nodes_are_told_from_others() {
    let device = DeviceNumber::Block { major: 1, minor: 2 };
    for serial in ["a", SERIAL] {
        let serial: Serial = serial.parse().expect("a serial");
        assert!(is_ours(NodeName::of(&serial, device, Some(1)).as_str()));
    }
    for other in [
        "",
        "v",
        "vdb",
        "v0123456789",
        "virtio-0123456789",
        "theirs",
        "drive0",
    ] {
        assert!(!is_ours(other), "{other}");
    }
}
