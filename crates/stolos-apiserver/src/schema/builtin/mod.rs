//! Schemas of the built-in kinds.
//!
//! Field names, types and texts come from `k8s-openapi`; list topology and merge strategies from our own [`topology`]
//! tables. Everything is shared by all logical clusters of the process and built when first read.

pub(crate) mod autoscaler;
mod defaults;
pub(crate) mod flows;
mod immutable;
mod models;
mod normal;
mod presence;
mod signing_request;
mod topology;
mod validation;
mod warnings;

use k8s_openapi::api;
use schemars::{JsonSchema, SchemaGenerator};

use super::SchemaRef;

pub use defaults::{complete_object, default_object};
pub use models::model;
pub use presence::Presence;
pub use signing_request::{check_update as check_signing_update, organizations_of_request};
pub(crate) use validation::selector;
pub use validation::{validate, wrong_type};
pub use warnings::warnings;

/// One built-in kind in one version.
struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    /// Adds the kind's model, and all it refers to, to the generator and returns the model's name.
    generate: fn(&mut SchemaGenerator) -> String,
}

macro_rules! kinds {
    ($($group:literal $version:literal $path:tt: $($kind:ident),+;)+) => {
        &[$($(kinds!(@ $group $version $path $kind)),+),+]
    };
    (@ $group:literal $version:literal ($($path:tt)+) $kind:ident) => {
        Kind {
            group: $group,
            version: $version,
            kind: stringify!($kind),
            generate: add::<$($path)+::$kind>,
        }
    };
}

#[rustfmt::skip]
const KINDS: &[Kind] = kinds! {
    "" "v1" (api::core::v1): Binding, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume,
        PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount;
    "admissionregistration.k8s.io" "v1" (api::admissionregistration::v1): MutatingWebhookConfiguration,
        ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration;
    "apiextensions.k8s.io" "v1" (k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1):
        CustomResourceDefinition;
    "apiregistration.k8s.io" "v1" (k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1): APIService;
    "apps" "v1" (api::apps::v1): ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet;
    "authentication.k8s.io" "v1" (api::authentication::v1): SelfSubjectReview, TokenRequest, TokenReview;
    "authorization.k8s.io" "v1" (api::authorization::v1): LocalSubjectAccessReview, SelfSubjectAccessReview,
        SelfSubjectRulesReview, SubjectAccessReview;
    "autoscaling" "v1" (api::autoscaling::v1): HorizontalPodAutoscaler, Scale;
    "autoscaling" "v2" (api::autoscaling::v2): HorizontalPodAutoscaler;
    "batch" "v1" (api::batch::v1): CronJob, Job;
    "certificates.k8s.io" "v1" (api::certificates::v1): CertificateSigningRequest;
    "coordination.k8s.io" "v1" (api::coordination::v1): Lease;
    "discovery.k8s.io" "v1" (api::discovery::v1): EndpointSlice;
    "events.k8s.io" "v1" (api::events::v1): Event;
    "flowcontrol.apiserver.k8s.io" "v1" (api::flowcontrol::v1): FlowSchema, PriorityLevelConfiguration;
    "networking.k8s.io" "v1" (api::networking::v1): IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR;
    "node.k8s.io" "v1" (api::node::v1): RuntimeClass;
    "policy" "v1" (api::policy::v1): Eviction, PodDisruptionBudget;
    "rbac.authorization.k8s.io" "v1" (api::rbac::v1): ClusterRole, ClusterRoleBinding, Role, RoleBinding;
    "scheduling.k8s.io" "v1" (api::scheduling::v1): PriorityClass;
    "storage.k8s.io" "v1" (api::storage::v1): CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
        VolumeAttributesClass;
    "meta.k8s.io" "v1" (k8s_openapi::apimachinery::pkg::apis::meta::v1): DeleteOptions, ListMeta, ObjectMeta, Status;
};

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) -> String {
    generator.subschema_for::<T>();
    T::schema_name().into_owned()
}

/// Returns the schema of a built-in kind. The group of types that every group shares, such as `DeleteOptions` and
/// `ObjectMeta`, is `meta.k8s.io`.
#[must_use]
pub fn kind(group: &str, version: &str, kind: &str) -> Option<SchemaRef> {
    let known =
        KINDS.iter().find(|k| k.kind == kind && k.group == group && k.version == version)?;
    Some(models::root(known.generate))
}

/// Returns group, version and kind of a model that is one of a whole kind, such as `io.k8s.api.policy.v1.Eviction`. The
/// types that every group shares belong to the core group here.
#[must_use]
pub fn group_version_kind(model: &str) -> Option<(&'static str, &'static str, &'static str)> {
    let mut parts = model.rsplit('.');
    let (kind, version, area) = (parts.next()?, parts.next()?, parts.next()?);
    let area = if area == "core" { "" } else { area };
    let known = KINDS.iter().find(|known| {
        let first = known.group.split('.').next().unwrap_or_default();
        known.kind == kind && known.version == version && first == area
    })?;
    match (known.group, known.kind) {
        ("meta.k8s.io", "ListMeta" | "ObjectMeta") => None,
        ("meta.k8s.io", kind) => Some(("", known.version, kind)),
        (group, kind) => Some((group, known.version, kind)),
    }
}

