//! What people and machines do without asking the API: power buttons, other people's clients,
//! and changes to a guest of which the database never learns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::refusal::Refusal;
use super::view::{VmView, VolumeView};
use super::world::{Change, Job, NewVolume, Order, OrderNo, VmNo, VolumeNo, Work, World};

/// One thing done behind the API's back. VMs and volumes are named by id, or by a name that
/// only one of them has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "op",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Operation {
    /// Starts a VM, as a job in its queue.
    StartVm {
        /// Which VM.
        vm: String,
    },
    /// Stops a VM, as a job in its queue.
    StopVm {
        /// Which VM.
        vm: String,
    },
    /// Reboots a VM, as a job in its queue.
    RebootVm {
        /// Which VM.
        vm: String,
    },
    /// Destroys a VM, as a job in its queue.
    DestroyVm {
        /// Which VM.
        vm: String,
        /// Also its row and ROOT volume.
        #[serde(default)]
        expunge: bool,
    },
    /// Somebody gives a VM another guest OS or other details; its buses change when it starts.
    DescribeVm {
        /// Which VM.
        vm: String,
        /// The guest OS by its display name.
        #[serde(default)]
        os: Option<String>,
        /// Details to set, as `rootDiskController`.
        #[serde(default)]
        details: BTreeMap<String, String>,
    },
    /// A VM's guest ignores requests to release a disk, or heeds them again.
    IgnoreUnplug {
        /// Which VM.
        vm: String,
        /// Whether it ignores them.
        ignore: bool,
    },
    /// Somebody else creates a volume.
    CreateVolume {
        /// Its name.
        name: String,
        /// Its size in GiB.
        size_gib: i64,
    },
    /// Somebody else attaches a volume; at once.
    AttachVolume {
        /// Which volume.
        volume: String,
        /// To which VM.
        vm: String,
        /// As which device; absent: CloudStack chooses.
        #[serde(default)]
        device_id: Option<i64>,
        /// Whether the database learns of it.
        #[serde(default)]
        side: Side,
    },
    /// Somebody else detaches a volume; at once.
    DetachVolume {
        /// Which volume.
        volume: String,
        /// Whether the database learns of it.
        #[serde(default)]
        side: Side,
    },
    /// Somebody else takes a volume away, attached or not; at once.
    DeleteVolume {
        /// Which volume.
        volume: String,
    },
    /// Two plugged disks exchange their kernel names, as over a reboot.
    SwapDisks {
        /// In which VM.
        vm: String,
        /// One volume.
        a: String,
        /// The other.
        b: String,
    },
}

/// Which truth an operation changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// The database and the guest.
    #[default]
    Both,
    /// Only the guest.
    Guest,
}

/// What an operation made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// The job, where it takes time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Uuid>,
    /// The new volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Uuid>,
}

impl World {
    /// Does it.
    ///
    /// # Errors
    /// If it names nothing, or the world does not let it happen.
    pub fn operate(&mut self, operation: &Operation) -> Result<Made, Refusal> {
        let mut made = Made::default();
        match operation {
            Operation::StartVm { vm } => {
                let vm = self.vm_called(vm)?;
                made.job = Some(self.vm_job(vm, Work::StartVm { vm }));
            }
            Operation::StopVm { vm } => {
                let vm = self.vm_called(vm)?;
                made.job = Some(self.vm_job(vm, Work::StopVm { vm }));
            }
            Operation::RebootVm { vm } => {
                let vm = self.vm_called(vm)?;
                made.job = Some(self.vm_job(vm, Work::RebootVm { vm }));
            }
            Operation::DestroyVm { vm, expunge } => {
                let (vm, expunge) = (self.vm_called(vm)?, *expunge);
                made.job = Some(self.vm_job(vm, Work::DestroyVm { vm, expunge }));
            }
            Operation::DescribeVm { vm, os, details } => {
                let vm = self.vm_called(vm)?;
                self.describe_vm(vm, os.as_deref(), details);
            }
            Operation::IgnoreUnplug { vm, ignore } => {
                let vm = self.vm_called(vm)?;
                self.ignore_unplug(vm, *ignore);
            }
            Operation::CreateVolume { name, size_gib } => {
                let volume = self.foreign_volume(name, *size_gib)?;
                made.volume = Some(self.volume(volume).uuid);
            }
            Operation::AttachVolume {
                volume,
                vm,
                device_id,
                side,
            } => {
                let (volume, vm) = (self.volume_called(volume)?, self.vm_called(vm)?);
                match side {
                    Side::Both => self.attach_at_once(volume, vm, *device_id)?,
                    Side::Guest => self.plug_secretly(vm, volume)?,
                }
            }
            Operation::DetachVolume { volume, side } => {
                let volume = self.volume_called(volume)?;
                match side {
                    Side::Both => self.detach_at_once(volume)?,
                    Side::Guest => self.unplug_secretly(volume)?,
                }
            }
            Operation::DeleteVolume { volume } => {
                let volume = self.volume_called(volume)?;
                self.erase_volume(volume);
            }
            Operation::SwapDisks { vm, a, b } => {
                let (a, b) = (self.volume_called(a)?, self.volume_called(b)?);
                let vm = self.vm_called(vm)?;
                self.swap_disks(vm, a, b)?;
            }
        }
        Ok(made)
    }

