//! Integration tests, one binary.
//!
//! [`rig`] runs the daemon's own loop, client, store and host code against the pure half of the
//! simulator on an explicit clock; only HTTP and the NBD server are stood in for. Invariants are
//! asserted after every single effect. [`clients`] lets other people's clients talk to the simulator.
//! [`real`] runs the binary with everything real but CloudStack
//! itself.

mod caught;
mod check;
mod cli;
mod clients;
mod convergence;
mod crash_points;
mod demo;
mod docs;
mod hazards;
#[path = "../support/mariadb.rs"]
mod mariadb;
mod model;
mod packaging;
mod program;
mod purity;
mod real;
mod recording;
mod rig;
mod scenarios;
mod seeds;
mod sim;
