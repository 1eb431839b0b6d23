//! The armed faults, and what strikes a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sim::time::SimTime;
use crate::sim::world::Trouble;

use super::{Count, DropWhen, Facts, Fault, OutageMode, Target};

/// What the agent says when the storage is away (`StorageManager`, in its words).
const STORAGE_AWAY: &str =
    "com.cloud.exception.StorageUnavailableException: the primary storage pool is unreachable";

/// What a failed expunge says (`VolumeApiServiceImpl.java`,
/// `expungeVolumesInPrimaryOrSecondary`).
const NOT_EXPUNGED: &str = "Failed to expunge the volume in Primary data store";

/// Faults that are used up are remembered for the lists, the last so many.
const SPENT_MAX: usize = 1000;

/// An armed fault, or one that is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Armed {
    /// Its number, from 1, in the order of arming.
    pub id: u64,
    /// How often it has struck.
    pub hits: u64,
    /// How often it still can.
    pub remaining: Count,
    /// From when on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<SimTime>,
    /// Until when, exclusively.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<SimTime>,
    /// The state of its dice.
    dice: u64,
    /// What goes wrong.
    pub fault: Fault,
}

/// What goes wrong with one request.
#[derive(Debug, Default)]
pub(in crate::sim) struct Mishap {
    pub drop: Option<DropWhen>,
    pub delay_ms: u64,
    pub late_ms: Option<u64>,
    pub duplicated: bool,
    pub rebuff: Option<Rebuff>,
    pub trouble: Option<Trouble>,
    /// By how many rows pages begin too late; negative: too early.
    pub rows_off: i64,
    /// The fault whose replica is shown.
    pub stale: Option<u64>,
}

/// An answer that is given instead of carrying out the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sim) enum Rebuff {
    /// 429, after so many milliseconds to come again.
    Throttled(u64),
    /// 502 from a proxy.
    BadGateway,
    /// 503.
    Unavailable,
    /// 530 with this text.
    Internal(String),
}

/// All faults.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::sim) struct Faults {
    armed: BTreeMap<u64, Armed>,
    last_id: u64,
    outage: Option<(OutageMode, SimTime)>,
}

impl Faults {
    /// Arms a fault at `now`. `seed` decides chance where the fault has no seed of its own.
    pub(in crate::sim) fn arm(&mut self, fault: Fault, now: SimTime, seed: u64) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let target = fault.target().cloned().unwrap_or_default();
        let from = if let Fault::At { at, .. } = &fault {
            Some(*at)
        } else {
            target.from
        };
        let armed = Armed {
            id,
            hits: 0,
            remaining: target.count,
            from: from.map(|when| when.from(now)),
            until: target.until.map(|when| when.from(now)),
            dice: target.seed.unwrap_or(seed ^ id.rotate_left(32)),
            fault,
        };
        self.armed.insert(id, armed);
        self.forget_spent();
        id
    }

    fn forget_spent(&mut self) {
        let spent: Vec<u64> = self
            .armed
            .values()
            .filter(|armed| armed.remaining.is_used_up())
            .map(|armed| armed.id)
            .collect();
        for id in spent.iter().take(spent.len().saturating_sub(SPENT_MAX)) {
            self.armed.remove(id);
        }
    }

    /// All, also those that are used up, in the order of arming.
    pub(in crate::sim) fn all(&self) -> impl Iterator<Item = &Armed> {
        self.armed.values()
    }

    /// Disarms one and says whether it was there.
    pub(in crate::sim) fn disarm(&mut self, id: u64) -> bool {
        self.armed.remove(&id).is_some()
    }

    pub(in crate::sim) fn begin_outage(&mut self, mode: OutageMode, until: SimTime) {
        self.outage = Some((mode, until));
    }

    pub(in crate::sim) fn outage(&self, now: SimTime) -> Option<OutageMode> {
        self.outage
            .filter(|(_, until)| now < *until)
            .map(|(mode, _)| mode)
    }

    pub(in crate::sim) fn clear(&mut self) {
        self.armed.clear();
        self.outage = None;
    }

    /// The next fault that happens at a moment, and when.
    pub(in crate::sim) fn next_due(&self) -> Option<(SimTime, u64)> {
        self.armed
            .values()
            .filter(|armed| !armed.remaining.is_used_up())
            .filter(|armed| matches!(armed.fault, Fault::At { .. }))
            .filter_map(|armed| armed.from.map(|at| (at, armed.id)))
            .min()
    }

    /// Takes the fault that is due.
    pub(in crate::sim) fn take_due(&mut self, id: u64) -> Option<Fault> {
        let armed = self.armed.get_mut(&id)?;
        armed.count_hit();
        if let Fault::At { fault, .. } = &armed.fault {
            return Some((**fault).clone());
        }
        None
    }

    /// What strikes a request: of each effect the first armed fault that fits.
    pub(in crate::sim) fn strike(&mut self, request: &Facts<'_>, now: SimTime) -> Mishap {
        let mut mishap = Mishap::default();
        for armed in self.armed.values_mut() {
            let fault = &armed.fault;
            if let (Some(target), Some(effect)) = (fault.target(), Effect::of(fault))
                && armed.is_open(now)
                && fault.concerns(request)
                && target.fits(request)
                && mishap.has_room_for(&effect)
                && chance(target, &mut armed.dice)
            {
                armed.count_hit();
                mishap.add(effect, armed.id);
            }
        }
        mishap
    }
}

