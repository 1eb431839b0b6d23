//! The daemon's own rules, asked about the small world: [`plan::decide`] chooses every step,
//! [`settle::judge`] says how an intent ended, [`settle::effects`] what follows from it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use uuid::Uuid;
use volume_daemon::cloudstack::JobState;
use volume_daemon::model::action::{CLAIM_TAG, Claim, Mark};
use volume_daemon::model::desired::{
    AttachSpec, AttachVm, Mode, Move, NameOrId, Origin, Reclaim, VolumeDocument, VolumeSpec,
};
use volume_daemon::model::memory::{
    Binding, FailureClass, Intent, Memory, Outcome, Progress, Resolution,
};
use volume_daemon::model::observed::{
    Attachment, CloudVm, CloudVolume, Disks, HostView, NbdView, VmState, VolumeKind, VolumeState,
};
use volume_daemon::model::{
    Action, BootTime, ByteSize, Cause, DesiredVolume, InstanceId, IntentId, JobId, Now, Observed,
    OfferingId, Owner, Presence, Reading, SpecUid, Timestamp, VmId, VolumeId, VolumeName, ZoneId,
};
use volume_daemon::observe::JobAnswer;
use volume_daemon::plan::{
    Decision, Desired, Index, Policy, SourceHealth, World, decide, unknown_claims,
};
use volume_daemon::reconcile::settle::{self, Verdict};
use volume_daemon::store::PlacementChange;

use super::world::{Act, Age, Break, Call, Stage, State, Stored, VMS, View, Vm};

/// What is decided for a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Act(Act),
    Bind(usize),
    InSync,
    /// Until somebody does something.
    Stuck,
    /// Not yet.
    Later,
}

/// How an intent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    Succeeded,
    Failed,
    NeverSent,
    Lost,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Succeeded => "it succeeded",
            Self::Failed => "it failed",
            Self::NeverSent => "it was never sent",
            Self::Lost => "its end is lost",
        })
    }
}

/// All that a decision about one spec depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Question {
    spec: usize,
    view: View,
    is_outdated: bool,
    store: Vec<Stored>,
    wanted: Vec<Vm>,
}

/// The rules, and what they said before.
#[derive(Debug, Default)]
pub struct Rule {
    known: RefCell<HashMap<Question, Choice>>,
}

/// What settled did so at this moment.
const SETTLED: BootTime = BootTime::from_millis(10);
/// A look from before that.
const BEFORE: BootTime = BootTime::from_millis(5);
/// The host's disks are read before CloudStack is.
const HOST: BootTime = BootTime::from_millis(20);
/// A look that counts.
const AFTER: BootTime = BootTime::from_millis(30);
const ANSWERED: BootTime = BootTime::from_millis(25);
const NOW: Now = Now {
    wall: Timestamp::from_millis(1_800_000_000_000),
    boot: BootTime::from_millis(40),
};
const SIZE: ByteSize = ByteSize::gib(1);
const ZONE: ZoneId = ZoneId::new(Uuid::from_u128(1));
const OFFERING: OfferingId = OfferingId::new(Uuid::from_u128(2));
const INSTANCE: InstanceId = InstanceId::new(Uuid::from_u128(3));
const TTL: Duration = Duration::from_secs(60);
const HANDLING: Duration = Duration::from_secs(60);

fn name(spec: usize) -> VolumeName {
    ["a", "b"][spec].parse().expect("a name")
}

fn uid(spec: usize) -> SpecUid {
    SpecUid::new(Uuid::from_u128(10 + spec as u128))
}

/// The first digits differ, so the serials do.
fn volume(row: usize) -> VolumeId {
    VolumeId::new(Uuid::from_u128((row as u128 + 1) << 96))
}

fn row_of(id: VolumeId) -> usize {
    (0..).find(|row| volume(*row) == id).expect("it is ours")
}

