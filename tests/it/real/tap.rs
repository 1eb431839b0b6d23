//! A proxy in front of CloudStack: writes down what passes, and holds a request or its answer back
//! for as long as a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// At which moment of the next call of a command to hold on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It was sent, and CloudStack has not seen it.
    Request(&'static str),
    /// CloudStack answered, and the answer has not arrived.
    Answer(&'static str),
    /// The same of any call that changes something.
    AnyRequest,
    AnyAnswer,
}

#[derive(Debug, Default)]
struct State {
    passed: Mutex<Vec<String>>,
    hold: Mutex<Option<Moment>>,
    held: Notify,
    released: Notify,
}

/// The proxy.
#[derive(Debug)]
pub struct Tap {
    pub address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl Tap {
    /// Passes on to `server`.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // Whichever side ends the connection ends both.
                    let _ = connection(client, server, &state).await;
                });
            }
        });
        Self {
            address,
            state,
            server,
        }
    }

    /// How often CloudStack was sent this command.
    pub fn count(&self, command: &str) -> usize {
        let passed = self.state.passed();
        passed.iter().filter(|passed| *passed == command).count()
    }

    /// Every mutating command that CloudStack was sent.
    pub fn mutations(&self) -> Vec<String> {
        let passed = self.state.passed();
        passed
            .iter()
            .filter(|command| is_mutation(command))
            .cloned()
            .collect()
    }

    /// Holds on at the next such moment, once.
    pub fn hold(&self, at: Moment) {
        *self.state.hold.lock().expect("no holder panics") = Some(at);
    }

    /// Waits until it holds on. That connection goes on when it is released, if ever.
    pub async fn held(&self) {
        self.state.held.notified().await;
    }

    /// The same, for at most so long: after that it holds on no more. Whether it holds on.
    pub async fn holds_within(&self, limit: Duration) -> bool {
        let is_told = timeout(limit, self.held()).await.is_ok();
        // It may have begun just now.
        let is_held = !self.state.takes(|_| true);
        if is_held && !is_told {
            self.held().await;
        }
        is_held
    }

    /// Lets what is held go on.
    pub fn release(&self) {
        self.state.released.notify_one();
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    async fn moment(&self, is_now: impl FnOnce(&mut Moment) -> bool) {
        if self.takes(is_now) {
            self.held.notify_one();
            self.released.notified().await;
        }
    }

    fn takes(&self, is_now: impl FnOnce(&mut Moment) -> bool) -> bool {
        let mut hold = self.hold.lock().expect("no holder panics");
        hold.take_if(is_now).is_some()
    }

    fn passed(&self) -> MutexGuard<'_, Vec<String>> {
        self.passed.lock().expect("no holder panics")
    }
}

async fn connection(client: TcpStream, server: SocketAddr, state: &State) -> std::io::Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
    let (mut from_client, mut from_server) =
        (BufReader::new(from_client), BufReader::new(from_server));
    loop {
        let request = message(&mut from_client).await?;
        let command = command(&request);
        state
            .moment(|at| match at {
                Moment::Request(held) => *held == command,
                Moment::AnyRequest => is_mutation(&command),
                Moment::Answer(_) | Moment::AnyAnswer => false,
            })
            .await;
        state.passed().push(command.clone());
        to_server.write_all(&request).await?;
        let answer = message(&mut from_server).await?;
        state
            .moment(|at| match at {
                Moment::Answer(held) => *held == command,
                Moment::AnyAnswer => is_mutation(&command),
                Moment::Request(_) | Moment::AnyRequest => false,
            })
            .await;
        to_client.write_all(&answer).await?;
    }
}

fn is_mutation(command: &str) -> bool {
    !command.starts_with("list") && !command.starts_with("query")
}

/// Reads one HTTP/1.1 request or answer with a `Content-Length`, or without a body.
async fn message(from: &mut BufReader<OwnedReadHalf>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut length = 0;
    loop {
        let begin = bytes.len();
        if from.read_until(b'\n', &mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&bytes[begin..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let head = bytes.len();
    bytes.resize(head + length, 0);
    from.read_exact(&mut bytes[head..]).await?;
    Ok(bytes)
}

fn command(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    text.split(['?', '&', '\n', ' '])
        .find_map(|part| part.strip_prefix("command="))
        .unwrap_or_default()
        .to_owned()
}
