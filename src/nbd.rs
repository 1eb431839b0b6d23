//! The NBD server: what it serves, and how to change that.
