//! The API front of the management server, without HTTP: a request and the time go in, an
//! answer and the way it is delivered come out.

mod apis;
mod args;
mod catalog;
mod commands;
mod envelope;
mod events;
mod jobs;
mod lists;
mod mishaps;
mod owners;
mod params;
mod sign;
mod snapshots;
mod tags;
mod vm_snapshots;
mod vms;
mod volumes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::{DropWhen, Faults, Mishap, OutageMode, Rebuff};
use super::refusal::Refusal;
use super::time::SimTime;
use super::world::{AccountNo, Trouble, World};

use args::Args;
use commands::Command;
use envelope::{Answer, ApiError};
use mishaps::Replica;
use params::Params;

pub(super) use sign::encode;
pub use sign::signature;

/// The servlet container takes request lines and headers of so many bytes
/// (`ServerDaemon.java`); a long list of ids has to be posted.
const QUERY_BYTES_MAX: usize = 8192;

/// How far ahead `expires` may be where timestamps are enforced (`ApiServer.java`).
const EXPIRES_MAX_MS: u64 = 15 * 60 * 1000;

/// The names of all commands.
pub(super) fn command_names() -> impl Iterator<Item = &'static str> {
    commands::COMMANDS.iter().map(|command| command.name)
}

/// The parameters of a request, decoded, by name as sent.
pub(super) fn decoded(query: &str, form: &str) -> BTreeMap<String, String> {
    Params::decode(query, form)
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A request to `/client/api`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HttpRequest {
    /// The method, as `GET`.
    pub method: String,
    /// What follows the `?`, still encoded.
    pub query: String,
    /// A form, still encoded.
    pub body: String,
}

impl HttpRequest {
    /// A GET request.
    pub fn get(query: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            query: query.into(),
            body: String::new(),
        }
    }
}

/// What comes back.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// The HTTP status; for API errors the same as `errorcode`.
    pub status: u16,
    /// `Date`, `Content-Type` and, on errors, `X-Description`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// How, if at all, it reaches the client.
    pub delivery: Delivery,
}

/// How an answer reaches the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// At once.
    Delivered,
    /// So many milliseconds later.
    Delayed(u64),
    /// Never: the connection is closed.
    Dropped(DropWhen),
}

/// The front and the world behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Front {
    world: World,
    faults: Faults,
    /// How many milliseconds the management server's clock is ahead.
    skew: i64,
    /// Requests that are still on their way, by arrival.
    #[serde(with = "super::serial::as_list")]
    late: BTreeMap<(SimTime, u64), HttpRequest>,
    /// When the throttle's window of an account began, and how many requests came in it.
    windows: BTreeMap<AccountNo, (SimTime, u32)>,
    /// What stale listings show, by the number of their fault.
    replicas: BTreeMap<u64, Replica>,
}

/// A command being carried out.
struct Call<'a> {
    world: &'a mut World,
    caller: AccountNo,
    args: Args,
    trouble: Option<Trouble>,
    /// The caller's requests in its window of the throttle, and the milliseconds left of it.
    window: (u32, u64),
}

impl Front {
    /// A front for this world.
    pub fn new(world: World) -> Self {
        Self {
            world,
            faults: Faults::default(),
            skew: 0,
            late: BTreeMap::new(),
            windows: BTreeMap::new(),
            replicas: BTreeMap::new(),
        }
    }

    /// The world as it is.
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// The world, to change it behind the API's back.
    pub const fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// Answers one request. Order of checks as in `ApiServlet.java` and `ApiServer.java`.
    pub fn handle(&mut self, request: &HttpRequest, now: SimTime) -> HttpAnswer {
        self.advance(now);
        let date = self.world.now().http_date();
        match self.faults.outage(self.now()) {
            Some(OutageMode::Closed) => return dropped(date, DropWhen::BeforeCommit),
            Some(OutageMode::Unavailable) => return html(date, 503, "Service Unavailable"),
            None => {}
        }
        if !matches!(request.method.as_str(), "GET" | "POST") {
            return html(date, 405, "Method Not Allowed");
        }
        if request.query.len() > QUERY_BYTES_MAX {
            return html(date, 414, "URI Too Long");
        }
        let params = Params::decode(&request.query, &request.body);
        let posted = request.method == "POST";
        let mishap = self.mishap(&params);
        if mishap.drop == Some(DropWhen::BeforeCommit) {
            return dropped(date, DropWhen::BeforeCommit);
        }
        if let Some(millis) = mishap.late_ms {
            self.hold_up(request, millis);
            return dropped(date, DropWhen::BeforeCommit);
        }
        if mishap.rebuff == Some(Rebuff::BadGateway) {
            return html(date, 502, "Bad Gateway");
        }
        let mut answer = self.answer(&params, posted, &mishap);
        if mishap.duplicated {
            answer = self.answer(&params, posted, &mishap);
        }
        if let Some(when) = mishap.drop {
            answer.delivery = Delivery::Dropped(when);
        } else if mishap.delay_ms > 0 {
            let own = match answer.delivery {
                Delivery::Delayed(millis) => millis,
                Delivery::Delivered | Delivery::Dropped(_) => 0,
            };
            answer.delivery = Delivery::Delayed(own.saturating_add(mishap.delay_ms));
        }
        answer
    }

