//! Carries out one action as one call. Makes no choice: what is wrong with an action is the
//! planner's to find, and the end of a call is the loop's to follow.
//!
//! For a cloud action the order is fixed: journal, send, record the job (I7). A crash between any
//! two of these leaves an open intent, which is looked up by the id it was journalled with.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::cloudstack::{CallOutcome, Client, Transport};
use crate::host::{Host, OpenDevice};
use crate::model::action::{Claim, DeviceProof};
use crate::model::memory::{Binding, FailureClass, Intent, Outcome, Progress};
use crate::model::observed::{Disks, NbdView};
use crate::model::{
    Action, ExportName, NodeName, Reading, Serial, VolumeId, VolumeName, WithdrawMode,
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
    pub clock: std::sync::Arc<dyn Clock>,
    /// Descriptors of what is served, kept open: while one is, its device number cannot go
    /// to another disk.
    held: Mutex<BTreeMap<NodeName, OpenDevice>>,
}

impl<T: Transport, E: ExportServer> Hands<T, E> {
    /// Hands that hold nothing yet.
    pub fn new(
        cloud: Client<T>,
        host: Host,
        nbd: E,
        store: Store,
        clock: std::sync::Arc<dyn Clock>,
    ) -> Self {
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
            && let Err(why) = self.flush(*volume)
        {
            return Acted::NotSent(intent, FailureClass::Environment, why);
        }
        if let Err(error) = self.store.begin(&intent).await {
            return Acted::NotJournalled(intent, chain(&error));
        }
        match self.cloud.submit(&intent).await {
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
            Err(_) => Acted::Open(intent),
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
            | Action::Detach { .. } => LocalResult::Failed(
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
        let device = match self.host.open(proof, !read_only) {
            Ok(device) => device,
            Err(error) => return LocalResult::Failed(FailureClass::Retry, chain(&error)),
        };
        match self.nbd.export(export, read_only, &device).await {
            Ok(()) => {
                self.held().insert(proof.node(), device);
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
                let flushed = self.flush(volume);
                match (mode, flushed) {
                    // Nothing can be saved of a disk that is gone.
                    (WithdrawMode::Hard, _) | (WithdrawMode::Soft, Ok(())) => {
                        self.held().remove(node);
                        LocalResult::Done
                    }
                    (WithdrawMode::Soft, Err(why)) => {
                        LocalResult::Failed(FailureClass::Environment, why)
                    }
                }
            }
            Ok(Withdrawn::Draining) => LocalResult::Done,
            Ok(Withdrawn::StillInUse) => {
                LocalResult::Failed(FailureClass::InUse, format!("a client uses {export}"))
            }
            Err(error) => LocalResult::Failed(FailureClass::Retry, chain(&error)),
        }
    }

    /// Writes what the kernel still holds for a disk we have open; nothing to do for others.
    fn flush(&self, volume: VolumeId) -> Result<(), String> {
        let serial = Serial::of(volume);
        let held = self.held();
        let mut devices = held.iter().filter(|(node, _)| node.is_for(&serial));
        devices
            .try_for_each(|(_, device)| device.sync())
            .map_err(|error| format!("what was written could not be flushed: {error}"))
    }

    /// Opens, and keeps open, what an earlier run of ours left served: its device number cannot
    /// go to another disk then, nor can anybody here mount it.
    pub fn hold(&self, served: &NbdView, disks: &Reading<Disks>) {
        let (Reading::Present(served), Reading::Present(disks)) = (&served.exports, disks) else {
            return;
        };
        for (name, export) in served.iter().filter(|(_, export)| export.proven) {
            let is_held = self.held().contains_key(&export.node);
            let proof = disks.proofs().find(|proof| proof.node() == export.node);
            let (false, Some(proof)) = (is_held, proof) else {
                continue;
            };
            match self.host.open(&proof, !export.read_only) {
                Ok(device) => {
                    tracing::info!(export.name = %name, "{name} was served by an earlier run; its disk is proven again and held");
                    self.held().insert(proof.node(), device);
                }
                // What is wrong with it, the next look at the host tells the planner.
                Err(error) => {
                    tracing::debug!(export.name = %name, error = chain(&error), "a served disk is not held");
                }
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<NodeName, OpenDevice>> {
        // The map is whole even if a holder panicked: every change to it is one call.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