    /// The VM with this id or name.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn vm_called(&self, called: &str) -> Result<VmNo, Refusal> {
        let uuid = Uuid::try_parse(called).ok();
        only(
            called,
            self.vms()
                .filter(|(_, vm)| !vm.removed && (vm.name == called || Some(vm.uuid) == uuid))
                .map(|(no, _)| no),
        )
    }

    /// The volume with this id or name.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn volume_called(&self, called: &str) -> Result<VolumeNo, Refusal> {
        let uuid = Uuid::try_parse(called).ok();
        only(
            called,
            self.volumes()
                .filter(|(_, row)| !row.removed && (row.name == called || Some(row.uuid) == uuid))
                .map(|(no, _)| no),
        )
    }

    fn vm_job(&mut self, vm: VmNo, work: Work) -> Uuid {
        let account = self.vm(vm).account;
        self.submit(account, work, None, None)
    }

    /// In the first zone, from the first offering of any size, by the first account.
    fn foreign_volume(&mut self, name: &str, size_gib: i64) -> Result<VolumeNo, Refusal> {
        let missing = || Refusal::invalid("this world has no account");
        let account = self.accounts().next().ok_or_else(missing)?.0;
        let new = NewVolume {
            owner: None,
            name: Some(name.to_owned()),
            zone: self.zones().next().map(|(no, _)| no),
            offering: self
                .offerings()
                .find(|(_, offering)| offering.size.is_none())
                .map(|(no, _)| no),
            size_gib: Some(size_gib),
            snapshot: None,
            custom_id: None,
        };
        self.create_volume(account, new)
    }

    /// Everything, for people and tests to look at.
    pub fn dump(&self) -> Dump<'_> {
        Dump {
            now: self.now().to_string(),
            now_ms: self.now().as_millis(),
            vms: self
                .vms()
                .filter(|(_, vm)| !vm.removed)
                .map(|(no, vm)| VmDump {
                    vm: VmView::of(self, no),
                    guest: vm.guest.as_ref().map(|guest| {
                        guest
                            .disks()
                            .iter()
                            .map(|disk| DiskDump {
                                volume: self.volume(disk.volume).uuid,
                                serial: self.volume(disk.volume).serial(),
                                name: disk.name(),
                                bus: disk.bus.as_str(),
                                slot: disk.slot,
                                diskseq: disk.diskseq,
                                size: disk.size,
                            })
                            .collect()
                    }),
                })
                .collect(),
            volumes: self
                .volumes()
                .filter(|(_, row)| !row.removed)
                .map(|(no, _)| VolumeView::of(self, no))
                .collect(),
            jobs: self
                .pending_jobs()
                .map(|job: &Job| super::view::JobView::of(self, job))
                .collect(),
            orders: self
                .orders()
                .map(|(no, order)| OrderDump::of(self, no, order))
                .collect(),
        }
    }
}

fn only<No>(called: &str, mut found: impl Iterator<Item = No>) -> Result<No, Refusal> {
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Refusal::invalid(format!("there is no {called}"))),
        (Some(_), Some(_)) => Err(Refusal::invalid(format!("there is more than one {called}"))),
    }
}

/// A world as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dump<'a> {
    now: String,
    now_ms: i64,
    vms: Vec<VmDump<'a>>,
    volumes: Vec<VolumeView<'a>>,
    /// The unfinished ones.
    jobs: Vec<super::view::JobView<'a>>,
    /// What jobs wait for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    orders: Vec<OrderDump>,
}

#[derive(Debug, Serialize)]
struct VmDump<'a> {
    #[serde(flatten)]
    vm: VmView<'a>,
    /// Its disks as the hypervisor has them; null while it does not run.
    guest: Option<Vec<DiskDump>>,
}

#[derive(Debug, Serialize)]
struct DiskDump {
    volume: Uuid,
    serial: String,
    name: String,
    bus: &'static str,
    slot: u32,
    diskseq: u64,
    size: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderDump {
    order: String,
    #[serde(rename = "do")]
    what: &'static str,
    vm: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<Uuid>,
    since: String,
}

impl OrderDump {
    fn of(world: &World, no: OrderNo, order: &Order) -> Self {
        let (what, volume) = match order.change {
            Change::Plug { volume, .. } => ("plug", Some(volume)),
            Change::Unplug { volume } => ("unplug", Some(volume)),
            Change::Resize { volume, .. } => ("resize", Some(volume)),
            Change::Start => ("start", None),
            Change::Stop => ("stop", None),
            Change::Reboot => ("reboot", None),
            Change::Destroy => ("destroy", None),
        };
        Self {
            order: no.to_string(),
            what,
            vm: world.vm(order.vm).uuid,
            volume: volume.map(|volume| world.volume(volume).uuid),
            since: order.since.to_string(),
        }
    }
}
