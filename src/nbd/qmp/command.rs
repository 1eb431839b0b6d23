//! The commands we use, and their answers.
//!
//! Left out on purpose: `blockdev-reopen` (opens the path again, which may lead to another disk by
//! then), `nbd-server-stop` (never returns while a client is negotiating), iothreads (the server
//! aborts when a client leaves) and `auto-read-only` (opens the path again). All seen with 7.2.22.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One command and its arguments.
#[derive(Debug, Serialize)]
#[serde(
    tag = "execute",
    content = "arguments",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Command<'a> {
    /// Ends the negotiation; nothing else works before.
    #[serde(rename = "qmp_capabilities")]
    QmpCapabilities,
    /// Answers [`Version`].
    QueryVersion,
    /// Answers `Vec<`[`BlockExport`]`>`.
    QueryBlockExports,
    /// Answers `Vec<`[`BlockNode`]`>`.
    QueryNamedBlockNodes {
        /// Without the chain of backing files.
        flat: bool,
    },
    /// Opens a disk. No client can reach it yet.
    BlockdevAdd(BlockdevAdd<'a>),
    /// Closes a disk; refused while something uses it.
    BlockdevDel {
        /// Which.
        node_name: &'a str,
    },
    /// Offers a disk to clients.
    BlockExportAdd(BlockExportAdd<'a>),
    /// Stops offering it.
    BlockExportDel {
        /// Which.
        id: &'a str,
        /// Whether clients are cut off.
        mode: ExportRemoveMode,
    },
}

/// A command with its number.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    #[serde(flatten)]
    pub command: Command<'a>,
    pub id: u64,
}

/// Arguments of `blockdev-add`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevAdd<'a> {
    /// How the disk is accessed.
    pub driver: Driver,
    /// What it is called.
    pub node_name: &'a str,
    /// What to open.
    pub filename: &'a Path,
    /// Always explicit: then it is opened once, and never again.
    pub read_only: bool,
    /// How it is cached.
    pub cache: Cache,
    /// How requests are handed to the kernel.
    pub aio: Aio,
    /// What TRIM does.
    pub discard: Discard,
}

/// QEMU's drivers for things that the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// Regular files; refuses block devices.
    File,
    /// Block devices; refuses regular files.
    HostDevice,
}

/// Cache options of `blockdev-add`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cache {
    /// O_DIRECT: what a client has written is on the disk, not in our host's memory.
    pub direct: bool,
}

/// Ways to hand requests to the kernel.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aio {
    /// A pool of threads.
    Threads,
    /// Linux AIO; needs `cache.direct`.
    Native,
}

/// What TRIM does.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    /// It frees space.
    Unmap,
}

/// Arguments of `block-export-add` for NBD.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "nbd", rename_all = "kebab-case")]
pub struct BlockExportAdd<'a> {
    /// What the export is called inside the server.
    pub id: &'a str,
    /// Which disk.
    pub node_name: &'a str,
    /// What clients ask for.
    pub name: &'a str,
    /// What they are told about it (`NBD_INFO_DESCRIPTION`); at most 4096 bytes.
    pub description: &'a str,
    /// Whether they may write.
    pub writable: bool,
}

/// How `block-export-del` treats clients.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportRemoveMode {
    /// Refused while one is connected.
    Safe,
    /// They are cut off.
    Hard,
}

/// The answer of a command that has nothing to say.
#[derive(Debug, Deserialize)]
pub struct Done {}

/// The answer of `query-version`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Version {
    qemu: VersionTriple,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct VersionTriple {
    major: u32,
    minor: u32,
    micro: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VersionTriple {
            major,
            minor,
            micro,
        } = self.qemu;
        write!(f, "{major}.{minor}.{micro}")
    }
}

/// An export, from `query-block-exports`. It does not say under which name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockExport {
    /// What the export is called inside the server.
    pub id: String,
    /// Which disk.
    pub node_name: String,
    /// `nbd`, or another protocol.
    #[serde(rename = "type")]
    pub kind: String,
    /// Deleted, but requests are still under way.
    pub shutting_down: bool,
}

/// An open disk, from `query-named-block-nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockNode {
    /// What it is called.
    pub node_name: String,
}

impl Command<'_> {
    /// Its name in the protocol.
    pub fn name(&self) -> &'static str {
        match self {
            Self::QmpCapabilities => "qmp_capabilities",
            Self::QueryVersion => "query-version",
            Self::QueryBlockExports => "query-block-exports",
            Self::QueryNamedBlockNodes { .. } => "query-named-block-nodes",
            Self::BlockdevAdd(_) => "blockdev-add",
            Self::BlockdevDel { .. } => "blockdev-del",
            Self::BlockExportAdd(_) => "block-export-add",
            Self::BlockExportDel { .. } => "block-export-del",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_are_written_as_qemu_expects_them() {
        let written = |command| serde_json::to_value(Request { command, id: 7 }).expect("JSON");
        let cases = [
            (
                Command::QmpCapabilities,
                json!({"execute": "qmp_capabilities", "id": 7}),
            ),
            (
                Command::QueryVersion,
                json!({"execute": "query-version", "id": 7}),
            ),
            (
                Command::QueryBlockExports,
                json!({"execute": "query-block-exports", "id": 7}),
            ),
            (
                Command::QueryNamedBlockNodes { flat: true },
                json!({"execute": "query-named-block-nodes", "arguments": {"flat": true}, "id": 7}),
            ),
            (
                Command::BlockdevAdd(BlockdevAdd {
                    driver: Driver::HostDevice,
                    node_name: "n",
                    filename: Path::new("/proc/1/fd/2"),
                    read_only: false,
                    cache: Cache { direct: true },
                    aio: Aio::Native,
                    discard: Discard::Unmap,
                }),
                json!({"execute": "blockdev-add", "id": 7, "arguments": {
                    "driver": "host_device", "node-name": "n", "filename": "/proc/1/fd/2",
                    "read-only": false, "cache": {"direct": true}, "aio": "native",
                    "discard": "unmap",
                }}),
            ),
            (
                Command::BlockdevDel { node_name: "n" },
                json!({"execute": "blockdev-del", "arguments": {"node-name": "n"}, "id": 7}),
            ),
            (
                Command::BlockExportAdd(BlockExportAdd {
                    id: "n",
                    node_name: "n",
                    name: "e",
                    description: "n",
                    writable: true,
                }),
                json!({"execute": "block-export-add", "id": 7, "arguments": {
                    "type": "nbd", "id": "n", "node-name": "n", "name": "e",
                    "description": "n", "writable": true,
                }}),
            ),
            (
                Command::BlockExportDel {
                    id: "n",
                    mode: ExportRemoveMode::Hard,
                },
                json!({"execute": "block-export-del", "id": 7,
                    "arguments": {"id": "n", "mode": "hard"}}),
            ),
        ];
        for (command, expected) in cases {
            assert_eq!(expected["execute"], command.name());
            assert_eq!(written(command), expected);
        }
    }
}
