//! Pre-flight checks and health gates, made by the hub.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stolos_api::update::{Gate, State, UpdateRun};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::updatable::{FLEET, Fleet};

fn is_completed(run: &UpdateRun) -> bool {
    run.status.as_ref().is_some_and(|status| status.status.state == State::Completed)
}

/// Whether the status of a run says something somewhere.
fn says(run: &UpdateRun, text: &str) -> bool {
    serde_json::to_string(&run.status).unwrap().contains(text)
}

fn gated(check: &Value, deadline: i32) -> Value {
    json!([{
        "name": "first", "groups": [{"name": "all"}],
        "beforeGates": [{"type": "HealthCheck", "healthCheck": {"checks": [check], "deadlineSeconds": deadline}}],
    }])
}

async fn healthy(fleet: &Fleet, value: &str) {
    let api = Api::<ConfigMap>::namespaced(fleet.member("m1"), "default");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "health"}, "data": {"ok": value}});
    api.patch("health", &PatchParams::apply("test").force(), &Patch::Apply(map)).await.unwrap();
}

fn map_is_ok() -> Value {
    json!({"name": "map", "cel": {
        "apiVersion": "v1", "kind": "ConfigMap", "namespace": "default", "expression": "object.data.ok == 'yes'",
    }})
}

#[tokio::test]
async fn a_budget_that_allows_nothing_holds_a_member_back_until_it_does() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    let budgets = Api::<PodDisruptionBudget>::namespaced(fleet.member("m1"), "default");
    let budget = json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 1}});
    let budget = serde_json::from_value(budget).unwrap();
    budgets.create(&PostParams::default(), &budget).await.unwrap();
    let allow = async |allowed: i32| {
        let status = json!({"status": {
            "expectedPods": 2, "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": allowed,
        }});
        budgets.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    };
    allow(0).await;
    fleet.control();
    let spec = json!({"spec": {
        "fleetName": FLEET, "state": "Run", "preflight": ["NodesReady", "PodDisruptionBudgets"],
        "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
    }});
    fleet.create_ours::<UpdateRun>("UpdateRun", "weekly", spec).await.unwrap();
    let reason = "`default/web` allows no disruption";
    fleet.until("weekly", |run: &UpdateRun| says(run, reason)).await;
    assert!(fleet.nodes().await.iter().all(|node| node.ends_with(" v1.33.0 0")));
    allow(1).await;
    fleet.until("weekly", is_completed).await;
}

#[tokio::test]
async fn a_gate_opens_when_the_objects_of_its_members_are_healthy() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    healthy(&fleet, "no").await;
    fleet.control();
    fleet.run("weekly", "1.34.1", gated(&map_is_ok(), 3600)).await;
    fleet.until("weekly", |run: &UpdateRun| says(run, "`default/health` is not healthy")).await;
    assert!(fleet.nodes().await.iter().all(|node| node.ends_with(" v1.33.0 0")));
    healthy(&fleet, "yes").await;
    fleet.until("weekly", is_completed).await;
}

#[tokio::test]
async fn a_gate_pauses_its_run_when_health_is_not_reached_in_time() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    healthy(&fleet, "no").await;
    fleet.control();
    fleet.run("weekly", "1.34.1", gated(&map_is_ok(), 2)).await;
    let missed = "health was not reached in time";
    let run = fleet.until("weekly", |run: &UpdateRun| says(run, missed)).await;
    assert!(fleet.nodes().await.iter().all(|node| node.ends_with(" v1.33.0 0")));
    let id = run.status.unwrap().stages[0].before_gates[0].gate_id.clone().unwrap();
    fleet.patch::<Gate>(&id, json!({"spec": {"state": "Completed"}})).await.unwrap();
    fleet.until("weekly", is_completed).await;
}

#[tokio::test]
async fn a_member_whose_users_ask_for_an_api_that_goes_away_is_held_back() {
    const GONE: &str = "apiserver_requested_deprecated_apis{group=\"g.io\",removed_release=\"1.34\",resource=\"widgets\",subresource=\"\",version=\"v1beta1\"} 1\n";
    let later = GONE.replace("1.34", "1.35");
    let fleet = Fleet::start(&[("m1", "all"), ("m2", "all"), ("m3", "all"), ("m4", "all")]).await;
    let metrics = [("m1", 200, GONE), ("m2", 403, "no"), ("m3", 200, &*later), ("m4", 200, "")];
    fleet.control_with_metrics(&metrics);
    let spec = json!({"spec": {
        "fleetName": FLEET, "state": "Run", "preflight": ["DeprecatedApis"],
        "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
    }});
    fleet.create_ours::<UpdateRun>("UpdateRun", "weekly", spec).await.unwrap();
    let done = |run: &UpdateRun| {
        let progress = run.status.as_ref().and_then(|status| status.progress.as_deref());
        progress == Some("2/4") && says(run, "\"state\":\"Pending\"")
    };
    let run = fleet.until("weekly", done).await;
    assert!(says(&run, "DeprecatedApis: `g.io/v1beta1 widgets` is asked for, and gone in 1.34"));
    assert!(says(&run, "DeprecatedApis: the metrics of the API server: it answers 403 Forbidden"));
    let upgraded = fleet.nodes().await.into_iter().filter(|node| node.ends_with(" v1.34.1 1"));
    let upgraded: Vec<String> = upgraded.collect();
    assert!(upgraded.iter().all(|node| node.starts_with("m3-") || node.starts_with("m4-")));
    assert_eq!(upgraded.len(), 4, "{upgraded:?}");
}

/// Answers one request after the other, 0 at first and then 1. Returns its address.
async fn prometheus() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for round in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let wanted = "GET /prefix/api/v1/query?query=sum%28up%29%20%3E%20bool%200&timeout=10s ";
            assert!(request.starts_with(wanted), "{request}");
            let value = if round == 0 { "0" } else { "1" };
            let body = json!({"status": "success", "data": {"resultType": "scalar", "result": [0, value]}});
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/prefix")
}

#[tokio::test]
async fn a_gate_asks_prometheus_until_it_is_content() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    let url = prometheus().await;
    let check = json!({"name": "up", "prometheus": {"url": url, "query": "sum(up) > bool 0", "intervalSeconds": 1}});
    fleet.control();
    fleet.run("weekly", "1.34.1", gated(&check, 3600)).await;
    fleet.until("weekly", |run: &UpdateRun| says(run, "the result is 0")).await;
    fleet.until("weekly", is_completed).await;
}
