//! Thin edges: each looks at one thing, changes nothing, and is given up after a time limit.

mod cloud;
mod machine;
mod nbd;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::facts::{Cloud, Daemon, Look, Settings};
use super::judge::{Facts, Rest};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::host::Host;
use crate::model::{Reading, VmId};
use crate::store::examine::{Holder, examine};

/// Looks, and which of them have not ended.
pub(super) struct Watch {
    limit: Duration,
    under_way: Mutex<BTreeMap<&'static str, usize>>,
}

impl Watch {
    /// Gives each look `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            under_way: Mutex::default(),
        }
    }

    /// What is looked at now, by the names of checks.
    pub(super) fn under_way(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    /// Takes a look for the check `name`.
    async fn look<T>(&self, name: &'static str, look: impl Future<Output = T>) -> Look<T> {
        *self.lock().entry(name).or_default() += 1;
        let done = tokio::time::timeout(self.limit, look).await;
        let mut under_way = self.lock();
        if let Some(left) = under_way.get_mut(name) {
            *left -= 1;
            if *left == 0 {
                under_way.remove(name);
            }
        }
        match done {
            Ok(done) => Look::Done(done),
            Err(_) => Look::Late(self.limit),
        }
    }

    /// The same for what blocks. A stuck one is left behind when it is given up.
    async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Look<T> {
        self.look(name, async {
            match tokio::task::spawn_blocking(look).await {
                Ok(done) => done,
                // Nobody cancels it.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        })
        .await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.under_way
            .lock()
            .expect("no holder of this lock can panic")
    }
}

/// Looks at everything.
pub(super) async fn gather(
    watch: &Watch,
    file: &Path,
    config: Result<Config, ConfigError>,
    clock: &Arc<dyn Clock>,
) -> Facts {
    let (settings, client) = settings::gather(watch, file, config, clock).await;
    let Ok(config) = &settings.config else {
        return Facts {
            settings,
            rest: None,
        };
    };
    let scan = {
        let host = Host::new(&config.host.root, config.host.vm_id);
        let begun = clock.now().boot;
        watch.blocking("identity", move || host.scan(begun)).await
    };
    let vm = match &scan {
        Look::Done(view) => known(&view.self_vm),
        Look::Late(_) | Look::Needs(_) => None,
    };
    let served = async {
        let daemon = daemon(watch, config).await;
        let holder = match &daemon.store {
            Look::Done(Ok(found)) => found.holder.clone(),
            Look::Done(Err(_)) | Look::Late(_) | Look::Needs(_) => Holder::Nobody,
        };
        (nbd::gather(watch, config, holder).await, daemon)
    };
    let endpoint = settings::endpoint(config);
    let (cloud, machine, (nbd, daemon)): (Cloud, _, _) = tokio::join!(
        cloud::gather(watch, endpoint, client, vm, clock),
        machine::gather(watch, config, scan),
        served
    );
    Facts {
        settings,
        rest: Some(Rest {
            cloud,
            machine,
            nbd,
            daemon,
        }),
    }
}

fn known(reading: &Reading<VmId>) -> Option<VmId> {
    match reading {
        Reading::Present(vm) => Some(*vm),
        Reading::Absent | Reading::Unknown(_) => None,
    }
}

async fn daemon(watch: &Watch, config: &Config) -> Daemon {
    let location = config.store.location();
    // On a thread of its own: it asks the file system, which may hang.
    let runtime = tokio::runtime::Handle::current();
    let store = watch.blocking("store", move || {
        runtime.block_on(async { Ok(examine(&location?).await?) })
    });
    let api = watch.look("daemon", nbd::listens(&config.api.listen));
    let (store, api) = tokio::join!(store, api);
    Daemon { store, api }
}

impl Settings {
    /// Whether the keys can be used.
    pub(super) fn has_keys(&self) -> bool {
        use super::facts::{KeyContent, KeySource};
        !self.same_keys
            && self.keys.iter().all(|key| match &key.source {
                KeySource::Inline => true,
                KeySource::File { content, .. } => *content == KeyContent::OneWord,
                KeySource::Missing | KeySource::Twice | KeySource::Unreadable { .. } => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_does_not_end_is_given_up() {
        let watch = Watch::new(Duration::from_secs(10));
        let stuck = watch.look("dns", pending::<()>());
        let other = watch.look("store", async { watch.under_way() });
        let (stuck, other) = tokio::join!(stuck, other);
        assert!(matches!(stuck, Look::Late(limit) if limit == Duration::from_secs(10)));
        let Look::Done(seen) = other else {
            panic!("it ended")
        };
        assert_eq!(seen, ["dns", "store"]);
        assert!(watch.under_way().is_empty());
    }
}
