//! The configuration and the files that it names. Keys are looked at here and go no further.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Uid, geteuid};
use reqwest::Url;

use super::super::facts::{Endpoint, Key, KeyContent, KeySource, Settings, Specs, User};
use super::Watch;
use crate::cli::{run, validate};
use crate::clock::Clock;
use crate::cloudstack::{Client, HttpTransport};
use crate::config::{Config, ConfigError, Masked};
use crate::spec;
use crate::telemetry::chain;

/// The user of `volume-daemon.service`.
const SERVICE_USER: &str = "volume-daemon";

/// The settings, and a client made of them if they allow one.
pub(super) async fn gather(
    watch: &Watch,
    file: &Path,
    config: Result<Config, ConfigError>,
    clock: &Arc<dyn Clock>,
) -> (Settings, Option<Client<HttpTransport>>) {
    let config = config.map(Box::new).map_err(|error| in_words(&error));
    let (keys, same_keys) = config
        .as_ref()
        .map(|config| keys(config))
        .unwrap_or_default();
    let specs = match &config {
        Ok(config) => {
            let dir = config.specs.dir.clone();
            watch.blocking("specs", move || specs(&dir)).await
        }
        Err(_) => super::Look::Needs("config"),
    };
    let mut settings = Settings {
        file: file.to_owned(),
        mode: fs::metadata(file).ok().map(|found| found.mode()),
        config,
        unusable: None,
        keys,
        same_keys,
        specs,
        user: user(),
    };
    let client = match &settings.config {
        Ok(config) => client(config, settings.has_keys(), clock),
        Err(_) => Ok(None),
    };
    match client {
        Ok(client) => (settings, client),
        Err(why) => {
            settings.unusable = Some(why);
            (settings, None)
        }
    }
}

/// What is wrong, without the excerpt of the file: a key may stand in it.
fn in_words(error: &ConfigError) -> String {
    let text = chain(error);
    if !text.contains('\n') {
        return text;
    }
    let excerpt = |line: &&str| {
        let rest = line
            .trim_start()
            .trim_start_matches(|c: char| c.is_ascii_digit());
        rest.trim_start().starts_with('|')
    };
    let secret = text.lines().filter(excerpt).any(|line| {
        ["api_key", "secret_key"].iter().any(|key| {
            line.split_once(key)
                .is_some_and(|(_, rest)| !rest.starts_with("_file"))
        })
    });
    let mut words: Vec<&str> = text.lines().filter(|line| !excerpt(line)).collect();
    if secret {
        words.truncate(1);
        words.push("a key is not written as text in quotes");
    }
    words.join(": ")
}

