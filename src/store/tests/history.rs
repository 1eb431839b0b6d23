//! What is kept for people: episodes of drift, and the history of a volume.

use super::*;
use crate::plan::episode::{Culprit, Ended, Ending, Episode, Open};
use crate::plan::{Drift, DriftClass};
use crate::store::{EpisodeFilter, Happening, Unexplained, What};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + seconds * 1000)
}

fn episode(of: &str, class: DriftClass, first_seen: Timestamp) -> Episode {
    Episode {
        volume: name(of),
        generation: 3,
        drift: Drift {
            class,
            field: format!("spec.{}", class.as_str()),
            desired: "VM a".to_owned(),
            observed: "‘x’; DROP TABLE vd_drift".to_owned(),
        },
        first_seen,
        ended: None,
        who: None,
    }
}

fn over(episode: Episode, at: Timestamp, ending: Ending) -> Episode {
    Episode {
        ended: Some(Ended {
            last_seen: episode.first_seen,
            at,
            ending,
        }),
        ..episode
    }
}

fn every() -> EpisodeFilter {
    EpisodeFilter {
        limit: 10_000,
        ..EpisodeFilter::default()
    }
}

pub async fn an_episode_is_read_back_as_it_was_written(store: Store) {
    let id = IntentId::new(Uuid::from_u128(9));
    let open = episode("a", DriftClass::Existence, at(0));
    let mut ended = vec![
        over(
            episode("a", DriftClass::Attachment, at(1)),
            at(10),
            Ending::Healed { intent: Some(id) },
        ),
        over(
            episode("b", DriftClass::Size, at(2)),
            at(20),
            Ending::Healed { intent: None },
        ),
        over(
            episode("b", DriftClass::Export, at(3)),
            at(30),
            Ending::ByItself,
        ),
        over(
            episode("b", DriftClass::Property, at(4)),
            at(40),
            Ending::Changed,
        ),
        over(
            episode("b", DriftClass::Property, at(5)),
            at(50),
            Ending::SpecChanged,
        ),
    ];
    store
        .put_episodes(std::slice::from_ref(&open))
        .await
        .unwrap();
    let begun: Vec<Episode> = ended
        .iter()
        .map(|it| Episode {
            ended: None,
            ..it.clone()
        })
        .collect();
    store.put_episodes(&begun).await.unwrap();
    for _ in 0..2 {
        store.put_episodes(&ended).await.unwrap();
    }
    ended.reverse();
    let list = async |filter| store.episodes(&filter).await.unwrap();
    let all: Vec<Episode> = ended.iter().chain([&open]).cloned().collect();
    assert_eq!(list(every()).await, all);
    let since = EpisodeFilter {
        since: Some(at(30)),
        ..every()
    };
    let lately = [&ended[..3], std::slice::from_ref(&open)].concat();
    assert_eq!(list(since).await, lately);
    let of_a = EpisodeFilter {
        name: Some(name("a")),
        ..every()
    };
    assert_eq!(list(of_a).await, all[4..]);
    let one = EpisodeFilter {
        limit: 1,
        ..every()
    };
    assert_eq!(list(one).await, all[..1]);
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.episodes, [Open::again(open, None)]);
    assert_eq!(loaded.skipped, []);
}

pub async fn who_did_it_is_asked_once_and_kept_with_the_episode(store: Store) {
    let uid = with_spec(&store, "a").await;
    with_spec(&store, "unbound").await;
    let first = intent(1, "a", create());
    store.begin(&first).await.unwrap();
    let bound = binding(5, uid);
    store.settle(&first, &CREATED, &bound, at(2)).await.unwrap();
    let episodes = [
        episode("a", DriftClass::Attachment, at(1)),
        episode("a", DriftClass::Attachment, at(20)),
        episode("a", DriftClass::Export, at(20)),
        episode("a", DriftClass::Size, at(21)),
        episode("unbound", DriftClass::Attachment, at(20)),
    ];
    store.put_episodes(&episodes).await.unwrap();
    let asked = async |since| store.unexplained(at(since)).await.unwrap();
    let ours = Some(("Create".to_owned(), at(2)));
    let of = |index: usize, ours: Option<(String, Timestamp)>| Unexplained {
        episode: episodes[index].key(),
        class: episodes[index].drift.class,
        first_seen: episodes[index].first_seen,
        volume: bound.binding.unwrap().volume,
        ours,
    };
    assert_eq!(
        asked(0).await,
        [of(0, None), of(1, ours.clone()), of(3, ours)],
        "what is not CloudStack's, and what is bound to nothing, is not asked about"
    );
    assert_eq!(asked(21).await.len(), 1);

    let culprit = Culprit {
        account: "‘ops’".to_owned(),
        user: "k".repeat(300),
        event: "VOLUME.DETACH".to_owned(),
        at: at(19),
    };
    let explained = [
        (episodes[1].key(), Some(culprit.clone())),
        (episodes[3].key(), None),
    ];
    for _ in 0..2 {
        store.put_culprits(&explained).await.unwrap();
    }
    assert_eq!(asked(0).await, [of(0, None)]);
    let kept = Culprit {
        user: "k".repeat(255),
        ..culprit
    };
    let ended = over(episodes[1].clone(), at(30), Ending::ByItself);
    store.put_episodes(&[ended]).await.unwrap();
    let told = store.episodes(&every()).await.unwrap();
    let who = |of: &Episode| {
        told.iter()
            .find(|it| it.key() == of.key())
            .unwrap()
            .who
            .clone()
    };
    assert_eq!(who(&episodes[1]), Some(kept), "it ended meanwhile");
    assert_eq!(who(&episodes[3]), None);
}

