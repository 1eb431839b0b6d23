//! Exports of old rows: under which name a volume is to be served, and what speaks against that.

use super::code::{Code, Finding};
use super::judge::Case;
use super::old::key;
use crate::model::{ExportName, VolumeId};

/// The name under which the volume is to be exported, and what is to be said about it.
pub(super) fn judge(case: &Case<'_>) -> (Option<ExportName>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut say = |code, message| findings.push(Finding::new(code, case.id, message));
    let names = case.said.export_names();
    let mut all = names.iter().copied();
    let (first, second) = (all.next(), all.next());
    let Some(name) = first else {
        return (None, findings);
    };
    if !case.is_here() {
        let message = format!("it is not attached to this VM, and has an export {name}");
        say(Code::ExportLeftOut, message);
        return (None, findings);
    }
    if second.is_some() {
        let names: Vec<&str> = names.into_iter().collect();
        let message = format!("it is exported as {}", names.join(" and as "));
        say(Code::SeveralExportNames, message);
        return (None, findings);
    }
    let rivals = case.said.rivals.iter();
    for rival in rivals {
        let message = format!("an export row of it also names the volume {rival}");
        say(Code::TwoVolumes, message);
    }
    let others = case.old.names[name].iter();
    let others = others.filter(|other| **other != case.id && !case.is_gone(**other));
    for other in others {
        let message = format!("the volume {other} is exported as {name}, too");
        say(Code::SharedExportName, message);
    }
    if let Some(spec) = case.exported_by(name) {
        let message = format!("the spec {spec} exports another volume as {name}");
        say(Code::SharedExportName, message);
    }
    if !case.said.is_exported() {
        let rows: Vec<&str> = case.said.exports.iter().map(|row| key(row)).collect();
        let message = format!("its export was not active (row {})", rows.join(", "));
        say(Code::ExportNotActive, message);
    }
    match name.parse::<ExportName>() {
        Err(invalid) => {
            say(Code::InvalidExportName, invalid.to_string());
            (None, findings)
        }
        Ok(export) => {
            named_after(&export, case.id, say);
            (Some(export), findings)
        }
    }
}

/// Whether the name follows from the volume, and if not, whether it follows from another one: that
/// one's default name would be lost to it for ever.
fn named_after(export: &ExportName, id: VolumeId, mut say: impl FnMut(Code, String)) {
    let usual = ExportName::default_for(id);
    if *export == usual {
        return;
    }
    let other = export.as_str().rsplit("migration-vol-").next();
    match other.and_then(|other| other.parse::<VolumeId>().ok()) {
        Some(other) if ExportName::default_for(other) == *export => {
            let message = format!("it is exported as {export}, the name of the volume {other}");
            say(Code::OthersExportName, message);
        }
        Some(_) | None => {
            let message = format!("it is exported as {export}, not as {usual}");
            say(Code::CustomExportName, message);
        }
    }
}
