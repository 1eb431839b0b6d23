//! The contract that every database must keep, as functions over an empty store; and
//! what holds for SQLite files only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::mariadb_server::{Database, database};
use super::*;
use crate::clock::ManualClock;
use crate::model::action::{Claim, Mark};
use crate::model::memory::{
    AcceptedView, Binding, FailureClass, ImpliedStep, Intent, Outcome, Pause, Pauses, Progress,
    Resolution,
};
use crate::model::{
    AcceptedDocument, AccountMark, Action, BootTime, ByteSize, Cause, ExportName, FileProblem,
    FileState, IntentId, JobId, Now, OfferingId, Owner, Presence, SourceChange, SourceFile,
    SpecUid, Timestamp, VmId, VolumeDocument, VolumeId, VolumeName, ZoneId,
};

mod desired;
mod history;
mod legacy;
mod old;
mod server;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_800_000_060_000);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Now {
        wall: NOW,
        boot: BootTime::from_millis(1),
    }))
}

async fn memory() -> Store {
    let location = Location::local("sqlite::memory:").unwrap();
    Store::open(&location, clock()).await.unwrap()
}

async fn server() -> Store {
    let database = database().await;
    Store::open(&of(&database, "local"), clock()).await.unwrap()
}

/// The part of `appliance` in a database.
fn of(database: &Database, appliance: &str) -> Location {
    let appliance = appliance.parse().unwrap();
    Location::new(&database.url, appliance, &database.lock_dir).unwrap()
}

async fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(&at(path), clock()).await
}

fn at(path: &Path) -> Location {
    Location::local(&format!("sqlite://{}", path.display())).unwrap()
}

/// Executes what the store itself never would.
async fn raw(store: &Store, sql: &'static str) {
    let mut tx = store.read("test").await.unwrap();
    tx.script(sql).await.unwrap();
    tx.commit().await.unwrap();
}

fn name(text: &str) -> VolumeName {
    text.parse().unwrap()
}

fn volume(n: u64) -> VolumeId {
    VolumeId::new(Uuid::from_u128(n.into()))
}

fn vm(n: u64) -> VmId {
    VmId::new(Uuid::from_u128(n.into()))
}

fn job(n: u64) -> JobId {
    JobId::new(Uuid::from_u128(n.into()))
}

/// A document of `of` that adopts a volume of `gib`, written in `file`.
fn document(of: &str, gib: u64, file: &str) -> AcceptedDocument {
    let manifest = json!({
        "apiVersion": "volume-daemon.io/v1alpha1",
        "kind": "Volume",
        "metadata": { "name": of },
        "spec": {
            "existing": { "id": "2aff4799-7a2b-4c0e-9c5e-0d6f1f6f2b11" },
            "size": format!("{gib}GiB"),
        },
    });
    AcceptedDocument {
        document: parsed(&manifest),
        manifest,
        owner: Owner::File(file.to_owned()),
    }
}

fn parsed(manifest: &serde_json::Value) -> VolumeDocument {
    crate::spec::from_manifest(manifest).unwrap()
}

fn accepts(documents: Vec<AcceptedDocument>) -> SourceChange {
    SourceChange {
        accepted: documents,
        ..SourceChange::default()
    }
}

fn abandons(of: &str) -> SourceChange {
    SourceChange {
        abandoned: vec![name(of)],
        ..SourceChange::default()
    }
}

fn file(path: &str, state: FileState, problems: &[&str]) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        hash: "0123".to_owned(),
        device: u64::MAX - 1,
        state,
        problems: problems
            .iter()
            .map(|&text| FileProblem {
                line: Some(3),
                column: Some(7),
                excerpt: Some("3 | x".to_owned()),
                ..text.to_owned().into()
            })
            .collect(),
        since: NOW,
        revision: None,
    }
}

async fn with_spec(store: &Store, of: &str) -> SpecUid {
    let accepted = store
        .accept(&accepts(vec![document(of, 1, "/specs/a.yaml")]), NOW)
        .await
        .unwrap();
    accepted.volumes[0].uid
}

fn intent(id: u64, of: &str, action: Action) -> Intent {
    Intent {
        id: IntentId::new(Uuid::from_u128(id.into())),
        name: name(of),
        generation: 1,
        action,
        cause: Cause::Declared,
        created: NOW,
        expires: LATER,
        progress: Progress::Journalled,
    }
}

fn create() -> Action {
    Action::Create {
        volume_name: "disk".to_owned(),
        size: ByteSize::gib(1),
        zone: ZoneId::new(Uuid::from_u128(1)),
        offering: OfferingId::new(Uuid::from_u128(2)),
    }
}

fn attach(to: u64) -> Action {
    Action::Attach {
        volume: volume(to),
        vm: vm(9),
        device_id: Some(1),
    }
}

const CREATED: Outcome = Outcome::Succeeded { created: None };

fn refused(text: &str) -> Outcome {
    Outcome::Failed {
        class: FailureClass::Refused,
        text: text.to_owned(),
    }
}

fn binding(to: u64, uid: SpecUid) -> Effects {
    Effects {
        binding: Some(Binding {
            volume: volume(to),
            uid,
            mark: Mark::Created,
        }),
        placement: None,
    }
}

fn all() -> IntentFilter {
    IntentFilter {
        name: None,
        open_only: false,
        limit: 100,
    }
}

/// Runs every function of [`contract`] on an empty store of its own, on either database.
macro_rules! contract {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::contract::$name(super::memory().await).await;
            })*
        }
        mod mariadb {
            $(#[tokio::test]
            async fn $name() {
                super::contract::$name(super::server().await).await;
            })*
        }
    };
}

