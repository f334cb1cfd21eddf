use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use proptest::prelude::*;
use serde_json::json;
use stolos_api::cluster::names::{agent, condition};
use stolos_api::cluster::{AgentStatus, MemberClusterStatus, PropertyValue};

use super::*;
use crate::placement::select::{Inventory, KindScope, select};

fn object(kind: &str, namespace: &str, name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {
        "name": name, "namespace": namespace, "labels": {"l": label},
    }})
}

fn any_object() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["a", "b"]);
    let in_namespace = prop::sample::select(vec!["ConfigMap", "Service", "Endpoints"]);
    prop_oneof![
        (name(), name()).prop_map(|(name, label)| object("Namespace", "", name, label)),
        (name(), name()).prop_map(|(name, label)| object("Zone", "", name, label)),
        (in_namespace, name(), name(), name())
            .prop_map(|(kind, namespace, name, label)| object(kind, namespace, name, label)),
    ]
}

fn any_selector() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec!["Namespace", "Zone", "ConfigMap", "Endpoints"]);
    let scope = prop::sample::select(vec![
        "NamespaceOnly",
        "NamespaceWithResources",
        "NamespaceWithResourceSelectors",
    ]);
    let narrow = prop_oneof![
        Just(json!({})),
        Just(json!({"name": "a"})),
        Just(json!({"labelSelector": {"matchLabels": {"l": "a"}}})),
    ];
    (kind, scope, narrow).prop_map(|(kind, scope, narrow)| {
        let mut selector =
            json!({"group": "", "version": "v1", "kind": kind, "selectionScope": scope});
        let fields = selector.as_object_mut().unwrap();
        fields.extend(narrow.as_object().unwrap().clone());
        if scope == "NamespaceWithResourceSelectors" {
            fields.remove("labelSelector");
            fields.insert("name".into(), json!("a"));
        }
        selector
    })
}

fn is_same(left: &Value, right: &Value) -> bool {
    let key = |object: &Value| {
        (Gvk::of(object), object::namespace(object).to_owned(), object::name(object).to_owned())
    };
    key(left) == key(right)
}

fn selected(
    objects: &[Value],
    selectors: &[ResourceSelectorTerm],
    reach: Reach<'_>,
) -> Option<Vec<Arc<Value>>> {
    let kinds = [
        ("Namespace", KindScope::Cluster),
        ("Zone", KindScope::Cluster),
        ("ConfigMap", KindScope::Namespaced),
        ("Service", KindScope::Namespaced),
        ("Endpoints", KindScope::Namespaced),
    ];
    let kinds = kinds.map(|(kind, scope)| (Gvk::new("", "v1", kind), scope)).to_vec();
    let inventory = Inventory::new(kinds, objects.to_vec());
    select(selectors, reach, &Eligibility::default(), &inventory).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_change_of_a_selection_is_never_missed(
        drawn in prop::collection::vec(any_object(), 0..8),
        changed in any_object(),
        goes in any::<bool>(),
        selectors in prop::collection::vec(any_selector(), 1..4),
        inside in prop::option::of(prop::sample::select(vec!["a", "b"])),
    ) {
        let mut objects: Vec<Value> = Vec::new();
        for object in drawn {
            if !objects.iter().any(|known| is_same(known, &object)) {
                objects.push(object);
            }
        }
        let selectors: Vec<ResourceSelectorTerm> =
            serde_json::from_value(json!(selectors)).unwrap();
        let reach = inside.map_or(Reach::Cluster, Reach::Namespace);
        let first = selected(&objects, &selectors, reach);
        let before = objects.iter().find(|object| is_same(object, &changed)).cloned();
        objects.retain(|object| !is_same(object, &changed));
        if !goes {
            objects.push(changed.clone());
        }
        let home = objects.iter().find(|object| {
            Gvk::of(object).is_namespace() && object::name(object) == object::namespace(&changed)
        });
        let after = (!goes).then_some(&changed);
        let change = Change { before: before.as_ref(), after, namespace: home };
        if selected(&objects, &selectors, reach) != first {
            prop_assert!(change.is_of_interest(&Eligibility::default()));
            prop_assert!(change.concerns(&selectors, reach));
        }
    }
}

