//! Request signatures, as `ApiServer.verifyRequest` computes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// The signature of a request: HMAC-SHA1 in Base64 over the lower-cased
/// `name=encode(value)` pairs, sorted by name as sent, without `signature` itself.
pub fn signature<'a>(params: impl Iterator<Item = (&'a str, &'a str)>, secret: &str) -> String {
    STANDARD.encode(mac(params, secret).finalize().into_bytes())
}

/// Whether `given` is the signature, compared in constant time.
pub(super) fn matches<'a>(
    params: impl Iterator<Item = (&'a str, &'a str)>,
    secret: &str,
    given: &str,
) -> bool {
    STANDARD
        .decode(given)
        .is_ok_and(|given| mac(params, secret).verify_slice(&given).is_ok())
}

fn mac<'a>(params: impl Iterator<Item = (&'a str, &'a str)>, secret: &str) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .expect("HMAC takes keys of any length (RFC 2104)");
    mac.update(canonical(params).as_bytes());
    mac
}

fn canonical<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<(&str, &str)> = params
        .filter(|(name, _)| !name.eq_ignore_ascii_case("signature"))
        .collect();
    pairs.sort_unstable();
    let text: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    text.join("&").to_lowercase()
}

/// Java's `URLEncoder.encode`, but a space becomes `%20`.
pub(in crate::sim) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "MySecretKey-XyZ";

    fn vector() -> Vec<(&'static str, &'static str)> {
        vec![
            ("apiKey", "MyApiKey-AbC_123"),
            ("command", "listVolumes"),
            ("expires", "2026-11-20T22:30:00+0000"),
            ("listall", "true"),
            ("name", "Pvc data*1~(x)+é/[0]"),
            ("response", "json"),
            ("signatureVersion", "3"),
            ("tags[0].key", "io.example/owner"),
            ("tags[0].value", "ns a"),
        ]
    }

    #[test]
    fn the_vector_computed_with_java_is_reproduced() {
        assert_eq!(
            canonical(vector().into_iter()),
            "apikey=myapikey-abc_123&command=listvolumes\
             &expires=2026-11-20t22%3a30%3a00%2b0000&listall=true\
             &name=pvc%20data*1%7e%28x%29%2b%c3%a9%2f%5b0%5d&response=json&signatureversion=3\
             &tags[0].key=io.example%2fowner&tags[0].value=ns%20a"
        );
        assert_eq!(
            signature(vector().into_iter(), SECRET),
            "EKMBdMNkRCow1X3TcUXjTTqULl8="
        );
    }

    #[test]
    fn sorting_is_by_the_name_as_sent() {
        // Upper case sorts before lower case, and only then is everything lower-cased.
        let mixed = [("b", "1"), ("Z", "2")];
        assert_eq!(canonical(mixed.into_iter()), "z=2&b=1");
    }

    #[test]
    fn only_the_right_signature_matches() {
        let right = signature(vector().into_iter(), SECRET);
        for (given, expected) in [
            (right.as_str(), true),
            ("", false),
            ("not base64!", false),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", false),
            (&right.to_lowercase(), false),
        ] {
            assert_eq!(
                matches(vector().into_iter(), SECRET, given),
                expected,
                "{given}"
            );
        }
        assert!(!matches(vector().into_iter(), "other", &right));
        let signed = vector().into_iter().chain([("SIGNATURE", "ignored")]);
        assert!(matches(signed, SECRET, &right));
    }
}
