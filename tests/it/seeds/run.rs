//! Lets a history happen to a daemon in a world.

use std::collections::BTreeMap;
use std::time::Duration;

use volume_daemon::model::ExportName;
use volume_daemon::plan::SourceHealth;
use volume_daemon::sim::world::{
    DATA_DISK_CONTROLLER, GIB, GivenVm, GivenVolume, ROOT_DISK_CONTROLLER, Settings, Tag,
    VolumeState,
};
use volume_daemon::sim::{Fault, Operation, SimTime, World};

use super::end;
use super::happening::{Ask, Happening, History, Setup};
use crate::rig::{Rig, SELF, START, Story};

/// How long the appliance may take to come back.
const REBOOT_MAX: usize = 120;

/// The rig, and what was asked of it.
pub struct Run {
    pub rig: Rig,
    /// What each spec last asked for; `None`: it is gone.
    pub asked: BTreeMap<String, (Ask, bool)>,
}

/// Lets everything happen, and asserts that it ends as it must.
pub async fn run(history: &History, story: &Story) {
    let mut rig = Rig::in_world(world(&history.setup));
    rig.tell_story(story.clone());
    rig.pace = history.setup.pace.clone();
    rig.policy.implied_floor = history.setup.implied_floor;
    rig.policy.detach_grace = history.setup.detach_grace;
    rig.policy.delete_grace = history.setup.detach_grace;
    rig.start().await;
    let mut run = Run {
        rig,
        asked: BTreeMap::new(),
    };
    for happening in &history.happenings {
        run.happen(happening).await;
    }
    end::comes_to_rest(&mut run).await;
}

/// The world as it is before the daemon comes.
fn world(setup: &Setup) -> World {
    let settings = Settings {
        seed: setup.seed,
        latencies: setup.latencies,
        page_size: setup.page_size,
        ..Settings::default()
    };
    let start = SimTime::from_millis(START);
    let mut world = World::standard(settings, start);
    let (account, _) = world.accounts().next().expect("the standard world has one");
    let (zone, _) = world.zones().next().expect("the standard world has one");
    let offering = world.offerings().find(|(_, row)| row.size.is_none());
    let (offering, _) = offering.expect("the standard world has one");
    for (name, state) in &setup.vms {
        let given = GivenVm {
            uuid: None,
            name: name.clone(),
            zone,
            account,
            os: None,
            details: None,
            state: *state,
            started_once: true,
            created: start,
        };
        world.add_given_vm(given).expect("ids are drawn");
    }
    for given in &setup.volumes {
        let tag = Tag {
            key: "volume-daemon/uid".to_owned(),
            value: "another/daemon/created".to_owned(),
        };
        let vm = given
            .vm
            .as_ref()
            .map(|vm| world.vm_called(vm).expect("it was added"));
        let given = GivenVolume {
            uuid: None,
            name: given.name.clone(),
            size: given.gib * GIB,
            offering,
            zone,
            account,
            state: VolumeState::Ready,
            created: start,
            tags: if given.claimed { vec![tag] } else { Vec::new() },
            attach: vm.map(|vm| (vm, None)),
        };
        world.add_given_volume(given).expect("VMs have room");
    }
    boot_with_bus(&mut world, setup.bus);
    world
}

/// The bus of a VM's disks is decided when it starts.
fn boot_with_bus(world: &mut World, bus: &str) {
    if bus == "virtio" {
        return;
    }
    let details = [ROOT_DISK_CONTROLLER, DATA_DISK_CONTROLLER];
    let details = details.map(|key| (key.to_owned(), bus.to_owned()));
    let vm = SELF.to_owned();
    for operation in [
        Operation::DescribeVm {
            vm: vm.clone(),
            os: None,
            details: details.into(),
        },
        Operation::StopVm { vm: vm.clone() },
        Operation::StartVm { vm },
    ] {
        world.operate(&operation).expect("the appliance runs");
        while let Some(due) = world.next_due() {
            world.advance(due);
        }
    }
}

impl Run {
    async fn happen(&mut self, happening: &Happening) {
        self.rig.note(|| happening.to_string());
        match happening {
            Happening::Ask(ask) => self.ask(ask).await,
            Happening::Remove(name) => self.remove(name).await,
            Happening::Believe(sound) => {
                self.alive().await;
                self.rig.believe_files(if *sound {
                    SourceHealth::Sound
                } else {
                    SourceHealth::Suspect("it is empty".to_owned())
                });
            }
            Happening::Pass(ms) => self.pass(*ms).await,
            Happening::Deed(deed) => {
                if let Err(why) = self.rig.suffer(deed) {
                    self.rig.note(|| format!("  which is refused: {why}"));
                }
            }
            Happening::Fault(fault) => self.rig.inject(fault.clone()),
            Happening::Connect(name) => {
                if let Some(export) = self.export_of(name) {
                    self.rig.nbd.connect(&export);
                }
            }
            Happening::Disconnect => self.rig.nbd.disconnect_all(),
            Happening::Crash(moment) => self.rig.fuse.light(*moment),
            Happening::RestartNbd => self.rig.restart_nbd(),
            Happening::Reboot => self.reboot().await,
        }
    }

    async fn ask(&mut self, ask: &Ask) {
        self.alive().await;
        self.rig.declare(&ask.yaml()).await;
        self.asked.insert(ask.name.clone(), (ask.clone(), true));
    }

    async fn remove(&mut self, name: &str) {
        if !self.asked.get(name).is_some_and(|(_, there)| *there) {
            return;
        }
        self.alive().await;
        self.rig.remove(name).await;
        if let Some((_, there)) = self.asked.get_mut(name) {
            *there = false;
        }
    }

    async fn pass(&mut self, ms: u64) {
        self.rig.run_for(Duration::from_millis(ms)).await;
        self.alive().await;
    }

    /// Starts the daemon if it died.
    pub async fn alive(&mut self) {
        if self.rig.core().is_none() {
            self.rig.note(|| "the daemon starts".to_owned());
            self.rig.start().await;
        }
    }

    async fn reboot(&mut self) {
        let reboot = Operation::RebootVm {
            vm: SELF.to_owned(),
        };
        self.rig.crash().await;
        self.rig.restart_nbd();
        if self.rig.operate(&reboot).is_ok() {
            for _ in 0..REBOOT_MAX {
                self.rig.pass(Duration::from_secs(1));
                if self.rig.front().world().pending_jobs().next().is_none() {
                    break;
                }
            }
        }
        self.alive().await;
    }

    /// The name under which a spec's volume is to be exported.
    pub fn export_of(&self, name: &str) -> Option<ExportName> {
        let (ask, _) = self.asked.get(name)?;
        let own = ask.export.as_ref().and_then(|serve| serve.name.as_ref());
        match own {
            Some(own) => own.parse().ok(),
            None => self.rig.export_of(name),
        }
    }

    /// Whatever goes wrong ends, and jobs that never end are ended.
    pub async fn calm(&mut self) {
        self.rig
            .note(|| "everything is calm from now on".to_owned());
        self.rig.inject(Fault::Restart {
            keep_plugged: false,
        });
        self.rig.calm();
        self.rig.fuse.reset();
        let vms: Vec<String> = {
            let front = self.rig.front();
            let rows = front.world().vms().filter(|(_, vm)| !vm.removed);
            rows.map(|(_, vm)| vm.uuid.to_string()).collect()
        };
        for vm in vms {
            let ignore = false;
            let heeds = Operation::IgnoreUnplug { vm, ignore };
            self.rig.operate(&heeds).expect("it is there");
        }
        self.alive().await;
        self.rig.believe_files(SourceHealth::Sound);
    }
}
