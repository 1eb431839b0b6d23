//! Who may do and see what, and how much one may have.

use super::*;
use crate::sim::fault::{Count, Fault, Target};
use crate::sim::world::{Limits, NewVolume, Role, Throttle, VmState};

const ALICE: (&str, &str) = ("alice-key", "alice-secret");
const BOB: (&str, &str) = ("bob-key", "bob-secret");

impl Rig {
    /// Adds an account with a VM `<name>-vm` and a volume `<name>-data`, and returns the volume.
    fn join(&mut self, name: &str, keys: (&str, &str), role: Role, limits: Limits) -> String {
        let world = self.front.world_mut();
        let account = world.add_account(name, keys.0, keys.1);
        world.restrict_account(account, role, limits, &["destroyVolume".to_owned()]);
        let zone = world.zones().next().expect("a zone").0;
        let offering = world.offerings().next().expect("an offering").0;
        world.add_vm(&format!("{name}-vm"), zone, account, VmState::Running);
        let new = NewVolume {
            name: Some(format!("{name}-data")),
            zone: Some(zone),
            offering: Some(offering),
            size_gib: Some(1),
            ..NewVolume::default()
        };
        let volume = world.create_volume(account, new).expect("there is room");
        world.volume(volume).uuid.to_string()
    }

    fn send_as(
        &mut self,
        keys: (&str, &str),
        command: &str,
        params: &[(&str, &str)],
    ) -> HttpAnswer {
        let mut all = vec![
            ("command", command),
            ("response", "json"),
            ("apiKey", keys.0),
        ];
        all.extend_from_slice(params);
        let request = HttpRequest::get(signed(&all, keys.1));
        self.front.handle(&request, self.now)
    }

    fn call_as(&mut self, keys: (&str, &str), command: &str, params: &[(&str, &str)]) -> Value {
        let answer = self.send_as(keys, command, params);
        assert_eq!(answer.status, 200, "{command} {params:?}: {}", answer.body);
        only_key(&answer.body, &format!("{}response", command.to_lowercase()))
    }

    /// A refusal: status, `cserrorcode` and text.
    fn refused_as(
        &mut self,
        keys: (&str, &str),
        command: &str,
        params: &[(&str, &str)],
    ) -> (u16, Option<i64>, String) {
        let answer = self.send_as(keys, command, params);
        let body = only_key(&answer.body, &format!("{}response", command.to_lowercase()));
        let text = body["errortext"].as_str().unwrap_or_default().to_owned();
        (answer.status, body["cserrorcode"].as_i64(), text)
    }
}

fn names(listed: &Value, key: &str) -> Vec<String> {
    let rows = listed[key].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = rows.iter().map(|row| text(&row["name"])).collect();
    names.sort();
    names
}

#[test]
fn a_user_sees_its_own_whatever_it_asks_for() {
    let mut rig = Rig::new();
    let of_alice = rig.join("alice", ALICE, Role::User, Limits::default());
    let of_bob = rig.join("bob", BOB, Role::DomainAdmin, Limits::default());
    let own = ["ROOT-", "alice-data"];
    for params in [&[][..], &[("listall", "true")]] {
        let listed = rig.call_as(ALICE, "listVolumes", params);
        let seen = names(&listed, "volume");
        assert!(
            seen.len() == 2
                && seen
                    .iter()
                    .zip(own)
                    .all(|(name, own)| name.starts_with(own)),
            "{seen:?}"
        );
    }
    let by_id = [("id", of_bob.as_str())];
    assert_eq!(
        rig.call_as(ALICE, "listVolumes", &by_id),
        serde_json::json!({})
    );
    // An administrator of the domain sees all with listall or an id, not with ids.
    for (params, count) in [
        (&[][..], 2),
        (&[("listall", "true")], 7),
        (&[("id", of_alice.as_str())], 1),
        (&[("ids", of_alice.as_str())], 0),
    ] {
        let listed = rig.call_as(BOB, "listVolumes", params);
        assert_eq!(names(&listed, "volume").len(), count, "{params:?}");
    }
    let vms = rig.call_as(ALICE, "listVirtualMachines", &[("listall", "true")]);
    assert_eq!(names(&vms, "virtualmachine"), ["alice-vm"]);
}

