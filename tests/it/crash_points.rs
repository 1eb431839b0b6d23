//! Every point at which something can go wrong, one after the other.
//!
//! A scenario is run once undisturbed, and the points are counted: before and after each effect of
//! the loop, and before and after each call within one. Between two points the daemon makes at
//! most one call or one write of the store. Then it is run again for every point, with one trouble
//! at that point, and must end as the undisturbed run did.
//!
//! `make point POINT="move dies 17"` tells the story of one.

mod end;
mod run;
mod scenario;
mod trouble;

use run::{Point, attempt, undisturbed};
use scenario::SCENARIOS;
use trouble::{Kind, TROUBLES};

/// Points that are known to fail, each with what is wrong.
const KNOWN: &str = include_str!("crash_points/known.txt");
/// So many failures say enough.
const FAILURES_MAX: usize = 5;
/// Whether a point is known to fail.
fn is_known(point: &Point) -> bool {
    let known = KNOWN.lines().filter(|line| !line.starts_with('#'));
    let mut known = known.filter_map(|line| line.split_once(':'));
    known.any(|(known, _)| known == point.to_string())
}

/// Tries every point of every scenario with every trouble of a kind.
fn try_all(kind: Kind) -> String {
    let (mut tried, mut known, mut failed) = (0, 0, Vec::new());
    for scenario in &SCENARIOS {
        let calm = undisturbed(scenario);
        let (name, count) = (scenario.name, calm.points.len());
        assert!(count >= scenario.points_min, "{name}: only {count} points");
        let troubles = TROUBLES.iter().filter(|trouble| trouble.kind == kind);
        for (trouble, (number, place)) in
            troubles.flat_map(|trouble| (0..).zip(&calm.points).map(move |at| (trouble, at)))
        {
            let point = Point {
                scenario,
                trouble,
                number,
            };
            if !trouble.strikes(place) || failed.len() >= FAILURES_MAX {
                continue;
            }
            tried += 1;
            let ended = attempt(&point, &calm, None);
            match (ended, is_known(&point)) {
                (Ok(()), false) => {}
                (Err(_), true) => known += 1,
                (Ok(()), true) => {
                    failed.push(format!("{point}: it is mended; take it out of known.txt"))
                }
                (Err(why), false) => {
                    failed.push(format!("make point POINT=\"{point}\"    # {place}: {why}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "\n{}\n", failed.join("\n"));
    format!("{tried} points, {known} of them known to fail")
}

#[test]
fn a_daemon_that_dies_anywhere_ends_the_same() {
    println!("{}", try_all(Kind::Death));
}

#[test]
fn a_daemon_that_stands_still_anywhere_ends_the_same() {
    println!("{}", try_all(Kind::Pause));
}

#[test]
fn a_daemon_that_is_replaced_anywhere_changes_nothing_more() {
    println!("{}", try_all(Kind::Replacement));
}

#[test]
fn what_is_learnt_late_is_what_was_so_then() {
    println!("{}", try_all(Kind::Lateness));
}

#[test]
fn what_happens_to_a_request_on_its_way_changes_nothing_in_the_end() {
    println!("{}", try_all(Kind::Way));
}

#[test]
fn what_happens_in_cloudstack_changes_nothing_in_the_end() {
    println!("{}", try_all(Kind::Cloud));
}

/// Tells the story of `POINT`.
#[test]
fn replay() {
    let asked = std::env::var("POINT").ok();
    let text = asked.as_deref().unwrap_or("export dies 3");
    let point: Point = text.parse().expect("a scenario, a trouble and a number");
    let calm = undisturbed(point.scenario);
    let story = crate::rig::Story::new(true);
    let ended = attempt(&point, &calm, Some(&story));
    assert!(!story.text().is_empty());
    if asked.is_some() {
        println!("{}", story.text());
        assert_eq!(ended, Ok(()), "{text}, {}", calm.points[point.number]);
    }
}
