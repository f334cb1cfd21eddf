//! Services of the Multi-Cluster Services API across clusters, as its users see them, on both backends.

use serde_json::{Value, json};

use crate::backend::{Backend, Processes, Up};
use crate::balancing::{stolos, stolos_json};
use crate::kubectl::Kubectl;

#[test]
fn a_service_exported_by_two_members_is_imported_by_all_embedded() {
    story(Backend::Embedded);
}

#[test]
fn a_service_exported_by_two_members_is_imported_by_all_kubernetes() {
    story(Backend::Kubernetes);
}

/// Azure's kinds and the standard's work side by side, here on addresses of this machine.
#[test]
fn one_service_is_exported_by_both_apis_in_stolos_up() {
    let both = &["--enable-networking-features", "--enable-mcs-api"];
    let Some(up) = Up::start_with_options(2, both) else { return };
    let [first, second] = ["member-1", "member-2"].map(|name| up.kubectl(name));
    up.kubectl("hub").apply(NAMESPACE);
    for member in [&first, &second] {
        member.apply(NAMESPACE);
    }
    first.apply(SHOP);
    first.apply(AZURE_EXPORT);
    second.apply(AZURE_IMPORT);
    imported(&second, &["member-1"]);
    balances_over(&second, &[("member-1", &first)]);
    second.wait_for("the other API has an address", &["-n", "shop", "mcs", "web"], |service| {
        service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
    });
    the_commands_tell_of_both(&up);
}

fn the_commands_tell_of_both(up: &Up) {
    let listed = stolos(up, &["service", "list"]);
    let rows = listed.lines().filter(|line| line.starts_with("shop"));
    let rows: Vec<Vec<_>> = rows.map(|row| row.split_whitespace().collect()).collect();
    let fleet = ["shop", "web", "fleet", "http:80/TCP", "2", "member-1", "member-2", "Serving"];
    let both = "member-1,member-2";
    let mcs = ["shop", "web", "mcs", "http:80/TCP", "2", "member-1", both, "Serving"];
    assert_eq!(rows, [fleet, mcs], "{listed}");

    let import = up.kubectl("member-2").get(&IMPORT).expect("the ServiceImport");
    let shown = stolos_json(up, &["service", "show", "shop/web", "--api", "mcs"]);
    let exporter = json!({
        "cluster": "member-1", "endpoints": 2, "percent": 100.0, "state": "Serving",
    });
    assert_eq!(shown["exporters"], json!([exporter]));
    assert_eq!(shown["importers"][1]["addresses"], import["spec"]["ips"], "{shown}");
    let shown = stolos_json(up, &["service", "show", "shop/web"]);
    assert_eq!(shown["exporters"][0]["weight"], 1, "{shown}");

    up.kubectl("member-2").apply(NO_SERVICE);
    up.kubectl("member-2").wait_for("it is looked at", &NOWHERE, |export| {
        condition(export, "Valid")["status"] == "False"
    });
    let told = stolos(up, &["service", "explain", "nowhere", "-n", "shop"]);
    for part in [
        "shop/nowhere: connections go nowhere.",
        "member-2 does not export it: service shop/nowhere is not found",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

const NO_SERVICE: &str = r"
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {name: nowhere, namespace: shop}
";

const NOWHERE: [&str; 4] = ["-n", "shop", "serviceexports.multicluster.x-k8s.io", "nowhere"];

const AZURE_EXPORT: &str = r"
apiVersion: networking.fleet.azure.com/v1beta1
kind: ServiceExport
metadata: {name: web, namespace: shop}
";

const AZURE_IMPORT: &str = r"
apiVersion: networking.fleet.azure.com/v1alpha1
kind: MultiClusterService
metadata: {name: web, namespace: shop}
spec: {serviceImport: {name: web}}
";

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";

const SHOP: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {name: web, namespace: shop}
spec: {exportedLabels: {tier: front}}
";

/// By the older version of the API.
const DATABASE: &str = r"
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: sql, port: 5432}]}
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceExport
metadata: {name: db, namespace: shop}
";

