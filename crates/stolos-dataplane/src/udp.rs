//! UDP: datagrams of one client form a flow, which has a socket and an endpoint of its own until it is idle.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::relay::Moved;
use crate::vip::{Admitted, Endpoint, Place, Shared, Vip};

/// No datagram is longer.
const DATAGRAM: usize = 65_536;
/// Answers that a flow passes on before it is the turn of others.
const TURN: usize = 64;
/// Flows of one worker that have ended and wait to be forgotten.
const ENDED: usize = 1024;

thread_local! {
    /// Where answers lie between two sockets; a flow holds no memory for them.
    static ANSWER: RefCell<Box<[u8]>> = RefCell::new(vec![0; DATAGRAM].into_boxed_slice());
}

/// What the receiving task knows of a flow. The flow ends when this is dropped.
struct Flow {
    socket: Arc<UdpSocket>,
    endpoint: Arc<Endpoint>,
    /// Whether the client sent something since the flow last looked.
    active: Arc<AtomicBool>,
    number: u64,
    _alive: oneshot::Sender<()>,
}

/// The flow with this number of this client has ended.
type Ended = (SocketAddr, u64);

/// Passes on datagrams until `stop`; all flows end then, as nobody would receive for them any more.
pub(crate) async fn receive(
    socket: Arc<UdpSocket>,
    vip: Arc<Vip>,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    let mut number = 0;
    let (tell_ended, mut ended) = mpsc::channel::<Ended>(ENDED);
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => return,
            Some((client, number)) = ended.recv() => {
                if flows.get(&client).is_some_and(|flow| flow.number == number) {
                    flows.remove(&client);
                }
            }
            received = socket.recv_from(&mut buffer) => {
                // Errors are of earlier answers that a client did not want (ICMP).
                let Ok((n_bytes, client)) = received else { continue };
                let flow = match flows.entry(client) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        number += 1;
                        match begin(client, number, &socket, &vip, &shared, &tell_ended) {
                            Some(flow) => new.insert(flow),
                            None => continue,
                        }
                    }
                };
                if flow.pass_on(&buffer[..n_bytes]).is_err() {
                    shared.was_not_reached(&vip, &flow.endpoint);
                    flows.remove(&client);
                }
            }
        }
    }
}

/// Chooses an endpoint for a new flow. None if there is no endpoint or no place.
fn begin(
    client: SocketAddr,
    number: u64,
    answers: &Arc<UdpSocket>,
    vip: &Arc<Vip>,
    shared: &Arc<Shared>,
    ended: &mpsc::Sender<Ended>,
) -> Option<Flow> {
    let table = vip.table.load();
    let Some(place) = Place::take(vip, shared, table.options.max_connections) else {
        vip.counts.refused.fetch_add(1, Relaxed);
        return None;
    };
    let Some(admitted) = Admitted::take(vip, client.ip(), &table.access) else {
        vip.counts.refused.fetch_add(1, Relaxed);
        return None;
    };
    vip.counts.accepted.fetch_add(1, Relaxed);
    let opened = table
        .candidates(client, &vip.memory)
        .into_iter()
        .find_map(|endpoint| Some((endpoint.clone(), open(endpoint.id.socket()).ok()?)));
    let Some((endpoint, socket)) = opened else {
        vip.counts.unserved.fetch_add(1, Relaxed);
        return None;
    };
    let (alive, dropped) = oneshot::channel();
    let socket = Arc::new(socket);
    let active = Arc::new(AtomicBool::new(false));
    let answering = Answering {
        client,
        answers: answers.clone(),
        socket: socket.clone(),
        endpoint: endpoint.clone(),
        active: active.clone(),
        vip: vip.clone(),
        shared: shared.clone(),
    };
    let ended = ended.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = answering.run() => {
                drop((place, admitted));
                // Forgotten before anything else is received for it, or together with the receiving task.
                let _ = ended.send((client, number)).await;
            }
            _ = dropped => {}
        }
    });
    Some(Flow { socket, endpoint, active, number, _alive: alive })
}

/// Opens a socket that sends to, and receives from, `endpoint` only.
fn open(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match endpoint {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(endpoint)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

impl Flow {
    /// Sends a datagram of the client to the endpoint. What does not fit into the socket is lost, as on any network.
    ///
    /// # Errors
    ///
    /// Nobody is at the port of the endpoint: an earlier datagram came back (ICMP).
    fn pass_on(&self, datagram: &[u8]) -> io::Result<()> {
        self.active.store(true, Relaxed);
        // The runtime knows nothing of a socket that was just made, and would not even try.
        match socket2::SockRef::from(&*self.socket).send(datagram) {
            Ok(n_bytes) => {
                let from_client = n_bytes as u64;
                self.endpoint.counts.add(Moved { from_client, from_endpoint: 0 });
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
            Err(_) => Ok(()),
        }
    }
}

/// The way back of a flow.
struct Answering {
    client: SocketAddr,
    answers: Arc<UdpSocket>,
    socket: Arc<UdpSocket>,
    endpoint: Arc<Endpoint>,
    active: Arc<AtomicBool>,
    vip: Arc<Vip>,
    shared: Arc<Shared>,
}

impl Answering {
    /// Passes on answers until the flow is idle, or the endpoint is cut off or refuses.
    async fn run(self) {
        let _attached = self.endpoint.attach();
        let mut cut = self.endpoint.cut.subscribe();
        loop {
            tokio::select! {
                biased;
                _ = cut.wait_for(|cut| *cut) => return,
                answered = self.answer() => if answered.is_err() {
                    // Nobody is at the port of the endpoint (ICMP). The next datagram may find another endpoint.
                    self.shared.was_not_reached(&self.vip, &self.endpoint);
                    return;
                },
                () = self.idle(self.shared.timeouts.flow_idle) => return,
            }
        }
    }

    /// Passes on answers until the socket says that the endpoint cannot be reached.
    async fn answer(&self) -> io::Result<()> {
        loop {
            let ready = self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            if ready.is_error() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            for _ in 0..TURN {
                let passed_on = ANSWER.with_borrow_mut(|buffer| {
                    let n_bytes = self.socket.try_recv(buffer)?;
                    // What the client's network does not take is lost.
                    let _ = self.answers.try_send_to(&buffer[..n_bytes], self.client);
                    Ok::<_, io::Error>(n_bytes)
                });
                match passed_on {
                    Ok(n_bytes) => {
                        self.active.store(true, Relaxed);
                        self.shared.was_reached(&self.vip, &self.endpoint);
                        let from_endpoint = n_bytes as u64;
                        self.endpoint.counts.add(Moved { from_client: 0, from_endpoint });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until neither side has sent anything for `idle`, or up to half as long again.
    async fn idle(&self, idle: Duration) {
        let mut quiet_halves = 0;
        while quiet_halves < 2 {
            sleep(idle / 2).await;
            quiet_halves = if self.active.swap(false, Relaxed) { 0 } else { quiet_halves + 1 };
        }
    }
}
