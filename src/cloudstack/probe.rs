//! Questions about CloudStack and about our place in it: what it is, how far its clock is from ours,
//! what it lets us do, and what the zones, offerings and the VM are like that the daemon shall use.
//!
//! For a person who sets things up. The loop asks none of them: it knows these things by id and name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Client;
use super::error::CloudStackError;
use super::sign::Params;
use super::transport::{Method, Request, Transport};
use super::wire::{self, BadRow, ListRow, Row};
use super::{READ_VALID_FOR, read, sign};
use crate::clock::Deadline;
use crate::model::observed::CloudVolume;
use crate::model::{BootTime, ByteSize, OfferingId, Timestamp, VmId, ZoneId};

/// Every command that the daemon sends, and what it is for. A test compares it with what is sent.
pub const COMMANDS: [(&str, &str); 13] = [
    ("attachVolume", "volumes cannot be attached"),
    ("createTags", "no volume can be claimed, so none is touched"),
    ("createVolume", "no volume can be created"),
    (
        "destroyVolume",
        "reclaimPolicy: Delete cannot delete volumes",
    ),
    ("detachVolume", "volumes cannot be detached"),
    ("listAsyncJobs", "calls cannot be followed to their end"),
    (
        "listDiskOfferings",
        "the names of disk offerings cannot be resolved",
    ),
    (
        "listEvents",
        "drift and history cannot say who did something",
    ),
    ("listVirtualMachines", "it is not seen where volumes are"),
    ("listVolumes", "nothing is known of any volume"),
    ("listZones", "the names of zones cannot be resolved"),
    (
        "queryAsyncJobResult",
        "calls cannot be followed to their end",
    ),
    ("resizeVolume", "volumes cannot grow"),
];

/// Those of [`COMMANDS`] without which the daemon does all its work.
pub const OPTIONAL: [&str; 1] = ["listEvents"];

/// What came back from the first request, whether it was accepted or not.
#[derive(Debug)]
pub struct Greeting {
    /// How far the server's clock is ahead of ours at least, in milliseconds; negative: behind. `None` if
    /// nothing answered, or without a `Date`.
    pub ahead_ms: Option<i64>,
    /// What it says about itself.
    pub answer: Result<Capabilities, CloudStackError>,
}

/// `listCapabilities` (`ListCapabilitiesCmd.java`), as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// CloudStack's version, like `4.22.0.0`.
    pub version: Option<String>,
    /// The smallest size of a volume whose offering leaves it to the caller, in GiB.
    pub custom_min_gib: Option<u64>,
    /// The largest.
    pub custom_max_gib: Option<u64>,
}

/// A zone as `listZones` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFacts {
    /// Its id.
    pub id: ZoneId,
    /// Its name.
    pub name: String,
    /// Whether users may create things in it.
    pub enabled: bool,
}

/// A disk offering as `listDiskOfferings` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferingFacts {
    /// Its id.
    pub id: OfferingId,
    /// Its name.
    pub name: String,
    /// The size of its volumes; `None` where whoever creates one gives it.
    pub size: Option<ByteSize>,
    /// Whether it can still be used for new volumes.
    pub active: bool,
    /// The zones it is limited to; empty: all.
    pub zones: Vec<ZoneId>,
}

/// A VM as `listVirtualMachines` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmFacts {
    /// Its id.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// Its state, in CloudStack's words.
    pub state: String,
    /// The account that owns it; `None` if it belongs to a project.
    pub account: Option<String>,
    /// What runs it, like `KVM`.
    pub hypervisor: Option<String>,
}

impl<T: Transport> Client<T> {
    /// Asks CloudStack what it is. An answer that refuses the request tells the time, too.
    pub async fn greet(&self) -> Greeting {
        const COMMAND: &str = "listCapabilities";
        let sent = self.clock.now().wall;
        let request = Request {
            method: Method::Get,
            command: COMMAND,
            form: sign::signed_form(
                COMMAND,
                Params::new(),
                sent.plus(READ_VALID_FOR),
                &self.credentials,
            ),
            deadline: Deadline::never(),
        };
        let response = match self.transport.send(request).await {
            Ok(response) => response,
            Err(source) => {
                return Greeting {
                    ahead_ms: None,
                    answer: Err(CloudStackError::from_transport(COMMAND, source)),
                };
            }
        };
        let received = self.clock.now().wall;
        Greeting {
            ahead_ms: response.date.map(|date| ahead_ms(date, sent, received)),
            answer: wire::open(COMMAND, &response, &self.credentials).map(|body| {
                match body.get("capability").and_then(Value::as_object) {
                    Some(capability) => Capabilities::read(&Row(capability)),
                    None => Capabilities::default(),
                }
            }),
        }
    }

