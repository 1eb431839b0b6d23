//! Finds out who brought a difference about, in CloudStack's event log. For people only: nothing waits
//! for it, and no decision depends on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::act::Hands;
use crate::clock::sleep;
use crate::cloudstack::{Transport, VolumeEvent};
use crate::model::{Action, Timestamp};
use crate::plan::DriftClass;
use crate::plan::episode::Culprit;
use crate::store::{StoreError, Unexplained};
use crate::telemetry::chain;

/// How long after something was seen to differ its event is looked for: many differences at once are
/// one question.
const COLLECT: Duration = Duration::from_secs(5);
/// How soon it is tried again after CloudStack or the store gave no answer.
const RETRY: Duration = Duration::from_secs(60);
/// Older differences are not explained any more.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// How far two clocks may be apart once their distance was taken into account: both are known to the
/// second.
const NEAR: Duration = Duration::from_secs(2);

/// Runs until `stop` is cancelled. `drifted` tells that episodes were written.
pub async fn explain_drift<T: Transport, E>(
    hands: Arc<Hands<T, E>>,
    drifted: Arc<Notify>,
    stop: CancellationToken,
) {
    let explaining = async {
        loop {
            sleep(COLLECT).await;
            match explain(&hands).await {
                Ok(Explained::All) => drifted.notified().await,
                Ok(Explained::Some) => {}
                Ok(Explained::Unanswered(why)) => {
                    tracing::debug!(error = why, "CloudStack does not tell who did what");
                    sleep(RETRY).await;
                }
                // The loop says what is wrong with the store.
                Err(error) => {
                    tracing::debug!(error = chain(&error), "who did it could not be recorded");
                    sleep(RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = explaining => {}
        () = stop.cancelled() => {}
    }
}

enum Explained {
    /// Nothing is left.
    All,
    /// There may be more.
    Some,
    /// CloudStack was not to be asked.
    Unanswered(String),
}

async fn explain<T: Transport, E>(hands: &Hands<T, E>) -> Result<Explained, StoreError> {
    let now = hands.clock.now().wall;
    let since = Timestamp::from_millis(now.as_millis().saturating_sub(millis(WINDOW)));
    let open = hands.store.unexplained(since).await?;
    if open.is_empty() {
        return Ok(Explained::All);
    }
    let listed = match hands.cloud.volume_events().await {
        Ok(listed) => listed,
        Err(error) => return Ok(Explained::Unanswered(chain(&error))),
    };
    let here = hands.clock.now().wall;
    let ahead = listed.server_time.map_or(0, |server| {
        server.as_millis().saturating_sub(here.as_millis())
    });
    let explained: Vec<_> = open
        .iter()
        .map(|one| (one.episode.clone(), culprit(one, &listed.items, ahead)))
        .collect();
    hands.store.put_culprits(&explained).await?;
    Ok(Explained::Some)
}

/// Who brought it about: whoever last did something of that kind to the volume before it was seen, and
/// after our own last call about it, which has an event, too. `events` are sorted, newest first, by a
/// clock that is `ahead` milliseconds before ours.
fn culprit(of: &Unexplained, events: &[VolumeEvent], ahead: i64) -> Option<Culprit> {
    let near = millis(NEAR);
    let at = |event: &VolumeEvent| event.at.as_millis().saturating_sub(ahead);
    let seen = of.first_seen.as_millis().saturating_add(near);
    let comes_after_us = |event: &&VolumeEvent| {
        of.ours.as_ref().is_none_or(|(kind, ended)| {
            let ended = ended.as_millis();
            let distance = if is_of(&event.kind, kind) {
                near
            } else {
                -near
            };
            at(event) > ended.saturating_add(distance)
        })
    };
    let found = events
        .iter()
        .filter(|event| event.volume == of.volume && brings_about(&event.kind, of.class))
        .filter(|event| at(event) <= seen)
        .find(comes_after_us)?;
    Some(Culprit {
        account: found.account.clone(),
        user: found.user.clone(),
        event: found.kind.clone(),
        at: Timestamp::from_millis(at(found)),
    })
}

/// Whether calls of this kind leave events of this type (`EventTypes.java`).
fn is_of(event: &str, call: &str) -> bool {
    match call {
        Action::ATTACH => event == "VOLUME.ATTACH",
        Action::DETACH => event == "VOLUME.DETACH",
        Action::GROW => event == "VOLUME.RESIZE",
        Action::DELETE => matches!(event, "VOLUME.DELETE" | "VOLUME.DESTROY"),
        _ => false,
    }
}

/// Whether an event of this type can be behind such a difference (`EventTypes.java`).
fn brings_about(event: &str, class: DriftClass) -> bool {
    match class {
        DriftClass::Existence => {
            matches!(event, "VOLUME.DELETE" | "VOLUME.DESTROY" | "VOLUME.RECOVER")
        }
        DriftClass::Attachment => matches!(event, "VOLUME.ATTACH" | "VOLUME.DETACH"),
        DriftClass::Size => event == "VOLUME.RESIZE",
        DriftClass::Property => event == "VOLUME.UPDATE",
        DriftClass::Export => false,
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::VolumeId;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1_000)
    }

    fn volume(n: u128) -> VolumeId {
        VolumeId::new(Uuid::from_u128(n))
    }

    fn event(n: u128, kind: &str, seconds: i64, user: &str) -> VolumeEvent {
        VolumeEvent {
            volume: volume(n),
            kind: kind.to_owned(),
            at: at(seconds),
            account: "ops".to_owned(),
            user: user.to_owned(),
        }
    }

    #[test]
    fn whoever_last_did_such_a_thing_before_it_was_seen_and_after_us_did_it() {
        let events = [
            event(1, "VOLUME.DETACH", 130, "later"),
            event(1, "VOLUME.RESIZE", 99, "resizes"),
            event(2, "VOLUME.DETACH", 98, "another"),
            event(1, "VOLUME.DETACH", 90, "kim"),
            event(1, "VOLUME.ATTACH", 50, "us"),
        ];
        let seen = |class, ours: Option<(&str, i64)>, ahead| {
            let of = Unexplained {
                episode: "a".to_owned(),
                class,
                first_seen: at(100),
                volume: volume(1),
                ours: ours.map(|(kind, ended)| (kind.to_owned(), at(ended))),
            };
            culprit(&of, &events, ahead).map_or("-".to_owned(), |it| it.user)
        };
        let attachment = |ours, ahead| seen(DriftClass::Attachment, ours, ahead);
        assert_eq!(attachment(None, 0), "kim");
        assert_eq!(attachment(Some((Action::ATTACH, 50)), 0), "kim");
        assert_eq!(attachment(Some((Action::ATTACH, 89)), 0), "kim", "at once");
        assert_eq!(
            attachment(Some((Action::DETACH, 89)), 0),
            "-",
            "that was us"
        );
        assert_eq!(
            attachment(Some((Action::ATTACH, 95)), 0),
            "-",
            "before we attached it"
        );
        assert_eq!(
            attachment(None, 30_000),
            "later",
            "by the server's clock it was not"
        );
        assert_eq!(attachment(None, -20_000), "us");
        assert_eq!(seen(DriftClass::Size, None, 0), "resizes");
        assert_eq!(seen(DriftClass::Existence, None, 0), "-");
        assert_eq!(seen(DriftClass::Export, None, 0), "-");
    }
}
