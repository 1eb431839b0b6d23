//! What the daemon keeps: its store, room for it, and whether one runs already.

use super::super::facts::{Daemon, Look, Machine, StoreProblem};
use super::super::finding::Finding;
use super::{late, needs};
use crate::config::Config;
use crate::model::{ByteSize, Reading};
use crate::store::StoreError;
use crate::store::examine::{Content, Examined, Holder, Room, SCHEMA, Writable};
use crate::telemetry::chain;

/// Below this the journal cannot be relied on: without it nothing is changed.
const FREE_LEAST: u64 = 16 << 20;
/// Below this somebody should make room before it comes to that.
const FREE_LOW: u64 = 256 << 20;

const STUCK: &str = "see whether its file system hangs: mount, dmesg";

pub(super) fn judge(daemon: &Daemon, machine: &Machine, config: &Config) -> Vec<Finding> {
    vec![
        store(daemon, machine),
        space(daemon),
        running(daemon, config),
    ]
}

fn examined<'a>(check: &'static str, daemon: &'a Daemon) -> Result<&'a Examined, Finding> {
    match &daemon.store {
        Look::Done(Ok(found)) => Ok(found),
        Look::Done(Err(_)) => Err(needs(check, "store")),
        Look::Late(limit) => Err(late(check, *limit, STUCK)),
        Look::Needs(other) => Err(needs(check, other)),
    }
}

fn store(daemon: &Daemon, machine: &Machine) -> Finding {
    const NAME: &str = "store";
    if let Look::Done(Err(error)) = &daemon.store {
        let fix = match error {
            StoreProblem::Settings(_) | StoreProblem::Store(StoreError::Url { .. }) => {
                "correct store.url and store.appliance"
            }
            StoreProblem::Store(_) => {
                "do as it says; the daemon needs its store before it changes anything"
            }
        };
        return Finding::failed(NAME, chain(error), fix);
    }
    let found = match examined(NAME, daemon) {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    let path = &found.store;
    let failed = |message: String, fix: String| Finding::failed(NAME, message, fix);
    match &found.writable {
        Writable::Yes => {}
        Writable::NoDirectory(dir) => {
            let dir = dir.display();
            return failed(
                format!("{dir} does not exist, where the store or its lock file is to be"),
                format!(
                    "install -d -m 0700 -o volume-daemon {dir} (the service unit does it), or set store.url"
                ),
            );
        }
        Writable::Denied(what) => {
            let what = what.display();
            return failed(
                format!("this user may not write {what}"),
                format!("chown volume-daemon: {what}; or run the check as the daemon's user"),
            );
        }
        Writable::ServerReadOnly => {
            return failed(
                format!("the server of {path} takes no writes: it is a replica, or closed"),
                "name the server that takes writes in store.url, or SET GLOBAL read_only = 0 there"
                    .to_owned(),
            );
        }
        Writable::ReadOnly => {
            return failed(
                format!("{path} is on a read-only file system"),
                "dmesg | tail: a file system with errors is made read-only; else set store.url"
                    .to_owned(),
            );
        }
    }
    let Some(Content { schema, vm }) = &found.content else {
        return Finding::ok(NAME, format!("{path} will be made at the first start"));
    };
    if *schema > SCHEMA {
        return failed(
            format!(
                "{path} has schema {schema}, this version knows {SCHEMA}: a later one has used it"
            ),
            "install that version again, or restore a backup from before".to_owned(),
        );
    }
    if let (Some(owner), Look::Done(Reading::Present(here))) = (vm, &machine.identity)
        && owner != here
    {
        return failed(
            format!(
                "{path} belongs to VM {owner}, and this is VM {here}: run refuses to act for it"
            ),
            format!(
                "on a copy of the appliance: start with an empty store (store.url); if that VM is gone \
                 for good: volume-daemon take-over --from {owner}"
            ),
        );
    }
    let migrated = if *schema < SCHEMA {
        format!("has schema {schema}, which the next start brings to {SCHEMA}")
    } else {
        format!("is there, schema {schema}")
    };
    Finding::ok(NAME, format!("{path} {migrated}"))
}

fn space(daemon: &Daemon) -> Finding {
    const NAME: &str = "space";
    let found = match examined(NAME, daemon) {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    if let Writable::NoDirectory(_) = found.writable {
        return needs(NAME, "store");
    }
    let path = &found.store;
    let free = match found.room {
        Room::Free(free) => free,
        Room::Unknown => {
            let message = format!("the room on the file system of {path} cannot be told");
            return Finding::warning(NAME, message, "df -h");
        }
        Room::Elsewhere => {
            return Finding::ok(NAME, format!("the room of {path} is its server's to watch"));
        }
    };
    let message = format!(
        "{} MiB free for {path}",
        ByteSize::bytes(free).as_bytes() >> 20
    );
    let fix = format!("df -h {path}; remove what is not needed");
    if free < FREE_LEAST {
        Finding::failed(
            NAME,
            format!("{message}: the journal may not be written"),
            fix,
        )
    } else if free < FREE_LOW {
        Finding::warning(NAME, message, fix)
    } else {
        Finding::ok(NAME, message)
    }
}

fn running(daemon: &Daemon, config: &Config) -> Finding {
    const NAME: &str = "daemon";
    let listen = &config.api.listen;
    let holder = match &daemon.store {
        Look::Done(Ok(found)) => found.holder.clone(),
        Look::Done(Err(_)) | Look::Late(_) | Look::Needs(_) => Holder::Unknown,
    };
    let answers = match &daemon.api {
        Look::Needs(other) => return needs(NAME, other),
        Look::Late(limit) => {
            return late(NAME, *limit, "see what holds api.listen: ss -lxtnp");
        }
        Look::Done(Err(why)) => {
            let message = format!("api.listen: {listen} cannot be reached: {why}");
            return Finding::failed(
                NAME,
                message,
                "correct api.listen, or run the check as root",
            );
        }
        Look::Done(Ok(answers)) => *answers,
    };
    let restart = "journalctl -u volume-daemon; systemctl restart volume-daemon";
    match (holder, answers) {
        (Holder::Process(pid), true) => Finding::ok(
            NAME,
            format!("the daemon runs (process {pid}) and listens at {listen}"),
        ),
        (Holder::Process(pid), false) => Finding::warning(
            NAME,
            format!("process {pid} holds the store, and nothing listens at {listen}"),
            format!("it may be starting or stopping, or have another api.listen; {restart}"),
        ),
        (Holder::Daemon(other), _) => Finding::warning(
            NAME,
            format!("{other} holds the store, and is not a daemon that runs here"),
            "if it was killed, the next start waits 15 s for it; else stop it, or give this one \
             another store.appliance",
        ),
        (Holder::Nobody, true) => Finding::failed(
            NAME,
            format!("something else listens at {listen}, where the daemon is to"),
            "ss -lxtnp tells what; stop it, or set api.listen",
        ),
        (Holder::Nobody, false) => Finding::ok(
            NAME,
            format!("the daemon does not run; {listen} is free for it"),
        ),
        (Holder::Unknown, true) => Finding::ok(
            NAME,
            format!("something listens at {listen}, probably the daemon"),
        ),
        (Holder::Unknown, false) => Finding::ok(NAME, format!("nothing listens at {listen}")),
    }
}
