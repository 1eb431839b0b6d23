//! Bytes of the negotiation phase. Pure: parses what was read, makes what is sent.

use super::{Refusal, RefusalReason};
use crate::model::{ByteSize, ExportName};

/// `NBDMAGIC`.
const MAGIC: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`.
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// What an oldstyle server sends in its place.
const OLDSTYLE_MAGIC: u64 = 0x0000_4202_8186_1253;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;

/// `NBD_FLAG_FIXED_NEWSTYLE`, and the client's answer to it.
const FIXED_NEWSTYLE: u16 = 1;
/// `NBD_FLAG_NO_ZEROES`, and the client's answer to it.
const NO_ZEROES: u16 = 2;

/// `NBD_OPT_ABORT`.
pub(super) const ABORT: u32 = 2;
/// `NBD_OPT_LIST`.
pub(super) const LIST: u32 = 3;
/// `NBD_OPT_INFO`.
pub(super) const INFO: u32 = 6;
/// `NBD_OPT_GO`.
pub(super) const GO: u32 = 7;

/// `NBD_REP_ACK`.
const REP_ACK: u32 = 1;
/// `NBD_REP_SERVER`.
const REP_SERVER: u32 = 2;
/// `NBD_REP_INFO`.
const REP_INFO: u32 = 3;
/// Set in every reply that is an error.
const REP_ERROR: u32 = 1 << 31;

/// `NBD_INFO_EXPORT`.
const INFO_EXPORT: u16 = 0;
/// `NBD_INFO_NAME`.
const INFO_NAME: u16 = 1;
/// `NBD_INFO_DESCRIPTION`.
const INFO_DESCRIPTION: u16 = 2;
/// `NBD_INFO_BLOCK_SIZE`.
const INFO_BLOCK_SIZE: u16 = 3;

/// `NBD_FLAG_HAS_FLAGS`.
const HAS_FLAGS: u16 = 1;
/// `NBD_FLAG_READ_ONLY`.
const READ_ONLY: u16 = 2;

/// `NBD_CMD_DISC`.
const CMD_DISC: u16 = 2;

/// How a server broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(super) &'static str);

/// The fixed part of a reply to an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: u32,
    pub length: u32,
}

/// One reply to `NBD_OPT_LIST`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListEntry {
    /// The name of an export: any bytes.
    Export(Vec<u8>),
    End,
    Refused(Refusal),
}

/// One reply to `NBD_OPT_INFO` or `NBD_OPT_GO`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Info {
    Export {
        size: ByteSize,
        read_only: bool,
    },
    Description(String),
    /// Known but not needed, or unknown, which a client must ignore.
    Other,
    End,
    Refused(Refusal),
}

/// Reads the server's greeting and gives the client flags to answer with.
pub(super) fn greeting(bytes: &[u8; 18]) -> Result<u32, Malformed> {
    let mut input = Input(bytes);
    if input.u64()? != MAGIC {
        return Err(Malformed("it does not greet as an NBD server"));
    }
    match input.u64()? {
        OPTION_MAGIC => {}
        OLDSTYLE_MAGIC => return Err(Malformed("it speaks the oldstyle negotiation only")),
        _ => return Err(Malformed("it does not greet as an NBD server")),
    }
    let flags = input.u16()?;
    if flags & FIXED_NEWSTYLE == 0 {
        return Err(Malformed(
            "it does not speak the fixed newstyle negotiation",
        ));
    }
    // A client must not set a flag that the server did not.
    Ok(u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES)))
}

/// Reads the fixed part of a reply to `option`.
pub(super) fn header(bytes: &[u8; 20], option: u32) -> Result<Header, Malformed> {
    let mut input = Input(bytes);
    if input.u64()? != REPLY_MAGIC {
        return Err(Malformed("a reply does not start as one"));
    }
    if input.u32()? != option {
        return Err(Malformed("a reply to another option than was sent"));
    }
    Ok(Header {
        kind: input.u32()?,
        length: input.u32()?,
    })
}

/// Reads a reply to `NBD_OPT_LIST`.
pub(super) fn list_entry(header: &Header, payload: &[u8]) -> Result<ListEntry, Malformed> {
    match header.kind {
        REP_SERVER => {
            let mut input = Input(payload);
            let length = input.u32()?;
            // What follows the name is for people.
            Ok(ListEntry::Export(input.take(length)?.to_vec()))
        }
        REP_ACK => Ok(ListEntry::End),
        kind if kind & REP_ERROR != 0 => Ok(ListEntry::Refused(refusal(kind, payload))),
        _ => Err(Malformed("a reply to NBD_OPT_LIST that is none")),
    }
}

/// Reads a reply to `NBD_OPT_INFO` or `NBD_OPT_GO`.
pub(super) fn info(header: &Header, payload: &[u8]) -> Result<Info, Malformed> {
    match header.kind {
        REP_INFO => info_payload(payload),
        REP_ACK => Ok(Info::End),
        kind if kind & REP_ERROR != 0 => Ok(Info::Refused(refusal(kind, payload))),
        _ => Err(Malformed("a reply to NBD_OPT_INFO that is none")),
    }
}

fn info_payload(payload: &[u8]) -> Result<Info, Malformed> {
    let mut input = Input(payload);
    match input.u16()? {
        INFO_EXPORT => {
            let size = ByteSize::bytes(input.u64()?);
            let flags = input.u16()?;
            if !input.0.is_empty() {
                return Err(Malformed("NBD_INFO_EXPORT of another length"));
            }
            if flags & HAS_FLAGS == 0 {
                return Err(Malformed("transmission flags without NBD_FLAG_HAS_FLAGS"));
            }
            Ok(Info::Export {
                size,
                read_only: flags & READ_ONLY != 0,
            })
        }
        INFO_DESCRIPTION => Ok(Info::Description(
            String::from_utf8_lossy(input.0).into_owned(),
        )),
        _ => Ok(Info::Other),
    }
}

fn refusal(kind: u32, payload: &[u8]) -> Refusal {
    let reason = match kind & !REP_ERROR {
        1 => RefusalReason::Unsupported,
        2 => RefusalReason::Policy,
        3 => RefusalReason::Invalid,
        4 => RefusalReason::Platform,
        5 => RefusalReason::TlsRequired,
        6 => RefusalReason::Unknown,
        7 => RefusalReason::Shutdown,
        8 => RefusalReason::BlockSizeRequired,
        9 => RefusalReason::TooBig,
        _ => RefusalReason::Other(kind),
    };
    Refusal {
        reason,
        message: String::from_utf8_lossy(payload).into_owned(),
    }
}

/// Makes an option request.
pub(super) fn option(code: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + data.len());
    bytes.extend(OPTION_MAGIC.to_be_bytes());
    bytes.extend(code.to_be_bytes());
    bytes.extend(length(data));
    bytes.extend(data);
    bytes
}

/// Makes the data of `NBD_OPT_INFO` and `NBD_OPT_GO`.
///
/// The block size is asked for because QEMU refuses to describe an export with `cache.direct` to a
/// client that does not (`NBD_REP_ERR_BLOCK_SIZE_REQD`).
pub(super) fn info_request(name: &ExportName) -> Vec<u8> {
    let name = name.as_str().as_bytes();
    let mut data = Vec::with_capacity(name.len() + 12);
    data.extend(length(name));
    data.extend(name);
    data.extend(3_u16.to_be_bytes());
    for kind in [INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE] {
        data.extend(kind.to_be_bytes());
    }
    data
}

/// Makes the request that ends the transmission phase ("Request message").
pub(super) fn disconnect() -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
    bytes[6..8].copy_from_slice(&CMD_DISC.to_be_bytes());
    bytes
}

/// Makes a request to read.
#[cfg(test)]
pub(super) fn read(offset: u64, length: u32) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
    bytes[16..24].copy_from_slice(&offset.to_be_bytes());
    bytes[24..].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn length(of: &[u8]) -> [u8; 4] {
    u32::try_from(of.len())
        .expect("names have at most 255 bytes")
        .to_be_bytes()
}

/// What is left of a reply.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: u32) -> Result<&'a [u8], Malformed> {
        let short = Malformed("a reply is shorter than it says");
        let length = usize::try_from(length).map_err(|_| short)?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(short)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let short = Malformed("a reply is shorter than it says");
        let (head, rest) = self.0.split_first_chunk().ok_or(short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }
}
