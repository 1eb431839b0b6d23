//! The NBD server: there, of a good version, and ours to control.

use std::path::Path;

use super::super::facts::{Control, Look, Nbd, Program};
use super::super::finding::Finding;
use super::{late, needs};
use crate::cli::output::count;
use crate::config::{Address, Config};
use crate::nbd::NbdError;
use crate::nbd::greet::ServerFacts;
use crate::nbd::handshake::HandshakeError;
use crate::nbd::qmp::QmpError;
use crate::telemetry::chain;

/// The oldest qemu-storage-daemon that exports were tried with.
const QSD_MIN: [u32; 2] = [7, 2];
/// nbd-server corrupts its memory on SIGHUP before this one (NetworkBlockDevice/nbd, bb9c47f).
const NBD_SERVER_MIN: [u32; 2] = [3, 25];

const START: &str = "systemctl enable --now volume-daemon-nbd; journalctl -u volume-daemon-nbd";

pub(super) fn judge(nbd: &Nbd, config: &Config) -> Vec<Finding> {
    vec![
        program(nbd),
        control(nbd, &config.nbd.qmp),
        listen(nbd, &config.nbd.listen),
        nbd_server(nbd.legacy.as_ref()),
    ]
}

fn program(nbd: &Nbd) -> Finding {
    const NAME: &str = "nbd-program";
    let running = match &nbd.control {
        Control::Asked(Look::Done(Ok(server))) => Some(server.version.as_str()),
        Control::Asked(_) | Control::Held { .. } => None,
    };
    let told = match (running, &nbd.program) {
        (Some(version), _) => version,
        (None, Some(Program { path, version })) => match version {
            Look::Done(Ok(told)) => told,
            Look::Done(Err(why)) => {
                let message = format!("{} --version: {why}", path.display());
                return Finding::failed(
                    NAME,
                    message,
                    "apt install --reinstall qemu-system-common",
                );
            }
            Look::Late(limit) => return late(NAME, *limit, "qemu-storage-daemon --version"),
            Look::Needs(other) => return needs(NAME, other),
        },
        (None, None) => {
            let message = "qemu-storage-daemon is not installed, so nothing can be exported";
            return Finding::failed(NAME, message, "apt install qemu-system-common");
        }
    };
    match version(told) {
        Some(found) if found < QSD_MIN => Finding::warning(
            NAME,
            format!(
                "qemu-storage-daemon {}.{} is older than any that was tried",
                found[0], found[1]
            ),
            format!(
                "use {}.{} or later, as in Debian 12",
                QSD_MIN[0], QSD_MIN[1]
            ),
        ),
        Some(_) if running.is_some() => {
            Finding::ok(NAME, format!("qemu-storage-daemon {told} runs"))
        }
        Some(_) => Finding::ok(NAME, told.replace(" version ", " ")),
        None => Finding::warning(
            NAME,
            format!("qemu-storage-daemon does not tell its version, but {told:?}"),
            "apt install --reinstall qemu-system-common",
        ),
    }
}

/// The first two numbers of the first word that looks like a version.
fn version(text: &str) -> Option<[u32; 2]> {
    text.split(|c: char| c.is_whitespace() || c == ',')
        .find_map(|word| {
            let mut parts = word.split('.');
            let major = parts.next()?.parse().ok()?;
            let minor = parts.next()?;
            let digits = minor.bytes().take_while(u8::is_ascii_digit).count();
            Some([major, minor[..digits].parse().ok()?])
        })
}

fn control(nbd: &Nbd, socket: &Path) -> Finding {
    const NAME: &str = "nbd-control";
    let socket = socket.display();
    match &nbd.control {
        Control::Held { by } => {
            let by = by.map_or_else(
                || "a daemon".to_owned(),
                |pid| format!("the daemon (process {pid})"),
            );
            Finding::skipped(NAME, format!("{by} uses {socket}, which takes one client"))
        }
        Control::Asked(Look::Needs(other)) => needs(NAME, other),
        Control::Asked(Look::Late(limit)) => late(NAME, *limit, START),
        Control::Asked(Look::Done(Ok(ServerFacts {
            pid, hidden: None, ..
        }))) => Finding::ok(
            NAME,
            format!("process {pid} answers at {socket}, and its open files can be seen"),
        ),
        Control::Asked(Look::Done(Ok(ServerFacts {
            pid,
            hidden: Some(why),
            ..
        }))) => Finding::failed(
            NAME,
            format!("process {pid} answers at {socket}, but its open files cannot be seen: {why}"),
            "run it as the same user as volume-daemon, as its unit does: no disk can be handed over else",
        ),
        Control::Asked(Look::Done(Err(error))) => match error {
            NbdError::Qmp(QmpError::NoGreeting { .. }) => Finding::warning(
                NAME,
                format!("{socket} does not greet: another client is connected to it"),
                "end the other client; only volume-daemon is to control this server",
            ),
            _ => Finding::failed(NAME, chain(error), format!("{START}; or correct nbd.qmp")),
        },
    }
}

