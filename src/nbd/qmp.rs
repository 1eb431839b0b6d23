//! QMP, the control protocol of QEMU's programs, over a unix socket.
//!
//! Owns the connection: greeting, one command in flight, ids, events, deadlines. Knows nothing of
//! exports beyond the shape of the commands. Whoever speaks QMP can make the server open
//! any file it may, so the socket belongs in a directory of mode 0700.
//!
//! Source: QEMU `docs/interop/qmp-spec.rst`, `qapi/control.json`, `qapi/block-core.json`,
//! `qapi/block-export.json`, version 7.2.

pub mod command;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Mutex, MutexGuard, Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use command::{Command, Request, Version};

/// Longest line that is read: `query-named-block-nodes` takes 0.5 KiB for each of some thousand
/// nodes.
const LINE_MAX: u64 = 16 << 20;
/// Messages that wait for us. Events beyond these are dropped; nobody relies on seeing one.
const MESSAGES_MAX: usize = 256;

/// A QMP server, connected to when it is needed and again after the connection was lost.
#[derive(Debug)]
pub struct Qmp {
    path: PathBuf,
    timeout: Duration,
    link: Mutex<Option<Link>>,
    lost: Arc<Notify>,
}

/// Why a command has no answer, or a negative one.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// Nothing listens there, or not for us.
    #[error("cannot connect to {path}: check that qemu-storage-daemon runs, and as our user")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It accepted but did not greet: another client is served first.
    #[error("{path} does not greet: check that no other client is connected to it")]
    NoGreeting {
        /// The socket.
        path: PathBuf,
    },
    /// The kernel does not say which process listens, so it cannot be looked at.
    #[error("cannot tell which process listens at {path}: check that it runs on this machine")]
    NoPeer {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke; a command that was sent may have been carried out.
    #[error("the connection to qemu-storage-daemon was lost during {command}")]
    Lost {
        /// Which command.
        command: &'static str,
    },
    /// No answer in time; the command may still be carried out.
    #[error("qemu-storage-daemon did not answer {command} within {timeout:?}")]
    Timeout {
        /// Which command.
        command: &'static str,
        /// How long it was given.
        timeout: Duration,
    },
    /// What came is not the protocol.
    #[error("qemu-storage-daemon answered {command} with something else")]
    Protocol {
        /// Which command.
        command: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It will not do that. The class is GenericError whatever the reason, so callers look at
    /// what is there instead of reading the text.
    #[error("qemu-storage-daemon refused {command}: {text}")]
    Refused {
        /// Which command.
        command: &'static str,
        /// Its words.
        text: String,
    },
}

/// Exclusive use of the connection, from here until it is dropped.
#[derive(Debug)]
pub struct Session<'a> {
    qmp: &'a Qmp,
    link: MutexGuard<'a, Option<Link>>,
}

#[derive(Debug)]
struct Link {
    writer: OwnedWriteHalf,
    messages: mpsc::Receiver<Message>,
    /// Exports of which this session heard that they are gone.
    deleted: BTreeSet<String>,
    next_id: u64,
    /// A command was sent and its reply not yet read. Still so when the session ends means that
    /// its future was dropped: the next reply would be somebody else's.
    in_flight: bool,
    server: ServerProcess,
    reader: AbortOnDropHandle<()>,
}

/// The process at the other end of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerProcess(u32);

impl ServerProcess {
    /// Its process id.
    pub fn pid(self) -> u32 {
        self.0
    }
}

/// Whatever the server sends.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Greeting {
        #[serde(rename = "QMP")]
        _greeting: serde_json::Value,
    },
    Event {
        event: String,
        #[serde(default)]
        data: serde_json::Value,
    },
    Return {
        id: u64,
        #[serde(rename = "return")]
        value: serde_json::Value,
    },
    Error {
        // Absent when the command could not even be parsed.
        id: Option<u64>,
        error: Failure,
    },
}

#[derive(Debug, Deserialize)]
struct Failure {
    desc: String,
}

impl Qmp {
    /// A server at the unix socket `path`, which is given `timeout` for each command.
    pub fn new(path: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self {
            path: path.into(),
            timeout,
            link: Mutex::new(None),
            lost: Arc::new(Notify::new()),
        }
    }