#[test]
fn only_root_administrators_see_the_machinery() {
    let mut rig = Rig::new();
    let id = rig.join("alice", ALICE, Role::User, Limits::default());
    rig.join("bob", BOB, Role::DomainAdmin, Limits::default());
    let hidden = ["hypervisor", "storage", "storagetype", "path"];
    let own = rig.call_as(ALICE, "listVolumes", &[("id", &id)])["volume"][0].clone();
    let all = rig.volume(&id);
    for field in hidden {
        assert!(own.get(field).is_none(), "{field}: {own}");
    }
    assert_eq!(
        (&all["hypervisor"], &all["storage"]),
        (&"None".into(), &"none".into())
    );
    let job = rig.call_as(
        ALICE,
        "createTags",
        &[
            ("resourceids", &id),
            ("resourcetype", "Volume"),
            ("tags[0].key", "k"),
            ("tags[0].value", "v"),
        ],
    );
    let job = text(&job["jobid"]);
    let vm = rig.call_as(ALICE, "listVirtualMachines", &[])["virtualmachine"][0].clone();
    assert!(vm.get("instancename").is_none());
    let attach = [
        ("id", id.as_str()),
        ("virtualmachineid", vm["id"].as_str().expect("an id")),
    ];
    let attach = rig.call_as(ALICE, "attachVolume", &attach);
    rig.pass(5_000);
    let attach = rig.call_as(
        ALICE,
        "queryAsyncJobResult",
        &[("jobid", &text(&attach["jobid"]))],
    );
    assert_eq!(
        attach["cmd"],
        "org.apache.cloudstack.api.command.user.volume.AttachVolumeCmd"
    );
    let path = |job: &Value| job["jobresult"]["volume"]["path"].clone();
    assert_eq!(path(&attach), Value::Null, "{attach}");
    // A root administrator may look, and finds what was written down for her.
    let looked = rig.job(&text(&attach["jobid"]));
    assert_eq!(
        (path(&looked), &looked["cmd"]),
        (Value::Null, &attach["cmd"])
    );
    assert_eq!(rig.job(&job)["jobstatus"], 1);
    let by_root = rig.submit("detachVolume", &[("id", &id)]);
    rig.pass(5_000);
    let looked = rig.call_as(BOB, "queryAsyncJobResult", &[("jobid", &by_root)]);
    assert_eq!(path(&looked), id, "{looked}");
}

#[test]
fn what_belongs_to_others_is_left_alone() {
    let mut rig = Rig::new();
    let of_admin = rig.create("data", 1);
    rig.join("alice", ALICE, Role::User, Limits::default());
    for command in [
        "deleteVolume",
        "detachVolume",
        "resizeVolume",
        "updateVolume",
    ] {
        let (status, code, text) = rig.refused_as(ALICE, command, &[("id", &of_admin)]);
        assert_eq!((status, code), (531, Some(4365)), "{command}");
        assert!(
            text.contains("does not have permission to operate"),
            "{text}"
        );
    }
    let job = rig.submit("detachVolume", &[("id", &of_admin)]);
    let refused = rig.refused_as(ALICE, "queryAsyncJobResult", &[("jobid", &job)]);
    assert_eq!((refused.0, refused.1), (531, Some(4365)));
    // Its role does not have this one at all.
    let refused = rig.refused_as(ALICE, "destroyVolume", &[("id", &of_admin)]);
    assert_eq!((refused.0, refused.1), (401, Some(9999)));
    let apis = names(&rig.call_as(ALICE, "listApis", &[]), "api");
    assert!(!apis.contains(&"destroyVolume".to_owned()));
    assert!(apis.contains(&"deleteVolume".to_owned()));
}

