//! Filters and paging.

use super::*;

fn names(answer: &Value) -> Vec<String> {
    answer["volume"]
        .as_array()
        .map(|rows| rows.iter().map(|row| text(&row["name"])).collect())
        .unwrap_or_default()
}

#[test]
fn pages_are_newest_first_with_the_total_as_count() {
    let mut rig = Rig::with(Settings {
        page_size: 3,
        ..Settings::default()
    });
    for name in ["a", "b", "c", "d", "e"] {
        rig.create(name, 1);
    }
    let data = ("type", "DATADISK");
    for (params, expected) in [
        (vec![data], vec!["e", "d", "c"]),
        (vec![data, ("page", "1"), ("pagesize", "2")], vec!["e", "d"]),
        (vec![data, ("page", "3"), ("pagesize", "2")], vec!["a"]),
        (vec![data, ("page", "0"), ("pagesize", "2")], vec!["e", "d"]),
        (
            vec![data, ("pagesize", "-1")],
            vec!["e", "d", "c", "b", "a"],
        ),
    ] {
        let answer = rig.call("listVolumes", &params);
        assert_eq!(names(&answer), expected, "{params:?}");
        assert_eq!(answer["count"], 5);
    }
    let past = rig.call("listVolumes", &[data, ("page", "9"), ("pagesize", "2")]);
    assert_eq!(past, serde_json::json!({"count": 5}));
    let none = rig.call("listVolumes", &[("name", "z")]);
    assert_eq!(none, serde_json::json!({}));
    for (params, cs, says) in [
        (
            vec![("page", "1")],
            9999,
            "\"pagesize\" parameter is required when \"page\" is specified",
        ),
        (
            vec![("pagesize", "2")],
            9999,
            "\"page\" parameter is required when \"pagesize\" is specified",
        ),
        (
            vec![("page", "1"), ("pagesize", "4")],
            4350,
            "Page size can't exceed max allowed page size value: 3",
        ),
        (
            vec![("page", "1"), ("pagesize", "-1")],
            4350,
            "Can't specify page parameter when pagesize is -1",
        ),
    ] {
        let (code, got, why) = rig.refused("listVolumes", &params);
        assert_eq!((code, got), (431, Some(cs)), "{params:?}: {why}");
        assert!(why.starts_with(says), "{params:?}: {why}");
    }
}

#[test]
fn volumes_are_found_by_every_filter() {
    let mut rig = Rig::new();
    let a = rig.create("alpha", 1);
    let b = rig.create_on("Beta", "appliance");
    let c = rig.create("alpha", 1);
    let tag = |id: &str, key: &str| {
        [
            ("resourceids", id),
            ("resourcetype", "Volume"),
            ("tags[0].key", key),
            ("tags[0].value", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    for (id, key) in [(&a, "x"), (&b, "y")] {
        let params = tag(id, key);
        let params: Vec<(&str, &str)> = params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(rig.done("createTags", &params)["jobstatus"], 1);
    }
    let (vm, zone, small) = (rig.vm("appliance"), rig.zone(), rig.offering("Small"));
    let ids = format!("{a},{b}");
    let data = ("type", "datadisk");
    for (params, expected) in [
        (vec![("id", a.as_str())], vec!["alpha"]),
        (vec![("ids", &ids)], vec!["Beta", "alpha"]),
        (vec![("name", "ALPHA ")], vec!["alpha", "alpha"]),
        (vec![("name", "alph")], vec![]),
        (vec![("keyword", "ALPH")], vec!["alpha", "alpha"]),
        (vec![("keyword", "allocated"), data], vec!["alpha", "alpha"]),
        (vec![("virtualmachineid", &vm), data], vec!["Beta"]),
        (vec![("state", "Ready"), data], vec!["Beta"]),
        (vec![("state", "Nonsense")], vec![]),
        (
            vec![("zoneid", &zone), data],
            vec!["alpha", "Beta", "alpha"],
        ),
        (vec![("diskofferingid", &small)], vec![]),
        (
            vec![
                ("tags[0].key", "X"),
                ("tags[0].value", "1"),
                ("tags[1].key", "y"),
                ("tags[1].value", "1"),
            ],
            vec!["Beta", "alpha"],
        ),
        (vec![("tags[0].key", "x"), ("tags[0].value", "2")], vec![]),
        (vec![("projectid", "-1")], vec![]),
        (
            vec![("listall", "true"), data],
            vec!["alpha", "Beta", "alpha"],
        ),
    ] {
        let answer = rig.call("listVolumes", &params);
        assert_eq!(names(&answer), expected, "{params:?}");
    }
    assert_eq!(
        rig.refused("listVolumes", &[("id", &c), ("ids", &c)]).0,
        431
    );
    assert_eq!(rig.refused("listVolumes", &[("tags[0].key", "x")]).0, 431);
}

#[test]
fn another_accounts_volumes_are_seen_with_listall_or_by_id() {
    let mut rig = Rig::new();
    let id = rig.create("mine", 1);
    rig.front
        .world_mut()
        .add_account("other", "other-key", "other-secret");
    let mut list = |params: &[(&str, &str)]| {
        let mut all = vec![
            ("command", "listVolumes"),
            ("response", "json"),
            ("apiKey", "other-key"),
        ];
        all.extend_from_slice(params);
        let request = HttpRequest::get(signed(&all, "other-secret"));
        let answer = rig.front.handle(&request, START);
        only_key(&answer.body, "listvolumesresponse")["count"]
            .as_u64()
            .unwrap_or(0)
    };
    assert_eq!(list(&[("name", "mine")]), 0);
    assert_eq!(list(&[("ids", &id)]), 0, "ids does not count as id");
    assert_eq!(list(&[("id", &id)]), 1);
    assert_eq!(list(&[("name", "mine"), ("listall", "true")]), 1);
}

#[test]
fn vms_are_found_by_every_filter() {
    let mut rig = Rig::new();
    let vm = rig.vm("test-vm");
    rig.operate(&Operation::DestroyVm {
        vm: "final-vm".to_owned(),
        expunge: false,
    });
    rig.pass(1_000);
    for (params, expected) in [
        (vec![], 3),
        (vec![("details", "min")], 3),
        (vec![("state", "Present")], 2),
        (vec![("state", "Running")], 1),
        (vec![("id", vm.as_str())], 1),
        (vec![("ids", vm.as_str())], 1),
        (vec![("name", "test")], 0),
        (vec![("keyword", "test")], 1),
        (vec![("keyword", "stopped")], 1),
    ] {
        let answer = rig.call("listVirtualMachines", &params);
        assert_eq!(
            answer["count"].as_u64().unwrap_or(0),
            expected,
            "{params:?}"
        );
    }
}

#[test]
fn sizes_are_gib_in_offerings_and_bytes_in_volumes() {
    let mut rig = Rig::new();
    let offerings = rig.call("listDiskOfferings", &[]);
    assert_eq!(offerings["diskoffering"][0]["iscustomized"], true);
    assert_eq!(offerings["diskoffering"][0]["disksize"], 0);
    assert_eq!(offerings["diskoffering"][1]["disksize"], 5);
    assert_eq!(
        rig.call("listZones", &[])["zone"][0]["allocationstate"],
        "Enabled"
    );
}
