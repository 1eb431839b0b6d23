//! An NBD client that reads and writes, of the simplest kind; nothing of the daemon's own.
//!
//! Source: the protocol document of the Network Block Device project, `doc/proto.md`.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use volume_daemon::clock;

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const FLAG_READ_ONLY: u16 = 2;
const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISC: u16 = 2;
const CMD_FLUSH: u16 = 3;

/// How much is read or written at a time.
pub const BLOCK: usize = 4096;

/// A connection to one export.
pub struct Client {
    stream: BufStream<UnixStream>,
    pub size: u64,
    pub read_only: bool,
    cookie: u64,
}

impl Client {
    /// Opens an export; an error if it is not served.
    pub async fn connect(socket: &Path, export: &str) -> Result<Self> {
        let mut stream = BufStream::new(UnixStream::connect(socket).await?);
        expect(stream.read_u64().await?, NBDMAGIC)?;
        expect(stream.read_u64().await?, IHAVEOPT)?;
        let _flags = stream.read_u16().await?;
        // Fixed newstyle, no zeroes.
        stream.write_u32(3).await?;
        let length = u32::try_from(export.len()).expect("export names are short");
        stream.write_u64(IHAVEOPT).await?;
        stream.write_u32(OPT_GO).await?;
        stream.write_u32(4 + length + 2).await?;
        stream.write_u32(length).await?;
        stream.write_all(export.as_bytes()).await?;
        stream.write_u16(0).await?;
        stream.flush().await?;
        let mut client = Self {
            stream,
            size: 0,
            read_only: false,
            cookie: 0,
        };
        client.negotiate(export).await?;
        Ok(client)
    }

    async fn negotiate(&mut self, export: &str) -> Result<()> {
        loop {
            expect(self.stream.read_u64().await?, REPLY_MAGIC)?;
            let _option = self.stream.read_u32().await?;
            let kind = self.stream.read_u32().await?;
            let length = self.stream.read_u32().await?;
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await?;
            match (kind, payload.as_slice()) {
                (REP_ACK, _) => return Ok(()),
                (REP_INFO, [0, 0, info @ ..]) if info.len() == 10 => {
                    let (size, flags) = info.split_at(8);
                    self.size = u64::from_be_bytes(size.try_into().expect("8 bytes"));
                    let flags = u16::from_be_bytes(flags.try_into().expect("2 bytes"));
                    self.read_only = flags & FLAG_READ_ONLY != 0;
                }
                (REP_INFO, _) => {}
                (error, _) => {
                    return Err(Error::other(format!("{export} is refused: {error:#x}")));
                }
            }
        }
    }

    /// Reads one block.
    pub async fn read(&mut self, offset: u64) -> Result<Vec<u8>> {
        self.request(CMD_READ, offset, BLOCK).await?;
        self.reply().await?;
        let mut data = vec![0; BLOCK];
        self.stream.read_exact(&mut data).await?;
        Ok(data)
    }

    /// Writes one block.
    pub async fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.request(CMD_WRITE, offset, data.len()).await?;
        self.stream.write_all(data).await?;
        self.reply().await
    }

    /// Waits until everything written is on the disk.
    pub async fn flush(&mut self) -> Result<()> {
        self.request(CMD_FLUSH, 0, 0).await?;
        self.reply().await
    }

    /// Takes leave.
    pub async fn leave(mut self) {
        // Whoever is gone already need not be told.
        let _ = self.request(CMD_DISC, 0, 0).await;
        let _ = self.stream.flush().await;
        let _ = self.stream.shutdown().await;
    }

    async fn request(&mut self, command: u16, offset: u64, length: usize) -> Result<()> {
        self.cookie += 1;
        self.stream.write_u32(REQUEST_MAGIC).await?;
        self.stream.write_u16(0).await?;
        self.stream.write_u16(command).await?;
        self.stream.write_u64(self.cookie).await?;
        self.stream.write_u64(offset).await?;
        let length = u32::try_from(length).expect("blocks are small");
        self.stream.write_u32(length).await
    }

    async fn reply(&mut self) -> Result<()> {
        self.stream.flush().await?;
        expect(self.stream.read_u32().await?, SIMPLE_REPLY_MAGIC)?;
        let error = self.stream.read_u32().await?;
        expect(self.stream.read_u64().await?, self.cookie)?;
        match error {
            0 => Ok(()),
            error => Err(Error::from_raw_os_error(
                i32::try_from(error).expect("NBD errors are errno values"),
            )),
        }
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::other(format!("{found:?} instead of {wanted:?}")))
}

/// Where each volume carries its mark: begin, middle and end of 1 GiB.
const MARKED: [u64; 3] = [0, (512 << 20) + 8192, (1 << 30) - BLOCK as u64];

/// What is written at `offset` of the volume `name`: its name, again and again.
fn mark(name: &str, offset: u64) -> Vec<u8> {
    let text = format!("{name}@{offset:012} ");
    text.bytes().cycle().take(BLOCK).collect()
}

/// Writes the mark of `name`.
pub async fn write_marks(socket: &Path, export: &str, name: &str) {
    let mut client = Client::connect(socket, export).await.expect(export);
    for offset in MARKED {
        let written = client.write(offset, &mark(name, offset)).await;
        written.unwrap_or_else(|error| panic!("{name} at {offset}: {error}"));
    }
    client.flush().await.expect("flushed");
    client.leave().await;
}

/// Asserts that `export` shows the mark of `name` and nobody else's.
pub async fn check_marks(socket: &Path, export: &str, name: &str) {
    let mut client = Client::connect(socket, export).await.expect(export);
    for offset in MARKED {
        let data = client.read(offset).await.expect("readable");
        assert!(
            data == mark(name, offset),
            "{export} shows other data than that of {name}"
        );
    }
    client.leave().await;
}

/// A client that reads the mark of its volume over and over, until it is told to leave.
pub struct Steady {
    task: JoinHandle<Result<()>>,
    leave: CancellationToken,
    reads: Arc<AtomicU64>,
}

impl Steady {
    /// Connects, and begins.
    pub async fn connect(socket: &Path, export: &str, name: &str) -> Self {
        let mut client = Client::connect(socket, export).await.expect(export);
        let leave = CancellationToken::new();
        let reads = Arc::new(AtomicU64::new(0));
        let (left, counter, name) = (leave.clone(), Arc::clone(&reads), name.to_owned());
        let task = tokio::spawn(async move {
            while !left.is_cancelled() {
                for offset in MARKED {
                    let data = client.read(offset).await?;
                    if data != mark(&name, offset) {
                        return Err(Error::other("other data than its own"));
                    }
                }
                counter.fetch_add(1, Ordering::Relaxed);
                clock::sleep(Duration::from_millis(5)).await;
            }
            client.leave().await;
            Ok(())
        });
        Self { task, leave, reads }
    }

    /// Asserts that it is connected and still reads its own data.
    pub async fn reads_on(&self) {
        let so_far = self.reads.load(Ordering::Relaxed);
        // Two more rounds, so that one of them was begun after the call.
        while self.reads.load(Ordering::Relaxed) < so_far + 2 {
            assert!(!self.task.is_finished(), "the client was cut off");
            clock::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Leaves, and asserts that it was never disturbed.
    pub async fn leave(self) {
        self.leave.cancel();
        let ended = self.task.await.expect("no panic");
        ended.expect("never disturbed");
    }

    /// Waits until the server cuts it off, and asserts that it never saw another disk's data.
    pub async fn cut_off(self) {
        let error = self.task.await.expect("no panic").expect_err("cut off");
        let is_cut = matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        );
        assert!(is_cut, "it was not just cut off: {error}");
    }
}
