//! By what equal texts are known again. Not a protection against anybody.

use std::fmt::Write as _;

use sha1::{Digest as _, Sha1};

/// SHA-1 of some bytes, as 40 lower-case hexadecimal digits.
pub fn sha1_hex(bytes: impl AsRef<[u8]>) -> String {
    let mut text = String::with_capacity(40);
    for byte in Sha1::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha1() {
        // RFC 3174, section 7.3, the first test.
        assert_eq!(sha1_hex("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
