//! Every choice the daemon makes. Pure, total, no clock.
