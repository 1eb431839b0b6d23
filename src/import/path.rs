//! Device paths of old rows, against the disks that are here.

use super::code::{Code, Finding};
use super::judge::Case;
use crate::model::observed::{BY_ID_PREFIXES, Device, Disks};
use crate::model::{Serial, VolumeId};

/// Where udev links disks by what they are.
pub(super) const BY_ID: &str = "/dev/disk/by-id/";

/// What a device path leads to.
enum Target<'a> {
    /// The volume's own disk.
    Own,
    /// The disk with this serial.
    Other(&'a str),
    /// No disk that is here, as far as it can be told.
    Nothing,
}

/// The device path that counts from now on.
pub(super) fn by_id(disks: &Disks, serial: &Serial) -> (String, bool) {
    match disks.link_for(serial) {
        Some((link, _)) => (format!("{BY_ID}{link}"), true),
        None => (format!("{BY_ID}{}{serial}", BY_ID_PREFIXES[0]), false),
    }
}

fn follow<'a>(path: &'a str, serial: &Serial, disks: &'a Disks) -> Target<'a> {
    let own = |other: &'a str| match other == serial.as_str() {
        true => Target::Own,
        false => Target::Other(other),
    };
    if let Some(link) = path.strip_prefix(BY_ID) {
        let stripped = BY_ID_PREFIXES
            .iter()
            .find_map(|prefix| link.strip_prefix(prefix));
        return own(stripped.unwrap_or(link));
    }
    let device = path
        .strip_prefix("/dev/")
        .and_then(|name| disks.devices.get(name));
    match device {
        Some(Device {
            serial: Some(found),
            ..
        }) => own(found.as_str()),
        Some(_) => Target::Other("none"),
        None => Target::Nothing,
    }
}

/// What is to be said about the paths of a volume that is attached here, and about its disk.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let serial = Serial::of(case.id);
    let mut findings = Vec::new();
    let mut say = |code, message| findings.push(Finding::new(code, case.id, message));
    let (link, exists) = by_id(case.disks, &serial);
    for (path, table) in case.said.paths() {
        let target = follow(path, &serial, case.disks);
        if !path.starts_with(BY_ID) {
            let there = if exists {
                "which is there"
            } else {
                "which is not there"
            };
            let message = format!("{table}: {path} is replaced by {link}, {there}");
            say(Code::KernelPath, message);
        }
        match &target {
            Target::Other(other) => {
                let message = format!(
                    "{table}: {path} leads to the disk with the serial {other}, and this volume's \
                     is {serial}: what was written through it went there"
                );
                say(Code::OtherDisk, message);
            }
            Target::Own | Target::Nothing => {}
        }
        let others = case.old.paths[path]
            .iter()
            .filter(|other| **other != case.id);
        let others: Vec<String> = others.map(VolumeId::to_string).collect();
        if !matches!(target, Target::Own) && !others.is_empty() {
            let others = others.join(", ");
            let message = format!("{table}: {path} is also said to be the disk of {others}");
            say(Code::SharedDevicePath, message);
        }
    }
    match case.disks.link_for(&serial) {
        None => {
            let message =
                format!("CloudStack says that it is attached here, and {link} is not there");
            say(Code::LinkMissing, message);
        }
        Some((_, device)) if device.size < case.cloud.size => {
            let message = format!(
                "its disk has {}, less than the {} that CloudStack says",
                device.size, case.cloud.size
            );
            say(Code::SizeDiffers, message);
        }
        Some(_) => {}
    }
    findings
}
