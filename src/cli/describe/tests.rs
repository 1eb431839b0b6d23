use super::super::fixture::{self, NOW, blocked, in_flight, later, ready, report, waiting};
use super::*;

fn shown(report: &Report) -> String {
    fixture::plain(&text(report, &report.volumes[0], later(NOW, 2)))
}

#[test]
fn a_ready_volume_shows_its_whole_chain() {
    let expected = "\
pg
Ready: as declared

Chain
  LAYER    SOURCE       READ   FACT
  spec     specs        -      file:/etc/volume-daemon/specs/pg.yaml, generation 3
  cloud    cloudstack   14s    volume 2aff4799-0000-0000-0000-000000000000, 40GiB, on VM pg (00000000-0000-0000-0000-000000000007) as device 1
  device   host         5s     /dev/vdb (254:16), 40GiB, /dev/disk/by-id/virtio-2aff4799000000000000
  export   nbd          6s     migration-vol-pg, 40GiB, read-write, 2 clients

Differences
  none that nobody is working on

Conditions
  TYPE    STATUS   FOR   REASON   MESSAGE
  Ready   True     2s    Ready    as declared

Next
  nothing is to be done

";
    assert_eq!(shown(&report([ready("pg")])), expected);
}

#[test]
fn a_blocked_volume_says_what_differs_and_what_to_try() {
    let text = shown(&report([blocked("pg")]));
    for part in [
        "Blocked: attached to VM x; detach it there\n",
        "no disk with serial 2aff4799000000000000 here",
        "not served",
        "  FIELD              DESIRED   OBSERVED\n  spec.attachTo.vm   pg        x\n",
        "Next\n  ForeignAttachment: attached to VM x; detach it there\n  1. attach the volume",
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
    let late = super::text(&report([in_flight("pg")]), &in_flight("pg"), later(NOW, 60));
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
}
