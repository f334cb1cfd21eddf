use super::*;
use crate::managed_fields::same_but_times;
use crate::status::ApiError;

#[test]
fn applied_fields_belong_to_their_applier() {
    let mut world = World::new();
    let spec = json!({
        "replicas": 1, "labels": { "a": "1" }, "strategy": {}, "set": ["x"], "args": ["y"], "selector": { "b": "2" },
        "containers": [{ "name": "c", "ports": [{ "port": 80 }] }], "free": { "deep": { "er": [1] } },
    });
    world.apply("one", &spec);
    let paths: &[&str] = &[
        "args",
        "free",
        "replicas",
        "selector",
        "strategy",
        "containers[name=\"c\"]",
        "containers[name=\"c\"].name",
        "containers[name=\"c\"].ports[port=80,protocol=\"TCP\"]",
        "containers[name=\"c\"].ports[port=80,protocol=\"TCP\"].port",
        "free.deep",
        "free.deep.er",
        "labels.a",
        "set[=\"x\"]",
    ];
    let paths: Vec<&str> = paths.iter().copied().filter(|path| *path != "free").collect();
    assert_eq!(world.owned(), owned([("one", &paths)]));
    assert_eq!(world.entry("one")["operation"], "Apply");
    assert_eq!(world.entry("one")["time"], "1970-01-01T00:00:01Z");
    assert_eq!(world.spec(), &spec);
}

#[test]
fn updated_fields_belong_to_their_writer_with_all_that_holds_them() {
    let mut world = World::new();
    world.update("one", &json!({ "replicas": 1, "labels": { "a": "1" }, "set": ["x"] }));
    assert_eq!(
        world.owned(),
        owned([("one", &[".spec", "labels", "replicas", "set", "labels.a", "set[=\"x\"]"])])
    );
    world.update("two", &json!({ "replicas": 2, "labels": { "a": "1", "b": "2" }, "set": [] }));
    assert_eq!(
        world.owned(),
        owned([
            ("one", &[".spec", "labels", "set", "labels.a"]),
            ("two", &["replicas", "labels.b"])
        ])
    );
}

/// Pitfall: a new time for each apply makes each apply a change.
#[test]
fn applying_again_changes_nothing_and_keeps_the_time() {
    let mut world = World::new();
    let spec =
        json!({ "replicas": 1, "containers": [{ "name": "c", "image": "1" }], "set": ["x"] });
    world.apply("one", &spec);
    assert_eq!(world.try_apply("one", &spec, false), Ok(false));
    world.update(
        "two",
        &json!({ "replicas": 1, "containers": [{ "name": "c", "image": "1" }], "set": ["x", "y"] }),
    );
    assert_eq!(world.try_apply("one", &spec, false), Ok(false));
    assert_eq!(world.entry("one")["time"], "1970-01-01T00:00:01Z");
}

#[test]
fn sharing_a_value_is_no_conflict_and_both_own_it() {
    let mut world = World::new();
    let spec = json!({ "containers": [{ "name": "c", "image": "1" }] });
    world.apply("one", &spec).apply("two", &spec);
    let paths: &[&str] =
        &["containers[name=\"c\"]", "containers[name=\"c\"].image", "containers[name=\"c\"].name"];
    assert_eq!(world.owned(), owned([("one", paths), ("two", paths)]));
    world.apply("one", &json!({}));
    assert_eq!(world.spec(), &spec);
    world.apply("two", &json!({}));
    assert_eq!(world.live().get("spec"), Some(&json!({})));
    assert_eq!(world.owned(), owned([("two", &[".spec"]), ("one", &[".spec"])]));
}

#[test]
fn changing_what_another_manager_owns_conflicts_unless_forced() {
    let mut world = World::new();
    world.update("kubectl-client-side-apply", &json!({ "replicas": 1, "args": ["a"] }));
    let conflicts = world.conflicts("one", &json!({ "replicas": 2 }));
    let message = "conflict with \"kubectl-client-side-apply\" using v1".to_owned();
    assert_eq!(conflicts, [(message, ".spec.replicas".to_owned())]);
    world.force("one", &json!({ "replicas": 2 }));
    assert_eq!(world.spec(), &json!({ "replicas": 2, "args": ["a"] }));
    assert_eq!(
        world.owned(),
        owned([("one", &["replicas"]), ("kubectl-client-side-apply", &[".spec", "args"])])
    );
}

