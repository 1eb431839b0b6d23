//! This machine: which VM it is, its disks, and who else would use them.

use super::super::facts::{DiskFacts, Look, Machine};
use super::super::finding::Finding;
use super::{assembly, late, needs, some};
use crate::cli::output::count;
use crate::config::Config;
use crate::model::{Reading, VmId};

/// What hangs where a file of the kernel does not come.
const STUCK: &str = "see dmesg: the kernel does not answer for some device";

pub(super) fn judge(machine: &Machine, config: &Config) -> Vec<Finding> {
    vec![
        identity(&machine.identity, config),
        disks(machine),
        udev(machine),
        looked("lvm", &machine.lvm, assembly::lvm),
        looked("md", &machine.md, assembly::md),
    ]
}

fn looked<T>(check: &'static str, look: &Look<T>, judge: impl Fn(&T) -> Finding) -> Finding {
    match look {
        Look::Done(facts) => judge(facts),
        Look::Late(limit) => late(check, *limit, STUCK),
        Look::Needs(other) => needs(check, other),
    }
}

fn identity(look: &Look<Reading<VmId>>, config: &Config) -> Finding {
    const NAME: &str = "identity";
    looked(NAME, look, |reading| match reading {
        Reading::Present(vm) if config.host.vm_id.is_some() => {
            Finding::ok(NAME, format!("this is VM {vm}, as host.vm_id says"))
        }
        Reading::Present(vm) => Finding::ok(
            NAME,
            format!("this is VM {vm}, as its firmware or cloud-init says"),
        ),
        Reading::Unknown(why) if config.host.vm_id.is_some() => {
            Finding::failed(NAME, why, "remove host.vm_id, or correct it")
        }
        Reading::Unknown(why) => Finding::failed(NAME, why, FIX),
        Reading::Absent => Finding::failed(NAME, "this machine does not say which VM it is", FIX),
    })
}

const FIX: &str = "run as root, or set host.vm_id to the VM's id in CloudStack; the service unit makes \
                   /sys/class/dmi/id/product_uuid readable";

fn disks(machine: &Machine) -> Finding {
    const NAME: &str = "disks";
    let fix =
        "run on the VM that serves the exports, with /sys, /dev and /proc mounted; host.root is /";
    looked(NAME, &machine.disks, |read| match read {
        Err(why) => Finding::failed(NAME, why, fix),
        Ok(DiskFacts { denied, .. }) if !denied.is_empty() => {
            let paths: Vec<String> = denied
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            Finding::failed(
                NAME,
                format!("this user may not read and write {}", some(&paths)),
                "usermod -aG disk volume-daemon (its service unit has SupplementaryGroups=disk)",
            )
        }
        Ok(DiskFacts { disks, links, .. }) => {
            let (disks, links) = (count(*disks, "disk"), count(*links, "by-id link"));
            Finding::ok(
                NAME,
                format!("{disks}, {links} of the kind CloudStack's disks have"),
            )
        }
    })
}

fn udev(machine: &Machine) -> Finding {
    const NAME: &str = "udev";
    if !machine.real {
        let message = format!(
            "host.root is {}, where udev makes no links",
            machine.root.display()
        );
        return Finding::skipped(NAME, message);
    }
    looked(NAME, &machine.udev, |udev| {
        match (udev.running, udev.by_id) {
            (true, true) => Finding::ok(NAME, "udevd runs, and /dev/disk/by-id is there"),
            (true, false) => Finding::warning(
                NAME,
                "udevd runs, and there is no /dev/disk/by-id: no disk here has a serial",
                "none is needed before the first volume is attached; then: udevadm trigger -s block",
            ),
            (false, _) => Finding::failed(
                NAME,
                "udevd does not run: no link tells which disk is which volume",
                "apt install udev; systemctl start systemd-udevd; not within a container",
            ),
        }
    })
}
