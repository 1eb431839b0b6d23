//! `plan --explain`: the facts that a path follows from, the rules behind what holds it up, and what
//! each step changes.
//!
//! Compares nothing by itself: which steps there are is the planner's word. This only adds what was
//! read, from where and when, and what the spec says about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::Style;

use super::{due, step};
use crate::cli::output::{BAD, DIM, GOOD, PENDING};
use crate::cli::{describe, desired, reasons};
use crate::model::{DesiredVolume, Timestamp, VolumeName};
use crate::plan::Drift;
use crate::reconcile::report::{Report, StepStatus, VolumeStatus};

/// How far volumes are indented in a plan.
const INDENT: &str = "    ";

/// Everything about the path of one volume.
pub(super) fn volume(
    report: &Report,
    volume: &VolumeStatus,
    specs: &BTreeMap<VolumeName, DesiredVolume>,
    now: Timestamp,
) -> String {
    let elapsed = now.since(report.at);
    let mut text = String::new();
    for line in describe::chain(report, volume, elapsed).lines().skip(1) {
        let _ = writeln!(text, "{INDENT}{DIM}{line}{DIM:#}");
    }
    let plan = &volume.plan;
    for reason in &plan.held_by {
        let _ = writeln!(text, "{INDENT}{}: {}", reason.code, reason.message);
        if let Some(meaning) = reasons::meaning(&reason.code) {
            let _ = writeln!(text, "{INDENT}   {DIM}rule: {meaning}{DIM:#}");
        }
        let mut goes_on = reasons::goes_on(&reason.code).to_owned();
        if let Some(due) = due(plan, elapsed) {
            goes_on = format!("{goes_on}; {due}");
        }
        let _ = writeln!(text, "{INDENT}   {DIM}then: {goes_on}{DIM:#}");
    }
    for drift in &volume.drift {
        text += &differs(drift);
    }
    let steps = plan.now.iter().chain(&plan.then);
    for (number, of) in (1..).zip(steps) {
        text += &step(number, of, INDENT);
        for Change { sign, what } in changes(of, volume, specs.get(&volume.name)) {
            let (style, sign) = sign.shown();
            let _ = writeln!(text, "{INDENT}   {style}{sign} {what}{style:#}");
        }
    }
    text
}

/// A difference that no step ends by itself.
fn differs(drift: &Drift) -> String {
    let Drift {
        field,
        desired,
        observed,
        ..
    } = drift;
    format!(
        "{INDENT}{PENDING}~ {field}{PENDING:#}\n\
         {INDENT}   {BAD}- {observed}{BAD:#}\n\
         {INDENT}   {GOOD}+ {desired}{GOOD:#}\n"
    )
}

/// What becomes of something by a step.
#[derive(Clone, Copy)]
enum Sign {
    /// It is there afterwards.
    Comes,
    /// It is not there any more.
    Goes,
    /// It is another one.
    Changes,
}

impl Sign {
    const fn shown(self) -> (Style, char) {
        match self {
            Self::Comes => (GOOD, '+'),
            Self::Goes => (BAD, '-'),
            Self::Changes => (PENDING, '~'),
        }
    }
}

struct Change {
    sign: Sign,
    what: String,
}

