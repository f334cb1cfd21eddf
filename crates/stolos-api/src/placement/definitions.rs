//! What the definitions of the placement kinds say besides their schemas.

use serde_json::{Value, json};

use super::GROUP;
use super::overrides::PLACEMENT_IS_IMMUTABLE;
use crate::crd::{Column, Definition, OtherVersion, Rule, STORAGE_VERSION, Scope, Subresources};

const CATEGORIES: &[&str] = &["fleet", "fleet-placement"];
const BOTH_VERSIONS: &[&str] = &["v1", "v1beta1"];
const V1BETA1: &[&str] = &["v1beta1"];
const ALL_VERSIONS: &[&str] = &["v1", "v1alpha1", "v1beta1"];
const BETA_AND_ALPHA: &[&str] = &["v1alpha1", "v1beta1"];

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
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: placement_columns!("ClusterResourcePlacement"),
    required: &["spec"],
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
    other_versions: &[OtherVersion::lacking("v1", NOT_IN_V1_PLACEMENT)],
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
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: placement_columns!("ResourcePlacement"),
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[OtherVersion::lacking("v1", NOT_IN_V1_PLACEMENT)],
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
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: SNAPSHOT_COLUMNS,
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
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
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: SNAPSHOT_COLUMNS,
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
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
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: BINDING_COLUMNS,
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
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
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[],
    required: &[],
    rules: &[],
    spec_rules: &[],
    other_versions: &[OtherVersion::lacking(
        "v1",
        &[
            &["spec", "reportBackStrategy"],
            &["status", "manifestConditions", "[]", "backReportedStatus"],
        ],
    )],
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
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[],
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
};

