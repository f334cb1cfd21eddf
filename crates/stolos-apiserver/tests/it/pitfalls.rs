//! What has cost others time: a table of it ([`PITFALLS`]) with the tests that catch it, and those tests that have no place
//! beside the code. All of them are marked `Pitfall:`.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::{Value, json};
use stolos_apiserver::clock::Clock;
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;

use crate::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Writes a protobuf field that holds bytes; short ones only.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat()
}

/// Wraps a message as Go clients do.
fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [&b"k8s\0"[..], &field(1, &type_meta), &field(2, raw)].concat()
}

async fn protobuf(
    cluster: &Cluster,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> (StatusCode, Value) {
    let media = "application/vnd.kubernetes.protobuf";
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", media).header("accept", format!("{media}, */*"));
    cluster.request(request.body(Full::new(Bytes::from(body))).unwrap()).await
}

/// Pitfall: Go clients send built-in kinds and options as protobuf and take a refusal for final; JSON answers are fine.
#[tokio::test]
async fn typed_go_clients_send_protobuf_and_read_json() {
    let cluster = Cluster::start().await;
    let named = |name: &str| field(1, &field(1, name.as_bytes()));
    let data = field(2, &[field(1, b"k"), field(2, b"v")].concat());
    let map = envelope("v1", "ConfigMap", &[named("a"), data].concat());
    let (status, created) = protobuf(&cluster, Method::POST, MAPS, map).await;
    assert_eq!((status, &created["data"]["k"]), (StatusCode::CREATED, &json!("v")), "{created}");

    let attributes = [field(2, b"get"), field(5, b"pods")].concat();
    let review = envelope(
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview",
        &field(2, &field(1, &attributes)),
    );
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let (status, answer) = protobuf(&cluster, Method::POST, path, review).await;
    assert_eq!(
        (status, &answer["status"]["allowed"]),
        (StatusCode::CREATED, &json!(true)),
        "{answer}"
    );

    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    cluster.ok(Method::POST, PODS, Some(pod)).await;
    let options = envelope("policy/v1", "DeleteOptions", &field(2, &field(1, b"other-uid")));
    let (status, error) = protobuf(&cluster, Method::DELETE, &format!("{PODS}/p"), options).await;
    assert_eq!((status, &error["reason"]), (StatusCode::CONFLICT, &json!("Conflict")), "{error}");
    let eviction = envelope("policy/v1", "Eviction", &named("p"));
    let (status, answer) =
        protobuf(&cluster, Method::POST, &format!("{PODS}/p/eviction"), eviction).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    cluster.until_gone(&format!("{PODS}/p")).await;

    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster.ok(Method::POST, accounts, Some(json!({"metadata": {"name": "robot"}}))).await;
    let request =
        envelope("authentication.k8s.io/v1", "TokenRequest", &field(2, &field(1, b"api")));
    let (status, token) =
        protobuf(&cluster, Method::POST, &format!("{accounts}/robot/token"), request).await;
    assert_eq!(
        (status, &token["spec"]["audiences"]),
        (StatusCode::CREATED, &json!(["api"])),
        "{token}"
    );
}

/// Pitfall: null means one thing in a new object, another in a merge patch.
#[tokio::test]
async fn null_is_absence_in_a_new_object_and_removal_in_a_patch() {
    let cluster = Cluster::start().await;
    let map = json!({"metadata": {"name": "a", "labels": null}, "data": {"k": null, "l": "1"}, "immutable": null});
    let created = cluster.ok(Method::POST, MAPS, Some(map)).await;
    assert!(created["metadata"].get("labels").is_none() && created.get("immutable").is_none());
    assert_eq!(
        created["data"],
        json!({"k": "", "l": "1"}),
        "a null text in a map is an empty text"
    );
    let patched = cluster.merge(&format!("{MAPS}/a"), json!({"data": {"l": null}})).await;
    assert_eq!(patched["data"], json!({"k": ""}));
}

/// Pitfall: an empty message may be a choice; it is not the same as none.
#[tokio::test]
async fn an_empty_volume_stays_a_volume_and_lists_keep_their_order() {
    let cluster = Cluster::start().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": [{"name": "z", "emptyDir": {}}, {"name": "a"}],
        "containers": [{"name": "c", "image": "i", "args": ["z", "a", "m"]}]}});
    cluster.ok(Method::POST, PODS, Some(pod)).await;
    let pod = cluster.ok(Method::GET, &format!("{PODS}/p"), None).await;
    let volumes = json!([{"name": "z", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]);
    assert_eq!(pod["spec"]["volumes"], volumes);
    assert_eq!(pod["spec"]["containers"][0]["args"], json!(["z", "a", "m"]));
}

/// Pitfall: leases count microseconds; a server that cuts them off makes two leaders.
#[tokio::test]
async fn times_of_leases_keep_six_digits() {
    let cluster = Cluster::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let time = "2026-01-02T03:04:05.000120Z";
    let lease =
        json!({"metadata": {"name": "l"}, "spec": {"renewTime": time, "leaseTransitions": 0}});
    cluster.ok(Method::POST, leases, Some(lease)).await;
    let lease = cluster.ok(Method::GET, &format!("{leases}/l"), None).await;
    assert_eq!(
        (&lease["spec"]["renewTime"], &lease["spec"]["leaseTransitions"]),
        (&json!(time), &json!(0))
    );
    let created = lease["metadata"]["creationTimestamp"].as_str().unwrap();
    assert!(created.len() == "2026-01-02T03:04:05Z".len() && created.ends_with('Z'), "{created}");
}

/// Pitfall: a clock that goes back must not take resource versions with it.
#[tokio::test]
async fn versions_grow_while_the_clock_goes_back() {
    let store = Store::memory().cluster("test").unwrap();
    let mut last = 0;
    for (name, start) in [("a", "2030-01-01T00:00:00Z"), ("b", "2020-01-01T00:00:00Z")] {
        let clock = Clock::tokio(start.parse::<Timestamp>().unwrap());
        let options =
            Options { clock, controllers: Controllers::api_server_only(), ..Options::default() };
        let cluster = Cluster::start_on(store.clone(), options).await;
        let created =
            cluster.ok(Method::POST, MAPS, Some(json!({"metadata": {"name": name}}))).await;
        assert!(
            created["metadata"]["creationTimestamp"].as_str().unwrap().starts_with(&start[..4])
        );
        let version: u64 =
            created["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(version > last, "{version} after {last}");
        last = version;
        cluster.server.stop();
    }
}

/// Pitfall: `kubectl wait` and `kubectl delete` read an object and watch on from its own version, by name.
#[tokio::test]
async fn one_object_is_watched_from_the_version_that_was_read() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.ok(Method::POST, MAPS, Some(json!({"metadata": {"name": name}}))).await;
    }
    let read = cluster.ok(Method::GET, &format!("{MAPS}/a"), None).await;
    for name in ["b", "a"] {
        cluster.ok(Method::DELETE, &format!("{MAPS}/{name}"), None).await;
    }
    let version = read["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!(
        "{MAPS}?watch=1&fieldSelector=metadata.name%3Da&resourceVersion={version}&timeoutSeconds=1"
    );
    let events = cluster.watch(&path).await;
    let [deleted] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(
        (&deleted["type"], &deleted["object"]["metadata"]["name"]),
        (&json!("DELETED"), &json!("a"))
    );
    assert_ne!(
        deleted["object"]["metadata"]["resourceVersion"], version,
        "it is the deletion's own"
    );
}

/// Pitfall: suites written for envtest rely on there being no controllers at all.
#[tokio::test]
async fn without_controllers_nothing_is_collected_and_namespaces_stay() {
    let cluster = Cluster::bare().await;
    let namespace = cluster
        .ok(Method::POST, "/api/v1/namespaces", Some(json!({"metadata": {"name": "default"}})))
        .await;
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone"});
    let map = json!({"metadata": {"name": "a", "ownerReferences": [owner]}});
    cluster.ok(Method::POST, MAPS, Some(map)).await;
    let pods = "/api/v1/namespaces/default/serviceaccounts/default";
    cluster
        .ok(Method::POST, "/api/v1/namespaces", Some(json!({"metadata": {"name": "team"}})))
        .await;
    let ended = cluster.ok(Method::DELETE, "/api/v1/namespaces/team", None).await;
    assert_eq!(ended["status"]["phase"], "Terminating", "{namespace}");
    assert!(cluster.exists("/api/v1/namespaces/team").await);
    assert!(cluster.exists(&format!("{MAPS}/a")).await);
    assert!(!cluster.exists(pods).await, "nobody makes accounts");
}

/// Every pitfall that others have named, in their order, with the tests that would catch it.
const PITFALLS: &[(&str, &[(&str, &str)])] = &[
    (
        "bodies in protobuf are refused",
        &[("tests/it/pitfalls.rs", "typed_go_clients_send_protobuf_and_read_json")],
    ),
    (
        "kinds have handlers and types of their own",
        &[
            ("src/registry/mod.rs", "every_row_has_a_schema_and_what_is_stored_has_columns"),
            ("tests/it/kinds.rs", "every_kind_lives_from_creation_to_deletion"),
        ],
    ),
    (
        "items, lists and their versions lack what clients need",
        &[("tests/it/kinds.rs", "every_kind_lives_from_creation_to_deletion")],
    ),
    (
        "a write without a change makes a version",
        &[("tests/it/objects.rs", "a_write_that_changes_nothing_keeps_the_resource_version")],
    ),
    (
        "events are told before they are safe, or overtaken by bookmarks",
        &[
            ("src/store/tests/disk.rs", "nothing_is_visible_before_it_is_durable"),
            ("src/store/tests/watching.rs", "a_bookmark_never_overtakes_an_event"),
        ],
    ),
    (
        "a deletion has the version of the last write",
        &[("tests/it/watches.rs", "a_deletion_carries_its_own_version")],
    ),
    (
        "an outdated watch is refused",
        &[(
            "tests/it/watches.rs",
            "a_version_before_history_is_an_error_event_in_a_successful_answer",
        )],
    ),
    (
        "the end of initial events has no mark",
        &[("tests/it/watches.rs", "initial_events_end_with_a_marked_bookmark")],
    ),
    (
        "initial events are asked for and not sent",
        &[("tests/it/watches.rs", "initial_events_end_with_a_marked_bookmark")],
    ),
    (
        "watchers have buffers",
        &[("tests/it/limits.rs", "a_watch_that_is_not_read_holds_no_objects")],
    ),
    (
        "a definition is established before discovery shows it",
        &[("tests/it/crds.rs", "an_established_definition_is_served_and_in_discovery")],
    ),
    (
        "OpenAPI lacks what changes the ways of kubectl",
        &[("src/openapi/tests.rs", "kubectl_finds_what_it_looks_for_in_apps_v1")],
    ),
    (
        "keys of strategic merge are taken for those of apply",
        &[(
            "src/managed_fields/tests/builtin.rs",
            "service_ports_are_told_apart_by_protocol_when_applied_and_by_port_when_patched",
        )],
    ),
    (
        "lists without a schema have parts",
        &[(
            "src/managed_fields/tests/rules.rs",
            "lists_and_maps_without_parts_are_replaced_as_a_whole",
        )],
    ),
    (
        "an apply without a change has a new time",
        &[(
            "src/managed_fields/tests/rules.rs",
            "applying_again_changes_nothing_and_keeps_the_time",
        )],
    ),
    (
        "null means the same everywhere",
        &[
            ("tests/it/pitfalls.rs", "null_is_absence_in_a_new_object_and_removal_in_a_patch"),
            ("src/schema/defaulting.rs", "absent_fields_and_nulls_take_defaults"),
            // What null means in an apply: `nulls are applied` in its script.
            (
                "tests/it/differential/mod.rs",
                "our_answers_differ_from_the_recorded_ones_only_where_listed",
            ),
        ],
    ),
    (
        "zeros of protobuf are lost, or made up",
        &[("src/protobuf/tests.rs", "zeros_with_a_meaning_are_kept")],
    ),
    (
        "an empty choice is taken for none",
        &[("tests/it/pitfalls.rs", "an_empty_volume_stays_a_volume_and_lists_keep_their_order")],
    ),
    ("times lose their digits", &[("tests/it/pitfalls.rs", "times_of_leases_keep_six_digits")]),
    ("numbers change on the way", &[("src/schema/parse.rs", "numbers_keep_their_kind")]),
    (
        "repeated fields are not seen",
        &[
            (
                "src/schema/parse.rs",
                "repeated_fields_are_reported_with_their_path_and_the_last_one_wins",
            ),
            (
                "tests/it/strictness.rs",
                "a_body_is_refused_warned_of_or_passed_over_as_the_client_wishes",
            ),
        ],
    ),
    (
        "lists are sorted",
        &[("tests/it/pitfalls.rs", "an_empty_volume_stays_a_volume_and_lists_keep_their_order")],
    ),
    (
        "owners are known by name, wait for each other, or take what others own along",
        &[
            ("tests/it/garbage.rs", "a_namesake_is_not_the_owner"),
            ("tests/it/garbage.rs", "circles_do_not_block"),
            ("tests/it/garbage.rs", "dependents_of_a_living_owner_stay"),
        ],
    ),
    (
        "a creation races with the end of its namespace",
        &[("tests/it/races.rs", "no_object_outlives_its_namespace")],
    ),
    (
        "a webhook that calls back waits for ever",
        &[("tests/it/admission/calls.rs", "a_webhook_may_call_the_server_that_asks_it")],
    ),
    (
        "a service of a webhook leads nowhere",
        &[
            ("tests/it/admission/calls.rs", "services_are_reached_through_what_the_embedder_knows"),
            ("tests/it/admission/calls.rs", "services_are_unknown_without_help"),
        ],
    ),
    (
        "the certificate does not name where the server is",
        &[("src/serve/authority.rs", "server_certificates_name_every_way_to_reach_the_server")],
    ),
    (
        "a kubeconfig of others is overwritten",
        &[("src/serve/kubeconfig.rs", "a_file_that_is_no_kubeconfig_is_left_alone")],
    ),
    (
        "URLs lack the prefix of the cluster",
        &[("tests/it/shared_port.rs", "urls_that_the_server_names_begin_with_the_cluster")],
    ),
    (
        "versions go back with the clock",
        &[("tests/it/pitfalls.rs", "versions_grow_while_the_clock_goes_back")],
    ),
    (
        "a continue token is good for another list",
        &[("src/rest/continue_token.rs", "tokens_of_other_lists_and_garbage_are_refused")],
    ),
    (
        "an absent label does not match `notin`",
        &[("src/selector/labels.rs", "every_operator_selects_what_it_says")],
    ),
    (
        "cluster-scoped kinds are selected by namespace",
        &[(
            "src/registry/selectable.rs",
            "only_some_cluster_scoped_kinds_are_selected_by_namespace",
        )],
    ),
    (
        "webhooks are not shown the impersonated user",
        &[("tests/it/admission/validating.rs", "the_impersonated_user_is_shown")],
    ),
    (
        "controllers run where there should be none",
        &[("tests/it/pitfalls.rs", "without_controllers_nothing_is_collected_and_namespaces_stay")],
    ),
    (
        "one object cannot be watched from its own version",
        &[("tests/it/pitfalls.rs", "one_object_is_watched_from_the_version_that_was_read")],
    ),
    (
        "lists and watches show the stored version",
        &[
            ("tests/it/representations.rs", "every_served_version_shows_the_same_objects"),
            ("tests/it/conversion.rs", "without_a_webhook_every_read_is_in_the_version_asked_for"),
        ],
    ),
    (
        "a write of the status loses the owners of the spec",
        &[("src/managed_fields/tests/rules.rs", "endpoints_own_only_what_they_write")],
    ),
    (
        "no version is taken for version zero",
        &[("src/rest/query.rs", "an_empty_resource_version_differs_from_zero")],
    ),
    (
        "OpenAPI is made anew for every definition",
        &[("src/openapi/tests.rs", "the_index_leads_to_documents_that_may_be_kept")],
    ),
    (
        "canonical bytes hang on a feature of a dependency",
        &[("src/store/canonical.rs", "keys_are_sorted_whatever_order_they_came_in")],
    ),
    (
        "tests promise by their names and check nothing",
        &[("tests/it/pitfalls.rs", "no_test_is_empty")],
    ),
];

/// The tests of a source file: name and body.
fn tests_of(source: &str) -> Vec<(&str, &str)> {
    let marks = source.match_indices("#[test]").chain(source.match_indices("#[tokio::test"));
    let found = marks.filter_map(|(at, _)| {
        let indent = &source[source[..at].rfind('\n').map_or(0, |end| end + 1)..at];
        if !indent.trim().is_empty() {
            return None;
        }
        let (_, rest) = source[at..].split_once("fn ")?;
        let end = rest.find(&format!("\n{indent}}}\n")).unwrap_or(rest.len());
        Some((rest.split('(').next()?, &rest[..end]))
    });
    found.collect()
}

fn source(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_pitfall_has_a_test() {
    const PITFALLS_OF_OTHERS: usize = 42;
    assert_eq!(PITFALLS.len(), PITFALLS_OF_OTHERS);
    for (pitfall, tests) in PITFALLS {
        assert!(!tests.is_empty(), "{pitfall}");
        for (file, name) in *tests {
            let source = source(file);
            let found = tests_of(&source).iter().any(|(test, _)| test == name);
            assert!(found, "{pitfall}: there is no test `{name}` in {file}");
        }
    }
}

/// Pitfall: a name that promises and a body that checks nothing.
#[test]
fn no_test_is_empty() {
    /// What checks something, be it in a helper.
    const CHECKS: [&str; 6] = ["assert", "panic!", "unwrap", "expect", "check", "until"];
    const AT_LEAST: usize = 600;
    /// Tests that only have to come to their end.
    const ENDING: [&str; 6] = [
        "a_client_that_connects_and_says_nothing_is_dropped",
        "any_text_is_either_a_path_or_an_error",
        "anything_can_be_validated",
        "no_bytes_make_it_panic",
        "texts_of_any_sort_are_compiled_or_refused",
        "values_of_the_wrong_type_are_left_for_validation",
    ];
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
    let mut n_tests = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                for (name, body) in tests_of(&source) {
                    n_tests += 1;
                    let checks =
                        ENDING.contains(&name) || CHECKS.iter().any(|check| body.contains(check));
                    assert!(checks, "`{name}` in {} checks nothing", path.display());
                }
            }
        }
    }
    assert!(n_tests > AT_LEAST, "only {n_tests} tests were found");
}
