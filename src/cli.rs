//! The command line.

pub mod schema;
pub mod validate;
