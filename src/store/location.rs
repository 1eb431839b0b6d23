//! Where a store is, and which appliance's part of it is ours.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use super::StoreError;
use crate::model::VolumeName;

/// Which appliance's daemon this is: daemons of many may share one MariaDB database. Written like
/// the name of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Appliance(VolumeName);

impl Default for Appliance {
    /// The only appliance of a store that is not shared.
    fn default() -> Self {
        Self("local".parse().expect("a valid name"))
    }
}

impl Appliance {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Appliance {
    type Err = <VolumeName as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Appliance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a store is, and whose.
#[derive(Debug, Clone)]
pub struct Location {
    pub(super) place: Place,
    pub(super) appliance: Appliance,
    /// Where the lock file of a daemon is that keeps its memory on a server.
    pub(super) lock_dir: PathBuf,
}

impl Location {
    /// A place, and whose part of it is ours. `lock_dir` is where the lock file goes if the store
    /// is on a server; that of a file is beside it.
    ///
    /// # Errors
    /// [`StoreError::Url`], which never repeats the URL.
    pub fn new(url: &str, appliance: Appliance, lock_dir: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            place: Place::parse(url)?,
            appliance,
            lock_dir: lock_dir.to_owned(),
        })
    }

    /// A store of the only appliance: a file, or in memory for tests.
    ///
    /// # Errors
    /// As [`Location::new`].
    pub fn local(url: &str) -> Result<Self, StoreError> {
        Self::new(url, Appliance::default(), Path::new("/nonexistent"))
    }

    /// Whether the store is on a database server.
    pub fn is_server(&self) -> bool {
        matches!(self.place, Place::Server(_))
    }
}

/// Where a store is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Memory,
    File(PathBuf),
    Server(Box<Server>),
}

/// A database of a MariaDB server, and how to get there.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) options: MySqlConnectOptions,
    /// What may be shown of it: no user, no password.
    shown: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Place {
    /// Reads a configured URL.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        if url == "sqlite::memory:" {
            return Ok(Self::Memory);
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return refuse("and it has no \"://\"");
        };
        match scheme {
            "sqlite" => file(rest),
            "mysql" | "mariadb" => server(rest).map(|server| Self::Server(Box::new(server))),
            _ => refuse(format!("and {scheme:?} is no database this version knows")),
        }
    }
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::Url {
        problem: problem.into(),
    })
}

fn file(rest: &str) -> Result<Place, StoreError> {
    if rest.contains('?') {
        return refuse("and a file takes no parameters after '?'");
    }
    let path = PathBuf::from(rest);
    // A service runs in "/" and a person elsewhere: a relative path would name two stores.
    if path.is_absolute() && path.file_name().is_some() {
        Ok(Place::File(path))
    } else {
        refuse(format!("and {rest:?} is no absolute path of a file"))
    }
}

/// What may stand after the '?' of a server's URL; anything else would be ignored in silence.
const PARAMETERS: [&str; 5] = ["socket", "ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];

/// Reads `user:password@host:port/database?parameters`.
fn server(rest: &str) -> Result<Server, StoreError> {
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let keys = parameters
        .split('&')
        .filter_map(|pair| pair.split('=').next())
        .filter(|key| !key.is_empty());
    let mut names = keys.clone();
    if let Some(key) = names.find(|key| !PARAMETERS.contains(key)) {
        return refuse(format!(
            "and {key:?} is none of the parameters {}",
            PARAMETERS.join(", ")
        ));
    }
    // The last '@', or a password with one would be shown in half.
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    let Some((host, database)) = host.split_once('/') else {
        return refuse("and it names no database after the host");
    };
    if database.is_empty() || database.contains('/') {
        return refuse("and it names no database after the host");
    }
    let options: MySqlConnectOptions = match format!("mysql://{rest}").parse() {
        Ok(options) => options,
        Err(error) => {
            // The chain of a URL's errors never repeats the URL.
            let why = crate::telemetry::chain(&error);
            return refuse(format!(
                "and it cannot be read ({why}); in user and password write %40 for @, %2F for /, \
                 %3A for :, %23 for #, %3F for ? and %25 for %"
            ));
        }
    };
    let says = |wanted: &str| keys.clone().any(|key| key == wanted);
    let is_here = says("socket") || is_loopback(host);
    let options = match (says("ssl-mode"), is_here) {
        (true, _) => options,
        // What stays on this machine needs no encryption, and a server's own certificate would
        // not be for "localhost".
        (false, true) => options.ssl_mode(MySqlSslMode::Disabled),
        // A password, and what is known of all volumes, cross a network.
        (false, false) => options.ssl_mode(MySqlSslMode::VerifyIdentity),
    };
    Ok(Server {
        options,
        shown: format!("mysql://{host}/{database}"),
    })
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    let address: Option<std::net::IpAddr> = name.parse().ok();
    name == "localhost" || address.is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_file_or_a_server_and_never_repeated() {
        for (url, expected) in [
            ("sqlite:///var/lib/x.db", Some("File(\"/var/lib/x.db\")")),
            ("sqlite::memory:", Some("Memory")),
            ("sqlite://x.db", None),
            ("sqlite:///", None),
            ("sqlite:///x.db?mode=ro", None),
            ("/var/lib/x.db", None),
            ("mysql://root:secret@db/x", Some("Server(mysql://db/x)")),
            (
                "mariadb://vd@[::1]:3307/x",
                Some("Server(mysql://[::1]:3307/x)"),
            ),
            ("mysql://root:se@secret@db/x", Some("Server(mysql://db/x)")),
            ("mysql://root:secret@db", None),
            ("mysql://root:secret@db/", None),
            ("mysql://root:secret@db/x/y", None),
            ("mysql://root:secret@db/x?ssl_mode=REQUIRED", None),
            ("mysql://root:secret@db/x?ssl-mode=SOMETIMES", None),
            ("mysql://root:sec/secret@db:port/x", None),
            ("postgres://root:secret@db/x", None),
        ] {
            let place = Place::parse(url);
            let shown = match &place {
                Ok(place) => Some(format!("{place:?}")),
                Err(_) => None,
            };
            assert_eq!(shown.as_deref(), expected, "{url}: {place:?}");
            let said = match place {
                Ok(place) => format!("{place:?}"),
                Err(error) => crate::telemetry::chain(&error),
            };
            assert!(!said.contains("secret"), "{url}: {said}");
        }
    }

    #[test]
    fn a_password_crosses_a_network_only_encrypted_unless_somebody_says_so() {
        for (url, mode) in [
            ("mysql://vd:x@db/x", "VerifyIdentity"),
            ("mysql://vd:x@db.example.org:3306/x", "VerifyIdentity"),
            ("mysql://vd:x@10.0.0.1/x", "VerifyIdentity"),
            ("mysql://vd:x@localhost/x", "Disabled"),
            ("mysql://vd:x@localhost.example.org/x", "VerifyIdentity"),
            ("mysql://vd:x@127.0.0.1:3306/x", "Disabled"),
            ("mysql://vd:x@[::1]:3306/x", "Disabled"),
            (
                "mysql://vd:x@db/x?socket=/run/mysqld/mysqld.sock",
                "Disabled",
            ),
            ("mysql://vd:x@db/x?ssl-mode=DISABLED", "Disabled"),
            ("mysql://vd:x@localhost/x?ssl-mode=VERIFY_CA", "VerifyCa"),
        ] {
            let Ok(Place::Server(server)) = Place::parse(url) else {
                panic!("{url} is a server");
            };
            assert_eq!(
                format!("{:?}", server.options.get_ssl_mode()),
                mode,
                "{url}"
            );
        }
    }
}
