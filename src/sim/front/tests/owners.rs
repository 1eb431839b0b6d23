//! Domains and projects: who sees and may use what.

use super::*;
use crate::sim::file::WorldFile;

/// ROOT has `admin` and `ops`, sales below it `dora`, its administrator, and `alice`; ROOT/sales/north `bob`.
/// `alice` and `bob` share the project `apollo`.
const WORLD: &str = "
domains:
  - path: ROOT/sales
    limits: {volumes: 9}
  - path: ROOT/sales/north
    limits: {primaryStorageGib: 50}
accounts:
  - {name: admin, apiKey: sim-admin-api-key-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ, secretKey: sim-admin-secret-key-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ}
  - {name: ops, apiKey: ops-key, secretKey: s, role: User}
  - {name: dora, apiKey: dora-key, secretKey: s, domain: ROOT/sales, role: DomainAdmin}
  - {name: alice, apiKey: alice-key, secretKey: s, domain: ROOT/sales, role: User}
  - {name: bob, apiKey: bob-key, secretKey: s, domain: ROOT/sales/north, role: User}
projects:
  - {name: apollo, owner: alice, members: [bob], limits: {volumes: 3}}
vms:
  - {name: alice-vm, account: alice}
  - {name: apollo-vm, project: apollo}
volumes:
  - {name: of-ops, sizeGib: 1, account: ops}
  - {name: of-alice, sizeGib: 1, account: alice}
  - {name: of-bob, sizeGib: 1, account: bob}
  - {name: of-apollo, sizeGib: 1, project: apollo}
";

impl Rig {
    fn of_domains() -> Self {
        let rig = Self::new();
        let world = WorldFile::parse("w.yaml", WORLD)
            .and_then(|file| file.build("w.yaml", rig.now))
            .expect("a world");
        Self {
            front: Front::new(world),
            ..Self::new()
        }
    }

    fn send_by(&mut self, who: &str, command: &str, params: &[(&str, &str)]) -> HttpAnswer {
        let key = format!("{who}-key");
        let (key, secret) = match who {
            "admin" => (ADMIN_API_KEY, ADMIN_SECRET_KEY),
            _ => (key.as_str(), "s"),
        };
        let mut all = vec![("command", command), ("response", "json"), ("apiKey", key)];
        all.extend_from_slice(params);
        let request = HttpRequest::get(signed(&all, secret));
        self.front.handle(&request, self.now)
    }

    fn call_by(&mut self, who: &str, command: &str, params: &[(&str, &str)]) -> Value {
        let answer = self.send_by(who, command, params);
        assert_eq!(answer.status, 200, "{who} {command}: {}", answer.body);
        only_key(&answer.body, &format!("{}response", command.to_lowercase()))
    }

    fn data_seen_by(&mut self, who: &str, params: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("type", "DATADISK")];
        all.extend_from_slice(params);
        let listed = self.call_by(who, "listVolumes", &all);
        let rows = listed["volume"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> = rows.iter().map(|row| text(&row["name"])).collect();
        names.sort();
        names
    }

    fn id_of(&self, name: &str) -> String {
        let world = self.front.world();
        let domains = world.domains().map(|(_, row)| (&row.name, row.uuid));
        let projects = world.projects().map(|(_, row)| (&row.name, row.uuid));
        let volumes = world.volumes().map(|(_, row)| (&row.name, row.uuid));
        let mut all = domains.chain(projects).chain(volumes);
        let (_, id) = all.find(|(own, _)| *own == name).expect(name);
        id.to_string()
    }
}

