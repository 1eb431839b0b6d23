//! What is asked of the daemon while it is disturbed.

use std::time::Duration;

use volume_daemon::sim::Operation;

use crate::rig::{Rig, spec};

/// Something that people do.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    /// The spec `a`: GiB, VM, and whether it is exported.
    Want(u64, &'static str, bool),
    /// A volume that is there, and the spec `a` that adopts it.
    Adopt,
    /// The spec goes away.
    Remove,
}

/// What is there before, and what is asked for while trouble may strike.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    before: &'static [Ask],
    then: &'static [Ask],
    /// With fewer points than this, some were not found.
    pub points_min: usize,
}

use Ask::{Adopt, Remove, Want};

pub static SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "create",
        before: &[],
        then: &[Want(2, "none", false)],
        points_min: 40,
    },
    Scenario {
        name: "attach",
        before: &[Want(2, "none", false)],
        then: &[Want(2, "self", false)],
        points_min: 24,
    },
    Scenario {
        name: "export",
        before: &[Want(2, "self", false)],
        then: &[Want(2, "self", true)],
        points_min: 10,
    },
    Scenario {
        name: "grow",
        before: &[Want(2, "self", true)],
        then: &[Want(5, "self", true)],
        points_min: 40,
    },
    Scenario {
        name: "move",
        before: &[Want(2, "test-vm", false)],
        then: &[Want(2, "final-vm", false)],
        points_min: 30,
    },
    Scenario {
        name: "out-and-back",
        before: &[Want(2, "self", true)],
        then: &[Want(2, "test-vm", false), Want(2, "self", true)],
        points_min: 90,
    },
    Scenario {
        name: "hand-over",
        before: &[Want(2, "self", true)],
        then: &[Want(2, "final-vm", false), Remove],
        points_min: 65,
    },
    Scenario {
        name: "adopt",
        before: &[],
        then: &[Adopt],
        points_min: 55,
    },
];

/// The name that an adopted volume has in CloudStack.
pub const OLD: &str = "old";

impl Scenario {
    /// Comes to where trouble begins.
    pub async fn prepare(&self, rig: &mut Rig) {
        rig.start().await;
        for ask in self.before {
            ask.happen(rig).await;
            assert!(rig.settle(Duration::from_secs(600)).await);
        }
    }

    /// Asks for everything, and lets it settle each time; a daemon that died is started again.
    pub async fn happen(&self, rig: &mut Rig) {
        for ask in self.then {
            revive(rig).await;
            ask.happen(rig).await;
            settle(rig).await;
        }
    }
}

/// Starts the daemon if it died.
pub async fn revive(rig: &mut Rig) {
    if rig.core().is_none() {
        rig.note(|| "the daemon starts again".to_owned());
        rig.start().await;
        rig.check_operations().await;
    }
}

/// Lets everything settle.
pub async fn settle(rig: &mut Rig) {
    let span = Duration::from_secs(1800);
    let mut settled = rig.settle(span).await;
    if rig.core().is_none() {
        revive(rig).await;
        settled = rig.settle(span).await;
    }
    assert!(settled, "I12: it does not settle: {}", rig.says("a"));
}

impl Ask {
    async fn happen(self, rig: &mut Rig) {
        rig.note(|| format!("{self:?}"));
        match self {
            Want(gib, vm, export) => rig.declare(&spec("a", gib, vm, export)).await,
            Remove => rig.remove("a").await,
            Adopt => {
                rig.operate(&Operation::CreateVolume {
                    name: OLD.to_owned(),
                    size_gib: 3,
                })
                .expect("there is room");
                let id = rig.volume_called(OLD).expect("just made");
                rig.declare(&format!(
                    "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: a }}\n\
                     spec:\n  existing: {{ id: {id} }}\n  attachTo: {{ vm: self }}\n  export: {{}}\n"
                ))
                .await;
            }
        }
    }
}
