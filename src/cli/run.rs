//! `volume-daemon run`: the daemon.
//!
//! Puts the parts together, feeds the loop with what happens outside, and stops on SIGTERM or
//! Ctrl-C. Exports stay as they are when it stops: the NBD server is a process of its own.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reload::Settings;
use crate::act::Hands;
use crate::api::{self, Listener};
use crate::clock::{self, Clock, SystemClock};
use crate::cloudstack::{Client, Credentials, HttpConfig, HttpTransport, Scope, Secret};
use crate::config::{Address, Config};
use crate::host::Host;
use crate::model::memory::Account;
use crate::model::{AccountMark, InstanceId, Reading};
use crate::nbd::{NbdAddress, Qsd, QsdConfig};
use crate::plan::{Desired, Policy, SourceHealth};
use crate::reconcile::blame::explain_drift;
use crate::reconcile::run::{Loop, Question};
use crate::reconcile::specs::{Ask, SpecsTask};
use crate::reconcile::told::keep_told;
use crate::reconcile::{Core, Event, FilesNews, Pace};
use crate::store::{HOLD, LEASE, Loaded, RENEW, Store};
use crate::telemetry::chain;

/// Keeps volumes as declared, until it is told to stop
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon run                                   with /etc/volume-daemon/config.toml
  volume-daemon run --config my.toml --set pace.resync=30s
  curl http://127.0.0.1:8090/readyz                   from elsewhere: is it ready?

It needs CloudStack (cloudstack.url, .api_key_file, .secret_key_file) and a qemu-storage-daemon
(nbd.qmp, nbd.listen). Stop it with SIGTERM or Ctrl-C; exports stay. SIGHUP makes it read its settings
again: policy.*, pace.* and log.filter take effect at once, the rest at the next start.

Exit codes: 0 it was told to stop, 1 it could not begin or go on, 3 the configuration is not valid.")]
pub struct Args {}

/// Events and questions that may wait for the loop.
const WAITING: usize = 64;

/// How long clients of the API may hold up the end: one that never finishes its request would
/// for ever.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// How long making a connection to CloudStack may take. A call that may just be sent when our
/// lease on the store is about to end has arrived before another daemon can take it.
const CONNECT: Duration = Duration::from_secs(4);
const _: () = assert!(HOLD.as_secs() + CONNECT.as_secs() < LEASE.as_secs());

