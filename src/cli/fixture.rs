//! Reports made by hand and daemons that give them, for tests of what is shown.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use uuid::Uuid;

use crate::config::Address;
use crate::model::{
    ByteSize, Cause, DesiredVolume, InstanceId, IntentId, JobId, Owner, Presence, Serial, SpecUid,
    Timestamp, VmId, VolumeId,
};
use crate::plan::episode::{Ended, Ending, Episode};
use crate::plan::{Drift, DriftClass};
use crate::reconcile::report::{
    AttachmentStatus, Capacity, Condition, DeviceState, DeviceStatus, ExportStatus, FrozenStatus,
    FrozenStep, HostDevice, IntentStatus, ObservedStatus, Phase, PlanStatus, Reason, Report,
    SourceStatus, StepStatus, Truth, VolumeExport, VolumeStatus,
};

/// 2027-01-15T08:00:00Z, when the reports were written.
pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub const VM: VmId = VmId::new(Uuid::from_u128(7));

pub fn later(at: Timestamp, seconds: u64) -> Timestamp {
    at.plus(Duration::from_secs(seconds))
}

/// A text without its colours.
pub fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// A disk that CloudStack does not list here.
pub fn ghost() -> HostDevice {
    HostDevice {
        path: "/dev/vdx".to_owned(),
        number: "252:368".to_owned(),
        serial: Some("17af9803f4a8445da106".parse().expect("a serial")),
        size: ByteSize::gib(1),
        state: DeviceState::Ghost,
        volume: None,
        volume_id: None,
        users: vec!["mounted at /mnt".to_owned()],
        message: Some("not listed".to_owned()),
    }
}

/// One step that the guard holds back.
pub fn frozen(why: &str) -> FrozenStatus {
    FrozenStatus {
        why: why.to_owned(),
        digest: "0123456789ab".to_owned(),
        steps: vec![FrozenStep {
            volume: "gone".parse().expect("a name"),
            text: "detach it".to_owned(),
        }],
    }
}

/// A report on these volumes, from a daemon that can see everything.
pub fn report(volumes: impl IntoIterator<Item = VolumeStatus>) -> Report {
    let source = |name: &str, age_ms| SourceStatus {
        name: name.to_owned(),
        ok: true,
        message: None,
        age_ms,
    };
    let volumes: Vec<VolumeStatus> = volumes.into_iter().collect();
    let exports = volumes.iter().filter_map(export).collect();
    Report {
        at: NOW,
        instance: InstanceId::new(Uuid::from_u128(1)),
        self_vm: Some(VM),
        sources: vec![
            source("cloudstack", Some(12_000)),
            source("host", Some(3000)),
            source("nbd", Some(4000)),
            source("specs", None),
            source("store", None),
        ],
        frozen: None,
        volumes,
        exports,
        files: Vec::new(),
        devices: Vec::new(),
    }
}

fn export(volume: &VolumeStatus) -> Option<ExportStatus> {
    let export = volume.export.as_ref()?;
    Some(ExportStatus {
        name: export.name.clone(),
        volume: Some(volume.name.clone()),
        size: volume.capacity.export?,
        read_only: export.read_only,
        proven: true,
        draining: false,
    })
}

/// A spec of which nothing else is known yet.
fn bare(name: &str, phase: Phase, message: &str) -> VolumeStatus {
    VolumeStatus {
        name: name.parse().expect("a name"),
        owner: format!("file:/etc/volume-daemon/specs/{name}.yaml"),
        observed_generation: 3,
        phase,
        message: message.to_owned(),
        volume_id: None,
        serial: None,
        capacity: Capacity::default(),
        attachment: None,
        device: None,
        export: None,
        intent: None,
        paused: None,
        plan: PlanStatus::default(),
        drift: Vec::new(),
        conditions: vec![Condition {
            kind: "Ready".to_owned(),
            status: match phase {
                Phase::Ready => Truth::True,
                Phase::Unknown => Truth::Unknown,
                _ => Truth::False,
            },
            reason: format!("{phase:?}"),
            message: message.to_owned(),
            last_transition_time: NOW,
            observed_generation: 3,
        }],
        observed: ObservedStatus {
            age_ms: None,
            stale_after_ms: 180_000,
        },
    }
}

