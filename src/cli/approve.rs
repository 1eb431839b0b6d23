//! `volume-daemon approve`: shows what the guard holds back, and lets exactly that pass.

use std::fmt::Write as _;
use std::time::Duration;

use super::client::{Client, ClientError};
use super::output::{DIM, Exit, Failure, HEAD, Io, PENDING, count, printable};
use super::wait::timeout;
use crate::api::approve::ApproveRequest;
use crate::config::{Config, Span};
use crate::reconcile::report::FrozenStatus;

/// Shows what the guard holds back, or lets exactly that pass
#[derive(Debug, clap::Args)]
#[command(after_help = "\
When many volumes would be detached at once because their specs went away or changed, or many seem
to be gone, the guard holds those steps back. Where they are meant, a person approves them by the
digest that stands for exactly these steps: if others are held back by then, it is refused.
What is approved begins soon, or not at all; each approval is kept in the store, and in the log.

Examples:
  volume-daemon approve                        what is held back, why, and its digest
  volume-daemon approve 3f9c2a7d1e04 --reason cleanup

Exit codes: 0 it is approved, or nothing is held back, 2 something is, 1 the daemon did not answer,
or something else is held back now, 3 usage.")]
pub struct Args {
    /// What stands for the steps to let pass
    digest: Option<String>,
    /// How long they may take to begin, like 5m; an hour at most
    #[arg(long = "for", value_name = "TIME", value_parser = timeout, default_value = "10m",
        requires = "digest")]
    span: Duration,
    /// Why, for whoever asks later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        requires = "digest"
    )]
    reason: String,
}

/// Runs the subcommand.
///
/// # Errors
/// If the daemon does not answer, or what is held back is not what the digest stands for.
pub async fn run(args: &Args, config: &Config, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let client = Client::new(&config.api.listen)?;
    let Some(digest) = &args.digest else {
        let report = printable(&client.report().await?)?;
        let frozen = report.frozen;
        io.text(
            &frozen
                .as_ref()
                .map_or_else(|| "nothing is held back\n".to_owned(), held_back),
        )?;
        return Ok(if frozen.is_some() {
            Exit::Differences
        } else {
            Exit::Fine
        });
    };
    let request = ApproveRequest {
        digest: digest.clone(),
        span: Span(args.span),
        reason: args.reason.clone(),
    };
    let answer = client.approve(&request).await.map_err(refused)?;
    let answer = printable(&answer)?;
    let mut text = steps(&answer.steps);
    let many = count(answer.steps.steps.len(), "step");
    let _ = writeln!(text, "{many} may begin until {}", answer.until);
    io.text(&text)?;
    Ok(Exit::Fine)
}

/// What the guard holds back, for people.
fn held_back(frozen: &FrozenStatus) -> String {
    let mut text = format!("{PENDING}held back:{PENDING:#} {}\n", frozen.why);
    if frozen.steps.is_empty() {
        text.push_str("no step is due that this holds back\n");
        return text;
    }
    text.push_str(&steps(frozen));
    let _ = writeln!(
        text,
        "\n{DIM}to let exactly this pass:{DIM:#}\n  volume-daemon approve {}",
        frozen.digest
    );
    text
}

fn steps(frozen: &FrozenStatus) -> String {
    let mut text = String::new();
    for step in &frozen.steps {
        let _ = writeln!(text, "  {HEAD}{}{HEAD:#}: {}", step.volume, step.text);
    }
    text
}

fn refused(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Status { status, text, .. } if status.is_client_error() => Failure {
            message: text,
            hint: Some("volume-daemon approve shows what is held back now".to_owned()),
            exit: Exit::Error,
        }
        .into(),
        error => error.into(),
    }
}
