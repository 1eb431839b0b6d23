//! The negotiation phase of the NBD protocol, as a client: what a server offers.
//!
//! Owns the wire format up to transmission; never reads or writes a byte of data. Everything
//! comes from a peer that may be broken or hostile: each length, count and wait has a limit.
//!
//! Source: the protocol document of the Network Block Device project, `doc/proto.md`; section
//! names in quotes below are from there.

mod wire;

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split,
};
use tokio::net::{TcpStream, UnixStream};

use super::NbdAddress;
use crate::model::{ByteSize, ExportName};
use wire::{Header, Info, ListEntry, option};

pub use wire::Malformed;

/// Longest reply that is read. Strings have at most 4096 bytes ("Values"), and no reply that we
/// ask for carries more than two.
const REPLY_MAX: u32 = 16 << 10;
/// Most exports that are read of one server; ten times what was ever tried.
const NAMES_MAX: usize = 10_000;
/// Most replies to one request for information; the document defines four.
const INFO_REPLIES_MAX: usize = 16;
/// Most bytes read in one negotiation: [`NAMES_MAX`] exports with ordinary names.
const READ_MAX: usize = 16 << 20;

/// One export as the server describes it to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportInfo {
    /// How many bytes a client may address.
    pub size: ByteSize,
    /// Whether clients may only read.
    pub read_only: bool,
    /// What its owner noted about it.
    pub description: Option<String>,
}

/// What a server offers under names that we could have given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    /// The exports in the order of the list, each as described or refused.
    pub exports: Vec<(ExportName, Result<ExportInfo, Refusal>)>,
    /// How many others it lists under names that are not ours.
    pub others: usize,
}

/// A server's "no" to one request ("Option reply types").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message:?}")]
pub struct Refusal {
    /// Why, by the protocol.
    pub reason: RefusalReason,
    /// The server's words.
    pub message: String,
}

/// The protocol's reasons to refuse ("Option reply types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// The option is not supported.
    Unsupported,
    /// Forbidden by the server's configuration; nbd-server also says so when it cannot open the
    /// device.
    Policy,
    /// The request was malformed.
    Invalid,
    /// Not supported on this platform.
    Platform,
    /// TLS must be started first.
    TlsRequired,
    /// There is no such export.
    Unknown,
    /// The server is shutting down.
    Shutdown,
    /// The client must be able to handle the server's block size.
    BlockSizeRequired,
    /// The request was too large.
    TooBig,
    /// Anything that later versions of the protocol add.
    Other(u32),
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "not supported by the server",
            Self::Policy => "forbidden by the server's configuration",
            Self::Invalid => "called invalid by the server",
            Self::Platform => "not supported on the server's platform",
            Self::TlsRequired => "the server requires TLS",
            Self::Unknown => "no such export",
            Self::Shutdown => "the server is shutting down",
            Self::BlockSizeRequired => "the server requires its block size to be asked for",
            Self::TooBig => "too large for the server",
            Self::Other(code) => return write!(f, "refused with {code:#x}"),
        })
    }
}

