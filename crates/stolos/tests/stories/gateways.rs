//! Members with the same pod network are reached by their gateways: one with certificates of the fleet on both sides, one
//! in plain text.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::{Backend, Processes};
use crate::kubectl::{Kubectl, wait_until};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pod of either cluster has this address; what differs is where it listens.
const POD: &str = "127.93.0.1";
/// Ports of the pods of `member-1` and `member-2`.
const PODS: [u16; 2] = [18_081, 18_082];
const GATEWAYS: [&str; 2] = ["127.93.1.1", "127.93.2.1"];
const POOL: &str = "127.93.3.0/29";
const PORT: u16 = 8000;

const SECRET: [&str; 4] = ["-n", "fleet-system", "secret", "stolos-gateway-tls"];
const EXPORT: [&str; 4] = ["-n", "shop", "svcexport", "web"];

/// Answers every connection with a name, for as long as the story runs.
fn answer(port: u16, name: &'static str) {
    let listener = TcpListener::bind((POD, port)).expect("an address of loopback");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            // Who only checks has gone by now.
            let _ = connection.and_then(|mut connection| connection.write_all(name.as_bytes()));
        }
    });
}

/// A Service with one pod, which is exported.
fn shop(pod_port: u16) -> String {
    let labels = json!({"kubernetes.io/service-name": "web"});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"ports": [{"name": "web", "port": PORT, "targetPort": "web"}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "web-pods", "namespace": "shop", "labels": labels},
            "addressType": "IPv4", "ports": [{"name": "web", "protocol": "TCP", "port": pod_port}],
            "endpoints": [{"addresses": [POD], "conditions": {"ready": true}}],
        }),
        json!({
            "apiVersion": "networking.fleet.azure.com/v1alpha1", "kind": "ServiceExport",
            "metadata": {"name": "web", "namespace": "shop"},
        }),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn import() -> String {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({
            "apiVersion": "networking.fleet.azure.com/v1alpha1", "kind": "MultiClusterService",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"serviceImport": {"name": "web"}},
        }),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn ask(address: &str) -> Option<String> {
    let mut connection = TcpStream::connect((address, PORT)).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Waits until exactly these clusters answer.
fn wait_for_answers_of(address: &str, clusters: &[&str]) {
    wait_until("the clusters answer", || {
        let mut counts = BTreeMap::new();
        for _ in 0..40 {
            *counts.entry(ask(address).unwrap_or_default()).or_insert(0) += 1;
        }
        let is_it = counts.keys().eq(clusters.iter());
        if is_it { Ok(()) } else { Err(json!(counts)) }
    });
}

fn told(export: &Value, type_: &str) -> bool {
    let conditions = export["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == type_ && one["status"] == "True")
}

fn certificate(member: &Kubectl) -> Value {
    let secret = member.wait_for("the member has a certificate", &SECRET, |secret| {
        secret["data"]["tls.crt"].is_string() && secret["data"]["ca.crt"].is_string()
    });
    secret["data"].clone()
}

fn patch(cluster: &Kubectl, secret: &str, change: &str) {
    cluster.run(&["-n", "fleet-system", "patch", "secret", secret, "--type=merge", "-p", change]);
}

/// On the embedded backend alone: kube-apiserver takes no endpoints with addresses of this machine.
#[test]
fn members_with_the_same_pod_network_are_reached_by_gateways() {
    let Some(mut fleet) = Processes::servers(Backend::Embedded, 3) else { return };
    answer(PODS[0], "member-1");
    answer(PODS[1], "member-2");
    fleet.install(3);
    fleet.start_hub(&["--enable-networking-features"]);
    let networked = ["--enable-networking-features", "--balancing-mode", "proxy"];
    for (name, gateway, tls) in
        [("member-1", GATEWAYS[0], "require"), ("member-2", GATEWAYS[1], "off")]
    {
        fleet.announce(name);
        let entry = ["--reachability", "gateway", "--gateway-address", gateway];
        let entry = [&entry[..], &["--gateway-tls", tls]].concat();
        fleet.start_agent_with(name, &[&networked[..], &entry].concat());
    }
    fleet.announce("member-3");
    fleet.start_agent_with("member-3", &networked);
    for name in ["member-1", "member-2", "member-3"] {
        fleet.wait_until_joined(name);
    }
    let [first, second, third] =
        ["member-1", "member-2", "member-3"].map(|name| fleet.kubectl(name));
    let hub = fleet.kubectl("hub");
    hub.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    first.apply(&shop(PODS[0]));
    second.apply(&shop(PODS[1]));
    third.apply(&import());
    // Of the pool, this one is for the services that the exporters might import.
    for name in ["member-1", "member-2"] {
        let options = ["--address-pool", "127.93.4.0/29", "--reachability", "gateway"];
        fleet.start_data_plane(name, &options);
    }
    fleet.start_data_plane("member-3", &["--address-pool", POOL]);

    // Where a platform team looks: how members are reached, and where their Services are entered.
    for (name, how) in [("member-1", "gateway"), ("member-2", "gateway"), ("member-3", "flat")] {
        hub.wait_for("the hub knows how it is reached", &["membercluster", name], |member| {
            let told = &member["status"]["properties"]["network.fleet.stolos.dev/reachability"];
            told["value"] == how
        });
    }
    for member in [&first, &second] {
        member.wait_for("the entry is served", &EXPORT, |export| {
            told(export, "network.fleet.stolos.dev/Entered")
                && told(export, "network.fleet.stolos.dev/Served")
        });
    }
    let exported = hub.wait_for(
        "the gateway is exported",
        &["-n", "fleet-member-member-1", "endpointsliceexports"],
        |slices| slices["items"].as_array().is_some_and(|all| !all.is_empty()),
    );
    let slice = &exported["items"][0];
    assert_eq!(slice["spec"]["endpoints"], json!([{"addresses": [GATEWAYS[0]]}]));
    let mark = &slice["metadata"]["annotations"]["network.fleet.stolos.dev/gateway-tls"];
    assert_eq!(mark, "require");

    let derived = ["-n", "fleet-system", "service", "shop-web"];
    let served = third.wait_for("the service has an address", &derived, |service| {
        service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
    });
    let address = served["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().expect("an IP");
    wait_for_answers_of(address, &["member-1", "member-2"]);

    // Keys of members are their own, and nobody comes in without one where they are asked for.
    let (of_first, of_second) = (certificate(&first), certificate(&second));
    assert_ne!(of_first["tls.key"], of_second["tls.key"]);
    assert_eq!(of_first["ca.crt"], of_second["ca.crt"]);
    let port = slice["spec"]["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let mut plain = TcpStream::connect((GATEWAYS[0], port.expect("a port"))).expect("it listens");
    plain.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = plain.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("member-1"), "{answer:?}");

    // A change of what is believed reaches every member, and its certificate is renewed for that.
    let authority = ["-n", "fleet-system", "get", "secret", "stolos-gateway-ca", "-o"];
    let believed = r#"go-template={{index .data "ca.crt" | base64decode}}"#;
    let believed = hub.run(&[&authority[..], &[believed]].concat());
    let both = json!({"stringData": {"ca.crt": format!("{believed}{believed}")}}).to_string();
    patch(&hub, "stolos-gateway-ca", &both);
    for (member, before) in [(&first, &of_first), (&second, &of_second)] {
        member.wait_for("the certificate is renewed", &SECRET, |secret| {
            secret["data"]["ca.crt"] != before["ca.crt"]
                && secret["data"]["tls.crt"] != before["tls.crt"]
        });
    }
    wait_for_answers_of(address, &["member-1", "member-2"]);
    let (of_first, of_second) = (certificate(&first), certificate(&second));

    // A gateway that shows the certificate of another member gets nothing; the other cluster serves.
    fleet.kill("member-1");
    let foreign = json!({"data": {
        "tls.crt": of_second["tls.crt"], "tls.key": of_second["tls.key"],
    }});
    patch(&first, "stolos-gateway-tls", &foreign.to_string());
    wait_for_answers_of(address, &["member-2"]);
    let own = json!({"data": {"tls.crt": of_first["tls.crt"], "tls.key": of_first["tls.key"]}});
    patch(&first, "stolos-gateway-tls", &own.to_string());
    wait_for_answers_of(address, &["member-1", "member-2"]);

    // Neither hub nor agents are needed for what is there.
    fleet.kill("hub");
    fleet.kill("member-2");
    fleet.kill("member-3");
    wait_for_answers_of(address, &["member-1", "member-2"]);
}
