//! Random worlds, faults and edits, one for each seed: whatever happens on the way, the
//! invariants hold after every step, and once it is calm everything ends as last asked for, or
//! for a reason that is true.
//!
//! A seed is a whole history ([`draw`]), the same on every machine and thread. One that fails is
//! cut down to the happenings that it takes, and told: `make seed SEED=n`. Everyday runs try
//! [`EVERY_DAY`] seeds, `make test` many more.

mod draw;
mod end;
mod happening;
mod hunt;
mod run;

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hunt::{Failure, attempt, shortened};

/// Seeds that once failed, with what they found. Always tried first.
const KNOWN: &str = include_str!("seeds/known.txt");
/// Seeds that are tried in everyday runs; `SEEDS` for more.
const EVERY_DAY: u64 = 300;
/// So many failures say enough.
const FAILURES_MAX: usize = 3;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")),
    )
}

fn known() -> Vec<u64> {
    let lines = KNOWN.lines().filter(|line| !line.starts_with('#'));
    let first = lines.filter_map(|line| line.split_whitespace().next());
    first.map(|seed| seed.parse().expect("a seed")).collect()
}

/// Tries seeds on all cores until `FAILURES_MAX` have failed.
fn try_all(seeds: &[u64]) -> Vec<Failure> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&seed) = seeds.get(at) else {
                return;
            };
            if let Err(failure) = attempt(&draw::history(seed), false) {
                let mut failed = failed.lock().expect("no holder panics");
                failed.push(failure);
                if failed.len() >= FAILURES_MAX {
                    return next.store(seeds.len(), Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().expect("no holder panics");
    failed.sort_by_key(|failure| failure.seed);
    failed
}

/// Fails with the shortened story of the first failure, and the seeds of all.
fn report(failed: &[Failure]) {
    let Some(first) = failed.first() else {
        return;
    };
    let (short, told) = shortened(&draw::history(first.seed), &first.why);
    let all: Vec<String> = failed
        .iter()
        .map(|failure| format!("make seed SEED={}    # {}", failure.seed, failure.why))
        .collect();
    panic!(
        "{told}\nThat is seed {}, cut down to {} happenings. To see it again:\n\n{}\n",
        first.seed,
        short.happenings.len(),
        all.join("\n")
    );
}

#[test]
fn known_seeds_end_as_asked() {
    report(&try_all(&known()));
}

#[test]
fn any_history_ends_as_last_asked_for() {
    let from = number("SEEDS_FROM").unwrap_or(0);
    let count = number("SEEDS").unwrap_or(EVERY_DAY);
    let seeds: Vec<u64> = (from..from + count).collect();
    report(&try_all(&seeds));
}

/// Tells the story of `SEED`, cut down if it fails. A story is the same on every thread.
#[test]
fn replay() {
    let asked = number("SEED");
    let seed = asked.unwrap_or(7);
    let history = draw::history(seed);
    let here = hunt::told(&history);
    let there = std::thread::scope(|scope| {
        let there = scope.spawn(|| hunt::told(&history));
        there.join().expect("panics are caught")
    });
    assert_eq!(here, there, "a seed has one story");
    if asked.is_some() {
        println!("{here}");
        if let Err(failure) = attempt(&history, false) {
            report(&[failure]);
        }
    }
}