/// Who asks, how, and the data volumes that are shown.
type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a [&'a str]);

#[test]
fn a_listing_shows_what_domain_and_project_allow() {
    let mut rig = Rig::of_domains();
    let (sales, apollo) = (rig.id_of("sales"), rig.id_of("apollo"));
    let (of_bob, of_apollo) = (rig.id_of("of-bob"), rig.id_of("of-apollo"));
    let all = ("listall", "true");
    let deep = ("isrecursive", "true");
    let every_project = ("projectid", "-1");
    let rows: Vec<Row<'_>> = vec![
        ("admin", vec![], &[]),
        ("admin", vec![all], &["of-alice", "of-bob", "of-ops"]),
        ("admin", vec![every_project], &["of-apollo"]),
        (
            "admin",
            vec![every_project, all],
            &["of-alice", "of-apollo", "of-bob", "of-ops"],
        ),
        ("admin", vec![("domainid", &sales)], &["of-alice"]),
        (
            "admin",
            vec![("domainid", &sales), deep],
            &["of-alice", "of-bob"],
        ),
        (
            "admin",
            vec![("domainid", &sales), ("account", "alice")],
            &["of-alice"],
        ),
        ("admin", vec![("id", &of_apollo)], &["of-apollo"]),
        ("dora", vec![], &[]),
        ("dora", vec![all], &["of-alice", "of-bob"]),
        ("dora", vec![("id", &of_bob)], &["of-bob"]),
        ("dora", vec![("ids", &of_bob)], &[]),
        ("dora", vec![("projectid", &apollo)], &["of-apollo"]),
        ("alice", vec![all], &["of-alice"]),
        ("alice", vec![("id", &of_bob)], &[]),
        ("alice", vec![("id", &of_apollo)], &[]),
        (
            "alice",
            vec![("id", &of_apollo), ("projectid", &apollo)],
            &["of-apollo"],
        ),
        ("alice", vec![every_project], &["of-apollo"]),
        (
            "alice",
            vec![every_project, all],
            &["of-alice", "of-apollo"],
        ),
        ("bob", vec![("projectid", &apollo)], &["of-apollo"]),
        ("ops", vec![every_project], &[]),
    ];
    for (who, params, shown) in rows {
        assert_eq!(rig.data_seen_by(who, &params), shown, "{who} {params:?}");
    }
    for (who, params, code) in [
        ("ops", vec![("projectid", apollo.as_str())], 531),
        ("ops", vec![("domainid", sales.as_str())], 531),
        (
            "alice",
            vec![("account", "ops"), ("domainid", sales.as_str())],
            431,
        ),
        (
            "alice",
            vec![("account", "alice"), ("projectid", apollo.as_str())],
            431,
        ),
    ] {
        let answer = rig.send_by(who, "listVolumes", &params);
        assert_eq!(answer.status, code, "{who} {params:?}: {}", answer.body);
    }
}

#[test]
fn what_belongs_to_a_project_shows_it_instead_of_an_account() {
    let mut rig = Rig::of_domains();
    let apollo = rig.id_of("apollo");
    let listed = rig.call_by("alice", "listVolumes", &[("projectid", &apollo)]);
    for row in listed["volume"].as_array().expect("rows") {
        assert_eq!(row.get("account"), None, "{row}");
        assert_eq!(row["project"], "apollo");
        assert_eq!(row["projectid"], apollo.as_str());
        assert_eq!(row["domainpath"], "ROOT/sales");
    }
    let own = rig.call_by("bob", "listVolumes", &[]);
    assert_eq!(own["volume"][0]["account"], "bob");
    assert_eq!(own["volume"][0]["domainpath"], "ROOT/sales/north");
    assert_eq!(own["volume"][0].get("projectid"), None);
}

#[test]
fn things_are_made_for_a_project_or_another_account_by_who_may() {
    let mut rig = Rig::of_domains();
    let (sales, north, apollo) = (rig.id_of("sales"), rig.id_of("north"), rig.id_of("apollo"));
    let (zone, offering) = (rig.zone(), rig.offering("Custom OSSEA"));
    let base = [
        ("zoneid", zone.as_str()),
        ("diskofferingid", offering.as_str()),
        ("size", "1"),
    ];
    let for_alice = [("account", "alice"), ("domainid", sales.as_str())];
    let for_bob = [("account", "bob"), ("domainid", north.as_str())];
    let for_apollo = [("projectid", apollo.as_str())];
    for (who, owner, status) in [
        ("admin", &for_bob[..], 200),
        ("dora", &for_alice[..], 200),
        ("alice", &for_alice[..], 200),
        ("alice", &for_bob[..], 531),
        ("ops", &for_apollo[..], 531),
        ("dora", &[("account", "alice")][..], 431),
        (
            "dora",
            &[("account", "nobody"), ("domainid", sales.as_str())][..],
            431,
        ),
        ("bob", &for_apollo[..], 200),
        // With its ROOT volume, that was its third.
        ("alice", &for_apollo[..], 535),
    ] {
        let mut params = base.to_vec();
        params.extend_from_slice(owner);
        let answer = rig.send_by(who, "createVolume", &params);
        assert_eq!(
            answer.status, status,
            "{who} for {owner:?}: {}",
            answer.body
        );
    }
    // A member detaches what its project has; the VM of another owner does not take it.
    rig.pass(1_000);
    let volume = rig.id_of("of-apollo");
    let vm_id = |name: &str| {
        let world = rig.front.world();
        let no = world.vm_called(name).expect("a VM of that name");
        world.vm(no).uuid.to_string()
    };
    let (own, theirs) = (vm_id("apollo-vm"), vm_id("alice-vm"));
    for (vm, status) in [(theirs, 2), (own, 1)] {
        let params = [("id", volume.as_str()), ("virtualmachineid", vm.as_str())];
        let job = text(&rig.call_by("alice", "attachVolume", &params)["jobid"]);
        rig.pass(5_000);
        let job = rig.call_by("alice", "queryAsyncJobResult", &[("jobid", &job)]);
        assert_eq!(job["jobstatus"], status, "{job}");
    }
    let denied = rig.send_by("ops", "detachVolume", &[("id", &volume)]);
    assert_eq!(denied.status, 531, "{}", denied.body);
    let job = rig.call_by("bob", "detachVolume", &[("id", &volume)]);
    assert!(job["jobid"].is_string());
}

