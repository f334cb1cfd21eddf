//! Services across clusters, as a platform team and its users see them, on both backends.

use serde_json::Value;

use crate::backend::{Backend, Processes};
use crate::kubectl::{Kubectl, wait_until};
use crate::probes::{free, get};

#[test]
fn a_service_placed_on_two_members_has_an_address_on_a_third_embedded() {
    story(Backend::Embedded);
}

#[test]
fn a_service_placed_on_two_members_has_an_address_on_a_third_kubernetes() {
    story(Backend::Kubernetes);
}

const SHOP: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
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
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.fleet.azure.com/v1alpha1
kind: ServiceExport
metadata: {name: web, namespace: shop}
";

const PLACEMENT: &str = r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourcePlacement
metadata: {name: shop}
spec:
  resourceSelectors: [{group: "", version: v1, kind: Namespace, name: shop}]
  policy: {placementType: PickFixed, clusterNames: [member-1, member-2]}
"#;

const IMPORT: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: networking.fleet.azure.com/v1alpha1
kind: MultiClusterService
metadata: {name: web, namespace: shop}
spec: {serviceImport: {name: web}}
";

const MCS: [&str; 4] = ["-n", "shop", "mcs", "web"];
const EXPORT: [&str; 4] = ["-n", "shop", "svcexport", "web"];
const IMPORTED: [&str; 4] = ["-n", "shop", "svcimport", "web"];
const DERIVED: [&str; 4] = ["-n", "fleet-system", "service", "shop-web"];
const SLICES: [&str; 3] = ["-n", "fleet-system", "endpointslices"];

fn story(backend: Backend) {
    let Some(mut fleet) = Processes::servers(backend, 3) else { return };
    fleet.install(3);
    fleet.start_hub(&["--enable-networking-features"]);
    let metrics = [free(), free(), free()];
    for (name, at) in ["member-1", "member-2", "member-3"].into_iter().zip(metrics) {
        fleet.announce(name);
        let options = ["--enable-networking-features", "--metrics-bind-address", &at.to_string()];
        fleet.start_agent_with(name, &options);
        fleet.wait_until_joined(name);
    }
    let hub = fleet.kubectl("hub");
    let [first, second, third] =
        ["member-1", "member-2", "member-3"].map(|name| fleet.kubectl(name));
    hub.apply(SHOP);
    hub.apply(PLACEMENT);
    third.apply(IMPORT);

    for member in [&first, &second] {
        member.wait_for("the export is accepted", &EXPORT, |export| {
            told(export, "Valid", "ServiceIsValid") && told(export, "Conflict", "NoConflictFound")
        });
    }
    hub.wait_for("both export it", &IMPORTED, |import| {
        exporters(import) == ["member-1", "member-2"]
    });
    third.wait_for("the service has an address", &MCS, |service| {
        told(service, "Valid", "FoundServiceImport")
            && service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
    });
    balances_over(&third, &[&first, &second]);
    let derived = third.get(&DERIVED).expect("the derived Service");
    assert_eq!(derived["spec"]["type"], "LoadBalancer");
    assert!(derived["spec"]["selector"].is_null());
    assert_eq!(derived["spec"]["ports"][0]["port"], 80);
    let shown = third.run(&["-n", "shop", "get", "mcs", "web"]);
    assert!(shown.contains("EXTERNAL-IP") && shown.contains("True"), "{shown}");

    // How long it took is measured where it arrived, in whole seconds and to the millisecond.
    for (at, measured) in [
        (metrics[0], "service_export_duration_milliseconds_count{origin_cluster_id=\"member-1\""),
        (
            metrics[2],
            "endpointslice_export_import_duration_milliseconds_count{origin_cluster_id=\"member-1\",destination_cluster_id=\"member-3\"",
        ),
    ] {
        for names in ["fleet_networking", "stolos"] {
            let series = format!("\n{names}_{measured}");
            wait_until(&format!("{series} is measured"), || {
                let figures = get(at, "/metrics").map(|(_, figures)| figures).unwrap_or_default();
                if figures.contains(&series) { Ok(()) } else { Err(Value::String(figures)) }
            });
        }
    }

    // A member with weight 0 gets nothing; its neighbour serves on.
    let weight = "networking.fleet.azure.com/weight=0";
    first.run(&["-n", "shop", "annotate", "svcexport", "web", weight]);
    balances_over(&third, &[&second]);
    hub.wait_for("one exports it", &IMPORTED, |import| exporters(import) == ["member-2"]);

    // Not even the hub is needed for what is there.
    fleet.kill("hub");
    assert_eq!(addresses(&third, &SLICES).len(), 2);
    assert!(third.get(&DERIVED).is_some());
    fleet.start_hub(&["--enable-networking-features"]);

    // The one that leaves takes what it imported along, and no Service of its users.
    hub.run(&["delete", "membercluster", "member-3", "--timeout=60s"]);
    third.wait_gone(&MCS);
    third.wait_gone(&DERIVED);
    assert_eq!(addresses(&third, &SLICES), [""; 0]);
    assert!(second.get(&["-n", "shop", "service", "web"]).is_some());
}

fn told(object: &Value, type_: &str, reason: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == type_ && one["reason"] == reason)
}

fn exporters(import: &Value) -> Vec<&str> {
    let clusters = import["status"]["clusters"].as_array();
    let mut names: Vec<_> =
        clusters.into_iter().flatten().filter_map(|one| one["cluster"].as_str()).collect();
    names.sort_unstable();
    names
}

/// Returns the addresses of the ready endpoints in a list of EndpointSlices.
fn listed(slices: &Value) -> Vec<String> {
    let slices = slices["items"].as_array().into_iter().flatten();
    let endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let all = ready.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    let mut all: Vec<_> = all.filter_map(Value::as_str).map(str::to_owned).collect();
    all.sort();
    all
}

fn addresses(cluster: &Kubectl, slices: &[&str]) -> Vec<String> {
    listed(&cluster.get(slices).expect("EndpointSlices can be listed"))
}

/// Waits until the imported endpoints are exactly those of the two ready pods of the Service on each of these members.
fn balances_over(importer: &Kubectl, exporters: &[&Kubectl]) {
    let own = ["-n", "shop", "endpointslices", "-l", "kubernetes.io/service-name=web"];
    let ready = |exporter: &&Kubectl| {
        listed(&exporter.wait_for("both pods are ready", &own, |slices| listed(slices).len() == 2))
    };
    let mut wanted: Vec<_> = exporters.iter().flat_map(ready).collect();
    wanted.sort();
    importer.wait_for("the endpoints are there", &SLICES, |slices| listed(slices) == wanted);
}
