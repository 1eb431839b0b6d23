//! Which VM this is.

use serde::Deserialize;

use super::{Host, read_file};
use crate::model::{Reading, VmId};

/// cloud-init keeps user data in this file, so it can be large.
const INSTANCE_DATA_MAX: u64 = 4 << 20;
const PRODUCT_UUID_MAX: u64 = 4096;

const PRODUCT_UUID: &str = "sys/class/dmi/id/product_uuid";
const INSTANCE_DATA: &str = "run/cloud-init/instance-data.json";

/// The part of cloud-init's instance data that names the VM (cloud-init documentation,
/// "Instance metadata", standardised keys).
#[derive(Deserialize)]
struct InstanceData {
    v1: StandardKeys,
}

#[derive(Deserialize)]
struct StandardKeys {
    cloud_name: String,
    instance_id: String,
}

/// The configured id of this VM, else its SMBIOS UUID, which CloudStack sets to the id of the
/// VM (`LibvirtVMDef.java`, `GuestDef`), else what cloud-init was told.
pub(super) fn self_vm(host: &Host) -> Reading<VmId> {
    let found = host
        .self_vm
        .or_else(|| from_firmware(host))
        .or_else(|| from_cloud_init(host));
    match found {
        Some(vm) => Reading::Present(vm),
        None => Reading::Unknown(format!(
            "cannot tell which VM this is: neither {} (readable by root only) nor {} names it; \
             set the VM's id in the configuration",
            host.path(PRODUCT_UUID).display(),
            host.path(INSTANCE_DATA).display()
        )),
    }
}

fn from_firmware(host: &Host) -> Option<VmId> {
    let content = read_file(&host.path(PRODUCT_UUID), PRODUCT_UUID_MAX).ok()??;
    str::from_utf8(&content).ok()?.trim().parse().ok()
}

fn from_cloud_init(host: &Host) -> Option<VmId> {
    let content = read_file(&host.path(INSTANCE_DATA), INSTANCE_DATA_MAX).ok()??;
    let data: InstanceData = serde_json::from_slice(&content).ok()?;
    data.v1
        .cloud_name
        .eq_ignore_ascii_case("cloudstack")
        .then(|| data.v1.instance_id.parse().ok())?
}
