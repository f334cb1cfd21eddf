//! Names that the `placement` wing reads and writes: labels, annotations, finalizers, conditions,
//! reasons.

/// Labels.
pub mod label {
    /// On every child of a placement: the name of the placement, cluster-scoped or not.
    pub const PARENT_PLACEMENT: &str = "kubernetes-fleet.io/parent-CRP";
    /// On policy snapshots and on the first resource snapshot of a group: `true` on the newest.
    pub const IS_LATEST_SNAPSHOT: &str = "kubernetes-fleet.io/is-latest-snapshot";
    /// On policy snapshots: their index.
    pub const POLICY_INDEX: &str = "kubernetes-fleet.io/policy-index";
    /// On resource snapshots: the index of their group.
    pub const RESOURCE_INDEX: &str = "kubernetes-fleet.io/resource-index";
    /// On override snapshots: their index.
    pub const OVERRIDE_INDEX: &str = "kubernetes-fleet.io/override-index";
    /// On override snapshots: the name of the override.
    pub const PARENT_OVERRIDE: &str = "kubernetes-fleet.io/parent-resource-override";
    /// On Works: the name of the binding.
    pub const PARENT_BINDING: &str = "kubernetes-fleet.io/parent-resource-binding";
    /// On Works: the namespace of the placement, if it has one.
    pub const PARENT_PLACEMENT_NAMESPACE: &str = "kubernetes-fleet.io/parent-placement-namespace";
    /// On Works: the index of the resource snapshot.
    pub const PARENT_RESOURCE_SNAPSHOT_INDEX: &str =
        "kubernetes-fleet.io/parent-resource-snapshot-index";
    /// On Works made from an envelope: the kind of envelope.
    pub const ENVELOPE_TYPE: &str = "kubernetes-fleet.io/envelope-work";
    /// On Works made from an envelope: its name.
    pub const ENVELOPE_NAME: &str = "kubernetes-fleet.io/envelope-name";
    /// On Works made from an envelope: its namespace.
    pub const ENVELOPE_NAMESPACE: &str = "kubernetes-fleet.io/envelope-namespace";
}

/// Annotations.
pub mod annotation {
    /// On policy snapshots: how many clusters PickN asks for.
    pub const NUMBER_OF_CLUSTERS: &str = "kubernetes-fleet.io/number-of-clusters";
    /// On policy snapshots: the generation of the placement.
    pub const PLACEMENT_GENERATION: &str = "kubernetes-fleet.io/CRP-generation";
    /// On the first resource snapshot of a group: hash of all selected objects.
    pub const RESOURCE_HASH: &str = "kubernetes-fleet.io/resource-hash";
    /// On the first resource snapshot of a group: how many snapshots the group has.
    pub const NUMBER_OF_RESOURCE_SNAPSHOTS: &str =
        "kubernetes-fleet.io/number-of-resource-snapshots";
    /// On the first resource snapshot of a group: how many envelopes were selected.
    pub const NUMBER_OF_ENVELOPED_OBJECTS: &str = "kubernetes-fleet.io/number-of-enveloped-object";
    /// On the other resource snapshots of a group: their position.
    pub const SUBINDEX_OF_RESOURCE_SNAPSHOT: &str =
        "kubernetes-fleet.io/subindex-of-resource-snapshot";
    /// On the latest resource snapshot: when a newer selection was first seen.
    pub const NEXT_SNAPSHOT_DETECTION_TIME: &str =
        "kubernetes-fleet.io/next-resource-snapshot-candidate-detection-time";
    /// On Unscheduled bindings: the state before.
    pub const PREVIOUS_BINDING_STATE: &str = "kubernetes-fleet.io/previous-binding-state";
    /// On Works: the resource snapshot they were made from.
    pub const PARENT_RESOURCE_SNAPSHOT_NAME: &str =
        "kubernetes-fleet.io/parent-resource-snapshot-name";
    /// On Works: hash of the names of the ClusterResourceOverride snapshots in force.
    pub const PARENT_CLUSTER_OVERRIDE_HASH: &str =
        "kubernetes-fleet.io/parent-cluster-resource-override-snapshot-hash";
    /// On Works: hash of the names of the ResourceOverride snapshots in force.
    pub const PARENT_OVERRIDE_HASH: &str =
        "kubernetes-fleet.io/parent-resource-override-snapshot-hash";
    /// On placed objects: the manifest as it was last applied.
    pub const LAST_APPLIED_CONFIGURATION: &str = "kubernetes-fleet.io/last-applied-configuration";
    /// On placed objects: hash of the manifest.
    pub const SPEC_HASH: &str = "kubernetes-fleet.io/spec-hash";
    /// On Works, ours: `Abandon` when what they placed stays on the member after them.
    pub const PROPAGATION_POLICY: &str = "fleet.stolos.dev/propagation-policy";
    /// On Works, ours: the generation of the binding that they were made for.
    pub const BINDING_GENERATION: &str = "fleet.stolos.dev/binding-generation";
}

