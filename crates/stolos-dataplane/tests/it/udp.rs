//! Flows of datagrams through the proxy.

use std::net::SocketAddr;
use std::time::Duration;

use stolos_core::network::balance::VipPort;
use stolos_dataplane::DesiredVip;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::support::{apply, at, free_address, id, proxy, proxy_with, soon, stats_of, udp, vip};

/// Sends back datagrams, with its own name before them; gone when dropped.
struct Echo {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Echo {
    async fn start(name: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                let Ok((n, from)) = socket.recv_from(&mut buffer).await else { continue };
                let answer = [name.as_bytes(), &buffer[..n]].concat();
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Self { address, task }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn udp_vip(address: SocketAddr, endpoints: &[SocketAddr]) -> DesiredVip {
    let mut vip = vip(address, endpoints);
    vip.balance.vip = udp(address);
    vip
}

async fn client(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(address).await.unwrap();
    socket
}

/// Asks until an answer comes: datagrams may be lost, while endpoints change for one.
async fn ask(client: &UdpSocket, question: &str) -> String {
    let mut buffer = vec![0; 65_536];
    soon(async {
        loop {
            // A refusal of an earlier datagram (ICMP) counts as lost, too.
            let _ = client.send(question.as_bytes()).await;
            let answer = tokio::time::timeout(Duration::from_millis(300), client.recv(&mut buffer));
            if let Ok(Ok(n)) = answer.await {
                return String::from_utf8(buffer[..n].to_vec()).unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn every_client_has_a_flow_of_its_own() {
    let (proxy, echo, address) = (proxy(), Echo::start("a ").await, free_address());
    apply(&proxy, &[udp_vip(address, &[echo.address])]).await;
    let clients = [client(address).await, client(address).await, client(address).await];
    for round in 0..3 {
        for (i, client) in clients.iter().enumerate() {
            let question = format!("{i} {round}");
            assert_eq!(ask(client, &question).await, format!("a {question}"));
        }
    }
    let stats = stats_of(&proxy, udp(address), |_| true).await;
    assert_eq!((stats.active, stats.accepted), (3, 3));
    assert_eq!(at(&stats, echo.address).connections, 3);
    assert!(
        at(&stats, echo.address).bytes_from_endpoint > at(&stats, echo.address).bytes_from_clients
    );
}

#[tokio::test]
async fn the_longest_datagram_passes() {
    let (proxy, echo, address) = (proxy(), Echo::start("").await, free_address());
    apply(&proxy, &[udp_vip(address, &[echo.address])]).await;
    let question = "x".repeat(65_000);
    assert_eq!(ask(&client(address).await, &question).await, question);
}

#[tokio::test]
async fn an_idle_flow_is_forgotten() {
    let proxy = proxy_with(|config| config.timeouts.flow_idle = Duration::from_millis(200));
    let (echo, address) = (Echo::start("a ").await, free_address());
    apply(&proxy, &[udp_vip(address, &[echo.address])]).await;
    let client = client(address).await;
    assert_eq!(ask(&client, "1").await, "a 1");
    stats_of(&proxy, udp(address), |stats| stats.active == 0 && stats.accepted == 1).await;
    assert_eq!(ask(&client, "2").await, "a 2");
}

#[tokio::test]
async fn one_more_flow_than_allowed_is_dropped() {
    let (proxy, echo, address) = (proxy(), Echo::start("a ").await, free_address());
    let mut one = udp_vip(address, &[echo.address]);
    one.options.max_connections = 1;
    apply(&proxy, &[one]).await;
    let (first, second) = (client(address).await, client(address).await);
    assert_eq!(ask(&first, "1").await, "a 1");
    second.send(b"2").await.unwrap();
    let stats = stats_of(&proxy, udp(address), |stats| stats.refused > 0).await;
    assert_eq!((stats.active, stats.accepted), (1, 1));
    assert_eq!(ask(&first, "3").await, "a 3");
}

#[tokio::test]
async fn a_client_has_no_more_flows_than_each_may_have() {
    let proxy = proxy_with(|config| config.timeouts.flow_idle = Duration::from_secs(2));
    let (echo, address) = (Echo::start("a ").await, free_address());
    let mut one = udp_vip(address, &[echo.address]);
    one.balance.settings.access.max_connections_per_client = Some(1);
    apply(&proxy, &[one]).await;
    let (first, second) = (client(address).await, client(address).await);
    assert_eq!(ask(&first, "1").await, "a 1");
    second.send(b"2").await.unwrap();
    stats_of(&proxy, udp(address), |stats| stats.refused > 0).await;
    // Once the first flow has ended, there is room again.
    stats_of(&proxy, udp(address), |stats| stats.active == 0).await;
    assert_eq!(ask(&second, "3").await, "a 3");
}

#[tokio::test]
async fn flows_of_clients_that_may_not_connect_are_dropped() {
    let (proxy, echo, address) = (proxy(), Echo::start("a ").await, free_address());
    let mut some = udp_vip(address, &[echo.address]);
    some.balance.settings.access.source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    apply(&proxy, &[some.clone()]).await;
    let client = client(address).await;
    client.send(b"1").await.unwrap();
    let stats = stats_of(&proxy, udp(address), |stats| stats.refused == 1).await;
    assert_eq!((stats.active, stats.accepted), (0, 0));
    some.balance.settings.access.source_ranges.push("127.0.0.0/8".parse().unwrap());
    apply(&proxy, &[some]).await;
    assert_eq!(ask(&client, "2").await, "a 2");
}

#[tokio::test]
async fn flows_leave_a_removed_endpoint_at_once() {
    let (proxy, address) = (proxy(), free_address());
    let (old, new) = (Echo::start("old ").await, Echo::start("new ").await);
    apply(&proxy, &[udp_vip(address, &[old.address])]).await;
    let client = client(address).await;
    assert_eq!(ask(&client, "1").await, "old 1");
    apply(&proxy, &[udp_vip(address, &[new.address])]).await;
    stats_of(&proxy, udp(address), |stats| !stats.endpoints.contains_key(&id(old.address))).await;
    // An answer to the first question that was asked twice may still be on its way.
    let mut answer = ask(&client, "2").await;
    while answer == "old 1" {
        answer = ask(&client, "2").await;
    }
    assert_eq!(answer, "new 2");
}

#[tokio::test]
async fn flows_leave_an_endpoint_that_is_gone() {
    let (proxy, address) = (proxy(), free_address());
    let gone = free_address();
    let alive = Echo::start("alive ").await;
    apply(&proxy, &[udp_vip(address, &[gone, alive.address])]).await;
    for i in 0..20 {
        let client = client(address).await;
        assert_eq!(ask(&client, &i.to_string()).await, format!("alive {i}"));
    }
}

#[tokio::test]
async fn tcp_and_udp_share_a_port_number() {
    let (proxy, address) = (proxy(), free_address());
    let (datagrams, streams) = (Echo::start("udp ").await, crate::support::Answerer::echo().await);
    let ports = [udp_vip(address, &[datagrams.address]), vip(address, &[streams.address])];
    apply(&proxy, &ports).await;
    assert_eq!(ask(&client(address).await, "1").await, "udp 1");
    let mut stream = crate::support::connect(address).await;
    crate::support::echoes(&mut stream, b"tcp").await;
    let served: Vec<VipPort> = {
        use stolos_dataplane::DataPlane as _;
        proxy.stats().await.into_keys().collect()
    };
    assert_eq!(served.len(), 2);
}
