//! Killed again and again at random moments, while specs are edited.

use std::time::Duration;

use fastrand::Rng;
use volume_daemon::clock;

use super::rig::{Rig, run_within};

/// Sites side by side.
const SITES: u64 = 4;
/// Kills at each.
const KILLS: usize = 55;
/// Longest life between two kills, in milliseconds. A first run takes about half a second.
const LIFE_MAX: u64 = 500;
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Longest that all of it may take.
const SOAK_MAX: Duration = Duration::from_secs(90);
/// How long nothing more may happen.
const REST: Duration = Duration::from_secs(3);

/// Writes the spec of a volume: its size, and where it is wanted.
fn write(rig: &Rig, name: &str, gib: u64, vm: &str) {
    let text = crate::rig::spec(name, gib, vm, vm == "self");
    rig.write(&format!("{name}.yaml"), &text);
}

async fn soaked(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let mut rig = Rig::serving(&NAMES).await;
    let mut sizes = NAMES.map(|_| 1);
    for _ in 0..KILLS {
        let which = random.usize(0..NAMES.len());
        // Seldom, or they would only grow.
        sizes[which] += u64::from(random.u8(0..6) == 0);
        let vm = ["self", "self", "none", "test-vm"][random.usize(0..4)];
        write(&rig, NAMES[which], sizes[which], vm);
        clock::sleep(Duration::from_millis(random.u64(0..LIFE_MAX))).await;
        rig.kill().await;
        rig.start();
    }
    for (name, gib) in NAMES.iter().zip(sizes) {
        write(&rig, name, gib, "self");
    }
    for (name, gib) in NAMES.iter().zip(sizes) {
        rig.grown(name, gib).await;
        rig.check_marks(name).await;
        assert_eq!(rig.made(name), 1, "{name}");
    }
    let sent = rig.tap.mutations();
    clock::sleep(REST).await;
    assert_eq!(rig.tap.mutations(), sent, "it goes on");
    rig.finish().await;
}

#[test]
fn killed_two_hundred_times_it_ends_as_last_asked_for() {
    run_within(SOAK_MAX, async {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let site = |number| soaked(seed.wrapping_add(number));
        tokio::join!(site(0), site(1), site(2), site(SITES - 1));
    });
}