#[test]
fn conflicts_read_like_those_of_kubernetes() {
    let mut world = World::new();
    world.api_version = "apps/v1";
    world.update("kubectl-client-side-apply", &json!({ "replicas": 1, "args": ["a"] }));
    let error =
        world.try_apply("one", &json!({ "replicas": 2 }), false).expect_err("replicas are owned");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    world.force("two", &json!({ "labels": { "x": "1" } }));
    let spec = json!({ "replicas": 2, "args": ["b"], "labels": { "x": "2" } });
    let error = world.try_apply("one", &spec, false).expect_err("three fields are owned");
    assert_eq!(
        error.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n\
         - .spec.args\n- .spec.replicas\nconflicts with \"two\":\n- .spec.labels.x"
    );
    let error = ApiError::from(error);
    assert_eq!((error.code.as_u16(), error.reason, error.causes.len()), (409, "Conflict", 3));
    assert_eq!(error.causes[0].reason, "FieldManagerConflict");
}

#[test]
fn fields_applied_no_more_go_unless_others_own_them() {
    let mut world = World::new();
    world.apply(
        "one",
        &json!({ "replicas": 1, "labels": { "a": "1", "b": "2" }, "set": ["x", "y"] }),
    );
    world.apply("two", &json!({ "labels": { "b": "2" }, "set": ["y", "z"] }));
    world.apply("one", &json!({}));
    assert_eq!(world.spec(), &json!({ "labels": { "b": "2" }, "set": ["y", "z"] }));
    assert_eq!(
        world.owned(),
        owned([("two", &["labels.b", "set[=\"y\"]", "set[=\"z\"]"]), ("one", &[".spec"])])
    );
}

#[test]
fn a_field_goes_with_the_defaults_inside_and_stays_with_parts_of_others() {
    let mut world = World::new();
    world.apply("one", &json!({ "strategy": { "type": "x" }, "containers": [{ "name": "c" }], "maps": { "k": {} } }));
    // Defaults belong to nobody.
    let live = world.live.as_mut().expect("applied");
    live["spec"]["strategy"]["max"] = json!(1);
    live["spec"]["containers"][0]["image"] = json!("default");
    live["spec"]["maps"]["k"]["a"] = json!("default");
    world.apply("one", &json!({ "replicas": 1 }));
    assert_eq!(world.spec(), &json!({ "replicas": 1 }));

    let mut world = World::new();
    world.apply(
        "one",
        &json!({ "strategy": { "type": "x" }, "containers": [{ "name": "c" }, { "name": "d" }] }),
    );
    world.update(
        "two",
        &json!({ "strategy": { "type": "x", "max": 1 }, "containers": [{ "name": "c", "image": "i" }, { "name": "d" }] }),
    );
    world.apply("one", &json!({ "containers": [{ "name": "d" }] }));
    assert_eq!(world.spec(), &json!({ "strategy": { "max": 1 }, "containers": [{ "name": "d" }] }));
    assert_eq!(world.owned()["two"], ["strategy.max"]);
}

#[test]
fn a_part_taken_by_an_update_stays_when_the_applier_drops_it() {
    let mut world = World::new();
    world.apply("one", &json!({ "strategy": { "type": "x" } }));
    world.update("two", &json!({ "strategy": { "type": "y" } }));
    world.apply("one", &json!({}));
    assert_eq!(world.spec(), &json!({ "strategy": { "type": "y" } }));
    assert_eq!(world.owned(), owned([("one", &[".spec"]), ("two", &["strategy.type"])]));
}

