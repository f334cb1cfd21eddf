//! Which members a placement goes to, with policies as KubeFleet's users write them, on both backends.

use serde_json::{Value, json};

use crate::backend::Fleet;
use crate::kubectl::Kubectl;
use crate::look::{clusters, complete_on, nowhere, says};

#[test]
fn all_that_match_are_picked_and_stay_picked_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    labelled(&fleet);
    all_that_match(&fleet);
}

#[test]
fn members_are_picked_by_name_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    by_name(&fleet);
}

#[test]
fn as_many_members_are_picked_as_are_asked_for_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    as_many(&fleet);
}

#[test]
fn properties_require_and_sort_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    properties(&fleet);
}

#[test]
fn placements_spread_over_domains_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    labelled(&fleet);
    spread(&fleet);
}

#[test]
fn taints_keep_new_placements_away_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    taints(&fleet);
}

/// A fleet of real API servers takes long to start, so one is for all.
#[test]
fn members_are_picked_as_the_policy_says_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(3) else { return };
    labelled(&fleet);
    all_that_match(&fleet);
    by_name(&fleet);
    as_many(&fleet);
    properties(&fleet);
    spread(&fleet);
    taints(&fleet);
}

/// The first member is in the west, the others are in the east.
fn labelled(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    for (member, geo) in [("member-1", "west"), ("member-2", "east"), ("member-3", "east")] {
        hub.run(&["label", "membercluster", member, &format!("geo={geo}")]);
    }
}

/// Creates a ClusterRole, and a placement of it that has the same name.
fn place(hub: &Kubectl, name: &str, policy: &str) {
    hub.run(&["create", "clusterrole", name, "--verb=get", "--resource=configmaps"]);
    change(hub, name, policy);
}

fn change(hub: &Kubectl, name: &str, policy: &str) {
    hub.apply(&format!(
        r"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourcePlacement
metadata: {{name: {name}}}
spec:
  resourceSelectors:
  - {{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: {name}}}
  policy: {policy}
  strategy: {{rollingUpdate: {{maxUnavailable: 100%, unavailablePeriodSeconds: 1}}}}
"
    ));
}

/// Waits until a placement is complete on just these members, and its object is on them and on no other.
fn is_on(fleet: &Fleet, name: &str, members: &[&str]) -> Value {
    let placement = complete_on(&fleet.kubectl("hub"), &["crp", name], members);
    for member in ["member-1", "member-2", "member-3"] {
        let kubectl = fleet.kubectl(member);
        if members.contains(&member) {
            assert!(kubectl.get(&["clusterrole", name]).is_some(), "{name} is on {member}");
        } else {
            kubectl.wait_gone(&["clusterrole", name]);
        }
    }
    placement
}

/// Returns why a placement did not pick what it asked for.
fn why_not(placement: &Value) -> Vec<String> {
    let statuses = placement["status"]["placementStatuses"].as_array().into_iter().flatten();
    let unnamed = statuses.filter(|cluster| cluster["clusterName"].is_null());
    let message = |cluster: &Value| {
        let condition = &cluster["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["status"], &condition["reason"]),
            (&json!("Scheduled"), &json!("False"), &json!("ScheduleFailed"))
        );
        condition["message"].as_str().unwrap_or_default().to_owned()
    };
    unnamed.map(message).collect()
}

fn requires(selector: &str) -> String {
    format!(
        "{{placementType: PickAll, affinity: {{clusterAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{clusterSelectorTerms: [{selector}]}}}}}}}}"
    )
}

fn all_that_match(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    place(&hub, "all", &requires("{labelSelector: {matchLabels: {geo: east}}}"));
    is_on(fleet, "all", &["member-2", "member-3"]);
    // A member that comes to match is picked, and one that ceases to match stays.
    hub.run(&["label", "membercluster", "member-1", "geo=east", "--overwrite"]);
    is_on(fleet, "all", &["member-1", "member-2", "member-3"]);
    hub.run(&["label", "membercluster", "member-1", "geo=west", "--overwrite"]);
    // Another policy decides anew; terms are alternatives.
    let either = "{labelSelector: {matchLabels: {geo: west}}}, {labelSelector: {matchExpressions: [{key: kubernetes-fleet.io/member-name, operator: In, values: [member-3]}]}}";
    change(&hub, "all", &requires(either));
    is_on(fleet, "all", &["member-1", "member-3"]);
    change(&hub, "all", &requires("{labelSelector: {matchLabels: {geo: moon}}}"));
    nowhere(&hub, &["crp", "all"], "Scheduled=True/SchedulingPolicyFulfilled");
    for member in ["member-1", "member-3"] {
        fleet.kubectl(member).wait_gone(&["clusterrole", "all"]);
    }
    assert_eq!(policies(&hub, "all").len(), 3, "each policy is kept");
}

