//! An NBD server of exports and clients, in memory. Survives the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use volume_daemon::host::OpenDevice;
use volume_daemon::model::observed::{DeviceNumber, Disks, NbdView, ServedExport};
use volume_daemon::model::{
    BootTime, ByteSize, ExportName, NodeName, Reading, Serial, WithdrawMode,
};
use volume_daemon::nbd::{ExportServer, NbdError, Withdrawn};

use super::fuse::Fuse;
use super::stir::Stir;

/// What is served of one disk.
#[derive(Debug, Clone)]
pub struct Served {
    pub node: NodeName,
    pub number: DeviceNumber,
    pub size: ByteSize,
    pub read_only: bool,
}

#[derive(Debug, Default)]
struct State {
    exports: BTreeMap<ExportName, Served>,
    clients: BTreeSet<ExportName>,
    /// Clients that were cut off, for the test to judge.
    cut: Vec<ExportName>,
    /// The same, with what they were reading, for the invariants to judge.
    unjudged: Vec<(ExportName, NodeName)>,
}

/// The server.
#[derive(Debug, Clone)]
pub struct FakeNbd {
    state: Arc<Mutex<State>>,
    fuse: Arc<Fuse>,
    stir: Stir,
}

impl FakeNbd {
    pub fn new(fuse: Arc<Fuse>) -> Self {
        Self {
            state: Arc::default(),
            fuse,
            stir: Stir::default(),
        }
    }

    /// Noted at every change of what is served.
    pub fn stir(&self) -> Stir {
        self.stir.clone()
    }

    /// Whether anything is served of the disk with this serial.
    pub fn serves(&self, serial: &Serial) -> bool {
        let state = self.lock();
        state
            .exports
            .values()
            .any(|served| served.node.is_for(serial))
    }

    /// What is served.
    pub fn exports(&self) -> BTreeMap<ExportName, Served> {
        self.lock().exports.clone()
    }

    /// A client uses an export from now on; `false` if it is not served.
    pub fn connect(&self, name: &ExportName) -> bool {
        let mut state = self.lock();
        state.exports.contains_key(name) && state.clients.insert(name.clone())
    }

    /// All clients leave.
    pub fn disconnect_all(&self) {
        self.lock().clients.clear();
    }

    /// Whether a client was cut off since this was last asked.
    pub fn take_cut(&self) -> Vec<ExportName> {
        std::mem::take(&mut self.lock().cut)
    }

    /// Clients that were cut off since this was last asked, and what they were reading.
    pub fn take_unjudged(&self) -> Vec<(ExportName, NodeName)> {
        std::mem::take(&mut self.lock().unjudged)
    }

    /// The fuse at its calls.
    pub fn fuse(&self) -> Arc<Fuse> {
        Arc::clone(&self.fuse)
    }

    /// The process dies and comes back with nothing.
    pub fn restart(&self) {
        *self.lock() = State::default();
        self.stir.note();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl ExportServer for FakeNbd {
    async fn observe(&self, disks: &Reading<Disks>, begun: BootTime) -> NbdView {
        let Reading::Present(disks) = disks else {
            return NbdView::read(
                Reading::Unknown("the disks are not known".to_owned()),
                begun,
            );
        };
        let proven = |served: &Served| {
            disks.devices.values().any(|disk| {
                let node = disk
                    .serial
                    .as_ref()
                    .map(|serial| NodeName::of(serial, disk.number, disk.diskseq));
                node.as_ref() == Some(&served.node) && disk.number == served.number
            })
        };
        let exports = self.exports().into_iter().map(|(name, served)| {
            let export = ServedExport {
                proven: proven(&served),
                node: served.node,
                size: served.size,
                read_only: served.read_only,
                draining: false,
            };
            (name, export)
        });
        NbdView::read(Reading::Present(exports.collect()), begun)
    }

    async fn export(
        &self,
        name: &ExportName,
        read_only: bool,
        device: &OpenDevice,
    ) -> Result<(), NbdError> {
        self.fuse.moment().await;
        let served = Served {
            node: device.proof().node(),
            number: device.number(),
            size: device.proof().size,
            read_only,
        };
        let taken = match self.lock().exports.get(name) {
            None => false,
            Some(there) => there.node != served.node,
        };
        if taken {
            return Err(NbdError::Unsteady);
        }
        self.lock().exports.insert(name.clone(), served);
        self.stir.note();
        self.fuse.moment().await;
        Ok(())
    }

    async fn withdraw(
        &self,
        name: &ExportName,
        node: &NodeName,
        mode: WithdrawMode,
    ) -> Result<Withdrawn, NbdError> {
        self.fuse.moment().await;
        let used = self.lock().clients.contains(name);
        if used && mode == WithdrawMode::Soft {
            return Ok(Withdrawn::StillInUse);
        }
        if used {
            let mut state = self.lock();
            state.clients.remove(name);
            state.cut.push(name.clone());
            state.unjudged.push((name.clone(), node.clone()));
        }
        self.lock().exports.remove(name);
        self.stir.note();
        self.fuse.moment().await;
        Ok(Withdrawn::Gone)
    }
}
