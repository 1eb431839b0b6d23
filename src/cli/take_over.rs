//! `volume-daemon take-over`: gives a store to the VM it is on now.

use std::sync::Arc;

use super::offline;
use super::output::{Exit, Failure, Io};
use crate::clock::Clock;
use crate::config::Config;
use crate::host::Host;
use crate::model::{Reading, VmId};
use crate::store::Store;

/// Gives a store to the VM it is on now, after a move or a restore
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A store belongs to the VM on which it was first used. On another VM, which may be a copy of the
first that still runs, the daemon does not start. If the first VM is gone for good, or its daemon
is, take over. What the first VM still has attached stays there until it is stopped or
detaches it.

Examples:
  volume-daemon take-over                    whose store this is, and on which VM
  volume-daemon take-over --from 0f8a2c1e-5d34-4b7a-9c1d-2e6f7a8b9c0d
  volume-daemon take-over --disown           go on with an older store (reason StoreRolledBack)

With --from the daemon must be stopped.

Exit codes: 0 the store belongs to this VM, 2 it belongs to another one, 1 it cannot be told, 3 it
does not belong to the VM that --from names.")]
pub struct Args {
    /// The VM that the store belongs to until now
    #[arg(long, value_name = "VM")]
    from: Option<VmId>,
    /// Give up the volumes that carry this store's claim although it knows nothing of them: after
    /// an older copy of the store was restored for good. They stay as they are, and belong to nobody
    #[arg(long, conflicts_with = "from")]
    disown: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// If the store is in use or cannot be opened, this VM is not known, or the store belongs to
/// another VM than was said.
pub async fn run(
    args: &Args,
    config: &Config,
    clock: Arc<dyn Clock>,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    if args.disown {
        return disown(config, clock, io).await;
    }
    let host = Host::new(&config.host.root, config.host.vm_id);
    let here = match host.scan(clock.now().boot).self_vm {
        Reading::Present(vm) => vm,
        Reading::Absent => return Err(unknown("it has no SMBIOS id").into()),
        Reading::Unknown(why) => return Err(unknown(&why).into()),
    };
    let Some(from) = args.from else {
        let owner = Store::open_read_only(&config.store.location()?)
            .await?
            .load()
            .await?
            .vm;
        return tell(owner, here, io);
    };
    let store = Store::open(&config.store.location()?, clock).await?;
    let owner = store.load().await?.vm;
    if owner == Some(here) {
        store.close().await;
        return tell(owner, here, io);
    }
    if owner != Some(from) {
        store.close().await;
        return Err(Failure {
            message: match owner {
                Some(owner) => format!("the store belongs to VM {owner}, not to {from}"),
                None => {
                    "the store belongs to no VM yet; the daemon takes it when it starts".to_owned()
                }
            },
            hint: owner.map(|owner| format!("volume-daemon take-over --from {owner}")),
            exit: Exit::Invalid,
        }
        .into());
    }
    store.give_vm(from, here).await?;
    store.close().await;
    tracing::warn!(from = %from, to = %here, "the store was taken over");
    io.text(&format!(
        "the store belonged to VM {from}, and belongs to this VM, {here}, from now on\n"
    ))?;
    Ok(Exit::Fine)
}

/// Gives up what a newer copy of the store knew.
async fn disown(config: &Config, clock: Arc<dyn Clock>, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let unknown = offline::unknown_claims(config, Arc::clone(&clock)).await?;
    if unknown.is_empty() {
        io.text("no volume carries a claim of this store that it does not know\n")?;
        return Ok(Exit::Fine);
    }
    let store = Store::open(&config.store.location()?, clock).await?;
    let claims: Vec<_> = unknown
        .iter()
        .map(|(claim, volume)| (claim.spec, volume.id))
        .collect();
    let stored = store.disown(&claims).await;
    store.close().await;
    stored?;
    for (_, volume) in &unknown {
        tracing::warn!(volume.id = %volume.id, "its claim was given up");
        io.text(&format!(
            "volume {} ({:?}) is left alone from now on\n",
            volume.id, volume.name
        ))?;
    }
    Ok(Exit::Fine)
}

fn tell(owner: Option<VmId>, here: VmId, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    match owner {
        None => {
            io.text(&format!(
                "the store belongs to no VM yet; the daemon takes it for this VM, {here}, when it \
                 starts\n"
            ))?;
            Ok(Exit::Fine)
        }
        Some(owner) if owner == here => {
            io.text(&format!("the store belongs to this VM, {here}\n"))?;
            Ok(Exit::Fine)
        }
        Some(owner) => {
            io.text(&format!(
                "the store belongs to VM {owner}, and this is VM {here}.\n\
                 If VM {owner} still runs the daemon, leave it to that VM: two daemons with one \
                 past would work against each other.\n\
                 If it is gone for good: volume-daemon take-over --from {owner}\n"
            ))?;
            Ok(Exit::Differences)
        }
    }
}

fn unknown(why: &str) -> Failure {
    Failure {
        message: format!("it cannot be told which VM this is: {why}"),
        hint: Some("set host.vm_id to the id that CloudStack shows for it".to_owned()),
        exit: Exit::Error,
    }
}
