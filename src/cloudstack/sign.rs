//! Signatures, version 3: HMAC-SHA1 over the sorted, encoded, lower-cased parameters, one of which says
//! until when the request is valid (`ApiServer.java`, `verifyRequest`).
//!
//! Owns the credentials. Nothing here prints them: not `Debug`, not an error.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use crate::model::Timestamp;

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
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn params() -> Params {
        [
            ("command", "listVolumes"),
            ("listall", "true"),
            ("name", "Pvc data*1~(x)+é/[0]"),
            ("response", "json"),
            ("tags[0].key", "io.example/owner"),
            ("tags[0].value", "ns a"),
            ("apikey", "MyApiKey-AbC_123"),
            ("expires", "2026-11-20T22:30:00+0000"),
            ("signatureversion", "3"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
    }

    /// Computed with a re-implementation in Python and with the JDK's own `URLEncoder` and `Mac`.
    const CANONICAL: &str = "apikey=myapikey-abc_123&command=listvolumes\
        &expires=2026-11-20t22%3a30%3a00%2b0000&listall=true\
        &name=pvc%20data*1%7e%28x%29%2b%c3%a9%2f%5b0%5d&response=json&signatureversion=3\
        &tags[0].key=io.example%2fowner&tags[0].value=ns%20a";
    const SECRET: &str = "MySecretKey-XyZ";
    const SIGNATURE: &str = "EKMBdMNkRCow1X3TcUXjTTqULl8=";

    #[test]
    fn the_known_vector_is_reproduced() {
        let canonical = canonical(&mut params());
        assert_eq!(canonical, CANONICAL);
        assert_eq!(sign(&canonical, &Secret::new(SECRET)), SIGNATURE);
    }

    #[test]
    fn a_signed_form_is_sorted_escaped_and_ends_with_its_signature() {
        let credentials = Credentials {
            api_key: Secret::new("MyApiKey-AbC_123"),
            secret: Secret::new(SECRET),
        };
        let form = signed_form(
            "listVolumes",
            params()
                .into_iter()
                .filter(|(name, _)| {
                    name.starts_with("tags") || *name == "listall" || *name == "name"
                })
                .collect(),
            "2026-11-20T22:30:00.999Z".parse().expect("a time"),
            &credentials,
        );
        assert_eq!(
            form,
            "apikey=MyApiKey-AbC_123&command=listVolumes&expires=2026-11-20T22%3A30%3A00%2B0000\
             &listall=true&name=Pvc%20data*1%7E%28x%29%2B%C3%A9%2F%5B0%5D&response=json\
             &signatureversion=3&tags%5B0%5D.key=io.example%2Fowner&tags%5B0%5D.value=ns%20a\
             &signature=EKMBdMNkRCow1X3TcUXjTTqULl8%3D"
        );
    }

    /// Another implementation of HMAC-SHA1, so that a mistake cannot hide in both places.
    fn openssl(canonical: &str, secret: &str) -> String {
        let mut child = Command::new("openssl")
            .args(["dgst", "-sha1", "-hmac", secret, "-binary"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs the openssl program (Debian package openssl)");
        child
            .stdin
            .take()
            .expect("stdin is piped")
            .write_all(canonical.as_bytes())
            .expect("openssl reads all of its input");
        let output = child.wait_with_output().expect("openssl ends");
        assert!(output.status.success(), "openssl failed: {output:?}");
        BASE64.encode(output.stdout)
    }

    #[test]
    fn odd_values_are_signed_as_openssl_does() {
        let long = "x".repeat(5000);
        for (value, encoded) in [
            ("", ""),
            (" ", "%20"),
            ("+", "%2b"),
            ("a&b=c", "a%26b%3dc"),
            ("%41", "%2541"),
            ("~", "%7e"),
            ("*", "*"),
            ("'()!", "%27%28%29%21"),
            ("ÄÖ", "%c3%84%c3%96"),
            ("\u{1F4BE}", "%f0%9f%92%be"),
            ("İ", "%c4%b0"),
            ("UPPER/lower", "upper%2flower"),
            ("[0]", "%5b0%5d"),
            ("a,b", "a%2cb"),
            ("line\nbreak\ttab", "line%0abreak%09tab"),
            (long.as_str(), long.as_str()),
        ] {
            for secret in ["k", "Key-With_Many-Characters-".repeat(4).as_str(), "é"] {
                let canonical = canonical(&mut [
                    ("name", value.to_owned()),
                    ("command", "createVolume".to_owned()),
                ]);
                assert_eq!(canonical, format!("command=createvolume&name={encoded}"));
                assert_eq!(
                    sign(&canonical, &Secret::new(secret)),
                    openssl(&canonical, secret),
                    "{value:?} with {secret:?}"
                );
            }
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let credentials = Credentials {
            api_key: Secret::new("the-key"),
            secret: Secret::new("the-secret"),
        };
        let shown = format!("{credentials:?} {credentials:#?}");
        assert!(
            !shown.contains("the-key") && !shown.contains("the-secret"),
            "{shown}"
        );
        assert_eq!(
            credentials.redact("user the-key with the-secret"),
            "user *** with ***"
        );
        let empty = Credentials {
            api_key: Secret::new(""),
            secret: Secret::new(""),
        };
        assert_eq!(empty.redact("text"), "text");
    }
}
