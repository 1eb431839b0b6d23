//! What the API is asked about specs. Each ask is stored before it is answered, and told to the loop
//! before it is answered, too: whoever has the answer need not wonder which spec a report is about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::SpecsTask;
use crate::act::Hands;
use crate::model::desired::Generation;
use crate::model::{AcceptedDocument, DesiredVolume, Owner, SourceChange, VolumeName};
use crate::reconcile::core::Event;
use crate::source::{self, Known, NotHandedOver, Refused, Writers};
use crate::store::{Extent, StoreError};

/// Something that is asked about a spec, and where the answer goes. Whoever asked may be gone by then.
#[derive(Debug)]
pub enum Ask {
    /// That it belongs to another writer; whether it did not before.
    HandOver {
        /// Which spec.
        name: VolumeName,
        /// Whose it is to be.
        to: Owner,
        /// Where to answer.
        answer: oneshot::Sender<Result<bool, OwnError>>,
    },
    /// That this is in force; what is, and what that took.
    Put {
        /// What is asked for, in the name of the API.
        document: Box<AcceptedDocument>,
        /// The generation that must be stored now, 0 for none; `None`: any.
        expected: Option<Generation>,
        /// Where to answer.
        answer: oneshot::Sender<Result<(Done, DesiredVolume), SpecError>>,
    },
    /// That it is in force no longer; the last that was, and what that took.
    Delete {
        /// Which spec.
        name: VolumeName,
        /// Where to answer.
        answer: oneshot::Sender<Result<(Done, DesiredVolume), SpecError>>,
    },
}

/// What a call did to a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// There was none of that name before.
    Created,
    /// Another version is in force, or one is again.
    Changed,
    /// It is abandoned.
    Deleted,
    /// All was so already.
    Unchanged,
}

/// Why a spec does not belong to another writer now.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// That could change the volume.
    #[error(transparent)]
    NotHandedOver(#[from] NotHandedOver),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a call did not change a spec.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The API has no say in it, or another version is stored.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What is stored under this name cannot be understood, so nothing replaces it.
    #[error("what is stored of {name} cannot be understood: {why}")]
    Unreadable {
        /// Which spec.
        name: VolumeName,
        /// Why.
        why: String,
    },
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SpecsTask {
    /// Does what is asked, tells the loop, and answers.
    pub(super) async fn answer<T, E>(
        &mut self,
        ask: Ask,
        hands: &Hands<T, E>,
        writers: &Writers,
        events: &mpsc::Sender<Event>,
    ) {
        match ask {
            Ask::HandOver { name, to, answer } => {
                let done = self.hand_over(hands, writers, &name, &to).await;
                self.tell(events).await;
                let _ = answer.send(done);
            }
            Ask::Put {
                document,
                expected,
                answer,
            } => {
                let done = self.put(hands, *document, expected).await;
                self.tell(events).await;
                let _ = answer.send(done);
            }
            Ask::Delete { name, answer } => {
                let done = self.delete(hands, name).await;
                self.tell(events).await;
                let _ = answer.send(done);
            }
        }
    }

    /// Tells the loop what is asked for, if it does not know. Before the first look that is left to the
    /// look, which knows whether the directory can be believed.
    async fn tell(&mut self, events: &mpsc::Sender<Event>) {
        if self.is_untold && self.health.is_some() {
            // A loop that has gone is noticed with the next look.
            let told = events.send(Event::Desired(self.desired())).await;
            self.is_untold = told.is_err();
        }
    }

    async fn put<T, E>(
        &mut self,
        hands: &Hands<T, E>,
        document: AcceptedDocument,
        expected: Option<Generation>,
    ) -> Result<(Done, DesiredVolume), SpecError> {
        let name = document.document.name.clone();
        let before = self.specs.get(&name);
        if !source::put(&self.specs, &document, expected)?
            && let Some(before) = before
        {
            return Ok((Done::Unchanged, before.clone()));
        }
        let done = match before {
            None => Done::Created,
            Some(_) => Done::Changed,
        };
        let change = SourceChange {
            accepted: vec![document],
            ..SourceChange::default()
        };
        self.store(hands, change, &name).await?;
        Ok((done, self.stored(&name)?))
    }

    /// As `deleted_at` of a row.
    async fn delete<T, E>(
        &mut self,
        hands: &Hands<T, E>,
        name: VolumeName,
    ) -> Result<(Done, DesiredVolume), SpecError> {
        let done = if source::delete(&self.specs, &name)? {
            let change = SourceChange {
                abandoned: vec![name.clone()],
                ..SourceChange::default()
            };
            self.store(hands, change, &name).await?;
            Done::Deleted
        } else {
            Done::Unchanged
        };
        Ok((done, self.stored(&name)?))
    }

    /// Lets a spec belong to another writer, who must write the same by now; the API takes what is in
    /// force.
    async fn hand_over<T, E>(
        &mut self,
        hands: &Hands<T, E>,
        writers: &Writers,
        name: &VolumeName,
        to: &Owner,
    ) -> Result<bool, OwnError> {
        self.take_in(hands.store.desired_rows(Extent::All).await?);
        let stored = hands.store.specs(Some(name)).await?.pop();
        let now = hands.clock.now();
        let mut scan = self.directory.read(&self.files, writers, now).await;
        scan.rows = self.rows.scan(&self.files);
        let known = Known {
            files: &self.files,
            specs: &self.specs,
            bindings: &BTreeMap::new(),
        };
        let manifest = stored.map(|stored| stored.manifest);
        let Some(change) = source::hand_over(known, &scan, name, to, manifest)? else {
            return Ok(false);
        };
        let accepted = hands.store.accept(&change, now.wall).await?;
        self.take_over(change, accepted.volumes);
        self.is_untold = true;
        Ok(true)
    }

    async fn store<T, E>(
        &mut self,
        hands: &Hands<T, E>,
        change: SourceChange,
        name: &VolumeName,
    ) -> Result<(), SpecError> {
        let accepted = hands.store.accept(&change, hands.clock.now().wall).await?;
        if let Some(skipped) = accepted.skipped.into_iter().next() {
            return Err(SpecError::Unreadable {
                name: name.clone(),
                why: skipped.reason,
            });
        }
        self.take_over(change, accepted.volumes);
        self.is_untold = true;
        Ok(())
    }

    fn stored(&self, name: &VolumeName) -> Result<DesiredVolume, Refused> {
        let stored = self.specs.get(name).cloned();
        stored.ok_or_else(|| Refused::NoSpec(name.clone()))
    }
}
