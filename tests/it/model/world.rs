//! The small world: CloudStack's rows, jobs and queues, the daemon's store, the daemon, and one
//! that was presumed dead. What happens in it, and what is wrong when.
//!
//! Times are not counted: a call is not over, or too old to be accepted, or so old that it can no
//! longer be under way. A look may be of any age when it is used.

use std::fmt;

use super::rule::{Ended, Rule};

/// A VM: the one the daemon runs on, or another one, which is stopped.
pub type Vm = usize;
pub const VMS: usize = 2;

/// A volume in CloudStack. Its place in the list is its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    /// The spec whose volume's name it has.
    pub spec: usize,
    pub claimed: bool,
    pub on: Option<Vm>,
    /// Somebody deleted it.
    pub gone: bool,
}

impl Row {
    /// As a create leaves it.
    pub const fn new(spec: usize) -> Self {
        Self {
            spec,
            claimed: false,
            on: None,
            gone: false,
        }
    }
}

/// A mutating call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    Create,
    Tag(usize),
    Attach(usize, Vm),
    /// From the VM it was seen on.
    Detach(usize, Vm),
}

/// How far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A daemon is about to send it.
    Held,
    /// It is under way.
    Sent,
    /// CloudStack accepted it and shows no job yet.
    Accepted,
    /// Its job waits or runs; if it is about an attachment, in the queue of this VM.
    Queued(Option<Vm>),
    Done,
    Failed,
    /// The server that ran it was restarted.
    Lost,
    /// The same, and yet somebody works on it.
    Ghost,
}

/// One call on its way, and then its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    pub id: u8,
    pub spec: usize,
    pub act: Act,
    pub stage: Stage,
    /// The volume that it made.
    pub made: Option<usize>,
    /// The daemon that runs waits for its answer.
    pub awaited: bool,
    /// CloudStack no longer accepts it.
    pub expired: bool,
    /// An attach that was asked for later has happened.
    pub overtaken: bool,
}

impl Call {
    /// Whether it may still change something.
    pub fn may_act(&self) -> bool {
        match self.stage {
            Stage::Held | Stage::Sent => !self.expired,
            Stage::Accepted | Stage::Queued(_) | Stage::Ghost => true,
            Stage::Done | Stage::Failed | Stage::Lost => false,
        }
    }

    pub fn is_accepted(&self) -> bool {
        matches!(self.stage, Stage::Accepted | Stage::Queued(_))
    }

    pub fn is_queued(&self) -> bool {
        matches!(self.stage, Stage::Queued(_))
    }

    /// The volume that it is about.
    pub fn row(&self) -> Option<usize> {
        match self.act {
            Act::Create => self.made,
            Act::Tag(row) | Act::Attach(row, _) | Act::Detach(row, _) => Some(row),
        }
    }

    /// The VM that it is about.
    pub fn vm(&self) -> Option<Vm> {
        match self.act {
            Act::Create | Act::Tag(_) => None,
            Act::Attach(_, vm) | Act::Detach(_, vm) => Some(vm),
        }
    }

    pub fn is_detach_of(&self, row: usize) -> bool {
        matches!(self.act, Act::Detach(of, _) if of == row)
    }
}

/// What a call is called in a history.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = ["a", "b"][self.spec];
        match self.act {
            Act::Create => write!(f, "create {spec}"),
            Act::Tag(_) => write!(f, "tag {spec}"),
            Act::Attach(_, vm) => write!(f, "attach {spec} to VM {vm}"),
            Act::Detach(_, vm) => write!(f, "detach {spec} from VM {vm}"),
        }
    }
}

/// How old an open intent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Age {
    Young,
    /// CloudStack accepts its call no longer.
    Expired,
    /// What was accepted in time shows by now.
    Over,
}

/// A row of the journal without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Intent {
    pub id: u8,
    pub act: Act,
    /// Whether CloudStack's answer is recorded.
    pub answered: bool,
    pub age: Age,
}

impl Intent {
    pub const fn new(call: Call, answered: bool) -> Self {
        Self {
            id: call.id,
            act: call.act,
            answered,
            age: Age::Young,
        }
    }
}

