//! History independence: where a chain of edits ends depends on the last of each spec only.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use crate::rig::{Rig, block_on, spec};

const HOUR: Duration = Duration::from_secs(3600);
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Chains that are tried.
const CHAINS: u64 = 60;

/// One edit: a spec with its size, whether it is exported, and the time until the next one.
#[derive(Debug, Clone, Copy)]
struct Edit {
    name: &'static str,
    gib: u64,
    export: bool,
    then: Duration,
}

/// A chain of edits. Sizes only grow.
fn chain(seed: u64) -> Vec<Edit> {
    let mut rng = Rng::with_seed(seed);
    let count = rng.u64(1..12);
    let edit = |no| Edit {
        name: NAMES[rng.usize(0..NAMES.len())],
        gib: no + 1,
        export: rng.bool(),
        then: Duration::from_secs(rng.u64(0..120)),
    };
    (0..count).map(edit).collect()
}

/// What is left of a chain if only the last edit of each spec counts.
fn last_of_each(chain: &[Edit]) -> Vec<Edit> {
    let last: BTreeMap<&str, Edit> = chain.iter().map(|edit| (edit.name, *edit)).collect();
    last.into_values().collect()
}

/// Where a chain ends: size of each volume, whether it is attached, and served.
fn end(chain: &[Edit]) -> BTreeMap<String, (u64, bool, bool)> {
    block_on(async {
        let mut rig = Rig::new(7);
        rig.start().await;
        for edit in chain {
            rig.declare(&spec(edit.name, edit.gib, "self", edit.export))
                .await;
            rig.run_for(edit.then).await;
        }
        assert!(rig.settle(4 * HOUR).await, "{chain:?} comes to no rest");
        picture(&rig)
    })
}

#[test]
fn the_end_depends_on_the_last_specs_only() {
    for seed in 0..CHAINS {
        let whole = chain(seed);
        let short = last_of_each(&whole);
        assert_eq!(end(&whole), end(&short), "seed {seed}: {whole:?}");
    }
}

/// What a world looks like, without ids.
fn picture(rig: &Rig) -> BTreeMap<String, (u64, bool, bool)> {
    let core = rig.core().expect("a daemon");
    let bindings = &core.world().memory.bindings;
    let front = rig.front();
    let world = front.world();
    let exports = rig.nbd.exports();
    let look = |name: &volume_daemon::model::VolumeName| {
        let id = rig.volume_of(name.as_str()).expect("it is bound");
        let row = world.volume(world.find_volume(id.uuid()).expect("bound volumes exist"));
        let export = volume_daemon::model::ExportName::default_for(id);
        let served = exports.contains_key(&export);
        (row.size, row.attachment.is_some(), served)
    };
    bindings
        .keys()
        .map(|name| (name.to_string(), look(name)))
        .collect()
}
