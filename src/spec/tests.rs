//! Specs and what is said about them.

mod agreement;
mod examples;
mod form;
mod hostile;
mod mistakes;
mod rendering;

use super::*;

/// A valid document, to be varied.
pub(super) const VALID: &str = "\
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata:
  name: data
spec:
  size: 40GiB
  zone: zone-1
  diskOffering: Custom
";

/// What is said about `text`, one line for each problem: `line:column path: message …`.
pub(super) fn said(text: &str) -> String {
    said_of(text.as_bytes())
}

pub(super) fn said_of(text: &[u8]) -> String {
    match parse("f", text) {
        Ok(parsed) => format!("{} valid", parsed.len()),
        Err(problems) => problems.to_string().replace("f:", ""),
    }
}
