//! The loop: keeps the world, decides when to look and when to act, and never what to do.
//!
//! [`Core`] is a state machine without I/O: events go in, effects come out, time is an argument. The
//! daemon runs the effects in tasks; tests run them one by one, in any order, on an
//! explicit clock, and stop between any two.

mod asks;
mod backoff;
pub mod blame;
mod conditions;
mod core;
mod devices;
mod dispatch;
mod episodes;
mod execute;
mod files;
#[cfg(test)]
mod fixture;
mod learn;
pub mod old;
mod queue;
pub mod report;
pub mod run;
pub mod settle;
pub mod specs;
mod status;
pub mod told;

pub use self::conditions::Transitions;
pub use self::core::{Core, Effect, Event, Memo, Pace, Unanswered};
pub use self::devices::devices;
pub use self::execute::{Seen, broken, execute};
pub use self::files::{FilesNews, SpecFiles};
pub use self::learn::absorb;
pub use self::status::{Situation, frozen, plan_status, write};
