//! Nothing that arrives makes decoding panic, and dates are read as written.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cloudstack::Secret;
use crate::cloudstack::jobs::JobState;

#[test]
fn dates_are_read_as_cloudstack_writes_them() {
    for (text, millis) in [
        ("2026-11-20T22:30:00+0000", Some(1_795_213_800_000)),
        ("2026-11-20T23:30:00+0100", Some(1_795_213_800_000)),
        ("2026-11-20", None),
        ("yesterday", None),
    ] {
        let at = text.parse::<WireTime>().ok().map(|at| at.0.as_millis());
        assert_eq!(at, millis, "{text}");
    }
}

#[test]
fn a_field_that_is_there_must_be_understood() {
    let good = json!({"id": "6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", "size": 1, "state": "Ready",
        "type": "DATADISK", "zoneid": "0c1d2e3f-4051-4263-8475-96a7b8c9dae0"});
    for (field, value, says) in [
        ("id", json!(null), "id is missing"),
        ("id", json!(""), "id is missing"),
        ("id", json!(12), "id is \"12\""),
        ("size", json!(-1), "size is \"-1\""),
        ("size", json!(1.5), "size is \"1.5\""),
        ("size", json!("10 GB"), "size is \"10 GB\""),
        ("state", json!(["Ready"]), "state is [\"Ready\"]"),
        ("type", json!(null), "type is missing"),
        ("zoneid", json!("zone-1"), "zoneid is \"zone-1\""),
        (
            "virtualmachineid",
            json!("i-2-12-VM"),
            "virtualmachineid is \"i-2-12-VM\"",
        ),
        ("virtualmachineid", json!({}), "virtualmachineid is {}"),
        ("jobid", json!("job-7"), "jobid is \"job-7\""),
        ("jobstatus", json!("done"), "jobstatus is \"done\""),
        ("tags", json!({}), "tags is {}"),
        ("tags", json!(["x"]), "tags is \"x\""),
        ("tags", json!([{"value": "x"}]), "key is missing"),
        // Understood, or of no consequence.
        ("virtualmachineid", json!(""), ""),
        ("diskofferingid", json!("12"), ""),
        ("created", json!("yesterday"), ""),
        ("tags", json!([{"key": "k"}]), ""),
        ("destroyed", json!("true"), ""),
    ] {
        let mut row = good.as_object().expect("an object").clone();
        row.insert(field.to_owned(), value.clone());
        let said = match CloudVolume::read(&Row(&row), BootTime::default()) {
            Ok(_) => String::new(),
            Err(why) => why.to_string(),
        };
        assert_eq!(said, says, "{field}: {value}");
    }
}

#[test]
fn an_attachment_without_a_readable_device_id_is_not_understood() {
    let row = json!({"id": "6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", "size": 1, "state": "Ready",
        "type": "DATADISK", "zoneid": "0c1d2e3f-4051-4263-8475-96a7b8c9dae0",
        "virtualmachineid": "1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809", "deviceid": 256});
    let read = CloudVolume::read(
        &Row(row.as_object().expect("an object")),
        BootTime::default(),
    );
    assert!(read.is_err(), "{read:?}");
}

#[test]
fn error_texts_fit_one_line_and_hide_credentials() {
    let credentials = Credentials {
        api_key: Secret::new("the-key"),
        secret: Secret::new("the-secret"),
    };
    let text = format!("first\nsecond \u{1b}[31m the-key {}", "x".repeat(10_000));
    let body = json!({"r": {"errorcode": 431, "errortext": text}}).to_string();
    let response = Response {
        status: 431,
        date: None,
        body: body.into_bytes(),
    };
    let error = open("listZones", &response, &credentials).expect_err("an error");
    let text = error.to_string();
    assert!(text.contains("first second  [31m ***"), "{text}");
    assert!(!text.contains("the-key"), "{text}");
    assert!(text.chars().count() < TEXT_MAX + 100);
}

/// Any JSON, with the names of real fields so that it gets past the first checks.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("6f1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d".to_owned()),
        Just("2026-11-20T22:00:00+0000".to_owned()),
        "[0-9]{0,25}",
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let name = prop_oneof![
        proptest::sample::select(vec![
            "id",
            "name",
            "size",
            "state",
            "type",
            "zoneid",
            "virtualmachineid",
            "deviceid",
            "jobid",
            "jobstatus",
            "jobresult",
            "jobresultcode",
            "jobinstancetype",
            "jobinstanceid",
            "tags",
            "key",
            "value",
            "count",
            "volume",
            "virtualmachine",
            "asyncjobs",
            "errorcode",
            "errortext",
            "created",
            "diskofferingid",
        ])
        .prop_map(str::to_owned),
        "[a-z]{0,6}",
    ];
    leaf.prop_recursive(5, 64, 12, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..12)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Decodes `body` in every way there is.
fn decode_all(status: u16, body: Vec<u8>) {
    let credentials = Credentials {
        api_key: Secret::new("k"),
        secret: Secret::new("s"),
    };
    let response = Response {
        status,
        date: None,
        body,
    };
    match open("listVolumes", &response, &credentials) {
        Ok(body) => {
            let _ = Page::<CloudVolume>::read(&body, 500, BootTime::default());
            let _ = Page::<CloudVm>::read(&body, 2, BootTime::default());
            let _ = JobState::read(&body);
        }
        Err(error) => {
            let _ = error.after_submission(uuid::Uuid::nil()).outcome();
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(
        status in 100..600_u16,
        body in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        decode_all(status, body);
    }

    #[test]
    fn no_json_makes_decoding_panic(
        status in prop_oneof![Just(200), 100..600_u16],
        inner in any_json(),
    ) {
        decode_all(status, inner.to_string().into_bytes());
        decode_all(status, json!({"r": inner}).to_string().into_bytes());
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    decode_all(200, "[".repeat(1_000_000).into_bytes());
    decode_all(200, "{\"a\":".repeat(1_000_000).into_bytes());
}
