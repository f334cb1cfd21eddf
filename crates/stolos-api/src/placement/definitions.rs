//! What the definitions of the placement kinds say besides their schemas.

use super::GROUP;
use crate::crd::{Column, Definition, Rule, Scope};

const CATEGORIES: &[&str] = &["fleet", "fleet-placement"];
const BOTH_VERSIONS: &[&str] = &["v1", "v1beta1"];
const V1BETA1: &[&str] = &["v1beta1"];

const NOT_IN_V1_PLACEMENT: &[&[&str]] =
    &[&["spec", "strategy", "deleteStrategy"], &["spec", "strategy", "reportBackStrategy"]];

/// The columns of a placement; its conditions are prefixed by the kind.
macro_rules! placement_columns {
    ($kind:literal) => {
        &[
            Column::GENERATION,
            Column::text("Type", ".spec.policy.placementType").wide(),
            Column::text("Scheduled", placement_columns!(@ $kind, "Scheduled", "status")),
            Column::text(
                "Scheduled-Gen",
                placement_columns!(@ $kind, "Scheduled", "observedGeneration"),
            ),
            Column::text(
                "Work-Synchronized",
                placement_columns!(@ $kind, "WorkSynchronized", "status"),
            )
            .wide(),
            Column::text(
                "Work-Synchronized-Gen",
                placement_columns!(@ $kind, "WorkSynchronized", "observedGeneration"),
            )
            .wide(),
            Column::text("Available", placement_columns!(@ $kind, "Available", "status")),
            Column::text(
                "Available-Gen",
                placement_columns!(@ $kind, "Available", "observedGeneration"),
            ),
            Column::AGE,
        ]
    };
    (@ $kind:literal, $condition:literal, $field:literal) => {
        concat!(".status.conditions[?(@.type==\"", $kind, $condition, "\")].", $field)
    };
}

const SNAPSHOT_COLUMNS: &[Column] = &[Column::GENERATION, Column::AGE];

const BINDING_COLUMNS: &[Column] = &[
    Column::text("WorkSynchronized", r#".status.conditions[?(@.type=="WorkSynchronized")].status"#),
    Column::text("ResourcesApplied", r#".status.conditions[?(@.type=="Applied")].status"#),
    Column::text("ResourceAvailable", r#".status.conditions[?(@.type=="Available")].status"#)
        .wide(),
    Column::AGE,
];

pub(super) const CLUSTER_RESOURCE_PLACEMENT: Definition = Definition {
    group: GROUP,
    kind: "ClusterResourcePlacement",
    singular: "clusterresourceplacement",
    plural: "clusterresourceplacements",
    name: "clusterresourceplacements.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["crp"],
    categories: CATEGORIES,
    versions: BOTH_VERSIONS,
    columns: placement_columns!("ClusterResourcePlacement"),
    spec_required: true,
    rules: &[],
    spec_rules: &[
        Rule {
            message: "when statusReportingScope is NamespaceAccessible, exactly one resourceSelector with kind 'Namespace' is required",
            rule: "!(self.statusReportingScope == 'NamespaceAccessible' && size(self.resourceSelectors.filter(x, x.kind == 'Namespace')) != 1)",
        },
        Rule {
            message: "statusReportingScope is immutable",
            rule: "!has(oldSelf.statusReportingScope) || self.statusReportingScope == oldSelf.statusReportingScope",
        },
    ],
    not_in_v1: NOT_IN_V1_PLACEMENT,
};

pub(super) const RESOURCE_PLACEMENT: Definition = Definition {
    group: GROUP,
    kind: "ResourcePlacement",
    singular: "resourceplacement",
    plural: "resourceplacements",
    name: "resourceplacements.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &["rp"],
    categories: CATEGORIES,
    versions: BOTH_VERSIONS,
    columns: placement_columns!("ResourcePlacement"),
    spec_required: true,
    rules: &[],
    spec_rules: &[],
    not_in_v1: NOT_IN_V1_PLACEMENT,
};

pub(super) const CLUSTER_SCHEDULING_POLICY_SNAPSHOT: Definition = Definition {
    group: GROUP,
    kind: "ClusterSchedulingPolicySnapshot",
    singular: "clusterschedulingpolicysnapshot",
    plural: "clusterschedulingpolicysnapshots",
    name: "clusterschedulingpolicysnapshots.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["csps"],
    categories: CATEGORIES,
    versions: BOTH_VERSIONS,
    columns: SNAPSHOT_COLUMNS,
    spec_required: true,
    rules: &[],
    spec_rules: &[],
    not_in_v1: &[],
};

pub(super) const SCHEDULING_POLICY_SNAPSHOT: Definition = Definition {
    kind: "SchedulingPolicySnapshot",
    singular: "schedulingpolicysnapshot",
    plural: "schedulingpolicysnapshots",
    name: "schedulingpolicysnapshots.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &["sps"],
    versions: V1BETA1,
    ..CLUSTER_SCHEDULING_POLICY_SNAPSHOT
};

pub(super) const CLUSTER_RESOURCE_SNAPSHOT: Definition = Definition {
    group: GROUP,
    kind: "ClusterResourceSnapshot",
    singular: "clusterresourcesnapshot",
    plural: "clusterresourcesnapshots",
    name: "clusterresourcesnapshots.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["crs"],
    categories: CATEGORIES,
    versions: BOTH_VERSIONS,
    columns: SNAPSHOT_COLUMNS,
    spec_required: true,
    rules: &[],
    spec_rules: &[],
    not_in_v1: &[],
};

pub(super) const RESOURCE_SNAPSHOT: Definition = Definition {
    kind: "ResourceSnapshot",
    singular: "resourcesnapshot",
    plural: "resourcesnapshots",
    name: "resourcesnapshots.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &["rs"],
    versions: V1BETA1,
    ..CLUSTER_RESOURCE_SNAPSHOT
};

pub(super) const CLUSTER_RESOURCE_BINDING: Definition = Definition {
    group: GROUP,
    kind: "ClusterResourceBinding",
    singular: "clusterresourcebinding",
    plural: "clusterresourcebindings",
    name: "clusterresourcebindings.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["crb"],
    categories: CATEGORIES,
    versions: BOTH_VERSIONS,
    columns: BINDING_COLUMNS,
    spec_required: true,
    rules: &[],
    spec_rules: &[],
    not_in_v1: &[],
};

pub(super) const RESOURCE_BINDING: Definition = Definition {
    kind: "ResourceBinding",
    singular: "resourcebinding",
    plural: "resourcebindings",
    name: "resourcebindings.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &["rb"],
    versions: V1BETA1,
    ..CLUSTER_RESOURCE_BINDING
};

pub(super) const WORK: Definition = Definition {
    group: GROUP,
    kind: "Work",
    singular: "work",
    plural: "works",
    name: "works.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &[],
    categories: CATEGORIES,
    versions: BOTH_VERSIONS,
    columns: &[],
    spec_required: false,
    rules: &[],
    spec_rules: &[],
    not_in_v1: &[
        &["spec", "reportBackStrategy"],
        &["status", "manifestConditions", "[]", "backReportedStatus"],
    ],
};

pub(super) const APPLIED_WORK: Definition = Definition {
    group: GROUP,
    kind: "AppliedWork",
    singular: "appliedwork",
    plural: "appliedworks",
    name: "appliedworks.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &[],
    categories: CATEGORIES,
    versions: BOTH_VERSIONS,
    columns: &[],
    spec_required: true,
    rules: &[],
    spec_rules: &[],
    not_in_v1: &[],
};
