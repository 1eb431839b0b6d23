//! Killed again and again at random moments, while specs and rows are edited and requests come
//! late.
//!
//! `make soak KILLS=5000` kills more often, and `SEED=n` draws the same edits and moments again.
//! What a moment meets is up to the machine: real time is not replayed.

use std::fs;
use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;
use volume_daemon::clock;

use super::rig::{PATIENCE, Rig, run_within};
use super::sql::{Engine, on_mariadb, on_sqlite};
use super::tap::Moment;

/// Kills on each database, of two sites there, if not told otherwise.
const KILLS: u64 = 120;
/// Longest life between two kills. A first run takes about half a second.
const LIFE_MAX: Duration = Duration::from_millis(500);
/// Beginning and end of a site, and then each kill, take at most so long.
const SITE_MAX: Duration = Duration::from_secs(60);
const KILL_MAX: Duration = Duration::from_secs(2);
/// How long nothing more may happen.
const REST: Duration = Duration::from_secs(3);
/// Volumes of a site.
const VOLUMES_MAX: usize = 8;
const GIB_MAX: u64 = 20;

/// What is asked for now.
struct Wish {
    name: String,
    gib: u64,
    vm: &'static str,
    is_row: bool,
}

/// A site, whoever asks it for volumes, and what that was.
struct Site {
    rig: Rig,
    engine: Engine,
    wishes: Vec<Wish>,
    random: Rng,
    /// Kills while a call was on its way.
    at_calls: usize,
    /// Whether the last of these is still on its way.
    is_late: bool,
}

impl Site {
    /// Asks for one more volume, in a file or in a row.
    async fn declare(&mut self) {
        let number = self.wishes.len();
        let wish = Wish {
            name: format!("v{number}"),
            gib: 1,
            vm: "self",
            is_row: number % 2 == 1,
        };
        self.wishes.push(wish);
        self.write(number).await;
    }

    /// Writes a wish down as it is now.
    async fn write(&mut self, which: usize) {
        let Wish {
            name,
            gib,
            vm,
            is_row,
        } = &self.wishes[which];
        let export = *vm == "self";
        if *is_row {
            let row = format!(
                "REPLACE INTO desired_volumes (appliance, name, writer, size_gib, zone, \
                 disk_offering, vm, export) VALUES ('oma-1', '{name}', 'engine', {gib}, 'zone-1', \
                 'Custom OSSEA', '{vm}', {export})"
            );
            self.engine.asks(&row).await;
        } else {
            let text = crate::rig::spec(name, *gib, vm, export);
            self.rig.write(&format!("{name}.yaml"), &text);
        }
    }

    /// Something else is asked for, and the daemon is killed while it is at it.
    async fn round(&mut self) {
        let which = self.random.usize(0..VOLUMES_MAX);
        if which < self.wishes.len() {
            let wish = &mut self.wishes[which];
            // Seldom, or they would only grow.
            if self.random.u8(0..6) == 0 {
                wish.gib = (wish.gib + 1).min(GIB_MAX);
            }
            wish.vm = ["self", "self", "none", "test-vm"][self.random.usize(0..4)];
            self.write(which).await;
        } else {
            self.declare().await;
        }
        let moment = match self.random.u8(0..4) {
            0 => Some(Moment::AnyRequest),
            1 => Some(Moment::AnyAnswer),
            _ => None,
        };
        let life = LIFE_MAX.mul_f64(self.random.f64());
        let mut is_held = false;
        match moment {
            Some(moment) => {
                self.rig.tap.hold(moment);
                is_held = self.rig.tap.holds_within(LIFE_MAX).await;
            }
            None => clock::sleep(life).await,
        }
        self.rig.kill().await;
        self.rig.start();
        // What was sent a life ago comes now.
        if std::mem::replace(&mut self.is_late, is_held) {
            self.rig.tap.release();
        }
        self.at_calls += usize::from(is_held);
    }