fn listen(nbd: &Nbd, listen: &Address) -> Finding {
    const NAME: &str = "nbd-listen";
    // Whether a server is there that should serve.
    let controlled = match &nbd.control {
        Control::Asked(Look::Done(Ok(_))) | Control::Held { .. } => true,
        Control::Asked(_) => false,
    };
    match &nbd.listen {
        Look::Needs(other) => needs(NAME, other),
        Look::Late(limit) => late(
            NAME,
            *limit,
            "something holds the port and does not speak NBD: ss -ltnp",
        ),
        Look::Done(Ok(exports)) if controlled => Finding::ok(
            NAME,
            format!("NBD is served at {listen}: {}", count(*exports, "export")),
        ),
        Look::Done(Ok(_)) => Finding::failed(
            NAME,
            format!("an NBD server answers at {listen}, and nbd.qmp does not control it"),
            "ss -lxtnp tells which: if it is volume-daemon-nbd, correct nbd.qmp; else stop it, or change nbd.listen",
        ),
        Look::Done(Err(HandshakeError::Connect { source, .. })) if controlled => Finding::failed(
            NAME,
            format!("the server that nbd.qmp controls does not serve at {listen}: {source}"),
            "give volume-daemon-nbd.service and nbd.listen the same address",
        ),
        Look::Done(Err(HandshakeError::Connect { .. })) => {
            Finding::ok(NAME, format!("{listen} is free for the NBD server"))
        }
        Look::Done(Err(error)) => Finding::failed(
            NAME,
            format!(
                "something else than NBD answers at {listen}: {}",
                chain(error)
            ),
            "ss -ltnp tells what; stop it, or set nbd.listen to another place here and in the unit",
        ),
    }
}

fn nbd_server(legacy: Option<&Program>) -> Finding {
    const NAME: &str = "nbd-server";
    let Some(Program {
        path,
        version: told,
    }) = legacy
    else {
        return Finding::ok(NAME, "nbd-server is not installed, and not needed");
    };
    let path = path.display();
    let told = match told {
        Look::Done(Ok(told)) => told.as_str(),
        Look::Done(Err(_)) | Look::Late(_) | Look::Needs(_) => "",
    };
    match version(told) {
        Some(found) if found >= NBD_SERVER_MIN => Finding::ok(
            NAME,
            format!(
                "nbd-server {}.{} is installed, and not used",
                found[0], found[1]
            ),
        ),
        Some(found) => Finding::warning(
            NAME,
            format!(
                "nbd-server {}.{} is installed: it corrupts its memory when it is reloaded (SIGHUP), \
                 and may serve the wrong disk or none",
                found[0], found[1]
            ),
            "never reload it; once nothing is served by it: apt remove nbd-server",
        ),
        None => Finding::warning(
            NAME,
            format!(
                "{path} is installed and does not tell its version; 3.24 corrupts its memory on SIGHUP"
            ),
            "nbd-server -V; once nothing is served by it: apt remove nbd-server",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (text, found) in [
            (
                "qemu-storage-daemon version 7.2.22 (Debian 1:7.2+dfsg-7)",
                Some([7, 2]),
            ),
            ("7.2.22", Some([7, 2])),
            ("This is nbd-server version 3.24", Some([3, 24])),
            ("qemu-storage-daemon version 10.0.0", Some([10, 0])),
            ("3.26-rc1", Some([3, 26])),
            ("no number", None),
        ] {
            assert_eq!(version(text), found, "{text}");
        }
    }
}
