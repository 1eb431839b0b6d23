//! Hands that reach a CloudStack and an NBD server made of answers, for tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sqlx::{Connection, SqliteConnection};

use super::Hands;
use crate::clock::{Clock, ManualClock};
use crate::cloudstack::{
    Client, Credentials, Request, Response, Scope, Secret, Transport, TransportError,
};
use crate::host::{Host, OpenDevice};
use crate::model::observed::{Disks, NbdView};
use crate::model::{
    AcceptedDocument, BootTime, ExportName, NodeName, Now, Owner, Reading, SourceChange, Timestamp,
    WithdrawMode,
};
use crate::nbd::{ExportServer, NbdError, Withdrawn};
use crate::store::{Location, Store};

pub const SECRET: &str = "a-secret-that-nobody-may-read";
pub const NOW: Now = Now {
    wall: Timestamp::from_millis(1_800_000_000_000),
    boot: BootTime::from_millis(1_000_000),
};

type Answer = Result<Response, TransportError>;

/// Gives every call the same answer, and remembers the commands.
#[derive(Clone)]
pub struct FakeCloud {
    answer: Answer,
    /// A store that another daemon takes over during the call.
    taken_over: Option<String>,
    sent: Arc<Mutex<Vec<&'static str>>>,
}

impl FakeCloud {
    pub fn new(answer: Answer) -> Self {
        Self {
            answer,
            taken_over: None,
            sent: Arc::default(),
        }
    }

    pub fn answering(status: u16, body: &serde_json::Value) -> Self {
        Self::new(Ok(Response {
            status,
            date: None,
            body: body.to_string().into_bytes(),
        }))
    }

    /// During the call, another daemon takes over the store at `url`.
    pub fn taking_over(self, url: &str) -> Self {
        Self {
            taken_over: Some(url.to_owned()),
            ..self
        }
    }

    pub fn sent(&self) -> Vec<&'static str> {
        self.sent.lock().expect("not poisoned").clone()
    }
}

impl Transport for FakeCloud {
    async fn send(&self, request: Request) -> Answer {
        self.sent
            .lock()
            .expect("not poisoned")
            .push(request.command);
        if let Some(url) = &self.taken_over {
            let mut other = SqliteConnection::connect(url).await.expect("a database");
            sqlx::query("UPDATE vd_lease SET epoch = epoch + 1")
                .execute(&mut other)
                .await
                .expect("a store");
        }
        self.answer.clone()
    }
}

/// Serves nothing, and says the same of every export that is to end.
#[derive(Clone)]
pub struct FakeNbd {
    withdrawn: Withdrawn,
    modes: Arc<Mutex<Vec<WithdrawMode>>>,
}

impl FakeNbd {
    pub fn new(withdrawn: Withdrawn) -> Self {
        Self {
            withdrawn,
            modes: Arc::default(),
        }
    }

    /// How exports were to end.
    pub fn modes(&self) -> Vec<WithdrawMode> {
        self.modes.lock().expect("not poisoned").clone()
    }
}

impl ExportServer for FakeNbd {
    async fn observe(&self, _: &Reading<Disks>, begun: BootTime) -> NbdView {
        NbdView::read(Reading::Present(BTreeMap::new()), begun)
    }

    async fn export(&self, _: &ExportName, _: bool, _: &OpenDevice) -> Result<(), NbdError> {
        Ok(())
    }

    async fn withdraw(
        &self,
        _: &ExportName,
        _: &NodeName,
        mode: WithdrawMode,
    ) -> Result<Withdrawn, NbdError> {
        self.modes.lock().expect("not poisoned").push(mode);
        Ok(self.withdrawn)
    }
}

/// Hands with an empty store in memory, on a machine below `root`.
pub async fn hands(cloud: FakeCloud, nbd: FakeNbd, root: &Path) -> Hands<FakeCloud, FakeNbd> {
    hands_on("sqlite::memory:", cloud, nbd, root).await
}

/// Hands with the store at `url`, on a machine below `root`.
pub async fn hands_on(
    url: &str,
    cloud: FakeCloud,
    nbd: FakeNbd,
    root: &Path,
) -> Hands<FakeCloud, FakeNbd> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
    let credentials = Credentials {
        api_key: Secret::new("a-key"),
        secret: Secret::new(SECRET),
    };
    let scope = Scope {
        listall: true,
        project: None,
    };
    let client = Client::new(cloud, credentials, scope, Arc::clone(&clock));
    let location = Location::local(url).expect("a location");
    let store = Store::open(&location, Arc::clone(&clock)).await;
    let store = store.expect("a store");
    Hands::new(client, Host::new(root, None), nbd, store, clock)
}

/// Accepts a spec called `name`.
pub async fn accept(store: &Store, name: &str) {
    let manifest = serde_json::json!({
        "apiVersion": "volume-daemon.io/v1alpha1",
        "kind": "Volume",
        "metadata": { "name": name },
        "spec": { "size": "4GiB", "zone": "zone-1", "diskOffering": "custom" },
    });
    let change = SourceChange {
        accepted: vec![AcceptedDocument {
            document: crate::spec::from_manifest(&manifest).expect("a valid spec"),
            manifest,
            owner: Owner::File("a.yaml".to_owned()),
        }],
        ..SourceChange::default()
    };
    store.accept(&change, NOW.wall).await.expect("accepted");
}
