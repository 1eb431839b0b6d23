//! What happens at a chosen moment, between any two things that the daemon does.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use volume_daemon::reconcile::{Effect, Event, Seen, execute};
use volume_daemon::sim::Fault;

use super::{Daemon, Rig};

/// What happens at the moment for which the fuse was lit.
#[derive(Debug, Clone, Default)]
pub enum Trouble {
    /// The daemon dies.
    #[default]
    Dies,
    /// It stands still so long, and then goes on.
    Pauses(Duration),
    /// It stands still so long and is presumed dead: another one takes over. Then it wakes, ends
    /// what it was at, finds that it was replaced, and ends.
    IsReplaced(Duration),
    /// It learns what came of the effect only so much later; all else goes on.
    LearnsLate(Duration),
    /// Something goes wrong in CloudStack.
    Fault(Fault),
    /// The NBD server dies and comes back with nothing.
    RestartNbd,
}

/// What came of carrying out an effect.
pub(super) enum Carried {
    /// The daemon learns this now.
    Learnt(Event),
    /// It learns of it later.
    Belated,
    /// It died on the way.
    Died,
    /// It was replaced on the way, and this is what is left of it.
    WasReplaced(Box<Daemon>),
}

impl Rig {
    /// Carries out one effect.
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Carried {
        let daemon = self.daemon.as_ref().expect("it has effects");
        let seen = Seen::of(daemon.core.world());
        let (hands, fuse) = (Arc::clone(&daemon.hands), Arc::clone(&self.fuse));
        let scanned = matches!(effect, Effect::ObserveHost).then(|| self.scan());
        let mut acting = pin!(async {
            fuse.before(&effect).await;
            let event = match scanned {
                Some(view) => Event::Host(view),
                None => execute(&*hands, effect, seen).await,
            };
            fuse.after().await;
            event
        });
        let (mut late, mut replaced) = (None, None);
        let event = loop {
            tokio::select! {
                biased;
                event = &mut acting => break event,
                () = fuse.blown() => {}
            }
            fuse.is_over();
            self.note(|| format!("at this moment: {:?}", self.trouble));
            match self.trouble.clone() {
                Trouble::Dies => return Carried::Died,
                Trouble::Pauses(span) => self.pass(span),
                Trouble::IsReplaced(span) => replaced = Some(self.replace(span).await),
                Trouble::LearnsLate(span) => late = Some(span),
                Trouble::Fault(fault) => self.inject(fault),
                Trouble::RestartNbd => self.restart_nbd(),
            }
            fuse.resume();
        };
        match (replaced, late) {
            (Some(old), _) => Carried::WasReplaced(old),
            (None, None) => Carried::Learnt(event),
            (None, Some(span)) => {
                let due = self.now().plus(span);
                self.belated.push((due, event));
                Carried::Belated
            }
        }
    }

    /// Another daemon takes over and works for a while. Whoever presumed the first one dead has
    /// also removed its lock.
    async fn replace(&mut self, span: Duration) -> Box<Daemon> {
        let old = self.daemon.take().expect("it is at something");
        std::fs::remove_file(self.root.path().join("store.db.lock")).expect("it is locked");
        let working: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(async {
            self.start().await;
            self.run_for(span).await;
        });
        working.await;
        Box::new(old)
    }

    /// Tells what is learnt late and due.
    pub(super) fn tell_belated(&mut self) {
        let now = self.now();
        let due = self.belated.extract_if(.., |(due, _)| *due <= now);
        for (_, event) in due.collect::<Vec<_>>() {
            self.tell(event);
        }
    }
}
