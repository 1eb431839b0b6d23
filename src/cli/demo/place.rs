//! The directory in which a demo happens: where everything is, and the configuration in it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cli::output::{Exit, Failure};

/// The longest path of a unix socket (unix(7)), without the closing zero.
const SOCKET_PATH_MAX: usize = 107;

/// How long the daemon shows a vanished attachment before it heals it.
pub const HEAL_DELAY: Duration = Duration::from_secs(2);

/// A directory that belongs to one demo.
#[derive(Debug, Clone)]
pub struct Place(PathBuf);

impl Place {
    /// Makes the directory, for this user only. Everything in it may be removed later, so it must
    /// not be there yet.
    ///
    /// # Errors
    /// If it is there, cannot be made, or its path cannot be used for sockets.
    pub fn create(named: Option<&Path>) -> anyhow::Result<Self> {
        let place = match named {
            Some(dir) => Self(std::path::absolute(dir)?),
            None => {
                let unique = format!("volume-daemon-demo-{:08x}", fastrand::u32(..));
                Self(std::env::temp_dir().join(unique))
            }
        };
        place.check()?;
        let made = DirBuilder::new().mode(0o700).create(&place.0);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Failure {
                    message: format!("{} is there already", place.0.display()),
                    hint: Some("name a directory that is not, so that nothing is lost".to_owned()),
                    exit: Exit::Error,
                }
                .into());
            }
            made => made.with_context(|| format!("cannot make {}", place.0.display()))?,
        }
        fs::create_dir(place.specs())?;
        Ok(place)
    }

    /// The path stands in URIs, in option lists and in the names of sockets.
    fn check(&self) -> anyhow::Result<()> {
        let longest = self.nbd_control();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(byte);
        let fits = longest.as_os_str().len() <= SOCKET_PATH_MAX;
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(longest.as_os_str());
        if fits && bytes.iter().all(plain) {
            return Ok(());
        }
        bail!(Failure {
            message: format!("{} cannot hold sockets", self.0.display()),
            hint: Some(
                "its path must be short, and of letters, digits and ._-+ only: name another \
                 directory with --dir"
                    .to_owned()
            ),
            exit: Exit::Error,
        })
    }

    /// Removes the directory and all that is in it.
    ///
    /// # Errors
    /// If something in it cannot be removed.
    pub fn remove(&self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.0).with_context(|| format!("cannot remove {}", self.0.display()))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// The simulated VM's `/`.
    pub fn guest(&self) -> PathBuf {
        self.0.join("guest")
    }

    /// The watched spec directory.
    pub fn specs(&self) -> PathBuf {
        self.0.join("specs")
    }

    /// The daemon's configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The daemon's API socket.
    pub fn api(&self) -> PathBuf {
        self.0.join("api.sock")
    }

    /// The NBD server's socket for clients.
    pub fn nbd(&self) -> PathBuf {
        self.0.join("nbd.sock")
    }

    /// The NBD server's QMP socket; its log is beside it.
    pub fn nbd_control(&self) -> PathBuf {
        self.0.join("nbd-server.sock")
    }

    /// The log of one of the parts.
    pub fn log(&self, part: &str) -> PathBuf {
        self.0.join(part).with_extension("log")
    }

    /// An export as an NBD URI.
    pub fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.nbd().display())
    }

    /// Writes the configuration of a daemon that works with the CloudStack at `url`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_config(&self, url: &str, api_key: &str, secret_key: &str) -> io::Result<()> {
        fs::write(self.0.join("api.key"), api_key)?;
        fs::write(self.0.join("secret.key"), secret_key)?;
        fs::write(self.config(), self.config_text(url))
    }

    fn config_text(&self, url: &str) -> String {
        let dir = self.0.display();
        let heal_delay = HEAL_DELAY.as_secs();
        format!(
            "\
# Written by volume-daemon demo. Paces are short, so that it is over soon.
[cloudstack]
url = \"{url}\"
api_key_file = \"{dir}/api.key\"
secret_key_file = \"{dir}/secret.key\"

[host]
# The simulated VM's /; on a real VM this is left out.
root = \"{dir}/guest\"

[nbd]
qmp = \"{dir}/nbd-server.sock\"
listen = \"unix:{dir}/nbd.sock\"

[store]
url = \"sqlite://{dir}/volume-daemon.db\"

[specs]
dir = \"{dir}/specs\"

[api]
listen = \"unix:{dir}/api.sock\"

[policy]
heal_delay = \"{heal_delay}s\"
stale_after = \"30s\"

[pace]
resync = \"2s\"
jobs = \"200ms\"
rescan = \"1s\"
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Config};

    #[test]
    fn the_configuration_is_valid_and_stays_in_the_directory() {
        let root = tempfile::tempdir().expect("a directory");
        let place = Place::create(Some(&root.path().join("demo"))).expect("made");
        place
            .write_config("http://127.0.0.1:1/client/api", "key", "secret")
            .expect("written");
        let config = Config::load(Some(&place.config()), &[]).expect("valid");
        assert_eq!(config.host.root, place.guest());
        assert_eq!(config.specs.dir, place.specs());
        assert_eq!(config.nbd.qmp, place.nbd_control());
        assert_eq!(config.nbd.listen, Address::Unix(place.nbd()));
        assert_eq!(config.api.listen, Address::Unix(place.api()));
        assert!(
            config
                .store
                .url
                .to_string()
                .contains("/demo/volume-daemon.db")
        );
        let (key, secret) = config.cloudstack.keys().expect("readable");
        assert_eq!((key.reveal(), secret.reveal()), ("key", "secret"));
        place.remove().expect("removed");
        assert!(!place.dir().exists());
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let root = tempfile::tempdir().expect("a directory");
        let error = Place::create(Some(root.path())).expect_err("it is there");
        assert!(error.to_string().ends_with("is there already"), "{error}");
        assert!(root.path().exists());
    }

    #[test]
    fn paths_that_sockets_or_uris_cannot_have_are_refused() {
        for name in ["with space", "a,b", "a?b", "50%", &"long".repeat(25)] {
            let dir = Path::new("/tmp").join(name);
            let error = Place::create(Some(&dir)).expect_err(name);
            assert!(error.to_string().contains("cannot hold sockets"), "{error}");
            assert!(!dir.exists(), "{name}");
        }
    }
}
