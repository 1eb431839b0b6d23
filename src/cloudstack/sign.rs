//! Signatures, version 3: HMAC-SHA1 over the sorted, encoded, lower-cased parameters, one of which says
//! until when the request is valid (`ApiServer.java`, `verifyRequest`).
//!
//! Owns the credentials. Nothing here prints them: not `Debug`, not an error.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use crate::model::{AccountMark, InstanceId, Timestamp};

/// Parameters of one call, by name. Names are all lower case: the server sorts them as sent but
/// lower-cases them afterwards, so any other spelling could be sorted differently here.
pub(super) type Params = Vec<(&'static str, String)>;

/// Text that must never be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The key pair of a CloudStack user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Names the user.
    pub api_key: Secret,
    /// Proves it.
    pub secret: Secret,
}

impl Credentials {
    /// By what this account of the CloudStack at `url` is known again, within the store
    /// `instance`. A keyed digest: it says nothing about the keys, and is another one in another
    /// store.
    pub fn mark(&self, instance: InstanceId, url: &str, project: Option<&str>) -> AccountMark {
        let mut mac = Hmac::<Sha1>::new_from_slice(instance.uuid().as_bytes())
            .expect("HMAC takes keys of any length");
        for part in [url, self.api_key.expose(), project.unwrap_or_default()] {
            mac.update(part.as_bytes());
            mac.update(b"\n");
        }
        AccountMark::new(BASE64.encode(mac.finalize().into_bytes()))
    }

    /// `text` without the API key and the secret, should the other side have repeated them.
    pub(super) fn redact(&self, text: &str) -> String {
        [&self.api_key, &self.secret]
            .into_iter()
            .map(Secret::expose)
            .filter(|hidden| !hidden.is_empty())
            .fold(text.to_owned(), |text, hidden| text.replace(hidden, "***"))
    }
}

/// The complete form of a call: its parameters, those that every call has, and the signature.
pub(super) fn signed_form(
    command: &'static str,
    mut params: Params,
    expires: Timestamp,
    credentials: &Credentials,
) -> String {
    params.extend([
        ("apikey", credentials.api_key.expose().to_owned()),
        ("command", command.to_owned()),
        ("expires", expires_text(expires)),
        ("response", "json".to_owned()),
        ("signatureversion", "3".to_owned()),
    ]);
    let signature = sign(&canonical(&mut params), &credentials.secret);
    params.push(("signature", signature));
    params
        .iter()
        // Brackets in names are escaped on the wire only: the server decodes before it verifies.
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// The oldest of the accepted forms (`DateUtil.java`), in whole seconds: cut, never rounded up, so
/// that the server's limit is not later than ours.
fn expires_text(expires: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(expires.as_millis()).map_or_else(
        |_| expires.to_string(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%S+0000").to_string(),
    )
}

/// What is signed: `name=value` pairs sorted by name, values encoded and names not, all lower case.
fn canonical(params: &mut [(&'static str, String)]) -> String {
    params.sort_by_key(|(name, _)| *name);
    params
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect::<Vec<_>>()
        .join("&")
        .to_ascii_lowercase()
}

fn sign(canonical: &str, secret: &Secret) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(canonical.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

/// Encodes as Java's `URLEncoder` does, but with `%20` for a space: `*` stays, `~` does not.
fn encode(text: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-*_".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