    /// How long each command is given.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Waits for its turn and a connection that is ready.
    ///
    /// # Errors
    /// [`QmpError`] if there is none to be had.
    pub async fn session(&self) -> Result<Session<'_>, QmpError> {
        let mut link = self.link.lock().await;
        if link
            .as_ref()
            .is_some_and(|link| link.in_flight || link.reader.is_finished())
        {
            *link = None;
        }
        let mut session = Session { qmp: self, link };
        match session.link.as_mut() {
            Some(link) => link.deleted.clear(),
            None => session.connect().await?,
        }
        Ok(session)
    }

    /// Waits until a connection that was made is lost, which is how the end of the server shows.
    /// One loss is told once, also if it came before the call.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Session<'_> {
    /// The process that serves this connection. It cannot have been replaced as long as
    /// commands of this session succeed.
    pub fn server(&self) -> Result<ServerProcess, QmpError> {
        match self.link.as_ref() {
            Some(link) => Ok(link.server),
            None => Err(QmpError::Lost {
                command: "the session",
            }),
        }
    }

    /// Carries out one command.
    ///
    /// # Errors
    /// [`QmpError::Refused`] is an answer; after any other error the connection is
    /// given up, and whether the command was carried out has to be looked up.
    pub async fn execute<T: DeserializeOwned>(
        &mut self,
        command: Command<'_>,
    ) -> Result<T, QmpError> {
        let name = command.name();
        let timeout = self.qmp.timeout;
        let lost = || QmpError::Lost { command: name };
        let link = self.link.as_mut().ok_or_else(lost)?;
        let outcome = tokio::time::timeout(timeout, link.exchange(command))
            .await
            .unwrap_or(Err(QmpError::Timeout {
                command: name,
                timeout,
            }));
        match outcome {
            Ok(value) => serde_json::from_value(value).map_err(|source| QmpError::Protocol {
                command: name,
                source,
            }),
            Err(refused @ QmpError::Refused { .. }) => Err(refused),
            Err(error) => {
                *self.link = None;
                Err(error)
            }
        }
    }

    /// Waits until the server says that an export is completely gone, for at most `wait`. False
    /// means that it did not say so: look.
    pub async fn deleted(&mut self, export: &str, wait: Duration) -> bool {
        let Some(link) = self.link.as_mut() else {
            return false;
        };
        let heard = async {
            while !link.deleted.contains(export) {
                match link.messages.recv().await {
                    Some(message) => {
                        link.note(&message);
                    }
                    None => return false,
                }
            }
            true
        };
        tokio::time::timeout(wait, heard).await.unwrap_or(false)
    }

    /// A successful connect(2) proves nothing: the server listens before it has started
    /// up, and accepts a second client without ever serving it. Ready is who greets and answers.
    async fn connect(&mut self) -> Result<(), QmpError> {
        let path = &self.qmp.path;
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| QmpError::Connect {
                path: path.clone(),
                source,
            })?;
        let server = stream
            .peer_cred()
            .ok()
            .and_then(|peer| peer.pid())
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|&pid| pid != 0)
            .map(ServerProcess)
            .ok_or_else(|| QmpError::NoPeer { path: path.clone() })?;
        let (reader, writer) = stream.into_split();
        let (sender, mut messages) = mpsc::channel(MESSAGES_MAX);
        // Only the loss of a connection that was ready is news.
        let ready = Arc::new(AtomicBool::new(false));
        let (lost, was_ready) = (Arc::clone(&self.qmp.lost), Arc::clone(&ready));
        let reader = tokio::spawn(async move {
            read_messages(BufReader::new(reader), &sender).await;
            if was_ready.load(Ordering::Acquire) {
                lost.notify_one();
            }
        });
        let reader = AbortOnDropHandle::new(reader);
        match tokio::time::timeout(self.qmp.timeout, messages.recv()).await {
            Ok(Some(Message::Greeting { .. })) => {}
            Ok(_) | Err(_) => return Err(QmpError::NoGreeting { path: path.clone() }),
        }
        *self.link = Some(Link {
            writer,
            messages,
            deleted: BTreeSet::new(),
            next_id: 0,
            in_flight: false,
            server,
            reader,
        });
        let _: command::Done = self.execute(Command::QmpCapabilities).await?;
        let version: Version = self.execute(Command::QueryVersion).await?;
        ready.store(true, Ordering::Release);
        tracing::info!(
            server.pid = server.pid(),
            server.version = %version,
            "connected to qemu-storage-daemon {version}, process {}",
            server.pid()
        );
        Ok(())
    }
}

impl Link {
    async fn exchange(&mut self, command: Command<'_>) -> Result<serde_json::Value, QmpError> {
        let name = command.name();
        let lost = || QmpError::Lost { command: name };
        let id = self.next_id;
        self.next_id += 1;
        let mut line = serde_json::to_vec(&Request { command, id })
            .expect("a command is made of strings, numbers and booleans");
        line.push(b'\n');
        self.in_flight = true;
        self.writer.write_all(&line).await.map_err(|_| lost())?;
        loop {
            // Events may come before the reply to the command that caused them.
            match self.messages.recv().await.ok_or_else(lost)? {
                Message::Return { id: of, value } if of == id => {
                    self.in_flight = false;
                    return Ok(value);
                }
                Message::Error { id: of, error } if of == Some(id) => {
                    self.in_flight = false;
                    return Err(QmpError::Refused {
                        command: name,
                        text: error.desc,
                    });
                }
                message if self.note(&message) => {}
                // A reply to something that was not asked: we lost count.
                _ => return Err(lost()),
            }
        }
    }

    /// Takes note of an event; false if it is none.
    fn note(&mut self, message: &Message) -> bool {
        let Message::Event { event, data } = message else {
            return false;
        };
        if event == "BLOCK_EXPORT_DELETED"
            && let Some(id) = data.get("id").and_then(|id| id.as_str())
        {
            self.deleted.insert(id.to_owned());
        }
        true
    }
}

/// Reads messages until the connection ends, or something else than a message comes.
async fn read_messages(mut reader: impl AsyncBufRead + Unpin, messages: &mpsc::Sender<Message>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE_MAX);
        match limited.read_until(b'\n', &mut line).await {
            Ok(_) if line.last() == Some(&b'\n') => {}
            Ok(_) | Err(_) => return,
        }
        let Ok(message) = serde_json::from_slice(&line) else {
            return;
        };
        match message {
            // Nobody may be reading now, so an event must not stop us from noticing the end.
            Message::Event { .. } => {
                let _ = messages.try_send(message);
            }
            Message::Greeting { .. } | Message::Return { .. } | Message::Error { .. } => {
                if messages.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
