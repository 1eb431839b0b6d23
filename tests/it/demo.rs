//! The demo itself: a story that is told to users has to be true on every machine.
//!
//! Needs qemu-storage-daemon and nbdcopy.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn demo(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volume-daemon"));
    command
        .arg("demo")
        .arg("--dir")
        .arg(dir)
        // It must not go to a CloudStack that somebody set for this user.
        .env("VOLUME_DAEMON_CLOUDSTACK__URL", "http://127.0.0.1:1/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn place() -> tempfile::TempDir {
    // A short path: sockets are in it.
    tempfile::tempdir_in("/tmp").expect("a directory")
}

/// Processes that have `dir` on their command line.
fn processes_in(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("UTF-8");
    let entries = std::fs::read_dir("/proc").expect("readable");
    entries
        .filter_map(|entry| {
            let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(dir).then_some(line)
        })
        .collect()
}

#[test]
fn the_demo_keeps_every_promise_and_leaves_nothing() {
    let root = place();
    let dir = root.path().join("demo");
    let output = demo(&dir).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("everything as promised"), "{text}");
    assert!(!dir.exists());
    assert_eq!(processes_in(&dir), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let root = place();
    let dir = root.path().join("demo");
    let mut child: Child = demo(&dir).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for"));
    let mut text = String::new();
    while !text.contains("1  Four files") {
        assert_ne!(lines.read_line(&mut text).expect("UTF-8"), 0, "{text}");
    }
    assert!(processes_in(&dir).len() >= 4, "the demo and its parts");
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGINT).expect("it runs");
    lines.read_to_string(&mut text).expect("UTF-8");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130), "{text}");
    assert!(!dir.exists());
    assert_eq!(processes_in(&dir), Vec::<String>::new());
}

#[test]
fn what_a_kept_demo_says_to_try_works_as_it_is_pasted() {
    let root = place();
    let dir = root.path().join("demo");
    let mut child: Child = demo(&dir).arg("--keep").spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for"));
    let mut text = String::new();
    while !text.contains("The daemon's log is") {
        assert_ne!(lines.read_line(&mut text).expect("UTF-8"), 0, "{text}");
    }
    let (_, things) = text.split_once("In another terminal:").expect("it says so");
    let mut commands = things.lines().filter_map(|line| line.strip_prefix("  "));
    let function = commands.next().expect("the first line");
    // The one that is watched goes on until Ctrl-C.
    let commands: Vec<&str> = commands.filter(|line| !line.contains("--watch")).collect();
    let expected = [
        "Desired\n  cloud    volume pg-data, 1GiB",
        "HealDelay: its attachment to this VM vanished",
        "export=\"pg-data\"",
        "grow ",
        "Invalid",
        "volume/archive: Released",
    ];
    assert_eq!(commands.len(), expected.len(), "{things}");
    for (command, expected) in commands.iter().zip(expected) {
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("{function}\n{command}"))
            .output()
            .expect("a shell");
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(out.contains(expected), "{command}\n{out}{err}");
    }
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGINT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(!dir.exists());
}
