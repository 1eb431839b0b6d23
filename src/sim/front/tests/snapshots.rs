//! Snapshots, and what they keep others from doing.

use super::*;

impl Rig {
    /// A volume that was on storage, detached.
    fn ready(&mut self, name: &str) -> String {
        let id = self.create_on(name, "appliance");
        assert_eq!(self.done("detachVolume", &[("id", &id)])["jobstatus"], 1);
        id
    }

    /// The states of a volume and of its only snapshot; null where there is none.
    fn states(&mut self, volume: &str) -> (Value, Value) {
        let mut listed = self.call("listSnapshots", &[("volumeid", volume)]);
        let snapshot = listed.pointer_mut("/snapshot/0/state").map(Value::take);
        (
            self.volume(volume)["state"].clone(),
            snapshot.unwrap_or_default(),
        )
    }

    /// Takes a snapshot and lets it be backed up.
    fn snapshot(&mut self, volume: &str) -> String {
        let made = self.call("createSnapshot", &[("volumeid", volume), ("name", "s")]);
        self.pass(5_000);
        text(&made["id"])
    }
}

#[test]
fn a_snapshot_goes_through_its_states() {
    let mut rig = Rig::new();
    let volume = rig.ready("data");
    let made = rig.call("createSnapshot", &[("volumeid", &volume), ("name", "s")]);
    for (wait, of_volume, of_snapshot) in [
        (0, "Snapshotting", "Creating"),
        (500, "Ready", "BackingUp"),
        (499, "Ready", "BackingUp"),
        (1, "Ready", "BackedUp"),
    ] {
        rig.pass(wait);
        let states = (Value::from(of_volume), Value::from(of_snapshot));
        assert_eq!(rig.states(&volume), states);
        let deleted = rig.send("deleteVolume", &[("id", &volume)]);
        if of_snapshot == "BackedUp" {
            assert_eq!(deleted.status, 200);
        } else {
            let error = only_key(&deleted.body, "deletevolumeresponse");
            assert_eq!((deleted.status, &error["cserrorcode"]), (431, &4350.into()));
            let text = text(&error["errortext"]);
            assert!(text.contains("snapshot operations in progress"), "{text}");
        }
    }
    let job = rig.job(&text(&made["jobid"]));
    assert_eq!(job["jobinstancetype"], "Snapshot");
    assert_eq!(job["jobresult"]["snapshot"]["state"], "BackedUp");
}

#[test]
fn until_it_is_backed_up_the_volume_stays() {
    let mut rig = Rig::new();
    let volume = rig.ready("data");
    let made = rig.call("createSnapshot", &[("volumeid", &volume)]);
    rig.pass(600);
    let job = rig.submit("resizeVolume", &[("id", &volume), ("size", "9")]);
    let delete = rig.submit("deleteSnapshot", &[("id", &text(&made["id"]))]);
    rig.pass(1);
    assert_eq!(rig.job(&job)["jobresultcode"], 530);
    assert_eq!(rig.job(&delete)["jobresultcode"], 431);
    rig.pass(5_000);
    let resized = rig.done("resizeVolume", &[("id", &volume), ("size", "9")]);
    assert_eq!(resized["jobstatus"], 1, "{resized}");
    let deleted = rig.done("deleteSnapshot", &[("id", &text(&made["id"]))]);
    assert_eq!(deleted["jobresult"], serde_json::json!({"success": true}));
    assert_eq!(rig.call("listSnapshots", &[]), serde_json::json!({}));
}

#[test]
fn only_what_is_on_storage_and_rests_can_be_snapshotted() {
    let mut rig = Rig::new();
    let new = rig.create("new", 1);
    let refused = rig.refused("createSnapshot", &[("volumeid", &new)]);
    assert_eq!((refused.0, refused.1), (431, Some(4350)));
    assert!(
        refused.2.contains("is not in Ready state but Allocated"),
        "{refused:?}"
    );
}

#[test]
fn a_volume_is_made_from_a_snapshot() {
    let mut rig = Rig::new();
    let volume = rig.ready("data");
    let snapshot = rig.snapshot(&volume);
    let made = rig.call(
        "createVolume",
        &[("name", "copy"), ("snapshotid", &snapshot)],
    );
    let id = text(&made["id"]);
    assert_eq!(rig.volume(&id)["state"], "Creating");
    rig.pass(5_000);
    let copy = rig.volume(&id);
    assert_eq!(
        (&copy["state"], &copy["snapshotid"]),
        (&"Ready".into(), &snapshot.into())
    );
    assert_eq!(copy["size"], rig.volume(&volume)["size"]);
}

