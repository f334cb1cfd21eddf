//! Balancing by DNS: from a Service on a member to the answer of a query.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::{STOLOS, skip, stolos};
use crate::kubectl::{self, Kubectl, wait_until};

/// A running `stolos up` that answers DNS names.
struct Up {
    child: Child,
    ready: Value,
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Up {
    fn start() -> Self {
        let mut child = Command::new(STOLOS)
            .args(["up", "--ephemeral", "--members=2", "--base-port=0", "-o", "json"])
            .args(["--enable-networking-features", "--dns-bind-address=127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("stolos starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        output.read_line(&mut line).expect("stolos prints a line");
        let ready = serde_json::from_str(&line).expect("a line of JSON");
        Self { child, ready }
    }

    /// Asks for the IPv4 address of a name; returns the code of the answer and its last address.
    fn ask(&self, name: &str) -> (u8, Option<Ipv4Addr>) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).expect("a short label"));
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, 1, 0, 1]);
        let server = self.ready["dns"].as_str().expect("an address");
        socket.send_to(&query, server).expect("it is sent");
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).expect("an answer");
        let n_answers = u16::from_be_bytes([answer[6], answer[7]]);
        let last: [u8; 4] = answer[length - 4..length].try_into().expect("four bytes");
        (answer[3] & 0x0f, (n_answers > 0).then(|| Ipv4Addr::from(last)))
    }
}

/// Exports a Service and returns the address that a load balancer serves it at.
fn export(member: &Kubectl) -> Ipv4Addr {
    member.run(&["create", "namespace", "app"]);
    member.run(&["create", "service", "loadbalancer", "web", "-n=app", "--tcp=80:80"]);
    member.apply(
        r#"{"apiVersion": "networking.fleet.azure.com/v1beta1", "kind": "ServiceExport",
            "metadata": {"name": "web", "namespace": "app"}}"#,
    );
    let address = |service: &Value| {
        let ip = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
        ip.as_str().and_then(|ip| ip.parse::<Ipv4Addr>().ok())
    };
    let served = ["service", "web", "-n=app"];
    let service =
        member.wait_for("it has an address", &served, |service| address(service).is_some());
    address(&service).expect("it was waited for")
}

const NAMES: &str = r"
apiVersion: networking.fleet.azure.com/v1beta1
kind: TrafficManagerProfile
metadata: {name: shop, namespace: app}
spec: {resourceGroup: any, monitorConfig: {protocol: TCP, port: 1}}
---
apiVersion: networking.fleet.azure.com/v1beta1
kind: TrafficManagerBackend
metadata: {name: web, namespace: app}
spec: {profile: {name: shop}, backend: {name: web}, weight: 100}
";

#[test]
fn services_of_two_members_have_one_name() {
    let Some(program) = kubectl::find() else {
        return skip("kubectl 1.32 or newer is not on PATH");
    };
    let up = Up::start();
    let kubeconfig = up.ready["kubeconfig"].as_str().expect("a path").to_owned();
    let kubectl = |context: &str| Kubectl::new(&program, kubeconfig.as_ref(), context);
    let both = ["member-1", "member-2"].map(|member| export(&kubectl(member)));
    let hub = kubectl("hub");
    hub.run(&["create", "namespace", "app"]);
    hub.apply(NAMES);
    hub.wait_for("both members are behind the name", &["tmb", "web", "-n=app"], |backend| {
        let condition = &backend["status"]["conditions"][0];
        let endpoints = backend["status"]["endpoints"].as_array().map_or(0, Vec::len);
        condition["status"] == "True" && endpoints == 2
    });
    let printed = hub.run(&["get", "tmp", "shop", "-n=app"]);
    assert!(printed.contains("app-shop.fleet.local") && printed.contains("True"), "{printed}");

    // Nothing answers checks at these addresses, so all are used.
    let drawn: BTreeSet<_> = (0..60).filter_map(|_| up.ask("app-shop.fleet.local").1).collect();
    assert_eq!(drawn, BTreeSet::from(both));
    assert_eq!(up.ask("example.com").0, 5, "other zones are refused");

    hub.run(&["delete", "tmp", "shop", "-n=app"]);
    wait_until("the name is gone", || match up.ask("app-shop.fleet.local") {
        (3, None) => Ok(()),
        other => Err(json!(format!("{other:?}"))),
    });
    hub.run(&["delete", "tmb", "web", "-n=app"]);
}

#[test]
fn names_cannot_be_answered_without_services_across_clusters() {
    let refused = stolos(&["up", "--ephemeral", "--base-port=0", "--dns-bind-address=:0"], None);
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("--enable-networking-features"), "{error}");
}
