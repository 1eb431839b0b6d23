//! The configuration, the keys, the specs, and whose eyes see all this.

use std::path::Path;

use super::super::facts::{Key, KeyContent, KeySource, Look, Settings, Specs, User};
use super::super::finding::Finding;
use super::{late, needs, some};
use crate::cli::output::count;

/// Bits of a mode by which others than owner and group get at a file.
const OTHERS: u32 = 0o007;
const GROUP_WRITES: u32 = 0o020;

pub(super) fn judge(facts: &Settings) -> Vec<Finding> {
    vec![
        config(facts),
        credentials(facts),
        specs(facts),
        user(&facts.user),
    ]
}

fn config(facts: &Settings) -> Finding {
    const NAME: &str = "config";
    let file = facts.file.display();
    let fix = "correct it, then volume-daemon config check; every key is in config.example.toml";
    match (&facts.config, &facts.unusable, facts.mode) {
        (Err(why), _, _) => Finding::failed(NAME, why, fix),
        (Ok(_), Some(why), Some(_)) => Finding::failed(NAME, why, fix),
        (Ok(_), Some(why), None) => Finding::failed(
            NAME,
            format!("there is no {file}, and {why}"),
            format!(
                "install config.example.toml as {file} and fill it in, or name yours with --config"
            ),
        ),
        (Ok(_), None, Some(_)) => Finding::ok(NAME, format!("{file} is valid")),
        (Ok(_), None, None) => {
            let message =
                format!("there is no {file}; the environment and flags set what is needed");
            Finding::ok(NAME, message)
        }
    }
}

fn credentials(facts: &Settings) -> Finding {
    const NAME: &str = "credentials";
    if facts.config.is_err() {
        return needs(NAME, "config");
    }
    let unusable = facts.keys.iter().find_map(|key| unusable_key(NAME, key));
    if let Some(finding) = unusable {
        return finding;
    }
    if facts.same_keys {
        let message = "API key and secret key are the same text";
        let fix = "copy both anew from CloudStack (Accounts, Users, the user's keys)";
        return Finding::failed(NAME, message, fix);
    }
    let inline = facts.keys.iter().any(|key| key.source == KeySource::Inline);
    let exposed = facts.keys.iter().filter_map(|key| match &key.source {
        KeySource::File { path, mode, .. } => Some((path.as_path(), *mode)),
        _ => None,
    });
    let config = facts.mode.filter(|_| inline);
    let exposed = exposed.chain(config.map(|mode| (facts.file.as_path(), mode)));
    let mut exposed = exposed.filter(|(_, mode)| mode & (OTHERS | GROUP_WRITES) != 0);
    if let Some((path, mode)) = exposed.next() {
        return exposed_file(NAME, path, mode);
    }
    Finding::ok(NAME, how_kept(&facts.keys))
}

fn exposed_file(name: &'static str, path: &Path, mode: u32) -> Finding {
    let who = match mode & OTHERS {
        0 => "its group may change it",
        _ => "every user of this machine gets at it",
    };
    Finding::warning(
        name,
        format!(
            "{} holds a key and has mode {:04o}: {who}",
            path.display(),
            mode & 0o7777
        ),
        format!("chmod 0600 {0} && chown volume-daemon: {0}", path.display()),
    )
}

fn unusable_key(name: &'static str, key: &Key) -> Option<Finding> {
    let setting = key.setting;
    let failed = |message: String, fix: String| Some(Finding::failed(name, message, fix));
    match &key.source {
        KeySource::Missing => failed(
            format!("{setting} is not set"),
            format!(
                "write the key into a file and name it: {setting}_file = \"/etc/volume-daemon/...\""
            ),
        ),
        KeySource::Twice => failed(
            format!("{setting} is set both directly and by {setting}_file"),
            format!("remove {setting}"),
        ),
        KeySource::Unreadable { path, why } => failed(
            format!("{setting}_file: {} cannot be read: {why}", path.display()),
            format!("ls -l {}; the daemon's user has to read it", path.display()),
        ),
        KeySource::File { path, content, .. } => match content {
            KeyContent::OneWord => None,
            KeyContent::Empty => failed(
                format!("{setting}_file: {} is empty", path.display()),
                "copy the key from CloudStack (Accounts, Users, the user's keys)".to_owned(),
            ),
            KeyContent::SeveralWords => failed(
                format!(
                    "{setting}_file: {} holds more than one word",
                    path.display()
                ),
                "keep the key only, on one line".to_owned(),
            ),
        },
        KeySource::Inline => None,
    }
}

fn how_kept(keys: &[Key]) -> String {
    let files = keys.iter().filter_map(|key| match &key.source {
        KeySource::File { path, mode, .. } => {
            Some(format!("{} (mode {:04o})", path.display(), mode & 0o7777))
        }
        _ => None,
    });
    match files.collect::<Vec<_>>() {
        files if files.is_empty() => "both keys are set directly in the settings".to_owned(),
        files => format!("both keys are there: {}", files.join(", ")),
    }
}

fn specs(facts: &Settings) -> Finding {
    const NAME: &str = "specs";
    let Ok(config) = &facts.config else {
        return needs(NAME, "config");
    };
    let dir = config.specs.dir.display();
    match &facts.specs {
        Look::Needs(other) => needs(NAME, other),
        Look::Late(limit) => late(
            NAME,
            *limit,
            "see whether its file system hangs: mount, dmesg",
        ),
        Look::Done(Err(why)) => Finding::failed(
            NAME,
            format!("{dir} cannot be read: {why}"),
            format!("install -d {dir}, or set specs.dir"),
        ),
        Look::Done(Ok(Specs { files: 0, .. })) => {
            Finding::ok(NAME, format!("{dir} is there and has no spec file yet"))
        }
        Look::Done(Ok(specs)) if !specs.invalid.is_empty() => Finding::warning(
            NAME,
            format!(
                "{} of {} in {dir} not valid, so what was accepted before stays in force: {}",
                specs.invalid.len(),
                count(specs.files, "file"),
                some(&specs.invalid)
            ),
            format!("volume-daemon validate {dir}"),
        ),
        Look::Done(Ok(specs)) => {
            let (files, volumes) = (specs.files, specs.documents.len());
            let (files, volumes) = (count(files, "file"), count(volumes, "volume"));
            Finding::ok(NAME, format!("{dir}: {files}, {volumes}, all valid"))
        }
    }
}

fn user(user: &User) -> Finding {
    const NAME: &str = "user";
    let id = user.id;
    let name = user.name.clone().unwrap_or_else(|| format!("user {id}"));
    if id == 0 && user.service_user_exists {
        return Finding::warning(
            NAME,
            format!("checked as {name}, who may read and write what the daemon's user may not"),
            "sudo -u volume-daemon volume-daemon check",
        );
    }
    Finding::ok(NAME, format!("checked as {name}"))
}
