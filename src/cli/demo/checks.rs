//! What was promised, what was measured, and whether it held.

use std::time::Duration;

/// One promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was promised.
    pub promise: String,
    /// What was measured.
    pub measured: String,
    /// Whether it held.
    pub held: bool,
}

/// All promises so far.
#[derive(Debug, Default)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// Notes one more.
    pub fn note(
        &mut self,
        promise: impl Into<String>,
        measured: impl Into<String>,
        held: bool,
    ) -> &Check {
        self.0.push(Check {
            promise: promise.into(),
            measured: measured.into(),
            held,
        });
        &self.0[self.0.len() - 1]
    }

    /// Whether everything held; nothing at all is not everything.
    pub fn all_held(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|check| check.held)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Check> {
        self.0.iter()
    }
}

/// A short time span: milliseconds where seconds would hide it.
pub fn seconds(span: Duration) -> String {
    match span.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        millis if millis % 1000 == 0 => format!("{} s", millis / 1000),
        millis => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_promise_spoils_all() {
        let mut checks = Checks::default();
        assert!(!checks.all_held(), "nothing was shown");
        assert!(checks.note("whole", "yes", true).held);
        assert!(checks.all_held());
        assert!(!checks.note("gone", "no", false).held);
        checks.note("dry", "yes", true);
        assert!(!checks.all_held());
        assert_eq!(checks.iter().count(), 3);
    }

    #[test]
    fn spans_keep_what_matters() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1 s"),
            (1099, "1.0 s"),
            (12_340, "12.3 s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }
}
