//! The CloudStack API, as far as the daemon needs it.
