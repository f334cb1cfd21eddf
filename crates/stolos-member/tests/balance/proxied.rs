//! Connections through the proxy.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use stolos_dataplane::{Config, DataPlane as _, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::world::{World, soon};

/// Somebody who tells every client a name; gone when dropped.
struct Named(JoinHandle<()>);

impl Named {
    async fn start(address: &str, name: &'static str) -> Self {
        let listener = TcpListener::bind((address, 8080)).await.unwrap();
        Self(tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // Who only checks has gone by now.
                let _ = stream.write_all(name.as_bytes()).await;
            }
        }))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn proxy(folder: &std::path::Path) -> Arc<Proxy> {
    let config = Config { workers: 1, folder: Some(folder.to_owned()), ..Config::default() };
    Arc::new(Proxy::start(&config).unwrap())
}

/// Connects and returns the name that is told; nothing if the connection is refused or reset.
async fn asked(address: &str) -> Option<String> {
    let mut stream = soon(TcpStream::connect((address, 8000))).await.ok()?;
    let mut name = String::new();
    soon(stream.read_to_string(&mut name)).await.ok()?;
    Some(name)
}

/// Counts who answers.
async fn answers(address: &str, n: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..n {
        *counts.entry(asked(address).await.unwrap_or_default()).or_default() += 1;
    }
    counts
}

/// Waits until every answer is one of these.
async fn until_only(address: &str, names: &[&str]) {
    let search = async {
        while answers(address, 30).await.keys().any(|name| !names.contains(&name.as_str())) {}
    };
    soon(search).await;
}

#[tokio::test]
async fn connections_are_spread_by_weight_and_follow_the_endpoints() {
    let (world, folder) = (World::start().await, tempfile::tempdir().unwrap());
    let (_a, _b) = (Named::start("127.88.1.1", "a").await, Named::start("127.88.1.2", "b").await);
    let plane = proxy(folder.path());
    let _running = world.balance(&plane, "127.88.101.0/24", None);
    world.import("web", json!([{"name": "web", "port": 8000}]), json!({})).await;
    world.export("web", "a", 1, &[("127.88.1.1", 8080)]).await;
    world.export("web", "b", 3, &[("127.88.1.2", 8080)]).await;
    let address = world.address("web").await;
    until_only(&address, &["a", "b"]).await;
    let counts = answers(&address, 400).await;
    // A quarter of them, give or take five standard deviations.
    assert!((57..=143).contains(&counts["a"]), "{counts:?}");
    assert_eq!(counts["a"] + counts["b"], 400, "{counts:?}");
    let stats = plane.stats().await;
    let stats = stats.values().next().unwrap();
    assert_eq!(stats.service, "fleet-system/app-web");
    assert!(stats.accepted >= 400);

    world.export("web", "b", 0, &[("127.88.1.2", 8080)]).await;
    until_only(&address, &["a"]).await;
    world.withdraw("web", "a").await;
    world.export("web", "b", 1, &[("127.88.1.2", 8080)]).await;
    until_only(&address, &["b"]).await;
}

#[tokio::test]
async fn a_restart_without_hub_and_member_serves_the_last_state() {
    let (world, folder) = (World::start().await, tempfile::tempdir().unwrap());
    let _a = Named::start("127.88.2.1", "a").await;
    let plane = proxy(folder.path());
    let running = world.balance(&plane, "127.88.102.0/24", None);
    world.import("web", json!([{"name": "web", "port": 8000}]), json!({})).await;
    world.export("web", "a", 1, &[("127.88.2.1", 8080)]).await;
    let address = world.address("web").await;
    until_only(&address, &["a"]).await;
    running.stop().await;
    assert_eq!(asked(&address).await.as_deref(), Some("a"), "the plane goes on by itself");
    // A successor takes over, with nobody to tell it anything.
    let successor = proxy(folder.path());
    soon(plane.superseded()).await;
    drop(plane);
    assert_eq!(asked(&address).await.as_deref(), Some("a"));
    let begun_with = successor.begun_with().cloned().unwrap();
    assert_eq!(begun_with.vips[0].service, "fleet-system/app-web");

    let _running = world.balance_without_hub(&successor, "127.88.102.0/24", Some(begun_with));
    world.import("api", json!([{"name": "web", "port": 8000}]), json!({})).await;
    world.address("api").await;
    assert_eq!(asked(&address).await.as_deref(), Some("a"));
}

#[tokio::test]
async fn an_address_that_the_machine_does_not_have_is_told() {
    let (world, folder) = (World::start().await, tempfile::tempdir().unwrap());
    let plane = proxy(folder.path());
    let _running = world.balance(&plane, "192.0.2.0/24", None);
    world.import("web", json!([{"name": "web", "port": 8000}]), json!({})).await;
    let message = world.event("web", "AddressNotAvailable").await;
    assert_eq!(
        message,
        "no network interface of this machine has the address of `192.0.2.1:8000/TCP`"
    );
}

#[tokio::test]
async fn a_protocol_that_the_proxy_does_not_carry_is_told_and_the_other_port_serves() {
    let (world, folder) = (World::start().await, tempfile::tempdir().unwrap());
    let _a = Named::start("127.88.3.1", "a").await;
    let plane = proxy(folder.path());
    let _running = world.balance(&plane, "127.88.103.0/24", None);
    let ports = json!([
        {"name": "web", "port": 8000}, {"name": "signals", "port": 8001, "protocol": "SCTP"},
    ]);
    world.import("web", ports, json!({})).await;
    world.export("web", "a", 1, &[("127.88.3.1", 8080)]).await;
    let message = world.event("web", "UnsupportedProtocol").await;
    assert!(message.contains("it carries TCP and UDP"), "{message}");
    let address = world.address("web").await;
    until_only(&address, &["a"]).await;
}
