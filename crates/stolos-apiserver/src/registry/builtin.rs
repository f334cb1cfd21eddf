//! The built-in resources, one row each.
//!
//! Names, scopes, subresources and update rules are those of Kubernetes 1.34. Subresources that need a kubelet (logs,
//! exec, proxy) are not listed.

use super::resource::{
    CREATE, Generation, LazySchema, READ_WRITE, Resource, STORED, STORED_ONE_BY_ONE, Scale,
    Subresource, UPDATE, resource_id,
};
use super::selectable;
use crate::names::GroupVersion;
use crate::table::builtin_columns;
use std::sync::Arc;

const POD_SUBRESOURCES: &[Subresource] = &[
    Subresource::of_kind("binding", "v1", "Binding", CREATE),
    Subresource::of_parent("ephemeralcontainers", READ_WRITE),
    Subresource::of_kind("eviction", "policy/v1", "Eviction", CREATE),
];
const SERVICE_ACCOUNT_SUBRESOURCES: &[Subresource] =
    &[Subresource::of_kind("token", "authentication.k8s.io/v1", "TokenRequest", CREATE)];
const NAMESPACE_SUBRESOURCES: &[Subresource] = &[Subresource::of_parent("finalize", UPDATE)];
const CSR_SUBRESOURCES: &[Subresource] = &[Subresource::of_parent("approval", READ_WRITE)];

/// Returns the rows of every built-in resource.
pub(super) fn resources() -> Vec<Resource> {
    [core(), workloads(), extension_points(), cluster_services()]
        .into_iter()
        .flatten()
        .map(Row::finish)
        .collect()
}

fn core() -> Vec<Row> {
    let row = |plural, kind| row("", "v1", plural, kind);
    vec![
        row("bindings", "Binding").answered(),
        row("configmaps", "ConfigMap").short(&["cm"]),
        row("endpoints", "Endpoints")
            .singular("endpoints")
            .short(&["ep"])
            .create_on_update()
            .deprecated(
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
            ),
        row("events", "Event").short(&["ev"]).create_on_update(),
        row("limitranges", "LimitRange").short(&["limits"]).create_on_update(),
        row("namespaces", "Namespace")
            .short(&["ns"])
            .cluster_scoped()
            .verbs(STORED_ONE_BY_ONE)
            .returns_deleted()
            .status()
            .with(NAMESPACE_SUBRESOURCES),
        row("nodes", "Node").short(&["no"]).cluster_scoped().status(),
        row("persistentvolumeclaims", "PersistentVolumeClaim")
            .short(&["pvc"])
            .status()
            .returns_deleted(),
        row("persistentvolumes", "PersistentVolume")
            .short(&["pv"])
            .cluster_scoped()
            .status()
            .returns_deleted(),
        row("pods", "Pod")
            .short(&["po"])
            .all()
            .status()
            .generation()
            .returns_deleted()
            .with(POD_SUBRESOURCES),
        row("podtemplates", "PodTemplate").generation().returns_deleted(),
        row("replicationcontrollers", "ReplicationController")
            .short(&["rc"])
            .all()
            .status()
            .generation()
            .orphans_dependents()
            .scale("status.replicas", "spec.selector"),
        row("resourcequotas", "ResourceQuota").short(&["quota"]).status().returns_deleted(),
        row("secrets", "Secret"),
        row("serviceaccounts", "ServiceAccount")
            .short(&["sa"])
            .returns_deleted()
            .with(SERVICE_ACCOUNT_SUBRESOURCES),
        row("services", "Service")
            .short(&["svc"])
            .all()
            .status()
            .create_on_update()
            .returns_deleted(),
    ]
}

