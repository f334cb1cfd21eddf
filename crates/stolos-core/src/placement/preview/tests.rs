use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use stolos_api::placement::ResourceOverrideSpec;

use super::*;
use crate::placement::overrides::Content;

const NOW: &str = "2026-01-01T00:00:00Z";

fn member(name: &str, zone: &str) -> MemberCluster {
    let holds = |type_: &str| {
        json!({
            "type": type_, "status": "True", "reason": "x", "message": "", "lastTransitionTime": NOW,
        })
    };
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"zone": zone, "name": name}},
        "spec": {"identity": {"kind": "User", "name": name}},
        "status": {"agentStatus": [{
            "type": "MemberAgent", "lastReceivedHeartbeat": NOW,
            "conditions": [holds("Joined"), holds("Healthy")],
        }]},
    }))
    .expect("a member")
}

fn settings() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "app"}, "data": {"colour": "blue"},
    })
}

fn placement(policy: Value) -> ClusterResourcePlacement {
    serde_json::from_value(json!({
        "metadata": {"name": "web"}, "spec": {"resourceSelectors": [], "policy": policy},
    }))
    .expect("a placement")
}

fn told(placement: &ClusterResourcePlacement, bindings: &[ClusterResourceBinding]) -> Preview {
    let members = [member("a", "x"), member("b", "x"), member("c", "y")];
    let rule = |name: &str, rest: Value| {
        let terms = json!([{"labelSelector": {"matchLabels": {"name": name}}}]);
        let mut rule = json!({"clusterSelector": {"clusterSelectorTerms": terms}});
        for (key, value) in rest.as_object().into_iter().flatten() {
            rule[key] = value.clone();
        }
        rule
    };
    let patch = json!([{"op": "replace", "path": "/data/colour", "value": "red"}]);
    let wrong = json!([{"op": "replace", "path": "/data/size", "value": "red"}]);
    let overrides: ResourceOverrideSpec = serde_json::from_value(json!({
        "resourceSelectors": [{"group": "", "version": "v1", "kind": "ConfigMap", "name": "settings"}],
        "policy": {"overrideRules": [
            rule("a", json!({"jsonPatchOverrides": patch})),
            rule("b", json!({"overrideType": "Delete"})),
            rule("c", json!({"jsonPatchOverrides": wrong})),
        ]},
    }))
    .expect("an override");
    let content = Content::Namespaced { namespace: "app", spec: &overrides };
    preview(Observed {
        placement,
        selected: vec![settings()],
        members: &members.iter().collect::<Vec<_>>(),
        policies: &[],
        snapshots: &[],
        bindings,
        overrides: &[overrides::Snapshot { name: "own-0", content }],
        now: NOW.parse().expect("a timestamp"),
    })
    .expect("a policy that can be evaluated")
}

fn lines(preview: &Preview) -> String {
    let clusters = preview.clusters.iter().map(|cluster| {
        let forms: Vec<_> = cluster.objects.iter().map(|object| object.form).collect();
        let score = cluster.score.as_ref().map(|s| (s.affinity_score, s.priority_score));
        format!(
            "{} {:?} {score:?} {forms:?} {:?} {} {}",
            cluster.cluster,
            cluster.step,
            cluster.overrides,
            cluster.waits.as_deref().unwrap_or("-"),
            cluster.problem.as_deref().unwrap_or("-"),
        )
    });
    let others = preview.not_picked.iter().map(|d| format!("{} no: {}", d.cluster_name, d.reason));
    clusters.chain(others).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_new_placement_tells_clusters_objects_and_what_does_not_fit() {
    let preview = told(&placement(json!({"placementType": "PickAll"})), &[]);
    assert_eq!(
        (preview.resource_snapshot.as_str(), preview.is_new_snapshot),
        ("web-0-snapshot", true)
    );
    insta::assert_snapshot!(lines(&preview), @r#"
    a Place Some((Some(0), Some(0))) [Overridden] ["app/own-0"] - -
    b Place Some((Some(0), Some(0))) [LeftOut] ["app/own-0"] - -
    c Place Some((Some(0), Some(0))) [] ["app/own-0"] - ResourceOverrideSnapshot `app/own-0` cannot change ConfigMap `app/settings`: cannot replace `/data/size`: `/data/size` does not exist
    "#);
}

#[test]
fn whoever_is_not_picked_has_a_reason_and_spreading_goes_to_its_end() {
    let policy = json!({
        "placementType": "PickN", "numberOfClusters": 2,
        "topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1}],
    });
    let preview = told(&placement(policy), &[]);
    assert!(preview.fulfilled);
    insta::assert_snapshot!(lines(&preview), @r#"
    b Place Some((Some(0), Some(1))) [LeftOut] ["app/own-0"] - -
    c Place Some((Some(0), Some(-1))) [] ["app/own-0"] - ResourceOverrideSnapshot `app/own-0` cannot change ConfigMap `app/settings`: cannot replace `/data/size`: `/data/size` does not exist
    a no: Cluster "a" does not score high enough (affinity score: 0, topology spread score: 1)
    "#);
}

#[test]
fn what_is_there_stays_until_the_rollout_may_replace_it() {
    let binding = |name: &str| ClusterResourceBinding {
        metadata: ObjectMeta {
            name: Some(format!("web-{name}")),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: ResourceBindingSpec {
            state: BindingState::Bound,
            target_cluster: name.to_owned(),
            resource_snapshot_name: "web-9-snapshot".to_owned(),
            scheduling_policy_snapshot_name: "web-0".to_owned(),
            ..ResourceBindingSpec::default()
        },
        status: None,
    };
    let preview = told(&placement(json!({"placementType": "PickAll"})), &[binding("a")]);
    insta::assert_snapshot!(lines(&preview), @r#"
    a Wait None [Overridden] ["app/own-0"] The resources wait for other clusters: at most 1 of 3 may be unavailable (maxUnavailable) -
    b Place Some((Some(0), Some(0))) [LeftOut] ["app/own-0"] - -
    c Place Some((Some(0), Some(0))) [] ["app/own-0"] - ResourceOverrideSnapshot `app/own-0` cannot change ConfigMap `app/settings`: cannot replace `/data/size`: `/data/size` does not exist
     no:
    "#);
}
