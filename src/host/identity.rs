//! Which VM this is.

use serde::Deserialize;

use super::{Host, read_file};
use crate::model::{Reading, VmId};

/// cloud-init keeps user data in this file, so it can be large.
const INSTANCE_DATA_MAX: u64 = 4 << 20;
const DMI_MAX: u64 = 4096;

const PRODUCT_UUID: &str = "sys/class/dmi/id/product_uuid";
const SYS_VENDOR: &str = "sys/class/dmi/id/sys_vendor";
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
///
/// A clone of a VM whose id is configured must not act for the original, so where the SMBIOS UUID is
/// CloudStack's, it has to agree.
pub(super) fn self_vm(host: &Host) -> Reading<VmId> {
    if let (Some(configured), Some(firmware)) = (host.self_vm, from_firmware(host))
        && configured != firmware
        && is_firmware_of_cloudstack(host)
    {
        return Reading::Unknown(format!(
            "cannot tell which VM this is: host.vm_id is {configured}, but {} is {firmware}, as \
             in a clone; remove host.vm_id from the configuration",
            host.path(PRODUCT_UUID).display()
        ));
    }
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
    dmi(host, PRODUCT_UUID)?.parse().ok()
}

/// Whether the SMBIOS tables are those of a CloudStack guest on KVM (`LibvirtVMDef.java`,
/// `GuestDef`). A tree that stands for a machine need not say so.
fn is_firmware_of_cloudstack(host: &Host) -> bool {
    match dmi(host, SYS_VENDOR) {
        Some(vendor) => vendor == "Apache Software Foundation",
        None => !host.is_real(),
    }
}

fn dmi(host: &Host, path: &str) -> Option<String> {
    let content = read_file(&host.path(path), DMI_MAX).ok()??;
    Some(str::from_utf8(&content).ok()?.trim().to_owned())
}

fn from_cloud_init(host: &Host) -> Option<VmId> {
    let content = read_file(&host.path(INSTANCE_DATA), INSTANCE_DATA_MAX).ok()??;
    let data: InstanceData = serde_json::from_slice(&content).ok()?;
    data.v1
        .cloud_name
        .eq_ignore_ascii_case("cloudstack")
        .then(|| data.v1.instance_id.parse().ok())?
}