/// What the reports are about.
pub fn spec(name: &str) -> DesiredVolume {
    let text = format!(
        "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: {name} }}\n\
         spec: {{ size: 40GiB, zone: zone-1, diskOffering: Custom, attachTo: {{ vm: self }}, export: {{}} }}\n"
    );
    let parsed = crate::spec::parse("a.yaml", text.as_bytes()).expect("a valid spec");
    DesiredVolume {
        document: parsed[0].document.clone(),
        uid: SpecUid::new(Uuid::from_u128(3)),
        generation: 3,
        owner: Owner::File(format!("/etc/volume-daemon/specs/{name}.yaml")),
        presence: Presence::Declared,
    }
}

/// A volume that is there, attached here and exported.
pub fn ready(name: &str) -> VolumeStatus {
    let volume = VolumeId::new(Uuid::from_u128(0x2aff_4799 << 96));
    let size = Some(ByteSize::gib(40));
    VolumeStatus {
        volume_id: Some(volume),
        serial: Some(Serial::of(volume)),
        capacity: Capacity {
            cloud: size,
            device: size,
            export: size,
        },
        attachment: Some(AttachmentStatus {
            vm: VM,
            vm_name: Some("pg".to_owned()),
            device_id: Some(1),
        }),
        device: Some(DeviceStatus {
            by_id: Some(format!("/dev/disk/by-id/virtio-{}", Serial::of(volume))),
            path: "/dev/vdb".to_owned(),
            number: "254:16".to_owned(),
        }),
        export: Some(VolumeExport {
            name: format!("migration-vol-{name}").parse().expect("a name"),
            read_only: false,
            clients: Some(2),
        }),
        observed: ObservedStatus {
            age_ms: Some(12_000),
            stale_after_ms: 180_000,
        },
        ..bare(name, Phase::Ready, "as declared")
    }
}

fn attach() -> StepStatus {
    StepStatus {
        kind: "Attach".to_owned(),
        text: "attach the volume to VM pg".to_owned(),
        reason: "the spec asks for this VM".to_owned(),
    }
}

fn held_by(code: &str, message: &str, then: StepStatus) -> PlanStatus {
    PlanStatus {
        now: None,
        then: vec![then],
        held_by: vec![Reason {
            code: code.to_owned(),
            message: message.to_owned(),
        }],
        next_in_ms: None,
    }
}

/// A volume whose next step is due.
pub fn progressing(name: &str) -> VolumeStatus {
    VolumeStatus {
        plan: PlanStatus {
            now: Some(attach()),
            then: vec![StepStatus {
                kind: "Export".to_owned(),
                text: format!("export it as migration-vol-{name}"),
                reason: "the spec asks for an export".to_owned(),
            }],
            ..PlanStatus::default()
        },
        ..bare(name, Phase::Progressing, "next: attach the volume to VM pg")
    }
}

/// A volume with a call under way.
pub fn in_flight(name: &str) -> VolumeStatus {
    let message = "Attach is under way in CloudStack job 9";
    VolumeStatus {
        intent: Some(IntentStatus {
            id: IntentId::new(Uuid::from_u128(5)),
            action: "attach the volume to VM pg".to_owned(),
            cause: Cause::Healing,
            job: Some(JobId::new(Uuid::from_u128(9))),
            created: Timestamp::from_millis(NOW.as_millis() - 20_000),
            expires: later(NOW, 40),
        }),
        plan: held_by("InProgress", message, attach()),
        ..bare(name, Phase::Progressing, message)
    }
}

/// A volume that waits for its next attempt.
pub fn waiting(name: &str) -> VolumeStatus {
    let message = "attempt 2 failed and will be repeated: no room";
    let create = StepStatus {
        kind: "Create".to_owned(),
        text: format!("create {name} with 40GiB"),
        reason: "there is no volume yet".to_owned(),
    };
    VolumeStatus {
        plan: PlanStatus {
            next_in_ms: Some(30_000),
            ..held_by("QuotaExceeded", message, create)
        },
        ..bare(name, Phase::Waiting, message)
    }
}

