//! The way to CloudStack, step by step, and whether it takes us.

use std::time::Duration;

use super::super::facts::{Asked, Cloud, Endpoint, Look};
use super::super::finding::Finding;
use super::{BUSY, late, needs, refused, some};
use crate::cli::output::span;
use crate::cloudstack::CloudStackError;
use crate::cloudstack::probe::{COMMANDS, OPTIONAL};
use crate::config::Config;
use crate::plan::Policy;
use crate::telemetry::chain;

pub(super) fn judge(cloud: &Cloud, config: &Config) -> Vec<Finding> {
    let max_skew = Policy::from(&config.policy).max_skew;
    let Some(endpoint) = &cloud.endpoint else {
        return Vec::new();
    };
    vec![
        dns(cloud, endpoint),
        tcp(cloud, endpoint),
        tls(cloud, endpoint),
        api(cloud),
        clock(cloud, max_skew),
        permissions(&cloud.commands),
    ]
}

fn dns(cloud: &Cloud, endpoint: &Endpoint) -> Finding {
    const NAME: &str = "dns";
    let host = &endpoint.host;
    let fix = format!("getent ahosts {host}; see /etc/resolv.conf, or correct cloudstack.url");
    match &cloud.addresses {
        Look::Needs(other) => needs(NAME, other),
        Look::Late(limit) => late(NAME, *limit, &fix),
        Look::Done(Err(why)) => Finding::failed(NAME, format!("{host} has no address: {why}"), fix),
        Look::Done(Ok(found)) => {
            let found: Vec<String> = found.iter().map(|one| one.ip().to_string()).collect();
            if found.iter().any(|one| one == host) {
                return Finding::skipped(NAME, format!("{host} is an address, not a name"));
            }
            Finding::ok(NAME, format!("{host} is {}", some(&found)))
        }
    }
}

fn tcp(cloud: &Cloud, endpoint: &Endpoint) -> Finding {
    const NAME: &str = "tcp";
    let Endpoint { host, port, .. } = endpoint;
    let fix =
        format!("nc -vz {host} {port}; see firewalls on the way, and the port in cloudstack.url");
    match &cloud.connected {
        Look::Needs(other) => needs(NAME, other),
        Look::Late(limit) => {
            let limit = limit.as_secs_f32();
            let message = format!(
                "{host} port {port} takes no connection within {limit} s, as behind a firewall"
            );
            Finding::failed(NAME, message, fix)
        }
        Look::Done(Ok((address, took))) => {
            let millis = took.as_millis();
            Finding::ok(NAME, format!("{address} takes connections, in {millis} ms"))
        }
        Look::Done(Err(failures)) => {
            let each: Vec<String> = failures
                .iter()
                .map(|(address, why)| format!("{address}: {why}"))
                .collect();
            let message = format!("nothing takes connections: {}", some(&each));
            Finding::failed(NAME, message, fix)
        }
    }
}

fn tls(cloud: &Cloud, endpoint: &Endpoint) -> Finding {
    const NAME: &str = "tls";
    if !endpoint.https {
        let local = endpoint.host == "localhost"
            || endpoint
                .host
                .parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if local {
            return Finding::skipped(NAME, "cloudstack.url is http, on this machine");
        }
        return Finding::warning(
            NAME,
            "cloudstack.url is http: whoever is on the way reads everything, and may change the answers",
            "use https in cloudstack.url; cloudstack.ca_file for an authority of your own",
        );
    }
    let greeting = match &cloud.greeting {
        Look::Needs(other) => return needs(NAME, other),
        // Whether it hangs before or after that is not told apart.
        Look::Late(_) => return needs(NAME, "api"),
        Look::Done(greeting) => greeting,
    };
    match &greeting.answer {
        Err(CloudStackError::NotSent { source, .. }) => {
            let why = cause(&source.to_string()).to_owned();
            let fix = tls_fix(&why, endpoint);
            Finding::failed(NAME, format!("no encrypted connection: {why}"), fix)
        }
        Ok(_) | Err(_) => {
            let by = if endpoint.own_ca {
                "by cloudstack.ca_file"
            } else {
                "by this machine"
            };
            Finding::ok(
                NAME,
                format!("{} shows a certificate that is trusted {by}", endpoint.host),
            )
        }
    }
}

/// What remains of an error when the layers above it are taken off.
fn cause(text: &str) -> &str {
    let layers = [
        "no connection: ",
        "error sending request: ",
        "client error (Connect): ",
    ];
    layers
        .iter()
        .fold(text, |text, layer| text.strip_prefix(layer).unwrap_or(text))
}

/// Texts are those of rustls and its verifiers (`CertificateError`).
fn tls_fix(why: &str, endpoint: &Endpoint) -> String {
    let host = &endpoint.host;
    let has = |part: &str| why.to_ascii_lowercase().contains(part);
    if has("causedasendentity") {
        // What openssl req -x509 makes unless it is told otherwise.
        "its certificate is that of an authority: have it sign one for the server, or make a \
         self-signed one with basicConstraints=CA:FALSE"
            .to_owned()
    } else if has("expired") {
        format!("renew the certificate of {host}; if it is valid, set this machine's clock")
    } else if has("not valid yet") || has("notvalidyet") {
        "set this machine's clock: timedatectl".to_owned()
    } else if has("not valid for name") || has("notvalidforname") {
        format!("use a name in cloudstack.url that the certificate has; it is not made for {host}")
    } else if has("unknownissuer") || has("unknown issuer") || has("self") {
        "name the authority that signed it in cloudstack.ca_file, as PEM".to_owned()
    } else if has("invalidcontenttype") || has("corrupt message") {
        format!(
            "port {} does not speak TLS: correct port or http:// in cloudstack.url",
            endpoint.port
        )
    } else {
        format!("openssl s_client -connect {host}:{}", endpoint.port)
    }
}

