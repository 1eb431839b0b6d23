//! qemu-storage-daemon as the NBD server.
//!
//! One export is one node (an open disk) and one export of it, both called by the [`NodeName`] of
//! what was proven; the name for clients is free. The export's description is the node's
//! name too, which is how a client's view (name, size, flags) is tied to the server's (node),
//! since `query-block-exports` does not tell names.
//!
//! Nothing is believed that was not looked up: after a refusal or a lost connection the state is
//! read again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::handshake::{self, Offer};
use super::process::open_disks;
use super::qmp::command::{
    Aio, BlockExport, BlockExportAdd, BlockNode, BlockdevAdd, Cache, Command, Discard, Done,
    Driver, ExportRemoveMode,
};
use super::qmp::{Qmp, QmpError, Session};
use super::{ExportServer, NbdAddress, NbdError, Withdrawn, chain};
use crate::host::OpenDevice;
use crate::model::observed::{DeviceNumber, Disks, NbdView, ServedExport};
use crate::model::{BootTime, ByteSize, ExportName, NodeName, Reading, WithdrawMode};

/// How often a view is taken again because exports came or went meanwhile.
const ATTEMPTS: usize = 3;
/// How long a withdrawal waits for requests under way. They take milliseconds unless the disk is
/// stuck, and other withdrawals wait for the connection meanwhile.
const DRAIN_WAIT: Duration = Duration::from_millis(250);

/// Where to find a qemu-storage-daemon.
#[derive(Debug, Clone)]
pub struct QsdConfig {
    /// Its QMP socket. Not one inherited from systemd: its process is found through it.
    pub qmp: PathBuf,
    /// Where it serves NBD, as a client connects to it.
    pub listen: NbdAddress,
    /// How long it is given for each command, and for a whole NBD negotiation.
    pub timeout: Duration,
}

/// A qemu-storage-daemon that nobody else adds exports to.
#[derive(Debug)]
pub struct Qsd {
    qmp: Qmp,
    listen: NbdAddress,
    /// Names of exports that we withdrew while requests were under way: clients no longer see
    /// them, and the server does not tell them.
    draining: Mutex<BTreeMap<NodeName, ExportName>>,
    /// Whether the server may have disks of ours open that no export uses: at our start, and after
    /// anything that may have ended half-way. Asking costs more the more it serves.
    leftovers: AtomicBool,
}

impl Qsd {
    /// Connects when it is first needed.
    pub fn new(config: QsdConfig) -> Self {
        Self {
            qmp: Qmp::new(config.qmp, config.timeout),
            listen: config.listen,
            draining: Mutex::default(),
            leftovers: AtomicBool::new(true),
        }
    }

    /// Waits until a connection that was made is lost: the server died, and with it every
    /// export. One loss is told once, also if it came before the call. Never returns as long as
    /// the server could not be reached at all.
    pub async fn gone(&self) {
        self.qmp.lost().await;
    }

    async fn look(&self, disks: &Disks) -> Result<BTreeMap<ExportName, ServedExport>, NbdError> {
        for _ in 0..ATTEMPTS {
            // The connection is not held while a client's view is taken, which may take
            // long: a hard withdraw must not wait for it. Equal answers before and after make the
            // three one view.
            let before = block_exports(&mut self.qmp.session().await?).await?;
            let offer = handshake::survey(&self.listen, self.qmp.timeout()).await?;
            let mut session = self.qmp.session().await?;
            let open = server_disks(&session)?;
            // Also shows that the process just looked at is still the server.
            let after = block_exports(&mut session).await?;
            self.finish_draining(&mut session, &after).await;
            drop(session);
            if before == after {
                let view = View {
                    disks: by_node(disks),
                    open: open.into_iter().map(|(_, number)| number).collect(),
                    exports: after,
                };
                return view.served(offer, &self.draining_names(), &self.listen);
            }
        }
        Err(NbdError::Unsteady)
    }

    /// Closes the disks of withdrawals that were left draining and have ended. They need nothing
    /// else, so it is done when it is noticed; a failure shows again next time.
    async fn finish_draining(&self, session: &mut Session<'_>, exports: &[BlockExport]) {
        for node in self.draining_names().into_keys() {
            let is_there = exports.iter().any(|e| e.id == node.as_str());
            if !is_there && remove_node(session, &node).await.is_ok() {
                self.lock_draining().remove(&node);
            }
        }
    }

