//! Envelopes and errors (`ApiResponseSerializer.java`, `ApiServer.java`): one key, HTTP status
//! equal to `errorcode`.

use serde::Serialize;
use uuid::Uuid;

use crate::sim::refusal::Refusal;

use super::to_json;

/// The inside of a successful answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// JSON of what goes under the response key.
    pub body: String,
    /// How long the command takes before it answers, in milliseconds.
    pub after_ms: u64,
}

impl Answer {
    pub(super) fn of(value: &impl Serialize) -> Self {
        Self {
            body: to_json(value),
            after_ms: 0,
        }
    }

    /// `{"success":true}` after so many milliseconds.
    pub(super) fn success(after_ms: u64) -> Self {
        Self {
            body: r#"{"success":true}"#.to_owned(),
            after_ms,
        }
    }

    pub(super) fn job(job: Uuid) -> Self {
        Self {
            body: format!(r#"{{"jobid":"{job}"}}"#),
            after_ms: 0,
        }
    }

    pub(super) fn created(id: Uuid, job: Uuid) -> Self {
        Self {
            body: format!(r#"{{"id":"{id}","jobid":"{job}"}}"#),
            after_ms: 0,
        }
    }

    pub(super) fn object(key: &str, value: &impl Serialize) -> Self {
        Self {
            body: wrap(key, &to_json(value)),
            after_ms: 0,
        }
    }

    /// A page of a list: `{}` if nothing matches at all, `count` alone past the last page.
    pub(super) fn list<Row: Serialize>(key: &str, total: usize, page: &[Row]) -> Self {
        let body = if total == 0 {
            "{}".to_owned()
        } else if page.is_empty() {
            format!(r#"{{"count":{total}}}"#)
        } else {
            format!(r#"{{"count":{total},"{key}":{}}}"#, to_json(&page))
        };
        Self { body, after_ms: 0 }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    /// `errorcode` and HTTP status.
    pub code: u16,
    /// `cserrorcode`; plain 401s have none.
    pub cs_code: Option<i32>,
    /// `errortext`.
    pub text: String,
    /// The response key, where it is not that of the command.
    pub key: Option<&'static str>,
}

impl ApiError {
    /// A plain `ServerApiException`: `cserrorcode` 9999.
    pub(super) fn plain(code: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            cs_code: Some(9999),
            text: text.into(),
            key: None,
        }
    }

    pub(super) fn unauthorized() -> Self {
        Self {
            code: 401,
            cs_code: None,
            text: "unable to verify user credentials and/or request signature".to_owned(),
            key: None,
        }
    }

    pub(super) fn unauthorized_under(key: &'static str) -> Self {
        Self {
            key: Some(key),
            ..Self::unauthorized()
        }
    }

    /// A role that does not allow the command (`DynamicRoleBasedAPIAccessChecker.java`).
    pub(super) fn forbidden(command: &str) -> Self {
        Self::plain(
            401,
            format!("The API [{command}] does not exist or is not available for the account."),
        )
    }

    /// `ApiServlet.java`.
    pub(super) fn to_be_posted(command: &str) -> Self {
        Self::plain(
            400,
            format!("State changing command {command} needs to be sent using POST request"),
        )
    }

    /// What anybody but a root administrator is told of the server's own troubles
    /// (`ApiServer.handleRequest`).
    pub(super) fn masked(self) -> Self {
        if !matches!(self.code, 530 | 533 | 534) {
            return self;
        }
        Self {
            text: "Internal error executing command, please contact your system administrator"
                .to_owned(),
            ..self
        }
    }

    /// `ApiRateLimitServiceImpl.java`.
    pub(super) fn throttled(millis: u64) -> Self {
        Self::plain(
            429,
            format!(
                "The given user has reached his/her account api limit, please retry after \
                 [{millis}] ms."
            ),
        )
    }

    /// `ApiServer.queueCommand` while the management server goes into maintenance.
    pub(super) fn unavailable() -> Self {
        Self::plain(
            503,
            "Maintenance or Shutdown has been initiated on this management server. Can not \
             accept new jobs",
        )
    }

    /// CloudStack would answer in XML, its default; the simulator says so instead.
    pub(super) fn xml_not_simulated() -> Self {
        Self {
            key: Some("errorresponse"),
            ..Self::plain(
                400,
                "Only response=json is simulated; without it CloudStack answers in XML",
            )
        }
    }

    /// Something real that the simulator does not have.
    pub(super) fn not_simulated(command: &str, parameter: &str) -> Self {
        Self::plain(
            432,
            format!("The simulator does not know parameter {parameter} of {command}"),
        )
    }

    pub(super) fn body(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(rename = "uuidList")]
            uuid_list: [(); 0],
            errorcode: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            cserrorcode: Option<i32>,
            errortext: &'a str,
        }
        to_json(&Body {
            uuid_list: [],
            errorcode: self.code,
            cserrorcode: self.cs_code,
            errortext: &self.text,
        })
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (code, cs_code) = refusal.codes();
        Self {
            code,
            cs_code: Some(cs_code),
            text: refusal.text,
            key: None,
        }
    }
}

/// The response key of a command (`BaseCmd.java`).
pub(super) fn response_key(command: &str) -> String {
    format!("{}response", command.to_lowercase())
}

/// Puts JSON under its one key.
pub(super) fn wrap(key: &str, body: &str) -> String {
    format!("{{{}:{body}}}", to_json(&key))
}

/// Text as it can stand in a header.
pub(super) fn header_text(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .collect()
}
