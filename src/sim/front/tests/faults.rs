//! What goes wrong between a client and the front.

use super::*;
use crate::sim::fault::{DropWhen, Fault, OutageMode, Target};

#[test]
fn a_dropped_answer_has_or_has_not_taken_effect() {
    for (when, volumes) in [(DropWhen::BeforeCommit, 0), (DropWhen::AfterCommit, 1)] {
        let mut rig = Rig::new();
        let (zone, offering) = (rig.zone(), rig.offering("Small"));
        rig.front.inject(Fault::DropResponse {
            on: Target::next("createVolume"),
            when,
        });
        let params = [("zoneid", zone.as_str()), ("diskofferingid", &offering)];
        let answer = rig.send("createVolume", &params);
        assert_eq!(answer.delivery, Delivery::Dropped(when));
        let listed = rig.call("listVolumes", &[("type", "DATADISK")]);
        assert_eq!(listed["count"].as_u64().unwrap_or(0), volumes);
        assert_eq!(
            rig.send("createVolume", &params).delivery,
            Delivery::Delivered
        );
    }
}

#[test]
fn every_mutating_command_can_lose_its_answer_after_it_took_effect() {
    let mut rig = Rig::new();
    let (id, vm) = (rig.create("v", 1), rig.vm("appliance"));
    rig.pass(1_000);
    let lose = |rig: &mut Rig, command: &str, params: &[(&str, &str)]| {
        rig.front.inject(Fault::DropResponse {
            on: Target::next(command),
            when: DropWhen::AfterCommit,
        });
        let answer = rig.send(command, params);
        assert_eq!(answer.delivery, Delivery::Dropped(DropWhen::AfterCommit));
        rig.pass(2_000);
    };
    lose(
        &mut rig,
        "attachVolume",
        &[("id", &id), ("virtualmachineid", &vm)],
    );
    assert_eq!(rig.volume(&id)["virtualmachineid"], vm);
    lose(&mut rig, "detachVolume", &[("id", &id)]);
    assert_eq!(rig.volume(&id).get("virtualmachineid"), None);
    lose(&mut rig, "resizeVolume", &[("id", &id), ("size", "2")]);
    assert_eq!(rig.volume(&id)["size"], 2_u64 << 30);
    lose(&mut rig, "deleteVolume", &[("id", &id)]);
    assert_eq!(rig.volume(&id), Value::Null);
}

#[test]
fn answers_can_be_slow_but_what_they_tell_has_happened() {
    let mut rig = Rig::new();
    let id = rig.create("v", 1);
    rig.pass(1_000);
    rig.front.inject(Fault::DelayResponse {
        on: Target::next("updateVolume"),
        ms: 700,
    });
    let answer = rig.send("updateVolume", &[("id", &id), ("name", "w")]);
    assert_eq!(answer.delivery, Delivery::Delayed(700));
    rig.pass(0);
    assert_eq!(rig.volume(&id)["name"], "w");
}

#[test]
fn a_stuck_job_blocks_its_vm_until_the_server_restarts() {
    let mut rig = Rig::new();
    let (a, b, vm) = (rig.create("a", 1), rig.create("b", 1), rig.vm("appliance"));
    rig.front.inject(Fault::StuckJob {
        on: Target::next("attachVolume").of_volume(a.parse().expect("an id")),
    });
    let stuck = rig.submit("attachVolume", &[("id", &a), ("virtualmachineid", &vm)]);
    let behind = rig.submit("attachVolume", &[("id", &b), ("virtualmachineid", &vm)]);
    rig.pass(3_600_000);
    assert_eq!(rig.job(&stuck)["jobstatus"], 0);
    assert_eq!(rig.job(&behind)["jobstatus"], 0);
    assert_eq!(rig.volume(&a)["state"], "Creating");
    rig.front.inject(Fault::Restart {
        keep_plugged: false,
    });
    assert_eq!(rig.volume(&a)["state"], "Allocated");
    let job = rig.done("attachVolume", &[("id", &b), ("virtualmachineid", &vm)]);
    assert_eq!(job["jobstatus"], 1);
}

