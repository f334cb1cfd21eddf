//! What the definitions of the network kinds say besides their schemas.

use serde_json::Value;

use super::GROUP;
use crate::crd::{Column, Definition, OtherVersion, Rule, STORAGE_VERSION, Scope, Subresources};

const CATEGORIES: &[&str] = &["fleet-networking"];
const V1ALPHA1: &str = "v1alpha1";
const ALPHA: &[&str] = &[V1ALPHA1];
const BETA_AND_ALPHA: &[&str] = &[V1ALPHA1, STORAGE_VERSION];

const NAME_FITS_A_LABEL: &[Rule] =
    &[Rule { message: "metadata.name max length is 63", rule: "size(self.metadata.name) < 64" }];

pub(super) const SERVICE_EXPORT: Definition = Definition {
    group: GROUP,
    kind: "ServiceExport",
    singular: "serviceexport",
    plural: "serviceexports",
    name: "serviceexports.networking.fleet.azure.com",
    scope: Scope::Namespaced,
    short_names: &["svcexport"],
    categories: CATEGORIES,
    versions: BETA_AND_ALPHA,
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[
        Column::text("Is-Valid", ".status.conditions[?(@.type=='Valid')].status"),
        Column::text("Is-Conflicted", ".status.conditions[?(@.type=='Conflict')].status"),
        Column::AGE,
    ],
    required: &[],
    rules: NAME_FITS_A_LABEL,
    spec_rules: &[],
    other_versions: &[],
};

pub(super) const SERVICE_IMPORT: Definition = Definition {
    kind: "ServiceImport",
    singular: "serviceimport",
    plural: "serviceimports",
    name: "serviceimports.networking.fleet.azure.com",
    short_names: &["svcimport"],
    versions: ALPHA,
    storage: V1ALPHA1,
    columns: &[],
    ..SERVICE_EXPORT
};

pub(super) const MULTI_CLUSTER_SERVICE: Definition = Definition {
    kind: "MultiClusterService",
    singular: "multiclusterservice",
    plural: "multiclusterservices",
    name: "multiclusterservices.networking.fleet.azure.com",
    short_names: &["mcs"],
    versions: ALPHA,
    storage: V1ALPHA1,
    columns: &[
        Column::text("Service-Import", ".spec.serviceImport.name"),
        Column::text("External-IP", ".status.loadBalancer.ingress[0].ip"),
        Column::text("Is-Valid", ".status.conditions[?(@.type=='Valid')].status"),
        Column::AGE,
    ],
    required: &["spec"],
    ..SERVICE_EXPORT
};

pub(super) const INTERNAL_SERVICE_EXPORT: Definition = Definition {
    group: GROUP,
    kind: "InternalServiceExport",
    singular: "internalserviceexport",
    plural: "internalserviceexports",
    name: "internalserviceexports.networking.fleet.azure.com",
    scope: Scope::Namespaced,
    short_names: &["internalsvcexport"],
    categories: CATEGORIES,
    versions: ALPHA,
    storage: V1ALPHA1,
    subresources: Subresources::Status,
    columns: &[],
    required: &[],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
};

pub(super) const INTERNAL_SERVICE_IMPORT: Definition = Definition {
    kind: "InternalServiceImport",
    singular: "internalserviceimport",
    plural: "internalserviceimports",
    name: "internalserviceimports.networking.fleet.azure.com",
    short_names: &["internalsvcimport"],
    required: &["spec"],
    ..INTERNAL_SERVICE_EXPORT
};

pub(super) const ENDPOINT_SLICE_EXPORT: Definition = Definition {
    kind: "EndpointSliceExport",
    singular: "endpointsliceexport",
    plural: "endpointsliceexports",
    name: "endpointsliceexports.networking.fleet.azure.com",
    short_names: &[],
    required: &["spec"],
    ..INTERNAL_SERVICE_EXPORT
};

pub(super) const ENDPOINT_SLICE_IMPORT: Definition = Definition {
    kind: "EndpointSliceImport",
    singular: "endpointsliceimport",
    plural: "endpointsliceimports",
    name: "endpointsliceimports.networking.fleet.azure.com",
    subresources: Subresources::None,
    ..ENDPOINT_SLICE_EXPORT
};

pub(super) const TRAFFIC_MANAGER_PROFILE: Definition = Definition {
    kind: "TrafficManagerProfile",
    singular: "trafficmanagerprofile",
    plural: "trafficmanagerprofiles",
    name: "trafficmanagerprofiles.networking.fleet.azure.com",
    short_names: &["tmp"],
    columns: &[
        Column::text("DNS-Name", ".status.dnsName"),
        Column::text("Is-Programmed", ".status.conditions[?(@.type=='Programmed')].status"),
        Column::AGE,
    ],
    required: &["spec"],
    other_versions: &[OtherVersion::lacking(V1ALPHA1, &[]).adjusted(drop_rules_on_the_timeout)],
    ..SERVICE_EXPORT
};

fn drop_rules_on_the_timeout(schema: &mut Value) {
    let monitor = &mut schema["properties"]["spec"]["properties"]["monitorConfig"];
    monitor.as_object_mut().expect("an object schema").remove("x-kubernetes-validations");
}

pub(super) const TRAFFIC_MANAGER_BACKEND: Definition = Definition {
    kind: "TrafficManagerBackend",
    singular: "trafficmanagerbackend",
    plural: "trafficmanagerbackends",
    name: "trafficmanagerbackends.networking.fleet.azure.com",
    short_names: &["tmb"],
    columns: &[
        Column::text("Profile", ".spec.profile.name"),
        Column::text("Backend", ".spec.backend.name"),
        Column::text("Is-Accepted", ".status.conditions[?(@.type=='Accepted')].status"),
        Column::AGE,
    ],
    required: &["spec"],
    ..SERVICE_EXPORT
};
