//! Services behind DNS names.

use std::sync::Arc;

use kube::ResourceExt;
use serde_json::{Value, json};
use stolos_core::network::traffic::FoundEndpoint;
use stolos_core::network::traffic::backend::Endpoint;

use super::fake::Fake;
use super::{Hub, address_id};
use crate::fleet::{delete, gone, merge, told};

const BOTH: &str = "True Accepted: 2 service(s) exported from clusters have been accepted as Traffic Manager endpoints";
const ONE: &str = "True Accepted: 1 service(s) exported from clusters have been accepted as Traffic Manager endpoints";
const NONE: &str = "True Accepted: 0 service(s) exported from clusters have been accepted as Traffic Manager endpoints";
const EXPORTING: &str = "Unknown Pending: In the process of exporting the services";

/// A hub whose profile `shop` is programmed.
async fn with_profile() -> (Hub, Fake) {
    let hub = Hub::paused().await;
    let fake = Fake::default();
    hub.control(Arc::new(fake.clone()));
    hub.create_profile("shop", Value::Null).await;
    hub.profile_says("shop", "True").await;
    (hub, fake)
}

/// The same with backend `web`, behind which are both members.
async fn with_backend() -> (Hub, Fake) {
    let (hub, fake) = with_profile().await;
    hub.export(&[("a", 100, "203.0.113.1"), ("b", 200, "203.0.113.2")]).await;
    hub.create_backend("web", "shop", 500).await;
    hub.backend_says("web", BOTH).await;
    (hub, fake)
}

fn foreign() -> FoundEndpoint {
    let endpoint = Endpoint {
        name: "of somebody else".to_owned(),
        target: "/IPs/9".to_owned(),
        weight: 7,
        is_ours_in_form: false,
    };
    FoundEndpoint { endpoint, resource_id: "/endpoints/9".to_owned(), address: None }
}

