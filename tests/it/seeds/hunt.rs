//! Runs one history, catches what it fails with, and cuts it down to what that takes.

use super::happening::History;
use super::run::run;
use crate::caught::caught;
use crate::rig::{Story, block_on};

/// Runs that cutting one history down may take.
const CUTS_MAX: usize = 300;

/// A history that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    pub seed: u64,
    /// The violated invariant.
    pub why: String,
    /// What happened until then.
    pub story: String,
}

/// Runs a history; with its story or, if it is not to be told, without.
pub fn attempt(history: &History, tell: bool) -> Result<String, Failure> {
    let story = Story::new(tell);
    match caught(|| block_on(run(history, &story))) {
        Ok(()) => Ok(story.text()),
        Err(why) => Err(Failure {
            seed: history.setup.seed,
            why,
            story: story.text(),
        }),
    }
}

/// The story of a history, however it ends.
pub fn told(history: &History) -> String {
    match attempt(history, true) {
        Ok(story) => story,
        Err(failure) => format!("{}\nFAILED: {}\n", failure.story, failure.why),
    }
}

/// The same failure with as few happenings as dropping one after the other leaves, and its story.
pub fn shortened(history: &History, why: &str) -> (History, String) {
    let kind = |why: &str| why.split(' ').next().unwrap_or_default().to_owned();
    let mut short = history.clone();
    let mut left = CUTS_MAX;
    let mut at = short.happenings.len();
    while at > 0 && left > 0 {
        at -= 1;
        left -= 1;
        let mut less = short.clone();
        less.happenings.remove(at);
        if attempt(&less, false).is_err_and(|failure| kind(&failure.why) == kind(why)) {
            short = less;
            // What was kept for its sake may go now.
            at = short.happenings.len();
        }
    }
    let story = format!("{:?}\n{}", short.setup, told(&short));
    (short, story)
}
