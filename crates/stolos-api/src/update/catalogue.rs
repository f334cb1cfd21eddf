//! Version catalogues: which Kubernetes versions and node images are published, where providers cannot tell or should
//! not decide.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Lists published Kubernetes versions and node images for the fleets of its namespace.
///
/// Several catalogues add up. Where one lists Kubernetes versions, only listed ones count for auto-upgrade; where none
/// does, what the members' providers offer counts. The same holds for node images.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fleet.stolos.dev",
    version = "v1alpha1",
    kind = "VersionCatalogue",
    namespaced,
    derive = "PartialEq",
    shortname = "vcat",
    category = "stolos",
    doc = "VersionCatalogue lists published Kubernetes versions and node images for the fleets of its namespace.",
    printcolumn(
        name = "Versions",
        type_ = "string",
        json_path = ".spec.kubernetesVersions[*].version"
    ),
    printcolumn(
        name = "Images",
        type_ = "string",
        json_path = ".spec.nodeImages[*].version",
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("has(self.spec.kubernetesVersions) || has(self.spec.nodeImages)").message("spec needs kubernetesVersions, nodeImages, or both").field_path(".spec")
)]
#[serde(rename_all = "camelCase")]
pub struct VersionCatalogueSpec {
    /// Published Kubernetes versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["version".into()]))]
    pub kubernetes_versions: Vec<CatalogueVersion>,
    /// Published node images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["version".into()]))]
    pub node_images: Vec<CatalogueImage>,
}

/// A published Kubernetes version.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueVersion {
    /// The full version, such as `1.33.2`.
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+[.][0-9]+[.][0-9]+$')").message("must be a full version such as 1.33.2"))]
    pub version: String,
    /// Not generally available: no channel chooses it.
    #[serde(default)]
    pub preview: bool,
    /// Only for clusters with long-term support.
    #[serde(default)]
    pub long_term_support_only: bool,
    /// When it counts as published; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Time>,
}

/// A published node image.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueImage {
    /// `<family>-<version>`, such as `AKSUbuntu-2204gen2containerd-202507.15.0`.
    #[schemars(length(min = 3, max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^.+-[0-9]+([.][0-9]+)*$')").message("must be a family, a dash and a version, such as AKSUbuntu-2204gen2containerd-202507.15.0"))]
    pub version: String,
    /// Whether it brings nothing but security patches, so that the channel SecurityPatch may choose it.
    #[serde(default)]
    pub security_patch: bool,
    /// The locations that have it; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 63)))]
    pub locations: Vec<String>,
    /// When it counts as published; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Time>,
}