    /// Carries out a request whose client has gone.
    fn carry_out_late(&mut self, request: &HttpRequest) {
        let params = Params::decode(&request.query, &request.body);
        let posted = request.method == "POST";
        self.answer(&params, posted, &Mishap::default());
    }

    fn answer(&mut self, params: &Params, posted: bool, mishap: &Mishap) -> HttpAnswer {
        let date = self.world.now().http_date();
        match self.carry_out(params, posted, mishap) {
            Ok((command, answer)) => success(date, command, answer),
            Err(error) => failure(date, params, &error),
        }
    }

    fn carry_out(
        &mut self,
        params: &Params,
        posted: bool,
        mishap: &Mishap,
    ) -> Result<(&'static Command, Answer), ApiError> {
        if !params
            .get("response")
            .is_some_and(|format| format.eq_ignore_ascii_case("json"))
        {
            return Err(ApiError::xml_not_simulated());
        }
        let (caller, command) = self.verify(params, posted, mishap.rebuff.as_ref())?;
        let root = self.world.is_root(caller);
        params.check_characters()?;
        if command.name == "listApis" {
            self.charge_for_apis(caller, params)?;
        }
        let window = self.window(caller);
        let world = match mishap.stale.and_then(|id| self.replicas.get_mut(&id)) {
            Some(replica) => &mut replica.world,
            None => &mut self.world,
        };
        let args = Args::bind(world, command, &params.unpacked()?)?.with_rows_off(mishap.rows_off);
        match &mishap.rebuff {
            Some(Rebuff::Unavailable) => return Err(ApiError::unavailable()),
            Some(Rebuff::Internal(text)) => {
                let error = ApiError::from(Refusal::runtime(text.clone()));
                return Err(if root { error } else { error.masked() });
            }
            Some(Rebuff::BadGateway | Rebuff::Throttled(_)) | None => {}
        }
        // `ParamProcessWorker.doAccessChecks`.
        if !command.only_reads() {
            for owner in args.owners(world) {
                world.check_access(caller, owner)?;
            }
        }
        let mut call = Call {
            window,
            world,
            caller,
            args,
            trouble: mishap.trouble.clone(),
        };
        match (command.run)(&mut call) {
            Ok(answer) => Ok((command, answer)),
            Err(error) if root => Err(error),
            Err(error) => Err(error.masked()),
        }
    }

    /// `ApiServlet.processRequestInContext` and `ApiServer.verifyRequest`, check by check in their
    /// order.
    fn verify(
        &mut self,
        params: &Params,
        posted: bool,
        rebuff: Option<&Rebuff>,
    ) -> Result<(AccountNo, &'static Command), ApiError> {
        let Some(name) = params.get("command") else {
            return Err(ApiError::unauthorized_under("null"));
        };
        // `ApiServlet.processRequestInContext`, before the request is verified at all.
        let enforced = self.world.settings().enforce_post;
        if enforced && !posted && !commands::only_reads(name) {
            return Err(ApiError::to_be_posted(name));
        }
        let Some(command) = commands::find(name) else {
            return Err(ApiError::unauthorized_under("errorresponse"));
        };
        let (Some(api_key), Some(given)) = (
            params.get_ignoring_case("apikey"),
            params.get_ignoring_case("signature"),
        ) else {
            return Err(ApiError::unauthorized());
        };
        let version_3 = params.get_ignoring_case("signatureversion") == Some("3");
        if enforced && !version_3 {
            return Err(ApiError::unauthorized());
        }
        if version_3 {
            let expires = params
                .get_ignoring_case("expires")
                .and_then(SimTime::parse_expires);
            // No allowance for clocks that differ.
            let now = self.world.now();
            let latest = now.plus_millis(EXPIRES_MAX_MS);
            if expires.is_none_or(|expires| expires < now || (enforced && expires > latest)) {
                return Err(ApiError::unauthorized());
            }
        }
        let Some(caller) = self.world.find_account(api_key) else {
            return Err(ApiError::unauthorized());
        };
        let account = self.world.account(caller);
        if !account.enabled {
            return Err(ApiError::unauthorized());
        }
        // Before the signature is looked at.
        if let Some(Rebuff::Throttled(millis)) = rebuff {
            return Err(ApiError::throttled(*millis));
        }
        let lacks = account.forbidden.iter().any(|name| name == command.name);
        if lacks || (command.is_for_root() && !self.world.is_root(caller)) {
            return Err(ApiError::forbidden(command.name));
        }
        if let Some(millis) = self.throttled(caller) {
            return Err(ApiError::throttled(millis));
        }
        let account = self.world.account(caller);
        if !sign::matches(params.iter(), &account.secret_key, given) {
            return Err(ApiError::unauthorized());
        }
        Ok((caller, command))
    }

