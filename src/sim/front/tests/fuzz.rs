//! No request, however wrong, is answered with anything but what CloudStack answers with: one
//! JSON object under one key, its error code as the HTTP status, or a page of the container's.
//!
//! `PROPTEST_CASES=1000000 cargo test --release --lib front::tests::fuzz` goes on for longer.

use proptest::prelude::*;

use super::*;
use crate::sim::front::commands::COMMANDS;

/// Characters that mean something somewhere, others that mean nothing, and letters.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9.]{1,8}",
        3 => "[%&=+\\[\\]~*()'!/ -]{1,4}",
        1 => "%[0-9a-fA-F+-]{0,3}",
        1 => "\\PC{0,4}",
        1 => Just("\u{0}\u{7}\t\r\n\u{7f}".to_owned()),
        1 => Just("9223372036854775808".to_owned()),
        1 => Just("-1".to_owned()),
        1 => Just("x".repeat(300)),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..4).prop_map(|pieces| pieces.concat())
}

/// Mostly names that some command declares, in any case, some of them as maps.
fn name() -> impl Strategy<Value = String> {
    let declared = (0..COMMANDS.len(), any::<prop::sample::Index>()).prop_map(|(at, which)| {
        let names: Vec<&str> = COMMANDS[at].all_params().map(|param| param.name).collect();
        match names.as_slice() {
            [] => "id".to_owned(),
            names => names[which.index(names.len())].to_owned(),
        }
    });
    prop_oneof![
        8 => declared.clone(),
        1 => declared.clone().prop_map(|name| name.to_uppercase()),
        2 => (declared, "\\[[0-9-]{0,3}\\](\\.(key|value|x)?)?")
            .prop_map(|(name, index)| name + &index),
        1 => Just("expires".to_owned()),
        1 => Just("signatureversion".to_owned()),
        1 => value(),
    ]
}

fn command() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => (0..COMMANDS.len()).prop_map(|at| COMMANDS[at].name.to_owned()),
        1 => value(),
    ]
}

/// Ids and names that exist, so that requests get far.
fn real(world: &World) -> Vec<String> {
    let volumes = world.volumes().map(|(_, row)| row.uuid.to_string());
    let vms = world.vms().map(|(_, row)| row.uuid.to_string());
    let zones = world.zones().map(|(_, row)| row.uuid.to_string());
    let offerings = world.offerings().map(|(_, row)| row.uuid.to_string());
    let words = ["Volume", "true", "1", "k"].map(str::to_owned);
    volumes
        .chain(vms)
        .chain(zones)
        .chain(offerings)
        .chain(words)
        .collect()
}

/// What every answer is, whatever was asked.
fn well_formed(answer: &HttpAnswer) -> Result<(), TestCaseError> {
    let header = |wanted: &str| {
        let found = answer.headers.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.clone())
    };
    for (_, value) in &answer.headers {
        prop_assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
    }
    if header("Content-Type").as_deref() != Some("application/json; charset=UTF-8") {
        prop_assert!([405, 414].contains(&answer.status), "{answer:?}");
        return Ok(());
    }
    let body: Value = serde_json::from_str(&answer.body)
        .map_err(|error| TestCaseError::fail(format!("{error}: {}", answer.body)))?;
    let object = body.as_object().expect("an object");
    prop_assert_eq!(object.len(), 1, "{}", answer.body);
    let inner = object.values().next().expect("one");
    prop_assert!(!answer.body.contains(":null"), "{}", answer.body);
    if answer.status == 200 {
        prop_assert!(inner.get("errorcode").is_none(), "{}", answer.body);
    } else {
        prop_assert_eq!(&inner["errorcode"], &Value::from(answer.status));
        prop_assert!(header("X-Description").is_some());
        prop_assert!([400, 401, 429, 430, 431, 432, 530, 531, 535].contains(&answer.status));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_answered(
        method in prop_oneof![8 => Just("GET"), 8 => Just("POST"), 1 => Just("PUT")],
        query in value(),
        body in value(),
    ) {
        let mut rig = Rig::new();
        let request = HttpRequest { method: method.to_owned(), query, body };
        well_formed(&rig.front.handle(&request, rig.now))?;
    }

    #[test]
    fn any_signed_request_is_answered_and_breaks_nothing(
        command in command(),
        params in prop::collection::vec((name(), value(), any::<prop::sample::Index>(), any::<bool>()), 0..6),
        waits in 0_u64..1_000,
    ) {
        let mut rig = Rig::new();
        let known = real(rig.front.world());
        let params: Vec<(String, String)> = params
            .into_iter()
            .map(|(name, value, which, real)| {
                (name, if real { known[which.index(known.len())].clone() } else { value })
            })
            .collect();
        let params: Vec<(&str, &str)> = params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        well_formed(&rig.send(&command, &params))?;
        rig.pass(waits);
        rig.pass(10_000);
        prop_assert!(rig.front.world().check().is_ok());
    }

    /// Whatever the values hold, both sides sign the same text.
    #[test]
    fn what_is_signed_is_believed_and_what_is_changed_is_not(
        values in prop::collection::btree_map("[a-z]{1,6}(\\[[0-9]\\]\\.key)?", value(), 0..5),
        broken in any::<prop::sample::Index>(),
    ) {
        let mut rig = Rig::new();
        let mut params: Vec<(&str, &str)> = vec![
            ("command", "listZones"), ("response", "json"), ("apiKey", ADMIN_API_KEY),
        ];
        let taken = ["command", "response", "apikey", "signature", "expires"];
        let own = values.iter().filter(|(name, _)| !taken.contains(&name.as_str()));
        params.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
        let query = signed(&params, ADMIN_SECRET_KEY);
        if query.len() > 8_192 {
            return Ok(());
        }
        let answer = rig.front.handle(&HttpRequest::get(query.as_str()), rig.now);
        prop_assert_ne!(answer.status, 401, "{}", query);
        // One parameter less, and it is another request.
        let at = broken.index(params.len());
        if at != 1 {
            let (name, value) = params[at];
            let pair = format!("{}={}", percent(name), percent(value));
            let less: Vec<&str> = query.split('&').filter(|other| *other != pair).collect();
            let answer = rig.front.handle(&HttpRequest::get(less.join("&")), rig.now);
            prop_assert_eq!(answer.status, 401);
        }
    }
}