pub(super) const CLUSTER_RESOURCE_PLACEMENT_STATUS: Definition = Definition {
    group: GROUP,
    kind: "ClusterResourcePlacementStatus",
    singular: "clusterresourceplacementstatus",
    plural: "clusterresourceplacementstatuses",
    name: "clusterresourceplacementstatuses.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &["crps"],
    categories: CATEGORIES,
    versions: BOTH_VERSIONS,
    storage: STORAGE_VERSION,
    subresources: Subresources::Empty,
    columns: &[
        Column::text("Resource-Index", ".sourceStatus.observedResourceIndex"),
        Column::text("Last-Updated", ".lastUpdatedTime"),
        Column::AGE,
    ],
    required: &["sourceStatus", "lastUpdatedTime"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
};

const WITHOUT_IMMUTABLE_PLACEMENT: OtherVersion = OtherVersion::lacking("v1alpha1", &[])
    .adjusted(|schema| drop_rules(&mut schema["properties"]["spec"]));
const WITHOUT_IMMUTABLE_PLACEMENT_IN_SNAPSHOT: OtherVersion =
    OtherVersion::lacking("v1alpha1", &[]).adjusted(|schema| {
        drop_rules(&mut schema["properties"]["spec"]["properties"]["overrideSpec"]);
    });

fn drop_rules(schema: &mut Value) {
    schema.as_object_mut().expect("an object schema").remove("x-kubernetes-validations");
}

pub(super) const CLUSTER_RESOURCE_OVERRIDE: Definition = Definition {
    group: GROUP,
    kind: "ClusterResourceOverride",
    singular: "clusterresourceoverride",
    plural: "clusterresourceoverrides",
    name: "clusterresourceoverrides.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &[],
    categories: CATEGORIES,
    versions: ALL_VERSIONS,
    storage: STORAGE_VERSION,
    subresources: Subresources::None,
    columns: &[],
    required: &["spec"],
    rules: &[Rule {
        message: "clusterResourceOverride placement reference cannot be Namespaced scope",
        rule: "!has(self.spec.placement) || self.spec.placement.scope != 'Namespaced'",
    }],
    spec_rules: &[PLACEMENT_IS_IMMUTABLE],
    other_versions: &[WITHOUT_IMMUTABLE_PLACEMENT],
};

pub(super) const RESOURCE_OVERRIDE: Definition = Definition {
    kind: "ResourceOverride",
    singular: "resourceoverride",
    plural: "resourceoverrides",
    name: "resourceoverrides.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    rules: &[],
    ..CLUSTER_RESOURCE_OVERRIDE
};

pub(super) const CLUSTER_RESOURCE_OVERRIDE_SNAPSHOT: Definition = Definition {
    kind: "ClusterResourceOverrideSnapshot",
    singular: "clusterresourceoverridesnapshot",
    plural: "clusterresourceoverridesnapshots",
    name: "clusterresourceoverridesnapshots.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    rules: &[],
    spec_rules: &[],
    other_versions: &[WITHOUT_IMMUTABLE_PLACEMENT_IN_SNAPSHOT],
    ..CLUSTER_RESOURCE_OVERRIDE
};

pub(super) const RESOURCE_OVERRIDE_SNAPSHOT: Definition = Definition {
    kind: "ResourceOverrideSnapshot",
    singular: "resourceoverridesnapshot",
    plural: "resourceoverridesnapshots",
    name: "resourceoverridesnapshots.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    ..CLUSTER_RESOURCE_OVERRIDE_SNAPSHOT
};

pub(super) const CLUSTER_RESOURCE_ENVELOPE: Definition = Definition {
    group: GROUP,
    kind: "ClusterResourceEnvelope",
    singular: "clusterresourceenvelope",
    plural: "clusterresourceenvelopes",
    name: "clusterresourceenvelopes.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &[],
    categories: CATEGORIES,
    versions: V1BETA1,
    storage: STORAGE_VERSION,
    subresources: Subresources::None,
    columns: &[],
    required: &["data"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
};

pub(super) const RESOURCE_ENVELOPE: Definition = Definition {
    kind: "ResourceEnvelope",
    singular: "resourceenvelope",
    plural: "resourceenvelopes",
    name: "resourceenvelopes.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    ..CLUSTER_RESOURCE_ENVELOPE
};

/// What a strategy of `v1alpha1` does not know: tasks before a stage and more than one member at a
/// time. It has no rules on tasks, and a wait may be a bare 0.
const STRATEGY_OF_V1ALPHA1: OtherVersion = OtherVersion::lacking("v1alpha1", &[])
    .adjusted(|schema| simplify_strategy(&mut schema["properties"]["spec"]));

fn simplify_strategy(schema: &mut Value) {
    let stage = &mut schema["properties"]["stages"]["items"]["properties"];
    let fields = stage.as_object_mut().expect("an object schema");
    fields.remove("beforeStageTasks");
    fields.remove("maxConcurrency");
    let tasks = &mut stage["afterStageTasks"];
    drop_rules(tasks);
    tasks["items"]["properties"]["waitTime"]["pattern"] =
        json!(r"^(?:0|(?:(?:0|[1-9][0-9]*)(\.[0-9]+)?(?:s|m|h))+)$");
}

pub(super) const CLUSTER_STAGED_UPDATE_STRATEGY: Definition = Definition {
    group: GROUP,
    kind: "ClusterStagedUpdateStrategy",
    singular: "clusterstagedupdatestrategy",
    plural: "clusterstagedupdatestrategies",
    name: "clusterstagedupdatestrategies.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["csus"],
    categories: CATEGORIES,
    versions: ALL_VERSIONS,
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[],
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[STRATEGY_OF_V1ALPHA1],
};

pub(super) const STAGED_UPDATE_STRATEGY: Definition = Definition {
    kind: "StagedUpdateStrategy",
    singular: "stagedupdatestrategy",
    plural: "stagedupdatestrategies",
    name: "stagedupdatestrategies.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &["sus"],
    versions: BOTH_VERSIONS,
    subresources: Subresources::None,
    ..CLUSTER_STAGED_UPDATE_STRATEGY
};

/// What a run of `v1alpha1` has differently: it is immutable from the start, so it has no state, and
/// it must name the snapshot.
const RUN_OF_V1ALPHA1: OtherVersion = OtherVersion::lacking(
    "v1alpha1",
    &[
        &["spec", "state"],
        &["status", "resourceSnapshotIndexUsed"],
        &["status", "stagesStatus", "[]", "beforeStageTaskStatus"],
        &["status", "deletionStageStatus", "beforeStageTaskStatus"],
    ],
)
.hiding(&["Progressing"])
.adjusted(|schema| {
    schema["x-kubernetes-validations"] = json!([{
        "message": "metadata.name max length is 127",
        "rule": "size(self.metadata.name) < 128",
    }]);
    let spec = &mut schema["properties"]["spec"];
    spec["required"] =
        json!(["placementName", "resourceSnapshotIndex", "stagedRolloutStrategyName"]);
    spec["x-kubernetes-validations"] =
        json!([{"message": SPEC_IS_IMMUTABLE.message, "rule": SPEC_IS_IMMUTABLE.rule}]);
    for field in ["placementName", "resourceSnapshotIndex", "stagedRolloutStrategyName"] {
        drop_rules(&mut spec["properties"][field]);
    }
    let status = &mut schema["properties"]["status"]["properties"];
    simplify_strategy(&mut status["stagedUpdateStrategySnapshot"]);
});

const SPEC_IS_IMMUTABLE: Rule =
    Rule { message: "The spec field is immutable", rule: "self == oldSelf" };

pub(super) const CLUSTER_STAGED_UPDATE_RUN: Definition = Definition {
    group: GROUP,
    kind: "ClusterStagedUpdateRun",
    singular: "clusterstagedupdaterun",
    plural: "clusterstagedupdateruns",
    name: "clusterstagedupdateruns.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["csur"],
    categories: CATEGORIES,
    versions: ALL_VERSIONS,
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[
        Column::text("Placement", ".spec.placementName"),
        Column::text("Resource-Snapshot-Index", ".spec.resourceSnapshotIndex"),
        Column::text("Policy-Snapshot-Index", ".status.policySnapshotIndexUsed"),
        Column::text("Initialized", r#".status.conditions[?(@.type=="Initialized")].status"#),
        Column::text("Progressing", r#".status.conditions[?(@.type=="Progressing")].status"#),
        Column::text("Succeeded", r#".status.conditions[?(@.type=="Succeeded")].status"#),
        Column::AGE,
        Column::text("Strategy", ".spec.stagedRolloutStrategyName").wide(),
    ],
    required: &["spec"],
    rules: &[Rule {
        message: "metadata.name max length is 63",
        rule: "size(self.metadata.name) < 64",
    }],
    spec_rules: &[
        Rule {
            message: "invalid state transition: cannot transition from Initialize to Stop",
            rule: "!(has(oldSelf.state) && oldSelf.state == 'Initialize' && self.state == 'Stop')",
        },
        Rule {
            message: "invalid state transition: cannot transition from Run to Initialize",
            rule: "!(has(oldSelf.state) && oldSelf.state == 'Run' && self.state == 'Initialize')",
        },
        Rule {
            message: "invalid state transition: cannot transition from Stop to Initialize",
            rule: "!(has(oldSelf.state) && oldSelf.state == 'Stop' && self.state == 'Initialize')",
        },
    ],
    other_versions: &[RUN_OF_V1ALPHA1],
};

pub(super) const STAGED_UPDATE_RUN: Definition = Definition {
    kind: "StagedUpdateRun",
    singular: "stagedupdaterun",
    plural: "stagedupdateruns",
    name: "stagedupdateruns.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &["sur"],
    versions: BOTH_VERSIONS,
    ..CLUSTER_STAGED_UPDATE_RUN
};

pub(super) const CLUSTER_APPROVAL_REQUEST: Definition = Definition {
    group: GROUP,
    kind: "ClusterApprovalRequest",
    singular: "clusterapprovalrequest",
    plural: "clusterapprovalrequests",
    name: "clusterapprovalrequests.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["careq"],
    categories: CATEGORIES,
    versions: ALL_VERSIONS,
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[
        Column::text("Update-Run", ".spec.parentStageRollout"),
        Column::text("Stage", ".spec.targetStage"),
        Column::text("Approved", r#".status.conditions[?(@.type=="Approved")].status"#),
        Column::AGE,
    ],
    required: &["spec"],
    rules: &[],
    spec_rules: &[SPEC_IS_IMMUTABLE],
    other_versions: &[],
};

pub(super) const APPROVAL_REQUEST: Definition = Definition {
    kind: "ApprovalRequest",
    singular: "approvalrequest",
    plural: "approvalrequests",
    name: "approvalrequests.placement.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &["areq"],
    versions: BOTH_VERSIONS,
    ..CLUSTER_APPROVAL_REQUEST
};

pub(super) const CLUSTER_RESOURCE_PLACEMENT_EVICTION: Definition = Definition {
    group: GROUP,
    kind: "ClusterResourcePlacementEviction",
    singular: "clusterresourceplacementeviction",
    plural: "clusterresourceplacementevictions",
    name: "clusterresourceplacementevictions.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["crpe"],
    categories: CATEGORIES,
    versions: BETA_AND_ALPHA,
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[
        Column::text("Valid", r#".status.conditions[?(@.type=="Valid")].status"#),
        Column::text("Executed", r#".status.conditions[?(@.type=="Executed")].status"#),
    ],
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[OtherVersion::lacking("v1alpha1", &[]).hiding(&["Valid", "Executed"])],
};

pub(super) const CLUSTER_RESOURCE_PLACEMENT_DISRUPTION_BUDGET: Definition = Definition {
    group: GROUP,
    kind: "ClusterResourcePlacementDisruptionBudget",
    singular: "clusterresourceplacementdisruptionbudget",
    plural: "clusterresourceplacementdisruptionbudgets",
    name: "clusterresourceplacementdisruptionbudgets.placement.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["crpdb"],
    categories: CATEGORIES,
    versions: BETA_AND_ALPHA,
    storage: STORAGE_VERSION,
    subresources: Subresources::None,
    columns: &[],
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
};
