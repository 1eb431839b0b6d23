//! Asks the simulator what was recorded elsewhere, and compares the answers.
//!
//! Time is not compared. A simulator of its own is given the time it needs: a request is asked
//! again after each of the world's next events until the answers agree; if they never do, the
//! closest counts. From a simulator that runs, reads are asked again for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Url;
use serde::Serialize;
use serde_json::Value;

use crate::sim::front::{Front, HttpRequest, encode, signature};
use crate::sim::time::SimTime;

use super::Exchange;
use super::compare::{Difference, Ids, compare};

/// So many of the world's events are waited for.
const EVENTS_MAX: u32 = 200;

/// So often a simulator that runs is asked again, and after so long.
const READS_MAX: u32 = 50;
const READ_AGAIN: Duration = Duration::from_millis(100);

/// Answers that depend on how busy the place was, not on what was asked.
const BUSY: [u16; 4] = [429, 502, 503, 504];

/// Who is asked.
#[derive(Debug)]
pub enum Target {
    /// A world of one's own, which is given time.
    Own(Box<Front>, SimTime),
    /// A simulator that runs.
    Running(reqwest::Client, Url),
}

/// With which keys.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The API key.
    pub api: String,
    /// The secret key.
    pub secret: String,
}

/// How the answers to one recording compare.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How many exchanges were compared, by command.
    pub compared: BTreeMap<String, u32>,
    /// Those that cannot be, with the reason.
    pub skipped: Vec<Skipped>,
    /// Those in which something differs.
    pub differing: Vec<Differing>,
}

/// An exchange that was not compared.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// Its place in the recording.
    pub sequence: u32,
    /// Its command.
    pub command: String,
    /// Why.
    pub why: &'static str,
}

/// An exchange in which something differs.
#[derive(Debug, Serialize)]
pub struct Differing {
    /// Its place in the recording.
    pub sequence: u32,
    /// Its command.
    pub command: String,
    /// What.
    pub differences: Vec<Difference>,
}

/// Why a running simulator could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("the simulator does not answer")]
pub struct ConformError(#[source] reqwest::Error);

/// Asks for everything recorded, in order.
///
/// # Errors
/// If a simulator that runs does not answer.
pub async fn conform(
    exchanges: &[Exchange],
    target: &mut Target,
    keys: &Keys,
) -> Result<Report, ConformError> {
    let mut report = Report::default();
    let mut ids = Ids::default();
    for exchange in exchanges {
        let command = exchange.command.clone();
        if let Some(why) = incomparable(exchange) {
            report.skipped.push(Skipped {
                sequence: exchange.sequence,
                command,
                why,
            });
            continue;
        }
        let request = request(exchange, &ids, keys);
        let differences = match target {
            Target::Own(front, now) => ask_own(front, now, exchange, &request, &mut ids),
            Target::Running(client, url) => {
                ask_running(client, url, exchange, &request, &mut ids).await?
            }
        };
        *report.compared.entry(command.clone()).or_default() += 1;
        if !differences.is_empty() {
            report.differing.push(Differing {
                sequence: exchange.sequence,
                command,
                differences,
            });
        }
    }
    Ok(report)
}

fn incomparable(exchange: &Exchange) -> Option<&'static str> {
    if !exchange.is_of_cloudstack() {
        Some("the answer is not of CloudStack itself")
    } else if BUSY.contains(&exchange.status) {
        Some("the answer depends on how busy the place was")
    } else if matches!(exchange.command.as_str(), "login" | "logout") {
        Some("sessions are not simulated")
    } else {
        None
    }
}

/// The recorded request, newly signed, with the simulator's ids. One that was refused for its
/// credentials is signed wrongly.
fn request(exchange: &Exchange, ids: &Ids, keys: &Keys) -> HttpRequest {
    let mut params: BTreeMap<String, String> = exchange
        .params
        .iter()
        .map(|(name, value)| (name.clone(), ids.translated(value)))
        .collect();
    if !exchange.command.is_empty() {
        params.insert("command".to_owned(), exchange.command.clone());
    }
    params.insert("response".to_owned(), "json".to_owned());
    params.insert("apikey".to_owned(), keys.api.clone());
    let pairs = params.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let signed = match exchange.status {
        401 => "wrong".to_owned(),
        _ => signature(pairs, &keys.secret),
    };
    params.insert("signature".to_owned(), signed);
    let form: Vec<String> = params
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    let form = form.join("&");
    if exchange.method == "GET" {
        return HttpRequest::get(form);
    }
    HttpRequest {
        method: exchange.method.clone(),
        query: String::new(),
        body: form,
    }
}

/// Commits the attempt that agrees, or the earliest of those that come closest.
fn ask_own(
    front: &mut Front,
    now: &mut SimTime,
    exchange: &Exchange,
    request: &HttpRequest,
    ids: &mut Ids,
) -> Vec<Difference> {
    let mut waiting = front.clone();
    let mut at = *now;
    let mut best: Option<(Vec<Difference>, Front, Ids, SimTime)> = None;
    for _ in 0..EVENTS_MAX {
        let (mut asked, mut learned) = (waiting.clone(), ids.clone());
        let answer = asked.handle(request, at);
        let body = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
        let found = compare(
            (exchange.status, &exchange.body),
            (answer.status, &body),
            &mut learned,
        );
        let agrees = found.is_empty();
        if best
            .as_ref()
            .is_none_or(|(least, ..)| found.len() < least.len())
        {
            best = Some((found, asked, learned, at));
        }
        let Some(due) = waiting.next_due().filter(|_| !agrees) else {
            break;
        };
        at = at.max(due);
        waiting.advance(at);
    }
    let (found, asked, learned, at) = best.expect("it was asked at least once");
    (*front, *ids, *now) = (asked, learned, at);
    found
}

async fn ask_running(
    client: &reqwest::Client,
    url: &Url,
    exchange: &Exchange,
    request: &HttpRequest,
    ids: &mut Ids,
) -> Result<Vec<Difference>, ConformError> {
    let reads = ["list", "query", "get", "find"];
    let is_read = reads.iter().any(|verb| exchange.command.starts_with(verb));
    let mut asked = 0;
    loop {
        let mut learned = ids.clone();
        let (status, body) = send(client, url, request).await?;
        let found = compare(
            (exchange.status, &exchange.body),
            (status, &body),
            &mut learned,
        );
        asked += 1;
        if found.is_empty() || !is_read || asked == READS_MAX {
            *ids = learned;
            return Ok(found);
        }
        let _ = tokio::time::timeout(READ_AGAIN, std::future::pending::<()>()).await;
    }
}

async fn send(
    client: &reqwest::Client,
    url: &Url,
    request: &HttpRequest,
) -> Result<(u16, Value), ConformError> {
    // The URL holds key and signature.
    let failed = |error: reqwest::Error| ConformError(error.without_url());
    let mut url = url.clone();
    let builder = if request.method == "GET" {
        url.set_query(Some(&request.query));
        client.get(url)
    } else {
        let form = "application/x-www-form-urlencoded";
        client
            .post(url)
            .header(reqwest::header::CONTENT_TYPE, form)
            .body(request.body.clone())
    };
    let response = builder.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let bytes = response.bytes().await.map_err(failed)?;
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Ok((status, body))
}
