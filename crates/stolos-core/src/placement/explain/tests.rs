use serde_json::{Value, json};
use stolos_api::placement::ClusterResourceBinding;

use super::*;

const NOW: &str = "2026-01-01T00:10:00Z";

fn binding(cluster: &str, spec: Value, conditions: Value, failed: Value) -> ClusterResourceBinding {
    let mut found = json!({
        "metadata": {"name": format!("web-{cluster}"), "generation": 2},
        "spec": {
            "state": "Bound", "resourceSnapshotName": "web-1-snapshot", "targetCluster": cluster,
            "schedulingPolicySnapshotName": "web-0",
            "clusterDecision": {"clusterName": cluster, "selected": true, "reason": ""},
        },
        "status": {"conditions": conditions, "failedPlacements": failed},
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        found["spec"][key] = value.clone();
    }
    serde_json::from_value(found).expect("a binding")
}

/// Conditions of a binding up to a step that does not hold.
fn conditions(failing: Option<(&str, &str, &str)>) -> Value {
    let steps = ["RolloutStarted", "Overridden", "WorkSynchronized", "Applied", "Available"];
    let mut conditions = Vec::new();
    for step in steps {
        let (status, reason, message) = match failing {
            Some((type_, reason, message)) if type_ == step => ("False", reason, message),
            _ => ("True", "x", ""),
        };
        conditions.push(json!({
            "type": step, "status": status, "reason": reason, "message": message,
            "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }));
        if status == "False" {
            break;
        }
    }
    json!(conditions)
}

fn explained(bindings: &[ClusterResourceBinding], scheduled: Value) -> Explanation {
    let member: MemberCluster = serde_json::from_value(json!({
        "metadata": {"name": "b"}, "spec": {"identity": {"kind": "User", "name": "b"}},
        "status": {"agentStatus": [{
            "type": "MemberAgent", "conditions": [], "lastReceivedHeartbeat": "2026-01-01T00:01:00Z",
        }]},
    }))
    .expect("a member");
    let work: Work = serde_json::from_value(json!({
        "metadata": {"name": "web-work", "namespace": "fleet-member-b", "generation": 3}, "spec": {},
    }))
    .expect("a work");
    let works = BTreeMap::from([("web-b".to_owned(), vec![&work])]);
    let views: Vec<Binding<'_>> = bindings
        .iter()
        .map(|binding| Binding {
            name: binding.metadata.name.as_deref().unwrap_or_default(),
            generation: binding.metadata.generation.unwrap_or_default(),
            deleting: binding.metadata.deletion_timestamp.is_some(),
            spec: &binding.spec,
            status: binding.status.as_ref(),
        })
        .collect();
    let mut condition = json!({
        "type": "ClusterResourcePlacementScheduled", "observedGeneration": 1, "reason": "x",
        "message": "", "lastTransitionTime": NOW,
    });
    for (key, value) in scheduled.as_object().into_iter().flatten() {
        condition[key] = value.clone();
    }
    let status: PlacementStatus =
        serde_json::from_value(json!({"conditions": [condition]})).expect("a status");
    explain(&Observed {
        kind: "ClusterResourcePlacement",
        generation: 1,
        deleting: false,
        spec: &PlacementSpec::default(),
        status: Some(&status),
        scheduled: None,
        bindings: &views,
        works: &works,
        members: &[&member],
        now: NOW.parse().expect("a timestamp"),
    })
}

fn text(explanation: &Explanation) -> String {
    let finding = |finding: &Finding| {
        let hint = finding.hint.iter().map(|hint| format!("hint: {hint}"));
        let lines = [finding.what.clone()].into_iter().chain(finding.because.clone()).chain(hint);
        lines.collect::<Vec<_>>().join("\n  ")
    };
    let whole = explanation.finding.iter().map(finding);
    let clusters = explanation.clusters.iter().map(|cluster| {
        format!("{} at {}: {}", cluster.cluster, cluster.step, finding(&cluster.finding))
    });
    whole.chain(clusters).collect::<Vec<_>>().join("\n")
}

fn fine() -> Value {
    json!({"status": "True"})
}

#[test]
fn a_complete_placement_says_since_when() {
    let found = explained(&[binding("a", json!({}), conditions(None), json!([]))], fine());
    assert!(found.complete);
    insta::assert_snapshot!(text(&found), @"a at Available: everything is in place since 2026-01-01T00:00:00Z");
}

#[test]
fn a_cluster_that_is_done_says_why_it_was_picked_and_what_it_has() {
    let spec = json!({
        "clusterDecision": {"clusterName": "a", "selected": true, "reason": "picked by name"},
        "clusterResourceOverrideSnapshots": ["small-1"],
        "resourceOverrideSnapshots": [{"namespace": "app", "name": "image-0"}],
    });
    let mut found = binding("a", spec, conditions(None), json!([]));
    let drifted: Vec<Value> = (0..7)
        .map(|i| {
            json!({
                "version": "v1", "kind": "ConfigMap", "namespace": "app", "name": format!("c{i}"),
                "observationTime": NOW, "firstDriftedObservedTime": NOW,
                "targetClusterObservedGeneration": 1, "observedDrifts": [],
            })
        })
        .collect();
    let status = found.status.as_mut().expect("a status");
    status.drifted_placements = serde_json::from_value(json!(drifted)).expect("drifts");
    status.conditions.last_mut().expect("a condition").reason =
        "NotAllWorkAreAvailabilityTrackable".to_owned();
    insta::assert_snapshot!(text(&explained(&[found], fine())), @"
    a at Available: everything is in place since 2026-01-01T00:00:00Z
      picked by name
      overrides in force: `small-1`, `app/image-0`
      of some objects nothing tells whether they are available
      changed on the member: ConfigMap `app/c0`, ConfigMap `app/c1`, ConfigMap `app/c2`, ConfigMap `app/c3`, ConfigMap `app/c4` and 2 more
    ");
}

#[test]
fn each_step_has_its_own_words() {
    let failed = json!([{
        "group": "apps", "version": "v1", "kind": "Deployment", "name": "web", "namespace": "app",
        "condition": {
            "type": "Available", "status": "False", "reason": "ManifestNotAvailableYet",
            "message": "1 of 2 replicas", "lastTransitionTime": NOW,
        },
    }]);
    let of = |cluster: &str, type_: &str, reason: &str, message: &str, failed: Value| {
        binding(cluster, json!({}), conditions(Some((type_, reason, message))), failed)
    };
    let found = explained(
        &[
            of("a", "Available", "NotAllWorkAreAvailable", "", failed),
            of("b", "Applied", "ApplyInProgress", "", json!([])),
            of("c", "Overridden", "OverriddenFailed", "no label `region`", json!([])),
            of("d", "RolloutStarted", "RolloutNotStartedYet", "at most 1 of 4", json!([])),
            binding("e", json!({"state": "Unscheduled"}), conditions(None), json!([])),
        ],
        fine(),
    );
    assert!(!found.complete);
    insta::assert_snapshot!(text(&found), @"
    a at Available: not every object is available yet
      Deployment `app/web`: ManifestNotAvailableYet: 1 of 2 replicas
    b at Applied: the cluster has not reported on the newest manifests yet
      work `fleet-member-b/web-work` is at generation 3, of which nothing is known
      cluster is not connected to the fleet: no recent heartbeat signals (last received 9.00 minutes ago)
    c at Overridden: an override cannot be applied here
      no label `region`
      hint: change the override; only this cluster waits for it
    d at RolloutStarted: the cluster's turn in the rollout has not come
      at most 1 of 4
      not available yet: `a`, `b`, `c`
    e at Scheduled: the cluster is no longer picked and keeps what it has until others are available
      not available yet: `a`, `b`, `c`, `d`
    ");
}

#[test]
fn what_concerns_the_whole_comes_first() {
    let bad = json!({
        "status": "False", "reason": "InvalidResourceSelectors", "message": "The resource selectors are invalid: x",
    });
    insta::assert_snapshot!(text(&explained(&[], bad)), @"
    the resource selectors cannot be used
      The resource selectors are invalid: x
      hint: change spec.resourceSelectors; what is placed already stays until then
    ");
    let old = json!({"status": "True", "observedGeneration": 0});
    insta::assert_snapshot!(text(&explained(&[], old)), @"
    the hub has not looked at the placement as it is now
      hint: is `stolos hub` or `stolos up` running?
    ");
    let few = json!({"status": "False", "reason": "SchedulingPolicyUnfulfilled", "message": "found 1 cluster(s) instead"});
    insta::assert_snapshot!(text(&explained(&[], few)), @"
    the policy asks for more clusters than can be picked
      found 1 cluster(s) instead
      hint: see below why the others were not picked
    ");
}
