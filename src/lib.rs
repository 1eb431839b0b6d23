//! volume-daemon keeps CloudStack volumes, their attachments and their NBD exports
//! as declared.
//!
//! ```text
//!  spec files ─► source ─► desired ──┐         ┌── observed ◄─ cloudstack, host, nbd
//!                                    ▼         ▼
//!      memory (store) ──────► plan(world, policy, now)      pure, total
//!                                    │
//!            plan, drift, status ◄───┤
//!                                    ▼
//!                 act: intent row → one call → result row
//!                                    ▼
//!                              observe again
//! ```
//!
//! Data flows one way, and imports go down only: `model` ← `spec`, `plan` ← `cloudstack`,
//! `host`, `nbd`, `store` ← `source`, `observe`, `act` ← `reconcile`, `import` ← `api` ← `cli`.
//! `sim` shares nothing with the rest.

pub mod act;
pub mod api;
pub mod cli;
pub mod clock;
pub mod cloudstack;
pub mod config;
pub mod host;
pub mod import;
pub mod model;
pub mod nbd;
pub mod observe;
pub mod plan;
pub mod reconcile;
pub mod sim;
pub mod source;
pub mod spec;
pub mod store;
pub mod telemetry;
