//! The `volume-daemon` binary.
fn main() {}
