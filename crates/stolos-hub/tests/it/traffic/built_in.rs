//! The built-in DNS, asked over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use serde_json::json;
use stolos_api::network::TrafficManagerProfile;
use stolos_apiserver::clock::Clock;
use stolos_dns::{Directory, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{Hub, said};
use crate::fleet::{create, delete, eventually, gone, merge};

/// A wait that only a broken build reaches.
const PATIENCE: Duration = Duration::from_secs(60);

const NAME: &str = "app-shop.fleet.local.";

/// Starts the DNS and the controller of a hub; returns where to ask.
async fn serve(hub: &Hub) -> SocketAddr {
    let directory = Directory::new("fleet.local".parse().unwrap(), None, Arc::new(Timestamp::now));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    tokio::spawn(listener.serve(directory.clone()));
    tokio::spawn(stolos_dns::check(directory.clone()));
    hub.control(Arc::new(directory));
    address
}

fn query(name: &str) -> Vec<u8> {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    query.to_vec().unwrap()
}

async fn over_udp(server: SocketAddr, name: &str) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&query(name)).await.unwrap();
    let mut buffer = [0; 1500];
    let answer = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let length = answer.expect("an answer").unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn over_tcp(server: SocketAddr, name: &str) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let query = query(name);
    stream.write_u16(query.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&query).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn address(answer: &Message) -> Option<String> {
    answer.answers.first().map(|record| record.data.to_string())
}

/// How often each address is answered.
async fn drawn(server: SocketAddr, n: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..n {
        let answer = over_udp(server, NAME).await;
        if let Some(address) = address(&answer) {
            *counts.entry(address).or_default() += 1;
        }
    }
    counts
}

/// Asks until only these addresses are answered; so many answers alike are no chance.
async fn only(server: SocketAddr, want: &[&str]) {
    let want: BTreeSet<String> = want.iter().map(|one| (*one).to_owned()).collect();
    let settled = async {
        while drawn(server, 40).await.into_keys().collect::<BTreeSet<_>>() != want {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, settled).await.is_ok(), "never only {want:?}");
}

/// Waits until a name that had been answered before is answered so.
async fn until_code(server: SocketAddr, want: ResponseCode) {
    let settled = async {
        while over_udp(server, NAME).await.metadata.response_code != want {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, settled).await.is_ok(), "never {want}");
}

#[tokio::test]
async fn a_service_of_two_members_has_a_name_that_is_answered_by_weight_and_health() {
    let hub = Hub::start(Clock::system()).await;
    let server = serve(&hub).await;
    let before = over_udp(server, NAME).await.metadata.response_code;
    assert_eq!(before, ResponseCode::ServFail, "a hub that has just started does not deny names");

    // A real member at 127.0.0.2, and nobody at 127.0.0.3.
    let member = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = member.local_addr().unwrap().port();
    let monitor = json!({
        "protocol": "TCP", "port": port, "intervalInSeconds": 10, "toleratedNumberOfFailures": 9,
    });
    hub.create_profile("shop", monitor).await;
    hub.export(&[("a", 300, "127.0.0.2"), ("b", 100, "127.0.0.3")]).await;
    hub.create_backend("web", "shop", 1000).await;
    hub.backend_says("web", "True Accepted: 2 service(s)").await;
    let profile = hub.profiles().get("shop").await.unwrap();
    let dns_name = profile.status.unwrap().dns_name;
    assert_eq!(dns_name.as_deref(), Some("app-shop.fleet.local"));

    let counts = drawn(server, 10_000).await;
    // Six standard deviations of 43: one run in a billion is further away.
    assert!((7_240..=7_760).contains(&counts["127.0.0.2"]), "{counts:?}");
    assert_eq!(counts.len(), 2, "{counts:?}");
    let mut over_tcp_too = BTreeSet::new();
    for _ in 0..40 {
        over_tcp_too.extend(address(&over_tcp(server, NAME).await));
    }
    assert_eq!(over_tcp_too.len(), 2);

    let strict = json!({"spec": {"monitorConfig": {"toleratedNumberOfFailures": 0}}});
    merge(&hub.profiles(), "shop", strict).await;
    only(server, &["127.0.0.2"]).await;
    merge(&hub.exports("b"), "app-web", json!({"spec": {"type": "ClusterIP"}})).await;
    hub.backend_says("web", "False Invalid: 1 service(s)").await;
    only(server, &["127.0.0.2"]).await;

    merge(&hub.backends(), "web", json!({"spec": {"weight": 0}})).await;
    hub.backend_says("web", "True Accepted: 0 service(s)").await;
    assert_eq!(address(&over_udp(server, NAME).await), None);
    merge(&hub.backends(), "web", json!({"spec": {"weight": 1}})).await;
    only(server, &["127.0.0.2"]).await;

    delete(&hub.profiles(), "shop").await;
    gone(&hub.profiles(), "shop").await;
    until_code(server, ResponseCode::NXDomain).await;
    hub.backend_says("web", "False Invalid: TrafficManagerProfile \"shop\" is not found").await;
    delete(&hub.backends(), "web").await;
    gone(&hub.backends(), "web").await;
    let foreign = over_tcp(server, "example.com.").await.metadata.response_code;
    assert_eq!(foreign, ResponseCode::Refused);
}

