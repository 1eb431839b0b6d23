//! Signatures against a known vector and against another implementation.

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
            .filter(|(name, _)| name.starts_with("tags") || *name == "listall" || *name == "name")
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
