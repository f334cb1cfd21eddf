//! A data plane for each member, so that services of the fleet have addresses on this machine.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context;
use kube::Client;
use stolos_controller::{Clock, Readiness};
use stolos_core::network::pool::Pool;
use stolos_dataplane::{Limits, Proxy};
use stolos_member::balance;
use tokio::net::TcpListener;

use crate::observe::{self, Pages};

/// Threads of one data plane that move bytes. There are many of them beside each other.
const WORKERS: usize = 1;

/// Fewest VIP ports, connections and flows of one data plane, however many members share what the process may have.
const FEWEST: usize = 64;

/// Returns what one of `n` data planes may take.
pub(super) fn share(n: usize) -> anyhow::Result<Limits> {
    let all = Limits::of_process(WORKERS).context("failed to start the data planes")?;
    // Half of it is for simulated pods and for everything else.
    let part = |all: usize| (all / 2 / n.max(1)).max(FEWEST);
    Ok(Limits {
        connections: part(all.connections),
        flows: part(all.flows),
        vip_ports: part(all.vip_ports),
        pipes: all.pipes / n.max(1),
    })
}

/// Who has a data plane.
pub(super) struct Owner {
    pub(super) name: String,
    /// Client of the hub, with the rights of the member.
    pub(super) hub: Client,
    pub(super) member: Client,
    pub(super) system_namespace: String,
}

/// Starts the data plane of a member, and returns what keeps it up to date. It ends with that.
pub(super) fn start(
    owner: Owner,
    pool: Pool,
    limits: Limits,
    clock: &Clock,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let Owner { name, hub, member, system_namespace } = owner;
    // No folder: the members are in this process, and say after a restart what is served.
    let config = stolos_dataplane::Config {
        workers: WORKERS,
        limits: Some(limits),
        ..stolos_dataplane::Config::default()
    };
    let failed = || format!("failed to start the data plane of `{name}`");
    let plane = Arc::new(Proxy::start(&config).with_context(failed)?);
    // A socket of its own: each data plane is asked as if it were a process.
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).with_context(failed)?;
    listener.set_nonblocking(true).with_context(failed)?;
    let listener = TcpListener::from_std(listener).with_context(failed)?;
    let figures = listener.local_addr().with_context(failed)?;
    let (readiness, pages) = (Readiness::default(), Pages::of_plane(&plane));
    let config = balance::Config {
        name,
        hub,
        member,
        clock: clock.clone(),
        readiness: readiness.clone(),
        system_namespace,
        pool,
        allows_loopback: true,
        figures_url: Some(format!("http://{figures}/figures")),
    };
    Ok(async move {
        let answered = observe::answer(listener, readiness, pages);
        tokio::select! {
            () = balance::run(config, plane, None) => {}
            _ = answered => {}
        }
    })
}