#[test]
fn an_emptied_map_stays_only_for_its_owner() {
    let mut world = World::new();
    world.update("two", &json!({ "labels": {} }));
    world.apply("one", &json!({ "labels": { "a": "1" } })).apply("one", &json!({}));
    assert_eq!(world.spec(), &json!({ "labels": {} }));
    assert_eq!(world.owned(), owned([("one", &[".spec"]), ("two", &[".spec", "labels"])]));
}

/// Pitfall: lists of which no schema speaks are one value for apply.
#[test]
fn lists_and_maps_without_parts_are_replaced_as_a_whole() {
    let mut world = World::new();
    world.apply("one", &json!({ "args": ["a"], "selector": { "x": "1" } }));
    world.force("two", &json!({ "args": ["b"], "selector": { "y": "1" }, "replicas": 1 }));
    assert_eq!(world.spec(), &json!({ "args": ["b"], "selector": { "y": "1" }, "replicas": 1 }));
    assert_eq!(world.owned(), owned([("two", &["args", "replicas", "selector"])]));
}

#[test]
fn items_are_the_same_by_their_keys_with_defaults() {
    let mut world = World::new();
    let ports = |ports: Value| json!({ "containers": [{ "name": "c", "ports": ports }] });
    world.apply("one", &ports(json!([{ "port": 53 }, { "port": 53, "protocol": "UDP" }])));
    world.apply("two", &ports(json!([{ "port": 53, "protocol": "TCP", "name": "dns" }])));
    let want = json!([{ "port": 53, "protocol": "TCP", "name": "dns" }, { "port": 53, "protocol": "UDP" }]);
    assert_eq!(world.spec()["containers"][0]["ports"], want);
}

#[test]
fn items_must_be_known_and_unique_in_what_is_applied_but_not_in_live_objects() {
    let mut world = World::new();
    let refused = |world: &mut World, spec: Value| match world.try_apply("one", &spec, true) {
        Err(ApplyError::Untyped { errors, .. }) => errors.join("; "),
        other => panic!("{spec} gave {other:?}"),
    };
    assert_eq!(
        refused(
            &mut world,
            json!({ "containers": [{ "name": "c", "ports": [{ "port": 1 }, { "port": 1 }] }] })
        ),
        ".spec.containers[name=\"c\"].ports: duplicate entries for key [port=1,protocol=\"TCP\"]"
    );
    assert_eq!(
        refused(&mut world, json!({ "set": ["a", "a"] })),
        ".spec.set: duplicate entries for key [=\"a\"]"
    );
    let why = refused(&mut world, json!({ "containers": [{ "image": "x" }] }));
    assert!(why.starts_with(".spec.containers: element 0: associative list with keys"), "{why}");

    world.update(
        "two",
        &json!({ "set": ["a", "a", "b"], "containers": [{ "name": "c" }, { "name": "c" }] }),
    );
    assert_eq!(
        world.owned()["two"],
        [".spec", "containers", "set", "containers[name=\"c\"]", "set[=\"a\"]", "set[=\"b\"]"]
    );
    world.apply("one", &json!({ "set": ["z"] }));
    assert_eq!(world.spec()["set"], json!(["a", "a", "b", "z"]));
    let conflicts =
        world.conflicts("one", &json!({ "containers": [{ "name": "c", "image": "i" }] }));
    assert_eq!(conflicts[0].1, ".spec.containers[name=\"c\"]");
    world.force("one", &json!({ "containers": [{ "name": "c", "image": "i" }] }));
    assert_eq!(world.spec()["containers"], json!([{ "name": "c", "image": "i" }]));
}

#[test]
fn fields_that_the_schema_does_not_know_cannot_be_applied() {
    let mut world = World::new();
    let mut config =
        world.with_spec(&json!({ "nope": 1, "containers": [{ "name": "c", "nor": 2 }] }));
    config["metadata"]["also"] = json!("x");
    let error = world.try_apply_object("one", &config, true).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("failed to create typed patch object ("), "{text}");
    let errors = "errors:\n  .metadata.also: field not declared in schema\n  \
                  .spec.containers[name=\"c\"].nor: field not declared in schema\n  \
                  .spec.nope: field not declared in schema";
    assert!(text.ends_with(errors), "{text}");
    let status = crate::status::ApiError::from(error);
    assert_eq!((status.code.as_u16(), status.reason), (500, ""));
}