/// Why it is not known what an NBD server offers.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Nothing listens there, or not for us.
    #[error("cannot connect to the NBD server at {address}")]
    Connect {
        /// Where.
        address: NbdAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The negotiation did not end in time.
    #[error("the NBD server at {address} did not finish the negotiation within {timeout:?}")]
    Timeout {
        /// Where.
        address: NbdAddress,
        /// How long it was given.
        timeout: Duration,
    },
    /// The connection broke.
    #[error("the NBD server closed the connection during the negotiation")]
    Lost(#[source] io::Error),
    /// What came is not the protocol.
    #[error("the NBD server does not keep to the protocol")]
    Malformed(#[source] Malformed),
    /// More came than is read.
    #[error("the NBD server sent more than {limit} {of}")]
    TooMuch {
        /// The limit.
        limit: usize,
        /// Of what.
        of: &'static str,
    },
    /// It will not do what was asked for.
    #[error("the NBD server refused {request}")]
    Refused {
        /// What was asked for.
        request: &'static str,
        /// Its answer.
        #[source]
        refusal: Refusal,
    },
}

/// Asks a server on a new connection what it offers: all names, then size, flags and description
/// of each, which takes two round trips however many there are.
///
/// True only of servers that answer `NBD_OPT_INFO` truthfully; nbd-server does not (it reports
/// size 0), so ask that one with [`go`].
///
/// # Errors
/// [`HandshakeError`]; a refusal of a single export is part of the answer instead.
pub async fn survey(address: &NbdAddress, timeout: Duration) -> Result<Offer, HandshakeError> {
    within(address, timeout, async {
        let mut client = Client::connect(address).await?;
        let listed = client.list().await?;
        let total = listed.len();
        let names: Vec<ExportName> = listed
            .into_iter()
            .filter_map(|name| str::from_utf8(&name).ok()?.parse().ok())
            .collect();
        let others = total - names.len();
        let infos = client.info(&names).await?;
        client.abort().await;
        Ok(Offer {
            exports: names.into_iter().zip(infos).collect(),
            others,
        })
    })
    .await
}

/// Asks a server on a new connection about one export, without using it.
///
/// # Errors
/// [`HandshakeError`]; a refusal is part of the answer instead.
pub async fn info(
    address: &NbdAddress,
    name: &ExportName,
    timeout: Duration,
) -> Result<Result<ExportInfo, Refusal>, HandshakeError> {
    within(address, timeout, async {
        let mut client = Client::connect(address).await?;
        let info = client.info(std::slice::from_ref(name)).await?.pop();
        client.abort().await;
        info.ok_or(HandshakeError::Malformed(Malformed("no answer")))
    })
    .await
}

/// Opens an export as a client that is going to use it. It counts as in use until the result is
/// closed or dropped.
///
/// # Errors
/// [`HandshakeError`]; a refusal is part of the answer instead.
pub async fn go(
    address: &NbdAddress,
    name: &ExportName,
    timeout: Duration,
) -> Result<Result<Connected, Refusal>, HandshakeError> {
    within(address, timeout, async {
        let mut client = Client::connect(address).await?;
        client.send(wire::GO, &wire::info_request(name)).await?;
        Ok(client
            .info_replies(wire::GO)
            .await?
            .map(|info| Connected { info, client }))
    })
    .await
}

/// An export that is open for use.
#[derive(Debug)]
pub struct Connected {
    info: ExportInfo,
    client: Client,
}

impl Connected {
    /// What the server said of the export.
    pub fn info(&self) -> &ExportInfo {
        &self.info
    }

    /// Takes leave: `NBD_CMD_DISC` ("Terminating the transmission phase").
    pub async fn close(mut self) {
        // The server may be gone; then there is nobody to take leave of.
        let _ = self.client.writer.write_all(&wire::disconnect()).await;
        let _ = self.client.writer.shutdown().await;
    }

    /// Asks for the first 512 bytes, without waiting for them.
    #[cfg(test)]
    pub(super) async fn start_read(&mut self) {
        let request = wire::read(0, 512);
        self.client
            .writer
            .write_all(&request)
            .await
            .expect("a server");
    }

    /// Waits until the server ends the connection.
    #[cfg(test)]
    pub(super) async fn closed(&mut self) {
        let mut byte = [0; 1];
        // A server sends nothing unasked, so whatever ends this read ends the connection.
        let _ = self.client.reader.read(&mut byte).await;
    }
}

async fn within<T>(
    address: &NbdAddress,
    timeout: Duration,
    work: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or_else(|_| {
            Err(HandshakeError::Timeout {
                address: address.clone(),
                timeout,
            })
        })
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Client {
    reader: BufReader<ReadHalf<Box<dyn Stream>>>,
    writer: WriteHalf<Box<dyn Stream>>,
    /// Bytes that may still be read.
    left: usize,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    async fn connect(address: &NbdAddress) -> Result<Self, HandshakeError> {
        let failed = |source| HandshakeError::Connect {
            address: address.clone(),
            source,
        };
        let stream: Box<dyn Stream> = match address {
            NbdAddress::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(failed)?),
            NbdAddress::Tcp(address) => {
                Box::new(TcpStream::connect(address).await.map_err(failed)?)
            }
        };
        Self::over(stream).await
    }

    /// Exchanges greetings ("Newstyle negotiation").
    async fn over(stream: Box<dyn Stream>) -> Result<Self, HandshakeError> {
        let (reader, writer) = split(stream);
        let mut client = Self {
            reader: BufReader::new(reader),
            writer,
            left: READ_MAX,
        };
        let greeting = client.read_array().await?;
        let flags = wire::greeting(&greeting).map_err(HandshakeError::Malformed)?;
        client.write(&flags.to_be_bytes()).await?;
        Ok(client)
    }

    /// The names of all exports (`NBD_OPT_LIST`).
    async fn list(&mut self) -> Result<Vec<Vec<u8>>, HandshakeError> {
        self.send(wire::LIST, &[]).await?;
        let mut names = Vec::new();
        loop {
            let (header, payload) = self.reply(wire::LIST).await?;
            match wire::list_entry(&header, &payload).map_err(HandshakeError::Malformed)? {
                ListEntry::Export(_) if names.len() == NAMES_MAX => {
                    return Err(HandshakeError::TooMuch {
                        limit: NAMES_MAX,
                        of: "export names",
                    });
                }
                ListEntry::Export(name) => names.push(name),
                ListEntry::End => return Ok(names),
                ListEntry::Refused(refusal) => {
                    return Err(HandshakeError::Refused {
                        request: "to list its exports",
                        refusal,
                    });
                }
            }
        }
    }

    /// What there is to know about each of `names` (`NBD_OPT_INFO`), in that order.
    ///
    /// All requests are sent without waiting for answers: over TCP a round trip costs 40 ms,
    /// because the server's small writes meet Nagle's algorithm and delayed acknowledgements.
    /// Answers are read meanwhile, or both sides would wait with full buffers.
    async fn info(
        &mut self,
        names: &[ExportName],
    ) -> Result<Vec<Result<ExportInfo, Refusal>>, HandshakeError> {
        let requests: Vec<u8> = names
            .iter()
            .flat_map(|name| option(wire::INFO, &wire::info_request(name)))
            .collect();
        let Self {
            reader,
            writer,
            left,
        } = self;
        let write = async {
            writer
                .write_all(&requests)
                .await
                .map_err(HandshakeError::Lost)
        };
        let read = async {
            let mut infos = Vec::with_capacity(names.len());
            for _ in names {
                infos.push(info_replies(reader, left, wire::INFO).await?);
            }
            Ok(infos)
        };
        let ((), infos) = tokio::try_join!(write, read)?;
        Ok(infos)
    }

    async fn info_replies(
        &mut self,
        option: u32,
    ) -> Result<Result<ExportInfo, Refusal>, HandshakeError> {
        info_replies(&mut self.reader, &mut self.left, option).await
    }

    /// Takes leave (`NBD_OPT_ABORT`). The answer is not waited for, which the document allows.
    async fn abort(mut self) {
        let _ = self.send(wire::ABORT, &[]).await;
        let _ = self.writer.shutdown().await;
    }

    async fn send(&mut self, code: u32, data: &[u8]) -> Result<(), HandshakeError> {
        self.write(&option(code, data)).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        self.writer
            .write_all(bytes)
            .await
            .map_err(HandshakeError::Lost)
    }

    async fn read_array<const N: usize>(&mut self) -> Result<[u8; N], HandshakeError> {
        read_array(&mut self.reader, &mut self.left).await
    }

    async fn reply(&mut self, option: u32) -> Result<(Header, Vec<u8>), HandshakeError> {
        reply(&mut self.reader, &mut self.left, option).await
    }
}

/// Reads the answer to one `NBD_OPT_INFO` or `NBD_OPT_GO`: any number of pieces, then the end.
async fn info_replies(
    reader: &mut (impl AsyncRead + Unpin),
    left: &mut usize,
    option: u32,
) -> Result<Result<ExportInfo, Refusal>, HandshakeError> {
    let mut export = None;
    let mut description = None;
    for _ in 0..INFO_REPLIES_MAX {
        let (header, payload) = reply(reader, left, option).await?;
        match wire::info(&header, &payload).map_err(HandshakeError::Malformed)? {
            Info::Export { size, read_only } => export = Some((size, read_only)),
            Info::Description(text) => description = Some(text),
            Info::Other => {}
            Info::Refused(refusal) => return Ok(Err(refusal)),
            Info::End => {
                let (size, read_only) = export.ok_or(HandshakeError::Malformed(Malformed(
                    "an export without NBD_INFO_EXPORT",
                )))?;
                return Ok(Ok(ExportInfo {
                    size,
                    read_only,
                    description,
                }));
            }
        }
    }
    Err(HandshakeError::TooMuch {
        limit: INFO_REPLIES_MAX,
        of: "replies to one request",
    })
}

/// Reads one reply to `option`.
async fn reply(
    reader: &mut (impl AsyncRead + Unpin),
    left: &mut usize,
    option: u32,
) -> Result<(Header, Vec<u8>), HandshakeError> {
    let header = read_array(reader, left).await?;
    let header = wire::header(&header, option).map_err(HandshakeError::Malformed)?;
    if header.length > REPLY_MAX {
        return Err(HandshakeError::TooMuch {
            limit: REPLY_MAX as usize,
            of: "bytes in a reply",
        });
    }
    let mut payload = vec![0; header.length as usize];
    read_exact(reader, left, &mut payload).await?;
    Ok((header, payload))
}

async fn read_array<const N: usize>(
    reader: &mut (impl AsyncRead + Unpin),
    left: &mut usize,
) -> Result<[u8; N], HandshakeError> {
    let mut bytes = [0; N];
    read_exact(reader, left, &mut bytes).await?;
    Ok(bytes)
}

async fn read_exact(
    reader: &mut (impl AsyncRead + Unpin),
    left: &mut usize,
    bytes: &mut [u8],
) -> Result<(), HandshakeError> {
    *left = left
        .checked_sub(bytes.len())
        .ok_or(HandshakeError::TooMuch {
            limit: READ_MAX,
            of: "bytes in one negotiation",
        })?;
    reader
        .read_exact(bytes)
        .await
        .map(|_| ())
        .map_err(HandshakeError::Lost)
}

#[cfg(test)]
mod tests;
