//! This machine's disks and who else starts things from them. Everything below `host.root`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::super::facts::{DiskFacts, Look, LvmFacts, Machine, MdFacts, UdevFacts};
use super::Watch;
use crate::config::Config;
use crate::model::Reading;
use crate::model::observed::{Disks, HostView};

/// Where programs of administrators are.
const PROGRAMS: [&str; 3] = ["usr/sbin", "sbin", "usr/bin"];
/// Where udev's rules are; a file hides those of the same name in later folders (udev(7)).
const RULES: [&str; 4] = [
    "etc/udev/rules.d",
    "run/udev/rules.d",
    "usr/lib/udev/rules.d",
    "lib/udev/rules.d",
];

pub(super) async fn gather(watch: &Watch, config: &Config, scan: Look<HostView>) -> Machine {
    let root = config.host.root.clone();
    let real = fs::canonicalize(&root).is_ok_and(|root| root == Path::new("/"));
    let (identity, disks) = match scan {
        Look::Done(view) => {
            let root = root.clone();
            let disks = watch
                .blocking("disks", move || disks(&root, view.disks))
                .await;
            (Look::Done(view.self_vm), disks)
        }
        Look::Late(limit) => (Look::Late(limit), Look::Late(limit)),
        Look::Needs(other) => (Look::Needs(other), Look::Needs(other)),
    };
    let (udev, lvm, md) = {
        let (for_udev, for_lvm, for_md) = (root.clone(), root.clone(), root.clone());
        tokio::join!(
            watch.blocking("udev", move || udev(&for_udev)),
            watch.blocking("lvm", move || lvm(&for_lvm)),
            watch.blocking("md", move || md(&for_md))
        )
    };
    Machine {
        real,
        root,
        identity,
        disks,
        udev,
        lvm,
        md,
    }
}

fn disks(root: &Path, read: Reading<Disks>) -> Result<DiskFacts, String> {
    let disks = match read {
        Reading::Present(disks) => disks,
        Reading::Absent => Disks::default(),
        Reading::Unknown(why) => return Err(why),
    };
    let linked = disks.links.values().map(|name| root.join("dev").join(name));
    Ok(DiskFacts {
        disks: disks.devices.len(),
        links: disks.links.len(),
        denied: linked
            .filter(|path| access(path, AccessFlags::R_OK | AccessFlags::W_OK).is_err())
            .collect(),
    })
}

fn udev(root: &Path) -> UdevFacts {
    UdevFacts {
        running: root.join("run/udev/control").exists(),
        by_id: root.join("dev/disk/by-id").is_dir(),
    }
}

fn lvm(root: &Path) -> LvmFacts {
    let conf = ["etc/lvm/lvm.conf", "etc/lvm/lvmlocal.conf"];
    LvmFacts {
        installed: is_installed(root, "lvm"),
        conf: texts(conf.map(|path| root.join(path))),
        devices_file: root.join("etc/lvm/devices/system.devices").exists(),
    }
}

fn md(root: &Path) -> MdFacts {
    let mut conf = vec![
        root.join("etc/mdadm/mdadm.conf"),
        root.join("etc/mdadm.conf"),
    ];
    for folder in ["etc/mdadm/mdadm.conf.d", "etc/mdadm.conf.d"] {
        conf.extend(files_in(&root.join(folder), |name| name.ends_with(".conf")));
    }
    MdFacts {
        installed: is_installed(root, "mdadm"),
        rules: assembly_rules(root),
        conf: texts(conf),
    }
}

fn is_installed(root: &Path, program: &str) -> bool {
    PROGRAMS
        .iter()
        .any(|folder| root.join(folder).join(program).exists())
}

/// Rules in force that hand disks to mdadm. One that is hidden by an empty file, or by a link to
/// /dev/null, is not.
fn assembly_rules(root: &Path) -> Vec<PathBuf> {
    let mut by_name = BTreeMap::new();
    for folder in RULES {
        let is_md = |name: &str| name.contains("md") && name.ends_with(".rules");
        for path in files_in(&root.join(folder), is_md) {
            if let Some(name) = path.file_name() {
                by_name.entry(name.to_owned()).or_insert(path);
            }
        }
    }
    let in_force = by_name.into_values().filter(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let rules = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        rules.into_iter().any(|line| {
            line.contains("mdadm") && (line.contains("--incremental") || line.contains(" -I"))
        })
    });
    in_force.collect()
}

/// The files of a folder whose names fit, sorted; none if there is no folder.
fn files_in(folder: &Path, fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(&fits))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// The texts of those files that are there.
fn texts(paths: impl IntoIterator<Item = PathBuf>) -> Vec<(PathBuf, Result<String, String>)> {
    let there = paths.into_iter().filter(|path| path.exists());
    there
        .map(|path| {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string());
            (path, text)
        })
        .collect()
}