    fn draining_names(&self) -> BTreeMap<NodeName, ExportName> {
        self.lock_draining().clone()
    }

    fn lock_draining(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeName, ExportName>> {
        self.draining
            .lock()
            .expect("no holder of this lock can panic")
    }

    /// Whether an export that is there already is the one asked for.
    async fn is_as_asked(
        &self,
        session: &Session<'_>,
        name: &ExportName,
        read_only: bool,
        device: &OpenDevice,
    ) -> Result<(), NbdError> {
        let node = device.proof().node();
        let other = |found| NbdError::Otherwise {
            node: node.clone(),
            found,
        };
        let open = server_disks(session)?;
        if !open.iter().any(|(_, number)| *number == device.number()) {
            return Err(other("from another disk"));
        }
        match handshake::info(&self.listen, name, self.qmp.timeout()).await? {
            Ok(info) if info.description.as_deref() != Some(node.as_str()) => {
                Err(other("under another name"))
            }
            Ok(info) if info.read_only != read_only => {
                Err(other(if read_only { "writable" } else { "read-only" }))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(other("under another name")),
        }
    }
}

impl ExportServer for Qsd {
    async fn observe(&self, disks: &Reading<Disks>, begun: BootTime) -> NbdView {
        let exports = match disks {
            Reading::Present(disks) => match self.look(disks).await {
                Ok(exports) => Reading::Present(exports),
                Err(error) => Reading::Unknown(chain(&error)),
            },
            Reading::Absent => Reading::Unknown("the disks were not looked at".to_owned()),
            Reading::Unknown(why) => Reading::Unknown(format!(
                "what is served cannot be compared with the disks of this machine: {why}"
            )),
        };
        NbdView::read(exports, begun)
    }

    async fn export(
        &self,
        name: &ExportName,
        read_only: bool,
        device: &OpenDevice,
    ) -> Result<(), NbdError> {
        if !read_only && !device.is_writable() {
            return Err(NbdError::NotWritable { name: name.clone() });
        }
        let node = device.proof().node();
        let mut session = self.qmp.session().await?;
        let exports = block_exports(&mut session).await?;
        match exports.iter().find(|export| export.id == node.as_str()) {
            Some(export) if export.shutting_down => return Err(NbdError::Draining { node }),
            Some(_) => return self.is_as_asked(&session, name, read_only, device).await,
            None => {}
        }
        if self.leftovers.swap(true, Ordering::Relaxed) {
            remove_leftovers(&mut session, &exports).await?;
        }
        if let Err(error) = add(&mut session, name, read_only, device).await {
            // No client can have reached it. If this fails too, it is a leftover for the next call.
            let _ = remove_node(&mut session, &node).await;
            return Err(error);
        }
        self.leftovers.store(false, Ordering::Relaxed);
        tracing::info!(
            export.name = %name,
            node.name = %node,
            "{name} is exported from {}",
            device.proof().link
        );
        Ok(())
    }

    async fn withdraw(
        &self,
        name: &ExportName,
        node: &NodeName,
        mode: WithdrawMode,
    ) -> Result<Withdrawn, NbdError> {
        if node.as_str().is_empty() {
            return Err(NbdError::NotOurs { name: name.clone() });
        }
        let mut session = self.qmp.session().await?;
        if let Some(export) = find_export(&mut session, node).await? {
            if !export.shutting_down {
                self.leftovers.store(true, Ordering::Relaxed);
                if delete_export(&mut session, node, mode).await? == Deletion::InUse {
                    return Ok(Withdrawn::StillInUse);
                }
                session.deleted(node.as_str(), DRAIN_WAIT).await;
            }
            if find_export(&mut session, node).await?.is_some() {
                self.lock_draining().insert(node.clone(), name.clone());
                return Ok(Withdrawn::Draining);
            }
        }
        remove_node(&mut session, node).await?;
        self.lock_draining().remove(node);
        tracing::info!(export.name = %name, node.name = %node, "{name} is withdrawn");
        Ok(Withdrawn::Gone)
    }
}

/// Everything that was read at one moment.
struct View {
    /// The disks that are there, by what their nodes would be called.
    disks: BTreeMap<NodeName, (DeviceNumber, ByteSize)>,
    open: BTreeSet<DeviceNumber>,
    exports: Vec<BlockExport>,
}

impl View {
    fn served(
        &self,
        offer: Offer,
        draining: &BTreeMap<NodeName, ExportName>,
        listen: &NbdAddress,
    ) -> Result<BTreeMap<ExportName, ServedExport>, NbdError> {
        let nbd = || self.exports.iter().filter(|export| export.kind == "nbd");
        if nbd().filter(|e| !e.shutting_down).count() != offer.exports.len() + offer.others {
            return Err(NbdError::AnotherServer {
                listen: listen.clone(),
            });
        }
        let mut served = BTreeMap::new();
        for (name, info) in offer.exports {
            // One that refuses to be described must not hide the others.
            let info = info.ok();
            let description = info.as_ref().and_then(|info| info.description.as_deref());
            let export = self.export_of(&name, description);
            let node = NodeName::reported(export.map_or("", |export| &export.id));
            let (size, read_only) = match info {
                Some(info) => (info.size, info.read_only),
                None => (self.size_of(&node), false),
            };
            served.insert(
                name,
                ServedExport {
                    node,
                    size,
                    read_only,
                    proven: export.is_some_and(|export| self.is_proven(export)),
                    draining: false,
                },
            );
        }
        for export in nbd().filter(|export| export.shutting_down) {
            let node = NodeName::reported(&export.id);
            let name = draining
                .get(&node)
                .filter(|name| !served.contains_key(name));
            // Its name is free again; the node's stands in for one that is not known.
            let Some(name) = name.cloned().or_else(|| node.as_str().parse().ok()) else {
                continue;
            };
            served.insert(
                name,
                ServedExport {
                    size: self.size_of(&node),
                    read_only: false,
                    proven: self.is_proven(export),
                    draining: true,
                    node,
                },
            );
        }
        Ok(served)
    }

    /// The size of the disk that `node` is called after; 0 if it is not there.
    fn size_of(&self, node: &NodeName) -> ByteSize {
        let disk = self.disks.get(node);
        disk.map(|(_, size)| *size).unwrap_or_default()
    }

    /// The server's side of what a client sees. Exports that others made have no
    /// description of ours; some are called alike on both sides.
    fn export_of(&self, name: &ExportName, description: Option<&str>) -> Option<&BlockExport> {
        let called = |id: &str| {
            self.exports
                .iter()
                .find(|export| export.id == id && !export.shutting_down)
        };
        description
            .and_then(called)
            .or_else(|| called(name.as_str()))
    }

    /// Whether an export's node is called after a disk that is there, and the server has it open.
    fn is_proven(&self, export: &BlockExport) -> bool {
        export.node_name == export.id
            && self
                .disks
                .get(&NodeName::reported(&export.id))
                .is_some_and(|(number, _)| self.open.contains(number))
    }
}

fn by_node(disks: &Disks) -> BTreeMap<NodeName, (DeviceNumber, ByteSize)> {
    disks
        .devices
        .values()
        .filter_map(|disk| {
            let node = NodeName::of(disk.serial.as_ref()?, disk.number, disk.diskseq);
            Some((node, (disk.number, disk.size)))
        })
        .collect()
}

/// Opens a disk in the server, makes sure that it is the one that was proven, and only then lets
/// clients reach it.
async fn add(
    session: &mut Session<'_>,
    name: &ExportName,
    read_only: bool,
    device: &OpenDevice,
) -> Result<(), NbdError> {
    let node = device.proof().node();
    let (driver, direct, aio) = match device.number() {
        // Direct: what a client has written is on the disk when the server says so, and a detach
        // finds nothing cached.
        DeviceNumber::Block { .. } => (Driver::HostDevice, true, Aio::Native),
        // Not every file system has O_DIRECT.
        DeviceNumber::File { .. } => (Driver::File, false, Aio::Threads),
    };
    let before = server_disks(session)?;
    session
        .execute::<Done>(Command::BlockdevAdd(BlockdevAdd {
            driver,
            node_name: node.as_str(),
            filename: &device.path_for_server(),
            read_only,
            cache: Cache { direct },
            aio,
            discard: Discard::Unmap,
        }))
        .await?;
    let is_proven = server_disks(session)?
        .difference(&before)
        .any(|(_, number)| *number == device.number());
    if !is_proven {
        return Err(NbdError::WrongDisk { node });
    }
    session
        .execute::<Done>(Command::BlockExportAdd(BlockExportAdd {
            id: node.as_str(),
            node_name: node.as_str(),
            name: name.as_str(),
            description: node.as_str(),
            writable: !read_only,
        }))
        .await?;
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Deletion {
    /// It ends once no request is under way.
    Begun,
    /// Refused, because a client uses it.
    InUse,
}

/// Deletes an export.
async fn delete_export(
    session: &mut Session<'_>,
    node: &NodeName,
    mode: WithdrawMode,
) -> Result<Deletion, NbdError> {
    let deleted = session
        .execute::<Done>(Command::BlockExportDel {
            id: node.as_str(),
            mode: match mode {
                WithdrawMode::Soft => ExportRemoveMode::Safe,
                WithdrawMode::Hard => ExportRemoveMode::Hard,
            },
        })
        .await;
    let refused = match deleted {
        Ok(Done {}) => return Ok(Deletion::Begun),
        Err(refused @ QmpError::Refused { .. }) => refused,
        Err(error) => return Err(error.into()),
    };
    match (find_export(session, node).await?, mode) {
        (None, _) => Ok(Deletion::Begun),
        (Some(export), _) if export.shutting_down => Ok(Deletion::Begun),
        (Some(_), WithdrawMode::Soft) => Ok(Deletion::InUse),
        (Some(_), WithdrawMode::Hard) => Err(refused.into()),
    }
}

/// Closes disks that we opened and no export uses: left by a crash or a failure half-way. One
/// that cannot be closed is no reason not to serve another.
async fn remove_leftovers(
    session: &mut Session<'_>,
    exports: &[BlockExport],
) -> Result<(), NbdError> {
    for node in block_nodes(session).await? {
        let is_used = exports.iter().any(|e| e.node_name == node.node_name);
        if is_ours(&node.node_name) && !is_used {
            let _ = remove_node(session, &NodeName::reported(&node.node_name)).await;
        }
    }
    Ok(())
}

/// Whether a node's name has the form of [`NodeName::of`].
fn is_ours(node: &str) -> bool {
    const SERIAL: std::ops::RangeInclusive<usize> = 1..=crate::model::Serial::LEN_MAX;
    const TAIL: usize = 10;
    node.strip_prefix('v').is_some_and(|rest| {
        rest.len() > TAIL
            && SERIAL.contains(&(rest.len() - TAIL))
            && rest.bytes().all(|b| b.is_ascii_alphanumeric())
            && rest
                .bytes()
                .skip(rest.len() - TAIL)
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Closes a disk in the server; that it is closed already is fine.
async fn remove_node(session: &mut Session<'_>, node: &NodeName) -> Result<(), NbdError> {
    let removed = session
        .execute::<Done>(Command::BlockdevDel {
            node_name: node.as_str(),
        })
        .await;
    match removed {
        Ok(Done {}) => Ok(()),
        Err(refused @ QmpError::Refused { .. }) => {
            let nodes = block_nodes(session).await?;
            if nodes.iter().any(|found| found.node_name == node.as_str()) {
                Err(refused.into())
            } else {
                Ok(())
            }
        }
        Err(error) => Err(error.into()),
    }
}

async fn find_export(
    session: &mut Session<'_>,
    node: &NodeName,
) -> Result<Option<BlockExport>, NbdError> {
    let mut exports = block_exports(session).await?;
    exports.retain(|export| export.id == node.as_str());
    Ok(exports.pop())
}

async fn block_exports(session: &mut Session<'_>) -> Result<Vec<BlockExport>, NbdError> {
    let mut exports: Vec<BlockExport> = session.execute(Command::QueryBlockExports).await?;
    exports.sort_unstable();
    Ok(exports)
}

async fn block_nodes(session: &mut Session<'_>) -> Result<Vec<BlockNode>, NbdError> {
    let command = Command::QueryNamedBlockNodes { flat: true };
    Ok(session.execute(command).await?)
}

fn server_disks(session: &Session<'_>) -> Result<BTreeSet<(String, DeviceNumber)>, NbdError> {
    let pid = session.server()?.pid();
    open_disks(pid).map_err(|source| NbdError::Process { pid, source })
}

#[cfg(test)]
mod tests;
