//! What the data plane is asked for, and what is told of it.

use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams};
use serde_json::{Value, json};
use stolos_api::network::MultiClusterService;

use crate::world::{Recorder, World, condition, derived, ingress, shown};

const POOL: &str = "192.0.2.0/29";

fn web() -> Value {
    json!([{"name": "web", "port": 80}])
}

#[tokio::test]
async fn a_service_gets_an_address_and_the_endpoints_of_all_members() {
    let (world, plane) = (World::start().await, Recorder::start());
    let _running = world.balance(&plane, POOL, None);
    world.import("web", web(), json!({})).await;
    plane.asked(&["192.0.2.1:80/TCP: "]).await;
    world.export("web", "a", 1, &[("10.1.0.1", 8080)]).await;
    world.export("web", "b", 3, &[("10.2.0.1", 9090), ("10.2.0.2", 9090)]).await;
    let all = "192.0.2.1:80/TCP: 10.1.0.1:8080 of a, 10.2.0.1:9090 of b, 10.2.0.2:9090 of b";
    plane.asked(&[all]).await;
    let desired = plane.last().unwrap();
    let weights = &desired.vips[0].balance.weights;
    assert_eq!(*weights, [("a".to_owned(), 1), ("b".to_owned(), 3)].into());
    assert_eq!(desired.vips[0].service, "fleet-system/app-web");
    let status = world.status("web", |status| !ingress(status)["ip"].is_null()).await;
    let want = json!({
        "ip": "192.0.2.1", "ipMode": "Proxy", "ports": [{"port": 80, "protocol": "TCP"}],
    });
    assert_eq!(*ingress(&status), want);
    assert_eq!(condition(&status), "True Served: connections are taken at 192.0.2.1:80/TCP");

    world.withdraw("web", "a").await;
    plane.asked(&["192.0.2.1:80/TCP: 10.2.0.1:9090 of b, 10.2.0.2:9090 of b"]).await;
    world.services().delete(&derived("web"), &DeleteParams::default()).await.unwrap();
    plane.asked(&[]).await;
    assert_eq!(world.events("web").await, []);
}

#[tokio::test]
async fn services_of_other_classes_are_left_alone() {
    let (world, plane) = (World::start().await, Recorder::start());
    let _running = world.balance(&plane, POOL, None);
    world.import("web", web(), json!({})).await;
    world.address("web").await;
    let mut other = world.services().get(&derived("web")).await.unwrap();
    let labels = other.metadata.labels.take();
    other.metadata = ObjectMeta { name: Some("other".to_owned()), labels, ..ObjectMeta::default() };
    let spec = other.spec.as_mut().unwrap();
    (spec.load_balancer_class, spec.cluster_ip, spec.cluster_ips) = (None, None, None);
    for port in spec.ports.iter_mut().flatten() {
        port.node_port = None;
    }
    other.status = None;
    world.services().create(&kube::api::PostParams::default(), &other).await.unwrap();
    // What is asked for after that knows of it.
    world.import("api", web(), json!({})).await;
    world.address("api").await;
    plane.asked(&["192.0.2.2:80/TCP: ", "192.0.2.1:80/TCP: "]).await;
    let other = world.services().get("other").await.unwrap();
    assert_eq!(other.status.and_then(|status| status.load_balancer?.ingress), None);
}