    /// Everything is wanted here at last, and everything comes, once.
    async fn ends_as_asked_for(mut self) {
        self.rig.tap.release();
        for which in 0..self.wishes.len() {
            self.wishes[which].vm = "self";
            self.write(which).await;
        }
        let Self {
            rig,
            engine,
            wishes,
            ..
        } = &mut self;
        for Wish { name, gib, .. } in wishes.iter() {
            rig.grown(name, *gib).await;
            assert_eq!(rig.made(name), 1, "{name}");
        }
        for Wish { name, .. } in &wishes[..MARKED] {
            rig.check_marks(name).await;
        }
        // Every call has the end that it had, also where nobody was there to hear of it.
        let ends = format!(
            "SELECT 'so' WHERE {} = (SELECT COUNT(*) FROM volume_operations WHERE type = 'create' \
             AND status = 'completed') AND NOT EXISTS (SELECT 1 FROM volume_operations WHERE status \
             IN ('pending', 'executing'))",
            wishes.len()
        );
        rig.poll("told of all ends", PATIENCE, async || {
            engine.asks(&ends).await
        })
        .await;
        let sent = rig.tap.mutations();
        clock::sleep(REST).await;
        assert_eq!(rig.tap.mutations(), sent, "it goes on");
        let waited = "holds the store of";
        assert!(!rig.log().contains(waited), "one waited for a dead one");
        self.rig.finish().await;
    }
}

/// Volumes whose data is known.
const MARKED: usize = 2;

/// Kills a site so often; how many of these were at a call.
async fn soaked((rig, engine): (Rig, Engine), seed: u64, kills: usize) -> usize {
    let mut site = Site {
        rig,
        engine,
        wishes: Vec::new(),
        random: Rng::with_seed(seed),
        at_calls: 0,
        is_late: false,
    };
    // So many edits in an hour would be taken for a mistake (I6).
    let config = site.rig.path("config.toml");
    let text = fs::read_to_string(&config).expect("readable");
    let all = text.replace("[policy]\n", "[policy]\nimplied_floor = 1000\n");
    fs::write(config, all).expect("writable");
    site.rig.send(Signal::SIGHUP);
    for number in 0..MARKED {
        site.declare().await;
        let name = &site.wishes[number].name;
        site.rig.ready(name).await;
        site.rig.write_marks(name).await;
    }
    for _ in 0..kills {
        site.round().await;
    }
    let at_calls = site.at_calls;
    site.ends_as_asked_for().await;
    at_calls
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")))
}

/// What is drawn, and how often the daemon is killed.
struct Soak {
    seed: u64,
    kills: u64,
}

impl Soak {
    fn asked_for() -> Self {
        Self {
            seed: number("SEED").unwrap_or_else(|| fastrand::u64(..)),
            kills: number("KILLS").unwrap_or(KILLS),
        }
    }

    fn command(&self) -> String {
        format!("make soak KILLS={} SEED={}", self.kills, self.seed)
    }

    /// Says how many kills were at a call.
    fn on(&self, new: impl AsyncFn() -> (Rig, Engine)) -> String {
        let kills = usize::try_from(self.kills).expect("few").div_ceil(2);
        let limit = SITE_MAX + KILL_MAX * u32::try_from(kills).expect("few");
        let mut at_calls = (0, 0);
        run_within(limit, async {
            let site = async |seed| soaked(new().await, seed, kills).await;
            at_calls = tokio::join!(site(self.seed), site(self.seed.wrapping_add(1)));
        });
        format!("{} kills were at a call", at_calls.0 + at_calls.1)
    }
}

#[test]
fn killed_again_and_again_it_ends_as_last_asked_for_on_sqlite() {
    let soak = Soak::asked_for();
    println!("{}", soak.command());
    println!("{}", soak.on(on_sqlite));
}

#[test]
fn killed_again_and_again_it_ends_as_last_asked_for_on_mariadb() {
    let soak = Soak::asked_for();
    println!("{}", soak.command());
    println!("{}", soak.on(on_mariadb));
}