    /// The commands that the caller's role allows. Asks for all at once, which is one long answer.
    ///
    /// # Errors
    /// When the call fails, or does not list commands.
    pub async fn allowed_commands(&self) -> Result<BTreeSet<String>, CloudStackError> {
        const COMMAND: &str = "listApis";
        let answer = self.get(COMMAND, Params::new()).await?;
        let rows = answer.body.get("api").and_then(Value::as_array);
        let rows = rows.ok_or_else(|| CloudStackError::Undecodable {
            command: COMMAND,
            status: 200,
            why: "it lists no commands".to_owned(),
        })?;
        let names = rows.iter().filter_map(|row| row.get("name")?.as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// Every zone that is visible, by id.
    ///
    /// # Errors
    /// When a page fails, or the list kept changing.
    pub async fn zone_facts(&self) -> Result<Vec<ZoneFacts>, CloudStackError> {
        Ok(self.list(Params::new()).await?.items)
    }

    /// Every disk offering that is visible, by id.
    ///
    /// # Errors
    /// When a page fails, or the list kept changing.
    pub async fn offering_facts(&self) -> Result<Vec<OfferingFacts>, CloudStackError> {
        Ok(self.list(Params::new()).await?.items)
    }

    /// The VM with this id, if the scope shows one.
    ///
    /// # Errors
    /// When the call fails, or its row is not understood.
    pub async fn vm_facts(&self, id: VmId) -> Result<Option<VmFacts>, CloudStackError> {
        let mut params = self.scoped(read::short_vms());
        params.push(("id", id.to_string()));
        let listed = self
            .exactly::<VmFacts>(Method::Get, params, |listed| listed == id)
            .await;
        match listed {
            Ok(listed) => Ok(listed.items.into_iter().next()),
            Err(error) if error.never_existed(id.uuid()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the VM belongs to the very account of the credentials, or to the configured project.
    ///
    /// `ids` without `listall` shows the caller's own only, where `id` shows an administrator
    /// any (`AccountManagerImpl.java`, `buildACLSearchParameters`).
    ///
    /// # Errors
    /// When the call fails, or its row is not understood.
    pub async fn owns_vm(&self, id: VmId) -> Result<bool, CloudStackError> {
        let mut params = read::short_vms();
        params.extend(self.project());
        params.push(("ids", id.to_string()));
        let listed = self
            .exactly::<VmFacts>(Method::Get, params, |listed| listed == id)
            .await?;
        Ok(!listed.items.is_empty())
    }

    /// The volumes on a VM, its root disk among them.
    ///
    /// # Errors
    /// When a page fails, or the list kept changing.
    pub async fn volumes_on(&self, vm: VmId) -> Result<Vec<CloudVolume>, CloudStackError> {
        let params = self.scoped(vec![("virtualmachineid", vm.to_string())]);
        Ok(self.list(params).await?.items)
    }
}

/// The least distance that explains `date`: it was read at some moment of the exchange, and cut to whole
/// seconds. So a slow answer makes no clock look wrong.
fn ahead_ms(date: Timestamp, sent: Timestamp, received: Timestamp) -> i64 {
    let least = date.as_millis().saturating_sub(received.as_millis());
    let most = date
        .as_millis()
        .saturating_add(999)
        .saturating_sub(sent.as_millis());
    if least > 0 { least } else { most.min(0) }
}

impl Capabilities {
    /// What is not understood counts as not said: it is shown, and compared with sizes.
    fn read(row: &Row<'_>) -> Self {
        Self {
            version: row.optional("cloudstackversion").unwrap_or_default(),
            custom_min_gib: row
                .optional("customdiskofferingminsize")
                .unwrap_or_default(),
            custom_max_gib: row
                .optional("customdiskofferingmaxsize")
                .unwrap_or_default(),
        }
    }
}

impl ListRow for ZoneFacts {
    const COMMAND: &'static str = "listZones";
    const ARRAY: &'static str = "zone";
    type Id = ZoneId;

    fn id(&self) -> ZoneId {
        self.id
    }

    /// Source of the fields: `ZoneResponse.java`.
    fn read(row: &Row<'_>, _begun: BootTime) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.required("id")?,
            name: row.required("name")?,
            enabled: row.text("allocationstate")?.as_deref() != Some("Disabled"),
        })
    }
}

impl ListRow for OfferingFacts {
    const COMMAND: &'static str = "listDiskOfferings";
    const ARRAY: &'static str = "diskoffering";
    type Id = OfferingId;

    fn id(&self) -> OfferingId {
        self.id
    }

    /// Source of the fields: `DiskOfferingResponse.java`, filled in `DiskOfferingJoinDaoImpl.java`, where
    /// `disksize` is in GiB. `zoneid` is a list with commas.
    fn read(row: &Row<'_>, _begun: BootTime) -> Result<Self, BadRow> {
        let customized = row.optional("iscustomized")?.unwrap_or(false);
        let gib: u64 = row.optional("disksize")?.unwrap_or(0);
        let zones = row.text("zoneid")?.unwrap_or_default();
        Ok(Self {
            id: row.required("id")?,
            name: row.required("name")?,
            size: (!customized && gib > 0).then(|| ByteSize::gib(gib)),
            active: row
                .text("state")?
                .is_none_or(|state| state.eq_ignore_ascii_case("Active")),
            zones: zones
                .split(',')
                .filter_map(|zone| zone.trim().parse().ok())
                .collect(),
        })
    }
}

impl ListRow for VmFacts {
    const COMMAND: &'static str = "listVirtualMachines";
    const ARRAY: &'static str = "virtualmachine";
    type Id = VmId;

    fn id(&self) -> VmId {
        self.id
    }

    /// Source of the fields: `UserVmResponse.java`, filled in `UserVmJoinDaoImpl.java`.
    fn read(row: &Row<'_>, _begun: BootTime) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.required("id")?,
            name: row.required("name")?,
            state: row.required("state")?,
            account: row.optional("account")?,
            hypervisor: row.optional("hypervisor")?,
        })
    }
}

#[cfg(test)]
mod tests;
