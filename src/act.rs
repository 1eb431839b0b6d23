//! Carries out one action as one call. Makes no choice: what is wrong with an action is the
//! planner's to find, and the end of a call is the loop's to follow.
//!
//! For a cloud action the order is fixed: journal, send, record the job (I7). A crash between any
//! two of these leaves an open intent, which is looked up by the id it was journalled with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::cloudstack::{CallOutcome, Client, Transport};
use crate::host::{Host, OpenDevice};
use crate::model::action::{Claim, DeviceProof};
use crate::model::memory::{Binding, FailureClass, Intent, Outcome, Progress};
use crate::model::observed::{Disks, NbdView};
use crate::model::{
    Action, BootTime, ExportName, NodeName, Reading, Serial, VolumeId, VolumeName, WithdrawMode,
};
use crate::nbd::{ExportServer, Withdrawn};
use crate::store::{Effects, Store};
use crate::telemetry::chain;

/// How far an action came.
#[derive(Debug, Clone)]
pub enum Acted {
    /// Sent, or perhaps sent: its end is to be followed.
    Open(Box<Intent>),
    /// Certainly not executed, and the journal says so.
    Ended(Box<Intent>, Outcome),
    /// The journal could not be written, so nothing was sent.
    NotJournalled(Box<Intent>, String),
    /// Something on this machine forbade it before anything was written or sent.
    NotSent(Box<Intent>, FailureClass, String),
    /// A local action came to this.
    Local(LocalResult),
}

/// What a local action came to.
#[derive(Debug, Clone)]
pub enum LocalResult {
    /// Done, or so already; observed again before anything else.
    Done,
    /// Not done.
    Failed(FailureClass, String),
}

/// A descriptor of something that is served.
struct Held {
    device: Arc<OpenDevice>,
    since: BootTime,
}

/// How long a disk may take to write what the kernel holds for it.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything an action needs to reach the outside.
pub struct Hands<T, E> {
    /// CloudStack.
    pub cloud: Client<T>,
    /// This machine's disks.
    pub host: Host,
    /// The NBD server.
    pub nbd: E,
    /// The journal.
    pub store: Store,
    /// For the time an end is written with.
    pub clock: Arc<dyn Clock>,
    /// Descriptors of what is served, kept open: while one is, its device number cannot go
    /// to another disk.
    held: Mutex<BTreeMap<NodeName, Held>>,
}

