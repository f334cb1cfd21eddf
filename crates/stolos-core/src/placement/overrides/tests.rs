use proptest::prelude::*;
use serde_json::json;
use stolos_api::placement::ResourceBindingSpec;

use super::*;

fn member(name: &str, labels: &[(&str, &str)]) -> MemberCluster {
    let mut member = MemberCluster::default();
    member.metadata.name = Some(name.to_owned());
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    member.metadata.labels = Some(labels.collect());
    member
}

fn cluster_override(value: Value) -> ClusterResourceOverrideSpec {
    serde_json::from_value(value).expect("a spec of a ClusterResourceOverride")
}

fn resource_override(value: Value) -> ResourceOverrideSpec {
    serde_json::from_value(value).expect("a spec of a ResourceOverride")
}

/// Overrides of everything in namespace `app`.
fn of_namespace(rules: Value) -> ClusterResourceOverrideSpec {
    let selector = json!({"group": "", "version": "v1", "kind": "Namespace", "name": "app"});
    cluster_override(json!({
        "clusterResourceSelectors": [selector], "policy": {"overrideRules": rules},
    }))
}

/// Overrides of ConfigMap `app/settings`.
fn of_settings(rules: Value) -> ResourceOverrideSpec {
    let selector = json!({"group": "", "version": "v1", "kind": "ConfigMap", "name": "settings"});
    resource_override(json!({
        "resourceSelectors": [selector], "policy": {"overrideRules": rules},
    }))
}

fn everywhere(patches: Value) -> Value {
    json!([{"clusterSelector": {"clusterSelectorTerms": []}, "jsonPatchOverrides": patches}])
}

fn settings() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "app"}, "data": {"colour": "blue"},
    })
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "app"}})
}

fn cluster<'a>(name: &'a str, spec: &'a ClusterResourceOverrideSpec) -> Snapshot<'a> {
    Snapshot { name, content: Content::Cluster(spec) }
}

fn namespaced<'a>(name: &'a str, spec: &'a ResourceOverrideSpec) -> Snapshot<'a> {
    Snapshot { name, content: Content::Namespaced { namespace: "app", spec } }
}