/// Runs until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub(super) async fn run(_: &Args, settings: Settings) -> anyhow::Result<ExitCode> {
    let config = settings.current();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Store::open(&config.store.location()?, Arc::clone(&clock)).await?;
    let loaded = store.load().await?;
    for row in &loaded.skipped {
        tracing::error!(
            table = row.table,
            key = row.key,
            reason = row.reason,
            "a row of the store cannot be understood; it is left alone"
        );
    }
    let host = Host::new(&config.host.root, config.host.vm_id);
    own_this_vm(&store, &host, clock.as_ref()).await?;
    let listener = Listener::bind(&config.api.listen)
        .await
        .with_context(|| format!("cannot listen at {}", config.api.listen))?;

    let stop = stop_on_signal()?;
    let hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let hands = Arc::new(Hands::new(
        cloud(config, Arc::clone(&clock))?,
        host,
        nbd(config),
        store,
        Arc::clone(&clock),
    ));
    let (events, to_loop) = mpsc::channel(WAITING);
    let (questions, asked) = mpsc::channel(WAITING);
    let (to_specs, for_specs) = mpsc::channel(WAITING);
    let tasks = TaskTracker::new();
    let Loaded {
        mut memory,
        desired,
        files,
        account,
        episodes,
        ..
    } = loaded;
    let present = account_mark(config, memory.instance)?;
    if account.as_ref() != Some(&present) {
        memory.account = Account::Unproven(present);
    }
    let mut core = Core::new(
        memory,
        Policy::from(&config.policy),
        Pace::from(&config.pace),
        fastrand::u64(..),
    );
    core.restore(episodes);
    // What was accepted before is in force from the first moment; that it is still written
    // anywhere is known when the directory has been read.
    let volumes = desired
        .iter()
        .map(|want| (want.name().clone(), want.clone()));
    let known = Desired::new(volumes.collect(), SourceHealth::Unread, &files);
    core.handle(Event::Desired(known), clock.now());
    let judged = FilesNews {
        files: files.clone(),
        ..FilesNews::default()
    };
    core.handle(Event::Files(judged), clock.now());
    let files: BTreeMap<_, _> = files
        .into_iter()
        .map(|file| (file.path.clone(), file))
        .collect();
    let specs = SpecsTask::new(&config.specs.dir, desired, files);
    tasks.spawn(specs.run(Arc::clone(&hands), events.clone(), for_specs, stop.clone()));
    if hands.store.is_leased() {
        tasks.spawn(keep_lease(Arc::clone(&hands), events.clone(), stop.clone()));
    }
    tasks.spawn(stop_when_replaced(Arc::clone(&hands), stop.clone()));
    tasks.spawn(watch_host(Arc::clone(&hands), events.clone(), stop.clone()));
    tasks.spawn(watch_nbd(Arc::clone(&hands), events.clone(), stop.clone()));
    tasks.spawn(serve_api(
        listener,
        questions.clone(),
        to_specs,
        Arc::clone(&hands),
        stop.clone(),
    ));
    tracing::info!(
        api = %config.api.listen,
        specs = %config.specs.dir.display(),
        instance.id = %hands.store.instance(),
        "started"
    );
    let port = match &config.nbd.listen {
        Address::Unix(_) => 0,
        Address::Tcp(address) => address.port(),
    };
    tasks.spawn(reload_on_signal(hang_up, settings, events, stop.clone()));
    let running = Loop::new(core, Arc::clone(&hands), to_loop, asked);
    tasks.spawn(explain_drift(
        Arc::clone(&hands),
        running.drifted(),
        stop.clone(),
    ));
    tasks.spawn(keep_told(
        Arc::clone(&hands),
        questions,
        running.changed(),
        port,
        stop.clone(),
    ));
    tasks.close();
    running.run(stop.clone()).await;
    stop.cancel();
    tasks.wait().await;
    let is_replaced = hands.store.is_replaced();
    if let Some(hands) = Arc::into_inner(hands) {
        hands.store.close().await;
    }
    if is_replaced {
        bail!(
            "another daemon has taken over the store, so this one ends; exports stay as they are. \
             Let only one of the two run"
        );
    }
    tracing::info!("stopped; exports stay as they are");
    Ok(ExitCode::SUCCESS)
}

/// A daemon whose store another one has taken over ends: what it knows is no longer all there
/// is, and two must not change the same exports.
async fn stop_when_replaced<T, E>(hands: Arc<Hands<T, E>>, stop: CancellationToken) {
    tokio::select! {
        () = hands.store.replaced() => stop.cancel(),
        () = stop.cancelled() => {}
    }
}

/// The store belongs to one VM (I16): a clone of the appliance must not act on the
/// original's volumes.
async fn own_this_vm(store: &Store, host: &Host, clock: &dyn Clock) -> anyhow::Result<()> {
    let Reading::Present(vm) = host.scan(clock.now().boot).self_vm else {
        return Ok(());
    };
    if let Err(owner) = store.set_vm(vm).await? {
        bail!(
            "this store belongs to VM {owner}, and this is VM {vm}: a copy of the appliance must \
             not act for the original. If that VM is gone for good: volume-daemon take-over. \
             Otherwise start with an empty store (store.url), or set host.vm_id if this VM was read \
             wrongly"
        );
    }
    Ok(())
}

/// By what the account of the settings is known again.
fn account_mark(config: &Config, instance: InstanceId) -> anyhow::Result<AccountMark> {
    let settings = &config.cloudstack;
    let project = settings.project.map(|project| project.to_string());
    Ok(credentials(config)?.mark(instance, settings.endpoint()?, project.as_deref()))
}

fn credentials(config: &Config) -> anyhow::Result<Credentials> {
    let (key, secret) = config.cloudstack.keys()?;
    Ok(Credentials {
        api_key: Secret::new(key.reveal()),
        secret: Secret::new(secret.reveal()),
    })
}