impl<T: Transport, E: ExportServer> Hands<T, E> {
    /// Hands that hold nothing yet.
    pub fn new(cloud: Client<T>, host: Host, nbd: E, store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            cloud,
            host,
            nbd,
            store,
            clock,
            held: Mutex::new(BTreeMap::new()),
        }
    }

    /// Journals and sends one cloud action.
    ///
    /// Cancelled or crashed at any point, the same intent is found open in the store, or not at
    /// all; it is never sent twice.
    pub async fn act_on_cloud(&self, mut intent: Box<Intent>) -> Acted {
        if let Action::Detach { volume, .. } = &intent.action
            && let Err(why) = self.flush(*volume).await
        {
            return Acted::NotSent(intent, FailureClass::Environment, why);
        }
        let deadline = match self.store.begin(&intent).await {
            Ok(deadline) => deadline,
            Err(error) => return Acted::NotJournalled(intent, chain(&error)),
        };
        match self.cloud.submit(&intent, deadline).await {
            Ok(submitted) => {
                intent.progress = Progress::Submitted(submitted.job);
                if let Err(error) = self.store.submitted(intent.id, submitted.job).await {
                    // Not lost: the job has the intent's own id.
                    tracing::warn!(intent.id = %intent.id, error = chain(&error), "the job of an intent could not be recorded");
                }
                Acted::Open(intent)
            }
            Err(error) => match error.outcome() {
                CallOutcome::Unknown => {
                    tracing::warn!(intent.id = %intent.id, volume.name = %intent.name, error = chain(&error), "{} was sent and its answer is not known", intent.action.kind());
                    Acted::Open(intent)
                }
                CallOutcome::NotExecuted { class, .. } => {
                    let outcome = Outcome::Failed {
                        class,
                        text: chain(&error),
                    };
                    self.end(intent, outcome).await
                }
            },
        }
    }

    async fn end(&self, intent: Box<Intent>, outcome: Outcome) -> Acted {
        let at = self.clock.now().wall;
        let effects = Effects::default();
        match self.store.settle(&intent, &outcome, &effects, at).await {
            Ok(()) => Acted::Ended(intent, outcome),
            // Stays open; its job will not be found, which ends it once it has expired.
            Err(error) => {
                tracing::warn!(intent.id = %intent.id, error = chain(&error), "the end of an intent could not be written; it is looked up later");
                Acted::Open(intent)
            }
        }
    }

    /// Carries out a local action.
    pub async fn act_locally(&self, name: &VolumeName, action: &Action) -> LocalResult {
        match action {
            Action::Bind { volume, claim } => self.bind(name, *volume, *claim).await,
            Action::Export {
                volume,
                export,
                read_only,
                device,
            } => self.export(*volume, export, *read_only, device).await,
            Action::Withdraw {
                volume,
                export,
                node,
                mode,
            } => self.withdraw(*volume, export, node, *mode).await,
            Action::Create { .. }
            | Action::Tag { .. }
            | Action::Grow { .. }
            | Action::Attach { .. }
            | Action::Detach { .. }
            | Action::Delete { .. } => LocalResult::Failed(
                FailureClass::Refused,
                "a cloud action is never carried out without an intent".to_owned(),
            ),
        }
    }

    async fn bind(&self, name: &VolumeName, volume: VolumeId, claim: Claim) -> LocalResult {
        let binding = Binding {
            volume,
            uid: claim.spec,
            mark: claim.mark,
        };
        let at = self.clock.now().wall;
        match self.store.bind(name, &binding, at).await {
            Ok(()) => LocalResult::Done,
            Err(error) => LocalResult::Failed(FailureClass::Retry, chain(&error)),
        }
    }

    /// Open and prove, then node, then the server's own descriptor, then export (I3).
    async fn export(
        &self,
        volume: VolumeId,
        export: &ExportName,
        read_only: bool,
        proof: &DeviceProof,
    ) -> LocalResult {
        match self.store.claim_export_name(export, volume).await {
            Ok(Ok(())) => {}
            Ok(Err(owner)) => {
                let text = format!("the export name {export} belongs to volume {owner}");
                return LocalResult::Failed(FailureClass::Refused, text);
            }
            Err(error) => return LocalResult::Failed(FailureClass::Retry, chain(&error)),
        }
        // A server that lost the export holds nothing; we must not either, or the exclusive
        // open would find ourselves.
        self.held().remove(&proof.node());
        let device = match self.open(proof.clone(), !read_only).await {
            Ok(device) => device,
            Err(why) => return LocalResult::Failed(FailureClass::Retry, why),
        };
        match self.nbd.export(export, read_only, &device).await {
            Ok(()) => {
                self.keep(device);
                LocalResult::Done
            }
            Err(error) => LocalResult::Failed(FailureClass::Retry, chain(&error)),
        }
    }

    async fn withdraw(
        &self,
        volume: VolumeId,
        export: &ExportName,
        node: &NodeName,
        mode: WithdrawMode,
    ) -> LocalResult {
        match self.nbd.withdraw(export, node, mode).await {
            Ok(Withdrawn::Gone) => {
                let flushed = match mode {
                    WithdrawMode::Soft => self.flush(volume).await,
                    // Nothing can be saved of a disk that is gone.
                    WithdrawMode::Hard => Ok(()),
                };
                match flushed {
                    Ok(()) => {
                        self.held().remove(node);
                        LocalResult::Done
                    }
                    Err(why) => LocalResult::Failed(FailureClass::Environment, why),
                }
            }
            Ok(Withdrawn::Draining) => LocalResult::Done,
            Ok(Withdrawn::StillInUse) => {
                LocalResult::Failed(FailureClass::InUse, format!("a client uses {export}"))
            }
            Err(error) => LocalResult::Failed(FailureClass::Retry, chain(&error)),
        }
    }

    /// Opens and proves a disk, on a thread that may block.
    async fn open(&self, proof: DeviceProof, writable: bool) -> Result<OpenDevice, String> {
        let host = self.host.clone();
        let opened = tokio::task::spawn_blocking(move || host.open(&proof, writable)).await;
        match opened {
            Ok(opened) => opened.map_err(|error| chain(&error)),
            Err(error) => Err(format!("opening it broke off: {error}")),
        }
    }

    fn keep(&self, device: OpenDevice) {
        let node = device.proof().node();
        let held = Held {
            device: Arc::new(device),
            since: self.clock.now().boot,
        };
        self.held().insert(node, held);
    }

    /// Writes what the kernel still holds for a disk we have open; nothing to do for others.
    async fn flush(&self, volume: VolumeId) -> Result<(), String> {
        let serial = Serial::of(volume);
        let devices: Vec<Arc<OpenDevice>> = self
            .held()
            .iter()
            .filter(|(node, _)| node.is_for(&serial))
            .map(|(_, held)| Arc::clone(&held.device))
            .collect();
        let sync = move || devices.iter().try_for_each(|device| device.sync());
        let synced = tokio::time::timeout(FLUSH_TIMEOUT, tokio::task::spawn_blocking(sync)).await;
        match synced {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(format!("what was written could not be flushed: {error}")),
            Ok(Err(error)) => Err(format!("flushing broke off: {error}")),
            Err(_) => Err(format!(
                "the disk takes longer than {FLUSH_TIMEOUT:?} to flush"
            )),
        }
    }

    /// Keeps open what is served, and nothing else: what an earlier run of ours left is proven
    /// again, so that its device number cannot go to another disk; what the server lost is let go.
    pub async fn hold(&self, view: &NbdView, disks: &Reading<Disks>) {
        let (Reading::Present(served), Reading::Present(disks)) = (&view.exports, disks) else {
            return;
        };
        let is_served = |node: &NodeName| served.values().any(|export| export.node == *node);
        self.held()
            .retain(|node, held| held.since >= view.begun || is_served(node));
        for (name, export) in served.iter().filter(|(_, export)| export.proven) {
            let is_held = self.held().contains_key(&export.node);
            let proof = disks.proofs().find(|proof| proof.node() == export.node);
            let (false, Some(proof)) = (is_held, proof) else {
                continue;
            };
            match self.open(proof, !export.read_only).await {
                Ok(device) => {
                    tracing::info!(export.name = %name, "{name} was served by an earlier run; its disk is proven again and held");
                    self.keep(device);
                }
                Err(error) => {
                    tracing::warn!(export.name = %name, error, "the disk of {name} cannot be held open");
                }
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<NodeName, Held>> {
        // The map is whole even if a holder panicked: every change to it is one call.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
