//! A simulated CloudStack.
