//! How a run ended, and whether that is how it must.

use std::collections::BTreeMap;
use std::time::Duration;

use volume_daemon::sim::world::{JobState, Outcome};

use super::scenario::settle;
use crate::rig::Rig;

/// How long nothing more may happen.
const REST: Duration = Duration::from_secs(200);

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Everything that can be seen, without ids and times.
    picture: Vec<String>,
    /// Of each kind, the calls whose job CloudStack carried out.
    done: BTreeMap<&'static str, usize>,
    /// The same of jobs that were refused.
    failed: BTreeMap<&'static str, usize>,
    /// The same of jobs that were lost with a management server. Only of these nothing tells what
    /// they did but the volume itself, so only these may have to be done again.
    unknown: BTreeMap<&'static str, usize>,
}

impl End {
    /// Asserts that this is as good an end as the undisturbed one.
    pub fn judge(&self, calm: &Self) {
        assert_eq!(self.picture, calm.picture, "it ends otherwise");
        assert_eq!(self.failed, calm.failed, "calls failed");
        for kind in self.done.keys().chain(calm.done.keys()) {
            let of = |calls: &BTreeMap<_, _>| calls.get(kind).copied().unwrap_or(0);
            let (done, unknown, expected) = (of(&self.done), of(&self.unknown), of(&calm.done));
            assert!(
                done <= expected && done + unknown >= expected,
                "{kind} was done {done} times, and {unknown} times perhaps, not {expected} times"
            );
        }
    }
}

/// Waits until everything is settled and stays so, and looks at it.
pub async fn of(rig: &mut Rig) -> End {
    rig.calm();
    settle(rig).await;
    let sent = rig.transport.count();
    rig.run_for(REST).await;
    assert_eq!(rig.transport.count(), sent, "I12: it goes on");
    rig.check_served_is_plugged();
    rig.check_operations().await;
    let [mut done, mut failed, mut unknown] = [const { BTreeMap::new() }; 3];
    for row in rig.journal().await {
        assert!(row.settled.is_some(), "I7: {row:?} is open");
        let front = rig.front();
        // A call that never arrived has no job.
        let Some(job) = front.world().find_job(row.intent.id.uuid()) else {
            continue;
        };
        let JobState::Ended { outcome, .. } = &job.state else {
            panic!("I1: the job of {row:?} goes on");
        };
        let calls = match outcome {
            Outcome::Failed { .. } => &mut failed,
            Outcome::Lost => &mut unknown,
            Outcome::Volume(..)
            | Outcome::Vm(..)
            | Outcome::Snapshot(_)
            | Outcome::VmSnapshot(_)
            | Outcome::Success => &mut done,
        };
        *calls.entry(row.intent.action.kind()).or_default() += 1;
    }
    End {
        picture: picture(rig),
        done,
        failed,
        unknown,
    }
}

fn picture(rig: &Rig) -> Vec<String> {
    let mut lines = vec![format!("a: {}", rig.says("a"))];
    let front = rig.front();
    let world = front.world();
    for (_, row) in world.volumes() {
        let on = row
            .attachment
            .map(|at| (world.vm(at.vm).name.clone(), at.device));
        let tags: Vec<_> = row.tags.iter().map(|tag| &tag.key).collect();
        lines.push(format!(
            "{} of {} bytes, {:?}, on {on:?}, {tags:?}",
            row.name, row.size, row.state
        ));
    }
    for (_, served) in rig.nbd.exports() {
        lines.push(format!(
            "served with {} bytes, read-only {}",
            served.size, served.read_only
        ));
    }
    lines
}