#[test]
fn other_objects_concern_nobody() {
    let selectors = |selectors: Value| -> Vec<ResourceSelectorTerm> {
        serde_json::from_value(selectors).unwrap()
    };
    let app =
        selectors(json!([{"group": "", "version": "v1", "kind": "Namespace", "name": "app"}]));
    let only = selectors(json!([{
        "group": "", "version": "v1", "kind": "Namespace", "name": "app", "selectionScope": "NamespaceOnly",
    }]));
    let concerns = |object: &Value, selectors: &[ResourceSelectorTerm]| {
        let change = Change { before: None, after: Some(object), namespace: None };
        change.concerns(selectors, Reach::Cluster)
    };
    let (inside, outside) =
        (object("ConfigMap", "app", "a", ""), object("ConfigMap", "other", "a", ""));
    assert!(concerns(&inside, &app));
    assert!(!concerns(&outside, &app));
    assert!(!concerns(&inside, &only));
    assert!(!concerns(&object("Namespace", "", "other", ""), &app));
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn member(heartbeat: Timestamp) -> MemberCluster {
    let holds = |type_: &str| Condition {
        type_: type_.into(),
        status: "True".into(),
        reason: String::new(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(NOW),
    };
    let agent = AgentStatus {
        type_: agent::MEMBER_AGENT.into(),
        conditions: vec![holds(condition::JOINED), holds(condition::HEALTHY)],
        last_received_heartbeat: Some(Time(heartbeat)),
    };
    let status =
        MemberClusterStatus { agent_status: vec![agent], ..MemberClusterStatus::default() };
    MemberCluster { status: Some(status), ..MemberCluster::default() }
}

fn with_property(value: &str, observed: Timestamp) -> MemberCluster {
    let mut member = member(observed);
    let fact = PropertyValue { value: value.into(), observation_time: Time(observed) };
    member.status.as_mut().unwrap().properties.insert("nodes".into(), fact);
    member
}

fn tainted(keys: &[&str]) -> MemberCluster {
    let mut member = member(NOW);
    member.spec.taints =
        keys.iter().map(|key| Taint { key: (*key).into(), ..Taint::default() }).collect();
    member
}

fn changed(names: &[&str]) -> News {
    let properties = names.iter().map(|name| (*name).to_owned()).collect();
    News::Facts { properties, resources: false, namespaces: false }
}

#[test]
fn a_heartbeat_is_no_news() {
    let later = NOW + SignedDuration::from_secs(30);
    let much_later = NOW + SignedDuration::from_mins(10);
    let (three, four) = (with_property("3", NOW), with_property("4", later));
    for (case, before, after, now, want) in [
        ("heartbeat", member(NOW), member(later), later, News::None),
        ("return after silence", member(NOW), member(much_later), much_later, News::Member),
        ("property seen again", three.clone(), with_property("3", later), later, News::None),
        ("property changed", three.clone(), four, later, changed(&["nodes"])),
        ("property gone", three, member(later), later, changed(&["nodes"])),
        ("taint added", tainted(&[]), tainted(&["a"]), NOW, News::None),
        ("taint removed", tainted(&["a"]), tainted(&[]), NOW, News::Member),
    ] {
        assert_eq!(news(Some(&before), &after, now), want, "{case}");
    }
    let mut leaving = tainted(&[]);
    leaving.metadata.deletion_timestamp = Some(Time(NOW));
    assert_eq!(news(Some(&tainted(&["a"])), &leaving, NOW), News::None);
    assert_eq!(news(None, &member(NOW), NOW), News::Member);
}

#[test]
fn facts_wake_those_whose_policy_asks_for_them() {
    let requires = |name: &str| {
        json!({"affinity": {"clusterAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"clusterSelectorTerms": [
                {"propertySelector": {"matchExpressions": [
                    {"name": name, "operator": "Gt", "values": ["1"]},
                ]}},
            ]},
        }}})
    };
    let prefers = |name: &str| {
        json!({"placementType": "PickN", "numberOfClusters": 1, "affinity": {"clusterAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 1, "preference": {"propertySorter": {"name": name, "sortOrder": "Ascending"}},
            }],
        }}})
    };
    let cpu = "resources.kubernetes-fleet.io/available-cpu";
    let of = |resources, namespaces| News::Facts { properties: [].into(), resources, namespaces };
    let (usage, namespaces) = (of(true, false), of(false, true));
    for (case, policy, namespaced, news, want) in [
        ("nobody asks for resources", json!({}), false, &usage, false),
        ("resources are required", requires(cpu), false, &usage, true),
        ("resources are preferred", prefers(cpu), false, &usage, true),
        ("another property is asked for", requires("cost"), false, &usage, false),
        ("a property is asked for", requires("nodes"), false, &changed(&["nodes"]), true),
        ("another one changed", requires("cost"), false, &changed(&["nodes"]), false),
        ("cluster-scoped ones bring namespaces", json!({}), false, &namespaces, false),
        ("namespaced ones need theirs", json!({}), true, &namespaces, true),
        ("everybody looks at members", json!({}), false, &News::Member, true),
        ("nothing is nothing", requires("nodes"), true, &News::None, false),
    ] {
        let spec: PlacementSpec =
            serde_json::from_value(json!({"resourceSelectors": [], "policy": policy})).unwrap();
        let kind = "ClusterResourcePlacement";
        let placement = Placement { kind, namespaced, generation: 1, spec: &spec, status: None };
        assert_eq!(placement.wants(news), want, "{case}");
    }
}

#[test]
fn a_placement_that_has_its_clusters_needs_no_others() {
    let spec: PlacementSpec = serde_json::from_value(json!({
        "resourceSelectors": [], "policy": {"placementType": "PickN", "numberOfClusters": 1},
    }))
    .unwrap();
    let status = |holds: &str| -> PlacementStatus {
        serde_json::from_value(json!({"conditions": [{
            "type": "ClusterResourcePlacementScheduled", "status": holds, "reason": "x",
            "message": "", "observedGeneration": 1, "lastTransitionTime": "1970-01-01T00:00:00Z",
        }]}))
        .unwrap()
    };
    for (holds, generation, want) in [("True", 1, false), ("False", 1, true), ("True", 2, true)] {
        let status = status(holds);
        let placement = Placement {
            kind: "ClusterResourcePlacement",
            namespaced: false,
            generation,
            spec: &spec,
            status: Some(&status),
        };
        assert_eq!(placement.wants(&News::Member), want, "{holds} at {generation}");
    }
}
