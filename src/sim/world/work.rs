//! What jobs do, with their parameters as the caller gave them.

use serde::{Deserialize, Serialize};

use crate::sim::refusal::{Refusal, RefusalClass};

use super::event::Resource;
use super::rows::{HostNo, OfferingNo, SnapshotNo, Tag, Tagged, VmNo, VmSnapshotNo, VolumeNo};

/// What a job does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// `createVolume`: the row exists already.
    Create {
        /// Which volume.
        volume: VolumeNo,
    },
    /// `attachVolume`.
    Attach {
        /// Which volume.
        volume: VolumeNo,
        /// To which VM.
        vm: VmNo,
        /// As which device; unchecked.
        device: Option<i64>,
    },
    /// `detachVolume`: by volume, or by VM and device id.
    Detach {
        /// Which volume.
        volume: Option<VolumeNo>,
        /// From which VM.
        vm: Option<VmNo>,
        /// Which device.
        device: Option<i64>,
    },
    /// `resizeVolume`.
    Resize {
        /// Which volume.
        volume: VolumeNo,
        /// The new size in GiB; unchecked.
        size_gib: Option<i64>,
        /// The new offering.
        offering: Option<OfferingNo>,
        /// `shrinkok`.
        shrink_ok: bool,
    },
    /// `destroyVolume`.
    Destroy {
        /// Which volume.
        volume: VolumeNo,
        /// Also remove it from storage.
        expunge: bool,
    },
    /// `updateVolume`, of which only what any caller may give.
    Update {
        /// Which volume.
        volume: VolumeNo,
        /// The new name, if any.
        name: Option<String>,
        /// Whether it is to be protected from deletion, if that is said.
        delete_protection: Option<bool>,
    },
    /// `createSnapshot`: the row exists already.
    CreateSnapshot {
        /// Which snapshot.
        snapshot: SnapshotNo,
        /// Of which volume.
        volume: VolumeNo,
    },
    /// `deleteSnapshot`.
    DeleteSnapshot {
        /// Which snapshot.
        snapshot: SnapshotNo,
    },
    /// `revertSnapshot`.
    RevertSnapshot {
        /// Which volume.
        volume: VolumeNo,
        /// To what.
        snapshot: SnapshotNo,
    },
    /// `createVMSnapshot`: the row exists already.
    CreateVmSnapshot {
        /// Which.
        snapshot: VmSnapshotNo,
    },
    /// `deleteVMSnapshot`.
    DeleteVmSnapshot {
        /// Which.
        snapshot: VmSnapshotNo,
    },
    /// `createTags`.
    CreateTags {
        /// On what; names of unknown resources are refused when the job runs.
        on: Result<Vec<Tagged>, Refusal>,
        /// Which.
        tags: Vec<Tag>,
    },
    /// `deleteTags`.
    DeleteTags {
        /// On what.
        on: Result<Vec<Tagged>, Refusal>,
        /// Keys with or without a value; none at all: every tag.
        tags: Vec<(String, Option<String>)>,
    },
    /// `deployVirtualMachine`: the rows exist already.
    DeployVm {
        /// Which VM.
        vm: VmNo,
        /// Whether it is started.
        start: bool,
    },
    /// `migrateVirtualMachine`.
    MigrateVm {
        /// Which VM.
        vm: VmNo,
        /// To which host, any other if absent; or why not, which the job says.
        host: Result<Option<HostNo>, Refusal>,
    },
    /// `startVirtualMachine`.
    StartVm {
        /// Which VM.
        vm: VmNo,
    },
    /// `stopVirtualMachine`.
    StopVm {
        /// Which VM.
        vm: VmNo,
    },
    /// `rebootVirtualMachine`.
    RebootVm {
        /// Which VM.
        vm: VmNo,
    },
    /// `destroyVirtualMachine`.
    DestroyVm {
        /// Which VM.
        vm: VmNo,
        /// Also remove it and its ROOT volume.
        expunge: bool,
    },
    /// `expungeVirtualMachine`.
    ExpungeVm {
        /// Which VM.
        vm: VmNo,
    },
}

impl Work {
    /// The Java class that a job shows as `cmd`: root administrators have classes of their own.
    pub fn class_for(&self, root: bool) -> String {
        let class = self.class();
        match class.strip_suffix("ByAdmin") {
            Some(class) if !root => class.replace(".command.admin.", ".command.user."),
            Some(_) | None => class.to_owned(),
        }
    }

