//! Carries out effects. Each ends in exactly one event.

use crate::act::{Acted, Hands, LocalResult};
use crate::cloudstack::{CloudStackError, Transport};
use crate::model::memory::FailureClass;
use crate::model::observed::{HostView, NbdView};
use crate::model::{BootTime, Reading};
use crate::nbd::ExportServer;
use crate::observe;
use crate::plan::World;
use crate::store::StoreError;
use crate::telemetry::chain;

use super::core::{Effect, Event, Memo, Unanswered};

/// What an effect needs to see of the world; taken when it is handed out.
#[derive(Debug, Clone)]
pub struct Seen {
    disks: Reading<crate::model::observed::Disks>,
}

impl Seen {
    /// What effects may look at.
    pub fn of(world: &World) -> Self {
        Self {
            disks: world.observed.host.disks.clone(),
        }
    }
}

/// Carries out one effect.
///
/// Cancelled at any point, what it began is found again: cloud calls by their intent, exports by
/// asking the server.
pub async fn execute<T: Transport, E: ExportServer>(
    hands: &Hands<T, E>,
    effect: Effect,
    seen: Seen,
) -> Event {
    match effect {
        Effect::Act(name, step, Some(intent)) => {
            let acted = hands.act_on_cloud(intent).await;
            Event::Acted(name, step, acted)
        }
        Effect::Act(name, step, None) => {
            let result = hands.act_locally(&name, &step.action).await;
            Event::Acted(name, step, Acted::Local(result))
        }
        Effect::ObserveCloud(query) => {
            let answer = observe::cloud(&hands.cloud, &query).await;
            let answer = answer.map(Box::new);
            Event::Cloud(query, answer.map_err(|error| unanswered(&error)))
        }
        Effect::PollJobs(jobs) => {
            let answers = observe::jobs(&hands.cloud, &jobs).await;
            Event::Jobs(answers.map_err(|error| unanswered(&error)))
        }
        Effect::ObserveHost => Event::Host(scan(hands).await),
        Effect::ObserveNbd => {
            let begun = hands.clock.now().boot;
            let view = hands.nbd.observe(&seen.disks, begun).await;
            hands.hold(&view, &seen.disks).await;
            Event::Nbd(view)
        }
        Effect::Settle(intent, outcome, effects) => {
            let at = hands.clock.now().wall;
            let written = hands.store.settle(&intent, &outcome, &effects, at).await;
            let written = written.map_err(|error| chain(&error));
            Event::Settled(intent, outcome, effects, written)
        }
        Effect::Remember(memo) => {
            let written = remember(hands, &memo).await;
            Event::Remembered(memo, written.map_err(|error| chain(&error)))
        }
    }
}

fn unanswered(error: &CloudStackError) -> Unanswered {
    Unanswered {
        why: chain(error),
        retry_after: match error {
            CloudStackError::Throttled { retry_after, .. } => Some(*retry_after),
            _ => None,
        },
    }
}

fn broke_off(why: String) -> Unanswered {
    Unanswered {
        why,
        retry_after: None,
    }
}

/// Scans the host on a thread that may block: a stuck disk must not stop the loop.
async fn scan<T: Transport, E: ExportServer>(hands: &Hands<T, E>) -> HostView {
    let begun = hands.clock.now().boot;
    let host = hands.host.clone();
    match tokio::task::spawn_blocking(move || host.scan(begun)).await {
        Ok(view) => view,
        Err(error) => no_host(format!("the scan broke off: {error}"), begun),
    }
}

fn no_host(why: String, begun: BootTime) -> HostView {
    HostView {
        disks: Reading::Unknown(why.clone()),
        self_vm: Reading::Unknown(why),
        begun,
    }
}

async fn remember<T: Transport, E: ExportServer>(
    hands: &Hands<T, E>,
    memo: &Memo,
) -> Result<(), StoreError> {
    let store = &hands.store;
    match memo {
        Memo::Resolutions(found) => store.put_resolutions(found).await,
        Memo::Views(views) => store.put_views(views).await,
        Memo::Placements(placements) => store.put_placements(placements).await,
        Memo::Abandoned(counted) => store.count_abandoned(counted).await,
        Memo::Account(account) => store.put_account(account).await,
        Memo::Episodes(episodes) => store.put_episodes(episodes).await,
    }
}

/// The event that stands for an effect whose task panicked: as little as possible is
/// taken for known.
pub fn broken(effect: Effect, why: &str, now: BootTime) -> Event {
    let why = format!("an internal error, please report it: {why}");
    match effect {
        // It may have been sent.
        Effect::Act(name, step, Some(intent)) => Event::Acted(name, step, Acted::Open(intent)),
        Effect::Act(name, step, None) => {
            let result = LocalResult::Failed(FailureClass::Environment, why);
            Event::Acted(name, step, Acted::Local(result))
        }
        Effect::ObserveCloud(query) => Event::Cloud(query, Err(broke_off(why))),
        Effect::PollJobs(_) => Event::Jobs(Err(broke_off(why))),
        Effect::ObserveHost => Event::Host(no_host(why, now)),
        Effect::ObserveNbd => Event::Nbd(NbdView::read(Reading::Unknown(why), now)),
        Effect::Settle(intent, outcome, effects) => {
            Event::Settled(intent, outcome, effects, Err(why))
        }
        Effect::Remember(memo) => Event::Remembered(memo, Err(why)),
    }
}