#[test]
fn a_failing_agent_takes_the_volume_back() {
    let mut rig = Rig::new();
    let (id, vm) = (rig.create("v", 1), rig.vm("appliance"));
    let fail = |rig: &mut Rig, command: &str, params: &[(&str, &str)]| {
        rig.front.inject(Fault::FailJob {
            on: Target::next(command),
            text: "the guest is busy".to_owned(),
        });
        assert_eq!(
            rig.fails(command, params),
            (530, "the guest is busy".to_owned())
        );
    };
    let attach = [("id", id.as_str()), ("virtualmachineid", &vm)];
    fail(&mut rig, "attachVolume", &attach);
    assert_eq!(rig.volume(&id)["state"], "Ready");
    assert!(!rig.is_plugged("appliance", &id));
    rig.done("attachVolume", &attach);
    fail(&mut rig, "detachVolume", &[("id", &id)]);
    assert!(rig.is_plugged("appliance", &id));
    assert_eq!(rig.volume(&id)["virtualmachineid"], vm);
    fail(&mut rig, "resizeVolume", &[("id", &id), ("size", "2")]);
    assert_eq!(rig.volume(&id)["size"], 1_u64 << 30);
    assert_eq!(rig.volume(&id)["state"], "Ready");
    rig.done("detachVolume", &[("id", &id)]);
    rig.front.inject(Fault::FailJob {
        on: Target::next("deleteVolume"),
        text: "Failed to expunge the volume".to_owned(),
    });
    assert_eq!(rig.refused("deleteVolume", &[("id", &id)]).0, 530);
    assert_eq!(rig.volume(&id)["state"], "Destroy");
    rig.call("deleteVolume", &[("id", &id)]);
    rig.pass(100);
    assert_eq!(rig.volume(&id), Value::Null);
}