fn api(cloud: &Cloud) -> Finding {
    const NAME: &str = "api";
    let greeting = match &cloud.greeting {
        Look::Needs(other) => return needs(NAME, other),
        Look::Late(limit) => return late(NAME, *limit, BUSY),
        Look::Done(greeting) => greeting,
    };
    match &greeting.answer {
        Ok(found) => {
            let version = found.version.as_deref().unwrap_or("of unknown version");
            Finding::ok(NAME, format!("CloudStack {version} accepts the keys"))
        }
        Err(CloudStackError::NotSent { .. })
            if cloud.endpoint.as_ref().is_some_and(|e| e.https) =>
        {
            needs(NAME, "tls")
        }
        // Roles are checked before signatures (ApiServer.java), so the refusal of one command says
        // nothing about the keys; another command that is answered does.
        Err(CloudStackError::Unauthorized { .. })
            if matches!(cloud.commands, Look::Done(Ok(_))) =>
        {
            Finding::ok(
                NAME,
                "CloudStack accepts the keys; the role hides its version (listCapabilities)",
            )
        }
        Err(CloudStackError::Unauthorized { text, .. }) => not_authorized(NAME, text),
        Err(CloudStackError::Undecodable { status, why, .. }) => Finding::failed(
            NAME,
            format!("what answers (HTTP {status}) is not CloudStack's API: {why}"),
            "correct cloudstack.url: it ends in /client/api; or see the proxy in front of it",
        ),
        Err(error) => refused(NAME, error),
    }
}

fn not_authorized(name: &'static str, text: &str) -> Finding {
    Finding::failed(
        name,
        format!("CloudStack does not accept the keys (401): {text}"),
        "compare both keys with those of the user in CloudStack (Accounts, Users), and see that user, \
         account and API access are enabled; after that, generate new keys",
    )
}

fn clock(cloud: &Cloud, max_skew: Duration) -> Finding {
    const NAME: &str = "clock";
    let greeting = match &cloud.greeting {
        Look::Needs(other) => return needs(NAME, other),
        Look::Late(_) => return needs(NAME, "api"),
        Look::Done(greeting) => greeting,
    };
    let Some(ahead) = greeting.ahead_ms else {
        return match &greeting.answer {
            Err(CloudStackError::NotSent { .. } | CloudStackError::NoAnswer { .. }) => {
                needs(NAME, "api")
            }
            Ok(_) | Err(_) => Finding::warning(
                NAME,
                "CloudStack does not tell its time (no Date header)",
                "see the proxy in front of it; compare the clocks by hand",
            ),
        };
    };
    let distance = ahead.saturating_abs();
    let message = match ahead {
        // `Date` is in whole seconds.
        -1000..=1000 => "our clock agrees with CloudStack's, to a second".to_owned(),
        1001.. => format!("our clock is {} behind CloudStack's", millis(distance)),
        _ => format!("our clock is {} ahead of CloudStack's", millis(distance)),
    };
    let fix = "timedatectl set-ntp true, here and on the management server";
    let limit = i64::try_from(max_skew.as_millis()).unwrap_or(i64::MAX);
    if distance > limit {
        let limit = span(max_skew);
        let message = format!(
            "{message}, more than policy.max_skew ({limit}): nothing is changed in CloudStack"
        );
        Finding::failed(NAME, message, fix)
    } else if distance > limit / 3 {
        Finding::warning(
            NAME,
            format!(
                "{message}; over {} nothing is changed there",
                span(max_skew)
            ),
            fix,
        )
    } else {
        Finding::ok(NAME, message)
    }
}

/// A number of milliseconds as people read it.
fn millis(of: i64) -> String {
    span(Duration::from_millis(of.unsigned_abs()))
}

fn permissions(commands: &Asked<std::collections::BTreeSet<String>>) -> Finding {
    const NAME: &str = "permissions";
    let allowed = match commands {
        Look::Done(Ok(allowed)) => allowed,
        Look::Needs(other) => return needs(NAME, other),
        Look::Late(limit) => return late(NAME, *limit, BUSY),
        Look::Done(Err(error)) => {
            return Finding::warning(
                NAME,
                format!("what the role allows cannot be told: {}", chain(error)),
                format!(
                    "allow listApis in the role, or see by hand that it allows {}",
                    all_commands()
                ),
            );
        }
    };
    let missing = COMMANDS.iter().filter(|(name, _)| !allowed.contains(*name));
    let (mut names, mut losses) = (Vec::new(), Vec::new());
    for (name, loss) in missing {
        names.push(*name);
        if !losses.contains(loss) {
            losses.push(*loss);
        }
    }
    if names.is_empty() {
        let count = COMMANDS.len();
        return Finding::ok(
            NAME,
            format!("the role allows all {count} commands that are used"),
        );
    }
    let is_needed = names.iter().any(|name| !OPTIONAL.contains(name));
    let finding = if is_needed {
        Finding::failed
    } else {
        Finding::warning
    };
    let names = names.join(", ");
    finding(
        NAME,
        format!("the role does not allow {names}: {}", losses.join("; ")),
        format!("allow {names} in the role of this account (CloudStack: Roles, Rules)"),
    )
}

fn all_commands() -> String {
    COMMANDS.map(|(name, _)| name).join(", ")
}
