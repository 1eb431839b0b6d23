//! A private MariaDB server for tests, from the Debian package `mariadb-server-core`.
//!
//! It lives in a directory of its own, listens on a unix socket there, and is gone with the process
//! that started it, however that ends: a shell waits for the end of a pipe and clears up. Works as
//! root and as anybody else, and never touches a server of the system.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio::sync::OnceCell;

/// The password of [`USER`], which no message may show.
pub const PASSWORD: &str = "tr0ub4dor/&3";
/// The user that daemons are: it may do anything in its databases, and nothing else.
const USER: &str = "vd";

/// A signal from a terminal goes to everybody in the group; this one is still needed then.
const KEEPER: &str = r#"trap '' HUP INT TERM; cat >/dev/null
    pid=$(cat "$0/pid" 2>/dev/null) && kill -9 $pid
    while [ -e "$0" ]; do rm -rf "$0"; sleep 0.1; done"#;

/// How long a server may take to begin, on a machine that does much else.
const READY: Duration = Duration::from_secs(60);

/// A server, running or not.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
    running: Mutex<Option<Child>>,
    more: Vec<String>,
    databases: AtomicUsize,
    /// Ends the server and removes its directory once its standard input ends.
    keeper: Mutex<Child>,
}

/// A database of its own for a test.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Where it is, with user and password.
    pub url: String,
    /// Where daemons that use it put their lock files.
    pub lock_dir: PathBuf,
    /// Its server.
    pub server: Arc<Server>,
}

/// An empty database on the server that all tests of this process share.
pub async fn database() -> Database {
    static SHARED: OnceCell<Arc<Server>> = OnceCell::const_new();
    let server = SHARED.get_or_init(|| Server::start(&[])).await;
    server.database().await
}

impl Server {
    /// Makes and starts one, with more options than it needs.
    pub async fn start(more: &[&str]) -> Arc<Self> {
        let dir = tempfile::Builder::new().prefix("vd-mariadb-").tempdir();
        let dir = dir.expect("a directory").keep();
        let keeper = Command::new("sh")
            .arg("-c")
            .arg(KEEPER)
            .arg(&dir)
            .stdin(Stdio::piped())
            .spawn();
        let server = Self {
            running: Mutex::new(None),
            more: more.iter().map(|&option| option.to_owned()).collect(),
            databases: AtomicUsize::new(0),
            keeper: Mutex::new(keeper.expect("a shell")),
            dir,
        };
        server.install();
        server.run();
        let mut root = server.root().await;
        let user = format!("CREATE USER '{USER}'@'localhost' IDENTIFIED BY '{PASSWORD}'");
        for sql in [user.as_str(), r"GRANT ALL ON `vd\_%`.* TO 'vd'@'localhost'"] {
            let done = root.execute(AssertSqlSafe(sql.to_owned())).await;
            done.expect("a user");
        }
        Arc::new(server)
    }

    /// Makes the server's own tables, as mariadb-install-db does.
    fn install(&self) {
        for name in ["data", "tmp"] {
            fs::create_dir(self.dir.join(name)).expect("a directory");
        }
        let mut child = self
            .command()
            .arg("--bootstrap")
            .stdin(Stdio::piped())
            .spawn()
            .expect("mariadbd: install mariadb-server-core");
        let mut sql =
            "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n".to_owned();
        for part in ["system_tables", "performance_tables", "system_tables_data"] {
            let path = format!("/usr/share/mysql/mysql_{part}.sql");
            sql += &fs::read_to_string(&path).expect(&path);
        }
        let mut stdin = child.stdin.take().expect("piped");
        let read = stdin.write_all(sql.as_bytes());
        drop(stdin);
        let status = child.wait().expect("our child");
        let is_done = read.is_ok() && status.success();
        assert!(is_done, "{status}, {read:?}: {}", self.log());
    }

