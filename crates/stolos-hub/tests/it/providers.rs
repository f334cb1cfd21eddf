//! Update runs over members that are not simulated.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use stolos_api::cluster::fleet::{Fleet as FleetObject, FleetMember};
use stolos_api::update::{MemberStatus, State, UpdateRun};

use crate::updatable::{FLEET, Fleet, NAMESPACE};

const CORE: &str = "cluster.x-k8s.io";
const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";

/// Defines a kind of Cluster API as far as the hub needs it.
async fn define(fleet: &Fleet, group: &str, kind: &str) {
    let plural = format!("{}s", kind.to_lowercase());
    let name = format!("{plural}.{group}");
    let crd = json!({
        "metadata": {"name": name},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": "v1beta2", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    let api = Api::all(fleet.hub.clone());
    api.create(&PostParams::default(), &serde_json::from_value(crd).unwrap()).await.unwrap();
    await_condition(api, &name, conditions::is_crd_established()).await.unwrap();
}

fn api(fleet: &Fleet, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1beta2", kind));
    Api::namespaced_with(fleet.hub.clone(), NAMESPACE, &resource)
}

async fn create(fleet: &Fleet, group: &str, kind: &str, name: &str, spec: Value) {
    let object = json!({
        "apiVersion": format!("{group}/v1beta2"), "kind": kind, "metadata": {"name": name}, "spec": spec,
    });
    let object = serde_json::from_value(object).unwrap();
    api(fleet, group, kind).create(&PostParams::default(), &object).await.unwrap();
}

async fn report(fleet: &Fleet, version: &str, generation: i64) {
    let status = json!({"status": {
        "version": version, "replicas": 1, "upToDateReplicas": 1, "availableReplicas": 1,
        "observedGeneration": generation,
    }});
    let api = api(fleet, CONTROL_PLANE, "KubeadmControlPlane");
    api.patch_status("cp", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn join(fleet: &Fleet, name: &str, cluster: Value) {
    let member = json!({"spec": {"fleetName": FLEET, "group": "all", "cluster": cluster}});
    fleet.create_ours::<FleetMember>("FleetMember", name, member).await.unwrap();
}

fn member(run: &UpdateRun) -> Option<&MemberStatus> {
    run.status.as_ref()?.stages.first()?.groups.first()?.members.first()
}

#[tokio::test]
async fn a_run_upgrades_a_cluster_that_cluster_api_manages_on_the_hub() {
    let fleet = Fleet::start(&[]).await;
    for kind in ["Cluster", "MachineDeployment", "MachinePool", "Machine"] {
        define(&fleet, CORE, kind).await;
    }
    define(&fleet, CONTROL_PLANE, "KubeadmControlPlane").await;
    let reference = json!({"apiGroup": CONTROL_PLANE, "kind": "KubeadmControlPlane", "name": "cp"});
    create(&fleet, CORE, "Cluster", "c", json!({"controlPlaneRef": reference})).await;
    let spec = json!({"version": "v1.33.4", "replicas": 1});
    create(&fleet, CONTROL_PLANE, "KubeadmControlPlane", "cp", spec).await;
    report(&fleet, "v1.33.4", 1).await;
    join(&fleet, "m", json!({"clusterApi": {"name": "c"}})).await;
    fleet.control();
    let version = |member: &FleetMember| {
        member.status.as_ref().and_then(|status| status.kubernetes_version.clone())
    };
    fleet.until("m", |m: &FleetMember| version(m).as_deref() == Some("1.33.4")).await;

    fleet.run("weekly", "1.34.1", json!([{"name": "only", "groups": [{"name": "all"}]}])).await;
    let changed = |object: Option<&DynamicObject>| {
        object.is_some_and(|object| object.data["spec"]["version"] == "v1.34.1")
    };
    let control_plane = api(&fleet, CONTROL_PLANE, "KubeadmControlPlane");
    await_condition(control_plane, "cp", changed).await.unwrap();
    fleet
        .until("weekly", |run: &UpdateRun| {
            member(run).is_some_and(|member| member.status.state == State::Running)
        })
        .await;
    report(&fleet, "v1.34.1", 2).await;
    let done = |run: &UpdateRun| {
        run.status.as_ref().is_some_and(|status| status.status.state == State::Completed)
    };
    let run = fleet.until("weekly", done).await;
    assert_eq!(member(&run).unwrap().attempt, 1);
    fleet.until("m", |m: &FleetMember| version(m).as_deref() == Some("1.34.1")).await;
}

#[tokio::test]
async fn a_cluster_of_azure_waits_until_its_fleet_has_credentials() {
    let fleet = Fleet::start(&[]).await;
    let created = json!({"metadata": {"name": FLEET}, "spec": {}});
    let fleets = fleet.api::<FleetObject>();
    let created: FleetObject = serde_json::from_value(created).unwrap();
    fleets.create(&PostParams::default(), &created).await.unwrap();
    join(&fleet, "m", json!({"armId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"})).await;
    fleet.control();
    fleet.run("weekly", "1.34.1", json!([{"name": "only", "groups": [{"name": "all"}]}])).await;
    let waits = |text: &'static str| {
        move |run: &UpdateRun| {
            member(run).is_some_and(|member| {
                member.status.state == State::Pending
                    && member.message.as_ref().is_some_and(|message| message.contains(text))
            })
        }
    };
    fleet.until("weekly", waits("names no credentials")).await;
    let azure = json!({"spec": {"azure": {"credentialsSecret": {"name": "azure"}}}});
    fleets.patch(FLEET, &PatchParams::default(), &Patch::Merge(azure)).await.unwrap();
    fleet.until("weekly", waits("secret `azure` does not exist")).await;
    let secret = json!({"metadata": {"name": "azure"}, "stringData": {"tenantId": "t"}});
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(secret).unwrap();
    fleet.api().create(&PostParams::default(), &secret).await.unwrap();
    fleet.until("weekly", waits("has no key `clientId`")).await;
}
