//! `volume-daemon delete`: gives up specs that the API owns.

use super::client::{Client, ClientError};
use super::output::{Exit, Io, span};
use super::wait::Target;
use crate::config::Config;
use crate::model::VolumeName;
use crate::model::desired::{Mode, Origin, Reclaim, VolumeSpec};
use crate::plan::{self, Policy};
use crate::reconcile::specs::Done;
use crate::spec;

/// Gives up specs that were put by apply -f; their reclaim policies take over
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What happens to a volume then is what its spec says in reclaimPolicy, after a grace period, and
within the guard. Until then, apply -f of the same spec takes it back. A spec in a file or a row goes
with its document or its deleted_at; own --to api lets it be deleted here.

Examples:
  volume-daemon delete volume/pgtest2-disk-0
  volume-daemon delete volume/pgtest2-disk-0 volume/pgtest2-disk-1
  volume-daemon get volumes                       how long it is until then

Exit codes: 0 they are given up, 1 the daemon did not answer, or there is no such spec, or it belongs
to a file or a row (the others are given up), 3 usage.")]
pub struct Args {
    /// Which specs
    #[arg(required = true, value_name = "volume/NAME")]
    targets: Vec<Target>,
}

/// Runs the subcommand.
///
/// # Errors
/// If the daemon does not answer, or a spec is not given up.
pub async fn run(args: &Args, config: &Config, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let client = Client::new(&config.api.listen)?;
    let policy = Policy::from(&config.policy);
    let mut exit = Exit::Fine;
    for name in args.targets.iter().map(Target::name) {
        match given_up(&client, name, &policy).await {
            Ok(said) => io.text(&format!("volume/{name}: {said}\n"))?,
            Err(error) => {
                refused(name, error, io)?;
                exit = Exit::Error;
            }
        }
    }
    Ok(exit)
}

/// Says what the daemon refused; fails with anything else, which the next one would meet, too.
pub(super) fn refused(
    name: &VolumeName,
    error: ClientError,
    io: &mut Io<'_>,
) -> Result<(), anyhow::Error> {
    match error {
        ClientError::Status { status, text, .. } if status.is_client_error() => {
            writeln!(io.err, "volume/{name}: {text}")?;
            Ok(())
        }
        error => Err(error.into()),
    }
}

async fn given_up(
    client: &Client,
    name: &VolumeName,
    policy: &Policy,
) -> Result<String, ClientError> {
    match client.delete_spec(name).await?.result {
        Done::Unchanged => return Ok("its spec was gone already".to_owned()),
        Done::Created | Done::Changed | Done::Deleted => {}
    }
    let stored = client.spec(name).await?;
    Ok(match spec::from_manifest(&stored.manifest) {
        Ok(document) => format!("its spec is gone; {}", follows(&document.spec, policy)),
        Err(_) => "its spec is gone".to_owned(),
    })
}

/// What follows for the volume, and when.
fn follows(spec: &VolumeSpec, policy: &Policy) -> String {
    if spec.suspend || spec.mode == Mode::Observe {
        return "nothing is done, since it is suspended or only observed".to_owned();
    }
    let kept = match (spec.deletion_protection, &spec.origin) {
        (true, _) => Some("it has deletionProtection"),
        (false, Origin::Existing { .. }) => Some("it was adopted"),
        (false, Origin::Create { .. }) => None,
    };
    let then = match (spec.reclaim_policy, kept) {
        (Reclaim::Retain, _) => "the volume stays where it is (Retain)".to_owned(),
        (Reclaim::Detach, _) => "the volume is detached (Detach)".to_owned(),
        (Reclaim::Delete, None) => "the volume is detached and deleted (Delete)".to_owned(),
        (Reclaim::Delete, Some(why)) => {
            format!("the volume is detached, and not deleted, since {why} (Delete)")
        }
    };
    format!(
        "in {} its export ends, once no client uses it, and {then}",
        span(plan::grace(spec, policy))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture;

    #[test]
    fn what_follows_is_what_the_spec_says() {
        let policy = Policy::default();
        let mut spec = fixture::spec("a").document.spec;
        spec.origin = Origin::Existing {
            volume: crate::model::desired::NameOrId::Name("a".to_owned()),
            size: None,
        };
        spec.deletion_protection = false;
        for (reclaim, says) in [
            (Reclaim::Retain, "the volume stays where it is (Retain)"),
            (
                Reclaim::Detach,
                "in 10m its export ends, once no client uses it, and the volume is detached",
            ),
            (
                Reclaim::Delete,
                "in 24h its export ends, once no client uses it, and the volume is detached, and not deleted, since it was adopted",
            ),
        ] {
            spec.reclaim_policy = reclaim;
            let said = follows(&spec, &policy);
            assert!(said.contains(says), "{said}");
        }
        spec.suspend = true;
        assert!(follows(&spec, &policy).starts_with("nothing is done"));
    }
}
