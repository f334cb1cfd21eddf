//! Simulated pods that answer: each that is ready has sockets at its address.
//!
//! They say which pod of which cluster they are, or send back what they get, so that a balancer in front of them can be
//! watched at work with `curl`. It is no more than that: no container runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::kubelet::is_ready;
use crate::meta::{Key, is_deleting, uid};
use crate::pod_network::PodNetwork;
use crate::world::World;

mod connection;
mod http;
mod listen;
mod ports;
mod sockets;

use listen::{Answerer, Listening};
use ports::Port;
pub use sockets::{Bounds, Sockets};

/// Ports of one pod that are opened.
const MAX_PORTS: usize = 16;

/// Where the pods of a cluster answer.
#[derive(Clone, Debug)]
pub struct Answering {
    /// Addresses of this machine, from which no other cluster of the process takes any. On Linux everything that begins
    /// with 127 is one.
    pub network: PodNetwork,
    /// Bounds of all clusters of the process.
    pub sockets: Sockets,
}

/// The pods of a cluster that answer.
pub(crate) struct Answers {
    cluster: String,
    sockets: Sockets,
    pods: BTreeMap<Key, Open>,
    /// Pods for which there was no room.
    mute: BTreeSet<Key>,
    /// Ports that are being closed.
    closing: Vec<Listening>,
}

/// A pod that answers.
struct Open {
    uid: String,
    answerer: Answerer,
    ports: BTreeMap<Port, Listening>,
    /// Ports of which has been told that they are not opened.
    told: BTreeSet<Port>,
    /// Its connections end when this is dropped.
    _alive: watch::Sender<()>,
    _room: OwnedSemaphorePermit,
}

impl Answers {
    pub(crate) fn new(cluster: &str, sockets: Sockets) -> Self {
        Self {
            cluster: cluster.to_owned(),
            sockets,
            pods: BTreeMap::new(),
            mute: BTreeSet::new(),
            closing: Vec::new(),
        }
    }

    /// Opens and closes sockets so that a pod answers as it should. One that is gone loses its connections; one that is
    /// not ready takes no new ones. Returns which ports cannot be opened, each once in a pod's life.
    pub(crate) fn follow(&mut self, world: &World, key: &Key) -> Vec<String> {
        self.mute.remove(key);
        let pod = world.pods.get(key).filter(|pod| !is_deleting(&pod.metadata));
        let Some((pod, address)) = pod.and_then(|pod| Some((pod, address(pod)?))) else {
            self.forget(key);
            return Vec::new();
        };
        let uid = uid(&pod.metadata);
        let is_same = |open: &Open| open.uid == uid && open.answerer.address == address;
        if !self.pods.get(key).is_some_and(is_same) {
            self.forget(key);
        }
        let wanted = if is_ready(pod) { ports::of(world, pod) } else { BTreeSet::new() };
        let is_needed = !wanted.is_empty() || self.pods.contains_key(key);
        if !is_needed || !self.enter(key, uid, address) {
            return Vec::new();
        }
        let Some(open) = self.pods.get_mut(key) else { return Vec::new() };
        self.closing.extend(open.close_all_but(&wanted));
        let failed = open.open(&wanted);
        let told = failed.into_iter().filter(|(port, _)| open.told.insert(*port));
        told.map(|(port, error)| {
            self.sockets.tell_of_port(&self.cluster, &key.name, port, &error);
            explain(port, address, &error)
        })
        .collect()
    }

    /// Waits until the ports that were closed can be opened again.
    pub(crate) async fn closed(&mut self) {
        for listening in self.closing.drain(..) {
            listening.close().await;
        }
    }

    fn forget(&mut self, key: &Key) {
        let gone = self.pods.remove(key);
        self.closing.extend(gone.into_iter().flat_map(|open| open.ports.into_values()));
    }

    /// Makes room for a pod; tells whether there is.
    fn enter(&mut self, key: &Key, uid: &str, address: Ipv4Addr) -> bool {
        if self.pods.contains_key(key) {
            return true;
        }
        let Some(room) = self.sockets.pod() else {
            self.sockets.tell_of_room();
            self.mute.insert(key.clone());
            return false;
        };
        let (alive, is_alive) = watch::channel(());
        let text = format!("cluster={} pod={}\n", self.cluster, key.name);
        let sockets = self.sockets.clone();
        let answerer = Answerer { address, text: text.into(), sockets, alive: is_alive };
        let open = Open {
            uid: uid.to_owned(),
            answerer,
            ports: BTreeMap::new(),
            told: BTreeSet::new(),
            _alive: alive,
            _room: room,
        };
        self.pods.insert(key.clone(), open);
        true
    }

    /// Waits until there may be room for a mute pod; for ever if there is none.
    pub(crate) async fn room(&self) {
        if self.mute.is_empty() {
            return std::future::pending().await;
        }
        self.sockets.room().await;
    }

    /// Returns the pods for which there was no room.
    pub(crate) fn mute(&self) -> impl Iterator<Item = &Key> {
        self.mute.iter()
    }
}

impl Open {
    /// Takes out the ports that are not wanted.
    fn close_all_but(&mut self, wanted: &BTreeSet<Port>) -> Vec<Listening> {
        let is_unwanted = |port: &Port, _: &mut Listening| !wanted.contains(port);
        self.ports.extract_if(.., is_unwanted).map(|(_, listening)| listening).collect()
    }

    /// Opens ports; returns those that cannot be opened.
    fn open(&mut self, wanted: &BTreeSet<Port>) -> Vec<(Port, io::Error)> {
        let mut failed = Vec::new();
        for port in wanted {
            if self.ports.contains_key(port) {
                continue;
            }
            let opened = if self.ports.len() < MAX_PORTS {
                listen::open(&self.answerer, *port)
            } else {
                Err(io::ErrorKind::QuotaExceeded.into())
            };
            match opened {
                Ok(listening) => drop(self.ports.insert(*port, listening)),
                Err(error) => failed.push((*port, error)),
            }
        }
        failed
    }
}

fn address(pod: &Pod) -> Option<Ipv4Addr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}

/// Says what would help.
fn explain(port: Port, address: Ipv4Addr, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE, or a lower sysctl \
             net.ipv4.ip_unprivileged_port_start; any targetPort from 1024 on needs neither"
                .to_owned()
        }
        io::ErrorKind::AddrInUse => {
            "another program of this machine listens there, perhaps at all addresses; stop it or \
             choose another targetPort"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {address}; where loopback is 127.0.0.1 only, add it to that \
             interface (`ifconfig lo0 alias {address}`)"
        ),
        io::ErrorKind::QuotaExceeded => {
            format!("a simulated pod answers at {MAX_PORTS} ports at most")
        }
        _ => error.to_string(),
    };
    format!("nothing answers at {port} of the simulated pod: {why}")
}
