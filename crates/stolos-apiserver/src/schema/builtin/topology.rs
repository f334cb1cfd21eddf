//! List and map topology for server-side apply, strategies for strategic merge patch, and allowed values.
//!
//! The facts are those of the API reference; `k8s-openapi` does not carry them.

use std::sync::Arc;

use serde_json::Value;

use crate::schema::{Constraints, ListType, PatchStrategy, Schema};

/// What our tables say about one field.
#[derive(Default)]
pub(super) struct Traits {
    list_type: Option<ListType>,
    patch: Option<PatchStrategy>,
    atomic: bool,
    granular: bool,
    default: Option<Value>,
    enumeration: Vec<Value>,
}

impl Traits {
    pub(super) fn is_empty(&self) -> bool {
        self.list_type.is_none()
            && self.patch.is_none()
            && !self.atomic
            && !self.granular
            && self.default.is_none()
            && self.enumeration.is_empty()
    }

    pub(super) fn apply(self, schema: &mut Schema) {
        schema.list_type = self.list_type.unwrap_or_else(|| std::mem::take(&mut schema.list_type));
        schema.patch = self.patch.unwrap_or_default();
        schema.atomic = (schema.atomic || self.atomic) && !self.granular;
        schema.default = self.default.or_else(|| schema.default.take());
        if !self.enumeration.is_empty() {
            let constraints =
                Constraints { enumeration: self.enumeration, ..Constraints::default() };
            schema.constraints = Some(Arc::new(constraints));
        }
    }
}

/// Returns what the tables say about a field of a model.
pub(super) fn field(model: &str, field: &str) -> Traits {
    let model = short(model);
    let matches = |(m, f): (&str, &str)| f == field && (m == "*" || m == model);
    let list_type = LIST_MAPS
        .iter()
        .find(|(m, f, _)| matches((m, f)))
        .map(|(_, _, keys)| ListType::Map(keys.split(',').map(key).collect()))
        .or_else(|| SETS.iter().any(|(m, f)| matches((m, f))).then_some(ListType::Set))
        .filter(|_| !ATOMIC_DESPITE.iter().any(|(m, f)| matches((m, f))));
    Traits {
        list_type,
        patch: STRATEGIES
            .iter()
            .find(|(m, f, _)| matches((m, f)))
            .filter(|_| !REPLACED_DESPITE.iter().any(|(m, f)| matches((m, f))))
            .map(|(_, _, text)| strategy(text)),
        atomic: ATOMIC_MAPS.iter().any(|(m, f)| matches((m, f))),
        granular: GRANULAR_DESPITE.iter().any(|(m, f)| matches((m, f))),
        enumeration: ENUMS
            .iter()
            .find(|(m, f, _)| matches((m, f)))
            .map_or_else(Vec::new, |(_, _, values)| values.split(',').map(Value::from).collect()),
        default: (PROTOCOLS.contains(&model) && field == "protocol").then(|| "TCP".into()),
    }
}

/// Reports whether a model is one value for server-side apply.
pub(super) fn is_atomic_model(model: &str) -> bool {
    ATOMIC_MODELS.contains(&short(model))
}

/// Reports whether a field that the reference calls required may be absent all the same.
pub(super) fn is_optional(model: &str, field: &str) -> bool {
    OPTIONAL.contains(&(short(model), field))
}

/// Drops the part of a model's name that all API types share: `core.v1.PodSpec`, `meta.v1.ObjectMeta`.
pub(super) fn short(model: &str) -> &str {
    for prefix in ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis."] {
        if let Some(rest) = model.strip_prefix(prefix) {
            return rest;
        }
    }
    let mut dots = model.rmatch_indices('.').map(|(at, _)| at + 1);
    dots.nth(2).map_or(model, |at| &model[at..])
}

fn key(name: &str) -> (String, Option<Value>) {
    (name.to_owned(), (name == "protocol").then(|| "TCP".into()))
}

