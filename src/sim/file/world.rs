//! The sections of a world file.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use crate::sim::world::{Limits, Role, Settings, VolumeState};

use super::{FileError, Placed, read};

/// The standard world as a file, with comments.
pub const STANDARD_WORLD: &str = include_str!("standard.yaml");

/// A world file. A section that is absent is as in [`STANDARD_WORLD`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorldFile {
    /// Seed, latencies and limits.
    #[serde(default)]
    pub settings: Settings,
    pub(super) domains: Option<Vec<DomainSpec>>,
    pub(super) zones: Option<Vec<ZoneSpec>>,
    pub(super) offerings: Option<Vec<OfferingSpec>>,
    pub(super) service_offerings: Option<Vec<ServiceOfferingSpec>>,
    pub(super) templates: Option<Vec<TemplateSpec>>,
    pub(super) accounts: Option<Vec<AccountSpec>>,
    pub(super) projects: Option<Vec<ProjectSpec>>,
    pub(super) vms: Option<Vec<VmSpec>>,
    pub(super) volumes: Option<Vec<VolumeSpec>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DomainSpec {
    /// As `ROOT/sales`; the domain above comes first.
    pub path: Placed,
    #[serde(default)]
    pub limits: Limits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProjectSpec {
    pub name: Placed,
    pub owner: Placed,
    #[serde(default)]
    pub members: Vec<Placed>,
    #[serde(default)]
    pub limits: Limits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ZoneSpec {
    pub name: Placed,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Their names. Absent: two.
    #[serde(default = "two_hosts")]
    pub hosts: Vec<String>,
}

fn two_hosts() -> Vec<String> {
    vec!["kvm-1".to_owned(), "kvm-2".to_owned()]
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceOfferingSpec {
    pub name: Placed,
    pub cpus: u32,
    pub memory_mib: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TemplateSpec {
    pub name: Placed,
    pub os: String,
    pub size_gib: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OfferingSpec {
    pub name: Placed,
    /// Absent: the caller gives the size.
    pub size_gib: Option<u64>,
    /// Whether its volumes keep their size.
    #[serde(default)]
    pub disk_size_strictness: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AccountSpec {
    pub name: Placed,
    pub api_key: Placed,
    pub secret_key: String,
    /// By its path; absent: ROOT.
    pub domain: Option<Placed>,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Absent: a root administrator.
    #[serde(default)]
    pub role: Role,
    #[serde(default)]
    pub limits: Limits,
    /// Commands that its role does not allow.
    #[serde(default)]
    pub forbidden: Vec<String>,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VmSpec {
    pub name: Placed,
    pub id: Option<Uuid>,
    /// Absent: the first.
    pub zone: Option<Placed>,
    /// Absent: that of the project, or the first.
    pub account: Option<Placed>,
    pub project: Option<Placed>,
    #[serde(default)]
    pub state: VmGiven,
    /// Absent: the usual one.
    pub os: Option<String>,
    /// Absent: the usual ones.
    pub details: Option<BTreeMap<String, String>>,
    /// Whether its guest ignores requests to release a disk.
    #[serde(default)]
    pub ignores_unplug: bool,
}

/// In which state a VM begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum VmGiven {
    #[default]
    Running,
    Stopped,
    /// Stopped, and never started.
    New,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VolumeSpec {
    pub name: Placed,
    pub id: Option<Uuid>,
    /// Absent: that of the offering.
    pub size_gib: Option<u64>,
    /// Absent: the first.
    pub offering: Option<Placed>,
    /// Absent: that of its VM, or the first.
    pub zone: Option<Placed>,
    /// Absent: that of the project, of its VM, or the first.
    pub account: Option<Placed>,
    pub project: Option<Placed>,
    /// Absent: Ready on a VM that was started, Allocated otherwise.
    pub state: Option<VolumeGiven>,
    pub attached_to: Option<Placed>,
    /// Absent: CloudStack chooses.
    pub device_id: Option<i64>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// How long ago it was made.
    #[serde(default)]
    pub age: Age,
}

/// In which state a volume begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum VolumeGiven {
    Allocated,
    Ready,
    Destroy,
}

impl From<VolumeGiven> for VolumeState {
    fn from(given: VolumeGiven) -> Self {
        match given {
            VolumeGiven::Allocated => Self::Allocated,
            VolumeGiven::Ready => Self::Ready,
            VolumeGiven::Destroy => Self::Destroy,
        }
    }
}

/// A time span such as `30s` or `720h`, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Age(pub i64);

impl TryFrom<String> for Age {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| i64::try_from(span.as_millis()).ok())
            .filter(|millis| *millis >= 0)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a time span like 30s or 720h"))
    }
}

impl WorldFile {
    /// Reads a world file.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(file: &str, text: &str) -> Result<Self, FileError> {
        read(text).map_err(|mistake| mistake.in_file(file))
    }

    /// The standard world.
    pub fn standard() -> Self {
        Self::parse("standard.yaml", STANDARD_WORLD).expect("a test reads it")
    }
}
