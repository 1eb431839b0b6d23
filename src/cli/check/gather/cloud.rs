//! The way to CloudStack, and questions to it. Only reads.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::facts::{Cloud, Connected, Endpoint, Look};
use super::Watch;
use crate::clock::Clock;
use crate::cloudstack::probe::Greeting;
use crate::cloudstack::{Client, CloudStackError, HttpTransport};
use crate::model::VmId;

/// So many addresses of one name are tried.
const ADDRESSES_MAX: usize = 8;

pub(super) async fn gather(
    watch: &Watch,
    endpoint: Option<Endpoint>,
    client: Option<Client<HttpTransport>>,
    vm: Option<VmId>,
    clock: &Arc<dyn Clock>,
) -> Cloud {
    let mut cloud = nothing(endpoint);
    let Some(endpoint) = &cloud.endpoint else {
        return cloud;
    };
    let (host, port) = (endpoint.host.clone(), endpoint.port);
    cloud.addresses = watch.look("dns", resolve(&host, port)).await;
    let Look::Done(Ok(addresses)) = &cloud.addresses else {
        return needing(cloud, "dns");
    };
    cloud.connected = watch.look("tcp", connect(addresses.clone(), clock)).await;
    let Look::Done(Ok(_)) = &cloud.connected else {
        return needing(cloud, "tcp");
    };
    let Some(client) = client else {
        return needing(cloud, "credentials");
    };
    cloud.greeting = watch.look("api", client.greet()).await;
    // Roles are checked before signatures, so another command may be answered.
    cloud.commands = match &cloud.greeting {
        Look::Done(Greeting {
            answer: Ok(_) | Err(CloudStackError::Unauthorized { .. }),
            ..
        }) => watch.look("permissions", client.allowed_commands()).await,
        Look::Done(_) | Look::Late(_) | Look::Needs(_) => Look::Needs("api"),
    };
    let greeted = matches!(&cloud.greeting, Look::Done(Greeting { answer: Ok(_), .. }));
    if !greeted && !matches!(cloud.commands, Look::Done(Ok(_))) {
        return needing(cloud, "api");
    }
    ask(watch, &client, vm, cloud).await
}

/// What is only asked once CloudStack has taken us, all at the same time.
async fn ask(
    watch: &Watch,
    client: &Client<HttpTransport>,
    vm: Option<VmId>,
    mut cloud: Cloud,
) -> Cloud {
    let on_vm = async {
        let Some(vm) = vm else {
            let needs = "identity";
            return (Look::Needs(needs), Look::Needs(needs), Look::Needs(needs));
        };
        let found = watch.look("vm", client.vm_facts(vm)).await;
        if !matches!(found, Look::Done(Ok(Some(_)))) {
            return (found, Look::Needs("vm"), Look::Needs("vm"));
        }
        let (owned, volumes) = tokio::join!(
            watch.look("vm", client.owns_vm(vm)),
            watch.look("slots", client.volumes_on(vm))
        );
        (found, owned, volumes)
    };
    let ((vm, owned, volumes), zones, offerings) = tokio::join!(
        on_vm,
        watch.look("zone", client.zone_facts()),
        watch.look("offering", client.offering_facts())
    );
    (cloud.vm, cloud.owned, cloud.volumes) = (vm, owned, volumes);
    (cloud.zones, cloud.offerings) = (zones, offerings);
    cloud
}

/// Nothing was asked yet.
fn nothing(endpoint: Option<Endpoint>) -> Cloud {
    let needs = "config";
    Cloud {
        endpoint,
        addresses: Look::Needs(needs),
        connected: Look::Needs(needs),
        greeting: Look::Needs(needs),
        commands: Look::Needs(needs),
        zones: Look::Needs(needs),
        offerings: Look::Needs(needs),
        vm: Look::Needs(needs),
        owned: Look::Needs(needs),
        volumes: Look::Needs(needs),
    }
}

/// Everything that was not looked at needs this check.
fn needing(mut cloud: Cloud, check: &'static str) -> Cloud {
    fn set<T>(look: &mut Look<T>, check: &'static str) {
        if let Look::Needs(_) = look {
            *look = Look::Needs(check);
        }
    }
    set(&mut cloud.addresses, check);
    set(&mut cloud.connected, check);
    set(&mut cloud.greeting, check);
    if check == "api" && !matches!(cloud.commands, Look::Late(_)) {
        cloud.commands = Look::Needs(check);
    }
    set(&mut cloud.commands, check);
    set(&mut cloud.zones, check);
    set(&mut cloud.offerings, check);
    set(&mut cloud.vm, check);
    set(&mut cloud.owned, check);
    set(&mut cloud.volumes, check);
    cloud
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => {
            let found: BTreeSet<SocketAddr> = found.collect();
            match found.is_empty() {
                true => Err("the name is known, and has no address".to_owned()),
                false => Ok(found.into_iter().take(ADDRESSES_MAX).collect()),
            }
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Connects to all at once, as the HTTP client nearly does; who is first counts.
async fn connect(addresses: Vec<SocketAddr>, clock: &Arc<dyn Clock>) -> Connected {
    let begun = clock.now().boot;
    let mut attempts: JoinSet<_> = addresses
        .into_iter()
        .map(|address| async move { (address, TcpStream::connect(address).await.map(drop)) })
        .collect();
    let mut failures = Vec::new();
    while let Some(ended) = attempts.join_next().await {
        match ended {
            Ok((address, Ok(()))) => return Ok((address, clock.now().boot.since(begun))),
            Ok((address, Err(error))) => failures.push((address, error.to_string())),
            // Nobody cancels it, and it does not panic.
            Err(_) => {}
        }
    }
    Err(failures)
}
