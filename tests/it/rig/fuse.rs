//! Ends the daemon at a chosen call to the outside: just before it, or just after it
//! took effect and before its answer arrived.

use std::sync::Mutex;

use tokio::sync::Notify;

/// Counts the moments at which a daemon could die.
#[derive(Debug, Default)]
pub struct Fuse {
    state: Mutex<State>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Moments left; `None`: burns for ever.
    left: Option<usize>,
    blown: bool,
}

impl Fuse {
    /// Lets the daemon die at the `moment`-th moment from now, from 0.
    pub fn light(&self, moment: usize) {
        let mut state = self.lock();
        state.left = Some(moment);
        state.blown = false;
    }

    /// Lets it live.
    pub fn reset(&self) {
        *self.lock() = State::default();
    }

    /// A moment: returns, or never does because the daemon died here.
    pub async fn moment(&self) {
        if self.burns() {
            self.notify.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn burns(&self) -> bool {
        let mut state = self.lock();
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

    /// Waits until the daemon died.
    pub async fn blown(&self) {
        self.notify.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}