pub async fn an_open_episode_knows_the_call_that_ended_it(store: Store) {
    for of in ["a", "b"] {
        with_spec(&store, of).await;
    }
    let open = [
        episode("a", DriftClass::Attachment, at(5)),
        episode("a", DriftClass::Size, at(5)),
        episode("b", DriftClass::Attachment, at(5)),
    ];
    store.put_episodes(&open).await.unwrap();
    let none = Effects::default();
    for (n, of, outcome, seconds) in [
        (1, "a", CREATED, 1),
        (2, "a", CREATED, 7),
        (3, "a", refused("no"), 8),
        (4, "b", CREATED, 4),
    ] {
        let intent = intent(n, of, attach(n));
        store.begin(&intent).await.unwrap();
        let at = at(seconds);
        store.settle(&intent, &outcome, &none, at).await.unwrap();
    }
    let loaded = store.load().await.unwrap();
    let by = |n: u64| Some(intent(n, "a", attach(n)).id);
    let [attached, size, other] = open;
    let expected = [
        Open::again(attached, by(2)),
        Open::again(size, None),
        Open::again(other, None),
    ];
    assert_eq!(loaded.episodes, expected);
}

pub async fn episodes_are_bounded(store: Store) {
    let day = 24 * 60 * 60;
    let of = |of: &str, begun: i64, ended: i64| {
        let class = DriftClass::Attachment;
        over(episode(of, class, at(begun)), at(ended), Ending::ByItself)
    };
    let old = [
        of("old", -92 * day, -91 * day),
        of("old", -92 * day + 1, -89 * day),
        episode("old", DriftClass::Size, at(-300 * day)),
    ];
    store.put_episodes(&old).await.unwrap();
    let kept = store.episodes(&every()).await.unwrap();
    assert_eq!(kept, old[1..]);

    let flaps: Vec<Episode> = (0..130).map(|n| of("flaps", n, n)).collect();
    for flap in flaps.chunks(13) {
        store.put_episodes(flap).await.unwrap();
    }
    let filter = EpisodeFilter {
        name: Some(name("flaps")),
        ..every()
    };
    let mut kept = store.episodes(&filter).await.unwrap();
    kept.reverse();
    assert_eq!(kept, flaps[30..]);
    assert_eq!(store.episodes(&every()).await.unwrap().len(), 102);
}

pub async fn everything_that_happened_to_a_volume_is_told_in_order(store: Store) {
    assert_eq!(store.history(&name("a")).await.unwrap(), []);
    let uid = with_spec(&store, "a").await;
    with_spec(&store, "b").await;
    let second = accepts(vec![document("a", 50, "/specs/other.yaml")]);
    store.accept(&second, at(100)).await.unwrap();
    let binding = Binding {
        volume: volume(1),
        uid,
        mark: Mark::Adopted,
    };
    store.bind(&name("a"), &binding, at(10)).await.unwrap();
    let intent = Intent {
        created: at(20),
        ..intent(1, "a", attach(1))
    };
    store.begin(&intent).await.unwrap();
    let differed = episode("a", DriftClass::Attachment, at(15));
    let of_other = episode("b", DriftClass::Attachment, at(15));
    let both = [differed.clone(), of_other];
    store.put_episodes(&both).await.unwrap();
    // Both at the moment of the clock, as the first version was.
    let steps = BTreeMap::from([(name("a"), attach(1)), (name("b"), attach(2))]);
    store.approve("0123", &steps, at(60), "go").await.unwrap();
    store.pause(None, at(70), "storage").await.unwrap();
    store.pause(Some(&name("a")), at(80), "").await.unwrap();

    let history = store.history(&name("a")).await.unwrap();
    let told: Vec<String> = history.iter().map(line).collect();
    assert_eq!(
        told,
        [
            "0 accepted 1 file:/specs/a.yaml",
            "0 paused everything false until 80",
            "0 paused everything true until 70",
            "0 approved 0123 go until 60",
            "10 bound adopted",
            "15 drift Attachment",
            "20 call Attach",
            "100 accepted 2 file:/specs/other.yaml",
        ]
    );
    raw(&store, "UPDATE vd_spec_versions SET owner = NULL").await;
    raw(&store, "UPDATE vd_drift SET class = 'Strange'").await;
    let history = store.history(&name("a")).await.unwrap();
    let told: Vec<String> = history.iter().map(line).collect();
    assert_eq!(told[0], "0 accepted 1 nobody");
    assert_eq!(told.len(), 7, "one row is not understood");
}

fn line(happening: &Happening) -> String {
    let seconds = |at: Timestamp| (at.as_millis() - NOW.as_millis()) / 1000;
    let what = match &happening.what {
        What::Accepted(version) => {
            let owner = version.owner.as_ref().map(ToString::to_string);
            let owner = owner.unwrap_or_else(|| "nobody".to_owned());
            format!("accepted {} {owner}", version.generation)
        }
        What::Bound(bound) => format!("bound {}", bound.mark),
        What::Call(row) => format!("call {}", row.intent.action.kind()),
        What::Drift(episode) => format!("drift {}", episode.drift.class.as_str()),
        What::Approved(approval) => {
            let until = seconds(approval.until);
            format!(
                "approved {} {} until {until}",
                approval.digest, approval.reason
            )
        }
        What::Paused(pause) => {
            let until = seconds(pause.until);
            format!("paused everything {} until {until}", pause.everything)
        }
    };
    format!("{} {what}", seconds(happening.at))
}