fn vm(vm: Vm) -> VmId {
    VmId::new(Uuid::from_u128(100 + vm as u128))
}

fn vm_of(id: VmId) -> Vm {
    (0..VMS).find(|no| vm(*no) == id).expect("one of ours")
}

fn claim(spec: usize) -> Claim {
    Claim {
        instance: INSTANCE,
        spec: uid(spec),
        mark: Mark::Created,
    }
}

fn action(spec: usize, act: Act) -> Action {
    match act {
        Act::Create => Action::Create {
            volume_name: name(spec).to_string(),
            size: SIZE,
            zone: ZONE,
            offering: OFFERING,
        },
        Act::Tag(row) => Action::Tag {
            volume: volume(row),
            claim: claim(spec),
        },
        Act::Attach(row, to) => Action::Attach {
            volume: volume(row),
            vm: vm(to),
            device_id: None,
        },
        Act::Detach(row, from) => Action::Detach {
            volume: volume(row),
            vm: vm(from),
        },
    }
}

fn act(action: &Action) -> Choice {
    match action {
        Action::Create { .. } => Choice::Act(Act::Create),
        Action::Tag { volume, .. } => Choice::Act(Act::Tag(row_of(*volume))),
        Action::Attach { volume, vm, .. } => Choice::Act(Act::Attach(row_of(*volume), vm_of(*vm))),
        Action::Detach { volume, vm } => Choice::Act(Act::Detach(row_of(*volume), vm_of(*vm))),
        Action::Bind { volume, .. } => Choice::Bind(row_of(*volume)),
        Action::Grow { .. }
        | Action::Delete { .. }
        | Action::Export { .. }
        | Action::Withdraw { .. } => {
            panic!("nothing in this world asks for {action}")
        }
    }
}

fn want(spec: usize, wanted: Vm) -> DesiredVolume {
    DesiredVolume {
        document: VolumeDocument {
            name: name(spec),
            labels: BTreeMap::new(),
            spec: VolumeSpec {
                mode: Mode::Enforce,
                suspend: false,
                origin: Origin::Create {
                    volume_name: name(spec).to_string(),
                    size: SIZE,
                    zone: NameOrId::Id(ZONE),
                    offering: NameOrId::Id(OFFERING),
                },
                attach_to: Some(AttachSpec {
                    vm: AttachVm::Vm(NameOrId::Id(vm(wanted))),
                    device_id: None,
                    take: Move::Never,
                }),
                export: None,
                reclaim_policy: Reclaim::Retain,
                deletion_protection: true,
            },
        },
        uid: uid(spec),
        generation: 1,
        owner: Owner::File("small.yaml".to_owned()),
        presence: Presence::Declared,
    }
}

fn cloud_volume(no: usize, view: &View, begun: BootTime) -> CloudVolume {
    let (row, job) = view.rows[no];
    let tag = (CLAIM_TAG.to_owned(), claim(row.spec).to_string());
    CloudVolume {
        id: volume(no),
        name: name(row.spec).to_string(),
        size: SIZE,
        state: VolumeState::Ready,
        kind: VolumeKind::Data,
        zone: ZONE,
        offering: Some(OFFERING),
        attachment: row.on.map(|on| Attachment {
            vm: vm(on),
            device_id: None,
        }),
        pending_job: job.then(|| JobId::new(Uuid::from_u128(9))),
        tags: row.claimed.then_some(tag).into_iter().collect(),
        created: None,
        begun,
    }
}