fn workloads() -> Vec<Row> {
    let apps = |plural, kind| row("apps", "v1", plural, kind);
    let autoscaler = |version| {
        row("autoscaling", version, "horizontalpodautoscalers", "HorizontalPodAutoscaler")
            .short(&["hpa"])
            .all()
            .status()
            .stored_in("v2")
    };
    let batch = |plural, kind| row("batch", "v1", plural, kind);
    vec![
        apps("controllerrevisions", "ControllerRevision"),
        apps("daemonsets", "DaemonSet").short(&["ds"]).all().status().generation(),
        apps("deployments", "Deployment")
            .short(&["deploy"])
            .all()
            .status()
            .generation()
            .scale("status.replicas", "spec.selector"),
        apps("replicasets", "ReplicaSet")
            .short(&["rs"])
            .all()
            .status()
            .generation()
            .scale("status.replicas", "spec.selector"),
        apps("statefulsets", "StatefulSet")
            .short(&["sts"])
            .all()
            .status()
            .generation()
            .scale("status.replicas", "spec.selector"),
        autoscaler("v1"),
        autoscaler("v2"),
        batch("cronjobs", "CronJob").short(&["cj"]).all().status().generation(),
        batch("jobs", "Job").all().status().generation().orphans_dependents(),
        row("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
            .short(&["pdb"])
            .status()
            .generation()
            .conditional_update(),
    ]
}

fn extension_points() -> Vec<Row> {
    let admission = |plural, kind| {
        row("admissionregistration.k8s.io", "v1", plural, kind)
            .cluster_scoped()
            .category("api-extensions")
            .generation()
            .conditional_update()
    };
    let authentication =
        |plural, kind| row("authentication.k8s.io", "v1", plural, kind).answered().cluster_scoped();
    let authorization = |plural, kind| row("authorization.k8s.io", "v1", plural, kind).answered();
    let rbac =
        |plural, kind| row("rbac.authorization.k8s.io", "v1", plural, kind).create_on_update();
    vec![
        admission("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        admission("validatingadmissionpolicies", "ValidatingAdmissionPolicy")
            .singular("validatingadmissionpolicy")
            .status(),
        admission("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
        admission("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
        row("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
            .short(&["crd", "crds"])
            .cluster_scoped()
            .category("api-extensions")
            .status()
            .generation()
            .conditional_update(),
        row("apiregistration.k8s.io", "v1", "apiservices", "APIService")
            .cluster_scoped()
            .category("api-extensions")
            .status()
            .conditional_update(),
        authentication("selfsubjectreviews", "SelfSubjectReview"),
        authentication("tokenreviews", "TokenReview"),
        authorization("localsubjectaccessreviews", "LocalSubjectAccessReview"),
        authorization("selfsubjectaccessreviews", "SelfSubjectAccessReview").cluster_scoped(),
        authorization("selfsubjectrulesreviews", "SelfSubjectRulesReview").cluster_scoped(),
        authorization("subjectaccessreviews", "SubjectAccessReview").cluster_scoped(),
        row("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest")
            .short(&["csr"])
            .cluster_scoped()
            .status()
            .with(CSR_SUBRESOURCES),
        rbac("clusterrolebindings", "ClusterRoleBinding").cluster_scoped(),
        rbac("clusterroles", "ClusterRole").cluster_scoped(),
        rbac("rolebindings", "RoleBinding"),
        rbac("roles", "Role"),
    ]
}

fn cluster_services() -> Vec<Row> {
    let networking = |plural, kind| row("networking.k8s.io", "v1", plural, kind);
    let flow = |plural, kind| {
        row("flowcontrol.apiserver.k8s.io", "v1", plural, kind)
            .cluster_scoped()
            .status()
            .generation()
    };
    let storage = |plural, kind| row("storage.k8s.io", "v1", plural, kind);
    vec![
        row("coordination.k8s.io", "v1", "leases", "Lease").create_on_update().conditional_update(),
        row("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice").generation(),
        // The core group's events in another shape.
        row("events.k8s.io", "v1", "events", "Event")
            .short(&["ev"])
            .create_on_update()
            .stored_as("events"),
        flow("flowschemas", "FlowSchema"),
        flow("prioritylevelconfigurations", "PriorityLevelConfiguration"),
        networking("ingressclasses", "IngressClass")
            .singular("ingressclass")
            .cluster_scoped()
            .generation(),
        networking("ingresses", "Ingress")
            .singular("ingress")
            .short(&["ing"])
            .status()
            .generation(),
        networking("ipaddresses", "IPAddress").short(&["ip"]).cluster_scoped(),
        networking("servicecidrs", "ServiceCIDR").cluster_scoped().status(),
        networking("networkpolicies", "NetworkPolicy")
            .singular("networkpolicy")
            .short(&["netpol"])
            .generation(),
        row("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass")
            .singular("runtimeclass")
            .cluster_scoped()
            .create_on_update()
            .conditional_update(),
        row("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
            .singular("priorityclass")
            .short(&["pc"])
            .cluster_scoped()
            .generation_as(Generation::Fixed),
        storage("csidrivers", "CSIDriver")
            .cluster_scoped()
            .conditional_update()
            .generation_as(Generation::CountedFromChange)
            .returns_deleted(),
        storage("csinodes", "CSINode").cluster_scoped().conditional_update().returns_deleted(),
        storage("csistoragecapacities", "CSIStorageCapacity")
            .singular("csistoragecapacity")
            .conditional_update(),
        storage("storageclasses", "StorageClass")
            .singular("storageclass")
            .short(&["sc"])
            .cluster_scoped()
            .returns_deleted(),
        storage("volumeattachments", "VolumeAttachment")
            .cluster_scoped()
            .status()
            .conditional_update()
            .returns_deleted(),
        storage("volumeattributesclasses", "VolumeAttributesClass")
            .short(&["vac"])
            .cluster_scoped()
            .returns_deleted(),
    ]
}

/// A resource in the making: namespaced, stored, updatable without a resourceVersion unless said otherwise.
struct Row(Resource);

fn row(group: &str, version: &str, plural: &str, kind: &str) -> Row {
    let group_version = GroupVersion::new(group, version);
    Row(Resource {
        schema: LazySchema::builtin(&group_version, kind),
        storage_version: version.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_ascii_lowercase(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: true,
        verbs: STORED,
        status_subresource: false,
        scale: None,
        other_subresources: &[],
        generation: Generation::Absent,
        create_on_update: false,
        unconditional_update: true,
        orphans_dependents: false,
        returns_deleted: false,
        custom: false,
        columns: Arc::from([]),
        selectable_fields: selectable::builtin_labels(group, plural),
        deprecation: None,
        storage: resource_id(group, plural).into(),
        conversion: None,
        group_version,
    })
}

impl Row {
    fn short(mut self, names: &[&str]) -> Self {
        self.0.short_names = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    fn singular(mut self, name: &str) -> Self {
        name.clone_into(&mut self.0.singular);
        self
    }

    fn all(self) -> Self {
        self.category("all")
    }

    fn category(mut self, category: &str) -> Self {
        self.0.categories.push(category.to_owned());
        self
    }

    fn cluster_scoped(mut self) -> Self {
        self.0.namespaced = false;
        self
    }

    fn verbs(mut self, verbs: &'static [&'static str]) -> Self {
        self.0.verbs = verbs;
        self
    }

    fn answered(self) -> Self {
        self.verbs(CREATE)
    }

    fn status(mut self) -> Self {
        self.0.status_subresource = true;
        self
    }

    fn with(mut self, subresources: &'static [Subresource]) -> Self {
        self.0.other_subresources = subresources;
        self
    }

    fn scale(mut self, status_replicas: &str, label_selector: &str) -> Self {
        self.0.scale = Some(Scale {
            spec_replicas: "spec.replicas".to_owned(),
            status_replicas: status_replicas.to_owned(),
            label_selector: Some(label_selector.to_owned()),
        });
        self
    }

    fn generation(mut self) -> Self {
        self.0.generation = Generation::Counted;
        self
    }

    fn generation_as(mut self, generation: Generation) -> Self {
        self.0.generation = generation;
        self
    }

    fn orphans_dependents(mut self) -> Self {
        self.0.orphans_dependents = true;
        self
    }

    fn returns_deleted(mut self) -> Self {
        self.0.returns_deleted = true;
        self
    }

    fn stored_in(mut self, version: &str) -> Self {
        version.clone_into(&mut self.0.storage_version);
        self
    }

    fn create_on_update(mut self) -> Self {
        self.0.create_on_update = true;
        self
    }

    fn conditional_update(mut self) -> Self {
        self.0.unconditional_update = false;
        self
    }

    fn deprecated(mut self, warning: &str) -> Self {
        self.0.deprecation = Some(warning.to_owned());
        self
    }

    fn stored_as(mut self, storage: &str) -> Self {
        self.0.storage = storage.into();
        self
    }

    fn finish(mut self) -> Resource {
        self.0.columns = builtin_columns(&self.0.group_version.group, &self.0.kind);
        self.0
    }
}
