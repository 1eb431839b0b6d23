//! The simulator over HTTP: `/client/api` as CloudStack serves it, `/control/…` for whoever
//! runs the experiment, a clock, the directory tree of one VM's guest, and a socket for the driver
//! of a real hypervisor.

mod connection;
mod control;
mod driver;
mod keeper;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::control::{Made, Operation};
use super::fault::Fault;
use super::front::{Delivery, Front, HttpAnswer, HttpRequest};
use super::host::{HostDir, HostDisk, HostError, disks_of};
use super::refusal::Refusal;
use super::time::SimTime;
use super::world::{Settings, VmNo, World};

use connection::{Killable, KillableListener};
use driver::Socket;

pub use keeper::{KeepError, load, replace};

/// The most of a form that is read (`server.properties.in`).
const FORM_BYTES_MAX: usize = 1_048_576;

/// How a simulator runs.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// What its world is made from.
    pub settings: Settings,
    /// Whose time it goes by.
    pub clock: ClockMode,
    /// The guest to show as a directory tree.
    pub host: Option<HostConfig>,
    /// The hypervisor for which jobs wait; `None`: none.
    pub hypervisor: Option<HypervisorConfig>,
}

/// How a real hypervisor is driven.
#[derive(Debug, Clone)]
pub struct HypervisorConfig {
    /// Where its driver connects.
    pub socket: PathBuf,
    /// How long a job waits for an answer, in milliseconds of the simulator's clock.
    pub wait_ms: u64,
}

/// Which guest is shown where.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The directory.
    pub dir: PathBuf,
    /// The VM, by name or id.
    pub vm: String,
}

/// Whose time a simulator goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockMode {
    /// The machine's wall clock.
    Real,
    /// It begins at this moment and moves only when told.
    Explicit(SimTime),
}

impl ClockMode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the simulator reads the wall clock"
    )]
    fn real_now() -> SimTime {
        SimTime::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    /// The moment at which a simulator that starts now begins.
    pub fn now(self) -> SimTime {
        match self {
            Self::Real => Self::real_now(),
            Self::Explicit(start) => start,
        }
    }
}