/// Reads `merge name`, `merge+retain name`, `merge` (scalars), `retain` or `replace`.
fn strategy(text: &str) -> PatchStrategy {
    let (what, key) = text.split_once(' ').unwrap_or((text, ""));
    PatchStrategy {
        merge: what.contains("merge"),
        retain_keys: what.contains("retain"),
        replace: what == "replace",
        merge_key: (!key.is_empty()).then(|| key.to_owned()),
    }
}

const PROTOCOLS: &[&str] = &["core.v1.ContainerPort", "core.v1.ServicePort"];

/// Lists of objects with keys: model (`*` for all), field, keys.
#[rustfmt::skip]
const LIST_MAPS: &[(&str, &str, &str)] = &[
    ("admissionregistration.v1.MutatingWebhook", "matchConditions", "name"),
    ("admissionregistration.v1.MutatingWebhookConfiguration", "webhooks", "name"),
    ("admissionregistration.v1.ValidatingAdmissionPolicySpec", "matchConditions", "name"),
    ("admissionregistration.v1.ValidatingAdmissionPolicySpec", "variables", "name"),
    ("admissionregistration.v1.ValidatingWebhook", "matchConditions", "name"),
    ("admissionregistration.v1.ValidatingWebhookConfiguration", "webhooks", "name"),
    ("apiextensions.v1.JSONSchemaProps", "x-kubernetes-validations", "rule"),
    ("core.v1.Container", "env", "name"),
    ("core.v1.Container", "ports", "containerPort,protocol"),
    ("core.v1.Container", "volumeDevices", "devicePath"),
    ("core.v1.Container", "volumeMounts", "mountPath"),
    ("core.v1.ContainerStatus", "allocatedResourcesStatus", "name"),
    ("core.v1.ContainerStatus", "volumeMounts", "mountPath"),
    ("core.v1.EphemeralContainer", "env", "name"),
    ("core.v1.EphemeralContainer", "ports", "containerPort,protocol"),
    ("core.v1.EphemeralContainer", "volumeDevices", "devicePath"),
    ("core.v1.EphemeralContainer", "volumeMounts", "mountPath"),
    ("core.v1.NodeStatus", "addresses", "type"),
    ("core.v1.PodSpec", "containers", "name"),
    ("core.v1.PodSpec", "ephemeralContainers", "name"),
    ("core.v1.PodSpec", "hostAliases", "ip"),
    ("core.v1.PodSpec", "imagePullSecrets", "name"),
    ("core.v1.PodSpec", "initContainers", "name"),
    ("core.v1.PodSpec", "resourceClaims", "name"),
    ("core.v1.PodSpec", "schedulingGates", "name"),
    ("core.v1.PodSpec", "topologySpreadConstraints", "topologyKey,whenUnsatisfiable"),
    ("core.v1.PodSpec", "volumes", "name"),
    ("core.v1.PodStatus", "podIPs", "ip"),
    ("core.v1.PodStatus", "resourceClaimStatuses", "name"),
    ("core.v1.ResourceRequirements", "claims", "name"),
    ("core.v1.ResourceStatus", "resources", "resourceID"),
    ("core.v1.ServiceAccount", "secrets", "name"),
    ("core.v1.ServiceSpec", "ports", "port,protocol"),
    ("meta.v1.ObjectMeta", "ownerReferences", "uid"),
    ("storage.v1.CSINodeSpec", "drivers", "name"),
    ("*", "conditions", "type"),
];

/// Lists that stay atomic although a `*` row above matches.
const ATOMIC_DESPITE: &[(&str, &str)] = &[("batch.v1.JobStatus", "conditions")];

