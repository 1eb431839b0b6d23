//! Episodes of drift: what differed, from when to when, and how it ended. For people.

use std::time::Duration;

use super::Store;
use super::StoreError;
use super::bound::Bound;
use super::db::{Row, Work};
use super::rows::{self, Unreadable};
use crate::model::{Timestamp, VolumeName};
use crate::plan::episode::{Culprit, Ended, Ending, Episode, Open};
use crate::plan::{Drift, DriftClass};

/// Which episodes are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpisodeFilter {
    /// Only of this spec.
    pub name: Option<VolumeName>,
    /// Only those that were not over by then.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
}

/// How long episodes that are over are kept. The journal keeps its calls as long.
const KEEP: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How many episodes of one spec are kept.
const BOUND: Bound = Bound {
    table: "vd_drift",
    moment: "first_seen",
    kept: 100,
    only: " AND ended_at IS NOT NULL",
};
/// Rows written by one statement.
const ROWS: usize = 200;

/// The columns of [`EpisodeRow`], of [`FROM`].
const COLUMNS: &str = "name, generation, class, field, desired, observed, first_seen, last_seen, \
                       ended_at, ending, intent, account, login, kind, done_at";
/// Episodes, and who brought them about.
const FROM: &str = "vd_drift d LEFT JOIN vd_culprits c \
                    ON c.appliance = d.appliance AND c.episode = d.episode";

impl Store {
    /// Writes episodes as they are now. Writing one again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn put_episodes(&self, episodes: &[Episode]) -> Result<(), StoreError> {
        const DOING: &str = "record what differed";
        let mut tx = self.write(DOING).await?;
        for episodes in episodes.chunks(ROWS) {
            put(&mut tx, episodes).await?;
            let names = episodes.iter().map(|it| it.volume.as_str().into());
            BOUND.keep(&mut tx, names).await?;
        }
        let keep = i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX);
        let now = self.clock.now().wall.as_millis();
        tx.sql("DELETE FROM vd_drift WHERE appliance = ? AND ended_at < ?")
            .mine()
            .bind(now.saturating_sub(keep))
            .execute()
            .await?;
        tx.commit().await
    }

    /// Episodes, the latest first. Rows that cannot be understood are left out.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn episodes(&self, filter: &EpisodeFilter) -> Result<Vec<Episode>, StoreError> {
        let mut tx = self.read("read what differed").await?;
        let episodes = select(&mut tx, filter).await?;
        tx.commit().await?;
        Ok(episodes)
    }
}

/// As [`Store::episodes`].
pub(super) async fn select(
    tx: &mut Work,
    filter: &EpisodeFilter,
) -> Result<Vec<Episode>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE d.appliance = ?");
    let mut query = tx.sql(&sql).mine();
    if let Some(name) = &filter.name {
        query = query.and(" AND name = ?").bind(name.as_str());
    }
    if let Some(since) = filter.since {
        query = query
            .and(" AND (ended_at IS NULL OR ended_at >= ?)")
            .bind(since.as_millis());
    }
    let read = query
        .and(" ORDER BY first_seen DESC, d.episode DESC LIMIT ?")
        .bind(i64::from(filter.limit))
        .rows()
        .await?;
    Ok(understood(&read))
}

/// What was not seen to be gone, and the calls that ended well meanwhile.
pub(super) async fn open(tx: &mut Work) -> Result<Vec<Open>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE d.appliance = ? AND ended_at IS NULL ORDER BY d.episode"
    );
    let read = tx.sql(&sql).mine().rows().await?;
    let mut open: Vec<Open> = understood(&read)
        .into_iter()
        .map(|episode| Open::again(episode, None))
        .collect();
    if open.is_empty() {
        return Ok(open);
    }
    // A cross join, because SQLite then begins with the few that are open.
    let read = tx
        .sql(
            "SELECT i.name, i.id, i.action, i.settled_at FROM vd_drift d \
             CROSS JOIN vd_intents i ON i.appliance = d.appliance AND i.name = d.name \
             WHERE d.appliance = ? AND d.ended_at IS NULL AND i.outcome = 'succeeded' \
                   AND i.settled_at >= d.first_seen ORDER BY i.settled_at",
        )
        .mine()
        .rows()
        .await?;
    let calls = rows::each("vd_intents", &read, &mut Vec::new(), rows::ended_well);
    for call in calls {
        let of_it = |one: &&mut Open| {
            let Episode {
                volume,
                drift,
                first_seen,
                ..
            } = &one.episode;
            *volume == call.name && drift.class == call.class && *first_seen <= call.at
        };
        for one in open.iter_mut().filter(of_it) {
            *one = Open::again(one.episode.clone(), Some(call.id));
        }
    }
    Ok(open)
}