const EXPORT: [&str; 4] = ["-n", "shop", "serviceexports.multicluster.x-k8s.io", "web"];
const IMPORT: [&str; 4] = ["-n", "shop", "serviceimports.multicluster.x-k8s.io", "web"];
const HEADLESS: [&str; 4] = ["-n", "shop", "serviceimports.multicluster.x-k8s.io", "db"];

fn story(backend: Backend) {
    let Some(mut fleet) = Processes::servers(backend, 3) else { return };
    fleet.install(3);
    fleet.start_hub(&["--enable-mcs-api"]);
    for name in ["member-1", "member-2", "member-3"] {
        fleet.define(name, &["crds", "--member", "--mcs-api"]);
        fleet.announce(name);
        fleet.start_agent_with(name, &["--enable-mcs-api"]);
        fleet.wait_until_joined(name);
    }
    let hub = fleet.kubectl("hub");
    let [first, second, third] =
        ["member-1", "member-2", "member-3"].map(|name| fleet.kubectl(name));
    for member in [&first, &second, &third] {
        member.apply(NAMESPACE);
    }
    first.apply(SHOP);
    exported(&first, "False", "NoConflicts");
    second.apply(SHOP);
    exported(&second, "False", "NoConflicts");

    // Everybody has the service, with an address of their own and the endpoints of both.
    for member in [&first, &second, &third] {
        imported(member, &["member-1", "member-2"]);
        balances_over(member, &[("member-1", &first), ("member-2", &second)]);
    }
    let import = third.get(&IMPORT).expect("the ServiceImport");
    assert_eq!(import["metadata"]["labels"]["tier"], "front");
    assert_eq!(import["spec"]["type"], "ClusterSetIP");
    let derived = derived(&third, &import);
    assert_eq!(import["spec"]["ips"][0], derived["spec"]["clusterIP"]);
    assert!(derived["spec"]["selector"].is_null());
    let owner = &derived["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], import["metadata"]["uid"]);
    let shown = third.run(&["-n", "shop", "get", "serviceimports.multicluster.x-k8s.io", "web"]);
    assert!(shown.contains("ClusterSetIP"), "{shown}");

    // Two that disagree are both told, and the oldest decides.
    let other_port = r#"[{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]"#;
    let patch = ["-n", "shop", "patch", "service", "web", "--type=json", "-p", other_port];
    second.run(&patch);
    for member in [&first, &second] {
        exported(member, "True", "PortConflict");
    }
    let import = imported(&third, &["member-1", "member-2"]);
    assert_eq!(import["spec"]["ports"][0]["port"], 80);

    // A headless service has endpoints and no address, and nothing is written where nothing changes.
    let before = versions(&third);
    first.apply(DATABASE);
    let headless = third.wait_for("the headless service is imported", &HEADLESS, is_ready);
    assert_eq!(headless["spec"]["type"], "Headless");
    assert!(headless["spec"]["ips"].is_null());
    assert_eq!(self::derived(&third, &headless)["spec"]["clusterIP"], "None");

    assert_eq!(versions(&third), before);

    // What is there stays while the hub is away, and what was unexported meanwhile goes when it is back.
    fleet.kill("hub");
    first.run(&["-n", "shop", "delete", EXPORT[2], "web"]);
    assert_eq!(addresses(&third, "web").len(), 4);
    fleet.start_hub(&["--enable-mcs-api"]);
    let import = imported(&third, &["member-2"]);
    balances_over(&third, &[("member-2", &second)]);
    assert_eq!(import["spec"]["ips"][0], derived["spec"]["clusterIP"], "clients keep the address");
    third.wait_for("the other's port decides", &IMPORT, |import| {
        import["spec"]["ports"][0]["port"] == 81
    });

    // The one that leaves takes what it imported along, and with the last export the service is gone.
    hub.run(&["delete", "membercluster", "member-3", "--timeout=60s"]);
    third.wait_gone(&IMPORT);
    third.wait_gone(&HEADLESS);
    third.wait_gone(&["-n", "shop", "service", &name(&derived)]);
    second.run(&["-n", "shop", "delete", EXPORT[2], "web"]);
    for member in [&first, &second] {
        member.wait_gone(&IMPORT);
    }
    assert!(second.get(&["-n", "shop", "service", "web"]).is_some());
}

fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.find(|one| one["type"] == type_).unwrap_or(&Value::Null)
}

