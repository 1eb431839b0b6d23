//! Logs: one line for each decision that changed something, readable by people and machines.

use std::error::Error;
use std::fmt::Write as _;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Deserialize,
    clap::ValueEnum,
    serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What lets another filter take the place of the one in force.
pub struct Logs(Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>);

impl Logs {
    /// Logs what `filter` lets through from now on.
    ///
    /// # Errors
    /// If the filter cannot be read; the old one stays.
    pub fn set_filter(&self, filter: &str) -> anyhow::Result<()> {
        (self.0)(parse(filter)?)
    }
}

/// Starts logging to standard error. `filter` is a `tracing` filter such as `info`.
///
/// # Errors
/// If the filter cannot be read, or logging was started before.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<Logs> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parse(filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let (started, logs) = match format {
        LogFormat::Text => {
            let builder = builder.with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |filter| Ok(handle.reload(filter)?);
            (builder.try_init(), Logs(Box::new(set)))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |filter| Ok(handle.reload(filter)?);
            (builder.try_init(), Logs(Box::new(set)))
        }
    };
    started.map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))?;
    Ok(logs)
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("log filter {filter:?}: {error}"))
}

/// An error and everything that caused it, in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("inner"));
        assert_eq!(chain(&error), "outer: inner");
    }
}
