//! `stolos dataplane`: a process of its own, which outlives the hub, the member and itself.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::{STOLOS, Up, stolos};
use crate::kubectl::wait_until;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

const POOL: &str = "127.90.0.0/29";
const PORT: u16 = 8000;
const ENDPOINT: (&str, u16) = ("127.90.1.1", 8080);

/// A running data plane; it is killed when a story drops it.
struct Plane(Child);

impl Plane {
    fn start(kubeconfig: &Path, folder: &Path) -> Self {
        let child = Command::new(STOLOS)
            .args(["dataplane", "--name", "member-1", "--address-pool", POOL, "--allow-loopback"])
            .args(["--hub-context", "hub", "--member-context", "member-1", "--workers", "1"])
            .arg("--hub-kubeconfig")
            .arg(kubeconfig)
            .arg("--member-kubeconfig")
            .arg(kubeconfig)
            .arg("--folder")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("stolos starts"))
    }

    /// Waits until the process ends by itself; returns its exit code.
    fn end(mut self) -> Option<i32> {
        wait_until("the data plane ends", || match self.0.try_wait() {
            Ok(Some(status)) => Ok(status.code()),
            Ok(None) | Err(_) => Err(Value::Null),
        })
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers every connection with a word, for as long as the story runs.
fn answer() {
    let listener = TcpListener::bind(ENDPOINT).expect("an address of loopback");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            // Who only checks has gone by now.
            let _ = connection.and_then(|mut connection| connection.write_all(b"hello"));
        }
    });
}

fn ask(address: &str) -> Option<String> {
    let mut connection = TcpStream::connect((address, PORT)).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn wait_for_answer(address: &str) {
    wait_until("the endpoint answers", || match ask(address) {
        Some(answer) if answer == "hello" => Ok(()),
        other => Err(json!(other)),
    });
}

/// What users and the agent of the member would write: a service and its endpoints.
fn write_service(up: &Up) {
    let group = "networking.fleet.azure.com/v1alpha1";
    let of_user = json!({"name": "web", "namespace": "default"});
    let labels = json!({
        "networking.fleet.azure.com/multi-cluster-service-name": "web",
        "networking.fleet.azure.com/multi-cluster-service-namespace": "default",
    });
    let derived = json!({"name": "default-web", "namespace": "fleet-system", "labels": labels});
    let member = up.kubectl("member-1");
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fleet-system"}}),
        json!({
            "apiVersion": group, "kind": "MultiClusterService", "metadata": of_user,
            "spec": {"serviceImport": {"name": "web"}},
        }),
        json!({"apiVersion": group, "kind": "ServiceImport", "metadata": of_user}),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": derived,
            "spec": {
                "type": "LoadBalancer", "loadBalancerClass": "network.fleet.stolos.dev/proxy",
                "ports": [{"name": "web", "port": PORT}],
            },
        }),
    ] {
        member.apply(&object.to_string());
    }
    let reference = json!({
        "clusterId": "member-2", "kind": "EndpointSlice", "namespace": "default", "name": "web",
        "resourceVersion": "1", "generation": 1, "uid": "uid", "namespacedName": "default/web",
    });
    let endpoints = json!({
        "apiVersion": group, "kind": "EndpointSliceImport",
        "metadata": {"name": "member-2-default-web", "namespace": "fleet-member-member-1"},
        "spec": {
            "addressType": "IPv4", "endpoints": [{"addresses": [ENDPOINT.0]}],
            "ports": [{"name": "web", "protocol": "TCP", "port": ENDPOINT.1}],
            "endpointSliceReference": reference,
            "ownerServiceReference":
                {"namespace": "default", "name": "web", "namespacedName": "default/web"},
        },
    });
    up.kubectl("hub").apply(&endpoints.to_string());
}

#[test]
fn a_data_plane_outlives_hub_and_member_and_is_replaced_without_a_gap() {
    let Some(mut up) = Up::start(2) else { return };
    answer();
    write_service(&up);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let first = Plane::start(&up.kubeconfig(), folder.path());
    let member = up.kubectl("member-1");
    let service = ["-n", "fleet-system", "service", "default-web"];
    let served = member.wait_for("the service has an address", &service, |service| {
        !service["status"]["loadBalancer"]["ingress"].is_null()
    });
    let address = served["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().expect("an IP");
    assert_eq!(address, "127.90.0.1");
    wait_for_answer(address);

    let second = Plane::start(&up.kubeconfig(), folder.path());
    let mut n_asked = 0;
    let ended = std::thread::spawn(move || first.end());
    while !ended.is_finished() {
        assert_eq!(ask(address).as_deref(), Some("hello"), "after {n_asked} answers");
        n_asked += 1;
    }
    assert_eq!(ended.join().expect("it ends"), Some(0), "who is replaced ends as it should");
    assert_eq!(ask(address).as_deref(), Some("hello"));

    // Hub and member are gone. So is the data plane, for a moment.
    let kubeconfig = up.kubeconfig();
    up.kill();
    assert_eq!(ask(address).as_deref(), Some("hello"));
    drop(second);
    assert_eq!(ask(address), None);
    let _third = Plane::start(&kubeconfig, folder.path());
    wait_for_answer(address);
}

#[test]
fn a_pool_that_is_none_is_a_usage_error() {
    for (pool, why) in [
        ("10.0.0.0", "must be a network such as 10.0.0.0/8 or fd00::/8"),
        ("0.0.0.0/0", "must be a network whose addresses hosts can have"),
    ] {
        let output = stolos(&["dataplane", "--name", "a", "--address-pool", pool], None);
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("--address-pool") && stderr.contains(why), "{stderr}");
    }
}
