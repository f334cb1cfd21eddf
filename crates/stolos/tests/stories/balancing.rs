//! Services across clusters: clients of one address reach the pods of all clusters.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::{self, Up};
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

pub(crate) fn stolos(up: &Up, args: &[&str]) -> String {
    let output = backend::stolos(args, Some(&up.kubeconfig()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "stolos {} failed: {stderr}", args.join(" "));
    String::from_utf8(output.stdout).expect("stolos prints UTF-8")
}

pub(crate) fn stolos_json(up: &Up, args: &[&str]) -> Value {
    let printed = stolos(up, &[args, &["-o", "json"]].concat());
    serde_json::from_str(&printed).expect("it prints JSON")
}

/// Members 1 and 2 export with weights 1 and 3, member 3 imports.
fn the_commands_show_it(up: &Up, address: &str) {
    let listed = stolos(up, &["service", "list"]);
    let row = listed.lines().find(|line| line.starts_with("shop")).unwrap_or_default();
    let cells: Vec<_> = row.split_whitespace().collect();
    let want =
        ["shop", "web", "fleet", "web:8000/TCP", "4", "member-1,member-2", "member-3", "Serving"];
    assert_eq!(cells, want, "{listed}");

    let shown = stolos_json(up, &["service", "show", "web", "-n", "shop"]);
    let shares: Vec<_> = shown["exporters"].as_array().into_iter().flatten().collect();
    assert_eq!(shares.iter().map(|one| &one["percent"]).collect::<Vec<_>>(), [25.0, 75.0]);
    assert_eq!(shown["importers"][0]["addresses"][0], address, "{shown}");
    assert_eq!(shown["findings"], json!([]));

    // Rates are those of the connections that are made meanwhile.
    let top = std::thread::scope(|scope| {
        let top = ["service", "top", "web", "-n", "shop", "--once", "--interval", "2s"];
        let top = scope.spawn(move || stolos_json(up, &top));
        while !top.is_finished() {
            answers(address, 20);
        }
        top.join().expect("it ends")
    });
    let service = &top["services"][0];
    assert_eq!(
        (&service["importer"], &service["service"]),
        (&json!("member-3"), &json!("fleet-system/shop-web"))
    );
    let rate = |cluster: usize| service["clusters"][cluster]["connections"].as_f64().unwrap_or(0.0);
    assert!(rate(0) > 0.0 && rate(1) > rate(0), "{service}");

    let absent =
        backend::stolos(&["service", "show", "nothing", "-n", "shop"], Some(&up.kubeconfig()));
    let told = String::from_utf8_lossy(&absent.stderr);
    assert!(told.contains("shop/nothing") && told.contains("`shop/web`"), "{told}");
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
    the_commands_show_it(&up, &address);

    // Pods that leave get no connections, and the address stays.
    up.kubectl("member-2").run(&["-n", "shop", "scale", "deployment/web", "--replicas=0"]);
    wait_for_answers_of(&address, &["member-1"]);
    let all = answers(&address, 100);
    assert_eq!(all, BTreeMap::from([("member-1".to_owned(), 100)]));
    let explained = stolos(&up, &["explain", "service", "web", "-n", "shop"]);
    assert!(explained.contains("new connections go to member-1 100%"), "{explained}");
    assert!(explained.contains("member-2 exports it, but has no endpoint"), "{explained}");
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
