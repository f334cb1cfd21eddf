//! Events vanish after their hour.

use std::time::Duration;

use http::Method;
use serde_json::json;
use stolos_apiserver::clock::Clock;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;

use crate::harness::Cluster;

const EVENTS: &str = "/api/v1/namespaces/default/events";

#[tokio::test(start_paused = true)]
async fn an_event_vanishes_an_hour_after_its_last_change() {
    let clock = Clock::tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let store = Store::memory().cluster("test").unwrap();
    let cluster = Cluster::start_on(store, Options { clock, ..Options::default() }).await;
    for name in ["once", "again"] {
        let event = json!({
            "metadata": {"name": name}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
            "reason": "Test", "lastTimestamp": "2026-01-01T00:00:00Z",
        });
        cluster.ok(Method::POST, EVENTS, Some(event)).await;
    }
    tokio::time::sleep(Duration::from_mins(40)).await;
    let repeat = json!({"count": 2, "lastTimestamp": "2026-01-01T00:40:00Z"});
    cluster.merge(&format!("{EVENTS}/again"), repeat).await;
    tokio::time::sleep(Duration::from_mins(19)).await;
    assert!(cluster.exists(&format!("{EVENTS}/once")).await, "its hour is not over");
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(!cluster.exists(&format!("{EVENTS}/once")).await);
    assert!(cluster.exists(&format!("{EVENTS}/again")).await, "it happened again");
    tokio::time::sleep(Duration::from_mins(40)).await;
    assert!(!cluster.exists(&format!("{EVENTS}/again")).await);
}