    /// Counts a request, and says after how many milliseconds to come again if it is one too many
    /// in its window.
    fn throttled(&mut self, caller: AccountNo) -> Option<u64> {
        let throttle = self.world.settings().throttle?;
        if self.world.is_root(caller) {
            return None;
        }
        let now = self.world.now();
        let (begun, count) = self.windows.entry(caller).or_insert((now, 0));
        let age = now.millis_since(*begun);
        if age >= throttle.interval_ms {
            (*begun, *count) = (now, 0);
        }
        if *count >= throttle.max {
            return Some(throttle.interval_ms.saturating_sub(age));
        }
        *count += 1;
        None
    }

    /// `ApiRateLimitServiceImpl.getApisAllowedToUser`: looking whether an account may call a command
    /// counts as a request, and `listApis` looks at each.
    fn charge_for_apis(&mut self, caller: AccountNo, params: &Params) -> Result<(), ApiError> {
        let looked_at = if params.get("name").is_some() {
            1
        } else {
            commands::COMMANDS.len()
        };
        for _ in 0..looked_at {
            if let Some(millis) = self.throttled(caller) {
                return Err(ApiError::throttled(millis));
            }
        }
        Ok(())
    }

    /// How many requests came from an account in its window, and how many milliseconds are left
    /// of it.
    fn window(&self, caller: AccountNo) -> (u32, u64) {
        let (Some(throttle), Some((begun, count))) =
            (self.world.settings().throttle, self.windows.get(&caller))
        else {
            return (0, 0);
        };
        let age = self.world.now().millis_since(*begun);
        (*count, throttle.interval_ms.saturating_sub(age))
    }
}

fn success(date: String, command: &Command, answer: Answer) -> HttpAnswer {
    HttpAnswer {
        status: 200,
        headers: json_headers(date),
        body: envelope::wrap(&envelope::response_key(command.name), &answer.body),
        delivery: match answer.after_ms {
            0 => Delivery::Delivered,
            millis => Delivery::Delayed(millis),
        },
    }
}

fn failure(date: String, params: &Params, error: &ApiError) -> HttpAnswer {
    let own_key = envelope::response_key(params.get("command").unwrap_or_default());
    let key = error.key.unwrap_or(&own_key);
    let mut headers = json_headers(date);
    headers.push(("X-Description", envelope::header_text(&error.text)));
    HttpAnswer {
        status: error.code,
        headers,
        body: envelope::wrap(key, &error.body()),
        delivery: Delivery::Delivered,
    }
}

fn json_headers(date: String) -> Vec<(&'static str, String)> {
    vec![
        ("Date", date),
        ("Content-Type", "application/json; charset=UTF-8".to_owned()),
    ]
}

/// What a proxy or the servlet container says.
fn html(date: String, status: u16, reason: &str) -> HttpAnswer {
    HttpAnswer {
        status,
        headers: vec![
            ("Date", date),
            ("Content-Type", "text/html; charset=UTF-8".to_owned()),
        ],
        body: format!(
            "<html><head><title>{status} {reason}</title></head><body><h1>{status} \
             {reason}</h1></body></html>\n"
        ),
        delivery: Delivery::Delivered,
    }
}

fn dropped(date: String, when: DropWhen) -> HttpAnswer {
    HttpAnswer {
        delivery: Delivery::Dropped(when),
        ..html(date, 500, "Dropped")
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("response objects have string keys and no foreign types")
}

#[cfg(test)]
mod tests;
