//! The command line.

pub mod offline;
pub mod run;
pub mod schema;
pub mod validate;
