//! What must not leave the place where it was recorded: credentials, user data, names of people
//! and, unless they are to be kept, addresses.
//!
//! The same name is always replaced by the same other one. What was once seen to be secret, or
//! to be a name, is also replaced where it stands within a text from then on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

/// Replaces what is secret.
const HIDDEN: &str = "***";

/// Parts of names of parameters and fields whose values are secret.
const SECRET: [&str; 9] = [
    "apikey",
    "password",
    "passphrase",
    "privatekey",
    "secret",
    "sessionkey",
    "signature",
    "token",
    "userdata",
];

/// CloudStack's own names, the same everywhere.
const OWN_NAMES: [&str; 3] = ["ROOT", "admin", "system"];

/// Names shorter than this are not looked for within texts, where they would be found by chance.
const TEXT_NAME_MIN: usize = 3;

/// What is known to be secret, and the other names of what has one.
#[derive(Debug, Clone, Default)]
pub struct Scrubber {
    keep_addresses: bool,
    secrets: Vec<String>,
    names: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, u32>,
}

impl Scrubber {
    /// One that knows of nothing yet.
    pub fn new(keep_addresses: bool) -> Self {
        Self {
            keep_addresses,
            ..Self::default()
        }
    }

    /// Learns what is secret in a request, before anything of it is written.
    pub(super) fn learn<'a>(&mut self, params: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, value) in params {
            if is_secret(name) {
                self.learn_secret(value);
            }
        }
    }

    /// The value of a parameter or field as it may be written.
    pub fn value(&mut self, name: &str, value: &str) -> String {
        if is_secret(name) {
            self.learn_secret(value);
            return HIDDEN.to_owned();
        }
        match kind_of(name) {
            Some("domain") => {
                // A path is one name after another.
                let parts: Vec<String> = value
                    .split('/')
                    .map(|part| self.other_name("domain", part))
                    .collect();
                return parts.join("/");
            }
            Some("host" | "address") if self.keep_addresses => {}
            Some(kind) => return self.other_name(kind, value),
            None if !self.keep_addresses && is_address(value) => {
                return self.other_name("address", value);
            }
            None => {}
        }
        self.text(value)
    }

    /// A text as it may be written: what is known to be secret or a name is replaced.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret, HIDDEN);
        }
        for (name, other) in &self.names {
            if name.len() >= TEXT_NAME_MIN {
                text = replace_words(&text, name, other);
            }
        }
        text
    }

    /// A body as it may be written.
    pub fn body(&mut self, body: Value) -> Value {
        // Names may be told after the text that mentions them.
        self.learn_names("", &body);
        self.json("", body)
    }

    fn learn_names(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.learn_names(name, value);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.learn_names(name, item);
                }
            }
            Value::String(text) => {
                self.value(name, text);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn json(&mut self, name: &str, value: Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| {
                    let value = self.json(&name, value);
                    (name, value)
                })
                .collect(),
            Value::Array(items) => items
                .into_iter()
                .map(|item| self.json(name, item))
                .collect(),
            Value::String(text) => Value::String(self.value(name, &text)),
            Value::Number(_) if is_secret(name) => Value::String(HIDDEN.to_owned()),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }

    fn learn_secret(&mut self, value: &str) {
        // Shorter ones are words, or nothing.
        if value.len() >= 6 && value != HIDDEN && !self.secrets.iter().any(|known| known == value) {
            self.secrets.push(value.to_owned());
        }
    }

    fn other_name(&mut self, kind: &'static str, name: &str) -> String {
        if name.is_empty() || OWN_NAMES.contains(&name) || is_other_name(name) {
            return name.to_owned();
        }
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let other = format!("{kind}-{count}");
        self.names.insert(name.to_owned(), other.clone());
        other
    }
}

/// What names are replaced by: one of these, and a number.
const KINDS: [&str; 6] = ["account", "address", "domain", "host", "project", "user"];

/// Whether it already is what a name is replaced by.
fn is_other_name(name: &str) -> bool {
    let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once('-')
        .is_some_and(|(kind, rest)| KINDS.contains(&kind) && number(rest))
}

/// The name of a field of `details[0].password` is `password`.
fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    // A flag of VMs and templates.
    name != "passwordenabled" && SECRET.iter().any(|part| name.contains(part))
}

/// What a name names, if it is one to replace.
fn kind_of(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    match name.as_str() {
        "account" | "accountname" => Some("account"),
        "domain" | "domainname" | "domainpath" => Some("domain"),
        "project" | "projectname" => Some("project"),
        "username" | "user" | "firstname" | "lastname" | "email" => Some("user"),
        "hostname" | "managementservername" => Some("host"),
        name if name.ends_with("ipaddress") || name.ends_with("macaddress") => Some("address"),
        _ => None,
    }
}

/// An IP or MAC address.
fn is_address(value: &str) -> bool {
    let octets: Vec<&str> = value.split(':').collect();
    let is_mac = octets.len() == 6
        && octets
            .iter()
            .all(|octet| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_mac || value.parse::<IpAddr>().is_ok()
}

/// Replaces `word` where it is not a part of a longer one.
fn replace_words(text: &str, word: &str, other: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, found) in text.match_indices(word) {
        let end = at + found.len();
        let before = text[..at].chars().next_back();
        let after = text[end..].chars().next();
        if !before.is_some_and(is_part) && !after.is_some_and(is_part) {
            out.push_str(&text[copied..at]);
            out.push_str(other);
            copied = end;
        }
    }
    out.push_str(&text[copied..]);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_never_pass_and_names_are_replaced_alike_everywhere() {
        let mut scrubber = Scrubber::new(false);
        scrubber.learn([("apiKey", "KEY-0123"), ("password", "hunter22")].into_iter());
        assert_eq!(scrubber.value("Details[0].password", "x"), "***");
        assert_eq!(scrubber.value("account", "alice"), "account-1");
        let body = scrubber.body(json!({"r": {
            "errortext": "Acct[7-alice] with KEY-0123 of malice and bob",
            "account": "bob", "domainpath": "ROOT/shop/alice", "secretkey": "s", "userdata": "IyE=",
            "nic": [{"gateway": "10.1.2.3", "macaddress": "02:00:4c:ff:00:01"}],
            "id": "6f1a0000-0000-4000-8000-000000000000", "state": "Ready", "count": 1,
            "username": "admin"
        }}));
        assert_eq!(
            body,
            json!({"r": {
                "errortext": "Acct[7-account-1] with *** of malice and account-2",
                "account": "account-2", "domainpath": "ROOT/domain-1/account-1",
                "secretkey": "***", "userdata": "***",
                "nic": [{"gateway": "address-1", "macaddress": "address-2"}],
                "id": "6f1a0000-0000-4000-8000-000000000000", "state": "Ready", "count": 1,
                "username": "admin"
            }})
        );
        // What was scrubbed stays as it is.
        assert_eq!(scrubber.body(body.clone()), body);
    }

    #[test]
    fn addresses_stay_if_they_are_to_be_kept() {
        let mut scrubber = Scrubber::new(true);
        for (name, value) in [("ipaddress", "10.0.0.1"), ("x", "::1"), ("hostname", "h1")] {
            assert_eq!(scrubber.value(name, value), value);
        }
    }
}