#[test]
fn managed_fields_cannot_be_applied() {
    let mut world = World::new();
    let mut config = world.with_spec(&json!({}));
    config["metadata"]["managedFields"] = json!([{ "manager": "x" }]);
    let refused = world.try_apply_object("one", &config, false);
    assert_eq!(
        refused,
        Err(ApplyError::Malformed("metadata.managedFields must be nil".to_owned()))
    );
}

#[test]
fn names_and_what_the_server_sets_have_no_owner() {
    let mut world = World::new();
    world.update_object("one", |new| {
        new["metadata"] = json!({
            "name": "a", "uid": "u", "generation": 1, "creationTimestamp": "t", "resourceVersion": "1",
            "labels": { "x": "1" }, "finalizers": ["f"], "ownerReferences": [{ "uid": "o", "name": "n" }],
        });
    });
    let paths: &[&str] = &[
        ".spec",
        ".metadata.finalizers",
        ".metadata.labels",
        ".metadata.ownerReferences",
        ".metadata.finalizers[=\"f\"]",
        ".metadata.labels.x",
        ".metadata.ownerReferences[uid=\"o\"]",
    ];
    assert_eq!(world.owned(), owned([("one", paths)]));
    let config =
        json!({ "metadata": { "name": "a", "uid": null, "creationTimestamp": null }, "spec": {} });
    assert_eq!(world.try_apply_object("two", &config, false), Ok(true));
    assert_eq!(world.live()["metadata"]["uid"], "u");
    assert_eq!(world.live()["metadata"]["creationTimestamp"], "t");
}

#[test]
fn metadata_is_never_pruned() {
    let mut world = World::new();
    let config =
        json!({ "metadata": { "name": "a", "labels": { "x": "1" } }, "spec": { "replicas": 1 } });
    world.try_apply_object("one", &config, false).expect("created");
    let config = json!({ "metadata": { "name": "a" }, "spec": { "replicas": 1 } });
    assert_eq!(world.try_apply_object("one", &config, false), Ok(true));
    assert_eq!(
        world.live()["metadata"].as_object().map(|m| m.keys().cloned().collect()),
        Some(vec!["managedFields".to_owned(), "name".to_owned()])
    );
}

/// Pitfall: a write of the status must not lose who owns the rest.
#[test]
fn endpoints_own_only_what_they_write() {
    let mut world = World::new();
    world.reset = ResetFields::status();
    let config =
        json!({ "metadata": { "name": "a" }, "spec": { "replicas": 1 }, "status": { "ready": 1 } });
    world.try_apply_object("one", &config, false).expect("created");
    assert_eq!(world.owned(), owned([("one", &["replicas"])]));
    world.live.as_mut().expect("applied").as_object_mut().expect("an object").remove("status");
    assert_eq!(
        world.try_apply_object("one", &config, false),
        Ok(false),
        "the status does not count"
    );

    (world.reset, world.subresource) = (ResetFields::all_but_status(), "status");
    world.update_object("one", |new| {
        new["status"] = json!({ "ready": 1 });
        new["spec"]["replicas"] = json!(7);
        new["metadata"]["labels"] = json!({ "x": "1" });
    });
    let written =
        world.entries().iter().find(|entry| entry["subresource"] == "status").expect("an entry");
    let fields = json!({ "f:metadata": { "f:labels": { ".": {}, "f:x": {} } }, "f:status": { ".": {}, "f:ready": {} } });
    assert_eq!(written["fieldsV1"], fields);
    assert_eq!(world.entries().len(), 2);

    world.reset = ResetFields::all_but_status_of_custom();
    let config =
        json!({ "metadata": { "name": "a", "labels": { "x": "2" } }, "status": { "ready": 2 } });
    let conflict = world.try_apply_object("two", &config, false).expect_err("ready is owned");
    assert_eq!(
        conflict.to_string(),
        "Apply failed with 1 conflict: conflict with \"one\" with subresource \"status\" using v1: .status.ready"
    );
}