/// Returns the schema of `metadata`.
#[must_use]
pub fn object_meta() -> SchemaRef {
    kind("meta.k8s.io", "v1", "ObjectMeta").expect("the table of kinds holds ObjectMeta")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ListType, Type};

    #[test]
    fn every_kind_reads_to_its_leaves() {
        for known in KINDS {
            let schema = kind(known.group, known.version, known.kind).unwrap();
            assert_eq!(schema.type_, Type::Object, "{}", known.kind);
            read_all(&schema, 0);
        }
    }

    fn read_all(schema: &SchemaRef, depth: usize) {
        if depth > 14 {
            return;
        }
        let children =
            schema.properties.values().chain(&schema.items).chain(&schema.additional_properties);
        children.for_each(|child| read_all(child, depth + 1));
    }

    #[test]
    fn pod_spec_has_types_topology_and_strategies() {
        let pod = kind("", "v1", "Pod").unwrap();
        assert!(pod.required.is_empty(), "metadata may be absent on the wire");
        let spec = &pod.properties["spec"];
        assert_eq!(spec.required, ["containers"]);
        assert_eq!(spec.model.as_deref(), Some("io.k8s.api.core.v1.PodSpec"));
        let containers = &spec.properties["containers"];
        assert_eq!(containers.list_type, ListType::Map(vec![("name".into(), None)]));
        assert_eq!(containers.patch.merge_key.as_deref(), Some("name"));
        let container = containers.items.as_ref().unwrap();
        let ports = &container.properties["ports"];
        let keys = vec![("containerPort".into(), None), ("protocol".into(), Some("TCP".into()))];
        assert_eq!(ports.list_type, ListType::Map(keys));
        assert_eq!(ports.patch.merge_key.as_deref(), Some("containerPort"));
        let limits =
            container.properties["resources"].properties["limits"].additional_properties.clone();
        assert_eq!(limits.unwrap().format.as_deref(), Some("quantity"));
        assert!(spec.properties["nodeSelector"].atomic);
        assert!(spec.properties["volumes"].patch.retain_keys);
    }

    #[test]
    fn descriptions_belong_to_the_field_and_shapes_to_the_model() {
        let deployment = kind("apps", "v1", "Deployment").unwrap();
        let spec = &deployment.properties["spec"];
        let model = model("io.k8s.api.apps.v1.DeploymentSpec").unwrap();
        assert_ne!(spec.description, model.description);
        assert!(spec.properties["strategy"].patch.retain_keys);
        assert!(spec.properties["selector"].atomic);
        assert!(!model.properties["template"].properties["metadata"].properties.is_empty());
    }

    #[test]
    fn recursive_and_raw_types_are_understood() {
        let crd = kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
        let version = crd.properties["spec"].properties["versions"].items.clone().unwrap();
        let mut schema = version.properties["schema"].properties["openAPIV3Schema"].clone();
        for _ in 0..20 {
            schema = schema.properties["not"].clone();
        }
        assert!(schema.properties["default"].preserve_unknown);
        let revision = kind("apps", "v1", "ControllerRevision").unwrap();
        assert!(revision.properties["data"].preserve_unknown);
        let port = kind("networking.k8s.io", "v1", "NetworkPolicy").unwrap();
        let rule = port.properties["spec"].properties["ingress"].items.clone().unwrap();
        let port = rule.properties["ports"].items.clone().unwrap().properties["port"].clone();
        assert_eq!(port.type_, Type::IntOrString);
    }

    #[test]
    fn models_of_kinds_are_told_from_their_parts() {
        let known = [
            ("io.k8s.api.policy.v1.Eviction", ("policy", "v1", "Eviction")),
            ("io.k8s.api.core.v1.Pod", ("", "v1", "Pod")),
            ("io.k8s.api.rbac.v1.Role", ("rbac.authorization.k8s.io", "v1", "Role")),
            ("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions", ("", "v1", "DeleteOptions")),
        ];
        for (model, want) in known {
            assert_eq!(group_version_kind(model), Some(want), "{model}");
        }
        for part in ["io.k8s.api.core.v1.PodSpec", "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"]
        {
            assert_eq!(group_version_kind(part), None, "{part}");
        }
    }

    #[test]
    fn unknown_kinds_have_no_schema() {
        assert!(kind("apps", "v1beta1", "Deployment").is_none());
        assert!(kind("", "v1", "Deployment").is_none());
        assert!(model("io.k8s.api.core.v1.Nonsense").is_none());
    }
}