/// What is stored about a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stored {
    pub binding: Option<usize>,
    pub placement: Option<Vm>,
    pub intent: Option<Intent>,
}

/// CloudStack, as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    /// Each volume, and whether a job on it was pending.
    pub rows: Vec<(Row, bool)>,
    pub stirring: [bool; VMS],
}

/// What only a running daemon knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Daemon {
    pub view: Option<View>,
    /// Of each spec, whether an intent settled since that look.
    pub outdated: Vec<bool>,
}

/// What concerns only the judge.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Judge {
    /// Of each spec, where its volume may be by all intents that ended: on no VM, on each VM.
    said: Vec<[bool; VMS + 1]>,
    /// Its first binding.
    pub first: Vec<Option<usize>>,
    pub wrong: Option<&'static str>,
}

/// Where an intent says that a volume goes.
fn target(act: Act) -> Option<usize> {
    match act {
        Act::Create | Act::Tag(_) => None,
        Act::Attach(_, vm) => Some(vm),
        Act::Detach(..) => Some(VMS),
    }
}

impl Judge {
    /// An intent ended.
    pub fn settle(&mut self, spec: usize, act: Act, ended: Ended) {
        let Some(target) = target(act) else {
            return;
        };
        match ended {
            Ended::Succeeded => self.said[spec] = [false; VMS + 1],
            Ended::Lost => {}
            Ended::Failed | Ended::NeverSent => return,
        }
        self.said[spec][target] = true;
    }

    /// Whether some intent says that the volume of `spec` is there.
    pub fn is_said(&self, spec: usize, open: Option<Intent>, on: Option<Vm>) -> bool {
        let place = on.unwrap_or(VMS);
        self.said[spec][place] || open.is_some_and(|intent| target(intent.act) == Some(place))
    }
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub rows: Vec<Row>,
    /// In the order in which CloudStack took them.
    pub calls: Vec<Call>,
    pub stirring: [bool; VMS],
    pub store: Vec<Stored>,
    /// The daemon that holds the lease; `None`: it died.
    pub daemon: Option<Daemon>,
    /// Whether there was another daemon before, which may be paused.
    pub taken_over: bool,
    /// Where each spec wants its volume.
    pub wanted: Vec<Vm>,
    pub judge: Judge,
    /// How much more trouble there may be.
    pub troubles: u8,
    /// How often specs may still be edited.
    pub edits: u8,
}

