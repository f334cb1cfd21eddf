//! Services across clusters: clients of one address reach the pods of all clusters.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::Up;
use crate::kubectl::{Kubectl, wait_until};

/// Longest wait for an answer of a pod.
const PATIENCE: Duration = Duration::from_secs(10);

const PORT: u16 = 8000;

/// A Deployment of two pods, and its Service, which is exported.
fn shop(weight: u32) -> String {
    let labels = json!({"app": "web"});
    let container = json!({"name": "web", "image": "web", "ports": [{"containerPort": 8080}]});
    let weight = json!({"networking.fleet.azure.com/weight": weight.to_string()});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "selector": labels, "ports": [{"name": "web", "port": PORT, "targetPort": 8080}],
            },
        }),
        json!({
            "apiVersion": "networking.fleet.azure.com/v1alpha1", "kind": "ServiceExport",
            "metadata": {"name": "web", "namespace": "shop", "annotations": weight},
        }),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn import() -> String {
    json!({
        "apiVersion": "networking.fleet.azure.com/v1alpha1", "kind": "MultiClusterService",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"serviceImport": {"name": "web"}},
    })
    .to_string()
}

/// Waits until the MultiClusterService has an address.
fn address(member: &Kubectl) -> String {
    wait_until("the service has an address", || {
        let service = member.get(&["-n", "shop", "multiclusterservice", "web"]);
        let service = service.unwrap_or_default();
        match service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str() {
            Some(ip) => Ok(ip.to_owned()),
            None => Err(service["status"].clone()),
        }
    })
}

/// Asks who answers at an address; nothing if nobody does.
fn ask(address: &str) -> Option<String> {
    let mut connection = TcpStream::connect((address, PORT)).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    connection.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned())
}

/// Counts by cluster who answers; those who get no answer count under an empty name.
fn answers(address: &str, n: u32) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for _ in 0..n {
        let body = ask(address).unwrap_or_default();
        let cluster = body.split_whitespace().next().unwrap_or_default();
        let cluster = cluster.strip_prefix("cluster=").unwrap_or_default().to_owned();
        *counts.entry(cluster).or_default() += 1;
    }
    counts
}

/// Waits until exactly these clusters answer.
fn wait_for_answers_of(address: &str, clusters: &[&str]) {
    wait_until("the clusters answer", || {
        let counts = answers(address, 40);
        let is_it = counts.keys().eq(clusters.iter());
        if is_it { Ok(()) } else { Err(json!(counts)) }
    });
}

#[test]
fn one_address_reaches_the_pods_of_all_clusters_by_their_weights() {
    let Some(mut up) = Up::start_networked(3) else { return };
    up.kubectl("hub").run(&["create", "namespace", "shop"]);
    up.kubectl("member-1").apply(&shop(1));
    up.kubectl("member-2").apply(&shop(3));
    let importer = up.kubectl("member-3");
    importer.run(&["create", "namespace", "shop"]);
    importer.apply(&import());
    let address = address(&importer);
    wait_for_answers_of(&address, &["member-1", "member-2"]);
    let counts = answers(&address, 400);
    // A quarter of them, give or take five standard deviations.
    assert!((57..=143).contains(&counts["member-1"]), "{counts:?}");

    // Pods that leave get no connections, and the address stays.
    up.kubectl("member-2").run(&["-n", "shop", "scale", "deployment/web", "--replicas=0"]);
    wait_for_answers_of(&address, &["member-1"]);
    let all = answers(&address, 100);
    assert_eq!(all, BTreeMap::from([("member-1".to_owned(), 100)]));
    up.kubectl("member-2").run(&["-n", "shop", "scale", "deployment/web", "--replicas=1"]);
    wait_for_answers_of(&address, &["member-1", "member-2"]);
    let export = "serviceexports.networking.fleet.azure.com";
    up.kubectl("member-1").run(&["-n", "shop", "delete", export, "web"]);
    wait_for_answers_of(&address, &["member-2"]);

    up.kill();
    up.restart();
    wait_for_answers_of(&address, &["member-2"]);
    let importer = up.kubectl("member-3");
    let derived = importer.get(&["-n", "fleet-system", "service", "shop-web"]).unwrap_or_default();
    let ingress = &derived["status"]["loadBalancer"]["ingress"][0];
    assert_eq!(ingress["ip"], Value::from(address.as_str()), "the address survives a crash");
    assert_eq!(ingress["ipMode"], "Proxy");
}
