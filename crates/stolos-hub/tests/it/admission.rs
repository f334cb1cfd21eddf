//! What the hub refuses, and with which words.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{
    ClusterResourceOverride, ClusterResourcePlacement, ClusterResourcePlacementDisruptionBudget,
    ClusterResourcePlacementEviction, ResourceOverride, ResourcePlacement,
};

use crate::fleet::{Fleet, create, delete, merge};

/// Tries to create an object and returns why it was refused; nothing if it was not.
async fn refusal<K>(api: &Api<K>, object: Value) -> String
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let object: K = serde_json::from_value(object).unwrap();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&dry_run, &object).await {
        Ok(_) => String::new(),
        Err(kube::Error::Api(status)) => status.message,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_looks_like_that_of_a_webhook() {
    // Once a member has joined, the rules are in force.
    let fleet = Fleet::start(&["a"]).await;
    let wrong = policy(json!({"placementType": "PickFixed", "clusterNames": ["a", "a"]}));
    let wrong: ClusterResourcePlacement = serde_json::from_value(wrong).unwrap();
    let refused = fleet.placements().create(&PostParams::default(), &wrong).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "clusterresourceplacements.placement.kubernetes-fleet.io \"crp\" is forbidden: \
         ValidatingAdmissionPolicy 'stolos-clusterresourceplacements' with binding \
         'stolos-clusterresourceplacements-binding' denied request: deny create/update v1beta1 CRP \
         has invalid fields: the placement policy field is invalid: clusterNames must be unique"
    );
}

async fn check<K>(api: &Api<K>, cases: Vec<(Value, &str)>)
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    for (object, want) in cases {
        let message = refusal(api, object.clone()).await;
        let is_right = if want.is_empty() { message.is_empty() } else { message.contains(want) };
        assert!(is_right, "want `{want}`, got `{message}` for {object}");
    }
}

fn placement(more: Value) -> Value {
    let mut spec = json!({
        "resourceSelectors": [{"group": "", "version": "v1", "kind": "Namespace", "name": "app"}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"metadata": {"name": "crp"}, "spec": spec})
}

fn policy(policy: Value) -> Value {
    placement(json!({"policy": policy}))
}

fn required(term: Value) -> Value {
    policy(json!({"affinity": {"clusterAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"clusterSelectorTerms": [term]},
    }}}))
}

fn preferred(term: Value) -> Value {
    policy(
        json!({"placementType": "PickN", "numberOfClusters": 1, "affinity": {"clusterAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term}],
        }}}),
    )
}

fn properties(list: &[(&str, &str, &str)]) -> Value {
    let list: Vec<_> = list
        .iter()
        .map(|(name, operator, value)| json!({"name": name, "operator": operator, "values": [value]}))
        .collect();
    required(json!({"propertySelector": {"matchExpressions": list}}))
}