/// Returns the names of the policy snapshots of a placement.
fn policies(hub: &Kubectl, name: &str) -> Vec<String> {
    let label = format!("kubernetes-fleet.io/parent-CRP={name}");
    let found = hub.run(&["get", "clusterschedulingpolicysnapshots", "-l", &label, "-o", "name"]);
    found.lines().map(str::to_owned).collect()
}

fn by_name(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    place(&hub, "named", "{placementType: PickFixed, clusterNames: [member-1, member-9]}");
    let placed = is_on(fleet, "named", &["member-1"]);
    assert_eq!(placed["status"]["conditions"][0]["reason"], "SchedulingPolicyUnfulfilled");
    assert_eq!(why_not(&placed), ["Specified cluster \"member-9\" is not found"]);
    // A taint does not keep away whom the user names.
    taint(&hub, "member-2", &json!([{"key": "shut", "value": "yes", "effect": "NoSchedule"}]));
    change(&hub, "named", "{placementType: PickFixed, clusterNames: [member-2, member-3]}");
    let placed = is_on(fleet, "named", &["member-2", "member-3"]);
    assert_eq!(placed["status"]["conditions"][0]["reason"], "SchedulingPolicyFulfilled");
    taint(&hub, "member-2", &Value::Null);
}

fn as_many(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    let count = |n: u32| format!("{{placementType: PickN, numberOfClusters: {n}}}");
    place(&hub, "some", &count(1));
    is_on(fleet, "some", &["member-3"]);
    change(&hub, "some", &count(2));
    is_on(fleet, "some", &["member-2", "member-3"]);
    change(&hub, "some", &count(5));
    let placed = is_on(fleet, "some", &["member-1", "member-2", "member-3"]);
    assert_eq!(placed["status"]["conditions"][0]["reason"], "SchedulingPolicyUnfulfilled");
    change(&hub, "some", &count(1));
    is_on(fleet, "some", &["member-3"]);
    assert_eq!(policies(&hub, "some").len(), 1, "a number alone is not another policy");
    change(&hub, "some", &count(0));
    nowhere(&hub, &["crp", "some"], "Scheduled=True/SchedulingPolicyFulfilled");
    fleet.kubectl("member-3").wait_gone(&["clusterrole", "some"]);
}

fn properties(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    let selector = |name: &str, operator: &str, value: &str| {
        format!(
            "{{propertySelector: {{matchExpressions: [{{name: {name}, operator: {operator}, values: [\"{value}\"]}}]}}}}"
        )
    };
    place(&hub, "large", &requires(&selector("kubernetes-fleet.io/node-count", "Ge", "3")));
    nowhere(&hub, &["crp", "large"], "Scheduled=True/SchedulingPolicyFulfilled");
    // A cluster grows, and is noticed with its next report.
    let often = r#"{"spec":{"heartbeatPeriodSeconds":1}}"#;
    hub.run(&["patch", "membercluster", "member-1", "--type=merge", "-p", often]);
    let grown = fleet.kubectl("member-1");
    grown.apply("apiVersion: v1\nkind: Node\nmetadata: {name: spare}\n");
    is_on(fleet, "large", &["member-1"]);
    let sorted = |order: &str| {
        format!(
            "{{placementType: PickN, numberOfClusters: 1, affinity: {{clusterAffinity: {{preferredDuringSchedulingIgnoredDuringExecution: [{{weight: 20, preference: {{propertySorter: {{name: kubernetes-fleet.io/node-count, sortOrder: {order}}}}}}}]}}}}}}"
        )
    };
    place(&hub, "most", &sorted("Descending"));
    let placed = is_on(fleet, "most", &["member-1"]);
    let message = placed["status"]["placementStatuses"][0]["conditions"][0]["message"].to_string();
    assert!(message.contains("affinity score: 20, topology spread score: 0"), "{message}");
    place(&hub, "least", &sorted("Ascending"));
    is_on(fleet, "least", &["member-3"]);
    place(
        &hub,
        "roomy",
        &requires(&selector("resources.kubernetes-fleet.io/allocatable-cpu", "Gt", "100")),
    );
    nowhere(&hub, &["crp", "roomy"], "Scheduled=True/SchedulingPolicyFulfilled");
    grown.run(&["delete", "node", "spare"]);
}