/// The CloudStack client that the settings describe.
///
/// # Errors
/// If something is not set, or cannot be used.
pub fn cloud(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Client<HttpTransport>> {
    let settings = &config.cloudstack;
    let credentials = credentials(config)?;
    let transport = HttpTransport::new(&HttpConfig {
        url: settings.endpoint()?.to_owned(),
        ca_file: settings.ca_file.clone(),
        connect_timeout: settings.timeout.0.min(CONNECT),
        timeout: settings.timeout.0,
        concurrency: settings.concurrency,
        rate_per_second: NonZeroU32::new(settings.rate).unwrap_or(NonZeroU32::MIN),
    })?;
    let scope = Scope {
        listall: settings.list_all,
        project: settings.project,
    };
    Ok(Client::new(transport, credentials, scope, clock))
}

/// The NBD server that the settings describe.
pub fn nbd(config: &Config) -> Qsd {
    Qsd::new(QsdConfig {
        qmp: config.nbd.qmp.clone(),
        listen: match &config.nbd.listen {
            Address::Unix(path) => NbdAddress::Unix(path.clone()),
            Address::Tcp(address) => NbdAddress::Tcp(*address),
        },
        timeout: config.nbd.timeout.0,
    })
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stopped.cancel();
    });
    Ok(stop)
}

/// Takes over at SIGHUP what of the settings can change while the daemon runs.
async fn reload_on_signal(
    mut hang_up: Signal,
    mut settings: Settings,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            received = hang_up.recv() => if received.is_none() { return },
            () = stop.cancelled() => return,
        }
        if let Some(limits) = settings.reload()
            && events.send(Event::Limits(Box::new(limits))).await.is_err()
        {
            return;
        }
    }
}

/// Tells the loop when disks come and go. Where that cannot be watched, the slow rescan has to do.
async fn watch_host<T, E>(
    hands: Arc<Hands<T, E>>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    let watching = async {
        let mut watch = match hands.host.watch() {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "disks are not watched, only looked at now and then"
                );
                return;
            }
        };
        loop {
            if let Err(error) = watch.changed().await {
                tracing::warn!(
                    error = chain(&error),
                    "disks are no longer watched, only looked at now and then"
                );
                return;
            }
            if events.send(Event::HostChanged).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = watching => {}
        () = stop.cancelled() => {}
    }
}

/// Tells the loop when the NBD server goes away.
async fn watch_nbd<T>(
    hands: Arc<Hands<T, Qsd>>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    let watching = async {
        loop {
            hands.nbd.gone().await;
            tracing::warn!("the NBD server went away");
            if events.send(Event::NbdChanged).await.is_err() {
                return;
            }
            // A server that comes and goes in a hot loop must not drag the daemon along.
            clock::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = stop.cancelled() => {}
    }
}

/// Shows other daemons that this one is alive, however little there is to write.
async fn keep_lease<T, E>(
    hands: Arc<Hands<T, E>>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    let renewing = async {
        let mut was_kept = true;
        loop {
            clock::sleep(RENEW).await;
            let renewed = hands.store.renew().await;
            let (is_kept, renewed) = (renewed.is_ok(), renewed.map_err(|error| chain(&error)));
            match (&renewed, was_kept) {
                (Ok(()), true) => continue,
                (Ok(()), false) => tracing::info!("the lease on the store is renewed again"),
                (Err(error), true) => {
                    tracing::warn!(error, "the lease on the store is not renewed");
                }
                (Err(_), false) => {}
            }
            was_kept = is_kept;
            if events.send(Event::Lease(renewed)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = renewing => {}
        () = stop.cancelled() => {}
    }
}

async fn serve_api<T, E>(
    listener: Listener,
    questions: mpsc::Sender<Question>,
    specs: mpsc::Sender<Ask>,
    hands: Arc<Hands<T, E>>,
    stop: CancellationToken,
) where
    T: crate::cloudstack::Transport + 'static,
    E: crate::nbd::ExportServer + 'static,
{
    let serving = api::serve(listener, questions, specs, hands, stop.clone());
    let too_long = async {
        stop.cancelled().await;
        clock::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                tracing::error!(error = chain(&error), "the API is no longer served");
            }
        }
        () = too_long => {}
    }
}