    /// The Java class that a job of a root administrator shows as `cmd`.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Create { .. } => {
                "org.apache.cloudstack.api.command.admin.volume.CreateVolumeCmdByAdmin"
            }
            Self::Attach { .. } => {
                "org.apache.cloudstack.api.command.admin.volume.AttachVolumeCmdByAdmin"
            }
            Self::Detach { .. } => {
                "org.apache.cloudstack.api.command.admin.volume.DetachVolumeCmdByAdmin"
            }
            Self::Resize { .. } => {
                "org.apache.cloudstack.api.command.admin.volume.ResizeVolumeCmdByAdmin"
            }
            Self::Destroy { .. } => {
                "org.apache.cloudstack.api.command.admin.volume.DestroyVolumeCmdByAdmin"
            }
            Self::Update { .. } => {
                "org.apache.cloudstack.api.command.admin.volume.UpdateVolumeCmdByAdmin"
            }
            Self::CreateSnapshot { .. } => {
                "org.apache.cloudstack.api.command.admin.snapshot.CreateSnapshotCmdByAdmin"
            }
            Self::DeleteSnapshot { .. } => {
                "org.apache.cloudstack.api.command.user.snapshot.DeleteSnapshotCmd"
            }
            Self::RevertSnapshot { .. } => {
                "org.apache.cloudstack.api.command.user.snapshot.RevertSnapshotCmd"
            }
            Self::CreateVmSnapshot { .. } => {
                "org.apache.cloudstack.api.command.user.vmsnapshot.CreateVMSnapshotCmd"
            }
            Self::DeleteVmSnapshot { .. } => {
                "org.apache.cloudstack.api.command.user.vmsnapshot.DeleteVMSnapshotCmd"
            }
            Self::CreateTags { .. } => "org.apache.cloudstack.api.command.user.tag.CreateTagsCmd",
            Self::DeleteTags { .. } => "org.apache.cloudstack.api.command.user.tag.DeleteTagsCmd",
            Self::DeployVm { .. } => {
                "org.apache.cloudstack.api.command.admin.vm.DeployVMCmdByAdmin"
            }
            Self::MigrateVm { .. } => "org.apache.cloudstack.api.command.admin.vm.MigrateVMCmd",
            Self::StartVm { .. } => "org.apache.cloudstack.api.command.admin.vm.StartVMCmdByAdmin",
            Self::StopVm { .. } => "org.apache.cloudstack.api.command.admin.vm.StopVMCmdByAdmin",
            Self::RebootVm { .. } => {
                "org.apache.cloudstack.api.command.admin.vm.RebootVMCmdByAdmin"
            }
            Self::DestroyVm { .. } => {
                "org.apache.cloudstack.api.command.admin.vm.DestroyVMCmdByAdmin"
            }
            Self::ExpungeVm { .. } => "org.apache.cloudstack.api.command.admin.vm.ExpungeVMCmd",
        }
    }

    /// What it is about: the instance of its job and the resource of its events.
    pub const fn about(&self) -> Option<Resource> {
        match self {
            Self::Create { volume }
            | Self::Attach { volume, .. }
            | Self::Resize { volume, .. }
            | Self::Destroy { volume, .. }
            | Self::Update { volume, .. } => Some(Resource::Volume(*volume)),
            Self::Detach { volume, .. } => match volume {
                Some(volume) => Some(Resource::Volume(*volume)),
                None => None,
            },
            Self::CreateSnapshot { snapshot, .. }
            | Self::DeleteSnapshot { snapshot }
            | Self::RevertSnapshot { snapshot, .. } => Some(Resource::Snapshot(*snapshot)),
            Self::DeployVm { vm, .. }
            | Self::MigrateVm { vm, .. }
            | Self::StartVm { vm }
            | Self::StopVm { vm }
            | Self::RebootVm { vm }
            | Self::DestroyVm { vm, .. }
            | Self::ExpungeVm { vm } => Some(Resource::Vm(*vm)),
            // `CreateVMSnapshotCmd.java` and its neighbour name no instance.
            Self::CreateVmSnapshot { .. }
            | Self::DeleteVmSnapshot { .. }
            | Self::CreateTags { .. }
            | Self::DeleteTags { .. } => None,
        }
    }

    /// The volume it changes. A snapshot's job is about the snapshot, and changes its volume too.
    pub fn volume(&self) -> Option<VolumeNo> {
        match self {
            Self::CreateSnapshot { volume, .. } | Self::RevertSnapshot { volume, .. } => {
                Some(*volume)
            }
            other => match other.about()? {
                Resource::Volume(volume) => Some(volume),
                Resource::Vm(_) | Resource::Snapshot(_) => None,
            },
        }
    }

    /// `errorcode` of a failed job (`ApiAsyncJobDispatcher.java`): coarser than that of a
    /// request. `ResizeVolumeCmd.java` turns invalid parameters into 432.
    pub(super) const fn error_code(&self, class: RefusalClass) -> u16 {
        match class {
            RefusalClass::InvalidParameter if matches!(self, Self::Resize { .. }) => 432,
            RefusalClass::InvalidParameter => 431,
            // `ResizeVolumeCmd.java` keeps this one.
            RefusalClass::ResourceAllocation if matches!(self, Self::Resize { .. }) => 535,
            RefusalClass::ResourceAllocation
            | RefusalClass::CloudRuntime
            | RefusalClass::PermissionDenied => 530,
        }
    }
}
