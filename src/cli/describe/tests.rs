use super::super::fixture::{self, NOW, blocked, in_flight, later, ready, report, spec, waiting};
use super::*;
use crate::config::Address;

fn shown_at(report: &Report, spec: Option<&DesiredVolume>, now: Timestamp) -> String {
    let help = Help {
        report,
        volume: &report.volumes[0],
        spec,
        nbd: &Address::Unix("/run/nbd.sock".into()),
    };
    fixture::plain(&text(help, now))
}

fn shown(report: &Report) -> String {
    shown_at(report, Some(&spec("pg")), later(NOW, 2))
}

#[test]
fn a_ready_volume_shows_its_whole_chain() {
    let expected = "\
pg
Ready: as declared
for at least 3m12s, since 2027-01-15T07:56:50Z

Desired
  cloud    volume pg, 40GiB, from Custom in zone-1, on this VM
  export   migration-vol-2aff4799-0000-0000-0000-000000000000, read-write
  policy   enforced; Retain: once the spec is gone, only the export ends

Chain
  LAYER    SOURCE       READ   FACT
  spec     specs        -      file:/etc/volume-daemon/specs/pg.yaml, generation 3
  cloud    cloudstack   14s    volume 2aff4799-0000-0000-0000-000000000000, 40GiB, on VM pg (00000000-0000-0000-0000-000000000007) as device 1
  device   host         5s     /dev/vdb (254:16), 40GiB, /dev/disk/by-id/virtio-2aff4799000000000000
  export   nbd          6s     migration-vol-pg, 40GiB, read-write, 2 clients

Differences
  none that nobody is working on

Conditions
  TYPE    STATUS   FOR     REASON   MESSAGE
  Ready   True     3m12s   Ready    as declared

Next
  nothing is to be done

";
    let mut volume = ready("pg");
    volume.conditions[0].last_transition_time = Timestamp::from_millis(NOW.as_millis() - 190_000);
    assert_eq!(shown(&report([volume])), expected);
    // Whoever sees it for the first time cannot tell since when it is so.
    let first = shown(&report([ready("pg")]));
    assert!(!first.contains("for at least"), "{first}");
    assert!(first.contains("Ready   True     -     Ready"), "{first}");
    let unread = shown_at(&report([ready("pg")]), None, NOW);
    assert!(unread.contains("Desired\n  not known: "), "{unread}");
}

#[test]
fn a_blocked_volume_says_what_differs_and_what_to_try() {
    let text = shown(&report([blocked("pg")]));
    for part in [
        "Blocked: attached to VM x; detach it there\n",
        "no disk with serial 2aff4799000000000000 here",
        "not served",
        "  FIELD              DESIRED   OBSERVED\n  spec.attachTo.vm   pg        x\n",
        "Next\n  ForeignAttachment: attached to VM x; detach it there\n    means: Attached to a VM",
        "\n    then: goes on by itself once somebody has settled that\n  1. attach the volume",
        "\nTry: cmk list volumes id=2aff4799-0000-0000-0000-000000000000\n",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
}

#[test]
fn a_call_in_flight_is_shown_with_its_job_and_its_end() {
    let text = shown(&report([in_flight("pg")]));
    let expected = "\
In flight
  attach the volume to VM pg (healing), for 22s
  CloudStack job 00000000-0000-0000-0000-000000000009
  CloudStack accepts the call for another 38s
  journal row 00000000-0000-0000-0000-000000000005
";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("Try: volume-daemon wait volume/pg --for=Ready"),
        "{text}"
    );
    let late = shown_at(&report([in_flight("pg")]), None, later(NOW, 60));
    assert!(late.contains("no longer accepts"), "{late}");
}

#[test]
fn a_volume_that_is_not_there_yet_says_when_it_goes_on() {
    let text = shown(&report([waiting("pg")]));
    for part in [
        "no volume yet",
        "no disk yet",
        "due in 28s",
        "1. create pg with 40GiB",
        "Try: volume-daemon get intents pg -o wide",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
}

#[test]
fn what_is_too_old_or_was_not_read_is_marked() {
    let mut old = ready("pg");
    old.observed.age_ms = Some(179_000);
    let text = shown(&report([old.clone()]));
    assert!(text.contains("3m1s (stale)"), "{text}");
    old.observed.age_ms = None;
    old.capacity.cloud = None;
    old.attachment = None;
    let mut unread = report([old]);
    unread.sources[2].ok = false;
    let text = shown(&unread);
    assert!(text.contains("warning: nbd: not read yet"), "{text}");
    assert!(text.contains("size not known"), "{text}");
    assert_eq!(text.matches("   not known   ").count(), 2, "{text}");
    // Could not be read is not absent.
    let mut unread = report([waiting("pg")]);
    for source in &mut unread.sources {
        source.ok = false;
    }
    let text = chain(&unread, &unread.volumes[0], Duration::ZERO);
    for absent in ["no volume yet", "no disk yet", "not served"] {
        assert!(!text.contains(absent), "{text}");
    }
}