#[test]
fn tags_of_others_are_neither_written_nor_removed() {
    let mut rig = Rig::new();
    let of_admin = rig.create("data", 1);
    let of_alice = rig.join("alice", ALICE, Role::User, Limits::default());
    rig.join("bob", BOB, Role::DomainAdmin, Limits::default());
    rig.done(
        "createTags",
        &[
            ("resourceids", &of_admin),
            ("resourcetype", "Volume"),
            ("tags[0].key", "owner"),
            ("tags[0].value", "v"),
        ],
    );
    let denied = "Caller does not have permission to operate with provided resource.";
    let nothing = "Failed to delete tags";
    // Who, what, on what, which key, and the code and text in the job: the request itself is taken.
    for (who, command, on, key, code, why) in [
        (ALICE, "createTags", &of_admin, "mine", 530, denied),
        (ALICE, "deleteTags", &of_admin, "owner", 530, denied),
        // Nothing is found before anybody asks whose it is.
        (ALICE, "deleteTags", &of_admin, "mine", 530, nothing),
        (ALICE, "createTags", &of_alice, "mine", 0, ""),
        (ALICE, "deleteTags", &of_alice, "mine", 0, ""),
        (BOB, "deleteTags", &of_admin, "owner", 0, ""),
        (BOB, "createTags", &of_alice, "theirs", 0, ""),
    ] {
        let params = [
            ("resourceids", on.as_str()),
            ("resourcetype", "Volume"),
            ("tags[0].key", key),
            ("tags[0].value", "v"),
        ];
        let job = text(&rig.call_as(who, command, &params)["jobid"]);
        rig.pass(1_000);
        let job = rig.job(&job);
        let told = job["jobresult"]["errortext"].as_str().unwrap_or_default();
        assert_eq!(
            (job["jobresultcode"].as_u64(), told),
            (Some(code), why),
            "{who:?} {command} {key}"
        );
    }
}

#[test]
fn the_servers_troubles_are_told_to_root_administrators_only() {
    let mut rig = Rig::new();
    rig.join("alice", ALICE, Role::User, Limits::default());
    rig.front.inject(Fault::InternalError {
        on: Target {
            count: Count::Times(2),
            ..Target::next("listVolumes")
        },
        text: "DB Exception".to_owned(),
    });
    let (code, cs_code, told) = rig.refused_as(ALICE, "listVolumes", &[]);
    assert_eq!((code, cs_code), (530, Some(4250)));
    assert_eq!(
        told,
        "Internal error executing command, please contact your system administrator"
    );
    assert_eq!(rig.refused("listVolumes", &[]).2, "DB Exception");
}