#[test]
fn going_back_needs_a_vm_that_does_not_run() {
    let mut rig = Rig::new();
    let volume = rig.ready("data");
    let snapshot = rig.snapshot(&volume);
    let vm = rig.vm("appliance");
    let attach = [("id", volume.as_str()), ("virtualmachineid", vm.as_str())];
    rig.done("attachVolume", &attach);
    let (code, text) = rig.fails("revertSnapshot", &[("id", &snapshot)]);
    assert_eq!(code, 431);
    assert!(text.contains("not in the shutdown state"), "{text}");
    rig.done("stopVirtualMachine", &[("id", &vm)]);
    let job = rig.submit("revertSnapshot", &[("id", &snapshot)]);
    rig.pass(1);
    assert_eq!(rig.volume(&volume)["state"], "RevertSnapshotting");
    rig.pass(5_000);
    assert_eq!(rig.job(&job)["jobstatus"], 1);
    assert_eq!(rig.volume(&volume)["state"], "Ready");
}

#[test]
fn a_restart_leaves_a_snapshot_that_failed() {
    let mut rig = Rig::new();
    let volume = rig.ready("data");
    rig.call("createSnapshot", &[("volumeid", &volume)]);
    rig.pass(100);
    rig.front.world_mut().restart_management_server(false);
    let states = (Value::from("Ready"), Value::from("Error"));
    assert_eq!(rig.states(&volume), states);
}

#[test]
fn a_snapshot_without_a_job_holds_nothing_up() {
    let mut rig = Rig::new();
    let volume = rig.ready("data");
    let used = rig.submit("updateVolume", &[("id", &volume), ("name", "data")]);
    rig.pass(1_000);
    let params = [
        ("volumeid", volume.as_str()),
        ("customjobid", used.as_str()),
    ];
    assert_eq!(rig.refused("createSnapshot", &params).0, 530);
    let job = rig.done("resizeVolume", &[("id", &volume), ("size", "9")]);
    assert_eq!(job["jobstatus"], 1, "{job}");
}

#[test]
fn while_a_snapshot_is_taken_a_resize_is_refused_because_of_it() {
    let mut rig = Rig::new();
    let volume = rig.ready("data");
    rig.call("createSnapshot", &[("volumeid", &volume)]);
    rig.pass(1);
    let job = rig.submit("resizeVolume", &[("id", &volume), ("size", "9")]);
    let job = rig.job(&job);
    assert_eq!(job["jobresultcode"], 530, "{job}");
}

#[test]
fn a_protected_volume_is_not_deleted() {
    let mut rig = Rig::new();
    let volume = rig.ready("data");
    for (flag, kept) in [("true", true), ("false", false)] {
        let params = [("id", volume.as_str()), ("deleteprotection", flag)];
        let updated = rig.done("updateVolume", &params);
        assert_eq!(updated["jobresult"]["volume"]["deleteprotection"], kept);
        if kept {
            let refused = rig.refused("deleteVolume", &[("id", &volume)]);
            assert_eq!((refused.0, refused.1), (431, Some(4350)));
            assert!(
                refused.2.contains("has delete protection enabled"),
                "{refused:?}"
            );
            let (code, _) = rig.fails("destroyVolume", &[("id", &volume)]);
            assert_eq!(code, 431);
        }
    }
    rig.call("deleteVolume", &[("id", &volume)]);
}

#[test]
fn a_snapshots_job_is_about_the_snapshot_not_about_its_volume() {
    let mut rig = Rig::new();
    let volume = rig.create_on("data", "appliance");
    let answer = rig.call("createSnapshot", &[("volumeid", &volume)]);
    rig.pass(100);
    let shown = rig.volume(&volume);
    assert_eq!(shown["state"], "Snapshotting");
    assert_eq!(shown.get("jobid"), None, "{shown}");
    let job = rig.job(&text(&answer["jobid"]));
    assert_eq!(job["jobinstancetype"], "Snapshot");
    assert_eq!(job["jobinstanceid"], answer["id"]);
}

#[test]
fn snapshots_have_tags_of_their_own() {
    let mut rig = Rig::new();
    let volume = rig.create_on("data", "appliance");
    let tagged = [
        ("volumeid", volume.as_str()),
        ("tags[0].key", "plan"),
        ("tags[0].value", "weekly"),
    ];
    let id = text(&rig.call("createSnapshot", &tagged)["id"]);
    rig.pass(5_000);
    let more = [
        ("resourceids", id.as_str()),
        ("resourcetype", "snapshot"),
        ("tags[0].key", "owner"),
        ("tags[0].value", "alice"),
    ];
    rig.done("createTags", &more);
    let listed = rig.call("listTags", &[("resourcetype", "Snapshot")]);
    assert_eq!(listed["count"], 2);
    assert_eq!(listed["tag"][0]["resourceid"], id.as_str());
    let weekly = [("tags[0].key", "plan"), ("tags[0].value", "weekly")];
    assert_eq!(rig.call("listSnapshots", &weekly)["count"], 1);
    rig.done("deleteSnapshot", &[("id", &id)]);
    assert_eq!(rig.call("listTags", &[]), serde_json::json!({}));
}