fn client(
    config: &Config,
    has_keys: bool,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Client<HttpTransport>>, String> {
    config
        .cloudstack
        .endpoint()
        .map_err(|error| chain(&error))?;
    if endpoint(config).is_none() {
        return Err("cloudstack.url is not like https://cloud.example.org/client/api".to_owned());
    }
    if !has_keys {
        return Ok(None);
    }
    let client = run::cloud(config, Arc::clone(clock));
    client.map(Some).map_err(|error| chain(error.as_ref()))
}

/// Where CloudStack is, if that can be told.
pub(super) fn endpoint(config: &Config) -> Option<Endpoint> {
    let url = Url::parse(config.cloudstack.endpoint().ok()?).ok()?;
    let https = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    Some(Endpoint {
        host: url.host_str()?.trim_matches(['[', ']']).to_owned(),
        port: url.port_or_known_default()?,
        https,
        own_ca: config.cloudstack.ca_file.is_some(),
    })
}

/// Both keys, and whether they are the same.
fn keys(config: &Config) -> (Vec<Key>, bool) {
    let settings = &config.cloudstack;
    let (api, api_text) = key(
        "cloudstack.api_key",
        &settings.api_key,
        &settings.api_key_file,
    );
    let (secret, secret_text) = key(
        "cloudstack.secret_key",
        &settings.secret_key,
        &settings.secret_key_file,
    );
    let same = api_text.is_some() && api_text == secret_text;
    (vec![api, secret], same)
}

fn key(
    setting: &'static str,
    inline: &Option<Masked>,
    file: &Option<PathBuf>,
) -> (Key, Option<String>) {
    let (source, text) = match (inline, file) {
        (None, None) => (KeySource::Missing, None),
        (Some(_), Some(_)) => (KeySource::Twice, None),
        (Some(key), None) => (KeySource::Inline, Some(key.reveal().to_owned())),
        (None, Some(path)) => match read_key(path) {
            Ok((mode, text)) => {
                let content = match text.split_whitespace().count() {
                    0 => KeyContent::Empty,
                    1 => KeyContent::OneWord,
                    _ => KeyContent::SeveralWords,
                };
                let path = path.clone();
                (
                    KeySource::File {
                        path,
                        mode,
                        content,
                    },
                    Some(text),
                )
            }
            Err(error) => {
                let (path, why) = (path.clone(), error.to_string());
                (KeySource::Unreadable { path, why }, None)
            }
        },
    };
    (Key { setting, source }, text)
}

fn read_key(path: &Path) -> io::Result<(u32, String)> {
    let text = fs::read_to_string(path)?;
    Ok((fs::metadata(path)?.mode(), text.trim().to_owned()))
}

fn user() -> User {
    let id = geteuid();
    let named = |uid: Uid| nix::unistd::User::from_uid(uid).ok().flatten();
    User {
        id: id.as_raw(),
        name: named(id).map(|user| user.name),
        service_user_exists: nix::unistd::User::from_name(SERVICE_USER)
            .is_ok_and(|user| user.is_some()),
    }
}

/// Reads what the daemon would read. Abandoned and stored versions do not matter here.
fn specs(dir: &Path) -> Result<Specs, String> {
    let mut specs = Specs::default();
    for path in validate::spec_files(dir).map_err(|error| error.to_string())? {
        specs.files += 1;
        let name = path.display().to_string();
        let read = fs::File::open(&path).and_then(|mut file| validate::read(&mut file));
        match read.map(|text| spec::parse(&name, &text)) {
            Ok(Ok(parsed)) => specs
                .documents
                .extend(parsed.into_iter().map(|one| one.document)),
            Ok(Err(problems)) => {
                specs
                    .invalid
                    .extend(problems.iter().next().map(ToString::to_string));
            }
            Err(error) => specs.invalid.push(format!("{name}: {error}")),
        }
    }
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_the_file_is_told_without_what_stands_there() {
        let wrong = |text: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            fs::write(file.path(), text).expect("written");
            in_words(&Config::load(Some(file.path()), &[]).expect_err(text))
        };
        let unknown = wrong("[cloudstack]\nulr = \"x\"\n");
        assert!(
            unknown.contains("line 2") && unknown.contains("`ulr`"),
            "{unknown}"
        );
        assert!(!unknown.contains(['\n', '|']), "{unknown}");
        for text in [
            "[cloudstack]\nsecret_key = hunter2\n",
            "[cloudstack]\napi_key = 12345678\n",
            "[cloudstack]\nsecret_key = \"hunter2\n",
        ] {
            let told = wrong(text);
            assert!(told.contains("line 2"), "{told}");
            assert!(
                !told.contains("hunter2") && !told.contains("12345678"),
                "{told}"
            );
        }
    }

    #[test]
    fn an_endpoint_is_taken_apart() {
        let at = |url: &str| {
            let mut config = Config::default();
            config.cloudstack.url = Some(url.to_owned());
            endpoint(&config).map(|found| (found.host, found.port, found.https))
        };
        let found = |host: &str, port, https| Some((host.to_owned(), port, https));
        assert_eq!(
            at("https://cloud.example/client/api"),
            found("cloud.example", 443, true)
        );
        assert_eq!(
            at("http://[::1]:8096/client/api"),
            found("::1", 8096, false)
        );
        assert_eq!(at("ftp://cloud.example/"), None);
        assert_eq!(at("cloud.example"), None);
    }
}
