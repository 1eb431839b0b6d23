//! Which volumes are due, and when: never what is to be done with them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{BootTime, VolumeName};

/// Volumes waiting to be decided, each at most once.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    due: BTreeMap<VolumeName, BootTime>,
    order: BTreeSet<(BootTime, VolumeName)>,
}

impl Queue {
    /// Asks for `name` to be decided at `at`. If it is queued already, the earlier wins.
    pub fn wake(&mut self, name: &VolumeName, at: BootTime) {
        match self.due.get(name) {
            Some(queued) if *queued <= at => return,
            Some(queued) => {
                self.order.remove(&(*queued, name.clone()));
            }
            None => {}
        }
        self.due.insert(name.clone(), at);
        self.order.insert((at, name.clone()));
    }

    /// Takes every volume that is due.
    pub fn take_due(&mut self, now: BootTime) -> Vec<VolumeName> {
        let mut due = Vec::new();
        while let Some((at, name)) = self.order.first() {
            if *at > now {
                break;
            }
            due.push(name.clone());
            self.due.remove(name);
            self.order.pop_first();
        }
        due
    }

    /// When the next volume is due.
    pub fn next(&self) -> Option<BootTime> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> VolumeName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_volume_is_queued_once_and_the_earlier_wins() {
        let at = BootTime::from_millis;
        let mut queue = Queue::default();
        queue.wake(&name("a"), at(50));
        queue.wake(&name("a"), at(20));
        queue.wake(&name("a"), at(90));
        queue.wake(&name("b"), at(30));
        assert_eq!(queue.next(), Some(at(20)));
        assert_eq!(queue.take_due(at(19)), []);
        assert_eq!(queue.take_due(at(30)), [name("a"), name("b")]);
        assert_eq!(queue.next(), None);
    }
}