/// What a step changes, as far as that is known.
fn changes(step: &StepStatus, volume: &VolumeStatus, spec: Option<&DesiredVolume>) -> Vec<Change> {
    let comes = |what: String| Change {
        sign: Sign::Comes,
        what,
    };
    let goes = |what: String| Change {
        sign: Sign::Goes,
        what,
    };
    match step.kind.as_str() {
        "Create" => spec
            .map(|spec| comes(desired::volume(spec)))
            .into_iter()
            .collect(),
        "Tag" => vec![comes(format!(
            "the tag volume-daemon/uid, which says that it is {}'s",
            volume.name
        ))],
        "Bind" => vec![comes(format!(
            "{} and this volume belong together from now on",
            volume.name
        ))],
        "Grow" => {
            let from = volume.capacity.cloud;
            let to = spec.and_then(|spec| spec.spec().origin.size());
            let sizes = from.zip(to).map(|(from, to)| Change {
                sign: Sign::Changes,
                what: format!("{from} → {to}"),
            });
            sizes.into_iter().collect()
        }
        "Attach" => spec
            .map(|spec| comes(desired::place(spec)))
            .into_iter()
            .collect(),
        "Detach" => {
            let at = volume.attachment.as_ref();
            let name = at.map(|at| at.vm_name.clone().unwrap_or_else(|| at.vm.to_string()));
            name.map(|name| goes(format!("on VM {name}")))
                .into_iter()
                .collect()
        }
        "Export" => spec
            .map(|spec| comes(desired::export(spec, volume.volume_id)))
            .into_iter()
            .collect(),
        "Withdraw" => {
            let served = volume
                .export
                .as_ref()
                .map(|_| goes(describe::export(volume)));
            served.into_iter().collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{
        NOW, blocked, later, plain, progressing, ready, report, spec, waiting,
    };

    fn shown(volume: VolumeStatus, with_spec: bool) -> String {
        let name = volume.name.clone();
        let report = report([volume]);
        let specs = with_spec.then(|| (name.clone(), spec(name.as_str())));
        let specs = specs.into_iter().collect();
        let text = super::volume(&report, &report.volumes[0], &specs, later(NOW, 2));
        plain(&text)
    }

    #[test]
    fn a_path_is_shown_with_its_facts_and_what_it_changes() {
        let expected = "
    spec     specs        -      file:/etc/volume-daemon/specs/b.yaml, generation 3
    cloud    cloudstack   14s    no volume yet
    device   host         5s     no disk yet
    export   nbd          6s     not served
    1. attach the volume to VM pg
       the spec asks for this VM
       + on this VM
    2. export it as migration-vol-b
       the spec asks for an export
       + migration-vol-<its id>, read-write
";
        assert_eq!(format!("\n{}", shown(progressing("b"), true)), expected);
    }

    #[test]
    fn what_holds_it_up_comes_with_its_rule_and_its_end() {
        let expected = "
    QuotaExceeded: attempt 2 failed and will be repeated: no room
       rule: The last attempt failed; the next one is due later.
       then: is tried again by itself, each time after a longer pause; due in 28s
    1. create d with 40GiB
       there is no volume yet
       + volume d, 40GiB, from Custom in zone-1
";
        let text = shown(waiting("d"), true);
        let (_, text) = text.split_once("not served").expect("the chain");
        assert_eq!(text, expected);
    }

    #[test]
    fn a_difference_is_shown_from_observed_to_desired() {
        let expected = "
    ForeignAttachment: attached to VM x; detach it there
       rule: Attached to a VM that is neither the desired one nor the one we put it on (I2).
       then: goes on by itself once somebody has settled that
    ~ spec.attachTo.vm
       - x
       + pg
    1. attach the volume to VM pg
       the spec asks for this VM
";
        let text = shown(blocked("e"), false);
        let (_, text) = text.split_once("not served").expect("the chain");
        assert_eq!(text, expected);
    }

    #[test]
    fn each_kind_of_step_says_what_comes_and_what_goes() {
        let mut want = spec("a");
        let step = |kind: &str| StepStatus {
            kind: kind.to_owned(),
            text: String::new(),
            reason: String::new(),
        };
        if let crate::model::desired::Origin::Create { size, .. } = &mut want.document.spec.origin {
            *size = crate::model::ByteSize::gib(50);
        }
        for (kind, expected) in [
            ("Create", "+ volume a, 50GiB, from Custom in zone-1"),
            (
                "Tag",
                "+ the tag volume-daemon/uid, which says that it is a's",
            ),
            ("Bind", "+ a and this volume belong together from now on"),
            ("Grow", "~ 40GiB → 50GiB"),
            ("Attach", "+ on this VM"),
            ("Detach", "- on VM pg"),
            (
                "Export",
                "+ migration-vol-2aff4799-0000-0000-0000-000000000000, read-write",
            ),
            (
                "Withdraw",
                "- migration-vol-a, 40GiB, read-write, 2 clients",
            ),
        ] {
            let changes = changes(&step(kind), &ready("a"), Some(&want));
            let shown: Vec<String> = changes
                .iter()
                .map(|change| format!("{} {}", change.sign.shown().1, change.what))
                .collect();
            assert_eq!(shown, [expected], "{kind}");
        }
        assert!(changes(&step("Create"), &ready("a"), None).is_empty());
    }
}