impl Armed {
    /// Whether it can still strike, now or later.
    pub fn is_armed(&self, now: SimTime) -> bool {
        !self.remaining.is_used_up() && self.until.is_none_or(|until| now < until)
    }

    fn is_open(&self, now: SimTime) -> bool {
        self.is_armed(now) && self.from.is_none_or(|from| from <= now)
    }

    fn count_hit(&mut self) {
        self.hits += 1;
        self.remaining.take();
    }
}

/// Throws the dice of a fault, which are thrown only for requests that fit otherwise: what
/// else is asked does not change its luck.
fn chance(target: &Target, dice: &mut u64) -> bool {
    let mut rng = fastrand::Rng::with_seed(*dice);
    let thrown = rng.f64();
    *dice = rng.get_seed();
    target.probability.decides(thrown)
}

/// What a fault does to a request.
enum Effect {
    Drop(DropWhen),
    Delay(u64),
    Late(u64),
    Duplicate,
    Rebuff(Rebuff),
    Trouble(Trouble),
    RowsOff(i64),
    Stale,
}

impl Effect {
    /// `None` for what happens at a moment.
    fn of(fault: &Fault) -> Option<Self> {
        Some(match fault {
            Fault::DropResponse { when, .. } => Self::Drop(*when),
            Fault::DelayResponse { ms, .. } => Self::Delay(*ms),
            Fault::DuplicateRequest { .. } => Self::Duplicate,
            Fault::LateRequest { ms, .. } => Self::Late(*ms),
            Fault::TooManyRequests { retry_after_ms, .. } => {
                Self::Rebuff(Rebuff::Throttled(*retry_after_ms))
            }
            Fault::BadGateway { .. } => Self::Rebuff(Rebuff::BadGateway),
            Fault::ServiceUnavailable { .. } => Self::Rebuff(Rebuff::Unavailable),
            Fault::InternalError { text, .. } => Self::Rebuff(Rebuff::Internal(text.clone())),
            Fault::StuckJob { .. } => Self::Trouble(Trouble::NeverEnds),
            Fault::DelayJob { ms, .. } | Fault::StragglingDetach { ms, .. } => {
                Self::Trouble(Trouble::Delay(*ms))
            }
            Fault::FailJob { text, .. } => Self::Trouble(Trouble::Fails(text.clone())),
            Fault::StorageFailure { .. } => Self::Trouble(Trouble::Fails(STORAGE_AWAY.to_owned())),
            Fault::DetachTimeout { .. } => Self::Trouble(Trouble::DiskKept),
            Fault::DeleteStuck { .. } => Self::Trouble(Trouble::Fails(NOT_EXPUNGED.to_owned())),
            Fault::PurgeJob { .. } => Self::Trouble(Trouble::Purged),
            Fault::LoseJob { when, .. } => Self::Trouble(match when {
                DropWhen::BeforeCommit => Trouble::LostBefore,
                DropWhen::AfterCommit => Trouble::LostAfter,
            }),
            Fault::MissRows { rows, .. } => Self::RowsOff(i64::from(*rows)),
            Fault::RepeatRows { rows, .. } => Self::RowsOff(-i64::from(*rows)),
            Fault::StaleListing { .. } => Self::Stale,
            Fault::ClockSkew { .. }
            | Fault::Outage { .. }
            | Fault::Restart { .. }
            | Fault::At { .. } => return None,
        })
    }
}

impl Mishap {
    const fn has_room_for(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Drop(_) => self.drop.is_none(),
            Effect::Delay(_) => self.delay_ms == 0,
            Effect::Late(_) => self.late_ms.is_none(),
            Effect::Duplicate => !self.duplicated,
            Effect::Rebuff(_) => self.rebuff.is_none(),
            Effect::Trouble(_) => self.trouble.is_none(),
            Effect::RowsOff(_) => self.rows_off == 0,
            Effect::Stale => self.stale.is_none(),
        }
    }

    fn add(&mut self, effect: Effect, id: u64) {
        match effect {
            Effect::Drop(when) => self.drop = Some(when),
            Effect::Delay(ms) => self.delay_ms = ms,
            Effect::Late(ms) => self.late_ms = Some(ms),
            Effect::Duplicate => self.duplicated = true,
            Effect::Rebuff(rebuff) => self.rebuff = Some(rebuff),
            Effect::Trouble(trouble) => self.trouble = Some(trouble),
            Effect::RowsOff(rows) => self.rows_off = rows,
            Effect::Stale => self.stale = Some(id),
        }
    }
}
