//! What an installation of the daemon before this one leaves in the environment.

use std::path::{Path, PathBuf};

use super::sections::key;
use super::{Config, ConfigError, Masked};
use crate::store::{Appliance, Location};

/// The variable with its data source name, as Go's MySQL driver writes it.
pub(super) const DSN: &str = "DATABASE_DSN";

/// Where the old daemon's database is said to be; each like `store.url` or as in [`DSN`].
#[derive(Debug, Clone, Default)]
pub struct OldDatabase {
    /// By an argument.
    pub url: Option<Masked>,
    /// In a file.
    pub file: Option<PathBuf>,
    /// By the old daemon's own variable.
    pub variable: Option<Masked>,
}

impl OldDatabase {
    /// What the old daemon's variable says.
    #[must_use]
    pub fn or_variable(self) -> Self {
        let variable = std::env::var(DSN).ok().map(Masked);
        Self { variable, ..self }
    }

    /// Where it is: as an argument or a file says, else the variable, else it is the same database as
    /// the store's.
    ///
    /// # Errors
    /// If that cannot be read, or is no place. Never repeats it: it has a password.
    pub fn location(self, config: &Config) -> Result<Location, ConfigError> {
        let Self {
            url,
            file,
            variable,
        } = self;
        let (name, said) = match (&url, &file, variable) {
            (None, None, None) => return config.store.location(),
            (None, None, Some(variable)) => (DSN, variable),
            (Some(_), _, _) | (_, Some(_), _) => ("--database", key(&url, &file, "--database")?),
        };
        let wrong = |text: String| ConfigError::Value { key: name, text };
        let url = self::url(said.reveal()).map_err(|why| wrong(why.to_owned()))?;
        // Nobody's part of it: it has no tables of ours.
        Location::new(&url, Appliance::default(), Path::new("/nonexistent"))
            .map_err(|error| wrong(error.to_string()))
    }
}

/// Translates `user:password@tcp(host:3306)/database?parseTime=true` (go-sql-driver/mysql, "DSN").
///
/// Of its parameters `tls` counts; without one the rules for `store.url` hold, which are stricter
/// than the driver's: it sent everything in clear text.
///
/// # Errors
/// What is wrong with it. Never repeats it: it has a password.
pub(super) fn url(dsn: &str) -> Result<String, &'static str> {
    const FORM: &str = "is not like user:password@tcp(host:3306)/database";
    if dsn.contains("://") {
        return Ok(dsn.to_owned());
    }
    // A password may have any sign, a database's name has none of these.
    let (place, database) = dsn.rsplit_once('/').ok_or(FORM)?;
    let (database, parameters) = database.split_once('?').unwrap_or((database, ""));
    let (user, address) = place.rsplit_once('@').ok_or(FORM)?;
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (net, address) = address.split_once('(').ok_or(FORM)?;
    let address = address.strip_suffix(')').ok_or(FORM)?;
    let tls = parameters
        .split('&')
        .find_map(|pair| pair.strip_prefix("tls="));
    let mode = match tls {
        None => "",
        Some("true") => "ssl-mode=VERIFY_IDENTITY",
        Some("skip-verify") => "ssl-mode=REQUIRED",
        Some("preferred") => "ssl-mode=PREFERRED",
        Some("false") => "ssl-mode=DISABLED",
        Some(_) => return Err("has tls= with a name of the old program's own: set store.url"),
    };
    let (host, socket) = match net {
        "tcp" => (address, String::new()),
        "unix" => ("localhost", format!("socket={}", encoded(address))),
        _ => return Err(FORM),
    };
    let mut url = format!(
        "mysql://{}:{}@{host}/{}",
        encoded(user),
        encoded(password),
        encoded(database)
    );
    let parameters = [socket.as_str(), mode];
    let parameters = parameters.iter().filter(|parameter| !parameter.is_empty());
    for (parameter, sign) in parameters.zip(['?', '&']) {
        url.push(sign);
        url.push_str(parameter);
    }
    Ok(url)
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_data_source_name_is_understood() {
        for (dsn, expected) in [
            (
                "oma_user:oma_password@tcp(localhost:3306)/migratekit_oma?parseTime=true",
                Ok("mysql://oma_user:oma_password@localhost:3306/migratekit_oma"),
            ),
            (
                "u:p/a@s:s?#%@tcp(db:3306)/x",
                Ok("mysql://u:p%2Fa%40s%3As%3F%23%25@db:3306/x"),
            ),
            (
                "u:p@unix(/run/mysqld/mysqld.sock)/x?tls=false&parseTime=true",
                Ok(
                    "mysql://u:p@localhost/x?socket=%2Frun%2Fmysqld%2Fmysqld.sock&ssl-mode=DISABLED",
                ),
            ),
            (
                "u@tcp([::1]:3306)/x?loc=UTC&tls=true",
                Ok("mysql://u:@[::1]:3306/x?ssl-mode=VERIFY_IDENTITY"),
            ),
            ("mysql://u:p@db/x", Ok("mysql://u:p@db/x")),
            ("u:secret@tcp(db)/x?tls=own", Err(())),
            ("u:secret@tcp(db:3306)", Err(())),
            ("u:secret@pipe(db)/x", Err(())),
            ("secret", Err(())),
        ] {
            let found = url(dsn);
            assert_eq!(found.as_deref().map_err(|_| ()), expected, "{dsn}");
            if let Err(why) = found {
                assert!(!why.contains("secret"), "{why}");
            }
        }
    }

    #[test]
    fn the_old_database_is_where_it_is_said_to_be_first_and_never_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("url");
        std::fs::write(&file, "u:secret@tcp(file:3306)/x\n").expect("written");
        let text = "[store]\nurl = \"mysql://u:secret@ours/x\"\nappliance = \"oma-1\"\n";
        let config = Config::parse(Path::new("config.toml"), text, &[]).expect("valid");
        let masked = |text: &str| Some(Masked(text.to_owned()));
        let variable = masked("u:secret@tcp(variable:3306)/x");
        let missing = dir.path().join("missing");
        for (url, file, variable, expected) in [
            (None, None, None, "mysql://ours/x"),
            (None, None, variable.clone(), "mysql://variable:3306/x"),
            (None, Some(&file), variable.clone(), "mysql://file:3306/x"),
            (
                masked("mysql://u:secret@url/x"),
                None,
                variable.clone(),
                "mysql://url/x",
            ),
            (
                masked("u:secret@tcp(dsn)/x"),
                None,
                variable.clone(),
                "mysql://dsn/x",
            ),
            (masked("sqlite:///x.db"), None, variable.clone(), "/x.db"),
            (
                masked("secret"),
                None,
                variable.clone(),
                "--database: is not like",
            ),
            (
                masked("mysql://u:secret@url"),
                None,
                variable,
                "--database: expected",
            ),
            (
                None,
                None,
                masked("u:secret@x"),
                "DATABASE_DSN: is not like",
            ),
            (None, Some(&missing), None, "cannot read"),
        ] {
            let database = OldDatabase {
                url,
                file: file.cloned(),
                variable,
            };
            let said = match database.location(&config) {
                Ok(location) => format!("{location:?}"),
                Err(error) => crate::telemetry::chain(&error),
            };
            assert!(said.contains(expected), "{expected}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