#[test]
fn managed_fields_are_cleared_by_one_empty_entry_only() {
    let mut world = World::new();
    world.update("one", &json!({ "replicas": 1 }));
    let before = world.entries().to_vec();
    for harmless in [json!([]), json!(null), json!([{ "manager": "x" }]), json!("x")] {
        world.update_object("two", |new| new["metadata"]["managedFields"] = harmless);
        assert_eq!(world.entries(), before);
    }
    world.update_object("two", |new| {
        new["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    });
    assert_eq!(world.entries(), before);

    world.subresource = "status";
    world.update_object("two", |new| new["metadata"]["managedFields"] = json!([{}]));
    assert_eq!(world.entries(), before, "subresources do not change owners by hand");

    world.subresource = "";
    world.update_object("two", |new| new["metadata"]["managedFields"] = json!([{}]));
    assert!(world.entries().is_empty());
    world.update("two", &json!({ "replicas": 2 }));
    assert!(world.entries().is_empty(), "an object without owners stays without");
    assert!(world.live()["metadata"].get("managedFields").is_none());
}

#[test]
fn owners_can_be_edited_by_hand() {
    let mut world = World::new();
    world.update("one", &json!({ "replicas": 1 }));
    world.update_object("two", |new| {
        new["metadata"]["managedFields"][0]["manager"] = json!("three")
    });
    assert_eq!(world.owned(), owned([("three", &[".spec", "replicas"])]));
}

#[test]
fn first_apply_finds_an_owner_for_everything_before() {
    let mut world = World::new();
    world.live = Some(world.with_spec(&json!({ "replicas": 1, "args": ["a"] })));
    let conflicts = world.conflicts("one", &json!({ "replicas": 2 }));
    assert_eq!(conflicts[0].0, "conflict with \"before-first-apply\" using v1");
    world.apply("one", &json!({ "replicas": 1 }));
    assert_eq!(
        world.owned(),
        owned([("one", &["replicas"]), ("before-first-apply", &[".spec", "args", "replicas"])])
    );
}

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[test]
fn kubectl_takes_over_what_it_applied_from_the_client() {
    let client_applied = |world: &mut World| {
        let config = world.with_spec(&json!({ "replicas": 1, "args": ["a"] }));
        world.update_object("kubectl-client-side-apply", |new| {
            *new = config.clone();
            new["metadata"]["annotations"] = json!({ LAST_APPLIED: config.to_string() });
        });
    };
    let mut world = World::new();
    client_applied(&mut world);
    assert_eq!(world.conflicts("other", &json!({ "replicas": 2 })).len(), 1);
    world.apply("kubectl", &json!({ "replicas": 2, "args": ["a"] }));
    assert_eq!(world.spec()["replicas"], 2);
    let refreshed =
        world.live()["metadata"]["annotations"][LAST_APPLIED].as_str().expect("kept up to date");
    let want = json!({
        "apiVersion": "v1", "kind": "App", "metadata": { "name": "a" }, "spec": { "replicas": 2, "args": ["a"] }
    });
    assert_eq!(refreshed, format!("{want}\n"));

    let mut world = World::new();
    client_applied(&mut world);
    world.update("autoscaler", &json!({ "replicas": 5, "args": ["a"] }));
    let conflicts = world.conflicts("kubectl", &json!({ "replicas": 2, "args": ["b"] }));
    assert_eq!(
        conflicts,
        [("conflict with \"autoscaler\" using v1".to_owned(), ".spec.replicas".to_owned())],
        "what has changed since is not kubectl's"
    );
}

#[test]
fn an_applier_has_one_entry_whatever_the_version() {
    let mut world = World::new();
    world.apply("one", &json!({ "replicas": 1, "args": ["a"] }));
    world.api_version = "v2";
    assert_eq!(world.try_apply("one", &json!({ "replicas": 1 }), false), Ok(true));
    assert_eq!(world.entries().len(), 1);
    assert_eq!(world.entry("one")["apiVersion"], "v2");
    assert_eq!(world.spec(), &json!({ "replicas": 1 }));
    world.update("two", &json!({ "replicas": 2 }));
    world.api_version = "v3";
    world.update("two", &json!({ "replicas": 2, "args": ["b"] }));
    assert_eq!(world.entries().len(), 2, "updates have an entry for each version");
}

#[test]
fn fields_that_the_schema_does_not_know_have_no_owner() {
    let mut world = World::new();
    world.apply("one", &json!({ "replicas": 1 }));
    world.update("two", &json!({ "replicas": 1, "typo": 2, "other": 3 }));
    assert_eq!(world.owned(), owned([("one", &["replicas"])]));
}

#[test]
fn ownership_follows_a_schema_whose_lists_change() {
    let mut world = World::new();
    world.apply("one", &json!({ "args": ["a", "b"], "set": ["x"], "labels": { "k": "1" } }));
    let mut schema = (*kind()).clone();
    let mut spec = (*schema.properties["spec"]).clone();
    let set = SchemaRef::clone(&spec.properties["set"]);
    let args = spec.properties.insert("args".to_owned(), set).expect("there were arguments");
    spec.properties.insert("set".to_owned(), args);
    let labels = Schema { atomic: true, ..(*spec.properties["labels"]).clone() };
    spec.properties.insert("labels".to_owned(), SchemaRef::new(labels));
    schema.properties.insert("spec".to_owned(), SchemaRef::new(spec));
    world.schema = SchemaRef::new(schema);

    world.update("two", &json!({ "args": ["a", "b", "c"], "set": ["x"], "labels": { "k": "1" } }));
    assert_eq!(world.owned()["one"], ["args", "labels", "set", "args[=\"a\"]", "args[=\"b\"]"]);
    assert_eq!(world.owned()["two"], ["args[=\"c\"]"]);
    world.apply("one", &json!({ "args": ["a"], "set": ["x"], "labels": { "k": "1" } }));
    assert_eq!(world.spec(), &json!({ "args": ["a", "c"], "set": ["x"], "labels": { "k": "1" } }));
}

#[test]
fn an_update_without_change_leaves_the_entries_alone() {
    let mut world = World::new();
    world.update("one", &json!({ "replicas": 1 }));
    let before = world.live().clone();
    world.update("two", &json!({ "replicas": 1 }));
    assert_eq!(world.live(), &before);
}

#[test]
fn values_that_change_their_type_change_hands() {
    let mut world = World::new();
    world.update("one", &json!({ "free": { "a": { "b": 1 } } }));
    world.update("two", &json!({ "free": { "a": [1] } }));
    assert_eq!(world.owned(), owned([("one", &[".spec", "free"]), ("two", &["free.a"])]));
    world.update("one", &json!({ "free": { "a": { "b": 1 } } }));
    assert_eq!(world.owned(), owned([("one", &[".spec", "free", "free.a", "free.a.b"])]));
}

#[test]
fn only_times_may_differ_in_a_write_that_is_none() {
    let object = |time: &str, replicas: i32| {
        json!({
            "metadata": { "name": "a", "managedFields": [{ "manager": "m", "time": time }] },
            "spec": { "replicas": replicas },
        })
    };
    assert!(same_but_times(&object("1", 1), &object("2", 1)));
    assert!(!same_but_times(&object("1", 1), &object("1", 2)));
    let shared = |managers: [&str; 2]| {
        let entries = managers.map(|manager| json!({ "manager": manager, "time": manager }));
        json!({ "metadata": { "managedFields": entries } })
    };
    assert!(same_but_times(&shared(["a", "b"]), &shared(["b", "a"])), "order follows times");
    assert!(!same_but_times(&shared(["a", "b"]), &shared(["a", "c"])));
    let mut other = object("1", 1);
    other["metadata"]["managedFields"][0]["manager"] = json!("n");
    assert!(!same_but_times(&object("1", 1), &other));
    other["metadata"]["managedFields"] = json!([]);
    assert!(!same_but_times(&object("1", 1), &other));
}