/// Finalizers.
pub mod finalizer {
    /// On placements, until their snapshots are deleted.
    pub const PLACEMENT_CLEANUP: &str = "kubernetes-fleet.io/crp-cleanup";
    /// On placements, until their bindings are deleted.
    pub const SCHEDULER_CLEANUP: &str = "kubernetes-fleet.io/scheduler-cleanup";
    /// On bindings, until the scheduler has taken note of their deletion.
    pub const SCHEDULER_BINDING_CLEANUP: &str = "kubernetes-fleet.io/scheduler-crb-cleanup";
    /// On bindings, until their Works are gone; on Works, until the placed objects are gone.
    pub const WORK_CLEANUP: &str = "kubernetes-fleet.io/work-cleanup";
    /// On overrides, until their snapshots are deleted.
    pub const OVERRIDE_CLEANUP: &str = "kubernetes-fleet.io/override-cleanup";
}

/// Condition types. On a placement they are prefixed by its kind, see [`condition::of_kind`].
pub mod condition {
    /// Members were picked.
    pub const SCHEDULED: &str = "Scheduled";
    /// The snapshot is released to the member.
    pub const ROLLOUT_STARTED: &str = "RolloutStarted";
    /// Overrides are applied.
    pub const OVERRIDDEN: &str = "Overridden";
    /// The Works are written.
    pub const WORK_SYNCHRONIZED: &str = "WorkSynchronized";
    /// The objects are applied.
    pub const APPLIED: &str = "Applied";
    /// The objects are available.
    pub const AVAILABLE: &str = "Available";
    /// The objects are compared with the member, for ReportDiff.
    pub const DIFF_REPORTED: &str = "DiffReported";
    /// The status is mirrored into the selected namespace. Only on a ClusterResourcePlacement.
    pub const STATUS_SYNCED: &str = "StatusSynced";
    /// Details were left out of the status of a Work to keep it small enough.
    pub const STATUS_TRIMMED: &str = "StatusTrimmed";

    /// Returns the condition type as it stands on a placement of this kind:
    /// `ClusterResourcePlacementApplied`.
    pub fn of_kind(kind: &str, type_: &str) -> String {
        format!("{kind}{type_}")
    }
}

/// Condition reasons.
pub mod reason {
    /// A member was picked.
    pub const SCHEDULED: &str = "Scheduled";
    /// No member could be found.
    pub const SCHEDULE_FAILED: &str = "ScheduleFailed";
    /// The policy is fulfilled.
    pub const SCHEDULING_POLICY_FULFILLED: &str = "SchedulingPolicyFulfilled";
    /// The policy asks for more members than could be found.
    pub const SCHEDULING_POLICY_UNFULFILLED: &str = "SchedulingPolicyUnfulfilled";
    /// The scheduler has not decided yet.
    pub const SCHEDULE_PENDING: &str = "SchedulePending";
    /// The selectors cannot be used.
    pub const INVALID_RESOURCE_SELECTORS: &str = "InvalidResourceSelectors";

    /// The snapshot is released.
    pub const ROLLOUT_STARTED: &str = "RolloutStarted";
    /// The snapshot waits for other members.
    pub const ROLLOUT_NOT_STARTED_YET: &str = "RolloutNotStartedYet";
    /// Nothing is known about the rollout.
    pub const ROLLOUT_STARTED_UNKNOWN: &str = "RolloutStartedUnknown";
    /// A staged update run releases the snapshots.
    pub const ROLLOUT_CONTROLLED_BY_EXTERNAL_CONTROLLER: &str =
        "RolloutControlledByExternalController";

