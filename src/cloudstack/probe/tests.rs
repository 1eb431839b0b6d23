//! What is read from answers, and that the table of commands is complete.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::cloudstack::fake::{self, Fake, client};
use crate::cloudstack::{Scope, TransportError};

const ID: &str = "1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809";

fn vm() -> VmId {
    ID.parse().expect("an id")
}

/// Words in quotes that look like commands, in code that sends them.
fn sent_somewhere() -> BTreeSet<&'static str> {
    let sources = [
        include_str!("../events.rs"),
        include_str!("../write.rs"),
        include_str!("../jobs.rs"),
        include_str!("../wire.rs"),
    ];
    let verbs = [
        "list", "query", "create", "attach", "detach", "resize", "delete", "destroy", "update",
        "recover", "expunge", "add", "get",
    ];
    let quoted = sources.iter().flat_map(|text| text.split('"'));
    quoted
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .filter(|word| {
            verbs.iter().any(|verb| {
                let rest = word.strip_prefix(verb);
                rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
            })
        })
        .collect()
}

#[test]
fn the_table_names_what_is_sent_and_nothing_else() {
    let table: BTreeSet<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(table, sent_somewhere());
}

#[test]
fn clocks_are_as_far_apart_as_they_must_be() {
    let at = Timestamp::from_millis;
    for (date, sent, received, ahead) in [
        (10_000, 10_000, 10_000, 0),
        (10_000, 10_400, 10_600, 0),
        // Slow, but the server may have read its clock at the begin or at the end.
        (10_000, 10_900, 50_000, 0),
        (50_000, 10_000, 50_000, 0),
        (70_000, 10_000, 10_000, 60_000),
        (70_000, 10_000, 30_000, 40_000),
        (10_000, 70_999, 80_000, -60_000),
    ] {
        let found = ahead_ms(at(date), at(sent), at(received));
        assert_eq!(found, ahead, "{date} {sent} {received}");
    }
}

#[tokio::test]
async fn a_greeting_tells_the_time_even_where_it_is_refused() {
    let accepts = Fake::new(|_| {
        fake::json(&json!({"listcapabilitiesresponse": {"capability": {
            "cloudstackversion": "4.22.0.0", "customdiskofferingminsize": 1,
            "customdiskofferingmaxsize": "1024"}}}))
    });
    let greeting = client(&accepts, Scope::default()).greet().await;
    // The fake's `Date` is a minute ahead.
    assert_eq!(greeting.ahead_ms, Some(60_000));
    let found = greeting.answer.expect("accepted");
    assert_eq!(found.version.as_deref(), Some("4.22.0.0"));
    let sizes = (found.custom_min_gib, found.custom_max_gib);
    assert_eq!(sizes, (Some(1), Some(1024)));

    let refuses = Fake::new(|_| fake::error(401, "unable to verify user credentials"));
    let greeting = client(&refuses, Scope::default()).greet().await;
    assert_eq!(greeting.ahead_ms, Some(60_000));
    assert!(matches!(
        greeting.answer,
        Err(CloudStackError::Unauthorized { .. })
    ));

    let nobody = Fake::new(|_| {
        Err(TransportError::NotSent {
            why: "refused".to_owned(),
        })
    });
    let greeting = client(&nobody, Scope::default()).greet().await;
    assert_eq!(greeting.ahead_ms, None);
    assert!(matches!(
        greeting.answer,
        Err(CloudStackError::NotSent { .. })
    ));
}

#[tokio::test]
async fn all_commands_come_in_one_answer_however_many() {
    let fake = Fake::new(|_| {
        let apis: Vec<_> = (0..700).map(|n| json!({"name": format!("a{n}")})).collect();
        fake::json(&json!({"listapisresponse": {"count": 700, "api": apis}}))
    });
    let found = client(&fake, Scope::default()).allowed_commands().await;
    assert_eq!(found.expect("a list").len(), 700);
    let other = Fake::new(|_| fake::json(&json!({"listapisresponse": {"count": 1}})));
    let found = client(&other, Scope::default()).allowed_commands().await;
    assert!(matches!(found, Err(CloudStackError::Undecodable { .. })));
}

#[tokio::test]
async fn zones_and_offerings_say_what_can_be_made_there() {
    let (zone, elsewhere) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let fake = Fake::new(move |call| match call.command {
        "listZones" => fake::json(&json!({"listzonesresponse": {"count": 2, "zone": [
            {"id": zone.to_string(), "name": "z1", "allocationstate": "Enabled"},
            {"id": elsewhere.to_string(), "name": "z2", "allocationstate": "Disabled"}]}})),
        _ => fake::json(
            &json!({"listdiskofferingsresponse": {"count": 2, "diskoffering": [
            {"id": zone.to_string(), "name": "custom", "disksize": 0, "iscustomized": true,
             "state": "Active"},
            {"id": elsewhere.to_string(), "name": "small", "disksize": 5, "iscustomized": false,
             "state": "Inactive", "zoneid": format!("{zone},{elsewhere}")}]}}),
        ),
    });
    let client = client(&fake, Scope::default());
    let zones = client.zone_facts().await.expect("zones");
    let enabled: Vec<bool> = zones.iter().map(|zone| zone.enabled).collect();
    assert_eq!(enabled, [true, false]);
    let offerings = client.offering_facts().await.expect("offerings");
    assert_eq!((offerings[0].size, offerings[0].active), (None, true));
    assert_eq!(offerings[1].size, Some(ByteSize::gib(5)));
    assert!(!offerings[1].active);
    assert_eq!(offerings[1].zones.len(), 2);
}

/// An administrator sees by `id` what is not its own; by `ids` and without `listall`, not.
#[tokio::test]
async fn a_vm_of_another_account_is_seen_and_is_not_ones_own() {
    let served = Fake::new(|call| match call.param("id") {
        Some(id) => fake::json(&json!({"listvirtualmachinesresponse": {"count": 1,
            "virtualmachine": [{"id": id, "name": "appliance", "state": "Running",
                "account": "alice", "hypervisor": "KVM"}]}})),
        None => fake::json(&json!({"listvirtualmachinesresponse": {}})),
    });
    let scope = Scope {
        listall: true,
        project: None,
    };
    let client = fake::client(&served, scope);
    let found = client.vm_facts(vm()).await.expect("an answer");
    assert_eq!(found.expect("it").account.as_deref(), Some("alice"));
    assert!(!client.owns_vm(vm()).await.expect("an answer"));
    let never = Fake::new(|call| fake::never_existed("id", call.param("id").unwrap_or_default()));
    let found = fake::client(&never, scope).vm_facts(vm()).await;
    assert_eq!(found.expect("an answer"), None);
    let calls = served.calls();
    assert_eq!(calls[0].param("listall"), Some("true"));
    assert_eq!(
        (calls[1].param("listall"), calls[1].param("ids")),
        (None, Some(ID))
    );
}
