//! No sequence of calls, operations, faults and time breaks the world.

use proptest::prelude::*;

use super::*;
use crate::sim::control::Side;
use crate::sim::fault::Fault;
use crate::sim::state;

const COMMANDS: [&str; 20] = [
    "createVolume",
    "attachVolume",
    "detachVolume",
    "resizeVolume",
    "deleteVolume",
    "destroyVolume",
    "recoverVolume",
    "createTags",
    "deleteTags",
    "createSnapshot",
    "createVMSnapshot",
    "deleteVMSnapshot",
    "deployVirtualMachine",
    "migrateVirtualMachine",
    "startVirtualMachine",
    "stopVirtualMachine",
    "rebootVirtualMachine",
    "destroyVirtualMachine",
    "recoverVirtualMachine",
    "expungeVirtualMachine",
];

/// One thing that happens. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Call {
        command: usize,
        volume: usize,
        vm: usize,
        number: i64,
        flag: bool,
    },
    Operate {
        which: usize,
        volume: usize,
        vm: usize,
        flag: bool,
    },
    Inject {
        which: usize,
        command: usize,
        flag: bool,
    },
    Pass(u64),
}

pub(super) fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..COMMANDS.len(), 0..8_usize, 0..3_usize, -1..6_i64, any::<bool>()).prop_map(
            |(command, volume, vm, number, flag)| Act::Call { command, volume, vm, number, flag }
        ),
        2 => (0..10_usize, 0..8_usize, 0..3_usize, any::<bool>())
            .prop_map(|(which, volume, vm, flag)| Act::Operate { which, volume, vm, flag }),
        2 => (0..FAULTS.len(), 0..COMMANDS.len(), any::<bool>())
            .prop_map(|(which, command, flag)| Act::Inject { which, command, flag }),
        4 => prop_oneof![Just(0), Just(10), Just(50), Just(300), Just(2_000)].prop_map(Act::Pass),
    ];
    prop::collection::vec(act, 1..60)
}

impl Rig {
    fn ids(&self) -> (Vec<String>, Vec<String>) {
        let world = self.front.world();
        let volumes = world.volumes().map(|(_, row)| row.uuid.to_string());
        let vms = world.vms().map(|(_, row)| row.uuid.to_string());
        (volumes.collect(), vms.collect())
    }

    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Pass(millis) => self.pass(*millis),
            Act::Call {
                command,
                volume,
                vm,
                number,
                flag,
            } => self.call_any(COMMANDS[*command], *volume, *vm, *number, *flag),
            Act::Operate {
                which,
                volume,
                vm,
                flag,
            } => self.operate_any(*which, *volume, *vm, *flag),
            Act::Inject {
                which,
                command,
                flag,
            } => self.front.inject(fault(*which, COMMANDS[*command], *flag)),
        }
    }

    fn call_any(&mut self, command: &str, volume: usize, vm: usize, number: i64, flag: bool) {
        let (volumes, vms) = self.ids();
        let (volume, vm) = (&volumes[volume % volumes.len()], &vms[vm % vms.len()]);
        let number = number.to_string();
        let (zone, offering) = {
            let world = self.front.world();
            (
                world.zones().next().expect("a zone").1.uuid.to_string(),
                world
                    .offerings()
                    .next()
                    .expect("an offering")
                    .1
                    .uuid
                    .to_string(),
            )
        };
        let snapshots: Vec<String> = {
            let world = self.front.world();
            world
                .vm_snapshots()
                .map(|(_, row)| row.uuid.to_string())
                .collect()
        };
        let (service_offering, template) = {
            let world = self.front.world();
            let offering = world.service_offerings().next().expect("one").1.uuid;
            let template = world.templates().next().expect("one").1.uuid;
            (offering.to_string(), template.to_string())
        };
        let by_id = ("id", volume.as_str());
        let params: Vec<(&str, &str)> = match command {
            "createVolume" => vec![
                ("zoneid", &zone),
                ("diskofferingid", &offering),
                ("size", &number),
            ],
            "attachVolume" if flag => vec![by_id, ("virtualmachineid", vm), ("deviceid", &number)],
            "attachVolume" => vec![by_id, ("virtualmachineid", vm)],
            "resizeVolume" => vec![
                by_id,
                ("size", &number),
                ("shrinkok", if flag { "true" } else { "false" }),
            ],
            "destroyVolume" => vec![by_id, ("expunge", if flag { "true" } else { "false" })],
            "destroyVirtualMachine" => {
                vec![("id", vm), ("expunge", if flag { "true" } else { "false" })]
            }
            "createSnapshot" => vec![("volumeid", volume)],
            "createVMSnapshot" => vec![
                ("virtualmachineid", vm),
                ("snapshotmemory", if flag { "true" } else { "false" }),
            ],
            "deleteVMSnapshot" => match snapshots.get(usize::from(flag)) {
                Some(snapshot) => vec![("vmsnapshotid", snapshot.as_str())],
                None => return,
            },
            "deployVirtualMachine" => vec![
                ("zoneid", &zone),
                ("serviceofferingid", &service_offering),
                ("templateid", &template),
                ("startvm", if flag { "true" } else { "false" }),
            ],
            "migrateVirtualMachine" => vec![("virtualmachineid", vm)],
            _ if command.ends_with("VirtualMachine") => vec![("id", vm)],
            "createTags" | "deleteTags" => vec![
                ("resourceids", volume),
                ("resourcetype", "Volume"),
                ("tags[0].key", if flag { "k" } else { "K" }),
                ("tags[0].value", &number),
            ],
            _ => vec![by_id],
        };
        let answer = self.send(command, &params);
        assert!(
            matches!(answer.delivery, Delivery::Dropped(_))
                || [200, 429, 431, 502, 503, 530].contains(&answer.status),
            "{command}: {}",
            answer.body
        );
    }

    fn operate_any(&mut self, which: usize, volume: usize, vm: usize, flag: bool) {
        let (volumes, vms) = self.ids();
        let other = volumes[(volume + 1) % volumes.len()].clone();
        let volume = volumes[volume % volumes.len()].clone();
        let vm = vms[vm % vms.len()].clone();
        let side = if flag { Side::Both } else { Side::Guest };
        let operation = match which {
            0 => Operation::StartVm { vm },
            1 => Operation::StopVm { vm },
            2 => Operation::RebootVm { vm },
            3 => Operation::DestroyVm { vm, expunge: flag },
            4 => Operation::CreateVolume {
                name: "theirs".to_owned(),
                size_gib: 1,
            },
            5 => Operation::AttachVolume {
                volume,
                vm,
                device_id: None,
                side,
            },
            6 => Operation::DetachVolume { volume, side },
            7 => Operation::DeleteVolume { volume },
            8 => Operation::IgnoreUnplug { vm, ignore: flag },
            _ => Operation::SwapDisks {
                vm,
                a: volume,
                b: other,
            },
        };
        // Refusals are fine; breaking the world is not.
        let _ = self.front.world_mut().operate(&operation);
    }
}

