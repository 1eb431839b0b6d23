//! Stops the daemon at a chosen moment. Moments are each call to the outside: just before it, and
//! just after it took effect and before its answer arrived. Finer ones are also those before and
//! after each effect, between which it writes the store.

use std::sync::Mutex;

use tokio::sync::Notify;
use volume_daemon::reconcile::{Effect, Memo};

/// Counts the moments at which a daemon could be stopped.
#[derive(Debug, Default)]
pub struct Fuse {
    state: Mutex<State>,
    blown: Notify,
    resumed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Moments left; `None`: burns for ever.
    left: Option<usize>,
    blown: bool,
    /// Whether the finer moments count, too.
    fine: bool,
    /// What is carried out now.
    effect: String,
    /// The moments that were passed, finely.
    passed: Vec<String>,
}

impl Fuse {
    /// Stops it at the `moment`-th moment from now, from 0.
    pub fn light(&self, moment: usize) {
        *self.lock() = State {
            left: Some(moment),
            ..State::default()
        };
    }

    /// The same with the finer moments counted, too; `None`: counts them and stops it at none.
    pub fn light_finely(&self, moment: Option<usize>) {
        *self.lock() = State {
            left: moment,
            fine: true,
            ..State::default()
        };
    }

    /// The moments that were passed since it was lit finely.
    pub fn passed(&self) -> Vec<String> {
        self.lock().passed.clone()
    }

    /// Whether the moment it was lit for has come.
    pub fn is_spent(&self) -> bool {
        self.lock().left.is_none()
    }

    /// Lets it live.
    pub fn reset(&self) {
        *self.lock() = State::default();
    }

    /// A call to the outside: returns, or waits where the daemon was stopped here.
    pub async fn moment(&self) {
        self.pass("in", true).await;
    }

    /// The beginning of an effect.
    pub async fn before(&self, effect: &Effect) {
        self.lock().effect = what(effect);
        self.pass("before", false).await;
    }

    /// The end of an effect, of which the daemon does not know yet.
    pub async fn after(&self) {
        self.pass("after", false).await;
    }

    async fn pass(&self, place: &str, is_coarse: bool) {
        if self.burns(place, is_coarse) {
            self.blown.notify_one();
            self.resumed.notified().await;
        }
    }

    fn burns(&self, place: &str, is_coarse: bool) -> bool {
        let mut state = self.lock();
        if !(is_coarse || state.fine) {
            return false;
        }
        if state.fine {
            let moment = format!("{place} {}", state.effect);
            state.passed.push(moment);
        }
        match state.left {
            None => state.blown,
            Some(0) => {
                state.left = None;
                state.blown = true;
                true
            }
            Some(left) => {
                state.left = Some(left - 1);
                false
            }
        }
    }

    /// Waits until the daemon is stopped.
    pub async fn blown(&self) {
        self.blown.notified().await;
    }

    /// From here on nothing stops anybody; whoever was stopped still is.
    pub fn is_over(&self) {
        self.lock().blown = false;
    }

    /// Lets what was stopped go on.
    pub fn resume(&self) {
        self.resumed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// An effect in few words.
fn what(effect: &Effect) -> String {
    let text = match effect {
        Effect::Act(_, step, _) => return step.action.kind().to_owned(),
        Effect::Settle(intent, ..) => return format!("the end of {}", intent.action.kind()),
        Effect::ObserveCloud(query) if query.full => "a listing",
        Effect::ObserveCloud(_) => "a look at some",
        Effect::PollJobs(_) => "a look at jobs",
        Effect::ObserveHost => "a scan",
        Effect::ObserveNbd => "a look at exports",
        Effect::Remember(memo) => match memo {
            Memo::Resolutions(_) => "remembering names",
            Memo::Views(_) => "remembering views",
            Memo::Placements(_) => "remembering places",
            Memo::Abandoned(_) => "remembering time",
            Memo::Account(_) => "remembering the account",
            Memo::Episodes(_) => "remembering what differed",
        },
    };
    text.to_owned()
}
