//! Jobs: queues, ids, races, restarts.

use super::*;
use crate::sim::fault::{Fault, Target};

#[test]
fn one_vm_does_one_thing_after_another_and_two_vms_work_at_once() {
    let mut rig = Rig::new();
    let (a, b, c) = (rig.create("a", 1), rig.create("b", 1), rig.create("c", 1));
    let (here, there) = (rig.vm("appliance"), rig.vm("final-vm"));
    rig.pass(1_000);
    let jobs: Vec<String> = [(&a, &here), (&b, &here), (&c, &there)]
        .iter()
        .map(|(id, vm)| rig.submit("attachVolume", &[("id", id), ("virtualmachineid", vm)]))
        .collect();
    // Provisioning, plugging and settling take 50 + 300 + 10 ms.
    let status = |rig: &mut Rig| -> Vec<i64> {
        jobs.iter()
            .map(|job| rig.job(job)["jobstatus"].as_i64().expect("a number"))
            .collect()
    };
    rig.pass(359);
    assert_eq!(status(&mut rig), [0, 0, 0]);
    assert_eq!(rig.volume(&b)["state"], "Allocated", "not its turn yet");
    rig.pass(1);
    assert_eq!(status(&mut rig), [1, 0, 1]);
    rig.pass(359);
    assert_eq!(status(&mut rig), [1, 0, 1]);
    rig.pass(1);
    assert_eq!(status(&mut rig), [1, 1, 1]);
}

#[test]
fn only_pending_jobs_are_listed_and_finished_ones_stay_for_a_day() {
    let mut rig = Rig::new();
    assert_eq!(rig.call("listAsyncJobs", &[]), serde_json::json!({}));
    let id = rig.create("v", 1);
    let listed = rig.call("listAsyncJobs", &[("keyword", "createvolume")]);
    assert_eq!(listed["count"], 1);
    let job = &listed["asyncjobs"][0];
    assert_eq!(job["jobinstanceid"], id);
    assert_eq!(job["jobinstancetype"], "Volume");
    assert_eq!(job["managementservername"], "ms1");
    assert_eq!(job.get("jobresult"), None);
    assert_eq!(job.get("jobresulttype"), None);
    assert_eq!(job.get("completed"), None);
    let job = text(&job["jobid"]);
    rig.pass(1_000);
    assert_eq!(rig.call("listAsyncJobs", &[]), serde_json::json!({}));
    let ended = rig.job(&job);
    assert_eq!(ended["completed"], "2026-11-20T22:30:00+0000");
    assert_eq!(ended["jobresulttype"], "object");
    assert_eq!(ended.get("managementservername"), None);
    rig.pass(1440 * 60 * 1000);
    assert_eq!(
        rig.refused("queryAsyncJobResult", &[("jobid", &job)]).0,
        431
    );
}

