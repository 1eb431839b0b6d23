//! The NBD server: its program, its control socket, and who answers at its address.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

use super::super::facts::{Control, Nbd, Program};
use super::Watch;
use crate::config::{Address, Config};
use crate::nbd::greet::greet;
use crate::nbd::{NbdAddress, handshake};
use crate::store::examine::Holder;

/// Where programs are looked for after `PATH`: an administrator's may lack the last ones.
const PATHS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) async fn gather(watch: &Watch, config: &Config, holder: Holder) -> Nbd {
    let control = async {
        let held_by = match holder {
            Holder::Process(pid) => Some(pid),
            Holder::Nobody | Holder::Daemon(_) | Holder::Unknown => None,
        };
        // The socket serves one client: beside a daemon we would wait for it, and hold others up.
        if held_by.is_some() {
            return Control::Held { by: held_by };
        }
        let greeting = greet(&config.nbd.qmp, config.nbd.timeout.0);
        Control::Asked(watch.look("nbd-control", greeting).await)
    };
    let address = match &config.nbd.listen {
        Address::Unix(path) => NbdAddress::Unix(path.clone()),
        Address::Tcp(address) => NbdAddress::Tcp(*address),
    };
    let survey = handshake::survey(&address, config.nbd.timeout.0);
    let (program, legacy, control, listen) = tokio::join!(
        program(watch, "nbd-program", "qemu-storage-daemon", "--version"),
        program(watch, "nbd-server", "nbd-server", "-V"),
        control,
        watch.look("nbd-listen", async {
            survey.await.map(|offer| offer.exports.len() + offer.others)
        })
    );
    Nbd {
        program,
        legacy,
        control,
        listen,
    }
}

/// Finds a program, and asks it for its version.
async fn program(
    watch: &Watch,
    check: &'static str,
    name: &str,
    argument: &str,
) -> Option<Program> {
    let own = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&own).chain(env::split_paths(PATHS));
    let path: PathBuf = folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())?;
    let asked = Command::new(&path)
        .arg(argument)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let version = watch.look(check, async {
        let output = asked.await.map_err(|error| error.to_string())?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let first = said.lines().map(str::trim).find(|line| !line.is_empty());
        first.map_or_else(
            || Err(output.status.to_string()),
            |line| Ok(line.to_owned()),
        )
    });
    Some(Program {
        version: version.await,
        path,
    })
}

/// Whether something takes connections at an address.
///
/// # Errors
/// Why it cannot be told.
pub(super) async fn listens(address: &Address) -> Result<bool, String> {
    let connected = match address {
        Address::Unix(path) => UnixStream::connect(path).await.map(drop),
        Address::Tcp(address) => TcpStream::connect(address).await.map(drop),
    };
    match connected {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.to_string()),
    }
}