#[test]
fn limits_hold_for_new_volumes_and_larger_ones() {
    let mut rig = Rig::new();
    let limits = Limits {
        // Its ROOT volume, the first one, and one more.
        volumes: Some(3),
        primary_storage_gib: Some(30),
    };
    rig.join("alice", ALICE, Role::User, limits);
    let (zone, offering) = (rig.zone(), rig.offering("Custom OSSEA"));
    let create = |rig: &mut Rig, size: &str| {
        let params = [
            ("zoneid", zone.as_str()),
            ("diskofferingid", offering.as_str()),
            ("size", size),
        ];
        rig.send_as(ALICE, "createVolume", &params)
    };
    let too_large = create(&mut rig, "10");
    assert_eq!(too_large.status, 535);
    let body = only_key(&too_large.body, "createvolumeresponse");
    assert_eq!(
        text(&body["errortext"]),
        "Maximum amount of resources of Type = 'primary_storage', tag = 'null' for Account Name = \
         alice in Domain Id = 1 is exceeded: Account Resource Limit = (30.00 GB) 32212254720, \
         Current Account Resource Amount = (21.00 GB) 22548578304, Current Account Resource \
         Reservation = (0 bytes) 0, Requested Resource Amount = (10.00 GB) 10737418240."
    );
    assert!(
        too_large.body.contains(r#""cserrorcode":4370"#),
        "{}",
        too_large.body
    );
    let made = create(&mut rig, "5");
    let id = text(&only_key(&made.body, "createvolumeresponse")["id"]);
    let too_many = create(&mut rig, "1");
    assert_eq!(too_many.status, 535);
    assert!(
        too_many.body.contains("Type = 'volume'"),
        "{}",
        too_many.body
    );
    rig.pass(1_000);
    let job = rig.call_as(ALICE, "resizeVolume", &[("id", &id), ("size", "20")]);
    rig.pass(1_000);
    let job = rig.call_as(
        ALICE,
        "queryAsyncJobResult",
        &[("jobid", &text(&job["jobid"]))],
    );
    assert_eq!(job["jobresultcode"], 535, "{job}");
    // What is deleted counts no more.
    rig.call_as(ALICE, "deleteVolume", &[("id", &id)]);
    assert_eq!(create(&mut rig, "1").status, 200);
    // Nothing limits a root administrator.
    let world = rig.front.world_mut();
    let admin = world.accounts().next().expect("an account").0;
    let none = Limits {
        volumes: Some(0),
        primary_storage_gib: Some(0),
    };
    world.restrict_account(admin, Role::RootAdmin, none, &[]);
    rig.create("data", 1);
}

#[test]
fn only_root_administrators_create_volumes_in_a_disabled_zone() {
    let mut rig = Rig::new();
    let limits = Limits {
        volumes: Some(3),
        ..Limits::default()
    };
    rig.join("alice", ALICE, Role::User, limits);
    rig.join("bob", BOB, Role::DomainAdmin, Limits::default());
    let world = rig.front.world_mut();
    let no = world.zones().next().expect("a zone").0;
    world.enable_zone(no, false);
    let (zone, offering) = (rig.zone(), rig.offering("Small"));
    let params = [("zoneid", zone.as_str()), ("diskofferingid", &offering)];
    for who in [ALICE, BOB] {
        let (status, code, text) = rig.refused_as(who, "createVolume", &params);
        assert_eq!((status, code), (531, Some(4365)), "{who:?}: {text}");
        assert!(text.contains("Zone is currently disabled"), "{text}");
    }
    rig.call("createVolume", &params);
    let listed = rig.call_as(ALICE, "listZones", &[])["zone"][0].clone();
    assert_eq!(listed["allocationstate"], "Disabled");
    // Limits are looked at before the zone is.
    rig.front.world_mut().enable_zone(no, true);
    rig.call_as(ALICE, "createVolume", &params);
    rig.front.world_mut().enable_zone(no, false);
    assert_eq!(rig.refused_as(ALICE, "createVolume", &params).0, 535);
}

#[test]
fn an_id_of_ones_own_is_for_root_administrators_and_used_once() {
    let mut rig = Rig::new();
    rig.join("alice", ALICE, Role::User, Limits::default());
    let (zone, offering) = (rig.zone(), rig.offering("Small"));
    let id = "0f8a2c1e-5d34-4b7a-9c1d-2e6f7a8b9c0d";
    let with = |custom| {
        [
            ("zoneid", zone.as_str()),
            ("diskofferingid", offering.as_str()),
            ("customid", custom),
        ]
    };
    let (status, code, text) = rig.refused_as(ALICE, "createVolume", &with(id));
    assert_eq!((status, code), (531, Some(4365)));
    assert!(text.starts_with("Please check your permissions"), "{text}");
    let upper = id.to_uppercase();
    assert_eq!(rig.refused("createVolume", &with(&upper)).0, 431);
    assert_eq!(rig.call("createVolume", &with(id))["id"], id);
    let again = rig.refused("createVolume", &with(id));
    assert!(
        again.0 == 431 && again.2.contains("already exists"),
        "{again:?}"
    );
    rig.pass(1_000);
    rig.call("deleteVolume", &[("id", id)]);
    rig.pass(1_000);
    assert_eq!(
        rig.refused("createVolume", &with(id)).0,
        530,
        "ids are used once"
    );
}

#[test]
fn too_many_requests_in_a_window_are_refused_until_it_is_over() {
    let throttle = Throttle {
        interval_ms: 1_000,
        max: 3,
    };
    let mut rig = Rig::with(Settings {
        throttle: Some(throttle),
        ..Settings::default()
    });
    rig.join("alice", ALICE, Role::User, Limits::default());
    for _ in 0..3 {
        rig.call_as(ALICE, "listZones", &[]);
    }
    rig.pass(400);
    // Before the signature is looked at.
    let refused = rig.refused_as((ALICE.0, "wrong"), "listZones", &[]);
    assert_eq!((refused.0, refused.1), (429, Some(9999)));
    assert!(
        refused.2.ends_with("retry after [600] ms."),
        "{}",
        refused.2
    );
    rig.call("listZones", &[]);
    rig.pass(600);
    let limit = rig.call_as(ALICE, "getApiLimit", &[]);
    let limit = &limit["apilimit"];
    assert_eq!(
        (&limit["apiIssued"], &limit["apiAllowed"], &limit["account"]),
        (&1.into(), &2.into(), &"alice".into())
    );
    rig.pass(1_000);
    // To look for one command costs two requests, to look for all costs more than there are.
    rig.call_as(ALICE, "listApis", &[("name", "listZones")]);
    rig.call_as(ALICE, "listZones", &[]);
    assert_eq!(rig.refused_as(ALICE, "listZones", &[]).0, 429);
    rig.pass(1_000);
    assert_eq!(rig.refused_as(ALICE, "listApis", &[]).0, 429);
    rig.pass(1_000);
    let told = rig.call_as(ALICE, "listCapabilities", &[])["capability"].clone();
    assert_eq!(
        (&told["apilimitinterval"], &told["apilimitmax"]),
        (&1.into(), &3.into())
    );
}

#[test]
fn where_posts_are_enforced_changes_are_posted_and_signed_for_a_quarter_of_an_hour() {
    let mut rig = Rig::with(Settings {
        enforce_post: true,
        ..Settings::default()
    });
    let v3 = |expires| [("signatureversion", "3"), ("expires", expires)];
    // The world begins at 22:30:00.
    let soon = v3("2026-11-20T22:45:00Z");
    let late = v3("2026-11-20T22:45:01Z");
    assert_eq!(rig.send("listZones", &soon).status, 200);
    assert_eq!(rig.send("listZones", &late).status, 401);
    assert_eq!(rig.send("listZones", &[]).status, 401);
    let refused = rig.refused("deleteVolume", &soon);
    assert_eq!((refused.0, refused.1), (400, Some(9999)));
    assert!(
        refused.2.contains("needs to be sent using POST request"),
        "{}",
        refused.2
    );
    // Before the key is looked at, and whether there is such a command.
    for (unsigned, status) in [
        ("command=deleteVolume&response=json", 400),
        ("command=dance&response=json", 400),
        ("command=get&response=json", 400),
        ("command=listDances&response=json", 401),
    ] {
        let answer = rig.front.handle(&HttpRequest::get(unsigned), rig.now);
        assert_eq!(answer.status, status, "{unsigned}: {}", answer.body);
    }
    let mut all = vec![
        ("command", "deleteVolume"),
        ("response", "json"),
        ("apiKey", ADMIN_API_KEY),
    ];
    all.extend(soon);
    let posted = HttpRequest {
        method: "POST".to_owned(),
        query: String::new(),
        body: signed(&all, ADMIN_SECRET_KEY),
    };
    let answer = rig.front.handle(&posted, rig.now);
    assert_eq!(
        answer.status, 431,
        "only its id is missing: {}",
        answer.body
    );
}

#[test]
fn a_user_does_not_expunge() {
    let mut rig = Rig::new();
    rig.join("alice", ALICE, Role::User, Limits::default());
    let vms = rig.call_as(ALICE, "listVirtualMachines", &[]);
    let vm = text(&vms["virtualmachine"][0]["id"]);
    let both = [("id", vm.as_str()), ("expunge", "true")];
    for (command, params, status) in [
        ("destroyVirtualMachine", &both[..], 2),
        ("destroyVirtualMachine", &both[..1], 1),
        ("expungeVirtualMachine", &both[..1], 2),
    ] {
        let job = text(&rig.call_as(ALICE, command, params)["jobid"]);
        rig.pass(5_000);
        let job = rig.call_as(ALICE, "queryAsyncJobResult", &[("jobid", &job)]);
        assert_eq!(job["jobstatus"], status, "{command} {params:?}: {job}");
        if status == 2 {
            assert_eq!(job["jobresultcode"], 530, "{job}");
        }
    }
    let by_id = [("id", vm.as_str())];
    let seen = rig.call_as(ALICE, "listVirtualMachines", &by_id);
    assert_eq!(
        seen,
        serde_json::json!({}),
        "users do not see what is Destroyed"
    );
    let seen = rig.call("listVirtualMachines", &by_id);
    assert_eq!(seen["virtualmachine"][0]["state"], "Destroyed");
}