/// Why a simulator did not start or did not do something.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Its socket.
    #[error("the simulator's socket failed")]
    Socket(#[source] std::io::Error),
    /// The socket for a hypervisor's driver.
    #[error("cannot listen for a hypervisor's driver at {}", path.display())]
    Hypervisor {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The directory tree.
    #[error("the guest's directory tree could not be kept")]
    Host(#[source] HostError),
    /// The world refused.
    #[error("the simulated world refused")]
    Refused(#[source] Refusal),
    /// Its state file.
    #[error("the simulator's state could not be kept")]
    Keep(#[source] KeepError),
    /// A state to go on from is of the future.
    #[error(
        "that state is of {0}, later than this machine's clock; start with an explicit clock to \
         go on from it"
    )]
    Future(SimTime),
    /// The clock is not explicit.
    #[error("the clock is the machine's; start with an explicit clock to move it")]
    RealClock,
}

/// Starts a simulator with the standard world.
///
/// # Errors
/// If the socket fails, the self VM is not there, or its tree cannot be written.
pub async fn serve(listener: TcpListener, config: SimConfig) -> Result<Handle, SimError> {
    let world = World::standard(config.settings, config.clock.now());
    serve_world(listener, world, config).await
}

/// Starts a simulator with a world of your own; `config.settings` is not used.
///
/// # Errors
/// As [`serve`].
pub async fn serve_world(
    listener: TcpListener,
    world: World,
    config: SimConfig,
) -> Result<Handle, SimError> {
    serve_front(listener, Front::new(world), config, None).await
}

/// Starts a simulator with a front of your own, say one that was restored, and keeps its state
/// in a file, if one is given. `config.settings` is not used, nor the start of an explicit clock.
///
/// # Errors
/// As [`serve`]; and if the front is of a time that the clock has not reached.
pub async fn serve_front(
    listener: TcpListener,
    mut front: Front,
    config: SimConfig,
    state: Option<PathBuf>,
) -> Result<Handle, SimError> {
    check_time(config.clock, &front)?;
    let hypervisor_wait_ms = config.hypervisor.as_ref().map(|it| it.wait_ms);
    front.world_mut().await_hypervisor(hypervisor_wait_ms);
    let world = front.world();
    let address = listener.local_addr().map_err(SimError::Socket)?;
    let hosts = config.host.map(|host| Projection::new(world, host));
    let hosts = hosts.into_iter().collect::<Result<_, _>>()?;
    let socket = match &config.hypervisor {
        Some(hypervisor) => Some(Socket::bind(&hypervisor.socket)?),
        None => None,
    };
    let (time, _) = watch::channel(front.now());
    let shared = Arc::new(Shared {
        clock: config.clock,
        inner: Mutex::new(Inner {
            front,
            hosts,
            generation: 0,
        }),
        hypervisor_wait_ms,
        told: Notify::new(),
        time,
        changed: Notify::new(),
        dirty: Notify::new(),
    });
    shared.with(|_| ())?;
    let stop = CancellationToken::new();
    let ticker = tokio::spawn(tick(Arc::clone(&shared), stop.clone()));
    let keeper = state
        .clone()
        .map(|path| tokio::spawn(keeper::keep(Arc::clone(&shared), path, stop.clone())));
    let driver =
        socket.map(|socket| tokio::spawn(driver::serve(Arc::clone(&shared), socket, stop.clone())));
    let service = router(Arc::clone(&shared)).into_make_service_with_connect_info::<Killable>();
    let stopped = stop.clone();
    let server = tokio::spawn(async move {
        axum::serve(KillableListener::new(listener), service)
            .with_graceful_shutdown(stopped.cancelled_owned())
            .await
    });
    Ok(Handle {
        address,
        shared,
        stop,
        ticker,
        server,
        driver,
        keeper,
        state,
    })
}

/// Time never goes back: a front of the future would stand still until its time has come.
fn check_time(clock: ClockMode, front: &Front) -> Result<(), SimError> {
    let late = clock == ClockMode::Real && front.now() > ClockMode::real_now();
    if late {
        return Err(SimError::Future(front.now()));
    }
    Ok(())
}

/// A running simulator. Dropping it stops it.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    ticker: JoinHandle<()>,
    server: JoinHandle<std::io::Result<()>>,
    driver: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    state: Option<PathBuf>,
}

impl Handle {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the API.
    pub fn endpoint(&self) -> String {
        format!("http://{}/client/api", self.address)
    }

    /// Looks at, or changes, the world and its front, at the present moment.
    ///
    /// # Errors
    /// If the guest's tree cannot be kept.
    pub fn with<T>(&self, work: impl FnOnce(&mut Front) -> T) -> Result<T, SimError> {
        self.shared.with(work)
    }

    /// Does something behind the API's back.
    ///
    /// # Errors
    /// If the world refuses it or the guest's tree cannot be kept.
    pub fn operate(&self, operation: &Operation) -> Result<Made, SimError> {
        self.shared.operate(operation)
    }

    /// Shows one more guest as a directory tree.
    ///
    /// # Errors
    /// If there is no such VM, or the tree cannot be kept.
    pub fn show(&self, host: HostConfig) -> Result<(), SimError> {
        let mut inner = self.shared.lock();
        let shown = Projection::new(inner.front.world(), host)?;
        inner.hosts.push(shown);
        drop(inner);
        self.with(|_| ())
    }

    /// Lets something go wrong.
    ///
    /// # Errors
    /// If the guest's tree cannot be kept.
    pub fn inject(&self, fault: Fault) -> Result<(), SimError> {
        self.with(|front| front.inject(fault))
    }

    /// Moves an explicit clock and returns the new time.
    ///
    /// # Errors
    /// If the clock is the machine's, or the guest's tree cannot be kept.
    pub fn advance(&self, by: Duration) -> Result<SimTime, SimError> {
        self.shared
            .advance_explicit(u64::try_from(by.as_millis()).unwrap_or(u64::MAX))
    }

    /// Stops, after the requests under way, and writes the state file for the last time.
    ///
    /// # Errors
    /// If serving had failed, or the state cannot be written.
    pub async fn shutdown(mut self) -> Result<(), SimError> {
        self.stop.cancel();
        // Requests that wait for an explicit clock end with the tasks.
        let grace = Duration::from_secs(1);
        let served = tokio::time::timeout(grace, &mut self.server).await;
        self.server.abort();
        self.ticker.abort();
        if let Some(driver) = self.driver.take() {
            // It ends by itself, and takes its socket away.
            let _ = driver.await;
        }
        if let Some(keeper) = self.keeper.take() {
            // It ends by itself, after what it is writing.
            let _ = keeper.await;
        }
        if let Some(path) = &self.state {
            let text = super::state::save(&self.shared.lock().front);
            replace(path, &text).map_err(SimError::Keep)?;
        }
        match served {
            Ok(Ok(Err(error))) => Err(SimError::Socket(error)),
            Ok(Ok(Ok(())) | Err(_)) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.abort();
        self.ticker.abort();
        for task in self.driver.iter().chain(&self.keeper) {
            task.abort();
        }
    }
}

#[derive(Debug)]
struct Shared {
    clock: ClockMode,
    inner: Mutex<Inner>,
    /// The world's time, for answers that wait for it.
    time: watch::Sender<SimTime>,
    /// Something may have become due earlier.
    changed: Notify,
    /// Something may have changed that the state file does not know yet.
    dirty: Notify,
    /// Something may have changed that a hypervisor's driver does not know yet.
    told: Notify,
    hypervisor_wait_ms: Option<u64>,
}

#[derive(Debug)]
struct Inner {
    front: Front,
    /// The guests that are shown.
    hosts: Vec<Projection>,
    /// How often another front took the place of this one.
    generation: u64,
}

#[derive(Debug)]
struct Projection {
    vm: VmNo,
    tree: HostDir,
    shown: Option<Vec<HostDisk>>,
}

impl Projection {
    fn new(world: &World, HostConfig { dir, vm }: HostConfig) -> Result<Self, SimError> {
        let vm = world.vm_called(&vm).map_err(SimError::Refused)?;
        let tree = HostDir::create(dir, world.vm(vm).uuid).map_err(SimError::Host)?;
        Ok(Self {
            vm,
            tree,
            shown: None,
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding it is a bug that its own task reports; the rest goes on.
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn now(&self, inner: &Inner) -> SimTime {
        match self.clock {
            ClockMode::Real => ClockMode::real_now(),
            ClockMode::Explicit(_) => inner.front.now(),
        }
    }

    /// Works on the front at the present moment, then shows the guest as it is.
    fn with<T>(&self, work: impl FnOnce(&mut Front) -> T) -> Result<T, SimError> {
        let mut inner = self.lock();
        let now = self.now(&inner);
        self.settle(&mut inner, now)?;
        let result = work(&mut inner.front);
        self.settle(&mut inner, now)?;
        drop(inner);
        self.changed.notify_one();
        Ok(result)
    }

    /// Runs what is due. The tree is a handful of small files: writing it here keeps what the
    /// API says and what the guest shows in step.
    fn settle(&self, inner: &mut Inner, now: SimTime) -> Result<(), SimError> {
        inner.front.advance(now);
        self.dirty.notify_one();
        self.told.notify_one();
        self.time.send_replace(inner.front.now());
        let world = inner.front.world();
        for host in &mut inner.hosts {
            let disks = disks_of(world, host.vm);
            if host.shown.as_ref() != Some(&disks) {
                host.shown = None;
                host.tree.show(&disks).map_err(SimError::Host)?;
                host.shown = Some(disks);
            }
        }
        Ok(())
    }

    /// Goes on from another front.
    fn restore(&self, front: Front) -> Result<(), SimError> {
        check_time(self.clock, &front)?;
        let mut guard = self.lock();
        let inner = &mut *guard;
        for host in &mut inner.hosts {
            // The guest that is shown stays the same.
            let shown = inner.front.world().vm(host.vm).uuid.to_string();
            host.vm = front.world().vm_called(&shown).map_err(SimError::Refused)?;
        }
        inner.front = front;
        inner.generation += 1;
        inner
            .front
            .world_mut()
            .await_hypervisor(self.hypervisor_wait_ms);
        let now = self.now(inner);
        self.settle(inner, now)?;
        drop(guard);
        self.changed.notify_one();
        Ok(())
    }

    fn operate(&self, operation: &Operation) -> Result<Made, SimError> {
        self.with(|front| front.world_mut().operate(operation))?
            .map_err(SimError::Refused)
    }

    fn advance_explicit(&self, millis: u64) -> Result<SimTime, SimError> {
        if self.clock == ClockMode::Real {
            return Err(SimError::RealClock);
        }
        let mut inner = self.lock();
        let until = inner.front.now().plus_millis(millis);
        // Step by step, so that the tree goes through everything that happens on the way.
        while let Some(due) = inner.front.next_due().filter(|due| *due <= until) {
            self.settle(&mut inner, due)?;
        }
        self.settle(&mut inner, until)?;
        Ok(until)
    }

    /// Waits until the world's clock shows `until`.
    async fn reach(&self, until: SimTime) {
        match self.clock {
            ClockMode::Real => {
                let millis = until.millis_since(ClockMode::real_now());
                pause(Duration::from_millis(millis)).await;
            }
            ClockMode::Explicit(_) => {
                let mut time = self.time.subscribe();
                // The sender lives in self, so this cannot fail.
                let _ = time.wait_for(|now| *now >= until).await;
            }
        }
    }
}

/// Lets time pass.
async fn pause(span: Duration) {
    let _ = tokio::time::timeout(span, std::future::pending::<()>()).await;
}

/// Runs what is due by the machine's clock, waiting for the next due moment or a change. Safe
/// to end at any await: every step is done under the lock.
async fn tick(shared: Arc<Shared>, stop: CancellationToken) {
    if shared.clock != ClockMode::Real {
        return;
    }
    loop {
        let due = shared.lock().front.next_due();
        let wait = async {
            match due {
                Some(due) => {
                    let millis = due.millis_since(ClockMode::real_now());
                    let span = Duration::from_millis(millis);
                    let _ = tokio::time::timeout(span, shared.changed.notified()).await;
                }
                None => shared.changed.notified().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = wait => {}
        }
        let mut inner = shared.lock();
        if let Err(error) = shared.settle(&mut inner, ClockMode::real_now()) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the simulated guest could not be shown"
            );
            return;
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/client/api", any(api))
        .nest("/control", control::router())
        .with_state(shared)
}

async fn api(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Killable>,
    request: Request,
) -> Response<Body> {
    let method = request.method().as_str().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let Ok(body) = axum::body::to_bytes(request.into_body(), FORM_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let request = HttpRequest {
        method,
        query,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let handled = shared.with(|front| {
        let now = front.now();
        (front.handle(&request, now), now)
    });
    match handled {
        Err(error) => control::failure(&error),
        Ok((answer, now)) => {
            match answer.delivery {
                Delivery::Delivered => {}
                Delivery::Delayed(millis) => shared.reach(now.plus_millis(millis)).await,
                Delivery::Dropped(_) => connection.kill(),
            }
            http_response(answer)
        }
    }
}

fn http_response(answer: HttpAnswer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(&value),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests;