/// What a daemon that read CloudStack at `begun` observes.
fn observed(view: &View, begun: BootTime, broken: Option<Break>) -> Observed {
    let mut observed = Observed {
        host: HostView {
            disks: Reading::Present(Disks::default()),
            self_vm: Reading::Present(vm(0)),
            begun: HOST,
        },
        nbd: NbdView::read(Reading::Present(BTreeMap::new()), HOST),
        ..Observed::default()
    };
    let cloud = &mut observed.cloud;
    cloud.listed = Ok(begun);
    for no in 0..view.rows.len() {
        if view.rows[no].0.gone {
            cloud.absent.insert(volume(no), begun);
        } else {
            let seen = cloud_volume(no, view, begun);
            cloud.volumes.insert(seen.id, seen);
        }
    }
    for no in 0..VMS {
        let stirs = view.stirring[no] && broken != Some(Break::IgnoresStirringVms);
        let seen = CloudVm {
            id: vm(no),
            name: format!("vm-{no}"),
            state: match (stirs, no) {
                (true, _) => VmState::Transitional("Starting".to_owned()),
                (false, 0) => VmState::Running,
                (false, _) => VmState::Stopped,
            },
            zone: ZONE,
            begun,
        };
        cloud.vms.insert(seen.id, seen);
    }
    observed
}

fn intent(spec: usize, open: &super::world::Intent) -> Intent {
    let id = IntentId::new(Uuid::from_u128(1_000 + u128::from(open.id)));
    Intent {
        id,
        name: name(spec),
        generation: 1,
        action: action(spec, open.act),
        cause: Cause::Declared,
        created: NOW.wall,
        expires: NOW.wall.plus(TTL),
        progress: if open.answered {
            Progress::Submitted(id.job())
        } else {
            Progress::Journalled
        },
    }
}

fn memory(store: &[Stored], broken: Option<Break>) -> Memory {
    let mut memory = Memory::new(INSTANCE);
    for (spec, stored) in store.iter().enumerate() {
        let binding = stored.binding.map(|row| Binding {
            volume: volume(row),
            uid: uid(spec),
            mark: Mark::Created,
        });
        if let (Some(binding), Some(on)) = (binding, stored.placement) {
            memory.placements.insert(binding.volume, vm(on));
        }
        memory
            .bindings
            .extend(binding.map(|binding| (name(spec), binding)));
        let open = stored.intent.as_ref();
        let open = open.filter(|_| broken != Some(Break::PlansOnWhileOpen));
        memory
            .intents
            .extend(open.map(|open| (name(spec), intent(spec, open))));
        let resolution = Resolution {
            generation: 1,
            zone: Some(ZONE),
            offering: Some(OFFERING),
            vm: None,
            existing: None,
        };
        memory.resolutions.insert(name(spec), resolution);
    }
    memory
}

fn world(
    store: &[Stored],
    wanted: &[Vm],
    (view, begun): (&View, BootTime),
    broken: Option<Break>,
) -> World {
    let wants = wanted.iter().enumerate();
    let volumes = wants
        .clone()
        .map(|(spec, at)| (name(spec), want(spec, *at)));
    let mut memory = memory(store, broken);
    for (spec, at) in wants {
        if let Some(resolution) = memory.resolutions.get_mut(&name(spec)) {
            resolution.vm = Some(vm(*at));
        }
    }
    let mut world = World {
        desired: Desired::new(volumes.collect(), SourceHealth::Sound, []),
        observed: observed(view, begun, broken),
        memory,
    };
    world.memory.unknown_claims = unknown_claims(&world);
    world
}

impl Rule {
    /// What the daemon does for `spec`, having seen `view`.
    pub fn decide(&self, state: &State, view: &View, spec: usize, broken: Option<Break>) -> Choice {
        let daemon = state.daemon.as_ref().expect("it looked");
        let question = Question {
            spec,
            view: view.clone(),
            is_outdated: daemon.outdated[spec],
            store: state.store.clone(),
            wanted: state.wanted.clone(),
        };
        if let Some(choice) = self.known.borrow().get(&question) {
            return *choice;
        }
        let choice = ask(&question, broken);
        self.known.borrow_mut().insert(question, choice);
        choice
    }

