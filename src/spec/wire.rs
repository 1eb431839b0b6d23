//! The format of `kind: Volume` documents as types: what is accepted, and what the schema says.
//!
//! These types alone decide what is valid. The module `explain` only says why something is
//! not. Doc comments here end up in the schema, hence in people's editors.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::values::{
    self, CloudName, DRAIN_TIMEOUT_PATTERN, DeviceId, DrainTimeout, LabelKey, LabelValue, VmRef,
};
use crate::model::desired::{
    self, AttachSpec, ExportSpec, NameOrId, Origin, VolumeDocument, VolumeSpec,
};
use crate::model::{ByteSize, ExportName, VolumeId, VolumeName};

const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const SIZE_PATTERN: &str = "^[0-9]+(B|MiB|GiB|TiB)$";
const EXPORT_NAME_PATTERN: &str = "^[!-$&-\\-0-Z\\\\^-~][!-$&-.0-Z\\\\^-~]*$";
const LABELS_MAX: usize = 64;

/// A CloudStack volume, where it is attached, and how it is exported over NBD.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Volume")]
pub(super) struct Document {
    /// The version of this format.
    api_version: ApiVersion,
    /// What this document declares.
    kind: DocumentKind,
    /// What the document is called.
    metadata: Metadata,
    /// What is asked for: an existing volume, or a new one with size, zone and diskOffering.
    spec: Spec,
}

#[derive(Debug, Deserialize, JsonSchema)]
enum ApiVersion {
    #[serde(rename = "volume-daemon.io/v1alpha1")]
    V1Alpha1,
}

