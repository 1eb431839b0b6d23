//! The socket for the driver of a real hypervisor: one at a time, the newest.
//!
//! The simulator listens, so that a driver can come later, go and come again; what it missed it
//! learns from the first lines. What is said is in [`crate::sim::hypervisor`].

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::sim::hypervisor::{Heard, LINE_BYTES_MAX, Session, hello};

use super::{Shared, SimError, pause};

/// How long to wait after a connection that could not be taken, say for want of descriptors.
const REST: Duration = Duration::from_secs(1);

/// A socket in the file system. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens; a socket that nobody listens on any more is replaced. Only its owner can use it.
    pub(super) fn bind(path: &Path) -> Result<Self, SimError> {
        let failed = |source| SimError::Hypervisor {
            path: path.to_owned(),
            source,
        };
        if is_left_over(path) {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let socket = Self {
            listener: UnixListener::bind(path).map_err(failed)?,
            path: path.to_owned(),
        };
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, owner_only).map_err(failed)?;
        Ok(socket)
    }

    async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a hypervisor's driver could not connect"
                    );
                    pause(REST).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether there is a socket to which nobody listens.
fn is_left_over(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Talks with one driver after the other. Safe to end at any await: an order that was not
/// answered is told again to the next driver.
pub(super) async fn serve(shared: Arc<Shared>, socket: Socket, stop: CancellationToken) {
    let mut next = None;
    loop {
        let stream = match next.take() {
            Some(stream) => stream,
            None => tokio::select! {
                () = stop.cancelled() => return,
                stream = socket.accept() => stream,
            },
        };
        tracing::info!("a hypervisor's driver has connected");
        tokio::select! {
            () = stop.cancelled() => return,
            ended = converse(&shared, stream) => match ended {
                Ok(()) => tracing::info!("the hypervisor's driver has gone"),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the hypervisor's driver was lost"
                ),
            },
            newer = socket.accept() => {
                tracing::info!("another driver takes the place of the hypervisor's");
                next = Some(newer);
            }
        }
    }
}

/// Talks with a driver until it goes. What is to be said is found out when it can be said, so
/// that a driver that does not read holds nothing up but itself.
async fn converse(shared: &Shared, mut stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = Lines::new(read);
    let (mut session, mut generation, mut said) = {
        let inner = shared.lock();
        let (session, state) = Session::begin(inner.front.world());
        let wait_ms = shared.hypervisor_wait_ms.unwrap_or_default();
        (session, inner.generation, vec![hello(wait_ms), state])
    };
    loop {
        {
            let inner = shared.lock();
            let world = inner.front.world();
            if generation != inner.generation {
                generation = inner.generation;
                said.push(session.begin_again(world));
            }
            said.extend(session.due(world));
        }
        for line in said.drain(..) {
            write.write_all(line.as_bytes()).await?;
            write.write_all(b"\n").await?;
        }
        tokio::select! {
            () = shared.told.notified() => {}
            line = lines.next() => match line? {
                None => return Ok(()),
                Some(line) => said.extend(hear(shared, &mut session, line.as_deref())),
            },
        }
    }
}

/// Takes a line of the driver; `None`: one that was too long. What is wrong with it is the answer.
fn hear(shared: &Shared, session: &mut Session, line: Option<&[u8]>) -> Option<String> {
    let heard = match line {
        Some(line) => session.hear(line),
        None => Err(session.hear_too_long()),
    };
    match heard {
        Ok(Heard::Order(no, answer)) => {
            let answer = answer.as_ref().map_err(String::as_str).copied();
            if let Err(text) = answer {
                tracing::warn!(order.no = %no, reason = text, "the hypervisor could not do it");
            }
            let awaited = shared.with(|front| front.world_mut().answer_order(no, answer));
            match awaited {
                Ok(true) => {}
                Ok(false) => tracing::info!(
                    order.no = %no,
                    "the hypervisor's answer came when nobody waited for it any more"
                ),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the simulated guest could not be shown"
                ),
            }
            None
        }
        Ok(Heard::Differs(text)) => {
            tracing::warn!(
                reason = text,
                "the hypervisor differs from the simulated world"
            );
            None
        }
        Ok(Heard::Noted | Heard::Nothing) => None,
        Err(complaint) => Some(complaint.to_line()),
    }
}

/// Lines of limited length.
struct Lines<R> {
    reader: BufReader<R>,
    begun: Vec<u8>,
    too_long: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: R) -> Self {
        Self {
            reader: BufReader::new(reader),
            begun: Vec::new(),
            too_long: false,
        }
    }

    /// The next line, or `Some(None)` for one that is too long; `None` at the end, before which a
    /// line that is not ended is none. Safe to end at its only await: nothing is taken before.
    async fn next(&mut self) -> io::Result<Option<Option<Vec<u8>>>> {
        loop {
            let bytes = self.reader.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            self.too_long |= self.begun.len() + part.len() > LINE_BYTES_MAX;
            if self.too_long {
                self.begun.clear();
            } else {
                self.begun.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                let line = std::mem::take(&mut self.begun);
                let too_long = std::mem::take(&mut self.too_long);
                return Ok(Some((!too_long).then_some(line)));
            }
        }
    }
}
