//! Paging, shifting lists, and what proves absence.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::cloudstack::fake::{self, Call, Fake, client, client_with_clock, clock};
use crate::cloudstack::{Response, Scope, TransportError};
use crate::model::BootTime;

fn id(n: usize) -> VolumeId {
    VolumeId::new(Uuid::from_u128(n as u128))
}

fn row(n: usize) -> Value {
    json!({"id": id(n).to_string(), "name": format!("v{n}"), "size": 1_u64 << 30, "type": "DATADISK",
        "state": "Ready", "zoneid": Uuid::from_u128(9).to_string()})
}

/// One page of `all`, as the server cuts it.
fn page(call: &Call, all: &[Value]) -> Result<Response, TransportError> {
    let (number, len) = (call.number("page"), call.number("pagesize"));
    let rows: Vec<_> = all.iter().skip((number - 1) * len).take(len).collect();
    let body = match (all.len(), rows.is_empty()) {
        (0, _) => json!({}),
        (count, true) => json!({"count": count}),
        (count, false) => json!({"count": count, "volume": rows}),
    };
    fake::json(&json!({"listvolumesresponse": body}))
}

/// A server with a list that `shift` may change before the call of the given number, from 0.
fn server(
    all: Vec<Value>,
    shift: impl Fn(usize, &mut Vec<Value>) + Send + Sync + 'static,
) -> Arc<Fake> {
    let (all, calls) = (Mutex::new(all), AtomicUsize::new(0));
    Fake::new(move |call| {
        let mut all = all.lock().expect("not poisoned");
        shift(calls.fetch_add(1, Ordering::Relaxed), &mut all);
        page(call, &all)
    })
}

#[tokio::test]
async fn all_pages_are_read_a_few_at_a_time() {
    for (rows, calls) in [
        (0, 1),
        (1, 1),
        (500, 1),
        (501, 2),
        (1234, 3),
        (4500, 9),
        (10_000, 20),
    ] {
        let fake = server((0..rows).map(row).collect(), |_, _| {});
        let listed = client(&fake, Scope::default())
            .volumes()
            .await
            .expect("a list");
        let ids: Vec<_> = listed.items.iter().map(|volume| volume.id).collect();
        assert_eq!(ids, (0..rows).map(id).collect::<Vec<_>>());
        assert_eq!(fake.calls().len(), calls, "{rows} rows");
        assert_eq!(
            fake.most_under_way(),
            (calls - 1).clamp(1, 4),
            "{rows} rows"
        );
    }
}

#[tokio::test]
async fn a_list_says_when_it_was_begun_and_what_the_server_clock_was() {
    let fake = server(vec![row(1)], |_, _| {});
    let clock = clock();
    clock.advance(Duration::from_millis(500));
    let client = client_with_clock(&fake, Scope::default(), Arc::clone(&clock));
    let listed = client.volumes().await.expect("a list");
    assert_eq!(listed.begun, BootTime::from_millis(1500));
    assert_eq!(listed.items[0].begun, listed.begun);
    let server_time = listed.server_time.expect("a date");
    assert_eq!(server_time.to_string(), "2026-11-20T22:01:00Z");
}

#[tokio::test]
async fn lists_are_scoped_signed_with_an_expiry_and_never_filtered_by_type() {
    let project = Uuid::from_u128(5);
    let scope = Scope {
        listall: true,
        project: Some(project),
    };
    let fake = server(Vec::new(), |_, _| {});
    let client = client(&fake, scope);
    client.volumes().await.expect("a list");
    client.vms().await.expect("a list");
    client.zones().await.expect("a list");
    client.disk_offerings().await.expect("a list");
    let calls = fake.calls();
    for call in &calls {
        assert_eq!(call.method, Method::Get);
        assert_eq!(call.param("command"), Some(call.command));
        assert_eq!(call.param("response"), Some("json"));
        assert_eq!(call.param("signatureversion"), Some("3"));
        assert_eq!(call.param("expires"), Some("2026-11-20T22:10:00+0000"));
        assert_eq!(call.param("pagesize"), Some("500"));
        assert_eq!(call.param("type"), None);
        let scoped = matches!(call.command, "listVolumes" | "listVirtualMachines");
        assert_eq!(call.param("listall").is_some(), scoped, "{}", call.command);
        let in_project = call.param("projectid") == Some(project.to_string().as_str());
        assert_eq!(in_project, scoped, "{}", call.command);
    }
    assert_eq!(calls[1].param("details"), Some("min"));
}

