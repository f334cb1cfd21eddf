//! A management cluster with the real definitions of Cluster API.

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use stolos_apiserver::server::ApiServer;
use stolos_upgrade::ClusterApi;

use super::controller::Controller;
use crate::support::api_server;

pub(crate) const NAMESPACE: &str = "clusters";
pub(crate) const CORE: &str = "cluster.x-k8s.io";
pub(crate) const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";
pub(crate) const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";

/// How a cluster is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    Topology,
}

#[derive(Clone)]
pub(crate) struct Rig {
    _server: Arc<ApiServer>,
    pub(crate) client: Client,
    /// The one version of the API that the server has.
    pub(crate) version: &'static str,
}

/// Returns the folder with the definitions, if it is there.
#[expect(clippy::print_stderr, reason = "says that a test was skipped")]
pub(crate) fn definitions() -> Option<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("../../../shared/reference/crds/cluster-api");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no shared/reference/crds/cluster-api beside the workspace");
    None
}

/// Runs a test with each version of the API.
pub(crate) async fn each_version<F: Future<Output = ()>>(test: impl Fn(Rig) -> F) {
    for version in ["v1beta1", "v1beta2"] {
        let Some(rig) = Rig::new(version).await else { return };
        test(rig).await;
    }
}

impl Rig {
    pub(crate) async fn new(version: &'static str) -> Option<Self> {
        definitions()?;
        let rig = Self::without_cluster_api(version).await;
        rig.install().await;
        Some(rig)
    }

    pub(crate) async fn without_cluster_api(version: &'static str) -> Self {
        let (server, client) = api_server().await;
        let rig = Self { _server: server, client, version };
        for name in [NAMESPACE, "elsewhere"] {
            let namespace: Namespace =
                serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            let api = Api::<Namespace>::all(rig.client.clone());
            api.create(&PostParams::default(), &namespace).await.unwrap();
        }
        rig
    }

    /// Installs the definitions with one version each.
    pub(crate) async fn install(&self) {
        let api = Api::<CustomResourceDefinition>::all(self.client.clone());
        for file in std::fs::read_dir(definitions().unwrap()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let mut crd: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
            crd.spec.versions.retain(|version| version.name == self.version);
            crd.spec.versions[0].served = true;
            crd.spec.versions[0].storage = true;
            crd.spec.conversion = None;
            crd.status = None;
            api.create(&PostParams::default(), &crd).await.unwrap();
        }
        all_served(&api).await;
    }

    /// Adds a kind of control plane that somebody else runs.
    pub(crate) async fn define_managed_control_plane(&self) {
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let crd: CustomResourceDefinition = serde_json::from_value(json!({
            "metadata": {"name": format!("managedcontrolplanes.{CONTROL_PLANE}")},
            "spec": {
                "group": CONTROL_PLANE, "scope": "Namespaced",
                "names": {"kind": "ManagedControlPlane", "plural": "managedcontrolplanes"},
                "versions": [{
                    "name": self.version, "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
                }],
            },
        }))
        .unwrap();
        let api = Api::<CustomResourceDefinition>::all(self.client.clone());
        api.create(&PostParams::default(), &crd).await.unwrap();
        all_served(&api).await;
    }

