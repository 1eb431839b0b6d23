//! What is installed beside the binary fits the binary.

use std::collections::BTreeMap;

use volume_daemon::config::{Config, Override};

const CONFIG: &str = include_str!("../../systemd/config.example.toml");
const DAEMON: &str = include_str!("../../systemd/volume-daemon.service");
const NBD: &str = include_str!("../../systemd/volume-daemon-nbd.service");

/// Settings without a default.
const NO_DEFAULT: [&str; 10] = [
    "api_key",
    "api_key_file",
    "appliance",
    "ca_file",
    "project",
    "secret_key",
    "secret_key_file",
    "url",
    "url_file",
    "vm_id",
];

fn load(text: &str) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    Config::load(Some(file.path()), &[]).map_err(|error| error.to_string())
}

/// `#key = value` made `key = value`; other lines as they are.
fn with_comments_taken_off(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    key.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        .then_some(key)
}

/// The keys that stand in each section.
fn keys(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some(key) = key_of(line) {
            sections
                .entry(section.clone())
                .or_default()
                .push(key.to_owned());
        }
    }
    for keys in sections.values_mut() {
        keys.sort();
    }
    sections
}

/// What is known in a section, by what is said about a key that is not; in all, without one.
fn known(section: Option<&str>) -> Vec<String> {
    let key = match section {
        Some(section) => format!("{section}.no_such_key"),
        None => "no_such_section.key".to_owned(),
    };
    let wrong: Override = format!("{key}=1").parse().expect("section.key=value");
    let said = Config::load(Some(std::path::Path::new("/dev/null")), &[wrong])
        .expect_err("it does not exist")
        .to_string();
    // unknown field `x`, expected one of `a`, `b`: every second part is a name.
    let mut names: Vec<String> = said
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    names.remove(0);
    names.sort();
    names
}

#[test]
fn the_example_configuration_has_every_setting() {
    let listed = keys(&with_comments_taken_off(CONFIG));
    let sections: Vec<&String> = listed.keys().collect();
    assert_eq!(sections, known(None).iter().collect::<Vec<_>>());
    for (section, keys) in &listed {
        assert_eq!(*keys, known(Some(section)), "{section}");
    }
}

#[test]
fn the_example_configuration_shows_the_defaults() {
    let all = with_comments_taken_off(CONFIG);
    load(&all).expect("every value is of the right kind");
    let with_default: Vec<&str> = all
        .lines()
        .filter(|line| key_of(line).is_none_or(|key| !NO_DEFAULT.contains(&key)))
        .collect();
    let shown = load(&with_default.join("\n")).expect("valid");
    assert_eq!(format!("{shown:#?}"), format!("{:#?}", Config::default()));
}

#[test]
fn the_example_configuration_needs_only_its_values_changed() {
    let config = load(CONFIG).expect("valid");
    assert!(config.cloudstack.endpoint().is_ok());
    let missing = config.cloudstack.keys().expect_err("they are not here");
    assert!(
        missing.to_string().contains("/etc/volume-daemon/api.key"),
        "{missing}"
    );
}

#[test]
fn the_units_fit_the_defaults_and_each_other() {
    let config = Config::default();
    let setting = |unit: &str, key: &str| {
        let values: Vec<String> = unit
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(str::to_owned)
            .collect();
        assert!(!values.is_empty(), "{key}");
        values
    };
    let (ip, port) = match config.nbd.listen {
        volume_daemon::config::Address::Tcp(address) => (address.ip(), address.port()),
        volume_daemon::config::Address::Unix(_) => panic!("the unit listens on TCP"),
    };
    assert!(NBD.contains(&format!("path={},", config.nbd.qmp.display())));
    assert!(NBD.contains(&format!("addr.host={ip},addr.port={port},")));
    let runtime = format!("/run/{}", setting(NBD, "RuntimeDirectory")[0]);
    assert_eq!(config.nbd.qmp.parent(), Some(runtime.as_ref()));
    let state = format!("/var/lib/{}/", setting(DAEMON, "StateDirectory")[0]);
    assert!(
        config.store.url.to_string().contains(&state),
        "{}",
        config.store.url
    );
    // What /proc/PID/fd needs.
    for key in [
        "User",
        "Group",
        "SupplementaryGroups",
        "CapabilityBoundingSet",
        "DeviceAllow",
    ] {
        assert_eq!(setting(DAEMON, key), setting(NBD, key), "{key}");
    }
    for unit in [DAEMON, NBD] {
        assert!(!unit.contains("\nProtectProc="));
    }
}