/// Lists of unique scalars.
const SETS: &[(&str, &str)] = &[
    ("admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", "validationActions"),
    ("batch.v1.PodFailurePolicyOnExitCodesRequirement", "values"),
    ("core.v1.ContainerRestartRuleOnExitCodes", "values"),
    ("batch.v1.UncountedTerminatedPods", "failed"),
    ("batch.v1.UncountedTerminatedPods", "succeeded"),
    ("core.v1.NodeSpec", "podCIDRs"),
    ("discovery.v1.Endpoint", "addresses"),
    ("flowcontrol.v1.NonResourcePolicyRule", "nonResourceURLs"),
    ("flowcontrol.v1.NonResourcePolicyRule", "verbs"),
    ("flowcontrol.v1.ResourcePolicyRule", "apiGroups"),
    ("flowcontrol.v1.ResourcePolicyRule", "namespaces"),
    ("flowcontrol.v1.ResourcePolicyRule", "resources"),
    ("flowcontrol.v1.ResourcePolicyRule", "verbs"),
    ("meta.v1.ObjectMeta", "finalizers"),
    ("storage.v1.CSIDriverSpec", "volumeLifecycleModes"),
];

/// Maps of scalars that are one value.
const ATOMIC_MAPS: &[(&str, &str)] = &[
    ("core.v1.PodSpec", "nodeSelector"),
    ("core.v1.ReplicationControllerSpec", "selector"),
    ("core.v1.ServiceSpec", "selector"),
    ("node.v1.Scheduling", "nodeSelector"),
];

/// Structures that are one value.
const ATOMIC_MODELS: &[&str] = &[
    "admissionregistration.v1.MatchResources",
    "admissionregistration.v1.NamedRuleWithOperations",
    "admissionregistration.v1.ParamKind",
    "admissionregistration.v1.ParamRef",
    "admissionregistration.v1.Variable",
    "autoscaling.v1.CrossVersionObjectReference",
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.FileKeySelector",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.ScopeSelector",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TopologySelectorTerm",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
    "networking.v1.ServiceBackendPort",
    "rbac.v1.RoleRef",
    "rbac.v1.Subject",
];

/// Strategic merge: model (`*` for all), field, strategy.
#[rustfmt::skip]
const STRATEGIES: &[(&str, &str, &str)] = &[
    ("admissionregistration.v1.MutatingWebhook", "matchConditions", "merge name"),
    ("admissionregistration.v1.MutatingWebhookConfiguration", "webhooks", "merge name"),
    ("admissionregistration.v1.ValidatingAdmissionPolicySpec", "matchConditions", "merge name"),
    ("admissionregistration.v1.ValidatingAdmissionPolicySpec", "variables", "merge name"),
    ("admissionregistration.v1.ValidatingWebhook", "matchConditions", "merge name"),
    ("admissionregistration.v1.ValidatingWebhookConfiguration", "webhooks", "merge name"),
    ("apiextensions.v1.JSONSchemaProps", "x-kubernetes-validations", "merge rule"),
    ("apps.v1.DeploymentSpec", "strategy", "retain"),
    ("core.v1.Container", "env", "merge name"),
    ("core.v1.Container", "ports", "merge containerPort"),
    ("core.v1.Container", "volumeDevices", "merge devicePath"),
    ("core.v1.Container", "volumeMounts", "merge mountPath"),
    ("core.v1.ContainerStatus", "allocatedResourcesStatus", "merge name"),
    ("core.v1.ContainerStatus", "volumeMounts", "merge mountPath"),
    ("core.v1.EphemeralContainer", "env", "merge name"),
    ("core.v1.EphemeralContainer", "ports", "merge containerPort"),
    ("core.v1.EphemeralContainer", "volumeDevices", "merge devicePath"),
    ("core.v1.EphemeralContainer", "volumeMounts", "merge mountPath"),
    ("core.v1.NodeSpec", "podCIDRs", "merge"),
    ("core.v1.NodeStatus", "addresses", "merge type"),
    ("core.v1.PodSpec", "containers", "merge name"),
    ("core.v1.PodSpec", "ephemeralContainers", "merge name"),
    ("core.v1.PodSpec", "hostAliases", "merge ip"),
    ("core.v1.PodSpec", "imagePullSecrets", "merge name"),
    ("core.v1.PodSpec", "initContainers", "merge name"),
    ("core.v1.PodSpec", "resourceClaims", "merge+retain name"),
    ("core.v1.PodSpec", "schedulingGates", "merge name"),
    ("core.v1.PodSpec", "topologySpreadConstraints", "merge topologyKey"),
    ("core.v1.PodSpec", "volumes", "merge+retain name"),
    ("core.v1.PodStatus", "hostIPs", "merge ip"),
    ("core.v1.PodStatus", "podIPs", "merge ip"),
    ("core.v1.PodStatus", "resourceClaimStatuses", "merge+retain name"),
    ("core.v1.ServiceAccount", "secrets", "merge name"),
    ("core.v1.ServiceSpec", "ports", "merge port"),
    ("meta.v1.ObjectMeta", "finalizers", "merge"),
    ("meta.v1.ObjectMeta", "ownerReferences", "merge uid"),
    ("policy.v1.PodDisruptionBudgetSpec", "selector", "replace"),
    ("storage.v1.CSINodeSpec", "drivers", "merge name"),
    ("*", "conditions", "merge type"),
];