fn placements() -> Vec<(Value, &'static str)> {
    let labels = |selector: Value| required(json!({"labelSelector": selector}));
    let mut long = placement(json!({}));
    long["metadata"]["name"] = json!("a".repeat(64));
    let unsatisfiable = "no value of a property can meet all of its requirements";
    vec![
        (placement(json!({})), ""),
        (long, "has invalid fields: the name field cannot have length exceeding 63"),
        (labels(json!({"matchLabels": {"a.b/c": "d"}})), ""),
        (labels(json!({"matchLabels": {"a/b/c": "d"}})), "a labelSelector cannot be used"),
        (labels(json!({"matchLabels": {"a": "-"}})), "a labelSelector cannot be used"),
        (labels(json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]})), ""),
        (
            labels(json!({"matchExpressions": [{"key": "a", "operator": "In"}]})),
            "a labelSelector cannot be used",
        ),
        (
            labels(json!({"matchExpressions": [{"key": "a", "operator": "Is"}]})),
            "a labelSelector cannot be used",
        ),
        (policy(json!({"placementType": "PickFixed"})), ""),
        (
            policy(json!({"placementType": "PickFixed", "clusterNames": ["A"]})),
            "the placement policy field is invalid: clusterNames must be DNS subdomains",
        ),
        (
            policy(json!({"placementType": "PickFixed", "clusterNames": ["a", "a"]})),
            "clusterNames must be unique",
        ),
        (
            policy(json!({"affinity": {"clusterAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}],
            }}})),
            "PreferredDuringSchedulingIgnoredDuringExecution will be ignored for placement policy type PickAll",
        ),
        (
            required(json!({"propertySorter": {"name": "a", "sortOrder": "Ascending"}})),
            "PropertySorter is not allowed for RequiredDuringSchedulingIgnoredDuringExecution affinity",
        ),
        (
            preferred(json!({"propertySelector": {"matchExpressions": []}})),
            "PropertySelector is not allowed for PreferredDuringSchedulingIgnoredDuringExecution affinity",
        ),
        (
            preferred(json!({"propertySorter": {"name": "a//b", "sortOrder": "Ascending"}})),
            "a property name",
        ),
        (preferred(json!({"propertySorter": {"name": "a/b/c", "sortOrder": "Ascending"}})), ""),
        (properties(&[("resources.kubernetes-fleet.io/total-cpu", "Gt", "1")]), ""),
        (properties(&[("resources.kubernetes-fleet.io/used-cpu", "Gt", "1")]), "a property name"),
        (properties(&[("p", "Is", "1")]), "must be one of Gt, Ge, Lt, Le, Eq and Ne"),
        (properties(&[("p", "Gt", "many")]), "exactly one value, a quantity"),
        (properties(&[("p", "Ge", "1"), ("p", "Le", "1")]), ""),
        (properties(&[("p", "Ge", "1"), ("p", "Lt", "1000m")]), unsatisfiable),
        (properties(&[("p", "Gt", "2"), ("q", "Lt", "1"), ("p", "Lt", "2Ki")]), ""),
        (properties(&[("p", "Eq", "1"), ("p", "Eq", "1000m")]), ""),
        (properties(&[("p", "Eq", "1"), ("p", "Ne", "1")]), unsatisfiable),
        (properties(&[("p", "Gt", "1"), ("p", "Eq", "1")]), unsatisfiable),
        (policy(json!({"tolerations": [{"key": "a.b/c", "value": "d"}]})), ""),
        (policy(json!({"tolerations": [{"key": "a/b/c"}]})), "the key of a toleration"),
        (policy(json!({"tolerations": [{"key": "a", "value": "!"}]})), "the value of a toleration"),
        (
            policy(json!({"tolerations": [{"key": "a"}, {"key": "a"}]})),
            "tolerations must be unique",
        ),
        (
            placement(json!({"strategy": {"type": "External", "rollingUpdate": {}}})),
            "rollingUpdate must not be set for type External",
        ),
        (
            placement(json!({"strategy": {"rollingUpdate": {"maxSurge": -1}}})),
            "maxUnavailable and maxSurge must not be negative",
        ),
        (
            placement(json!({"strategy": {"applyStrategy": {"serverSideApplyConfig": {}}}})),
            "serverSideApplyConfig must not be set unless the type is ServerSideApply",
        ),
        (
            placement(json!({"strategy": {"applyStrategy": {
                "type": "ServerSideApply", "serverSideApplyConfig": {"force": true},
            }}})),
            "",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_placement_that_could_not_work_is_refused_with_the_reason() {
    let fleet = Fleet::start(&["a"]).await;
    let namespaced: Api<ResourcePlacement> = fleet.hub.inside("default");
    check(&fleet.placements(), placements()).await;
    check(&namespaced, placements()).await;
    let missing = placement(json!({"strategy": {"type": "External", "rollingUpdate": {}}}));
    let message = refusal(&fleet.placements(), missing.clone()).await;
    assert!(message.contains("deny create/update v1beta1 CRP has invalid fields"), "{message}");
    let message = refusal(&namespaced, missing).await;
    assert!(message.contains("deny create/update v1beta1 RP has invalid fields"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn tolerations_of_a_placement_can_only_be_added_and_its_type_stays() {
    let fleet = Fleet::start(&["a"]).await;
    let of = |tolerations: Value| json!({"spec": {"policy": {"tolerations": tolerations}}});
    fleet.place("crp", policy(json!({"tolerations": [{"key": "a"}]}))["spec"].clone()).await;
    merge(&fleet.placements(), "crp", of(json!([{"key": "b"}, {"key": "a"}]))).await;
    let refused =
        crate::fleet::try_merge(&fleet.placements(), "crp", of(json!([{"key": "b"}]))).await;
    assert!(refused.contains("only additions to tolerations are allowed"), "{refused}");

    fleet.place("bare", placement(json!({}))["spec"].clone()).await;
    let fixed = json!({"spec": {"policy": {"placementType": "PickFixed"}}});
    let refused = crate::fleet::try_merge(&fleet.placements(), "bare", fixed).await;
    assert!(refused.contains("placement type is immutable"), "{refused}");
    merge(&fleet.placements(), "bare", json!({"spec": {"policy": {"placementType": "PickAll"}}}))
        .await;
    // What does not touch the spec passes, whatever the spec is.
    merge(&fleet.placements(), "crp", json!({"metadata": {"labels": {"a": "b"}}})).await;
}

fn rule(rule: Value) -> Value {
    json!({"metadata": {"name": "o"}, "spec": {
        "clusterResourceSelectors": [{
            "group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRole", "name": "r",
        }],
        "policy": {"overrideRules": [rule]},
    }})
}

fn patch(op: &str, path: &str, value: Option<&str>) -> Value {
    let mut patch = json!({"op": op, "path": path});
    if let Some(value) = value {
        patch["value"] = json!(value);
    }
    rule(json!({"clusterSelector": {"clusterSelectorTerms": []}, "jsonPatchOverrides": [patch]}))
}

#[tokio::test(start_paused = true)]
async fn an_override_that_could_not_work_is_refused_with_the_reason() {
    let fleet = Fleet::start(&["a"]).await;
    let terms = |term: Value| {
        rule(json!({
            "clusterSelector": {"clusterSelectorTerms": [term]}, "overrideType": "Delete",
        }))
    };
    let mut by_label = patch("add", "/rules", Some("x"));
    by_label["spec"]["clusterResourceSelectors"][0] =
        json!({"group": "", "version": "v1", "kind": "Namespace", "labelSelector": {}});
    let mut nameless = patch("add", "/rules", Some("x"));
    nameless["spec"]["clusterResourceSelectors"][0].as_object_mut().unwrap().remove("name");
    let mut twice = patch("add", "/rules", Some("x"));
    let selector = twice["spec"]["clusterResourceSelectors"][0].clone();
    twice["spec"]["clusterResourceSelectors"] = json!([selector, selector]);
    let cases = vec![
        (patch("add", "/rules", Some("x")), ""),
        (patch("add", "/metadata/annotations/a~1b", Some("x")), ""),
        (patch("remove", "/metadata/labels", None), ""),
        (patch("add", "rules", Some("x")), "must start with `/`"),
        (patch("add", "/rules//x", Some("x")), "must not have empty segments"),
        (patch("add", "/kind", Some("x")), "must not touch kind, apiVersion or status"),
        (patch("add", "/status/x", Some("x")), "must not touch kind, apiVersion or status"),
        (patch("add", "/metadata/name", Some("x")), "metadata other than annotations and labels"),
        (patch("add", "/metadata", Some("x")), "metadata other than annotations and labels"),
        (patch("remove", "/rules", Some("x")), "must not have a value"),
        (terms(json!({"labelSelector": {"matchLabels": {"a": "b"}}})), ""),
        (terms(json!({})), "must have a labelSelector and nothing else"),
        (
            terms(
                json!({"labelSelector": {}, "propertySorter": {"name": "a", "sortOrder": "Ascending"}}),
            ),
            "must have a labelSelector and nothing else",
        ),
        (terms(json!({"labelSelector": {"matchLabels": {"!": "b"}}})), "cannot be used"),
        (
            rule(
                json!({"overrideType": "Delete", "jsonPatchOverrides": [{"op": "remove", "path": "/a"}]}),
            ),
            "cannot be set when the override type is Delete",
        ),
        (rule(json!({})), "cannot be empty when the override type is JSONPatch"),
        (by_label, "must select by name, not by labelSelector"),
        (nameless, "must have a name"),
        (twice, "resource selectors must be unique"),
    ];
    check(&fleet.hub.all::<ClusterResourceOverride>(), cases).await;
}

#[tokio::test(start_paused = true)]
async fn one_object_is_changed_by_one_override_of_a_kind() {
    let fleet = Fleet::start(&["a"]).await;
    let overrides = fleet.hub.all::<ClusterResourceOverride>();
    let first: ClusterResourceOverride =
        serde_json::from_value(patch("add", "/rules", Some("x"))).unwrap();
    create(&overrides, &first).await;
    merge(
        &overrides,
        "o",
        json!({"spec": {"policy": {"overrideRules": [{"overrideType": "Delete"}]}}}),
    )
    .await;
    let mut second = patch("add", "/rules", Some("x"));
    second["metadata"]["name"] = json!("second");
    let message = refusal(&overrides, second.clone()).await;
    assert!(
        message.contains("ClusterRole r: the resource has been selected by both second and o, which is not supported"),
        "{message}"
    );
    second["spec"]["clusterResourceSelectors"][0]["name"] = json!("other");
    assert_eq!(refusal(&overrides, second).await, "");

    let namespaced = |name: &str, selects: &str| {
        json!({"metadata": {"name": name}, "spec": {
            "resourceSelectors": [{"group": "", "version": "v1", "kind": "ConfigMap", "name": selects}],
            "policy": {"overrideRules": [{"overrideType": "Delete"}]},
        }})
    };
    let inside: Api<ResourceOverride> = fleet.hub.inside("default");
    create(&inside, &serde_json::from_value(namespaced("first", "c")).unwrap()).await;
    let message = refusal(&inside, namespaced("second", "c")).await;
    assert!(message.contains("has been selected by both second and first"), "{message}");
    assert_eq!(refusal(&inside, namespaced("second", "d")).await, "");
    let elsewhere: Api<ResourceOverride> = fleet.hub.inside("kube-public");
    assert_eq!(refusal(&elsewhere, namespaced("second", "c")).await, "");
}

#[tokio::test(start_paused = true)]
async fn taints_of_a_member_must_be_well_formed() {
    let fleet = Fleet::start(&["a"]).await;
    let member = |taints: Value| {
        json!({"metadata": {"name": "b"}, "spec": {
            "identity": {"kind": "User", "name": "b", "apiGroup": "rbac.authorization.k8s.io"},
            "taints": taints,
        }})
    };
    let taint =
        |key: &str, value: &str| json!({"key": key, "value": value, "effect": "NoSchedule"});
    let cases = vec![
        (member(json!([taint("a.b/c", "d"), taint("a.b/c", "e")])), ""),
        (member(json!([taint("a/b/c", "d")])), "must be a qualified name"),
        (member(json!([taint("a", "-d")])), "must be a label value"),
        (member(json!([taint("a", "d"), taint("a", "d")])), "taints must be unique"),
    ];
    check(&fleet.hub.all::<MemberCluster>(), cases).await;
}

#[tokio::test(start_paused = true)]
async fn evictions_and_budgets_must_fit_their_placements() {
    let fleet = Fleet::start(&["a"]).await;
    fleet.place("all", placement(json!({}))["spec"].clone()).await;
    let fixed = policy(json!({"placementType": "PickFixed", "clusterNames": ["a"]}));
    fleet.place("fixed", fixed["spec"].clone()).await;
    let eviction = |placement: &str| json!({"metadata": {"name": "e"}, "spec": {"placementName": placement, "clusterName": "a"}});
    let cases = vec![
        (eviction("all"), ""),
        (eviction("missing"), ""),
        (eviction("fixed"), "cluster resource placement policy type PickFixed is not supported"),
    ];
    check(&fleet.hub.all::<ClusterResourcePlacementEviction>(), cases).await;
    let budget = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let cases = vec![
        (budget("all", json!({"minAvailable": 1})), ""),
        (budget("all", json!({"minAvailable": "50%"})), "min available as a percentage"),
        (budget("all", json!({"maxUnavailable": 1})), "any specified max unavailable"),
        (budget("fixed", json!({"maxUnavailable": 1})), ""),
        (budget("missing", json!({"maxUnavailable": 1})), ""),
    ];
    check(&fleet.hub.all::<ClusterResourcePlacementDisruptionBudget>(), cases).await;

    // A finalizer keeps it on its way out.
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    merge(&fleet.hub.all::<ClusterResourcePlacement>(), "all", held).await;
    crate::fleet::delete(&fleet.placements(), "all").await;
    let message =
        refusal(&fleet.hub.all::<ClusterResourcePlacementEviction>(), eviction("all")).await;
    assert!(message.contains("cluster resource placement all is being deleted"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn what_was_invalid_before_the_rules_can_be_labelled_and_removed() {
    // Once a member has joined, the rules are in force.
    let mut fleet = Fleet::start(&["a"]).await;
    fleet.stop_hub().await;
    let bindings = fleet.hub.all::<ValidatingAdmissionPolicyBinding>();
    let binding = "stolos-clusterresourceplacements-binding";
    delete(&bindings, binding).await;
    let invalid = policy(json!({"placementType": "PickFixed", "clusterNames": ["a", "a"]}));
    fleet.place("crp", invalid["spec"].clone()).await;
    fleet.start_hub();
    crate::fleet::exists(&bindings, binding).await;

    let placements = fleet.placements();
    let labelled = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["a.b/c"]}});
    assert_eq!(crate::fleet::try_merge(&placements, "crp", labelled).await, "");
    let changed = json!({"spec": {"policy": {"clusterNames": ["b", "b"]}}});
    let refused = crate::fleet::try_merge(&placements, "crp", changed.clone()).await;
    assert!(refused.contains("clusterNames must be unique"), "{refused}");
    delete(&placements, "crp").await;
    assert_eq!(crate::fleet::try_merge(&placements, "crp", changed).await, "", "it is going");
    let freed = json!({"metadata": {"finalizers": null}});
    assert_eq!(crate::fleet::try_merge(&placements, "crp", freed).await, "");
    crate::fleet::gone(&placements, "crp").await;
}

#[tokio::test(start_paused = true)]
async fn there_may_be_more_than_a_hundred_overrides() {
    // Once a member has joined, the rules are in force.
    let fleet = Fleet::start(&["a"]).await;
    let patch = json!({"clusterSelector": {"clusterSelectorTerms": []}, "jsonPatchOverrides": [
        {"op": "add", "path": "/metadata/labels/a", "value": "b"},
    ]});
    let spec = |selected: &str, selector: Value| {
        json!({
            selected: [selector], "policy": {"overrideRules": [patch]},
        })
    };
    for i in 0..101 {
        let name = format!("o-{i}");
        let role = json!({
            "group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRole", "name": name,
        });
        let of_cluster: ClusterResourceOverride = serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": spec("clusterResourceSelectors", role),
        }))
        .unwrap();
        create(&fleet.hub.all(), &of_cluster).await;
        let config_map = json!({"group": "", "version": "v1", "kind": "ConfigMap", "name": name});
        let of_namespace: ResourceOverride = serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": spec("resourceSelectors", config_map),
        }))
        .unwrap();
        create(&fleet.hub.inside("default"), &of_namespace).await;
    }
}