#[test]
fn an_outage_ends_by_itself_and_jobs_go_on_meanwhile() {
    for mode in [OutageMode::Closed, OutageMode::Unavailable] {
        let mut rig = Rig::new();
        let (id, vm) = (rig.create("v", 1), rig.vm("appliance"));
        rig.submit("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
        rig.front.inject(Fault::Outage { mode, ms: 1_000 });
        for _ in 0..2 {
            let answer = rig.send("listVolumes", &[]);
            match mode {
                OutageMode::Closed => {
                    let expected = Delivery::Dropped(DropWhen::BeforeCommit);
                    assert_eq!(answer.delivery, expected);
                }
                OutageMode::Unavailable => assert_eq!(answer.status, 503),
            }
            rig.pass(499);
        }
        rig.pass(2);
        assert_eq!(rig.volume(&id)["virtualmachineid"], vm);
    }
}

#[test]
fn a_bad_gateway_answers_html_and_nothing_happens() {
    let mut rig = Rig::new();
    rig.front.inject(Fault::BadGateway {
        on: Target::default(),
    });
    let answer = rig.send("createVolume", &[]);
    assert_eq!(answer.status, 502);
    assert!(answer.body.starts_with("<html>"));
    assert!(rig.front.armed_faults().is_empty());
    rig.front.inject(Fault::BadGateway {
        on: Target::next("listZones"),
    });
    rig.front.clear_faults();
    rig.call("listZones", &[]);
}

fn arm(rig: &mut Rig, fault: &str) {
    let fault = serde_json::from_str(fault).expect(fault);
    rig.front.inject(fault);
}

#[test]
fn a_duplicated_create_leaks_a_volume() {
    let mut rig = Rig::new();
    arm(
        &mut rig,
        r#"{"kind":"duplicateRequest","on":{"command":"createVolume","volume":"v"}}"#,
    );
    let answered = rig.create("v", 1);
    let listed = rig.call("listVolumes", &[("name", "v")]);
    assert_eq!(listed["count"], 2);
    // Newest first: the second one is answered.
    assert_eq!(listed["volume"][0]["id"], answered);
}

#[test]
fn a_late_request_takes_effect_when_its_client_has_gone() {
    let mut rig = Rig::new();
    let (id, vm) = (rig.create("v", 1), rig.vm("appliance"));
    rig.pass(1_000);
    arm(
        &mut rig,
        r#"{"kind":"lateRequest","on":{"command":"attachVolume"},"ms":60000}"#,
    );
    let answer = rig.send("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    assert_eq!(answer.delivery, Delivery::Dropped(DropWhen::BeforeCommit));
    let due = rig.now.plus_millis(60_000);
    assert_eq!(rig.front.next_due(), Some(due));
    rig.pass(59_999);
    assert_eq!(rig.volume(&id).get("virtualmachineid"), None);
    rig.pass(1);
    assert_eq!(rig.volume(&id)["jobstatus"], 0);
    rig.pass(1_000);
    assert_eq!(rig.volume(&id)["virtualmachineid"], vm);
}

#[test]
fn a_late_request_is_signed_for_its_own_time() {
    let mut rig = Rig::new();
    let id = rig.create("v", 1);
    rig.pass(1_000);
    arm(&mut rig, r#"{"kind":"lateRequest","ms":60000}"#);
    let expires = "2026-11-20T22:31:00Z";
    let v3 = [("signatureversion", "3"), ("expires", expires)];
    rig.send("deleteVolume", &[("id", &id), v3[0], v3[1]]);
    rig.pass(60_000);
    assert_eq!(rig.volume(&id)["id"], id, "expired on its way");
}

#[test]
fn servers_and_proxies_refuse_in_their_own_ways() {
    let mut rig = Rig::new();
    let mut refusal = |fault: &str| {
        arm(&mut rig, fault);
        rig.refused("listZones", &[])
    };
    let (code, cs_code, text) = refusal(r#"{"kind":"serviceUnavailable"}"#);
    assert_eq!((code, cs_code), (503, Some(9999)));
    assert!(text.contains("Can not accept new jobs"), "{text}");
    assert_eq!(
        refusal(r#"{"kind":"internalError","text":"DB Exception"}"#),
        (530, Some(4250), "DB Exception".to_owned())
    );
    let (code, _, text) = refusal(r#"{"kind":"tooManyRequests","retryAfterMs":900}"#);
    assert_eq!(code, 429);
    assert!(text.contains("[900] ms"), "{text}");
}

#[test]
fn a_purged_job_took_effect_but_cannot_be_asked_for() {
    let mut rig = Rig::new();
    let (id, vm) = (rig.create("v", 1), rig.vm("appliance"));
    arm(
        &mut rig,
        r#"{"kind":"purgeJob","on":{"command":"attachVolume"}}"#,
    );
    let job = rig.submit("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    assert_eq!(rig.job(&job)["jobstatus"], 0);
    rig.pass(1_000);
    let (code, cs_code, _) = rig.refused("queryAsyncJobResult", &[("jobid", &job)]);
    assert_eq!((code, cs_code), (431, Some(9999)));
    assert_eq!(rig.volume(&id)["virtualmachineid"], vm);
    assert_eq!(rig.front.world().check(), Ok(()));
}

#[test]
fn a_lost_job_ends_without_a_result_before_or_after_its_effect() {
    for (when, attached) in [("beforeCommit", false), ("afterCommit", true)] {
        let mut rig = Rig::new();
        let (id, vm) = (rig.create("v", 1), rig.vm("appliance"));
        arm(
            &mut rig,
            &format!(r#"{{"kind":"loseJob","on":{{"command":"attachVolume"}},"when":"{when}"}}"#),
        );
        let job = rig.done("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
        assert_eq!(
            (&job["jobstatus"], &job["jobresultcode"]),
            (&2.into(), &530.into())
        );
        assert_eq!(job.get("jobresult"), None);
        assert_eq!(rig.volume(&id).get("virtualmachineid").is_some(), attached);
        assert_eq!(rig.is_plugged("appliance", &id), attached);
        assert_eq!(rig.volume(&id)["state"], "Ready");
    }
}

#[test]
fn a_guest_that_keeps_its_disk_fails_the_detach_after_ten_seconds() {
    let mut rig = Rig::new();
    let id = rig.create_on("v", "appliance");
    arm(&mut rig, r#"{"kind":"detachTimeout"}"#);
    let job = rig.submit("detachVolume", &[("id", &id)]);
    rig.pass(9_999);
    assert_eq!(rig.job(&job)["jobstatus"], 0);
    rig.pass(1);
    let job = rig.job(&job);
    assert_eq!(job["jobresultcode"], 530, "{job}");
    let why = text(&job["jobresult"]["errortext"]);
    assert!(
        why.starts_with("Failed to detach volume v from VM appliance; "),
        "{why}"
    );
    assert!(why.contains("waiting for [10000] milliseconds"), "{why}");
    assert!(rig.is_plugged("appliance", &id));
    // Nobody keeps a disk on a VM that does not run.
    rig.operate(&Operation::StopVm {
        vm: "appliance".to_owned(),
    });
    rig.pass(1_000);
    arm(&mut rig, r#"{"kind":"detachTimeout"}"#);
    assert_eq!(rig.done("detachVolume", &[("id", &id)])["jobstatus"], 1);
}

#[test]
fn a_straggling_detach_clears_a_newer_attachment() {
    let mut rig = Rig::new();
    let (id, other) = (rig.create_on("v", "appliance"), rig.vm("final-vm"));
    // Both detaches are checked before the first is done, and the second one takes its time.
    rig.submit("detachVolume", &[("id", &id)]);
    arm(&mut rig, r#"{"kind":"stragglingDetach","ms":60000}"#);
    let straggler = rig.submit("detachVolume", &[("id", &id)]);
    rig.pass(2_000);
    let attached = rig.done("attachVolume", &[("id", &id), ("virtualmachineid", &other)]);
    assert_eq!(attached["jobstatus"], 1, "{attached}");
    rig.pass(60_000);
    assert_eq!(rig.job(&straggler)["jobstatus"], 1);
    assert_eq!(rig.volume(&id).get("virtualmachineid"), None);
    assert!(rig.is_plugged("final-vm", &id), "only the database forgot");
}

#[test]
fn a_volume_is_recognised_however_a_request_names_it() {
    let mut rig = Rig::new();
    let id = rig.create_on("v", "appliance");
    let (vm, device) = (rig.vm("appliance"), rig.volume(&id)["deviceid"].to_string());
    let job = rig.submit("updateVolume", &[("id", &id), ("name", "v")]);
    let fault = r#"{"kind":"badGateway","on":{"volume":"v","count":"all"}}"#;
    arm(&mut rig, fault);
    let mut struck = |command: &str, params: &[(&str, &str)]| -> bool {
        rig.send(command, params).status == 502
    };
    assert!(struck("deleteVolume", &[("id", &id)]));
    assert!(struck("listVolumes", &[("ids", &id)]));
    assert!(struck("listVolumes", &[("name", "v")]));
    assert!(struck("createTags", &[("resourceids", &id)]));
    assert!(struck("createVolume", &[("name", "v")]));
    assert!(struck("queryAsyncJobResult", &[("jobid", &job)]));
    let at = |device| [("virtualmachineid", vm.as_str()), ("deviceid", device)];
    assert!(struck("detachVolume", &at(&device)));
    assert!(!struck("detachVolume", &at("0")));
    assert!(!struck("listVirtualMachines", &[("name", "v")]));
}

#[test]
fn a_delete_that_is_stuck_leaves_the_volume_in_destroy() {
    let mut rig = Rig::new();
    let id = rig.create_on("v", "appliance");
    rig.done("detachVolume", &[("id", &id)]);
    arm(&mut rig, r#"{"kind":"deleteStuck"}"#);
    let (code, _, text) = rig.refused("deleteVolume", &[("id", &id)]);
    assert_eq!(code, 530);
    assert!(text.contains("Failed to expunge the volume"), "{text}");
    assert_eq!(rig.volume(&id)["state"], "Destroy");
}

/// The names of a page of two, in order.
fn page(rig: &mut Rig, page: u32) -> Vec<String> {
    let page = page.to_string();
    let listed = rig.call(
        "listVolumes",
        &[("type", "DATADISK"), ("page", &page), ("pagesize", "2")],
    );
    assert_eq!(listed["count"], 5);
    let rows = listed["volume"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| text(&row["name"])).collect()
}

#[test]
fn pages_miss_or_repeat_rows() {
    let mut rig = Rig::new();
    for name in ["e", "d", "c", "b", "a"] {
        rig.create(name, 1);
    }
    let mut pages = |fault: &str| -> Vec<Vec<String>> {
        rig.front.clear_faults();
        if !fault.is_empty() {
            arm(&mut rig, fault);
        }
        (1..=3).map(|no| page(&mut rig, no)).collect()
    };
    let rows = [
        ("", [vec!["a", "b"], vec!["c", "d"], vec!["e"]]),
        (
            r#"{"kind":"missRows","on":{"page":2},"rows":1}"#,
            [vec!["a", "b"], vec!["d", "e"], vec!["e"]],
        ),
        (
            r#"{"kind":"repeatRows","on":{"page":2},"rows":1}"#,
            [vec!["a", "b"], vec!["b", "c"], vec!["e"]],
        ),
        (
            r#"{"kind":"repeatRows","on":{"count":"all"},"rows":1}"#,
            [vec!["a", "b"], vec!["b", "c"], vec!["d"]],
        ),
        (
            r#"{"kind":"missRows","on":{"count":"all"},"rows":9}"#,
            [vec![], vec![], vec![]],
        ),
    ];
    for (fault, expected) in rows {
        assert_eq!(pages(fault), expected, "{fault}");
    }
}

#[test]
fn a_stale_listing_shows_the_past_and_catches_up() {
    let mut rig = Rig::new();
    let old = rig.create("old", 1);
    arm(
        &mut rig,
        r#"{"kind":"staleListing","on":{"command":"listVolumes","count":"all"},"ms":5000}"#,
    );
    let vm = rig.vm("appliance");
    rig.pass(1_000);
    let new = rig.create("new", 1);
    rig.submit("attachVolume", &[("id", &old), ("virtualmachineid", &vm)]);
    rig.pass(3_999);
    assert_eq!(rig.volume(&old).get("virtualmachineid"), None);
    // An id that the replica has not seen yet never existed.
    let (code, cs_code, _) = rig.refused("listVolumes", &[("id", &new)]);
    assert_eq!((code, cs_code), (431, Some(9999)));
    rig.pass(1);
    assert_eq!(rig.volume(&old)["virtualmachineid"], vm);
    rig.call("updateVolume", &[("id", &new), ("name", "newer")]);
    rig.pass(1_000);
    assert_eq!(rig.volume(&new)["name"], "new");
    rig.front.clear_faults();
    assert_eq!(rig.volume(&new)["name"], "newer");
}

#[test]
fn a_wrong_clock_shows_in_dates_and_in_what_has_expired() {
    let mut rig = Rig::new();
    let (before, vm) = (rig.create("before", 1), rig.vm("appliance"));
    rig.submit(
        "attachVolume",
        &[("id", &before), ("virtualmachineid", &vm)],
    );
    rig.pass(100);
    arm(&mut rig, r#"{"kind":"clockSkew","ms":600000}"#);
    let v3 = [
        ("signatureversion", "3"),
        ("expires", "2026-11-20T22:35:00Z"),
    ];
    assert_eq!(rig.send("listZones", &v3).status, 401);
    let answer = rig.send("listZones", &[]);
    assert!(
        answer
            .headers
            .contains(&("Date", "Fri, 20 Nov 2026 22:40:00 GMT".to_owned())),
        "{:?}",
        answer.headers
    );
    let after = rig.create("after", 1);
    assert_eq!(rig.volume(&after)["created"], "2026-11-20T22:40:00+0000");
    assert_eq!(rig.volume(&before)["created"], "2026-11-20T22:30:00+0000");
    // What was under way takes as long as ever.
    assert_eq!(rig.volume(&before).get("virtualmachineid"), None);
    rig.pass(1_000);
    assert_eq!(rig.volume(&before)["virtualmachineid"], vm);
    arm(&mut rig, r#"{"kind":"clockSkew","ms":-600000}"#);
    assert_eq!(rig.send("listZones", &v3).status, 200);
    let early = rig.create("early", 1);
    assert_eq!(rig.volume(&early)["created"], "2026-11-20T22:20:01+0000");
    rig.pass(1_000);
    rig.front.clear_faults();
    assert_eq!(rig.front.world().now(), rig.now);
}

#[test]
fn restarts_and_outages_come_at_their_moment() {
    let mut rig = Rig::new();
    let (id, vm) = (rig.create("v", 1), rig.vm("appliance"));
    rig.pass(1_000);
    arm(&mut rig, r#"{"kind":"restart","at":"30s"}"#);
    arm(
        &mut rig,
        r#"{"kind":"outage","mode":"unavailable","ms":1000,"at":"30s"}"#,
    );
    rig.pass(29_900);
    let job = rig.submit("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    // Long after it: it happened at its moment all the same.
    rig.pass(60_000);
    assert_eq!(rig.job(&job)["jobresultcode"], 530);
    assert_eq!(rig.volume(&id).get("virtualmachineid"), None);
    assert!(rig.front.armed_faults().is_empty());
    arm(
        &mut rig,
        r#"{"kind":"outage","mode":"unavailable","ms":1000,"at":"5s"}"#,
    );
    for (millis, status) in [(4_999, 200), (1, 503), (999, 503), (1, 200)] {
        rig.pass(millis);
        assert_eq!(rig.send("listZones", &[]).status, status);
    }
}

#[test]
fn a_fault_can_be_meant_for_an_account_and_disarmed() {
    let mut rig = Rig::new();
    arm(
        &mut rig,
        r#"{"kind":"badGateway","on":{"account":"nobody"}}"#,
    );
    arm(
        &mut rig,
        r#"{"kind":"badGateway","on":{"account":"admin"}}"#,
    );
    assert_eq!(rig.send("listZones", &[]).status, 502);
    assert_eq!(rig.send("listZones", &[]).status, 200);
    let list: Vec<(u64, u64)> = rig
        .front
        .faults()
        .map(|armed| (armed.id, armed.hits))
        .collect();
    assert_eq!(list, [(1, 0), (2, 1)]);
    assert!(rig.front.disarm(1));
    assert!(!rig.front.disarm(1));
    assert!(rig.front.armed_faults().is_empty());
}
