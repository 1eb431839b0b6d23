//! What a history is made of: plain data, so that it can be told and cut.

use std::fmt;
use std::time::Duration;

use volume_daemon::reconcile::Pace;
use volume_daemon::sim::world::{Latencies, VmState};
use volume_daemon::sim::{Fault, Operation};

use crate::rig::Deed;

/// A world, and what happens in it.
#[derive(Debug, Clone)]
pub struct History {
    pub setup: Setup,
    pub happenings: Vec<Happening>,
}

/// How a world is when the daemon first sees it.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Decides all ids.
    pub seed: u64,
    pub latencies: Latencies,
    pub pace: Pace,
    /// Volumes that the guard lets be detached in an hour.
    pub implied_floor: usize,
    /// How long a spec must be gone before its volume is detached.
    pub detach_grace: Duration,
    /// Rows in a page of a listing.
    pub page_size: u32,
    /// The `rootDiskController` of the appliance.
    pub bus: &'static str,
    /// VMs besides those of the standard world.
    pub vms: Vec<(String, VmState)>,
    /// Volumes that are there already.
    pub volumes: Vec<Given>,
}

/// A volume that somebody made before.
#[derive(Debug, Clone)]
pub struct Given {
    pub name: String,
    pub gib: u64,
    pub vm: Option<String>,
    /// Whether another daemon claims it.
    pub claimed: bool,
}

/// Something that happens to the world or to the daemon.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A spec is written, for the first time or again.
    Ask(Ask),
    /// A spec goes away.
    Remove(String),
    /// The spec directory can be believed, or not.
    Believe(bool),
    /// Milliseconds pass.
    Pass(u64),
    /// Somebody else does something.
    Deed(Deed),
    /// Something goes wrong in CloudStack.
    Fault(Fault),
    /// A client uses the export of a spec.
    Connect(String),
    /// All clients leave.
    Disconnect,
    /// The daemon dies at the so-many-th moment from now at which it reaches out.
    Crash(usize),
    /// The NBD server dies and comes back with nothing.
    RestartNbd,
    /// The appliance reboots, with the daemon and the NBD server.
    Reboot,
}

/// Where a volume comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// From this offering, under this name in CloudStack.
    Made(&'static str, Option<String>),
    /// It is there, and goes by this name.
    Found(String),
}

/// What a spec asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub name: String,
    pub origin: Origin,
    pub gib: u64,
    /// `self`, `none`, a VM; absent: not managed.
    pub vm: Option<String>,
    pub device: Option<u8>,
    pub when_free: bool,
    pub export: Option<Serve>,
    pub reclaim: &'static str,
    pub protect: bool,
    pub suspend: bool,
    pub observe: bool,
}

/// How an export is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    pub name: Option<String>,
    pub read_only: bool,
}

impl Ask {
    /// Whether the daemon is told to do nothing.
    pub fn is_held(&self) -> bool {
        self.suspend || self.observe
    }

    /// Whether the volume goes with its spec.
    pub fn is_deleted(&self) -> bool {
        self.reclaim == "Delete" && !self.is_held()
    }

    /// The name in CloudStack.
    pub fn volume_name(&self) -> &str {
        match &self.origin {
            Origin::Made(_, Some(name)) | Origin::Found(name) => name,
            Origin::Made(_, None) => &self.name,
        }
    }

    /// The document.
    pub fn yaml(&self) -> String {
        let mut yaml = format!(
            "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: {} }}\nspec:\n",
            self.name
        );
        let mut line = |text: String| yaml += &format!("  {text}\n");
        line(format!("size: {}GiB", self.gib));
        match &self.origin {
            Origin::Made(offering, name) => {
                line("zone: zone-1".to_owned());
                line(format!("diskOffering: {offering}"));
                if let Some(name) = name {
                    line(format!("volumeName: {name}"));
                }
            }
            Origin::Found(name) => line(format!("existing: {{ name: {name} }}")),
        }
        if let Some(vm) = &self.vm {
            let device = self.device.map(|no| format!(", deviceId: {no}"));
            let take = if self.when_free {
                ", move: WhenFree"
            } else {
                ""
            };
            line(format!(
                "attachTo: {{ vm: {vm}{}{take} }}",
                device.unwrap_or_default()
            ));
        }
        if let Some(serve) = &self.export {
            let name = serve.name.as_ref().map(|name| format!("name: {name}, "));
            let name = name.unwrap_or_default();
            line(format!("export: {{ {name}readOnly: {} }}", serve.read_only));
        }
        line(format!("reclaimPolicy: {}", self.reclaim));
        line(format!("deletionProtection: {}", self.protect));
        if self.suspend {
            line("suspend: true".to_owned());
        }
        if self.observe {
            line("mode: Observe".to_owned());
        }
        yaml
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        match &self.origin {
            Origin::Made(offering, name) => {
                write!(f, " {} GiB of {offering}", self.gib)?;
                if let Some(name) = name {
                    write!(f, " called {name}")?;
                }
            }
            Origin::Found(name) => write!(f, " existing {name}, {} GiB", self.gib)?,
        }
        match &self.vm {
            None => write!(f, ", attached wherever")?,
            Some(vm) => write!(f, ", on {vm}")?,
        }
        if let Some(device) = self.device {
            write!(f, " as device {device}")?;
        }
        if self.when_free {
            write!(f, ", moved when free")?;
        }
        if let Some(serve) = &self.export {
            write!(f, ", exported")?;
            if let Some(name) = &serve.name {
                write!(f, " as {name}")?;
            }
            if serve.read_only {
                write!(f, " read-only")?;
            }
        }
        write!(f, ", then {}", self.reclaim)?;
        if !self.protect {
            f.write_str(" unprotected")?;
        }
        if self.suspend {
            write!(f, ", suspended")?;
        }
        if self.observe {
            write!(f, ", observed only")?;
        }
        Ok(())
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = |fault: &Fault| serde_json::to_string(fault).expect("faults are JSON");
        let plain = |operation: &Operation| serde_json::to_string(operation).expect("JSON");
        match self {
            Self::Ask(ask) => write!(f, "the spec of {ask}"),
            Self::Remove(name) => write!(f, "the spec of {name} goes away"),
            Self::Believe(true) => write!(f, "the spec directory is sound"),
            Self::Believe(false) => write!(f, "the spec directory looks wrong"),
            Self::Pass(ms) => write!(f, "{}.{:03} s pass", ms / 1000, ms % 1000),
            Self::Deed(Deed::AtOnce(operation)) => {
                write!(f, "somebody does {}", plain(operation))
            }
            Self::Deed(deed) => write!(f, "somebody calls {deed:?}"),
            Self::Fault(fault) => write!(f, "trouble: {}", json(fault)),
            Self::Connect(name) => write!(f, "a client uses {name}"),
            Self::Disconnect => write!(f, "all clients leave"),
            Self::Crash(moment) => write!(f, "the daemon will die at moment {moment}"),
            Self::RestartNbd => write!(f, "the NBD server dies and comes back"),
            Self::Reboot => write!(f, "the appliance reboots"),
        }
    }
}
