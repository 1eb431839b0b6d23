//! `drift --since`: what differed lately, what is over included.

use std::time::Duration;

use serde::Serialize;

use crate::api::history::EPISODES_MAX;
use crate::cli::client;
use crate::cli::drift::Args;
use crate::cli::output::{
    BAD, Exit, GOOD, Io, PENDING, cell, count, plain, printable, span, table,
};
use crate::cli::plan::Output;
use crate::clock::Clock;
use crate::config::Config;
use crate::model::Timestamp;
use crate::plan::episode::{Culprit, Ending, Episode};
use crate::store::EpisodeFilter;

/// What differed, for programs.
#[derive(Serialize)]
struct Document<'a> {
    since: Timestamp,
    episodes: &'a [Episode],
}

/// Shows what differed in the last `span`.
pub(super) async fn run(
    args: &Args,
    span: Duration,
    config: &Config,
    clock: &dyn Clock,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let now = clock.now().wall;
    let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let since = Timestamp::from_millis(now.as_millis().saturating_sub(millis).max(0));
    let filter = EpisodeFilter {
        name: None,
        since: Some(since),
        limit: EPISODES_MAX,
    };
    let episodes = client::episodes(config, &args.source, &filter, io).await?;
    match args.output {
        Output::Text => io.text(&text(&printable(&episodes)?, since, now))?,
        Output::Json => io.json(&Document {
            since,
            episodes: &episodes,
        })?,
    }
    Ok(if episodes.is_empty() {
        Exit::Fine
    } else {
        Exit::Differences
    })
}

/// What differed, for people.
fn text(episodes: &[Episode], since: Timestamp, now: Timestamp) -> String {
    if episodes.is_empty() {
        return format!("nothing was seen to differ since {since}\n");
    }
    let header = [
        "FIRST SEEN",
        "VOLUME",
        "FIELD",
        "DESIRED",
        "OBSERVED",
        "BY",
        "LASTED",
        "ENDED",
    ];
    let rows = episodes.iter().map(|episode| {
        let until = episode.ended.as_ref().map_or(now, |ended| ended.at);
        let (how, style) = match episode.ended.as_ref().map(|ended| ended.ending) {
            None => ("not yet", BAD),
            Some(Ending::Healed { .. }) => ("healed", GOOD),
            Some(Ending::ByItself) => ("by itself", GOOD),
            Some(Ending::Changed) => ("differs otherwise", PENDING),
            Some(Ending::SpecChanged) => ("spec changed", GOOD),
        };
        vec![
            plain(episode.first_seen),
            plain(&episode.volume),
            plain(&episode.drift.field),
            plain(&episode.drift.desired),
            plain(&episode.drift.observed),
            plain(by(episode.who.as_ref())),
            plain(self::span(until.since(episode.first_seen))),
            cell(how, style),
        ]
    });
    let mut text = table(&header, rows);
    let open = episodes.iter().filter(|it| it.ended.is_none()).count();
    text += &format!("\n{} since {since}, ", count(episodes.len(), "difference"));
    text += &match open {
        0 => "all of them over".to_owned(),
        open => format!("{open} not over yet"),
    };
    if episodes.len() == EPISODES_MAX as usize {
        text += "; there may have been more, earlier";
    }
    text + "\n"
}

/// Who brought it about.
fn by(who: Option<&Culprit>) -> String {
    let who = who.map(|who| format!("{}/{}", who.account, who.user));
    who.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{NOW, episode, later, over, plain};

    #[test]
    fn what_differed_is_listed_with_how_long_and_how_it_ended() {
        let healed = over(
            episode("pg", NOW),
            later(NOW, 31),
            Ending::Healed { intent: None },
        );
        let who = Culprit {
            account: "ops".to_owned(),
            user: "kim".to_owned(),
            event: "VOLUME.DETACH".to_owned(),
            at: NOW,
        };
        let open = Episode {
            who: Some(who),
            ..episode("logs", later(NOW, 40))
        };
        let shown = text(&[open, healed.clone()], NOW, later(NOW, 60));
        let expected = "\
FIRST SEEN             VOLUME   FIELD              DESIRED   OBSERVED               BY        LASTED   ENDED
2027-01-15T08:00:40Z   logs     spec.attachTo.vm   VM a      detached by somebody   ops/kim   20s      not yet
2027-01-15T08:00:00Z   pg       spec.attachTo.vm   VM a      detached by somebody   unknown   31s      healed

2 differences since 2027-01-15T08:00:00Z, 1 not over yet
";
        assert_eq!(plain(&shown), expected);
        let shown = text(&[healed], NOW, later(NOW, 60));
        assert!(shown.ends_with("1 difference since 2027-01-15T08:00:00Z, all of them over\n"));
        let none = text(&[], NOW, NOW);
        assert_eq!(
            none,
            "nothing was seen to differ since 2027-01-15T08:00:00Z\n"
        );
    }
}