    pub(crate) fn api(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, self.version, kind));
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
    }

    pub(crate) fn is_new(&self) -> bool {
        self.version == "v1beta2"
    }

    /// Returns a reference as this version writes it.
    pub(crate) fn reference(&self, group: &str, kind: &str, name: &str) -> Value {
        if self.is_new() {
            json!({"apiGroup": group, "kind": kind, "name": name})
        } else {
            json!({"apiVersion": format!("{group}/{}", self.version), "kind": kind, "name": name})
        }
    }

    pub(crate) async fn create(&self, group: &str, kind: &str, object: Value) {
        let mut object = object;
        object["apiVersion"] = json!(format!("{group}/{}", self.version));
        object["kind"] = json!(kind);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let api = self.api(group, kind);
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn get(&self, group: &str, kind: &str, name: &str) -> DynamicObject {
        self.api(group, kind).get(name).await.unwrap()
    }

    pub(crate) async fn patch(&self, group: &str, kind: &str, name: &str, patch: Value) {
        let api = self.api(group, kind);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn patch_cluster(&self, patch: Value) {
        self.patch(CORE, "Cluster", "c", patch).await;
    }

    /// Creates cluster `c` at 1.33.4 with two MachineDeployments and a MachinePool, and a controller for it.
    pub(crate) async fn cluster(&self, shape: Shape) -> Controller {
        let control_plane = self.reference(CONTROL_PLANE, "KubeadmControlPlane", "c-cp");
        let mut spec = json!({"controlPlaneRef": control_plane});
        if shape == Shape::Topology {
            self.create(CORE, "ClusterClass", json!({"metadata": {"name": "standard"}, "spec": {
                "controlPlane": self.class_template("KubeadmControlPlaneTemplate", CONTROL_PLANE),
                "infrastructure": self.class_template("DevClusterTemplate", INFRASTRUCTURE),
            }}))
            .await;
            let mut topology = json!({
                "version": "v1.33.4",
                "workers": {
                    "machineDeployments": [
                        {"class": "w", "name": "a", "metadata": {"annotations": {"mine": "stays"}}},
                        {"class": "w", "name": "b"},
                    ],
                    "machinePools": [{"class": "w", "name": "p"}],
                },
            });
            if self.is_new() {
                topology["classRef"] = json!({"name": "standard"});
            } else {
                topology["class"] = json!("standard");
            }
            spec["topology"] = topology;
        }
        self.create(CORE, "Cluster", json!({"metadata": {"name": "c"}, "spec": spec})).await;
        self.template("base").await;
        self.control_plane().await;
        for name in ["a", "b"] {
            self.worker("MachineDeployment", "deployment-name", name).await;
        }
        self.worker("MachinePool", "pool-name", "p").await;
        Controller::spawn(self.clone())
    }

    fn class_template(&self, kind: &str, group: &str) -> Value {
        if self.is_new() {
            let api_version = format!("{group}/{}", self.version);
            json!({"templateRef": {"apiVersion": api_version, "kind": kind, "name": "t"}})
        } else {
            json!({"ref": self.reference(group, kind, "t")})
        }
    }

    async fn template(&self, name: &str) {
        let backend = json!({"docker": {"customImage": "registry/node:1"}});
        let template = json!({"metadata": {"name": name}, "spec": {"template": {"spec": {"backend": backend}}}});
        self.create(INFRASTRUCTURE, "DevMachineTemplate", template).await;
    }

    async fn control_plane(&self) {
        let template = self.reference(INFRASTRUCTURE, "DevMachineTemplate", "base");
        let machine_template = if self.is_new() {
            json!({"spec": {"infrastructureRef": template}})
        } else {
            json!({"infrastructureRef": template})
        };
        let spec = json!({
            "replicas": 3, "version": "v1.33.4", "machineTemplate": machine_template,
            "kubeadmConfigSpec": {"clusterConfiguration": {"certificatesDir": "/etc/pki"}},
        });
        let labels = json!({"cluster.x-k8s.io/cluster-name": "c"});
        let object = json!({"metadata": {"name": "c-cp", "labels": labels}, "spec": spec});
        self.create(CONTROL_PLANE, "KubeadmControlPlane", object).await;
    }

    async fn worker(&self, kind: &str, label: &str, name: &str) {
        let template = self.reference(INFRASTRUCTURE, "DevMachineTemplate", "base");
        let mut labels = json!({"cluster.x-k8s.io/cluster-name": "c"});
        labels[format!("topology.cluster.x-k8s.io/{label}")] = json!(name);
        let mut spec = json!({
            "clusterName": "c", "replicas": 2,
            "template": {"metadata": {"labels": {"set": name}}, "spec": {
                "clusterName": "c", "version": "v1.33.4", "infrastructureRef": template,
                "bootstrap": {"dataSecretName": "s"},
            }},
        });
        if kind == "MachineDeployment" {
            spec["selector"] = json!({"matchLabels": {"set": name}});
        }
        let object =
            json!({"metadata": {"name": format!("c-{name}"), "labels": labels}, "spec": spec});
        self.create(CORE, kind, object).await;
    }

    pub(crate) async fn catalogue(&self, text: &str) {
        let map: ConfigMap = serde_json::from_value(
            json!({"metadata": {"name": "stolos-upgrades"}, "data": {"catalogue.yaml": text}}),
        )
        .unwrap();
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), NAMESPACE);
        api.create(&PostParams::default(), &map).await.unwrap();
    }

    pub(crate) fn provider(&self) -> ClusterApi {
        ClusterApi::new(self.client.clone(), NAMESPACE, "c")
    }
}

async fn all_served(api: &Api<CustomResourceDefinition>) {
    let served = async {
        while let Some(wrong) = not_established(api).await {
            assert!(!wrong.contains("False"), "{wrong}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, served).await.unwrap();
}

/// Returns the conditions of a definition that is not served yet.
async fn not_established(api: &Api<CustomResourceDefinition>) -> Option<String> {
    let crds = api.list(&ListParams::default()).await.unwrap();
    crds.items.into_iter().find_map(|crd| {
        let conditions = crd.status.unwrap_or_default().conditions.unwrap_or_default();
        let established = conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
        (!established).then(|| format!("{}: {conditions:?}", crd.metadata.name.unwrap()))
    })
}