#[tokio::test]
async fn what_the_built_in_dns_cannot_do_is_said_on_the_object() {
    let hub = Hub::start(Clock::system()).await;
    let _server = serve(&hub).await;
    let long = "s".repeat(60);
    hub.create_profile(&long, json!({})).await;
    hub.profile_says(&long, "False Invalid: Invalid profile: `app-sss").await;
    hub.create_profile("odd", json!({"path": "healthz"})).await;
    hub.profile_says("odd", "False Invalid: Invalid profile: monitorConfig.path is `healthz`")
        .await;

    hub.create_profile("shop", json!({})).await;
    hub.export(&[("a", 1, "203.0.113.1"), ("b", 1, "lb.example.com")]).await;
    hub.create_backend("web", "shop", 2).await;
    hub.backend_says("web", "True Accepted: 2 service(s)").await;
    let azure =
        "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Network/publicIPAddresses/ip";
    merge(&hub.exports("a"), "app-web", json!({"spec": {"publicIPResourceID": azure}})).await;
    hub.backend_says("web", "False Invalid: 1 endpoint(s) were refused").await;
    let told = hub.backends().get("web").await.unwrap().status.unwrap();
    let message = &told.conditions[0].message;
    assert!(message.contains("is an address of Azure"), "{message}");
    hub.backend_has("web", &["b 1"]).await;
}

#[tokio::test]
async fn a_name_stays_with_whoever_had_it_first() {
    let hub = Hub::start(Clock::system()).await;
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "app-x"}})).unwrap();
    create(&Api::<Namespace>::all(hub.client.clone()), &namespace).await;
    let others: Api<TrafficManagerProfile> = Api::namespaced(hub.client.clone(), "app-x");
    let directory =
        || Directory::new("fleet.local".parse().unwrap(), None, Arc::new(Timestamp::now));
    let mut life = hub.control(Arc::new(directory()));
    // Both are `app-x-shop`. The one that comes later is the one that a controller looks at first.
    let spec = json!({"metadata": {"name": "shop"}, "spec": {"resourceGroup": "rg"}});
    create(&others, &serde_json::from_value(spec).unwrap()).await;
    eventually(&others, "shop", "has the name", has_name).await;
    hub.create_profile("x-shop", json!({})).await;
    hub.profile_says("x-shop", "False DNSNameNotAvailable").await;
    for n in 0..5 {
        life.abort();
        life = hub.control(Arc::new(directory()));
        let again = json!({"spec": {"monitorConfig": {"path": format!("/{n}")}}});
        merge(&others, "shop", again.clone()).await;
        merge(&hub.profiles(), "x-shop", again).await;
        hub.profile_says("x-shop", "False DNSNameNotAvailable").await;
        eventually(&others, "shop", "has the name", has_name).await;
    }
    delete(&others, "shop").await;
    hub.profile_says("x-shop", "True").await;
}

/// Tells whether a profile says of its generation that it is answered.
fn has_name(profile: Option<&TrafficManagerProfile>) -> bool {
    let Some(profile) = profile else { return false };
    let conditions = profile.status.as_ref().map(|status| status.conditions.as_slice());
    said(conditions, profile.metadata.generation).starts_with("True")
}

#[tokio::test]
async fn a_host_is_answered_as_an_alias() {
    let hub = Hub::start(Clock::system()).await;
    let server = serve(&hub).await;
    hub.create_profile("shop", json!({"intervalInSeconds": 10})).await;
    hub.export(&[("a", 1, "LB.example.com")]).await;
    hub.create_backend("web", "shop", 1).await;
    hub.backend_says("web", "True Accepted: 1 service(s)").await;
    let answer = over_udp(server, NAME).await;
    let [record] = answer.answers.as_slice() else { panic!("{answer:?}") };
    assert!(matches!(&record.data, RData::CNAME(_)), "{record:?}");
    assert_eq!((record.data.to_string().as_str(), record.ttl), ("lb.example.com.", 10));
}