#[tokio::test]
async fn a_list_that_shifts_is_read_again() {
    // A volume is removed after the first page, so that the second page begins a row too late.
    let clock = clock();
    let server_clock = Arc::clone(&clock);
    let fake = server((0..1200).map(row).collect(), move |call, all| {
        if call == 1 {
            all.remove(10);
            server_clock.advance(Duration::from_secs(1));
        }
    });
    let listed = client_with_clock(&fake, Scope::default(), clock)
        .volumes()
        .await
        .expect("a list");
    let ids: Vec<_> = listed.items.iter().map(|volume| volume.id).collect();
    let expected: Vec<_> = (0..1200).filter(|n| *n != 10).map(id).collect();
    assert_eq!(ids, expected);
    assert_eq!(fake.calls().len(), 6, "two runs of three pages");
    assert_eq!(
        listed.begun,
        BootTime::from_millis(2000),
        "the start of the run that counts"
    );
}

#[tokio::test]
async fn a_volume_created_meanwhile_is_no_duplicate() {
    let fake = server((0..1200).map(row).collect(), |call, all| {
        if call == 1 {
            all.insert(0, row(5000));
        }
    });
    let listed = client(&fake, Scope::default()).volumes().await;
    assert_eq!(listed.expect("a list").items.len(), 1201);
}

#[tokio::test]
async fn a_list_that_never_stands_still_is_no_list() {
    let fake = server((0..1200).map(row).collect(), |_, all| {
        all.remove(0);
    });
    let error = client(&fake, Scope::default())
        .volumes()
        .await
        .expect_err("never complete");
    assert!(matches!(
        error,
        CloudStackError::Unsettled { runs: RUNS_MAX, .. }
    ));
    assert_eq!(fake.calls().len(), 3 * RUNS_MAX);
}

#[tokio::test]
async fn a_server_that_counts_other_rows_than_it_shows_is_believed_the_second_time() {
    for count in [1, 3] {
        let body = json!({"r": {"count": count, "volume": [row(1), row(2)]}});
        let fake = Fake::new(move |_| fake::json(&body));
        let listed = client(&fake, Scope::default()).volumes().await;
        assert_eq!(listed.expect("a list").items.len(), 2);
        assert_eq!(fake.calls().len(), 2);
    }
}

#[tokio::test]
async fn the_servers_cap_on_pages_is_learned_once() {
    let all: Vec<_> = (0..250).map(row).collect();
    let fake = Fake::new(move |call| match call.number("pagesize") {
        1..=100 => page(call, &all),
        _ => fake::error(
            431,
            "Page size can't exceed max allowed page size value: 100",
        ),
    });
    let client = client(&fake, Scope::default());
    for calls in [4, 7] {
        let listed = client.volumes().await.expect("a list");
        assert_eq!(listed.items.len(), 250);
        assert_eq!(fake.calls().len(), calls);
    }
}

