//! End to end: the real binary, a real qemu-storage-daemon, a real store, real files, real NBD
//! clients, and CloudStack over HTTP. What is served is judged by reading it.
//!
//! Everything of a test is in a directory of its own, so tests run side by side. Waits poll what
//! the daemon says and have a deadline; the log is printed when a test fails.

mod adopt;
mod apply;
mod calls;
mod check;
mod client;
mod crash;
mod daemon;
mod foreign;
mod hands_off;
mod history;
mod import;
mod mariadb;
mod odd_files;
mod outage;
mod rig;
mod rows;
mod rows_on_a_server;
mod secrets;
mod serving;
mod soak;
mod specs;
mod sql;
mod tap;
mod two;