/// What a fault is, apart from its target.
const FAULTS: [&str; 24] = [
    r#""kind":"dropResponse","when":"beforeCommit""#,
    r#""kind":"dropResponse","when":"afterCommit""#,
    r#""kind":"delayResponse","ms":100"#,
    r#""kind":"duplicateRequest""#,
    r#""kind":"lateRequest","ms":400"#,
    r#""kind":"tooManyRequests","retryAfterMs":100"#,
    r#""kind":"badGateway""#,
    r#""kind":"serviceUnavailable""#,
    r#""kind":"internalError","text":"no""#,
    r#""kind":"stuckJob""#,
    r#""kind":"delayJob","ms":1000"#,
    r#""kind":"stragglingDetach","ms":1000"#,
    r#""kind":"failJob","text":"no""#,
    r#""kind":"storageFailure""#,
    r#""kind":"detachTimeout""#,
    r#""kind":"deleteStuck""#,
    r#""kind":"purgeJob""#,
    r#""kind":"loseJob","when":"beforeCommit""#,
    r#""kind":"loseJob","when":"afterCommit""#,
    r#""kind":"clockSkew","ms":-5000"#,
    r#""kind":"clockSkew","ms":60000"#,
    r#""kind":"outage","mode":"closed","ms":100"#,
    r#""kind":"restart","keepPlugged":true"#,
    r#""kind":"restart","at":"300ms""#,
];

fn fault(which: usize, command: &str, probable: bool) -> Fault {
    let what = FAULTS[which];
    let moment = ["clockSkew", "outage", "restart"];
    let text = if moment.iter().any(|kind| what.contains(kind)) {
        format!("{{{what}}}")
    } else {
        let probability = if probable { 1.0 } else { 0.5 };
        format!(
            r#"{{{what},"on":{{"command":"{command}","probability":{probability:.1},"count":2}}}}"#
        )
    };
    serde_json::from_str(&text).expect(&text)
}

proptest! {
    #[test]
    fn the_world_holds_together(acts in acts()) {
        let mut rig = Rig::new();
        for act in &acts {
            rig.act(act);
            prop_assert_eq!(rig.front.world().check(), Ok(()), "after {:?}", act);
        }
        // Once faults are over, the server restarts and time passes, nothing is left hanging.
        rig.pass(10_000);
        rig.front.clear_faults();
        rig.front.inject(Fault::Restart { keep_plugged: false });
        // The storage scavenger takes a day.
        rig.pass(2 * 86_400_000);
        prop_assert_eq!(rig.front.world().pending_jobs().count(), 0);
        prop_assert_eq!(rig.front.next_due(), None);
        prop_assert_eq!(rig.front.world().check(), Ok(()));
    }

    #[test]
    fn the_same_seed_and_calls_give_the_same_world(acts in acts()) {
        let run = || {
            let mut rig = Rig::new();
            for act in &acts {
                rig.act(act);
            }
            serde_json::to_string(&rig.front.world().dump()).expect("JSON")
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_restored_world_goes_on_as_if_nothing_had_happened(before in acts(), after in acts()) {
        let mut rig = Rig::new();
        for act in &before {
            rig.act(act);
        }
        let text = state::save(&rig.front);
        let mut again = Rig {
            front: state::restore(&text).expect("what was saved"),
            ..Rig::new()
        };
        again.now = rig.now;
        let go_on = |rig: &mut Rig| {
            for act in &after {
                rig.act(act);
            }
            let listed = rig.send("listVolumes", &[("listall", "true")]);
            (listed.body, listed.headers, state::save(&rig.front))
        };
        prop_assert_eq!(go_on(&mut rig), go_on(&mut again));
    }
}