#[derive(Debug, Deserialize, JsonSchema)]
enum DocumentKind {
    Volume,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    /// The identity of the volume for this daemon: an RFC 1123 label. Renaming it
    /// declares another volume.
    #[schemars(with = "String", length(min = 1, max = 63), regex(pattern = NAME_PATTERN))]
    #[schemars(example = &"pgtest2-disk-0")]
    name: VolumeName,
    /// Free labels, for people and filters only. Values are text: quote numbers.
    #[serde(default)]
    #[schemars(extend(
        "maxProperties" = LABELS_MAX,
        "propertyNames" = { "pattern": values::LABEL_KEY_PATTERN },
        "additionalProperties" = { "type": "string", "maxLength": values::LABEL_VALUE_CHARS_MAX },
    ))]
    #[schemars(example = json!({ "job": "job-20250821-103724" }))]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend(
    "if" = { "required": ["existing"] },
    "then" = { "properties": { "zone": false, "diskOffering": false, "volumeName": false } },
    "else" = { "required": ["size", "zone", "diskOffering"] },
))]
struct Spec {
    /// Enforce: make it so. Observe: report only, change nothing.
    #[serde(default)]
    mode: Mode,
    /// true: change nothing for now; observation and drift reports go on.
    #[serde(default)]
    suspend: bool,
    /// The volume's name in CloudStack, where names are not unique. metadata.name if absent. Nothing
    /// renames a volume that exists.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "String", length(min = 1, max = values::CLOUD_NAME_CHARS_MAX))]
    #[schemars(example = &"pgtest2-disk-0")]
    volume_name: Option<CloudName>,
    /// The least size: a whole number and MiB, GiB, TiB or B. CloudStack takes whole GiB, so
    /// it is rounded up. It can grow, never shrink.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "String", regex(pattern = SIZE_PATTERN), example = &"40GiB")]
    size: Option<ByteSize>,
    /// The zone to create the volume in, by name or UUID.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "String", length(min = 1, max = values::CLOUD_NAME_CHARS_MAX))]
    #[schemars(example = &"zone-1")]
    zone: Option<CloudName>,
    /// The disk offering to create the volume from, by name or UUID.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "String", length(min = 1, max = values::CLOUD_NAME_CHARS_MAX))]
    #[schemars(example = &"Custom")]
    disk_offering: Option<CloudName>,
    /// Adopt this volume, given by exactly one of id and name, instead of creating one.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Existing")]
    existing: Option<Existing>,
    /// Where to attach the volume. Absent: its attachment is not managed, only reported.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "AttachTo")]
    attach_to: Option<AttachTo>,
    /// How to export the volume over NBD. Absent: not exported.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Export")]
    export: Option<Export>,
    /// What happens when this document goes away. Retain: volume and attachment stay, the
    /// export ends once no client uses it. Detach: the volume is detached as well. Delete: it is
    /// also deleted, where deletionProtection is false.
    #[serde(default)]
    reclaim_policy: Reclaim,
    /// true: the volume is never deleted, whatever reclaimPolicy says.
    #[serde(default = "yes")]
    deletion_protection: bool,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
enum Mode {
    #[default]
    Enforce,
    Observe,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
enum Move {
    #[default]
    Never,
    WhenFree,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
enum Reclaim {
    #[default]
    Retain,
    Detach,
    Delete,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
struct Existing {
    /// Its UUID.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    #[schemars(example = &"2aff4799-7a2b-4c0e-9c5e-0d6f1f6f2b11")]
    id: Option<VolumeId>,
    /// Its name, which exactly one volume must have.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "String", length(min = 1, max = values::CLOUD_NAME_CHARS_MAX))]
    #[schemars(example = &"pg-data")]
    name: Option<CloudName>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AttachTo {
    /// self: the VM this daemon runs on. none: no VM, the volume must be detached. Else the
    /// name or UUID of a VM.
    #[serde(deserialize_with = "required_text")]
    #[schemars(with = "String", length(min = 1, max = values::CLOUD_NAME_CHARS_MAX))]
    #[schemars(example = &"self")]
    vm: VmRef,
    /// The device id in CloudStack. Absent: CloudStack chooses. 0: the root disk, for a stopped
    /// VM that has none. 3 is the CD-ROM drive. Used when attaching only.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Value", extend("minimum" = 0, "maximum" = u8::MAX))]
    #[schemars(extend("type" = "integer", "not" = { "const": values::DEVICE_ID_CDROM }))]
    #[schemars(example = 1_u8)]
    device_id: Option<DeviceId>,
    /// Whether the volume may be taken from a VM on which this daemon did not put it. WhenFree:
    /// if that VM is stopped.
    #[serde(default, rename = "move")]
    take: Move,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Export {
    /// false: not exported, as if the block were absent.
    #[serde(default = "yes")]
    enabled: bool,
    /// The name clients ask for; migration-vol- and the UUID of the volume if absent. It stays
    /// with this volume for ever.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "String", length(min = 1, max = 255), regex(pattern = EXPORT_NAME_PATTERN))]
    #[schemars(example = &"pgtest2-disk-0")]
    name: Option<ExportName>,
    /// true: clients cannot write.
    #[serde(default)]
    read_only: bool,
    /// How long clients may take to leave before waiting for them is reported as stalled, from 1s to
    /// 168h. They are never cut off by it.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "String", length(min = 2), regex(pattern = DRAIN_TIMEOUT_PATTERN))]
    #[schemars(example = &"5m", extend("default" = "5m"))]
    drain_timeout: Option<DrainTimeout>,
}

const fn yes() -> bool {
    true
}

/// Reads what must not be null where it is written.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

fn text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    required_text(from).map(Some)
}

fn required_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    from: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Why a manifest is not a valid document.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Shape(#[from] serde_json::Error),
    #[error("found a list, and no key takes one")]
    List,
    #[error("neither existing, nor size, zone and diskOffering")]
    NoOrigin,
    #[error("volumeName, zone and diskOffering are for creating a volume, not for adopting one")]
    TwoOrigins,
    #[error("exactly one of id and name must be given")]
    Existing,
    #[error("more than {LABELS_MAX} labels")]
    TooManyLabels,
    #[error(transparent)]
    LabelKey(#[from] values::InvalidLabelKey),
    #[error(transparent)]
    LabelValue(#[from] values::InvalidLabelValue),
}

/// Reads a document from JSON.
pub(super) fn read(json: &Value) -> Result<VolumeDocument, Refused> {
    // serde takes a list for a struct, by position: `export: []` would be `export: {}`.
    if has_list(json) {
        return Err(Refused::List);
    }
    let Document {
        api_version: ApiVersion::V1Alpha1,
        kind: DocumentKind::Volume,
        metadata: Metadata { name, labels },
        spec,
    } = Document::deserialize(json)?;
    Ok(VolumeDocument {
        labels: read_labels(labels)?,
        spec: read_spec(spec, &name)?,
        name,
    })
}

fn has_list(json: &Value) -> bool {
    match json {
        Value::Array(_) => true,
        Value::Object(entries) => entries.values().any(has_list),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn read_labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refused> {
    if labels.len() > LABELS_MAX {
        return Err(Refused::TooManyLabels);
    }
    labels
        .into_iter()
        .map(|(key, value)| {
            let LabelKey(key) = key.parse()?;
            let LabelValue(value) = value.parse()?;
            Ok((key, value))
        })
        .collect()
}

fn read_spec(spec: Spec, name: &VolumeName) -> Result<VolumeSpec, Refused> {
    let Spec {
        mode,
        suspend,
        volume_name,
        size,
        zone,
        disk_offering,
        existing,
        attach_to,
        export,
        reclaim_policy,
        deletion_protection,
    } = spec;
    let origin = match (existing, volume_name, size, zone, disk_offering) {
        (Some(existing), None, size, None, None) => Origin::Existing {
            volume: existing.volume()?,
            size,
        },
        (Some(_), _, _, _, _) => return Err(Refused::TwoOrigins),
        (None, volume_name, Some(size), Some(zone), Some(offering)) => Origin::Create {
            volume_name: volume_name.map_or_else(|| name.to_string(), |CloudName(name)| name),
            size,
            zone: NameOrId::parse(&zone.0),
            offering: NameOrId::parse(&offering.0),
        },
        (None, _, _, _, _) => return Err(Refused::NoOrigin),
    };
    Ok(VolumeSpec {
        mode: mode.into(),
        suspend,
        origin,
        attach_to: attach_to.map(AttachSpec::from),
        export: export.and_then(Export::enabled),
        reclaim_policy: reclaim_policy.into(),
        deletion_protection,
    })
}

impl Existing {
    fn volume(self) -> Result<NameOrId<VolumeId>, Refused> {
        match (self.id, self.name) {
            (Some(id), None) => Ok(NameOrId::Id(id)),
            (None, Some(CloudName(name))) => Ok(NameOrId::Name(name)),
            (Some(_), Some(_)) | (None, None) => Err(Refused::Existing),
        }
    }
}

impl From<AttachTo> for AttachSpec {
    fn from(from: AttachTo) -> Self {
        let AttachTo {
            vm: VmRef(vm),
            device_id,
            take,
        } = from;
        Self {
            vm,
            device_id: device_id.map(|DeviceId(id)| id),
            take: take.into(),
        }
    }
}

impl Export {
    fn enabled(self) -> Option<ExportSpec> {
        let Self {
            enabled,
            name,
            read_only,
            drain_timeout,
        } = self;
        let DrainTimeout(drain_timeout) = drain_timeout.unwrap_or(DrainTimeout::DEFAULT);
        enabled.then_some(ExportSpec {
            name,
            read_only,
            drain_timeout,
        })
    }
}

impl From<Mode> for desired::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::Observe => Self::Observe,
        }
    }
}

impl From<Move> for desired::Move {
    fn from(take: Move) -> Self {
        match take {
            Move::Never => Self::Never,
            Move::WhenFree => Self::WhenFree,
        }
    }
}

impl From<Reclaim> for desired::Reclaim {
    fn from(policy: Reclaim) -> Self {
        match policy {
            Reclaim::Retain => Self::Retain,
            Reclaim::Detach => Self::Detach,
            Reclaim::Delete => Self::Delete,
        }
    }
}