/// Conditions that strategic merge treats like any other list although the `*` row above matches.
const REPLACED_DESPITE: &[(&str, &str)] = &[
    ("admissionregistration.v1.ValidatingAdmissionPolicyStatus", "conditions"),
    ("apiextensions.v1.CustomResourceDefinitionStatus", "conditions"),
    ("certificates.v1.CertificateSigningRequestStatus", "conditions"),
    ("discovery.v1.Endpoint", "conditions"),
];

/// Fields whose model is one value for server-side apply, but that are not.
const GRANULAR_DESPITE: &[(&str, &str)] = &[("core.v1.PersistentVolumeSpec", "claimRef")];

/// Fields that kube-apiserver does not insist on although the reference lists them as required.
const OPTIONAL: &[(&str, &str)] = &[
    ("apps.v1.StatefulSetSpec", "serviceName"),
    ("core.v1.LocalObjectReference", "name"),
    ("discovery.v1.EndpointSlice", "endpoints"),
    ("networking.v1.NetworkPolicySpec", "podSelector"),
];

/// Fields with few allowed values, as far as they are required or have a default.
#[rustfmt::skip]
const ENUMS: &[(&str, &str, &str)] = &[
    ("admissionregistration.v1.MatchResources", "matchPolicy", "Equivalent,Exact"),
    ("admissionregistration.v1.MutatingWebhook", "failurePolicy", "Fail,Ignore"),
    ("admissionregistration.v1.MutatingWebhook", "matchPolicy", "Equivalent,Exact"),
    ("admissionregistration.v1.MutatingWebhook", "reinvocationPolicy", "IfNeeded,Never"),
    ("admissionregistration.v1.MutatingWebhook", "sideEffects", "None,NoneOnDryRun"),
    ("admissionregistration.v1.ValidatingAdmissionPolicySpec", "failurePolicy", "Fail,Ignore"),
    ("admissionregistration.v1.ValidatingWebhook", "failurePolicy", "Fail,Ignore"),
    ("admissionregistration.v1.ValidatingWebhook", "matchPolicy", "Equivalent,Exact"),
    ("admissionregistration.v1.ValidatingWebhook", "sideEffects", "None,NoneOnDryRun"),
    ("apps.v1.DaemonSetUpdateStrategy", "type", "OnDelete,RollingUpdate"),
    ("apps.v1.DeploymentStrategy", "type", "Recreate,RollingUpdate"),
    ("apps.v1.StatefulSetSpec", "podManagementPolicy", "OrderedReady,Parallel"),
    ("apps.v1.StatefulSetUpdateStrategy", "type", "OnDelete,RollingUpdate"),
    ("batch.v1.CronJobSpec", "concurrencyPolicy", "Allow,Forbid,Replace"),
    ("batch.v1.JobSpec", "completionMode", "Indexed,NonIndexed"),
    ("batch.v1.JobSpec", "podReplacementPolicy", "Failed,TerminatingOrFailed"),
    ("core.v1.Container", "imagePullPolicy", "Always,IfNotPresent,Never"),
    ("core.v1.Container", "terminationMessagePolicy", "FallbackToLogsOnError,File"),
    ("core.v1.ContainerPort", "protocol", "SCTP,TCP,UDP"),
    ("core.v1.HTTPGetAction", "scheme", "HTTP,HTTPS"),
    ("core.v1.NodeSelectorRequirement", "operator", "DoesNotExist,Exists,Gt,In,Lt,NotIn"),
    ("core.v1.PersistentVolumeClaimSpec", "volumeMode", "Block,Filesystem"),
    ("core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy", "Delete,Recycle,Retain"),
    ("core.v1.PersistentVolumeSpec", "volumeMode", "Block,Filesystem"),
    ("core.v1.PodSpec", "dnsPolicy", "ClusterFirst,ClusterFirstWithHostNet,Default,None"),
    ("core.v1.PodSpec", "restartPolicy", "Always,Never,OnFailure"),
    ("core.v1.ServicePort", "protocol", "SCTP,TCP,UDP"),
    ("core.v1.ServiceSpec", "sessionAffinity", "ClientIP,None"),
    ("core.v1.ServiceSpec", "type", "ClusterIP,ExternalName,LoadBalancer,NodePort"),
    ("core.v1.Taint", "effect", "NoExecute,NoSchedule,PreferNoSchedule"),
    ("core.v1.TopologySpreadConstraint", "whenUnsatisfiable", "DoNotSchedule,ScheduleAnyway"),
    ("discovery.v1.EndpointSlice", "addressType", "FQDN,IPv4,IPv6"),
    ("meta.v1.LabelSelectorRequirement", "operator", "DoesNotExist,Exists,In,NotIn"),
    ("networking.v1.HTTPIngressPath", "pathType", "Exact,ImplementationSpecific,Prefix"),
    ("rbac.v1.Subject", "kind", "Group,ServiceAccount,User"),
    ("scheduling.v1.PriorityClass", "preemptionPolicy", "Never,PreemptLowerPriority"),
    ("storage.v1.StorageClass", "reclaimPolicy", "Delete,Recycle,Retain"),
    ("storage.v1.StorageClass", "volumeBindingMode", "Immediate,WaitForFirstConsumer"),
];