contract! {
    a_changed_row_is_marked_until_its_marks_are_taken
    rows_of_others_and_rows_taken_back_leave_no_mark
    a_new_store_remembers_nothing_but_itself
    specs_keep_their_uid_and_count_real_changes
    an_abandoned_spec_counts_and_returns
    file_states_are_kept_and_forgotten
    texts_differ_by_case_and_by_spaces_and_are_kept_whole
    history_is_bounded
    an_episode_is_read_back_as_it_was_written
    an_open_episode_knows_the_call_that_ended_it
    who_did_it_is_asked_once_and_kept_with_the_episode
    what_was_planned_is_told_for_any_moment
    episodes_are_bounded
    everything_that_happened_to_a_volume_is_told_in_order
    an_intent_is_read_back_as_it_was_written
    one_unsettled_intent_for_each_name_and_volume
    an_intent_needs_an_accepted_spec
    only_what_was_made_here_is_deleted_and_it_is_remembered
    approvals_count_until_they_end
    a_bound_name_is_never_created_again
    settling_twice_differs_only_if_the_outcome_does
    what_was_never_written_was_never_sent
    a_binding_is_for_ever
    a_refused_binding_leaves_the_intent_unsettled
    placements_follow_what_was_done
    a_job_is_recorded_once
    every_outcome_is_read_back
    the_journal_is_filtered_and_newest_first
    implied_steps_are_those_nobody_asked_for
    old_settled_intents_are_dropped_open_ones_never
    export_names_stay_with_their_volume
    resolutions_and_views_are_replaced
    a_store_belongs_to_one_vm
    pauses_are_kept_until_they_end
    what_was_disowned_and_the_account_are_remembered
    a_lost_lease_stops_every_write
    a_dropped_write_changes_nothing
    a_row_that_cannot_be_understood_is_isolated
    a_binding_that_cannot_be_read_never_looks_unbound
    a_spec_that_cannot_be_read_has_its_file_parsed_again
    operations_agree_with_the_journal_at_every_step
    operations_that_are_missing_are_written_again
    operations_go_with_their_calls
    attachments_and_exports_are_told_as_they_are
    rows_of_others_stay_and_what_they_claim_is_a_conflict
    a_refused_row_is_left_out_alone
    a_transaction_that_is_gone_is_not_gone_on_with
}

mod contract {
    pub use super::desired::*;
    use super::*;

    pub use super::history::*;
    pub use super::old::*;

    pub async fn a_new_store_remembers_nothing_but_itself(store: Store) {
        let loaded = store.load().await.unwrap();
        let empty = crate::model::memory::Memory::new(store.instance());
        assert_eq!(loaded.memory, empty);
        assert!(loaded.desired.is_empty() && loaded.files.is_empty());
        assert_eq!((loaded.vm, loaded.skipped), (None, vec![]));
        assert_eq!(store.epoch(), Some(1));
    }

    pub async fn pauses_are_kept_until_they_end(store: Store) {
        with_spec(&store, "a").await;
        let (a, b) = (name("a"), name("b"));
        assert!(store.pause(Some(&a), LATER, "first").await.unwrap());
        assert!(store.pause(Some(&a), LATER, "restore").await.unwrap());
        assert!(
            !store.pause(Some(&b), LATER, "").await.unwrap(),
            "no such spec"
        );
        assert!(store.pause(None, NOW, "storage").await.unwrap());
        let pauses = store.load().await.unwrap().memory.pauses;
        let now = store.clock.now();
        let pause = |until, reason: &str| Pause {
            until: now.boot_of(until),
            reason: reason.to_owned(),
        };
        assert_eq!(pauses.all, Some(pause(NOW, "storage")));
        let volumes: Vec<_> = pauses.volumes.clone().into_iter().collect();
        assert_eq!(volumes, [(a.clone(), pause(LATER, "restore"))]);
        assert_eq!(pauses.of(&a, now.boot), Some(&pause(LATER, "restore")));
        assert_eq!(pauses.of(&b, now.boot), None, "everything's is over");
        assert!(store.resume(Some(&a)).await.unwrap());
        assert!(!store.resume(Some(&a)).await.unwrap(), "over already");
        assert!(store.resume(None).await.unwrap());
        assert_eq!(store.load().await.unwrap().memory.pauses, Pauses::default());
    }

    pub async fn what_was_disowned_and_the_account_are_remembered(store: Store) {
        let uid = SpecUid::new(uuid::Uuid::from_u128(77));
        for _ in 0..2 {
            store.disown(&[(uid, volume(7))]).await.unwrap();
        }
        for mark in ["old", "new"] {
            store.put_account(&AccountMark::new(mark)).await.unwrap();
        }
        let loaded = store.load().await.unwrap();
        assert_eq!(loaded.memory.disowned, BTreeSet::from([uid]));
        assert_eq!(loaded.account, Some(AccountMark::new("new")));
    }

    pub async fn specs_keep_their_uid_and_count_real_changes(store: Store) {
        let mut uid = None;
        for (case, gib, file, generation) in [
            ("new", 1, "/specs/a.yaml", 1),
            ("again", 1, "/specs/a.yaml", 1),
            ("moved", 1, "/specs/b.yaml", 1),
            ("changed", 2, "/specs/b.yaml", 2),
            ("moved and changed", 3, "/specs/a.yaml", 3),
        ] {
            let wanted = document("a", gib, file);
            let accepted = store
                .accept(&accepts(vec![wanted.clone()]), NOW)
                .await
                .unwrap();
            assert_eq!(accepted.skipped, [], "{case}");
            assert_eq!(store.load().await.unwrap().desired, accepted.volumes);
            let volume = &accepted.volumes[0];
            assert_eq!(volume.generation, generation, "{case}");
            assert_eq!(volume.owner, wanted.owner, "{case}");
            assert_eq!(volume.document, wanted.document, "{case}");
            assert_eq!(*uid.get_or_insert(volume.uid), volume.uid, "{case}");
        }
    }

