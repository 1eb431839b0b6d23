//! Whether anything outside the daemon changed since it was last judged: what did not change need
//! not be judged again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by whatever changes something.
#[derive(Debug, Clone, Default)]
pub struct Stir(Arc<AtomicBool>);

impl Stir {
    /// Something changed, or may have.
    pub fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether something changed since this was last asked.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