fn is_ready(object: &Value) -> bool {
    condition(object, "Ready")["status"] == "True"
}

/// Waits until an export is valid and ready, and says this about conflicts.
fn exported(member: &Kubectl, conflict: &str, reason: &str) {
    member.wait_for(&format!("the export is told {reason}"), &EXPORT, |export| {
        let told = condition(export, "Conflict");
        condition(export, "Valid")["status"] == "True"
            && is_ready(export)
            && (told["status"] == conflict && told["reason"] == reason)
    });
}

/// Waits until the service can be used and comes from these clusters.
fn imported(member: &Kubectl, from: &[&str]) -> Value {
    member.wait_for(&format!("the service is imported from {from:?}"), &IMPORT, |import| {
        let clusters = import["status"]["clusters"].as_array();
        let names = clusters.into_iter().flatten().filter_map(|one| one["cluster"].as_str());
        is_ready(import) && names.eq(from.iter().copied())
    })
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

/// Returns the Service that has the address of an imported service.
fn derived(member: &Kubectl, import: &Value) -> Value {
    let annotations = &import["metadata"]["annotations"];
    let name = annotations["multicluster.kubernetes.io/derived-service"].as_str();
    member.get(&["-n", "shop", "service", name.expect("a name")]).expect("the derived Service")
}

/// Returns the addresses of EndpointSlices, each with the cluster that they are labelled with.
fn listed(slices: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for slice in slices["items"].as_array().into_iter().flatten() {
        let source = &slice["metadata"]["labels"]["multicluster.kubernetes.io/source-cluster"];
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"] != false {
                let address = endpoint["addresses"][0].as_str().expect("an address");
                all.push(format!("{} {address}", source.as_str().unwrap_or_default()));
            }
        }
    }
    all.sort();
    all
}

fn slices(label: &str) -> [&str; 5] {
    ["-n", "shop", "endpointslices", "-l", label]
}

/// Returns the versions of everything that a member has of the service.
fn versions(member: &Kubectl) -> Vec<String> {
    let version = |object: &Value| object["metadata"]["resourceVersion"].to_string();
    let import = member.get(&IMPORT).expect("the ServiceImport");
    let label = "multicluster.kubernetes.io/service-name=web";
    let slices = member.get(&slices(label)).expect("EndpointSlices can be listed");
    let slices = slices["items"].as_array().into_iter().flatten().map(version);
    slices.chain([version(&import), version(&derived(member, &import))]).collect()
}

fn addresses(member: &Kubectl, service: &str) -> Vec<String> {
    let label = format!("multicluster.kubernetes.io/service-name={service}");
    listed(&member.get(&slices(&label)).expect("EndpointSlices can be listed"))
}

/// Waits until the imported endpoints are exactly those of the two ready pods of the Service on each of these members.
fn balances_over(importer: &Kubectl, exporters: &[(&str, &Kubectl)]) {
    let mut wanted = Vec::new();
    for (name, exporter) in exporters {
        let own = slices("kubernetes.io/service-name=web");
        let own = exporter.wait_for("both pods are ready", &own, |own| listed(own).len() == 2);
        wanted.extend(listed(&own).iter().map(|address| format!("{name}{address}")));
    }
    wanted.sort();
    let label = "multicluster.kubernetes.io/service-name=web";
    importer.wait_for("the endpoints are there", &slices(label), |slices| listed(slices) == wanted);
}
