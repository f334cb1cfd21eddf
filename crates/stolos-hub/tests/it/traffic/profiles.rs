//! DNS names.

use std::sync::Arc;

use kube::ResourceExt;
use kube::api::Api;
use serde_json::{Value, json};
use stolos_api::network::{MonitorHeader, TrafficManagerProfile};
use stolos_hub::traffic::Nobody;

use super::Hub;
use super::fake::Fake;
use crate::fleet::{delete, gone, merge, told};

const CLEANUP: &str = "networking.fleet.azure.com/traffic-manager-profile-cleanup";
const METRICS: &str = "networking.fleet.azure.com/metrics-cleanup";
const PROGRAMMED: &str =
    "True Programmed: Successfully configured the Azure Traffic Manager profile";

async fn finalizers(profiles: &Api<TrafficManagerProfile>, name: &str) -> Vec<String> {
    profiles.get(name).await.unwrap().finalizers().to_vec()
}

/// The series of profiles.
fn figures(hub: &Hub) -> Vec<String> {
    let text = hub.metrics.render();
    let lines = text.lines().filter(|line| {
        line.starts_with("fleet_networking_traffic_manager_profile_status_last_timestamp_seconds{")
    });
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_profile_gets_its_name_and_goes_with_it() {
    let hub = Hub::paused().await;
    let fake = Fake::default();
    hub.control(Arc::new(fake.clone()));
    hub.create_profile("shop", json!({"intervalInSeconds": 10})).await;
    hub.profile_says("shop", PROGRAMMED).await;
    let profile = hub.profiles().get("shop").await.unwrap();
    let status = profile.status.as_ref().unwrap();
    assert_eq!(status.dns_name.as_deref(), Some("app-shop.example"));
    let uid = profile.uid().unwrap();
    assert_eq!(status.resource_id, format!("/profiles/fleet-{uid}"));
    assert_eq!(profile.finalizers(), [METRICS, CLEANUP]);
    assert_eq!(
        fake.profile().profile.monitor.timeout_in_seconds,
        Some(9),
        "defaults are filled in"
    );
    assert_eq!(
        fake.profile().profile.tags["networking.fleet.azure.com.trafficManagerProfile"],
        "app/shop"
    );
    let figure = "fleet_networking_traffic_manager_profile_status_last_timestamp_seconds{namespace=\"app\",name=\"shop\",generation=\"1\",condition=\"Programmed\",status=\"True\",reason=\"Programmed\"}";
    assert_eq!(figures(&hub), [figure]);

    delete(&hub.profiles(), "shop").await;
    gone(&hub.profiles(), "shop").await;
    assert!(fake.state().profiles.is_empty());
    assert_eq!(
        told(&hub.events(), "shop", &["Programmed", "Deleted"]).await,
        ["Deleted", "Programmed"]
    );
    hub.create_profile("other", Value::Null).await;
    hub.profile_says("other", PROGRAMMED).await;
    assert!(figures(&hub).iter().all(|line| !line.contains("\"shop\"")), "{:?}", figures(&hub));
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_refuses_is_told_and_tried_again() {
    for (status, want) in [
        (400, "False Invalid: Invalid profile: the provider answered 400"),
        (403, "False Invalid: Invalid profile: the provider answered 403"),
        (408, "False Invalid: Invalid profile: the provider answered 408"),
        (
            409,
            "False DNSNameNotAvailable: Domain name is not available. Please choose a different profile name or namespace",
        ),
        (
            429,
            "Unknown Pending: Failed to configure profile and retrying: the provider answered 429",
        ),
        (
            500,
            "Unknown Pending: Failed to configure profile and retrying: the provider answered 500",
        ),
    ] {
        let hub = Hub::paused().await;
        let fake = Fake::default();
        fake.fail("put_profile", Some(status));
        hub.control(Arc::new(fake.clone()));
        hub.create_profile("shop", Value::Null).await;
        hub.profile_says("shop", want).await;
        let told_status = hub.profiles().get("shop").await.unwrap().status.unwrap();
        assert_eq!((told_status.dns_name, &*told_status.resource_id), (None, ""), "{status}");
        assert_eq!(told(&hub.events(), "shop", &["AzureAPIError"]).await, ["AzureAPIError"]);
        assert_eq!(finalizers(&hub.profiles(), "shop").await, [METRICS, CLEANUP], "{status}");
        fake.fail("put_profile", None);
        hub.profile_says("shop", PROGRAMMED).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_cannot_be_read_gets_nothing_and_holds_nothing() {
    for (status, want) in [
        (403, "False Invalid: Invalid profile: the provider answered 403"),
        (500, "Unknown Pending: Failed to configure profile and retrying"),
    ] {
        let hub = Hub::paused().await;
        let fake = Fake::default();
        fake.fail("profile", Some(status));
        hub.control(Arc::new(fake.clone()));
        hub.create_profile("shop", Value::Null).await;
        hub.profile_says("shop", want).await;
        assert_eq!(finalizers(&hub.profiles(), "shop").await, [METRICS]);
        assert!(fake.state().calls.is_empty(), "nothing is written");
        delete(&hub.profiles(), "shop").await;
        gone(&hub.profiles(), "shop").await;
        assert!(fake.state().calls.is_empty(), "what was never there is not deleted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_waits_until_the_provider_has_done_it() {
    let hub = Hub::paused().await;
    let fake = Fake::default();
    hub.control(Arc::new(fake.clone()));
    hub.create_profile("shop", Value::Null).await;
    hub.profile_says("shop", PROGRAMMED).await;
    fake.fail("delete_profile", Some(500));
    delete(&hub.profiles(), "shop").await;
    fake.called(3).await;
    assert!(finalizers(&hub.profiles(), "shop").await.contains(&CLEANUP.to_owned()));
    told(&hub.events(), "shop", &["AzureAPIError"]).await;
    // Somebody else deleted it meanwhile, which is as good.
    fake.state().profiles.clear();
    fake.fail("delete_profile", None);
    gone(&hub.profiles(), "shop").await;
}

#[tokio::test(start_paused = true)]
async fn only_differences_are_put_and_what_is_not_ours_stays() {
    let hub = Hub::paused().await;
    let fake = Fake::default();
    hub.control(Arc::new(fake.clone()));
    let header = |name: &str| json!({"name": name, "value": "1"});
    let headers = |names: [&str; 2]| json!({"customHeaders": names.map(header)});
    hub.create_profile("shop", headers(["a", "b"])).await;
    hub.profile_says("shop", PROGRAMMED).await;
    assert_eq!(fake.state().calls, ["put_profile"]);

    let spec = json!({"spec": {"monitorConfig": headers(["b", "a"])}});
    merge(&hub.profiles(), "shop", spec).await;
    hub.profile_says("shop", PROGRAMMED).await;
    assert_eq!(fake.state().calls, ["put_profile"], "the order of headers does not count");

    fake.change(|found| {
        found.profile.tags.insert("of-somebody".into(), "else".into());
        found.profile.monitor.port = 1;
        found.profile.monitor.custom_headers = vec![MonitorHeader::default()];
    });
    merge(&hub.profiles(), "shop", json!({"spec": {"monitorConfig": {"path": "/healthz"}}})).await;
    hub.profile_says("shop", PROGRAMMED).await;
    let found = fake.profile().profile;
    assert_eq!((found.monitor.port, &*found.monitor.path), (80, "/healthz"));
    assert_eq!((found.monitor.custom_headers.len(), found.tags.len()), (2, 2));
    assert_eq!(fake.state().calls.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_profile_without_a_dns_name_has_none_in_its_status() {
    let hub = Hub::paused().await;
    let fake = Fake::default();
    fake.state().is_nameless = true;
    hub.control(Arc::new(fake.clone()));
    hub.create_profile("shop", Value::Null).await;
    hub.profile_says("shop", PROGRAMMED).await;
    assert_eq!(hub.profiles().get("shop").await.unwrap().status.unwrap().dns_name, None);
}

#[tokio::test(start_paused = true)]
async fn a_hub_without_a_provider_says_so() {
    let hub = Hub::paused().await;
    hub.control(Arc::new(Nobody));
    hub.create_profile("shop", Value::Null).await;
    let want = "False Invalid: Invalid profile: this hub has no provider of DNS names";
    hub.profile_says("shop", want).await;
    hub.create_backend("web", "shop", 1).await;
    hub.export(&[]).await;
    hub.backend_says("web", "False Invalid: Invalid trafficManagerProfile \"shop\"").await;
    delete(&hub.profiles(), "shop").await;
    gone(&hub.profiles(), "shop").await;
    delete(&hub.backends(), "web").await;
    gone(&hub.backends(), "web").await;
}