#[tokio::test]
async fn a_page_that_is_none_fails_the_list() {
    let two = [row(1), row(2)];
    for (body, says) in [
        (json!({"volume": "none"}), "not an array"),
        (json!({"count": "many"}), "not a number"),
        (json!({"count": 7}), "shows none"),
        (json!({"count": 1_000_000, "volume": two}), "1000000 rows"),
        (
            json!({"volume": (0..500).map(row).collect::<Vec<_>>()}),
            "how many rows",
        ),
        (
            json!({"count": 501, "volume": (0..501).map(row).collect::<Vec<_>>()}),
            "more rows than",
        ),
    ] {
        let fake = Fake::new(move |_| fake::json(&json!({"r": body})));
        let error = client(&fake, Scope::default())
            .volumes()
            .await
            .expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_failing_page_fails_the_list_at_once() {
    let all: Vec<_> = (0..5000).map(row).collect();
    let fake = Fake::new(move |call| match call.number("page") {
        3 => fake::error(530, "Internal error"),
        _ => page(call, &all),
    });
    let error = client(&fake, Scope::default())
        .volumes()
        .await
        .expect_err("page 3");
    assert!(matches!(error, CloudStackError::Failed { code: 530, .. }));
    assert!(fake.calls().len() <= 5, "no retry, no further pages");
}

#[tokio::test]
async fn one_volume_is_present_absent_or_an_error() {
    let odd = json!({"id": id(7).to_string(), "size": "big"});
    let uncounted = json!({"count": 0, "volume": [odd]});
    let scope = Scope {
        listall: true,
        project: Some(Uuid::from_u128(5)),
    };
    for (case, body, present) in [
        ("there", json!({"count": 1, "volume": [row(7)]}), Some(true)),
        ("removed", json!({}), Some(false)),
        ("removed, in other words", json!({"count": 0}), Some(false)),
        ("not understood", json!({"count": 1, "volume": [odd]}), None),
        ("neither understood nor counted", uncounted, None),
        ("counted, not shown", json!({"count": 1}), None),
        ("another", json!({"count": 1, "volume": [row(8)]}), None),
        (
            "the filter was ignored",
            json!({"count": 2, "volume": [row(7), row(8)]}),
            None,
        ),
    ] {
        let fake = Fake::new(move |_| fake::json(&json!({"r": body})));
        let listed = client(&fake, scope).volume(id(7)).await;
        let said = listed.ok().map(|listed| listed.items.is_some());
        assert_eq!(said, present, "{case}");
        let calls = fake.calls();
        assert_eq!(calls[0].param("id"), Some(id(7).to_string().as_str()));
        assert_eq!(calls[0].param("listall"), Some("true"));
        assert!(calls[0].param("projectid").is_some());
    }
}

#[tokio::test]
async fn only_the_volumes_own_id_being_unknown_proves_absence() {
    for (parameter, unknown, absent) in [("id", 7, true), ("projectid", 5, false), ("id", 8, false)]
    {
        let fake = Fake::new(move |_| fake::never_existed(parameter, id(unknown)));
        let listed = client(&fake, Scope::default()).volume(id(7)).await;
        match listed {
            Ok(listed) => assert!(absent && listed.items.is_none(), "{parameter} {unknown}"),
            Err(error) => assert!(!absent, "{parameter} {unknown}: {error}"),
        }
    }
}

/// Answers `ids=` as the server does: removed ones vanish, one that never existed fails the call.
fn by_ids(
    call: &Call,
    array: &str,
    existing: &BTreeMap<String, Value>,
    purged: &[String],
) -> Result<Response, TransportError> {
    let asked: Vec<_> = call.param("ids").expect("ids").split(',').collect();
    if let Some(purged) = purged.iter().find(|id| asked.contains(&id.as_str())) {
        return fake::never_existed("ids", purged);
    }
    let rows: Vec<_> = asked.iter().filter_map(|id| existing.get(*id)).collect();
    match rows.is_empty() {
        true => fake::json(&json!({"r": {}})),
        false => fake::json(&json!({"r": {"count": rows.len(), array: rows}})),
    }
}

#[tokio::test]
async fn many_volumes_are_asked_for_by_their_ids() {
    // 1200 of which every third was removed and two never existed.
    let existing: BTreeMap<_, _> = (0..1200)
        .filter(|n| n % 3 != 0)
        .map(|n| (id(n).to_string(), row(n)))
        .collect();
    let purged = vec![id(3).to_string(), id(900).to_string()];
    let fake = Fake::new(move |call| by_ids(call, "volume", &existing, &purged));
    let client = client(&fake, Scope::default());
    let mut ids: Vec<_> = (0..1200).rev().map(id).collect();
    ids.push(id(4));
    let listed = client.volumes_by_id(&ids).await.expect("a list");
    let expected: Vec<_> = (0..1200).filter(|n| n % 3 != 0).map(id).collect();
    let found: Vec<_> = listed.items.iter().map(|volume| volume.id).collect();
    assert_eq!(found, expected);
    let calls = fake.calls();
    assert_eq!(calls.len(), 3 + 2, "three chunks, two of them asked again");
    assert!(calls.iter().all(|call| call.method == Method::Post));
}

#[tokio::test]
async fn vms_are_asked_for_by_their_ids() {
    // 600 of which every third was removed and one never existed.
    let vm = |n: usize| VmId::new(id(n).uuid());
    let existing: BTreeMap<_, _> = (0..600)
        .filter(|n| n % 3 != 0)
        .map(|n| {
            let row = json!({"id": vm(n).to_string(), "name": format!("vm{n}"), "state": "Running",
                "zoneid": Uuid::from_u128(9).to_string()});
            (vm(n).to_string(), row)
        })
        .collect();
    let purged = vec![vm(3).to_string()];
    let fake = Fake::new(move |call| by_ids(call, "virtualmachine", &existing, &purged));
    let clock = clock();
    clock.advance(Duration::from_millis(500));
    let client = client_with_clock(&fake, Scope::default(), clock);
    let ids: Vec<_> = (0..600).rev().map(vm).collect();
    let listed = client.vms_by_id(&ids).await.expect("a list");
    let expected: Vec<_> = (0..600).filter(|n| n % 3 != 0).map(vm).collect();
    let found: Vec<_> = listed.items.iter().map(|vm| vm.id).collect();
    assert_eq!(found, expected);
    let begun = BootTime::from_millis(1500);
    assert!(listed.items.iter().all(|vm| vm.begun == begun));
    let calls = fake.calls();
    assert_eq!(calls.len(), 2 + 1, "two chunks, one of them asked again");
    for call in &calls {
        assert_eq!(call.method, Method::Post);
        assert_eq!(call.command, "listVirtualMachines");
        assert_eq!(call.param("details"), Some("min"));
    }
}

#[tokio::test]
async fn no_ids_are_no_call() {
    let fake = Fake::new(|_| fake::error(530, "never asked"));
    let listed = client(&fake, Scope::default()).volumes_by_id(&[]).await;
    assert_eq!(listed.expect("nothing").items, []);
    assert!(fake.calls().is_empty());
}

#[tokio::test]
async fn among_many_volumes_none_may_be_misunderstood() {
    let odd = json!({"id": id(2).to_string()});
    for (case, body) in [
        ("an odd row", json!({"count": 2, "volume": [row(1), odd]})),
        ("rows missing", json!({"count": 2, "volume": [row(1)]})),
        ("not asked for", json!({"count": 1, "volume": [row(3)]})),
    ] {
        let fake = Fake::new(move |_| fake::json(&json!({"r": body})));
        let listed = client(&fake, Scope::default())
            .volumes_by_id(&[id(1), id(2)])
            .await;
        assert!(listed.is_err(), "{case}");
    }
}

#[tokio::test]
async fn rows_that_are_not_understood_are_counted() {
    let fake = server(vec![row(1), json!({"id": "x"})], |call, all| {
        if call == 1 {
            all.pop();
        }
    });
    let client = client(&fake, Scope::default());
    for skipped in [1, 0] {
        let listed = client.volumes().await.expect("a list");
        assert_eq!(listed.items.len(), 1);
        let left_out = client.skipped.lock().expect("not poisoned");
        assert_eq!(left_out["listVolumes"], skipped);
    }
}

/// A server that says `date`, and refuses what is not valid then, as `ApiServer.java` does.
fn strict(date: &'static str) -> Arc<Fake> {
    let date: Timestamp = date.parse().expect("a time");
    Fake::new(move |call| {
        let expires = call.param("expires").expect("signed");
        let expires = expires.replace("+0000", "Z");
        let expires: Timestamp = expires.parse().expect("a time");
        let answer = if expires < date {
            fake::error(
                401,
                "unable to verify user credentials and/or request signature",
            )
        } else {
            page(call, &[row(1)])
        };
        let date = Some(date);
        answer.map(|answer| Response { date, ..answer })
    })
}

#[tokio::test]
async fn with_a_clock_that_is_wrong_it_goes_on_reading_by_the_servers() {
    let ahead = strict("2026-11-27T22:00:00Z");
    let clock = clock();
    let client = client_with_clock(&ahead, Scope::default(), Arc::clone(&clock));
    let listed = client.volumes().await.expect("read");
    assert_eq!(listed.items.len(), 1);
    assert_eq!(ahead.calls().len(), 2, "one to learn of it");
    client.volumes().await.expect("read");
    assert_eq!(ahead.calls().len(), 3, "it is remembered");
    // Ours is set right: what was learnt is wrong now, and harmless where nothing is enforced.
    clock.set_wall("2026-11-27T22:00:00Z".parse().expect("a time"));
    client.volumes().await.expect("read");
    assert_eq!(ahead.calls().len(), 4);
    clock.set_wall("2026-11-10T22:00:00Z".parse().expect("a time"));
    client.volumes().await.expect("read");
    assert_eq!(ahead.calls().len(), 6, "learnt anew");
}

#[tokio::test]
async fn keys_that_are_wrong_are_refused_once() {
    let fake = Fake::new(|_| fake::error(401, "unable to verify user credentials"));
    let client = client(&fake, Scope::default());
    for calls in 1..=3 {
        let refused = client.volumes().await.expect_err("no such key");
        assert!(matches!(refused, CloudStackError::Unauthorized { .. }));
        assert_eq!(fake.calls().len(), calls);
    }
}
