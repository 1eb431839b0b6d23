//! The hard rule, in a world small enough to visit every state of it: nothing overlaps (I1),
//! journal first (I7), a binding is for ever (I13), and so nothing ever ends up somewhere without
//! an intent that says so.
//!
//! What is decided, and how an intent ends, is asked of the daemon's own code ([`rule`]), so
//! that a break of a rule there breaks a test here. What stands between the two, the journal, the
//! order of writing and sending, and the lease, is written anew ([`happen`]): the real one is
//! asynchronous and full of times, of which there would be too many states. `rig` and
//! `crash_points` hold the real one to the same rules.
//!
//! In CloudStack, one queue for each VM; and a detach takes away whatever attachment there is when
//! its job runs (apache/cloudstack#14214).

mod check;
mod happen;
mod rule;
mod world;

use check::{Broken, NO_REST, Visited, visit};
use rule::Rule;
use world::{
    Break, CREATE_BOUND, NO_INTENT, OVERLAP, REBOUND, SECOND_VOLUME, SENT_TWICE, STIRRING, Small,
    UNSAID, WIPED,
};

/// A world in which each of these specs has its volume already, or not.
fn small(there: &[bool], troubles: u8, edits: u8) -> Small {
    Small {
        there: there.to_vec(),
        troubles,
        edits,
        others: true,
        broken: None,
        only: None,
        rule: Rule::default(),
    }
}

/// Nothing is ever wrong, and from every state rest can be reached without more trouble. Says how
/// many states there are.
fn holds(small: &Small, at_least: usize) -> String {
    match visit(small) {
        Ok(Visited {
            states,
            steps,
            rests,
        }) => {
            assert!(states > at_least, "that is too small a world: {states}");
            format!("{states} states, {rests} of them at rest, and {steps} steps between them")
        }
        Err(Broken { why, history }) => panic!("{why}\n    {}", history.join("\n    ")),
    }
}

#[test]
fn a_new_volume_is_made_once_and_never_lost() {
    println!("{}", holds(&small(&[false], 3, 1), 50_000));
}

#[test]
fn a_volume_that_is_moved_is_only_where_an_intent_says() {
    println!("{}", holds(&small(&[true], 3, 2), 50_000));
}

#[test]
fn two_volumes_that_share_queues_do_not_harm_each_other() {
    let mut small = small(&[true, true], 1, 2);
    small.others = false;
    println!("{}", holds(&small, 100_000));
}

/// The shortest history in which one broken rule leads to one wrong thing.
fn story(broken: Break, only: &'static str) -> String {
    let is_about_creating = matches!(
        only,
        NO_INTENT | SECOND_VOLUME | SENT_TWICE | CREATE_BOUND | REBOUND | NO_REST
    );
    let mut small = small(&[!is_about_creating], 2, 1);
    small.broken = Some(broken);
    small.only = Some(only);
    match visit(&small) {
        Ok(visited) => panic!("{broken:?} does not lead to {only:?}: {visited:?}"),
        Err(Broken { why, history }) => {
            assert_eq!(why, only, "{broken:?}");
            format!("{broken:?}: {why}\n    {}\n", history.join("\n    "))
        }
    }
}

#[test]
fn without_a_rule_this_history_breaks_it() {
    for (broken, only) in [
        (Break::PlansOnWhileOpen, OVERLAP),
        (Break::PlansOnWhileOpen, WIPED),
        (Break::PlansOnWhileOpen, UNSAID),
        (Break::IgnoresStirringVms, STIRRING),
        (Break::JudgesUnknownAtOnce, NO_INTENT),
        (Break::JudgesUnknownAtOnce, SECOND_VOLUME),
        (Break::JudgesUnknownAtOnce, WIPED),
        (Break::NothingExpires, NO_INTENT),
        (Break::NothingExpires, SECOND_VOLUME),
        (Break::NothingExpires, UNSAID),
        (Break::SendsBeforeTheJournal, NO_INTENT),
        (Break::SendsBeforeTheJournal, SECOND_VOLUME),
        (Break::SendsAgain, SENT_TWICE),
        (Break::SendsAgain, SECOND_VOLUME),
        (Break::ForgetsBindings, CREATE_BOUND),
        (Break::ForgetsBindings, REBOUND),
        (Break::TakesLostForNothing, NO_REST),
        (Break::LostJobsGoOn, WIPED),
    ] {
        println!("{}", story(broken, only));
    }
}
