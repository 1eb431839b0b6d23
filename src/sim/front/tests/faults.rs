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
        on: Target {
            command: Some("attachVolume".to_owned()),
            volume: Some(a.parse().expect("an id")),
            count: 1,
        },
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
        on: Target {
            command: None,
            volume: None,
            count: 1,
        },
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
