//! Asks the linker for relative relocations in their packed form (DT_RELR): half a megabyte less of
//! the program, for glibc 2.36 (Debian 12) or newer.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let linux_gnu = ["CARGO_CFG_TARGET_OS", "CARGO_CFG_TARGET_ENV"].map(std::env::var);
    if matches!(linux_gnu, [Ok(ref os), Ok(ref env)] if os == "linux" && env == "gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