#[test]
fn a_domains_limits_hold_for_all_below_it() {
    let mut rig = Rig::of_domains();
    let (zone, offering) = (rig.zone(), rig.offering("Custom OSSEA"));
    let mut create = |who: &str, size: &str| {
        let params = [
            ("zoneid", zone.as_str()),
            ("diskofferingid", offering.as_str()),
            ("size", size),
        ];
        let answer = rig.send_by(who, "createVolume", &params);
        (answer.status, answer.body)
    };
    let (status, body) = create("bob", "51");
    assert_eq!(status, 535);
    assert!(
        body.contains("Maximum domain resource limits of Type = 'primary_storage'"),
        "{body}"
    );
    // In sales and below are five: two of alice, one of bob, two of apollo.
    for who in ["bob", "alice", "bob", "alice"] {
        assert_eq!(create(who, "2").0, 200);
    }
    let (status, body) = create("alice", "2");
    assert_eq!(status, 535);
    assert!(
        body.contains("Maximum domain resource limits of Type = 'volume'"),
        "{body}"
    );
    assert_eq!(create("ops", "2").0, 200);
}

#[test]
fn accounts_users_domains_and_projects_are_listed_for_who_may_see_them() {
    let mut rig = Rig::of_domains();
    let all = [("listall", "true")];
    for (who, command, key, params, names) in [
        (
            "admin",
            "listAccounts",
            "account",
            &all[..],
            "admin alice bob dora ops",
        ),
        (
            "dora",
            "listAccounts",
            "account",
            &all[..],
            "alice bob dora",
        ),
        ("alice", "listAccounts", "account", &all[..], "alice"),
        (
            "admin",
            "listDomains",
            "domain",
            &all[..],
            "ROOT north sales",
        ),
        ("admin", "listDomains", "domain", &[][..], "ROOT"),
        ("dora", "listDomains", "domain", &all[..], "north sales"),
        ("bob", "listDomains", "domain", &all[..], "north"),
        ("admin", "listProjects", "project", &[][..], ""),
        ("admin", "listProjects", "project", &all[..], "apollo"),
        ("dora", "listProjects", "project", &all[..], "apollo"),
        ("bob", "listProjects", "project", &[][..], "apollo"),
        ("ops", "listProjects", "project", &all[..], ""),
    ] {
        let listed = rig.call_by(who, command, params);
        let rows = listed[key].as_array().cloned().unwrap_or_default();
        let mut found: Vec<String> = rows.iter().map(|row| text(&row["name"])).collect();
        found.sort();
        assert_eq!(found.join(" "), names, "{who} {command} {params:?}");
    }
    let users = rig.call_by(
        "dora",
        "listUsers",
        &[("listall", "true"), ("username", "bob")],
    );
    assert_eq!(users["user"][0]["domain"], "north");
    assert_eq!(users["count"], 1);
    let sales = rig.call_by("dora", "listDomains", &[("name", "sales")]);
    let sales = &sales["domain"][0];
    assert_eq!(sales["path"], "ROOT/sales");
    assert_eq!(
        (
            &sales["volumelimit"],
            &sales["volumetotal"],
            &sales["volumeavailable"]
        ),
        (&"9".into(), &5.into(), &"4".into()),
        "with what is below it"
    );
    let admin = rig.call_by("admin", "listAccounts", &[("name", "admin")]);
    let admin = &admin["account"][0];
    assert_eq!(
        (&admin["roletype"], &admin["volumelimit"]),
        (&"Admin".into(), &"Unlimited".into())
    );
    assert!(!admin.to_string().contains(ADMIN_API_KEY));
}

#[test]
fn what_is_done_for_a_project_is_its_event_and_says_who_did_it() {
    let mut rig = Rig::of_domains();
    let (apollo, volume) = (rig.id_of("apollo"), rig.id_of("of-apollo"));
    rig.call_by(
        "bob",
        "updateVolume",
        &[("id", &volume), ("name", "renamed")],
    );
    rig.pass(1_000);
    let events = rig.call_by("alice", "listEvents", &[("projectid", &apollo)]);
    let event = &events["event"][0];
    assert_eq!(event["type"], "VOLUME.UPDATE");
    assert_eq!(
        (&event["project"], &event["username"]),
        (&"apollo".into(), &"bob".into())
    );
    assert_eq!(rig.call_by("bob", "listEvents", &[]), serde_json::json!({}));
}
