//! What goes wrong at a point.

use std::time::Duration;

use volume_daemon::sim::Fault;
use volume_daemon::sim::fault::{DropWhen, OutageMode, Patterns, Target};

use crate::rig::Trouble as Deed;

/// Troubles that are tried in one test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Death,
    Pause,
    Replacement,
    Lateness,
    Way,
    Cloud,
}

/// One thing that goes wrong.
#[derive(Debug)]
pub struct Trouble {
    pub name: &'static str,
    pub kind: Kind,
    pub deed: fn() -> Deed,
}

/// Less than a call lives (`Pace::request_ttl`).
const SHORT: Duration = Duration::from_secs(20);
/// More than a call lives and may be handled.
const LONG: Duration = Duration::from_secs(240);

const fn of(name: &'static str, kind: Kind, deed: fn() -> Deed) -> Trouble {
    Trouble { name, kind, deed }
}

pub static TROUBLES: [Trouble; 21] = [
    of("dies", Kind::Death, || Deed::Dies),
    of("pauses", Kind::Pause, || Deed::Pauses(SHORT)),
    of("pauses-long", Kind::Pause, || Deed::Pauses(LONG)),
    of("replaced", Kind::Replacement, || Deed::IsReplaced(SHORT)),
    of("replaced-long", Kind::Replacement, || {
        Deed::IsReplaced(LONG)
    }),
    of("late", Kind::Lateness, || Deed::LearnsLate(SHORT)),
    of("late-long", Kind::Lateness, || Deed::LearnsLate(LONG)),
    of("request-lost", Kind::Way, || {
        dropped(DropWhen::BeforeCommit)
    }),
    of("answer-lost", Kind::Way, || dropped(DropWhen::AfterCommit)),
    of("request-late", Kind::Way, || {
        Deed::Fault(Fault::LateRequest {
            on: any(),
            ms: 20_000,
        })
    }),
    of("request-twice", Kind::Way, || {
        // Of a create it leaves a row that nobody could know of (`ApiServer.java`).
        let command = Patterns::one("*tach*");
        let on = Target { command, ..any() };
        Deed::Fault(Fault::DuplicateRequest { on })
    }),
    of("refused", Kind::Way, || {
        let text = "the database is tired".to_owned();
        Deed::Fault(Fault::InternalError { on: any(), text })
    }),
    of("throttled", Kind::Way, || {
        Deed::Fault(Fault::TooManyRequests {
            on: any(),
            retry_after_ms: 20_000,
        })
    }),
    of("restart", Kind::Cloud, || {
        Deed::Fault(Fault::Restart {
            keep_plugged: false,
        })
    }),
    of("restart-plugged", Kind::Cloud, || {
        Deed::Fault(Fault::Restart { keep_plugged: true })
    }),
    of("job-lost", Kind::Cloud, || lost(DropWhen::BeforeCommit)),
    of("result-lost", Kind::Cloud, || lost(DropWhen::AfterCommit)),
    of("outage", Kind::Cloud, || {
        Deed::Fault(Fault::Outage {
            mode: OutageMode::Closed,
            ms: 90_000,
        })
    }),
    of("straggler", Kind::Cloud, || {
        let on = Target::next("detachVolume");
        Deed::Fault(Fault::StragglingDetach { on, ms: 90_000 })
    }),
    of("stale", Kind::Cloud, || {
        Deed::Fault(Fault::StaleListing {
            on: Target::next("list*"),
            ms: 3_000,
        })
    }),
    of("nbd-restart", Kind::Cloud, || Deed::RestartNbd),
];

fn any() -> Target {
    Target::next("*")
}

fn dropped(when: DropWhen) -> Deed {
    Deed::Fault(Fault::DropResponse { on: any(), when })
}

fn lost(when: DropWhen) -> Deed {
    Deed::Fault(Fault::LoseJob { on: any(), when })
}

impl Trouble {
    /// Whether it can make a difference at a place. What goes wrong with a request strikes the next
    /// one, so every other point is as good as the one before that.
    pub fn strikes(&self, place: &str) -> bool {
        let asks = [
            "Create",
            "Tag",
            "Grow",
            "Attach",
            "Detach",
            "a listing",
            "a look at some",
            "a look at jobs",
        ];
        let before = place.strip_prefix("before ");
        match self.kind {
            Kind::Death | Kind::Pause => true,
            Kind::Replacement => !place.contains(" a "),
            Kind::Lateness => before.is_some(),
            Kind::Way => before.is_some_and(|effect| asks.contains(&effect)),
            Kind::Cloud => !place.starts_with("after"),
        }
    }
}