    /// How the open intent of `spec` ended, if that is known, and what is stored then.
    pub fn settle(
        &self,
        state: &State,
        spec: usize,
        broken: Option<Break>,
    ) -> Option<(Ended, Stored)> {
        let stored = &state.store[spec];
        let open = stored.intent.as_ref()?;
        let mut view = state.view();
        let takes_lost = broken == Some(Break::TakesLostForNothing);
        if takes_lost {
            view.rows.iter_mut().for_each(|(row, _)| row.gone = true);
        }
        let world = world(&state.store, &state.wanted, (&view, AFTER), broken);
        let intent = intent(spec, open);
        let call = state.calls.iter().find(|call| call.id == open.id);
        let answer = answer(call, open.age, &intent, broken);
        let Verdict::Ended(outcome) = settle::judge(&world, &intent, &answer, HANDLING) else {
            return None;
        };
        let effects = settle::effects(&intent, &outcome, uid(spec));
        let mut after = *stored;
        after.intent = None;
        after.binding = match effects.binding {
            Some(binding) => Some(row_of(binding.volume)),
            None => after.binding,
        };
        after.placement = match effects.placement {
            Some(PlacementChange::Put(_, on)) => Some(vm_of(on)),
            Some(PlacementChange::Forget(_)) => None,
            None => after.placement,
        };
        let ended = match outcome {
            Outcome::Succeeded { .. } => Ended::Succeeded,
            Outcome::Failed { .. } => Ended::Failed,
            Outcome::NeverSent => Ended::NeverSent,
            Outcome::Lost { .. } => Ended::Lost,
        };
        Some((ended, after))
    }
}

fn ask(question: &Question, broken: Option<Break>) -> Choice {
    let Question {
        spec,
        view,
        is_outdated,
        store,
        wanted,
    } = question;
    let mut view = view.clone();
    if broken == Some(Break::PlansOnWhileOpen) {
        view.rows.iter_mut().for_each(|(_, job)| *job = false);
    }
    let begun = if *is_outdated { BEFORE } else { AFTER };
    let mut world = world(store, wanted, (&view, begun), broken);
    let policy = Policy {
        heal_delay: Duration::ZERO,
        ..Policy::default()
    };
    if *is_outdated {
        world.memory.settled.insert(name(*spec), SETTLED);
    }
    let index = Index::new(&world);
    let want = &world.desired.volumes[&name(*spec)];
    match decide(&world, &index, &policy, want, NOW).decision {
        Decision::Act { now, .. } => act(&now.action),
        Decision::InSync => Choice::InSync,
        Decision::Blocked { .. } => Choice::Stuck,
        Decision::Waiting { .. } | Decision::Observing { .. } => Choice::Later,
        Decision::Released => panic!("no spec goes away here"),
    }
}

/// What CloudStack says of the job of `intent`.
fn answer(call: Option<&Call>, age: Age, intent: &Intent, broken: Option<Break>) -> JobAnswer {
    let made = call.and_then(Call::row).map(volume);
    let text = String::new();
    let state = match call.map(|call| call.stage) {
        None | Some(Stage::Held | Stage::Sent | Stage::Accepted) => JobState::NotFound,
        Some(Stage::Queued(_)) => JobState::Pending,
        Some(Stage::Done) => JobState::Succeeded { volume: made },
        Some(Stage::Failed) => JobState::Failed {
            class: FailureClass::Retry,
            code: 530,
            volume: made,
            text,
        },
        Some(Stage::Lost | Stage::Ghost) => JobState::Lost { volume: made, text },
    };
    let age = match broken {
        Some(Break::JudgesUnknownAtOnce) => Age::Over,
        _ => age,
    };
    let second = Duration::from_secs(1);
    let server = match age {
        Age::Young => NOW.wall,
        Age::Expired => intent.expires.plus(second),
        Age::Over => intent.expires.plus(HANDLING + second),
    };
    JobAnswer {
        state,
        begun: ANSWERED,
        server: Some(server),
    }
}
