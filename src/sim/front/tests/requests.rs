//! Envelopes, credentials and the order of checks.

use super::*;
use crate::sim::fault::{Fault, Target};

#[test]
fn json_must_be_asked_for() {
    let mut rig = Rig::new();
    let answer = rig
        .front
        .handle(&HttpRequest::get("command=listZones"), START);
    assert_eq!(answer.status, 400);
    let body = only_key(&answer.body, "errorresponse");
    assert!(text(&body["errortext"]).contains("response=json"));
}

#[test]
fn answers_carry_date_type_and_description() {
    let mut rig = Rig::new();
    rig.pass(1_500);
    let answer = rig.send("listZones", &[]);
    assert_eq!(
        answer.headers,
        [
            ("Date", "Fri, 20 Nov 2026 22:30:01 GMT".to_owned()),
            ("Content-Type", "application/json; charset=UTF-8".to_owned()),
        ]
    );
    let answer = rig.send("attachVolume", &[]);
    assert_eq!(answer.status, 431);
    assert_eq!(
        answer.headers.last().expect("headers"),
        &(
            "X-Description",
            "Unable to execute API command attachvolume due to missing parameter id".to_owned()
        )
    );
}

#[test]
fn only_get_and_post_are_answered() {
    let mut rig = Rig::new();
    let query = signed(
        &[
            ("command", "listZones"),
            ("response", "json"),
            ("apikey", ADMIN_API_KEY),
        ],
        ADMIN_SECRET_KEY,
    );
    for (method, status) in [("GET", 200), ("POST", 200), ("PUT", 405), ("HEAD", 405)] {
        let request = HttpRequest {
            method: method.to_owned(),
            query: query.clone(),
            body: String::new(),
        };
        assert_eq!(rig.front.handle(&request, START).status, status, "{method}");
    }
    let form = HttpRequest {
        method: "POST".to_owned(),
        query: String::new(),
        body: query,
    };
    assert_eq!(rig.front.handle(&form, START).status, 200);
}

/// Each case breaks what an earlier check looks at, and everything that a later one looks at.
#[test]
fn credentials_are_checked_in_the_servers_order() {
    let expired = ("expires", "2026-11-20T22:29:59+0000");
    let v3 = ("signatureVersion", "3");
    let key = ("apiKey", ADMIN_API_KEY);
    let cases = [
        ("no command", vec![key], "null"),
        (
            "unknown command",
            vec![("command", "launchRocket")],
            "errorresponse",
        ),
        (
            "wrong case",
            vec![("command", "listzones"), key],
            "errorresponse",
        ),
        (
            "no key",
            vec![("command", "listZones")],
            "listzonesresponse",
        ),
        (
            "v3 without expires",
            vec![("command", "listZones"), key, v3],
            "listzonesresponse",
        ),
        (
            "v3, no date",
            vec![("command", "listZones"), key, v3, ("expires", "soon")],
            "listzonesresponse",
        ),
        (
            "v3, expired",
            vec![("command", "listZones"), key, v3, expired],
            "listzonesresponse",
        ),
        (
            "unknown key",
            vec![("command", "listZones"), ("apiKey", "x")],
            "listzonesresponse",
        ),
    ];
    for (case, params, response) in cases {
        let mut rig = Rig::new();
        let mut params = params.clone();
        params.push(("response", "json"));
        let request = HttpRequest::get(signed(&params, ADMIN_SECRET_KEY));
        let answer = rig.front.handle(&request, START);
        assert_eq!(answer.status, 401, "{case}");
        let body = only_key(&answer.body, response);
        assert_eq!(body.get("cserrorcode"), None, "{case}");
        assert_eq!(
            body["errortext"],
            "unable to verify user credentials and/or request signature"
        );
    }
}

#[test]
fn expiry_counts_only_with_version_3_and_to_the_moment() {
    for (version, expires, status) in [
        (Some("3"), "2026-11-20T22:30:00+0000", 200),
        (Some("3"), "2026-11-20T22:30:00Z", 200),
        (Some("3"), "2026-11-20T22:29:59.999+00:00", 401),
        (Some("2"), "2000-01-01T00:00:00Z", 200),
        (None, "never", 200),
    ] {
        let mut rig = Rig::new();
        let mut params = vec![("expires", expires)];
        params.extend(version.map(|version| ("signatureversion", version)));
        let answer = rig.send("listZones", &params);
        assert_eq!(answer.status, status, "{version:?} {expires}");
    }
}

#[test]
fn the_throttle_answers_before_the_signature_is_looked_at_but_after_the_key() {
    let throttle = Fault::TooManyRequests {
        on: Target::next("listZones"),
        retry_after_ms: 750,
    };
    let ask = |key: &str, front: &mut Front| {
        let params = [
            ("command", "listZones"),
            ("response", "json"),
            ("apiKey", key),
        ];
        let request = HttpRequest::get(signed(&params, "not the secret"));
        front.handle(&request, START)
    };
    let mut rig = Rig::new();
    rig.front.inject(throttle.clone());
    let answer = ask(ADMIN_API_KEY, &mut rig.front);
    assert_eq!(answer.status, 429);
    let body = only_key(&answer.body, "listzonesresponse");
    assert_eq!(body["cserrorcode"], 9999);
    assert!(text(&body["errortext"]).ends_with("retry after [750] ms."));
    assert_eq!(ask(ADMIN_API_KEY, &mut rig.front).status, 401);

    rig.front.inject(throttle);
    assert_eq!(ask("unknown", &mut rig.front).status, 401);
}