#[tokio::test(start_paused = true)]
async fn a_backend_puts_members_behind_the_name_by_weight_and_takes_only_them_away() {
    let (hub, fake) = with_backend().await;
    assert_eq!(fake.endpoints(), ["web#a 167", "web#b 334"]);
    hub.backend_has("web", &["a 167", "b 334"]).await;
    let backend = hub.backends().get("web").await.unwrap();
    assert_eq!(
        backend.finalizers(),
        [
            "networking.fleet.azure.com/metrics-cleanup",
            "networking.fleet.azure.com/traffic-manager-backend-cleanup",
        ]
    );
    let endpoint = &backend.status.as_ref().unwrap().endpoints[0];
    assert_eq!(endpoint.target.as_deref(), Some("203.0.113.1"));
    assert_eq!(endpoint.resource_id, format!("/endpoints/{}", endpoint.name));
    assert_eq!(endpoint.from.as_ref().unwrap().weight, Some(100));
    let figures = hub.metrics.render();
    let figure = "fleet_networking_traffic_manager_backend_status_last_timestamp_seconds{namespace=\"app\",name=\"web\",generation=\"1\",condition=\"Accepted\",status=\"True\",reason=\"Accepted\"}";
    assert!(figures.contains(figure), "{figures}");

    fake.change(|found| found.endpoints.push(foreign()));
    delete(&hub.backends(), "web").await;
    gone(&hub.backends(), "web").await;
    assert_eq!(fake.endpoints(), ["of somebody else 7"]);
    assert!(told(&hub.events(), "web", &["Deleted"]).await.contains(&"Deleted".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_backend_waits_for_everything_that_it_needs() {
    let hub = Hub::paused().await;
    let fake = Fake::default();
    fake.fail("put_profile", Some(409));
    hub.control(Arc::new(fake.clone()));
    hub.create_backend("web", "shop", 1).await;
    hub.backend_says("web", "False Invalid: TrafficManagerProfile \"shop\" is not found").await;
    hub.create_profile("shop", Value::Null).await;
    let invalid = "False Invalid: Invalid trafficManagerProfile \"shop\", please check the trafficManagerProfile status";
    hub.backend_says("web", invalid).await;
    fake.fail("put_profile", None);
    hub.backend_says("web", "False Invalid: ServiceImport \"web\" is not found").await;
    hub.export(&[("a", 1, "203.0.113.1")]).await;
    hub.backend_says("web", ONE).await;
    hub.accept(&[]).await;
    hub.backend_says("web", EXPORTING).await;
    hub.backend_has("web", &[]).await;
    hub.accept(&["a", "b"]).await;
    hub.backend_says("web", EXPORTING).await;
    assert_eq!(fake.endpoints(), ["web#a 1"], "what is served goes on until more is known");
    hub.accept(&["a"]).await;
    hub.backend_says("web", ONE).await;
    delete(&hub.imports(), "web").await;
    hub.backend_says("web", "False Invalid: ServiceImport \"web\" is not found").await;
    assert!(fake.endpoints().is_empty());
}

#[tokio::test(start_paused = true)]
async fn weights_follow_the_backend_and_the_exports() {
    let (hub, fake) = with_backend().await;
    merge(&hub.backends(), "web", json!({"spec": {"weight": 30}})).await;
    hub.backend_has("web", &["a 10", "b 20"]).await;
    merge(&hub.exports("b"), "app-web", json!({"spec": {"weight": 100}})).await;
    hub.backend_has("web", &["a 15", "b 15"]).await;
    assert_eq!(fake.endpoints(), ["web#a 15", "web#b 15"]);
    merge(&hub.backends(), "web", json!({"spec": {"weight": 0}})).await;
    hub.backend_says("web", NONE).await;
    assert!(fake.endpoints().is_empty());
    merge(&hub.backends(), "web", json!({"spec": {"weight": 30}})).await;
    hub.backend_has("web", &["a 15", "b 15"]).await;
    // A member withdraws its export.
    hub.accept(&["b"]).await;
    hub.backend_has("web", &["b 30"]).await;
    assert_eq!(fake.endpoints(), ["web#b 30"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_clients_cannot_reach_is_named_and_the_other_goes_on() {
    let (hub, fake) = with_backend().await;
    for (spec, want) in [
        (json!({"type": "ClusterIP"}), "unsupported service type \"ClusterIP\""),
        (
            json!({"type": "LoadBalancer", "isInternalLoadBalancer": true}),
            "internal load balancer is not supported",
        ),
        (
            json!({"isInternalLoadBalancer": false, "publicIPResourceID": null}),
            "in the processing of configuring public IP",
        ),
        (
            json!({"publicIPResourceID": address_id("b", "203.0.113.2"), "isDNSLabelConfigured": false}),
            "DNS label is not configured to the public IP",
        ),
    ] {
        merge(&hub.exports("b"), "app-web", json!({ "spec": spec })).await;
        let want = format!(
            "False Invalid: 1 service(s) exported from clusters cannot be exposed as the Traffic Manager endpoints, for example, service exported from b is invalid: {want}"
        );
        hub.backend_says("web", &want).await;
        hub.backend_has("web", &["a 500"]).await;
        assert_eq!(fake.endpoints(), ["web#a 500"]);
    }
    merge(&hub.exports("b"), "app-web", json!({"spec": {"isDNSLabelConfigured": true}})).await;
    hub.backend_says("web", BOTH).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_does_not_take_is_told_and_tried_again() {
    for (status, want, n_calls) in [
        (400, "False Invalid: 2 endpoint(s) were refused, for example, ", 2),
        (403, "False Invalid: 2 endpoint(s) were refused, for example, ", 2),
        (404, "False Invalid: 2 endpoint(s) were refused, for example, ", 2),
        (409, "False Invalid: 2 endpoint(s) were refused, for example, ", 2),
        (429, "Unknown Pending: Failed to configure endpoint ", 1),
        (500, "Unknown Pending: Failed to configure endpoint ", 1),
    ] {
        let (hub, fake) = with_profile().await;
        fake.fail("put_endpoint", Some(status));
        hub.export(&[("a", 1, "203.0.113.1"), ("b", 1, "203.0.113.2")]).await;
        hub.create_backend("web", "shop", 10).await;
        hub.backend_says("web", want).await;
        hub.backend_has("web", &[]).await;
        let n_puts = fake.state().calls.iter().filter(|call| *call == "put_endpoint").count();
        assert_eq!(n_puts % n_calls, 0, "{status}: what is refused does not keep the rest from it");
        told(&hub.events(), "web", &["AzureAPIError"]).await;
        fake.fail("put_endpoint", None);
        hub.backend_says("web", BOTH).await;
        assert_eq!(fake.endpoints(), ["web#a 5", "web#b 5"]);
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_cannot_be_deleted_stay_in_sight() {
    let (hub, fake) = with_backend().await;
    fake.fail("delete_endpoint", Some(500));
    merge(&hub.backends(), "web", json!({"spec": {"weight": 0}})).await;
    hub.backend_says("web", "Unknown Pending: Failed to delete endpoints and retrying").await;
    fake.fail("delete_endpoint", None);
    hub.backend_says("web", NONE).await;

    merge(&hub.backends(), "web", json!({"spec": {"weight": 2}})).await;
    hub.backend_says("web", BOTH).await;
    fake.fail("delete_endpoint", Some(429));
    delete(&hub.backends(), "web").await;
    fake.called(4).await;
    assert!(!hub.backends().get("web").await.unwrap().finalizers().is_empty(), "it waits");
    fake.fail("delete_endpoint", None);
    gone(&hub.backends(), "web").await;
    assert!(fake.endpoints().is_empty());
}

#[tokio::test(start_paused = true)]
async fn names_are_the_same_in_any_case_and_changes_by_hand_are_mended_with_the_next_one() {
    let (hub, fake) = with_backend().await;
    fake.change(|found| {
        found.endpoints.push(foreign());
        for one in &mut found.endpoints[..2] {
            one.endpoint.name = one.endpoint.name.to_ascii_uppercase();
            one.endpoint.target = one.endpoint.target.to_ascii_uppercase();
        }
    });
    let n_puts = || fake.state().calls.iter().filter(|call| *call == "put_endpoint").count();
    let before = n_puts();
    // It changes nothing, but lets the backend be looked at.
    hub.accept(&["b", "a"]).await;
    fake.called(1).await;
    hub.backend_says("web", BOTH).await;
    assert_eq!(n_puts(), before, "upper case is no difference");

    fake.change(|found| {
        found.endpoints[0].endpoint.weight = 1;
        found.endpoints.remove(1);
    });
    hub.accept(&["a", "b"]).await;
    fake.called(3).await;
    hub.backend_says("web", BOTH).await;
    assert_eq!(fake.endpoints().len(), 3);
    assert!(fake.endpoints().contains(&"of somebody else 7".to_owned()), "{:?}", fake.endpoints());
    let weights: i64 = fake.profile().endpoints.iter().map(|one| one.endpoint.weight).sum();
    assert_eq!(weights, 167 + 334 + 7);
}

#[tokio::test(start_paused = true)]
async fn the_second_backend_of_a_service_waits_for_the_first() {
    let (hub, fake) = with_backend().await;
    hub.create_backend("again", "shop", 500).await;
    hub.backend_says("again", "False Invalid: 2 endpoint(s) were refused").await;
    hub.backend_says("web", BOTH).await;
    delete(&hub.backends(), "web").await;
    hub.backend_says("again", BOTH).await;
    gone(&hub.backends(), "web").await;
    assert_eq!(fake.endpoints(), ["web#a 167", "web#b 334"]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_says_that_its_profile_is_gone_and_comes_back_with_the_next_one() {
    let (hub, fake) = with_backend().await;
    delete(&hub.profiles(), "shop").await;
    gone(&hub.profiles(), "shop").await;
    hub.backend_says("web", "False Invalid: TrafficManagerProfile \"shop\" is not found").await;
    assert!(fake.state().profiles.is_empty());
    hub.create_profile("shop", Value::Null).await;
    hub.backend_says("web", BOTH).await;
    assert_eq!(fake.endpoints().len(), 2);
    // Without its profile it goes at once: there is nothing of it at the provider.
    delete(&hub.profiles(), "shop").await;
    gone(&hub.profiles(), "shop").await;
    delete(&hub.backends(), "web").await;
    gone(&hub.backends(), "web").await;
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_starts_again_brings_a_provider_that_forgot_all_up_to_date() {
    let hub = Hub::paused().await;
    let first = Fake::default();
    let life = hub.control(Arc::new(first.clone()));
    hub.create_profile("shop", Value::Null).await;
    hub.export(&[("a", 1, "203.0.113.1"), ("b", 1, "203.0.113.2")]).await;
    hub.create_backend("web", "shop", 10).await;
    hub.backend_says("web", BOTH).await;
    let before = hub.backends().get("web").await.unwrap().resource_version();
    life.abort();
    let second = Fake::default();
    hub.control(Arc::new(second.clone()));
    // Reads and puts of the profile, reads and two puts of endpoints.
    second.called(5).await;
    assert_eq!(second.endpoints(), ["web#a 5", "web#b 5"]);
    merge(&hub.backends(), "web", json!({"spec": {"weight": 20}})).await;
    hub.backend_has("web", &["a 10", "b 10"]).await;
    let after = hub.backends().get("web").await.unwrap();
    assert_ne!(after.resource_version(), before);
    assert_eq!(first.endpoints(), ["web#a 5", "web#b 5"]);
}

#[tokio::test(start_paused = true)]
async fn no_member_speaks_for_another() {
    let (hub, fake) = with_profile().await;
    hub.export(&[("a", 1, "203.0.113.1")]).await;
    hub.create_backend("web", "shop", 10).await;
    hub.backend_says("web", ONE).await;
    // Member b says that it is a.
    let mut forged = hub.exports("a").get("app-web").await.unwrap();
    forged.metadata = kube::api::ObjectMeta { name: Some("forged".into()), ..Default::default() };
    forged.spec.public_ip_resource_id = Some(address_id("a", "198.51.100.66"));
    crate::fleet::create(&hub.exports("b"), &forged).await;
    merge(&hub.backends(), "web", json!({"spec": {"weight": 20}})).await;
    hub.backend_has("web", &["a 20"]).await;
    let target = &fake.profile().endpoints[0].endpoint.target;
    assert!(target.ends_with("203.0.113.1"), "{target}");
}