/// Applies everything that matches, as a rollout and the making of Works do one after the other.
fn apply(
    snapshots: &[Snapshot<'_>],
    member: &MemberCluster,
    objects: &[Value],
) -> Result<Vec<Value>, String> {
    let picked = pick(&matching(None, "web", objects, snapshots), member);
    let binding = ResourceBindingSpec {
        cluster_resource_override_snapshots: picked.cluster,
        resource_override_snapshots: picked.namespaced,
        ..ResourceBindingSpec::default()
    };
    let find = |_: &str, name: &str| snapshots.iter().copied().find(|s| s.name == name);
    Applicable::of(&binding, member, find)
        .and_then(|applicable| applicable.apply(objects.to_vec()))
        .map_err(|error| error.to_string())
}

fn names(matching: &[Snapshot<'_>]) -> Vec<String> {
    matching.iter().map(|snapshot| snapshot.name.to_owned()).collect()
}

#[test]
fn a_namespace_stands_for_everything_in_it() {
    let spec = of_namespace(everywhere(json!([
        {"op": "add", "path": "/metadata/labels", "value": {"team": "a"}},
    ])));
    let objects = [namespace(), settings()];
    let changed = apply(&[cluster("o-0", &spec)], &member("m", &[]), &objects).unwrap();
    assert!(
        changed.iter().all(|object| object["metadata"]["labels"]["team"] == "a"),
        "{changed:?}"
    );
}

#[test]
fn the_override_of_an_object_wins_over_that_of_its_namespace() {
    let colour = |colour: &str| {
        everywhere(json!([{"op": "replace", "path": "/data/colour", "value": colour}]))
    };
    // The namespace itself has no data, so only the ConfigMap is placed here.
    let (of_all, of_one) = (of_namespace(colour("green")), of_settings(colour("red")));
    let snapshots = [namespaced("a-0", &of_one), cluster("z-0", &of_all)];
    let changed = apply(&snapshots, &member("m", &[]), &[settings()]).unwrap();
    assert_eq!(changed[0]["data"]["colour"], "red");
}

#[test]
fn rules_apply_in_order_where_their_selector_matches() {
    let selects = |key: &str| json!({"clusterSelectorTerms": [{"labelSelector": {"matchLabels": {(key): "yes"}}}]});
    let patch = |op: &str, value: &str| json!([{"op": op, "path": "/data/colour", "value": value}]);
    let spec = of_settings(json!([
        {"clusterSelector": selects("a"), "jsonPatchOverrides": patch("replace", "green")},
        {"clusterSelector": selects("b"), "jsonPatchOverrides": patch("replace", "red")},
        {"jsonPatchOverrides": patch("replace", "nobody")},
    ]));
    let snapshots = [namespaced("o-0", &spec)];
    let colour = |labels: &[(&str, &str)]| {
        apply(&snapshots, &member("m", labels), &[settings()]).unwrap()[0]["data"]["colour"].clone()
    };
    assert_eq!(colour(&[]), "blue");
    assert_eq!(colour(&[("a", "yes")]), "green");
    assert_eq!(colour(&[("a", "yes"), ("b", "yes")]), "red");
    let picked = pick(&snapshots, &member("m", &[]));
    assert_eq!(picked, Picked::default(), "no rule is for this member");
}

#[test]
fn variables_stand_for_the_member() {
    let spec = of_settings(everywhere(json!([
        {"op": "add", "path": "/data/where", "value": "${MEMBER-CLUSTER-NAME}/${MEMBER-CLUSTER-LABEL-KEY-fleet.io/region}"},
        {"op": "add", "path": "/metadata/labels", "value": {"on-${MEMBER-CLUSTER-NAME}": "x"}},
    ])));
    let east = member("m-1", &[("fleet.io/region", "east")]);
    let changed = apply(&[namespaced("o-0", &spec)], &east, &[settings()]).unwrap();
    assert_eq!(changed[0]["data"]["where"], "m-1/east");
    assert_eq!(changed[0]["metadata"]["labels"]["on-m-1"], "x");
    let problem = apply(&[namespaced("o-0", &spec)], &member("m-2", &[]), &[settings()]);
    insta::assert_snapshot!(problem.unwrap_err(), @"ResourceOverrideSnapshot `app/o-0` cannot change ConfigMap `app/settings`: member cluster `m-2` has no label `fleet.io/region`");
}

#[test]
fn a_variable_without_an_end_is_an_error() {
    let spec = of_settings(everywhere(json!([
        {"op": "add", "path": "/data/a", "value": "x-${MEMBER-CLUSTER-LABEL-KEY-region"},
    ])));
    let problem = apply(&[namespaced("o-0", &spec)], &member("m", &[]), &[settings()]);
    insta::assert_snapshot!(problem.unwrap_err(), @"ResourceOverrideSnapshot `app/o-0` cannot change ConfigMap `app/settings`: variable `${MEMBER-CLUSTER-LABEL-KEY-region` lacks its closing `}`");
}

#[test]
fn paths_hold_no_variables() {
    let spec = of_settings(everywhere(json!([
        {"op": "add", "path": "/data/${MEMBER-CLUSTER-NAME}", "value": "x"},
    ])));
    let changed = apply(&[namespaced("o-0", &spec)], &member("m", &[]), &[settings()]).unwrap();
    assert_eq!(changed[0]["data"]["${MEMBER-CLUSTER-NAME}"], "x");
}

#[test]
fn a_path_that_does_not_exist_names_snapshot_object_and_step() {
    let problem = |op: &str, path: &str| {
        let spec = of_settings(everywhere(json!([{"op": op, "path": path}])));
        apply(&[namespaced("o-0", &spec)], &member("m", &[]), &[settings()]).unwrap_err()
    };
    insta::assert_snapshot!(problem("remove", "/data/size"), @"ResourceOverrideSnapshot `app/o-0` cannot change ConfigMap `app/settings`: cannot remove `/data/size`: `/data/size` does not exist");
    insta::assert_snapshot!(problem("replace", "/spec/a/b"), @"ResourceOverrideSnapshot `app/o-0` cannot change ConfigMap `app/settings`: cannot replace `/spec/a/b`: `/spec` does not exist");
    insta::assert_snapshot!(problem("add", "/metadata/labels/a"), @"ResourceOverrideSnapshot `app/o-0` cannot change ConfigMap `app/settings`: cannot add `/metadata/labels/a`: `/metadata/labels` does not exist; add it with an operation before");
    insta::assert_snapshot!(problem("add", "/data/colour/a"), @"ResourceOverrideSnapshot `app/o-0` cannot change ConfigMap `app/settings`: cannot add `/data/colour/a`: `/data/colour` is neither an object nor a list");
    insta::assert_snapshot!(problem("add", "/metadata/name"), @"ResourceOverrideSnapshot `app/o-0` cannot change ConfigMap `app/settings`: path `/metadata/name`: of the metadata, only labels and annotations can be changed");
}

#[test]
fn a_result_that_no_server_takes_is_not_sent() {
    let problem = |patch: Value| {
        let spec = of_settings(everywhere(json!([patch])));
        apply(&[namespaced("o-0", &spec)], &member("m", &[]), &[settings()]).unwrap_err()
    };
    insta::assert_snapshot!(
        problem(json!({"op": "add", "path": "/metadata/labels", "value": {"a": 1}})),
        @"overrides make ConfigMap `app/settings` an object that no cluster takes: `metadata.labels[a]` must be a string"
    );
    insta::assert_snapshot!(
        problem(json!({"op": "add", "path": "/metadata/annotations", "value": "x"})),
        @"overrides make ConfigMap `app/settings` an object that no cluster takes: `metadata.annotations` must be an object of strings"
    );
}

#[test]
fn a_deletion_is_final() {
    let delete = json!([
        {"clusterSelector": {"clusterSelectorTerms": []}, "overrideType": "Delete"},
        {"clusterSelector": {"clusterSelectorTerms": []}, "jsonPatchOverrides": [{"op": "remove", "path": "/nothing"}]},
    ]);
    let (delete, patch) = (
        of_namespace(delete),
        of_settings(everywhere(json!([{"op": "remove", "path": "/nothing"}]))),
    );
    let snapshots = [cluster("a-0", &delete), namespaced("b-0", &patch)];
    let left = apply(&snapshots, &member("m", &[]), &[namespace(), settings()]).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_content_of_an_envelope_is_changed_and_the_envelope_is_not() {
    let envelope = json!({
        "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "ResourceEnvelope",
        "metadata": {"name": "box", "namespace": "app"},
        "data": {"one": settings(), "other": {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "app"}}},
    });
    let mut rules =
        everywhere(json!([{"op": "add", "path": "/metadata/labels", "value": {"team": "a"}}]));
    let labelled = of_namespace(rules.clone());
    let changed =
        apply(&[cluster("a-0", &labelled)], &member("m", &[]), std::slice::from_ref(&envelope))
            .unwrap();
    assert_eq!(changed[0]["data"]["one"]["metadata"]["labels"]["team"], "a");
    assert_eq!(changed[0]["data"]["other"]["metadata"]["labels"]["team"], "a");
    assert_eq!(changed[0]["metadata"], envelope["metadata"]);

    rules = json!([{"clusterSelector": {"clusterSelectorTerms": []}, "overrideType": "Delete"}]);
    let gone = of_settings(rules);
    let left = apply(&[namespaced("a-0", &gone)], &member("m", &[]), &[envelope]).unwrap();
    assert_eq!(left[0]["data"].as_object().unwrap().keys().collect::<Vec<_>>(), ["other"]);
}

#[test]
fn an_envelope_itself_cannot_be_named() {
    let envelope = json!({
        "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "ClusterResourceEnvelope",
        "metadata": {"name": "box"}, "data": {},
    });
    let spec = cluster_override(json!({
        "clusterResourceSelectors": [{
            "group": "placement.kubernetes-fleet.io", "version": "v1beta1",
            "kind": "ClusterResourceEnvelope", "name": "box",
        }],
        "policy": {"overrideRules": everywhere(json!([]))},
    }));
    assert_eq!(matching(None, "web", [&envelope], &[cluster("a-0", &spec)]), []);
}

#[test]
fn a_reference_limits_an_override_to_its_placement() {
    let of = |reference: Value| {
        let mut spec = serde_json::to_value(of_settings(json!([]))).unwrap();
        spec["placement"] = reference;
        resource_override(spec)
    };
    let (any, of_cluster, of_namespaced) = (
        of(Value::Null),
        of(json!({"name": "web"})),
        of(json!({"name": "web", "scope": "Namespaced"})),
    );
    let snapshots = [
        namespaced("any-0", &any),
        namespaced("crp-0", &of_cluster),
        namespaced("rp-0", &of_namespaced),
    ];
    let objects = [settings()];
    let matching = |namespace, name| names(&matching(namespace, name, &objects, &snapshots));
    assert_eq!(matching(None, "web"), ["any-0", "crp-0"]);
    assert_eq!(matching(Some("app"), "web"), ["any-0", "rp-0"]);
    assert_eq!(matching(None, "other"), ["any-0"]);
    assert_eq!(matching(Some("other"), "web"), ["any-0"]);
}

#[test]
fn only_overrides_of_what_is_placed_match() {
    let other = resource_override(json!({
        "resourceSelectors": [{"group": "", "version": "v1", "kind": "ConfigMap", "name": "other"}],
        "policy": {"overrideRules": []},
    }));
    let (here, namespace) = (of_settings(json!([])), of_namespace(json!([])));
    let elsewhere = Snapshot {
        name: "elsewhere-0",
        content: Content::Namespaced { namespace: "other", spec: &here },
    };
    let snapshots = [
        namespaced("other-0", &other),
        namespaced("z-0", &here),
        cluster("ns-0", &namespace),
        elsewhere,
    ];
    let found = matching(None, "web", [&settings()], &snapshots);
    assert_eq!(names(&found), ["ns-0", "z-0"], "the cluster-scoped one first");
}

#[test]
fn a_snapshot_that_is_gone_is_named() {
    let binding = ResourceBindingSpec {
        resource_override_snapshots: vec![NamespacedName {
            name: "o-0".to_owned(),
            namespace: "app".to_owned(),
        }],
        ..ResourceBindingSpec::default()
    };
    let error = Applicable::of(&binding, &member("m", &[]), |_, _| None).unwrap_err();
    insta::assert_snapshot!(error, @"ResourceOverrideSnapshot app/o-0 is not found");
}

#[test]
fn the_newest_snapshot_of_each_override_counts() {
    let all = [("a", 9, "a-9"), ("a", 10, "a-10"), ("b", 0, "b-0"), ("a", 2, "a-2")];
    assert_eq!(newest(all), ["a-10", "b-0"]);
}

proptest! {
    #[test]
    fn the_order_of_snapshots_and_objects_does_not_matter(
        snapshots in Just((0..4usize).collect::<Vec<_>>()).prop_shuffle(),
        objects in Just(vec![namespace(), settings()]).prop_shuffle(),
    ) {
        let append = |letter: &str| everywhere(json!([
            {"op": "add", "path": "/metadata/annotations", "value": {"last": letter}},
        ]));
        let clusters = [of_namespace(append("a")), of_namespace(append("b"))];
        let ones = [of_settings(append("c")), of_settings(append("d"))];
        let all = [
            cluster("a-0", &clusters[0]), cluster("b-0", &clusters[1]),
            namespaced("a-0", &ones[0]), namespaced("b-1", &ones[1]),
        ];
        let shuffled: Vec<_> = snapshots.iter().map(|&i| all[i]).collect();
        let found = matching(None, "web", &objects, &shuffled);
        prop_assert_eq!(names(&found), ["a-0", "b-0", "a-0", "b-1"]);
    }

    /// Whatever a patch does, the object that comes out is the one that went in.
    #[test]
    fn an_object_stays_itself(path in "(/(metadata|name|namespace|kind|apiVersion|labels|spec|-|0|~1|data)){1,3}", op in 0..3usize, text in any::<bool>()) {
        let op = ["add", "remove", "replace"][op];
        let mut patch = json!({"op": op, "path": path});
        if op != "remove" {
            patch["value"] = if text { json!("x") } else { json!({"name": "x"}) };
        }
        let spec = of_settings(everywhere(json!([patch])));
        if let Ok(changed) = apply(&[namespaced("o-0", &spec)], &member("m", &[]), &[settings()]) {
            let [object] = changed.as_slice() else { panic!("one object") };
            prop_assert_eq!(&object["kind"], "ConfigMap");
            prop_assert_eq!(&object["apiVersion"], "v1");
            prop_assert_eq!(&object["metadata"]["name"], "settings");
            prop_assert_eq!(&object["metadata"]["namespace"], "app");
        }
    }
}
