//! Notes what is planned whenever that changes, so that it can be shown later. Written, never read for
//! a decision.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{ObservedStatus, Phase, PlanStatus, Report, VolumeExport, VolumeStatus};
use crate::act::Hands;
use crate::model::{VolumeName, sha1_hex};
use crate::store::{PlanNote, StoreError};

/// What was noted last of each volume; `None`: it was not read yet what the run before noted.
#[derive(Debug, Default)]
pub(super) struct PlanLog(Option<BTreeMap<VolumeName, String>>);

impl PlanLog {
    /// Notes what differs from what was noted last.
    pub async fn write<T, E>(
        &mut self,
        hands: &Hands<T, E>,
        report: &Report,
    ) -> Result<(), StoreError> {
        let noted = match &mut self.0 {
            Some(noted) => noted,
            unread => unread.insert(hands.store.plan_digests().await?),
        };
        let notes = changes(noted, report);
        if notes.is_empty() {
            return Ok(());
        }
        hands.store.note_plans(&notes, report.at).await?;
        let digests = notes.into_iter().map(|note| (note.name, note.digest));
        noted.extend(digests);
        Ok(())
    }
}

/// What is to be noted. Nothing of a volume that is being read, unless it was never noted: as soon as
/// that is done, what is planned is as it was, in most cases.
fn changes(noted: &BTreeMap<VolumeName, String>, report: &Report) -> Vec<PlanNote> {
    let is_settled = |volume: &&VolumeStatus| match volume.phase {
        Phase::Unknown => false,
        Phase::Ready
        | Phase::Progressing
        | Phase::Waiting
        | Phase::Blocked
        | Phase::Held
        | Phase::Released => true,
    };
    let mut notes: Vec<PlanNote> = report
        .volumes
        .iter()
        .filter(is_settled)
        .map(note)
        .filter(|note| noted.get(&note.name) != Some(&note.digest))
        .collect();
    let declared: BTreeSet<&VolumeName> = report.volumes.iter().map(|it| &it.name).collect();
    let gone = noted
        .iter()
        .filter(|(name, digest)| !digest.is_empty() && !declared.contains(name));
    notes.extend(gone.map(|(name, _)| PlanNote {
        name: name.clone(),
        digest: String::new(),
        status: None,
    }));
    notes
}

fn note(volume: &VolumeStatus) -> PlanNote {
    let status = serde_json::to_string(&lasting(volume)).expect("a status is text and numbers");
    PlanNote {
        name: volume.name.clone(),
        digest: sha1_hex(&status),
        status: Some(status),
    }
}

/// A status without what changes all the time, and without what others have asked of an export.
fn lasting(volume: &VolumeStatus) -> VolumeStatus {
    VolumeStatus {
        plan: PlanStatus {
            next_in_ms: None,
            ..volume.plan.clone()
        },
        export: volume.export.clone().map(|export| VolumeExport {
            clients: None,
            ..export
        }),
        conditions: Vec::new(),
        observed: ObservedStatus {
            age_ms: None,
            ..volume.observed.clone()
        },
        ..volume.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volume(name: &str, phase: &str) -> VolumeStatus {
        let status = json!({
            "name": name, "owner": "db:engine", "observedGeneration": 1, "phase": phase,
            "message": "as it is", "volumeId": null, "serial": null,
            "capacity": { "cloud": null, "device": null, "export": null },
            "attachment": { "vm": uuid::Uuid::nil(), "vmName": null, "deviceId": 1 },
            "device": null, "export": { "name": "x", "readOnly": false, "clients": 1 },
            "intent": null, "paused": null,
            "plan": { "now": null, "then": [], "heldBy": [], "nextInMs": 5 }, "drift": [],
            "conditions": [], "observed": { "ageMs": 5, "staleAfterMs": 9 },
        });
        serde_json::from_value(status).expect("a status")
    }

    fn report(volumes: Vec<VolumeStatus>) -> Report {
        let report = json!({
            "at": "2027-01-15T08:00:00Z", "instance": uuid::Uuid::nil(), "selfVm": null,
            "sources": [], "frozen": null, "volumes": volumes, "exports": [], "files": [],
            "devices": [],
        });
        serde_json::from_value(report).expect("a report")
    }

    fn noted(notes: &[PlanNote]) -> BTreeMap<VolumeName, String> {
        let digests = notes
            .iter()
            .map(|note| (note.name.clone(), note.digest.clone()));
        digests.collect()
    }

    #[test]
    fn what_is_planned_is_noted_when_it_changed_and_not_for_what_passes() {
        let mut now = report(vec![
            volume("a", "Ready"),
            volume("b", "Progressing"),
            volume("c", "Unknown"),
        ]);
        let first = changes(&BTreeMap::new(), &now);
        let names: Vec<&str> = first.iter().map(|note| note.name.as_str()).collect();
        assert_eq!(names, ["a", "b"], "of c nothing is known yet");
        let mut known = noted(&first);
        assert_eq!(changes(&known, &now), []);

        let of_a = &mut now.volumes[0];
        of_a.observed.age_ms = Some(7);
        of_a.plan.next_in_ms = Some(7);
        of_a.export.as_mut().expect("exported").clients = Some(7);
        assert_eq!(changes(&known, &now), [], "that only passes");
        now.volumes[0].attachment = None;
        let second = changes(&known, &now);
        assert_eq!(second.len(), 1);
        known.extend(noted(&second));

        now.volumes[1] = volume("b", "Unknown");
        assert_eq!(changes(&known, &now), [], "it is being read");
        now.volumes.remove(1);
        let gone = changes(&known, &now);
        assert_eq!((gone[0].name.as_str(), &gone[0].status), ("b", &None));
        known.extend(noted(&gone));
        assert_eq!(changes(&known, &now), [], "once");
    }
}
