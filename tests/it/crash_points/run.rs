//! Runs a scenario, undisturbed or with one trouble at one point.

use std::fmt;
use std::str::FromStr;

use super::end::{self, End};
use super::scenario::{SCENARIOS, Scenario};
use super::trouble::{TROUBLES, Trouble};
use crate::caught::caught;
use crate::rig::{Rig, Story, block_on};

/// One trouble at one point of one scenario.
pub struct Point {
    pub scenario: &'static Scenario,
    pub trouble: &'static Trouble,
    pub number: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            trouble,
            number,
        } = self;
        write!(f, "{} {} {number}", scenario.name, trouble.name)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [scenario, trouble, number] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("expected three words, got {text:?}"));
        };
        Ok(Self {
            scenario: named(&SCENARIOS, scenario, |it| it.name)?,
            trouble: named(&TROUBLES, trouble, |it| it.name)?,
            number: number
                .parse()
                .map_err(|_| format!("{number:?} is no number"))?,
        })
    }
}

fn named<T>(
    all: &'static [T],
    name: &str,
    name_of: fn(&T) -> &'static str,
) -> Result<&'static T, String> {
    let names = || all.iter().map(name_of).collect::<Vec<_>>();
    let found = all.iter().find(|it| name_of(it) == name);
    found.ok_or_else(|| format!("{name:?} is none of {:?}", names()))
}

/// A run in which nothing goes wrong.
pub struct Calm {
    /// Its points, in words.
    pub points: Vec<String>,
    pub end: End,
}

const SEED: u64 = 1;

/// Runs a scenario and counts its points.
pub fn undisturbed(scenario: &Scenario) -> Calm {
    block_on(async {
        let mut rig = Rig::new(SEED);
        scenario.prepare(&mut rig).await;
        rig.fuse.light_finely(None);
        scenario.happen(&mut rig).await;
        let points = rig.fuse.passed();
        rig.fuse.reset();
        let end = end::of(&mut rig).await;
        Calm { points, end }
    })
}

/// Runs a scenario with trouble at a point.
///
/// # Errors
/// How it differs from the undisturbed run.
pub fn attempt(point: &Point, calm: &Calm, story: Option<&Story>) -> Result<(), String> {
    caught(|| {
        block_on(async {
            let mut rig = Rig::new(SEED);
            if let Some(story) = story {
                rig.tell_story(story.clone());
            }
            point.scenario.prepare(&mut rig).await;
            rig.trouble = (point.trouble.deed)();
            rig.fuse.light_finely(Some(point.number));
            point.scenario.happen(&mut rig).await;
            assert!(rig.fuse.is_spent(), "the point was not reached");
            let end = end::of(&mut rig).await;
            end.judge(&calm.end);
        });
    })
}
