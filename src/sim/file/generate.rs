//! Large worlds out of a seed: a mix such as a busy cloud has. The same seed gives the same
//! world.

use crate::sim::refusal::Refusal;
use crate::sim::world::{
    AccountNo, GIB, GivenVm, GivenVolume, OfferingNo, Tag, VmNo, VmState, VolumeState, World,
    ZoneNo,
};

/// How many rows to add to a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// VMs.
    pub vms: u32,
    /// Data volumes.
    pub volumes: u32,
    /// Decides names, sizes, ages, attachments and tags; ids come from the seed of the world.
    pub seed: u64,
}

/// Sizes of volumes in GiB: small ones are many.
const SIZES_GIB: [u64; 12] = [1, 5, 8, 10, 10, 20, 20, 40, 50, 100, 250, 1000];

/// The oldest volume, in milliseconds: two years.
const AGE_MAX_MS: i64 = 2 * 365 * 24 * 3600 * 1000;

/// Adds VMs, of which of each 20 one was never started, three are stopped and the rest run; and
/// volumes, of which of each 10 seven are attached while VMs have room, two are Ready and one
/// is Allocated, made in the last two years, in the first zone, of the first account, from the first offering whose callers
/// give the size. What was there before is older.
///
/// # Errors
/// If the world has no zone, account or such an offering.
pub fn populate(world: &mut World, sizes: Sizes) -> Result<(), Refusal> {
    let missing = |what: &str| Refusal::invalid(format!("a generated volume needs {what}"));
    let zone = world.zones().next();
    let zone = zone.ok_or_else(|| missing("a zone"))?.0;
    let account = world.accounts().next();
    let account = account.ok_or_else(|| missing("an account"))?.0;
    let offering = world
        .offerings()
        .find(|(_, offering)| offering.size.is_none());
    let offering = offering
        .ok_or_else(|| missing("an offering without a size"))?
        .0;
    let mut generator = Generator {
        rng: fastrand::Rng::with_seed(sizes.seed),
        zone,
        account,
        offering,
        open: Vec::new(),
    };
    world.make_older(AGE_MAX_MS);
    for index in 0..sizes.vms {
        generator.vm(world, index)?;
    }
    for index in 0..sizes.volumes {
        // Oldest first, as their numbers are.
        let left = i64::from(sizes.volumes - index);
        let age = AGE_MAX_MS / i64::from(sizes.volumes) * (left - 1);
        generator.volume(world, index, age)?;
    }
    Ok(())
}

struct Generator {
    rng: fastrand::Rng,
    zone: ZoneNo,
    account: AccountNo,
    offering: OfferingNo,
    /// VMs with the number of disks they still have room for.
    open: Vec<(VmNo, u32)>,
}

impl Generator {
    fn vm(&mut self, world: &mut World, index: u32) -> Result<(), Refusal> {
        let (state, started_once) = match self.rng.u8(0..20) {
            0 => (VmState::Stopped, false),
            1..=3 => (VmState::Stopped, true),
            _ => (VmState::Running, true),
        };
        let no = world.add_given_vm(GivenVm {
            uuid: None,
            name: format!("vm-{index:05}"),
            zone: self.zone,
            account: self.account,
            os: None,
            details: None,
            state,
            started_once,
            created: world.now().shifted(-AGE_MAX_MS),
        })?;
        self.open.push((no, world.settings().max_data_disks));
        Ok(())
    }

    fn volume(&mut self, world: &mut World, index: u32, age_ms: i64) -> Result<(), Refusal> {
        let vm = match self.rng.u8(0..10) {
            0..7 => self.some_vm(),
            _ => None,
        };
        let allocated = match vm {
            Some(vm) => !world.vm(vm).started_once,
            None => self.rng.u8(0..3) == 0,
        };
        let number = self.rng.u32(..);
        let name = match self.rng.u8(0..3) {
            0 => format!("pvc-{number:08x}-{index:06}"),
            1 => format!("data-{index:06}"),
            _ => format!(
                "vol_{}_{index}",
                ["db", "log", "home", "backup"][usize::from(self.rng.u8(0..4))]
            ),
        };
        let tags = match self.rng.u8(0..4) {
            0 => vec![tag(
                "owner",
                ["alice", "bob", "csi"][usize::from(self.rng.u8(0..3))],
            )],
            1 => vec![
                tag("env", ["prod", "test"][usize::from(self.rng.u8(0..2))]),
                tag("index", &index.to_string()),
            ],
            _ => Vec::new(),
        };
        world.add_given_volume(GivenVolume {
            uuid: None,
            name,
            size: SIZES_GIB[self.rng.usize(0..SIZES_GIB.len())] * GIB,
            offering: self.offering,
            zone: self.zone,
            account: self.account,
            state: if allocated {
                VolumeState::Allocated
            } else {
                VolumeState::Ready
            },
            created: world.now().shifted(-age_ms),
            tags,
            attach: vm.map(|vm| (vm, None)),
        })?;
        Ok(())
    }

    /// A VM that has room for one more disk, which it then has no longer.
    fn some_vm(&mut self) -> Option<VmNo> {
        if self.open.is_empty() {
            return None;
        }
        let index = self.rng.usize(0..self.open.len());
        let (vm, room) = &mut self.open[index];
        let vm = *vm;
        *room = room.saturating_sub(1);
        if *room == 0 {
            self.open.swap_remove(index);
        }
        Some(vm)
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}