    fn command(&self) -> Command {
        // An ordinary user's PATH lacks it.
        let path = Path::new("/usr/sbin/mariadbd");
        let mut command = Command::new(if path.exists() {
            path
        } else {
            Path::new("mariadbd")
        });
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.dir.join("log"))
            .expect("a log file");
        let option = |name: &str, path: &str| format!("--{name}={}", self.dir.join(path).display());
        command
            .arg("--no-defaults")
            .args([
                option("datadir", "data"),
                // A server that starts removes all temporary tables in there, also those of others.
                option("tmpdir", "tmp"),
                option("socket", "socket"),
                option("pid-file", "pid"),
            ])
            // Commits outlive the process, not a power cut.
            .args([
                "--innodb-flush-log-at-trx-commit=2",
                "--innodb-log-file-size=8M",
                "--innodb-buffer-pool-size=32M",
                "--skip-innodb-doublewrite",
                "--performance-schema=OFF",
                "--skip-log-bin",
                "--max-connections=500",
                // What the daemon must not depend on.
                "--sql-mode=",
                "--character-set-server=latin1",
                "--collation-server=latin1_swedish_ci",
                "--transaction-isolation=READ-UNCOMMITTED",
                "--innodb-default-row-format=compact",
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        if nix::unistd::geteuid().is_root() {
            command.arg("--user=root");
        }
        command
    }

    /// Starts it, and returns when it serves.
    pub fn run(&self) {
        let path = self.dir.join("notify");
        drop(fs::remove_file(&path));
        let ready = UnixDatagram::bind(&path).expect("a socket");
        ready.set_read_timeout(Some(READY)).expect("a limit");
        let mut command = self.command();
        if !self.more.iter().any(|option| option.starts_with("--port")) {
            command.arg("--skip-networking");
        }
        let child = command.args(&self.more).env("NOTIFY_SOCKET", &path).spawn();
        *self.running() = Some(child.expect("mariadbd"));
        let mut said = [0; 4096];
        loop {
            let length = ready.recv(&mut said).unwrap_or_else(|error| {
                panic!("mariadbd is not ready ({error}): {}", self.log());
            });
            if String::from_utf8_lossy(&said[..length]).contains("READY=1") {
                return;
            }
        }
    }

    /// Ends it the hard way.
    pub fn kill(&self) {
        let mut child = self.running().take().expect("it runs");
        child.kill().expect("our child");
        child.wait().expect("our child");
        drop(fs::remove_file(self.dir.join("pid")));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let running = self.running();
        let pid = running.as_ref().expect("it runs").id();
        let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
        kill(pid, signal).expect("our child");
    }

    /// A connection that may do anything.
    pub async fn root(&self) -> MySqlConnection {
        let options = MySqlConnectOptions::new()
            .username("root")
            .ssl_mode(MySqlSslMode::Disabled)
            .socket(self.socket());
        MySqlConnection::connect_with(&options).await.expect("root")
    }

    /// Executes a statement that may do anything.
    pub async fn execute(&self, sql: &str) {
        let mut root = self.root().await;
        let done = root.execute(AssertSqlSafe(sql.to_owned())).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        root.close().await.expect("closed");
    }

    /// A new, empty database. Its default collation is one that must not matter.
    pub async fn database(self: &Arc<Self>) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("vd_{number}");
        let create =
            format!("CREATE DATABASE {name} CHARACTER SET latin1 COLLATE latin1_swedish_ci");
        self.execute(&create).await;
        let lock_dir = self.dir.join(format!("locks-{number}"));
        fs::create_dir(&lock_dir).expect("a directory");
        Database {
            url: self.url(&name, USER, "tr0ub4dor%2F%263"),
            name,
            lock_dir,
            server: Arc::clone(self),
        }
    }

    /// Where a database is for a user with a password, which is percent-encoded.
    pub fn url(&self, database: &str, user: &str, password: &str) -> String {
        let socket = self.socket();
        let socket = socket.display();
        format!("mysql://{user}:{password}@localhost/{database}?socket={socket}")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        drop(keeper.stdin.take());
        let cleared: io::Result<_> = keeper.wait();
        let child = self.running().take();
        if let (Ok(_), Some(mut child)) = (cleared, child) {
            drop(child.wait());
        }
    }
}