fn spread(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    let policy = |n: u32, when: &str| {
        format!(
            "{{placementType: PickN, numberOfClusters: {n}, topologySpreadConstraints: [{{maxSkew: 1, topologyKey: geo, whenUnsatisfiable: {when}}}]}}"
        )
    };
    // By name alone it would be the two in the east.
    place(&hub, "even", &policy(2, "DoNotSchedule"));
    is_on(fleet, "even", &["member-1", "member-3"]);
    taint(&hub, "member-1", &json!([{"key": "shut", "effect": "NoSchedule"}]));
    place(&hub, "uneven", &policy(2, "DoNotSchedule"));
    let placed = is_on(fleet, "uneven", &["member-3"]);
    assert_eq!(placed["status"]["conditions"][0]["reason"], "SchedulingPolicyUnfulfilled");
    // One is missing, so one is explained.
    assert_eq!(
        why_not(&placed),
        ["ClusterUnschedulable, taint shut=:NoSchedule cannot be tolerated"]
    );
    let snapshot = hub.get(&["clusterschedulingpolicysnapshot", "uneven-0"]).expect("a snapshot");
    let decided = snapshot["status"]["targetClusters"].as_array().into_iter().flatten();
    let reasons: Vec<_> = decided.map(|cluster| cluster["reason"].to_string()).collect();
    let violated = r#"violated doNotSchedule topology spread constraint \"geo\" (max skew 1)"#;
    assert!(reasons.iter().any(|reason| reason.contains(violated)), "{reasons:?}");
    place(&hub, "anyway", &policy(2, "ScheduleAnyway"));
    is_on(fleet, "anyway", &["member-2", "member-3"]);
    // What was missing is filled as soon as it can be.
    taint(&hub, "member-1", &Value::Null);
    let placed = is_on(fleet, "uneven", &["member-1", "member-3"]);
    assert_eq!(placed["status"]["conditions"][0]["reason"], "SchedulingPolicyFulfilled");
}

fn taint(hub: &Kubectl, member: &str, taints: &Value) {
    let patch = json!({ "spec": { "taints": taints } }).to_string();
    hub.run(&["patch", "membercluster", member, "--type=merge", "-p", &patch]);
}

fn taints(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    place(&hub, "before", "{placementType: PickAll}");
    is_on(fleet, "before", &["member-1", "member-2", "member-3"]);
    taint(&hub, "member-3", &json!([{"key": "team", "value": "a", "effect": "NoSchedule"}]));
    place(&hub, "after", "{placementType: PickAll}");
    is_on(fleet, "after", &["member-1", "member-2"]);
    let tolerant = "{placementType: PickN, numberOfClusters: 1, tolerations: [{key: team, operator: Equal, value: a, effect: NoSchedule}]}";
    place(&hub, "tolerant", tolerant);
    is_on(fleet, "tolerant", &["member-3"]);
    place(&hub, "other", &tolerant.replace("value: a", "value: b"));
    is_on(fleet, "other", &["member-2"]);
    // Tolerations that are added let in; a taint that is taken off does as well, and neither moves what is placed.
    change(&hub, "after", "{placementType: PickAll, tolerations: [{key: team, operator: Exists}]}");
    is_on(fleet, "after", &["member-1", "member-2", "member-3"]);
    taint(&hub, "member-3", &Value::Null);
    let other = says(&hub, &["crp", "other"], "Available=True/ResourceAvailable");
    assert_eq!(clusters(&other), ["member-2"], "a placement that is satisfied stays");
    is_on(fleet, "before", &["member-1", "member-2", "member-3"]);
}
