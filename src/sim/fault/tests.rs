use super::*;

fn read(text: &str) -> Result<Fault, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// One of each kind.
const KINDS: [&str; 23] = [
    r#"{"kind":"dropResponse","on":{"command":"createVolume"},"when":"afterCommit"}"#,
    r#"{"kind":"delayResponse","ms":700}"#,
    r#"{"kind":"duplicateRequest","on":{"command":"createVolume","count":"all"}}"#,
    r#"{"kind":"lateRequest","on":{"volume":"pvc-*"},"ms":5000}"#,
    r#"{"kind":"tooManyRequests","on":{"account":"admin"},"retryAfterMs":900}"#,
    r#"{"kind":"badGateway","on":{"probability":0.1,"count":"all","seed":7}}"#,
    r#"{"kind":"serviceUnavailable"}"#,
    r#"{"kind":"internalError","text":"DB Exception"}"#,
    r#"{"kind":"stuckJob"}"#,
    r#"{"kind":"delayJob","ms":1}"#,
    r#"{"kind":"stragglingDetach","ms":1}"#,
    r#"{"kind":"failJob","text":"no"}"#,
    r#"{"kind":"storageFailure"}"#,
    r#"{"kind":"detachTimeout"}"#,
    r#"{"kind":"deleteStuck"}"#,
    r#"{"kind":"purgeJob"}"#,
    r#"{"kind":"loseJob","when":"beforeCommit"}"#,
    r#"{"kind":"missRows","on":{"command":"list*","page":2},"rows":3}"#,
    r#"{"kind":"repeatRows","rows":3}"#,
    r#"{"kind":"staleListing","ms":5000}"#,
    r#"{"kind":"clockSkew","ms":-90000}"#,
    r#"{"kind":"outage","mode":"closed","ms":1000,"at":"30s"}"#,
    r#"{"kind":"restart","keepPlugged":true}"#,
];

