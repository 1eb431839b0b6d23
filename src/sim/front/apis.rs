//! `listApis`: what the caller may call, from the table of commands.

use serde::Serialize;

use super::Call;
use super::commands::{COMMANDS, Command, Kind, Shape};
use super::envelope::{Answer, ApiError};

pub(super) fn list(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let wanted = call.args.text("name");
    // Only what the caller's role allows (`ApiDiscoveryServiceImpl.java`).
    let forbidden = &call.world.account(call.caller).forbidden;
    let root = call.world.is_root(call.caller);
    let found: Vec<ApiView> = COMMANDS
        .iter()
        .filter(|command| root || !command.is_for_root())
        .filter(|command| forbidden.iter().all(|name| name != command.name))
        .filter(|command| wanted.is_none_or(|name| command.name == name))
        .map(ApiView::of)
        .collect();
    if found.is_empty() {
        // `ListApisCmd.java`.
        return Err(ApiError::plain(
            530,
            "Api Discovery plugin was unable to find an api by that name or process any apis",
        ));
    }
    Ok(Answer::list("api", found.len(), &found))
}

/// A command as `listApis` shows it (`ApiDiscoveryResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
struct ApiView {
    name: &'static str,
    description: &'static str,
    isasync: bool,
    related: &'static str,
    params: Vec<ParamView>,
    response: [(); 0],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
struct ParamView {
    name: &'static str,
    description: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    length: u16,
    required: bool,
}

impl ApiView {
    fn of(command: &Command) -> Self {
        Self {
            name: command.name,
            description: command.description,
            isasync: command.shape == Shape::Async,
            related: "",
            params: command
                .all_params()
                .filter(|param| param.kind != Kind::NotSimulated)
                .map(|param| ParamView {
                    name: param.name,
                    description: "",
                    kind: match param.kind {
                        Kind::Text => "string",
                        Kind::Long => "long",
                        Kind::Int => "integer",
                        Kind::Bool => "boolean",
                        Kind::Zone
                        | Kind::Offering
                        | Kind::ServiceOffering
                        | Kind::Template
                        | Kind::Host
                        | Kind::Vm
                        | Kind::Volume
                        | Kind::Snapshot
                        | Kind::VmSnapshot
                        | Kind::Job
                        | Kind::Domain
                        | Kind::Project => "uuid",
                        Kind::Vms
                        | Kind::Volumes
                        | Kind::Snapshots
                        | Kind::VmSnapshots
                        | Kind::Texts => "list",
                        Kind::Map | Kind::NotSimulated => "map",
                    },
                    length: 255,
                    required: param.required,
                })
                .collect(),
            response: [],
        }
    }
}