    pub async fn an_abandoned_spec_counts_and_returns(store: Store) {
        let presence = async || {
            let loaded = store.load().await.unwrap();
            (loaded.desired[0].presence, loaded.desired[0].generation)
        };
        let abandoned = |seconds| Presence::Abandoned {
            counted: Duration::from_secs(seconds),
        };
        let count = async |seconds| {
            let counted = [(name("a"), Duration::from_secs(seconds))];
            store.count_abandoned(&counted).await.unwrap();
        };
        with_spec(&store, "a").await;
        count(50).await;
        assert_eq!(presence().await, (Presence::Declared, 1), "not abandoned");
        store.accept(&abandons("a"), NOW).await.unwrap();
        assert_eq!(presence().await, (abandoned(0), 1));
        count(30).await;
        store.accept(&abandons("a"), NOW).await.unwrap();
        assert_eq!(presence().await, (abandoned(30), 1), "goes on counting");
        count(20).await;
        assert_eq!(presence().await, (abandoned(30), 1), "never shrinks");
        with_spec(&store, "a").await;
        assert_eq!(presence().await, (Presence::Declared, 1), "the same again");
        store.accept(&abandons("a"), NOW).await.unwrap();
        assert_eq!(presence().await, (abandoned(0), 1), "counts from zero");
        let other = accepts(vec![document("a", 7, "/specs/a.yaml")]);
        store.accept(&other, NOW).await.unwrap();
        assert_eq!(presence().await, (Presence::Declared, 2), "other content");
    }

    pub async fn file_states_are_kept_and_forgotten(store: Store) {
        let a = file("/specs/a.yaml", FileState::Accepted, &[]);
        let b = file("/specs/b.yaml", FileState::Conflict, &["no", "really"]);
        let change = |files: &[&SourceFile], forgotten: &[&str]| SourceChange {
            files: files.iter().map(|&file| file.clone()).collect(),
            forgotten: forgotten.iter().map(|&path| path.to_owned()).collect(),
            ..SourceChange::default()
        };
        store.accept(&change(&[&b, &a], &[]), NOW).await.unwrap();
        assert_eq!(store.load().await.unwrap().files, [a.clone(), b.clone()]);
        let b = SourceFile {
            state: FileState::Missing,
            since: LATER,
            ..b
        };
        store
            .accept(&change(&[&b], &["/specs/a.yaml"]), NOW)
            .await
            .unwrap();
        assert_eq!(store.load().await.unwrap().files, [b]);
    }

