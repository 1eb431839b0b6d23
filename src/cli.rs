//! The command line.

pub mod offline;
pub mod run;
pub mod schema;
pub mod sim;
pub mod validate;