    /// Overrides are applied.
    pub const OVERRIDDEN_SUCCEEDED: &str = "OverriddenSucceeded";
    /// No override is in force.
    pub const NO_OVERRIDE_SPECIFIED: &str = "NoOverrideSpecified";
    /// An override could not be applied.
    pub const OVERRIDDEN_FAILED: &str = "OverriddenFailed";
    /// Nothing is known about overrides.
    pub const OVERRIDDEN_PENDING: &str = "OverriddenPending";

    /// On a placement: the Works of every member are written.
    pub const WORK_SYNCHRONIZED: &str = "WorkSynchronized";
    /// On a placement: the Works of a member could not be written.
    pub const WORK_NOT_SYNCHRONIZED_YET: &str = "WorkNotSynchronizedYet";
    /// Nothing is known about the Works.
    pub const WORK_SYNCHRONIZED_UNKNOWN: &str = "WorkSynchronizedUnknown";
    /// On a binding: the Works are written.
    pub const ALL_WORK_SYNCED: &str = "AllWorkSynced";
    /// On a binding: a Work could not be written.
    pub const SYNC_WORK_FAILED: &str = "SyncWorkFailed";

    /// On a placement: every member applied every object.
    pub const APPLY_SUCCEEDED: &str = "ApplySucceeded";
    /// On a placement: a member could not apply an object.
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// Nothing is known about applying.
    pub const APPLY_PENDING: &str = "ApplyPending";
    /// On a binding: the Works were just written.
    pub const APPLY_IN_PROGRESS: &str = "ApplyInProgress";
    /// On a binding: every Work is applied.
    pub const ALL_WORK_HAVE_BEEN_APPLIED: &str = "AllWorkHaveBeenApplied";
    /// On a binding: a Work is not applied.
    pub const NOT_ALL_WORK_HAVE_BEEN_APPLIED: &str = "NotAllWorkHaveBeenApplied";

    /// On a placement: every object is available on every member.
    pub const RESOURCE_AVAILABLE: &str = "ResourceAvailable";
    /// On a placement: an object is not available on a member.
    pub const RESOURCE_NOT_AVAILABLE_YET: &str = "ResourceNotAvailableYet";
    /// Nothing is known about availability.
    pub const RESOURCE_AVAILABLE_UNKNOWN: &str = "ResourceAvailableUnknown";
    /// On a binding: every Work is available.
    pub const ALL_WORK_ARE_AVAILABLE: &str = "AllWorkAreAvailable";
    /// On a binding: a Work is not available.
    pub const NOT_ALL_WORK_ARE_AVAILABLE: &str = "NotAllWorkAreAvailable";
    /// On a binding: every Work is available, as far as that can be observed.
    pub const NOT_ALL_WORK_ARE_AVAILABILITY_TRACKABLE: &str = "NotAllWorkAreAvailabilityTrackable";

    /// On a placement: every member compared every object.
    pub const DIFF_REPORTING_COMPLETED: &str = "DiffReportingCompleted";
    /// On a placement: a member could not compare an object.
    pub const DIFF_REPORTING_INCOMPLETE_OR_FAILED: &str = "DiffReportingIncompleteOrFailed";
    /// Nothing is known about differences.
    pub const DIFF_REPORTING_PENDING: &str = "DiffReportingPending";
    /// On a binding: the Works were just written.
    pub const DIFF_REPORT_IN_PROGRESS: &str = "DiffReportInProgress";
    /// On a binding: every Work is compared.
    pub const ALL_WORK_HAVE_DIFF_REPORTED: &str = "AllWorkHaveDiffReported";
    /// On a binding: a Work is not compared.
    pub const NOT_ALL_WORK_HAVE_DIFF_REPORTED: &str = "NotAllWorkHaveDiffReported";

    /// The status is mirrored into the selected namespace.
    pub const STATUS_SYNC_SUCCEEDED: &str = "StatusSyncSucceeded";
    /// The status could not be mirrored.
    pub const STATUS_SYNC_FAILED: &str = "StatusSyncFailed";
}

