//! What was seen, before anybody judged it. Plain data.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cloudstack::CloudStackError;
use crate::cloudstack::probe::{Greeting, OfferingFacts, VmFacts, ZoneFacts};
use crate::config::{Config, ConfigError};
use crate::model::desired::VolumeDocument;
use crate::model::observed::CloudVolume;
use crate::model::{Reading, VmId};
use crate::nbd::NbdError;
use crate::nbd::greet::ServerFacts;
use crate::nbd::handshake::HandshakeError;
use crate::store::StoreError;
use crate::store::examine::Examined;

/// What became of one look.
#[derive(Debug)]
pub(super) enum Look<T> {
    /// There is an answer, be it an error.
    Done(T),
    /// There was none in time.
    Late(Duration),
    /// It was not taken, because it needs what this check did not find.
    Needs(&'static str),
}

/// Which address took a connection, and how fast; else what each said.
pub(super) type Connected = Result<(SocketAddr, Duration), Vec<(SocketAddr, String)>>;

/// What CloudStack answered to a question.
pub(super) type Asked<T> = Look<Result<T, CloudStackError>>;

/// The settings, and files that they name.
#[derive(Debug)]
pub(super) struct Settings {
    /// The configuration file.
    pub file: PathBuf,
    /// Whether it is there; its mode, then.
    pub mode: Option<u32>,
    /// What it says, with environment and flags; or what is wrong with that.
    pub config: Result<Box<Config>, String>,
    /// What else keeps it from being used, such as an unreadable CA file.
    pub unusable: Option<String>,
    /// The two keys, in the order of the settings.
    pub keys: Vec<Key>,
    /// Whether they are one and the same text.
    pub same_keys: bool,
    /// What is in the directory of specs.
    pub specs: Look<Result<Specs, String>>,
    /// Who we are.
    pub user: User,
}

/// One of the two keys. Never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// Its setting.
    pub setting: &'static str,
    /// Where it comes from.
    pub source: KeySource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySource {
    /// Not set at all.
    Missing,
    /// Set twice.
    Twice,
    /// In the settings.
    Inline,
    /// In a file with this mode.
    File {
        path: PathBuf,
        mode: u32,
        content: KeyContent,
    },
    /// In a file that cannot be read.
    Unreadable { path: PathBuf, why: String },
}

/// What a file of a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyContent {
    Empty,
    OneWord,
    /// White space inside: two keys, or something else.
    SeveralWords,
}

/// Spec files, as `run` would read them.
#[derive(Debug, Default)]
pub(super) struct Specs {
    /// How many files.
    pub files: usize,
    /// The valid documents.
    pub documents: Vec<VolumeDocument>,
    /// For each file that is not valid the first thing that is wrong, with its place.
    pub invalid: Vec<String>,
}

/// Whose eyes these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub id: u32,
    pub name: Option<String>,
    /// Whether there is a user as which the service runs.
    pub service_user_exists: bool,
}

/// Where CloudStack is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub host: String,
    pub port: u16,
    pub https: bool,
    /// Whether a CA file is configured.
    pub own_ca: bool,
}

/// CloudStack.
#[derive(Debug)]
pub(super) struct Cloud {
    pub endpoint: Option<Endpoint>,
    pub addresses: Look<Result<Vec<SocketAddr>, String>>,
    pub connected: Look<Connected>,
    pub greeting: Look<Greeting>,
    pub commands: Asked<BTreeSet<String>>,
    pub zones: Asked<Vec<ZoneFacts>>,
    pub offerings: Asked<Vec<OfferingFacts>>,
    /// Which VM was asked for, and what came back.
    pub vm: Asked<Option<VmFacts>>,
    pub owned: Asked<bool>,
    pub volumes: Asked<Vec<CloudVolume>>,
}

/// This machine.
#[derive(Debug)]
pub(super) struct Machine {
    /// Whether `host.root` is `/`.
    pub real: bool,
    pub root: PathBuf,
    pub identity: Look<Reading<VmId>>,
    pub disks: Look<Result<DiskFacts, String>>,
    pub udev: Look<UdevFacts>,
    pub lvm: Look<LvmFacts>,
    pub md: Look<MdFacts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct DiskFacts {
    /// How many disks there are.
    pub disks: usize,
    /// How many by-id links of CloudStack's naming schemes lead to one.
    pub links: usize,
    /// Disks with such a link that this user may not read and write.
    pub denied: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UdevFacts {
    /// Whether udevd has its control socket.
    pub running: bool,
    /// Whether `/dev/disk/by-id` is there; udev makes it with the first link.
    pub by_id: bool,
}

/// LVM, as far as it starts volume groups by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LvmFacts {
    pub installed: bool,
    /// `lvm.conf`, and after it `lvmlocal.conf`, which overrides it. An error where one cannot be read.
    pub conf: Vec<(PathBuf, Result<String, String>)>,
    /// Whether there is a list of devices that it is limited to.
    pub devices_file: bool,
}

/// md, as far as it assembles arrays by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct MdFacts {
    pub installed: bool,
    /// The udev rules in force that assemble arrays.
    pub rules: Vec<PathBuf>,
    /// `mdadm.conf`, and files that belong to it.
    pub conf: Vec<(PathBuf, Result<String, String>)>,
}

/// The NBD server.
#[derive(Debug)]
pub(super) struct Nbd {
    /// `qemu-storage-daemon`: where it is, and the first line it says about its version.
    pub program: Option<Program>,
    /// `nbd-server`, the same.
    pub legacy: Option<Program>,
    pub control: Control,
    pub listen: Look<Result<usize, HandshakeError>>,
}

#[derive(Debug)]
pub(super) struct Program {
    pub path: PathBuf,
    pub version: Look<Result<String, String>>,
}

/// The control socket, which takes one client at a time.
#[derive(Debug)]
pub(super) enum Control {
    /// A daemon holds it, so it was not asked.
    Held { by: Option<u32> },
    /// What it said.
    Asked(Look<Result<ServerFacts, NbdError>>),
}

/// Why the store cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreProblem {
    /// The settings name none.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// It is not usable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the daemon needs for itself.
#[derive(Debug)]
pub(super) struct Daemon {
    pub store: Look<Result<Examined, StoreProblem>>,
    /// Whether something answers where the API is to be; an error is why it is not even tried.
    pub api: Look<Result<bool, String>>,
}