    pub async fn texts_differ_by_case_and_by_spaces_and_are_kept_whole(store: Store) {
        let paths = [
            "/specs/a.yaml",
            "/specs/A.yaml",
            "/specs/a.yaml ",
            "/specs/ä\u{1F600}",
        ];
        let mut files = paths.map(|path| file(path, FileState::Accepted, &["\u{1F600} \\ ' \""]));
        for _again in 0..2 {
            let change = SourceChange {
                files: files.to_vec(),
                ..SourceChange::default()
            };
            store.accept(&change, NOW).await.unwrap();
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        assert_eq!(store.load().await.unwrap().files, files);
        let forgets = SourceChange {
            forgotten: vec![paths[2].to_owned()],
            ..SourceChange::default()
        };
        store.accept(&forgets, NOW).await.unwrap();
        let left = store.load().await.unwrap().files;
        assert!(left.iter().any(|file| file.path == paths[0]), "{left:?}");
        assert_eq!(left.len(), 3);
    }

    pub async fn history_is_bounded(store: Store) {
        for gib in 1..=25 {
            let next = accepts(vec![document("a", gib, "/specs/a.yaml")]);
            store.accept(&next, NOW).await.unwrap();
        }
        let mut tx = store.read("test").await.unwrap();
        let kept: Option<(i64, i64, i64)> = tx
            .sql("SELECT COUNT(*), MIN(generation), MAX(generation) FROM vd_spec_versions")
            .first()
            .await
            .unwrap();
        assert_eq!(kept, Some((20, 6, 25)));
    }

    pub async fn an_intent_is_read_back_as_it_was_written(store: Store) {
        let uid = with_spec(&store, "a").await;
        let claim = Claim {
            instance: store.instance(),
            spec: uid,
            mark: Mark::Adopted,
        };
        for (n, action) in [
            create(),
            attach(1),
            Action::Tag {
                volume: volume(1),
                claim,
            },
            Action::Grow {
                volume: volume(1),
                vm: None,
                from: ByteSize::gib(1),
                to: ByteSize::gib(2),
            },
            Action::Detach {
                volume: volume(1),
                vm: vm(2),
            },
        ]
        .into_iter()
        .enumerate()
        {
            let wanted = Intent {
                cause: Cause::Healing,
                generation: 3,
                ..intent(n as u64, "a", action)
            };
            store.begin(&wanted).await.unwrap();
            store.begin(&wanted).await.expect("the same again is fine");
            let loaded = store.load().await.unwrap();
            assert_eq!(loaded.memory.intents[&name("a")], wanted);
            store
                .settle(&wanted, &Outcome::NeverSent, &Effects::default(), LATER)
                .await
                .unwrap();
            assert!(store.load().await.unwrap().memory.intents.is_empty());
        }
    }

    pub async fn one_unsettled_intent_for_each_name_and_volume(store: Store) {
        for of in ["a", "b"] {
            with_spec(&store, of).await;
        }
        let first = intent(1, "a", attach(1));
        store.begin(&first).await.unwrap();
        for (case, second) in [
            ("same name", intent(2, "a", attach(2))),
            ("same volume", intent(2, "b", attach(1))),
        ] {
            let refusal = store.begin(&second).await;
            assert!(
                matches!(&refusal, Err(StoreError::IntentOpen { open, .. })
                    if *open == first.id.to_string()),
                "{case}: {refusal:?}"
            );
        }
        store.begin(&intent(2, "b", attach(2))).await.unwrap();
        store
            .settle(&first, &CREATED, &Effects::default(), LATER)
            .await
            .unwrap();
        store.begin(&intent(3, "a", attach(1))).await.unwrap();
    }

    pub async fn only_what_was_made_here_is_deleted_and_it_is_remembered(store: Store) {
        let delete = |n| Action::Delete {
            volume: volume(n),
            is_blank: false,
        };
        for (of, n, mark) in [("a", 1, Mark::Created), ("b", 2, Mark::Adopted)] {
            let uid = with_spec(&store, of).await;
            let binding = Binding {
                volume: volume(n),
                uid,
                mark,
            };
            store.bind(&name(of), &binding, NOW).await.unwrap();
        }
        with_spec(&store, "c").await;
        for (case, of, n) in [
            ("adopted", "b", 2),
            ("another volume", "a", 3),
            ("bound to another", "a", 2),
            ("not bound", "c", 1),
        ] {
            let refusal = store.begin(&intent(1, of, delete(n))).await;
            assert!(
                matches!(refusal, Err(StoreError::Journal { .. })),
                "{case}: {refusal:?}"
            );
        }
        for (n, outcome, is_deleted) in [
            (1, Outcome::NeverSent, false),
            (
                2,
                Outcome::Lost {
                    text: String::new(),
                },
                true,
            ),
        ] {
            let wanted = intent(n, "a", delete(1));
            store.begin(&wanted).await.unwrap();
            let none = Effects::default();
            store.settle(&wanted, &outcome, &none, LATER).await.unwrap();
            let deleted = store.load().await.unwrap().memory.deleted;
            assert_eq!(deleted.contains(&volume(1)), is_deleted, "{outcome:?}");
        }
    }

    pub async fn approvals_count_until_they_end(store: Store) {
        let action = Action::Detach {
            volume: volume(1),
            vm: vm(2),
        };
        let steps = BTreeMap::from([(name("a"), action.clone())]);
        let approved = async || store.load().await.unwrap().memory.approved;
        store.approve("0123", &steps, NOW, "late").await.unwrap();
        assert!(approved().await.is_empty(), "it has ended");
        store.approve("4567", &steps, LATER, "").await.unwrap();
        let counts = approved().await;
        assert_eq!(counts[&name("a")].action, action);
    }

    pub async fn an_intent_needs_an_accepted_spec(store: Store) {
        let refusal = store.begin(&intent(1, "a", create())).await;
        assert!(matches!(refusal, Err(StoreError::Journal { .. })));
        assert_eq!(store.intents(all()).await.unwrap(), []);
    }

    pub async fn a_bound_name_is_never_created_again(store: Store) {
        let uid = with_spec(&store, "a").await;
        let first = intent(1, "a", create());
        store.begin(&first).await.unwrap();
        store
            .settle(&first, &CREATED, &binding(5, uid), LATER)
            .await
            .unwrap();
        let refusal = store.begin(&intent(2, "a", create())).await;
        assert!(matches!(refusal, Err(StoreError::BindingConflict { .. })));
        store.begin(&intent(3, "a", attach(5))).await.unwrap();
    }

    pub async fn settling_twice_differs_only_if_the_outcome_does(store: Store) {
        let uid = with_spec(&store, "a").await;
        let first = intent(1, "a", create());
        let none = Effects::default();
        let unknown = store.settle(&first, &CREATED, &none, NOW).await;
        assert!(matches!(unknown, Err(StoreError::Journal { .. })));
        store.begin(&first).await.unwrap();
        let effects = binding(5, uid);
        for _ in 0..2 {
            store.settle(&first, &CREATED, &effects, NOW).await.unwrap();
        }
        for other in [
            Outcome::NeverSent,
            refused("no"),
            Outcome::Succeeded {
                created: Some(volume(6)),
            },
        ] {
            let refusal = store.settle(&first, &other, &binding(6, uid), NOW).await;
            assert!(matches!(refusal, Err(StoreError::Journal { .. })));
        }
        let loaded = store.load().await.unwrap();
        assert_eq!(loaded.memory.bindings[&name("a")].volume, volume(5));
    }

    pub async fn a_binding_is_for_ever(store: Store) {
        let (a, b) = (with_spec(&store, "a").await, with_spec(&store, "b").await);
        let bind = async |of: &str, effects: Effects| {
            store.bind(&name(of), &effects.binding.unwrap(), NOW).await
        };
        bind("a", binding(1, a)).await.unwrap();
        bind("a", binding(1, a)).await.expect("identical");
        let other_volume = bind("a", binding(2, a)).await;
        assert!(matches!(
            other_volume,
            Err(StoreError::BindingConflict { .. })
        ));
        let other_uid = bind("a", binding(1, b)).await;
        assert!(matches!(other_uid, Err(StoreError::BindingConflict { .. })));
        let taken = bind("b", binding(1, b)).await;
        assert!(matches!(taken, Err(StoreError::VolumeTaken { .. })));
        bind("b", binding(2, b)).await.unwrap();
        let bindings = store.load().await.unwrap().memory.bindings;
        assert_eq!(bindings[&name("a")], binding(1, a).binding.unwrap());
        assert_eq!(bindings[&name("b")], binding(2, b).binding.unwrap());
    }

    pub async fn a_refused_binding_leaves_the_intent_unsettled(store: Store) {
        let uid = with_spec(&store, "a").await;
        let first = intent(1, "a", attach(1));
        store.begin(&first).await.unwrap();
        store
            .settle(&first, &CREATED, &binding(1, uid), NOW)
            .await
            .unwrap();
        let second = intent(2, "a", attach(1));
        store.begin(&second).await.unwrap();
        let effects = Effects {
            placement: Some(PlacementChange::Put(volume(2), vm(1))),
            ..binding(2, uid)
        };
        let refusal = store.settle(&second, &CREATED, &effects, NOW).await;
        assert!(matches!(refusal, Err(StoreError::BindingConflict { .. })));
        let memory = store.load().await.unwrap().memory;
        assert_eq!(memory.intents[&name("a")], second);
        assert!(memory.placements.is_empty(), "all or nothing");
    }

    pub async fn placements_follow_what_was_done(store: Store) {
        with_spec(&store, "a").await;
        for (id, change, expected) in [
            (1, PlacementChange::Put(volume(1), vm(1)), Some(vm(1))),
            (2, PlacementChange::Put(volume(1), vm(2)), Some(vm(2))),
            (3, PlacementChange::Forget(volume(1)), None),
            (4, PlacementChange::Forget(volume(1)), None),
        ] {
            let intent = intent(id, "a", attach(1));
            store.begin(&intent).await.unwrap();
            let effects = Effects {
                binding: None,
                placement: Some(change),
            };
            store
                .settle(&intent, &CREATED, &effects, NOW)
                .await
                .unwrap();
            let placements = store.load().await.unwrap().memory.placements;
            assert_eq!(placements.get(&volume(1)).copied(), expected, "{change:?}");
        }
    }

    pub async fn a_job_is_recorded_once(store: Store) {
        with_spec(&store, "a").await;
        let intent = intent(1, "a", attach(1));
        assert!(store.submitted(intent.id, job(1)).await.is_err(), "unknown");
        store.begin(&intent).await.unwrap();
        for _ in 0..2 {
            store.submitted(intent.id, job(1)).await.unwrap();
        }
        assert!(store.submitted(intent.id, job(2)).await.is_err());
        let memory = store.load().await.unwrap().memory;
        let progress = &memory.intents[&name("a")].progress;
        assert_eq!(*progress, Progress::Submitted(job(1)));
        let none = Effects::default();
        store.settle(&intent, &CREATED, &none, NOW).await.unwrap();
        assert!(store.submitted(intent.id, job(1)).await.is_err(), "settled");
    }

    pub async fn every_outcome_is_read_back(store: Store) {
        with_spec(&store, "a").await;
        let mut outcomes = vec![
            CREATED,
            Outcome::Succeeded {
                created: Some(volume(7)),
            },
            Outcome::NeverSent,
            Outcome::Lost {
                text: "530 without a result".to_owned(),
            },
        ];
        outcomes.extend(
            [
                FailureClass::Refused,
                FailureClass::Environment,
                FailureClass::Retry,
                FailureClass::Quota,
                FailureClass::Throttled,
                FailureClass::InUse,
            ]
            .map(|class| Outcome::Failed {
                class,
                text: "it's \"so\"".to_owned(),
            }),
        );
        for (n, outcome) in outcomes.iter().enumerate() {
            let intent = Intent {
                created: NOW.plus(Duration::from_millis(1000 * n as u64)),
                ..intent(n as u64, "a", attach(1))
            };
            store.begin(&intent).await.unwrap();
            let none = Effects::default();
            store.settle(&intent, outcome, &none, LATER).await.unwrap();
            let newest = store.intents(all()).await.unwrap().remove(0);
            assert_eq!(newest.intent, intent);
            let settled = Settled {
                outcome: outcome.clone(),
                at: LATER,
            };
            assert_eq!(newest.settled, Some(settled));
            let json = serde_json::to_string(&newest).unwrap();
            assert_eq!(
                serde_json::from_str::<JournalRow>(&json).unwrap(),
                newest,
                "{json}"
            );
        }
        // Long words are cut, at a character, and settling twice still agrees.
        let long = refused(&"é".repeat(5000));
        let intent = Intent {
            created: LATER,
            ..intent(99, "a", attach(1))
        };
        store.begin(&intent).await.unwrap();
        for _ in 0..2 {
            let none = Effects::default();
            store.settle(&intent, &long, &none, LATER).await.unwrap();
        }
        let newest = store.intents(all()).await.unwrap().remove(0);
        assert_eq!(newest.settled.unwrap().outcome, refused(&"é".repeat(2048)));
    }

    pub async fn the_journal_is_filtered_and_newest_first(store: Store) {
        for of in ["a", "b", "c"] {
            with_spec(&store, of).await;
        }
        for (n, of) in [(1, "a"), (2, "b"), (3, "c")] {
            let created = NOW.plus(Duration::from_secs(n));
            let intent = Intent {
                created,
                ..intent(n, of, attach(n))
            };
            store.begin(&intent).await.unwrap();
            if of == "b" {
                let none = Effects::default();
                store.settle(&intent, &CREATED, &none, LATER).await.unwrap();
            }
        }
        let list = async |filter| {
            let rows = store.intents(filter).await.unwrap();
            let names = rows.iter().map(|row| row.intent.name.to_string());
            names.collect::<Vec<_>>().join(" ")
        };
        let open = IntentFilter {
            open_only: true,
            ..all()
        };
        let of_b = IntentFilter {
            name: Some(name("b")),
            ..all()
        };
        assert_eq!(list(all()).await, "c b a");
        assert_eq!(list(IntentFilter { limit: 2, ..all() }).await, "c b");
        assert_eq!(list(open.clone()).await, "c a");
        assert_eq!(list(of_b.clone()).await, "b");
        assert_eq!(
            list(IntentFilter {
                name: Some(name("b")),
                ..open
            })
            .await,
            ""
        );
        let row = store.intents(of_b).await.unwrap().remove(0);
        assert_eq!(row.owner, Owner::File("/specs/a.yaml".to_owned()));
    }

    pub async fn implied_steps_are_those_nobody_asked_for(store: Store) {
        with_spec(&store, "a").await;
        let at = |seconds: i64| Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
        for (n, (seconds, cause, outcome)) in (1..).zip([
            (-3601, Cause::Abandoned, CREATED),
            (1, Cause::Declared, CREATED),
            (2, Cause::Edited, refused("no")),
            (3, Cause::Abandoned, CREATED),
            (4, Cause::Healing, Outcome::NeverSent),
        ]) {
            let intent = Intent {
                cause,
                created: at(seconds),
                ..intent(n, "a", attach(1))
            };
            store.begin(&intent).await.unwrap();
            let none = Effects::default();
            store.settle(&intent, &outcome, &none, LATER).await.unwrap();
        }
        let steps = store.load().await.unwrap().memory.implied;
        let expected =
            [(2, Cause::Edited), (3, Cause::Abandoned)].map(|(seconds, cause)| ImpliedStep {
                name: name("a"),
                kind: "Attach".to_owned(),
                cause,
                owner: Owner::File("/specs/a.yaml".to_owned()),
                at: store.clock.now().boot_of(at(seconds)),
            });
        assert_eq!(steps, expected);
    }

    pub async fn what_was_never_written_was_never_sent(store: Store) {
        with_spec(&store, "a").await;
        let intent = intent(1, "a", attach(1));
        let none = Effects::default();
        let settle = async |outcome| store.settle(&intent, &outcome, &none, LATER).await;
        settle(Outcome::NeverSent).await.unwrap();
        assert_eq!(store.intents(all()).await.unwrap(), []);
        for outcome in [CREATED, refused("no")] {
            let refusal = settle(outcome).await;
            assert!(
                matches!(refusal, Err(StoreError::Journal { .. })),
                "{refusal:?}"
            );
        }
    }

    pub async fn old_settled_intents_are_dropped_open_ones_never(store: Store) {
        for of in ["a", "b"] {
            with_spec(&store, of).await;
        }
        let settled = intent(1, "a", attach(1));
        let open = intent(2, "b", attach(2));
        for intent in [&settled, &open] {
            store.begin(intent).await.unwrap();
        }
        let none = Effects::default();
        store.settle(&settled, &CREATED, &none, NOW).await.unwrap();
        let late = Intent {
            created: NOW.plus(Duration::from_secs(91 * 24 * 60 * 60)),
            ..intent(3, "a", attach(1))
        };
        store.begin(&late).await.unwrap();
        let left = store.intents(all()).await.unwrap();
        let ids: Vec<_> = left.iter().map(|row| row.intent.id).collect();
        assert_eq!(ids, [late.id, open.id]);
    }

    pub async fn export_names_stay_with_their_volume(store: Store) {
        let export: ExportName = "disk".parse().unwrap();
        for (to, expected) in [(1, Ok(())), (1, Ok(())), (2, Err(volume(1)))] {
            let claimed = store.claim_export_name(&export, volume(to)).await.unwrap();
            assert_eq!(claimed, expected);
        }
        let upper = "DISK".parse().unwrap();
        let claimed = store.claim_export_name(&upper, volume(2)).await.unwrap();
        assert_eq!(claimed, Ok(()), "names differ by case");
        let names = store.load().await.unwrap().memory.export_names;
        assert_eq!(names[&export], volume(1));
    }

    pub async fn resolutions_and_views_are_replaced(store: Store) {
        for n in 1..=2_u64 {
            let resolution = Resolution {
                generation: n,
                zone: Some(ZoneId::new(Uuid::from_u128(1))),
                offering: None,
                vm: Some(vm(3)),
                existing: None,
            };
            let view = AcceptedView {
                size: ByteSize::gib(n),
                attachment: None,
                at: LATER,
            };
            let found = [name("a"), name("b")].map(|name| (name, resolution.clone()));
            store.put_resolutions(&found).await.unwrap();
            let views = [(volume(1), view.clone())];
            store.put_views(&views).await.unwrap();
            let memory = store.load().await.unwrap().memory;
            assert_eq!(memory.resolutions, BTreeMap::from(found));
            assert_eq!(memory.views[&volume(1)], view);
        }
    }

    pub async fn a_store_belongs_to_one_vm(store: Store) {
        for (offered, expected) in [(1, Ok(())), (1, Ok(())), (2, Err(vm(1)))] {
            assert_eq!(store.set_vm(vm(offered)).await.unwrap(), expected);
        }
        assert_eq!(store.load().await.unwrap().vm, Some(vm(1)));
        store.give_vm(vm(3), vm(2)).await.unwrap();
        assert_eq!(
            store.load().await.unwrap().vm,
            Some(vm(1)),
            "it was not VM 3's"
        );
        store.give_vm(vm(1), vm(2)).await.unwrap();
        assert_eq!(store.load().await.unwrap().vm, Some(vm(2)));
    }

    pub async fn a_lost_lease_stops_every_write(store: Store) {
        with_spec(&store, "a").await;
        let open = intent(1, "a", attach(1));
        store.begin(&open).await.unwrap();
        raw(
            &store,
            "UPDATE vd_lease SET epoch = epoch + 1, holder = 'process 7'",
        )
        .await;
        let before = store.load().await.unwrap();
        let none = Effects::default();
        let export: ExportName = "x".parse().unwrap();
        let change = accepts(vec![document("b", 1, "/specs/b.yaml")]);
        let results = [
            store.begin(&intent(2, "a", attach(2))).await.map(drop),
            store.submitted(open.id, job(1)).await,
            store.settle(&open, &CREATED, &none, NOW).await,
            store.claim_export_name(&export, volume(1)).await.map(drop),
            store.accept(&change, NOW).await.map(drop),
            store.set_vm(vm(1)).await.map(drop),
            store.give_vm(vm(1), vm(2)).await,
        ];
        for result in results {
            let error = result.unwrap_err();
            assert!(matches!(&error, StoreError::LeaseLost { .. }), "{error}");
            assert!(error.to_string().contains("process 7"), "{error}");
        }
        let after = store.load().await.unwrap();
        assert_eq!(before.memory, after.memory);
        assert_eq!(before.desired, after.desired);
    }

    pub async fn a_dropped_write_changes_nothing(store: Store) {
        let mut tx = store.write("test").await.unwrap();
        tx.script("INSERT INTO vd_views VALUES ('local', 'x', 'y')")
            .await
            .unwrap();
        drop(tx);
        assert_eq!(store.load().await.unwrap().skipped, []);
    }

    pub async fn a_row_that_cannot_be_understood_is_isolated(store: Store) {
        let uids = [
            with_spec(&store, "a").await,
            with_spec(&store, "b").await,
            with_spec(&store, "c").await,
        ];
        let sound = intent(1, "b", attach(2));
        store.begin(&sound).await.unwrap();
        store.begin(&intent(2, "c", attach(3))).await.unwrap();
        for sql in [
            "UPDATE vd_specs SET manifest = '{' WHERE name = 'a'",
            "UPDATE vd_intents SET action = '{\"kind\":\"Shred\"}' WHERE name = 'c'",
            "INSERT INTO vd_placements VALUES ('local', 'not an id', 'x', 0)",
            "INSERT INTO vd_views VALUES ('local', '00000000-0000-0000-0000-000000000001', '{}')",
            "INSERT INTO vd_source_files VALUES ('local', '/specs/z', '', 0, 'Odd', '[]', 0, NULL)",
        ] {
            raw(&store, sql).await;
        }
        let loaded = store.load().await.unwrap();
        let desired: Vec<_> = loaded.desired.iter().map(|v| v.name().as_str()).collect();
        assert_eq!(desired, ["b"], "c has an intent that cannot be read");
        assert_eq!(loaded.memory.intents[&name("b")], sound);
        let skipped: Vec<_> = loaded
            .skipped
            .iter()
            .map(|row| (row.table, row.key.as_str()))
            .collect();
        assert_eq!(
            skipped,
            [
                ("vd_placements", "not an id"),
                ("vd_views", "00000000-0000-0000-0000-000000000001"),
                ("vd_intents", "c"),
                ("vd_specs", "a"),
                ("vd_source_files", "/specs/z"),
            ]
        );
        // The file says it anew: the name is whole again, and still itself.
        let accepted = store
            .accept(&accepts(vec![document("a", 1, "/specs/a.yaml")]), NOW)
            .await
            .unwrap();
        assert_eq!(accepted.volumes[0].uid, uids[0]);
        assert_eq!(accepted.volumes[0].generation, 2);
        assert_eq!(store.load().await.unwrap().desired.len(), 2);
    }

    pub async fn a_binding_that_cannot_be_read_never_looks_unbound(store: Store) {
        with_spec(&store, "a").await;
        raw(
            &store,
            "INSERT INTO vd_bindings VALUES ('local', 'a', 'garbage', '', 'created', 0)",
        )
        .await;
        let loaded = store.load().await.unwrap();
        assert_eq!(loaded.desired, []);
        assert_eq!(loaded.skipped[0].table, "vd_bindings");
        let refusal = store.begin(&intent(1, "a", create())).await;
        assert!(matches!(refusal, Err(StoreError::BindingConflict { .. })));
    }

    pub async fn a_spec_that_cannot_be_read_has_its_file_parsed_again(store: Store) {
        let mut change = accepts(vec![
            document("a", 1, "/specs/a.yaml"),
            document("b", 1, "/specs/b.yaml"),
        ]);
        change.files = vec![
            file("/specs/a.yaml", FileState::Accepted, &[]),
            file("/specs/b.yaml", FileState::Accepted, &[]),
        ];
        store.accept(&change, NOW).await.unwrap();
        raw(
            &store,
            "UPDATE vd_specs SET generation = -1 WHERE name = 'a'",
        )
        .await;
        let files = store.load().await.unwrap().files;
        assert_eq!(
            (files[0].hash.as_str(), files[1].hash.as_str()),
            ("", "0123")
        );
        // Its generation is lost, so nothing may be counted on from there.
        let again = accepts(vec![document("a", 2, "/specs/a.yaml")]);
        let accepted = store.accept(&again, NOW).await.unwrap();
        assert!(accepted.volumes.is_empty());
        assert_eq!(accepted.skipped[0].key, "a");
    }
}

/// What stands between quotes in a file of this module.
fn literals(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap().replace("\\\"", "");
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_statement_is_of_one_appliance() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut statements = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() || path.ends_with("tests.rs") {
            continue;
        }
        for sql in literals(&path) {
            let is_statement = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "]
                .iter()
                .any(|verb| sql.starts_with(verb));
            if is_statement && sql.contains(" vd_") && !sql.contains(" vd_migrations") {
                statements += 1;
                assert!(sql.contains("appliance"), "{}: {sql}", path.display());
            }
        }
    }
    assert!(statements > 40, "only {statements} were found");
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_store_survives_being_closed_and_counts_its_openings() {
    let dir = directory();
    let path = dir.path().join("state.db");
    let store = open(&path).await.unwrap();
    let instance = store.instance();
    with_spec(&store, "a").await;
    let before = store.load().await.unwrap();
    store.close().await;
    let store = open(&path).await.unwrap();
    assert_eq!((store.instance(), store.epoch()), (instance, Some(2)));
    assert_eq!(store.load().await.unwrap().desired, before.desired);
}

#[tokio::test]
async fn what_begin_returned_from_is_on_disk() {
    let dir = directory();
    let path = dir.path().join("state.db");
    let store = open(&path).await.unwrap();
    with_spec(&store, "a").await;
    let intent = intent(1, "a", create());
    store.begin(&intent).await.unwrap();
    // The files as a killed process leaves them: nothing was closed.
    let crashed = dir.path().join("crashed.db");
    for suffix in ["", "-wal"] {
        let part = |path: &Path| format!("{}{suffix}", path.display());
        std::fs::copy(part(&path), part(&crashed)).unwrap();
    }
    let again = open(&crashed).await.unwrap();
    let loaded = again.load().await.unwrap();
    assert_eq!(loaded.memory.intents[&name("a")], intent);
    let mut tx = again.read("test").await.unwrap();
    let mode: Option<(String, i64)> = tx
        .sql("SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous")
        .first()
        .await
        .unwrap();
    assert_eq!(mode, Some(("wal".to_owned(), 2)), "2 is FULL");
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_told_who_is_there() {
    let dir = directory();
    let path = dir.path().join("state.db");
    let store = open(&path).await.unwrap();
    let link = dir.path().join("other-name.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let error = open(path).await.unwrap_err();
        let pid = std::process::id();
        assert!(
            matches!(error, StoreError::Locked { pid: Some(found), .. } if found == pid),
            "{error}"
        );
        assert!(error.to_string().contains(&pid.to_string()), "{error}");
    }
    with_spec(&store, "a").await;
    store.close().await;
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_deleted_lock_file_does_not_make_two_writers() {
    let dir = directory();
    let path = dir.path().join("state.db");
    let first = open(&path).await.unwrap();
    std::fs::remove_file(dir.path().join("state.db.lock")).unwrap();
    let second = open(&path).await.unwrap();
    with_spec(&second, "a").await;
    let error = first.begin(&intent(1, "a", create())).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseLost { .. }), "{error}");
}

#[tokio::test]
async fn readers_need_no_daemon_disturb_none_and_write_nothing() {
    let dir = directory();
    let path = dir.path().join("state.db");
    let missing = Store::open_read_only(&at(&path)).await.unwrap_err();
    assert!(
        matches!(missing, StoreError::CannotOpen { .. }),
        "{missing}"
    );
    assert!(!path.exists(), "reading creates nothing");

    let store = open(&path).await.unwrap();
    with_spec(&store, "a").await;
    let reader = Store::open_read_only(&at(&path)).await.unwrap();
    assert_eq!(
        (reader.instance(), reader.epoch()),
        (store.instance(), None)
    );
    assert_eq!(reader.load().await.unwrap().desired.len(), 1);
    with_spec(&store, "b").await;
    assert_eq!(reader.load().await.unwrap().desired.len(), 2);
    let error = reader.set_vm(vm(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");
    reader.close().await;
    store.close().await;

    let reader = Store::open_read_only(&at(&path)).await.unwrap();
    assert_eq!(reader.load().await.unwrap().desired.len(), 2);
}

#[tokio::test]
async fn another_schema_is_refused_and_left_alone() {
    let dir = directory();
    let path = dir.path().join("state.db");
    let store = open(&path).await.unwrap();
    raw(&store, "INSERT INTO vd_migrations VALUES (99, 'future', 0)").await;
    store.close().await;
    let bytes = std::fs::read(&path).unwrap();
    let newer = open(&path).await.unwrap_err();
    assert!(
        matches!(
            newer,
            StoreError::NewerSchema {
                found: 99,
                known: super::schema::KNOWN
            }
        ),
        "{newer}"
    );
    let newer = Store::open_read_only(&at(&path)).await.unwrap_err();
    assert!(matches!(newer, StoreError::NewerSchema { .. }), "{newer}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "not a byte changed");

    let empty = dir.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    let older = Store::open_read_only(&at(&empty)).await.unwrap_err();
    assert!(
        matches!(
            older,
            StoreError::OlderSchema {
                found: 0,
                known: super::schema::KNOWN
            }
        ),
        "{older}"
    );
}

#[tokio::test]
async fn a_migration_that_was_cut_short_is_run_again() {
    let dir = directory();
    let path = dir.path().join("state.db");
    let store = open(&path).await.unwrap();
    with_spec(&store, "a").await;
    // As a database that commits each DDL statement by itself could be left. This one does not, and
    // cannot be asked to add a column only once.
    raw(
        &store,
        "DELETE FROM vd_migrations; DROP TABLE vd_views; \
         ALTER TABLE vd_spec_versions DROP COLUMN owner; \
         ALTER TABLE vd_source_files DROP COLUMN revision; \
         DROP INDEX vd_intents_operation; ALTER TABLE vd_intents DROP COLUMN operation;",
    )
    .await;
    store.close().await;
    let store = open(&path).await.unwrap();
    assert_eq!(store.load().await.unwrap().desired.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_to_do() {
    let dir = directory();
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, "not a database at all, but long enough").unwrap();
    std::fs::create_dir(dir.path().join("directory.db")).unwrap();
    for (path, says) in [
        ("none/state.db", "create its directory"),
        ("directory.db", "its path must be a file"),
        ("garbage.db/state.db", "its path must be a file"),
        ("garbage.db", "restore a backup"),
    ] {
        let error = open(&dir.path().join(path)).await.unwrap_err();
        assert!(error.to_string().contains(says), "{path}: {error}");
    }
    assert_eq!(
        std::fs::read(&garbage).unwrap(),
        b"not a database at all, but long enough",
        "evidence is kept"
    );
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing_half_done() {
    let store = memory().await;
    with_spec(&store, "a").await;
    // SQLite answers SQLITE_FULL just as it does when the disk is.
    let mut tx = store.read("test").await.unwrap();
    let pages = tx.sql("PRAGMA page_count").first().await.unwrap();
    let (pages,): (i64,) = pages.unwrap();
    let limit = format!("PRAGMA max_page_count = {pages}");
    tx.sql(&limit).rows().await.unwrap();
    tx.commit().await.unwrap();
    let before = store.load().await.unwrap().desired;
    let many = (0..2000).map(|n| document(&format!("v{n}"), 1, "/specs/b.yaml"));
    let error = store
        .accept(&accepts(many.collect()), NOW)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert_eq!(store.load().await.unwrap().desired, before);
}