/// Reasons on a Work and on its manifests.
pub mod work_reason {
    /// On a Work: every manifest is applied.
    pub const ALL_MANIFESTS_APPLIED: &str = "AllManifestsApplied";
    /// On a Work: a manifest is not applied.
    pub const SOME_MANIFESTS_ARE_NOT_APPLIED: &str = "SomeManifestsAreNotApplied";
    /// On a Work: every manifest is available.
    pub const ALL_MANIFESTS_AVAILABLE: &str = "AllManifestsAvailable";
    /// On a Work: every manifest is available, as far as that can be observed.
    pub const WORK_NOT_TRACKABLE: &str = "WorkNotTrackable";
    /// On a Work: a manifest is not available.
    pub const SOME_MANIFESTS_ARE_NOT_AVAILABLE: &str = "SomeManifestsAreNotAvailable";
    /// On a Work: every manifest is compared.
    pub const ALL_MANIFESTS_DIFF_REPORTED: &str = "AllManifestsDiffReported";
    /// On a Work: a manifest is not compared.
    pub const SOME_MANIFESTS_HAVE_NOT_REPORTED_DIFF: &str = "SomeManifestsHaveNotReportedDiff";
    /// On a Work: details were left out of the status.
    pub const OVERSIZED: &str = "Oversized";

    /// Applied.
    pub const APPLIED: &str = "Applied";
    /// Applied, but drift could not be looked for.
    pub const APPLIED_WITH_FAILED_DRIFT_DETECTION: &str = "AppliedWithFailedDriftDetection";
    /// The manifest cannot be read, or its kind is unknown.
    pub const DECODING_ERRED: &str = "DecodingErred";
    /// The manifest has a generateName and no name.
    pub const FOUND_GENERATE_NAME: &str = "FoundGenerateName";
    /// The Work has another manifest for the same object.
    pub const DUPLICATED: &str = "Duplicated";
    /// The object could not be read on the member.
    pub const FAILED_TO_FIND_OBJECT: &str = "FailedToFindObjInMemberCluster";
    /// An existing object may not be taken over.
    pub const FAILED_TO_TAKE_OVER: &str = "FailedToTakeOver";
    /// An existing object is left alone.
    pub const NOT_TAKEN_OVER: &str = "NotTakenOver";
    /// Drift could not be looked for, so nothing was applied.
    pub const FAILED_TO_RUN_DRIFT_DETECTION: &str = "FailedToRunDriftDetection";
    /// The object was changed on the member, so nothing was applied.
    pub const FOUND_DRIFTS: &str = "FoundDrifts";
    /// As `FoundDrifts`, by a comparison of all fields because a dry run was refused.
    pub const FOUND_DRIFTS_IN_DEGRADED_MODE: &str = "FoundDriftsInDegradedMode";
    /// The member refused the object.
    pub const MANIFEST_APPLY_FAILED: &str = "ManifestApplyFailed";
    /// The manifest is about to be processed for the first time.
    pub const PREPARING_TO_PROCESS: &str = "PreparingToProcess";

    /// Available.
    pub const AVAILABLE: &str = "Available";
    /// Counted as available because it cannot be observed.
    pub const NOT_TRACKABLE: &str = "NotTrackable";
    /// Not available yet.
    pub const MANIFEST_NOT_AVAILABLE_YET: &str = "ManifestNotAvailableYet";
    /// Availability could not be looked for.
    pub const FAILED: &str = "Failed";

    /// The object equals the manifest.
    pub const NO_DIFF_FOUND: &str = "NoDiffFound";
    /// The object differs from the manifest.
    pub const FOUND_DIFF: &str = "FoundDiff";
    /// As `FoundDiff`, by a comparison of all fields because a dry run was refused.
    pub const FOUND_DIFF_IN_DEGRADED_MODE: &str = "FoundDiffInDegradedMode";
    /// The object could not be compared.
    pub const FAILED_TO_REPORT_DIFF: &str = "FailedToReportDiff";
}

/// Events on a placement.
pub mod event {
    /// The snapshots are deleted.
    pub const CLEANUP_FINALIZER_REMOVED: &str = "PlacementCleanupFinalizerRemoved";
    /// RolloutStarted became True.
    pub const ROLLOUT_STARTED: &str = "PlacementRolloutStarted";
    /// Overridden became True.
    pub const OVERRIDDEN_SUCCEEDED: &str = "PlacementOverriddenSucceeded";
    /// WorkSynchronized became True.
    pub const WORK_SYNCHRONIZED: &str = "PlacementWorkSynchronized";
    /// Applied became True.
    pub const APPLIED: &str = "PlacementApplied";
    /// Available became True.
    pub const AVAILABLE: &str = "PlacementAvailable";
    /// Everything expected is True.
    pub const ROLLOUT_COMPLETED: &str = "PlacementRolloutCompleted";
}

/// Field manager under which the member's agent applies objects.
pub const MEMBER_FIELD_MANAGER: &str = "work-api-agent";
