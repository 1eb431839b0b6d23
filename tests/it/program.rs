//! The program, as a command line.

use std::process::{Command, Stdio};

/// A command line that sees neither the settings nor the environment of this machine.
pub fn volume_daemon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volume-daemon"));
    command
        .env_clear()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