impl State {
    /// Each spec wants its volume on VM 0; whether it is there already.
    pub fn new(there: &[bool], troubles: u8, edits: u8) -> Self {
        let specs = there.len();
        let mut state = Self {
            rows: Vec::new(),
            calls: Vec::new(),
            stirring: [false; VMS],
            store: vec![Stored::default(); specs],
            daemon: Some(Daemon {
                view: None,
                outdated: vec![false; specs],
            }),
            taken_over: false,
            wanted: vec![0; specs],
            judge: Judge {
                said: Vec::new(),
                first: vec![None; specs],
                wrong: None,
            },
            troubles,
            edits,
        };
        for (spec, is_there) in there.iter().enumerate() {
            let on = is_there.then_some(0);
            let mut said = [false; VMS + 1];
            said[on.unwrap_or(VMS)] = true;
            state.judge.said.push(said);
            if *is_there {
                state.store[spec].binding = Some(state.rows.len());
                state.store[spec].placement = on;
                state.rows.push(Row {
                    claimed: true,
                    on,
                    ..Row::new(spec)
                });
            }
        }
        state
    }
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Looks,
    Journals(Call),
    Binds(usize),
    Sends(Call),
    IsRefused(Call),
    IsAccepted(Call),
    ShowsJob(Call),
    IsAnswered(Call),
    Runs(Call),
    Settles(usize, Ended),
    Ages(usize, Age),
    Starts,
    VmRests(Vm),
    Edits(usize),
    AnswerIsLost(Call),
    Crashes,
    IsReplaced,
    RestartLoses(Call, bool),
    VmStirs(Vm),
    IsDeleted(usize),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |spec: &usize| ["a", "b"][*spec];
        match self {
            Self::Looks => write!(f, "the daemon reads CloudStack"),
            Self::Journals(call) => write!(f, "it decides and journals: {call}"),
            Self::Binds(spec) => write!(f, "it binds {} to what has its claim", name(spec)),
            Self::Sends(call) if call.awaited => write!(f, "it sends: {call}"),
            Self::Sends(call) => write!(f, "the daemon that was replaced wakes and sends: {call}"),
            Self::IsRefused(call) => write!(f, "CloudStack refuses, it came too late: {call}"),
            Self::IsAccepted(call) => write!(f, "CloudStack accepts: {call}"),
            Self::ShowsJob(call) => write!(f, "CloudStack has a job: {call}"),
            Self::IsAnswered(call) => write!(f, "the answer arrives: {call}"),
            Self::Runs(call) => write!(f, "the job runs: {call}"),
            Self::Settles(spec, ended) => write!(f, "the daemon settles {}: {ended}", name(spec)),
            Self::Ages(spec, Age::Over) => {
                write!(
                    f,
                    "so much time passes that the call for {} is over",
                    name(spec)
                )
            }
            Self::Ages(spec, _) => write!(f, "time passes, the call for {} expires", name(spec)),
            Self::Starts => write!(f, "the daemon starts again"),
            Self::VmRests(vm) => write!(f, "VM {vm} is at rest"),
            Self::Edits(spec) => write!(f, "somebody wants {} on the other VM", name(spec)),
            Self::AnswerIsLost(call) => write!(f, "TROUBLE: no answer arrives: {call}"),
            Self::Crashes => write!(f, "TROUBLE: the daemon crashes"),
            Self::IsReplaced => {
                write!(
                    f,
                    "TROUBLE: the daemon pauses, is presumed dead, and another takes over"
                )
            }
            Self::RestartLoses(call, true) => {
                write!(f, "TROUBLE: the management server restarts after: {call}")
            }
            Self::RestartLoses(call, false) => {
                write!(f, "TROUBLE: the management server restarts before: {call}")
            }
            Self::VmStirs(vm) => write!(f, "TROUBLE: somebody stops or starts VM {vm}"),
            Self::IsDeleted(spec) => write!(f, "TROUBLE: somebody deletes {}", name(spec)),
        }
    }
}

/// A rule that a test breaks, to see what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// It decides as if no call of its own were open, and no job pending.
    PlansOnWhileOpen,
    /// A call of which CloudStack knows no job is taken for never sent.
    JudgesUnknownAtOnce,
    /// CloudStack accepts calls for ever.
    NothingExpires,
    /// The journal is written when the answer arrives.
    SendsBeforeTheJournal,
    /// A call without an answer is sent again.
    SendsAgain,
    /// A daemon that starts knows no binding.
    ForgetsBindings,
    /// A create without a result made nothing.
    TakesLostForNothing,
    /// It does not see that a VM is between two states.
    IgnoresStirringVms,
    /// Not a rule of the daemon: CloudStack says that a job is lost, and goes on with it. This
    /// shows what no rule of the daemon helps against.
    LostJobsGoOn,
}

/// Which world is visited.
pub struct Small {
    /// Whether each spec's volume is there already, on VM 0.
    pub there: Vec<bool>,
    pub troubles: u8,
    pub edits: u8,
    /// Whether other people stop and start VMs, and delete volumes.
    pub others: bool,
    pub broken: Option<Break>,
    /// Of what may be wrong, only this is looked for.
    pub only: Option<&'static str>,
    pub rule: Rule,
}

pub const OVERLAP: &str = "I1: a call is accepted while another one on that volume is pending";
pub const STIRRING: &str = "I1: a call on a VM that was seen between two states";
pub const NO_INTENT: &str = "I7: a call that may still act has no open intent";
pub const SENT_TWICE: &str = "I7: a call is sent twice";
pub const SECOND_VOLUME: &str = "I7: a spec has two volumes";
pub const CREATE_BOUND: &str = "I13: a create for a bound spec";
pub const REBOUND: &str = "I13: a binding changes";
pub const UNSAID: &str = "harm: a volume is where no intent says";
pub const WIPED: &str = "harm: a late detach takes a newer attachment away";
