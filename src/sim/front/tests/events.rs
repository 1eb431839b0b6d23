//! Events: what is noted of a command, and how it is found again.

use super::*;

impl Rig {
    /// Type, state and level of the events that a filter finds, oldest first.
    fn events(&mut self, filter: &[(&str, &str)]) -> Vec<(String, String, String)> {
        let listed = self.call("listEvents", filter);
        let rows = listed["event"].as_array().cloned().unwrap_or_default();
        let row = |row: &Value| (text(&row["type"]), text(&row["state"]), text(&row["level"]));
        rows.iter().rev().map(row).collect()
    }
}

fn all(rows: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let own = |(a, b, c): &(&str, &str, &str)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned());
    rows.iter().map(own).collect()
}

#[test]
fn a_life_is_told_in_events() {
    let mut rig = Rig::new();
    let id = rig.create_on("data", "appliance");
    rig.fails("resizeVolume", &[("id", &id), ("size", "-1")]);
    rig.done("detachVolume", &[("id", &id)]);
    rig.call("deleteVolume", &[("id", &id)]);
    rig.pass(5_000);
    // The volume is gone, its events are not.
    let of_volume = [("resourceid", id.as_str()), ("resourcetype", "Volume")];
    let expected = all(&[
        ("VOLUME.CREATE", "Created", "INFO"),
        ("VOLUME.CREATE", "Scheduled", "INFO"),
        ("VOLUME.CREATE", "Started", "INFO"),
        ("VOLUME.ATTACH", "Scheduled", "INFO"),
        ("VOLUME.ATTACH", "Started", "INFO"),
        ("VOLUME.CREATE", "Completed", "INFO"),
        ("VOLUME.ATTACH", "Completed", "INFO"),
        ("VOLUME.RESIZE", "Scheduled", "INFO"),
        ("VOLUME.RESIZE", "Started", "INFO"),
        ("VOLUME.RESIZE", "Completed", "ERROR"),
        ("VOLUME.DETACH", "Scheduled", "INFO"),
        ("VOLUME.DETACH", "Started", "INFO"),
        ("VOLUME.DETACH", "Completed", "INFO"),
        ("VOLUME.DELETE", "Completed", "INFO"),
    ]);
    let mut got = rig.events(&of_volume);
    // The create is over before or after the attach begins; all else has its order.
    let at = got
        .iter()
        .position(|row| row == &expected[5])
        .expect("it is over");
    let row = got.remove(at);
    got.insert(5, row);
    assert_eq!(got, expected);
    let errors = rig.events(&[("level", "error")]);
    assert_eq!(errors, all(&[("VOLUME.RESIZE", "Completed", "ERROR")]));
    let attached = rig.events(&[("type", "VOLUME.ATTACH"), ("state", "Completed")]);
    assert_eq!(attached, all(&[("VOLUME.ATTACH", "Completed", "INFO")]));
}

#[test]
fn events_of_one_job_are_linked_and_say_who_did_it() {
    let mut rig = Rig::new();
    let id = rig.create_on("data", "appliance");
    let listed = rig.call("listEvents", &[("type", "VOLUME.ATTACH")]);
    let [completed, started, scheduled] = &listed["event"].as_array().expect("rows")[..] else {
        panic!("{listed}");
    };
    assert_eq!(completed["parentid"], scheduled["id"]);
    assert_eq!(started["parentid"], scheduled["id"]);
    assert!(scheduled.get("parentid").is_none());
    for event in [completed, started, scheduled] {
        assert_eq!(
            (&event["username"], &event["account"]),
            (&"admin".into(), &"admin".into())
        );
        assert_eq!(event["resourceid"], id);
    }
    let description = completed["description"].as_str().expect("a text");
    assert_eq!(
        description,
        format!("Successfully completed attaching volume: {id}")
    );
    let linked = rig.events(&[("startid", scheduled["id"].as_str().expect("an id"))]);
    assert_eq!(linked.len(), 3);
}

#[test]
fn a_lost_job_never_completes() {
    let mut rig = Rig::new();
    let id = rig.create("data", 1);
    rig.pass(5_000);
    let vm = rig.vm("appliance");
    rig.submit("attachVolume", &[("id", &id), ("virtualmachineid", &vm)]);
    rig.pass(60);
    rig.front.world_mut().restart_management_server(false);
    rig.pass(5_000);
    let states = rig.events(&[("type", "VOLUME.ATTACH")]);
    let expected = all(&[
        ("VOLUME.ATTACH", "Scheduled", "INFO"),
        ("VOLUME.ATTACH", "Started", "INFO"),
    ]);
    assert_eq!(states, expected);
}

#[test]
fn events_are_found_by_time_and_refused_with_a_reason() {
    let mut rig = Rig::new();
    rig.create("first", 1);
    rig.pass(60_000);
    rig.create("second", 1);
    // The world begins at 22:30:00.
    let created = ("type", "VOLUME.CREATE");
    let early = rig.events(&[created, ("enddate", "2026-11-20 22:30:30")]);
    let late = rig.events(&[created, ("startdate", "2026-11-20 22:30:30")]);
    assert_eq!((early.len(), late.len()), (4, 3));
    for (params, text) in [
        (("resourceid", "x"), "resourcetype parameter must be used"),
        (("startdate", "soon"), "Unable to parse date soon"),
    ] {
        let refused = rig.refused("listEvents", &[params]);
        assert_eq!(refused.0, 431);
        assert!(refused.2.contains(text), "{refused:?}");
    }
}

#[test]
fn old_events_are_forgotten() {
    let mut rig = Rig::with(Settings {
        max_events: 5,
        ..Settings::default()
    });
    for name in ["a", "b", "c"] {
        rig.create(name, 1);
        rig.pass(1_000);
    }
    assert_eq!(rig.events(&[]).len(), 5);
}
