//! Network namespaces of one test: a client, a balancer and endpoints, joined by cables (veth).
//!
//! ```text
//! client 10.9.1.1 …  ── 10.9.0.1  balancer  10.10.N.1 ──  10.10.N.2  endpoint N
//! ```

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::netlink;

/// Where the clients' requests go.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// The namespaces of a test.
pub(crate) struct World {
    pub(crate) client: Space,
    pub(crate) balancer: Space,
    pub(crate) endpoints: Vec<Space>,
}

/// A network namespace.
pub(crate) struct Space(File);

/// Makes the process, which must still be a single thread, root of namespaces of its own.
pub(crate) fn enter() -> io::Result<()> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    // Some systems give a user namespace and no rights in it; that shows here.
    World::new(1).map(drop)
}

#[expect(deprecated, reason = "unsound for file tables only, and those stay shared")]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

impl World {
    pub(crate) fn new(n_endpoints: u8) -> io::Result<Self> {
        let (client, balancer) = (Space::new()?, Space::new()?);
        balancer.cable("clients", VIP, &client, Ipv4Addr::new(10, 9, 1, 1), 16)?;
        let endpoints = (0..n_endpoints).map(|_| Space::new()).collect::<io::Result<Vec<_>>>()?;
        for (i, endpoint) in (0..n_endpoints).zip(&endpoints) {
            let here = Ipv4Addr::new(10, 10, i, 1);
            balancer.cable(&format!("endpoint{i}"), here, endpoint, address(i), 24)?;
        }
        Ok(Self { client, balancer, endpoints })
    }

    /// Gives the client more addresses; returns all it has.
    pub(crate) fn add_clients(&self, n: u8) -> Vec<Ipv4Addr> {
        let addresses: Vec<_> = (1..=n).map(|i| Ipv4Addr::new(10, 9, 1, i)).collect();
        for address in &addresses[1..] {
            self.client.run(|| netlink::add_address("eth0", *address, 16)).unwrap();
        }
        addresses
    }
}

/// The address of an endpoint.
pub(crate) fn address(endpoint: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, endpoint, 2)
}

/// Where the service of an endpoint listens.
pub(crate) fn service(endpoint: u8) -> SocketAddr {
    (address(endpoint), 80).into()
}

impl Space {
    fn new() -> io::Result<Self> {
        let make = || {
            unshare(UnshareFlags::NEWNET)?;
            netlink::set_up("lo", true)?;
            File::open("/proc/thread-self/ns/net").map(Self)
        };
        thread::scope(|scope| scope.spawn(make).join()).expect("no namespace")
    }

    /// Runs something in this namespace. Threads that it starts are in it as well.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let work = || {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        match thread::scope(|scope| scope.spawn(work).join()) {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Switches the cable of a client or an endpoint on or off.
    pub(crate) fn set_connected(&self, connected: bool) {
        self.run(|| netlink::set_up("eth0", connected)).unwrap();
    }

    fn cable(
        &self,
        name: &str,
        here: Ipv4Addr,
        other: &Self,
        there: Ipv4Addr,
        prefix: u8,
    ) -> io::Result<()> {
        self.run(|| {
            netlink::connect(name, "eth0", other.as_fd())?;
            netlink::add_address(name, here, prefix)?;
            netlink::set_up(name, true)
        })?;
        other.run(|| {
            netlink::add_address("eth0", there, prefix)?;
            netlink::set_up("eth0", true)
        })
    }
}

impl AsFd for Space {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
