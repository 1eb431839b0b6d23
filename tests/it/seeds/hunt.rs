//! Runs one history, catches what it fails with, and cuts it down to what that takes.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::happening::History;
use super::run::run;
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

thread_local! {
    /// What the last panic of this thread said, while it runs a history.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics of histories quiet: they are reported once, with their story.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let heard = SAID.with_borrow_mut(|said| match said {
                Some(said) => {
                    let at = info.location().map(ToString::to_string);
                    let text = info.payload_as_str().unwrap_or("a panic");
                    *said = format!("{text} ({})", at.unwrap_or_default());
                    true
                }
                None => false,
            });
            if !heard {
                before(info);
            }
        }));
    });
}

/// Runs a history; with its story or, if it is not to be told, without.
pub fn attempt(history: &History, tell: bool) -> Result<String, Failure> {
    listen();
    let story = Story::new(tell);
    SAID.set(Some(String::new()));
    let ended = catch_unwind(AssertUnwindSafe(|| block_on(run(history, &story))));
    let said = SAID.take().unwrap_or_default();
    match ended {
        Ok(()) => Ok(story.text()),
        Err(_) => Err(Failure {
            seed: history.setup.seed,
            why: said,
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