#[tokio::test]
async fn addresses_outlive_the_balancer_and_an_exhausted_pool_is_told() {
    let (world, plane) = (World::start().await, Recorder::start());
    let running = world.balance(&plane, "192.0.2.0/30", None);
    world.import("a", web(), json!({})).await;
    assert_eq!(world.address("a").await, "192.0.2.1");
    world.import("b", web(), json!({"network.fleet.stolos.dev/vip": "192.0.2.2"})).await;
    assert_eq!(world.address("b").await, "192.0.2.2");
    running.stop().await;

    let plane = Recorder::start();
    let _running = world.balance(&plane, "192.0.2.0/30", None);
    plane.asked(&["192.0.2.1:80/TCP: ", "192.0.2.2:80/TCP: "]).await;
    world.import("c", web(), json!({})).await;
    let message = world.event("c", "AddressPoolExhausted").await;
    let want = "all 2 addresses of the pool 192.0.2.0/30 are taken; a larger pool or fewer services would help";
    assert_eq!(message, want);
    let status = world.status("c", |status| !condition(status).starts_with(' ')).await;
    assert_eq!(condition(&status), format!("False AddressPoolExhausted: {want}"));
    assert!(ingress(&status).is_null());
    // Room for one is enough.
    world.services().delete(&derived("a"), &DeleteParams::default()).await.unwrap();
    assert_eq!(world.address("c").await, "192.0.2.1");
    plane.asked(&["192.0.2.2:80/TCP: ", "192.0.2.1:80/TCP: "]).await;
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_told_and_tried_again_and_the_others_are_served() {
    let (world, plane) = (World::start().await, Recorder::start());
    plane.take(80, true);
    let _running = world.balance(&plane, POOL, None);
    let ports = json!([{"name": "web", "port": 80}, {"name": "tls", "port": 443}]);
    world.import("web", ports, json!({})).await;
    world.import("api", json!([{"name": "web", "port": 8080}]), json!({})).await;
    let status = world.status("web", |status| !ingress(status).is_null()).await;
    let want = json!([
        {"port": 80, "protocol": "TCP", "error": "network.fleet.stolos.dev/AddressInUse"},
        {"port": 443, "protocol": "TCP"},
    ]);
    assert_eq!(ingress(&status)["ports"], want);
    let address = ingress(&status)["ip"].as_str().unwrap();
    let want = format!("`{address}:80/TCP` is in use by another program on this machine");
    assert_eq!(condition(&status), format!("False AddressInUse: {want}"));
    assert_eq!(world.event("web", "AddressInUse").await, want);
    let other = world.status("api", |status| !ingress(status).is_null()).await;
    assert!(condition(&other).starts_with("True Served: "), "{other}");

    plane.take(80, false);
    world.status("web", |status| condition(status).starts_with("True")).await;
    assert!(world.event("web", "Served").await.contains("connections are taken at"));
    let n_asked = plane.n_asked();
    world.import("last", json!([{"name": "web", "port": 8080}]), json!({})).await;
    world.address("last").await;
    assert!(plane.n_asked() <= n_asked + 2, "what is served is not asked for again and again");
}

#[tokio::test]
async fn endpoints_that_cannot_be_are_left_out_and_told() {
    let (world, plane) = (World::start().await, Recorder::start());
    let _running = world.balance(&plane, POOL, None);
    world.import("web", web(), json!({})).await;
    world.export("web", "evil", 1, &[("169.254.169.254", 80), ("10.1.0.1", 80)]).await;
    plane.asked(&["192.0.2.1:80/TCP: 10.1.0.1:80 of evil"]).await;
    let want = "endpoints of cluster `evil` are left out: endpoint address 169.254.169.254 is link-local, where clouds \
                keep their metadata; pods have routable addresses";
    assert_eq!(world.event("web", "EndpointsRefused").await, want);
    // A change of something else is not told again.
    world.export("web", "evil", 1, &[("169.254.169.254", 80), ("10.1.0.2", 80)]).await;
    plane.asked(&["192.0.2.1:80/TCP: 10.1.0.2:80 of evil"]).await;
    world.export("web", "worse", 1, &[("0.0.0.0", 80)]).await;
    let told = async {
        while world.events("web").await.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    crate::world::soon(told).await;
    let told = world.events("web").await;
    assert_eq!(
        told.iter().filter(|(_, message)| message.contains("`evil`")).count(),
        1,
        "{told:?}"
    );
}

#[tokio::test]
async fn annotations_that_cannot_be_read_keep_what_is_served() {
    let (world, plane) = (World::start().await, Recorder::start());
    let _running = world.balance(&plane, POOL, None);
    let drain = "network.fleet.stolos.dev/drain-seconds";
    world.import("web", web(), json!({drain: "7"})).await;
    world.address("web").await;
    let origins = world.member.inside::<MultiClusterService>("app");
    let wrong = Patch::Merge(json!({"metadata": {"annotations": {drain: "soon"}}}));
    origins.patch("web", &PatchParams::default(), &wrong).await.unwrap();
    let message = world.event("web", "AnnotationsMalformed").await;
    let want = "metadata.annotations[network.fleet.stolos.dev/drain-seconds]: must be a whole number between 0 and \
                86400, not `soon`; served as before";
    assert_eq!(message, want);
    assert_eq!(world.address("web").await, "192.0.2.1");
    let desired = plane.last().unwrap();
    assert_eq!(desired.vips[0].balance.settings.drain_seconds, 7);
    // One that was never served waits until it can be read.
    world.import("new", web(), json!({drain: "soon"})).await;
    world.event("new", "AnnotationsMalformed").await;
    assert_eq!(world.events("web").await.len(), 1, "it is told once");
    assert_eq!(shown(&plane.last().unwrap()), ["192.0.2.1:80/TCP: "]);
    let right = Patch::Merge(json!({"metadata": {"annotations": {drain: "1"}}}));
    origins.patch("new", &PatchParams::default(), &right).await.unwrap();
    assert_eq!(world.address("new").await, "192.0.2.2");
}

#[tokio::test]
async fn a_restart_without_the_hub_goes_on_by_what_the_member_knows() {
    let (world, plane) = (World::start().await, Recorder::start());
    let running = world.balance(&plane, POOL, None);
    world.import("web", web(), json!({})).await;
    world.export("web", "a", 2, &[("10.1.0.1", 8080)]).await;
    let served = "192.0.2.1:80/TCP: 10.1.0.1:8080 of a";
    plane.asked(&[served]).await;
    world.address("web").await;
    let last = plane.last().unwrap();
    running.stop().await;

    // Neither its own state nor the hub: the member is enough.
    let plane = Recorder::start();
    let running = world.balance_without_hub(&plane, POOL, None);
    plane.asked(&[served]).await;
    assert_eq!(plane.last().unwrap().vips[0].balance.weights, [("a".to_owned(), 2)].into());
    running.stop().await;

    // What happens on the member is followed without the hub too.
    let plane = Recorder::start();
    let running = world.balance_without_hub(&plane, POOL, Some(last.clone()));
    world.import("api", web(), json!({})).await;
    plane.asked(&["192.0.2.2:80/TCP: ", served]).await;
    world.services().delete(&derived("api"), &DeleteParams::default()).await.unwrap();
    plane.asked(&[served]).await;
    running.stop().await;

    // The member has lost its copy and the hub is silent: the last state says what is served.
    world.withdraw("web", "a").await;
    let plane = Recorder::start();
    let running = world.balance_without_hub(&plane, POOL, Some(last.clone()));
    plane.asked(&[served]).await;
    running.stop().await;

    // The hub answers that there are none.
    let plane = Recorder::start();
    let _running = world.balance(&plane, POOL, Some(last));
    plane.asked(&["192.0.2.1:80/TCP: "]).await;
}

#[tokio::test]
async fn a_hub_that_has_lost_its_objects_takes_no_endpoints_away() {
    let (world, plane) = (World::start().await, Recorder::start());
    let running = world.balance(&plane, POOL, None);
    world.import("web", web(), json!({})).await;
    world.export("web", "a", 2, &[("10.1.0.1", 8080)]).await;
    let served = "192.0.2.1:80/TCP: 10.1.0.1:8080 of a";
    plane.asked(&[served]).await;
    world.address("web").await;
    running.stop().await;
    // Not withdrawn, just not there: the member's copy is still what the hub has last said.
    world.imports().delete("a-app-web", &DeleteParams::default()).await.unwrap();
    let plane = Recorder::start();
    let _running = world.balance(&plane, POOL, None);
    plane.asked(&[served]).await;
    // Wait for a decision that is certainly made after the hub's list.
    world.tell("web", "b", 1, &[("10.2.0.1", 8080)]).await;
    plane.asked(&["192.0.2.1:80/TCP: 10.1.0.1:8080 of a, 10.2.0.1:8080 of b"]).await;
}

#[tokio::test]
async fn a_service_of_the_last_state_that_is_gone_is_not_served() {
    let (world, plane) = (World::start().await, Recorder::start());
    let running = world.balance(&plane, POOL, None);
    world.import("web", web(), json!({})).await;
    world.import("api", web(), json!({})).await;
    world.address("web").await;
    world.address("api").await;
    let last = plane.last().unwrap();
    running.stop().await;
    world.services().delete(&derived("web"), &DeleteParams::default()).await.unwrap();
    let plane = Recorder::start();
    let _running = world.balance(&plane, POOL, Some(last));
    plane.asked(&["192.0.2.2:80/TCP: "]).await;
}