#[test]
fn a_job_that_fails_leaves_the_states_of_others_alone() {
    let mut rig = Rig::new();
    let (id, vm) = (rig.create("v", 3), rig.vm("appliance"));
    rig.pass(1_000);
    rig.front.inject(crate::sim::Fault::DelayJob {
        on: crate::sim::fault::Target::next("resizeVolume"),
        ms: 20,
    });
    // It may shrink while it is a row only; by the time of its turn it is being made.
    let shrink = [("id", id.as_str()), ("size", "1"), ("shrinkok", "true")];
    let resize = rig.submit("resizeVolume", &shrink);
    let attach = rig.submit("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    rig.pass(25);
    assert_eq!(rig.job(&resize)["jobstatus"], 2);
    assert_eq!(rig.volume(&id)["state"], "Creating");
    rig.pass(5_000);
    assert_eq!(rig.job(&attach)["jobstatus"], 1);
    assert_eq!(rig.volume(&id)["state"], "Ready");
}

#[test]
fn keys_of_one_call_collide_like_others() {
    let mut rig = Rig::new();
    let id = rig.create("v", 1);
    let (code, text) = rig.fails(
        "createTags",
        &[
            ("resourceids", &id),
            ("resourcetype", "Volume"),
            ("tags[0].key", "k"),
            ("tags[0].value", "1"),
            ("tags[1].key", "K"),
            ("tags[1].value", "2"),
        ],
    );
    assert_eq!(code, 530);
    assert!(text.contains("already on"), "{text}");
    assert_eq!(
        rig.volume(&id)["tags"],
        serde_json::json!([]),
        "all or nothing"
    );
    let twice = format!("{id},{id}");
    let params = [
        ("resourceids", twice.as_str()),
        ("resourcetype", "Volume"),
        ("tags[0].key", "k"),
        ("tags[0].value", "1"),
    ];
    assert_eq!(rig.fails("createTags", &params).0, 530);
}

#[test]
fn how_long_finished_jobs_stay_is_a_setting() {
    let mut rig = Rig::with(Settings {
        job_expire_minutes: 2,
        ..Settings::default()
    });
    let id = rig.create("v", 1);
    let job = rig.submit("updateVolume", &[("id", &id), ("name", "w")]);
    rig.pass(120_000);
    assert_eq!(rig.job(&job)["jobstatus"], 1);
    rig.pass(1);
    let refused = rig.refused("queryAsyncJobResult", &[("jobid", &job)]);
    assert_eq!((refused.0, refused.1), (431, Some(9999)));
}

#[test]
fn a_custom_job_id_finds_the_volume_of_a_lost_answer() {
    let mut rig = Rig::new();
    let (zone, offering) = (rig.zone(), rig.offering("Small"));
    let job = "0b0d1e2f-aaaa-4bbb-8ccc-123456789012";
    let params = [
        ("zoneid", zone.as_str()),
        ("diskofferingid", &offering),
        ("customjobid", job),
    ];
    let count = |rig: &mut Rig| rig.call("listVolumes", &[("type", "DATADISK")])["count"].clone();
    let answer = rig.call("createVolume", &params);
    assert_eq!(answer["jobid"], job);
    assert_eq!(rig.job(job)["jobinstanceid"], answer["id"]);
    // Sent again: the row is written before the id is looked at.
    let (code, cs, why) = rig.refused("createVolume", &params);
    assert_eq!((code, cs), (431, Some(4350)));
    assert!(
        why.contains("already exists so can't create/update with custom id"),
        "{why}"
    );
    assert_eq!(count(&mut rig), 2);
    rig.pass(1_000);
    assert_eq!(
        rig.refused("createVolume", &params).0,
        530,
        "a finished job is not seen"
    );
    assert_eq!(count(&mut rig), 3);
    assert_eq!(rig.job(job)["jobinstanceid"], answer["id"]);
    for wrong in ["x", "0B0D1E2F-AAAA-4BBB-8CCC-123456789012"] {
        let mut params = params;
        params[2].1 = wrong;
        assert_eq!(rig.refused("createVolume", &params).0, 431, "{wrong}");
    }
    let vm = rig.vm("appliance");
    let attach = [
        ("id", answer["id"].as_str().expect("text")),
        ("virtualmachineid", &vm),
        ("customjobid", "0b0d1e2f-aaaa-4bbb-8ccc-000000000000"),
    ];
    assert_eq!(rig.submit("attachVolume", &attach), attach[2].1);
}

#[test]
fn racing_attaches_do_not_attach_twice() {
    let mut rig = Rig::new();
    let (id, here, there) = (rig.create("v", 1), rig.vm("appliance"), rig.vm("final-vm"));
    let submit = |rig: &mut Rig, vm: &str| {
        let job = rig.submit("attachVolume", &[("id", &id), ("virtualmachineid", vm)]);
        rig.pass(0);
        job
    };
    // Both VMs are busy, so all of these are checked before any of them begins.
    for vm in ["appliance", "final-vm"] {
        rig.operate(&Operation::RebootVm { vm: vm.to_owned() });
    }
    rig.pass(0);
    let (first, second, third) = (
        submit(&mut rig, &here),
        submit(&mut rig, &here),
        submit(&mut rig, &there),
    );
    // And one comes while the first is under way.
    rig.pass(600);
    let late = submit(&mut rig, &here);
    rig.pass(5_000);
    assert_eq!(rig.job(&first)["jobstatus"], 1);
    for (job, code, says) in [
        (second, 530, "This volume is already attached to a VM."),
        (
            third,
            530,
            "Volume: v is in Creating. It should be in Ready or Allocated state",
        ),
        (
            late,
            431,
            "Volume state must be in Allocated, Ready or in Uploaded state",
        ),
    ] {
        let job = rig.job(&job);
        assert_eq!(job["jobresultcode"], code, "{job}");
        assert_eq!(job["jobresult"]["errortext"], says);
    }
    assert_eq!(rig.volume(&id)["virtualmachineid"], here);
}

/// apache/cloudstack#14214.
#[test]
fn a_late_detach_clears_a_newer_attachment_and_leaves_a_ghost() {
    let mut rig = Rig::new();
    let id = rig.create_on("v", "appliance");
    let there = rig.vm("final-vm");
    rig.front.inject(Fault::DelayJob {
        on: Target::next("resizeVolume"),
        ms: 2_000,
    });
    let other = rig.create_on("other", "appliance");
    // Both detaches are checked now; the second one waits behind a slow resize.
    let first = rig.submit("detachVolume", &[("id", &id)]);
    rig.pass(0);
    rig.submit("resizeVolume", &[("id", &other), ("size", "2")]);
    rig.pass(0);
    let straggler = rig.submit("detachVolume", &[("id", &id)]);
    rig.pass(400);
    assert_eq!(rig.job(&first)["jobstatus"], 1);
    let attach = rig.submit("attachVolume", &[("id", &id), ("virtualmachineid", &there)]);
    rig.pass(400);
    assert_eq!(rig.job(&attach)["jobstatus"], 1);
    assert_eq!(rig.volume(&id)["virtualmachineid"], there);
    assert_eq!(rig.job(&straggler)["jobstatus"], 0);
    rig.pass(3_000);
    assert_eq!(rig.job(&straggler)["jobstatus"], 1);
    assert_eq!(rig.volume(&id).get("virtualmachineid"), None);
    assert!(
        rig.is_plugged("final-vm", &id),
        "but the guest still has it"
    );
}

#[test]
fn a_restart_loses_jobs_and_takes_transitional_states_back() {
    for keep_plugged in [false, true] {
        let mut rig = Rig::new();
        let (a, b, c) = (rig.create("a", 1), rig.create("b", 1), rig.create("c", 1));
        let on = rig.create_on("on", "appliance");
        let (here, there) = (rig.vm("appliance"), rig.vm("final-vm"));
        let attach_a = rig.submit("attachVolume", &[("id", &a), ("virtualmachineid", &here)]);
        let attach_b = rig.submit("attachVolume", &[("id", &b), ("virtualmachineid", &here)]);
        let attach_c = rig.submit("attachVolume", &[("id", &c), ("virtualmachineid", &there)]);
        rig.pass(20);
        assert_eq!(rig.volume(&a)["state"], "Creating");
        rig.pass(100);
        assert_eq!(rig.volume(&a)["state"], "Attaching");
        let resize = rig.submit("resizeVolume", &[("id", &on), ("size", "9")]);
        rig.front.inject(Fault::Restart { keep_plugged });
        for job in [attach_a, attach_b, attach_c, resize] {
            let job = rig.job(&job);
            assert_eq!(job["jobstatus"], 2);
            assert_eq!(job["jobresultcode"], 530);
            assert_eq!(job.get("jobresult"), None);
            assert_eq!(job.get("jobresulttype"), None);
        }
        assert_eq!(rig.volume(&a)["state"], "Ready");
        assert_eq!(rig.volume(&b)["state"], "Allocated");
        assert_eq!(rig.volume(&c)["state"], "Ready");
        for id in [&a, &b, &c] {
            let row = rig.volume(id);
            assert_eq!(
                (row.get("jobid"), row.get("virtualmachineid")),
                (None, None)
            );
        }
        assert_eq!(rig.is_plugged("appliance", &a), keep_plugged);
        assert_eq!(rig.is_plugged("final-vm", &c), keep_plugged);
        assert!(!rig.is_plugged("appliance", &b));
        // The queues are free again.
        let job = rig.done("attachVolume", &[("id", &b), ("virtualmachineid", &here)]);
        assert_eq!(job["jobstatus"], 1, "{job}");
    }
}

#[test]
fn a_restart_in_the_middle_of_a_vm_job_takes_the_vm_back() {
    for (operation, vm, between, after) in [
        (
            Operation::StopVm {
                vm: "appliance".to_owned(),
            },
            "appliance",
            "Stopping",
            "Running",
        ),
        (
            Operation::StartVm {
                vm: "test-vm".to_owned(),
            },
            "test-vm",
            "Starting",
            "Stopped",
        ),
    ] {
        let mut rig = Rig::new();
        rig.operate(&operation);
        rig.pass(1);
        let state = |rig: &mut Rig| {
            rig.call("listVirtualMachines", &[("name", vm)])["virtualmachine"][0]["state"].clone()
        };
        assert_eq!(state(&mut rig), between);
        rig.front.inject(Fault::Restart {
            keep_plugged: false,
        });
        assert_eq!(state(&mut rig), after);
    }
}

#[test]
fn a_vm_in_between_is_refused() {
    let mut rig = Rig::new();
    let (id, vm) = (rig.create("v", 1), rig.vm("appliance"));
    let on = rig.create_on("on", "appliance");
    rig.operate(&Operation::StopVm {
        vm: "appliance".to_owned(),
    });
    rig.pass(1);
    for (command, params) in [
        (
            "attachVolume",
            vec![("id", id.as_str()), ("virtualmachineid", &vm)],
        ),
        ("detachVolume", vec![("id", on.as_str())]),
    ] {
        let job = rig.submit(command, &params);
        rig.pass(0);
        let job = rig.job(&job);
        assert_eq!(job["jobresultcode"], 431, "{job}");
        assert_eq!(
            job["jobresult"]["errortext"],
            "Please specify a VM that is either running or stopped."
        );
    }
}
