//! Runs what may panic, and says what it panicked with instead of printing it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// What the last panic of this thread said, while it runs something here.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps such panics quiet: they are reported once, with their story.
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

/// What `run` returns; `Err`: what it panicked with, and where.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    listen();
    SAID.set(Some(String::new()));
    let ended = catch_unwind(AssertUnwindSafe(run));
    let said = SAID.take().unwrap_or_default();
    ended.map_err(|_| said)
}
