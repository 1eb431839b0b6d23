//! This machine's disks.