/// A volume that is where somebody else put it.
pub fn blocked(name: &str) -> VolumeStatus {
    let message = "attached to VM x; detach it there";
    VolumeStatus {
        plan: held_by("ForeignAttachment", message, attach()),
        drift: vec![drift(DriftClass::Attachment, "spec.attachTo.vm", "pg", "x")],
        attachment: Some(AttachmentStatus {
            vm: VmId::new(Uuid::from_u128(8)),
            vm_name: None,
            device_id: None,
        }),
        device: None,
        export: None,
        capacity: Capacity {
            cloud: Some(ByteSize::gib(40)),
            ..Capacity::default()
        },
        phase: Phase::Blocked,
        message: message.to_owned(),
        conditions: bare(name, Phase::Blocked, message).conditions,
        ..ready(name)
    }
}

/// A volume whose spec says not to act.
pub fn held(name: &str) -> VolumeStatus {
    let message = "the spec says suspend: true, so this is not done";
    VolumeStatus {
        plan: held_by("Held", message, attach()),
        drift: vec![drift(
            DriftClass::Attachment,
            "spec.attachTo.vm",
            "pg",
            "none",
        )],
        ..bare(name, Phase::Held, message)
    }
}

/// A volume whose spec is gone.
pub fn released(name: &str) -> VolumeStatus {
    bare(name, Phase::Released, "its spec is gone")
}

/// A volume that was not read yet.
pub fn unknown(name: &str) -> VolumeStatus {
    VolumeStatus {
        plan: PlanStatus {
            held_by: vec![Reason {
                code: "Observing".to_owned(),
                message: "reading CloudStack".to_owned(),
            }],
            ..PlanStatus::default()
        },
        ..bare(name, Phase::Unknown, "reading CloudStack")
    }
}

pub fn drift(class: DriftClass, field: &str, desired: &str, observed: &str) -> Drift {
    Drift {
        class,
        field: field.to_owned(),
        desired: desired.to_owned(),
        observed: observed.to_owned(),
    }
}

/// A volume that somebody detached, and that is still detached.
pub fn episode(volume: &str, first_seen: Timestamp) -> Episode {
    Episode {
        volume: volume.parse().expect("a name"),
        generation: 3,
        drift: drift(
            DriftClass::Attachment,
            "spec.attachTo.vm",
            "VM a",
            "detached by somebody",
        ),
        first_seen,
        ended: None,
        who: None,
    }
}

/// The same, and it ended.
pub fn over(episode: Episode, at: Timestamp, ending: Ending) -> Episode {
    Episode {
        ended: Some(Ended {
            last_seen: episode.first_seen,
            at,
            ending,
        }),
        ..episode
    }
}

/// Serves `router` on a port of this machine for as long as the test runs.
pub async fn serve_tcp(router: Router) -> Address {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async { axum::serve(listener, router).await });
    Address::Tcp(address)
}

/// Serves `router` on the unix socket `path` for as long as the test runs.
pub fn serve_unix(router: Router, path: &Path) -> Address {
    let listener = tokio::net::UnixListener::bind(path).expect("a socket");
    tokio::spawn(async { axum::serve(listener, router).await });
    Address::Unix(path.to_owned())
}

/// An address at which nobody listens.
pub async fn nobody() -> Address {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    Address::Tcp(listener.local_addr().expect("an address"))
}

/// A daemon that gives these reports one after the other, and the last one from then on.
pub fn daemon(reports: Vec<Report>) -> Router {
    let asked = Arc::new(AtomicUsize::new(0));
    let status = move || {
        let at = asked.fetch_add(1, Ordering::Relaxed);
        let report = reports.get(at).or(reports.last()).cloned();
        async move { Json(report) }
    };
    Router::new().route("/api/v1/status", get(status))
}