#[test]
fn every_kind_is_read_and_written_again() {
    for text in KINDS {
        let fault = read(text).expect(text);
        let again = serde_json::to_string(&fault).expect("JSON");
        assert_eq!(read(&again), Ok(fault), "{text}");
    }
    assert_eq!(
        read(KINDS[0]),
        Ok(Fault::DropResponse {
            on: Target::next("createVolume"),
            when: DropWhen::AfterCommit
        })
    );
    assert_eq!(
        read(r#"{"kind":"restart"}"#),
        Ok(Fault::Restart {
            keep_plugged: false
        })
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (text, reason) in [
        (r#"{"kind":"restart","keepPluged":true}"#, "keepPluged"),
        (r#"{"kind":"stuckJob","on":{"comand":"x"}}"#, "comand"),
        (r#"{"kind":"badLuck"}"#, "badLuck"),
        (r#"{"kind":"stuckJob","ms":7}"#, "`ms` has no meaning"),
        (r#"{"kind":"restart","on":{}}"#, "`on` has no meaning"),
        (r#"{"kind":"dropResponse"}"#, "missing field `when`"),
        (r#"{"kind":"delayJob","ms":-1}"#, "negative"),
        (r#"{"kind":"missRows","rows":0}"#, "at least 1"),
        (r#"{"kind":"stuckJob","at":"3s"}"#, "on.from"),
        (
            r#"{"kind":"stuckJob","on":{"command":"atachVolume"}}"#,
            "atachVolume",
        ),
        (r#"{"kind":"outage","ms":1,"mode":"dark"}"#, "unavailable"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(reason), "{text}: {error}");
    }
}

const START: crate::sim::SimTime = crate::sim::SimTime::from_millis(1_000_000);

fn request(command: &str, volume: &str) -> Facts<'static> {
    let sort = match command {
        "listVolumes" => Sort::Listing,
        "queryAsyncJobResult" => Sort::Other,
        _ => Sort::Job,
    };
    Facts {
        command: command.to_owned().leak(),
        sort,
        volumes: vec![volume.to_owned()],
        account: None,
        page: 1,
    }
}

fn armed(text: &str) -> Faults {
    let mut faults = Faults::default();
    faults.arm(read(text).expect(text), START, 1);
    faults
}

#[test]
fn a_fault_strikes_as_often_as_it_says_and_only_its_target() {
    let mut faults =
        armed(r#"{"kind":"stuckJob","on":{"command":"attachVolume","volume":"v","count":2}}"#);
    let mut strike = |command: &str, volume: &str| {
        faults
            .strike(&request(command, volume), START)
            .trouble
            .is_some()
    };
    assert!(!strike("detachVolume", "v"));
    assert!(!strike("attachVolume", "w"));
    assert!(strike("attachVolume", "v"));
    assert!(strike("attachVolume", "v"));
    assert!(!strike("attachVolume", "v"));
    let spent = faults.all().next().expect("remembered");
    assert_eq!((spent.hits, spent.remaining), (2, Count::Times(0)));
    assert!(!spent.is_armed(START));
}

#[test]
fn a_fault_waits_for_a_request_that_it_can_strike() {
    for (fault, other, own) in [
        (r#"{"kind":"stuckJob"}"#, "listVolumes", "attachVolume"),
        (
            r#"{"kind":"missRows","rows":1}"#,
            "attachVolume",
            "listVolumes",
        ),
        (
            r#"{"kind":"detachTimeout"}"#,
            "attachVolume",
            "detachVolume",
        ),
        (r#"{"kind":"deleteStuck"}"#, "detachVolume", "deleteVolume"),
        (
            r#"{"kind":"storageFailure"}"#,
            "queryAsyncJobResult",
            "deleteVolume",
        ),
    ] {
        let mut faults = armed(fault);
        faults.strike(&request(other, "v"), START);
        assert_eq!(faults.all().next().expect("armed").hits, 0, "{fault}");
        faults.strike(&request(own, "v"), START);
        assert_eq!(faults.all().next().expect("armed").hits, 1, "{fault}");
    }
}

#[test]
fn a_fault_keeps_to_its_window() {
    let mut faults =
        armed(r#"{"kind":"badGateway","on":{"from":"10s","until":"20s","count":"all"}}"#);
    for (second, expected) in [(0, false), (9, false), (10, true), (19, true), (20, false)] {
        let now = START.plus_millis(second * 1000);
        let mishap = faults.strike(&request("listVolumes", "v"), now);
        assert_eq!(mishap.rebuff.is_some(), expected, "{second} s");
    }
}

#[test]
fn chance_is_decided_by_the_seed_alone() {
    let run = |seed: u32, others: bool| -> Vec<bool> {
        let text = format!(
            r#"{{"kind":"badGateway","on":{{"command":"listVolumes","probability":0.3,"count":"all","seed":{seed}}}}}"#
        );
        let mut faults = armed(&text);
        (0..1000)
            .map(|_| {
                if others {
                    faults.strike(&request("attachVolume", "v"), START);
                }
                faults
                    .strike(&request("listVolumes", "v"), START)
                    .rebuff
                    .is_some()
            })
            .collect()
    };
    let struck = run(7, false);
    assert_eq!(struck, run(7, true), "other requests change nothing");
    assert_ne!(struck, run(8, false));
    let count = struck.iter().filter(|hit| **hit).count();
    assert!((250..350).contains(&count), "{count} of 1000");
}

#[test]
fn one_request_meets_each_effect_once_and_different_ones_together() {
    let mut faults = armed(r#"{"kind":"delayResponse","ms":1}"#);
    for text in [
        r#"{"kind":"delayResponse","ms":2}"#,
        r#"{"kind":"stuckJob"}"#,
        r#"{"kind":"failJob","text":"no"}"#,
    ] {
        faults.arm(read(text).expect(text), START, 1);
    }
    let mishap = faults.strike(&request("attachVolume", "v"), START);
    assert_eq!(mishap.delay_ms, 1);
    assert_eq!(mishap.trouble, Some(crate::sim::world::Trouble::NeverEnds));
    let hits: Vec<u64> = faults.all().map(|armed| armed.hits).collect();
    assert_eq!(hits, [1, 0, 1, 0]);
}

#[test]
fn what_happens_at_a_moment_is_due_then_and_once() {
    let mut faults = armed(r#"{"kind":"restart","at":"30s"}"#);
    assert_eq!(faults.next_due(), Some((START.plus_millis(30_000), 1)));
    assert_eq!(
        faults.take_due(1),
        Some(Fault::Restart {
            keep_plugged: false
        })
    );
    assert_eq!(faults.next_due(), None);
}