#[test]
fn a_disabled_account_is_refused_like_a_wrong_key() {
    let mut rig = Rig::new();
    let admin = rig
        .front
        .world()
        .find_account(ADMIN_API_KEY)
        .expect("admin");
    rig.front.world_mut().enable_account(admin, false);
    assert_eq!(rig.refused("listZones", &[]).0, 401);
    rig.front.world_mut().enable_account(admin, true);
    rig.call("listZones", &[]);
}

#[test]
fn parameters_are_bound_or_refused_in_the_servers_words() {
    let mut rig = Rig::new();
    let volume = rig.create("v", 1);
    let missing = "00000000-0000-4000-8000-000000000000";
    let long = "x".repeat(256);
    let exists = |name: &str, value: &str| {
        format!(
            "due to invalid value. Invalid parameter {name} value={value} due to incorrect long \
             value format, or entity does not exist"
        )
    };
    for (command, params, code, says) in [
        (
            "attachVolume",
            vec![("id", volume.as_str())],
            431,
            "due to missing parameter virtualmachineid".to_owned(),
        ),
        (
            "attachVolume",
            vec![("id", missing)],
            431,
            exists("id", missing),
        ),
        (
            "listVolumes",
            vec![("ids", missing)],
            431,
            exists("ids", missing),
        ),
        (
            "listVolumes",
            vec![("virtualmachineid", "7")],
            431,
            exists("virtualmachineid", "7"),
        ),
        (
            "listVolumes",
            vec![("projectid", missing)],
            431,
            exists("projectid", missing),
        ),
        (
            "queryAsyncJobResult",
            vec![("jobid", missing)],
            431,
            exists("jobid", missing),
        ),
        (
            "resizeVolume",
            vec![("id", &volume), ("size", "2.5")],
            431,
            "due to invalid value 2.5 for parameter size".to_owned(),
        ),
        (
            "listVolumes",
            vec![("page", "x")],
            431,
            "due to invalid value x for parameter page".to_owned(),
        ),
        (
            "listVolumes",
            vec![("name", &long)],
            431,
            "Value greater than max allowed length 255 for param: name".to_owned(),
        ),
        (
            "listVolumes",
            vec![("name", "a\u{1}b")],
            431,
            "illegal ASCII non-printable characters".to_owned(),
        ),
        (
            "listVolumes",
            vec![("tags", "x")],
            431,
            "due to invalid value x for parameter tags".to_owned(),
        ),
        (
            "listVolumes",
            vec![("tags[x].key", "k")],
            430,
            "Unable to decode parameter tags[x].key".to_owned(),
        ),
        (
            "createVolume",
            vec![("virtualmachineid", missing)],
            432,
            "The simulator does not know parameter virtualmachineid".to_owned(),
        ),
        (
            "createVolume",
            vec![("miniops", "5")],
            432,
            "The simulator does not know parameter miniops".to_owned(),
        ),
        // A filter that was ignored would answer with everything.
        (
            "listVolumes",
            vec![("podid", missing)],
            432,
            "The simulator does not know parameter podid".to_owned(),
        ),
        (
            "listVirtualMachines",
            vec![("hostid", missing)],
            432,
            "The simulator does not know parameter hostid".to_owned(),
        ),
    ] {
        let (got, cs, text) = rig.refused(command, &params);
        assert_eq!(
            (got, cs),
            (code, Some(9999)),
            "{command} {params:?}: {text}"
        );
        assert!(text.contains(&says), "{command} {params:?}: {text}");
    }
    // Unknown parameters are ignored, names are bound ignoring case.
    let found = rig.call("listVolumes", &[("NAME", "v"), ("colour", "red")]);
    assert_eq!(found["count"], 1);
}

#[test]
fn apis_and_capabilities_tell_what_there_is() {
    let mut rig = Rig::new();
    let all = rig.call("listApis", &[]);
    assert_eq!(all["count"], all["api"].as_array().expect("api").len());
    let one = rig.call("listApis", &[("name", "attachVolume")]);
    assert_eq!(one["api"][0]["isasync"], true);
    let params: Vec<&str> = one["api"][0]["params"]
        .as_array()
        .expect("params")
        .iter()
        .filter_map(|param| param["name"].as_str())
        .collect();
    assert_eq!(
        params,
        ["id", "virtualmachineid", "deviceid", "customjobid"]
    );
    // By its exact name.
    for name in ["attachvolume", "frobnicate"] {
        let (status, code, text) = rig.refused("listApis", &[("name", name)]);
        assert_eq!((status, code), (530, Some(9999)));
        assert!(
            text.starts_with("Api Discovery plugin was unable"),
            "{text}"
        );
    }
    let capability = rig.call("listCapabilities", &[]);
    assert_eq!(capability["capability"]["customdiskofferingmaxsize"], 1024);
}

#[test]
fn long_lists_have_to_be_posted() {
    let mut rig = Rig::new();
    let ids = vec![rig.create("v", 1); 300].join(",");
    assert_eq!(rig.send("listVolumes", &[("ids", &ids)]).status, 414);
    let params = [
        ("command", "listVolumes"),
        ("response", "json"),
        ("apikey", ADMIN_API_KEY),
        ("ids", &ids),
    ];
    let posted = HttpRequest {
        method: "POST".to_owned(),
        query: String::new(),
        body: signed(&params, ADMIN_SECRET_KEY),
    };
    let answer = rig.front.handle(&posted, START);
    assert_eq!(only_key(&answer.body, "listvolumesresponse")["count"], 1);
}
