//! When a failed step is due again.

use std::time::Duration;

use crate::model::memory::FailureClass;

/// First and longest waits of one class of failure.
struct Pace {
    first: Duration,
    longest: Duration,
}

fn pace(class: FailureClass) -> Pace {
    let seconds = |first, longest| Pace {
        first: Duration::from_secs(first),
        longest: Duration::from_secs(longest),
    };
    match class {
        // A passing fault: soon, but never a hot loop.
        FailureClass::Retry => seconds(1, 60),
        FailureClass::Throttled => seconds(1, 30),
        // Somebody has to do something elsewhere; observed changes wake the volume earlier.
        FailureClass::Environment => seconds(15, 600),
        FailureClass::Quota => seconds(60, 900),
        // A client leaves when it leaves.
        FailureClass::InUse => seconds(5, 30),
        // Never by time; kept finite so that arithmetic stays simple.
        FailureClass::Refused => seconds(3600, 3600),
    }
}

/// How long to wait after the `attempts`-th failure in a row (from 1).
///
/// Full jitter: between the first wait and an exponentially growing ceiling, so that many
/// volumes that failed together do not come back together. `random` is in `0.0..1.0`.
pub fn delay(class: FailureClass, attempts: u32, random: f64) -> Duration {
    let Pace { first, longest } = pace(class);
    let doublings = attempts.saturating_sub(1).min(16);
    let ceiling = first.saturating_mul(1 << doublings).min(longest);
    first
        + ceiling
            .saturating_sub(first)
            .mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_ceiling_and_spread() {
        let seconds = |attempts, random| delay(FailureClass::Retry, attempts, random).as_secs();
        assert_eq!(seconds(1, 0.0), 1);
        assert_eq!(seconds(1, 1.0), 1);
        assert_eq!(seconds(4, 1.0), 8);
        assert_eq!(seconds(40, 1.0), 60);
        assert_eq!(seconds(u32::MAX, 0.0), 1);
        assert!(seconds(6, 0.5) > seconds(6, 0.1));
    }
}