#[cfg(test)]
mod tests {
    use super::super::{KINDS, kind, model};
    use super::*;

    #[test]
    fn every_row_names_something_that_exists() {
        for known in KINDS {
            let _ = kind(known.group, known.version, known.kind).unwrap().type_;
        }
        let rows = LIST_MAPS.iter().chain(STRATEGIES).chain(ENUMS).map(|(m, f, _)| (*m, *f));
        let pairs = SETS.iter().chain(ATOMIC_MAPS).chain(ATOMIC_DESPITE).chain(OPTIONAL);
        let pairs = pairs.chain(REPLACED_DESPITE).chain(GRANULAR_DESPITE);
        let rows = rows.chain(pairs.copied());
        for (name, field) in rows.filter(|(name, _)| *name != "*") {
            let found = find(name).unwrap_or_else(|| panic!("no model {name}"));
            assert!(found.properties.contains_key(field), "{name} has no field {field}");
        }
        for name in ATOMIC_MODELS.iter().chain(PROTOCOLS) {
            assert!(find(name).is_some(), "no model {name}");
        }
    }

    fn find(short: &str) -> Option<crate::schema::SchemaRef> {
        let prefixes = [
            "io.k8s.api.",
            "io.k8s.apimachinery.pkg.apis.",
            "io.k8s.apiextensions-apiserver.pkg.apis.",
        ];
        prefixes.iter().find_map(|prefix| model(&format!("{prefix}{short}")))
    }

    #[test]
    fn job_conditions_are_atomic_for_apply_and_merge_in_patches() {
        let job = kind("batch", "v1", "Job").unwrap();
        let conditions = &job.properties["status"].properties["conditions"];
        assert_eq!(conditions.list_type, ListType::Atomic);
        assert_eq!(conditions.patch.merge_key.as_deref(), Some("type"));
    }
}
