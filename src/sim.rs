//! A simulated CloudStack: the API of one management server, the KVM hosts behind it, and
//! what goes wrong with both.
//!
//! ```text
//!  HTTP ─► server ─► Front::handle(request, now) ─► World        Front and World: no I/O, no clock
//!            │            signature, parameters,      rows, jobs, queues,
//!            │            envelopes, faults           guests (what is really plugged)
//!            ├─► host: one VM's guest as a directory tree (/dev, /sys, /proc)
//!            └─► hypervisor: orders and answers, over a socket to the driver of a real one
//! ```
//!
//! [`World`] is deterministic: the same seed, calls and times give the same ids and answers.
//! It shares nothing with the rest of this crate, not even types for sizes or times, so that a
//! client tested against it meets an independent reading of CloudStack's sources (4.22).
//!
//! What it does not have answers with an error that says so; it never pretends.

pub mod control;
pub mod fault;
pub mod file;
pub mod front;
pub mod host;
pub mod hypervisor;
pub mod recording;
mod refusal;
mod serial;
pub mod server;
pub mod state;
mod time;
pub mod view;
pub mod world;

pub use control::Operation;
pub use fault::Fault;
pub use front::{Delivery, Front, HttpAnswer, HttpRequest};
pub use refusal::{Refusal, RefusalClass};
pub use server::{ClockMode, Handle, SimConfig, SimError, serve};
pub use time::SimTime;
pub use world::World;