fn understood(read: &[Row]) -> Vec<Episode> {
    // No decision depends on them, so what cannot be read is nothing to stop for.
    rows::each("vd_drift", read, &mut Vec::new(), episode)
}

async fn put(tx: &mut Work, episodes: &[Episode]) -> Result<(), StoreError> {
    tx.sql("DELETE FROM vd_drift WHERE appliance = ? AND episode IN ")
        .mine()
        .list(episodes.iter().map(|episode| episode.key().into()))
        .execute()
        .await?;
    let mut query = tx.sql(
        "INSERT INTO vd_drift (appliance, episode, name, generation, class, field, desired, \
                               observed, first_seen, last_seen, ended_at, ending, intent) VALUES ",
    );
    for episode in episodes {
        let Episode {
            volume,
            generation,
            drift,
            first_seen,
            ended,
            // Found out apart, and written apart.
            who: _,
        } = episode;
        let millis = |at: &Timestamp| at.as_millis();
        let ending = ended.as_ref().map(|ended| words(ended.ending));
        let intent = match ended.as_ref().map(|ended| ended.ending) {
            Some(Ending::Healed { intent }) => intent.map(|id| id.to_string()),
            Some(Ending::ByItself | Ending::Changed | Ending::SpecChanged) | None => None,
        };
        query = query.row([
            episode.key().into(),
            volume.as_str().into(),
            generation.cast_signed().into(),
            drift.class.as_str().into(),
            (&drift.field).into(),
            (&drift.desired).into(),
            (&drift.observed).into(),
            millis(first_seen).into(),
            ended.as_ref().map(|ended| millis(&ended.last_seen)).into(),
            ended.as_ref().map(|ended| millis(&ended.at)).into(),
            ending.into(),
            intent.into(),
        ]);
    }
    query.execute().await?;
    Ok(())
}

const fn words(ending: Ending) -> &'static str {
    match ending {
        Ending::Healed { .. } => "healed",
        Ending::ByItself => "by-itself",
        Ending::Changed => "changed",
        Ending::SpecChanged => "spec-changed",
    }
}

const CLASSES: [DriftClass; 5] = [
    DriftClass::Existence,
    DriftClass::Attachment,
    DriftClass::Size,
    DriftClass::Export,
    DriftClass::Property,
];

type EpisodeRow = (
    String,
    i64,
    String,
    String,
    String,
    String,
    i64,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
);

/// Reads the name of a class.
pub(super) fn class(text: &str) -> Result<DriftClass, Unreadable> {
    let known = CLASSES.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| format!("{text:?} is no class of drift"))
}

fn episode(row: EpisodeRow) -> Result<Episode, Unreadable> {
    let (
        name,
        generation,
        kind,
        field,
        desired,
        observed,
        first,
        last,
        at,
        ending,
        intent,
        account,
        user,
        event,
        done,
    ) = row;
    let intent = intent.as_deref().map(rows::parse).transpose()?;
    let ending = match ending.as_deref() {
        None => None,
        Some("healed") => Some(Ending::Healed { intent }),
        Some("by-itself") => Some(Ending::ByItself),
        Some("changed") => Some(Ending::Changed),
        Some("spec-changed") => Some(Ending::SpecChanged),
        Some(other) => return Err(format!("{other:?} is no end of a difference")),
    };
    let ended = match (last, at, ending) {
        (Some(last), Some(at), Some(ending)) => Some(Ended {
            last_seen: Timestamp::from_millis(last),
            at: Timestamp::from_millis(at),
            ending,
        }),
        (None, None, None) => None,
        (..) => return Err("it has half an end".to_owned()),
    };
    Ok(Episode {
        volume: rows::parse(&name)?,
        generation: rows::generation(generation)?,
        drift: Drift {
            class: class(&kind)?,
            field,
            desired,
            observed,
        },
        first_seen: Timestamp::from_millis(first),
        ended,
        who: match (account, user, event, done) {
            (Some(account), Some(user), Some(event), Some(done)) => Some(Culprit {
                account,
                user,
                event,
                at: Timestamp::from_millis(done),
            }),
            (..) => None,
        },
    })
}
