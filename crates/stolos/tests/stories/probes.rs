//! What probes and Prometheus read of a role, on both backends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::Value;

use crate::backend::{Backend, Processes};
use crate::kubectl::wait_until;

#[test]
fn a_role_is_ready_once_it_has_read_what_it_needs_embedded() {
    story(Backend::Embedded);
}

#[test]
fn a_role_is_ready_once_it_has_read_what_it_needs_kubernetes() {
    story(Backend::Kubernetes);
}

fn story(backend: Backend) {
    let Some(mut fleet) = Processes::servers(backend, 1) else { return };
    fleet.install(1);
    let (hub_at, agent_at) = (free(), free());
    fleet.start_hub(&["--metrics-bind-address", &hub_at.to_string()]);
    answers(hub_at, "/readyz", 200, "ok");
    let figures = get(hub_at, "/metrics").expect("it serves").1;
    assert!(figures.contains("# TYPE scheduling_active_workers gauge\n"), "{figures}");
    assert!(figures.contains("\nscheduling_active_workers 0\n"), "{figures}");

    // Nobody has announced the member, so its agent may not read a thing; it is alive all the same.
    let hub = fleet.kubectl("hub");
    hub.run(&["-n", "fleet-system", "create", "serviceaccount", "member-1"]);
    let probe = agent_at.to_string();
    let options = [
        "--health-probe-bind-address",
        &probe,
        "--property-provider=azure",
        "--leader-lease-duration=15s",
        "--leader-renew-deadline=10s",
        "--leader-retry-period=2s",
    ];
    fleet.start_agent_with("member-1", &options);
    answers(agent_at, "/readyz", 503, "member-agent waits for InternalMemberCluster, Work\n");
    answers(agent_at, "/healthz", 200, "ok");
    let lease = ["-n", "fleet-system", "lease", "stolos-member"];
    let lease = fleet.kubectl("member-1").wait_for("it leads", &lease, |lease| !lease.is_null());
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);

    fleet.announce("member-1");
    fleet.wait_until_joined("member-1");
    answers(agent_at, "/readyz", 200, "ok");

    // What its provider cannot tell is said on the member.
    let member = ["memberclusters.v1beta1.cluster.kubernetes-fleet.io", "member-1"];
    hub.wait_for("the provider is told of", &member, |found| {
        let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is = |type_: &str, status: &str, reason: &str| {
            all.iter().any(|c| c["type"] == type_ && c["status"] == status && c["reason"] == reason)
        };
        is("ClusterPropertyProviderStarted", "True", "Started")
            && is("AKSClusterCostPropertiesCollectionSucceeded", "False", "CostsCalculationFailed")
    });
    // With prices it tells what a core costs: 2 nodes of 4 cores and 16 GiB each.
    fleet.kill("member-1");
    let folder = tempfile::tempdir().expect("a folder");
    let prices = folder.path().join("prices.yaml");
    std::fs::write(&prices, "Standard_D4s_v5: 0.2\n").expect("it can be written");
    let sku = "node.kubernetes.io/instance-type=Standard_D4s_v5";
    fleet.kubectl("member-1").run(&["label", "nodes", "--all", sku]);
    let prices = format!("--sku-prices={}", prices.display());
    fleet.start_agent_with("member-1", &["--property-provider=azure", &prices]);
    let told = hub.wait_for("costs are told", &member, |found| {
        let properties = &found["status"]["properties"];
        !properties["kubernetes.azure.com/per-cpu-core-cost"].is_null()
    });
    let cost = |of: &str| {
        told["status"]["properties"][format!("kubernetes.azure.com/{of}")]["value"].clone()
    };
    assert_eq!(
        (cost("per-cpu-core-cost"), cost("per-gb-memory-cost")),
        ("0.050".into(), "0.013".into())
    );
    fleet.kill("member-1");
    fleet.start_agent_with("member-1", &["--property-provider=gcp"]);
    let told = hub
        .wait_for("the provider is refused", &member, |found| provider(found)["status"] == "False");
    assert_eq!(provider(&told)["reason"], "FailedToStart");
    let message = provider(&told)["message"].as_str().expect("a message");
    assert!(message.contains("there is no property provider `gcp`"), "{message}");
    assert_eq!(told["status"]["properties"]["kubernetes-fleet.io/node-count"]["value"], "2");
    let types = told["status"]["conditions"].as_array().expect("a list").iter();
    let mut types = types.map(|c| c["type"].as_str().unwrap_or_default());
    assert!(types.all(|type_| !type_.starts_with("AKS")), "{told}");
}

fn provider(member: &Value) -> &Value {
    let conditions = member["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.find(|c| c["type"] == "ClusterPropertyProviderStarted").unwrap_or(&Value::Null)
}

/// Returns an address of this machine where nobody listens.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// Waits until a path is answered so.
fn answers(at: SocketAddr, path: &str, code: u16, text: &str) {
    wait_until(&format!("{path} answers {code}"), || match get(at, path) {
        Some(answer) if answer == (code, text.to_owned()) => Ok(()),
        answer => Err(Value::from(format!("{answer:?}"))),
    });
}

/// Asks as a kubelet does; nothing while nobody answers.
pub(crate) fn get(at: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(at).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}
